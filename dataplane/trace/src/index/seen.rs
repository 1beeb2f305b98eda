//! What of a block's packets is in its summary already, so that it is entered once.
//!
//! Most packets of a block are of flows that it has had. Their addresses, ports and protocol are compared as they stand in the headers, with those of
//! the last flow at that place of a table; a packet that agrees needs nothing else. A table never says of a flow that it was there when it was not:
//! all of its bytes are compared, and the number of the block. Which packets do not agree is hardly ever foreseen by a processor, so new flows of
//! IPv4 are put down without a branch, and entered some at a time.

/// Places for flows of IPv4; 64 KiB.
const FLOWS_V4: usize = 4096;
/// Places for flows of IPv6; 40 KiB.
const FLOWS_V6: usize = 1024;
/// New flows that are entered at once.
const NEW_MAX: usize = 64;

/// The number of a block takes the upper bits of a word, beside ports and protocol.
const BLOCK_SHIFT: u32 = 40;
const BLOCK_MAX: u64 = (1 << (64 - BLOCK_SHIFT)) - 1;

/// An odd number whose multiples are spread well (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the block at hand has had.
#[derive(Debug)]
pub(super) struct Seen {
    /// Number of the block, from 1 on: no place that is empty has it.
    block: u64,
    v4: Box<[FlowV4]>,
    /// As [`FlowV4`], with longer addresses.
    v6: Box<[[u64; 5]]>,
    vlans: Box<[u64]>,
    protocols: [u64; 4],
    /// Flows of IPv4 that are not entered yet; behind them is room for one that is none.
    new: [FlowV4; NEW_MAX + 1],
    new_len: usize,
}

/// Addresses; ports, protocol and block.
type FlowV4 = [u64; 2];

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            block: 1,
            v4: vec![[0; 2]; FLOWS_V4].into(),
            v6: vec![[0; 5]; FLOWS_V6].into(),
            vlans: vec![0; (1 << 12) / 64].into(),
            protocols: [0; 4],
            new: [[0; 2]; NEW_MAX + 1],
            new_len: 0,
        }
    }

    /// Brings the table of IPv4 into the cache, in the order of its places: since it was used last, chunks have gone through there, and a packet would wait for its place.
    pub(super) fn warm(&self) {
        let lines = self.v4.iter().step_by(64 / size_of::<FlowV4>());
        std::hint::black_box(lines.fold(0, |all, [addresses, _]| all ^ addresses));
    }

    /// Forgets all: another block begins.
    pub(super) fn forget(&mut self) {
        self.block += 1;
        if self.block > BLOCK_MAX {
            self.block = 1;
            self.v4.fill([0; 2]);
            self.v6.fill([0; 5]);
        }
        self.vlans.fill(0);
        self.protocols = [0; 4];
        self.new_len = 0;
    }

    /// Notes a packet with these addresses, ports and protocol. Whether so many flows are new now that they have to be taken.
    #[inline]
    pub(super) fn flow_v4(&mut self, addresses: &[u8; 8], ports: [u8; 4], protocol: u8) -> bool {
        let flow = [u64::from_ne_bytes(*addresses), self.rest(ports, protocol)];
        let hash = (flow[0].rotate_left(29) ^ flow[1]).wrapping_mul(SPREAD);
        let place = &mut self.v4[(hash >> 52) as usize % FLOWS_V4];
        let before = std::mem::replace(place, flow);
        let differs = (before[0] ^ flow[0]) | (before[1] ^ flow[1]);
        self.new[self.new_len] = flow;
        self.new_len += usize::from(differs != 0);
        self.new_len == NEW_MAX
    }

    /// The flows of IPv4 that are new since the last time: addresses, ports, protocol.
    pub(super) fn take_new(&mut self) -> impl Iterator<Item = ([u32; 2], [u16; 2], u8)> {
        let len = std::mem::take(&mut self.new_len);
        self.new[..len].iter().map(|[addresses, rest]| {
            let (addresses, ports) = (u64::to_be(*addresses), u32::to_be(*rest as u32));
            let addresses = [(addresses >> 32) as u32, addresses as u32];
            (addresses, [(ports >> 16) as u16, ports as u16], (rest >> 32) as u8)
        })
    }

    /// Whether the block has had these addresses of IPv6, ports and protocol; now it has.
    #[inline]
    pub(super) fn flow_v6(&mut self, addresses: &[u8; 32], ports: [u8; 4], protocol: u8) -> bool {
        let mut flow = [0; 5];
        let (words, _) = addresses.as_chunks::<8>();
        for (part, word) in flow.iter_mut().zip(words) {
            *part = u64::from_ne_bytes(*word);
        }
        flow[4] = self.rest(ports, protocol);
        let fold = |hash: u64, part: &u64| (hash.rotate_left(29) ^ part).wrapping_mul(SPREAD);
        let hash = flow.iter().fold(0, fold);
        let place = &mut self.v6[(hash >> 52) as usize % FLOWS_V6];
        std::mem::replace(place, flow) == flow
    }

    #[inline]
    fn rest(&self, ports: [u8; 4], protocol: u8) -> u64 {
        let ports = u64::from(u32::from_ne_bytes(ports));
        ports | u64::from(protocol) << 32 | self.block << BLOCK_SHIFT
    }

    /// Whether the block has had this VLAN; now it has.
    #[inline]
    pub(super) fn vlan(&mut self, vlan: u16) -> bool {
        enter(&mut self.vlans, vlan & 0xfff)
    }

    /// As [`Self::vlan`], of a protocol number.
    #[inline]
    pub(super) fn protocol(&mut self, protocol: u8) -> bool {
        enter(&mut self.protocols, u16::from(protocol))
    }
}

#[inline]
fn enter(set: &mut [u64], number: u16) -> bool {
    let (word, bit) = (usize::from(number) / 64, 1 << (number % 64));
    let had = set[word] & bit != 0;
    set[word] |= bit;
    had
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_is_known_and_only_within_a_block() {
        let mut seen = Seen::new();
        let (v4, v6) = ([10, 0, 0, 1, 10, 0, 0, 2], [7; 32]);
        let addresses = [0x0a00_0001, 0x0a00_0002];
        for _ in 0..2 {
            for (ports, protocol) in
                [([0, 80, 1, 2], 6), ([0, 80, 1, 2], 6), ([0, 80, 1, 2], 17), ([0, 81, 1, 2], 6)]
            {
                assert!(!seen.flow_v4(&v4, ports, protocol));
            }
            let new: Vec<_> = seen.take_new().collect();
            let expected =
                [(addresses, [80, 258], 6), (addresses, [80, 258], 17), (addresses, [81, 258], 6)];
            assert_eq!(new, expected);
            assert_eq!(seen.take_new().count(), 0);
            let mut other = v6;
            other[31] = 8;
            assert!(!seen.flow_v6(&v6, [0; 4], 6) && !seen.flow_v6(&other, [0; 4], 6));
            assert!(!seen.vlan(4095) && seen.vlan(4095));
            assert!(!seen.protocol(255) && seen.protocol(255));
            seen.forget();
        }
    }

    #[test]
    fn new_flows_are_taken_when_there_are_many() {
        let mut seen = Seen::new();
        for flow in 1..NEW_MAX as u64 {
            assert!(!seen.flow_v4(&flow.to_be_bytes(), [0; 4], 6));
        }
        assert!(seen.flow_v4(&[9; 8], [0; 4], 6));
        assert_eq!(seen.take_new().count(), NEW_MAX);
        // What was not taken is gone with its block.
        assert!(!seen.flow_v4(&[8; 8], [0; 4], 6));
        seen.forget();
        assert_eq!(seen.take_new().count(), 0);
    }

    /// Flows of nothing are no empty places, and the numbers of blocks may begin anew.
    #[test]
    fn nothing_is_known_of_an_empty_table() {
        let mut seen = Seen::new();
        let is_new = |seen: &mut Seen| {
            seen.flow_v4(&[0; 8], [0; 4], 0);
            seen.take_new().count() == 1 && !seen.flow_v6(&[0; 32], [0; 4], 0)
        };
        assert!(is_new(&mut seen) && !is_new(&mut seen));
        seen.block = BLOCK_MAX;
        assert!(is_new(&mut seen));
        seen.forget();
        assert!(is_new(&mut seen) && !is_new(&mut seen));
    }
}
