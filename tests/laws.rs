//! The laws of judging, over generated nodes and policies: what must hold whatever a node looks like.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nuke_images::inventory::{
    Image, Inventory, Origin, Part, PulledAtSource, Runtime, SCHEMA_VERSION, SandboxImage, StaticPod, User, UserKind,
};
use nuke_images::plan::{Plan, Refusal, removal_order};
use nuke_images::policy::{Keep, Policy, Remove, Selectors, Verdict};
use nuke_images::reference::{Digest, ImageId, Reference};
use nuke_images::report::{Report, Run, Trigger};
use nuke_images::state::State;
use nuke_images::units::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use regex::Regex;

const NOW: u64 = 1_795_000_000;
const HOUR: u64 = 3_600;
const PARTS: usize = 10;
const PATTERNS: [&str; 6] = ["app", ":1", "^quay\\.io/", "pause", "@sha256:", "docker\\.io/library/tool:latest$"];
const REGISTRIES: [&str; 3] = ["docker.io", "quay.io", "localhost:5000"];

/// A digest out of few, so that images and pods meet.
fn digest(number: usize) -> Digest {
    Digest::parse(&format!("sha256:{number:064x}")).expect("a digest")
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

fn any_digest() -> impl Strategy<Value = Digest> {
    (0..6_usize).prop_map(digest)
}

/// A name as a pod, a list or containerd writes it, short or whole.
fn any_name() -> impl Strategy<Value = Reference> {
    let repository = select(vec![
        "app",
        "tool",
        "docker.io/library/app",
        "docker.io/library/tool",
        "docker.io/a/app",
        "quay.io/a/app",
        "quay.io/a/tool",
        "quay.io/b/pause",
        "localhost:5000/app",
        "localhost:5000/b/tool",
        "registry.k8s.io/pause",
    ]);
    let tag = select(vec!["", ":latest", ":1", ":1.1"]);
    let end = prop_oneof![4 => Just(None), 1 => any_digest().prop_map(Some)];
    (repository, tag, end).prop_map(|(repository, tag, digest)| {
        let end = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        Reference::new(format!("{repository}{tag}{end}"))
    })
}

fn any_names(most: usize) -> impl Strategy<Value = Vec<Reference>> {
    prop::collection::vec(any_name(), 0..=most)
}

fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
    let time = prop_oneof![
        8 => (0..48 * HOUR).prop_map(|ago| at(NOW - ago)),
        4 => (48 * HOUR..900 * HOUR).prop_map(|ago| at(NOW - ago)),
        1 => (1..HOUR).prop_map(|ahead| at(NOW + ahead)),
    ];
    prop::option::weighted(0.9, time)
}

fn rarely<T: Strategy>(value: T) -> impl Strategy<Value = Option<T::Value>>
where
    T::Value: Clone,
{
    prop::option::weighted(0.12, value)
}

fn any_user() -> impl Strategy<Value = User> {
    let kind = select(vec![UserKind::Container, UserKind::Sandbox, UserKind::Snapshot, UserKind::Unknown]);
    (kind, 0..9_u8).prop_map(|(kind, id)| User { kind, id: format!("user-{id}"), pod: None })
}

/// Where each name says it is from, and sometimes nowhere or elsewhere.
fn any_origins(references: &[Reference]) -> impl Strategy<Value = Vec<Origin>> + use<> {
    let named = references.iter().filter_map(Reference::named);
    let true_ones: Vec<Origin> = named.map(|named| Origin { host: named.host().to_owned(), repository: named.path.clone() }).collect();
    let elsewhere = vec![Origin { host: "quay.io".into(), repository: "a/app".into() }];
    prop_oneof![6 => Just(true_ones), 1 => Just(Vec::new()), 1 => Just(elsewhere)]
}

prop_compose! {
    fn any_facts()(
        names in any_names(3),
        has_bare_id in prop::bool::weighted(0.8),
        digests in prop::collection::btree_set(any_digest(), 1..3),
        parts in subsequence((0..=PARTS).collect::<Vec<_>>(), 0..4),
        pinned in rarely(Just("io.cri-containerd.pinned".to_owned())),
        times in (any_time(), rarely(any_time()), select(vec![None, Some(at(NOW - HOUR)), Some(at(NOW - 24 * HOUR))]), any_time()),
        users in rarely(prop::collection::vec(any_user(), 1..3)),
        removal_begun in prop::bool::weighted(0.1),
    )(
        origins in any_origins(&names),
        image in Just((names, has_bare_id, digests, parts, pinned, times, users, removal_begun)),
    ) -> Image {
        let (names, has_bare_id, digests, parts, pinned, (pulled_at, renamed_at, last_used_at, first_seen_at), users, removal_begun) = image;
        Image {
            id: ImageId::of_config(&digest(0)),
            references: names.into_iter().chain(has_bare_id.then(|| Reference::new(digest(0).as_str()))).collect(),
            digests: digests.into_iter().collect(),
            size_bytes: 7,
            parts,
            snapshots: Vec::new(),
            pinned,
            pulled_at,
            pulled_at_source: pulled_at.map(|_| PulledAtSource::Blob),
            renamed_at: renamed_at.flatten(),
            first_seen_at,
            last_used_at,
            origins,
            users: users.unwrap_or_default(),
            removal_begun,
        }
    }
}

/// Images as a runtime holds them: an ID and a name belong to one image alone.
fn any_images() -> impl Strategy<Value = Vec<Image>> {
    prop::collection::vec(any_facts(), 0..7).prop_map(|mut images| {
        let mut taken = BTreeSet::new();
        for (position, image) in images.iter_mut().enumerate() {
            let id = digest(1_000 + position);
            let (bare, mut names): (Vec<_>, Vec<_>) = image.references.drain(..).partition(Reference::is_bare_id);
            names.retain(|name| taken.insert(name.clone()));
            names.extend((!bare.is_empty() || names.is_empty()).then(|| Reference::new(id.as_str())));
            image.references = removal_order(&names);
            image.snapshots = vec![format!("chain-{position}")];
            image.id = ImageId::of_config(&id);
        }
        images
    })
}

prop_compose! {
    fn any_inventory()(
        images in any_images(),
        sandbox in any_names(1),
        pods in prop::collection::vec(any_names(1), 0..3),
        side_loaded in any_names(1),
        parts in prop::collection::vec((select(vec![0, 1, 1_000]), prop::bool::weighted(0.1)), PARTS),
        starts in (any_time(), any_time()),
    ) -> Inventory {
        let pod = |(number, images)| StaticPod { path: format!("/etc/kubernetes/manifests/{number}.yaml").into(), images };
        Inventory {
            schema_version: SCHEMA_VERSION,
            node: "node-1".into(),
            taken_at: at(NOW),
            runtime: Runtime {
                name: "containerd".into(),
                version: "1.7.27".into(),
                endpoint: "unix:///run/containerd/containerd.sock".into(),
                namespace: "k8s.io".into(),
                ctr: Some("/usr/bin/ctr".into()),
                crictl: None,
                tasks: None,
            },
            booted_at: starts.0,
            boot_id: None,
            runtime_started_at: starts.1,
            sandbox_image: SandboxImage { names: sandbox, source: Some("containerd config dump".into()) },
            static_pods: pods.into_iter().enumerate().map(pod).collect(),
            side_loaded,
            unread_lists: Vec::new(),
            snapshotters: ["overlayfs".to_owned()].into(),
            images,
            parts: parts.into_iter().map(|(bytes, held_elsewhere)| Part { bytes, inodes: bytes / 100, held_elsewhere }).collect(),
            root: None,
            disks: Vec::new(),
            gaps: Vec::new(),
        }
    }
}

fn any_patterns(most: usize) -> impl Strategy<Value = Vec<Regex>> {
    let compile = |patterns: Vec<&str>| patterns.into_iter().map(|pattern| Regex::new(pattern).expect("a pattern")).collect();
    subsequence(PATTERNS.to_vec(), 0..=most).prop_map(compile)
}

prop_compose! {
    fn any_policy()(
        all in any::<bool>(),
        registries in subsequence(REGISTRIES.to_vec(), 0..=3),
        include in any_patterns(2),
        exclude in rarely(any_patterns(2)),
        hours in select(vec![0, 1, 24, 720]),
        unused_hours in select(vec![0, 0, 24]),
        keep_newest in select(vec![0, 0, 1, 2]),
        keep_unpullable in any::<bool>(),
        safety in (select(vec![0, 1, 30]), any::<bool>()),
    ) -> Policy {
        Policy {
            selectors: Selectors { all, registries: registries.into_iter().map(str::to_owned).collect(), include },
            exclude: exclude.unwrap_or_default(),
            min_age: Duration::from_secs(hours * HOUR),
            unused_for: Duration::from_secs(unused_hours * HOUR),
            keep_newest,
            target: None,
            keep_unpullable,
            min_uptime: Duration::from_secs(safety.0 * HOUR),
            allow_idle: safety.1,
        }
    }
}

/// IDs of what goes.
fn going(inventory: &Inventory, policy: &Policy) -> BTreeSet<ImageId> {
    Plan::new(inventory, policy).removals.into_iter().map(|removal| removal.id).collect()
}

/// What goes afterwards and stayed before.
fn added(before: (&Inventory, &Policy), after: (&Inventory, &Policy)) -> BTreeSet<ImageId> {
    going(after.0, after.1).difference(&going(before.0, before.1)).cloned().collect()
}

fn key(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Keep(reason, _) => reason.key(),
        Verdict::Remove(reason, _) => reason.key(),
    }
}

fn detail(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Keep(_, detail) | Verdict::Remove(_, detail) => detail,
    }
}

/// One image of the node, if it has any.
fn one(inventory: &mut Inventory, which: Index) -> Option<&mut Image> {
    let images = inventory.images.len();
    (images > 0).then(|| &mut inventory.images[which.index(images)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_facts_and_policy_give_the_same_plan(node in any_inventory(), policy in any_policy()) {
        prop_assert_eq!(Plan::new(&node, &policy), Plan::new(&node.clone(), &policy.clone()));
    }

    #[test]
    fn the_order_of_the_listing_changes_nothing(
        (node, shuffled) in any_inventory().prop_flat_map(|node| (Just(node.clone()), Just(node.images).prop_shuffle())),
        policy in any_policy(),
    ) {
        let shuffled = Inventory { images: shuffled, ..node.clone() };
        let (plan, other) = (Plan::new(&node, &policy), Plan::new(&shuffled, &policy));
        let by_id = |node: &Inventory, plan: &Plan| -> BTreeMap<ImageId, Verdict> {
            node.images.iter().map(|image| image.id.clone()).zip(plan.verdicts.clone()).collect()
        };
        prop_assert_eq!(by_id(&node, &plan), by_id(&shuffled, &other));
        let order = |plan: &Plan| plan.removals.iter().map(|r| (r.id.clone(), r.references.clone())).collect::<Vec<_>>();
        prop_assert_eq!(order(&plan), order(&other));
        prop_assert_eq!((plan.planned_bytes, plan.refusals), (other.planned_bytes, other.refusals));
    }

    #[test]
    fn every_image_has_one_verdict_and_a_reason_and_goes_once_or_not_at_all(node in any_inventory(), policy in any_policy()) {
        let plan = Plan::new(&node, &policy);
        prop_assert_eq!(plan.verdicts.len(), node.images.len());
        for verdict in &plan.verdicts {
            prop_assert!(!detail(verdict).trim().is_empty() && !detail(verdict).contains('\n'), "{verdict:?}");
        }
        let mut positions: Vec<usize> = plan.removals.iter().map(|removal| removal.position).collect();
        positions.sort_unstable();
        let may_go = |position: &usize| matches!(plan.verdicts[*position], Verdict::Remove(..));
        prop_assert_eq!(positions, (0..node.images.len()).filter(may_go).collect::<Vec<_>>());
        let run = Run { dry_run: true, trigger: Trigger::Timer, started_at: at(NOW), finished_at: at(NOW), memory: None };
        let summary = Report::new(&node, &plan, None, &run).summary;
        prop_assert_eq!(summary.kept.values().sum::<usize>() + summary.planned_removals, summary.images);
    }

    #[test]
    fn what_is_not_known_of_an_image_keeps_it(
        node in any_inventory(), policy in any_policy(), which in any::<Index>(), what in 0..3_u8,
    ) {
        let mut less_known = node.clone();
        if let Some(image) = one(&mut less_known, which) {
            match what {
                0 => (image.pulled_at, image.pulled_at_source) = (None, None),
                1 => image.origins.clear(),
                _ => image.users.push(User { kind: UserKind::Unknown, id: "it is not unpacked".into(), pod: None }),
            }
        }
        prop_assert_eq!(added((&node, &policy), (&less_known, &policy)), BTreeSet::new());
    }

    #[test]
    fn one_more_that_needs_or_names_an_image_never_adds_a_removal(
        node in any_inventory(), policy in any_policy(), which in any::<Index>(), name in any_name(), user in any_user(), what in 0..5_u8,
    ) {
        let mut needed = node.clone();
        match what {
            0 => needed.static_pods.push(StaticPod { path: "/m/new.yaml".into(), images: vec![name] }),
            1 => needed.side_loaded.push(name),
            4 => needed.unread_lists.push("/agent/images/new.txt".into()),
            2 => one(&mut needed, which).into_iter().for_each(|image| image.users.push(user.clone())),
            _ => one(&mut needed, which).into_iter().for_each(|image| image.pinned = Some("io.cattle.k3s.pinned".into())),
        }
        // A sign of what sandboxes are made from frees what merely looked like that, and nothing else.
        let free = |id: &ImageId| {
            !node.sandbox_image_is_known()
                && needed.sandbox_image_is_known()
                && node.images.iter().any(|image| image.id == *id && image.looks_like_a_sandbox_image())
        };
        let added = added((&node, &policy), (&needed, &policy));
        prop_assert!(added.iter().all(free), "{added:?}");
    }

    #[test]
    fn a_stricter_policy_never_adds_a_removal(
        node in any_inventory(), policy in any_policy(), pattern in select(PATTERNS.to_vec()), which in any::<Index>(), what in 0..6_u8,
    ) {
        let mut stricter = policy.clone();
        match what {
            0 => stricter.exclude.push(Regex::new(pattern).expect("a pattern")),
            1 => stricter.selectors.all = false,
            2 => stricter.selectors.registries.truncate(which.index(3)),
            3 => stricter.selectors.include.truncate(which.index(2)),
            4 => stricter.min_age += Duration::from_secs(which.index(100_000) as u64),
            _ => stricter.keep_unpullable = true,
        }
        prop_assert_eq!(added((&node, &policy), (&node, &stricter)), BTreeSet::new());
    }

    #[test]
    fn nothing_that_is_needed_or_protected_ever_goes(node in any_inventory(), policy in any_policy()) {
        for removal in Plan::new(&node, &policy).removals {
            let image = &node.images[removal.position];
            prop_assert!(image.users.is_empty() && image.pinned.is_none(), "{image:?}");
            let names = node.static_pods.iter().flat_map(|pod| &pod.images).chain(&node.sandbox_image.names);
            for name in names {
                let by_digest = image.digests.iter().any(|digest| name.as_str().ends_with(digest.as_str()));
                prop_assert!(!by_digest && !image.references.contains(name) && !image.is_named_by(name), "{name} needs {image:?}");
            }
            let protects = |pattern: &Regex| image.references.iter().any(|name| pattern.is_match(name.as_str()));
            prop_assert!(!policy.exclude.iter().any(protects), "{image:?}");
        }
    }

    #[test]
    fn what_goes_of_its_own_is_old_enough_can_be_pulled_again_and_was_asked_for(node in any_inventory(), policy in any_policy()) {
        for removal in Plan::new(&node, &policy).removals {
            let image = &node.images[removal.position];
            if image.removal_begun {
                continue;
            }
            let age = |time: Timestamp| at(NOW).since(time);
            prop_assert!(image.pulled_at.and_then(age).is_some_and(|age| age >= policy.min_age), "{image:?}");
            prop_assert!(image.renamed_at.is_none_or(|time| age(time).is_some_and(|age| age >= policy.min_age)), "{image:?}");
            prop_assert!(!policy.keep_unpullable || !image.origins.is_empty(), "{image:?}");
            let is_stranded = image.references.iter().all(Reference::is_bare_id) && !image.origins.is_empty();
            let selectors = &policy.selectors;
            let asked_for = selectors.all || !selectors.registries.is_empty() || !selectors.include.is_empty();
            prop_assert!(is_stranded || asked_for, "{image:?}");
            let of = |name: &Reference| name.named().is_some_and(|named| selectors.registries.contains(&named.registry));
            let by_registry = !selectors.all && selectors.include.is_empty() && !is_stranded;
            prop_assert!(!by_registry || image.references.iter().all(|name| name.is_bare_id() || of(name)), "{image:?}");
        }
    }

    #[test]
    fn a_removal_takes_all_references_of_its_image_the_bare_ids_first(node in any_inventory(), policy in any_policy()) {
        for removal in Plan::new(&node, &policy).removals {
            let image = &node.images[removal.position];
            prop_assert_eq!((&removal.id, &removal.digests, &removal.snapshots), (&image.id, &image.digests, &image.snapshots));
            let sorted = |names: &[Reference]| names.iter().cloned().collect::<BTreeSet<_>>();
            prop_assert_eq!(removal.references.len(), image.references.len());
            prop_assert_eq!(sorted(&removal.references), sorted(&image.references));
            prop_assert!(removal.references.is_sorted_by_key(|name| !name.is_bare_id()), "{:?}", removal.references);
            let named: Vec<&Reference> = removal.references.iter().filter(|name| !name.is_bare_id()).collect();
            prop_assert!(named.is_sorted_by_key(|name| !name.as_str().contains('@')), "{named:?}");
        }
    }

    #[test]
    fn the_longest_unused_goes_first_and_of_these_what_holds_most_alone(node in any_inventory(), policy in any_policy()) {
        let removals = Plan::new(&node, &policy).removals;
        let alone = node.bytes_each_holds_alone();
        let unused_since = |i: usize| node.images[i].unused_since(node.taken_at);
        prop_assert!(removals.is_sorted_by_key(|removal| (unused_since(removal.position), Reverse(alone[removal.position]))));
    }

    #[test]
    fn planned_bytes_are_those_that_only_what_goes_holds(node in any_inventory(), policy in any_policy()) {
        let plan = Plan::new(&node, &policy);
        let goes: BTreeSet<usize> = plan.removals.iter().map(|removal| removal.position).collect();
        let images = &node.images;
        let holders = |part: usize| (0..images.len()).filter(move |&i| images[i].parts.contains(&part));
        let is_freed = |part: &usize| holders(*part).count() > 0 && holders(*part).all(|i| goes.contains(&i));
        let freed = (0..node.parts.len()).filter(is_freed).map(|part| node.parts[part]).filter(|part| !part.held_elsewhere);
        prop_assert_eq!(plan.planned_bytes, freed.map(|part| part.bytes).sum::<u64>());
        let alone = node.bytes_each_holds_alone();
        prop_assert!(goes.iter().map(|&i| alone[i]).sum::<u64>() <= plan.planned_bytes);
        prop_assert!(alone.iter().enumerate().all(|(i, &bytes)| bytes == node.given_back_in_order(&[i])[0].bytes));
        prop_assert_eq!(plan.removals.iter().map(|removal| removal.gives_back.bytes).sum::<u64>(), plan.planned_bytes);
    }

    #[test]
    fn a_saved_inventory_is_read_as_it_was_and_judged_the_same(node in any_inventory(), policy in any_policy()) {
        let json = nuke_images::output::json::render(&node).expect("JSON");
        let read: Inventory = serde_json::from_str(&json).expect("an inventory");
        prop_assert_eq!(&read, &node);
        prop_assert_eq!(Plan::new(&read, &policy), Plan::new(&node, &policy));
    }

    #[test]
    fn a_refusal_changes_no_verdict_and_asking_for_more_uptime_lifts_none(
        node in any_inventory(), policy in any_policy(), more in 0..9_000_u64,
    ) {
        let plan = Plan::new(&node, &policy);
        let lax = Plan::new(&node, &Policy { min_uptime: Duration::ZERO, allow_idle: true, ..policy.clone() });
        prop_assert_eq!((&lax.verdicts, &lax.removals, lax.refusals.len()), (&plan.verdicts, &plan.removals, 0));
        let min_uptime = policy.min_uptime + Duration::from_secs(more);
        let strict = Plan::new(&node, &Policy { min_uptime, allow_idle: false, ..policy });
        prop_assert!(strict.refusals.len() >= plan.refusals.len(), "{:?}", strict.refusals);
        let nothing_is_used = node.images.iter().flat_map(|image| &image.users).all(|user| user.kind == UserKind::Unknown);
        prop_assert_eq!(strict.refusals.iter().any(Refusal::holds_when_attended), nothing_is_used);
    }

    #[test]
    fn an_image_of_unknown_age_goes_only_when_it_was_seen_a_min_age_ago(
        node in any_inventory(), policy in any_policy(), seconds in 0..100 * HOUR,
    ) {
        let mut node = node;
        for image in &mut node.images {
            *image = Image { pulled_at: None, pulled_at_source: None, renamed_at: None, ..image.clone() };
        }
        let state = State::default();
        state.recall(&mut node.images, node.taken_at);
        prop_assert_eq!(going(&node, &policy), BTreeSet::new(), "at first sight");
        let state = state.updated(&node);
        node.taken_at = at(NOW + seconds);
        state.recall(&mut node.images, node.taken_at);
        prop_assert!(Duration::from_secs(seconds) >= policy.min_age || going(&node, &policy).is_empty());
    }
}

/// A law says nothing about what is never generated.
#[test]
fn the_generated_nodes_show_every_verdict_and_every_refusal() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..2_000 {
        let (node, policy) = (any_inventory(), any_policy()).new_tree(&mut runner).expect("a node").current();
        let plan = Plan::new(&node, &policy);
        seen.extend(plan.verdicts.iter().map(key));
        seen.extend(plan.refusals.iter().map(|refusal| if refusal.holds_when_attended() { "idle" } else { "just started" }));
    }
    let verdicts = Keep::ALL.iter().map(|keep| keep.key()).chain([Remove::Unused.key(), Remove::Stranded.key()]);
    assert_eq!(seen, verdicts.chain(["idle", "just started"]).collect());
}
