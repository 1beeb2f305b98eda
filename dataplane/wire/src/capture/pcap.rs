//! Classic pcap: one file header, then records (draft-ietf-opsawg-pcap; libpcap `sf-pcap.c`).

use super::batch::RecordRef;
use super::error::DamageKind;
use super::format::{ByteOrder, Format, PcapVariant};
use super::layout::{Framing, RecordLayout};
use super::link_type::LinkType;
use super::reader::{Direction, InterfaceInfo, RecordMeta};
use super::stream::{Fault, Stream};
use super::time::TimeResolution;

/// Bytes of the file header.
pub(crate) const FILE_HEADER_LEN: usize = 24;
/// Bytes of a record header in the plain variants.
pub(crate) const RECORD_HEADER_LEN: usize = RecordLayout::PCAP_HEADER_LEN;
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

/// What a record header says.
#[derive(Debug, Clone, Copy)]
struct Header {
    seconds: u32,
    fraction: u32,
    caplen: u32,
    len: u32,
}

impl Header {
    #[inline(always)]
    fn read(order: ByteOrder, bytes: &[u8]) -> Self {
        let at = |place| order.u32(bytes, place);
        Self { seconds: at(0), fraction: at(4), caplen: at(8), len: at(12) }
    }

    #[inline(always)]
    fn by_reference(self, fraction_ns: u64, direction: Direction) -> RecordRef {
        let Self { caplen, len, .. } = self;
        RecordRef { timestamp_ns: self.timestamp_ns(fraction_ns), at: 0, caplen, len, direction }
    }

    /// Fractions of a second or more are added as they stand: tools disagree, and this keeps the
    /// bytes of the file reproducible. 2^32 seconds and 2^32 microseconds fit 64 bits.
    #[inline(always)]
    fn timestamp_ns(self, fraction_ns: u64) -> u64 {
        u64::from(self.seconds) * 1_000_000_000 + u64::from(self.fraction) * fraction_ns
    }
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
        let header_len = file_header_len(variant);
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
        let found = self.header(header);
        let direction = self.direction(header);
        if found.caplen > self.caplen_max {
            let (caplen, limit) = (found.caplen, self.caplen_max);
            return Err(Fault::new(offset, DamageKind::CaptureLengthTooLarge { caplen, limit }));
        }
        let record_len = header_len + found.caplen as usize;
        let available = stream.peek(record_len).len();
        if available < record_len {
            let (needed, got) = (record_len as u64, available as u64);
            return Err(Fault::new(offset, DamageKind::RecordTruncated { needed, got }));
        }
        let data_at = stream.consume(record_len) + header_len;
        Ok(Some(RecordMeta {
            timestamp_ns: found.timestamp_ns(self.fraction_ns()),
            offset,
            header_len: header_len as u32,
            data_at,
            caplen: found.caplen,
            len: found.len,
            interface: 0,
            link_type: self.link_type,
            direction,
        }))
    }

    /// Moves past the next records as far as they lie wholly in the window, are good and not later
    /// than `last_ns`, and `records` has places for them. Returns how many there were.
    pub(crate) fn batch(
        &self,
        stream: &mut Stream,
        last_ns: u64,
        records: &mut [RecordRef],
    ) -> usize {
        use ByteOrder::{Big, Little};
        let walk = Walk { base: stream.window_at(), caplen_max: self.caplen_max, last_ns };
        let window = stream.window();
        // A loop of its own for each usual layout: what is fixed is folded into it.
        let (count, consumed) = match (self.layout(), self.order) {
            (Some(RecordLayout { tick_ns: 1, .. }), Little) => {
                walk.run::<RECORD_HEADER_LEN>(window, records, |h| plain(Little, 1, h))
            }
            (Some(RecordLayout { tick_ns: 1, .. }), Big) => {
                walk.run::<RECORD_HEADER_LEN>(window, records, |h| plain(Big, 1, h))
            }
            (Some(_), Little) => {
                walk.run::<RECORD_HEADER_LEN>(window, records, |h| plain(Little, 1000, h))
            }
            (Some(_), Big) => {
                walk.run::<RECORD_HEADER_LEN>(window, records, |h| plain(Big, 1000, h))
            }
            (None, _) => {
                let read = |h: &[u8]| {
                    let header = self.header(h);
                    header.by_reference(self.fraction_ns(), self.direction(h))
                };
                if self.record_header_len == MODIFIED_RECORD_HEADER_LEN {
                    walk.run::<MODIFIED_RECORD_HEADER_LEN>(window, records, |h| read(h))
                } else {
                    walk.run::<RECORD_HEADER_LEN>(window, records, |h| read(h))
                }
            }
        };
        stream.consume(consumed);
        count
    }

    /// The layout, if it is one without oddities.
    pub(crate) fn layout(&self) -> Option<RecordLayout> {
        let is_plain = self.lengths == Lengths::Ordered && self.variant != PcapVariant::Modified;
        is_plain.then(|| RecordLayout {
            framing: Framing::Pcap,
            order: self.order,
            tick_ns: self.fraction_ns(),
            link_type: self.link_type,
            caplen_max: self.caplen_max,
            records_at: file_header_len(self.variant) as u64,
        })
    }

    fn fraction_ns(&self) -> u64 {
        match self.variant {
            PcapVariant::Micro | PcapVariant::Modified => 1000,
            PcapVariant::Nano | PcapVariant::Ixia => 1,
        }
    }

    #[inline]
    fn header(&self, bytes: &[u8]) -> Header {
        let mut header = Header::read(self.order, bytes);
        let Header { caplen, len, .. } = header;
        if self.lengths == Lengths::Swapped || (self.lengths == Lengths::Unknown && caplen > len) {
            (header.caplen, header.len) = (len, caplen);
        }
        header
    }

    #[inline]
    fn direction(&self, header: &[u8]) -> Direction {
        match self.variant {
            PcapVariant::Modified => match header[22] {
                PACKET_OUTGOING => Direction::Outbound,
                0..=PACKET_OTHERHOST => Direction::Inbound,
                _ => Direction::Unknown,
            },
            PcapVariant::Micro | PcapVariant::Nano | PcapVariant::Ixia => Direction::Unknown,
        }
    }
}

fn file_header_len(variant: PcapVariant) -> usize {
    FILE_HEADER_LEN + if variant == PcapVariant::Ixia { 4 } else { 0 }
}

#[inline(always)]
fn plain(order: ByteOrder, fraction_ns: u64, header: &[u8; RECORD_HEADER_LEN]) -> RecordRef {
    Header::read(order, header).by_reference(fraction_ns, Direction::Unknown)
}

/// The bounds of a run over records that lie side by side.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// Index of the window in the buffer.
    base: usize,
    caplen_max: u32,
    last_ns: u64,
}

impl Walk {
    /// Fills `records`; returns how many, and the bytes that they take.
    #[inline(always)]
    fn run<const HEADER_LEN: usize>(
        self,
        window: &[u8],
        records: &mut [RecordRef],
        read: impl Fn(&[u8; HEADER_LEN]) -> RecordRef,
    ) -> (usize, usize) {
        let (mut count, mut rest) = (0, window);
        for place in records {
            let Some((header, body)) = rest.split_first_chunk::<HEADER_LEN>() else { break };
            let record = read(header);
            if record.caplen > self.caplen_max || record.timestamp_ns > self.last_ns {
                break;
            }
            let Some(behind) = body.get(record.caplen as usize..) else { break };
            let at = self.base + (window.len() - body.len());
            // The buffer holds one record or 256 KiB: far below 4 GiB.
            *place = RecordRef { at: at as u32, ..record };
            rest = behind;
            count += 1;
        }
        (count, window.len() - rest.len())
    }
}
