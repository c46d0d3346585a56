//! How gently a plan is carried out: how much, how long, with what rests, and not while the disks are busy.
//!
//! The work is done by the runtime, so no weight on our own process slows it: only resting does.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::report::NotAttempted;
use crate::signals::Interrupt;

/// Share of time in which something waited for a disk (`Documentation/accounting/psi.rst`, Linux 4.20+).
const PRESSURE: &str = "/proc/pressure/io";
/// Longest wait for the pressure to fall.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often the pressure is looked at while it is too high; the kernel renews its averages every 2 s.
const LOOK: Duration = Duration::from_secs(2);
/// How often a rest looks up to see an interruption.
const TICK: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Images that are checked and removed together.
    pub batch: usize,
    /// Images a run.
    pub max_images: Option<usize>,
    /// No batch begins after this long.
    pub max_duration: Option<Duration>,
    /// Rest between batches.
    pub delay: Duration,
    /// Percent of the time in which something may wait for a disk.
    pub max_io_pressure: Option<u8>,
}

/// A run that keeps the pace.
pub struct Paced<'a> {
    pace: &'a Pace,
    interrupt: &'a Interrupt,
    started: Instant,
    attempted: usize,
    pressure: fn() -> Option<f64>,
    /// The pressure was asked for and can't be told.
    is_blind: bool,
    /// It was waited for in vain.
    was_too_busy: bool,
}

impl<'a> Paced<'a> {
    /// Begins now.
    pub fn new(pace: &'a Pace, interrupt: &'a Interrupt) -> Self {
        Self { pace, interrupt, started: Instant::now(), attempted: 0, pressure: io_pressure, is_blind: false, was_too_busy: false }
    }

    /// Rests before the next batch; how many images it may have at most, or why there is none.
    pub fn next_batch(&mut self) -> Result<usize, NotAttempted> {
        let left = self.pace.max_images.map_or(usize::MAX, |most| most.saturating_sub(self.attempted));
        if left == 0 && !self.interrupt.is_set() {
            return Err(NotAttempted::LimitReached);
        }
        if self.attempted > 0 {
            self.rest(self.pace.delay);
        }
        self.wait_for_disks()?;
        match self.pace.max_duration {
            _ if self.interrupt.is_set() => Err(NotAttempted::Interrupted),
            Some(most) if self.started.elapsed() >= most => Err(NotAttempted::LimitReached),
            Some(_) | None => Ok(self.pace.batch.max(1).min(left)),
        }
    }

    /// Counts images whose removal was asked for.
    pub fn attempt(&mut self, images: usize) {
        self.attempted += images;
    }

    /// What there is to say of waiting for the disks.
    pub fn gap(&self) -> Option<String> {
        if self.was_too_busy {
            return Some(format!("ended early, as the disks stayed busier than max_io_pressure allows ({PRESSURE})"));
        }
        self.is_blind.then(|| format!("this kernel doesn't tell how busy the disks are ({PRESSURE}), so nothing waited for them"))
    }

    fn wait_for_disks(&mut self) -> Result<(), NotAttempted> {
        let Some(most) = self.pace.max_io_pressure else {
            return Ok(());
        };
        let waiting = Instant::now();
        loop {
            match (self.pressure)() {
                None => self.is_blind = true,
                Some(pressure) if pressure > f64::from(most) && !self.interrupt.is_set() => {
                    if waiting.elapsed() >= self.pace.max_duration.map_or(PATIENCE, |most| most.min(PATIENCE)) {
                        self.was_too_busy = true;
                        return Err(NotAttempted::LimitReached);
                    }
                    self.rest(LOOK);
                    continue;
                }
                Some(_) => {}
            }
            return Ok(());
        }
    }

    /// Does nothing for so long, or until a signal comes.
    fn rest(&self, span: Duration) {
        let end = Instant::now() + span;
        while !self.interrupt.is_set() && Instant::now() < end {
            thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

fn io_pressure() -> Option<f64> {
    parse_pressure(&fs::read_to_string(PRESSURE).ok()?)
}

/// `some avg10=1.53 avg60=… avg300=… total=…`: percent of the last ten seconds.
fn parse_pressure(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    fn paced<'a>(pace: &'a Pace, interrupt: &'a Interrupt, pressure: fn() -> Option<f64>) -> Paced<'a> {
        Paced { pressure, ..Paced::new(pace, interrupt) }
    }

    #[test]
    fn reads_the_kernels_own_words() {
        let text = "some avg10=12.53 avg60=3.10 avg300=0.84 total=1234\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=99\n";
        assert_eq!(parse_pressure(text), Some(12.53));
        for text in ["", "full avg10=1.00\n", "some avg10=x\n", "some avg60=1\n"] {
            assert_eq!(parse_pressure(text), None, "{text}");
        }
    }

    #[test]
    fn a_batch_is_never_larger_than_what_is_left_of_the_limit() {
        let interrupt = Interrupt::default();
        let pace = Pace { batch: 10, max_images: Some(13), ..Pace::default() };
        let mut run = paced(&pace, &interrupt, || None);
        assert_eq!(run.next_batch(), Ok(10));
        run.attempt(8);
        assert_eq!(run.next_batch(), Ok(5));
        run.attempt(5);
        assert_eq!(run.next_batch(), Err(NotAttempted::LimitReached));
        assert_eq!(run.gap(), None);
    }

    #[test]
    fn no_batch_begins_when_the_time_is_up() {
        let (interrupt, pace) = (Interrupt::default(), Pace { batch: 1, max_duration: Some(Duration::ZERO), ..Pace::default() });
        assert_eq!(paced(&pace, &interrupt, || None).next_batch(), Err(NotAttempted::LimitReached));
    }

    #[test]
    fn a_signal_ends_a_rest_and_a_wait() {
        let interrupt = Interrupt::default();
        interrupt.set(Signal::SIGTERM);
        let pace = Pace { batch: 1, delay: Duration::from_hours(1), max_io_pressure: Some(5), ..Pace::default() };
        let mut run = paced(&pace, &interrupt, || Some(99.0));
        run.attempt(1);
        assert_eq!(run.next_batch(), Err(NotAttempted::Interrupted));
    }

    #[test]
    fn waits_while_the_disks_are_busy_but_not_for_ever() {
        let interrupt = Interrupt::default();
        let pace = Pace { batch: 1, max_io_pressure: Some(5), max_duration: Some(Duration::ZERO), ..Pace::default() };
        let mut run = paced(&pace, &interrupt, || Some(5.01));
        assert_eq!(run.next_batch(), Err(NotAttempted::LimitReached));
        assert!(run.gap().is_some_and(|gap| gap.contains("busier than max_io_pressure")));
        let pace = Pace { max_duration: None, ..pace };
        assert_eq!(paced(&pace, &interrupt, || Some(5.0)).next_batch(), Ok(1));
    }

    #[test]
    fn a_kernel_that_tells_no_pressure_is_noted() {
        let (interrupt, pace) = (Interrupt::default(), Pace { batch: 1, max_io_pressure: Some(5), ..Pace::default() });
        let mut run = paced(&pace, &interrupt, || None);
        assert_eq!(run.next_batch(), Ok(1));
        assert!(run.gap().is_some_and(|gap| gap.contains("doesn't tell how busy")));
    }
}
