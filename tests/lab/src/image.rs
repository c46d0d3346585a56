//! Images made from nothing: a static program, and layers of bytes that don't compress.
//!
//! Two images share exactly the layers that they say they share; the lowest, which holds the program, is the same in
//! all. Nothing here depends on the clock or on chance: the same description is the same image.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::packages;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an image shall be like; [`Containerd::pull`](crate::Containerd::pull) and
/// [`import`](crate::Containerd::import) make it so.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) names: Vec<String>,
    content: String,
    layers: usize,
    shared: usize,
    layer_size: usize,
    index: bool,
    pub(crate) all_platforms: bool,
}

impl Image {
    /// An image of two layers with this name, its content told by the name.
    pub fn new(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            content: name.to_owned(),
            layers: 2,
            shared: 1,
            layer_size: 64 << 10,
            index: false,
            all_platforms: false,
        }
    }

    /// One more name for it.
    #[must_use]
    pub fn tag(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Content by this key in place of the name: equal keys are equal images.
    #[must_use]
    pub fn content(mut self, key: &str) -> Self {
        key.clone_into(&mut self.content);
        self
    }

    /// How many layers, and how many of them every image with as many has too: at least the lowest.
    #[must_use]
    pub fn layers(mut self, layers: usize, shared: usize) -> Self {
        assert!(shared >= 1 && shared <= layers, "the lowest layer is everybody's");
        (self.layers, self.shared) = (layers, shared);
        self
    }

    /// The size of each layer but the lowest.
    #[must_use]
    pub fn layer_size(mut self, bytes: usize) -> Self {
        self.layer_size = bytes;
        self
    }

    /// An index of this machine's platform and one that can't run here, of which only the first is fetched.
    #[must_use]
    pub fn index(mut self) -> Self {
        self.index = true;
        self
    }

    /// An index of which all platforms are fetched.
    #[must_use]
    pub fn all_platforms(mut self) -> Self {
        (self.index, self.all_platforms) = (true, true);
        self
    }

    pub(crate) fn build(&self) -> Result<Built> {
        let mut built = Built::default();
        let manifest = self.manifest(architecture(), &mut built)?;
        if !self.index {
            built.target = manifest;
            return Ok(built);
        }
        let mut elsewhere = Built::default();
        let other = self.manifest("s390x", &mut elsewhere)?;
        built.blobs.extend(elsewhere.blobs);
        built.own_chains.extend(elsewhere.own_chains);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest, other]});
        built.target = built.add(INDEX, index.to_string().into_bytes(), true);
        Ok(built)
    }

    fn manifest(&self, architecture: &str, built: &mut Built) -> Result<Value> {
        let (mut layers, mut diff_ids) = (vec![], vec![]);
        for level in 0..self.layers {
            let (layer, own) = (self.layer(level, architecture)?, level >= self.shared);
            let diff_id = digest(&layer);
            built.stack(&diff_id, own);
            diff_ids.push(diff_id);
            layers.push(built.add(LAYER, layer, own));
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
            "config": {"Entrypoint": ["/tool"], "Cmd": ["pause"], "Labels": {"content": self.content}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = built.add(CONFIG, config.to_string().into_bytes(), true);
        built.id = digest_of(&config);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut manifest = built.add(MANIFEST, manifest.to_string().into_bytes(), true);
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        Ok(manifest)
    }

    fn layer(&self, level: usize, architecture: &str) -> Result<Vec<u8>> {
        if level == 0 {
            let program = fs::read(packages::tool()?).context("read the program for the images")?;
            return tarball(&[("tool", &program, 0o755)]);
        }
        let key = if level < self.shared { "shared" } else { &self.content };
        let bytes = incompressible(&format!("{key} {level} {architecture}"), self.layer_size);
        tarball(&[(&format!("layer-{level}"), &bytes, 0o644)])
    }
}

/// One thing to store: its digest, media type and bytes, and whether no other image has it too.
#[derive(Debug)]
pub(crate) struct Blob {
    pub digest: String,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    own: bool,
}

/// An image as bytes, children before parents, so that they can be pushed in order.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub blobs: Vec<Blob>,
    pub id: String,
    /// The descriptor that names point to.
    pub target: Value,
    chain: String,
    own_chains: Vec<String>,
}

impl Built {
    fn add(&mut self, media_type: &'static str, bytes: Vec<u8>, own: bool) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.blobs.push(Blob { digest, media_type, bytes, own });
        descriptor
    }

    /// Puts a layer on top: the chain ID as the OCI image specification makes it.
    fn stack(&mut self, diff_id: &str, own: bool) {
        self.chain = if self.chain.is_empty() { diff_id.to_owned() } else { digest(format!("{} {diff_id}", self.chain).as_bytes()) };
        if own {
            self.own_chains.push(self.chain.clone());
        }
    }

    pub(crate) fn digest(&self) -> String {
        digest_of(&self.target)
    }

    pub(crate) fn stored(&self, names: &[String], references: Vec<String>) -> Stored {
        Stored {
            id: self.id.clone(),
            digest: self.digest(),
            names: names.to_vec(),
            references,
            blobs: self.blobs.iter().filter(|blob| blob.own).map(|blob| blob.digest.clone()).collect(),
            snapshots: self.own_chains.clone(),
        }
    }

    /// An OCI image layout with these names, for `ctr images import`.
    pub(crate) fn layout(&self, names: &[String]) -> Result<Vec<u8>> {
        let annotated = |name: &String| {
            let mut descriptor = self.target.clone();
            descriptor["annotations"] = json!({"io.containerd.image.name": name});
            descriptor
        };
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": names.iter().map(annotated).collect::<Vec<_>>()});
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        for Blob { digest, bytes, .. } in &self.blobs {
            files.push((format!("blobs/{}", digest.replace(':', "/")), bytes.clone()));
        }
        files.dedup_by(|a, b| a.0 == b.0);
        let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice(), 0o644)).collect();
        tarball(&files)
    }
}

/// An image that is in the store now.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The image ID: `sha256:` of the config.
    pub id: String,
    /// What the names point to: the digest of the manifest or the index.
    pub digest: String,
    /// The names it was given, the first one first.
    pub names: Vec<String>,
    /// Every record that leads to it: names, `repository@digest` and, where CRI made it, the bare ID.
    pub references: Vec<String>,
    /// The blobs that only this image has.
    pub blobs: Vec<String>,
    /// The snapshots that only this image has, lowest first.
    pub snapshots: Vec<String>,
}

impl Stored {
    /// The first name.
    pub fn name(&self) -> &str {
        &self.names[0]
    }
}

/// `repository@digest` for a name with a tag.
pub(crate) fn at_digest(name: &str, digest: &str) -> String {
    format!("{}@{digest}", split(name).0)
}

/// The repository with its host, and the tag. The colon of a port is none of a tag.
pub(crate) fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        Some(_) | None => (name, "latest"),
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn digest_of(descriptor: &Value) -> String {
    descriptor["digest"].as_str().expect("our own descriptor").to_owned()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tarball(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, path, *bytes).with_context(|| format!("pack {path}"))?;
    }
    Ok(tar.into_inner()?)
}

/// Bytes that look random and are the same for the same key.
fn incompressible(key: &str, size: usize) -> Vec<u8> {
    let seed = Sha256::digest(key.as_bytes());
    let mut state = u64::from_le_bytes(seed[..8].try_into().expect("eight bytes")) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
