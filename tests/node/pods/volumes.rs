//! Images that are mounted into a pod: only 2.1 can, and no listing of containers shows it.

use anyhow::{Result, ensure};
use lab::{Containerd, Pod, Stored};
use serde_json::Value;

use super::{SET_UPS, SetUp, app, assert_serves, in_each, keeps, keeps_on};
use crate::{CLEAN, assert_gone, entry, verdict};

fn with_volume(lab: &Containerd) -> Result<(Pod<'_>, Stored)> {
    let (app, volume) = (app(lab, "app:1")?, app(lab, "volume:1")?);
    let pod = lab.pod_with_volume("web", app.name(), volume.name())?;
    ensure!(!lab.crictl(&["ps", "-a", "-o", "json"])?.contains("volume:1"), "a listing shows it after all");
    Ok((pod, volume))
}

#[test]
fn keeps_an_image_that_a_container_has_mounted() -> Result<()> {
    let lab = Containerd::start("2.1")?;
    let (pod, volume) = with_volume(&lab)?;
    in_each(&SET_UPS, |set_up| {
        let json = keeps_on(&set_up.node(&lab)?, &[(&volume, "in_use")])?;
        let users = entry(&json, &volume)["users"].to_string();
        match set_up {
            // The mount is a snapshot of its own.
            SetUp::Ctr | SetUp::Both => assert!(users.contains("/image-volumes/"), "{users}"),
            SetUp::Crictl => {
                // A crictl up to 1.30 doesn't know of it: then the mount is all there is, and tells the sandbox.
                let container = pod.container.as_deref().unwrap_or_default();
                let status: Value = serde_json::from_str(&lab.crictl(&["inspect", "-o", "json", container])?)?;
                let is_told = status["status"]["mounts"][0]["image"].is_object();
                assert!(is_told || std::env::var_os("CRICTL").is_some(), "{status:#}");
                assert_eq!(users.contains(container) && users.contains("default/web"), is_told, "{users}");
                assert!(users.contains(&pod.id), "{users}");
            }
        }
        Ok(())
    })
}

#[test]
fn keeps_an_image_that_is_still_mounted_when_its_container_is_gone() -> Result<()> {
    let lab = Containerd::start("2.1")?;
    let (mut pod, volume) = with_volume(&lab)?;
    pod.stop_container()?;
    pod.remove_container()?;
    keeps(&lab, &[(&volume, "in_use")])
}

#[test]
fn an_image_that_was_mounted_goes_with_the_last_pod_that_had_it() -> Result<()> {
    let lab = Containerd::start("2.1")?;
    super::neighbour(&lab)?;
    in_each(&SET_UPS, |set_up| {
        let (pod, volume) = with_volume(&lab)?;
        keeps_on(&set_up.node(&lab)?, &[(&volume, "in_use")])?;
        assert_serves(&lab, &volume)?;
        pod.remove()?;
        let json = set_up.node(&lab)?.run(&CLEAN)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &volume), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, &volume)
    })
}
