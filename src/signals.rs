//! Ctrl-C, SIGTERM and SIGHUP: noted, not obeyed on the spot, so that a batch that runs comes to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// Has a signal asked the run to end? Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// From now on signals are noted here. To be called before any thread is started.
    pub fn listen() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        let interrupt = Self::default();
        let noted = interrupt.clone();
        thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                // The first one decides the exit code.
                _ = noted.0.compare_exchange(0, signal as i32, Ordering::SeqCst, Ordering::SeqCst);
            }
        });
        Ok(interrupt)
    }

    /// Has a signal come?
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// 128 and the number of the signal, as a shell reports it; `None` if none has come.
    pub fn exit_code(&self) -> Option<u8> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            signal => u8::try_from(128 + signal).ok(),
        }
    }

    /// As if `signal` had come.
    #[cfg(test)]
    pub fn set(&self, signal: Signal) {
        self.0.store(signal as i32, Ordering::SeqCst);
    }
}
