//! Sources: the captures of one interface, and what is counted of them.

mod cut;

use std::collections::HashMap;

use wt_catalog::Value;
use wt_trace::index::{Chosen, Places, Reading, Taken};
use wt_trace::store::Pieces;
use wt_trace::{MapFile, Meanwhile, TraceFile, TraceReader, Tuning};
use wt_wire::{Batch, CaptureError, CaptureReader, MergedCaptures, RecordRef};

use crate::error::EngineError;
use crate::ledger::{CaptureDamage, IndexLedger, InterfaceLedger};
use crate::packet::PacketBatch;

pub(crate) use cut::{Cutting, RangeRead, RangeReader, Ranges};

/// The captures of one interface, read in time order.
#[derive(Debug)]
pub struct Source {
    /// Interface name, as the plan knows it.
    pub interface: String,
    /// Its captures.
    pub captures: Captures,
}

/// Captures of one interface.
#[derive(Debug)]
pub enum Captures {
    /// Any captures, merged by time.
    Merged(MergedCaptures),
    /// One plain file, pcap or pcapng, read as fast as the machine allows when it is the only source.
    Plain(TraceFile),
    /// Any captures, merged by time, of which indices have left out what the plan does not need ([`wt_plan::wanted()`]), and what is counted of
    /// each.
    Indexed(MergedCaptures, Vec<IndexedPart>),
    /// What an index has chosen of a plain file, read as such a file is.
    PlainIndexed(TraceFile, Chosen),
    /// A store: its captures, what is counted where indices have left something out, and the same in pieces, where it can be cut.
    Store(MergedCaptures, Vec<IndexedPart>, Option<Box<Pieces>>),
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

impl From<MergedCaptures> for Captures {
    fn from(captures: MergedCaptures) -> Self {
        Self::Merged(captures)
    }
}

impl Captures {
    /// The same captures, one record at a time, and what is counted of those with indices. A file that cannot be read again is left out, and why
    /// is said.
    fn merged(self) -> (MergedCaptures, Vec<IndexedPart>, Option<CaptureError>) {
        let (opened, parts) = match self {
            Self::Merged(captures) => return (captures, Vec::new(), None),
            Self::Indexed(captures, parts) | Self::Store(captures, parts, _) => {
                return (captures, parts, None);
            }
            Self::Plain(trace) => (trace.capture(), Vec::new()),
            Self::PlainIndexed(trace, chosen) => {
                let reading = Reading::new(chosen.taken());
                match trace.capture_of_chosen(chosen, reading.clone()) {
                    Ok((reader, places)) => {
                        let (name, places) = (trace.name().to_owned(), Some(places));
                        (Ok(reader), vec![IndexedPart { reading, name, places }])
                    }
                    Err(error) => (Err(error), Vec::new()),
                }
            }
        };
        match opened {
            Ok(reader) => (MergedCaptures::new(vec![reader]), parts, None),
            Err(error) => (MergedCaptures::new(Vec::new()), parts, Some(error)),
        }
    }
}

/// What packets come from.
enum Input {
    Merged {
        captures: MergedCaptures,
        records: Vec<RecordRef>,
        /// The same, for several to read.
        pieces: Option<Box<Pieces>>,
    },
    Plain(Box<TraceReader>),
    /// Read in ranges by others, as far as `position`.
    Ranges {
        trace: TraceFile,
        position: u64,
        chosen: Option<Chosen>,
    },
    /// Read in pieces by others, so many bytes so far.
    Pieces {
        link_type: Option<u16>,
        bytes: u64,
        bytes_total: u64,
    },
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
    /// `alone` tells that no other source is read, and that nobody asks for the time of what comes next.
    pub(crate) fn new(number: usize, source: Source, alone: bool) -> Result<Self, EngineError> {
        let Source { interface, captures } = source;
        let (input, count, parts) = match captures {
            Captures::Plain(trace) if alone => {
                (Input::Plain(Box::new(trace.reader())), 1, Vec::new())
            }
            Captures::PlainIndexed(trace, chosen) if alone => {
                let reading = Reading::new(chosen.taken());
                let reader = trace.reader_of_chosen(chosen, reading.clone());
                let name = trace.name().to_owned();
                let part = IndexedPart { reading, name, places: None };
                (Input::Plain(Box::new(reader)), 1, vec![part])
            }
            mut captures => {
                let pieces = match &mut captures {
                    Captures::Store(_, _, pieces) if alone => pieces.take(),
                    _ => None,
                };
                let (captures, parts, error) = captures.merged();
                if let Some(source) = error {
                    return Err(EngineError::Source { interface, source });
                }
                let count = captures.len();
                (Input::Merged { captures, records: Vec::new(), pieces }, count, parts)
            }
        };
        Ok(Self {
            number,
            name: Value::bytes(&interface),
            labels: vec![Vec::new(); count],
            input,
            parts,
            ledger: InterfaceLedger { name: interface, ..Default::default() },
        })
    }

    /// Time of the packet that comes next; nothing when all captures have ended.
    pub(crate) fn head_timestamp_ns(&mut self) -> Option<u64> {
        let Input::Merged { captures, .. } = &mut self.input else { return None };
        while let Err(error) = captures.prime() {
            note(&mut self.ledger, &self.parts, &error);
        }
        (0..captures.len()).filter_map(|i| captures.head_timestamp_ns(i)).min()
    }

    /// Gives the next packets to `take`, at most `max` and all of one interface; says how many there were, none at the end.
    pub(crate) fn next<E>(
        &mut self,
        indices: &mut InterfaceIndices,
        max: usize,
        take: impl FnOnce(&PacketBatch<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        if matches!(self.input, Input::Plain(_)) && self.labels[0].is_empty() {
            // A file that is mapped lends out megabytes at a time: far too much to keep.
            self.label(indices, 0, 0);
        }
        let (capture, batch, more) = match &mut self.input {
            Input::Merged { captures, records, .. } => {
                // Damage is noted here, so that what follows cannot meet any.
                while let Err(error) = captures.prime() {
                    note(&mut self.ledger, &self.parts, &error);
                }
                let Ok(Some(sourced)) = captures.next_batch(records, max) else { return Ok(0) };
                (sourced.source, sourced.batch, None)
            }
            Input::Ranges { .. } | Input::Pieces { .. } => return Ok(0),
            Input::Plain(reader) => match reader.next_with_more() {
                Ok(Some((batch, more))) => (0, batch, more),
                Ok(None) => return Ok(0),
                Err(error) => {
                    note(&mut self.ledger, &self.parts, &error);
                    return Ok(0);
                }
            },
        };
        self.ledger.add(batch.records);
        let count = batch.records.len() as u64;
        let known = self.labels[capture].get(batch.interface as usize);
        if let Some(Some(label)) = known {
            take(&packets(&batch, more, label))?;
            return Ok(count);
        }
        let kept = Kept::of(&batch);
        let label = self.label(indices, capture, kept.interface);
        take(&kept.packets(&label))?;
        Ok(count)
    }

    /// What the first packets begin with.
    pub(crate) fn first_link_type(&mut self) -> Option<u16> {
        self.head_timestamp_ns();
        let of = |reader: &CaptureReader| Some(reader.interfaces().first()?.link_type.0);
        match &self.input {
            Input::Merged { captures, .. } => captures.readers().find_map(of),
            Input::Plain(reader) => Some(reader.file().interface().link_type.0),
            Input::Ranges { trace, .. } => Some(trace.interface().link_type.0),
            Input::Pieces { link_type, .. } => *link_type,
        }
    }

    /// Looks up an interface that has not been seen before.
    fn label(&mut self, indices: &mut InterfaceIndices, capture: usize, interface: u32) -> Label {
        let info = match &self.input {
            Input::Merged { captures, .. } => {
                captures.reader(capture).map(CaptureReader::interfaces)
            }
            Input::Plain(reader) => Some(reader.interfaces()),
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
            Input::Merged { captures, .. } => {
                let read = captures.readers().map(|reader| reader.bytes_read()).sum();
                (read, captures.readers().map(|reader| reader.size_hint()).sum())
            }
            Input::Plain(reader) => (reader.position(), Some(reader.file().len())),
            Input::Ranges { trace, position, .. } => (*position, Some(trace.len())),
            Input::Pieces { bytes, bytes_total, .. } => (*bytes, Some(*bytes_total)),
        }
    }

    /// Looks at the first packets of a plain file, by a reader of its own.
    pub(crate) fn sample<T>(&self, look: impl FnOnce(&PacketBatch<'_>) -> T) -> Option<T> {
        let Input::Plain(reader) = &self.input else { return None };
        let tuning = Tuning { map: MapFile::Never, ..Tuning::default() };
        let mut reader = reader.file().clone().tuned(tuning).reader();
        let label = Label { name: self.name.clone(), ifindex: 0 };
        let batch = reader.next_batch().ok()??;
        Some(look(&packets(&batch, None, &label)))
    }

    /// Bytes of the captures, where they say how many: a compressed one may hold any number.
    pub(crate) fn unpacked_bytes(&self) -> Option<u64> {
        let of = |reader: &CaptureReader| match reader.compression() {
            Some(_) => None,
            None => reader.size_hint(),
        };
        match &self.input {
            Input::Merged { pieces: Some(pieces), .. } => Some(pieces.bytes()),
            Input::Pieces { bytes_total, .. } => Some(*bytes_total),
            Input::Merged { captures, .. } => captures.readers().map(of).sum(),
            Input::Plain(_) | Input::Ranges { .. } => match self.taken() {
                Some(taken) => Some(taken.bytes.0),
                None => self.bytes().1,
            },
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

/// A batch with bytes of its own, for its reader to be asked of the interface while it is still needed.
struct Kept {
    data: Vec<u8>,
    records: Vec<RecordRef>,
    link_type: u16,
    interface: u32,
}

impl Kept {
    fn of(batch: &Batch<'_>) -> Self {
        let (data, records) = (batch.data.to_vec(), batch.records.to_vec());
        Self { data, records, link_type: batch.link_type.0, interface: batch.interface }
    }

    fn packets<'a>(&'a self, label: &'a Label) -> PacketBatch<'a> {
        PacketBatch {
            data: &self.data,
            records: &self.records,
            link_type: self.link_type,
            interface: &label.name,
            ifindex: label.ifindex,
            meanwhile: None,
        }
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
