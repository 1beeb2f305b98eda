//! A piece of a file in memory, read.

use std::io;

use wt_wire::RecordLayout;

use crate::file::TraceFile;

/// Bytes that are read at once.
pub(crate) const WINDOW_LEN: usize = 256 * 1024;
/// The unit in which source and destination of a copy should agree.
const PAGE_LEN: usize = 4096;
/// Bytes of the largest record.
const RECORD_LEN_MAX: usize = wt_wire::CAPLEN_MAX as usize + RecordLayout::EXTRA_LEN_MAX;
/// Room for a window, for what the one before left over, and for both to begin within a page.
const STORAGE_LEN: usize = RECORD_LEN_MAX + WINDOW_LEN + 3 * PAGE_LEN;

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
        let storage = vec![0; STORAGE_LEN];
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

    /// Begins at an offset; keeps what is at hand from there.
    pub(crate) fn go_to(&mut self, offset: u64) {
        let len = (self.end - self.start) as u64;
        match offset.checked_sub(self.offset).filter(|count| *count <= len) {
            Some(count) => self.start += count as usize,
            None => {
                self.start = self.base + (offset % PAGE_LEN as u64) as usize;
                self.end = self.start;
            }
        }
        self.offset = offset;
    }

    /// Whether as much is at hand as the largest record takes.
    pub(crate) fn holds_any_record(&self) -> bool {
        self.end - self.start >= RECORD_LEN_MAX
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
