//! The mapped part of a reader: which bytes are at hand, and whether mapping pays.
//!
//! It depends on how the page cache holds the file, which nobody can ask for and which changes.
//! Measured with `examples/scan.rs` (Zen 3, virtual, ext4, all in the cache, 358 bytes per record,
//! least and median of nine rounds, a consumer that reads 60 bytes of each packet):
//!
//! | | ns per record |
//! |---|---|
//! | only the copy, reads of 256 KiB | 36, 39 |
//! | one cursor over reads of 256 KiB | 43, 48 |
//! | mapped huge pages (populating takes 5 ns per 4 KiB), one chain | 101, 109 |
//! | the same, 8 chains | 38, 43 |
//! | the same, 16 chains | 33, 41 |
//! | mapped small pages (populating takes 230 to 450 ns), 16 chains | 92, 100 |
//!
//! Files written or first read in large pieces lie in large pages, others do not. So the time that
//! populating takes decides, piece by piece, against that of copies made since. Where a consumer
//! computes, walking meanwhile hides most of the walk, which no copy can do: a page may then cost more.
//! On another machine (Granite Rapids, virtual) a page takes 600 ns to copy and 60 to 180 to populate.
//! All of this was measured with `MADV_POPULATE_READ`; by faults, as it is done now, small pages take less, huge ones the same.

use std::sync::OnceLock;
use std::time::Duration;

use wt_wire::{CAPLEN_MAX, RecordLayout};

use crate::file::TraceFile;
use crate::sys::thread_time;
use crate::walk::Cut;

/// Files below this are read: a mapping costs more than the copy.
const FILE_LEN_MIN: u64 = 4 << 20;
/// Bytes that are made accessible at once.
const POPULATE_LEN: u64 = 2 << 20;
/// What costs are counted by.
const PAGE_LEN: u64 = 4096;
/// Bytes that are read before the next try: few when the last ones went well, as any pause looks
/// like slowness, then twice as many each time.
const TRY_AGAIN_AFTER_MIN: u64 = 4 << 20;
const TRY_AGAIN_AFTER_MAX: u64 = 256 << 20;
/// Populating a page of 4 KiB pays up to this, and up to two thirds of what a copy takes beyond
/// [`WALK_NS_PER_PAGE`]: unmapping takes half of what populating takes.
const POPULATE_NS_PER_PAGE_MAX: u64 = 150;
/// What walking records takes longer where they lie than in a copy in the cache, per page.
const WALK_NS_PER_PAGE: u64 = 150;
/// Weight of the latest piece in what pieces take, as a power of two.
const WEIGHT_LOG2: u32 = 2;
/// What a piece counts for at most, in multiples of what still pays: one that was interrupted does not decide.
const OUTLIER: u64 = 2;
/// What populating a piece takes at times, whatever its pages are.
const POPULATE_CALL: Duration = Duration::from_micros(20);
/// Bytes that are given back at once, so that the process does not look as large as the file.
const RELEASE_LEN: u64 = 32 << 20;
/// Chains that are walked at once in a mapped file.
pub(crate) const CHAINS: usize = 16;
/// Bytes of a batch. The longer it is, the fewer starts of chains are looked for; its headers and records, and those of the batch that is walked meanwhile, are to
/// stay in the second-level cache.
const BATCH_LEN: usize = 384 << 10;
/// The same where that cache has so many bytes or more: groups by second take 0.97 of the time.
const BATCH_LEN_MAX: usize = 768 << 10;
const ROOMY_CACHE_LEN: usize = 1 << 20;
/// Room behind the start of a record in which it ends.
const RECORD_LEN_MAX: u64 = CAPLEN_MAX as u64 + RecordLayout::EXTRA_LEN_MAX as u64;

/// How a reader goes about its file. It changes the speed, never the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Whether files may be mapped.
    pub map: MapFile,
    /// Chains that are walked at once in a mapped file, at most 16.
    pub chains: usize,
    /// Bytes of a batch of a mapped file, which `chains` share.
    pub batch_len: usize,
    /// Bytes of a batch of a file that is read.
    pub read_batch_len: usize,
    /// Bytes of the segments that chains walk where records may come in any order.
    pub segment_len: usize,
}

/// Whether files are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapFile {
    /// Where trying shows that it is cheap.
    WhereItPays,
    /// Wherever the system allows it.
    Always,
    /// Nowhere.
    Never,
}

impl Tuning {
    pub(crate) fn cut(self) -> Cut {
        Cut { chains: self.chains, segment_len: self.batch_len / self.chains.max(1) }
    }

    pub(crate) fn far_cut(self) -> Cut {
        Cut { chains: self.chains, segment_len: self.segment_len }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            map: MapFile::WhereItPays,
            chains: CHAINS,
            batch_len: batch_len(),
            read_batch_len: 64 << 10,
            segment_len: 128 << 10,
        }
    }
}

/// Bytes of a batch on this machine.
fn batch_len() -> usize {
    static LEN: OnceLock<usize> = OnceLock::new();
    *LEN.get_or_init(|| {
        let said = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size");
        let cache_len = said.ok().and_then(|said| cache_len(said.trim()));
        if cache_len >= Some(ROOMY_CACHE_LEN) { BATCH_LEN_MAX } else { BATCH_LEN }
    })
}

/// Bytes of a cache, as the kernel says them: `2048K`.
fn cache_len(said: &str) -> Option<usize> {
    let digits = said.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let shift = match &said[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_shl(shift)
}

/// The bytes at hand of a mapped file.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// File offset at which it began.
    begun: u64,
    /// File offset of the first byte at hand.
    offset: u64,
    /// Bytes that are accessible end here.
    populated: u64,
    /// Bytes before here have been given back.
    released: u64,
    /// Before this offset mapping is not tried.
    not_before: u64,
    /// Bytes that are read before the next try.
    try_again_after: u64,
    /// What populating a page takes of late, and what copying one does.
    populating: Cost,
    copying: Cost,
}

/// What a page takes, nanoseconds: a mean in which the latest pieces count most.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    ns_per_page: Option<u64>,
}

impl Cost {
    fn add(&mut self, latest: u64) {
        self.ns_per_page = Some(match self.ns_per_page {
            None => latest,
            Some(mean) => mean - (mean >> WEIGHT_LOG2) + (latest >> WEIGHT_LOG2),
        });
    }
}

/// What came of populating a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Populated {
    /// It pays.
    Fast,
    /// It did not, which may have been chance.
    Late,
    /// It has not paid of late: another way is better, and the mean begins anew when this one is tried again.
    Slow,
}

/// What a page took of so many bytes, nanoseconds.
fn ns_per_page(took: Duration, len: u64) -> u64 {
    let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    took_ns / len.div_ceil(PAGE_LEN).max(1)
}

impl Mapped {
    pub(crate) fn new(offset: u64) -> Self {
        let try_again_after = TRY_AGAIN_AFTER_MIN;
        let released = offset.next_multiple_of(POPULATE_LEN);
        let (populating, copying) = (Cost::default(), Cost::default());
        Self {
            begun: offset,
            offset,
            populated: offset,
            released,
            not_before: 0,
            try_again_after,
            populating,
            copying,
        }
    }

    /// Notes what a copy of so many bytes took.
    pub(crate) fn note_copy(&mut self, took: Duration, len: u64) {
        self.copying.add(ns_per_page(took, len));
    }

    /// Takes note of what populating a piece took, and says what came of it.
    fn note_populated(&mut self, took: Duration, len: u64) -> Populated {
        let copying = self.copying.ns_per_page.unwrap_or(0);
        let saved = copying.saturating_sub(WALK_NS_PER_PAGE) * 2 / 3;
        let pays_up_to = saved.max(POPULATE_NS_PER_PAGE_MAX);
        // Where the mean begins, one piece does not lift it above what pays.
        self.populating.ns_per_page.get_or_insert(pays_up_to / 2);
        let latest = ns_per_page(took, len);
        self.populating.add(latest.min(OUTLIER * pays_up_to));
        if self.populating.ns_per_page > Some(pays_up_to) {
            self.populating = Cost::default();
            return Populated::Slow;
        }
        if latest > pays_up_to { Populated::Late } else { Populated::Fast }
    }

    /// Goes on elsewhere in the file. All that was made accessible is given back, also where it reaches into what others read: they
    /// find the pages again.
    pub(crate) fn turn_to(&mut self, file: &TraceFile, offset: u64) {
        let made = self.begun..self.populated;
        if let Some(mapping) = file.mapping().filter(|_| !made.is_empty()) {
            // Failing would only leave more of the file in the size of the process.
            let _ = mapping.release(made.start as usize, (made.end - made.start) as usize);
        }
        (self.begun, self.offset, self.populated) = (offset, offset, offset);
        self.released = offset.next_multiple_of(POPULATE_LEN);
    }

    /// Whether mapping is to be tried.
    fn may_map(&self, file: &TraceFile, position: u64, tuning: Tuning) -> bool {
        let is_wanted = match tuning.map {
            MapFile::Always => true,
            MapFile::Never => false,
            MapFile::WhereItPays => file.len() >= FILE_LEN_MIN && position >= self.not_before,
        };
        is_wanted && position < file.len()
    }

    /// Puts the bytes from `position` at hand, if mapping pays there. Those from `kept` on are still in use.
    pub(crate) fn advance(
        &mut self,
        file: &TraceFile,
        kept: u64,
        position: u64,
        tuning: Tuning,
    ) -> bool {
        if !self.may_map(file, position, tuning) {
            return false;
        }
        let Some(mapping) = file.mapping() else { return false };
        let done = kept / POPULATE_LEN * POPULATE_LEN;
        if let Some(len) = done.checked_sub(self.released).filter(|len| *len >= RELEASE_LEN) {
            // Failing would only leave more of the file in the size of the process.
            let _ = mapping.release(self.released as usize, len as usize);
            self.released = done;
        }
        // Chains of the batch after this one are looked for in its bytes.
        let needed = position + 2 * tuning.batch_len as u64 + RECORD_LEN_MAX;
        self.put_at_hand(file, position, needed, tuning)
    }

    /// Puts so many bytes from `position` at hand, with room for the end of the last record, if mapping pays there.
    pub(crate) fn advance_far(
        &mut self,
        file: &TraceFile,
        position: u64,
        len: u64,
        tuning: Tuning,
    ) -> bool {
        self.may_map(file, position, tuning)
            && self.put_at_hand(file, position, position + len + RECORD_LEN_MAX, tuning)
    }

    /// Puts the bytes between two places at hand.
    fn put_at_hand(
        &mut self,
        file: &TraceFile,
        position: u64,
        needed: u64,
        tuning: Tuning,
    ) -> bool {
        let Some(mapping) = file.mapping() else { return false };
        let needed = needed.min(file.len());
        self.populated = self.populated.max(position);
        while self.populated < needed {
            let at = self.populated;
            let len = POPULATE_LEN - at % POPULATE_LEN;
            let begun = thread_time();
            if mapping.populate(file.file(), at as usize, len as usize).is_err() {
                // What is wrong is found by reading.
                self.not_before = u64::MAX;
                return false;
            }
            let took = thread_time().saturating_sub(begun).saturating_sub(POPULATE_CALL);
            let populated = self.note_populated(took, len);
            self.populated = at + len;
            if populated == Populated::Slow && tuning.map == MapFile::WhereItPays {
                self.not_before = position + self.try_again_after;
                self.try_again_after = (self.try_again_after * 2).min(TRY_AGAIN_AFTER_MAX);
                return false;
            }
            if len == POPULATE_LEN && populated == Populated::Fast {
                self.try_again_after = TRY_AGAIN_AFTER_MIN;
            }
        }
        self.offset = position;
        true
    }

    /// The bytes at hand from an offset on: those of a batch, and behind them room for the end of its last record.
    pub(crate) fn bytes<'a>(&self, file: &'a TraceFile, offset: u64) -> &'a [u8] {
        let bytes = file.mapping().map(|mapping| mapping.bytes()).unwrap_or_default();
        let end = self.populated.min(bytes.len() as u64) as usize;
        bytes.get(offset as usize..end).unwrap_or_default()
    }

    /// File offset of [`Self::bytes`].
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::Populated::{Fast, Late, Slow};
    use super::*;

    #[test]
    fn the_size_of_a_cache_is_read_as_the_kernel_says_it() {
        let said = ["512K", "2048K", "1M", "4096", "", "K", "1G", "big"];
        let len = [Some(512 << 10), Some(2 << 20), Some(1 << 20), Some(4096)];
        assert_eq!(said.map(cache_len)[..4], len);
        assert_eq!(said.map(cache_len)[4..], [None; 4]);
        assert!([BATCH_LEN, BATCH_LEN_MAX].contains(&Tuning::default().batch_len));
    }

    #[test]
    fn one_piece_that_was_interrupted_does_not_end_mapping() {
        let came_of = |took_us: &[u64]| {
            let mut mapped = Mapped::new(0);
            let took = took_us.iter().map(|us| Duration::from_micros(*us));
            took.map(|took| mapped.note_populated(took, POPULATE_LEN)).collect::<Vec<_>>()
        };
        // Huge pages take 20 to 70 us for each of them, small ones twice as much and more.
        assert_eq!(came_of(&[5000, 40, 40, 40]), [Late, Fast, Fast, Fast]);
        assert_eq!(came_of(&[40, 40, 5000, 60, 60]), [Fast, Fast, Late, Fast, Fast]);
        // Tried again, it is as at the start.
        assert_eq!(came_of(&[160, 160, 160, 160]), [Late, Slow, Late, Slow]);
        assert_eq!(came_of(&[5000, 5000, 5000, 40]), [Late, Slow, Late, Fast]);
    }
}
