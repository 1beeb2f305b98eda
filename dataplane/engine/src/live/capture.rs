//! One capture thread: packets of an interface through the LFTA program, tuples and bounds into the ring.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wt_ring::{Entry, Receiver};

use super::outbox::Outbox;
use super::source::{DriverCounters, Link, LiveSource, Polled};
use super::stop::Stop;
use super::{Notice, Token};
use crate::error::EngineError;
use crate::ledger::{Gap, InterfaceLedger, LiveLedger, TupleCounters};
use crate::lfta::{AheadCounters, LftaBackend};
use crate::memory::Memory;
use crate::packet::PacketBatch;
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
    /// Runs the queries that do not run in the driver.
    pub(super) backend: Box<dyn LftaBackend>,
    /// By query of the backend: its number in the interface's program.
    pub(super) on_host: Vec<u32>,
    pub(super) memory: Memory,
    pub(super) outbox: Outbox,
    /// Numbers of the bounds that operators ask for.
    pub(super) asks: Receiver<u64, ()>,
    pub(super) stop: &'a Stop<'a>,
    /// Ordinals of all interfaces.
    pub(super) ordinals: &'a AtomicU64,
    pub(super) skew_ns: u64,
    pub(super) notice: &'a (dyn Fn(Notice) + Sync),
    pub(super) ledger: InterfaceLedger,
    pub(super) live: LiveLedger,
}

/// What a capture thread leaves.
pub(super) struct Captured {
    pub(super) ledger: InterfaceLedger,
    /// By query.
    pub(super) queries: Vec<CapturedQuery>,
}

pub(super) struct CapturedQuery {
    pub(super) tuples: TupleCounters,
    pub(super) ahead: AheadCounters,
    pub(super) shed: u64,
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
        let Self { source, backend, on_host, outbox, .. } = &mut self;
        backend.finish(&mut |query, message| outbox.send(on_host[query as usize], message));
        if let Some(driver) = source.driver() {
            driver.take(&mut |query, message| outbox.send(query, message));
            driver.queries().iter().for_each(|query| outbox.send(*query, Message::End));
        }
        while !outbox.flush() || outbox.token(Token::Ended).is_err() {
            if outbox.is_abandoned() {
                break;
            }
            std::thread::sleep(DRAIN_WAIT);
        }
        Ok(self.close())
    }

    fn packets(&mut self) -> Result<(), EngineError> {
        let mut clock =
            Clock { reached_ns: 0, told: Instant::now(), link: Link::Up, gap_from_ns: None };
        let mut stopping = false;
        let mut claimed = 0;
        loop {
            if !stopping && self.stop.is_due() {
                stopping = true;
                let stopped = self.source.stop();
                stopped.map_err(|source| self.error(source))?;
            }
            match self.poll(&mut clock)? {
                Polled::Packets => {}
                Polled::Idle { as_of_ns } => clock.reached_ns = clock.reached_ns.max(as_of_ns),
                Polled::Ended => {
                    self.link(&mut clock, Link::Up);
                    self.take_driver(&mut claimed);
                    return Ok(());
                }
            }
            let link = self.source.link();
            self.link(&mut clock, link);
            self.take_driver(&mut claimed);
            if self.outbox.is_abandoned() {
                return Ok(());
            }
            if clock.told.elapsed() >= BOUND_EVERY {
                self.tell(&mut clock);
            }
            self.answer(&mut clock);
            self.outbox.flush();
        }
    }

    /// Takes the packets that have come.
    fn poll(&mut self, clock: &mut Clock) -> Result<Polled, EngineError> {
        let timeout = self.stop.within(TICK);
        let Self { source, backend, on_host, memory, outbox, .. } = self;
        let Self { stop, ordinals, ledger, live, .. } = self;
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
            backend.batch(&batch, ordinal, memory, &mut |query, message| {
                outbox.send(on_host[query as usize], message);
            })
        })
    }

    /// Sends on what the driver's queries have sent. `claimed`: packets that count as taken already.
    fn take_driver(&mut self, claimed: &mut u64) {
        let Self { source, outbox, stop, .. } = self;
        let Some(driver) = source.driver() else { return };
        driver.take(&mut |query, message| outbox.send(query, message));
        let seen = driver.counters().packets.packets;
        stop.claim(seen - *claimed);
        *claimed = seen;
    }

    /// Tells the streams how far time has come.
    fn tell(&mut self, clock: &mut Clock) {
        clock.told = Instant::now();
        let bound_ns = clock.reached_ns.saturating_sub(self.skew_ns);
        if bound_ns == 0 {
            return;
        }
        let Self { source, backend, on_host, outbox, .. } = self;
        for query in 0..on_host.len() as u32 {
            backend.bound(query, bound_ns, &mut |query, message| {
                outbox.send(on_host[query as usize], message);
            });
        }
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

    /// The books.
    fn close(mut self) -> Captured {
        let counted = self.source.counters();
        let mut ledger = self.ledger;
        ledger.packets = self.backend.packets();
        let host = self.on_host.iter().zip(0..);
        let mut queries: Vec<(u32, CapturedQuery)> = host
            .map(|(query, number)| {
                let counted = CapturedQuery {
                    tuples: self.backend.tuples(number),
                    ahead: self.backend.ahead(number),
                    shed: 0,
                };
                (*query, counted)
            })
            .collect();
        if let Some(driver) = self.source.driver() {
            let DriverCounters { packets, bytes, given, lost } = driver.counters();
            // Packets that did not come here were not wanted, unless they were lost.
            let kept_away = packets.packets - given;
            for (_, CapturedQuery { tuples, .. }) in &mut queries {
                tuples.offered += kept_away;
                tuples.lost += lost;
                tuples.filtered += kept_away - lost;
            }
            let in_driver = driver.queries().iter().map(|query| {
                let (tuples, ahead) = (driver.tuples(*query), AheadCounters::default());
                (*query, CapturedQuery { tuples, ahead, shed: 0 })
            });
            queries.extend(in_driver);
            queries.sort_by_key(|(query, _)| *query);
            ledger.packets = packets;
            (ledger.records, ledger.processed) = (packets.packets, packets.packets);
            (ledger.wire_bytes, ledger.captured_bytes) = (bytes, bytes);
            ledger.truncated = 0;
        }
        ledger.live = Some(LiveLedger {
            seen: counted.seen,
            kernel_dropped: counted.dropped,
            restamped: counted.restamped,
            ring_full: self.outbox.ring_full(),
            ..self.live
        });
        for (query, counted) in &mut queries {
            counted.shed = self.outbox.shed(*query as usize);
        }
        Captured { queries: queries.into_iter().map(|(_, counted)| counted).collect(), ledger }
    }
}
