//! What doctor goes by and no run does: units, versions of programs, folders for metrics.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Units;
use crate::metrics::Metrics;
use crate::process::{Call, CallKind, Program, Runner, check_trusted};
use crate::runtime::find_program;
use crate::units::printable;

/// Longest wait for any of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The product's units; `None` where systemd doesn't run (`sd_booted(3)`) or doesn't answer.
pub fn units(runner: &dyn Runner) -> Option<Units> {
    let path = find_program("systemctl").filter(|path| check_trusted(path, &[]).is_ok())?;
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let names = ["nuke-images.timer", "nuke-images-observe.timer", "nuke-images.service"];
    let args = ["show", Units::PROPERTIES].into_iter().chain(names).map(Into::into).collect();
    let output = runner.run(&Call { program: path, args, kind: CallKind::Listing(PATIENCE) }).ok()?;
    output.status.success().then(|| Units::parse(&output.stdout))
}

/// What a program says of its version, in its own words.
pub fn version(runner: &dyn Runner, program: &Program) -> Option<String> {
    let output = runner.run(&Call::of(program, ["--version".into()], CallKind::Listing(PATIENCE))).ok()?;
    let line = output.stdout.lines().next().filter(|_| output.status.success())?;
    Some(printable(line.trim())).filter(|line| !line.is_empty())
}

/// Folders that metrics go to: whether each is there, and whether it is somebody else's than root's.
pub fn metrics(wanted: &Metrics) -> Vec<(PathBuf, bool, bool)> {
    let about = |folder: PathBuf| {
        let owner = fs::metadata(&folder).ok().filter(fs::Metadata::is_dir).map(|metadata| metadata.uid());
        (folder, owner.is_some(), owner.is_some_and(|owner| owner != 0))
    };
    wanted.folders(Path::new("/")).into_iter().map(about).collect()
}
