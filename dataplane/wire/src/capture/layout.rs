//! How the records of a plain capture lie in its bytes.

use super::format::ByteOrder;
use super::link_type::LinkType;

/// How the records of a capture lie in its bytes, where they are all alike: what a reader needs that brings its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLayout {
    /// What stands around the captured bytes of each record.
    pub framing: Framing,
    /// Byte order of the headers.
    pub order: ByteOrder,
    /// Nanoseconds in one unit of a stamp, or of its fraction: 1000 or 1. Fractions of a second or more are added as they stand.
    pub tick_ns: u64,
    /// What each record's data begins with.
    pub link_type: LinkType,
    /// Largest captured length that is accepted, bytes.
    pub caplen_max: u32,
    /// Offset of the first record in the file.
    pub records_at: u64,
}

/// What stands around the captured bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The header of classic pcap: seconds, fraction, captured length, length on the wire.
    Pcap,
    /// An enhanced packet block of pcapng, of the first interface of the first section. Blocks without packets may lie between.
    EnhancedPacket,
}

impl Framing {
    /// Bytes from the start of a record to its captured bytes.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Pcap => RecordLayout::PCAP_HEADER_LEN,
            Self::EnhancedPacket => RecordLayout::ENHANCED_PACKET_HEADER_LEN,
        }
    }
}

impl RecordLayout {
    /// Type of an enhanced packet block.
    pub const ENHANCED_PACKET: u32 = 6;
    /// Bytes before the captured bytes of a record of classic pcap.
    pub const PCAP_HEADER_LEN: usize = 16;
    /// Bytes before the captured bytes of an enhanced packet block: its type and length, interface, stamp (upper half first), captured
    /// length, length on the wire.
    pub const ENHANCED_PACKET_HEADER_LEN: usize = 28;
    /// Most bytes that such a record takes beside those captured, where it has no options but the direction.
    pub const EXTRA_LEN_MAX: usize = 48;
}
