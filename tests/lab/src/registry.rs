//! A registry on loopback, so that pulled images are really pulled. Its store is its memory.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::image::{Blob, Built, INDEX, MANIFEST};
use crate::shell::wait_for;

pub(crate) struct Registry {
    address: String,
}

impl Registry {
    /// The configuration to start docker-registry with: the kernel chooses the port.
    pub(crate) const CONFIG: &str = "version: 0.1\nlog: {level: info}\nstorage: {inmemory: {}}\nhttp: {addr: \"127.0.0.1:0\"}\n";

    /// Waits until the started registry has written the port that it got into its log.
    pub(crate) fn listening(log: &Path) -> Result<Self> {
        let address = wait_for("the registry", || {
            let log = fs::read_to_string(log)?;
            let address = log.split_once("listening on ").and_then(|(_, rest)| rest.split_once('"'));
            Ok(address.map(|(address, _)| address.to_owned()))
        })?;
        Ok(Self { address })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stores an image under one tag of a repository, given without a host.
    pub(crate) fn push(&self, image: &Built, repository: &str, tag: &str) -> Result<()> {
        for blob in &image.blobs {
            if [MANIFEST, INDEX].contains(&blob.media_type) {
                self.put_manifest(repository, &blob.digest, blob)?;
            } else {
                self.put_blob(repository, blob)?;
            }
        }
        let target = image.blobs.iter().find(|blob| blob.digest == image.digest()).context("find the manifest")?;
        self.put_manifest(repository, tag, target)
    }

    fn put_manifest(&self, repository: &str, reference: &str, manifest: &Blob) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.request("PUT", &path, manifest.media_type, &manifest.bytes).map(drop)
    }

    fn put_blob(&self, repository: &str, blob: &Blob) -> Result<()> {
        let upload = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[])?;
        let location = upload
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .context("find where to upload to")?
            .trim_start_matches(&self.url());
        let path = format!("{location}&digest={}", blob.digest);
        self.request("PUT", &path, "application/octet-stream", &blob.bytes).map(drop)
    }

    /// The head of the answer.
    fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).context("connect to the registry")?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).context("read the registry's answer")?;
        ensure!(!answer.is_empty(), "the registry hung up on {method} {path}");
        match status {
            "201" | "202" => Ok(answer),
            _ => bail!("{method} {path}: {answer}"),
        }
    }
}
