//! The memory step inside the service's sandbox: let through by its drop-in, and refused clearly without it.
//!
//! The machine shares the kernel with the one that the tests run on, whose caches must not be dropped: files of the test's own
//! cover the kernel's. systemd 252 gives each service a `/proc` without such a cover, so a guard looks from inside the
//! sandbox, right before the product is started, and ends the service where the kernel's own file could be written to.

use anyhow::{Context, Result, ensure};
use lab::BootedMachine;
use serde_json::Value;

use crate::{installed, machine, run, show, start, story};

const KERNELS: &str = "/root/drop_caches";
const MEMORY: &str = "/etc/nuke-images/config.d/60-memory.toml";
const RECLAIM: &str = "/sys/fs/cgroup/kubepods.slice/memory.reclaim";
/// What the guard ends with where the sandbox lets through to the kernel's own file.
const WRITABLE: &str = "9";
const GUARD: &str = "file=/proc/sys/vm/drop_caches
if [ \"$(stat --file-system --format=%T $file)\" = proc ] && [ -w $file ]; then exit 9; fi
";

/// A machine with files in place of those of the kernel, and the guard before the service.
fn covered(suite: &str) -> Result<BootedMachine> {
    let machine = machine(suite)?;
    machine.sh(&format!(
        ": >{KERNELS}; mount --bind {KERNELS} /proc/sys/vm/drop_caches
         mkdir /sys/fs/cgroup/kubepods.slice; mount -t tmpfs pods /sys/fs/cgroup/kubepods.slice
         cd /sys/fs/cgroup/kubepods.slice; echo 1073741824 >memory.current; : >memory.reclaim"
    ))?;
    machine.write("/root/guard", GUARD)?;
    machine.write("/etc/systemd/system/nuke-images.service.d/90-guard.conf", "[Service]\nExecStartPre=/bin/sh /root/guard\n")?;
    installed(&machine)?;
    Ok(machine)
}

/// Starts the service, whose guard must be in force.
fn start_guarded(machine: &BootedMachine) -> Result<lab::Run> {
    machine.sh("systemctl daemon-reload")?;
    ensure!(show(machine, "nuke-images.service", "ExecStartPre")?.contains("/root/guard"), "there is no guard");
    start(machine)
}

fn asked(machine: &BootedMachine) -> Result<String> {
    machine.read(RECLAIM)
}

/// The last entry of the memory step.
fn entry(machine: &BootedMachine) -> Result<Value> {
    story(machine)?;
    let id = "MESSAGE_ID=a81f0a9b7c5d4a1e9f0c3c6b52d84e17";
    let json = machine.run(&["journalctl", "-t", "nuke-images", "-o", "json", "-n", "1", id])?.exits(0)?.stdout;
    serde_json::from_str(&json).with_context(|| format!("an entry: {json:?}"))
}

fn is_let_through_and_refused(suite: &str) -> Result<()> {
    let machine = covered(suite)?;
    machine.write(MEMORY, "[memory]\ndrop_caches = \"pagecache\"\nreclaim = \"64MiB\"\n")?;
    start_guarded(&machine)?.exits(1)?;
    assert_eq!(show(&machine, "nuke-images.service", "ExecMainStatus")?, "3", "{}", story(&machine)?);
    let refused = entry(&machine)?;
    let message = refused["MESSAGE"].as_str().unwrap_or_default();
    for part in
        ["memory could not be given back: ", "Read-only file system", "50-drop-caches.conf", "50-reclaim.conf", "nuke-images install"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!((machine.read(KERNELS)?, asked(&machine)?), (String::new(), String::new()));

    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(told.contains("50-drop-caches.conf") && told.contains("50-reclaim.conf"), "{told}");
    let started = start_guarded(&machine)?;
    if suite == "bookworm" {
        started.exits(1)?;
        assert!(show(&machine, "nuke-images.service", "ExecStartPre")?.contains(&format!("status={WRITABLE}")), "it is let through");
        machine.write(MEMORY, "[memory]\nreclaim = \"64MiB\"\n")?;
        run(&machine, &["install"])?.exits(0)?;
        start_guarded(&machine)?.exits(0)?;
    } else {
        started.exits(0)?;
        assert_eq!(machine.read(KERNELS)?, "1");
    }
    assert_eq!(asked(&machine)?, (64 << 20).to_string());
    let done = entry(&machine)?;
    assert_eq!((done["OUTCOME"].as_str(), done["GIVEN_BACK_BYTES"].is_string()), (Some("done"), true), "{done}");
    assert!(done["FREE_BEFORE_BYTES"].is_string() && done["FREE_AFTER_BYTES"].is_string(), "{done}");
    let explained = machine.run(&["journalctl", "--catalog", "-n", "1", "MESSAGE_ID=a81f0a9b7c5d4a1e9f0c3c6b52d84e17"])?.exits(0)?.stdout;
    assert!(explained.contains("Subject: Cached memory was given back") && !explained.contains("@OUTCOME@"), "{explained}");

    // Once nobody asks for it any more, the next installation takes the right away again.
    machine.sh(&format!("rm {MEMORY}"))?;
    run(&machine, &["install"])?.exits(0)?;
    let writable = show(&machine, "nuke-images.service", "ReadWritePaths")?;
    assert!(!writable.contains("drop_caches") && !writable.contains("cgroup"), "{writable}");
    Ok(())
}

#[test]
fn memory_is_given_back_with_the_drop_ins_and_refused_with_their_names_without() -> Result<()> {
    is_let_through_and_refused("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn memory_is_given_back_with_the_drop_ins_and_refused_with_their_names_without_with_systemd_257() -> Result<()> {
    is_let_through_and_refused("trixie")
}
