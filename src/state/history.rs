//! The last runs, as they are remembered: when, why started, what became of them, and what they took away with the digests
//! by which it can be pulled again.

use serde::{Deserialize, Serialize};

use crate::plan::Removal;
use crate::reference::{Digest, ImageId, Reference};
use crate::report::{DiskReport, MemoryReport, Report, Summary, TargetReport, Trigger};
use crate::units::{Timestamp, printable};

/// So many runs are remembered.
pub const MOST_RUNS: usize = 50;
/// So many removed images are remembered by name, those of the last run that removed any whatever their number. The file is
/// written anew with each batch.
const MOST_IMAGES: usize = 5_000;

/// One clean-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` where it was killed before it could say.
    pub finished_at: Option<Timestamp>,
    /// Who started it.
    pub trigger: Trigger,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// What it ended with; `None` where it was killed before it could say.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// Why nothing could be done.
    #[serde(default)]
    pub error: Option<String>,
    /// Nothing was configured that may go, so it only looked.
    #[serde(default)]
    pub only_observed: bool,
    /// It left the images out, and only gave memory back.
    #[serde(default)]
    pub no_images: bool,
    /// Totals; `None` where it came to no plan or didn't carry it out to its end.
    #[serde(default)]
    pub summary: Option<Summary>,
    /// How full the file systems were to be, where that was asked.
    #[serde(default)]
    pub target: Option<TargetReport>,
    /// File systems before and after.
    #[serde(default)]
    pub disks: Vec<DiskReport>,
    /// The memory step, where one was asked for.
    #[serde(default)]
    pub memory: Option<MemoryReport>,
    /// What it took away, in this order; of an old run perhaps nothing any more.
    #[serde(default)]
    pub removed: Vec<RemovedImage>,
}

/// An image that a run took away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedImage {
    /// Hash of its config.
    pub id: ImageId,
    /// All its names.
    pub references: Vec<Reference>,
    /// Manifests and indexes that led to it: with a repository, what it can be pulled by.
    pub digests: Vec<Digest>,
    /// Bytes that it was reckoned to give back.
    pub bytes: u64,
}

impl PastRun {
    /// One that begins.
    pub fn begun(started_at: Timestamp, trigger: Trigger) -> Self {
        Self {
            started_at,
            finished_at: None,
            trigger,
            version: env!("CARGO_PKG_VERSION").into(),
            exit_code: None,
            error: None,
            only_observed: false,
            no_images: false,
            summary: None,
            target: None,
            disks: Vec::new(),
            memory: None,
            removed: Vec::new(),
        }
    }

    /// What the report tells of it.
    pub fn tell(&mut self, report: &Report) {
        self.no_images = report.runtime.is_none();
        self.summary = (!self.no_images).then(|| report.summary.clone());
        self.memory.clone_from(&report.memory);
        self.target.clone_from(&report.target);
        self.disks.clone_from(&report.disks);
    }

    /// Its end.
    pub fn end(&mut self, finished_at: Timestamp, exit_code: u8, error: Option<String>) {
        self.finished_at = Some(finished_at);
        self.exit_code = Some(exit_code);
        self.error = error.map(|error| printable(&error));
    }

    pub(super) fn note(&mut self, removal: &Removal) {
        self.removed.push(RemovedImage {
            id: removal.id.clone(),
            references: removal.references.clone(),
            digests: removal.digests.clone(),
            bytes: removal.gives_back.bytes,
        });
    }

    /// Moves its times to another clock.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        [&mut self.started_at].into_iter().chain(&mut self.finished_at)
    }
}

/// Adds a run, and forgets what is too much: first of those that removed nothing, so that an hourly run which is seldom needed,
/// or fails, doesn't push out of the list in two days what the others removed. When one last ended well is never forgotten.
pub(super) fn add(runs: &mut Vec<PastRun>, run: PastRun) {
    while runs.len() >= MOST_RUNS {
        let last_success = runs.iter().rposition(|run| run.exit_code == Some(0));
        let oldest_idle = (0..runs.len()).find(|&i| runs[i].removed.is_empty() && Some(i) != last_success);
        runs.remove(oldest_idle.unwrap_or(0));
    }
    let mut images = 0;
    for old in runs.iter_mut().rev() {
        let newer = images;
        images += old.removed.len();
        if newer > 0 && images > MOST_IMAGES {
            old.removed.clear();
        }
    }
    runs.push(run);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::samples::{image, inventory, now, parts, policy, used_image};
    use crate::inventory::{Image, Inventory};
    use crate::plan::Plan;
    use crate::report::{Execution, Outcome, Run};
    use crate::state::{State, load};

    const APP: &str = "quay.io/a/app:1";

    fn node() -> Inventory {
        let mut node = inventory(vec![used_image("quay.io/a/web:1"), Image { parts: vec![0], ..image(APP) }]);
        node.parts = parts(&[7]);
        node
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix(now().unix() + second)
    }

    fn ended(second: u64, exit_code: u8, removed: usize) -> PastRun {
        let mut run = PastRun::begun(at(second), Trigger::Timer);
        let plan = Plan::new(&node(), &policy());
        (0..removed).for_each(|_| run.note(&plan.removals[0]));
        run.end(at(second + 1), exit_code, None);
        run
    }

    fn seconds(runs: &[PastRun]) -> Vec<u64> {
        runs.iter().map(|run| run.started_at.unix() - now().unix()).collect()
    }

    #[test]
    fn a_run_is_remembered_with_what_it_removed_and_the_figures_of_its_report() {
        let (node, mut state) = (node(), State::default());
        let plan = Plan::new(&node, &policy());
        state.begin_run(PastRun::begun(now(), Trigger::Person));
        state = state.updated(&node);
        state.note_removal(&plan.removals[0]);
        let execution = Execution { outcomes: vec![Outcome::Removed], reclaimed_bytes: 8, ..Execution::default() };
        let run = Run { dry_run: false, trigger: Trigger::Person, started_at: now(), finished_at: at(2), memory: None };
        let report = Report::new(&node, &plan, Some(&execution), &run);
        let current = state.current_run().expect("it goes on");
        current.tell(&report);
        current.end(at(2), 0, None);
        assert!(state.current_run().is_none());
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        state.save(&path).expect("save");
        let run = load(&path).expect("load").runs()[0].clone();
        assert_eq!((run.started_at, run.finished_at, run.trigger, run.exit_code), (now(), Some(at(2)), Trigger::Person, Some(0)));
        assert_eq!(run.summary, Some(report.summary));
        let image = &node.images[1];
        let removed = RemovedImage { id: image.id.clone(), references: image.references.clone(), digests: image.digests.clone(), bytes: 7 };
        assert_eq!(run.removed, [removed]);
    }

    #[test]
    fn a_run_that_was_killed_is_remembered_with_what_it_had_removed() {
        let mut state = State::default();
        state.begin_run(PastRun::begun(now(), Trigger::Timer));
        state.note_removal(&Plan::new(&node(), &policy()).removals[0]);
        state.begin_run(PastRun::begun(at(9), Trigger::Timer));
        let killed = &state.runs()[0];
        assert_eq!((killed.finished_at, killed.exit_code, killed.removed.len()), (None, None, 1));
        assert_eq!(state.current_run().map(|run| run.started_at), Some(at(9)));
    }

    #[test]
    fn of_too_many_runs_those_go_first_that_removed_nothing_and_never_the_newest_or_the_last_that_ended_well() {
        let mut runs = Vec::new();
        for second in 0..60 {
            add(&mut runs, ended(second, 0, usize::from(second < 20)));
        }
        assert_eq!(seconds(&runs), (0..20).chain(30..60).collect::<Vec<_>>());
        for second in 60..100 {
            add(&mut runs, ended(second, 3, 0));
        }
        assert_eq!(runs.len(), MOST_RUNS);
        assert_eq!(seconds(&runs), (0..20).chain([59]).chain(71..100).collect::<Vec<_>>());
        add(&mut runs, ended(100, 0, 0));
        add(&mut runs, ended(101, 0, 0));
        assert_eq!(seconds(&runs), (0..20).chain(72..102).collect::<Vec<_>>());
    }

    #[test]
    fn what_old_runs_removed_is_forgotten_when_it_is_very_much() {
        let mut runs = Vec::new();
        for (second, removed) in [(0, 10), (1, MOST_IMAGES - 1), (2, 1), (3, 0), (4, 2 * MOST_IMAGES), (5, 0)] {
            add(&mut runs, ended(second, 0, removed));
        }
        let left: Vec<usize> = runs.iter().map(|run| run.removed.len()).collect();
        assert_eq!(left, [0, 0, 0, 0, 2 * MOST_IMAGES, 0]);
        runs.truncate(0);
        for (second, removed) in [(0, 10), (1, MOST_IMAGES - 1), (2, 1), (3, 0)] {
            add(&mut runs, ended(second, 0, removed));
        }
        assert_eq!(runs.iter().map(|run| run.removed.len()).collect::<Vec<_>>(), [0, MOST_IMAGES - 1, 1, 0]);
    }

    #[test]
    fn a_run_of_which_less_was_written_is_read() {
        let text = r#"{"started_at":"2026-11-18T10:06:40Z","finished_at":null,"trigger":"timer","summary":{"removed":3}}"#;
        let run: PastRun = serde_json::from_str(text).expect("parse");
        assert_eq!((run.removed.len(), run.summary.map(|summary| summary.removed)), (0, Some(3)));
    }
}
