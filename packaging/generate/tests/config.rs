//! The configuration that a package puts down: accepted, observing, and every commented default is the real one.

use std::fs;
use std::path::PathBuf;

use generate::root;
use nuke_images::config::{Config, Settings, load};
use toml::{Table, Value};

/// What is set, once the product knows it, with a value that is not the default.
const SET: [(&str, &str); 3] = [("images.unused_for", "24h"), ("pace.delay", "1s"), ("pace.max_duration", "20m")];
/// Keys that the product may not know yet; anything else that it doesn't know is a slip of the pen.
const TO_COME: [&str; 11] = [
    "images.unused_for",
    "images.keep_newest",
    "disk.high_threshold",
    "disk.low_threshold",
    "disk.free_bytes",
    "pace.delay",
    "pace.max_duration",
    "pace.max_images",
    "pace.max_io_pressure",
    "memory.drop_caches",
    "memory.reclaim",
];
const EXAMPLE: &str = "# for example: ";

fn path() -> PathBuf {
    root().join("packaging/config.toml")
}

/// A line of the file that has a key, commented or not.
struct Line {
    section: String,
    section_is_set: bool,
    /// As in `min_age = "1h"`.
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Set,
    Default,
    Example,
}

impl Line {
    fn key(&self) -> String {
        format!("{}.{}", self.section, self.text.split(' ').next().unwrap_or_default())
    }

    fn value(&self) -> Value {
        let table: Table = self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.text));
        table.into_iter().next().expect("a key").1
    }

    /// The configuration of this line alone, or what is wrong with it.
    fn alone(&self) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, format!("[{}]\n{}\n", self.section, self.text)).expect("write a configuration");
        load(Some(&file), Vec::new()).map_err(|error| error.to_string())
    }
}

fn lines() -> Vec<Line> {
    let file = fs::read_to_string(path()).expect("packaging/config.toml");
    let (mut section, mut section_is_set, mut lines) = (String::new(), false, Vec::new());
    for line in file.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.trim_start_matches('#').strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            (section, section_is_set) = (name.to_owned(), !line.starts_with('#'));
            continue;
        }
        let (kind, text) = match (line.strip_prefix(EXAMPLE), line.strip_prefix('#')) {
            (Some(text), _) => (Kind::Example, text),
            (None, Some(text)) if text.starts_with(' ') => continue,
            (None, Some(text)) => (Kind::Default, text),
            (None, None) => (Kind::Set, line),
        };
        lines.push(Line { section: section.clone(), section_is_set, text: text.to_owned(), kind });
    }
    lines
}

fn defaults() -> Table {
    Table::try_from(Settings::default()).expect("the defaults")
}

#[test]
fn the_configuration_of_a_package_is_accepted_and_only_observes() {
    let config = load(Some(&path()), Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.settings.policy().selectors.is_empty());
}

#[test]
fn each_commented_default_is_the_real_one_and_none_is_left_out() {
    let (lines, defaults) = (lines(), defaults());
    for (section, keys) in &defaults {
        for (key, value) in keys.as_table().expect("a section") {
            let key = format!("{section}.{key}");
            let line = lines.iter().find(|line| line.key() == key).unwrap_or_else(|| panic!("{key} is not in config.toml"));
            let is_ours = SET.iter().any(|(set, _)| *set == key);
            assert!(is_ours || (line.kind, line.value()) == (Kind::Default, value.clone()), "{key} = {value} is the default");
        }
    }
}

#[test]
fn every_line_would_be_accepted_or_is_of_a_key_to_come() {
    for line in lines() {
        let verdict = line.alone();
        let is_unknown = verdict.as_ref().is_err_and(|error| error.contains("unknown field"));
        assert!(verdict.is_ok() || is_unknown && TO_COME.contains(&line.key().as_str()), "{}: {verdict:?}", line.text);
        assert!(verdict.is_err() || line.section_is_set, "[{}] is known by now: take its # away", line.section);
    }
}

#[test]
fn what_a_package_sets_is_set_as_soon_as_the_product_knows_it() {
    let lines = lines();
    for (key, value) in SET {
        let line = lines.iter().find(|line| line.key() == key).unwrap_or_else(|| panic!("{key} is not in config.toml"));
        let kind = if line.alone().is_ok() { Kind::Set } else { Kind::Default };
        assert_eq!((line.kind, line.value()), (kind, value.into()), "{key}");
    }
    let set: Vec<String> = lines.iter().filter(|line| line.kind == Kind::Set).map(Line::key).collect();
    assert!(set.iter().all(|key| SET.iter().any(|(ours, _)| ours == key)), "{set:?}");
}
