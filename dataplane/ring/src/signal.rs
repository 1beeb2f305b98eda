//! A thread sleeps until another has something for it.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wakes a sleeping thread. Raising it costs one load while nobody sleeps.
#[derive(Debug, Default)]
pub struct Signal {
    /// Set before the sleeper looks for the last time, and cleared by whoever wakes it.
    asleep: AtomicBool,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Signal {
    /// A signal that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the sleeper. What it is to see must have been done before.
    pub fn raise(&self) {
        // Orders what was done before this look; the sleeper has the same fence between its mark and its look.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.asleep.store(false, Ordering::Relaxed);
            self.woken.notify_all();
        }
    }

    /// Sleeps until the signal is raised, for at most `timeout`, unless `is_ready` says that there is something to do. One thread
    /// sleeps on a signal.
    pub fn wait(&self, timeout: Duration, is_ready: impl FnOnce() -> bool) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_ready() {
            self.asleep.store(false, Ordering::Relaxed);
            return;
        }
        let until = Instant::now() + timeout;
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.asleep.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.asleep.store(false, Ordering::Relaxed);
                return;
            }
            let waited = self.woken.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
