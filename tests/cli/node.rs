//! A machine whose containerd is a folder of listings: the product runs in a mount namespace of its own, where `/etc`,
//! `/var/lib`, `/run` and what the kernel lets be written are folders of the test, and its `ctr` is the script beside this
//! file.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

pub const PRODUCT: &str = env!("CARGO_BIN_EXE_nuke-images");
/// How long anything may take on a busy machine before it counts as broken; longer than the product's own patience.
const DEADLINE: Duration = Duration::from_mins(3);
/// Makes the machine, then becomes the program. What could change the test's own machine is covered first.
const MACHINE: &str = r#"
set -e
node=$1; shift
mount --bind "$node/vm" /proc/sys/vm
mount --bind "$node/cgroup" /sys/fs/cgroup
mount --bind "$node/meminfo" /proc/meminfo
mount --bind "$node/lib" /var/lib
mount --bind "$node/run" /run
mount --bind "$node/etc" /etc
. "$node/surroundings"
exec "$@"
"#;
/// Half of 16 GiB is available.
const MEMINFO: &str = "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: 8388608 kB\nBuffers: 0 kB\nCached: 12582912 kB\n";

/// An image of the machine's, with tag, digest and bare ID.
#[derive(Clone, Copy)]
pub struct Image {
    pub tag: &'static str,
    /// A hexadecimal digit that no other image has.
    digit: char,
}

pub const USED: Image = Image { tag: "registry.example.com/used:1", digit: '1' };
pub const A: Image = Image { tag: "registry.example.com/a:1", digit: '2' };
pub const B: Image = Image { tag: "registry.example.com/b:1", digit: '3' };
const ALL: [Image; 3] = [USED, A, B];
const CONTAINER: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const SANDBOX: &str = "5a4db0c55a4db0c55a4db0c55a4db0c55a4db0c55a4db0c55a4db0c55a4db0c5";

impl Image {
    fn hash(self, kind: char) -> String {
        format!("sha256:{}", format!("{kind}{}", self.digit).repeat(32))
    }

    pub fn id(self) -> String {
        self.hash('c')
    }

    pub fn references(self) -> [String; 3] {
        let repository = self.tag.trim_end_matches(":1");
        [self.id(), format!("{repository}@{}", self.hash('a')), self.tag.to_owned()]
    }

    fn records(self) -> String {
        self.references().map(|name| format!("{name} {}\n", self.hash('a'))).concat()
    }

    fn content(self) -> String {
        let path = self.tag.trim_start_matches("registry.example.com/").trim_end_matches(":1");
        let labels =
            format!("containerd.io/distribution.source.registry.example.com={path},containerd.io/gc.ref.content.config={}", self.id());
        let config = format!("containerd.io/gc.ref.snapshot.overlayfs={}", self.hash('e'));
        format!("{}\t700B\t1 day\t{labels}\n{}\t500B\t1 day\t{config}\n", self.hash('a'), self.id())
    }
}

pub struct Node {
    folder: TempDir,
    _daemon: UnixListener,
}

impl Node {
    /// One image in use by a container and a sandbox, two that nothing needs, all pulled a day ago.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let daemon = UnixListener::bind(folder.path().join("sock")).expect("a socket");
        let node = Self { folder, _daemon: daemon };
        for name in ["lib/containerd", "run", "etc"] {
            fs::create_dir_all(node.path(name)).expect("folder");
        }
        let layer = |key: &str, parent: &str, kind: &str| format!("{key} {parent} {kind}\n");
        let layers = ALL.map(|image| layer(&image.hash('e'), "", "Committed")).concat();
        let writable = [CONTAINER, SANDBOX].map(|id| layer(id, &USED.hash('e'), "Active")).concat();
        node.write("version", "Client:\n  Version: 1.7.24\n\nServer:\n  Version: 1.7.24\n");
        node.write("records", &ALL.map(Image::records).concat());
        node.write("content ls", &format!("DIGEST\tSIZE\tAGE\tLABELS\n{}", ALL.map(Image::content).concat()));
        node.write("containers ls", &format!("CONTAINER IMAGE RUNTIME\n{CONTAINER} {0} runc\n{SANDBOX} {0} runc\n", USED.tag));
        node.write("containers ls -q", &format!("{SANDBOX}\n"));
        node.write("snapshots ls", &format!("KEY PARENT KIND\n{layers}{writable}"));
        node.write("vm/drop_caches", "");
        node.write("meminfo", MEMINFO);
        node.write("cgroup/cgroup.controllers", "memory\n");
        for cgroup in ["kubepods.slice", "kubelet.slice"] {
            node.write(&format!("cgroup/{cgroup}/memory.reclaim"), "");
            node.write(&format!("cgroup/{cgroup}/memory.current"), "1073741824\n");
        }
        node.write("surroundings", "");
        node.write("behaviour", "");
        node.write("calls", "");
        for image in ALL {
            node.store(&image.hash('a'));
        }
        node.configure("");
        node
    }

    fn store(&self, digest: &str) {
        let file = format!("lib/containerd/io.containerd.content.v1.content/blobs/{}", digest.replace(':', "/"));
        self.write(&file, "{}");
        #[expect(clippy::disallowed_methods, reason = "a day ago is said by the clock")]
        let day_ago = SystemTime::now() - Duration::from_hours(24);
        File::options().write(true).open(self.path(&file)).and_then(|file| file.set_modified(day_ago)).expect("set the time");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, text).expect("write");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes the configuration: what leads to the fake, and `more`.
    pub fn configure(&self, more: &str) {
        let programs = format!("{}/tests/cli", env!("CARGO_MANIFEST_DIR"));
        let endpoint = format!("unix://{}", self.path("sock").display());
        let runtime = format!("endpoint = {endpoint:?}\nctr = \"{programs}/ctr\"\ntrusted_dirs = [{programs:?}]");
        self.write("config.toml", &format!("[safety]\nmin_uptime = \"0s\"\n[runtime]\n{runtime}\n{more}"));
    }

    /// What the fake does besides answering: shell, with `$command` and its arguments.
    pub fn behaves(&self, script: &str) {
        self.write("behaviour", &format!("{script}\n"));
    }

    /// The same at one command only.
    pub fn behaves_at(&self, command: &str, script: &str) {
        self.behaves(&format!("if [ \"$command\" = '{command}' ]; then {script}\nfi"));
    }

    /// What the fake was asked, command and arguments.
    pub fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(ToOwned::to_owned).collect()
    }

    pub fn removals(&self) -> Vec<String> {
        let calls = self.calls();
        assert!(calls.iter().all(|call| !call.starts_with("unknown:")), "{calls:?}");
        calls.into_iter().filter(|call| call.starts_with("images rm:")).collect()
    }

    pub fn holds(&self, image: Image) -> bool {
        let records = self.read("records");
        image.references().iter().any(|name| records.contains(&format!("{name} ")))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&[&[PRODUCT], arguments].concat())
    }

    /// A program on this machine.
    pub fn command_of(&self, words: &[&str]) -> Command {
        let mut command = program("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", MACHINE, "machine"]).arg(self.folder.path()).args(words);
        command
    }

    fn configured(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.arg("--config").arg(self.path("config.toml"));
        command
    }

    /// Runs the product with this machine's configuration.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.configured(arguments).output())
    }

    /// Starts it.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running(Some(self.configured(arguments).spawn().expect("start the product")))
    }

    /// Waits until a file of this name is there.
    pub fn wait_for(&self, name: &str) {
        eventually(name, || self.path(name).exists());
    }

    /// Lets everybody look into the folder.
    pub fn open(&self) {
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).expect("set the mode");
    }
}

/// A program with nothing in its environment but a path, and no input.
pub fn program(name: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test starts the product")]
    let mut command = Command::new(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the product where it needs no machine.
pub fn product(arguments: &[&str]) -> Run {
    Run::of(program(PRODUCT).args(arguments).output())
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited too long for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// The product while it runs; it does not outlive its test.
pub struct Running(Option<Child>);

impl Running {
    pub fn signal(&self, name: &str) {
        let pid = self.0.as_ref().expect("it runs").id().to_string();
        assert!(program("kill").args(["-s", name, &pid]).status().expect("kill").success());
    }

    pub fn runs(&mut self) -> bool {
        self.0.as_mut().expect("a child").try_wait().expect("a status").is_none()
    }

    pub fn wait(mut self) -> Run {
        Run::of(self.0.take().expect("it runs").wait_with_output())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: std::io::Result<Output>) -> Self {
        let output = output.expect("start it");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default());
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// This run, if it ended with that code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// This run, if it said these things on stderr.
    pub fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        }
        self
    }

    /// The line that begins with `error:`.
    pub fn error(&self) -> &str {
        self.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error in {:?}", self.stderr))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Outcome and error of an image.
    pub fn outcome(&self, image: Image) -> (String, String) {
        let json = self.json();
        let images = json["images"].as_array().expect("images");
        let found = images.iter().find(|found| found["id"] == image.id()).expect("this image");
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("error"))
    }
}
