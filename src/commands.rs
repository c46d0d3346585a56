//! One function per verb, that of the clean-up in a file of its own: they alone see all stages, and time enters here.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::cli::{Cli, Color, Format, Options, Verb};
use crate::collect::{Probe, boot_id, booted_at, collect};
use crate::config::{self, Config, ConfigError, Flag};
use crate::files::{LOCK, RunLock};
use crate::install::{self, BadSchedule, Busy, Packaged};
use crate::inventory::{Inventory, SCHEMA_VERSION};
use crate::journal::log_verdicts;
use crate::kubelet::collect_kubelet;
use crate::logging::{Surroundings, say};
use crate::output::text::Look;
use crate::output::{json, text};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::process::{Runner, SystemRunner};
use crate::report::{Execution, Report, Run};
use crate::runtime::crictl::Crictl;
use crate::runtime::ctr::Ctr;
use crate::runtime::{self, Found, NoRuntime};
use crate::signals::Interrupt;
use crate::state::{self, Boot, State};
use crate::timer;
use crate::turn::{self, Turn};
use crate::units::{Timestamp, escaped};

mod clean_up;
mod look_back;
mod memory;

/// How a run ended; `main` makes the exit code of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Done, also when there was nothing to do.
    Done,
    /// Could not start, was refused or could not plan; nothing was removed.
    Refused,
    /// The command line or the configuration is wrong.
    Misused,
    /// Some removal failed.
    SomeFailed,
    /// Another run holds the lock.
    Locked,
    /// A signal ended it after the batch that ran.
    Interrupted,
}

impl Ended {
    /// What the process exits with.
    pub fn exit_code(self, interrupt: &Interrupt) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Misused => 2,
            Self::SomeFailed => 3,
            Self::Locked => 4,
            Self::Interrupted => interrupt.exit_code().unwrap_or(130),
        }
    }

    /// Whoever sent a signal is told so, also when the last batch had begun by then.
    fn heeding(self, interrupt: &Interrupt) -> Self {
        match self {
            Self::Done | Self::SomeFailed if interrupt.is_set() => Self::Interrupted,
            Self::Done | Self::Refused | Self::Misused | Self::SomeFailed | Self::Locked | Self::Interrupted => self,
        }
    }
}

/// An error with a way out.
#[derive(Debug)]
struct Hint(&'static str, String);

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Hint {}

/// What an error means for the exit code, and what to do about it.
pub fn explain(error: &anyhow::Error, interrupt: &Interrupt) -> (Ended, Option<&'static str>) {
    // A program that the same signal hit fails in its own words.
    if interrupt.is_set() {
        return (Ended::Interrupted, None);
    }
    let hint = error.downcast_ref::<Hint>().map(|hint| hint.0);
    if error.chain().any(|cause| cause.downcast_ref::<ConfigError>().is_some()) {
        return (Ended::Misused, Some("mend it, and let nuke-images config check it"));
    }
    if error.chain().any(<dyn std::error::Error>::is::<BadSchedule>) {
        return (Ended::Misused, Some("systemd-analyze calendar tries one; systemd.time(7) describes them"));
    }
    if error.chain().any(<dyn std::error::Error>::is::<Busy>) {
        return (Ended::Locked, None);
    }
    if error.chain().any(<dyn std::error::Error>::is::<Packaged>) {
        let hint = "the package manager upgrades and removes it; systemctl edit changes its schedule and what it may do";
        return (Ended::Refused, Some(hint));
    }
    let denied = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        kind == Some(io::ErrorKind::PermissionDenied)
    };
    let as_root = error.chain().any(denied).then_some("run it as root: sudo nuke-images …");
    (Ended::Refused, hint.or(as_root))
}

/// Does what the command line says.
pub fn run(cli: &Cli, surroundings: Surroundings, interrupt: &Interrupt) -> Result<Ended> {
    // `install` and `uninstall` can be tried; nothing else beside a clean-up has these.
    let may_be_tried = matches!(cli.command, None | Some(Verb::Install(_) | Verb::Uninstall(_)));
    let is_verb = cli.command.is_some();
    let options = [("--dry-run", cli.dry_run && !may_be_tried), ("--yes", cli.yes && is_verb), ("--no-images", cli.no_images && is_verb)];
    if let Some((option, _)) = options.into_iter().find(|(_, is_elsewhere)| *is_elsewhere) {
        return Err(ConfigError(format!("{option} belongs to a clean-up, not to another command")).into());
    }
    run_verb(cli, surroundings, interrupt).map(|ended| ended.heeding(interrupt))
}

fn run_verb(cli: &Cli, surroundings: Surroundings, interrupt: &Interrupt) -> Result<Ended> {
    let on_the_node = |act: &dyn Fn(&Session) -> Result<Ended>| on_the_node(cli, surroundings, interrupt, act);
    match &cli.command {
        None if cli.no_images => on_the_node(&|session| session.memory_alone(cli.dry_run)),
        None if cli.dry_run => on_the_node(&|session| session.dry_run()),
        None => on_the_node(&|session| session.clean_up(cli.yes)),
        Some(Verb::Plan { inventory: None }) => on_the_node(&|session| session.dry_run()),
        Some(Verb::Plan { inventory: Some(file) }) => on_the_node(&|session| session.plan_saved(file)),
        Some(Verb::Inventory) => on_the_node(&|session| session.inventory()),
        Some(Verb::Observe) => on_the_node(&|session| session.observe()),
        Some(Verb::History) => on_the_node(&|session| session.history()),
        Some(Verb::Doctor) => look_back::doctor(cli, surroundings, interrupt),
        Some(Verb::Config) => on_the_node(&|session| session.show_config()),
        Some(Verb::Install(args)) => {
            let dry_run = cli.dry_run || args.dry_run;
            onto_the_node(cli, &|tell| install::install(args, &cli.options, &unattended(), dry_run, tell))
        }
        Some(Verb::Uninstall(args)) => {
            let dry_run = cli.dry_run || args.dry_run;
            onto_the_node(cli, &|tell| install::uninstall(args, &unattended(), dry_run, tell))
        }
    }
}

fn on_the_node(cli: &Cli, surroundings: Surroundings, interrupt: &Interrupt, act: &dyn Fn(&Session) -> Result<Ended>) -> Result<Ended> {
    match wait_for_turn(cli, surroundings, interrupt)? {
        Turn::Come => {}
        Turn::Interrupted => return Ok(Ended::Interrupted),
        Turn::Disabled => return Ok(Ended::Done),
    }
    // Once more after the wait: what was changed meanwhile counts.
    let config = config::load(cli.options.config.as_deref(), flags(&cli.options))?;
    let session = Session { options: &cli.options, config: &config, surroundings, interrupt, started_at: now() };
    session.forgiving(act(&session))
}

fn wait_for_turn(cli: &Cli, surroundings: Surroundings, interrupt: &Interrupt) -> Result<Turn> {
    let Some(splay) = &cli.splay else {
        return Ok(Turn::Come);
    };
    let config = config::load(cli.options.config.as_deref(), flags(&cli.options))?;
    let runner = SystemRunner { interrupt: interrupt.clone() };
    let is_timers = timer::has_started_this(surroundings.timer_fired, turn::uptime(), &runner);
    Ok(turn::wait(is_timers, splay.0, config.settings.safety.min_uptime.0, interrupt))
}

fn onto_the_node(cli: &Cli, act: &dyn Fn(install::Tell) -> Result<()>) -> Result<Ended> {
    let quiet = cli.options.quiet;
    act(&mut |line| if quiet { Ok(()) } else { write_out(&format!("{}\n", escaped(line))) })?;
    Ok(Ended::Done)
}

/// Deaf to signals: an installation that was begun comes to its end.
fn unattended() -> SystemRunner {
    SystemRunner { interrupt: Interrupt::default() }
}

#[expect(clippy::disallowed_methods, reason = "time enters here")]
fn now() -> Timestamp {
    SystemTime::now().into()
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

/// The options that are also keys of the configuration.
fn flags(options: &Options) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut add = |key, name, value: Option<Value>| flags.extend(value.map(|value| Flag { key, name, value }));
    let texts = |values: Vec<String>| (!values.is_empty()).then(|| values.into());
    add("images.registries", "--registry", texts(options.registry.iter().map(ToString::to_string).collect()));
    add("images.include", "--include", texts(options.include.iter().map(ToString::to_string).collect()));
    add("images.exclude", "--exclude", texts(options.exclude.iter().map(ToString::to_string).collect()));
    add("images.all", "--all", options.all.then(|| true.into()));
    add("images.min_age", "--min-age", options.min_age.as_ref().map(text));
    add("images.unused_for", "--unused-for", options.unused_for.as_ref().map(text));
    add("images.keep_newest", "--keep-newest", options.keep_newest.map(|count| i64::from(count).into()));
    add("disk.high_threshold", "--high-threshold", options.high_threshold.as_ref().map(text));
    add("disk.low_threshold", "--low-threshold", options.low_threshold.as_ref().map(text));
    add("disk.free_bytes", "--free-bytes", options.free_bytes.as_ref().map(text));
    add("pace.max_images", "--max-images", options.max_images.map(|count| i64::from(count.get()).into()));
    add("pace.max_duration", "--max-duration", options.max_duration.as_ref().map(text));
    add("pace.delay", "--delay", options.delay.as_ref().map(text));
    add("pace.max_io_pressure", "--max-io-pressure", options.max_io_pressure.as_ref().map(text));
    add("memory.drop_caches", "--drop-caches", options.drop_caches.as_ref().map(text));
    add("memory.reclaim", "--reclaim", options.reclaim.as_ref().map(text));
    add("images.keep_unpullable", "--keep-unpullable", options.keep_unpullable.map(Value::from));
    add("runtime.endpoint", "--runtime-endpoint", options.runtime_endpoint.as_ref().map(text));
    add("runtime.name", "--runtime", options.runtime.as_ref().map(text));
    add("runtime.namespace", "--namespace", options.namespace.as_ref().map(text));
    flags
}

/// What every version of a saved inventory says, whatever the rest looks like.
#[derive(Deserialize)]
struct Form {
    schema_version: u32,
}

/// One invocation.
struct Session<'a> {
    options: &'a Options,
    config: &'a Config,
    surroundings: Surroundings,
    interrupt: &'a Interrupt,
    started_at: Timestamp,
}

impl Session<'_> {
    /// No runtime is no error where that was said.
    fn forgiving(&self, ended: Result<Ended>) -> Result<Ended> {
        match ended {
            Err(error) if self.options.if_runtime && error.is::<NoRuntime>() => {
                self.tell("there is no runtime on this node, so there is nothing to do");
                Ok(Ended::Done)
            }
            ended => ended,
        }
    }

    fn dry_run(&self) -> Result<Ended> {
        let runner = SystemRunner { interrupt: self.interrupt.clone() };
        let (inventory, _) = self.look(&runner, &load_state(self.started_at))?;
        self.print_plan(&inventory, &self.planned(true))
    }

    fn plan_saved(&self, file: &Path) -> Result<Ended> {
        let json = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let Form { schema_version } = serde_json::from_slice(&json).with_context(|| format!("read {}", file.display()))?;
        if schema_version != SCHEMA_VERSION {
            bail!("{} has schema version {schema_version}, this program knows {SCHEMA_VERSION}", file.display());
        }
        let inventory: Inventory = serde_json::from_slice(&json).with_context(|| format!("read {}", file.display()))?;
        // The memory is of the machine that this runs on, the inventory is of another one.
        self.print_plan(&inventory, &self.run(true, None))
    }

    fn print_plan(&self, inventory: &Inventory, run: &Run) -> Result<Ended> {
        let (mut policy, selected) = self.policy();
        if !selected {
            policy.selectors.all = true;
            self.tell("nothing is configured that may go, so this shows what --all would do");
        }
        let plan = Plan::new(inventory, &policy);
        log_verdicts(inventory, &plan);
        self.print(&self.report(inventory, &plan, None, run))?;
        Ok(Ended::Done)
    }

    fn inventory(&self) -> Result<Ended> {
        let runner = SystemRunner { interrupt: self.interrupt.clone() };
        let (inventory, _) = self.look(&runner, &load_state(self.started_at))?;
        match self.options.output {
            Format::Json => write_json(&inventory)?,
            Format::Text => write_out(&text::render_inventory(&inventory, self.style()))?,
        }
        Ok(Ended::Done)
    }

    fn show_config(&self) -> Result<Ended> {
        match self.options.output {
            Format::Json => write_json(&self.config.settings)?,
            Format::Text => write_out(&text::render_config(self.config, self.style()))?,
        }
        Ok(Ended::Done)
    }

    fn observe(&self) -> Result<Ended> {
        let Some(_lock) = RunLock::take(Path::new(LOCK))? else {
            return Ok(self.locked());
        };
        let runner = SystemRunner { interrupt: self.interrupt.clone() };
        let state = load_state(self.started_at);
        let (inventory, _) = self.look(&runner, &state)?;
        state.updated(&inventory).save(Path::new(state::PATH))?;
        let used = inventory.images.iter().filter(|image| !image.users.is_empty()).count();
        tracing::info!(images = inventory.images.len(), in_use = used, "recorded what is in use");
        Ok(Ended::Done)
    }

    /// The facts of this node and the runtime they are of.
    fn look(&self, runner: &dyn Runner, state: &State) -> Result<(Inventory, Found)> {
        let wanted = self.config.settings.wanted_runtime();
        let kubelet = collect_kubelet()?;
        let found = runtime::find(&wanted, &kubelet)?;
        let spinner = spinner(self.options.quiet);
        let (ctr, crictl) = (self.ctr(runner, &found), crictl(runner, &found));
        let (ctr, crictl) = (ctr.as_ref(), crictl.as_ref());
        let probe = Probe { runner, found: &found, wanted: &wanted, kubelet: &kubelet, ctr, crictl, state, now: self.started_at };
        let inventory = collect(&probe);
        spinner.finish_and_clear();
        let inventory = inventory?;
        for gap in &inventory.gaps {
            tracing::info!(gap, "a fact could not be gathered");
        }
        Ok((inventory, found))
    }

    fn ctr<'r>(&self, runner: &'r dyn Runner, found: &Found) -> Option<Ctr<'r>> {
        let (program, namespace) = (found.ctr.clone()?, self.config.settings.runtime.namespace.to_string());
        Some(Ctr { runner, program, address: found.socket.clone(), namespace })
    }

    fn policy(&self) -> (Policy, bool) {
        let policy = self.config.settings.policy();
        let selected = !policy.selectors.is_empty();
        (policy, selected)
    }

    fn report(&self, inventory: &Inventory, plan: &Plan, execution: Option<&Execution>, run: &Run) -> Report {
        Report::new(inventory, plan, execution, run).limited_to(self.config.settings.pace().max_images, plan)
    }

    fn print(&self, report: &Report) -> Result<()> {
        match self.options.output {
            Format::Json => write_json(report),
            // The journal has the story already, entry by entry.
            Format::Text if self.surroundings.in_journal || self.options.quiet => Ok(()),
            Format::Text => write_out(&text::render_report(report, self.style())),
        }
    }

    fn style(&self) -> Look {
        let terminal = console::Term::stdout();
        let colors = match self.options.color {
            Color::Auto => io::stdout().is_terminal() && !self.surroundings.no_color,
            Color::Always => true,
            Color::Never => false,
        };
        let width = if io::stdout().is_terminal() { terminal.size().1.into() } else { usize::MAX };
        Look { colors, width }
    }

    fn tell(&self, what: &str) {
        if self.surroundings.in_journal {
            tracing::info!("{what}");
        } else if !self.options.quiet {
            say(what);
        }
    }

    fn locked(&self) -> Ended {
        if self.surroundings.in_journal {
            tracing::warn!(lock = LOCK, "another run holds the lock");
        } else {
            say(&format!("error: another run holds {LOCK}"));
        }
        Ended::Locked
    }
}

fn crictl<'r>(runner: &'r dyn Runner, found: &Found) -> Option<Crictl<'r>> {
    Some(Crictl { runner, program: found.crictl.clone()?, socket: found.socket.clone() })
}

/// What is remembered, by the clock of now.
fn read_state(now: Timestamp) -> Result<State> {
    let boot = boot_id().zip(booted_at(now)).map(|(id, began_at)| Boot { id, began_at });
    Ok(state::load(Path::new(state::PATH))?.by_the_clock_of(now, boot.as_ref()))
}

fn load_state(now: Timestamp) -> State {
    read_state(now).unwrap_or_else(|error| {
        tracing::warn!("start with an empty memory, everything counts as first seen now: {error:#}");
        State::lost(now)
    })
}

fn spinner(quiet: bool) -> indicatif::ProgressBar {
    if quiet {
        return indicatif::ProgressBar::hidden();
    }
    let spinner = indicatif::ProgressBar::new_spinner().with_message("asking the runtime");
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

fn write_json(value: &impl Serialize) -> Result<()> {
    write_out(&json::render(value).context("write JSON")?)
}

/// A reader that closed the pipe early (`| head`) is no error.
fn write_out(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write to stdout"),
        Ok(()) | Err(_) => Ok(()),
    }
}
