//! Configuration: files as written → merged with the flags → validated, and where each value came from.
//!
//! A later layer replaces a key of an earlier one: flags over drop-ins over the file over the defaults. Exceptions keep a
//! command line from doing more than it says: `exclude` adds up over all layers, a selector among the flags puts all
//! configured selectors aside, and so does a way to give memory back with the other one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

pub mod settings;
pub mod values;

pub use settings::Settings;

const FILE: &str = "/etc/nuke-images/config.toml";
const DROP_INS: &str = "/etc/nuke-images/config.d";
/// Largest file that is read: a hundred times what a person writes.
const FILE_CAP: u64 = 1 << 20;
/// Keys that say what may go at all.
const SELECTORS: [&str; 3] = ["images.registries", "images.include", "images.all"];
/// Ways to give memory back.
const WAYS: [&str; 2] = ["memory.drop_caches", "memory.reclaim"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A file and the line in it.
    File(PathBuf, usize),
    /// An option of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value that an option of the command line sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    /// As in `images.min_age`.
    pub key: &'static str,
    /// As in `--min-age`.
    pub name: &'static str,
    /// What it is set to.
    pub value: Value,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Validated.
    pub settings: Settings,
    /// Every key with its value and where that came from.
    pub keys: BTreeMap<String, (Value, Vec<Source>)>,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// What is wrong with the configuration; ends in exit code 2.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the files, lays the flags over them and checks the whole. With `file`, that one alone is read.
pub fn load(file: Option<&Path>, flags: Vec<Flag>) -> Result<Config, ConfigError> {
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => default_files(Path::new(FILE), Path::new(DROP_INS))?,
    };
    let mut texts = Vec::new();
    for path in &files {
        texts.push((path.clone(), read(path)?));
    }
    merge(&texts, flags).map(|(settings, keys)| Config { settings, keys, files })
}

/// The file, where there is one, and the drop-ins in order. A link that leads nowhere is there: it fails when it is read.
fn default_files(file: &Path, drop_ins: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    match fs::symlink_metadata(file) {
        Ok(_) => files.push(file.to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(ConfigError(format!("{}: {error}", file.display()))),
    }
    let wrong = |error: io::Error| ConfigError(format!("{}: {error}", drop_ins.display()));
    let entries = match fs::read_dir(drop_ins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(wrong(error)),
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrong)?.path();
        found.extend((path.extension().is_some_and(|extension| extension == "toml")).then_some(path));
    }
    found.sort();
    files.extend(found);
    Ok(files)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let wrong = |what: String| ConfigError(format!("{}: {what}", path.display()));
    let size = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_CAP {
        return Err(wrong(format!("has {size} bytes; a configuration of more than 1 MiB is not read")));
    }
    fs::read_to_string(path).map_err(|error| wrong(error.to_string()))
}

type Keys = BTreeMap<String, (Value, Vec<Source>)>;

fn merge(texts: &[(PathBuf, String)], flags: Vec<Flag>) -> Result<(Settings, Keys), ConfigError> {
    let mut keys = defaults();
    for (path, text) in texts {
        // Checked whole by itself first, so that an error names this file and the place in it.
        let table = DeTable::parse(text).map_err(|error| ConfigError(describe(path, text, &error, error.span())))?;
        toml::from_str::<Settings>(text).map_err(|error| {
            let at = error.span().map(|at| item_at_fault(table.get_ref(), &at).unwrap_or(at));
            ConfigError(describe(path, text, &error, at))
        })?;
        for (key, value, at) in flatten(table.get_ref()) {
            set(&mut keys, key, value, Source::File(path.clone(), line_and_column(text, at).0));
        }
    }
    for group in [&SELECTORS[..], &WAYS] {
        if flags.iter().any(|flag| group.contains(&flag.key)) {
            keys.retain(|key, _| !group.contains(&key.as_str()));
            keys.extend(defaults().into_iter().filter(|(key, _)| group.contains(&key.as_str())));
        }
    }
    for flag in flags {
        set(&mut keys, flag.key.to_owned(), flag.value, Source::Flag(flag.name));
    }
    let mut merged = Table::new();
    for (key, (value, _)) in &keys {
        if let Some((section, name)) = key.split_once('.') {
            let section = merged.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().into_iter().for_each(|table| _ = table.insert(name.to_owned(), value.clone()));
        }
    }
    let settings = Settings::deserialize(merged).map_err(|error| ConfigError(error.message().to_owned()))?;
    match settings.contradiction() {
        Some(contradiction) => Err(ConfigError(contradiction)),
        None => Ok((settings, keys)),
    }
}

/// A later value replaces an earlier one; patterns of `exclude` add up.
fn set(keys: &mut Keys, key: String, value: Value, source: Source) {
    match (keys.get_mut(&key), value) {
        (Some((Value::Array(old), sources)), Value::Array(more)) if key == "images.exclude" => {
            sources.retain(|source| *source != Source::Default);
            sources.push(source);
            old.extend(more);
        }
        (_, value) => _ = keys.insert(key, (value, vec![source])),
    }
}

fn defaults() -> Keys {
    let table = Table::try_from(Settings::default()).unwrap_or_default();
    let sections = table.into_iter().filter_map(|(section, keys)| match keys {
        Value::Table(keys) => Some((section, keys)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) => None,
    });
    sections
        .flat_map(|(section, keys)| keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), (value, vec![Source::Default]))))
        .collect()
}

/// `section.key`, value, and the position of the value in the text.
fn flatten(table: &DeTable<'_>) -> Vec<(String, Value, usize)> {
    let keys = |section: &Spanned<DeValue<'_>>| -> Vec<(String, Value, usize)> {
        let table = section.get_ref().as_table().into_iter().flatten();
        table.map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()), value.span().start)).collect()
    };
    let qualify = |(section, body): (&Spanned<_>, &Spanned<DeValue<'_>>)| -> Vec<_> {
        let section: &std::borrow::Cow<'_, str> = section.get_ref();
        keys(body).into_iter().map(|(key, value, at)| (format!("{section}.{key}"), value, at)).collect()
    };
    table.iter().flat_map(qualify).collect()
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| Value::String(number.to_string()), Value::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect())
        }
    }
}

/// The item at fault, where the value at `at` is a list: `toml` tells only where the list begins.
fn item_at_fault(table: &DeTable<'_>, at: &Range<usize>) -> Option<Range<usize>> {
    let (section, key, items) = table.iter().find_map(|(section, body)| {
        let (key, list) = body.get_ref().as_table()?.iter().find(|(_, value)| value.span() == *at)?;
        Some((section.get_ref().to_string(), key.get_ref().to_string(), list.get_ref().as_array()?))
    })?;
    let accepts = |items: Vec<Value>| {
        let body = Table::from_iter([(key.clone(), Value::Array(items))]);
        Settings::deserialize(Table::from_iter([(section.clone(), Value::Table(body))])).is_ok()
    };
    // Where not even an empty list may stand, the list is at fault.
    let wrong = items.iter().find(|item| accepts(Vec::new()) && !accepts(vec![plain(item.get_ref())]))?;
    Some(wrong.span())
}

/// `file:line:column: the text that is wrong: what is wrong`.
fn describe(path: &Path, text: &str, error: &toml::de::Error, at: Option<Range<usize>>) -> String {
    let Some(span) = at else {
        return format!("{}: {}", path.display(), error.message());
    };
    let (line, column) = line_and_column(text, span.start);
    let found = text.get(span).unwrap_or_default().lines().next().unwrap_or_default();
    let found = if found.is_empty() { String::new() } else { format!("{found}: ") };
    format!("{}:{line}:{column}: {found}{}", path.display(), error.message().lines().collect::<Vec<_>>().join(" "))
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn merged(texts: &[&str], flags: Vec<Flag>) -> Result<(Settings, Keys), ConfigError> {
        let name = |(i, text): (usize, &&str)| (PathBuf::from(format!("{i}.toml")), (*text).to_owned());
        merge(&texts.iter().enumerate().map(name).collect::<Vec<_>>(), flags)
    }

    fn flag(key: &'static str, value: impl Into<Value>) -> Flag {
        Flag { key, name: "--flag", value: value.into() }
    }

    #[test]
    fn flags_win_over_drop_ins_and_these_over_the_file() {
        let texts = ["[images]\nmin_age = \"2h\"\nall = true\n[pace]\nbatch = 7\n", "[images]\nmin_age = \"3h\"\n"];
        let (settings, keys) = merged(&texts, vec![flag("pace.batch", 9)]).expect("merge");
        assert_eq!(settings.images.min_age.0, Duration::from_hours(3));
        assert_eq!(settings.pace.batch.0, 9);
        assert_eq!(keys["images.min_age"].1, [Source::File("1.toml".into(), 2)]);
        assert_eq!(keys["images.all"].1, [Source::File("0.toml".into(), 3)]);
        assert_eq!(keys["pace.batch"].1, [Source::Flag("--flag")]);
        assert_eq!(keys["safety.min_uptime"].1, [Source::Default]);
    }

    #[test]
    fn excluded_patterns_add_up() {
        let exclude = vec![flag("images.exclude", vec!["c"])];
        let (settings, keys) = merged(&["[images]\nexclude = [\"a\"]\n", "[images]\nexclude = [\"b\"]\n"], exclude).expect("merge");
        assert_eq!(settings.images.exclude.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(keys["images.exclude"].1.len(), 3);
    }

    #[test]
    fn a_selector_among_the_flags_puts_the_configured_ones_aside() {
        let (settings, _) =
            merged(&["[images]\nall = true\ninclude = [\"x\"]\n"], vec![flag("images.registries", vec!["quay.io"])]).expect("merge");
        assert!(!settings.images.all && settings.images.include.is_empty());
        assert_eq!(settings.images.registries.len(), 1);
    }

    #[test]
    fn a_way_to_give_memory_back_among_the_flags_puts_the_other_one_aside() {
        let configured = ["[memory]\ndrop_caches = \"all\"\nwhen_available_below = 5\n"];
        let (settings, keys) = merged(&configured, vec![flag("memory.reclaim", "1GiB")]).expect("merge");
        assert!(settings.memory.drop_caches.is_none() && settings.memory.reclaim.is_some());
        assert!(!keys.contains_key("memory.drop_caches"));
        assert!(settings.memory.when_available_below.is_some());
        assert!(merged(&configured, vec![]).expect("merge").0.memory.drop_caches.is_some());
    }

    #[test]
    fn an_error_names_file_line_column_value_and_the_way_out() {
        for (text, parts) in [
            ("[images]\nmin_age = \"1 houre\"\n", vec!["0.toml:2:11", "1 houre", "15m"]),
            ("[images]\nmin_age = 5\n", vec!["0.toml:2:11", "5", "expected a string"]),
            ("[images]\nexclude = [\"a\", \"(\"]\n", vec!["0.toml:2:17: \"(\": ", "unclosed group", "grep"]),
            ("[images]\nexclude = [\n  \"a\",\n  5,\n]\n", vec!["0.toml:4:3: 5: ", "expected a string"]),
            ("[images]\nall = [true]\n", vec!["0.toml:2:7: [true]: ", "expected a boolean"]),
            ("[images]\nagee = [\"(\"]\n", vec!["0.toml:2:1: agee: ", "min_age"]),
            ("[images]\nmin_agee = \"1h\"\n", vec!["0.toml:2:1", "min_agee", "min_age"]),
            ("[imagess]\n", vec!["0.toml:1:2", "imagess", "images"]),
            ("[images]\nall = \n", vec!["0.toml:2:"]),
            ("[images]\nall = true\nall = false\n", vec!["0.toml:3:1", "duplicate"]),
            ("[pace]\nbatch = 0\n", vec!["0.toml:2:9", "1 to 1000"]),
            ("[runtime]\nctr = \"ctr\"\n", vec!["0.toml:2:7", "absolute path"]),
            ("[runtime]\ncrictl = \"no\"\n", vec!["0.toml:2:10", "\"off\""]),
            ("[runtime]\nname = \"rkt\"\n", vec!["0.toml:2:8", "rkt", "cri-o"]),
            ("[runtime]\nendpoint = \"tcp://x\"\n", vec!["0.toml:2:12", "unix://"]),
            ("[images]\nregistries = [\"https://quay.io/\"]\n", vec!["0.toml:2:15", "quay.io"]),
            ("[images]\nregistries = [\"library\"]\n", vec!["0.toml:2:15", "quay.io"]),
            ("[images]\nregistries = [\"index.docker.io\"]\n", vec!["0.toml:2:15", "write that"]),
            ("[disk]\nhigh_threshold = 100\n", vec!["0.toml:2:18", "1 to 99"]),
            ("[disk]\nfree_bytes = \"much\"\n", vec!["0.toml:2:14", "20GB"]),
            ("[pace]\nmax_images = 0\n", vec!["0.toml:2:14"]),
            ("[memory]\ndrop_caches = \"3\"\n", vec!["0.toml:2:15", "pagecache"]),
            ("[memory]\ncgroup = \"/x\"\n", vec!["0.toml:2:10", "kubepods.slice"]),
            ("[metrics]\ntextfile = \"x\"\n", vec!["0.toml:2:12", "absolute path"]),
            ("[runtime]\nnamespace = \"--all\"\n", vec!["0.toml:2:13", "k8s.io"]),
        ] {
            let ConfigError(error) = merged(&[text], vec![]).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{text:?} gives {error:?}, without {part:?}");
            }
        }
    }

    #[test]
    fn a_file_that_is_there_but_can_not_be_read_is_an_error_and_not_an_absent_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, drop_ins) = (folder.path().join("config.toml"), folder.path().join("config.d"));
        assert_eq!(default_files(&file, &drop_ins), Ok(vec![]));
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &file).expect("a link");
        let files = default_files(&file, &drop_ins).expect("list");
        assert_eq!(files, [file.as_path()]);
        assert!(read(&files[0]).expect_err("leads nowhere").0.starts_with(&file.display().to_string()));
        let below_a_file = folder.path().join("not-a-folder");
        fs::write(&below_a_file, "").expect("a file");
        assert!(default_files(&below_a_file.join("config.toml"), &drop_ins).is_err());
        fs::remove_file(&file).expect("remove the link");
        assert!(default_files(&file, &below_a_file).is_err());
    }

    #[test]
    fn drop_ins_are_read_by_name_and_other_files_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["20.toml", "10.toml", "30.toml.bak", "README"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        let files = default_files(&folder.path().join("none.toml"), folder.path()).expect("list");
        assert_eq!(files, ["10.toml", "20.toml"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn thresholds_that_contradict_each_other_are_an_error() {
        for (text, part) in [
            ("[disk]\nhigh_threshold = 70\nlow_threshold = 80\n", "disk.low_threshold 80% is above disk.high_threshold 70%"),
            ("[disk]\nlow_threshold = 80\n", "disk.high_threshold"),
        ] {
            let ConfigError(error) = merged(&[text], vec![]).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_share_is_a_number_or_a_text_and_a_size_has_a_unit_or_none() {
        let text = "[disk]\nhigh_threshold = 80\nlow_threshold = \"70%\"\nfree_bytes = \"20GiB\"\n[memory]\nreclaim = \"1000\"\n";
        let (settings, keys) = merged(&[text], vec![flag("disk.low_threshold", "60")]).expect("merge");
        let target = settings.policy().target.expect("a target");
        assert_eq!((target.high, target.low, target.free_bytes), (Some(80), Some(60), Some(20 << 30)));
        assert_eq!(settings.memory.reclaim.expect("a size").0, 1_000);
        assert_eq!(keys["disk.low_threshold"].1, [Source::Flag("--flag")]);
    }

    #[test]
    fn defaults_are_those_of_the_readme() {
        let (settings, _) = merged(&[], vec![]).expect("merge");
        let policy = settings.policy();
        assert!(policy.selectors.is_empty() && policy.keep_unpullable && !policy.allow_idle);
        assert_eq!((policy.min_age, policy.min_uptime), (Duration::from_hours(1), Duration::from_mins(30)));
        assert_eq!(settings.runtime.namespace.0, "k8s.io");
    }
}
