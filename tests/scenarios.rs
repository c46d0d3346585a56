//! Whole nodes and the whole plan that each must get.
//!
//! A folder of `tests/scenarios/`, named after the sentence that must hold, has `inventory.json` (what `nuke-images inventory
//! -o json` printed on the node), `config.toml`, `expected.json`, and `state.json` where the judgement hangs on what is
//! remembered. A new bug is a new folder: nothing else need be told of it.
//!
//! `SCENARIOS=write cargo test --test scenarios` writes each `expected.json` anew; the difference is then read before it is
//! committed, as it is a change of what is removed from nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nuke_images::config;
use nuke_images::inventory::{Image, Inventory};
use nuke_images::plan::{Plan, Refusal, Removal};
use nuke_images::policy::{Policy, Verdict};
use nuke_images::report::{Report, Run, Trigger};
use nuke_images::state;
use serde::Serialize;
use serde_json::Value;

/// A folder, read.
struct Scenario {
    folder: PathBuf,
    inventory: Inventory,
    policy: Policy,
    selects: bool,
}

/// What `expected.json` holds: the plan, and nothing that the inventory says already.
#[derive(Serialize)]
struct Expected<'a> {
    /// Without a selector the plan of `--all` is shown.
    shows_all_for_want_of_a_selector: bool,
    refusals: Vec<String>,
    planned_bytes: u64,
    removals: Vec<Going<'a>>,
    /// Name and ID of each image, and its verdict.
    images: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Going<'a> {
    image: String,
    references: &'a [nuke_images::reference::Reference],
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).expect("scenarios").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders
}

impl Scenario {
    fn read(folder: PathBuf) -> Self {
        let json = fs::read(folder.join("inventory.json")).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut inventory: Inventory = serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let memory = state::load(&folder.join("state.json")).unwrap_or_else(|error| panic!("{}: {error:#}", folder.display()));
        if memory != state::State::default() {
            memory.recall(&mut inventory.images, inventory.taken_at);
        }
        let config = config::load(Some(&folder.join("config.toml")), Vec::new()).unwrap_or_else(|error| panic!("{error}"));
        let mut policy = config.settings.policy();
        let selects = !policy.selectors.is_empty();
        policy.selectors.all |= !selects;
        Self { folder, inventory, policy, selects }
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.inventory, &self.policy)
    }

    fn render(&self, plan: &Plan) -> String {
        let call = |image: &Image| format!("{} ({})", image.display_name(), image.id.short());
        let going = |removal: &Removal| call(&self.inventory.images[removal.position]);
        let images: BTreeMap<String, String> =
            self.inventory.images.iter().zip(&plan.verdicts).map(|(image, verdict)| (call(image), words(verdict))).collect();
        assert_eq!(images.len(), self.inventory.images.len(), "{}: two images have one name and ID", self.folder.display());
        let expected = Expected {
            shows_all_for_want_of_a_selector: !self.selects,
            refusals: plan.refusals.iter().map(refusal).collect(),
            planned_bytes: plan.planned_bytes,
            removals: plan.removals.iter().map(|removal| Going { image: going(removal), references: &removal.references }).collect(),
            images,
        };
        serde_json::to_string_pretty(&expected).expect("write as JSON") + "\n"
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Keep(reason, detail) => format!("keep {}: {detail}", reason.key()),
        Verdict::Remove(reason, detail) => format!("remove {}: {detail}", reason.key()),
    }
}

fn refusal(refusal: &Refusal) -> String {
    let whom = if refusal.holds_when_attended() { "everybody" } else { "the timer" };
    format!("{whom}: {}", refusal.words().0)
}

/// The lines that differ, as diff shows them.
fn difference(expected: &str, found: &str) -> Vec<String> {
    if expected == found {
        return Vec::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // Length of the longest common rest from each pair of lines on.
    let mut rest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, j) in (0..old.len()).rev().flat_map(|i| (0..new.len()).rev().map(move |j| (i, j))) {
        rest[i][j] = if old[i] == new[j] { rest[i + 1][j + 1] + 1 } else { rest[i + 1][j].max(rest[i][j + 1]) };
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && rest[i + 1][j] >= rest[i][j + 1]) {
            lines.push(format!("  -{}", old[i]));
            i += 1;
        } else {
            lines.push(format!("  +{}", new[j]));
            j += 1;
        }
    }
    lines
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person says here that what is expected has changed")]
fn every_node_gets_the_plan_that_is_expected() {
    let write = std::env::var_os("SCENARIOS").is_some_and(|wanted| wanted == "write");
    let mut problems = Vec::new();
    for folder in folders() {
        let scenario = Scenario::read(folder.clone());
        let found = scenario.render(&scenario.plan());
        let file = folder.join("expected.json");
        if write {
            fs::write(&file, &found).expect("write what is expected");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        let lines = difference(&expected, &found);
        if !lines.is_empty() {
            problems.push(format!("{}\n{}", file.display(), lines.join("\n")));
        }
    }
    assert!(problems.is_empty(), "- expected, + found:\n{}", problems.join("\n"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the binary is started as a person starts it")]
fn the_binary_says_of_a_saved_inventory_what_the_plan_says() {
    for folder in folders().into_iter().filter(|folder| !folder.join("state.json").exists()) {
        let scenario = Scenario::read(folder.clone());
        let program = Command::new(env!("CARGO_BIN_EXE_nuke-images"))
            .args(["plan", "--output", "json", "--inventory"])
            .args([folder.join("inventory.json").as_os_str(), "--config".as_ref(), folder.join("config.toml").as_os_str()])
            .output()
            .expect("run the binary");
        assert!(program.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&program.stderr));
        let mut found: Value = serde_json::from_slice(&program.stdout).expect("one JSON object");
        let now = scenario.inventory.taken_at;
        let run = Run { dry_run: true, trigger: Trigger::Person, started_at: now, finished_at: now, memory: None };
        let report = Report::new(&scenario.inventory, &scenario.plan(), None, &run);
        let mut expected = serde_json::to_value(&report).expect("write as JSON");
        for key in ["started_at", "finished_at", "trigger"] {
            assert!(found[key].is_string(), "{key} is there");
            found[key] = Value::Null;
            expected[key] = Value::Null;
        }
        assert_eq!(found, expected, "{}", folder.display());
    }
}

#[test]
fn every_folder_is_a_sentence_and_holds_what_a_scenario_has_and_nothing_else() {
    let all = folders();
    assert!(all.len() >= 20, "{} scenarios", all.len());
    for folder in all {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let good = name.split('_').count() >= 4 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        assert!(good, "{name}");
        let entries = fs::read_dir(&folder).expect("a folder");
        let files: BTreeSet<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        let needed = ["config.toml", "expected.json", "inventory.json"].map(String::from).into();
        let mut allowed: BTreeSet<String> = BTreeSet::clone(&needed);
        allowed.insert("state.json".into());
        assert!(files.is_superset(&needed) && files.is_subset(&allowed), "{name}: {files:?}");
    }
}

#[test]
fn a_difference_names_what_came_and_what_went_and_nothing_that_stayed() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\nd\n"), ["  -b", "  +x", "  +d"]);
    assert_eq!(difference("a\nb\n", "b\na\n").len(), 2);
    assert!(difference("a\n", "a\n").is_empty());
}

/// A scenario is what the program itself prints: a key that it doesn't know would be a fact that no judgement sees.
#[test]
fn every_inventory_has_the_exact_form_that_the_program_writes() {
    for folder in folders() {
        let text = fs::read_to_string(folder.join("inventory.json")).expect("an inventory");
        let inventory: Inventory = serde_json::from_str(&text).expect("an inventory");
        let lines = difference(&text, &nuke_images::output::json::render(&inventory).expect("JSON"));
        assert!(lines.is_empty(), "{}:\n{}", folder.display(), lines.join("\n"));
    }
}
