//! The configuration that a package puts down: accepted, observing, and every commented default is the real one.

use std::fs;
use std::path::PathBuf;

use generate::root;
use nuke_images::config::{Settings, load};
use toml::{Table, Value};

/// What is set, with a value that is not the default.
const SET: [(&str, &str); 3] = [("images.unused_for", "24h"), ("pace.delay", "1s"), ("pace.max_duration", "20m")];
const EXAMPLE: &str = "# for example: ";

fn path() -> PathBuf {
    root().join("packaging/config.toml")
}

/// A line of the file that has a key, commented or not.
struct Line {
    section: String,
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
}

fn lines() -> Vec<Line> {
    let file = fs::read_to_string(path()).expect("packaging/config.toml");
    let (mut section, mut lines) = (String::new(), Vec::new());
    for line in file.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let (kind, text) = match (line.strip_prefix(EXAMPLE), line.strip_prefix('#')) {
            (Some(text), _) => (Kind::Example, text),
            (None, Some(text)) if text.starts_with(' ') => continue,
            (None, Some(text)) => (Kind::Default, text),
            (None, None) => (Kind::Set, line),
        };
        lines.push(Line { section: section.clone(), text: text.to_owned(), kind });
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
fn the_whole_file_would_be_accepted_with_nothing_commented_out() {
    let text = lines().iter().map(|line| format!("{}.{}", line.section, line.text)).collect::<Vec<_>>().join("\n");
    let file = std::env::temp_dir().join(format!("nuke-images-config-{}", std::process::id()));
    fs::write(&file, &text).expect("write a configuration");
    let config = load(Some(&file), Vec::new());
    fs::remove_file(&file).expect("remove it");
    let keys = config.unwrap_or_else(|error| panic!("{error}")).keys;
    assert_eq!(keys.keys().cloned().collect::<Vec<_>>(), sorted(lines().iter().map(Line::key)), "every key once");
}

fn sorted(keys: impl Iterator<Item = String>) -> Vec<String> {
    let mut keys: Vec<String> = keys.collect();
    keys.sort();
    keys
}

#[test]
fn a_package_sets_what_is_ours_and_nothing_else() {
    let set = |line: &&Line| line.kind == Kind::Set;
    let found = sorted(lines().iter().filter(set).map(|line| format!("{} = {}", line.key(), line.value())));
    assert_eq!(found, sorted(SET.iter().map(|(key, value)| format!("{key} = {}", Value::from(*value)))));
}
