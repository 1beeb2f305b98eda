//! Walks over records, along one chain or along several at once.
//!
//! A record says where the next one begins, so that one chain waits for memory at each. Several
//! chains, begun at guessed places, wait at the same time; each guess is proven by the chain before
//! ending exactly there, and walked again otherwise. The result is that of one chain from the start,
//! whatever the bytes.

use std::ops::Range;

use wt_wire::{ByteOrder, Direction, RecordLayout, RecordRef, is_stepped_over, packet_direction};

use crate::scout::Scouts;
use crate::sys::{prefetch, prefetch_for_later};

/// Bytes that every record takes, at least.
const RECORD_LEN_MIN: usize = RecordLayout::PCAP_HEADER_LEN;
/// Bytes of a block's type and first length, and of that and its second length.
const BLOCK_HEAD_LEN: usize = 8;
const BLOCK_FRAME_LEN: usize = 12;
/// Bytes of an enhanced packet block without those captured and without options.
const PACKET_BLOCK_LEN: usize = RecordLayout::ENHANCED_PACKET_HEADER_LEN + 4;
/// Chains that are walked at once.
pub(crate) const CHAINS_MAX: usize = 32;
/// Records of a step, at most. Each asks for two cache lines; a core waits for some sixteen at once, and has other work for that long.
pub(crate) const STEP_RECORDS: usize = 8;

/// How the bytes of a walk are cut for its chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Chains, at most [`CHAINS_MAX`]; 1 guesses nothing.
    pub(crate) chains: usize,
    /// Bytes of a chain; the last one goes on to the end.
    pub(crate) segment_len: usize,
}

/// One chain on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    start: usize,
    /// Where the next chain starts.
    end: usize,
    /// Start of the next record or block.
    at: usize,
    /// Of blocks: start of the one before while its end was not looked at, otherwise the same.
    open: usize,
    /// Place of its first record in the storage, and of its next.
    first: usize,
    next: usize,
}

/// Runs an expression for a [`Walk`] in which what is fixed for a file is folded into the loops.
macro_rules! with_walk {
    ($layout:expr, $bytes:expr, $walk:ident => $run:expr) => {{
        use wt_wire::{ByteOrder, Framing};
        use $crate::walk::Walk;
        let (layout, bytes): (wt_wire::RecordLayout, &[u8]) = ($layout, $bytes);
        match (layout.framing, layout.order, layout.tick_ns) {
            (Framing::Pcap, ByteOrder::Little, 1) => {
                let $walk = Walk::<false, false, 1> { layout, bytes };
                $run
            }
            (Framing::Pcap, ByteOrder::Little, _) => {
                let $walk = Walk::<false, false, 1000> { layout, bytes };
                $run
            }
            (Framing::Pcap, ByteOrder::Big, 1) => {
                let $walk = Walk::<false, true, 1> { layout, bytes };
                $run
            }
            (Framing::Pcap, ByteOrder::Big, _) => {
                let $walk = Walk::<false, true, 1000> { layout, bytes };
                $run
            }
            // Those of the other order have no layout.
            (Framing::EnhancedPacket, _, 1) => {
                let $walk = Walk::<true, false, 1> { layout, bytes };
                $run
            }
            (Framing::EnhancedPacket, _, _) => {
                let $walk = Walk::<true, false, 1000> { layout, bytes };
                $run
            }
        }
    }};
}

pub(crate) use with_walk;

/// Walks over the records that begin before `stop` and lie wholly in `bytes`, the first of which
/// begins at 0, along one chain. Replaces `records`; returns the bytes that they take.
pub(crate) fn walk(
    layout: RecordLayout,
    bytes: &[u8],
    stop: usize,
    records: &mut Vec<RecordRef>,
) -> usize {
    records.clear();
    let stop = stop.min(bytes.len());
    with_walk!(layout, bytes, walk => walk.alone(0, stop, records))
}

/// A walk along several chains, which goes on step by step while something else is done: what a step asks for has come when the
/// next one looks at it. Meanwhile the starts of the chains that come after are looked for.
#[derive(Debug)]
pub(crate) struct Chains {
    layout: RecordLayout,
    chains: [Chain; CHAINS_MAX],
    count: usize,
    /// Chains by turn; those from `live` on have ended.
    order: [usize; CHAINS_MAX],
    live: usize,
    /// Whose turn it is.
    turn: usize,
    /// The records of all chains, each with room for as many as it can have.
    records: Vec<RecordRef>,
    /// Looks for the starts of the next walk's chains.
    scouts: Scouts,
    /// Where in the file the bytes begin that scouts count from.
    scouted_from: u64,
}

/// What a walk along several chains is to go over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    /// The first record begins at their start.
    pub(crate) bytes: &'a [u8],
    /// Where that is in the file.
    pub(crate) offset: u64,
    /// Records that begin before are walked over, as far as they lie wholly in `bytes`.
    pub(crate) stop: usize,
    /// The next walk most likely goes from there to here.
    pub(crate) next_stop: usize,
}

impl Chains {
    pub(crate) fn new(layout: RecordLayout) -> Self {
        Self {
            layout,
            chains: [Chain::default(); CHAINS_MAX],
            count: 0,
            order: [0; CHAINS_MAX],
            live: 0,
            turn: 0,
            records: Vec::new(),
            scouts: Scouts::new(),
            scouted_from: u64::MAX,
        }
    }

    /// Begins with other bytes, which may be those that scouts have looked at.
    pub(crate) fn begin(&mut self, stretch: Stretch<'_>, cut: Cut) {
        let Stretch { bytes, offset, next_stop, .. } = stretch;
        let stop = stretch.stop.min(bytes.len());
        let segment_len = cut.segment_len as u64;
        match offset.checked_sub(self.scouted_from) {
            Some(by) if by < 2 * segment_len * cut.chains as u64 => {
                self.scouts.move_on(by as usize)
            }
            _ => self.scouts.begin(self.layout, bytes, (0, stop), cut),
        }
        while self.scouts.step(bytes) {}
        self.start(stop);
        let next_len = next_stop.min(bytes.len()).saturating_sub(stop);
        self.scouts.begin(self.layout, bytes, (stop, next_len), cut);
        self.scouted_from = offset;
    }

    /// Sets chains where scouts have found starts before `stop`, and makes room for their records.
    fn start(&mut self, stop: usize) {
        let starts = self.scouts.starts().filter(|start| (1..stop).contains(start));
        let mut count = 0;
        for start in [0].into_iter().chain(starts) {
            self.chains[count].start = start;
            count += 1;
        }
        // A record takes so many bytes at least that the chain before never runs into this one.
        let mut first = 0;
        for number in 0..count {
            let start = self.chains[number].start;
            let end = if number + 1 < count { self.chains[number + 1].start } else { stop };
            self.chains[number] = Chain { start, end, at: start, open: start, first, next: first };
            first += end.saturating_sub(start).div_ceil(RECORD_LEN_MIN);
            self.order[number] = number;
        }
        if self.records.len() < first {
            self.records.resize(first, RecordRef::EMPTY);
        }
        (self.count, self.live, self.turn) = (count, count, 0);
    }

    /// Goes on by a record of some chains; FALSE when there is nothing left to walk.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> bool {
        with_walk!(self.layout, bytes, walk => self.round(walk));
        self.scouts.step(bytes);
        self.live > 0
    }

    /// Goes on to the end. Replaces `records`; returns the bytes that they take.
    pub(crate) fn finish(&mut self, bytes: &[u8], records: &mut Vec<RecordRef>) -> usize {
        while self.step(bytes) {}
        records.clear();
        let mut at = 0;
        for chain in &self.chains[..self.count] {
            if at == chain.start {
                records.extend_from_slice(&self.records[chain.first..chain.next]);
                at = chain.at;
            } else {
                at = with_walk!(self.layout, bytes, walk => walk.alone(at, chain.end, records));
            }
            if at < chain.end {
                // Odd, or cut off: here the walk ends.
                break;
            }
        }
        at
    }

    /// A record of some chains in turn.
    #[inline(always)]
    fn round<const BLOCKS: bool, const BIG: bool, const TICK_NS: u64>(
        &mut self,
        walk: Walk<'_, BLOCKS, BIG, TICK_NS>,
    ) {
        let mut turn = if self.turn < self.live { self.turn } else { 0 };
        let until = turn + STEP_RECORDS;
        while turn < self.live.min(until) {
            let chain = &mut self.chains[self.order[turn]];
            let mut goes_on = chain.at < chain.end;
            if BLOCKS {
                let records = &mut self.records[chain.first..chain.next];
                if !walk.close(chain.open..chain.at, records) {
                    // Nothing of the block counts.
                    chain.next -= usize::from(walk.is_of(records, chain.open));
                    chain.at = chain.open;
                    goes_on = false;
                }
            }
            let step = if goes_on { walk.step(chain.at) } else { None };
            match (step, self.records.get_mut(chain.next)) {
                (Some((record, end)), Some(place)) => {
                    walk.ask(end);
                    if let Some(record) = record {
                        *place = record;
                        chain.next += 1;
                    }
                    if BLOCKS {
                        chain.open = chain.at;
                    }
                    chain.at = end;
                    turn += 1;
                }
                _ => {
                    self.live -= 1;
                    self.order.swap(turn, self.live);
                }
            }
        }
        self.turn = turn;
    }
}

/// How a walk goes over bytes of a layout: `BLOCKS` says that they are blocks of pcapng.
pub(crate) struct Walk<'a, const BLOCKS: bool, const BIG: bool, const TICK_NS: u64> {
    pub(crate) layout: RecordLayout,
    pub(crate) bytes: &'a [u8],
}

impl<const BLOCKS: bool, const BIG: bool, const TICK_NS: u64> Walk<'_, BLOCKS, BIG, TICK_NS> {
    const ORDER: ByteOrder = if BIG { ByteOrder::Big } else { ByteOrder::Little };

    /// Walks one chain, from a record or block to the first one that begins at or behind `end`.
    fn alone(&self, start: usize, end: usize, records: &mut Vec<RecordRef>) -> usize {
        let mut at = start;
        while at < end {
            let Some((record, next)) = self.step(at) else { break };
            records.extend(record);
            if !self.close(at..next, records) {
                records.truncate(records.len() - usize::from(self.is_of(records, at)));
                break;
            }
            at = next;
        }
        at
    }

    /// The record at a place, or nothing where a block without one lies, and where it ends. The end of a block is looked at by [`Self::close`].
    #[inline(always)]
    pub(crate) fn step(&self, at: usize) -> Option<(Option<RecordRef>, usize)> {
        if BLOCKS { self.block(at) } else { self.record(at) }
    }

    #[inline(always)]
    fn record(&self, at: usize) -> Option<(Option<RecordRef>, usize)> {
        const HEADER_LEN: usize = RecordLayout::PCAP_HEADER_LEN;
        let header = self.bytes.get(at..)?.first_chunk::<HEADER_LEN>()?;
        let word = |place| Self::ORDER.u32(header, place);
        let caplen = word(8);
        let end = at + HEADER_LEN + caplen as usize;
        if caplen > self.layout.caplen_max || end > self.bytes.len() {
            return None;
        }
        let record = RecordRef {
            timestamp_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * TICK_NS,
            // Walks cover less than 4 GiB.
            at: (at + HEADER_LEN) as u32,
            caplen,
            len: word(12),
            direction: Direction::Unknown,
        };
        Some((Some(record), end))
    }

    #[inline(always)]
    fn block(&self, at: usize) -> Option<(Option<RecordRef>, usize)> {
        const HEADER_LEN: usize = RecordLayout::ENHANCED_PACKET_HEADER_LEN;
        let rest = self.bytes.get(at..)?;
        let Some(header) = rest.first_chunk::<HEADER_LEN>() else {
            return self.block_without_packet(at);
        };
        let word = |place| Self::ORDER.u32(header, place);
        if word(0) != RecordLayout::ENHANCED_PACKET {
            return self.block_without_packet(at);
        }
        let (len, caplen) = (word(4) as usize, word(20));
        let room = len.checked_sub(PACKET_BLOCK_LEN)?;
        let is_plain = len.is_multiple_of(4)
            && len <= rest.len()
            && caplen as usize <= room
            && caplen <= self.layout.caplen_max
            && word(8) == 0;
        if !is_plain {
            return None;
        }
        let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
        let record = RecordRef {
            timestamp_ns: ticks.saturating_mul(TICK_NS),
            at: (at + HEADER_LEN) as u32,
            caplen,
            len: word(24),
            direction: Direction::Unknown,
        };
        Some((Some(record), at + len))
    }

    #[cold]
    fn block_without_packet(&self, at: usize) -> Option<(Option<RecordRef>, usize)> {
        let rest = self.bytes.get(at..)?;
        let head = rest.first_chunk::<BLOCK_HEAD_LEN>()?;
        let (block_type, len) = (Self::ORDER.u32(head, 0), Self::ORDER.u32(head, 4) as usize);
        let is_whole = (BLOCK_FRAME_LEN..=rest.len()).contains(&len) && len.is_multiple_of(4);
        (is_whole && is_stepped_over(block_type)).then_some((None, at + len))
    }

    /// Asks for the next header, and for what runs over the records next: their headers.
    #[inline(always)]
    pub(crate) fn ask(&self, end: usize) {
        if BLOCKS {
            // The end of the block that was stepped over.
            prefetch(self.bytes, end - 4);
        }
        prefetch(self.bytes, end);
        prefetch_for_later(self.bytes, end + 64);
    }

    /// Looks at the end of a block that was stepped over, the record of which, if it has one, is the last of `records`: it lies mostly beside
    /// the next header, so that whoever looks when that has come does not wait. FALSE where the block is damaged. What is empty is whole.
    #[inline(always)]
    pub(crate) fn close(&self, block: Range<usize>, records: &mut [RecordRef]) -> bool {
        if !BLOCKS || block.is_empty() {
            return true;
        }
        let Some(tail) = self.bytes.get(block.end - 4..).and_then(|tail| tail.first_chunk::<4>())
        else {
            return false;
        };
        if Self::ORDER.u32(tail, 0) as usize != block.end - block.start {
            return false;
        }
        if !self.is_of(records, block.start) {
            return true;
        }
        let Some(record) = records.last_mut() else { return true };
        let data_at = record.at as usize - block.start;
        let options_at = block.start + (data_at + record.caplen as usize).next_multiple_of(4);
        let options_end = block.end - 4;
        options_at == options_end || self.close_options(options_at..options_end, record)
    }

    #[cold]
    fn close_options(&self, options: Range<usize>, record: &mut RecordRef) -> bool {
        let direction =
            self.bytes.get(options).and_then(|options| packet_direction(Self::ORDER, options));
        record.direction = direction.unwrap_or_default();
        direction.is_some()
    }

    /// Whether the last record is that of the block at a place.
    #[inline(always)]
    pub(crate) fn is_of(&self, records: &[RecordRef], block: usize) -> bool {
        let header_len = RecordLayout::ENHANCED_PACKET_HEADER_LEN;
        BLOCKS && records.last().is_some_and(|last| last.at as usize == block + header_len)
    }
}
