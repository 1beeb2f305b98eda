//! The captures of a source as one, in time order.
//!
//! What comes next is a run: records at hand of one capture, up to the head of another one. Captures that take turns after a few packets, as
//! those of the two directions of a link, would make runs of a record or two, for which everything that is done once per batch costs more than what
//! is done per packet. The records of short runs are made one batch, as far as they are of one interface: those of files that are mapped beside each other
//! as they lie, others copied.

use wt_trace::{Meanwhile, SideBySide};
use wt_wire::{Batch, CaptureError, Heads, LinkType, RecordRef};

use super::Label;
use super::cursor::Cursor;

/// Records from which on a run is given as it is.
const RUN_RECORDS_MIN: usize = 16;
/// Most records of a batch of short runs.
const GATHERED_RECORDS_MAX: usize = 1024;
/// Copied bytes from which on no more of them are.
const COPIED_BYTES_MAX: usize = 256 << 10;

/// Several captures, merged by the stamps of their records. Each keeps its own order, also where its clock steps back; of equal stamps the capture
/// given first comes first.
pub(super) struct Merged {
    cursors: Vec<Cursor>,
    /// The files among them.
    beside: Option<SideBySide>,
    heads: Heads,
    gathered: Gathered,
    /// What comes behind what was gathered.
    run: Run,
}

/// So many records at hand of a capture.
#[derive(Clone, Copy, Default)]
struct Run {
    capture: usize,
    count: usize,
}

/// Records of short runs, whose interface is that of a record of `capture`.
#[derive(Default)]
struct Gathered {
    /// Where their bytes begin among files beside each other, or else copies of them.
    base: Option<usize>,
    copied: Vec<u8>,
    records: Vec<RecordRef>,
    given: usize,
    capture: usize,
    interface: u32,
    /// LINKTYPE_ number.
    link_type: u16,
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.given == self.records.len()
    }

    fn clear(&mut self) {
        self.copied.clear();
        self.records.clear();
        self.given = 0;
    }

    /// Begins with records of such an interface.
    fn begin(&mut self, capture: usize, batch: &Batch<'_>, base: Option<usize>) {
        self.base = base;
        (self.capture, self.interface, self.link_type) =
            (capture, batch.interface, batch.link_type.0);
    }

    /// Takes records, if they can stand beside those that it has.
    fn add(&mut self, beside: Option<&SideBySide>, batch: &Batch<'_>, count: usize) -> bool {
        let records = &batch.records[..count];
        let Some(base) = self.base else {
            for record in records {
                let at = self.copied.len() as u32;
                self.copied.extend_from_slice(batch.bytes(record));
                self.records.push(RecordRef { at, ..*record });
            }
            return true;
        };
        let offset = beside.and_then(|beside| beside.offset_of(batch.data));
        let Some(offset) = offset.and_then(|offset| offset.checked_sub(base)) else { return false };
        // Places are numbers of 32 bits.
        if offset + batch.data.len() > u32::MAX as usize {
            return false;
        }
        let moved = |record: &RecordRef| RecordRef { at: record.at + offset as u32, ..*record };
        self.records.extend(records.iter().map(moved));
        true
    }

    fn has_room(&self) -> bool {
        self.records.len() < GATHERED_RECORDS_MAX && self.copied.len() < COPIED_BYTES_MAX
    }

    fn batch<'a>(&'a self, beside: Option<&'a SideBySide>) -> Batch<'a> {
        let data = match (self.base, beside) {
            (Some(base), Some(beside)) => &beside.bytes()[base..],
            _ => &self.copied,
        };
        Batch {
            data,
            records: &self.records[self.given..],
            link_type: LinkType(self.link_type),
            interface: self.interface,
            data_offset: 0,
            header_len: 0,
        }
    }
}

/// What comes next.
pub(super) struct Next<'a> {
    /// The capture among whose interfaces [`Batch::interface`] is.
    pub(super) capture: usize,
    pub(super) batch: Batch<'a>,
    /// The walk over what comes behind it.
    pub(super) more: Option<Meanwhile<'a>>,
}

impl Merged {
    /// `beside` are the files among the captures.
    pub(super) fn new(cursors: Vec<Cursor>, beside: Option<SideBySide>) -> Self {
        let heads = Heads::new(cursors.len());
        Self { cursors, beside, heads, gathered: Gathered::default(), run: Run::default() }
    }

    pub(super) fn cursors(&self) -> &[Cursor] {
        &self.cursors
    }

    /// Reads on where all at hand was given: whether there is a packet that comes next. `label` is what is known of an interface of a capture;
    /// `note` is told of damage.
    pub(super) fn load<'a>(
        &mut self,
        label: impl Fn(usize, u32) -> Option<&'a Label>,
        mut note: impl FnMut(&CaptureError),
    ) -> bool {
        if !self.gathered.is_empty() {
            return true;
        }
        if self.run.count == 0 {
            while let Some(capture) = self.heads.to_read() {
                match self.cursors[capture].head() {
                    Ok(Some(time_ns)) => self.heads.put(capture, time_ns),
                    Ok(None) => {}
                    Err(error) => note(&error),
                }
            }
            if !self.take_run(&mut note) {
                return false;
            }
        }
        if self.cursors.len() > 1 {
            self.gather(label, &mut note);
        }
        true
    }

    /// Takes the next run, if there is one; its capture's head is to be read then.
    fn take_run(&mut self, note: &mut impl FnMut(&CaptureError)) -> bool {
        let capture = loop {
            let Some(capture) = self.heads.take() else { return false };
            let cursor = &mut self.cursors[capture];
            if cursor.waiting().is_none() {
                break capture;
            }
            match cursor.fill() {
                Ok(Some(time_ns)) => self.heads.put(capture, time_ns),
                Ok(None) => {}
                Err(error) => note(&error),
            }
        };
        let (records, last_ns) = (self.cursors[capture].records(), self.heads.last_ns(capture));
        let behind = match self.cursors.len() {
            1 => None,
            _ => records.iter().skip(1).position(|record| record.timestamp_ns > last_ns),
        };
        let count = behind.map_or(records.len(), |behind| 1 + behind);
        self.run = Run { capture, count };
        self.heads.taken(capture);
        true
    }

    /// Makes a batch of the run at hand and those that follow, as long as they are short, of one interface that is known, and at hand.
    fn gather<'a>(
        &mut self,
        label: impl Fn(usize, u32) -> Option<&'a Label>,
        note: &mut impl FnMut(&CaptureError),
    ) {
        self.gathered.clear();
        let beside = self.beside.clone();
        let beside = beside.as_ref();
        let mut first = None;
        while self.run.count < RUN_RECORDS_MIN && self.gathered.has_room() {
            let Run { capture, count } = self.run;
            let Some((batch, _)) = self.cursors[capture].batch() else { return };
            let Some(label) = label(capture, batch.interface) else { return };
            match first {
                None => {
                    // Files that are not mapped, now or at all, have their records elsewhere.
                    let offset = |batch: Batch<'_>| beside?.offset_of(batch.data);
                    let lowest =
                        || self.cursors.iter().filter_map(|cursor| offset(cursor.batch()?.0)).min();
                    let base = offset(batch).and_then(|_| lowest());
                    self.gathered.begin(capture, &batch, base);
                    first = Some(label);
                }
                Some(first) => {
                    let is_same = first.ifindex == label.ifindex && first.name == label.name;
                    if !is_same || batch.link_type.0 != self.gathered.link_type {
                        return;
                    }
                }
            }
            if !self.gathered.add(beside, &batch, count) {
                return;
            }
            self.run.count = 0;
            let cursor = &mut self.cursors[capture];
            cursor.give(count);
            // Nobody knows what comes next of a capture of which nothing is at hand.
            let Some(head) = cursor.records().first() else { return };
            if let Some(read) = self.heads.to_read() {
                self.heads.put(read, head.timestamp_ns);
            }
            if !self.take_run(note) {
                return;
            }
        }
    }

    /// The packets that come next, as far as that is known without reading on.
    pub(super) fn next(&self) -> Option<Next<'_>> {
        if !self.gathered.is_empty() {
            let batch = self.gathered.batch(self.beside.as_ref());
            return Some(Next { capture: self.gathered.capture, batch, more: None });
        }
        let Run { capture, count } = self.run;
        let (batch, more) = self.cursors.get(capture)?.batch()?;
        let batch = Batch { records: &batch.records[..count], ..batch };
        (count > 0).then_some(Next { capture, batch, more })
    }

    /// Their records.
    pub(super) fn records(&self) -> &[RecordRef] {
        match self.gathered.is_empty() {
            false => &self.gathered.records[self.gathered.given..],
            true if self.run.count > 0 => {
                &self.cursors[self.run.capture].records()[..self.run.count]
            }
            true => &[],
        }
    }

    /// Enters that so many of them were given.
    pub(super) fn give(&mut self, count: usize) {
        if !self.gathered.is_empty() {
            self.gathered.given += count;
            return;
        }
        if let Some(cursor) = self.cursors.get_mut(self.run.capture) {
            cursor.give(count);
            self.run.count -= count;
        }
    }
}
