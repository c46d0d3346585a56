//! Putting the program, its units and a configuration onto a node, and taking them off again.
//!
//! Facts, a plan of steps, the steps: a dry run prints the plan. Each file is written, synced and renamed over the old one,
//! so that an installation which is cut off leaves the old one working, and a run that goes on keeps the program it was
//! started from. It never overwrites a configuration that a person has edited and takes off nothing that it hasn't put
//! there.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::cli::{self, Options};
use crate::files;
use crate::process::Runner;

mod content;
mod host;
mod look;
mod plan;
mod record;

use content::{PROGRAM, PROGRAM_FOLDERS};
use host::{Host, Systemd, prove_by_starting};
use plan::{Facts, Keeps, Plan, Step, Wish};
use record::Record;

/// The folder of the state, which is root's alone, as the units make it.
const STATE: &str = "/var/lib/nuke-images";

/// A schedule that systemd doesn't accept, with its words.
#[derive(Debug, PartialEq, Eq)]
pub struct BadSchedule(String);

impl std::fmt::Display for BadSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSchedule {}

/// Someone else is at work at this moment; with what.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy(&'static str);

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Busy {}

/// A package has put the product here, with this unit: two sets of units would fight.
#[derive(Debug, PartialEq, Eq)]
pub struct Packaged(PathBuf);

impl std::fmt::Display for Packaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a package has put nuke-images onto this node: {} is there", self.0.display())
    }
}

impl std::error::Error for Packaged {}

/// How a step is told: one line each.
pub type Tell<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Puts the program and all that belongs to it onto the node.
pub fn install(args: &cli::Install, options: &Options, runner: &dyn Runner, dry_run: bool, tell: Tell) -> Result<()> {
    let bytes = fs::read("/proc/self/exe").context("read this program")?;
    // Before the host's files take the place of the container's.
    let drop_ins = args.config_dir.as_deref().map(look::read_drop_ins).transpose()?;
    let host = Host::reach(&args.root)?;
    let installer = Installer { host: &host, systemd: Systemd { runner }, dry_run };
    let _lock = lock(&host)?;
    look::unit_of_a_package(&host).map_or(Ok(()), |unit| Err(Packaged(unit)))?;
    if let Some(calendar) = &args.schedule {
        installer.check_schedule(calendar)?;
    }
    let wished = drop_ins.clone().unwrap_or_default();
    let paths: Vec<PathBuf> = wished.keys().cloned().collect();
    // Before the first write, the draft of the program.
    let facts = look::collect_facts(&host, &Path::new(PROGRAM_FOLDERS[0]).join(PROGRAM), &paths)?;
    if let Some(path) = plan::taken_place(&facts, &wished) {
        bail!("{} is there already and not of an installation: take it away, or give the new one another name", path.display());
    }
    plan::check_folders(&facts, !wished.is_empty()).map_err(anyhow::Error::msg)?;
    let place = installer.choose_place(&bytes)?;
    let mut facts = look::collect_facts(&host, &place.program, &paths)?;
    let leaving = drop_ins.iter().flat_map(|_| plan::earlier_drop_ins(&facts)).map(|(path, _)| path.clone()).collect();
    let (asks, mut notes) = look::collect_asks(&host, &wished, &leaving);
    facts.existing.retain(|folder| !place.made.contains(folder));
    facts.bytes = bytes;
    facts.timers_wait = host.is_live && installer.systemd.timers_wait()?;
    let (endpoint, no_endpoint) = look::endpoint_to_pin(&host, options, &asks);
    (facts.endpoint, facts.asks) = (endpoint, asks);
    let mut plan = plan::install(&facts, &Wish { schedule: args.schedule.clone(), enable: !args.no_enable, drop_ins });
    notes.extend(no_endpoint);
    if !host.is_live {
        notes.push("this is no system that runs: its timers start when it next boots".into());
    }
    plan.notes.splice(0..0, place.notes.into_iter().chain(notes));
    installer.carry_out(&facts, &plan, tell)?;
    installer.tell_what_is_next(&plan, args.no_enable, tell)
}

/// Takes off what [`install`] has put onto the node.
pub fn uninstall(args: &cli::Uninstall, runner: &dyn Runner, dry_run: bool, tell: Tell) -> Result<()> {
    let host = Host::reach(&args.root)?;
    let installer = Installer { host: &host, systemd: Systemd { runner }, dry_run };
    let _lock = lock(&host)?;
    let record = look::record(&host)?;
    if let (None, Some(unit)) = (&record, look::unit_of_a_package(&host)) {
        return Err(Packaged(unit).into());
    }
    // An installation that was cut off leaves the draft of one file.
    let record = record.unwrap_or_default();
    let programs = PROGRAM_FOLDERS.map(|folder| Path::new(folder).join(PROGRAM));
    let own = [content::CONFIG, content::NEW_CONFIG, content::PINNED, record::PATH].map(PathBuf::from);
    let drafts: Vec<PathBuf> = record.files.iter().chain(&programs).chain(&own).map(|path| files::draft_of(path)).collect();
    let facts = look::collect_facts(&host, &programs[0], &drafts)?;
    let plan = plan::uninstall(&facts, args.purge, &drafts);
    installer.carry_out(&facts, &plan, tell)?;
    match plan.steps.is_empty() {
        true => tell("nothing is installed here"),
        false if args.purge || dry_run => Ok(()),
        false => tell("configuration and state stay; uninstall --purge removes them too"),
    }
}

/// Lets one at a time at a node, by a lock that leaves nothing behind.
fn lock(host: &Host) -> Result<Flock<File>> {
    let folder = host.at(Path::new("/etc"));
    let open = File::open(&folder).with_context(|| format!("open {}: the root folder of a node has one", folder.display()))?;
    match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Busy("another installation is going on here").into()),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", folder.display())),
    }
}

struct Installer<'a> {
    host: &'a Host,
    systemd: Systemd<'a>,
    dry_run: bool,
}

/// Where the program goes.
struct Place {
    program: PathBuf,
    /// Folders that were made to try it there.
    made: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Installer<'_> {
    fn check_schedule(&self, calendar: &str) -> Result<()> {
        if calendar.chars().any(char::is_control) {
            return Err(BadSchedule("a schedule is one line".into()).into());
        }
        let checked = self.systemd.check_calendar(calendar).context("check the schedule")?;
        checked.map_err(|complaint| BadSchedule(format!("the schedule {calendar:?}: {complaint}")).into())
    }

    /// The first folder from which the program really runs; it is left there as a draft. A dry run goes by what can be seen.
    fn choose_place(&self, bytes: &[u8]) -> Result<Place> {
        let (mut notes, mut reasons) = (Vec::new(), Vec::new());
        for folder in PROGRAM_FOLDERS {
            let program = Path::new(folder).join(PROGRAM);
            match self.try_place(&program, bytes) {
                Ok(made) => {
                    notes.extend(reasons.iter().map(|reason| format!("not in {reason}")));
                    return Ok(Place { program, made, notes });
                }
                Err(error) => reasons.push(format!("{folder}: {error:#}")),
            }
        }
        bail!("the program runs from none of these folders: {}", reasons.join("; "))
    }

    /// The folders that had to be made.
    fn try_place(&self, program: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>> {
        let folder = program.parent().context("a program is in a folder")?;
        let above = folder.parent().unwrap_or(folder);
        let is_own = folder.components().any(|part| part.as_os_str() == PROGRAM);
        if !is_own && !self.host.at(above).is_dir() {
            bail!("this node has no {}", above.display());
        }
        if look::keeps(self.host, folder) == Keeps::Nothing {
            bail!("can't be written to");
        }
        if self.dry_run {
            return Ok(Vec::new());
        }
        let made = self.make_folders(folder)?;
        let tried = self.try_draft(program, bytes);
        if tried.is_err() {
            _ = fs::remove_file(files::draft_of(&self.host.at(program)));
            made.iter().rev().for_each(|folder| _ = fs::remove_dir(self.host.at(folder)));
        }
        tried.map(|()| made)
    }

    fn try_draft(&self, program: &Path, bytes: &[u8]) -> Result<()> {
        let path = self.host.at(program);
        let is_there = fs::read(&path).is_ok_and(|present| present == bytes);
        if !is_there {
            files::write_draft(&path, bytes, 0o755)?;
        }
        let tried = if is_there { path } else { files::draft_of(&path) };
        if self.host.is_live { self.systemd.prove(&tried) } else { prove_by_starting(self.systemd.runner, &tried) }
    }

    /// Makes a folder and those above it, and tells which weren't there; in paths of the node.
    fn make_folders(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut missing: Vec<&Path> = folder.ancestors().filter(|folder| !self.host.at(folder).is_dir()).collect();
        missing.reverse();
        for folder in &missing {
            let path = self.host.at(folder);
            fs::create_dir(&path).with_context(|| format!("create the folder {}", path.display()))?;
            // Whatever the umask is.
            let mode = if *folder == Path::new(STATE) { 0o750 } else { 0o755 };
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).context("set the mode")?;
        }
        Ok(missing.into_iter().map(Path::to_owned).collect())
    }

    fn carry_out(&self, facts: &Facts, plan: &Plan, tell: Tell) -> Result<()> {
        if self.dry_run {
            for step in &plan.steps {
                tell(&step.intention())?;
            }
        } else {
            let differs = |after: &&Record| facts.record.as_ref() != Some(*after);
            self.write_record(plan.after.as_ref().filter(differs).map(|_| &plan.before))?;
            for step in &plan.steps {
                if self.take(step, facts).with_context(|| step.words())? {
                    tell(&step.words())?;
                }
            }
            self.write_record(plan.after.as_ref())?;
        }
        plan.notes.iter().try_for_each(|note| tell(&format!("note: {note}")))
    }

    /// Where it differs from the one that is there.
    fn write_record(&self, record: Option<&Record>) -> Result<()> {
        let path = Path::new(record::PATH);
        match record.map(Record::render) {
            Some(json) if fs::read(self.host.at(path)).ok().as_ref() != Some(&json) => {
                self.make_folders(path.parent().context("a file is in a folder")?)?;
                files::write_atomically(&self.host.at(path), &json)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether there was anything to do.
    fn take(&self, step: &Step, facts: &Facts) -> Result<bool> {
        let done = match step {
            Step::Put(path, bytes, mode) => self.put(path, bytes, *mode, facts),
            Step::Link(path, target) => self.link(path, target),
            Step::Remove(path) => return if_there(fs::remove_file(self.host.at(path))),
            Step::RemoveFolder(path) => return if_there(fs::remove_dir(self.host.at(path))),
            Step::RemoveTree(path) => return if_there(fs::remove_dir_all(self.host.at(path))),
            Step::Reload => self.systemd.reload(),
            Step::Enable => self.systemd.enable(),
            Step::Start => self.systemd.start(),
            Step::Stop => self.systemd.stop().and_then(|()| self.wait_for_nobody()),
            Step::Forget => self.systemd.forget(),
            Step::UpdateCatalog => self.systemd.update_catalog(),
        };
        done.map(|()| true)
    }

    /// A run that a person started goes on with a lock and a state that would be taken from under it.
    fn wait_for_nobody(&self) -> Result<()> {
        let lock = self.host.at(Path::new(files::LOCK));
        // To take one that isn't there would leave it behind.
        if !lock.is_file() {
            return Ok(());
        }
        match files::RunLock::take(&lock)? {
            Some(_) => Ok(()),
            None => Err(Busy("a clean-up is going on here: uninstall again when it has ended").into()),
        }
    }

    fn put(&self, path: &Path, bytes: &[u8], mode: u32, facts: &Facts) -> Result<()> {
        self.make_folders(path.parent().context("a file is in a folder")?)?;
        let place = self.host.at(path);
        // The program is there already as the draft that was tried, unless its mode alone is wrong.
        let is_tried = path == facts.program && files::draft_of(&place).is_file();
        if !is_tried {
            files::write_draft(&place, bytes, mode)?;
        }
        files::put_in_place(&place)
    }

    fn link(&self, path: &Path, target: &Path) -> Result<()> {
        self.make_folders(path.parent().context("a link is in a folder")?)?;
        let place = self.host.at(path);
        let draft = files::draft_of(&place);
        if_there(fs::remove_file(&draft))?;
        symlink(target, &draft).with_context(|| format!("link {}", place.display()))?;
        files::put_in_place(&place)
    }

    fn tell_what_is_next(&self, plan: &Plan, no_enable: bool, tell: Tell) -> Result<()> {
        if self.dry_run {
            return if plan.steps.is_empty() { tell("nothing would change") } else { Ok(()) };
        }
        if plan.steps.is_empty() {
            tell("nothing has changed")?;
        }
        let next = if self.host.is_live && !no_enable { self.systemd.next_run() } else { None };
        next.map_or(Ok(()), |next| tell(&format!("next clean-up: {next}")))
    }
}

/// Whether it was there; a folder that others have something in stays.
fn if_there(result: io::Result<()>) -> Result<bool> {
    match result {
        Err(error) if [ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}
