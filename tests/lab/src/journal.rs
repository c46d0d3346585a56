//! A journal that the product's log arrives in: what journald reads from its socket, entry by entry.
//!
//! The format is systemd's native one (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): `NAME=value` a line, or for any
//! bytes `NAME`, a newline, eight bytes of length and the value.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result};

/// Fields of one entry by name.
pub type Entry = BTreeMap<String, String>;

/// What ends the reading; no entry looks like it.
pub(crate) const END: &[u8] = b"end";

/// Entries until [`END`] comes.
pub(crate) fn read(socket: &UnixDatagram) -> Result<Vec<Entry>> {
    let (mut entries, mut buffer) = (vec![], vec![0; 1 << 20]);
    loop {
        let length = socket.recv(&mut buffer).context("read from the journal's socket")?;
        match &buffer[..length] {
            END => return Ok(entries),
            // A client that looks whether anybody listens.
            [] => {}
            entry => entries.push(parse(entry).with_context(|| format!("read {:?}", String::from_utf8_lossy(entry)))?),
        }
    }
}

fn parse(mut rest: &[u8]) -> Option<Entry> {
    let mut entry = Entry::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b'\n'))?;
        let (name, behind) = (&rest[..end], &rest[end + 1..]);
        let (value, behind) = if rest[end] == b'=' {
            behind.split_at(behind.iter().position(|byte| *byte == b'\n')?)
        } else {
            let (length, behind) = behind.split_first_chunk()?;
            behind.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        entry.insert(text(name), text(value));
        rest = behind.strip_prefix(b"\n")?;
    }
    Some(entry)
}
