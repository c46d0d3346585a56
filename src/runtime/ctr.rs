//! `ctr`: command lines out, pure parsers in.
//!
//! Never `images prune`, `content rm`, `snapshots rm` or `content prune`: the first ignores use and pins, the others take
//! away what containerd's own collection would keep. `images ls` without `-q` opens every manifest it lists (2.3 ms each,
//! 10 s for 4,500 references), so it is only asked about few records, by filter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::inventory::Space;
use crate::process::{Call, CallKind, Output, Program, Runner};
use crate::reference::{Digest, Reference};
use crate::runtime::content::Content;
use crate::units::printable;

/// Labels that pin an image: containerd's CRI (1.6.22+, 1.7.3+), k3s and RKE2.
pub const PIN_LABELS: [&str; 3] = ["io.cri-containerd.pinned", "io.cattle.k3s.pinned", "io.cattle.rke2.pinned"];

/// Longest that a listing may take: a busy disk makes one of 4,500 references take tens of seconds.
const LISTING_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest that a collection may take. To stop waiting for one does no harm: it goes on.
const COLLECTION_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest single argument we build; Linux allows 128 KiB.
pub const ARG_CAP: usize = 100 << 10;
/// Longest command line we build; Linux allows 2 MiB with the environment.
const ARGS_CAP: usize = 1 << 20;
/// Name of the lease whose deletion makes containerd collect.
const LEASE: &str = "nuke-images-collect";

/// How `ctr` is called on this node.
pub struct Ctr<'a> {
    /// Starts it.
    pub runner: &'a dyn Runner,
    /// What is started.
    pub program: Program,
    /// containerd's socket.
    pub address: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
}

/// A row of `ctr images ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub reference: Reference,
    /// The index or manifest it points to.
    pub target: Digest,
    /// The label of [`PIN_LABELS`] it carries.
    pub pinned: Option<&'static str>,
}

/// A row of `ctr containers ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its ID.
    pub id: String,
    /// The name printed for its image; it may lead to another image by now.
    pub printed_image: Option<Reference>,
}

/// A row of `ctr snapshots ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its key: a chain ID for an image's layer, a container's ID for its writable layer.
    pub key: String,
    /// The key of the snapshot it was made from.
    pub parent: Option<String>,
    /// Is it a layer that nothing writes to or mounts?
    pub is_committed: bool,
}

/// Where a container's writable layer is (`ctr containers info`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerInfo {
    /// As in `overlayfs`; empty for a container without an image.
    #[serde(default)]
    pub snapshotter: String,
    /// Its key there.
    #[serde(default)]
    pub snapshot_key: String,
}

/// What a call of `images rm` brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// References it says it took away.
    pub references: BTreeSet<Reference>,
    /// Did it exit with 0?
    pub succeeded: bool,
    /// What it complained about, by line.
    pub complaints: Vec<String>,
}

impl Ctr<'_> {
    /// Version of the server.
    pub fn server_version(&self) -> Result<String> {
        parse_server_version(&self.list(&["version"])?).context("read the server's version")
    }

    /// The names of all image records.
    pub fn names(&self) -> Result<BTreeSet<Reference>> {
        parse_names(&self.list(&["images", "ls", "-q"])?)
    }

    /// Names of the records that one of the filters matches (containerd's filter syntax, `pkg/filters`); `-q` opens no manifest.
    pub fn names_matching(&self, filters: &[String]) -> Result<BTreeSet<Reference>> {
        let mut names = BTreeSet::new();
        for chunk in chunks(filters) {
            names.extend(parse_names(&self.list_with(&["images", "ls", "-q"], chunk)?)?);
        }
        Ok(names)
    }

    /// The records that one of the filters matches; opens the manifest of each.
    pub fn records_matching(&self, filters: &[String]) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for chunk in chunks(filters) {
            records.extend(parse_records(&self.list_with(&["images", "ls"], chunk)?)?);
        }
        Ok(records)
    }

    /// All records; opens the manifest of each.
    pub fn records(&self) -> Result<Vec<Record>> {
        parse_records(&self.list(&["images", "ls"])?)
    }

    /// Every blob with the labels that tie it to others.
    pub fn content(&self) -> Result<Content> {
        Content::parse(&self.list(&["content", "ls"])?)
    }

    /// Every blob of all other namespaces, which share their bytes: one stays until no namespace has it any more.
    pub fn content_elsewhere(&self) -> Result<BTreeSet<Digest>> {
        let listed = self.list(&["namespaces", "ls", "-q"])?;
        let mut all = BTreeSet::new();
        for namespace in complete_lines(&listed)?.filter(|name| *name != self.namespace) {
            let there =
                Self { runner: self.runner, program: self.program.clone(), address: self.address.clone(), namespace: namespace.into() };
            let blobs = there.list(&["content", "ls", "-q"]).with_context(|| format!("in the namespace {}", printable(namespace)))?;
            for line in complete_lines(&blobs)? {
                all.insert(Digest::parse(line).with_context(|| format!("read the digest {}", printable(line)))?);
            }
        }
        Ok(all)
    }

    /// Every container, in any state.
    pub fn containers(&self) -> Result<Vec<Container>> {
        parse_containers(&self.list(&["containers", "ls"])?)
    }

    /// IDs of the containers that are pod sandboxes (label set by containerd's CRI, `internal/cri/labels`).
    pub fn sandbox_ids(&self) -> Result<BTreeSet<String>> {
        let listed = self.list(&["containers", "ls", "-q", r#"labels."io.cri-containerd.kind"==sandbox"#])?;
        Ok(complete_lines(&listed)?.map(str::to_owned).collect())
    }

    /// Where one container's writable layer is; `None` if the container is gone.
    pub fn container_info(&self, id: &str) -> Result<Option<ContainerInfo>> {
        let output = self.start(CallKind::Listing(LISTING_TIMEOUT), &["containers", "info", id], &[])?;
        if !output.status.success() && output.stderr.contains("not found") {
            return Ok(None);
        }
        let json = accept(output).with_context(|| format!("ctr containers info {id}"))?;
        serde_json::from_str(&json).map(Some).with_context(|| format!("read ctr containers info {id}"))
    }

    /// Every snapshot of one snapshotter.
    pub fn snapshots(&self, snapshotter: &str) -> Result<Vec<Snapshot>> {
        parse_snapshots(&self.list(&["snapshots", "--snapshotter", snapshotter, "ls"])?)
    }

    /// Room on disk of committed snapshots; containerd keeps these and does not walk the disk for them.
    pub fn snapshot_sizes(&self, snapshotter: &str, keys: &[String]) -> Result<HashMap<String, Space>> {
        let mut sizes = HashMap::new();
        for chunk in chunks(keys) {
            let listed = self.list_with(&["snapshots", "--snapshotter", snapshotter, "usage", "-b"], chunk)?;
            sizes.extend(parse_usage(&listed)?);
        }
        Ok(sizes)
    }

    /// Takes references away, in the order given. Returns what is known afterwards, also after a failure.
    pub fn remove(&self, references: &[Reference]) -> Result<Removed> {
        let names: Vec<String> = references.iter().map(ToString::to_string).collect();
        let mut all = Removed { succeeded: true, ..Removed::default() };
        for chunk in chunks(&names) {
            all.add(self.remove_chunk(chunk)?);
        }
        Ok(all)
    }

    fn remove_chunk(&self, names: &[String]) -> Result<Removed> {
        let output = self.start(CallKind::Removal, &["images", "rm"], names)?;
        let mut removed = Removed { succeeded: output.status.success(), ..Removed::default() };
        removed.references = output.stdout.lines().map(Reference::new).collect();
        // ctr 2.x speaks of what it deprecates.
        let tells = |line: &&str| !line.trim().is_empty() && !line.contains("DEPRECATION");
        removed.complaints = output.stderr.lines().filter(tells).map(printable).collect();
        if !removed.succeeded && removed.complaints.is_empty() {
            removed.complaints.push(output.describe_failure());
        }
        Ok(removed)
    }

    /// Makes containerd collect now and waits for it: the deletion of a lease can be synchronous whatever was removed before.
    ///
    /// `images rm --sync` would do it only if its last reference still exists.
    pub fn collect_garbage(&self) -> Result<()> {
        let expiry = ["leases", "create", "--id", LEASE, "--expires", "1h"];
        let created = self.start(CallKind::Listing(LISTING_TIMEOUT), &expiry, &[])?;
        if !created.status.success() && !created.stderr.contains("already exists") {
            bail!("ctr leases create: {}", created.describe_failure());
        }
        let deleted = self.start(CallKind::Listing(COLLECTION_TIMEOUT), &["leases", "delete", "--sync", LEASE], &[])?;
        accept(deleted).context("ctr leases delete").map(drop)
    }

    fn list(&self, command: &[&str]) -> Result<String> {
        self.list_with(command, &[])
    }

    fn list_with(&self, command: &[&str], more: &[String]) -> Result<String> {
        let output = self.start(CallKind::Listing(LISTING_TIMEOUT), command, more)?;
        accept(output).with_context(|| format!("ctr {}", command.join(" ")))
    }

    fn start(&self, kind: CallKind, command: &[&str], more: &[String]) -> Result<Output> {
        let address = ["--address".into(), self.address.clone().into_os_string()];
        let namespace = ["--namespace".into(), self.namespace.clone().into()];
        let args = address.into_iter().chain(namespace);
        let args = args.chain(command.iter().map(OsString::from)).chain(more.iter().map(OsString::from));
        let call = Call::of(&self.program, args, kind);
        let run = || format!("ctr {}", command.join(" "));
        self.runner.run(&call).map_err(anyhow::Error::from).with_context(run)
    }
}

impl Removed {
    /// Takes in what another call brought.
    pub fn add(&mut self, other: Self) {
        self.succeeded &= other.succeeded;
        self.references.extend(other.references);
        self.complaints.extend(other.complaints);
    }

    /// What it said about one of these references, or else its last words.
    pub fn complaint_about(&self, references: &[Reference]) -> Option<&str> {
        let about = |line: &&String| references.iter().any(|name| names(line, name));
        self.complaints.iter().rev().find(about).or(self.complaints.last()).map(String::as_str)
    }

    /// Were these references gone before it came to them? A missing one is a warning of its own, and no error.
    pub fn found_nothing_of(&self, references: &[Reference]) -> bool {
        let missing = |line: &String| line.contains("not found") && references.iter().any(|name| names(line, name));
        !references.iter().any(|name| self.references.contains(name)) && (self.succeeded || self.complaints.iter().any(missing))
    }
}

/// Is `name` one of the words of a line, not just the beginning of a longer one?
fn names(line: &str, name: &Reference) -> bool {
    line.split(['"', ' ']).any(|word| word.trim_end_matches([':', ',']) == name.as_str())
}

/// The output of a program that succeeded. One that shows nothing and complains didn't, whatever its exit code: an empty
/// list would say that nothing is there.
fn accept(output: Output) -> Result<String> {
    let warns = |line: &str| line.trim().is_empty() || line.contains("level=warning") || line.starts_with("DEPRECATION");
    if output.status.success() && output.stdout.is_empty() && !output.stderr.lines().all(warns) {
        bail!("showed nothing: {}", output.complaint());
    }
    if output.status.success() { Ok(output.stdout) } else { bail!("{}", output.describe_failure()) }
}

/// Arguments in portions that fit a command line; one empty portion if there are none would list everything, so there is none.
fn chunks(args: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = args;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |arg: &&String| {
            bytes += arg.len() + 1;
            bytes <= ARGS_CAP
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (chunk, remainder) = rest.split_at(count);
        rest = remainder;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// The filters that match pinned records that point to this digest.
pub fn pinned_at(digest: &Digest) -> impl Iterator<Item = String> {
    by_pin().map(move |pin| both(&by_target(digest), &pin))
}

/// The filter that matches records of this name.
pub fn by_name(reference: &Reference) -> String {
    format!("name=={}", quote(reference.as_str()))
}

/// The filter that matches records which point to this digest.
pub fn by_target(digest: &Digest) -> String {
    format!("target.digest=={digest}")
}

/// The filters that match pinned records.
pub fn by_pin() -> impl Iterator<Item = String> {
    PIN_LABELS.iter().map(|label| format!("labels.{}", quote(label)))
}

/// A filter that matches what both match.
pub fn both(one: &str, other: &str) -> String {
    format!("{one},{other}")
}

/// The filter that matches a record of this name that points to none of `digests`.
pub fn elsewhere(reference: &Reference, digests: &[Digest]) -> String {
    digests.iter().fold(by_name(reference), |filter, digest| format!("{filter},target.digest!={digest}"))
}

/// The filter that matches records that point to this digest under none of `names`.
pub fn other_names(digest: &Digest, names: &[Reference]) -> String {
    names.iter().fold(by_target(digest), |filter, name| format!("{filter},name!={}", quote(name.as_str())))
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Lines of an output that must not be cut off: the last one ends in a newline too.
fn complete_lines(text: &str) -> Result<impl Iterator<Item = &str>> {
    if !text.is_empty() && !text.ends_with('\n') {
        bail!("the output ends in the middle of a line: {}", printable(text.lines().last().unwrap_or_default()));
    }
    // Not `lines`: it would take a carriage return off the end of a name.
    Ok(text.split_terminator('\n'))
}

/// Rows below a header whose words are `header`.
fn rows<'a>(text: &'a str, header: &[&str]) -> Result<impl Iterator<Item = &'a str>> {
    let mut lines = complete_lines(text)?;
    let first = lines.next().unwrap_or_default();
    if !first.split_whitespace().eq(header.iter().copied()) {
        bail!("expected the columns {}, found: {}", header.join(" "), printable(first));
    }
    Ok(lines)
}

fn parse_names(text: &str) -> Result<BTreeSet<Reference>> {
    Ok(complete_lines(text)?.map(Reference::new).collect())
}

fn parse_server_version(text: &str) -> Option<String> {
    let server = text.lines().skip_while(|line| line.trim() != "Server:");
    let version = server.into_iter().find_map(|line| line.trim().strip_prefix("Version:"))?;
    Some(printable(version.trim()))
}

fn parse_records(text: &str) -> Result<Vec<Record>> {
    let header = ["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"];
    Ok(rows(text, &header)?.flat_map(parse_record).collect())
}

/// `REF TYPE DIGEST 1.2 MiB PLATFORMS k=v,k=v`; size and platforms vary.
///
/// A name or a label may hold anything, even spaces and newlines, so the digest is looked for: a type and a digest side by
/// side. A row without one is the beginning of a name that goes on in the next; a row with several is a record for each.
fn parse_record(row: &str) -> Vec<Record> {
    let words = words_with_positions(row);
    let pair = |i: &usize| words[*i].1.contains('/') && words.get(i + 1).is_some_and(|(_, word)| Digest::parse(word).is_some());
    let record = |i: usize| {
        let labels = words[i + 1..].iter().flat_map(|(_, word)| word.split(','));
        let keys: Vec<&str> = labels.filter_map(|pair| pair.split_once('=')).map(|(key, _)| key).collect();
        let reference = Reference::new(row[..words[i].0].trim_end_matches([' ', '\t']));
        let pinned = PIN_LABELS.iter().find(|label| keys.contains(label)).copied();
        Digest::parse(words[i + 1].1).map(|target| Record { reference, target, pinned })
    };
    (0..words.len()).filter(pair).filter_map(record).collect()
}

fn words_with_positions(row: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let words = row.split([' ', '\t']).map(|word| {
        let here = at;
        at += word.len() + 1;
        (here, word)
    });
    words.filter(|(_, word)| !word.is_empty()).collect()
}

fn parse_containers(text: &str) -> Result<Vec<Container>> {
    let parse = |row: &str| {
        let mut words = row.split_whitespace();
        let id = words.next().with_context(|| format!("read the row {}", printable(row)))?.to_owned();
        let printed_image = words.next().filter(|image| *image != "-").map(Reference::new);
        Ok(Container { id, printed_image })
    };
    rows(text, &["CONTAINER", "IMAGE", "RUNTIME"])?.map(parse).collect()
}

fn parse_snapshots(text: &str) -> Result<Vec<Snapshot>> {
    let parse = |row: &str| parse_snapshot(row).with_context(|| format!("read the row {}", printable(row)));
    rows(text, &["KEY", "PARENT", "KIND"])?.map(parse).collect()
}

/// `KEY [PARENT] KIND`, where the key of a layer that is being unpacked holds a space (`extract-<n> <chain ID>`).
fn parse_snapshot(row: &str) -> Option<Snapshot> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let (kind, rest) = words.split_last()?;
    let (key, parent) = match rest {
        [] => return None,
        [key] => ((*key).to_owned(), None),
        [key @ .., parent] => (key.join(" "), Some((*parent).to_owned())),
    };
    let is_committed = match *kind {
        "Committed" => true,
        "Active" | "View" => false,
        _ => return None,
    };
    Some(Snapshot { key, parent, is_committed })
}

fn parse_usage(text: &str) -> Result<BTreeMap<String, Space>> {
    let parse = |row: &str| {
        let mut words = row.split_whitespace();
        let mut word = || words.next().with_context(|| format!("read the row {}", printable(row)));
        let (key, bytes, inodes) = (word()?, word()?, word()?);
        let number = |text: &str| text.parse().with_context(|| format!("read the size {}", printable(text)));
        Ok((key.to_owned(), Space { bytes: number(bytes)?, inodes: number(inodes)? }))
    };
    rows(text, &["KEY", "SIZE", "INODES"])?.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($version:literal, $name:literal) => {
            include_str!(concat!("../../tests/fixtures/", $version, "/", $name, ".out"))
        };
    }

    #[test]
    fn reads_the_recorded_images_of_each_version() {
        for text in [recorded!("1.6", "ctr-images-ls"), recorded!("1.7", "ctr-images-ls"), recorded!("2.1", "ctr-images-ls")] {
            let records = parse_records(text).expect("parse");
            assert_eq!(records.len(), text.lines().count() - 1);
            let app = Reference::new("127.0.0.1:5000/fx/app0:v0");
            let by_tag = records.iter().find(|r| r.reference == app).expect("app0");
            let by_digest = Reference::new(format!("127.0.0.1:5000/fx/app0@{}", by_tag.target));
            assert!(records.iter().any(|r| r.reference == by_digest && r.target == by_tag.target));
        }
    }

    #[test]
    fn finds_the_digest_of_a_record_whatever_its_name_holds() {
        let (digest, other) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let row =
            |name: &str, labels: &str| format!("{name} application/vnd.oci.image.index.v1+json {digest} 1.2 MiB linux/amd64 {labels}");
        for (row, expected) in [
            (row("a:1", "-"), vec![("a:1", &digest, false)]),
            (row("evil name  with spaces", "-"), vec![("evil name  with spaces", &digest, false)]),
            (row("evil\tx", "-"), vec![("evil\tx", &digest, false)]),
            (row("a:1\r", "-"), vec![("a:1\r", &digest, false)]),
            ("the first half of a name".into(), vec![]),
            (row(&format!("a x/y {other} 3"), "-"), vec![("a", &other, false), (&format!("a x/y {other} 3"), &digest, false)]),
            (row("a:1", "x=y z,io.cattle.k3s.pinned=pinned"), vec![("a:1", &digest, true)]),
            (row("", "-"), vec![("", &digest, false)]),
        ] {
            let records = parse_record(&row);
            let found: Vec<_> = records.iter().map(|r| (r.reference.as_str(), r.target.as_str(), r.pinned.is_some())).collect();
            assert_eq!(
                found,
                expected.into_iter().map(|(name, target, pinned)| (name, target.as_str(), pinned)).collect::<Vec<_>>(),
                "{row}"
            );
        }
    }

    #[test]
    fn a_name_of_several_lines_is_several_names() {
        let names: Vec<String> = parse_names("a:1\nevil\n\nb:1\r\n").expect("parse").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["", "a:1", "b:1\r", "evil"]);
    }

    #[test]
    fn reads_the_snapshot_of_a_layer_that_is_being_unpacked() {
        let (chain, parent) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let text = format!("KEY PARENT KIND\nextract-1-xYz {chain} {parent} Active\nextract-2-xYz {chain}  Active\n");
        let snapshots = parse_snapshots(&text).expect("parse");
        assert_eq!((snapshots[0].key.as_str(), snapshots[0].parent.as_ref()), (format!("extract-1-xYz {chain}").as_str(), Some(&parent)));
        assert!(snapshots.iter().all(|snapshot| !snapshot.is_committed));
    }

    #[test]
    fn sees_a_pin_among_the_labels() {
        let pinned: Vec<_> =
            parse_records(recorded!("1.7", "ctr-images-ls")).expect("parse").into_iter().filter(|r| r.pinned.is_some()).collect();
        assert!(pinned.iter().any(|r| r.reference.as_str() == "registry.lab/pause:1"));
        assert!(pinned.iter().all(|r| r.pinned == Some("io.cri-containerd.pinned")));
    }

    #[test]
    fn reads_the_recorded_snapshots_of_each_version() {
        for text in [recorded!("1.6", "ctr-snapshots-ls"), recorded!("1.7", "ctr-snapshots-ls"), recorded!("2.1", "ctr-snapshots-ls")] {
            let snapshots = parse_snapshots(text).expect("parse");
            assert_eq!(snapshots.len(), text.lines().count() - 1);
            assert!(snapshots.iter().any(|s| !s.is_committed && s.parent.is_some()));
            assert!(snapshots.iter().any(|s| s.is_committed && s.parent.is_none()));
        }
    }

    #[test]
    fn reads_the_recorded_containers_of_each_version() {
        for text in [recorded!("1.6", "ctr-containers-ls"), recorded!("1.7", "ctr-containers-ls"), recorded!("2.1", "ctr-containers-ls")] {
            let containers = parse_containers(text).expect("parse");
            assert_eq!(containers.len(), text.lines().count() - 1);
            assert!(containers.iter().all(|c| c.id.len() == 64 && c.printed_image.is_some()));
        }
    }

    #[test]
    fn reads_sizes_in_bytes() {
        let sizes = parse_usage("KEY SIZE INODES \nsha256:aa 73728 3 \n").expect("parse");
        assert_eq!(sizes.get("sha256:aa"), Some(&Space { bytes: 73_728, inodes: 3 }));
        for row in ["sha256:aa 72.0 KiB 3", "sha256:aa 73728", "sha256:aa"] {
            assert!(parse_usage(&format!("KEY SIZE INODES \n{row} \n")).is_err(), "{row}");
        }
    }

    #[test]
    fn reads_the_server_version() {
        assert_eq!(parse_server_version(recorded!("1.7", "ctr-version")).as_deref(), Some("1.7.24~ds1"));
        assert_eq!(parse_server_version("Client:\n  Version: 1\n"), None);
    }

    #[test]
    fn an_output_without_its_header_is_no_empty_list() {
        for text in ["", "\n", "ctr: something went wrong\n", "KEY PARENT\n"] {
            assert!(parse_snapshots(text).is_err(), "{text:?}");
            assert!(parse_containers(text).is_err(), "{text:?}");
            assert!(parse_records(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_output_cut_off_in_a_line_is_refused() {
        let text = recorded!("1.7", "ctr-snapshots-ls");
        assert!(parse_snapshots(&text[..text.len() - 30]).is_err());
        let text = recorded!("1.7", "ctr-images-ls-q");
        assert!(parse_names(&text[..text.len() - 3]).is_err());
    }

    #[test]
    fn an_unknown_kind_of_snapshot_is_refused() {
        assert!(parse_snapshots("KEY PARENT KIND\nabc sha256:aa Frozen\n").is_err());
    }

    fn removed(succeeded: bool, stdout: &[&str], complaints: &[&str]) -> Removed {
        let complaints = complaints.iter().map(ToString::to_string).collect();
        Removed { references: stdout.iter().copied().map(Reference::new).collect(), succeeded, complaints }
    }

    #[test]
    fn a_complaint_is_of_the_image_it_names() {
        let complaints = ["unable to delete a/b:10: busy", "unable to delete a/b:1: full", "ctr: something else"];
        let removed = removed(false, &[], &complaints);
        for (name, complaint) in [("a/b:1", complaints[1]), ("a/b:10", complaints[0]), ("a/b", complaints[2])] {
            assert_eq!(removed.complaint_about(&[Reference::new("x"), Reference::new(name)]), Some(complaint), "{name}");
        }
        assert_eq!(Removed::default().complaint_about(&[]), None);
    }

    #[test]
    fn only_what_was_missing_was_removed_by_somebody_else() {
        let missing = include_str!("../../tests/fixtures/1.7/ctr-images-rm-missing.err").trim();
        for (removed, found_nothing) in [
            (removed(true, &[], &[missing]), true),
            (removed(true, &[], &[]), true),
            (removed(false, &[], &[missing, "ctr: unable to delete other:1: busy"]), true),
            (removed(true, &["nosuch:1"], &[]), false),
            (removed(false, &["nosuch:1"], &[missing]), false),
            (removed(false, &[], &["ctr: unable to delete nosuch:1: deadline exceeded"]), false),
            (removed(false, &[], &["nosuch:10: image not found"]), false),
            (removed(false, &[], &[]), false),
        ] {
            assert_eq!(removed.found_nothing_of(&[Reference::new("nosuch:1")]), found_nothing, "{removed:?}");
        }
    }

    #[test]
    fn filters_are_quoted() {
        assert_eq!(by_name(&Reference::new(r#"a"b\c"#)), r#"name=="a\"b\\c""#);
        assert_eq!(by_pin().next().as_deref(), Some(r#"labels."io.cri-containerd.pinned""#));
    }

    #[test]
    fn long_argument_lists_are_split_and_none_makes_no_call() {
        let args: Vec<String> = (0..40_000).map(|i| format!("name==\"registry.example/team/app:{i:08}\"")).collect();
        let portions: Vec<_> = chunks(&args).collect();
        assert!(portions.len() > 1);
        assert_eq!(portions.iter().map(|p| p.len()).sum::<usize>(), args.len());
        assert_eq!(chunks(&[]).count(), 0);
    }
}
