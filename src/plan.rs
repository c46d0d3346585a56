//! The plan: one verdict for every image of an inventory, the removals in order, and whether they may be carried out at all.
//!
//! A function of inventory and policy: same input, same plan. It never looks at the node.

use std::cmp::Reverse;
use std::time::Duration;

use crate::inventory::{Image, Inventory, Space, UserKind};
use crate::policy::{Newest, Policy, Verdict, judge};
use crate::reference::{Digest, ImageId, Reference};
use crate::units::{Timestamp, human_span};

mod target;

pub use target::Target;

/// What is to happen to each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each image, in the order of the inventory.
    pub verdicts: Vec<Verdict>,
    /// What goes, in this order: longest unused first as far as anybody saw, then what holds most bytes alone.
    pub removals: Vec<Removal>,
    /// Bytes that go when all removals succeed.
    pub planned_bytes: u64,
    /// Reasons to carry nothing of it out.
    pub refusals: Vec<Refusal>,
    /// When to stop.
    pub target: Option<Target>,
    /// Are the file systems fuller than the target allows, or is there none?
    pub is_due: bool,
}

/// One image to remove, with all that tells later whether it is still the image that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Position in [`Inventory::images`].
    pub position: usize,
    /// The image.
    pub id: ImageId,
    /// All its references, in the order in which they are taken away.
    pub references: Vec<Reference>,
    /// Manifests and indexes that lead to it.
    pub digests: Vec<Digest>,
    /// Snapshots that a container of it would be made from.
    pub snapshots: Vec<String>,
    /// What it gives back when all that go before it have gone.
    pub gives_back: Space,
}

/// Why a plan may not be carried out, although every image was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No container, sandbox or mount anywhere: a runtime that has just lost its containers, or not got them yet.
    NothingInUse,
    /// Machine or runtime have been up for a short time; holds for unattended runs.
    JustStarted {
        /// `machine` or `runtime`.
        what: &'static str,
        /// How long it has been up; `None` where its start lies in the future, so that nobody knows.
        uptime: Option<Duration>,
        /// What is asked for.
        min_uptime: Duration,
    },
}

impl Plan {
    /// Judges every image.
    pub fn new(inventory: &Inventory, policy: &Policy) -> Self {
        let newest = Newest::of(inventory, policy);
        let verdicts: Vec<Verdict> = inventory.images.iter().map(|image| judge(image, inventory, policy, &newest)).collect();
        let goes = |(_, verdict): &(usize, &Verdict)| match verdict {
            Verdict::Keep(..) => false,
            Verdict::Remove(..) => true,
        };
        let mut positions: Vec<usize> = verdicts.iter().enumerate().filter(goes).map(|(position, _)| position).collect();
        let alone = inventory.bytes_each_holds_alone();
        let unused_since = |i: usize| inventory.images[i].unused_since(inventory.taken_at);
        positions.sort_by_cached_key(|&i| (unused_since(i), Reverse(alone[i]), inventory.images[i].id.clone()));
        let given_back = inventory.given_back_in_order(&positions);
        Self {
            planned_bytes: given_back.iter().map(|space| space.bytes).sum(),
            removals: positions.into_iter().zip(given_back).map(|(i, space)| Removal::of(i, &inventory.images[i], space)).collect(),
            refusals: refusals(inventory, policy),
            target: policy.target,
            is_due: policy.target.is_none_or(|target| target.is_exceeded(&inventory.disks)),
            verdicts,
        }
    }

    /// So many of the removals one run does as far as its target tells: none while it is not due.
    pub fn expected(&self, inventory: &Inventory) -> usize {
        match self.target {
            _ if !self.is_due => 0,
            Some(target) => self.needed(0, target.missing(&inventory.disks, &inventory.disks)),
            None => self.removals.len(),
        }
    }

    /// Bytes that the first removals give back.
    pub fn bytes_of_first(&self, removals: usize) -> u64 {
        self.removals[..removals].iter().map(|removal| removal.gives_back.bytes).sum()
    }

    /// So many removals from `first` on give back what is missing, if all goes as planned; all that are left where they don't.
    pub fn needed(&self, first: usize, missing: Space) -> usize {
        needed(&self.removals[first..].iter().collect::<Vec<_>>(), missing)
    }
}

/// So many of these removals, one after the other, give back what is missing; all of them where they don't.
pub fn needed(removals: &[&Removal], missing: Space) -> usize {
    let mut freed = Space::default();
    let is_short = |removal: &&&Removal| {
        let is_short = !freed.covers(missing);
        freed = freed.plus(removal.gives_back);
        is_short
    };
    removals.iter().take_while(is_short).count()
}

impl Removal {
    fn of(position: usize, image: &Image, gives_back: Space) -> Self {
        Self {
            position,
            id: image.id.clone(),
            references: removal_order(&image.references),
            digests: image.digests.clone(),
            snapshots: image.snapshots.clone(),
            gives_back,
        }
    }
}

/// Bare IDs first, then digests, then tags: cut off anywhere, what is left still has a name that a person and the next run find.
///
/// The other way round an interruption leaves a bare ID that holds the disk for ever (containerd#13875).
pub fn removal_order(references: &[Reference]) -> Vec<Reference> {
    let rank = |reference: &Reference| match (reference.is_bare_id(), reference.as_str().contains('@')) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    let mut ordered = references.to_vec();
    ordered.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    ordered
}

fn refusals(inventory: &Inventory, policy: &Policy) -> Vec<Refusal> {
    let idle = inventory.images.iter().flat_map(|image| &image.users).all(|user| user.kind == UserKind::Unknown);
    let nothing_in_use = (idle && !policy.allow_idle).then_some(Refusal::NothingInUse);
    let young = |what: &'static str, start: Option<Timestamp>| {
        // A clock that was set back after the start hides how long ago that was: it may have been a moment.
        let uptime = inventory.taken_at.since(start?);
        (uptime.unwrap_or_default() < policy.min_uptime).then_some(Refusal::JustStarted { what, uptime, min_uptime: policy.min_uptime })
    };
    let starts = [young("machine", inventory.booted_at), young("runtime", inventory.runtime_started_at)];
    nothing_in_use.into_iter().chain(starts.into_iter().flatten()).collect()
}

impl Refusal {
    /// Does it stand in the way of a run that a person watches?
    pub fn holds_when_attended(&self) -> bool {
        match self {
            Self::NothingInUse => true,
            Self::JustStarted { .. } => false,
        }
    }

    /// What is wrong, and the way out.
    pub fn words(&self) -> (String, &'static str) {
        match self {
            Self::NothingInUse => ("nothing at all is in use on this node".into(), "if that is right, set allow_idle = true in [safety]"),
            Self::JustStarted { what, uptime, min_uptime } => {
                let min_uptime = human_span(*min_uptime);
                let problem = match uptime {
                    Some(uptime) => format!("the {what} has been up for {} only, min_uptime is {min_uptime}", human_span(*uptime)),
                    None => format!("the start of the {what} lies in the future, min_uptime is {min_uptime}"),
                };
                (problem, "run again later, or set min_uptime in [safety]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::samples::{digest_of, disk, hash, hours_ago, image, image_with, inventory, now, parts, policy, used_image, user};

    /// Names of what goes, in order.
    fn going(inventory: &Inventory, plan: &Plan) -> Vec<String> {
        plan.removals.iter().map(|removal| inventory.images[removal.position].display_name().to_owned()).collect()
    }

    #[test]
    fn gives_one_verdict_an_image_in_the_order_of_the_inventory() {
        let node = inventory(vec![image("quay.io/a/b:1"), used_image("quay.io/a/app:1"), image("quay.io/a/a:1")]);
        let plan = Plan::new(&node, &policy());
        let stays: Vec<bool> = plan.verdicts.iter().map(|verdict| matches!(verdict, Verdict::Keep(..))).collect();
        assert_eq!(stays, [false, true, false]);
    }

    #[test]
    fn an_empty_node_has_an_empty_plan() {
        let plan = Plan::new(&inventory(Vec::new()), &policy());
        assert_eq!((plan.verdicts.len(), plan.removals.len(), plan.planned_bytes), (0, 0, 0));
    }

    #[test]
    fn a_removal_carries_all_that_its_image_is_recognised_by() {
        let name = "quay.io/a/app:1";
        let by_digest = format!("quay.io/a/app@{}", digest_of(name));
        let plan = Plan::new(&inventory(vec![used_image("quay.io/a/b:1"), image(name)]), &policy());
        let removal = Removal {
            position: 1,
            id: image(name).id,
            references: [hash(name).as_str(), &by_digest, name].map(Reference::new).to_vec(),
            digests: vec![digest_of(name)],
            snapshots: image(name).snapshots,
            gives_back: Space::default(),
        };
        assert_eq!(plan.removals, [removal]);
    }

    #[test]
    fn the_longest_unused_goes_first_then_what_holds_most_alone() {
        let with = |name, seen, last_used_at, part| Image {
            first_seen_at: seen,
            last_used_at,
            pulled_at: hours_ago(99),
            parts: vec![part],
            ..image(name)
        };
        let mut node = inventory(vec![
            with("quay.io/a/used-an-hour-ago:1", hours_ago(90), hours_ago(1), 0),
            with("quay.io/a/seen-three-days-ago-and-never-used:1", hours_ago(72), None, 1),
            with("quay.io/a/used-two-days-ago:1", hours_ago(90), hours_ago(48), 2),
            with("quay.io/a/seen-three-days-ago-and-never-used-large:1", hours_ago(72), None, 3),
            with("quay.io/a/used-an-hour-ago-large:1", hours_ago(2), hours_ago(1), 4),
            with("quay.io/a/seen-now-large:1", None, None, 5),
            Image { pulled_at: hours_ago(3), ..with("quay.io/a/used-long-ago-and-pulled-again:1", hours_ago(90), hours_ago(80), 6) },
        ]);
        node.parts = parts(&[1, 1, 1, 9, 9, 99, 1]);
        let order = [
            "quay.io/a/seen-three-days-ago-and-never-used-large:1",
            "quay.io/a/seen-three-days-ago-and-never-used:1",
            "quay.io/a/used-two-days-ago:1",
            "quay.io/a/used-long-ago-and-pulled-again:1",
            "quay.io/a/used-an-hour-ago-large:1",
            "quay.io/a/used-an-hour-ago:1",
            "quay.io/a/seen-now-large:1",
        ];
        assert_eq!(going(&node, &Plan::new(&node, &policy())), order);
    }

    #[test]
    fn each_removal_tells_what_it_gives_back_once_those_before_it_are_gone() {
        let with = |name, seen, parts: &[usize]| Image { first_seen_at: hours_ago(seen), parts: parts.to_vec(), ..image(name) };
        let mut node =
            inventory(vec![with("quay.io/a/a:1", 22, &[0, 1]), with("quay.io/a/b:1", 20, &[0, 2]), with("quay.io/a/c:1", 18, &[3])]);
        node.parts = parts(&[1_000, 1, 10, 5]);
        node.parts[2].inodes = 7;
        let plan = Plan::new(&node, &policy());
        let given_back: Vec<(u64, u64)> = plan.removals.iter().map(|r| (r.gives_back.bytes, r.gives_back.inodes)).collect();
        assert_eq!((given_back, plan.planned_bytes), (vec![(1, 0), (1_010, 7), (5, 0)], 1_016));
        let needed = |first, bytes, inodes| plan.needed(first, Space { bytes, inodes });
        for (first, bytes, inodes, count) in [
            (0, 0, 0, 0),
            (0, 1, 0, 1),
            (0, 2, 0, 2),
            (0, 0, 1, 2),
            (0, 1_011, 7, 2),
            (0, 1_012, 0, 3),
            (0, 9_999, 0, 3),
            (2, 1, 0, 1),
            (3, 1, 0, 0),
        ] {
            assert_eq!(needed(first, bytes, inodes), count, "{first} {bytes} {inodes}");
        }
    }

    #[test]
    fn without_a_target_there_is_always_something_to_do_and_with_one_only_above_it() {
        let full =
            |used| Inventory { disks: vec![disk("/a", used)], ..inventory(vec![used_image("quay.io/a/b:1"), image("quay.io/a/a:1")]) };
        let target = Some(Target { high: Some(80), low: Some(70), free_bytes: None });
        for (target, used, is_due) in [(None, 0, true), (target, 800, false), (target, 801, true)] {
            let plan = Plan::new(&full(used), &Policy { target, ..policy() });
            assert_eq!((plan.is_due, plan.removals.len(), plan.target), (is_due, 1, target));
        }
    }

    #[test]
    fn the_order_does_not_hang_on_the_order_of_the_listing() {
        let mut node = inventory(["quay.io/a/a:1", "quay.io/a/b:1", "quay.io/a/c:1", "quay.io/a/d:1"].map(image).to_vec());
        let order = going(&node, &Plan::new(&node, &policy()));
        node.images.reverse();
        assert_eq!(going(&node, &Plan::new(&node, &policy())), order);
    }

    #[test]
    fn counts_a_shared_part_once_and_only_if_all_who_hold_it_go() {
        let with = |name, parts: &[usize]| Image { parts: parts.to_vec(), ..image(name) };
        let stays = |name, parts: &[usize]| Image { parts: parts.to_vec(), ..used_image(name) };
        let (a, b) = ("quay.io/a/a:1", "quay.io/a/b:1");
        for (images, planned) in [
            (vec![with(a, &[0, 1]), with(b, &[0, 2])], 111),
            (vec![with(a, &[0, 1]), stays(b, &[0, 2])], 10),
            (vec![stays(a, &[0, 1]), stays(b, &[0, 2])], 0),
            (vec![with(a, &[0, 3]), stays(b, &[1])], 1),
            (vec![with(a, &[]), with(b, &[0])], 1),
            (vec![with(a, &[0, 99])], 1),
        ] {
            let mut node = inventory(images);
            node.parts = parts(&[1, 10, 100, 1_000]);
            node.parts[3].held_elsewhere = true;
            assert_eq!(Plan::new(&node, &policy()).planned_bytes, planned);
        }
    }

    #[test]
    fn bare_ids_go_first_then_digests_then_tags() {
        let (bare, other) = (hash("a").to_string(), hash("b").to_string());
        let by_digest = format!("quay.io/a/app@{bare}");
        let with_both = format!("quay.io/a/app:1@{bare}");
        let import = format!("import-2026-11-24@{bare}");
        let names = ["quay.io/a/app:2", &with_both, "app", &bare, "quay.io/a/app:1", &by_digest, &other, &import];
        let mut bares = [bare.as_str(), &other];
        bares.sort_unstable();
        let expected = [bares[0], bares[1], &import, &with_both, &by_digest, "app", "quay.io/a/app:1", "quay.io/a/app:2"];
        assert_eq!(removal_order(&names.map(Reference::new)), expected.map(Reference::new));
        assert!(removal_order(&[]).is_empty());
    }

    #[test]
    fn a_removal_follows_that_order_whatever_the_order_in_the_inventory() {
        let mut shuffled = image("quay.io/a/app:1");
        shuffled.references.reverse();
        let plan = Plan::new(&inventory(vec![shuffled]), &policy());
        assert_eq!(plan.removals[0].references, image("quay.io/a/app:1").references);
    }

    #[test]
    fn refuses_where_nothing_at_all_is_in_use() {
        let idle = inventory(vec![image("quay.io/a/app:1")]);
        assert_eq!(Plan::new(&idle, &policy()).refusals, [Refusal::NothingInUse]);
        assert_eq!(Plan::new(&idle, &Policy { allow_idle: true, ..policy() }).refusals, []);
        for kind in [UserKind::Container, UserKind::Sandbox, UserKind::Snapshot] {
            let used = Image { users: vec![user(kind)], ..image("quay.io/a/b:1") };
            assert_eq!(Plan::new(&inventory(vec![image("quay.io/a/app:1"), used]), &policy()).refusals, []);
        }
    }

    #[test]
    fn an_image_whose_use_can_not_be_told_does_not_show_that_anything_is_in_use() {
        let untold = Image { users: vec![user(UserKind::Unknown)], ..image("quay.io/a/b:1") };
        assert_eq!(Plan::new(&inventory(vec![image("quay.io/a/app:1"), untold]), &policy()).refusals, [Refusal::NothingInUse]);
    }

    #[test]
    fn refuses_while_machine_or_runtime_have_just_started() {
        let minutes = |minutes| Some(now().minus(Duration::from_mins(minutes)));
        let refusal =
            |what, minutes| Refusal::JustStarted { what, uptime: Some(Duration::from_mins(minutes)), min_uptime: Duration::from_mins(30) };
        for (booted_at, runtime_started_at, refusals) in [
            (minutes(29), minutes(12), vec![refusal("machine", 29), refusal("runtime", 12)]),
            (minutes(300), minutes(29), vec![refusal("runtime", 29)]),
            (minutes(29), None, vec![refusal("machine", 29)]),
            (minutes(30), minutes(30), vec![]),
            (None, None, vec![]),
        ] {
            let node = Inventory { booted_at, runtime_started_at, ..inventory(vec![used_image("quay.io/a/app:1")]) };
            assert_eq!(Plan::new(&node, &policy()).refusals, refusals);
            assert_eq!(Plan::new(&node, &Policy { min_uptime: Duration::ZERO, ..policy() }).refusals, []);
        }
    }

    #[test]
    fn a_start_that_lies_in_the_future_may_have_been_a_moment_ago() {
        let tomorrow = Some(Timestamp::from_unix(now().unix() + 86_400));
        let refusal = |what| Refusal::JustStarted { what, uptime: None, min_uptime: Duration::from_mins(30) };
        let node = Inventory { booted_at: tomorrow, runtime_started_at: tomorrow, ..inventory(vec![used_image("quay.io/a/app:1")]) };
        assert_eq!(Plan::new(&node, &policy()).refusals, [refusal("machine"), refusal("runtime")]);
        assert_eq!(Plan::new(&node, &Policy { min_uptime: Duration::ZERO, ..policy() }).refusals, []);
        assert_eq!(refusal("runtime").words().0, "the start of the runtime lies in the future, min_uptime is 30 min");
    }

    #[test]
    fn an_idle_node_is_refused_to_a_person_too_a_young_one_only_to_a_timer() {
        let young = Refusal::JustStarted { what: "runtime", uptime: Some(Duration::from_mins(12)), min_uptime: Duration::from_mins(30) };
        assert!(Refusal::NothingInUse.holds_when_attended());
        assert!(!young.holds_when_attended());
        assert_eq!(young.words().0, "the runtime has been up for 12 min only, min_uptime is 30 min");
        for refusal in [Refusal::NothingInUse, young] {
            assert!(refusal.words().1.contains("[safety]"), "{refusal:?} tells the way out");
        }
    }

    #[test]
    fn a_refusal_does_not_change_the_verdicts() {
        let node = inventory(vec![image("quay.io/a/app:1"), image_with(&["quay.io/a/b:1"])]);
        let refused = Plan::new(&node, &policy());
        let allowed = Plan::new(&node, &Policy { allow_idle: true, ..policy() });
        assert_eq!((refused.verdicts, refused.removals), (allowed.verdicts, allowed.removals));
    }
}
