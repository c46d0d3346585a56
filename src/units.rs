//! Points in time, spans, sizes and foreign texts: how they are stored, read and written for people.
//!
//! There is no clock in here: `now` is handed in.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// A point in time, whole seconds since 1970; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// Seconds since 1970.
    pub fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }

    /// How long `earlier` lies back; `None` if it lies in the future.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_secs)
    }

    /// This point by a clock on which `then` is `now`.
    #[must_use]
    pub fn moved(self, then: Self, now: Self) -> Self {
        Self(self.0.saturating_add(now.0).saturating_sub(then.0))
    }

    /// This point less a span, not before 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }
}

impl Timestamp {
    /// The time of a file; `None` at the beginning of 1970 or before it, which is what is written where there was no clock.
    pub fn of_file(time: SystemTime) -> Option<Self> {
        Some(Self::from(time)).filter(|time| time.0 > 0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }
}

/// The last second that RFC 3339 can write with a year of four digits.
const LAST_SECOND: u64 = 253_402_300_799;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_secs(self.0.min(LAST_SECOND));
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self::from)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// A span for people, in its largest unit: `12 min`, `3 h`, `5 days`.
pub fn human_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A size for people, in binary units: `1.4 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A number that is the same for the same bytes, whatever the version: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>),
/// and the finaliser of `MurmurHash3`, without which texts that differ in their last digit alone would lie side by side.
pub fn mixed(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// A text that others chose, fit for a terminal and the journal: at most 500 characters, [`escaped`].
pub fn printable(text: &str) -> String {
    escape(text.chars().take(500))
}

/// The same in full length: what a terminal would obey becomes `\u{…}`.
pub fn escaped(text: &str) -> String {
    escape(text.chars())
}

fn escape(characters: impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    for c in characters {
        if is_obeyed(c) { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// Does a terminal obey this character instead of showing it? Control characters, and those that turn the direction of
/// writing and so show a name as another (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>).
pub fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_json() {
        let time = Timestamp::from_unix(1_795_000_000);
        let json = serde_json::to_string(&time).expect("serialise");
        assert_eq!(json, "\"2026-11-18T11:06:40Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("parse"), time);
    }

    #[test]
    fn a_timestamp_far_away_is_written_without_a_panic() {
        assert_eq!(Timestamp::from_unix(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_file_from_before_time_was_counted_has_no_time() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::of_file(UNIX_EPOCH - second), None);
        assert_eq!(Timestamp::of_file(UNIX_EPOCH), None);
        assert_eq!(Timestamp::of_file(UNIX_EPOCH + second), Some(Timestamp::from_unix(1)));
    }

    #[test]
    fn the_future_is_no_age() {
        let now = Timestamp::from_unix(100);
        assert_eq!(now.since(Timestamp::from_unix(101)), None);
        assert_eq!(now.since(Timestamp::from_unix(40)), Some(Duration::from_mins(1)));
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, shown) in
            [("a/b:1 ä", "a/b:1 ä"), ("\u{1b}[2J\r\n", "\\u{1b}[2J\\r\\n"), ("\u{9b}31m", "\\u{9b}31m"), ("a\u{202e}gpj", "a\\u{202e}gpj")]
        {
            assert_eq!((printable(text), escaped(text)), (shown.to_owned(), shown.to_owned()));
        }
        let long = "x".repeat(501);
        assert_eq!((printable(&long).len(), escaped(&long).len()), (500, 501));
    }

    #[test]
    fn spans_and_sizes_read_well() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (720, "12 min"), (3_600, "1 h"), (100_000, "27 h"), (432_000, "5 days")] {
            assert_eq!(human_span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(human_bytes(1_503_238_553), "1.4 GiB");
        assert_eq!(human_bytes(0), "0 B");
    }
}
