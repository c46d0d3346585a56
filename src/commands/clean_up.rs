//! The clean-up: look, remember, plan, ask, remove, tell, and remember what became of it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Ended, Hint, LOCK, Session, crictl, explain, load_state, now, write_out};
use crate::cli::Format;
use crate::disk;
use crate::execute::crictl::CrictlStore;
use crate::execute::ctr::CtrStore;
use crate::execute::{Executor, Store};
use crate::files::RunLock;
use crate::inventory::Inventory;
use crate::journal::{log_observed_only, log_removal, log_summary, log_verdicts};
use crate::logging::say;
use crate::metrics::{self, Metrics};
use crate::output::{prometheus, text};
use crate::plan::{Plan, Refusal, Removal};
use crate::process::{Failure, SystemRunner};
use crate::report::{Execution, MemoryReport, Outcome, Report};
use crate::runtime::Found;
use crate::signals::Interrupt;
use crate::state::history::PastRun;
use crate::state::{self, State};

impl Session<'_> {
    /// One clean-up, as configured.
    pub(super) fn clean_up(&self, yes: bool) -> Result<Ended> {
        let attended = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !attended && !yes {
            return Err(Hint("pass --yes to remove, or --dry-run to look", "nobody can be asked: there is no terminal".into()).into());
        }
        let Some(_lock) = RunLock::take(Path::new(LOCK))? else {
            return Ok(self.locked());
        };
        self.remembered(&|state| self.clean_up_alone(yes, attended, state))
    }

    /// A run that is remembered however it ends; whoever calls this holds the lock.
    pub(super) fn remembered(&self, act: &dyn Fn(&mut State) -> Result<Ended>) -> Result<Ended> {
        let mut state = load_state(self.started_at);
        state.begin_run(PastRun::begun(self.started_at, self.surroundings.trigger));
        let ended = self.forgiving(act(&mut state));
        let (end, error) = match &ended {
            Ok(ended) => (ended.heeding(self.interrupt), None),
            Err(error) => (explain(error, self.interrupt).0, Some(format!("{error:#}"))),
        };
        if let Some(run) = state.current_run() {
            run.end(now(), end.exit_code(self.interrupt), error);
        }
        save(&state, "this run can't be remembered");
        self.write_metrics(&state);
        ended
    }

    /// For `node_exporter`, where there is one. A usual folder that is somebody else's is only mentioned: nobody asked for it.
    fn write_metrics(&self, state: &State) {
        let wanted = &self.config.settings.metrics.textfile.0;
        for folder in wanted.folders(Path::new("/")) {
            let Err(error) = metrics::write(&folder, &prometheus::render(state.runs())) else {
                continue;
            };
            if *wanted == Metrics::Auto {
                tracing::info!("metrics can't be written; name the folder as textfile in [metrics] and install again: {error:#}");
            } else {
                tracing::warn!("metrics can't be written: {error:#}");
            }
        }
    }

    fn clean_up_alone(&self, yes: bool, attended: bool, state: &mut State) -> Result<Ended> {
        let runner = SystemRunner { interrupt: self.interrupt.clone() };
        let (inventory, found) = self.look(&runner, state)?;
        *state = state.updated(&inventory);
        save(state, "what is in use can't be recorded");
        let (mut policy, selected) = self.policy();
        policy.selectors.all |= !selected;
        let plan = Plan::new(&inventory, &policy);
        log_verdicts(&inventory, &plan);
        if !selected && !attended {
            log_observed_only();
            state.current_run().into_iter().for_each(|run| run.only_observed = true);
            return Ok(self.conclude(&self.report(&inventory, &plan, None, &self.done()), state));
        }
        if plan.is_due && !plan.removals.is_empty() {
            check_refusals(&plan, attended)?;
            let confirmed = yes && selected;
            if !confirmed && !self.is_wanted(&inventory, &plan)? {
                let report = self.report(&inventory, &plan, None, &self.planned(false));
                state.current_run().into_iter().for_each(|run| run.tell(&report));
                self.tell("nothing was removed");
                return Ok(Ended::Done);
            }
        }
        let execution = self.execute(&inventory, &found, &plan, state);
        Ok(self.conclude(&self.report(&inventory, &plan, Some(&execution), &self.done()), state))
    }

    /// Tells what happened, here and to those who ask later.
    pub(super) fn conclude(&self, report: &Report, state: &mut State) -> Ended {
        state.current_run().into_iter().for_each(|run| run.tell(report));
        log_summary(report);
        let printed = self.print(report).inspect_err(|error| tracing::error!("the report can't be printed: {error:#}"));
        let memory_failed = report.memory.as_ref().is_some_and(MemoryReport::has_failed);
        if report.summary.failed > 0 || memory_failed || printed.is_err() { Ended::SomeFailed } else { Ended::Done }
    }

    fn execute(&self, inventory: &Inventory, found: &Found, plan: &Plan, state: &mut State) -> Execution {
        // Deaf to signals: a batch that runs is checked and verified to its end.
        let runner = SystemRunner { interrupt: Interrupt::default() };
        let bar = progress_bar(plan.removals.len(), self.options.quiet);
        let alone = inventory.bytes_each_holds_alone();
        let watch = |removal: &Removal, outcome: &Outcome| {
            log_removal(removal, outcome, inventory, plan, alone[removal.position]);
            bar.inc(1);
        };
        let run = |store: &dyn Store, state: &mut State| {
            let (interrupt, pace) = (self.interrupt, &self.config.settings.pace());
            let state_path = Path::new(state::PATH);
            Executor { store, inventory, state_path, interrupt, pace, measure: &disk::measure, watch: &watch }.execute(plan, state)
        };
        let (ctr, crictl) = (self.ctr(&runner, found), crictl(&runner, found));
        let execution = match (&ctr, &crictl) {
            (Some(ctr), _) => run(&CtrStore { ctr, inventory }, state),
            (None, Some(crictl)) => run(&CrictlStore { crictl, kind: found.kind, daemon: found.daemon, inventory }, state),
            (None, None) => Execution::default(),
        };
        bar.finish_and_clear();
        execution
    }

    /// Shows the plan and asks about it. stdout is left to the report where a program reads it.
    fn is_wanted(&self, inventory: &Inventory, plan: &Plan) -> Result<bool> {
        let report = self.report(inventory, plan, None, &self.planned(false));
        let text = text::render_report(&report, self.style());
        match self.options.output {
            Format::Text => write_out(&text)?,
            Format::Json => io::stderr().write_all(text.as_bytes()).context("show the plan")?,
        }
        self.ask(&report)
    }

    /// Asks on the terminal; a signal is an answer too.
    fn ask(&self, report: &Report) -> Result<bool> {
        let summary = &report.summary;
        let amount = text::amount(summary.expected_bytes, summary.bytes_are);
        let question = format!("Remove {} images, {amount}? [y/N] ", summary.expected_removals);
        io::stderr().write_all(question.as_bytes()).context("ask")?;
        let stdin = io::stdin();
        loop {
            if self.interrupt.is_set() {
                say("");
                return Err(anyhow!(Failure::Interrupted));
            }
            let mut readable = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut readable, PollTimeout::from(100u8)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error).context("wait for an answer"),
            }
        }
        let mut answer = String::new();
        stdin.read_line(&mut answer).context("read the answer")?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// A full disk is what we are called for: a state that can't be written is said and stops nothing.
fn save(state: &State, what: &str) {
    if let Err(error) = state.save(Path::new(state::PATH)) {
        tracing::warn!("{what}: {error:#}");
    }
}

/// A plan that may not be carried out is an error with a way out.
fn check_refusals(plan: &Plan, attended: bool) -> Result<()> {
    let standing = plan.refusals.iter().find(|refusal| !attended || refusal.holds_when_attended());
    match standing.map(Refusal::words) {
        Some((what, way_out)) => Err(Hint(way_out, format!("refuse to remove anything: {what}")).into()),
        None => Ok(()),
    }
}

fn progress_bar(removals: usize, quiet: bool) -> indicatif::ProgressBar {
    if quiet || removals == 0 {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("removing {bar:30} {pos} of {len} images");
    let bar = indicatif::ProgressBar::new(removals as u64);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
