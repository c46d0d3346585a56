//! Cached memory, given back where that is asked for: by the kernel as a whole, or by one cgroup.
//!
//! It writes to `/proc/sys/vm/drop_caches` and to one `memory.reclaim`, and to neither unless the configuration asks for it.
//! What it says was given back is measured: the growth of free memory, or what the cgroup holds less.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::report::{Cache, MemoryOutcome, MemoryReport, MemoryUsage, ReclaimReport};
use crate::signals::Interrupt;
use crate::units::human_bytes;

/// Below the kernel's folder of processes (`Documentation/admin-guide/sysctl/vm.rst`).
const DROP_CACHES: &str = "sys/vm/drop_caches";
/// Of a cgroup, Linux 5.19 and newer (`Documentation/admin-guide/cgroup-v2.rst`).
const RECLAIM: &str = "memory.reclaim";
/// How much is asked for at once: between two of these an interruption is seen.
const STEP: u64 = 256 << 20;
/// The pods' cgroup where the kubelet speaks to systemd, and where it doesn't.
const PODS: [&str; 2] = ["kubepods.slice", "kubepods"];

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// What the kernel is told to drop.
    pub drop_caches: Option<Cache>,
    /// How many bytes one cgroup is asked for.
    pub reclaim: Option<u64>,
    /// Which one, below the root of the hierarchy.
    pub cgroup: String,
    /// Only while less than this many percent of the memory are available.
    pub when_available_below: Option<u8>,
}

impl Wish {
    /// Is nothing asked for?
    pub fn is_empty(&self) -> bool {
        self.drop_caches.is_none() && self.reclaim.is_none()
    }
}

/// The kernel, by where its files are.
pub struct Kernel<'a> {
    /// `/proc`.
    pub proc: &'a Path,
    /// `/sys/fs/cgroup`.
    pub cgroups: &'a Path,
    /// Writes to disk what is only in memory: without that, little can be dropped.
    pub sync: &'a dyn Fn(),
    /// Writes to one of its files, in a single call.
    pub write: &'a dyn Fn(&Path, &str) -> io::Result<()>,
}

impl Kernel<'static> {
    /// The one that runs.
    pub fn of_this_machine() -> Self {
        Self { proc: Path::new("/proc"), cgroups: Path::new("/sys/fs/cgroup"), sync: &nix::unistd::sync, write: &write_once }
    }
}

impl Kernel<'_> {
    /// What would be done, and how the memory is now.
    pub fn look(&self, wish: &Wish) -> MemoryReport {
        let mut report = MemoryReport {
            drop_caches: wish.drop_caches,
            reclaim: wish.reclaim.map(|asked_bytes| ReclaimReport { cgroup: wish.cgroup.clone(), asked_bytes, given_back_bytes: 0 }),
            ..MemoryReport::default()
        };
        match self.usage() {
            Ok(usage) => report.before = Some(usage),
            Err(error) => report.error = Some(format!("{error:#}")),
        }
        report
    }

    /// Does what is asked for; what fails is told, and what was given back until then is measured.
    pub fn give_back(&self, wish: &Wish, interrupt: &Interrupt) -> MemoryReport {
        let mut report = self.look(wish);
        let Some(before) = report.before else {
            report.outcome = Some(MemoryOutcome::Failed);
            return report;
        };
        if let Some(why) = reason_to_wait(wish, before, interrupt) {
            return MemoryReport { outcome: Some(MemoryOutcome::Skipped), error: Some(why), ..report };
        }
        let done = self.act(wish, &mut report, interrupt);
        report.after = self.usage().ok();
        report.outcome = Some(if done.is_ok() { MemoryOutcome::Done } else { MemoryOutcome::Failed });
        report.error = done.err().map(|error| format!("{error:#}"));
        report
    }

    /// The cgroup first: after the other nothing would be left to ask it for.
    fn act(&self, wish: &Wish, report: &mut MemoryReport, interrupt: &Interrupt) -> Result<()> {
        let reclaimed = report.reclaim.as_mut().map_or(Ok(()), |reclaim| self.reclaim(reclaim, interrupt));
        report.given_back_bytes = report.reclaim.as_ref().map_or(0, |reclaim| reclaim.given_back_bytes);
        let dropped = match wish.drop_caches {
            Some(_) if interrupt.is_set() => Err(anyhow!("interrupted before the caches were dropped")),
            Some(cache) => self.drop_caches(cache).map(|freed| report.given_back_bytes += freed),
            None => Ok(()),
        };
        match (reclaimed, dropped) {
            (Err(one), Err(other)) => Err(anyhow!("{one:#}; {other:#}")),
            (one, other) => one.and(other),
        }
    }

    /// By how much free memory grew.
    fn drop_caches(&self, cache: Cache) -> Result<u64> {
        (self.sync)();
        let before = self.usage()?;
        let path = self.proc.join(DROP_CACHES);
        let value = match cache {
            Cache::Pages => "1",
            Cache::Slab => "2",
            Cache::All => "3",
        };
        let way_out = "the service may write there with the drop-in 50-drop-caches.conf, which `nuke-images install` puts down where \
                       [memory] has drop_caches (beside a package: systemctl edit nuke-images.service, \
                       ReadWritePaths=/proc/sys/vm/drop_caches)";
        (self.write)(&path, value).map_err(|error| explained(&error, &path, way_out))?;
        Ok(self.usage()?.free_bytes.saturating_sub(before.free_bytes))
    }

    fn reclaim(&self, report: &mut ReclaimReport, interrupt: &Interrupt) -> Result<()> {
        let (name, folder) = self.cgroup(&report.cgroup)?;
        report.cgroup = name;
        let before = current(&folder)?;
        let asked = self.ask(&folder, report.asked_bytes, interrupt);
        report.given_back_bytes = before.saturating_sub(current(&folder)?);
        asked
    }

    /// Step by step, until the kernel finds nothing more that can go.
    fn ask(&self, folder: &Path, bytes: u64, interrupt: &Interrupt) -> Result<()> {
        let path = folder.join(RECLAIM);
        let way_out = "the service may write there with the drop-in 50-reclaim.conf, which `nuke-images install` puts down where \
                       [memory] has reclaim (beside a package: systemctl edit nuke-images.service, ReadWritePaths=-/sys/fs/cgroup/…)";
        let mut left = bytes;
        while left > 0 && !interrupt.is_set() {
            let step = left.min(STEP);
            match (self.write)(&path, &step.to_string()) {
                Ok(()) => left -= step,
                // Less than asked for could be had.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(explained(&error, &path, way_out)),
            }
        }
        Ok(())
    }

    /// That cgroup and its folder, if it can be asked.
    fn cgroup(&self, name: &str) -> Result<(String, PathBuf)> {
        if !self.cgroups.join("cgroup.controllers").is_file() {
            bail!(
                "this node has cgroup v1, and {RECLAIM} is of cgroup v2: use drop_caches, or boot it with \
                 systemd.unified_cgroup_hierarchy=1 and let the drop-in 50-reclaim.conf through (nuke-images install)"
            );
        }
        let names = if name == PODS[0] { PODS.to_vec() } else { vec![name] };
        let there = names.into_iter().map(|name| (name, self.cgroups.join(name))).find(|(_, folder)| folder.is_dir());
        let (name, folder) = there.with_context(|| format!("there is no cgroup {name}: name the pods' one as cgroup in [memory]"))?;
        ensure!(
            folder.join(RECLAIM).is_file(),
            "the cgroup {name} has no {RECLAIM}: that takes Linux 5.19 or newer, with the memory controller on"
        );
        Ok((name.to_owned(), folder))
    }

    fn usage(&self) -> Result<MemoryUsage> {
        let path = self.proc.join("meminfo");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        parse_meminfo(&text).with_context(|| format!("read {}", path.display()))
    }
}

fn reason_to_wait(wish: &Wish, before: MemoryUsage, interrupt: &Interrupt) -> Option<String> {
    if interrupt.is_set() {
        return Some("interrupted".into());
    }
    let below = wish.when_available_below?;
    let available = u128::from(before.available_bytes) * 100;
    let is_enough = available >= u128::from(before.total_bytes) * u128::from(below);
    is_enough.then(|| {
        let percent = available.checked_div(u128::from(before.total_bytes)).unwrap_or(0);
        format!("{} ({percent} %) are available, and it was to be less than {below} %", human_bytes(before.available_bytes))
    })
}

/// Bytes that a cgroup holds.
fn current(folder: &Path) -> Result<u64> {
    let path = folder.join("memory.current");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("read {}: {}", path.display(), text.trim()))
}

/// In a single call: what the kernel has done halfway is not to be done again.
fn write_once(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write(text.as_bytes()).map(drop)
}

fn explained(error: &io::Error, path: &Path, way_out: &str) -> anyhow::Error {
    let is_denied = error.kind() == ErrorKind::PermissionDenied;
    let as_root = if is_denied { "; that takes root" } else { "" };
    let way_out = if is_denied || error.kind() == ErrorKind::ReadOnlyFilesystem { format!("; {way_out}") } else { String::new() };
    anyhow!("write {}: {error}{as_root}{way_out}", path.display())
}

/// `MemTotal:  16315412 kB`, a line a figure (proc(5)).
fn parse_meminfo(text: &str) -> Result<MemoryUsage> {
    let find = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let must = |key: &'static str| find(key).with_context(|| format!("it has no {key}"));
    let pages = must("Cached")?.saturating_add(find("Buffers").unwrap_or(0));
    Ok(MemoryUsage {
        total_bytes: must("MemTotal")?,
        free_bytes: must("MemFree")?,
        available_bytes: must("MemAvailable")?,
        // What lies in memory alone, as in a tmpfs, is counted with the cache and can't be dropped.
        cached_bytes: pages.saturating_sub(find("Shmem").unwrap_or(0)),
        reclaimable_slab_bytes: find("SReclaimable").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use nix::errno::Errno;
    use nix::sys::signal::Signal;
    use tempfile::TempDir;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine whose kernel is a folder: what is written to its files is noted and changes its figures.
    struct Machine {
        folder: TempDir,
        /// `sync`, or file and text.
        calls: RefCell<Vec<String>>,
        /// What writing to a file of this name comes to.
        refuses: Option<(&'static str, Errno)>,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let machine = Self { folder, calls: RefCell::default(), refuses: None };
            machine.set_free(GIB);
            machine.write("cgroup/cgroup.controllers", "memory\n");
            machine.write("cgroup/kubepods.slice/memory.reclaim", "");
            machine.write("cgroup/kubepods.slice/memory.current", &format!("{GIB}\n"));
            machine
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            fs::write(path, text).expect("write");
        }

        /// Of 16 GiB, with 12 in the page cache of which one is in memory alone; half of it all is available.
        fn set_free(&self, bytes: u64) {
            let kib = bytes >> 10;
            let text = format!(
                "MemTotal:       16777216 kB\nMemFree:  {kib} kB\nMemAvailable:    8388608 kB\nBuffers:          1024 kB\n\
                 Cached:         12582912 kB\nSwapCached:           0 kB\nShmem:           1048576 kB\nSReclaimable:     524288 kB\n"
            );
            self.write("proc/meminfo", &text);
        }

        /// The kernel's side of a write: three GiB of caches, and a cgroup that can give 600 MiB.
        fn take(&self, path: &Path, text: &str) -> io::Result<()> {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            self.calls.borrow_mut().push(format!("{name} {text}"));
            if let Some((_, errno)) = self.refuses.filter(|(file, _)| *file == name) {
                return Err(errno.into());
            }
            if name == "drop_caches" {
                self.set_free(4 * GIB);
                return Ok(());
            }
            let held = current(path.parent().expect("a folder")).expect("what it holds");
            let (asked, floor) = (text.parse::<u64>().expect("bytes"), GIB - (600 << 20));
            let left = held.saturating_sub(asked).max(floor);
            fs::write(path.with_file_name("memory.current"), left.to_string()).expect("write");
            if held - left < asked { Err(Errno::EAGAIN.into()) } else { Ok(()) }
        }

        fn with<T>(&self, act: impl FnOnce(&Kernel) -> T) -> T {
            let (proc, cgroups) = (self.folder.path().join("proc"), self.folder.path().join("cgroup"));
            let sync = || self.calls.borrow_mut().push("sync".into());
            act(&Kernel { proc: &proc, cgroups: &cgroups, sync: &sync, write: &|path, text| self.take(path, text) })
        }

        fn give_back(&self, wish: &Wish) -> MemoryReport {
            self.with(|kernel| kernel.give_back(wish, &Interrupt::default()))
        }

        fn calls(&self) -> Vec<String> {
            self.calls.borrow().clone()
        }
    }

    fn drop_caches(cache: Cache) -> Wish {
        Wish { drop_caches: Some(cache), ..Wish::default() }
    }

    fn reclaim(bytes: u64) -> Wish {
        Wish { reclaim: Some(bytes), cgroup: "kubepods.slice".into(), ..Wish::default() }
    }

    fn failure(report: &MemoryReport) -> &str {
        assert_eq!(report.outcome, Some(MemoryOutcome::Failed), "{report:?}");
        report.error.as_deref().expect("an error")
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        assert!(crate::config::Settings::default().memory().is_empty());
        let machine = Machine::new();
        let report = machine.give_back(&Wish::default());
        assert_eq!((machine.calls(), report.given_back_bytes), (vec![], 0));
    }

    #[test]
    fn the_kernel_is_told_the_number_of_what_it_shall_drop_and_only_after_everything_was_written_to_disk() {
        for (cache, number) in [(Cache::Pages, "1"), (Cache::Slab, "2"), (Cache::All, "3")] {
            let machine = Machine::new();
            let report = machine.give_back(&drop_caches(cache));
            assert_eq!(machine.calls(), ["sync", &format!("drop_caches {number}")]);
            assert_eq!((report.outcome, report.given_back_bytes), (Some(MemoryOutcome::Done), 3 * GIB), "{report:?}");
            let free = |usage: Option<MemoryUsage>| usage.map(|usage| usage.free_bytes);
            assert_eq!((free(report.before), free(report.after)), (Some(GIB), Some(4 * GIB)));
        }
    }

    #[test]
    fn a_look_changes_nothing() {
        let machine = Machine::new();
        let report = machine.with(|kernel| kernel.look(&Wish { drop_caches: Some(Cache::All), ..reclaim(GIB) }));
        assert_eq!((machine.calls(), report.outcome, report.after), (vec![], None, None));
        assert_eq!(report.before.map(|usage| usage.total_bytes), Some(16 * GIB));
    }

    #[test]
    fn what_lies_in_memory_alone_is_no_cache() {
        let machine = Machine::new();
        let usage = machine.with(|kernel| kernel.look(&Wish::default())).before.expect("figures");
        assert_eq!((usage.cached_bytes, usage.reclaimable_slab_bytes), (11 * GIB + (1 << 20), GIB / 2));
    }

    #[test]
    fn the_condition_compares_what_is_available_with_all_there_is() {
        for (below, outcome) in [(50, MemoryOutcome::Skipped), (51, MemoryOutcome::Done)] {
            let machine = Machine::new();
            let report = machine.give_back(&Wish { when_available_below: Some(below), ..drop_caches(Cache::Pages) });
            assert_eq!((report.outcome, machine.calls().is_empty()), (Some(outcome), outcome == MemoryOutcome::Skipped));
        }
    }

    #[test]
    fn figures_that_can_not_be_read_are_a_failure_and_nothing_is_done_without_them() {
        for text in ["", "MemTotal: 5 kB\nMemFree: x kB\nMemAvailable: 1 kB\nCached: 1 kB\n", "MemTotal: 99999999999999999999 kB\n"] {
            let machine = Machine::new();
            machine.write("proc/meminfo", text);
            assert!(failure(&machine.give_back(&drop_caches(Cache::All))).contains("meminfo"), "{text}");
            assert_eq!(machine.calls(), [""; 0]);
        }
    }

    #[test]
    fn where_the_kernel_may_not_be_written_to_the_drop_in_is_named() {
        for (errno, part) in [(Errno::EROFS, "Read-only"), (Errno::EACCES, "that takes root"), (Errno::EPERM, "that takes root")] {
            let machine = Machine { refuses: Some(("drop_caches", errno)), ..Machine::new() };
            let report = machine.give_back(&drop_caches(Cache::Pages));
            let error = failure(&report);
            assert!(error.contains(part) && error.contains("50-drop-caches.conf") && error.contains("sys/vm/drop_caches"), "{error}");
            let machine = Machine { refuses: Some(("memory.reclaim", errno)), ..Machine::new() };
            let report = machine.give_back(&reclaim(1));
            assert!(failure(&report).contains(part) && failure(&report).contains("50-reclaim.conf"), "{report:?}");
            assert_eq!(report.given_back_bytes, 0);
        }
    }

    #[test]
    fn a_cgroup_is_asked_in_steps_until_it_has_no_more_and_what_it_gave_is_measured() {
        let (step, rest) = (STEP, 600_u64 << 20);
        for (asked, calls, given) in [(7, vec![7], 7), (step + 1, vec![step, 1], step + 1), (8 * GIB, vec![step, step, step], rest)] {
            let machine = Machine::new();
            let report = machine.give_back(&reclaim(asked));
            assert_eq!(machine.calls(), calls.iter().map(|bytes| format!("memory.reclaim {bytes}")).collect::<Vec<_>>());
            let told = report.reclaim.expect("a reclaim");
            assert_eq!((told.asked_bytes, told.given_back_bytes, report.given_back_bytes), (asked, given, given));
            assert_eq!(report.outcome, Some(MemoryOutcome::Done));
        }
    }

    #[test]
    fn the_cgroup_comes_before_the_caches_and_a_failure_of_one_does_not_stop_the_other() {
        let machine = Machine { refuses: Some(("memory.reclaim", Errno::EINVAL)), ..Machine::new() };
        let report = machine.give_back(&Wish { drop_caches: Some(Cache::Pages), ..reclaim(1) });
        assert_eq!(machine.calls(), ["memory.reclaim 1", "sync", "drop_caches 1"]);
        assert!(failure(&report).contains("memory.reclaim"));
        assert_eq!(report.given_back_bytes, 3 * GIB);
    }

    #[test]
    fn a_node_without_what_it_takes_is_told_what_that_is() {
        let remove = |machine: &Machine, name: &str| fs::remove_file(machine.folder.path().join(name)).expect("remove");
        let machine = Machine::new();
        remove(&machine, "cgroup/cgroup.controllers");
        let report = machine.give_back(&reclaim(1));
        assert!(failure(&report).contains("cgroup v1") && failure(&report).contains("50-reclaim.conf"), "{report:?}");
        let machine = Machine::new();
        remove(&machine, "cgroup/kubepods.slice/memory.reclaim");
        assert!(failure(&machine.give_back(&reclaim(1))).contains("Linux 5.19"));
        let elsewhere = Wish { cgroup: "kubelet.slice".into(), ..reclaim(1) };
        let report = Machine::new().give_back(&elsewhere);
        assert!(failure(&report).contains("no cgroup kubelet.slice") && failure(&report).contains("[memory]"), "{report:?}");
    }

    #[test]
    fn a_kubelet_that_does_not_speak_to_systemd_calls_the_cgroup_of_its_pods_otherwise() {
        let machine = Machine::new();
        let path = |name: &str| machine.folder.path().join("cgroup").join(name);
        fs::rename(path("kubepods.slice"), path("kubepods")).expect("rename");
        let report = machine.give_back(&reclaim(5));
        assert_eq!((report.outcome, report.reclaim.map(|reclaim| reclaim.cgroup)), (Some(MemoryOutcome::Done), Some("kubepods".into())));
        let named = Wish { cgroup: "system.slice".into(), ..reclaim(5) };
        assert!(failure(&machine.give_back(&named)).contains("no cgroup system.slice"), "another one is not guessed");
    }

    #[test]
    fn an_interrupted_run_leaves_memory_alone() {
        let (machine, interrupt) = (Machine::new(), Interrupt::default());
        interrupt.set(Signal::SIGTERM);
        let report = machine.with(|kernel| kernel.give_back(&Wish { drop_caches: Some(Cache::All), ..reclaim(GIB) }, &interrupt));
        assert_eq!((report.outcome, machine.calls()), (Some(MemoryOutcome::Skipped), vec![]));
    }
}
