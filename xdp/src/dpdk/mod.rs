//! Live capture by DPDK: its drivers poll a card, or stand before a capture or an interface of the kernel, in this process.
//!
//! A few functions of C stand between ([`sys`]). Packets are copied out of DPDK's buffers, as much of each as a program can look at, since
//! that is less work than to carry buffers about, and nothing of ours points into memory that a card writes to. One thread receives from all queues of a
//! port, without privileges; another one opens and closes ports ([`Eal`]).

mod device;
mod eal;
mod error;
mod sys;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wt_catalog::Value;
use wt_engine::live::{
    Link, LiveSource, Polled, PortCounters, SourceCounters, StampOrder, TakePackets,
};
use wt_engine::{EngineError, LftaSetup, PacketBatch};
use wt_wire::{CaptureReader, RecordRef};

pub use self::device::Device;
pub use self::eal::Eal;
use self::eal::{Port, Shape};
pub use self::error::DpdkError;
use self::sys::{Received, Stats};
use crate::packet_socket::{interface_index, interface_link, snap_bytes};

const LINKTYPE_ETHERNET: u16 = 1;

/// Packets that are received at once, at most.
const PACKETS_MAX: usize = 256;
/// The longest packet, bytes: drivers count in 16 bits.
const PACKET_BYTES_MAX: u32 = 65_535;

/// How long a queue that is empty is looked at without a pause, and how long the pauses are then: a card's queue of 4,096 lasts 275 µs at 14.88 Mpps.
const SPIN: Duration = Duration::from_micros(50);
const PAUSE: Duration = Duration::from_micros(20);

/// How often the link is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long packets that come while the source is being stopped are taken.
const DRAIN_MAX: Duration = Duration::from_millis(100);

/// DPDK's version: `DPDK 22.11.11`.
pub fn version() -> String {
    sys::version()
}

/// How to capture from a device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes kept of each packet.
    pub snap_bytes: u32,
    /// Memory for packets that have not been read, bytes.
    pub ring_bytes: u64,
    /// Receive what is for other stations too.
    pub is_promiscuous: bool,
    /// How far the stamps of neighbours may be out of order, ns.
    pub skew_ns: u64,
}

/// The capture owner of a port of DPDK.
pub struct DpdkSource {
    eal: Arc<Eal>,
    device: Device,
    /// Its name, as a value.
    name: Value,
    shape: Shape,
    /// None while the interface behind it is away, and at the end.
    port: Option<Port>,
    /// The kernel's interface behind it.
    interface: Option<Interface>,
    snap_bytes: u32,
    stamps: StampOrder,
    bytes: Vec<u8>,
    received: Vec<Received>,
    records: Vec<RecordRef>,
    /// Packets of this port that were given.
    given: u64,
    /// Whether nothing had come when it was last looked at.
    is_empty: bool,
    /// What the driver had counted of this port when it was last asked, and of those that are closed.
    counted: PortCounters,
    closed: PortCounters,
    link: Link,
    looked: Instant,
    stopped: Option<Instant>,
}

/// An interface of the kernel.
struct Interface {
    name: String,
    index: u32,
    /// By which the kernel is asked.
    asking: OwnedFd,
}

impl DpdkSource {
    /// Opens the port of a device.
    ///
    /// # Errors
    /// DPDK has no such device, or its driver refuses.
    pub fn open(eal: &Arc<Eal>, device: Device, options: &Options) -> Result<Self, DpdkError> {
        refuse_other_links(&device)?;
        let queues = device.queues();
        let shape = Shape {
            queues,
            buffers: eal::buffers(options.ring_bytes, queues),
            is_promiscuous: options.is_promiscuous,
        };
        let port = eal.open(&device, shape)?;
        let interface = device.interface().and_then(|name| {
            let asking = UnixDatagram::unbound().ok()?.into();
            Some(Interface { name: name.to_owned(), index: interface_index(name)?, asking })
        });
        let mut source = Self {
            eal: Arc::clone(eal),
            name: Value::bytes(device.name()),
            device,
            shape,
            port: Some(port),
            interface,
            snap_bytes: 0,
            stamps: StampOrder::new(options.skew_ns),
            bytes: Vec::new(),
            received: vec![Received::default(); PACKETS_MAX],
            records: Vec::with_capacity(PACKETS_MAX),
            given: 0,
            is_empty: true,
            counted: PortCounters::default(),
            closed: PortCounters::default(),
            link: Link::Up,
            looked: Instant::now(),
            stopped: None,
        };
        source.keep(options.snap_bytes);
        Ok(source)
    }

    /// Keeps so many bytes of packets from now on.
    fn keep(&mut self, snap_bytes: u32) {
        self.snap_bytes = self.snap_bytes.max(snap_bytes).clamp(1, PACKET_BYTES_MAX);
        self.bytes.resize(self.snap_bytes as usize * PACKETS_MAX, 0);
    }

    /// Receives from a queue, and gives what came; how many packets.
    fn receive(
        &mut self,
        port: Port,
        queue: u16,
        now_ns: u64,
        take: &mut TakePackets<'_>,
    ) -> Result<usize, EngineError> {
        let Self { snap_bytes, bytes, received, records, stamps, .. } = self;
        let count = sys::receive(port.number, queue, *snap_bytes, port.stamps, bytes, received);
        if count == 0 {
            return Ok(0);
        }
        let has_stamps = self.device.driver() == Some(PCAP);
        records.clear();
        for packet in &received[..count] {
            let mut record = RecordRef {
                timestamp_ns: match packet.stamp {
                    us @ 1.. if has_stamps => us.saturating_mul(1000),
                    _ => now_ns,
                },
                at: packet.at,
                caplen: packet.captured,
                len: packet.len,
                ..RecordRef::EMPTY
            };
            stamps.apply(&mut record);
            records.push(record);
        }
        self.given += count as u64;
        take(&PacketBatch {
            data: bytes,
            records,
            link_type: LINKTYPE_ETHERNET,
            interface: &self.name,
            ifindex: self.interface.as_ref().map_or(0, |interface| interface.index),
            meanwhile: None,
        })?;
        Ok(count)
    }

    /// What the driver has counted.
    fn count(&self, port: Port) -> io::Result<(Stats, PortCounters)> {
        let (stats, before) = (sys::stats(port.number)?, port.before);
        let since = Stats {
            received: stats.received.saturating_sub(before.received),
            missed: stats.missed.saturating_sub(before.missed),
            errors: stats.errors.saturating_sub(before.errors),
            no_buffer: stats.no_buffer.saturating_sub(before.no_buffer),
        };
        let is_pcap = self.device.driver() == Some(PCAP);
        let counted = PortCounters {
            received: since.received,
            missed: since.missed,
            // Times that libpcap could not read are not packets.
            errors: if is_pcap { 0 } else { since.errors },
            // Other drivers leave the packet where it is until there is a buffer; what finds no room there meanwhile is missed.
            no_buffer: if is_pcap { since.no_buffer } else { 0 },
            left: 0,
        };
        Ok((since, counted))
    }

    /// Closes the port, which is not received from any more.
    fn close(&mut self) {
        let Some(port) = self.port.take() else { return };
        match self.count(port) {
            Ok((_, counted)) => self.counted = counted,
            // A driver that tells no more has at least received what came.
            Err(_) => self.counted.received = self.counted.received.max(self.given),
        }
        let left = self.counted.received.saturating_sub(self.given);
        self.closed += PortCounters { left, ..self.counted };
        (self.counted, self.given) = (PortCounters::default(), 0);
        // What a driver cannot undo, on an interface that is gone or else, the end of the process does.
        let _ = self.eal.close(port);
    }

    /// Opens the port anew, if the interface behind it has come back.
    fn open_again(&mut self) -> Link {
        let Some(Interface { name, index, asking }) = &mut self.interface else {
            return Link::Gone;
        };
        let Some(now) = interface_index(name) else { return Link::Gone };
        match interface_link(asking, name, now) {
            Link::Up => {}
            link => return link,
        }
        // Whatever stands in the way may pass.
        let Ok(port) = self.eal.open(&self.device, self.shape) else { return Link::Gone };
        *index = now;
        self.port = Some(port);
        Link::Up
    }

    /// What says that there is no way on: of captures, that one is damaged.
    fn trouble(&self, port: Port) -> Option<io::Error> {
        self.device.capture()?;
        let (stats, _) = self.count(port).ok()?;
        let given = self.given;
        (stats.errors > 0).then(|| {
            io::Error::other(format!(
                "the capture is damaged behind its first {given} packets; `wiretable query -r` says how"
            ))
        })
    }

    fn error(&self, source: io::Error) -> EngineError {
        EngineError::Capture { interface: self.device.name().to_owned(), source }
    }
}

/// The driver whose stamps are those of libpcap, in µs since the epoch. Others stamp by clocks of cards, if at all.
const PCAP: &str = "net_pcap";

/// The kernel's clock, ns since the epoch.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl LiveSource for DpdkSource {
    fn link_type(&self) -> u16 {
        LINKTYPE_ETHERNET
    }

    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError> {
        let begin = Instant::now();
        loop {
            let as_of_ns = now_ns();
            let Some(port) = self.port else {
                if self.stopped.is_some() {
                    return Ok(Polled::Ended);
                }
                std::thread::sleep(timeout);
                return Ok(Polled::Idle { as_of_ns });
            };
            let mut count = 0;
            for queue in 0..self.shape.queues {
                count += self.receive(port, queue, as_of_ns, take)?;
            }
            self.is_empty = count == 0;
            let is_drained = self.stopped.is_some_and(|at| count == 0 || at.elapsed() >= DRAIN_MAX);
            if is_drained {
                self.close();
                return Ok(Polled::Ended);
            }
            if count > 0 {
                return Ok(Polled::Packets);
            }
            if begin.elapsed() >= timeout {
                // The clock says nothing of the times in a capture.
                return match self.device.capture() {
                    None => Ok(Polled::Idle { as_of_ns }),
                    Some(_) => match self.trouble(port) {
                        None => Ok(Polled::Packets),
                        Some(error) => Err(self.error(error)),
                    },
                };
            }
            if begin.elapsed() < SPIN {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn link(&mut self) -> Link {
        if self.stopped.is_some() || self.looked.elapsed() < LOOK_EVERY {
            return self.link;
        }
        self.looked = Instant::now();
        self.link = match (self.port, &self.interface) {
            (None, _) => self.open_again(),
            (Some(port), None) if sys::is_up(port.number) => Link::Up,
            (Some(_), None) => Link::Down,
            (Some(_), Some(Interface { name, index, asking })) => {
                match interface_link(asking, name, *index) {
                    // What came before is read first.
                    Link::Gone if !self.is_empty => self.link,
                    Link::Gone => {
                        self.close();
                        self.open_again()
                    }
                    link => link,
                }
            }
        };
        self.link
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stopped = Some(Instant::now());
        Ok(())
    }

    fn counters(&mut self) -> SourceCounters {
        if let Some(port) = self.port
            && let Ok((_, counted)) = self.count(port)
        {
            self.counted = counted;
        }
        let mut port = self.closed;
        port += self.counted;
        SourceCounters {
            seen: port.seen(),
            dropped: port.dropped(),
            restamped: self.stamps.moved(),
            port: Some(port),
            ..SourceCounters::default()
        }
    }

    fn prepare(&mut self, setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        self.keep(snap_bytes(setup.program));
        Ok(())
    }
}

impl Drop for DpdkSource {
    fn drop(&mut self) {
        self.close();
    }
}

/// Refuses a capture whose packets are no frames of Ethernet: DPDK takes those of every capture for such.
fn refuse_other_links(device: &Device) -> Result<(), DpdkError> {
    let Some(file) = device.capture() else { return Ok(()) };
    // What cannot be read here is refused by the driver, in its words.
    let Ok(mut reader) = CaptureReader::open(Path::new(file)) else { return Ok(()) };
    match reader.next() {
        Ok(Some(record)) if record.link_type.0 != LINKTYPE_ETHERNET => {
            Err(DpdkError::LinkType { file: file.to_owned(), link_type: record.link_type.0 })
        }
        _ => Ok(()),
    }
}
