//! How fast the product is, beside other ways to do the same, on a real containerd and from the same saved state.
//!
//! `tests/bench/run` starts it with the built product in `NUKE_IMAGES_BIN`. Each way is measured some times, in turns, so that
//! noise hits all alike, and from a fresh copy of the same disk. What each round brought is printed, then the medians.
//! It judges nothing: the figures do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::state::State;
use crate::table::print_table;
use crate::ways::{SETUPS, Setup, Trial, Way, plan, programs, trial};

mod state;
mod table;
mod ways;

const COUNTS: [usize; 2] = [300, 1500];

fn main() -> Result<()> {
    let counts: Vec<usize> =
        std::env::args().skip(1).map(|count| count.parse().context("read a number of images")).collect::<Result<_>>()?;
    let rounds = std::env::var("ROUNDS").map_or(Ok(3), |rounds| rounds.parse()).context("read ROUNDS")?;
    ensure!(rounds >= 1, "ROUNDS is at least 1");
    for count in if counts.is_empty() { COUNTS.to_vec() } else { counts } {
        let state = State::of(count)?;
        print_surroundings(&state)?;
        let trials = measure(&state, rounds)?;
        let setups = SETUPS.iter().filter(|setup| trials.iter().any(|trial| trial.way == Way::Product(**setup)));
        let planning = setups.map(|&setup| Ok((setup, plan(&state, setup, rounds)?, programs(&state, setup)?)));
        print_table(count, &trials, &planning.collect::<Result<Vec<_>>>()?);
        println!("load at the end: {}", load()?);
    }
    Ok(())
}

/// All ways in turns, each round beginning with another one.
fn measure(state: &State, rounds: usize) -> Result<Vec<Trial>> {
    let real = std::env::var_os("CRICTL").is_some();
    let mut ways: Vec<Way> = SETUPS.iter().copied().map(Way::Product).chain([Way::OneCall, Way::Shell]).collect();
    ways.extend([Way::Rmi, Way::Prune].into_iter().filter(|_| real));
    let only = std::env::var("ONLY").unwrap_or_default();
    ways.retain(|way| only.split(',').any(|part| way.name().contains(part)));
    ensure!(!ways.is_empty(), "ONLY names no way");
    let mut trials = Vec::new();
    for round in 0..rounds {
        ways.rotate_left(round.min(1));
        for &way in &ways {
            let trial = trial(state, way)?;
            println!("{} images, round {}: {trial} (load {})", state.count(), round + 1, load()?);
            trials.push(trial);
        }
    }
    Ok(trials)
}

fn print_surroundings(state: &State) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    println!("\n{} unused images of three references each, and what a pod needs", state.count());
    println!("load before: {} on {cores} cores, kernel {}", load()?, read("/proc/sys/kernel/osrelease")?);
    println!("ext4 in a file; {}", state.versions()?);
    match std::env::var_os("STATIC").filter(|value| !value.is_empty()) {
        Some(_) => println!("nuke-images as it is shipped: static, with musl"),
        None => println!("nuke-images as cargo builds it here, with the machine's C library"),
    }
    match std::env::var_os("CRICTL") {
        Some(_) => println!("crictl as CRICTL names it"),
        None => println!("crictl is the tests' own client: crictl's own ways are left out"),
    }
    Ok(())
}

/// Of one, five and fifteen minutes.
fn load() -> Result<String> {
    let load = read("/proc/loadavg")?;
    Ok(load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

impl Setup {
    fn name(self) -> &'static str {
        match self {
            Self::Ctr => "nuke-images, ctr only",
            Self::Crictl => "nuke-images, crictl only",
            Self::Both => "nuke-images, both",
        }
    }
}
