//! A Debian of its own, for packages to be put on and taken off: a folder, no more. systemd is in it and isn't running.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use lab::output;
use tempfile::TempDir;

use crate::{kept, program, project, run, sh, text};

const TIMERS: [&str; 2] = ["nuke-images.timer", "nuke-images-observe.timer"];
/// What a person leaves behind who uses the tool.
const TRACES: [&str; 3] = ["/var/lib/nuke-images/state.json", "/etc/nuke-images/config.d/own.toml", "/etc/nuke-images/disabled"];
/// Notes what it is told to do; what is about links the real one does, offline.
const RECORDING_SYSTEMCTL: &str = "#!/bin/sh
case \" $* \" in
  *\" is-enabled \"* | *\" enable \"* | *\" disable \"* | *\" preset \"*) exec /usr/bin/systemctl.real --root=/ \"$@\" ;;
  *\" is-active \"*) exit 3 ;;
esac
echo \"$*\" >>/calls
";

pub struct Root(TempDir);

impl Root {
    /// A copy of the one that is made once.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        sh("tar -C \"$2\" -xf \"$1\"", &[&archive()?, folder.path()])?;
        Ok(Self(folder))
    }

    /// From now on systemd seems to run, and what it is told is noted.
    pub fn live(self) -> Result<Self> {
        fs::create_dir_all(self.path("/run/systemd/system"))?;
        let systemctl = self.path("/usr/bin/systemctl");
        fs::rename(&systemctl, self.path("/usr/bin/systemctl.real"))?;
        fs::write(&systemctl, RECORDING_SYSTEMCTL)?;
        sh("chmod 755 \"$1\"", &[&systemctl])?;
        Ok(self)
    }

    /// What systemd was told since the last time this was asked.
    pub fn calls(&self) -> Result<String> {
        let path = self.path("/calls");
        let calls = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, "")?;
        Ok(calls)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs it inside.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        let mut chroot = program("chroot");
        chroot.arg(self.folder()).args(command).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        output(chroot.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
    }

    /// Those of our timers that start with the node.
    pub fn enabled(&self) -> Vec<&'static str> {
        let is_enabled = |timer: &&str| self.path(&format!("/etc/systemd/system/timers.target.wants/{timer}")).is_symlink();
        TIMERS.into_iter().filter(is_enabled).collect()
    }

    pub fn assert_both_enabled(&self) -> Result<()> {
        ensure!(self.enabled() == TIMERS, "enabled: {:?}", self.enabled());
        Ok(())
    }

    /// The binary is there and reads the configuration that came with it.
    pub fn assert_works(&self) -> Result<()> {
        let config = self.run(&["/usr/bin/nuke-images", "config"])?;
        ensure!(config.contains("min_age = \"1h\""), "{config}");
        Ok(())
    }

    pub fn leave_traces(&self) -> Result<()> {
        for trace in TRACES {
            let path = self.path(trace);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, "")?;
        }
        Ok(())
    }

    pub fn traces(&self) -> usize {
        TRACES.into_iter().filter(|trace| self.path(trace).exists()).count()
    }

    /// Whatever has our name, anywhere but in the package manager's own books.
    pub fn ours(&self) -> Result<String> {
        sh(
            "cd \"$1\" && find . -path ./var/lib/dpkg -prune -o -path ./var/lib/rpm -prune -o -name '*nuke-images*' -print",
            &[self.folder()],
        )
    }
}

fn archive() -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| debootstrap().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow::anyhow!("{error}"))
}

fn debootstrap() -> Result<PathBuf> {
    let archive = kept("root")?.join("bookworm.tar");
    if !archive.exists() {
        let mirror = output(&mut program(project().join("packaging/debian-mirror")))?;
        let part = archive.with_extension("part.tar");
        let options = ["--quiet", "--variant=minbase", "--include=systemd", "--format=tar", "bookworm", text(&part)?, mirror.trim()];
        run("mmdebstrap", &options)?;
        fs::rename(part, &archive)?;
    }
    Ok(archive)
}
