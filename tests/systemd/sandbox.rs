//! The units as systemd judges them, and what must be seen from inside.

use anyhow::Result;
use lab::BootedMachine;

use crate::{SUITES, image, installed, machine, node, start};

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
