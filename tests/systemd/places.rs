//! Nodes on which not everything can be written or started: where things go there.

use anyhow::{Result, ensure};
use lab::BootedMachine;

use crate::{BROUGHT, assert_clean, installed, machine, machine_with, node, paths, run, show, start};

const READ_ONLY: &str = "for folder in \"$@\"; do mount --bind $folder $folder; mount -o remount,ro,bind $folder; done";

fn make_read_only(machine: &BootedMachine, folder: &str) -> Result<()> {
    machine.run(&["bash", "-euc", READ_ONLY, "lab", folder])?.exits(0).map(drop)
}

fn goes_to_where_it_runs(suite: &str) -> Result<()> {
    let machine = machine_with(suite, &["--tmpfs=/opt:mode=0755,noexec"])?;
    make_read_only(&machine, "/usr/local")?;
    let would = run(&machine, &["install", "--dry-run"])?.exits(0)?.stdout;
    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(told.contains("put /var/lib/nuke-images/bin/nuke-images\n"), "{told}\n{would}");
    for part in ["/usr/local/bin: can't be written to", "/opt/nuke-images/bin: ", "/opt/bin: ", "this node has no /home/kubernetes"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(told.contains("left out /usr/local/lib/systemd/catalog/nuke-images.catalog"), "{told}");
    ensure!(!machine.exists("/opt/nuke-images") && !machine.exists("/opt/bin"), "what was tried is left there");
    machine
        .write("/etc/nuke-images/config.d/50-test.toml", "[images]\nall = true\nunused_for = \"0s\"\n[safety]\nmin_uptime = \"0s\"\n")?;
    let (used, unused) = node(&machine)?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&used)? && !machine.has(&unused)?);
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)?;

    // As on GKE, whose folder for programs is below /home.
    machine.sh("mkdir -p /home/kubernetes/bin")?;
    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(told.contains("put /home/kubernetes/bin/nuke-images\n"), "{told}");
    machine.sh("systemctl start nuke-images-observe.service")?;
    assert!(machine.exists("/var/lib/nuke-images/state.json"));
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert!(machine.exists("/home/kubernetes/bin"));
    assert_clean(&machine)
}

#[test]
fn from_a_read_only_usr_and_a_noexec_opt_it_goes_to_where_it_really_runs() -> Result<()> {
    goes_to_where_it_runs("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn from_a_read_only_usr_and_a_noexec_opt_it_goes_to_where_it_really_runs_with_systemd_257() -> Result<()> {
    goes_to_where_it_runs("trixie")
}

#[test]
fn where_etc_is_emptied_at_each_reboot_units_go_to_what_lasts_and_without_such_a_place_that_is_said() -> Result<()> {
    let machine = machine("bookworm")?;
    machine
        .sh("mkdir -p /run/upper/{etc,work}; mount -t overlay -o lowerdir=/etc,upperdir=/run/upper/etc,workdir=/run/upper/work etc /etc")?;
    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(
        told.contains("/etc/systemd/system is emptied at each reboot, so the units are in /usr/local/lib/systemd/system, which lasts"),
        "{told}"
    );
    assert_eq!(show(&machine, "nuke-images.timer", "FragmentPath")?, "/usr/local/lib/systemd/system/nuke-images.timer");
    machine.sh("systemctl is-active nuke-images.timer nuke-images-observe.timer")?;
    let again = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(again.contains("nothing has changed"), "{again}");
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)?;

    make_read_only(&machine, "/usr/local")?;
    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(told.contains("so the units in /etc/systemd/system are gone after a reboot"), "{told}");
    machine.sh("systemctl is-active nuke-images.timer")?;
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn where_etc_is_read_only_the_timers_are_there_after_a_reboot() -> Result<()> {
    let mut machine = machine("bookworm")?;
    make_read_only(&machine, "/etc")?;
    let told = run(&machine, &["install"])?.exits(0)?.stdout;
    assert!(told.contains("/etc can't be written to, so there is no configuration"), "{told}");
    assert!(told.contains("/etc/systemd/system can't be written to, so the units are in /usr/local/lib/systemd/system"), "{told}");
    machine.sh("systemctl is-active nuke-images.timer nuke-images-observe.timer")?;
    machine.shut_down()?;
    machine.start()?;
    machine.sh("systemctl is-active nuke-images.timer nuke-images-observe.timer")?;
    machine.bring(std::path::Path::new(env!("CARGO_BIN_EXE_nuke-images")), BROUGHT)?;
    run(&machine, &["uninstall", "--purge"])?.exits(0)?;
    assert_clean(&machine)
}

#[test]
fn a_mounted_system_is_installed_onto_without_touching_the_one_that_runs() -> Result<()> {
    let machine = machine("bookworm")?;
    machine.sh("mkdir -p /srv/other/{etc,usr/local/bin,var/lib}")?;
    let before = machine.sh("cd /srv/other && find . | sort")?;
    let told = run(&machine, &["install", "--root", "/srv/other", "--schedule", "daily"])?.exits(0)?.stdout;
    assert!(told.contains("put /usr/local/bin/nuke-images\n"), "{told}");
    assert_eq!(machine.sh("systemctl --root=/srv/other is-enabled nuke-images.timer")?, "enabled\n");
    assert!(machine.read("/srv/other/etc/systemd/system/nuke-images.service")?.contains("ExecStart=/usr/local/bin/nuke-images "));
    machine.run(&["systemctl", "cat", "nuke-images.timer"])?.exits(1)?;
    ensure!(paths(&machine)?.iter().all(|path| path.starts_with("/srv/other/")), "{:?}", paths(&machine)?);
    let again = run(&machine, &["install", "--root", "/srv/other"])?.exits(0)?.stdout;
    assert!(again.contains("nothing has changed"), "{again}");
    run(&machine, &["uninstall", "--root", "/srv/other", "--purge"])?.exits(0)?;
    assert_eq!(machine.sh("cd /srv/other && find . | sort")?, before);
    Ok(())
}

/// Becomes a program in a container: a root folder of its own, the host's below `/host`, the host's processes.
const CONTAINER: &str = r#"
mount -t tmpfs container /mnt
mkdir /mnt/usr /mnt/proc /mnt/host /mnt/etc
mount --rbind /usr /mnt/usr
mount --rbind /proc /mnt/proc
ln -s usr/lib usr/lib64 usr/bin /mnt
cp "$1" /mnt/nuke-images
mount --bind / /mnt/host
shift
exec chroot /mnt /nuke-images "$@"
"#;

#[test]
fn from_inside_a_container_the_host_is_installed_onto_through_its_own_systemd() -> Result<()> {
    let machine = machine("bookworm")?;
    let in_container = |arguments: &[&str]| {
        let container = ["unshare", "--mount", "--propagation", "private", "bash", "-euc", CONTAINER, "lab", BROUGHT];
        machine.run(&[&container[..], arguments].concat())
    };
    let told = in_container(&["install", "--root", "/host"])?.exits(0)?.stdout;
    assert!(told.contains("next clean-up: "), "{told}");
    machine.sh("systemctl is-enabled nuke-images.timer && systemctl is-active nuke-images.timer && nuke-images --version")?;
    assert!(machine.read("/etc/nuke-images/config.d/10-installed.toml")?.contains("/run/containerd/containerd.sock"));
    assert!(in_container(&["install", "--root", "/host"])?.exits(0)?.stdout.starts_with("nothing has changed\n"));
    installed(&machine)?;
    let (used, unused) = node(&machine)?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&used)? && !machine.has(&unused)?);
    in_container(&["uninstall", "--root", "/host", "--purge"])?.exits(0)?;
    assert_clean(&machine)
}
