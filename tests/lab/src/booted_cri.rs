//! CRI on a booted machine: a client, and pods as the kubelet makes them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{BootedMachine, Image, packages};

const ENDPOINT: &str = "unix:///run/containerd/containerd.sock";

impl BootedMachine {
    /// Where [`BootedMachine::bring_cri`] puts the tests' own client: nowhere that the product looks.
    pub const CRICTL: &str = "/root/crictl";

    /// Brings a client, and the image that this machine's daemon makes sandboxes from.
    pub fn bring_cri(&self) -> Result<()> {
        self.bring(&packages::own_crictl()?, Self::CRICTL)?;
        let settings = self.sh("containerd config dump")?;
        let pause = settings.lines().find_map(|line| line.trim().strip_prefix("sandbox_image = ")).context("the sandbox image")?;
        self.pull(&Image::new(pause.trim_matches(['"', '\''])), Duration::from_hours(24)).map(drop)
    }

    /// Runs the client and gives what it printed.
    pub fn crictl(&self, arguments: &[&str]) -> Result<String> {
        let own = [Self::CRICTL, "--runtime-endpoint", ENDPOINT, "--image-endpoint", ENDPOINT, "-t", "60s"];
        Ok(self.run(&[&own, arguments].concat())?.exits(0)?.stdout.trim().to_owned())
    }

    /// Makes a pod called `default/NAME` whose container of that image runs.
    pub fn run_pod(&self, name: &str, reference: &str) -> Result<()> {
        let logs = format!("/var/log/pods/{name}");
        let labels =
            json!({"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.container.name": "main"});
        let sandbox = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "log_directory": logs, "labels": labels,
            "linux": {"security_context": {"namespace_options": {"network": 2}}},
        });
        let container = json!({
            "metadata": {"name": "main"}, "image": {"image": reference}, "args": ["pause"], "log_path": "main.log", "labels": labels,
            "linux": {},
        });
        self.sh(&format!("mkdir -p {logs}"))?;
        let (pod_file, container_file) = (format!("/root/{name}.pod"), format!("/root/{name}.container"));
        self.write(&pod_file, &sandbox.to_string())?;
        self.write(&container_file, &container.to_string())?;
        let pod = self.crictl(&["runp", &pod_file])?;
        let id = self.crictl(&["create", &pod, &container_file, &pod_file])?;
        self.crictl(&["start", &id]).map(drop)
    }
}
