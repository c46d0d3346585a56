//! The names of this field: image IDs, digests and references, each a type of its own.
//!
//! Mixing them up is the bug of this field, so nothing here converts one into another without saying so.
//! Nothing here looks anything up: a reference is a text and its parts.
//!
//! Each name and digest is in images, plan, state and report, so all of these share one text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Hash of an image's config, `sha256:<hex>`: CRI's `Image.id`. Never the digest of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(Arc<str>);

/// Hash of a blob, `sha256:<hex>`: a manifest or an index a reference points to, a config, a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(Arc<str>);

/// A name that leads to an image, exactly as the runtime prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(Arc<str>);

/// The parts of a reference that names a repository, in normalised form (`docker.io/library/` filled in).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Host with port, as in `localhost:5000`.
    pub registry: String,
    /// Path below the host, as in `library/redis`.
    pub path: String,
    /// Tag, without the colon; `None` for a reference by digest alone.
    pub tag: Option<String>,
    /// Digest behind the `@`.
    pub digest: Option<Digest>,
}

impl ImageId {
    /// The image ID that is the hash `digest` of an image config.
    pub fn of_config(digest: &Digest) -> Self {
        Self(digest.0.clone())
    }

    /// Reads an ID as containerd (`sha256:<hex>`) or CRI-O (`<hex>`) prints it; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = if text.contains(':') { Digest::parse(text) } else { Digest::parse(&format!("sha256:{text}")) };
        digest.map(|digest| Self(digest.0))
    }

    /// `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the colon, as CRI-O prints it.
    pub fn hex(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or(&self.0)
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or(self.hex())
    }
}

impl Digest {
    /// Reads `algorithm:hex`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return None,
        };
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex.len() == length && is_hex).then(|| Self(text.into()))
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon.
    pub fn algorithm(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The part after the colon.
    pub fn hex(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

impl Reference {
    /// Takes a name as the runtime printed it.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// The name as the runtime prints it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The config digest, if this is containerd's bare `sha256:<hex>`.
    pub fn bare_id(&self) -> Option<Digest> {
        Digest::parse(&self.0)
    }

    /// Is it containerd's bare `sha256:<hex>`, which names no repository?
    pub fn is_bare_id(&self) -> bool {
        self.bare_id().is_some()
    }

    /// Is it the name that `ctr images import` makes up for an image without one (`import-2026-11-24@sha256:…`), which CRI lists
    /// as one of Docker Hub's?
    pub fn is_made_up_by_import(&self) -> bool {
        let Some((name, _)) = self.0.split_once('@') else {
            return false;
        };
        let name = name.strip_prefix("docker.io/library/").unwrap_or(name);
        let mut parts = name.strip_prefix("import-").unwrap_or_default().split('-');
        let mut digits = |n: usize| parts.next().is_some_and(|p| p.len() == n && p.bytes().all(|b| b.is_ascii_digit()));
        digits(4) && digits(2) && digits(2) && parts.next().is_none()
    }

    /// The parts of a name, normalised as the kubelet and CRI do it; `None` for a bare ID and for a text that is no reference.
    ///
    /// A name without tag and digest gets `latest` (distribution/reference, `TagNameOnly`).
    pub fn named(&self) -> Option<Named> {
        if self.is_bare_id() || !self.is_well_formed() {
            return None;
        }
        let (name, digest) = match self.0.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (&*self.0, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (name, None),
        };
        let (registry, path) = split_registry(name);
        if path.is_empty() || registry.is_empty() {
            return None;
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Some(Named { registry, path, tag, digest })
    }

    /// Only bytes that a reference may hold, and none that a shell, a terminal or a filter would read otherwise.
    pub fn is_well_formed(&self) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'+' | b'[' | b']');
        self.0.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[') && self.0.bytes().all(allowed)
    }
}

/// Host and path; a first part without dot and port that isn't `localhost` is a path on docker.io (distribution/reference, `splitDockerDomain`).
fn split_registry(name: &str) -> (String, String) {
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase());
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    match (registry, path.split_once('/')) {
        ("index.docker.io", _) => ("docker.io".to_owned(), path),
        ("docker.io", None) => ("docker.io".to_owned(), format!("library/{path}")),
        _ => (registry.to_owned(), path),
    }
}

impl Named {
    /// Host and path, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// The host without its port, as containerd writes it into `containerd.io/distribution.source.<host>` (v1.7 `core/remotes/docker/handler.go`).
    pub fn host(&self) -> &str {
        match self.registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.trim_matches(['[', ']']),
            _ => &self.registry,
        }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "124fc5138feb60a1c4874690895f4f6b0abb28037e32e584179bb10e6b6fed85";

    fn named(text: &str) -> Option<Named> {
        Reference::new(text).named()
    }

    #[test]
    fn splits_a_reference_into_its_parts() {
        let digest = format!("sha256:{HEX}");
        let by_digest = format!("quay.io/a/b@{digest}");
        let both = format!("quay.io/a/b:1@{digest}");
        for (text, registry, path, tag, has_digest) in [
            ("redis", "docker.io", "library/redis", Some("latest"), false),
            ("redis:7", "docker.io", "library/redis", Some("7"), false),
            ("bitnami/redis:7", "docker.io", "bitnami/redis", Some("7"), false),
            ("docker.io/redis:7", "docker.io", "library/redis", Some("7"), false),
            ("index.docker.io/library/redis:7", "docker.io", "library/redis", Some("7"), false),
            ("localhost/app:1", "localhost", "app", Some("1"), false),
            ("localhost:5000/app", "localhost:5000", "app", Some("latest"), false),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io", "pause", Some("3.9"), false),
            (by_digest.as_str(), "quay.io", "a/b", None, true),
            (both.as_str(), "quay.io", "a/b", Some("1"), true),
        ] {
            let parts = named(text).unwrap_or_else(|| panic!("{text} has parts"));
            assert_eq!((parts.registry.as_str(), parts.path.as_str()), (registry, path), "{text}");
            assert_eq!(parts.tag.as_deref(), tag, "{text}");
            assert_eq!(parts.digest.is_some(), has_digest, "{text}");
        }
    }

    #[test]
    fn a_bare_id_and_a_hostile_text_have_no_parts() {
        for text in [
            format!("sha256:{HEX}"),
            String::new(),
            "a b".into(),
            "a\nb:1".into(),
            "--all".into(),
            "a/b@sha256:12".into(),
            "\u{1b}[2Jx".into(),
        ] {
            assert_eq!(named(&text), None, "{text:?}");
        }
    }

    #[test]
    fn the_host_has_no_port() {
        for (text, host) in [("127.0.0.1:5000/a", "127.0.0.1"), ("docker.io/a/b", "docker.io"), ("[::1]:5000/a", "::1")] {
            assert_eq!(named(text).expect("parts").host(), host);
        }
    }

    #[test]
    fn knows_the_names_that_an_import_makes_up() {
        for (text, made_up) in [
            (format!("import-2026-11-24@sha256:{HEX}"), true),
            (format!("import-2026-11@sha256:{HEX}"), false),
            ("import-2026-11-24:latest".into(), false),
            (format!("docker.io/library/import-2026-11-24@sha256:{HEX}"), true),
            (format!("quay.io/library/import-2026-11-24@sha256:{HEX}"), false),
        ] {
            assert_eq!(Reference::new(text.clone()).is_made_up_by_import(), made_up, "{text}");
        }
    }

    #[test]
    fn an_image_id_has_one_spelling_whatever_the_runtime_prints() {
        let id = format!("sha256:{HEX}");
        for text in [id.as_str(), HEX] {
            assert_eq!(ImageId::parse(text).as_ref().map(ImageId::as_str), Some(id.as_str()));
        }
        for text in ["", "sha256:", &HEX[1..], "app:1", "-a", &format!("app@{id}")] {
            assert_eq!(ImageId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_is_an_algorithm_and_lower_case_hex() {
        assert!(Digest::parse(&format!("sha256:{HEX}")).is_some());
        for text in ["sha256:", "sha256:12", HEX, &format!("md5:{HEX}"), &format!("sha256:{}", HEX.to_uppercase())] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
