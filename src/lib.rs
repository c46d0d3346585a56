//! `nuke-images`: removes the container images that nothing on a Kubernetes node needs.
//!
//! Four stages, four values, one direction: facts are collected into an [`inventory`], judged by a [`policy`] into a
//! [`plan`], carried out by [`execute`], and told in a [`report`].

// Pure: no process, no file, no environment, no clock, no log.
pub mod inventory;
pub mod plan;
pub mod policy;
pub mod reference;
pub mod report;
pub mod units;

// The outside world, one kind of it a module.
pub mod disk;
pub mod doctor;
pub mod files;
pub mod kubelet;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod process;
pub mod runtime;
pub mod signals;
pub mod state;
pub mod static_pods;
pub mod timer;
pub mod turn;
pub mod uses;

// Facts in, acts out.
pub mod collect;
pub mod execute;

// The program itself: onto a node and off it.
pub mod install;

// What a person meets.
pub mod cli;
pub mod commands;
pub mod config;
pub mod journal;
pub mod logging;
pub mod output;
