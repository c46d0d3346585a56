//! The built binary from outside, with a `ctr` that hangs, floods, stops half-way, lies: what it says, with which exit code,
//! and that no removal is ever begun on the word of a listing that failed.

#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/history.rs"]
mod history;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/node.rs"]
mod node;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use node::{A, B, Node, PRODUCT, Run, USED, eventually, product, program};
use serde_json::{Value, json};

const CLEAN: [&str; 4] = ["--yes", "--all", "--output", "json"];
/// Every listing without which nothing may be removed.
const LISTINGS: [&str; 7] = ["version", "content ls", "images ls -q", "images ls", "containers ls", "containers ls -q", "snapshots ls"];

/// What a failing listing is called in an error: `ctr`'s own words.
fn words(command: &str) -> String {
    format!("ctr {}", command.replace("snapshots ls", "snapshots --snapshotter overlayfs ls"))
}

/// Nothing was removed, and nobody began to.
fn assert_nothing_removed(node: &Node) {
    assert_eq!(node.removals(), [""; 0]);
    assert!(node.holds(USED) && node.holds(A) && node.holds(B));
}

fn refused_at(command: &str, script: &str) -> (Node, Run) {
    let node = Node::new();
    node.behaves_at(command, script);
    let run = node.run(&CLEAN).exits(1);
    assert!(run.stdout.is_empty(), "{run:?}");
    assert_nothing_removed(&node);
    (node, run)
}

#[test]
fn removes_what_nothing_needs_and_keeps_the_rest() {
    let node = Node::new();
    let run = node.run(&CLEAN).exits(0);
    let removed = ("removed".to_owned(), String::new());
    assert_eq!((run.outcome(A), run.outcome(B), run.outcome(USED)), (removed.clone(), removed, Default::default()));
    assert_eq!(node.removals().len(), 1);
    assert!(node.holds(USED) && !node.holds(A) && !node.holds(B));
}

#[test]
fn a_listing_that_fails_is_named_with_its_complaint() {
    for command in LISTINGS {
        let (_, run) = refused_at(command, "echo 'ctr: broken' >&2; exit 1");
        assert!(run.error().contains(&words(command)) && run.error().ends_with(": exit status 1: ctr: broken"), "{run:?}");
    }
}

#[test]
fn a_listing_that_dies_by_a_signal_is_named_with_the_signal() {
    for command in LISTINGS {
        let (_, run) = refused_at(command, "kill -9 $$");
        assert!(run.error().contains(&words(command)) && run.error().ends_with(": ended by signal 9"), "{run:?}");
    }
}

#[test]
fn a_listing_that_complains_and_exits_with_0_is_not_taken_for_empty() {
    for command in LISTINGS {
        let (_, run) = refused_at(command, "echo 'ctr: transport is closing' >&2; exit 0");
        assert!(run.error().contains(&words(command)) && run.error().ends_with(": showed nothing: ctr: transport is closing"), "{run:?}");
    }
}

#[test]
fn half_a_listing_is_not_taken_for_a_whole_one() {
    for (command, what) in [
        ("version", "ask the runtime for its version"),
        ("content ls", "list content"),
        ("images ls -q", "list images"),
        ("images ls", "list images"),
        ("containers ls", "list containers"),
        ("containers ls -q", "list sandboxes"),
        ("snapshots ls", "list snapshots"),
    ] {
        let half = r#"answer "$@" >"$folder/whole"; head -c $(($(wc -c <"$folder/whole") / 2 - 5)) "$folder/whole"; exit 0"#;
        let (_, run) = refused_at(command, half);
        assert!(run.error().contains(what), "{run:?}");
    }
}

#[test]
fn garbage_is_not_taken_for_a_table() {
    for (command, what) in [
        ("version", "ask the runtime for its version"),
        ("content ls", "list content: expected the columns DIGEST SIZE AGE LABELS, found: <html>502 Bad Gateway"),
        ("images ls", "list images: expected the columns REF"),
        ("containers ls", "list containers: expected the columns CONTAINER"),
        ("snapshots ls", "list snapshots of overlayfs: expected the columns KEY"),
    ] {
        let (_, run) = refused_at(command, "echo '<html>502 Bad Gateway'; exit 0");
        assert!(run.error().contains(what), "{run:?}");
    }
}

#[test]
fn garbage_among_names_is_a_gap_and_removes_nothing() {
    let node = Node::new();
    node.behaves_at("images ls -q", "echo '<html>502 Bad Gateway'; exit 0");
    let run = node.run(&CLEAN).exits(0);
    assert!(run.json()["gaps"].to_string().contains("where 1 names lead can't be told, <html>502 Bad Gateway first"), "{run:?}");
    assert_nothing_removed(&node);
}

#[test]
fn a_flood_is_ended_and_named() {
    for (command, flood) in [("containers ls", "yes; exit 0"), ("images ls -q", "yes >&2; exit 0")] {
        let (_, run) = refused_at(command, flood);
        assert!(run.error().ends_with(&format!("{}: printed more than 256 MiB", words(command))), "{run:?}");
    }
}

#[test]
fn a_grandchild_that_holds_the_output_open_is_named_and_ended() {
    for command in ["containers ls", "snapshots ls"] {
        let (node, run) = refused_at(command, r#"sleep 600 & echo $! >"$folder/pid"; exit 0"#);
        assert!(run.error().ends_with(&format!("{}: ended, but something it started holds its output open", words(command))), "{run:?}");
        eventually("the grandchild to end", || !runs(node.read("pid").trim()));
    }
}

/// A dead process that nobody has waited for does not run.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

#[test]
fn a_signal_ends_a_run_whose_listing_hangs() {
    let hangs = r#"echo $$ >"$folder/pid.new"; mv "$folder/pid.new" "$folder/pid"; sleep 600; exit 1"#;
    for (command, (signal, code)) in LISTINGS.into_iter().zip([("TERM", 143), ("INT", 130), ("HUP", 129)].into_iter().cycle()) {
        let node = Node::new();
        node.behaves_at(command, hangs);
        let running = node.start(&CLEAN);
        node.wait_for("pid");
        running.signal(signal);
        let run = running.wait().exits(code);
        assert!(run.error().ends_with(": interrupted"), "{run:?}");
        assert_nothing_removed(&node);
        eventually("the listing to end", || !runs(node.read("pid").trim()));
    }
}

#[test]
fn a_signal_during_a_removal_lets_it_come_to_its_end() {
    let node = Node::new();
    node.configure("[pace]\nbatch = 1\n");
    node.behaves_at("images rm", r#"touch "$folder/begun"; until [ -e "$folder/go" ]; do sleep 0.05; done"#);
    let mut running = node.start(&CLEAN);
    node.wait_for("begun");
    running.signal("TERM");
    running.signal("TERM");
    let noted: Value = serde_json::from_str(&node.read("lib/nuke-images/state.json")).expect("a state");
    assert_eq!(noted["removing"].as_array().map(Vec::len), Some(1), "{noted}");
    assert!(running.runs());
    node.write("go", "");
    let run = running.wait().exits(143);
    let json = run.json();
    assert_eq!((&json["summary"]["removed"], &json["summary"]["not_attempted"]), (&json!(1), &json!(1)));
    let outcomes = [run.outcome(A), run.outcome(B)];
    assert!(outcomes.contains(&("removed".into(), String::new())) && outcomes.contains(&("not_attempted".into(), "interrupted".into())));
    assert_eq!(node.removals().len(), 1);
    assert!(node.holds(A) != node.holds(B));
    let noted: Value = serde_json::from_str(&node.read("lib/nuke-images/state.json")).expect("a state");
    assert_eq!(noted["removing"], json!([]));
}

#[test]
fn a_signal_during_the_last_removal_is_told_although_everything_was_done() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        for (rest, outcome) in [("", "removed"), ("exit 1", "failed")] {
            let node = Node::new();
            node.behaves_at("images rm", &format!("kill -s {signal} $PPID; {rest}"));
            let run = node.run(&CLEAN).exits(code);
            assert_eq!((run.outcome(A).0, run.outcome(B).0), (outcome.to_owned(), outcome.to_owned()), "{run:?}");
        }
    }
}

#[test]
fn a_signal_before_a_removal_is_told_also_when_there_is_nothing_to_remove() {
    for arguments in [&CLEAN[..], &["--yes", "--registry", "nowhere.example.com"], &["--yes"], &["observe"], &["--dry-run", "--all"]] {
        for rest in ["", "kill -s TERM $$"] {
            let node = Node::new();
            node.behaves_at("snapshots ls", &format!("kill -s TERM $PPID; {rest}"));
            node.run(arguments).exits(143);
            assert_nothing_removed(&node);
        }
    }
}

#[test]
fn what_is_said_to_be_removed_and_is_not_has_failed() {
    let node = Node::new();
    node.behaves_at("images rm", r#"printf '%s\n' "$@"; exit 0"#);
    let run = node.run(&CLEAN).exits(3);
    for image in [A, B] {
        assert_eq!(run.outcome(image), ("failed".into(), format!("still listed: {}", image.references().iter().min().expect("a name"))));
    }
    assert_eq!((&run.json()["summary"]["failed"], &run.json()["summary"]["removed"]), (&json!(2), &json!(0)));
    assert!(node.holds(A) && node.holds(B));
}

#[test]
fn what_is_gone_although_an_error_was_said_is_removed() {
    let node = Node::new();
    node.behaves_at("images rm", r#"answer "$@" >/dev/null; echo 'ctr: rpc error: code = Unavailable' >&2; exit 1"#);
    let run = node.run(&CLEAN).exits(0);
    assert_eq!(run.outcome(A), ("removed".into(), String::new()));
    assert_eq!(run.json()["summary"]["removed"], json!(2));
}

#[test]
fn a_failing_image_does_not_stop_the_other_and_makes_exit_code_3() {
    let node = Node::new();
    let busy = format!(
        r#"for name; do
             case $name in {}) echo "ctr: unable to delete $name: device busy" >&2 ;; *) (answer "$name") ;; esac
           done; exit 1"#,
        A.tag
    );
    node.behaves_at("images rm", &busy);
    let run = node.run(&CLEAN).exits(3);
    let complaint = format!("still listed: {0}: ctr: unable to delete {0}: device busy", A.tag);
    assert_eq!((run.outcome(A), run.outcome(B)), (("failed".into(), complaint), ("removed".into(), String::new())));
}

#[test]
fn sizes_that_can_not_be_had_are_a_gap_only() {
    let node = Node::new();
    node.behaves_at("snapshots usage", "echo 'ctr: broken' >&2; exit 1");
    let run = node.run(&CLEAN).exits(0);
    assert!(run.json()["gaps"].to_string().contains("measure snapshots: "), "{run:?}");
    assert_eq!(run.outcome(A).0, "removed");
}

#[test]
fn a_program_that_others_may_write_is_refused() {
    let node = Node::new();
    let folder = node.path("bin");
    fs::create_dir(&folder).expect("folder");
    symlink("/bin/true", folder.join("ctr")).expect("link");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("set the mode");
    let endpoint = format!("unix://{}", node.path("sock").display());
    node.write("config.toml", &format!("[runtime]\nendpoint = {endpoint:?}\nctr = {:?}\n", folder.join("ctr")));
    let refused = format!("refuse to start {0}/ctr as root: {0} can be written by others than root", folder.display());
    node.run(&CLEAN).exits(1).complains(&[&refused, "trusted_dirs"]);
    assert_nothing_removed(&node);
}

#[test]
fn a_second_run_is_told_of_the_lock() {
    let node = Node::new();
    node.behaves_at("version", r#"touch "$folder/begun"; until [ -e "$folder/go" ]; do sleep 0.05; done"#);
    let first = node.start(&CLEAN);
    node.wait_for("begun");
    node.run(&CLEAN).exits(4).complains(&["another run holds /run/nuke-images/lock"]);
    node.run(&["observe"]).exits(4);
    node.write("go", "");
    first.wait().exits(0);
}

#[test]
fn with_no_terminal_a_removal_needs_yes() {
    let node = Node::new();
    node.run(&["--all"]).exits(1).complains(&["there is no terminal", "hint: pass --yes to remove, or --dry-run to look"]);
    assert!(node.calls().is_empty());
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    let node = Node::new();
    fs::remove_file(node.path("sock")).expect("take it away");
    node.run(&CLEAN).exits(1).complains(&["error: connect to ", "/sock", "No such file"]);
    Run::of(node.command(&["plan"]).output()).exits(1).complains(&["no runtime answers on"]);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_is_wrong() {
    for (arguments, parts) in [
        (&["--nonsense"][..], &["--nonsense", "Usage:"][..]),
        (&["nonsense"], &["nonsense", "Usage:"]),
        (&["--min-age", "an hour"], &["--min-age", "an hour", "15m"]),
        (&["--include", "("], &["--include", "unclosed group"]),
        (&["--include", ""], &["--include", "matches everything"]),
        (&["--exclude", "["], &["--exclude", "unclosed character class"]),
        (&["--registry", "https://quay.io/"], &["--registry", "https://quay.io/", "localhost:5000"]),
        (&["--keep-unpullable", "maybe"], &["--keep-unpullable", "maybe", "true, false"]),
        (&["--runtime-endpoint", "tcp://x"], &["--runtime-endpoint", "unix:///run/containerd/containerd.sock"]),
        (&["--namespace", "a b"], &["--namespace", "k8s.io"]),
        (&["--output", "xml"], &["--output", "xml", "text, json"]),
        (&["--color", "blue"], &["--color", "auto, always, never"]),
        (&["--verbose", "--quiet"], &["cannot be used with"]),
        (&["plan", "--inventory"], &["--inventory"]),
    ] {
        let run = product(arguments).exits(2).complains(parts);
        assert!(run.stdout.is_empty(), "{run:?}");
    }
}

#[test]
fn a_wrong_configuration_exits_with_2_and_names_place_value_and_way_out() {
    let node = Node::new();
    let path = node.path("config.toml").display().to_string();
    for (text, at, parts) in [
        ("[images]\nmin_age = \"1 houre\"\n", ":2:11", &["1 houre", "15m"][..]),
        ("[images]\nmin_age = 5\n", ":2:11", &["5", "expected a string"]),
        ("[images]\nall = \"yes\"\n", ":2:7", &["\"yes\"", "expected a boolean"]),
        ("[images]\nexclude = [\"a\", \"(\"]\n", ":2:17", &["\"(\"", "unclosed group", "grep -E"]),
        ("[images]\ninclude = \"a\"\n", ":2:11", &["\"a\"", "expected a sequence"]),
        ("[images]\nregistries = [\"https://quay.io/\"]\n", ":2:15", &["https://quay.io/", "quay.io or localhost:5000"]),
        ("[images]\nmin_agee = \"1h\"\n", ":2:1", &["min_agee", "min_age"]),
        ("\n[imagess]\n", ":2:2", &["imagess", "images"]),
        ("[pace]\nbatch = 0\n", ":2:9", &["0", "1 to 1000"]),
        ("[runtime]\nctr = \"ctr\"\n", ":2:7", &["\"ctr\"", "absolute path"]),
        ("[runtime]\nendpoint = \"tcp://x\"\n", ":2:12", &["tcp://x", "unix:///run/containerd/containerd.sock"]),
        ("[runtime]\nnamespace = \"--all\"\n", ":2:13", &["--all", "k8s.io"]),
        ("[safety]\nmin_uptime = \"soon\"\n", ":2:14", &["soon", "15m"]),
        ("[safety]\nallow_idle = 1\n", ":2:14", &["1", "expected a boolean"]),
        ("[images]\nall = true\nall = false\n", ":3:1", &["duplicate key"]),
        ("[images\n", ":1:8", &["unclosed table"]),
    ] {
        node.write("config.toml", text);
        for arguments in [&["config"][..], &CLEAN, &["--dry-run"], &["observe"]] {
            let run = node.run(arguments).exits(2).complains(&["hint: "]);
            assert!(run.error().starts_with(&format!("error: {path}{at}: ")) && run.stdout.is_empty(), "{text:?}: {run:?}");
            assert!(parts.iter().all(|part| run.error().contains(part)), "{parts:?}: {run:?}");
        }
    }
    assert!(node.calls().is_empty());
}

#[test]
fn a_configuration_that_can_not_be_read_exits_with_2_and_is_named() {
    let node = Node::new();
    let path = node.path("config.toml");
    fs::remove_file(&path).expect("take it away");
    node.run(&["config"]).exits(2).complains(&[&format!("{}: No such file", path.display())]);
    fs::create_dir(&path).expect("folder");
    node.run(&["config"]).exits(2).complains(&[&format!("{}: Is a directory", path.display())]);
    fs::remove_dir(&path).expect("take it away");
    node.write("config.toml", &"# \n".repeat(400_000));
    node.run(&["config"]).exits(2).complains(&[&path.display().to_string(), "1200000 bytes", "1 MiB"]);
    fs::write(&path, b"[images]\nall = \xff\n").expect("write");
    node.run(&["config"]).exits(2).complains(&[&path.display().to_string(), "UTF-8"]);
}

#[test]
fn config_shows_each_value_with_its_source() {
    let node = Node::new();
    node.write("etc/nuke-images/config.toml", "[images]\nmin_age = \"2h\"\nall = true\nexclude = [\"a\"]\n[pace]\nbatch = 7\n");
    node.write("etc/nuke-images/config.d/10-age.toml", "[images]\nmin_age = \"3h\"\nexclude = [\"b\"]\n");
    node.write("etc/nuke-images/config.d/20-ignored.txt", "nonsense");
    let shows = |arguments: &[&str]| Run::of(node.command(&[&["config"], arguments].concat()).output()).exits(0);
    let text = shows(&["--namespace", "moby"]).stdout;
    for (key, source) in [
        ("min_age = \"3h\"", "# /etc/nuke-images/config.d/10-age.toml:2"),
        ("all = true", "# /etc/nuke-images/config.toml:3"),
        ("exclude = [\"a\", \"b\"]", "# /etc/nuke-images/config.toml:4, /etc/nuke-images/config.d/10-age.toml:3"),
        ("batch = 7", "# /etc/nuke-images/config.toml:6"),
        ("namespace = \"moby\"", "# --namespace"),
        ("keep_unpullable = true", "# default"),
    ] {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
        assert!(line.ends_with(source) && line.trim_start_matches(key).trim() == source, "{line}");
    }
    assert!(text.parse::<toml::Table>().is_ok(), "what is shown can be written into a file: {text}");
    let json = shows(&["--output", "json", "--registry", "quay.io"]).json();
    assert_eq!(json["images"]["min_age"], json!("3h"));
    assert_eq!((&json["images"]["registries"], &json["images"]["all"]), (&json!(["quay.io"]), &json!(false)));
    assert_eq!((&json["pace"]["batch"], &json["safety"]["allow_idle"]), (&json!(7), &json!(false)));
}

#[test]
fn version_and_help_say_what_a_script_needs() {
    assert_eq!(product(&["--version"]).exits(0).stdout, format!("nuke-images {}\n", env!("CARGO_PKG_VERSION")));
    let help = product(&["--help"]).exits(0).stdout;
    let flowing = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = flowing.split("Exit codes: ").nth(1).expect("exit codes");
    for code in [
        "0 done",
        "1 could not start",
        "2 usage or configuration",
        "3 some removal or the memory step failed",
        "4 another run",
        "130, 143 interrupted",
    ] {
        assert!(codes.contains(code), "{code} in {codes}");
    }
    for option in ["--dry-run", "--yes", "--registry", "--include", "--exclude", "--min-age", "--config", "--output", "--color"] {
        assert!(help.contains(option), "{option}");
    }
}

/// What this machine looks like, saved.
fn saved(node: &Node) -> Value {
    node.run(&["inventory", "--output", "json"]).exits(0).json()
}

/// `plan --inventory` of this value.
fn plan(node: &Node, inventory: &Value, arguments: &[&str]) -> Run {
    node.write("inventory.json", &inventory.to_string());
    product(&[&["plan", "--inventory", &node.path("inventory.json").display().to_string()], arguments].concat())
}

#[test]
fn a_file_name_that_is_no_text_makes_an_error_and_no_json() {
    let node = Node::new();
    let folder = node.path("etc/kubernetes/manifests");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join(OsStr::from_bytes(b"\xff.yaml")), "kind: Pod\n").expect("write");
    let run = node.run(&["inventory", "--output", "json"]).exits(1);
    assert_eq!((run.stdout.as_str(), run.error()), ("", "error: write JSON: path contains invalid UTF-8 characters"));
}

#[test]
fn a_saved_inventory_has_the_same_plan_anywhere() {
    let node = Node::new();
    let inventory = saved(&node);
    let here = node.run(&["plan", "--all", "--output", "json"]).exits(0).json();
    let calls = node.calls();
    let there = plan(&node, &inventory, &["--all", "--output", "json"]).exits(0).json();
    for key in ["images", "summary", "runtime", "node", "gaps", "dry_run"] {
        assert_eq!(here[key], there[key], "{key}");
    }
    assert_eq!(there["summary"]["planned_removals"], json!(2));
    let text = plan(&node, &inventory, &[]).exits(0).complains(&["--all"]).stdout;
    for part in [A.tag, B.tag, USED.tag, "TO REMOVE", "KEPT", "in use", "Would remove 2 of 3 images"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let nothing = plan(&node, &inventory, &["--registry", "quay.io"]).exits(0).stdout;
    assert!(nothing.contains("Nothing to remove: all 3 images are kept (1 in use · 2 not selected)."), "{nothing}");
    assert_eq!(node.calls(), calls, "a saved inventory asks nobody");
}

#[test]
fn a_saved_inventory_needs_no_root() {
    let node = Node::new();
    node.write("inventory.json", &saved(&node).to_string());
    node.write("product", "");
    node.open();
    let (product, file) = (node.path("product").display().to_string(), node.path("inventory.json").display().to_string());
    let as_nobody =
        format!("mount --bind {PRODUCT} {product}; exec setpriv --reuid=65534 --clear-groups {product} plan --inventory {file}");
    let run = Run::of(node.command_of(&["sh", "-c", &as_nobody]).output()).exits(0);
    assert!(run.stdout.contains("Would remove 2 of 3 images"), "{run:?}");
}

#[test]
fn an_inventory_that_can_not_be_read_is_refused_and_named() {
    let node = Node::new();
    let mut inventory = saved(&node);
    let whole = inventory.to_string();
    let path = node.path("inventory.json").display().to_string();
    let refused = |text: &str, parts: &[&str]| {
        node.write("inventory.json", text);
        let run = product(&["plan", "--inventory", &path]).exits(1).complains(parts);
        assert!(run.error().contains(&path) && run.stdout.is_empty(), "{run:?}");
    };
    inventory["schema_version"] = json!(2);
    refused(&inventory.to_string(), &["has schema version 2, this program knows 1"]);
    refused(&whole[..whole.len() / 2], &["EOF while parsing", "line 1 column"]);
    refused("", &["EOF while parsing"]);
    refused("[]", &["line 1"]);
    refused("{\"schema_version\": 1}", &["missing field `node`"]);
    product(&["plan", "--inventory", "/nonexistent.json"]).exits(1).complains(&["error: read /nonexistent.json: No such file"]);
    product(&["plan", "--inventory", "/"]).exits(1).complains(&["error: read /: Is a directory"]);
}

#[test]
fn an_inventory_of_a_newer_form_is_refused_for_its_version_first() {
    let node = Node::new();
    let run = plan(&node, &json!({"schema_version": 2, "images": {"by": "another form"}}), &[]).exits(1);
    assert!(run.error().ends_with("has schema version 2, this program knows 1"), "{run:?}");
}

/// Ends or moves what a terminal shows: ESC, the one-byte CSI, a bell, and marks that turn the direction of writing.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\n\u{202e}gpj";

fn assert_harmless(run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        let harmful = text.chars().find(|&c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c));
        assert_eq!(harmful, None, "{text}");
    }
}

/// Every text of a value followed by [`HOSTILE`], but for those that have a form of their own.
fn made_hostile(value: &Value, key: &str) -> Value {
    match value {
        Value::String(_) if matches!(key, "taken_at" | "booted_at" | "runtime_started_at" | "pulled_at" | "pulled_at_source" | "kind") => {
            value.clone()
        }
        Value::String(text) => json!(format!("{text}{HOSTILE}")),
        Value::Array(items) => items.iter().map(|item| made_hostile(item, key)).collect(),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), made_hostile(value, key))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[test]
fn what_others_chose_never_reaches_a_terminal_as_it_is() {
    let node = Node::new();
    let mut inventory = saved(&node);
    inventory["gaps"] = json!(["a gap"]);
    inventory["images"][0]["pinned"] = json!("label");
    inventory["static_pods"] = json!([{"path": "/etc/kubernetes/manifests/a.yaml", "images": [A.tag]}]);
    let hostile = made_hostile(&inventory, "");
    for arguments in [&[][..], &["--output", "json"], &["--verbose"], &["--exclude", "registry"], &["--registry", "quay.io"]] {
        let run = plan(&node, &hostile, arguments).exits(0);
        assert_harmless(&run);
        assert!(run.stdout.contains("u{1b}") || run.stdout.contains("\\u001b"), "{arguments:?} shows that there was something: {run:?}");
    }
}

#[test]
fn an_error_about_a_hostile_inventory_is_harmless_too() {
    let node = Node::new();
    let mut inventory = saved(&node);
    inventory["images"][0]["users"] = json!([{"kind": HOSTILE, "id": "x"}]);
    let run = plan(&node, &inventory, &[]).exits(1).complains(&["unknown variant"]);
    assert_harmless(&run);
}

#[test]
fn a_hostile_ctr_writes_nothing_on_our_terminal() {
    let node = Node::new();
    let escapes = r"\033[2J\033]0;x\007\302\23331m";
    for (command, script) in [
        ("version", format!("printf 'Server:\\n  Version: {escapes}\\n'; exit 0")),
        ("content ls", format!("printf '{escapes}\\n' >&2; exit 1")),
        ("containers ls", format!("printf '{escapes}\\n'; exit 0")),
        ("images ls -q", format!("printf 'a{escapes}\\n'; exit 0")),
        ("images rm", format!("printf '{escapes}\\n' >&2; exit 1")),
    ] {
        node.behaves_at(command, &script);
        for arguments in [&["--dry-run", "--all"][..], &["inventory"], &CLEAN, &["--dry-run", "--all", "-o", "json", "--verbose"]] {
            assert_harmless(&node.run(arguments));
        }
    }
}

#[test]
fn colours_are_shown_when_asked_for_and_on_a_terminal_that_wants_them() {
    let node = Node::new();
    node.write("inventory.json", &saved(&node).to_string());
    let file = node.path("inventory.json").display().to_string();
    let piped = |color: &[&str], variables: &[(&str, &str)]| {
        let mut command = program(PRODUCT);
        command.args(["plan", "--inventory", &file]).args(color).envs(variables.iter().copied());
        Run::of(command.output()).exits(0).stdout.contains('\u{1b}')
    };
    let on_terminal = |color: &[&str], variables: &[(&str, &str)]| {
        let line = [&[PRODUCT, "plan", "--inventory", &file], color].concat().join(" ");
        let mut command = program("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm").envs(variables.iter().copied());
        let run = Run::of(command.output()).exits(0);
        assert!(run.stdout.contains("Would remove 2 of 3 images"), "{run:?}");
        run.stdout.contains("\u{1b}[1m")
    };
    let (no_color, empty) = ([("NO_COLOR", "1")], [("NO_COLOR", "")]);
    for (color, variables, in_pipe, in_terminal) in [
        (&[][..], &[][..], false, true),
        (&[], &no_color, false, false),
        (&[], &empty, false, true),
        (&["--color", "never"], &[], false, false),
        (&["--color", "always"], &[], true, true),
        (&["--color", "always"], &no_color, true, true),
    ] {
        assert_eq!(piped(color, variables), in_pipe, "{color:?} {variables:?} in a pipe");
        assert_eq!(on_terminal(color, variables), in_terminal, "{color:?} {variables:?} on a terminal");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_early_is_no_error() {
    let node = Node::new();
    let mut inventory = saved(&node);
    // More than a pipe holds.
    let image = inventory["images"][0].clone();
    inventory["images"] = json!(vec![image; 2_000]);
    node.write("inventory.json", &inventory.to_string());
    let file = node.path("inventory.json").display().to_string();
    for arguments in
        [&["plan", "--inventory", &file][..], &["plan", "--inventory", &file, "-o", "json"], &["--help"], &["config"], &["--nonsense"]]
    {
        for stream in ["stdout", "stderr"] {
            let (pipe, held) = std::io::pipe().expect("a pipe");
            let mut command = program(PRODUCT);
            command.args(arguments);
            _ = if stream == "stdout" { command.stdout(held) } else { command.stderr(held) };
            drop(pipe);
            let expected = if arguments == ["--nonsense"] { 2 } else { 0 };
            let run = Run::of(command.output()).exits(expected);
            assert!(!run.stderr.contains("panicked") && (stream == "stderr" || !run.stderr.contains("error: write")), "{run:?}");
        }
    }
}

#[test]
fn a_pipe_that_closes_while_the_plan_is_shown_does_not_hide_the_question() {
    let node = Node::new();
    let line = format!("{PRODUCT} --all --config {} | true", node.path("config.toml").display());
    let mut command = node.command_of(&["script", "--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start it");
    std::io::Write::write_all(child.stdin.as_mut().expect("a terminal"), b"n\n").expect("answer");
    let run = Run::of(child.wait_with_output()).exits(0);
    assert!(run.stdout.contains("[y/N]") && !run.stdout.contains("panicked"), "{run:?}");
    assert_nothing_removed(&node);
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let run = Run::of(program(PRODUCT).arg("config").stdout(full).output()).exits(1);
    assert!(run.error().contains("write to stdout: No space left"), "{run:?}");
}

/// The form of a report, as promised; `…` and 0 stand for any text and any number.
const PROMISED: &str = r#"
{"schema_version": 1, "version": "…", "node": "…", "started_at": "…", "finished_at": "…", "dry_run": false, "trigger": "timer",
 "runtime": {"name": "containerd", "version": "…", "endpoint": "unix://…", "ctr": "/usr/bin/ctr", "crictl": null},
 "images": [{"id": "sha256:…", "references": ["…"], "digests": ["…"], "size_bytes": 0, "reclaimable_bytes": 0,
             "pulled_at": "…", "pulled_at_source": "blob", "last_used_at": null, "users": [{"kind": "container", "id": "…", "pod": "default/web"}],
             "verdict": "keep", "reason": "in_use", "detail": "…", "outcome": null, "error": null}],
 "summary": {"images": 0, "kept": {"in_use": 0}, "planned_removals": 0, "planned_bytes": 0, "removed": 0, "failed": 0, "reclaimed_bytes": 0},
 "disks": [{"path": "…", "before": {"used_bytes": 0, "total_bytes": 0, "used_inodes": 0, "total_inodes": 0}, "after": {}}],
 "memory": null, "gaps": []}"#;
/// Keys that came since; a version of the form may gain keys.
const ADDED: [&str; 13] = [
    "/refusals",
    "/runtime/namespace",
    "/summary/planned",
    "/summary/gone",
    "/summary/spared",
    "/summary/not_attempted",
    "/images/*/removal_order",
    "/summary/bytes_are",
    "/summary/expected_removals",
    "/summary/expected_bytes",
    "/disks/*/holds",
    "/disks/*/before/available_bytes",
    "/target",
];
/// What is unknown or not done is null.
const NULLABLE: [&str; 6] =
    ["/images/*/outcome", "/images/*/error", "/images/*/last_used_at", "/images/*/users/*/pod", "/disks/*/after", "/runtime/crictl"];

fn assert_form(found: &Value, promised: &Value, at: &str) {
    match (promised, found) {
        (_, Value::Null) if NULLABLE.contains(&at) => {}
        (Value::Null, Value::Null | Value::String(_)) | (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
        (Value::Number(_), Value::Number(number)) => assert!(number.is_u64(), "{at}: {number}"),
        (Value::Array(items), Value::Array(found)) => {
            let text = Value::String(String::new());
            for found in found {
                assert_form(found, items.first().unwrap_or(&text), &format!("{at}/*"));
            }
        }
        (Value::Object(_), Value::Object(found)) if at == "/summary/kept" => assert!(found.values().all(Value::is_u64)),
        (Value::Object(keys), Value::Object(found)) if at == "/disks/*/after" => assert!(keys.is_empty() && found.len() == 5),
        (Value::Object(keys), Value::Object(found)) => {
            let missing: Vec<&String> = keys.keys().filter(|key| !found.contains_key(*key)).collect();
            assert!(missing.is_empty(), "{at} lacks {missing:?}");
            for (key, found) in found {
                let at = format!("{at}/{key}");
                match keys.get(key) {
                    Some(promised) => assert_form(found, promised, &at),
                    None => assert!(ADDED.contains(&at.as_str()), "{at} is not promised"),
                }
            }
        }
        (promised, found) => panic!("{at}: {found} where {promised} was promised"),
    }
}

#[test]
fn json_has_exactly_the_promised_keys_and_types() {
    let promised: Value = serde_json::from_str(PROMISED).expect("JSON");
    let node = Node::new();
    node.configure("[pace]\nbatch = 1\n");
    let planned = node.run(&["--dry-run", "--all", "-o", "json"]).exits(0).json();
    node.behaves_at("images rm", &format!(r#"case "$*" in *{}*) exit 1 ;; esac"#, A.tag));
    let done = node.run(&CLEAN).exits(3).json();
    for (report, dry_run) in [(&planned, true), (&done, false)] {
        assert_form(report, &promised, "");
        assert_eq!((&report["schema_version"], &report["dry_run"], &report["trigger"]), (&json!(1), &json!(dry_run), &json!("person")));
        assert_eq!(report["summary"]["images"], json!(3));
        assert_eq!(report["images"].as_array().map(Vec::len), Some(3));
    }
    assert_eq!(planned["disks"][0]["after"], Value::Null);
    assert!(done["disks"][0]["after"]["total_bytes"].as_u64() > Some(0));
    assert_eq!((&done["summary"]["removed"], &done["summary"]["failed"]), (&json!(1), &json!(1)));
}

/// The last runs, as they are remembered.
fn remembered(node: &Node) -> Vec<Value> {
    let state: Value = serde_json::from_str(&node.read("lib/nuke-images/state.json")).expect("a state");
    state["runs"].as_array().expect("runs").clone()
}

#[test]
fn every_run_is_remembered_with_what_it_removed_and_how_it_ended() {
    let node = Node::new();
    node.run(&["--yes"]).exits(0);
    node.behaves_at("version", "echo 'ctr: broken' >&2; exit 1");
    node.run(&CLEAN).exits(1);
    node.behaves_at("images rm", &format!(r#"case "$*" in *{}*) exit 1 ;; esac"#, A.tag));
    node.configure("[pace]\nbatch = 1\n");
    node.run(&CLEAN).exits(3);
    node.run(&["observe"]).exits(0);
    node.run(&["--dry-run"]).exits(0);
    let runs = remembered(&node);
    assert_eq!(runs.iter().map(|run| &run["exit_code"]).collect::<Vec<_>>(), [0, 1, 3]);
    assert!(runs.iter().all(|run| run["trigger"] == "person" && run["started_at"].is_string() && run["finished_at"].is_string()));
    assert_eq!(
        (&runs[0]["only_observed"], &runs[0]["summary"]["kept"]["in_use"], &runs[0]["removed"]),
        (&json!(true), &json!(1), &json!([]))
    );
    assert!(runs[1]["error"].as_str().is_some_and(|error| error.ends_with("exit status 1: ctr: broken")), "{:#}", runs[1]);
    assert_eq!((&runs[2]["summary"]["failed"], &runs[2]["summary"]["removed"]), (&json!(1), &json!(1)));
    let removed = runs[2]["removed"].as_array().expect("a list");
    let digest = B.references()[1].split_once('@').expect("a digest").1.to_owned();
    assert_eq!(removed.len(), 1);
    assert_eq!((&removed[0]["references"], &removed[0]["digests"]), (&json!(B.references()), &json!([digest])));
}

#[test]
fn a_run_that_was_killed_is_remembered_as_one_that_never_said_how_it_ended() {
    let node = Node::new();
    node.behaves_at("images rm", r"kill -9 $PPID; exit 1");
    node.run(&CLEAN).exits(137);
    node.behaves("");
    node.run(&CLEAN).exits(0);
    let runs = remembered(&node);
    assert_eq!(runs.iter().map(|run| &run["exit_code"]).collect::<Vec<_>>(), [&Value::Null, &json!(0)]);
    assert_eq!(runs[0]["finished_at"], Value::Null);
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let node = Node::new();
    for arguments in [&["--dry-run"][..], &["plan", "--all"], &["inventory"], &["config"], &["--dry-run", "--yes", "--all"]] {
        node.run(arguments).exits(0);
    }
    assert!(!node.path("run/nuke-images").exists() && !node.path("lib/nuke-images").exists());
    assert_nothing_removed(&node);
}

#[test]
fn nothing_is_left_behind_by_a_run_but_its_state_and_its_lock() {
    let node = Node::new();
    node.run(&CLEAN).exits(0);
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(node.path(folder))
            .expect("a folder")
            .map(|entry| entry.expect("entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        (names("lib/nuke-images"), names("run/nuke-images"), names("etc")),
        (vec!["state.json".into()], vec!["lock".into()], vec![])
    );
}
