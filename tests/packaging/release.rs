//! The folder of a release is whole, its sums hold, and whoever makes it again gets the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{kept, make, project, release, run, sh, text, whole_release};

fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn expected(architectures: &[&str]) -> BTreeSet<String> {
    let common = "SHA256SUMS _nuke-images nuke-images.1 nuke-images.bash nuke-images.cdx.json nuke-images.fish nuke-images-image.tar";
    let each = architectures.iter().flat_map(|name| ["", ".deb", ".rpm"].map(|kind| format!("nuke-images-{name}{kind}")));
    common.split(' ').map(str::to_owned).chain(each).collect()
}

fn assert_whole(folder: &Path, architectures: &[&str]) -> Result<()> {
    let (found, expected) = (names(folder)?, expected(architectures));
    ensure!(found == expected, "{found:?}");
    let sums = sh("cd \"$1\" && sha256sum --check --strict SHA256SUMS", &[folder])?;
    ensure!(sums.lines().count() == expected.len() - 1, "each file but the sums themselves has one: {sums}");
    Ok(())
}

#[test]
fn a_release_is_whole_and_its_sums_hold() -> Result<()> {
    assert_whole(release()?, &["x86_64"])
}

#[test]
fn a_sum_that_does_not_hold_is_seen() -> Result<()> {
    let folder = tempfile::tempdir()?;
    sh("cp \"$1\"/* \"$2\" && echo more >>\"$2/nuke-images.1\"", &[release()?, folder.path()])?;
    let checked = assert_whole(folder.path(), &["x86_64"]);
    ensure!(
        checked.is_err_and(|error| format!("{error:#}").contains("1 computed checksum did NOT match")),
        "the sums hold for a changed file"
    );
    Ok(())
}

#[test]
fn packages_and_image_made_again_are_the_same_bytes() -> Result<()> {
    let again = tempfile::tempdir()?;
    make(project(), &["--only", "x86_64"], Ok(again.path().to_owned()))?;
    run("diff", &["--recursive", text(release()?)?, text(again.path())?]).map(drop)
}

#[test]
#[ignore = "slow: tests/all --slow"]
fn a_whole_release_is_whole_and_its_sums_hold() -> Result<()> {
    assert_whole(whole_release()?, &["aarch64", "x86_64"])
}

/// With its own standard library, where that is built: nothing is shared but the compiler.
#[test]
#[ignore = "slow: tests/all --slow"]
fn a_release_made_in_another_folder_is_the_same_bytes() -> Result<()> {
    let elsewhere = tempfile::tempdir()?;
    let copy = "git -C \"$1\" ls-files -z --cached --others --exclude-standard | tar -C \"$1\" -c --null -T - | tar -C \"$2\" -x";
    sh(copy, &[project(), elsewhere.path()])?;
    let again = make(elsewhere.path(), &["--only", "x86_64"], Ok(elsewhere.path().join("out")))?;
    run("diff", &["--recursive", text(release()?)?, text(&again)?]).map(drop)
}

/// By the schema that comes with `CycloneDX`'s own library for Python.
#[test]
#[ignore = "slow: tests/all --slow"]
fn the_bill_of_materials_is_valid_cyclonedx() -> Result<()> {
    let python = kept("python")?;
    let install =
        "[ -e \"$1/bin/pip\" ] || python3 -m venv \"$1\"; \"$1/bin/pip\" install --quiet 'cyclonedx-python-lib[json-validation]>=11,<12'";
    sh(install, &[&python])?;
    let check = "import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
validate = JsonStrictValidator(SchemaVersion.V1_5).validate_str
assert validate(text.replace('bomFormat', 'bomForm')), 'the schema accepts anything'
print(validate(text))";
    let interpreter = python.join("bin/python");
    let bom = release()?.join("nuke-images.cdx.json");
    let verdict = run(text(&interpreter)?, &["-c", check, text(&bom)?]).context("validate the bill of materials")?;
    ensure!(verdict.trim() == "None", "{verdict}");
    Ok(())
}
