//! The units as systemd judges them, and what must be seen from inside.

use anyhow::Result;
use lab::BootedMachine;

use crate::{SUITES, image, installed, machine, node, start, story};

const UNITS: [&str; 4] = ["nuke-images.service", "nuke-images-observe.service", "nuke-images.timer", "nuke-images-observe.timer"];

fn is_strict(machine: &BootedMachine, suite: &str) -> Result<()> {
    // The score in tenths, so 1.0.
    for service in &UNITS[..2] {
        let words = ["systemd-analyze", "security", "--threshold=10", "--no-pager", service];
        let judged = machine.run(&words)?.exits(0)?.stdout;
        assert!(judged.contains("Overall exposure level"), "{suite}: {judged}");
    }
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn every_systemd_finds_nothing_to_say_about_the_units_and_little_that_they_may_do() -> Result<()> {
    for suite in SUITES {
        let machine = machine(suite)?;
        installed(&machine)?;
        // Every line is a failure; the exit code says nothing about unknown keys.
        let verified = machine.run(&[&["systemd-analyze", "verify", "--man=no"], &UNITS[..]].concat())?.exits(0)?;
        assert_eq!((verified.stdout.as_str(), verified.stderr.as_str()), ("", ""), "{suite}");
        is_strict(&machine, suite)?;
    }
    Ok(())
}

#[test]
fn the_units_are_strict_and_valid_and_the_command_line_of_the_kubelet_is_seen_through_them() -> Result<()> {
    let machine = machine("bookworm")?;
    installed(&machine)?;
    let verified = machine.run(&[&["systemd-analyze", "verify", "--man=no"], &UNITS[..]].concat())?.exits(0)?;
    assert_eq!((verified.stdout.as_str(), verified.stderr.as_str()), ("", ""));
    is_strict(&machine, "bookworm")?;

    let (used, unused) = node(&machine)?;
    let of_a_static_pod = image(&machine, "static:1")?;
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: {}}}]}}\n",
        of_a_static_pod.name()
    );
    machine.write("/srv/pods/pod.yaml", &pod)?;
    // A program of that name, with all rights, as the kubelet has them.
    machine.sh("cp /usr/bin/perl /root/kubelet")?;
    machine.sh("systemd-run --unit=kubelet /root/kubelet -e 'sleep 1000' -- --pod-manifest-path=/srv/pods")?;
    machine.wait_for("the kubelet", || Ok((machine.run(&["pgrep", "-x", "kubelet"])?.code == 0).then_some(())))?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&used)? && machine.has(&of_a_static_pod)? && !machine.has(&unused)?);
    Ok(())
}

fn works_through_crictl_alone(suite: &str) -> Result<()> {
    let machine = machine(suite)?;
    machine.bring_cri()?;
    machine.sh(&format!("cp {} /usr/local/bin/crictl", BootedMachine::CRICTL))?;
    installed(&machine)?;
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[runtime]\nctr = \"off\"\n")?;
    let (used, unused) = (image(&machine, "used:1")?, image(&machine, "unused:1")?);
    machine.run_pod("web", used.name())?;
    start(&machine)?.exits(0)?;
    let told = story(&machine)?;
    assert!(told.contains("run finished: removed 1 of 3 images"), "{told}");
    assert!(machine.has(&used)? && !machine.has(&unused)?, "{told}");
    machine.run_pod("after", used.name())
}

#[test]
fn through_crictl_alone_it_removes_and_keeps_under_the_whole_sandbox_and_pods_still_start() -> Result<()> {
    works_through_crictl_alone("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn through_crictl_alone_it_removes_and_keeps_under_the_whole_sandbox_and_pods_still_start_with_systemd_257() -> Result<()> {
    works_through_crictl_alone("trixie")
}
