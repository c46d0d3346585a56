//! The last runs: when, why started, what they removed with what it can be pulled again by, what stayed and why.

use std::fmt::Write as _;
use std::time::Duration;

use console::Style;
use serde::Serialize;

use super::text::{Look, kept_by_rule, not_done};
use crate::inventory::SCHEMA_VERSION;
use crate::reference::Reference;
use crate::report::{MemoryOutcome, MemoryReport, Summary, Trigger};
use crate::state::history::{PastRun, RemovedImage};
use crate::units::{Timestamp, human_bytes, human_span, printable};

/// The last runs of a node, as JSON shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History<'a> {
    /// Version of this form.
    pub schema_version: u32,
    /// The node's host name.
    pub node: String,
    /// The newest first.
    pub runs: Vec<&'a PastRun>,
}

impl<'a> History<'a> {
    /// Of runs in the order of time.
    pub fn new(node: String, runs: &'a [PastRun]) -> Self {
        Self { schema_version: SCHEMA_VERSION, node, runs: runs.iter().rev().collect() }
    }
}

/// The runs for people.
pub fn render(history: &History, now: Timestamp, look: Look) -> String {
    let heading = match history.runs.len() {
        0 => format!("no clean-up of {} is remembered", printable(&history.node)),
        1 => format!("the last clean-up of {}", printable(&history.node)),
        runs => format!("the last {runs} clean-ups of {}, the newest first", printable(&history.node)),
    };
    let mut text = format!("{}\n", look.bold(&heading));
    for run in &history.runs {
        render_run(&mut text, run, now, look);
    }
    text
}

fn render_run(text: &mut String, run: &PastRun, now: Timestamp, look: Look) {
    let started_by = match run.trigger {
        Trigger::Timer => "by the timer",
        Trigger::Person => "by a person",
    };
    let age = now.since(run.started_at).map_or("in the future".into(), |age| format!("{} ago", human_span(age)));
    let took = run.finished_at.and_then(|end| end.since(run.started_at)).map_or(String::new(), |took| format!(" · took {}", span(took)));
    let _ = writeln!(text, "\n{} · {age} · {started_by}{took}", look.bold(&run.started_at.to_string()));
    let (words, style) = result(run);
    _ = writeln!(text, "  {}", look.paint(&style, &words));
    for image in &run.removed {
        _ = writeln!(text, "  {} {}", look.paint(&Style::new().green(), "✓"), removed(image, look));
    }
    let kept = run.summary.as_ref().map(kept_by_rule).filter(|kept| !kept.is_empty());
    if let Some(kept) = kept {
        _ = writeln!(text, "  {}", look.dim(&format!("kept: {kept}")));
    }
    if let Some(step) = &run.memory {
        _ = writeln!(text, "  {}", memory(step));
    }
}

/// Under a second a run took no time at all.
fn span(took: Duration) -> String {
    if took.is_zero() { "less than 1 s".into() } else { human_span(took) }
}

/// How it ended.
fn result(run: &PastRun) -> (String, Style) {
    let error = run.error.as_deref().map(printable);
    match (run.exit_code, error, &run.summary) {
        (None, _, _) => (format!("was killed{}", after_so_many(run)), Style::new().red()),
        (Some(code), Some(error), _) => (format!("failed (exit {code}): {error}"), Style::new().red()),
        (Some(code @ 128..), None, _) => (format!("interrupted (exit {code}){}", after_so_many(run)), Style::new().yellow()),
        (Some(_), None, _) if run.no_images => ("memory alone".into(), Style::new()),
        (Some(0), None, None) => ("nothing was removed".into(), Style::new()),
        (Some(code), None, None) => (format!("failed (exit {code})"), Style::new().red()),
        (Some(_), None, Some(summary)) if run.only_observed => {
            let could = summary.planned_removals;
            (format!("only observed: {could} of {} images could go, nothing is configured that may", summary.images), Style::new())
        }
        (Some(0), None, Some(summary)) if summary.planned_removals > 0 && !summary.has_outcomes() => {
            (format!("declined: {} of {} images would have gone", summary.planned_removals, summary.images), Style::new())
        }
        (Some(code), None, Some(summary)) => (in_words(summary), if code == 0 { Style::new() } else { Style::new().red() }),
    }
}

fn after_so_many(run: &PastRun) -> String {
    match run.removed.len() {
        0 => String::new(),
        removed => format!(" after {removed} removals"),
    }
}

fn in_words(summary: &Summary) -> String {
    let freed = human_bytes(summary.reclaimed_bytes);
    match summary.planned_removals {
        0 => format!("nothing to remove of {} images", summary.images),
        planned => format!("removed {} of {planned} that could go, {freed} came free; {}", summary.removed, not_done(summary)),
    }
}

fn memory(step: &MemoryReport) -> String {
    let why = printable(step.error.as_deref().unwrap_or_default());
    match step.outcome {
        None => "memory: not reached".into(),
        Some(MemoryOutcome::Done) => format!("memory: gave back {}", human_bytes(step.given_back_bytes)),
        Some(MemoryOutcome::Skipped) => format!("memory: left alone: {why}"),
        Some(MemoryOutcome::Failed) => format!("memory: could not be given back: {why}"),
    }
}

/// Its name, and what it can be pulled again by.
fn removed(image: &RemovedImage, look: Look) -> String {
    let tag = image.references.iter().find(|name| name.named().is_some_and(|named| named.tag.is_some()));
    let name = tag.or(image.references.last()).map_or(image.id.to_string(), |name| name.as_str().to_owned());
    let again = pullable(image).filter(|again| *again != name).map_or(String::new(), |again| format!(" = {}", printable(&again)));
    format!("{}{} {}", printable(&name), look.dim(&again), human_bytes(image.bytes))
}

/// `repository@digest`: the name under which a registry still has exactly this image.
fn pullable(image: &RemovedImage) -> Option<String> {
    let by_digest = image.references.iter().find(|name| name.named().is_some_and(|named| named.digest.is_some()));
    let repository = |name: &Reference| Some(name.as_str().strip_suffix(&format!(":{}", name.named()?.tag?))?.to_owned());
    let composed = || Some(format!("{}@{}", image.references.iter().find_map(repository)?, image.digests.first()?));
    by_digest.map(|name| name.as_str().to_owned()).or_else(composed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::samples::{hash, image, now};
    use crate::reference::ImageId;

    const LOOK: Look = Look { colors: false, width: 120 };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(now().unix() + seconds)
    }

    fn run(started: u64, exit_code: u8) -> PastRun {
        let mut run = PastRun::begun(at(started), Trigger::Timer);
        run.end(at(started + 7), exit_code, None);
        run
    }

    fn gone(name: &str) -> RemovedImage {
        let image = image(name);
        RemovedImage { id: image.id, references: image.references, digests: image.digests, bytes: 5 << 20 }
    }

    fn text(runs: &[PastRun]) -> String {
        render(&History::new("node-1".into(), runs), at(7_200), LOOK)
    }

    #[test]
    fn tells_of_each_run_what_it_removed_and_what_that_can_be_pulled_again_by() {
        let summary = Summary {
            images: 3,
            kept: [("in_use".to_owned(), 2)].into(),
            planned_removals: 1,
            removed: 1,
            reclaimed_bytes: 4 << 20,
            ..Summary::default()
        };
        let memory = MemoryReport { outcome: Some(MemoryOutcome::Done), given_back_bytes: 1 << 30, ..MemoryReport::default() };
        let done = PastRun { summary: Some(summary), removed: vec![gone("quay.io/a/app:1")], memory: Some(memory), ..run(0, 0) };
        let digest = &gone("quay.io/a/app:1").digests[0];
        let expected = format!(
            "the last clean-up of node-1\n\n2026-11-18T11:06:40Z · 2 h ago · by the timer · took 7 s\n  \
             removed 1 of 1 that could go, 4.0 MiB came free; none failed\n  ✓ quay.io/a/app:1 = quay.io/a/app@{digest} 5.0 MiB\n  \
             kept: 2 in use\n  memory: gave back 1.0 GiB\n"
        );
        assert_eq!(text(&[done]), expected);
    }

    #[test]
    fn says_of_each_end_what_it_was() {
        let planned = Summary { images: 9, planned_removals: 4, ..Summary::default() };
        let refused = PastRun { error: Some("refuse to remove anything: \u{1b}[2J".into()), ..run(0, 1) };
        for (run, expected) in [
            (PastRun::begun(now(), Trigger::Timer), "was killed"),
            (PastRun { removed: vec![gone("quay.io/a/b:1")], ..PastRun::begun(now(), Trigger::Timer) }, "was killed after 1 removals"),
            (refused, "failed (exit 1): refuse to remove anything: \\u{1b}[2J"),
            (PastRun { summary: Some(planned.clone()), ..run(0, 143) }, "interrupted (exit 143)"),
            (run(0, 0), "nothing was removed"),
            (PastRun { summary: Some(planned.clone()), ..run(0, 0) }, "declined: 4 of 9 images would have gone"),
            (
                PastRun { summary: Some(Summary { not_attempted: 4, ..planned.clone() }), ..run(0, 0) },
                "removed 0 of 4 that could go, 0 B came free; 4 not attempted",
            ),
            (PastRun { no_images: true, ..run(0, 0) }, "memory alone"),
            (
                PastRun { only_observed: true, summary: Some(planned), ..run(0, 0) },
                "only observed: 4 of 9 images could go, nothing is configured that may",
            ),
            (PastRun { summary: Some(Summary { images: 9, ..Summary::default() }), ..run(0, 0) }, "nothing to remove of 9 images"),
        ] {
            let text = text(&[run]);
            assert_eq!(text.lines().nth(3), Some(format!("  {expected}").as_str()), "{text}");
        }
    }

    #[test]
    fn the_newest_run_comes_first_and_none_is_said() {
        let text = text(&[run(0, 0), PastRun { trigger: Trigger::Person, ..run(100, 0) }]);
        let starts: Vec<&str> = text.lines().filter(|line| line.contains(" ago · ")).collect();
        assert!(
            text.starts_with("the last 2 clean-ups of node-1") && starts[0].contains("by a person") && starts[1].contains("by the timer")
        );
        assert_eq!(render(&History::new("n".into(), &[]), now(), LOOK), "no clean-up of n is remembered\n");
    }

    #[test]
    fn an_image_that_had_no_digest_among_its_names_is_told_by_its_repository_and_digest() {
        let whole = gone("localhost:5000/a/app:1");
        let digest = whole.digests[0].clone();
        let tags: Vec<Reference> = whole.references.iter().filter(|name| name.as_str().ends_with(":1")).cloned().collect();
        let tagged = RemovedImage { references: tags, ..whole.clone() };
        assert_eq!(pullable(&tagged), Some(format!("localhost:5000/a/app@{digest}")));
        let bare = RemovedImage { id: ImageId::of_config(&hash("x")), references: vec![Reference::new(hash("x").as_str())], ..whole };
        assert_eq!(pullable(&bare), None);
        assert!(removed(&bare, LOOK).starts_with("sha256:"));
    }
}
