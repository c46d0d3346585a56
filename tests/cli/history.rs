//! `history` from outside: what earlier runs removed, with what it can be pulled again by.

use serde_json::json;

use crate::CLEAN;
use crate::node::{A, B, Node};

#[test]
fn history_tells_each_run_the_newest_first_with_what_it_removed() {
    let node = Node::new();
    assert!(node.run(&["history"]).exits(0).stdout.starts_with("no clean-up of "));
    node.run(&CLEAN).exits(0);
    node.behaves_at("containers ls", "echo broken >&2; exit 1");
    node.run(&CLEAN).exits(1);
    node.run(&["--no-images", "--drop-caches"]).exits(0);
    let text = node.run(&["history"]).exits(0).stdout;
    let [_, digest, _] = A.references();
    assert!(text.contains(&format!("  ✓ {} = {digest} ", A.tag)), "{text}");
    assert!(text.contains("  removed 2 of 2 that could go") && text.contains("  kept: 1 in use\n"), "{text}");
    let failed = text.find("  failed (exit 1): list containers: ").expect("the failed one");
    assert!(text.find("  memory alone\n") < Some(failed) && failed < text.find(A.tag).expect("the first one"), "{text}");

    let json = node.run(&["history", "--output", "json"]).exits(0).json();
    let runs = json["runs"].as_array().expect("runs");
    assert_eq!((&json["schema_version"], runs.len()), (&json!(1), 3));
    let exits: Vec<_> = runs.iter().map(|run| run["exit_code"].as_u64()).collect();
    assert_eq!((exits, &runs[2]["trigger"]), (vec![Some(0), Some(1), Some(0)], &json!("person")));
    let ids: Vec<_> = runs[2]["removed"].as_array().expect("removed").iter().map(|image| image["id"].clone()).collect();
    assert!(ids.contains(&json!(A.id())) && ids.contains(&json!(B.id())), "{ids:?}");
    assert_eq!((&runs[2]["summary"]["kept"]["in_use"], &runs[0]["memory"]["outcome"]), (&json!(1), &json!("done")));
}

#[test]
fn a_memory_that_can_not_be_read_is_an_error_and_not_an_empty_history() {
    let node = Node::new();
    node.write("lib/nuke-images/state.json", "{");
    let run = node.run(&["history"]).exits(1).complains(&["error: read /var/lib/nuke-images/state.json: "]);
    assert_eq!(run.stdout, "");
}
