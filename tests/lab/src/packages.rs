//! Where the programs of the lab are: unpacked or built by `get-containerd` into `target/lab`, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::output;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder with containerd and ctr of that version.
pub fn containerd(version: &str) -> Result<PathBuf> {
    Ok(fetched(version)?.join(format!("containerd-{version}/usr/bin")))
}

/// The folder with runc, one for all versions of containerd.
pub fn runc(version: &str) -> Result<PathBuf> {
    Ok(fetched(version)?.join("runc/usr/sbin"))
}

/// Debian's docker-registry.
pub fn registry() -> Result<PathBuf> {
    Ok(fetched("registry")?.join("registry/usr/bin/docker-registry"))
}

/// What renders the manifests for Kubernetes.
pub fn kustomize() -> Result<PathBuf> {
    Ok(fetched("kustomize")?.join("kustomize/usr/bin/kustomize"))
}

/// The folders with prometheus and promtool, and with `node_exporter`.
pub fn prometheus() -> Result<[PathBuf; 2]> {
    let folder = fetched("prometheus")?;
    Ok([folder.join("prometheus/usr/bin"), folder.join("node-exporter/usr/bin")])
}

/// The program inside the test images, see `tool.c`.
pub fn tool() -> Result<PathBuf> {
    Ok(fetched("tool")?.join("tool"))
}

/// The unpacked system of that suite: systemd, containerd and what they need.
pub fn system(suite: &str) -> Result<PathBuf> {
    Ok(fetched(suite)?.join(format!("box-{suite}")))
}

/// The program named in `CRICTL`, or else the tests' own.
pub fn crictl() -> Result<PathBuf> {
    match std::env::var_os("CRICTL").map(PathBuf::from) {
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => bail!("CRICTL is no absolute path: {}", path.display()),
        None => own_crictl(),
    }
}

/// The tests' own CRI client, whatever `CRICTL` says.
pub fn own_crictl() -> Result<PathBuf> {
    Ok(fetched("crictl")?.join("crictl"))
}

fn fetched(what: &str) -> Result<PathBuf> {
    let folder = Path::new(HERE).join("../../target/lab");
    output(Command::new(Path::new(HERE).join("get-containerd")).arg(what).arg(&folder))
        .with_context(|| format!("fetch {what} for the lab"))?;
    folder.canonicalize().context("find the lab's packages")
}
