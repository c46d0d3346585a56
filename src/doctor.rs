//! Is this node able to clean up, and what is to be mended? From facts to findings, pure.
//!
//! A problem is what keeps a run from doing what is configured; advice is what a person should know. Each has a way out where there is
//! one.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::Settings;
use crate::inventory::Inventory;
use crate::plan::{Plan, Refusal};
use crate::state::history::PastRun;
use crate::units::{Timestamp, human_bytes, human_span};

pub mod look;
mod units;

pub use units::{Unit, Units};

/// Where the kubelet begins to remove images by itself, unless it is configured otherwise
/// (`KubeletConfiguration.imageGCHighThresholdPercent`).
const KUBELETS_THRESHOLD: u8 = 85;
/// The default schedule is a week; a run may be late by a day.
const LONG_AGO: Duration = Duration::from_hours(15 * 24);

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Nothing keeps a run from its work, but a person should know.
    Advice,
    /// A run can't do what is configured.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it is about, in a word.
    pub about: &'static str,
    /// What is so.
    pub what: String,
    /// The way out.
    pub hint: Option<String>,
}

/// What a run would see and do, or why it couldn't.
pub type Seen = Result<(Inventory, Plan), String>;
/// What programs say of their versions, each by its path.
pub type Programs = Vec<(PathBuf, Option<String>)>;

/// What there is to know.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// The program may do everything.
    pub is_root: bool,
    /// `/etc/nuke-images/disabled` is there.
    pub is_disabled: bool,
    /// The configuration in force; where it is wrong, the default.
    pub settings: &'a Settings,
    /// What is wrong with it.
    pub config_error: Option<String>,
    /// What an unattended run would see and do.
    pub node: Seen,
    /// The programs that it would start.
    pub programs: Programs,
    /// The product's units; `None` where systemd doesn't run.
    pub units: Option<Units>,
    /// The last clean-up, or why the memory can't be read.
    pub last_run: Result<Option<PastRun>, String>,
    /// Folders that metrics go to: whether each is there, and whether it is somebody else's than root's.
    pub metrics: Vec<(PathBuf, bool, bool)>,
}

/// Everything that was looked at, in the order in which a person would.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(rights(facts));
    found.extend(config(facts));
    found.extend(node(facts));
    found.extend(units::findings(facts));
    found.extend(last_run(facts));
    found.extend(metrics(facts));
    found
}

/// A finding that needs no way out.
fn good(about: &'static str, what: impl Into<String>) -> Finding {
    Finding { level: Level::Good, about, what: what.into(), hint: None }
}

fn advice(about: &'static str, what: impl Into<String>, hint: &str) -> Finding {
    Finding { level: Level::Advice, about, what: what.into(), hint: (!hint.is_empty()).then(|| hint.into()) }
}

fn problem(about: &'static str, what: impl Into<String>, hint: &str) -> Finding {
    Finding { level: Level::Problem, ..advice(about, what, hint) }
}

fn rights(facts: &Facts) -> Vec<Finding> {
    let root = if facts.is_root {
        good("rights", "runs as root")
    } else {
        problem("rights", "doesn't run as root, so much of this can't be told", "sudo nuke-images doctor")
    };
    let off = facts.is_disabled.then(|| {
        let hint = "rm /etc/nuke-images/disabled switches it on";
        advice("rights", "this node is switched off: the units do nothing", hint)
    });
    [root].into_iter().chain(off).collect()
}

fn config(facts: &Facts) -> Vec<Finding> {
    if let Some(error) = &facts.config_error {
        return vec![problem("config", error.clone(), "mend it, and let nuke-images config check it")];
    }
    let settings = facts.settings;
    let mut found = Vec::new();
    let mut advise = |is_so: bool, what: &str, hint: &str| found.extend(is_so.then(|| advice("config", what, hint)));
    let selectors = settings.policy().selectors;
    advise(
        selectors.is_empty(),
        "nothing is configured that may go, so unattended runs only observe",
        "set all, registries or include in [images] once nuke-images --dry-run shows what you expect",
    );
    advise(
        settings.disk.high_threshold.is_some_and(|percent| percent.0 >= KUBELETS_THRESHOLD),
        "high_threshold is not below 85, where the kubelet begins to remove images by itself",
        "write a lower one in [disk], and a low_threshold below 80",
    );
    advise(settings.safety.allow_idle, "runs also while nothing at all is in use", "unless that is meant, take allow_idle out of [safety]");
    advise(
        settings.safety.min_uptime.0.is_zero(),
        "runs also right after a boot, when pods may be missing yet",
        "unless that is meant, take min_uptime out of [safety]",
    );
    advise(
        !settings.images.keep_unpullable,
        "removes images that can't be pulled again",
        "unless that is meant, take keep_unpullable out of [images]",
    );
    advise(
        settings.memory.when_available_below.is_some() && settings.memory().is_empty(),
        "when_available_below has no effect, as no memory is given back",
        "set drop_caches or reclaim in [memory]",
    );
    if found.is_empty() { vec![good("config", "nothing to say about it")] } else { found }
}

fn node(facts: &Facts) -> Vec<Finding> {
    let (inventory, plan) = match &facts.node {
        Ok((inventory, plan)) => (inventory, plan),
        Err(error) => return vec![problem("runtime", error.clone(), "nothing is removed until a run can see all of it")],
    };
    let runtime = &inventory.runtime;
    let what = format!("{} {} on {}, {} images", runtime.name, runtime.version, runtime.endpoint, inventory.images.len());
    let mut found = vec![good("runtime", what)];
    found.extend(programs(facts, inventory));
    found.extend(inventory.gaps.iter().map(|gap| advice("runtime", gap.clone(), "what this is about stays")));
    for refusal in &plan.refusals {
        let (what, hint) = refusal.words();
        let what = format!("an unattended run would be refused: {what}");
        found.push(match refusal {
            Refusal::NothingInUse => problem("safety", what, hint),
            // It is over by itself.
            Refusal::JustStarted { .. } => advice("safety", what, ""),
        });
    }
    found.extend(disks(facts, inventory));
    found
}

fn programs(facts: &Facts, inventory: &Inventory) -> Vec<Finding> {
    let runtime = &inventory.runtime;
    let own = |path: &Option<PathBuf>| facts.programs.iter().find(|(program, _)| Some(program) == path.as_ref());
    let mut found = Vec::new();
    for path in [&runtime.ctr, &runtime.crictl] {
        let Some((path, version)) = own(path) else {
            continue;
        };
        let version = version.as_ref().map_or("which doesn't say its version", String::as_str);
        found.push(good("programs", format!("{}, {version}", path.display())));
    }
    let is_containerd = runtime.name == "containerd";
    if is_containerd && runtime.ctr.is_none() {
        let what = "without ctr, what somebody made beside CRI is seen only while it runs, and less is known of sizes";
        found.push(advice("programs", what, "give the node the ctr of its containerd"));
    }
    if is_containerd && version_of(&runtime.version).is_some_and(knows_no_pins) {
        let what = format!("containerd {} knows no pins: its own tools and the kubelet may remove the sandbox image", runtime.version);
        found.push(advice("programs", what, "1.6.22, 1.7.3 and newer know them; nuke-images keeps that image by the configuration"));
    }
    let crictl = own(&runtime.crictl).and_then(|(_, version)| version_of(version.as_deref()?));
    if crictl.is_some_and(|version| version < (1, 30, 0)) {
        let what = "this crictl's own rmi --prune ignores pins and removes the sandbox image";
        found.push(advice("programs", what, "let nobody and no script call it; nuke-images never does"));
    }
    found
}

/// Pins came with 1.6.22 and 1.7.3.
fn knows_no_pins(version: (u32, u32, u32)) -> bool {
    version < (1, 6, 22) || ((1, 7, 0)..(1, 7, 3)).contains(&version)
}

/// The first three numbers of `containerd.io 1.7.24~ds1`.
fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    let is_one = |word: &&str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let word = text.split_whitespace().find(is_one)?.trim_start_matches('v');
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

fn disks(facts: &Facts, inventory: &Inventory) -> Vec<Finding> {
    let target = facts.settings.policy().target;
    let about = |disk: &crate::inventory::Disk| {
        let full = disk.usage.percent_full();
        let what = format!("{} is {full} % full of {}", disk.path.display(), human_bytes(disk.usage.total_bytes));
        match target {
            Some(target) if target.is_exceeded(std::slice::from_ref(disk)) => {
                advice("disk", format!("{what}: fuller than it is to be"), "the next run has something to do")
            }
            None if full >= KUBELETS_THRESHOLD => {
                let hint = "the kubelet removes images by itself from 85 % on; clean up, or more often";
                advice("disk", what, hint)
            }
            Some(_) | None => good("disk", what),
        }
    };
    inventory.disks.iter().filter(|disk| disk.holds.is_images()).map(about).collect()
}

fn last_run(facts: &Facts) -> Vec<Finding> {
    let run = match &facts.last_run {
        Err(error) if facts.is_root => {
            let hint = "the next run starts with an empty memory, and everything counts as first seen then";
            return vec![problem("last run", error.clone(), hint)];
        }
        // Said already.
        Err(_) => return Vec::new(),
        Ok(None) => return vec![advice("last run", "no clean-up is remembered", "nuke-images --dry-run shows what one would do")],
        Ok(Some(run)) => run,
    };
    let age = facts.now.since(run.started_at);
    let ago = age.map_or("in the future".into(), |age| format!("{} ago", human_span(age)));
    let look = "nuke-images history tells more, and journalctl -t nuke-images everything";
    let found = match (run.exit_code, &run.error) {
        (Some(0), _) if age.is_some_and(|age| age > LONG_AGO) => {
            advice("last run", format!("it was {ago}"), "systemctl list-timers nuke-images.timer shows when the next one is due")
        }
        (Some(0), _) => good("last run", format!("{ago}, without a failure")),
        (Some(128..), _) => advice("last run", format!("{ago}, ended by a signal"), look),
        (Some(code), Some(error)) => problem("last run", format!("{ago}, failed (exit {code}): {error}"), look),
        (Some(code), None) => problem("last run", format!("{ago}, not everything worked (exit {code})"), look),
        (None, _) => advice("last run", format!("{ago}, goes on or was killed"), look),
    };
    vec![found]
}

fn metrics(facts: &Facts) -> Vec<Finding> {
    let is_named = matches!(facts.settings.metrics.textfile.0, crate::metrics::Metrics::Folder(_));
    let about = |(folder, is_there, is_foreign): &(PathBuf, bool, bool)| {
        let folder = folder.display();
        match (is_there, is_foreign, is_named) {
            (false, _, _) => problem("metrics", format!("there is no folder {folder}"), "make it, or set another textfile in [metrics]"),
            (true, true, false) => advice(
                "metrics",
                format!("{folder} is somebody else's than root's, so the service can't write there"),
                "name it as textfile in [metrics], and sudo nuke-images install lets the service through",
            ),
            (true, _, _) => good("metrics", format!("go to {folder}")),
        }
    };
    facts.metrics.iter().map(about).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Runtime;
    use crate::inventory::samples::{disk, inventory, now, used_image};
    use crate::report::Trigger;

    /// A node on which all is well but that nothing is configured.
    pub(super) fn facts(settings: &Settings) -> Facts<'_> {
        let node = inventory(vec![used_image("quay.io/a/web:1")]);
        let plan = Plan::new(&node, &settings.policy());
        let mut run = PastRun::begun(now(), Trigger::Timer);
        run.end(now(), 0, None);
        Facts {
            now: now(),
            is_root: true,
            is_disabled: false,
            settings,
            config_error: None,
            node: Ok((node, plan)),
            programs: Vec::new(),
            units: None,
            last_run: Ok(Some(run)),
            metrics: Vec::new(),
        }
    }

    /// What is found about something.
    pub(super) fn about(facts: &Facts, what: &str) -> Vec<Finding> {
        findings(facts).into_iter().filter(|finding| finding.about == what).collect()
    }

    pub(super) fn said<'a>(found: &'a [Finding], what: &str) -> Vec<(Level, &'a str)> {
        found.iter().filter(|finding| finding.about == what).map(|finding| (finding.level, finding.what.as_str())).collect()
    }

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_node_on_which_all_is_well_has_no_problem_and_all_that_is_not_good_has_a_way_out() {
        let settings = settings("[images]\nall = true\n");
        let found = findings(&facts(&settings));
        assert!(found.iter().all(|finding| finding.level != Level::Problem), "{found:?}");
        assert_eq!(said(&found, "config"), [(Level::Good, "nothing to say about it")]);
        assert_eq!(said(&found, "last run"), [(Level::Good, "0 s ago, without a failure")]);
    }

    #[test]
    fn each_thing_that_keeps_a_run_from_its_work_is_a_problem_with_a_way_out() {
        let settings = settings("[images]\nall = true\n[metrics]\ntextfile = \"/srv/m\"\n");
        let idle = inventory(vec![]);
        let plan = Plan::new(&idle, &settings.policy());
        let mut failed = PastRun::begun(now(), Trigger::Timer);
        failed.end(now(), 1, Some("list containers: broken".into()));
        let facts = || facts(&settings);
        for (facts, what) in [
            (Facts { is_root: false, ..facts() }, "rights"),
            (Facts { config_error: Some("a.toml:1:1: no".into()), ..facts() }, "config"),
            (Facts { node: Err("no runtime answers".into()), ..facts() }, "runtime"),
            (Facts { node: Ok((idle, plan)), ..facts() }, "safety"),
            (Facts { last_run: Ok(Some(failed)), ..facts() }, "last run"),
            (Facts { last_run: Err("read state.json: EOF".into()), ..facts() }, "last run"),
            (Facts { metrics: vec![("/srv/m".into(), false, false)], ..facts() }, "metrics"),
        ] {
            let problems: Vec<Finding> = findings(&facts).into_iter().filter(|finding| finding.level == Level::Problem).collect();
            assert_eq!(problems.iter().map(|finding| finding.about).collect::<Vec<_>>(), [what], "{problems:?}");
            assert!(problems[0].hint.is_some(), "{problems:?}");
        }
    }

    #[test]
    fn each_setting_that_a_person_should_think_about_is_advice() {
        for (toml, part) in [
            ("", "only observe"),
            ("[disk]\nhigh_threshold = 85\n", "begins to remove images by itself"),
            ("[safety]\nallow_idle = true\n", "nothing at all is in use"),
            ("[safety]\nmin_uptime = \"0s\"\n", "right after a boot"),
            ("[images]\nkeep_unpullable = false\n", "can't be pulled again"),
            ("[memory]\nwhen_available_below = 10\n", "has no effect"),
        ] {
            let settings = settings(toml);
            let found = about(&facts(&settings), "config");
            assert!(found.iter().any(|finding| finding.level == Level::Advice && finding.what.contains(part)), "{part}: {found:?}");
            assert!(found.iter().all(|finding| finding.hint.is_some()));
        }
        assert_eq!(about(&facts(&settings("[images]\nall = true\n[disk]\nhigh_threshold = 84\n")), "config").len(), 1);
    }

    #[test]
    fn versions_that_are_known_to_be_bad_are_named() {
        let settings = Settings::default();
        let advised = |server: &str, crictl: &str| {
            let mut facts = facts(&settings);
            let Ok((node, _)) = &mut facts.node else { unreachable!("a node") };
            node.runtime = Runtime { version: server.into(), crictl: Some("/usr/bin/crictl".into()), ..node.runtime.clone() };
            facts.programs = vec![("/usr/bin/crictl".into(), Some(crictl.into()))];
            let found = about(&facts, "programs").into_iter().filter(|finding| finding.level == Level::Advice);
            found.map(|finding| if finding.what.contains("pins: its own") { "containerd" } else { "crictl" }).collect::<Vec<_>>()
        };
        for (server, crictl, expected) in [
            ("1.6.20~ds1", "crictl version 1.30.1", vec!["containerd"]),
            ("v1.6.22", "crictl version v1.30.0", vec![]),
            ("1.7.2", "crictl version v1.29.9", vec!["containerd", "crictl"]),
            ("1.7.3", "unknown", vec![]),
            ("2.1.4", "crictl version 1.29.0-k3s1", vec!["crictl"]),
            ("unknown", "", vec![]),
        ] {
            assert_eq!(advised(server, crictl), expected, "{server} {crictl}");
        }
    }

    #[test]
    fn a_disk_is_held_against_what_is_configured_and_else_against_the_kubelet() {
        let look = |toml: &str, used: u64| {
            let settings = settings(toml);
            let mut facts = facts(&settings);
            let Ok((node, _)) = &mut facts.node else { unreachable!("a node") };
            node.disks = vec![disk("/var/lib/containerd", used * 10)];
            about(&facts, "disk")[0].level
        };
        for (toml, used, level) in [
            ("", 84, Level::Good),
            ("", 85, Level::Advice),
            ("[disk]\nhigh_threshold = 60\n", 60, Level::Good),
            ("[disk]\nhigh_threshold = 60\n", 61, Level::Advice),
        ] {
            assert_eq!(look(toml, used), level, "{toml} {used}");
        }
    }

    #[test]
    fn a_last_run_that_lies_long_back_or_was_ended_by_a_signal_is_advice() {
        let settings = Settings::default();
        let mut ended = PastRun::begun(now(), Trigger::Timer);
        ended.end(now(), 143, None);
        let later = Timestamp::from_unix(now().unix() + 16 * 86_400);
        for facts in [
            Facts { now: later, ..facts(&settings) },
            Facts { last_run: Ok(Some(ended)), ..facts(&settings) },
            Facts { last_run: Ok(Some(PastRun::begun(now(), Trigger::Timer))), ..facts(&settings) },
            Facts { last_run: Ok(None), ..facts(&settings) },
        ] {
            assert_eq!(about(&facts, "last run")[0].level, Level::Advice, "{:?}", facts.last_run);
        }
    }
}
