//! containerd's images, taken away through `ctr`.
//!
//! One listing asks only for what would be in the way: names that lead elsewhere by now, new names of what is to go, pins,
//! and names that the batch before has left. The other one is of snapshots: whoever uses an image stands on one, and has
//! it before it is a container.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};

use super::{Answer, Check, Look, Said, Store};
use crate::inventory::Inventory;
use crate::plan::Removal;
use crate::reference::{Digest, ImageId, Reference};
use crate::runtime::ctr::{Ctr, Removed, by_name, by_pin, by_target, elsewhere, other_names};
use crate::uses::{Uses, list_snapshots};

/// containerd behind `ctr`.
pub struct CtrStore<'a> {
    /// How it is called.
    pub ctr: &'a Ctr<'a>,
    /// The facts the plan was made from.
    pub inventory: &'a Inventory,
}

impl Store for CtrStore<'_> {
    fn look(&self, batch: &[&Removal], before: &[&Removal]) -> Result<Look> {
        let in_the_way = self.list_in_the_way(batch, before).context("list references again")?;
        let new = self.targets_of_new_names(&in_the_way, batch, before)?;
        let left = left(&in_the_way, before);
        if batch.is_empty() {
            return Ok(Look { checks: Vec::new(), left });
        }
        // Uses last, as they change most.
        let standing = self.uses().context("list uses again")?;
        let check = |removal: &&Removal| {
            let user = standing.of(&removal.snapshots, &[]).into_iter().next();
            let moved = removal.references.iter().find(|name| in_the_way.contains(name));
            let named = removal.digests.iter().find_map(|digest| new.get(digest));
            match (user, named, moved) {
                (Some(user), _, _) => Check::Changed(format!("has come into use: {user}")),
                (None, Some(name), _) => Check::Changed(format!("has a new name: {name}")),
                (None, None, Some(name)) => Check::Changed(format!("has been pinned or moved: {name}")),
                (None, None, None) => Check::Unchanged,
            }
        };
        Ok(Look { checks: batch.iter().map(check).collect(), left })
    }

    fn remove(&self, removals: &[&Removal]) -> Result<Box<dyn Answer>> {
        let references: Vec<Reference> = removals.iter().flat_map(|removal| removal.references.clone()).collect();
        Ok(Box::new(self.ctr.remove(&references)?))
    }

    fn collect_garbage(&self) -> Result<()> {
        self.ctr.collect_garbage()
    }

    fn has_new_images(&self) -> Result<bool> {
        let known: BTreeSet<&Reference> = self.inventory.images.iter().flat_map(|image| &image.references).collect();
        Ok(self.ctr.names()?.iter().any(|name| !known.contains(name)))
    }
}

impl CtrStore<'_> {
    fn list_in_the_way(&self, batch: &[&Removal], before: &[&Removal]) -> Result<BTreeSet<Reference>> {
        let moved = batch.iter().flat_map(|removal| removal.references.iter().map(|name| elsewhere(name, &removal.digests)));
        let named = batch.iter().flat_map(|removal| removal.digests.iter().map(|digest| other_names(digest, &removal.references)));
        let left = before.iter().flat_map(|removal| &removal.digests).map(by_target);
        let filters: Vec<String> = moved.chain(named).chain(left).chain(by_pin()).collect();
        self.ctr.names_matching(&filters)
    }

    /// Where names lead that nobody knew at the time of the plan; there are hardly ever any.
    fn targets_of_new_names(
        &self,
        listed: &BTreeSet<Reference>,
        batch: &[&Removal],
        before: &[&Removal],
    ) -> Result<HashMap<Digest, Reference>> {
        let planned: BTreeSet<&Reference> = batch.iter().chain(before).flat_map(|removal| &removal.references).collect();
        let pinned = self.inventory.images.iter().filter(|image| image.pinned.is_some());
        let pinned: BTreeSet<&Reference> = pinned.flat_map(|image| &image.references).collect();
        let moved_in = |name: &&Reference| batch.iter().any(|removal| removal.references.contains(name));
        let unknown = listed.iter().filter(|name| !pinned.contains(name)).filter(|name| !planned.contains(name) || moved_in(name));
        let records = self.ctr.records_matching(&unknown.map(by_name).collect::<Vec<_>>()).context("look at new references")?;
        let own = |name: &Reference, target: &Digest| {
            batch.iter().any(|removal| removal.references.contains(name) && removal.digests.contains(target))
        };
        let new = records.into_iter().filter(|record| !own(&record.reference, &record.target));
        Ok(new.map(|record| (record.target, record.reference)).collect())
    }

    fn uses(&self) -> Result<Uses> {
        let tops: BTreeSet<&str> = self.inventory.images.iter().flat_map(|image| &image.snapshots).map(String::as_str).collect();
        let snapshots = list_snapshots(self.ctr, &self.inventory.snapshotters)?;
        Ok(Uses::of_snapshots(&snapshots, &tops))
    }
}

fn left(listed: &BTreeSet<Reference>, before: &[&Removal]) -> BTreeMap<ImageId, Reference> {
    let name = |removal: &&Removal| removal.references.iter().find(|name| listed.contains(name)).cloned();
    before.iter().filter_map(|removal| Some((removal.id.clone(), name(removal)?))).collect()
}

impl Answer for Removed {
    fn about(&self, removal: &Removal) -> Said {
        let is_of = |line: &&String| removal.references.iter().any(|name| line.contains(name.as_str()));
        let done = removal.references.iter().any(|name| self.references.contains(name));
        // One that was cut off says nothing of any image, and of all of them.
        let of_all = || self.complaints.last().filter(|_| self.references.is_empty());
        match self.complaints.iter().rev().find(is_of).or_else(of_all) {
            Some(line) => Said::Complaint(line.clone()),
            None if done => Said::Done,
            None => Said::Missing,
        }
    }
}
