//! Questions about what is in the store, and how old it looks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::output;
use crate::{Containerd, Stored};

/// One line of `ctr images ls`.
pub(crate) struct Record {
    pub digest: String,
    pub labels: String,
}

impl Containerd {
    /// All references in `k8s.io`.
    pub fn references(&self) -> Result<BTreeSet<String>> {
        Ok(self.records_in("k8s.io")?.into_keys().collect())
    }

    /// The digest that a reference points to, if it is there.
    pub fn digest(&self, reference: &str) -> Result<Option<String>> {
        Ok(self.records_in("k8s.io")?.remove(reference).map(|record| record.digest))
    }

    /// The digests of all blobs in `k8s.io`.
    pub fn blobs(&self) -> Result<BTreeSet<String>> {
        self.blobs_in("k8s.io")
    }

    /// The keys of all snapshots in `k8s.io`.
    pub fn snapshots(&self) -> Result<BTreeSet<String>> {
        self.snapshots_in("k8s.io")
    }

    /// The IDs of all containers in `k8s.io`.
    pub fn containers(&self) -> Result<BTreeSet<String>> {
        Ok(self.ctr(&["containers", "ls", "-q"])?.lines().map(str::to_owned).collect())
    }

    pub(crate) fn records_in(&self, namespace: &str) -> Result<BTreeMap<String, Record>> {
        let listing = self.ctr_in(namespace, &["images", "ls"])?;
        let record = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let [name, _kind, digest, .., labels] = words[..] else { return None };
            Some((name.to_owned(), Record { digest: digest.to_owned(), labels: labels.to_owned() }))
        };
        Ok(listing.lines().skip(1).filter_map(record).collect())
    }

    pub(crate) fn blobs_in(&self, namespace: &str) -> Result<BTreeSet<String>> {
        Ok(self.ctr_in(namespace, &["content", "ls", "-q"])?.lines().map(str::to_owned).collect())
    }

    pub(crate) fn snapshots_in(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let listing = self.ctr_in(namespace, &["snapshots", "ls"])?;
        Ok(listing.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Whether the bytes of a blob are on the disk, whatever any namespace says.
    pub fn has_file(&self, digest: &str) -> bool {
        self.blob(digest).exists()
    }

    /// What its file system has in use: exact, as nobody else writes there.
    pub fn used_bytes(&self) -> Result<u64> {
        let df = ["df", "--block-size=1", "--output=used"];
        let used = output(Command::new("nsenter").arg(format!("--mount={}", self.mounts())).args(df).arg(self.disk()))?;
        used.lines().last().context("read df")?.trim().parse().context("read what df says is used")
    }

    /// Makes an image look pulled so long ago: the times of its blobs are all there is to tell.
    pub fn age(&self, image: &Stored, by: Duration) -> Result<()> {
        self.age_blob(&image.digest, SystemTime::now() - by)
    }

    /// Makes everything that is in the store look pulled so long ago.
    pub fn age_all(&self, by: Duration) -> Result<()> {
        let to = SystemTime::now() - by;
        for blob in fs::read_dir(self.blob_folder())? {
            File::open(blob?.path())?.set_modified(to)?;
        }
        Ok(())
    }

    fn age_blob(&self, digest: &str, to: SystemTime) -> Result<()> {
        let path = self.blob(digest);
        if !path.exists() {
            return Ok(());
        }
        File::open(&path)?.set_modified(to).with_context(|| format!("age {digest}"))?;
        let Ok(node) = serde_json::from_slice::<Value>(&fs::read(&path)?) else { return Ok(()) };
        let children = ["manifests", "layers"].into_iter().filter_map(|key| node[key].as_array()).flatten();
        let digests = children.chain([&node["config"]]).filter_map(|child| child["digest"].as_str());
        digests.into_iter().try_for_each(|child| self.age_blob(child, to))
    }

    /// Everything that a dry run must leave as it is, in words that show what has changed: of every namespace the
    /// references with digests and labels, blobs, snapshots and containers, and the times of the blobs' files.
    pub fn fingerprint(&self) -> Result<String> {
        let mut print = String::new();
        for namespace in self.ctr(&["namespaces", "ls", "-q"])?.lines() {
            for (name, record) in self.records_in(namespace)? {
                writeln!(print, "{namespace} reference {name} {} {}", record.digest, record.labels)?;
            }
            for line in self.ctr_in(namespace, &["content", "ls"])?.lines().skip(1) {
                let words: Vec<_> = line.split_whitespace().collect();
                // What stands between is the age, which changes by itself.
                writeln!(print, "{namespace} blob {} {}", words[0], words[words.len() - 1])?;
            }
            for (what, listing) in [("snapshot", "snapshots"), ("container", "containers"), ("lease", "leases")] {
                for line in self.ctr_in(namespace, &[listing, "ls"])?.lines().skip(1) {
                    writeln!(print, "{namespace} {what} {}", line.trim_end())?;
                }
            }
        }
        let mut files: Vec<_> = fs::read_dir(self.blob_folder())?.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            writeln!(print, "file {} {:?}", file.file_name().display(), file.metadata()?.modified()?)?;
        }
        Ok(print)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.blob_folder().join(digest.trim_start_matches("sha256:"))
    }

    fn blob_folder(&self) -> PathBuf {
        self.inside(&self.disk().join("root/io.containerd.content.v1.content/blobs/sha256"))
    }
}
