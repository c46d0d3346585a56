//! The DaemonSet: what it asks a cluster for, and its installer as a real privileged pod on a booted machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{BootedMachine, Image, Stored, kustomize};
use serde_json::{Value, json};

use crate::{kept, project, release, run, sh, text};

/// What Kubernetes renders of that overlay, resource by resource.
fn rendered(overlay: &str) -> Result<Vec<Value>> {
    let yaml = run(text(&kustomize()?)?, &["build", text(&project().join("packaging/kubernetes").join(overlay))?])?;
    let documents = yaml.split("\n---\n").map(|document| serde_saphyr::from_str(document).context("read a manifest"));
    documents.collect()
}

fn of_kind<'a>(resources: &'a [Value], kind: &str) -> Result<&'a Value> {
    resources.iter().find(|resource| resource["kind"] == kind).with_context(|| format!("no {kind}"))
}

#[test]
fn only_the_init_container_has_rights_and_it_comes_to_every_linux_node() -> Result<()> {
    for (overlay, verb) in [("base", "install"), ("uninstall", "uninstall"), ("example", "install")] {
        let resources = rendered(overlay)?;
        ensure!(resources.len() == 3, "{overlay}: namespace, ConfigMap and DaemonSet");
        let set = of_kind(&resources, "DaemonSet")?;
        let pod = &set["spec"]["template"]["spec"];
        let (init, pause) = (&pod["initContainers"][0], &pod["containers"][0]);
        assert_eq!((init["args"][0].as_str(), init["securityContext"]["privileged"].as_bool()), (Some(verb), Some(true)), "{overlay}");
        assert_eq!(pause["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(pause["securityContext"]["allowPrivilegeEscalation"], json!(false));
        assert_eq!(pause["securityContext"]["privileged"], Value::Null);
        assert_eq!((pause["volumeMounts"].clone(), pause["securityContext"]["runAsNonRoot"].clone()), (Value::Null, json!(true)));
        assert_eq!((pod["initContainers"].as_array().map(Vec::len), pod["containers"].as_array().map(Vec::len)), (Some(1), Some(1)));
        assert_eq!((&pod["automountServiceAccountToken"], &pod["hostPID"]), (&json!(false), &json!(true)));
        assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
        assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
        let config = of_kind(&resources, "ConfigMap")?;
        let volumes = pod["volumes"].as_array().context("volumes")?;
        ensure!(
            volumes.iter().any(|volume| volume["configMap"]["name"] == config["metadata"]["name"]),
            "{overlay}: the ConfigMap is mounted"
        );
    }
    let image = |overlay| -> Result<Value> {
        Ok(of_kind(&rendered(overlay)?, "DaemonSet")?["spec"]["template"]["spec"]["initContainers"][0]["image"].clone())
    };
    assert_eq!(image("uninstall")?, image("example")?, "what takes off is what has put on");
    Ok(())
}

/// By the schemas that come with kubernetes-validate: the last versions that are supported.
#[test]
fn kubernetes_accepts_every_field_strictly() -> Result<()> {
    let python = kept("python-kubernetes")?;
    let install = "[ -e \"$1/bin/pip\" ] || python3 -m venv \"$1\"
        [ -e \"$1/bin/kubernetes-validate\" ] || \"$1/bin/pip\" install --quiet 'kubernetes-validate>=1.37,<2'
        ls \"$1\"/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema";
    let bundled = sh(install, &[&python])?;
    let mut versions: Vec<u32> =
        bundled.lines().filter_map(|line| line.strip_prefix("v1.")?.strip_suffix(".0-local-strict")?.parse().ok()).collect();
    versions.sort_unstable();
    let newest = *versions.last().context("a bundled version")?;
    let folder = tempfile::tempdir()?;
    let validate = python.join("bin/kubernetes-validate");
    let accepted =
        |file: &Path, version: u32| run(text(&validate)?, &["--strict", "--kubernetes-version", &format!("1.{version}"), text(file)?]);
    for overlay in ["base", "uninstall", "example"] {
        let file = folder.path().join(overlay);
        sh("\"$1\" build \"$2\" >\"$3\"", &[&kustomize()?, &project().join("packaging/kubernetes").join(overlay), &file])?;
        // Kubernetes supports three minor versions (kubernetes.io/releases).
        for version in [newest - 2, newest] {
            accepted(&file, version).with_context(|| format!("{overlay}, Kubernetes 1.{version}"))?;
        }
        sh("sed -i s/hostPID/hostPid/ \"$1\"", &[&file])?;
        ensure!(accepted(&file, newest).is_err(), "{overlay}: a slip of the pen is accepted");
    }
    Ok(())
}

/// A node with containerd, to which the installer's image has been pulled.
struct Cluster {
    machine: BootedMachine,
}

impl Cluster {
    fn start() -> Result<Self> {
        let cluster = Self { machine: BootedMachine::boot("trixie")? };
        cluster.machine.bring_cri()?;
        cluster.bring_image("1", &release()?.join("nuke-images-image.tar"))?;
        Ok(cluster)
    }

    /// Gives the image in that archive the name `registry.example.com/nuke-images:TAG`.
    fn bring_image(&self, tag: &str, archive: &Path) -> Result<()> {
        self.machine.bring(archive, "/root/image.tar")?;
        let own = format!("localhost/nuke-images:{}", env!("CARGO_PKG_VERSION"));
        self.machine.ctr(&["images", "import", "/root/image.tar"])?;
        self.machine.ctr(&["images", "tag", "--force", &own, &format!("registry.example.com/nuke-images:{tag}")])?;
        self.machine.ctr(&["images", "rm", &own]).map(drop)
    }

    /// Runs the init container of that overlay as the kubelet does, with this `ConfigMap`; its exit code and what it said.
    fn installs(&self, overlay: &str, tag: &str, config: &[(&str, &str)]) -> Result<(i64, String)> {
        let resources = rendered(overlay)?;
        let pod = &of_kind(&resources, "DaemonSet")?["spec"]["template"]["spec"];
        let init = &pod["initContainers"][0];
        self.machine.sh("rm -rf /root/config && mkdir -p /root/config /var/log/pods/installer")?;
        for (name, text) in config {
            self.machine.write(&format!("/root/config/{name}"), text)?;
        }
        ensure!(pod["hostPID"] == true, "the pod sees the host's processes");
        let namespaces = json!({"network": 2, "pid": 2});
        let sandbox = json!({
            "metadata": {"name": "nuke-images", "namespace": "nuke-images", "uid": "uid-1"}, "log_directory": "/var/log/pods/installer",
            "linux": {"security_context": {"privileged": true, "namespace_options": namespaces}},
        });
        let mounts = init["volumeMounts"].as_array().context("mounts")?.iter().map(|mount| {
            let source = if mount["name"] == "host" { "/" } else { "/root/config" };
            json!({"host_path": source, "container_path": mount["mountPath"], "readonly": mount["readOnly"] == true})
        });
        let security = json!({
            "privileged": init["securityContext"]["privileged"], "readonly_rootfs": init["securityContext"]["readOnlyRootFilesystem"],
            "namespace_options": namespaces,
        });
        let container = json!({
            "metadata": {"name": init["name"]}, "image": {"image": format!("registry.example.com/nuke-images:{tag}")},
            "args": init["args"], "mounts": mounts.collect::<Vec<_>>(), "log_path": "init.log", "linux": {"security_context": security},
        });
        self.machine.write("/root/pod.json", &sandbox.to_string())?;
        self.machine.write("/root/container.json", &container.to_string())?;
        let pod = self.machine.crictl(&["runp", "/root/pod.json"])?;
        let id = self.machine.crictl(&["create", &pod, "/root/container.json", "/root/pod.json"])?;
        self.machine.crictl(&["start", &id])?;
        let status = self.machine.wait_for("the installer to end", || {
            let status: Value = serde_json::from_str(&self.machine.crictl(&["inspect", "-o", "json", &id])?)?;
            Ok((status["status"]["state"] == "CONTAINER_EXITED").then(|| status["status"].clone()))
        })?;
        let log = self.machine.read("/var/log/pods/installer/init.log")?;
        self.machine.crictl(&["stopp", &pod])?;
        self.machine.crictl(&["rmp", &pod])?;
        self.machine.sh("rm /var/log/pods/installer/init.log")?;
        // Time, stream, and whether the line is whole come before what was said (CRI's log format).
        let said = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).fold(String::new(), |all, line| all + line + "\n");
        Ok((status["exitCode"].as_i64().unwrap_or(0), said))
    }

    fn state_of(&self, unit: &str) -> Result<String> {
        Ok(self.machine.run(&["systemctl", "is-active", unit])?.stdout.trim().to_owned())
    }

    fn pull(&self, name: &str) -> Result<Stored> {
        self.machine.pull(&Image::new(&format!("registry.example.com/{name}")).content(name), Duration::from_hours(24))
    }
}

const CLUSTER: &str = "[images]\nall = true\nmin_age = \"1m\"\nunused_for = \"0s\"\n[safety]\nmin_uptime = \"0s\"\n";
/// Holds a removal until it may go on.
const SLOW_CTR: &str = "#!/bin/bash\ncase \" $* \" in *' images rm '*) : >/var/lib/nuke-images/reached; \
    until [ -e /var/lib/nuke-images/go ]; do sleep 0.05; done ;; esac\nexec /usr/bin/ctr \"$@\"\n";

#[test]
fn the_installer_as_a_privileged_pod_installs_upgrades_during_a_run_and_uninstalls() -> Result<()> {
    let cluster = Cluster::start()?;
    let machine = &cluster.machine;
    let (code, said) = cluster.installs("base", "1", &[("50-cluster.toml", CLUSTER)])?;
    ensure!(code == 0 && said.contains("put /usr/local/bin/nuke-images\n"), "{code}: {said}");
    assert_eq!(machine.read("/etc/nuke-images/config.d/50-cluster.toml")?, CLUSTER);
    assert_eq!(
        (cluster.state_of("nuke-images.timer")?, cluster.state_of("nuke-images-observe.timer")?),
        ("active".into(), "active".into())
    );
    machine.sh("systemctl is-enabled nuke-images.timer")?;

    let (code, said) = cluster.installs("base", "1", &[("50-cluster.toml", CLUSTER)])?;
    ensure!(code == 0 && said.starts_with("nothing has changed\n"), "{code}: {said}");
    let (code, said) = cluster.installs("base", "1", &[("50-cluster.toml", "[images]\nregistry = [\"a\"]\n")])?;
    ensure!(code != 0 && said.contains("50-cluster.toml:2"), "{code}: {said}");
    assert_eq!(machine.read("/etc/nuke-images/config.d/50-cluster.toml")?, CLUSTER, "a refused configuration leaves the old one");

    let (used, unused) = (cluster.pull("used:1")?, cluster.pull("unused:1")?);
    machine.run_container(used.name(), "container-1")?;
    machine.write("/usr/local/sbin/slow-ctr", SLOW_CTR)?;
    machine.sh("chmod 755 /usr/local/sbin/slow-ctr; cp /usr/local/bin/nuke-images /root/older")?;
    machine.write("/etc/nuke-images/config.d/60-test.toml", "[runtime]\nctr = \"/usr/local/sbin/slow-ctr\"\n")?;
    machine.sh("systemctl start --no-block nuke-images.service")?;
    let reached = machine.wait_for("the removal", || Ok(machine.exists("/var/lib/nuke-images/reached").then_some(())));
    reached.with_context(|| {
        machine.sh("journalctl -t nuke-images -o cat; systemctl status nuke-images.service || true").unwrap_or_default()
    })?;
    cluster.bring_image("2", &newer_image()?)?;
    let (code, said) = cluster.installs("base", "2", &[("55-cluster.toml", CLUSTER)])?;
    ensure!(code == 0 && said.contains("put /usr/local/bin/nuke-images\n"), "{code}: {said}");
    ensure!(machine.run(&["cmp", "-s", "/usr/local/bin/nuke-images", "/root/older"])?.code == 1, "the program is the old one");
    ensure!(!machine.exists("/etc/nuke-images/config.d/50-cluster.toml"), "a drop-in that is no longer in the ConfigMap stays");
    ensure!(machine.exists("/etc/nuke-images/config.d/60-test.toml"), "somebody else's drop-in is gone");
    assert_eq!(cluster.state_of("nuke-images.service")?, "activating", "the run goes on");
    machine.write("/var/lib/nuke-images/go", "")?;
    machine.wait_for("the run to end", || Ok((cluster.state_of("nuke-images.service")? == "inactive").then_some(())))?;
    ensure!(machine.has(&used)? && !machine.has(&unused)?, "the run that was going on has come to its end");

    machine.sh("rm /etc/nuke-images/config.d/60-test.toml")?;
    let (code, said) = cluster.installs("uninstall", "2", &[])?;
    ensure!(code == 0 && said.contains("remove /usr/local/bin/nuke-images\n"), "{code}: {said}");
    assert_eq!(cluster.state_of("nuke-images.timer")?, "inactive");
    let left =
        machine.sh("ls -d /usr/local/bin/nuke-images /etc/systemd/system/nuke-images* /etc/nuke-images/config.d/5* 2>/dev/null || true")?;
    assert_eq!(left, "");
    Ok(())
}

/// The image of a later version, told by its length: what stands behind a program's end is not looked at.
fn newer_image() -> Result<std::path::PathBuf> {
    let folder = kept("newer")?;
    let make = "cp \"$1/nuke-images-x86_64\" \"$2/nuke-images-x86_64\"; echo newer >>\"$2/nuke-images-x86_64\"
        SOURCE_DATE_EPOCH=1795000001 \"$3\" \"$4\" \"$2/image.tar\" \"$2/nuke-images-x86_64\"";
    let image = project().join("packaging/image");
    sh(make, &[release()?, &folder, &image, Path::new(env!("CARGO_PKG_VERSION"))])?;
    Ok(folder.join("image.tar"))
}
