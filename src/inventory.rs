//! The facts about one node at one moment: what `collect` gathers, `plan` judges and a bug report carries.
//!
//! Data only. A fact that could not be gathered is `None` or a gap, never a guess; a listing of uses that failed
//! makes no inventory at all.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::reference::{Digest, ImageId, Reference};
use crate::units::Timestamp;

/// Version of the JSON form; keys are added within a version, never renamed.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything known about a node's images at `taken_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The node's host name.
    pub node: String,
    /// The one moment that counts as now for every judgement.
    pub taken_at: Timestamp,
    /// The runtime that was asked.
    pub runtime: Runtime,
    /// When the machine booted (`/proc/uptime`).
    pub booted_at: Option<Timestamp>,
    /// Which boot this is (`/proc/sys/kernel/random/boot_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When the runtime made its socket, that is: when it started.
    pub runtime_started_at: Option<Timestamp>,
    /// What the runtime's configuration says about the sandbox image.
    pub sandbox_image: SandboxImage,
    /// Static pod manifests found on the node.
    pub static_pods: Vec<StaticPod>,
    /// Names that a list under k3s' or RKE2's `agent/images` holds: images that were brought, not pulled.
    #[serde(default)]
    pub side_loaded: Vec<Reference>,
    /// Such lists, and folders of them, that could not be read: any image may be on one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread_lists: Vec<String>,
    /// Snapshotters that images were unpacked with.
    #[serde(default)]
    pub snapshotters: BTreeSet<String>,
    /// One entry an image ID.
    pub images: Vec<Image>,
    /// Blobs and snapshots; images refer to them by position.
    pub parts: Vec<Part>,
    /// The runtime's data folder; `None` in an inventory from before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// File systems that hold images or what containers write.
    pub disks: Vec<Disk>,
    /// Facts that could not be gathered, for people.
    pub gaps: Vec<String>,
}

/// The runtime and the programs it is reached through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `containerd`, `cri-o` or `docker`.
    pub name: String,
    /// As the server tells it.
    pub version: String,
    /// `unix://…`.
    pub endpoint: String,
    /// containerd's namespace; empty for other runtimes.
    pub namespace: String,
    /// The `ctr` that is used.
    pub ctr: Option<PathBuf>,
    /// The `crictl` that is used.
    pub crictl: Option<PathBuf>,
    /// The folder of what runs, where that is more than CRI shows; for the run alone, in no file.
    #[serde(skip)]
    pub tasks: Option<PathBuf>,
}

/// The image every pod's sandbox is made from, as the runtime is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxImage {
    /// Names the configuration gives.
    pub names: Vec<Reference>,
    /// Where they were read; `None` where nothing could be read.
    pub source: Option<String>,
}

/// A manifest in a static pod folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticPod {
    /// The file.
    pub path: PathBuf,
    /// Images it names, as written.
    pub images: Vec<Reference>,
}

/// One stored image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Hash of its config; where the config can't be told, the target of its references.
    pub id: ImageId,
    /// Every name that leads to it, in removal order: bare IDs, then digests, then tags.
    pub references: Vec<Reference>,
    /// Manifests and indexes that lead to its config.
    pub digests: Vec<Digest>,
    /// Size of its blobs, as `crictl images` shows it.
    pub size_bytes: u64,
    /// Positions in [`Inventory::parts`].
    #[serde(default)]
    pub parts: Vec<usize>,
    /// Keys of the snapshots a container of it is made from (chain IDs).
    #[serde(default)]
    pub snapshots: Vec<String>,
    /// The label that pins it.
    #[serde(default)]
    pub pinned: Option<String>,
    /// When it was pulled, or else first seen here.
    pub pulled_at: Option<Timestamp>,
    /// How `pulled_at` is known.
    pub pulled_at_source: Option<PulledAtSource>,
    /// When a reference was first seen that an already known image did not have.
    #[serde(default)]
    pub renamed_at: Option<Timestamp>,
    /// When a run first saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen_at: Option<Timestamp>,
    /// When a run last saw it in use.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// Where its manifest was pulled from (label `containerd.io/distribution.source.<host>`).
    #[serde(default)]
    pub origins: Vec<Origin>,
    /// Who needs it right now.
    pub users: Vec<User>,
    /// An earlier run began to remove it and was cut off between two of its references.
    #[serde(default)]
    pub removal_begun: bool,
}

/// How the time of the pull is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PulledAtSource {
    /// Modification time of the manifest's blob, or of what CRI-O and docker keep of the image.
    Blob,
    /// The kubelet's own record of its last pull (`image_manager/pulled`, kubelet 1.33+).
    Kubelet,
    /// Our own record: the first run that saw the image.
    FirstSeen,
}

/// A repository that supplied a blob; the host has no port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// As in `docker.io`.
    pub host: String,
    /// As in `library/redis`.
    pub repository: String,
}

/// Somebody who needs an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct User {
    /// What it is.
    pub kind: UserKind,
    /// The container's ID or the snapshot's key.
    pub id: String,
    /// Kubernetes namespace and pod name, `default/web`.
    #[serde(default)]
    pub pod: Option<String>,
}

/// What kind of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// A container in any state.
    Container,
    /// A pod's sandbox.
    Sandbox,
    /// A writable or mounted snapshot that belongs to no container: a mount, an image volume, an unpacking layer.
    Snapshot,
    /// An image volume: a container or its pod has the image itself mounted.
    ImageVolume,
    /// It could not be found out whether anything uses the image.
    Unknown,
}

/// A blob or a snapshot: what is freed when the last image that holds it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and folders on disk; 0 where nobody counts them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inodes: u64,
    /// Something besides the listed images holds it too: another namespace, a container, a mark of the runtime's own.
    #[serde(default)]
    pub held_elsewhere: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}

impl Space {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), inodes: self.inodes.saturating_add(other.inodes) }
    }

    /// Is it as much as `other` in both?
    pub fn covers(self, other: Self) -> bool {
        self.bytes >= other.bytes && self.inodes >= other.inodes
    }
}

/// How the bytes are known that images would give back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BytesAre {
    /// Counted by who holds each blob and layer.
    #[default]
    Counted,
    /// As CRI lists the images: what they share counts with each, so they are at most this.
    UpperBound,
    /// As CRI lists them on containerd: sizes as they were pulled, what they share with each, what is unpacked with none.
    PackedSizes,
}

/// What is on a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Images, perhaps with what containers write.
    #[default]
    Images,
    /// What containers write alone: no removal of images relieves it.
    Containers,
}

impl Holds {
    /// Are there images on it?
    pub fn is_images(&self) -> bool {
        match self {
            Self::Images => true,
            Self::Containers => false,
        }
    }
}

/// A file system that holds images or what containers write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The folder that was asked about.
    pub path: PathBuf,
    /// What is on it.
    #[serde(default, skip_serializing_if = "Holds::is_images")]
    pub holds: Holds,
    /// Its fill.
    #[serde(flatten)]
    pub usage: DiskUsage,
}

/// The fill of a file system (`statvfs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Inodes in use.
    pub used_inodes: u64,
    /// Inodes in all; 0 where the file system doesn't count them.
    pub total_inodes: u64,
    /// Bytes that are not kept back for root; `None` in an inventory from before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
}

impl DiskUsage {
    /// Bytes that can still be written, as the kubelet counts them.
    pub fn free_bytes(&self) -> u64 {
        self.available_bytes.unwrap_or_else(|| self.total_bytes.saturating_sub(self.used_bytes))
    }

    /// How full it is, in percent and rounded up: of its bytes or of its inodes, whichever is fuller.
    pub fn percent_full(&self) -> u8 {
        let share = |used: u64, total: u64| match total {
            0 => 0,
            total => u8::try_from(used.min(total).saturating_mul(100).div_ceil(total)).unwrap_or(100),
        };
        share(self.total_bytes.saturating_sub(self.free_bytes()), self.total_bytes).max(share(self.used_inodes, self.total_inodes))
    }
}

/// `container 1a2b3c4d5e6f7 (default/web)`.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.get(..13).unwrap_or(&self.id);
        match self.kind {
            UserKind::Container => write!(f, "container {id}")?,
            UserKind::Sandbox => write!(f, "sandbox {id}")?,
            UserKind::Snapshot => write!(f, "snapshot {}", self.id)?,
            UserKind::ImageVolume => write!(f, "image volume of {id}")?,
            UserKind::Unknown => write!(f, "can't tell whether anything uses it: {}", self.id)?,
        }
        self.pod.as_ref().map_or(Ok(()), |pod| write!(f, " ({pod})"))
    }
}

impl Image {
    /// Since when it has been unused as far as anybody saw: its last use or its first sight, or its last pull if that came
    /// later; an image that nobody has seen before since now.
    pub fn unused_since(&self, now: Timestamp) -> Timestamp {
        self.last_used_at.max(self.first_seen_at).map_or(now, |seen| self.pulled_at.map_or(seen, |pulled| pulled.max(seen)))
    }

    /// Has it no name but bare IDs?
    pub fn is_nameless(&self) -> bool {
        self.references.iter().all(Reference::is_bare_id)
    }

    /// Does `name`, as a pod or a configuration writes it, lead to this image? In doubt yes.
    pub fn is_named_by(&self, name: &Reference) -> bool {
        if name.as_str() == self.id.as_str() || self.references.contains(name) {
            return true;
        }
        let Some(wanted) = name.named() else {
            return false;
        };
        if wanted.digest.as_ref().is_some_and(|digest| self.digests.contains(digest)) {
            return true;
        }
        self.references.iter().filter_map(Reference::named).any(|own| {
            own.repository() == wanted.repository()
                && ((own.tag.is_some() && own.tag == wanted.tag) || (own.digest.is_some() && own.digest == wanted.digest))
        })
    }

    /// Does a part of one of its names read like a pause image (`registry.k8s.io/pause:3.9`, `rancher/mirrored-pause`)?
    pub fn looks_like_a_sandbox_image(&self) -> bool {
        let is_telling = |word: &str| matches!(word, "pause" | "infra" | "infrastructure" | "sandbox");
        self.references.iter().filter_map(Reference::named).any(|named| {
            let last = named.path.rsplit('/').next().unwrap_or_default().to_owned();
            last.split(['-', '_', '.']).any(is_telling)
        })
    }

    /// The name a person knows it by: a tag, else a digest, else its ID.
    pub fn display_name(&self) -> &str {
        let tagged = |r: &&Reference| r.named().is_some_and(|n| n.tag.is_some());
        let named = |r: &&Reference| !r.is_bare_id();
        self.references.iter().find(tagged).or_else(|| self.references.iter().find(named)).map_or(self.id.as_str(), Reference::as_str)
    }
}

/// Which images a name leads to, for many names: the answer of [`Image::is_named_by`] to each, and by image ID besides.
#[derive(Debug, Clone, Default)]
pub struct NameIndex(HashMap<String, BTreeSet<usize>>);

impl NameIndex {
    /// Of these images, by position.
    pub fn new(images: &[Image]) -> Self {
        let mut index = Self::default();
        for (position, image) in images.iter().enumerate() {
            let digests = image.digests.iter().map(ToString::to_string);
            let names = image.references.iter().flat_map(|name| spellings(name.as_str()));
            for key in digests.chain(names).chain([image.id.to_string()]) {
                index.0.entry(key).or_default().insert(position);
            }
        }
        index
    }

    /// Positions of the images that `name` leads to: an image ID with or without `sha256:`, a digest, or a reference.
    pub fn find(&self, name: &str) -> BTreeSet<usize> {
        let named = Reference::new(name).named();
        let digest = named.and_then(|named| named.digest).map(|digest| digest.to_string());
        spellings(name).into_iter().chain(digest).filter_map(|key| self.0.get(&key)).flatten().copied().collect()
    }
}

/// A name as written, as an image ID, and as CRI normalises it.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    all.extend(ImageId::parse(name).map(|id| id.to_string()));
    if let Some(named) = Reference::new(name).named() {
        all.extend(named.tag.as_ref().map(|tag| format!("{}:{tag}", named.repository())));
        all.extend(named.digest.as_ref().map(|digest| format!("{}@{digest}", named.repository())));
    }
    all
}

impl Inventory {
    /// Does anything tell which image the sandboxes are made from: the configuration, a pin, or a sandbox?
    pub fn sandbox_image_is_known(&self) -> bool {
        // A configured name that leads to no image here (containerd's own default, say) tells nothing about this node.
        self.sandbox_image.names.iter().any(|name| self.images.iter().any(|image| image.is_named_by(name)))
            || self.images.iter().any(|image| {
                let pinned = image.pinned.is_some() && image.looks_like_a_sandbox_image();
                pinned || image.users.iter().any(|user| user.kind == UserKind::Sandbox)
            })
    }

    /// What each of the images at `positions` gives back when they go one after the other: parts that nothing holds any more.
    pub fn given_back_in_order(&self, positions: &[usize]) -> Vec<Space> {
        let mut holders = self.holders();
        let mut is_last = |part: &usize| {
            let left = holders.entry(*part).or_default();
            *left = left.saturating_sub(1);
            *left == 0
        };
        let mut given_back = |image: &Image| {
            let free = image.parts.iter().filter(|part| is_last(part)).filter_map(|part| self.parts.get(*part));
            let space = free.filter(|part| !part.held_elsewhere).map(|part| Space { bytes: part.bytes, inodes: part.inodes });
            space.fold(Space::default(), Space::plus)
        };
        positions.iter().map(|&i| given_back(&self.images[i])).collect()
    }

    /// Bytes that the images at `positions` hold together.
    pub fn bytes_of(&self, positions: &[usize]) -> u64 {
        let parts: BTreeSet<usize> = positions.iter().flat_map(|&i| &self.images[i].parts).copied().collect();
        parts.iter().filter_map(|&part| self.parts.get(part)).map(|part| part.bytes).sum()
    }

    /// How the bytes are known.
    pub fn bytes_are(&self) -> BytesAre {
        match (&self.runtime.ctr, self.runtime.name.as_str()) {
            (Some(_), _) => BytesAre::Counted,
            (None, "containerd") => BytesAre::PackedSizes,
            (None, _) => BytesAre::UpperBound,
        }
    }

    /// Bytes that each image holds alone, in the order of `images`.
    pub fn bytes_each_holds_alone(&self) -> Vec<u64> {
        let holders = self.holders();
        let alone = |part: &&usize| holders.get(*part) == Some(&1);
        let bytes = |part: &usize| self.parts.get(*part).filter(|p| !p.held_elsewhere).map_or(0, |p| p.bytes);
        self.images.iter().map(|image| image.parts.iter().filter(alone).map(bytes).sum()).collect()
    }

    fn holders(&self) -> HashMap<usize, usize> {
        let mut holders = HashMap::new();
        for part in self.images.iter().flat_map(|image| &image.parts) {
            *holders.entry(*part).or_default() += 1;
        }
        holders
    }
}

/// Images, a node and a policy for the tests of the judging modules.
#[cfg(test)]
pub mod samples {
    use std::time::Duration;

    use super::{
        Disk, DiskUsage, Holds, Image, Inventory, Origin, Part, PulledAtSource, Runtime, SCHEMA_VERSION, SandboxImage, User, UserKind,
    };
    use crate::plan::removal_order;
    use crate::policy::{Policy, Selectors};
    use crate::reference::{Digest, ImageId, Reference};
    use crate::units::Timestamp;

    /// A hash that is the same for the same `seed` (FNV-1a, four times).
    pub fn hash(seed: &str) -> Digest {
        let fnv = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let part = |salt: u8| seed.bytes().chain([salt]).fold(0xcbf2_9ce4_8422_2325, fnv);
        let hex = [0, 1, 2, 3].map(|salt| format!("{:016x}", part(salt))).concat();
        Digest::parse(&format!("sha256:{hex}")).expect("a digest")
    }

    /// The moment that counts as now.
    pub fn now() -> Timestamp {
        Timestamp::from_unix(1_795_000_000)
    }

    /// So many hours before [`now`].
    pub fn hours_ago(hours: u64) -> Option<Timestamp> {
        Some(now().minus(Duration::from_hours(hours)))
    }

    /// The digest that [`image`] gives to the image of this name.
    pub fn digest_of(name: &str) -> Digest {
        hash(&format!("manifest of {name}"))
    }

    /// What a pull of `name` (with tag) leaves: tag, digest and bare ID, unused, pulled a day ago, 10 bytes.
    pub fn image(name: &str) -> Image {
        let id = hash(name);
        let named = Reference::new(name).named().expect("a name");
        let by_digest = format!("{}@{}", named.repository(), digest_of(name));
        Image {
            id: ImageId::of_config(&id),
            references: removal_order(&[name, &by_digest, id.as_str()].map(Reference::new)),
            digests: vec![digest_of(name)],
            size_bytes: 10,
            parts: Vec::new(),
            snapshots: vec![hash(&format!("snapshot of {name}")).to_string()],
            pinned: None,
            pulled_at: hours_ago(24),
            pulled_at_source: Some(PulledAtSource::Blob),
            renamed_at: None,
            first_seen_at: None,
            last_used_at: None,
            origins: vec![Origin { host: named.host().to_owned(), repository: named.path.clone() }],
            users: Vec::new(),
            removal_begun: false,
        }
    }

    /// [`image`] with other references.
    pub fn image_with(references: &[&str]) -> Image {
        Image { references: removal_order(&references.iter().copied().map(Reference::new).collect::<Vec<_>>()), ..image("quay.io/a/app:1") }
    }

    /// Some user.
    pub fn user(kind: UserKind) -> User {
        User { kind, id: "1a2b3c4d5e6f7a8b9c0d".into(), pod: Some("default/web".into()) }
    }

    /// [`image`] that a container uses.
    pub fn used_image(name: &str) -> Image {
        Image { users: vec![user(UserKind::Container)], ..image(name) }
    }

    /// A node, up for ten days, where nothing but `images` is known.
    pub fn inventory(images: Vec<Image>) -> Inventory {
        Inventory {
            schema_version: SCHEMA_VERSION,
            node: "node-1".into(),
            taken_at: now(),
            runtime: Runtime {
                name: "containerd".into(),
                version: "1.7.24".into(),
                endpoint: "unix:///run/containerd/containerd.sock".into(),
                namespace: "k8s.io".into(),
                ctr: Some("/usr/bin/ctr".into()),
                crictl: None,
                tasks: None,
            },
            booted_at: hours_ago(240),
            boot_id: None,
            runtime_started_at: hours_ago(240),
            sandbox_image: SandboxImage::default(),
            static_pods: Vec::new(),
            side_loaded: Vec::new(),
            unread_lists: Vec::new(),
            snapshotters: ["overlayfs".to_owned()].into(),
            images,
            parts: Vec::new(),
            root: None,
            disks: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// A file system of a thousand bytes.
    pub fn disk(path: &str, used_bytes: u64) -> Disk {
        let usage = DiskUsage { used_bytes, total_bytes: 1_000, used_inodes: 0, total_inodes: 0, available_bytes: None };
        Disk { path: path.into(), holds: Holds::Images, usage }
    }

    /// Parts of these sizes.
    pub fn parts(bytes: &[u64]) -> Vec<Part> {
        bytes.iter().map(|&bytes| Part { bytes, ..Part::default() }).collect()
    }

    /// Everything unused may go, with the defaults besides.
    pub fn policy() -> Policy {
        Policy {
            selectors: Selectors { all: true, ..Selectors::default() },
            exclude: Vec::new(),
            min_age: Duration::from_hours(1),
            unused_for: Duration::ZERO,
            keep_newest: 0,
            target: None,
            keep_unpullable: true,
            min_uptime: Duration::from_mins(30),
            allow_idle: false,
        }
    }
}
