//! When a run that a timer started may begin: a node's own moment, the same each time, and not right after a boot.
//!
//! systemd's jitter goes by the machine ID; nodes cloned with one would all run at once. The wait here goes by the node's
//! name too. A person who starts the unit doesn't wait.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::signals::Interrupt;
use crate::units::{Timestamp, human_span, mixed};

/// systemd touches this when the timer fires (`Persistent=`); before systemd 252 nothing else tells of it.
const STAMP: &str = "/var/lib/systemd/timers/stamp-nuke-images.timer";
/// How long the start of a service may lie behind the firing of its timer.
const FRESH: Duration = Duration::from_mins(1);
/// How far apart what one call does may be.
const SAME_MOMENT: Duration = Duration::from_secs(1);
/// By how much the runtime may be younger than the machine.
const RUNTIME_START: Duration = Duration::from_mins(2);
/// Switches the node off; the units look at it too.
pub const DISABLED: &str = "/etc/nuke-images/disabled";
/// How often the wait looks up to see an interruption.
const TICK: Duration = Duration::from_millis(500);

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is this node's turn.
    Come,
    /// A signal ended the wait.
    Interrupted,
    /// The node was switched off.
    Disabled,
}

/// Did the timer start this run? `fired` is what systemd says, of this start or an earlier one.
pub fn is_timers(fired: Option<Timestamp>, now: Timestamp) -> bool {
    match fired {
        Some(fired) => now.since(fired).is_none_or(|age| age < FRESH),
        None => has_just_fired(Path::new(STAMP)),
    }
}

/// Waits for this node's turn if a timer started the run: its part of `splay`, and until the machine has been up for
/// `min_uptime`, which a run that was missed and is made up for at boot would be refused for.
pub fn wait(is_timers: bool, splay: Duration, min_uptime: Duration, interrupt: &Interrupt) -> Turn {
    if !is_timers {
        return Turn::Come;
    }
    let patience = patience(part_of(splay, &identity()), min_uptime, uptime());
    if !patience.is_zero() {
        tracing::info!(seconds = patience.as_secs(), "wait {} for this node's turn", human_span(patience));
    }
    let started = Instant::now();
    while started.elapsed() < patience {
        if interrupt.is_set() {
            return Turn::Interrupted;
        }
        sleep(TICK.min(patience.saturating_sub(started.elapsed())));
    }
    if fs::exists(DISABLED).unwrap_or(false) {
        tracing::info!(file = DISABLED, "this node is switched off");
        return Turn::Disabled;
    }
    Turn::Come
}

fn patience(splay: Duration, min_uptime: Duration, uptime: Option<Duration>) -> Duration {
    match uptime.and_then(|uptime| min_uptime.checked_sub(uptime)) {
        Some(missing) if !missing.is_zero() => splay + missing + RUNTIME_START,
        Some(_) | None => splay,
    }
}

/// The same for a node each time, and evenly spread over nodes.
fn part_of(splay: Duration, identity: &str) -> Duration {
    let per_mille = mixed(identity.as_bytes()) % 1000;
    splay.mul_f64(f64::from(u32::try_from(per_mille).unwrap_or_default()) / 1000.0)
}

fn identity() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    format!("{}\n{}", name.to_string_lossy(), machine.trim())
}

fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split(' ').next()?.parse().ok()?).ok()
}

fn has_just_fired(stamp: &Path) -> bool {
    let times = || {
        let metadata = fs::metadata(stamp).ok()?;
        let touched = metadata.modified().ok()?;
        Some((touched.elapsed().ok()?, metadata.created().ok().and_then(|made| touched.duration_since(made).ok())))
    };
    times().is_some_and(|(age, since_made)| tells_of_firing(age, since_made))
}

/// systemd makes the stamp when the timer is first enabled, too: one that was touched when it was made tells of nothing.
fn tells_of_firing(age: Duration, since_made: Option<Duration>) -> bool {
    age < FRESH && since_made.is_none_or(|since| since > SAME_MOMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_node_waits_the_same_each_time_whatever_the_version() {
        assert_eq!(part_of(HOUR, "node-1\n0123"), part_of(HOUR, "node-1\n0123"));
        assert_eq!(mixed(b"node-1\n0123456789abcdef0123456789abcdef"), 0x3cfb_e8d9_8ffc_f0ea);
        assert_eq!(part_of(Duration::ZERO, "node-1\n0123"), Duration::ZERO);
    }

    #[test]
    fn clones_with_one_machine_id_are_spread_evenly_over_the_splay() {
        let mut tenths = [0; 10];
        for node in 0..1000 {
            let part = part_of(HOUR, &format!("node-{node}\n0123456789abcdef0123456789abcdef"));
            assert!(part < HOUR);
            tenths[usize::try_from(part.as_secs() / 360).expect("small")] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_machine_that_has_just_started_waits_until_a_run_is_not_refused_any_more() {
        let (splay, half) = (Duration::from_mins(7), Duration::from_mins(30));
        for (uptime, minutes) in [(Some(0), 39), (Some(20), 19), (Some(29), 10), (Some(30), 7), (Some(90), 7), (None, 7)] {
            let uptime = uptime.map(Duration::from_mins);
            assert_eq!(patience(splay, half, uptime), Duration::from_mins(minutes), "{uptime:?}");
        }
    }

    #[test]
    fn a_timer_that_was_just_enabled_has_not_fired() {
        for (age, since_made, fired) in
            [(1, Some(600), true), (1, None, true), (1, Some(0), false), (90, Some(600), false), (90, Some(0), false), (90, None, false)]
        {
            let since_made = since_made.map(Duration::from_secs);
            assert_eq!(tells_of_firing(Duration::from_secs(age), since_made), fired, "{age} {since_made:?}");
        }
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("stamp"), "").expect("a stamp");
        assert!(!has_just_fired(&folder.path().join("stamp")) && !has_just_fired(&folder.path().join("none")));
    }

    #[test]
    fn what_systemd_says_of_an_earlier_start_is_not_of_this_one() {
        let now = Timestamp::from_unix(1_800_000_000);
        for (ago, timers) in [(0, true), (59, true), (60, false), (604_800, false)] {
            assert_eq!(is_timers(Some(now.minus(Duration::from_secs(ago))), now), timers, "{ago}");
        }
        assert_eq!(wait(false, HOUR, HOUR, &Interrupt::default()), Turn::Come);
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let interrupt = Interrupt::default();
        interrupt.set(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(wait(true, Duration::from_hours(1000), Duration::MAX / 2, &interrupt), Turn::Interrupted);
    }
}
