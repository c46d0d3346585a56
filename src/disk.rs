//! The fill of the file systems that hold images, by `statvfs`: the only figure that tells what was freed.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

use crate::inventory::{Disk, DiskUsage};

/// The fill of the file system that holds `path`.
pub fn usage(path: &Path) -> Result<Disk> {
    let stat = statvfs(path).with_context(|| format!("statvfs {}", path.display()))?;
    let unit = stat.fragment_size();
    let usage = DiskUsage {
        used_bytes: (stat.blocks() - stat.blocks_free()) * unit,
        total_bytes: stat.blocks() * unit,
        used_inodes: stat.files() - stat.files_free(),
        total_inodes: stat.files(),
        available_bytes: Some(stat.blocks_available() * unit),
    };
    Ok(Disk { path: path.to_owned(), usage })
}

/// By how much less the file systems hold than before.
pub fn freed(before: &[Disk], after: &[Disk]) -> u64 {
    let used = |disks: &[Disk]| disks.iter().map(|disk| disk.usage.used_bytes).sum::<u64>();
    used(before).saturating_sub(used(after))
}
