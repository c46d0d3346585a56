//! What was and what is, without a change: the last runs, and whether this node can do what is configured.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::unistd::geteuid;

use super::{Ended, Session, flags, now, read_state, write_json, write_out};
use crate::cli::{Cli, Format};
use crate::collect::host_name;
use crate::config::{self, Config};
use crate::doctor::{self, Facts, Programs, Seen, findings};
use crate::logging::Surroundings;
use crate::output::doctor::{Diagnosis, render};
use crate::output::history::{self, History};
use crate::plan::Plan;
use crate::process::{Program, SystemRunner};
use crate::signals::Interrupt;
use crate::state::State;
use crate::turn;

/// Looks at everything that a run needs, also where the configuration is wrong.
pub(super) fn doctor(cli: &Cli, surroundings: Surroundings, interrupt: &Interrupt) -> Result<Ended> {
    let (config, config_error) = match config::load(cli.options.config.as_deref(), flags(&cli.options)) {
        Ok(config) => (config, None),
        Err(error) => (config::load(Some(Path::new("/dev/null")), Vec::new())?, Some(error.to_string())),
    };
    Session { options: &cli.options, config: &config, surroundings, interrupt, started_at: now() }.doctor(&config, config_error)
}

impl Session<'_> {
    /// The last runs.
    pub(super) fn history(&self) -> Result<Ended> {
        let state = read_state(self.started_at)?;
        let history = History::new(host_name(), state.runs());
        match self.options.output {
            Format::Json => write_json(&history)?,
            Format::Text => write_out(&history::render(&history, self.started_at, self.style()))?,
        }
        Ok(Ended::Done)
    }

    fn doctor(&self, config: &Config, config_error: Option<String>) -> Result<Ended> {
        let runner = SystemRunner { interrupt: self.interrupt.clone() };
        let state = read_state(self.started_at).map_err(|error| format!("{error:#}"));
        let (node, programs) = self.examine(&runner, state.as_ref().unwrap_or(&State::default()));
        let facts = Facts {
            now: self.started_at,
            is_root: geteuid().is_root(),
            is_disabled: fs::exists(turn::DISABLED).unwrap_or(false),
            settings: &config.settings,
            config_error,
            node,
            programs,
            units: doctor::look::units(&runner),
            last_run: state.map(|state| state.runs().iter().rev().find(|run| !run.no_images).cloned()),
            metrics: doctor::look::metrics(&config.settings.metrics.textfile.0),
        };
        let diagnosis = Diagnosis::new(host_name(), findings(&facts));
        match self.options.output {
            Format::Json => write_json(&diagnosis)?,
            Format::Text => write_out(&render(&diagnosis, self.style()))?,
        }
        Ok(if diagnosis.problems > 0 { Ended::Refused } else { Ended::Done })
    }

    /// What an unattended run would see and do, and the versions of the programs that it would start.
    fn examine(&self, runner: &SystemRunner, state: &State) -> (Seen, Programs) {
        match self.look(runner, state) {
            Ok((inventory, found)) => {
                let version = |program: &Program| (program.path.clone(), doctor::look::version(runner, program));
                let programs = found.ctr.iter().chain(&found.crictl).map(version).collect();
                let mut policy = self.policy().0;
                policy.selectors.all |= policy.selectors.is_empty();
                let plan = Plan::new(&inventory, &policy);
                (Ok((inventory, plan)), programs)
            }
            Err(error) => (Err(format!("{error:#}")), Vec::new()),
        }
    }
}
