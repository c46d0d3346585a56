//! The report: what happened to each image that was planned for removal, and the totals.
//!
//! Pure. It holds the promise that `removed` is said only of what the runtime no longer lists.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inventory::{Disk, DiskUsage, Image, Inventory, PulledAtSource, Runtime, SCHEMA_VERSION, User};
use crate::plan::Plan;
use crate::policy::{Keep, Verdict};
use crate::reference::{Digest, ImageId, Reference};
use crate::units::Timestamp;

/// What became of one planned removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The runtime no longer has it, and we did it.
    Removed,
    /// The runtime no longer has it; somebody else did it.
    Gone,
    /// It came into use or changed since the plan, so it stays; with what changed.
    Spared(String),
    /// The run ended before its turn.
    NotAttempted(NotAttempted),
    /// It is still there; with the error.
    Failed(String),
}

/// Why a removal's turn didn't come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAttempted {
    /// A signal ended the run after the batch that ran.
    Interrupted,
}

/// What carrying a plan out brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    /// One for each of [`Plan::removals`], in their order.
    pub outcomes: Vec<Outcome>,
    /// File systems afterwards.
    pub disks: Vec<Disk>,
    /// Growth of free space over the removals.
    pub reclaimed_bytes: u64,
    /// What could not be measured or done around the removals.
    pub gaps: Vec<String>,
}

/// How a run came about and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Nothing was to be changed.
    pub dry_run: bool,
    /// Who started it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Who started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A systemd unit.
    Timer,
    /// A person on a terminal, or a program of theirs.
    Person,
}

/// One run, as JSON shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// Version of the program.
    pub version: &'static str,
    /// The node's host name.
    pub node: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Nothing was to be changed.
    pub dry_run: bool,
    /// Who started it.
    pub trigger: Trigger,
    /// The runtime.
    pub runtime: Runtime,
    /// Why the plan may not be carried out; empty for an ordinary run.
    pub refusals: Vec<String>,
    /// Every image with its verdict.
    pub images: Vec<ImageReport>,
    /// Totals.
    pub summary: Summary,
    /// File systems before and after.
    pub disks: Vec<DiskReport>,
    /// The memory step; none yet.
    pub memory: Option<()>,
    /// Facts that could not be gathered.
    pub gaps: Vec<String>,
}

/// One image in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// Hash of its config.
    pub id: ImageId,
    /// The name a person knows it by.
    #[serde(skip)]
    pub name: String,
    /// All its names.
    pub references: Vec<Reference>,
    /// Manifests and indexes that lead to it.
    pub digests: Vec<Digest>,
    /// Size of its blobs.
    pub size_bytes: u64,
    /// Bytes that only this image holds.
    pub reclaimable_bytes: u64,
    /// When it was pulled.
    pub pulled_at: Option<Timestamp>,
    /// How that is known.
    pub pulled_at_source: Option<PulledAtSource>,
    /// When a run last saw it in use.
    pub last_used_at: Option<Timestamp>,
    /// Who needs it.
    pub users: Vec<User>,
    /// `keep` or `remove`.
    pub verdict: &'static str,
    /// As product.md spells it.
    pub reason: &'static str,
    /// The reason for people.
    pub detail: String,
    /// What became of a planned removal; `None` before and without one.
    pub outcome: Option<&'static str>,
    /// Why a removal failed, was spared or not attempted.
    pub error: Option<String>,
}

/// Totals of a [`Report`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All images.
    pub images: usize,
    /// Kept images by reason.
    pub kept: BTreeMap<&'static str, usize>,
    /// Images the plan removes.
    pub planned_removals: usize,
    /// Bytes that go when all of them do.
    pub planned_bytes: u64,
    /// Images that we removed.
    pub removed: usize,
    /// Images that somebody else removed meanwhile.
    pub gone: usize,
    /// Images that came into use or changed meanwhile.
    pub spared: usize,
    /// Images whose turn did not come.
    pub not_attempted: usize,
    /// Images that are still there although they should not be.
    pub failed: usize,
    /// Growth of free space over the removals.
    pub reclaimed_bytes: u64,
}

/// A file system before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// The folder that was asked about.
    pub path: std::path::PathBuf,
    /// Before the removals.
    pub before: DiskUsage,
    /// After them; `None` where nothing was done.
    pub after: Option<DiskUsage>,
}

impl Report {
    /// The report of a plan, carried out or not.
    pub fn new(inventory: &Inventory, plan: &Plan, execution: Option<&Execution>, run: &Run) -> Self {
        let mut images: Vec<ImageReport> = Vec::with_capacity(inventory.images.len());
        let alone = inventory.bytes_each_holds_alone();
        for ((image, verdict), reclaimable) in inventory.images.iter().zip(&plan.verdicts).zip(alone) {
            images.push(ImageReport::new(image, verdict, reclaimable));
        }
        for (removal, outcome) in plan.removals.iter().zip(execution.into_iter().flat_map(|e| &e.outcomes)) {
            images[removal.position].outcome = Some(outcome.key());
            images[removal.position].error = outcome.explanation();
        }
        let summary = Summary::new(plan, execution);
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            node: inventory.node.clone(),
            started_at: run.started_at,
            finished_at: run.finished_at,
            dry_run: run.dry_run,
            trigger: run.trigger,
            runtime: inventory.runtime.clone(),
            refusals: plan.refusals.iter().map(|refusal| refusal.words().0).collect(),
            images,
            summary,
            disks: disks(inventory, execution),
            memory: None,
            gaps: inventory.gaps.iter().chain(execution.into_iter().flat_map(|e| &e.gaps)).cloned().collect(),
        }
    }
}

fn disks(inventory: &Inventory, execution: Option<&Execution>) -> Vec<DiskReport> {
    let after = |path: &std::path::Path| execution?.disks.iter().find(|disk| disk.path == path).map(|disk| disk.usage);
    let report = |disk: &Disk| DiskReport { path: disk.path.clone(), before: disk.usage, after: after(&disk.path) };
    inventory.disks.iter().map(report).collect()
}

impl ImageReport {
    fn new(image: &Image, verdict: &Verdict, reclaimable_bytes: u64) -> Self {
        let (word, reason, detail) = match verdict {
            Verdict::Keep(reason, detail) => ("keep", reason.key(), detail),
            Verdict::Remove(reason, detail) => ("remove", reason.key(), detail),
        };
        Self {
            id: image.id.clone(),
            name: image.display_name().to_owned(),
            references: image.references.clone(),
            digests: image.digests.clone(),
            size_bytes: image.size_bytes,
            reclaimable_bytes,
            pulled_at: image.pulled_at,
            pulled_at_source: image.pulled_at_source,
            last_used_at: image.last_used_at,
            users: image.users.clone(),
            verdict: word,
            reason,
            detail: detail.clone(),
            outcome: None,
            error: None,
        }
    }
}

impl Summary {
    fn new(plan: &Plan, execution: Option<&Execution>) -> Self {
        let mut summary = Self {
            images: plan.verdicts.len(),
            kept: Keep::ALL.iter().map(|keep| (keep.key(), 0)).collect(),
            planned_removals: plan.removals.len(),
            planned_bytes: plan.planned_bytes,
            reclaimed_bytes: execution.map_or(0, |e| e.reclaimed_bytes),
            ..Self::default()
        };
        for verdict in &plan.verdicts {
            match verdict {
                Verdict::Keep(reason, _) => *summary.kept.entry(reason.key()).or_default() += 1,
                Verdict::Remove(..) => {}
            }
        }
        for outcome in execution.into_iter().flat_map(|e| &e.outcomes) {
            *match outcome {
                Outcome::Removed => &mut summary.removed,
                Outcome::Gone => &mut summary.gone,
                Outcome::Spared(_) => &mut summary.spared,
                Outcome::NotAttempted(_) => &mut summary.not_attempted,
                Outcome::Failed(_) => &mut summary.failed,
            } += 1;
        }
        summary
    }
}

impl Outcome {
    /// As product.md spells it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Gone => "gone",
            Self::Spared(_) => "spared",
            Self::NotAttempted(_) => "not_attempted",
            Self::Failed(_) => "failed",
        }
    }

    /// What there is to say besides.
    pub fn explanation(&self) -> Option<String> {
        match self {
            Self::Removed | Self::Gone => None,
            Self::Spared(why) | Self::Failed(why) => Some(why.clone()),
            Self::NotAttempted(NotAttempted::Interrupted) => Some("interrupted".into()),
        }
    }
}
