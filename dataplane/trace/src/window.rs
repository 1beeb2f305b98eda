//! A piece of a file in memory.
//!
//! Read, not mapped. On the machine where this was measured (Zen 3, virtual, ext4, warm page cache,
//! 358 bytes per record) reading costs 45 ns per record, mapping windows and populating them 75 to
//! 160 ns: the page tables cost more than the copy. What is read also cannot be cut off under our
//! hands when another process truncates the file. `examples/scan.rs` measures.

use std::io;

use crate::file::TraceFile;

/// Bytes that are read at once.
pub(crate) const WINDOW_LEN: usize = 512 * 1024;
/// The unit in which source and destination of a copy should agree.
const PAGE_LEN: usize = 4096;
/// Room for what the window before left over: less than one record and two pages.
const KEPT_LEN_MAX: usize = wt_wire::CAPLEN_MAX as usize + 16 + 2 * PAGE_LEN;

/// Bytes of a file from the first one still needed.
///
/// Every byte lies at an address that equals its file offset in the low 12 bits: the kernel copies
/// from pages, and a copy to an address a few bytes further within a page takes three times as long
/// (the processor takes the loads for being of what was just stored).
#[derive(Debug)]
pub(crate) struct Window {
    storage: Vec<u8>,
    /// First place in `storage` whose address is a multiple of a page.
    base: usize,
    start: usize,
    end: usize,
    /// File offset of `start`.
    offset: u64,
}

impl Window {
    /// An empty window at an offset.
    pub(crate) fn new(offset: u64) -> Self {
        let storage = vec![0; KEPT_LEN_MAX + WINDOW_LEN + 2 * PAGE_LEN];
        let base = storage.as_ptr().align_offset(PAGE_LEN).min(PAGE_LEN);
        let start = base + (offset % PAGE_LEN as u64) as usize;
        Self { storage, base, start, end: start, offset }
    }

    /// The bytes at hand.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// File offset of the first byte at hand.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Drops the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Reads on behind the bytes at hand; says whether anything came.
    pub(crate) fn read_on(&mut self, file: &TraceFile) -> io::Result<bool> {
        let start = self.base + (self.offset % PAGE_LEN as u64) as usize;
        self.storage.copy_within(self.start..self.end, start);
        self.end = start + (self.end - self.start);
        self.start = start;
        // The next read begins at a page.
        let stop = (self.end + WINDOW_LEN - self.base) / PAGE_LEN * PAGE_LEN + self.base;
        let before = self.end;
        while self.end < stop.min(self.storage.len()) {
            let offset = self.offset + (self.end - self.start) as u64;
            let room = stop.min(self.storage.len());
            match file.read_at(&mut self.storage[self.end..room], offset)? {
                0 => break,
                count => self.end += count,
            }
        }
        Ok(self.end > before)
    }
}
