//! The memory step of a clean-up, and a run that consists of it alone.

use std::path::Path;

use anyhow::Result;

use super::{Ended, LOCK, Session, now};
use crate::collect::host_name;
use crate::config::ConfigError;
use crate::files::RunLock;
use crate::journal::log_memory;
use crate::memory::{Kernel, Wish};
use crate::report::{MemoryReport, Report, Run};
use crate::state::State;

impl Session<'_> {
    /// Gives memory back and leaves the images alone; neither a runtime nor a person is asked.
    pub(super) fn memory_alone(&self, dry_run: bool) -> Result<Ended> {
        if self.wish().is_empty() {
            let error = "--no-images leaves nothing to do: add --drop-caches or --reclaim, or set drop_caches or reclaim in [memory]";
            return Err(ConfigError(error.into()).into());
        }
        if dry_run {
            self.print(&Report::without_images(host_name(), self.planned(true)))?;
            return Ok(Ended::Done);
        }
        let act = |state: &mut State| Ok(self.conclude(&Report::without_images(host_name(), self.done()), state));
        match RunLock::take(Path::new(LOCK)) {
            Ok(Some(_lock)) => self.remembered(&act),
            Ok(None) => Ok(self.locked()),
            // Whoever may not take the lock may not write to the kernel's file either, and that error says more.
            Err(_) => act(&mut State::default()),
        }
    }

    /// A run before anything of it is done.
    pub(super) fn planned(&self, dry_run: bool) -> Run {
        let wish = self.wish();
        self.run(dry_run, (!wish.is_empty()).then(|| Kernel::of_this_machine().look(&wish)))
    }

    /// A run whose images are done: the memory step is what comes last.
    pub(super) fn done(&self) -> Run {
        let wish = self.wish();
        let memory = (!wish.is_empty()).then(|| Kernel::of_this_machine().give_back(&wish, self.interrupt));
        memory.iter().for_each(log_memory);
        self.run(false, memory)
    }

    /// A run as it is now.
    pub(super) fn run(&self, dry_run: bool, memory: Option<MemoryReport>) -> Run {
        Run { dry_run, trigger: self.surroundings.trigger, started_at: self.started_at, finished_at: now(), memory }
    }

    fn wish(&self) -> Wish {
        self.config.settings.memory()
    }
}
