//! `crictl`: command lines out, pure parsers in.
//!
//! Always with both endpoints and a timeout of its own: crictl's default of 2 s cuts a removal in the middle and leaves
//! records that hold the disk for ever (containerd#13875). Never `rmi --prune` or `-a`: they know neither sandboxes nor
//! image volumes, remove what is in use when a look-up fails, and exit with 0. `Deleted:` lines are not believed: CRI-O
//! prints them for names it has left in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};
use serde_json::{Deserializer as Json, Value};

use crate::process::{Call, CallKind, Output, Program, Runner};
use crate::reference::{ImageId, Reference};
use crate::units::printable;

/// Longest that a listing may take.
const LISTING_TIMEOUT: Duration = Duration::from_mins(2);
/// How often what is to be inspected is asked for, while some of it goes.
const INSPECTIONS: usize = 2;
/// crictl's own limit for one request: longer than a listing may take, and than any removal was seen to take.
const REQUEST_TIMEOUT: &str = "300s";

/// How `crictl` is called on this node.
pub struct Crictl<'a> {
    /// Starts it.
    pub runner: &'a dyn Runner,
    /// What is started.
    pub program: Program,
    /// The runtime's socket.
    pub socket: PathBuf,
}

/// What the server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `containerd`, `cri-o` or `docker`.
    pub name: String,
    /// As in `1.7.24`.
    pub version: String,
}

/// CRI `Image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriImage {
    /// Its ID.
    pub id: ImageId,
    /// Names with a tag.
    pub tags: Vec<Reference>,
    /// Names with a digest.
    pub digests: Vec<Reference>,
    /// Bytes; compressed or not is the runtime's choice.
    pub size: u64,
    /// The runtime's mark that it must stay; `None` where crictl is too old to tell.
    pub pinned: Option<bool>,
}

/// CRI `Container`, in any state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriContainer {
    /// Its ID.
    pub id: String,
    /// All that it says of its image: `imageId`, `imageRef`, `image.image`, `image.userSpecifiedImage`.
    ///
    /// Which of them is an ID, a digest or a name changes with runtime and version, so all of them count.
    pub image_names: BTreeSet<String>,
    /// Kubernetes namespace and pod name.
    pub pod: Option<String>,
}

/// CRI `PodSandbox`, in any state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriSandbox {
    /// Its ID.
    pub id: String,
    /// Kubernetes namespace and pod name.
    pub pod: Option<String>,
}

/// What a call of `rmi` brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaints(Vec<String>);

impl Crictl<'_> {
    /// What the server is.
    pub fn version(&self) -> Result<Version> {
        parse_version(&self.list(&["version"], &[])?)
    }

    /// Every image.
    pub fn images(&self) -> Result<Vec<CriImage>> {
        parse_images(&self.list(&["images", "-o", "json"], &[])?)
    }

    /// Every container, in any state.
    pub fn containers(&self) -> Result<Vec<CriContainer>> {
        parse_containers(&self.list(&["ps", "-a", "-o", "json"], &[])?)
    }

    /// Every sandbox, in any state.
    pub fn sandboxes(&self) -> Result<Vec<CriSandbox>> {
        parse_sandboxes(&self.list(&["pods", "-o", "json"], &[])?)
    }

    /// The image that the runtime is configured to make sandboxes from: CRI-O's and containerd 1.x' answer.
    pub fn sandbox_image(&self) -> Result<Option<Reference>> {
        parse_info(&self.list(&["info", "-o", "json"], &[])?)
    }

    /// Images that containers have mounted (CRI `Mount.image`), by container. An ID that is missing is gone or could not be
    /// inspected.
    pub fn mounted_images(&self, containers: &BTreeSet<String>) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let listed = || Ok(self.containers().context("list containers")?.into_iter().map(|container| container.id).collect());
        self.inspect("inspect", containers, mounted_images, &listed)
    }

    /// The image of each sandbox, by its ID; none where it tells none. An ID that is missing is gone or could not be inspected.
    pub fn sandbox_images(&self, sandboxes: &BTreeSet<String>) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let listed = || Ok(self.sandboxes().context("list sandboxes")?.into_iter().map(|sandbox| sandbox.id).collect());
        self.inspect("inspectp", sandboxes, sandbox_image, &listed)
    }

    /// One call for all. Where one of them has gone, crictl may print nothing of the others: those that are still listed are
    /// asked for again, and at last one by one, up to the first that can't be inspected. More than one needs nobody to know.
    fn inspect(
        &self,
        command: &str,
        ids: &BTreeSet<String>,
        read: fn(&Value) -> Option<BTreeSet<String>>,
        listed: &dyn Fn() -> Result<BTreeSet<String>>,
    ) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut found = BTreeMap::new();
        let mut missing: Vec<String> = ids.iter().cloned().collect();
        let answer = |ids: &[String]| -> Result<Vec<(String, BTreeSet<String>)>> {
            let output = self.start(CallKind::Listing(LISTING_TIMEOUT), &[command, "-o", "json"], ids)?;
            let entries = parse_documents(&output.stdout).unwrap_or_default();
            let id = |entry: &Value| entry.pointer("/status/id").and_then(Value::as_str).map(str::to_owned);
            Ok(entries.iter().filter_map(|entry| Some((id(entry)?, read(entry)?))).collect())
        };
        for _ in 0..INSPECTIONS {
            if missing.is_empty() {
                return Ok(found);
            }
            found.extend(answer(&missing)?);
            missing.retain(|id| !found.contains_key(id));
            if !missing.is_empty() {
                let listed = listed()?;
                missing.retain(|id| listed.contains(id));
            }
        }
        for id in missing {
            match answer(std::slice::from_ref(&id))? {
                none if none.is_empty() && listed()?.contains(&id) => break,
                one => found.extend(one),
            }
        }
        Ok(found)
    }

    /// Removes images by ID, with all their names; one that is cut off or refused may have lost some, but on CRI-O. Goes on after
    /// one that can't be removed.
    pub fn remove(&self, ids: &[String]) -> Result<Complaints> {
        let output = self.start(CallKind::Removal, &["rmi"], ids)?;
        let mut complaints = Complaints::parse(&output.stderr);
        if !output.status.success() && complaints.0.is_empty() {
            complaints.0.push(output.describe_failure());
        }
        Ok(complaints)
    }

    fn list(&self, command: &[&str], more: &[String]) -> Result<String> {
        let output = self.start(CallKind::Listing(LISTING_TIMEOUT), command, more)?;
        let what = || format!("crictl {}", command.join(" "));
        if output.status.success() { Ok(output.stdout) } else { Err(anyhow::anyhow!("{}", output.describe_failure())).with_context(what) }
    }

    fn start(&self, kind: CallKind, command: &[&str], more: &[String]) -> Result<Output> {
        let mut endpoint = OsString::from("unix://");
        endpoint.push(&self.socket);
        let global = ["-r".into(), endpoint.clone(), "-i".into(), endpoint, "-t".into(), REQUEST_TIMEOUT.into()];
        let args = global.into_iter().chain(command.iter().map(OsString::from)).chain(more.iter().map(OsString::from));
        let call = Call::of(&self.program, args, kind);
        self.runner.run(&call).map_err(anyhow::Error::from).with_context(|| format!("crictl {}", command.join(" ")))
    }
}

impl Complaints {
    /// A warning, such as that there is no configuration file or that an image has several tags, is no complaint.
    fn parse(stderr: &str) -> Self {
        let complains = |line: &&str| !line.trim().is_empty() && !line.contains("level=warning");
        Self(stderr.lines().filter(complains).map(str::to_owned).collect())
    }

    /// What was said of one image, in the words of the runtime.
    pub fn about(&self, id: &str) -> Option<String> {
        let hex = id.trim_start_matches("sha256:");
        // What stands behind an image's ID is said of it.
        let part = self.parts().filter_map(|part| part.find(hex).map(|at| &part[at + hex.len()..])).last()?;
        Some(printable(part.trim_matches(|c: char| matches!(c, '"' | '\\' | ':' | ' '))))
    }

    /// Was it said that the image isn't there?
    pub fn is_missing(&self, id: &str) -> bool {
        let hex = id.trim_start_matches("sha256:");
        self.parts().any(|part| part.contains("no such image") && part.contains(hex))
    }

    /// Complaints one by one: crictl from 1.32 on writes all of them into its last line, parted by `\n`.
    fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|line| line.split("\\n"))
    }

    /// The last of all, without what a log line has around it.
    pub fn last(&self) -> Option<String> {
        let line = self.0.last()?;
        let message = line.split_once("msg=\"").map_or(line.as_str(), |(_, message)| message.trim_end_matches('"'));
        Some(printable(message))
    }
}

#[derive(Deserialize)]
struct ImageList {
    images: Vec<RawImage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawImage {
    id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    repo_digests: Vec<String>,
    #[serde(default)]
    size: Value,
    #[serde(default)]
    pinned: Option<bool>,
}

#[derive(Deserialize)]
struct ContainerList {
    containers: Vec<RawContainer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    image: RawImageSpec,
    #[serde(default, deserialize_with = "null_is_empty")]
    image_ref: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    image_id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawImageSpec {
    #[serde(default, deserialize_with = "null_is_empty")]
    image: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    user_specified_image: String,
}

#[derive(Deserialize)]
struct SandboxList {
    items: Vec<RawSandbox>,
}

#[derive(Deserialize)]
struct RawSandbox {
    id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    metadata: RawMetadata,
}

#[derive(Deserialize, Default)]
struct RawMetadata {
    #[serde(default, deserialize_with = "null_is_empty")]
    name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    namespace: String,
}

/// crictl up to 1.30 prints nulls, newer ones leave the key out.
fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn parse_version(text: &str) -> Result<Version> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(|value| printable(value.trim())).with_context(|| format!("find {key} in crictl version"))
    };
    Ok(Version { name: value("RuntimeName")?, version: value("RuntimeVersion")? })
}

/// Every runtime tells its status; an answer without it is none, and what it doesn't tell is not known to be unset.
fn parse_info(text: &str) -> Result<Option<Reference>> {
    let info: Value = serde_json::from_str(text).context("read crictl info")?;
    if info.pointer("/status/conditions").is_none() {
        bail!("read crictl info: it tells no status");
    }
    let name = info.pointer("/config/sandboxImage").and_then(Value::as_str).filter(|name| !name.is_empty());
    Ok(name.map(Reference::new))
}

/// A list that is missing or null is an error: it is not known to be empty.
fn parse_images(text: &str) -> Result<Vec<CriImage>> {
    let list: ImageList = serde_json::from_str(text).context("read crictl images")?;
    let image = |raw: RawImage| {
        let id = ImageId::parse(&raw.id).with_context(|| format!("read the image ID {}", printable(&raw.id)))?;
        let names = |names: Vec<String>| names.into_iter().filter(|name| !name.starts_with("<none>")).map(Reference::new).collect();
        let size = raw.size.as_u64().or_else(|| raw.size.as_str()?.parse().ok()).unwrap_or(0);
        Ok(CriImage { id, tags: names(raw.repo_tags), digests: names(raw.repo_digests), size, pinned: raw.pinned })
    };
    list.images.into_iter().map(image).collect()
}

fn parse_containers(text: &str) -> Result<Vec<CriContainer>> {
    let list: ContainerList = serde_json::from_str(text).context("read crictl ps")?;
    let container = |raw: RawContainer| {
        let RawImageSpec { image, user_specified_image } = raw.image;
        let image_names: BTreeSet<String> =
            [raw.image_id, raw.image_ref, image, user_specified_image].into_iter().filter(|name| !name.is_empty()).collect();
        if raw.id.is_empty() || image_names.is_empty() {
            bail!("container {} tells no image", printable(&raw.id));
        }
        let label = |key: &str| raw.labels.get(key).filter(|value| !value.is_empty());
        let pod = label("io.kubernetes.pod.namespace").zip(label("io.kubernetes.pod.name"));
        Ok(CriContainer { id: raw.id, image_names, pod: pod.map(|(namespace, name)| format!("{namespace}/{name}")) })
    };
    list.containers.into_iter().map(container).collect()
}

fn parse_sandboxes(text: &str) -> Result<Vec<CriSandbox>> {
    let list: SandboxList = serde_json::from_str(text).context("read crictl pods")?;
    let pod = |RawMetadata { name, namespace }| (!name.is_empty()).then(|| format!("{namespace}/{name}"));
    Ok(list.items.into_iter().map(|raw| CriSandbox { id: raw.id, pod: pod(raw.metadata) }).collect())
}

/// One object, a list of them (new crictl), or one after another (up to 1.30).
fn parse_documents(text: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in Json::from_str(text).into_iter::<Value>() {
        match document.context("read what crictl inspected")? {
            Value::Array(items) => documents.extend(items),
            document @ (Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => documents.push(document),
        }
    }
    Ok(documents)
}

/// `status.mounts[].image.image`: containerd 2.1+ and CRI-O. Without the key nothing is known.
fn mounted_images(entry: &Value) -> Option<BTreeSet<String>> {
    let mounts = entry.pointer("/status/mounts")?.as_array().into_iter().flatten();
    let names = mounts
        .filter_map(|mount| mount.get("image"))
        .flat_map(|image| ["image", "imageRef", "userSpecifiedImage"].into_iter().filter_map(|key| image.get(key).and_then(Value::as_str)));
    Some(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// `info.image` of a sandbox, as containerd and CRI-O tell it; where CRI-O's sandbox has no container of its own (`drop_infra_ctr`,
/// the default), only the annotations of its runtime spec do. One that tells none, as cri-dockerd's, was inspected all the same.
fn sandbox_image(entry: &Value) -> Option<BTreeSet<String>> {
    let annotation = |key: &str| entry.pointer("/info/runtimeSpec/annotations")?.get(key);
    let told = [entry.pointer("/info/image"), annotation("io.kubernetes.cri-o.Image"), annotation("io.kubernetes.cri-o.ImageName")];
    let names = told.into_iter().flatten().filter_map(Value::as_str).filter(|name| !name.is_empty());
    entry.get("status").map(|_| names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($version:literal, $name:literal) => {
            include_str!(concat!("../../tests/fixtures/", $version, "/", $name, ".out"))
        };
        ($version:literal, $name:literal, stderr) => {
            include_str!(concat!("../../tests/fixtures/", $version, "/", $name, ".err"))
        };
    }

    #[test]
    fn reads_the_recorded_images_of_each_runtime() {
        for (text, count, pinned, untagged) in [
            (recorded!("1.6", "crictl-images-json"), 17, 0, 2),
            (recorded!("1.7", "crictl-images-json"), 17, 1, 2),
            (recorded!("1.7-crictl1.30", "crictl-images-json"), 17, 1, 2),
            (recorded!("2.1", "crictl-images-json"), 17, 1, 2),
            (recorded!("crio-1.29", "crictl-images-json"), 20, 2, 5),
            (recorded!("crio-1.34", "crictl-images-json"), 20, 2, 5),
        ] {
            let images = parse_images(text).expect("parse");
            let marked = images.iter().filter(|image| image.pinned == Some(true)).count();
            let without_tag = images.iter().filter(|image| image.tags.is_empty()).count();
            assert_eq!((images.len(), marked, without_tag), (count, pinned, untagged));
            assert!(images.iter().all(|image| image.id.as_str().len() == 71 && image.size > 0 && image.pinned.is_some()));
        }
    }

    #[test]
    fn every_recorded_container_leads_to_an_image_by_its_id_or_a_digest() {
        for (images, containers) in [
            (recorded!("1.6", "crictl-images-json"), recorded!("1.6", "crictl-ps-json")),
            (recorded!("1.7", "crictl-images-json"), recorded!("1.7", "crictl-ps-json")),
            (recorded!("1.7-crictl1.30", "crictl-images-json"), recorded!("1.7-crictl1.30", "crictl-ps-json")),
            (recorded!("2.1", "crictl-images-json"), recorded!("2.1", "crictl-ps-json")),
            (recorded!("crio-1.29", "crictl-images-json"), recorded!("crio-1.29", "crictl-ps-json")),
            (recorded!("crio-1.34", "crictl-images-json"), recorded!("crio-1.34", "crictl-ps-json")),
        ] {
            let images = parse_images(images).expect("images");
            let containers = parse_containers(containers).expect("containers");
            assert!(containers.len() >= 4);
            for container in containers {
                let leads = |image: &CriImage| {
                    let by_id = |name: &String| ImageId::parse(name).as_ref() == Some(&image.id);
                    let by_digest = |name: &String| image.digests.iter().any(|digest| digest.as_str() == name);
                    container.image_names.iter().any(|name| by_id(name) || by_digest(name))
                };
                assert!(images.iter().any(leads), "{container:?}");
                assert!(container.pod.as_deref().is_some_and(|pod| pod.starts_with("default/")), "{container:?}");
            }
        }
    }

    #[test]
    fn reads_the_recorded_sandboxes_and_their_images() {
        for (pods, inspected, image) in [
            (recorded!("1.6", "crictl-pods-json"), recorded!("1.6", "crictl-inspectp"), "registry.lab/pause:1"),
            (recorded!("2.1", "crictl-pods-json"), recorded!("2.1", "crictl-inspectp"), "registry.lab/pause:1"),
            (recorded!("crio-1.34", "crictl-pods-json"), recorded!("crio-1.34", "crictl-inspectp"), "127.0.0.1:5000/cx/pause:1"),
            (recorded!("crio-1.34", "crictl-pods-json"), recorded!("crio-1.34", "drop-inspectp"), "127.0.0.1:5000/cx/pause:1"),
        ] {
            assert!(parse_sandboxes(pods).expect("parse").iter().all(|sandbox| sandbox.pod.is_some()));
            let entries = parse_documents(inspected).expect("parse");
            assert_eq!(entries.iter().filter_map(sandbox_image).collect::<Vec<_>>(), [BTreeSet::from([image.to_owned()])]);
        }
    }

    #[test]
    fn a_sandbox_that_tells_no_image_is_told_from_one_that_could_not_be_inspected() {
        let read = |text: &str| sandbox_image(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(read(r#"{"status":{"id":"a"},"info":{}}"#), Some(BTreeSet::new()));
        assert_eq!(read(r#"{"info":{"image":"pause:1"}}"#), None);
    }

    #[test]
    fn sees_the_image_that_a_container_has_mounted() {
        let entries = parse_documents(recorded!("crio-1.34", "imgvol-inspect")).expect("parse");
        let mounted = mounted_images(&entries[0]).expect("mounts");
        assert_eq!(mounted.len(), 1);
        assert!(mounted.iter().all(|name| ImageId::parse(name).is_some()), "{mounted:?}");
        let entries = parse_documents(recorded!("1.7", "crictl-inspect-exited")).expect("parse");
        assert_eq!(mounted_images(&entries[0]), Some(BTreeSet::new()));
    }

    #[test]
    fn several_inspected_are_a_list_or_one_after_another() {
        let one = recorded!("1.7", "crictl-inspect-exited");
        for (text, count) in [(format!("[{one},{one}]"), 2), (format!("{one}\n{one}"), 2), (one.to_owned(), 1), (String::new(), 0)] {
            assert_eq!(parse_documents(&text).expect("parse").len(), count);
        }
        assert!(parse_documents(&one[..one.len() / 2]).is_err());
    }

    #[test]
    fn a_list_that_is_missing_is_no_empty_list() {
        for text in ["", "{}", "[]", "null", r#"{"images":null,"containers":null,"items":null}"#, r#"{"Images":[]}"#, "{\"images\":["] {
            assert!(parse_images(text).is_err(), "{text}");
            assert!(parse_containers(text).is_err(), "{text}");
            assert!(parse_sandboxes(text).is_err(), "{text}");
        }
        assert_eq!(parse_images(recorded!("1.7", "crictl-images-empty")).expect("parse"), []);
    }

    #[test]
    fn a_container_that_tells_no_image_is_an_error() {
        for text in [
            r#"{"containers":[{"id":"a"}]}"#,
            r#"{"containers":[{"id":"a","image":null,"imageRef":""}]}"#,
            r#"{"containers":[{"image":{"image":"x"}}]}"#,
        ] {
            assert!(parse_containers(text).is_err(), "{text}");
        }
        assert!(parse_containers(r#"{"containers":[{"id":"a","image":null,"imageRef":"sha256:x"}]}"#).is_ok());
    }

    #[test]
    fn an_image_without_a_proper_id_is_an_error() {
        for id in ["", "sha256:12", "app:1", "-a"] {
            assert!(parse_images(&format!(r#"{{"images":[{{"id":"{id}"}}]}}"#)).is_err(), "{id}");
        }
    }

    #[test]
    fn reads_the_recorded_sandbox_image_and_takes_no_status_for_no_answer() {
        for (text, image) in [
            (recorded!("1.6", "crictl-info"), Some("registry.lab/pause:1")),
            (recorded!("2.1", "crictl-info"), None),
            (recorded!("crio-1.29", "crictl-info"), Some("127.0.0.1:5000/cx/pause:1")),
            (recorded!("crio-1.34", "crictl-info"), Some("127.0.0.1:5000/cx/pause:1")),
        ] {
            assert_eq!(parse_info(text).expect("parse"), image.map(Reference::new));
        }
        for text in ["", "{}", "null", r#"{"config":{"sandboxImage":"pause:1"}}"#, r#"{"status":{}}"#] {
            assert!(parse_info(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_the_recorded_versions() {
        for (text, name, version) in [
            (recorded!("1.7", "crictl-version"), "containerd", "1.7.24~ds1"),
            (recorded!("crio-1.34", "crictl-version"), "cri-o", "1.34.0"),
        ] {
            assert_eq!(parse_version(text).expect("parse"), Version { name: name.into(), version: version.into() });
        }
        assert!(parse_version("Version: 0.1.0\n").is_err());
    }

    #[test]
    fn a_refusal_is_found_with_the_image_it_is_about() {
        let complaints = Complaints::parse(recorded!("crio-1.34", "crictl-rmi-many-one-inuse", stderr));
        for id in [
            "2570bac220fb57ca1e471903da1433fe2f72d3822dbddf5ec478f9a461408476",
            "f8122871a2308c77769528084e6fa704289a92220176968d7d6f4e182863facb",
        ] {
            let about = complaints.about(&format!("sha256:{id}")).expect("a complaint");
            assert!(about.contains("image is in use by a container") && !about.contains("error of removing"), "{about}");
            assert!(!complaints.is_missing(id));
        }
        assert_eq!(complaints.about("197866d8dee69deb05ed60a2b5e1ff291f3c9c1713ea6de826e5e50eb5172607"), None);
    }

    #[test]
    fn a_complaint_is_told_without_the_log_line_around_it() {
        for line in ["time=\"x\" level=error msg=\"rpc error: unavailable\"", "rpc error: unavailable"] {
            assert_eq!(Complaints::parse(&format!("{line}\n")).last().as_deref(), Some("rpc error: unavailable"));
        }
        assert_eq!(Complaints::default().last(), None);
    }

    #[test]
    fn a_warning_beside_a_removal_is_no_complaint() {
        for text in [recorded!("1.7", "crictl-rmi-by-id", stderr), recorded!("1.7", "crictl-rmi-inuse-exited", stderr)] {
            assert!(text.contains("level=warning"), "{text}");
            assert_eq!(Complaints::parse(text), Complaints::default());
        }
    }

    #[test]
    fn an_image_that_is_not_there_is_told_from_one_that_can_not_be_removed() {
        let complaints = Complaints::parse(recorded!("1.7", "crictl-rmi-missing-id", stderr));
        assert!(complaints.is_missing("sha256:0000000000000000000000000000000000000000000000000000000000000000"));
        assert!(!complaints.is_missing("sha256:1000000000000000000000000000000000000000000000000000000000000000"));
    }
}
