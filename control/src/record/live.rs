//! Records interfaces: a thread per queue takes packets from its socket and gives them to its writer.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wt_engine::PacketBatch;
use wt_engine::live::{Link, LiveSource, Polled};
use wt_trace::record::memory::{self, Memory, MemoryOptions};
use wt_trace::record::{self, Ended, Feed, Interface, RecordOptions, Writer};
use wt_trace::store::OwnStore;
use wt_wire::LinkType;
use wt_xdp::packet_socket::{Options, PacketSource};

use super::filter::{Condition, Judge};
use super::{control, finish};
use crate::broker;
use crate::cli::UntilArgs;
use crate::cli::record::{PreTrigger, RecordArgs};
use crate::execute::cancelled_by_signal;
use crate::failure::Failure;
use crate::live::{LiveInterface, privileges};

/// How long a thread waits for packets before it looks at the clock again.
const TICK: Duration = Duration::from_millis(20);

/// How often the kernel's counts are asked for.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// A queue that is open.
pub(super) struct Queue {
    /// As the books call it.
    name: String,
    interface: LiveInterface,
    source: PacketSource,
}

pub(super) fn open(
    args: &RecordArgs,
    interfaces: &[LiveInterface],
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<Vec<Queue>, Failure> {
    // A condition looks at what is not kept, too.
    let looked_at = condition.map_or(0, Condition::snap_bytes);
    let mut queues = Vec::new();
    let broker = broker::start(interfaces.iter().map(|interface| interface.device.clone()))?;
    for (number, interface) in (0..).zip(interfaces) {
        // Sockets of one group share packets; it needs a number of its own on this host.
        let group = (std::process::id() as u16).wrapping_add(number);
        for queue in 0..args.queues {
            let source_options = Options {
                broker: Some(broker.clone()),
                snap_bytes: options.snap_len.max(looked_at),
                filter: condition.and_then(|condition| condition.expression.clone()),
                ring_bytes: usize::try_from(interface.ring_bytes).unwrap_or(usize::MAX),
                is_promiscuous: interface.is_promiscuous,
                skew_ns: 0,
                fanout: (args.queues > 1).then_some(group),
            };
            let source = PacketSource::open(&interface.device, source_options);
            let source = source.map_err(|error| {
                let help =
                    error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
                Failure::Environment(format!("{error}{help}"))
            })?;
            let name = match args.queues {
                1 => interface.interface.clone(),
                _ => format!("{} queue {queue}", interface.interface),
            };
            queues.push(Queue { name, interface: interface.clone(), source });
        }
    }
    Ok(queues)
}

/// When a recording ends.
struct Stop {
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

    fn is_due(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
            || self.failed.load(Ordering::Relaxed)
            || self.ends.is_some_and(|ends| Instant::now() >= ends)
            || self.left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }

    /// Takes so many of the packets that may still be taken, or as many as there are.
    fn claim(&self, wanted: u64) -> u64 {
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
    queues: Vec<Queue>,
    options: &RecordOptions,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let devices: Vec<String> = queues.iter().map(|queue| queue.interface.device.clone()).collect();
    // Segments are made as time goes by, in a directory that may be another user's.
    privileges::keep_files()?;
    let stop = Stop::new(&args.until);
    // From now on a signal ends it in order.
    announce(store, &queues).map_err(super::failure)?;
    let mut keepers = Vec::new();
    let mut feeds = Vec::new();
    for (number, queue) in (0..).zip(queues) {
        let (feed, keeper) = Keeper::start(pre_trigger, store, number, options)?;
        keepers.push((queue.name.clone(), keeper));
        feeds.push((feed, queue));
    }
    // It goes with this function.
    let _socket = control::listen(args, store, &keepers)?;
    if std::io::stderr().is_terminal() {
        let mut names = devices;
        names.dedup();
        eprintln!("wiretable: recording {}; Ctrl-C ends it", names.join(", "));
    }
    let captured = std::thread::scope(|scope| {
        let threads: Vec<_> = feeds
            .into_iter()
            .map(|(feed, queue)| scope.spawn(|| capture(queue, feed, &stop, condition)))
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
fn announce(store: &OwnStore, queues: &[Queue]) -> Result<(), wt_trace::store::StoreError> {
    let devices = queues.iter().map(|queue| queue.interface.device.clone().into());
    let mut recorder = toml::Table::new();
    recorder.insert("pid".to_owned(), i64::from(std::process::id()).into());
    recorder.insert("devices".to_owned(), toml::Value::Array(devices.collect()));
    store.announce(&recorder)
}

fn capture(
    queue: Queue,
    feed: Feed,
    stop: &Stop,
    condition: Option<&Condition>,
) -> Result<(), Failure> {
    let Queue { interface, source, .. } = queue;
    let mut capture = Capture {
        interface,
        source,
        feed,
        judge: Judge::new(condition),
        link: Link::Up,
        counted: Instant::now(),
    };
    let done = capture.run(stop);
    if done.is_err() {
        // The others end too.
        stop.failed.store(true, Ordering::Relaxed);
    }
    capture.count();
    capture.feed.finish();
    done
}

struct Capture<'a> {
    interface: LiveInterface,
    source: PacketSource,
    feed: Feed,
    judge: Judge<'a>,
    link: Link,
    counted: Instant,
}

impl Capture<'_> {
    fn run(&mut self, stop: &Stop) -> Result<(), Failure> {
        let device = self.interface.device.clone();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Environment(format!("cannot capture from {device}: {error}"))
        };
        let mut is_stopping = false;
        loop {
            if !is_stopping && (stop.is_due() || self.feed.has_failed()) {
                is_stopping = true;
                self.source.stop().map_err(|error| failed(&error))?;
            }
            let polled = self.poll(stop).map_err(|error| failed(&error))?;
            let as_of_ns = match polled {
                Polled::Packets => None,
                Polled::Idle { as_of_ns } => Some(as_of_ns),
                Polled::Ended => return Ok(()),
            };
            self.feed.tick(as_of_ns);
            let link = self.source.link();
            self.tell(link, is_stopping);
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count();
            }
        }
    }

    fn poll(&mut self, stop: &Stop) -> Result<Polled, wt_engine::EngineError> {
        let Self { source, feed, interface, judge, .. } = self;
        source.poll(TICK, &mut |batch| {
            let taken = stop.claim(batch.records.len() as u64) as usize;
            let snap_len = feed.snap_len();
            let number = feed.interface(&Interface {
                name: Some(interface.interface.as_str().into()),
                link_type: LinkType(batch.link_type),
                snap_len,
            });
            judge.give(feed, number, &PacketBatch { records: &batch.records[..taken], ..*batch })
        })
    }

    fn count(&mut self) {
        self.counted = Instant::now();
        let counters = self.source.counters();
        self.feed.counted(counters.seen, counters.dropped);
    }

    /// Tells the user that packets cannot come any more, or can again.
    fn tell(&mut self, link: Link, is_stopping: bool) {
        if std::mem::replace(&mut self.link, link) == link || is_stopping {
            return;
        }
        let name = &self.interface.interface;
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
