//! The plan: one verdict for every image of an inventory, the removals in order, and whether they may be carried out at all.
//!
//! A function of inventory and policy: same input, same plan. It never looks at the node.

use std::cmp::Reverse;
use std::time::Duration;

use crate::inventory::{Image, Inventory};
use crate::policy::{Policy, Verdict, judge};
use crate::reference::{Digest, ImageId, Reference};
use crate::units::{Timestamp, human_span};

/// What is to happen to each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each image, in the order of the inventory.
    pub verdicts: Vec<Verdict>,
    /// What goes, in this order: longest unused first, then what frees most.
    pub removals: Vec<Removal>,
    /// Bytes that go when all removals succeed.
    pub planned_bytes: u64,
    /// Reasons to carry nothing of it out.
    pub refusals: Vec<Refusal>,
}

/// One image to remove, with all that tells later whether it is still the image that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Position in [`Inventory::images`].
    pub position: usize,
    /// The image.
    pub id: ImageId,
    /// All its references, in the order in which they are taken away.
    pub references: Vec<Reference>,
    /// Manifests and indexes that lead to it.
    pub digests: Vec<Digest>,
    /// Snapshots that a container of it would be made from.
    pub snapshots: Vec<String>,
}

/// Why a plan may not be carried out, although every image was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No container, sandbox or mount anywhere: a runtime that has just lost its containers, or not got them yet.
    NothingInUse,
    /// Machine or runtime have been up for a short time; holds for unattended runs.
    JustStarted {
        /// `machine` or `runtime`.
        what: &'static str,
        /// How long it has been up.
        uptime: Duration,
        /// What is asked for.
        min_uptime: Duration,
    },
}

impl Plan {
    /// Judges every image.
    pub fn new(inventory: &Inventory, policy: &Policy) -> Self {
        let verdicts: Vec<Verdict> = inventory.images.iter().map(|image| judge(image, inventory, policy)).collect();
        let goes = |(_, verdict): &(usize, &Verdict)| match verdict {
            Verdict::Keep(..) => false,
            Verdict::Remove(..) => true,
        };
        let mut positions: Vec<usize> = verdicts.iter().enumerate().filter(goes).map(|(position, _)| position).collect();
        let alone = inventory.bytes_each_holds_alone();
        positions.sort_by_key(|&i| (inventory.images[i].last_used_at, Reverse(alone[i]), inventory.images[i].id.clone()));
        Self {
            planned_bytes: inventory.bytes_held_alone(&positions),
            removals: positions.into_iter().map(|i| Removal::of(i, &inventory.images[i])).collect(),
            refusals: refusals(inventory, policy),
            verdicts,
        }
    }
}

impl Removal {
    fn of(position: usize, image: &Image) -> Self {
        Self {
            position,
            id: image.id.clone(),
            references: removal_order(&image.references),
            digests: image.digests.clone(),
            snapshots: image.snapshots.clone(),
        }
    }
}

/// Bare IDs first, then digests, then tags: cut off anywhere, what is left still has a name that a person and the next run find.
///
/// The other way round an interruption leaves a bare ID that holds the disk for ever (containerd#13875).
pub fn removal_order(references: &[Reference]) -> Vec<Reference> {
    let rank = |reference: &Reference| match (reference.is_bare_id(), reference.as_str().contains('@')) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    let mut ordered = references.to_vec();
    ordered.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    ordered
}

fn refusals(inventory: &Inventory, policy: &Policy) -> Vec<Refusal> {
    let idle = inventory.images.iter().all(|image| image.users.is_empty());
    let nothing_in_use = (idle && !policy.allow_idle).then_some(Refusal::NothingInUse);
    let young = |what: &'static str, start: Option<Timestamp>| {
        let uptime = inventory.taken_at.since(start?)?;
        (uptime < policy.min_uptime).then_some(Refusal::JustStarted { what, uptime, min_uptime: policy.min_uptime })
    };
    let starts = [young("machine", inventory.booted_at), young("runtime", inventory.runtime_started_at)];
    nothing_in_use.into_iter().chain(starts.into_iter().flatten()).collect()
}

impl Refusal {
    /// Does it stand in the way of a run that a person watches?
    pub fn holds_when_attended(&self) -> bool {
        match self {
            Self::NothingInUse => true,
            Self::JustStarted { .. } => false,
        }
    }

    /// What is wrong, and the way out.
    pub fn words(&self) -> (String, &'static str) {
        match self {
            Self::NothingInUse => (
                "nothing at all is in use on this node".into(),
                "if that is right, set allow_idle = true in [safety]",
            ),
            Self::JustStarted { what, uptime, min_uptime } => (
                format!("the {what} has been up for {} only, min_uptime is {}", human_span(*uptime), human_span(*min_uptime)),
                "run again later, or set min_uptime in [safety]",
            ),
        }
    }
}
