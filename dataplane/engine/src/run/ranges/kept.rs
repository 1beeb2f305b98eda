//! Ranges whose groups stay with the threads: where a batch has nothing but totals and groups that stay open to the end, all that a
//! thread has scanned is folded at once, and groups that many ranges have are not folded again for each.
//!
//! Threads take ranges in order, so that those that were taken are all up to some place. Only when they are scanned is it known whether
//! every guess where one begins was right: if not, nothing of it counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::thread::sched_getcpu;

use super::{Cores, Folded, Place, enter, leave};
use crate::compiled::{CompiledLfta, Ordinals, Scanned, kept_ordinal};
use crate::error::EngineError;
use crate::lfta::LftaBackend;
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::run::{Progress, Run, RunEnd, RunOptions};
use crate::source::{Feed, RangeRead, RangeReader};
use crate::tuple::Message;

/// Memory that a thread may keep, bytes.
const KEPT_BYTES_MAX: u64 = 32 << 20;
/// Groups up to which it is of no interest how many of them recur.
const FEW_GROUPS: u64 = 4096;

/// What a thread has kept.
struct Kept {
    /// What it has read, by number.
    reads: Vec<(usize, RangeRead)>,
    scanned: Scanned,
}

/// Whether groups of one range are there in the next.
#[derive(Default)]
struct Recurring {
    /// Groups after the first range.
    first: Option<u64>,
    ranges: u64,
}

impl Recurring {
    /// Whether a quarter of them is, when there are so many after a range more. Those that do not recur are better folded while others are scanned.
    fn after(&mut self, groups: u64) -> bool {
        let first = *self.first.get_or_insert(groups);
        let new = groups - first;
        let once = (first * self.ranges).max(FEW_GROUPS) / 4 * 3;
        self.ranges += 1;
        new <= once
    }
}

/// What threads share.
#[derive(Default)]
struct Shared<'a> {
    /// The range that the next thread takes.
    next: AtomicUsize,
    /// No more are taken.
    stopped: AtomicBool,
    cancel: Option<&'a AtomicBool>,
    packets: AtomicU64,
    bytes: AtomicU64,
    done: Mutex<Vec<Done>>,
}

/// What a thread that is done has kept.
struct Done {
    /// Nothing where it does not count.
    kept: Result<Option<Kept>, EngineError>,
    /// Most memory that it had, bytes.
    peak_bytes: u64,
}

impl Shared<'_> {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is_set(&self.stopped) || self.cancel.is_some_and(is_set)
    }

    fn put(&self, kept: Result<Option<Kept>, EngineError>, memory: &Memory) {
        if kept.is_err() {
            self.stop();
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(Done { kept, peak_bytes: memory.peak_bytes() });
    }
}

/// Whether so many threads and what they come to together fit into a limit.
pub(super) fn fits(threads: usize, memory_bytes_max: Option<u64>) -> bool {
    let needed_bytes = 2 * KEPT_BYTES_MAX * (threads as u64 + 1);
    memory_bytes_max.is_none_or(|most| most >= needed_bytes)
}

impl Cores<'_> {
    /// Scans and folds ranges as long as threads can keep what they come to. Where a guess was wrong it is as if nothing was done.
    pub(super) fn kept(
        &self,
        begin: Place,
        run: &mut Run<'_>,
        feed: &mut Feed,
        options: &RunOptions<'_>,
    ) -> Result<Folded, EngineError> {
        let shared = Shared { cancel: options.cancel, ..Shared::default() };
        let lead_cpu = sched_getcpu();
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| {
                    leave(lead_cpu);
                    let mut memory = Memory::new(self.memory_bytes_max);
                    let Some(mut backend) = self.backend(&mut memory) else { return };
                    let kept = self.keep(begin, &shared, &mut backend, &mut memory, &|| {});
                    shared.put(kept, &memory);
                });
            }
            let begun = run.progress(std::slice::from_ref(feed));
            let told = || {
                if let Some(progress) = options.progress {
                    progress(&Progress {
                        packets: shared.packets.load(Ordering::Relaxed),
                        bytes_read: shared.bytes.load(Ordering::Relaxed),
                        ..begun
                    });
                }
            };
            let mut memory = Memory::new(self.memory_bytes_max);
            if let Some(lead) = run.lead() {
                shared.put(self.keep(begin, &shared, lead, &mut memory, &told), &memory);
            }
        });
        let done = shared.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        run.memory.add_to_peak(done.iter().map(|done| done.peak_bytes).sum());
        // What went wrong goes wrong again, or was of a range that begins elsewhere.
        let kept: Option<Vec<Kept>> = done.into_iter().map(|done| done.kept.ok()?).collect();
        let Some(kept) = kept else { return Ok(Folded::More(begin)) };
        let (reads, scanned): (Vec<_>, Vec<_>) =
            kept.into_iter().map(|kept| (kept.reads, kept.scanned)).unzip();
        let mut reads: Vec<_> = reads.into_iter().flatten().collect();
        reads.sort_unstable_by_key(|(number, _)| *number);
        if !self.meet(begin, reads.iter().map(|(_, read)| read)) {
            return Ok(Folded::More(begin));
        }
        let mut place = begin;
        let mut ordinals = Vec::with_capacity(reads.len());
        for (_, read) in &reads {
            ordinals.push(place.ordinal);
            self.ranges.enter(read);
            place = enter(place, read, feed);
        }
        let ordinals = if self.threads > 1 { Ordinals::ByRange(&ordinals) } else { Ordinals::Same };
        run.fold_kept(scanned, ordinals, self.any_order)?;
        if reads.last().is_some_and(|(_, read)| read.is_damaged()) {
            return Ok(Folded::Damaged);
        }
        if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Ok(Folded::Ended(RunEnd::Cancelled));
        }
        Ok(Folded::More(place))
    }

    /// Scans ranges until none is left, or too much is kept. Nothing where what is kept does not count.
    fn keep(
        &self,
        begin: Place,
        shared: &Shared<'_>,
        backend: &mut CompiledLfta,
        memory: &mut Memory,
        told: &dyn Fn(),
    ) -> Result<Option<Kept>, EngineError> {
        let mut reader = self.ranges.reader();
        let (scanned, reads) = backend.scan(memory, |backend, memory, out| {
            let before_bytes = memory.used_bytes();
            let mut reads = Vec::new();
            let mut recurring = Recurring::default();
            let mut ordinal = begin.ordinal;
            while !shared.is_over() {
                let number = shared.next.fetch_add(1, Ordering::Relaxed);
                if self.ranges.range(number).is_none() {
                    break;
                }
                let first = if self.threads > 1 { kept_ordinal(number as u64) } else { ordinal };
                let kept = self.keep_range(backend, &mut reader, (number, first), memory, out)?;
                let Some(read) = kept else {
                    shared.stop();
                    return Ok(None);
                };
                ordinal += read.records();
                shared.packets.fetch_add(read.records(), Ordering::Relaxed);
                shared.bytes.fetch_add(read.bytes(), Ordering::Relaxed);
                let is_full = memory.used_bytes() - before_bytes > KEPT_BYTES_MAX;
                let is_of_use = recurring.after(backend.groups_held());
                // One thread has one table in any case.
                let is_too_much = self.threads > 1 && (is_full || !is_of_use);
                if is_too_much || read.is_damaged() || read.has_changed {
                    shared.stop();
                }
                reads.push((number, read));
                told();
            }
            Ok::<_, EngineError>(Some(reads))
        })?;
        Ok(reads.map(|reads| Kept { reads, scanned }))
    }

    /// Scans a range, with the ordinal that its first packet is given: in any order where that does not matter. Nothing where that has led to tables with
    /// what does not count.
    fn keep_range(
        &self,
        backend: &mut CompiledLfta,
        reader: &mut RangeReader,
        (number, first): (usize, u64),
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<Option<RangeRead>, EngineError> {
        let is_begun = Cell::new(false);
        let mut take = |backend: &mut CompiledLfta, batch: &PacketBatch<'_>, within| {
            is_begun.set(true);
            backend.batch(batch, first + within, memory, out)
        };
        // What tables take in stays: they are not risked on the last range, in which captures that were broken off end.
        let saved = backend.keeps_totals().then(|| backend.saved());
        let is_last = self.ranges.range(number + 1).is_none();
        if self.any_order && (saved.is_some() || !is_last) {
            let take_any = |batch: &PacketBatch<'_>, within| take(backend, batch, within);
            if let Some(read) = self.ranges.read_in_any_order(reader, number, take_any)? {
                return Ok(Some(read));
            }
            match saved {
                Some(saved) => backend.restore(saved),
                None if is_begun.get() => return Ok(None),
                None => {}
            }
        }
        let take = |batch: &PacketBatch<'_>, within| take(backend, batch, within);
        self.ranges.read_numbered(reader, number, take).map(Some)
    }

    /// Whether each range that was read begins where the one before has ended, and all of them count.
    fn meet<'r>(&self, begin: Place, reads: impl Iterator<Item = &'r RangeRead>) -> bool {
        let mut end = Some(begin.position);
        for read in reads {
            let is_met = self.ranges.are_chosen() || end == Some(read.start);
            if end.is_none() || !is_met || read.has_changed {
                return false;
            }
            // Nothing behind damage can be read.
            end = Some(read.end).filter(|_| !read.is_damaged());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Recurring;

    #[test]
    fn groups_are_kept_while_a_quarter_of_them_recurs() {
        let after = |groups: &[u64]| {
            let mut recurring = Recurring::default();
            groups.iter().all(|groups| recurring.after(*groups))
        };
        assert!(after(&[0, 0, 0]));
        assert!(after(&[25_000, 38_000, 47_000, 53_000, 58_000]));
        assert!(after(&[20_000, 34_900, 49_900]));
        assert!(!after(&[20_000, 35_100]));
        assert!(!after(&[20_000, 34_000, 50_100]));
        // So few cost nothing.
        assert!(after(&[1_000, 2_000, 3_000, 4_000]));
        assert!(!after(&[2_000, 4_000, 6_000]));
    }
}
