//! A containerd of our own, with runc, CRI and a registry to pull from.
//!
//! It lives in a mount and a process namespace: its disk is a file system of its own, which makes used bytes exact,
//! and when the first process of the namespace ends the kernel ends and unmounts everything else, however a test ended.
//! On the machine itself it leaves one folder and, while containers run, one cgroup; both go with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::image::{Built, at_digest, split};
use crate::registry::Registry;
use crate::shell::{output, wait_for};
use crate::{Image, Node, Stored, packages};

/// All that the lab's programs find by name: nothing of the caller's.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many images are pulled at a time, as the kubelet may.
const PULLS: usize = 4;

/// What may differ from one containerd to the next.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 1.6, 1.7 or 2.1.
    pub version: &'static str,
    /// What `sandbox_image` is in its configuration; without it containerd's own default holds.
    pub sandbox_image: Option<String>,
    /// The size of its file system in MiB.
    pub disk: u32,
    /// A file that holds its file system, such as [`make_disk`](crate::make_disk) makes, with whatever is in there by now;
    /// without it containerd's disk is memory, where waiting for the disk takes no time.
    pub disk_file: Option<PathBuf>,
    /// The size of one more file system in MiB, on which snapshots are; without it they are beside everything else.
    pub snapshots_disk: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: "1.7",
            sandbox_image: Some("registry.example.com/pause:3.9".to_owned()),
            disk: 512,
            disk_file: None,
            snapshots_disk: None,
        }
    }
}

/// Makes a file with an ext4 file system of so many MiB in it, for [`Settings::disk_file`].
pub fn make_disk(file: &Path, size: u32) -> Result<()> {
    File::create(file)?.set_len(u64::from(size) << 20)?;
    // All of it now: what is put off would be done while somebody measures.
    let whole = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    output(Command::new("mkfs.ext4").args(whole).arg(file)).map(drop)
}

/// A running containerd; it and all it has started end when this is dropped.
pub struct Containerd {
    folder: TempDir,
    disk_file: Option<PathBuf>,
    programs: PathBuf,
    namespaces: Child,
    daemons: Vec<Child>,
    registry: Registry,
    serial: AtomicUsize,
}

impl Containerd {
    /// Starts that version (1.6, 1.7, 2.1) with everything else by default.
    pub fn start(version: &'static str) -> Result<Self> {
        Self::with(&Settings { version, ..Settings::default() })
    }

    /// Starts one and waits until it can take images and containers.
    pub fn with(settings: &Settings) -> Result<Self> {
        let (programs, runc) = (packages::containerd(settings.version)?, packages::runc(settings.version)?);
        let docker_registry = packages::registry()?;
        // A short path: the name of a socket has at most 108 bytes.
        let folder = tempfile::Builder::new().prefix("nuke-lab.").rand_bytes(5).tempdir_in("/tmp")?;
        let at = folder.path();
        for name in ["disk", "fifo", "cni", "certs.d/_default", "node", "pods"] {
            fs::create_dir_all(at.join(name))?;
        }
        let namespaces = namespaces(at, settings)?;
        let enter = |program: PathBuf| entering(&namespaces, &program);

        fs::write(at.join("registry.yml"), Registry::CONFIG)?;
        let mut daemons = vec![background(enter(docker_registry).arg("serve").arg(at.join("registry.yml")), at, "registry.log")?];
        let registry = Registry::listening(&at.join("registry.log"))?;
        // Whatever an image's name says, it is pulled from there.
        let url = registry.url();
        let hosts = format!("server = \"{url}\"\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        fs::write(at.join("certs.d/_default/hosts.toml"), hosts)?;

        fs::write(at.join("config.toml"), configuration(at, &runc, settings))?;
        let path = format!("{}:{}:{PATH}", programs.display(), runc.display());
        daemons.push(background(enter(programs.join("containerd")).arg("-c").arg(at.join("config.toml")).env("PATH", path), at, "log")?);
        let disk_file = settings.disk_file.clone();
        let containerd = Self { folder, disk_file, programs, namespaces, daemons, registry, serial: AtomicUsize::new(0) };
        containerd.wait_until_ready()?;
        Ok(containerd)
    }

    /// CRI adds its own references to new images only once it listens to events; that is the last thing to come up.
    fn wait_until_ready(&self) -> Result<()> {
        let log = self.folder().join("log");
        wait_for("containerd", || {
            let log = fs::read_to_string(&log)?;
            Ok((log.contains("Start event monitor") && log.contains("successfully booted")).then_some(()))
        })
        .with_context(|| format!("containerd's log: {}", fs::read_to_string(&log).unwrap_or_default()))?;
        self.ctr(&["version"]).map(drop)
    }

    /// The machine that the product is to clean: this containerd, and nothing of the real one.
    pub fn node(&self) -> Result<Node<'_>> {
        Node::new(self)
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("containerd.sock")
    }

    /// Runs ctr in the namespace `k8s.io` and returns what it printed; anything but exit code 0 is an error.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        self.ctr_in("k8s.io", arguments)
    }

    /// The same in another namespace.
    pub fn ctr_in(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        output(&mut self.ctr_command(namespace, arguments))
    }

    /// Runs the CRI client on it and returns what it printed; anything but exit code 0 is an error.
    pub fn crictl(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.crictl_command(arguments)?)
    }

    /// The CRI client on it, to be run: for tests of what it says when it fails.
    pub fn crictl_command(&self, arguments: &[&str]) -> Result<Command> {
        Ok(self.cri_command(&packages::crictl()?, arguments))
    }

    pub(crate) fn cri_command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut crictl = entering(&self.namespaces, program);
        let endpoint = format!("unix://{}", self.socket().display());
        crictl.args(["-r", &endpoint, "-i", &endpoint, "-t", "60s"]).args(arguments);
        crictl
    }

    /// The whole configuration of the running daemon, with all defaults.
    pub(crate) fn dump(&self) -> Result<String> {
        let config = self.folder().join("config.toml");
        output(entering(&self.namespaces, &self.programs.join("containerd")).arg("-c").arg(config).args(["config", "dump"]))
    }

    /// A program of the machine, or one of [`Containerd::programs`], as it is to be run where containerd is.
    pub fn command(&self, program: &Path) -> Command {
        entering(&self.namespaces, program)
    }

    pub(crate) fn ctr_command(&self, namespace: &str, arguments: &[&str]) -> Command {
        let mut ctr = self.command(&self.programs.join("ctr"));
        ctr.arg("--address").arg(self.socket()).args(["--namespace", namespace]).args(arguments);
        ctr
    }

    /// Side-loads an image, as `ctr images import` of a tarball does: no registry is known for it.
    pub fn import(&self, image: &Image) -> Result<Stored> {
        self.import_in("k8s.io", image)
    }

    /// The same into another namespace, where CRI doesn't add its references.
    pub fn import_in(&self, namespace: &str, image: &Image) -> Result<Stored> {
        let (built, tarball) = (image.build()?, self.folder().join(format!("import-{}.tar", self.next())));
        fs::write(&tarball, built.layout(&image.names)?)?;
        let platforms: &[&str] = if image.all_platforms { &["--all-platforms"] } else { &[] };
        let path = tarball.to_str().context("name the tarball")?;
        self.ctr_in(namespace, &[&["images", "import"], platforms, &[path]].concat())?;
        fs::remove_file(&tarball)?;
        self.settled(namespace, &built, image, vec![])
    }

    /// Pulls an image as the kubelet does: from a registry, by each of its names, with `repository@digest` and the
    /// bare ID beside them.
    pub fn pull(&self, image: &Image) -> Result<Stored> {
        self.pull_in("k8s.io", image)
    }

    /// The same into another namespace, where CRI doesn't add its references.
    pub fn pull_in(&self, namespace: &str, image: &Image) -> Result<Stored> {
        let built = self.push(image)?;
        let hosts = self.folder().join("certs.d");
        let hosts = hosts.to_str().context("name the registry's configuration")?;
        let mut by_digest = vec![];
        for name in &image.names {
            let platforms: &[&str] = if image.all_platforms { &["--all-platforms"] } else { &[] };
            self.ctr_in(namespace, &[&["images", "pull", "--hosts-dir", hosts], platforms, &[name]].concat())?;
            by_digest.push(at_digest(name, &built.digest()));
        }
        by_digest.sort();
        by_digest.dedup();
        for reference in &by_digest {
            self.ctr_in(namespace, &["images", "tag", "--force", image.names[0].as_str(), reference])?;
        }
        self.settled(namespace, &built, image, by_digest)
    }

    /// Pulls an image through CRI, each of its names: all references are the runtime's own.
    pub fn cri_pull(&self, image: &Image) -> Result<Stored> {
        ensure!(!image.all_platforms, "CRI pulls this machine's platform alone");
        let built = self.push(image)?;
        let mut by_digest = BTreeSet::new();
        for name in &image.names {
            self.crictl(&["pull", name])?;
            by_digest.insert(at_digest(name, &built.digest()));
        }
        self.settled("k8s.io", &built, image, by_digest.into_iter().collect())
    }

    /// The same with many images, some at a time; what became of each is not looked at one by one.
    pub fn cri_pull_all(&self, images: &[Image]) -> Result<()> {
        thread::scope(|scope| {
            let pull = |images: &[Image]| {
                images.iter().try_for_each(|image| {
                    self.push(image)?;
                    image.names.iter().try_for_each(|name| self.crictl(&["pull", name]).map(drop))
                })
            };
            let portions = images.chunks(images.len().div_ceil(PULLS).max(1));
            let threads: Vec<_> = portions.map(|portion| scope.spawn(move || pull(portion))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that pulls"))
        })
    }

    /// Pulls an image through CRI by its digest: it gets no tag, and its first name is `repository@digest`.
    pub fn cri_pull_by_digest(&self, image: &Image) -> Result<Stored> {
        let built = self.push(image)?;
        let by_digest = at_digest(&image.names[0], &built.digest());
        self.crictl(&["pull", &by_digest])?;
        let mut untagged = image.clone();
        untagged.names = vec![by_digest];
        self.settled("k8s.io", &built, &untagged, vec![])
    }

    /// Puts an image into the registry under each of its names, and nowhere else.
    fn push(&self, image: &Image) -> Result<Built> {
        let built = image.build()?;
        for name in &image.names {
            let (repository, tag) = split(name);
            let path = repository.split_once('/').context("an image to pull has a host in its name")?.1;
            self.registry.push(&built, path, tag)?;
        }
        Ok(built)
    }

    /// Waits for what CRI adds to a new image a moment later: the bare ID, and its mark on every reference.
    fn settled(&self, namespace: &str, built: &Built, image: &Image, more: Vec<String>) -> Result<Stored> {
        let mut references = [image.names.clone(), more].concat();
        if namespace == "k8s.io" {
            references.push(built.id.clone());
            self.wait_for_cri(&references)?;
        }
        let mut stored = built.stored(&image.names, references);
        let (blobs, snapshots) = (self.blobs_in(namespace)?, self.snapshots_in(namespace)?);
        stored.blobs.retain(|blob| blobs.contains(blob));
        stored.snapshots.retain(|snapshot| snapshots.contains(snapshot));
        ensure!(!stored.blobs.is_empty() && !stored.snapshots.is_empty(), "{} is not unpacked", image.names[0]);
        Ok(stored)
    }

    /// Waits until CRI knows all these references.
    pub fn wait_for_cri(&self, references: &[String]) -> Result<()> {
        wait_for(&format!("CRI to know {references:?}"), || {
            let records = self.records_in("k8s.io")?;
            let known = |name| records.get(name).is_some_and(|record| record.labels.contains("io.cri-containerd.image=managed"));
            Ok(references.iter().all(known).then_some(()))
        })
    }

    /// Gives an image one more reference, and waits for CRI to know it.
    pub fn tag(&self, from: &str, to: &str) -> Result<()> {
        self.ctr(&["images", "tag", from, to])?;
        self.wait_for_cri(&[to.to_owned()])
    }

    /// Puts a label on a reference.
    pub fn label(&self, reference: &str, label: &str) -> Result<()> {
        self.ctr(&["images", "label", reference, label]).map(drop)
    }

    /// Makes and starts a container that runs until the lab ends.
    pub fn run(&self, reference: &str, id: &str) -> Result<()> {
        let cgroup = self.cgroup(id);
        self.ctr(&["run", "--detach", "--null-io", "--cgroup", &cgroup, reference, id]).map(drop)
    }

    /// Makes a container and doesn't start it.
    pub fn create(&self, reference: &str, id: &str) -> Result<()> {
        self.ctr(&["containers", "create", reference, id]).map(drop)
    }

    /// Makes a container that has run and ended.
    pub fn stopped(&self, reference: &str, id: &str) -> Result<()> {
        let cgroup = self.cgroup(id);
        self.ctr(&["run", "--null-io", "--cgroup", &cgroup, reference, id, "/tool", "exit", "0"]).map(drop)
    }

    /// Ends and removes a container.
    pub fn remove_container(&self, id: &str) -> Result<()> {
        if self.ctr(&["tasks", "ls", "-q"])?.lines().any(|task| task == id) {
            self.ctr(&["tasks", "rm", "--force", id])?;
        }
        self.ctr(&["containers", "rm", id]).map(drop)
    }

    /// Whether a new container can be made from it and its program runs, with what is on the node alone.
    pub fn can_run(&self, reference: &str) -> Result<bool> {
        self.can_run_in("k8s.io", reference)
    }

    /// The same in another namespace.
    pub fn can_run_in(&self, namespace: &str, reference: &str) -> Result<bool> {
        let id = format!("probe-{}", self.next());
        let cgroup = self.cgroup(&id);
        let run = ["run", "--rm", "--null-io", "--cgroup", &cgroup, reference, &id, "/tool", "exit", "42"];
        let status = self.ctr_command(namespace, &run).stdin(Stdio::null()).output()?.status;
        Ok(status.code() == Some(42))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder with containerd and ctr.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The file that names its mount namespace.
    pub(crate) fn mounts(&self) -> String {
        format!("/proc/{}/ns/mnt", self.namespaces.id())
    }

    /// A path inside its mount namespace, as it can be reached from outside.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.namespaces.id(), path.display()))
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder().join("disk")
    }

    pub(crate) fn next(&self) -> usize {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// A cgroup of the lab's own, which goes with it.
    pub(crate) fn cgroup(&self, id: &str) -> String {
        let folder = self.folder().file_name().expect("a folder under /tmp").display();
        format!("/{folder}/{id}")
    }

    /// The file of its disk is whole only when the kernel has unmounted it, which it does behind the last process.
    fn release_disk(&self) -> Result<()> {
        let Some(file) = &self.disk_file else { return Ok(()) };
        let devices = || output(Command::new("losetup").arg("--associated").arg(file));
        wait_for("the lab's disk to be unmounted", || Ok(devices()?.is_empty().then_some(())))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder().join("log")).unwrap_or_default();
            let troubles = log.lines().filter(|line| line.contains("level=error") || line.contains("level=fatal"));
            troubles.for_each(|line| eprintln!("containerd: {line}"));
        }
        // With the first process of its namespace the kernel ends all others.
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
        let cgroups = self.folder().file_name().map_or(Ok(()), remove_cgroups);
        for error in [cgroups, self.release_disk()].into_iter().filter_map(Result::err) {
            eprintln!("{error:#}");
        }
    }
}

/// Namespaces with a file system for containerd and a `/run` of its own; they end with the thread that asked for them.
fn namespaces(folder: &Path, settings: &Settings) -> Result<Child> {
    // Without a resolver no name of a registry can lead anywhere but to where `hosts.toml` sends it.
    let script = "set -e; \
                  if [ -n \"$3\" ]; then mount -o loop \"$3\" \"$1/disk\"; chmod 0711 \"$1/disk\"; \
                  else mount -t tmpfs -o size=\"$2m\",mode=0711 lab \"$1/disk\"; fi; \
                  if [ -n \"$4\" ]; then mkdir \"$1/disk/snapshots\"; mount -t tmpfs -o size=\"$4m\",mode=0711 lab \"$1/disk/snapshots\"; fi; \
                  if [ -e /etc/resolv.conf ]; then mount --bind /dev/null /etc/resolv.conf; fi; \
                  mount -t tmpfs -o mode=0755 lab /run; : >\"$1/ready\"; exec sleep infinity";
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", script, "lab"]);
    command.arg(folder).arg(settings.disk.to_string()).arg(settings.disk_file.as_deref().unwrap_or(Path::new("")));
    command.arg(settings.snapshots_disk.map_or_else(String::new, |size| size.to_string()));
    let mut child = background(&mut command, folder, "namespaces.log")?;
    let ready = wait_for("the lab's namespaces", || {
        ensure!(child.try_wait()?.is_none(), "{}", fs::read_to_string(folder.join("namespaces.log"))?);
        Ok(folder.join("ready").exists().then_some(()))
    });
    ready.map(|()| child).context("make namespaces for the lab (needs root)")
}

/// A program as seen from inside the namespaces.
fn entering(namespaces: &Child, program: &Path) -> Command {
    let of = format!("/proc/{}/ns", namespaces.id());
    let mut command = Command::new("nsenter");
    command.env_clear().env("PATH", PATH);
    command.arg(format!("--mount={of}/mnt")).arg(format!("--pid={of}/pid_for_children")).arg("--").arg(program);
    command
}

fn background(command: &mut Command, folder: &Path, log: &str) -> Result<Child> {
    let log = File::create(folder.join(log))?;
    log.set_permissions(Permissions::from_mode(0o600))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("start {command:?}"))
}

/// Removes the cgroup of that name. It can go only when the last of its processes has: they are dying when this is asked.
pub(crate) fn remove_cgroups(name: &OsStr) -> Result<()> {
    let v1 = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|controller| controller.path());
    let own: Vec<_> = v1.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(name)).collect();
    wait_for("the lab's cgroups to be empty", || {
        for folder in &own {
            remove_folders(folder);
        }
        Ok(own.iter().all(|folder| !folder.exists()).then_some(()))
    })
}

/// Removes a tree of cgroups: folders whose files the kernel owns.
fn remove_folders(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn configuration(folder: &Path, runc: &Path, settings: &Settings) -> String {
    let (at, runc) = (folder.display(), runc.display());
    let sandbox = settings.sandbox_image.as_ref();
    let snapshots = settings.snapshots_disk.map_or_else(String::new, |_| {
        format!("[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\n  root_path = \"{at}/disk/snapshots\"\n")
    });
    let common = format!(
        r#"root = "{at}/disk/root"
state = "{at}/disk/state"
disabled_plugins = ["io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{at}/containerd.sock"
[ttrpc]
  address = "{at}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{at}/disk/opt"
{snapshots}"#
    );
    if settings.version.starts_with("1.") {
        let sandbox = sandbox.map(|image| format!("  sandbox_image = \"{image}\"\n")).unwrap_or_default();
        return format!(
            r#"version = 2
{common}[plugins."io.containerd.grpc.v1.cri"]
{sandbox}  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{at}/cni"
    conf_dir = "{at}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{at}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}/runc"
"#
        );
    }
    let sandbox = sandbox
        .map(|image| format!("[plugins.\"io.containerd.cri.v1.images\".pinned_images]\n  sandbox = \"{image}\"\n"))
        .unwrap_or_default();
    format!(
        r#"version = 3
{common}{sandbox}[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{at}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_cdi = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{at}/cni"]
    conf_dir = "{at}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}/runc"
"#
    )
}
