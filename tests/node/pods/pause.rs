//! The image that every sandbox is made from: in no list of containers, pinned by new versions of containerd and never by
//! 1.6, and missed only once no pod can start any more.

use anyhow::Result;
use lab::{Containerd, Image, Node, PodState, Settings, Stored, wait_for};
use serde_json::Value;

use super::{SET_UPS, SetUp, app, assert_serves, in_each, keeps, keeps_on, pulled};
use crate::{CLEAN, assert_gone, verdict, without};

hazards! {
    on_every_version:
    keeps_the_image_of_a_pod_that_is_only_a_sandbox
    keeps_the_sandbox_image_when_no_pod_is_left
    keeps_the_image_of_a_sandbox_whose_tag_has_moved_to_another_image
}

hazards! {
    keeps_the_image_of_a_sandbox_that_is_not_ready
}

/// A name that doesn't look like one of a sandbox image.
const NAME: &str = "registry.example.com/base:9";

fn started(version: &'static str) -> Result<(Containerd, Stored)> {
    let lab = Containerd::with(&Settings { version, sandbox_image: Some(NAME.to_owned()), ..Settings::default() })?;
    let pause = pulled(&lab, &Image::new(NAME))?;
    Ok((lab, pause))
}

fn keeps_the_image_of_a_pod_that_is_only_a_sandbox(version: &'static str) -> Result<()> {
    let (lab, pause) = started(version)?;
    lab.pod("web", "", PodState::SandboxOnly)?;
    keeps(&lab, &[(&pause, "in_use")])
}

fn keeps_the_image_of_a_sandbox_that_is_not_ready(version: &'static str) -> Result<()> {
    let (lab, pause) = started(version)?;
    lab.pod("web", "", PodState::SandboxOnly)?.stop()?;
    keeps(&lab, &[(&pause, "in_use")])
}

/// containerd says of a sandbox only by which name its image went then; snapshots, which show more, are ctr's alone.
fn keeps_the_image_of_a_sandbox_whose_tag_has_moved_to_another_image(version: &'static str) -> Result<()> {
    let (lab, pause) = started(version)?;
    lab.pod("web", "", PodState::SandboxOnly)?;
    let new = Image::new(NAME).content("new");
    // Puts it into the registry.
    lab.pull_in("elsewhere", &new)?;
    let new = pulled(&lab, &new)?;
    assert_ne!(new.id, pause.id);
    keeps(&lab, &[(&without(&pause, &[NAME]), "in_use")])?;
    assert_serves(&lab, &new)
}

/// Nothing but the configuration tells which one it is: a label would on newer versions, and there it is the second reason.
fn keeps_the_sandbox_image_when_no_pod_is_left(version: &'static str) -> Result<()> {
    let (lab, pause) = started(version)?;
    lab.pod("web", "", PodState::SandboxOnly)?.remove()?;
    let labels = lab.fingerprint()?;
    assert_eq!(labels.contains("io.cri-containerd.pinned=pinned"), version != "1.6", "{labels}");
    in_each(&SET_UPS, |set_up| {
        let mut node = set_up.node(&lab)?;
        node.set("safety.allow_idle", "true")?;
        keeps_on(&node, &[(&pause, "sandbox_image")]).map(drop)
    })
}

/// Where nothing tells what is configured, and no pod is left, its pin is all there is.
#[test]
fn keeps_a_pinned_sandbox_image_that_no_configuration_tells_of() -> Result<()> {
    super::on(&["1.7", "2.1"], |version| {
        let (lab, pause) = started(version)?;
        in_each(&[SetUp::Ctr, SetUp::Both], |set_up| keeps_on_unconfigured(set_up.node(&lab)?, &pause, "pinned"))
    })
}

#[test]
fn keeps_what_looks_like_the_sandbox_image_of_1_6_when_nothing_tells() -> Result<()> {
    let lab = Containerd::start("1.6")?;
    let pause = pulled(&lab, &Image::new("registry.example.com/pause:3.9"))?;
    in_each(&[SetUp::Ctr, SetUp::Both], |set_up| keeps_on_unconfigured(set_up.node(&lab)?, &pause, "sandbox_image"))
}

/// The CRI of 1.6 knows no pins; to ctr it is a label as on the others.
#[test]
fn keeps_what_the_runtime_has_pinned() -> Result<()> {
    super::on(&["1.6", "1.7", "2.1"], |version| {
        let lab = Containerd::start(version)?;
        super::neighbour(&lab)?;
        let pinned = app(&lab, "pinned:1")?;
        lab.label(pinned.name(), "io.cri-containerd.pinned=pinned")?;
        wait_for("CRI to notice the pin", || {
            let images: Value = serde_json::from_str(&lab.crictl(&["images", "-o", "json"])?)?;
            let own = images["images"].as_array().and_then(|all| all.iter().find(|image| image["id"] == pinned.id.as_str()));
            Ok(own.is_some_and(|own| own["pinned"] == (version != "1.6")).then_some(()))
        })?;
        let set_ups = if version == "1.6" { &[SetUp::Ctr, SetUp::Both][..] } else { &SET_UPS };
        in_each(set_ups, |set_up| keeps_on(&set_up.node(&lab)?, &[(&pinned, "pinned")]).map(drop))
    })
}

/// Without containerd's configuration the blobs aren't found either, so what is first seen now counts as old.
fn keeps_on_unconfigured(mut node: Node, pause: &Stored, reason: &str) -> Result<()> {
    node.hide_containerd()?;
    node.set("safety.allow_idle", "true")?;
    let lab = node.containerd();
    let goes = app(lab, "goes:1")?;
    node.run(&["observe"])?.exits(0)?;
    let json = node.run(&[&CLEAN[..], &["--min-age", "0s"]].concat())?.exits(0)?.json()?;
    assert_eq!(verdict(&json, pause), ("keep", reason, ""), "{json:#}");
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(lab, &goes)?;
    assert_serves(lab, pause)
}
