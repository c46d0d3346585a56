//! The built binary on CRI-O, by recordings of real CRI-O 1.34 and 1.29 with real pods, which a stand-in for crictl replays:
//! what must stay is never asked to be removed, what must go goes by its ID, and no answer is believed that isn't one.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{Machine, Replay, Run};
use serde_json::{Value, json};

const PRODUCT: &str = env!("CARGO_BIN_EXE_nuke-images");
const CLEAN: [&str; 4] = ["--yes", "--all", "--output", "json"];
const DAY: Duration = Duration::from_hours(24);
/// CRI-O 1.34 with new crictl and with 1.30, and CRI-O 1.29.
const RECORDINGS: [&str; 3] = ["crio-1.34", "crio-1.34-crictl1.30", "crio-1.29"];
/// Where CRI-O keeps its images by its configuration here: nowhere that the product could guess.
const ROOT: &str = "/var/lib/images-of-crio";

// Images of the recordings, by what uses them; every recording has the same ones.
const RUNNING: &str = "2570bac220fb57ca1e471903da1433fe2f72d3822dbddf5ec478f9a461408476";
const EXITED: &str = "b9d0218d2acc406d3b255852cfb13f5347d53d7c6883582c72197d3b289875ed";
const CREATED: &str = "e3783a9e733f26292ad41f8db1eb8cd674af6899b0cb284a5e3227f76d8b5f9f";
const STOPPED: &str = "44de68ef62906b589bcb7e5411fe688ae8c823652db668630f58acbf0bf83571";
const BY_DIGEST: &str = "da5803a2cf3cad8ef6b0c8a7dabbb41539c9e92f87029c1cbcd17ce6a4583169";
const BY_ID: &str = "f8122871a2308c77769528084e6fa704289a92220176968d7d6f4e182863facb";
const MOVED: &str = "4840f1980a9e399dd574c3c8b5f49fa77654aad922bf5ddda0f3b43c875c8c4c";
const TWO_TAGS: &str = "4c80e3c0c073194bd3d0b5fbe266d4c2d7f6848d5f77b410a7b083ff6f036723";
const PAUSE: &str = "874f63313aa6a497361ceb6e070f6b1be337f8eac17b1101ec02ec28841985ec";
const PINNED: &str = "735574dc169d";
const UNPULLABLE: &str = "c6b2faad77fc86e9c7c115096a6058523c9dc4eb3cacf10d002ebea7ee5c9fa5";
const VOLUME: &str = "a1d10c4dbe0f5016ceb54361630be1dc4a590d93c6e147299884b98c4b126721";
const ARTIFACT: &str = "52eedbb1bd8f04115e4198d6c44cafaf26938816d840dbbcdb42d31ffd2b2aed";
/// Nothing uses these; the second has two tags, the third none.
const UNUSED: [&str; 3] = ["197866d8dee69deb05ed60a2b5e1ff291f3c9c1713ea6de826e5e50eb5172607", "10cd67a603a0", "1c1a0bfbe1f3"];

/// A node with CRI-O, before it has images.
fn node() -> Result<Machine> {
    let mut machine = Machine::new(PRODUCT)?;
    machine.listen("/run/crio/crio.sock")?;
    machine.write("/etc/crio/crio.conf", &format!("[crio]\nroot = \"{ROOT}\"\n"))?;
    Ok(machine)
}

/// CRI-O as it was recorded, its images pulled a day ago.
fn recorded<'a>(machine: &'a Machine, recordings: &str) -> Result<Replay<'a>> {
    let replay = Replay::new(machine, "/usr/local/bin/crictl", recordings)?;
    pulled(machine, &replay.images()?)?;
    Ok(replay)
}

fn pulled(machine: &Machine, images: &[String]) -> Result<()> {
    for hex in images {
        let folder = machine.path(ROOT)?.join("overlay-images").join(hex);
        fs::create_dir_all(&folder)?;
        File::open(&folder)?.set_modified(ago(DAY))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "images are pulled in the past")]
fn ago(span: Duration) -> SystemTime {
    SystemTime::now() - span
}

fn entry<'a>(json: &'a Value, hex: &str) -> Result<&'a Value> {
    let is_it = |entry: &&Value| entry["id"].as_str().is_some_and(|id| id.trim_start_matches("sha256:").starts_with(hex));
    json["images"].as_array().into_iter().flatten().find(is_it).with_context(|| format!("{hex} in {json:#}"))
}

/// Verdict, reason and outcome of an image.
fn verdict(json: &Value, hex: &str) -> Result<(String, String, String)> {
    let entry = entry(json, hex)?;
    let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    Ok((word("verdict"), word("reason"), word("outcome")))
}

fn kept(reason: &str) -> (String, String, String) {
    ("keep".into(), reason.into(), String::new())
}

fn removed() -> (String, String, String) {
    ("remove".into(), "unused".into(), "removed".into())
}

/// Is it there, and was nobody ever asked to take it away?
fn ensure_stays(replay: &Replay, hex: &str) -> Result<()> {
    ensure!(replay.images()?.iter().any(|image| image.starts_with(hex)), "{hex} is gone");
    ensure!(!replay.removals()?.concat().contains(hex), "crictl was asked to remove {hex}");
    Ok(())
}

/// After a clean-up this image is still there for `reason`, and one that nothing uses is gone.
fn keeps(machine: &Machine, replay: &Replay, hex: &str, reason: &str) -> Result<Value> {
    let json = machine.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, hex)?, kept(reason), "{json:#}");
    ensure_stays(replay, hex)?;
    Ok(json)
}

/// The same on each recorded version, beside an image that must go.
fn keeps_on_each(hex: &str, reason: &str) -> Result<()> {
    for recordings in RECORDINGS {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        let json = keeps(&machine, &replay, hex, reason).context(recordings)?;
        assert_eq!(verdict(&json, UNUSED[0])?, removed(), "{recordings}: {json:#}");
        assert!(!replay.images()?.contains(&UNUSED[0].to_owned()));
    }
    Ok(())
}

/// A run that was refused, and never asked for a removal.
fn refused(machine: &Machine, replay: &Replay) -> Result<Run> {
    let run = machine.run(&CLEAN)?.exits(1)?;
    assert_eq!((run.stdout.as_str(), replay.removals()?.len()), ("", 0), "{run:?}");
    Ok(run)
}

#[test]
fn keeps_the_image_of_a_running_container() -> Result<()> {
    keeps_on_each(RUNNING, "in_use")
}

#[test]
fn keeps_the_image_of_an_exited_container() -> Result<()> {
    keeps_on_each(EXITED, "in_use")
}

#[test]
fn keeps_the_image_of_a_container_that_was_only_created() -> Result<()> {
    keeps_on_each(CREATED, "in_use")
}

#[test]
fn keeps_the_image_of_a_container_whose_pod_was_stopped() -> Result<()> {
    keeps_on_each(STOPPED, "in_use")
}

#[test]
fn keeps_the_image_of_a_container_made_by_digest() -> Result<()> {
    keeps_on_each(BY_DIGEST, "in_use")
}

#[test]
fn keeps_the_image_of_a_container_made_by_id_as_the_kubelet_does() -> Result<()> {
    keeps_on_each(BY_ID, "in_use")
}

#[test]
fn keeps_the_image_of_a_container_whose_tag_has_moved() -> Result<()> {
    keeps_on_each(MOVED, "in_use")
}

#[test]
fn keeps_an_image_with_two_tags_of_which_one_is_used() -> Result<()> {
    keeps_on_each(TWO_TAGS, "in_use")
}

#[test]
fn keeps_a_pinned_image() -> Result<()> {
    keeps_on_each(PINNED, "pinned")
}

#[test]
fn keeps_an_untagged_image_whose_digest_was_cut_at_the_port() -> Result<()> {
    keeps_on_each(UNPULLABLE, "unpullable")
}

#[test]
fn keeps_the_image_that_sandboxes_were_made_from_pinned_or_not() -> Result<()> {
    for recordings in RECORDINGS {
        for pinned in [true, false] {
            let machine = node()?;
            let replay = recorded(&machine, recordings)?;
            replay.adds(&json!({"id": PAUSE, "repoTags": ["127.0.0.1:5000/cx/pause:1"], "repoDigests": [], "pinned": pinned}))?;
            let json = keeps(&machine, &replay, PAUSE, "in_use")?;
            let users = entry(&json, PAUSE)?["users"].to_string();
            assert!(users.contains(r#""kind":"sandbox""#) && users.contains(r#""pod":"default/notready""#), "{recordings}: {users}");
        }
    }
    Ok(())
}

/// `drop_infra_ctr`, the default: a pod without a PID namespace of its own has no container for its sandbox.
#[test]
fn keeps_the_image_of_sandboxes_that_have_no_container_and_inspects_them_in_one_call() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    let mut answer: Value = serde_json::from_str(&replay.recorded("drop-inspectp", "out")?)?;
    let pods: Value = serde_json::from_str(&replay.recorded("crictl-pods-json", "out")?)?;
    for pod in pods["items"].as_array().context("pods")? {
        answer["status"]["id"] = pod["id"].clone();
        machine.write(&format!("/run/crictl/inspectp/{}.out", pod["id"].as_str().context("an ID")?), &answer.to_string())?;
    }
    keeps(&machine, &replay, PAUSE, "in_use")?;
    let calls = replay.calls()?;
    let count = |command: &str| calls.iter().filter(|call| call.contains(command)).count();
    assert_eq!((count(" inspect "), count(" inspectp ")), (1, 1), "{calls:?}");
    Ok(())
}

#[test]
fn keeps_the_image_that_new_sandboxes_are_made_from_while_there_are_none() -> Result<()> {
    for recordings in RECORDINGS {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        replay.says("pods", r#"{"items":[]}"#)?;
        replay.adds(&json!({"id": PAUSE, "repoTags": ["127.0.0.1:5000/cx/pause:1"], "repoDigests": [], "pinned": false}))?;
        keeps(&machine, &replay, PAUSE, "sandbox_image").context(recordings)?;
    }
    Ok(())
}

#[test]
fn keeps_the_image_that_a_container_has_mounted() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    replay.answers("ps", "imgvol-ps")?;
    replay.inspected("inspect", "imgvol-inspect")?;
    let json = keeps(&machine, &replay, VOLUME, "in_use")?;
    assert_eq!(entry(&json, VOLUME)?["users"][0]["kind"], "image_volume", "{json:#}");
    Ok(())
}

#[test]
fn keeps_what_is_in_use_after_a_restart_of_crio() -> Result<()> {
    for (recordings, in_use) in [
        ("crio-1.34", &[RUNNING, EXITED, CREATED, STOPPED, BY_DIGEST, BY_ID, MOVED, TWO_TAGS, VOLUME, "5e1e6e7aa98c"][..]),
        ("crio-1.29", &["5e1e6e7aa98c"]),
    ] {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        replay.answers("ps", "restart-ps-after")?;
        if recordings == "crio-1.34" {
            replay.inspected("inspect", "restart-imgvol-inspect")?;
        }
        let json = machine.run(&CLEAN)?.exits(0)?.json()?;
        for hex in in_use {
            assert_eq!(verdict(&json, hex)?, kept("in_use"), "{recordings} {hex}: {json:#}");
            ensure_stays(&replay, hex)?;
        }
        assert_eq!(verdict(&json, UNUSED[0])?, removed());
    }
    Ok(())
}

#[test]
fn keeps_an_artifact() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    replay.lists("artifact-images")?;
    pulled(&machine, &replay.images()?)?;
    keeps(&machine, &replay, ARTIFACT, "pinned")?;
    Ok(())
}

#[test]
fn an_image_whose_pinned_tag_has_moved_is_pinned_no_more() -> Result<()> {
    let machine = node()?;
    machine.config("allow_idle = true\n")?;
    let replay = recorded(&machine, "crio-1.34")?;
    replay.lists("pinned-moved-images")?;
    pulled(&machine, &replay.images()?)?;
    keeps(&machine, &replay, PINNED, "unpullable")?;
    let json = machine.run(&[&CLEAN[..], &["--keep-unpullable", "false"]].concat())?.exits(0)?.json()?;
    assert_eq!(verdict(&json, PINNED)?, removed(), "{json:#}");
    assert_eq!(json["summary"]["kept"]["pinned"], 2, "{json:#}");
    Ok(())
}

#[test]
fn keeps_what_openshift_runs_beside_cri() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    let (hex, digest) = ("0e".repeat(32), "0d".repeat(32));
    let name = format!("quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:{digest}");
    replay.adds(&json!({"id": hex, "repoTags": [], "repoDigests": [name], "size": "1", "pinned": false}))?;
    pulled(&machine, std::slice::from_ref(&hex))?;
    let json = keeps(&machine, &replay, &hex, "excluded")?;
    assert!(entry(&json, &hex)?["detail"].as_str().is_some_and(|detail| detail.contains("outside CRI")), "{json:#}");
    Ok(())
}

#[test]
fn removes_what_nothing_uses_by_its_bare_id_and_never_by_name() -> Result<()> {
    for recordings in RECORDINGS {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        let before = replay.images()?;
        let json = machine.run(&CLEAN)?.exits(0)?.json()?;
        let asked = replay.removals()?.join(" ");
        let asked: Vec<&str> = asked.split(' ').collect();
        for id in &asked {
            ensure!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{recordings}: crictl rmi {id}");
        }
        for hex in UNUSED {
            assert_eq!(verdict(&json, hex)?, removed(), "{recordings} {hex}: {json:#}");
        }
        let left = replay.images()?;
        let gone: Vec<&str> = before.iter().filter(|hex| !left.contains(hex)).map(String::as_str).collect();
        assert_eq!(json["summary"]["removed"], gone.len(), "{recordings}: {json:#}");
        assert!(gone.len() >= 7 && gone.iter().all(|hex| asked.contains(hex)) && gone.len() == asked.len(), "{recordings}: {asked:?}");
        assert_eq!((&json["runtime"]["name"], &json["gaps"]), (&json!("cri-o"), &json!([])), "{recordings}");
    }
    Ok(())
}

#[test]
fn bytes_are_said_to_be_an_upper_bound_in_table_and_json() -> Result<()> {
    let machine = node()?;
    let _replay = recorded(&machine, "crio-1.34")?;
    let json = machine.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
    assert_eq!(json["summary"]["bytes_are"], "upper_bound", "{:#}", json["summary"]);
    let table = machine.run(&["--dry-run", "--all"])?.exits(0)?.stdout;
    assert!(table.contains(", giving back at most "), "{table}");
    Ok(())
}

#[test]
fn file_systems_of_images_and_of_containers_are_told_apart() -> Result<()> {
    let machine = node()?;
    let _replay = recorded(&machine, "crio-1.34")?;
    // A file system that every machine has beside those of the test.
    machine.write("/etc/crio/crio.conf.d/01-split.conf", &format!("[crio]\nroot = \"/dev/shm\"\nimagestore = \"{ROOT}\"\n"))?;
    let json = machine.run(&["--dry-run", "--all", "-o", "json"])?.exits(0)?.json()?;
    let disk = |i: usize| (json["disks"][i]["path"].as_str(), json["disks"][i]["holds"].as_str());
    assert_eq!([disk(0), disk(1)], [(Some(ROOT), Some("images")), (Some("/dev/shm"), Some("containers"))], "{:#}", json["disks"]);
    let table = machine.run(&["--dry-run", "--all"])?.exits(0)?.stdout;
    assert!(table.contains("/dev/shm (what containers write, no images)"), "{table}");
    Ok(())
}

#[test]
fn takes_the_age_from_the_folder_that_crio_keeps_an_image_in() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    let folder = machine.path(ROOT)?.join("overlay-images").join(UNUSED[0]);
    File::open(folder)?.set_modified(ago(Duration::from_mins(5)))?;
    let json = keeps(&machine, &replay, UNUSED[0], "too_young")?;
    assert_eq!(entry(&json, UNUSED[0])?["pulled_at_source"], "blob", "{json:#}");
    assert_eq!(verdict(&json, UNUSED[1])?, removed());
    Ok(())
}

#[test]
fn every_call_names_both_endpoints_and_a_long_timeout_and_none_prunes() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    machine.run(&CLEAN)?.exits(0)?;
    let endpoint = "unix:///run/crio/crio.sock";
    let calls = replay.calls()?;
    assert!(calls.iter().any(|call| call.contains(" rmi ")), "{calls:?}");
    for call in calls {
        let rest = call.strip_prefix(&format!("-r {endpoint} -i {endpoint} -t ")).with_context(|| call.clone())?;
        let (seconds, command) = rest.split_once("s ").with_context(|| call.clone())?;
        assert!(seconds.parse::<u32>()? >= 120, "{call}");
        assert!(!command.contains("--prune") && !command.starts_with("rmi -") && !command.contains(" --all"), "{call}");
    }
    Ok(())
}

#[test]
fn what_crio_refuses_to_remove_is_spared_and_the_others_go() -> Result<()> {
    for (recordings, refusal) in [
        ("crio-1.34", "crictl-rmi-inuse-running-id"),
        ("crio-1.34", "imgvol-rmi-id"),
        ("crio-1.34-crictl1.30", "crictl-rmi-inuse-running-id"),
        ("crio-1.29", "buildah-rmi-id"),
    ] {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        replay.refuses(UNUSED[0], refusal)?;
        let json = machine.run(&CLEAN)?.exits(0)?.json()?;
        let spared = ("remove".into(), "unused".into(), "spared".into());
        assert_eq!(verdict(&json, UNUSED[0])?, spared, "{recordings} {refusal}: {json:#}");
        assert!(
            entry(&json, UNUSED[0])?["error"].as_str().is_some_and(|why| why.contains("in use by")),
            "{recordings} {refusal}: {json:#}"
        );
        assert_eq!(verdict(&json, UNUSED[1])?, removed(), "{recordings} {refusal}: {json:#}");
        assert!(replay.images()?.contains(&UNUSED[0].to_owned()));
    }
    Ok(())
}

#[test]
fn what_crio_refuses_is_spared_also_beside_one_that_somebody_else_has_removed() -> Result<()> {
    for recordings in RECORDINGS {
        let machine = node()?;
        let replay = recorded(&machine, recordings)?;
        replay.refuses(UNUSED[0], "crictl-rmi-inuse-running-id")?;
        replay.behaves_at("rmi", &format!("rm -f images/{}*.json", UNUSED[1]))?;
        let json = machine.run(&CLEAN)?.exits(0)?.json()?;
        assert_eq!(verdict(&json, UNUSED[0])?.2, "spared", "{recordings}: {json:#}");
        assert_eq!(verdict(&json, UNUSED[1])?.2, "gone", "{recordings}: {json:#}");
        assert_eq!(verdict(&json, UNUSED[2])?.2, "removed", "{recordings}: {json:#}");
    }
    Ok(())
}

#[test]
fn an_image_that_stays_listed_has_failed_to_go_whatever_was_printed() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    replay.behaves_at("rmi", "for id; do echo \"Deleted: $id\"; done; exit 0")?;
    let json = machine.run(&CLEAN)?.exits(3)?.json()?;
    assert_eq!(verdict(&json, UNUSED[0])?.2, "failed", "{json:#}");
    assert!(entry(&json, UNUSED[0])?["error"].as_str().is_some_and(|error| error.starts_with("still listed: ")), "{json:#}");
    assert_eq!((&json["summary"]["removed"], &json["summary"]["failed"]), (&json!(0), &json["summary"]["planned_removals"]));
    Ok(())
}

#[test]
fn noise_beside_an_answer_is_no_failure() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    for command in ["version", "info", "images", "ps", "pods", "inspect", "inspectp", "rmi"] {
        replay.behaves_at(command, "echo 'WARN[0000] runtime connect using default endpoints' >&2")?;
    }
    let json = machine.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!((&json["summary"]["removed"], &json["gaps"]), (&json["summary"]["planned_removals"], &json!([])), "{json:#}");
    assert_eq!(verdict(&json, UNUSED[0])?, removed());
    Ok(())
}

/// Commands whose answers the plan is made of, and what the error calls them.
const LISTINGS: [&str; 5] = ["version", "info", "images", "ps", "pods"];

#[test]
fn a_listing_that_fails_refuses_the_run_and_is_named() -> Result<()> {
    for command in LISTINGS {
        for (script, words) in
            [("echo 'rpc error: code = Unavailable' >&2; exit 1", "rpc error: code = Unavailable"), ("kill -9 $$", "signal 9")]
        {
            let machine = node()?;
            let replay = recorded(&machine, "crio-1.34")?;
            replay.behaves_at(command, script)?;
            let run = refused(&machine, &replay)?;
            assert!(run.stderr.contains(&format!("crictl {command}")) && run.stderr.contains(words), "{run:?}");
        }
    }
    Ok(())
}

#[test]
fn an_answer_that_is_cut_or_none_refuses_the_run() -> Result<()> {
    for (command, other) in
        [("version", "Version:  0.1.0"), ("images", r#"{"Images":[]}"#), ("ps", r#"{"containers":null}"#), ("pods", r#"{"items":{}}"#)]
    {
        for script in [cut(command), "echo '{}'; exit 0".to_owned(), "exit 0".to_owned(), format!("echo '{other}'; exit 0")] {
            let machine = node()?;
            let replay = recorded(&machine, "crio-1.34")?;
            replay.behaves_at(command, &script)?;
            let run = refused(&machine, &replay).with_context(|| format!("{command}: {script}"))?;
            assert!(run.stderr.starts_with("error: "), "{run:?}");
        }
    }
    Ok(())
}

/// The first half of an answer.
fn cut(command: &str) -> String {
    match command {
        "images" => r#"printf '{"images":[{"id":'; exit 0"#.into(),
        "version" => format!("head -n 1 {command}.out; exit 0"),
        _ => format!("head -c 150 {command}.out; exit 0"),
    }
}

#[test]
fn a_signal_ends_a_run_whose_listing_hangs() -> Result<()> {
    for command in LISTINGS {
        let machine = node()?;
        let replay = recorded(&machine, "crio-1.34")?;
        replay.behaves_at(command, "touch hangs; sleep 600; exit 0")?;
        let run = machine.run_until("/run/crictl/hangs", "TERM", &CLEAN)?.exits(143)?;
        assert!(run.stderr.contains("interrupted"), "{run:?}");
        assert_eq!(replay.removals()?.len(), 0);
    }
    Ok(())
}

/// A container that can't be inspected may have any image mounted, and a sandbox may be made from any: no list tells it. That
/// is an unknown fact about every image, not a listing of uses that failed. So all images stay, a gap says why, and there is
/// nothing to be refused: the run has done what it could (law 3 of the guide).
#[test]
fn a_container_or_sandbox_that_can_not_be_inspected_keeps_every_image() -> Result<()> {
    for recordings in RECORDINGS {
        for (command, list, key) in [("inspect", "crictl-ps-json", "containers"), ("inspectp", "crictl-pods-json", "items")] {
            let machine = node()?;
            let replay = recorded(&machine, recordings)?;
            let list: Value = serde_json::from_str(&replay.recorded(list, "out")?)?;
            let id = list[key][3]["id"].as_str().context("an ID")?;
            replay.loses(command, id)?;
            let json = machine.run(&CLEAN)?.exits(0)?.json()?;
            assert_eq!((&json["summary"]["planned_removals"], replay.removals()?.len()), (&json!(0), 0), "{recordings}: {json:#}");
            assert_eq!(json["summary"]["kept"]["in_use"], json["summary"]["images"], "{recordings}: {json:#}");
            let gaps = json["gaps"].to_string();
            assert!(gaps.contains("all images stay") && gaps.contains(&id[..13]), "{recordings}: {gaps}");
        }
    }
    Ok(())
}

#[test]
fn one_that_is_gone_before_it_could_be_inspected_keeps_nothing() -> Result<()> {
    for (command, lists, list) in [("inspect", "ps", "containers"), ("inspectp", "pods", "items")] {
        let machine = node()?;
        let replay = recorded(&machine, "crio-1.34")?;
        let mut later: Value = serde_json::from_str(&machine.read(&format!("/run/crictl/{lists}.out"))?)?;
        let gone = later[list].as_array_mut().context("a list")?.remove(0);
        replay.loses(command, gone["id"].as_str().context("an ID")?)?;
        machine.write("/run/crictl/later", &later.to_string())?;
        replay.behaves_at(lists, "if [ -e asked ]; then cat later; exit 0; fi; touch asked")?;
        let json = machine.run(&CLEAN)?.exits(0)?.json()?;
        assert_eq!((verdict(&json, UNUSED[0])?, &json["gaps"]), (removed(), &json!([])), "{command}: {json:#}");
    }
    Ok(())
}

#[test]
fn an_image_that_comes_into_use_after_the_plan_is_spared() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    let mut list: Value = serde_json::from_str(&replay.recorded("crictl-ps-json", "out")?)?;
    let id = "c".repeat(64);
    let late = json!({"id": id, "image": {"image": UNUSED[0]}, "imageRef": UNUSED[0], "labels": {}});
    list["containers"].as_array_mut().context("containers")?.push(late);
    machine.write("/run/crictl/later", &list.to_string())?;
    replay.behaves_at("ps", "if [ -e asked ]; then cat later; exit 0; fi; touch asked")?;
    let mut answer: Value = serde_json::from_str(&replay.recorded("imgvol-inspect", "out")?)?;
    answer["status"]["id"] = json!(id);
    machine.write(&format!("/run/crictl/inspect/{id}.out"), &answer.to_string())?;

    let json = machine.run(&CLEAN)?.exits(0)?.json()?;
    for (hex, user) in [(UNUSED[0], "container ccc"), (VOLUME, "image volume of ccc")] {
        assert_eq!(verdict(&json, hex)?.2, "spared", "{json:#}");
        assert!(entry(&json, hex)?["error"].as_str().is_some_and(|why| why.contains(user)), "{json:#}");
        ensure_stays(&replay, hex)?;
    }
    assert_eq!(verdict(&json, UNUSED[1])?, removed());
    Ok(())
}

#[test]
fn an_image_that_is_named_or_pinned_after_the_plan_is_spared() -> Result<()> {
    let machine = node()?;
    let replay = recorded(&machine, "crio-1.34")?;
    let named = format!("sed -i 's|app13:v0|&\",\"127.0.0.1:5000/cx/app13:new|' images/{}.json", UNUSED[0]);
    let pinned = format!("sed -i 's/\"pinned\":false/\"pinned\":true/' images/{}*.json", UNUSED[1]);
    replay.behaves_at("images", &format!("if [ -e asked ]; then {named}; {pinned}; fi; touch asked"))?;
    let json = machine.run(&CLEAN)?.exits(0)?.json()?;
    for (hex, why) in [(UNUSED[0], "has a new name: 127.0.0.1:5000/cx/app13:new"), (UNUSED[1], "has been pinned")] {
        assert_eq!((verdict(&json, hex)?.2.as_str(), &entry(&json, hex)?["error"]), ("spared", &json!(why)), "{json:#}");
        ensure_stays(&replay, hex)?;
    }
    assert_eq!(verdict(&json, UNUSED[2])?, removed());
    Ok(())
}
