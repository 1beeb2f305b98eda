//! Live capture by a program in the driver: the queries that have code run there, the packets that the others may want come through the ring, or, where
//! packets end in the driver, by AF_XDP sockets. What cannot have sockets has the ring.
//!
//! The program fills one half of each group table. Every [`TURN_EVERY`] the halves change places: a word of the control map says which one is filled,
//! a barrier waits until no program runs that began before, and the half that nobody fills any more is emptied without a race.
//!
//! **Time.** Stamps are those of the kernel's monotonic clock, moved to the epoch. A program that began before a change of halves has ended at the
//! next one; so when the halves change, everything stamped before the last change has been taken, and what the ring brought is given in the order of its
//! stamps, whichever CPU it came from. No packet is late for having been seen by another CPU.

mod error;
mod feed;
mod ordered;
mod program;
mod queues;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wt_catalog::Value;
use wt_engine::ledger::{Redirected, TupleCounters};
use wt_engine::live::{
    DriverCounters, Link, LiveDriver, LiveSource, Polled, SourceCounters, TakePackets,
};
use wt_engine::{EngineError, LftaBackend, LftaSetup, Message, PacketBatch};

pub use self::error::XdpError;
use self::feed::Feed;
use self::ordered::Ordered;
use self::program::{Made, Program};
pub use self::queues::{Looked, QueueCounters, QueueSource, QueuedPacket};
use crate::broker::Broker;
use crate::clock;
use crate::codegen::spec::{control_words, packet_counters};
use crate::codegen::{Disposition, HostQuery};
use crate::loader::{Attachment, BlockList, Loaded};
use crate::packet_socket::{interface_index, interface_link, promiscuous};
use crate::xdp_socket::{SocketError, Statistics};

/// How often the halves of the tables change places, and what has been seen is passed on.
pub const TURN_EVERY: Duration = Duration::from_millis(50);

/// Bytes of what waits for its turn beyond which the ring is left to fill, and what comes then to be lost and counted.
const ORDERED_BYTES_MAX: usize = 64 << 20;

/// Packets that are given at once, before the driver is looked after again.
const GIVEN_PACKETS: usize = 1024;

/// How long the ring is left alone when nothing came.
const NAP: Duration = Duration::from_millis(5);

/// The same while a program is loaded.
const LOADING_NAP: Duration = Duration::from_millis(1);

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
    /// Bytes of a packet that come to the host, also when queries look at fewer.
    pub keep_bytes: u32,
    /// Receive what is for other stations too.
    pub is_promiscuous: bool,
    /// Whose packets are dropped once they are counted.
    pub blocks: Option<Arc<BlockList>>,
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
    /// The sockets by which packets come, where they end in the driver.
    feed: Feed,
    /// What their kernel's end had counted when it was last asked.
    counted: Statistics,
    ordered: Ordered,
    /// Packets that the successor has sent by sockets.
    early: Ordered,
    /// What leaves next.
    ready: Vec<(u32, Message)>,
    /// When the halves last changed places: by the stamps' clock, and by ours.
    turned_ns: u64,
    turned: Instant,
    /// Everything stamped before has been given.
    reached_ns: u64,
    words: Vec<u64>,
    /// Packets that programs which are gone have seen, given to sockets, and what came of these.
    seen_before: u64,
    redirected_before: u64,
    received_before: u64,
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
        let mut feed = Feed::default();
        let made = Made::new(setup, options, (device, ifindex), &mut feed)?;
        let Some(made) = made else { return Ok(None) };
        let mut program = made.load(options)?;
        program.set(clock::offset_ns(), ifindex)?;
        feed.join(&program)?;
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
            feed,
            counted: Statistics::default(),
            ordered: Ordered::default(),
            early: Ordered::default(),
            ready: Vec::new(),
            turned_ns,
            turned: Instant::now(),
            reached_ns: 0,
            words: Vec::new(),
            seen_before: 0,
            redirected_before: 0,
            received_before: 0,
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

    /// Why packets for the host come through the ring, though they end in the driver and AF_XDP sockets were asked for.
    pub fn without_sockets(&self) -> Option<&SocketError> {
        self.feed.refused()
    }

    /// Takes what the ring and the sockets have; how many records and packets.
    fn drain(&mut self) -> usize {
        let Self { program, successor, feed, ordered, early, ready, words, .. } = self;
        let records = program.drain(ordered, ready, words);
        records
            + feed.drain(|number, packet| {
                if number == program.number {
                    program.received += 1;
                    ordered.packet(packet);
                } else if let Some(successor) = successor.as_mut().filter(|s| s.number == number) {
                    successor.received += 1;
                    early.packet(packet);
                }
            })
    }

    /// Takes what the ring and the sockets have, and then what was counted: a packet that is counted as lost has been counted as seen.
    fn drain_and_count(&mut self) {
        self.drain();
        self.counted = self.feed.statistics();
        self.program.dropped = self.counted.dropped();
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
        let frames = program.loaded.frames();
        let filled = program.turn()?;
        Loaded::quiesce().map_err(XdpError::System)?;
        self.drain_and_count();
        self.program.take_groups(filled, false, &mut self.ready)?;
        self.program.remember(&frames);
        self.reached_ns = self.turned_ns;
        self.turned_ns = now_ns;
        self.turned = Instant::now();
        Ok(())
    }

    /// Takes the last that there is, once the program sees no more packets.
    fn take_rest(&mut self) -> Result<(), XdpError> {
        Loaded::quiesce().map_err(XdpError::System)?;
        self.drain_and_count();
        self.program.take_groups(0, true, &mut self.ready)?;
        self.program.take_groups(1, true, &mut self.ready)?;
        self.program.settle();
        self.reached_ns = u64::MAX;
        Ok(())
    }

    /// Puts the program that was made ready in the place of the one that runs.
    fn take_place(&mut self) -> Result<(), XdpError> {
        let Some(mut next) = self.next.take() else { return Ok(()) };
        let now_ns = self.now_ns();
        next.set(self.program.control[control_words::CLOCK_OFFSET_NS as usize], self.ifindex)?;
        self.feed.join(&next)?;
        if self.is_attached {
            next.loaded.replace(&mut self.program.loaded)?;
        }
        self.successor = Some(next);
        self.take_rest()?;
        // The successor has begun after this time.
        (self.turned_ns, self.turned) = (now_ns, Instant::now());
        Ok(())
    }

    /// Gives the packets and tuples whose turn has come. What the driver sends meanwhile is taken as it comes.
    fn give(&mut self, take: &mut TakePackets<'_>) -> Result<(), EngineError> {
        let ready = &mut self.ready;
        let due = self.ordered.due(self.reached_ns, |query, tuple| {
            ready.push((query, Message::Tuple(tuple)));
        });
        for records in due.records.chunks(GIVEN_PACKETS) {
            self.program.given += records.len() as u64;
            take(&PacketBatch {
                data: &due.bytes,
                records,
                link_type: LINKTYPE_ETHERNET,
                interface: &self.name,
                ifindex: self.ifindex,
                meanwhile: None,
            })?;
            if !self.is_full() {
                self.drain();
            }
        }
        self.ordered.reuse(due);
        Ok(())
    }

    /// Whether more waits for its turn than should.
    fn is_full(&self) -> bool {
        self.ordered.bytes() + self.early.bytes() >= ORDERED_BYTES_MAX
    }

    /// Attaches to the interface of the same name, if it has come back.
    fn attach_again(&mut self) -> Link {
        let Some(ifindex) = interface_index(&self.device) else { return Link::Gone };
        // Sockets of the interface that is gone have what came before. The new ones have to be there before the program is.
        self.drain_and_count();
        let device = (self.device.as_str(), ifindex);
        let opened = self.feed.open_again(device, &self.options, &self.program);
        let joined = opened.is_ok() && self.feed.join(&self.program).is_ok();
        if !joined {
            return Link::Gone;
        }
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

    /// Loads a program. The kernel takes its time to verify it, and packets come meanwhile.
    fn load(&mut self, made: Made) -> Result<Program, XdpError> {
        let options = self.options.clone();
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| made.load(&options));
            while !loading.is_finished() {
                if self.is_full() || self.drain() == 0 {
                    std::thread::sleep(LOADING_NAP);
                }
            }
            loading.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
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
        let is_full = self.is_full();
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
        let redirected = Redirected {
            packets: self.redirected_before + self.program.redirected(),
            received: self.received_before + self.program.received,
            no_frame: self.counted.no_frame,
            ring_full: self.counted.ring_full,
        };
        SourceCounters { seen, redirected, ..SourceCounters::default() }
    }

    fn prepare(&mut self, setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        let no_code = || XdpError::NoCode { interface: setup.interface.to_owned() };
        let device = (self.device.as_str(), self.ifindex);
        let made = Made::new(setup, &self.options, device, &mut self.feed);
        let made = made.and_then(|made| made.ok_or_else(no_code)).map_err(|e| self.failed(e))?;
        self.next = Some(self.load(made).map_err(|e| self.failed(e))?);
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
        if let Some(mut successor) = self.successor.take() {
            self.seen_before += self.program.total(packet_counters::PACKETS);
            self.redirected_before += self.program.redirected();
            self.received_before += self.program.received;
            successor.dropped_before = self.program.dropped_before + self.program.lost_in_sockets();
            self.program = successor;
            std::mem::swap(&mut self.ordered, &mut self.early);
        }
    }

    fn counters(&self) -> DriverCounters {
        self.program.counters()
    }

    fn tuples(&self, query: u32) -> TupleCounters {
        self.program.tuples(query)
    }
}
