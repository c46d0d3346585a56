//! Static pod manifests: images that the kubelet will need although no container uses them yet.
//!
//! The kubelet reads every file of `staticPodPath` but those that begin with a dot (`pkg/kubelet/config/file.go`). A manifest
//! that can't be parsed is searched for image names all the same: it may be half written, or newer than we know.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;
use serde_json::Value;

use crate::files::read_text;
use crate::inventory::StaticPod;
use crate::reference::Reference;

/// Folders of kubeadm, k3s and RKE2.
const FOLDERS: [&str; 3] =
    ["/etc/kubernetes/manifests", "/var/lib/rancher/k3s/agent/pod-manifests", "/var/lib/rancher/rke2/agent/pod-manifests"];
/// Largest manifest that the kubelet reads (`maxConfigLength` in `pkg/kubelet/config/common.go`).
const CAP: u64 = 10 << 20;

/// All manifests on this node, and what could not be understood. A folder that can't be read is an error: it hides uses.
///
/// `configured` are the kubelet's own folders.
pub fn collect_static_pods(configured: &BTreeSet<PathBuf>) -> Result<(Vec<StaticPod>, Vec<String>)> {
    let folders: BTreeSet<PathBuf> = FOLDERS.iter().map(PathBuf::from).chain(configured.iter().cloned()).collect();
    let mut gaps = Vec::new();
    let mut pods = Vec::new();
    for folder in folders {
        for file in manifests(&folder).with_context(|| format!("list static pods in {}", folder.display()))? {
            let text = read_text(&file, CAP).with_context(|| format!("read the static pod {}", file.display()))?;
            let (images, gap) = parse_manifest(&text);
            gaps.extend(gap.map(|gap| format!("static pod {}: {gap}", file.display())));
            pods.push(StaticPod { path: file, images });
        }
    }
    Ok((pods, gaps))
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // `staticPodPath` may name a file; a path that leads nowhere holds no pods.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(vec![folder.to_owned()]),
        Err(error) => return Err(error.into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The images a manifest names, and what went wrong in reading it.
fn parse_manifest(text: &str) -> (Vec<Reference>, Option<String>) {
    let mut images = BTreeSet::new();
    let gap = if let Ok(documents) = serde_saphyr::from_multiple::<Value>(text) {
        gather(&Value::Array(documents), &mut images);
        None
    } else {
        images.extend(guess(text));
        Some(format!("is no valid YAML; {} image names were found by their look", images.len()))
    };
    (images.into_iter().map(Reference::new).collect(), gap)
}

/// Every `image: name`, wherever it stands, and every image volume's `image: {reference: name}`.
fn gather(value: &Value, images: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(image) = map.get("image") {
                let name = image.as_str().or_else(|| image.get("reference").and_then(Value::as_str));
                images.extend(name.map(|name| name.trim().to_owned()));
            }
            for value in map.values() {
                gather(value, images);
            }
        }
        Value::Array(items) => {
            for item in items {
                gather(item, images);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn guess(text: &str) -> impl Iterator<Item = String> {
    static IMAGE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"["']?(?:image|reference)["']?\s*:\s*["']?([A-Za-z0-9][^\s"',}]*)"#).expect("a valid pattern"));
    IMAGE.captures_iter(text).map(|found| found[1].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse_manifest(text).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_the_images_of_every_kind_of_container_and_volume() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  initContainers:\n  - {name: i, image: init:1}\n  containers:\n  - name: a\n    image: \"registry.k8s.io/etcd:3.5\"\n  volumes:\n  - name: v\n    image: {reference: quay.io/data:2}\n";
        assert_eq!(names(text), ["init:1", "quay.io/data:2", "registry.k8s.io/etcd:3.5"]);
    }

    #[test]
    fn reads_json_and_several_documents() {
        assert_eq!(names(r#"{"kind":"Pod","spec":{"containers":[{"image":"a:1"}]}}"#), ["a:1"]);
        assert_eq!(names("image: a:1\n---\nimage: b:1\n"), ["a:1", "b:1"]);
    }

    #[test]
    fn a_manifest_that_is_half_there_still_protects_what_it_names() {
        let (images, gap) = parse_manifest("spec:\n  containers:\n  - image: quay.io/a/b:1\n   command: [\"x\n\t image: 'c:2'");
        assert_eq!(images, [Reference::new("c:2"), Reference::new("quay.io/a/b:1")].map(|r| r));
        assert!(gap.is_some());
    }

    #[test]
    fn reads_as_much_of_a_manifest_as_the_kubelet_does() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let comment = format!("# {}\n", "x".repeat(5 << 20));
        fs::write(file.path(), format!("spec:\n  containers:\n{comment}  - image: a:1\n")).expect("write");
        assert_eq!(names(&read_text(file.path(), CAP).expect("read")), ["a:1"]);
    }

    #[test]
    fn an_empty_file_names_nothing() {
        assert!(names("").is_empty());
    }
}
