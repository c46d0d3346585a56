//! What goes: all of it, with its bytes, and what the report says of it.

use anyhow::Result;
use lab::{Containerd, Image};

use crate::{CLEAN, app, assert_gone, assert_stays, clean, error, neighbour, node, pulled, verdict};

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
fn gives_back_the_bytes_it_reports_and_about_those_it_planned() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let lab = Containerd::start("1.7")?;
    let image = |name: &str| Image::new(&format!("registry.example.com/{name}")).content(name).layers(4, 2).layer_size(4 << 20);
    // All share two layers; one of the four stays, so the shared ones do too.
    let stays = pulled(&lab, &image("stays:1"))?;
    lab.run(stays.name(), "one")?;
    let goes = [image("a:1").tag("registry.example.com/a:2").tag("registry.example.com/b:1"), image("c:1"), image("d:1").index()];
    let goes = goes.iter().map(|image| pulled(&lab, image)).collect::<Result<Vec<_>>>()?;
    let planned = clean(&lab, &["--dry-run"])?.exits(0)?.json()?["summary"]["planned_bytes"].as_u64().unwrap_or(0);
    let before = lab.used_bytes()?;
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    let freed = before.saturating_sub(lab.used_bytes()?);
    let summary = &json["summary"];
    let reclaimed = summary["reclaimed_bytes"].as_u64().unwrap_or(0);
    assert_eq!((&summary["removed"], &summary["failed"]), (&3.into(), &0.into()), "{summary:#}");
    // Two layers of 4 MiB each, as blob and unpacked, three times.
    assert!(freed > 48 * MIB, "{freed} bytes freed");
    assert!(reclaimed.abs_diff(freed) < MIB, "{reclaimed} reclaimed, {freed} freed");
    assert!(planned.abs_diff(freed) < MIB, "{planned} planned, {freed} freed");
    assert_eq!(summary["planned_bytes"].as_u64(), Some(planned));
    goes.iter().try_for_each(|image| assert_gone(&lab, image))?;
    assert_stays(&lab, &stays)
}

#[test]
fn what_another_namespace_or_a_container_holds_is_not_counted_as_given_back() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let lab = Containerd::start("1.7")?;
    let image = |name: &str| Image::new(&format!("registry.example.com/{name}")).content(name).layers(3, 2).layer_size(4 << 20);
    // Two layers that all have, and one of its own: blob and unpacked, that is 8 MiB an image.
    let stays = pulled(&lab, &image("stays:1"))?;
    lab.run(stays.name(), "one")?;
    let (shared, index) = (image("shared:1"), image("index:1").index());
    let goes = [pulled(&lab, &shared)?, pulled(&lab, &image("alone:1").tag("registry.example.com/alone:2"))?, pulled(&lab, &index)?];
    lab.pull_in("moby", &shared)?;
    // Beside a container of that content in another namespace, whose blobs stay with it.
    lab.import_in("default", &image("alone:1"))?;
    let planned = clean(&lab, &["--dry-run"])?.exits(0)?.json()?["summary"]["planned_bytes"].as_u64().unwrap_or(0);
    let before = lab.used_bytes()?;
    let json = clean(&lab, &[])?.exits(0)?.json()?;
    let freed = before.saturating_sub(lab.used_bytes()?);
    assert_eq!(json["summary"]["removed"], 3, "{json:#}");
    // Of two of the three only what is unpacked.
    assert!((15 * MIB..18 * MIB).contains(&freed), "{freed} bytes freed");
    assert!(planned.abs_diff(freed) * 10 < freed, "{planned} planned, {freed} freed");
    assert!(json["summary"]["reclaimed_bytes"].as_u64().unwrap_or(0).abs_diff(freed) < MIB, "{json:#}");
    for image in &goes {
        let references = lab.references()?;
        assert!(image.references.iter().all(|name| !references.contains(name)), "{references:?}");
    }
    assert!(lab.can_run_in("moby", goes[0].name())?);
    assert_stays(&lab, &stays)
}

#[test]
fn an_image_that_can_not_be_removed_stops_no_other_and_is_finished_later() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = neighbour(&lab)?;
    let [first, stuck, last] = [app(&lab, "a:1")?, app(&lab, "stuck:1")?, app(&lab, "z:1")?];
    let mut node = node(&lab)?;
    // Goes on with the others after an error, as ctr does.
    node.stand_in(
        r#"
if [ "$command" != 'images rm' ]; then real "$@"; exit; fi
for word in "$@"; do
  shift
  case $word in *stuck:1) echo "ctr: unable to delete $word: broken" >&2 ;; *) set -- "$@" "$word" ;; esac
done
real "$@"
exit 1"#,
    )?;
    let json = node.run(&CLEAN)?.exits(3)?.json()?;
    for image in [&first, &last] {
        assert_eq!(verdict(&json, image), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, image)?;
    }
    assert_eq!(verdict(&json, &stuck), ("remove", "unused", "failed"), "{json:#}");
    assert!(error(&json, &stuck).contains("broken"), "{json:#}");
    assert!(lab.can_run(stuck.name())?);
    node.no_stand_in()?;
    node.run(&["--yes", "--registry", "nowhere.example.com"])?.exits(0)?;
    assert_gone(&lab, &stuck)?;
    assert_stays(&lab, &stays)
}

#[test]
fn counts_as_removed_only_what_is_no_longer_listed() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let mut node = node(&lab)?;
    // Says that it has removed everything, and has removed nothing.
    node.stand_in(r#"case $command in 'images rm') shift 6; printf '%s\n' "$@" ;; *) real "$@" ;; esac"#)?;
    let json = node.run(&CLEAN)?.exits(3)?.json()?;
    assert_eq!(verdict(&json, &stays), ("remove", "unused", "failed"), "{json:#}");
    assert!(error(&json, &stays).contains("still listed"), "{json:#}");
    assert_eq!(json["summary"]["removed"], 0, "{json:#}");
    assert_stays(&lab, &stays)
}
