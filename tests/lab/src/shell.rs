//! Starting programs and waiting for things, with errors that say which program it was and what it said.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long anything may take on a busy machine before it counts as broken.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// What the program wrote to stdout; an error with what it wrote to stderr unless it exited with 0.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// Asks until there is an answer, and gives it up after a minute.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_within(DEADLINE, what, ask)
}

/// The same with another patience.
pub(crate) fn wait_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        sleep(Duration::from_millis(10));
    }
    bail!("waited {} s for {what}", patience.as_secs())
}
