//! A run over one plain file, over a store, or over several files or writers where no order matters, on several cores: threads scan ranges of it, this one folds them in file order and scans too.
//!
//! Where a range begins is a guess, proven when the one before has ended there; a range that was guessed wrong is scanned again from
//! where it begins. Threads run ahead of the folding by a few ranges only, so memory does not grow with the file.

mod kept;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};
use wt_catalog::protocol::Meta;
use wt_plan::ir::{LftaProgram, Op};
use wt_plan::physical::PhysicalPlan;

use super::{BackendSetup, Run, RunEnd, RunOptions};
use crate::compiled::{Code, CompiledLfta, PathsWanted, Scanned, SharedCode, WordHasher};
use crate::error::EngineError;
use crate::lfta::LftaBackend;
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::source::{Asked, Cutting, Feed, InterfaceIndices, RangeRead, RangeReader, Ranges};

/// Bytes of a range: folding one costs little beside scanning it, and what threads hold ahead stays small.
pub const RANGE_BYTES: u64 = 16 << 20;
/// Those of a large file. Groups that many ranges have are folded less often.
const RANGE_BYTES_MAX: u64 = 4 * RANGE_BYTES;
/// Those of a file that leaves nothing but totals.
const RANGE_BYTES_OF_TOTALS: u64 = 2 * RANGE_BYTES;
/// Ranges for each thread from which on they may be larger: at the end a thread waits for half of one.
const RANGES_EACH: u64 = 32;
/// Files of fewer ranges are left to one thread: starting more takes longer than it gains.
const RANGES_MIN: u64 = 4;
/// Ranges that threads may be ahead of the folding, for each of them. One that cannot be cut counts as many.
const RANGES_AHEAD: u64 = 3;

/// Bytes from which on a file or a store is cut for several cores.
pub const CUT_BYTES_MIN: u64 = RANGES_MIN * RANGE_BYTES;

/// Whether a plan lets a store be cut: it reads nothing else, and no query asks for the numbers of interfaces, which come in the order of packets.
pub fn may_cut_store(plan: &PhysicalPlan) -> bool {
    let is_alone = plan.nodes.iter().all(|node| node.inputs.len() <= 1);
    match &plan.interfaces[..] {
        [interface] => is_alone && !has_numbers(&interface.program),
        _ => false,
    }
}

fn has_numbers(program: &LftaProgram) -> bool {
    program.exprs.nodes.iter().any(|node| node.op == Op::Meta(Meta::IfIndex))
}

/// Several cores at one file, or at several, one after the other.
pub(super) struct Cores<'a> {
    /// As many as may be.
    cores: usize,
    threads: usize,
    ranges: Ranges,
    cutting: Cutting,
    setup: BackendSetup<'a>,
    link_type: u16,
    paths: PathsWanted,
    /// That of the thread that folds, where others may run it too.
    code: Option<SharedCode>,
    hasher: WordHasher,
    memory_bytes_max: Option<u64>,
    range_bytes: u64,
    /// Threads may keep what several ranges come to.
    keeps_all: bool,
    /// Packets of a range may come in any order.
    any_order: bool,
}

/// A range that was scanned.
struct Scan {
    read: RangeRead,
    scanned: Scanned,
}

/// What threads share.
struct Board<'a> {
    state: Mutex<State>,
    changed: Condvar,
    ranges: &'a Ranges,
    range_bytes: u64,
    threads: usize,
}

#[derive(Default)]
struct State {
    /// The range that the next thread takes.
    next: usize,
    /// Ranges that have been folded.
    folded: usize,
    /// Weights of those that are claimed and not folded, in order.
    ahead: VecDeque<u64>,
    done: BTreeMap<usize, Result<Scan, EngineError>>,
    stopped: bool,
    /// Most memory that scanning threads kept, bytes.
    memory_peak_bytes: u64,
}

impl Board<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics holds no half-made state: the guard is only held to move whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A range to scan, if one is near enough to the folding. With `waits`, waits for one; nothing means there is none left.
    fn claim(&self, waits: bool) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let number = state.next;
            self.ranges.range(number)?;
            let weight = self.ranges.weight(number, self.range_bytes);
            let ahead: u64 = state.ahead.iter().sum();
            let is_near = ahead + weight <= RANGES_AHEAD * self.threads as u64;
            // However large they are, each thread may have one.
            if is_near || state.ahead.len() < self.threads {
                state.next += 1;
                state.ahead.push_back(weight);
                return Some(number);
            }
            if !waits {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, number: usize, scan: Result<Scan, EngineError>) {
        self.lock().done.insert(number, scan);
        self.changed.notify_all();
    }

    /// The next range in file order, if it is there. With `waits`, waits for it; nothing means that a thread gave up.
    fn next_done(&self, waits: bool) -> Option<Result<Scan, EngineError>> {
        let mut state = self.lock();
        loop {
            let number = state.folded;
            if let Some(scan) = state.done.remove(&number) {
                return Some(scan);
            }
            if !waits || state.stopped {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn folded(&self) {
        let mut state = self.lock();
        state.folded += 1;
        state.ahead.pop_front();
        drop(state);
        self.changed.notify_all();
    }
}

/// Lets no thread wait for one that is gone.
struct StopOnDrop<'a>(&'a Board<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

/// As [`StopOnDrop`], when the thread panics.
struct StopOnPanic<'a>(&'a Board<'a>);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(StopOnDrop(self.0));
        }
    }
}

impl<'a> Cores<'a> {
    /// Several cores, where they are wanted and of use: `lead`, which has compiled code, will fold.
    pub(super) fn new(
        lead: &mut CompiledLfta,
        feed: &mut Feed,
        setup: BackendSetup<'a>,
        options: &RunOptions<'_>,
    ) -> Option<Self> {
        let len = feed.unpacked_bytes();
        let is_small = len? < CUT_BYTES_MIN && options.range_bytes.is_none();
        // Packets that may come in any order are read faster so, and frames of a store, on one core, too.
        let any_order = lead.takes_any_order(setup.readers.free);
        let cores = options.cores.max(1);
        let is_of_use = cores > 1 || any_order || feed.is_in_pieces();
        if !is_of_use || is_small {
            return None;
        }
        let paths = lead.paths().clone();
        let link_type = feed.first_link_type()?;
        let usual = || {
            let ranges = RANGES_EACH * cores as u64;
            (len.unwrap_or(0) / ranges).clamp(RANGE_BYTES, RANGE_BYTES_MAX)
        };
        let range_bytes = options.range_bytes.unwrap_or_else(usual);
        let keeps_all =
            lead.keeps_all() && (cores < 2 || kept::fits(cores, options.memory_bytes_max));
        let mut cutting = Cutting { range_bytes, shrinking_for: None };
        if keeps_all && options.range_bytes.is_none() {
            cutting.shrinking_for = (cores > 1).then_some(cores);
            if lead.keeps_totals() || any_order && cores < 2 {
                cutting.range_bytes = RANGE_BYTES_OF_TOTALS;
            }
        }
        let asked = Asked { numbers: has_numbers(setup.program), any_order };
        let ranges = feed.ranges(&mut InterfaceIndices::default(), asked, cutting)?;
        let hasher = lead.hasher();
        lead.scans_ranges(hasher);
        Some(Self {
            cores,
            threads: ranges.count().map_or(cores, |count| cores.min(count)),
            ranges,
            cutting,
            setup,
            link_type,
            paths,
            code: lead.shared_code(),
            hasher,
            memory_bytes_max: options.memory_bytes_max,
            range_bytes,
            keeps_all,
            any_order,
        })
    }

    /// Scans and folds all files.
    pub(super) fn run(
        &mut self,
        run: &mut Run<'_>,
        feed: &mut Feed,
        options: &RunOptions<'_>,
    ) -> Result<Option<RunEnd>, EngineError> {
        loop {
            let end = self.file(run, feed, options)?;
            if end.is_some() {
                return Ok(end);
            }
            let indices = &mut InterfaceIndices::default();
            let Some(ranges) = feed.ranges_of_next(indices, self.cutting) else { return Ok(None) };
            self.threads = ranges.count().map_or(self.cores, |count| self.cores.min(count));
            self.ranges = ranges;
        }
    }

    /// Scans and folds the whole file.
    fn file(
        &self,
        run: &mut Run<'_>,
        feed: &mut Feed,
        options: &RunOptions<'_>,
    ) -> Result<Option<RunEnd>, EngineError> {
        let mut place = Place { number: 0, position: 0, ordinal: feed.records() };
        if let Some(first) = self.ranges.range(0) {
            place.position = first.start;
        }
        if self.keeps_all {
            match self.kept(place, run, feed, options)? {
                Folded::More(next) => place = next,
                Folded::Damaged => return Ok(None),
                Folded::Ended(end) => return Ok(Some(end)),
            }
        }
        if self.ranges.range(place.number).is_none() {
            return Ok(None);
        }
        let state = State { next: place.number, folded: place.number, ..State::default() };
        let board = Board {
            state: Mutex::new(state),
            changed: Condvar::new(),
            ranges: &self.ranges,
            range_bytes: self.range_bytes,
            threads: self.threads,
        };
        let lead_cpu = sched_getcpu();
        let end = std::thread::scope(|scope| {
            let _stop = StopOnDrop(&board);
            for _ in 1..self.threads {
                scope.spawn(|| {
                    leave(lead_cpu);
                    self.help(&board);
                });
            }
            self.lead(&board, place, run, feed, options)
        });
        // All threads are gone, and have said what they kept.
        run.memory.add_to_peak(board.lock().memory_peak_bytes);
        end
    }

    /// A thread that scans ranges until none is left.
    fn help(&self, board: &Board<'_>) {
        let _stop = StopOnPanic(board);
        let mut memory = Memory::new(self.memory_bytes_max);
        let Some(mut backend) = self.backend(&mut memory) else { return };
        let mut reader = self.ranges.reader();
        while let Some(number) = board.claim(true) {
            board.put(number, self.scan_numbered(&mut backend, &mut reader, number, &mut memory));
        }
        board.lock().memory_peak_bytes += memory.peak_bytes();
    }

    /// What another thread scans with. One without code leaves the ranges to the others.
    fn backend(&self, memory: &mut Memory) -> Option<CompiledLfta> {
        let BackendSetup { program, params, readers } = self.setup;
        let paths = self.paths.clone();
        let code = self.code.as_ref().map_or(Code::New(self.link_type), Code::Shared);
        let compiled = CompiledLfta::with_code(program, params, readers, paths, code, memory);
        let mut backend = compiled.ok()?;
        backend.send_blocks();
        backend.scans_ranges(self.hasher);
        Some(backend)
    }

    fn scan(
        &self,
        backend: &mut CompiledLfta,
        reader: &mut RangeReader,
        range: Range<u64>,
        memory: &mut Memory,
    ) -> Result<Scan, EngineError> {
        let (scanned, read) = backend.scan(memory, |backend, memory, out| {
            self.ranges
                .read(reader, range, |batch, ordinal| backend.batch(batch, ordinal, memory, out))
        })?;
        Ok(Scan { read, scanned })
    }

    /// As [`Self::scan`], of a range that the file was cut into, if it is what was indexed; in any order where that does not matter.
    fn scan_numbered(
        &self,
        backend: &mut CompiledLfta,
        reader: &mut RangeReader,
        number: usize,
        memory: &mut Memory,
    ) -> Result<Scan, EngineError> {
        if self.any_order {
            let (scanned, read) = backend.scan(memory, |backend, memory, out| {
                let take =
                    |batch: &PacketBatch<'_>, ordinal| backend.batch(batch, ordinal, memory, out);
                self.ranges.read_in_any_order(reader, number, take)
            })?;
            if let Some(read) = read {
                return Ok(Scan { read, scanned });
            }
        }
        let (scanned, read) = backend.scan(memory, |backend, memory, out| {
            let take =
                |batch: &PacketBatch<'_>, ordinal| backend.batch(batch, ordinal, memory, out);
            self.ranges.read_numbered(reader, number, take)
        })?;
        Ok(Scan { read, scanned })
    }

    /// Folds ranges in file order, from a place on; scans some while the next one is not there.
    fn lead(
        &self,
        board: &Board<'_>,
        mut place: Place,
        run: &mut Run<'_>,
        feed: &mut Feed,
        options: &RunOptions<'_>,
    ) -> Result<Option<RunEnd>, EngineError> {
        let mut own =
            Own { reader: self.ranges.reader(), memory: Memory::new(self.memory_bytes_max) };
        while let Some(range) = self.ranges.range(place.number) {
            if self.ranges.are_chosen() {
                place.position = range.start;
            }
            let scan = loop {
                if let Some(scan) = board.next_done(false) {
                    break scan;
                }
                match board.claim(false) {
                    Some(mine) => {
                        let Some(lead) = run.lead() else { return Ok(None) };
                        let Own { reader, memory } = &mut own;
                        board.put(mine, self.scan_numbered(lead, reader, mine, memory));
                    }
                    // A thread that gave up has panicked, which ends the scope.
                    None => match board.next_done(true) {
                        Some(scan) => break scan,
                        None => return Ok(None),
                    },
                }
            };
            let scan = match scan {
                Ok(scan) if scan.read.has_changed => {
                    // What the others are at does not count any more.
                    drop(StopOnDrop(board));
                    let ended = self.rest(&mut own, run, feed, place, options)?;
                    board.lock().memory_peak_bytes += own.memory.peak_bytes();
                    return Ok(ended);
                }
                Ok(scan) if scan.read.start == place.position => scan,
                // The guess where it begins was wrong: whatever came of it does not count.
                _ => {
                    let range = place.position..range.end;
                    let Some(lead) = run.lead() else { return Ok(None) };
                    self.scan(lead, &mut own.reader, range, &mut own.memory)?
                }
            };
            self.ranges.enter(&scan.read);
            let folded = fold(scan, run, feed, place, options)?;
            board.folded();
            match folded {
                Folded::More(next) => place = next,
                Folded::Damaged => break,
                Folded::Ended(end) => return Ok(Some(end)),
            }
        }
        board.lock().memory_peak_bytes += own.memory.peak_bytes();
        Ok(None)
    }

    /// Scans and folds all from where an index is no longer followed, as what is there is not what was indexed.
    fn rest(
        &self,
        own: &mut Own,
        run: &mut Run<'_>,
        feed: &mut Feed,
        mut place: Place,
        options: &RunOptions<'_>,
    ) -> Result<Option<RunEnd>, EngineError> {
        feed.fall_back(place.position);
        while place.position < self.ranges.len() {
            let begin = place.position;
            let Some(lead) = run.lead() else { return Ok(None) };
            let range = begin..begin.saturating_add(RANGE_BYTES);
            let scan = self.scan(lead, &mut own.reader, range, &mut own.memory)?;
            match fold(scan, run, feed, place, options)? {
                Folded::More(next) if next.position > begin => place = next,
                Folded::More(_) | Folded::Damaged => break,
                Folded::Ended(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }
}

/// Moves this thread off a processor, if it may run on others: the scheduler leaves a new thread for tens of milliseconds where it was begun, also
/// where the one that began it goes on and others are idle.
fn leave(cpu: usize) {
    let Ok(all) = sched_getaffinity(None) else { return };
    let mut others = all;
    others.unset(cpu);
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        // From there on it is the scheduler's again; failing would leave it the others.
        let _ = sched_setaffinity(None, &all);
    }
}

/// What the folding thread scans with.
struct Own {
    reader: RangeReader,
    memory: Memory,
}

/// How far the folding has come.
#[derive(Clone, Copy)]
struct Place {
    /// The next range.
    number: usize,
    position: u64,
    ordinal: u64,
}

/// What follows a range.
enum Folded {
    More(Place),
    /// Nothing can be read behind it.
    Damaged,
    Ended(RunEnd),
}

/// Takes in a range that begins where the folding has come to.
fn fold(
    scan: Scan,
    run: &mut Run<'_>,
    feed: &mut Feed,
    place: Place,
    options: &RunOptions<'_>,
) -> Result<Folded, EngineError> {
    let next = enter(place, &scan.read, feed);
    run.fold(scan.scanned, place.ordinal)?;
    if let Some(output) = run.graph.closed() {
        return Ok(Folded::Ended(RunEnd::SinkClosed { output }));
    }
    if scan.read.is_damaged() {
        return Ok(Folded::Damaged);
    }
    if let Some(progress) = options.progress {
        progress(&run.progress(std::slice::from_ref(feed)));
    }
    if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
        return Ok(Folded::Ended(RunEnd::Cancelled));
    }
    Ok(Folded::More(next))
}

/// Enters what was read of a range that begins at a place; where the next one begins.
fn enter(place: Place, read: &RangeRead, feed: &mut Feed) -> Place {
    feed.enter(read);
    Place { number: place.number + 1, position: read.end, ordinal: place.ordinal + read.records() }
}
