//! `doctor` from outside: on a machine without systemd, which can nevertheless clean up.

use serde_json::Value;

use crate::node::{Node, Run};
use crate::{CLEAN, assert_nothing_removed};

/// `level: what` of each finding about something.
fn about(run: &Run, what: &str) -> Vec<String> {
    let json = run.json();
    let findings = json["findings"].as_array().expect("findings").iter().filter(|finding| finding["about"] == what);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings.map(|finding| format!("{}: {}", text(&finding["level"]), text(&finding["what"]))).collect()
}

#[test]
fn doctor_finds_nothing_wrong_on_a_node_that_can_clean_up_and_changes_nothing() {
    let node = Node::new();
    let json = node.run(&["doctor", "--output", "json"]).exits(0);
    assert_eq!(json.json()["problems"], 0);
    assert!(about(&json, "runtime")[0].starts_with("good: containerd 1.7.24 on unix://"), "{json:?}");
    assert!(about(&json, "config")[0].contains("unattended runs only observe"), "{json:?}");
    assert_eq!(about(&json, "last run"), ["advice: no clean-up is remembered"]);
    let text = node.run(&["doctor"]).exits(0).stdout;
    assert!(text.contains("✓ rights    runs as root\n") && text.ends_with("\nThis node can do what is configured.\n"), "{text}");
    assert!(!node.path("run/nuke-images").exists() && !node.path("lib/nuke-images").exists());
    assert_nothing_removed(&node);
}

#[test]
fn doctor_names_what_is_wrong_with_a_way_out_and_exits_with_1() {
    let node = Node::new();
    node.behaves_at("containers ls", "echo 'transport is closing' >&2; exit 1");
    node.run(&CLEAN).exits(1);
    let run = node.run(&["doctor", "--output", "json"]).exits(1);
    assert!(about(&run, "runtime")[0].starts_with("problem: list containers: "), "{run:?}");
    assert!(about(&run, "last run")[0].contains("failed (exit 1): list containers: "), "{run:?}");
    assert_eq!(run.json()["problems"], 2);
    let text = node.run(&["doctor"]).exits(1).stdout;
    assert!(text.contains("\n            → nuke-images history tells more") && text.contains("2 problems keep this node"), "{text}");

    node.behaves("");
    node.write("config.toml", "[images]\nal = true\n");
    let run = node.run(&["doctor", "--output", "json"]).exits(1);
    assert!(about(&run, "config")[0].contains("config.toml:2:1: al: "), "{run:?}");
}

#[test]
fn doctor_says_so_where_a_node_was_switched_off_or_a_memory_is_damaged() {
    let node = Node::new();
    node.write("etc/nuke-images/disabled", "");
    node.write("lib/nuke-images/state.json", "{");
    let run = node.run(&["doctor", "--output", "json"]).exits(1);
    assert!(about(&run, "rights")[1].contains("switched off"), "{run:?}");
    assert!(about(&run, "last run")[0].starts_with("problem: read /var/lib/nuke-images/state.json"), "{run:?}");
}
