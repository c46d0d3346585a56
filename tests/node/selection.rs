//! What the selectors let go and what they leave, and that a saved inventory is judged as the node itself.

use std::fs;

use anyhow::Result;
use lab::{Containerd, Image, Stored};
use serde_json::Value;

use crate::{DAY, app, assert_gone, assert_stays, neighbour, node, pulled, verdict};

/// Cleans with these arguments: `goes` goes, each of `stays` stays for its reason.
fn selects(arguments: &[&str], goes: &[&str], stays: &[(&str, &str)]) -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let image = |name: &str| pulled(&lab, &Image::new(name).content(name));
    let goes = goes.iter().map(|name| image(name)).collect::<Result<Vec<_>>>()?;
    let stays = stays.iter().map(|(name, reason)| Ok((image(name)?, *reason))).collect::<Result<Vec<_>>>()?;
    let json = node(&lab)?.run(&[&["--yes", "--output", "json"], arguments].concat())?.exits(0)?.json()?;
    for image in &goes {
        assert_eq!(verdict(&json, image), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, image)?;
    }
    for (image, reason) in &stays {
        assert_eq!(verdict(&json, image), ("keep", *reason, ""), "{json:#}");
        assert_stays(&lab, image)?;
    }
    Ok(())
}

#[test]
fn removes_the_images_of_exactly_one_registry() -> Result<()> {
    let others = ["registry.example.com:5000/a:1", "registry.example.community/a:1", "x.registry.example.com/a:1"];
    let stays = others.map(|name| (name, "not_selected"));
    selects(&["--registry", "registry.example.com"], &["registry.example.com/a:1", "registry.example.com/b/c:2"], &stays)
}

#[test]
fn removes_the_images_of_a_registry_on_one_port() -> Result<()> {
    let stays = [("registry.example.com/a:1", "not_selected"), ("registry.example.com:5001/a:1", "not_selected")];
    selects(&["--registry", "registry.example.com:5000"], &["registry.example.com:5000/a:1"], &stays)
}

#[test]
fn removes_what_an_included_pattern_matches_and_no_excluded_one() -> Result<()> {
    let stays = [
        ("registry.example.com/shop/cart:stable", "excluded"),
        ("registry.example.com/shop/base:1", "excluded"),
        ("registry.example.com/bank/vault:1", "not_selected"),
    ];
    let arguments = ["--include", "/shop/", "--include", "/toys/", "--exclude", ":stable$", "--exclude", "/base:"];
    selects(&arguments, &["registry.example.com/shop/cart:1", "registry.example.com/toys/a:1"], &stays)
}

#[test]
fn keeps_a_selected_image_that_bears_a_name_of_another_registry_too() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let both = Image::new("registry.example.com/a:1").tag("other.example.com/a:1").content("both");
    let stays = pulled(&lab, &both)?;
    let goes = app(&lab, "b:1")?;
    let json = node(&lab)?.run(&["--yes", "--registry", "registry.example.com", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stays), ("keep", "not_selected", ""), "{json:#}");
    assert_stays(&lab, &stays)?;
    assert_gone(&lab, &goes)
}

/// A node with images of many kinds.
fn many_kinds(lab: &Containerd) -> Result<Vec<Stored>> {
    let mut images = vec![neighbour(lab)?, app(lab, "unused:1")?, app(lab, "pause:3.9")?, app(lab, "pinned:1")?];
    lab.label(images[3].name(), "io.cri-containerd.pinned=pinned")?;
    images.push(lab.pull(&Image::new("registry.example.com/young:1").content("young"))?);
    images.push(lab.import(&Image::new("registry.example.com/loaded:1").content("loaded"))?);
    lab.age(&images[5], DAY)?;
    images.push(pulled(lab, &Image::new("registry.example.com/index:1").content("index").index())?);
    Ok(images)
}

#[test]
fn a_saved_inventory_is_judged_elsewhere_without_root_as_the_node_itself() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let images = many_kinds(&lab)?;
    let here = node(&lab)?;
    let dry_run = here.run(&["--dry-run", "--all", "--output", "json"])?.exits(0)?.json()?;
    let saved = here.run(&["inventory", "--output", "json"])?.exits(0)?.stdout;

    let elsewhere = lab.node()?.product("/usr/bin/setpriv");
    elsewhere.config("[runtime]\nendpoint = \"unix:///nonexistent.sock\"\n")?;
    elsewhere.write("/etc/saved.json", &saved)?;
    fs::copy(env!("CARGO_BIN_EXE_nuke-images"), elsewhere.path("/usr/local/bin/product")?)?;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "/usr/local/bin/product"];
    let plan = ["plan", "--inventory", "/etc/saved.json", "--all", "--output", "json"];
    let planned = elsewhere.run(&[&nobody[..], &plan].concat())?.exits(0)?.json()?;

    let judged = |json: &Value| images.iter().map(|image| verdict_of(json, image)).collect::<Vec<_>>();
    assert_eq!(judged(&planned), judged(&dry_run));
    let reasons = ["in_use", "unused", "sandbox_image", "pinned", "too_young", "unpullable", "unused"];
    assert_eq!(images.iter().map(|image| verdict(&dry_run, image).1).collect::<Vec<_>>(), reasons, "{dry_run:#}");
    assert_eq!(planned["summary"], dry_run["summary"]);
    assert_eq!(planned["dry_run"], true);
    assert!(images.iter().try_for_each(|image| assert_stays(&lab, image)).is_ok());
    Ok(())
}

/// All that is said of an image but the words, which tell how long ago something was.
fn verdict_of(json: &Value, image: &Stored) -> Value {
    let mut entry = crate::entry(json, image).clone();
    entry.as_object_mut().and_then(|entry| entry.remove("detail"));
    entry
}
