//! A machine that boots systemd, with a containerd of its own: for what only a real one shows, timers, sandbox, journal.
//!
//! It runs in a container of systemd-nspawn on a disk in memory that is laid over an unpacked Debian, which stays as it
//! is. Everything is in a mount and a process namespace whose first process ends with the test, however that ends; on the
//! machine itself it leaves one folder and one cgroup, which go with it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::containerd::{PATH, remove_cgroups};
use crate::image::{at_digest, split};
use crate::node::Run;
use crate::shell::{output, wait_within};
use crate::{Image, Stored, packages};

/// How long a boot or a shutdown may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// Makes the disk of the machine and stays, so that it outlives a reboot.
const DISK: &str = r#"
set -e
at=$1 system=$2 name=$3
mount -t tmpfs -o mode=0755 lab "$at/disk"
mkdir "$at/disk/upper" "$at/disk/work" "$at/disk/root" "$at/disk/containerd"
mount -t overlay -o "lowerdir=$system,upperdir=$at/disk/upper,workdir=$at/disk/work" lab "$at/disk/root"
umount -l /sys/fs/cgroup
mount -t cgroup2 lab /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$name"
mount -t tmpfs -o mode=0755 lab /run
: >"$at/ready"
exec sleep infinity
"#;

const BOOT: &str = r#"
echo 0 >"/sys/fs/cgroup/$2/cgroup.procs"
at=$1 name=$2; shift 2
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=1
exec systemd-nspawn --quiet --directory="$at/disk/root" --boot --register=no --keep-unit --private-network --console=read-only \
  --machine=node-1 --capability=all --system-call-filter='@keyring bpf' --bind="$at/disk/containerd:/var/lib/containerd" "$@"
"#;

/// Without controllers of cgroups runc can't set limits.
const RUNC: &str = r#"#!/bin/sh
bundle=; before=
for word in "$@"; do
  case $before in --bundle | -b) bundle=$word ;; esac
  before=$word
done
if [ -n "$bundle" ]; then
  jq 'del(.process.oomScoreAdj, .process.rlimits) | .linux.resources |= {devices: .devices}' "$bundle/config.json" >"$bundle/config.new"
  mv "$bundle/config.new" "$bundle/config.json"
fi
exec /usr/sbin/runc "$@"
"#;

/// A booted machine; it and all that runs on it end when this is dropped.
pub struct BootedMachine {
    folder: TempDir,
    namespaces: Child,
    booted: Option<Booted>,
    more: Vec<String>,
}

struct Booted {
    nspawn: Child,
    /// Its systemd, as the test's machine numbers processes.
    leader: u32,
}

impl BootedMachine {
    /// Boots Debian's `bookworm` (systemd 252, containerd 1.6) or `trixie` (257, 1.7).
    pub fn boot(suite: &str) -> Result<Self> {
        Self::boot_with(suite, &[])
    }

    /// The same with more arguments for systemd-nspawn, such as `--tmpfs=/opt:noexec`.
    pub fn boot_with(suite: &str, more: &[&str]) -> Result<Self> {
        let system = packages::system(suite)?;
        let folder = tempfile::Builder::new().prefix("nuke-box.").rand_bytes(5).tempdir_in("/tmp")?;
        fs::create_dir(folder.path().join("disk"))?;
        let name = folder.path().file_name().context("name the machine")?.to_owned();
        let log = File::create(folder.path().join("namespaces.log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", DISK, "lab"]);
        command.arg(folder.path()).arg(system).arg(name).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let namespaces = command.spawn().context("make namespaces for a machine")?;
        let more = more.iter().map(|&argument| argument.to_owned()).collect();
        let mut machine = Self { folder, namespaces, booted: None, more };
        wait_within(PATIENCE, "the machine's disk", || {
            let log = || fs::read_to_string(machine.folder.path().join("namespaces.log"));
            ensure!(machine.namespaces.try_wait()?.is_none(), "{}", log()?);
            Ok(machine.folder.path().join("ready").exists().then_some(()))
        })?;
        machine.prepare()?;
        machine.start()?;
        Ok(machine)
    }

    /// What Debian's packages don't bring, before the first boot.
    fn prepare(&self) -> Result<()> {
        let disk = PathBuf::from(format!("/proc/{}/root{}", self.holder()?, self.folder.path().display())).join("disk/root");
        let write = |path: &str, text: &str, mode: u32| -> Result<()> {
            let path = disk.join(path);
            fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
        };
        write("usr/local/sbin/runc", RUNC, 0o755)?;
        write("etc/resolv.conf", "", 0o644)?;
        write("etc/hostname", "node-1\n", 0o644)?;
        write("etc/hosts", "127.0.0.1 localhost node-1\n", 0o644)?;
        write("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444)
    }

    /// The process that holds the namespaces: the one child of `unshare`.
    fn holder(&self) -> Result<u32> {
        children(self.namespaces.id()).first().copied().context("find the machine's namespaces")
    }

    /// Boots it, after [`BootedMachine::shut_down`] once more.
    pub fn start(&mut self) -> Result<()> {
        let of = format!("/proc/{}/ns", self.holder()?);
        let console = File::create(self.folder.path().join("console"))?;
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", PATH).arg(format!("--mount={of}/mnt")).arg(format!("--pid={of}/pid"));
        command.args(["sh", "-c", BOOT, "lab"]).arg(self.folder.path()).arg(self.folder.path().file_name().context("name")?);
        command.args(&self.more).stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        let mut nspawn = command.spawn().context("start systemd-nspawn")?;
        let leader = wait_within(PATIENCE, "systemd to start", || {
            ensure!(nspawn.try_wait()?.is_none(), "systemd-nspawn ended: {}", self.console());
            Ok(first_process_below(nspawn.id()))
        })?;
        self.booted = Some(Booted { nspawn, leader });
        wait_within(PATIENCE, "the machine to boot", || {
            let state = self.run(&["systemctl", "is-system-running"])?.stdout;
            Ok(["running", "degraded"].contains(&state.trim()).then_some(()))
        })
        .with_context(|| self.console())?;
        self.write("/run/systemd/journald.conf.d/lab.conf", "[Journal]\nRateLimitBurst=0\n")?;
        wait_within(PATIENCE, "containerd", || Ok((self.run(&["ctr", "version"])?.code == 0).then_some(())))
    }

    fn console(&self) -> String {
        fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
    }

    /// Powers it off, as a person does; its disk stays.
    pub fn shut_down(&mut self) -> Result<()> {
        let mut booted = self.booted.take().context("it runs")?;
        // SIGRTMIN+4, systemd(1).
        output(Command::new("kill").args(["-s", "RTMIN+4", &booted.leader.to_string()]))?;
        let ended = wait_within(PATIENCE, "the machine to shut down", || Ok(booted.nspawn.try_wait()?));
        ended.map(drop).inspect_err(|_| _ = booted.nspawn.kill())
    }

    /// A program on the machine.
    pub fn command(&self, words: &[&str]) -> Command {
        let leader = self.booted.as_ref().map_or(0, |booted| booted.leader).to_string();
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", PATH).args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["--root", "--wd", "env", "-i"]).arg(format!("PATH={PATH}")).args(["HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs a program on the machine to its end.
    pub fn run(&self, words: &[&str]) -> Result<Run> {
        Run::of(&self.command(words).output().with_context(|| format!("start {words:?}"))?)
    }

    /// Runs a shell script on the machine, and gives what it printed; anything but exit code 0 is an error.
    pub fn sh(&self, script: &str) -> Result<String> {
        Ok(self.run(&["bash", "-euo", "pipefail", "-c", script])?.exits(0).with_context(|| script.to_owned())?.stdout)
    }

    /// Where a file of the machine is for the test.
    pub fn path(&self, path: &str) -> PathBuf {
        let leader = self.booted.as_ref().map_or(0, |booted| booted.leader);
        PathBuf::from(format!("/proc/{leader}/root{path}"))
    }

    /// Writes a file of the machine, with the folders it needs.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Reads a file of the machine.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| format!("read {path}"))
    }

    /// Whether a file of the machine is there.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Copies a program onto the machine.
    pub fn bring(&self, program: &Path, path: &str) -> Result<()> {
        // Not by this process: a child of another test that is being started would hold the file open for a moment.
        output(Command::new("cp").arg(program).arg(self.path(path))).map(drop)
    }

    /// An image as the kubelet pulls it, `age` ago: tag, `repository@digest` and the bare ID, from a registry.
    pub fn pull(&self, image: &Image, age: Duration) -> Result<Stored> {
        let built = image.build()?;
        fs::write(self.path("/root/image.tar"), built.layout(&image.names)?)?;
        self.ctr(&["images", "import", "/root/image.tar"])?;
        let mut references = image.names.clone();
        for name in &image.names {
            let (repository, _) = split(name);
            let (host, path) = repository.split_once('/').context("an image to pull has a host in its name")?;
            references.push(at_digest(name, &built.digest()));
            self.ctr(&["images", "tag", "--force", name, &at_digest(name, &built.digest())])?;
            self.ctr(&["content", "label", &built.digest(), &format!("containerd.io/distribution.source.{host}={path}")])?;
        }
        references.push(built.id.clone());
        wait_within(PATIENCE, &format!("CRI to know {references:?}"), || {
            let known = self.ctr(&["images", "ls"])?;
            let is_known = |name: &String| {
                known.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains("cri-containerd.image=managed"))
            };
            Ok(references.iter().all(is_known).then_some(()))
        })?;
        let blob = format!("/var/lib/containerd/io.containerd.content.v1.content/blobs/{}", built.digest().replace(':', "/"));
        self.sh(&format!("touch --date='{} seconds ago' {blob}", age.as_secs()))?;
        Ok(built.stored(&image.names, references))
    }

    /// Makes a container of it and starts it.
    pub fn run_container(&self, reference: &str, id: &str) -> Result<()> {
        self.ctr(&["run", "--detach", "--null-io", reference, id]).map(drop)
    }

    /// Runs ctr in the namespace `k8s.io` and gives what it printed.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.run(&[&["ctr", "--namespace", "k8s.io"], arguments].concat())?.exits(0)?.stdout)
    }

    /// Whether all of its references are there, or none.
    pub fn has(&self, image: &Stored) -> Result<bool> {
        let there = self.ctr(&["images", "ls", "-q"])?;
        let left: Vec<_> = image.references.iter().filter(|name| there.lines().any(|line| line == *name)).collect();
        match left.len() {
            0 => Ok(false),
            all if all == image.references.len() => Ok(true),
            _ => bail!("half there: {left:?}"),
        }
    }

    /// Waits until there is an answer.
    pub fn wait_for<T>(&self, what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        wait_within(PATIENCE, what, ask)
    }
}

impl Drop for BootedMachine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.booted.is_some() {
            let journal = self.run(&["journalctl", "--no-pager", "--priority=warning", "--lines=40"]);
            eprintln!("{}", journal.map_or_else(|error| format!("{error:#}"), |run| run.stdout));
        }
        // With the first process of its namespace the kernel ends all others.
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
        if let Some(booted) = &mut self.booted {
            let _ = booted.nspawn.wait();
        }
        if let Some(Err(error)) = self.folder.path().file_name().map(remove_cgroups) {
            eprintln!("{error:#}");
        }
    }
}

fn children(process: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The systemd that is the first process of its namespace.
fn first_process_below(process: u32) -> Option<u32> {
    let is_it = |pid: u32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let numbers = read("status").lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default().to_owned();
        read("comm").trim() == "systemd" && numbers.split_whitespace().last() == Some("1")
    };
    children(process).into_iter().find_map(|child| if is_it(child) { Some(child) } else { first_process_below(child) })
}
