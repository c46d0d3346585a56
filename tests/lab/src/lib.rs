//! A real containerd of our own: for the tests on real nodes, the demo and the benchmarks.
//!
//! [`Containerd`] is the daemon and its store, [`Image`] what goes into it, [`Pod`] what runs on it, [`Node`] the machine that the product
//! believes to be on. Everything lives in one folder under the machine's temporary one and in Linux namespaces that
//! end with it; nothing is sent to anything but loopback. It needs root, Debian's package mirror the first time, and
//! gcc. It never judges what the product does: that is the tests' job.

mod containerd;
mod image;
mod journal;
mod node;
mod packages;
mod pods;
mod registry;
mod shell;
mod store;

pub use containerd::{Containerd, Settings};
pub use image::{Image, Stored};
pub use journal::Entry;
pub use node::{Node, Run, Running};
pub use pods::{Pod, PodState};
pub use shell::{output, wait_for};
