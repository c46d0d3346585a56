//! Probes → inventory: asks the runtime and the node, and puts the answers together.
//!
//! An unknown fact about one image is noted with that image. A listing that failed is an error: what it would have shown
//! can't be guessed, so there is no inventory and nothing is removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, bail};

use crate::disk;
use crate::inventory::{Image, Inventory, NameIndex, Part, PulledAtSource, Runtime, SCHEMA_VERSION, SandboxImage};
use crate::kubelet::{Kubelet, Pull, collect_pulls};
use crate::process::Runner;
use crate::reference::Reference;
use crate::runtime::containerd::{Settings, collect_settings};
use crate::runtime::crictl::Crictl;
use crate::runtime::ctr::Ctr;
use crate::runtime::{Found, Kind, Wanted, crio};
use crate::state::State;
use crate::static_pods::collect_static_pods;
use crate::units::Timestamp;

pub mod crictl;
pub mod ctr;

/// What the node is asked with, and what is remembered of it.
pub struct Probe<'a> {
    /// Starts programs.
    pub runner: &'a dyn Runner,
    /// The runtime that is meant.
    pub found: &'a Found,
    /// What the configuration says about it.
    pub wanted: &'a Wanted,
    /// What the kubelet says of the node.
    pub kubelet: &'a Kubelet,
    /// `ctr` on that runtime.
    pub ctr: Option<&'a Ctr<'a>>,
    /// `crictl` on that runtime.
    pub crictl: Option<&'a Crictl<'a>>,
    /// What earlier runs saw.
    pub state: &'a State,
    /// Now.
    pub now: Timestamp,
}

/// What a runtime tells.
pub struct Facts {
    /// Of the server.
    pub version: String,
    /// With their users.
    pub images: Vec<Image>,
    /// What they consist of.
    pub parts: Vec<Part>,
    /// Snapshotters that images were unpacked with.
    pub snapshotters: BTreeSet<String>,
    /// The image that sandboxes are made from, where the runtime tells.
    pub sandbox_image: Option<Reference>,
    /// A folder on the file system that holds the images.
    pub disk: PathBuf,
    /// What could not be gathered.
    pub gaps: Vec<String>,
}

/// Gathers every fact the plan needs.
pub fn collect(probe: &Probe) -> Result<Inventory> {
    let found = probe.found;
    let (settings, listing) = thread::scope(|scope| {
        let settings = scope.spawn(|| match found.kind {
            Kind::Containerd => collect_settings(probe.runner, found, &probe.wanted.trusted_dirs),
            Kind::CriO => crio::collect_settings(&found.config),
            Kind::Docker => Settings::default(),
        });
        let listing = Listing::collect(probe);
        (join(settings), listing)
    });
    let root = settings.root.clone().unwrap_or_else(|| found.data.clone());
    let mut facts = match listing? {
        Listing::Ctr(listing) => listing.facts(&root),
        Listing::Crictl(listing, crictl) => listing.facts(crictl, found.kind, &root, &settings)?,
    };
    let mut gaps = settings.gaps;
    gaps.append(&mut facts.gaps);
    gaps.extend(probe.kubelet.gaps.iter().cloned());
    let (static_pods, pod_gaps) = collect_static_pods(&probe.kubelet.static_pods)?;
    gaps.extend(pod_gaps);
    let (side_loaded, list_gaps) = collect_side_loaded();
    gaps.extend(list_gaps);
    add_pulls(&mut facts.images, &collect_pulls());
    probe.state.recall(&mut facts.images, probe.now);
    let disks = disk::usage(&facts.disk).map_or_else(
        |error| {
            gaps.push(format!("measure the image file system: {error:#}"));
            Vec::new()
        },
        |disk| vec![disk],
    );
    let mut inventory = Inventory {
        schema_version: SCHEMA_VERSION,
        node: host_name(),
        taken_at: probe.now,
        runtime: Runtime {
            name: found.kind.name().into(),
            version: facts.version,
            endpoint: format!("unix://{}", found.socket.display()),
            namespace: match found.kind {
                Kind::Containerd => probe.ctr.map_or("k8s.io", |ctr| &ctr.namespace).to_owned(),
                Kind::CriO | Kind::Docker => String::new(),
            },
            ctr: found.ctr.as_ref().map(|program| program.path.clone()),
            crictl: found.crictl.as_ref().map(|program| program.path.clone()),
        },
        booted_at: booted_at(probe.now),
        runtime_started_at: found.started_at,
        sandbox_image: with_answer(settings.sandbox_image, facts.sandbox_image),
        static_pods,
        side_loaded,
        snapshotters: facts.snapshotters,
        images: facts.images,
        parts: facts.parts,
        disks,
        gaps,
    };
    if !inventory.sandbox_image_is_known() && inventory.images.iter().any(Image::looks_like_a_sandbox_image) {
        let gap = "nothing tells which image the sandboxes are made from; images that look like one stay";
        inventory.gaps.push(gap.into());
    }
    Ok(inventory)
}

/// What the runtime was asked for, and through which program.
enum Listing<'a> {
    Ctr(Box<ctr::Listing>),
    Crictl(crictl::Listing, &'a Crictl<'a>),
}

impl<'a> Listing<'a> {
    fn collect(probe: &'a Probe) -> Result<Self> {
        match (probe.ctr, probe.crictl) {
            (Some(ctr), crictl) => Ok(Self::Ctr(Box::new(ctr::Listing::collect(ctr, crictl)?))),
            (None, Some(crictl)) => Ok(Self::Crictl(crictl::Listing::collect(crictl)?, crictl)),
            (None, None) => bail!("there is neither ctr nor crictl to ask the runtime with"),
        }
    }
}

fn join<T>(thread: ScopedJoinHandle<T>) -> T {
    // A panic in there is a panic here.
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the configuration says, and what the runtime itself answered.
fn with_answer(mut settings: SandboxImage, answer: Option<Reference>) -> SandboxImage {
    if let Some(name) = answer.filter(|name| !settings.names.contains(name)) {
        settings.names.push(name);
        settings.source.get_or_insert_with(|| "crictl info".into());
    }
    settings
}

/// A repeated pull leaves no trace in the runtime's store; the kubelet's record of it starts the age anew.
fn add_pulls(images: &mut [Image], pulls: &[Pull]) {
    if pulls.is_empty() {
        return;
    }
    let index = NameIndex::new(images);
    for pull in pulls {
        for position in index.find(&pull.image) {
            let image = &mut images[position];
            if image.pulled_at.is_none_or(|at| at < pull.at) {
                image.pulled_at = Some(pull.at);
                image.pulled_at_source = Some(PulledAtSource::Kubelet);
            }
        }
    }
}

/// Lists of images that k3s and RKE2 were brought on (`agent/images/*.txt`), and a gap for archives, which are not opened.
fn collect_side_loaded() -> (Vec<Reference>, Vec<String>) {
    let (mut names, mut gaps) = (Vec::new(), Vec::new());
    for folder in ["/var/lib/rancher/k3s/agent/images", "/var/lib/rancher/rke2/agent/images"] {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let is_list = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "txt");
        let lists = files.iter().filter(is_list).filter_map(|file| fs::read_to_string(file).ok());
        names.extend(lists.flat_map(|text| text.split_whitespace().map(Reference::new).collect::<Vec<_>>()));
        let archives = files.iter().filter(|file| !is_list(file)).count();
        if archives > 0 {
            gaps.push(format!("{archives} image archives in {folder} are not opened: their images stay by pin or missing registry only"));
        }
    }
    (names, gaps)
}

fn booted_at(now: Timestamp) -> Option<Timestamp> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = uptime.split('.').next()?.parse().ok()?;
    Some(now.minus(std::time::Duration::from_secs(seconds)))
}

fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}
