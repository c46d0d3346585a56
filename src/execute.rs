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
use crate::inventory::{Disk, Inventory};
use crate::plan::{Plan, Removal};
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
    /// Images a batch.
    pub batch: usize,
    /// Told of each removal when its outcome is known.
    pub watch: &'a dyn Fn(&Removal, &Outcome),
}

/// A runtime, as it is asked to take images away.
pub trait Store {
    /// What it says right now of each removal of `batch`, and what it still has of those of `before`. At most two listings,
    /// however many there are.
    fn look(&self, batch: &[&Removal], before: &[&Removal]) -> Result<Look>;
    /// Takes images away with all their references; goes on after one that can't be.
    fn remove(&self, removals: &[&Removal]) -> Result<Box<dyn Answer>>;
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
    /// What is still there of the batch before, with a name that leads to it.
    pub left: BTreeMap<ImageId, Reference>,
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

/// Removals that were asked for and not yet verified: positions in the plan, and the answer.
type Open = (Vec<usize>, Result<Box<dyn Answer>>);

impl Executor<'_> {
    /// Carries the plan out; what fails is told with each removal, and never stops the others.
    pub fn execute(&self, plan: &Plan, state: &mut State) -> Execution {
        let mut run = Run { executor: self, plan, state, outcomes: vec![None; plan.removals.len()], open: Vec::new(), gaps: Vec::new() };
        let before = self.measure(&mut run.gaps);
        let positions: Vec<usize> = (0..plan.removals.len()).collect();
        for batch in positions.chunks(self.batch.max(1)) {
            if self.interrupt.is_set() {
                break;
            }
            run.batch(batch);
        }
        run.verify();
        let Run { outcomes, mut gaps, .. } = run;
        let outcomes: Vec<Outcome> =
            outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::NotAttempted(NotAttempted::Interrupted))).collect();
        if outcomes.contains(&Outcome::Removed) {
            gaps.extend(self.store.collect_garbage().err().map(|error| format!("bytes may come free later: {error:#}")));
            gaps.extend(self.pulled_meanwhile());
        }
        let disks = self.measure(&mut gaps);
        gaps.dedup();
        Execution { reclaimed_bytes: disk::freed(&before, &disks), outcomes, disks, gaps }
    }

    fn measure(&self, gaps: &mut Vec<String>) -> Vec<Disk> {
        let mut usage =
            |path: &Path| disk::usage(path).map_err(|error| gaps.push(format!("measure the image file system: {error:#}"))).ok();
        self.inventory.disks.iter().filter_map(|disk| usage(&disk.path)).collect()
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
    gaps: Vec<String>,
}

impl Run<'_> {
    fn batch(&mut self, positions: &[usize]) {
        let removals: Vec<&Removal> = positions.iter().map(|&i| &self.plan.removals[i]).collect();
        self.state.begin(&removals, self.executor.inventory.taken_at);
        self.note();
        let look = match self.executor.store.look(&removals, &self.unverified()) {
            Ok(look) => look,
            Err(error) => {
                let failed = Outcome::Failed(format!("not removed, as it can't be checked: {error:#}"));
                for &i in positions {
                    self.settle(i, failed.clone());
                }
                return;
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
            let answer = self.executor.store.remove(&removals);
            self.open.push((going, answer));
        }
    }

    /// Looks once more at what the last batch has left.
    fn verify(&mut self) {
        if !self.open.is_empty() {
            match self.executor.store.look(&[], &self.unverified()) {
                Ok(look) => self.close(&look.left),
                Err(error) => {
                    let failed = Outcome::Failed(format!("can't tell whether it was removed: {error:#}"));
                    let open: Vec<usize> = self.open.drain(..).flat_map(|(positions, _)| positions).collect();
                    for i in open {
                        self.settle(i, failed.clone());
                    }
                }
            }
        }
        self.note();
    }

    fn unverified(&self) -> Vec<&Removal> {
        self.open.iter().flat_map(|(positions, _)| positions).map(|&i| &self.plan.removals[i]).collect()
    }

    fn close(&mut self, left: &BTreeMap<ImageId, Reference>) {
        for (positions, answer) in std::mem::take(&mut self.open) {
            for i in positions {
                let removal = &self.plan.removals[i];
                self.settle(i, outcome(removal, &answer, left.get(&removal.id)));
            }
        }
    }

    fn settle(&mut self, position: usize, outcome: Outcome) {
        let removal = &self.plan.removals[position];
        (self.executor.watch)(removal, &outcome);
        match outcome {
            Outcome::Removed | Outcome::Gone => self.state.finish(&removal.id),
            Outcome::Spared(_) | Outcome::NotAttempted(_) | Outcome::Failed(_) => {}
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

fn outcome(removal: &Removal, answer: &Result<Box<dyn Answer>>, left: Option<&Reference>) -> Outcome {
    let said = match answer {
        Ok(answer) => answer.about(removal),
        Err(error) => Said::Complaint(format!("{error:#}")),
    };
    match (left, said) {
        (None, Said::Missing) => Outcome::Gone,
        (None, Said::Done | Said::Refused(_) | Said::Complaint(_)) => Outcome::Removed,
        (Some(_), Said::Refused(why)) => Outcome::Spared(why),
        (Some(name), Said::Complaint(why)) => Outcome::Failed(format!("still listed: {name}: {why}")),
        (Some(name), Said::Done | Said::Missing) => Outcome::Failed(format!("still listed: {name}")),
    }
}
