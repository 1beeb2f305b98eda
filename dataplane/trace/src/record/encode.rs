//! The blocks of a segment (draft-ietf-opsawg-pcapng), little-endian.

use wt_wire::{Direction, LinkType, RecordLayout};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = RecordLayout::ENHANCED_PACKET;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// Stamps count nanoseconds.
const TSRESOL_NS: u8 = 9;

/// Bytes of an enhanced packet beside its packet, at most: frame, five fields, padding, the flags.
pub(crate) const PACKET_EXTRA_MAX: usize = 32 + 3 + 12;

/// Bytes of it behind the packet, at most.
const TAIL_LEN_MAX: usize = 3 + 12 + 4;

/// An interface of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, where it has one.
    pub name: Option<Box<str>>,
    /// What its packets begin with.
    pub link_type: LinkType,
    /// Bytes kept of a packet; 0: all.
    pub snap_len: u32,
}

/// What is told of an interface when a segment ends: counts since the recording began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that the kernel had for the recorder.
    pub received: u64,
    /// Of those, given up by the kernel for want of room.
    pub os_dropped: u64,
    /// Packets that were written.
    pub delivered: u64,
    /// When the recording began and when this was counted, ns since the epoch.
    pub began_ns: u64,
    /// When this was counted, ns since the epoch.
    pub until_ns: u64,
}

/// Appends a block: its frame around what `body` appends.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    // Names are cut and packets bounded, so it is far below 4 GiB.
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend_from_slice(&len);
    out[start + 4..start + 8].copy_from_slice(&len);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Begins a segment. The comment says in words what its name says.
pub(crate) fn section(out: &mut Vec<u8>, comment: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0, 0, 0]);
        // Its length is not known.
        out.extend_from_slice(&[0xff; 8]);
        option(out, OPTION_COMMENT, comment.as_bytes());
        option(out, SHB_USERAPPL, concat!("wiretable ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// Describes an interface.
pub(crate) fn interface(out: &mut Vec<u8>, interface: &Interface) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&u32::from(interface.link_type.0).to_le_bytes());
        out.extend_from_slice(&interface.snap_len.to_le_bytes());
        if let Some(name) = &interface.name {
            option(out, IF_NAME, name.as_bytes());
        }
        option(out, IF_TSRESOL, &[TSRESOL_NS]);
        option(out, OPTION_END, &[]);
    });
}

/// Appends a packet of `len` bytes on the wire, `data` of them kept.
#[inline]
pub(crate) fn packet(
    out: &mut Vec<u8>,
    interface: u32,
    timestamp_ns: u64,
    len: u32,
    direction: Direction,
    data: &[u8],
) {
    let flags = match direction {
        Direction::Unknown => None,
        Direction::Inbound => Some(0b01_u8),
        Direction::Outbound => Some(0b10_u8),
    };
    let padding = data.len().next_multiple_of(4) - data.len();
    let options_len = if flags.is_some() { 12 } else { 0 };
    let block_len = (32 + data.len() + padding + options_len) as u32;
    let fields = [
        ENHANCED_PACKET,
        block_len,
        interface,
        (timestamp_ns >> 32) as u32,
        timestamp_ns as u32,
        data.len() as u32,
        len,
    ];
    let mut head = [0; 28];
    for (place, field) in head.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    // Padding, the option, the length once more: a copy of known size, of which the end is then taken back.
    let mut tail = [0_u8; TAIL_LEN_MAX];
    if let Some(flags) = flags {
        let [low, high] = EPB_FLAGS.to_le_bytes();
        tail[padding..padding + 5].copy_from_slice(&[low, high, 4, 0, flags]);
    }
    let len_at = padding + options_len;
    tail[len_at..len_at + 4].copy_from_slice(&block_len.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
    out.extend_from_slice(&tail);
    out.truncate(out.len() - (TAIL_LEN_MAX - len_at - 4));
}

/// Tells what was counted of an interface.
pub(crate) fn statistics(out: &mut Vec<u8>, interface: u32, counted: &Statistics) {
    let stamp = |ns: u64| {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&((ns >> 32) as u32).to_le_bytes());
        value[4..].copy_from_slice(&(ns as u32).to_le_bytes());
        value
    };
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend_from_slice(&interface.to_le_bytes());
        out.extend_from_slice(&stamp(counted.until_ns));
        option(out, ISB_STARTTIME, &stamp(counted.began_ns));
        option(out, ISB_ENDTIME, &stamp(counted.until_ns));
        option(out, ISB_IFRECV, &counted.received.to_le_bytes());
        option(out, ISB_OSDROP, &counted.os_dropped.to_le_bytes());
        option(out, ISB_USRDELIV, &counted.delivered.to_le_bytes());
        option(out, OPTION_END, &[]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use wt_wire::CaptureReader;

    #[test]
    fn what_is_encoded_reads_back() {
        let mut out = Vec::new();
        section(&mut out, "a comment of odd length");
        let of = Interface { name: Some("eth0".into()), link_type: LinkType(1), snap_len: 96 };
        interface(&mut out, &of);
        let directions = [Direction::Unknown, Direction::Inbound, Direction::Outbound];
        for (len, direction) in (0..9).zip(directions.into_iter().cycle()) {
            let before = out.len();
            packet(&mut out, 0, u64::MAX - 5 + len, 1500, direction, &[7; 9][..len as usize]);
            assert!(out.len() - before <= len as usize + PACKET_EXTRA_MAX);
        }
        statistics(&mut out, 0, &Statistics { received: 9, ..Statistics::default() });
        let mut reader = CaptureReader::from_reader("x", std::io::Cursor::new(out)).unwrap();
        for (len, direction) in (0..9).zip(directions.into_iter().cycle()) {
            let record = reader.next().unwrap().unwrap();
            assert_eq!(record.timestamp_ns, u64::MAX - 5 + len);
            assert_eq!((record.len, record.direction), (1500, direction));
            assert_eq!(record.data, &[7; 9][..len as usize]);
        }
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.interfaces()[0].name.as_deref(), Some("eth0"));
        assert_eq!(reader.interfaces()[0].snap_len, 96);
    }
}
