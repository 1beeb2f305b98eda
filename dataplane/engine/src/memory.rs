//! The memory budget of a run: operators charge what they keep and release what they let go.

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

/// What is kept, in bytes, by all operators of a run.
#[derive(Clone, Debug)]
pub struct Memory {
    used: u64,
    peak: u64,
    max: u64,
}

impl Memory {
    /// A budget of `bytes_max` bytes; `None`: no limit.
    pub fn new(bytes_max: Option<u64>) -> Self {
        Self { used: 0, peak: 0, max: bytes_max.unwrap_or(u64::MAX) }
    }

    /// Takes `bytes` for `query`.
    ///
    /// # Errors
    /// [`MemoryExceeded`] when that is more than the limit leaves; nothing is taken then.
    #[inline]
    pub fn charge(&mut self, query: &str, bytes: u64) -> Result<(), MemoryExceeded> {
        let used = self.used.saturating_add(bytes);
        if used > self.max {
            return Err(MemoryExceeded {
                query: query.to_owned(),
                limit_bytes: self.max,
                needed_bytes: used,
            });
        }
        self.used = used;
        self.peak = self.peak.max(used);
        Ok(())
    }

    /// Gives `bytes` back.
    #[inline]
    pub fn release(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "released {bytes} of {} bytes", self.used);
        self.used = self.used.saturating_sub(bytes);
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
}
