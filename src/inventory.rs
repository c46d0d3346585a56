//! The facts about one node at one moment: what `collect` gathers, `plan` judges and a bug report carries.
//!
//! Data only. A fact that could not be gathered is `None` or a gap, never a guess; a listing of uses that failed
//! makes no inventory at all.

use std::collections::{BTreeSet, HashMap};
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
    /// When the runtime made its socket, that is: when it started.
    pub runtime_started_at: Option<Timestamp>,
    /// What the runtime's configuration says about the sandbox image.
    pub sandbox_image: SandboxImage,
    /// Static pod manifests found on the node.
    pub static_pods: Vec<StaticPod>,
    /// Names that a list under k3s' or RKE2's `agent/images` holds: images that were brought, not pulled.
    #[serde(default)]
    pub side_loaded: Vec<Reference>,
    /// Snapshotters that images were unpacked with.
    #[serde(default)]
    pub snapshotters: BTreeSet<String>,
    /// One entry an image ID.
    pub images: Vec<Image>,
    /// Blobs and snapshots; images refer to them by position.
    pub parts: Vec<Part>,
    /// File systems that hold images.
    pub disks: Vec<Disk>,
    /// Facts that could not be gathered, for people.
    pub gaps: Vec<String>,
}

/// The runtime and the programs it is reached through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `containerd`.
    pub name: String,
    /// As the server tells it.
    pub version: String,
    /// `unix://…`.
    pub endpoint: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The `ctr` that is used.
    pub ctr: Option<PathBuf>,
    /// The `crictl` that is used.
    pub crictl: Option<PathBuf>,
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
    /// Modification time of the manifest's blob.
    Blob,
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
    /// It could not be found out whether anything uses the image.
    Unknown,
}

/// A blob or a snapshot: what is freed when the last image that holds it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes on disk.
    pub bytes: u64,
    /// Something besides the listed images holds it too.
    #[serde(default)]
    pub held_elsewhere: bool,
}

/// A file system that holds images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The folder that was asked about.
    pub path: PathBuf,
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
}

impl Image {
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
        self.references
            .iter()
            .find(tagged)
            .or_else(|| self.references.iter().find(named))
            .map_or(self.id.as_str(), Reference::as_str)
    }
}

impl Inventory {
    /// Does anything tell which image the sandboxes are made from: the configuration, a pin, or a sandbox?
    pub fn sandbox_image_is_known(&self) -> bool {
        !self.sandbox_image.names.is_empty()
            || self.images.iter().any(|image| {
                let pinned = image.pinned.is_some() && image.looks_like_a_sandbox_image();
                pinned || image.users.iter().any(|user| user.kind == UserKind::Sandbox)
            })
    }

    /// Bytes that go when exactly the images at `positions` go: parts that nothing else holds.
    pub fn bytes_held_alone(&self, positions: &[usize]) -> u64 {
        let mut leaving: HashMap<usize, usize> = HashMap::new();
        for part in positions.iter().filter_map(|&i| self.images.get(i)).flat_map(|image| &image.parts) {
            *leaving.entry(*part).or_default() += 1;
        }
        let holders = self.holders();
        let goes = |part: usize, leaving: usize| holders.get(&part) == Some(&leaving);
        leaving
            .into_iter()
            .filter(|&(part, count)| goes(part, count))
            .filter_map(|(part, _)| self.parts.get(part))
            .filter(|part| !part.held_elsewhere)
            .map(|part| part.bytes)
            .sum()
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
