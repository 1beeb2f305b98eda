//! The blocks of a frame as records: what the recorder writes, and nothing else.

use wt_wire::{Direction, LinkType, RecordLayout, RecordRef};

use crate::record::Interface;

pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = RecordLayout::ENHANCED_PACKET;
const IF_NAME: u16 = 2;
/// Where a packet's bytes begin in its block.
const DATA_AT: usize = RecordLayout::ENHANCED_PACKET_HEADER_LEN;

fn quad(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The blocks of a frame's body one after the other: kind and whole block. Ends where one does not fit.
fn blocks(body: &[u8]) -> impl Iterator<Item = (u32, usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (kind, len) = (quad(body, at)?, quad(body, at + 4)? as usize);
        let block = body.get(at..at.checked_add(len)?).filter(|block| block.len() >= 12)?;
        let start = at;
        at += len;
        Some((kind, start, block))
    })
}

/// The packets of a body: the interface of each, and where it lies.
pub(super) fn packets(body: &[u8], out: &mut Vec<(u32, RecordRef)>) {
    out.clear();
    let packets = blocks(body).filter(|(kind, ..)| *kind == ENHANCED_PACKET);
    out.extend(packets.filter_map(|(_, start, block)| {
        let field = |at: usize| quad(block, at);
        let timestamp_ns = u64::from(field(12)?) << 32 | u64::from(field(16)?);
        let (caplen, len) = (field(20)?, field(24)?);
        let data_end = DATA_AT.checked_add(caplen as usize)?;
        block.get(DATA_AT..data_end)?;
        // The flags are the only option.
        let flags_at = data_end.next_multiple_of(4) + 4;
        let direction = match block.get(flags_at).filter(|_| flags_at + 4 < block.len() - 4) {
            Some(1) => Direction::Inbound,
            Some(2) => Direction::Outbound,
            _ => Direction::Unknown,
        };
        let at = (start + DATA_AT) as u32;
        Some((field(8)?, RecordRef { timestamp_ns, at, caplen, len, direction }))
    }));
}

/// The packets of a body as whole blocks, each with its stamp.
pub(crate) fn stamped(body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    blocks(body).filter(|(kind, ..)| *kind == ENHANCED_PACKET).filter_map(|(_, _, block)| {
        let timestamp_ns = u64::from(quad(block, 12)?) << 32 | u64::from(quad(block, 16)?);
        Some((timestamp_ns, block))
    })
}

/// The interfaces that a body describes.
pub(super) fn interfaces(body: &[u8]) -> Vec<Interface> {
    let described = blocks(body).filter(|(kind, ..)| *kind == INTERFACE_DESCRIPTION);
    let of = |block: &[u8]| {
        let link_type = LinkType(quad(block, 8)? as u16);
        let snap_len = quad(block, 12)?;
        let mut name = None;
        let mut at = 16;
        while let Some(option) = quad(block, at) {
            let (code, len) = (option as u16, (option >> 16) as usize);
            if code == 0 {
                break;
            }
            let value = block.get(at + 4..at + 4 + len)?;
            if code == IF_NAME {
                name = Some(String::from_utf8_lossy(value).into());
            }
            at += 4 + len.next_multiple_of(4);
        }
        Some(Interface { name, link_type, snap_len })
    };
    described.filter_map(|(_, _, block)| of(block)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::encode;

    #[test]
    fn blocks_read_back() {
        let mut body = Vec::new();
        let of = |name: Option<&str>| Interface {
            name: name.map(Into::into),
            link_type: LinkType(276),
            snap_len: 96,
        };
        let all = [of(Some("eth0")), of(None), of(Some("a name of some length"))];
        all.iter().for_each(|interface| encode::interface(&mut body, interface));
        assert_eq!(interfaces(&body), all);
        body.clear();
        let directions = [Direction::Unknown, Direction::Inbound, Direction::Outbound];
        for (number, direction) in (0..20_u32).zip(directions.into_iter().cycle()) {
            let data = vec![1; number as usize];
            encode::packet(&mut body, number % 3, 1 << 60, 1000 + number, direction, &data);
        }
        let mut found = Vec::new();
        packets(&body, &mut found);
        assert_eq!(found.len(), 20);
        for ((number, direction), (interface, record)) in
            (0..20_u32).zip(directions.into_iter().cycle()).zip(&found)
        {
            assert_eq!(*interface, number % 3);
            assert_eq!((record.timestamp_ns, record.len), (1 << 60, 1000 + number));
            assert_eq!((record.direction, record.caplen), (direction, number));
            let data = &body[record.at as usize..][..record.caplen as usize];
            assert!(data.iter().all(|byte| *byte == 1));
        }
        // What is cut is left out.
        packets(&body[..body.len() - 1], &mut found);
        assert_eq!(found.len(), 19);
    }
}
