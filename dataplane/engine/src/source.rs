//! Sources: the captures of one interface, and what is counted of them.

use std::collections::HashMap;
use std::ops::Range;

use wt_catalog::Value;
use wt_trace::{MapFile, Meanwhile, TraceFile, TraceReader, Tuning};
use wt_wire::{Batch, CaptureError, CaptureReader, MergedCaptures, RecordRef};

use crate::error::EngineError;
use crate::ledger::{CaptureDamage, InterfaceLedger};
use crate::packet::PacketBatch;

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
    /// One plain pcap file, read as fast as the machine allows when it is the only source.
    Plain(TraceFile),
}

impl From<MergedCaptures> for Captures {
    fn from(captures: MergedCaptures) -> Self {
        Self::Merged(captures)
    }
}

impl Captures {
    /// The same captures, one record at a time. A file that cannot be read again is left out, and why is said.
    fn merged(self) -> (MergedCaptures, Option<CaptureError>) {
        match self {
            Self::Merged(captures) => (captures, None),
            Self::Plain(trace) => match trace.capture() {
                Ok(reader) => (MergedCaptures::new(vec![reader]), None),
                Err(error) => (MergedCaptures::new(Vec::new()), Some(error)),
            },
        }
    }
}

/// Most ranges that a file is cut into.
const RANGES_MAX: usize = 1 << 16;

/// What packets come from.
enum Input {
    Merged {
        captures: MergedCaptures,
        records: Vec<RecordRef>,
    },
    Plain(Box<TraceReader>),
    /// Read in ranges by others, as far as `position`.
    Ranges {
        trace: TraceFile,
        position: u64,
    },
}

/// One file cut into ranges that several threads read.
pub(crate) struct Ranges {
    trace: TraceFile,
    /// In file order. Where one begins is a guess, until the one before ended there.
    pub(crate) ranges: Vec<Range<u64>>,
    label: Label,
}

/// What was read of a range.
pub(crate) struct RangeRead {
    /// Where the first record began.
    pub(crate) start: u64,
    /// Behind the last one.
    pub(crate) end: u64,
    ledger: InterfaceLedger,
    error: Option<CaptureError>,
}

impl RangeRead {
    /// Records in it.
    pub(crate) fn records(&self) -> u64 {
        self.ledger.records
    }

    /// Nothing can be read behind it.
    pub(crate) fn is_damaged(&self) -> bool {
        self.error.is_some()
    }
}

impl Ranges {
    /// A reader of any range.
    pub(crate) fn reader(&self) -> TraceReader {
        self.trace.reader()
    }

    /// Reads a range, and gives its packets batch by batch.
    pub(crate) fn read<E>(
        &self,
        reader: &mut TraceReader,
        range: Range<u64>,
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut ledger = InterfaceLedger::default();
        let start = range.start;
        reader.turn_to(range);
        let error = loop {
            match reader.next_with_more() {
                Ok(Some((batch, more))) => {
                    let ordinal = ledger.records;
                    ledger.add(batch.records);
                    take(&packets(&batch, more, &self.label), ordinal)?;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        Ok(RangeRead { start, end: reader.position(), ledger, error })
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
    ledger: InterfaceLedger,
}

impl Feed {
    /// `alone` tells that no other source is read, and that nobody asks for the time of what comes next.
    pub(crate) fn new(number: usize, source: Source, alone: bool) -> Result<Self, EngineError> {
        let Source { interface, captures } = source;
        let (input, count) = match captures {
            Captures::Plain(trace) if alone => (Input::Plain(Box::new(trace.reader())), 1),
            captures => {
                let (captures, error) = captures.merged();
                if let Some(source) = error {
                    return Err(EngineError::Source { interface, source });
                }
                let count = captures.len();
                (Input::Merged { captures, records: Vec::new() }, count)
            }
        };
        Ok(Self {
            number,
            name: Value::bytes(&interface),
            labels: vec![Vec::new(); count],
            input,
            ledger: InterfaceLedger { name: interface, ..Default::default() },
        })
    }

    /// Time of the packet that comes next; nothing when all captures have ended.
    pub(crate) fn head_timestamp_ns(&mut self) -> Option<u64> {
        let Input::Merged { captures, .. } = &mut self.input else { return None };
        while let Err(error) = captures.prime() {
            note(&mut self.ledger, &error);
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
        let (capture, batch, more) = match &mut self.input {
            Input::Merged { captures, records } => {
                // Damage is noted here, so that what follows cannot meet any.
                while let Err(error) = captures.prime() {
                    note(&mut self.ledger, &error);
                }
                let Ok(Some(sourced)) = captures.next_batch(records, max) else { return Ok(0) };
                (sourced.source, sourced.batch, None)
            }
            Input::Ranges { .. } => return Ok(0),
            Input::Plain(reader) => match reader.next_with_more() {
                Ok(Some((batch, more))) => (0, batch, more),
                Ok(None) => return Ok(0),
                Err(error) => {
                    note(&mut self.ledger, &error);
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
        // The reader that knows the interface is lent out with the batch: keep the bytes, then look.
        let (data, interface, link_type) =
            (batch.data.to_vec(), batch.interface, batch.link_type.0);
        let records = batch.records.to_vec();
        let label = self.label(indices, capture, interface);
        take(&PacketBatch {
            data: &data,
            records: &records,
            link_type,
            interface: &label.name,
            ifindex: label.ifindex,
            meanwhile: None,
        })?;
        Ok(count)
    }

    /// The one plain file that is read, cut into ranges of about so many bytes; nothing is read here any more then.
    pub(crate) fn ranges(
        &mut self,
        indices: &mut InterfaceIndices,
        range_bytes: u64,
    ) -> Option<Ranges> {
        let Input::Plain(reader) = &self.input else { return None };
        let trace = reader.file().clone();
        let count = trace.len().div_ceil(range_bytes.max(1));
        let ranges = trace.split(usize::try_from(count).unwrap_or(usize::MAX).clamp(1, RANGES_MAX));
        let label = self.label(indices, 0, 0);
        self.input = Input::Ranges { trace: trace.clone(), position: 0 };
        Some(Ranges { trace, ranges, label })
    }

    /// Enters what was read of the next range.
    pub(crate) fn enter(&mut self, read: &RangeRead) {
        let RangeRead { end, ledger, error, .. } = read;
        if let Input::Ranges { position, .. } = &mut self.input {
            *position = *end;
        }
        self.ledger.records += ledger.records;
        self.ledger.processed += ledger.processed;
        self.ledger.wire_bytes += ledger.wire_bytes;
        self.ledger.captured_bytes += ledger.captured_bytes;
        self.ledger.truncated += ledger.truncated;
        if let Some(error) = error {
            note(&mut self.ledger, error);
        }
    }

    /// What the first packets begin with.
    pub(crate) fn first_link_type(&mut self) -> Option<u16> {
        self.head_timestamp_ns();
        let of = |reader: &CaptureReader| Some(reader.interfaces().first()?.link_type.0);
        match &self.input {
            Input::Merged { captures, .. } => captures.readers().find_map(of),
            Input::Plain(reader) => Some(reader.file().interface().link_type.0),
            Input::Ranges { trace, .. } => Some(trace.interface().link_type.0),
        }
    }

    /// Looks up an interface that has not been seen before.
    fn label(&mut self, indices: &mut InterfaceIndices, capture: usize, interface: u32) -> Label {
        let info = match &self.input {
            Input::Merged { captures, .. } => {
                captures.reader(capture).map(CaptureReader::interfaces)
            }
            Input::Plain(reader) => Some(std::slice::from_ref(reader.file().interface())),
            Input::Ranges { trace, .. } => Some(std::slice::from_ref(trace.interface())),
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
            Input::Ranges { trace, position } => (*position, Some(trace.len())),
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
            Input::Merged { captures, .. } => captures.readers().map(of).sum(),
            Input::Plain(_) | Input::Ranges { .. } => self.bytes().1,
        }
    }

    /// Records read so far.
    pub(crate) fn records(&self) -> u64 {
        self.ledger.records
    }

    /// The books, without what the backend counts.
    pub(crate) fn ledger(&self) -> InterfaceLedger {
        self.ledger.clone()
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

fn note(ledger: &mut InterfaceLedger, error: &CaptureError) {
    if let Some(damage) = error.damage() {
        let capture = error.name().to_owned();
        ledger.damage.push(CaptureDamage { capture, damage: damage.clone() });
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
