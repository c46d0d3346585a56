//! containerd's images and their users, as `ctr` lists them; what CRI knows besides is added where there is `crictl`.
//!
//! `ctr` is the truth: what only CRI lists is a ghost of an image that was removed beside it (containerd#14080).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

use super::crictl::{CriListed, Users};
use super::{Facts, join};
use crate::inventory::{Image, NameIndex, Origin, Part, PulledAtSource, Space, User, UserKind};
use crate::plan::removal_order;
use crate::reference::{Digest, ImageId, Reference};
use crate::runtime::containerd::{blob_file, pulled_at};
use crate::runtime::content::Content;
use crate::runtime::crictl::{CriImage, Crictl};
use crate::runtime::ctr::{Ctr, Record, Snapshot, both, by_name, by_pin, by_target};
use crate::units::printable;
use crate::uses::{Containers, Listed, Uses, list_containers, list_users};

/// All that `ctr` and `crictl` list, before it is put together.
pub struct Listing {
    version: String,
    cri: Option<CriListed>,
    content: Content,
    resolved: Resolved,
    users: Listed,
    sizes: Sizes,
    /// Blobs of other namespaces.
    elsewhere: Result<BTreeSet<Digest>>,
}

/// Room on disk that layers take, or why it can't be told; by snapshotter.
type Sizes = BTreeMap<String, Result<HashMap<String, Space>>>;

impl Listing {
    /// Asks for everything, and for what doesn't wait for another answer at the same time: half of the time it takes is the
    /// start of programs, and a node has more than one core.
    pub fn collect(ctr: &Ctr, crictl: Option<&Crictl>) -> Result<Self> {
        let (version, cri, containers, content, names, elsewhere) = thread::scope(|scope| {
            let elsewhere = scope.spawn(|| ctr.content_elsewhere());
            let cri = scope.spawn(|| crictl.map(CriListed::collect).transpose());
            let names = scope.spawn(|| ctr.names().context("list images"));
            let containers = scope.spawn(|| list_containers(ctr));
            let version = scope.spawn(|| ctr.server_version().context("ask the runtime for its version"));
            let content = ctr.content().context("list content");
            (join(version), join(cri), join(containers), content, join(names), join(elsewhere))
        });
        let (version, cri, containers, content, names) = (version?, cri?, containers?, content?, names?);
        let snapshotters = content.snapshotters();
        let known = cri.as_ref().map_or(&[][..], |cri| &cri.images);
        let (resolved, users) = thread::scope(|scope| {
            let users = scope.spawn(|| list_users_and_sizes(ctr, containers, &snapshotters));
            (resolve(ctr, &names, &content, known).context("list images"), join(users))
        });
        let (users, sizes) = users?;
        Ok(Self { version, cri, content, resolved: resolved?, users, sizes, elsewhere })
    }

    /// Images with their users. `root` is containerd's data folder.
    pub fn facts(self, root: &Path) -> Facts {
        let Self { version, cri, content, resolved, users, sizes, elsewhere } = self;
        let mut gaps: Vec<String> = resolved.gap().into_iter().collect();
        let mut images = group(&resolved, &content);
        let mut parts = Parts::new(root);
        for image in &mut images {
            parts.add_blobs(image, &content);
        }
        gaps.extend(parts.add_snapshots(&mut images, &users.snapshots, sizes));
        match elsewhere {
            Ok(elsewhere) => parts.keep(elsewhere.iter().chain(&content.rooted()).map(Digest::as_str)),
            Err(error) => gaps.push(format!("what other namespaces hold can't be told, so less may come free: {error:#}")),
        }
        let tops: BTreeSet<&str> = images.iter().flat_map(|image| &image.snapshots).map(String::as_str).collect();
        let uses = Uses::new(&users, &tops);
        for image in &mut images {
            image.users.extend(uses.of(&image.snapshots, &image.references));
        }
        gaps.extend(uses.gaps);
        if let Some(cri) = cri {
            gaps.extend(add_what_cri_knows(&mut images, &cri));
        }
        let snapshotters = content.snapshotters();
        Facts { version, images, parts: parts.all, snapshotters, sandbox_image: None, gaps }
    }
}

fn list_users_and_sizes(ctr: &Ctr, containers: Containers, snapshotters: &BTreeSet<String>) -> Result<(Listed, Sizes)> {
    let users = list_users(ctr, containers, snapshotters)?;
    let sizes = users.snapshots.iter().map(|(name, snapshots)| (name.clone(), layer_sizes(ctr, name, snapshots))).collect();
    Ok((users, sizes))
}

/// Users, pod names and pins that CRI tells; all of them only ever keep an image.
fn add_what_cri_knows(images: &mut [Image], cri: &CriListed) -> Option<String> {
    let index = NameIndex::new(images);
    let mut users = Users::default();
    users.add_containers(&cri.containers, &index);
    let pods: HashMap<&str, &String> = cri.pods().collect();
    for (position, image) in images.iter_mut().enumerate() {
        let own: BTreeSet<&str> = users.by_position.get(&position).into_iter().flatten().map(|user| user.id.as_str()).collect();
        image.users.retain(|user| user.kind != UserKind::Container || !own.contains(user.id.as_str()));
        image.users.extend(users.by_position.remove(&position).into_iter().flatten());
        for user in &mut image.users {
            user.pod = user.pod.take().or_else(|| pods.get(user.id.as_str()).map(ToString::to_string));
        }
    }
    for listed in cri.images.iter().filter(|listed| listed.pinned == Some(true)) {
        for position in index.find(listed.id.as_str()) {
            images[position].pinned.get_or_insert_with(|| "pinned, by CRI".into());
        }
    }
    let ghosts = cri.images.iter().filter(|listed| index.find(listed.id.as_str()).is_empty()).count();
    (ghosts > 0)
        .then(|| format!("{ghosts} images that CRI lists are not in containerd's store: they were removed beside it, or are coming"))
}

/// Where each reference leads.
struct Resolved {
    targets: BTreeMap<Reference, Digest>,
    pins: HashMap<Reference, &'static str>,
    /// Listed, but nothing tells where they lead.
    lost: Vec<Reference>,
    /// Where names lead that can't be read.
    unread: BTreeSet<Digest>,
}

impl Resolved {
    fn gap(&self) -> Option<String> {
        let first = self.lost.first()?;
        Some(format!("where {} names lead can't be told, {first} first; an image they lead to is spared", self.lost.len()))
    }
}

/// Finds where each name leads without opening every manifest: guess from the name, let containerd confirm all guesses in
/// one listing, and ask for the whole record only where there was no guess or it was wrong.
fn resolve(ctr: &Ctr, names: &BTreeSet<Reference>, content: &Content, known: &[CriImage]) -> Result<Resolved> {
    let guesses = guess_targets(names, content, known);
    // A filter a name is quick, though each is tried on every record: all of them together take the daemon 0.2 s for 4,500
    // names. One with a pattern a target takes twice that: containerd compiles the pattern anew for each record it reaches.
    let filters: Vec<String> = guesses.iter().map(|(name, target)| both(&by_name(name), &by_target(target))).collect();
    let confirmed = ctr.names_matching(&filters)?;
    let open: Vec<&Reference> = names.iter().filter(|name| !confirmed.contains(name)).collect();
    let asked: Vec<String> = open.iter().copied().map(by_name).chain(by_pin()).collect();
    let mut records = ctr.records_matching(&asked)?;
    let found: BTreeSet<&Reference> = records.iter().map(|record| &record.reference).chain(&confirmed).collect();
    let nowhere: BTreeSet<Reference> = names.iter().filter(|name| !found.contains(name)).cloned().collect();
    let mut unread = BTreeSet::new();
    if !nowhere.is_empty() {
        // A name with a newline in it is listed in pieces; the row of its last piece tells where it leads.
        let (pieces, whole) = part_pieces(ctr.records()?, names, &nowhere);
        unread = pieces;
        records = whole;
    }
    let mut targets: BTreeMap<Reference, Digest> = guesses.into_iter().filter(|(name, _)| confirmed.contains(name)).collect();
    targets.extend(records.iter().map(|record| (record.reference.clone(), record.target.clone())));
    let pins = records.into_iter().filter_map(|Record { reference, pinned, .. }| Some((reference, pinned?))).collect();
    let lost: Vec<Reference> = names.iter().filter(|name| !targets.contains_key(name)).cloned().collect();
    Ok(Resolved { targets, pins, lost, unread })
}

/// Where names lead that can't be read, and the rows of the others. A row is the end of such a name if what it is called by is
/// not listed, was listed but leads nowhere, or is the name of two.
fn part_pieces(records: Vec<Record>, names: &BTreeSet<Reference>, nowhere: &BTreeSet<Reference>) -> (BTreeSet<Digest>, Vec<Record>) {
    let mut rows: HashMap<Reference, usize> = HashMap::new();
    for record in &records {
        *rows.entry(record.reference.clone()).or_default() += 1;
    }
    let is_piece = |name: &Reference| !names.contains(name) || nowhere.contains(name) || rows[name] > 1;
    let (pieces, whole): (Vec<Record>, Vec<Record>) = records.into_iter().partition(|record| is_piece(&record.reference));
    (pieces.into_iter().map(|record| record.target).collect(), whole)
}

/// A digest reference says it; a bare ID names a config that one manifest leads to; a tag probably leads where CRI says, or
/// where the only digest of its repository does.
fn guess_targets(names: &BTreeSet<Reference>, content: &Content, known: &[CriImage]) -> BTreeMap<Reference, Digest> {
    let by_cri = tags_by_cri(known, content);
    let mut by_repository: HashMap<String, BTreeSet<Digest>> = HashMap::new();
    let parsed = || names.iter().filter(|name| name.is_well_formed()).filter_map(|name| Some((name, name.named()?)));
    for (_, named) in parsed() {
        by_repository.entry(named.repository()).or_default().extend(named.digest);
    }
    let mut guesses = BTreeMap::new();
    for (name, named) in parsed() {
        let guess = match &named.digest {
            Some(digest) => Some(digest.clone()),
            None => by_cri.get(name).cloned().or_else(|| {
                only(by_repository.get(&named.repository()).into_iter().flatten()).or_else(|| {
                    let origin = Origin { host: named.host().to_owned(), repository: named.path.clone() };
                    only(content.targets_from(&origin))
                })
            }),
        };
        guesses.extend(guess.map(|target| (name.clone(), target)));
    }
    for name in names {
        let target = name.bare_id().and_then(|config| only(content.above(&config).iter()));
        guesses.extend(target.map(|target| (name.clone(), target)));
    }
    guesses
}

/// Where tags lead by what CRI lists: to the digest that stands beside them, or to the only manifest of their image.
fn tags_by_cri(known: &[CriImage], content: &Content) -> HashMap<Reference, Digest> {
    let mut targets = HashMap::new();
    for image in known.iter().filter(|image| !image.tags.is_empty()) {
        let digests: BTreeSet<Digest> = image.digests.iter().filter_map(|name| name.named()?.digest).collect();
        let target = only(digests.iter()).or_else(|| only(content.above(&Digest::parse(image.id.as_str())?).iter()));
        targets.extend(image.tags.iter().filter_map(|tag| Some((tag.clone(), target.clone()?))));
    }
    targets
}

fn only<'a>(mut digests: impl Iterator<Item = &'a Digest>) -> Option<Digest> {
    match (digests.next(), digests.next()) {
        (Some(digest), None) => Some(digest.clone()),
        (Some(_) | None, _) => None,
    }
}

/// References by image ID, each image with all that the content graph tells of it.
fn group(resolved: &Resolved, content: &Content) -> Vec<Image> {
    let bare: BTreeSet<Digest> = resolved.targets.keys().filter_map(Reference::bare_id).collect();
    let mut groups: BTreeMap<Digest, Vec<(&Reference, &Digest)>> = BTreeMap::new();
    let mut known: HashMap<&Digest, BTreeSet<Digest>> = HashMap::new();
    for (name, target) in &resolved.targets {
        let configs = known.entry(target).or_insert_with(|| content.configs(target));
        // containerd's own choice among several platforms is the one it gave a bare name.
        let chosen = name.bare_id().or_else(|| configs.intersection(&bare).next().cloned());
        let config = chosen.or_else(|| configs.first().cloned()).unwrap_or_else(|| target.clone());
        groups.entry(config).or_default().push((name, target));
    }
    let build = |(config, members): (Digest, Vec<(&Reference, &Digest)>)| build_image(&config, &members, resolved, content);
    groups.into_iter().map(build).collect()
}

fn build_image(config: &Digest, members: &[(&Reference, &Digest)], resolved: &Resolved, content: &Content) -> Image {
    let names: Vec<Reference> = members.iter().map(|(name, _)| (*name).clone()).collect();
    let targets: BTreeSet<&Digest> = members.iter().map(|(_, target)| *target).collect();
    let mut digests = content.above(config);
    digests.extend(targets.iter().copied().cloned());
    let configs: BTreeSet<Digest> = targets.iter().flat_map(|target| content.configs(target)).collect();
    let snapshots: BTreeSet<String> =
        configs.iter().filter_map(|config| content.blob(config)).flat_map(|blob| &blob.snapshots).map(|(_, key)| key.clone()).collect();
    let mut origins: Vec<Origin> = targets.iter().filter_map(|target| content.blob(target)).flat_map(|blob| blob.origins.clone()).collect();
    origins.sort();
    origins.dedup();
    let mut image = Image {
        id: ImageId::of_config(config),
        pinned: names.iter().find_map(|name| resolved.pins.get(name)).map(ToString::to_string),
        references: removal_order(&names),
        digests: digests.into_iter().collect(),
        size_bytes: 0,
        parts: Vec::new(),
        snapshots: snapshots.into_iter().collect(),
        pulled_at: None,
        pulled_at_source: None,
        renamed_at: None,
        first_seen_at: None,
        last_used_at: None,
        origins,
        users: Vec::new(),
        removal_begun: false,
    };
    let unread = targets.iter().any(|target| resolved.unread.contains(target)).then(|| "a name that can't be read leads to it".to_owned());
    let hidden = unread.or_else(|| what_hides_its_use(&image, content));
    image.users.extend(hidden.map(|why| User { kind: UserKind::Unknown, id: why, pod: None }));
    image
}

/// Why it can't be told whether anything uses an image; such an image stays.
fn what_hides_its_use(image: &Image, content: &Content) -> Option<String> {
    if let Some(strange) = image.references.iter().find(|name| !name.is_well_formed()) {
        return Some(format!("a name of it holds characters that no reference may hold: {}", printable(strange.as_str())));
    }
    if let Some(missing) = image.digests.iter().find(|digest| content.blob(digest).is_none()) {
        return Some(format!("its manifest {missing} is missing"));
    }
    image.snapshots.is_empty().then(|| "it is not unpacked".to_owned())
}

/// Blobs and snapshots of all images, each once.
struct Parts<'a> {
    root: &'a Path,
    all: Vec<Part>,
    positions: HashMap<String, usize>,
}

impl<'a> Parts<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, all: Vec::new(), positions: HashMap::new() }
    }

    fn add(&mut self, key: &str, Space { bytes, inodes }: Space) -> usize {
        *self.positions.entry(key.to_owned()).or_insert_with(|| {
            self.all.push(Part { bytes, inodes, held_elsewhere: false });
            self.all.len() - 1
        })
    }

    /// Notes that something else holds these too.
    fn keep<'b>(&mut self, keys: impl Iterator<Item = &'b str>) {
        for position in keys.filter_map(|key| self.positions.get(key)) {
            self.all[*position].held_elsewhere = true;
        }
    }

    /// The blobs of an image: their sizes, and the time of its newest manifest.
    fn add_blobs(&mut self, image: &mut Image, content: &Content) {
        let blobs: BTreeSet<Digest> = image.digests.iter().flat_map(|digest| content.below(digest)).collect();
        for digest in &blobs {
            let file = fs::metadata(blob_file(self.root, digest)).ok();
            let printed = content.blob(digest).map_or(0, |blob| blob.printed_bytes);
            let bytes = file.as_ref().map_or(printed, fs::Metadata::len);
            image.size_bytes += bytes;
            let part = self.add(digest.as_str(), Space { bytes: file.map_or(printed, |file| on_disk(&file)), inodes: 1 });
            image.parts.push(part);
        }
        image.pulled_at = pulled_at(self.root, &image.digests);
        image.pulled_at_source = image.pulled_at.map(|_| PulledAtSource::Blob);
    }

    /// The snapshots of all images, layer by layer; without their sizes there is a gap, and a total that is too small.
    fn add_snapshots(&mut self, images: &mut [Image], listed: &BTreeMap<String, Vec<Snapshot>>, sizes: Sizes) -> Option<String> {
        let mut gap = None;
        for (snapshotter, sizes) in sizes {
            let snapshots = listed.get(&snapshotter).map_or(&[][..], Vec::as_slice);
            let chains = match sizes {
                Ok(sizes) => LayerSizes::new(snapshots, sizes),
                Err(error) => {
                    gap = Some(format!("measure snapshots: {error:#}"));
                    continue;
                }
            };
            for image in images.iter_mut() {
                let layers: BTreeSet<&str> = image.snapshots.iter().flat_map(|top| chains.below(top)).collect();
                let positions = layers.into_iter().map(|layer| self.add(&format!("{snapshotter}/{layer}"), chains.size(layer)));
                image.parts.extend(positions.collect::<Vec<_>>());
            }
            // What a container or a mount stands on stays with it, also when the image is gone.
            let standing = snapshots.iter().filter(|snapshot| !snapshot.is_committed).filter_map(|snapshot| snapshot.parent.as_deref());
            let held: BTreeSet<String> = standing.flat_map(|top| chains.below(top)).map(|layer| format!("{snapshotter}/{layer}")).collect();
            self.keep(held.iter().map(String::as_str));
        }
        gap
    }
}

fn on_disk(file: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.blocks() * 512
}

/// Room on disk that the layers of one snapshotter take.
fn layer_sizes(ctr: &Ctr, snapshotter: &str, snapshots: &[Snapshot]) -> Result<HashMap<String, Space>> {
    let committed = snapshots.iter().filter(|snapshot| snapshot.is_committed);
    ctr.snapshot_sizes(snapshotter, &committed.map(|snapshot| snapshot.key.clone()).collect::<Vec<_>>())
}

/// Committed snapshots of one snapshotter: what each lies on, and how large it is.
struct LayerSizes<'a> {
    parents: HashMap<&'a str, Option<&'a str>>,
    sizes: HashMap<String, Space>,
}

impl<'a> LayerSizes<'a> {
    fn new(snapshots: &'a [Snapshot], sizes: HashMap<String, Space>) -> Self {
        let committed = snapshots.iter().filter(|snapshot| snapshot.is_committed);
        Self { parents: committed.map(|snapshot| (snapshot.key.as_str(), snapshot.parent.as_deref())).collect(), sizes }
    }

    /// A layer and all that it lies on.
    fn below<'b>(&'b self, top: &'b str) -> impl Iterator<Item = &'b str> {
        let known = self.parents.contains_key(top).then_some(top);
        std::iter::successors(known, |key| self.parents.get(*key).copied().flatten())
    }

    fn size(&self, key: &str) -> Space {
        self.sizes.get(key).copied().unwrap_or_default()
    }
}
