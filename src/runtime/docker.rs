//! What cri-dockerd and docker tell besides CRI: the image that sandboxes are made from, and containers that CRI doesn't know.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::inventory::SandboxImage;
use crate::kubelet::command_lines;
use crate::reference::Reference;
use crate::runtime::containerd::Settings;

/// Flag of cri-dockerd (`cmd/cri/options.go`); its default changes from version to version.
const SANDBOX_IMAGE: &str = "pod-infra-container-image";

/// What the cri-dockerd that runs here was started with. Its socket tells nothing of it: systemd may hold that.
pub fn collect_settings() -> Settings {
    let names: Vec<Reference> = command_lines("cri-dockerd").iter().filter_map(|words| sandbox_image(words)).map(Reference::new).collect();
    let source = (!names.is_empty()).then(|| "cri-dockerd's command line".to_owned());
    Settings { sandbox_image: SandboxImage { names, source }, ..Settings::default() }
}

fn sandbox_image(words: &[String]) -> Option<&str> {
    let (at, word) = words.iter().enumerate().rev().find(|(_, word)| flag(word) == SANDBOX_IMAGE)?;
    let value = word.split_once('=').map(|(_, value)| value).or_else(|| words.get(at + 1).map(String::as_str));
    value.filter(|value| !value.is_empty())
}

fn flag(word: &str) -> &str {
    let stripped = word.trim_start_matches('-');
    if stripped.len() == word.len() { "" } else { stripped.split('=').next().unwrap_or_default() }
}

/// Every container that docker has, with the ID of its image: `containers/<ID>/config.v2.json` (moby, `daemon/container`).
pub fn list_containers(root: &Path) -> Result<Vec<(String, String)>> {
    let folder = root.join("containers");
    let mut containers = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
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
    fn reads_the_sandbox_image_from_a_command_line_in_each_spelling() {
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
            assert_eq!(sandbox_image(&words), image, "{line}");
        }
    }
}
