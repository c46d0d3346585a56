//! The memory step from outside: on a machine whose kernel's files are the test's.

use serde_json::json;

use crate::node::{A, Node, Run, USED, product};
use crate::{CLEAN, assert_nothing_removed};

const MEMORY: [&str; 4] = ["--no-images", "--drop-caches", "--output", "json"];

fn dropped(node: &Node) -> String {
    node.read("vm/drop_caches")
}

fn outcome(run: &Run) -> String {
    run.json()["memory"]["outcome"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_kernel_is_told_nothing_unless_that_is_asked_for() {
    let node = Node::new();
    for arguments in
        [&["--dry-run", "--drop-caches"][..], &["--dry-run", "--no-images", "--reclaim", "1GiB"], &["plan", "--drop-caches=all"]]
    {
        let told = node.run(arguments).exits(0).stdout;
        assert!(told.contains("\nWould drop ") || told.contains("\nWould ask kubepods.slice for 1.0 GiB"), "{told}");
        assert_eq!((dropped(&node), node.read("cgroup/kubepods.slice/memory.reclaim")), (String::new(), String::new()));
    }
    assert!(!node.path("run/nuke-images").exists() && !node.path("lib/nuke-images").exists());
    let run = node.run(&CLEAN).exits(0);
    assert_eq!((dropped(&node), node.read("cgroup/kubepods.slice/memory.reclaim")), (String::new(), String::new()));
    assert_eq!(run.json()["memory"], json!(null));
}

#[test]
fn memory_is_given_back_after_the_images_and_told_with_the_figures_of_before_and_after() {
    for (asked, number) in [(None, "1"), (Some("pagecache"), "1"), (Some("slab"), "2"), (Some("all"), "3")] {
        let node = Node::new();
        node.behaves_at("images rm", r#"[ ! -s "$folder/vm/drop_caches" ] || exit 1"#);
        let option = asked.map_or("--drop-caches".to_owned(), |asked| format!("--drop-caches={asked}"));
        let run = node.run(&[&CLEAN[..], &[&option]].concat()).exits(0);
        assert_eq!((dropped(&node).as_str(), node.holds(A), node.holds(USED)), (number, false, true));
        let memory = &run.json()["memory"];
        assert_eq!((&memory["outcome"], &memory["drop_caches"]), (&json!("done"), &json!(asked.unwrap_or("pagecache"))));
        for moment in ["before", "after"] {
            assert_eq!(memory[moment]["free_bytes"], json!(1 << 30), "{memory}");
            assert_eq!(memory[moment]["available_bytes"], json!(8_u64 << 30), "{memory}");
        }
    }
}

#[test]
fn memory_alone_asks_neither_a_runtime_nor_a_person() {
    let node = Node::new();
    node.behaves("exit 1");
    let run = node.run(&MEMORY).exits(0);
    assert_eq!((outcome(&run).as_str(), dropped(&node).as_str()), ("done", "1"));
    assert_eq!((&run.json()["runtime"], &run.json()["images"]), (&json!(null), &json!([])));
    assert_eq!(node.calls(), [""; 0]);
    let text = node.run(&MEMORY[..2]).exits(0).stdout;
    assert!(text.contains(" · memory alone\n\nMemory [") && text.contains("\nMemory given back: 0 B.\n"), "{text}");
    assert!(!text.contains("Nothing to remove"), "{text}");
    assert_nothing_removed(&node);
}

#[test]
fn the_kernel_is_told_also_where_the_run_only_observes() {
    let node = Node::new();
    node.configure("[memory]\ndrop_caches = \"all\"\n");
    let run = node.run(&["--yes", "--output", "json"]).exits(0);
    assert_eq!((outcome(&run).as_str(), dropped(&node).as_str()), ("done", "3"));
    assert_nothing_removed(&node);
}

#[test]
fn a_kernel_that_can_not_be_written_to_costs_exit_code_3_and_names_the_drop_in_but_no_image() {
    let node = Node::new();
    node.write("surroundings", "mount -o remount,ro,bind /proc/sys/vm; mount -o remount,ro,bind /sys/fs/cgroup\n");
    let run = node.run(&MEMORY).exits(3).complains(&["memory could not be given back: ", "Read-only", "50-drop-caches.conf"]);
    assert_eq!(outcome(&run), "failed");
    node.run(&["--no-images", "--reclaim", "1GiB"]).exits(3).complains(&["memory.reclaim: Read-only", "50-reclaim.conf"]);
    let run = node.run(&[&CLEAN[..], &["--drop-caches"]].concat()).exits(3);
    assert_eq!((outcome(&run).as_str(), run.outcome(A).0.as_str()), ("failed", "removed"));
}

#[test]
fn who_is_not_root_is_told_so_with_exit_code_3() {
    let node = Node::new();
    node.open();
    let words = [crate::PRODUCT, "--no-images", "--drop-caches", "--config", "/dev/null"];
    let command = node.command_of(&[&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"], &words[..]].concat()).output();
    let run = Run::of(command).exits(3).complains(&["Permission denied", "that takes root", "50-drop-caches.conf"]);
    assert!(run.stdout.contains("Memory could not be given back"), "{run:?}");
    assert_eq!(dropped(&node), "");
}

#[test]
fn a_node_with_cgroup_v1_is_told_what_works_there() {
    let node = Node::new();
    std::fs::remove_file(node.path("cgroup/cgroup.controllers")).expect("remove");
    node.run(&["--no-images", "--reclaim", "1GiB"]).exits(3).complains(&["cgroup v1", "drop_caches", "50-reclaim.conf"]);
}

#[test]
fn the_cgroup_that_is_configured_is_asked_and_a_flag_puts_the_other_way_aside() {
    let node = Node::new();
    node.configure("[memory]\ndrop_caches = \"all\"\ncgroup = \"kubelet.slice\"\n");
    let run = node.run(&["--no-images", "--reclaim", "100MiB", "--output", "json"]).exits(0);
    assert_eq!(node.read("cgroup/kubelet.slice/memory.reclaim"), (100 << 20).to_string());
    assert_eq!(run.json()["memory"]["reclaim"], json!({"cgroup": "kubelet.slice", "asked_bytes": 100 << 20, "given_back_bytes": 0}));
    assert_eq!(dropped(&node), "");
}

#[test]
fn while_enough_is_available_memory_is_left_alone_and_that_is_said() {
    let node = Node::new();
    node.configure("[memory]\ndrop_caches = \"all\"\nwhen_available_below = \"10%\"\n");
    let run = node.run(&["--no-images"]).exits(0);
    assert!(run.stdout.contains("Memory was left alone: 8.0 GiB (50 %) are available, and it was to be less than 10 %."), "{run:?}");
    assert_eq!(dropped(&node), "");
    node.configure("[memory]\ndrop_caches = \"all\"\nwhen_available_below = \"51%\"\n");
    node.run(&["--no-images"]).exits(0);
    assert_eq!(dropped(&node), "3");
}

#[test]
fn no_images_is_for_a_clean_up_that_has_something_else_to_do() {
    product(&["--no-images", "--config", "/dev/null"]).exits(2).complains(&["--drop-caches", "--reclaim", "[memory]"]);
    product(&["--no-images", "observe"]).exits(2).complains(&["--no-images belongs to a clean-up"]);
}

#[test]
fn a_second_run_of_memory_alone_is_told_of_the_lock() {
    let node = Node::new();
    node.behaves_at("containers ls", r#": >"$folder/reached"; until [ -e "$folder/go" ]; do sleep 0.02; done"#);
    let first = node.start(&CLEAN);
    node.wait_for("reached");
    node.run(&MEMORY).exits(4);
    assert_eq!(dropped(&node), "");
    node.write("go", "");
    first.wait().exits(0);
}
