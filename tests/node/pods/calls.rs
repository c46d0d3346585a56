//! What the product asks crictl, and what it makes of answers that are old, noisy, broken or lies.

use anyhow::{Context, Result};
use lab::{Containerd, PodState};

use super::{SET_UPS, SetUp, WITH_CRICTL, app, assert_serves, in_each, keeps_on, neighbour};
use crate::{CLEAN, assert_gone, error, verdict};

hazards! {
    always_names_both_endpoints_and_a_long_timeout_and_removes_by_id_alone
    understands_a_crictl_that_makes_noise_and_ends_well
    starts_no_program_that_is_off
    a_listing_of_crictl_that_fails_refuses_the_run_and_is_named
    a_container_that_can_not_be_inspected_keeps_everything
    an_image_that_crictl_can_not_remove_stops_no_other_and_is_whole
    counts_as_removed_only_what_crictl_no_longer_lists
}

fn always_names_both_endpoints_and_a_long_timeout_and_removes_by_id_alone(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let endpoint = format!("unix://{}", lab.socket().display());
    in_each(&WITH_CRICTL, |set_up| {
        let goes = app(&lab, "goes-too:1")?;
        let mut node = set_up.node(&lab)?;
        node.stand_in_for_crictl("printf '%s\\n' \"$*\" >>/run/calls\nreal \"$@\"")?;
        keeps_on(&node, &[])?;
        let calls = node.read("/run/calls")?;
        let mut removed = vec![];
        for call in calls.lines() {
            let words: Vec<&str> = call.split(' ').collect();
            let ["-r", runtime, "-i", images, "-t", timeout, command, rest @ ..] = &words[..] else { panic!("{call}") };
            assert_eq!((*runtime, *images), (&*endpoint, &*endpoint), "{call}");
            let seconds: u32 = timeout.strip_suffix('s').context("a timeout in seconds")?.parse()?;
            assert!(seconds >= 60, "{call}");
            if *command == "rmi" {
                removed.extend(rest.iter().map(|word| (*word).to_owned()));
            } else {
                let known = ["version", "images", "ps", "pods", "info", "inspect", "inspectp"];
                assert!(known.contains(command) && !call.contains("prune"), "{call}");
            }
        }
        removed.sort();
        let mut expected = vec![goes.id.clone(), app(&lab, "goes:1")?.id];
        expected.sort();
        match set_up {
            SetUp::Crictl => assert_eq!(removed, expected, "{calls}"),
            SetUp::Ctr | SetUp::Both => assert!(removed.is_empty(), "{calls}"),
        }
        assert_gone(&lab, &goes)
    })
}

/// What a crictl up to 1.30 prints: nulls where newer ones leave a key out, and what it inspected one after another,
/// nothing at all if the first isn't there. It doesn't know that an image can be mounted, and one that is that old already is
/// left as it is.
const OLD: &str = r#"
older() {
  case $1 in
  *'"spec": null'* | *'"imageId"'*) printf '%s\n' "$1" ;;
  *) printf '%s\n' "$1" | sed -e 's/^\( *\)"username":/\1"uid": null, "spec": null, "username":/' \
       -e 's/^\( *\)"imageRef":/\1"imageId": "", "imageRef":/' -e 's/"annotations": {}/"annotations": null/' ;;
  esac
}
case $command in
images | ps | pods)
  text=$(real "$@") || exit
  older "$text" ;;
inspect | inspectp)
  count=0
  for id in "$@"; do
    count=$((count + 1))
    if [ $count -gt 9 ]; then
      text=$(real "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" "$id") || exit
      printf '%s\n' "$text" | sed '/^    "mounts": \[/,/^    \]/s/"image": {/"unknown": {/'
    fi
  done ;;
*) real "$@" ;;
esac"#;

/// On 2.1, as its pods can have images mounted.
#[test]
fn understands_the_json_of_an_old_crictl() -> Result<()> {
    let lab = Containerd::start("2.1")?;
    let stays = neighbour(&lab)?;
    let (app, volume) = (app(&lab, "app:1")?, app(&lab, "volume:1")?);
    lab.pod_with_volume("web", app.name(), volume.name())?;
    let exited = super::app(&lab, "exited:1")?;
    lab.pod("done", exited.name(), PodState::Exited)?;
    in_each(&WITH_CRICTL, |set_up| {
        let mut node = set_up.node(&lab)?;
        node.stand_in_for_crictl(&format!("echo \"$command\" >>/run/calls\n{OLD}"))?;
        keeps_on(&node, &[(&stays, "in_use"), (&app, "in_use"), (&volume, "in_use"), (&exited, "in_use")])?;
        if set_up == SetUp::Crictl {
            let inspected = node.read("/run/calls")?.lines().filter(|command| *command == "inspect").count();
            assert_eq!(inspected, 1, "all were understood at once");
        }
        Ok(())
    })
}

fn understands_a_crictl_that_makes_noise_and_ends_well(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = neighbour(&lab)?;
    in_each(&WITH_CRICTL, |set_up| {
        let mut node = set_up.node(&lab)?;
        let noise =
            r#"echo 'time="2026-11-22T10:37:16Z" level=warning msg="runtime connect using default endpoints: {\"images\":[]}"' >&2"#;
        node.stand_in_for_crictl(&format!("{noise}\necho 'W1122 error: no such image, in use by' >&2\nreal \"$@\""))?;
        keeps_on(&node, &[(&stays, "in_use")]).map(drop)
    })
}

fn starts_no_program_that_is_off(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = neighbour(&lab)?;
    in_each(&[SetUp::Ctr, SetUp::Crictl], |without| {
        let mut node = SetUp::Both.node(&lab)?;
        node.stand_in(": >/run/ctr-was-started\nreal \"$@\"")?;
        node.stand_in_for_crictl(": >/run/crictl-was-started\nreal \"$@\"")?;
        let (off, other) = if without == SetUp::Ctr { ("ctr", "crictl") } else { ("crictl", "ctr") };
        node.set(&format!("runtime.{off}"), "\"off\"")?;
        let json = keeps_on(&node, &[(&stays, "in_use")])?;
        assert!(json["runtime"][off].is_null() && json["runtime"][other].is_string(), "{json:#}");
        assert!(!node.exists(&format!("/run/{off}-was-started"))? && node.exists(&format!("/run/{other}-was-started"))?);
        Ok(())
    })?;
    let unused = app(&lab, "unused:1")?;
    let mut node = SetUp::Both.node(&lab)?;
    node.set("runtime.ctr", "\"off\"")?;
    node.set("runtime.crictl", "\"off\"")?;
    let run = node.run(&CLEAN)?.exits(1)?;
    assert!(run.stderr.contains("ctr or crictl"), "{}", run.stderr);
    assert_serves(&lab, &unused)
}

fn a_listing_of_crictl_that_fails_refuses_the_run_and_is_named(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let unused = app(&lab, "unused:1")?;
    in_each(&WITH_CRICTL, |set_up| {
        let own: &[&str] = if set_up == SetUp::Crictl { &["version", "info"] } else { &[] };
        for listing in [&["images", "ps", "pods"], own].concat() {
            for breaks in ["echo 'crictl: broken' >&2; exit 1", "exit 0", "echo '{'; exit 0", "echo '{}'; exit 0", "kill -9 $$"] {
                if listing == "info" && breaks.contains("{}") {
                    // A runtime that tells nothing of its sandbox image is none that fails.
                    continue;
                }
                let mut node = set_up.node(&lab)?;
                node.stand_in_for_crictl(&format!("if [ \"$command\" = {listing} ]; then {breaks}; fi\nreal \"$@\""))?;
                let run = node.run(&CLEAN)?.exits(1).with_context(|| format!("{listing}: {breaks}"))?;
                assert!(run.stderr.contains(&format!("crictl {listing}")), "{breaks}: {}", run.stderr);
                assert!(!breaks.contains("broken") || run.stderr.contains("crictl: broken"), "{}", run.stderr);
                assert!(lab.references()?.contains(unused.name()), "{listing}: {breaks}");
            }
        }
        assert_serves(&lab, &unused)
    })
}

/// It may have any image mounted. With ctr a mount shows in the list of snapshots, and nobody needs to be inspected.
fn a_container_that_can_not_be_inspected_keeps_everything(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    let stays = neighbour(&lab)?;
    let strange = app(&lab, "strange:1")?;
    let pod = lab.pod("strange", strange.name(), PodState::Running)?;
    let container = pod.container.as_deref().context("a running pod has a container")?;
    let unused = app(&lab, "unused:1")?;
    let all = "if [ \"$command\" = inspect ]; then echo 'crictl: broken' >&2; exit 1; fi";
    let one = format!("case \"$*\" in *' inspect '*{container}*) echo 'crictl: broken' >&2; exit 1 ;; esac");
    for script in [all, &one] {
        let mut node = SetUp::Crictl.node(&lab)?;
        node.stand_in_for_crictl(&format!("{script}\nreal \"$@\""))?;
        let json = node.run(&CLEAN)?.exits(0)?.json()?;
        assert!(json["gaps"].to_string().contains("all images stay: container "), "{json:#}");
        for image in [&stays, &strange, &unused] {
            assert_eq!(verdict(&json, image), ("keep", "in_use", ""), "{json:#}");
            assert_serves(&lab, image)?;
        }
    }
    let mut node = SetUp::Both.node(&lab)?;
    node.stand_in_for_crictl(&format!("{all}\nreal \"$@\""))?;
    let json = keeps_on(&node, &[(&stays, "in_use"), (&strange, "in_use")])?;
    assert_eq!(verdict(&json, &unused), ("remove", "unused", "removed"), "{json:#}");
    Ok(())
}

fn an_image_that_crictl_can_not_remove_stops_no_other_and_is_whole(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let [first, stuck, last] = [app(&lab, "a:1")?, app(&lab, "stuck:1")?, app(&lab, "z:1")?];
    let mut node = SetUp::Crictl.node(&lab)?;
    node.stand_in_for_crictl(&format!(
        r#"
if [ "$command" != rmi ]; then real "$@"; exit; fi
for word in "$@"; do
  shift
  case $word in *{id}) echo "error of removing image \"$word\": broken" >&2 ;; *) set -- "$@" "$word" ;; esac
done
real "$@"
exit 1"#,
        id = stuck.id
    ))?;
    let json = node.run(&CLEAN)?.exits(3)?.json()?;
    for image in [&first, &last] {
        assert_eq!(verdict(&json, image), ("remove", "unused", "removed"), "{json:#}");
        assert_gone(&lab, image)?;
    }
    assert_eq!(verdict(&json, &stuck), ("remove", "unused", "failed"), "{json:#}");
    assert!(error(&json, &stuck).contains("broken"), "{json:#}");
    assert_serves(&lab, &stuck)?;
    node.no_stand_in_for_crictl()?;
    let json = node.run(&CLEAN)?.exits(0)?.json()?;
    assert_eq!(verdict(&json, &stuck), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(&lab, &stuck)
}

fn counts_as_removed_only_what_crictl_no_longer_lists(version: &'static str) -> Result<()> {
    let lab = Containerd::start(version)?;
    neighbour(&lab)?;
    let stays = app(&lab, "stays:1")?;
    let mut node = SetUp::Crictl.node(&lab)?;
    node.stand_in_for_crictl("if [ \"$command\" = rmi ]; then shift 7; printf 'Deleted: %s\\n' \"$@\"; else real \"$@\"; fi")?;
    let json = node.run(&CLEAN)?.exits(3)?.json()?;
    assert_eq!(verdict(&json, &stays), ("remove", "unused", "failed"), "{json:#}");
    assert!(error(&json, &stays).contains("still listed"), "{json:#}");
    assert_eq!(json["summary"]["removed"], 0, "{json:#}");
    assert_serves(&lab, &stays)
}

#[test]
fn what_each_set_up_tells_of_itself_is_what_was_used() -> Result<()> {
    super::on(&["1.7"], |version| {
        let lab = Containerd::start(version)?;
        neighbour(&lab)?;
        in_each(&SET_UPS, |set_up| {
            let json = keeps_on(&set_up.node(&lab)?, &[])?;
            let runtime = &json["runtime"];
            let (ctr, crictl) = (set_up != SetUp::Crictl, set_up != SetUp::Ctr);
            let path = |name: &str, used: bool| if used { format!("/usr/local/bin/{name}").into() } else { serde_json::Value::Null };
            assert_eq!((&runtime["ctr"], &runtime["crictl"]), (&path("ctr", ctr), &path("crictl", crictl)), "{runtime:#}");
            let endpoint = format!("unix://{}", lab.socket().display());
            assert_eq!((&runtime["name"], &runtime["endpoint"]), (&"containerd".into(), &endpoint.into()), "{runtime:#}");
            assert!(runtime["version"].as_str().is_some_and(|told| told.starts_with(version)), "{runtime:#}");
            assert_eq!(
                (&json["schema_version"], &json["summary"]["removed"], &json["gaps"]),
                (&1.into(), &1.into(), &serde_json::json!([]))
            );
            assert!(json["summary"]["reclaimed_bytes"].as_u64().is_some_and(|bytes| bytes > 64 << 10), "{json:#}");
            Ok(())
        })
    })
}
