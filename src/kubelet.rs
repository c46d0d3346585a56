//! What the kubelet tells of itself: its runtime's endpoint, its folder of static pods, and when it pulled what.
//!
//! It is read from the files the kubelet reads and from its command line, as far as they can be seen; it is never asked.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::files::read_text;
use crate::units::Timestamp;

/// The kubelet's configuration on most nodes (kubeadm, EKS, AKS).
const CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// Where kubeadm writes the flags it starts the kubelet with.
const KUBEADM_FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";
/// The same of microk8s.
const MICROK8S_FLAGS: &str = "/var/snap/microk8s/current/args/kubelet";
/// Largest file of the kubelet's that is read.
const CONFIG_CAP: u64 = 1 << 20;
/// Records of pulled images (`pkg/kubelet/images/pullmanager`, kubelet 1.33+).
const PULLED: &str = "/var/lib/kubelet/image_manager/pulled";
/// Most records that are read, and the largest of them: a node holds some hundred images.
const RECORDS: usize = 10_000;
const RECORD_CAP: u64 = 64 << 10;

/// What the kubelet says of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kubelet {
    /// Endpoints of the runtime it uses, each with where that was read; several only where several kubelets run here.
    pub endpoints: Vec<(String, String)>,
    /// `staticPodPath`s.
    pub static_pods: BTreeSet<PathBuf>,
    /// What could not be read.
    pub gaps: Vec<String>,
}

/// When the kubelet last pulled an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// What the runtime called it then: an image ID, or `repository@digest`.
    pub image: String,
    /// When.
    pub at: Timestamp,
}

/// Reads what can be seen. Flags beat the configuration, as they do for the kubelet itself, and what one that runs was started
/// with beats the files that one would be started with.
///
/// A file that is there and can't be read is an error: it may name a folder of static pods.
pub fn collect_kubelet() -> Result<Kubelet> {
    let mut kubelet = Kubelet::default();
    for words in command_lines("kubelet") {
        let flags = Flags::parse(words.iter().map(String::as_str));
        let endpoint = kubelet.add(flags, "the kubelet's command line")?;
        kubelet.endpoints.extend(endpoint);
    }
    let mut written = None;
    for file in [KUBEADM_FLAGS, MICROK8S_FLAGS] {
        let flags = read(Path::new(file))?.map(|text| Flags::parse(kubeadm_words(&text))).unwrap_or_default();
        let endpoint = kubelet.add(flags, file)?;
        written = written.or(endpoint);
    }
    let configured = kubelet.add(Flags { config: Some(CONFIG.into()), ..Flags::default() }, CONFIG)?;
    if kubelet.endpoints.is_empty() {
        kubelet.endpoints.extend(written.or(configured));
    }
    Ok(kubelet)
}

fn read(file: &Path) -> Result<Option<String>> {
    match read_text(file, CONFIG_CAP) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// The words between the quotes of `KUBELET_KUBEADM_ARGS="…"`.
fn kubeadm_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).filter(|word| !word.is_empty())
}

impl Kubelet {
    /// The endpoint that the flags tell or else the files they name, and where that was read.
    fn add(&mut self, flags: Flags, source: &str) -> Result<Option<(String, String)>> {
        let mut endpoint = flags.endpoint.map(|endpoint| (endpoint, source.to_owned()));
        self.static_pods.extend(flags.static_pods);
        let mut files = flags.config_dir.map(|folder| drop_ins(&folder)).transpose()?.unwrap_or_default();
        files.extend(flags.config);
        for file in files {
            if let Some(text) = read(&file)? {
                let told = self.add_config(&text, &file);
                endpoint = endpoint.or(told);
            }
        }
        Ok(endpoint)
    }

    /// The same for a file of the configuration.
    fn add_config(&mut self, text: &str, file: &Path) -> Option<(String, String)> {
        let config = parse_config(text);
        // The kubelet takes a path that isn't absolute for one beside its configuration.
        self.static_pods.extend(config.static_pods.map(|path| file.parent().unwrap_or(Path::new("/")).join(path)));
        if !config.is_valid {
            self.gaps.push(format!("{} is no valid YAML; what it says was looked for by its look", file.display()));
        }
        config.endpoint.map(|endpoint| (endpoint, file.display().to_string()))
    }
}

/// Files of `--config-dir`, the last one first: it wins.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files.reverse();
    Ok(files)
}

/// The words of every process by this name that runs here. Any pod can call one of its own that, so it must be root's, in the
/// machine's own process namespace, and in no pod's cgroup.
pub fn command_lines(name: &str) -> Vec<Vec<String>> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |process: &Path, file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    let is_one = |process: &PathBuf| {
        read(process, "comm").trim_end() == name && is_the_machines_own(&read(process, "status"), &read(process, "cgroup"))
    };
    let words = |process: PathBuf| fs::read(process.join("cmdline")).ok();
    let split = |line: Vec<u8>| String::from_utf8_lossy(&line).split('\0').map(str::to_owned).collect();
    processes.filter(is_one).filter_map(words).map(split).collect()
}

/// By `/proc/<pid>/status` and `/proc/<pid>/cgroup`.
fn is_the_machines_own(status: &str, cgroup: &str) -> bool {
    let values = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_roots = values("Uid:").is_some_and(|ids| !ids.is_empty() && ids.iter().all(|id| *id == "0"));
    // One process ID a nested namespace, from the outermost one in.
    let is_outside = values("NSpid:").is_none_or(|ids| ids.len() == 1);
    let is_a_pods = ["kubepods", "cri-containerd", "crio-", "docker", "libpod"].iter().any(|word| cgroup.contains(word));
    is_roots && is_outside && !is_a_pods
}

/// What matters of a command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    endpoint: Option<String>,
    config: Option<PathBuf>,
    config_dir: Option<PathBuf>,
    static_pods: Option<PathBuf>,
}

impl Flags {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let (mut flags, mut words) = (Self::default(), words);
        let path = |value: Option<&str>| value.filter(|value| value.starts_with('/')).map(PathBuf::from);
        while let Some(word) = words.next() {
            let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
            // kubeadm's file begins with the name of a variable.
            match flag.trim_start_matches("KUBELET_KUBEADM_ARGS").trim_start_matches('-') {
                "container-runtime-endpoint" => flags.endpoint = value.or_else(|| words.next()).map(str::to_owned),
                "config" => flags.config = path(value.or_else(|| words.next())),
                "config-dir" => flags.config_dir = path(value.or_else(|| words.next())),
                "pod-manifest-path" => flags.static_pods = path(value.or_else(|| words.next())),
                _ => {}
            }
        }
        flags
    }
}

/// What matters of a `KubeletConfiguration`.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    endpoint: Option<String>,
    static_pods: Option<PathBuf>,
    is_valid: bool,
}

/// One that can't be parsed may be half written, or newer than we know: what it names still counts.
fn parse_config(text: &str) -> Config {
    let parsed = serde_saphyr::from_str::<Value>(text).ok();
    let value = |key: &str| match &parsed {
        Some(config) => config.get(key).and_then(Value::as_str).map(str::to_owned),
        None => guess(text, key),
    };
    Config {
        endpoint: value("containerRuntimeEndpoint").filter(|endpoint| !endpoint.is_empty()),
        static_pods: value("staticPodPath").filter(|path| !path.is_empty()).map(PathBuf::from),
        is_valid: parsed.is_some(),
    }
}

fn guess(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    let value = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '}')).unwrap_or(value.len());
    Some(value[..end].to_owned())
}

/// What the kubelet has pulled and when; older kubelets keep no such record, and one that can't be read tells nothing.
pub fn collect_pulls() -> Vec<Pull> {
    let entries = fs::read_dir(PULLED).into_iter().flatten().flatten().take(RECORDS);
    entries.filter_map(|entry| read_record(&entry.path())).collect()
}

fn read_record(path: &Path) -> Option<Pull> {
    parse_record(&read_text(path, RECORD_CAP).ok()?)
}

/// `ImagePulledRecord` of `kubelet.config.k8s.io`.
fn parse_record(text: &str) -> Option<Pull> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Record {
        image_ref: String,
        last_updated_time: Timestamp,
    }
    let record: Record = serde_json::from_str(text).ok()?;
    Some(Pull { image: record.image_ref, at: record.last_updated_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "unix:///run/x/containerd.sock";

    #[test]
    fn reads_the_endpoint_from_a_command_line_in_each_spelling() {
        for line in [
            format!("/usr/bin/kubelet --config=/k.yaml --container-runtime-endpoint={ENDPOINT} --v=2"),
            format!("kubelet --config /k.yaml --container-runtime-endpoint {ENDPOINT}"),
            format!("kubelet -config=/k.yaml -container-runtime-endpoint {ENDPOINT}"),
        ] {
            let flags = Flags::parse(line.split(' '));
            assert_eq!((flags.endpoint.as_deref(), flags.config), (Some(ENDPOINT), Some("/k.yaml".into())), "{line}");
        }
        assert_eq!(Flags::parse("kubelet --config=relative --container-runtime-endpointx=y".split(' ')), Flags::default());
    }

    #[test]
    fn reads_the_flags_that_kubeadm_wrote() {
        let text = format!(
            "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint={ENDPOINT} --pod-infra-container-image=registry.k8s.io/pause:3.9\"\n"
        );
        assert_eq!(Flags::parse(kubeadm_words(&text)).endpoint.as_deref(), Some(ENDPOINT));
    }

    #[test]
    fn reads_endpoint_and_static_pods_from_the_configuration() {
        let whole = format!("kind: KubeletConfiguration\ncontainerRuntimeEndpoint: {ENDPOINT}\nstaticPodPath: /srv/pods\n");
        let json = format!(r#"{{"kind":"KubeletConfiguration","containerRuntimeEndpoint":"{ENDPOINT}","staticPodPath":"/srv/pods"}}"#);
        let broken = format!("containerRuntimeEndpoint: '{ENDPOINT}'\nstaticPodPath: \"/srv/pods\"\na: [");
        for (text, told, is_valid) in [
            (whole.as_str(), true, true),
            (&json, true, true),
            (&broken, true, false),
            ("staticPodPath: \"\"\ncontainerRuntimeEndpoint: \"\"\n", false, true),
            ("", false, true),
            ("a: [", false, false),
        ] {
            let endpoint = told.then(|| ENDPOINT.to_owned());
            assert_eq!(parse_config(text), Config { endpoint, static_pods: told.then(|| "/srv/pods".into()), is_valid }, "{text}");
        }
    }

    #[test]
    fn says_where_an_endpoint_was_read_and_gathers_every_static_pod_folder() {
        let mut kubelet = Kubelet::default();
        let flags = Flags { endpoint: Some("unix:///a".into()), static_pods: Some("/p".into()), ..Flags::default() };
        assert_eq!(kubelet.add(flags, "flags").expect("add"), Some(("unix:///a".into(), "flags".into())));
        let endpoint = kubelet.add_config("containerRuntimeEndpoint: unix:///b\nstaticPodPath: q\n", Path::new("/k/file"));
        assert_eq!(endpoint, Some(("unix:///b".into(), "/k/file".into())));
        assert_eq!(kubelet.add_config("a: [", Path::new("/broken")), None);
        assert_eq!((kubelet.static_pods, kubelet.gaps.len()), (BTreeSet::from(["/p".into(), "/k/q".into()]), 1));
    }

    #[test]
    fn a_configuration_that_is_there_but_can_not_be_read_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        let error = format!("{:#}", read(folder.path()).expect_err("a folder is no configuration"));
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert_eq!(read(&folder.path().join("none.yaml")).expect("none"), None);
    }

    #[test]
    fn flags_beat_the_last_drop_in_and_this_beats_the_configuration() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        for (name, endpoint) in [("10-a.conf", "a"), ("20-b.conf", "b"), ("30-c.yaml", "c"), ("config.yaml", "d")] {
            fs::write(path(name), format!("containerRuntimeEndpoint: unix:///{endpoint}\n")).expect("write");
        }
        let line = format!("kubelet --config-dir {} --config={}", folder.path().display(), path("config.yaml").display());
        for (more, expected) in [("", "unix:///b"), (" --container-runtime-endpoint=unix:///flag", "unix:///flag")] {
            let line = line.clone() + more;
            let endpoint = Kubelet::default().add(Flags::parse(line.split(' ')), "flags").expect("add");
            assert_eq!(endpoint.map(|(endpoint, _)| endpoint).as_deref(), Some(expected));
        }
        assert!(drop_ins(&path("none")).expect("none").is_empty());
    }

    #[test]
    fn only_roots_own_process_outside_of_any_pod_is_the_kubelet() {
        let status = |uid, pids| format!("Name:\tkubelet\nUid:\t0\t{uid}\t0\t0\nNSpid:\t{pids}\n");
        let (service, pod) =
            ("0::/system.slice/kubelet.service\n", "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-ab.scope\n");
        for (status, cgroup, own) in [
            (status(0, "812"), service, true),
            (status(0, "812"), "", true),
            (status(0, "812"), pod, false),
            (status(0, "812\t7"), service, false),
            (status(65_534, "812"), service, false),
            (String::new(), service, false),
        ] {
            assert_eq!(is_the_machines_own(&status, cgroup), own, "{status} {cgroup}");
        }
    }

    #[test]
    fn reads_a_record_of_a_pull() {
        let text = r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1","lastUpdatedTime":"2026-11-18T11:06:40Z","imageRef":"sha256:aa","credentialMapping":{"quay.io/a":{"nodePodsAccessible":true}}}"#;
        assert_eq!(parse_record(text), Some(Pull { image: "sha256:aa".into(), at: Timestamp::from_unix(1_795_000_000) }));
        for text in ["", "{}", r#"{"imageRef":"x","lastUpdatedTime":"soon"}"#] {
            assert_eq!(parse_record(text), None);
        }
    }
}
