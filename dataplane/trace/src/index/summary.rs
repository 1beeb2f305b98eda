//! What a block's packets have: a Bloom filter over addresses, ports, IP protocols and VLANs.
//!
//! Three bits of each key, all in one word of 64, in a filter of R/256 bytes (4 KiB for 1 MiB, 0.4% of the data): a blocked Bloom filter (Putze, Sanders,
//! Singler 2007), of which a key costs one place of memory. With n different keys in w words, of which a word gets j with the probability that a Poisson law
//! of mean n/w gives, a key that is not there seems to be with a probability of Σ P(j)·(1 − (63/64)^(3j))³: 0.2% at 1,000 keys in 4 KiB, 1.9% at 3,000,
//! 22% at 10,000. A key that is there is always found. Where a packet's headers are not understood, or hold another packet, the block may hold anything.

use std::net::IpAddr;

use super::seen::Seen;

/// Share of a block's bytes that its summary takes.
const SHARE: u64 = 256;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_RARP: u16 = 0x8035;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Below it is a length: 802.3 frames.
const ETHERTYPE_MIN: u16 = 0x0600;
/// MPLS, PPPoE, provider backbone bridges, MACsec and so on: other packets within.
const ETHERTYPES_NESTING: [u16; 8] =
    [0x8847, 0x8848, 0x8863, 0x8864, 0x88e7, 0x88e5, 0x6558, 0x880b];

const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const PROTO_SCTP: u8 = 132;
const PROTO_DCCP: u8 = 33;
const PROTO_UDPLITE: u8 = 136;
/// IP in IP, GRE, IPv6 in IP, EtherIP, IPComp, L2TP, MPLS in IP, Ethernet.
const PROTOS_NESTING: [u8; 9] = [4, 47, 41, 97, 108, 115, 137, 143, 94];
/// Destination ports of VXLAN (two), GENEVE, GTP-U, MPLS over UDP: where readers look for another packet. Nobody does behind a source port, which may be any.
const PORTS_NESTING: [u16; 5] = [4789, 8472, 6081, 2152, 6635];
/// Extension headers of IPv6 that are stepped over: hop by hop, routing, destination, mobility, HIP, shim6.
const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_AUTHENTICATION: u8 = 51;

/// What stands behind an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// Nothing that has keys.
    Data,
    /// A header that begins with ports.
    Ports,
    /// Such a header, and perhaps another packet, as its ports tell.
    Udp,
    /// Another packet.
    Packet,
}

impl Carried {
    #[inline]
    fn has_ports(self) -> bool {
        matches!(self, Self::Ports | Self::Udp)
    }

    /// The ports of a header that begins with these bytes, zeroes where it has none; nothing when it holds a packet, or may.
    #[inline]
    fn ports(self, bytes: [u8; 4]) -> Option<[u8; 4]> {
        let [_, _, c, d] = bytes;
        // Without branches: what a packet carries is hardly foreseen.
        let is_nested = (self == Self::Udp) & is_nesting(u16::from_be_bytes([c, d]));
        let mask = u32::from(self.has_ports()).wrapping_neg();
        let ports = (u32::from_ne_bytes(bytes) & mask).to_ne_bytes();
        (!is_nested & (self != Self::Packet)).then_some(ports)
    }
}

/// By protocol number.
static CARRIED: [Carried; 256] = {
    let mut carried = [Carried::Data; 256];
    let ports = [PROTO_TCP, PROTO_SCTP, PROTO_DCCP, PROTO_UDPLITE];
    let mut at = 0;
    while at < ports.len() {
        carried[ports[at] as usize] = Carried::Ports;
        at += 1;
    }
    carried[PROTO_UDP as usize] = Carried::Udp;
    at = 0;
    while at < PROTOS_NESTING.len() {
        carried[PROTOS_NESTING[at] as usize] = Carried::Packet;
        at += 1;
    }
    // In IPv4. It has another header behind it, which some readers look for.
    carried[EXTENSION_AUTHENTICATION as usize] = Carried::Packet;
    carried
};

#[inline]
fn is_nesting(port: u16) -> bool {
    // Without branches, and without a table that would have to be fetched for each chunk.
    PORTS_NESTING.iter().fold(false, |any, nesting| any | (*nesting == port))
}

/// Headers that are walked in a packet.
const DEPTH_MAX: u32 = 16;

/// Something that packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A source or destination address.
    Address(IpAddr),
    /// A source or destination port of TCP, UDP, SCTP, DCCP or UDP-Lite.
    Port(u16),
    /// A protocol number of IP.
    Protocol(u8),
    /// A VLAN.
    Vlan(u16),
}

impl Key {
    /// 64 bits, of which all depend on all of the key.
    #[inline]
    fn hash(self) -> u64 {
        let (tag, high, low) = match self {
            Key::Address(IpAddr::V4(v4)) => (1, 0, u64::from(u32::from(v4))),
            Key::Address(IpAddr::V6(v6)) => {
                (2, (u128::from(v6) >> 64) as u64, u128::from(v6) as u64)
            }
            Key::Port(port) => (3, 0, u64::from(port)),
            Key::Protocol(protocol) => (4, 0, u64::from(protocol)),
            Key::Vlan(vlan) => (5, 0, u64::from(vlan)),
        };
        mix(mix(mix(tag) ^ high) ^ low)
    }
}

/// The finalizer of SplitMix64.
#[inline]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// A key's bits in so many words: the word, and the bits there. A power of two of words is at most 2^15, so that bits and word come of different ones of the hash.
#[inline]
fn bits_of(key: Key, words: usize) -> (usize, u64) {
    let hash = key.hash();
    let bit = |shift: u32| 1 << (hash >> shift & 63);
    (hash as usize & (words - 1), bit(58) | bit(52) | bit(46))
}

/// What the packets of a block have.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// A power of two of words; bit n is bit n % 64 of word n / 64.
    words: Box<[u64]>,
    is_opaque: bool,
}

impl Summary {
    /// Bytes of a summary at a ratio.
    pub(super) fn len_at(ratio: u64) -> usize {
        ((ratio / SHARE) as usize).clamp(64, 256 << 10).next_power_of_two()
    }

    /// Whether a summary can have so many bytes.
    pub(super) fn is_len(len: usize) -> bool {
        len.is_power_of_two() && (64..=256 << 10).contains(&len)
    }

    /// One of no packet.
    pub(super) fn new(len: usize) -> Self {
        Self { words: vec![0; len / 8].into(), is_opaque: false }
    }

    pub(super) fn of_bytes(bytes: &[u8], is_opaque: bool) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self { words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(), is_opaque }
    }

    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(8 * self.words.len());
        self.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    /// The block may hold anything.
    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// Share of its bits that are set.
    pub fn fill(&self) -> f64 {
        let set: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        set as f64 / (64 * self.words.len()) as f64
    }

    /// Enters a key.
    #[inline]
    pub(super) fn add(&mut self, key: Key) {
        let (word, bits) = bits_of(key, self.words.len());
        self.words[word] |= bits;
    }

    /// Whether a packet of the block may have this; a no is certain.
    pub fn may_have(&self, key: Key) -> bool {
        let (word, bits) = bits_of(key, self.words.len());
        self.is_opaque || self.words[word] & bits == bits
    }

    /// Enters the new flows that were put down.
    #[inline(never)]
    pub(super) fn settle(&mut self, seen: &mut Seen) {
        let mut protocols = [0_u64; 4];
        for (addresses, ports, protocol) in seen.take_new() {
            protocols[usize::from(protocol) / 64] |= 1 << (protocol % 64);
            addresses.into_iter().for_each(|v4| self.add(Key::Address(IpAddr::V4(v4.into()))));
            ports_of(ports, protocol).for_each(|key| self.add(key));
        }
        for (word, mut bits) in protocols.into_iter().enumerate() {
            while bits != 0 {
                self.add(Key::Protocol((64 * word) as u8 + bits.trailing_zeros() as u8));
                bits &= bits - 1;
            }
        }
    }

    /// Enters what a packet has. `seen` is what has been put down of packets since this summary was new; [`Self::settle`] completes it.
    #[inline]
    pub(super) fn add_packet(&mut self, link_type: u16, data: &[u8], seen: &mut Seen) {
        // Of a block that may hold anything nothing more need be known.
        if !self.is_opaque && walk(link_type, data, &mut Entering { summary: self, seen }).is_none()
        {
            self.is_opaque = true;
        }
    }
}

/// Takes the keys of packets.
trait Keys {
    fn key(&mut self, key: Key);

    /// Takes the keys of an IPv4 packet; ports are 0 where the protocol has none.
    fn flow_v4(&mut self, addresses: &[u8; 8], ports: [u8; 4], protocol: u8);

    /// As [`Self::flow_v4`], of an IPv6 packet without extension headers.
    fn flow_v6(&mut self, addresses: &[u8; 32], ports: [u8; 4], protocol: u8);
}

/// The ports of a flow, where its protocol has some.
#[inline]
fn ports_of(ports: [u16; 2], protocol: u8) -> impl Iterator<Item = Key> {
    let has_ports = CARRIED[usize::from(protocol)].has_ports();
    ports.into_iter().filter(move |_| has_ports).map(Key::Port)
}

#[inline]
fn give_v6(keys: &mut impl Keys, addresses: &[u8; 32], ports: [u8; 4], protocol: u8) {
    for address in addresses.as_chunks::<16>().0 {
        keys.key(Key::Address(IpAddr::from(*address)));
    }
    keys.key(Key::Protocol(protocol));
    let [a, b, c, d] = ports;
    let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    ports_of(ports, protocol).for_each(|key| keys.key(key));
}

/// Enters keys that are not there yet.
struct Entering<'a> {
    summary: &'a mut Summary,
    seen: &'a mut Seen,
}

impl Keys for Entering<'_> {
    #[inline]
    fn key(&mut self, key: Key) {
        let is_there = match key {
            Key::Address(_) | Key::Port(_) => false,
            Key::Protocol(protocol) => self.seen.protocol(protocol),
            Key::Vlan(vlan) => self.seen.vlan(vlan),
        };
        if !is_there {
            self.summary.add(key);
        }
    }

    #[inline]
    fn flow_v4(&mut self, addresses: &[u8; 8], ports: [u8; 4], protocol: u8) {
        if self.seen.flow_v4(addresses, ports, protocol) {
            self.summary.settle(self.seen);
        }
    }

    #[inline]
    fn flow_v6(&mut self, addresses: &[u8; 32], ports: [u8; 4], protocol: u8) {
        if !self.seen.flow_v6(addresses, ports, protocol) {
            give_v6(self, addresses, ports, protocol);
        }
    }
}

#[inline]
fn pair(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Gives every key of a packet; nothing when it may have others. A header that is cut off has none: no field of it can be compared.
#[inline]
fn walk(link_type: u16, data: &[u8], keys: &mut impl Keys) -> Option<()> {
    // Most packets: Ethernet, and behind it what [`plain_ipv4`] takes.
    if link_type == 1
        && let Some(head) = data.first_chunk::<{ 14 + PLAIN_IPV4_LEN }>()
        && head[12..14] == ETHERTYPE_IPV4.to_be_bytes()
        && let Some(plain) = head.last_chunk()
        && is_plain_ipv4(plain)
    {
        return plain_ipv4(plain, keys);
    }
    walk_any(link_type, data, keys)
}

/// As [`walk`], of packets of all kinds.
#[inline(never)]
fn walk_any(link_type: u16, data: &[u8], keys: &mut impl Keys) -> Option<()> {
    match link_type {
        // Ethernet.
        1 => ethernet(data, 12, keys),
        // Raw IP, of several systems; IPv4 and IPv6 alone.
        12 | 14 | 101 | 228 | 229 => match data.first() {
            Some(byte) if byte >> 4 == 6 => ipv6(data, keys),
            Some(_) => ipv4(data, keys),
            None => Some(()),
        },
        // Linux cooked captures: protocol behind 14 bytes, or at once.
        113 => ethernet(data, 14, keys),
        276 => network(pair(data, 0).unwrap_or(0), data.get(20..).unwrap_or(&[]), keys),
        _ => None,
    }
}

/// A frame whose type stands at `at`.
fn ethernet(data: &[u8], at: usize, keys: &mut impl Keys) -> Option<()> {
    let Some(ethertype) = pair(data, at) else { return Some(()) };
    network(ethertype, &data[at + 2..], keys)
}

fn network(mut ethertype: u16, mut data: &[u8], keys: &mut impl Keys) -> Option<()> {
    for _ in 0..DEPTH_MAX {
        return match ethertype {
            ETHERTYPE_IPV4 => ipv4(data, keys),
            ETHERTYPE_IPV6 => ipv6(data, keys),
            tag if ETHERTYPES_VLAN.contains(&tag) => {
                let Some(tag) = pair(data, 0) else { return Some(()) };
                keys.key(Key::Vlan(tag & 0xfff));
                let Some(next) = pair(data, 2) else { return Some(()) };
                (ethertype, data) = (next, &data[4..]);
                continue;
            }
            ETHERTYPE_ARP | ETHERTYPE_RARP => {
                // Of Ethernet and IPv4: the addresses of both sides.
                for at in [14, 24] {
                    if let Some(&[a, b, c, d]) = data.get(at..at + 4) {
                        keys.key(Key::Address(IpAddr::from([a, b, c, d])));
                    }
                }
                Some(())
            }
            length if length < ETHERTYPE_MIN => llc(data, keys),
            nesting if ETHERTYPES_NESTING.contains(&nesting) => None,
            _ => Some(()),
        };
    }
    None
}

/// An 802.3 frame behind its length: IP behind 802.2 headers, or something that has no keys, such as spanning tree.
fn llc(data: &[u8], keys: &mut impl Keys) -> Option<()> {
    match data {
        // SNAP, with Ethernet types or others.
        [0xaa, 0xaa, 3, 0, 0, 0, high, low, rest @ ..] => {
            let ethertype = u16::from_be_bytes([*high, *low]);
            if ethertype < ETHERTYPE_MIN { None } else { network(ethertype, rest, keys) }
        }
        [0xaa, ..] => None,
        [0x06, _, _, rest @ ..] => ipv4(rest, keys),
        _ => Some(()),
    }
}

/// Bytes of a header of IPv4 without options, and of ports behind it.
const PLAIN_IPV4_LEN: usize = 24;

/// Whether it is a header without options, and of no later fragment.
#[inline]
fn is_plain_ipv4(head: &[u8; PLAIN_IPV4_LEN]) -> bool {
    (head[0] == 0x45) & (u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0)
}

/// Gives the keys of a packet with such a header.
#[inline]
fn plain_ipv4(head: &[u8; PLAIN_IPV4_LEN], keys: &mut impl Keys) -> Option<()> {
    let (rest, ports) = head.split_last_chunk()?;
    let protocol = head[9];
    let ports = CARRIED[usize::from(protocol)].ports(*ports)?;
    keys.flow_v4(rest.last_chunk()?, ports, protocol);
    Some(())
}

fn ipv4(data: &[u8], keys: &mut impl Keys) -> Option<()> {
    let Some(&first) = data.first() else { return Some(()) };
    // What calls itself IPv4 and is not is read differently by different readers.
    if first >> 4 != 4 {
        return None;
    }
    if let Some(plain) = data.first_chunk()
        && is_plain_ipv4(plain)
    {
        return plain_ipv4(plain, keys);
    }
    let header_len = usize::from(first & 15) * 4;
    for at in [12, 16] {
        if let Some(&[a, b, c, d]) = data.get(at..at + 4) {
            keys.key(Key::Address(IpAddr::from([a, b, c, d])));
        }
    }
    let Some(&protocol) = data.get(9) else { return Some(()) };
    keys.key(Key::Protocol(protocol));
    let is_later_fragment = pair(data, 6).is_some_and(|word| word & 0x1fff != 0);
    if header_len < 20 {
        return None;
    }
    match data.get(header_len..) {
        Some(rest) if !is_later_fragment => transport(protocol, rest, keys),
        _ if CARRIED[usize::from(protocol)] == Carried::Packet => None,
        _ => Some(()),
    }
}

fn ipv6(data: &[u8], keys: &mut impl Keys) -> Option<()> {
    let Some(&first) = data.first() else { return Some(()) };
    if first >> 4 != 6 {
        return None;
    }
    if let Some(&[_, _, _, _, _, _, next, _, ref rest @ ..]) = data.first_chunk::<44>()
        && !is_extension(next)
        && let (Some(addresses), Some(ports)) = (rest.first_chunk(), rest.last_chunk())
    {
        let ports = CARRIED[usize::from(next)].ports(*ports)?;
        keys.flow_v6(addresses, ports, next);
        return Some(());
    }
    for at in [8, 24] {
        if let Some(bytes) = data.get(at..at + 16) {
            let address: [u8; 16] = bytes.try_into().ok()?;
            keys.key(Key::Address(IpAddr::from(address)));
        }
    }
    let Some(&next) = data.get(6) else { return Some(()) };
    let (mut next, mut at) = (next, 40);
    for _ in 0..DEPTH_MAX {
        keys.key(Key::Protocol(next));
        let Some(rest) = data.get(at..) else { return Some(()) };
        let (following, len) = match next {
            extension if EXTENSIONS.contains(&extension) => match rest {
                [following, len, ..] => (*following, 8 * (usize::from(*len) + 1)),
                _ => return Some(()),
            },
            EXTENSION_AUTHENTICATION => match rest {
                [following, len, ..] => (*following, 4 * (usize::from(*len) + 2)),
                _ => return Some(()),
            },
            EXTENSION_FRAGMENT => match rest {
                [following, _, high, low, ..] => {
                    if u16::from_be_bytes([*high, *low]) & 0xfff8 != 0 {
                        // A later fragment: what it carries begins elsewhere.
                        keys.key(Key::Protocol(*following));
                        return Some(());
                    }
                    (*following, 8)
                }
                _ => return Some(()),
            },
            _ => return transport(next, rest, keys),
        };
        (next, at) = (following, at + len);
    }
    None
}

fn is_extension(next: u8) -> bool {
    EXTENSIONS.contains(&next) || [EXTENSION_FRAGMENT, EXTENSION_AUTHENTICATION].contains(&next)
}

fn transport(protocol: u8, data: &[u8], keys: &mut impl Keys) -> Option<()> {
    let carried = CARRIED[usize::from(protocol)];
    match carried {
        Carried::Data => return Some(()),
        Carried::Packet => return None,
        Carried::Ports | Carried::Udp => {}
    }
    for at in [0, 2] {
        let Some(port) = pair(data, at) else { return Some(()) };
        keys.key(Key::Port(port));
        if carried == Carried::Udp && at == 2 && is_nesting(port) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keys for Vec<Key> {
        fn key(&mut self, key: Key) {
            self.push(key);
        }

        fn flow_v4(&mut self, addresses: &[u8; 8], ports: [u8; 4], protocol: u8) {
            let addresses = addresses.as_chunks::<4>().0.iter();
            self.extend(addresses.map(|address| Key::Address(IpAddr::from(*address))));
            self.push(Key::Protocol(protocol));
            let ports = [0, 2].map(|at| u16::from_be_bytes([ports[at], ports[at + 1]]));
            self.extend(ports_of(ports, protocol));
        }

        fn flow_v6(&mut self, addresses: &[u8; 32], ports: [u8; 4], protocol: u8) {
            give_v6(self, addresses, ports, protocol);
        }
    }

    fn keys(link_type: u16, data: &[u8]) -> Option<Vec<Key>> {
        let mut all = Vec::new();
        walk(link_type, data, &mut all).map(|()| all)
    }

    fn ipv4_packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
        packet.extend(payload);
        packet
    }

    fn frame(ethertype: &[u8], payload: &[u8]) -> Vec<u8> {
        [&[0; 12], ethertype, payload].concat()
    }

    #[test]
    fn every_key_of_a_packet_is_given() {
        let address = |text: &str| Key::Address(text.parse().unwrap());
        let ends = [address("192.0.2.1"), address("198.51.100.7")];
        let tcp = ipv4_packet(6, 0x4000, &[0, 80, 1, 187]);
        let tagged = frame(&[0x81, 0, 0x20, 5, 8, 0], &tcp);
        let ports = [Key::Protocol(6), Key::Port(80), Key::Port(443)];
        assert_eq!(keys(1, &tagged), Some([&[Key::Vlan(5)][..], &ends, &ports].concat()));
        assert_eq!(keys(101, &tcp), Some([&ends[..], &ports].concat()));
        // A later fragment has no ports; one that is cut off has what is there.
        let later = ipv4_packet(17, 5, &[1, 2, 3, 4]);
        assert_eq!(keys(101, &later), Some([&ends[..], &[Key::Protocol(17)]].concat()));
        assert_eq!(keys(101, &tcp[..18]), Some(vec![ends[0], Key::Protocol(6)]));
        let mut ipv6 = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        ipv6.extend([0x20; 32]);
        // Hop by hop, then UDP.
        ipv6.extend([17, 0, 0, 0, 0, 0, 0, 0, 0, 53, 4, 0]);
        let ends = address("2020:2020:2020:2020:2020:2020:2020:2020");
        let expected =
            [ends, ends, Key::Protocol(0), Key::Protocol(17), Key::Port(53), Key::Port(1024)];
        assert_eq!(keys(1, &frame(&[0x86, 0xdd], &ipv6)), Some(expected.to_vec()));
    }

    #[test]
    fn what_holds_other_packets_may_hold_anything() {
        for data in [
            frame(&[0x88, 0x47], &[0; 40]),
            frame(&[0, 40], &[0xaa; 40]),
            frame(&[8, 0], &ipv4_packet(47, 0, &[0; 8])),
            frame(&[8, 0], &ipv4_packet(17, 0, &[0, 9, 0x12, 0xb5])),
            frame(&[8, 0], &[0x65; 40]),
        ] {
            assert_eq!(keys(1, &data), None, "{data:02x?}");
        }
        // What comes from such a port is a plain packet.
        assert!(keys(101, &ipv4_packet(17, 0, &[0x12, 0xb5, 0, 9])).is_some());
        assert_eq!(keys(147, &[0; 40]), None);
        let mut summary = Summary::new(64);
        assert!(!summary.may_have(Key::Port(1)));
        summary.add_packet(147, &[], &mut Seen::new());
        assert!(summary.may_have(Key::Port(1)));
    }

    /// What has been seen before is left out, and the summary is that of all keys.
    #[test]
    fn nothing_is_missing_that_was_thought_to_be_there() {
        let mut state = 3;
        let mut number = |below: u64| {
            state = mix(state);
            state % below
        };
        for block in 0..40 {
            let (mut summary, mut plain) = (Summary::new(4096), Summary::new(4096));
            let mut seen = Seen::new();
            for _ in 0..block {
                seen.forget();
            }
            for _ in 0..2000 {
                let mut address = || number(if block % 2 == 0 { 9 } else { 2000 }).to_be_bytes();
                let (from, to) = (address(), address());
                let (protocol, options) = ([6, 17, 1, 58][number(4) as usize], number(20) == 0);
                let ports = [0, number(3) as u8, number(200) as u8, number(20) as u8];
                let data = if number(2) == 0 {
                    let fragment = if number(20) == 0 { 5 } else { 0x4000 };
                    let mut packet = ipv4_packet(protocol, fragment, &ports);
                    packet[12..16].copy_from_slice(&from[4..]);
                    packet[16..20].copy_from_slice(&to[4..]);
                    if options {
                        packet[0] = 0x46;
                    }
                    frame(&[8, 0], &packet)
                } else {
                    let next = if options { 0 } else { protocol };
                    let ends = [[0; 8], from, [0; 8], to].concat();
                    let packet = [&[0x60, 0, 0, 0, 0, 4, next, 9], &ends[..], &ports, &[0; 8]];
                    frame(&[0x81, 0, 0, number(9) as u8, 0x86, 0xdd], &packet.concat())
                };
                let data = &data[..data.len() - number(3) as usize];
                summary.add_packet(1, data, &mut seen);
                for key in keys(1, data).unwrap() {
                    plain.add(key);
                }
            }
            summary.settle(&mut seen);
            assert!(summary == plain, "block {block}");
        }
    }

    #[test]
    fn a_filter_never_denies_and_seldom_errs() {
        let mut summary = Summary::new(4096);
        let key = |n: u32| Key::Address(IpAddr::from(n.to_be_bytes()));
        (0..3000).for_each(|n| summary.add(key(n)));
        assert!((0..3000).all(|n| summary.may_have(key(n))));
        let wrong = (1_000_000..1_100_000).filter(|n| summary.may_have(key(*n))).count();
        // 1.9% by the formula above.
        assert!((1000..2800).contains(&wrong), "{wrong} of 100,000");
    }

    #[test]
    fn no_packet_is_too_short_or_too_strange() {
        let mut state = 1;
        for len in (0..90).cycle().take(20_000) {
            let data: Vec<u8> = (0..len)
                .map(|_| {
                    state = mix(state);
                    state as u8
                })
                .collect();
            for link_type in [0, 1, 12, 101, 113, 228, 276] {
                let _ = keys(link_type, &data);
            }
        }
    }
}
