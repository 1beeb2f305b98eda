//! Walks over records, along one chain or along several at once.
//!
//! A record says where the next one begins, so that one chain waits for memory at each. Several
//! chains, begun at guessed places, wait at the same time; each guess is proven by the chain before
//! ending exactly there, and walked again otherwise. The result is that of one chain from the start,
//! whatever the bytes.

use wt_wire::{ByteOrder, Direction, PcapLayout, RecordRef};

use crate::scout::Scouts;
use crate::sys::{prefetch, prefetch_for_later};

const HEADER_LEN: usize = PcapLayout::RECORD_HEADER_LEN;
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
    /// Start of the next record.
    at: usize,
    /// Place of its first record in the storage, and of its next.
    first: usize,
    next: usize,
}

/// Runs an expression for a [`Walk`] in which what is fixed for a file is folded into the loops.
macro_rules! with_walk {
    ($layout:expr, $bytes:expr, $walk:ident => $run:expr) => {{
        let (layout, bytes): (wt_wire::PcapLayout, &[u8]) = ($layout, $bytes);
        match (layout.order, layout.fraction_ns) {
            (wt_wire::ByteOrder::Little, 1) => {
                let $walk = $crate::walk::Walk::<false, 1> { layout, bytes };
                $run
            }
            (wt_wire::ByteOrder::Little, _) => {
                let $walk = $crate::walk::Walk::<false, 1000> { layout, bytes };
                $run
            }
            (wt_wire::ByteOrder::Big, 1) => {
                let $walk = $crate::walk::Walk::<true, 1> { layout, bytes };
                $run
            }
            (wt_wire::ByteOrder::Big, _) => {
                let $walk = $crate::walk::Walk::<true, 1000> { layout, bytes };
                $run
            }
        }
    }};
}

pub(crate) use with_walk;

/// Walks over the records that begin before `stop` and lie wholly in `bytes`, the first of which
/// begins at 0, along one chain. Replaces `records`; returns the bytes that they take.
pub(crate) fn walk(
    layout: PcapLayout,
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
    layout: PcapLayout,
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
    pub(crate) fn new(layout: PcapLayout) -> Self {
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
        // A record takes 16 bytes at least, so that the chain before never runs into this one.
        let mut first = 0;
        for number in 0..count {
            let start = self.chains[number].start;
            let end = if number + 1 < count { self.chains[number + 1].start } else { stop };
            self.chains[number] = Chain { start, end, at: start, first, next: first };
            first += end.saturating_sub(start).div_ceil(HEADER_LEN);
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
    fn round<const BIG: bool, const FRACTION_NS: u64>(&mut self, walk: Walk<'_, BIG, FRACTION_NS>) {
        let mut turn = if self.turn < self.live { self.turn } else { 0 };
        let until = turn + STEP_RECORDS;
        while turn < self.live.min(until) {
            let chain = &mut self.chains[self.order[turn]];
            let step = if chain.at < chain.end { walk.step(chain.at) } else { None };
            match (step, self.records.get_mut(chain.next)) {
                (Some((record, end)), Some(place)) => {
                    // The next header, and what runs over the records next: their headers.
                    prefetch(walk.bytes, end);
                    prefetch_for_later(walk.bytes, end + 64);
                    *place = record;
                    chain.next += 1;
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

pub(crate) struct Walk<'a, const BIG: bool, const FRACTION_NS: u64> {
    pub(crate) layout: PcapLayout,
    pub(crate) bytes: &'a [u8],
}

impl<const BIG: bool, const FRACTION_NS: u64> Walk<'_, BIG, FRACTION_NS> {
    /// Walks one chain, from a record to the first one that begins at or behind `end`.
    fn alone(&self, start: usize, end: usize, records: &mut Vec<RecordRef>) -> usize {
        let mut at = start;
        while at < end {
            let Some((record, next)) = self.step(at) else { break };
            records.push(record);
            at = next;
        }
        at
    }

    /// The record at a place, and where it ends.
    #[inline(always)]
    pub(crate) fn step(&self, at: usize) -> Option<(RecordRef, usize)> {
        let header = self.bytes.get(at..)?.first_chunk::<HEADER_LEN>()?;
        let order = if BIG { ByteOrder::Big } else { ByteOrder::Little };
        let word = |place| order.u32(header, place);
        let caplen = word(8);
        let end = at + HEADER_LEN + caplen as usize;
        if caplen > self.layout.caplen_max || end > self.bytes.len() {
            return None;
        }
        let record = RecordRef {
            timestamp_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * FRACTION_NS,
            // Walks cover less than 4 GiB.
            at: (at + HEADER_LEN) as u32,
            caplen,
            len: word(12),
            direction: Direction::Unknown,
        };
        Some((record, end))
    }
}
