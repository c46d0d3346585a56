//! Images taken away through `crictl`: CRI-O's, docker's, and containerd's where there is no `ctr`.
//!
//! By ID, which can't hit another image when a name moves, and takes all names away or none, but for docker: cri-dockerd takes
//! one name after the other, and what is refused may have lost some. What the runtime refuses
//! because something uses it was spared, not failed: CRI-O knows users that CRI doesn't show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Answer, Check, Look, Said, Store};
use crate::collect::crictl::{Users, list_tasks, pulled_at, stranger};
use crate::inventory::{Inventory, NameIndex};
use crate::plan::Removal;
use crate::reference::{ImageId, Reference};
use crate::runtime::Kind;
use crate::runtime::crictl::{Complaints, CriImage, Crictl};

/// What a runtime says of an image that something needs: containers/storage "image is in use by a container", CRI-O "the image
/// is in use by"; docker (`daemon/images/image_delete.go`) the rest, the third of the last tag of an image in use.
const REFUSALS: [&str; 4] = ["in use by", "being used by", "is using its referenced image", "has dependent child images"];

/// A runtime behind `crictl`.
pub struct CrictlStore<'a> {
    /// How it is called.
    pub crictl: &'a Crictl<'a>,
    /// What it is.
    pub kind: Kind,
    /// Its process, where it can be seen.
    pub daemon: Option<i32>,
    /// Its data folder.
    pub data: &'a Path,
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
            Some(_) if self.was_pulled_again(removal) => Check::Changed("was pulled again".into()),
            Some(image) => check(image, removal, &users),
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
    fn users(&self) -> Result<Users> {
        let index = NameIndex::new(&self.inventory.images);
        let known: BTreeSet<&str> = self.inventory.images.iter().flat_map(|image| &image.users).map(|user| user.id.as_str()).collect();
        // Before the containers: what starts between the two is for the next look, not a stranger.
        let folder = self.inventory.runtime.tasks.as_deref();
        let tasks = folder.map(list_tasks);
        let containers = self.crictl.containers().context("list containers")?;
        let new: BTreeSet<String> = containers.iter().filter(|c| !known.contains(c.id.as_str())).map(|c| c.id.clone()).collect();
        let mut users = Users::default();
        users.add_containers(&containers, &index);
        users.add_volumes(self.crictl, &containers, &new, &index)?;
        match self.kind {
            Kind::Containerd => users.add_mounts(self.daemon, &index),
            Kind::Docker => users.add_containers_of_docker(self.data, &containers, &index),
            Kind::CriO => {}
        }
        if let (Some(folder), Some(tasks), None) = (folder, tasks, &users.blind) {
            let is_listed = |name: &str| known.contains(name) || containers.iter().any(|container| container.id == name);
            if stranger(&tasks, is_listed).is_some() {
                let sandboxes = self.crictl.sandboxes().context("list sandboxes")?;
                let has_ended = |name: &str| fs::exists(folder.join("k8s.io").join(name)).is_ok_and(|there| !there);
                let is_sandbox = |name: &str| sandboxes.iter().any(|sandbox| sandbox.id == name);
                users.blind = stranger(&tasks, |name| is_listed(name) || is_sandbox(name) || has_ended(name));
            }
        }
        Ok(users)
    }

    /// Has it come anew since it was judged? Somebody removed it and needs it after all.
    fn was_pulled_again(&self, removal: &Removal) -> bool {
        let image = &self.inventory.images[removal.position];
        let now = self.inventory.root.as_deref().and_then(|root| pulled_at(image, self.kind, root));
        now.is_some() && now > image.pulled_at
    }
}

fn check(image: &CriImage, removal: &Removal, users: &Users) -> Check {
    if let Some(user) = users.by_position.get(&removal.position).and_then(BTreeSet::first) {
        return Check::Changed(format!("has come into use: {user}"));
    }
    if let Some(why) = &users.blind {
        return Check::Changed(format!("may have come into use: {why}"));
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
            Some(why) if REFUSALS.iter().any(|words| why.contains(words)) => Said::Refused(why),
            Some(why) => Said::Complaint(why),
            None => self.last().map_or(Said::Done, Said::Complaint),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};

    use super::*;
    use crate::inventory::samples::{image, inventory, policy, used_image};
    use crate::inventory::{Image, Runtime};
    use crate::plan::Plan;
    use crate::process::fake::output;
    use crate::process::{Call, CallKind, Failure, Output, Program, Runner};

    const A: &str = "quay.io/a/a:1";
    const USED: &str = "quay.io/a/used:1";
    const NEW_SANDBOX: &str = "sandbox";

    /// A `crictl` that answers with these lists; what it isn't given fails.
    #[derive(Default)]
    struct Fake {
        images: Option<Vec<Value>>,
        containers: Option<Vec<Value>>,
        /// Containers that can be inspected.
        inspected: Vec<Value>,
        /// What a removal complains about.
        complaint: String,
        removed: Mutex<Vec<String>>,
    }

    impl Runner for Fake {
        fn run(&self, call: &Call) -> Result<Output, Failure> {
            let words: Vec<&str> = call.args.iter().map(|arg| arg.to_str().expect("text")).collect();
            let list = |key: &str, items: &Option<Vec<Value>>| match items {
                Some(items) => output(0, &json!({ key: items }).to_string(), ""),
                None => output(1, "", "crictl: broken\n"),
            };
            assert_eq!(call.kind == CallKind::Removal, words[6] == "rmi");
            Ok(match words[6] {
                "images" => list("images", &self.images),
                "ps" => list("containers", &self.containers),
                "pods" => output(0, &json!({"items": [{"id": NEW_SANDBOX}]}).to_string(), ""),
                "inspect" => output(0, &json!(self.inspected).to_string(), ""),
                "rmi" => {
                    self.removed.lock().expect("lock").extend(words[7..].iter().map(ToString::to_string));
                    output(i32::from(!self.complaint.is_empty()), "", &self.complaint)
                }
                other => panic!("the fake crictl doesn't know {other}"),
            })
        }
    }

    fn listed(name: &str, pinned: Option<bool>, tags: &[&str]) -> Value {
        json!({"id": image(name).id.hex(), "repoTags": tags, "repoDigests": [image(name).references[1]], "size": "10", "pinned": pinned})
    }

    fn container(id: &str, name: &str) -> Value {
        json!({"id": id, "image": {"image": image(name).id}, "imageRef": image(name).id})
    }

    fn inspected(id: &str, mounts: &[&str]) -> Value {
        let mounts: Vec<Value> = mounts.iter().map(|name| json!({"image": {"image": image(name).id.hex()}})).collect();
        json!({"status": {"id": id, "mounts": mounts}})
    }

    /// A node on which nothing has changed since the plan: one image in use, and A, which is to go.
    fn unchanged() -> Fake {
        let images = vec![listed(USED, Some(false), &[USED]), listed(A, Some(false), &[A])];
        let known = used_image(USED).users[0].id.clone();
        Fake { images: Some(images), containers: Some(vec![container(&known, USED)]), ..Fake::default() }
    }

    /// [`unchanged`] with A listed as this.
    fn with(listed_a: Value) -> Fake {
        Fake { images: Some(vec![listed_a]), ..unchanged() }
    }

    /// [`unchanged`] with one more container, which can be inspected as this.
    fn running(container: Value, inspected: &[Value]) -> Fake {
        let mut fake = unchanged();
        fake.containers.as_mut().expect("containers").push(container);
        Fake { inspected: inspected.to_vec(), ..fake }
    }

    /// The node as CRI-O lists it.
    fn node() -> Inventory {
        let known_by = |own: &Image| Image { references: own.references[1..].to_vec(), ..own.clone() };
        inventory([used_image(USED), image(A)].iter().map(known_by).collect())
    }

    /// What `asked` makes of the plan to remove A from `node`, with a runtime of this kind.
    fn on<T>(kind: Kind, node: &Inventory, fake: &Fake, asked: impl Fn(&CrictlStore, &Removal) -> T) -> T {
        on_data(kind, Path::new("/nonexistent"), node, fake, asked)
    }

    /// The same, with that data folder.
    fn on_data<T>(kind: Kind, data: &Path, node: &Inventory, fake: &Fake, asked: impl Fn(&CrictlStore, &Removal) -> T) -> T {
        let plan = Plan::new(node, &policy());
        let program = Program { path: "/fake/crictl".into(), prefix: None };
        let crictl = Crictl { runner: fake, program, socket: "/fake/sock".into() };
        asked(&CrictlStore { crictl: &crictl, kind, daemon: Some(1), data, inventory: node }, &plan.removals[0])
    }

    fn look(fake: &Fake) -> Result<Look> {
        on(Kind::CriO, &node(), fake, |store, removal| store.look(&[removal], &[]))
    }

    fn check(fake: &Fake) -> Check {
        look(fake).expect("a look").checks[0].clone()
    }

    fn changed(why: &str) -> Check {
        Check::Changed(why.into())
    }

    #[test]
    fn what_is_as_it_was_planned_or_has_lost_a_name_is_unchanged() {
        for tags in [&[A][..], &[]] {
            assert_eq!(check(&with(listed(A, Some(false), tags))), Check::Unchanged);
        }
    }

    #[test]
    fn what_is_not_listed_any_more_is_gone() {
        assert_eq!(check(&Fake { images: Some(Vec::new()), ..unchanged() }), Check::Gone);
    }

    #[test]
    fn spares_an_image_that_a_container_has_come_to_use() {
        let fake = running(container("late", A), &[inspected("late", &[])]);
        assert_eq!(check(&fake), changed("has come into use: container late"));
    }

    #[test]
    fn spares_an_image_that_a_new_container_has_mounted() {
        let fake = running(container("late", USED), &[inspected("late", &[A])]);
        assert_eq!(check(&fake), changed("has come into use: image volume of late"));
    }

    #[test]
    fn spares_an_image_that_is_pinned_or_may_be() {
        for pinned in [Some(true), None] {
            assert_eq!(check(&with(listed(A, pinned, &[A]))), changed("has been pinned"), "{pinned:?}");
        }
    }

    #[test]
    fn spares_an_image_with_a_new_name() {
        assert_eq!(check(&with(listed(A, Some(false), &[A, "quay.io/a/a:2"]))), changed("has a new name: quay.io/a/a:2"));
    }

    #[test]
    fn spares_everything_while_a_new_container_can_not_be_inspected() {
        let why = "may have come into use: container late can't be inspected, and may have any image mounted";
        assert_eq!(check(&running(container("late", USED), &[])), changed(why));
    }

    #[test]
    fn spares_everything_while_something_runs_beside_cri_but_not_for_a_new_pod() {
        let folder = tempfile::tempdir().expect("a folder");
        let node = node();
        let runtime = Runtime { tasks: Some(folder.path().to_owned()), ..node.runtime.clone() };
        let node = Inventory { runtime, ..node };
        let check =
            || on(Kind::Containerd, &node, &unchanged(), |store, removal| store.look(&[removal], &[])).expect("a look").checks[0].clone();
        let kept = |check: Check| matches!(check, Check::Changed(why) if why.contains("runs in containerd beside CRI"));
        fs::create_dir_all(folder.path().join("k8s.io").join(NEW_SANDBOX)).expect("a task");
        assert!(!kept(check()), "{:?}", check());
        fs::create_dir(folder.path().join("k8s.io/beside")).expect("a task");
        assert!(kept(check()), "{:?}", check());
    }

    #[test]
    fn spares_an_image_that_a_container_of_dockers_has_come_to_use_beside_cri() {
        let data = tempfile::tempdir().expect("a folder");
        let check = || {
            let look = on_data(Kind::Docker, data.path(), &node(), &unchanged(), |store, removal| store.look(&[removal], &[]));
            look.expect("a look").checks[0].clone()
        };
        let blind = check();
        assert!(matches!(&blind, Check::Changed(why) if why.contains("what docker runs beside CRI can't be told")), "{blind:?}");
        fs::create_dir(data.path().join("containers")).expect("a folder");
        assert_eq!(check(), Check::Unchanged);
        let container = data.path().join("containers/late");
        fs::create_dir(&container).expect("a container");
        fs::write(container.join("config.v2.json"), json!({"Image": image(A).id}).to_string()).expect("its configuration");
        assert_eq!(check(), changed("has come into use: container late"));
    }

    #[test]
    fn spares_an_image_that_was_removed_and_pulled_again() {
        let root = tempfile::tempdir().expect("a folder");
        let record = root.path().join("overlay-images").join(image(A).id.hex());
        fs::create_dir_all(&record).expect("CRI-O's record of it");
        let node = Inventory { root: Some(root.path().to_owned()), ..node() };
        let check = || on(Kind::CriO, &node, &unchanged(), |store, removal| store.look(&[removal], &[])).expect("a look").checks[0].clone();
        assert_eq!(check(), changed("was pulled again"));
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(image(A).pulled_at.expect("a time").unix());
        fs::File::open(&record).and_then(|file| file.set_modified(then)).expect("the time that it was judged by");
        assert_eq!(check(), Check::Unchanged);
    }

    #[test]
    fn a_look_fails_with_each_listing() {
        for (fake, why) in [
            (Fake { images: None, ..unchanged() }, "list images again: crictl images -o json: exit status 1: crictl: broken"),
            (
                Fake { containers: None, ..unchanged() },
                "list uses again: list containers: crictl ps -a -o json: exit status 1: crictl: broken",
            ),
        ] {
            assert_eq!(format!("{:#}", look(&fake).expect_err(why)), why);
        }
    }

    #[test]
    fn what_is_still_listed_is_left_under_a_name_or_its_id() {
        for (tags, name) in [(&[A][..], A.to_owned()), (&[], image(A).id.to_string())] {
            let mut own = listed(A, Some(false), tags);
            own["repoDigests"] = json!([]);
            let left = on(Kind::CriO, &node(), &with(own), |store, removal| store.look(&[], &[removal])).expect("a look").left;
            assert_eq!(left, BTreeMap::from([(image(A).id, Reference::new(name))]));
        }
    }

    #[test]
    fn asks_for_images_by_the_id_that_the_runtime_prints() {
        for (kind, id) in [
            (Kind::CriO, image(A).id.hex().to_owned()),
            (Kind::Containerd, image(A).id.to_string()),
            (Kind::Docker, image(A).id.to_string()),
        ] {
            let fake = unchanged();
            on(kind, &node(), &fake, |store, removal| store.remove(&[removal]).map(drop)).expect("a removal");
            assert_eq!(*fake.removed.lock().expect("lock"), [id]);
        }
    }

    #[test]
    fn what_is_refused_for_a_use_is_told_from_other_complaints() {
        for (complaint, said) in [
            ("image is in use by a container", Said::Refused("image is in use by a container".into())),
            ("device busy", Said::Complaint("device busy".into())),
            ("no such image", Said::Missing),
        ] {
            let fake = Fake { complaint: format!("crictl: {} {complaint}\n", image(A).id.hex()), ..unchanged() };
            let answer = on(Kind::CriO, &node(), &fake, |store, removal| store.remove(&[removal]).map(|answer| answer.about(removal)));
            assert_eq!(answer.expect("an answer"), said);
        }
    }
}
