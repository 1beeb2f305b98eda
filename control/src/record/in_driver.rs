//! Packets that end in the driver: a program gives what is wanted to the AF_XDP socket of each receive queue, and each queue has a writer.

use std::time::Instant;

use wt_engine::live::{Link, host_only};
use wt_engine::{EngineError, LftaSetup, PacketBatch};
use wt_trace::record::{Feed, Interface, RecordOptions};
use wt_wire::{Direction, LinkType, RecordRef};
use wt_xdp::broker::Broker;
use wt_xdp::codegen::Disposition;
use wt_xdp::live::{Looked, QueueSource, QueuedPacket, XdpError, XdpOptions};
use wt_xdp::loader::Attachment;

use super::filter::{self, Condition, Judge};
use super::live::{COUNT_EVERY, Stop, TICK, Told};
use crate::cli::PacketFate;
use crate::cli::record::RecordArgs;
use crate::failure::Failure;
use crate::live::{LiveInterface, WITHOUT_DRIVER, privileges};

const ETHERNET: LinkType = LinkType(1);

/// Packets that are judged at once, and their bytes.
const BATCH_PACKETS: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// Attaches the program that gives packets to the sockets.
pub(super) fn open(
    args: &RecordArgs,
    interface: &LiveInterface,
    broker: &Broker,
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<QueueSource, Failure> {
    let device = &interface.device;
    if interface.fate == PacketFate::Pass {
        return Err(Failure::Input(
            "in the driver are recorded packets that end there, as on a port that only mirrors traffic\n  help: --disposition drop; or record by a socket, without --capture"
                .to_owned(),
        ));
    }
    if args.queues > 1 {
        return Err(Failure::Input(
            "--queues shares packets among sockets; in the driver each receive queue has a writer already"
                .to_owned(),
        ));
    }
    if WITHOUT_DRIVER.contains(&device.as_str()) {
        return Err(Failure::Environment(format!(
            "`{device}` has no driver that takes programs\n  help: record it by a socket, without --capture and --disposition"
        )));
    }
    privileges::unlimit_frames();
    let everything = match condition {
        Some(_) => None,
        None => Some(Condition::everything()?),
    };
    let Some(condition) = condition.or(everything.as_ref()) else { return Err(no_plan()) };
    let plan = condition.plan();
    let planned = plan.interfaces.first().ok_or_else(no_plan)?;
    let params: Vec<_> = plan.params.iter().map(|param| param.value.clone()).collect();
    let mut on_host = host_only(plan, 0);
    on_host.fill(true);
    let setup = LftaSetup {
        interface: &interface.interface,
        program: &planned.program,
        params: &params,
        fixed_hash: &on_host,
    };
    let xdp_options = XdpOptions {
        broker: Some(broker.clone()),
        disposition: Disposition::Drop,
        ring_bytes: u32::try_from(interface.ring_bytes).unwrap_or(1 << 31),
        keep_bytes: options.snap_len,
        is_promiscuous: interface.is_promiscuous,
        blocks: None,
    };
    let source = QueueSource::open(device, &setup, &xdp_options).map_err(|error| {
        let help = error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
        Failure::Environment(format!("cannot record {device} in its driver: {error}{help}"))
    })?;
    if let Attachment::Generic { reason } = source.attachment() {
        eprintln!(
            "wiretable: {device}: the driver takes no program ({reason}); it runs in the stack, at two to three times the cost per packet"
        );
    }
    Ok(source)
}

/// A fault of the planner: a condition has one query on one interface.
fn no_plan() -> Failure {
    Failure::Environment("the condition has no plan, which is a fault of this program".to_owned())
}

/// Gives what comes by the queues to their writers, until the recording stops.
pub(super) fn capture(
    interface: LiveInterface,
    source: QueueSource,
    feeds: Vec<Feed>,
    stop: &Stop,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let mut lanes: Vec<Lane> = Vec::new();
    for mut feed in feeds {
        let number = feed.interface(&Interface {
            name: Some(interface.interface.as_str().into()),
            link_type: ETHERNET,
            snap_len: feed.snap_len(),
        });
        lanes.push(Lane { feed, number, captured: 0 });
    }
    let told = Told::new(&interface);
    let batch = condition.is_some().then(|| Batch::new(&interface, condition));
    let device = interface.device.clone();
    let mut capture =
        Capture { device, source, lanes, batch, told, counted: Instant::now(), unwanted: 0 };
    let done = capture.run(stop);
    capture.count();
    capture.lanes.into_iter().for_each(|lane| lane.feed.finish());
    done
}

/// A receive queue and its writer.
struct Lane {
    feed: Feed,
    /// The interface, as the writer numbers it.
    number: u32,
    /// Packets that it was given.
    captured: u64,
}

/// Packets of one queue that are to be judged.
struct Batch<'a> {
    judge: Judge<'a>,
    interface: wt_catalog::Value,
    queue: u32,
    data: Vec<u8>,
    records: Vec<RecordRef>,
}

impl<'a> Batch<'a> {
    fn new(interface: &LiveInterface, condition: Option<&'a Condition>) -> Self {
        Self {
            judge: Judge::new(condition),
            interface: filter::name(Some(&interface.interface)),
            queue: 0,
            data: Vec::new(),
            records: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_PACKETS || self.data.len() >= BATCH_BYTES
    }

    fn push(&mut self, packet: &QueuedPacket<'_>) {
        self.queue = packet.queue;
        self.records.push(RecordRef {
            timestamp_ns: packet.timestamp_ns,
            at: self.data.len() as u32,
            caplen: packet.data.len() as u32,
            len: packet.len,
            direction: Direction::Inbound,
        });
        self.data.extend_from_slice(packet.data);
    }

    /// Gives those that are wanted to their writer.
    fn give(&mut self, lanes: &mut [Lane]) -> Result<(), EngineError> {
        let Self { judge, interface, queue, data, records } = self;
        let Some(lane) = lanes.get_mut(*queue as usize) else { return Ok(()) };
        if !records.is_empty() {
            let link_type = ETHERNET.0;
            let (ifindex, meanwhile) = (0, None);
            let batch = PacketBatch { data, records, link_type, interface, ifindex, meanwhile };
            judge.give(&mut lane.feed, lane.number, &batch)?;
            records.clear();
            data.clear();
        }
        Ok(())
    }
}

struct Capture<'a> {
    device: String,
    source: QueueSource,
    lanes: Vec<Lane>,
    /// With a condition.
    batch: Option<Batch<'a>>,
    told: Told,
    counted: Instant,
    /// Packets that the program has ended so far, as they are in the books.
    unwanted: u64,
}

impl Capture<'_> {
    fn run(&mut self, stop: &Stop) -> Result<(), Failure> {
        let device = self.device.clone();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Environment(format!("cannot capture from {device}: {error}"))
        };
        let mut is_stopping = false;
        loop {
            let has_failed = self.lanes.iter().any(|lane| lane.feed.has_failed());
            if !is_stopping && (stop.is_due() || has_failed) {
                is_stopping = true;
                self.source.stop().map_err(|error| failed(&error))?;
            }
            let (looked, judged) = self.poll(stop).map_err(|error| failed(&error))?;
            judged.map_err(|error| failed(&error))?;
            let as_of_ns = match looked {
                Looked::On => None,
                Looked::UpTo(as_of_ns) => Some(as_of_ns),
                Looked::Ended => return Ok(()),
            };
            self.lanes.iter_mut().for_each(|lane| lane.feed.tick(as_of_ns));
            let link: Link = self.source.link();
            if !is_stopping {
                self.told.tell(link);
            }
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count();
            }
        }
    }

    /// Takes what has come; beside that, whether it could be judged.
    fn poll(&mut self, stop: &Stop) -> Result<(Looked, Result<(), EngineError>), XdpError> {
        let Self { source, lanes, batch, .. } = self;
        let mut judged = Ok(());
        let looked = source.poll(TICK, &mut |packet| {
            let Some(lane) = lanes.get_mut(packet.queue as usize) else { return };
            if stop.claim(1) == 0 {
                return;
            }
            lane.captured += 1;
            let Some(batch) = batch else {
                let QueuedPacket { timestamp_ns, len, data, .. } = packet;
                return lane.feed.packet(lane.number, timestamp_ns, len, Direction::Inbound, data);
            };
            if batch.queue != packet.queue || batch.is_full() {
                let given = batch.give(lanes);
                judged = std::mem::replace(&mut judged, Ok(())).and(given);
            }
            batch.push(&packet);
        })?;
        if let Some(batch) = batch {
            judged = judged.and(batch.give(lanes));
        }
        Ok((looked, judged))
    }

    /// Enters what the kernel has counted. It counts by interface: what is not known by queue is in the books of the first.
    fn count(&mut self) {
        self.counted = Instant::now();
        let counters = self.source.counters();
        let others: u64 = self.lanes.iter().skip(1).map(|lane| lane.captured).sum();
        for lane in self.lanes.iter().skip(1) {
            lane.feed.counted(lane.captured, 0);
        }
        if let Some(first) = self.lanes.first_mut() {
            let more = counters.unwanted.saturating_sub(self.unwanted);
            first.feed.filtered(more);
            self.unwanted += more;
            first.feed.counted(counters.seen.saturating_sub(others), counters.lost);
        }
    }
}
