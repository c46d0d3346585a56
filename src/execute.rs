//! Plan → outcomes: re-check, remove, verify, measure.
//!
//! It has nothing to choose and can't judge: it may spare what was planned, it never adds to it. Uses, references and pins
//! are listed anew right before each batch, by a constant number of listings; without them nothing is removed. A removal
//! takes away all references of an image or none, and is `removed` only once the runtime no longer lists it: the look
//! before a batch shows also what the batch before it has left.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::disk;
use crate::inventory::{BytesAre, Disk, DiskUsage, Inventory, Space};
use crate::pace::{Pace, Paced};
use crate::plan::{Plan, Removal, Target};
use crate::process::Failure;
use crate::reference::{ImageId, Reference};
use crate::report::{Execution, NotAttempted, Outcome};
use crate::signals::Interrupt;
use crate::state::State;

pub mod crictl;
pub mod ctr;

/// What a plan is carried out with.
pub struct Executor<'a> {
    /// The runtime.
    pub store: &'a dyn Store,
    /// The facts the plan was made from.
    pub inventory: &'a Inventory,
    /// Where begun removals are noted.
    pub state_path: &'a Path,
    /// Ends the run after the batch that runs.
    pub interrupt: &'a Interrupt,
    /// How gently.
    pub pace: &'a Pace,
    /// Tells the fill of the file system of a folder; of one that can't be measured there is a gap.
    pub measure: &'a dyn Fn(&Path) -> Result<DiskUsage>,
    /// Told of each removal when its outcome is known.
    pub watch: &'a dyn Fn(&Removal, &Outcome),
}

/// A runtime, as it is asked to take images away.
pub trait Store {
    /// What it says right now of each removal of `batch`, and what it still has of those of `before`. The number of
    /// listings doesn't grow with them.
    fn look(&self, batch: &[&Removal], before: &[&Removal]) -> Result<Look>;
    /// Takes images away with all their references; goes on after one that can't be.
    fn remove(&self, removals: &[&Removal]) -> Result<Box<dyn Answer>>;
    /// Does it take the names of an image away in the order in which the removal has them?
    fn keeps_order(&self) -> bool;
    /// Makes the runtime give back what nothing holds any more, and waits for it.
    fn collect_garbage(&self) -> Result<()>;
    /// Has anything come that the inventory doesn't know?
    fn has_new_images(&self) -> Result<bool>;
}

/// What a look shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// One for each removal of the batch.
    pub checks: Vec<Check>,
    /// What is still there of the batch before.
    pub left: BTreeMap<ImageId, Left>,
}

/// An image that was to go and is still listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// A name that leads to it.
    pub name: Reference,
    /// It has all the names that it was judged with.
    pub is_whole: bool,
    /// Its content is younger than what was judged.
    pub was_pulled_again: bool,
}

/// What a look says of one image that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// As it was planned, or with fewer names.
    Unchanged,
    /// It isn't there any more.
    Gone,
    /// It has come into use, or has a new name or a pin.
    Changed(String),
}

/// What the runtime said of the removals it was asked for.
pub trait Answer {
    /// Of one of them.
    fn about(&self, removal: &Removal) -> Said;
}

/// What was said of one removal. Nobody believes it before the next look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It was taken away.
    Done,
    /// It was not there.
    Missing,
    /// It was not taken away because something uses it.
    Refused(String),
    /// Something went wrong.
    Complaint(String),
}

/// By so much more, at least, an image takes than it had packed, as it is kept packed and unpacked.
const UNPACKED: u64 = 3;
/// So many images at most are removed before it is measured again, where what they give back is not known for sure: nobody
/// counts inodes without ctr, and a snapshotter may not tell its sizes.
const UNSURE: usize = 20;

/// Removals that were asked for and not yet verified: positions in the plan, and the answer.
type Open = (Vec<usize>, Result<Box<dyn Answer>>);

impl Executor<'_> {
    /// Carries the plan out; what fails is told with each removal, and never stops the others.
    pub fn execute(&self, plan: &Plan, state: &mut State) -> Execution {
        let mut run = Run::new(self, plan, state);
        let before = self.measure(&mut run.gaps);
        let rest = if plan.is_due { run.batches() } else { NotAttempted::TargetMet };
        run.verify();
        run.collect_garbage();
        let Run { outcomes, mut gaps, .. } = run;
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::NotAttempted(rest))).collect();
        if outcomes.contains(&Outcome::Removed) {
            gaps.extend(self.pulled_meanwhile());
        }
        let disks = self.measure(&mut gaps);
        gaps.dedup();
        // What somebody else gave back meanwhile is nothing that was reclaimed.
        let reclaimed_bytes = if outcomes.contains(&Outcome::Removed) { disk::freed(&before, &disks) } else { 0 };
        Execution { outcomes, disks, reclaimed_bytes, gaps }
    }

    fn measure(&self, gaps: &mut Vec<String>) -> Vec<Disk> {
        let measured = |disk: &Disk| match (self.measure)(&disk.path) {
            Ok(usage) => Some(Disk { usage, ..disk.clone() }),
            Err(error) => {
                gaps.push(disk::unmeasured(&error));
                None
            }
        };
        self.inventory.disks.iter().filter_map(measured).collect()
    }

    fn pulled_meanwhile(&self) -> Option<String> {
        match self.store.has_new_images() {
            Ok(false) => None,
            Ok(true) => Some("images were pulled meanwhile: what they take is missing from the bytes reclaimed".into()),
            Err(error) => Some(format!("whether images were pulled meanwhile can't be told: {error:#}")),
        }
    }
}

/// One plan on its way.
struct Run<'a> {
    executor: &'a Executor<'a>,
    plan: &'a Plan,
    state: &'a mut State,
    /// One for each removal, as far as they are known.
    outcomes: Vec<Option<Outcome>>,
    open: Vec<Open>,
    /// Something was removed since the runtime last gave back what nothing holds any more.
    owes_bytes: bool,
    /// A removal hangs and was left alone: what would follow it could only wait behind it.
    removal_still_runs: bool,
    gaps: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(executor: &'a Executor<'a>, plan: &'a Plan, state: &'a mut State) -> Self {
        Self {
            executor,
            plan,
            state,
            outcomes: vec![None; plan.removals.len()],
            open: Vec::new(),
            owes_bytes: false,
            removal_still_runs: false,
            gaps: Vec::new(),
        }
    }

    /// One batch after the other, to the end of the plan or to what ends it earlier; that is why the rest is not attempted.
    fn batches(&mut self) -> NotAttempted {
        let mut paced = Paced::new(self.executor.pace, self.executor.interrupt);
        let mut next = 0;
        let ended = loop {
            if next == self.plan.removals.len() {
                break NotAttempted::LimitReached;
            }
            let most = match paced.next_batch() {
                Ok(most) => most,
                Err(why) => break why,
            };
            let needed = match self.needed(next) {
                Ok(needed) => needed,
                Err(why) => break why,
            };
            let batch = next..next + needed.min(most).min(self.plan.removals.len() - next);
            next = batch.end;
            paced.attempt(self.batch(&batch.collect::<Vec<_>>()));
            if let Err(why) = self.give_back() {
                break why;
            }
        };
        self.gaps.extend(paced.gap());
        ended
    }

    /// So many of the next removals probably meet the target; few where that can't be told, and all of them where there is none.
    fn needed(&mut self, next: usize) -> Result<usize, NotAttempted> {
        let Some(target) = self.plan.target else {
            return Ok(usize::MAX);
        };
        let inventory = self.executor.inventory;
        let missing = target.missing(&inventory.disks, &self.fill(target)?);
        let missing = match inventory.bytes_are() {
            BytesAre::Counted | BytesAre::UpperBound => missing,
            BytesAre::PackedSizes => Space { bytes: missing.bytes.div_ceil(UNPACKED), ..missing },
        };
        let needed = self.plan.needed(next, missing);
        let given_back =
            self.plan.removals[next..next + needed].iter().map(|removal| removal.gives_back).fold(Space::default(), Space::plus);
        let is_sure = inventory.bytes_are() == BytesAre::Counted && given_back.covers(missing);
        Ok(if is_sure { needed.max(1) } else { needed.clamp(1, UNSURE) })
    }

    /// Verified and measured, once the runtime has given back what the batch held: an error where the run ends by that.
    fn give_back(&mut self) -> Result<(), NotAttempted> {
        let Some(target) = self.plan.target else {
            return Ok(());
        };
        self.verify();
        if !self.collect_garbage() {
            return Err(NotAttempted::Unmeasured);
        }
        self.fill(target).map(drop)
    }

    /// How full the file systems are by now, while the target is not met.
    fn fill(&mut self, target: Target) -> Result<Vec<Disk>, NotAttempted> {
        let (before, now) = (&self.executor.inventory.disks, self.executor.measure(&mut self.gaps));
        match () {
            () if !Target::is_measured(before, &now) => Err(NotAttempted::Unmeasured),
            () if target.is_met(before, &now) => Err(NotAttempted::TargetMet),
            () => Ok(now),
        }
    }

    /// Whether nothing is owed any more.
    fn collect_garbage(&mut self) -> bool {
        if !std::mem::take(&mut self.owes_bytes) {
            return true;
        }
        let error = self.executor.store.collect_garbage().err();
        let is_collected = error.is_none();
        self.gaps.extend(error.map(|error| format!("bytes may come free later: {error:#}")));
        is_collected
    }

    /// How many images the runtime was asked to take away.
    fn batch(&mut self, positions: &[usize]) -> usize {
        if self.removal_still_runs {
            self.fail(positions, "not tried: a removal before it still runs");
            return 0;
        }
        let removals: Vec<&Removal> = positions.iter().map(|&i| &self.plan.removals[i]).collect();
        let look = match self.executor.store.look(&removals, &self.unverified()) {
            Ok(look) => look,
            Err(error) => {
                self.fail(positions, &format!("not removed, as it can't be checked: {error:#}"));
                return 0;
            }
        };
        self.close(&look.left);
        let mut going = Vec::new();
        for (&i, check) in positions.iter().zip(look.checks) {
            match check {
                Check::Unchanged => going.push(i),
                Check::Gone => self.settle(i, Outcome::Gone),
                Check::Changed(why) => self.settle(i, Outcome::Spared(why)),
            }
        }
        if !going.is_empty() {
            let removals: Vec<&Removal> = going.iter().map(|&i| &self.plan.removals[i]).collect();
            self.state.begin(&removals, self.executor.store.keeps_order(), self.executor.inventory.taken_at);
            self.note();
            let answer = self.executor.store.remove(&removals);
            let failure = answer.as_ref().err().and_then(|error| error.downcast_ref::<Failure>());
            self.removal_still_runs |= matches!(failure, Some(Failure::StillRuns(_)));
            self.open.push((going.clone(), answer));
        }
        going.len()
    }

    /// Looks once more at what the last batch has left.
    fn verify(&mut self) {
        if !self.open.is_empty() {
            match self.executor.store.look(&[], &self.unverified()) {
                Ok(look) => self.close(&look.left),
                Err(error) => {
                    let open: Vec<usize> = self.open.drain(..).flat_map(|(positions, _)| positions).collect();
                    self.fail(&open, &format!("can't tell whether it was removed: {error:#}"));
                }
            }
        }
        self.note();
    }

    fn unverified(&self) -> Vec<&Removal> {
        self.open.iter().flat_map(|(positions, _)| positions).map(|&i| &self.plan.removals[i]).collect()
    }

    fn close(&mut self, left: &BTreeMap<ImageId, Left>) {
        for (positions, answer) in std::mem::take(&mut self.open) {
            for i in positions {
                let (removal, left) = (&self.plan.removals[i], left.get(&self.plan.removals[i].id));
                self.settle(i, outcome(removal, &answer, left));
                // It was not cut off: a name that it loses later was taken by somebody else, for a reason of theirs.
                if left.is_some_and(|left| left.is_whole) && !self.removal_still_runs {
                    self.state.spare(&removal.id);
                }
            }
        }
    }

    fn fail(&mut self, positions: &[usize], why: &str) {
        for &i in positions {
            self.settle(i, Outcome::Failed(why.to_owned()));
        }
    }

    fn settle(&mut self, position: usize, outcome: Outcome) {
        let removal = &self.plan.removals[position];
        (self.executor.watch)(removal, &outcome);
        match outcome {
            Outcome::Removed => {
                self.owes_bytes = true;
                self.state.note_removal(removal);
                self.state.finish(&removal.id);
            }
            Outcome::Gone => self.state.finish(&removal.id),
            Outcome::Spared(_) => self.state.spare(&removal.id),
            Outcome::NotAttempted(_) | Outcome::Failed(_) => {}
        }
        self.outcomes[position] = Some(outcome);
    }

    /// A full disk is what we are called for: a state that can't be written is said and doesn't stop the run.
    fn note(&mut self) {
        if let Err(error) = self.state.save(self.executor.state_path) {
            let gap = "removals under way can't be noted, so one that is cut off is finished only if it is selected again";
            self.gaps.push(format!("{gap}: {error:#}"));
        }
    }
}

fn outcome(removal: &Removal, answer: &Result<Box<dyn Answer>>, left: Option<&Left>) -> Outcome {
    let said = match answer {
        Ok(answer) => answer.about(removal),
        Err(error) => Said::Complaint(format!("{error:#}")),
    };
    match (left, said) {
        (None, Said::Missing) => Outcome::Gone,
        (None, Said::Done | Said::Refused(_) | Said::Complaint(_)) => Outcome::Removed,
        (Some(left), _) if left.was_pulled_again => Outcome::Spared("was pulled again".into()),
        (Some(left), Said::Refused(why)) if left.is_whole => Outcome::Spared(why),
        (Some(left), Said::Refused(why)) => Outcome::Failed(format!("names are gone, and still listed: {}: {why}", left.name)),
        (Some(left), Said::Complaint(why)) => Outcome::Failed(format!("still listed: {}: {why}", left.name)),
        (Some(left), Said::Done | Said::Missing) => Outcome::Failed(format!("still listed: {}", left.name)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::sys::signal::Signal;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use tempfile::TempDir;

    use super::ctr::CtrStore;
    use super::*;
    use crate::inventory::Image;
    use crate::inventory::samples::{digest_of, disk, hash, image, inventory, parts, policy, used_image};
    use crate::plan::Target;
    use crate::policy::Policy;
    use crate::process::Failure;
    use crate::process::fake::{Asked, FakeContainerd, failing, lines, output};

    const USED: &str = "quay.io/a/used:1";
    const A: &str = "quay.io/a/a:1";
    const B: &str = "quay.io/a/b:1";
    const C: &str = "quay.io/a/c:1";
    const SNAPSHOTS: &str = "snapshots --snapshotter overlayfs ls";
    /// What is asked before a batch in which nothing has changed.
    const CHECK: [&str; 3] = ["images ls -q", "containers ls", SNAPSHOTS];

    /// A node with one image in use and these unused ones, the plan to remove them, and its containerd.
    struct Stage {
        node: Inventory,
        plan: Plan,
        folder: TempDir,
        interrupt: Interrupt,
        batch: usize,
    }

    impl Stage {
        fn with(unused: &[&str]) -> Self {
            let images = [used_image(USED)].into_iter().chain(unused.iter().copied().map(image)).collect();
            let node = inventory(images);
            let plan = Plan::new(&node, &policy());
            assert_eq!(plan.removals.len(), unused.len());
            Self { node, plan, folder: tempfile::tempdir().expect("folder"), interrupt: Interrupt::default(), batch: 100 }
        }

        fn in_batches_of(self, batch: usize) -> Self {
            Self { batch, ..self }
        }

        fn fake(&self) -> FakeContainerd {
            FakeContainerd::holding(&self.node.images)
        }

        /// One where something happens once, at the first call of `command`.
        fn fake_where(&self, command: &'static str, happens: impl Fn(&FakeContainerd) + Send + Sync + 'static) -> FakeContainerd {
            self.fake().reacting(move |fake, asked| {
                if asked.command == command && fake.args_of(command).len() == 1 {
                    happens(fake);
                }
                None
            })
        }

        fn pace(&self) -> Pace {
            Pace { batch: self.batch, ..Pace::default() }
        }

        fn state_path(&self) -> std::path::PathBuf {
            self.folder.path().join("state.json")
        }

        /// Stops at the low mark.
        fn until(mut self, bytes: &[u64], used: u64) -> Self {
            let alone: Vec<Vec<usize>> = (0..bytes.len()).map(|part| vec![part]).collect();
            self.node.images[1..].iter_mut().zip(alone).for_each(|(image, parts)| image.parts = parts);
            (self.node.parts, self.node.disks) = (parts(bytes), vec![disk("/disk", used)]);
            let target = Some(Target { high: Some(80), low: Some(70), free_bytes: None });
            self.plan = Plan::new(&self.node, &Policy { target, ..policy() });
            self
        }

        /// What the disk holds once the runtime has given back what nothing holds.
        fn measure(&self, fake: &FakeContainerd, path: &Path) -> DiskUsage {
            let disk = self.node.disks.iter().find(|disk| disk.path == path).expect("a disk of the node");
            let (mut pending, mut freed) = (0, 0);
            for asked in fake.calls() {
                match asked.command {
                    "images rm" => {
                        let goes = |removal: &&Removal| asked.args.contains(&removal.references[0].to_string());
                        pending += self.plan.removals.iter().filter(goes).map(|removal| removal.gives_back.bytes).sum::<u64>();
                    }
                    "leases delete" => freed += std::mem::take(&mut pending),
                    _ => {}
                }
            }
            DiskUsage { used_bytes: disk.usage.used_bytes - freed, ..disk.usage }
        }

        fn run(&self, fake: &FakeContainerd) -> Execution {
            self.run_watched(fake, &|_, _| ())
        }

        fn run_watched(&self, fake: &FakeContainerd, watch: &dyn Fn(&Removal, &Outcome)) -> Execution {
            self.run_remembering(&mut State::default().updated(&self.node), fake, watch)
        }

        fn run_remembering(&self, state: &mut State, fake: &FakeContainerd, watch: &dyn Fn(&Removal, &Outcome)) -> Execution {
            let ctr = fake.ctr();
            let (path, interrupt) = (self.state_path(), &self.interrupt);
            let store = CtrStore { ctr: &ctr, inventory: &self.node };
            let (inventory, pace, measure) = (&self.node, &self.pace(), &|path: &Path| Ok(self.measure(fake, path)));
            let executor = Executor { store: &store, inventory, state_path: &path, interrupt, pace, measure, watch };
            let execution = executor.execute(&self.plan, state);
            assert_eq!(execution.outcomes.len(), self.plan.removals.len());
            execution
        }

        fn position(&self, name: &str) -> usize {
            self.plan.removals.iter().position(|removal| removal.id == image(name).id).expect("a planned removal")
        }

        fn outcome(&self, execution: &Execution, name: &str) -> Outcome {
            execution.outcomes[self.position(name)].clone()
        }

        /// References of the planned removals from `first` on, in the order of the plan.
        fn references(&self, removals: std::ops::Range<usize>) -> Vec<String> {
            self.plan.removals[removals].iter().flat_map(|removal| &removal.references).map(ToString::to_string).collect()
        }
    }

    fn commands(fake: &FakeContainerd) -> Vec<&'static str> {
        fake.calls().iter().map(|asked| asked.command).collect()
    }

    /// IDs of the removals that the state file says are under way.
    fn noted(path: &Path) -> Vec<String> {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("a state")).expect("JSON");
        json["removing"].as_array().expect("a list").iter().map(|begun| begun["id"].as_str().expect("an ID").to_owned()).collect()
    }

    fn spared(why: &str) -> Outcome {
        Outcome::Spared(why.to_owned())
    }

    fn names_of(name: &str) -> Vec<Reference> {
        let mut names = image(name).references;
        names.sort();
        names
    }

    fn assert_untouched(fake: &FakeContainerd, name: &str) {
        let left = fake.names();
        assert!(names_of(name).iter().all(|reference| left.contains(reference)), "{name} has lost a reference: {left:?}");
    }

    fn assert_has_no_names(fake: &FakeContainerd, name: &str) {
        let left = fake.names();
        assert!(names_of(name).iter().all(|reference| !left.contains(reference)), "a reference of {name} is left: {left:?}");
    }

    #[test]
    fn asks_as_often_before_a_batch_whatever_its_size() {
        for count in [1, 10, 100] {
            let names: Vec<String> = (0..count).map(|i| format!("quay.io/a/app:{i}")).collect();
            let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let fake = stage.fake();
            assert_eq!(stage.run(&fake).outcomes, vec![Outcome::Removed; count]);
            let removal = vec!["images rm"; if count < 20 { 1 } else { 2 }];
            let whole = [&CHECK[..], &removal, &["images ls -q", "leases create", "leases delete", "images ls -q"]].concat();
            assert_eq!(commands(&fake), whole, "{count} images");
        }
    }

    #[test]
    fn two_calls_share_a_large_batch_and_no_image_is_in_both() {
        let names: Vec<String> = (0..21).map(|i| format!("quay.io/a/app:{i}")).collect();
        let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let fake = stage.fake();
        stage.run(&fake);
        let mut calls = fake.args_of("images rm");
        calls.sort_by_key(|names| *names != stage.references(0..10));
        assert_eq!(calls, [stage.references(0..10), stage.references(10..21)]);
    }

    #[test]
    fn a_half_of_a_large_batch_that_can_not_be_asked_for_is_told_by_what_is_left() {
        let names: Vec<String> = (0..20).map(|i| format!("quay.io/a/app:{i}")).collect();
        let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let broken = stage.references(10..20);
        let fake = stage.fake().reacting(move |_, asked| (asked.command == "images rm" && asked.args == broken).then(failing)?);
        let execution = stage.run(&fake);
        assert_eq!(execution.outcomes[..10], vec![Outcome::Removed; 10]);
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(why) if why.ends_with("ctr: broken"));
        assert!(execution.outcomes[10..].iter().all(failed), "{:?}", execution.outcomes);
    }

    #[test]
    fn asks_anew_before_each_batch() {
        let stage = Stage::with(&[A, B, C]).in_batches_of(1);
        let fake = stage.fake();
        stage.run(&fake);
        let batch = [&CHECK[..], &["images rm"]].concat();
        assert_eq!(commands(&fake)[..12], [&batch[..], &batch, &batch].concat());
    }

    #[test]
    fn takes_all_references_of_each_image_away_in_removal_order() {
        let stage = Stage::with(&[A, B, C]).in_batches_of(2);
        let fake = stage.fake();
        stage.run(&fake);
        assert_eq!(fake.args_of("images rm"), [stage.references(0..2), stage.references(2..3)]);
        assert_eq!(stage.plan.removals[0].references, image(stage.node.images[stage.plan.removals[0].position].display_name()).references);
        let mut left = fake.names();
        left.sort();
        assert_eq!(left, names_of(USED));
    }

    #[test]
    fn makes_no_removal_call_when_everything_is_spared() {
        let stage = Stage::with(&[A, B]);
        let fake = stage.fake_where("images ls -q", |fake| {
            fake.start("late-a", &image(A));
            fake.start("late-b", &image(B));
        });
        let execution = stage.run(&fake);
        assert_eq!(stage.outcome(&execution, A), spared("has come into use: container late-a"));
        assert_eq!(stage.outcome(&execution, B), spared("has come into use: container late-b"));
        assert_eq!(commands(&fake), CHECK);
    }

    #[test]
    fn spares_what_has_changed_since_the_plan_and_removes_the_rest() {
        type Change = fn(&FakeContainerd);
        let tag = Reference::new(A);
        let cases: [(Change, &str); 7] = [
            (|fake| fake.start("late", &image(A)), "has come into use: container late"),
            (|fake| fake.name("quay.io/a/a:2", &digest_of(A)), "has a new name: quay.io/a/a:2"),
            (|fake| fake.name("import-2026-11-24", &digest_of(A)), "has a new name: import-2026-11-24"),
            (|fake| fake.label(&Reference::new(A), "io.cri-containerd.pinned=pinned"), "has been pinned or moved: quay.io/a/a:1"),
            (|fake| fake.label(&Reference::new(A), "a=b,io.cattle.k3s.pinned=pinned"), "has been pinned or moved: quay.io/a/a:1"),
            (|fake| fake.label(&Reference::new(A), "io.cattle.rke2.pinned=pinned"), "has been pinned or moved: quay.io/a/a:1"),
            (|fake| fake.name(A, &hash("pulled anew")), "has been pinned or moved: quay.io/a/a:1"),
        ];
        for (change, why) in cases {
            let stage = Stage::with(&[A, B]);
            let fake = stage.fake_where("images ls -q", change);
            let execution = stage.run(&fake);
            assert_eq!(stage.outcome(&execution, A), spared(why));
            assert_eq!(stage.outcome(&execution, B), Outcome::Removed, "{why}");
            let left = fake.names();
            assert!(names_of(A).iter().all(|name| left.contains(name) || *name == tag), "{why}: {left:?}");
            assert_has_no_names(&fake, B);
        }
    }

    #[test]
    fn spares_an_image_to_which_a_name_of_its_neighbour_has_moved() {
        let stage = Stage::with(&[A, B]);
        let fake = stage.fake_where("images ls -q", |fake| fake.name(A, &digest_of(B)));
        let execution = stage.run(&fake);
        assert_eq!(stage.outcome(&execution, A), spared("has been pinned or moved: quay.io/a/a:1"));
        assert_eq!(stage.outcome(&execution, B), spared("has a new name: quay.io/a/a:1"));
        assert_untouched(&fake, A);
        assert_untouched(&fake, B);
    }

    #[test]
    fn what_somebody_else_has_removed_is_gone() {
        let everything = |fake: &FakeContainerd| names_of(A).iter().for_each(|name| assert!(fake.unname(name)));
        for moment in ["images ls -q", "images rm"] {
            let stage = Stage::with(&[A, B]);
            let fake = stage.fake_where(moment, everything);
            let execution = stage.run(&fake);
            assert_eq!(stage.outcome(&execution, A), Outcome::Gone, "at {moment}");
            assert_eq!(stage.outcome(&execution, B), Outcome::Removed, "at {moment}");
        }
    }

    #[test]
    fn a_check_that_fails_removes_nothing_and_does_not_stop_later_batches() {
        for (command, nth) in [("images ls -q", 1), ("images ls", 1), ("containers ls", 1), (SNAPSHOTS, 1)] {
            for failure in [None, Some(Failure::TimedOut(std::time::Duration::from_mins(2))), Some(Failure::HeldOpen)] {
                let stage = Stage::with(&[A, B, C]).in_batches_of(2);
                let first = stage.plan.removals[0].digests[0].clone();
                let expected = failure.as_ref().map_or("broken".to_owned(), ToString::to_string);
                let answer = Mutex::new(Some(failure.map_or_else(failing, |failure| Some(Err(failure)))));
                let fake = stage.fake().reacting(move |fake, asked| {
                    // A new name makes the records of names be looked at too.
                    fake.name("quay.io/a/new:1", &first);
                    (asked.command == command && fake.args_of(command).len() == nth)
                        .then(|| answer.lock().expect("lock").take().flatten())?
                });
                let execution = stage.run(&fake);
                for outcome in &execution.outcomes[..2] {
                    let Outcome::Failed(why) = outcome else { panic!("{command}: {outcome:?}") };
                    assert!(why.starts_with("not removed, as it can't be checked: ") && why.contains(&expected), "{why}");
                }
                assert_eq!(execution.outcomes[2], Outcome::Removed, "{command}");
                assert_eq!(fake.args_of("images rm"), [stage.references(2..3)], "{command}");
            }
        }
    }

    #[test]
    fn a_removal_that_has_failed_with_every_name_in_place_was_not_cut_off() {
        let stage = Stage::with(&[A]);
        let fake = stage.fake().reacting(|_, asked| (asked.command == "images rm").then(failing)?);
        assert!(matches!(&stage.run(&fake).outcomes[..], [Outcome::Failed(_)]));
        assert!(noted(&stage.state_path()).is_empty());
    }

    #[test]
    fn nothing_is_begun_beside_a_removal_that_still_runs() {
        for (failure, later) in [
            (Failure::StillRuns(std::time::Duration::from_mins(30)), Outcome::Failed("not tried: a removal before it still runs".into())),
            (Failure::HeldOpen, Outcome::Removed),
        ] {
            let stage = Stage::with(&[A, B]).in_batches_of(1);
            let answer = Mutex::new(Some(failure));
            let fake = stage
                .fake()
                .reacting(move |_, asked| (asked.command == "images rm").then(|| answer.lock().expect("lock").take().map(Err))?);
            let execution = stage.run(&fake);
            assert!(matches!(&execution.outcomes[0], Outcome::Failed(why) if why.starts_with("still listed: ")), "{execution:?}");
            assert_eq!(execution.outcomes[1], later);
            let may_be_cut_off = later != Outcome::Removed;
            assert_eq!(noted(&stage.state_path()).len(), usize::from(may_be_cut_off));
        }
    }

    #[test]
    fn what_is_still_listed_has_failed_whatever_the_program_says() {
        for (code, stderr, why) in [
            (0, "", "still listed: quay.io/a/a:1"),
            (1, "", "still listed: quay.io/a/a:1: exit status 1"),
            (
                1,
                "ctr: unable to delete quay.io/a/a:1: device busy\n",
                "still listed: quay.io/a/a:1: ctr: unable to delete quay.io/a/a:1: device busy",
            ),
        ] {
            let stage = Stage::with(&[A]);
            let fake = stage.fake().reacting(move |fake, asked| {
                let lie = lines(&asked.args);
                // All but the tag go, as when it is cut off.
                let last = asked.args.split_last().map(|(_, all_but_the_tag)| all_but_the_tag);
                (asked.command == "images rm").then(|| {
                    last.into_iter().flatten().for_each(|name| _ = fake.unname(&Reference::new(name.as_str())));
                    Ok(output(code, &lie, stderr))
                })
            });
            let execution = stage.run(&fake);
            assert_eq!(execution.outcomes, [Outcome::Failed(why.into())]);
            assert_eq!(noted(&stage.state_path()), [image(A).id.to_string()], "what was cut off is finished by the next run");
        }
    }

    #[test]
    fn only_a_whole_image_was_spared_by_the_runtime_and_one_that_was_pulled_again_by_whoever_needs_it() {
        #[derive(Debug, Clone)]
        struct Says(Said);
        impl Answer for Says {
            fn about(&self, _: &Removal) -> Said {
                self.0.clone()
            }
        }
        let stage = Stage::with(&[A]);
        let lost = "names are gone, and still listed: quay.io/a/a:1: in use by b";
        for (is_whole, was_pulled_again, said, expected) in [
            (true, false, Said::Refused("in use by b".into()), spared("in use by b")),
            (false, false, Said::Refused("in use by b".into()), Outcome::Failed(lost.into())),
            (true, true, Said::Refused("in use by b".into()), spared("was pulled again")),
            (false, true, Said::Done, spared("was pulled again")),
            (true, false, Said::Done, Outcome::Failed("still listed: quay.io/a/a:1".into())),
        ] {
            let answer: Result<Box<dyn Answer>> = Ok(Box::new(Says(said.clone())));
            let left = Left { name: Reference::new(A), is_whole, was_pulled_again };
            assert_eq!(outcome(&stage.plan.removals[0], &answer, Some(&left)), expected, "{is_whole} {was_pulled_again} {said:?}");
        }
    }

    #[test]
    fn an_image_that_was_named_anew_during_its_removal_is_not_removed() {
        let stage = Stage::with(&[A, B]);
        let fake = stage.fake_where("images rm", |fake| fake.name("quay.io/a/a:2", &digest_of(A)));
        let execution = stage.run(&fake);
        assert_eq!(stage.outcome(&execution, A), Outcome::Failed("still listed: quay.io/a/a:2".into()));
        assert_eq!(stage.outcome(&execution, B), Outcome::Removed);
    }

    #[test]
    fn a_failing_image_does_not_stop_the_others_and_has_its_own_complaint() {
        let stage = Stage::with(&[A, B, C]);
        let fake = stage.fake().reacting(|fake, asked| {
            let busy = |name: &&String| [A, B].contains(&name.as_str());
            (asked.command == "images rm").then(|| {
                let removed = asked.args.iter().filter(|name| !busy(name)).filter(|name| fake.unname(&Reference::new(name.as_str())));
                let stdout = lines(removed);
                let stderr = lines(asked.args.iter().filter(busy).map(|name| format!("unable to delete {name}: {} busy", &name[8..11])));
                Ok(output(1, &stdout, &stderr))
            })
        });
        let execution = stage.run(&fake);
        for (name, why) in [
            (A, "still listed: quay.io/a/a:1: unable to delete quay.io/a/a:1: a/a busy"),
            (B, "still listed: quay.io/a/b:1: unable to delete quay.io/a/b:1: a/b busy"),
        ] {
            assert_eq!(stage.outcome(&execution, name), Outcome::Failed(why.into()));
        }
        assert_eq!(stage.outcome(&execution, C), Outcome::Removed);
    }

    #[test]
    fn what_is_gone_after_an_error_was_removed_by_us() {
        type Answer = fn(&Asked) -> Result<crate::process::Output, Failure>;
        let answers: [Answer; 4] = [
            |_| Ok(output(1, "", "ctr: rpc error: code = Unavailable\n")),
            |asked| Ok(output(1, "", &format!("ctr: unable to delete {}: deadline exceeded\n", asked.args[0]))),
            |_| Err(Failure::HeldOpen),
            |asked| Ok(output(0, &format!("{}\n", asked.args[0]), "")),
        ];
        for answer in answers {
            let stage = Stage::with(&[A]);
            let fake = stage.fake().reacting(move |fake, asked| {
                (asked.command == "images rm").then(|| {
                    asked.args.iter().for_each(|name| assert!(fake.unname(&Reference::new(name.as_str()))));
                    answer(asked)
                })
            });
            assert_eq!(stage.run(&fake).outcomes, [Outcome::Removed]);
        }
    }

    #[test]
    fn what_can_not_be_verified_is_not_removed() {
        let stage = Stage::with(&[A]);
        let fake = stage
            .fake()
            .reacting(|fake, asked| (asked.command == "images ls -q" && !fake.args_of("images rm").is_empty()).then(failing)?);
        let execution = stage.run(&fake);
        let [Outcome::Failed(why)] = &execution.outcomes[..] else { panic!("{execution:?}") };
        assert!(why.starts_with("can't tell whether it was removed: ") && why.ends_with("broken"), "{why}");
    }

    #[test]
    fn an_interrupt_ends_the_run_after_the_batch_that_runs() {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let stage = Stage::with(&[A, B, C]).in_batches_of(2);
            let interrupt = stage.interrupt.clone();
            let fake = stage.fake_where("images rm", move |_| interrupt.set(signal));
            let execution = stage.run(&fake);
            assert_eq!(execution.outcomes, [Outcome::Removed, Outcome::Removed, Outcome::NotAttempted(NotAttempted::Interrupted)]);
            assert_eq!(fake.args_of("images rm"), [stage.references(0..2)]);
            assert_eq!(fake.args_of("leases delete").len(), 1, "what was removed is given back all the same");
            assert!(noted(&stage.state_path()).is_empty());
        }
    }

    #[test]
    fn an_interrupt_before_the_first_batch_leaves_everything() {
        let stage = Stage::with(&[A, B]);
        stage.interrupt.set(Signal::SIGTERM);
        let fake = stage.fake();
        assert_eq!(stage.run(&fake).outcomes, vec![Outcome::NotAttempted(NotAttempted::Interrupted); 2]);
        assert!(fake.calls().is_empty());
    }

    #[test]
    fn garbage_is_collected_once_and_only_after_a_removal() {
        let stage = Stage::with(&[A, B, C]).in_batches_of(1);
        let fake = stage.fake();
        stage.run(&fake);
        assert_eq!((fake.args_of("leases create").len(), fake.args_of("leases delete").len()), (1, 1));
        let last_removal = commands(&fake).iter().rposition(|command| *command == "images rm").expect("a removal");
        assert!(commands(&fake)[..last_removal].iter().all(|command| !command.starts_with("leases")));
        for moment in ["images ls -q", "images rm"] {
            let stage = Stage::with(&[A]);
            let fake = stage.fake_where(moment, |fake| names_of(A).iter().for_each(|name| _ = fake.unname(name)));
            assert_eq!(stage.run(&fake).outcomes, [Outcome::Gone]);
            assert!(fake.args_of("leases create").is_empty(), "nothing was removed by us");
        }
    }

    const MET: Outcome = Outcome::NotAttempted(NotAttempted::TargetMet);

    #[test]
    fn stops_as_soon_as_the_target_is_met_and_not_before() {
        // 900 of 1,000 bytes are used and 200 have to come free; the largest goes first.
        for (bytes, removed) in [([250, 10, 5], 1), ([200, 10, 5], 1), ([199, 10, 5], 2), ([150, 49, 5], 3), ([150, 40, 5], 3)] {
            for batch in [1, 100] {
                let stage = Stage::with(&[A, B, C]).until(&bytes, 900).in_batches_of(batch);
                let fake = stage.fake();
                let execution = stage.run(&fake);
                let expected = [vec![Outcome::Removed; removed], vec![MET; 3 - removed]].concat();
                assert_eq!(execution.outcomes, expected, "{bytes:?} in batches of {batch}");
                assert_eq!(execution.reclaimed_bytes, bytes[..removed].iter().sum::<u64>());
            }
        }
    }

    #[test]
    fn asks_the_runtime_for_nothing_while_the_file_systems_are_below_the_mark() {
        for used in [0, 700, 800] {
            let stage = Stage::with(&[A, B]).until(&[10, 5], used);
            let fake = stage.fake();
            assert_eq!(stage.run(&fake).outcomes, [MET, MET]);
            assert!(fake.calls().is_empty(), "{:?}", fake.calls());
        }
    }

    #[test]
    fn measures_only_once_the_runtime_has_given_back_what_a_batch_held() {
        let stage = Stage::with(&[A, B, C]).until(&[150, 60, 40], 900).in_batches_of(1);
        let fake = stage.fake();
        assert_eq!(stage.run(&fake).outcomes, [Outcome::Removed, Outcome::Removed, MET]);
        let batch = [&CHECK[..], &["images rm", "images ls -q", "leases create", "leases delete"]].concat();
        assert_eq!(commands(&fake), [&batch[..], &batch, &["images ls -q"]].concat());
    }

    #[test]
    fn goes_on_to_the_next_where_one_gives_back_less_than_was_reckoned() {
        let stage = Stage::with(&[A, B, C]).until(&[250, 10, 5], 900);
        let fake = stage.fake_where("images ls -q", |fake| fake.start("late", &image(A)));
        let execution = stage.run(&fake);
        assert_eq!(execution.outcomes, [spared("has come into use: container late"), Outcome::Removed, Outcome::Removed]);
    }

    #[test]
    fn measures_again_after_a_few_where_what_they_give_back_is_not_known_for_sure() {
        let names: Vec<String> = (0..50).map(|i| format!("quay.io/a/app:{i}")).collect();
        // Nothing tells what they would give back.
        let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>()).until(&[], 900);
        let (fake, mut memory) = (stage.fake(), State::default().updated(&stage.node));
        let (ctr, path, inventory) = (fake.ctr(), stage.state_path(), &stage.node);
        let store = CtrStore { ctr: &ctr, inventory };
        let measure = &|_: &Path| {
            let used_bytes = if fake.args_of("leases delete").is_empty() { 900 } else { 100 };
            Ok(DiskUsage { used_bytes, ..stage.node.disks[0].usage })
        };
        let (interrupt, pace) = (&stage.interrupt, &stage.pace());
        let executor = Executor { store: &store, inventory, state_path: &path, interrupt, pace, measure, watch: &|_, _| () };
        let outcomes = executor.execute(&stage.plan, &mut memory).outcomes;
        assert_eq!(outcomes, [vec![Outcome::Removed; 20], vec![MET; 30]].concat());
    }

    #[test]
    fn nothing_is_removed_on_a_disk_that_can_not_be_measured_any_more() {
        let stage = Stage::with(&[A, B]).until(&[250, 10], 900);
        let (fake, memory) = (stage.fake(), &mut State::default().updated(&stage.node));
        let (ctr, path, inventory) = (fake.ctr(), stage.state_path(), &stage.node);
        let store = CtrStore { ctr: &ctr, inventory };
        let measure = &|_: &Path| Err(anyhow::Error::msg("stale"));
        let (interrupt, pace) = (&stage.interrupt, &stage.pace());
        let executor = Executor { store: &store, inventory, state_path: &path, interrupt, pace, measure, watch: &|_, _| () };
        let execution = executor.execute(&stage.plan, memory);
        assert_eq!(execution.outcomes, vec![Outcome::NotAttempted(NotAttempted::Unmeasured); 2]);
        assert_eq!((execution.gaps, execution.reclaimed_bytes), (vec!["measure the image file system: stale".to_owned()], 0));
    }

    #[test]
    fn nothing_more_is_removed_for_bytes_that_were_not_given_back() {
        let stage = Stage::with(&[A, B]).until(&[150, 50], 900).in_batches_of(1);
        let fake = stage.fake().reacting(|_, asked| (asked.command == "leases delete").then(failing)?);
        assert_eq!(stage.run(&fake).outcomes, [Outcome::Removed, Outcome::NotAttempted(NotAttempted::Unmeasured)]);
    }

    #[test]
    fn a_target_that_was_met_by_somebody_else_since_the_plan_removes_nothing() {
        let stage = Stage::with(&[A, B]).until(&[250, 10], 900);
        let (fake, memory) = (stage.fake(), &mut State::default().updated(&stage.node));
        let (ctr, path, inventory) = (fake.ctr(), stage.state_path(), &stage.node);
        let store = CtrStore { ctr: &ctr, inventory };
        let usage = DiskUsage { used_bytes: 10, ..inventory.disks[0].usage };
        let measure = &move |_: &Path| Ok(usage);
        let (interrupt, pace) = (&stage.interrupt, &stage.pace());
        let executor = Executor { store: &store, inventory, state_path: &path, interrupt, pace, measure, watch: &|_, _| () };
        let execution = executor.execute(&stage.plan, memory);
        assert_eq!((execution.outcomes, execution.reclaimed_bytes), (vec![MET; 2], 0));
        assert!(fake.calls().is_empty(), "{:?}", fake.calls());
    }

    #[test]
    fn a_limit_ends_the_run_after_the_batch() {
        let stage = Stage::with(&[A, B, C]).in_batches_of(2);
        let pace = Pace { batch: 2, max_images: Some(2), ..Pace::default() };
        let (fake, memory) = (stage.fake(), &mut State::default().updated(&stage.node));
        let (ctr, path, inventory) = (fake.ctr(), stage.state_path(), &stage.node);
        let store = CtrStore { ctr: &ctr, inventory };
        let measure = &|path: &Path| Ok(stage.measure(&fake, path));
        let executor =
            Executor { store: &store, inventory, state_path: &path, interrupt: &stage.interrupt, pace: &pace, measure, watch: &|_, _| () };
        let outcomes = executor.execute(&stage.plan, memory).outcomes;
        assert_eq!(outcomes, [Outcome::Removed, Outcome::Removed, Outcome::NotAttempted(NotAttempted::LimitReached)]);
        assert_eq!(fake.args_of("images rm"), [stage.references(0..2)]);
    }

    #[test]
    fn a_collection_that_fails_is_a_gap() {
        for command in ["leases create", "leases delete"] {
            let stage = Stage::with(&[A]);
            let fake = stage.fake().reacting(move |_, asked| (asked.command == command).then(failing)?);
            let execution = stage.run(&fake);
            assert_eq!(execution.outcomes, [Outcome::Removed]);
            assert_eq!(execution.gaps, [format!("bytes may come free later: ctr {command}: exit status 1: ctr: broken")]);
        }
    }

    #[test]
    fn a_pull_beside_the_run_is_a_gap() {
        let stage = Stage::with(&[A]);
        let fake = stage.fake_where("images rm", |fake| fake.name("quay.io/a/new:1", &digest_of("quay.io/a/new:1")));
        let execution = stage.run(&fake);
        assert_eq!(execution.outcomes, [Outcome::Removed]);
        assert!(execution.gaps[0].contains("pulled meanwhile"), "{:?}", execution.gaps);
    }

    #[test]
    fn the_state_file_tells_what_is_being_removed_while_it_is_and_no_longer() {
        let stage = Stage::with(&[A, B, C]).in_batches_of(2);
        let (path, seen) = (stage.state_path(), std::sync::Arc::new(Mutex::new(Vec::new())));
        let witness = seen.clone();
        let fake = stage.fake().reacting(move |_, asked| {
            if asked.command == "images rm" {
                witness.lock().expect("lock").push(noted(&path));
            }
            None
        });
        stage.run(&fake);
        let ids: Vec<String> = stage.plan.removals.iter().map(|removal| removal.id.to_string()).collect();
        assert_eq!(*seen.lock().expect("lock"), [ids[..2].to_vec(), ids[2..].to_vec()]);
        assert!(noted(&stage.state_path()).is_empty());
    }

    #[test]
    fn a_removal_that_was_never_begun_is_not_noted_as_begun() {
        for command in ["images ls -q", SNAPSHOTS] {
            let stage = Stage::with(&[A, B]);
            let broken = command == SNAPSHOTS;
            let fake = stage.fake().reacting(move |fake, asked| {
                fake.start("late", &image(A));
                fake.start("late", &image(B));
                (broken && asked.command == command).then(failing)?
            });
            assert!(!stage.run(&fake).outcomes.contains(&Outcome::Removed));
            assert!(noted(&stage.state_path()).is_empty());
        }
    }

    #[test]
    fn an_image_that_is_spared_is_left_to_the_selectors_again() {
        let stage = Stage::with(&[A]);
        let mut memory = State::default().updated(&stage.node);
        memory.begin(&stage.plan.removals.iter().collect::<Vec<_>>(), true, stage.node.taken_at);
        let fake = stage.fake_where("images ls -q", |fake| fake.start("late", &image(A)));
        let execution = stage.run_remembering(&mut memory, &fake, &|_, _| ());
        assert_eq!(execution.outcomes, [spared("has come into use: container late")]);
        assert!(noted(&stage.state_path()).is_empty());
    }

    #[test]
    fn a_state_that_can_not_be_written_is_a_gap_and_stops_nothing() {
        let stage = Stage::with(&[A]);
        std::fs::create_dir(stage.state_path()).expect("a folder in its place");
        let execution = stage.run(&stage.fake());
        assert_eq!(execution.outcomes, [Outcome::Removed]);
        assert!(execution.gaps.iter().any(|gap| gap.contains("can't be noted")), "{:?}", execution.gaps);
    }

    #[test]
    fn every_outcome_is_told_when_it_is_known() {
        let stage = Stage::with(&[A, B]).in_batches_of(1);
        let fake = stage.fake_where("images ls -q", |fake| {
            fake.start("late", &image(A));
        });
        let told = Mutex::new(Vec::new());
        let execution = stage.run_watched(&fake, &|removal, outcome| {
            told.lock().expect("lock").push((removal.id.clone(), outcome.clone(), fake.args_of("images rm").len()));
        });
        let told = told.into_inner().expect("told");
        assert_eq!(told.iter().map(|(_, outcome, _)| outcome.clone()).collect::<Vec<_>>(), execution.outcomes);
        assert_eq!(told.iter().map(|(id, ..)| id).collect::<Vec<_>>(), stage.plan.removals.iter().map(|r| &r.id).collect::<Vec<_>>());
        assert!(told[0].2 < 2, "the first was told before the second batch");
    }

    /// Something that somebody else does at one of our calls.
    #[derive(Debug, Clone, Copy)]
    enum Meanwhile {
        Starts,
        Names,
        Moves,
        Pins,
        Unnames,
        Fails,
        Lies,
    }

    fn meanwhile() -> impl Strategy<Value = Vec<(usize, Meanwhile, Index, Index)>> {
        use Meanwhile::{Fails, Lies, Moves, Names, Pins, Starts, Unnames};
        let what = select(&[Starts, Names, Moves, Pins, Unnames, Fails, Lies][..]);
        prop::collection::vec((0..20_usize, what, any::<Index>(), any::<Index>()), 0..6)
    }

    fn happen(
        fake: &FakeContainerd,
        images: &[Image],
        what: Meanwhile,
        asked: &Asked,
        (one, other): (Index, Index),
    ) -> Option<Result<crate::process::Output, Failure>> {
        let (image, target) = (one.get(images), &other.get(images).digests[0]);
        let name = other.get(&image.references);
        match what {
            Meanwhile::Starts => fake.start("late", image),
            Meanwhile::Names => fake.name("quay.io/a/late:1", target),
            Meanwhile::Moves => fake.name(name.as_str(), target),
            Meanwhile::Pins if fake.names().contains(name) => fake.label(name, "io.cri-containerd.pinned=pinned"),
            Meanwhile::Pins => {}
            Meanwhile::Unnames => _ = fake.unname(name),
            Meanwhile::Fails => return failing(),
            Meanwhile::Lies => return (asked.command == "images rm").then(|| Ok(output(0, &asked.args.join("\n"), ""))),
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn never_takes_away_what_was_not_planned_nor_only_a_part(unused in 1..6_usize, batch in 1..4_usize, events in meanwhile()) {
            let names: Vec<String> = (0..unused).map(|i| format!("quay.io/a/app:{i}")).collect();
            let stage = Stage::with(&names.iter().map(String::as_str).collect::<Vec<_>>()).in_batches_of(batch);
            let (images, nth) = (stage.node.images.clone(), AtomicUsize::new(0));
            let fake = stage.fake().reacting(move |fake, asked| {
                let now = nth.fetch_add(1, Ordering::Relaxed);
                let due = events.iter().filter(|event| event.0 == now);
                due.fold(None, |answer, &(_, what, one, other)| happen(fake, &images, what, asked, (one, other)).or(answer))
            });
            let execution = stage.run(&fake);
            let mut planned = stage.plan.removals.iter().zip(&execution.outcomes);
            for args in fake.args_of("images rm") {
                let mut rest = &args[..];
                while !rest.is_empty() {
                    let whole = |removal: &Removal| removal.references.iter().map(ToString::to_string).collect::<Vec<_>>();
                    let next = planned.by_ref().find(|(removal, _)| rest.starts_with(&whole(removal)));
                    prop_assert!(next.is_some(), "{rest:?} is no whole planned removal in the order of the plan");
                    rest = &rest[next.map_or(0, |(removal, _)| removal.references.len())..];
                }
            }
        }
    }
}
