//! `wiretable extract`: packets of a time range that meet a condition, out of traces and stores, as pcapng.

mod open;
mod parallel;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use wt_catalog::Value;
use wt_engine::{IndexedPart, PacketBatch};
use wt_trace::index::Wanted;
use wt_wire::{
    ByteOrder, CaptureError, CaptureReader, InterfaceInfo, LinkType, PcapNgWriter, RecordRef,
    TimeResolution, WriteError,
};

use self::open::Inputs;
use crate::cli::index::ExtractArgs;
use crate::execute::{cancelled_by_signal, progress_bar, said_of_inputs};
use crate::failure::Failure;
use crate::indexed::{Within, amounts};
use crate::moment;
use crate::record::filter::{self, Condition, Judge};

/// Packets taken at a time.
const BATCH_PACKETS: usize = 512;

/// Extracts.
pub fn extract(args: &ExtractArgs) -> Result<(), Failure> {
    let condition = Condition::of(&args.condition)?;
    let times = times(args)?;
    let inputs = open::inputs(args, &within(args, &times, condition.as_ref()))?;
    let is_whole = inputs.is_whole();
    let sink = create(&args.output)?;
    let written = Extraction::new(sink, condition.as_ref(), &times)
        .and_then(|mut extraction| extraction.run(args, inputs).map(|told| (extraction, told)));
    let (extraction, told) = written?;
    let Extraction { packets, writer, range_ns, .. } = extraction;
    let mut sink = writer.into_inner();
    sink.flush().map_err(|error| refused(&args.output, &error))?;
    if packets == 0 {
        eprintln!("wiretable: no packet is wanted; {} has none", shown(&args.output));
        // All of the data was looked at only where nothing was left out.
        let all = range_ns.filter(|_| is_whole);
        if let Some((min_ns, max_ns)) = all.filter(|(a, b)| *b < times.start || *a >= times.end) {
            eprintln!(
                "wiretable: the packets are from {} to {}",
                moment::show(min_ns),
                moment::show(max_ns)
            );
        }
    }
    told.iter().for_each(|line| eprintln!("wiretable: {line}"));
    Ok(())
}

/// What is wanted of the inputs.
fn within(args: &ExtractArgs, times: &Range<u64>, condition: Option<&Condition>) -> Within {
    let mut all = match times.end.checked_sub(1) {
        Some(last_ns) => vec![Wanted::Between(times.start, last_ns)],
        None => vec![Wanted::Never],
    };
    all.extend(condition.map(Condition::wanted));
    let keeps_order = args.read.len() + args.store.len() > 1;
    Within { wanted: Wanted::All(all), keeps_order }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "the output".to_owned() } else { path.display().to_string() }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Environment(format!("cannot write {}: {error}", shown(path))),
    }
}

fn create(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).map_err(|error| refused(path, &error))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
}

/// The times that are wanted, ns, the end excluded.
fn times(args: &ExtractArgs) -> Result<Range<u64>, Failure> {
    // Only what counts from the data needs to know it.
    let is_relative =
        |text: &Option<String>| text.as_ref().is_some_and(|t| t.starts_with(['+', '-']));
    let data = match is_relative(&args.from) || is_relative(&args.to) {
        true => open::range_of_data(args)?,
        false => None,
    };
    let (first_ns, last_ns) = data.unwrap_or((0, 0));
    let parse = |text: &str| match text.starts_with('+') {
        true => moment::parse(text, first_ns).map_err(Failure::Input),
        // So long before the last packet.
        false => moment::parse(text, last_ns).map_err(Failure::Input),
    };
    let from_ns = args.from.as_deref().map(parse).transpose()?.unwrap_or(0);
    let to_ns = args.to.as_deref().map(parse).transpose()?.unwrap_or(u64::MAX);
    if from_ns > to_ns {
        return Err(Failure::Input(format!(
            "--from is later than --to: {} and {}",
            moment::show(from_ns),
            moment::show(to_ns)
        )));
    }
    Ok(from_ns..to_ns)
}

/// An interface of a capture, as the extract describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Described {
    /// Which capture.
    source: usize,
    name: Option<Box<str>>,
    link_type: LinkType,
    snap_len: u32,
}

/// An interface of a capture, and its name as conditions see it.
#[derive(Clone, Debug)]
struct Known {
    described: Described,
    name: Value,
}

impl Known {
    /// The interface of a capture, as far as that describes it.
    fn new(source: usize, link_type: LinkType, info: Option<&InterfaceInfo>) -> Self {
        let (name, snap_len) = info.map_or((None, 0), |info| (info.name.clone(), info.snap_len));
        let of_conditions = filter::name(name.as_deref());
        Self { described: Described { source, name, link_type, snap_len }, name: of_conditions }
    }

    /// The packets of the interface that a judge takes.
    fn passing<'b>(
        &'b self,
        judge: &'b mut Judge<'_>,
        data: &'b [u8],
        records: &'b [RecordRef],
    ) -> Result<&'b [RecordRef], Failure> {
        let (link_type, interface) = (self.described.link_type.0, &self.name);
        let batch =
            PacketBatch { data, records, link_type, interface, ifindex: 0, meanwhile: None };
        judge.passing(&batch).map_err(|e| Failure::Input(e.to_string()))
    }
}

struct Extraction<'a> {
    writer: PcapNgWriter<Box<dyn Write>>,
    condition: Option<&'a Condition>,
    times: &'a Range<u64>,
    /// The number of an interface in the extract.
    described: HashMap<Described, u32>,
    packets: u64,
    /// Earliest and latest stamp of what was read.
    range_ns: Option<(u64, u64)>,
}

impl<'a> Extraction<'a> {
    fn new(
        sink: Box<dyn Write>,
        condition: Option<&'a Condition>,
        times: &'a Range<u64>,
    ) -> Result<Self, Failure> {
        let writer = PcapNgWriter::new(sink, ByteOrder::Little).map_err(written)?;
        Ok(Self { writer, condition, times, described: HashMap::new(), packets: 0, range_ns: None })
    }

    /// The number of an interface, which is described where it is new.
    fn number(&mut self, described: &Described) -> Result<u32, Failure> {
        if let Some(number) = self.described.get(described) {
            return Ok(*number);
        }
        let Described { name, link_type, snap_len, .. } = described;
        let resolution = TimeResolution::NANO;
        let number = self.writer.interface(name.as_deref(), *link_type, *snap_len, resolution);
        let number = number.map_err(written)?;
        self.described.insert(described.clone(), number);
        Ok(number)
    }

    /// Writes what is wanted; what there is to say.
    fn run(&mut self, args: &ExtractArgs, inputs: Inputs) -> Result<Vec<String>, Failure> {
        let mut inputs = inputs;
        let mut damage = std::mem::take(&mut inputs.unreadable);
        let cancel = cancelled_by_signal();
        let bar = progress_bar(!args.no_progress);
        let mut calls = 0_u64;
        let mut goes_on = |packets: u64| {
            calls += 1;
            if let Some(bar) = bar.as_ref().filter(|_| calls.is_multiple_of(64)) {
                bar.set_message(format!("{packets} packets"));
                bar.tick();
            }
            !cancel.load(Ordering::Relaxed)
        };
        match inputs.pieces.take() {
            Some(pieces) => {
                let errors = parallel::run(self, &pieces, args.cores(), &mut goes_on)?;
                damage.extend(errors.iter().map(ToString::to_string));
            }
            None => damage.extend(self.run_alone(&mut inputs, &mut goes_on)?),
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let mut told = Vec::new();
        if cancel.load(Ordering::Relaxed) {
            told.push("interrupted; what was read so far is extracted".to_owned());
        }
        told.push(format!("{} packets; read {}", self.packets, amounts(&inputs.taken())));
        let damage = said_of_inputs(damage, &inputs.findings);
        if damage.is_empty() || args.lenient {
            told.extend(damage);
            return Ok(told);
        }
        told.iter().for_each(|line| eprintln!("wiretable: {line}"));
        Err(Failure::Input(format!(
            "{}\n  help: what is not damaged was extracted, of captures what stands before the damage; --lenient makes this no failure",
            damage.join("\nwiretable: ")
        )))
    }

    /// Writes what is wanted of all captures, merged by time; what is damaged.
    fn run_alone(
        &mut self,
        inputs: &mut Inputs,
        goes_on: &mut impl FnMut(u64) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let captures = &mut inputs.captures;
        let (mut damage, mut records) = (Vec::new(), Vec::new());
        let mut judge = Judge::new(self.condition);
        // By capture and its interface.
        let mut known: HashMap<(usize, u32), Known> = HashMap::new();
        while goes_on(self.packets) {
            while let Err(error) = captures.prime() {
                damage.push(placed(error, &inputs.parts).to_string());
            }
            // Damage was met above, so that what follows cannot meet any.
            let Ok(Some(sourced)) = captures.next_batch(&mut records, BATCH_PACKETS) else { break };
            let (source, batch) = (sourced.source, sourced.batch);
            let key = (source, batch.interface);
            let (kept, range_ns) = in_time(batch.records, self.times);
            self.range_ns = wider(self.range_ns, range_ns);
            if kept.is_empty() {
                continue;
            }
            if let Some(known) = known.get(&key) {
                self.write(known, batch.data, known.passing(&mut judge, batch.data, &kept)?)?;
                continue;
            }
            // The reader that knows the interface is lent out with the batch: keep the bytes, then look.
            let (data, link_type) = (batch.data.to_vec(), batch.link_type);
            let info = captures.reader(source).map(CaptureReader::interfaces);
            let info = info.and_then(|interfaces| interfaces.get(key.1 as usize));
            let known = known.entry(key).or_insert_with(|| Known::new(source, link_type, info));
            self.write(known, &data, known.passing(&mut judge, &data, &kept)?)?;
        }
        Ok(damage)
    }

    /// Writes packets of an interface.
    fn write(&mut self, known: &Known, data: &[u8], records: &[RecordRef]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let number = self.number(&known.described)?;
        records.iter().try_for_each(|record| self.packet(number, record, bytes_of(data, record)))
    }

    fn packet(&mut self, number: u32, record: &RecordRef, bytes: &[u8]) -> Result<(), Failure> {
        let RecordRef { timestamp_ns, len, direction, .. } = *record;
        self.packets += 1;
        self.writer.write(number, timestamp_ns, len, direction, bytes).map_err(written)
    }
}

/// The bytes of a packet.
fn bytes_of<'a>(data: &'a [u8], record: &RecordRef) -> &'a [u8] {
    &data[record.at as usize..][..record.caplen as usize]
}

/// The packets of these times, and the earliest and the latest stamp of all.
fn in_time(records: &[RecordRef], times: &Range<u64>) -> (Vec<RecordRef>, Option<(u64, u64)>) {
    let stamps = || records.iter().map(|record| record.timestamp_ns);
    let kept = records.iter().filter(|record| times.contains(&record.timestamp_ns)).copied();
    (kept.collect(), stamps().min().zip(stamps().max()))
}

/// The range that has both.
fn wider(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some((a_min, a_max)), Some((b_min, b_max))) => Some((a_min.min(b_min), a_max.max(b_max))),
        (a, b) => a.or(b),
    }
}

/// Damage where it stands in the trace, of which a part was read.
fn placed(error: CaptureError, parts: &[IndexedPart]) -> CaptureError {
    match error {
        CaptureError::Damaged { name, mut damage } => {
            let part = parts.iter().find(|part| part.name == *name);
            if let Some(places) = part.and_then(|part| part.places.as_ref()) {
                damage.offset = places.of(damage.offset);
            }
            CaptureError::Damaged { name, damage }
        }
        error => error,
    }
}

fn written(error: WriteError) -> Failure {
    match error {
        WriteError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        error => Failure::Environment(format!("cannot write the extract: {error}")),
    }
}
