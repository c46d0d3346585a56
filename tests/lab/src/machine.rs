//! A machine without any daemon: what the product finds on it is what a test puts there.
//!
//! The product runs in mount and PID namespaces of its own, where `/etc`, `/run`, `/var` and `/usr/local/bin` are folders of
//! the test, the programs of runtimes in the machine's other folders are hidden, and no process is to be seen but those
//! of the test. A runtime is a socket that the test holds.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::node::{BORROWED, FOLDERS, Run};
use crate::shell::wait_for;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where microk8s has its socket.
const SNAP: (&str, &str) = ("/var/snap", "snap");

/// Makes the machine, starts what runs on it, then becomes the product. A device is no file, so nobody takes it for a program.
const MACHINE: &str = r#"
set -e
machine=$1; shift
for name in containerd crictl ctr k0s k3s microk8s.ctr; do
  for folder in /usr/local/sbin /usr/sbin /usr/bin /sbin /bin /opt/bin /snap/bin; do
    if [ -f "$folder/$name" ]; then mount --bind /dev/null "$folder/$name"; fi
  done
done
touch "$machine/bin/nuke-images"
mount --bind "$1" "$machine/bin/nuke-images"; shift
mount --rbind "$machine/bin" /usr/local/bin
mount --bind "$machine/etc" /etc
mount --bind "$machine/run" /run
mount -t tmpfs none /var
mkdir /var/lib /var/snap
ln -s /run /var/run
mount --bind "$machine/lib" /var/lib
mount --bind "$machine/snap" /var/snap
cd /
. "$machine/start"
exec /usr/local/bin/nuke-images "$@"
"#;

/// A machine of the test's own.
pub struct Machine {
    folder: TempDir,
    product: PathBuf,
    sockets: Vec<UnixListener>,
    start: String,
}

impl Machine {
    /// An empty one, on which this binary is the product.
    pub fn new(product: impl Into<PathBuf>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (_, name) in FOLDERS.into_iter().chain([SNAP]) {
            fs::create_dir_all(folder.path().join(name))?;
        }
        for name in BORROWED {
            if Path::new("/etc").join(name).exists() {
                fs::copy(Path::new("/etc").join(name), folder.path().join("etc").join(name))?;
            }
        }
        let machine = Self { folder, product: product.into(), sockets: Vec::new(), start: String::new() };
        machine.config("")?;
        Ok(machine)
    }

    /// Writes the product's configuration: more keys of `[safety]`, then other tables. A machine made this very moment may be
    /// cleaned.
    pub fn config(&self, text: &str) -> Result<()> {
        self.write("/etc/nuke-images/config.toml", &format!("[safety]\nmin_uptime = \"0s\"\n{text}"))
    }

    /// Writes a file of the machine, with the folders it needs.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path)?;
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Writes a program of the machine.
    pub fn program(&self, path: &str, text: &str) -> Result<()> {
        self.write(path, text)?;
        Ok(fs::set_permissions(self.path(path)?, Permissions::from_mode(0o755))?)
    }

    /// Reads a file of the machine; one that isn't there is empty.
    pub fn read(&self, path: &str) -> Result<String> {
        match fs::read_to_string(self.path(path)?) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.with_context(|| format!("read {path}")),
        }
    }

    /// Where a file of the machine really is.
    pub fn path(&self, path: &str) -> Result<PathBuf> {
        for (folder, name) in FOLDERS.into_iter().chain([SNAP]) {
            if let Some(rest) = path.strip_prefix(folder) {
                return Ok(self.folder.path().join(name).join(rest.trim_start_matches('/')));
            }
        }
        bail!("{path} is not the test's")
    }

    /// Listens on a socket for as long as the machine is there; nobody ever answers.
    pub fn listen(&mut self, socket: &str) -> Result<()> {
        let path = self.path(socket)?;
        fs::create_dir_all(path.parent().context("a socket is in a folder")?)?;
        self.sockets.push(UnixListener::bind(&path).with_context(|| format!("listen on {socket}"))?);
        Ok(())
    }

    /// Lets a process by the name of `kubelet` run with these arguments while the product does.
    pub fn kubelet(&mut self, arguments: &[&str]) -> Result<()> {
        self.process("kubelet", arguments)
    }

    /// The same by another name.
    pub fn process(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let program = format!("/usr/local/bin/{name}");
        self.program(&program, "#!/bin/sh\nwhile :; do sleep 60; done\n")?;
        let quoted = arguments.iter().fold(String::new(), |line, argument| line + " '" + argument + "'");
        writeln!(self.start, "{program}{quoted} >/dev/null 2>&1 &")?;
        writeln!(self.start, r#"until [ "$(cat /proc/$!/comm)" = {name} ]; do :; done"#)?;
        Ok(())
    }

    /// Runs the product, with no terminal, to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Run> {
        self.start(arguments)?.wait()
    }

    /// Runs the product until `file` is there, then sends it a signal such as `TERM` and waits for its end.
    pub fn run_until(&self, file: &str, signal: &str, arguments: &[&str]) -> Result<Run> {
        let process = self.start(arguments)?;
        let file = self.path(file)?;
        wait_for("the product to come so far", || Ok(file.exists().then_some(())))?;
        process.signal(signal)?;
        process.wait()
    }

    fn start(&self, arguments: &[&str]) -> Result<Process> {
        let folder = self.folder.path();
        fs::write(folder.join("start"), &self.start)?;
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", MACHINE, "machine"]).arg(folder).arg(&self.product).args(arguments);
        command.env_clear().env("PATH", PATH).stdin(Stdio::null());
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        Ok(Process { child: command.spawn().context("start the product")?, stdout, stderr })
    }
}

/// `unshare`, and below it the product.
struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    fn signal(&self, name: &str) -> Result<()> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let product = children.trim();
        let status = Command::new("kill").args(["-s", name, product]).status()?;
        if status.success() { Ok(()) } else { bail!("kill -s {name} {product}: {status}") }
    }

    fn wait(mut self) -> Result<Run> {
        let ended = wait_for("the product to end", || Ok(self.child.try_wait()?));
        let (stdout, stderr) = (fs::read_to_string(&self.stdout)?, fs::read_to_string(&self.stderr)?);
        let code = |status: ExitStatus| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Run { code: code(ended.with_context(|| format!("it wrote: {stdout}\n{stderr}"))?), stdout, stderr })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
