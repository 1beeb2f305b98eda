//! Walks over records, along one chain or along several at once.
//!
//! A record says where the next one begins, so that one chain waits for memory at each. Several
//! chains, begun at guessed places, wait at the same time; each guess is proven by the chain before
//! ending exactly there, and walked again otherwise. The result is that of one chain from the start,
//! whatever the bytes.

use wt_wire::{ByteOrder, Direction, PcapLayout, RecordRef};

use crate::resync::Resync;
use crate::sys::prefetch;

const HEADER_LEN: usize = PcapLayout::RECORD_HEADER_LEN;
/// Chains that are walked at once.
pub(crate) const CHAINS_MAX: usize = 32;

/// Cache lines in which a guess is usually found.
const SEARCHED_LINES: usize = 8;

/// How the bytes of a walk are cut for its chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Chains, at most [`CHAINS_MAX`]; 1 guesses nothing.
    pub(crate) chains: usize,
    /// Bytes of a chain; the last one goes on to the end.
    pub(crate) segment_len: usize,
}

/// Storage that walks use again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    records: Vec<RecordRef>,
}

/// One chain on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    start: usize,
    /// Where the next chain starts.
    end: usize,
    /// Start of the next record.
    at: usize,
    /// Place of its first record in the scratch, and of its next.
    first: usize,
    next: usize,
}

/// Walks over the records that begin before `stop` and lie wholly in `bytes`, the first of which
/// begins at 0. Replaces `records`; returns the bytes that they take.
pub(crate) fn walk(
    layout: PcapLayout,
    bytes: &[u8],
    stop: usize,
    cut: Cut,
    records: &mut Vec<RecordRef>,
    scratch: &mut Scratch,
) -> usize {
    records.clear();
    let stop = stop.min(bytes.len());
    // What is fixed for a file is folded into the loops.
    match (layout.order, layout.fraction_ns) {
        (ByteOrder::Little, 1) => {
            Walk::<false, 1> { layout, bytes }.run(stop, cut, records, scratch)
        }
        (ByteOrder::Little, _) => {
            Walk::<false, 1000> { layout, bytes }.run(stop, cut, records, scratch)
        }
        (ByteOrder::Big, 1) => Walk::<true, 1> { layout, bytes }.run(stop, cut, records, scratch),
        (ByteOrder::Big, _) => {
            Walk::<true, 1000> { layout, bytes }.run(stop, cut, records, scratch)
        }
    }
}

struct Walk<'a, const BIG: bool, const FRACTION_NS: u64> {
    layout: PcapLayout,
    bytes: &'a [u8],
}

impl<const BIG: bool, const FRACTION_NS: u64> Walk<'_, BIG, FRACTION_NS> {
    fn run(
        &self,
        stop: usize,
        cut: Cut,
        records: &mut Vec<RecordRef>,
        scratch: &mut Scratch,
    ) -> usize {
        let mut chains = [Chain::default(); CHAINS_MAX];
        let count = self.guess(stop, cut, &mut chains);
        let chains = &mut chains[..count];
        if count < 2 {
            return self.alone(0, stop, records);
        }
        // A record takes 16 bytes at least, so that the chain before never runs into this one.
        let mut first = 0;
        for chain in chains.iter_mut() {
            (chain.first, chain.next) = (first, first);
            first += (chain.end - chain.start).div_ceil(HEADER_LEN);
        }
        if scratch.records.len() < first {
            scratch.records.resize(first, RecordRef::EMPTY);
        }
        self.together(chains, &mut scratch.records);

        let mut at = 0;
        for chain in &*chains {
            if at == chain.start {
                records.extend_from_slice(&scratch.records[chain.first..chain.next]);
                at = chain.at;
            } else {
                at = self.alone(at, chain.end, records);
            }
            if at < chain.end {
                // Odd, or cut off: here the walk ends.
                break;
            }
        }
        self.prefetch_segments(at, cut);
        at
    }

    /// Asks for the bytes in which the walk that follows looks for its guesses.
    fn prefetch_segments(&self, from: usize, cut: Cut) {
        for number in 0..cut.chains {
            for line in 0..SEARCHED_LINES {
                prefetch(self.bytes, from + number * cut.segment_len + line * 64);
            }
        }
    }

    /// Begins chains where records seem to begin; those of which nothing is found are left out.
    fn guess(&self, stop: usize, cut: Cut, chains: &mut [Chain; CHAINS_MAX]) -> usize {
        let mut starts = [None; CHAINS_MAX];
        let wanted = cut.chains.min(CHAINS_MAX).min(stop / cut.segment_len.max(1));
        let resync = if wanted < 2 { None } else { Resync::new(self.layout, self.bytes, 0) };
        if let Some(resync) = resync {
            for (number, start) in starts.iter_mut().enumerate().take(wanted).skip(1) {
                let from = number * cut.segment_len;
                *start = resync.candidate(from, (from + cut.segment_len).min(stop));
                if let Some(end) = start.and_then(|start| resync.end(start)) {
                    prefetch(self.bytes, end);
                }
            }
            // Looked at when all of them are on their way to the cache.
            for (number, start) in starts.iter_mut().enumerate() {
                let to = ((number + 1) * cut.segment_len).min(stop);
                while let Some(candidate) = start.filter(|start| !resync.is_followed(*start)) {
                    *start = resync.candidate(candidate + 1, to);
                }
            }
        }
        starts[0] = Some(0);
        let mut count = 0;
        for start in starts.into_iter().flatten() {
            chains[count] = Chain { start, at: start, ..Chain::default() };
            count += 1;
        }
        for number in 0..count {
            chains[number].end = if number + 1 < count { chains[number + 1].start } else { stop };
        }
        count
    }

    /// Walks all chains, one record of each in turn.
    fn together(&self, chains: &mut [Chain], scratch: &mut [RecordRef]) {
        let mut order: [usize; CHAINS_MAX] = std::array::from_fn(|number| number);
        let mut live = chains.len();
        while live > 0 {
            let mut turn = 0;
            while turn < live {
                let chain = &mut chains[order[turn]];
                let step = if chain.at < chain.end { self.step(chain.at) } else { None };
                match (step, scratch.get_mut(chain.next)) {
                    (Some((record, end)), Some(place)) => {
                        // The next header, and what runs over the records next: their headers.
                        prefetch(self.bytes, end);
                        prefetch(self.bytes, end + 64);
                        *place = record;
                        chain.next += 1;
                        chain.at = end;
                        turn += 1;
                    }
                    _ => {
                        live -= 1;
                        order.swap(turn, live);
                    }
                }
            }
        }
    }

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
    fn step(&self, at: usize) -> Option<(RecordRef, usize)> {
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
