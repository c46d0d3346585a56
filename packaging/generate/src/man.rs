//! The man page: one for the program and all its commands.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// What a person looks for in a man page and clap doesn't know.
const DESCRIPTION: &str = "It runs as root on the node, once and from a systemd timer, through the node's own \
ctr or crictl. Every image gets a verdict with a reason, in the dry run and in the real one. What it can't know, it keeps.";
const FILES: [(&str, &str); 5] = [
    ("/etc/nuke-images/config.toml", "The configuration; every option is a key of it. Options win over drop-ins, drop-ins over this file."),
    ("/etc/nuke-images/config.d/*.toml", "Drop-ins, read in the order of their names."),
    ("/etc/nuke-images/disabled", "Where this exists, the units do nothing."),
    ("/var/lib/nuke-images", "What was seen on the node, when it was last in use, and the last 50 runs."),
    ("/run/nuke-images/lock", "Held by the run that goes on."),
];
const EXAMPLES: [(&str, &str); 3] = [
    ("nuke-images --dry-run", "Shows what would happen; without a selector, with everything that is unused."),
    ("nuke-images --registry registry.example.com", "Removes unused images of one registry; shows the plan and asks."),
    ("journalctl -t nuke-images", "The story of the runs on this node."),
];

/// The page, as roff.
pub fn page(command: Command) -> String {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone()).manual("Kubernetes nodes");
    let parts = [
        rendered(|out| man.render_title(out)),
        rendered(|out| man.render_name_section(out)),
        synopsis(&command).render(),
        rendered(|out| man.render_description_section(out)),
        paragraph(DESCRIPTION).render(),
        rendered(|out| man.render_options_section(out)),
        verbs(&command).render(),
        exit_status(&command).render(),
        list("FILES", &FILES).render(),
        list("EXAMPLES", &EXAMPLES).render(),
    ];
    // Each part brings the definition that its apostrophes need; the page needs it once.
    let definition = Roff::new().render();
    definition.clone() + &parts.concat().replace(&definition, "")
}

fn rendered(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).expect("write to memory");
    String::from_utf8_lossy(&text).into_owned()
}

/// The program alone and with each command; clap's own synopsis is a wall of every option.
fn synopsis(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold(command.get_name()), roman(" [OPTIONS]")]);
    for verb in shown(command) {
        roff.control("br", []);
        roff.text([bold(format!("{} {}", command.get_name(), verb.get_name())), roman(" [OPTIONS]")]);
    }
    roff
}

fn paragraph(text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("PP", []);
    roff.text([roman(text)]);
    roff
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// Each command with the options that it alone knows.
fn verbs(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    let alone = command
        .get_arguments()
        .filter(|argument| is_own(argument))
        .map(|argument| format!("--{}", argument.get_long().unwrap_or_default()));
    roff.text([roman(format!(
        "These are of the clean-up alone: {}. The other options go with every command.",
        alone.collect::<Vec<_>>().join(", ")
    ))]);
    for verb in shown(command) {
        roff.control("SS", [verb.get_name()]);
        roff.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
        verb.get_arguments().filter(|argument| is_own(argument)).for_each(|argument| option(&mut roff, argument));
    }
    roff
}

fn is_own(argument: &Arg) -> bool {
    let everywhere = argument.is_global_set() || ["help", "version"].contains(&argument.get_id().as_str());
    !everywhere && !argument.is_hide_set()
}

fn option(roff: &mut Roff, argument: &Arg) {
    let short: Vec<Inline> = argument.get_short().into_iter().flat_map(|short| [bold(format!("-{short}")), roman(", ")]).collect();
    let help = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    roff.control("TP", []);
    roff.text([short, vec![bold(argument.to_string())]].concat());
    roff.text([roman(help)]);
}

/// From the sentence at the end of `--help`, `Exit codes: 0 done; 1 refused; 130, 143 interrupted.`
fn exit_status(command: &Command) -> Roff {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let codes = help.split_once("Exit codes: ").map_or("", |(_, codes)| codes);
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for meaning in codes.trim().trim_end_matches('.').split("; ") {
        let words = meaning.find(|c: char| !(c.is_ascii_digit() || ", ".contains(c))).unwrap_or(meaning.len());
        let (code, text) = meaning.split_at(words);
        roff.control("TP", []);
        roff.text([bold(code.trim())]);
        roff.text([roman(text)]);
    }
    roff
}

fn list(heading: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, text) in entries {
        roff.control("TP", []);
        roff.text([italic(*term)]);
        roff.text([roman(*text)]);
    }
    roff
}
