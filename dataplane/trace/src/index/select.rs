//! Reads what is wanted of a trace, by its index.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::Index;
use super::format::Entry;
use super::summary::Key;

/// Bytes that are read at a time.
const PIECE_LEN: usize = 256 << 10;

/// How much of a trace is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Blocks that are read, and all that there are.
    pub blocks: (u64, u64),
    /// Bytes that are read, and all that there are.
    pub bytes: (u64, u64),
}

impl Taken {
    /// Adds what is read of another trace.
    pub fn add(&mut self, other: &Taken) {
        self.blocks = (self.blocks.0 + other.blocks.0, self.blocks.1 + other.blocks.1);
        self.bytes = (self.bytes.0 + other.bytes.0, self.bytes.1 + other.bytes.1);
    }
}

/// The wanted part of a trace, as a trace of its own.
#[derive(Debug)]
pub struct Selected {
    file: File,
    /// Where its bytes stand in the trace.
    pub places: Places,
    /// What is left, in order; the last one goes on to the end of the file, also when that grows.
    ranges: std::vec::IntoIter<Range<u64>>,
    at: Range<u64>,
    /// What it takes.
    pub taken: Taken,
}

/// The checksum of a part of a file.
pub(super) fn crc_of(file: &File, range: Range<u64>) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE_LEN];
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(PIECE_LEN as u64) as usize;
        file.read_exact_at(&mut piece[..len], at)?;
        hasher.update(&piece[..len]);
        at += len as u64;
    }
    Ok(hasher.finalize())
}

/// Whether a block of a trace has the bytes that were indexed.
pub(super) fn is_as_indexed(file: &File, entry: &Entry) -> bool {
    crc_of(file, entry.offset..entry.offset + entry.len).is_ok_and(|crc| crc == entry.crc)
}

/// Where the bytes of a selected part stand in the trace.
#[derive(Clone, Debug)]
pub struct Places(Vec<Range<u64>>);

impl Places {
    /// The offset in the trace of a byte of the part.
    pub fn of(&self, mut offset: u64) -> u64 {
        for range in &self.0 {
            let len = range.end - range.start;
            if offset < len {
                return range.start + offset;
            }
            offset -= len;
        }
        offset
    }
}

impl Index {
    /// Whether a block is to be read: packets of these times that have one key of each group may be in it.
    fn is_wanted(entry: &Entry, times: &Range<u64>, keys: &[Vec<Key>]) -> bool {
        let is_in_time =
            entry.packets > 0 && entry.min_ns < times.end && entry.max_ns >= times.start;
        let has = |group: &Vec<Key>| group.iter().any(|key| entry.summary.may_have(*key));
        entry.has_metadata || is_in_time && keys.iter().all(has)
    }

    /// What a reader needs of the trace to find all packets of these times (ns, end excluded) that have at least one key of each group: its head, the
    /// blocks that may have such packets, and what is not indexed. `None` when the index does not help, or a block is not what was indexed: then all
    /// is to be read.
    ///
    /// # Errors
    /// The trace cannot be opened.
    pub fn select(&self, times: &Range<u64>, keys: &[Vec<Key>]) -> io::Result<Option<Selected>> {
        let wanted: Vec<&Entry> =
            self.entries.iter().filter(|entry| Self::is_wanted(entry, times, keys)).collect();
        if wanted.len() == self.entries.len() {
            return Ok(None);
        }
        let file = File::open(&self.trace)?;
        if !wanted.iter().all(|entry| is_as_indexed(&file, entry)) {
            return Ok(None);
        }
        let (trace_len, covered) = self.covered();
        let head = 0..self.header.first_at;
        let mut ranges: Vec<Range<u64>> = Vec::from([head]);
        for entry in &wanted {
            match ranges.last_mut() {
                Some(last) if last.end == entry.offset => last.end += entry.len,
                _ => ranges.push(entry.offset..entry.offset + entry.len),
            }
        }
        ranges.push(covered..u64::MAX);
        let bytes: u64 = wanted.iter().map(|entry| entry.len).sum();
        let taken = Taken {
            blocks: (wanted.len() as u64, self.entries.len() as u64),
            bytes: (self.header.first_at + bytes + (trace_len - covered), trace_len),
        };
        let places = Places(ranges.clone());
        Ok(Some(Selected { file, places, ranges: ranges.into_iter(), at: 0..0, taken }))
    }
}

impl Read for Selected {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at.is_empty() {
                match self.ranges.next() {
                    Some(range) => self.at = range,
                    None => return Ok(0),
                }
                continue;
            }
            let left = usize::try_from(self.at.end - self.at.start).unwrap_or(usize::MAX);
            let len = left.min(out.len());
            let count = self.file.read_at(&mut out[..len], self.at.start)?;
            self.at.start += count as u64;
            if count == 0 {
                // The end of the file; or it has become shorter, which the reader sees.
                self.at = 0..0;
            }
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
        }
    }
}
