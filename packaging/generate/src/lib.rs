//! What a release makes from the command line and the dependencies of nuke-images: man page, completions, bill of materials.
//!
//! Man page and completions are committed under `packaging/`, where `nuke-images install` takes them from; a test compares
//! them with what clap makes now.

pub mod man;
pub mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use nuke_images::cli::Cli;

const NAME: &str = "nuke-images";

/// The committed files, below the top of the project, with what they must hold.
pub fn files() -> Vec<(PathBuf, String)> {
    let completions = Path::new("packaging/completions");
    vec![
        ("packaging/man/nuke-images.1".into(), man::page(Cli::command())),
        (completions.join("nuke-images.bash"), completion(Shell::Bash)),
        (completions.join("_nuke-images"), completion(Shell::Zsh)),
        (completions.join("nuke-images.fish"), completion(Shell::Fish)),
    ]
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The top of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes the committed files anew.
pub fn write() -> Result<()> {
    for (file, text) in files() {
        let path = root().join(file);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
