//! The reader of a range of a file: mapped where that is faster, read otherwise, and record by
//! record where anything is odd.

use std::ops::Range;

use wt_wire::{Batch, CaptureError, CaptureReader, Damage, DamageKind, PcapLayout, RecordRef};

use crate::file::TraceFile;
use crate::mapped::{Mapped, Tuning};
use crate::walk::{Cut, Scratch, walk};
use crate::window::Window;

/// Records per batch where the sequential reader has taken over.
const TAIL_BATCH_LEN: usize = 1024;
/// What is read lies in the cache, where several chains gain nothing.
const ONE_CHAIN: Cut = Cut { chains: 1, segment_len: 0 };

/// Reads the records that begin in a range of a file, in file order.
#[derive(Debug)]
pub struct TraceReader {
    file: TraceFile,
    range: Range<u64>,
    position: u64,
    tuning: Tuning,
    mapped: Mapped,
    window: Option<Window>,
    records: Vec<RecordRef>,
    scratch: Scratch,
    /// Reads on where anything is odd, so that damage is told as it always is.
    tail: Option<Box<CaptureReader>>,
    /// Where the batch begins that was handed out last, if it is mapped.
    lent_from: Option<u64>,
    ended: bool,
}

/// Where the records at hand lie.
enum Filled {
    Mapped,
    Read,
    /// Nothing at hand: the sequential reader decides.
    Odd,
    End,
}

impl TraceReader {
    pub(crate) fn new(file: TraceFile, range: Range<u64>, tuning: Tuning) -> Self {
        Self {
            mapped: Mapped::new(range.start),
            position: range.start,
            file,
            range,
            tuning,
            window: None,
            records: Vec::new(),
            scratch: Scratch::default(),
            tail: None,
            lent_from: None,
            ended: false,
        }
    }

    /// Goes on with another range of the same file, as [`TraceFile::reader_of`] reads it; what this reader has found out about
    /// the file's speed is kept.
    pub fn turn_to(&mut self, range: Range<u64>) {
        self.mapped.turn_to(&self.file, range.start);
        self.position = range.start;
        self.range = range;
        self.tail = None;
        self.lent_from = None;
        self.ended = false;
    }

    /// The next records in file order, or nothing at the end of the range or file.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] once, behind the last good record; nothing follows it. When another
    /// process has cut the file off under the batch before, that is told here: the bytes of that
    /// batch are not to be trusted.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        if self.tail.is_some() {
            return self.next_of_tail();
        }
        let begun = self.position;
        let lent_from = self.lent_from.take();
        let filled = self.fill();
        if let Filled::Mapped = filled {
            self.lent_from = Some(begun);
        }
        self.check_mapping(lent_from.or(self.lent_from))?;
        let layout = self.file.layout();
        let (data, data_offset) = match filled {
            Filled::Mapped => (self.mapped.bytes(&self.file), self.mapped.offset()),
            Filled::Read => match &self.window {
                Some(window) => (window.bytes(), window.offset()),
                None => return Ok(None),
            },
            Filled::Odd => return self.next_of_tail(),
            Filled::End => {
                self.ended = true;
                return match self.file.is_shorter_than(self.position) {
                    true => Err(truncated(&self.file, self.position)),
                    false => Ok(None),
                };
            }
        };
        Ok(Some(Batch {
            data,
            records: &self.records,
            link_type: layout.link_type,
            interface: 0,
            data_offset,
            header_len: PcapLayout::RECORD_HEADER_LEN as u32,
        }))
    }

    /// Offset at which the reader began.
    pub fn start(&self) -> u64 {
        self.range.start
    }

    /// Offset behind the last record delivered: at the end of a range, where the next one must
    /// begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The file that is read.
    pub fn file(&self) -> &TraceFile {
        &self.file
    }

    /// Fills `records` with what comes next.
    fn fill(&mut self) -> Filled {
        if self.position >= self.range.end {
            return Filled::End;
        }
        let left = usize::try_from(self.range.end - self.position).unwrap_or(usize::MAX);
        let layout = self.file.layout();
        let (records, scratch) = (&mut self.records, &mut self.scratch);
        if self.mapped.advance(&self.file, self.position, self.tuning) {
            let stop = left.min(self.tuning.batch_len);
            let bytes = self.mapped.bytes(&self.file);
            let walked = walk(layout, bytes, stop, self.tuning.cut(), records, scratch);
            if walked > 0 {
                self.position += walked as u64;
                return Filled::Mapped;
            }
        }
        let window = self.window.get_or_insert_with(|| Window::new(self.position));
        window.go_to(self.position);
        let stop = left.min(self.tuning.read_batch_len);
        loop {
            let walked = walk(layout, window.bytes(), stop, ONE_CHAIN, records, scratch);
            if walked > 0 {
                self.position += walked as u64;
                return Filled::Read;
            }
            match window.read_on(&self.file) {
                Ok(true) => {}
                Ok(false) if window.bytes().is_empty() => return Filled::End,
                Ok(false) | Err(_) => return Filled::Odd,
            }
            // More than the largest record is at hand now, or else the next read gives nothing.
            if walk(layout, window.bytes(), 1, ONE_CHAIN, records, scratch) == 0
                && window.holds_any_record()
            {
                return Filled::Odd;
            }
        }
    }

    /// Tells when the file was cut off under records that were delivered, or that are about to be.
    fn check_mapping(&mut self, lent_from: Option<u64>) -> Result<(), CaptureError> {
        let Some(offset) = lent_from.filter(|_| self.file.is_damaged()) else { return Ok(()) };
        self.ended = true;
        Err(truncated(&self.file, offset))
    }

    fn next_of_tail(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(Box::new(self.file.sequential(self.position)?)),
        };
        // Whatever comes of it unless it is a batch.
        self.ended = true;
        let Some(batch) = tail.next_batch(&mut self.records, TAIL_BATCH_LEN)? else {
            return match self.file.is_shorter_than(self.position) {
                true => Err(truncated(&self.file, self.position)),
                false => Ok(None),
            };
        };
        let begins = |record: &RecordRef| {
            batch.data_offset + u64::from(record.at) - u64::from(batch.header_len)
        };
        let count = batch.records.partition_point(|record| begins(record) < self.range.end);
        let Some(last) = batch.records[..count].last() else { return Ok(None) };
        self.ended = count < batch.records.len();
        self.position = batch.data_offset + u64::from(last.at) + u64::from(last.caplen);
        Ok(Some(Batch { records: &batch.records[..count], ..batch }))
    }
}

/// The damage of a file whose bytes went while it was read.
fn truncated(file: &TraceFile, offset: u64) -> CaptureError {
    let kind = DamageKind::TruncatedWhileRead { len: file.len() };
    let damage = Damage { offset, compressed: false, kind };
    CaptureError::Damaged { name: file.name().into(), damage }
}
