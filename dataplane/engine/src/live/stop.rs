//! When a live run ends: the user's word, its time, its number of packets, or a failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all threads of a run look at.
pub(super) struct Stop<'a> {
    cancel: Option<&'a AtomicBool>,
    deadline: Option<Instant>,
    /// Packets that may still be taken, of all interfaces together.
    left: Option<AtomicU64>,
    /// Set from within.
    ended: AtomicBool,
}

impl<'a> Stop<'a> {
    pub(super) fn new(
        cancel: Option<&'a AtomicBool>,
        duration: Option<Duration>,
        packets_max: Option<u64>,
    ) -> Self {
        Self {
            cancel,
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
            left: packets_max.map(AtomicU64::new),
            ended: AtomicBool::new(false),
        }
    }

    /// How many of `count` packets may be taken.
    pub(super) fn claim(&self, count: u64) -> u64 {
        let Some(left) = &self.left else { return count };
        let less = |left: u64| Some(left.saturating_sub(count));
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(before) | Err(before) => before.min(count),
        }
    }

    /// Ends the run.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the user asked for the end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    /// Whether to take no more packets.
    pub(super) fn is_due(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
            || self.is_cancelled()
            || self.left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// `timeout`, or the time that is left if that is less.
    pub(super) fn within(&self, timeout: Duration) -> Duration {
        match self.deadline {
            Some(deadline) => timeout.min(deadline.saturating_duration_since(Instant::now())),
            None => timeout,
        }
    }
}
