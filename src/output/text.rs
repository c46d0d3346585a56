//! Tables for people: what goes, what stays and why, totals, and the disk as a bar.
//!
//! Names that others chose are printed without control characters.

use std::fmt::Write as _;
use std::time::Duration;

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

use crate::config::Config;
use crate::inventory::{DiskUsage, Image, Inventory, Runtime};
use crate::policy::{Keep, since_what};
use crate::report::{Cache, ImageReport, MemoryOutcome, MemoryReport, MemoryUsage, Report, Summary};
use crate::units::printable;
use crate::units::{Timestamp, human_bytes, human_span};

/// Cells of a disk bar.
const BAR: usize = 30;
/// Widest that a name is printed while a table has to share its line.
const NAME: usize = 64;
/// Narrowest that it is cut to where the line is short.
const SHORT_NAME: usize = 24;
/// Characters that a reason gets before a name is cut.
const WHY: usize = 40;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// With colours.
    pub colors: bool,
    /// Characters a line.
    pub width: usize,
}

impl Look {
    fn paint(self, style: &Style, text: &str) -> String {
        style.clone().force_styling(self.colors).apply_to(text).to_string()
    }

    fn bold(self, text: &str) -> String {
        self.paint(&Style::new().bold(), text)
    }

    fn dim(self, text: &str) -> String {
        self.paint(&Style::new().dim(), text)
    }
}

/// A run, planned or done.
pub fn render_report(report: &Report, look: Look) -> String {
    let mut text = heading(report, look);
    let age = |at: Option<Timestamp>| at.and_then(|at| report.started_at.since(at)).map_or("?".into(), human_span);
    let (going, staying): (Vec<&ImageReport>, Vec<&ImageReport>) = report.images.iter().partition(|image| image.verdict == "remove");
    let mut going_rows: Vec<Row> = going.iter().map(|image| row(image, age(image.pulled_at), look)).collect();
    going_rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    let mut staying = staying;
    let rank = |image: &ImageReport| Keep::ALL.iter().position(|keep| keep.key() == image.reason);
    staying.sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
    let staying_rows: Vec<Row> = staying.iter().map(|image| row(image, age(image.pulled_at), look)).collect();
    let title = match going.iter().any(|image| image.outcome.is_some()) {
        true if going.iter().all(|image| image.outcome == Some("removed")) => "REMOVED",
        true => "WAS TO BE REMOVED",
        false => "TO REMOVE",
    };
    table(&mut text, title, &going_rows, &staying_rows, look);
    totals(&mut text, report, look);
    text
}

fn heading(report: &Report, look: Look) -> String {
    let done = report.images.iter().any(|image| image.outcome.is_some());
    let what = match (report.dry_run, done || report.summary.planned_removals == 0) {
        (true, _) => "dry run, nothing is changed",
        (false, false) => "the plan, nothing is changed yet",
        (false, true) if report.runtime.is_none() => "memory alone",
        (false, true) => "clean-up",
    };
    let place = report.runtime.as_ref().map_or(String::new(), |runtime| format!("{}\n", look.dim(&place(runtime))));
    format!("{} · {what}\n{place}\n", look.bold(&format!("nuke-images on {}", printable(&report.node))))
}

fn place(runtime: &Runtime) -> String {
    let place = [&format!("{} {}", runtime.name, runtime.version), &runtime.endpoint, &runtime.namespace];
    printable(&place.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" · "))
}

struct Row {
    mark: String,
    name: String,
    /// How many names there are besides.
    more: String,
    bytes: u64,
    age: String,
    why: String,
}

fn row(image: &ImageReport, age: String, look: Look) -> Row {
    let (sign, style) = match (image.verdict, image.outcome) {
        ("keep", _) => ("·", Style::new().dim()),
        (_, None) => ("-", Style::new().yellow()),
        (_, Some("removed" | "gone")) => ("✓", Style::new().green()),
        (_, Some("failed")) => ("✗", Style::new().red().bold()),
        (_, Some(_)) => ("~", Style::new().cyan()),
    };
    let others = image.references.len().saturating_sub(1);
    let more = if others == 0 { String::new() } else { format!(" (+{others})") };
    let reason = image.reason.replace('_', " ");
    let why = match (&image.outcome, &image.error) {
        (Some("not_attempted"), Some(why)) => format!("not attempted: {}", why.replace('_', " ")),
        (Some(outcome), Some(error)) => format!("{outcome}: {}", printable(error)),
        (Some("gone"), None) => "removed by somebody else meanwhile".into(),
        _ if image.detail.starts_with(&reason) => printable(&image.detail),
        _ => format!("{reason}: {}", printable(&image.detail)),
    };
    let name = middle(&printable(&image.name), NAME);
    Row { mark: look.paint(&style, sign), name, more, bytes: image.size_bytes, age, why }
}

impl Row {
    fn name(&self, width: usize) -> String {
        format!("{}{}", middle(&self.name, width.saturating_sub(self.more.len())), self.more)
    }
}

/// A long name keeps its beginning and its end, which holds the tag.
fn middle(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let head: String = name.chars().take(width / 2).collect();
    let tail: String = name.chars().skip(length - (width - width / 2 - 1)).collect();
    format!("{head}…{tail}")
}

fn table(text: &mut String, title: &str, going: &[Row], staying: &[Row], look: Look) {
    let widest = |cell: fn(&Row) -> usize| going.iter().chain(staying).map(cell).max().unwrap_or(0);
    let age = widest(|row| measure_text_width(&row.age)).max(6);
    let why = widest(|row| measure_text_width(&row.why)).min(WHY);
    // A mark, a size of ten, and the blanks between the columns.
    let room = look.width.saturating_sub(2 + 1 + 10 + 1 + age + 1 + 1 + why);
    let name = widest(|row| measure_text_width(&row.name) + row.more.len()).min(room.max(SHORT_NAME)).max(20);
    for (title, rows) in [(title, going), ("KEPT", staying)] {
        if rows.is_empty() {
            continue;
        }
        let head = format!(
            "  {} {} {} WHY",
            pad_str(title, name, Alignment::Left, None),
            pad_str("SIZE", 10, Alignment::Right, None),
            pad_str("PULLED", age + 1, Alignment::Right, None)
        );
        _ = writeln!(text, "{}", look.bold(&head));
        for row in rows {
            let cells = format!(
                "{} {} {} {} {}",
                row.mark,
                pad_str(&row.name(name), name, Alignment::Left, None),
                pad_str(&human_bytes(row.bytes), 10, Alignment::Right, None),
                pad_str(&row.age, age + 1, Alignment::Right, None),
                look.dim(&row.why),
            );
            _ = writeln!(text, "{}", truncate_str(&cells, look.width, "…"));
        }
        text.push('\n');
    }
}

fn totals(text: &mut String, report: &Report, look: Look) {
    let summary = &report.summary;
    let done = report.images.iter().any(|image| image.outcome.is_some());
    let bold = |words: String| look.bold(&words);
    if report.runtime.is_none() {
        // Nothing was to be told of images.
    } else if summary.planned_removals == 0 {
        _ = writeln!(text, "{}: {}.", bold("Nothing to remove".into()), of_images(summary));
    } else if done {
        _ = writeln!(
            text,
            "{}, {} given back; {}.",
            bold(format!("Removed {} of {}", summary.removed, summary.images)),
            human_bytes(summary.reclaimed_bytes),
            not_done(summary)
        );
    } else {
        let planned = format!("Would remove {} of {} images", summary.planned_removals, summary.images);
        _ = writeln!(text, "{}, giving back about {}.", bold(planned), human_bytes(summary.planned_bytes));
    }
    let kept = kept_by_rule(summary);
    if summary.planned_removals > 0 && !kept.is_empty() {
        _ = writeln!(text, "Kept: {kept}.");
    }
    for disk in &report.disks {
        let after = disk.after.unwrap_or(disk.before);
        _ = writeln!(text, "{} {}", disk_bar(disk.before, after, look), look.dim(&printable(&disk.path.display().to_string())));
    }
    report.memory.iter().for_each(|memory| text.push_str(&memory_lines(memory, look)));
    for refusal in &report.refusals {
        _ = writeln!(text, "{} {refusal}", look.paint(&Style::new().yellow(), "would be refused:"));
    }
    for gap in &report.gaps {
        _ = writeln!(text, "{} {}", look.paint(&Style::new().yellow(), "note:"), printable(gap));
    }
}

fn of_images(summary: &Summary) -> String {
    match summary.images {
        0 => "there are no images".into(),
        1 => format!("the only image is kept ({})", kept_by_rule(summary)),
        images => format!("all {images} images are kept ({})", kept_by_rule(summary)),
    }
}

fn not_done(summary: &Summary) -> String {
    let counts = [
        ("failed", summary.failed),
        ("spared", summary.spared),
        ("removed by somebody else", summary.gone),
        ("not attempted", summary.not_attempted),
    ];
    let words: Vec<String> = counts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { "none failed".into() } else { words.join(", ") }
}

fn kept_by_rule(summary: &Summary) -> String {
    let count = |keep: &Keep| Some((summary.kept.get(keep.key()).copied().filter(|&count| count > 0)?, keep.words()));
    let words: Vec<String> = Keep::ALL.iter().filter_map(count).map(|(count, words)| format!("{count} {words}")).collect();
    words.join(" · ")
}

/// `Disk [███████░░░░░] 62 % → 48 % of 40 GiB`.
fn disk_bar(before: DiskUsage, after: DiskUsage, look: Look) -> String {
    bar("Disk", before.used_bytes, after.used_bytes, before.total_bytes, look)
}

fn bar(what: &str, before: u64, after: u64, total: u64, look: Look) -> String {
    let share = |used: u64, of: u64| used.saturating_mul(of).checked_div(total).unwrap_or(0);
    let cells = |used| usize::try_from(share(used, BAR as u64)).unwrap_or(BAR).min(BAR);
    let (full, was) = (cells(after), cells(before).max(cells(after)));
    let freed = look.paint(&Style::new().green(), &"▒".repeat(was - full));
    let bar = format!("{}{freed}{}", "█".repeat(full), look.dim(&"░".repeat(BAR - was)));
    let (before_percent, after_percent) = (share(before, 100), share(after, 100));
    let change = if before == after { format!("{before_percent} %") } else { format!("{before_percent} % → {after_percent} %") };
    format!("{what} [{bar}] {change} of {}", human_bytes(total))
}

/// What is not free as a bar, and what came of the memory step.
fn memory_lines(memory: &MemoryReport, look: Look) -> String {
    let mut text = String::new();
    if let Some(before) = memory.before {
        let (after, used) = (memory.after.unwrap_or(before), |usage: MemoryUsage| usage.total_bytes.saturating_sub(usage.free_bytes));
        let bar = bar("Memory", used(before), used(after), before.total_bytes, look);
        _ = writeln!(text, "{bar} {}", look.dim(&format!("({})", figures(before, memory.after))));
    }
    let why = || printable(memory.error.as_deref().unwrap_or_default());
    let (words, color) = match memory.outcome {
        None if memory.error.is_some() => (format!("Memory can't be told: {}.", why()), Style::new().red()),
        None => (format!("Would {}.", asked(memory)), Style::new().bold()),
        Some(MemoryOutcome::Done) => (format!("Memory given back: {}.", human_bytes(memory.given_back_bytes)), Style::new().bold()),
        Some(MemoryOutcome::Skipped) => (format!("Memory was left alone: {}.", why()), Style::new().bold()),
        Some(MemoryOutcome::Failed) => (format!("Memory could not be given back: {}.", why()), Style::new().red()),
    };
    _ = writeln!(text, "{}", look.paint(&color, &words));
    text
}

/// `free 1.0 GiB → 4.0 GiB, available …, cached …`.
fn figures(before: MemoryUsage, after: Option<MemoryUsage>) -> String {
    let change = |what: &str, of: fn(MemoryUsage) -> u64| match after.map(of).filter(|after| *after != of(before)) {
        Some(after) => format!("{what} {} → {}", human_bytes(of(before)), human_bytes(after)),
        None => format!("{what} {}", human_bytes(of(before))),
    };
    let parts = [
        change("free", |usage| usage.free_bytes),
        change("available", |usage| usage.available_bytes),
        change("cached", |usage| usage.cached_bytes),
        change("slab", |usage| usage.reclaimable_slab_bytes),
    ];
    parts.join(", ")
}

fn asked(memory: &MemoryReport) -> String {
    let drop = memory.drop_caches.map(|cache| match cache {
        Cache::Pages => "drop the page cache".to_owned(),
        Cache::Slab => "drop directory entries and inodes".to_owned(),
        Cache::All => "drop the page cache, directory entries and inodes".to_owned(),
    });
    let reclaim = memory.reclaim.as_ref().map(|ask| format!("ask {} for {}", printable(&ask.cgroup), human_bytes(ask.asked_bytes)));
    reclaim.into_iter().chain(drop).collect::<Vec<_>>().join(" and ")
}

/// What is on the node.
pub fn render_inventory(inventory: &Inventory, look: Look) -> String {
    let mut text = format!("{}\n\n", look.bold(&format!("{} images on {}", inventory.images.len(), printable(&inventory.node))));
    let mut images: Vec<&Image> = inventory.images.iter().collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
    for image in images {
        let age = image
            .pulled_at
            .and_then(|at| inventory.taken_at.since(at))
            .map_or("age unknown".into(), |age: Duration| format!("{} {} ago", since_what(image), human_span(age)));
        let pin = image.pinned.as_ref().map_or(String::new(), |_| " · pinned".into());
        _ = writeln!(text, "{}", look.bold(&printable(image.display_name())));
        _ = writeln!(text, "  {} · {age} · {}{pin}", human_bytes(image.size_bytes), look.dim(&printable(image.id.short())));
        for reference in image.references.iter().filter(|name| name.as_str() != image.display_name()) {
            _ = writeln!(text, "  {}", look.dim(&printable(reference.as_str())));
        }
        for user in &image.users {
            _ = writeln!(text, "  in use: {}", printable(&user.to_string()));
        }
    }
    for disk in &inventory.disks {
        _ = writeln!(text, "\n{} {}", disk_bar(disk.usage, disk.usage, look), look.dim(&printable(&disk.path.display().to_string())));
    }
    for gap in &inventory.gaps {
        _ = writeln!(text, "{} {}", look.paint(&Style::new().yellow(), "note:"), printable(gap));
    }
    text
}

/// The configuration in force, as TOML with the source of each value behind it.
pub fn render_config(config: &Config, look: Look) -> String {
    let mut text = String::new();
    let mut section = "";
    for (key, (value, sources)) in &config.keys {
        let (own, name) = key.split_once('.').unwrap_or(("", key));
        if own != section {
            _ = writeln!(text, "{}{}", if section.is_empty() { "" } else { "\n" }, look.bold(&format!("[{own}]")));
            section = own;
        }
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        _ = writeln!(
            text,
            "{} {}",
            pad_str(&format!("{name} = {value}"), 40, Alignment::Left, None),
            look.dim(&format!("# {}", sources.join(", ")))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::PulledAtSource;
    use crate::inventory::samples::{image, inventory, now, policy, used_image};
    use crate::plan::Plan;
    use crate::report::{Run, Trigger};

    const LONG: &str = "registry.example.com/platform/observability/metritrics-collector-sidecar:v1.24.3";

    /// Lines of the tables that `images` make on a terminal of this width.
    fn lines(images: Vec<Image>, width: usize) -> Vec<String> {
        let node = inventory(images);
        let run = Run { dry_run: true, trigger: Trigger::Person, started_at: now(), finished_at: now(), memory: None };
        let report = Report::new(&node, &Plan::new(&node, &policy()), None, &run);
        let text = render_report(&report, Look { colors: false, width });
        text.lines().skip_while(|line| !line.ends_with("WHY")).take_while(|line| !line.starts_with("Would")).map(str::to_owned).collect()
    }

    /// The columns from `WHY` on.
    fn whys(lines: &[String]) -> Vec<String> {
        let start = lines[0].chars().count() - 3;
        lines.iter().filter(|line| !line.is_empty()).map(|line| line.chars().skip(start).collect()).collect()
    }

    #[test]
    fn an_age_of_which_only_the_first_sight_is_known_is_not_called_that_of_a_pull() {
        let seen = Image { pulled_at_source: Some(PulledAtSource::FirstSeen), ..image("quay.io/a/seen:1") };
        let unknown = Image { pulled_at: None, pulled_at_source: None, ..image("quay.io/a/unknown:1") };
        let text = render_inventory(&inventory(vec![image("quay.io/a/pulled:1"), seen, unknown]), Look { colors: false, width: 80 });
        let ages: Vec<&str> = text.lines().filter_map(|line| line.split(" · ").nth(1)).collect();
        assert_eq!(ages, ["pulled 24 h ago", "first seen 24 h ago", "age unknown"]);
    }

    #[test]
    fn a_name_that_is_short_is_whole_although_the_reason_is_cut() {
        let lines = lines(vec![image("quay.io/a/app:1"), used_image("quay.io/a/web:1")], 80);
        assert!(lines.iter().any(|line| line.starts_with("- quay.io/a/app:1 (+2) ")), "{lines:#?}");
        assert!(whys(&lines).contains(&"unused: nothing uses it, pulled 24 h …".to_owned()), "{lines:#?}");
    }

    #[test]
    fn a_reason_has_room_for_a_sentence_beside_the_longest_name() {
        for (width, reason, name) in [
            (60, "unused: nothi…", "- registry.…r:v1.24.3 (+2) "),
            (80, "unused: nothing uses it, pulled 2…", "- registry.…r:v1.24.3 (+2) "),
            (120, "unused: nothing uses it, pulled 24 h ago", "- registry.example.com/platf…-collector-sidecar:v1.24.3 (+2) "),
            (
                usize::MAX,
                "unused: nothing uses it, pulled 24 h ago",
                "- registry.example.com/platform/ob…trics-collector-sidecar:v1.24.3 (+2) ",
            ),
        ] {
            let lines = lines(vec![image(LONG), used_image("quay.io/a/web:1")], width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
            assert!(whys(&lines).contains(&reason.to_owned()), "{width}: {lines:#?}");
            assert!(lines.iter().any(|line| line.contains(name)), "{width}: {lines:#?}");
        }
    }
}
