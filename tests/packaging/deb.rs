//! The package for Debian and Ubuntu: what it puts where, and what its scripts do from installation to purge.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::root::Root;
use crate::{project, release, run, same_bytes, sh, text, whole_release};

const CONFIG: &str = "/etc/nuke-images/config.toml";

fn field(package: &Path, name: &str) -> Result<String> {
    Ok(run("dpkg-deb", &["--field", text(package)?, name])?.trim().to_owned())
}

pub fn deb() -> Result<PathBuf> {
    Ok(release()?.join("nuke-images-x86_64.deb"))
}

/// A later version, with another default configuration.
pub fn next() -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let make = "dpkg-deb --raw-extract \"$1\" \"$2/tree\" && sed -i 's/^Version: .*/Version: 999/' \"$2/tree/DEBIAN/control\" &&
        echo '# of the next version' >>\"$2/tree/etc/nuke-images/config.toml\" &&
        dpkg-deb --root-owner-group --build \"$2/tree\" \"$2/next.deb\"";
    sh(make, &[&deb()?, folder.path()])?;
    let package = folder.path().join("next.deb");
    Ok((folder, package))
}

/// Installs it as `apt-get install ./FILE` does where nobody answers questions.
fn install(root: &Root, package: &Path) -> Result<()> {
    fs::copy(package, root.path("/package.deb"))?;
    root.run(&["dpkg", "--force-confold", "--force-unsafe-io", "--install", "/package.deb"]).map(drop)
}

fn installed() -> Result<Root> {
    let root = Root::new()?;
    install(&root, &deb()?)?;
    Ok(root)
}

fn assert_holds(package: &Path, binary: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    run("dpkg-deb", &["--raw-extract", text(package)?, text(folder.path())?])?;
    let at = |path: &str| folder.path().join(path);
    same_bytes(&at("usr/bin/nuke-images"), binary)?;
    same_bytes(&at("etc/nuke-images/config.toml"), &project().join("packaging/config.toml"))?;
    ensure!(fs::read_to_string(at("DEBIAN/conffiles"))?.trim() == CONFIG);
    for unit in ["nuke-images.service", "nuke-images-observe.service"] {
        let text = fs::read_to_string(at(&format!("usr/lib/systemd/system/{unit}")))?;
        ensure!(text.contains("ExecStart=/usr/bin/nuke-images ") && !text.contains("/usr/local"), "{unit}: {text}");
    }
    sh("cd \"$1\" && md5sum --check --strict --quiet DEBIAN/md5sums", &[folder.path()])?;
    let owners = sh("dpkg-deb --contents \"$1\" | awk '{print $2}' | sort -u", &[package])?;
    ensure!(owners.trim() == "root/root", "{owners}");
    Ok(())
}

#[test]
fn a_deb_holds_the_binary_and_units_that_start_it() -> Result<()> {
    ensure!(field(&deb()?, "Version")? == env!("CARGO_PKG_VERSION") && field(&deb()?, "Architecture")? == "amd64");
    assert_holds(&deb()?, &release()?.join("nuke-images-x86_64"))
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_for_arm64_holds_the_binary_for_it() -> Result<()> {
    let package = whole_release()?.join("nuke-images-aarch64.deb");
    ensure!(field(&package, "Architecture")? == "arm64");
    assert_holds(&package, &whole_release()?.join("nuke-images-aarch64"))
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_installed_works_and_its_timers_are_enabled() -> Result<()> {
    let root = installed()?;
    root.assert_works()?;
    root.assert_both_enabled()?;
    install(&root, &deb()?)?;
    root.assert_works()?;
    root.assert_both_enabled()
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_upgrade_of_a_deb_keeps_what_an_administrator_disabled_and_edited() -> Result<()> {
    let (root, (_folder, next)) = (installed()?, next()?);
    root.run(&["systemctl", "disable", "nuke-images.timer"])?;
    let own = "[images]\nall = true\n";
    fs::write(root.path(CONFIG), own)?;
    root.leave_traces()?;
    install(&root, &next)?;
    ensure!(root.enabled() == ["nuke-images-observe.timer"], "{:?}", root.enabled());
    ensure!(fs::read_to_string(root.path(CONFIG))? == own && root.traces() == 3);
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_upgrade_of_a_deb_replaces_a_configuration_that_nobody_edited() -> Result<()> {
    let (root, (_folder, next)) = (installed()?, next()?);
    install(&root, &next)?;
    ensure!(fs::read_to_string(root.path(CONFIG))?.ends_with("# of the next version\n"));
    root.assert_both_enabled()
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_removed_keeps_configuration_and_state_and_comes_back_enabled() -> Result<()> {
    let root = installed()?;
    root.leave_traces()?;
    root.run(&["dpkg", "--remove", "nuke-images"])?;
    ensure!(root.enabled().is_empty() && !root.path("/usr/bin/nuke-images").exists());
    ensure!(root.traces() == 3 && root.path(CONFIG).exists(), "configuration and state stay");
    install(&root, &deb()?)?;
    root.assert_works()?;
    root.assert_both_enabled()
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_purged_leaves_nothing_behind() -> Result<()> {
    for steps in [&["--purge"][..], &["--remove", "--purge"]] {
        let root = installed()?;
        root.leave_traces()?;
        fs::create_dir_all(root.path("/var/lib/systemd/timers"))?;
        fs::write(root.path("/var/lib/systemd/timers/stamp-nuke-images.timer"), "")?;
        for step in steps {
            root.run(&["dpkg", step, "nuke-images"])?;
        }
        ensure!(root.ours()?.is_empty(), "{}", root.ours()?);
    }
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_starts_the_timers_once_and_never_touches_a_run() -> Result<()> {
    let (root, (_folder, next)) = (Root::new()?.live()?, next()?);
    let mut calls = Vec::new();
    let mut note = |root: &Root| root.calls().map(|told| calls.push(told));
    install(&root, &deb()?)?;
    note(&root)?;
    install(&root, &next)?;
    note(&root)?;
    root.run(&["dpkg", "--remove", "nuke-images"])?;
    note(&root)?;
    let [came, upgraded, went] = &calls[..] else { unreachable!() };
    ensure!(came.contains("start nuke-images.timer nuke-images-observe.timer") || came.matches(" start ").count() == 2, "{came}");
    ensure!(upgraded.contains("daemon-reload") && !upgraded.contains("start") && !upgraded.contains("stop"), "{upgraded}");
    ensure!(went.contains("stop ") && went.contains("nuke-images.timer") && went.contains("nuke-images-observe.timer"), "{went}");
    ensure!(!calls.concat().contains(".service"), "{calls:?}");
    Ok(())
}
