//! What the product leaves and finds around it: environment, state, journal.

use anyhow::{Context, Result};
use lab::{Containerd, Entry};

use crate::{CLEAN, app, assert_gone, assert_stays, neighbour, node, verdict};

const STATE: &str = "/var/lib/nuke-images/state.json";

#[test]
fn the_callers_environment_leads_to_no_other_program_socket_or_namespace() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    let goes = app(&lab, "goes:1")?;
    let mut node = node(&lab)?;
    node.unset("runtime.ctr")?;
    for program in ["ctr", "containerd", "crictl"] {
        node.program(&format!("/run/fake/{program}"), "#!/bin/sh\n: >/run/fake/started\nexit 1\n")?;
    }
    let environment = [
        ("PATH", "/run/fake:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("CONTAINERD_ADDRESS", "/nonexistent.sock"),
        ("CONTAINERD_NAMESPACE", "moby"),
        ("CONTAINERD_SNAPSHOTTER", "native"),
        ("CONTAINER_RUNTIME_ENDPOINT", "unix:///nonexistent.sock"),
    ];
    node.run_with(&environment, &CLEAN)?.exits(0)?;
    assert!(!node.exists("/run/fake/started")?);
    assert_stays(&lab, &stays)?;
    assert_gone(&lab, &goes)
}

#[test]
fn programs_are_given_nothing_of_the_callers_environment() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let mut node = node(&lab)?;
    node.stand_in("tr '\\0' '\\n' </proc/$$/environ >>/run/environments\nreal \"$@\"")?;
    node.run_with(&[("CONTAINERD_NAMESPACE", "moby"), ("GODEBUG", "x=1"), ("SECRET", "y")], &CLEAN)?.exits(0)?;
    let seen = node.read("/run/environments")?;
    let names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH"), "{seen}");
    let foreign: Vec<_> = names.iter().filter(|name| !["HOME", "LC_ALL", "PATH", "TZ"].contains(name)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    Ok(())
}

#[test]
fn observing_records_what_is_used_and_removes_nothing() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let used = neighbour(&lab)?;
    let unused = app(&lab, "unused:1")?;
    let node = node(&lab)?;
    let before = lab.fingerprint()?;
    node.run(&["observe", "--all"])?.exits(0)?;
    assert_eq!(lab.fingerprint()?, before);
    let state: serde_json::Value = serde_json::from_str(&node.read(STATE)?)?;
    assert!(state["images"][&used.id]["last_used"].is_string(), "{state:#}");
    assert!(state["images"][&unused.id]["first_seen"].is_string(), "{state:#}");
    assert!(state["images"][&unused.id]["last_used"].is_null(), "{state:#}");
    lab.remove_container("neighbour")?;
    lab.create(unused.name(), "other")?;
    let json = node.run(&["--dry-run", "--all", "--output", "json"])?.exits(0)?.json()?;
    assert!(crate::entry(&json, &used)["last_used_at"].is_string(), "{json:#}");
    assert_stays(&lab, &used)
}

/// With nothing but our own memory to tell an age, a memory that can't be read means "first seen now".
fn forgets_safely(spoil: impl Fn(&lab::Node) -> Result<()>) -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = app(&lab, "image:1")?;
    let mut node = node(&lab)?;
    // Where its data lies can't be told either, so no blob tells an age.
    node.hide_containerd()?;
    node.run(&["observe"])?.exits(0)?;
    spoil(&node)?;
    let run = node.run(&[&CLEAN[..], &["--min-age", "0s"]].concat())?.exits(0)?;
    assert_eq!(verdict(&run.json()?, &image), ("keep", "age_unknown", ""), "{run:?}");
    assert_eq!(run.stderr.matches("empty memory").count(), 1, "{}", run.stderr);
    assert_stays(&lab, &image)
}

#[test]
fn a_damaged_memory_is_said_once_and_removes_nothing_too_early() -> Result<()> {
    forgets_safely(|node| {
        let whole = node.read(STATE)?;
        node.write(STATE, &whole[..whole.len() / 2])
    })
}

#[test]
fn a_memory_of_a_newer_version_is_said_once_and_removes_nothing_too_early() -> Result<()> {
    forgets_safely(|node| node.write(STATE, &node.read(STATE)?.replace("\"version\":1", "\"version\":2")))
}

#[test]
fn a_folder_in_place_of_the_memory_is_said_once_and_removes_nothing_too_early() -> Result<()> {
    forgets_safely(|node| {
        std::fs::remove_file(node.path(STATE)?)?;
        std::fs::create_dir(node.path(STATE)?).context("put a folder there")
    })
}

#[test]
fn a_memory_that_was_written_anew_tells_ages_again() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = app(&lab, "image:1")?;
    let mut node = node(&lab)?;
    node.hide_containerd()?;
    node.write(STATE, "{")?;
    let arguments = [&CLEAN[..], &["--min-age", "0s"]].concat();
    let json = node.run(&arguments)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &image), ("keep", "age_unknown", ""), "{json:#}");
    assert_stays(&lab, &image)?;
    let run = node.run(&arguments)?.exits(0)?;
    assert!(!run.stderr.contains("empty memory"), "{}", run.stderr);
    assert_eq!(verdict(&run.json()?, &image), ("remove", "unused", "removed"), "{run:?}");
    assert_gone(&lab, &image)
}

#[test]
fn each_removal_and_the_run_itself_are_one_entry_of_the_journal() -> Result<()> {
    const INVOCATION: &str = "0123456789abcdef0123456789abcdef";
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let images = [app(&lab, "a:1")?, app(&lab, "b:1")?];
    let node = node(&lab)?;
    let (run, entries) = node.run_in_journal(INVOCATION, &["--yes", "--all"])?;
    let run = run.exits(0)?;
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let field = |entry: &Entry, name: &str| entry.get(name).cloned().unwrap_or_default();
    for entry in &entries {
        assert_eq!((field(entry, "SYSLOG_IDENTIFIER"), field(entry, "INVOCATION_ID")), ("nuke-images".into(), INVOCATION.into()));
    }
    let mut ids = Vec::new();
    for image in &images {
        let own: Vec<&Entry> = entries.iter().filter(|entry| field(entry, "IMAGE_ID") == image.id).collect();
        assert_eq!(own.len(), 1, "{entries:#?}");
        let mut references: Vec<String> = field(own[0], "REFERENCES").split(' ').map(str::to_owned).collect();
        references.sort();
        let mut expected = image.references.clone();
        expected.sort();
        assert_eq!(references, expected);
        assert_eq!(
            (field(own[0], "REASON"), field(own[0], "OUTCOME"), field(own[0], "PRIORITY")),
            ("unused".into(), "removed".into(), "5".into())
        );
        assert!(field(own[0], "RECLAIMED_BYTES").parse::<u64>()? > 0, "{own:#?}");
        ids.push(field(own[0], "MESSAGE_ID"));
    }
    let is_summary = |entry: &&Entry| entry.contains_key("REMOVED");
    let [summary] = entries.iter().filter(is_summary).collect::<Vec<_>>()[..] else { panic!("one summary: {entries:#?}") };
    assert!(field(summary, "RECLAIMED_BYTES").parse::<u64>()? > 0, "{summary:#?}");
    assert_eq!((field(summary, "REMOVED"), field(summary, "FAILED")), ("2".into(), "0".into()));
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0] != field(summary, "MESSAGE_ID"), "each kind of entry has an ID of its own");
    for id in [&ids[0], &field(summary, "MESSAGE_ID")] {
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    images.iter().try_for_each(|image| assert_gone(&lab, image))
}
