//! What containerd's own configuration tells: its data folder and the image that sandboxes are made from.
//!
//! Asked of `containerd config dump` with the very program and file the daemon was started with, where these can be seen;
//! else read from the file. What can't be told is a gap. Besides, where it keeps blobs, whose times tell of pulls.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::inventory::SandboxImage;
use crate::process::{Call, CallKind, Runner, check_trusted};
use crate::reference::{Digest, Reference};
use crate::runtime::{Found, find_program};
use crate::units::Timestamp;

const DUMP_TIMEOUT: Duration = Duration::from_secs(30);

/// What the daemon is configured to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Folder of content and snapshots.
    pub root: Option<PathBuf>,
    /// Folder of what runs.
    pub state: Option<PathBuf>,
    /// Folders of snapshotters that don't keep their snapshots in the data folder.
    pub snapshots: BTreeMap<String, PathBuf>,
    /// Where containers write, if that isn't where images are.
    pub containers: Option<PathBuf>,
    /// The sandbox image and where that was read.
    pub sandbox_image: SandboxImage,
    /// What could not be told.
    pub gaps: Vec<String>,
}

impl Settings {
    /// Folder of what runs, in it one for each namespace (`core/runtime/v2`, the same from 1.6 on).
    pub fn tasks(&self) -> PathBuf {
        self.state.as_deref().unwrap_or(Path::new("/run/containerd")).join("io.containerd.runtime.v2.task")
    }
}

/// Where containerd keeps blobs, below its data folder `root`.
pub fn content_folder(root: &Path) -> PathBuf {
    root.join("io.containerd.content.v1.content")
}

/// Where containerd keeps a blob, below its data folder `root`.
pub fn blob_file(root: &Path, digest: &Digest) -> PathBuf {
    content_folder(root).join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// When the newest of these manifests came.
///
/// A repeated pull that is up to date leaves that time as it was; one that brought a new manifest doesn't.
pub fn pulled_at(root: &Path, manifests: &[Digest]) -> Option<Timestamp> {
    let time = |digest: &Digest| fs::metadata(blob_file(root, digest)).ok()?.modified().ok();
    manifests.iter().filter_map(time).max().and_then(Timestamp::of_file)
}

/// Reads the settings of the daemon that `found` names.
pub fn collect_settings(runner: &dyn Runner, found: &Found, trusted: &[PathBuf]) -> Settings {
    let daemon = found.daemon.and_then(|pid| CommandLine::of(pid).ok()).unwrap_or_default();
    let config = daemon.config.clone().unwrap_or_else(|| found.config.clone());
    let mut settings = match dump(runner, daemon.program.as_deref(), &config, trusted) {
        Ok(text) => parse(&text, "containerd config dump"),
        Err(error) => read_file(&config, &error),
    };
    settings.state = daemon.state.or(settings.state);
    settings.root = daemon.root.or(settings.root).or_else(|| Some(found.data.clone()));
    settings
}

fn read_file(config: &Path, no_dump: &anyhow::Error) -> Settings {
    let gap = |problem: String| Settings { gaps: vec![problem], ..Settings::default() };
    match fs::read_to_string(config) {
        Ok(text) => parse(&text, &config.display().to_string()),
        Err(error) => gap(format!("read containerd's configuration: {no_dump:#}; {}: {error}", config.display())),
    }
}

fn dump(runner: &dyn Runner, program: Option<&Path>, config: &Path, trusted: &[PathBuf]) -> Result<String> {
    let program = program.filter(|path| path.is_file()).map(Path::to_owned).or_else(|| find_program("containerd"));
    let program = program.context("find the program containerd")?;
    check_trusted(&program, trusted).map_err(anyhow::Error::msg)?;
    let args = [OsString::from("--config"), config.into(), "config".into(), "dump".into()].to_vec();
    let output = runner.run(&Call { program, args, kind: CallKind::Listing(DUMP_TIMEOUT) })?;
    if !output.status.success() {
        bail!("containerd config dump: {}", output.describe_failure());
    }
    Ok(output.stdout)
}

fn parse(text: &str, source: &str) -> Settings {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let gap = format!("read {source}: {}", toml::de::Error::message(&error));
            return Settings { gaps: vec![gap], ..Settings::default() };
        }
    };
    let plugins = || table.get("plugins").and_then(Value::as_table).into_iter().flatten();
    // 1.x: plugins."io.containerd.grpc.v1.cri".sandbox_image; 2.x: plugins."io.containerd.cri.v1.images".pinned_images.sandbox.
    let names = plugins().filter_map(|(_, plugin)| {
        let old = plugin.get("sandbox_image");
        let new = plugin.get("pinned_images").and_then(|pinned| pinned.get("sandbox"));
        old.or(new).and_then(Value::as_str).filter(|name| !name.is_empty()).map(Reference::new)
    });
    let names: Vec<Reference> = names.collect();
    let path = |value: Option<&Value>| value.and_then(Value::as_str).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let folder = |key| path(table.get(key));
    let snapshots = plugins().filter_map(|(name, plugin)| {
        let name = name.strip_prefix("io.containerd.snapshotter.v1.")?;
        Some((name.to_owned(), path(plugin.get("root_path"))?))
    });
    let snapshots = snapshots.collect();
    let source = (!names.is_empty()).then(|| source.to_owned());
    let sandbox_image = SandboxImage { names, source };
    Settings { root: folder("root"), state: folder("state"), snapshots, sandbox_image, ..Settings::default() }
}

/// What the daemon was started with.
#[derive(Debug, Default, PartialEq, Eq)]
struct CommandLine {
    program: Option<PathBuf>,
    config: Option<PathBuf>,
    root: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl CommandLine {
    fn of(pid: i32) -> Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let words = fs::read(process.join("cmdline"))?;
        let text = String::from_utf8_lossy(&words).into_owned();
        let mut line = Self::parse(text.split('\0'));
        line.program = fs::read_link(process.join("exe")).ok().filter(|exe| exe.file_name().is_some_and(|name| name == "containerd"));
        Ok(line)
    }

    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let (mut line, mut words) = (Self::default(), words);
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word, None),
            };
            let place = match flag {
                "-c" | "--config" | "-config" => &mut line.config,
                "--root" | "-root" => &mut line.root,
                "--state" | "-state" => &mut line.state,
                _ => continue,
            };
            *place = value.or_else(|| words.next()).filter(|path| path.starts_with('/')).map(PathBuf::from);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sandbox_image_of_both_generations() {
        let old = "version = 2\nroot = \"/var/lib/containerd\"\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.8\"\n";
        let new = "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'registry.k8s.io/pause:3.10'\n";
        let settings = parse(old, "x");
        assert_eq!(settings.sandbox_image.names, [Reference::new("registry.k8s.io/pause:3.8")]);
        assert_eq!(settings.root.as_deref(), Some(Path::new("/var/lib/containerd")));
        assert_eq!(parse(new, "x").sandbox_image.names, [Reference::new("registry.k8s.io/pause:3.10")]);
    }

    #[test]
    fn a_configuration_that_says_nothing_names_nothing() {
        let settings = parse("version = 2\n", "x");
        assert_eq!(settings.sandbox_image, SandboxImage::default());
        assert!(settings.gaps.is_empty());
        assert_eq!(parse("version = [", "x").gaps.len(), 1);
    }

    #[test]
    fn reads_where_a_snapshotter_keeps_its_snapshots() {
        let text = "[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\nroot_path = \"/fast\"\n[plugins.\"io.containerd.snapshotter.v1.native\"]\nroot_path = \"\"\n";
        assert_eq!(parse(text, "x").snapshots, BTreeMap::from([("overlayfs".to_owned(), "/fast".into())]));
    }

    #[test]
    fn reads_the_daemons_command_line() {
        let words = ["/usr/bin/containerd", "-c", "/etc/c.toml", "--root=/data", "--state", "/run/x", ""];
        let line = CommandLine::parse(words.into_iter());
        assert_eq!(line.config.as_deref(), Some(Path::new("/etc/c.toml")));
        assert_eq!(line.root.as_deref(), Some(Path::new("/data")));
        assert_eq!(line.state.as_deref(), Some(Path::new("/run/x")));
    }
}
