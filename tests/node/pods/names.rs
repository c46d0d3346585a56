//! Images that lack a name, or have one that CRI spells otherwise, and images whose name was pulled once more.

use anyhow::{Context, Result};
use lab::{Containerd, Image, PodState};

use super::{SET_UPS, SetUp, app, assert_serves, in_each, keeps, keeps_on, neighbour, pulled};
use crate::{CLEAN, DAY, assert_gone, assert_stays, entry, error, verdict, without};

hazards! {
    keeps_what_was_imported_without_a_domain_while_a_pod_uses_it
    what_was_imported_without_a_domain_goes_only_where_it_is_told_to
    stranded_bare_ids_go_where_it_can_be_told_that_a_registry_has_them
    a_tag_that_was_pulled_anew_is_young_and_what_it_led_to_before_is_not
    the_kubelets_record_of_a_repeated_pull_starts_min_age_anew
    a_ghost_in_crictls_list_is_no_image
}

/// CRI spells the name otherwise, and finds the image only where it is stored under that spelling, too.
fn keeps_what_was_imported_without_a_domain_while_a_pod_uses_it(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let image = lab.import(&Image::new("foo:latest").tag("docker.io/library/foo:latest"))?;
    lab.age(&image, DAY)?;
    lab.pod("web", "foo:latest", PodState::Exited)?;
    keeps(&lab, &[(&image, "in_use")])
}

/// `crictl rmi` takes its bare ID away, leaves the name, and says that all went well (containerd#7698): we don't believe it.
fn what_was_imported_without_a_domain_goes_only_where_it_is_told_to(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&[SetUp::Ctr, SetUp::Both, SetUp::Crictl], |set_up| {
        let image = lab.import(&Image::new("foo:latest"))?;
        lab.age(&image, DAY)?;
        let node = set_up.node(&lab)?;
        let json = node.run(&CLEAN)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &image), ("keep", "unpullable", ""), "{json:#}");
        assert_stays(&lab, &image)?;
        // No blob tells crictl alone how old it is, but the run before has seen it.
        let clean = node.run(&[&CLEAN[..], &["--keep-unpullable", "false", "--min-age", "0s"]].concat())?;
        match set_up {
            SetUp::Ctr | SetUp::Both => {
                let json = clean.exits(0)?.json()?;
                assert_eq!(verdict(&json, &image), ("remove", "unused", "removed"), "{json:#}");
                assert_gone(&lab, &image)
            }
            SetUp::Crictl => {
                let json = clean.exits(3)?.json()?;
                assert_eq!(verdict(&json, &image), ("remove", "unused", "failed"), "{json:#}");
                assert_eq!(error(&json, &image), "still listed: docker.io/library/foo:latest", "{json:#}");
                assert!(lab.can_run(image.name())?);
                Ok(())
            }
        }
    })
}

/// What an earlier tool left: CRI lists an ID and nothing else, while ctr knows where its content came from.
fn stranded_bare_ids_go_where_it_can_be_told_that_a_registry_has_them(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&SET_UPS, |set_up| {
        let image = app(&lab, "stranded:1")?;
        let names: Vec<&str> = image.references.iter().map(String::as_str).filter(|name| *name != image.id).collect();
        lab.ctr(&[&["images", "rm"], &names[..]].concat())?;
        let left = without(&image, &names);
        assert_eq!(left.references, [image.id.as_str()]);
        let elsewhere = ["--yes", "--registry", "nowhere.example.com", "-o", "json"];
        let json = set_up.node(&lab)?.run(if set_up == SetUp::Crictl { &CLEAN } else { &elsewhere })?.exits(0)?.json()?;
        match set_up {
            SetUp::Ctr | SetUp::Both => {
                assert_eq!(verdict(&json, &image), ("remove", "stranded", "removed"), "{json:#}");
                assert_gone(&lab, &image)
            }
            SetUp::Crictl => {
                assert_eq!(verdict(&json, &image), ("keep", "unpullable", ""), "{json:#}");
                assert_serves(&lab, &left)
            }
        }
    })
}

fn a_tag_that_was_pulled_anew_is_young_and_what_it_led_to_before_is_not(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    in_each(&SET_UPS, |set_up| {
        let name = format!("registry.example.com/again-{}:1", format!("{set_up:?}").to_lowercase());
        let old = pulled(&lab, &Image::new(&name).content(&format!("{name} old")))?;
        let new = lab.cri_pull(&Image::new(&name).content(&format!("{name} new")))?;
        let json = keeps_on(&set_up.node(&lab)?, &[(&new, "too_young")])?;
        assert_eq!(entry(&json, &new)["pulled_at_source"], "blob", "{json:#}");
        assert_eq!(verdict(&json, &old), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, &without(&old, &[&name]))
    })
}

/// A pull that finds everything up to date leaves no trace in containerd.
fn the_kubelets_record_of_a_repeated_pull_starts_min_age_anew(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let again = app(&lab, "again:1")?;
    in_each(&SET_UPS, |set_up| {
        let node = set_up.node(&lab)?;
        let json = node.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
        assert_eq!(verdict(&json, &again), ("remove", "unused", ""), "{json:#}");
        let now = json["started_at"].as_str().context("a run tells when it began")?;
        let record = format!(
            r#"{{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1","lastUpdatedTime":"{now}","imageRef":"{}","credentialMapping":{{"registry.example.com/again":{{"nodePodsAccessible":true}}}}}}"#,
            again.id
        );
        let hex = again.digest.trim_start_matches("sha256:");
        node.write(&format!("/var/lib/kubelet/image_manager/pulled/sha256-{hex}"), &record)?;
        let json = keeps_on(&node, &[(&again, "too_young")])?;
        let told = entry(&json, &again);
        assert_eq!((&told["pulled_at"], &told["pulled_at_source"]), (&now.into(), &"kubelet".into()), "{json:#}");
        Ok(())
    })
}

/// containerd#14080: an import with a name for the index leaves CRI with a record that no removal beside it takes away.
fn a_ghost_in_crictls_list_is_no_image(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = neighbour(&lab)?;
    let ghost = app(&lab, "ghost:1")?;
    let archive = lab.socket().with_file_name("ghost.tar").display().to_string();
    lab.ctr(&["images", "export", &archive, ghost.name()])?;
    let remove = |names: &[&str]| lab.ctr(&[&["images", "rm", "--sync"], names].concat()).map(drop);
    remove(&ghost.references.iter().map(String::as_str).collect::<Vec<_>>())?;
    lab.ctr(&["images", "import", "--index-name", "foo", &archive])?;
    let names = ["foo", ghost.name(), &ghost.id];
    lab.wait_for_cri(&names.map(str::to_owned))?;
    remove(&names)?;
    assert!(names.iter().all(|name| !lab.references().is_ok_and(|left| left.contains(*name))));
    assert!(lab.crictl(&["images", "-o", "json"])?.contains(&ghost.id), "the ghost has gone");
    in_each(&SET_UPS, |set_up| {
        let json = keeps_on(&set_up.node(&lab)?, &[(&stays, "in_use")])?;
        let gap = json["gaps"].to_string().contains("1 images that CRI lists are not in containerd's store");
        assert_eq!(gap, set_up == SetUp::Both, "{json:#}");
        match set_up {
            SetUp::Ctr | SetUp::Both => assert!(entry(&json, &ghost).is_null(), "{json:#}"),
            // Nothing tells it from an image whose names were taken away.
            SetUp::Crictl => assert_eq!(verdict(&json, &ghost), ("keep", "unpullable", ""), "{json:#}"),
        }
        Ok(())
    })
}
