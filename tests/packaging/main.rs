//! What a release consists of, from outside: the binary that stands alone, the packages, the image, the sums.
//!
//! Everything is made once, by `packaging/release`, into `target/packaging`: for `x86_64` what runs always, for both
//! architectures and a second time elsewhere what is slow.

mod binary;
mod booted;
mod deb;
mod image;
mod kubernetes;
mod release;
mod root;
mod rpm;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use lab::output;

/// The top of the project.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that stays, for what is costly to make.
fn kept(name: &str) -> Result<PathBuf> {
    let folder = project().join("target/packaging").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// The release for `x86_64` alone, made by whoever asks first.
fn release() -> Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make(project(), &["--only", "x86_64"], kept("x86_64")).map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// The whole release.
fn whole_release() -> Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    // One after another: the two would only wait for each other's compiler.
    let made = MADE.get_or_init(|| release().and_then(|_| make(project(), &[], kept("whole"))).map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn make(project: &Path, arguments: &[&str], folder: Result<PathBuf>) -> Result<PathBuf> {
    let folder = folder?;
    let mut release = program(project.join("packaging/release"));
    output(release.args(arguments).arg(&folder).env("SOURCE_DATE_EPOCH", "1795000000"))?;
    Ok(folder)
}

#[expect(clippy::disallowed_methods, reason = "a test, and its one place that starts programs")]
fn program(path: impl AsRef<OsStr>) -> Command {
    Command::new(path)
}

/// What a shell script prints; an error unless it exits with 0. Its arguments are `$1` and so on.
fn sh(script: &str, arguments: &[&Path]) -> Result<String> {
    output(program("sh").args(["-euc", script, "sh"]).args(arguments))
}

/// What that program prints.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    output(crate::program(program).args(arguments))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

fn same_bytes(one: &Path, other: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    ensure!(read(one)? == read(other)?, "{} and {} differ", one.display(), other.display());
    Ok(())
}
