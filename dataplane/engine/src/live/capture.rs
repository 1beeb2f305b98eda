//! One capture thread: packets of an interface through the LFTA program, tuples and bounds into the ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wt_ring::{Entry, Receiver};

use super::handle::{CaptureOrder, Change, Handle, Prepared};
use super::outbox::Outbox;
use super::program::Program;
use super::source::{DriverCounters, Link, LiveSource, Polled, WAITING_PACKETS_MAX};
use super::stop::Stop;
use super::{Notice, Token};
use crate::error::EngineError;
use crate::ledger::{Gap, InterfaceLedger, LiveLedger, PacketCounters, TupleCounters};
use crate::lfta::AheadCounters;
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::run::Backend;
use crate::tuple::Message;

/// How long a thread waits for packets before it looks at the clock again.
const TICK: Duration = Duration::from_millis(20);

/// How often streams are told how far time has come.
const BOUND_EVERY: Duration = Duration::from_millis(100);

/// How long the end of a run waits for a ring to empty before it looks again.
const DRAIN_WAIT: Duration = Duration::from_millis(1);

/// What a capture thread works with.
pub(super) struct Capture<'a> {
    pub(super) source: Box<dyn LiveSource>,
    /// The queries of the batch at this interface.
    pub(super) program: Program,
    /// The next ones, made ready.
    pub(super) next: Option<Program>,
    pub(super) backend: Backend,
    pub(super) memory: Memory,
    pub(super) outbox: Outbox,
    /// Numbers of the bounds that operators ask for.
    pub(super) asks: Receiver<u64, ()>,
    /// Which of the run's threads it is, the hold on the run and what is asked through it.
    pub(super) lane: usize,
    pub(super) handle: &'a Handle,
    pub(super) orders: mpsc::Receiver<CaptureOrder>,
    /// Tells the operators what was judged ahead by the programs that are gone.
    pub(super) swaps: mpsc::Sender<(usize, Vec<AheadCounters>)>,
    pub(super) stop: &'a Stop<'a>,
    /// Ordinals of all interfaces.
    pub(super) ordinals: &'a AtomicU64,
    pub(super) skew_ns: u64,
    pub(super) notice: &'a (dyn Fn(Notice) + Sync),
    pub(super) ledger: InterfaceLedger,
    pub(super) live: LiveLedger,
    /// What programs that are gone have counted.
    pub(super) past: Past,
}

/// The books of an interface.
#[derive(Clone)]
pub(super) struct Captured {
    pub(super) ledger: InterfaceLedger,
    /// By query that the batch has or had.
    pub(super) queries: Vec<(String, CapturedQuery)>,
    /// By query of the program at work: what was judged ahead.
    pub(super) ahead: Vec<AheadCounters>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct CapturedQuery {
    pub(super) tuples: TupleCounters,
    /// Packets that came while the batch had it.
    pub(super) packets: u64,
    pub(super) shed: u64,
}

/// What programs have counted.
#[derive(Clone, Default)]
pub(super) struct Past {
    packets: PacketCounters,
    bytes: u64,
    blocked: u64,
    queries: Vec<(String, CapturedQuery)>,
}

impl Past {
    fn add(&mut self, name: &str, counted: CapturedQuery) {
        let CapturedQuery { tuples, packets, shed } = counted;
        let at = self.queries.iter().position(|(known, _)| known == name);
        let at = at.unwrap_or_else(|| {
            self.queries.push((name.to_owned(), CapturedQuery::default()));
            self.queries.len() - 1
        });
        let account = &mut self.queries[at].1;
        account.tuples += tuples;
        account.packets += packets;
        account.shed += shed;
    }
}

/// How far the packets of an interface have come.
struct Clock {
    /// No packet still to come is stamped before this, but for the skew.
    reached_ns: u64,
    /// When the streams were last told of it.
    told: Instant,
    link: Link,
    /// When the link was lost.
    gap_from_ns: Option<u64>,
    /// Packets of the driver that count as taken.
    claimed: u64,
}

impl Capture<'_> {
    /// Runs until the end of the run, and ends the streams.
    ///
    /// # Errors
    /// The source has no way on; the memory limit.
    pub(super) fn run(mut self) -> Result<Captured, EngineError> {
        let done = self.packets();
        if done.is_err() {
            // The others end too, and the operators wait for no end of these streams.
            self.stop.end();
        }
        done?;
        let Self { source, program, outbox, .. } = &mut self;
        program.finish(&mut |query, message| outbox.send(query, message));
        if let Some(driver) = source.driver() {
            driver.take(&mut |query, message| outbox.send(query, message));
        }
        for query in 0..program.names().len() as u32 {
            outbox.send(query, Message::End);
        }
        while !outbox.flush() || outbox.token(Token::Ended).is_err() {
            if outbox.is_abandoned() {
                break;
            }
            std::thread::sleep(DRAIN_WAIT);
        }
        Ok(self.books())
    }

    fn packets(&mut self) -> Result<(), EngineError> {
        let mut clock = Clock {
            reached_ns: 0,
            told: Instant::now(),
            link: Link::Up,
            gap_from_ns: None,
            claimed: 0,
        };
        let mut stopping = false;
        loop {
            if !stopping && self.stop.is_due() {
                stopping = true;
                let stopped = self.source.stop();
                stopped.map_err(|source| self.error(source))?;
            }
            let may_poll = !self.source.waits() || self.outbox.has_room(WAITING_PACKETS_MAX);
            if !may_poll {
                std::thread::sleep(DRAIN_WAIT);
            }
            match if may_poll { self.poll(&mut clock)? } else { Polled::Packets } {
                Polled::Packets => {}
                Polled::Idle { as_of_ns } => clock.reached_ns = clock.reached_ns.max(as_of_ns),
                Polled::Ended => {
                    self.link(&mut clock, Link::Up);
                    self.take_driver(&mut clock);
                    return Ok(());
                }
            }
            let link = self.source.link();
            self.link(&mut clock, link);
            self.take_driver(&mut clock);
            if self.outbox.is_abandoned() {
                return Ok(());
            }
            if clock.told.elapsed() >= BOUND_EVERY {
                self.tell(&mut clock);
                self.handle.tell_captured(self.lane, self.books());
            }
            self.answer(&mut clock);
            if !stopping {
                self.obey(&mut clock)?;
            }
            self.outbox.flush();
        }
    }

    /// Takes the packets that have come.
    fn poll(&mut self, clock: &mut Clock) -> Result<Polled, EngineError> {
        let timeout = self.stop.within(TICK);
        let Self { source, program, memory, outbox, stop, ordinals, ledger, live, .. } = self;
        let is_driven = source.driver().is_some();
        source.poll(timeout, &mut |batch| {
            let count = batch.records.len() as u64;
            // What a program in the driver has seen is not undone.
            let taken = if is_driven { count } else { stop.claim(count) };
            live.unread += count - taken;
            if taken == 0 {
                return Ok(());
            }
            let records = &batch.records[..taken as usize];
            if let Some(last) = records.last() {
                clock.reached_ns = clock.reached_ns.max(last.timestamp_ns);
            }
            ledger.add(records);
            let ordinal = ordinals.fetch_add(taken, Ordering::Relaxed);
            let batch = PacketBatch { records, ..*batch };
            program.batch(&batch, ordinal, memory, &mut |query, message| {
                outbox.send(query, message);
            })
        })
    }

    /// Sends on what the driver's queries have sent.
    fn take_driver(&mut self, clock: &mut Clock) {
        let Self { source, outbox, stop, .. } = self;
        let Some(driver) = source.driver() else { return };
        driver.take(&mut |query, message| outbox.send(query, message));
        let seen = driver.counters().packets.packets;
        stop.claim(seen - clock.claimed);
        clock.claimed = seen;
    }

    /// Tells the streams how far time has come.
    fn tell(&mut self, clock: &mut Clock) {
        clock.told = Instant::now();
        let bound_ns = clock.reached_ns.saturating_sub(self.skew_ns);
        if bound_ns == 0 {
            return;
        }
        let Self { source, program, outbox, .. } = self;
        program.bound(bound_ns, &mut |query, message| outbox.send(query, message));
        if let Some(driver) = source.driver() {
            for query in driver.queries().to_vec() {
                driver.bound(query, bound_ns, &mut |query, message| outbox.send(query, message));
            }
        }
    }

    /// Answers operators that ask for bounds: punctuation on demand.
    fn answer(&mut self, clock: &mut Clock) {
        let mut last = None;
        while let Some(entry) = self.asks.pop() {
            if let Entry::Batch(numbers) = entry {
                last = numbers.last().copied().or(last);
                self.asks.recycle(numbers);
            }
        }
        if let Some(number) = last {
            self.tell(clock);
            // While the ring is full the operators have other things to do, and ask again.
            let _ =
                self.outbox.flush() && self.outbox.token(Token::Bounded { ask: number }).is_ok();
        }
    }

    /// Does what is asked through the hold on the run.
    fn obey(&mut self, clock: &mut Clock) -> Result<(), EngineError> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                CaptureOrder::Prepare { change, interface, reply } => {
                    // Who does not wait any more has given up the change.
                    let _ = reply.send(self.prepare(&change, interface));
                }
                CaptureOrder::Abort => self.next = None,
                CaptureOrder::Commit => self.swap(clock)?,
            }
        }
        Ok(())
    }

    /// Makes the queries of another plan ready.
    fn prepare(&mut self, change: &Arc<Change>, interface: Option<usize>) -> Prepared {
        let name = &self.ledger.name;
        let plan = &change.plan;
        let source = &mut *self.source;
        let program =
            Program::prepare(plan, interface, name, source, self.backend, &mut self.memory)?;
        let feeding = program.feeding();
        self.next = Some(program);
        Ok(feeding)
    }

    /// Goes on with the queries that were made ready. What came before is the old ones', to the packet.
    fn swap(&mut self, clock: &mut Clock) -> Result<(), EngineError> {
        let Some(next) = self.next.take() else { return Ok(()) };
        let Self { source, program, memory, outbox, ordinals, ledger, .. } = self;
        if let Some(driver) = source.driver() {
            driver.replace(&mut |batch| {
                let count = batch.records.len() as u64;
                ledger.add(batch.records);
                let ordinal = ordinals.fetch_add(count, Ordering::Relaxed);
                program.batch(batch, ordinal, memory, &mut |query, message| {
                    outbox.send(query, message);
                })
            })?;
        }
        self.take_driver(clock);
        let Self { source, program, outbox, past, .. } = self;
        program.finish(&mut |query, message| outbox.send(query, message));
        let ahead = program.ahead();
        count(past, &mut **source, program, outbox);
        if let Some(driver) = source.driver() {
            driver.begin();
            clock.claimed = driver.counters().packets.packets;
        }
        // The operators are there as long as this thread.
        let _ = self.swaps.send((self.lane, ahead));
        self.outbox.swap(next.selections());
        let old = std::mem::replace(&mut self.program, next);
        old.release(&mut self.memory);
        Ok(())
    }

    /// Notes that the link is lost or back. An interface that is deleted goes down first: that is one gap.
    fn link(&mut self, clock: &mut Clock, link: Link) {
        let now_ns = clock.reached_ns;
        if std::mem::replace(&mut clock.link, link) == link {
            return;
        }
        let interface = self.ledger.name.clone();
        if link != Link::Up {
            clock.gap_from_ns.get_or_insert(now_ns);
            (self.notice)(Notice::LinkLost { interface, link });
            return;
        }
        if let Some(from_ns) = clock.gap_from_ns.take() {
            self.live.enter(Gap { from_ns, to_ns: now_ns });
        }
        if !self.stop.is_due() {
            (self.notice)(Notice::LinkBack { interface });
        }
    }

    fn error(&self, source: std::io::Error) -> EngineError {
        EngineError::Capture { interface: self.ledger.name.clone(), source }
    }

    /// The books, those of programs that are gone among them.
    pub(super) fn books(&mut self) -> Captured {
        let mut counted = self.past.clone();
        let Self { source, program, outbox, .. } = self;
        count(&mut counted, &mut **source, program, outbox);
        let of_source = source.counters();
        let mut ledger = self.ledger.clone();
        ledger.packets = counted.packets;
        if source.driver().is_some() {
            let packets = counted.packets.packets;
            (ledger.records, ledger.processed) = (packets, packets);
            (ledger.wire_bytes, ledger.captured_bytes) = (counted.bytes, counted.bytes);
            ledger.truncated = 0;
        }
        ledger.index = of_source.index;
        ledger.live = Some(LiveLedger {
            seen: of_source.seen,
            kernel_dropped: of_source.dropped,
            restamped: of_source.restamped,
            redirected: of_source.redirected,
            port: of_source.port,
            ring_full: self.outbox.ring_full(),
            blocked: counted.blocked,
            ..self.live.clone()
        });
        Captured { ledger, queries: counted.queries, ahead: self.program.ahead() }
    }
}

/// Adds what a program has counted.
fn count(past: &mut Past, source: &mut dyn LiveSource, program: &Program, outbox: &Outbox) {
    let driver = source.driver();
    let DriverCounters { packets, bytes, given, lost, blocked } = match &driver {
        Some(driver) => driver.counters(),
        None => DriverCounters { packets: program.packets(), ..Default::default() },
    };
    for (query, name) in (0..).zip(program.names()) {
        let on_host = program.tuples(query);
        let in_driver = || driver.as_ref().map(|driver| driver.tuples(query));
        let tuples = match (on_host, &driver) {
            (Some(tuples), None) => tuples,
            (Some(mut tuples), Some(_)) => {
                // Packets that did not come here were not wanted, unless they were lost.
                let kept_away = packets.packets - given;
                tuples.offered += kept_away;
                tuples.lost += lost;
                tuples.filtered += kept_away - lost;
                tuples
            }
            (None, _) => in_driver().unwrap_or_default(),
        };
        let shed = outbox.shed(query as usize);
        past.add(name, CapturedQuery { tuples, packets: packets.packets, shed });
    }
    past.packets += packets;
    past.bytes += bytes;
    past.blocked += blocked;
}
