//! A containerd for unit tests: answers `ctr` from a table of records and listings, and notes every call.
//!
//! A command that it doesn't know is a panic, so that nobody can begin to ask for something else unnoticed; so is a removal
//! that could be ended, and a listing that could not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};

use super::{Call, CallKind, Failure, Output, Program, Runner};
use crate::inventory::Image;
use crate::reference::{Digest, Reference};
use crate::runtime::ctr::Ctr;

/// Every command it knows, and whether it changes anything. The longer of two that begin alike comes first.
const COMMANDS: [(&str, bool); 14] = [
    ("version", false),
    ("images ls -q", false),
    ("images ls", false),
    ("images rm", true),
    ("namespaces ls -q", false),
    ("content ls -q", false),
    ("content ls", false),
    ("containers ls -q", false),
    ("containers ls", false),
    ("containers info", false),
    ("snapshots --snapshotter overlayfs ls", false),
    ("snapshots --snapshotter overlayfs usage -b", false),
    ("leases create", false),
    ("leases delete", false),
];
/// A listing's header, as all versions print it.
const CONTAINERS: &str = "CONTAINER IMAGE RUNTIME\n";
const SNAPSHOTS: &str = "KEY PARENT KIND\n";
const RECORDS: &str = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n";
const USAGE: &str = "KEY SIZE INODES\n";

/// One call, without address and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// One of the known commands.
    pub command: &'static str,
    /// What follows it.
    pub args: Vec<String>,
}

/// What happens at a call before it is answered, and another answer than the table's.
type Reaction = Box<dyn Fn(&FakeContainerd, &Asked) -> Option<Result<Output, Failure>> + Send + Sync>;

/// The daemon with the `ctr` in front of it.
pub struct FakeContainerd {
    /// Name → target and labels (`k=v,k=v` or `-`).
    records: Mutex<BTreeMap<Reference, (Digest, String)>>,
    /// Answers by command.
    listings: Mutex<BTreeMap<String, String>>,
    calls: Mutex<Vec<Asked>>,
    reaction: Reaction,
}

/// What a program leaves that exits with this code.
pub fn output(code: i32, stdout: &str, stderr: &str) -> Output {
    Output { status: ExitStatus::from_raw(code << 8), stdout: stdout.into(), stderr: stderr.into() }
}

/// Each on a line of its own.
pub fn lines<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().fold(String::new(), |text, item| text + &item.to_string() + "\n")
}

/// A program that fails.
pub fn failing() -> Option<Result<Output, Failure>> {
    Some(Ok(output(1, "", "ctr: broken\n")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test thread has panicked")
}

impl FakeContainerd {
    /// One that holds these images and runs their users.
    pub fn holding(images: &[Image]) -> Self {
        let fake = Self::empty();
        for image in images {
            for name in &image.references {
                fake.name(name.as_str(), &image.digests[0]);
            }
            for key in &image.snapshots {
                fake.add("snapshots --snapshotter overlayfs ls", &format!("{key} Committed\n"));
            }
            for user in &image.users {
                fake.start(&user.id, image);
            }
        }
        fake
    }

    /// One that answers with recorded output: its images are those of `records` (`ctr images ls`).
    pub fn recorded(records: &str, listings: &[(&str, &str)]) -> Self {
        let fake = Self::empty();
        for row in records.lines().skip(1) {
            let words: Vec<&str> = row.split_whitespace().collect();
            let (name, target, labels) = (words[0], words[2], words[words.len() - 1]);
            let record = (Digest::parse(target).expect("a target"), labels.to_owned());
            lock(&fake.records).insert(Reference::new(name), record);
        }
        for (command, listing) in listings {
            lock(&fake.listings).insert((*command).to_owned(), (*listing).to_owned());
        }
        fake
    }

    fn empty() -> Self {
        let listings = [
            ("version", "Server:\n  Version: 1.7.24\n"),
            ("namespaces ls -q", "k8s.io\n"),
            ("content ls", "DIGEST SIZE AGE LABELS\n"),
            ("containers ls", CONTAINERS),
            ("containers ls -q", ""),
            ("snapshots --snapshotter overlayfs ls", SNAPSHOTS),
        ];
        Self {
            records: Mutex::default(),
            listings: Mutex::new(listings.map(|(command, listing)| (command.to_owned(), listing.to_owned())).into()),
            calls: Mutex::default(),
            reaction: Box::new(|_, _| None),
        }
    }

    /// The same, but something happens at its calls.
    #[must_use]
    pub fn reacting(self, reaction: impl Fn(&Self, &Asked) -> Option<Result<Output, Failure>> + Send + Sync + 'static) -> Self {
        Self { reaction: Box::new(reaction), ..self }
    }

    /// `ctr` in front of it.
    pub fn ctr(&self) -> Ctr<'_> {
        let program = Program { path: "/fake/ctr".into(), prefix: None };
        Ctr { runner: self, program, address: "/fake/sock".into(), namespace: "k8s.io".into() }
    }

    /// Names an image, or moves the name.
    pub fn name(&self, name: &str, target: &Digest) {
        lock(&self.records).insert(Reference::new(name), (target.clone(), "-".into()));
    }

    /// Takes a name away.
    pub fn unname(&self, name: &Reference) -> bool {
        lock(&self.records).remove(name).is_some()
    }

    /// Puts a label on a name.
    pub fn label(&self, name: &Reference, label: &str) {
        lock(&self.records).get_mut(name).expect("a record").1 = label.to_owned();
    }

    /// Makes a container of an image.
    pub fn start(&self, id: &str, image: &Image) {
        self.add("containers ls", &format!("{id} - io.containerd.runc.v2\n"));
        self.add("snapshots --snapshotter overlayfs ls", &format!("{id} {} Active\n", image.snapshots[0]));
    }

    fn add(&self, command: &str, rows: &str) {
        lock(&self.listings).entry(command.to_owned()).or_default().push_str(rows);
    }

    /// Names it has now.
    pub fn names(&self) -> Vec<Reference> {
        lock(&self.records).keys().cloned().collect()
    }

    /// Everything it was asked so far.
    pub fn calls(&self) -> Vec<Asked> {
        lock(&self.calls).clone()
    }

    /// The arguments of each call of one command.
    pub fn args_of(&self, command: &str) -> Vec<Vec<String>> {
        self.calls().into_iter().filter(|asked| asked.command == command).map(|asked| asked.args).collect()
    }

    fn answer(&self, asked: &Asked) -> Output {
        let chosen = || -> Vec<(Reference, (Digest, String))> {
            let records = lock(&self.records).clone().into_iter();
            records
                .filter(|(name, record)| asked.args.is_empty() || asked.args.iter().any(|filter| matches(filter, name, record)))
                .collect()
        };
        match asked.command {
            "images ls -q" => output(0, &lines(chosen().iter().map(|(name, _)| name)), ""),
            "images ls" => {
                let row = |(name, (target, labels)): &(Reference, (Digest, String))| {
                    format!("{name} application/vnd.oci.image.index.v1+json {target} 1 B - {labels}")
                };
                output(0, &(RECORDS.to_owned() + &lines(chosen().iter().map(row))), "")
            }
            "images rm" => self.remove(&asked.args),
            "snapshots --snapshotter overlayfs usage -b" => {
                output(0, &(USAGE.to_owned() + &lines(asked.args.iter().map(|key| format!("{key} 4096 3")))), "")
            }
            "containers info" => output(1, "", &format!("ctr: container {:?} in namespace \"k8s.io\": not found\n", asked.args[0])),
            "leases create" | "leases delete" => output(0, "", ""),
            listing => output(0, lock(&self.listings).get(listing).expect("a listing"), ""),
        }
    }

    /// As ctr does it: says what it took away, warns of what isn't there.
    fn remove(&self, names: &[String]) -> Output {
        let (there, missing): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| self.unname(&Reference::new(name.as_str())));
        let warning = |name: &&String| format!("time=\"2026-11-22T10:36:40Z\" level=warning msg=\"{name}: image not found\"");
        output(0, &lines(there), &lines(missing.iter().map(warning)))
    }
}

impl Runner for FakeContainerd {
    fn run(&self, call: &Call) -> Result<Output, Failure> {
        if call.program.ends_with("containerd") {
            return Err(Failure::NotStarted("a test has no daemon".into()));
        }
        let words: Vec<String> = call.args.iter().map(|arg| arg.to_str().expect("text").to_owned()).collect();
        assert_eq!(words[..3], ["--address", "/fake/sock", "--namespace"]);
        let starts = |command: &str| words[4..].starts_with(&command.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let known = COMMANDS.iter().find(|(command, _)| starts(command));
        let (command, changes) = known.unwrap_or_else(|| panic!("the fake ctr doesn't know {:?}", &words[4..]));
        assert_eq!(call.kind == CallKind::Removal, *changes, "{command} is to be called as what it is");
        assert_eq!(words[3] == "k8s.io", *command != "content ls -q", "other namespaces are asked for the digests of their content alone");
        let asked = Asked { command, args: words[4 + command.split(' ').count()..].to_vec() };
        lock(&self.calls).push(asked.clone());
        (self.reaction)(self, &asked).unwrap_or_else(|| Ok(self.answer(&asked)))
    }
}

/// Does a record match a filter of containerd's (`pkg/filters`), as far as we use them? All its conditions must.
fn matches(filter: &str, name: &Reference, (target, labels): &(Digest, String)) -> bool {
    let labelled = |key: &str| labels.split(',').any(|label| label.split('=').next() == Some(key.trim_matches('"')));
    let holds = |field: &str, value: &str| match field {
        "name" => unquoted(value) == name.as_str(),
        "target.digest" => value == target.as_str(),
        other => panic!("the fake ctr doesn't know the field {other}"),
    };
    filter.split(',').all(|condition| match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((field, value)), _) => holds(field, value),
        (None, Some((field, value))) => !holds(field, value),
        (None, None) => labelled(condition.strip_prefix("labels.").expect("a label")),
    })
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("a quoted value");
    inner.replace("\\\"", "\"").replace(r"\\", r"\")
}
