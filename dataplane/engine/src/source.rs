//! Sources: the captures of one interface, and what is counted of them.

use std::collections::HashMap;
use std::ops::Range;

use wt_catalog::Value;
use wt_trace::index::{Chosen, Places, Reading, Run, Taken};
use wt_trace::{MapFile, Meanwhile, TraceFile, TraceReader, Tuning};
use wt_wire::{Batch, CaptureError, CaptureReader, MergedCaptures, RecordRef};

use crate::error::EngineError;
use crate::ledger::{CaptureDamage, IndexLedger, InterfaceLedger};
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
    /// Any captures, merged by time, of which indices have left out what the plan does not need ([`wt_plan::wanted()`]), and what is counted of
    /// each.
    Indexed(MergedCaptures, Vec<IndexedPart>),
    /// What an index has chosen of a plain pcap file, read as such a file is.
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
            Self::Indexed(captures, parts) => return (captures, parts, None),
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
        chosen: Option<Chosen>,
    },
}

/// One file cut into ranges that several threads read.
pub(crate) struct Ranges {
    trace: TraceFile,
    /// In file order. Where one begins is a guess, until the one before ended there.
    pub(crate) ranges: Vec<Range<u64>>,
    /// Where an index has chosen, nothing is a guess: what is read of each range, but for the last one, which is not indexed.
    runs: Option<Vec<Vec<Run>>>,
    label: Label,
}

/// What was read of a range.
pub(crate) struct RangeRead {
    /// Where the first record began.
    pub(crate) start: u64,
    /// Behind the last one.
    pub(crate) end: u64,
    /// It is not what was indexed, and was not read.
    pub(crate) has_changed: bool,
    ledger: InterfaceLedger,
    error: Option<CaptureError>,
}

impl RangeRead {
    fn new(start: u64) -> Self {
        let ledger = InterfaceLedger::default();
        Self { start, end: start, has_changed: false, ledger, error: None }
    }

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

    /// Whether it is known where ranges begin, and that something may lie between them.
    pub(crate) fn are_chosen(&self) -> bool {
        self.runs.is_some()
    }

    /// Length of the file, bytes.
    pub(crate) fn len(&self) -> u64 {
        self.trace.len()
    }

    /// Reads a range by its number, if it is what was indexed.
    pub(crate) fn read_numbered<E>(
        &self,
        reader: &mut TraceReader,
        number: usize,
        take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let range = self.ranges[number].clone();
        let Some(runs) = self.runs.as_ref().and_then(|runs| runs.get(number)) else {
            return self.read(reader, range, take);
        };
        self.read_runs(reader, range.start, runs, take)
    }

    /// Reads a range, and gives its packets batch by batch.
    pub(crate) fn read<E>(
        &self,
        reader: &mut TraceReader,
        range: Range<u64>,
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut read = RangeRead::new(range.start);
        self.read_on(reader, range, &mut read, &mut take)?;
        Ok(read)
    }

    /// Reads runs one after the other, each checked first.
    fn read_runs<E>(
        &self,
        reader: &mut TraceReader,
        start: u64,
        runs: &[Run],
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut read = RangeRead::new(start);
        for run in runs {
            if self.trace.changed_at(run).is_some() {
                read.has_changed = true;
                break;
            }
            self.read_on(reader, run.range.clone(), &mut read, &mut take)?;
            if read.is_damaged() {
                break;
            }
        }
        Ok(read)
    }

    fn read_on<E>(
        &self,
        reader: &mut TraceReader,
        range: Range<u64>,
        read: &mut RangeRead,
        take: &mut impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        reader.turn_to(range);
        read.error = loop {
            match reader.next_with_more() {
                Ok(Some((batch, more))) => {
                    let ordinal = read.ledger.records;
                    read.ledger.add(batch.records);
                    take(&packets(&batch, more, &self.label), ordinal)?;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        read.end = reader.position();
        Ok(())
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
            captures => {
                let (captures, parts, error) = captures.merged();
                if let Some(source) = error {
                    return Err(EngineError::Source { interface, source });
                }
                let count = captures.len();
                (Input::Merged { captures, records: Vec::new() }, count, parts)
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
        let (capture, batch, more) = match &mut self.input {
            Input::Merged { captures, records } => {
                // Damage is noted here, so that what follows cannot meet any.
                while let Err(error) = captures.prime() {
                    note(&mut self.ledger, &self.parts, &error);
                }
                let Ok(Some(sourced)) = captures.next_batch(records, max) else { return Ok(0) };
                (sourced.source, sourced.batch, None)
            }
            Input::Ranges { .. } => return Ok(0),
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
        let (ranges, runs) = match reader.chosen() {
            Some(chosen) => {
                let (_, runs, rest) = chosen.parts();
                let groups = grouped(runs, range_bytes);
                let ends = |runs: &Vec<Run>| {
                    let (first, last) = (runs.first(), runs.last());
                    first.map_or(0, |run| run.range.start)..last.map_or(0, |run| run.range.end)
                };
                (
                    groups.iter().map(ends).chain(std::iter::once(rest..u64::MAX)).collect(),
                    Some(groups),
                )
            }
            None => {
                let count = trace.len().div_ceil(range_bytes.max(1));
                let count = usize::try_from(count).unwrap_or(usize::MAX).clamp(1, RANGES_MAX);
                (trace.split(count), None)
            }
        };
        let chosen = reader.chosen().cloned();
        let label = self.label(indices, 0, 0);
        self.input = Input::Ranges { trace: trace.clone(), position: 0, chosen };
        Some(Ranges { trace, ranges, runs, label })
    }

    /// Says that everything from an offset on is read, whatever an index says.
    pub(crate) fn fall_back(&self, offset: u64) {
        if let (Input::Ranges { chosen: Some(chosen), .. }, [part]) = (&self.input, &self.parts[..])
        {
            chosen.fall_back(offset, &part.reading);
        }
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
            note(&mut self.ledger, &self.parts, error);
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
            Input::Ranges { trace, position, .. } => (*position, Some(trace.len())),
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

/// Runs that have about so many bytes together.
fn grouped(runs: &[Run], range_bytes: u64) -> Vec<Vec<Run>> {
    let mut groups: Vec<Vec<Run>> = Vec::new();
    let mut bytes = range_bytes;
    for run in runs {
        match groups.last_mut().filter(|_| bytes < range_bytes) {
            Some(group) => group.push(run.clone()),
            None => {
                groups.push(vec![run.clone()]);
                bytes = 0;
            }
        }
        bytes += run.range.end - run.range.start;
    }
    groups
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
