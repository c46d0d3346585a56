//! The product's units, as systemd has them, and what is to be said about them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Facts, Finding, advice, good, problem};
use crate::metrics::Metrics;

/// The properties of one unit.
pub type Unit = BTreeMap<String, String>;

/// The units by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units(pub BTreeMap<String, Unit>);

const TIMER: &str = "nuke-images.timer";
const OBSERVER: &str = "nuke-images-observe.timer";
const SERVICE: &str = "nuke-images.service";

impl Units {
    /// What is asked of systemd.
    pub const PROPERTIES: &str =
        "--property=Id,LoadState,UnitFileState,ActiveState,NextElapseUSecRealtime,ReadWritePaths,CapabilityBoundingSet";

    /// The blocks that `systemctl show` prints, a blank line between two.
    pub fn parse(text: &str) -> Self {
        let unit = |block: &str| -> Option<(String, Unit)> {
            let unit: Unit = block.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect();
            Some((unit.get("Id")?.clone(), unit))
        };
        Self(text.split("\n\n").filter_map(unit).collect())
    }

    fn property(&self, unit: &str, key: &str) -> &str {
        self.0.get(unit).and_then(|unit| unit.get(key)).map_or("", String::as_str)
    }

    fn is_loaded(&self, unit: &str) -> bool {
        self.property(unit, "LoadState") == "loaded"
    }

    fn is_active(&self, unit: &str) -> bool {
        self.property(unit, "ActiveState") == "active"
    }

    /// To a path, or to a folder above it.
    fn lets_through(&self, path: &str) -> bool {
        let paths = self.property(SERVICE, "ReadWritePaths").split(' ').map(|word| word.trim_matches('"').trim_start_matches('-'));
        paths.filter(|word| !word.is_empty()).any(|word| Path::new(path).starts_with(word))
    }
}

/// Timers, and what the sandbox of the service lets through.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(units) = &facts.units else {
        return vec![advice("timer", "systemd doesn't run here, so nothing starts a clean-up by itself", "")];
    };
    if !units.is_loaded(TIMER) || !units.is_loaded(SERVICE) {
        return vec![problem("timer", "the units are not installed, so nothing starts a clean-up by itself", "sudo nuke-images install")];
    }
    let mut found = vec![timer(units)];
    if !units.is_active(OBSERVER) && !facts.settings.images.unused_for.0.is_zero() {
        let what = format!("{OBSERVER} doesn't wait, so use between two clean-ups is missed, and unused_for goes by less than there was");
        found.push(advice("timer", what, "systemctl enable --now nuke-images-observe.timer"));
    }
    let closed = sandbox(facts, units);
    if closed.is_empty() {
        found.push(good("sandbox", "lets through what is configured"));
    } else {
        found.extend(closed);
    }
    found
}

fn timer(units: &Units) -> Finding {
    let (state, enabled) = (units.property(TIMER, "ActiveState"), units.property(TIMER, "UnitFileState"));
    let next = Some(units.property(TIMER, "NextElapseUSecRealtime")).filter(|next| !next.is_empty());
    if !units.is_active(TIMER) {
        return problem("timer", format!("{TIMER} is {state} and {enabled}"), "systemctl enable --now nuke-images.timer");
    }
    match next {
        Some(next) if enabled == "disabled" => {
            advice("timer", format!("next clean-up: {next}; not enabled, so none after a reboot"), "systemctl enable nuke-images.timer")
        }
        Some(next) => good("timer", format!("next clean-up: {next}")),
        None => advice("timer", format!("{TIMER} waits for nothing"), "systemctl cat nuke-images.timer shows its schedule"),
    }
}

/// What is configured and not let through.
fn sandbox(facts: &Facts, units: &Units) -> Vec<Finding> {
    let wish = facts.settings.memory();
    let mut needed = Vec::new();
    needed.extend(wish.drop_caches.map(|_| ("drop_caches in [memory]", "/proc/sys/vm/drop_caches".to_owned())));
    needed.extend(wish.reclaim.map(|_| ("reclaim in [memory]", format!("/sys/fs/cgroup/{}", wish.cgroup))));
    let folders = facts.metrics.iter().filter(|(_, is_there, _)| *is_there);
    needed.extend(folders.map(|(folder, ..)| ("textfile in [metrics]", folder.display().to_string())));
    let closed = needed.into_iter().filter(|(_, path)| !units.lets_through(path)).map(|(key, path)| {
        let hint = format!(
            "sudo nuke-images install puts down the drop-in for it; with a package: systemctl edit nuke-images.service, ReadWritePaths={path}"
        );
        problem("sandbox", format!("the service may not write to {path}, which {key} takes"), &hint)
    });
    closed.chain(foreign(facts, units)).collect()
}

/// Somebody else's folder takes a right that root itself has not in the service.
fn foreign<'a>(facts: &'a Facts, units: &Units) -> impl Iterator<Item = Finding> + use<'a> {
    let is_named = matches!(facts.settings.metrics.textfile.0, Metrics::Folder(_));
    let may_write = units.property(SERVICE, "CapabilityBoundingSet").contains("cap_dac_override");
    let closed = facts.metrics.iter().filter(move |(_, _, is_foreign)| *is_foreign && is_named && !may_write);
    closed.map(|(folder, ..)| {
        let what = format!("{} is somebody else's than root's, and the service may not write there", folder.display());
        problem("sandbox", what, "sudo nuke-images install puts down the drop-in for it")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, facts, said};
    use super::*;
    use crate::config::Settings;
    use crate::doctor::{Level, findings};

    /// What `systemctl show` printed of three units that are installed and wait.
    const SHOWN: &str = "Id=nuke-images.timer\nLoadState=loaded\nUnitFileState=enabled\nActiveState=active\n\
        NextElapseUSecRealtime=Sun 2026-11-29 13:01:00 UTC\n\nId=nuke-images-observe.timer\nLoadState=loaded\nUnitFileState=enabled\n\
        ActiveState=active\nNextElapseUSecRealtime=Wed 2026-11-25 14:05:00 UTC\n\nId=nuke-images.service\nLoadState=loaded\n\
        UnitFileState=static\nActiveState=inactive\nReadWritePaths=-/var/lib/node_exporter/textfile_collector -/var/lib/prometheus/node-exporter\n\
        CapabilityBoundingSet=\n";

    fn of(text: &str, toml: &str) -> Vec<Finding> {
        let settings: Settings = toml::from_str(toml).expect("TOML");
        super::findings(&Facts { units: Some(Units::parse(text)), ..facts(&settings) })
    }

    #[test]
    fn tells_the_next_run_of_a_timer_that_waits() {
        let found = of(SHOWN, "");
        assert_eq!(said(&found, "timer"), [(Level::Good, "next clean-up: Sun 2026-11-29 13:01:00 UTC")]);
        assert_eq!(said(&found, "sandbox"), [(Level::Good, "lets through what is configured")]);
    }

    #[test]
    fn a_timer_that_is_not_there_or_does_not_wait_is_a_problem_with_a_way_out() {
        for (from, to, hint) in [
            ("Id=nuke-images.timer\nLoadState=loaded", "Id=nuke-images.timer\nLoadState=not-found", "sudo nuke-images install"),
            ("Id=nuke-images.service\nLoadState=loaded", "Id=nuke-images.service\nLoadState=masked", "sudo nuke-images install"),
            (
                "UnitFileState=enabled\nActiveState=active",
                "UnitFileState=disabled\nActiveState=inactive",
                "systemctl enable --now nuke-images.timer",
            ),
        ] {
            let found = of(&SHOWN.replacen(from, to, 1), "");
            assert_eq!((found[0].level, found[0].hint.as_deref()), (Level::Problem, Some(hint)), "{to}: {found:?}");
        }
        let found = of(&SHOWN.replacen("UnitFileState=enabled", "UnitFileState=disabled", 1), "");
        assert!(found[0].what.contains("none after a reboot") && found[0].level == Level::Advice, "{found:?}");
    }

    #[test]
    fn a_use_that_nobody_records_is_advice_where_it_counts() {
        let (before, after) = SHOWN.split_once("Id=nuke-images-observe.timer").expect("the observer");
        let text = format!("{before}Id=nuke-images-observe.timer{}", after.replacen("ActiveState=active", "ActiveState=inactive", 1));
        let count =
            |toml: &str| of(&text, toml).iter().filter(|finding| finding.what.contains("use between two clean-ups is missed")).count();
        assert_eq!((count(""), count("[images]\nunused_for = \"1d\"\n")), (0, 1));
    }

    #[test]
    fn what_is_configured_and_not_let_through_is_a_problem() {
        let memory = "[memory]\ndrop_caches = \"all\"\nreclaim = \"1GiB\"\ncgroup = \"kubelet.slice\"\n";
        let closed: Vec<String> =
            of(SHOWN, memory).into_iter().filter(|finding| finding.level == Level::Problem).map(|finding| finding.what).collect();
        assert_eq!(closed.len(), 2, "{closed:?}");
        assert!(closed[0].contains("/proc/sys/vm/drop_caches") && closed[1].contains("/sys/fs/cgroup/kubelet.slice"), "{closed:?}");
        let open = SHOWN.replace("ReadWritePaths=", "ReadWritePaths=/proc/sys/vm/drop_caches \"-/sys/fs/cgroup\" ");
        assert!(of(&open, memory).iter().all(|finding| finding.level == Level::Good));
    }

    #[test]
    fn somebody_elses_folder_takes_a_right_where_it_is_named() {
        let settings: Settings = toml::from_str("[metrics]\ntextfile = \"/srv/m\"\n").expect("TOML");
        let open = SHOWN.replace("ReadWritePaths=", "ReadWritePaths=-/srv/m ");
        for (text, problems) in [(open.clone(), 1), (open.replace("CapabilityBoundingSet=", "CapabilityBoundingSet=cap_dac_override"), 0)] {
            let facts = Facts { units: Some(Units::parse(&text)), metrics: vec![("/srv/m".into(), true, true)], ..facts(&settings) };
            assert_eq!(findings(&facts).iter().filter(|finding| finding.level == Level::Problem).count(), problems, "{text}");
        }
    }

    #[test]
    fn a_machine_without_systemd_starts_nothing_by_itself() {
        let settings = Settings::default();
        assert_eq!(about(&Facts { units: None, ..facts(&settings) }, "timer")[0].level, Level::Advice);
    }
}
