//! A block of a trace that is being gathered.

use super::format::Entry;
use super::seen::Seen;
use super::summary::Summary;

/// A block, so far.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) tally: Tally,
    pub(super) has_metadata: bool,
    pub(super) summary: Summary,
}

/// What packets of a block come to. Whoever takes many has it at hand meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    min_ns: u64,
    max_ns: u64,
    last_ns: u64,
    pub(super) packets: u32,
    wire_bytes: u64,
    is_in_order: bool,
}

impl Tally {
    /// Takes a packet of `len` bytes on the wire.
    #[inline]
    pub(super) fn add(&mut self, timestamp_ns: u64, len: u32) {
        self.min_ns = self.min_ns.min(timestamp_ns);
        self.max_ns = self.max_ns.max(timestamp_ns);
        self.is_in_order &= timestamp_ns >= self.last_ns;
        self.last_ns = timestamp_ns;
        self.packets += 1;
        self.wire_bytes += u64::from(len);
    }
}

impl Block {
    /// One that begins there.
    pub(super) fn new(offset: u64, summary_len: usize) -> Self {
        Self {
            offset,
            tally: Tally {
                min_ns: u64::MAX,
                max_ns: 0,
                last_ns: 0,
                packets: 0,
                wire_bytes: 0,
                is_in_order: true,
            },
            has_metadata: false,
            summary: Summary::new(summary_len),
        }
    }

    /// Takes a packet of `len` bytes on the wire, `data` of them kept. `seen` is what this block has had.
    pub(super) fn add(
        &mut self,
        timestamp_ns: u64,
        len: u32,
        link_type: u16,
        data: &[u8],
        seen: &mut Seen,
    ) {
        self.tally.add(timestamp_ns, len);
        self.summary.add_packet(link_type, data, seen);
    }

    /// Enters all that `seen` has put down.
    pub(super) fn settle(&mut self, seen: &mut Seen) {
        self.summary.settle(seen);
    }

    /// Completes it: no packet follows, and `seen` is for the next block.
    pub(super) fn complete(&mut self, seen: &mut Seen) {
        self.settle(seen);
        seen.forget();
    }

    /// Ends it before `end`, completed; `crc` is that of its bytes.
    pub(super) fn end(self, end: u64, crc: u32) -> Entry {
        let Tally { min_ns, max_ns, packets, wire_bytes, is_in_order, .. } = self.tally;
        Entry {
            offset: self.offset,
            len: end - self.offset,
            min_ns: if packets == 0 { 0 } else { min_ns },
            max_ns,
            packets,
            wire_bytes,
            is_in_order,
            has_metadata: self.has_metadata,
            crc,
            summary: self.summary,
        }
    }
}
