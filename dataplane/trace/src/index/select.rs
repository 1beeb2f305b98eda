//! Reads what was chosen of a trace, checked by its index first.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::choose::{Chosen, Reading, Run};
use super::format::Head;

/// Bytes that are read at a time.
const PIECE_LEN: usize = 256 << 10;

/// The checksum of a part of a file.
pub(super) fn crc_of(file: &File, range: Range<u64>) -> io::Result<u32> {
    let mut piece = vec![0; PIECE_LEN];
    checksum(file, range, &mut piece)
}

fn checksum(file: &File, range: Range<u64>, piece: &mut [u8]) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(piece.len() as u64) as usize;
        file.read_exact_at(&mut piece[..len], at)?;
        hasher.update(&piece[..len]);
        at += len as u64;
    }
    Ok(hasher.finalize())
}

/// Whether a block of a trace has the bytes that were indexed.
pub(super) fn is_as_indexed(file: &File, head: &Head) -> bool {
    crc_of(file, head.offset..head.end()).is_ok_and(|crc| crc == head.crc)
}

impl Run {
    /// Where the first of its blocks begins that is not what was indexed.
    pub(crate) fn changed_at(&self, file: &File) -> Option<u64> {
        let mut piece = vec![0; PIECE_LEN];
        let mut at = self.range.start;
        for &(end, crc) in &self.blocks {
            if checksum(file, at..end, &mut piece).ok() != Some(crc) {
                return Some(at);
            }
            at = end;
        }
        None
    }
}

/// The ranges of a trace that are read, one after the other.
#[derive(Debug)]
pub(crate) struct Ranges {
    chosen: Chosen,
    reading: Reading,
    next: usize,
    /// All of it was checked before.
    is_checked: bool,
}

impl Ranges {
    pub(crate) fn new(chosen: Chosen, reading: Reading) -> Self {
        Self { chosen, reading, next: 0, is_checked: false }
    }

    /// Bytes before the first block.
    pub(crate) fn head(&self) -> u64 {
        self.chosen.head
    }

    /// What was chosen.
    pub(crate) fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The next range: a run of blocks that are what was indexed, everything from the first block on that is not, or at last what is not indexed.
    pub(crate) fn next(&mut self, file: &File) -> Option<Range<u64>> {
        let runs = &self.chosen.runs;
        let number = self.next;
        self.next += 1;
        match runs.get(number) {
            Some(run) if self.is_checked => Some(run.range.clone()),
            Some(run) => match run.changed_at(file) {
                None => Some(run.range.clone()),
                Some(offset) => {
                    self.chosen.fall_back(offset, &self.reading);
                    self.next = usize::MAX;
                    Some(run.range.start..u64::MAX)
                }
            },
            None if number == runs.len() => Some(self.chosen.rest..u64::MAX),
            None => {
                self.next = number;
                None
            }
        }
    }

    /// Has nothing follow, as all from an offset on is read already.
    pub(crate) fn end_at(&mut self, offset: u64) {
        if self.next <= self.chosen.runs.len() {
            self.chosen.fall_back(offset, &self.reading);
        }
        self.next = usize::MAX;
    }
}

/// What was chosen of a trace, as a trace of its own.
#[derive(Debug)]
pub struct Selected {
    file: File,
    ranges: Ranges,
    at: Range<u64>,
    places: Places,
}

/// Where the bytes of a selected part stand in the trace.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<Vec<Range<u64>>>>);

impl Places {
    /// The offset in the trace of a byte of the part, of what has been read so far.
    pub fn of(&self, mut offset: u64) -> u64 {
        for range in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let len = range.end - range.start;
            if offset < len {
                return range.start + offset;
            }
            offset -= len;
        }
        offset
    }

    fn add(&self, range: Range<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(range);
    }
}

impl Selected {
    /// The chosen part of an open trace.
    pub fn new(file: File, chosen: Chosen, reading: Reading) -> Self {
        let head = 0..chosen.head;
        let places = Places::default();
        places.add(head.clone());
        Self { file, ranges: Ranges::new(chosen, reading), at: head, places }
    }

    /// The same, if all that was chosen is what was indexed: it is looked at now, and not again when it is read.
    pub fn checked(mut self) -> Option<Self> {
        let mut runs = self.ranges.chosen.runs.iter();
        self.ranges.is_checked = runs.all(|run| run.changed_at(&self.file).is_none());
        self.ranges.is_checked.then_some(self)
    }

    /// Where its bytes stand in the trace.
    pub fn places(&self) -> Places {
        self.places.clone()
    }
}

impl Read for Selected {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at.is_empty() {
                match self.ranges.next(&self.file) {
                    Some(range) => {
                        self.places.add(range.clone());
                        self.at = range;
                    }
                    None => return Ok(0),
                }
                continue;
            }
            let left = usize::try_from(self.at.end - self.at.start).unwrap_or(usize::MAX);
            let len = left.min(out.len());
            let count = self.file.read_at(&mut out[..len], self.at.start)?;
            self.at.start += count as u64;
            if count == 0 && !out.is_empty() {
                // The end of the file; or it has become shorter, which the reader sees.
                self.at = 0..0;
            }
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
        }
    }
}
