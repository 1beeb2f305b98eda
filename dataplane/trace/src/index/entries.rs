//! Entries of an index file, read where they are looked at and checked before anything is made of them.
//!
//! Those of a time are found by bisection. An entry says what the latest stamp before it is, which never falls, and the header by how much the stamps
//! of a block are behind that at most: so a time has a first and a last entry also where stamps step back, and only what is between is looked at.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::format::{ENTRY_HEAD_LEN, HEADER_LEN, Head, Header};
use super::summary::Summary;
use super::wanted::TELLING_NS_MAX;

/// Bytes of entries that are read at once.
const PIECE_LEN: usize = 256 << 10;
/// Where entries are longer, their heads are read one by one.
const NEAR_LEN: usize = 1 << 10;

/// An entry that was looked at is not what was written.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an entry of the index is damaged")]
pub(crate) struct Damaged;

/// The entries of an index.
#[derive(Debug)]
pub(super) struct Entries {
    file: File,
    entry_len: usize,
    /// How many there are.
    count: u64,
    /// Where blocks may lie in the trace.
    within: Range<u64>,
    fall_ns: u64,
}

impl Entries {
    /// Those of a file of `len` bytes with this header.
    pub(super) fn new(file: File, len: u64, header: &Header) -> Self {
        let entry_len = header.entry_len();
        let there = len.saturating_sub(HEADER_LEN as u64) / entry_len as u64;
        Self {
            file,
            entry_len,
            count: header.entries.min(there),
            within: header.first_at..header.trace_len,
            fall_ns: header.fall_ns,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Leaves out those from a number on.
    pub(super) fn cut(&mut self, count: u64) {
        self.count = self.count.min(count);
    }

    fn place_of(&self, number: u64) -> u64 {
        HEADER_LEN as u64 + number * self.entry_len as u64
    }

    /// The head with which the bytes of an entry begin.
    fn decode(&self, bytes: &[u8], number: u64) -> Result<Head, Damaged> {
        let head = Head::decode(bytes).ok_or(Damaged)?;
        let is_within = head.offset >= self.within.start
            && head.offset.checked_add(head.len).is_some_and(|end| end <= self.within.end);
        if head.number() == number && is_within { Ok(head) } else { Err(Damaged) }
    }

    /// The head of an entry.
    pub(super) fn head(&self, number: u64) -> Result<Head, Damaged> {
        let mut bytes = [0; ENTRY_HEAD_LEN];
        self.file.read_exact_at(&mut bytes, self.place_of(number)).map_err(|_| Damaged)?;
        self.decode(&bytes, number)
    }

    /// Looks at entries one after the other: their heads alone, or with `summaries` all of them.
    pub(super) fn each(
        &self,
        numbers: Range<u64>,
        summaries: bool,
        mut look: impl FnMut(&Head, Option<&Summary>),
    ) -> Result<(), Damaged> {
        if !summaries && self.entry_len > NEAR_LEN {
            for number in numbers {
                look(&self.head(number)?, None);
            }
            return Ok(());
        }
        let at_once = (PIECE_LEN / self.entry_len).max(1) as u64;
        let mut piece = Vec::new();
        let mut from = numbers.start;
        while from < numbers.end {
            let count = at_once.min(numbers.end - from);
            piece.resize(count as usize * self.entry_len, 0);
            self.file.read_exact_at(&mut piece, self.place_of(from)).map_err(|_| Damaged)?;
            for (number, bytes) in (from..).zip(piece.chunks_exact(self.entry_len)) {
                let head = self.decode(bytes, number)?;
                let summary = match summaries {
                    true => Some(head.summary(bytes).ok_or(Damaged)?),
                    false => None,
                };
                look(&head, summary.as_ref());
            }
            from += count;
        }
        Ok(())
    }

    /// The first entry from `from` on of which something is true that is true of all behind it; their number where there is none.
    fn first(&self, from: u64, mut is: impl FnMut(&Head) -> bool) -> Result<u64, Damaged> {
        let (mut low, mut high) = (from, self.count);
        // What is near is found in few steps.
        let mut step = 1;
        while low + step < high {
            if is(&self.head(low + step - 1)?) {
                high = low + step - 1;
                break;
            }
            low += step;
            step *= 2;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if is(&self.head(middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The entries outside of which no block has a stamp of this time, both ends included.
    pub(super) fn of_time(&self, (from_ns, to_ns): (u64, u64)) -> Result<Range<u64>, Damaged> {
        // What is so late tells nothing, and is looked at.
        let from_ns = from_ns.min(TELLING_NS_MAX);
        let through = |head: &Head| head.before.with(head);
        let first = match from_ns {
            0 => 0,
            _ => self.first(0, |head| through(head).latest_ns >= from_ns)?,
        };
        let latest_ns = match self.count {
            0 => return Ok(0..0),
            count => through(&self.head(count - 1)?).latest_ns,
        };
        // No block is behind the latest stamp before it by more than that.
        let end = match to_ns.checked_add(self.fall_ns) {
            Some(to_ns) if latest_ns < TELLING_NS_MAX && latest_ns > to_ns => {
                self.first(first, |head| head.before.latest_ns > to_ns)?
            }
            _ => self.count,
        };
        Ok(first..end)
    }

    /// Those before `end` that are always read.
    pub(super) fn always(&self, end: u64) -> Result<Vec<u64>, Damaged> {
        let through = |head: &Head| head.before.with(head);
        let all = match end.checked_sub(1) {
            Some(last) => through(&self.head(last)?).always,
            None => 0,
        };
        let mut found = Vec::new();
        let mut from = 0;
        for nth in 1..=all {
            let number = self.first(from, |head| through(head).always >= nth)?;
            if number >= end {
                return Err(Damaged);
            }
            found.push(number);
            from = number + 1;
        }
        Ok(found)
    }
}
