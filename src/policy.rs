//! The ordered keep rules: why an image stays. The first that holds is the reason.
//!
//! Each rule sees one image, the inventory it stands in, and the policy; none of them looks at anything else.
//! What a rule can't know, it keeps.

use std::time::Duration;

use regex::Regex;
use serde::Serialize;

use crate::inventory::{Image, Inventory, User, UserKind};
use crate::reference::{Named, Reference};
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
const CHOICES: [(Keep, Rule); 4] = [
    (Keep::NotSelected, not_selected),
    (Keep::Unpullable, unpullable),
    (Keep::AgeUnknown, age_unknown),
    (Keep::TooYoung, too_young),
];

/// The verdict on one image.
pub fn judge(image: &Image, inventory: &Inventory, policy: &Policy) -> Verdict {
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
    first(choices).unwrap_or_else(|| match (stranded, age(image, inventory.taken_at)) {
        (true, _) => Verdict::Remove(Remove::Stranded, "an earlier tool took its names away and left its content".into()),
        (false, Some(age)) => Verdict::Remove(Remove::Unused, format!("nothing uses it, pulled {} ago", human_span(age))),
        (false, None) => Verdict::Remove(Remove::Unused, "nothing uses it".into()),
    })
}

/// Nothing but bare IDs is left, and its content came from a registry.
fn is_stranded(image: &Image) -> bool {
    image.is_nameless() && !image.origins.is_empty()
}

fn in_use(image: &Image, _: &Inventory, _: &Policy) -> Option<String> {
    let (first, others) = image.users.split_first()?;
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    Some(format!("{}{more}", describe(first)))
}

fn describe(user: &User) -> String {
    let id = user.id.get(..13.min(user.id.len())).unwrap_or(&user.id);
    let pod = user.pod.as_ref().map_or_else(String::new, |pod| format!(" ({pod})"));
    match user.kind {
        UserKind::Container => format!("container {id}{pod}"),
        UserKind::Sandbox => format!("sandbox {id}{pod}"),
        UserKind::Snapshot => format!("snapshot {id}{pod}"),
        UserKind::Unknown => format!("can't tell whether anything uses it: {}", user.id),
    }
}

fn sandbox_image(image: &Image, inventory: &Inventory, _: &Policy) -> Option<String> {
    let sandbox = &inventory.sandbox_image;
    if let Some(name) = sandbox.names.iter().find(|name| image.is_named_by(name)) {
        let source = sandbox.source.as_deref().unwrap_or("the runtime's configuration");
        return Some(format!("{name}, by {source}"));
    }
    let guessed = !inventory.sandbox_image_is_known() && image.looks_like_a_sandbox_image();
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

fn excluded(image: &Image, _: &Inventory, policy: &Policy) -> Option<String> {
    let spellings: Vec<String> = image.references.iter().flat_map(spellings).collect();
    let hit = policy.exclude.iter().find(|pattern| spellings.iter().any(|name| pattern.is_match(name)))?;
    Some(format!("matches --exclude {}", hit.as_str()))
}

/// A reference as the runtime prints it and as the kubelet would write it.
fn spellings(reference: &Reference) -> Vec<String> {
    let mut all = vec![reference.to_string()];
    if let Some(Named { registry, path, tag, .. }) = reference.named() {
        all.extend(tag.map(|tag| format!("{registry}/{path}:{tag}")));
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
    match named.iter().find(|r| !selected(r)) {
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
        let registry = reference.named().map(|named| named.registry);
        let of_registry = registry.is_some_and(|registry| self.registries.contains(&registry));
        of_registry || self.include.iter().any(|pattern| spellings(reference).iter().any(|name| pattern.is_match(name)))
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
        Some(age) => Some(format!("pulled {} ago, min age {min_age}", human_span(age))),
        None => Some(format!("its time lies in the future, min age {min_age}")),
    }
}

fn age(image: &Image, now: Timestamp) -> Option<Duration> {
    now.since(image.pulled_at?)
}

impl Keep {
    /// All reasons, in order.
    pub const ALL: [Self; 9] = [
        Self::InUse,
        Self::SandboxImage,
        Self::StaticPod,
        Self::Pinned,
        Self::Excluded,
        Self::NotSelected,
        Self::Unpullable,
        Self::AgeUnknown,
        Self::TooYoung,
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
        }
    }
}

impl Remove {
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
