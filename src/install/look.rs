//! Looking at a node that is to be installed onto: what is there, what lasts, and what its configuration asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};
use toml::{Table, Value};

use super::content::{CONFIG, CONFIG_DROP_INS, NEW_CONFIG, PACKAGED_UNIT_FOLDERS, PINNED, PROGRAM, SERVICES, UNIT_FOLDERS};
use super::host::Host;
use super::plan::{Asks, Facts, Keeps, Present, questions};
use super::record::{self, Record};
use crate::cli::Options;
use crate::config;
use crate::config::values::{Cgroup, Textfile};
use crate::kubelet::collect_kubelet;
use crate::metrics::Metrics;
use crate::runtime::{Wanted, which_socket};

/// What an earlier installation wrote down; where that is lost or damaged, what of one is found.
pub fn record(host: &Host) -> Result<Option<Record>> {
    match fs::read(host.at(Path::new(record::PATH))) {
        Ok(json) => Ok(Record::parse(&json).ok().or_else(|| found(host))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(found(host)),
        Err(error) => Err(error).with_context(|| format!("read {}", record::PATH)),
    }
}

/// Every file that an installation may have put, where a unit is found that starts our program.
fn found(host: &Host) -> Option<Record> {
    let units = UNIT_FOLDERS.map(|folder| Path::new(folder).join(SERVICES[0]));
    let texts = units.iter().filter_map(|unit| fs::read_to_string(host.at(unit)).ok());
    let starts = |text: String| text.lines().find_map(|line| Some(line.strip_prefix("ExecStart=")?.split(' ').next()?.to_owned()));
    let program = texts.filter_map(starts).map(PathBuf::from).find(|program| program.ends_with(PROGRAM))?;
    let (files, _) = questions(&program, None);
    let kept = [CONFIG, NEW_CONFIG, record::PATH].map(PathBuf::from);
    let is_there = |path: &PathBuf| fs::symlink_metadata(host.at(path)).is_ok();
    let files = files.into_iter().filter(|path| !kept.contains(path) && is_there(path)).collect();
    Some(Record { files, ..Record::default() })
}

/// The unit that a package has put onto the node, if one has.
pub fn unit_of_a_package(host: &Host) -> Option<PathBuf> {
    let units = PACKAGED_UNIT_FOLDERS.map(|folder| Path::new(folder).join(SERVICES[0]));
    units.into_iter().find(|unit| fs::symlink_metadata(host.at(unit)).is_ok())
}

/// Everything that a plan for this program in this place goes by, but for what systemd says; `more` files besides.
pub fn collect_facts(host: &Host, program: &Path, more: &[PathBuf]) -> Result<Facts> {
    let record = record(host)?;
    let (mut files, folders) = questions(program, record.as_ref());
    files.extend(more.iter().cloned());
    let named = ["/run/nuke-images", "/etc/nuke-images", "/var/lib/nuke-images/bin", "/opt/nuke-images/bin"].map(PathBuf::from);
    let recorded = record.iter().flat_map(|record| record.folders.clone());
    let around: BTreeSet<PathBuf> = files.iter().chain(&folders).flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    let all = around.into_iter().chain(named.iter().flat_map(|path| path.ancestors()).map(Path::to_owned)).chain(recorded);
    let existing = all.filter(|folder| host.at(folder).is_dir()).collect();
    let mut facts = Facts { is_live: host.is_live, program: program.to_owned(), record, existing, ..Facts::default() };
    for path in files {
        if let Some(present) = present(&host.at(&path))? {
            facts.files.insert(path, present);
        }
    }
    facts.folders = folders.into_iter().map(|folder| (folder.clone(), keeps(host, &folder))).collect();
    if !host.is_live {
        // Whoever finds this folder takes the machine for one that systemd runs on (sd_booted(3)).
        facts.folders.insert(UNIT_FOLDERS[2].into(), Keeps::Nothing);
    }
    Ok(facts)
}

fn present(path: &Path) -> Result<Option<Present>> {
    let reading = || format!("read {}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
        metadata => metadata.with_context(reading)?,
    };
    Ok(Some(match metadata.file_type() {
        kind if kind.is_symlink() => Present::Link(fs::read_link(path).with_context(reading)?),
        kind if kind.is_file() => Present::File(fs::read(path).with_context(reading)?, metadata.permissions().mode() & 0o7777),
        _ => Present::Other,
    }))
}

/// How long a file in this folder stays; of a folder that isn't there, in the one that it would be made in.
pub fn keeps(host: &Host, folder: &Path) -> Keeps {
    let there = folder.ancestors().map(|folder| host.at(folder)).find(|folder| folder.is_dir()).unwrap_or_else(|| host.root.clone());
    if access(&there, AccessFlags::W_OK).is_err() {
        return Keeps::Nothing;
    }
    // What is made into an image in memory is as lasting as the image.
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let is_image = !host.is_live && device(&there) == device(&host.root);
    if !is_image && is_in_memory(&there) { Keeps::UntilReboot } else { Keeps::Lasting }
}

fn is_in_memory(path: &Path) -> bool {
    match statfs(path).map(|stat| stat.filesystem_type()) {
        Ok(TMPFS_MAGIC) => true,
        Ok(OVERLAYFS_SUPER_MAGIC) => {
            upper_layer(path).is_some_and(|upper| statfs(&upper).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC))
        }
        Ok(_) | Err(_) => false,
    }
}

/// Where an overlay keeps what is written to it, as `/proc/self/mountinfo` (proc(5)) has it.
fn upper_layer(path: &Path) -> Option<PathBuf> {
    let device = path.metadata().ok()?.dev();
    let number = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    upper_of(&mounts, &number)
}

fn upper_of(mounts: &str, device: &str) -> Option<PathBuf> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let options = line.rsplit(' ').next()?;
    options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from)
}

/// The drop-ins of a folder by the paths that they get on the node, each one valid by itself. Names that begin with a dot
/// are what Kubernetes keeps beside the files of a `ConfigMap`.
pub fn read_drop_ins(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let reading = || format!("read the folder {}", folder.display());
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().context("a file has a name")?.to_owned();
        if path.extension().is_none_or(|extension| extension != "toml") || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let place = Path::new(CONFIG_DROP_INS).join(name);
        ensure!(place != Path::new(PINNED), "{}: installation keeps the endpoint under this name: give it another one", path.display());
        config::load(Some(&path), Vec::new())?;
        texts.insert(place, fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(texts)
}

/// What the configuration asks for with these drop-ins `coming` and without those `leaving`; a file that can't be read is a
/// sentence, and asks for nothing.
pub fn collect_asks(host: &Host, coming: &BTreeMap<PathBuf, String>, leaving: &BTreeSet<PathBuf>) -> (Asks, Vec<String>) {
    let (mut keys, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut endpoint = false;
    for path in config_files(host, coming, leaving) {
        let text = coming.get(&path).cloned().map_or_else(|| fs::read_to_string(host.at(&path)), Ok);
        let table = text.map_err(anyhow::Error::from).and_then(|text| Ok(text.parse::<Table>()?));
        match table {
            Ok(table) => {
                endpoint |= path != Path::new(PINNED) && value(&table, "runtime", "endpoint").is_some();
                for (section, key) in [("memory", "drop_caches"), ("memory", "reclaim"), ("memory", "cgroup"), ("metrics", "textfile")] {
                    keys.extend(value(&table, section, key).map(|value| (key, value)));
                }
            }
            Err(error) => wrong.push(format!("what {} asks for can't be told: {}", path.display(), first_line(&error))),
        }
    }
    let metrics = match keys.get("textfile").and_then(Value::as_str).and_then(|text| text.parse().ok()) {
        Some(Textfile(Metrics::Folder(folder))) => Some(folder),
        Some(Textfile(Metrics::Auto | Metrics::Off)) | None => None,
    };
    let is_foreign = |path: &Path| host.at(path).metadata().is_ok_and(|metadata| metadata.uid() != 0);
    let asks = Asks {
        drop_caches: keys.get("drop_caches").is_some_and(is_on),
        reclaim: keys.get("reclaim").filter(|value| is_on(value)).map(|_| cgroup(keys.get("cgroup"))),
        metrics: metrics.map(|path| (path.clone(), is_foreign(&path))),
        endpoint,
        unknown: !wrong.is_empty(),
    };
    (asks, wrong)
}

/// In the order in which they are read.
fn config_files(host: &Host, coming: &BTreeMap<PathBuf, String>, leaving: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.at(Path::new(CONFIG_DROP_INS))).into_iter().flatten();
    let there = entries.filter_map(|entry| Some(Path::new(CONFIG_DROP_INS).join(entry.ok()?.file_name())));
    let there = there.filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !leaving.contains(path));
    let drop_ins: BTreeSet<PathBuf> = there.chain(coming.keys().cloned()).collect();
    let file = PathBuf::from(CONFIG);
    let file = fs::symlink_metadata(host.at(&file)).is_ok().then_some(file);
    file.into_iter().chain(drop_ins).collect()
}

fn value(table: &Table, section: &str, key: &str) -> Option<Value> {
    table.get(section)?.get(key).cloned()
}

/// The cgroup that is named; where it is none, the one that would be asked.
fn cgroup(written: Option<&Value>) -> String {
    let named = written.and_then(Value::as_str).and_then(|name| name.parse::<Cgroup>().ok());
    named.unwrap_or_else(|| config::settings::Memory::default().cgroup).to_string()
}

fn is_on(value: &Value) -> bool {
    *value != Value::Boolean(false) && value.as_str().is_none_or(|text| !["", "off", "none", "0"].contains(&text))
}

fn first_line(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The endpoint to pin: the one that was said, else what is pinned already and still there, else what is found here.
/// Where a person's configuration names one, that is the one.
pub fn endpoint_to_pin(host: &Host, options: &Options, asks: &Asks) -> (Option<String>, Option<String>) {
    if let Some(endpoint) = &options.runtime_endpoint {
        return (Some(as_uri(&endpoint.to_string())), None);
    }
    if asks.endpoint {
        return (None, None);
    }
    let pinned = fs::read_to_string(host.at(Path::new(PINNED))).ok().and_then(|text| text.parse::<Table>().ok());
    let pinned = pinned.and_then(|table| value(&table, "runtime", "endpoint")?.as_str().map(str::to_owned));
    if let Some(pinned) = pinned.filter(|endpoint| !host.is_live || Path::new(endpoint.trim_start_matches("unix://")).exists()) {
        return (Some(pinned), None);
    }
    if !host.is_live {
        return (None, None);
    }
    let wanted = Wanted { kind: options.runtime.as_ref().map(|name| name.0), ..Wanted::default() };
    match collect_kubelet().and_then(|kubelet| which_socket(&wanted, &kubelet)) {
        Ok(socket) => (Some(as_uri(&socket.display().to_string())), None),
        Err(error) => (None, Some(format!("no endpoint is pinned: {error:#}"))),
    }
}

fn as_uri(endpoint: &str) -> String {
    if endpoint.starts_with('/') { format!("unix://{endpoint}") } else { endpoint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().expect("folder");
        let host = Host { root: folder.path().to_owned(), is_live: false };
        fs::create_dir_all(host.at(Path::new(CONFIG_DROP_INS))).expect("folder");
        (folder, host)
    }

    fn asked(host: &Host) -> (Asks, Vec<String>) {
        collect_asks(host, &BTreeMap::new(), &BTreeSet::new())
    }

    #[test]
    fn an_installation_whose_record_is_lost_or_damaged_is_found_by_the_unit_that_starts_it() {
        let (_folder, host) = node();
        let write = |path: &str, text: &str| {
            let place = host.at(Path::new(path));
            fs::create_dir_all(place.parent().expect("a folder")).expect("folder");
            fs::write(place, text).expect("write");
        };
        write(CONFIG, "");
        write("/opt/bin/nuke-images", "");
        assert_eq!(record(&host).expect("look"), None);
        let unit = format!("{}/{}", UNIT_FOLDERS[1], SERVICES[0]);
        write(&unit, "[Service]\nExecStart=/opt/bin/other --yes\n");
        assert_eq!(record(&host).expect("look"), None, "somebody else's");
        write(&unit, "[Service]\nExecStart=/opt/bin/nuke-images --yes\n");
        for damaged in [None, Some("{")] {
            if let Some(json) = damaged {
                write(record::PATH, json);
            }
            let files = record(&host).expect("look").expect("a record").files;
            assert_eq!(files, BTreeSet::from([unit.clone().into(), "/opt/bin/nuke-images".into()]), "{damaged:?}");
        }
    }

    #[test]
    fn the_configuration_is_asked_for_what_needs_rights_and_later_files_win() {
        let (_folder, host) = node();
        let write = |path: &str, text: &str| fs::write(host.at(Path::new(path)), text).expect("write");
        assert_eq!(asked(&host), (Asks::default(), vec![]));
        for folder in ["/", "/etc", "/usr/lib", "/srv/a\\n[Service]"] {
            write(CONFIG, &format!("[metrics]\ntextfile = \"{folder}\"\n"));
            assert_eq!(asked(&host).0.metrics, None, "{folder}");
        }
        write(CONFIG, "[memory]\ndrop_caches = \"all\"\nreclaim = \"1GiB\"\n[metrics]\ntextfile = \"/srv/metrics\"\n");
        write(&format!("{CONFIG_DROP_INS}/20.toml"), "[memory]\nreclaim = \"off\"\n[runtime]\nendpoint = \"unix:///x.sock\"\n");
        let (asks, wrong) = asked(&host);
        assert_eq!((asks.drop_caches, asks.reclaim, asks.endpoint), (true, None, true));
        assert_eq!(asks.metrics, Some(("/srv/metrics".into(), false)));
        assert_eq!(wrong, [""; 0]);
        for (more, cgroup) in
            [("", "kubepods.slice"), ("cgroup = \"kubelet.slice\"\n", "kubelet.slice"), ("cgroup = \"../x\"\n", "kubepods.slice")]
        {
            write(&format!("{CONFIG_DROP_INS}/20.toml"), &format!("[memory]\nreclaim = \"1GiB\"\n{more}"));
            assert_eq!(asked(&host).0.reclaim.as_deref(), Some(cgroup), "{more}");
        }
        write(CONFIG, "[memory\n");
        let (asks, wrong) = asked(&host);
        assert!(!asks.drop_caches && asks.unknown && wrong.len() == 1 && wrong[0].contains(CONFIG), "{wrong:?}");
    }

    #[test]
    fn drop_ins_that_come_are_asked_too_and_those_that_leave_no_longer() {
        let (_folder, host) = node();
        let path = |name: &str| Path::new(CONFIG_DROP_INS).join(name);
        fs::write(host.at(&path("20.toml")), "[memory]\nreclaim = \"1GiB\"\n").expect("write");
        fs::write(host.at(&path("30.toml")), "[memory]\ndrop_caches = \"all\"\n").expect("write");
        let coming = BTreeMap::from([(path("20.toml"), "[metrics]\ntextfile = \"/srv/metrics\"\n".into())]);
        let (asks, wrong) = collect_asks(&host, &coming, &BTreeSet::from([path("20.toml"), path("30.toml")]));
        assert_eq!(asks, Asks { metrics: Some(("/srv/metrics".into(), false)), ..Asks::default() });
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn reads_the_files_of_a_config_map_and_refuses_what_could_not_be_used() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("write");
        fs::create_dir(folder.path().join("..data")).expect("what Kubernetes keeps there");
        write(".hidden.toml", "nonsense");
        write("README", "nonsense");
        write("50-shop.toml", "[images]\nregistries = [\"registry.example.com\"]\n");
        let drop_ins = read_drop_ins(folder.path()).expect("drop-ins");
        assert_eq!(drop_ins.into_keys().collect::<Vec<_>>(), [Path::new(CONFIG_DROP_INS).join("50-shop.toml")]);
        write("60.toml", "[images]\nregistry = [\"registry.example.com\"]\n");
        let error = format!("{:#}", read_drop_ins(folder.path()).expect_err("a slip of the pen"));
        assert!(error.contains("60.toml") && error.contains("registry"), "{error}");
        fs::rename(folder.path().join("60.toml"), folder.path().join("10-installed.toml")).expect("rename");
        assert!(format!("{:#}", read_drop_ins(folder.path()).expect_err("its name")).contains("another"));
        assert!(read_drop_ins(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn the_pin_of_an_installation_is_no_choice_of_a_person() {
        let (_folder, host) = node();
        fs::write(host.at(Path::new(PINNED)), "[runtime]\nendpoint = \"unix:///run/x.sock\"\n").expect("write");
        assert!(!asked(&host).0.endpoint);
        assert_eq!(endpoint_to_pin(&host, &Options::default(), &Asks::default()), (Some("unix:///run/x.sock".into()), None));
        let said = Options { runtime_endpoint: Some("/run/y.sock".parse().expect("a socket")), ..Options::default() };
        assert_eq!(endpoint_to_pin(&host, &said, &Asks::default()).0.as_deref(), Some("unix:///run/y.sock"));
        assert_eq!(endpoint_to_pin(&host, &Options::default(), &Asks { endpoint: true, ..Asks::default() }), (None, None));
    }

    #[test]
    fn a_unit_where_packages_put_theirs_is_a_packages_and_our_own_is_not() {
        let (_folder, host) = node();
        let write = |path: &str| {
            let path = host.at(Path::new(path));
            fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            fs::write(path, "").expect("write");
        };
        write("/etc/systemd/system/nuke-images.service");
        write("/usr/local/lib/systemd/system/nuke-images.service");
        assert_eq!(unit_of_a_package(&host), None);
        write("/usr/lib/systemd/system/nuke-images.service");
        assert_eq!(unit_of_a_package(&host), Some("/usr/lib/systemd/system/nuke-images.service".into()));
    }

    #[test]
    fn an_overlay_tells_where_it_keeps_what_is_written() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:44 / /etc rw,noexec - overlay overlayfs rw,lowerdir=/etc,upperdir=/tmp/etc_overlay/etc,workdir=/tmp/w\n";
        assert_eq!(upper_of(mounts, "0:44"), Some("/tmp/etc_overlay/etc".into()));
        assert_eq!(upper_of(mounts, "8:1"), None);
        assert_eq!(upper_of(mounts, "8:2"), None);
    }
}
