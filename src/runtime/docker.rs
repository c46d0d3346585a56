//! What cri-dockerd and docker tell besides CRI: the image that sandboxes are made from, and containers that CRI doesn't know.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::inventory::SandboxImage;
use crate::kubelet::command_lines;
use crate::reference::Reference;
use crate::runtime::containerd::Settings;

/// Flag of cri-dockerd (`cmd/cri/options.go`); its default changes from version to version.
const SANDBOX_IMAGE: &str = "pod-infra-container-image";
/// Flag and key of dockerd (`daemon/config/config.go`).
const DATA_ROOT: &str = "data-root";

/// What the cri-dockerd and the dockerd that run here were started with; `config` is dockerd's file. Their sockets tell nothing
/// of them: systemd may hold those.
pub fn collect_settings(config: &Path) -> Settings {
    let names: Vec<Reference> =
        command_lines("cri-dockerd").iter().filter_map(|words| value_of(SANDBOX_IMAGE, words)).map(Reference::new).collect();
    let source = (!names.is_empty()).then(|| "cri-dockerd's command line".to_owned());
    let started = command_lines("dockerd").iter().find_map(|words| value_of(DATA_ROOT, words).map(PathBuf::from));
    let (configured, gaps) = match configured_root(config) {
        Ok(root) => (root, Vec::new()),
        Err(error) => (None, vec![format!("{error:#}")]),
    };
    let root = started.or(configured).filter(|root| root.is_absolute());
    Settings { root, sandbox_image: SandboxImage { names, source }, gaps, ..Settings::default() }
}

fn configured_root(config: &Path) -> Result<Option<PathBuf>> {
    let text = match fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", config.display())),
    };
    let config: Value = serde_json::from_str(&text).with_context(|| format!("read {}", config.display()))?;
    Ok(config.get(DATA_ROOT).and_then(Value::as_str).map(PathBuf::from))
}

/// Of a flag in each spelling; the last one counts.
fn value_of<'a>(wanted: &str, words: &'a [String]) -> Option<&'a str> {
    let (at, word) = words.iter().enumerate().rev().find(|(_, word)| flag(word) == wanted)?;
    let value = word.split_once('=').map(|(_, value)| value).or_else(|| words.get(at + 1).map(String::as_str));
    value.filter(|value| !value.is_empty())
}

fn flag(word: &str) -> &str {
    let stripped = word.trim_start_matches('-');
    if stripped.len() == word.len() { "" } else { stripped.split('=').next().unwrap_or_default() }
}

/// The folder of docker's containers, below its data folder.
pub fn containers(root: &Path) -> PathBuf {
    root.join("containers")
}

/// Every container that docker has, with the ID of its image: `containers/<ID>/config.v2.json` (moby, `daemon/container`).
pub fn list_containers(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut containers = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let file = path.join("config.v2.json");
        let text = match fs::read_to_string(&file) {
            // It has just gone.
            Err(_) if fs::exists(&path).is_ok_and(|there| !there) => continue,
            read => read.with_context(|| format!("read {}", file.display()))?,
        };
        let config: Value = serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        let image = config.get("Image").and_then(Value::as_str).with_context(|| format!("{} names no image", file.display()))?;
        containers.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), image.to_owned()));
    }
    Ok(containers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_flag_in_each_spelling() {
        for (line, image) in [
            ("/usr/bin/cri-dockerd --pod-infra-container-image=registry.lab/pause:1 --v=2", Some("registry.lab/pause:1")),
            (
                "cri-dockerd --container-runtime-endpoint fd:// -pod-infra-container-image registry.lab/pause:1",
                Some("registry.lab/pause:1"),
            ),
            ("cri-dockerd --pod-infra-container-image=a:1 --pod-infra-container-image=b:1", Some("b:1")),
            ("cri-dockerd --pod-infra-container-image=", None),
            ("cri-dockerd --pod-infra-container-image", None),
            ("cri-dockerd pod-infra-container-image=a:1", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(value_of(SANDBOX_IMAGE, &words), image, "{line}");
        }
    }

    #[test]
    fn reads_the_data_folder_from_dockers_file_and_tells_of_one_that_can_not_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("daemon.json");
        assert_eq!(collect_settings(&file), Settings::default());
        for (text, root) in [(r#"{"data-root": "/srv/docker"}"#, Some("/srv/docker")), (r#"{"data-root": "docker"}"#, None), ("{}", None)] {
            fs::write(&file, text).expect("write");
            assert_eq!(collect_settings(&file).root.as_deref(), root.map(Path::new), "{text}");
        }
        fs::write(&file, "{").expect("write");
        let gaps = collect_settings(&file).gaps;
        assert!(gaps.len() == 1 && gaps[0].contains("daemon.json"), "{gaps:?}");
    }
}
