//! Live capture through packet sockets (AF_PACKET, TPACKET_V3): beside normal use of the interface, on any of them, and on `any` and `lo`.
//!
//! The kernel copies packets into a ring of blocks that it shares with us, and gives over a block when it is full or 10 ms old. Packets are
//! read where they lie. Every one that reached the socket is counted: it was read, or the ring was full and the kernel dropped it.

mod block;
mod error;
mod filter;
mod interfaces;
mod socket;
mod sys;

pub use error::OpenError;
pub use interfaces::names as interface_names;
pub(crate) use interfaces::{index as interface_index, link as interface_link};

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use wt_catalog::Value;
use wt_engine::live::{Link, LiveSource, Polled, SourceCounters, StampOrder, TakePackets};
use wt_engine::{EngineError, LftaSetup, PacketBatch};
use wt_plan::ir::{LftaProgram, Op};

use self::socket::{Noted, Socket};
use crate::broker::Broker;

/// The longest packet that is kept as a whole, bytes (libpcap's MAXIMUM_SNAPLEN).
const SNAP_BYTES_MAX: u32 = 262_144;

/// Size of a ring that nobody has chosen, bytes.
pub const RING_BYTES_DEFAULT: usize = 16 << 20;

/// How often an interface that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long packets that are under way when the source is stopped are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How to capture from an interface.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who opens sockets; this process when there is nobody.
    pub broker: Option<Broker>,
    /// Bytes kept of each packet.
    pub snap_bytes: u32,
    /// Size of the ring, bytes.
    pub ring_bytes: usize,
    /// Receive what is for other stations too.
    pub is_promiscuous: bool,
    /// The group of sockets that share the interface's packets, by flow; each packet reaches one of them.
    pub fanout: Option<u16>,
    /// A tcpdump expression: the kernel copies no packet that it does not match, and does not count them. One whose VLAN tag the kernel has taken
    /// out is copied in any case, as are packets without their link headers: the receiver judges again.
    pub filter: Option<String>,
    /// How far the stamps of neighbours may be out of order, ns.
    pub skew_ns: u64,
    /// Packets that are received carry the card's stamps, whose clock may be so far from this host's; else the kernel's.
    pub stamps_by_card: Option<Duration>,
}

/// A packet socket that no packet reaches yet, opened by this process.
pub(crate) fn raw(is_cooked: bool) -> io::Result<OwnedFd> {
    sys::socket(is_cooked)
}

/// A packet socket that no packet reaches yet.
fn open(is_cooked: bool, broker: Option<&Broker>) -> io::Result<OwnedFd> {
    broker.map_or_else(|| raw(is_cooked), |broker| broker.packet_socket(is_cooked))
}

/// A socket that receives nothing, and keeps an interface promiscuous as long as it is open.
pub(crate) fn promiscuous(ifindex: u32, broker: Option<&Broker>) -> io::Result<OwnedFd> {
    let fd = open(false, broker)?;
    sys::set_promiscuous(&fd, ifindex)?;
    Ok(fd)
}

/// Bytes of a packet that a program can look at.
pub fn snap_bytes(program: &LftaProgram) -> u32 {
    let asks_length = |op: &Op| matches!(op, Op::Meta(wt_catalog::protocol::Meta::CapLen));
    if program.exprs.nodes.iter().any(|node| asks_length(&node.op)) {
        return SNAP_BYTES_MAX;
    }
    let snaps = program.queries.iter().map(|query| query.snap_len_bytes);
    let most = snaps.reduce(|a, b| Some(a?.max(b?)));
    most.flatten().unwrap_or(SNAP_BYTES_MAX).clamp(1, SNAP_BYTES_MAX)
}

/// The capture owner of an interface, by a packet socket.
pub struct PacketSource {
    name: String,
    options: Options,
    /// None while the interface is away.
    socket: Option<Socket>,
    link_type: u16,
    stamps: StampOrder,
    /// By interface index: its name as a value.
    names: HashMap<u32, Value>,
    /// Of sockets that are closed.
    closed: SourceCounters,
    noted: Noted,
    link: Link,
    looked: Instant,
    stopped: Option<Instant>,
}

impl PacketSource {
    /// Opens an interface, or `any`.
    ///
    /// # Errors
    /// It is not there or down, this user may not, or there is no memory for the ring.
    pub fn open(name: &str, options: Options) -> Result<Self, OpenError> {
        let socket = Socket::open(name, &options)?;
        Ok(Self {
            name: name.to_owned(),
            stamps: StampOrder::new(options.skew_ns),
            options,
            link_type: socket.link_type,
            socket: Some(socket),
            names: HashMap::new(),
            closed: SourceCounters::default(),
            noted: Noted::default(),
            link: Link::Up,
            looked: Instant::now(),
            stopped: None,
        })
    }

    /// Reads one block, in runs of packets of one interface.
    fn read(&mut self, take: &mut TakePackets<'_>) -> Result<(), EngineError> {
        let Self { socket: Some(socket), noted, stamps, names, link_type, .. } = self else {
            return Ok(());
        };
        socket.block(noted, stamps, |data, noted| {
            let mut from = 0;
            for run in noted.ifindexes.chunk_by(|a, b| a == b) {
                let ifindex = run[0];
                let records = &noted.records[from..from + run.len()];
                from += run.len();
                let interface = names
                    .entry(ifindex)
                    .or_insert_with(|| Value::bytes(sys::name_of(ifindex).unwrap_or_default()));
                let link_type = *link_type;
                let meanwhile = None;
                take(&PacketBatch { data, records, link_type, interface, ifindex, meanwhile })?;
            }
            Ok(())
        })
    }

    /// Opens the interface anew, if it has come back.
    fn open_again(&mut self) -> Link {
        match Socket::open(&self.name, &self.options) {
            Ok(socket) => {
                self.link_type = socket.link_type;
                self.names.remove(&socket.ifindex);
                self.socket = Some(socket);
                Link::Up
            }
            // It is there before it is up; whatever else stands in the way may pass too.
            Err(OpenError::Down { .. }) => Link::Down,
            Err(_) => Link::Gone,
        }
    }

    /// Closes the socket, which has nothing left to read.
    fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.count();
            self.closed.seen += socket.seen;
            self.closed.dropped += socket.dropped;
        }
    }

    fn error(&self, source: io::Error) -> EngineError {
        EngineError::Capture { interface: self.name.clone(), source }
    }
}

/// The kernel's clock, ns since the epoch.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl LiveSource for PacketSource {
    fn link_type(&self) -> u16 {
        self.link_type
    }

    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError> {
        let as_of_ns = now_ns();
        let Some(socket) = &mut self.socket else {
            if self.stopped.is_some() {
                return Ok(Polled::Ended);
            }
            std::thread::sleep(timeout);
            return Ok(Polled::Idle { as_of_ns });
        };
        match socket.wait(timeout) {
            Ok(true) => {
                self.read(take)?;
                return Ok(Polled::Packets);
            }
            Ok(false) => {}
            Err(source) => return Err(self.error(source)),
        }
        if let Some(stopped) = self.stopped {
            // What was on its way when the filter was shut may still come for a moment.
            if socket.is_drained() || stopped.elapsed() >= DRAIN_MAX {
                return Ok(Polled::Ended);
            }
        }
        if socket.is_filling() {
            // Packets wait in a block that the kernel gives over soon: nothing is known of the time.
            return Ok(Polled::Packets);
        }
        Ok(Polled::Idle { as_of_ns })
    }

    fn link(&mut self) -> Link {
        if self.stopped.is_some() || self.looked.elapsed() < LOOK_EVERY {
            return self.link;
        }
        self.looked = Instant::now();
        self.link = match &mut self.socket {
            None => self.open_again(),
            Some(socket) => match socket.link(&self.name) {
                // What came before is read first.
                Link::Gone if !socket.is_empty() => self.link,
                Link::Gone => {
                    self.close();
                    self.open_again()
                }
                link => link,
            },
        };
        self.link
    }

    fn prepare(&mut self, setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        // Packets that are in the ring by now are as long as they were needed before.
        self.options.snap_bytes = self.options.snap_bytes.max(snap_bytes(setup.program));
        let widened = self.socket.as_mut().map(|socket| socket.keep(self.options.snap_bytes));
        widened.unwrap_or(Ok(())).map_err(|source| self.error(source))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stopped = Some(Instant::now());
        self.socket.as_mut().map_or(Ok(()), Socket::shut)
    }

    fn counters(&mut self) -> SourceCounters {
        let mut counters = SourceCounters { restamped: self.stamps.moved(), ..self.closed };
        if let Some(socket) = &mut self.socket {
            socket.count();
            counters.seen += socket.seen;
            counters.dropped += socket.dropped;
        }
        counters
    }
}
