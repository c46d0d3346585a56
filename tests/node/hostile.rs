//! Names and rows that nobody expects, and what keeps a run from its end.

use std::time::Duration;

use anyhow::Result;
use lab::{Containerd, wait_for};

use crate::{CLEAN, app, assert_gone, assert_stays, clean, neighbour, node, verdict};

/// As containerd names the snapshot of a layer that it is unpacking.
const UNPACKING: &str = "extract-846930886-kXyZ sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn a_layer_that_is_being_unpacked_keeps_what_it_lies_on_and_refuses_nothing() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let (base, goes) = (app(&lab, "base:1")?, app(&lab, "goes:1")?);
    lab.ctr(&["snapshots", "prepare", UNPACKING, &base.snapshots[base.snapshots.len() - 1]])?;
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &base), ("keep", "in_use", ""), "{json:#}");
    assert_stays(&lab, &base)?;
    assert_gone(&lab, &goes)
}

#[test]
fn a_name_that_can_not_be_read_keeps_its_image_whole_and_stops_no_other() -> Result<()> {
    for evil in ["evil\nregistry.example.com/hostile:7", "evil\nregistry.example.com/goes:1", "\n", "evil name", "evil\tx", "hostile:1\r"] {
        let lab = Containerd::start("1.7")?;
        neighbour(&lab)?;
        let (hostile, goes) = (app(&lab, "hostile:1")?, app(&lab, "goes:1")?);
        lab.ctr(&["images", "tag", hostile.name(), evil])?;
        let json = clean(&lab, &[])?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &hostile), ("keep", "in_use", ""), "{evil:?}: {json:#}");
        assert_stays(&lab, &hostile)?;
        // Whose second line reads like another image's name keeps that one too: the rows can't be told apart.
        if evil.ends_with("goes:1") { assert_stays(&lab, &goes)? } else { assert_gone(&lab, &goes)? }
    }
    Ok(())
}

#[test]
fn a_name_that_can_not_be_read_and_comes_after_the_plan_spares_the_batch() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let mut running = node.on_terminal(&["--all", "--output", "json"])?;
    running.wait_for("[y/N]")?;
    lab.ctr(&["images", "tag", stays.name(), "evil\nregistry.example.com/x:7"])?;
    running.enter("y\n")?;
    let json = running.wait()?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("remove", "unused", "spared"), "{json:#}");
    assert_stays(&lab, &stays)
}

#[test]
fn an_image_with_hundreds_of_names_stops_no_other() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let (many, goes) = (app(&lab, "many:1")?, app(&lab, "goes:1")?);
    let long = "p".repeat(100);
    let names: Vec<String> = (0..700).map(|i| format!("registry.example.com/many/{long}/{long}:{i}")).collect();
    for names in names.chunks(100) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        lab.ctr(&[&["images", "tag", many.name()], &names[..]].concat())?;
    }
    let json = clean(&lab, &["--keep-unpullable", "false"])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &many), ("remove", "unused", "spared"), "{}", json["gaps"]);
    assert_stays(&lab, &many)?;
    assert_gone(&lab, &goes)
}

#[test]
fn a_signal_in_the_only_batch_is_told_by_the_exit_code() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let goes = app(&lab, "goes:1")?;
    let mut node = node(&lab)?;
    let script = "if [ \"$command\" = 'images rm' ]; then : >/run/reached; until [ -e /run/go ]; do sleep 0.02; done; fi\nreal \"$@\"";
    node.stand_in(script)?;
    let running = node.spawn(&CLEAN)?;
    wait_for("the batch", || Ok(node.exists("/run/reached")?.then_some(())))?;
    running.signal("TERM")?;
    node.write("/run/go", "")?;
    let json = running.wait()?.exits(143)?.json()?;
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(&lab, &goes)
}

#[test]
fn options_of_a_clean_up_are_refused_beside_another_command() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let node = node(&lab)?;
    for arguments in [&["--dry-run", "observe"], &["--yes", "plan"]] {
        let run = node.run(arguments)?.exits(2)?;
        assert!(run.stderr.contains(arguments[0]), "{}", run.stderr);
    }
    assert!(!node.exists("/var/lib/nuke-images/state.json")?);
    Ok(())
}

#[test]
fn spares_an_image_that_a_container_stands_on_with_a_snapshotter_that_had_none_before() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let mut running = node.on_terminal(&["--all", "--output", "json"])?;
    running.wait_for("[y/N]")?;
    lab.ctr(&["containers", "create", "--snapshotter", "native", stays.name(), "late"])?;
    running.enter("y\n")?;
    let json = running.wait_within(Duration::from_mins(3))?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("remove", "unused", "spared"), "{json:#}");
    assert_stays(&lab, &stays)
}
