//! `nuke-images`: parse, log, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use nuke_images::cli::Cli;
use nuke_images::commands::{self, Ended};
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
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Refused => ExitCode::from(1),
        Ended::Misused => ExitCode::from(2),
        Ended::SomeFailed => ExitCode::from(3),
        Ended::Locked => ExitCode::from(4),
        Ended::Interrupted => ExitCode::from(interrupt.exit_code().unwrap_or(130)),
    }
}
