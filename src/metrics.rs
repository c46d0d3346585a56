//! Where figures for `node_exporter` go: its textfile folder, if there is one.
//!
//! Nothing depends on them: what can't be written is said, and the run is what it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::files;

/// The file in it. Only names that end in `.prom` are read, so a draft is not.
pub const FILE: &str = "nuke-images.prom";
/// Where the folder usually is: as the exporter's own documentation has it, and as Debian and Fedora package it. The service
/// may write there.
pub const USUAL: [&str; 2] = ["/var/lib/node_exporter/textfile_collector", "/var/lib/prometheus/node-exporter"];

/// Where metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metrics {
    /// To `node_exporter`'s textfile folder, if there is one in the usual places.
    Auto,
    /// Nowhere.
    Off,
    /// To this folder.
    Folder(PathBuf),
}

impl Metrics {
    /// The folders that are meant, below `root`: those of the usual ones that are there.
    pub fn folders(&self, root: &Path) -> Vec<PathBuf> {
        let at = |folder: &Path| root.join(folder.strip_prefix("/").unwrap_or(folder));
        match self {
            Self::Auto => USUAL.iter().map(|folder| at(Path::new(folder))).filter(|folder| folder.is_dir()).collect(),
            Self::Off => Vec::new(),
            Self::Folder(folder) => vec![at(folder)],
        }
    }
}

/// Replaces the file in that folder, readable by everybody: the exporter runs as somebody else.
pub fn write(folder: &Path, text: &str) -> Result<()> {
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    let path = folder.join(FILE);
    files::write_draft(&path, text.as_bytes(), 0o644).and_then(|()| files::put_in_place(&path)).context("write metrics")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_usual_folders_are_those_that_are_there() {
        let root = tempfile::tempdir().expect("folder");
        let all = |metrics: Metrics| metrics.folders(root.path());
        assert!(all(Metrics::Auto).is_empty());
        for (i, folder) in USUAL.iter().enumerate() {
            fs::create_dir_all(root.path().join(&folder[1..])).expect("folder");
            assert_eq!(all(Metrics::Auto).len(), i + 1);
        }
        assert!(all(Metrics::Off).is_empty());
        assert_eq!(all(Metrics::Folder("/srv/x".into())), [root.path().join("srv/x")]);
    }

    #[test]
    fn the_service_may_write_to_the_usual_folders() {
        let unit = include_str!("../systemd/nuke-images.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("ReadWritePaths=")).expect("paths");
        assert_eq!(line.split(' ').collect::<Vec<_>>(), USUAL.map(|folder| format!("-{folder}")));
    }

    #[test]
    fn a_file_that_everybody_may_read_is_replaced_whole_and_leaves_nothing_that_the_exporter_reads() {
        let folder = tempfile::tempdir().expect("folder");
        write(folder.path(), "one\n").expect("write");
        write(folder.path(), "two\n").expect("write");
        let path = folder.path().join(FILE);
        assert_eq!(fs::read_to_string(&path).expect("read"), "two\n");
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        assert!(files::draft_of(&path).extension().is_none_or(|extension| extension != "prom"));
    }

    #[test]
    fn a_link_that_lies_in_wait_is_not_followed() {
        let folder = tempfile::tempdir().expect("folder");
        let (victim, path) = (folder.path().join("victim"), folder.path().join(FILE));
        fs::write(&victim, "precious").expect("write");
        for name in [files::draft_of(&path), path.clone()] {
            symlink(&victim, &name).expect("link");
            write(folder.path(), "figures\n").expect("write");
            assert_eq!(fs::read_to_string(&victim).expect("read"), "precious");
            assert!(fs::symlink_metadata(&path).expect("stat").is_file());
            fs::remove_file(&path).expect("remove");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_and_not_made() {
        let folder = tempfile::tempdir().expect("folder");
        let missing = folder.path().join("missing");
        assert!(format!("{:#}", write(&missing, "").expect_err("missing")).contains("missing"));
        assert!(!missing.exists());
    }
}
