//! The memory budget of a run: operators charge what they keep and release what they let go. Threads of a live run share one
//! budget; each takes from it in pieces, so that a charge seldom touches what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An operator would keep more than the run may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "query `{query}` needs more than the memory limit of {limit_bytes} bytes (all queries together hold {needed_bytes})"
)]
pub struct MemoryExceeded {
    /// Query that asked for more.
    pub query: String,
    /// The limit, bytes.
    pub limit_bytes: u64,
    /// What all operators together would hold, bytes.
    pub needed_bytes: u64,
}

impl MemoryExceeded {
    /// What the user can do about it, as full sentences.
    pub fn hint(&self) -> &'static str {
        "Raise --memory, or let the query forget earlier: group by a time bucket (GROUP BY time/60 AS tb, …), keep fewer \
         keys, or add a LIMIT to the ORDER BY."
    }
}

/// What a thread takes from a shared budget at a time, bytes.
const PIECE_BYTES: u64 = 256 << 10;

/// What is kept, in bytes, by all operators of a run, or by those of one thread.
#[derive(Debug)]
pub struct Memory {
    used: u64,
    peak: u64,
    /// The limit, or what has been taken from `shared`.
    max: u64,
    shared: Option<Arc<SharedMemory>>,
}

/// The budget of several threads.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    taken: AtomicU64,
    peak: AtomicU64,
    max: u64,
}

impl SharedMemory {
    /// A budget of `bytes_max` bytes; `None`: no limit.
    pub(crate) fn new(bytes_max: Option<u64>) -> Arc<Self> {
        let max = bytes_max.unwrap_or(u64::MAX);
        Arc::new(Self { taken: AtomicU64::new(0), peak: AtomicU64::new(0), max })
    }

    /// One thread's part of it, empty at first.
    pub(crate) fn part(self: &Arc<Self>) -> Memory {
        Memory { used: 0, peak: 0, max: 0, shared: Some(Arc::clone(self)) }
    }

    /// Most bytes that all threads together had taken at one time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are left.
    fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= self.max);
        let before = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        before.is_ok_and(|before| {
            self.peak.fetch_max(before + bytes, Ordering::Relaxed);
            true
        })
    }
}

impl Memory {
    /// A budget of `bytes_max` bytes; `None`: no limit.
    pub fn new(bytes_max: Option<u64>) -> Self {
        Self { used: 0, peak: 0, max: bytes_max.unwrap_or(u64::MAX), shared: None }
    }

    /// Takes `bytes` for `query`.
    ///
    /// # Errors
    /// [`MemoryExceeded`] when that is more than the limit leaves; nothing is taken then.
    #[inline]
    pub fn charge(&mut self, query: &str, bytes: u64) -> Result<(), MemoryExceeded> {
        let used = self.used.saturating_add(bytes);
        if used > self.max {
            self.take_more(query, used)?;
        }
        self.used = used;
        self.peak = self.peak.max(used);
        Ok(())
    }

    /// Takes what `used` bytes need from the shared budget: a piece, or as much as there is still.
    #[cold]
    fn take_more(&mut self, query: &str, used: u64) -> Result<(), MemoryExceeded> {
        let exceeded = |limit_bytes, needed_bytes| MemoryExceeded {
            query: query.to_owned(),
            limit_bytes,
            needed_bytes,
        };
        let Some(shared) = &self.shared else { return Err(exceeded(self.max, used)) };
        let missing = used - self.max;
        for bytes in [missing.next_multiple_of(PIECE_BYTES), missing] {
            if shared.take(bytes) {
                self.max += bytes;
                return Ok(());
            }
        }
        Err(exceeded(shared.max, shared.taken.load(Ordering::Relaxed).saturating_add(missing)))
    }

    /// Gives `bytes` back.
    #[inline]
    pub fn release(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "released {bytes} of {} bytes", self.used);
        self.used = self.used.saturating_sub(bytes);
        if let Some(shared) = &self.shared {
            let spare = (self.max - self.used).saturating_sub(PIECE_BYTES);
            if spare >= PIECE_BYTES {
                self.max -= spare;
                shared.taken.fetch_sub(spare, Ordering::Relaxed);
            }
        }
    }

    /// Counts what was kept elsewhere on top of the peak.
    pub(crate) fn add_to_peak(&mut self, bytes: u64) {
        self.peak = self.peak.saturating_add(bytes);
    }

    /// Bytes held now.
    pub fn used_bytes(&self) -> u64 {
        self.used
    }

    /// Most bytes that were held at one time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_beyond_the_limit_takes_nothing() {
        let mut memory = Memory::new(Some(100));
        memory.charge("q", 60).unwrap();
        let error = memory.charge("q", 41).unwrap_err();
        assert_eq!((error.limit_bytes, error.needed_bytes), (100, 101));
        assert!(error.to_string().contains("query `q`"));
        memory.charge("q", 40).unwrap();
        memory.release(100);
        assert_eq!((memory.used_bytes(), memory.peak_bytes()), (0, 100));
    }

    #[test]
    fn threads_share_a_budget_and_give_back_what_they_spare() {
        let shared = SharedMemory::new(Some(4 * PIECE_BYTES));
        let (mut a, mut b) = (shared.part(), shared.part());
        a.charge("a", 3 * PIECE_BYTES).unwrap();
        b.charge("b", 1).unwrap();
        let error = b.charge("b", PIECE_BYTES).unwrap_err();
        assert_eq!(error.limit_bytes, 4 * PIECE_BYTES);
        a.release(3 * PIECE_BYTES);
        b.charge("b", 2 * PIECE_BYTES).unwrap();
        assert_eq!(shared.peak_bytes(), 4 * PIECE_BYTES);
    }
}
