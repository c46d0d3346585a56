//! The binary stands alone: it needs no library, no interpreter, no file.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::output;

use crate::{program, project, release, run, sh, text, whole_release};

const LARGEST: u64 = 6 << 20;
const SCENARIO: &str = "tests/scenarios/an_image_goes_only_if_each_of_its_names_is_selected/inventory.json";

fn assert_stands_alone(binary: &Path, machine: &str) -> Result<()> {
    let elf = run("readelf", &["--wide", "--file-header", "--program-headers", "--sections", text(binary)?])?;
    ensure!(elf.contains(machine), "{machine}: {elf}");
    for foreign in ["INTERP", "DYNAMIC", ".dynamic", ".symtab", ".debug"] {
        ensure!(!elf.contains(foreign), "{foreign}: {elf}");
    }
    let size = fs::metadata(binary)?.len();
    ensure!(size <= LARGEST, "{size} bytes, at most {LARGEST}");
    Ok(())
}

/// A root that holds nothing but the program, what is started it with, and an inventory.
fn empty_root(programs: &[&Path]) -> Result<tempfile::TempDir> {
    let root = tempfile::tempdir()?;
    for program in programs {
        let name = program.file_name().context("a program")?;
        fs::copy(program, root.path().join(name)).with_context(|| format!("copy {}", program.display()))?;
    }
    fs::copy(project().join(SCENARIO), root.path().join("inventory.json"))?;
    Ok(root)
}

fn chroot(root: &Path, command: &[&str]) -> Result<String> {
    output(program("chroot").arg(root).args(command))
}

fn assert_judges_in(root: &Path, command: &[&str]) -> Result<()> {
    let plan = chroot(root, &[command, &["plan", "--inventory", "/inventory.json", "--output", "json"]].concat())?;
    let plan: serde_json::Value = serde_json::from_str(&plan)?;
    ensure!(plan["summary"]["images"].as_u64().is_some_and(|images| images > 1), "{plan}");
    Ok(())
}

#[test]
fn the_binary_needs_no_library_and_no_interpreter_and_is_small() -> Result<()> {
    assert_stands_alone(&release()?.join("nuke-images-x86_64"), "X86-64")
}

#[test]
fn the_binary_names_no_folder_of_the_machine_that_built_it() -> Result<()> {
    let bytes = fs::read(release()?.join("nuke-images-x86_64"))?;
    let home = sh("echo \"${CARGO_HOME:-$HOME/.cargo}\"", &[])?;
    let toolchain = run("rustc", &["--print", "sysroot"])?;
    for folder in [text(project())?, home.trim(), toolchain.trim()] {
        ensure!(!bytes.windows(folder.len()).any(|window| window == folder.as_bytes()), "{folder} is in the binary");
    }
    Ok(())
}

/// Each error asks for a backtrace there, and in a static program that is a way of its own.
#[test]
fn the_binary_tells_an_error_also_where_backtraces_are_asked_for() -> Result<()> {
    let binary = release()?.join("nuke-images-x86_64");
    for variable in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        let said = sh(
            "code=0; env \"$2=1\" \"$1\" plan --inventory /nonexistent 2>&1 || code=$?; echo \"exit code $code\"",
            &[&binary, Path::new(variable)],
        )?;
        ensure!(said.contains("error: read /nonexistent") && said.contains("exit code 1\n"), "{variable}: {said}");
    }
    Ok(())
}

#[test]
fn the_binary_judges_a_node_in_an_empty_chroot() -> Result<()> {
    let root = empty_root(&[&release()?.join("nuke-images-x86_64")])?;
    assert_judges_in(root.path(), &["/nuke-images-x86_64"])?;
    let mut starts = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        chroot(root.path(), &["/nuke-images-x86_64", "--version"])?;
        starts.push(start.elapsed());
    }
    eprintln!("started in {:?}", starts.iter().min());
    Ok(())
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn the_binary_for_aarch64_stands_alone_too_and_judges_a_node() -> Result<()> {
    let binary = whole_release()?.join("nuke-images-aarch64");
    assert_stands_alone(&binary, "AArch64")?;
    let root = empty_root(&[&binary, Path::new("/usr/bin/qemu-aarch64-static")])?;
    assert_judges_in(root.path(), &["/qemu-aarch64-static", "/nuke-images-aarch64"])
}
