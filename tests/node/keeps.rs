//! What must stay, whatever is asked: each reason to keep an image, beside one that goes.

use anyhow::Result;
use lab::{Containerd, Image, Settings, Stored};

use crate::{CLEAN, DAY, app, assert_gone, assert_stays, clean, neighbour, node, pulled, verdict, without};

/// One image that must stay for `reason` beside one that must go.
fn keeps(lab: &Containerd, stays: &Stored, reason: &str, more: &[&str]) -> Result<()> {
    let goes = app(lab, "goes:1")?;
    let json = clean(lab, more)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, stays), ("keep", reason, ""), "{json:#}");
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_stays(lab, stays)?;
    assert_gone(lab, &goes)
}

#[test]
fn keeps_an_image_a_running_container_uses() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    keeps(&lab, &stays, "in_use", &[])
}

#[test]
fn keeps_an_image_of_a_container_that_was_only_created() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = app(&lab, "stays:1")?;
    lab.create(stays.name(), "created")?;
    keeps(&lab, &stays, "in_use", &[])
}

#[test]
fn keeps_an_image_of_a_stopped_container() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = app(&lab, "stays:1")?;
    lab.stopped(stays.name(), "stopped")?;
    keeps(&lab, &stays, "in_use", &[])
}

#[test]
fn keeps_what_runs_when_its_tag_has_moved_to_another_image() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let mut old = app(&lab, "moved:1")?;
    lab.run(old.name(), "old")?;
    let new = pulled(&lab, &Image::new("registry.example.com/moved:1").content("new"))?;
    old.references.retain(|name| name != "registry.example.com/moved:1");
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &old), ("keep", "in_use", ""), "{json:#}");
    let left = lab.references()?;
    assert!(old.references.iter().all(|name| left.contains(name)), "{left:?}");
    assert!(lab.can_run(&old.references[0])?);
    assert_gone(&lab, &new)
}

#[test]
fn keeps_all_three_tags_of_an_image_when_one_is_used() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let three = Image::new("registry.example.com/a:1").tag("registry.example.com/a:2").tag("registry.example.com/b:3").content("three");
    let stays = pulled(&lab, &three)?;
    lab.run("registry.example.com/a:2", "one")?;
    keeps(&lab, &stays, "in_use", &[])
}

#[test]
fn tells_references_apart_that_contain_each_other() -> Result<()> {
    for (used, unused) in [("app:1.1", "app:1.10"), ("app:1.10", "app:1.1")] {
        let lab = Containerd::start("1.7")?;
        let (stays, goes) = (app(&lab, used)?, app(&lab, unused)?);
        lab.run(stays.name(), "used")?;
        clean(&lab, &[])?.exits(0)?;
        assert_stays(&lab, &stays)?;
        assert_gone(&lab, &goes)?;
    }
    Ok(())
}

#[test]
fn keeps_a_side_loaded_image_unless_told_otherwise() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let loaded = lab.import(&Image::new("registry.example.com/loaded:1").content("loaded"))?;
    lab.wait_for_cri(std::slice::from_ref(&loaded.id))?;
    lab.age(&loaded, DAY)?;
    keeps(&lab, &loaded, "unpullable", &[])?;
    clean(&lab, &["--keep-unpullable", "false"])?.exits(0)?;
    assert_gone(&lab, &loaded)
}

#[test]
fn keeps_an_image_pulled_a_moment_ago() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let young = lab.pull(&Image::new("registry.example.com/young:1").content("young"))?;
    keeps(&lab, &young, "too_young", &[])
}

#[test]
fn an_index_image_stays_or_goes_whole() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = pulled(&lab, &Image::new("registry.example.com/used:1").content("used").index())?;
    let goes = pulled(&lab, &Image::new("registry.example.com/unused:1").content("unused").index())?;
    lab.run(stays.name(), "used")?;
    clean(&lab, &[])?.exits(0)?;
    assert_stays(&lab, &stays)?;
    assert_gone(&lab, &goes)
}

#[test]
fn keeps_a_pinned_image() -> Result<()> {
    for label in ["io.cri-containerd.pinned=pinned", "io.cattle.k3s.pinned=pinned", "io.cattle.rke2.pinned=pinned"] {
        let lab = Containerd::start("1.7")?;
        neighbour(&lab)?;
        let stays = app(&lab, "pinned:1")?;
        lab.label(stays.name(), label)?;
        keeps(&lab, &stays, "pinned", &[])?;
    }
    Ok(())
}

#[test]
fn keeps_the_sandbox_image_that_containerd_is_configured_with() -> Result<()> {
    let lab = Containerd::with(&Settings { sandbox_image: Some("registry.example.com/base:9".into()), ..Settings::default() })?;
    neighbour(&lab)?;
    let stays = app(&lab, "base:9")?;
    keeps(&lab, &stays, "sandbox_image", &[])
}

#[test]
fn keeps_what_looks_like_a_pause_image_when_nothing_tells() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "mirror/pause-amd64:3.1")?;
    let mut node = node(&lab)?;
    node.hide_containerd()?;
    let json = node.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("keep", "sandbox_image", ""), "{json:#}");
    assert!(json["gaps"].to_string().contains("sandboxes are made from"), "{json:#}");
    assert_stays(&lab, &stays)
}

#[test]
fn keeps_an_image_that_a_static_pod_names() -> Result<()> {
    for folder in ["/etc/kubernetes/manifests", "/var/lib/rancher/k3s/agent/pod-manifests", "/var/lib/rancher/rke2/agent/pod-manifests"] {
        let lab = Containerd::start("1.7")?;
        neighbour(&lab)?;
        let (stays, goes) = (app(&lab, "static:1")?, app(&lab, "goes:1")?);
        let node = node(&lab)?;
        node.write(&format!("{folder}/pod.yaml"), "kind: Pod\nspec:\n  containers:\n  - image: registry.example.com/static:1\n")?;
        let json = node.run(&CLEAN)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &stays), ("keep", "static_pod", ""), "{json:#}");
        assert_stays(&lab, &stays)?;
        assert_gone(&lab, &goes)?;
    }
    Ok(())
}

#[test]
fn leaves_the_same_content_in_another_namespace_alone() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let shared = Image::new("registry.example.com/shared:1").content("shared");
    let goes = pulled(&lab, &shared)?;
    let other = lab.pull_in("moby", &shared)?;
    clean(&lab, &[])?.exits(0)?;
    assert!(!lab.references()?.contains(goes.name()));
    assert!(lab.can_run_in("moby", other.name())?);
    Ok(())
}

#[test]
fn keeps_an_image_that_was_pulled_by_digest_only_while_it_is_used() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let by_digest = |name: &str| -> Result<Stored> {
        let image = app(&lab, name)?;
        lab.ctr(&["images", "rm", image.name()])?;
        Ok(without(&image, &[image.name()]))
    };
    let (stays, goes) = (by_digest("used:1")?, by_digest("unused:1")?);
    assert!(stays.name().contains("/used@sha256:"), "{stays:?}");
    lab.run(stays.name(), "used")?;
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("keep", "in_use", ""), "{json:#}");
    assert_stays(&lab, &stays)?;
    assert_gone(&lab, &goes)
}

#[test]
fn a_pinned_pause_image_stays_and_tells_that_the_others_are_not_needed() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let (stays, goes) = (app(&lab, "mirror/pause:3.9")?, app(&lab, "mirror/pause-amd64:3.1")?);
    lab.label(stays.name(), "io.cri-containerd.pinned=pinned")?;
    // The configured sandbox image is not on this node, so it tells nothing.
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("keep", "pinned", ""), "{json:#}");
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_stays(&lab, &stays)?;
    assert_gone(&lab, &goes)
}

#[test]
fn keeps_an_image_whose_blobs_were_written_where_there_was_no_clock() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let timeless = app(&lab, "timeless:1")?;
    lab.age(&timeless, 60 * 365 * DAY)?;
    keeps(&lab, &timeless, "age_unknown", &[])
}
