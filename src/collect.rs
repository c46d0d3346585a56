//! Probes → inventory: asks the runtime and the node, and puts the answers together.
//!
//! An unknown fact about one image is noted with that image. A listing that failed is an error: what it would have shown
//! can't be guessed, so there is no inventory and nothing is removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk;
use crate::inventory::{Image, Inventory, Origin, Part, PulledAtSource, Runtime, SCHEMA_VERSION, User, UserKind};
use crate::plan::removal_order;
use crate::process::Runner;
use crate::reference::{Digest, ImageId, Reference};
use crate::runtime::containerd::{blob_file, collect_settings, pulled_at};
use crate::runtime::content::Content;
use crate::runtime::ctr::{Ctr, Record, both, by_name, by_pin, by_target};
use crate::runtime::{Found, Wanted};
use crate::state::State;
use crate::static_pods::collect_static_pods;
use crate::units::Timestamp;
use crate::uses::collect_uses;

/// What the node is asked with, and what is remembered of it.
pub struct Probe<'a> {
    /// Starts programs.
    pub runner: &'a dyn Runner,
    /// The runtime that is meant.
    pub found: &'a Found,
    /// What the configuration says about it.
    pub wanted: &'a Wanted,
    /// `ctr` on that runtime.
    pub ctr: &'a Ctr<'a>,
    /// What earlier runs saw.
    pub state: &'a State,
    /// Now.
    pub now: Timestamp,
}

/// Gathers every fact the plan needs.
pub fn collect(probe: &Probe) -> Result<Inventory> {
    let ctr = probe.ctr;
    let version = ctr.server_version().context("ask the runtime for its version")?;
    let settings = collect_settings(probe.runner, probe.found, &probe.wanted.trusted_dirs);
    let root = settings.root.clone().unwrap_or_else(|| probe.found.data.clone());
    let content = ctr.content().context("list content")?;
    let names = ctr.names().context("list images")?;
    let resolved = resolve(ctr, &names, &content).context("list images")?;
    let mut gaps = settings.gaps;
    gaps.extend(resolved.gap());
    let mut images = group(&resolved, &content);
    let mut parts = Parts::new(&root);
    for image in &mut images {
        parts.add_blobs(image, &content);
    }
    gaps.extend(parts.add_snapshots(ctr, &mut images, &content));
    let tops: BTreeSet<&str> = images.iter().flat_map(|image| &image.snapshots).map(String::as_str).collect();
    let uses = collect_uses(ctr, &content.snapshotters(), &tops)?;
    let (static_pods, pod_gaps) = collect_static_pods()?;
    gaps.extend(pod_gaps);
    let (side_loaded, list_gaps) = collect_side_loaded();
    gaps.extend(list_gaps);
    for image in &mut images {
        image.users.extend(uses.of(&image.snapshots, &image.references));
    }
    gaps.extend(uses.gaps);
    probe.state.recall(&mut images, probe.now);
    let disks = disk::usage(&root).map_or_else(
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
            name: "containerd".into(),
            version,
            endpoint: format!("unix://{}", probe.found.socket.display()),
            namespace: ctr.namespace.clone(),
            ctr: Some(ctr.program.clone()),
            crictl: None,
        },
        booted_at: booted_at(probe.now),
        runtime_started_at: probe.found.started_at,
        sandbox_image: settings.sandbox_image,
        static_pods,
        side_loaded,
        snapshotters: content.snapshotters(),
        images,
        parts: parts.all,
        disks,
        gaps,
    };
    if !inventory.sandbox_image_is_known() && inventory.images.iter().any(Image::looks_like_a_sandbox_image) {
        let gap = "nothing tells which image the sandboxes are made from; images that look like one stay";
        inventory.gaps.push(gap.into());
    }
    Ok(inventory)
}

/// Where each reference leads.
struct Resolved {
    targets: BTreeMap<Reference, Digest>,
    pins: HashMap<Reference, &'static str>,
    /// Listed, but nothing tells where they lead.
    lost: Vec<Reference>,
}

impl Resolved {
    fn gap(&self) -> Option<String> {
        let first = self.lost.first()?;
        Some(format!("where {} names lead can't be told, {first} first; an image they lead to is spared", self.lost.len()))
    }
}

/// Finds where each name leads without opening every manifest: guess from the name, let containerd confirm all guesses in
/// one listing, and ask for the whole record only where there was no guess or it was wrong.
fn resolve(ctr: &Ctr, names: &BTreeSet<Reference>, content: &Content) -> Result<Resolved> {
    let guesses = guess_targets(names, content);
    let filters: Vec<String> = guesses.iter().map(|(name, target)| both(&by_name(name), &by_target(target))).collect();
    let confirmed = ctr.names_matching(&filters)?;
    let open: Vec<&Reference> = names.iter().filter(|name| !confirmed.contains(name)).collect();
    let asked: Vec<String> = open.iter().copied().map(by_name).chain(by_pin()).collect();
    let records = ctr.records_matching(&asked)?;
    let mut targets: BTreeMap<Reference, Digest> = guesses.into_iter().filter(|(name, _)| confirmed.contains(name)).collect();
    targets.extend(records.iter().map(|record| (record.reference.clone(), record.target.clone())));
    let pins = records.into_iter().filter_map(|Record { reference, pinned, .. }| Some((reference, pinned?))).collect();
    let lost = names.iter().filter(|name| !targets.contains_key(name)).cloned().collect();
    Ok(Resolved { targets, pins, lost })
}

/// A digest reference says it; a bare ID names a config that one manifest leads to; a tag probably leads where the only
/// digest of its repository does.
fn guess_targets(names: &BTreeSet<Reference>, content: &Content) -> BTreeMap<Reference, Digest> {
    let mut by_repository: HashMap<String, BTreeSet<Digest>> = HashMap::new();
    let parsed = || names.iter().filter(|name| name.is_well_formed()).filter_map(|name| Some((name, name.named()?)));
    for (_, named) in parsed() {
        by_repository.entry(named.repository()).or_default().extend(named.digest);
    }
    let mut guesses = BTreeMap::new();
    for (name, named) in parsed() {
        let guess = match &named.digest {
            Some(digest) => Some(digest.clone()),
            None => only(by_repository.get(&named.repository()).into_iter().flatten()).or_else(|| {
                let origin = Origin { host: named.host().to_owned(), repository: named.path.clone() };
                only(content.targets_from(&origin))
            }),
        };
        guesses.extend(guess.map(|target| (name.clone(), target)));
    }
    for name in names {
        let target = name.bare_id().and_then(|config| only(content.above(&config).iter()));
        guesses.extend(target.map(|target| (name.clone(), target)));
    }
    guesses
}

fn only<'a>(mut digests: impl Iterator<Item = &'a Digest>) -> Option<Digest> {
    match (digests.next(), digests.next()) {
        (Some(digest), None) => Some(digest.clone()),
        (Some(_) | None, _) => None,
    }
}

/// References by image ID, each image with all that the content graph tells of it.
fn group(resolved: &Resolved, content: &Content) -> Vec<Image> {
    let bare: BTreeSet<Digest> = resolved.targets.keys().filter_map(Reference::bare_id).collect();
    let mut groups: BTreeMap<Digest, Vec<(&Reference, &Digest)>> = BTreeMap::new();
    for (name, target) in &resolved.targets {
        let configs = content.configs(target);
        // containerd's own choice among several platforms is the one it gave a bare name.
        let chosen = name.bare_id().or_else(|| configs.intersection(&bare).next().cloned());
        let config = chosen.or_else(|| configs.first().cloned()).unwrap_or_else(|| target.clone());
        groups.entry(config).or_default().push((name, target));
    }
    let build = |(config, members): (Digest, Vec<(&Reference, &Digest)>)| build_image(&config, &members, resolved, content);
    groups.into_iter().map(build).collect()
}

fn build_image(config: &Digest, members: &[(&Reference, &Digest)], resolved: &Resolved, content: &Content) -> Image {
    let names: Vec<Reference> = members.iter().map(|(name, _)| (*name).clone()).collect();
    let targets: BTreeSet<&Digest> = members.iter().map(|(_, target)| *target).collect();
    let mut digests = content.above(config);
    digests.extend(targets.iter().copied().cloned());
    let configs: BTreeSet<Digest> = targets.iter().flat_map(|target| content.configs(target)).collect();
    let snapshots: BTreeSet<String> =
        configs.iter().filter_map(|config| content.blob(config)).flat_map(|blob| &blob.snapshots).map(|(_, key)| key.clone()).collect();
    let mut origins: Vec<Origin> = targets.iter().filter_map(|target| content.blob(target)).flat_map(|blob| blob.origins.clone()).collect();
    origins.sort();
    origins.dedup();
    let mut image = Image {
        id: ImageId::of_config(config),
        pinned: names.iter().find_map(|name| resolved.pins.get(name)).map(ToString::to_string),
        references: removal_order(&names),
        digests: digests.into_iter().collect(),
        size_bytes: 0,
        parts: Vec::new(),
        snapshots: snapshots.into_iter().collect(),
        pulled_at: None,
        pulled_at_source: None,
        renamed_at: None,
        last_used_at: None,
        origins,
        users: Vec::new(),
        removal_begun: false,
    };
    image.users.extend(what_hides_its_use(&image, content).map(|why| User { kind: UserKind::Unknown, id: why, pod: None }));
    image
}

/// Why it can't be told whether anything uses an image; such an image stays.
fn what_hides_its_use(image: &Image, content: &Content) -> Option<String> {
    if let Some(strange) = image.references.iter().find(|name| !name.is_well_formed()) {
        return Some(format!("a name of it holds characters that no reference may hold: {}", crate::units::printable(strange.as_str())));
    }
    if let Some(missing) = image.digests.iter().find(|digest| content.blob(digest).is_none()) {
        return Some(format!("its manifest {missing} is missing"));
    }
    image.snapshots.is_empty().then(|| "it is not unpacked".to_owned())
}

/// Blobs and snapshots of all images, each once.
struct Parts<'a> {
    root: &'a Path,
    all: Vec<Part>,
    positions: HashMap<String, usize>,
}

impl<'a> Parts<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, all: Vec::new(), positions: HashMap::new() }
    }

    fn add(&mut self, key: &str, bytes: u64) -> usize {
        *self.positions.entry(key.to_owned()).or_insert_with(|| {
            self.all.push(Part { bytes, held_elsewhere: false });
            self.all.len() - 1
        })
    }

    /// The blobs of an image: their sizes, and the time of its newest manifest.
    fn add_blobs(&mut self, image: &mut Image, content: &Content) {
        let blobs: BTreeSet<Digest> = image.digests.iter().flat_map(|digest| content.below(digest)).collect();
        for digest in &blobs {
            let file = fs::metadata(blob_file(self.root, digest)).ok();
            let printed = content.blob(digest).map_or(0, |blob| blob.printed_bytes);
            let bytes = file.as_ref().map_or(printed, fs::Metadata::len);
            image.size_bytes += bytes;
            let part = self.add(digest.as_str(), file.map_or(printed, |file| on_disk(&file)));
            image.parts.push(part);
        }
        image.pulled_at = pulled_at(self.root, &image.digests);
        image.pulled_at_source = image.pulled_at.map(|_| PulledAtSource::Blob);
    }

    /// The snapshots of all images, layer by layer; without their sizes there is a gap, and a total that is too small.
    fn add_snapshots(&mut self, ctr: &Ctr, images: &mut [Image], content: &Content) -> Option<String> {
        let mut gap = None;
        for snapshotter in content.snapshotters() {
            let chains = match LayerSizes::collect(ctr, &snapshotter) {
                Ok(chains) => chains,
                Err(error) => {
                    gap = Some(format!("measure snapshots: {error:#}"));
                    continue;
                }
            };
            for image in images.iter_mut() {
                let layers: BTreeSet<&str> = image.snapshots.iter().flat_map(|top| chains.below(top)).collect();
                let positions = layers.into_iter().map(|layer| self.add(&format!("{snapshotter}/{layer}"), chains.bytes(layer)));
                image.parts.extend(positions.collect::<Vec<_>>());
            }
        }
        gap
    }
}

fn on_disk(file: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.blocks() * 512
}

/// Committed snapshots of one snapshotter: what each lies on, and how large it is.
struct LayerSizes {
    parents: HashMap<String, Option<String>>,
    sizes: HashMap<String, u64>,
}

impl LayerSizes {
    fn collect(ctr: &Ctr, snapshotter: &str) -> Result<Self> {
        let committed = ctr.snapshots(snapshotter)?.into_iter().filter(|snapshot| snapshot.is_committed);
        let parents: HashMap<_, _> = committed.map(|snapshot| (snapshot.key, snapshot.parent)).collect();
        let keys: Vec<String> = parents.keys().cloned().collect();
        Ok(Self { sizes: ctr.snapshot_sizes(snapshotter, &keys)?, parents })
    }

    /// A layer and all that it lies on.
    fn below<'a>(&'a self, top: &'a str) -> impl Iterator<Item = &'a str> {
        let known = self.parents.contains_key(top).then_some(top);
        std::iter::successors(known, |key| self.parents.get(*key).and_then(|parent| parent.as_deref()))
    }

    fn bytes(&self, key: &str) -> u64 {
        self.sizes.get(key).copied().unwrap_or(0)
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
