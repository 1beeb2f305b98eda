//! Operators and sink on a thread of their own, where one input in order cannot be cut into ranges: a pipe, a compressed capture, several files merged.
//!
//! The thread that scans gives what LFTAs send to a ring, in the order in which they send it, and the other takes it through the graph. So rows, their
//! order and the books are those of one thread. A full ring makes the scan wait: it is a file's, and can.
//!
//! Whether that pays is measured, not foreseen: when the run has lasted for a while, operators are moved if both sides have enough to do for the
//! shorter one to be worth the handing over. A small job starts no thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wt_ring::{Entry, Receiver, Sender, Signal};

use super::{BATCH_PACKETS_MAX, Progress, Run, RunEnd, RunOptions};
use crate::error::EngineError;
use crate::graph::Graph;
use crate::memory::Memory;
use crate::sink::RowSink;
use crate::source::{Feed, InterfaceIndices};
use crate::tuple::Message;

/// How long a run lasts before it is looked at where its time goes.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// Operators are moved when this part of the time can be saved at most.
const PART_SAVED_MIN: u32 = 8;
/// Smallest memory limit that is divided between two threads: beside it the few hundred KiB that one keeps ready, and the other lacks, do not count.
pub(super) const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Batches in the ring: as many packets as fill the time in which an operator closes a window.
const RING_SLOTS: usize = 16;
/// How long a thread sleeps at most before it looks again whether the other one is there.
const NAP: Duration = Duration::from_millis(20);

/// Where the time of a run goes.
pub(super) struct Pace {
    begun: Instant,
    operators: Duration,
    /// It has been decided.
    is_over: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), operators: Duration::ZERO, is_over: false }
    }

    /// Runs operators.
    pub(super) fn measure<R>(&mut self, operators: impl FnOnce() -> R) -> R {
        if self.is_over {
            return operators();
        }
        let before = Instant::now();
        let result = operators();
        self.operators += before.elapsed();
        result
    }

    /// Whether operators are better off on a thread of their own. It is said once.
    pub(super) fn pays(&mut self) -> bool {
        let all = self.begun.elapsed();
        if self.is_over || all < LOOK_AFTER {
            return false;
        }
        self.is_over = true;
        self.operators.min(all - self.operators) * PART_SAVED_MIN >= all
    }
}

/// What an LFTA sends: its query and the message.
type Sent = (u32, Message);

/// What both threads see.
#[derive(Default)]
struct Board {
    rows: AtomicU64,
    /// Nobody reads an output any more.
    is_closed: AtomicBool,
    arrived: Arc<Signal>,
    room: Arc<Signal>,
}

impl Run<'_> {
    /// Takes the rest of the one source there is with operators on a thread of their own. Says why that ended before the source did.
    pub(super) fn rest_apart(
        &mut self,
        feed: &mut Feed,
        indices: &mut InterfaceIndices,
        mut ordinal: u64,
        max: usize,
        options: &RunOptions<'_>,
    ) -> Result<Option<RunEnd>, EngineError> {
        let Self { lftas, graph, memory, apart, sink } = self;
        let Some(operators_memory) = apart else { return Ok(None) };
        let backend = &mut lftas[0].backend;
        let board = &Board::default();
        let (mut sender, mut receiver) = wt_ring::ring::<Sent, ()>(RING_SLOTS, BATCH_PACKETS_MAX);
        sender.wake(Arc::clone(&board.arrived));
        receiver.wake(Arc::clone(&board.room));
        let bytes_total = feed.bytes().1;
        std::thread::scope(|scope| {
            let operators =
                scope.spawn(move || operate(graph, &mut **sink, operators_memory, receiver, board));
            let mut scan = || {
                let mut packets_to_look = BATCH_PACKETS_MAX as u64;
                loop {
                    let mut is_there = true;
                    let mut send = |query, message| {
                        is_there = is_there && put(&mut sender, (query, message), board);
                    };
                    let next = (&mut *indices, ordinal, max);
                    let taken = feed.next(backend.as_mut(), next, memory, &mut send)?;
                    is_there = is_there && flush(&mut sender, board);
                    if taken == 0 || !is_there || board.is_closed.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    ordinal += taken;
                    packets_to_look = packets_to_look.saturating_sub(taken);
                    if packets_to_look > 0 {
                        continue;
                    }
                    packets_to_look = BATCH_PACKETS_MAX as u64;
                    if let Some(progress) = options.progress {
                        progress(&Progress {
                            bytes_read: feed.bytes().0,
                            bytes_total,
                            packets: feed.records(),
                            rows: board.rows.load(Ordering::Relaxed),
                        });
                    }
                    if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                        return Ok(Some(RunEnd::Cancelled));
                    }
                }
            };
            let scanned: Result<_, EngineError> = scan();
            // Without a sender the other thread ends when it has taken all.
            drop(sender);
            board.arrived.raise();
            let operated = match operators.join() {
                Ok(operated) => operated,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            operated?;
            scanned
        })
    }
}

/// Sends a message as soon as there is room; whether the other thread still takes any.
fn put(sender: &mut Sender<Sent, ()>, sent: Sent, board: &Board) -> bool {
    let mut next = Some(sent);
    while let Some(sent) = next.take() {
        next = sender.push(sent).err();
        if next.is_some() && !waits(sender, board) {
            return false;
        }
    }
    true
}

/// Sends what has been gathered; whether the other thread still takes any.
fn flush(sender: &mut Sender<Sent, ()>, board: &Board) -> bool {
    while !sender.flush() {
        if !waits(sender, board) {
            return false;
        }
    }
    !sender.is_abandoned()
}

/// Waits for room; whether there is somebody who makes any.
fn waits(sender: &Sender<Sent, ()>, board: &Board) -> bool {
    board.room.wait(NAP, || !sender.is_full() || sender.is_abandoned());
    !sender.is_abandoned()
}

/// Takes messages through the graph until no more come.
fn operate(
    graph: &mut Graph,
    sink: &mut (dyn RowSink + Send),
    memory: &mut Memory,
    mut receiver: Receiver<Sent, ()>,
    board: &Board,
) -> Result<(), EngineError> {
    loop {
        // Looked at before the ring: what was sent before is in there.
        let is_over = receiver.is_abandoned();
        match receiver.pop() {
            Some(Entry::Batch(mut batch)) => {
                for (query, message) in batch.drain(..) {
                    graph.push(0, query, message);
                }
                receiver.recycle(batch);
                graph.run(memory, sink)?;
                board.rows.store(graph.rows(), Ordering::Relaxed);
                if graph.closed().is_some() {
                    board.is_closed.store(true, Ordering::Relaxed);
                }
            }
            Some(Entry::Token(())) => {}
            None if is_over => return Ok(()),
            None => board.arrived.wait(NAP, || !receiver.is_empty() || receiver.is_abandoned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use wt_plan::physical::PhysicalPlan;

    use super::super::tests::{grouping, interface, lfta_stream, output, packets, selection};
    use super::super::{RunReport, run};
    use super::*;
    use crate::sink::SinkError;
    use crate::testing::{Rows, source};

    fn apart(batch_packets_max: usize) -> RunOptions<'static> {
        RunOptions {
            cores: 2,
            operators_apart: true,
            batch_packets_max: Some(batch_packets_max),
            ..RunOptions::default()
        }
    }

    fn data(count: u32) -> Vec<[u8; 3]> {
        (0..count).map(|i| [(i / 1000) as u8, (i % 200) as u8, 1]).collect()
    }

    fn selecting() -> PhysicalPlan {
        PhysicalPlan {
            interfaces: vec![interface("a", selection())],
            outputs: vec![output("s", lfta_stream(0, 0), 3)],
            ..Default::default()
        }
    }

    fn report(plan: &PhysicalPlan, options: &RunOptions<'_>, rows: &mut Rows) -> RunReport {
        let report = run(plan, vec![source("a", &packets(&data(20_000)))], options, rows);
        let report = report.expect("it runs");
        assert_eq!(report.ledger.check(), Ok(()));
        report
    }

    #[test]
    fn rows_and_books_are_those_of_one_thread() {
        // In so few slots no group outlives the two hundred packets between its own, wherever its hash puts it.
        for plan in [grouping(&["a"], 2, 1), selecting()] {
            let (mut one, mut two) = (Rows::default(), Rows::default());
            let books = report(&plan, &RunOptions::default(), &mut one).ledger;
            for batch in [1, 7, 4096] {
                two.rows.clear();
                let other = report(&plan, &apart(batch), &mut two);
                assert_eq!((other.end, &two.rows), (RunEnd::Complete, &one.rows), "{batch}");
                assert_eq!(format!("{:?}", other.ledger), format!("{books:?}"), "{batch}");
            }
            assert!(one.rows.len() >= 4000 && two.ended);
        }
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_scan() {
        let mut rows = Rows { rows_max: Some(10), ..Rows::default() };
        let report = report(&selecting(), &apart(1), &mut rows);
        assert_eq!(report.end, RunEnd::SinkClosed { output: 0 });
        assert_eq!(rows.rows.len(), 10);
        let tuples = report.ledger.queries[0].tuples.output;
        assert_eq!(report.ledger.outputs[0].unsent, tuples - 10);
        assert!(!rows.ended);
    }

    #[test]
    fn an_error_of_an_operator_is_that_of_the_run() {
        struct Full;
        impl RowSink for Full {
            fn row(&mut self, _: usize, _: &crate::tuple::Tuple) -> Result<(), SinkError> {
                Err(SinkError::Io(std::io::Error::other("no room")))
            }

            fn end(&mut self) -> Result<(), SinkError> {
                Ok(())
            }
        }
        let sources = vec![source("a", &packets(&data(20_000)))];
        let error = run(&selecting(), sources, &apart(7), &mut Full).expect_err("no room");
        assert!(matches!(&error, EngineError::Sink { query, .. } if query == "s"), "{error}");
    }

    #[test]
    fn both_threads_keep_to_the_limit() {
        let keys = |i: u32| [(i >> 16) as u8, (i >> 8) as u8, i as u8];
        let all: Vec<_> = (0..100_000).map(keys).collect();
        let options = RunOptions { memory_bytes_max: Some(MEMORY_BYTES_MIN), ..apart(4096) };
        let enough = vec![source("a", &packets(&all))];
        let report = run(&grouping(&["a"], 1, 0), enough, &options, &mut Rows::default());
        assert!(report.expect("enough memory").memory_peak_bytes > 0);
        // Too small to be divided: one thread.
        let options = RunOptions { memory_bytes_max: Some(4 << 10), ..options };
        let sources = vec![source("a", &packets(&all))];
        let error = run(&grouping(&["a"], 1, 0), sources, &options, &mut Rows::default());
        let error = error.expect_err("too little memory");
        assert!(matches!(&error, EngineError::Memory(error) if error.query == "q"), "{error}");
    }

    #[test]
    fn a_cancelled_run_closes_what_is_open() {
        let cancel = AtomicBool::new(false);
        let calls = Cell::new(0);
        let progress = |progress: &Progress| {
            calls.set(calls.get() + 1);
            assert!(progress.packets <= 20_000);
            cancel.store(true, Ordering::Relaxed);
        };
        let options =
            RunOptions { progress: Some(&progress), cancel: Some(&cancel), ..apart(4096) };
        let mut rows = Rows::default();
        let report = report(&grouping(&["a"], 16, 0), &options, &mut rows);
        assert_eq!((report.end, calls.get()), (RunEnd::Cancelled, 2));
        assert_eq!(report.ledger.records(), BATCH_PACKETS_MAX as u64);
        assert!(rows.ended && rows.rows.len() >= 800);
    }

    #[test]
    fn it_pays_where_both_sides_have_enough_to_do() {
        let pace = |all: u64, operators: u64| Pace {
            begun: Instant::now() - Duration::from_millis(all),
            operators: Duration::from_millis(operators),
            is_over: false,
        };
        assert!(!pace(10, 5).pays(), "too early");
        assert!(pace(1000, 500).pays());
        assert!(!pace(1000, 10).pays() && !pace(10_000, 9_990).pays());
        let mut once = pace(1000, 500);
        assert!(once.pays() && !once.pays());
    }
}
