//! The installer image, read as a registry or a runtime reads it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::Containerd;
use serde_json::Value;
use tempfile::TempDir;

use crate::{release, run, same_bytes, sh, text, whole_release};

/// The archive, unpacked.
struct Layout(TempDir);

impl Layout {
    fn of(release: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        run("tar", &["-C", text(folder.path())?, "-xf", text(&release.join("nuke-images-image.tar"))?])?;
        Ok(Self(folder))
    }

    /// The file of a descriptor, which must be what the descriptor says.
    fn blob(&self, descriptor: &Value) -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("a digest")?;
        let path = self.0.path().join("blobs/sha256").join(digest);
        let sum = run("sha256sum", &[text(&path)?])?;
        ensure!(sum.starts_with(digest) && descriptor["size"] == fs::metadata(&path)?.len(), "{descriptor}: {sum}");
        Ok(path)
    }

    fn json(&self, descriptor: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.blob(descriptor)?)?)?)
    }

    fn manifests(&self) -> Result<Vec<Value>> {
        let index: Value = serde_json::from_slice(&fs::read(self.0.path().join("index.json"))?)?;
        let image = self.json(&index["manifests"][0])?;
        image["manifests"].as_array().cloned().context("manifests")
    }

    /// That platform's image holds that binary and nothing else, and starts it.
    fn holds_only(&self, manifest: &Value, binary: &Path) -> Result<()> {
        let manifest = self.json(manifest)?;
        let config = self.json(&manifest["config"])?;
        ensure!(config["config"]["Entrypoint"] == serde_json::json!(["/nuke-images"]), "{config}");
        ensure!(manifest["layers"].as_array().is_some_and(|layers| layers.len() == 1), "{manifest}");
        let layer = self.blob(&manifest["layers"][0])?;
        let sum = sh("gzip -dc \"$1\" | sha256sum", &[&layer])?;
        ensure!(
            config["rootfs"]["diff_ids"][0].as_str().is_some_and(|id| sum.starts_with(id.trim_start_matches("sha256:"))),
            "{config} {sum}"
        );
        let root = tempfile::tempdir()?;
        let listing = run("tar", &["-C", text(root.path())?, "-xzvvf", text(&layer)?])?;
        ensure!(listing.starts_with("-rwxr-xr-x 0/0") && listing.lines().count() == 1, "{listing}");
        same_bytes(&root.path().join("nuke-images"), binary)
    }
}

#[test]
fn the_image_holds_the_binary_and_nothing_else() -> Result<()> {
    let layout = Layout::of(release()?)?;
    let manifests = layout.manifests()?;
    ensure!(manifests.len() == 1 && manifests[0]["platform"]["architecture"] == "amd64", "{manifests:?}");
    layout.holds_only(&manifests[0], &release()?.join("nuke-images-x86_64"))
}

#[test]
fn containerd_takes_the_image() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    lab.ctr(&["images", "import", text(&release()?.join("nuke-images-image.tar"))?])?;
    let name = format!("localhost/nuke-images:{}", env!("CARGO_PKG_VERSION"));
    let images = lab.ctr(&["images", "ls"])?;
    let line = images.lines().find(|line| line.starts_with(&format!("{name} "))).with_context(|| images.clone())?;
    ensure!(line.contains("linux/amd64"), "{line}");
    let checked = lab.ctr(&["images", "check", &format!("name=={name}")])?;
    ensure!(checked.contains("complete"), "{checked}");
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_image_of_a_whole_release_is_for_both_architectures() -> Result<()> {
    let layout = Layout::of(whole_release()?)?;
    let manifests = layout.manifests()?;
    ensure!(manifests.len() == 2, "{manifests:?}");
    for (manifest, (platform, name)) in manifests.iter().zip([("amd64", "x86_64"), ("arm64", "aarch64")]) {
        ensure!(manifest["platform"]["architecture"] == platform, "{manifest}");
        layout.holds_only(manifest, &whole_release()?.join(format!("nuke-images-{name}")))?;
    }
    Ok(())
}
