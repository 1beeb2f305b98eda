//! Records interfaces: a thread takes packets from a socket, or of all receive queues of a driver, and gives them to their writers.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wt_engine::live::Link;
use wt_trace::record::memory::{self, Memory, MemoryOptions};
use wt_trace::record::{self, Ended, Feed, RecordOptions, Writer};
use wt_trace::store::OwnStore;
use wt_xdp::live::QueueSource;
use wt_xdp::packet_socket::{Options, PacketSource};

use super::filter::Condition;
use super::{by_socket, control, finish, in_driver};
use crate::broker;
use crate::cli::record::{PreTrigger, RecordArgs};
use crate::cli::{CaptureWay, PacketFate, UntilArgs};
use crate::execute::cancelled_by_signal;
use crate::failure::Failure;
use crate::live::{LiveInterface, privileges};

/// How long a thread waits for packets before it looks at the clock again.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// How often the kernel's counts are asked for.
pub(super) const COUNT_EVERY: Duration = Duration::from_millis(100);

/// Where packets come from.
enum Source {
    /// A packet socket, with a writer.
    Socket(Box<PacketSource>),
    /// A program in the driver, with a writer for each receive queue.
    Driver(Box<QueueSource>),
}

/// A source that is open.
pub(super) struct Opened {
    /// By writer, as the books call it.
    names: Vec<String>,
    interface: LiveInterface,
    source: Source,
}

pub(super) fn open(
    args: &RecordArgs,
    interfaces: &[LiveInterface],
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<Vec<Opened>, Failure> {
    // A condition looks at what is not kept, too.
    let looked_at = condition.map_or(0, Condition::snap_bytes);
    let mut opened = Vec::new();
    let broker = broker::start(interfaces.iter().map(|interface| interface.device.clone()))?;
    for (number, interface) in (0..).zip(interfaces) {
        if is_in_driver(interface) {
            let source = in_driver::open(args, interface, &broker, options, condition)?;
            let names = names(interface, source.queues());
            let source = Source::Driver(Box::new(source));
            opened.push(Opened { names, interface: interface.clone(), source });
            continue;
        }
        let names = names(interface, args.queues.into());
        // Sockets of one group share packets; it needs a number of its own on this host.
        let group = (std::process::id() as u16).wrapping_add(number);
        for name in names {
            let source_options = Options {
                broker: Some(broker.clone()),
                snap_bytes: options.snap_len.max(looked_at),
                filter: condition.and_then(|condition| condition.expression.clone()),
                ring_bytes: usize::try_from(interface.ring_bytes).unwrap_or(usize::MAX),
                is_promiscuous: interface.is_promiscuous,
                skew_ns: 0,
                fanout: (args.queues > 1).then_some(group),
                stamps_by_card: interface.clock_apart_max(),
            };
            let source = PacketSource::open(&interface.device, source_options);
            let source = source.map_err(|error| {
                let help =
                    error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
                Failure::Environment(format!("{error}{help}"))
            })?;
            let source = Source::Socket(Box::new(source));
            opened.push(Opened { names: vec![name], interface: interface.clone(), source });
        }
    }
    Ok(opened)
}

/// Refuses ways that nothing is recorded by, and ends of packets that only drivers bring about.
pub(super) fn refuse(interfaces: &[LiveInterface]) -> Result<(), Failure> {
    if interfaces.iter().any(|one| one.way == CaptureWay::Dpdk) {
        return Err(Failure::Input(
            "packets of DPDK are not recorded\n  help: record by a socket, or in the driver: --disposition drop".to_owned(),
        ));
    }
    if let Some(one) = interfaces.iter().find(|one| is_in_driver(one)) {
        one.refuse_stamps_in_driver()?;
    }
    let is_passed = |one: &LiveInterface| !is_in_driver(one) && one.fate == PacketFate::Drop;
    match interfaces.iter().any(is_passed) {
        true => Err(Failure::Input(
            "--disposition drop ends packets in the driver, where a socket sees none\n  help: --capture xdp".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Whether its packets are taken in its driver.
pub(super) fn is_in_driver(interface: &LiveInterface) -> bool {
    match interface.way {
        CaptureWay::Xdp => true,
        CaptureWay::Auto => interface.fate == PacketFate::Drop,
        CaptureWay::Socket | CaptureWay::Dpdk => false,
    }
}

/// What the books call the writers of an interface.
fn names(interface: &LiveInterface, writers: u32) -> Vec<String> {
    let name = &interface.interface;
    match writers {
        1 => vec![name.clone()],
        _ => (0..writers).map(|queue| format!("{name} queue {queue}")).collect(),
    }
}

/// When a recording ends.
pub(super) struct Stop {
    cancel: Arc<AtomicBool>,
    failed: AtomicBool,
    ends: Option<Instant>,
    /// Packets that may still be taken, of all queues.
    left: Option<AtomicU64>,
    /// Packets that came behind the last one asked for.
    unread: AtomicU64,
}

impl Stop {
    fn new(until: &UntilArgs) -> Self {
        Self {
            cancel: cancelled_by_signal(),
            failed: AtomicBool::new(false),
            ends: until.duration.map(|duration| Instant::now() + duration),
            left: until.packets.map(AtomicU64::new),
            unread: AtomicU64::new(0),
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
            || self.failed.load(Ordering::Relaxed)
            || self.ends.is_some_and(|ends| Instant::now() >= ends)
            || self.left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }

    /// Takes so many of the packets that may still be taken, or as many as there are.
    pub(super) fn claim(&self, wanted: u64) -> u64 {
        let Some(left) = &self.left else { return wanted };
        let take = |left: u64| Some(left - left.min(wanted));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let taken = before.map_or(0, |left| left.min(wanted));
        self.unread.fetch_add(wanted - taken, Ordering::Relaxed);
        taken
    }
}

pub(super) fn record(
    args: &RecordArgs,
    pre_trigger: Option<PreTrigger>,
    store: &Arc<OwnStore>,
    opened: Vec<Opened>,
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let devices: Vec<String> = opened.iter().map(|one| one.interface.device.clone()).collect();
    // Segments are made as time goes by, in a directory that may be another user's.
    let in_driver = opened.iter().any(|one| matches!(one.source, Source::Driver(_)));
    privileges::keep_files(in_driver)?;
    privileges::confine_calls()?;
    let stop = Stop::new(&args.until);
    // From now on a signal ends it in order.
    announce(store, &opened).map_err(super::failure)?;
    let mut keepers = Vec::new();
    let mut all_feeds = Vec::new();
    for one in opened {
        let mut feeds = Vec::new();
        for name in &one.names {
            let number = keepers.len() as u16;
            let (feed, keeper) = Keeper::start(pre_trigger, store, number, options)?;
            keepers.push((name.clone(), keeper));
            feeds.push(feed);
        }
        all_feeds.push((feeds, one));
    }
    // It goes with this function.
    let _socket = control::listen(args, store, &keepers)?;
    if std::io::stderr().is_terminal() {
        let mut names = devices;
        names.dedup();
        eprintln!("wiretable: recording {}; Ctrl-C ends it", names.join(", "));
    }
    let captured = std::thread::scope(|scope| {
        let threads: Vec<_> = all_feeds
            .into_iter()
            .map(|(feeds, one)| scope.spawn(|| capture(one, feeds, &stop, condition)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), Failure>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All are waited for before the first failure is looked at.
        let ended: Vec<_> = threads.into_iter().map(join).collect();
        ended.into_iter().collect::<Result<(), _>>()
    });
    let ended = keepers.into_iter().map(|(name, keeper)| (name, keeper.join())).collect();
    finish(args, stop.unread.load(Ordering::Relaxed), ended)?;
    captured
}

/// What the packets of a queue are given to: the disk, or memory.
pub(super) enum Keeper {
    Disk(Writer),
    Memory(Memory),
}

impl Keeper {
    fn start(
        pre_trigger: Option<PreTrigger>,
        store: &Arc<OwnStore>,
        number: u16,
        options: &RecordOptions,
    ) -> Result<(Feed, Self), Failure> {
        let Some(PreTrigger { age_max, bytes_max }) = pre_trigger else {
            let (feed, writer) = record::start(store, number, options).map_err(super::failure)?;
            return Ok((feed, Self::Disk(writer)));
        };
        let options = MemoryOptions {
            age_max,
            bytes_max,
            buffer_bytes: options.buffer_bytes,
            snap_len: options.snap_len,
        };
        let (feed, memory) = memory::start(number, &options)
            .map_err(|error| Failure::Environment(format!("cannot start a thread: {error}")))?;
        Ok((feed, Self::Memory(memory)))
    }

    fn join(self) -> Ended {
        match self {
            Self::Disk(writer) => writer.join(),
            Self::Memory(memory) => Ended { books: memory.join(), failure: None },
        }
    }
}

/// Says in the store who records what, by writer.
fn announce(store: &OwnStore, opened: &[Opened]) -> Result<(), wt_trace::store::StoreError> {
    let devices = opened.iter().map(|one| one.interface.device.clone().into());
    let mut recorder = toml::Table::new();
    recorder.insert("pid".to_owned(), i64::from(std::process::id()).into());
    recorder.insert("devices".to_owned(), toml::Value::Array(devices.collect()));
    store.announce(&recorder)
}

fn capture(
    opened: Opened,
    feeds: Vec<Feed>,
    stop: &Stop,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let Opened { interface, source, .. } = opened;
    let done = match source {
        // It has one writer.
        Source::Socket(source) => feeds
            .into_iter()
            .next()
            .map_or(Ok(()), |feed| by_socket::capture(interface, *source, feed, stop, condition)),
        Source::Driver(source) => in_driver::capture(interface, *source, feeds, stop, condition),
    };
    if done.is_err() {
        // The others end too.
        stop.failed.store(true, Ordering::Relaxed);
    }
    done
}

/// Whether packets can come by an interface, as the user was told.
pub(super) struct Told {
    interface: String,
    link: Link,
}

impl Told {
    pub(super) fn new(interface: &LiveInterface) -> Self {
        Self { interface: interface.interface.clone(), link: Link::Up }
    }

    /// Tells the user that packets cannot come any more, or can again.
    pub(super) fn tell(&mut self, link: Link) {
        if std::mem::replace(&mut self.link, link) == link {
            return;
        }
        let name = &self.interface;
        match link {
            Link::Up => eprintln!("wiretable: interface {name} is back"),
            Link::Down => eprintln!(
                "wiretable: interface {name} is down; it is picked up again when it is back"
            ),
            Link::Gone => eprintln!(
                "wiretable: interface {name} is gone; it is picked up again when it is back"
            ),
        }
    }
}
