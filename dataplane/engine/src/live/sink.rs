//! Rows on their way out: a queue to a thread of its own, so that a slow reader holds up the operators and never the capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wt_ring::{Entry, Receiver, Sender, Signal};

use crate::sink::{RowSink, SinkError};
use crate::tuple::Tuple;

/// Rows that wait for a reader at most: batches in the ring, and rows of a batch.
const RING_SLOTS: usize = 256;
const BATCH_ROWS_MAX: usize = 64;

/// How long either side sleeps before it looks again by itself.
const SLEEP: Duration = Duration::from_millis(50);

pub(super) enum Outgoing {
    Row { output: usize, tuple: Tuple },
    Window { output: usize },
}

/// No more rows.
pub(super) struct End;

/// The operators' end of the queue: a sink that waits while the queue is full.
pub(super) struct Queue {
    sender: Sender<Outgoing, End>,
    room: Arc<Signal>,
    /// Nobody takes rows any more; they are counted by the other end.
    closed: Arc<AtomicBool>,
    /// By output: a row since the last window.
    fresh: Vec<bool>,
}

/// The other end: passes rows on to the real sink.
pub(super) struct Drain {
    receiver: Receiver<Outgoing, End>,
    rows: Arc<Signal>,
    closed: Arc<AtomicBool>,
}

/// What became of the rows.
pub(super) struct Drained {
    /// By output: rows that could not be passed on.
    pub(super) undelivered: Vec<u64>,
    /// The output whose sink took no more.
    pub(super) closed: Option<usize>,
    /// Why the sink failed, and at which output; none: at its end.
    pub(super) failed: Option<(Option<usize>, std::io::Error)>,
}

/// The entry of an output, which may be a new one.
fn at<T: Default + Clone>(all: &mut Vec<T>, output: usize) -> &mut T {
    if output >= all.len() {
        all.resize(output + 1, T::default());
    }
    &mut all[output]
}

/// A queue for the rows of so many outputs.
pub(super) fn queue(outputs: usize) -> (Queue, Drain) {
    let (mut sender, mut receiver) = wt_ring::ring(RING_SLOTS, BATCH_ROWS_MAX);
    let (rows, room) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
    sender.wake(Arc::clone(&rows));
    receiver.wake(Arc::clone(&room));
    let closed = Arc::new(AtomicBool::new(false));
    let queue = Queue { sender, room, closed: Arc::clone(&closed), fresh: vec![false; outputs] };
    (queue, Drain { receiver, rows, closed })
}

impl Queue {
    fn push(&mut self, mut item: Outgoing) -> Result<(), SinkError> {
        while let Err(back) = self.sender.push(item) {
            if self.is_closed() {
                return Err(SinkError::Closed);
            }
            item = back;
            self.room.wait(SLEEP, || !self.sender.is_full() || self.sender.is_abandoned());
        }
        Ok(())
    }

    /// Sends what is gathered, if there is room.
    pub(super) fn flush(&mut self) {
        self.sender.flush();
    }

    /// Whether nobody takes rows any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.sender.is_abandoned()
    }

    /// No more rows.
    pub(super) fn end_rows(&mut self) {
        let mut end = End;
        while let Err(back) = self.sender.push_token(end) {
            if self.sender.is_abandoned() {
                return;
            }
            end = back;
            self.room.wait(SLEEP, || !self.sender.is_full() || self.sender.is_abandoned());
        }
    }
}

impl RowSink for Queue {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        if self.is_closed() {
            return Err(SinkError::Closed);
        }
        *at(&mut self.fresh, output) = true;
        self.push(Outgoing::Row { output, tuple: tuple.clone() })
    }

    fn window(&mut self, output: usize) -> Result<(), SinkError> {
        // Bounds come ten times a second; they tell a reader nothing when no row came before.
        if std::mem::take(at(&mut self.fresh, output)) {
            self.push(Outgoing::Window { output })?;
        }
        Ok(())
    }
}

impl Drain {
    /// Passes rows on until there are no more.
    pub(super) fn run(mut self, sink: &mut dyn RowSink, outputs: usize) -> Drained {
        let mut drained = Drained { undelivered: vec![0; outputs], closed: None, failed: None };
        let mut fresh = vec![false; outputs];
        loop {
            match self.receiver.pop() {
                Some(Entry::Batch(mut batch)) => {
                    for item in batch.drain(..) {
                        self.pass(item, sink, &mut fresh, &mut drained);
                    }
                    self.receiver.recycle(batch);
                }
                Some(Entry::Token(End)) => break,
                None if self.receiver.is_abandoned() && self.receiver.is_empty() => {
                    // The operators failed: what is out stays out, and nothing is ended.
                    return drained;
                }
                None => {
                    // Rows that no window closes are shown once nothing else waits.
                    for (output, fresh) in fresh.iter_mut().enumerate() {
                        if std::mem::take(fresh) {
                            let shown = sink.window(output);
                            self.note(shown, Some(output), &mut drained);
                        }
                    }
                    if !self.closed.load(Ordering::Relaxed) {
                        let idled = sink.idle();
                        self.note(idled, None, &mut drained);
                    }
                    self.rows.wait(SLEEP, || !self.receiver.is_empty());
                }
            }
        }
        if !self.closed.load(Ordering::Relaxed) {
            match sink.end() {
                Ok(()) | Err(SinkError::Closed) => {}
                Err(SinkError::Io(error)) => drained.failed = Some((None, error)),
            }
        }
        drained
    }

    fn pass(
        &self,
        item: Outgoing,
        sink: &mut dyn RowSink,
        fresh: &mut Vec<bool>,
        drained: &mut Drained,
    ) {
        let is_closed = self.closed.load(Ordering::Relaxed);
        match item {
            Outgoing::Row { output, .. } if is_closed => *at(&mut drained.undelivered, output) += 1,
            Outgoing::Row { output, tuple } => {
                *at(fresh, output) = true;
                let taken = sink.row(output, &tuple);
                *at(&mut drained.undelivered, output) += u64::from(taken.is_err());
                self.note(taken, Some(output), drained);
            }
            Outgoing::Window { .. } if is_closed => {}
            Outgoing::Window { output } => {
                *at(fresh, output) = false;
                let shown = sink.window(output);
                self.note(shown, Some(output), drained);
            }
        }
    }

    fn note(&self, done: Result<(), SinkError>, output: Option<usize>, drained: &mut Drained) {
        match done {
            Ok(()) => return,
            Err(SinkError::Closed) => drained.closed = output,
            Err(SinkError::Io(error)) => drained.failed = Some((output, error)),
        }
        self.closed.store(true, Ordering::Relaxed);
    }
}
