//! Metrics out of the service's sandbox: into the folder that Debian's `node_exporter` reads, and into one that is somebody else's.

use anyhow::Result;
use lab::BootedMachine;

use crate::{installed, machine, node, run, start, story};

const USUAL: &str = "/var/lib/prometheus/node-exporter";
const FOREIGN: &str = "/srv/metrics";

/// Owner and mode of the file in that folder, and the folder's only other content.
fn written(machine: &BootedMachine, folder: &str) -> Result<String> {
    machine.sh(&format!("cd {folder} && stat --format='%U %a' nuke-images.prom && ls -A"))
}

#[test]
fn metrics_leave_the_sandbox_for_everybody_to_read_also_into_a_folder_that_is_somebody_elses() -> Result<()> {
    let machine = machine("bookworm")?;
    // As `adduser` makes it for an exporter that was not packaged.
    machine.sh(&format!("mkdir -p {USUAL} {FOREIGN} && chown 1000:1000 {FOREIGN} && chmod 755 {FOREIGN}"))?;
    installed(&machine)?;
    node(&machine)?;
    start(&machine)?.exits(0)?;
    assert_eq!(written(&machine, USUAL)?, "root 644\nnuke-images.prom\n");
    let figures = machine.read(&format!("{USUAL}/nuke-images.prom"))?;
    assert!(figures.contains("\nnuke_images_last_run_removals{outcome=\"removed\"} 1\n"), "{figures}");

    machine.write("/etc/nuke-images/config.d/60-metrics.toml", &format!("[metrics]\ntextfile = \"{FOREIGN}\"\n"))?;
    start(&machine)?.exits(0)?;
    assert!(story(&machine)?.contains("metrics can't be written: "), "not let through yet: {}", story(&machine)?);
    assert!(!machine.exists(&format!("{FOREIGN}/nuke-images.prom")));
    let told = run(&machine, &["doctor"])?.exits(1)?.stdout;
    assert!(told.contains(&format!("the service may not write to {FOREIGN}")), "{told}");
    run(&machine, &["install"])?.exits(0)?;
    run(&machine, &["doctor"])?.exits(0)?;
    start(&machine)?.exits(0)?;
    assert_eq!(written(&machine, FOREIGN)?, "root 644\nnuke-images.prom\n");

    machine.sh(&format!("rm /etc/nuke-images/config.d/60-metrics.toml; chown 1000:1000 {USUAL}; rm {USUAL}/*"))?;
    run(&machine, &["install"])?.exits(0)?;
    start(&machine)?.exits(0)?;
    assert!(story(&machine)?.contains("metrics can't be written; name the folder as textfile in [metrics]"), "{}", story(&machine)?);
    let told = run(&machine, &["doctor"])?.exits(0)?.stdout;
    assert!(told.contains(&format!("! metrics   {USUAL} is somebody else's than root's")), "{told}");
    Ok(())
}
