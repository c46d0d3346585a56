//! The package for Red Hat, SUSE and their kin: what it puts where, and what its scripts do, with Debian's rpm.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::root::Root;
use crate::{project, release, run, same_bytes, sh, text, whole_release};

const CONFIG: &str = "/etc/nuke-images/config.toml";

fn package() -> Result<PathBuf> {
    Ok(release()?.join("nuke-images-x86_64.rpm"))
}

fn tree(package: &Path) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    sh("rpm2archive -n - <\"$1\" | tar -C \"$2\" -x", &[package, folder.path()])?;
    Ok(folder)
}

/// A later version, with another default configuration.
fn next() -> Result<(TempDir, PathBuf)> {
    let folder = tree(&package()?)?;
    let build = "echo '# of the next version' >>\"$1/etc/nuke-images/config.toml\" && mkdir \"$2/made\" &&
        rpmbuild -bb --quiet --define \"_topdir $2/made\" --define '_rpmfilename next.rpm' --define 'release_version 999' \
            --define \"release_tree $1\" \"$3\" && cp \"$2/made/RPMS/next.rpm\" \"$2\"";
    let made = tempfile::tempdir()?;
    sh(build, &[folder.path(), made.path(), &project().join("packaging/rpm/nuke-images.spec")])?;
    let package = made.path().join("next.rpm");
    Ok((made, package))
}

/// Nothing of the root is known to rpm, so that nothing may be depended on.
fn rpm(root: &Root, arguments: &[&str]) -> Result<String> {
    let here = ["--root", text(root.folder())?, "--dbpath", "/var/lib/rpm", "--force-debian", "--nodeps"];
    run("rpm", &[&here, arguments].concat())
}

fn installed() -> Result<Root> {
    let root = Root::new()?;
    rpm(&root, &["--install", text(&package()?)?])?;
    Ok(root)
}

fn assert_holds(package: &Path, binary: &Path) -> Result<()> {
    let folder = tree(package)?;
    let at = |path: &str| folder.path().join(path);
    same_bytes(&at("usr/bin/nuke-images"), binary)?;
    same_bytes(&at("etc/nuke-images/config.toml"), &project().join("packaging/config.toml"))?;
    let query = |what: &str| run("rpm", &["--query", "--package", what, text(package)?]);
    ensure!(query("--configfiles")?.trim() == CONFIG, "{}", query("--configfiles")?);
    for unit in ["nuke-images.service", "nuke-images-observe.service"] {
        let text = fs::read_to_string(at(&format!("usr/lib/systemd/system/{unit}")))?;
        ensure!(text.contains("ExecStart=/usr/bin/nuke-images ") && !text.contains("/usr/local"), "{unit}: {text}");
    }
    let owners = run("rpm", &["--query", "--package", "--queryformat", "[%{FILEUSERNAME}/%{FILEGROUPNAME}\n]", text(package)?])?;
    ensure!(owners.lines().all(|owner| owner == "root/root"), "{owners}");
    Ok(())
}

fn head(package: &Path) -> Result<String> {
    run("rpm", &["--query", "--package", "--queryformat", "%{VERSION} %{ARCH} %{OS}", text(package)?])
}

#[test]
fn an_rpm_holds_the_binary_and_units_that_start_it() -> Result<()> {
    let expected = format!("{} x86_64 linux", env!("CARGO_PKG_VERSION"));
    ensure!(head(&package()?)? == expected, "{}", head(&package()?)?);
    assert_holds(&package()?, &release()?.join("nuke-images-x86_64"))
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_rpm_for_aarch64_holds_the_binary_for_it() -> Result<()> {
    let package = whole_release()?.join("nuke-images-aarch64.rpm");
    ensure!(head(&package)?.ends_with(" aarch64 linux"), "{}", head(&package)?);
    assert_holds(&package, &whole_release()?.join("nuke-images-aarch64"))
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_rpm_installed_works_and_its_timers_are_enabled() -> Result<()> {
    let root = installed()?;
    root.assert_works()?;
    root.assert_both_enabled()?;
    rpm(&root, &["--install", "--replacepkgs", text(&package()?)?])?;
    root.assert_works()?;
    root.assert_both_enabled()
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_upgrade_of_an_rpm_keeps_what_an_administrator_disabled_and_edited() -> Result<()> {
    let (root, (_folder, next)) = (installed()?, next()?);
    root.run(&["systemctl", "disable", "nuke-images.timer"])?;
    let own = "[images]\nall = true\n";
    fs::write(root.path(CONFIG), own)?;
    root.leave_traces()?;
    rpm(&root, &["--upgrade", text(&next)?])?;
    ensure!(root.enabled() == ["nuke-images-observe.timer"], "{:?}", root.enabled());
    ensure!(fs::read_to_string(root.path(CONFIG))? == own && root.traces() == 3);
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_upgrade_of_an_rpm_replaces_a_configuration_that_nobody_edited() -> Result<()> {
    let (root, (_folder, next)) = (installed()?, next()?);
    rpm(&root, &["--upgrade", text(&next)?])?;
    ensure!(fs::read_to_string(root.path(CONFIG))?.ends_with("# of the next version\n"));
    root.assert_both_enabled()
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_rpm_erased_keeps_own_configuration_and_state() -> Result<()> {
    let root = installed()?;
    root.leave_traces()?;
    fs::write(root.path(CONFIG), "[images]\nall = true\n")?;
    rpm(&root, &["--erase", "nuke-images"])?;
    ensure!(root.enabled().is_empty() && !root.path("/usr/bin/nuke-images").exists());
    ensure!(root.traces() == 3 && root.path("/etc/nuke-images/config.toml.rpmsave").exists(), "{}", root.ours()?);
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_rpm_starts_the_timers_once_and_never_touches_a_run() -> Result<()> {
    let (root, (_folder, next)) = (Root::new()?.live()?, next()?);
    rpm(&root, &["--install", text(&package()?)?])?;
    let came = root.calls()?;
    rpm(&root, &["--upgrade", text(&next)?])?;
    let upgraded = root.calls()?;
    rpm(&root, &["--erase", "nuke-images"])?;
    let went = root.calls()?;
    ensure!(came.contains("start nuke-images.timer nuke-images-observe.timer"), "{came}");
    ensure!(upgraded.contains("daemon-reload") && !upgraded.contains("start") && !upgraded.contains("stop"), "{upgraded}");
    ensure!(went.contains("stop nuke-images.timer nuke-images-observe.timer"), "{went}");
    ensure!(![came, upgraded, went].concat().contains(".service"));
    Ok(())
}
