//! Images taken away through `crictl`: CRI-O's, docker's, and containerd's where there is no `ctr`.
//!
//! By ID, which takes all names away or none, and can't hit another image when a name moves. What the runtime refuses
//! because something uses it was spared, not failed: CRI-O knows users that CRI doesn't show.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::{Answer, Check, Look, Said, Store};
use crate::collect::crictl::{Users, volumes_mounted_by_containerd};
use crate::inventory::{Inventory, NameIndex, User};
use crate::plan::Removal;
use crate::reference::{ImageId, Reference};
use crate::runtime::Kind;
use crate::runtime::crictl::{Complaints, CriImage, Crictl};

/// A runtime behind `crictl`.
pub struct CrictlStore<'a> {
    /// How it is called.
    pub crictl: &'a Crictl<'a>,
    /// What it is.
    pub kind: Kind,
    /// Its process, where it can be seen.
    pub daemon: Option<i32>,
    /// The facts the plan was made from.
    pub inventory: &'a Inventory,
}

impl Store for CrictlStore<'_> {
    fn look(&self, batch: &[&Removal], before: &[&Removal]) -> Result<Look> {
        let images = self.crictl.images().context("list images again")?;
        let by_id: BTreeMap<&ImageId, &CriImage> = images.iter().map(|image| (&image.id, image)).collect();
        let name = |image: &CriImage| image.tags.iter().chain(&image.digests).next().cloned();
        let left = before.iter().filter_map(|removal| {
            let image = by_id.get(&removal.id)?;
            Some((removal.id.clone(), name(image).unwrap_or_else(|| Reference::new(removal.id.as_str()))))
        });
        let left = left.collect();
        if batch.is_empty() {
            return Ok(Look { checks: Vec::new(), left });
        }
        let users = self.users().context("list uses again")?;
        let check = |removal: &&Removal| match by_id.get(&removal.id) {
            None => Check::Gone,
            Some(image) => check(image, removal, users.get(&removal.position)),
        };
        Ok(Look { checks: batch.iter().map(check).collect(), left })
    }

    fn remove(&self, removals: &[&Removal]) -> Result<Box<dyn Answer>> {
        let id = |removal: &&Removal| match self.kind {
            Kind::CriO => removal.id.hex().to_owned(),
            Kind::Containerd | Kind::Docker => removal.id.to_string(),
        };
        Ok(Box::new(self.crictl.remove(&removals.iter().map(id).collect::<Vec<_>>())?))
    }

    /// A removal through CRI has given its bytes back when it returns.
    fn collect_garbage(&self) -> Result<()> {
        Ok(())
    }

    fn has_new_images(&self) -> Result<bool> {
        let known: BTreeSet<&ImageId> = self.inventory.images.iter().map(|image| &image.id).collect();
        Ok(self.crictl.images()?.iter().any(|image| !known.contains(&image.id)))
    }
}

impl CrictlStore<'_> {
    /// Users right now, by position in the inventory. Only containers that have come since are inspected.
    fn users(&self) -> Result<BTreeMap<usize, BTreeSet<User>>> {
        let index = NameIndex::new(&self.inventory.images);
        let known: BTreeSet<&str> = self.inventory.images.iter().flat_map(|image| &image.users).map(|user| user.id.as_str()).collect();
        let containers = self.crictl.containers().context("list containers")?;
        let new: BTreeSet<String> = containers.iter().filter(|c| !known.contains(c.id.as_str())).map(|c| c.id.clone()).collect();
        let mut users = Users::default();
        users.add_containers(&containers, &index);
        users.add_volumes(self.crictl, &containers, &new, &index)?;
        match self.kind {
            Kind::Containerd => users.add_mounts(&volumes_mounted_by_containerd(self.daemon), &index),
            Kind::CriO | Kind::Docker => {}
        }
        match users.blind {
            Some(why) => Err(anyhow::anyhow!(why)),
            None => Ok(users.by_position),
        }
    }
}

fn check(image: &CriImage, removal: &Removal, users: Option<&BTreeSet<User>>) -> Check {
    if let Some(user) = users.and_then(|users| users.first()) {
        return Check::Changed(format!("has come into use: {user}"));
    }
    if image.pinned != Some(false) {
        return Check::Changed("has been pinned".into());
    }
    match image.tags.iter().chain(&image.digests).find(|name| !removal.references.contains(name)) {
        Some(name) => Check::Changed(format!("has a new name: {name}")),
        None => Check::Unchanged,
    }
}

impl Answer for Complaints {
    fn about(&self, removal: &Removal) -> Said {
        let id = removal.id.hex();
        match self.about(id) {
            Some(_) if self.is_missing(id) => Said::Missing,
            // containers/storage: "image is in use by a container", "the image is in use by"; docker: "image is being used by".
            Some(why) if why.contains("in use by") || why.contains("being used by") => Said::Refused(why),
            Some(why) => Said::Complaint(why),
            None => self.last().map_or(Said::Done, Said::Complaint),
        }
    }
}
