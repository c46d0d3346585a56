//! The laws that the source itself must keep: who may import what, and how large a file may grow.
//!
//! It reads text, so it errs towards red: an import that it doesn't know is one to think about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Modules that judge and tell: values in, values out.
const PURE: [&str; 7] = ["reference", "inventory", "policy", "plan", "report", "units", "output"];
/// Parts of others: what is installed is planned before it is done.
const PURE_PARTS: [&str; 4] = ["doctor", "doctor/units", "install/content", "install/plan"];
/// What of the standard library can't reach the outside world; of `sync` a shared text is all there is use for. `SystemTime` is
/// the type; asking it is forbidden below.
const HARMLESS: [&str; 10] = ["cmp", "collections", "fmt", "iter", "mem", "path", "slice", "str", "sync", "time"];
/// Crates that only reckon and write text.
const CRATES: [&str; 6] = ["bytesize", "console", "humantime", "regex", "serde", "serde_json"];
/// Ways to the outside that need no import.
const REACHING_OUT: [&str; 13] = [
    "SystemTime::now",
    "Instant",
    ".elapsed(",
    "Command::",
    "tracing::",
    "println!",
    "print!(",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".metadata()",
    ".read_dir()",
    ".canonicalize()",
];
const MOST_LINES_OF_CODE: usize = 450;
const MOST_LINES_OF_MAIN: usize = 90;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// As in `output/text`.
fn module(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).expect("below src");
    below.with_extension("").display().to_string()
}

/// Lines of code: no blank ones, no comments, and not the tests at the end.
fn code(text: &str) -> Vec<&str> {
    let (code, tests) = text.split_once("\n#[cfg(test)]\n").unwrap_or((text, "mod tests {\n}\n"));
    assert!(tests.starts_with("mod ") || tests.starts_with("pub mod "), "tests stand in one module at the end: {tests:.60}");
    assert_eq!(tests.lines().filter(|line| *line == "}").count(), 1, "nothing stands behind the tests: {tests:.60}");
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

/// What stands behind `start` in paths: `fs` for `std::` in `std::fs::read`.
fn heads(line: &str, start: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let begins = line.match_indices(start).filter(|(at, _)| !line[..*at].ends_with(is_word));
    let head = |(at, _): (usize, &str)| -> String {
        let rest = &line[at + start.len()..];
        let word: String = rest.chars().take_while(|&c| is_word(c)).collect();
        if word.is_empty() { rest.chars().take(1).collect() } else { word }
    };
    begins.map(head).collect()
}

/// What a line of a pure file must not have in it.
fn offences(line: &str) -> Vec<String> {
    let foreign = |start: &str, allowed: &[&str]| -> Vec<String> {
        heads(line, start).into_iter().filter(|head| !allowed.contains(&head.as_str())).map(|head| format!("{start}{head}")).collect()
    };
    // Their values are what is printed; reading the files is not what is imported.
    let own: Vec<&str> = PURE.iter().copied().chain(["config", "state", "doctor", "metrics"]).collect();
    let mut found = foreign("std::", &HARMLESS);
    found.extend(foreign("crate::", &own));
    if let Some(import) = line.strip_prefix("use ") {
        let head: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let known = ["std", "crate", "super", "self"].contains(&head.as_str()) || CRATES.contains(&head.as_str());
        found.extend((!known).then(|| format!("use {head}")));
    }
    found.extend(REACHING_OUT.iter().filter(|word| line.contains(**word)).map(ToString::to_string));
    found
}

#[test]
fn what_judges_and_tells_reaches_no_process_file_environment_clock_or_log() {
    let is_pure =
        |file: &&PathBuf| PURE.contains(&module(file).split('/').next().unwrap_or_default()) || PURE_PARTS.contains(&module(file).as_str());
    let all = sources(&root().join("src"));
    let pure: Vec<&PathBuf> = all.iter().filter(is_pure).collect();
    assert!(pure.len() >= PURE.len(), "{pure:?}");
    for file in pure {
        for line in code(&read(file)) {
            assert_eq!(offences(line), [""; 0], "{}: {line}", file.display());
        }
    }
}

#[test]
fn sees_each_way_out_of_a_pure_file() {
    for line in [
        "use std::fs;",
        "use std::{fs, io};",
        "use std::io::Write;",
        "let uptime = std::env::var(\"X\");",
        "use crate::process::Runner;",
        "use crate::{disk, plan};",
        "crate::files::write_atomically(path, text)",
        "use tracing::info;",
        "use nix::unistd;",
        "let now = SystemTime::now();",
        "if path.exists() {",
        "println!(\"{x}\");",
    ] {
        assert_ne!(offences(line), [""; 0], "{line}");
    }
    for line in ["use std::fmt::Write as _;", "use crate::units::Timestamp;", "use super::*;", "env!(\"CARGO_PKG_VERSION\")"] {
        assert_eq!(offences(line), [""; 0], "{line}");
    }
}

#[test]
fn what_removes_can_not_judge_and_knows_no_dry_run() {
    let execute: Vec<PathBuf> =
        sources(&root().join("src")).into_iter().filter(|file| module(file).split('/').next() == Some("execute")).collect();
    assert!(!execute.is_empty());
    for file in execute {
        for line in code(&read(&file)) {
            let knows = ["policy", "Policy", "judge(", "Verdict", "dry_run"].iter().find(|word| line.contains(**word));
            assert_eq!(knows, None, "{}: {line}", file.display());
        }
    }
}

#[test]
fn no_file_outgrows_a_reader() {
    for file in sources(&root().join("src")) {
        let lines = code(&read(&file)).len();
        assert!(lines <= MOST_LINES_OF_CODE, "{} has {lines} lines of code, at most {MOST_LINES_OF_CODE}", file.display());
    }
    let main = read(&root().join("src/main.rs")).lines().count();
    assert!(main < MOST_LINES_OF_MAIN, "main.rs has {main} lines");
}

#[test]
fn the_compiler_is_told_what_it_must_refuse() {
    let manifest: Table = read(&root().join("Cargo.toml")).parse().expect("Cargo.toml");
    let level = |tool: &str, lint: &str| manifest["lints"][tool][lint].as_str().map(str::to_owned);
    assert_eq!(level("clippy", "wildcard_enum_match_arm").as_deref(), Some("deny"));
    assert_eq!(level("rust", "unsafe_code").as_deref(), Some("forbid"));
    let clippy: Table = read(&root().join(".clippy.toml")).parse().expect(".clippy.toml");
    let methods = clippy["disallowed-methods"].as_array().into_iter().flatten();
    let disallowed: BTreeSet<&str> = methods.filter_map(|method| method.get("path").and_then(Value::as_str)).collect();
    for path in ["std::process::Command::new", "std::time::SystemTime::now", "std::env::var", "std::process::exit"] {
        assert!(disallowed.contains(path), "{path}");
    }
}

/// What the program would say after all is no use to those who look it up.
#[test]
fn each_message_that_operators_look_up_is_one_that_the_program_says() {
    let readme = read(&root().join("README.md"));
    let table = readme.split_once("| the journal says |").expect("the table").1.split_once("\n\n").expect("its end").0;
    let said: String = sources(&root().join("src")).iter().map(|file| code(&read(file)).join("\n")).collect();
    let messages: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(messages.len() >= 10, "{messages:?}");
    for message in messages {
        for part in message.split(['…', ':']).map(str::trim).filter(|part| part.len() > 3) {
            assert!(said.contains(part), "the program never says {part:?} of {message:?}");
        }
    }
}
