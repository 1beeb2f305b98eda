//! Sources: the captures of one interface, and what is counted of them.

mod cursor;
mod cut;
mod merged;
mod turns;

use std::collections::{HashMap, VecDeque};

use wt_catalog::Value;
use wt_trace::index::{Chosen, Places, Reading, Taken};
use wt_trace::store::Pieces;
use wt_trace::{MapFile, Meanwhile, TraceFile, TraceReader, Tuning};
use wt_wire::{Batch, CaptureError, CaptureReader, RecordRef};

use crate::error::EngineError;
use crate::ledger::{CaptureDamage, IndexLedger, InterfaceLedger};
use crate::lfta::LftaBackend;
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::tuple::Message;

use self::cursor::Cursor;
pub(crate) use self::cut::{Asked, Cutting, RangeRead, RangeReader, Ranges};
use self::merged::{Merged, Next};
pub(crate) use self::turns::Turns;

/// Files whose first packets are looked at.
const SAMPLED_MAX: usize = 4;

/// The captures of one interface, read in time order.
#[derive(Debug)]
pub struct Source {
    /// Interface name, as the plan knows it.
    pub interface: String,
    /// Its captures.
    pub captures: Captures,
}

/// Captures of one interface.
#[derive(Debug, Default)]
pub struct Captures {
    /// All of them, merged by time.
    pub several: Vec<Capture>,
    /// What is counted of those of which indices have left out what the plan does not need ([`wt_plan::wanted()`]), but for those that are
    /// [`Capture::PlainIndexed`].
    pub parts: Vec<IndexedPart>,
    /// The same in pieces, of each writer, where they are one store.
    pub pieces: Vec<Pieces>,
}

/// One capture of an interface.
#[derive(Debug)]
pub enum Capture {
    /// Any, read record by record.
    Any(Box<CaptureReader>),
    /// A plain file, pcap or pcapng, read as fast as the machine allows.
    Plain(TraceFile),
    /// What an index has chosen of a plain file, read as such a file is.
    PlainIndexed(TraceFile, Chosen),
}

/// A trace or a store of which an index has left something out.
#[derive(Clone, Debug)]
pub struct IndexedPart {
    /// How much is read.
    pub reading: Reading,
    /// Name of the capture.
    pub name: String,
    /// Where the bytes that are read stand in the trace.
    pub places: Option<Places>,
}

impl From<CaptureReader> for Capture {
    fn from(reader: CaptureReader) -> Self {
        Self::Any(Box::new(reader))
    }
}

impl From<Vec<CaptureReader>> for Captures {
    fn from(readers: Vec<CaptureReader>) -> Self {
        Self { several: readers.into_iter().map(Capture::from).collect(), ..Self::default() }
    }
}

impl From<Capture> for Captures {
    fn from(capture: Capture) -> Self {
        Self { several: vec![capture], ..Self::default() }
    }
}

/// What packets come from.
enum Input {
    Captures {
        merged: Merged,
        /// The same, for several to read.
        pieces: Vec<Pieces>,
    },
    /// Read in ranges by others, as far as `position`.
    Ranges { trace: TraceFile, position: u64, chosen: Option<Chosen>, others: Others },
    /// Read in pieces by others, so many bytes so far.
    Pieces { link_type: Option<u16>, bytes: u64, bytes_total: u64, next: VecDeque<Pieces> },
}

/// The other files of a source that is read file by file.
#[derive(Default)]
struct Others {
    /// Those to come.
    next: VecDeque<TraceFile>,
    /// Files that were read.
    count: usize,
    /// Bytes of these.
    read: u64,
}

impl Others {
    fn bytes_to_come(&self) -> u64 {
        self.next.iter().map(TraceFile::len).sum()
    }
}

/// Indices of interfaces by order of first appearance, over all sources of a run.
#[derive(Default)]
pub(crate) struct InterfaceIndices {
    known: HashMap<(usize, Option<Box<str>>, u32), u32>,
}

impl InterfaceIndices {
    fn index(&mut self, key: (usize, Option<Box<str>>, u32)) -> u32 {
        let next = self.known.len() as u32;
        *self.known.entry(key).or_insert(next)
    }
}

/// What the packets of one interface of one capture have in common.
#[derive(Clone)]
struct Label {
    name: Value,
    ifindex: u32,
}

/// A source at work.
pub(crate) struct Feed {
    number: usize,
    input: Input,
    /// Name for packets of captures that give none.
    name: Value,
    /// By capture, then interface within it.
    labels: Vec<Vec<Option<Label>>>,
    /// Captures of which indices have left something out.
    parts: Vec<IndexedPart>,
    ledger: InterfaceLedger,
}

impl Feed {
    /// `alone` tells that no other source is read, and that a store may be read in pieces.
    pub(crate) fn new(number: usize, source: Source, alone: bool) -> Self {
        let Source { interface, captures } = source;
        let Captures { several, mut parts, pieces } = captures;
        let files = several.iter().filter_map(|capture| match capture {
            Capture::Any(_) => None,
            Capture::Plain(file) | Capture::PlainIndexed(file, _) => Some(file),
        });
        let is_only = several.len() == 1;
        let beside = if is_only { None } else { TraceFile::side_by_side(files) };
        let cursor = |capture| match capture {
            Capture::Any(reader) => Cursor::from(*reader),
            Capture::Plain(trace) if is_only => Cursor::from(trace.reader()),
            Capture::Plain(trace) => Cursor::from(trace),
            Capture::PlainIndexed(trace, chosen) => {
                let reading = Reading::new(chosen.taken());
                let reader = trace.reader_of_chosen(chosen, reading.clone());
                let name = trace.name().to_owned();
                parts.push(IndexedPart { reading, name, places: None });
                Cursor::from(reader)
            }
        };
        let cursors: Vec<Cursor> = several.into_iter().map(cursor).collect();
        Self {
            number,
            name: Value::bytes(&interface),
            labels: vec![Vec::new(); cursors.len()],
            input: Input::Captures {
                merged: Merged::new(cursors, beside),
                pieces: if alone { pieces } else { Vec::new() },
            },
            parts,
            ledger: InterfaceLedger { name: interface, ..Default::default() },
        }
    }

    /// Reads on where all at hand was given: whether there is a packet that comes next.
    pub(crate) fn load(&mut self) -> bool {
        let Self { input, labels, parts, ledger, .. } = self;
        let Input::Captures { merged, .. } = input else { return false };
        let label = |capture: usize, interface| label_of(&labels[capture], interface);
        merged.load(label, |error| note(ledger, parts, error))
    }

    /// The packets that come next, as far as that is known without reading on: all of one interface.
    pub(crate) fn at_hand(&self) -> &[RecordRef] {
        match &self.input {
            Input::Captures { merged, .. } => merged.records(),
            Input::Ranges { .. } | Input::Pieces { .. } => &[],
        }
    }

    /// Looks up the interface of the packet that comes next, if it has not been seen before.
    pub(crate) fn name_next(&mut self, indices: &mut InterfaceIndices) {
        let Input::Captures { merged, .. } = &self.input else { return };
        let Some(Next { capture, batch, .. }) = merged.next() else { return };
        let interface = batch.interface;
        if label_of(&self.labels[capture], interface).is_none() {
            self.label(indices, capture, interface);
        }
    }

    /// Gives so many packets of [`Self::at_hand`] to `take`, whose interface was looked up.
    pub(crate) fn give<E>(
        &mut self,
        count: usize,
        take: impl FnOnce(&PacketBatch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Input::Captures { merged, .. } = &mut self.input else { return Ok(()) };
        if let Some(Next { capture, batch, more }) = merged.next()
            && let Some(label) = label_of(&self.labels[capture], batch.interface)
        {
            let batch = Batch { records: &batch.records[..count], ..batch };
            self.ledger.add(batch.records);
            take(&packets(&batch, more, label))?;
        }
        merged.give(count);
        Ok(())
    }

    /// Gives a backend the next packets, at most `max`; says how many there were, none at the end. `ordinal` is that of the first one.
    pub(crate) fn next(
        &mut self,
        backend: &mut dyn LftaBackend,
        (indices, ordinal, max): (&mut InterfaceIndices, u64, usize),
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<u64, EngineError> {
        if !self.load() {
            return Ok(0);
        }
        self.name_next(indices);
        let count = self.at_hand().len().min(max);
        self.give(count, |batch| backend.batch(batch, ordinal, memory, out))?;
        Ok(count as u64)
    }

    /// What the first packets begin with.
    pub(crate) fn first_link_type(&mut self) -> Option<u16> {
        if let Input::Captures { merged, .. } = &self.input
            && merged.cursors().first().is_none_or(|first| first.file().is_none())
        {
            // What is described before the first packets.
            self.load();
        }
        match &self.input {
            Input::Captures { merged, .. } => {
                let first = |cursor: &Cursor| Some(cursor.interfaces().first()?.link_type.0);
                merged.cursors().iter().find_map(first)
            }
            Input::Ranges { trace, .. } => Some(trace.interface().link_type.0),
            Input::Pieces { link_type, .. } => *link_type,
        }
    }

    /// The one plain file that is read.
    fn trace(&self) -> Option<&TraceReader> {
        match &self.input {
            Input::Captures { merged, .. } => match merged.cursors() {
                [cursor] => cursor.trace(),
                _ => None,
            },
            Input::Ranges { .. } | Input::Pieces { .. } => None,
        }
    }

    /// Looks up an interface that has not been seen before.
    fn label(&mut self, indices: &mut InterfaceIndices, capture: usize, interface: u32) -> Label {
        let info = match &self.input {
            Input::Captures { merged, .. } => merged.cursors().get(capture).map(Cursor::interfaces),
            Input::Ranges { trace, .. } => Some(std::slice::from_ref(trace.interface())),
            // Whoever reads a piece knows its interfaces.
            Input::Pieces { .. } => None,
        };
        let info = info.and_then(|interfaces| interfaces.get(interface as usize));
        let name = info.and_then(|info| info.name.clone());
        let label = Label {
            name: name.as_ref().map_or_else(|| self.name.clone(), |n| Value::bytes(n.as_bytes())),
            // Interfaces of one name are one; those without are told apart by their place.
            ifindex: match name {
                Some(name) => indices.index((self.number, Some(name), 0)),
                None => indices.index((self.number, None, interface)),
            },
        };
        let labels = &mut self.labels[capture];
        let place = interface as usize;
        if labels.len() <= place {
            labels.resize(place + 1, None);
        }
        labels[place] = Some(label.clone());
        label
    }

    /// Captures that broke off so far.
    pub(crate) fn broken(&self) -> u64 {
        self.ledger.damage.len() as u64
    }

    /// Bytes of the files read so far, and their sizes where all are known.
    pub(crate) fn bytes(&self) -> (u64, Option<u64>) {
        match &self.input {
            Input::Captures { merged, .. } => {
                let cursors = merged.cursors();
                let read = cursors.iter().map(|cursor| cursor.bytes().0).sum();
                (read, cursors.iter().map(|cursor| cursor.bytes().1).sum())
            }
            Input::Ranges { trace, position, others, .. } => {
                let all = others.read + trace.len() + others.bytes_to_come();
                (others.read + position, Some(all))
            }
            Input::Pieces { bytes, bytes_total, .. } => (*bytes, Some(*bytes_total)),
        }
    }

    /// Looks at the first packets of the first few plain files, by readers of its own: two may be the directions of a link.
    pub(crate) fn sample<T>(
        &self,
        look: impl Fn(&PacketBatch<'_>) -> T,
    ) -> impl Iterator<Item = T> {
        let cursors = match &self.input {
            Input::Captures { merged, .. } => merged.cursors(),
            Input::Ranges { .. } | Input::Pieces { .. } => &[],
        };
        let files = cursors.iter().filter_map(Cursor::file).take(SAMPLED_MAX);
        files.filter_map(move |file| {
            let tuning = Tuning { map: MapFile::Never, ..Tuning::default() };
            let mut reader = file.clone().tuned(tuning).reader();
            let label = Label { name: self.name.clone(), ifindex: 0 };
            let batch = reader.next_batch().ok()??;
            Some(look(&packets(&batch, None, &label)))
        })
    }

    /// Bytes of the captures, where they say how many: a compressed one may hold any number.
    pub(crate) fn unpacked_bytes(&self) -> Option<u64> {
        match &self.input {
            Input::Captures { pieces, .. } if !pieces.is_empty() => {
                Some(pieces.iter().map(Pieces::bytes).sum())
            }
            Input::Captures { merged, .. } => {
                merged.cursors().iter().map(Cursor::unpacked_bytes).sum()
            }
            Input::Pieces { bytes_total, .. } => Some(*bytes_total),
            Input::Ranges { chosen: Some(chosen), .. } => Some(chosen.taken().bytes.0),
            Input::Ranges { .. } => self.bytes().1,
        }
    }

    /// How much is read, where indices say what is not.
    fn taken(&self) -> Option<Taken> {
        let mut parts = self.parts.iter().map(|part| part.reading.taken());
        let first = parts.next()?;
        Some(parts.fold(first, |mut sum, taken| {
            sum.add(&taken);
            sum
        }))
    }

    /// Records read so far.
    pub(crate) fn records(&self) -> u64 {
        self.ledger.records
    }

    /// The books, without what the backend counts; `is_complete` tells that all captures were read to their ends.
    pub(crate) fn ledger(&self, is_complete: bool) -> InterfaceLedger {
        let index = self.taken().map(|taken| {
            let is_counted = is_complete && taken.uncounted == 0 && self.ledger.damage.is_empty();
            IndexLedger {
                segments: taken.segments,
                blocks: taken.blocks,
                bytes: taken.bytes,
                skipped: taken.packets_skipped,
                packets: is_counted.then_some(taken.packets),
            }
        });
        InterfaceLedger { index, ..self.ledger.clone() }
    }
}

fn label_of(labels: &[Option<Label>], interface: u32) -> Option<&Label> {
    labels.get(interface as usize)?.as_ref()
}

fn packets<'a>(
    batch: &Batch<'a>,
    meanwhile: Option<Meanwhile<'a>>,
    label: &'a Label,
) -> PacketBatch<'a> {
    PacketBatch {
        data: batch.data,
        records: batch.records,
        link_type: batch.link_type.0,
        interface: &label.name,
        ifindex: label.ifindex,
        meanwhile,
    }
}

/// Enters damage, where it stands in the trace.
fn note(ledger: &mut InterfaceLedger, parts: &[IndexedPart], error: &CaptureError) {
    if let Some(damage) = error.damage() {
        let capture = error.name().to_owned();
        let mut damage = damage.clone();
        let part = parts.iter().find(|part| part.name == capture);
        if let Some(places) = part.and_then(|part| part.places.as_ref()) {
            damage.offset = places.of(damage.offset);
        }
        ledger.damage.push(CaptureDamage { capture, damage });
    }
}

impl InterfaceLedger {
    /// Enters records that were read and given to the queries.
    pub(crate) fn add(&mut self, records: &[RecordRef]) {
        self.records += records.len() as u64;
        self.processed += records.len() as u64;
        for record in records {
            self.wire_bytes += u64::from(record.len);
            self.captured_bytes += u64::from(record.caplen);
            self.truncated += u64::from(record.caplen < record.len);
        }
    }
}
