//! Plan → outcomes: re-check, remove, verify, measure.
//!
//! It has nothing to choose and can't judge: it may spare what was planned, it never adds to it. Uses, references and pins
//! are listed anew right before each batch, by a constant number of listings; without them nothing is removed. A removal
//! takes away all references of an image or none, and is `removed` only once the runtime no longer lists it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result};

use crate::disk;
use crate::inventory::{Disk, Inventory};
use crate::plan::{Plan, Removal};
use crate::reference::{Digest, ImageId, Reference};
use crate::report::{Execution, NotAttempted, Outcome};
use crate::runtime::containerd::pulled_at;
use crate::runtime::ctr::{Ctr, Removed, both, by_name, by_target, without_pin};
use crate::signals::Interrupt;
use crate::state::State;
use crate::uses::collect_uses;

/// What a plan is carried out with.
pub struct Executor<'a> {
    /// The runtime.
    pub ctr: &'a Ctr<'a>,
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

impl Executor<'_> {
    /// Carries the plan out; what fails is told with each removal, and never stops the others.
    pub fn execute(&self, plan: &Plan, state: &mut State) -> Execution {
        let mut gaps = Vec::new();
        let before = self.measure(&mut gaps);
        let mut outcomes = Vec::with_capacity(plan.removals.len());
        for batch in plan.removals.chunks(self.batch.max(1)) {
            if self.interrupt.is_set() {
                break;
            }
            state.begin(batch, self.inventory.taken_at);
            note(state, self.state_path, &mut gaps);
            let batch_outcomes = self.run_batch(batch);
            for (removal, outcome) in batch.iter().zip(&batch_outcomes) {
                (self.watch)(removal, outcome);
            }
            state.finish(&seen_through(batch, &batch_outcomes));
            outcomes.extend(batch_outcomes);
        }
        outcomes.resize(plan.removals.len(), Outcome::NotAttempted(NotAttempted::Interrupted));
        note(state, self.state_path, &mut gaps);
        if outcomes.contains(&Outcome::Removed) {
            gaps.extend(self.ctr.collect_garbage().err().map(|error| format!("bytes may come free later: {error:#}")));
            gaps.extend(self.pulled_meanwhile());
        }
        let disks = self.measure(&mut gaps);
        gaps.dedup();
        Execution { reclaimed_bytes: disk::freed(&before, &disks), outcomes, disks, gaps }
    }

    fn run_batch(&self, batch: &[Removal]) -> Vec<Outcome> {
        let checks = match self.check(batch) {
            Ok(checks) => checks,
            Err(error) => return vec![Outcome::Failed(format!("not removed, as it can't be checked: {error:#}")); batch.len()],
        };
        let going: Vec<&Removal> =
            batch.iter().zip(&checks).filter(|(_, check)| **check == Check::Unchanged).map(|(removal, _)| removal).collect();
        let references: Vec<Reference> = going.iter().flat_map(|removal| removal.references.clone()).collect();
        let removed = if going.is_empty() { Ok(Removed::default()) } else { self.ctr.remove(&references) };
        let left = self.list_targets(going.iter().copied());
        let judge = |(removal, check): (&Removal, Check)| match check {
            Check::Changed(why) => Outcome::Spared(why),
            Check::Gone => Outcome::Gone,
            Check::Unchanged => outcome(removal, &removed, &left),
        };
        batch.iter().zip(checks).map(judge).collect()
    }

    /// What the node says of each image of a batch right now.
    fn check(&self, batch: &[Removal]) -> Result<Vec<Check>> {
        let tops: BTreeSet<&str> = self.inventory.images.iter().flat_map(|image| &image.snapshots).map(String::as_str).collect();
        let pairs = |removal: &Removal| -> Vec<String> {
            let leads_there = |name: &Reference, digest: &Digest| both(&both(&by_name(name), &by_target(digest)), &without_pin());
            removal.references.iter().flat_map(|name| removal.digests.iter().map(move |digest| leads_there(name, digest))).collect()
        };
        let filters: Vec<String> = batch.iter().flat_map(pairs).collect();
        let free = self.ctr.names_matching(&filters).context("list references again")?;
        let listed = self.list_targets(batch.iter())?;
        let new = self.owners_of_new_names(batch, &listed)?;
        // Uses last, as they change most.
        let uses = collect_uses(self.ctr, &self.inventory.snapshotters, &tops).context("list uses again")?;
        let check = |removal: &Removal| {
            if let Some(user) = uses.of(&removal.snapshots, &removal.references).first() {
                return Check::Changed(format!("has come into use: {user}"));
            }
            if let Some(name) = removal.digests.iter().find_map(|digest| new.get(digest)) {
                return Check::Changed(format!("has a new name: {name}"));
            }
            if self.was_pulled_again(removal) {
                return Check::Changed("was pulled again".into());
            }
            match removal.references.iter().find(|name| !free.contains(name)) {
                None => Check::Unchanged,
                Some(_) if !removal.references.iter().any(|name| listed.contains(name)) => Check::Gone,
                Some(name) if listed.contains(name) => Check::Changed(format!("has been pinned or moved: {name}")),
                Some(name) => Check::Changed(format!("has lost a name: {name}")),
            }
        };
        Ok(batch.iter().map(check).collect())
    }

    /// Has its content come anew since it was judged? Somebody removed it and needs it after all.
    fn was_pulled_again(&self, removal: &Removal) -> bool {
        let then = self.inventory.images[removal.position].pulled_at;
        let now = self.inventory.disks.iter().filter_map(|disk| pulled_at(&disk.path, &removal.digests)).max();
        now.is_some() && now > then
    }

    fn list_targets<'b>(&self, removals: impl Iterator<Item = &'b Removal>) -> Result<BTreeSet<Reference>> {
        let targets: BTreeSet<&Digest> = removals.flat_map(|removal| &removal.digests).collect();
        let filters: Vec<String> = targets.into_iter().map(by_target).collect();
        self.ctr.names_matching(&filters).context("list references again")
    }

    /// Names that have come since the plan, by the digest they lead to.
    fn owners_of_new_names(&self, batch: &[Removal], listed: &BTreeSet<Reference>) -> Result<HashMap<Digest, Reference>> {
        let known: BTreeSet<&Reference> = batch.iter().flat_map(|removal| &removal.references).collect();
        let new: Vec<String> = listed.iter().filter(|name| !known.contains(name)).map(by_name).collect();
        let records = self.ctr.records_matching(&new).context("look at new references")?;
        Ok(records.into_iter().map(|record| (record.target, record.reference)).collect())
    }

    fn measure(&self, gaps: &mut Vec<String>) -> Vec<Disk> {
        let mut usage =
            |path: &Path| disk::usage(path).map_err(|error| gaps.push(format!("measure the image file system: {error:#}"))).ok();
        self.inventory.disks.iter().filter_map(|disk| usage(&disk.path)).collect()
    }

    fn pulled_meanwhile(&self) -> Option<String> {
        let known: BTreeSet<&Reference> = self.inventory.images.iter().flat_map(|image| &image.references).collect();
        match self.ctr.names() {
            Ok(names) if names.iter().all(|name| known.contains(name)) => None,
            Ok(_) => Some("images were pulled meanwhile: what they take is missing from the bytes reclaimed".into()),
            Err(error) => Some(format!("whether images were pulled meanwhile can't be told: {error:#}")),
        }
    }
}

/// What a re-check says of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Check {
    Unchanged,
    Gone,
    Changed(String),
}

fn outcome(removal: &Removal, removed: &Result<Removed>, left: &Result<BTreeSet<Reference>>) -> Outcome {
    let complaint = || match removed {
        Ok(removed) => removed.complaints.last().cloned(),
        Err(error) => Some(format!("{error:#}")),
    };
    let because = |what: String| Outcome::Failed(complaint().map_or(what.clone(), |complaint| format!("{what}: {complaint}")));
    let left = match left {
        Ok(left) => left,
        Err(error) => return Outcome::Failed(format!("can't tell whether it was removed: {error:#}")),
    };
    if let Some(name) = removal.references.iter().find(|name| left.contains(name)) {
        return because(format!("still listed: {name}"));
    }
    let by_us = |removed: &Removed| removal.references.iter().any(|name| removed.references.contains(name));
    match removed {
        Ok(removed) if !by_us(removed) => Outcome::Gone,
        Ok(_) | Err(_) => Outcome::Removed,
    }
}

fn seen_through(batch: &[Removal], outcomes: &[Outcome]) -> Vec<ImageId> {
    let is_over = |outcome: &Outcome| match outcome {
        Outcome::Removed | Outcome::Gone => true,
        Outcome::Spared(_) | Outcome::NotAttempted(_) | Outcome::Failed(_) => false,
    };
    batch.iter().zip(outcomes).filter(|(_, outcome)| is_over(outcome)).map(|(removal, _)| removal.id.clone()).collect()
}

/// A full disk is what we are called for: a state that can't be written is said and doesn't stop the run.
fn note(state: &State, path: &Path, gaps: &mut Vec<String>) {
    if let Err(error) = state.save(path) {
        gaps.push(format!("removals under way can't be noted, so one that is cut off is finished only if it is selected again: {error:#}"));
    }
}
