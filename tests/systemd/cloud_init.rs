//! A node that gets the product from its user data: real cloud-init, a release server of its own on loopback.
//!
//! The files of `cloud-init/` are used as they are, but for what a person fills in. Butane is in no Debian: what it makes of
//! its files is done by the test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::{BootedMachine, Image, Run};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{DAY, SUITES, files, node, paths, start};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nuke-images");
/// Where the script is put by a cloud-config.
const SCRIPT: &str = "/var/lib/cloud/scripts/per-instance/nuke-images";
const CONFIG: &str = "/etc/nuke-images/config.d/20-cloud-init.toml";
const SERVER: &str = "[Unit]\nDefaultDependencies=no\nBefore=cloud-init.service\n[Service]\n\
    ExecStart=/usr/bin/python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv/release\n\
    ExecStartPost=/bin/bash -c 'until : </dev/tcp/127.0.0.1/8099; do sleep 0.05; done'\n";
/// A network, an apt and an ssh that are not there need no set-up.
const QUIET: &str = "network: {config: disabled}\nlocale: false\napt: {preserve_sources_list: true}\nssh_genkeytypes: []\n";
/// What an attacker would like to see started.
const TAMPERED: &str = "#!/bin/sh\ntouch /root/tampered-with\n";

fn read(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloud-init").join(file);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// As a person does it for a release of this program.
fn fill_in(text: &str) -> Result<String> {
    let sum = lab::output(program("sha256sum").arg(PROGRAM))?;
    let sum = sum.split(' ').next().context("a sum")?;
    let zeros = "0".repeat(64);
    let blanks = [
        ("url=https://downloads.example.com/nuke-images/0.1.0\n".to_owned(), "url=http://127.0.0.1:8099\n".to_owned()),
        (format!("sha256_x86_64={zeros}\n"), format!("sha256_x86_64={sum}\n")),
        (format!("sha256_aarch64={zeros}\n"), format!("sha256_aarch64={sum}\n")),
    ];
    blanks.iter().try_fold(text.to_owned(), |text, (blank, filled)| {
        ensure!(text.matches(blank.as_str()).count() == 1, "{blank} is not there once");
        Ok(text.replace(blank.as_str(), filled))
    })
}

#[expect(clippy::disallowed_methods, reason = "a test, and its one place that starts programs")]
fn program(name: &str) -> std::process::Command {
    std::process::Command::new(name)
}

/// A machine's seed and what its release server has.
struct Cloud {
    folder: TempDir,
}

impl Cloud {
    fn new() -> Result<Self> {
        let cloud = Self { folder: tempfile::tempdir()? };
        for folder in ["seed", "release"] {
            fs::create_dir(cloud.at(folder))?;
        }
        for architecture in ["x86_64", "aarch64"] {
            fs::copy(PROGRAM, cloud.at("release").join(format!("nuke-images-{architecture}")))?;
        }
        fs::write(cloud.at("server"), SERVER)?;
        fs::write(cloud.at("quiet"), QUIET)?;
        Ok(cloud)
    }

    /// One whose server has something else under the program's name.
    fn tampered_with() -> Result<Self> {
        let cloud = Self::new()?;
        fs::write(cloud.at("release/nuke-images-x86_64"), TAMPERED)?;
        Ok(cloud)
    }

    fn repair(&self) -> Result<()> {
        fs::copy(PROGRAM, self.at("release/nuke-images-x86_64")).map(drop).context("put the program back")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Boots a machine that was never up before with this user data, its server up or not.
    fn boot(&self, suite: &str, user_data: &str, is_up: bool) -> Result<BootedMachine> {
        fs::write(self.at("seed/meta-data"), "instance-id: i-1\nlocal-hostname: node-1\n")?;
        fs::write(self.at("seed/user-data"), user_data)?;
        self.boot_with(suite, &[("seed", "/var/lib/cloud/seed/nocloud")], is_up)
    }

    /// The same without user data, for what is started by hand.
    fn boot_without(&self, suite: &str) -> Result<BootedMachine> {
        self.boot_with(suite, &[], true)
    }

    fn boot_with(&self, suite: &str, more: &[(&str, &str)], is_up: bool) -> Result<BootedMachine> {
        let always = [
            ("release", "/srv/release"),
            ("server", "/etc/systemd/system/release.service"),
            ("quiet", "/etc/cloud/cloud.cfg.d/99-test.cfg"),
        ];
        let bind = |(from, to): &(&str, &str)| format!("--bind-ro={}:{to}", self.at(from).display());
        let mut words: Vec<String> = always.iter().chain(more).map(bind).collect();
        words.extend(is_up.then(|| "systemd.wants=release.service".to_owned()));
        BootedMachine::boot_with(suite, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// What cloud-init says of itself once it is through, and the exit code with which it says so.
fn status(machine: &BootedMachine) -> Result<(i32, Value)> {
    let said = machine.run(&["cloud-init", "status", "--wait", "--format=json"])?;
    let json = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
    Ok((said.code, json))
}

fn log(machine: &BootedMachine) -> Result<String> {
    machine.read("/var/log/cloud-init-output.log")
}

/// What the release server was asked for since the machine was booted.
fn downloads(machine: &BootedMachine) -> Result<Vec<String>> {
    let log = machine.sh("journalctl --sync; journalctl -b -u release.service -o cat")?;
    let asked = |line: &str| Some(line.split_once("\"GET /")?.1.split(' ').next()?.to_owned());
    Ok(log.lines().filter_map(asked).collect())
}

/// Runs the script once more, as a person does.
fn by_hand(machine: &BootedMachine, script: &str) -> Result<Run> {
    machine.run(&["sh", script])
}

fn is_installed(machine: &BootedMachine) -> Result<()> {
    machine.sh("systemctl is-enabled nuke-images.timer nuke-images-observe.timer")?;
    machine.sh("systemctl is-active nuke-images.timer nuke-images-observe.timer")?;
    let config = machine.sh("nuke-images config --output json")?;
    ensure!(config.contains("registry.example.com"), "{config}");
    Ok(())
}

/// Nothing is there but what cloud-init keeps for itself.
fn assert_untouched(machine: &BootedMachine) -> Result<()> {
    let left: Vec<String> = paths(machine)?.into_iter().filter(|path| !path.starts_with("/var/lib/cloud/")).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    ensure!(!machine.exists("/root/tampered-with"), "what was downloaded was started");
    let units = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "nuke-images*"])?.stdout;
    ensure!(units.trim().is_empty(), "systemd knows {units}");
    Ok(())
}

/// What an installation has put there, with inodes and times.
fn put_there(machine: &BootedMachine) -> Result<Vec<String>> {
    let of_install = |line: &&str| line.starts_with("/usr/local/") || line.starts_with("/etc/");
    Ok(files(machine)?.lines().filter(of_install).map(str::to_owned).collect())
}

fn comes_up(suite: &str) -> Result<()> {
    let cloud = Cloud::new()?;
    let mut machine = cloud.boot(suite, &fill_in(&read("cloud-config.yaml")?)?, true)?;
    let (code, said) = status(&machine)?;
    assert_eq!((code, said["status"].as_str()), (0, Some("done")), "{said:#} {}", log(&machine)?);
    is_installed(&machine)?;
    assert_eq!(downloads(&machine)?, ["nuke-images-x86_64"]);

    machine.write("/etc/nuke-images/config.d/50-test.toml", "[images]\nunused_for = \"0s\"\n[safety]\nmin_uptime = \"0s\"\n")?;
    let (used, unused) = node(&machine)?;
    let elsewhere = machine.pull(&Image::new("other.example.com/unused:1").content("elsewhere"), DAY)?;
    start(&machine)?.exits(0)?;
    assert!(machine.has(&used)? && machine.has(&elsewhere)? && !machine.has(&unused)?);

    let before = put_there(&machine)?;
    assert!(before.len() > 10, "{before:?}");
    machine.shut_down()?;
    machine.start()?;
    assert_eq!(status(&machine)?.0, 0);
    is_installed(&machine)?;
    let again = by_hand(&machine, SCRIPT)?.exits(0)?.stdout;
    assert!(again.starts_with("nothing has changed\n"), "{again}");
    assert_eq!(put_there(&machine)?, before);
    assert_eq!(downloads(&machine)?, [""; 0]);
    Ok(())
}

#[test]
fn a_node_comes_up_with_its_timers_and_is_not_installed_anew_at_the_next_boot() -> Result<()> {
    comes_up("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_node_comes_up_with_its_timers_and_is_not_installed_anew_at_the_next_boot_with_cloud_init_25() -> Result<()> {
    comes_up("trixie")
}

/// cloud-init has failed and tells why, and the node is as it was; a later try by hand, once the server has the release, works.
fn fails_untouched(cloud: &Cloud, suite: &str, user_data: &str, is_up: bool, why: &str) -> Result<BootedMachine> {
    let machine = cloud.boot(suite, user_data, is_up)?;
    let (code, said) = status(&machine)?;
    assert_eq!((code, said["status"].as_str()), (1, Some("error")), "{said:#} {}", log(&machine)?);
    assert_eq!(machine.run(&["systemctl", "is-failed", "cloud-final.service"])?.code, 0);
    let log = log(&machine)?;
    assert!(log.contains(why), "{log}");
    assert_untouched(&machine)?;
    cloud.repair()?;
    machine.sh("systemctl start release.service")?;
    let script = machine.sh("find /var/lib/cloud/scripts /var/lib/cloud/instances -path '*scripts/*' -name 'nuke-images*'")?;
    by_hand(&machine, script.trim())?.exits(0)?;
    is_installed(&machine)?;
    Ok(machine)
}

fn is_tampered_with(suite: &str) -> Result<()> {
    let user_data = fill_in(&read("cloud-config.yaml")?)? + "runcmd:\n  - touch /root/node-joined\n";
    let why = "nuke-images-x86_64 is not the release: its SHA-256 is ";
    let machine = fails_untouched(&Cloud::tampered_with()?, suite, &user_data, true, why)?;
    ensure!(machine.exists("/root/node-joined"), "it kept the node from doing the rest");
    Ok(())
}

#[test]
fn a_download_that_was_tampered_with_is_not_started_and_fails_cloud_init() -> Result<()> {
    is_tampered_with("bookworm")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_download_that_was_tampered_with_is_not_started_and_fails_cloud_init_25() -> Result<()> {
    is_tampered_with("trixie")
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_release_server_that_is_dead_fails_cloud_init_and_leaves_the_node_as_it_was() -> Result<()> {
    let user_data = fill_in(&read("cloud-config.yaml")?)?;
    for suite in SUITES {
        fails_untouched(&Cloud::new()?, suite, &user_data, false, "http://127.0.0.1:8099/nuke-images-x86_64 can't be downloaded")?;
    }
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_part_for_nodeadm_is_skipped_and_the_one_beside_it_still_runs() -> Result<()> {
    let user_data = fill_in(&read("eks.mime")?)?;
    for suite in SUITES {
        let cloud = Cloud::new()?;
        let machine = cloud.boot(suite, &user_data, true)?;
        let (code, said) = status(&machine)?;
        assert_eq!(said["status"], "done", "{said:#} {}", log(&machine)?);
        // Newer ones exit with 2 after a warning; it must be about that part alone.
        let warnings: Vec<&str> = said["recoverable_errors"]
            .as_object()
            .into_iter()
            .flat_map(|levels| levels.values())
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(code, if warnings.is_empty() { 0 } else { 2 }, "{said:#}");
        assert!(warnings.iter().all(|warning| warning.contains("application/node.eks.aws")), "{said:#}");
        is_installed(&machine)?;
        let pinned = machine.read("/etc/nuke-images/config.d/10-installed.toml")?;
        assert!(pinned.contains("\"unix:///run/containerd/containerd.sock\""), "{pinned}");
        fails_untouched(&Cloud::tampered_with()?, suite, &user_data, true, "nuke-images-x86_64 is not the release: its SHA-256 is ")?;
    }
    Ok(())
}

#[test]
fn the_script_picks_the_architecture_and_leaves_the_node_as_it_was_where_it_can_not_go_on() -> Result<()> {
    let cloud = Cloud::new()?;
    let machine = cloud.boot_without("bookworm")?;
    let script = fill_in(&read("nuke-images.sh")?)?;
    let on = |architecture: &str, script: &str| -> Result<Run> {
        machine.write("/root/script", script)?;
        machine.write("/root/programs/uname", &format!("#!/bin/sh\necho {architecture}\n"))?;
        machine.run(&["sh", "-c", "chmod 755 /root/programs/uname; PATH=/root/programs:$PATH exec sh /root/script"])
    };
    let fails = |architecture: &str, script: &str, why: &str| -> Result<()> {
        let failed = on(architecture, script)?.exits(1)?;
        ensure!(failed.stderr.contains(why), "{failed:?}");
        assert_untouched(&machine)
    };
    fails("riscv64", &script, "nuke-images: there is no release for riscv64\n")?;
    let wrong_config = script.replace("registries = ", "registry = ");
    fails("x86_64", &wrong_config, "registry")?;
    let wrong_schedule = script.replace("\nset --\n", "\nset -- --schedule 'Sun 25:00'\n");
    fails("x86_64", &wrong_schedule, "Failed to parse calendar specification")?;
    machine.sh("mv /usr/bin/curl /root")?;
    fails("x86_64", &script, "nuke-images: neither curl nor wget is here\n")?;
    machine.sh("mv /root/curl /usr/bin")?;
    assert_eq!(downloads(&machine)?, ["nuke-images-x86_64"; 2]);

    on("aarch64", &script)?.exits(0)?;
    is_installed(&machine)?;
    assert_eq!(downloads(&machine)?.last().map(String::as_str), Some("nuke-images-aarch64"));
    // What was in force stays so.
    let (before, config) = (put_there(&machine)?, machine.read(CONFIG)?);
    let other = wrong_schedule.replace("registry.example.com", "other.example.com");
    on("x86_64", &other)?.exits(1)?;
    assert_eq!(machine.read(CONFIG)?, config);
    on("x86_64", &script)?.exits(0)?;
    let same =
        |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains(CONFIG) && !line.contains("config.d ")).collect::<Vec<_>>();
    assert_eq!(same(put_there(&machine)?), same(before));
    on("x86_64", &script.replace("registry.example.com", "other.example.com"))?.exits(0)?;
    assert_eq!(machine.read(CONFIG)?, config.replace("registry.example.com", "other.example.com"));
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn cloud_init_finds_nothing_wrong_with_the_cloud_configs_and_stays_off_where_there_is_no_seed() -> Result<()> {
    for suite in SUITES {
        let machine = Cloud::new()?.boot_without(suite)?;
        for file in ["cloud-config.yaml", "rke2.yaml"] {
            machine.write("/root/user-data", &read(file)?)?;
            let said = machine.run(&["cloud-init", "schema", "--config-file", "/root/user-data"])?.exits(0)?;
            assert!(said.stdout.contains("Valid ") && !format!("{said:?}").contains("arning"), "{suite}: {file}: {said:?}");
        }
        assert!(!machine.exists("/run/cloud-init/enabled"), "{suite}");
        assert_eq!(machine.run(&["systemctl", "is-active", "cloud-final.service"])?.stdout, "inactive\n", "{suite}");
    }
    Ok(())
}

fn yaml(file: &str) -> Result<Value> {
    serde_saphyr::from_str(&read(file)?).with_context(|| file.to_owned())
}

/// Puts files and units onto the machine as Ignition does from what Butane makes of this.
fn ignite(machine: &BootedMachine, butane: &Value) -> Result<()> {
    for file in butane["storage"]["files"].as_array().context("files")? {
        let path = file["path"].as_str().context("a path")?;
        machine.write(path, &fill_in(file["contents"]["inline"].as_str().context("contents")?)?)?;
        machine.sh(&format!("chmod 700 {path}"))?;
    }
    for unit in butane["systemd"]["units"].as_array().context("units")? {
        let name = unit["name"].as_str().context("a name")?;
        machine.write(&format!("/etc/systemd/system/{name}"), unit["contents"].as_str().context("contents")?)?;
        ensure!(unit["enabled"] == true, "{name} is not enabled");
        machine.sh(&format!("systemctl enable {name}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn what_butane_describes_installs_at_a_boot_and_does_nothing_at_the_next() -> Result<()> {
    let butane = yaml("flatcar.bu")?;
    let cloud = Cloud::tampered_with()?;
    let mut machine = cloud.boot_without("bookworm")?;
    ignite(&machine, &butane)?;
    let unit = "install-nuke-images.service";
    let verified = machine.run(&["systemd-analyze", "verify", "--man=no", unit])?.exits(0)?;
    assert_eq!((verified.stdout.as_str(), verified.stderr.as_str()), ("", ""));
    machine.run(&["systemctl", "start", unit])?.exits(1)?;
    assert_eq!(machine.run(&["systemctl", "is-failed", unit])?.code, 0);
    let own = ["/etc/nuke-images", "/etc/systemd/system/"];
    let left: Vec<String> = paths(&machine)?.into_iter().filter(|path| !own.iter().any(|own| path.starts_with(own))).collect();
    assert_eq!(left, [""; 0]);
    assert!(!machine.exists("/root/tampered-with") && !machine.exists(CONFIG));

    cloud.repair()?;
    machine.shut_down()?;
    machine.start()?;
    is_installed(&machine)?;
    assert_eq!(downloads(&machine)?, ["nuke-images-x86_64"]);
    let before = put_there(&machine)?;
    machine.shut_down()?;
    machine.start()?;
    assert_eq!(machine.sh(&format!("systemctl is-active {unit}"))?, "active\n");
    assert_eq!((put_there(&machine)?, downloads(&machine)?), (before, vec![]));
    machine.sh("nuke-images uninstall --purge")?;
    machine.sh(&format!("systemctl restart {unit}"))?;
    assert!(!machine.exists("/usr/local/bin/nuke-images"), "it came back after a purge");
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn what_cluster_api_makes_of_its_files_and_commands_fails_cloud_init_where_the_download_was_tampered_with() -> Result<()> {
    let spec = yaml("cluster-api.yaml")?["spec"]["template"]["spec"].clone();
    let mut files = spec["files"].clone();
    files[0]["content"] = fill_in(files[0]["content"].as_str().context("a script")?)?.into();
    // Its commands are those of runcmd, in this order; JSON is YAML too.
    let commands = [&json!("true"), &spec["postKubeadmCommands"][0]];
    let user_data = format!("#cloud-config\n{}\n", json!({"write_files": files, "runcmd": commands}));
    let cloud = Cloud::tampered_with()?;
    let machine = cloud.boot("bookworm", &user_data, true)?;
    let (code, said) = status(&machine)?;
    assert_eq!((code, said["status"].as_str()), (1, Some("error")), "{said:#} {}", log(&machine)?);
    assert!(log(&machine)?.contains("nuke-images-x86_64 is not the release"), "{}", log(&machine)?);
    assert!(!machine.exists("/root/tampered-with") && !machine.exists("/usr/local/bin/nuke-images"));
    cloud.repair()?;
    by_hand(&machine, "/etc/nuke-images/install")?.exits(0)?;
    is_installed(&machine)
}

/// Every script in the folder, by its file.
fn scripts() -> Result<Vec<(&'static str, String)>> {
    let script = |file: &'static str, pointer: &str| -> Result<(&str, String)> {
        let value = yaml(file)?;
        let text = value.pointer(pointer).and_then(Value::as_str);
        Ok((file, text.with_context(|| format!("{file}: no script at {pointer}"))?.to_owned()))
    };
    let mime = read("eks.mime")?;
    let part = mime.split("\n--//").nth(2).and_then(|part| part.split_once("\n\n")).context("eks.mime: no script")?.1.to_owned();
    Ok(vec![
        ("eks.mime", part),
        script("cloud-config.yaml", "/write_files/0/content")?,
        script("rke2.yaml", "/write_files/1/content")?,
        script("kops.yaml", "/spec/additionalUserData/0/content")?,
        script("cluster-api.yaml", "/spec/template/spec/files/0/content")?,
        script("flatcar.bu", "/storage/files/0/contents/inline")?,
        script("fedora-coreos.bu", "/storage/files/0/contents/inline")?,
    ])
}

#[test]
fn every_file_has_the_same_script_and_differs_in_nothing_but_the_socket() -> Result<()> {
    let script = read("nuke-images.sh")?;
    let sockets = [
        ("eks.mime", "/run/containerd/containerd.sock"),
        ("kops.yaml", "/run/containerd/containerd.sock"),
        ("rke2.yaml", "/run/k3s/containerd/containerd.sock"),
    ];
    for (file, found) in scripts()? {
        let socket = sockets.iter().find(|(name, _)| *name == file);
        let options = socket.map_or(String::new(), |(_, path)| format!(" --runtime-endpoint unix://{path}"));
        let expected = script.replace("\nset --\n", &format!("\nset --{options}\n"));
        assert_eq!(found.trim_end(), expected.trim_end(), "{file}");
    }
    Ok(())
}

#[test]
fn every_file_is_what_its_reader_takes() -> Result<()> {
    let mime = read("eks.mime")?;
    assert!(mime.starts_with("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\n"), "{mime}");
    assert!(mime.ends_with("\n--//--\n") && mime.is_ascii() && mime.len() < 16 * 1024, "EC2 takes 16 KiB: {}", mime.len());
    let kinds: Vec<&str> = mime.lines().filter_map(|line| line.strip_prefix("Content-Type: ")).skip(1).collect();
    assert_eq!(kinds, ["application/node.eks.aws", "text/x-shellscript; charset=\"us-ascii\""]);
    let node_config = mime.split("\n--//").nth(1).and_then(|part| part.split_once("\n\n")).context("a part")?.1;
    let node_config: Value = serde_saphyr::from_str(node_config)?;
    assert_eq!((&node_config["apiVersion"], &node_config["kind"]), (&json!("node.eks.aws/v1alpha1"), &json!("NodeConfig")));

    for file in ["cloud-config.yaml", "rke2.yaml"] {
        assert!(read(file)?.starts_with("#cloud-config\n"), "{file}");
        let files = yaml(file)?["write_files"].clone();
        let script = files.as_array().context("files")?.last().context("a script")?.clone();
        assert_eq!((&script["path"], &script["permissions"]), (&json!(SCRIPT), &json!("0700")), "{file}");
    }
    let part = yaml("kops.yaml")?["spec"]["additionalUserData"][0].clone();
    assert_eq!(part["type"], "text/x-shellscript");
    let spec = yaml("cluster-api.yaml")?["spec"]["template"]["spec"].clone();
    assert_eq!(spec["postKubeadmCommands"], json!([format!("sh {}", spec["files"][0]["path"].as_str().context("a path")?)]));

    let (flatcar, coreos) = (yaml("flatcar.bu")?, yaml("fedora-coreos.bu")?);
    assert_eq!([&flatcar["variant"], &flatcar["version"]], ["flatcar", "1.0.0"]);
    assert_eq!([&coreos["variant"], &coreos["version"]], ["fcos", "1.5.0"]);
    assert_eq!((&flatcar["storage"], &flatcar["systemd"]), (&coreos["storage"], &coreos["systemd"]));
    let path = flatcar["storage"]["files"][0]["path"].as_str().context("a path")?;
    let unit = flatcar["systemd"]["units"][0]["contents"].as_str().context("a unit")?;
    assert!(unit.contains(&format!("ConditionPathExists={path}\n")) && unit.contains(&format!("ExecStart=/bin/sh {path}\n")), "{unit}");
    for file in ["flatcar.bu", "fedora-coreos.bu"] {
        assert!(read(file)?.contains("\n      mode: 0700\n"), "{file}: Butane takes this for octal");
    }
    Ok(())
}
