//! Pods, made through CRI as the kubelet makes them.
//!
//! They have the machine's network, as there is no CNI, and no user but root. Their sandboxes are made from the image
//! that the daemon is configured with, which is pulled first if it isn't there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell::{output, wait_for};
use crate::{Containerd, Image, packages};

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// Its container runs.
    Running,
    /// Its container has run and ended with exit code 3; the sandbox still runs.
    Exited,
    /// Its container was made and never started.
    Created,
    /// It has no container.
    SandboxOnly,
    /// Its sandbox was stopped, and with it its container, which is still there.
    NotReady,
}

/// A pod that was made; it stays until it is removed or the lab ends.
pub struct Pod<'a> {
    lab: &'a Containerd,
    folder: PathBuf,
    /// The ID of its sandbox.
    pub id: String,
    /// The ID of its container, if it was given one.
    pub container: Option<String>,
}

impl Containerd {
    /// Makes a pod called `default/NAME` whose container is made from the image with this reference, in any form that
    /// CRI takes: a tag, `repository@digest`, or an image ID.
    pub fn pod(&self, name: &str, reference: &str, state: PodState) -> Result<Pod<'_>> {
        let mut pod = self.sandbox(name)?;
        if state != PodState::SandboxOnly {
            pod.main(reference, state, &[])?;
        }
        Ok(pod)
    }

    /// Makes a running pod in which a container of another image has run before, and is still there.
    pub fn pod_with_init(&self, name: &str, init: &str, reference: &str) -> Result<Pod<'_>> {
        let mut pod = self.sandbox(name)?;
        let id = pod.create("init", init, &["exit", "0"], &[])?;
        pod.start(&id)?;
        pod.wait_for_exit(&id)?;
        pod.main(reference, PodState::Running, &[])?;
        Ok(pod)
    }

    /// Makes a running pod with another image mounted at `/volume`; only containerd 2.1 and newer can.
    pub fn pod_with_volume(&self, name: &str, reference: &str, volume: &str) -> Result<Pod<'_>> {
        let mut pod = self.sandbox(name)?;
        let mount = json!({"container_path": "/volume", "image": {"image": volume}, "readonly": true});
        pod.main(reference, PodState::Running, &[mount])?;
        Ok(pod)
    }

    /// The image that this daemon makes sandboxes from, by its own word.
    pub fn sandbox_image(&self) -> Result<String> {
        let dump = self.dump()?;
        let value = |line: &str| {
            let (key, value) = line.trim().split_once(" = ")?;
            ["sandbox_image", "sandbox"].contains(&key).then(|| value.trim_matches(['"', '\'']).to_owned())
        };
        dump.lines().find_map(value).context("find the sandbox image in the daemon's configuration")
    }

    fn sandbox(&self, name: &str) -> Result<Pod<'_>> {
        let pause = self.sandbox_image()?;
        if self.digest(&pause)?.is_none() {
            self.cri_pull(&Image::new(&pause))?;
        }
        let folder = self.folder().join("pods").join(name);
        fs::create_dir_all(&folder)?;
        let config = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
            "log_directory": folder,
            "labels": labels(name),
            "linux": {"cgroup_parent": self.cgroup("pods"), "security_context": {"namespace_options": {"network": 2}}},
        });
        fs::write(folder.join("pod.json"), config.to_string())?;
        let id = self.crictl(&["runp", text(&folder.join("pod.json"))?])?.trim().to_owned();
        Ok(Pod { lab: self, folder, id, container: None })
    }
}

impl Pod<'_> {
    fn main(&mut self, reference: &str, state: PodState, mounts: &[Value]) -> Result<()> {
        let args: &[&str] = if state == PodState::Exited { &["exit", "3"] } else { &["pause"] };
        let id = self.create("main", reference, args, mounts)?;
        self.container = Some(id.clone());
        match state {
            PodState::Running => self.start(&id),
            PodState::Exited => self.start(&id).and_then(|()| self.wait_for_exit(&id)),
            PodState::Created => Ok(()),
            PodState::NotReady => self.start(&id).and_then(|()| self.stop()),
            PodState::SandboxOnly => bail!("a pod with no container was to have one"),
        }
    }

    fn create(&self, name: &str, reference: &str, args: &[&str], mounts: &[Value]) -> Result<String> {
        let pod = self.folder.file_name().context("a pod has a name")?.to_string_lossy();
        let mut labels = labels(&pod);
        labels["io.kubernetes.container.name"] = json!(name);
        let config = json!({
            "metadata": {"name": name}, "image": {"image": reference}, "args": args, "mounts": mounts,
            "log_path": format!("{name}.log"), "labels": labels, "linux": {},
        });
        let (file, sandbox) = (self.folder.join(format!("{name}.json")), self.folder.join("pod.json"));
        fs::write(&file, config.to_string())?;
        // A crictl up to 1.30 doesn't know that an image can be mounted.
        let crictl = if mounts.is_empty() { packages::crictl()? } else { packages::own_crictl()? };
        let created = output(&mut self.lab.cri_command(&crictl, &["create", &self.id, text(&file)?, text(&sandbox)?]))?;
        Ok(created.trim().to_owned())
    }

    fn start(&self, id: &str) -> Result<()> {
        self.lab.crictl(&["start", id]).map(drop)
    }

    fn wait_for_exit(&self, id: &str) -> Result<()> {
        wait_for("a container to end", || {
            let status: Value = serde_json::from_str(&self.lab.crictl(&["inspect", "-o", "json", id])?)?;
            Ok((status["status"]["state"] == "CONTAINER_EXITED").then_some(()))
        })
    }

    fn container(&self) -> Result<&str> {
        self.container.as_deref().context("the pod has no container")
    }

    /// Ends its container, which stays.
    pub fn stop_container(&self) -> Result<()> {
        self.lab.crictl(&["stop", "--timeout", "0", self.container()?]).map(drop)
    }

    /// Removes its container, which must have ended.
    pub fn remove_container(&mut self) -> Result<()> {
        self.lab.crictl(&["rm", self.container()?])?;
        self.container = None;
        Ok(())
    }

    /// Ends its sandbox and all its containers, which stay.
    pub fn stop(&self) -> Result<()> {
        self.lab.crictl(&["stopp", &self.id]).map(drop)
    }

    /// Ends and removes all of it.
    pub fn remove(self) -> Result<()> {
        self.stop()?;
        self.lab.crictl(&["rmp", &self.id]).map(drop)
    }
}

/// What the kubelet writes on a pod.
fn labels(pod: &str) -> Value {
    json!({
        "io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": format!("uid-{pod}"),
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is UTF-8")
}
