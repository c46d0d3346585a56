//! Which runtime, socket, programs and data folder this node has: the table of distributions, and how one row is chosen.
//!
//! What the user says beats what the kubelet says, which beats what answers; two that answer without anything that tells
//! which one the kubelet uses are refused. Programs are looked up in fixed folders, never through the caller's `PATH`, and
//! started by absolute path.
//!
//! Containerd is listed and cleaned through `ctr` where there is one: it alone shows every record, every container of the
//! namespace and what each stands on, and takes names away in an order in which a cut leaves no bare ID. It is as fast as
//! `crictl` (1,500 images of three references: 7.6 s and 7.4 s, tests/bench). `crictl` beside it adds the uses and pins that
//! CRI knows, and pod names.
//! CRI-O and cri-dockerd are reached through `crictl` alone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::kubelet::Kubelet;
use crate::process::{Program, check_trusted};
use crate::units::Timestamp;

pub mod containerd;
pub mod content;
pub mod crictl;
pub mod crio;
pub mod ctr;
pub mod docker;

/// Longest wait for a socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// Folders that hold programs, in order; the last three are those of GKE's COS, RKE2 and k3s.
const FOLDERS: [&str; 11] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
    "/snap/bin",
    "/home/kubernetes/bin",
    "/var/lib/rancher/rke2/bin",
    "/var/lib/rancher/k3s/data/current/bin",
];

/// What kind of runtime; how it stores images, and what it guards by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// containerd with its CRI plugin.
    Containerd,
    /// CRI-O on containers/storage.
    CriO,
    /// Docker behind cri-dockerd.
    Docker,
}

/// How one kind of node runs its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distribution {
    name: &'static str,
    kind: Kind,
    socket: &'static str,
    /// Programs that are or contain `ctr`, with the word that makes them so.
    ctr: &'static [Word],
    /// The same for `crictl`.
    crictl: &'static [Word],
    config: &'static str,
    data: &'static str,
}

/// A program's name and the word that makes it what is wanted.
type Word = (&'static str, Option<&'static str>);

const CRICTL: &[Word] = &[("crictl", None)];

/// Two rows may share a socket; the one whose data folder exists is meant.
const DISTRIBUTIONS: [Distribution; 7] = [
    Distribution {
        name: "containerd",
        kind: Kind::Containerd,
        socket: "/run/containerd/containerd.sock",
        ctr: &[("ctr", None)],
        crictl: CRICTL,
        config: "/etc/containerd/config.toml",
        data: "/var/lib/containerd",
    },
    Distribution {
        name: "k3s",
        kind: Kind::Containerd,
        socket: "/run/k3s/containerd/containerd.sock",
        ctr: &[("k3s", Some("ctr")), ("ctr", None)],
        crictl: &[("k3s", Some("crictl")), ("crictl", None)],
        config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        data: "/var/lib/rancher/k3s/agent/containerd",
    },
    Distribution {
        name: "RKE2",
        kind: Kind::Containerd,
        socket: "/run/k3s/containerd/containerd.sock",
        ctr: &[("ctr", None)],
        crictl: CRICTL,
        config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        data: "/var/lib/rancher/rke2/agent/containerd",
    },
    Distribution {
        name: "microk8s",
        kind: Kind::Containerd,
        socket: "/var/snap/microk8s/common/run/containerd.sock",
        ctr: &[("microk8s.ctr", None), ("ctr", None)],
        crictl: CRICTL,
        config: "/var/snap/microk8s/current/args/containerd.toml",
        data: "/var/snap/microk8s/common/var/lib/containerd",
    },
    Distribution {
        name: "k0s",
        kind: Kind::Containerd,
        socket: "/run/k0s/containerd.sock",
        ctr: &[("k0s", Some("ctr")), ("ctr", None)],
        crictl: CRICTL,
        config: "/etc/k0s/containerd.toml",
        data: "/var/lib/k0s/containerd",
    },
    Distribution {
        name: "CRI-O",
        kind: Kind::CriO,
        socket: "/run/crio/crio.sock",
        ctr: &[],
        crictl: CRICTL,
        config: "/etc/crio/crio.conf",
        data: "/var/lib/containers/storage",
    },
    Distribution {
        name: "cri-dockerd",
        kind: Kind::Docker,
        socket: "/run/cri-dockerd.sock",
        ctr: &[],
        crictl: CRICTL,
        config: "/etc/docker/daemon.json",
        data: "/var/lib/docker",
    },
];

/// A runtime that answers, and how it is reached: through `ctr`, `crictl` or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its socket.
    pub socket: PathBuf,
    /// The `ctr` to use.
    pub ctr: Option<Program>,
    /// The `crictl` to use.
    pub crictl: Option<Program>,
    /// Where its configuration is unless the daemon says otherwise.
    pub config: PathBuf,
    /// Where its data is unless the daemon says otherwise.
    pub data: PathBuf,
    /// The daemon's process, where it can be seen.
    pub daemon: Option<i32>,
    /// When it made its socket.
    pub started_at: Option<Timestamp>,
}

/// Which program the configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one that is found.
    #[default]
    Find,
    /// This one, by absolute path.
    Path(PathBuf),
    /// None.
    Off,
}

/// What the configuration says about the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `unix:///path` or a path.
    pub endpoint: Option<String>,
    /// What it is, where its socket doesn't tell.
    pub kind: Option<Kind>,
    /// Which `ctr`.
    pub ctr: Choice,
    /// Which `crictl`.
    pub crictl: Choice,
    /// Folders whose programs are trusted whoever may write there.
    pub trusted_dirs: Vec<PathBuf>,
}

/// Nothing on this node is or was a runtime, and nobody names one.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRuntime(String);

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoRuntime {}

/// Finds the runtime that is meant and the programs to reach it.
pub fn find(wanted: &Wanted, kubelet: &Kubelet) -> Result<Found> {
    let socket = which_socket(wanted, kubelet)?;
    let stream = connect(&socket).with_context(|| format!("connect to {}", socket.display()))?;
    let daemon = getsockopt(&stream.as_fd(), PeerCredentials).ok().map(|peer| peer.pid()).filter(|&pid| pid > 0);
    let row = row_of(&socket, wanted.kind.or_else(|| kind_of_process(daemon?)));
    let ctr = choose("ctr", &wanted.ctr, row.ctr, &wanted.trusted_dirs)?;
    let crictl = choose("crictl", &wanted.crictl, row.crictl, &wanted.trusted_dirs)?;
    if ctr.is_none() && crictl.is_none() {
        let names: Vec<&str> = row.ctr.iter().chain(row.crictl).map(|(name, _)| *name).collect();
        let (names, folders) = (names.join(" or "), FOLDERS.join(", "));
        bail!("no program to reach {} with: no {names} in {folders} (name one as ctr or crictl in [runtime])", row.name);
    }
    Ok(Found {
        kind: row.kind,
        started_at: made_at(&socket),
        config: row.config.into(),
        data: row.data.into(),
        socket,
        ctr,
        crictl,
        daemon,
    })
}

/// A daemon that takes no more connections would keep us for ever, so somebody else waits for it.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (sender, answer) = channel();
    let path = socket.to_owned();
    thread::spawn(move || sender.send(UnixStream::connect(path)));
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("gave no answer within {} s", PATIENCE.as_secs()));
    answer.recv_timeout(PATIENCE).map_err(late)?
}

/// The user's socket, else the kubelet's, else the only one that answers.
pub fn which_socket(wanted: &Wanted, kubelet: &Kubelet) -> Result<PathBuf> {
    if let Some(endpoint) = &wanted.endpoint {
        return socket_path(endpoint);
    }
    if let Some(socket) = kubelets_socket(kubelet)? {
        return Ok(socket);
    }
    let mut sockets: Vec<&str> =
        DISTRIBUTIONS.iter().filter(|row| wanted.kind.is_none_or(|kind| kind == row.kind)).map(|row| row.socket).collect();
    sockets.dedup();
    let mut answering: Vec<&str> = sockets.iter().copied().filter(|socket| connect(Path::new(socket)).is_ok()).collect();
    // Where one path is a link to another, it is one runtime that answers twice.
    let mut seen = BTreeSet::new();
    answering.retain(|socket| seen.insert(real(Path::new(socket))));
    match answering[..] {
        [] => Err(none_answers(&sockets, wanted.kind.is_some())),
        [socket] => Ok(socket.into()),
        _ => bail!(
            "more than one runtime answers, and nothing tells which one the kubelet uses: {} (name it with --runtime-endpoint)",
            answering.join(", ")
        ),
    }
}

/// The socket that the kubelet tells; kubelets that tell different ones are no evidence.
fn kubelets_socket(kubelet: &Kubelet) -> Result<Option<PathBuf>> {
    let path =
        |(endpoint, source): &(String, String)| socket_path(endpoint).with_context(|| format!("read the runtime's endpoint from {source}"));
    let sockets = kubelet.endpoints.iter().map(path).collect::<Result<Vec<_>>>()?;
    if let Some(other) = sockets.iter().find(|socket| real(socket) != real(&sockets[0])) {
        let (one, other) = (sockets[0].display(), other.display());
        bail!("kubelets that run here use different runtimes: {one}, {other} (name the one that is meant with --runtime-endpoint)");
    }
    Ok(sockets.into_iter().next())
}

/// The socket itself where a path leads to it through a link.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A socket that nobody listens on, or a folder of images without a daemon, is a runtime that is down.
fn none_answers(sockets: &[&str], is_named: bool) -> anyhow::Error {
    let text = format!("no runtime answers on {} (name its socket with --runtime-endpoint)", sockets.join(", "));
    let was_there =
        sockets.iter().any(|socket| fs::symlink_metadata(socket).is_ok()) || DISTRIBUTIONS.iter().any(|row| Path::new(row.data).is_dir());
    if is_named || was_there { anyhow!(text) } else { NoRuntime(text).into() }
}

fn socket_path(endpoint: &str) -> Result<PathBuf> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        bail!("the endpoint {endpoint} is no unix socket; expected unix:///run/containerd/containerd.sock or the like");
    }
    Ok(path.into())
}

/// The row of the table for a socket; an unknown one is what its process or the user says, else a plain containerd.
fn row_of(socket: &Path, kind: Option<Kind>) -> &'static Distribution {
    let is_it = |row: &&Distribution| Path::new(row.socket) == socket || real(Path::new(row.socket)) == real(socket);
    let mut rows = DISTRIBUTIONS.iter().filter(is_it).filter(|row| kind.is_none_or(|kind| kind == row.kind));
    let Some(first) = rows.next() else {
        return DISTRIBUTIONS.iter().find(|row| Some(row.kind) == kind).unwrap_or(&DISTRIBUTIONS[0]);
    };
    rows.find(|row| Path::new(row.data).is_dir() && !Path::new(first.data).is_dir()).unwrap_or(first)
}

/// What listens on the socket, by the name of its process.
fn kind_of_process(pid: i32) -> Option<Kind> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Kind::of_name(name.trim_end())
}

impl Kind {
    /// By the name that a user, a process or CRI's `Version` gives it.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "containerd" => Some(Self::Containerd),
            "crio" | "cri-o" => Some(Self::CriO),
            "docker" | "cri-dockerd" => Some(Self::Docker),
            _ => None,
        }
    }

    /// As CRI's `Version` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
        }
    }
}

/// The program that is asked for or found, if root may start it.
fn choose(name: &str, choice: &Choice, words: &[Word], trusted: &[PathBuf]) -> Result<Option<Program>> {
    let path = match choice {
        Choice::Off => return Ok(None),
        Choice::Path(path) => path.clone(),
        Choice::Find => match words.iter().find_map(|(program, _)| find_program(program)) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    if let Err(reason) = check_trusted(&path, trusted) {
        bail!(
            "refuse to start {} as root: {reason} (if that is as it should be, name the folder in trusted_dirs in [runtime])",
            path.display()
        );
    }
    let prefix = prefix_of(&path, name);
    Ok(Some(Program { path, prefix }))
}

/// A program in the fixed folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// `k3s` and `k0s` are many programs in one; the first argument says which.
fn prefix_of(program: &Path, wanted: &str) -> Option<&'static str> {
    let name = program.file_name().unwrap_or_default();
    let words = DISTRIBUTIONS.iter().flat_map(|row| row.ctr.iter().chain(row.crictl));
    words.filter(|(own, _)| name == *own).find_map(|(_, word)| word.filter(|word| *word == wanted))
}

fn made_at(socket: &Path) -> Option<Timestamp> {
    let changed = socket.metadata().ok()?.ctime();
    u64::try_from(changed).ok().map(Timestamp::from_unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubelet(endpoint: &str) -> Kubelet {
        Kubelet { endpoints: vec![(endpoint.into(), "/var/lib/kubelet/config.yaml".into())], ..Kubelet::default() }
    }

    #[test]
    fn a_multi_call_program_is_told_what_to_be() {
        for (path, wanted, prefix) in [
            ("/usr/local/bin/k3s", "ctr", Some("ctr")),
            ("/usr/local/bin/k3s", "crictl", Some("crictl")),
            ("/opt/bin/k0s", "ctr", Some("ctr")),
            ("/usr/bin/ctr", "ctr", None),
            ("/usr/bin/crictl", "crictl", None),
            ("/snap/bin/microk8s.ctr", "ctr", None),
        ] {
            assert_eq!(prefix_of(Path::new(path), wanted), prefix, "{path} {wanted}");
        }
    }

    #[test]
    fn an_endpoint_is_a_unix_socket() {
        assert_eq!(socket_path("unix:///run/x.sock").expect("path"), Path::new("/run/x.sock"));
        assert_eq!(socket_path("/run/x.sock").expect("path"), Path::new("/run/x.sock"));
        for endpoint in ["tcp://127.0.0.1:1", "containerd.sock", ""] {
            let error = socket_path(endpoint).expect_err("no socket").to_string();
            assert!(error.contains("unix:///run"), "{error}");
        }
    }

    #[test]
    fn an_unknown_socket_is_what_is_said_of_it_else_a_plain_containerd() {
        for (socket, kind, name) in [
            ("/srv/own.sock", None, "containerd"),
            ("/srv/own.sock", Some(Kind::CriO), "CRI-O"),
            ("/srv/own.sock", Some(Kind::Docker), "cri-dockerd"),
            ("/run/k0s/containerd.sock", None, "k0s"),
            ("/run/k0s/containerd.sock", Some(Kind::Containerd), "k0s"),
            ("/run/crio/crio.sock", None, "CRI-O"),
            ("/run/cri-dockerd.sock", None, "cri-dockerd"),
        ] {
            assert_eq!(row_of(Path::new(socket), kind).name, name, "{socket} {kind:?}");
        }
    }

    #[test]
    fn the_users_endpoint_beats_the_kubelets_and_this_one_any_guess() {
        let wanted = Wanted { endpoint: Some("unix:///mine.sock".into()), ..Wanted::default() };
        assert_eq!(which_socket(&wanted, &kubelet("unix:///its.sock")).expect("socket"), Path::new("/mine.sock"));
        assert_eq!(which_socket(&Wanted::default(), &kubelet("/its.sock")).expect("socket"), Path::new("/its.sock"));
        let error = format!("{:#}", which_socket(&Wanted::default(), &kubelet("npipe:////./pipe/x")).expect_err("no socket"));
        assert!(error.contains("/var/lib/kubelet/config.yaml") && error.contains("npipe"), "{error}");
    }

    #[test]
    fn kubelets_that_use_different_runtimes_tell_nothing() {
        let told = |endpoints: &[&str]| {
            let endpoints = endpoints.iter().map(|endpoint| ((*endpoint).to_owned(), "the kubelet's command line".to_owned())).collect();
            which_socket(&Wanted::default(), &Kubelet { endpoints, ..Kubelet::default() })
        };
        assert_eq!(told(&["unix:///a.sock", "/a.sock"]).expect("one socket"), Path::new("/a.sock"));
        let error = told(&["unix:///a.sock", "unix:///b.sock"]).expect_err("two sockets").to_string();
        assert!(error.contains("/a.sock, /b.sock") && error.contains("--runtime-endpoint"), "{error}");
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_an_error_that_names_it() {
        let wanted = Wanted { endpoint: Some("unix:///nonexistent/x.sock".into()), ..Wanted::default() };
        let error = format!("{:#}", find(&wanted, &Kubelet::default()).expect_err("nobody"));
        assert!(error.contains("connect to /nonexistent/x.sock"), "{error}");
    }

    #[test]
    fn a_socket_that_takes_no_connection_does_not_hold_us() {
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("full.sock");
        let full = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).expect("socket");
        bind(std::os::fd::AsRawFd::as_raw_fd(&full), &UnixAddr::new(&path).expect("address")).expect("bind");
        listen(&full, Backlog::new(0).expect("backlog")).expect("listen");
        let _taken = UnixStream::connect(&path).expect("the only place");
        assert_eq!(connect(&path).expect_err("full").kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn every_kind_is_known_by_the_name_it_gives_itself() {
        for kind in [Kind::Containerd, Kind::CriO, Kind::Docker] {
            assert_eq!(Kind::of_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::of_name("rkt"), None);
    }
}
