//! `nuke-images`: removes the container images that nothing on a Kubernetes node needs.
//!
//! Four stages, four values, one direction: facts are collected into an [`inventory`], judged by a [`policy`] into a
//! [`plan`], carried out by [`execute`], and told in a [`report`].

pub mod inventory;
pub mod plan;
pub mod policy;
pub mod process;
pub mod reference;
pub mod report;
pub mod signals;
pub mod units;
