//! containerd's images, taken away through `ctr`.
//!
//! One listing asks only for what would be in the way: names that lead elsewhere by now, new names of what is to go, pins,
//! and names that the batch before has left. The other two are of containers and snapshots: whoever uses an image stands on
//! a snapshot, and has it before it is a container.

use std::collections::{BTreeSet, HashMap};
use std::thread;

use anyhow::{Context, Result};

use super::{Answer, Check, Look, Said, Store};
use crate::collect::join;
use crate::inventory::Inventory;
use crate::plan::Removal;
use crate::reference::{Digest, Reference};
use crate::runtime::containerd::pulled_at;
use crate::runtime::ctr::{ARG_CAP, Ctr, Removed, by_name, by_target, elsewhere, other_names, pinned_at};
use crate::uses::{Uses, list_users};

/// From how many images on two calls share a batch, each image wholly in one of them. One call waits for an answer after
/// each name; two keep containerd's writer busy and take a quarter less, more bring nothing, as it has one writer.
const WORTH_TWO_CALLS: usize = 20;

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
        let targets = self.by_target(&in_the_way).context("look at references again")?;
        // A name that can't be asked for by its own text may lead to any of them.
        let unread = in_the_way.iter().find(|name| !targets.values().any(|names| names.contains(name)));
        let left = before.iter().filter_map(|removal| Some((removal.id.clone(), names_of(removal, &targets).next().or(unread)?.clone())));
        let left = left.collect();
        if batch.is_empty() {
            return Ok(Look { checks: Vec::new(), left });
        }
        // Uses last, as they change most.
        let standing = self.uses().context("list uses again")?;
        let check = |removal: &&Removal| {
            let user = standing.of(&removal.snapshots, &removal.references).into_iter().next();
            let named = names_of(removal, &targets).find(|name| !removal.references.contains(name));
            let moved = removal.references.iter().find(|name| in_the_way.contains(name));
            match (user, named, moved) {
                (Some(user), _, _) => Check::Changed(format!("has come into use: {user}")),
                (None, Some(name), _) => Check::Changed(format!("has a new name: {name}")),
                (None, None, Some(name)) => Check::Changed(format!("has been pinned or moved: {name}")),
                (None, None, None) if unread.is_some() => Check::Changed("a name that can't be read may lead to it by now".into()),
                (None, None, None) if has_too_many_names(removal) => {
                    Check::Changed("it has too many names to be looked at in one call".into())
                }
                (None, None, None) if self.was_pulled_again(removal) => Check::Changed("was pulled again".into()),
                (None, None, None) => Check::Unchanged,
            }
        };
        Ok(Look { checks: batch.iter().map(check).collect(), left })
    }

    fn remove(&self, removals: &[&Removal]) -> Result<Box<dyn Answer>> {
        if removals.len() < WORTH_TWO_CALLS {
            return Ok(Box::new(self.ctr.remove(&all_names(removals))?));
        }
        let (one, other) = removals.split_at(removals.len() / 2);
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| self.ctr.remove(&all_names(other)));
            (self.ctr.remove(&all_names(one)), join(other))
        });
        let mut removed = one?;
        removed.add(other?);
        Ok(Box::new(removed))
    }

    fn collect_garbage(&self) -> Result<()> {
        self.ctr.collect_garbage()
    }

    fn has_new_images(&self) -> Result<bool> {
        let known: BTreeSet<&Reference> = self.inventory.images.iter().flat_map(|image| &image.references).collect();
        Ok(self.ctr.names()?.iter().any(|name| !known.contains(name)))
    }
}

/// Names by the digest they lead to.
type Names = HashMap<Digest, BTreeSet<Reference>>;

impl CtrStore<'_> {
    fn list_in_the_way(&self, batch: &[&Removal], before: &[&Removal]) -> Result<BTreeSet<Reference>> {
        let batch: Vec<&&Removal> = batch.iter().filter(|removal| !has_too_many_names(removal)).collect();
        let moved = batch.iter().flat_map(|removal| removal.references.iter().map(|name| elsewhere(name, &removal.digests)));
        let named = batch.iter().flat_map(|removal| removal.digests.iter().map(|digest| other_names(digest, &removal.references)));
        let pinned = batch.iter().flat_map(|removal| removal.digests.iter().flat_map(pinned_at));
        let left = before.iter().flat_map(|removal| &removal.digests).map(by_target);
        self.ctr.names_matching(&moved.chain(named).chain(pinned).chain(left).collect::<Vec<_>>())
    }

    /// Where names lead right now; there are hardly ever any to ask for.
    fn by_target(&self, names: &BTreeSet<Reference>) -> Result<Names> {
        let mut all = Names::new();
        for record in self.ctr.records_matching(&names.iter().map(by_name).collect::<Vec<_>>())? {
            all.entry(record.target).or_default().insert(record.reference);
        }
        Ok(all)
    }

    /// Has its content come anew since it was judged? Somebody removed it and needs it after all.
    fn was_pulled_again(&self, removal: &Removal) -> bool {
        let then = self.inventory.images[removal.position].pulled_at;
        let now = self.inventory.root.as_deref().and_then(|root| pulled_at(root, &removal.digests));
        now.is_some() && now > then
    }

    /// Containers too: one may stand on a snapshotter that had no image yet.
    fn uses(&self) -> Result<Uses> {
        let tops: BTreeSet<&str> = self.inventory.images.iter().flat_map(|image| &image.snapshots).map(String::as_str).collect();
        let containers = self.ctr.containers().context("list containers")?;
        let listed = list_users(self.ctr, (containers, BTreeSet::new()), &self.inventory.snapshotters)?;
        Ok(Uses::new(&listed, &tops))
    }
}

fn all_names(removals: &[&Removal]) -> Vec<Reference> {
    removals.iter().flat_map(|removal| removal.references.clone()).collect()
}

/// Linux takes no argument that is so long as the filter of all its names.
fn has_too_many_names(removal: &Removal) -> bool {
    removal.references.iter().map(|name| name.as_str().len() + 10).sum::<usize>() > ARG_CAP
}

fn names_of<'a>(removal: &Removal, names: &'a Names) -> impl Iterator<Item = &'a Reference> {
    removal.digests.iter().filter_map(|digest| names.get(digest)).flatten()
}

impl Answer for Removed {
    fn about(&self, removal: &Removal) -> Said {
        match self.complaint_about(&removal.references) {
            _ if self.found_nothing_of(&removal.references) => Said::Missing,
            Some(complaint) => Said::Complaint(complaint.to_owned()),
            None => Said::Done,
        }
    }
}
