//! The report: what happened to each image that was planned for removal, and the totals.
//!
//! Pure. It holds the promise that `removed` is said only of what the runtime no longer lists.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inventory::{BytesAre, Disk, DiskUsage, Holds, Image, Inventory, PulledAtSource, Runtime, SCHEMA_VERSION, Space, User};
use crate::plan::{Plan, Removal, Target, needed};
use crate::policy::{Keep, Remove, Verdict};
use crate::reference::{Digest, ImageId, Reference};
use crate::units::{Timestamp, human_bytes};

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
    /// The file systems are as empty as was asked for.
    TargetMet,
    /// So many images, so long, or so much pressure was the limit.
    LimitReached,
    /// What is free can't be measured any more, so nobody knows whether enough is.
    Unmeasured,
}

impl NotAttempted {
    /// As product.md spells it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::TargetMet => "target_met",
            Self::LimitReached => "limit_reached",
            Self::Unmeasured => "unmeasured",
        }
    }
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
    /// The memory step, where one was asked for.
    pub memory: Option<MemoryReport>,
}

/// Who started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The runtime; `None` where images were left out of it.
    pub runtime: Option<Runtime>,
    /// Why the plan may not be carried out; empty for an ordinary run.
    pub refusals: Vec<String>,
    /// Every image with its verdict.
    pub images: Vec<ImageReport>,
    /// Totals.
    pub summary: Summary,
    /// File systems before and after.
    pub disks: Vec<DiskReport>,
    /// How full they may be, where that was asked.
    pub target: Option<TargetReport>,
    /// The memory step, where one was asked for.
    pub memory: Option<MemoryReport>,
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
    /// Its place among the removals, from 0; `None` where it stays.
    pub removal_order: Option<usize>,
    /// What became of a planned removal; `None` before and without one.
    pub outcome: Option<&'static str>,
    /// Why a removal failed, was spared or not attempted.
    pub error: Option<String>,
}

/// Totals of a [`Report`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// All images.
    pub images: usize,
    /// Kept images by reason.
    pub kept: BTreeMap<String, usize>,
    /// Images the plan removes, by reason.
    pub planned: BTreeMap<String, usize>,
    /// All of them.
    pub planned_removals: usize,
    /// Bytes that go when all of them do.
    pub planned_bytes: u64,
    /// So many of them are as many as one run does, within its target and limits.
    pub expected_removals: usize,
    /// Bytes that go with these.
    pub expected_bytes: u64,
    /// How bytes are known, these and those of each image.
    pub bytes_are: BytesAre,
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

/// How full the file systems may be, and whether they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetReport {
    /// Percent above which something is done.
    pub high_threshold: Option<u8>,
    /// Percent at which it ends.
    pub low_threshold: Option<u8>,
    /// Bytes that are to be free.
    pub free_bytes: Option<u64>,
    /// Was there anything to do?
    pub is_due: bool,
    /// Is it met now?
    pub is_met: bool,
    /// Bytes that have to come free until it is, where most are missing.
    pub missing_bytes: u64,
    /// Inodes that have to come free until it is, where most are missing.
    pub missing_inodes: u64,
    /// So many of the removals that are planned, or were not attempted, probably do; all of them where they don't.
    pub needed_removals: usize,
    /// Bytes that these give back.
    pub needed_bytes: u64,
    /// Inodes that these give back.
    pub needed_inodes: u64,
    /// Where it isn't met: how many images stand in the way, by the reason or the outcome that kept them.
    pub in_the_way: BTreeMap<String, usize>,
    /// Bytes that these hold.
    pub in_the_way_bytes: u64,
}

/// A file system before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// The folder that was asked about.
    pub path: std::path::PathBuf,
    /// What is on it.
    #[serde(default)]
    pub holds: Holds,
    /// Before the removals.
    pub before: DiskUsage,
    /// After them; `None` where nothing was done.
    pub after: Option<DiskUsage>,
}

/// Which caches the kernel drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Pages of files.
    #[serde(rename = "pagecache")]
    Pages,
    /// Directory entries and inodes.
    Slab,
    /// Both.
    All,
}

/// The memory step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryReport {
    /// What the kernel is told to drop.
    pub drop_caches: Option<Cache>,
    /// What one cgroup is asked for.
    pub reclaim: Option<ReclaimReport>,
    /// How the memory was before.
    pub before: Option<MemoryUsage>,
    /// And afterwards; `None` where nothing was done.
    pub after: Option<MemoryUsage>,
    /// Growth of free memory, or what the cgroup holds less.
    pub given_back_bytes: u64,
    /// What came of it; `None` before.
    pub outcome: Option<MemoryOutcome>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
}

/// What came of the memory step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryOutcome {
    /// Done, however much came of it.
    Done,
    /// Its condition didn't hold, or the run was interrupted.
    Skipped,
    /// Some of it could not be done.
    Failed,
}

/// What one cgroup is asked to give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimReport {
    /// Below the root of the hierarchy.
    pub cgroup: String,
    /// So much is asked for.
    pub asked_bytes: u64,
    /// So much less it holds.
    pub given_back_bytes: u64,
}

/// Figures of `/proc/meminfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUsage {
    /// All there is.
    pub total_bytes: u64,
    /// Used for nothing at all.
    pub free_bytes: u64,
    /// What programs can have without swapping, most of the caches included.
    pub available_bytes: u64,
    /// Pages of files, without those that lie in memory alone.
    pub cached_bytes: u64,
    /// Directory entries, inodes and the like.
    pub reclaimable_slab_bytes: u64,
}

impl MemoryReport {
    /// Did some of it fail?
    pub fn has_failed(&self) -> bool {
        self.outcome == Some(MemoryOutcome::Failed)
    }
}

impl Report {
    /// The report of a run that left the images out.
    pub fn without_images(node: String, run: Run) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            node,
            started_at: run.started_at,
            finished_at: run.finished_at,
            dry_run: run.dry_run,
            trigger: run.trigger,
            runtime: None,
            refusals: Vec::new(),
            images: Vec::new(),
            summary: Summary::of_nothing(),
            disks: Vec::new(),
            target: None,
            memory: run.memory,
            gaps: Vec::new(),
        }
    }

    /// The report of a plan, carried out or not.
    pub fn new(inventory: &Inventory, plan: &Plan, execution: Option<&Execution>, run: &Run) -> Self {
        let mut images: Vec<ImageReport> = Vec::with_capacity(inventory.images.len());
        let alone = inventory.bytes_each_holds_alone();
        for ((image, verdict), reclaimable) in inventory.images.iter().zip(&plan.verdicts).zip(alone) {
            images.push(ImageReport::new(image, verdict, reclaimable));
        }
        for (order, removal) in plan.removals.iter().enumerate() {
            images[removal.position].removal_order = Some(order);
        }
        for (removal, outcome) in plan.removals.iter().zip(execution.into_iter().flat_map(|e| &e.outcomes)) {
            images[removal.position].outcome = Some(outcome.key());
            images[removal.position].error = outcome.explanation();
        }
        let summary = Summary::new(inventory, plan, execution);
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            node: inventory.node.clone(),
            started_at: run.started_at,
            finished_at: run.finished_at,
            dry_run: run.dry_run,
            trigger: run.trigger,
            runtime: Some(inventory.runtime.clone()),
            refusals: plan.refusals.iter().map(|refusal| refusal.words().0).collect(),
            images,
            summary,
            disks: disks(inventory, execution),
            target: plan.target.map(|target| TargetReport::new(&target, inventory, plan, execution)),
            memory: run.memory.clone(),
            gaps: inventory.gaps.iter().chain(execution.into_iter().flat_map(|e| &e.gaps)).cloned().collect(),
        }
    }

    /// The same of a run that does at most so many of the removals.
    #[must_use]
    pub fn limited_to(mut self, most: Option<usize>, plan: &Plan) -> Self {
        let expected = self.summary.expected_removals.min(most.unwrap_or(usize::MAX));
        self.summary.expected_removals = expected;
        self.summary.expected_bytes = plan.bytes_of_first(expected);
        self
    }
}

impl TargetReport {
    fn new(target: &Target, inventory: &Inventory, plan: &Plan, execution: Option<&Execution>) -> Self {
        let now = execution.map_or(&inventory.disks, |execution| &execution.disks);
        let (missing, is_met) = (target.missing(&inventory.disks, now), target.is_met(&inventory.disks, now));
        let is_open =
            |i: usize| execution.is_none_or(|execution| matches!(execution.outcomes.get(i), Some(Outcome::NotAttempted(_)) | None));
        let open: Vec<&Removal> = plan.removals.iter().enumerate().filter(|(i, _)| is_open(*i)).map(|(_, removal)| removal).collect();
        let needed = if plan.is_due && !is_met { needed(&open, missing) } else { 0 };
        let given_back = open[..needed].iter().map(|removal| removal.gives_back).fold(Space::default(), Space::plus);
        let mut report = Self {
            high_threshold: target.high,
            low_threshold: target.low,
            free_bytes: target.free_bytes,
            is_due: plan.is_due,
            is_met,
            missing_bytes: missing.bytes,
            missing_inodes: missing.inodes,
            needed_removals: needed,
            needed_bytes: given_back.bytes,
            needed_inodes: given_back.inodes,
            ..Self::default()
        };
        if plan.is_due && !is_met {
            report.add_what_stands_in_the_way(inventory, plan, execution);
        }
        report
    }

    /// When something is done: `fuller than 80 %`, `less than 20 GiB free`.
    pub fn begins_when(&self) -> String {
        let high = self.high_threshold.map(|high| format!("fuller than {high} %"));
        let free = self.free_bytes.map(|free| format!("with less than {} free", human_bytes(free)));
        high.into_iter().chain(free).collect::<Vec<_>>().join(" or ")
    }

    /// When it ends: `no fuller than 70 %`, `20 GiB free`.
    pub fn ends_when(&self) -> String {
        let low = self.low_threshold.map(|low| format!("no fuller than {low} %"));
        let free = self.free_bytes.map(|free| format!("with {} free", human_bytes(free)));
        low.into_iter().chain(free).collect::<Vec<_>>().join(" and ")
    }

    /// What has to come free until then: `12 GiB`, `4000 inodes`.
    pub fn missing(&self) -> String {
        let bytes = (self.missing_bytes > 0).then(|| human_bytes(self.missing_bytes));
        let inodes = (self.missing_inodes > 0).then(|| format!("{} inodes", self.missing_inodes));
        bytes.into_iter().chain(inodes).collect::<Vec<_>>().join(" and ")
    }

    /// What stands in the way, the most of it first: `9 in use · 1 failed`.
    pub fn obstacles(&self) -> String {
        let mut all: Vec<(&String, &usize)> = self.in_the_way.iter().collect();
        all.sort_by_key(|(_, count)| Reverse(**count));
        all.into_iter().map(|(why, count)| format!("{count} {}", why.replace('_', " "))).collect::<Vec<_>>().join(" · ")
    }

    fn add_what_stands_in_the_way(&mut self, inventory: &Inventory, plan: &Plan, execution: Option<&Execution>) {
        let mut outcomes: Vec<Option<&Outcome>> = vec![None; inventory.images.len()];
        for (removal, outcome) in plan.removals.iter().zip(execution.into_iter().flat_map(|execution| &execution.outcomes)) {
            outcomes[removal.position] = Some(outcome);
        }
        let mut left = Vec::new();
        for (position, (verdict, outcome)) in plan.verdicts.iter().zip(outcomes).enumerate() {
            let why = match (verdict, outcome) {
                (Verdict::Keep(reason, _), _) => reason.key(),
                (Verdict::Remove(..), None | Some(Outcome::Removed | Outcome::Gone)) => continue,
                (Verdict::Remove(..), Some(Outcome::NotAttempted(why))) => why.key(),
                (Verdict::Remove(..), Some(outcome @ (Outcome::Spared(_) | Outcome::Failed(_)))) => outcome.key(),
            };
            *self.in_the_way.entry(why.to_owned()).or_default() += 1;
            left.push(position);
        }
        self.in_the_way_bytes = inventory.bytes_of(&left);
    }
}

fn disks(inventory: &Inventory, execution: Option<&Execution>) -> Vec<DiskReport> {
    let after = |path: &std::path::Path| execution?.disks.iter().find(|disk| disk.path == path).map(|disk| disk.usage);
    let report = |disk: &Disk| DiskReport { path: disk.path.clone(), holds: disk.holds, before: disk.usage, after: after(&disk.path) };
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
            removal_order: None,
            outcome: None,
            error: None,
        }
    }
}

impl Summary {
    /// Was anything of the plan carried out, or left out by the run itself?
    pub fn has_outcomes(&self) -> bool {
        self.removed + self.gone + self.spared + self.not_attempted + self.failed > 0
    }

    /// Every reason, and no image.
    fn of_nothing() -> Self {
        let kept = Keep::ALL.iter().map(|keep| (keep.key().to_owned(), 0)).collect();
        let planned = Remove::ALL.iter().map(|remove| (remove.key().to_owned(), 0)).collect();
        Self { kept, planned, ..Self::default() }
    }

    fn new(inventory: &Inventory, plan: &Plan, execution: Option<&Execution>) -> Self {
        let expected = plan.expected(inventory);
        let mut summary = Self {
            images: plan.verdicts.len(),
            planned_removals: plan.removals.len(),
            planned_bytes: plan.planned_bytes,
            expected_removals: expected,
            expected_bytes: plan.bytes_of_first(expected),
            bytes_are: inventory.bytes_are(),
            reclaimed_bytes: execution.map_or(0, |e| e.reclaimed_bytes),
            ..Self::of_nothing()
        };
        for verdict in &plan.verdicts {
            match verdict {
                Verdict::Keep(reason, _) => *summary.kept.entry(reason.key().to_owned()).or_default() += 1,
                Verdict::Remove(reason, _) => *summary.planned.entry(reason.key().to_owned()).or_default() += 1,
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
            Self::NotAttempted(why) => Some(why.key().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::inventory::samples::{image, inventory, now, parts, policy, used_image};
    use crate::policy::Policy;

    fn run(dry_run: bool) -> Run {
        Run { dry_run, trigger: Trigger::Timer, started_at: now(), finished_at: Timestamp::from_unix(now().unix() + 7), memory: None }
    }

    fn disk(used_bytes: u64) -> Disk {
        let usage = DiskUsage { used_bytes, total_bytes: 100, used_inodes: 1, total_inodes: 9, available_bytes: Some(100 - used_bytes) };
        Disk { path: "/var/lib/containerd".into(), holds: Holds::Images, usage }
    }

    /// Three unused images and two that stay.
    fn node() -> Inventory {
        let unused = |name, part| Image { parts: vec![part], ..image(name) };
        let mut node = inventory(vec![
            used_image("quay.io/a/web:1"),
            unused("quay.io/a/a:1", 0),
            unused("quay.io/a/b:1", 1),
            Image { origins: Vec::new(), ..image("quay.io/a/local:1") },
            unused("quay.io/a/c:1", 2),
        ]);
        node.parts = parts(&[1, 10, 100]);
        node.disks = vec![disk(90)];
        node
    }

    fn report(node: &Inventory, execution: Option<&Execution>) -> Report {
        Report::new(node, &Plan::new(node, &policy()), execution, &run(execution.is_none()))
    }

    /// `images[]` in the order of the inventory: outcome and error.
    fn outcomes(report: &Report) -> Vec<(Option<&str>, Option<&str>)> {
        report.images.iter().map(|image| (image.outcome, image.error.as_deref())).collect()
    }

    #[test]
    fn the_report_of_a_plan_has_verdicts_and_no_outcomes() {
        let report = report(&node(), None);
        let verdicts: Vec<(&str, &str)> = report.images.iter().map(|image| (image.verdict, image.reason)).collect();
        assert_eq!(
            verdicts,
            [("keep", "in_use"), ("remove", "unused"), ("remove", "unused"), ("keep", "unpullable"), ("remove", "unused")]
        );
        assert_eq!(outcomes(&report), [(None, None); 5]);
        assert_eq!(report.images.iter().map(|image| image.reclaimable_bytes).collect::<Vec<_>>(), [0, 1, 10, 0, 100]);
        assert_eq!(
            report.disks,
            [DiskReport { path: "/var/lib/containerd".into(), holds: Holds::Images, before: disk(90).usage, after: None }]
        );
    }

    #[test]
    fn an_outcome_stands_with_the_image_it_is_of() {
        let node = node();
        // In the order of the removals: what frees most first.
        let execution = Execution {
            outcomes: vec![Outcome::Removed, Outcome::Failed("device busy".into()), Outcome::NotAttempted(NotAttempted::Interrupted)],
            ..Execution::default()
        };
        let expected = [
            (None, None),
            (Some("not_attempted"), Some("interrupted")),
            (Some("failed"), Some("device busy")),
            (None, None),
            (Some("removed"), None),
        ];
        assert_eq!(outcomes(&report(&node, Some(&execution))), expected);
    }

    #[test]
    fn every_outcome_is_spelled_as_promised_and_explains_itself_where_there_is_something_to_explain() {
        for (outcome, key, explanation) in [
            (Outcome::Removed, "removed", None),
            (Outcome::Gone, "gone", None),
            (Outcome::Spared("in use".into()), "spared", Some("in use")),
            (Outcome::NotAttempted(NotAttempted::Interrupted), "not_attempted", Some("interrupted")),
            (Outcome::Failed("device busy".into()), "failed", Some("device busy")),
        ] {
            assert_eq!((outcome.key(), outcome.explanation().as_deref()), (key, explanation));
        }
    }

    #[test]
    fn the_summary_counts_every_image_once() {
        let node = node();
        let execution = Execution {
            outcomes: vec![Outcome::Removed, Outcome::Gone, Outcome::Spared("in use".into())],
            reclaimed_bytes: 99,
            ..Execution::default()
        };
        let summary = report(&node, Some(&execution)).summary;
        assert_eq!((summary.images, summary.planned_removals, summary.planned_bytes, summary.reclaimed_bytes), (5, 3, 111, 99));
        assert_eq!((summary.removed, summary.gone, summary.spared, summary.not_attempted, summary.failed), (1, 1, 1, 0, 0));
        assert_eq!(summary.kept.values().sum::<usize>() + summary.planned_removals, summary.images);
        assert_eq!(summary.planned, [("stranded".to_owned(), 0), ("unused".to_owned(), 3)].into());
    }

    #[test]
    fn only_what_we_removed_counts_as_removed() {
        for (outcome, removed) in [
            (Outcome::Removed, 3),
            (Outcome::Gone, 0),
            (Outcome::Spared(String::new()), 0),
            (Outcome::NotAttempted(NotAttempted::Interrupted), 0),
            (Outcome::Failed(String::new()), 0),
        ] {
            let execution = Execution { outcomes: vec![outcome; 3], ..Execution::default() };
            assert_eq!(report(&node(), Some(&execution)).summary.removed, removed);
        }
    }

    #[test]
    fn the_summary_lists_each_keep_rule_also_with_nothing_kept() {
        let kept = report(&inventory(Vec::new()), None).summary.kept;
        assert_eq!(kept, Keep::ALL.iter().map(|keep| (keep.key().to_owned(), 0)).collect());
        let kept = report(&node(), None).summary.kept;
        assert_eq!((kept["in_use"], kept["unpullable"], kept["pinned"]), (1, 1, 0));
    }

    #[test]
    fn a_dry_run_and_a_real_one_have_the_same_keys() {
        let (planned, done) = (report(&node(), None), report(&node(), Some(&Execution::default())));
        assert!(planned.dry_run && !done.dry_run);
        let keys = |report: &Report| keys(&serde_json::to_value(report).expect("serialise"));
        assert_eq!(keys(&planned), keys(&done));
    }

    fn keys(value: &Value) -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// All of `promised`, and `added`, which later versions may put beside it.
    fn assert_keys(value: &Value, promised: &str, added: &str) {
        let mut expected: Vec<String> = promised.split_whitespace().chain(added.split_whitespace()).map(ToOwned::to_owned).collect();
        expected.sort();
        let mut found = keys(value);
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn json_has_the_promised_keys() {
        let mut node = node();
        node.images[0].users[0].pod = Some("default/web".into());
        let execution = Execution { outcomes: vec![Outcome::Removed; 3], disks: vec![disk(40)], ..Execution::default() };
        let json = serde_json::to_value(report(&node, Some(&execution))).expect("serialise");
        let top = "schema_version version node started_at finished_at dry_run trigger runtime images summary disks memory gaps";
        assert_keys(&json, top, "refusals target");
        assert_keys(&json["runtime"], "name version endpoint ctr crictl", "namespace");
        let image = "id references digests size_bytes reclaimable_bytes pulled_at pulled_at_source last_used_at users verdict reason detail outcome error";
        assert_keys(&json["images"][0], image, "removal_order");
        assert_keys(&json["images"][0]["users"][0], "kind id pod", "");
        let summary = "images kept planned_removals planned_bytes removed failed reclaimed_bytes";
        assert_keys(&json["summary"], summary, "planned gone spared not_attempted bytes_are expected_removals expected_bytes");
        assert_keys(&json["disks"][0], "path before after", "holds");
        for moment in ["before", "after"] {
            assert_keys(&json["disks"][0][moment], "used_bytes total_bytes used_inodes total_inodes", "available_bytes");
        }
    }

    #[test]
    fn json_has_the_promised_values() {
        let json = serde_json::to_value(report(&node(), None)).expect("serialise");
        for (pointer, value) in [
            ("/schema_version", json!(1)),
            ("/version", json!(env!("CARGO_PKG_VERSION"))),
            ("/node", json!("node-1")),
            ("/started_at", json!("2026-11-18T11:06:40Z")),
            ("/finished_at", json!("2026-11-18T11:06:47Z")),
            ("/trigger", json!("timer")),
            ("/runtime/endpoint", json!("unix:///run/containerd/containerd.sock")),
            ("/runtime/crictl", Value::Null),
            ("/images/0/pulled_at", json!("2026-11-17T11:06:40Z")),
            ("/images/0/pulled_at_source", json!("blob")),
            ("/images/0/users/0/kind", json!("container")),
            ("/images/0/removal_order", Value::Null),
            ("/images/4/removal_order", json!(0)),
            ("/images/1/removal_order", json!(2)),
            ("/images/0/outcome", Value::Null),
            ("/disks/0/after", Value::Null),
            ("/memory", Value::Null),
        ] {
            assert_eq!(json.pointer(pointer), Some(&value), "{pointer}");
        }
    }

    #[test]
    fn a_refusal_is_told_and_leaves_the_verdicts_as_they_are() {
        let idle = inventory(vec![image("quay.io/a/app:1")]);
        let report = report(&idle, None);
        assert_eq!(report.refusals, ["nothing at all is in use on this node"]);
        assert_eq!(report.summary.planned_removals, 1);
    }

    #[test]
    fn gaps_of_the_facts_and_of_the_removals_are_told_together() {
        let mut node = node();
        node.gaps = vec!["measure snapshots".into()];
        let execution = Execution { gaps: vec!["images were pulled meanwhile".into()], ..Execution::default() };
        assert_eq!(report(&node, Some(&execution)).gaps, ["measure snapshots", "images were pulled meanwhile"]);
    }

    #[test]
    fn a_disk_that_could_not_be_measured_afterwards_has_no_after() {
        let mut node = node();
        node.disks.push(Disk { path: "/data".into(), ..disk(50) });
        let execution = Execution { disks: vec![Disk { path: "/data".into(), ..disk(20) }], ..Execution::default() };
        let after: Vec<Option<u64>> =
            report(&node, Some(&execution)).disks.iter().map(|disk| disk.after.map(|usage| usage.used_bytes)).collect();
        assert_eq!(after, [None, Some(20)]);
    }

    /// Five images of 1 to 5 bytes on a file system of 100 that is to be no fuller than 50.
    fn crowded() -> (Inventory, Plan) {
        let with = |image: Image, part| Image { parts: vec![part], ..image };
        let mut node = node();
        node.images[0] = with(node.images[0].clone(), 3);
        node.images[3] = with(node.images[3].clone(), 4);
        node.parts = parts(&[10, 20, 5, 2, 1]);
        node.disks = vec![disk(90)];
        let target = Some(Target { high: Some(80), low: Some(50), free_bytes: None });
        let plan = Plan::new(&node, &Policy { target, ..policy() });
        (node, plan)
    }

    fn target_after(outcomes: Vec<Outcome>, used: u64) -> TargetReport {
        let (node, plan) = crowded();
        let execution = Execution { outcomes, disks: vec![disk(used)], ..Execution::default() };
        Report::new(&node, &plan, Some(&execution), &run(false)).target.expect("a target")
    }

    #[test]
    fn a_target_tells_how_much_is_missing_and_how_many_removals_that_takes() {
        let (node, plan) = crowded();
        let target = Report::new(&node, &plan, None, &run(true)).target.expect("a target");
        assert_eq!((target.high_threshold, target.low_threshold, target.free_bytes), (Some(80), Some(50), None));
        assert_eq!((target.is_due, target.is_met, target.missing_bytes, target.missing_inodes), (true, false, 40, 0));
        assert_eq!((target.needed_removals, target.needed_bytes), (3, 35), "all of them are not enough");
        let summary = Report::new(&node, &plan, None, &run(true)).limited_to(Some(2), &plan).summary;
        assert_eq!((summary.planned_removals, summary.expected_removals, summary.expected_bytes), (3, 2, 30));
        let few = Plan { target: Some(Target { high: Some(80), low: Some(65), free_bytes: None }), ..plan };
        let report = Report::new(&node, &few, None, &run(true)).limited_to(Some(9), &few);
        let target = report.target.expect("a target");
        assert_eq!((target.missing_bytes, target.needed_removals, target.needed_bytes), (25, 2, 30));
        assert_eq!((report.summary.expected_removals, report.summary.expected_bytes), (2, 30));
    }

    #[test]
    fn a_target_that_is_met_or_not_due_needs_nothing_and_has_nothing_in_the_way() {
        let met = target_after(vec![Outcome::Removed, Outcome::Removed, Outcome::NotAttempted(NotAttempted::TargetMet)], 50);
        assert_eq!((met.is_met, met.missing_bytes, met.needed_removals, met.in_the_way.len()), (true, 0, 0, 0));
        let (mut node, _) = crowded();
        node.disks = vec![disk(60)];
        let target = Some(Target { high: Some(80), low: Some(50), free_bytes: None });
        let plan = Plan::new(&node, &Policy { target, ..policy() });
        let target = Report::new(&node, &plan, None, &run(true)).target.expect("a target");
        assert_eq!((target.is_due, target.needed_removals, target.in_the_way.len()), (false, 0, 0));
    }

    #[test]
    fn what_stands_in_the_way_of_a_target_is_counted_by_why_it_is_still_there() {
        let outcomes = vec![Outcome::Failed("device busy".into()), Outcome::Removed, Outcome::NotAttempted(NotAttempted::LimitReached)];
        let target = target_after(outcomes, 80);
        let expected = [("in_use", 1), ("unpullable", 1), ("failed", 1), ("limit_reached", 1)];
        assert_eq!(target.in_the_way, expected.map(|(why, count)| (why.to_owned(), count)).into());
        assert_eq!((target.missing_bytes, target.in_the_way_bytes), (30, 2 + 1 + 20 + 5));
        assert_eq!((target.needed_removals, target.needed_bytes), (1, 5), "of those that are left");
        let spared = target_after(vec![Outcome::Spared("in use".into()), Outcome::Gone, Outcome::Removed], 80);
        assert_eq!(spared.in_the_way.get("spared"), Some(&1));
    }

    #[test]
    fn a_target_says_in_words_when_it_begins_when_it_ends_and_what_is_missing() {
        let gib = 1 << 30;
        let all = TargetReport {
            high_threshold: Some(80),
            low_threshold: Some(70),
            free_bytes: Some(20 * gib),
            missing_bytes: 3 * gib,
            missing_inodes: 7,
            in_the_way: [("failed", 1), ("in_use", 9)].map(|(why, count)| (why.to_owned(), count)).into(),
            ..TargetReport::default()
        };
        assert_eq!(all.begins_when(), "fuller than 80 % or with less than 20.0 GiB free");
        assert_eq!(all.ends_when(), "no fuller than 70 % and with 20.0 GiB free");
        assert_eq!((all.missing(), all.obstacles()), ("3.0 GiB and 7 inodes".into(), "9 in use · 1 failed".into()));
    }

    #[test]
    fn an_image_is_called_by_its_tag_else_its_digest_else_its_id() {
        let tagged = image("quay.io/a/app:1");
        let by_digest = Image { references: tagged.references[..2].to_vec(), ..tagged.clone() };
        let bare = Image { references: tagged.references[..1].to_vec(), ..tagged.clone() };
        let names: Vec<String> = [&tagged, &by_digest, &bare].map(|image| image.display_name().to_owned()).to_vec();
        assert_eq!(names, ["quay.io/a/app:1".to_owned(), tagged.references[1].to_string(), tagged.id.to_string()]);
        let node = inventory(vec![tagged]);
        let plan = Plan::new(&node, &Policy { allow_idle: true, ..policy() });
        assert_eq!(Report::new(&node, &plan, None, &run(true)).images[0].name, "quay.io/a/app:1");
    }
}
