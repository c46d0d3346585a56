//! The ways that are compared, and what each came to.

use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::{Containerd, Node, Usage};

use crate::state::{Counts, State};

/// Every image of the shell way costs the same, so some are enough to tell what all would.
const SHELL_SAMPLE: usize = 300;
/// IDs in a call of `crictl rmi`.
const RMI_CALL: usize = 100;

/// What the product finds on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Ctr,
    Crictl,
    Both,
}

pub const SETUPS: [Setup; 3] = [Setup::Ctr, Setup::Crictl, Setup::Both];

/// A way to get rid of all unused images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `nuke-images --yes`, the whole of it.
    Product(Setup),
    /// One `ctr images rm --sync` with all references.
    OneCall,
    /// As scripts do it: for each image `ctr containers ls | grep` and one `ctr images rm`.
    Shell,
    /// `crictl -t 300s rmi`, some IDs at a time.
    Rmi,
    /// `crictl rmi --prune` with the time limit that crictl has by itself.
    Prune,
}

/// One measurement of one way.
#[derive(Clone, Debug)]
pub struct Trial {
    pub way: Way,
    /// From start to end; of the shell way, for all images by what the sample took.
    pub time: Duration,
    pub is_extrapolated: bool,
    pub exit_code: i32,
    /// What was there of the unused images when it ended.
    pub left: Counts,
    /// Growth of free space by `statvfs`, and how much is in use.
    pub freed: u64,
    pub used: u64,
    pub own: Option<Own>,
}

/// What is measured of the product alone.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub usage: Usage,
    pub reported: u64,
}

/// Restores the state and goes one way.
pub fn trial(state: &State, way: Way) -> Result<Trial> {
    let lab = state.restore()?;
    let before = lab.used_bytes()?;
    let mut done = Done::default();
    match way {
        Way::Product(setup) => done = product(&lab, setup)?,
        Way::OneCall => done.time(&mut one_call(&lab, state))?,
        Way::Shell => shell(&lab, state, &mut done)?,
        Way::Rmi => {
            let ids: Vec<&str> = state.images().iter().map(|image| image.id.as_str()).collect();
            for ids in ids.chunks(RMI_CALL) {
                done.time(&mut lab.crictl_command(&[&["-t", "300s", "rmi"], ids].concat())?)?;
            }
        }
        Way::Prune => done.time(&mut lab.crictl_command(&["-t", "2s", "rmi", "--prune"])?)?,
    }
    let used = lab.used_bytes()?;
    let Done { time, exit_code, own } = done;
    let is_extrapolated = way == Way::Shell && state.count() > SHELL_SAMPLE;
    Ok(Trial { way, time, is_extrapolated, exit_code, left: state.left(&lab)?, freed: before.saturating_sub(used), used, own })
}

/// What a dry run takes, in each round.
pub fn plan(state: &State, setup: Setup, rounds: usize) -> Result<Vec<Usage>> {
    let lab = state.restore()?;
    let node = node(&lab, setup)?;
    (0..rounds).map(|_| Ok(node.spawn(&["--dry-run", "--all", "-o", "json"])?.measure()?.1)).collect()
}

/// The programs that a run starts, with the milliseconds each took, as it says with `-v`.
pub fn programs(state: &State, setup: Setup) -> Result<Vec<String>> {
    let lab = state.restore()?;
    let (run, _) = node(&lab, setup)?.spawn(&["--yes", "--all", "-v"])?.measure()?;
    Ok(run.exits(0)?.stderr.lines().filter(|line| line.contains("ran a program")).map(describe_call).collect())
}

/// The program, the first words of what it was told behind what all are told, and how long it took.
fn describe_call(line: &str) -> String {
    let between = |from: &str, to: &str| line.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(text, _)| text);
    let program = between("program=", " ").rsplit('/').next().unwrap_or_default();
    let is_place =
        |word: &&str| word.starts_with("--address") || word.starts_with("--namespace") || word.contains('/') || *word == "k8s.io";
    let is_global = |word: &&str| ["-r", "-i", "-t", "300s", "-c", "--config"].contains(word);
    let words = between("args=", " status=").split(' ').filter(|word| !is_place(word) && !is_global(word));
    let mut text = program.to_owned();
    for word in words.take(5) {
        // Filters and names are long and many.
        let short: String = word.chars().take(20).collect();
        let _ = write!(text, " {short}");
    }
    let milliseconds = line.split_once("milliseconds=").map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
    format!("{milliseconds:>6} ms  {text}")
}

#[derive(Default)]
struct Done {
    time: Duration,
    exit_code: i32,
    own: Option<Own>,
}

impl Done {
    /// Adds what one more program takes; what it prints is nobody's.
    fn time(&mut self, command: &mut Command) -> Result<()> {
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).output().context("start a way")?.status;
        self.time += start.elapsed();
        self.exit_code = self.exit_code.max(status.code().unwrap_or(-1));
        Ok(())
    }
}

fn product(lab: &Containerd, setup: Setup) -> Result<Done> {
    let (run, usage) = node(lab, setup)?.spawn(&["--yes", "--all", "-o", "json"])?.measure()?;
    let reported = run.json()?["summary"]["reclaimed_bytes"].as_u64().context("read what the product says it freed")?;
    Ok(Done { time: usage.time, exit_code: run.code, own: Some(Own { usage, reported }) })
}

fn node(lab: &Containerd, setup: Setup) -> Result<Node<'_>> {
    let node = lab.node()?;
    match setup {
        Setup::Ctr => Ok(node),
        Setup::Crictl => node.with_crictl()?.without_ctr(),
        Setup::Both => node.with_crictl(),
    }
}

fn one_call(lab: &Containerd, state: &State) -> Command {
    let mut command = ctr(lab);
    command.args(["images", "rm", "--sync"]).args(state.images().iter().flat_map(|image| &image.references));
    command
}

fn ctr(lab: &Containerd) -> Command {
    let mut command = lab.command(&lab.programs().join("ctr"));
    command.arg("--address").arg(lab.socket()).args(["--namespace", "k8s.io"]);
    command
}

/// All names of an image in one call, so that it leaves nothing behind, which most such scripts do.
fn shell(lab: &Containerd, state: &State, done: &mut Done) -> Result<()> {
    let script = r#"ctr() { "$program" --address "$socket" --namespace k8s.io "$@"; }
        program=$1 socket=$2
        while read -r name more; do
          ctr containers ls | grep -q -F -- "$name" || ctr images rm "$name" $more
        done"#;
    let sample = &state.images()[..state.count().min(SHELL_SAMPLE)];
    let lines = sample.iter().fold(String::new(), |lines, image| lines + &image.references.join(" ") + "\n");
    let mut command = lab.command("/bin/sh".as_ref());
    command.args(["-c", script, "sh"]).arg(lab.programs().join("ctr")).arg(lab.socket());
    let start = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start the shell way")?;
    child.stdin.take().context("it reads names")?.write_all(lines.as_bytes())?;
    done.exit_code = child.wait()?.code().unwrap_or(-1);
    done.time = start.elapsed() * u32::try_from(state.count())? / u32::try_from(sample.len())?;
    Ok(())
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Product(setup) => setup.name(),
            Self::OneCall => "ctr images rm --sync, one call",
            Self::Shell => "shell: ls|grep, rm an image",
            Self::Rmi => "crictl -t 300s rmi, 100 a call",
            Self::Prune => "crictl rmi --prune",
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { references, blobs, snapshots } = self.left;
        let mark = if self.is_extrapolated { "about " } else { "" };
        write!(f, "{}: {mark}{:.2} s, exit code {}, ", self.way.name(), self.time.as_secs_f64(), self.exit_code)?;
        write!(f, "left {references} references, {blobs} blobs, {snapshots} snapshots, freed {} bytes", self.freed)?;
        let Some(Own { usage, reported }) = self.own else { return Ok(()) };
        write!(f, " and said {reported}, own CPU {:.2} s, ", usage.cpu.as_secs_f64())?;
        write!(f, "its programs' {:.2} s, peak {} KiB", usage.programs_cpu.as_secs_f64(), usage.peak_memory >> 10)
    }
}
