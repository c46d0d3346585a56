//! Pods in every state, and all the ways to say what they are made from.

use anyhow::{Context, Result};
use lab::{Containerd, Image, PodState, Stored};

use super::{SET_UPS, SetUp, WITH_CRICTL, app, assert_serves, in_each, keeps, keeps_on, neighbour, pulled};
use crate::{CLEAN, assert_gone, entry, verdict, without};

hazards! {
    keeps_the_image_of_a_running_pod
    keeps_the_image_of_a_pod_whose_container_has_exited
    keeps_the_image_of_a_pod_whose_container_was_only_created
    keeps_the_image_of_a_pod_whose_sandbox_is_not_ready
    keeps_the_image_of_an_init_container_that_has_run
    keeps_the_image_of_a_pod_that_names_its_digest
    keeps_the_image_of_a_pod_that_names_its_id
    keeps_an_untagged_image_only_while_a_pod_uses_it
    keeps_what_a_pod_runs_when_its_tag_has_moved_to_another_image
    keeps_what_a_pod_runs_whichever_field_of_crictl_tells_it
    names_the_pod_that_uses_an_image
    keeps_what_a_container_beside_cri_uses_and_without_ctr_everything
    without_ctr_keeps_everything_where_nothing_tells_what_runs_beside_cri
}

/// The image of a pod in this state stays, and so does the one that its sandbox is made from.
fn keeps_in_state(version: &'static str, state: PodState) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = app(&lab, "stays:1")?;
    lab.pod("web", stays.name(), state)?;
    keeps(&lab, &[(&stays, "in_use")])
}

fn keeps_the_image_of_a_running_pod(version: &'static str) -> Result<()> {
    keeps_in_state(version, PodState::Running)
}

fn keeps_the_image_of_a_pod_whose_container_has_exited(version: &'static str) -> Result<()> {
    keeps_in_state(version, PodState::Exited)
}

fn keeps_the_image_of_a_pod_whose_container_was_only_created(version: &'static str) -> Result<()> {
    keeps_in_state(version, PodState::Created)
}

fn keeps_the_image_of_a_pod_whose_sandbox_is_not_ready(version: &'static str) -> Result<()> {
    keeps_in_state(version, PodState::NotReady)
}

fn keeps_the_image_of_an_init_container_that_has_run(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let (init, main) = (app(&lab, "init:1")?, app(&lab, "main:1")?);
    lab.pod_with_init("web", init.name(), main.name())?;
    keeps(&lab, &[(&init, "in_use"), (&main, "in_use")])
}

fn keeps_the_image_of_a_pod_that_names_its_digest(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = app(&lab, "stays:1")?;
    let by_digest = stays.references.iter().find(|name| name.contains("@sha256:")).context("a pull leaves a digest")?;
    lab.pod("web", by_digest, PodState::Exited)?;
    keeps(&lab, &[(&stays, "in_use")])
}

fn keeps_the_image_of_a_pod_that_names_its_id(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = app(&lab, "stays:1")?;
    lab.pod("web", &stays.id, PodState::Exited)?;
    keeps(&lab, &[(&stays, "in_use")])
}

fn keeps_an_untagged_image_only_while_a_pod_uses_it(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let untagged = |name: &str| -> Result<Stored> {
        let image = lab.cri_pull_by_digest(&Image::new(&format!("registry.example.com/{name}:1")).content(name))?;
        lab.age(&image, crate::DAY)?;
        Ok(image)
    };
    let stays = untagged("stays")?;
    lab.pod("web", stays.name(), PodState::Exited)?;
    in_each(&SET_UPS, |set_up| {
        let goes = untagged("goes-untagged")?;
        let json = keeps_on(&set_up.node(&lab)?, &[(&stays, "in_use")])?;
        assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, &goes)
    })
}

/// CRI tells the name that a container was asked for, which by now leads to the new image: with crictl that stays, too.
fn keeps_what_a_pod_runs_when_its_tag_has_moved_to_another_image(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let old = app(&lab, "moved:1")?;
    lab.pod("web", old.name(), PodState::Running)?;
    let old = without(&old, &[old.name()]);
    in_each(&SET_UPS, |set_up| {
        let new = pulled(&lab, &Image::new("registry.example.com/moved:1").content("new"))?;
        let json = keeps_on(&set_up.node(&lab)?, &[(&old, "in_use")])?;
        match set_up {
            SetUp::Ctr => assert_gone(&lab, &new)?,
            SetUp::Crictl | SetUp::Both => {
                assert_eq!(verdict(&json, &new), ("keep", "in_use", ""), "{json:#}");
                assert_serves(&lab, &new)?;
            }
        }
        Ok(())
    })
}

/// Which field holds an ID, with or without `sha256:`, changes with runtime and version.
fn keeps_what_a_pod_runs_whichever_field_of_crictl_tells_it(version: &'static str) -> Result<()> {
    const REFERENCE: &str = r#"-e 's/"imageRef": "[^"]*"/"imageRef": ""/'"#;
    const NAME: &str = r#"-e 's/"image": "[^"]*"/"image": ""/'"#;
    const SPECIFIED: &str = r#"-e 's/"userSpecifiedImage": "[^"]*"/"userSpecifiedImage": ""/'"#;
    const NO_ID: &str = r#"-e 's/"imageId"/"another"/'"#;
    const ID: &str = r#"-e 's/"imageRef": "sha256:\([^"]*\)"/"imageRef": "", "imageId": "\1"/'"#;
    let lab = Containerd::start(version)?;
    let stays = app(&lab, "stays:1")?;
    lab.pod("web", &stays.id, PodState::Exited)?;
    let all = [[NO_ID, NAME, SPECIFIED], [ID, NAME, SPECIFIED], [REFERENCE, NO_ID, SPECIFIED], [REFERENCE, NO_ID, NAME]];
    // 1.6 doesn't tell what the pod's author wrote.
    for others in &all[..if version == "1.6" { 3 } else { 4 }] {
        let mut node = SetUp::Crictl.node(&lab)?;
        let others = if others.contains(&ID) { [NO_ID, ID, NAME, SPECIFIED].join(" ") } else { others.join(" ") };
        node.stand_in_for_crictl(&format!("if [ \"$command\" = ps ]; then real \"$@\" | sed {others}; else real \"$@\"; fi"))?;
        keeps_on(&node, &[(&stays, "in_use")]).context(others)?;
    }
    Ok(())
}

fn names_the_pod_that_uses_an_image(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = app(&lab, "stays:1")?;
    let pod = lab.pod("web", stays.name(), PodState::Running)?;
    let container = pod.container.as_deref().context("a running pod has a container")?;
    in_each(&SET_UPS, |set_up| {
        let json = keeps_on(&set_up.node(&lab)?, &[(&stays, "in_use")])?;
        let users = &entry(&json, &stays)["users"];
        let name = match set_up {
            SetUp::Ctr => serde_json::Value::Null,
            SetUp::Crictl | SetUp::Both => "default/web".into(),
        };
        assert_eq!(users.as_array().map(Vec::len), Some(1), "{users:#}");
        assert_eq!((&users[0]["kind"], &users[0]["id"], &users[0]["pod"]), (&"container".into(), &container.into(), &name), "{users:#}");
        let pause = json["images"]
            .as_array()
            .and_then(|images| images.iter().find(|image| image["references"].to_string().contains("registry.example.com/pause:3.9")));
        let users = &pause.context("the sandbox's image is listed")?["users"];
        assert_eq!(
            (&users[0]["kind"], &users[0]["id"], &users[0]["pod"]),
            (&"sandbox".into(), &pod.id.as_str().into(), &name),
            "{users:#}"
        );
        Ok(())
    })
}

/// CRI doesn't show what somebody runs with ctr in the kubelet's namespace.
fn keeps_what_a_container_beside_cri_uses_and_without_ctr_everything(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    lab.run(stays.name(), "beside")?;
    in_each(&[SetUp::Ctr, SetUp::Both], |set_up| keeps_on(&set_up.node(&lab)?, &[(&stays, "in_use")]).map(drop))?;
    let unused = app(&lab, "unused:1")?;
    let json = SetUp::Crictl.node(&lab)?.run(&CLEAN)?.exits(0)?.json()?;
    assert!(json["gaps"].to_string().contains("all images stay: beside runs in containerd beside CRI"), "{json:#}");
    for image in [&stays, &unused] {
        assert_eq!(verdict(&json, image), ("keep", "in_use", ""), "{json:#}");
        assert_serves(&lab, image)?;
    }
    assert_eq!(json["summary"]["planned_removals"], 0, "{json:#}");
    in_each(&WITH_CRICTL, |set_up| {
        let json = set_up.node(&lab)?.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
        assert!(entry(&json, &stays)["users"].to_string().contains("beside"), "{json:#}");
        Ok(())
    })
}

/// With containerd's configuration hidden, the folder of what it runs isn't found.
fn without_ctr_keeps_everything_where_nothing_tells_what_runs_beside_cri(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    lab.run(stays.name(), "beside")?;
    let mut node = SetUp::Crictl.node(&lab)?;
    node.hide_containerd()?;
    node.run(&["observe"])?.exits(0)?;
    let json = node.run(&[&CLEAN[..], &["--min-age", "0s"]].concat())?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("keep", "in_use", ""), "{json:#}");
    assert!(json["gaps"].to_string().contains("all images stay: what runs in containerd beside CRI can't be told"), "{json:#}");
    assert_serves(&lab, &stays)
}
