//! A store as it grows: the recorded past, then what the recorder writes, each packet once.
//!
//! A reader knows how many packets of a writer it has read, and so the number of the next one. The seam between the past and the present is that number,
//! never a time: the segment at hand is read up to the mark, then the mark is looked at again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wt_wire::RecordRef;

use super::findings::{Finding, Findings};
use super::frame::Kind;
use super::mark::{Mark, MarkFile};
use super::scan::Scan;
use super::{Segment, Store, StoreError, WRITERS_MAX, blocks, name, read};
use crate::index::{Taken, Wanted};
use crate::record::Interface;

/// How often it is looked whether the recorder is still there.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a packet waits for those of writers that are silent: what they have written by then came before, whatever it is stamped.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Packets of one interface that lie side by side.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What holds their bytes.
    pub data: &'a [u8],
    /// The packets.
    pub records: &'a [RecordRef],
    /// The interface that they came by.
    pub interface: &'a Interface,
    /// Number of the writer.
    pub writer: u16,
    /// Sequence number of the first.
    pub sequence: u64,
}

/// What came of a look.
#[derive(Debug)]
pub enum Followed<'a> {
    /// Packets.
    Packets(Run<'a>),
    /// There is nothing more now.
    CaughtUp {
        /// No packet that is still to come was stamped before, ns since the epoch; 0: nothing is known.
        as_of_ns: u64,
    },
    /// The recorder has ended, and all is read.
    Ended,
}

/// Reads a store and follows its recorder. Several writers are merged by time, as far as each is known to have come: a packet waits for writers that may
/// still come with earlier ones. Where clocks step, a silent writer may seem to be behind for as long as the step; then packets wait a second, no longer.
pub struct Follow {
    store: Store,
    lanes: Vec<Lane>,
    findings: Findings,
    looked: Instant,
    is_recorded: bool,
    /// Since when packets have waited for silent writers, and how long they may.
    waiting: Option<Instant>,
    wait_max: Duration,
    /// Which packets are wanted; others may be left out.
    wanted: Wanted,
    taken: Taken,
}

impl Follow {
    /// Begins with the first packet that the store has.
    ///
    /// # Errors
    /// The directory cannot be read, or has what is not ours.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let is_recorded = store.is_recorded();
        let mut follow = Self {
            store,
            lanes: Vec::new(),
            findings: Findings::default(),
            looked: Instant::now(),
            is_recorded,
            waiting: None,
            wait_max: WAIT_MAX,
            wanted: Wanted::Any,
            taken: Taken::default(),
        };
        follow.find_writers()?;
        Ok(follow)
    }

    /// Leaves out, from here on, segments and frames whose times say that they have no wanted packet: closed segments of that kind are not
    /// opened. The packets that are given come in the same order.
    pub fn leave_out(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// Lets packets wait for no writer that is silent: whoever does not go on with the recorder wants what is there, and has caught up when he has it.
    pub fn without_waiting(&mut self) {
        self.wait_max = Duration::ZERO;
    }

    /// How much was read, and left out, so far.
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// What is found on the way.
    pub fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// What the first packets begin with, where it is known by now.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn first_link_type(&mut self) -> Result<Option<u16>, StoreError> {
        for lane in &mut self.lanes {
            lane.fill(&self.store, &self.findings, &self.wanted, &mut self.taken)?;
            if let Some((interface, _)) = lane.records.get(lane.at) {
                let interface = lane.interfaces.get(*interface as usize);
                return Ok(interface.map(|interface| interface.link_type.0));
            }
        }
        Ok(None)
    }

    fn find_writers(&mut self) -> Result<(), StoreError> {
        for writer in 0..WRITERS_MAX {
            let is_known = self.lanes.iter().any(|lane| lane.writer == writer);
            let path = self.store.dir().join(name::mark(writer));
            if is_known || !path.exists() {
                continue;
            }
            let mark = MarkFile::open(&path).map_err(StoreError::io("read", &path))?;
            self.lanes.push(Lane::new(writer, mark));
        }
        Ok(())
    }

    /// The next packets, at most `max`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn next(&mut self, max: usize) -> Result<Followed<'_>, StoreError> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.is_recorded = self.store.is_recorded();
            self.find_writers()?;
        }
        // Whether there is a recorder is looked at before what it has written: its last packets are not missed.
        let is_recorded = self.is_recorded;
        for lane in &mut self.lanes {
            lane.fill(&self.store, &self.findings, &self.wanted, &mut self.taken)?;
        }
        let head = |lane: &Lane| Some((lane.head_ns()?, lane.writer));
        let first = self.lanes.iter().filter_map(head).min();
        let Some((head_ns, writer)) = first else {
            if !is_recorded {
                return Ok(Followed::Ended);
            }
            let as_of_ns = self.lanes.iter().map(|lane| lane.as_of_ns).min().unwrap_or(0);
            return Ok(Followed::CaughtUp { as_of_ns });
        };
        // Other writers may still come with packets of this time, unless they have come further.
        let others = || self.lanes.iter().filter(|lane| lane.writer != writer);
        let of_packets = others().filter_map(Lane::head_ns).min().unwrap_or(u64::MAX);
        let may_come = |lane: &&Lane| lane.head_ns().is_none() && is_recorded && !lane.is_ended;
        let of_silent = others().filter(may_come).map(|lane| lane.as_of_ns).min();
        let mut bound_ns = of_silent.map_or(of_packets, |as_of_ns| as_of_ns.min(of_packets));
        if head_ns <= bound_ns {
            self.waiting = None;
        } else if self.waiting.get_or_insert_with(Instant::now).elapsed() < self.wait_max {
            return Ok(Followed::CaughtUp { as_of_ns: bound_ns });
        } else {
            bound_ns = of_packets;
        }
        let lane = self.lanes.iter_mut().find(|lane| lane.writer == writer);
        Ok(lane.map_or(Followed::Ended, |lane| Followed::Packets(lane.take(max, bound_ns))))
    }
}

/// One writer.
struct Lane {
    writer: u16,
    mark: MarkFile,
    at_segment: Option<AtSegment>,
    /// Number of the next packet to be read from a segment.
    next: u64,
    interfaces: Vec<Interface>,
    body: Vec<u8>,
    /// Packets of `body`: the interface of each, and where it lies.
    records: Vec<(u32, RecordRef)>,
    /// Those that are given, by reference.
    given: Vec<RecordRef>,
    /// The next of `records`.
    at: usize,
    /// Sequence number of the first of `records`.
    sequence: u64,
    as_of_ns: u64,
    is_ended: bool,
    /// The latest stamp of what was left out: nothing behind it comes before.
    floor_ns: u64,
}

/// A segment that is read.
struct AtSegment {
    segment: Segment,
    scan: Scan<Box<dyn Read + Send>>,
    /// How far it may be read.
    limit: Arc<AtomicU64>,
}

/// A file up to a limit that moves.
struct Growing {
    file: File,
    at: u64,
    limit: Arc<AtomicU64>,
}

impl Read for Growing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.limit.load(Ordering::Relaxed).saturating_sub(self.at);
        let len = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        let count = self.file.read_at(&mut out[..len], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Lane {
    fn new(writer: u16, mark: MarkFile) -> Self {
        Self {
            writer,
            mark,
            at_segment: None,
            next: 0,
            interfaces: Vec::new(),
            body: Vec::new(),
            records: Vec::new(),
            given: Vec::new(),
            at: 0,
            sequence: 0,
            as_of_ns: 0,
            is_ended: false,
            floor_ns: 0,
        }
    }

    /// When the next packet comes among those of other writers.
    fn head_ns(&self) -> Option<u64> {
        self.records.get(self.at).map(|(_, record)| record.timestamp_ns.max(self.floor_ns))
    }

    /// The next packets of one interface, up to a time unless the first is behind it.
    fn take(&mut self, max: usize, until_ns: u64) -> Run<'_> {
        let rest = &self.records[self.at..];
        let interface = rest.first().map_or(0, |(interface, _)| *interface);
        let count = rest
            .iter()
            .take(max.max(1))
            .take_while(|(other, record)| {
                let at_ns = record.timestamp_ns.max(self.floor_ns);
                *other == interface && at_ns <= until_ns
            })
            .count()
            .max(1);
        self.given.clear();
        self.given.extend(rest.iter().take(count).map(|(_, record)| *record));
        let sequence = self.sequence + self.at as u64;
        self.at += count;
        Run {
            data: &self.body,
            records: &self.given,
            // Packets of interfaces that are not described were left out.
            interface: &self.interfaces[interface as usize],
            writer: self.writer,
            sequence,
        }
    }

    /// Has packets at hand, if there are any by now.
    fn fill(
        &mut self,
        store: &Store,
        findings: &Findings,
        wanted: &Wanted,
        taken: &mut Taken,
    ) -> Result<(), StoreError> {
        while self.at >= self.records.len() {
            if self.at_segment.is_some() {
                if self.frame(findings, wanted, taken) {
                    continue;
                }
            } else if let Some(segment) = self.next_segment(store)? {
                if !self.leaves_out(store, &segment, wanted, taken) {
                    self.open(store, segment, findings, taken);
                }
                continue;
            }
            // How far the writer has come, and whether more may be read by now.
            let Some(mark) = self.mark.read() else { return Ok(()) };
            if self.may_read_on(&mark) {
                continue;
            }
            if mark.next <= self.next {
                self.as_of_ns = self.as_of_ns.max(mark.as_of_ns);
            }
            self.is_ended = mark.is_ended;
            return Ok(());
        }
        Ok(())
    }

    /// The next segment of this writer: the one that begins with the next packet, or, where the recorder has deleted that, the first behind it.
    fn next_segment(&self, store: &Store) -> Result<Option<Segment>, StoreError> {
        let segments = store.segments()?;
        Ok(segments
            .into_iter()
            .find(|segment| segment.name.writer == self.writer && segment.name.first >= self.next))
    }

    /// Steps over a closed segment that has no wanted packet.
    fn leaves_out(
        &mut self,
        store: &Store,
        segment: &Segment,
        wanted: &Wanted,
        taken: &mut Taken,
    ) -> bool {
        if *wanted == Wanted::Any {
            return false;
        }
        let Some(summary) = store.summary(segment) else { return false };
        if summary.range_ns.is_some_and(|range| wanted.may_be_in(range, None)) {
            return false;
        }
        taken.add(&Taken {
            segments: (0, 1),
            bytes: (0, segment.bytes),
            packets_skipped: summary.packets,
            ..Taken::default()
        });
        self.floor_ns = self.floor_ns.max(summary.range_ns.map_or(0, |(_, max_ns)| max_ns));
        self.next = segment.name.first + summary.packets.max(1);
        true
    }

    fn open(&mut self, store: &Store, segment: Segment, findings: &Findings, taken: &mut Taken) {
        let name = segment.name;
        let limit = Arc::new(AtomicU64::new(0));
        let source: io::Result<Box<dyn Read + Send>> = match name.is_compressed {
            true => read::open(&segment.path, name, None),
            false => File::open(&segment.path)
                .map(|file| Box::new(Growing { file, at: 0, limit: Arc::clone(&limit) }) as _),
        };
        match source {
            Ok(source) => {
                if store.summary(&segment).is_some() {
                    limit.store(u64::MAX, Ordering::Relaxed);
                }
                let bytes = (segment.bytes, segment.bytes);
                taken.add(&Taken { segments: (1, 1), bytes, ..Taken::default() });
                let scan = Scan::new(source, store.id(), name.first);
                self.interfaces.clear();
                self.next = name.first;
                self.at_segment = Some(AtSegment { segment, scan, limit });
            }
            // It was deleted or compressed at this moment; the next look finds what there is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let (segment, message) = (name.to_string(), error.to_string());
                findings.add(Finding::Unreadable { segment, message });
                self.next = name.first + 1;
            }
        }
    }

    /// Reads a frame; whether there was one, or the segment has ended.
    fn frame(&mut self, findings: &Findings, wanted: &Wanted, taken: &mut Taken) -> bool {
        let Some(AtSegment { segment, scan, limit }) = &mut self.at_segment else { return false };
        let name = segment.name.to_string();
        let mut damaged = |skipped| {
            findings.add(Finding::Damaged { segment: name.clone(), skipped });
        };
        let before = scan.next;
        let read = scan.next(&mut damaged);
        match read {
            Ok(Some((frame, body))) => {
                match frame.kind {
                    Kind::Interfaces => self.interfaces.extend(blocks::interfaces(body)),
                    Kind::Packets if !wanted.may_be_in((frame.min_ns, frame.max_ns), None) => {
                        taken.packets_skipped += frame.packets;
                        self.floor_ns = self.floor_ns.max(frame.max_ns);
                        self.next = scan.next.max(before);
                    }
                    Kind::Packets => {
                        blocks::packets(body, &mut self.records);
                        let described = self.interfaces.len() as u32;
                        self.records.retain(|(interface, _)| *interface < described);
                        self.body.clear();
                        self.body.extend_from_slice(body);
                        (self.at, self.sequence) = (0, frame.sequence);
                        self.next = scan.next.max(before);
                    }
                    Kind::Statistics | Kind::End => {}
                }
                true
            }
            Ok(None) => {
                let is_over = scan.is_closed || limit.load(Ordering::Relaxed) == u64::MAX;
                if !is_over {
                    return false;
                }
                if let Some(skipped) = scan.tail(None) {
                    findings.add(Finding::Unfinished { segment: name, skipped });
                }
                // Behind an empty one comes another.
                self.next = self.next.max(segment.name.first + 1).max(scan.next);
                self.at_segment = None;
                true
            }
            Err(error) => {
                let message = error.to_string();
                findings.add(Finding::Unreadable { segment: name, message });
                self.next = self.next.max(segment.name.first + 1);
                self.at_segment = None;
                true
            }
        }
    }

    /// Lets the segment at hand be read as far as the mark says.
    fn may_read_on(&mut self, mark: &Mark) -> bool {
        let Some(AtSegment { segment, scan, limit }) = &mut self.at_segment else {
            return false;
        };
        let limit_now = limit.load(Ordering::Relaxed);
        let first = segment.name.first;
        let until = match mark.segment.cmp(&first) {
            std::cmp::Ordering::Equal if !mark.is_ended => mark.bytes,
            // Another was begun, or none will be: this one is as long as it will ever be.
            _ if mark.segment >= first => u64::MAX,
            _ => return false,
        };
        if until <= limit_now {
            return false;
        }
        limit.store(until, Ordering::Relaxed);
        scan.go_on();
        true
    }
}
