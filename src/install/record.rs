//! What an installation has put onto a node, written down there before it is put: `uninstall` takes that off and no more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Where it is kept.
pub const PATH: &str = "/var/lib/nuke-images/installed.json";

/// One installation; paths are the node's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Of the program that was installed last.
    pub version: String,
    /// Files and links that are ours, whether they have got there yet or not.
    pub files: BTreeSet<PathBuf>,
    /// Folders that weren't there before.
    pub folders: BTreeSet<PathBuf>,
    /// The default configuration as it was put there: a file that differs from it was edited.
    pub config: String,
}

impl Record {
    /// Reads one.
    pub fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).with_context(|| format!("read {PATH}"))
    }

    /// Writes one.
    pub fn render(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}
