//! Walks over a long stretch along chains that lie far apart, for whoever takes records in any order.
//!
//! [`crate::walk`] gives the records of one batch after the other, and so looks for the starts of its chains every few
//! kilobytes, and waits for its last chain at the end of each batch. Where the order of records does not matter, a stretch of
//! megabytes is cut once into segments: each chain goes on with the next segment when its own has ended, and a batch is
//! whatever all of them have come to. Starts are guesses as there, and every chain must end where the next segment's begins: if
//! one does not, nothing that was given counts.

use wt_wire::{RecordLayout, RecordRef};

use crate::scout::Scouts;
use crate::sys::prefetch;
use crate::walk::{CHAINS_MAX, Cut, STEP_RECORDS, Walk, with_walk};

/// Records of a batch: their headers, and those of the next one, stay in the cache.
const BATCH_RECORDS: usize = 512;

/// A chain on its way through a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    /// Start of the next record or block.
    at: usize,
    /// Of blocks: start of the one before while its end was not looked at, otherwise the same.
    open: usize,
    /// Where the next segment starts.
    end: usize,
    /// Records of it in the batch.
    count: usize,
}

/// The chains of a stretch.
#[derive(Debug)]
pub(crate) struct FarChains {
    layout: RecordLayout,
    /// Looks for the starts of segments.
    scouts: Scouts,
    /// Those, and the end of the last.
    starts: Vec<usize>,
    /// The segment that is begun next.
    next: usize,
    /// Those of the batch, each with room for [`Self::room`] records. What one chain has walked stays together: neighbours are alike, which branches
    /// foresee.
    chains: [Chain; CHAINS_MAX],
    count: usize,
    room: usize,
    /// Chains by turn; those from `live` on have ended.
    order: [usize; CHAINS_MAX],
    live: usize,
    /// Whose turn it is.
    turn: usize,
    /// The records of the batch that is being walked.
    records: Vec<RecordRef>,
    /// Where the last segment has ended.
    end: usize,
    /// A guess was wrong, or a record odd.
    failed: bool,
}

impl FarChains {
    pub(crate) fn new(layout: RecordLayout) -> Self {
        Self {
            layout,
            scouts: Scouts::new(),
            starts: Vec::new(),
            next: 0,
            chains: [Chain::default(); CHAINS_MAX],
            count: 0,
            room: 0,
            order: [0; CHAINS_MAX],
            live: 0,
            turn: 0,
            records: Vec::new(),
            end: 0,
            failed: false,
        }
    }

    /// Begins with the records that begin before `stop` in `bytes`, the first of which begins at 0, along `cut.chains` chains. FALSE where fewer starts
    /// are found, so that it is of no use.
    pub(crate) fn begin(&mut self, bytes: &[u8], stop: usize, cut: Cut) -> bool {
        let stop = stop.min(bytes.len());
        self.starts.clear();
        self.starts.push(0);
        // The first of so many segments has its start.
        let group = Cut { chains: CHAINS_MAX, ..cut };
        for from in (0..stop).step_by((CHAINS_MAX - 1) * cut.segment_len.max(1)) {
            let len = (CHAINS_MAX * cut.segment_len).min(stop - from);
            self.scouts.begin(self.layout, bytes, (from, len), group);
            while self.scouts.step(bytes) {}
            self.starts.extend(self.scouts.starts());
        }
        self.starts.push(stop);
        let chains = cut.chains.clamp(1, CHAINS_MAX);
        self.room = BATCH_RECORDS / chains;
        self.records.resize(self.room * chains, RecordRef::EMPTY);
        (self.next, self.live, self.failed) = (0, 0, false);
        while self.live < chains
            && let Some(chain) = self.next_segment()
        {
            self.chains[self.live] = chain;
            self.live += 1;
        }
        self.begin_batch(bytes);
        self.live == chains
    }

    /// The chain of the next segment, if there is one.
    fn next_segment(&mut self) -> Option<Chain> {
        let [at, end] = *self.starts.get(self.next..)?.first_chunk()?;
        self.next += 1;
        Some(Chain { at, open: at, end, count: 0 })
    }

    /// Begins a batch with the first `live` chains.
    fn begin_batch(&mut self, bytes: &[u8]) {
        (self.count, self.turn) = (self.live, 0);
        for (number, chain) in self.chains[..self.live].iter_mut().enumerate() {
            chain.count = 0;
            self.order[number] = number;
        }
        // Those that begin in this batch: nobody asks for their first headers otherwise.
        for start in self.starts[self.next.min(self.starts.len())..].iter().take(self.live) {
            prefetch(bytes, *start);
            prefetch(bytes, start + 64);
        }
    }

    /// Goes on by a record of some chains; FALSE when the batch is full or all is walked.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> bool {
        with_walk!(self.layout, bytes, walk => self.round(walk))
    }

    #[inline(always)]
    fn round<const BLOCKS: bool, const BIG: bool, const TICK_NS: u64>(
        &mut self,
        walk: Walk<'_, BLOCKS, BIG, TICK_NS>,
    ) -> bool {
        let mut turn = if self.turn < self.live { self.turn } else { 0 };
        let until = turn + STEP_RECORDS;
        while turn < self.live.min(until) {
            let number = self.order[turn];
            let chain = &mut self.chains[number];
            if BLOCKS && !Self::close(&walk, chain, &mut self.records[number * self.room..]) {
                (self.failed, self.live) = (true, 0);
                return false;
            }
            if chain.at >= chain.end {
                if self.go_on(number) {
                    continue;
                }
                if self.failed {
                    self.live = 0;
                    return false;
                }
                self.live -= 1;
                self.order.swap(turn, self.live);
                continue;
            }
            // All chains whose turn is to come have as many.
            if chain.count == self.room {
                return false;
            }
            let place = self.records.get_mut(number * self.room + chain.count);
            let (Some((record, next)), Some(place)) = (walk.step(chain.at), place) else {
                (self.failed, self.live) = (true, 0);
                return false;
            };
            walk.ask(next);
            if let Some(record) = record {
                *place = record;
                chain.count += 1;
            }
            if BLOCKS {
                chain.open = chain.at;
            }
            chain.at = next;
            turn += 1;
        }
        self.turn = turn;
        self.live > 0
    }

    /// Looks at the end of the block that a chain has stepped over, if that was not done; its records begin `records`.
    #[inline(always)]
    fn close<const BLOCKS: bool, const BIG: bool, const TICK_NS: u64>(
        walk: &Walk<'_, BLOCKS, BIG, TICK_NS>,
        chain: &mut Chain,
        records: &mut [RecordRef],
    ) -> bool {
        let block = chain.open..chain.at;
        chain.open = chain.at;
        walk.close(block, &mut records[..chain.count])
    }

    /// Looks at the ends of the blocks that chains have stepped over last, so that all records are complete. FALSE where one is damaged.
    #[inline(always)]
    fn close_all<const BLOCKS: bool, const BIG: bool, const TICK_NS: u64>(
        &mut self,
        walk: &Walk<'_, BLOCKS, BIG, TICK_NS>,
    ) -> bool {
        self.order[..self.live].iter().all(|&number| {
            let records = &mut self.records[number * self.room..];
            !BLOCKS || Self::close(walk, &mut self.chains[number], records)
        })
    }

    /// Goes on with another segment where one has ended, if there is one.
    #[cold]
    fn go_on(&mut self, number: usize) -> bool {
        let Chain { at, end, count, .. } = self.chains[number];
        if self.starts.last() == Some(&end) {
            self.end = at;
        } else if at != end {
            self.failed = true;
            return false;
        }
        let Some(chain) = self.next_segment() else { return false };
        self.chains[number] = Chain { count, ..chain };
        true
    }

    /// The records of the next batch, chain by chain; nothing at the end. Replaces `records`.
    pub(crate) fn take(&mut self, bytes: &[u8], records: &mut Vec<RecordRef>) -> bool {
        while self.step(bytes) {}
        let are_whole = with_walk!(self.layout, bytes, walk => self.close_all(&walk));
        if !are_whole {
            (self.failed, self.live) = (true, 0);
        }
        if self.failed {
            return false;
        }
        let mut count = 0;
        for (number, chain) in self.chains[..self.count].iter().enumerate() {
            let begin = number * self.room;
            if begin != count {
                // A chain before it has ended.
                self.records.copy_within(begin..begin + chain.count, count);
            }
            count += chain.count;
        }
        records.resize(self.records.len(), RecordRef::EMPTY);
        std::mem::swap(&mut self.records, records);
        records.truncate(count);
        // The chains that go on, in order.
        let live = &mut self.order[..self.live];
        live.sort_unstable();
        for (number, from) in live.iter().enumerate() {
            self.chains[number] = self.chains[*from];
        }
        self.begin_batch(bytes);
        count > 0
    }

    /// Behind the last record, when every chain has met the next one.
    pub(crate) fn met(&self) -> Option<usize> {
        (!self.failed && self.live == 0).then_some(self.end)
    }
}
