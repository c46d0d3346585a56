//! The machine that is installed onto: which one it is, how it is reached, and its systemd.
//!
//! From inside a container that sees the host's processes, PID 1's mount namespace is entered: from then on every path,
//! program and socket is the host's, and nothing but this program is needed in the container's image.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;

use super::content::{PROGRAM, TIMERS};
use super::plan::all_units;
use crate::process::{Call, CallKind, Output, Runner, check_trusted};
use crate::runtime::find_program;

/// What systemd may take for anything but the end of a run.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often units are stopped that don't stay so.
const STOPS: u32 = 10;
const BETWEEN_STOPS: Duration = Duration::from_millis(200);
/// The first process's root folder, as its namespace has it.
const ROOT_OF_HOST: &str = "/proc/1/root";

/// Where the node's root folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Paths of the node are below it.
    pub root: PathBuf,
    /// Its systemd runs and can be asked.
    pub is_live: bool,
}

impl Host {
    /// Finds the node, and enters its mount namespace where `root` is that of the first process and not our own.
    pub fn reach(root: &Path) -> Result<Self> {
        let root = root.canonicalize().with_context(|| format!("find the folder {}", root.display()))?;
        ensure!(root.is_dir(), "{} is no folder", root.display());
        if root == Path::new("/") && !geteuid().is_root() {
            return Err(io::Error::from(ErrorKind::PermissionDenied)).context("change this machine");
        }
        let is_hosts = root != Path::new("/") && same_folder(&root, Path::new(ROOT_OF_HOST));
        if is_hosts && !same_namespace() {
            enter().with_context(|| format!("enter the mount namespace of the host, whose root folder {} is", root.display()))?;
        }
        let root = if is_hosts { "/".into() } else { root };
        // What sd_booted(3) looks at.
        let is_live = root == Path::new("/") && Path::new("/run/systemd/system").is_dir();
        let is_running = is_hosts || (root == Path::new("/") && same_folder(&root, Path::new(ROOT_OF_HOST)));
        if is_running && !is_live {
            bail!("systemd doesn't run on this machine: start nuke-images --yes by what starts things here, cron for one");
        }
        Ok(Self { root, is_live })
    }

    /// Where a path of the node's is for us.
    pub fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn same_folder(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

fn same_namespace() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    namespace("self") == namespace("1")
}

/// From here on this thread, those it starts and programs they start see the host's files.
fn enter() -> Result<()> {
    let namespace = File::open("/proc/1/ns/mnt").context("open /proc/1/ns/mnt")?;
    // A thread that shares its root folder with another one, here that which listens for signals, may not leave.
    unshare(CloneFlags::CLONE_FS).context("unshare the root folder")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).context("setns")
}

/// The node's systemd.
#[derive(Clone, Copy)]
pub struct Systemd<'a> {
    /// Starts its programs.
    pub runner: &'a dyn Runner,
}

impl Systemd<'_> {
    fn ask(&self, program: &str, words: &[&str], kind: CallKind) -> Result<Output> {
        let path = find_program(program).with_context(|| format!("find the program {program}"))?;
        check_trusted(&path, &[]).map_err(|reason| anyhow!("refuse to start {}: {reason}", path.display()))?;
        let args = words.iter().map(OsString::from).collect();
        self.runner.run(&Call { program: path, args, kind }).with_context(|| format!("{program} {}", words.join(" ")))
    }

    fn must(&self, program: &str, words: &[&str], kind: CallKind) -> Result<String> {
        let output = self.ask(program, words, kind)?;
        if !output.status.success() {
            bail!("{program} {}: {}", words.join(" "), output.describe_failure());
        }
        Ok(output.stdout)
    }

    fn systemctl(&self, words: &[&str]) -> Result<String> {
        self.must("systemctl", words, CallKind::Listing(PATIENCE))
    }

    /// What is wrong with a calendar expression, in systemd's words.
    pub fn check_calendar(&self, calendar: &str) -> Result<Result<(), String>> {
        let output = self.ask("systemd-analyze", &["calendar", "--", calendar], CallKind::Listing(PATIENCE))?;
        Ok(if output.status.success() { Ok(()) } else { Err(output.describe_failure()) })
    }

    /// Does this file start as a service does, where no container, terminal or person is around it?
    pub fn prove(&self, program: &Path) -> Result<()> {
        let unit = format!("--unit={PROGRAM}-proof-{}", std::process::id());
        let own = ["--quiet", "--wait", "--pipe", "--collect", "--service-type=exec", &unit];
        let sandbox = [
            "--property=NoNewPrivileges=yes",
            "--property=CapabilityBoundingSet=",
            "--property=ProtectSystem=strict",
            "--property=ProtectHome=read-only",
            "--property=PrivateTmp=yes",
            "--property=PrivateDevices=yes",
        ];
        let path = program.display().to_string();
        let words = [&own[..], &sandbox, &["--", &path, "--version"]].concat();
        let output = self.ask("systemd-run", &words, CallKind::Listing(PATIENCE))?;
        proven(&output)
    }

    /// Are both timers enabled, and do they wait?
    pub fn timers_wait(&self) -> Result<bool> {
        let lines = |word: &str| -> Result<Vec<String>> {
            let words = [&[word], &TIMERS[..]].concat();
            Ok(self.ask("systemctl", &words, CallKind::Listing(PATIENCE))?.stdout.lines().map(str::to_owned).collect())
        };
        let (enabled, active) = (lines("is-enabled")?, lines("is-active")?);
        // Those that a link of ours starts are enabled at runtime, or by nobody that systemctl knows.
        let ready = ["enabled", "enabled-runtime", "static", "linked", "disabled", "indirect"];
        let first = enabled.len() == TIMERS.len() && enabled.iter().all(|state| ready.contains(&state.as_str()));
        Ok(first && active.len() == TIMERS.len() && active.iter().all(|state| state == "active"))
    }

    /// When the next clean-up begins, as systemd writes it.
    pub fn next_run(&self) -> Option<String> {
        let shown = self.systemctl(&["show", TIMERS[0], "--property=NextElapseUSecRealtime", "--value"]).ok()?;
        Some(shown.trim().to_owned()).filter(|next| !next.is_empty())
    }

    /// Reads units again.
    pub fn reload(&self) -> Result<()> {
        self.systemctl(&["daemon-reload"]).map(drop)
    }

    /// Enables the timers and lets them run.
    pub fn enable(&self) -> Result<()> {
        self.systemctl(&[&["--quiet", "enable", "--now"], &TIMERS[..]].concat()).map(drop)
    }

    /// Lets the timers run.
    pub fn start(&self) -> Result<()> {
        self.systemctl(&[&["start"], &TIMERS[..]].concat()).map(drop)
    }

    /// Stops the timers, and waits for a run to end: a batch that is being removed comes to its end. Units that aren't
    /// there, after an installation that was cut off, are stopped already.
    pub fn stop(&self) -> Result<()> {
        let units = all_units();
        let mut running = String::new();
        // A systemctl that outlived such an installation may start them once more.
        for _ in 0..STOPS {
            self.ask("systemctl", &[&["--quiet", "stop"], &units[..]].concat(), CallKind::Removal)?;
            let states = self.ask("systemctl", &[&["is-active"], &units[..]].concat(), CallKind::Listing(PATIENCE))?;
            match states.stdout.lines().find(|state| !["inactive", "failed", "unknown"].contains(state)) {
                Some(state) => state.clone_into(&mut running),
                None => return Ok(()),
            }
            sleep(BETWEEN_STOPS);
        }
        bail!("a unit is still {running}")
    }

    /// Forgets the units, whose files are gone. One that systemd doesn't know any more has nothing to forget.
    pub fn forget(&self) -> Result<()> {
        self.stop()?;
        self.ask("systemctl", &[vec!["reset-failed"], all_units()].concat(), CallKind::Listing(PATIENCE)).map(drop)
    }

    /// Reads the catalogs again.
    pub fn update_catalog(&self) -> Result<()> {
        self.must("journalctl", &["--update-catalog"], CallKind::Listing(PATIENCE)).map(drop)
    }
}

/// Does this file start, by simply starting it?
pub fn prove_by_starting(runner: &dyn Runner, program: &Path) -> Result<()> {
    let call = Call { program: program.to_owned(), args: vec!["--version".into()], kind: CallKind::Listing(PATIENCE) };
    proven(&runner.run(&call)?)
}

fn proven(output: &Output) -> Result<()> {
    let own = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    if !output.status.success() {
        bail!("{}", output.describe_failure());
    }
    ensure!(output.stdout.trim() == own, "it says {:?} and not {own:?}", output.stdout.trim());
    Ok(())
}
