//! A filled disk, made once and kept: copied before each measurement, so that each begins with the very same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Containerd, Image, PodState, Settings, make_disk};
use serde_json::{Value, json};

const VERSION: &str = "1.7";
const REGISTRY: &str = "registry.example.com";
const AGE: Duration = Duration::from_hours(48);

/// The disk of a containerd with so many unused images, and what is on it.
pub struct State {
    disk: PathBuf,
    images: Vec<Unused>,
    kept: Counts,
}

/// An image that may go.
#[derive(Clone, Debug)]
pub struct Unused {
    /// Its image ID.
    pub id: String,
    /// All that lead to it: its tag, `repository@digest`, and the bare ID.
    pub references: Vec<String>,
}

/// How much of each kind there is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub references: usize,
    pub blobs: usize,
    pub snapshots: usize,
}

impl State {
    /// The one that was kept, or a new one.
    pub fn of(count: usize) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let (disk, facts) = (folder.join(format!("state-{count}.img")), folder.join(format!("state-{count}.json")));
        if !facts.exists() {
            fs::write(&facts, fill(&disk, count)?.to_string())?;
        }
        let facts: Value = serde_json::from_slice(&fs::read(&facts)?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("read a kept name");
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>>>();
        let unused = |image: &Value| Ok(Unused { id: text(&image["id"])?, references: texts(&image["references"])? });
        let images = facts["images"].as_array().into_iter().flatten().map(unused).collect::<Result<Vec<_>>>()?;
        let number = |key: &str| facts[key].as_u64().and_then(|number| usize::try_from(number).ok()).context("read a kept number");
        let kept = Counts { references: number("references")?, blobs: number("blobs")?, snapshots: number("snapshots")? };
        ensure!(images.len() == count && images.iter().all(|image| image.references.len() == 3), "the kept state is another one");
        Ok(Self { disk, images, kept })
    }

    /// How many unused images.
    pub fn count(&self) -> usize {
        self.images.len()
    }

    /// The unused images.
    pub fn images(&self) -> &[Unused] {
        &self.images
    }

    /// A containerd on a fresh copy of the disk, at rest.
    pub fn restore(&self) -> Result<Containerd> {
        let copy = self.disk.with_extension("copy");
        run(Command::new("cp").arg("--sparse=always").arg(&self.disk).arg(&copy))?;
        let lab = start(&copy)?;
        run(&mut Command::new("sync"))?;
        ensure!(counts(&lab)?.references == self.kept.references + 3 * self.count(), "the copy is not what was kept");
        Ok(lab)
    }

    /// What is left in the store of that which may go.
    pub fn left(&self, lab: &Containerd) -> Result<Counts> {
        let now = counts(lab)?;
        Ok(Counts {
            references: now.references.saturating_sub(self.kept.references),
            blobs: now.blobs.saturating_sub(self.kept.blobs),
            snapshots: now.snapshots.saturating_sub(self.kept.snapshots),
        })
    }

    /// Of containerd.
    pub fn versions(&self) -> Result<String> {
        let version = self.restore()?.ctr(&["version"])?;
        let server = version.lines().skip_while(|line| line.trim() != "Server:").nth(1).context("find the server's version")?;
        Ok(format!("containerd {}", server.trim().trim_start_matches("Version:").trim()))
    }
}

fn start(disk: &Path) -> Result<Containerd> {
    Containerd::with(&Settings { version: VERSION, disk_file: Some(disk.to_owned()), ..Settings::default() })
}

/// A pod with a container that was made and not started, and `count` images that are as a pull two days ago left them.
fn fill(disk: &Path, count: usize) -> Result<Value> {
    eprintln!("filling a disk with {count} images, which is done once: please wait");
    make_disk(disk, 512 + u32::try_from(count)? / 2)?;
    let lab = start(disk)?;
    let neighbour = lab.cri_pull(&Image::new(&format!("{REGISTRY}/neighbour:1")))?;
    lab.pod("neighbour", neighbour.name(), PodState::Created)?;
    let kept = counts(&lab)?;
    let images: Vec<Image> = (0..count).map(|i| Image::new(&format!("{REGISTRY}/bench/app{i}:{i}"))).collect();
    lab.cri_pull_all(&images)?;
    lab.age_all(AGE)?;
    let unused = unused(&lab)?;
    drop(lab);
    Ok(json!({"images": unused, "references": kept.references, "blobs": kept.blobs, "snapshots": kept.snapshots}))
}

fn unused(lab: &Containerd) -> Result<Vec<Value>> {
    let listed: Value = serde_json::from_str(&lab.crictl(&["images", "-o", "json"])?)?;
    let texts = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let own = |image: &&Value| texts(&image["repoTags"]).iter().any(|tag| tag.as_str().is_some_and(|tag| tag.contains("/bench/")));
    let facts = |image: &Value| {
        let references = [texts(&image["repoTags"]), texts(&image["repoDigests"]), vec![image["id"].clone()]].concat();
        json!({"id": image["id"], "references": references})
    };
    Ok(listed["images"].as_array().context("list images")?.iter().filter(own).map(facts).collect())
}

fn counts(lab: &Containerd) -> Result<Counts> {
    let references = lab.ctr(&["images", "ls", "-q"])?.lines().count();
    Ok(Counts { references, blobs: lab.blobs()?.len(), snapshots: lab.snapshots()?.len() })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
