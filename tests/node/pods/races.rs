//! Pods that come while an image is on its way out, names that move, and runtimes of which only one is the kubelet's.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Containerd, Image, Node, PodState, Run, Stored, wait_for};

use super::{SET_UPS, SetUp, WITH_CRICTL, app, assert_serves, in_each, keeps_on, neighbour, pulled};
use crate::{CLEAN, assert_gone, error, verdict, without};

hazards! {
    spares_an_image_that_a_pod_takes_up_after_the_plan
    spares_an_image_that_crictl_shows_pinned_or_renamed_after_the_plan
    removes_nothing_of_a_batch_before_which_crictl_fails
    removes_by_id_what_a_tag_led_to_before_it_moved
    a_pod_that_is_made_while_its_image_goes_comes_up
    refuses_to_choose_between_two_runtimes
}

/// A crictl up to 1.30 inspects without a word of it, and then only containerd's mounts tell.
#[test]
fn spares_an_image_that_a_pod_mounts_after_the_plan() -> Result<()> {
    const NEW: &str = r#"real "$@""#;
    const OLD: &str = r#"
if [ "$command" != inspect ]; then real "$@"; exit; fi
real "$@" | sed '/^    "mounts": \[/,/^    \]/s/"image": {/"unknown": {/'"#;
    let lab = Containerd::start("2.1")?;
    let stays = neighbour(&lab)?;
    for (set_up, crictl) in [(SetUp::Ctr, None), (SetUp::Crictl, Some(NEW)), (SetUp::Crictl, Some(OLD)), (SetUp::Both, Some(OLD))] {
        let (volume, goes) = (app(&lab, "volume:1")?, app(&lab, "goes:1")?);
        let mut node = set_up.node(&lab)?;
        crictl.map_or(Ok(()), |script| node.stand_in_for_crictl(script))?;
        let mut pod = None;
        let run = after_the_plan(&node, || {
            pod = Some(lab.pod_with_volume("late", stays.name(), volume.name())?);
            Ok(())
        })?;
        let json = run.exits(0)?.json()?;
        assert_eq!(verdict(&json, &volume), ("remove", "unused", "spared"), "{json:#}");
        assert_serves(&lab, &volume)?;
        assert_gone(&lab, &goes)?;
        pod.context("a pod was made")?.remove()?;
    }
    Ok(())
}

/// Lets something happen between the plan of everything and the answer yes.
fn after_the_plan(node: &Node, meanwhile: impl FnOnce() -> Result<()>) -> Result<Run> {
    let mut running = node.on_terminal(&["--all", "--output", "json"])?;
    running.wait_for("[y/N]")?;
    meanwhile()?;
    running.enter("y\n")?;
    running.wait()
}

fn spares_an_image_that_a_pod_takes_up_after_the_plan(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&SET_UPS, |set_up| {
        for state in [PodState::Running, PodState::Exited, PodState::Created] {
            let (stays, goes) = (app(&lab, "stays:1")?, app(&lab, "goes:1")?);
            let mut pod = None;
            let run = after_the_plan(&set_up.node(&lab)?, || {
                pod = Some(lab.pod("late", stays.name(), state)?);
                Ok(())
            })?;
            let json = run.exits(0)?.json()?;
            assert_eq!(verdict(&json, &stays), ("remove", "unused", "spared"), "{state:?} {json:#}");
            assert!(error(&json, &stays).contains("has come into use"), "{state:?} {json:#}");
            assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{state:?} {json:#}");
            assert_serves(&lab, &stays)?;
            assert_gone(&lab, &goes)?;
            pod.context("a pod was made")?.remove()?;
        }
        Ok(())
    })
}

fn spares_an_image_that_crictl_shows_pinned_or_renamed_after_the_plan(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&WITH_CRICTL, |set_up| {
        let set_up = format!("{set_up:?}").to_lowercase();
        let (pinned, renamed) = (app(&lab, &format!("pinned-{set_up}:1"))?, app(&lab, &format!("renamed-{set_up}:1"))?);
        let goes = app(&lab, "goes:1")?;
        let node = if set_up == "both" { SetUp::Both.node(&lab)? } else { SetUp::Crictl.node(&lab)? };
        let run = after_the_plan(&node, || {
            lab.label(pinned.name(), "io.cri-containerd.pinned=pinned")?;
            lab.tag(renamed.name(), &format!("registry.example.com/renamed-{set_up}:2"))
        })?;
        let json = run.exits(0)?.json()?;
        assert_eq!(verdict(&json, &renamed), ("remove", "unused", "spared"), "{json:#}");
        assert!(error(&json, &renamed).contains(&format!("new name: registry.example.com/renamed-{set_up}:2")), "{json:#}");
        assert_serves(&lab, &renamed)?;
        // The CRI of 1.6 knows no pins.
        if node.containerd().crictl(&["images", "-o", "json"])?.contains("\"pinned\": true") || set_up == "both" {
            assert_eq!(verdict(&json, &pinned), ("remove", "unused", "spared"), "{json:#}");
            assert_serves(&lab, &pinned)?;
        }
        assert_gone(&lab, &goes)
    })
}

fn removes_nothing_of_a_batch_before_which_crictl_fails(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    for listing in ["images", "ps"] {
        let mut node = SetUp::Crictl.node(&lab)?;
        let breaks = "echo 'crictl: broken' >&2; exit 1";
        node.stand_in_for_crictl(&format!("if [ -e /run/broken ] && [ \"$command\" = {listing} ]; then {breaks}; fi\nreal \"$@\""))?;
        let json = after_the_plan(&node, || node.write("/run/broken", ""))?.exits(3)?.json()?;
        assert_eq!(verdict(&json, &stays), ("remove", "unused", "failed"), "{listing}: {json:#}");
        assert!(error(&json, &stays).contains("crictl: broken"), "{listing}: {json:#}");
        assert_serves(&lab, &stays)?;
    }
    Ok(())
}

/// CRI takes the names of an image away in an order of its own, and stops where it is when its caller is gone.
#[test]
fn a_removal_through_crictl_that_was_killed_anywhere_is_finished_by_the_next_run() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    let mut node = SetUp::Crictl.node(&lab)?;
    for (name, is_lost) in [
        ("a-tag", (|name| name.ends_with(":1")) as fn(&str) -> bool),
        ("the-digest", |name| name.contains('@')),
        ("the-tags", |name| !name.starts_with("sha256:") && !name.contains('@')),
        ("every-name", |name| !name.starts_with("sha256:")),
    ] {
        let repository = format!("registry.example.com/{name}");
        let image = pulled(&lab, &Image::new(&format!("{repository}:1")).content(name))?;
        lab.tag(image.name(), &format!("{repository}:2"))?;
        let image = Stored {
            references: lab.references()?.into_iter().filter(|name| name.contains(&repository) || *name == image.id).collect(),
            ..image
        };
        lab.wait_for_cri(&[format!("{repository}:2")])?;
        node.stand_in_for_crictl("if [ \"$command\" != rmi ]; then real \"$@\"; exit; fi\nkill -s KILL \"$PPID\"")?;
        node.run(&["--yes", "--include", &repository])?.exits(128 + 9)?;
        node.no_stand_in_for_crictl()?;
        let lost: Vec<&str> = image.references.iter().map(String::as_str).filter(|name| is_lost(name)).collect();
        assert!(!lost.is_empty() && lost.len() < image.references.len(), "{lost:?}");
        lab.ctr(&[&["images", "rm"], &lost[..]].concat())?;
        wait_for("CRI to notice what it has lost", || {
            let images = lab.crictl(&["images", "-o", "json"])?;
            Ok(lost.iter().all(|name| !images.contains(&format!("\"{name}\""))).then_some(()))
        })?;
        let json = node.run(&["--yes", "--registry", "nowhere.example.com", "--output", "json"])?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &image), ("remove", "unused", "removed"), "without {name}: {json:#}");
        assert_gone(&lab, &image)?;
    }
    assert_serves(&lab, &stays)
}

/// The last moment at which a tag can move: when crictl has been started to remove what it led to.
fn removes_by_id_what_a_tag_led_to_before_it_moved(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let old = app(&lab, "moved:1")?;
    let new = Image::new(old.name()).content("new");
    // Puts it into the registry.
    lab.pull_in("elsewhere", &new)?;
    let mut node = SetUp::Crictl.node(&lab)?;
    let pull = format!("real \"$1\" \"$2\" \"$3\" \"$4\" \"$5\" \"$6\" pull {} >/dev/null || exit", old.name());
    node.stand_in_for_crictl(&format!("if [ \"$command\" = rmi ]; then {pull}; fi\nreal \"$@\""))?;
    let json = node.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &old), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(&lab, &without(&old, &[old.name()]))?;
    assert_serves(&lab, &pulled(&lab, &new)?)
}

/// Nothing locks an image while a container is made from it. What the kubelet does then is to pull it and to try again.
fn a_pod_that_is_made_while_its_image_goes_comes_up(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&SET_UPS, |set_up| {
        let node = set_up.node(&lab)?;
        for delay in [0, 30, 60, 90, 120, 180] {
            let image = app(&lab, "raced:1")?;
            let running = node.spawn(&CLEAN)?;
            std::thread::sleep(Duration::from_millis(delay));
            let pod = comes_up(&lab, &image.names[0])?;
            let run = running.wait()?;
            let json = run.json()?;
            // It may have gone before the pod was made, or been taken up in time. What was pulled again between its removal and
            // the look after it is still listed; where its blobs had not gone yet, nothing tells that from a removal that did
            // nothing.
            let expected = match verdict(&json, &image).2 {
                "removed" | "spared" | "gone" | "" => 0,
                "failed" if error(&json, &image).starts_with("still listed: ") => 3,
                _ => bail!("after {delay} ms: {json:#}"),
            };
            ensure!(run.code == expected, "after {delay} ms: exit code {}, {json:#}", run.code);
            let state = lab.crictl(&["inspect", "-o", "json", pod.container.as_deref().context("it has a container")?])?;
            ensure!(state.contains("CONTAINER_RUNNING"), "after {delay} ms: {state}");
            pod.remove()?;
            // Whatever was left of it, the next pull makes it whole.
            assert_serves(&lab, &app(&lab, "raced:1")?)?;
        }
        Ok(())
    })
}

fn comes_up<'a>(lab: &'a Containerd, name: &str) -> Result<lab::Pod<'a>> {
    let mut last = None;
    for attempt in 0..10 {
        match lab.pod(&format!("raced-{attempt}"), name, PodState::Running) {
            Ok(pod) => return Ok(pod),
            Err(error) => last = Some(error),
        }
        // What was pulled may go at once: names are all that ctr is told.
        lab.crictl(&["pull", name])?;
    }
    Err(last.context("ten attempts")?)
}

/// Only what the kubelet says tells which of them is the node's.
fn refuses_to_choose_between_two_runtimes(version: &'static str) -> Result<()> {
    const SOCKETS: [&str; 2] = ["/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"];
    let lab = Containerd::start(version)?;
    let stays = neighbour(&lab)?;
    let unused = app(&lab, "unused:1")?;
    in_each(&SET_UPS, |set_up| {
        let mut node = set_up.node(&lab)?;
        node.unset("runtime.endpoint")?;
        for socket in SOCKETS {
            fs::create_dir_all(node.path(socket)?.parent().context("a socket is in a folder")?)?;
        }
        // Another runtime; a link to the same one would not be a second.
        let _other = UnixListener::bind(node.path(SOCKETS[0])?)?;
        symlink(lab.socket(), node.path(SOCKETS[1])?)?;
        let run = node.run(&CLEAN)?.exits(1)?;
        assert!(SOCKETS.iter().all(|socket| run.stderr.contains(socket)) && run.stderr.contains("--runtime-endpoint"), "{}", run.stderr);
        assert_serves(&lab, &unused)?;
        let config = format!("kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix://{}\n", SOCKETS[1]);
        node.write("/var/lib/kubelet/config.yaml", &config)?;
        let json = node.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
        assert_eq!(json["runtime"]["endpoint"], format!("unix://{}", SOCKETS[1]), "{json:#}");
        fs::remove_file(node.path(SOCKETS[0])?)?;
        fs::remove_file(node.path("/var/lib/kubelet/config.yaml")?)?;
        keeps_on(&node, &[(&stays, "in_use")])?;
        app(&lab, "unused:1").map(drop)
    })
}
