//! The fill of the file systems that hold images, by `statvfs`: the only figure that tells what was freed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

use crate::inventory::{Disk, DiskUsage, Holds};

/// The fill of the file systems of these folders, each of them once: what counts is the first folder on it. One that isn't
/// there is passed over, one that can't be measured is a gap.
pub fn measure_all(folders: &[(PathBuf, Holds)]) -> (Vec<Disk>, Vec<String>) {
    let (mut disks, mut gaps, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (folder, holds) in folders {
        match fs::metadata(folder) {
            Ok(metadata) if !seen.insert(metadata.dev()) => {}
            Ok(_) => match measure(folder) {
                Ok(usage) => disks.push(Disk { path: folder.clone(), holds: *holds, usage }),
                Err(error) => gaps.push(unmeasured(&error)),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => gaps.push(unmeasured(&anyhow::Error::new(error).context(folder.display().to_string()))),
        }
    }
    if disks.is_empty() && gaps.is_empty() {
        let folders: Vec<String> = folders.iter().map(|(folder, _)| folder.display().to_string()).collect();
        gaps.push(unmeasured(&anyhow::Error::msg(format!("there is none of {}", folders.join(", ")))));
    }
    (disks, gaps)
}

/// That a file system could not be measured, for people.
pub fn unmeasured(error: &anyhow::Error) -> String {
    format!("measure the image file system: {error:#}")
}

/// The fill of the file system that holds `path`.
pub fn measure(path: &Path) -> Result<DiskUsage> {
    let stat = statvfs(path).with_context(|| format!("statvfs {}", path.display()))?;
    let unit = stat.fragment_size();
    Ok(DiskUsage {
        used_bytes: (stat.blocks() - stat.blocks_free()) * unit,
        total_bytes: stat.blocks() * unit,
        used_inodes: stat.files() - stat.files_free(),
        total_inodes: stat.files(),
        available_bytes: Some(stat.blocks_available() * unit),
    })
}

/// By how much less the file systems of the images hold than before.
pub fn freed(before: &[Disk], after: &[Disk]) -> u64 {
    // One that could be measured once alone tells nothing.
    let both = before.iter().filter_map(|was| Some((was, after.iter().find(|disk| disk.path == was.path)?)));
    let images = both.filter(|(was, _)| was.holds.is_images());
    let (was, is) = images.fold((0, 0), |(was, is), pair| (was + pair.0.usage.used_bytes, is + pair.1.usage.used_bytes));
    u64::saturating_sub(was, is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::samples::disk;

    #[test]
    fn what_was_freed_is_told_by_file_systems_that_were_measured_twice() {
        let before = [disk("/a", 900), disk("/b", 800)];
        for (after, bytes) in
            [(vec![disk("/a", 890)], 10), (vec![disk("/b", 700), disk("/a", 900)], 100), (vec![], 0), (vec![disk("/a", 950)], 0)]
        {
            assert_eq!(freed(&before, &after), bytes, "{after:?}");
        }
    }

    #[test]
    fn a_file_system_counts_once_under_the_folder_that_is_named_first() {
        let folder = tempfile::tempdir().expect("folder");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for path in [&one, &other] {
            fs::create_dir(path).expect("folder");
        }
        let folders = [
            (folder.path().join("none"), Holds::Images),
            (one.clone(), Holds::Images),
            (other, Holds::Containers),
            ("/proc".into(), Holds::Containers),
        ];
        let (disks, gaps) = measure_all(&folders);
        let found: Vec<(&Path, Holds)> = disks.iter().map(|disk| (disk.path.as_path(), disk.holds)).collect();
        assert_eq!(found, [(one.as_path(), Holds::Images), (Path::new("/proc"), Holds::Containers)]);
        assert_eq!(gaps, [""; 0]);
    }

    #[test]
    fn where_nothing_can_be_measured_there_is_a_gap() {
        let (disks, gaps) = measure_all(&[("/nowhere/a".into(), Holds::Images), ("/nowhere/b".into(), Holds::Images)]);
        assert_eq!((disks, gaps), (Vec::new(), vec!["measure the image file system: there is none of /nowhere/a, /nowhere/b".to_owned()]));
    }

    #[test]
    fn what_containers_write_meanwhile_is_not_taken_for_what_images_gave_back() {
        let containers = |used| Disk { holds: Holds::Containers, ..disk("/b", used) };
        assert_eq!(freed(&[disk("/a", 90), containers(10)], &[disk("/a", 40), containers(70)]), 50);
        assert_eq!(freed(&[disk("/a", 40)], &[disk("/a", 90)]), 0);
    }
}
