//! Headers as the tasks need them: Ethernet with VLAN tags, IPv4, IPv6 with extension headers, TCP.
//!
//! Everything is inlined into the task that asks, so that what it does not use is never loaded.

/// Addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// Source and destination of version 4.
    V4(&'a [u8; 8]),
    /// Source and destination of version 6.
    V6(&'a [u8; 32]),
}

/// The first IP header of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    /// Source and destination.
    pub addresses: Addresses<'a>,
    /// What follows the header, its extensions included.
    pub protocol: u8,
    /// A later piece of a datagram: what follows is no header.
    pub later_fragment: bool,
    /// What follows, as far as the packet goes and is captured.
    pub rest: &'a [u8],
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// TCP's number.
pub const TCP: u8 = 6;
/// UDP's number.
pub const UDP: u8 = 17;
/// ICMP's number.
pub const ICMP: u8 = 1;

/// The IP header of a frame, if it has one.
#[inline(always)]
pub fn ip(frame: &[u8], len: u32) -> Option<Ip<'_>> {
    let head: &[u8; 14] = frame.first_chunk()?;
    let mut ethertype = u16::from_be_bytes([head[12], head[13]]);
    let mut rest = &frame[14..];
    let mut left = len as usize - 14.min(len as usize);
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        let tag: &[u8; 4] = rest.first_chunk()?;
        ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        rest = &rest[4..];
        left = left.saturating_sub(4);
    }
    match ethertype {
        IPV4 => ipv4(rest, left),
        IPV6 => ipv6(rest, left),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(bytes: &[u8], left: usize) -> Option<Ip<'_>> {
    let head: &[u8; 20] = bytes.first_chunk()?;
    let header_len = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || header_len < 20 {
        return None;
    }
    // 0 is what hosts capture whose network card cuts segments.
    let total = match u16::from_be_bytes([head[2], head[3]]) {
        0 => left,
        n => usize::from(n),
    };
    let rest = bytes.get(header_len..)?;
    Some(Ip {
        addresses: Addresses::V4(head.last_chunk()?),
        protocol: head[9],
        later_fragment: u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0,
        rest: &rest[..rest.len().min(total.saturating_sub(header_len))],
    })
}

#[inline(always)]
fn ipv6(bytes: &[u8], left: usize) -> Option<Ip<'_>> {
    let head: &[u8; 40] = bytes.first_chunk()?;
    if head[0] >> 4 != 6 {
        return None;
    }
    let payload = match u16::from_be_bytes([head[4], head[5]]) {
        0 => left.saturating_sub(40),
        n => usize::from(n),
    };
    let rest = &bytes[40..];
    let rest = &rest[..rest.len().min(payload)];
    let addresses = Addresses::V6(head.last_chunk()?);
    match head[6] {
        TCP | UDP => Some(Ip { addresses, protocol: head[6], later_fragment: false, rest }),
        next => extensions(addresses, next, rest),
    }
}

/// Behind extension headers; apart, as few packets have them.
#[cold]
fn extensions<'a>(addresses: Addresses<'a>, mut next: u8, mut rest: &'a [u8]) -> Option<Ip<'a>> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let mut later_fragment = false;
    while !later_fragment {
        let len = match (next, rest) {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            (0 | 43 | 60 | 135 | 139 | 140, [_, words, ..]) => (usize::from(*words) + 1) * 8,
            (AUTHENTICATION, [_, words, ..]) => (usize::from(*words) + 2) * 4,
            (FRAGMENT, [_, _, high, low, ..]) => {
                later_fragment = u16::from_be_bytes([*high, *low]) >> 3 != 0;
                8
            }
            _ => break,
        };
        let Some(behind) = rest.get(len..) else { break };
        next = rest[0];
        rest = behind;
    }
    Some(Ip { addresses, protocol: next, later_fragment, rest })
}

impl<'a> Ip<'a> {
    /// The TCP header, if there is a whole one.
    #[inline(always)]
    pub fn tcp(&self) -> Option<Tcp<'a>> {
        if self.protocol != TCP || self.later_fragment {
            return None;
        }
        let head: &[u8; 20] = self.rest.first_chunk()?;
        let header_len = usize::from(head[12] >> 4) * 4;
        if header_len < 20 {
            return None;
        }
        Some(Tcp { head, payload: self.rest.get(header_len..)? })
    }

    /// The ports of a UDP datagram.
    #[inline(always)]
    pub fn udp(&self) -> Option<(u16, u16)> {
        if self.protocol != UDP || self.later_fragment {
            return None;
        }
        let head: &[u8; 8] = self.rest.first_chunk()?;
        Some((u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]])))
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// The header without options.
    pub head: &'a [u8; 20],
    /// What the segment carries, as far as captured.
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    /// Source port.
    #[inline(always)]
    pub fn source(&self) -> u16 {
        u16::from_be_bytes([self.head[0], self.head[1]])
    }

    /// Destination port.
    #[inline(always)]
    pub fn destination(&self) -> u16 {
        u16::from_be_bytes([self.head[2], self.head[3]])
    }

    /// Whether either port is this one.
    #[inline(always)]
    pub fn has_port(&self, port: u16) -> bool {
        self.source() == port || self.destination() == port
    }

    /// The flags, FIN lowest.
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        self.head[13]
    }
}
