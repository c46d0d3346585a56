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
use crate::runtime::containerd::collect_settings;
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
    ///
    /// A repeated pull that is up to date leaves that time as it was; one that brought a new manifest doesn't.
    fn add_blobs(&mut self, image: &mut Image, content: &Content) {
        let blobs: BTreeSet<Digest> = image.digests.iter().flat_map(|digest| content.below(digest)).collect();
        for digest in &blobs {
            let file = fs::metadata(self.blob_file(digest)).ok();
            let printed = content.blob(digest).map_or(0, |blob| blob.printed_bytes);
            let bytes = file.as_ref().map_or(printed, fs::Metadata::len);
            image.size_bytes += bytes;
            let part = self.add(digest.as_str(), file.map_or(printed, |file| on_disk(&file)));
            image.parts.push(part);
        }
        let times = image.digests.iter().filter_map(|digest| fs::metadata(self.blob_file(digest)).ok()?.modified().ok());
        image.pulled_at = times.max().map(Timestamp::from);
        image.pulled_at_source = image.pulled_at.map(|_| PulledAtSource::Blob);
    }

    fn blob_file(&self, digest: &Digest) -> PathBuf {
        self.root.join("io.containerd.content.v1.content/blobs").join(digest.algorithm()).join(digest.hex())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::inventory::samples::now;
    use crate::process::fake::{FakeContainerd, failing, lines, output};
    use crate::process::{Failure, Output};

    const SNAPSHOTS: &str = "snapshots --snapshotter overlayfs ls";
    const USAGE: &str = "snapshots --snapshotter overlayfs usage -b";
    const APP: &str = "127.0.0.1:5000/fx/app3:v0";

    /// What one version of containerd printed, with five pods on it.
    #[derive(Clone, Copy)]
    struct Recorded {
        version: &'static str,
        client_and_server: &'static str,
        images: &'static str,
        content: &'static str,
        containers: &'static str,
        snapshots: &'static str,
    }

    macro_rules! recorded {
        ($folder:literal, $version:literal) => {
            Recorded {
                version: $version,
                client_and_server: include_str!(concat!("../tests/fixtures/", $folder, "/ctr-version.out")),
                images: include_str!(concat!("../tests/fixtures/", $folder, "/ctr-images-ls.out")),
                content: include_str!(concat!("../tests/fixtures/", $folder, "/ctr-content-ls.out")),
                containers: include_str!(concat!("../tests/fixtures/", $folder, "/ctr-containers-ls.out")),
                snapshots: include_str!(concat!("../tests/fixtures/", $folder, "/ctr-snapshots-ls.out")),
            }
        };
    }

    const ALL: [Recorded; 3] = [recorded!("1.6", "1.6.20~ds1"), recorded!("1.7", "1.7.24~ds1"), recorded!("2.1", "2.1.9+unknown")];

    impl Recorded {
        fn fake(&self) -> FakeContainerd {
            // No fixture asked for sandboxes alone: they are those that were made from the pause image.
            let sandboxes = lines(self.rows_of_containers().filter(|(_, image)| image.contains("/pause:")).map(|(id, _)| id));
            let listings = [
                ("version", self.client_and_server),
                ("content ls", self.content),
                ("containers ls", self.containers),
                ("containers ls -q", &sandboxes),
                (SNAPSHOTS, self.snapshots),
            ];
            FakeContainerd::recorded(self.images, &listings)
        }

        /// ID and printed image.
        fn rows_of_containers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
            self.containers.lines().skip(1).filter_map(|row| row.split_whitespace().next().zip(row.split_whitespace().nth(1)))
        }

        /// Name and target of each record, and whether its labels pin it.
        fn rows_of_images(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
            self.images.lines().skip(1).map(|row| {
                let words: Vec<&str> = row.split_whitespace().collect();
                (words[0], words[2], words[words.len() - 1].contains("pinned="))
            })
        }

        /// The names of each image: in these recordings no two manifests share a config.
        fn names_by_target(&self) -> BTreeMap<&'static str, BTreeSet<Reference>> {
            let mut groups = BTreeMap::<_, BTreeSet<Reference>>::new();
            for (name, target, _) in self.rows_of_images() {
                groups.entry(target).or_default().insert(Reference::new(name));
            }
            groups
        }
    }

    /// A data folder in which each manifest that a name leads to was stored a day ago.
    fn data_of(recorded: &Recorded) -> TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for (_, target, _) in recorded.rows_of_images() {
            store(folder.path(), &Digest::parse(target).expect("a digest"), Duration::from_hours(24));
        }
        folder
    }

    fn store(root: &Path, digest: &Digest, ago: Duration) {
        let file = Parts::new(root).blob_file(digest);
        fs::create_dir_all(file.parent().expect("a folder")).expect("make it");
        fs::write(&file, "a manifest").expect("write");
        let time = std::time::UNIX_EPOCH + Duration::from_secs(now().minus(ago).unix());
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("set the time");
    }

    fn collected(fake: &FakeContainerd, root: &Path) -> Result<Inventory> {
        let found = Found {
            socket: "/fake/sock".into(),
            ctr: "/fake/ctr".into(),
            prefix: Vec::new(),
            config: root.join("config.toml"),
            data: root.to_owned(),
            daemon: None,
            started_at: None,
        };
        let (wanted, state, ctr) = (Wanted::default(), State::default(), fake.ctr());
        collect(&Probe { runner: fake, found: &found, wanted: &wanted, ctr: &ctr, state: &state, now: now() })
    }

    /// The inventory of 1.7, where `answer` is given to `command` instead.
    fn collected_with(
        command: &'static str,
        answer: impl Fn(&FakeContainerd) -> Option<Result<Output, Failure>> + Send + Sync + 'static,
    ) -> Result<Inventory> {
        let data = data_of(&ALL[1]);
        let fake = ALL[1].fake().reacting(move |fake, asked| (asked.command == command).then(|| answer(fake)).flatten());
        collected(&fake, data.path())
    }

    fn named<'a>(inventory: &'a Inventory, name: &str) -> &'a Image {
        inventory.images.iter().find(|image| image.references.contains(&Reference::new(name))).expect("an image of this name")
    }

    fn unknown_users(inventory: &Inventory) -> Vec<(&str, &str)> {
        let users = inventory.images.iter().flat_map(|image| image.users.iter().map(move |user| (image, user)));
        users.filter(|(_, user)| user.kind == UserKind::Unknown).map(|(image, user)| (image.display_name(), user.id.as_str())).collect()
    }

    #[test]
    fn groups_all_references_of_an_image_under_its_id() {
        for recorded in ALL {
            let data = data_of(&recorded);
            let node = collected(&recorded.fake(), data.path()).expect("an inventory");
            let found: BTreeMap<&str, BTreeSet<Reference>> =
                node.images.iter().map(|image| (image.id.as_str(), image.references.iter().cloned().collect())).collect();
            let bare = |names: &BTreeSet<Reference>| names.iter().find(|name| name.is_bare_id()).expect("a bare ID").to_string();
            let groups = recorded.names_by_target();
            let expected: BTreeMap<String, &BTreeSet<Reference>> = groups.values().map(|names| (bare(names), names)).collect();
            assert_eq!(found, expected.iter().map(|(id, names)| (id.as_str(), (*names).clone())).collect(), "{}", recorded.version);
            for image in &node.images {
                assert_eq!(image.references, removal_order(&image.references));
                assert!(
                    image
                        .digests
                        .iter()
                        .any(|digest| groups.get(digest.as_str()).is_some_and(|names| names.contains(&image.references[0]))),
                    "{image:?}"
                );
            }
        }
    }

    #[test]
    fn knows_version_ages_and_pins() {
        for recorded in ALL {
            let data = data_of(&recorded);
            let node = collected(&recorded.fake(), data.path()).expect("an inventory");
            assert_eq!((node.runtime.version.as_str(), node.runtime.namespace.as_str()), (recorded.version, "k8s.io"));
            let day_ago = Some(now().minus(Duration::from_hours(24)));
            assert!(node.images.iter().all(|image| image.pulled_at == day_ago && image.pulled_at_source == Some(PulledAtSource::Blob)));
            let pinned: BTreeSet<&str> = node.images.iter().filter(|image| image.pinned.is_some()).map(Image::display_name).collect();
            let expected: BTreeSet<&str> =
                recorded.rows_of_images().filter(|(name, _, pinned)| *pinned && name.contains('/')).map(|(name, ..)| name).collect();
            assert_eq!(pinned, expected);
            assert_eq!(pinned, BTreeSet::from(["registry.lab/pause:1"]));
        }
    }

    #[test]
    fn knows_who_uses_what_and_tells_sandboxes_from_containers() {
        for recorded in ALL {
            let data = data_of(&recorded);
            let node = collected(&recorded.fake(), data.path()).expect("an inventory");
            let users = node.images.iter().flat_map(|image| image.users.iter().map(move |user| (user.id.as_str(), (image, user.kind))));
            let users: BTreeMap<&str, (&Image, UserKind)> = users.collect();
            assert_eq!(users.len(), recorded.rows_of_containers().count(), "{}", recorded.version);
            for (id, image) in recorded.rows_of_containers() {
                let kind = if image == "registry.lab/pause:1" { UserKind::Sandbox } else { UserKind::Container };
                assert_eq!(users[id], (named(&node, image), kind), "{id}");
            }
            assert_eq!(named(&node, "registry.lab/pause:1").users.len(), 5);
            assert!(named(&node, APP).users.is_empty());
        }
    }

    #[test]
    fn opens_the_manifests_of_few_images_and_asks_for_them_once() {
        for recorded in ALL {
            let data = data_of(&recorded);
            let fake = recorded.fake();
            collected(&fake, data.path()).expect("an inventory");
            let [asked] = &fake.args_of("images ls")[..] else { panic!("one call") };
            let guessed = |name: &&str| Reference::new(*name).named().is_some_and(|named| named.registry == "127.0.0.1:5000");
            let open = recorded.rows_of_images().map(|(name, ..)| name).filter(|name| !guessed(name)).count();
            assert!(!asked.is_empty() && asked.len() <= open + by_pin().count(), "{} filters, {open} names without a digest", asked.len());
            let calls = fake.calls();
            assert!(calls.iter().all(|asked| !asked.command.ends_with("rm") && !asked.command.starts_with("leases")));
            assert!(calls.len() <= 11, "{} calls", calls.len());
        }
    }

    #[test]
    fn a_listing_that_fails_is_an_error_that_names_it() {
        for command in ["version", "content ls", "images ls -q", "images ls", "containers ls", "containers ls -q", SNAPSHOTS] {
            let error = format!("{:#}", collected_with(command, |_| failing()).expect_err(command));
            assert!(error.contains(&format!("ctr {command}")) && error.ends_with(": exit status 1: ctr: broken"), "{error}");
            let error = collected_with(command, |_| Some(Err(Failure::Interrupted))).expect_err(command);
            assert!(error.chain().any(|cause| cause.downcast_ref() == Some(&Failure::Interrupted)), "{error:#}");
        }
    }

    #[test]
    fn the_second_listing_of_names_must_not_fail_either() {
        let error = collected_with("images ls -q", |fake| (fake.args_of("images ls -q").len() == 2).then(failing)?).expect_err("broken");
        assert!(format!("{error:#}").contains("list images: ctr images ls -q: "), "{error:#}");
    }

    #[test]
    fn a_listing_that_is_cut_off_or_garbled_is_an_error_that_names_it() {
        for (command, noun, whole) in [
            ("version", "version", ALL[1].client_and_server),
            ("content ls", "content", ALL[1].content),
            ("images ls -q", "images", ALL[1].images),
            ("images ls", "images", ALL[1].images),
            ("containers ls", "containers", ALL[1].containers),
            ("containers ls -q", "sandboxes", ALL[1].containers),
            (SNAPSHOTS, "snapshots", ALL[1].snapshots),
        ] {
            // In the middle of a line.
            let half = whole[..whole.len() / 2].trim_end().to_owned();
            for text in [half, "<html>502 Bad Gateway".to_owned()] {
                let answer = text.clone();
                let result = collected_with(command, move |_| Some(Ok(output(0, &answer, ""))));
                let error = format!("{:#}", result.expect_err(command));
                assert!(error.contains(noun), "{command}, {text:.40}: {error}");
            }
        }
    }

    #[test]
    fn a_listing_that_shows_nothing_and_complains_is_an_error() {
        for command in ["version", "content ls", "images ls -q", "images ls", "containers ls", "containers ls -q", SNAPSHOTS] {
            let complaint = "ctr: transport is closing\n";
            let error = format!("{:#}", collected_with(command, move |_| Some(Ok(output(0, "", complaint)))).expect_err(command));
            assert!(error.contains(&format!("ctr {command}")) && error.ends_with(": showed nothing: ctr: transport is closing"), "{error}");
        }
    }

    #[test]
    fn a_warning_beside_an_empty_listing_is_no_error() {
        for warning in ["time=\"2026-11-22T10:40:39Z\" level=warning msg=\"DEPRECATION: soon\"\n", "DEPRECATION: soon\n"] {
            let node = collected_with("containers ls -q", move |_| Some(Ok(output(0, "", warning)))).expect("an inventory");
            assert!(node.images.iter().flat_map(|image| &image.users).all(|user| user.kind == UserKind::Container));
        }
    }

    #[test]
    fn an_image_whose_manifest_is_missing_has_an_unknown_use_and_the_others_do_not() {
        let target = &named(&collected_with("version", |_| None).expect("an inventory"), APP).digests[0].clone();
        let without = lines(ALL[1].content.lines().filter(|row| !row.starts_with(target.as_str())));
        let node = collected_with("content ls", move |_| Some(Ok(output(0, &without, "")))).expect("an inventory");
        let missing = format!("its manifest {target} is missing");
        let unknown = unknown_users(&node);
        assert!(!unknown.is_empty() && unknown.iter().all(|(_, why)| *why == missing), "{unknown:?}");
        assert!(unknown.contains(&(APP, &missing)));
        let known = node.images.iter().filter(|image| !image.digests.contains(target)).count();
        assert_eq!(known, 16, "the names of one image are concerned");
    }

    #[test]
    fn an_image_that_is_not_unpacked_has_an_unknown_use() {
        let config = named(&collected_with("version", |_| None).expect("an inventory"), APP).id.to_string();
        let packed = |row: &str| {
            if row.starts_with(&config) {
                row.split(",containerd.io/gc.ref.snapshot").next().unwrap_or(row).to_owned()
            } else {
                row.to_owned()
            }
        };
        let content = lines(ALL[1].content.lines().map(packed));
        assert_ne!(content, ALL[1].content);
        let node = collected_with("content ls", move |_| Some(Ok(output(0, &content, "")))).expect("an inventory");
        assert_eq!(unknown_users(&node), [(APP, "it is not unpacked")]);
    }

    #[test]
    fn an_image_with_a_hostile_name_has_an_unknown_use() {
        let data = data_of(&ALL[1]);
        let target = named(&collected(&ALL[1].fake(), data.path()).expect("an inventory"), APP).digests[0].clone();
        for name in ["--all", "a\u{1b}[2Jb", "a\"b", "ä:1"] {
            let fake = ALL[1].fake();
            fake.name(name, &target);
            let node = collected(&fake, data.path()).expect("an inventory");
            let [(image, why)] = unknown_users(&node)[..] else { panic!("{name:?}: one image") };
            assert_eq!(named(&node, name).display_name(), image);
            assert!(why.starts_with("a name of it holds characters that no reference may hold: ") && !why.contains('\u{1b}'), "{why}");
            assert_eq!(named(&node, APP).references, named(&node, name).references);
        }
    }

    #[test]
    fn a_name_that_leads_nowhere_any_more_is_a_gap() {
        let node = collected_with("images ls", |fake| {
            assert!(fake.unname(&Reference::new("registry.lab/multi0:v0")));
            None
        });
        let node = node.expect("an inventory");
        assert!(
            node.gaps.iter().any(|gap| gap.contains("where 1 names lead can't be told, registry.lab/multi0:v0 first")),
            "{:?}",
            node.gaps
        );
        assert_eq!(node.images.len(), 17, "its bare ID is left");
    }

    #[test]
    fn the_newest_manifest_tells_the_age_and_a_missing_one_nothing() {
        let data = data_of(&ALL[1]);
        let app = named(&collected(&ALL[1].fake(), data.path()).expect("an inventory"), APP).digests[0].clone();
        store(data.path(), &app, Duration::from_mins(5));
        let other =
            Digest::parse(ALL[1].names_by_target().keys().find(|target| **target != app.as_str()).expect("another")).expect("a digest");
        fs::remove_file(Parts::new(data.path()).blob_file(&other)).expect("take it away");
        let node = collected(&ALL[1].fake(), data.path()).expect("an inventory");
        assert_eq!(named(&node, APP).pulled_at, Some(now().minus(Duration::from_mins(5))));
        let unknown: Vec<&Image> = node.images.iter().filter(|image| image.pulled_at.is_none()).collect();
        assert!(matches!(unknown[..], [image] if image.digests.contains(&other) && image.pulled_at_source.is_none()));
    }

    #[test]
    fn sizes_that_can_not_be_had_are_a_gap_and_hide_no_image() {
        let with = collected_with("version", |_| None).expect("an inventory");
        let without = collected_with(USAGE, |_| failing()).expect("an inventory");
        let gap = format!("measure snapshots: ctr {USAGE}: exit status 1: ctr: broken");
        assert!(without.gaps.contains(&gap) && !with.gaps.contains(&gap), "{:?}", without.gaps);
        let users = |node: &Inventory| node.images.iter().map(|image| (image.id.clone(), image.users.clone())).collect::<Vec<_>>();
        assert_eq!(users(&with), users(&without));
        let bytes = |node: &Inventory| node.parts.iter().map(|part| part.bytes).sum::<u64>();
        assert!(bytes(&with) > bytes(&without));
    }

    #[test]
    fn what_the_daemon_does_not_tell_is_a_gap() {
        let node = collected_with("version", |_| None).expect("an inventory");
        assert!(node.gaps.iter().any(|gap| gap.starts_with("read containerd's configuration: ")), "{:?}", node.gaps);
        assert_eq!(node.sandbox_image.names, []);
        let data = data_of(&ALL[1]);
        fs::write(data.path().join("config.toml"), "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.lab/pause:1\"\n")
            .expect("write");
        let node = collected(&ALL[1].fake(), data.path()).expect("an inventory");
        assert_eq!(node.sandbox_image.names, [Reference::new("registry.lab/pause:1")]);
        assert!(node.gaps.is_empty(), "{:?}", node.gaps);
    }

    #[test]
    fn a_disk_that_can_not_be_measured_is_a_gap() {
        let node = collected(&ALL[1].fake(), Path::new("/nonexistent")).expect("an inventory");
        assert!(node.disks.is_empty());
        assert!(node.gaps.iter().any(|gap| gap.starts_with("measure the image file system: ")), "{:?}", node.gaps);
    }

    #[test]
    fn a_container_without_snapshot_and_image_is_a_gap() {
        let rows = format!("{}lonely - io.containerd.runc.v2\n", ALL[1].containers);
        let data = data_of(&ALL[1]);
        let fake = ALL[1].fake().reacting(move |_, asked| match asked.command {
            "containers ls" => Some(Ok(output(0, &rows, ""))),
            "containers info" => Some(Ok(output(0, "{\"SnapshotKey\": \"\"}", ""))),
            _ => None,
        });
        let node = collected(&fake, data.path()).expect("an inventory");
        assert!(node.gaps.contains(&"container lonely has neither a snapshot nor an image".to_owned()), "{:?}", node.gaps);
        let broken = ALL[1].fake().reacting(move |_, asked| match asked.command {
            "containers ls" => Some(Ok(output(0, "CONTAINER IMAGE RUNTIME\nlonely - x\n", ""))),
            "containers info" => failing(),
            _ => None,
        });
        let error = format!("{:#}", collected(&broken, data.path()).expect_err("broken"));
        assert!(error.contains("ctr containers info lonely: exit status 1: ctr: broken"), "{error}");
    }

    #[test]
    fn an_empty_node_has_an_empty_inventory() {
        let data = tempfile::tempdir().expect("folder");
        let fake = FakeContainerd::holding(&[]);
        let node = collected(&fake, data.path()).expect("an inventory");
        assert!(node.images.is_empty() && node.parts.is_empty());
    }
}
