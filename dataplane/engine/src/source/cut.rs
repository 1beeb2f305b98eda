//! One input cut into ranges that several threads read: a plain file, or a store; several files, and several writers of a store, one after the other
//! where nobody asks for the order of their packets.

use std::collections::VecDeque;
use std::ops::Range;

use wt_catalog::Value;
use wt_trace::index::Run;
use wt_trace::store::{Findings, Pieces};
use wt_trace::{TraceFile, TraceReader};
use wt_wire::{Batch, CaptureError, Framing, InterfaceInfo, RecordRef};

use super::{Feed, Input, InterfaceIndices, InterfaceLedger, Label, Others, note, packets};
use crate::packet::PacketBatch;

/// Most ranges that a file is cut into.
const RANGES_MAX: u64 = 1 << 16;
/// Bytes of the shortest range of a file whose ranges grow shorter.
const RANGE_BYTES_MIN: u64 = 4 << 20;
/// Most records of a batch of a piece.
const BATCH_RECORDS_MAX: usize = 4096;

/// One input cut into ranges.
pub(crate) struct Ranges {
    of: Of,
    /// For packets of a file's first interface.
    label: Label,
    /// Name for those of interfaces without one.
    unnamed: Value,
}

enum Of {
    File {
        trace: TraceFile,
        /// In file order. Where one begins is a guess, until the one before ended there.
        ranges: Vec<Range<u64>>,
        /// Where an index has chosen, nothing is a guess: what is read of each range, but for the last one, which is not indexed.
        runs: Option<Vec<Vec<Run>>>,
    },
    /// The range of a piece is its number.
    Store(Pieces),
}

/// Reads any range.
pub(crate) enum RangeReader {
    File(Box<TraceReader>),
    Store(Vec<RecordRef>),
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
    /// Of a piece: what is wrong with it.
    findings: Option<Findings>,
    bytes: u64,
}

impl RangeRead {
    fn new(start: u64) -> Self {
        let ledger = InterfaceLedger::default();
        let (error, findings) = (None, None);
        Self { start, end: start, has_changed: false, ledger, error, findings, bytes: 0 }
    }

    /// Records in it.
    pub(crate) fn records(&self) -> u64 {
        self.ledger.records
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Nothing can be read behind it.
    pub(crate) fn is_damaged(&self) -> bool {
        self.error.is_some()
    }
}

impl Ranges {
    /// A reader of any range.
    pub(crate) fn reader(&self) -> RangeReader {
        match &self.of {
            Of::File { trace, .. } => RangeReader::File(Box::new(trace.reader())),
            Of::Store(_) => RangeReader::Store(Vec::new()),
        }
    }

    /// A range by its number; nothing when there are not so many.
    pub(crate) fn range(&self, number: usize) -> Option<Range<u64>> {
        match &self.of {
            Of::File { ranges, .. } => ranges.get(number).cloned(),
            Of::Store(pieces) => pieces.bytes_of(number).map(|_| number as u64..number as u64 + 1),
        }
    }

    /// What a thread takes on itself with a range, in ranges of the usual size of `range_bytes`, rounded up.
    pub(crate) fn weight(&self, number: usize, range_bytes: u64) -> u64 {
        match &self.of {
            Of::File { .. } => 1,
            Of::Store(pieces) => {
                pieces.bytes_of(number).unwrap_or(0).div_ceil(range_bytes.max(1)).max(1)
            }
        }
    }

    /// How many there are, where that is known.
    pub(crate) fn count(&self) -> Option<usize> {
        match &self.of {
            Of::File { ranges, .. } => Some(ranges.len()),
            Of::Store(_) => None,
        }
    }

    /// Whether it is known where ranges begin, and that something may lie between them.
    pub(crate) fn are_chosen(&self) -> bool {
        match &self.of {
            Of::File { runs, .. } => runs.is_some(),
            Of::Store(_) => true,
        }
    }

    /// Length of the file, bytes.
    pub(crate) fn len(&self) -> u64 {
        match &self.of {
            Of::File { trace, .. } => trace.len(),
            Of::Store(pieces) => pieces.bytes(),
        }
    }

    /// Reads a range by its number, if it is what was indexed.
    pub(crate) fn read_numbered<E>(
        &self,
        reader: &mut RangeReader,
        number: usize,
        take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        match (&self.of, reader) {
            (Of::File { trace, ranges, runs }, RangeReader::File(reader)) => {
                match runs.as_ref().and_then(|runs| runs.get(number)) {
                    Some(runs) => self.read_runs(trace, reader, ranges[number].start, runs, take),
                    None => self.read_on(reader, ranges[number].clone(), take),
                }
            }
            (Of::Store(pieces), RangeReader::Store(records)) => {
                self.read_piece(pieces, records, number, take)
            }
            (_, _) => Ok(RangeRead::new(number as u64)),
        }
    }

    /// Reads a range by its number and gives its packets in no order; nothing where it cannot, and then what was given does not count.
    pub(crate) fn read_in_any_order<E>(
        &self,
        reader: &mut RangeReader,
        number: usize,
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<Option<RangeRead>, E> {
        let (Of::File { trace, ranges, runs: None }, RangeReader::File(reader)) =
            (&self.of, reader)
        else {
            return Ok(None);
        };
        let range = ranges[number].clone();
        let mut read = RangeRead::new(range.start);
        let end = reader.in_any_order(range.clone(), |batch, more| {
            let ordinal = read.ledger.records;
            read.ledger.add(batch.records);
            take(&packets(batch, Some(more), &self.label), ordinal)
        })?;
        let Some(end) = end else { return Ok(None) };
        (read.end, read.bytes) = (end, end - read.start);
        if range.end > trace.len() {
            // It may have grown.
            self.read_more(reader, end..range.end, &mut read, &mut take)?;
        }
        Ok(Some(read))
    }

    /// Reads a range, and gives its packets batch by batch.
    pub(crate) fn read<E>(
        &self,
        reader: &mut RangeReader,
        range: Range<u64>,
        take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        match reader {
            RangeReader::File(reader) => self.read_on(reader, range, take),
            RangeReader::Store(_) => self.read_numbered(reader, range.start as usize, take),
        }
    }

    fn read_on<E>(
        &self,
        reader: &mut TraceReader,
        range: Range<u64>,
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut read = RangeRead::new(range.start);
        self.read_more(reader, range, &mut read, &mut take)?;
        Ok(read)
    }

    /// Reads runs one after the other, each checked first.
    fn read_runs<E>(
        &self,
        trace: &TraceFile,
        reader: &mut TraceReader,
        start: u64,
        runs: &[Run],
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut read = RangeRead::new(start);
        for run in runs {
            if trace.changed_at(run).is_some() {
                read.has_changed = true;
                break;
            }
            self.read_more(reader, run.range.clone(), &mut read, &mut take)?;
            if read.is_damaged() {
                break;
            }
        }
        Ok(read)
    }

    fn read_more<E>(
        &self,
        reader: &mut TraceReader,
        range: Range<u64>,
        read: &mut RangeRead,
        take: &mut impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = range.start;
        reader.turn_to(range);
        let mut labels = vec![Some(self.label.clone())];
        read.error = loop {
            let (batch, more) = match reader.next_with_more() {
                Ok(Some(next)) => next,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            let ordinal = read.ledger.records;
            read.ledger.add(batch.records);
            if let Some(Some(label)) = labels.get(batch.interface as usize) {
                take(&packets(&batch, more, label), ordinal)?;
                continue;
            }
            let kept = Kept::of(&batch);
            let label = self.add_label(&mut labels, reader.interfaces(), kept.interface);
            take(&kept.packets(label), ordinal)?;
        };
        read.end = reader.position();
        read.bytes += read.end.saturating_sub(begin);
        Ok(())
    }

    fn read_piece<E>(
        &self,
        pieces: &Pieces,
        records: &mut Vec<RecordRef>,
        number: usize,
        mut take: impl FnMut(&PacketBatch<'_>, u64) -> Result<(), E>,
    ) -> Result<RangeRead, E> {
        let mut read = RangeRead::new(number as u64);
        read.end += 1;
        let (mut reader, findings) = match pieces.open(number) {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return Ok(RangeRead { error: Some(error), ..read }),
            None => return Ok(read),
        };
        let mut labels: Vec<Option<Label>> = Vec::new();
        read.error = loop {
            let batch = match reader.next_batch(records, BATCH_RECORDS_MAX) {
                Ok(Some(batch)) => batch,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            let ordinal = read.ledger.records;
            read.ledger.add(batch.records);
            if let Some(Some(label)) = labels.get(batch.interface as usize) {
                take(&packets(&batch, None, label), ordinal)?;
                continue;
            }
            let kept = Kept::of(&batch);
            let label = self.add_label(&mut labels, reader.interfaces(), kept.interface);
            take(&kept.packets(label), ordinal)?;
        };
        read.findings = Some(findings);
        read.bytes = pieces.bytes_of(number).unwrap_or(0);
        Ok(read)
    }

    /// Enters what packets of an interface have in common that was not met before. Nobody asks for its number.
    fn add_label<'a>(
        &self,
        labels: &'a mut Vec<Option<Label>>,
        interfaces: &[InterfaceInfo],
        interface: u32,
    ) -> &'a Label {
        let place = interface as usize;
        let name = interfaces.get(place).and_then(|info| info.name.as_ref());
        let name = name.map_or_else(|| self.unnamed.clone(), |name| Value::bytes(name.as_bytes()));
        labels.resize(labels.len().max(place + 1), None);
        labels[place].insert(Label { name, ifindex: 0 })
    }

    /// Enters what was found in the next range.
    pub(crate) fn enter(&self, read: &RangeRead) {
        if let (Of::Store(pieces), Some(findings)) = (&self.of, &read.findings) {
            pieces.found(findings);
        }
    }
}

impl Feed {
    /// What is read, cut into ranges; nothing is read here any more then.
    pub(crate) fn ranges(
        &mut self,
        indices: &mut InterfaceIndices,
        asked: Asked,
        cutting: Cutting,
    ) -> Option<Ranges> {
        if let Some(reader) = self.trace() {
            return match Self::may_cut(reader, asked.numbers) {
                true => self.ranges_of_file(indices, cutting),
                false => None,
            };
        }
        // They are numbered in the order in which their packets come, over all files and pieces.
        if asked.numbers {
            return None;
        }
        match &mut self.input {
            Input::Captures { pieces, .. } if !pieces.is_empty() => {
                if pieces.len() > 1 && !asked.any_order {
                    return None;
                }
                let mut next = VecDeque::from(std::mem::take(pieces));
                let link_type = self.first_link_type();
                next.iter_mut().for_each(|pieces| pieces.begin(cutting.range_bytes));
                let bytes_total = next.iter().map(Pieces::bytes).sum();
                let first = next.pop_front()?;
                self.input = Input::Pieces { link_type, bytes: 0, bytes_total, next };
                Some(self.ranges_of_writer(first))
            }
            Input::Captures { .. } if asked.any_order => self.ranges_of_several(indices, cutting),
            _ => None,
        }
    }

    /// Several plain files, to be read one after the other in whatever order their packets come: the ranges of the first one. Nothing where they do not
    /// begin with packets of one kind, or an index has chosen.
    fn ranges_of_several(
        &mut self,
        indices: &mut InterfaceIndices,
        cutting: Cutting,
    ) -> Option<Ranges> {
        let Input::Captures { merged, .. } = &self.input else { return None };
        let files: Option<VecDeque<TraceFile>> =
            merged.cursors().iter().map(|cursor| cursor.waiting().cloned()).collect();
        let mut next = files?;
        let link_type = next.front()?.interface().link_type;
        if next.iter().any(|file| file.interface().link_type != link_type) {
            return None;
        }
        let trace = next.pop_front()?;
        let others = Others { next, count: 0, read: 0 };
        self.input = Input::Ranges { trace: trace.clone(), position: 0, chosen: None, others };
        Some(self.ranges_of_one(trace, 0, indices, cutting))
    }

    fn ranges_of_writer(&self, pieces: Pieces) -> Ranges {
        let label = Label { name: self.name.clone(), ifindex: 0 };
        Ranges { of: Of::Store(pieces), label, unnamed: self.name.clone() }
    }

    /// The ranges of the next one of several files or writers, if there is one.
    pub(crate) fn ranges_of_next(
        &mut self,
        indices: &mut InterfaceIndices,
        cutting: Cutting,
    ) -> Option<Ranges> {
        if let Input::Pieces { next, .. } = &mut self.input {
            let next = next.pop_front()?;
            return Some(self.ranges_of_writer(next));
        }
        let Input::Ranges { trace, position, others, .. } = &mut self.input else { return None };
        let next = others.next.pop_front()?;
        others.count += 1;
        others.read += trace.len();
        (*trace, *position) = (next.clone(), 0);
        let number = others.count;
        Some(self.ranges_of_one(next, number, indices, cutting))
    }

    /// The ranges of a file by its number.
    fn ranges_of_one(
        &mut self,
        trace: TraceFile,
        number: usize,
        indices: &mut InterfaceIndices,
        cutting: Cutting,
    ) -> Ranges {
        let label = self.label(indices, number, 0);
        let ranges = trace.split_at(cutting.offsets(trace.len()));
        let of = Of::File { trace, ranges, runs: None };
        Ranges { of, label, unnamed: self.name.clone() }
    }

    /// Of pcapng more interfaces may be described on the way: they are numbered as their packets come, and what an index leaves out may tell how
    /// to read what follows it.
    fn may_cut(reader: &TraceReader, numbers: bool) -> bool {
        match reader.file().layout().framing {
            Framing::Pcap => true,
            Framing::EnhancedPacket => !numbers && reader.chosen().is_none(),
        }
    }

    /// Whether a store is read that can be cut.
    pub(crate) fn is_in_pieces(&self) -> bool {
        matches!(&self.input, Input::Captures { pieces, .. } if !pieces.is_empty())
    }

    fn ranges_of_file(
        &mut self,
        indices: &mut InterfaceIndices,
        cutting: Cutting,
    ) -> Option<Ranges> {
        let reader = self.trace()?;
        let trace = reader.file().clone();
        let (ranges, runs) = match reader.chosen() {
            Some(chosen) => {
                let (_, runs, rest) = chosen.parts();
                let groups = grouped(runs, cutting.range_bytes);
                let ends = |runs: &Vec<Run>| {
                    let (first, last) = (runs.first(), runs.last());
                    first.map_or(0, |run| run.range.start)..last.map_or(0, |run| run.range.end)
                };
                (
                    groups.iter().map(ends).chain(std::iter::once(rest..u64::MAX)).collect(),
                    Some(groups),
                )
            }
            None => (trace.split_at(cutting.offsets(trace.len())), None),
        };
        let chosen = reader.chosen().cloned();
        let label = self.label(indices, 0, 0);
        let others = Others::default();
        self.input = Input::Ranges { trace: trace.clone(), position: 0, chosen, others };
        Some(Ranges { of: Of::File { trace, ranges, runs }, label, unnamed: self.name.clone() })
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
        match &mut self.input {
            Input::Ranges { position, .. } => *position = *end,
            Input::Pieces { bytes, .. } => *bytes += read.bytes,
            Input::Captures { .. } => {}
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

/// What is asked of packets.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// The numbers of their interfaces.
    pub(crate) numbers: bool,
    /// Not their order.
    pub(crate) any_order: bool,
}

/// How a file is to be cut.
#[derive(Clone, Copy)]
pub(crate) struct Cutting {
    /// Bytes of a range.
    pub(crate) range_bytes: u64,
    /// Where so many threads are to be ready at about the same time: ranges grow shorter towards the end of a plain file.
    pub(crate) shrinking_for: Option<usize>,
}

impl Cutting {
    /// Where ranges of a plain file of so many bytes begin, but for the first.
    fn offsets(self, len: u64) -> impl Iterator<Item = u64> {
        let most = self.range_bytes.max(len / RANGES_MAX).max(1);
        let mut at = 0;
        std::iter::from_fn(move || {
            let left = len.saturating_sub(at);
            let range = match self.shrinking_for {
                None => most,
                Some(threads) => (left / (2 * threads as u64)).max(RANGE_BYTES_MIN).min(most),
            };
            at += range.min(left);
            (at < len).then_some(at)
        })
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
