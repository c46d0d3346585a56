//! What is remembered from one run to the next: since when an image has been unused, what a clock that is set means, which
//! runs there were.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Containerd, Image, Node, Stored};
use nuke_images::units::Timestamp;
use serde_json::Value;

use crate::{CLEAN, DAY, app, assert_gone, assert_stays, neighbour, node, pulled, verdict};

const STATE: &str = "/var/lib/nuke-images/state.json";
const YEARS: Duration = Duration::from_hours(5 * 365 * 24);

fn read(node: &Node) -> Result<Value> {
    Ok(serde_json::from_str(&node.read(STATE)?)?)
}

fn earlier(time: &mut Value, by: Duration) -> Result<()> {
    if let Some(text) = time.as_str() {
        *time = Value::String(text.parse::<Timestamp>()?.minus(by).to_string());
    }
    Ok(())
}

/// As if everything had been seen so long before.
fn age(state: &mut Value, by: Duration) -> Result<()> {
    for memory in state["images"].as_object_mut().context("images")?.values_mut() {
        for time in memory["references"].as_object_mut().context("references")?.values_mut() {
            earlier(time, by)?;
        }
        ["first_seen", "last_used"].iter().try_for_each(|key| earlier(&mut memory[*key], by))?;
    }
    Ok(())
}

/// As if the machine's clock had been so much behind when this was written.
fn written_by_a_clock_behind(state: &mut Value, by: Duration) -> Result<()> {
    age(state, by)?;
    earlier(&mut state["boot"]["began_at"], by)?;
    earlier(&mut state["written_at"], by)
}

fn patiently(node: &Node, more: &[&str]) -> Result<Value> {
    node.run(&[&CLEAN[..], &["--unused-for", "24h"], more].concat())?.exits(0)?.json()
}

fn reason<'a>(json: &'a Value, image: &Stored) -> &'a str {
    verdict(json, image).1
}

#[test]
fn keeps_what_was_in_use_a_moment_ago_and_goes_by_what_earlier_runs_saw() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let (used, unused) = (app(&lab, "used:1")?, app(&lab, "unused:1")?);
    lab.run(used.name(), "weekly")?;
    let node = node(&lab)?;
    node.run(&["observe"])?.exits(0)?;
    let mut state = read(&node)?;
    age(&mut state, 2 * DAY)?;
    node.write(STATE, &state.to_string())?;
    // That it is in use now is seen by a run that removes nothing, and counts from now.
    node.run(&["--yes", "--registry", "nowhere.example.com"])?.exits(0)?;
    lab.remove_container("weekly")?;
    let json = patiently(&node, &[])?;
    assert_eq!(verdict(&json, &used), ("keep", "recently_used", ""), "{json:#}");
    assert_eq!(verdict(&json, &unused), ("remove", "unused", "removed"), "{json:#}");
    assert_stays(&lab, &used)?;
    assert_gone(&lab, &unused)?;
    let mut state = read(&node)?;
    age(&mut state, DAY)?;
    node.write(STATE, &state.to_string())?;
    patiently(&node, &[])?;
    assert_gone(&lab, &used)
}

#[test]
fn keeps_what_it_has_not_seen_before_also_when_the_memory_was_lost_or_damaged() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = app(&lab, "image:1")?;
    let node = node(&lab)?;
    let json = patiently(&node, &[])?;
    assert_eq!(verdict(&json, &image), ("keep", "recently_used", ""), "{json:#}");
    let written = node.read(STATE)?;
    // One digit of the year that is read wrong is damage too.
    let year = written.split_once("\"first_seen\":\"").context("a first sight")?.1[..4].to_owned();
    let wrong = written.replace(&format!("\"first_seen\":\"{year}"), &format!("\"first_seen\":\"{}", year.parse::<u16>()? - 10));
    for spoilt in ["", "{", "{\"version\":9}", "null", wrong.as_str()] {
        node.write(STATE, spoilt)?;
        let json = patiently(&node, &[])?;
        // Nothing from before is believed, not even when it was pulled.
        assert_eq!(verdict(&json, &image), ("keep", "too_young", ""), "{spoilt:?}: {json:#}");
    }
    std::fs::remove_file(node.path(STATE)?)?;
    assert_eq!(reason(&patiently(&node, &[])?, &image), "recently_used");
    assert_stays(&lab, &image)
}

#[test]
fn a_clock_that_is_set_by_years_makes_no_image_old() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = app(&lab, "image:1")?;
    let node = node(&lab)?;
    for boots in [false, true] {
        lab.age_all(YEARS)?;
        node.run(&["observe"])?.exits(0)?;
        let mut state = read(&node)?;
        written_by_a_clock_behind(&mut state, YEARS)?;
        if boots {
            state["boot"]["id"] = "another".into();
        }
        for (more, expected) in [(&[][..], "too_young"), (&["--min-age", "0s"], "recently_used")] {
            node.write(STATE, &state.to_string())?;
            let json = patiently(&node, more)?;
            assert_eq!(verdict(&json, &image), ("keep", expected, ""), "{boots}: {json:#}");
            let again = patiently(&node, more)?;
            assert_eq!(reason(&again, &image), expected, "{boots}: the next run knows it too: {again:#}");
        }
        std::fs::remove_file(node.path(STATE)?)?;
    }
    assert_stays(&lab, &image)
}

#[test]
fn keeps_the_newest_of_each_repository() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let release = |name: &str, tag: &str, days: u32| {
        let image = lab.pull(&Image::new(&format!("registry.example.com/{name}:{tag}")).content(&format!("{name} {tag}")))?;
        lab.age(&image, days * DAY)?;
        anyhow::Ok(image)
    };
    let [oldest, old, new] = [release("web", "3", 9)?, release("web", "2", 6)?, release("web", "1", 3)?];
    let (job, idle) = (release("job", "1", 9)?, release("other/web", "1", 9)?);
    // Only its digest is left, and it is the newest.
    let untagged = release("web", "0", 2)?;
    lab.ctr(&["images", "rm", untagged.name()])?;
    lab.run(new.name(), "web")?;
    let json = node(&lab)?.run(&[&CLEAN[..], &["--keep-newest", "2"]].concat())?.exits(0)?.json()?;
    let reasons = [&oldest, &old, &new, &untagged, &job, &idle].map(|image| reason(&json, image));
    assert_eq!(reasons, ["unused", "unused", "in_use", "newest", "newest", "newest"], "{json:#}");
    [&oldest, &old].into_iter().try_for_each(|image| assert_gone(&lab, image))?;
    [&new, &job, &idle].into_iter().try_for_each(|image| assert_stays(&lab, image))
}

#[test]
fn what_a_run_removed_can_be_pulled_again_by_what_is_remembered_of_it() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = pulled(&lab, &Image::new("registry.example.com/team/app:1").content("app"))?;
    let node = node(&lab)?;
    node.run(&CLEAN)?.exits(0)?;
    assert_gone(&lab, &image)?;
    node.run(&CLEAN)?.exits(0)?;
    let state = read(&node)?;
    let runs = state["runs"].as_array().context("runs")?;
    assert_eq!(runs.iter().map(|run| run["removed"].as_array().map_or(0, Vec::len)).collect::<Vec<_>>(), [1, 0], "{state:#}");
    assert_eq!((&runs[0]["exit_code"], &runs[0]["summary"]["removed"]), (&0.into(), &1.into()));
    assert!(runs[0]["summary"]["reclaimed_bytes"].as_u64() > Some(0) && runs[0]["summary"]["kept"]["in_use"] == 1, "{state:#}");
    let digest = runs[0]["removed"][0]["digests"][0].as_str().context("a digest")?;
    lab.crictl(&["pull", &format!("registry.example.com/team/app@{digest}")])?;
    assert!(lab.can_run(&image.id)?);
    Ok(())
}
