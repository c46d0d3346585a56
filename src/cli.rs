//! The command line, as clap derives it. No logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::values::{Caches, Endpoint, Namespace, Pattern, Percent, Registry, RuntimeName, Size, Span};

/// Removes the container images that nothing on this node needs.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110, args_conflicts_with_subcommands = false)]
#[command(after_help = "Exit codes: 0 done, also nothing to do; 1 could not start, refused or could not plan; 2 usage or configuration; \
3 some removal or the memory step failed; 4 another run holds the lock; 130, 143 interrupted after the batch that ran.")]
pub struct Cli {
    /// What to do; without a command: one clean-up, as configured
    #[command(subcommand)]
    pub command: Option<Verb>,

    /// Print the plan, change nothing, write no state
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Don't ask; needed where there is no terminal
    #[arg(short = 'y', long)]
    pub yes: bool,

    /// For the unit: where a timer started the run, wait for this node's part of so long, and until the machine has been up
    /// for long enough
    #[arg(long, value_name = "DURATION", hide = true)]
    pub splay: Option<Span>,

    /// Remove no image; only the memory step
    #[arg(long)]
    pub no_images: bool,

    /// The options that every command knows
    #[command(flatten)]
    pub options: Options,
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// What is on the node: images, who uses them, sizes, ages
    Inventory,
    /// The verdicts, from this node or from a saved inventory
    Plan {
        /// A file that `nuke-images inventory --output json` wrote; needs no root
        #[arg(long, value_name = "FILE")]
        inventory: Option<PathBuf>,
    },
    /// Record what is in use now, remove nothing
    Observe,
    /// The last runs: when, why started, what they removed and what it can be pulled again by
    History,
    /// Is this node able to do it, and what to mend; exit code 1 where something is
    Doctor,
    /// The effective configuration and where each value came from; checks it
    Config,
    /// Put this program, its units and a configuration onto this node, or one whose file system is mounted
    Install(Install),
    /// Take off what install put there
    Uninstall(Uninstall),
}

/// What `install` knows besides; `--runtime-endpoint` is written down for timer and people alike.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Install {
    /// The node's root folder: another system, or the host as a container with its process namespace sees it
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// When to clean up, as systemd.time(7) has it [default: Sun *-*-* 12:12:00]
    #[arg(long, value_name = "CALENDAR")]
    pub schedule: Option<String>,
    /// Put the *.toml files of this folder into /etc/nuke-images/config.d, in place of those that it put there before
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Put everything in place, but don't let the timers run
    #[arg(long)]
    pub no_enable: bool,
    /// Print what would be done, change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What `uninstall` knows besides.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Uninstall {
    /// As for install
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Configuration and state too
    #[arg(long)]
    pub purge: bool,
    /// Print what would be done, change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What every command knows.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are options, each by itself")]
pub struct Options {
    /// Images of this registry may go: exact host, with its port if it has one. Repeatable
    #[arg(long, value_name = "HOST", global = true, help_heading = "What may go")]
    pub registry: Vec<Registry>,
    /// Images whose references match may go: unanchored, as in grep -E. Repeatable
    #[arg(long, value_name = "REGEX", global = true, help_heading = "What may go")]
    pub include: Vec<Pattern>,
    /// Everything unused may go
    #[arg(long, global = true, help_heading = "What may go")]
    pub all: bool,
    /// Never an image one of whose references matches. Repeatable; adds to the configured ones
    #[arg(long, value_name = "REGEX", global = true, help_heading = "What stays")]
    pub exclude: Vec<Pattern>,
    /// Keep what was pulled or named anew less long ago than this [default: 1h]
    #[arg(long, value_name = "DURATION", global = true, help_heading = "What stays")]
    pub min_age: Option<Span>,
    /// Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]
    #[arg(long, value_name = "DURATION", global = true, help_heading = "What stays")]
    pub unused_for: Option<Span>,
    /// Keep the N most recently pulled images of each repository [default: 0]
    #[arg(long, value_name = "N", global = true, help_heading = "What stays")]
    pub keep_newest: Option<u32>,
    /// Keep what can't be pulled again [default: true]
    #[arg(long, value_name = "BOOL", global = true, help_heading = "What stays")]
    pub keep_unpullable: Option<bool>,
    /// Act only when the image file system is fuller than this, in bytes or inodes [default: off]
    #[arg(long, value_name = "PERCENT", global = true, help_heading = "When, and how much")]
    pub high_threshold: Option<Percent>,
    /// Stop as soon as it is no fuller than this [default: the high threshold]
    #[arg(long, value_name = "PERCENT", global = true, help_heading = "When, and how much")]
    pub low_threshold: Option<Percent>,
    /// Act only when less is free, and stop as soon as it is [default: off]
    #[arg(long, value_name = "SIZE", global = true, help_heading = "When, and how much")]
    pub free_bytes: Option<Size>,
    /// At most so many images in a run [default: off]
    #[arg(long, value_name = "N", global = true, help_heading = "When, and how much")]
    pub max_images: Option<std::num::NonZeroU32>,
    /// Begin no batch after this long [default: off]
    #[arg(long, value_name = "DURATION", global = true, help_heading = "When, and how much")]
    pub max_duration: Option<Span>,
    /// Rest between batches [default: 0s]
    #[arg(long, value_name = "DURATION", global = true, help_heading = "When, and how much")]
    pub delay: Option<Span>,
    /// Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]
    #[arg(long, value_name = "PERCENT", global = true, help_heading = "When, and how much")]
    pub max_io_pressure: Option<Percent>,
    /// Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]
    #[arg(long, value_name = "CACHES", global = true, num_args = 0..=1, default_missing_value = "pagecache")]
    #[arg(help_heading = "Memory")]
    pub drop_caches: Option<Caches>,
    /// Ask the pods' cgroup to give back so much memory [default: off]
    #[arg(long, value_name = "SIZE", global = true, help_heading = "Memory")]
    pub reclaim: Option<Size>,
    /// The runtime's socket, <unix:///run/containerd/containerd.sock> [default: detected]
    #[arg(long, value_name = "URI", global = true, help_heading = "Which runtime")]
    pub runtime_endpoint: Option<Endpoint>,
    /// What the runtime is, where its socket doesn't tell: containerd, cri-o or docker [default: detected]
    #[arg(long, value_name = "NAME", global = true, help_heading = "Which runtime")]
    pub runtime: Option<RuntimeName>,
    /// containerd's namespace [default: k8s.io]
    #[arg(long, value_name = "NS", global = true, help_heading = "Which runtime")]
    pub namespace: Option<Namespace>,
    /// Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// For the units: a node without a runtime is no error
    #[arg(long, hide = true, global = true)]
    pub if_runtime: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub output: Format,
    /// Colours; `NO_COLOR` is honoured
    #[arg(long, value_enum, default_value_t, global = true)]
    pub color: Color,
    /// Log more: every verdict and every program started
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Log errors only, and print no table
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    #[default]
    Text,
    /// One object
    Json,
}

/// When to print colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
