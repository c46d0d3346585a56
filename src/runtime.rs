//! Which runtime, socket, programs and data folder this node has: the table of distributions, and how one row is chosen.
//!
//! Programs are looked up in fixed folders, never through the caller's `PATH`, and started by absolute path.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::process::check_trusted;
use crate::units::Timestamp;

pub mod containerd;
pub mod content;
pub mod ctr;

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

/// How one kind of node runs containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distribution {
    name: &'static str,
    socket: &'static str,
    /// Programs that are or contain `ctr`, with the word that makes them so.
    ctr: &'static [(&'static str, Option<&'static str>)],
    config: &'static str,
    data: &'static str,
}

/// Two rows may share a socket; the one whose data folder exists is meant.
const DISTRIBUTIONS: [Distribution; 5] = [
    Distribution {
        name: "containerd",
        socket: "/run/containerd/containerd.sock",
        ctr: &[("ctr", None)],
        config: "/etc/containerd/config.toml",
        data: "/var/lib/containerd",
    },
    Distribution {
        name: "k3s",
        socket: "/run/k3s/containerd/containerd.sock",
        ctr: &[("k3s", Some("ctr")), ("ctr", None)],
        config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        data: "/var/lib/rancher/k3s/agent/containerd",
    },
    Distribution {
        name: "RKE2",
        socket: "/run/k3s/containerd/containerd.sock",
        ctr: &[("ctr", None)],
        config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        data: "/var/lib/rancher/rke2/agent/containerd",
    },
    Distribution {
        name: "microk8s",
        socket: "/var/snap/microk8s/common/run/containerd.sock",
        ctr: &[("microk8s.ctr", None), ("ctr", None)],
        config: "/var/snap/microk8s/current/args/containerd.toml",
        data: "/var/snap/microk8s/common/var/lib/containerd",
    },
    Distribution {
        name: "k0s",
        socket: "/run/k0s/containerd.sock",
        ctr: &[("k0s", Some("ctr")), ("ctr", None)],
        config: "/etc/k0s/containerd.toml",
        data: "/var/lib/k0s/containerd",
    },
];

/// A runtime that answers, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its socket.
    pub socket: PathBuf,
    /// The `ctr` to use.
    pub ctr: PathBuf,
    /// What comes before `ctr`'s own arguments, as in `k3s ctr`.
    pub prefix: Vec<OsString>,
    /// Where its configuration is unless the daemon says otherwise.
    pub config: PathBuf,
    /// Where its data is unless the daemon says otherwise.
    pub data: PathBuf,
    /// The daemon's process, where it can be seen.
    pub daemon: Option<i32>,
    /// When it made its socket.
    pub started_at: Option<Timestamp>,
}

/// What the configuration says about the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `unix:///path` or a path.
    pub endpoint: Option<String>,
    /// Absolute path of `ctr`.
    pub ctr: Option<PathBuf>,
    /// Folders whose programs are trusted whoever may write there.
    pub trusted_dirs: Vec<PathBuf>,
}

/// Finds the runtime that is meant and the programs to reach it.
pub fn find(wanted: &Wanted) -> Result<Found> {
    let distribution = match &wanted.endpoint {
        Some(endpoint) => at_endpoint(endpoint)?,
        None => the_only_one_that_answers()?,
    };
    let socket = match &wanted.endpoint {
        Some(endpoint) => socket_path(endpoint)?,
        None => distribution.socket.into(),
    };
    let stream = UnixStream::connect(&socket).with_context(|| format!("connect to {}", socket.display()))?;
    let daemon = getsockopt(&stream.as_fd(), PeerCredentials).ok().map(|peer| peer.pid()).filter(|&pid| pid > 0);
    let (ctr, prefix) = match &wanted.ctr {
        Some(path) => (path.clone(), prefix_of(path)),
        None => find_ctr(distribution)?,
    };
    if let Err(reason) = check_trusted(&ctr, &wanted.trusted_dirs) {
        bail!(
            "refuse to start {} as root: {reason} (if that is as it should be, name the folder in trusted_dirs in [runtime])",
            ctr.display()
        );
    }
    Ok(Found {
        started_at: made_at(&socket),
        config: distribution.config.into(),
        data: distribution.data.into(),
        socket,
        ctr,
        prefix,
        daemon,
    })
}

/// The row of the table for a socket that the user named; an unknown one is taken for a plain containerd.
fn at_endpoint(endpoint: &str) -> Result<&'static Distribution> {
    let path = socket_path(endpoint)?;
    let mut rows = DISTRIBUTIONS.iter().filter(|row| Path::new(row.socket) == path);
    let first = rows.next().unwrap_or(&DISTRIBUTIONS[0]);
    Ok(rows.find(|row| Path::new(row.data).is_dir() && !Path::new(first.data).is_dir()).unwrap_or(first))
}

fn socket_path(endpoint: &str) -> Result<PathBuf> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        bail!("the endpoint {endpoint} is no unix socket; expected unix:///run/containerd/containerd.sock or the like");
    }
    Ok(path.into())
}

fn the_only_one_that_answers() -> Result<&'static Distribution> {
    let mut sockets: Vec<&str> = DISTRIBUTIONS.iter().map(|row| row.socket).collect();
    sockets.dedup();
    let answers = |socket: &&str| UnixStream::connect(socket).is_ok();
    let answering: Vec<&str> = sockets.iter().copied().filter(answers).collect();
    match answering[..] {
        [] => bail!("no runtime answers on {} (name its socket with --runtime-endpoint)", sockets.join(", ")),
        [socket] => at_endpoint(socket),
        _ => bail!(
            "more than one runtime answers, and nothing tells which one the kubelet uses: {} (name it with --runtime-endpoint)",
            answering.join(", ")
        ),
    }
}

fn find_ctr(distribution: &Distribution) -> Result<(PathBuf, Vec<OsString>)> {
    for (program, _) in distribution.ctr {
        if let Some(path) = find_program(program) {
            let prefix = prefix_of(&path);
            return Ok((path, prefix));
        }
    }
    let names: Vec<&str> = distribution.ctr.iter().map(|(program, _)| *program).collect();
    bail!("no {} for {} in {} (name it as ctr in [runtime])", names.join(" or "), distribution.name, FOLDERS.join(", "))
}

/// A program in the fixed folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// `k3s` and `k0s` are many programs in one; the first argument says which.
fn prefix_of(program: &Path) -> Vec<OsString> {
    let name = program.file_name().unwrap_or_default();
    let words = DISTRIBUTIONS.iter().flat_map(|row| row.ctr);
    words.filter(|(own, _)| name == *own).find_map(|(_, word)| *word).map(OsString::from).into_iter().collect()
}

fn made_at(socket: &Path) -> Option<Timestamp> {
    let changed = socket.metadata().ok()?.ctime();
    u64::try_from(changed).ok().map(Timestamp::from_unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multi_call_program_is_told_to_be_ctr() {
        assert_eq!(prefix_of(Path::new("/usr/local/bin/k3s")), ["ctr"]);
        assert_eq!(prefix_of(Path::new("/opt/bin/k0s")), ["ctr"]);
        assert!(prefix_of(Path::new("/usr/bin/ctr")).is_empty());
        assert!(prefix_of(Path::new("/snap/bin/microk8s.ctr")).is_empty());
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
    fn an_unknown_socket_is_taken_for_a_plain_containerd() {
        assert_eq!(at_endpoint("unix:///srv/own.sock").expect("row").name, "containerd");
        assert_eq!(at_endpoint("unix:///run/k0s/containerd.sock").expect("row").name, "k0s");
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_an_error_that_names_it() {
        let wanted = Wanted { endpoint: Some("unix:///nonexistent/x.sock".into()), ..Wanted::default() };
        let error = format!("{:#}", find(&wanted).expect_err("nobody"));
        assert!(error.contains("connect to /nonexistent/x.sock"), "{error}");
    }
}
