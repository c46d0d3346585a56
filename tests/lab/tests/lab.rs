//! That the lab is what it says: a test that relies on it must not pass because the lab does nothing.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Containerd, Image, PodState, Settings, Stored};
use serde_json::Value;

const VERSIONS: [&str; 3] = ["1.6", "1.7", "2.1"];

fn crictl(lab: &Containerd, arguments: &[&str]) -> Result<Value> {
    serde_json::from_str(&lab.crictl(arguments)?).with_context(|| format!("read what crictl says to {arguments:?}"))
}

/// Each pod as `name:state`, and each of its containers as `pod/container:state`, in order.
fn pods(lab: &Containerd) -> Result<Vec<String>> {
    let (pods, containers) = (crictl(lab, &["pods", "-o", "json"])?, crictl(lab, &["ps", "-a", "-o", "json"])?);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = vec![];
    for pod in pods["items"].as_array().context("list pods")? {
        all.push(format!("{}:{}", word(&pod["metadata"]["name"]), word(&pod["state"])));
        for container in containers["containers"].as_array().context("list containers")? {
            if container["podSandboxId"] == pod["id"] {
                let names = (word(&pod["metadata"]["name"]), word(&container["metadata"]["name"]));
                all.push(format!("{}/{}:{}", names.0, names.1, word(&container["state"])));
            }
        }
    }
    all.sort();
    Ok(all)
}

fn app(lab: &Containerd, name: &str) -> Result<Stored> {
    lab.cri_pull(&Image::new(&format!("registry.example.com/{name}")).content(name))
}

#[test]
fn a_pulled_image_has_its_name_its_digest_and_its_bare_id_and_runs() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = lab.pull(&Image::new("registry.example.com/shop/cart:1.4").tag("registry.example.com/shop/cart:latest"))?;
    let expected = [&image.names[..], &[format!("registry.example.com/shop/cart@{}", image.digest), image.id.clone()]].concat();
    assert_eq!(image.references, expected);
    assert_eq!(lab.references()?, expected.into_iter().collect());
    assert!(lab.fingerprint()?.contains("containerd.io/distribution.source.registry.example.com=shop/cart"));
    assert!(lab.can_run(image.name())?);
    assert!(!lab.can_run("registry.example.com/shop/no-such:1")?);
    Ok(())
}

#[test]
fn a_side_loaded_image_knows_no_registry_and_runs() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = lab.import(&Image::new("registry.example.com/shop/cart:1.4"))?;
    assert!(!lab.fingerprint()?.contains("distribution.source"));
    assert!(lab.can_run(image.name())?);
    Ok(())
}

#[test]
fn an_index_brings_other_platforms_only_when_told_to() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let one = lab.pull(&Image::new("registry.example.com/one:1").index())?;
    let all = lab.pull(&Image::new("registry.example.com/all:1").all_platforms())?;
    let loaded = lab.import(&Image::new("registry.example.com/loaded:1").all_platforms())?;
    // Index, manifest, config, layer; the same again for the other platform, but for the index.
    assert_eq!([one.blobs.len(), all.blobs.len(), loaded.blobs.len()], [4, 7, 7]);
    for image in [one, all, loaded] {
        assert!(lab.can_run(image.name())?);
    }
    Ok(())
}

#[test]
fn removing_an_image_gives_its_own_blobs_snapshots_and_bytes_back_and_no_others() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let stays = lab.pull(&Image::new("registry.example.com/stays:1"))?;
    let used = lab.used_bytes()?;
    let goes = lab.pull(&Image::new("registry.example.com/goes:1").layers(4, 1).layer_size(4 << 20))?;
    assert!(lab.used_bytes()? > used + (24 << 20));
    let all: Vec<_> = goes.references.iter().map(String::as_str).collect();
    lab.ctr(&[&["images", "rm", "--sync"], &all[..]].concat())?;
    assert!(lab.used_bytes()? < used + (1 << 20));
    assert!(goes.blobs.iter().all(|blob| !lab.has_file(blob)) && stays.blobs.iter().all(|blob| lab.has_file(blob)));
    let snapshots = lab.snapshots()?;
    assert!(goes.snapshots.iter().all(|key| !snapshots.contains(key)));
    assert!(stays.snapshots.iter().all(|key| snapshots.contains(key)));
    assert!(lab.can_run(stays.name())?);
    Ok(())
}

#[test]
fn containers_run_or_are_only_made_or_have_ended() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = lab.pull(&Image::new("registry.example.com/app:1"))?;
    lab.run(image.name(), "running")?;
    lab.create(image.name(), "created")?;
    lab.stopped(image.name(), "stopped")?;
    assert_eq!(lab.containers()?.len(), 3);
    let tasks = lab.ctr(&["tasks", "ls"])?;
    assert!(tasks.contains("RUNNING") && !tasks.contains("created") && !tasks.contains("stopped"), "{tasks}");
    for id in ["running", "created", "stopped"] {
        lab.remove_container(id)?;
    }
    assert_eq!(lab.containers()?.len(), 0);
    Ok(())
}

#[test]
fn a_fingerprint_changes_with_ages_labels_and_containers_alone() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = lab.pull(&Image::new("registry.example.com/app:1"))?;
    let mut prints = vec![lab.fingerprint()?];
    assert_eq!(prints[0], lab.fingerprint()?);
    lab.age(&image, Duration::from_hours(2))?;
    prints.push(lab.fingerprint()?);
    lab.label(image.name(), "a=b")?;
    prints.push(lab.fingerprint()?);
    lab.create(image.name(), "one")?;
    prints.push(lab.fingerprint()?);
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 4);
    Ok(())
}

#[test]
fn every_containerd_we_have_takes_images_and_containers() -> Result<()> {
    for version in VERSIONS {
        for sandbox_image in [None, Some("registry.example.com/pause:3.9".to_owned())] {
            let lab = Containerd::with(&Settings { version, sandbox_image, ..Settings::default() })?;
            let image = lab.pull(&Image::new("registry.example.com/app:1"))?;
            lab.run(image.name(), "one")?;
            assert!(lab.can_run(image.name())?);
        }
    }
    Ok(())
}

#[test]
fn a_node_hides_the_machine_and_keeps_what_is_written() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let mut node = lab.node()?.product("/bin/sh");
    node.write("/etc/kubernetes/manifests/web.yaml", "kind: Pod")?;
    let seen =
        node.run(&["-c", "cat /etc/kubernetes/manifests/web.yaml; ls /var/lib /run; env; echo x >/var/lib/y; readlink /proc/self"])?;
    assert!(seen.exits(0)?.stdout.starts_with("kind: Pod"));
    assert_eq!(node.read("/var/lib/y")?, "x\n");
    assert_eq!(node.run(&["-c", "cat /var/lib/y; exit 7"])?.exits(7)?.stdout, "x\n");
    let names = node.run(&["-c", "ctr version >/dev/null 2>&1; containerd --version; cat /etc/nuke-images/config.toml"])?;
    assert!(names.stdout.contains("1.7") && names.stdout.contains("min_uptime = \"0s\""), "{names:?}");
    node.hide_containerd()?;
    node.run(&["-c", "containerd --version"])?.exits(127)?;
    Ok(())
}

#[test]
fn a_node_has_terminals_signals_and_a_stand_in_for_ctr() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let mut node = lab.node()?.product("/bin/sh");
    let mut asks = node.on_terminal(&["-c", "tty >&2; echo 'go on?'; read answer; echo \"<$answer>\"; exit 9"])?;
    asks.wait_for("go on?")?;
    asks.enter("y\n")?;
    assert!(asks.wait()?.exits(9)?.stdout.contains("<y>"));
    let waits = node.spawn(&["-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"])?;
    waits.wait_for("ready")?;
    waits.signal("TERM")?;
    waits.wait()?.exits(3)?;
    node.stand_in("case $command in 'images ls') echo no >&2; exit 5;; *) real \"$@\";; esac")?;
    let socket = lab.socket();
    let ctr = |rest: &str| format!("stand-in -a {} --timeout=2s --namespace k8s.io {rest}", socket.display());
    node.run(&["-c", &ctr("images ls -q")])?.exits(5)?;
    node.run(&["-c", &ctr("content ls -q")])?.exits(0)?;
    node.stand_in("echo \"$command\"")?;
    assert_eq!(node.run(&["-c", &ctr("snapshots --snapshotter overlayfs ls")])?.stdout, "snapshots ls\n");
    Ok(())
}

#[test]
fn an_image_pulled_through_cri_has_the_references_that_a_pull_with_ctr_is_given() -> Result<()> {
    for version in VERSIONS {
        let image = Image::new("registry.example.com/shop/cart:1.4").tag("registry.example.com/shop/cart:latest").index();
        let (by_ctr, by_cri) = (Containerd::start(version)?, Containerd::start(version)?);
        let (with_ctr, with_cri) = (by_ctr.pull(&image)?, by_cri.cri_pull(&image)?);
        assert_eq!(with_ctr.references, with_cri.references, "{version}");
        assert_eq!(by_ctr.references()?, by_cri.references()?, "{version}");
        assert_eq!(with_ctr.snapshots, with_cri.snapshots, "{version}");
        // Index, manifest, config, layer. The ctr of 2.1 fetches some of the other platform, too.
        assert_eq!(with_cri.blobs.len(), 4, "{version}");
    }
    Ok(())
}

#[test]
fn a_pod_in_each_state_is_what_it_says() -> Result<()> {
    for version in VERSIONS {
        let lab = Containerd::start(version)?;
        let image = app(&lab, "app:1")?;
        lab.pod("running", image.name(), PodState::Running)?;
        lab.pod("exited", image.name(), PodState::Exited)?;
        lab.pod("created", image.name(), PodState::Created)?;
        lab.pod("sandbox-only", image.name(), PodState::SandboxOnly)?;
        lab.pod("not-ready", image.name(), PodState::NotReady)?;
        let expected = [
            "created/main:CONTAINER_CREATED",
            "created:SANDBOX_READY",
            "exited/main:CONTAINER_EXITED",
            "exited:SANDBOX_READY",
            "not-ready/main:CONTAINER_EXITED",
            "not-ready:SANDBOX_NOTREADY",
            "running/main:CONTAINER_RUNNING",
            "running:SANDBOX_READY",
            "sandbox-only:SANDBOX_READY",
        ];
        assert_eq!(pods(&lab)?, expected, "{version}");
        let pause = lab.digest(&lab.sandbox_image()?)?;
        assert!(pause.is_some() && pause != lab.digest(image.name())?, "{version}");
    }
    Ok(())
}

#[test]
fn a_pod_has_the_image_that_it_was_made_from_however_that_was_named() -> Result<()> {
    for version in VERSIONS {
        let lab = Containerd::start(version)?;
        let image = app(&lab, "app:1")?;
        let untagged = lab.cri_pull_by_digest(&Image::new("registry.example.com/untagged:1").content("untagged"))?;
        assert_eq!(untagged.references, [untagged.name(), &untagged.id], "{version}");
        let by_digest = format!("registry.example.com/app@{}", image.digest);
        for (name, reference, id) in [
            ("by-tag", image.name(), &image.id),
            ("by-digest", &by_digest, &image.id),
            ("by-id", &image.id, &image.id),
            ("untagged", untagged.name(), &untagged.id),
        ] {
            let pod = lab.pod(name, reference, PodState::Running)?;
            let container = pod.container.context("a running pod has a container")?;
            let listed = crictl(&lab, &["ps", "-a", "-o", "json"])?;
            let listed = listed["containers"].as_array().context("list containers")?;
            let entry = listed.iter().find(|entry| entry["id"] == container.as_str()).context("find the container")?;
            assert_eq!(entry["imageRef"], id.as_str(), "{version} {name}");
        }
    }
    Ok(())
}

#[test]
fn a_pod_s_sandbox_is_made_from_the_daemon_s_default_where_none_is_set() -> Result<()> {
    for version in VERSIONS {
        let lab = Containerd::with(&Settings { version, sandbox_image: None, ..Settings::default() })?;
        let pod = lab.pod("web", "", PodState::SandboxOnly)?;
        let image = &crictl(&lab, &["inspectp", "-o", "json", &pod.id])?["info"]["image"];
        assert_eq!(image, &lab.sandbox_image()?, "{version}");
        assert!(lab.sandbox_image()?.starts_with("registry.k8s.io/pause:"), "{version} {image}");
    }
    Ok(())
}

#[test]
fn an_init_container_has_run_before_the_other() -> Result<()> {
    for version in VERSIONS {
        let lab = Containerd::start(version)?;
        let (init, main) = (app(&lab, "init:1")?, app(&lab, "main:1")?);
        lab.pod_with_init("web", init.name(), main.name())?;
        let expected = ["web/init:CONTAINER_EXITED", "web/main:CONTAINER_RUNNING", "web:SANDBOX_READY"];
        assert_eq!(pods(&lab)?, expected, "{version}");
    }
    Ok(())
}

#[test]
fn a_pod_is_stopped_and_removed_by_its_parts() -> Result<()> {
    for version in VERSIONS {
        let lab = Containerd::start(version)?;
        let image = app(&lab, "app:1")?;
        let mut pod = lab.pod("web", image.name(), PodState::Running)?;
        pod.stop_container()?;
        assert_eq!(pods(&lab)?, ["web/main:CONTAINER_EXITED", "web:SANDBOX_READY"], "{version}");
        pod.remove_container()?;
        assert_eq!(pods(&lab)?, ["web:SANDBOX_READY"], "{version}");
        pod.stop()?;
        assert_eq!(pods(&lab)?, ["web:SANDBOX_NOTREADY"], "{version}");
        pod.remove()?;
        assert!(pods(&lab)?.is_empty() && lab.containers()?.is_empty(), "{version}");
    }
    Ok(())
}

#[test]
fn an_image_volume_is_only_in_the_status_of_its_container() -> Result<()> {
    let lab = Containerd::start("2.1")?;
    let (image, volume) = (app(&lab, "app:1")?, app(&lab, "volume:1")?);
    let pod = lab.pod_with_volume("web", image.name(), volume.name())?;
    let container = pod.container.context("a running pod has a container")?;
    let mounts = &crictl(&lab, &["inspect", "-o", "json", &container])?["status"]["mounts"];
    assert_eq!(mounts[0]["containerPath"], "/volume", "{mounts}");
    assert_eq!(mounts[0]["image"]["image"], volume.name(), "{mounts}");
    assert!(lab.snapshots()?.iter().any(|key| key.contains("/image-volumes/")), "{:?}", lab.snapshots()?);
    assert!(!lab.crictl(&["ps", "-a", "-o", "json"])?.contains("volume:1"));
    assert!(!lab.ctr(&["containers", "ls"])?.contains("volume:1"));
    Ok(())
}

#[test]
fn pods_leave_no_cgroup_behind() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = app(&lab, "app:1")?;
    let pod = lab.pod("web", image.name(), PodState::Running)?;
    let id = pod.id.clone();
    let cgroups = || -> Result<String> {
        let find = Command::new("find").args(["/sys/fs/cgroup", "-name", &id]).output()?;
        Ok(String::from_utf8(find.stdout)?)
    };
    assert_ne!(cgroups()?, "");
    drop(lab);
    assert_eq!(cgroups()?, "");
    Ok(())
}

#[test]
fn a_node_has_crictl_and_no_ctr_when_told_so() -> Result<()> {
    let lab = Containerd::start("1.7")?;
    let image = app(&lab, "app:1")?;
    let mut node = lab.node()?.product("/bin/sh").with_crictl()?.without_ctr()?;
    node.run(&["-c", "ctr version"])?.exits(127)?;
    assert!(!node.read("/etc/nuke-images/config.toml")?.contains("ctr"));
    let endpoint = format!("unix://{}", lab.socket().display());
    let line = |rest: &str| format!("/usr/local/bin/crictl -r {endpoint} --image-endpoint={endpoint} --timeout 300s {rest}");
    assert!(node.run(&["-c", &line("images -o json")])?.exits(0)?.stdout.contains(&image.id));
    node.stand_in_for_crictl("case $command in rmi) echo no >&2; exit 5;; *) real \"$@\";; esac")?;
    node.run(&["-c", &line("rmi one")])?.exits(5)?;
    assert!(node.run(&["-c", &line("images -o json")])?.exits(0)?.stdout.contains(&image.id));
    node.no_stand_in_for_crictl()?;
    node.run(&["-c", &line("rmi nosuch:1")])?.exits(1)?;
    lab.node()?.product("/bin/sh").run(&["-c", "crictl version"])?.exits(127)?;
    Ok(())
}

#[test]
fn a_disk_in_a_file_outlives_its_containerd() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("disk");
    lab::make_disk(&file, 64)?;
    let settings = Settings { disk_file: Some(file), ..Settings::default() };
    let image = Containerd::with(&settings)?.cri_pull(&Image::new("registry.example.com/app:1"))?;
    let again = Containerd::with(&settings)?;
    let there = again.references()?;
    assert!(image.references.iter().all(|name| there.contains(name)), "{there:?}");
    assert!(again.can_run(image.name())?);
    Ok(())
}
