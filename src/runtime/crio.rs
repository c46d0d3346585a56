//! What CRI-O's own configuration tells: its folder of images and the image that sandboxes are made from.
//!
//! Read from the files CRI-O reads (crio.conf(5), containers-storage.conf(5)); drop-ins beat the file.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::inventory::SandboxImage;
use crate::reference::Reference;
use crate::runtime::containerd::Settings;

const DROP_INS: &str = "/etc/crio/crio.conf.d";
/// Where everything is unless somebody says otherwise (containers-storage.conf(5)).
const USUAL_ROOT: &str = "/var/lib/containers/storage";
/// CRI-O's own file before those of containers/storage.
const FILES: [&str; 3] = ["/etc/crio/crio.conf", "/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];

/// Reads the settings; `config` is CRI-O's file where it isn't the usual one.
pub fn collect_settings(config: &Path) -> Settings {
    let mut files = drop_ins();
    files.push(config.to_owned());
    files.extend(FILES.iter().map(PathBuf::from));
    files.dedup();
    let mut told = Told::default();
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => told.add(&text, &file.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => told.gaps.push(format!("read {}: {error}", file.display())),
        }
    }
    told.settings()
}

/// The last one wins, so it comes first.
fn drop_ins() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(DROP_INS).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.reverse();
    files
}

/// Keys of the folder that images are in, the one that counts first: each may stand in a file of its own, and CRI-O takes
/// those of containers/storage for its defaults (`pkg/config/config.go`).
const ROOTS: [&[&str]; 4] = [&["crio", "imagestore"], &["storage", "imagestore"], &["crio", "root"], &["storage", "graphroot"]];

/// What the files say, so far.
#[derive(Default)]
struct Told {
    /// One for each of [`ROOTS`].
    roots: [Option<PathBuf>; ROOTS.len()],
    sandbox_image: SandboxImage,
    gaps: Vec<String>,
}

impl Told {
    /// Adds what no earlier text has told.
    fn add(&mut self, text: &str, source: &str) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.gaps.push(format!("read {source}: {}", toml::de::Error::message(&error))),
        };
        let table = Value::Table(table);
        let value = |keys: &[&str]| keys.iter().try_fold(&table, |table, key| table.get(key)).and_then(Value::as_str);
        for (root, keys) in self.roots.iter_mut().zip(ROOTS) {
            *root = root.take().or(value(keys).filter(|path| path.starts_with('/')).map(PathBuf::from));
        }
        let pause_image = value(&["crio", "image", "pause_image"]).filter(|name| !name.is_empty());
        if let Some(name) = pause_image.filter(|_| self.sandbox_image.names.is_empty()) {
            self.sandbox_image = SandboxImage { names: vec![Reference::new(name)], source: Some(source.to_owned()) };
        }
    }

    fn settings(self) -> Settings {
        let [own_store, store, own_root, root] = self.roots;
        let (images, containers) = (own_store.or(store), own_root.or(root));
        let (root, containers) = match images {
            Some(images) => (Some(images), containers.or_else(|| Some(USUAL_ROOT.into()))),
            None => (containers, None),
        };
        Settings { root, containers, sandbox_image: self.sandbox_image, gaps: self.gaps, ..Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these texts say, the first of them first.
    fn settings(texts: &[&str]) -> Settings {
        let mut told = Told::default();
        for (number, text) in texts.iter().enumerate() {
            told.add(text, &number.to_string());
        }
        told.settings()
    }

    #[test]
    fn reads_the_recorded_configuration() {
        let settings = settings(&[include_str!("../../tests/fixtures/crio-1.34/crio-status-config.out")]);
        assert_eq!(settings.root.as_deref(), Some(Path::new("/var/lib/containers/storage")));
        assert_eq!(settings.sandbox_image.names, [Reference::new("127.0.0.1:5000/cx/pause:1")]);
    }

    #[test]
    fn what_is_told_first_counts() {
        let settings = settings(&[
            "[crio]\nroot = \"/root\"\n[crio.image]\npause_image = \"pause:1\"\n",
            "[crio]\nroot = \"/other\"\n[crio.image]\npause_image = \"pause:2\"\n",
            "[storage]\ngraphroot = \"/graph\"\n",
        ]);
        assert_eq!(settings.root.as_deref(), Some(Path::new("/root")));
        assert_eq!((settings.sandbox_image.names, settings.sandbox_image.source), (vec![Reference::new("pause:1")], Some("0".into())));
    }

    #[test]
    fn images_are_in_the_image_store_whichever_file_names_it() {
        let (root, store) = ("[crio]\nroot = \"/root\"\n", "[crio]\nimagestore = \"/store\"\n");
        let storage = "[storage]\ngraphroot = \"/graph\"\nimagestore = \"/images\"\n";
        for (texts, images, containers) in [
            (&[root, store][..], Some("/store"), Some("/root")),
            (&[store, root], Some("/store"), Some("/root")),
            (&[root, storage], Some("/images"), Some("/root")),
            (&[root, "[storage]\ngraphroot = \"/graph\"\n"], Some("/root"), None),
            (&[storage], Some("/images"), Some("/graph")),
            (&[store], Some("/store"), Some("/var/lib/containers/storage")),
            (&["[crio]\nimagestore = \"\"\n", root], Some("/root"), None),
            (&["[crio]\nroot = \"relative\"\n"], None, None),
        ] {
            let settings = settings(texts);
            assert_eq!((settings.root, settings.containers), (images.map(PathBuf::from), containers.map(PathBuf::from)), "{texts:?}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_a_gap() {
        let settings = settings(&["[crio"]);
        assert_eq!((settings.gaps.len(), settings.root), (1, None));
    }
}
