//! The only place that starts programs: absolute path, clean environment, timeout, output cap.
//!
//! A listing is ended when it takes too long, floods, or the run is interrupted. A removal is never ended by us, and
//! every child leads a process group of its own, so that a Ctrl-C on the terminal doesn't cut one either.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::mem::take;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Component, Path, PathBuf};
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
/// How long a removal is waited for; one that hangs must not hold the lock for ever.
const REMOVAL_PATIENCE: Duration = Duration::from_mins(30);
const LIMITS: Limits = Limits { output: OUTPUT_CAP, linger: LINGER, removal: REMOVAL_PATIENCE };
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
    /// Changes the store: never ended, and waited for half an hour.
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
    /// It changes the store and has not ended in a long time; it was left alone.
    StillRuns(Duration),
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
        let result = run(call, &self.interrupt, LIMITS);
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

/// What a program may do; a test gives it less.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// [`OUTPUT_CAP`].
    output: usize,
    /// [`LINGER`].
    linger: Duration,
    /// [`REMOVAL_PATIENCE`].
    removal: Duration,
}

fn run(call: &Call, interrupt: &Interrupt, limits: Limits) -> Result<Output, Failure> {
    let mut child = spawn(call)?;
    let group = Pid::from_raw(child.id().cast_signed());
    let (sender, events) = channel();
    read_stream(child.stdout.take(), limits.output, sender.clone(), Event::Stdout);
    read_stream(child.stderr.take(), limits.output, sender.clone(), Event::Stderr);
    thread::spawn(move || sender.send(Event::Exited(child.wait())));
    let result = Progress::new(limits).follow(call.kind, &events, interrupt);
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
fn read_stream(stream: Option<impl Read + Send + 'static>, cap: usize, sender: Sender<Event>, event: fn(Vec<u8>) -> Event) {
    thread::spawn(move || {
        let (mut stream, mut buffer, mut bytes) = (stream, vec![0; 16 << 10], Vec::new());
        while let Some(Ok(n @ 1..)) = stream.as_mut().map(|stream| stream.read(&mut buffer)) {
            // One chunk more than the cap, so that a flood shows; the rest is dropped.
            if bytes.len() <= cap {
                bytes.extend_from_slice(&buffer[..n]);
                if bytes.len() > cap && sender.send(Event::Flooded).is_err() {
                    return;
                }
            }
        }
        _ = sender.send(event(bytes));
    });
}

/// What has come of a running program so far.
struct Progress {
    limits: Limits,
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
    has_flooded: bool,
    exited: Option<(ExitStatus, Instant)>,
}

impl Progress {
    fn new(limits: Limits) -> Self {
        Self { limits, stdout: None, stderr: None, has_flooded: false, exited: None }
    }

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
                (Some((_, since)), ..) if since.elapsed() > self.limits.linger => return Err(Failure::HeldOpen),
                (Some(_) | None, ..) => {}
            }
            if matches!(kind, CallKind::Removal) && started.elapsed() > self.limits.removal {
                return Err(Failure::StillRuns(self.limits.removal));
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
            Self::StillRuns(patience) => write!(f, "still runs after {} s and was left alone", patience.as_secs()),
        }
    }
}

impl std::error::Error for Failure {}

/// May root start this program? It, each folder above it, and each link on the way must belong to root, and nobody else may
/// write there.
///
/// A folder of `trusted` and what lies below it is exempt. A sticky folder such as `/tmp` is no danger to a folder in it
/// that belongs to root.
pub fn check_trusted(program: &Path, trusted: &[PathBuf]) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", program.display());
    let real = program.canonicalize().map_err(wrong)?;
    if trusted.iter().any(|folder| real.starts_with(folder) || program.starts_with(folder)) {
        return Ok(());
    }
    way_to(program).map_err(wrong)?.iter().try_for_each(|place| check_place(place))
}

fn check_place(place: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = place.symlink_metadata().map_err(|error| format!("{}: {error}", place.display()))?;
    let is_sticky_folder = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
    // Nobody writes to a link: whoever can replace it can write to its folder or owns it.
    let others_write = metadata.mode() & 0o022 != 0 && !metadata.is_symlink();
    if metadata.uid() != 0 {
        return Err(format!("{} belongs to user {}, not to root", place.display(), metadata.uid()));
    }
    if others_write && !is_sticky_folder {
        return Err(format!("{} can be written by others than root", place.display()));
    }
    Ok(())
}

/// Every folder and link that is passed on the way to a program that exists, and the program: it is started by the name we
/// were given, as one program can be many by its name, so whoever turns a link decides what is started.
fn way_to(program: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut here, mut way) = (PathBuf::from("/"), vec![PathBuf::from("/")]);
    let mut rest: Vec<OsString> = parts(program);
    while let Some(part) = rest.pop() {
        let next = if part == ".." { here.parent().unwrap_or(&here).to_owned() } else { here.join(part) };
        way.push(next.clone());
        if next.symlink_metadata()?.is_symlink() {
            let target = next.read_link()?;
            here = if target.is_absolute() { "/".into() } else { here };
            rest.extend(parts(&target));
        } else {
            here = next;
        }
    }
    Ok(way)
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().filter(|part| !matches!(part, Component::RootDir)).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
pub mod fake;

#[cfg(test)]
mod tests {
    /// It waits for a removal longer than we do.
    #[test]
    fn systemd_never_cuts_a_removal() {
        let unit = include_str!("../systemd/nuke-images.service");
        let patience = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a patience");
        assert!(humantime::parse_duration(patience).expect("a span") > super::REMOVAL_PATIENCE, "{patience}");
        assert!(unit.lines().any(|line| line == "KillMode=mixed"));
    }

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use nix::sys::signal::kill;
    use tempfile::TempDir;

    use super::*;

    /// Long enough for anything that is to end by itself.
    const PATIENT: CallKind = CallKind::Listing(Duration::from_mins(5));
    const SMALL: Limits = Limits { output: 64 << 10, linger: Duration::from_millis(200), removal: Duration::from_mins(5) };

    fn start(kind: CallKind, script: &str, interrupt: &Interrupt) -> Result<Output, Failure> {
        let args = ["-c".into(), script.into()].to_vec();
        run(&Call { program: "/bin/sh".into(), args, kind }, interrupt, SMALL)
    }

    fn listing(script: &str) -> Result<Output, Failure> {
        start(PATIENT, script, &Interrupt::default())
    }

    fn printed(script: &str) -> String {
        listing(script).expect("output").stdout
    }

    fn interrupted() -> Interrupt {
        let interrupt = Interrupt::default();
        interrupt.set(Signal::SIGTERM);
        interrupt
    }

    /// Process IDs that a script has written down.
    fn noted(folder: &TempDir) -> Vec<Pid> {
        let text = fs::read_to_string(folder.path().join("pids")).expect("process IDs");
        text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a process ID"))).collect()
    }

    /// Does it run? A dead process that nobody has waited for does not.
    fn runs(pid: Pid) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    }

    /// SIGKILL is obeyed a moment after it was sent.
    fn assert_ended(folder: &TempDir) {
        let pids = noted(folder);
        assert_eq!(pids.len(), 2);
        // Less than they would sleep.
        for _ in 0..6_000 {
            if !pids.iter().any(|&pid| runs(pid)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("they run on: {pids:?}");
    }

    /// A program and its child that both note themselves and hang.
    fn hangs(folder: &TempDir) -> String {
        format!("sleep 300 & echo $! $$ >{}; wait", folder.path().join("pids").display())
    }

    #[test]
    fn a_listing_that_hangs_is_ended_with_its_whole_group() {
        let folder = tempfile::tempdir().expect("folder");
        let timeout = Duration::from_secs(1);
        assert_eq!(start(CallKind::Listing(timeout), &hangs(&folder), &Interrupt::default()), Err(Failure::TimedOut(timeout)));
        assert_ended(&folder);
    }

    #[test]
    fn an_interrupt_ends_a_listing_with_its_whole_group() {
        let folder = tempfile::tempdir().expect("folder");
        let (interrupt, script) = (Interrupt::default(), hangs(&folder));
        thread::scope(|scope| {
            let running = scope.spawn(|| start(PATIENT, &script, &interrupt));
            while !fs::read_to_string(folder.path().join("pids")).is_ok_and(|text| text.ends_with('\n')) {
                thread::sleep(Duration::from_millis(10));
            }
            interrupt.set(Signal::SIGINT);
            assert_eq!(running.join().expect("a result"), Err(Failure::Interrupted));
        });
        assert_ended(&folder);
    }

    #[test]
    fn nothing_ends_a_removal() {
        let flood = "head -c 200000 /dev/zero; sleep 1; echo done >&2";
        let output = start(CallKind::Removal, flood, &interrupted()).expect("output");
        assert!(output.status.success());
        assert_eq!(output.complaint(), "done");
    }

    #[test]
    fn a_removal_that_hangs_is_left_alone_after_a_long_time() {
        let folder = tempfile::tempdir().expect("folder");
        let limits = Limits { removal: Duration::from_secs(1), ..SMALL };
        let args = ["-c".into(), format!("echo $$ >{}; exec sleep 300", folder.path().join("pids").display()).into()].to_vec();
        let call = Call { program: "/bin/sh".into(), args, kind: CallKind::Removal };
        assert_eq!(run(&call, &Interrupt::default(), limits), Err(Failure::StillRuns(limits.removal)));
        let [left] = noted(&folder)[..] else { panic!("one process") };
        assert!(runs(left));
        kill(left, Signal::SIGKILL).expect("end it");
    }

    #[test]
    fn a_flood_on_either_stream_is_ended() {
        for script in ["yes", "yes >&2"] {
            assert_eq!(listing(script), Err(Failure::Flooded), "{script}");
        }
    }

    #[test]
    fn both_streams_are_read_at_once() {
        let output = listing("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; head -c 5000 /dev/zero").expect("output");
        assert_eq!((output.stdout.len(), output.stderr.len()), (65_000, 60_000));
    }

    #[test]
    fn a_grandchild_that_holds_the_output_is_told_of_and_ended() {
        let folder = tempfile::tempdir().expect("folder");
        let script = format!("sleep 300 & echo $! $$ >{}", folder.path().join("pids").display());
        assert_eq!(listing(&script), Err(Failure::HeldOpen));
        assert_ended(&folder);
    }

    #[test]
    fn what_a_removal_leaves_behind_is_not_ended() {
        let folder = tempfile::tempdir().expect("folder");
        let script = format!("sleep 300 & echo $! >{}", folder.path().join("pids").display());
        assert_eq!(start(CallKind::Removal, &script, &interrupted()), Err(Failure::HeldOpen));
        let [left] = noted(&folder)[..] else { panic!("one process") };
        assert!(runs(left));
        kill(left, Signal::SIGKILL).expect("end it");
    }

    #[test]
    fn a_program_leads_a_process_group_of_its_own() {
        let pids = printed("echo $$; cut -d' ' -f5 /proc/$$/stat");
        let [pid, group] = pids.lines().collect::<Vec<_>>()[..] else { panic!("{pids}") };
        assert_eq!(pid, group);
    }

    #[test]
    fn a_program_knows_nothing_of_our_surroundings() {
        let call = Call { program: "/usr/bin/env".into(), args: Vec::new(), kind: PATIENT };
        let environment = run(&call, &Interrupt::default(), SMALL).expect("output").stdout;
        let mut variables: Vec<&str> = environment.lines().collect();
        variables.sort_unstable();
        assert_eq!(variables, ["HOME=/root", "LC_ALL=C", &format!("PATH={PATH}"), "TZ=UTC"]);
        assert_eq!(printed("readlink /proc/self/fd/0; pwd"), "/dev/null\n/\n");
    }

    #[test]
    fn a_failure_is_described_by_status_and_last_words() {
        for (script, description) in [
            ("exit 3", "exit status 3"),
            ("echo one >&2; echo ' no such container ' >&2; echo >&2; exit 1", "exit status 1: no such container"),
            ("kill -9 $$", "ended by signal 9"),
            ("echo bye >&2; kill -15 $$", "ended by signal 15: bye"),
            ("printf '\\033[2Jbad\\n' >&2; exit 1", "exit status 1: \\u{1b}[2Jbad"),
        ] {
            let output = listing(script).expect("output");
            assert!(!output.status.success());
            assert_eq!(output.describe_failure(), description);
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(printed("printf 'a\\377b'"), "a\u{fffd}b");
    }

    #[test]
    fn a_program_that_is_not_there_is_told_of() {
        let call = Call { program: "/nonexistent/ctr".into(), args: Vec::new(), kind: PATIENT };
        let failure = run(&call, &Interrupt::default(), SMALL).expect_err("no program");
        assert!(failure.to_string().starts_with("could not be started: No such file"), "{failure}");
    }

    #[test]
    fn a_log_names_the_first_arguments_only() {
        let args: Vec<OsString> = (0..14).map(|i| i.to_string().into()).collect();
        assert_eq!(summarise(&args), "0 1 2 3 4 5 6 7 8 9 10 11 and 2 more");
        assert_eq!(summarise(&args[..2]), "0 1");
    }

    /// `bin/ctr` in a folder of root's.
    fn program() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let program = folder.path().join("bin/ctr");
        fs::create_dir(folder.path().join("bin")).expect("folder");
        fs::write(&program, "").expect("file");
        set_mode(&program, 0o755);
        set_mode(&folder.path().join("bin"), 0o755);
        (folder, program)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set the mode");
    }

    fn verdict(program: &Path) -> Result<(), String> {
        check_trusted(program, &[])
    }

    #[test]
    fn only_root_may_be_able_to_write_a_program_and_its_folders() {
        let (folder, program) = program();
        let bin = folder.path().join("bin");
        assert_eq!(verdict(&program), Ok(()));
        for (path, mode, trusted) in [
            (&program, 0o775, false),
            (&program, 0o757, false),
            (&program, 0o1757, false),
            (&bin, 0o775, false),
            (&bin, 0o777, false),
            (&bin, 0o1777, true),
        ] {
            set_mode(path, mode);
            let error = format!("{} can be written by others than root", path.display());
            assert_eq!(verdict(&program), if trusted { Ok(()) } else { Err(error) }, "{mode:o}");
            set_mode(path, 0o755);
        }
    }

    #[test]
    fn a_program_and_its_folders_must_belong_to_root() {
        let (folder, program) = program();
        for path in [&program, &folder.path().join("bin")] {
            chown(path, Some(65_534), None).expect("give it away");
            assert_eq!(verdict(&program), Err(format!("{} belongs to user 65534, not to root", path.display())));
            chown(path, Some(0), None).expect("take it back");
        }
        assert_eq!(verdict(&program), Ok(()));
    }

    #[test]
    fn a_link_is_as_trusted_as_all_that_lies_on_its_way() {
        let (folder, program) = program();
        let (links, bin) = (folder.path().join("links"), folder.path().join("bin"));
        fs::create_dir(&links).expect("folder");
        let (link, relative, through) = (links.join("ctr"), links.join("relative"), folder.path().join("through"));
        symlink(&program, &link).expect("link");
        symlink("../links/ctr", &relative).expect("link");
        symlink("links", &through).expect("link");
        let ways = [&link, &relative, &through.join("ctr")];
        for way in ways {
            assert_eq!(verdict(way), Ok(()));
        }
        for (path, mode) in [(&program, 0o757), (&bin, 0o775), (&links, 0o775)] {
            set_mode(path, mode);
            for way in ways {
                assert_eq!(verdict(way), Err(format!("{} can be written by others than root", path.display())), "{}", way.display());
            }
            set_mode(path, 0o755);
        }
    }

    #[test]
    fn a_link_that_somebody_else_can_turn_is_not_trusted() {
        let (folder, program) = program();
        let link = folder.path().join("ctr");
        symlink(&program, &link).expect("link");
        lchown(&link, Some(65_534), None).expect("give it away");
        assert_eq!(verdict(&link), Err(format!("{} belongs to user 65534, not to root", link.display())));
    }

    #[test]
    fn what_leads_nowhere_is_not_trusted() {
        let folder = tempfile::tempdir().expect("folder");
        let (ring, dangling) = (folder.path().join("ring"), folder.path().join("dangling"));
        symlink(&ring, &ring).expect("link");
        symlink("/nonexistent/ctr", &dangling).expect("link");
        for path in [&ring, &dangling, Path::new("/nonexistent/ctr")] {
            let error = verdict(path).expect_err("leads nowhere");
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_trusted_folder_and_what_lies_below_it_is_exempt() {
        let (folder, program) = program();
        set_mode(&program, 0o777);
        let link = folder.path().join("ctr");
        symlink(&program, &link).expect("link");
        for (trusted, path, exempt) in [
            (folder.path().join("bin"), &program, true),
            (folder.path().to_owned(), &program, true),
            (folder.path().join("bin"), &link, true),
            (folder.path().join("bi"), &program, false),
            (folder.path().join("other"), &program, false),
        ] {
            assert_eq!(check_trusted(path, std::slice::from_ref(&trusted)).is_ok(), exempt, "{} in {}", path.display(), trusted.display());
        }
    }
}
