//! The types of configured values: each is checked when it is read, and says what would be right.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize};

use crate::metrics::Metrics;
use crate::reference::Reference;
use crate::report::Cache;
use crate::runtime::{Choice, Kind};

/// A value that is written as a text and checked when it is read.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $parse:expr, $write:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let write: fn(&$inner) -> String = $write;
                f.write_str(&write(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_text!(
    /// A span of time, `90s`, `15m`, `1h 30m`, `7d`.
    Span(Duration),
    |text| humantime::parse_duration(text).map_err(|error| format!("{error}; write a duration as in 90s, 15m, 2h or 7d")),
    |span| humantime::format_duration(*span).to_string()
);
checked_text!(
    /// A regular expression, unanchored.
    Pattern(Regex),
    |text| match text {
        "" => Err("an empty pattern matches everything; write .* if that is meant".into()),
        _ => Regex::new(text).map_err(|error| format!("{}; a regular expression is searched for anywhere in a reference, as grep -E does", last_line(&error))),
    },
    |pattern| pattern.as_str().to_owned()
);
checked_text!(
    /// A registry: host, and port if it has one.
    Registry(String),
    |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let good = !text.is_empty() && text.chars().all(allowed);
        let host_alone = || "write the host alone, with its port if it has one, as in quay.io or localhost:5000".to_owned();
        let named = Reference::new(format!("{text}/repository/image")).named().filter(|_| good).ok_or_else(host_alone)?;
        match named.registry.as_str() {
            registry if registry == text => Ok(named.registry),
            _ if text == "index.docker.io" => Err("references say docker.io; write that".into()),
            _ => Err(host_alone()),
        }
    },
    Clone::clone
);
checked_text!(
    /// A unix socket, `unix:///run/containerd/containerd.sock`.
    Endpoint(String),
    |text| {
        let is_socket = text.strip_prefix("unix://").unwrap_or(text).starts_with('/');
        is_socket.then(|| text.to_owned()).ok_or_else(|| "write a unix socket as in unix:///run/containerd/containerd.sock".into())
    },
    Clone::clone
);
checked_text!(
    /// containerd's namespace.
    Namespace(String),
    |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let good = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
        good.then(|| text.to_owned()).ok_or_else(|| "a namespace consists of letters, digits, dots, dashes and underscores, as in k8s.io".into())
    },
    Clone::clone
);
checked_text!(
    /// What the runtime is, where its socket doesn't tell.
    RuntimeName(Kind),
    |text| Kind::of_name(text).ok_or_else(|| "write containerd, cri-o or docker".into()),
    |kind| kind.name().to_owned()
);
checked_text!(
    /// A program by its absolute path, or `off`.
    ProgramChoice(Choice),
    |text| match text {
        "off" => Ok(Choice::Off),
        path if path.starts_with('/') => Ok(Choice::Path(path.into())),
        _ => Err("write an absolute path, or \"off\" to do without it".into()),
    },
    |choice| match choice {
        Choice::Off => "off".into(),
        Choice::Path(path) => path.display().to_string(),
        Choice::Find => String::new(),
    }
);
checked_text!(
    /// An absolute path.
    AbsolutePath(PathBuf),
    |text| text.starts_with('/').then(|| text.into()).ok_or_else(|| "write an absolute path".into()),
    |path| path.display().to_string()
);

checked_text!(
    /// A size, `512MiB`, `20GB`, or bytes.
    Size(u64),
    |text| text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| "write a size as in 512MiB, 20GB or 1073741824".into()),
    |size| if size % 1024 == 0 { ByteSize(*size).display().iec().to_string().replace(' ', "") } else { size.to_string() }
);
checked_text!(
    /// Which caches the kernel is told to drop (`/proc/sys/vm/drop_caches`).
    Caches(Cache),
    |text| match text {
        "pagecache" => Ok(Cache::Pages),
        "slab" => Ok(Cache::Slab),
        "all" => Ok(Cache::All),
        _ => Err("write pagecache, slab or all".into()),
    },
    |cache| match cache {
        Cache::Pages => "pagecache".into(),
        Cache::Slab => "slab".into(),
        Cache::All => "all".into(),
    }
);
checked_text!(
    /// A cgroup below the root of the hierarchy, `kubepods.slice`.
    Cgroup(String),
    |text| {
        let good = !text.is_empty() && !text.starts_with('/') && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (good && !text.contains(char::is_control)).then(|| text.to_owned()).ok_or_else(|| "write a cgroup relative to the root, as in kubepods.slice".into())
    },
    Clone::clone
);
checked_text!(
    /// Where metrics go.
    Textfile(Metrics),
    |text| match text {
        "auto" => Ok(Metrics::Auto),
        "off" => Ok(Metrics::Off),
        path if may_hold_metrics(path) => Ok(Metrics::Folder(path.into())),
        _ => Err("write auto, off, or the absolute path of node_exporter's textfile folder, which is none of the system's own".into()),
    },
    |metrics| match metrics {
        Metrics::Auto => "auto".into(),
        Metrics::Off => "off".into(),
        Metrics::Folder(path) => path.display().to_string(),
    }
);

/// Folders that the system is made of.
const SYSTEM: [&str; 11] = ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "sbin", "sys", "usr"];

/// Whoever writes the configuration decides what the unit may write to, so a folder that the system is made of is refused.
fn may_hold_metrics(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_plain = path.starts_with('/') && !path.contains(char::is_control) && !parts.iter().any(|part| matches!(*part, "." | ".."));
    is_plain && parts.len() > 1 && !SYSTEM.contains(&parts[0]) && !matches!(parts[..], ["var", "lib" | "run" | "log" | "spool"])
}

/// A share of a whole, 1 to 99 percent: `80` or `"80%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok().filter(|percent| (1..=99).contains(percent));
        number.map(Self).ok_or_else(|| format!("{text} is no share; write a whole number from 1 to 99, as in 80 or \"80%\""))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "write a whole number from 1 to 99, as in 80 or \"80%\"")]
        enum Written {
            Number(i64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Images a batch, 1 to 1,000.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Batch(pub usize);

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer)? {
            images @ 1..=1000 => Ok(Self(usize::try_from(images).unwrap_or(1))),
            other => Err(serde::de::Error::custom(format!("{other} images a batch; write a number from 1 to 1000"))),
        }
    }
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}
