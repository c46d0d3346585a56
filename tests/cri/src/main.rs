//! A CRI client with crictl's command line: for tests on machines that have no crictl.
//!
//! It knows the calls that the product makes and those that set up pods. What it prints is what crictl prints, compared
//! by test with recordings; what it doesn't know is an error. It is no part of the product.

mod cli;
mod commands;
mod json;
mod messages;
mod service;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::task::LocalSet;

use cli::{Cli, Verb};
use service::Service;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("start").and_then(|runtime| LocalSet::new().block_on(&runtime, run(Cli::parse())));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log("error", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let endpoint = cli.runtime_endpoint.as_deref().context("no --runtime-endpoint")?;
    let runtime = async || Service::runtime(endpoint, cli.timeout).await;
    let images = async || Service::images(cli.image_endpoint.as_deref().unwrap_or(endpoint), cli.timeout).await;
    match cli.verb {
        Verb::Version => commands::version(&runtime().await?).await,
        Verb::Info(_) => commands::info(&runtime().await?).await,
        Verb::Images(_) => commands::images(&images().await?).await,
        Verb::Ps { all, .. } => commands::containers(&runtime().await?, all).await,
        Verb::Pods(_) => commands::pods(&runtime().await?).await,
        Verb::Inspect(named) => commands::inspect_containers(&runtime().await?, &named.ids.ids).await,
        Verb::Inspectp(named) => commands::inspect_pods(&runtime().await?, &named.ids.ids).await,
        Verb::Inspecti(named) => commands::inspect_images(&images().await?, &named.ids.ids).await,
        Verb::Rmi(names) => commands::remove_images(&images().await?, &names.ids).await,
        Verb::Pull { reference } => commands::pull(images().await?, &reference).await,
        Verb::Runp { pod } => commands::run_pod(&runtime().await?, &pod).await,
        Verb::Create { pod_id, container, pod } => commands::create(&runtime().await?, pod_id, &container, &pod).await,
        Verb::Start(ids) => commands::start(&runtime().await?, ids.ids).await,
        Verb::Stop { timeout, ids } => commands::stop(&runtime().await?, ids.ids, timeout).await,
        Verb::Rm(forced) => commands::remove_containers(&runtime().await?, forced.ids.ids, forced.force).await,
        Verb::Stopp(ids) => commands::stop_pods(&runtime().await?, ids.ids).await,
        Verb::Rmp(forced) => commands::remove_pods(&runtime().await?, forced.ids.ids, forced.force).await,
    }
}

/// Writes a line as crictl logs it.
fn log(level: &str, message: &str) {
    eprintln!("time=\"{}\" level={level} msg={message:?}", humantime::format_rfc3339_seconds(SystemTime::now()));
}
