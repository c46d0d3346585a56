//! install and uninstall on a booted machine: again, anew, cut off, in a run, and off again without a trace.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::BootedMachine;

use crate::{BROUGHT, assert_clean, files, image, installed, machine, node, paths, run, show, start};

const PROGRAM: &str = "/usr/local/bin/nuke-images";
const CONFIG: &str = "/etc/nuke-images/config.toml";

/// Another version of the product, told by its length: what stands behind a program's end is not looked at.
fn make_newer(machine: &BootedMachine) -> Result<()> {
    machine.sh(&format!("cp {BROUGHT} /root/newer && echo newer >>/root/newer")).map(drop)
}

fn newer(machine: &BootedMachine, arguments: &[&str]) -> Result<lab::Run> {
    machine.run(&[&["/root/newer"], arguments].concat())
}

fn comes_and_goes(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    let would = run(&machine, &["install", "--dry-run"])?.exits(0)?.stdout;
    assert!(would.contains(&format!("would put {PROGRAM}\n")) && would.contains("would let nuke-images.timer"), "{would}");
    assert_clean(&machine)?;

    let did = run(&machine, &["install"])?.exits(0)?.stdout;
    assert_eq!(did.lines().filter(|line| !line.starts_with("next clean-up: ")).collect::<Vec<_>>(), said(&would), "{did}");
    assert!(did.contains("next clean-up: Sun ") || did.contains("next clean-up: Mon "), "{did}");
    machine.sh("systemctl is-enabled nuke-images.timer && systemctl is-active nuke-images.timer nuke-images-observe.timer")?;
    let config = machine.run(&["nuke-images", "config", "--output", "json"])?.exits(0)?.stdout;
    assert!(config.contains("\"endpoint\": \"unix:///run/containerd/containerd.sock\""), "{config}");

    let before = files(&machine)?;
    let again = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(again.starts_with("nothing has changed\n"), "{again}");
    assert_eq!(files(&machine)?, before);
    machine.run(&["nuke-images", "install"])?.exits(0)?;
    assert_eq!(files(&machine)?, before);

    start(&machine)?;
    machine.sh("systemctl start nuke-images-observe.service")?;
    let would = run(&machine, &["uninstall", "-n"])?.exits(0)?.stdout;
    assert!(would.contains(&format!("would remove {PROGRAM}\n")), "{would}");
    run(&machine, &["uninstall"])?.exits(0)?;
    let left = paths(&machine)?;
    let kept = |path: &String| path.starts_with("/etc/nuke-images") || path.starts_with("/var/lib/nuke-images");
    assert!(left.contains(&CONFIG.to_owned()) && left.contains(&"/var/lib/nuke-images/state.json".to_owned()), "{left:?}");
    assert!(left.iter().all(kept), "{left:?}");

    run(&machine, &["install"])?.exits(0)?;
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)?;
    assert_eq!(run(&machine, &["uninstall"])?.exits(0)?.stdout, "nothing is installed here\n");
    Ok(())
}

/// The steps of a dry run, as the real one says them.
fn said(would: &str) -> Vec<&str> {
    would.lines().map(|line| line.trim_start_matches("would ")).collect()
}

#[test]
fn it_comes_once_stays_as_it_is_and_goes_without_a_trace() -> Result<()> {
    comes_and_goes("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn it_comes_once_stays_as_it_is_and_goes_without_a_trace_with_systemd_257() -> Result<()> {
    comes_and_goes("trixie")
}

fn judges_schedules(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    let refused = run(&machine, &["install", "--schedule", "Sun *-*-* 25:00"])?.exits(2)?;
    assert!(refused.stderr.contains("Failed to parse calendar specification") && refused.stderr.contains("25:00"), "{refused:?}");
    run(&machine, &["install", "--schedule", "daily\nOnBootSec=1"])?.exits(2)?;
    assert_clean(&machine)?;

    run(&machine, &["install", "--schedule", "Mon *-*-* 03:04:05"])?.exits(0)?;
    let fires = || show(&machine, "nuke-images.timer", "TimersCalendar");
    assert!(fires()?.contains("OnCalendar=Mon *-*-* 03:04:05") && !fires()?.contains("Sun"), "{}", fires()?);
    run(&machine, &["install"])?.exits(0)?;
    assert!(fires()?.contains("Mon"), "another installation keeps it: {}", fires()?);
    run(&machine, &["install", "--schedule", "Tue 01:00"])?.exits(0)?;
    assert!(fires()?.contains("Tue") && !fires()?.contains("Mon"), "{}", fires()?);
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)
}

#[test]
fn a_schedule_is_what_systemd_says_it_is() -> Result<()> {
    judges_schedules("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_schedule_is_what_systemd_says_it_is_with_systemd_257() -> Result<()> {
    judges_schedules("trixie")
}

#[test]
fn an_edited_configuration_stays_and_what_it_asks_for_is_let_through() -> Result<()> {
    let machine = machine("bookworm")?;
    run(&machine, &["install", "--no-enable"])?.exits(0)?;
    machine.run(&["systemctl", "is-active", "nuke-images.timer"])?.exits(3)?;
    let default = machine.read(CONFIG)?;

    let edited = default
        .replace("\n[memory]\n", "\n[memory]\ndrop_caches = \"pagecache\"\nreclaim = \"1GiB\"\n")
        .replace("\n[metrics]\n", "\n[metrics]\ntextfile = \"/srv/metrics\"\n");
    assert_ne!(edited, default);
    machine.write(CONFIG, &edited)?;
    machine.sh("mkdir /srv/metrics && chown 1000 /srv/metrics")?;
    // A default that the person hasn't seen: what is recorded is another one.
    machine.sh("jq '.config = \"# an older default\\n\"' /var/lib/nuke-images/installed.json >/tmp/r && cp /tmp/r /var/lib/nuke-images/installed.json")?;
    let told = run(&machine, &["install", "--runtime-endpoint", "/run/other.sock"])?.exits(0)?.stdout;
    assert!(told.contains(&format!("note: {CONFIG} was edited and stays as it is")), "{told}");
    assert_eq!((machine.read(CONFIG)?, machine.read(&format!("{CONFIG}.new"))?), (edited, default.clone()));
    assert!(machine.read("/etc/nuke-images/config.d/10-installed.toml")?.contains("\"unix:///run/other.sock\""));
    let writable = show(&machine, "nuke-images.service", "ReadWritePaths")?;
    for path in ["/proc/sys/vm/drop_caches", "-/sys/fs/cgroup/kubepods.slice", "-/srv/metrics"] {
        assert!(writable.split(' ').any(|word| word == path), "{path} in {writable}");
    }
    assert_eq!(show(&machine, "nuke-images.service", "CapabilityBoundingSet")?, "cap_dac_override");
    assert_eq!(show(&machine, "nuke-images-observe.service", "CapabilityBoundingSet")?, "");

    machine.write(CONFIG, &default)?;
    run(&machine, &["install"])?.exits(0)?;
    let writable = show(&machine, "nuke-images.service", "ReadWritePaths")?;
    assert!(!writable.contains("drop_caches") && !writable.contains("/srv/metrics"), "{writable}");
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)
}

fn is_upgraded_in_a_run(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (used, unused) = node(&machine)?;
    make_newer(&machine)?;
    let hold = "#!/bin/bash\ncase \" $* \" in *' images rm '*) : >/var/lib/nuke-images/reached; \
                until [ -e /var/lib/nuke-images/go ]; do sleep 0.05; done ;; esac\nexec /usr/bin/ctr \"$@\"\n";
    machine.write("/usr/local/sbin/slow-ctr", hold)?;
    machine.sh("chmod 755 /usr/local/sbin/slow-ctr")?;
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[runtime]\nctr = \"/usr/local/sbin/slow-ctr\"\n")?;
    machine.write(CONFIG, "# an older default\n")?;
    machine.sh("jq '.config = \"# an older default\\n\"' /var/lib/nuke-images/installed.json >/tmp/r && cp /tmp/r /var/lib/nuke-images/installed.json")?;
    machine.sh("systemctl start --no-block nuke-images.service")?;
    machine.wait_for("the removal", || Ok(machine.exists("/var/lib/nuke-images/reached").then_some(())))?;
    let runs = show(&machine, "nuke-images.service", "MainPID")?;

    newer(&machine, &["install"])?.exits(0)?;
    assert_eq!(machine.sh(&format!("cmp /root/newer {PROGRAM} && echo same"))?, "same\n");
    assert!(machine.read(CONFIG)?.contains("[images]") && !machine.exists(&format!("{CONFIG}.new")));
    assert_eq!(show(&machine, "nuke-images.service", "MainPID")?, runs);
    machine.write("/var/lib/nuke-images/go", "")?;
    machine.wait_for("the service to end", || Ok((show(&machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    assert_eq!(show(&machine, "nuke-images.service", "Result")?, "success");
    assert!(machine.has(&used)? && !machine.has(&unused)?);

    // To take it off waits for a run's batch.
    let third = image(&machine, "third:1")?;
    machine.sh("rm /var/lib/nuke-images/go /var/lib/nuke-images/reached; systemctl start --no-block nuke-images.service")?;
    machine.wait_for("the removal", || Ok(machine.exists("/var/lib/nuke-images/reached").then_some(())))?;
    let mut uninstall = machine.command(&["/root/newer", "uninstall", "--purge"]).stdout(Stdio::null()).spawn()?;
    sleep(Duration::from_secs(1));
    ensure!(uninstall.try_wait()?.is_none() && machine.exists(PROGRAM), "it didn't wait");
    machine.write("/var/lib/nuke-images/go", "")?;
    ensure!(uninstall.wait()?.success(), "uninstall failed");
    assert!(!machine.has(&third)?);
    assert_clean(&machine)
}

#[test]
fn an_upgrade_does_not_disturb_a_run_and_a_new_default_replaces_one_that_nobody_edited() -> Result<()> {
    is_upgraded_in_a_run("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_upgrade_does_not_disturb_a_run_and_a_new_default_replaces_one_that_nobody_edited_with_systemd_257() -> Result<()> {
    is_upgraded_in_a_run("trixie")
}

/// Starts an installation and kills it after so long; whether it was cut off.
fn cut_off(machine: &BootedMachine, program: &str, after: Duration) -> Result<bool> {
    let script = format!("{program} install & sleep {}; kill -s KILL $! 2>/dev/null; wait $!", after.as_secs_f64());
    Ok(machine.run(&["bash", "-c", &script])?.code == 128 + 9)
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn an_installation_that_is_killed_anywhere_leaves_the_old_one_working_and_nothing_for_ever() -> Result<()> {
    let machine = machine("bookworm")?;
    make_newer(&machine)?;
    installed(&machine)?;
    let (used, _) = node(&machine)?;
    let (mut cut, mut programs) = (0, [BROUGHT, "/root/newer"].into_iter().cycle());
    for round in 0..24 {
        let program = programs.next().context("a program")?;
        cut += u32::from(cut_off(&machine, program, Duration::from_millis(20 + 45 * round))?);
        machine.run(&[PROGRAM, "--version"])?.exits(0)?;
        let version = machine.sh(&format!("cmp -s {PROGRAM} {BROUGHT} || cmp {PROGRAM} /root/newer"))?;
        assert_eq!(version, "", "round {round}");
        // systemd starts nothing more than five times in ten seconds.
        machine.sh("systemctl reset-failed nuke-images.service")?;
        start(&machine)?.exits(0)?;
        assert!(machine.has(&used)?, "round {round}");
        machine.sh("systemctl is-enabled nuke-images.timer && systemctl is-active nuke-images.timer")?;
    }
    assert!(cut >= 5, "only {cut} were cut off");
    // From nothing: whatever is there is taken off again.
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)?;
    for round in 0..16 {
        cut_off(&machine, BROUGHT, Duration::from_millis(20 + 60 * round))?;
        run(&machine, &["uninstall", "--purge"])?.exits(0)?;
        assert_clean(&machine).with_context(|| format!("round {round}"))?;
    }
    run(&machine, &["install"])?.exits(0)?;
    start(&machine)?.exits(0).map(drop)
}
