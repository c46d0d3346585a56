//! Probes → inventory: asks the runtime and the node, and puts the answers together.
//!
//! An unknown fact about one image is noted with that image. A listing that failed is an error: what it would have shown
//! can't be guessed, so there is no inventory and nothing is removed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, bail};

use crate::disk;
use crate::inventory::{Holds, Image, Inventory, NameIndex, Part, PulledAtSource, Runtime, SCHEMA_VERSION, SandboxImage};
use crate::kubelet::{Kubelet, Pull, collect_pulls};
use crate::process::Runner;
use crate::reference::Reference;
use crate::runtime::containerd::{Settings, collect_settings, content_folder};
use crate::runtime::crictl::Crictl;
use crate::runtime::ctr::Ctr;
use crate::runtime::{Found, Kind, Wanted, crio, docker};
use crate::state::State;
use crate::static_pods::collect_static_pods;
use crate::units::Timestamp;

pub mod crictl;
pub mod ctr;

/// Folders of what k3s and RKE2 load into containerd when they start.
const IMAGE_FOLDERS: [&str; 2] = ["/var/lib/rancher/k3s/agent/images", "/var/lib/rancher/rke2/agent/images"];

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
            Kind::Docker => docker::collect_settings(&found.config),
        });
        let listing = Listing::collect(probe);
        (join(settings), listing)
    });
    let root = settings.root.clone().unwrap_or_else(|| found.data.clone());
    let mut facts = match listing? {
        Listing::Ctr(listing) => listing.facts(&root),
        Listing::Crictl(listing, crictl) => listing.facts(crictl, found, &root, &settings)?,
    };
    let tasks = match found.kind {
        Kind::Containerd => Some(settings.tasks()),
        Kind::Docker => Some(docker::containers(&root)),
        Kind::CriO => None,
    };
    let mut gaps = settings.gaps.clone();
    gaps.append(&mut facts.gaps);
    gaps.extend(probe.kubelet.gaps.iter().cloned());
    let (static_pods, pod_gaps) = collect_static_pods(&probe.kubelet.static_pods)?;
    gaps.extend(pod_gaps);
    let side_loaded = SideLoaded::collect(IMAGE_FOLDERS.map(Path::new));
    gaps.extend(side_loaded.gaps);
    add_pulls(&mut facts.images, &collect_pulls());
    probe.state.recall(&mut facts.images, probe.now);
    let (disks, disk_gaps) = disk::measure_all(&disk_folders(found.kind, &root, &settings, &facts.snapshotters));
    gaps.extend(disk_gaps);
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
            tasks,
        },
        booted_at: booted_at(probe.now),
        boot_id: boot_id(),
        runtime_started_at: found.started_at,
        sandbox_image: with_answer(settings.sandbox_image, facts.sandbox_image),
        static_pods,
        side_loaded: side_loaded.names,
        unread_lists: side_loaded.unread,
        snapshotters: facts.snapshotters,
        images: facts.images,
        parts: facts.parts,
        root: Some(root),
        disks,
        gaps,
    };
    if !inventory.sandbox_image_is_known() && inventory.images.iter().any(Image::looks_like_a_sandbox_image) {
        let gap = "nothing tells which image the sandboxes are made from; images that look like one stay";
        inventory.gaps.push(gap.into());
    }
    Ok(inventory)
}

/// Folders on the file systems that hold images or what containers write: containerd keeps blobs and snapshots apart, and each
/// snapshotter may have a folder of its own; CRI-O may keep images apart from containers.
fn disk_folders(kind: Kind, root: &Path, settings: &Settings, snapshotters: &BTreeSet<String>) -> Vec<(PathBuf, Holds)> {
    let own = match kind {
        Kind::Containerd => {
            let snapshots = |name: &String| {
                let usual = || root.join(format!("io.containerd.snapshotter.v1.{name}"));
                settings.snapshots.get(name).cloned().unwrap_or_else(usual)
            };
            [content_folder(root)].into_iter().chain(snapshotters.iter().map(snapshots)).collect()
        }
        Kind::CriO | Kind::Docker => Vec::new(),
    };
    // By the name that people know, where that is the same file system.
    let is_elsewhere = own.first().is_some_and(|blobs| is_on_another_device(blobs, root));
    let root = (!is_elsewhere).then(|| root.to_owned());
    let images = root.into_iter().chain(own).map(|folder| (folder, Holds::Images));
    images.chain(settings.containers.iter().map(|folder| (folder.clone(), Holds::Containers))).collect()
}

fn is_on_another_device(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(one).zip(device(other)).is_some_and(|(one, other)| one != other)
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

/// What a thread came to.
pub fn join<T>(thread: ScopedJoinHandle<T>) -> T {
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

/// Images that were brought to the node, not pulled.
#[derive(Debug, Default)]
struct SideLoaded {
    /// Those on lists (`agent/images/*.txt`).
    names: Vec<Reference>,
    /// Lists that could not be read, and folders of them.
    unread: Vec<String>,
    gaps: Vec<String>,
}

impl SideLoaded {
    fn collect<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut all = Self::default();
        for folder in folders {
            match files_of(folder) {
                Ok(files) => all.add_folder(folder, &files),
                Err(error) if error.kind() == ErrorKind::NotFound && !folder.is_symlink() => {}
                Err(error) => all.miss(folder, &error),
            }
        }
        all
    }

    /// Reads the lists; archives are not opened, and a gap.
    fn add_folder(&mut self, folder: &Path, files: &[PathBuf]) {
        let (lists, archives): (Vec<&PathBuf>, Vec<&PathBuf>) =
            files.iter().partition(|file| file.extension().is_some_and(|extension| extension == "txt"));
        for list in lists {
            match fs::read(list) {
                Ok(bytes) => self.names.extend(String::from_utf8_lossy(&bytes).split_whitespace().map(Reference::new)),
                Err(error) => self.miss(list, &error),
            }
        }
        if !archives.is_empty() {
            let (count, folder) = (archives.len(), folder.display());
            self.gaps.push(format!("{count} image archives in {folder} are not opened: their images stay by pin or missing registry only"));
        }
    }

    fn miss(&mut self, path: &Path, error: &io::Error) {
        self.gaps.push(format!("which images were brought to this node can't be told: read {}: {error}", path.display()));
        self.unread.push(path.display().to_string());
    }
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// When this boot began, by the clock of now.
pub fn booted_at(now: Timestamp) -> Option<Timestamp> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = uptime.split('.').next()?.parse().ok()?;
    Some(now.minus(std::time::Duration::from_secs(seconds)))
}

/// Which boot this is; two of the same machine never have the same.
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// What the node is called.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::inventory::UserKind;
    use crate::inventory::samples::now;
    use crate::plan::removal_order;
    use crate::process::fake::{FakeContainerd, failing, lines, output};
    use crate::process::{Failure, Output, Program};
    use crate::reference::Digest;
    use crate::runtime::containerd::blob_file;
    use crate::runtime::ctr::by_pin;

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
        let file = blob_file(root, digest);
        fs::create_dir_all(file.parent().expect("a folder")).expect("make it");
        fs::write(&file, "a manifest").expect("write");
        let time = std::time::UNIX_EPOCH + Duration::from_secs(now().minus(ago).unix());
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(time)).expect("set the time");
    }

    fn collected(fake: &FakeContainerd, root: &Path) -> Result<Inventory> {
        let found = Found {
            socket: "/fake/sock".into(),
            kind: Kind::Containerd,
            ctr: Some(Program { path: "/fake/ctr".into(), prefix: None }),
            crictl: None,
            config: root.join("config.toml"),
            data: root.to_owned(),
            daemon: None,
            started_at: None,
        };
        let (wanted, kubelet, state, ctr) = (Wanted::default(), Kubelet::default(), State::default(), fake.ctr());
        let probe = Probe {
            runner: fake,
            found: &found,
            wanted: &wanted,
            kubelet: &kubelet,
            ctr: Some(&ctr),
            crictl: None,
            state: &state,
            now: now(),
        };
        collect(&probe)
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
            _ = fake.unname(&Reference::new("registry.lab/multi0:v0"));
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
        fs::remove_file(blob_file(data.path(), &other)).expect("take it away");
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
    fn the_names_on_every_list_of_images_that_were_brought_are_known() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("write");
        write("a.txt", b"docker.io/rancher/a:1\r\ndocker.io/rancher/b:1\n");
        write("b.txt", b"\xff\xfe\nquay.io/a/c:1");
        write("airgap.tar.zst", b"");
        let found = SideLoaded::collect([folder.path(), Path::new("/nonexistent/agent/images")]);
        let names: BTreeSet<&str> = found.names.iter().map(Reference::as_str).collect();
        assert!(["docker.io/rancher/a:1", "docker.io/rancher/b:1", "quay.io/a/c:1"].iter().all(|name| names.contains(name)), "{names:?}");
        assert_eq!(found.unread, [""; 0]);
        assert!(matches!(&found.gaps[..], [gap] if gap.starts_with("1 image archives in ")), "{:?}", found.gaps);
    }

    #[test]
    fn a_list_that_can_not_be_read_is_a_gap_and_known_to_be_missing() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.txt"), "quay.io/a/a:1").expect("write");
        fs::create_dir(path("b.txt")).expect("a folder in its place");
        symlink("/nonexistent/list", path("c.txt")).expect("a link to nowhere");
        symlink("/nonexistent/folder", path("d")).expect("a link to nowhere");
        let found = SideLoaded::collect([folder.path(), &path("a.txt"), &path("d")]);
        let unread: BTreeSet<PathBuf> = found.unread.iter().map(PathBuf::from).collect();
        assert_eq!(unread, BTreeSet::from(["a.txt", "b.txt", "c.txt", "d"].map(path)));
        assert_eq!(found.names, [Reference::new("quay.io/a/a:1")]);
        let unknown = |gap: &&String| gap.starts_with("which images were brought to this node can't be told: read /");
        assert_eq!(found.gaps.iter().filter(unknown).count(), 4, "{:?}", found.gaps);
    }

    #[test]
    fn an_empty_node_has_an_empty_inventory() {
        let data = tempfile::tempdir().expect("folder");
        let fake = FakeContainerd::holding(&[]);
        let node = collected(&fake, data.path()).expect("an inventory");
        assert!(node.images.is_empty() && node.parts.is_empty());
    }
}
