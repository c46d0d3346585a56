//! What the journal tells of a run, to people and to queries.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{installed, machine, node, show, start, story};

/// The query of the README, on the machine's own journal in place of one that nodes send to.
fn fleet_query() -> Result<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))?;
    let (_, query) = readme.split_once("```\njournalctl ").context("the query")?;
    let (query, _) = query.split_once("\n```").context("its end")?;
    let here = "\"$(find /var/log /run/log -name system.journal -printf '%h')\"";
    ensure!(query.matches("/var/log/journal/remote").count() == 1, "{query}");
    Ok(format!("journalctl {}", query.replace("/var/log/journal/remote", here)))
}

fn tells_the_story(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (_, unused) = node(&machine)?;
    start(&machine)?.exits(0)?;
    let told = story(&machine)?;
    for part in ["removed an image: registry.example.com/unused:1: unused\n", "run finished: removed 1 of 2 images, "] {
        assert_eq!(told.matches(part).count(), 1, "{told}");
    }
    let json = machine.run(&["journalctl", "-t", "nuke-images", "-o", "json"])?.exits(0)?.stdout;
    let entries: Vec<Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let invocations: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["INVOCATION_ID"].as_str()).collect();
    assert_eq!(invocations, BTreeSet::from([show(&machine, "nuke-images.service", "InvocationID")?.as_str()]));
    let find = |message: &str| entries.iter().find(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with(message)));
    let removal = find("removed an image").context("a removal")?;
    assert_eq!((removal["IMAGE_ID"].as_str(), removal["REASON"].as_str()), (Some(unused.id.as_str()), Some("unused")));
    let references: BTreeSet<&str> = removal["REFERENCES"].as_str().unwrap_or_default().split(' ').collect();
    assert_eq!(references, unused.references.iter().map(String::as_str).collect());
    let summary = find("run finished").context("a summary")?;
    assert_eq!((summary["REMOVED"].as_str(), summary["NODE"].as_str()), (Some("1"), Some("node-1")));
    let figures = machine.sh(&fleet_query()?)?;
    assert_eq!(figures.split('\t').take(5).collect::<Vec<_>>(), ["node-1", "1", "1", "0", "0"], "{figures}");
    for entry in [removal, summary] {
        let id = entry["MESSAGE_ID"].as_str().context("an ID")?;
        let explained = machine.run(&["journalctl", "-t", "nuke-images", "--catalog", &format!("MESSAGE_ID={id}")])?.exits(0)?.stdout;
        let is_filled = |word: &str| !(word.len() > 2 && word.starts_with('@') && word[1..].contains('@'));
        assert!(explained.contains(" Defined-By: nuke-images") && explained.split(' ').all(is_filled), "{explained}");
    }
    Ok(())
}

#[test]
fn the_journal_has_the_story_with_fields_and_explains_each_kind_of_entry() -> Result<()> {
    tells_the_story("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_journal_has_the_story_with_fields_and_explains_each_kind_of_entry_with_systemd_257() -> Result<()> {
    tells_the_story("trixie")
}

#[test]
fn a_run_that_could_not_be_carried_out_and_one_that_only_looked_can_be_searched_for() -> Result<()> {
    let machine = machine("bookworm")?;
    installed(&machine)?;
    let (_, unused) = node(&machine)?;
    let explained = |message: &str| -> Result<String> {
        let json = machine.run(&["journalctl", "-t", "nuke-images", "-o", "json"])?.exits(0)?.stdout;
        let entries: Vec<Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let entry = entries.iter().rev().find(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains(message)));
        let id = entry.with_context(|| format!("{message} in {json}"))?["MESSAGE_ID"].as_str().context("an ID")?.to_owned();
        Ok(machine.run(&["journalctl", "--catalog", &format!("MESSAGE_ID={id}")])?.exits(0)?.stdout)
    };
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[images]\nall = false\n")?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&unused)?);
    assert!(explained("only observed")?.contains("Subject: The clean-up only observed"));
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[images]\nal = true\n")?;
    start(&machine)?.exits(1)?;
    assert_eq!(show(&machine, "nuke-images.service", "ExecMainStatus")?, "2");
    assert!(explained("60-test.toml:2:1")?.contains("Subject: A run of nuke-images could not be carried out"));
    assert!(machine.has(&unused)?);
    Ok(())
}
