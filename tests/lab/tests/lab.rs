//! That the lab is what it says: a test that relies on it must not pass because the lab does nothing.

use std::time::Duration;

use anyhow::Result;
use lab::{Containerd, Image, Settings};

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
    for version in ["1.6", "1.7", "2.1"] {
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
