//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng).
//!
//! A block whose frame cannot be trusted ends the capture, and so does a packet block that
//! contradicts itself or its section: the tools that users compare with stop there as well, and a
//! file that lies once is not worth guessing at. Blocks without packets are stepped over by length.

use super::error::DamageKind;
use super::format::{ByteOrder, Format, PCAPNG_MAGIC};
use super::layout::{Framing, RecordLayout};
use super::link_type::LinkType;
use super::reader::{Direction, InterfaceInfo, RecordMeta};
use super::stream::{BUFFER_LEN, Fault, Stream};
use super::time::TimeResolution;
use super::{CAPLEN_MAX, INTERFACE_NAME_MAX, INTERFACES_MAX};

const SECTION_HEADER: u32 = u32::from_be_bytes(PCAPNG_MAGIC);
const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete Packet Block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = RecordLayout::ENHANCED_PACKET;

/// Block type and first length.
const BLOCK_HEAD_LEN: usize = 8;
/// Block type and both lengths.
const BLOCK_FRAME_LEN: u32 = 12;
/// Frame, byte-order magic, version, section length.
const SECTION_HEADER_LEN: u32 = BLOCK_FRAME_LEN + 16;
/// Frame, link type, reserved, snap length.
const INTERFACE_DESCRIPTION_LEN: u32 = BLOCK_FRAME_LEN + 8;
/// Frame, interface, time, both lengths; of enhanced and obsolete packets.
const PACKET_LEN: u32 = BLOCK_FRAME_LEN + 20;
/// Frame and length on the wire.
const SIMPLE_PACKET_LEN: u32 = BLOCK_FRAME_LEN + 4;
/// Offset of the captured bytes in enhanced and obsolete packets.
const PACKET_DATA_AT: usize = RecordLayout::ENHANCED_PACKET_HEADER_LEN;
/// Offset of the captured bytes in simple packets.
const SIMPLE_PACKET_DATA_AT: usize = 12;

/// Largest block that is taken into memory, bytes, as in libpcap and Wireshark.
const BLOCK_LEN_MAX: u32 = 16 << 20;
const _: () = assert!(CAPLEN_MAX < BLOCK_LEN_MAX);

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const VERSION_MAJOR: u16 = 1;

const OPTION_END: u16 = 0;
/// `if_name`, and the flags of both kinds of packet.
const OPTION_IF_NAME: u16 = 2;
const OPTION_PACKET_FLAGS: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_IF_TSOFFSET: u16 = 14;

/// Reads the packets of one pcapng stream.
#[derive(Debug)]
pub(crate) struct PcapNgParser {
    order: ByteOrder,
    section: u32,
    /// Global index of the section's first interface.
    section_base: usize,
}

/// Frame of the block at hand.
#[derive(Debug, Clone, Copy)]
struct Block {
    offset: u64,
    kind: u32,
    /// Length as it stands in the file.
    length: u32,
}

impl Block {
    /// Bytes that the block takes. Some writers leave the padding out of the length; the trailer
    /// then still stands behind it.
    fn padded(self) -> u64 {
        u64::from(self.length).next_multiple_of(4)
    }

    fn fault(self, kind: DamageKind) -> Box<Fault> {
        Fault::new(self.offset, kind)
    }

    fn cut(self, got: usize) -> Box<Fault> {
        self.fault(DamageKind::RecordTruncated { needed: self.padded(), got: got as u64 })
    }

    fn overrun(self, Overrun { code, length }: Overrun) -> Box<Fault> {
        self.fault(DamageKind::OptionOverrun { block_type: self.kind, code, length })
    }

    fn check_length(self, min: u32, max: u32) -> Result<(), Box<Fault>> {
        if (min..=max).contains(&self.length) {
            return Ok(());
        }
        let (block_type, length) = (self.kind, self.length);
        Err(self.fault(DamageKind::BlockLength { block_type, length, min, max }))
    }

    fn check_trailer(self, trailing: u32) -> Result<(), Box<Fault>> {
        let (block_type, leading) = (self.kind, self.length);
        if trailing == leading {
            return Ok(());
        }
        Err(self.fault(if leading % 4 == 0 {
            DamageKind::BlockLengthMismatch { block_type, leading, trailing }
        } else {
            DamageKind::BlockUnaligned { block_type, length: leading }
        }))
    }
}

impl PcapNgParser {
    /// Reads the first section header, whose type has been recognised but not consumed.
    pub(crate) fn open(stream: &mut Stream) -> Result<Self, Box<Fault>> {
        let got = stream.peek(SECTION_HEADER_LEN as usize).len() as u64;
        let needed = u64::from(SECTION_HEADER_LEN);
        if got < needed {
            return Err(Fault::new(0, DamageKind::HeaderTruncated { needed, got }));
        }
        let mut parser = Self { order: ByteOrder::Little, section: 0, section_base: 0 };
        parser.read_section_header(stream)?;
        Ok(parser)
    }

    /// Moves past the next packet and whatever stands before it.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        stream: &mut Stream,
        interfaces: &mut Vec<InterfaceInfo>,
    ) -> Result<Option<RecordMeta>, Box<Fault>> {
        loop {
            let offset = stream.offset();
            let head = stream.peek(BLOCK_HEAD_LEN);
            if head.len() < BLOCK_HEAD_LEN {
                if head.is_empty() {
                    return Ok(None);
                }
                let (needed, got) = (BLOCK_HEAD_LEN as u64, head.len() as u64);
                return Err(Fault::new(offset, DamageKind::RecordHeaderTruncated { needed, got }));
            }
            let block =
                Block { offset, kind: self.order.u32(head, 0), length: self.order.u32(head, 4) };
            match block.kind {
                ENHANCED_PACKET | PACKET => {
                    return self.read_packet(stream, block, interfaces).map(Some);
                }
                SIMPLE_PACKET => {
                    return self.read_simple_packet(stream, block, interfaces).map(Some);
                }
                INTERFACE_DESCRIPTION => self.read_interface(stream, block, interfaces)?,
                SECTION_HEADER => {
                    self.read_section_header(stream)?;
                    self.section += 1;
                    self.section_base = interfaces.len();
                }
                _ => self.skip_block(stream, block)?,
            }
        }
    }

    /// Moves past the next block if it is a good packet that lies wholly in the window and that
    /// `wanted` takes; anything else stays for [`Self::advance`].
    #[inline]
    pub(crate) fn advance_in_window(
        &self,
        stream: &mut Stream,
        interfaces: &[InterfaceInfo],
        wanted: impl FnOnce(&RecordMeta) -> bool,
    ) -> Option<RecordMeta> {
        let window = stream.window();
        let head = window.first_chunk::<BLOCK_HEAD_LEN>()?;
        let (kind, length) = (self.order.u32(head, 0), self.order.u32(head, 4));
        let block = Block { offset: stream.offset(), kind, length };
        if block.padded() > window.len() as u64 {
            return None;
        }
        let meta = match kind {
            ENHANCED_PACKET | PACKET => self.read_packet(stream, block, interfaces),
            SIMPLE_PACKET => self.read_simple_packet(stream, block, interfaces),
            _ => return None,
        };
        let meta = meta.ok()?;
        if !wanted(&meta) {
            stream.put_back(block.padded() as usize);
            return None;
        }
        Some(meta)
    }

    /// How all that follows is laid out as long as it stays as it begins: one interface with stamps of nano- or microseconds, little-endian. What
    /// stands before the first packet is read then, of the first section only; what is damaged, or longer than the buffer, is left as it is.
    pub(crate) fn layout(
        &mut self,
        stream: &mut Stream,
        interfaces: &mut Vec<InterfaceInfo>,
    ) -> Option<RecordLayout> {
        loop {
            let offset = stream.offset();
            let head = stream.peek(BLOCK_HEAD_LEN);
            if head.is_empty() {
                break;
            }
            let head = head.first_chunk::<BLOCK_HEAD_LEN>()?;
            let block =
                Block { offset, kind: self.order.u32(head, 0), length: self.order.u32(head, 4) };
            match block.kind {
                ENHANCED_PACKET => break,
                INTERFACE_DESCRIPTION => self.read_interface(stream, block, interfaces).ok()?,
                kind if is_stepped_over(kind) => {
                    block.check_length(BLOCK_FRAME_LEN, BUFFER_LEN as u32).ok()?;
                    self.load(stream, block).ok()?;
                    stream.consume(block.padded() as usize);
                }
                _ => return None,
            }
        }
        let [InterfaceInfo { resolution, offset_s: 0, link_type, .. }] = interfaces[..] else {
            return None;
        };
        let tick_ns = match resolution {
            TimeResolution::NANO => 1,
            TimeResolution::MICRO => 1000,
            _ => return None,
        };
        (self.order == ByteOrder::Little).then(|| RecordLayout {
            framing: Framing::EnhancedPacket,
            order: self.order,
            tick_ns,
            link_type,
            caplen_max: link_type.caplen_max(),
            records_at: stream.offset(),
        })
    }

    /// The order of a section is known only from within its header.
    fn read_section_header(&mut self, stream: &mut Stream) -> Result<(), Box<Fault>> {
        let offset = stream.offset();
        let head = stream.peek(SECTION_HEADER_LEN as usize);
        if head.len() < SECTION_HEADER_LEN as usize {
            let (needed, got) = (u64::from(SECTION_HEADER_LEN), head.len() as u64);
            return Err(Fault::new(offset, DamageKind::RecordHeaderTruncated { needed, got }));
        }
        self.order = match ByteOrder::Little.u32(head, BLOCK_HEAD_LEN) {
            BYTE_ORDER_MAGIC => ByteOrder::Little,
            found if found.swap_bytes() == BYTE_ORDER_MAGIC => ByteOrder::Big,
            found => return Err(Fault::new(offset, DamageKind::ByteOrderMagic { found })),
        };
        let block = Block { offset, kind: SECTION_HEADER, length: self.order.u32(head, 4) };
        let (major, minor) = (self.order.u16(head, 12), self.order.u16(head, 14));
        if major != VERSION_MAJOR {
            let format = Format::PcapNg;
            return Err(block.fault(DamageKind::UnsupportedVersion { format, major, minor }));
        }
        block.check_length(SECTION_HEADER_LEN, BLOCK_LEN_MAX)?;
        self.skip_block(stream, block)
    }

    fn skip_block(&self, stream: &mut Stream, block: Block) -> Result<(), Box<Fault>> {
        block.check_length(BLOCK_FRAME_LEN, u32::MAX)?;
        let body_len = block.padded() - 4;
        let skipped = stream.skip(body_len);
        let trailer = stream.peek(4);
        if trailer.len() < 4 {
            let got = skipped + trailer.len() as u64;
            let kind = DamageKind::RecordTruncated { needed: block.padded(), got };
            return Err(block.fault(kind));
        }
        block.check_trailer(self.order.u32(trailer, 0))?;
        stream.consume(4);
        Ok(())
    }

    /// Takes a whole block into the window and checks its frame.
    #[inline]
    fn load<'a>(&self, stream: &'a mut Stream, block: Block) -> Result<&'a [u8], Box<Fault>> {
        // `check_length` keeps this within 16 MiB.
        let len = block.padded() as usize;
        let bytes = stream.peek(len);
        if bytes.len() < len {
            return Err(block.cut(bytes.len()));
        }
        let bytes = &bytes[..len];
        block.check_trailer(self.order.u32(bytes, len - 4))?;
        Ok(bytes)
    }

    fn read_interface(
        &self,
        stream: &mut Stream,
        block: Block,
        interfaces: &mut Vec<InterfaceInfo>,
    ) -> Result<(), Box<Fault>> {
        block.check_length(INTERFACE_DESCRIPTION_LEN, BLOCK_LEN_MAX)?;
        let order = self.order;
        let bytes = self.load(stream, block)?;
        let mut interface = InterfaceInfo {
            name: None,
            link_type: LinkType(order.u16(bytes, 8)),
            snap_len: order.u32(bytes, 12),
            section: self.section,
            resolution: TimeResolution::MICRO,
            offset_s: 0,
        };
        for option in (Options { order, bytes: &bytes[16..bytes.len() - 4] }) {
            match option.map_err(|overrun| block.overrun(overrun))? {
                (OPTION_IF_NAME, value) => {
                    let kept = &value[..value.len().min(INTERFACE_NAME_MAX)];
                    interface.name = Some(String::from_utf8_lossy(kept).into());
                }
                (OPTION_IF_TSRESOL, &[byte]) => {
                    interface.resolution = TimeResolution::from_option(byte);
                }
                (OPTION_IF_TSOFFSET, value) if value.len() == 8 => {
                    let (first, second) = (order.u32(value, 0), order.u32(value, 4));
                    let (high, low) = match order {
                        ByteOrder::Big => (first, second),
                        ByteOrder::Little => (second, first),
                    };
                    interface.offset_s = (u64::from(high) << 32 | u64::from(low)).cast_signed();
                }
                _ => {}
            }
        }
        if interfaces.len() >= INTERFACES_MAX as usize {
            return Err(block.fault(DamageKind::TooManyInterfaces { limit: INTERFACES_MAX }));
        }
        interfaces.push(interface);
        stream.consume(block.padded() as usize);
        Ok(())
    }

    /// Enhanced and obsolete packets, which differ in the width of the interface.
    #[inline]
    fn read_packet(
        &self,
        stream: &mut Stream,
        block: Block,
        interfaces: &[InterfaceInfo],
    ) -> Result<RecordMeta, Box<Fault>> {
        block.check_length(PACKET_LEN, BLOCK_LEN_MAX)?;
        let order = self.order;
        let head = stream.peek(PACKET_DATA_AT);
        if head.len() < PACKET_DATA_AT {
            return Err(block.cut(head.len()));
        }
        let local = match block.kind {
            PACKET => u32::from(order.u16(head, 8)),
            _ => order.u32(head, 8),
        };
        let ticks = u64::from(order.u32(head, 12)) << 32 | u64::from(order.u32(head, 16));
        let (caplen, len) = (order.u32(head, 20), order.u32(head, 24));
        let (interface, info) = self.interface(block, local, interfaces)?;
        check_caplen(block, caplen, PACKET_LEN, info.link_type)?;

        let bytes = self.load(stream, block)?;
        let options_at = (PACKET_DATA_AT + caplen as usize).next_multiple_of(4);
        let options = bytes.get(options_at..bytes.len() - 4).unwrap_or_default();
        let direction = direction(order, options).map_err(|overrun| block.overrun(overrun))?;
        let data_at = stream.consume(block.padded() as usize) + PACKET_DATA_AT;
        Ok(RecordMeta {
            timestamp_ns: info.resolution.to_ns(ticks, info.offset_s),
            offset: block.offset,
            header_len: PACKET_DATA_AT as u32,
            data_at,
            caplen,
            len,
            interface,
            link_type: info.link_type,
            direction,
        })
    }

    /// Packets of the section's first interface, without time and with an implied captured length.
    fn read_simple_packet(
        &self,
        stream: &mut Stream,
        block: Block,
        interfaces: &[InterfaceInfo],
    ) -> Result<RecordMeta, Box<Fault>> {
        block.check_length(SIMPLE_PACKET_LEN, BLOCK_LEN_MAX)?;
        let head = stream.peek(SIMPLE_PACKET_DATA_AT);
        if head.len() < SIMPLE_PACKET_DATA_AT {
            return Err(block.cut(head.len()));
        }
        let len = self.order.u32(head, 8);
        let (interface, info) = self.interface(block, 0, interfaces)?;
        let caplen = if info.snap_len == 0 { len } else { len.min(info.snap_len) };
        check_caplen(block, caplen, SIMPLE_PACKET_LEN, info.link_type)?;

        self.load(stream, block)?;
        let data_at = stream.consume(block.padded() as usize) + SIMPLE_PACKET_DATA_AT;
        Ok(RecordMeta {
            timestamp_ns: 0,
            offset: block.offset,
            header_len: SIMPLE_PACKET_DATA_AT as u32,
            data_at,
            caplen,
            len,
            interface,
            link_type: info.link_type,
            direction: Direction::Unknown,
        })
    }

    /// Looks an interface up by its index in the section; gives the global one.
    #[inline]
    fn interface<'a>(
        &self,
        block: Block,
        local: u32,
        interfaces: &'a [InterfaceInfo],
    ) -> Result<(u32, &'a InterfaceInfo), Box<Fault>> {
        // Bounded by INTERFACES_MAX, so neither conversion cuts.
        let base = self.section_base;
        let global = base.saturating_add(local as usize);
        match interfaces.get(global) {
            Some(info) => Ok((global as u32, info)),
            None => {
                let described = (interfaces.len() - base) as u32;
                Err(block.fault(DamageKind::UnknownInterface { interface: local, described }))
            }
        }
    }
}

/// Checks a captured length before any byte of the packet is asked for.
#[inline]
fn check_caplen(
    block: Block,
    caplen: u32,
    fixed_len: u32,
    link_type: LinkType,
) -> Result<(), Box<Fault>> {
    let limit = link_type.caplen_max();
    if caplen > limit {
        return Err(block.fault(DamageKind::CaptureLengthTooLarge { caplen, limit }));
    }
    // Rounded up, as some lengths leave the padding out; the data still ends before the trailer.
    let available = block.length.next_multiple_of(4) - fixed_len;
    if caplen > available {
        return Err(block.fault(DamageKind::PacketOverrunsBlock { caplen, available }));
    }
    Ok(())
}

/// What the options of a packet block say of its direction.
#[inline]
fn direction(order: ByteOrder, options: &[u8]) -> Result<Direction, Overrun> {
    let mut direction = Direction::Unknown;
    for option in (Options { order, bytes: options }) {
        if let (OPTION_PACKET_FLAGS, value) = option?
            && value.len() == 4
        {
            direction = match order.u32(value, 0) & 0b11 {
                0b01 => Direction::Inbound,
                0b10 => Direction::Outbound,
                _ => Direction::Unknown,
            };
        }
    }
    Ok(direction)
}

/// What the bytes of a packet block's options say of its direction; nothing where an option ends behind them, so that the block is damaged.
pub fn packet_direction(order: ByteOrder, options: &[u8]) -> Option<Direction> {
    direction(order, options).ok()
}

/// Whether a block of this type holds no packet and changes nothing for those that follow, so that a reader of packets steps over it.
pub fn is_stepped_over(block_type: u32) -> bool {
    !matches!(
        block_type,
        SECTION_HEADER | INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET
    )
}

/// Walks over the options of a block; ends at `opt_endofopt` or where no further one fits.
struct Options<'a> {
    order: ByteOrder,
    bytes: &'a [u8],
}

/// An option that ends behind its block.
#[derive(Debug, Clone, Copy)]
struct Overrun {
    code: u16,
    length: u16,
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Overrun>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.len() < 4 {
            return None;
        }
        let (code, length) = (self.order.u16(self.bytes, 0), self.order.u16(self.bytes, 2));
        if code == OPTION_END {
            self.bytes = &[];
            return None;
        }
        let body = &self.bytes[4..];
        let Some(value) = body.get(..usize::from(length)) else {
            self.bytes = &[];
            return Some(Err(Overrun { code, length }));
        };
        self.bytes = body.get(value.len().next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((code, value)))
    }
}
