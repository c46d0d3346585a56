//! How full the file systems of the images may be: when to begin, when to stop, and how much is missing until then.

use crate::inventory::{Disk, DiskUsage, Space};

/// How full the file systems of the images may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Act when one is fuller than this, in percent of its bytes or inodes.
    pub high: Option<u8>,
    /// One that was is to be no fuller than this.
    pub low: Option<u8>,
    /// Act when one has less free, stop when none has.
    pub free_bytes: Option<u64>,
}

impl Target {
    /// Is one of them too full? What can't be measured isn't.
    pub fn is_exceeded(&self, disks: &[Disk]) -> bool {
        of_images(disks).any(|disk| self.is_high(disk.usage) || self.lacks(disk.usage))
    }

    /// Is each that was there `before` as empty as it is to be? One that can't be measured now isn't.
    pub fn is_met(&self, before: &[Disk], now: &[Disk]) -> bool {
        of_images(before).next().is_some()
            && of_images(before).all(|was| now_of(was, now).is_some_and(|usage| self.missing_on(was.usage, usage) == Space::default()))
    }

    /// Can each that was there `before` be measured now?
    pub fn is_measured(before: &[Disk], now: &[Disk]) -> bool {
        of_images(before).all(|was| now_of(was, now).is_some())
    }

    /// What has to come free on the one that lacks most before it is met, as far as they can be measured.
    pub fn missing(&self, before: &[Disk], now: &[Disk]) -> Space {
        let missing = of_images(before).filter_map(|was| Some(self.missing_on(was.usage, now_of(was, now)?)));
        missing.fold(Space::default(), |most, one| Space { bytes: most.bytes.max(one.bytes), inodes: most.inodes.max(one.inodes) })
    }

    fn missing_on(&self, was: DiskUsage, now: DiskUsage) -> Space {
        // Only one that was too full goes down to the low mark: the one between both marks is left alone.
        let low = if self.is_high(was) { self.low } else { self.high };
        let may = |total: u64| low.map_or(total, |low| share(total, low));
        let bytes = now.total_bytes - may(now.total_bytes);
        Space {
            bytes: bytes.max(self.free_bytes.unwrap_or(0)).saturating_sub(now.free_bytes()),
            inodes: now.used_inodes.saturating_sub(may(now.total_inodes)),
        }
    }

    fn is_high(&self, usage: DiskUsage) -> bool {
        self.high.is_some_and(|high| usage.percent_full() > high)
    }

    fn lacks(&self, usage: DiskUsage) -> bool {
        self.free_bytes.is_some_and(|wanted| usage.free_bytes() < wanted)
    }
}

fn of_images(disks: &[Disk]) -> impl Iterator<Item = &Disk> {
    disks.iter().filter(|disk| disk.holds.is_images())
}

fn now_of(was: &Disk, now: &[Disk]) -> Option<DiskUsage> {
    now.iter().find(|disk| disk.path == was.path).map(|disk| disk.usage)
}

/// Rounded down: a whole of which so much is used is no fuller than `percent`.
fn share(total: u64, percent: u8) -> u64 {
    total / 100 * u64::from(percent) + total % 100 * u64::from(percent) / 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory::Holds;
    use crate::inventory::samples::disk;

    const MARKS: Target = Target { high: Some(80), low: Some(70), free_bytes: None };

    fn with_inodes(path: &str, used: u64, used_inodes: u64) -> Disk {
        let disk = disk(path, used);
        Disk { usage: DiskUsage { used_inodes, total_inodes: 1_000, ..disk.usage }, ..disk }
    }

    fn space(bytes: u64, inodes: u64) -> Space {
        Space { bytes, inodes }
    }

    #[test]
    fn it_begins_above_the_high_mark_and_not_at_it() {
        for (used, exceeded) in [(0, false), (790, false), (800, false), (801, true), (1_000, true)] {
            assert_eq!(MARKS.is_exceeded(&[disk("/a", used)]), exceeded, "{used}");
            assert_eq!(MARKS.is_exceeded(&[with_inodes("/a", 0, used)]), exceeded, "{used} inodes");
        }
        let free = Target { high: None, low: None, free_bytes: Some(200) };
        for (used, exceeded) in [(799, false), (800, false), (801, true)] {
            assert_eq!(free.is_exceeded(&[disk("/a", used)]), exceeded, "{used}");
        }
    }

    #[test]
    fn what_was_too_full_is_met_at_the_low_mark_and_what_was_not_is_met_as_it_is() {
        let full = [disk("/a", 900)];
        for (used, met, missing) in [(900, false, 200), (750, false, 50), (701, false, 1), (700, true, 0), (10, true, 0)] {
            let now = [disk("/a", used)];
            assert_eq!((MARKS.is_met(&full, &now), MARKS.missing(&full, &now)), (met, space(missing, 0)), "{used}");
        }
        let between = [disk("/a", 750)];
        assert!(MARKS.is_met(&between, &between));
        let both = [disk("/a", 900), disk("/b", 750)];
        assert!(MARKS.is_met(&both, &[disk("/a", 700), disk("/b", 750)]));
    }

    #[test]
    fn inodes_count_like_bytes() {
        let full = [with_inodes("/a", 100, 950)];
        let now = [with_inodes("/a", 50, 705)];
        assert_eq!((MARKS.is_met(&full, &now), MARKS.missing(&full, &now)), (false, space(0, 5)));
        assert!(MARKS.is_met(&full, &[with_inodes("/a", 50, 700)]));
        assert!(!MARKS.is_exceeded(&[disk("/a", 100)]), "a file system that counts no inodes never lacks them");
    }

    #[test]
    fn so_many_free_bytes_are_enough_though_the_low_mark_is_not_reached() {
        let target = Target { high: Some(80), low: Some(10), free_bytes: Some(300) };
        let lacking = [disk("/a", 750)];
        assert!(target.is_exceeded(&lacking) && !target.is_met(&lacking, &lacking));
        assert_eq!(target.missing(&lacking, &lacking), space(50, 0));
        assert!(target.is_met(&lacking, &[disk("/a", 700)]));
    }

    #[test]
    fn what_is_kept_back_for_root_is_not_free() {
        let mut full = disk("/a", 750);
        full.usage.available_bytes = Some(190);
        assert!(MARKS.is_exceeded(&[full.clone()]));
        assert_eq!(MARKS.missing(&[full.clone()], &[full]), space(110, 0));
    }

    #[test]
    fn nothing_begins_on_what_can_not_be_measured_and_nothing_is_met_on_it() {
        assert!(!MARKS.is_exceeded(&[]) && !MARKS.is_met(&[], &[]));
        let full = [disk("/a", 900), disk("/b", 900)];
        assert!(!MARKS.is_met(&full, &[disk("/a", 0)]));
    }

    #[test]
    fn what_containers_write_elsewhere_is_none_of_its_business() {
        let containers = Disk { holds: Holds::Containers, ..disk("/b", 1_000) };
        assert!(!MARKS.is_exceeded(&[disk("/a", 10), containers.clone()]));
        let full = [disk("/a", 900), containers.clone()];
        assert!(MARKS.is_met(&full, &[disk("/a", 700), containers]));
    }

    proptest! {
        #[test]
        fn it_is_met_exactly_where_nothing_is_missing(
            high in 1..=99_u8, low in 1..=99_u8, free in prop::option::of(0..2_000_u64),
            used in 0..=1_000_u64, inodes in 0..=1_000_u64, later in 0..=1_000_u64, total in 1..=u64::MAX,
        ) {
            let target = Target { high: Some(high), low: Some(low.min(high)), free_bytes: free };
            let (before, now) = ([with_inodes("/a", used, inodes)], [with_inodes("/a", later, inodes)]);
            let missing = target.missing(&before, &now);
            prop_assert_eq!(target.is_met(&before, &now), missing == Space::default());
            // What is missing is enough, and not a byte too much.
            let freed = |less: u64| [with_inodes("/a", later.saturating_sub(missing.bytes.saturating_sub(less)), inodes - missing.inodes)];
            let reachable = free.is_none_or(|free| free <= 1_000);
            prop_assert!(!reachable || target.is_met(&before, &freed(0)));
            prop_assert!(missing.bytes == 0 || !target.is_met(&before, &freed(1)));
            let above = target.is_exceeded(&now);
            prop_assert!(above || target.is_met(&now, &now), "what is not due is met");
            prop_assert!(u128::from(share(total, high)) == u128::from(total) * u128::from(high) / 100);
        }
    }
}
