//! The reader of a range of a file.

use std::ops::Range;

use wt_wire::{Batch, CaptureError, CaptureReader, Direction, PcapLayout, RecordRef};

use crate::file::TraceFile;
use crate::window::Window;

/// Records per batch where the sequential reader has taken over.
const TAIL_BATCH_LEN: usize = 1024;

/// Reads the records that begin in a range of a file, in file order.
#[derive(Debug)]
pub struct TraceReader {
    file: TraceFile,
    range: Range<u64>,
    position: u64,
    window: Window,
    records: Vec<RecordRef>,
    /// Reads on where anything is odd, so that damage is told as it always is.
    tail: Option<Box<CaptureReader>>,
    ended: bool,
}

impl TraceReader {
    pub(crate) fn new(file: TraceFile, range: Range<u64>) -> Self {
        let window = Window::new(range.start);
        let (records, position) = (Vec::new(), range.start);
        Self { file, range, position, window, records, tail: None, ended: false }
    }

    /// The next records in file order, or nothing at the end of the range or file.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] once, behind the last good record; nothing follows it.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        if self.tail.is_none() && self.fill() {
            return Ok(Some(self.batch()));
        }
        if self.ended {
            return Ok(None);
        }
        self.next_of_tail()
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

    /// Fills `records`; false is the end, or the place for the tail.
    fn fill(&mut self) -> bool {
        loop {
            if self.position >= self.range.end {
                self.ended = true;
                return false;
            }
            let consumed = (self.position - self.window.offset()) as usize;
            self.window.consume(consumed);
            self.records.clear();
            let stop = self.range.end.saturating_sub(self.position);
            let layout = self.file.layout();
            let walked = walk(layout, self.window.bytes(), stop, &mut self.records);
            if walked > 0 {
                self.position += walked as u64;
                return true;
            }
            match self.window.read_on(&self.file) {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = self.window.bytes().is_empty();
                    return false;
                }
                Err(_) => return false,
            }
            // A whole record is at hand now, or the file ends, or the record is damaged.
            if self.is_odd() {
                return false;
            }
        }
    }

    fn is_odd(&self) -> bool {
        let mut records = Vec::new();
        walk(self.file.layout(), self.window.bytes(), 1, &mut records) == 0
    }

    fn batch(&self) -> Batch<'_> {
        let layout = self.file.layout();
        Batch {
            data: self.window.bytes(),
            records: &self.records,
            link_type: layout.link_type,
            interface: 0,
            data_offset: self.window.offset(),
            header_len: PcapLayout::RECORD_HEADER_LEN as u32,
        }
    }

    fn next_of_tail(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(Box::new(self.file.sequential(self.position)?)),
        };
        let batch = match tail.next_batch(&mut self.records, TAIL_BATCH_LEN) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.ended = true;
                return Ok(None);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        };
        let begins = |record: &RecordRef| {
            batch.data_offset + u64::from(record.at) - u64::from(batch.header_len)
        };
        let count = batch.records.partition_point(|record| begins(record) < self.range.end);
        self.ended = count < batch.records.len();
        let Some(last) = batch.records[..count].last() else { return Ok(None) };
        self.position = batch.data_offset + u64::from(last.at) + u64::from(last.caplen);
        Ok(Some(Batch { records: &batch.records[..count], ..batch }))
    }
}

/// Walks over the records that begin before `stop` and lie wholly in `bytes`; returns the bytes
/// that they take.
fn walk(layout: PcapLayout, bytes: &[u8], stop: u64, records: &mut Vec<RecordRef>) -> usize {
    let mut rest = bytes;
    while ((bytes.len() - rest.len()) as u64) < stop {
        let Some((header, body)) = rest.split_first_chunk::<16>() else { break };
        let at = |place| layout.order.u32(header, place);
        let caplen = at(8);
        if caplen > layout.caplen_max {
            break;
        }
        let Some(behind) = body.get(caplen as usize..) else { break };
        records.push(RecordRef {
            timestamp_ns: u64::from(at(0)) * 1_000_000_000 + u64::from(at(4)) * layout.fraction_ns,
            at: (bytes.len() - body.len()) as u32,
            caplen,
            len: at(12),
            direction: Direction::Unknown,
        });
        rest = behind;
    }
    bytes.len() - rest.len()
}
