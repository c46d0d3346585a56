//! The machine that the product believes to be on.
//!
//! The product runs in a mount namespace where `/etc`, `/var/lib`, `/run` and `/usr/local/bin` are folders of the lab, so
//! that its real default paths are used and the machine's own are neither read nor written. What it leaves there stays
//! from one run of a [`Node`] to the next. It is started with nothing in its environment but `PATH`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::containerd::PATH;
use crate::journal::{self, Entry};
use crate::shell::{DEADLINE, output, wait_for, wait_within};
use crate::{Containerd, packages};

/// The folders of the machine that are the lab's, and what they are called in it.
pub(crate) const FOLDERS: [(&str, &str); 4] = [("/etc", "etc"), ("/var/lib", "lib"), ("/run", "run"), ("/usr/local/bin", "bin")];

/// What `/etc` must have for programs to start and names to be known.
pub(crate) const BORROWED: [&str; 5] = ["group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd"];

/// Makes the machine, then becomes the program. The machine's own runtime programs are hidden behind empty files: what
/// the product finds must be the lab's.
const MACHINE: &str = r#"
set -e
node=$1; shift
for name in containerd crictl ctr k3s; do
  for folder in /usr/bin /usr/sbin /bin /sbin; do
    if [ -e "$folder/$name" ]; then mount --bind "$node/hidden" "$folder/$name"; fi
  done
done
for name in containerd ctr crictl crictl-itself nuke-images; do
  source=$1; shift
  if [ -n "$source" ]; then mount --bind "$source" "$node/bin/$name"; fi
done
for path in "$1" "$2"; do
  if [ -n "$path" ]; then mount --bind "$node/hidden" "$path"; fi
done
shift 2
mount -t proc proc /proc
mount --rbind "$node/bin" /usr/local/bin
mount --bind "$node/etc" /etc
mount --bind "$node/lib" /var/lib
mount --bind "$node/run" /run
cd /
exec "$@"
"#;

/// What a script that stands in for ctr begins with: `$command` is such as `images rm`, `real` is ctr itself.
const STAND_IN: &str = r#"#!/bin/sh
real() { /usr/local/bin/ctr "$@"; }
command= option=
for word in "$@"; do
  case $option$word in
    value*) option= ;;
    -a | --address | -n | --namespace | --timeout | --connect-timeout | --snapshotter) option=value ;;
    -*) ;;
    *) command=${command:+$command }$word ;;
  esac
  case $command in *' '*) break ;; esac
done
"#;

/// The same for crictl, whose commands are one word.
const CRICTL_STAND_IN: &str = r#"#!/bin/sh
real() { /usr/local/bin/crictl-itself "$@"; }
command= option=
for word in "$@"; do
  case $option$word in
    value*) option= ;;
    -c | --config | -r | --runtime-endpoint | -i | --image-endpoint | -t | --timeout) option=value ;;
    -*) ;;
    *) command=$word; break ;;
  esac
done
"#;

/// A machine with one containerd, made by [`Containerd::node`].
pub struct Node<'a> {
    containerd: &'a Containerd,
    product: PathBuf,
    folder: PathBuf,
    settings: BTreeMap<(String, String), String>,
    shows_containerd: bool,
    shows_ctr: bool,
    /// The program that is crictl here, and what it is called.
    crictl: Option<(PathBuf, &'static str)>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(containerd: &'a Containerd) -> Result<Self> {
        let folder = containerd.folder().join("node").join(containerd.next().to_string());
        for (_, name) in FOLDERS {
            fs::create_dir_all(folder.join(name))?;
            fs::set_permissions(folder.join(name), Permissions::from_mode(0o755))?;
        }
        File::create(folder.join("hidden"))?;
        for name in ["containerd", "ctr", "nuke-images"] {
            File::create(folder.join("bin").join(name))?;
        }
        for name in BORROWED {
            if Path::new("/etc").join(name).exists() {
                fs::copy(Path::new("/etc").join(name), folder.join("etc").join(name))?;
            }
        }
        let mut node = Self {
            containerd,
            product: PathBuf::new(),
            folder,
            settings: BTreeMap::new(),
            shows_containerd: true,
            shows_ctr: true,
            crictl: None,
        };
        let config = fs::read_to_string(containerd.folder().join("config.toml"))?;
        node.write("/etc/containerd/config.toml", &config)?;
        node.set("runtime.endpoint", &format!("{:?}", format!("unix://{}", containerd.socket().display())))?;
        node.set("runtime.ctr", r#""/usr/local/bin/ctr""#)?;
        node.set("safety.min_uptime", r#""0s""#)?;
        Ok(node)
    }

    /// Says which binary is the product; without it `NUKE_IMAGES_BIN` does.
    #[must_use]
    pub fn product(mut self, path: impl Into<PathBuf>) -> Self {
        self.product = path.into();
        self
    }

    /// Takes containerd's own program and configuration away, also those of the running one: what is left to know is
    /// what ctr says.
    pub fn hide_containerd(&mut self) -> Result<()> {
        self.shows_containerd = false;
        fs::remove_file(self.folder.join("bin/containerd"))?;
        fs::remove_file(self.path("/etc/containerd/config.toml")?).context("hide containerd's configuration")
    }

    /// Puts crictl on the machine, as `/usr/local/bin/crictl`.
    pub fn with_crictl(mut self) -> Result<Self> {
        self.place_crictl("crictl")?;
        Ok(self)
    }

    /// Takes ctr away, and its name out of the configuration.
    pub fn without_ctr(mut self) -> Result<Self> {
        self.shows_ctr = false;
        fs::remove_file(self.folder.join("bin/ctr"))?;
        self.unset("runtime.ctr")?;
        Ok(self)
    }

    fn place_crictl(&mut self, name: &'static str) -> Result<()> {
        File::create(self.folder.join("bin").join(name))?;
        self.crictl = Some((packages::crictl()?, name));
        Ok(())
    }

    /// The containerd of this machine.
    pub fn containerd(&self) -> &'a Containerd {
        self.containerd
    }

    /// Sets one key of the product's configuration, such as `images.min_age`, to a TOML value, and writes the file.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (table, name) = key.split_once('.').context("a key is table.name")?;
        self.settings.insert((table.to_owned(), name.to_owned()), value.to_owned());
        self.write_settings()
    }

    /// Takes one key out again.
    pub fn unset(&mut self, key: &str) -> Result<()> {
        let (table, name) = key.split_once('.').context("a key is table.name")?;
        self.settings.remove(&(table.to_owned(), name.to_owned()));
        self.write_settings()
    }

    fn write_settings(&self) -> Result<()> {
        let (mut text, mut open) = (String::new(), "");
        for ((table, name), value) in &self.settings {
            if table != open {
                writeln!(text, "[{table}]")?;
                open = table;
            }
            writeln!(text, "{name} = {value}")?;
        }
        self.config(&text)
    }

    /// Writes the product's configuration file, in place of what [`Node::set`] has made.
    pub fn config(&self, text: &str) -> Result<()> {
        self.write("/etc/nuke-images/config.toml", text)
    }

    /// Writes a file of the machine, with the folders it needs.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path)?;
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Reads a file of the machine.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)?).with_context(|| format!("read {path}"))
    }

    /// Whether a file of the machine is there.
    pub fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.path(path)?.exists())
    }

    /// Sets the permissions of a file or folder of the machine.
    pub fn chmod(&self, path: &str, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(self.path(path)?, Permissions::from_mode(mode))?)
    }

    /// Where a file of the machine really is.
    pub fn path(&self, path: &str) -> Result<PathBuf> {
        for (folder, name) in FOLDERS {
            if let Some(rest) = path.strip_prefix(folder) {
                return Ok(self.folder.join(name).join(rest.trim_start_matches('/')));
            }
        }
        bail!("{path} is not the lab's")
    }

    /// Everything that the product could have written, with contents and times.
    pub fn files(&self) -> Result<String> {
        let find = ["-printf", "%P %y %m %s %T@ %C@\n"];
        let list = output(Command::new("find").arg(&self.folder).args(["-not", "-name", "output-*"]).args(find))?;
        let mut lines: Vec<_> = list.lines().filter(|line| !line.starts_with(" d")).collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }

    /// Puts a script in ctr's place, its name in the configuration. `$command` is what is asked (`images rm`), and
    /// `real "$@"` does it; the script's last status is what the product sees.
    pub fn stand_in(&mut self, script: &str) -> Result<()> {
        self.program("/usr/local/bin/stand-in", &format!("{STAND_IN}{script}\n"))?;
        self.set("runtime.ctr", r#""/usr/local/bin/stand-in""#)
    }

    /// Takes the script away again.
    pub fn no_stand_in(&mut self) -> Result<()> {
        self.set("runtime.ctr", r#""/usr/local/bin/ctr""#)
    }

    /// Puts a script in crictl's place, as [`Node::stand_in`] does in ctr's: `$command` is a word such as `rmi`.
    pub fn stand_in_for_crictl(&mut self, script: &str) -> Result<()> {
        self.place_crictl("crictl-itself")?;
        self.program("/usr/local/bin/crictl", &format!("{CRICTL_STAND_IN}{script}\n"))
    }

    /// Takes the script away again; crictl itself stays.
    pub fn no_stand_in_for_crictl(&mut self) -> Result<()> {
        self.place_crictl("crictl")
    }

    /// Writes a program of the machine.
    pub fn program(&self, path: &str, text: &str) -> Result<()> {
        self.write(path, text)?;
        self.chmod(path, 0o755)
    }

    /// Runs the product, with no terminal, to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Run> {
        self.spawn(arguments)?.wait()
    }

    /// The same with variables in its environment.
    pub fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Run> {
        let mut command = self.command(["nuke-images"].iter().chain(arguments))?;
        command.envs(environment.iter().copied());
        Self::start(command, Stdio::null(), self.streams()?)?.wait()
    }

    /// Runs the product as a unit of systemd does, its stderr tied to a journal that is a socket of the lab; with what
    /// arrived there.
    pub fn run_in_journal(&self, invocation: &str, arguments: &[&str]) -> Result<(Run, Vec<Entry>)> {
        let path = self.path("/run/systemd/journal/socket")?;
        fs::create_dir_all(path.parent().context("a socket is in a folder")?)?;
        let socket = UnixDatagram::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        // The queue of a socket is short: one that nobody reads from holds the product up.
        let reader = thread::spawn(move || journal::read(&socket));
        let streams = self.streams()?;
        let stderr = fs::metadata(&streams.1)?;
        let mut command = self.command(["nuke-images"].iter().chain(arguments))?;
        command.env("JOURNAL_STREAM", format!("{}:{}", stderr.dev(), stderr.ino())).env("INVOCATION_ID", invocation);
        let run = Self::start(command, Stdio::null(), streams).and_then(Running::wait);
        UnixDatagram::unbound()?.send_to(journal::END, &path)?;
        let entries = reader.join().expect("a reader that doesn't panic");
        fs::remove_file(&path)?;
        Ok((run?, entries?))
    }

    /// Starts the product, with no terminal, as the leader of a process group.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Running> {
        Self::start(self.command(["nuke-images"].iter().chain(arguments))?, Stdio::null(), self.streams()?)
    }

    /// Starts the product on a terminal; what it writes to either stream is its stdout here.
    pub fn on_terminal(&self, arguments: &[&str]) -> Result<Running> {
        let quoted =
            arguments.iter().fold("exec nuke-images".to_owned(), |line, argument| line + " '" + &argument.replace('\'', r"'\''") + "'");
        let mut command = self.command(["script", "--quiet", "--return", "--flush", "--command", &quoted, "/dev/null"])?;
        command.env("TERM", "xterm");
        Self::start(command, Stdio::piped(), self.streams()?)
    }

    fn command(&self, program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
        let product = match std::env::var_os("NUKE_IMAGES_BIN") {
            _ if self.product.is_file() => self.product.clone(),
            Some(path) => PathBuf::from(path),
            None => bail!("NUKE_IMAGES_BIN names no product"),
        };
        let nothing = PathBuf::new;
        let daemon = self.containerd.programs().join("containerd");
        let ctr = if self.shows_ctr { self.containerd.programs().join("ctr") } else { nothing() };
        let crictl = |name| self.crictl.as_ref().filter(|(_, own)| *own == name).map_or_else(nothing, |(program, _)| program.clone());
        let (shown, hidden) = if self.shows_containerd {
            (daemon, [nothing(), nothing()])
        } else {
            (nothing(), [daemon, self.containerd.folder().join("config.toml")])
        };
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", PATH);
        command.arg(format!("--mount={}", self.containerd.mounts()));
        command.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", MACHINE, "node"]);
        command.arg(&self.folder).args([shown, ctr, crictl("crictl"), crictl("crictl-itself"), product]).args(hidden).args(program);
        Ok(command)
    }

    /// Empty files for stdout and stderr.
    fn streams(&self) -> Result<(PathBuf, PathBuf)> {
        let number = self.containerd.next();
        let stdout = self.folder.join(format!("output-{number}"));
        let stderr = self.folder.join(format!("output-{number}-errors"));
        File::create(&stdout).and_then(|_| File::create(&stderr))?;
        Ok((stdout, stderr))
    }

    fn start(mut command: Command, input: Stdio, (stdout, stderr): (PathBuf, PathBuf)) -> Result<Running> {
        let append = |path: &Path| File::options().append(true).open(path);
        command.stdin(input).stdout(append(&stdout)?).stderr(append(&stderr)?);
        let child = command.process_group(0).spawn().context("start the product")?;
        Ok(Running { child, stdout, stderr })
    }
}

/// The product while it runs.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has written to stdout so far.
    pub fn stdout(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.stdout)?).into_owned())
    }

    /// Waits until it has written something with this in it.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        let seen = wait_for(text, || Ok(self.stdout()?.contains(text).then_some(())));
        seen.with_context(|| format!("it wrote: {}", self.stdout().unwrap_or_default()))
    }

    /// Types on its terminal.
    pub fn enter(&mut self, text: &str) -> Result<()> {
        let terminal = self.child.stdin.as_mut().context("it has no terminal")?;
        terminal.write_all(text.as_bytes())?;
        terminal.flush().context("type on the terminal")
    }

    /// Sends a signal, such as `TERM`, to it alone.
    pub fn signal(&self, name: &str) -> Result<()> {
        output(Command::new("kill").args(["-s", name, &self.child.id().to_string()]))?;
        self.has_taken_signals()
    }

    /// Sends a signal to its whole process group, as a terminal does.
    pub fn signal_group(&self, name: &str) -> Result<()> {
        output(Command::new("kill").args(["-s", name, "--", &format!("-{}", self.child.id())]))?;
        self.has_taken_signals()
    }

    /// Waits until no signal is on its way to it: on a busy machine one may take longer than what comes next.
    fn has_taken_signals(&self) -> Result<()> {
        let is_pending = |line: &str| line.starts_with("ShdPnd:") && !line.trim_end().ends_with("0000000000000000");
        wait_for("the signal to be taken", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
            Ok((!status.lines().any(is_pending)).then_some(()))
        })
    }

    /// Waits for its end; one that doesn't come is an error, and the product is killed.
    pub fn wait(self) -> Result<Run> {
        self.wait_within(DEADLINE)
    }

    /// The same with another patience, for what takes long by design.
    pub fn wait_within(mut self, patience: Duration) -> Result<Run> {
        let ended = wait_within(patience, "the product to end", || Ok(self.child.try_wait()?));
        let written = || Ok::<_, std::io::Error>((fs::read(&self.stdout)?, fs::read(&self.stderr)?));
        let (stdout, stderr) = written()?;
        let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        let status = ended.with_context(|| format!("it wrote: {stdout}\n{stderr}"))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Run { code, stdout, stderr })
    }
}

impl Running {
    /// Waits for its end however long it takes, and measures it meanwhile: from the moment that it is itself, without
    /// what made its machine.
    pub fn measure(mut self) -> Result<(Run, Usage)> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let own = wait_for("the product to start", || {
            ensure!(self.child.try_wait()?.is_none(), "it ended early: {}", fs::read_to_string(&self.stderr)?);
            let stat = Stat::of(&process)?;
            Ok((stat.name == "nuke-images").then_some(stat))
        })?;
        let (began, mut peak) = (Instant::now(), 0);
        // A process that has ended still tells what it used, until somebody takes note of its end.
        let end = loop {
            let stat = Stat::of(&process)?;
            if stat.state == "Z" {
                break stat;
            }
            peak = peak_memory(&process).unwrap_or(peak);
            sleep(SAMPLE);
        };
        let time = began.elapsed();
        Ok((self.wait()?, Usage { time, cpu: end.cpu.saturating_sub(own.cpu), programs_cpu: end.programs_cpu, peak_memory: peak }))
    }
}

/// What a run of the product took.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// From its start to its end.
    pub time: Duration,
    /// Its own, in steps of 10 ms; not that of the programs it started.
    pub cpu: Duration,
    /// That of the programs it started, which is their part of the work, not the runtime's.
    pub programs_cpu: Duration,
    /// The most that it had in memory, in bytes, itself alone.
    pub peak_memory: u64,
}

/// How often a running product is looked at.
const SAMPLE: Duration = Duration::from_millis(3);
/// The unit of times in `/proc`, the same on every Linux that runs Kubernetes.
const TICK: Duration = Duration::from_millis(10);

/// A line of `/proc/PID/stat` (`proc_pid_stat(5)`).
struct Stat {
    name: String,
    state: String,
    cpu: Duration,
    programs_cpu: Duration,
}

impl Stat {
    fn of(process: &Path) -> Result<Self> {
        let line = fs::read_to_string(process.join("stat")).context("look at the product")?;
        // The name may hold anything; it ends with the last bracket.
        let (name, rest) = line.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).context("read the product's stat")?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |from: usize| -> Result<Duration> {
            Ok(TICK * words[from..from + 2].iter().map(|word| word.parse::<u32>()).sum::<Result<u32, _>>()?)
        };
        Ok(Self { name: name.to_owned(), state: words[0].to_owned(), cpu: ticks(11)?, programs_cpu: ticks(13)? })
    }
}

fn peak_memory(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of the product came to.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; 128 and more for a signal that ended it, as a shell has it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Result<Self> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).context("read what it wrote");
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        Ok(Self { code, stdout: text(&output.stdout)?, stderr: text(&output.stderr)? })
    }

    /// The one JSON object on stdout; on a terminal what went to stderr stands before it.
    pub fn json(&self) -> Result<Value> {
        let start = self.stdout.find("{\r\n").unwrap_or_default();
        serde_json::from_str(&self.stdout[start..]).with_context(|| format!("read the product's JSON: {self:?}"))
    }

    /// This run if it ended with that code.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "exit code {}, not {code}\n{}\n{}", self.code, self.stdout, self.stderr);
        Ok(self)
    }
}
