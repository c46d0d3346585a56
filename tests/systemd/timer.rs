//! What the timer starts: the clean-up under the whole sandbox, missed runs, a node's own turn, a stop in a removal.

use anyhow::{Result, ensure};
use lab::BootedMachine;

use crate::{SUITES, image, installed, machine, node, show, start, story, story_with};

/// Lets the timer fire in a moment. The unit stays as it is but for the node's wait, which would take minutes.
fn fire(machine: &BootedMachine) -> Result<()> {
    machine.write(
        "/run/systemd/system/nuke-images.timer.d/99-test.conf",
        "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n",
    )?;
    without_splay(machine)?;
    machine.sh("systemctl daemon-reload && systemctl restart nuke-images.timer").map(drop)
}

fn without_splay(machine: &BootedMachine) -> Result<()> {
    let line = machine.sh("grep ^ExecStart= /etc/systemd/system/nuke-images.service")?.replace("--splay 30m", "--splay 1s");
    ensure!(line.contains("--splay 1s"), "{line}");
    machine.write("/run/systemd/system/nuke-images.service.d/99-test.conf", &format!("[Service]\nExecStart=\n{line}"))
}

fn the_timer_removes(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (used, unused) = node(&machine)?;
    fire(&machine)?;
    let story = story_with(&machine, "run finished")?;
    assert!(story.contains("removed an image"), "{story}");
    assert!(machine.has(&used)? && !machine.has(&unused)?);
    machine.wait_for("the service to end", || Ok((show(&machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    assert_eq!(show(&machine, "nuke-images.service", "Result")?, "success");
    machine.ctr(&["run", "--rm", "--null-io", used.name(), "probe", "/tool", "exit", "0"]).map(drop)
}

#[test]
fn the_timer_removes_what_is_unused_and_keeps_the_rest_under_the_whole_sandbox_of_systemd_252() -> Result<()> {
    the_timer_removes("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_timer_removes_what_is_unused_and_keeps_the_rest_under_the_whole_sandbox_of_systemd_257() -> Result<()> {
    the_timer_removes("trixie")
}

fn missed_is_made_up_for(suite: &str) -> Result<()> {
    let mut machine = machine(suite)?;
    installed(&machine)?;
    let (_, unused) = node(&machine)?;
    machine.write("/etc/systemd/system/nuke-images.timer.d/99-test.conf", "[Timer]\nRandomizedDelaySec=0\nAccuracySec=100ms\n")?;
    let line = machine.sh("grep ^ExecStart= /etc/systemd/system/nuke-images.service")?.replace("--splay 30m", "--splay 1s");
    machine.write("/etc/systemd/system/nuke-images.service.d/99-test.conf", &format!("[Service]\nExecStart=\n{line}"))?;
    // The container is gone after a reboot, but not that it was there; nothing in use would be refused.
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[safety]\nallow_idle = true\n")?;
    ensure!(!story(&machine)?.contains("run finished"), "it ran before it was due");
    machine.sh("touch --date='8 days ago' /var/lib/systemd/timers/stamp-nuke-images.timer")?;
    machine.shut_down()?;
    machine.start()?;
    story_with(&machine, "run finished")?;
    assert!(!machine.has(&unused)?);
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_run_that_was_missed_while_the_node_was_down_is_made_up_for() -> Result<()> {
    missed_is_made_up_for("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_run_that_was_missed_while_the_node_was_down_is_made_up_for_with_systemd_257() -> Result<()> {
    missed_is_made_up_for("trixie")
}

fn waits_for_its_turn(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (_, unused) = node(&machine)?;
    machine.write(
        "/run/systemd/system/nuke-images.timer.d/99-test.conf",
        "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n",
    )?;
    machine.sh("systemctl daemon-reload && systemctl restart nuke-images.timer")?;
    let story = story_with(&machine, "for this node's turn")?;
    assert!(!story.contains("run finished"), "{story}");
    machine.sh("systemctl stop nuke-images.timer nuke-images.service")?;
    assert_eq!(show(&machine, "nuke-images.service", "Result")?, "success");
    assert_eq!(show(&machine, "nuke-images.service", "ActiveState")?, "inactive");
    assert!(machine.has(&unused)?);
    Ok(())
}

#[test]
fn a_timers_run_waits_for_the_nodes_turn_and_a_stop_ends_the_wait_at_once() -> Result<()> {
    waits_for_its_turn("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_timers_run_waits_for_the_nodes_turn_and_a_stop_ends_the_wait_at_once_with_systemd_257() -> Result<()> {
    waits_for_its_turn("trixie")
}

/// Starts the service as a person does; what it told.
fn told_to_a_person(machine: &BootedMachine) -> Result<String> {
    let before = story(machine)?;
    start(machine)?.exits(0)?;
    Ok(story(machine)?.replacen(&before, "", 1))
}

fn a_person_never_waits(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (used, unused) = node(&machine)?;
    // As the timer does when it is enabled; where no file tells when it was made, that looks like firing.
    machine.sh("touch /var/lib/systemd/timers/stamp-nuke-images.timer")?;
    let told = told_to_a_person(&machine)?;
    assert!(told.contains("run finished: removed 1 of 2 images") && !told.contains("wait "), "{told}");

    fire(&machine)?;
    machine.wait_for("the timer's run", || Ok((story(&machine)?.matches("run finished").count() == 2).then_some(())))?;
    machine.wait_for("the service to end", || Ok((show(&machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    let told = told_to_a_person(&machine)?;
    assert!(told.contains("run finished") && !told.contains("wait "), "right after the timer's run: {told}");
    assert!(machine.has(&used)? && !machine.has(&unused)?);
    Ok(())
}

#[test]
fn a_person_never_waits_for_a_turn() -> Result<()> {
    a_person_never_waits("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_person_never_waits_for_a_turn_with_systemd_257() -> Result<()> {
    a_person_never_waits("trixie")
}

/// As up to systemd 251: nothing in the environment tells of a timer.
#[test]
fn where_systemd_does_not_tell_of_the_timer_its_run_waits_and_that_of_a_person_does_not() -> Result<()> {
    let machine = machine("bookworm")?;
    installed(&machine)?;
    let (used, unused) = node(&machine)?;
    machine.sh("touch /var/lib/systemd/timers/stamp-nuke-images.timer")?;
    let silent = "[Service]\nUnsetEnvironment=TRIGGER_UNIT TRIGGER_TIMER_REALTIME_USEC TRIGGER_TIMER_MONOTONIC_USEC\n";
    machine.write("/run/systemd/system/nuke-images.service.d/98-test.conf", silent)?;
    machine.sh("systemctl daemon-reload")?;
    let told = told_to_a_person(&machine)?;
    assert!(told.contains("run finished") && !told.contains("wait "), "{told}");
    assert!(machine.has(&used)? && !machine.has(&unused)?);

    fire(&machine)?;
    machine.wait_for("the timer's run", || Ok((story(&machine)?.matches("run finished").count() == 2).then_some(())))?;
    let told = story(&machine)?;
    assert_eq!(told.matches("for this node's turn").count(), 1, "{told}");
    machine.wait_for("the service to end", || Ok((show(&machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    let told = told_to_a_person(&machine)?;
    assert!(told.contains("run finished") && !told.contains("wait "), "right after the timer's run: {told}");
    Ok(())
}

/// A ctr whose removals last until `/run/nuke-test/go` is there.
const SLOW: &str = r#"#!/bin/bash
case " $* " in
  *' images rm '*)
    : >/var/lib/nuke-images/reached
    until [ -e /var/lib/nuke-images/go ]; do sleep 0.05; done ;;
esac
exec /usr/bin/ctr "$@"
"#;

fn stopped_in_a_removal(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    installed(&machine)?;
    let (used, first) = node(&machine)?;
    let second = image(&machine, "second:1")?;
    machine.write("/usr/local/sbin/slow-ctr", SLOW)?;
    machine.sh("chmod 755 /usr/local/sbin/slow-ctr")?;
    let slow = "[pace]\nbatch = 1\n[runtime]\nctr = \"/usr/local/sbin/slow-ctr\"\n";
    machine.write("/etc/nuke-images/config.d/60-test.toml", slow)?;
    machine.sh("systemctl start --no-block nuke-images.service")?;
    machine.wait_for("the removal", || Ok(machine.exists("/var/lib/nuke-images/reached").then_some(())))?;
    machine.sh("systemctl stop --no-block nuke-images.service; sleep 2")?;
    assert_eq!(show(&machine, "nuke-images.service", "ActiveState")?, "deactivating");
    machine.write("/var/lib/nuke-images/go", "")?;
    machine.wait_for("the service to end", || Ok((show(&machine, "nuke-images.service", "ActiveState")? == "inactive").then_some(())))?;
    assert_eq!(show(&machine, "nuke-images.service", "Result")?, "success");
    assert_eq!(show(&machine, "nuke-images.service", "ExecMainStatus")?, "143");
    // `has` fails where an image is half there.
    let left = [machine.has(&first)?, machine.has(&second)?];
    assert!(machine.has(&used)? && left.contains(&true) && left.contains(&false), "{left:?}");
    Ok(())
}

#[test]
fn a_stop_in_the_middle_of_a_removal_leaves_nothing_half_there() -> Result<()> {
    stopped_in_a_removal("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_stop_in_the_middle_of_a_removal_leaves_nothing_half_there_with_systemd_257() -> Result<()> {
    stopped_in_a_removal("trixie")
}

#[test]
fn a_node_that_is_switched_off_or_has_no_runtime_is_skipped_quietly() -> Result<()> {
    let machine = machine("bookworm")?;
    installed(&machine)?;
    let (_, unused) = node(&machine)?;
    machine.write("/etc/nuke-images/disabled", "")?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&unused)?);
    assert_eq!(show(&machine, "nuke-images.service", "ConditionResult")?, "no");
    assert_eq!(story(&machine)?, "");
    machine.sh("rm /etc/nuke-images/disabled")?;

    // A runtime that is down is an error, for the unit too.
    machine.sh("systemctl stop containerd.service")?;
    start(&machine)?.exits(1)?;
    let down = story(&machine)?;
    assert!(down.contains("connect to /run/containerd/containerd.sock") || down.contains("no runtime answers"), "{down}");

    machine.sh(
        "rm -f /run/containerd/*.sock* /etc/nuke-images/config.d/10-installed.toml; umount -l /var/lib/containerd; rmdir /var/lib/containerd",
    )?;
    start(&machine)?.exits(0)?;
    machine.sh("systemctl start nuke-images-observe.service")?;
    let skipped = story(&machine)?.replacen(&down, "", 1);
    assert_eq!(skipped.matches("there is no runtime on this node").count(), 2, "{skipped}");
    assert_eq!(skipped.lines().count(), 2, "{skipped}");
    let by_hand = machine.run(&["nuke-images", "--dry-run"])?.exits(1)?;
    assert!(by_hand.stderr.contains("no runtime answers"), "{by_hand:?}");
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_hourly_observation_records_what_is_in_use_on_every_systemd() -> Result<()> {
    for suite in SUITES {
        let machine = machine(suite)?;
        installed(&machine)?;
        let (used, unused) = node(&machine)?;
        machine.sh("systemctl start nuke-images-observe.service")?;
        let state: serde_json::Value = serde_json::from_str(&machine.read("/var/lib/nuke-images/state.json")?)?;
        assert!(state["images"][&used.id]["last_used"].is_string(), "{state:#}");
        assert!(state["images"][&unused.id]["last_used"].is_null(), "{state:#}");
        assert!(machine.has(&unused)?);
        assert_eq!(machine.sh("systemctl is-active nuke-images-observe.timer")?.trim(), "active");
    }
    Ok(())
}
