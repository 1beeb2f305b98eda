//! Classic pcap: one file header, then records (draft-ietf-opsawg-pcap; libpcap `sf-pcap.c`).

use super::error::DamageKind;
use super::format::{ByteOrder, Format, PcapVariant};
use super::link_type::LinkType;
use super::reader::{Direction, InterfaceInfo, RecordMeta};
use super::stream::{Fault, Stream};
use super::time::TimeResolution;

/// Bytes of the file header.
pub(crate) const FILE_HEADER_LEN: usize = 24;
/// Bytes of a record header in the plain variants.
pub(crate) const RECORD_HEADER_LEN: usize = 16;
/// Bytes of a record header in [`PcapVariant::Modified`].
const MODIFIED_RECORD_HEADER_LEN: usize = 24;
/// Packet type of frames that the capturing host sent (`PACKET_OUTGOING` of Linux).
const PACKET_OUTGOING: u8 = 4;
/// Largest packet type that means a received frame (`PACKET_OTHERHOST`).
const PACKET_OTHERHOST: u8 = 3;

/// Whether the two lengths of a record header stand in the other order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    /// Captured length first, as specified.
    Ordered,
    /// Length on the wire first: before version 2.3, and DG/UX's version 543.0.
    Swapped,
    /// Version 2.3 was written both ways: the smaller is the captured one.
    Unknown,
}

/// Reads the records of one classic pcap stream.
#[derive(Debug)]
pub(crate) struct PcapParser {
    variant: PcapVariant,
    order: ByteOrder,
    lengths: Lengths,
    link_type: LinkType,
    record_header_len: usize,
    caplen_max: u32,
}

impl PcapParser {
    /// Reads the file header, whose magic has been recognised but not consumed.
    pub(crate) fn open(
        stream: &mut Stream,
        variant: PcapVariant,
        order: ByteOrder,
    ) -> Result<(Self, InterfaceInfo), Box<Fault>> {
        let header_len = FILE_HEADER_LEN + if variant == PcapVariant::Ixia { 4 } else { 0 };
        let header = stream.peek(header_len);
        if header.len() < header_len {
            let (needed, got) = (header_len as u64, header.len() as u64);
            return Err(Fault::new(0, DamageKind::HeaderTruncated { needed, got }));
        }
        let (major, minor) = (order.u16(header, 4), order.u16(header, 6));
        let lengths = match (major, minor) {
            (2, 0..=2) | (543, 0) => Lengths::Swapped,
            (2, 3) => Lengths::Unknown,
            (2, _) => Lengths::Ordered,
            _ => {
                let format = Format::Pcap { variant, order };
                let kind = DamageKind::UnsupportedVersion { format, major, minor };
                return Err(Fault::new(0, kind));
            }
        };
        let snap_len = order.u32(header, 16);
        // The upper half carries the length of a frame check sequence, not the type.
        let link_type = LinkType((order.u32(header, 20) & 0xffff) as u16);
        stream.consume(header_len);

        let resolution = match variant {
            PcapVariant::Micro | PcapVariant::Modified => TimeResolution::MICRO,
            PcapVariant::Nano | PcapVariant::Ixia => TimeResolution::NANO,
        };
        let record_header_len = match variant {
            PcapVariant::Modified => MODIFIED_RECORD_HEADER_LEN,
            PcapVariant::Micro | PcapVariant::Nano | PcapVariant::Ixia => RECORD_HEADER_LEN,
        };
        let caplen_max = link_type.caplen_max();
        let parser = Self { variant, order, lengths, link_type, record_header_len, caplen_max };
        let interface =
            InterfaceInfo { name: None, link_type, snap_len, section: 0, resolution, offset_s: 0 };
        Ok((parser, interface))
    }

    /// The format as users see it.
    pub(crate) fn format(&self) -> Format {
        Format::Pcap { variant: self.variant, order: self.order }
    }

    /// Moves past the next record.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        stream: &mut Stream,
    ) -> Result<Option<RecordMeta>, Box<Fault>> {
        let header_len = self.record_header_len;
        let offset = stream.offset();
        let header = stream.peek(header_len);
        if header.len() < header_len {
            if header.is_empty() {
                return Ok(None);
            }
            let (needed, got) = (header_len as u64, header.len() as u64);
            return Err(Fault::new(offset, DamageKind::RecordHeaderTruncated { needed, got }));
        }
        let seconds = self.order.u32(header, 0);
        let fraction = self.order.u32(header, 4);
        let (mut caplen, mut len) = (self.order.u32(header, 8), self.order.u32(header, 12));
        if self.lengths == Lengths::Swapped || (self.lengths == Lengths::Unknown && caplen > len) {
            std::mem::swap(&mut caplen, &mut len);
        }
        let direction = match self.variant {
            PcapVariant::Modified => match header[22] {
                PACKET_OUTGOING => Direction::Outbound,
                0..=PACKET_OTHERHOST => Direction::Inbound,
                _ => Direction::Unknown,
            },
            PcapVariant::Micro | PcapVariant::Nano | PcapVariant::Ixia => Direction::Unknown,
        };
        if caplen > self.caplen_max {
            let limit = self.caplen_max;
            return Err(Fault::new(offset, DamageKind::CaptureLengthTooLarge { caplen, limit }));
        }
        let record_len = header_len + caplen as usize;
        let available = stream.peek(record_len).len();
        if available < record_len {
            let (needed, got) = (record_len as u64, available as u64);
            return Err(Fault::new(offset, DamageKind::RecordTruncated { needed, got }));
        }
        let data_at = stream.consume(record_len) + header_len;

        // Fractions of a second or more are added as they stand: tools disagree, and this keeps
        // the bytes of the file reproducible. 2^32 seconds and 2^32 microseconds fit 64 bits.
        let fraction_ns = match self.variant {
            PcapVariant::Micro | PcapVariant::Modified => u64::from(fraction) * 1000,
            PcapVariant::Nano | PcapVariant::Ixia => u64::from(fraction),
        };
        Ok(Some(RecordMeta {
            timestamp_ns: u64::from(seconds) * 1_000_000_000 + fraction_ns,
            offset,
            data_at,
            caplen,
            len,
            interface: 0,
            link_type: self.link_type,
            direction,
        }))
    }
}
