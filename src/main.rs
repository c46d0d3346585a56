//! `nuke-images`: parse, log, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use nuke_images::cli::Cli;
use nuke_images::commands;
use nuke_images::signals::Interrupt;
use nuke_images::{journal, logging};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            logging::say(&format!("error: listen for signals: {error}"));
            return ExitCode::from(1);
        }
    };
    let surroundings = logging::start(&cli.options);
    let ended = commands::run(&cli, surroundings, &interrupt).unwrap_or_else(|error| {
        let (ended, hint) = commands::explain(&error, &interrupt);
        if surroundings.in_journal {
            journal::log_failure(&error, hint);
        } else {
            logging::say(&format!("error: {error:#}"));
            if let Some(hint) = hint {
                logging::say(&format!("hint: {hint}"));
            }
        }
        ended
    });
    ExitCode::from(ended.exit_code(&interrupt))
}
