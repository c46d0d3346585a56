//! A real containerd of our own: for the tests on real nodes, the demo and the benchmarks.
//!
//! [`Containerd`] is the daemon and its store, [`Image`] what goes into it, [`Pod`] what runs on it, [`Node`] the machine that the product
//! believes to be on; [`BootedMachine`] is one that really boots. Everything lives in one folder under the machine's temporary one and in Linux namespaces that
//! end with it; nothing is sent to anything but loopback. It needs root, Debian's package mirror the first time, and
//! gcc. It never judges what the product does: that is the tests' job.
//!
//! [`Machine`] is a machine without containerd, and [`Replay`] a `crictl` on it that answers what was recorded.

mod booted;
mod booted_cri;
mod containerd;
mod image;
mod journal;
mod machine;
mod node;
mod packages;
mod pods;
mod registry;
mod replay;
mod shell;
mod store;

pub use booted::BootedMachine;
pub use containerd::{Containerd, Settings, make_disk};
pub use image::{Image, Stored};
pub use journal::Entry;
pub use machine::Machine;
pub use node::{Node, Run, Running, Usage};
pub use packages::{kustomize, own_crictl, prometheus};
pub use pods::{Pod, PodState};
pub use replay::Replay;
pub use shell::{output, wait_for};
