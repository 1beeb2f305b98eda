//! Packets made in memory: IPv4 UDP datagrams over Ethernet, as captures.

use std::net::Ipv4Addr;

use wt_wire::{ByteOrder, LinkType, PcapVariant, PcapWriter};

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Capture time, nanoseconds.
    pub timestamp_ns: u64,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination port.
    pub port: u16,
    /// Time to live.
    pub ttl: u8,
    /// Bytes of payload.
    pub payload: u16,
}

impl Datagram {
    /// Its length on the wire.
    pub fn wire_len(&self) -> u64 {
        14 + 20 + 8 + u64::from(self.payload)
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let udp_len = 8 + self.payload;
        let mut frame = vec![2, 0, 0, 0, 0, 11, 2, 0, 0, 0, 0, 10, 8, 0];
        frame.extend([0x45, 0]);
        frame.extend((20 + udp_len).to_be_bytes());
        frame.extend([0, 1, 0x40, 0, self.ttl, 17, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend([192, 0, 2, 1]);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(40_000_u16.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(udp_len.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend((0..self.payload).map(|i| i as u8));
        frame
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A capture of datagrams, in the order given.
///
/// # Panics
/// When a time stamp is beyond what the format holds.
pub fn capture(datagrams: &[Datagram]) -> Vec<u8> {
    let nano = PcapVariant::Nano;
    let mut writer =
        PcapWriter::new(Vec::new(), nano, ByteOrder::Little, LinkType::ETHERNET, 65_535)
            .expect("a header");
    for datagram in datagrams {
        let frame = datagram.frame();
        writer.write(datagram.timestamp_ns, frame.len() as u32, &frame).expect("a record");
    }
    writer.into_inner()
}
