//! The medians, side by side.

use lab::Usage;

use crate::ways::{Own, Setup, Trial, Way};

/// One line a way, in the order in which they first ran.
pub fn print_table(count: usize, trials: &[Trial], planning: &[(Setup, Vec<Usage>, Vec<String>)]) {
    for (setup, _, programs) in planning {
        println!("programs of {} with {count} images:", setup.name());
        for program in programs {
            println!("  {program}");
        }
    }
    let mut ways: Vec<Way> = Vec::new();
    for trial in trials {
        if !ways.contains(&trial.way) {
            ways.push(trial.way);
        }
    }
    let of = |way: Way| trials.iter().filter(move |trial| trial.way == way);
    // Where nothing is left, what is in use is what nobody could have freed.
    let least = trials.iter().filter(|trial| trial.is_clean()).map(|trial| trial.used).min().unwrap_or(0);
    let fastest =
        ways.iter().filter(|way| !matches!(way, Way::Product(_)) && of(**way).all(|trial| trial.is_clean() && !trial.is_extrapolated));
    let fastest = fastest.map(|way| median(of(*way).map(|trial| trial.time))).min().unwrap_or_default();
    println!("\n{count} images, medians of {}", of(ways[0]).count());
    println!(
        "{:<31} {:>8} {:>6} {:>5} {:>6} {:>9} {:>8} {:>8} {:>6} {:>9}",
        "way", "seconds", "ratio", "code", "refs", "KiB left", "own CPU", "peak KiB", "starts", "said/real"
    );
    for &way in &ways {
        let rows: Vec<&Trial> = of(way).collect();
        let time = median(rows.iter().map(|trial| trial.time));
        let mark = if rows[0].is_extrapolated { "~" } else { "" };
        let own: Vec<Own> = rows.iter().filter_map(|trial| trial.own).collect();
        let starts = planning.iter().find(|(setup, ..)| way == Way::Product(*setup)).map(|(_, _, programs)| programs.len());
        let said =
            rows.iter().filter_map(|trial| Some(percent(trial.own?.reported, trial.freed))).max_by_key(|percent| percent.abs_diff(100));
        println!(
            "{:<31} {:>8} {:>6.2} {:>5} {:>6} {:>9} {:>8} {:>8} {:>6} {:>9}",
            way.name(),
            format!("{mark}{:.2}", time.as_secs_f64()),
            time.as_secs_f64() / fastest.as_secs_f64(),
            rows.iter().map(|trial| trial.exit_code).max().unwrap_or_default(),
            median(rows.iter().map(|trial| trial.left.references)),
            // A sample leaves the rest in place.
            if rows[0].is_extrapolated {
                "-".into()
            } else {
                (median(rows.iter().map(|trial| trial.used)).saturating_sub(least) >> 10).to_string()
            },
            or_dash(&own, |own| format!("{:.2}", median(own.iter().map(|own| own.usage.cpu)).as_secs_f64())),
            or_dash(&own, |own| (median(own.iter().map(|own| own.usage.peak_memory)) >> 10).to_string()),
            starts.map_or("-".into(), |starts| starts.to_string()),
            said.map_or("-".into(), |said| format!("{said} %")),
        );
    }
    for (setup, usages, _) in planning {
        let of = |figure: fn(&Usage) -> u128| median(usages.iter().map(figure));
        let (time, cpu) = (of(|usage| usage.time.as_millis()), of(|usage| usage.cpu.as_millis()));
        println!("{}, planning alone: {time} ms, own CPU {cpu} ms, peak {} KiB", setup.name(), of(|usage| usage.peak_memory.into()) >> 10);
    }
    let time = |way: Way| median(of(way).map(|trial| trial.time)).as_secs_f64();
    if ways.contains(&Way::Rmi) && ways.contains(&Way::Product(Setup::Crictl)) {
        let ratio = time(Way::Product(Setup::Crictl)) / time(Way::Rmi);
        println!("nuke-images, crictl only: {ratio:.2} of crictl -t 300s rmi, the fastest that needs no ctr");
    }
}

impl Trial {
    fn is_clean(&self) -> bool {
        self.left.references == 0 && self.left.blobs == 0 && self.left.snapshots == 0
    }
}

fn or_dash(own: &[Own], show: impl Fn(&[Own]) -> String) -> String {
    if own.is_empty() { "-".into() } else { show(own) }
}

fn percent(said: u64, real: u64) -> u64 {
    (said * 100).checked_div(real).unwrap_or(0)
}

fn median<T: Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}
