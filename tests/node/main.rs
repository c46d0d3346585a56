//! The built binary on a real containerd 1.7: what must stay is there with all its references and still runs, what must
//! go is gone with references, blobs and snapshots.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Containerd, Image, Node, Run, Settings, Stored};
use serde_json::Value;

const DAY: Duration = Duration::from_hours(24);
const CLEAN: [&str; 4] = ["--yes", "--all", "--output", "json"];

fn node(lab: &Containerd) -> Result<Node<'_>> {
    Ok(lab.node()?.product(env!("CARGO_BIN_EXE_nuke-images")))
}

/// An image as the kubelet pulls it, a day ago.
fn pulled(lab: &Containerd, image: &Image) -> Result<Stored> {
    let image = lab.pull(image)?;
    lab.age(&image, DAY)?;
    Ok(image)
}

fn app(lab: &Containerd, name: &str) -> Result<Stored> {
    pulled(lab, &Image::new(&format!("registry.example.com/{name}")).content(name))
}

/// A node is never idle: something runs on it.
fn neighbour(lab: &Containerd) -> Result<Stored> {
    let image = app(lab, "neighbour:1")?;
    lab.run(image.name(), "neighbour")?;
    Ok(image)
}

fn clean(lab: &Containerd, more: &[&str]) -> Result<Run> {
    node(lab)?.run(&[&CLEAN[..], more].concat())
}

fn verdict<'a>(json: &'a Value, image: &Stored) -> (&'a str, &'a str, &'a str) {
    let images = json["images"].as_array().map_or(&[][..], Vec::as_slice);
    let found = images.iter().find(|entry| entry["id"] == image.id.as_str()).unwrap_or(&Value::Null);
    let word = |key: &str| found[key].as_str().unwrap_or("");
    (word("verdict"), word("reason"), word("outcome"))
}

fn assert_stays(lab: &Containerd, image: &Stored) -> Result<()> {
    let references = lab.references()?;
    let missing: Vec<_> = image.references.iter().filter(|name| !references.contains(*name)).collect();
    ensure!(missing.is_empty(), "{missing:?} should have stayed");
    ensure!(lab.can_run(image.name())?, "a new container of {} can't be made", image.name());
    Ok(())
}

fn assert_gone(lab: &Containerd, image: &Stored) -> Result<()> {
    let (references, snapshots) = (lab.references()?, lab.snapshots()?);
    ensure!(image.references.iter().all(|name| !references.contains(name)), "a reference of {} is left", image.name());
    ensure!(image.blobs.iter().all(|blob| !lab.has_file(blob)), "a blob of {} is left", image.name());
    ensure!(image.snapshots.iter().all(|key| !snapshots.contains(key)), "a snapshot of {} is left", image.name());
    Ok(())
}

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
fn keeps_an_image_whose_blobs_were_written_where_there_was_no_clock() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let timeless = app(&lab, "timeless:1")?;
    lab.age(&timeless, 60 * 365 * DAY)?;
    keeps(&lab, &timeless, "age_unknown", &[])
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
fn a_dry_run_changes_neither_store_nor_state() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    app(&lab, "goes:1")?;
    let node = node(&lab)?;
    let before = (lab.fingerprint()?, node.files()?);
    let json = node.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!(json["summary"]["planned_removals"], 1, "{json:#}");
    assert_eq!((lab.fingerprint()?, node.files()?), before);
    Ok(())
}

#[test]
fn refuses_when_nothing_at_all_is_in_use() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = app(&lab, "stays:1")?;
    let run = clean(&lab, &[])?.exits(1)?;
    assert!(run.stderr.contains("allow_idle"), "{}", run.stderr);
    assert_stays(&lab, &stays)
}

#[test]
fn refuses_an_unattended_run_right_after_a_start() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let mut node = node(&lab)?;
    node.set("safety.min_uptime", "\"30m\"")?;
    let run = node.run(&CLEAN)?.exits(1)?;
    assert!(run.stderr.contains("min_uptime"), "{}", run.stderr);
    assert_stays(&lab, &stays)
}

#[test]
fn without_a_selector_an_unattended_run_only_observes() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let run = node.run(&["--yes"])?.exits(0)?;
    assert!(run.stderr.contains("only observed"), "{}", run.stderr);
    assert!(node.exists("/var/lib/nuke-images/state.json")?);
    assert_stays(&lab, &stays)
}

#[test]
fn a_stranded_bare_id_goes_whatever_the_selectors() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stranded = app(&lab, "stranded:1")?;
    let names: Vec<&str> = stranded.references.iter().map(String::as_str).filter(|name| !name.starts_with("sha256:")).collect();
    lab.ctr(&[&["images", "rm"], &names[..]].concat())?;
    let json = node(&lab)?.run(&["--yes", "--registry", "nowhere.example.com", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stranded), ("remove", "stranded", "removed"), "{json:#}");
    assert_gone(&lab, &stranded)
}

#[test]
fn a_listing_that_fails_refuses_the_run_and_is_named() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    for listing in ["content ls", "images ls", "containers ls", "snapshots --snapshotter overlayfs ls"] {
        let mut node = node(&lab)?;
        let script = format!("case \"$*\" in *'{listing}'*) echo 'ctr: broken' >&2; exit 1;; esac\nreal \"$@\"\n");
        node.stand_in(&script)?;
        let run = node.run(&CLEAN)?.exits(1)?;
        assert!(run.stderr.contains("broken"), "{listing}: {}", run.stderr);
        assert_stays(&lab, &stays)?;
    }
    Ok(())
}

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
