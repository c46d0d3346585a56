//! The command line: crictl's, as far as the product and its tests use it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A CRI client with crictl's command line.
#[derive(Debug, Parser)]
#[command(name = "crictl")]
pub struct Cli {
    /// Socket of the runtime.
    #[arg(short, long)]
    pub runtime_endpoint: Option<String>,
    /// Socket of the image service; the runtime's if not given.
    #[arg(short, long)]
    pub image_endpoint: Option<String>,
    /// How long one call of the runtime may take.
    #[arg(short, long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Who answers.
    Version,
    /// State and configuration of the runtime.
    Info(Output),
    /// All images.
    Images(Listing),
    /// Containers.
    Ps {
        /// Also those that don't run.
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        output: Listing,
    },
    /// All pods.
    Pods(Listing),
    /// Everything about containers.
    Inspect(Named),
    /// Everything about pods.
    Inspectp(Named),
    /// Everything about images.
    Inspecti(Named),
    /// Removes images.
    Rmi(Ids),
    /// Pulls an image.
    Pull { reference: String },
    /// Makes and starts a pod, without containers.
    Runp { pod: PathBuf },
    /// Makes a container in a pod.
    Create { pod_id: String, container: PathBuf, pod: PathBuf },
    /// Starts containers.
    Start(Ids),
    /// Stops containers.
    Stop {
        /// Seconds until it is killed.
        #[arg(short, long, default_value_t = 0)]
        timeout: i64,
        #[command(flatten)]
        ids: Ids,
    },
    /// Removes containers.
    Rm(Forced),
    /// Stops pods.
    Stopp(Ids),
    /// Removes pods.
    Rmp(Forced),
}

/// How to print a listing: crictl prints a table unless told otherwise, and this client can't.
#[derive(Debug, Args)]
pub struct Listing {
    /// json.
    #[arg(short, long)]
    pub output: Format,
}

/// How to print what crictl prints as JSON anyway.
#[derive(Debug, Args)]
pub struct Output {
    /// json.
    #[arg(short, long, default_value = "json")]
    pub output: Format,
}

/// The one format.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// As crictl prints it.
    Json,
}

/// Some of one kind.
#[derive(Debug, Args)]
pub struct Ids {
    /// IDs.
    #[arg(required = true)]
    pub ids: Vec<String>,
}

/// Some of one kind, to be printed.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub ids: Ids,
}

/// Some of one kind, to be removed.
#[derive(Debug, Args)]
pub struct Forced {
    /// Also while they run.
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub ids: Ids,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_flags_come_before_the_verb_in_either_form() {
        for line in [
            "crictl -r unix:///a.sock -i unix:///b.sock -t 300s rmi one two",
            "crictl --runtime-endpoint=unix:///a.sock --image-endpoint=unix:///b.sock --timeout=5m rmi one two",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect("a command line of crictl");
            assert_eq!(cli.runtime_endpoint.as_deref(), Some("unix:///a.sock"));
            assert_eq!(cli.image_endpoint.as_deref(), Some("unix:///b.sock"));
            assert_eq!(cli.timeout, Duration::from_mins(5));
            assert!(matches!(cli.verb, Verb::Rmi(Ids { ids }) if ids == ["one", "two"]));
        }
    }

    #[test]
    fn a_call_may_take_two_seconds_unless_told_otherwise() {
        let cli = Cli::try_parse_from(["crictl", "ps", "-a", "-o", "json"]).expect("a command line of crictl");
        assert_eq!(cli.timeout, Duration::from_secs(2));
        assert!(matches!(cli.verb, Verb::Ps { all: true, .. }));
    }

    #[test]
    fn what_this_client_does_not_do_is_an_error() {
        for line in ["crictl rmi", "crictl rmi --prune", "crictl images", "crictl images -o yaml", "crictl stats"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
