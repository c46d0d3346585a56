//! Images and their users as CRI tells them: all there is of CRI-O and cri-dockerd, and of containerd without `ctr`.
//!
//! What CRI can't tell, the files of the runtime are asked for: when an image was pulled, what is mounted, what runs beside
//! CRI. A container or sandbox that can't be inspected may use any image, so all of them stay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Facts, join};
use crate::inventory::{Image, NameIndex, Origin, Part, PulledAtSource, User, UserKind};
use crate::plan::removal_order;
use crate::reference::{Digest, Reference};
use crate::runtime::containerd::{self, Settings};
use crate::runtime::crictl::{CriContainer, CriImage, CriSandbox, Crictl, Version};
use crate::runtime::{Found, Kind};
use crate::units::{Timestamp, printable};

/// What CRI lists.
pub struct CriListed {
    /// Images.
    pub images: Vec<CriImage>,
    /// Containers in any state.
    pub containers: Vec<CriContainer>,
    /// Sandboxes in any state.
    pub sandboxes: Vec<CriSandbox>,
}

impl CriListed {
    /// Three listings.
    pub fn collect(crictl: &Crictl) -> Result<Self> {
        thread::scope(|scope| {
            let sandboxes = scope.spawn(|| crictl.sandboxes().context("list sandboxes"));
            let images = scope.spawn(|| crictl.images().context("list images"));
            let containers = crictl.containers().context("list containers");
            Ok(Self { containers: containers?, sandboxes: join(sandboxes)?, images: join(images)? })
        })
    }

    /// Container or sandbox and the pod it is of.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &String)> {
        let containers = self.containers.iter().filter_map(|container| Some((container.id.as_str(), container.pod.as_ref()?)));
        containers.chain(self.sandboxes.iter().filter_map(|sandbox| Some((sandbox.id.as_str(), sandbox.pod.as_ref()?))))
    }
}

/// Users by the position of the image they use.
#[derive(Debug, Default)]
pub struct Users {
    /// By position in the list of images.
    pub by_position: BTreeMap<usize, BTreeSet<User>>,
    /// Why somebody may use any image.
    pub blind: Option<String>,
}

impl Users {
    /// Containers use every image that anything they tell leads to.
    pub fn add_containers(&mut self, containers: &[CriContainer], index: &NameIndex) {
        for container in containers {
            let user = User { kind: UserKind::Container, id: container.id.clone(), pod: container.pod.clone() };
            self.add(&user, container.image_names.iter().map(String::as_str), index);
        }
    }

    /// Image volumes of the containers `ids`.
    pub fn add_volumes(&mut self, crictl: &Crictl, containers: &[CriContainer], ids: &BTreeSet<String>, index: &NameIndex) -> Result<()> {
        let mounted = crictl.mounted_images(ids).context("inspect containers")?;
        for container in containers.iter().filter(|container| ids.contains(&container.id)) {
            let user = User { kind: UserKind::ImageVolume, id: container.id.clone(), pod: container.pod.clone() };
            self.add(&user, mounted.get(&container.id).into_iter().flatten().map(String::as_str), index);
        }
        let missing: BTreeSet<&String> = ids.iter().filter(|id| !mounted.contains_key(*id)).collect();
        let still_there = if missing.is_empty() { Vec::new() } else { crictl.containers().context("list containers")? };
        if let Some(container) = still_there.iter().find(|container| missing.contains(&container.id)) {
            let id = printable(&container.id);
            self.blind.get_or_insert(format!("container {} can't be inspected, and may have any image mounted", &id[..id.len().min(13)]));
        }
        Ok(())
    }

    /// Sandboxes, and the image each was made from.
    fn add_sandboxes(&mut self, crictl: &Crictl, sandboxes: &[CriSandbox], index: &NameIndex) -> Result<()> {
        let ids: BTreeSet<String> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
        let images = crictl.sandbox_images(&ids).context("inspect sandboxes")?;
        for sandbox in sandboxes {
            let user = User { kind: UserKind::Sandbox, id: sandbox.id.clone(), pod: sandbox.pod.clone() };
            self.add(&user, images.get(&sandbox.id).into_iter().flatten().map(String::as_str), index);
        }
        let missing: BTreeSet<&String> = ids.iter().filter(|id| !images.contains_key(*id)).collect();
        let still_there = if missing.is_empty() { Vec::new() } else { crictl.sandboxes().context("list sandboxes")? };
        if let Some(sandbox) = still_there.iter().find(|sandbox| missing.contains(&sandbox.id)) {
            let id = printable(&sandbox.id);
            self.blind.get_or_insert(format!("sandbox {} can't be inspected, and may be made from any image", &id[..id.len().min(13)]));
        }
        Ok(())
    }

    /// Images that containerd, whose process is `daemon`, has mounted as volumes.
    pub fn add_mounts(&mut self, daemon: Option<i32>, index: &NameIndex) {
        match volumes_mounted_by_containerd(daemon) {
            Ok(mounts) => {
                for (pod, image) in mounts {
                    let user = User { kind: UserKind::ImageVolume, id: pod, pod: None };
                    self.add(&user, std::iter::once(image.as_str()), index);
                }
            }
            Err(error) => {
                self.blind.get_or_insert(format!("which images containerd has mounted can't be told: {error:#}"));
            }
        }
    }

    /// What docker, whose data folder is `root`, has made containers from, beside CRI too: none of its calls shows these.
    pub fn add_containers_of_docker(&mut self, root: &Path, by_cri: &[CriContainer], index: &NameIndex) {
        match list_containers_of_docker(root) {
            Ok(containers) => {
                for (id, image) in containers.iter().filter(|(id, _)| by_cri.iter().all(|container| container.id != *id)) {
                    let user = User { kind: UserKind::Container, id: id.clone(), pod: None };
                    self.add(&user, std::iter::once(image.as_str()), index);
                }
            }
            Err(error) => {
                self.blind.get_or_insert(format!("what docker runs beside CRI can't be told: {error:#}"));
            }
        }
    }

    fn add<'a>(&mut self, user: &User, names: impl Iterator<Item = &'a str>, index: &NameIndex) {
        for position in names.flat_map(|name| index.find(name)) {
            self.by_position.entry(position).or_default().insert(user.clone());
        }
    }
}

/// All that `crictl` lists, before it is put together.
pub struct Listing {
    version: Version,
    sandbox_image: Option<Reference>,
    listed: CriListed,
}

impl Listing {
    /// Asks for everything at the same time.
    pub fn collect(crictl: &Crictl) -> Result<Self> {
        let (version, sandbox_image, listed) = thread::scope(|scope| {
            let version = scope.spawn(|| crictl.version().context("ask the runtime for its version"));
            let sandbox_image = scope.spawn(|| crictl.sandbox_image().context("ask the runtime for its configuration"));
            let listed = CriListed::collect(crictl);
            (join(version), join(sandbox_image), listed)
        });
        Ok(Self { version: version?, sandbox_image: sandbox_image?, listed: listed? })
    }

    /// Images with their users. `root` is the runtime's data folder.
    pub fn facts(self, crictl: &Crictl, found: &Found, root: &Path, settings: &Settings) -> Result<Facts> {
        let Self { version: Version { name, version }, sandbox_image, listed } = self;
        check_name(&name, found.kind)?;
        let (mut images, parts) = build_images(&listed.images, found.kind, root);
        let index = NameIndex::new(&images);
        let mut users = Users::default();
        users.add_containers(&listed.containers, &index);
        users.add_volumes(crictl, &listed.containers, &listed.containers.iter().map(|c| c.id.clone()).collect(), &index)?;
        users.add_sandboxes(crictl, &listed.sandboxes, &index)?;
        let mut gaps = Vec::new();
        match found.kind {
            Kind::Containerd => {
                users.add_mounts(found.daemon, &index);
                let known: BTreeSet<&str> =
                    listed.containers.iter().map(|c| c.id.as_str()).chain(listed.sandboxes.iter().map(|s| s.id.as_str())).collect();
                users.blind = users.blind.or(stranger(&list_tasks(&settings.tasks()), |name| known.contains(name)));
            }
            Kind::Docker => users.add_containers_of_docker(root, &listed.containers, &index),
            Kind::CriO => {}
        }
        if let Some(why) = &users.blind {
            gaps.push(format!("all images stay: {why}"));
        }
        for (position, image) in images.iter_mut().enumerate() {
            image.users.extend(users.by_position.remove(&position).into_iter().flatten());
            image.users.extend(users.blind.iter().map(|why| User { kind: UserKind::Unknown, id: why.clone(), pod: None }));
        }
        Ok(Facts { version, images, parts, snapshotters: BTreeSet::new(), sandbox_image, gaps })
    }
}

/// How images are named, aged and removed hangs on what the runtime is; a socket and its process may not have told.
fn check_name(name: &str, kind: Kind) -> Result<()> {
    match Kind::of_name(name) {
        Some(told) if told != kind => bail!("the runtime calls itself {name}, not {} (say so with --runtime {name})", kind.name()),
        Some(_) | None => Ok(()),
    }
}

/// Each image, and as its only part the size that CRI tells: what it shares with others can't be seen from here.
fn build_images(listed: &[CriImage], kind: Kind, root: &Path) -> (Vec<Image>, Vec<Part>) {
    let mut images = Vec::new();
    let mut parts = Vec::new();
    for own in listed {
        let mut image = build_image(own);
        image.pulled_at = pulled_at(&image, kind, root);
        image.pulled_at_source = image.pulled_at.map(|_| PulledAtSource::Blob);
        image.parts.push(parts.len());
        parts.push(Part { bytes: own.size, ..Part::default() });
        images.push(image);
    }
    (images, parts)
}

fn build_image(listed: &CriImage) -> Image {
    let names: Vec<Reference> = listed.tags.iter().chain(&listed.digests).cloned().collect();
    let digests: BTreeSet<Digest> = listed.digests.iter().filter_map(|name| name.named()?.digest).collect();
    let mut image = Image {
        id: listed.id.clone(),
        references: removal_order(&names),
        digests: digests.into_iter().collect(),
        size_bytes: listed.size,
        parts: Vec::new(),
        snapshots: Vec::new(),
        pinned: (listed.pinned == Some(true)).then(|| "pinned, by CRI".into()),
        pulled_at: None,
        pulled_at_source: None,
        renamed_at: None,
        first_seen_at: None,
        last_used_at: None,
        origins: listed.digests.iter().filter_map(origin).collect(),
        users: Vec::new(),
        removal_begun: false,
    };
    let unknown = |why: String| User { kind: UserKind::Unknown, id: why, pod: None };
    if let Some(strange) = names.iter().find(|name| !name.is_well_formed()) {
        image.users.push(unknown(format!("a name of it holds characters that no reference may hold: {}", printable(strange.as_str()))));
    }
    if listed.pinned.is_none() {
        image.users.push(unknown("this crictl doesn't say what is pinned".into()));
    }
    image
}

/// A registry that supplied an image, by a name with a digest; none where the name was cut at the colon of its port, as
/// CRI-O does with images without a tag, or made up: `localhost` without a port is what podman and buildah call their own
/// builds, and CRI-O lists those with digests too.
fn origin(name: &Reference) -> Option<Origin> {
    let named = name.named()?;
    let is_cut = !name.as_str().contains('/') || name.is_made_up_by_import();
    let is_built_here = named.registry == "localhost";
    (!is_cut && !is_built_here).then(|| Origin { host: named.host().to_owned(), repository: named.path.clone() })
}

/// The time of the file in which each runtime keeps the manifest or the record of an image.
pub fn pulled_at(image: &Image, kind: Kind, root: &Path) -> Option<Timestamp> {
    let modified = |path: PathBuf| fs::metadata(path).ok()?.modified().ok().and_then(Timestamp::of_file);
    match kind {
        Kind::Containerd => containerd::pulled_at(root, &image.digests),
        Kind::CriO => {
            ["overlay", "vfs", "btrfs"].into_iter().find_map(|driver| modified(root.join(format!("{driver}-images")).join(image.id.hex())))
        }
        Kind::Docker => ["overlay2", "vfs", "btrfs", "fuse-overlayfs"]
            .into_iter()
            .find_map(|driver| modified(root.join("image").join(driver).join("imagedb/content/sha256").join(image.id.hex()))),
    }
}

/// Pod and image of every image volume that containerd has mounted: `…/image-volumes/<pod>/<image ID>` (2.1+,
/// `internal/cri/server/container_image_mount.go`). It stays mounted after its container is gone, and no CRI call shows it.
///
/// What `daemon` sees and not only we: a mount that came after us may never reach our namespace.
fn volumes_mounted_by_containerd(daemon: Option<i32>) -> Result<Vec<(String, String)>> {
    let daemon = daemon.context("its process can't be seen from here")?;
    let mut volumes = Vec::new();
    for process in [daemon.to_string(), "self".to_owned()] {
        let file = format!("/proc/{process}/mountinfo");
        volumes.extend(parse_mounts(&fs::read_to_string(&file).with_context(|| format!("read {file}"))?));
    }
    Ok(volumes)
}

fn parse_mounts(mountinfo: &str) -> Vec<(String, String)> {
    let volume = |line: &str| {
        let (_, rest) = line.split(' ').nth(4)?.split_once("/image-volumes/")?;
        let (pod, image) = rest.split_once('/')?;
        Some((pod.to_owned(), image.split('/').next().unwrap_or(image).to_owned()))
    };
    mountinfo.lines().filter_map(volume).collect()
}

/// Every container that docker has, with the ID of its image: `containers/<ID>/config.v2.json` (moby, `daemon/container`).
fn list_containers_of_docker(root: &Path) -> Result<Vec<(String, String)>> {
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

/// What runs in the namespace of CRI, by name. containerd makes the folder of its tasks when it starts: where there is none
/// we look in the wrong place.
pub fn list_tasks(folder: &Path) -> Result<BTreeSet<String>> {
    ensure!(folder.is_dir(), "there is no {}", folder.display());
    let folder = folder.join("k8s.io");
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    match fs::read_dir(&folder).and_then(|tasks| tasks.map(name).collect()) {
        Ok(tasks) => Ok(tasks),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", folder.display())),
    }
}

/// Why any image may be in use: a task is neither a container nor a sandbox of CRI's, or can't be seen.
pub fn stranger(tasks: &Result<BTreeSet<String>>, is_known: impl Fn(&str) -> bool) -> Option<String> {
    match tasks {
        Ok(tasks) => {
            let name = tasks.iter().find(|name| !is_known(name))?;
            Some(format!("{} runs in containerd beside CRI, and only ctr can tell from which image", printable(name)))
        }
        Err(error) => Some(format!("what runs in containerd beside CRI can't be told: {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounted_image_volumes() {
        let id = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            "36 35 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw\n\
             41 36 0:40 / /run/containerd/io.containerd.grpc.v1.cri/image-volumes/pod1/{id} ro shared:9 - overlay overlay ro\n"
        );
        assert_eq!(parse_mounts(&text), [("pod1".to_owned(), id)]);
        assert!(parse_mounts("").is_empty());
    }

    #[test]
    fn where_the_mounts_of_containerd_can_not_be_seen_any_image_may_be_one() {
        let index = NameIndex::new(&[]);
        for (daemon, why) in
            [(None, Some("its process can't be seen from here")), (Some(-1), Some("read /proc/-1/mountinfo")), (Some(1), None)]
        {
            let mut users = Users::default();
            users.add_mounts(daemon, &index);
            let blind = users.blind.as_deref();
            assert!(why.map_or(blind.is_none(), |why| blind.is_some_and(|told| told.contains(why))), "{daemon:?}: {blind:?}");
        }
    }

    #[test]
    fn tasks_beside_cri_that_can_not_be_listed_may_be_any() {
        let state = tempfile::tempdir().expect("a folder");
        let folder = state.path().join("tasks");
        let told = || stranger(&list_tasks(&folder), |name| name == "known").unwrap_or_default();
        assert!(told().starts_with("what runs in containerd beside CRI can't be told: there is no "), "{}", told());
        fs::create_dir(&folder).expect("a folder");
        assert_eq!(told(), "", "nothing has run yet");
        fs::write(folder.join("k8s.io"), "").expect("no folder");
        assert!(told().contains("can't be told: read "), "{}", told());
        fs::remove_file(folder.join("k8s.io")).expect("remove it");
        fs::create_dir_all(folder.join("k8s.io/known")).expect("a task");
        assert_eq!(told(), "");
        fs::create_dir(folder.join("k8s.io/other")).expect("a task");
        assert_eq!(told(), "other runs in containerd beside CRI, and only ctr can tell from which image");
    }

    #[test]
    fn a_name_that_was_cut_at_a_port_or_made_up_tells_no_registry() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (name, expected) in [
            (format!("127.0.0.1@{digest}"), None),
            (format!("import-2026-11-24@{digest}"), None),
            (format!("localhost/app@{digest}"), None),
            (format!("localhost:5000/app@{digest}"), Some(("localhost", "app"))),
            (format!("127.0.0.1:5000/cx/app@{digest}"), Some(("127.0.0.1", "cx/app"))),
            (format!("quay.io/a/b@{digest}"), Some(("quay.io", "a/b"))),
        ] {
            let origin = origin(&Reference::new(name.clone()));
            assert_eq!(origin.as_ref().map(|origin| (origin.host.as_str(), origin.repository.as_str())), expected, "{name}");
        }
    }
}
