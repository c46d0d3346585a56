//! Whether the timer started this run, by systemd's own word: a person who starts the unit must not wait for a turn.
//!
//! It never goes by the timer's stamp file, which systemd touches when the timer is first enabled, too.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::process::{Call, CallKind, Runner, check_trusted};
use crate::runtime::find_program;

/// How long the start of a service may lie behind the firing of its timer: at boot it waits for the runtime to be up.
const FRESH: Duration = Duration::from_mins(30);
const PATIENCE: Duration = Duration::from_secs(20);
/// Object, interface and name of a property (org.freedesktop.systemd1(5)).
type Property = [&'static str; 3];
/// When the timer last fired, 0 before it does so for the first time since the boot.
const FIRED: Property =
    ["/org/freedesktop/systemd1/unit/nuke_2dimages_2etimer", "org.freedesktop.systemd1.Timer", "LastTriggerUSecMonotonic"];
/// When a run of the service last ended, 0 before the first one.
const ENDED: Property =
    ["/org/freedesktop/systemd1/unit/nuke_2dimages_2eservice", "org.freedesktop.systemd1.Unit", "InactiveEnterTimestampMonotonic"];

/// Did the timer start this run? `told` is when it fired, by the environment and since the boot. That is there from systemd
/// 252 on, and stays there for later starts, whoever makes them; so the first run after the firing is the timer's.
pub fn has_started_this(told: Option<Duration>, uptime: Option<Duration>, runner: &dyn Runner) -> bool {
    is_timers(told, uptime, &|property| {
        ask(runner, property).inspect_err(|error| tracing::debug!("ask systemd what started this run: {error:#}")).ok()
    })
}

/// What can't be asked speaks against the timer only where it has told nothing.
fn is_timers(told: Option<Duration>, uptime: Option<Duration>, ask: &dyn Fn(Property) -> Option<Duration>) -> bool {
    let fired = told.or_else(|| ask(FIRED)).filter(|fired| !fired.is_zero());
    let (Some(fired), Some(uptime)) = (fired, uptime) else {
        return false;
    };
    uptime.saturating_sub(fired) < FRESH && ask(ENDED).is_none_or(|ended| ended < fired)
}

fn ask(runner: &dyn Runner, property: Property) -> Result<Duration> {
    let program = find_program("busctl").context("find the program busctl")?;
    check_trusted(&program, &[]).map_err(|reason| anyhow!("refuse to start {}: {reason}", program.display()))?;
    let words = ["get-property", "org.freedesktop.systemd1"].into_iter().chain(property);
    let call = Call { program, args: words.map(OsString::from).collect(), kind: CallKind::Listing(PATIENCE) };
    let output = runner.run(&call).with_context(|| format!("busctl get-property {}", property[2]))?;
    ensure!(output.status.success(), "busctl get-property {}: {}", property[2], output.describe_failure());
    parse_time(&output.stdout).with_context(|| format!("read {:?}", output.stdout))
}

/// `t 1234`, in microseconds of the monotonic clock.
fn parse_time(printed: &str) -> Option<Duration> {
    Some(Duration::from_micros(printed.trim().strip_prefix("t ")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// By what the environment says, and systemd of the last firing and the last end.
    fn judged(told: Option<u64>, fired: Option<u64>, ended: Option<u64>) -> bool {
        let answer = |property: Property| if property == FIRED { fired.map(seconds) } else { ended.map(seconds) };
        is_timers(told.map(seconds), Some(seconds(5000)), &answer)
    }

    #[test]
    fn the_first_run_after_the_timer_has_fired_is_the_timers_and_no_other() {
        for (fired, ended, timers) in [
            (Some(4999), Some(0), true),
            (Some(4999), Some(4998), true),
            (Some(5001), Some(0), true),
            (Some(4999), Some(4999), false),
            (Some(4990), Some(4995), false),
            (Some(3201), Some(0), true),
            (Some(3200), Some(0), false),
            (Some(0), Some(0), false),
            (None, Some(0), false),
        ] {
            assert_eq!(judged(None, fired, ended), timers, "systemd says {fired:?} {ended:?}");
            assert_eq!(judged(fired, Some(0), ended), timers, "the environment says {fired:?} {ended:?}");
        }
        let just_booted = is_timers(None, Some(seconds(3)), &|_| Some(Duration::ZERO));
        assert!(!just_booted, "it hasn't fired since the boot");
    }

    #[test]
    fn where_systemd_can_not_be_asked_its_environment_is_believed() {
        assert!(judged(Some(4999), None, None) && !judged(Some(1), None, None) && !judged(None, None, None));
        assert!(!is_timers(Some(seconds(4999)), None, &|_| None), "nobody knows how long ago that was");
    }

    #[test]
    fn reads_a_time_and_nothing_else() {
        assert_eq!(parse_time("t 44210846162\n"), Some(Duration::from_micros(44_210_846_162)));
        for other in ["", "t\n", "t -1\n", "s \"252\"\n", "t 1 2\n"] {
            assert_eq!(parse_time(other), None, "{other:?}");
        }
    }
}
