//! Records by reference: many at once, so that what runs over them runs in one loop.

use super::link_type::LinkType;
use super::reader::{Direction, Record};

/// One record of a [`Batch`]; its bytes lie in the batch's buffer.
///
/// Machine code reads the fields, so their places are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct RecordRef {
    /// As [`Record::timestamp_ns`].
    pub timestamp_ns: u64,
    /// Index of the first captured byte in [`Batch::data`]. Buffers stay far below 4 GiB: they hold
    /// one record of at most 128 MiB, or a window of fixed size.
    pub at: u32,
    /// Captured bytes; all of them lie in [`Batch::data`].
    pub caplen: u32,
    /// As [`Record::len`].
    pub len: u32,
    /// As [`Record::direction`].
    pub direction: Direction,
}

const _: () = {
    assert!(size_of::<RecordRef>() == 24);
    assert!(std::mem::offset_of!(RecordRef, timestamp_ns) == 0);
    assert!(std::mem::offset_of!(RecordRef, at) == 8);
    assert!(std::mem::offset_of!(RecordRef, caplen) == 12);
    assert!(std::mem::offset_of!(RecordRef, len) == 16);
    assert!(std::mem::offset_of!(RecordRef, direction) == 20);
};

impl RecordRef {
    /// A record without bytes, to size a vector with.
    pub const EMPTY: Self =
        Self { timestamp_ns: 0, at: 0, caplen: 0, len: 0, direction: Direction::Unknown };
}

/// Consecutive records of one interface and link type, in file order; never empty.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The buffer that holds the bytes of all records, and bytes between and around them.
    pub data: &'a [u8],
    /// The records.
    pub records: &'a [RecordRef],
    /// What each record's data begins with.
    pub link_type: LinkType,
    /// As [`Record::interface`], of all records.
    pub interface: u32,
    /// Offset of `data[0]` in the (decompressed) stream.
    pub data_offset: u64,
    /// Bytes from the start of a record or block to its captured bytes.
    pub header_len: u32,
}

impl<'a> Batch<'a> {
    /// The captured bytes of a record of this batch.
    #[inline]
    pub fn bytes(&self, record: &RecordRef) -> &'a [u8] {
        &self.data[record.at as usize..][..record.caplen as usize]
    }

    /// A record of this batch as [`CaptureReader::next`](super::CaptureReader::next) gives it.
    #[inline]
    pub fn record(&self, record: &RecordRef) -> Record<'a> {
        Record {
            timestamp_ns: record.timestamp_ns,
            len: record.len,
            interface: self.interface,
            link_type: self.link_type,
            offset: self.data_offset + u64::from(record.at) - u64::from(self.header_len),
            direction: record.direction,
            data: self.bytes(record),
        }
    }

    /// All records of this batch, as [`Self::record`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'a>> + use<'a> {
        let batch = *self;
        batch.records.iter().map(move |record| batch.record(record))
    }
}
