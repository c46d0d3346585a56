//! The ordered keep rules: why an image stays. The first that holds is the reason.
//!
//! Each rule sees one image, the inventory it stands in, and the policy; none of them looks at anything else.
//! What a rule can't know, it keeps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use regex::Regex;
use serde::Serialize;

use crate::inventory::{Image, Inventory, PulledAtSource};
use crate::plan::Target;
use crate::reference::{ImageId, Named, Reference};
use crate::units::{Timestamp, human_span};

/// What may go and what must stay, as configured.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What may go at all.
    pub selectors: Selectors,
    /// Never an image one of whose references matches one of these.
    pub exclude: Vec<Regex>,
    /// Pulled, or named anew, at least this long ago.
    pub min_age: Duration,
    /// Seen unused for at least this long.
    pub unused_for: Duration,
    /// Keep so many of each repository.
    pub keep_newest: usize,
    /// When to act at all, and when to stop.
    pub target: Option<Target>,
    /// Keep what can't be pulled again.
    pub keep_unpullable: bool,
    /// Refuse an unattended run when machine or runtime have been up for less.
    pub min_uptime: Duration,
    /// Run even though nothing at all is in use.
    pub allow_idle: bool,
}

/// What may go at all; nothing is selected when every field is empty.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// Everything unused.
    pub all: bool,
    /// Images of these registries: the exact host with its port.
    pub registries: Vec<String>,
    /// References that match, unanchored.
    pub include: Vec<Regex>,
}

/// Why an image stays, in the order in which the rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// A container in any state, a sandbox or a mount needs it, or that can't be told.
    InUse,
    /// Every new pod's sandbox is made from it.
    SandboxImage,
    /// A static pod manifest names it.
    StaticPod,
    /// The runtime's own mark.
    Pinned,
    /// `--exclude`.
    Excluded,
    /// No selector selects each of its references.
    NotSelected,
    /// No registry is known to have it.
    Unpullable,
    /// Nothing tells when it was pulled.
    AgeUnknown,
    /// `--min-age`.
    TooYoung,
    /// `--unused-for`.
    RecentlyUsed,
    /// `--keep-newest`.
    Newest,
}

/// Why an image may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remove {
    /// Nothing needs it and no rule keeps it.
    Unused,
    /// An earlier tool left nothing of it but a bare ID.
    Stranded,
}

/// The decision about one image, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Keep, String),
    /// It may go.
    Remove(Remove, String),
}

/// [`crate::inventory::Runtime::name`] of the runtime that `OpenShift` uses.
const CRI_O: &str = "cri-o";

type Rule = fn(&Image, &Inventory, &Policy) -> Option<String>;

/// Rules that hold for every image.
const PROTECTIONS: [(Keep, Rule); 5] = [
    (Keep::InUse, in_use),
    (Keep::SandboxImage, sandbox_image),
    (Keep::StaticPod, static_pod),
    (Keep::Pinned, pinned),
    (Keep::Excluded, excluded),
];

/// What is asked besides of an image that nobody has decided about yet.
const CHOICES: [(Keep, Rule); 5] = [
    (Keep::NotSelected, not_selected),
    (Keep::Unpullable, unpullable),
    (Keep::AgeUnknown, age_unknown),
    (Keep::TooYoung, too_young),
    (Keep::RecentlyUsed, recently_used),
];

/// The verdict on one image. `newest` are those of this inventory and policy.
pub fn judge(image: &Image, inventory: &Inventory, policy: &Policy, newest: &Newest) -> Verdict {
    let first = |rules: &[(Keep, Rule)]| {
        let hit = |(keep, rule): &(Keep, Rule)| rule(image, inventory, policy).map(|detail| Verdict::Keep(*keep, detail));
        rules.iter().find_map(hit)
    };
    if let Some(keep) = first(&PROTECTIONS) {
        return keep;
    }
    if image.removal_begun {
        return Verdict::Remove(Remove::Unused, "an earlier run was cut off while removing it".into());
    }
    let stranded = is_stranded(image);
    let choices = if stranded { &CHOICES[1..] } else { &CHOICES[..] };
    let kept_newest = || newest.0.get(&image.id).map(|detail| Verdict::Keep(Keep::Newest, detail.clone()));
    first(choices).or_else(kept_newest).unwrap_or_else(|| match (stranded, age(image, inventory.taken_at)) {
        (true, _) => Verdict::Remove(Remove::Stranded, "an earlier tool took its names away and left its content".into()),
        (false, Some(age)) => Verdict::Remove(Remove::Unused, format!("nothing uses it, {} {} ago", since_what(image), human_span(age))),
        (false, None) => Verdict::Remove(Remove::Unused, "nothing uses it".into()),
    })
}

/// The images that `--keep-newest` keeps, each with the repository it is among the newest of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest(HashMap<ImageId, String>);

impl Newest {
    /// Of each repository the most recently pulled, whatever uses them; of two pulled at the same time the later name.
    pub fn of(inventory: &Inventory, policy: &Policy) -> Self {
        let mut newest = HashMap::new();
        if policy.keep_newest == 0 {
            return Self(newest);
        }
        let mut repositories: BTreeMap<String, BTreeMap<&ImageId, &Image>> = BTreeMap::new();
        for image in &inventory.images {
            for named in image.references.iter().filter_map(Reference::named) {
                repositories.entry(named.repository()).or_default().insert(&image.id, image);
            }
        }
        for (repository, images) in repositories {
            let mut images: Vec<&Image> = images.into_values().collect();
            images.sort_by_key(|image| Reverse((image.pulled_at, image.display_name().to_owned())));
            for (rank, image) in images.into_iter().take(policy.keep_newest).enumerate() {
                newest.entry(image.id.clone()).or_insert_with(|| format!("number {} of {repository} by pull time", rank + 1));
            }
        }
        Self(newest)
    }
}

/// Nothing but bare IDs is left, and its content came from a registry.
fn is_stranded(image: &Image) -> bool {
    image.is_nameless() && !image.origins.is_empty()
}

fn in_use(image: &Image, _: &Inventory, _: &Policy) -> Option<String> {
    let (first, others) = image.users.split_first()?;
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    Some(format!("{first}{more}"))
}

fn sandbox_image(image: &Image, inventory: &Inventory, _: &Policy) -> Option<String> {
    let sandbox = &inventory.sandbox_image;
    if let Some(name) = sandbox.names.iter().find(|name| image.is_named_by(name)) {
        let source = sandbox.source.as_deref().unwrap_or("the runtime's configuration");
        return Some(format!("{name}, by {source}"));
    }
    // In this order: what is known of the whole node takes as long as all images, and few look like one.
    let guessed = image.looks_like_a_sandbox_image() && !inventory.sandbox_image_is_known();
    guessed.then(|| "looks like a sandbox image, and nothing tells which one is".into())
}

fn static_pod(image: &Image, inventory: &Inventory, _: &Policy) -> Option<String> {
    let names_it = |pod: &&crate::inventory::StaticPod| pod.images.iter().any(|name| image.is_named_by(name));
    let pod = inventory.static_pods.iter().find(names_it)?;
    Some(format!("static pod {}", pod.path.display()))
}

fn pinned(image: &Image, _: &Inventory, _: &Policy) -> Option<String> {
    image.pinned.as_ref().map(|label| format!("label {label}"))
}

fn excluded(image: &Image, inventory: &Inventory, policy: &Policy) -> Option<String> {
    if let Some(name) = image.references.iter().find(|name| inventory.runtime.name == CRI_O && is_of_openshift_release(name)) {
        return Some(format!("{name} is part of an OpenShift release, whose host runs some of its images outside CRI"));
    }
    let spellings: Vec<String> = image.references.iter().flat_map(spellings).collect();
    let hit = policy.exclude.iter().find(|pattern| spellings.iter().any(|name| pattern.is_match(name)))?;
    Some(format!("matches --exclude {}", hit.as_str()))
}

/// An image of `OpenShift`'s own, on quay.io or a mirror: the host starts some with podman at boot, when no registry may be there.
fn is_of_openshift_release(reference: &Reference) -> bool {
    reference.named().is_some_and(|named| named.path.contains("openshift-release-dev"))
}

/// A reference as the runtime prints it and as the kubelet would write it.
fn spellings(reference: &Reference) -> Vec<String> {
    let mut all = vec![reference.to_string()];
    if let Some(Named { registry, path, tag, digest }) = reference.named() {
        let end = tag.map(|tag| format!(":{tag}")).or_else(|| digest.map(|digest| format!("@{digest}")));
        all.extend(end.map(|end| format!("{registry}/{path}{end}")));
    }
    all
}

/// "Each of its named references is selected"; a digest is selected with a tag of its repository, as a pull makes both.
fn not_selected(image: &Image, _: &Inventory, policy: &Policy) -> Option<String> {
    let selectors = &policy.selectors;
    if selectors.all {
        return None;
    }
    let named: Vec<&Reference> = image.references.iter().filter(|r| !r.is_bare_id()).collect();
    let selected = |r: &&&Reference| selectors.select(r) || is_selected_by_its_tag(r, &named, selectors);
    // Tags stand last, and are what people know.
    match named.iter().rev().find(|r| !selected(r)) {
        Some(other) => Some(format!("no selector matches {other}")),
        None if named.is_empty() => Some("no selector matches an image without a name".into()),
        None => None,
    }
}

fn is_selected_by_its_tag(reference: &Reference, all: &[&Reference], selectors: &Selectors) -> bool {
    let Some(by_digest) = reference.named().filter(|named| named.tag.is_none()) else {
        return false;
    };
    let same_repository = |other: &&&Reference| {
        let named = other.named();
        named.is_some_and(|named| named.tag.is_some() && named.repository() == by_digest.repository())
    };
    let mut tags = all.iter().filter(same_repository).peekable();
    tags.peek().is_some() && tags.all(|tag| selectors.select(tag))
}

impl Selectors {
    /// Is anything configured at all?
    pub fn is_empty(&self) -> bool {
        !self.all && self.registries.is_empty() && self.include.is_empty()
    }

    fn select(&self, reference: &Reference) -> bool {
        // No registry knows a name that an import made up, although it reads like one on docker.io.
        let named = reference.named().filter(|_| !reference.is_made_up_by_import());
        let written = if named.is_some() { spellings(reference) } else { vec![reference.to_string()] };
        named.is_some_and(|named| self.registries.contains(&named.registry))
            || self.include.iter().any(|pattern| written.iter().any(|name| pattern.is_match(name)))
    }
}

fn unpullable(image: &Image, inventory: &Inventory, policy: &Policy) -> Option<String> {
    if !policy.keep_unpullable {
        return None;
    }
    if image.origins.is_empty() {
        return Some("was not pulled from a registry".into());
    }
    if let Some(name) = inventory.side_loaded.iter().find(|name| image.is_named_by(name)) {
        return Some(format!("{name} is on a list of images brought to this node"));
    }
    if let Some(list) = inventory.unread_lists.first() {
        return Some(format!("may be on a list of images brought to this node that can't be read, {list}"));
    }
    let named: Vec<&Reference> = image.references.iter().filter(|r| !r.is_bare_id()).collect();
    let missing = named.iter().find(|reference| !comes_from(image, reference))?;
    Some(format!("{missing} was not pulled from there"))
}

/// Did a registry supply the image under this very name?
fn comes_from(image: &Image, reference: &Reference) -> bool {
    let supplied = |named: &Named| image.origins.iter().any(|origin| origin.host == named.host() && origin.repository == named.path);
    reference.named().is_some_and(|named| supplied(&named))
}

fn age_unknown(image: &Image, _: &Inventory, _: &Policy) -> Option<String> {
    image.pulled_at.is_none().then(|| "nothing tells when it was pulled; first seen now".into())
}

fn too_young(image: &Image, inventory: &Inventory, policy: &Policy) -> Option<String> {
    let min_age = human_span(policy.min_age);
    let since = image.pulled_at.max(image.renamed_at)?;
    match inventory.taken_at.since(since) {
        Some(age) if age >= policy.min_age => None,
        Some(age) if image.renamed_at == Some(since) => Some(format!("named anew {} ago, min age {min_age}", human_span(age))),
        Some(age) => Some(format!("{} {} ago, min age {min_age}", since_what(image), human_span(age))),
        None => Some(format!("its time lies in the future, min age {min_age}")),
    }
}

/// What `pulled_at` really tells.
pub fn since_what(image: &Image) -> &'static str {
    match image.pulled_at_source {
        Some(PulledAtSource::FirstSeen) => "first seen",
        Some(PulledAtSource::Blob | PulledAtSource::Kubelet) | None => "pulled",
    }
}

fn recently_used(image: &Image, inventory: &Inventory, policy: &Policy) -> Option<String> {
    if policy.unused_for.is_zero() {
        return None;
    }
    let wanted = human_span(policy.unused_for);
    let Some(since) = image.last_used_at.max(image.first_seen_at) else {
        return Some(format!("not seen before, unused for {wanted} is asked"));
    };
    let what = if image.last_used_at == Some(since) { "last used" } else { "first seen" };
    match inventory.taken_at.since(since) {
        Some(span) if span >= policy.unused_for => None,
        Some(span) => Some(format!("{what} {} ago, unused for {wanted} is asked", human_span(span))),
        None => Some(format!("{what} in the future, unused for {wanted} is asked")),
    }
}

fn age(image: &Image, now: Timestamp) -> Option<Duration> {
    now.since(image.pulled_at?)
}

impl Keep {
    /// All reasons, in order.
    pub const ALL: [Self; 11] = [
        Self::InUse,
        Self::SandboxImage,
        Self::StaticPod,
        Self::Pinned,
        Self::Excluded,
        Self::NotSelected,
        Self::Unpullable,
        Self::AgeUnknown,
        Self::TooYoung,
        Self::RecentlyUsed,
        Self::Newest,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::SandboxImage => "sandbox image",
            Self::StaticPod => "static pod",
            Self::Pinned => "pinned",
            Self::Excluded => "excluded",
            Self::NotSelected => "not selected",
            Self::Unpullable => "unpullable",
            Self::AgeUnknown => "age unknown",
            Self::TooYoung => "too young",
            Self::RecentlyUsed => "recently used",
            Self::Newest => "newest",
        }
    }

    /// As JSON spells it.
    pub fn key(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::SandboxImage => "sandbox_image",
            Self::StaticPod => "static_pod",
            Self::Pinned => "pinned",
            Self::Excluded => "excluded",
            Self::NotSelected => "not_selected",
            Self::Unpullable => "unpullable",
            Self::AgeUnknown => "age_unknown",
            Self::TooYoung => "too_young",
            Self::RecentlyUsed => "recently_used",
            Self::Newest => "newest",
        }
    }
}

impl Remove {
    /// All reasons, in order.
    pub const ALL: [Self; 2] = [Self::Unused, Self::Stranded];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Stranded => "stranded",
        }
    }

    /// As JSON spells it.
    pub fn key(self) -> &'static str {
        self.words()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::samples::{digest_of, hash, hours_ago, image, image_with, inventory, now, policy, used_image, user};
    use crate::inventory::{Origin, SandboxImage, StaticPod, UserKind};

    fn patterns(patterns: &[&str]) -> Vec<Regex> {
        patterns.iter().map(|pattern| Regex::new(pattern).expect("a pattern")).collect()
    }

    fn references(names: &[&str]) -> Vec<Reference> {
        names.iter().copied().map(Reference::new).collect()
    }

    /// Reason and detail of the first image.
    fn verdict(inventory: &Inventory, policy: &Policy) -> (&'static str, String) {
        match judge(&inventory.images[0], inventory, policy, &Newest::of(inventory, policy)) {
            Verdict::Keep(keep, detail) => (keep.key(), detail),
            Verdict::Remove(remove, detail) => (remove.key(), detail),
        }
    }

    /// What is said of `image`, alone on a node, with `policy`.
    fn reason(image: &Image, policy: &Policy) -> &'static str {
        verdict(&inventory(vec![image.clone()]), policy).0
    }

    fn selecting(registries: &[&str], include: &[&str]) -> Policy {
        let registries = registries.iter().map(ToString::to_string).collect();
        Policy { selectors: Selectors { all: false, registries, include: patterns(include) }, ..policy() }
    }

    #[test]
    fn an_unused_image_may_go() {
        let node = inventory(vec![image("quay.io/a/app:1")]);
        assert_eq!(verdict(&node, &policy()), ("unused", "nothing uses it, pulled 24 h ago".into()));
    }

    #[test]
    fn the_first_rule_that_holds_is_the_reason() {
        let every_rule_holds = Image {
            pinned: Some("io.cri-containerd.pinned".into()),
            origins: Vec::new(),
            pulled_at: None,
            renamed_at: hours_ago(0),
            last_used_at: hours_ago(1),
            ..used_image("quay.io/a/app:1")
        };
        let mut node = inventory(vec![every_rule_holds]);
        node.sandbox_image.names = references(&["quay.io/a/app:1"]);
        node.static_pods = vec![StaticPod { path: "/etc/kubernetes/manifests/a.yaml".into(), images: references(&["quay.io/a/app:1"]) }];
        let mut policy =
            Policy { exclude: patterns(&["app"]), unused_for: Duration::from_hours(24), keep_newest: 1, ..selecting(&[], &[]) };

        let lift: [fn(&mut Inventory, &mut Policy); 11] = [
            |node, _| node.images[0].users.clear(),
            |node, _| node.sandbox_image.names = references(&["registry.k8s.io/pause:3.9"]),
            |node, _| node.static_pods.clear(),
            |node, _| node.images[0].pinned = None,
            |_, policy| policy.exclude.clear(),
            |_, policy| policy.selectors.all = true,
            |_, policy| policy.keep_unpullable = false,
            |node, _| node.images[0].pulled_at = hours_ago(24),
            |node, _| node.images[0].renamed_at = None,
            |node, _| node.images[0].last_used_at = hours_ago(24),
            |_, policy| policy.keep_newest = 0,
        ];
        for (keep, lift) in Keep::ALL.iter().zip(lift) {
            assert_eq!(verdict(&node, &policy).0, keep.key());
            lift(&mut node, &mut policy);
        }
        assert_eq!(verdict(&node, &policy).0, "unused");
    }

    #[test]
    fn reasons_are_spelled_and_ordered_as_promised() {
        let keys: Vec<&str> = Keep::ALL.iter().map(|keep| keep.key()).collect();
        let promised = [
            "in_use",
            "sandbox_image",
            "static_pod",
            "pinned",
            "excluded",
            "not_selected",
            "unpullable",
            "age_unknown",
            "too_young",
            "recently_used",
            "newest",
        ];
        assert_eq!(keys, promised);
        assert!(Keep::ALL.is_sorted(), "the derived order is the order of the rules");
        for keep in Keep::ALL {
            assert_eq!(serde_json::to_value(keep).expect("serialise"), keep.key());
            assert_eq!(keep.words(), keep.key().replace('_', " "));
        }
        for remove in [Remove::Unused, Remove::Stranded] {
            assert_eq!(serde_json::to_value(remove).expect("serialise"), remove.key());
        }
    }

    #[test]
    fn keeps_an_image_with_a_user_of_any_kind_and_names_it() {
        for (kind, detail) in [
            (UserKind::Container, "container 1a2b3c4d5e6f7 (default/web)"),
            (UserKind::Sandbox, "sandbox 1a2b3c4d5e6f7 (default/web)"),
            (UserKind::Snapshot, "snapshot 1a2b3c4d5e6f7a8b9c0d (default/web)"),
            (UserKind::Unknown, "can't tell whether anything uses it: 1a2b3c4d5e6f7a8b9c0d (default/web)"),
        ] {
            let node = inventory(vec![Image { users: vec![user(kind)], ..image("quay.io/a/app:1") }]);
            assert_eq!(verdict(&node, &policy()), ("in_use", detail.into()));
        }
    }

    #[test]
    fn names_the_first_user_and_counts_the_others() {
        let users = vec![user(UserKind::Container), user(UserKind::Sandbox), user(UserKind::Snapshot)];
        let node = inventory(vec![Image { users, ..image("quay.io/a/app:1") }]);
        assert_eq!(verdict(&node, &policy()).1, "container 1a2b3c4d5e6f7 (default/web) and 2 more");
    }

    #[test]
    fn keeps_the_sandbox_image_that_the_configuration_names_however_it_is_spelled() {
        let by_digest = format!("docker.io/rancher/mirrored-pause@{}", digest_of("docker.io/rancher/mirrored-pause:3.6"));
        for name in [
            "docker.io/rancher/mirrored-pause:3.6",
            "rancher/mirrored-pause:3.6",
            "index.docker.io/rancher/mirrored-pause:3.6",
            by_digest.as_str(),
        ] {
            let mut node = inventory(vec![image("docker.io/rancher/mirrored-pause:3.6")]);
            node.sandbox_image = SandboxImage { names: references(&[name]), source: Some("containerd config dump".into()) };
            assert_eq!(verdict(&node, &policy()), ("sandbox_image", format!("{name}, by containerd config dump")));
        }
    }

    #[test]
    fn keeps_a_sandbox_image_that_does_not_look_like_one() {
        let mut node = inventory(vec![image("quay.io/a/app:1")]);
        node.sandbox_image.names = references(&["quay.io/a/app:1"]);
        assert_eq!(verdict(&node, &policy()), ("sandbox_image", "quay.io/a/app:1, by the runtime's configuration".into()));
    }

    #[test]
    fn keeps_whatever_looks_like_a_sandbox_image_where_nothing_tells_which_one_is() {
        for (name, looks) in [
            ("registry.k8s.io/pause:3.9", true),
            ("docker.io/rancher/mirrored-pause:3.6", true),
            ("602401143452.dkr.ecr.eu-central-1.amazonaws.com/eks/pause:3.5", true),
            ("registry.k8s.io/pause-arm64:3.1", true),
            ("quay.io/a/infra_container:1", true),
            ("quay.io/a/infrastructure:1", true),
            ("quay.io/pause/app:1", false),
            ("quay.io/a/pauser:1", false),
            ("quay.io/a/app:pause", false),
        ] {
            let reason = reason(&image(name), &policy());
            assert_eq!(reason, if looks { "sandbox_image" } else { "unused" }, "{name}");
        }
    }

    #[test]
    fn a_look_counts_for_nothing_once_the_configuration_or_a_pin_tells() {
        let pause = "registry.k8s.io/pause:3.8";
        let other = Image { pinned: Some("io.cri-containerd.pinned".into()), ..image("registry.k8s.io/pause:3.9") };
        let by_pin = inventory(vec![image(pause), other]);
        let mut by_name = inventory(vec![image(pause), image("registry.k8s.io/pause:3.9")]);
        by_name.sandbox_image.names = references(&["registry.k8s.io/pause:3.9"]);
        for node in [by_pin, by_name] {
            assert_eq!(verdict(&node, &policy()).0, "unused");
        }
    }

    #[test]
    fn a_configured_sandbox_image_that_is_not_on_the_node_tells_nothing() {
        let mut node = inventory(vec![image("registry.k8s.io/pause:3.8")]);
        node.sandbox_image.names = references(&["registry.k8s.io/pause:3.9"]);
        assert_eq!(verdict(&node, &policy()).0, "sandbox_image");
    }

    #[test]
    fn a_sandbox_does_not_tell_what_the_next_one_is_made_from() {
        let old = Image { users: vec![user(UserKind::Sandbox)], ..image("registry.k8s.io/pause:3.8") };
        let node = inventory(vec![image("registry.k8s.io/pause:3.9"), old]);
        assert_eq!(verdict(&node, &policy()).0, "sandbox_image");
    }

    #[test]
    fn neither_a_container_nor_the_pin_of_another_image_tells_which_image_is_the_sandboxes() {
        let pinned = Image { pinned: Some("io.cri-containerd.pinned".into()), ..image("quay.io/a/b:1") };
        let node = inventory(vec![image("registry.k8s.io/pause:3.9"), used_image("quay.io/a/app:1"), pinned]);
        assert_eq!(verdict(&node, &policy()), ("sandbox_image", "looks like a sandbox image, and nothing tells which one is".into()));
    }

    #[test]
    fn keeps_what_a_static_pod_names_in_any_spelling() {
        let nginx = "docker.io/library/nginx:latest";
        let (digest, id) = (digest_of(nginx), hash(nginx));
        for (name, is_it) in [
            (nginx.to_owned(), true),
            ("nginx".into(), true),
            ("nginx:latest".into(), true),
            ("library/nginx".into(), true),
            ("docker.io/nginx".into(), true),
            ("index.docker.io/library/nginx".into(), true),
            (format!("nginx@{digest}"), true),
            (format!("nginx:1.27@{digest}"), true),
            (format!("a.mirror.example/nginx@{digest}"), true),
            (id.to_string(), true),
            ("nginx:1.27".into(), false),
            ("nginx:late".into(), false),
            ("quay.io/library/nginx".into(), false),
            (format!("nginx@{id}"), false),
            ("ngin".into(), false),
            (String::new(), false),
            ("nginx latest".into(), false),
        ] {
            let mut node = inventory(vec![image(nginx)]);
            node.static_pods = vec![StaticPod { path: "/etc/kubernetes/manifests/web.yaml".into(), images: vec![Reference::new(&name)] }];
            let expected = if is_it {
                ("static_pod", "static pod /etc/kubernetes/manifests/web.yaml")
            } else {
                ("unused", "nothing uses it, pulled 24 h ago")
            };
            assert_eq!(verdict(&node, &policy()), (expected.0, expected.1.into()), "{name:?}");
        }
    }

    #[test]
    fn keeps_the_image_of_the_second_container_of_the_second_static_pod() {
        let pod = |path: &str, images: &[&str]| StaticPod { path: path.into(), images: references(images) };
        let mut node = inventory(vec![image("quay.io/a/app:1")]);
        node.static_pods =
            vec![pod("/m/etcd.yaml", &["registry.k8s.io/etcd:3.5"]), pod("/m/app.yaml", &["quay.io/a/init:1", "quay.io/a/app:1"])];
        assert_eq!(verdict(&node, &policy()), ("static_pod", "static pod /m/app.yaml".into()));
    }

    #[test]
    fn keeps_a_pinned_image_and_names_the_label() {
        let node = inventory(vec![Image { pinned: Some("io.cattle.k3s.pinned".into()), ..image("quay.io/a/app:1") }]);
        assert_eq!(verdict(&node, &policy()), ("pinned", "label io.cattle.k3s.pinned".into()));
    }

    #[test]
    fn one_excluded_reference_protects_its_image_in_its_printed_and_its_normalised_spelling() {
        let by_digest = format!("redis@{}", hash("redis"));
        for (names, pattern, excluded) in [
            (&["quay.io/a/app:1", "quay.io/a/app:2"][..], "app:2$", true),
            (&["quay.io/a/app:1"], "APP", false),
            (&["quay.io/a/app:1"], "(?i)APP", true),
            (&["quay.io/a/app:1"], "^a/app", false),
            (&["redis"], "^docker\\.io/library/redis:latest$", true),
            (&["redis:7"], "^redis:7$", true),
            (&["bitnami/redis:7"], "^docker\\.io/bitnami/", true),
            (&["index.docker.io/library/redis:7"], "^docker\\.io/library/redis:7$", true),
            (&[by_digest.as_str()], "^docker\\.io/library/redis@", true),
            (&["quay.io/a/app:1"], "^docker\\.io", false),
        ] {
            let policy = Policy { exclude: patterns(&["nothing", pattern]), keep_unpullable: false, ..policy() };
            let expected = if excluded { "excluded" } else { "unused" };
            assert_eq!(reason(&image_with(names), &policy), expected, "{names:?} {pattern}");
        }
    }

    #[test]
    fn says_which_pattern_excludes_an_image() {
        let policy = Policy { exclude: patterns(&["nothing", "^quay"]), ..policy() };
        assert_eq!(verdict(&inventory(vec![image("quay.io/a/app:1")]), &policy).1, "matches --exclude ^quay");
    }

    #[test]
    fn an_image_of_an_openshift_release_stays_on_cri_o() {
        for (runtime, name, expected) in [
            ("cri-o", "quay.io/openshift-release-dev/ocp-v4.0-art-dev:1", "excluded"),
            ("cri-o", "registry.example.com:5000/mirror/openshift-release-dev/ocp-release:1", "excluded"),
            ("cri-o", "quay.io/openshift/app:1", "unused"),
            ("containerd", "quay.io/openshift-release-dev/ocp-v4.0-art-dev:1", "unused"),
        ] {
            let mut node = inventory(vec![image(name)]);
            node.runtime.name = runtime.into();
            let (reason, detail) = verdict(&node, &Policy { keep_unpullable: false, ..policy() });
            assert_eq!(reason, expected, "{runtime} {name}");
            assert_eq!(detail.contains("outside CRI"), expected == "excluded", "{detail}");
        }
    }

    #[test]
    fn a_registry_is_selected_by_its_exact_host_with_its_port() {
        for (registry, name, selected) in [
            ("quay.io", "quay.io/a/app:1", true),
            ("quay.io", "my.quay.io/a/app:1", false),
            ("quay.io", "quay.io.example/a/app:1", false),
            ("quay.io", "docker.io/quay.io/app:1", false),
            ("localhost:5000", "localhost:5000/app:1", true),
            ("localhost:5000", "localhost/app:1", false),
            ("localhost", "localhost:5000/app:1", false),
            ("localhost:5000", "localhost:50001/app:1", false),
            ("docker.io", "docker.io/library/redis:7", true),
            ("docker.io", "redis", true),
            ("docker.io", "index.docker.io/library/redis:7", true),
        ] {
            let policy = Policy { keep_unpullable: false, ..selecting(&[registry], &[]) };
            let expected = if selected { "unused" } else { "not_selected" };
            assert_eq!(reason(&image_with(&[name]), &policy), expected, "{registry} {name}");
        }
    }

    #[test]
    fn a_name_that_an_import_made_up_is_of_no_registry() {
        let import = format!("import-2026-11-24@{}", hash("manifest"));
        for (policy, expected) in [
            (selecting(&["docker.io"], &[]), "not_selected"),
            (selecting(&[], &["^docker\\.io/library/"]), "not_selected"),
            (selecting(&[], &["^import-2026"]), "unused"),
        ] {
            assert_eq!(reason(&image_with(&[&import]), &Policy { keep_unpullable: false, ..policy }), expected);
        }
    }

    #[test]
    fn a_pattern_is_searched_for_anywhere_as_grep_does() {
        for (pattern, name, selected) in [
            ("app", "quay.io/a/my-app-x:1", true),
            ("^quay\\.io/a/", "quay.io/a/app:1", true),
            ("^a/", "quay.io/a/app:1", false),
            (":1$", "quay.io/a/app:1", true),
            (":1$", "quay.io/a/app:11", false),
            ("docker.io/library/redis:latest", "redis", true),
        ] {
            let policy = Policy { keep_unpullable: false, ..selecting(&[], &[pattern]) };
            let expected = if selected { "unused" } else { "not_selected" };
            assert_eq!(reason(&image_with(&[name]), &policy), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_image_is_selected_only_with_each_of_its_named_references() {
        let bare = hash("config").to_string();
        let by_digest = format!("quay.io/a/app@{}", hash("manifest"));
        let by_both = format!("quay.io/a/app:3@{}", hash("manifest"));
        let foreign = format!("ghcr.io/a/app@{}", hash("manifest"));
        for (include, names, selected) in [
            ("app:1", &["quay.io/a/app:1", "quay.io/a/app:2"][..], false),
            ("app:[12]", &["quay.io/a/app:1", "quay.io/a/app:2"], true),
            ("app:1", &["quay.io/a/app:1", &bare], true),
            ("app:1", &["quay.io/a/app:1", &by_digest], true),
            ("app:1", &["quay.io/a/app:1", &by_digest, &bare], true),
            ("app:1", &["quay.io/a/app:1", "quay.io/a/app:2", &by_digest], false),
            ("app:1", &["quay.io/a/app:1", &by_both], false),
            ("app:1", &["quay.io/a/app:1", &foreign], false),
            ("app:1", &[&by_digest], false),
            ("app@sha256", &[&by_digest], true),
            ("app@sha256", &["quay.io/a/app:1", &by_digest], false),
            ("sha256", &[&bare], false),
        ] {
            let image = Image { origins: Vec::new(), ..image_with(names) };
            let policy = Policy { keep_unpullable: false, ..selecting(&[], &[include]) };
            let expected = if selected { "unused" } else { "not_selected" };
            assert_eq!(reason(&image, &policy), expected, "{include} {names:?}");
        }
    }

    #[test]
    fn selectors_of_both_kinds_add_up() {
        let policy = Policy { keep_unpullable: false, ..selecting(&["quay.io"], &["^ghcr\\.io/a/"]) };
        for (names, expected) in
            [(&["quay.io/a/app:1", "ghcr.io/a/app:1"][..], "unused"), (&["quay.io/a/app:1", "ghcr.io/b/app:1"], "not_selected")]
        {
            assert_eq!(reason(&image_with(names), &policy), expected);
        }
    }

    #[test]
    fn says_which_reference_no_selector_matches() {
        let node = inventory(vec![image_with(&["quay.io/a/app:1", "ghcr.io/a/app:1"])]);
        assert_eq!(verdict(&node, &selecting(&["quay.io"], &[])).1, "no selector matches ghcr.io/a/app:1");
    }

    #[test]
    fn without_a_selector_nothing_is_selected() {
        let nothing = selecting(&[], &[]);
        assert!(nothing.selectors.is_empty());
        assert_eq!(reason(&image("quay.io/a/app:1"), &nothing), "not_selected");
        assert!(!policy().selectors.is_empty());
    }

    #[test]
    fn keeps_what_no_registry_supplied_under_that_name() {
        let import = format!("import-2026-11-24@{}", hash("manifest"));
        let by_digest = format!("quay.io/a/app@{}", hash("manifest"));
        let bare = hash("config").to_string();
        for (names, origins, detail) in [
            (&["quay.io/a/app:1"][..], &[("quay.io", "a/app")][..], None),
            (&["quay.io/a/app:1", &by_digest, &bare], &[("quay.io", "a/app")], None),
            (&["localhost:5000/app:1"], &[("localhost", "app")], None),
            (&["redis:7"], &[("docker.io", "library/redis")], None),
            (&["quay.io/a/app:1", "ghcr.io/a/app:1"], &[("quay.io", "a/app"), ("ghcr.io", "a/app")], None),
            (&["quay.io/a/app:1"], &[], Some("was not pulled from a registry")),
            (&["quay.io/a/app:1"], &[("quay.io", "a/application")], Some("quay.io/a/app:1 was not pulled from there")),
            (&["quay.io/a/app:1"], &[("ghcr.io", "a/app")], Some("quay.io/a/app:1 was not pulled from there")),
            (&["quay.io/a/app:1", "ghcr.io/a/app:1"], &[("quay.io", "a/app")], Some("ghcr.io/a/app:1 was not pulled from there")),
            (&[&import], &[], Some("was not pulled from a registry")),
            (&[&import], &[("quay.io", "a/app")], Some(&format!("{import} was not pulled from there"))),
        ] {
            let origin = |(host, repository): &(&str, &str)| Origin { host: (*host).into(), repository: (*repository).into() };
            let image = Image { origins: origins.iter().map(origin).collect(), ..image_with(names) };
            let expected = detail.map_or(("unused", "nothing uses it, pulled 24 h ago".into()), |detail| ("unpullable", detail.to_owned()));
            assert_eq!(verdict(&inventory(vec![image.clone()]), &policy()), expected, "{names:?} {origins:?}");
            assert_eq!(reason(&image, &Policy { keep_unpullable: false, ..policy() }), "unused", "{names:?} {origins:?}");
        }
    }

    #[test]
    fn keeps_what_a_list_says_was_brought_to_the_node_although_it_tells_an_origin() {
        for (name, is_it) in
            [("docker.io/rancher/klipper-helm:v0.9", true), ("rancher/klipper-helm:v0.9", true), ("rancher/klipper-helm:v0.8", false)]
        {
            let mut node = inventory(vec![image("docker.io/rancher/klipper-helm:v0.9")]);
            node.side_loaded = references(&["docker.io/rancher/other:1", name]);
            assert_eq!(verdict(&node, &policy()).0 == "unpullable", is_it, "{name}");
        }
    }

    #[test]
    fn a_list_that_can_not_be_read_may_hold_any_image() {
        let mut node = inventory(vec![image("quay.io/a/app:1")]);
        node.unread_lists = vec!["/agent/images/a.txt".into()];
        let detail = "may be on a list of images brought to this node that can't be read, /agent/images/a.txt";
        assert_eq!(verdict(&node, &policy()), ("unpullable", detail.into()));
        assert_eq!(verdict(&node, &Policy { keep_unpullable: false, ..policy() }).0, "unused");
    }

    #[test]
    fn keeps_an_image_until_min_age_is_reached() {
        let at = |seconds: i64| Some(Timestamp::from_unix(now().unix().checked_add_signed(-seconds).expect("a time")));
        for (pulled_at, renamed_at, reason, detail) in [
            (at(3_599), None, "too_young", "pulled 59 min ago, min age 1 h"),
            (at(3_600), None, "unused", "nothing uses it, pulled 1 h ago"),
            (at(0), None, "too_young", "pulled 0 s ago, min age 1 h"),
            (at(-1), None, "too_young", "its time lies in the future, min age 1 h"),
            (None, None, "age_unknown", "nothing tells when it was pulled; first seen now"),
            (None, at(90_000), "age_unknown", "nothing tells when it was pulled; first seen now"),
            (at(90_000), at(720), "too_young", "named anew 12 min ago, min age 1 h"),
            (at(90_000), at(3_600), "unused", "nothing uses it, pulled 25 h ago"),
            (at(90_000), at(-5), "too_young", "its time lies in the future, min age 1 h"),
            (at(60), at(90_000), "too_young", "pulled 1 min ago, min age 1 h"),
        ] {
            let node = inventory(vec![Image { pulled_at, renamed_at, ..image("quay.io/a/app:1") }]);
            assert_eq!(verdict(&node, &policy()), (reason, detail.into()), "{pulled_at:?} {renamed_at:?}");
        }
    }

    #[test]
    fn an_image_of_which_only_the_first_sight_is_known_is_not_called_pulled() {
        let seen =
            |hours| Image { pulled_at: hours_ago(hours), pulled_at_source: Some(PulledAtSource::FirstSeen), ..image("quay.io/a/app:1") };
        for (hours, expected) in
            [(0, ("too_young", "first seen 0 s ago, min age 1 h")), (24, ("unused", "nothing uses it, first seen 24 h ago"))]
        {
            assert_eq!(verdict(&inventory(vec![seen(hours)]), &policy()), (expected.0, expected.1.into()));
        }
    }

    #[test]
    fn without_a_min_age_the_future_and_the_unknown_still_stay() {
        let policy = Policy { min_age: Duration::ZERO, ..policy() };
        let future = Some(Timestamp::from_unix(now().unix() + 1));
        for (pulled_at, expected) in [(Some(now()), "unused"), (future, "too_young"), (None, "age_unknown")] {
            assert_eq!(reason(&Image { pulled_at, ..image("quay.io/a/app:1") }, &policy), expected);
        }
    }

    #[test]
    fn keeps_an_image_until_it_was_seen_unused_for_long_enough() {
        let day = Policy { unused_for: Duration::from_hours(24), ..policy() };
        for (first_seen_at, last_used_at, reason, detail) in [
            (None, None, "recently_used", "not seen before, unused for 24 h is asked"),
            (hours_ago(23), None, "recently_used", "first seen 23 h ago, unused for 24 h is asked"),
            (hours_ago(24), None, "unused", "nothing uses it, pulled 24 h ago"),
            (hours_ago(99), hours_ago(5), "recently_used", "last used 5 h ago, unused for 24 h is asked"),
            (hours_ago(99), hours_ago(25), "unused", "nothing uses it, pulled 24 h ago"),
            (
                hours_ago(99),
                Some(Timestamp::from_unix(now().unix() + 1)),
                "recently_used",
                "last used in the future, unused for 24 h is asked",
            ),
        ] {
            let image = Image { first_seen_at, last_used_at, ..image("quay.io/a/app:1") };
            assert_eq!(verdict(&inventory(vec![image.clone()]), &day), (reason, detail.into()));
            assert_eq!(self::reason(&image, &policy()), "unused");
        }
    }

    #[test]
    fn keeps_the_newest_of_each_repository_by_pull_time_then_by_name() {
        let pulled = |name, hours| Image { pulled_at: hours_ago(hours), ..image(name) };
        let by_digest = format!("quay.io/a/app@{}", hash("by digest"));
        let digest_only = Image { pulled_at: hours_ago(7), ..image_with(&[&by_digest]) };
        let node = inventory(vec![
            pulled("quay.io/a/app:1", 9),
            Image { pulled_at: hours_ago(8), ..used_image("quay.io/a/app:2") },
            Image { id: ImageId::of_config(&hash("by digest")), ..digest_only },
            pulled("quay.io/a/web:1", 30),
            pulled("quay.io/a/db:1", 20),
            pulled("quay.io/a/db:2", 20),
        ]);
        let stays = |count: usize| -> Vec<&str> {
            let policy = Policy { keep_newest: count, ..policy() };
            let newest = Newest::of(&node, &policy);
            node.images.iter().filter(|image| newest.0.contains_key(&image.id)).map(Image::display_name).collect()
        };
        assert!(stays(0).is_empty());
        assert_eq!(stays(1), [by_digest.as_str(), "quay.io/a/web:1", "quay.io/a/db:2"]);
        assert_eq!(stays(2), ["quay.io/a/app:2", &by_digest, "quay.io/a/web:1", "quay.io/a/db:1", "quay.io/a/db:2"]);
        assert_eq!(stays(9).len(), 6);
    }

    #[test]
    fn says_of_which_repository_an_image_is_the_newest() {
        let node = inventory(vec![image("quay.io/a/app:1")]);
        let expected = ("newest", "number 1 of quay.io/a/app by pull time".to_owned());
        assert_eq!(verdict(&node, &Policy { keep_newest: 2, ..policy() }), expected);
    }

    /// An image with nothing but its bare ID.
    fn nameless() -> Image {
        image_with(&[hash("config").as_str()])
    }

    #[test]
    fn a_stranded_image_may_go_whatever_the_selectors() {
        let node = inventory(vec![nameless()]);
        for policy in [policy(), selecting(&[], &[]), selecting(&["ghcr.io"], &["nothing"])] {
            assert_eq!(verdict(&node, &policy), ("stranded", "an earlier tool took its names away and left its content".into()));
        }
    }

    #[test]
    fn a_nameless_image_is_stranded_only_if_it_came_from_a_registry_and_is_old_enough() {
        for (image, expected) in [
            (Image { origins: Vec::new(), ..nameless() }, "unpullable"),
            (Image { pulled_at: None, ..nameless() }, "age_unknown"),
            (Image { pulled_at: hours_ago(0), ..nameless() }, "too_young"),
            (Image { users: vec![user(UserKind::Snapshot)], ..nameless() }, "in_use"),
            (Image { pinned: Some("io.cri-containerd.pinned".into()), ..nameless() }, "pinned"),
        ] {
            assert_eq!(reason(&image, &policy()), expected);
        }
        let unknown_origin = Image { origins: Vec::new(), ..nameless() };
        let selective = Policy { keep_unpullable: false, ..selecting(&["quay.io"], &["sha256"]) };
        assert_eq!(reason(&unknown_origin, &selective), "not_selected");
    }

    #[test]
    fn a_nameless_image_that_a_static_pod_names_by_its_id_stays() {
        let mut node = inventory(vec![nameless()]);
        node.static_pods = vec![StaticPod { path: "/m/a.yaml".into(), images: vec![Reference::new(nameless().id.as_str())] }];
        assert_eq!(verdict(&node, &policy()).0, "static_pod");
    }

    #[test]
    fn an_interrupted_removal_is_finished_whatever_selectors_origin_and_age_say() {
        let begun =
            Image { removal_begun: true, origins: Vec::new(), pulled_at: None, renamed_at: hours_ago(0), ..image("quay.io/a/app:1") };
        let expected = ("unused", "an earlier run was cut off while removing it".to_owned());
        assert_eq!(verdict(&inventory(vec![begun]), &selecting(&[], &[])), expected);
    }

    #[test]
    fn an_interrupted_removal_is_left_alone_once_the_image_is_protected() {
        let begun = Image { removal_begun: true, ..image("registry.k8s.io/pause:3.9") };
        let mut node = inventory(vec![begun]);
        assert_eq!(verdict(&node, &policy()).0, "sandbox_image");
        node.sandbox_image.names = references(&["quay.io/other:1"]);
        node.images.push(image("quay.io/other:1"));
        assert_eq!(verdict(&node, &Policy { exclude: patterns(&["pause"]), ..policy() }).0, "excluded");
        node.images[0].pinned = Some("io.cri-containerd.pinned".into());
        assert_eq!(verdict(&node, &policy()).0, "pinned");
        node.static_pods = vec![StaticPod { path: "/m/a.yaml".into(), images: references(&["registry.k8s.io/pause:3.9"]) }];
        assert_eq!(verdict(&node, &policy()).0, "static_pod");
        node.images[0].users = vec![user(UserKind::Container)];
        assert_eq!(verdict(&node, &policy()).0, "in_use");
    }
}
