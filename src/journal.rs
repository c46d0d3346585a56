//! The story of a run, as log entries that read by themselves and have fields: what each removal came to, and one entry that sums the run up.
//!
//! The IDs are those of `systemd/nuke-images.catalog`, which explains each kind of entry on the node.

use crate::inventory::Inventory;
use crate::plan::{Plan, Removal};
use crate::policy::Verdict;
use crate::reference::Reference;
use crate::report::{MemoryOutcome, MemoryReport, MemoryUsage, Outcome, Report, Summary, TargetReport};
use crate::units::{human_bytes, printable};

/// Of the entry that sums a run up; one query shows the whole fleet.
const SUMMARY: &str = "6d1f3ad0c2f94e0f8f3b1c0e6a54d7b2";
/// Of the entry of one removal.
const REMOVAL: &str = "b0a9c5e24d3f47f1a8a1f1d0b7c46e93";
/// Of the entry that says why a run could not be carried out.
const FAILURE: &str = "0d7de254595849039987d20cc67a67f8";
/// Of the entry that says that nothing is configured that may go.
const OBSERVED: &str = "9241de5223f84693974f7666ccc43d14";

/// Of the entry of the memory step.
const MEMORY: &str = "a81f0a9b7c5d4a1e9f0c3c6b52d84e17";

/// Why a run could not be carried out, and what to do about it.
pub fn log_failure(error: &anyhow::Error, hint: Option<&str>) {
    tracing::error!(message_id = FAILURE, hint, "{error:#}");
}

/// That a run without a selector only looked.
pub fn log_observed_only() {
    tracing::warn!(message_id = OBSERVED, "only observed: nothing is configured that may go; set all, registries or include in [images]");
}

/// Every verdict, for those who ask for more.
pub fn log_verdicts(inventory: &Inventory, plan: &Plan) {
    for (image, verdict) in inventory.images.iter().zip(&plan.verdicts) {
        let (word, reason, detail) = match verdict {
            Verdict::Keep(reason, detail) => ("keep", reason.key(), detail),
            Verdict::Remove(reason, detail) => ("remove", reason.key(), detail),
        };
        tracing::debug!(image_id = %image.id, references = %joined(&image.references), verdict = word, reason, detail, "judged an image");
    }
}

/// What became of one planned removal; `alone` are the bytes that nothing else holds.
pub fn log_removal(removal: &Removal, outcome: &Outcome, inventory: &Inventory, plan: &Plan, alone: u64) {
    let reason = match &plan.verdicts[removal.position] {
        Verdict::Keep(reason, _) => reason.key(),
        Verdict::Remove(reason, _) => reason.key(),
    };
    let image = &inventory.images[removal.position];
    let name = image.display_name();
    let references = joined(&removal.references);
    // What came free can be measured for a whole run alone; of one image it is what nothing else holds.
    let reclaimed = match outcome {
        Outcome::Removed => alone,
        Outcome::Gone | Outcome::Spared(_) | Outcome::Failed(_) | Outcome::NotAttempted(_) => 0,
    };
    macro_rules! entry {
        ($level:ident, $message:literal, $error:expr) => {
            tracing::$level!(message_id = REMOVAL, image = %printable(name), image_id = %removal.id, references, reason,
                outcome = outcome.key(), reclaimed_bytes = reclaimed, error = $error, $message)
        };
    }
    match outcome {
        Outcome::Removed => entry!(info, "removed an image: {name}: {reason}", ""),
        Outcome::Gone => entry!(info, "an image was removed by somebody else: {name}", ""),
        Outcome::Spared(why) => entry!(info, "spared an image: {name}: {why}", why),
        Outcome::Failed(why) => entry!(error, "an image could not be removed: {name}: {why}", why),
        Outcome::NotAttempted(_) => {}
    }
}

/// What the memory step came to.
pub fn log_memory(memory: &MemoryReport) {
    let figure = |usage: Option<MemoryUsage>, of: fn(MemoryUsage) -> u64| usage.map(of);
    let (free, available, cached) =
        (|usage: MemoryUsage| usage.free_bytes, |usage: MemoryUsage| usage.available_bytes, |usage: MemoryUsage| usage.cached_bytes);
    let error = memory.error.as_deref().unwrap_or_default();
    macro_rules! entry {
        ($level:ident, $outcome:literal, $($message:tt)*) => {
            tracing::$level!(message_id = MEMORY, outcome = $outcome, error, given_back_bytes = memory.given_back_bytes,
                free_before_bytes = figure(memory.before, free), free_after_bytes = figure(memory.after, free),
                available_before_bytes = figure(memory.before, available), available_after_bytes = figure(memory.after, available),
                cached_before_bytes = figure(memory.before, cached), cached_after_bytes = figure(memory.after, cached),
                $($message)*)
        };
    }
    match memory.outcome {
        None => {}
        Some(MemoryOutcome::Done) => entry!(info, "done", "gave cached memory back: {}", human_bytes(memory.given_back_bytes)),
        Some(MemoryOutcome::Skipped) => entry!(info, "skipped", "memory was left alone: {error}"),
        Some(MemoryOutcome::Failed) => entry!(error, "failed", "memory could not be given back: {error}"),
    }
}

/// The run in figures.
pub fn log_summary(report: &Report) {
    let summary = &report.summary;
    let target = report.target.as_ref();
    tracing::info!(
        message_id = SUMMARY,
        node = report.node,
        dry_run = report.dry_run,
        images = summary.images,
        planned = summary.planned_removals,
        removed = summary.removed,
        gone = summary.gone,
        spared = summary.spared,
        not_attempted = summary.not_attempted,
        failed = summary.failed,
        reclaimed_bytes = summary.reclaimed_bytes,
        memory_given_back_bytes = report.memory.as_ref().map(|memory| memory.given_back_bytes),
        target_due = target.map(|target| target.is_due),
        target_met = target.map(|target| target.is_met),
        missing_bytes = target.map(|target| target.missing_bytes),
        missing_inodes = target.map(|target| target.missing_inodes),
        in_the_way = target.map(TargetReport::obstacles).filter(|all| !all.is_empty()),
        seconds = report.finished_at.since(report.started_at).map_or(0, |d| d.as_secs()),
        "run finished: {}",
        in_words(summary, target)
    );
}

/// `removed 3 of 12 images, 1.2 GiB came free`, and what else there is to say.
fn in_words(summary: &Summary, target: Option<&TargetReport>) -> String {
    if let Some(target) = target.filter(|target| !target.is_due) {
        return format!("nothing to do, no image file system is {}", target.begins_when());
    }
    let target = match target {
        Some(target) if target.is_met => format!(", each image file system is {}", target.ends_when()),
        Some(target) => format!(", target not met: {} more have to come free, in the way are {}", target.missing(), target.obstacles()),
        None => String::new(),
    };
    let more = [
        ("failed", summary.failed),
        ("spared", summary.spared),
        ("removed by somebody else", summary.gone),
        ("not attempted", summary.not_attempted),
    ];
    let more = more.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!(", {count} {what}"));
    let freed = human_bytes(summary.reclaimed_bytes);
    format!("removed {} of {} images, {freed} came free{}{target}", summary.removed, summary.images, more.collect::<String>())
}

fn joined(references: &[Reference]) -> String {
    references.iter().map(|name| printable(name.as_str())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_far_the_run_got_and_what_stood_in_the_way() {
        let summary = Summary { images: 12, removed: 3, failed: 1, reclaimed_bytes: 1 << 30, ..Summary::default() };
        let marks = TargetReport { high_threshold: Some(80), low_threshold: Some(70), ..TargetReport::default() };
        let removed = "removed 3 of 12 images, 1.0 GiB came free, 1 failed";
        let short = TargetReport {
            is_due: true,
            missing_bytes: 5 << 30,
            in_the_way: [("in_use".to_owned(), 8), ("failed".to_owned(), 1)].into(),
            ..marks.clone()
        };
        for (target, words) in [
            (None, removed.to_owned()),
            (Some(&marks), "nothing to do, no image file system is fuller than 80 %".into()),
            (Some(&short), format!("{removed}, target not met: 5.0 GiB more have to come free, in the way are 8 in use · 1 failed")),
            (
                Some(&TargetReport { is_due: true, is_met: true, ..marks.clone() }),
                format!("{removed}, each image file system is no fuller than 70 %"),
            ),
        ] {
            assert_eq!(in_words(&summary, target), words);
        }
    }

    #[test]
    fn the_catalog_explains_each_kind_of_entry_and_no_other() {
        let catalog = include_str!("../systemd/nuke-images.catalog");
        let mut explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let mut own = [SUMMARY, REMOVAL, FAILURE, OBSERVED, MEMORY];
        explained.sort_unstable();
        own.sort_unstable();
        assert_eq!(explained, own);
    }
}
