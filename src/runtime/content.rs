//! containerd's content graph, from the labels that `ctr content ls` prints: index → manifest → config → snapshots.
//!
//! It is the way from a reference to the containers made from it that a moved tag can't fool. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::inventory::Origin;
use crate::reference::Digest;
use crate::units::printable;

const CHILD: &str = "containerd.io/gc.ref.content";
const SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
/// A blob with this label is never collected (containerd `docs/garbage-collection.md`).
const ROOT: &str = "containerd.io/gc.root";
const ORIGIN: &str = "containerd.io/distribution.source.";

/// Every blob of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    blobs: BTreeMap<Digest, Blob>,
    parents: BTreeMap<Digest, Vec<Digest>>,
}

/// One blob and what its labels tie it to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob {
    /// Size as printed: four digits are exact.
    pub printed_bytes: u64,
    /// Blobs it refers to; those of other platforms need not be here.
    pub children: Vec<Digest>,
    /// The child that is an image config, for a manifest.
    pub config: Option<Digest>,
    /// Snapshotter and key of what the config was unpacked to.
    pub snapshots: Vec<(String, String)>,
    /// Registries it came from.
    pub origins: Vec<Origin>,
    /// Is it marked to stay whatever refers to it?
    pub is_root: bool,
}

impl Content {
    /// Reads `DIGEST SIZE AGE LABELS`, separated by tabs; a row that can't be read is an error, as a use may hang on it.
    pub fn parse(text: &str) -> Result<Self> {
        if !text.ends_with('\n') {
            bail!("the output ends in the middle of a line: {}", printable(text.lines().last().unwrap_or_default()));
        }
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if !header.split_whitespace().eq(["DIGEST", "SIZE", "AGE", "LABELS"]) {
            bail!("expected the columns DIGEST SIZE AGE LABELS, found: {}", printable(header));
        }
        let mut content = Self::default();
        for line in lines {
            let (digest, blob) = parse_row(line).with_context(|| format!("read the row {}", printable(line)))?;
            for child in &blob.children {
                content.parents.entry(child.clone()).or_default().push(digest.clone());
            }
            if content.blobs.insert(digest, blob).is_some() {
                bail!("a blob is listed twice: {}", printable(line));
            }
        }
        Ok(content)
    }

    /// The blob, if it is here.
    pub fn blob(&self, digest: &Digest) -> Option<&Blob> {
        self.blobs.get(digest)
    }

    /// All blobs below and including `target` that are here.
    pub fn below(&self, target: &Digest) -> BTreeSet<Digest> {
        let children = |digest: &Digest| self.blob(digest).map_or_else(Vec::new, |blob| blob.children.clone());
        self.closure(target, children)
    }

    /// All blobs that stay although no image leads to them.
    pub fn rooted(&self) -> BTreeSet<Digest> {
        self.blobs.iter().filter(|(_, blob)| blob.is_root).flat_map(|(digest, _)| self.below(digest)).collect()
    }

    /// All manifests and indexes that lead to `config`.
    pub fn above(&self, config: &Digest) -> BTreeSet<Digest> {
        let parents = |digest: &Digest| self.parents.get(digest).cloned().unwrap_or_default();
        let mut all = self.closure(config, parents);
        all.remove(config);
        all
    }

    fn closure(&self, start: &Digest, next: impl Fn(&Digest) -> Vec<Digest>) -> BTreeSet<Digest> {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(digest) = queue.pop() {
            if self.blobs.contains_key(&digest) && seen.insert(digest.clone()) {
                queue.extend(next(&digest));
            }
        }
        seen
    }

    /// The image configs that `target` leads to: those unpacked here, or else all.
    ///
    /// An index leads to one a platform, and only this node's is unpacked. Labels of containerd before 1.4 don't say which
    /// child is the config, but an unpacked one carries its snapshot.
    pub fn configs(&self, target: &Digest) -> BTreeSet<Digest> {
        let below = self.below(target);
        let blobs = || below.iter().filter_map(|digest| self.blobs.get_key_value(digest));
        let unpacked: BTreeSet<Digest> = blobs().filter(|(_, blob)| !blob.snapshots.is_empty()).map(|(digest, _)| digest.clone()).collect();
        if unpacked.is_empty() { blobs().filter_map(|(_, blob)| blob.config.clone()).collect() } else { unpacked }
    }

    /// Every snapshotter that something here was unpacked with.
    pub fn snapshotters(&self) -> BTreeSet<String> {
        self.blobs.values().flat_map(|blob| &blob.snapshots).map(|(snapshotter, _)| snapshotter.clone()).collect()
    }

    /// Manifests and indexes that came from this repository.
    pub fn targets_from(&self, origin: &Origin) -> impl Iterator<Item = &Digest> {
        let wanted = move |blob: &Blob| !blob.children.is_empty() && blob.origins.contains(origin);
        self.blobs.iter().filter(move |(_, blob)| wanted(blob)).map(|(digest, _)| digest)
    }
}

fn parse_row(line: &str) -> Option<(Digest, Blob)> {
    let mut fields = line.split('\t').filter(|field| !field.is_empty());
    let digest = Digest::parse(fields.next()?.trim())?;
    let printed_bytes = parse_size(fields.next()?)?;
    let _age_for_people = fields.next()?;
    let labels = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    let mut blob = Blob { printed_bytes, ..Blob::default() };
    for (key, value) in split_labels(labels) {
        blob.take_label(key, &value)?;
    }
    Some((digest, blob))
}

/// `k=v,k=v`, where a value may hold commas of its own: a piece without `=` continues the value before it.
fn split_labels(text: &str) -> Vec<(&str, String)> {
    let mut labels: Vec<(&str, String)> = Vec::new();
    for piece in text.split(',').filter(|_| text != "-") {
        match (piece.split_once('='), labels.last_mut()) {
            (Some((key, value)), _) => labels.push((key, value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (None, None) => {}
        }
    }
    labels
}

impl Blob {
    fn take_label(&mut self, key: &str, value: &str) -> Option<()> {
        if let Some(position) = key.strip_prefix(CHILD) {
            let child = Digest::parse(value)?;
            self.config = (position == ".config").then(|| child.clone()).or_else(|| self.config.take());
            self.children.push(child);
        } else if let Some(snapshotter) = key.strip_prefix(SNAPSHOT) {
            // A deeper key (`…snapshot.overlayfs/x`) is another way of writing the same tie.
            let snapshotter = snapshotter.split('/').next().unwrap_or(snapshotter);
            self.snapshots.push((snapshotter.to_owned(), value.to_owned()));
        } else if key == ROOT {
            self.is_root = true;
        } else if let Some(host) = key.strip_prefix(ORIGIN) {
            let origin = |repository: &str| Origin { host: host.to_owned(), repository: repository.to_owned() };
            self.origins.extend(value.split(',').map(origin));
        }
        Some(())
    }
}

/// `731B`, `100.3kB`, `1.2GB`: go-units' decimal sizes with four digits.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "PB" => 1e15,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is positive and far below 2^63")]
    let whole = bytes.round() as u64;
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> Digest {
        Digest::parse(&format!("sha256:{}", String::from(c).repeat(64))).expect("digest")
    }

    fn parse(rows: &[String]) -> Result<Content> {
        let mut text = "DIGEST\t\tSIZE\tAGE\t\tLABELS\n".to_owned();
        for row in rows {
            text.push_str(row);
            text.push('\n');
        }
        Content::parse(&text)
    }

    fn row(c: char, labels: &str) -> String {
        format!("{}\t731B\t3 seconds\t{labels}", digest(c))
    }

    #[test]
    fn reads_the_recorded_content_of_each_version() {
        for text in [
            include_str!("../../tests/fixtures/1.6/ctr-content-ls.out"),
            include_str!("../../tests/fixtures/1.7/ctr-content-ls.out"),
            include_str!("../../tests/fixtures/2.1/ctr-content-ls.out"),
        ] {
            let content = Content::parse(text).expect("parse");
            assert_eq!(content.blobs.len(), text.lines().count() - 1);
            assert_eq!(content.snapshotters().into_iter().collect::<Vec<_>>(), ["overlayfs"]);
            let origins: BTreeSet<_> = content.blobs.values().flat_map(|blob| &blob.origins).map(|o| o.host.as_str()).collect();
            assert_eq!(origins.into_iter().collect::<Vec<_>>(), ["127.0.0.1"]);
        }
    }

    #[test]
    fn follows_an_index_to_the_config_that_is_unpacked() {
        let rows = [
            row('a', &format!("containerd.io/gc.ref.content.m.0={},containerd.io/gc.ref.content.m.1={}", digest('b'), digest('c'))),
            row('b', &format!("containerd.io/gc.ref.content.config={}", digest('d'))),
            row('c', &format!("containerd.io/gc.ref.content.config={}", digest('e'))),
            row('d', "-"),
            row('e', "containerd.io/gc.ref.snapshot.overlayfs=sha256:chain"),
        ];
        let content = parse(&rows).expect("parse");
        assert_eq!(content.configs(&digest('a')).into_iter().collect::<Vec<_>>(), [digest('e')]);
        assert_eq!(content.above(&digest('e')).into_iter().collect::<Vec<_>>(), [digest('a'), digest('c')]);
        assert_eq!(content.below(&digest('a')).len(), 5);
    }

    #[test]
    fn finds_the_config_of_a_manifest_labelled_by_an_old_containerd() {
        let rows = [
            row('a', &format!("containerd.io/gc.ref.content.0={},containerd.io/gc.ref.content.1={}", digest('b'), digest('c'))),
            row('b', "containerd.io/gc.ref.snapshot.overlayfs=sha256:chain"),
            row('c', "-"),
        ];
        let content = parse(&rows).expect("parse");
        assert_eq!(content.configs(&digest('a')).into_iter().collect::<Vec<_>>(), [digest('b')]);
    }

    #[test]
    fn a_child_that_is_not_here_leads_nowhere() {
        let content = parse(&[row('a', &format!("containerd.io/gc.ref.content.m.0={}", digest('b')))]).expect("parse");
        assert!(content.configs(&digest('a')).is_empty());
    }

    #[test]
    fn a_label_value_may_hold_commas() {
        let content = parse(&[row('a', "containerd.io/distribution.source.docker.io=library/a,library/b,x=y")]).expect("parse");
        let repositories: Vec<_> = content.blob(&digest('a')).expect("blob").origins.iter().map(|o| o.repository.as_str()).collect();
        assert_eq!(repositories, ["library/a", "library/b"]);
    }

    #[test]
    fn what_can_not_be_read_is_an_error() {
        for rows in [
            vec![row('a', "containerd.io/gc.ref.content.config=nonsense")],
            vec!["nonsense".into()],
            vec![row('a', "-"), row('a', "-")],
            vec![String::new()],
        ] {
            assert!(parse(&rows).is_err(), "{rows:?}");
        }
        assert!(Content::parse("").is_err());
        assert!(Content::parse("DIGEST SIZE AGE LABELS").is_err());
    }

    #[test]
    fn reads_decimal_sizes() {
        for (text, bytes) in [
            ("731B", Some(731)),
            ("100.3kB", Some(100_300)),
            ("1.5MB", Some(1_500_000)),
            ("2.1GB", Some(2_100_000_000)),
            ("x", None),
            ("5", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
