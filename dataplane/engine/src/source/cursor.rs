//! One capture of a source, of which a batch at a time is at hand.

use wt_trace::{Meanwhile, TraceFile, TraceReader};
use wt_wire::{Batch, CaptureError, CaptureReader, InterfaceInfo, LinkType, RecordRef};

/// Most records that are at hand of a capture that is read record by record.
const RECORDS_MAX: usize = 4096;

/// A capture, and how much of what is at hand of it was given.
pub(super) struct Cursor {
    reader: Reader,
    used: usize,
}

enum Reader {
    /// A file whose turn has not come: of many files few are read at a time.
    Waiting(TraceFile),
    Trace(Box<TraceReader>),
    Capture {
        reader: Box<CaptureReader>,
        records: Vec<RecordRef>,
        at_hand: Option<AtHand>,
    },
    /// Its reader is gone, with all the memory that it took.
    Ended {
        interfaces: Vec<InterfaceInfo>,
        bytes: (u64, Option<u64>),
    },
}

/// What the first records have in common.
#[derive(Clone, Copy)]
struct AtHand {
    count: usize,
    link_type: LinkType,
    interface: u32,
    data_offset: u64,
    header_len: u32,
}

impl From<TraceFile> for Cursor {
    fn from(file: TraceFile) -> Self {
        Self { reader: Reader::Waiting(file), used: 0 }
    }
}

impl From<TraceReader> for Cursor {
    fn from(reader: TraceReader) -> Self {
        Self { reader: Reader::Trace(Box::new(reader)), used: 0 }
    }
}

impl From<CaptureReader> for Cursor {
    fn from(reader: CaptureReader) -> Self {
        let (reader, records) = (Box::new(reader), Vec::new());
        Self { reader: Reader::Capture { reader, records, at_hand: None }, used: 0 }
    }
}

impl Cursor {
    /// Time of the record that comes next; nothing at the end. Reads more where all at hand was given.
    ///
    /// # Errors
    /// Damage, once: nothing follows it.
    pub(super) fn head(&mut self) -> Result<Option<u64>, CaptureError> {
        if let Reader::Waiting(file) = &self.reader
            && let Some(first) = file.first_timestamp_ns()
        {
            return Ok(Some(first));
        }
        self.fill()
    }

    /// As [`Self::head`], with that record at hand.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub(super) fn fill(&mut self) -> Result<Option<u64>, CaptureError> {
        if let Reader::Waiting(file) = &self.reader {
            self.reader = Reader::Trace(Box::new(file.reader()));
        }
        if self.records().is_empty() {
            let read = self.read_on();
            if !matches!(read, Ok(true)) {
                let (interfaces, bytes) = (self.interfaces().to_vec(), self.bytes());
                self.reader = Reader::Ended { interfaces, bytes };
            }
            read?;
        }
        Ok(self.records().first().map(|record| record.timestamp_ns))
    }

    /// Whether there is more.
    fn read_on(&mut self) -> Result<bool, CaptureError> {
        self.used = 0;
        match &mut self.reader {
            Reader::Trace(reader) => Ok(reader.next_with_more()?.is_some()),
            Reader::Capture { reader, records, at_hand } => {
                *at_hand = None;
                *at_hand = reader.next_batch(records, RECORDS_MAX)?.map(|batch| AtHand {
                    count: batch.records.len(),
                    link_type: batch.link_type,
                    interface: batch.interface,
                    data_offset: batch.data_offset,
                    header_len: batch.header_len,
                });
                Ok(at_hand.is_some())
            }
            Reader::Waiting(_) | Reader::Ended { .. } => Ok(false),
        }
    }

    /// What is at hand and was not given yet, and the walk over what comes behind it.
    pub(super) fn batch(&self) -> Option<(Batch<'_>, Option<Meanwhile<'_>>)> {
        let (batch, more) = match &self.reader {
            Reader::Trace(reader) => reader.lent()?,
            Reader::Capture { reader, records, at_hand } => {
                let AtHand { count, link_type, interface, data_offset, header_len } = (*at_hand)?;
                let (data, records) = (reader.buffer(), &records[..count]);
                (Batch { data, records, link_type, interface, data_offset, header_len }, None)
            }
            Reader::Waiting(_) | Reader::Ended { .. } => return None,
        };
        Some((Batch { records: &batch.records[self.used..], ..batch }, more))
    }

    /// The records of [`Self::batch`].
    pub(super) fn records(&self) -> &[RecordRef] {
        let records = match &self.reader {
            Reader::Trace(reader) => reader.lent_records(),
            Reader::Capture { records, at_hand: Some(AtHand { count, .. }), .. } => {
                &records[..*count]
            }
            Reader::Capture { .. } | Reader::Waiting(_) | Reader::Ended { .. } => return &[],
        };
        &records[self.used..]
    }

    /// Enters that so many of them were given.
    pub(super) fn give(&mut self, records: usize) {
        self.used += records;
    }

    /// Interfaces described so far, as [`Batch::interface`] counts them.
    pub(super) fn interfaces(&self) -> &[InterfaceInfo] {
        match &self.reader {
            Reader::Waiting(file) => std::slice::from_ref(file.interface()),
            Reader::Trace(reader) => reader.interfaces(),
            Reader::Capture { reader, .. } => reader.interfaces(),
            Reader::Ended { interfaces, .. } => interfaces,
        }
    }

    /// The reader of a plain file.
    pub(super) fn trace(&self) -> Option<&TraceReader> {
        match &self.reader {
            Reader::Trace(reader) => Some(reader),
            _ => None,
        }
    }

    /// A plain file of which nothing was read, but perhaps when its turn comes.
    pub(super) fn waiting(&self) -> Option<&TraceFile> {
        match &self.reader {
            Reader::Waiting(file) => Some(file),
            _ => None,
        }
    }

    /// A plain file.
    pub(super) fn file(&self) -> Option<&TraceFile> {
        match &self.reader {
            Reader::Waiting(file) => Some(file),
            Reader::Trace(reader) => Some(reader.file()),
            Reader::Capture { .. } | Reader::Ended { .. } => None,
        }
    }

    /// Bytes of the file read so far, and its size where that is known.
    pub(super) fn bytes(&self) -> (u64, Option<u64>) {
        match &self.reader {
            Reader::Waiting(file) => (0, Some(file.len())),
            Reader::Trace(reader) => (reader.position(), Some(reader.file().len())),
            Reader::Capture { reader, .. } => (reader.bytes_read(), reader.size_hint()),
            Reader::Ended { bytes, .. } => *bytes,
        }
    }

    /// Bytes that are read of the capture, where it says how many: a compressed one may hold any number.
    pub(super) fn unpacked_bytes(&self) -> Option<u64> {
        match &self.reader {
            Reader::Trace(reader) => match reader.chosen() {
                Some(chosen) => Some(chosen.taken().bytes.0),
                None => Some(reader.file().len()),
            },
            Reader::Capture { reader, .. } => {
                reader.size_hint().filter(|_| reader.compression().is_none())
            }
            Reader::Waiting(_) | Reader::Ended { .. } => self.bytes().1,
        }
    }
}
