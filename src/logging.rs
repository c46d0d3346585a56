//! Logs: to journald as fields under systemd, else plain lines on stderr. The only reader of the environment.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::cli::Options;
use crate::report::Trigger;
use crate::units::escaped;

/// Where the logs go and how the run came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// stdout or stderr are the journal: the story is told there, field by field, and not as a table.
    pub in_journal: bool,
    /// Who started the run.
    pub trigger: Trigger,
    /// How long after the boot the timer fired that started the unit this time or an earlier one (from systemd 252 on).
    pub timer_fired: Option<Duration>,
    /// Does the person want no colours anywhere (<https://no-color.org>)?
    pub no_color: bool,
}

/// Looks at the surroundings and starts logging.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn start(options: &Options) -> Surroundings {
    let in_journal = env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stderr(&stream));
    let invocation = env::var("INVOCATION_ID").ok();
    let level = match (options.quiet, options.verbose, io::stderr().is_terminal()) {
        (true, _, _) => LevelFilter::ERROR,
        (false, true, _) => LevelFilter::DEBUG,
        // A person sees the table; a log file has only these lines.
        (false, false, true) => LevelFilter::WARN,
        (false, false, false) => LevelFilter::INFO,
    };
    let journal = in_journal.then(|| tracing_journald::layer().ok()).flatten().map(|layer| {
        let fields = invocation.iter().map(|id| ("INVOCATION_ID", id.clone()));
        layer.with_field_prefix(None).with_syslog_identifier("nuke-images".into()).with_custom_fields(fields)
    });
    if let Some(layer) = journal {
        tracing_subscriber::registry().with(layer.with_filter(level)).init();
    } else {
        let plain = fmt::layer().with_writer(|| Lines).with_target(false).with_ansi(false).without_time();
        tracing_subscriber::registry().with(plain.with_filter(level)).init();
    }
    Surroundings {
        in_journal,
        trigger: if in_journal && invocation.is_some() { Trigger::Timer } else { Trigger::Person },
        timer_fired: env::var("TRIGGER_TIMER_MONOTONIC_USEC").ok().and_then(|time| Some(Duration::from_micros(time.parse().ok()?))),
        no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    }
}

/// Writes a line for a person to stderr. That nobody reads it any more (`2>&1 | head`) is no error.
pub fn say(line: &str) {
    _ = Lines.write_all(format!("{line}\n").as_bytes());
}

/// stderr, whole lines at a time, in which names that others chose can't do anything to a terminal.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = escaped(text.strip_suffix('\n').unwrap_or(&text));
        io::stderr().write_all(format!("{line}\n").as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `JOURNAL_STREAM` is `device:inode` of the stream that systemd connected to the journal (systemd.exec(5)).
fn is_stderr(stream: &str) -> bool {
    let own = std::fs::metadata("/dev/stderr").map(|metadata| format!("{}:{}", metadata.dev(), metadata.ino()));
    own.is_ok_and(|own| own == stream)
}
