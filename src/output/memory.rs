//! The memory step, for people.

use std::fmt::Write as _;

use console::Style;

use super::text::{Look, bar};
use crate::report::{Cache, MemoryOutcome, MemoryReport, MemoryUsage};
use crate::units::{human_bytes, printable};

/// What is not free as a bar, and what came of the memory step.
pub fn lines(memory: &MemoryReport, look: Look) -> String {
    let mut text = String::new();
    if let Some(before) = memory.before {
        let (after, used) = (memory.after.unwrap_or(before), |usage: MemoryUsage| usage.total_bytes.saturating_sub(usage.free_bytes));
        let bar = bar("Memory", [used(before), used(after)], before.total_bytes, before == after, look);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ReclaimReport;

    const GIB: u64 = 1 << 30;
    const LOOK: Look = Look { colors: false, width: 120 };

    fn usage(free: u64) -> MemoryUsage {
        let (total_bytes, free_bytes) = (10 * GIB, free * GIB);
        MemoryUsage { total_bytes, free_bytes, available_bytes: 6 * GIB, cached_bytes: 5 * GIB, reclaimable_slab_bytes: GIB }
    }

    #[test]
    fn what_would_be_done_is_said_before_and_what_came_of_it_afterwards() {
        let reclaim = ReclaimReport { cgroup: "kubepods.slice".into(), asked_bytes: 2 * GIB, given_back_bytes: 0 };
        let planned =
            MemoryReport { drop_caches: Some(Cache::Pages), reclaim: Some(reclaim), before: Some(usage(1)), ..MemoryReport::default() };
        let expected = "Memory [███████████████████████████░░░] 90 % of 10.0 GiB (free 1.0 GiB, available 6.0 GiB, cached 5.0 GiB, slab 1.0 GiB)\n\
                        Would ask kubepods.slice for 2.0 GiB and drop the page cache.\n";
        assert_eq!(lines(&planned, LOOK), expected);
        let done = MemoryReport { after: Some(usage(4)), given_back_bytes: 3 * GIB, outcome: Some(MemoryOutcome::Done), ..planned.clone() };
        let expected = "Memory [██████████████████▒▒▒▒▒▒▒▒▒░░░] 90 % → 60 % of 10.0 GiB \
                        (free 1.0 GiB → 4.0 GiB, available 6.0 GiB, cached 5.0 GiB, slab 1.0 GiB)\nMemory given back: 3.0 GiB.\n";
        assert_eq!(lines(&done, LOOK), expected);
        let hostile = MemoryReport { outcome: Some(MemoryOutcome::Failed), error: Some("no\u{1b}[2J".into()), ..planned };
        assert!(lines(&hostile, LOOK).ends_with("\nMemory could not be given back: no\\u{1b}[2J.\n"));
    }
}
