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
/// CRI-O's own file before those of containers/storage.
const FILES: [&str; 3] = ["/etc/crio/crio.conf", "/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];

/// Reads the settings; `config` is CRI-O's file where it isn't the usual one.
pub fn collect_settings(config: &Path) -> Settings {
    let mut files = drop_ins();
    files.push(config.to_owned());
    files.extend(FILES.iter().map(PathBuf::from));
    files.dedup();
    let mut settings = Settings::default();
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => add(&mut settings, &text, &file.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => settings.gaps.push(format!("read {}: {error}", file.display())),
        }
    }
    settings
}

/// The last one wins, so it comes first.
fn drop_ins() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(DROP_INS).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.reverse();
    files
}

/// Adds what no earlier text has told. Images are in `imagestore` where there is one, else in `root`.
fn add(settings: &mut Settings, text: &str, source: &str) {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return settings.gaps.push(format!("read {source}: {}", toml::de::Error::message(&error))),
    };
    let table = Value::Table(table);
    let value =
        |keys: &[&str]| keys.iter().try_fold(&table, |table, key| table.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty());
    let folder =
        [&["crio", "imagestore"][..], &["crio", "root"], &["storage", "imagestore"], &["storage", "graphroot"]].into_iter().find_map(value);
    settings.root = settings.root.take().or(folder.filter(|path| path.starts_with('/')).map(PathBuf::from));
    if let Some(name) = value(&["crio", "image", "pause_image"]).filter(|_| settings.sandbox_image.names.is_empty()) {
        settings.sandbox_image = SandboxImage { names: vec![Reference::new(name)], source: Some(source.to_owned()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_recorded_configuration() {
        let mut settings = Settings::default();
        add(&mut settings, include_str!("../../tests/fixtures/crio-1.34/crio-status-config.out"), "crio.conf");
        assert_eq!(settings.root.as_deref(), Some(Path::new("/var/lib/containers/storage")));
        assert_eq!(settings.sandbox_image.names, [Reference::new("127.0.0.1:5000/cx/pause:1")]);
    }

    #[test]
    fn what_is_told_first_counts() {
        let mut settings = Settings::default();
        add(&mut settings, "[crio]\nimagestore = \"/images\"\n", "10.conf");
        add(&mut settings, "[crio]\nroot = \"/root\"\n[crio.image]\npause_image = \"pause:1\"\n", "crio.conf");
        add(&mut settings, "[storage]\ngraphroot = \"/graph\"\n[crio.image]\npause_image = \"pause:2\"\n", "storage.conf");
        assert_eq!(settings.root.as_deref(), Some(Path::new("/images")));
        assert_eq!((settings.sandbox_image.names, settings.gaps), (vec![Reference::new("pause:1")], Vec::new()));
    }

    #[test]
    fn a_file_that_can_not_be_read_is_a_gap() {
        let mut settings = Settings::default();
        add(&mut settings, "[crio", "crio.conf");
        assert_eq!((settings.gaps.len(), settings.root), (1, None));
    }
}
