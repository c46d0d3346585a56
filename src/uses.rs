//! Who uses which image: from containers and snapshots to the image each was made from.
//!
//! A container's writable snapshot lies on the layers of the image it was really made from; the name that
//! `ctr containers ls` prints leads elsewhere once a tag has moved, so it counts only where there is no snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result};

use crate::inventory::{User, UserKind};
use crate::reference::Reference;
use crate::runtime::ctr::{Container, Ctr, Snapshot};

/// The snapshotter of containers that no image tells of.
const DEFAULT_SNAPSHOTTER: &str = "overlayfs";

/// Users by the layer they stand on and, where that isn't known, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    by_snapshot: HashMap<String, BTreeSet<User>>,
    by_name: HashMap<Reference, BTreeSet<User>>,
    /// Containers whose image can't be told.
    pub gaps: Vec<String>,
}

/// Who is on the node right now, as the runtime lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Containers in any state.
    pub containers: Vec<Container>,
    /// Those of them that are pod sandboxes.
    pub sandboxes: BTreeSet<String>,
    /// Snapshots of every snapshotter, by its name.
    pub snapshots: BTreeMap<String, Vec<Snapshot>>,
    /// Containers without a snapshot under their own ID, with the key they tell.
    homeless: Vec<(Container, String)>,
}

/// Containers in any state, and the IDs of those that are sandboxes.
pub type Containers = (Vec<Container>, BTreeSet<String>);

/// Lists every container.
pub fn list_containers(ctr: &Ctr) -> Result<Containers> {
    Ok((ctr.containers().context("list containers")?, ctr.sandbox_ids().context("list sandboxes")?))
}

/// Every user right now, on the layers of these snapshotters and of those that containers tell.
///
/// Containers are listed before: one that is made while we list has its snapshot before it is a container.
pub fn list_users(ctr: &Ctr, (containers, sandboxes): Containers, snapshotters: &BTreeSet<String>) -> Result<Listed> {
    let mut snapshots = list_snapshots(ctr, snapshotters)?;
    let mut homeless = Vec::new();
    for container in containers_without_snapshot(&containers, &snapshots) {
        let Some(info) = ctr.container_info(&container.id).context("look at a container")? else {
            continue;
        };
        if !info.snapshotter.is_empty() && !snapshots.contains_key(&info.snapshotter) {
            let more = ctr.snapshots(&info.snapshotter).with_context(|| format!("list snapshots of {}", info.snapshotter))?;
            snapshots.insert(info.snapshotter.clone(), more);
        }
        homeless.push((container, info.snapshot_key));
    }
    Ok(Listed { containers, sandboxes, snapshots, homeless })
}

/// Snapshots of these snapshotters.
fn list_snapshots(ctr: &Ctr, snapshotters: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<Snapshot>>> {
    let default = BTreeSet::from([DEFAULT_SNAPSHOTTER.to_owned()]);
    let names = if snapshotters.is_empty() { &default } else { snapshotters };
    names.iter().map(|name| Ok((name.clone(), ctr.snapshots(name).with_context(|| format!("list snapshots of {name}"))?))).collect()
}

fn containers_without_snapshot(containers: &[Container], snapshots: &BTreeMap<String, Vec<Snapshot>>) -> Vec<Container> {
    let keys: HashSet<&str> = snapshots.values().flatten().map(|snapshot| snapshot.key.as_str()).collect();
    containers.iter().filter(|container| !keys.contains(container.id.as_str())).cloned().collect()
}

impl Uses {
    /// Users of the images that end with the layers `tops`.
    pub fn new(listed: &Listed, tops: &BTreeSet<&str>) -> Self {
        Self::of_listed(listed, &listed.snapshots, tops)
    }

    /// Whoever stands on a layer, where nothing else was listed: each is told by its snapshot alone.
    pub fn of_snapshots(snapshots: &BTreeMap<String, Vec<Snapshot>>, tops: &BTreeSet<&str>) -> Self {
        Self::of_listed(&Listed::default(), snapshots, tops)
    }

    fn of_listed(listed: &Listed, snapshots: &BTreeMap<String, Vec<Snapshot>>, tops: &BTreeSet<&str>) -> Self {
        let Listed { containers, sandboxes, homeless, .. } = listed;
        let mut all = Self::default();
        let user = |kind, id: &str| User { kind, id: id.to_owned(), pod: None };
        let of_container = |id: &str| user(if sandboxes.contains(id) { UserKind::Sandbox } else { UserKind::Container }, id);
        let snapshots = || snapshots.values().flatten();
        let by_key: HashMap<&str, &Snapshot> = snapshots().map(|snapshot| (snapshot.key.as_str(), snapshot)).collect();
        let mut owners: HashMap<&str, User> =
            containers.iter().map(|container| (container.id.as_str(), of_container(&container.id))).collect();
        for (container, key) in homeless {
            match &container.printed_image {
                _ if by_key.contains_key(key.as_str()) => _ = owners.insert(key, of_container(&container.id)),
                Some(name) => _ = all.by_name.entry(name.clone()).or_default().insert(of_container(&container.id)),
                None => all.gaps.push(format!("container {} has neither a snapshot nor an image", container.id)),
            }
        }
        for snapshot in snapshots().filter(|snapshot| !snapshot.is_committed) {
            let owner = owners.get(snapshot.key.as_str()).cloned().unwrap_or_else(|| user(UserKind::Snapshot, &snapshot.key));
            if let Some(top) = image_below(snapshot, &by_key, tops) {
                all.by_snapshot.entry(top).or_default().insert(owner);
            }
        }
        all
    }

    /// The users of an image with these snapshots and names.
    pub fn of(&self, snapshots: &[String], references: &[Reference]) -> Vec<User> {
        let by_snapshot = snapshots.iter().filter_map(|key| self.by_snapshot.get(key)).flatten();
        let by_name = references.iter().filter_map(|name| self.by_name.get(name)).flatten();
        let all: BTreeSet<User> = by_snapshot.chain(by_name).cloned().collect();
        all.into_iter().collect()
    }
}

/// The first layer below a snapshot that an image ends with; between them lie only layers remapped for a user namespace.
fn image_below(snapshot: &Snapshot, by_key: &HashMap<&str, &Snapshot>, tops: &BTreeSet<&str>) -> Option<String> {
    let mut next = snapshot.parent.as_deref();
    // A chain can't be longer than all snapshots; a listing that lies must not hold us.
    for _ in 0..=by_key.len() {
        let key = next?;
        if tops.contains(key) {
            return Some(key.to_owned());
        }
        next = by_key.get(key).and_then(|below| below.parent.as_deref());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, image: &str) -> Container {
        Container { id: id.into(), printed_image: Some(Reference::new(image)) }
    }

    fn snapshot(key: &str, parent: &str, is_committed: bool) -> Snapshot {
        Snapshot { key: key.into(), parent: Some(parent.into()), is_committed }
    }

    fn uses(containers: &[Container], snapshots: &[Snapshot], tops: &[&str]) -> Uses {
        let snapshots = BTreeMap::from([("overlayfs".to_owned(), snapshots.to_vec())]);
        Uses::new(&Listed { containers: containers.to_vec(), snapshots, ..Listed::default() }, &tops.iter().copied().collect())
    }

    fn users(uses: &Uses, top: &str) -> Vec<(UserKind, String)> {
        uses.of(&[top.into()], &[]).into_iter().map(|user| (user.kind, user.id)).collect()
    }

    #[test]
    fn a_container_uses_the_image_its_snapshot_lies_on_whatever_its_name_leads_to() {
        let uses = uses(&[container("c1", "app:latest")], &[snapshot("c1", "old", false)], &["old", "new"]);
        assert_eq!(users(&uses, "old"), [(UserKind::Container, "c1".into())]);
        assert!(uses.of(&["new".into()], &[Reference::new("app:latest")]).is_empty());
    }

    #[test]
    fn a_layer_remapped_for_a_user_namespace_leads_to_its_image() {
        let snapshots = [snapshot("c1", "top-1000-1000", false), snapshot("top-1000-1000", "top", true)];
        let uses = uses(&[container("c1", "-")], &snapshots, &["top"]);
        assert_eq!(users(&uses, "top"), [(UserKind::Container, "c1".into())]);
    }

    #[test]
    fn a_mounted_snapshot_without_a_container_is_a_use() {
        let uses = uses(&[], &[snapshot("image-volumes/x", "top", false)], &["top"]);
        assert_eq!(users(&uses, "top"), [(UserKind::Snapshot, "image-volumes/x".into())]);
    }

    #[test]
    fn an_image_on_which_another_is_built_is_not_used_by_its_containers() {
        let snapshots = [snapshot("c1", "app", false), snapshot("app", "base", true)];
        let uses = uses(&[container("c1", "app:1")], &snapshots, &["app", "base"]);
        assert!(users(&uses, "base").is_empty());
    }

    #[test]
    fn a_container_without_a_snapshot_uses_what_it_names() {
        let lonely = container("c1", "app:1");
        let listed = Listed { containers: vec![lonely.clone()], homeless: vec![(lonely, String::new())], ..Listed::default() };
        let uses = Uses::new(&listed, &BTreeSet::new());
        assert_eq!(uses.of(&[], &[Reference::new("app:1")]).len(), 1);
    }

    #[test]
    fn a_sandbox_is_told_from_a_container() {
        let listed = Listed {
            containers: vec![container("s1", "pause:1")],
            sandboxes: BTreeSet::from(["s1".to_owned()]),
            snapshots: BTreeMap::from([("overlayfs".to_owned(), vec![snapshot("s1", "top", false)])]),
            ..Listed::default()
        };
        let uses = Uses::new(&listed, &BTreeSet::from(["top"]));
        assert_eq!(users(&uses, "top"), [(UserKind::Sandbox, "s1".into())]);
    }

    #[test]
    fn a_ring_of_snapshots_ends() {
        let snapshots = [snapshot("c1", "a", false), snapshot("a", "b", true), snapshot("b", "a", true)];
        assert!(users(&uses(&[], &snapshots, &[]), "a").is_empty());
    }
}
