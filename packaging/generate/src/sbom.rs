//! The bill of materials: what is compiled into the binary, in `CycloneDX` 1.5 (<https://cyclonedx.org/docs/1.5/json/>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nuke_images::units::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{NAME, root};

/// The architectures of a release: together they are what is listed.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// What `cargo metadata` prints, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// Nothing for what is compiled in; `dev`, `build`.
    kind: Option<String>,
}

/// SHA-256 of each crate by name and version, as `Cargo.lock` has it.
pub type Checksums = BTreeMap<(String, String), String>;

/// What cargo knows of this project, for the targets of a release.
pub fn metadata() -> Result<Metadata> {
    let targets = TARGETS.iter().flat_map(|target| ["--filter-platform", target]);
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version=1", "--locked", "--quiet"]).args(targets).current_dir(root());
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", output.status);
    serde_json::from_slice(&output.stdout).context("read what cargo metadata prints")
}

/// The checksums in `Cargo.lock`; the crates of this project have none.
pub fn checksums() -> Result<Checksums> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(&fs::read_to_string(root().join("Cargo.lock"))?).context("read Cargo.lock")?;
    Ok(lock.package.into_iter().filter_map(|package| Some(((package.name, package.version), package.checksum?))).collect())
}

/// The document for a release made `seconds` after 1970.
pub fn bom(metadata: &Metadata, checksums: &Checksums, seconds: u64) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let graph: BTreeMap<&str, BTreeSet<&str>> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), compiled_in(node))).collect();
    let product = metadata.packages.iter().find(|package| package.name == NAME).context("nuke-images is not among the packages")?;
    let reached = reachable(&product.id, &graph);
    // By name and version: the IDs of our own packages have the folder in them.
    let mut shipped: Vec<&Package> = reached.iter().filter_map(|id| packages.get(id).copied()).collect();
    shipped.sort_by_key(|package| (&package.name, &package.version));
    let libraries = shipped.iter().filter(|package| package.id != product.id);
    let dependencies = shipped.iter().map(|package| {
        let on: BTreeSet<String> =
            graph[package.id.as_str()].iter().filter_map(|id| packages.get(id)).map(|package| purl(package)).collect();
        json!({"ref": purl(package), "dependsOn": on})
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": Timestamp::from_unix(seconds).to_string(),
            "component": component("application", product, checksums),
        },
        "components": libraries.map(|package| component("library", package, checksums)).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))
}

fn compiled_in(node: &Node) -> BTreeSet<&str> {
    let is_normal = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
    node.deps.iter().filter(is_normal).map(|dependency| dependency.pkg.as_str()).collect()
}

fn reachable<'a>(from: &'a str, graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(id) = left.pop() {
        if reached.insert(id) {
            left.extend(graph.get(id).into_iter().flatten());
        }
    }
    reached
}

fn component(kind: &str, package: &Package, checksums: &Checksums) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
    });
    let key = (package.name.clone(), package.version.clone());
    let optional = [
        ("description", package.description.as_ref().map(|text| json!(text))),
        // An older way to write OR (https://doc.rust-lang.org/cargo/reference/manifest.html#the-license-and-license-file-fields).
        ("licenses", package.license.as_ref().map(|license| json!([{"expression": license.replace('/', " OR ")}]))),
        ("hashes", checksums.get(&key).map(|hash| json!([{"alg": "SHA-256", "content": hash}]))),
        ("externalReferences", package.repository.as_ref().map(|url| json!([{"type": "vcs", "url": url}]))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            component[name] = value;
        }
    }
    component
}

/// <https://github.com/package-url/purl-spec/blob/main/types-doc/cargo-definition.md>
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}
