//! What changes on the node between the plan and the removal, and while a removal runs.

use std::time::Duration;

use anyhow::Result;
use lab::{Containerd, Image, Node, Run, Stored};
use serde_json::Value;

use crate::{CLEAN, app, assert_gone, assert_stays, entry, error, neighbour, node, pulled, verdict, without};

#[test]
fn spares_an_image_that_comes_into_use_after_the_plan() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let mut running = node.on_terminal(&["--all"])?;
    running.wait_for("[y/N]")?;
    lab.create(stays.name(), "late")?;
    running.enter("y\n")?;
    let run = running.wait()?.exits(0)?;
    assert!(run.stdout.contains("spared"), "{}", run.stdout);
    assert_stays(&lab, &stays)
}

/// Lets something happen between the plan of everything and the answer yes.
fn after_the_plan(node: &Node, meanwhile: impl FnOnce() -> Result<()>) -> Result<Run> {
    let mut running = node.on_terminal(&["--all", "--output", "json"])?;
    running.wait_for("[y/N]")?;
    meanwhile()?;
    running.enter("y\n")?;
    // Longer than a listing may take.
    running.wait_within(Duration::from_mins(4))
}

/// What is said of an image to which something happens after the plan; another one goes all the same.
fn spared(lab: &Containerd, image: &Stored, meanwhile: impl FnOnce() -> Result<()>) -> Result<Value> {
    neighbour(lab)?;
    let goes = app(lab, "goes:1")?;
    let json = after_the_plan(&node(lab)?, meanwhile)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, image), ("remove", "unused", "spared"), "{json:#}");
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(lab, &goes)?;
    Ok(json)
}

#[test]
fn spares_an_image_that_was_given_a_new_name_after_the_plan() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = app(&lab, "stays:1")?;
    let json = spared(&lab, &stays, || lab.tag(stays.name(), "registry.example.com/stays:2"))?;
    assert!(error(&json, &stays).contains("new name: registry.example.com/stays:2"), "{json:#}");
    assert!(lab.references()?.contains("registry.example.com/stays:2"));
    assert_stays(&lab, &stays)
}

#[test]
fn spares_an_image_that_was_pinned_after_the_plan() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = app(&lab, "stays:1")?;
    let json = spared(&lab, &stays, || lab.label(stays.name(), "io.cri-containerd.pinned=pinned"))?;
    assert!(error(&json, &stays).contains("pinned"), "{json:#}");
    assert_stays(&lab, &stays)
}

#[test]
fn spares_both_images_when_a_tag_moved_after_the_plan() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let old = app(&lab, "moved:1")?;
    let mut new = None;
    spared(&lab, &old, || {
        new = Some(pulled(&lab, &Image::new(old.name()).content("new"))?);
        Ok(())
    })?;
    assert_stays(&lab, &without(&old, &[old.name()]))?;
    new.iter().try_for_each(|new| assert_stays(&lab, new))
}

#[test]
fn spares_an_image_that_was_removed_and_pulled_again_after_the_plan() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = Image::new("registry.example.com/again:1").content("again");
    let stays = pulled(&lab, &image)?;
    let json = spared(&lab, &stays, || {
        let names: Vec<&str> = stays.references.iter().map(String::as_str).collect();
        lab.ctr(&[&["images", "rm", "--sync"], &names[..]].concat())?;
        lab.pull(&image).map(drop)
    })?;
    assert!(error(&json, &stays).contains("pulled again"), "{json:#}");
    assert_stays(&lab, &stays)
}

#[test]
fn an_image_that_somebody_removed_after_the_plan_is_gone_and_no_failure() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let goes = app(&lab, "goes:1")?;
    let names: Vec<&str> = goes.references.iter().map(String::as_str).collect();
    let remove = || lab.ctr(&[&["images", "rm", "--sync"], &names[..]].concat()).map(drop);
    let json = after_the_plan(&node(&lab)?, remove)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "gone"), "{json:#}");
    assert_eq!((&json["summary"]["gone"], &json["summary"]["removed"]), (&1.into(), &0.into()), "{json:#}");
    assert_gone(&lab, &goes)
}

#[test]
fn an_image_that_somebody_removed_during_our_own_call_is_gone_and_no_failure() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let (goes, ours) = (app(&lab, "goes:1")?, app(&lab, "ours:1")?);
    let mut node = node(&lab)?;
    let theirs = format!("real \"$1\" \"$2\" \"$3\" \"$4\" images rm {} >/dev/null", goes.references.join(" "));
    node.stand_in(&format!("if [ \"$command\" = 'images rm' ]; then {theirs}; fi\nreal \"$@\""))?;
    let json = node.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "gone"), "{json:#}");
    assert_eq!(verdict(&json, &ours), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(&lab, &goes)?;
    assert_gone(&lab, &ours)
}

/// With a listing that `breaks` after the plan nothing of the batch may go.
fn removes_nothing_once(listing: &str, breaks: &str) -> Result<Value> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let mut node = node(&lab)?;
    node.stand_in(&format!("if [ -e /run/broken ] && [ \"$command\" = '{listing}' ]; then {breaks}; fi\nreal \"$@\""))?;
    let json = after_the_plan(&node, || node.write("/run/broken", ""))?.exits(3)?.json()?;
    assert_eq!(verdict(&json, &stays), ("remove", "unused", "failed"), "{listing}: {json:#}");
    assert_stays(&lab, &stays)?;
    Ok(entry(&json, &stays)["error"].clone())
}

#[test]
fn removes_nothing_of_a_batch_before_which_a_listing_fails() -> Result<()> {
    for listing in ["images ls", "snapshots ls"] {
        let error = removes_nothing_once(listing, "echo 'ctr: broken' >&2; exit 1")?;
        assert!(error.to_string().contains("broken"), "{listing}: {error}");
    }
    Ok(())
}

#[test]
fn removes_nothing_of_a_batch_before_which_a_listing_hangs() -> Result<()> {
    let error = removes_nothing_once("snapshots ls", "while :; do sleep 1; done")?;
    assert!(error.to_string().contains("no answer within"), "{error}");
    Ok(())
}
