//! The package for Debian where systemd really runs: from installation to purge, and beside what `nuke-images install` puts
//! onto a node.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{BootedMachine, Image, Run, Stored};

use crate::deb::{deb, next};
use crate::release;

const DAY: Duration = Duration::from_hours(24);
const CONFIG: &str = "/etc/nuke-images/config.toml";
const STATE: &str = "/var/lib/nuke-images/state.json";
/// An administrator's own.
const OWN: &str = "/etc/nuke-images/config.d/50-own.toml";
/// A ctr whose removals last until they are let go.
const SLOW: &str = "#!/bin/bash
case \" $* \" in *' images rm '*) : >/var/lib/nuke-images/reached; until [ -e /var/lib/nuke-images/go ]; do sleep 0.05; done ;; esac
exec /usr/bin/ctr \"$@\"
";
/// Whatever has our name, but for the journal's and the package manager's books and what systemd keeps of a unit that ran.
const OURS: &str = "find / /run -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /var/lib/dpkg \
                    -o -path /run/systemd -o -path /var/lib/containerd \\) -prune -o -name '*nuke-images*' -print | sort -u";

/// Installs it as `apt-get install ./FILE` does where nobody answers questions.
fn put(machine: &BootedMachine, package: &Path) -> Result<Run> {
    machine.bring(package, "/root/package.deb")?;
    machine.run(&["dpkg", "--force-confold", "--force-unsafe-io", "--install", "/root/package.deb"])
}

fn show(machine: &BootedMachine, unit: &str, property: &str) -> Result<String> {
    Ok(machine.run(&["systemctl", "show", unit, "--property", property, "--value"])?.exits(0)?.stdout.trim().to_owned())
}

/// `enabled active` of the clean-up's timer and of the observation's.
fn timers(machine: &BootedMachine) -> Result<[String; 2]> {
    let state = |timer: &str| -> Result<String> {
        let word = |question: &str| Ok::<_, anyhow::Error>(machine.run(&["systemctl", question, timer])?.stdout.trim().to_owned());
        Ok(format!("{} {}", word("is-enabled")?, word("is-active")?))
    };
    Ok([state("nuke-images.timer")?, state("nuke-images-observe.timer")?])
}

fn assert_waiting(machine: &BootedMachine) -> Result<()> {
    let timers = timers(machine)?;
    ensure!(timers == ["enabled active", "enabled active"], "{timers:?}");
    Ok(())
}

fn image(machine: &BootedMachine, name: &str) -> Result<Stored> {
    machine.pull(&Image::new(&format!("registry.example.com/{name}")).content(name), DAY)
}

/// It comes, cleans up, and comes again.
fn comes(machine: &BootedMachine) -> Result<Stored> {
    put(machine, &deb()?)?.exits(0)?;
    assert_waiting(machine)?;
    let (used, unused) = (image(machine, "used:1")?, image(machine, "unused:1")?);
    machine.run_container(used.name(), "container-1")?;
    machine.write(OWN, "[images]\nall = true\nunused_for = \"0s\"\n[safety]\nmin_uptime = \"0s\"\n")?;
    machine.sh("systemctl start nuke-images-observe.service nuke-images.service")?;
    ensure!(machine.has(&used)? && !machine.has(&unused)?, "the packaged units clean up");
    put(machine, &deb()?)?.exits(0)?;
    assert_waiting(machine)?;
    Ok(used)
}

/// A newer one comes in the middle of a removal; what an administrator has disabled, stopped and edited stays so.
fn is_upgraded(machine: &BootedMachine, used: &Stored) -> Result<()> {
    machine.sh("systemctl --quiet disable --now nuke-images.timer; systemctl stop nuke-images-observe.timer")?;
    let edited = format!("{}# An administrator's own words.\n", machine.read(CONFIG)?);
    machine.write(CONFIG, &edited)?;
    let unused = image(machine, "unused:2")?;
    machine.write("/usr/local/sbin/slow-ctr", SLOW)?;
    machine.sh("chmod 755 /usr/local/sbin/slow-ctr")?;
    machine.write("/etc/nuke-images/config.d/60-slow.toml", "[runtime]\nctr = \"/usr/local/sbin/slow-ctr\"\n")?;
    machine.sh("systemctl start --no-block nuke-images.service")?;
    machine.wait_for("the removal", || Ok(machine.exists("/var/lib/nuke-images/reached").then_some(())))?;
    let runs = show(machine, "nuke-images.service", "MainPID")?;

    let (_folder, next) = next()?;
    put(machine, &next)?.exits(0)?;
    ensure!(machine.sh("dpkg-query --show --showformat '${Version}' nuke-images")? == "999");
    ensure!(show(machine, "nuke-images.service", "MainPID")? == runs, "the upgrade disturbed a run");
    machine.write("/var/lib/nuke-images/go", "")?;
    machine.wait_for("the service to end", || Ok((show(machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    ensure!(show(machine, "nuke-images.service", "Result")? == "success");
    ensure!(machine.has(used)? && !machine.has(&unused)?);
    let timers = timers(machine)?;
    ensure!(timers == ["disabled inactive", "enabled inactive"], "{timers:?}");
    ensure!(machine.read(CONFIG)? == edited);
    machine.sh("rm /etc/nuke-images/config.d/60-slow.toml").map(drop)
}

fn goes(machine: &BootedMachine) -> Result<()> {
    machine.sh("systemctl start nuke-images-observe.timer")?;
    machine.run(&["dpkg", "--remove", "nuke-images"])?.exits(0)?;
    machine.run(&["systemctl", "cat", "nuke-images.timer"])?.exits(1)?;
    ensure!(timers(machine)?.iter().all(|state| !state.ends_with(" active")), "{:?}", timers(machine)?);
    ensure!(!machine.exists("/usr/bin/nuke-images"));
    ensure!([CONFIG, OWN, STATE].iter().all(|path| machine.exists(path)), "configuration and state stay: {}", machine.sh(OURS)?);
    // What was disabled before the package went is still so when it comes back.
    put(machine, &deb()?)?.exits(0)?;
    let back = timers(machine)?;
    ensure!(back == ["disabled inactive", "enabled active"], "{back:?}");
    machine.run(&["dpkg", "--purge", "nuke-images"])?.exits(0)?;
    ensure!(machine.sh(OURS)?.is_empty(), "left behind: {}", machine.sh(OURS)?);
    ensure!(timers(machine)?.iter().all(|state| !state.ends_with(" active")), "{:?}", timers(machine)?);
    Ok(())
}

fn comes_is_upgraded_and_goes(suite: &str) -> Result<()> {
    let machine = BootedMachine::boot(suite)?;
    let used = comes(&machine)?;
    is_upgraded(&machine, &used)?;
    goes(&machine)
}

#[test]
fn a_deb_comes_is_upgraded_in_a_run_and_goes_as_an_administrator_wants_it() -> Result<()> {
    comes_is_upgraded_and_goes("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_deb_comes_is_upgraded_in_a_run_and_goes_as_an_administrator_wants_it_with_systemd_257() -> Result<()> {
    comes_is_upgraded_and_goes("trixie")
}

#[test]
fn a_package_and_an_installation_never_stand_on_one_node() -> Result<()> {
    let machine = BootedMachine::boot("bookworm")?;
    machine.bring(&release()?.join("nuke-images-x86_64"), "/root/nuke-images")?;
    machine.run(&["/root/nuke-images", "install"])?.exits(0)?;
    let before = machine.sh(OURS)?;
    let refused = put(&machine, &deb()?)?.exits(1)?;
    ensure!(refused.stderr.contains("was put onto this node by nuke-images install"), "{refused:?}");
    ensure!(machine.sh(OURS)? == before, "{before}{}", machine.sh(OURS)?);
    assert_waiting(&machine)?;

    machine.run(&["nuke-images", "uninstall"])?.exits(0)?;
    put(&machine, &deb()?)?.exits(0)?;
    assert_waiting(&machine)?;
    let before = machine.sh(OURS)?;
    for command in [&["install"][..], &["install", "--dry-run"], &["uninstall", "--purge"]] {
        let refused = machine.run(&[&["/root/nuke-images"], command].concat())?.exits(1)?;
        ensure!(
            refused.stderr.contains("a package has put nuke-images onto this node") && refused.stderr.contains("hint: "),
            "{refused:?}"
        );
        ensure!(refused.stdout.is_empty() && machine.sh(OURS)? == before, "{command:?}: {refused:?}");
    }
    assert_waiting(&machine)?;

    // An installation that came after the package went is not the package's to purge.
    machine.run(&["dpkg", "--remove", "nuke-images"])?.exits(0)?;
    machine.run(&["/root/nuke-images", "install"])?.exits(0)?;
    machine.write(OWN, "[images]\nall = true\n")?;
    machine.run(&["dpkg", "--purge", "nuke-images"])?.exits(0)?;
    assert_waiting(&machine)?;
    ensure!(machine.exists(OWN) && machine.exists("/var/lib/nuke-images/installed.json"));
    machine.run(&["nuke-images", "uninstall", "--purge"])?.exits(0)?;
    ensure!(machine.sh(OURS)?.is_empty(), "left behind: {}", machine.sh(OURS)?);
    Ok(())
}
