//! The committed files are what is made now, and the bill of materials lists what is in the binary.
//!
//! `cargo run -p generate` writes man page and completions anew.

use std::collections::BTreeSet;
use std::fs;

use generate::{files, root, sbom};
use serde_json::Value;

#[test]
fn man_page_and_completions_are_what_the_command_line_makes_of_them() {
    for (file, text) in files() {
        let committed = fs::read_to_string(root().join(&file)).unwrap_or_default();
        assert!(committed == text, "{} is not what the command line is now; write it anew: cargo run -p generate", file.display());
    }
}

fn page() -> String {
    files().into_iter().find(|(file, _)| file.ends_with("nuke-images.1")).expect("a page").1
}

#[test]
fn the_man_page_tells_every_option_command_and_exit_code() {
    let page = page().replace("\\-", "-");
    for word in ["--dry-run", "--registry", "--keep-unpullable", "--inventory <FILE>", ".SS observe", ".SH \"EXIT STATUS\"", "config.toml"]
    {
        assert!(page.contains(word), "{word}: {page}");
    }
    for code in ["0", "1", "2", "3", "4", "130, 143"] {
        assert!(page.contains(&format!("\\fB{code}\\fR\n")), "{code}: {page}");
    }
}

#[test]
fn completions_know_commands_and_options() {
    for (file, text) in files().iter().filter(|(file, _)| !file.ends_with("nuke-images.1")) {
        for word in ["observe", "keep-unpullable", "inventory"] {
            assert!(text.contains(word), "{}: {word}", file.display());
        }
    }
}

fn bom() -> Value {
    sbom::bom(&sbom::metadata().expect("metadata"), &sbom::checksums().expect("checksums"), 1_795_000_000).expect("a bill of materials")
}

#[test]
fn the_bill_of_materials_lists_what_is_compiled_in_and_nothing_else() {
    let bom = bom();
    let names: BTreeSet<&str> =
        bom["components"].as_array().expect("components").iter().filter_map(|library| library["name"].as_str()).collect();
    for (name, is_in) in [("clap", true), ("regex-automata", true), ("proptest", false), ("lab", false), ("clap_mangen", false)] {
        assert_eq!(names.contains(name), is_in, "{name}: {names:?}");
    }
    assert_eq!(bom["metadata"]["component"]["name"], "nuke-images");
    assert_eq!(bom["metadata"]["timestamp"], "2026-11-18T11:06:40Z");
}

#[test]
fn each_library_has_its_licence_and_checksum_and_what_it_depends_on() {
    let bom = bom();
    let libraries = bom["components"].as_array().expect("components");
    for library in libraries {
        assert!(library["licenses"][0]["expression"].is_string(), "{library}");
        assert_eq!(library["hashes"][0]["content"].as_str().map(str::len), Some(64), "{library}");
    }
    let references: BTreeSet<&str> =
        bom["dependencies"].as_array().expect("graph").iter().filter_map(|entry| entry["ref"].as_str()).collect();
    assert_eq!(references.len(), libraries.len() + 1);
    for entry in bom["dependencies"].as_array().expect("graph") {
        for on in entry["dependsOn"].as_array().expect("a list") {
            assert!(references.contains(on.as_str().unwrap_or_default()), "{on}");
        }
    }
}
