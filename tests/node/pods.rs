//! Real pods on a real containerd, cleaned in each set-up that the product may find: ctr alone, crictl alone, both.
//!
//! Images come from a registry through CRI and pods are made as the kubelet makes them. A hazard is a function of
//! containerd's version: it puts onto the node what must stay, cleans everything in each set-up, and demands that all of it
//! is there and serves a new pod, while an unused image beside it is gone. CI sees each hazard on 1.7, and on every version
//! where versions differ; `--slow` sees it on all of them.

use anyhow::{Context, Result, ensure};
use lab::{Containerd, Image, Node, PodState, Stored};
use serde_json::Value;

use crate::{CLEAN, DAY, assert_gone, verdict};

/// Two tests of each hazard: on 1.7, and when time doesn't matter on the other versions. One of those on every version.
macro_rules! hazards {
    (on_every_version: $($hazard:ident)+) => {$(
        mod $hazard {
            #[test]
            fn on_every_version() -> anyhow::Result<()> {
                crate::pods::on(&["1.6", "1.7", "2.1"], super::$hazard)
            }
        }
    )+};
    ($($hazard:ident)+) => {$(
        mod $hazard {
            #[test]
            fn on_1_7() -> anyhow::Result<()> {
                crate::pods::on(&["1.7"], super::$hazard)
            }

            #[test]
            #[ignore = "slow: tests/all --slow"]
            fn on_1_6_and_2_1() -> anyhow::Result<()> {
                crate::pods::on(&["1.6", "2.1"], super::$hazard)
            }
        }
    )+};
}

mod calls;
mod names;
mod pause;
mod races;
mod uses;
mod volumes;

/// How the product reaches containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetUp {
    Ctr,
    Crictl,
    Both,
}

const SET_UPS: [SetUp; 3] = [SetUp::Ctr, SetUp::Crictl, SetUp::Both];
/// Those in which the product asks crictl.
const WITH_CRICTL: [SetUp; 2] = [SetUp::Crictl, SetUp::Both];

impl SetUp {
    fn node(self, lab: &Containerd) -> Result<Node<'_>> {
        let node = crate::node(lab)?;
        match self {
            Self::Ctr => Ok(node),
            Self::Crictl => node.with_crictl()?.without_ctr(),
            Self::Both => node.with_crictl(),
        }
    }
}

fn on(versions: &[&'static str], hazard: fn(&'static str) -> Result<()>) -> Result<()> {
    versions.iter().try_for_each(|version| hazard(version).with_context(|| format!("on containerd {version}")))
}

/// Does the same in each set-up.
fn in_each(set_ups: &[SetUp], act: impl Fn(SetUp) -> Result<()>) -> Result<()> {
    set_ups.iter().try_for_each(|set_up| act(*set_up).with_context(|| format!("with {set_up:?}")))
}

/// An image as the kubelet pulls it, a day ago.
fn pulled(lab: &Containerd, image: &Image) -> Result<Stored> {
    let image = lab.cri_pull(image)?;
    lab.age(&image, DAY)?;
    Ok(image)
}

fn app(lab: &Containerd, name: &str) -> Result<Stored> {
    pulled(lab, &Image::new(&format!("registry.example.com/{name}")).content(name))
}

/// A node is never idle: a pod runs on it.
fn neighbour(lab: &Containerd) -> Result<Stored> {
    let image = app(lab, "neighbour:1")?;
    lab.pod("neighbour", image.name(), PodState::Running)?;
    Ok(image)
}

/// Cleans everything in each set-up: each of `stays` stays for its reason, an unused image beside them goes.
fn keeps(lab: &Containerd, stays: &[(&Stored, &str)]) -> Result<()> {
    in_each(&SET_UPS, |set_up| keeps_on(&set_up.node(lab)?, stays).map(drop))
}

/// The same on one machine; with what the product said.
fn keeps_on(node: &Node, stays: &[(&Stored, &str)]) -> Result<Value> {
    let lab = node.containerd();
    let goes = app(lab, "goes:1")?;
    let json = node.run(&CLEAN)?.exits(0)?.json()?;
    for (image, reason) in stays {
        assert_eq!(verdict(&json, image), ("keep", *reason, ""), "{json:#}");
        assert_serves(lab, image)?;
    }
    assert_eq!(verdict(&json, &goes), ("remove", "unused", "removed"), "{json:#}");
    assert_gone(lab, &goes)?;
    Ok(json)
}

/// It is there with all its references, and a new pod can be made from it with what is on the node alone.
fn assert_serves(lab: &Containerd, image: &Stored) -> Result<()> {
    let references = lab.references()?;
    let missing: Vec<_> = image.references.iter().filter(|name| !references.contains(*name)).collect();
    ensure!(missing.is_empty(), "{missing:?} should have stayed");
    // The lab would pull it.
    let pause = lab.sandbox_image()?;
    ensure!(references.contains(&pause), "{pause} should have stayed");
    let pod = lab.pod("probe", image.name(), PodState::Running).with_context(|| format!("make a pod from {}", image.name()))?;
    pod.remove()
}
