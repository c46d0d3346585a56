//! From the facts about a node to the steps that put the product there or take it off. Pure: a dry run prints the same
//! steps that a real one takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::content::{
    CATALOG, CONFIG, CONFIG_DROP_INS, DEFAULT_CONFIG, DROP_CACHES, EXTRAS, METRICS, METRICS_OWNER, NEW_CONFIG, PINNED, RECLAIM, SCHEDULE,
    SERVICES, TIMERS, UNIT_FOLDERS, UNITS, metrics, pinned, reclaim, schedule, unit,
};
use super::record::{self, Record};

const READABLE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;
const WANTS: &str = "timers.target.wants";

/// How long what is written to a folder stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Over a reboot.
    Lasting,
    /// Until the next reboot.
    UntilReboot,
    /// Nothing can be written there.
    Nothing,
}

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// Its bytes and mode.
    File(Vec<u8>, u32),
    /// A link and where it leads.
    Link(PathBuf),
    /// Something that is neither.
    Other,
}

/// What is so on the node; paths are the node's own.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its systemd runs and can be asked.
    pub is_live: bool,
    /// Where the program goes: from there it really runs.
    pub program: PathBuf,
    /// The program itself.
    pub bytes: Vec<u8>,
    /// Of every folder that something may go to.
    pub folders: BTreeMap<PathBuf, Keeps>,
    /// Folders that are there, of those that may be needed.
    pub existing: BTreeSet<PathBuf>,
    /// Files that are there, of those that may be written.
    pub files: BTreeMap<PathBuf, Present>,
    /// What an earlier installation wrote down.
    pub record: Option<Record>,
    /// Both timers are enabled and wait.
    pub timers_wait: bool,
    /// The endpoint to pin, if any.
    pub endpoint: Option<String>,
    /// What the configuration asks for beyond the sandbox.
    pub asks: Asks,
}

/// What the configuration asks for beyond the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asks {
    /// `drop_caches`.
    pub drop_caches: bool,
    /// `reclaim`, and the cgroup that is asked.
    pub reclaim: Option<String>,
    /// A folder for metrics, and whether it is somebody else's than root's.
    pub metrics: Option<(PathBuf, bool)>,
    /// A person names an endpoint.
    pub endpoint: bool,
    /// Not all of it could be read: what an earlier installation let through stays.
    pub unknown: bool,
}

/// What the person wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// A calendar expression that systemd accepts.
    pub schedule: Option<String>,
    /// The timers shall run.
    pub enable: bool,
    /// Drop-ins of the configuration, by the path that each gets; without it those of an earlier installation stay.
    pub drop_ins: Option<BTreeMap<PathBuf, String>>,
}

/// One step. A path is the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a file whole: path, bytes, mode.
    Put(PathBuf, Vec<u8>, u32),
    /// Make a link that leads there.
    Link(PathBuf, PathBuf),
    /// Remove a file or link, if it is there.
    Remove(PathBuf),
    /// Remove a folder, if it is there and empty.
    RemoveFolder(PathBuf),
    /// Remove a folder and all that is in it.
    RemoveTree(PathBuf),
    /// Let systemd read its units again.
    Reload,
    /// Let the timers run, now and after a reboot.
    Enable,
    /// Let the timers run now; links of ours do the rest.
    Start,
    /// Stop the timers, and wait for a run to end.
    Stop,
    /// Let systemd forget failures of the units.
    Forget,
    /// Let the journal read its catalog again.
    UpdateCatalog,
}

/// Steps, and what is to be said besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be written down before the first step.
    pub before: Record,
    /// In this order.
    pub steps: Vec<Step>,
    /// To be written down when all is done; nothing once all is off.
    pub after: Option<Record>,
    /// Whole sentences.
    pub notes: Vec<String>,
}

/// A file that shall be there.
enum Wanted {
    File(Vec<u8>, u32),
    Link(PathBuf),
}

type Files = Vec<(PathBuf, Wanted)>;

/// What putting the product onto the node takes; where nothing differs, no step.
pub fn install(facts: &Facts, wish: &Wish) -> Plan {
    let mut notes = Vec::new();
    let units = unit_folder(facts, &mut notes);
    let mut files: Files = vec![(facts.program.clone(), Wanted::File(facts.bytes.clone(), EXECUTABLE))];
    files.extend(unit_files(facts, wish, &units));
    files.extend(links(facts, wish, &units));
    files.extend(extras(facts, &mut notes));
    files.extend(drop_ins(facts, wish));
    let (configuration, config) = configuration(facts, &mut notes);
    let old = facts.record.clone().unwrap_or_default();
    let ours: BTreeSet<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let stale: Vec<PathBuf> = old.files.difference(&ours).cloned().collect();
    files.extend(configuration);

    let mut plan = Plan { notes, ..Plan::default() };
    let new_folders = missing_folders(facts, files.iter().map(|(path, _)| path.as_path()).chain([Path::new(record::PATH)]));
    plan.steps.extend(files.into_iter().filter(|(path, wanted)| !is_there(facts, path, wanted)).filter_map(
        |(path, wanted)| match wanted {
            Wanted::File(bytes, mode) => Some(Step::Put(path, bytes, mode)),
            Wanted::Link(_) if enables_itself(facts, &units) => None,
            Wanted::Link(target) => Some(Step::Link(path, target)),
        },
    ));
    let stale = stale.into_iter().filter(|path| facts.files.contains_key(path)).map(Step::Remove);
    // An old program goes last: until systemd has read the new units it starts that one.
    let (units_to_go, others_to_go): (Vec<Step>, Vec<Step>) = stale.partition(is_of_systemd);
    plan.steps.extend(units_to_go);
    let systemd = systemd_steps(facts, wish, &units, &plan.steps);
    plan.steps.extend(systemd);
    plan.steps.extend(others_to_go);
    plan.after = Some(Record {
        version: env!("CARGO_PKG_VERSION").into(),
        files: ours.clone(),
        folders: old.folders.union(&new_folders).cloned().collect(),
        config,
    });
    plan.before = Record { files: old.files.union(&ours).cloned().collect(), config: old.config, ..plan.after.clone().unwrap_or_default() };
    plan
}

/// Is there a place for everything without which nothing would be installed?
pub fn check_folders(facts: &Facts, with_drop_ins: bool) -> Result<(), String> {
    let can_be_written = |folder: &str| facts.folders.get(Path::new(folder)).is_some_and(|keeps| *keeps != Keeps::Nothing);
    if !UNIT_FOLDERS.into_iter().any(can_be_written) {
        return Err(format!("none of the folders of units can be written to: {}", UNIT_FOLDERS.join(", ")));
    }
    if with_drop_ins && !can_be_written(CONFIG_DROP_INS) {
        return Err(format!("{CONFIG_DROP_INS} can't be written to, so what --config-dir names has no place"));
    }
    Ok(())
}

/// The first folder that systemd reads and that lasts, else the first that can be written to.
fn unit_folder(facts: &Facts, notes: &mut Vec<String>) -> PathBuf {
    let keeps = |folder: &str| facts.folders.get(Path::new(folder)).copied().unwrap_or(Keeps::Nothing);
    let with = |wanted: Keeps| UNIT_FOLDERS.into_iter().find(|folder| keeps(folder) == wanted);
    let chosen = with(Keeps::Lasting).or_else(|| with(Keeps::UntilReboot)).unwrap_or(UNIT_FOLDERS[2]);
    let first = UNIT_FOLDERS[0];
    let why = match keeps(first) {
        Keeps::Lasting => return chosen.into(),
        Keeps::UntilReboot => "is emptied at each reboot",
        Keeps::Nothing => "can't be written to",
    };
    notes.push(match keeps(chosen) {
        Keeps::Lasting => format!("{first} {why}, so the units are in {chosen}, which lasts"),
        Keeps::UntilReboot | Keeps::Nothing => {
            format!("{first} {why}, so the units in {chosen} are gone after a reboot: let what boots the node install again")
        }
    });
    chosen.into()
}

fn unit_files(facts: &Facts, wish: &Wish, folder: &Path) -> Files {
    let mut texts: Vec<(PathBuf, String)> = UNITS.into_iter().map(|(name, text)| (folder.join(name), unit(text, &facts.program))).collect();
    let service = folder.join("nuke-images.service.d");
    let mut drop_in = |asked: bool, (name, text): (&str, &str)| texts.extend(asked.then(|| (service.join(name), text.to_owned())));
    drop_in(facts.asks.drop_caches, DROP_CACHES);
    if let Some(cgroup) = &facts.asks.reclaim {
        drop_in(true, (RECLAIM.0, &reclaim(cgroup)));
    }
    if let Some((metrics_folder, is_foreign)) = &facts.asks.metrics {
        drop_in(true, (METRICS.0, &metrics(metrics_folder)));
        drop_in(*is_foreign, METRICS_OWNER);
    }
    let calendar = wish.schedule.as_deref().map(|calendar| schedule(calendar).into_bytes()).or_else(|| earlier_text(facts, SCHEDULE));
    let mut texts: BTreeMap<PathBuf, Vec<u8>> = texts.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
    if facts.asks.unknown {
        let names = [DROP_CACHES.0, RECLAIM.0, METRICS.0, METRICS_OWNER.0];
        texts.extend(names.into_iter().filter_map(|name| Some((service.join(name), earlier_text(facts, name)?))));
    }
    texts.extend(calendar.map(|text| (folder.join("nuke-images.timer.d").join(SCHEDULE), text)));
    texts.into_iter().map(|(path, text)| (path, Wanted::File(text, READABLE))).collect()
}

/// The drop-in of that name that an earlier installation has put down, wherever its units are.
fn earlier_text(facts: &Facts, name: &str) -> Option<Vec<u8>> {
    let mut ours = facts.record.iter().flat_map(|record| &record.files).filter(|path| path.ends_with(name));
    ours.find_map(|path| match facts.files.get(path) {
        Some(Present::File(text, _)) => Some(text.clone()),
        Some(Present::Link(_) | Present::Other) | None => None,
    })
}

/// Links that enable the timers, also those that systemd makes itself: so they are known as ours.
fn links(facts: &Facts, wish: &Wish, folder: &Path) -> Files {
    let link = |timer: &&str| (folder.join(WANTS).join(timer), Wanted::Link(folder.join(timer)));
    let is_there = |path: &PathBuf| facts.files.contains_key(path);
    TIMERS.iter().map(link).filter(|(path, _)| wish.enable || is_there(path)).collect()
}

/// The catalog, and what people read and type.
fn extras(facts: &Facts, notes: &mut Vec<String>) -> Files {
    let mut files = Files::new();
    for (path, text) in [CATALOG].into_iter().chain(EXTRAS) {
        let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
        match facts.folders.get(folder) {
            Some(Keeps::Lasting | Keeps::UntilReboot) => files.push((path.into(), Wanted::File(text.into(), READABLE))),
            Some(Keeps::Nothing) | None => notes.push(format!("left out {path}: {} can't be written to", folder.display())),
        }
    }
    files
}

/// The drop-ins that are wished for, or else those that an earlier installation has put there.
fn drop_ins(facts: &Facts, wish: &Wish) -> Files {
    match &wish.drop_ins {
        Some(texts) => texts.iter().map(|(path, text)| (path.clone(), Wanted::File(text.clone().into(), READABLE))).collect(),
        None => earlier_drop_ins(facts).map(|(path, text)| (path.clone(), Wanted::File(text.clone(), READABLE))).collect(),
    }
}

/// Those that are there of an earlier installation, with what is in them.
pub fn earlier_drop_ins(facts: &Facts) -> impl Iterator<Item = (&PathBuf, &Vec<u8>)> {
    let ours = facts.record.iter().flat_map(|record| &record.files).filter(|path| is_drop_in(path));
    ours.filter_map(|path| match facts.files.get(path)? {
        Present::File(text, _) => Some((path, text)),
        Present::Link(_) | Present::Other => None,
    })
}

/// Of the configuration, and not the pinned endpoint.
fn is_drop_in(path: &Path) -> bool {
    path.parent() == Some(Path::new(CONFIG_DROP_INS)) && path != Path::new(PINNED)
}

/// The first of these drop-ins whose place somebody else's file has.
pub fn taken_place<'a>(facts: &Facts, drop_ins: &'a BTreeMap<PathBuf, String>) -> Option<&'a Path> {
    let is_ours = |path: &PathBuf| facts.record.as_ref().is_some_and(|record| record.files.contains(path));
    let is_same = |path: &PathBuf, text: &String| matches!(&facts.files[path], Present::File(there, _) if there == text.as_bytes());
    let mut taken = drop_ins.iter().filter(|(path, text)| facts.files.contains_key(*path) && !is_ours(path) && !is_same(path, text));
    taken.next().map(|(path, _)| path.as_path())
}

/// Files of the configuration, and the default that is now the one to compare with.
fn configuration(facts: &Facts, notes: &mut Vec<String>) -> (Files, String) {
    let old = facts.record.as_ref().map_or("", |record| &record.config).to_owned();
    let etc = facts.folders.get(Path::new(CONFIG_DROP_INS)).copied().unwrap_or(Keeps::Nothing);
    if etc == Keeps::Nothing {
        notes.push("/etc can't be written to, so there is no configuration: the defaults hold, and nothing is removed unattended".into());
        return (Files::new(), old);
    }
    let mut files = Files::new();
    match facts.files.get(Path::new(CONFIG)) {
        None => files.push((CONFIG.into(), Wanted::File(DEFAULT_CONFIG.into(), READABLE))),
        Some(Present::File(text, _)) if text == DEFAULT_CONFIG.as_bytes() => {}
        Some(Present::File(text, mode)) if !old.is_empty() && text == old.as_bytes() => {
            files.push((CONFIG.into(), Wanted::File(DEFAULT_CONFIG.into(), *mode)));
        }
        // Edited, and whoever did so has seen this default already.
        Some(_) if old == DEFAULT_CONFIG => {}
        Some(_) => {
            files.push((NEW_CONFIG.into(), Wanted::File(DEFAULT_CONFIG.into(), READABLE)));
            notes.push(format!("{CONFIG} was edited and stays as it is; the new default is beside it in {NEW_CONFIG}"));
        }
    }
    if let Some(endpoint) = &facts.endpoint {
        files.push((PINNED.into(), Wanted::File(pinned(endpoint).into(), READABLE)));
    }
    if etc == Keeps::UntilReboot {
        notes.push("/etc is emptied at each reboot, and the configuration with it".into());
    }
    (files, DEFAULT_CONFIG.into())
}

/// Where people write units, a systemd that runs makes the links.
fn enables_itself(facts: &Facts, units: &Path) -> bool {
    facts.is_live && units == Path::new(UNIT_FOLDERS[0])
}

fn is_there(facts: &Facts, path: &Path, wanted: &Wanted) -> bool {
    match (facts.files.get(path), wanted) {
        (Some(Present::File(bytes, mode)), Wanted::File(own, own_mode)) => bytes == own && mode == own_mode,
        (Some(Present::Link(to)), Wanted::Link(target)) => to == target,
        (Some(Present::File(..) | Present::Link(_) | Present::Other) | None, Wanted::File(..) | Wanted::Link(_)) => false,
    }
}

/// The folders on the way to these files that aren't there yet.
fn missing_folders<'a>(facts: &Facts, files: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let above = files.flat_map(|path| path.ancestors().skip(1));
    above.filter(|folder| !facts.existing.contains(*folder)).map(Path::to_owned).collect()
}

fn systemd_steps(facts: &Facts, wish: &Wish, units: &Path, before: &[Step]) -> Vec<Step> {
    if !facts.is_live {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if before.iter().any(is_of_systemd) {
        steps.push(Step::Reload);
    }
    if wish.enable && !facts.timers_wait {
        steps.push(if enables_itself(facts, units) { Step::Enable } else { Step::Start });
    }
    if before.iter().any(|step| step.path() == Some(Path::new(CATALOG.0))) {
        steps.push(Step::UpdateCatalog);
    }
    steps
}

/// Does it change what systemd has read?
fn is_of_systemd(step: &Step) -> bool {
    step.path().is_some_and(is_unit)
}

fn is_unit(path: &Path) -> bool {
    UNIT_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// What taking the product off the node takes.
pub fn uninstall(facts: &Facts, purge: bool, drafts: &[PathBuf]) -> Plan {
    let record = facts.record.clone().unwrap_or_default();
    let mut steps = Vec::new();
    let had_units = record.files.iter().any(|path| is_unit(path) && facts.files.contains_key(path));
    if facts.is_live && had_units {
        steps.push(Step::Stop);
    }
    let stamps = TIMERS.map(|timer| PathBuf::from(format!("/var/lib/systemd/timers/stamp-{timer}")));
    // A link goes before the timer that it leads to, a timer before its service.
    let ours = record.files.iter().rev().cloned().chain(stamps).chain(drafts.iter().cloned());
    steps.extend(ours.filter(|path| facts.files.contains_key(path)).map(Step::Remove));
    if facts.is_live && had_units {
        steps.extend([Step::Reload, Step::Forget]);
        steps.extend(record.files.contains(Path::new(CATALOG.0)).then_some(Step::UpdateCatalog));
    }
    let mut trees = vec!["/run/nuke-images"];
    trees.extend(if purge { &["/etc/nuke-images", "/var/lib/nuke-images"][..] } else { &[] });
    let is_there = |folder: &&str| facts.existing.contains(Path::new(folder));
    steps.extend(trees.into_iter().filter(is_there).map(|folder| Step::RemoveTree(folder.into())));
    let record_file = facts.files.contains_key(Path::new(record::PATH)) && !purge;
    steps.extend(record_file.then(|| Step::Remove(record::PATH.into())));
    // What was made by an installation that was interrupted early is known by its name alone.
    let own = ["/var/lib/nuke-images/bin", "/var/lib/nuke-images", "/opt/nuke-images/bin", "/opt/nuke-images"].map(PathBuf::from);
    let goes_with_a_tree =
        |folder: &PathBuf| purge && ["/etc/nuke-images", "/var/lib/nuke-images"].iter().any(|tree| folder.starts_with(tree));
    let folders = record.folders.into_iter().chain(own).filter(|folder| facts.existing.contains(folder) && !goes_with_a_tree(folder));
    let folders: BTreeSet<PathBuf> = folders.collect();
    steps.extend(folders.into_iter().rev().map(Step::RemoveFolder));
    Plan { steps, ..Plan::default() }
}

/// Everything that a plan may ask the facts about: files, and folders whose keeping matters.
pub fn questions(program: &Path, record: Option<&Record>) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let mut files: BTreeSet<PathBuf> = record.iter().flat_map(|record| record.files.clone()).collect();
    files.extend([CONFIG, NEW_CONFIG, PINNED, CATALOG.0, record::PATH].map(PathBuf::from));
    files.extend(EXTRAS.map(|(path, _)| PathBuf::from(path)));
    files.insert(program.to_owned());
    files.extend(TIMERS.map(|timer| PathBuf::from(format!("/var/lib/systemd/timers/stamp-{timer}"))));
    for folder in UNIT_FOLDERS.map(Path::new) {
        files.extend(UNITS.map(|(name, _)| folder.join(name)));
        files.extend(TIMERS.map(|timer| folder.join(WANTS).join(timer)));
        let drop_ins = [DROP_CACHES.0, RECLAIM.0, METRICS.0, METRICS_OWNER.0].map(|name| folder.join("nuke-images.service.d").join(name));
        files.extend(drop_ins);
        files.insert(folder.join("nuke-images.timer.d").join(SCHEDULE));
    }
    let mut folders: BTreeSet<PathBuf> = UNIT_FOLDERS.map(PathBuf::from).into();
    folders.insert(CONFIG_DROP_INS.into());
    folders.extend([CATALOG].into_iter().chain(EXTRAS).filter_map(|(path, _)| Path::new(path).parent().map(Path::to_owned)));
    (files, folders)
}

/// What the services are called, for those who speak to systemd.
pub fn all_units() -> Vec<&'static str> {
    TIMERS.into_iter().chain(SERVICES).collect()
}

impl Step {
    /// The file or folder that it is about.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Put(path, ..) | Self::Link(path, _) | Self::Remove(path) | Self::RemoveFolder(path) | Self::RemoveTree(path) => {
                Some(path)
            }
            Self::Reload | Self::Enable | Self::Start | Self::Stop | Self::Forget | Self::UpdateCatalog => None,
        }
    }

    /// As it is said beforehand.
    pub fn intention(&self) -> String {
        let condition = if matches!(self, Self::RemoveFolder(_)) { ", if nothing else is in it" } else { "" };
        format!("would {}{condition}", self.words())
    }

    /// As it is said once it is done.
    pub fn words(&self) -> String {
        match self {
            Self::Put(path, ..) => format!("put {}", path.display()),
            Self::Link(path, target) => format!("link {} to {}", path.display(), target.display()),
            Self::Remove(path) | Self::RemoveFolder(path) => format!("remove {}", path.display()),
            Self::RemoveTree(path) => format!("remove {} and all that is in it", path.display()),
            Self::Reload => "let systemd read its units again".into(),
            Self::Enable | Self::Start => format!("let {} run", TIMERS.join(" and ")),
            Self::Stop => format!("stop {}, and wait for a run to end", TIMERS.join(" and ")),
            Self::Forget => "let systemd forget the units".into(),
            Self::UpdateCatalog => "let the journal read its catalog again".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let (_, folders) = questions(Path::new("/usr/local/bin/nuke-images"), None);
        Facts {
            is_live: true,
            program: "/usr/local/bin/nuke-images".into(),
            bytes: b"program".to_vec(),
            existing: ["/", "/etc", "/etc/systemd", "/etc/systemd/system", "/usr", "/usr/local", "/usr/local/bin"]
                .map(PathBuf::from)
                .into(),
            folders: folders.into_iter().map(|folder| (folder, Keeps::Lasting)).collect(),
            ..Facts::default()
        }
    }

    fn wish() -> Wish {
        Wish { schedule: None, enable: true, drop_ins: None }
    }

    /// The node after the steps, as the next installation finds it.
    fn after(mut facts: Facts, plan: &Plan) -> Facts {
        for step in &plan.steps {
            match step {
                Step::Put(path, bytes, mode) => _ = facts.files.insert(path.clone(), Present::File(bytes.clone(), *mode)),
                Step::Link(path, target) => _ = facts.files.insert(path.clone(), Present::Link(target.clone())),
                Step::Remove(path) => _ = facts.files.remove(path),
                Step::Enable | Step::Start => facts.timers_wait = true,
                Step::RemoveFolder(_) | Step::RemoveTree(_) | Step::Reload | Step::Stop | Step::Forget | Step::UpdateCatalog => {}
            }
        }
        facts.record.clone_from(&plan.after);
        facts
    }

    fn puts(plan: &Plan) -> Vec<String> {
        let put = |step: &Step| if matches!(step, Step::Put(..)) { step.path().map(|path| path.display().to_string()) } else { None };
        plan.steps.iter().filter_map(put).collect()
    }

    #[test]
    fn without_a_place_for_units_or_for_drop_ins_that_are_wished_for_nothing_is_begun() {
        let facts = |folders: &[(&str, Keeps)]| Facts {
            folders: folders.iter().map(|(folder, keeps)| (PathBuf::from(folder), *keeps)).collect(),
            ..Facts::default()
        };
        let lasting = |folder| (folder, Keeps::Lasting);
        let cases = [
            (&[][..], false, Some("folders of units")),
            (&[(UNIT_FOLDERS[0], Keeps::Nothing)], false, Some("folders of units")),
            (&[lasting(UNIT_FOLDERS[1])], false, None),
            (&[lasting(UNIT_FOLDERS[1])], true, Some("--config-dir")),
            (&[(UNIT_FOLDERS[2], Keeps::UntilReboot), lasting(CONFIG_DROP_INS)], true, None),
        ];
        for (folders, with_drop_ins, why) in cases {
            let checked = check_folders(&facts(folders), with_drop_ins);
            assert!(why.map_or(checked.is_ok(), |why| checked.clone().is_err_and(|told| told.contains(why))), "{folders:?}: {checked:?}");
        }
    }

    #[test]
    fn a_second_installation_finds_nothing_to_do() {
        for is_live in [true, false] {
            let first = install(&Facts { is_live, ..facts() }, &wish());
            assert_eq!(first.steps.contains(&Step::Enable), is_live);
            assert_eq!(first.steps.iter().any(|step| matches!(step, Step::Link(..))), !is_live);
            let facts = after(Facts { is_live, ..facts() }, &first);
            assert_eq!(install(&facts, &wish()).steps, [], "{is_live}");
        }
    }

    #[test]
    fn what_will_be_put_is_written_down_before_it_is_put() {
        let plan = install(&facts(), &wish());
        for path in puts(&plan).iter().filter(|path| !path.starts_with("/etc/nuke-images/")) {
            assert!(plan.before.files.contains(Path::new(path)), "{path}");
        }
        assert!(plan.before.folders.contains(Path::new("/etc/nuke-images")) && !plan.before.folders.contains(Path::new("/etc")));
        let elsewhere = Record { files: ["/opt/bin/nuke-images".into()].into(), ..Record::default() };
        let moved = install(&Facts { record: Some(elsewhere), ..facts() }, &wish());
        assert!(moved.before.files.contains(Path::new("/opt/bin/nuke-images")));
        assert!(!moved.after.expect("a record").files.contains(Path::new("/opt/bin/nuke-images")));
    }

    #[test]
    fn an_old_program_goes_after_systemd_has_read_the_new_units_and_an_old_unit_before() {
        let (program, drop_in) = ("/opt/bin/nuke-images", "/etc/systemd/system/nuke-images.service.d/50-reclaim.conf");
        let mut facts = facts();
        facts.record = Some(Record { files: [program, drop_in].map(PathBuf::from).into(), ..Record::default() });
        facts.files.extend([program, drop_in].map(|path| (path.into(), Present::File(vec![], READABLE))));
        let plan = install(&facts, &wish());
        let at = |step: &Step| plan.steps.iter().position(|other| other == step).unwrap_or_else(|| panic!("{step:?} in {:?}", plan.steps));
        assert!(at(&Step::Remove(drop_in.into())) < at(&Step::Reload));
        assert!(at(&Step::Reload) < at(&Step::Remove(program.into())));
    }

    #[test]
    fn a_configuration_that_can_not_be_read_takes_nothing_away() {
        let asking = Asks { reclaim: Some("kubepods.slice".into()), ..Asks::default() };
        let first = install(&Facts { asks: asking, ..facts() }, &wish());
        let facts = after(facts(), &first);
        let unknown = Asks { unknown: true, ..Asks::default() };
        assert_eq!(install(&Facts { asks: unknown, ..facts.clone() }, &wish()).steps, []);
        assert_ne!(install(&facts, &wish()).steps, []);
    }

    #[test]
    fn drop_ins_are_replaced_by_new_ones_and_stay_without() {
        let path = |name: &str| Path::new(CONFIG_DROP_INS).join(name);
        let with =
            |names: &[&str]| Wish { drop_ins: Some(names.iter().map(|name| (path(name), format!("# {name}\n"))).collect()), ..wish() };
        let first = after(facts(), &install(&facts(), &with(&["50-a.toml", "50-b.toml"])));
        assert_eq!(first.files[&path("50-a.toml")], Present::File(b"# 50-a.toml\n".to_vec(), READABLE));
        assert_eq!(install(&first, &wish()).steps, [], "an installation by hand leaves them");
        let second = install(&first, &with(&["50-b.toml"]));
        assert_eq!(second.steps, [Step::Remove(path("50-a.toml"))]);
        let second = after(first, &second);
        assert!(uninstall(&second, false, &[]).steps.contains(&Step::Remove(path("50-b.toml"))));
    }

    #[test]
    fn a_drop_in_takes_no_place_of_a_file_that_somebody_else_has_put_there() {
        let path = Path::new(CONFIG_DROP_INS).join("50-a.toml");
        let wished = BTreeMap::from([(path.clone(), "# new\n".to_owned())]);
        let with = |text: &str| Facts { files: [(path.clone(), Present::File(text.into(), READABLE))].into(), ..facts() };
        assert_eq!(taken_place(&facts(), &wished), None);
        assert_eq!(taken_place(&with("# new\n"), &wished), None);
        assert_eq!(taken_place(&with("# theirs\n"), &wished), Some(path.as_path()));
        let record = Some(Record { files: [path.clone()].into(), ..Record::default() });
        assert_eq!(taken_place(&Facts { record, ..with("# an older one\n") }, &wished), None);
    }

    #[test]
    fn a_configuration_is_replaced_only_where_nobody_has_edited_it() {
        let (shipped, other) = (DEFAULT_CONFIG.as_bytes(), b"[images]\nall = true\n");
        for (present, recorded, put) in [
            (None, None, Some(CONFIG)),
            (Some(shipped), None, None),
            (Some(&other[..]), None, Some(NEW_CONFIG)),
            (Some(&other[..]), Some("[images]\nall = true\n"), Some(CONFIG)),
            (Some(&other[..]), Some("an older default"), Some(NEW_CONFIG)),
            (Some(&other[..]), Some(DEFAULT_CONFIG), None),
            (Some(&b""[..]), Some(""), Some(NEW_CONFIG)),
        ] {
            let mut facts = facts();
            facts.files.extend(present.map(|text| (CONFIG.into(), Present::File(text.to_vec(), READABLE))));
            facts.record = recorded.map(|config| Record { config: config.into(), ..Record::default() });
            let plan = install(&facts, &wish());
            let put_there: Vec<String> = puts(&plan).into_iter().filter(|path| path.contains("config.toml")).collect();
            assert_eq!(put_there, put.into_iter().collect::<Vec<_>>(), "{present:?} {recorded:?}");
        }
    }

    #[test]
    fn units_go_to_the_first_folder_that_lasts() {
        use Keeps::{Lasting, Nothing, UntilReboot};
        for (keeps, chosen, says) in [
            ([Lasting, Lasting, UntilReboot], 0, None),
            ([UntilReboot, Lasting, UntilReboot], 1, Some("which lasts")),
            ([Nothing, Lasting, UntilReboot], 1, Some("which lasts")),
            ([UntilReboot, Nothing, UntilReboot], 0, Some("gone after a reboot")),
            ([Nothing, Nothing, UntilReboot], 2, Some("gone after a reboot")),
        ] {
            let mut facts = facts();
            facts.folders.extend(UNIT_FOLDERS.map(PathBuf::from).into_iter().zip(keeps));
            let plan = install(&facts, &wish());
            assert!(puts(&plan).contains(&format!("{}/nuke-images.timer", UNIT_FOLDERS[chosen])), "{keeps:?}: {plan:?}");
            assert_eq!(plan.notes.iter().any(|note| says.is_some_and(|part| note.contains(part))), says.is_some(), "{keeps:?}");
            assert_eq!(plan.steps.contains(&Step::Enable), chosen == 0, "{keeps:?}");
        }
    }

    #[test]
    fn what_goes_is_what_was_put_there_and_nothing_else() {
        let first = install(&facts(), &wish());
        let mut facts = after(facts(), &first);
        let theirs = PathBuf::from("/etc/systemd/system/nuke-images.service.d/90-mine.conf");
        facts.files.insert(theirs.clone(), Present::File(vec![], READABLE));
        facts.existing.extend(first.before.folders.clone());
        let plan = uninstall(&facts, false, &[]);
        assert_eq!(plan.steps[0], Step::Stop);
        let removed: BTreeSet<&Path> = plan.steps.iter().filter_map(Step::path).collect();
        for path in first.after.iter().flat_map(|record| &record.files).filter(|path| facts.files.contains_key(*path)) {
            assert!(removed.contains(path.as_path()), "{}", path.display());
        }
        assert!(!removed.contains(theirs.as_path()) && !removed.contains(Path::new(CONFIG)));
        assert!(!plan.steps.iter().any(|step| matches!(step, Step::RemoveTree(path) if !path.starts_with("/run"))));
        let purge = uninstall(&facts, true, &[]);
        assert!(purge.steps.contains(&Step::RemoveTree("/etc/nuke-images".into())));
        assert_eq!(uninstall(&Facts { is_live: true, ..Facts::default() }, true, &[]).steps, []);
    }
}
