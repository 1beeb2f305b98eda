//! The thread of a writer that has the disk: frames, segments, syncs, room.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::books::add;
use super::encode::{self, Interface, Statistics};
use super::feed::{Chunk, Order, Shared};
use super::segment::{ALIGN, SegmentFile};
use super::{OnFull, RecordOptions};
use crate::index::{Growing, RATIOS};
use crate::store::frame::{FRAME_LEN, Frame, Kind};
use crate::store::mark::MarkFile;
use crate::store::name::{self, SegmentName};
use crate::store::{Mark, OwnStore, StoreError, sync_dir};

/// How often a full disk is tried again.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// How often it is looked for what may be deleted.
const RETAIN_EVERY: Duration = Duration::from_secs(2);

/// The segment at hand.
struct Open {
    file: SegmentFile,
    index: Option<Growing>,
    name: SegmentName,
    packets: u64,
    min_ns: u64,
    max_ns: u64,
    /// Interfaces described so far.
    described: u32,
    since: Instant,
}

impl Open {
    /// Appends what is no packet.
    fn append_besides(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.file.append(parts)?;
        if let Some(index) = &mut self.index {
            index.written_besides(parts);
        }
        Ok(())
    }
}

/// The thread's state.
pub(super) struct Disk {
    store: Arc<OwnStore>,
    number: u16,
    options: RecordOptions,
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    written: Sender<Chunk>,
    /// Takes segments that were closed, to be compressed.
    closed: Option<Sender<SegmentName>>,
    segment: Option<Open>,
    mark_file: MarkFile,
    mark: Mark,
    began_ns: u64,
    synced: Instant,
    retained: Instant,
    /// The disk was full then.
    full_since: Option<Instant>,
    failure: Option<StoreError>,
}

/// What a writer says at its end.
pub(super) type Outcome = Option<StoreError>;

impl Disk {
    pub(super) fn new(
        store: Arc<OwnStore>,
        number: u16,
        options: &RecordOptions,
        shared: Arc<Shared>,
        (orders, written): (Receiver<Order>, Sender<Chunk>),
        closed: Option<Sender<SegmentName>>,
    ) -> Result<Self, StoreError> {
        let next = store.next_sequence(number)?;
        let path = store.dir().join(name::mark(number));
        let mark_file = MarkFile::create(&path).map_err(StoreError::io("write", &path))?;
        let mark = Mark { segment: next, next, synced: next, ..Mark::default() };
        mark_file.write(&mark).map_err(StoreError::io("write", &path))?;
        Ok(Self {
            store,
            number,
            options: options.clone(),
            shared,
            orders,
            written,
            closed,
            segment: None,
            mark_file,
            mark,
            began_ns: now_ns(),
            synced: Instant::now(),
            retained: Instant::now(),
            full_since: None,
            failure: None,
        })
    }

    /// Writes what comes until nothing follows; says why not all was written, if the disk was the reason.
    pub(super) fn run(mut self) -> Outcome {
        loop {
            match self.orders.recv_timeout(self.patience()) {
                Ok(Order::Chunk(mut chunk)) => {
                    self.chunk(&mut chunk);
                    // The feed may be gone.
                    let _ = self.written.send(chunk);
                }
                Ok(Order::Idle { as_of_ns }) => {
                    self.mark.as_of_ns = self.mark.as_of_ns.max(as_of_ns);
                    self.write_mark();
                }
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.keep_house();
        }
        self.close();
        self.mark.is_ended = true;
        self.write_mark();
        self.failure
    }

    /// How long there is nothing to do but write.
    fn patience(&self) -> Duration {
        let until_sync = self.options.sync_interval.saturating_sub(self.synced.elapsed());
        let age =
            |open: &Open| Some(self.options.segment_time?.saturating_sub(open.since.elapsed()));
        let until_rotation = self.segment.as_ref().and_then(age).unwrap_or(until_sync);
        until_sync.min(until_rotation).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    fn keep_house(&mut self) {
        if self.synced.elapsed() >= self.options.sync_interval {
            self.sync();
        }
        let is_old = |open: &Open| {
            self.options.segment_time.is_some_and(|time| open.since.elapsed() >= time)
        };
        if self.segment.as_ref().is_some_and(is_old) {
            self.close();
        }
        if self.number == 0 && self.retained.elapsed() >= RETAIN_EVERY {
            self.retain();
        }
    }

    /// Deletes what may not be kept any more.
    fn retain(&mut self) {
        self.retained = Instant::now();
        match self.store.retain(&self.options.keep, SystemTime::now()) {
            Ok((segments, _)) => add(&self.shared.account.deleted, segments),
            // Something that cannot be deleted is no reason to write no more.
            Err(error) => self.options.notice.say(&error),
        }
    }

    /// Writes the packets of a chunk, or counts them as lost.
    fn chunk(&mut self, chunk: &mut Chunk) {
        let is_waiting = self.full_since.is_some_and(|since| since.elapsed() < TRY_EVERY);
        if self.failure.is_some() || is_waiting {
            return add(&self.shared.account.lost_disk, chunk.packets);
        }
        loop {
            let error = match self.write(chunk) {
                Ok(()) => {
                    if self.full_since.take().is_some() {
                        self.options.notice.say(&"there is room on the disk again");
                    }
                    return;
                }
                Err(error) => error,
            };
            if is_full(&error) && self.options.on_full == OnFull::DropOldest {
                match self.store.delete_oldest() {
                    Ok(true) => {
                        add(&self.shared.account.deleted, 1);
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => self.options.notice.say(&error),
                }
            }
            add(&self.shared.account.lost_disk, chunk.packets);
            if is_full(&error) && self.options.on_full != OnFull::Stop {
                if self.full_since.is_none() {
                    self.options.notice.say(&format_args!(
                        "the disk of {} is full; packets are lost until there is room",
                        self.store.dir().display()
                    ));
                }
                self.full_since = Some(Instant::now());
            } else {
                self.fail(error);
            }
            return;
        }
    }

    fn fail(&mut self, error: io::Error) {
        let path = self.segment.as_ref().map(|open| open.file.path());
        let path = path.unwrap_or(self.store.dir());
        self.failure = Some(StoreError::io("write", path)(error));
        self.shared.account.has_failed.store(true, Ordering::Relaxed);
    }

    fn write(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        let over = self.segment.as_ref().is_some_and(|open| {
            let len = open.file.len() + chunk.buffer.len() as u64;
            open.packets > 0 && len > self.options.segment_bytes
        });
        if over {
            self.close();
        }
        let mut open = match self.segment.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let written = self.append(&mut open, chunk);
        self.segment = Some(open);
        written?;
        self.write_mark();
        Ok(())
    }

    /// Appends a chunk to a segment, and to its index.
    fn append(&mut self, open: &mut Open, chunk: &mut Chunk) -> io::Result<()> {
        let described = open.described;
        let all = chunk.interfaces.max(described);
        let mut interfaces = Vec::new();
        let mut link_types = Vec::new();
        if all > described {
            let known = self.shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
            let new: &[Interface] = &known[described as usize..all as usize];
            new.iter().for_each(|interface| encode::interface(&mut interfaces, interface));
            link_types.extend(known[..all as usize].iter().map(|known| known.link_type.0));
        }
        let (store, sequence) = (self.store.id(), self.mark.next);
        let frame = |kind, bytes: u64, packets, interfaces, crc| {
            let (min_ns, max_ns) = (chunk.min_ns, chunk.max_ns);
            Frame { kind, store, sequence, bytes, min_ns, max_ns, packets, interfaces, crc }
                .encode()
        };
        let mut describing = Vec::new();
        if all > described {
            let (bytes, new) = (interfaces.len() as u64, u64::from(all - described));
            let crc = crc32fast::hash(&interfaces);
            describing.extend(frame(Kind::Interfaces, bytes, new, described, crc));
            describing.append(&mut interfaces);
        }
        let place = open.file.len() + describing.len() as u64;
        self.shared.shift.store(place.wrapping_sub(chunk.at) % ALIGN as u64, Ordering::Relaxed);
        let blocks = chunk.buffer.body();
        let before_packets = (describing.len() + FRAME_LEN) as u64;
        let looked =
            open.index.as_mut().map(|index| index.look(before_packets, blocks, link_types));
        let crc = match looked {
            Some(Ok(crc)) => crc,
            Some(Err(error)) => {
                self.end_index(open, &error);
                crc32fast::hash(blocks)
            }
            None => crc32fast::hash(blocks),
        };
        let head = frame(Kind::Packets, blocks.len() as u64, chunk.packets, all, crc);
        let before = open.file.len();
        // Nothing stands between the file and this frame: it is written from where it lies.
        let appended = match describing.is_empty() && open.file.takes(&chunk.buffer) {
            true => open.file.append_buffer(&mut chunk.buffer, &head),
            false => open.file.append(&[&describing, &head, blocks]),
        };
        let blocks = chunk.buffer.body();
        if let Err(error) = appended {
            if let Some(index) = &mut open.index {
                index.unlook();
            }
            return Err(error);
        }
        let indexed = open.index.as_mut().map(|index| index.written(&[&describing, &head], blocks));
        if let Some(Err(error)) = indexed {
            self.end_index(open, &error);
        }
        open.described = all;
        open.packets += chunk.packets;
        open.min_ns = open.min_ns.min(chunk.min_ns);
        open.max_ns = open.max_ns.max(chunk.max_ns);
        let account = &self.shared.account;
        add(&account.segment_bytes, open.file.len() - before);
        add(&account.written, chunk.packets);
        add(&account.packet_bytes, chunk.packet_bytes);
        self.mark.segment = open.name.first;
        self.mark.bytes = open.file.len();
        self.mark.next += chunk.packets;
        self.mark.as_of_ns = self.mark.as_of_ns.max(chunk.as_of_ns);
        Ok(())
    }

    /// Leaves an index as it is, as it cannot be written on: it is that of the segment's beginning.
    fn end_index(&self, open: &mut Open, error: &io::Error) {
        if let Some(index) = open.index.take() {
            self.options.notice.say(&format_args!(
                "{} cannot be written: {error}; what is behind byte {} of its segment is not indexed",
                index.path().display(),
                index.covered()
            ));
        }
    }

    /// Begins a segment.
    fn open(&mut self) -> io::Result<Open> {
        if self.number == 0 {
            self.retain();
        }
        let first = self.mark.next;
        let name = SegmentName { writer: self.number, first, is_compressed: false };
        let path = self.store.dir().join(name.to_string());
        let mut file = SegmentFile::create(&path, self.options.segment_bytes)?;
        let mut head = Vec::new();
        let (id, writer) = (self.store.id(), self.number);
        encode::section(
            &mut head,
            &format!("wiretable store={id:016x} writer={writer} sequence={first}"),
        );
        if let Err(error) = file.append(&[&head]).and_then(|()| sync_dir(&path)) {
            // It has nothing in it, and its name is needed again.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        add(&self.shared.account.segments, 1);
        add(&self.shared.account.segment_bytes, head.len() as u64);
        let mut open = Open {
            file,
            index: None,
            name,
            packets: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            described: 0,
            since: Instant::now(),
        };
        if self.options.index {
            let ratio = self.store.index_ratio().clamp(*RATIOS.start(), *RATIOS.end());
            match Growing::create(&path, ratio) {
                Ok(mut index) => {
                    index.written_besides(&[&head]);
                    open.index = Some(index);
                }
                Err(error) => self.options.notice.say(&StoreError::io("index", &path)(error)),
            }
        }
        Ok(open)
    }

    /// Closes the segment at hand: what the kernel has counted, and a frame that sums it up.
    fn close(&mut self) {
        let Some(mut open) = self.segment.take() else { return };
        if open.packets == 0 {
            if let Some(index) = &open.index {
                let _ = std::fs::remove_file(index.path());
            }
            let _ = std::fs::remove_file(open.file.path());
            return;
        }
        let path = open.file.path().to_owned();
        let before = open.file.len();
        if let Err(error) = self.sum_up(&mut open) {
            // The room that it does not need is for others.
            open.file.cut();
            // It is whole but for its end, which the next recorder puts there.
            if !is_full(&error) && self.failure.is_none() {
                self.failure = Some(StoreError::io("close", &path)(error));
            }
            return;
        }
        add(&self.shared.account.segment_bytes, open.file.len() - before);
        let name = open.name;
        match open.file.close() {
            Ok(metadata) => {
                self.mark.synced = self.mark.next;
                self.write_mark();
                let indexed = open.index.map(|index| index.finish(&metadata));
                if let Some(Err(error)) = indexed {
                    self.options.notice.say(&StoreError::io("index", &path)(error));
                }
                if let Some(closed) = &self.closed {
                    // A thread that is gone has failed, and the segment is whole without it.
                    let _ = closed.send(name);
                }
            }
            Err(error) if self.failure.is_none() => {
                self.failure = Some(StoreError::io("close", &path)(error));
            }
            Err(_) => {}
        }
    }

    fn sum_up(&self, open: &mut Open) -> io::Result<()> {
        let end = Frame {
            kind: Kind::End,
            store: self.store.id(),
            sequence: open.name.first,
            bytes: open.file.len(),
            min_ns: open.min_ns,
            max_ns: open.max_ns,
            packets: open.packets,
            interfaces: open.described,
            crc: 0,
        };
        let books = self.shared.account.books();
        if books.received == 0 {
            return open.append_besides(&[&end.encode()]);
        }
        // A writer of a live recording has one interface, unless it came back as another kind.
        let mut blocks = Vec::new();
        let counted = Statistics {
            received: books.received,
            os_dropped: books.os_dropped,
            delivered: books.written,
            began_ns: self.began_ns,
            until_ns: now_ns(),
        };
        encode::statistics(&mut blocks, open.described.saturating_sub(1), &counted);
        let statistics = Frame {
            kind: Kind::Statistics,
            sequence: self.mark.next,
            bytes: blocks.len() as u64,
            packets: 0,
            crc: crc32fast::hash(&blocks),
            ..end
        };
        let statistics = statistics.encode();
        let len = statistics.len() + blocks.len();
        let end = Frame { bytes: end.bytes + len as u64, ..end };
        open.append_besides(&[&statistics, &blocks, &end.encode()])
    }

    fn sync(&mut self) {
        self.synced = Instant::now();
        let Some(mut open) = self.segment.take() else { return };
        if let Some(Err(error)) = open.index.as_mut().map(Growing::flush) {
            self.end_index(&mut open, &error);
        }
        let synced = open.file.sync();
        self.segment = Some(open);
        match synced {
            Ok(()) if self.mark.synced != self.mark.next => {
                self.mark.synced = self.mark.next;
                self.write_mark();
            }
            Ok(()) => {}
            // What the disk did not take is not known; going on would make it look as if all were well.
            Err(error) if !is_full(&error) => self.fail(error),
            Err(_) => {}
        }
    }

    fn write_mark(&self) {
        // A reader sees less than there is; nothing is lost.
        let _ = self.mark_file.write(&self.mark);
    }
}

/// Whether an error says that there is no room: on the disk, or in what this user may take of it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Compresses segments that were closed, until no more come.
pub(super) fn tend(
    store: &OwnStore,
    closed: &Receiver<SegmentName>,
    level: i32,
    notice: &super::Notice,
) {
    for name in closed {
        let segments = store.segments().unwrap_or_default();
        // It may have been deleted by now.
        let segment = segments.iter().find(|segment| segment.name == name);
        let Some(segment) = segment else { continue };
        match crate::store::compress(store, segment, level) {
            Err(error) if segment.path.exists() => {
                notice.say(&StoreError::io("compress", &segment.path)(error));
            }
            _ => {}
        }
    }
}
