//! A block of the ring as packets. The kernel takes the outermost VLAN tag out of a frame, and the link header where packets come cooked:
//! both are put back where they were, in the room that is reserved before each packet.

use std::mem::offset_of;

use libc::{sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};
use wt_wire::{Direction, RecordRef};

use crate::sys::{LINE_BYTES, prefetch};

/// Room before each packet, bytes: a cooked header and a tag.
pub(super) const RESERVE_BYTES: usize = 32;

/// LINKTYPE_LINUX_SLL2's header, bytes.
const COOKED_BYTES: usize = 20;
/// Two addresses, behind which a frame's tag belongs.
const ADDRESSES_BYTES: usize = 12;
const TAG_BYTES: usize = 4;
const TPID_8021Q: u16 = 0x8100;

const HDR: usize = offset_of!(tpacket_block_desc, hdr);
const NUM_PACKETS_AT: usize = HDR + offset_of!(tpacket_hdr_v1, num_pkts);
const FIRST_AT: usize = HDR + offset_of!(tpacket_hdr_v1, offset_to_first_pkt);
/// The address of a packet lies behind its header, which is a multiple of TPACKET_ALIGNMENT.
const ADDRESS_AT: usize = size_of::<tpacket3_hdr>();
const _: () = assert!(ADDRESS_AT.is_multiple_of(16) && RESERVE_BYTES >= COOKED_BYTES + TAG_BYTES);

/// A packet's header and its address.
const HEAD_BYTES: usize = ADDRESS_AT + size_of::<sockaddr_ll>();

/// A packet of a block, its bytes as they were on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) record: RecordRef,
    /// The interface that it came or left by.
    pub(super) ifindex: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// How far before a header the block's bytes are fetched. Most of them were written by another core, and where a header lies is known only when the one
/// before it has come.
const AHEAD_BYTES: usize = 2048;

/// The packets of a block, one after the other.
pub(super) struct Packets {
    left: u32,
    next_at: usize,
    /// Bytes of the block before this have been fetched, or are on their way.
    fetched: usize,
    is_cooked: bool,
}

impl Packets {
    pub(super) fn new(block: &[u8], is_cooked: bool) -> Self {
        Self {
            left: u32_at(block, NUM_PACKETS_AT).unwrap_or(0),
            next_at: u32_at(block, FIRST_AT).unwrap_or(0) as usize,
            fetched: 0,
            is_cooked,
        }
    }

    /// Fetches what follows a place, as far as it has not been fetched.
    #[inline]
    fn fetch_from(&mut self, block: &[u8], at: usize) {
        let until = (at + AHEAD_BYTES).min(block.len());
        while self.fetched < until {
            prefetch(block.as_ptr().wrapping_add(self.fetched));
            self.fetched += LINE_BYTES;
        }
    }

    /// The next packet, after what is missing has been put back. Nothing at the end.
    pub(super) fn next(&mut self, block: &mut [u8]) -> Option<Received> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next_at;
        self.fetch_from(block, at);
        // Taken once: the fields of a packet are read without a comparison for each.
        let head = *block.get(at..)?.first_chunk::<HEAD_BYTES>()?;
        let quad = |offset: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| head[offset + i]));
        self.next_at = at + quad(offset_of!(tpacket3_hdr, tp_next_offset)) as usize;
        let seconds = u64::from(quad(offset_of!(tpacket3_hdr, tp_sec)));
        let nanoseconds = u64::from(quad(offset_of!(tpacket3_hdr, tp_nsec)));
        let status = quad(offset_of!(tpacket3_hdr, tp_status));
        let begin = [0, 1].map(|i| head[offset_of!(tpacket3_hdr, tp_mac) + i]);
        let mut packet = Bytes {
            at: at + usize::from(u16::from_ne_bytes(begin)),
            caplen: quad(offset_of!(tpacket3_hdr, tp_snaplen)),
            len: quad(offset_of!(tpacket3_hdr, tp_len)),
        };
        let address = at + ADDRESS_AT;
        let ifindex = quad(ADDRESS_AT + offset_of!(sockaddr_ll, sll_ifindex));
        let kind = head[ADDRESS_AT + offset_of!(sockaddr_ll, sll_pkttype)];
        let tag = tag(block, at, status);
        if self.is_cooked {
            let header = cooked_header(block, address)?;
            packet.cook(block, header, tag)?;
        } else if let Some(tag) = tag {
            packet.tag(block, tag)?;
        }
        let end = packet.at + packet.caplen as usize;
        (end <= block.len()).then_some(Received {
            record: RecordRef {
                timestamp_ns: seconds * 1_000_000_000 + nanoseconds,
                at: packet.at as u32,
                caplen: packet.caplen,
                len: packet.len,
                direction: match kind {
                    libc::PACKET_OUTGOING => Direction::Outbound,
                    _ => Direction::Inbound,
                },
            },
            ifindex,
        })
    }
}

/// The tag that the kernel has taken out of the packet whose header is at `at`: type, then priority and number.
fn tag(block: &[u8], at: usize, status: u32) -> Option<[u8; TAG_BYTES]> {
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let variant = at + offset_of!(tpacket3_hdr, hv1);
    let tci = u32_at(block, variant + 4)? as u16;
    let tpid = match status & libc::TP_STATUS_VLAN_TPID_VALID {
        0 => TPID_8021Q,
        _ => u16_at(block, variant + 8)?,
    };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    Some([a, b, c, d])
}

/// The header of LINKTYPE_LINUX_SLL2.
fn cooked_header(block: &[u8], address: usize) -> Option<[u8; COOKED_BYTES]> {
    let part = |at: usize, len: usize| block.get(address + at..address + at + len);
    let mut header = [0; COOKED_BYTES];
    header[0..2].copy_from_slice(part(offset_of!(sockaddr_ll, sll_protocol), 2)?);
    let ifindex = u32_at(block, address + offset_of!(sockaddr_ll, sll_ifindex))?;
    header[4..8].copy_from_slice(&ifindex.to_be_bytes());
    let hardware = u16_at(block, address + offset_of!(sockaddr_ll, sll_hatype))?;
    header[8..10].copy_from_slice(&hardware.to_be_bytes());
    header[10..11].copy_from_slice(part(offset_of!(sockaddr_ll, sll_pkttype), 1)?);
    header[11..12].copy_from_slice(part(offset_of!(sockaddr_ll, sll_halen), 1)?);
    header[12..20].copy_from_slice(part(offset_of!(sockaddr_ll, sll_addr), 8)?);
    Some(header)
}

/// Where the bytes of a packet lie in a block.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    at: usize,
    caplen: u32,
    len: u32,
}

impl Bytes {
    /// Makes room for `bytes` before the packet.
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_sub(bytes)?;
        self.caplen += bytes as u32;
        self.len += bytes as u32;
        Some(())
    }

    /// Puts the tag of a frame back behind its addresses.
    fn tag(&mut self, block: &mut [u8], tag: [u8; TAG_BYTES]) -> Option<()> {
        if (self.caplen as usize) < ADDRESSES_BYTES {
            return Some(());
        }
        let addresses = self.at..self.at + ADDRESSES_BYTES;
        self.grow(TAG_BYTES)?;
        block.get(addresses.clone())?;
        block.copy_within(addresses, self.at);
        let at = self.at + ADDRESSES_BYTES;
        block.get_mut(at..at + TAG_BYTES)?.copy_from_slice(&tag);
        Some(())
    }

    /// Puts a header before a packet that has none. The header names the protocol of what follows: that is the tag, if there is one.
    fn cook(
        &mut self,
        block: &mut [u8],
        mut header: [u8; COOKED_BYTES],
        tag: Option<[u8; TAG_BYTES]>,
    ) -> Option<()> {
        if let Some([a, b, c, d]) = tag {
            let protocol = [header[0], header[1]];
            header[..2].copy_from_slice(&[a, b]);
            self.grow(TAG_BYTES)?;
            let bytes = [c, d, protocol[0], protocol[1]];
            block.get_mut(self.at..self.at + TAG_BYTES)?.copy_from_slice(&bytes);
        }
        self.grow(COOKED_BYTES)?;
        block.get_mut(self.at..self.at + COOKED_BYTES)?.copy_from_slice(&header);
        Some(())
    }
}

#[cfg(test)]
mod tests;
