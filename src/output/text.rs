//! Tables for people: what goes, what stays and why, totals, and the disk as a bar.
//!
//! Names that others chose are printed without control characters.

use std::fmt::Write as _;
use std::time::Duration;

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

use super::memory;
use crate::config::Config;
use crate::inventory::{BytesAre, DiskUsage, Image, Inventory, Runtime};
use crate::policy::{Keep, since_what};
use crate::report::{ImageReport, Report, Summary, TargetReport};

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
    pub(super) fn paint(self, style: &Style, text: &str) -> String {
        style.clone().force_styling(self.colors).apply_to(text).to_string()
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint(&Style::new().bold(), text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(&Style::new().dim(), text)
    }
}

/// A run, planned or done.
pub fn render_report(report: &Report, look: Look) -> String {
    let mut text = heading(report, look);
    let age = |at: Option<Timestamp>| at.and_then(|at| report.started_at.since(at)).map_or("?".into(), human_span);
    let (going, staying): (Vec<&ImageReport>, Vec<&ImageReport>) = report.images.iter().partition(|image| image.verdict == "remove");
    let is_later = |image: &&&ImageReport| match image.outcome {
        Some(outcome) => outcome == "not_attempted",
        None => image.removal_order >= Some(report.summary.expected_removals),
    };
    let (later, going): (Vec<&ImageReport>, Vec<&ImageReport>) = going.iter().partition(is_later);
    let by_size = |images: &[&ImageReport]| {
        let mut rows: Vec<Row> = images.iter().map(|image| row(image, age(image.pulled_at), look)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        rows
    };
    let mut staying = staying;
    let rank = |image: &ImageReport| Keep::ALL.iter().position(|keep| keep.key() == image.reason);
    staying.sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
    let staying_rows: Vec<Row> = staying.iter().map(|image| row(image, age(image.pulled_at), look)).collect();
    let title = match going.iter().any(|image| image.outcome.is_some()) {
        true if going.iter().all(|image| image.outcome == Some("removed")) => "REMOVED",
        true => "WAS TO BE REMOVED",
        false => "TO REMOVE",
    };
    table(&mut text, &[(title, by_size(&going)), ("COULD GO", by_size(&later)), ("KEPT", staying_rows)], look);
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

fn table(text: &mut String, parts: &[(&str, Vec<Row>)], look: Look) {
    let widest = |cell: fn(&Row) -> usize| parts.iter().flat_map(|(_, rows)| rows).map(cell).max().unwrap_or(0);
    let age = widest(|row| measure_text_width(&row.age)).max(6);
    let why = widest(|row| measure_text_width(&row.why)).min(WHY);
    // A mark, a size of ten, and the blanks between the columns.
    let room = look.width.saturating_sub(2 + 1 + 10 + 1 + age + 1 + 1 + why);
    let name = widest(|row| measure_text_width(&row.name) + row.more.len()).min(room.max(SHORT_NAME)).max(20);
    for (title, rows) in parts {
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
    } else if let Some(target) = report.target.as_ref().filter(|target| !target.is_due) {
        let (could, begins) = (summary.planned_removals, target.begins_when());
        _ = writeln!(
            text,
            "{}: no image file system is {begins}; {could} of {} images could go.",
            bold("Nothing to do".into()),
            summary.images
        );
    } else if done {
        _ = writeln!(
            text,
            "{}, {} given back; {}.",
            bold(format!("Removed {} of {}", summary.removed, summary.images)),
            human_bytes(summary.reclaimed_bytes),
            not_done(summary)
        );
    } else {
        let planned = format!("Would remove {} of {} images", summary.expected_removals, summary.images);
        let wanted = report.target.as_ref().map_or(summary.planned_removals, |target| target.needed_removals);
        let limit = if summary.expected_removals < wanted { ", as many as a run may" } else { "" };
        let until =
            report.target.as_ref().map_or_else(String::new, |target| format!(", until each image file system is {}", target.ends_when()));
        _ = writeln!(text, "{}{limit}{until}, giving back {}.", bold(planned), amount(summary.expected_bytes, summary.bytes_are));
    }
    if let Some(target) = report.target.as_ref().filter(|target| target.is_due) {
        let is_over = done || (summary.planned_removals == 0 && !report.dry_run);
        _ = writeln!(text, "{}", target_words(target, is_over, look));
    }
    let kept = kept_by_rule(summary);
    if summary.planned_removals > 0 && !kept.is_empty() {
        _ = writeln!(text, "Kept: {kept}.");
    }
    for disk in &report.disks {
        let after = disk.after.unwrap_or(disk.before);
        let beside = if disk.holds.is_images() { "" } else { " (what containers write, no images)" };
        let path = format!("{}{beside}", printable(&disk.path.display().to_string()));
        _ = writeln!(text, "{} {}", disk_bar(disk.before, after, look), look.dim(&path));
    }
    report.memory.iter().for_each(|memory| text.push_str(&memory::lines(memory, look)));
    for refusal in &report.refusals {
        _ = writeln!(text, "{} {refusal}", look.paint(&Style::new().yellow(), "would be refused:"));
    }
    for gap in &report.gaps {
        _ = writeln!(text, "{} {}", look.paint(&Style::new().yellow(), "note:"), printable(gap));
    }
}

/// How far it got or will get, and what stands in the way.
fn target_words(target: &TargetReport, is_over: bool, look: Look) -> String {
    let yellow = |words: &str| look.paint(&Style::new().yellow(), words);
    let in_the_way = match target.obstacles() {
        none if none.is_empty() => "nothing is left that is an image".into(),
        some => format!("in the way are {some}, which hold {}", human_bytes(target.in_the_way_bytes)),
    };
    let ends = target.ends_when();
    match (target.is_met, is_over) {
        (true, _) => format!("{}: each image file system is {ends}.", look.bold("Target met")),
        (false, true) => {
            let missing = missing(target, " more");
            format!("{} {missing} until each image file system is {ends}; {in_the_way}.", yellow("target not met:"))
        }
        (false, false) if target.needed_bytes < target.missing_bytes || target.needed_inodes < target.missing_inodes => {
            format!("{} {}, and {in_the_way}.", yellow("not enough for the target:"), missing(target, ""))
        }
        (false, false) => format!("Until then {}.", missing(target, "")),
    }
}

/// A file system that can't be measured any more lacks nothing that can be told.
fn missing(target: &TargetReport, more: &str) -> String {
    match target.missing() {
        none if none.is_empty() => "it can't be told what has to come free".into(),
        some => format!("{some}{more} have to come free"),
    }
}

/// Bytes that images would give back, and how well that is known.
pub fn amount(bytes: u64, are: BytesAre) -> String {
    let bytes = human_bytes(bytes);
    match are {
        BytesAre::Counted => format!("about {bytes}"),
        BytesAre::UpperBound => format!("at most {bytes} (what images share counts with each of them)"),
        BytesAre::PackedSizes => format!("{bytes} by their packed sizes (without ctr it can't be told what they take unpacked or share)"),
    }
}

fn of_images(summary: &Summary) -> String {
    match summary.images {
        0 => "there are no images".into(),
        1 => format!("the only image is kept ({})", kept_by_rule(summary)),
        images => format!("all {images} images are kept ({})", kept_by_rule(summary)),
    }
}

pub(super) fn not_done(summary: &Summary) -> String {
    let counts = [
        ("failed", summary.failed),
        ("spared", summary.spared),
        ("removed by somebody else", summary.gone),
        ("not attempted", summary.not_attempted),
    ];
    let words: Vec<String> = counts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { "none failed".into() } else { words.join(", ") }
}

pub(super) fn kept_by_rule(summary: &Summary) -> String {
    let count = |keep: &Keep| Some((summary.kept.get(keep.key()).copied().filter(|&count| count > 0)?, keep.words()));
    let words: Vec<String> = Keep::ALL.iter().filter_map(count).map(|(count, words)| format!("{count} {words}")).collect();
    words.join(" · ")
}

/// `Disk [███████░░░░░] 62 % → 48 % of 40 GiB`, and inodes where these are what is short.
fn disk_bar(before: DiskUsage, after: DiskUsage, look: Look) -> String {
    // What is kept back for root is not free, for thresholds and the kubelet neither.
    let used = |usage: DiskUsage| usage.total_bytes.saturating_sub(usage.free_bytes());
    let inodes = |usage: DiskUsage| share(usage.used_inodes, usage.total_inodes, 100);
    let inodes = match (inodes(before), inodes(after)) {
        (was, is) if was > share(used(before), before.total_bytes, 100) => format!(", {} of the inodes", change(was, is, before == after)),
        _ => String::new(),
    };
    format!("{}{inodes}", bar("Disk", [used(before), used(after)], before.total_bytes, before == after, look))
}

fn share(part: u64, of: u64, cells: u64) -> u64 {
    part.saturating_mul(cells).checked_div(of).unwrap_or(0)
}

fn change(was: u64, is: u64, is_same: bool) -> String {
    if is_same { format!("{was} %") } else { format!("{was} % → {is} %") }
}

/// `what [███░░] 62 % → 48 % of 40 GiB`.
pub(super) fn bar(what: &str, [before, after]: [u64; 2], total: u64, is_same: bool, look: Look) -> String {
    let cells = |used| usize::try_from(share(used, total, BAR as u64)).unwrap_or(BAR).min(BAR);
    let (full, was) = (cells(after), cells(before).max(cells(after)));
    let freed = look.paint(&Style::new().green(), &"▒".repeat(was - full));
    let bar = format!("{}{freed}{}", "█".repeat(full), look.dim(&"░".repeat(BAR - was)));
    let change = change(share(before, total, 100), share(after, total, 100), is_same);
    format!("{what} [{bar}] {change} of {}", human_bytes(total))
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
    use crate::inventory::samples::{disk, image, inventory, now, parts, policy, used_image};
    use crate::plan::{Plan, Target};
    use crate::policy::Policy;
    use crate::report::{Execution, NotAttempted, Outcome, Run, Trigger};

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

    /// What stands below the tables for three images of 10, 20 and 30 bytes on a file system of 1,000 bytes.
    fn totals_of(used: u64, runtime: &str, outcomes: Option<Vec<Outcome>>) -> String {
        let with = |image: Image, part| Image { parts: vec![part], ..image };
        let images = [image("quay.io/a/a:1"), image("quay.io/a/b:1"), used_image("quay.io/a/c:1")];
        let mut node = inventory(images.into_iter().zip(0..).map(|(image, part)| with(image, part)).collect());
        (node.parts, node.disks) = (parts(&[10, 20, 30]), vec![disk("/images", used)]);
        node.runtime.name = runtime.trim_end_matches(" without ctr").into();
        node.runtime.ctr = node.runtime.ctr.filter(|_| !runtime.ends_with("without ctr"));
        let target = Target { high: Some(80), low: Some(78), free_bytes: None };
        let plan = Plan::new(&node, &Policy { target: (used > 0).then_some(target), ..policy() });
        let given_back: u64 = plan
            .removals
            .iter()
            .zip(outcomes.iter().flatten())
            .filter(|(_, o)| **o == Outcome::Removed)
            .map(|(r, _)| r.gives_back.bytes)
            .sum();
        let execution = outcomes.map(|outcomes| Execution {
            outcomes,
            disks: vec![disk("/images", used.saturating_sub(given_back))],
            reclaimed_bytes: given_back,
            gaps: Vec::new(),
        });
        let run = Run { dry_run: execution.is_none(), trigger: Trigger::Person, started_at: now(), finished_at: now(), memory: None };
        let text = render_report(&Report::new(&node, &plan, execution.as_ref(), &run), Look { colors: false, width: 200 });
        text.rsplit("\n\n").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn says_how_well_the_bytes_are_known_that_images_would_give_back() {
        for (runtime, words) in [
            ("containerd", "giving back about 30 B."),
            (
                "containerd without ctr",
                "giving back 30 B by their packed sizes (without ctr it can't be told what they take unpacked or share).",
            ),
            ("cri-o without ctr", "giving back at most 30 B (what images share counts with each of them)."),
        ] {
            let totals = totals_of(0, runtime, None);
            assert!(totals.starts_with("Would remove 2 of 3 images, ") && totals.contains(words), "{totals}");
        }
    }

    #[test]
    fn says_that_a_run_may_not_do_all_of_it() {
        let node = inventory(vec![image("quay.io/a/a:1"), image("quay.io/a/b:1"), used_image("quay.io/a/c:1")]);
        let plan = Plan::new(&node, &policy());
        let run = Run { dry_run: true, trigger: Trigger::Person, started_at: now(), finished_at: now(), memory: None };
        let report = |most| Report::new(&node, &plan, None, &run).limited_to(most, &plan);
        for (most, words) in
            [(Some(1), "Would remove 1 of 3 images, as many as a run may, giving"), (Some(2), "Would remove 2 of 3 images, giving")]
        {
            let text = render_report(&report(most), Look { colors: false, width: 200 });
            assert!(text.contains(words), "{text}");
            assert_eq!(text.contains("  COULD GO "), most == Some(1), "{text}");
        }
    }

    #[test]
    fn says_that_there_is_nothing_to_do_below_the_mark() {
        for outcomes in [None, Some(vec![Outcome::NotAttempted(NotAttempted::TargetMet); 2])] {
            let totals = totals_of(790, "containerd", outcomes);
            assert!(totals.starts_with("Nothing to do: no image file system is fuller than 80 %; 2 of 3 images could go.\n"), "{totals}");
            assert!(!totals.contains("arget"), "{totals}");
        }
    }

    #[test]
    fn says_how_far_it_will_get_or_got_and_what_stands_in_the_way() {
        let removed =
            |count: usize| [vec![Outcome::Removed; count], vec![Outcome::NotAttempted(NotAttempted::TargetMet); 2 - count]].concat();
        let until = "until each image file system is no fuller than 78 %";
        for (used, outcomes, parts) in [
            (
                801,
                None,
                [format!("Would remove 2 of 3 images, {until}, giving back about 30 B."), "Until then 21 B have to come free.".into()],
            ),
            (
                900,
                None,
                [
                    format!("Would remove 2 of 3 images, {until}, giving back about 30 B."),
                    "not enough for the target: 120 B have to come free, and in the way are 1 in use, which hold 30 B.".into(),
                ],
            ),
            (
                801,
                Some(removed(2)),
                ["Removed 2 of 3, 30 B given back".into(), "Target met: each image file system is no fuller than 78 %.".into()],
            ),
            (
                900,
                Some(vec![Outcome::Removed, Outcome::Failed("busy".into())]),
                [
                    "Removed 1 of 3".into(),
                    format!("target not met: 100 B more have to come free {until}; in the way are 1 failed · 1 in use, which hold 40 B."),
                ],
            ),
        ] {
            let totals = totals_of(used, "containerd", outcomes);
            assert!(parts.iter().all(|part| totals.contains(part)), "{used}: {parts:?}\n{totals}");
        }
    }

    #[test]
    fn a_disk_that_lacks_inodes_says_so_and_what_root_has_for_itself_is_not_free() {
        let usage = |used_bytes, used_inodes| DiskUsage {
            used_bytes,
            total_bytes: 1_000,
            used_inodes,
            total_inodes: 100,
            available_bytes: Some(950 - used_bytes),
        };
        let bar = |before, after| disk_bar(before, after, Look { colors: false, width: 80 });
        assert!(
            bar(usage(450, 91), usage(450, 91)).ends_with("] 50 % of 1000 B, 91 % of the inodes"),
            "{}",
            bar(usage(450, 91), usage(450, 91))
        );
        assert!(bar(usage(450, 10), usage(350, 9)).ends_with("] 50 % → 40 % of 1000 B"));
        assert!(bar(usage(450, 91), usage(350, 9)).ends_with("] 50 % → 40 % of 1000 B, 91 % → 9 % of the inodes"));
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
