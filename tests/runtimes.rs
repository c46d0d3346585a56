//! The built binary finds the runtime that is meant: the user's, else the kubelet's, else the only one that answers; and the
//! programs to reach it. Runtimes are sockets that nobody answers on, and a stand-in for crictl answers for them.

use anyhow::{Context, Result, ensure};
use lab::{Machine, Replay, Run};
use serde_json::{Value, json};

const PRODUCT: &str = env!("CARGO_BIN_EXE_nuke-images");
const CRICTL: &str = "/usr/local/bin/crictl";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const CRIO: &str = "/run/crio/crio.sock";
const DOCKER: &str = "/run/cri-dockerd.sock";
const INVENTORY: [&str; 3] = ["inventory", "--output", "json"];

/// A machine with runtimes that answer on these sockets.
fn node(sockets: &[&str]) -> Result<Machine> {
    let mut machine = Machine::new(PRODUCT)?;
    sockets.iter().try_for_each(|socket| machine.listen(socket))?;
    Ok(machine)
}

/// `crictl` on the machine, which answers as CRI-O.
fn crictl(machine: &Machine) -> Result<Replay<'_>> {
    Replay::new(machine, CRICTL, "crio-1.34")
}

/// The same as containerd.
fn crictl_on_containerd(machine: &Machine) -> Result<Replay<'_>> {
    Replay::new(machine, CRICTL, "1.7")
}

/// The runtime that the product has asked, by its name and socket.
fn chosen(machine: &Machine, options: &[&str]) -> Result<(String, String)> {
    let json = machine.run(&[&INVENTORY[..], options].concat())?.exits(0)?.json()?;
    let word = |key: &str| json["runtime"][key].as_str().unwrap_or_default().to_owned();
    Ok((word("name"), word("endpoint").trim_start_matches("unix://").to_owned()))
}

fn refused(machine: &Machine, options: &[&str]) -> Result<Run> {
    machine.run(&[&INVENTORY[..], options].concat())?.exits(1)
}

fn crio_on(socket: &str) -> (String, String) {
    ("cri-o".into(), socket.into())
}

fn containerd_on(socket: &str) -> (String, String) {
    ("containerd".into(), socket.into())
}

#[test]
fn the_only_socket_that_answers_is_the_runtime() -> Result<()> {
    for socket in
        [CONTAINERD, "/run/k3s/containerd/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock", "/run/k0s/containerd.sock"]
    {
        let machine = node(&[socket])?;
        crictl_on_containerd(&machine)?;
        assert_eq!(chosen(&machine, &[])?, containerd_on(socket));
    }
    let machine = node(&[CRIO])?;
    crictl(&machine)?;
    assert_eq!(chosen(&machine, &[])?, crio_on(CRIO));
    Ok(())
}

#[test]
fn two_runtimes_that_answer_are_refused_with_both_named() -> Result<()> {
    let machine = node(&[CONTAINERD, CRIO])?;
    let replay = crictl(&machine)?;
    for arguments in [&INVENTORY[..], &["--yes", "--all"], &["--dry-run"]] {
        let run = machine.run(arguments)?.exits(1)?;
        assert!(run.stderr.contains(CONTAINERD) && run.stderr.contains(CRIO) && run.stderr.contains("--runtime-endpoint"), "{run:?}");
    }
    assert_eq!(replay.calls()?.len(), 0);
    Ok(())
}

#[test]
fn no_runtime_that_answers_is_refused_with_every_place_that_was_looked_at() -> Result<()> {
    let machine = node(&[])?;
    crictl(&machine)?;
    let run = refused(&machine, &[])?;
    for place in [CONTAINERD, CRIO, DOCKER, "--runtime-endpoint"] {
        assert!(run.stderr.contains(place), "{place}: {run:?}");
    }
    Ok(())
}

#[test]
fn a_socket_and_a_link_to_it_are_one_runtime() -> Result<()> {
    let k3s = "/run/k3s/containerd/containerd.sock";
    let machine = node(&[k3s])?;
    crictl_on_containerd(&machine)?;
    machine.write("/run/containerd/x", "")?;
    std::os::unix::fs::symlink(k3s, machine.path(CONTAINERD)?)?;
    assert_eq!(chosen(&machine, &[])?.0, "containerd");
    Ok(())
}

#[test]
fn the_users_endpoint_beats_every_guess() -> Result<()> {
    let mut machine = node(&[CONTAINERD, CRIO, "/run/own.sock"])?;
    crictl(&machine)?;
    machine.kubelet(&[&format!("--container-runtime-endpoint=unix://{CONTAINERD}")])?;
    assert_eq!(chosen(&machine, &["--runtime-endpoint", &format!("unix://{CRIO}")])?, crio_on(CRIO));
    machine.config(&format!("[runtime]\nendpoint = \"unix://{CRIO}\"\n"))?;
    assert_eq!(chosen(&machine, &[])?, crio_on(CRIO));
    assert_eq!(chosen(&machine, &["--runtime-endpoint", "unix:///run/own.sock", "--runtime", "cri-o"])?, crio_on("/run/own.sock"));
    Ok(())
}

#[test]
fn the_kubelets_configuration_says_which_runtime_is_meant() -> Result<()> {
    let machine = node(&[CONTAINERD, CRIO])?;
    crictl(&machine)?;
    let socket = "/var/run/crio/crio.sock";
    machine.write("/var/lib/kubelet/config.yaml", &format!("kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix://{socket}\n"))?;
    assert_eq!(chosen(&machine, &[])?, crio_on(socket));
    Ok(())
}

#[test]
fn the_flags_that_kubeadm_wrote_beat_the_kubelets_configuration() -> Result<()> {
    let machine = node(&[CONTAINERD, CRIO])?;
    crictl(&machine)?;
    let flags = format!("KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix://{CRIO} --pod-infra-container-image=pause:1\"\n");
    machine.write("/var/lib/kubelet/kubeadm-flags.env", &flags)?;
    assert_eq!(chosen(&machine, &[])?, crio_on(CRIO));
    machine.write("/var/lib/kubelet/config.yaml", &format!("containerRuntimeEndpoint: unix://{CONTAINERD}\n"))?;
    assert_eq!(chosen(&machine, &[])?, crio_on(CRIO));
    Ok(())
}

#[test]
fn a_kubelet_that_runs_beats_the_files_one_would_be_started_with() -> Result<()> {
    for flags in
        [&["--v=2", &format!("--container-runtime-endpoint=unix://{CRIO}")][..], &["--config", "/var/lib/rancher/rke2/agent/kubelet.conf"]]
    {
        let mut machine = node(&[CONTAINERD, CRIO])?;
        crictl(&machine)?;
        machine.write("/var/lib/kubelet/config.yaml", &format!("containerRuntimeEndpoint: unix://{CONTAINERD}\n"))?;
        machine.write("/var/lib/kubelet/kubeadm-flags.env", &format!("X=\"--container-runtime-endpoint=unix://{CONTAINERD}\"\n"))?;
        machine.write("/var/lib/rancher/rke2/agent/kubelet.conf", &format!("containerRuntimeEndpoint: unix://{CRIO}\n"))?;
        machine.kubelet(flags)?;
        assert_eq!(chosen(&machine, &[])?, crio_on(CRIO), "{flags:?}");
    }
    Ok(())
}

#[test]
fn kubelets_that_use_different_runtimes_are_no_evidence() -> Result<()> {
    let mut machine = node(&[CONTAINERD, CRIO])?;
    for socket in [CONTAINERD, CRIO] {
        machine.kubelet(&["--container-runtime-endpoint", &format!("unix://{socket}")])?;
    }
    let replay = crictl(&machine)?;
    let run = refused(&machine, &[])?;
    assert!(run.stderr.contains(CONTAINERD) && run.stderr.contains(CRIO) && run.stderr.contains("kubelets"), "{run:?}");
    assert_eq!(replay.calls()?.len(), 0);
    Ok(())
}

#[test]
fn a_name_chooses_among_the_runtimes_that_answer() -> Result<()> {
    let machine = node(&[CONTAINERD, CRIO])?;
    crictl(&machine)?;
    assert_eq!(chosen(&machine, &["--runtime", "cri-o"])?, crio_on(CRIO));
    machine.config("[runtime]\nname = \"cri-o\"\n")?;
    assert_eq!(chosen(&machine, &[])?, crio_on(CRIO));
    let run = refused(&machine, &["--runtime", "docker"])?;
    assert!(run.stderr.contains(DOCKER) && !run.stderr.contains(CRIO), "{run:?}");
    Ok(())
}

#[test]
fn a_runtime_that_calls_itself_otherwise_is_refused() -> Result<()> {
    let machine = node(&["/run/own.sock"])?;
    let replay = crictl(&machine)?;
    let own = ["--runtime-endpoint", "unix:///run/own.sock"];
    for options in [&own[..], &[&own[..], &["--runtime", "docker"]].concat()] {
        let run = refused(&machine, options)?;
        assert!(run.stderr.contains("calls itself cri-o") && run.stderr.contains("--runtime cri-o"), "{run:?}");
    }
    assert_eq!(replay.removals()?.len(), 0);
    Ok(())
}

#[test]
fn no_program_to_reach_the_runtime_with_is_refused_and_says_how_to_name_one() -> Result<()> {
    let machine = node(&[CRIO])?;
    let run = refused(&machine, &[])?;
    assert!(run.stderr.contains("no crictl in ") && run.stderr.contains("[runtime]"), "{run:?}");
    crictl(&machine)?;
    machine.config("[runtime]\ncrictl = \"off\"\n")?;
    let run = refused(&machine, &[])?;
    assert!(run.stderr.contains("no program to reach CRI-O with") && run.stderr.contains("[runtime]"), "{run:?}");
    Ok(())
}

#[test]
fn each_program_can_be_named_and_turned_off() -> Result<()> {
    let machine = node(&[CONTAINERD])?;
    crictl_on_containerd(&machine)?;
    machine.program("/usr/local/bin/ctr", "#!/bin/sh\necho \"$*\" >>/run/ctr-calls\necho 'this is ctr' >&2\nexit 1\n")?;
    let programs = |config: &str| -> Result<Run> {
        machine.config(&format!("[runtime]\n{config}\n"))?;
        machine.run(&INVENTORY)
    };
    for config in ["", "crictl = \"off\"", "ctr = \"/usr/local/bin/ctr\""] {
        let run = programs(config)?.exits(1)?;
        assert!(run.stderr.contains("this is ctr"), "{config}: {run:?}");
    }
    let asked = machine.read("/run/ctr-calls")?;
    ensure!(!asked.is_empty());
    let json = programs("ctr = \"off\"\ncrictl = \"/usr/local/bin/crictl\"")?.exits(0)?.json()?;
    assert_eq!((&json["runtime"]["ctr"], &json["runtime"]["crictl"]), (&Value::Null, &json!(CRICTL)));
    assert_eq!(machine.read("/run/ctr-calls")?, asked);
    Ok(())
}

#[test]
fn k3s_is_told_which_of_its_programs_to_be() -> Result<()> {
    let machine = node(&["/run/k3s/containerd/containerd.sock"])?;
    Replay::new(&machine, "/run/crictl/crictl", "1.7")?;
    let script = "#!/bin/sh\necho \"$1\" >>/run/k3s-calls\n[ \"$1\" = crictl ] || exit 1\nshift\nexec /run/crictl/crictl \"$@\"\n";
    machine.program("/usr/local/bin/k3s", script)?;
    machine.config("[runtime]\nctr = \"off\"\n")?;
    let calls = || -> Result<Vec<String>> { Ok(machine.read("/run/k3s-calls")?.lines().map(str::to_owned).collect()) };
    assert_eq!(chosen(&machine, &[])?.0, "containerd");
    let by_crictl = calls()?;
    assert!(by_crictl.len() > 4 && by_crictl.iter().all(|word| word == "crictl"), "{by_crictl:?}");
    machine.config("[runtime]\ncrictl = \"off\"\n")?;
    refused(&machine, &[])?;
    let by_ctr = &calls()?[by_crictl.len()..];
    assert!(!by_ctr.is_empty() && by_ctr.iter().all(|word| word == "ctr"), "{by_ctr:?}");
    Ok(())
}

/// Images of the docker node, by what becomes of them.
const DOCKERS: [(&str, &str); 6] =
    [("1", "used"), ("2", "refused"), ("3", "unused"), ("4", "local"), ("5", "beside"), ("6", "in-containerds-store")];

/// docker behind cri-dockerd, with a container that runs. Written by hand, from the source of cri-dockerd 0.4.3: it needs
/// docker, which no test machine has, so nobody could record it.
fn docker(machine: &Machine) -> Result<Replay<'_>> {
    let replay = crictl(machine)?;
    replay.says("version", "Version:  0.1.0\nRuntimeName:  docker\nRuntimeVersion:  28.3.3\nRuntimeApiVersion:  v1\n")?;
    replay.says("info", r#"{"status": {"conditions": [{"type": "RuntimeReady", "status": true}]}}"#)?;
    replay.says("pods", r#"{"items": []}"#)?;
    let (container, image) = ("c".repeat(64), docker_id("1"));
    let list = json!({"containers": [{"id": container, "image": {"image": image}, "imageRef": image, "labels": {}}]});
    replay.says("ps", &list.to_string())?;
    let inspected = json!({"status": {"id": container, "mounts": []}, "info": {}});
    machine.write(&format!("/run/crictl/inspect/{container}.out"), &inspected.to_string())?;
    for (container, image) in [(container, image), ("d".repeat(64), docker_id("5"))] {
        machine.write(&format!("/var/lib/docker/containers/{container}/config.v2.json"), &json!({"Image": image}).to_string())?;
    }
    replay.lists("crictl-images-empty")?;
    for (digit, name) in DOCKERS {
        let (id, hex) = (docker_id(digit), digit.repeat(64));
        let digests: Vec<String> = if name == "local" { Vec::new() } else { vec![format!("quay.io/a/{name}@{id}")] };
        let tags = [format!("quay.io/a/{name}:1")];
        replay.adds(&json!({"id": id, "repoTags": tags, "repoDigests": digests, "size": "1", "pinned": false}))?;
        if name != "in-containerds-store" {
            machine.write(&format!("/var/lib/docker/image/overlay2/imagedb/content/sha256/{hex}"), "{}")?;
        }
    }
    Ok(replay)
}

fn docker_id(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

#[test]
fn where_dockers_containers_can_not_be_read_all_images_stay() -> Result<()> {
    let machine = node(&[DOCKER])?;
    let replay = docker(&machine)?;
    machine.write(&format!("/var/lib/docker/containers/{}/config.v2.json", "e".repeat(64)), "{")?;
    let json = machine.run(&["--yes", "--all", "--min-age", "0s", "--output", "json"])?.exits(0)?.json()?;
    let gaps = json["gaps"].to_string();
    ensure!(gaps.contains("all images stay: what docker runs beside CRI can't be told: read /var/lib/docker/containers/eee"), "{gaps}");
    assert_eq!(json["summary"]["planned_removals"], 0);
    assert_eq!(replay.removals()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn dockers_data_folder_is_where_its_configuration_says() -> Result<()> {
    let machine = node(&[DOCKER])?;
    docker(&machine)?;
    machine.write("/etc/docker/daemon.json", r#"{"data-root": "/var/lib/elsewhere"}"#)?;
    let gaps = |machine: &Machine| -> Result<String> {
        Ok(machine.run(&["--dry-run", "--all", "--min-age", "0s", "--output", "json"])?.exits(0)?.json()?["gaps"].to_string())
    };
    assert!(gaps(&machine)?.contains("read /var/lib/elsewhere/containers"), "{}", gaps(&machine)?);
    std::fs::rename(machine.path("/var/lib/docker")?, machine.path("/var/lib/elsewhere")?)?;
    assert_eq!(gaps(&machine)?, "[]");
    Ok(())
}

/// No container of it may be there at the moment, and then only cri-dockerd's own flag tells.
#[test]
fn the_image_that_cri_dockerd_makes_sandboxes_from_stays() -> Result<()> {
    for (flag, reason) in [(&["--pod-infra-container-image", "quay.io/a/unused:1"][..], "sandbox_image"), (&[], "unused")] {
        let mut machine = node(&[DOCKER])?;
        docker(&machine)?;
        machine.process("cri-dockerd", flag)?;
        let json = machine.run(&["--dry-run", "--all", "--min-age", "0s", "--output", "json"])?.exits(0)?.json()?;
        let image = json["images"].as_array().into_iter().flatten().find(|image| image["id"] == docker_id("3"));
        assert_eq!(image.context("it is listed")?["reason"], reason, "{json:#}");
    }
    Ok(())
}

#[test]
fn cri_dockerd_is_found_and_cleaned_by_ids_with_their_algorithm() -> Result<()> {
    for words in [
        "conflict: unable to delete 222222222222 (must be forced) - image is being used by stopped container 0a1b2c3d4e5f",
        "conflict: unable to remove repository reference (must force) - container 0a1b2c3d4e5f is using its referenced image 222222222222",
        "conflict: unable to delete 222222222222 (cannot be forced) - image has dependent child images",
    ] {
        let machine = node(&[DOCKER])?;
        let replay = docker(&machine)?;
        let words = format!("rpc error: code = Unknown desc = Error response from daemon: {words}");
        replay.refuses_with(&"2".repeat(64), &words)?;
        let json = machine.run(&["--yes", "--all", "--min-age", "0s", "--output", "json"])?.exits(0)?.json()?;
        assert_eq!(json["runtime"]["name"], "docker");
        for (digit, reason, outcome) in [
            ("1", "in_use", None),
            ("2", "unused", Some("spared")),
            ("3", "unused", Some("removed")),
            ("4", "unpullable", None),
            ("5", "in_use", None),
            ("6", "unpullable", None),
        ] {
            let image = json["images"].as_array().into_iter().flatten().find(|image| image["id"] == docker_id(digit));
            let image = image.with_context(|| format!("{digit} in {json:#}"))?;
            assert_eq!((&image["reason"], &image["outcome"]), (&json!(reason), &json!(outcome)), "{words}: {image:#}");
        }
        assert_eq!(replay.removals()?, [[docker_id("2"), docker_id("3")].join(" ")]);
    }
    Ok(())
}
