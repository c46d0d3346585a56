//! A run that is cut off: killed between two references, or asked by a signal to end.

use anyhow::Result;
use lab::{Containerd, Image, Node, Running, Stored, wait_for};

use crate::{app, assert_gone, assert_stays, error, neighbour, node, pulled, verdict, without};

/// Selects none of the lab's images.
const ELSEWHERE: [&str; 5] = ["--yes", "--registry", "nowhere.example.com", "--output", "json"];

/// An image with two tags: four references.
fn with_two_tags(lab: &Containerd, name: &str) -> Result<Stored> {
    let repository = format!("registry.example.com/{name}");
    pulled(lab, &Image::new(&format!("{repository}:1")).tag(&format!("{repository}:2")).content(name))
}

/// Begins to remove an image, takes so many of its references away and kills the product; what is left of the image.
fn cut_off(lab: &Containerd, node: &mut Node, image: &Stored, after: usize) -> Result<Stored> {
    node.stand_in(&format!(
        r#"
if [ "$command" != 'images rm' ]; then real "$@"; exit; fi
address=$2 namespace=$4 rest={after}
shift 6
for name in "$@"; do
  if [ "$rest" = 0 ]; then break; fi
  real --address "$address" --namespace "$namespace" images rm "$name"
  rest=$((rest - 1))
done
kill -s KILL "$PPID""#
    ))?;
    node.run(&["--yes", "--include", image.name().trim_end_matches(":1")])?.exits(128 + 9)?;
    node.no_stand_in()?;
    let there = lab.references()?;
    let lost: Vec<&str> = image.references.iter().map(String::as_str).filter(|name| !there.contains(*name)).collect();
    assert_eq!(lost.len(), after, "{lost:?}");
    Ok(without(image, &lost))
}

#[test]
fn a_removal_that_was_killed_anywhere_is_finished_by_the_next_run_whatever_it_selects() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    let mut node = node(&lab)?;
    for after in 1..=3 {
        let image = with_two_tags(&lab, &format!("cut{after}"))?;
        let left = cut_off(&lab, &mut node, &image, after)?;
        assert!(image.names.contains(&left.names[0]), "after {after}: what is left has a name that a person knows");
        assert!(lab.can_run(left.name())?, "after {after}: that name leads to all of it");
        let json = node.run(&ELSEWHERE)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &image), ("remove", "unused", "removed"), "after {after}: {json:#}");
        assert_gone(&lab, &image)?;
    }
    assert_stays(&lab, &stays)
}

#[test]
fn a_removal_that_was_killed_before_its_first_or_after_its_last_reference_leaves_nothing_half_there() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let mut node = node(&lab)?;
    let (whole, gone) = (with_two_tags(&lab, "whole")?, with_two_tags(&lab, "gone")?);
    cut_off(&lab, &mut node, &whole, 0)?;
    cut_off(&lab, &mut node, &gone, 4)?;
    let json = node.run(&ELSEWHERE)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &whole), ("keep", "not_selected", ""), "{json:#}");
    assert_stays(&lab, &whole)?;
    // The product did not live to make containerd collect; it does so by itself a little later.
    wait_for("the bytes to come free", || Ok(assert_gone(&lab, &gone).ok()))
}

#[test]
fn what_came_into_use_after_its_removal_was_killed_stays() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let mut node = node(&lab)?;
    for after in 1..=3 {
        let image = with_two_tags(&lab, &format!("cut{after}"))?;
        let left = cut_off(&lab, &mut node, &image, after)?;
        lab.create(left.name(), &format!("late{after}"))?;
        let json = node.run(&ELSEWHERE)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &image), ("keep", "in_use", ""), "after {after}: {json:#}");
        assert_stays(&lab, &left)?;
    }
    Ok(())
}

/// A ctr that listens to signals, as k3s does, and whose removals last until `/run/go` is there.
const SLOW: &str = r#"
if [ -z "$LISTENS" ]; then LISTENS=1 exec env --default-signal=HUP,INT,TERM "$0" "$@"; fi
if [ "$command" = 'images rm' ]; then
  : >/run/reached
  until [ -e /run/go ]; do sleep 0.02; done
fi
real "$@""#;

/// Three batches of one image each; in the first one the signal comes.
fn interrupted_in_a_batch(signal: impl Fn(&Running) -> Result<()>, code: i32) -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let images = [app(&lab, "a:1")?, app(&lab, "b:1")?, app(&lab, "c:1")?];
    let mut node = node(&lab)?;
    node.set("pace.batch", "1")?;
    node.stand_in(SLOW)?;
    let running = node.spawn(&crate::CLEAN)?;
    wait_for("the first batch", || Ok(node.exists("/run/reached")?.then_some(())))?;
    signal(&running)?;
    node.write("/run/go", "")?;
    let json = running.wait()?.exits(code)?.json()?;
    let (mut removed, mut stayed) = (0, 0);
    for image in &images {
        match verdict(&json, image).2 {
            "removed" => assert_gone(&lab, image).map(|()| removed += 1)?,
            outcome => {
                assert_eq!((outcome, error(&json, image)), ("not_attempted", "interrupted"), "{json:#}");
                assert_stays(&lab, image).map(|()| stayed += 1)?;
            }
        }
    }
    assert_eq!((removed, stayed), (1, 2), "{json:#}");
    assert_eq!((&json["summary"]["removed"], &json["summary"]["not_attempted"]), (&1.into(), &2.into()), "{json:#}");
    Ok(())
}

#[test]
fn a_ctrl_c_lets_the_batch_that_runs_come_to_its_end() -> Result<()> {
    interrupted_in_a_batch(|running| running.signal_group("INT"), 130)
}

#[test]
fn a_sigterm_lets_the_batch_that_runs_come_to_its_end() -> Result<()> {
    interrupted_in_a_batch(|running| running.signal("TERM"), 143)
}
