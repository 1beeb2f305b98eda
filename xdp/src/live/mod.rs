//! Live capture by a program in the driver: the queries that have code run there, the packets that the others may want come through the ring.
//!
//! The program fills one half of each group table. Every [`TURN_EVERY`] the halves change places: a word of the control map says which one is filled,
//! a barrier waits until no program runs that began before, and the half that nobody fills any more is emptied without a race.
//!
//! **Time.** Stamps are those of the kernel's monotonic clock, moved to the epoch. A program that began before a change of halves has ended at the
//! next one; so when the halves change, everything stamped before the last change has been taken, and what the ring brought is given in the order of its
//! stamps, whichever CPU it came from. No packet is late for having been seen by another CPU.

mod error;
mod ordered;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wt_catalog::Value;
use wt_engine::ledger::{PacketCounters, TupleCounters};
use wt_engine::live::{
    DriverCounters, Link, LiveDriver, LiveSource, Polled, SourceCounters, TakePackets,
};
use wt_engine::{EngineError, LftaBackend, LftaSetup, Memory, Message, PacketBatch, ReferenceLfta};

pub use self::error::XdpError;
use self::ordered::Ordered;
use crate::broker::Broker;
use crate::clock;
use crate::codegen::spec::{
    ActionLayout, QueryLayout, control_words, packet_counters, query_counters,
};
use crate::codegen::{self, Disposition, HostQuery, Options, value_words};
use crate::decode::{self, Record, total};
use crate::loader::{Attachment, BlockList, Entry, Loaded, MapAccess};
use crate::packet_socket::{interface_index, interface_link, promiscuous, snap_bytes};

/// How often the halves of the tables change places, and what has been seen is passed on.
pub const TURN_EVERY: Duration = Duration::from_millis(50);

/// Bytes of what waits for its turn beyond which the ring is left to fill, and what comes then to be lost and counted.
const ORDERED_BYTES_MAX: usize = 64 << 20;

/// How long the ring is left alone when nothing came.
const NAP: Duration = Duration::from_millis(5);

/// How often an interface that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Steps of the clock that stamps do not follow, ns.
const CLOCK_STEP_NS: u64 = 1_000_000;

const LINKTYPE_ETHERNET: u16 = 1;
const INBOUND: u64 = 1;

/// How to capture.
#[derive(Clone, Debug)]
pub struct XdpOptions {
    /// Who loads and attaches programs; this process when there is nobody.
    pub broker: Option<Broker>,
    /// What becomes of packets.
    pub disposition: Disposition,
    /// Size of the ring, bytes: the next power of two.
    pub ring_bytes: u32,
    /// Receive what is for other stations too.
    pub is_promiscuous: bool,
    /// Whose packets are dropped once they are counted.
    pub blocks: Option<Arc<BlockList>>,
}

/// What group keys are hashed with, which senders of packets must not guess: the standard library seeds its hashers from the kernel's generator.
fn secret() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A query in the driver.
struct Query {
    layout: QueryLayout,
    /// Tuples or partial groups sent on.
    output: u64,
    /// Partial groups that had to leave for another one.
    ejected: u64,
    /// Tuples that its table had taken before the half at hand was filled.
    taken_before: u64,
}

impl Query {
    /// Tuples that its table has taken: the number never falls.
    fn taken(&self, frames: &[Vec<u64>]) -> u64 {
        let counter = |counter: u32| total(frames, self.layout.counters + counter);
        counter(query_counters::MATCHED) + counter(query_counters::LOST)
    }
}

/// A program in the kernel, and what has come of it.
struct Program {
    loaded: Loaded,
    control: Vec<u64>,
    queries: Vec<Query>,
    numbers: Vec<u32>,
    on_host: Vec<HostQuery>,
    /// Sees no packets: says what follows from bounds of times.
    bounds: ReferenceLfta,
    /// As they were read last.
    frames: Vec<Vec<u64>>,
    /// Packets given to the host.
    given: u64,
}

impl Program {
    /// Makes and loads the program of an interface's queries. Nothing when none of them has code.
    fn load(setup: &LftaSetup<'_>, options: &XdpOptions) -> Result<Option<Self>, XdpError> {
        let LftaSetup { program, params, fixed_hash, .. } = *setup;
        // Partial groups that are seen depend on which slots they have.
        let all = program.queries.len() as u32;
        let is_fixed = |query: &u32| fixed_hash.get(*query as usize).copied().unwrap_or(false);
        let kept: Vec<u32> = (0..all).filter(is_fixed).collect();
        let code = Options {
            disposition: options.disposition,
            ring_bytes: options.ring_bytes.next_power_of_two(),
            feed_bytes: Some(snap_bytes(program)),
            has_block_list: options.blocks.is_some(),
            ..Options::default()
        };
        let made = codegen::compile_except(program, &kept, params, &code)?;
        let Some(spec) = made.spec else { return Ok(None) };
        let blocks = options.blocks.as_deref();
        let loaded = match &options.broker {
            Some(broker) => Loaded::load_by(broker, &spec)?,
            None => Loaded::load_blocking(&spec, blocks)?,
        };
        let mut control = vec![0; spec.layout.control_words as usize];
        for (value, at) in params.iter().zip(&spec.layout.params) {
            for (i, word) in value_words(value).into_iter().enumerate() {
                control[*at as usize + i] = word;
            }
        }
        control[control_words::SEED as usize] = secret();
        control[control_words::DIRECTION as usize] = INBOUND;
        let query = |layout| Query { layout, output: 0, ejected: 0, taken_before: 0 };
        let queries: Vec<Query> = spec.layout.queries.into_iter().map(query).collect();
        let frames = loaded.frames()?;
        Ok(Some(Self {
            loaded,
            control,
            numbers: queries.iter().map(|query| query.layout.query).collect(),
            queries,
            on_host: made.host,
            bounds: ReferenceLfta::new(program, params, fixed_hash, &mut Memory::new(None))?,
            frames,
            given: 0,
        }))
    }

    /// Tells the program what it cannot know.
    fn set(&mut self, offset_ns: u64, ifindex: u32) -> Result<(), MapAccess> {
        self.control[control_words::CLOCK_OFFSET_NS as usize] = offset_ns;
        self.control[control_words::IFINDEX as usize] = u64::from(ifindex);
        self.loaded.set_control(&self.control)
    }

    /// Takes what the ring has; how many records.
    fn drain(
        &mut self,
        ordered: &mut Ordered,
        ready: &mut Vec<(u32, Message)>,
        words: &mut Vec<u64>,
    ) -> usize {
        let Self { loaded, queries, .. } = self;
        let mut records = 0;
        loaded.drain_ring(|bytes| {
            records += 1;
            let record = decode::read(bytes, words);
            let number = match record {
                Some(Record::Packet(packet)) => return ordered.packet(&packet),
                Some(Record::Tuple { query, .. } | Record::Group { query, .. }) => query,
                None => return,
            };
            let index = queries.iter().position(|q| q.layout.query == number);
            let Some(query) = index.map(|index| &mut queries[index]) else { return };
            query.output += 1;
            match (record, &query.layout.action) {
                (Some(Record::Group { words, .. }), ActionLayout::Groups(groups)) => {
                    query.ejected += 1;
                    let tuple = decode::group(&query.layout, groups, words);
                    ready.push((number, Message::Tuple(tuple)));
                }
                (Some(Record::Tuple { words, .. }), _) => {
                    ordered.tuple(number, decode::tuple(&query.layout, words));
                }
                _ => {}
            }
        });
        records
    }

    /// Empties a half of the tables, which no program fills; of those that have taken tuples, by the frames as they are now.
    fn take_groups(&mut self, half: u32, ready: &mut Vec<(u32, Message)>) -> Result<(), MapAccess> {
        self.frames = self.loaded.frames()?;
        for (index, query) in self.queries.iter_mut().enumerate() {
            let ActionLayout::Groups(groups) = &query.layout.action else { continue };
            if query.taken(&self.frames) == query.taken_before {
                continue;
            }
            let entries = self.loaded.take_groups(index, half, |_| true)?;
            query.output += entries.len() as u64;
            let tuple = |Entry { words }: &Entry| decode::group(&query.layout, groups, words);
            let mut tuples: Vec<_> = entries.iter().map(tuple).collect();
            tuples.sort_by_key(|tuple| tuple.ordinal);
            let number = query.layout.query;
            ready.extend(tuples.into_iter().map(|tuple| (number, Message::Tuple(tuple))));
        }
        Ok(())
    }

    fn total(&self, word: u32) -> u64 {
        total(&self.frames, word)
    }
}

/// The capture owner of an interface, by a program in its driver.
pub struct XdpSource {
    device: String,
    ifindex: u32,
    name: Value,
    options: XdpOptions,
    /// For questions about interfaces.
    asking: OwnedFd,
    attachment: Attachment,
    is_attached: bool,
    /// Keeps the interface promiscuous while it is open.
    promiscuous: Option<OwnedFd>,
    program: Program,
    /// Made ready.
    next: Option<Program>,
    /// In the place of `program`, whose books are still asked for.
    successor: Option<Program>,
    ordered: Ordered,
    /// What leaves next.
    ready: Vec<(u32, Message)>,
    /// When the halves last changed places: by the stamps' clock, and by ours.
    turned_ns: u64,
    turned: Instant,
    /// Everything stamped before has been given.
    reached_ns: u64,
    words: Vec<u64>,
    /// Packets that programs which are gone have seen.
    seen_before: u64,
    link: Link,
    looked: Instant,
    is_stopped: bool,
}

impl XdpSource {
    /// Makes the program of an interface's queries, loads and attaches it. Nothing when none of the queries has code. `setup.interface` is the
    /// name of the interface in queries, `device` that of this host.
    ///
    /// # Errors
    /// There is no such interface, another program is attached, this user may not, the verifier refuses the program.
    pub fn open(
        device: &str,
        setup: &LftaSetup<'_>,
        options: &XdpOptions,
    ) -> Result<Option<Self>, XdpError> {
        let no_interface = || XdpError::NoInterface { device: device.to_owned() };
        let ifindex = interface_index(device).ok_or_else(no_interface)?;
        let Some(mut program) = Program::load(setup, options)? else { return Ok(None) };
        program.set(clock::offset_ns(), ifindex)?;
        let attachment = program.loaded.attach(device)?;
        let broker = options.broker.as_ref();
        let promiscuous = options.is_promiscuous.then(|| promiscuous(ifindex, broker)).transpose();
        let asking = UnixDatagram::unbound().map_err(XdpError::System)?;
        let turned_ns = clock::monotonic_ns().wrapping_add(clock::offset_ns());
        Ok(Some(Self {
            device: device.to_owned(),
            ifindex,
            name: Value::bytes(setup.interface),
            options: options.clone(),
            asking: asking.into(),
            attachment,
            is_attached: true,
            promiscuous: promiscuous.map_err(XdpError::System)?,
            program,
            next: None,
            successor: None,
            ordered: Ordered::default(),
            ready: Vec::new(),
            turned_ns,
            turned: Instant::now(),
            reached_ns: 0,
            words: Vec::new(),
            seen_before: 0,
            link: Link::Up,
            looked: Instant::now(),
            is_stopped: false,
        }))
    }

    /// How the program is attached.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The queries that run on the host, and why.
    pub fn on_host(&self) -> &[HostQuery] {
        &self.program.on_host
    }

    /// Takes what the ring has; how many records.
    fn drain(&mut self) -> usize {
        self.program.drain(&mut self.ordered, &mut self.ready, &mut self.words)
    }

    /// The stamps' clock, which follows steps of the kernel's.
    fn now_ns(&mut self) -> u64 {
        let known_ns = &mut self.program.control[control_words::CLOCK_OFFSET_NS as usize];
        let offset_ns = clock::offset_ns();
        if known_ns.abs_diff(offset_ns) > CLOCK_STEP_NS {
            *known_ns = offset_ns;
        }
        clock::monotonic_ns().wrapping_add(*known_ns)
    }

    /// Lets the halves change places, and takes what is in the one that was filled.
    fn turn(&mut self) -> Result<(), XdpError> {
        self.options.broker.as_ref().map_or(Ok(()), Broker::check).map_err(XdpError::System)?;
        if let Some(blocks) = &self.options.blocks {
            blocks.sweep()?;
        }
        let now_ns = self.now_ns();
        let program = &mut self.program;
        let frames = program.loaded.frames()?;
        let filled = program.control[control_words::GENERATION as usize];
        program.control[control_words::GENERATION as usize] = 1 - filled;
        program.loaded.set_control(&program.control)?;
        Loaded::quiesce().map_err(XdpError::System)?;
        self.drain();
        self.program.take_groups(filled as u32, &mut self.ready)?;
        for query in &mut self.program.queries {
            query.taken_before = query.taken(&frames);
        }
        self.reached_ns = self.turned_ns;
        self.turned_ns = now_ns;
        self.turned = Instant::now();
        Ok(())
    }

    /// Takes the last that there is, once the program sees no more packets.
    fn take_rest(&mut self) -> Result<(), XdpError> {
        Loaded::quiesce().map_err(XdpError::System)?;
        self.drain();
        self.program.take_groups(0, &mut self.ready)?;
        self.program.take_groups(1, &mut self.ready)?;
        self.reached_ns = u64::MAX;
        Ok(())
    }

    /// Puts the program that was made ready in the place of the one that runs.
    fn take_place(&mut self) -> Result<(), XdpError> {
        let Some(mut next) = self.next.take() else { return Ok(()) };
        let now_ns = self.now_ns();
        next.set(self.program.control[control_words::CLOCK_OFFSET_NS as usize], self.ifindex)?;
        if self.is_attached {
            next.loaded.replace(&mut self.program.loaded)?;
        }
        self.successor = Some(next);
        self.take_rest()?;
        // The successor has begun after this time.
        (self.turned_ns, self.turned) = (now_ns, Instant::now());
        Ok(())
    }

    /// Gives the packets and tuples whose turn has come.
    fn give(&mut self, take: &mut TakePackets<'_>) -> Result<(), EngineError> {
        let (ready, given) = (&mut self.ready, &mut self.program.given);
        self.ordered.give(
            self.reached_ns,
            |query, tuple| ready.push((query, Message::Tuple(tuple))),
            |data, records| {
                *given += records.len() as u64;
                take(&PacketBatch {
                    data,
                    records,
                    link_type: LINKTYPE_ETHERNET,
                    interface: &self.name,
                    ifindex: self.ifindex,
                    meanwhile: None,
                })
            },
        )
    }

    /// Attaches to the interface of the same name, if it has come back.
    fn attach_again(&mut self) -> Link {
        let Some(ifindex) = interface_index(&self.device) else { return Link::Gone };
        match self.program.loaded.attach(&self.device) {
            Ok(attachment) => {
                self.attachment = attachment;
                self.is_attached = true;
                self.ifindex = ifindex;
                // Without it there are fewer packets, which is better than none.
                let XdpOptions { is_promiscuous, ref broker, .. } = self.options;
                let open = || promiscuous(ifindex, broker.as_ref()).ok();
                self.promiscuous = is_promiscuous.then(open).flatten();
                let offset_ns = self.program.control[control_words::CLOCK_OFFSET_NS as usize];
                // The next turn writes it too, should this fail.
                let _ = self.program.set(offset_ns, ifindex);
                interface_link(&self.asking, &self.device, ifindex)
            }
            Err(_) => Link::Gone,
        }
    }

    fn failed(&self, error: XdpError) -> EngineError {
        EngineError::Backend { interface: self.device.clone(), source: Box::new(error) }
    }
}

impl LiveSource for XdpSource {
    fn link_type(&self) -> u16 {
        LINKTYPE_ETHERNET
    }

    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError> {
        if self.is_stopped {
            self.take_rest().map_err(|e| self.failed(e))?;
            self.give(take)?;
            return Ok(Polled::Ended);
        }
        let is_full = self.ordered.bytes() >= ORDERED_BYTES_MAX;
        if !is_full && self.drain() == 0 {
            std::thread::sleep(timeout.min(NAP));
        }
        if is_full || self.turned.elapsed() >= TURN_EVERY {
            self.turn().map_err(|e| self.failed(e))?;
            self.give(take)?;
        }
        Ok(Polled::Idle { as_of_ns: self.reached_ns })
    }

    fn link(&mut self) -> Link {
        if self.is_stopped || self.looked.elapsed() < LOOK_EVERY {
            return self.link;
        }
        self.looked = Instant::now();
        if self.is_attached {
            self.link = interface_link(&self.asking, &self.device, self.ifindex);
            if self.link == Link::Gone {
                self.is_attached = false;
                // The interface took the program with it.
                let _ = self.program.loaded.detach();
            }
        }
        if !self.is_attached {
            self.link = self.attach_again();
        }
        self.link
    }

    fn stop(&mut self) -> io::Result<()> {
        self.is_stopped = true;
        if self.is_attached {
            self.program.loaded.detach().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn counters(&mut self) -> SourceCounters {
        let seen = self.seen_before + self.program.total(packet_counters::PACKETS);
        SourceCounters { seen, ..SourceCounters::default() }
    }

    fn prepare(&mut self, setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        let no_code = || XdpError::NoCode { interface: setup.interface.to_owned() };
        let loaded = Program::load(setup, &self.options);
        let loaded = loaded.and_then(|loaded| loaded.ok_or_else(no_code));
        self.next = Some(loaded.map_err(|e| self.failed(e))?);
        Ok(())
    }

    fn driver(&mut self) -> Option<&mut dyn LiveDriver> {
        Some(self)
    }
}

impl LiveDriver for XdpSource {
    fn queries(&self) -> &[u32] {
        &self.program.numbers
    }

    fn take(&mut self, out: &mut dyn FnMut(u32, Message)) {
        self.ready.drain(..).for_each(|(query, message)| out(query, message));
    }

    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message)) {
        self.program.bounds.bound(query, time_ns, out);
    }

    fn queries_ready(&self) -> &[u32] {
        self.next.as_ref().map_or(&[], |next| &next.numbers)
    }

    fn replace(&mut self, packets: &mut TakePackets<'_>) -> Result<(), EngineError> {
        self.take_place().map_err(|e| self.failed(e))?;
        self.give(packets)?;
        self.reached_ns = self.turned_ns;
        Ok(())
    }

    fn begin(&mut self) {
        if let Some(successor) = self.successor.take() {
            self.seen_before += self.program.total(packet_counters::PACKETS);
            self.program = successor;
        }
    }

    fn counters(&self) -> DriverCounters {
        let total = |word| self.program.total(word);
        DriverCounters {
            packets: PacketCounters {
                packets: total(packet_counters::PACKETS),
                malformed: total(packet_counters::MALFORMED),
                too_deep: total(packet_counters::TOO_DEEP),
                unknown_link_type: 0,
            },
            bytes: total(packet_counters::BYTES),
            given: self.program.given,
            lost: total(packet_counters::UNSENT) + total(packet_counters::OVERSIZE),
            blocked: self.program.loaded.spec().layout.blocks.map_or(0, |b| total(b.counter)),
        }
    }

    fn tuples(&self, query: u32) -> TupleCounters {
        let program = &self.program;
        let Some(query) = program.queries.iter().find(|q| q.layout.query == query) else {
            return TupleCounters::default();
        };
        let Query { layout, output, ejected, .. } = query;
        let count = |counter: u32| program.total(layout.counters + counter);
        let offered = program.total(packet_counters::PACKETS);
        let (matched, late) = (count(query_counters::MATCHED), count(query_counters::LATE));
        let (absent, failed) = (count(query_counters::ABSENT), count(query_counters::FAILED));
        let lost = count(query_counters::LOST) + program.total(packet_counters::OVERSIZE);
        TupleCounters {
            offered,
            matched,
            filtered: offered.saturating_sub(matched + absent + failed + late + lost),
            absent,
            failed,
            late,
            lost,
            merged: matched.saturating_sub(*output),
            ejected: *ejected,
            output: *output,
            held: 0,
        }
    }
}
