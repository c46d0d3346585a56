//! Files of our own: written whole or not at all, and the lock that lets only one run change anything.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held for as long as this run may change something; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// Held by whoever looks at or cleans the node.
pub const LOCK: &str = "/run/nuke-images/lock";

impl RunLock {
    /// Takes the lock; `None` if another run holds it.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let folder = folder_of(path);
        make_folder(folder)?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(path);
        let file = open.with_context(|| format!("open the lock {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// Reads a regular file of at most `cap` bytes. What hangs or never ends (a pipe, a device) is refused before it is read.
pub fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(io::Error::other(format!("has more than {cap} bytes, and that much is not read")));
    }
    Ok(bytes)
}

/// The same as text; bytes that are no UTF-8 are replaced.
pub fn read_text(path: &Path, cap: u64) -> io::Result<String> {
    let bytes = read_capped(path, cap)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Replaces `path` with `bytes`, readable by root alone: after a crash at any instant the old or the new text is there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    make_folder(folder_of(path))?;
    write_draft(path, bytes, 0o600)?;
    put_in_place(path)
}

/// What a file is called until it is whole.
pub fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.draft"))
}

/// Writes the draft of `path`, whole and synced, in a folder that is there.
pub fn write_draft(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let draft = draft_of(path);
    let result = write_synced(&draft, bytes, mode);
    if result.is_err() {
        // What is left of a draft on a full disk is in the way; the error that matters is the first one.
        _ = fs::remove_file(&draft);
    }
    result.with_context(|| format!("write {}", path.display()))
}

/// Makes the draft of `path` the file itself, in one step.
pub fn put_in_place(path: &Path) -> Result<()> {
    let draft = draft_of(path);
    let result = fs::rename(&draft, path).and_then(|()| File::open(folder_of(path))?.sync_all());
    if result.is_err() {
        _ = fs::remove_file(&draft);
    }
    result.with_context(|| format!("write {}", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = fs::create_dir_all(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o750)));
    made.with_context(|| format!("create the folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("run/lock");
        let first = RunLock::take(&path).expect("take");
        assert!(first.is_some());
        assert!(RunLock::take(&path).expect("take").is_none());
        drop(first);
        assert!(RunLock::take(&path).expect("take").is_some());
    }

    #[test]
    fn only_a_regular_file_that_is_not_too_large_is_read() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        fs::write(&file, "four").expect("write");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("pipe");
        assert_eq!(read_text(&file, 4).expect("read"), "four");
        for (path, cap, part) in
            [(&file, 3, "more than 3 bytes"), (&pipe, 9, "no regular file"), (&"/dev/zero".into(), 9, "no regular file")]
        {
            let error = read_capped(path, cap).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(read_capped(&folder.path().join("none"), 9).expect_err("none").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_draft() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state/state.json");
        write_atomically(&path, b"one").expect("write");
        write_atomically(&path, b"two").expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1);
        assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.json");
        fs::create_dir(&path).expect("folder");
        let error = write_atomically(&path, b"one").expect_err("a folder");
        assert!(format!("{error:#}").contains("state.json"));
        assert!(!draft_of(&path).exists());
    }
}
