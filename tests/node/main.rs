//! The built binary on a real containerd 1.7: what must stay is there with all its references and still runs, what must
//! go is gone with references, blobs and snapshots.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Containerd, Image, Node, Run, Stored};
use serde_json::Value;

mod hostile;
mod interruption;
mod keeps;
mod memory;
mod pods;
mod races;
mod refusals;
mod removal;
mod selection;
mod surroundings;
mod targets;

const DAY: Duration = Duration::from_hours(24);
const CLEAN: [&str; 4] = ["--yes", "--all", "--output", "json"];

fn node(lab: &Containerd) -> Result<Node<'_>> {
    Ok(lab.node()?.product(env!("CARGO_BIN_EXE_nuke-images")))
}

/// An image as the kubelet pulls it, a day ago.
fn pulled(lab: &Containerd, image: &Image) -> Result<Stored> {
    let image = lab.pull(image)?;
    lab.age(&image, DAY)?;
    Ok(image)
}

fn app(lab: &Containerd, name: &str) -> Result<Stored> {
    pulled(lab, &Image::new(&format!("registry.example.com/{name}")).content(name))
}

/// A node is never idle: something runs on it.
fn neighbour(lab: &Containerd) -> Result<Stored> {
    let image = app(lab, "neighbour:1")?;
    lab.run(image.name(), "neighbour")?;
    Ok(image)
}

fn clean(lab: &Containerd, more: &[&str]) -> Result<Run> {
    node(lab)?.run(&[&CLEAN[..], more].concat())
}

fn entry<'a>(json: &'a Value, image: &Stored) -> &'a Value {
    let images = json["images"].as_array().map_or(&[][..], Vec::as_slice);
    images.iter().find(|entry| entry["id"] == image.id.as_str()).unwrap_or(&Value::Null)
}

fn verdict<'a>(json: &'a Value, image: &Stored) -> (&'a str, &'a str, &'a str) {
    let word = |key: &str| entry(json, image)[key].as_str().unwrap_or("");
    (word("verdict"), word("reason"), word("outcome"))
}

/// Why a planned removal came to nothing.
fn error<'a>(json: &'a Value, image: &Stored) -> &'a str {
    entry(json, image)["error"].as_str().unwrap_or("")
}

fn assert_stays(lab: &Containerd, image: &Stored) -> Result<()> {
    let references = lab.references()?;
    let missing: Vec<_> = image.references.iter().filter(|name| !references.contains(*name)).collect();
    ensure!(missing.is_empty(), "{missing:?} should have stayed");
    ensure!(lab.can_run(image.name())?, "a new container of {} can't be made", image.name());
    Ok(())
}

fn assert_gone(lab: &Containerd, image: &Stored) -> Result<()> {
    let (references, snapshots) = (lab.references()?, lab.snapshots()?);
    ensure!(image.references.iter().all(|name| !references.contains(name)), "a reference of {} is left", image.name());
    ensure!(image.blobs.iter().all(|blob| !lab.has_file(blob)), "a blob of {} is left", image.name());
    ensure!(image.snapshots.iter().all(|key| !snapshots.contains(key)), "a snapshot of {} is left", image.name());
    Ok(())
}

/// The image without references that it has lost.
fn without(image: &Stored, lost: &[&str]) -> Stored {
    let mut left = image.clone();
    left.references.retain(|name| !lost.contains(&name.as_str()));
    left.names.retain(|name| !lost.contains(&name.as_str()));
    if left.names.is_empty() {
        left.names = left.references.iter().take(1).cloned().collect();
    }
    left
}
