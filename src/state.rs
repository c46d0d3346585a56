//! What is remembered between runs: when an image and each of its names was first seen, when it was last used, and which
//! removals are under way.
//!
//! Only ever a cache. Deleted or damaged it means "first seen now": never a crash, never a removal too early. Pure but for
//! [`load`] and [`State::save`].

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::inventory::{Image, Inventory, PulledAtSource};
use crate::plan::{Removal, removal_order};
use crate::reference::{ImageId, Reference};
use crate::units::Timestamp;

/// Version of the file.
const VERSION: u32 = 1;

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
    /// In the order in which they are taken away.
    references: Vec<Reference>,
    at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, images: BTreeMap::new(), removing: Vec::new() }
    }
}

/// Reads the state; a missing file is an empty one. A damaged one is an error, and the caller goes on with an empty one.
pub fn load(path: &Path) -> Result<State> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let state: State = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    if state.version != VERSION {
        bail!("{} has version {}, this program knows {VERSION}", path.display(), state.version);
    }
    Ok(state)
}

impl State {
    /// Replaces the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write_atomically(path, &serde_json::to_vec(self).context("write the state as JSON")?)
    }

    /// Adds what is remembered to the images of an inventory.
    pub fn recall(&self, images: &mut [Image], now: Timestamp) {
        for image in images {
            let begun = self.removing.iter().find(|begun| begun.id == image.id);
            image.removal_begun = begun.is_some_and(|begun| begun.was_cut_off(image));
            let Some(memory) = self.images.get(&image.id) else {
                continue;
            };
            let known: Vec<Timestamp> = image.references.iter().filter_map(|name| memory.references.get(name).copied()).collect();
            let is_new = |name: &&Reference| !name.is_bare_id() && !memory.references.contains_key(name);
            let named_now = image.references.iter().find(is_new).map(|_| now);
            let named_later = known.into_iter().filter(|&seen| seen > memory.first_seen).max();
            image.renamed_at = named_now.or(named_later.map(|seen| seen.min(now)));
            image.last_used_at = memory.last_used;
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
            let first_seen = old.map_or(now, |memory| memory.first_seen.min(now));
            let seen = |name: &Reference| match old {
                // A bare ID is made by containerd, not by a pull: it is no new name.
                Some(memory) if !name.is_bare_id() => memory.references.get(name).copied().unwrap_or(now).min(now),
                Some(_) | None => first_seen,
            };
            let last_used = if image.users.is_empty() { old.and_then(|memory| memory.last_used) } else { Some(now) };
            let references = image.references.iter().map(|name| (name.clone(), seen(name))).collect();
            (image.id.clone(), Memory { first_seen, last_used, references })
        };
        let still_cut_off = |begun: &&Begun| inventory.images.iter().any(|image| image.id == begun.id && image.removal_begun);
        Self {
            version: VERSION,
            images: inventory.images.iter().map(remember).collect(),
            removing: self.removing.iter().filter(still_cut_off).cloned().collect(),
        }
    }

    /// Notes removals that are about to begin.
    pub fn begin(&mut self, removals: &[Removal], at: Timestamp) {
        let begun = |removal: &Removal| Begun { id: removal.id.clone(), references: removal.references.clone(), at };
        let is_again = |old: &Begun| removals.iter().any(|removal| removal.id == old.id);
        // One that was cut off before keeps its whole list: only against that can it be seen that something is missing.
        let new: Vec<Begun> = removals.iter().filter(|r| !self.removing.iter().any(|old| old.id == r.id)).map(begun).collect();
        debug_assert!(new.len() + self.removing.iter().filter(|old| is_again(old)).count() == removals.len());
        self.removing.extend(new);
    }

    /// Forgets removals that were seen through.
    pub fn finish(&mut self, ids: &[ImageId]) {
        self.removing.retain(|begun| !ids.contains(&begun.id));
        self.images.retain(|id, _| !ids.contains(id));
    }
}

impl Begun {
    /// Is `image` what is left of this removal: its last references and no others, its content not pulled since?
    fn was_cut_off(&self, image: &Image) -> bool {
        let left = removal_order(&image.references);
        let pulled_since = image.pulled_at.is_some_and(|pulled| pulled > self.at);
        left.len() < self.references.len() && self.references.ends_with(&left) && !pulled_since
    }
}
