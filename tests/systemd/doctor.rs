//! doctor on a booted machine: what it says of timers, sandbox and runs is what systemd has.

use anyhow::Result;
use lab::BootedMachine;
use serde_json::Value;

use crate::{installed, machine, node, run, start};

/// `level: what` of each finding about something, and the exit code.
fn doctor(machine: &BootedMachine, about: &str) -> Result<(i32, Vec<String>)> {
    let run = run(machine, &["doctor", "--output", "json"])?;
    let json: Value = serde_json::from_str(&run.stdout)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = json["findings"].as_array().into_iter().flatten().filter(|finding| finding["about"] == about);
    Ok((run.code, findings.map(|finding| format!("{}: {}", text(&finding["level"]), text(&finding["what"]))).collect()))
}

#[test]
fn doctor_sees_the_units_as_systemd_has_them() -> Result<()> {
    let machine = machine("bookworm")?;
    assert_eq!(doctor(&machine, "timer")?.1, ["problem: the units are not installed, so nothing starts a clean-up by itself"]);
    installed(&machine)?;
    node(&machine)?;
    let (code, timer) = doctor(&machine, "timer")?;
    assert!(code == 0 && timer.len() == 1 && timer[0].starts_with("good: next clean-up: "), "{code} {timer:?}");
    assert_eq!(doctor(&machine, "sandbox")?.1, ["good: lets through what is configured"]);
    start(&machine)?.exits(0)?;
    assert!(doctor(&machine, "last run")?.1[0].ends_with(" ago, without a failure"));
    let programs = doctor(&machine, "programs")?.1;
    assert!(programs[0].starts_with("good: /usr/bin/ctr, ctr ") && programs[0].contains("1.6."), "{programs:?}");
    assert!(programs[1].starts_with("advice: containerd 1.6.20") && programs[1].contains("knows no pins"), "{programs:?}");

    machine.write("/etc/nuke-images/config.d/60-memory.toml", "[memory]\ndrop_caches = \"all\"\nreclaim = \"1GiB\"\n")?;
    let (code, closed) = doctor(&machine, "sandbox")?;
    assert!(code == 1 && closed.len() == 2 && closed.iter().all(|what| what.starts_with("problem: the service may not")), "{closed:?}");
    run(&machine, &["install"])?.exits(0)?;
    assert_eq!(doctor(&machine, "sandbox")?, (0, vec!["good: lets through what is configured".to_owned()]));

    machine.sh("systemctl --quiet disable --now nuke-images.timer")?;
    assert_eq!(doctor(&machine, "timer")?, (1, vec!["problem: nuke-images.timer is inactive and disabled".to_owned()]));
    Ok(())
}
