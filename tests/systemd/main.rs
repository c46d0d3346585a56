//! The product on a booted systemd with a real containerd: what the units do, what install puts there and takes off.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{BootedMachine, Image, Run, Stored};

mod cloud_init;
mod doctor;
mod install;
mod journal;
mod memory;
mod metrics;
mod places;
mod sandbox;
mod timer;

const DAY: Duration = Duration::from_hours(24);
/// Where the product is brought to; from there it is installed.
const BROUGHT: &str = "/root/nuke-images";
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// A machine with the product on it, not yet installed.
fn machine(suite: &str) -> Result<BootedMachine> {
    machine_with(suite, &[])
}

fn machine_with(suite: &str, more: &[&str]) -> Result<BootedMachine> {
    let machine = BootedMachine::boot_with(suite, more)?;
    machine.bring(Path::new(env!("CARGO_BIN_EXE_nuke-images")), BROUGHT)?;
    Ok(machine)
}

/// Runs the product that was brought.
fn run(machine: &BootedMachine, arguments: &[&str]) -> Result<Run> {
    machine.run(&[&[BROUGHT], arguments].concat())
}

/// Installs it, with a configuration that lets everything unused go at once: what is installed waits until it was seen unused
/// for a day.
fn installed(machine: &BootedMachine) -> Result<()> {
    run(machine, &["install"])?.exits(0)?;
    machine.write("/etc/nuke-images/config.d/50-test.toml", "[images]\nall = true\nunused_for = \"0s\"\n[safety]\nmin_uptime = \"0s\"\n")
}

fn image(machine: &BootedMachine, name: &str) -> Result<Stored> {
    machine.pull(&Image::new(&format!("registry.example.com/{name}")).content(name), DAY)
}

/// A node with one image in use and one that nothing needs.
fn node(machine: &BootedMachine) -> Result<(Stored, Stored)> {
    let (used, unused) = (image(machine, "used:1")?, image(machine, "unused:1")?);
    machine.run_container(used.name(), "container-1")?;
    Ok((used, unused))
}

/// Starts the service as a person does, and waits for its end.
fn start(machine: &BootedMachine) -> Result<Run> {
    machine.run(&["systemctl", "start", "nuke-images.service"])
}

fn show(machine: &BootedMachine, unit: &str, property: &str) -> Result<String> {
    let shown = machine.run(&["systemctl", "show", unit, "--property", property, "--value"])?.exits(0)?;
    Ok(shown.stdout.trim().to_owned())
}

/// What the journal has of the product, as `journalctl -t` shows it.
fn story(machine: &BootedMachine) -> Result<String> {
    Ok(machine
        .run(&["journalctl", "--sync"])?
        .exits(0)
        .and_then(|_| machine.run(&["journalctl", "-t", "nuke-images", "-o", "cat"]))?
        .stdout)
}

/// The same, once it has this in it.
fn story_with(machine: &BootedMachine, part: &str) -> Result<String> {
    let told = machine.wait_for(part, || Ok(Some(story(machine)?).filter(|story| story.contains(part))));
    told.with_context(|| story(machine).unwrap_or_default())
}

/// Everything of the product's on the machine, with contents: two of these that are equal are an installation that
/// nothing has happened to.
fn files(machine: &BootedMachine) -> Result<String> {
    machine.sh("find / /run /etc /opt /usr/local -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /tmp \\
           -o -path /var/lib/containerd \\) -prune -o -name '*nuke-images*' -print | sort -u |
         while read -r top; do find \"$top\" -printf '%p %y %m %s %T@ %C@ %i\\n'; done | sort -u")
}

/// Its paths alone.
fn paths(machine: &BootedMachine) -> Result<Vec<String>> {
    let mut paths: Vec<String> = files(machine)?.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    paths.sort();
    paths.dedup();
    // What systemd keeps of a unit that ran.
    paths.retain(|path| !path.starts_with("/run/systemd/") || path.starts_with("/run/systemd/system/"));
    Ok(paths)
}

fn assert_clean(machine: &BootedMachine) -> Result<()> {
    let left = paths(machine)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    let units = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "nuke-images*"])?.stdout;
    ensure!(units.trim().is_empty(), "systemd still knows {units}");
    Ok(())
}
