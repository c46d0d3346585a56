//! What is remembered between runs: when an image and each of its names was first seen, when it was last used, which
//! removals are under way, and the last runs themselves.
//!
//! Only ever a cache. Deleted or damaged it means "first seen now": never a crash, never a removal too early. Pure but for
//! [`load`] and [`State::save`].

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::inventory::{Image, Inventory, PulledAtSource};
use crate::plan::{Removal, removal_order};
use crate::reference::{ImageId, Reference};
use crate::units::{Timestamp, mixed};

pub mod history;

use history::PastRun;

/// Version of the file.
const VERSION: u32 = 1;

const SECOND: Duration = Duration::from_secs(1);
/// A clock that moves by less than this was only corrected.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
/// Longest time from the last look before a boot to the boot that is believed: a week between two runs, and a day.
const LONGEST_GAP: Duration = Duration::from_hours(8 * 24);

/// Largest state that is read: a hundred times that of a node with a thousand images.
const CAP: u64 = 64 << 20;

/// What the file begins with: then comes the sum of all that stands behind it.
const SUM: &str = "{\"sum\":\"";

/// Where it is kept.
pub const PATH: &str = "/var/lib/nuke-images/state.json";

/// Everything remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// One entry an image of the last inventory.
    images: BTreeMap<ImageId, Memory>,
    /// Removals that were begun and not seen through.
    #[serde(default)]
    removing: Vec<Begun>,
    /// The boot in which this was written.
    #[serde(default)]
    boot: Option<Boot>,
    /// When the images were last looked at.
    #[serde(default)]
    written_at: Option<Timestamp>,
    /// The clock was set: times of files from before this are those of another clock.
    #[serde(default)]
    clock_set_at: Option<Timestamp>,
    /// The newest last.
    #[serde(default)]
    runs: Vec<PastRun>,
}

/// One boot of the machine, and when it began by the clock of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// `/proc/sys/kernel/random/boot_id`.
    pub id: String,
    /// Now less the time since then, which no setting of the clock changes.
    pub began_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    first_seen: Timestamp,
    #[serde(default)]
    last_used: Option<Timestamp>,
    references: BTreeMap<Reference, Timestamp>,
}

/// A removal as it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    id: ImageId,
    /// In the order in which we ask for them to be taken away.
    references: Vec<Reference>,
    /// They are taken away in this order.
    #[serde(default = "yes")]
    in_order: bool,
    at: Timestamp,
}

fn yes() -> bool {
    true
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            images: BTreeMap::new(),
            removing: Vec::new(),
            boot: None,
            written_at: None,
            clock_set_at: None,
            runs: Vec::new(),
        }
    }
}

/// Reads the state; a missing file is an empty one. A damaged one is an error, and the caller goes on with an empty one.
pub fn load(path: &Path) -> Result<State> {
    let text = match files::read_capped(path, CAP) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if !has_right_sum(&text) {
        bail!("{} is not what was written", path.display());
    }
    let state: State = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    if state.version != VERSION {
        bail!("{} has version {}, this program knows {VERSION}", path.display(), state.version);
    }
    Ok(state)
}

/// Is it what was written, as far as it says? Who has written it anew with other means left the sum elsewhere or out.
fn has_right_sum(text: &[u8]) -> bool {
    let Some((sum, rest)) = text.strip_prefix(SUM.as_bytes()).and_then(|rest| rest.split_at_checked(16)) else {
        return true;
    };
    rest.strip_prefix(b"\",").is_some_and(|rest| format!("{:016x}", mixed(rest)).as_bytes() == sum)
}

impl State {
    /// Replaces the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).context("write the state as JSON")?;
        // One digit of a year that is read wrong would make an image old.
        let summed = [format!("{SUM}{:016x}\",", mixed(&text[1..])).as_bytes(), &text[1..]].concat();
        files::write_atomically(path, &summed)
    }

    /// This memory by the clock of `now`, if that was set since.
    ///
    /// Within one boot every time is moved by as much as the beginning of the boot has moved, so that no span grows or shrinks.
    /// Across a boot a clock that was set can't be told from time that passed: after a gap that no ordinary boot makes,
    /// everything counts as first seen now.
    #[must_use]
    pub fn by_the_clock_of(mut self, now: Timestamp, boot: Option<&Boot>) -> Self {
        match (self.boot.as_ref(), boot) {
            (Some(then), Some(boot)) if then.id == boot.id => {
                let (then, began_at) = (then.began_at, boot.began_at);
                if then.unix().abs_diff(began_at.unix()) < CLOCK_TOLERANCE.as_secs() {
                    return self;
                }
                self.times().for_each(|time| *time = time.moved(then, began_at));
                self.removing.iter_mut().for_each(|begun| begun.at = begun.at.moved(then, began_at));
                self.runs.iter_mut().flat_map(PastRun::times).for_each(|time| *time = time.moved(then, began_at));
            }
            (Some(_) | None, Some(_) | None) => {
                let Some(written_at) = self.written_at else {
                    return self;
                };
                match boot.map_or(now, |boot| boot.began_at).since(written_at) {
                    Some(gap) if gap > LONGEST_GAP => self.times().for_each(|time| *time = now),
                    None if now < written_at => {}
                    Some(_) | None => return self,
                }
            }
        }
        self.clock_set_at = Some(now);
        self.written_at = Some(now);
        self.boot = boot.cloned();
        self
    }

    /// What is known once the memory was lost: nothing, so that no time from before may make an image old.
    pub fn lost(now: Timestamp) -> Self {
        Self { clock_set_at: Some(now), ..Self::default() }
    }

    /// When images and names were first seen and last used.
    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        self.images.values_mut().flat_map(Memory::times)
    }

    /// Adds what is remembered to the images of an inventory.
    pub fn recall(&self, images: &mut [Image], now: Timestamp) {
        for image in images {
            let begun = self.removing.iter().find(|begun| begun.id == image.id);
            image.removal_begun = begun.is_some_and(|begun| begun.was_cut_off(image));
            let first_seen = self.images.get(&image.id).map_or(now, |memory| memory.first_seen);
            if image.pulled_at < self.clock_set_at && image.pulled_at.is_some_and(|at| at < first_seen) {
                image.pulled_at = Some(first_seen);
                image.pulled_at_source = Some(PulledAtSource::FirstSeen);
            }
            let Some(memory) = self.images.get(&image.id) else {
                continue;
            };
            let known: Vec<Timestamp> = image.references.iter().filter_map(|name| memory.references.get(name).copied()).collect();
            let is_new = |name: &&Reference| !name.is_bare_id() && !memory.references.contains_key(name);
            let named_now = image.references.iter().find(is_new).map(|_| now);
            let named_later = known.into_iter().filter(|&seen| seen > memory.first_seen).max();
            image.renamed_at = named_now.or(named_later.map(|seen| seen.min(now)));
            image.last_used_at = memory.last_used;
            image.first_seen_at = Some(memory.first_seen);
            if image.pulled_at.is_none() && memory.first_seen <= now {
                image.pulled_at = Some(memory.first_seen);
                image.pulled_at_source = Some(PulledAtSource::FirstSeen);
            }
        }
    }

    /// What to remember after an inventory: its images, no others.
    #[must_use]
    pub fn updated(&self, inventory: &Inventory) -> Self {
        let now = inventory.taken_at;
        let remember = |image: &Image| {
            let old = self.images.get(&image.id);
            // A clock that jumped back must not make a later name as old as its image.
            let clipped = |memory: &Memory| if memory.is_named_later() { now.minus(SECOND) } else { now };
            let first_seen = old.map_or(now, |memory| if memory.first_seen > now { clipped(memory) } else { memory.first_seen });
            let seen = |name: &Reference| match old {
                // A bare ID is made by containerd, not by a pull: it is no new name.
                Some(memory) if !name.is_bare_id() => memory.references.get(name).copied().unwrap_or(now).min(now),
                Some(_) | None => first_seen,
            };
            let last_used = if image.users.is_empty() { old.and_then(|memory| memory.last_used.map(|at| at.min(now))) } else { Some(now) };
            let references = image.references.iter().map(|name| (name.clone(), seen(name))).collect();
            (image.id.clone(), Memory { first_seen, last_used, references })
        };
        // Somebody who needs an image decides anew: once it is unused again it is judged like any other.
        let is_left = |image: &Image| image.removal_begun && image.users.is_empty();
        let still_cut_off = |begun: &&Begun| inventory.images.iter().any(|image| image.id == begun.id && is_left(image));
        Self {
            version: VERSION,
            images: inventory.images.iter().map(remember).collect(),
            removing: self.removing.iter().filter(still_cut_off).cloned().collect(),
            boot: inventory.boot_id.clone().zip(inventory.booted_at).map(|(id, began_at)| Boot { id, began_at }),
            written_at: Some(now),
            clock_set_at: self.clock_set_at.map(|at| at.min(now)),
            runs: self.runs.clone(),
        }
    }

    /// Notes removals that are about to begin; `in_order` if their references go in the order that they are given in.
    pub fn begin(&mut self, removals: &[&Removal], in_order: bool, at: Timestamp) {
        let begun = |removal: &&Removal| Begun { id: removal.id.clone(), references: removal.references.clone(), in_order, at };
        // One that was cut off before keeps its whole list: only against that can it be seen that something is missing.
        let new: Vec<Begun> = removals.iter().filter(|r| !self.removing.iter().any(|old| old.id == r.id)).map(begun).collect();
        self.removing.extend(new);
    }

    /// The last runs, the newest last.
    pub fn runs(&self) -> &[PastRun] {
        &self.runs
    }

    /// Remembers that a run begins; what it removes is remembered with it.
    pub fn begin_run(&mut self, run: PastRun) {
        history::add(&mut self.runs, run);
    }

    /// The run that goes on.
    pub fn current_run(&mut self) -> Option<&mut PastRun> {
        self.runs.last_mut().filter(|run| run.finished_at.is_none())
    }

    /// Notes that this run removed an image.
    pub fn note_removal(&mut self, removal: &Removal) {
        if let Some(run) = self.current_run() {
            run.note(removal);
        }
    }

    /// Forgets a removal that was seen through.
    pub fn finish(&mut self, id: &ImageId) {
        self.spare(id);
        self.images.remove(id);
    }

    /// Forgets that a removal was begun, as its image is needed after all.
    pub fn spare(&mut self, id: &ImageId) {
        self.removing.retain(|begun| begun.id != *id);
    }
}

impl Memory {
    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        [&mut self.first_seen].into_iter().chain(&mut self.last_used).chain(self.references.values_mut())
    }

    fn is_named_later(&self) -> bool {
        self.references.values().any(|&seen| seen > self.first_seen)
    }
}

impl Begun {
    /// Is `image` what is left of this removal: fewer of its references and no others, its content not pulled since?
    fn was_cut_off(&self, image: &Image) -> bool {
        let left = removal_order(&image.references);
        let pulled_since = match image.pulled_at {
            Some(pulled) => pulled > self.at,
            // A pull gives a name with a digest; and where names go in our order, one that goes otherwise tells of somebody else.
            None => !self.in_order && left.iter().any(|name| name.as_str().contains('@')),
        };
        let is_rest = if self.in_order { self.references.ends_with(&left) } else { left.iter().all(|name| self.references.contains(name)) };
        left.len() < self.references.len() && is_rest && !pulled_since
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::inventory::UserKind;
    use crate::inventory::samples::{self, hash, image, inventory, used_image};
    use crate::plan::Plan;

    const APP: &str = "quay.io/a/app:1";

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix(samples::now().unix().checked_add_signed(minutes * 60).expect("a time"))
    }

    /// What a run at `now` makes of `images`: the inventory as it is judged, and what is remembered.
    fn look(state: &State, images: &[Image], now: Timestamp) -> (Inventory, State) {
        let mut images = images.to_vec();
        state.recall(&mut images, now);
        let inventory = Inventory { taken_at: now, ..inventory(images) };
        let updated = state.updated(&inventory);
        (inventory, updated)
    }

    /// Runs at these minutes over the same images; the last inventory.
    fn looks(images: &[Image], minutes: &[i64]) -> Inventory {
        let first = (inventory(Vec::new()), State::default());
        minutes.iter().fold(first, |(_, state), &minute| look(&state, images, at(minute))).0
    }

    fn of_unknown_age(name: &str) -> Image {
        Image { pulled_at: None, pulled_at_source: None, ..image(name) }
    }

    fn and_named(image: &Image, name: &str) -> Image {
        let mut named = image.clone();
        named.references.push(Reference::new(name));
        named
    }

    /// The reason that the first image of `inventory` is given.
    fn reason(inventory: &Inventory) -> &'static str {
        match &Plan::new(inventory, &samples::policy()).verdicts[0] {
            crate::policy::Verdict::Keep(keep, _) => keep.key(),
            crate::policy::Verdict::Remove(remove, _) => remove.key(),
        }
    }

    #[test]
    fn an_unknown_age_is_known_only_from_the_next_run_on() {
        for (minutes, pulled_at, expected) in
            [(&[0][..], None, "age_unknown"), (&[0, 59], Some(at(0)), "too_young"), (&[0, 30, 60], Some(at(0)), "unused")]
        {
            let node = looks(&[of_unknown_age(APP)], minutes);
            assert_eq!((node.images[0].pulled_at, reason(&node)), (pulled_at, expected), "{minutes:?}");
            assert_eq!(node.images[0].pulled_at_source, pulled_at.map(|_| PulledAtSource::FirstSeen));
        }
    }

    #[test]
    fn the_time_of_a_blob_is_better_than_when_it_was_first_seen() {
        let node = looks(&[image(APP)], &[0, 90]);
        assert_eq!((node.images[0].pulled_at, node.images[0].pulled_at_source), (image(APP).pulled_at, Some(PulledAtSource::Blob)));
    }

    #[test]
    fn an_image_that_was_away_is_first_seen_anew() {
        let (_, state) = look(&State::default(), &[of_unknown_age(APP)], at(0));
        let (_, state) = look(&state, &[], at(60));
        let (node, _) = look(&state, &[of_unknown_age(APP)], at(120));
        assert_eq!(reason(&node), "age_unknown");
    }

    #[test]
    fn a_new_name_on_a_known_image_starts_the_age_anew() {
        let renamed = [and_named(&image(APP), "quay.io/a/app:2")];
        let (_, state) = look(&State::default(), &[image(APP)], at(0));
        let (node, state) = look(&state, &renamed, at(100));
        assert_eq!((node.images[0].renamed_at, reason(&node)), (Some(at(100)), "too_young"));
        for (minute, expected) in [(159, "too_young"), (160, "unused")] {
            let node = look(&state, &renamed, at(minute)).0;
            assert_eq!((node.images[0].renamed_at, reason(&node)), (Some(at(100)), expected), "minute {minute}");
        }
    }

    #[test]
    fn a_name_that_was_away_is_a_new_one() {
        let renamed = and_named(&image(APP), "quay.io/a/app:2");
        let (_, state) = look(&State::default(), std::slice::from_ref(&renamed), at(0));
        let (_, state) = look(&state, &[image(APP)], at(60));
        let (node, _) = look(&state, &[renamed], at(120));
        assert_eq!(node.images[0].renamed_at, Some(at(120)));
    }

    #[test]
    fn the_names_an_image_is_first_seen_with_are_not_new() {
        assert_eq!(looks(&[image(APP)], &[0]).images[0].renamed_at, None);
        assert_eq!(looks(&[image(APP)], &[0, 5]).images[0].renamed_at, None);
    }

    #[test]
    fn a_bare_id_is_no_new_name() {
        let mut without = image(APP);
        without.references.retain(|name| !name.is_bare_id());
        let (_, state) = look(&State::default(), &[without], at(0));
        let (node, state) = look(&state, &[image(APP)], at(30));
        assert_eq!(node.images[0].renamed_at, None);
        assert_eq!(look(&state, &[image(APP)], at(60)).0.images[0].renamed_at, None);
    }

    #[test]
    fn remembers_when_an_image_was_last_in_use() {
        let (_, state) = look(&State::default(), &[used_image(APP)], at(0));
        let (_, state) = look(&state, &[used_image(APP)], at(10));
        let (node, state) = look(&state, &[image(APP)], at(20));
        assert_eq!(node.images[0].last_used_at, Some(at(10)));
        assert_eq!(look(&state, &[image(APP)], at(30)).0.images[0].last_used_at, Some(at(10)));
        assert_eq!(looks(&[image(APP)], &[0, 10]).images[0].last_used_at, None);
    }

    #[test]
    fn after_the_clock_jumped_back_an_unknown_age_starts_anew() {
        for (minutes, pulled_at) in [(&[0, -600][..], None), (&[0, -600, -599], Some(at(-600))), (&[0, -600, 10], Some(at(-600)))] {
            assert_eq!(looks(&[of_unknown_age(APP)], minutes).images[0].pulled_at, pulled_at, "{minutes:?}");
        }
    }

    #[test]
    fn after_the_clock_jumped_back_a_new_name_counts_from_then() {
        let renamed = [and_named(&image(APP), "quay.io/a/app:2")];
        let (_, state) = look(&State::default(), &[image(APP)], at(0));
        let (_, state) = look(&state, &renamed, at(100));
        let (node, state) = look(&state, &renamed, at(50));
        assert_eq!(node.images[0].renamed_at, Some(at(50)));
        assert_eq!(look(&state, &renamed, at(55)).0.images[0].renamed_at, Some(at(50)));
    }

    #[test]
    fn a_new_name_is_not_forgotten_when_the_clock_jumped_back_behind_the_first_sight_of_its_image() {
        let renamed = [and_named(&image(APP), "quay.io/a/app:2")];
        let (_, state) = look(&State::default(), &[image(APP)], at(0));
        let (_, state) = look(&state, &renamed, at(100));
        let (_, state) = look(&state, &renamed, at(-50));
        assert_eq!(look(&state, &renamed, at(-45)).0.images[0].renamed_at, Some(at(-50)));
    }

    /// An image with two tags, and the state in which its removal was begun at minute 0.
    fn begun() -> (Image, State) {
        begun_by(true)
    }

    fn begun_by(in_order: bool) -> (Image, State) {
        let image = and_named(&image(APP), "quay.io/a/app:2");
        let node = inventory(vec![image.clone()]);
        let mut state = State::default().updated(&node);
        state.begin(&Plan::new(&node, &samples::policy()).removals.iter().collect::<Vec<_>>(), in_order, at(0));
        (image, state)
    }

    fn is_finished(state: &State, image: &Image) -> bool {
        look(state, std::slice::from_ref(image), at(5)).0.images[0].removal_begun
    }

    #[test]
    fn a_cut_off_removal_is_known_by_exactly_what_the_order_of_its_removal_leaves() {
        for in_order in [true, false] {
            let (image, state) = begun_by(in_order);
            let order = removal_order(&image.references);
            // An image without any reference is in no listing of ctr's.
            for chosen in 1_usize..1 << order.len() {
                let references: Vec<Reference> =
                    order.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, name)| name.clone()).collect();
                let is_proper_suffix = (1..order.len()).any(|from| references == order[from..]);
                let is_rest = if in_order { is_proper_suffix } else { references.len() < order.len() };
                assert_eq!(is_finished(&state, &Image { references: references.clone(), ..image.clone() }), is_rest, "{references:?}");
            }
        }
    }

    #[test]
    fn an_image_that_has_lost_every_name_to_a_removal_through_cri_is_finished() {
        let (image, state) = begun_by(false);
        for pulled_at in [image.pulled_at, None] {
            assert!(is_finished(&state, &Image { references: Vec::new(), pulled_at, ..image.clone() }));
        }
    }

    #[test]
    fn the_order_in_which_the_rest_is_listed_does_not_matter() {
        let (image, state) = begun();
        let references = removal_order(&image.references)[1..].iter().rev().cloned().collect();
        assert!(is_finished(&state, &Image { references, ..image }));
    }

    #[test]
    fn another_name_beside_the_rest_voids_a_cut_off_removal() {
        let (image, state) = begun();
        for name in ["quay.io/a/app:0", "quay.io/a/app:3", hash("other").as_str()] {
            let mut references = removal_order(&image.references)[2..].to_vec();
            references.push(Reference::new(name));
            assert!(!is_finished(&state, &Image { references, ..image.clone() }), "{name}");
        }
    }

    #[test]
    fn another_image_with_the_same_names_was_not_cut_off() {
        let (image, state) = begun();
        let references = removal_order(&image.references)[2..].to_vec();
        let other = Image { id: ImageId::of_config(&hash("other")), references, ..image };
        assert!(!is_finished(&state, &other));
    }

    #[test]
    fn content_that_was_pulled_again_voids_a_cut_off_removal() {
        for in_order in [true, false] {
            let (image, state) = begun_by(in_order);
            let order = removal_order(&image.references);
            let (with_digest, tags) = (&order[1..], &order[2..]);
            for (references, pulled_at, finished) in [
                (tags, Some(at(-1)), true),
                (tags, Some(at(0)), true),
                (tags, Some(at(1)), false),
                (tags, None, true),
                (with_digest, None, in_order),
            ] {
                let rest = Image { references: references.to_vec(), pulled_at, ..image.clone() };
                assert_eq!(is_finished(&state, &rest), finished, "{references:?} {pulled_at:?} {in_order}");
            }
        }
    }

    #[test]
    fn a_removal_that_was_cut_off_twice_is_still_known() {
        let (image, state) = begun();
        let rest = |from| Image { references: removal_order(&image.references)[from..].to_vec(), ..image.clone() };
        let (node, mut state) = look(&state, &[rest(1)], at(5));
        state.begin(&Plan::new(&node, &samples::policy()).removals.iter().collect::<Vec<_>>(), true, at(5));
        assert!(is_finished(&state, &rest(1)));
        assert!(is_finished(&state, &rest(3)));
    }

    #[test]
    fn a_removal_is_forgotten_once_it_was_seen_through_or_its_image_is_whole() {
        let (image, state) = begun();
        let rest = Image { references: removal_order(&image.references)[2..].to_vec(), ..image.clone() };
        let mut finished = state.clone();
        finished.finish(&image.id);
        assert!(!is_finished(&finished, &rest));
        for images in [vec![image.clone()], Vec::new()] {
            let (_, later) = look(&state, &images, at(5));
            assert!(!is_finished(&later, &rest));
        }
        let (_, later) = look(&state, std::slice::from_ref(&rest), at(5));
        assert!(is_finished(&later, &rest), "an observing run in between doesn't forget it");
    }

    fn boot(began: i64) -> Boot {
        Boot { id: "b".into(), began_at: at(began) }
    }

    /// The image as it is judged at `now`, after a look at minute 0 and a clock that was set since: the machine booted 60
    /// minutes before the look, which is `began` by the new clock.
    fn after_the_clock_was_set(image: &Image, began: i64, now: i64) -> Image {
        let node = Inventory { taken_at: at(0), boot_id: Some("b".into()), booted_at: Some(at(-60)), ..inventory(vec![image.clone()]) };
        let state = State::default().updated(&node).by_the_clock_of(at(now), Some(&boot(began)));
        look(&state, std::slice::from_ref(image), at(now)).0.images.remove(0)
    }

    #[test]
    fn a_clock_that_is_set_by_years_makes_no_image_old() {
        let year = 60 * 24 * 365;
        for (jump, pulled_at) in [(5 * year, Some(at(-1))), (5 * year, None), (-5 * year, None)] {
            let seen = Image { pulled_at, pulled_at_source: None, ..image(APP) };
            let image = after_the_clock_was_set(&seen, jump - 60, jump + 10);
            assert_eq!((image.pulled_at, image.first_seen_at), (Some(at(jump)), Some(at(jump))), "{jump}");
            let node = Inventory { taken_at: at(jump + 10), ..inventory(vec![image]) };
            assert_eq!(reason(&node), "too_young");
            let patient = samples::policy();
            let asked = crate::policy::Policy { unused_for: Duration::from_hours(24), min_age: Duration::ZERO, ..patient };
            assert!(matches!(Plan::new(&node, &asked).verdicts[0], crate::policy::Verdict::Keep(crate::policy::Keep::RecentlyUsed, _)));
        }
    }

    #[test]
    fn an_image_that_came_before_the_clock_was_set_and_was_not_seen_counts_from_now() {
        let year = 60 * 24 * 365;
        let node = Inventory { taken_at: at(0), boot_id: Some("b".into()), booted_at: Some(at(-60)), ..inventory(Vec::new()) };
        let state = State::default().updated(&node).by_the_clock_of(at(year), Some(&boot(year - 60)));
        let unseen = Image { pulled_at: Some(at(5)), ..image(APP) };
        let (node, state) = look(&state, std::slice::from_ref(&unseen), at(year));
        assert_eq!((node.images[0].pulled_at, node.images[0].pulled_at_source), (Some(at(year)), Some(PulledAtSource::FirstSeen)));
        let later = look(&state, &[unseen, Image { pulled_at: Some(at(year + 7)), ..image("quay.io/a/new:1") }], at(year + 70)).0;
        assert_eq!(later.images.iter().map(|image| image.pulled_at).collect::<Vec<_>>(), [Some(at(year)), Some(at(year + 7))]);
    }

    #[test]
    fn a_clock_that_is_only_corrected_and_another_boot_move_nothing() {
        let unmoved = |image: &Image| (image.pulled_at, image.first_seen_at);
        assert_eq!(unmoved(&after_the_clock_was_set(&image(APP), -57, 30)), (image(APP).pulled_at, Some(at(0))));
        let node = Inventory { taken_at: at(0), boot_id: Some("a".into()), booted_at: Some(at(-60)), ..inventory(vec![image(APP)]) };
        let state = State::default().updated(&node);
        assert_eq!(state.clone().by_the_clock_of(at(9_000), Some(&boot(8_000))), state);
        assert_eq!(state.clone().by_the_clock_of(at(9_000), None), state);
    }

    #[test]
    fn a_clock_that_is_set_is_followed_once_also_where_the_run_came_to_no_inventory() {
        let node = Inventory { taken_at: at(0), boot_id: Some("b".into()), booted_at: Some(at(-60)), ..inventory(vec![image(APP)]) };
        let state = State::default().updated(&node).by_the_clock_of(at(100_010), Some(&boot(99_940)));
        assert_eq!(state.clone().by_the_clock_of(at(100_020), Some(&boot(99_940))), state);
    }

    #[test]
    fn after_a_gap_that_no_boot_makes_everything_counts_as_first_seen_now() {
        let day = 24 * 60;
        for (gap, is_believed) in [(1, true), (8 * day, true), (8 * day + 1, false), (3_650 * day, false)] {
            let node = Inventory { taken_at: at(0), boot_id: Some("a".into()), booted_at: Some(at(-60)), ..inventory(vec![image(APP)]) };
            let state = State::default().updated(&node).by_the_clock_of(at(gap + 40), Some(&boot(gap)));
            let seen = look(&state, &[image(APP)], at(gap + 40)).0.images.remove(0);
            let now = at(gap + 40);
            let expected = if is_believed { (image(APP).pulled_at, Some(at(0))) } else { (Some(now), Some(now)) };
            assert_eq!((seen.pulled_at, seen.first_seen_at), expected, "{gap}");
        }
    }

    /// What happens to a node between two looks at it.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// So many minutes pass.
        Pass(u64),
        /// The clock is set by so many years.
        Set(i64),
        /// The machine starts anew, its clock off by so many years.
        Boot(i64),
        /// A container runs and ends.
        Use,
    }

    fn events() -> impl Strategy<Value = Vec<(Event, bool)>> {
        let years = || prop_oneof![-9..=-1_i64, 1..=9_i64];
        let event = prop_oneof![
            4 => (1..2_000_u64).prop_map(Event::Pass),
            2 => years().prop_map(Event::Set),
            1 => years().prop_map(Event::Boot),
            1 => Just(Event::Boot(0)),
            1 => Just(Event::Use),
        ];
        prop::collection::vec((event, any::<bool>()), 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn whatever_the_clock_does_no_image_goes_that_was_not_seen_unused_for_so_long(events in events(), has_blob in any::<bool>()) {
            const YEAR: i64 = 365 * 24 * 60;
            // What really passed, and by how much the clock is off; minutes.
            let (mut real, mut off, mut booted, mut boots, mut used) = (0_i64, 0_i64, 0_i64, 0_u32, 0_i64);
            let asked = crate::policy::Policy { unused_for: Duration::from_hours(24), ..samples::policy() };
            let mut state = State::default();
            let pulled_at = has_blob.then(|| at(0));
            for (event, is_looked_at) in [(Event::Pass(1), true)].into_iter().chain(events) {
                let mut users = Vec::new();
                match event {
                    Event::Pass(minutes) => real += i64::try_from(minutes).expect("few"),
                    Event::Set(years) => off = (off + years * YEAR).clamp(-40 * YEAR, 400 * YEAR),
                    Event::Boot(years) => {
                        off = (off + years * YEAR).clamp(-40 * YEAR, 400 * YEAR);
                        (booted, boots) = (real, boots + 1);
                    }
                    Event::Use => users.push(samples::user(UserKind::Container)),
                }
                if !is_looked_at && users.is_empty() {
                    continue;
                }
                if !users.is_empty() {
                    used = real;
                }
                let now = at(real + off);
                let boot = Boot { id: boots.to_string(), began_at: at(booted + off) };
                state = state.by_the_clock_of(now, Some(&boot));
                let mut images = [Image { pulled_at, users, ..image(APP) }];
                state.recall(&mut images, now);
                let node = Inventory { taken_at: now, boot_id: Some(boot.id), booted_at: Some(boot.began_at), ..inventory(images.to_vec()) };
                let goes = matches!(Plan::new(&node, &asked).verdicts[0], crate::policy::Verdict::Remove(..));
                prop_assert!(!goes || real - used >= 24 * 60, "after {} minutes", real - used);
                state = state.updated(&node);
            }
        }
    }

    #[test]
    fn a_cut_off_removal_is_forgotten_once_its_image_has_come_into_use() {
        let (image, state) = begun();
        let rest = Image { references: removal_order(&image.references)[2..].to_vec(), ..image };
        for kind in [UserKind::Container, UserKind::Sandbox, UserKind::Snapshot, UserKind::ImageVolume, UserKind::Unknown] {
            let (_, later) = look(&state, &[Image { users: vec![samples::user(kind)], ..rest.clone() }], at(5));
            assert!(!is_finished(&later, &rest), "{kind:?}");
        }
    }

    #[test]
    fn after_a_lost_memory_everything_counts_as_first_seen_now() {
        let mut images = [image(APP)];
        State::lost(at(0)).recall(&mut images, at(0));
        assert_eq!((images[0].pulled_at, images[0].pulled_at_source), (Some(at(0)), Some(PulledAtSource::FirstSeen)));
        assert_eq!(reason(&inventory(images.to_vec())), "too_young");
    }

    #[test]
    fn a_missing_file_is_an_empty_memory() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(load(&folder.path().join("state.json")).expect("load"), State::default());
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        let (_, mut state) = begun();
        state =
            state.updated(&Inventory { taken_at: at(3), ..inventory(vec![used_image("quay.io/a/b:1"), of_unknown_age("quay.io/a/c:1")]) });
        state.save(&path).expect("save");
        assert_eq!(load(&path).expect("load"), state);
        let (_, state) = begun();
        state.save(&path).expect("save");
        assert_eq!(load(&path).expect("load"), state);
    }

    proptest! {
        #[test]
        fn a_file_of_which_a_byte_has_changed_is_an_error_or_says_the_same(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("state.json");
            let (_, state) = begun();
            state.save(&path).expect("save");
            let mut bytes = std::fs::read(&path).expect("read");
            *at.get_mut(&mut bytes) = to;
            std::fs::write(&path, bytes).expect("write");
            prop_assert!(load(&path).is_ok_and(|read| read == state) || load(&path).is_err());
        }
    }

    #[test]
    fn a_year_that_is_read_wrong_makes_no_image_old() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        let (_, state) = begun();
        state.save(&path).expect("save");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains("\"2026-"), "{text}");
        std::fs::write(&path, text.replace("\"2026-", "\"2016-")).expect("write");
        let error = load(&path).expect_err("a change").to_string();
        assert!(error.ends_with("state.json is not what was written"), "{error}");
    }

    #[test]
    fn a_damaged_or_a_newer_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        let (_, state) = begun();
        let whole = serde_json::to_string(&state).expect("serialise");
        for (text, what) in [
            ("", "EOF"),
            (&whole[..whole.len() / 2], "EOF"),
            ("{}", "missing field"),
            ("[]", "invalid"),
            ("\0\0\0\0", "expected value"),
            (&whole.replace("\"version\":1", "\"version\":2"), "version 2, this program knows 1"),
            (&whole.replace("\"first_seen\":\"2026", "\"first_seen\":\"soon"), "bad character"),
        ] {
            std::fs::write(&path, text).expect("write");
            let error = format!("{:#}", load(&path).expect_err(text));
            assert!(error.contains("state.json") && error.contains(what), "{text:?} gives {error:?}");
        }
        std::fs::remove_file(&path).expect("remove");
        std::fs::create_dir(&path).expect("folder");
        assert!(load(&path).is_err());
    }

    #[test]
    fn a_memory_without_what_later_versions_of_it_hold_is_read() {
        let text = format!(r#"{{"version":1,"images":{{"{}":{{"first_seen":"2026-11-18T10:06:40Z","references":{{}}}}}}}}"#, hash(APP));
        let state: State = serde_json::from_str(&text).expect("parse");
        let (node, _) = look(&state, &[of_unknown_age(APP)], at(0));
        assert_eq!(node.images[0].pulled_at, Some(at(0).minus(Duration::from_hours(1))));
    }
}
