//! The only place that starts programs: absolute path, clean environment, timeout, output cap.
//!
//! A listing is ended when it takes too long, floods, or the run is interrupted. A removal is never ended by us, and
//! every child leads a process group of its own, so that a Ctrl-C on the terminal doesn't cut one either.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::mem::take;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::signals::Interrupt;
use crate::units::printable;

/// Most bytes that a program may print on one stream: a million references are about 150 MB.
const OUTPUT_CAP: usize = 256 << 20;
/// How long a stream may stay open after its program has ended, because a grandchild holds it.
const LINGER: Duration = Duration::from_secs(2);
/// How often a wait looks up to see an interruption.
const TICK: Duration = Duration::from_millis(100);
/// What a wrapper such as `k3s` or `microk8s.ctr` finds its own programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

/// A program and what comes before its own arguments, as in `k3s ctr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute path.
    pub path: PathBuf,
    /// The word that makes a program of many this one.
    pub prefix: Option<&'static str>,
}

/// One start of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What may end it.
    pub kind: CallKind,
}

/// What may end a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Reads only: ended after this long, and at an interruption.
    Listing(Duration),
    /// Changes the store: never ended.
    Removal,
}

impl Call {
    /// The start of `program` with these arguments.
    pub fn of(program: &Program, args: impl IntoIterator<Item = OsString>, kind: CallKind) -> Self {
        Self { program: program.path.clone(), args: program.prefix.map(OsString::from).into_iter().chain(args).collect(), kind }
    }
}

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// Why there is no output.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It did not start.
    NotStarted(String),
    /// It ran longer than it may.
    TimedOut(Duration),
    /// It printed more than it may.
    Flooded,
    /// It ended, but something it started holds its output.
    HeldOpen,
    /// A signal ended the run.
    Interrupted,
}

/// Starts programs; a test puts another in its place.
pub trait Runner: Sync {
    /// Runs a program to its end.
    fn run(&self, call: &Call) -> Result<Output, Failure>;
}

/// Starts real programs.
#[derive(Debug)]
pub struct SystemRunner {
    /// What ends a listing early.
    pub interrupt: Interrupt,
}

impl Runner for SystemRunner {
    fn run(&self, call: &Call) -> Result<Output, Failure> {
        let started = Instant::now();
        let result = run(call, &self.interrupt);
        tracing::debug!(
            program = %call.program.display(),
            args = %summarise(&call.args),
            status = result.as_ref().map_or_else(ToString::to_string, |output| output.status.to_string()),
            milliseconds = started.elapsed().as_millis(),
            "ran a program"
        );
        result
    }
}

/// The first few arguments; a removal names hundreds.
fn summarise(args: &[OsString]) -> String {
    let shown: Vec<_> = args.iter().take(12).map(|arg| arg.to_string_lossy()).collect();
    let more = if args.len() > 12 { format!(" and {} more", args.len() - 12) } else { String::new() };
    format!("{}{more}", shown.join(" "))
}

enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Flooded,
    Exited(std::io::Result<ExitStatus>),
}

fn run(call: &Call, interrupt: &Interrupt) -> Result<Output, Failure> {
    let mut child = spawn(call)?;
    let group = Pid::from_raw(child.id().cast_signed());
    let (sender, events) = channel();
    read_stream(child.stdout.take(), sender.clone(), Event::Stdout);
    read_stream(child.stderr.take(), sender.clone(), Event::Stderr);
    thread::spawn(move || sender.send(Event::Exited(child.wait())));
    let result = Progress::default().follow(call.kind, &events, interrupt);
    match &result {
        Ok(_) | Err(Failure::NotStarted(_)) => {}
        // The group may be gone already; a removal isn't ended by us, whatever holds its output.
        Err(_) if matches!(call.kind, CallKind::Listing(_)) => _ = killpg(group, Signal::SIGKILL),
        Err(_) => {}
    }
    result
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
fn spawn(call: &Call) -> Result<Child, Failure> {
    Command::new(&call.program)
        .args(&call.args)
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C"), ("TZ", "UTC"), ("HOME", "/root")])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::NotStarted(error.to_string()))
}

/// Tells all that came once the stream has ended: a removal prints thousands of lines, and nobody reads one before the last.
fn read_stream(stream: Option<impl Read + Send + 'static>, sender: Sender<Event>, event: fn(Vec<u8>) -> Event) {
    thread::spawn(move || {
        let (mut stream, mut buffer, mut bytes) = (stream, vec![0; 16 << 10], Vec::new());
        while let Some(Ok(n @ 1..)) = stream.as_mut().map(|stream| stream.read(&mut buffer)) {
            // One chunk more than the cap, so that a flood shows; the rest is dropped.
            if bytes.len() <= OUTPUT_CAP {
                bytes.extend_from_slice(&buffer[..n]);
                if bytes.len() > OUTPUT_CAP && sender.send(Event::Flooded).is_err() {
                    return;
                }
            }
        }
        _ = sender.send(event(bytes));
    });
}

/// What has come of a running program so far.
#[derive(Default)]
struct Progress {
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
    has_flooded: bool,
    exited: Option<(ExitStatus, Instant)>,
}

impl Progress {
    fn follow(mut self, kind: CallKind, events: &Receiver<Event>, interrupt: &Interrupt) -> Result<Output, Failure> {
        let started = Instant::now();
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::NotStarted("its output was lost".into())),
            }
            match (self.exited, &mut self.stdout, &mut self.stderr) {
                (Some((status, _)), Some(stdout), Some(stderr)) => return Ok(Output::new(status, take(stdout), take(stderr))),
                (Some((_, since)), ..) if since.elapsed() > LINGER => return Err(Failure::HeldOpen),
                (Some(_) | None, ..) => {}
            }
            if let CallKind::Listing(timeout) = kind {
                match () {
                    () if interrupt.is_set() => return Err(Failure::Interrupted),
                    () if started.elapsed() > timeout => return Err(Failure::TimedOut(timeout)),
                    () if self.has_flooded => return Err(Failure::Flooded),
                    () => {}
                }
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Stdout(bytes) => self.stdout = Some(bytes),
            Event::Stderr(bytes) => self.stderr = Some(bytes),
            Event::Flooded => self.has_flooded = true,
            Event::Exited(Ok(status)) => self.exited = Some((status, Instant::now())),
            Event::Exited(Err(error)) => return Err(Failure::NotStarted(error.to_string())),
        }
        Ok(())
    }
}

impl Output {
    fn new(status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Self { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// The last line that the program wrote on standard error, without control characters.
    pub fn complaint(&self) -> String {
        let line = self.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        printable(line.trim())
    }

    /// `exit status 1: no such container`.
    pub fn describe_failure(&self) -> String {
        let status = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".into(),
        };
        let complaint = self.complaint();
        if complaint.is_empty() { status } else { format!("{status}: {complaint}") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
            Self::TimedOut(timeout) => write!(f, "gave no answer within {} s", timeout.as_secs()),
            Self::Flooded => write!(f, "printed more than {} MiB", OUTPUT_CAP >> 20),
            Self::HeldOpen => f.write_str("ended, but something it started holds its output open"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

/// May root start this program? It and each folder above it must belong to root, and nobody else may write there.
///
/// A folder of `trusted` and what lies below it is exempt. A sticky folder such as `/tmp` is no danger to a folder in it
/// that belongs to root.
pub fn check_trusted(program: &Path, trusted: &[PathBuf]) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let real = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
    if trusted.iter().any(|folder| real.starts_with(folder) || program.starts_with(folder)) {
        return Ok(());
    }
    for place in real.ancestors() {
        let metadata = place.metadata().map_err(|error| format!("{}: {error}", place.display()))?;
        let others_write = metadata.mode() & 0o022 != 0;
        let is_sticky_folder = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        if metadata.uid() != 0 {
            return Err(format!("{} belongs to user {}, not to root", place.display(), metadata.uid()));
        }
        if others_write && !is_sticky_folder {
            return Err(format!("{} can be written by others than root", place.display()));
        }
    }
    Ok(())
}
