//! The demonstration: a node with a history, the dry run, the clean-up, and what is left.
//!
//! `tests/demo` starts it with the built product in `NUKE_IMAGES_BIN`. The product runs on a containerd of the lab's own;
//! nothing on the machine itself is touched, and all of it is gone when this ends.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Containerd, Image, Node, Settings, Stored};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const REGISTRY: &str = "registry.example.com";

fn main() -> Result<()> {
    let lab = Containerd::with(&Settings { version: "1.7", ..Settings::default() })?;
    say("A containerd 1.7 of its own, with a registry on loopback. It is filled with a node's history: please wait.");
    let (stay, go) = fill(&lab)?;
    let mut node = lab.node()?;
    node.set("images.registries", &format!("[\"{REGISTRY}\"]"))?;
    node.set("images.exclude", "[\"/base/\"]")?;
    node.write("/etc/kubernetes/manifests/proxy.yaml", &static_pod("edge/proxy:3"))?;

    say("What is on the node: nuke-images inventory");
    show(&node, &["inventory"])?;
    say("What would go, and why the rest stays: nuke-images --dry-run");
    show(&node, &["--dry-run"])?;
    let used = lab.used_bytes()?;
    say("The clean-up: nuke-images --yes");
    show(&node, &["--yes"])?;
    say("What is left: ctr images ls -q");
    let left = lab.references()?;
    for name in &left {
        println!("{name}");
    }
    say("Once more: nuke-images --yes");
    show(&node, &["--yes"])?;

    for image in &stay {
        ensure!(image.references.iter().all(|name| left.contains(name)), "{} should have stayed", image.name());
        ensure!(lab.can_run(image.name())?, "a new container of {} can't be made", image.name());
    }
    for image in &go {
        ensure!(image.references.iter().all(|name| !left.contains(name)), "{} should have gone", image.name());
        ensure!(image.blobs.iter().all(|blob| !lab.has_file(blob)), "content of {} is left", image.name());
    }
    let (kib, freed) = (1 << 10, used.saturating_sub(lab.used_bytes()?));
    say(&format!(
        "Checked: {} images that had to stay have all their references and a new container of each runs; {} that had to go left \
         nothing behind, and the disk has {} KiB less in use.",
        stay.len(),
        go.len(),
        freed / kib
    ));
    Ok(())
}

/// Images that must stay, and images that must go.
fn fill(lab: &Containerd) -> Result<(Vec<Stored>, Vec<Stored>)> {
    let app = |name: &str| Image::new(&format!("{REGISTRY}/{name}")).content(name).layers(4, 2).layer_size(2 << 20);
    let pulled = |image: &Image, age: Duration| -> Result<Stored> {
        let image = lab.pull(image)?;
        lab.age(&image, age)?;
        Ok(image)
    };
    let pause = pulled(&app("pause:3.9"), 90 * DAY)?;
    let cart = pulled(&app("shop/cart:1.10").tag(&format!("{REGISTRY}/shop/cart:latest")), 2 * DAY)?;
    lab.run(cart.name(), "cart")?;
    let job = pulled(&app("shop/report:7"), 9 * DAY)?;
    lab.stopped(job.name(), "report")?;
    let created = pulled(&app("shop/mail:2").index(), 4 * DAY)?;
    lab.create(created.name(), "mail")?;
    let static_pod = pulled(&app("edge/proxy:3"), 30 * DAY)?;
    let pinned = pulled(&app("edge/agent:5"), 30 * DAY)?;
    lab.label(pinned.name(), "io.cri-containerd.pinned=pinned")?;
    let excluded = pulled(&app("base/debug-tools:1"), 50 * DAY)?;
    let foreign = pulled(&Image::new("quay.example.net/other/tool:1").content("foreign"), 50 * DAY)?;
    let loaded = lab.import(&app("airgap/console:1"))?;
    lab.age(&loaded, 12 * DAY)?;
    let young = lab.pull(&app("shop/search:9"))?;
    let mut moved = pulled(&app("shop/stock:stable").content("the old one"), 7 * DAY)?;
    lab.run(moved.name(), "stock")?;
    let new = pulled(&app("shop/stock:stable").content("the new one"), 2 * HOUR)?;
    // Its tag leads to another image by now; what the running container stands on is left with a digest and an ID.
    moved.references.retain(|name| *name != moved.names[0]);
    moved.names.clone_from(&moved.references);

    let mut go = vec![new];
    for (name, days) in [("shop/cart:1.1", 60), ("shop/cart:1.8", 20), ("shop/cart:1.9", 11), ("shop/search:8", 15)] {
        go.push(pulled(&app(name), days * DAY)?);
    }
    go.push(pulled(&app("shop/mail:1").index().tag(&format!("{REGISTRY}/shop/mail:old")), 33 * DAY)?);
    let stranded = pulled(&app("shop/old:1"), 70 * DAY)?;
    let names: Vec<&str> = stranded.references.iter().map(String::as_str).filter(|name| !name.starts_with("sha256:")).collect();
    lab.ctr(&[&["images", "rm"], &names[..]].concat())?;
    go.push(stranded);
    Ok((vec![pause, cart, job, created, static_pod, pinned, excluded, foreign, loaded, young, moved], go))
}

fn static_pod(image: &str) -> String {
    format!("kind: Pod\nmetadata: {{name: proxy}}\nspec:\n  containers:\n  - {{name: proxy, image: {REGISTRY}/{image}}}\n")
}

fn show(node: &Node, arguments: &[&str]) -> Result<()> {
    let color = if std::io::stdout().is_terminal() { "always" } else { "never" };
    let run = node.run(&[arguments, &["--color", color]].concat())?.exits(0)?;
    print!("{}", run.stdout);
    Ok(())
}

fn say(what: &str) {
    println!("\n== {what}\n");
}
