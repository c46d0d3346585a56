//! Figures of the last run in Prometheus' text format, for `node_exporter`'s textfile collector.
//!
//! Names are promises, as the keys of JSON are. What a run did not come to (a plan, a removal) has no sample rather than a
//! zero, so that no graph takes a failure for an empty node.

use std::fmt::{Display, Write as _};

use crate::inventory::DiskUsage;
use crate::report::{DiskReport, MemoryOutcome, MemoryReport, Summary, TargetReport};
use crate::state::history::PastRun;
use crate::units::Timestamp;

/// The exposition of the newest of these runs, which are in the order of time.
pub fn render(runs: &[PastRun]) -> String {
    let mut text = Text::default();
    let ended = || runs.iter().rev().filter(|run| run.finished_at.is_some());
    if let Some(run) = ended().next() {
        text.family(
            "build_info",
            "Always 1, with the version of nuke-images that wrote this.",
            [(&[("version", run.version.as_str())][..], 1)],
        );
    }
    // A run that leaves the images out says nothing of them, and doesn't stand in for one that is due.
    if let Some(run) = ended().find(|run| !run.no_images) {
        last_run(&mut text, run);
        run.summary.iter().for_each(|summary| images(&mut text, summary));
        file_systems(&mut text, &run.disks);
        run.target.iter().for_each(|asked| target(&mut text, asked));
    }
    if let Some(run) = ended().find(|run| run.exit_code == Some(0) && !run.no_images) {
        let at = run.finished_at.map_or(0, Timestamp::unix);
        text.single("last_success_timestamp_seconds", "When the last clean-up that ended well did so.", at);
    }
    if let Some((run, step)) = ended().find_map(|run| Some((run, run.memory.as_ref().filter(|step| step.outcome.is_some())?))) {
        memory(&mut text, run, step);
    }
    text.0
}

fn last_run(text: &mut Text, run: &PastRun) {
    let finished_at = run.finished_at.unwrap_or(run.started_at);
    let seconds = finished_at.since(run.started_at).map_or(0, |span| span.as_secs());
    text.single("last_run_timestamp_seconds", "When the last clean-up ended.", finished_at.unix());
    text.single("last_run_duration_seconds", "How long it took.", seconds);
    text.single("last_run_success", "1 if it ended with exit code 0, else 0.", u8::from(run.exit_code == Some(0)));
    text.single("last_run_exit_code", "Its exit code; 128 and more: a signal ended it.", run.exit_code.unwrap_or_default());
    text.single("last_run_only_observed", "1 if nothing is configured that may go, so that it only looked.", u8::from(run.only_observed));
}

fn images(text: &mut Text, summary: &Summary) {
    let kept = summary.kept.iter().map(|(reason, count)| ("keep", reason, count));
    let planned = summary.planned.iter().map(|(reason, count)| ("remove", reason, count));
    let samples: Vec<_> =
        kept.chain(planned).map(|(verdict, reason, count)| ([("verdict", verdict), ("reason", reason.as_str())], count)).collect();
    let samples = samples.iter().map(|(labels, count)| (&labels[..], count));
    text.family("images", "Images on the node as the last clean-up judged them, before it removed any.", samples);
    let outcomes = [
        ([("outcome", "removed")], summary.removed),
        ([("outcome", "gone")], summary.gone),
        ([("outcome", "spared")], summary.spared),
        ([("outcome", "not_attempted")], summary.not_attempted),
        ([("outcome", "failed")], summary.failed),
    ];
    let help = "What became of the images that the last clean-up planned to remove.";
    text.family("last_run_removals", help, outcomes.iter().map(|(labels, count)| (&labels[..], count)));
    text.single("last_run_planned_bytes", "Bytes that were to come free.", summary.planned_bytes);
    text.single("last_run_reclaimed_bytes", "Bytes that came free on the image file systems.", summary.reclaimed_bytes);
}

fn file_systems(text: &mut Text, disks: &[DiskReport]) {
    let mut figure = |name: &str, help: &str, of: fn(&DiskUsage) -> u64| {
        let mut samples = Vec::new();
        for disk in disks.iter().filter(|disk| disk.holds.is_images()) {
            let path = disk.path.display().to_string();
            samples.push((path.clone(), "before", of(&disk.before)));
            samples.extend(disk.after.as_ref().map(|after| (path, "after", of(after))));
        }
        let labelled: Vec<_> =
            samples.iter().map(|(path, moment, value)| ([("path", path.as_str()), ("moment", *moment)], *value)).collect();
        text.family(name, help, labelled.iter().map(|(labels, value)| (&labels[..], value)));
    };
    figure("filesystem_used_bytes", "Use of the file systems that hold images, around the last clean-up.", |usage| {
        usage.total_bytes.saturating_sub(usage.free_bytes())
    });
    figure("filesystem_size_bytes", "Their size.", |usage| usage.total_bytes);
    figure("filesystem_used_inodes", "Inodes in use there.", |usage| usage.used_inodes);
    figure("filesystem_inodes", "All inodes there.", |usage| usage.total_inodes);
}

fn target(text: &mut Text, target: &TargetReport) {
    let ratio = |percent: u8| f64::from(percent) / 100.0;
    let mut threshold =
        |name: &str, help: &str, percent: Option<u8>| percent.iter().for_each(|&percent| text.single(name, help, ratio(percent)));
    threshold("target_high_threshold_ratio", "How full they may be before anything is removed.", target.high_threshold);
    threshold("target_low_threshold_ratio", "How full they may be when it ends.", target.low_threshold);
    target.free_bytes.iter().for_each(|bytes| text.single("target_free_bytes", "How many bytes are to be free.", bytes));
    text.single("target_missing_bytes", "Bytes that still had to come free for it.", target.missing_bytes);
    text.single("target_due", "1 if there was something to do for the target.", u8::from(target.is_due));
    text.single("target_met", "1 if the target was met when the last clean-up ended.", u8::from(target.is_met));
}

fn memory(text: &mut Text, run: &PastRun, step: &MemoryReport) {
    let at = run.finished_at.map_or(0, Timestamp::unix);
    let success = u8::from(matches!(step.outcome, Some(MemoryOutcome::Done | MemoryOutcome::Skipped)));
    text.single("last_memory_step_timestamp_seconds", "When memory was last to be given back.", at);
    text.single("last_memory_step_success", "1 if nothing failed then, else 0.", success);
    text.single("last_memory_step_given_back_bytes", "Growth of free memory, or what the cgroup held less.", step.given_back_bytes);
}

type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Default)]
struct Text(String);

impl Text {
    /// Nothing where there is no sample.
    fn family<'a, V: Display>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, V)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            _ = writeln!(self.0, "# HELP nuke_images_{name} {help}\n# TYPE nuke_images_{name} gauge");
        }
        for (labels, value) in samples {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            _ = writeln!(self.0, "nuke_images_{name}{labels} {value}");
        }
    }

    fn single(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, [(&[][..], value)]);
    }
}

/// As <https://prometheus.io/docs/instrumenting/exposition_formats/> has it.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Holds;
    use crate::inventory::samples::now;
    use crate::report::Trigger;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(now().unix() + seconds)
    }

    fn run(started: u64, exit_code: u8) -> PastRun {
        let mut run = PastRun::begun(at(started), Trigger::Timer);
        run.end(at(started + 7), exit_code, None);
        run
    }

    fn whole() -> PastRun {
        let usage = |used_bytes| DiskUsage { used_bytes, total_bytes: 100, used_inodes: 1, total_inodes: 9, available_bytes: None };
        PastRun {
            summary: Some(Summary {
                images: 5,
                kept: [("in_use".into(), 2)].into(),
                planned: [("unused".into(), 3)].into(),
                planned_removals: 3,
                planned_bytes: 40,
                removed: 2,
                failed: 1,
                reclaimed_bytes: 33,
                ..Summary::default()
            }),
            disks: vec![
                DiskReport { path: "/var/lib/con\"tai\\nerd".into(), holds: Holds::Images, before: usage(90), after: Some(usage(57)) },
                DiskReport { path: "/elsewhere".into(), holds: Holds::Containers, before: usage(90), after: None },
            ],
            target: Some(TargetReport {
                high_threshold: Some(80),
                free_bytes: Some(7),
                missing_bytes: 6,
                is_due: true,
                ..TargetReport::default()
            }),
            memory: Some(MemoryReport { outcome: Some(MemoryOutcome::Failed), given_back_bytes: 5, ..MemoryReport::default() }),
            ..run(0, 3)
        }
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|own| own == format!("nuke_images_{line}")), "{line} in {text}");
        }
    }

    #[test]
    fn tells_the_last_run_with_everything_it_came_to() {
        let text = render(&[whole()]);
        has(
            &text,
            &[
                "last_run_timestamp_seconds 1795000007",
                "last_run_duration_seconds 7",
                "last_run_success 0",
                "last_run_exit_code 3",
                "images{verdict=\"keep\",reason=\"in_use\"} 2",
                "images{verdict=\"remove\",reason=\"unused\"} 3",
                "last_run_removals{outcome=\"removed\"} 2",
                "last_run_removals{outcome=\"failed\"} 1",
                "last_run_reclaimed_bytes 33",
                "filesystem_used_bytes{path=\"/var/lib/con\\\"tai\\\\nerd\",moment=\"before\"} 90",
                "filesystem_used_bytes{path=\"/var/lib/con\\\"tai\\\\nerd\",moment=\"after\"} 57",
                "target_high_threshold_ratio 0.8",
                "target_free_bytes 7",
                "target_missing_bytes 6",
                "target_met 0",
                "last_memory_step_success 0",
                "last_memory_step_given_back_bytes 5",
            ],
        );
        assert!(!text.contains("elsewhere") && !text.contains("last_success") && !text.contains("low_threshold"), "{text}");
    }

    #[test]
    fn every_sample_stands_below_the_help_and_type_of_its_family_and_each_family_once() {
        let text = render(&[whole(), run(10, 0)]);
        let mut family = "";
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().expect("a name");
                assert!(seen.insert(family) && help.ends_with('.'), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert_eq!(kind, format!("{family} gauge"));
            } else {
                assert_eq!(line.split(['{', ' ']).next(), Some(family), "{line}");
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_run_that_came_to_no_plan_has_no_figures_of_images() {
        let text = render(&[whole(), run(10, 1)]);
        has(&text, &["last_run_exit_code 1", "last_run_timestamp_seconds 1795000017"]);
        assert!(!text.contains("images{") && !text.contains("reclaimed") && !text.contains("filesystem"), "{text}");
    }

    #[test]
    fn the_last_run_that_ended_well_is_told_besides() {
        has(&render(&[run(0, 0), run(10, 1)]), &["last_success_timestamp_seconds 1795000007", "last_run_success 0"]);
    }

    #[test]
    fn memory_alone_does_not_stand_in_for_a_clean_up() {
        let step = MemoryReport { outcome: Some(MemoryOutcome::Done), given_back_bytes: 9, ..MemoryReport::default() };
        let alone = PastRun { no_images: true, memory: Some(step), ..run(10, 0) };
        let text = render(&[run(0, 1), alone.clone()]);
        has(&text, &["last_run_timestamp_seconds 1795000007", "last_run_success 0", "last_memory_step_given_back_bytes 9"]);
        assert!(!text.contains("last_success"), "{text}");
        assert!(!render(&[alone]).contains("last_run"));
    }

    #[test]
    fn a_run_that_goes_on_or_was_killed_is_no_last_run() {
        assert_eq!(render(&[PastRun::begun(now(), Trigger::Timer)]), "");
    }
}
