//! When nothing may be removed at all, and what then stays as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::Result;
use lab::Containerd;

use crate::{CLEAN, app, assert_gone, assert_stays, clean, neighbour, node};

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
fn a_second_run_changes_nothing_while_another_holds_the_lock() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let mut first = node.on_terminal(&["--all"])?;
    first.wait_for("[y/N]")?;
    let before = (lab.fingerprint()?, node.files()?);
    for second in [&CLEAN[..], &["observe"]] {
        let run = node.run(second)?.exits(4)?;
        assert!(run.stderr.contains("/run/nuke-images/lock"), "{}", run.stderr);
        assert_eq!((lab.fingerprint()?, node.files()?), before);
    }
    first.enter("n\n")?;
    first.wait()?.exits(0)?;
    assert_stays(&lab, &stays)?;
    node.run(&CLEAN)?.exits(0)?;
    assert_gone(&lab, &stays)
}

#[test]
fn removes_nothing_that_a_person_has_not_said_yes_to() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let before = lab.fingerprint()?;
    for answer in ["n\n", "\n", "yesterday\n", "\u{4}"] {
        let mut running = node.on_terminal(&["--all"])?;
        running.wait_for("[y/N]")?;
        running.enter(answer)?;
        let run = running.wait()?.exits(0)?;
        assert!(run.stdout.contains("nothing was removed"), "{answer:?}: {}", run.stdout);
        assert_eq!(lab.fingerprint()?, before, "{answer:?}");
    }
    assert_stays(&lab, &stays)
}

#[test]
fn removes_nothing_when_nobody_can_be_asked() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let node = node(&lab)?;
    let before = (lab.fingerprint()?, node.files()?);
    let run = node.run(&["--all"])?.exits(1)?;
    assert!(run.stderr.contains("--yes"), "{}", run.stderr);
    assert_eq!((lab.fingerprint()?, node.files()?), before);
    assert_stays(&lab, &stays)
}

#[test]
fn starts_no_program_that_others_than_root_could_have_put_there() -> Result<()> {
    const PROGRAM: &str = "/usr/local/bin/stand-in";
    let lab = Containerd::start("1.7")?;
    neighbour(&lab)?;
    let goes = app(&lab, "goes:1")?;
    let mut node = node(&lab)?;
    node.stand_in(": >/run/started\nreal \"$@\"")?;
    let (program, folder) = (node.path(PROGRAM)?, node.path("/usr/local/bin")?);
    let set = |path: &Path, mode, owner| -> Result<()> {
        chown(path, Some(owner), None)?;
        Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
    };
    for (path, mode, owner, complaint) in [
        (&program, 0o777, 0, "can be written by others"),
        (&program, 0o775, 0, "can be written by others"),
        (&folder, 0o777, 0, "can be written by others"),
        (&program, 0o755, 65534, "belongs to user 65534"),
        (&folder, 0o755, 65534, "belongs to user 65534"),
    ] {
        set(path, mode, owner)?;
        let run = node.run(&CLEAN)?.exits(1)?;
        assert!(run.stderr.contains(complaint) && run.stderr.contains("trusted_dirs"), "{}", run.stderr);
        assert!(!node.exists("/run/started")?);
        set(path, 0o755, 0)?;
    }
    assert_stays(&lab, &goes)?;
    set(&program, 0o777, 65534)?;
    node.set("runtime.trusted_dirs", "[\"/usr/local/bin\"]")?;
    node.run(&CLEAN)?.exits(0)?;
    assert_gone(&lab, &goes)
}
