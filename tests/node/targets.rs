//! When to begin, when to stop, and at what pace: marks of a real file system, limits, rests.

use anyhow::{Context, Result};
use lab::{Containerd, Image, Node, PodState, Settings, Stored, make_disk, wait_for};
use serde_json::Value;

use crate::{CLEAN, assert_gone, assert_stays, clean, neighbour, node, pulled, verdict};

const MIB: u64 = 1 << 20;

/// Images of 4 MiB, about 8 MiB with what is unpacked; they share nothing but the lowest layer.
fn apps(lab: &Containerd, count: usize) -> Result<Vec<Stored>> {
    let app = |i| pulled(lab, &Image::new(&format!("registry.example.com/app{i}:1")).content(&format!("app{i}")).layer_size(4 << 20));
    (0..count).map(app).collect()
}

fn number(json: &Value, pointer: &str) -> Result<u64> {
    json.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("{pointer} in {json:#}"))
}

/// How full the images' disk is, in percent, as thresholds count: `when` is `before` or `after`.
fn percent(json: &Value, when: &str) -> Result<u64> {
    let of = |key: &str| number(json, &format!("/disks/0/{when}/{key}"));
    let total = of("total_bytes")?;
    Ok(((total - of("available_bytes")?) * 100).div_ceil(total))
}

/// Outcomes of the images, in their order.
fn outcomes<'a>(json: &'a Value, images: &[Stored]) -> Vec<&'a str> {
    images.iter().map(|image| verdict(json, image).2).collect()
}

fn count(outcomes: &[&str], outcome: &str) -> usize {
    outcomes.iter().filter(|found| **found == outcome).count()
}

/// A containerd on a disk of so many MiB in a file: of an ext4 file system root has a part for itself.
fn on_a_disk(folder: &std::path::Path, size: u32) -> Result<Containerd> {
    let file = folder.join("disk");
    make_disk(&file, size)?;
    Containerd::with(&Settings { disk_file: Some(file), ..Settings::default() })
}

#[test]
fn does_nothing_below_the_mark_but_record_what_is_in_use() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let used = neighbour(&lab)?;
    let images = apps(&lab, 2)?;
    let node = node(&lab)?;
    let before = lab.fingerprint()?;
    for mark in [&["--high-threshold", "90"][..], &["--high-threshold", "90", "--low-threshold", "1"], &["--free-bytes", "1MiB"]] {
        let run = node.run(&[&CLEAN[..], mark].concat())?.exits(0)?;
        let json = run.json()?;
        assert_eq!(outcomes(&json, &images), ["not_attempted"; 2], "{mark:?}: {json:#}");
        assert_eq!((&json["target"]["is_due"], &json["summary"]["removed"]), (&false.into(), &0.into()), "{json:#}");
        assert!(run.stderr.contains("nothing to do, no image file system is "), "{}", run.stderr);
    }
    assert_eq!(lab.fingerprint()?, before);
    let state: Value = serde_json::from_str(&node.read("/var/lib/nuke-images/state.json")?)?;
    assert!(state["images"][&used.id]["last_used"].is_string(), "{state:#}");
    let table = node.run(&["--dry-run", "--all", "--high-threshold", "90"])?.exits(0)?.stdout;
    assert!(table.contains("Nothing to do: no image file system is fuller than 90 %; 2 of 3 images could go."), "{table}");
    Ok(())
}

/// Removes until the target is met and no further; what is left says so.
fn stops_at_a_target(marks: impl Fn(u64, u64) -> [String; 4], is_met: impl Fn(u64, u64) -> bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = on_a_disk(folder.path(), 160)?;
    let stays = neighbour(&lab)?;
    let images = apps(&lab, 8)?;
    let plan = clean(&lab, &["--dry-run"])?.exits(0)?.json()?;
    let (was, was_free) = (percent(&plan, "before")?, number(&plan, "/disks/0/before/available_bytes")?);
    let marks = marks(was, was_free);
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let planned = clean(&lab, &[&["--dry-run"], &marks[..]].concat())?.exits(0)?.json()?;
    let json = clean(&lab, &marks)?.exits(0)?.json()?;
    let outcomes = outcomes(&json, &images);
    let removed = count(&outcomes, "removed");
    assert!((1..8).contains(&removed), "{outcomes:?}");
    assert_eq!(removed + count(&outcomes, "not_attempted"), 8, "{outcomes:?}");
    assert_eq!(number(&planned, "/target/needed_removals")?, removed as u64, "{:#}", planned["target"]);
    assert_eq!((&json["target"]["is_met"], number(&json, "/target/missing_bytes")?), (&true.into(), 0), "{:#}", json["target"]);
    let is_free = number(&json, "/disks/0/after/available_bytes")?;
    assert!(is_met(was - percent(&json, "after")?, is_free - was_free), "{:#}", json["disks"]);
    // One image less would not have been enough.
    let missing = number(&planned, "/target/missing_bytes")?;
    let reclaimed = number(&json, "/summary/reclaimed_bytes")?;
    assert!(reclaimed >= missing && reclaimed < missing + 9 * MIB, "{reclaimed} bytes came free, {missing} were missing");
    for (image, outcome) in images.iter().zip(outcomes) {
        if outcome == "removed" { assert_gone(&lab, image)? } else { assert_stays(&lab, image)? }
    }
    assert_stays(&lab, &stays)
}

#[test]
fn stops_as_soon_as_the_disk_is_no_fuller_than_the_low_mark() -> Result<()> {
    let marks =
        |percent: u64, _| ["--high-threshold".into(), (percent - 1).to_string(), "--low-threshold".into(), (percent - 15).to_string()];
    stops_at_a_target(marks, |less, _| less >= 15)
}

#[test]
fn stops_as_soon_as_so_much_is_free() -> Result<()> {
    let marks = |_, free: u64| ["--free-bytes".into(), (free + 20 * MIB).to_string(), "--max-images".into(), "99".into()];
    stops_at_a_target(marks, |_, more| more >= 20 * MIB)
}

#[test]
fn a_target_that_can_not_be_met_is_said_with_what_stands_in_the_way() -> Result<()> {
    let lab = Containerd::with(&Settings { disk: 64, ..Settings::default() })?;
    let stays = neighbour(&lab)?;
    let images = apps(&lab, 2)?;
    let marks = ["--high-threshold", "2", "--low-threshold", "1", "--include", "app0", "--include", "neighbour"];
    let node = node(&lab)?;
    let run = node.run(&[&["--yes", "--output", "json"], &marks[..]].concat())?.exits(0)?;
    let json = run.json()?;
    assert_eq!(outcomes(&json, &images), ["removed", ""], "{json:#}");
    let target = &json["target"];
    assert_eq!((&target["is_due"], &target["is_met"]), (&true.into(), &false.into()), "{target:#}");
    assert_eq!(target["in_the_way"], serde_json::json!({"in_use": 1, "not_selected": 1}), "{target:#}");
    assert!(number(&json, "/target/missing_bytes")? > 6 * MIB && number(&json, "/target/in_the_way_bytes")? > 6 * MIB, "{target:#}");
    assert!(run.stderr.contains("target not met: ") && run.stderr.contains("in the way are 1 in use · 1 not selected"), "{}", run.stderr);
    let table = node.run(&[&["--yes"], &marks[..]].concat())?.exits(0)?.stdout;
    assert!(table.contains("target not met: ") && table.contains("in the way are 1 in use · 1 not selected, which hold "), "{table}");
    assert_stays(&lab, &stays)
}

#[test]
fn the_longest_unused_goes_first() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let images = apps(&lab, 3)?;
    let node = node(&lab)?;
    // Each is seen in use by one run more than the one before it.
    for last in 1..images.len() {
        for image in &images[last..] {
            lab.run(image.name(), "user")?;
            node.run(&["observe"])?.exits(0)?;
            lab.remove_container("user")?;
            std::thread::sleep(std::time::Duration::from_millis(1_100));
        }
    }
    for removed in 1..=images.len() {
        let json = node.run(&[&CLEAN[..], &["--max-images", "1"]].concat())?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &images[removed - 1]).2, "removed", "{json:#}");
        assert_gone(&lab, &images[removed - 1])?;
    }
    Ok(())
}

#[test]
fn limits_end_a_run_between_two_batches() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    let images = apps(&lab, 5)?;
    let mut node = node(&lab)?;
    let json = node.run(&[&CLEAN[..], &["--max-duration", "0s"]].concat())?.exits(0)?.json()?;
    assert_eq!(outcomes(&json, &images), ["not_attempted"; 5], "{json:#}");
    let plan = node.run(&["--dry-run", "--all", "--max-images", "2", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!((&plan["summary"]["planned_removals"], &plan["summary"]["expected_removals"]), (&5.into(), &2.into()), "{plan:#}");
    let json = node.run(&[&CLEAN[..], &["--max-images", "2"]].concat())?.exits(0)?.json()?;
    let done = outcomes(&json, &images);
    assert_eq!((count(&done, "removed"), count(&done, "not_attempted")), (2, 3), "{json:#}");
    let why: Vec<&str> = images.iter().map(|image| crate::error(&json, image)).filter(|why| !why.is_empty()).collect();
    assert_eq!(why, ["limit_reached"; 3]);
    node.set("pace.batch", "1")?;
    let json = node.run(&[&CLEAN[..], &["--max-duration", "1s", "--delay", "2s"]].concat())?.exits(0)?.json()?;
    assert_eq!(count(&outcomes(&json, &images), "removed"), 1, "{json:#}");
    assert_stays(&lab, &stays)
}

/// A signal that comes while it rests between two batches.
fn ended_while_it_rests(node: &Node, rest: &[&str], lab: &Containerd, images: &[Stored]) -> Result<()> {
    let running = node.spawn(&[&CLEAN[..], rest].concat())?;
    wait_for("the first removal", || Ok(images.iter().any(|image| assert_gone(lab, image).is_ok()).then_some(())))?;
    running.signal("TERM")?;
    let json = running.wait()?.exits(143)?.json()?;
    let done = outcomes(&json, images);
    assert_eq!((count(&done, "removed"), count(&done, "not_attempted")), (1, images.len() - 1), "{json:#}");
    assert!(images.iter().any(|image| crate::error(&json, image) == "interrupted"), "{json:#}");
    Ok(())
}

#[test]
fn a_signal_ends_a_rest_at_once() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let images = apps(&lab, 2)?;
    let mut node = node(&lab)?;
    node.set("pace.batch", "1")?;
    ended_while_it_rests(&node, &["--delay", "3h"], &lab, &images)
}

#[test]
fn file_systems_of_blobs_and_of_snapshots_are_told_apart() -> Result<()> {
    let lab = Containerd::with(&Settings { snapshots_disk: Some(64), ..Settings::default() })?;
    let stays = neighbour(&lab)?;
    let images = apps(&lab, 8)?;
    let plan = clean(&lab, &["--dry-run"])?.exits(0)?.json()?;
    let paths: Vec<&str> = plan["disks"].as_array().into_iter().flatten().filter_map(|disk| disk["path"].as_str()).collect();
    let folder = lab.socket().with_file_name("disk");
    assert_eq!(paths, [folder.join("root").to_str(), folder.join("snapshots").to_str()].map(Option::unwrap_or_default));
    // Half of the 64 MiB are snapshots; of the other file system the blobs are a few percent.
    let json = clean(&lab, &["--high-threshold", "40", "--low-threshold", "30"])?.exits(0)?.json()?;
    assert_eq!(json["target"]["is_met"], true, "{:#}", json["target"]);
    let removed = count(&outcomes(&json, &images), "removed");
    assert!((3..8).contains(&removed), "{json:#}");
    let freed = |disk: usize| {
        let used = |when: &str| number(&json, &format!("/disks/{disk}/{when}/used_bytes"));
        anyhow::Ok(used("before")? - used("after")?)
    };
    assert!(freed(0)? > 10 * MIB && freed(1)? > 10 * MIB, "{:#}", json["disks"]);
    assert_eq!(number(&json, "/summary/reclaimed_bytes")?, freed(0)? + freed(1)?);
    assert!(number(&json, "/disks/1/after/used_bytes")? <= 64 * MIB * 30 / 100);
    assert_stays(&lab, &stays)
}

#[test]
fn without_ctr_bytes_are_said_to_be_packed_sizes_and_a_target_is_met_all_the_same() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    // Without ctr a container beside CRI would keep every image.
    let image = crate::app(&lab, "neighbour:1")?;
    let _pod = lab.pod("neighbour", image.name(), PodState::Running)?;
    let images = apps(&lab, 6)?;
    let node = node(&lab)?.with_crictl()?.without_ctr()?;
    let plan = node.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!(plan["summary"]["bytes_are"], "packed_sizes", "{:#}", plan["summary"]);
    let table = node.run(&["--dry-run", "--all"])?.exits(0)?.stdout;
    assert!(table.contains("by their packed sizes"), "{table}");
    let free = (number(&plan, "/disks/0/before/available_bytes")? + 20 * MIB).to_string();
    let json = node.run(&[&CLEAN[..], &["--free-bytes", &free]].concat())?.exits(0)?.json()?;
    assert_eq!(json["target"]["is_met"], true, "{:#}", json["target"]);
    assert_eq!(count(&outcomes(&json, &images), "removed"), 3, "{json:#}");
    Ok(())
}

#[test]
fn the_journal_tells_how_far_a_run_got_and_what_stood_in_the_way() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    apps(&lab, 1)?;
    let node = node(&lab)?;
    let summary = |marks: &[&str]| {
        let (run, entries) = node.run_in_journal("0123456789abcdef0123456789abcdef", &[&["--yes", "--all"], marks].concat())?;
        run.exits(0)?;
        entries.into_iter().find(|entry| entry.contains_key("TARGET_DUE")).context("a summary that tells of the target")
    };
    let below = summary(&["--high-threshold", "90"])?;
    assert_eq!((below["TARGET_DUE"].as_str(), below["REMOVED"].as_str()), ("false", "0"), "{below:#?}");
    assert!(below["MESSAGE"].ends_with("nothing to do, no image file system is fuller than 90 %"), "{below:#?}");
    let short = summary(&["--free-bytes", "1TiB"])?;
    let fields = ["TARGET_DUE", "TARGET_MET", "REMOVED", "IN_THE_WAY"].map(|name| short[name].as_str());
    assert_eq!(fields, ["true", "false", "1", "1 in use"], "{short:#?}");
    assert!(short["MISSING_BYTES"].parse::<u64>()? > MIB && short["MESSAGE"].contains("more have to come free, in the way are 1 in use"));
    Ok(())
}
