//! Trials: a seed makes a batch of queries and packets, and every way to run them must agree.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wt_engine::ledger::TupleCounters;
use wt_engine::{
    Backend, Capture, Captures, LftaSetup, MakeLfta, Memory, PathsWanted, RunOptions, RunReport,
    Source,
};
use wt_plan::Compiled;
use wt_plan::ir::{LftaAction, LftaProgram, NodeId};
use wt_plan::physical::PhysicalPlan;
use wt_trace::{Opened, TraceFile};
use wt_wire::{
    ByteOrder, CaptureReader, LinkType, PcapNgWriter, PcapVariant, PcapWriter, TimeResolution,
};

use super::{Sample, compiled, difference, feed, kernel, program, queries, reference, traffic};
use crate::answers::{Answers, ValueSink};
use crate::corpus::Scratch;
use crate::rng::Rng;
use crate::run::Setup;

/// State that a query may keep, bytes.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Sizes of batches.
const SIZES: [usize; 3] = [1, 7, 4096];

/// What trials have compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Batches of queries made.
    pub batches: u64,
    /// Of these, the ones that were compiled.
    pub compiled: u64,
    /// Queries that were refused by the planner.
    pub refused: u64,
    /// Queries compared.
    pub queries: u64,
    /// Packets that went through compiled code, counted for each way to run it.
    pub packets: u64,
    /// Tuples that qualified there.
    pub matched: u64,
}

impl Tally {
    /// Takes in another one.
    pub fn add(&mut self, other: Tally) {
        self.batches += other.batches;
        self.compiled += other.compiled;
        self.refused += other.refused;
        self.queries += other.queries;
        self.packets += other.packets;
        self.matched += other.matched;
    }
}

/// What the reference is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Compiled code.
    Compiled,
    /// A program in the kernel.
    Kernel,
}

/// Compares compiled code with the reference on a random program.
///
/// # Errors
/// The first difference, with what shows it.
pub fn random_program(seed: u64) -> Result<Tally, String> {
    any_program(seed, Against::Compiled)
}

/// Compares a program in the kernel with the reference on a random program.
///
/// # Errors
/// The first difference, with what shows it.
pub fn random_program_in_kernel(seed: u64) -> Result<Tally, String> {
    any_program(seed, Against::Kernel)
}

fn any_program(seed: u64, against: Against) -> Result<Tally, String> {
    let mut rng = Rng::named(seed, "program");
    let (mut program, mut fixed) = program::program(&mut rng);
    let mut now = 0u64;
    let mut samples = vec![Vec::new()];
    // Now and then more than code runs over at a time.
    let count = if rng.one_in(12) { 2500 } else { 40 + rng.below(80) };
    for _ in 0..count {
        if rng.one_in(count / 2) {
            samples.push(Vec::new());
        }
        let step = *rng.pick(&[0, 1, 1_000_000_000, 7_000_000_000]);
        now = if rng.one_in(6) { now.wrapping_sub(step) } else { now.wrapping_add(step) };
        let sample = Sample {
            link_type: *rng.pick(&program::LINK_TYPES),
            timestamp_ns: now,
            len: super::nodes::number(&mut rng) as u32,
            direction: wt_wire::Direction::Inbound,
            data: program::bytes(&mut rng),
        };
        if let Some(part) = samples.last_mut() {
            part.push(sample);
        }
    }
    if against == Against::Kernel {
        samples.iter_mut().for_each(|part| kernel::fit(part, &mut rng));
    }
    let size = *rng.pick(&SIZES);
    let mut tally = Tally { batches: 1, queries: program.queries.len() as u64, ..Tally::default() };
    match on_program(&program, &fixed, &samples, size, against) {
        Ok(Some(seen)) => {
            tally.compiled = 1;
            tally.packets = samples.iter().map(|part| part.len() as u64).sum();
            tally.matched = seen.iter().map(|t| t.matched).sum();
            Ok(tally)
        }
        Ok(None) => Ok(tally),
        Err(first) => {
            minimise(&mut program, &mut fixed, &mut samples, size, against);
            let now = on_program(&program, &fixed, &samples, size, against).err().unwrap_or(first);
            Err(report(seed, &now, &program, &fixed, &samples, size))
        }
    }
}

/// The difference between the backends; what was counted when there is none, nothing when the program is not compiled.
fn on_program(
    program: &LftaProgram,
    fixed: &[bool],
    samples: &[Vec<Sample>],
    size: usize,
    against: Against,
) -> Result<Option<Vec<TupleCounters>>, String> {
    let run = || {
        let count = program.queries.len();
        let memory = &mut Memory::new(None);
        let Some(first) = samples.iter().flatten().next() else { return Ok(None) };
        if against == Against::Kernel {
            let tried = kernel::tried(program, &super::nodes::params(), fixed, memory)?;
            let Some(mut fast) = tried else { return Ok(None) };
            let mut slow = reference(program, fixed, memory);
            let expected = feed(&mut slow, count, samples, size, memory)?;
            let got = feed(&mut fast, count, samples, size, memory)?;
            return match kernel::difference(program, &expected, &got) {
                Some(difference) => Err(difference),
                None => Ok(Some(got.tuples)),
            };
        }
        // Code for all header paths, and in batches of seven code for the likely ones.
        let paths = if size == 7 { PathsWanted::Likely } else { PathsWanted::All };
        let Ok(mut fast) = compiled(program, fixed, paths, first.link_type, memory) else {
            return Ok(None);
        };
        let mut slow = reference(program, fixed, memory);
        let expected = feed(&mut slow, count, samples, size, memory)?;
        let got = match feed(&mut fast, count, samples, size, memory) {
            Ok(got) => got,
            // Code for some other link type cannot be made.
            Err(error) if error.contains("link type") => return Ok(None),
            Err(error) => return Err(error),
        };
        match difference(program, fixed, &expected, &got) {
            Some(difference) => Err(difference),
            None => Ok(Some(got.tuples)),
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// Leaves out what the difference does not need.
fn minimise(
    program: &mut LftaProgram,
    fixed: &mut Vec<bool>,
    samples: &mut [Vec<Sample>],
    size: usize,
    against: Against,
) {
    let differs = |program: &LftaProgram, fixed: &[bool], samples: &[Vec<Sample>]| {
        on_program(program, fixed, samples, size, against).is_err()
    };
    for index in (0..program.queries.len()).rev() {
        let (mut fewer, mut fewer_fixed) = (program.clone(), fixed.clone());
        fewer.queries.remove(index);
        fewer_fixed.remove(index);
        if differs(&fewer, &fewer_fixed, samples) {
            (*program, *fixed) = (fewer, fewer_fixed);
        }
    }
    let mut fewer = program.clone();
    fewer.prefilter = None;
    if differs(&fewer, fixed, samples) {
        *program = fewer;
    }
    for query in 0..program.queries.len() {
        for part in 0..4 {
            for index in (0..12).rev() {
                let mut fewer = program.clone();
                let at = &mut fewer.queries[query];
                match (part, &mut at.action) {
                    (0, _) if index < at.quals.len() => drop(at.quals.remove(index)),
                    (1, _) if index < at.requires.len() => drop(at.requires.remove(index)),
                    (2, LftaAction::Select { outputs, ordered })
                        if ordered.is_empty() && index < outputs.len() =>
                    {
                        outputs.remove(index);
                    }
                    (2, LftaAction::Aggregate { keys, ordered, .. })
                        if ordered.is_empty() && index < keys.len() =>
                    {
                        keys.remove(index);
                    }
                    (3, LftaAction::Aggregate { aggs, .. }) if index < aggs.len() => {
                        aggs.remove(index);
                    }
                    _ => continue,
                }
                if differs(&fewer, fixed, samples) {
                    *program = fewer;
                }
            }
        }
    }
    for part in 0..samples.len() {
        let mut others = samples.to_vec();
        let own = std::mem::take(&mut others[part]);
        samples[part] = fewer_of(own, |fewer| {
            others[part] = fewer.to_vec();
            differs(program, fixed, &others)
        });
    }
}

/// Leaves out what is not needed for something to be seen: halves first, then less and less.
fn fewer_of<T: Clone>(mut list: Vec<T>, mut is_seen: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut step = list.len().div_ceil(2);
    while step > 0 {
        let mut at = 0;
        while at < list.len() {
            let mut fewer = list.clone();
            fewer.drain(at..(at + step).min(list.len()));
            if is_seen(&fewer) {
                list = fewer;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    list
}

fn report(
    seed: u64,
    difference: &str,
    program: &LftaProgram,
    fixed: &[bool],
    samples: &[Vec<Sample>],
    size: usize,
) -> String {
    let mut text = format!("seed {seed}, batches of {size}: {difference}\n");
    let mut used = vec![false; program.exprs.nodes.len()];
    let mut layers = false;
    let mut wanted: Vec<NodeId> = program.prefilter.into_iter().collect();
    for query in &program.queries {
        wanted.extend(query.quals.iter().map(|qual| qual.node));
        layers |= !query.requires.is_empty();
        match &query.action {
            LftaAction::Select { outputs, .. } => wanted.extend(outputs),
            LftaAction::Aggregate { keys, aggs, .. } => {
                wanted.extend(keys);
                wanted.extend(aggs.iter().filter_map(|agg| agg.arg));
            }
        }
        let _ = writeln!(
            text,
            "requires {:?} quals {:?} {:?}",
            query.requires, query.quals, query.action
        );
    }
    while let Some(node) = wanted.pop() {
        if !std::mem::replace(&mut used[node.0 as usize], true) {
            let op = &program.exprs.nodes[node.0 as usize].op;
            layers |= op.layer().is_some();
            wanted.extend(op.operands());
        }
    }
    let _ = writeln!(text, "prefilter {:?}, fixed {fixed:?}", program.prefilter);
    for (index, node) in program.exprs.nodes.iter().enumerate().filter(|(i, _)| used[*i]) {
        let _ = writeln!(text, "%{index} = {:?} : {}", node.op, node.ty);
    }
    let _ = writeln!(text, "layers {:?}", program.layers);
    if layers {
        for (id, header) in program.parse.protocols.iter().enumerate() {
            let _ = writeln!(text, "protocol {id}: {header:?}");
        }
    }
    for sample in samples.iter().flatten().take(4) {
        let _ = writeln!(text, "packet {}", sample.hex());
    }
    text
}

/// Compares compiled code with the reference on random queries over random packets: next to the interface, and with all that is above.
///
/// # Errors
/// The first difference, with what shows it.
pub fn random_queries(seed: u64) -> Result<Tally, String> {
    any_queries(seed, Against::Compiled)
}

/// The same, with programs in the kernel.
///
/// # Errors
/// The first difference, with what shows it.
pub fn random_queries_in_kernel(seed: u64) -> Result<Tally, String> {
    any_queries(seed, Against::Kernel)
}

/// Whether the planner and the generator agree about what has code for XDP, for a random query. The result is whether it has.
///
/// # Errors
/// They do not, and how.
pub fn random_placement(seed: u64) -> Result<Option<bool>, String> {
    let mut rng = Rng::named(seed, "placement");
    let text = queries::query(&mut rng, "q");
    let Ok(plan) = Setup::default().compile(super::super::catalog(), &text, true) else {
        return Ok(None);
    };
    kernel::placement(&plan).map_err(|error| format!("seed {seed}: {error}\n{text}"))
}

fn any_queries(seed: u64, against: Against) -> Result<Tally, String> {
    let mut rng = Rng::named(seed, "queries");
    let catalog = super::super::catalog();
    let setup = Setup::default();
    let mut tally = Tally { batches: 1, ..Tally::default() };
    let mut texts: Vec<String> = Vec::new();
    // Some are many filters, which compiled code asks together.
    let are_filters = rng.one_in(4);
    let wanted = if are_filters { 6 + rng.below(20) } else { 1 + rng.below(5) };
    for _ in 0..20 + wanted {
        if texts.len() == wanted {
            break;
        }
        let name = format!("q{}", texts.len());
        let make = if are_filters { queries::filter } else { queries::query };
        let text = make(&mut rng, &name);
        match setup.compile(catalog, &text, true) {
            Ok(_) => texts.push(text),
            Err(_) => tally.refused += 1,
        }
    }
    let count = 20 + rng.below(150);
    let mut samples = traffic::packets(&mut rng, count);
    if against == Against::Kernel {
        kernel::fit(&mut samples, &mut rng);
    }
    let size = *rng.pick(&SIZES);
    match on_queries(&texts, &samples, size, against) {
        Ok(found) => {
            tally.add(found);
            Ok(tally)
        }
        Err(first) => {
            let (texts, samples) = minimise_queries(texts, samples, size, against);
            let now = on_queries(&texts, &samples, size, against).err().unwrap_or(first);
            let mut text =
                format!("seed {seed}, batches of {size}: {now}\n{}\n", texts.join(" ;\n"));
            for sample in samples.iter().take(4) {
                let _ = writeln!(text, "packet {}", sample.hex());
            }
            Err(text)
        }
    }
}

fn minimise_queries(
    mut texts: Vec<String>,
    mut samples: Vec<Sample>,
    size: usize,
    against: Against,
) -> (Vec<String>, Vec<Sample>) {
    for index in (0..texts.len()).rev() {
        let mut fewer = texts.clone();
        fewer.remove(index);
        if !fewer.is_empty() && on_queries(&fewer, &samples, size, against).is_err() {
            texts = fewer;
        }
    }
    samples = fewer_of(samples, |fewer| on_queries(&texts, fewer, size, against).is_err());
    (texts, samples)
}

/// Runs a batch in both ways, next to the interface alone and as a whole.
fn on_queries(
    texts: &[String],
    samples: &[Sample],
    size: usize,
    against: Against,
) -> Result<Tally, String> {
    let run = || {
        let text = texts.join(" ;\n");
        let setup = Setup::default();
        let Ok(plan) = setup.compile(super::super::catalog(), &text, true) else {
            return Ok(Tally::default());
        };
        let none: Option<&MakeLfta<'_>> = None;
        let slow = whole(&plan.physical, samples, Backend::Interpreter, size, none);
        // As above.
        let compiled = match (against, size) {
            (Against::Kernel, _) => Backend::Interpreter,
            (_, 7) => Backend::Tiered,
            _ => Backend::Compiled,
        };
        let made = Cell::new(0);
        let make = |setup: &LftaSetup<'_>| {
            let backend = crate::kernel::make(setup)?;
            made.set(made.get() + usize::from(backend.is_some()));
            Ok(backend)
        };
        let make: Option<&MakeLfta<'_>> = (against == Against::Kernel).then_some(&make);
        let fast = whole(&plan.physical, samples, compiled, size, make);
        let (slow, fast) = match (slow, fast) {
            (Ok(slow), Ok(fast)) => (slow, fast),
            (Err(a), Err(b)) if a == b => return Ok(Tally::default()),
            (a, b) => {
                let said = |end: Result<Answers, String>| end.map(|_| "rows");
                return Err(format!("runs end with {:?} and {:?}", said(a), said(b)));
            }
        };
        let mut tally = Tally { queries: texts.len() as u64, ..Tally::default() };
        if !fast.report.not_compiled.is_empty() {
            return Ok(tally);
        }
        whole_difference(&slow, &fast)?;
        tally.matched = fast.report.ledger.queries.iter().map(|q| q.tuples.matched).sum();
        match against {
            Against::Kernel if made.get() == 0 => return Ok(tally),
            Against::Kernel => {}
            Against::Compiled => on_cores(&plan.physical, samples, size)?,
        }
        tally.compiled = 1;
        tally.packets = samples.len() as u64;
        if let Some(counts) = alone(&plan, samples, size, against)? {
            tally.packets += samples.len() as u64;
            tally.matched += counts.iter().map(|t| t.matched).sum::<u64>();
        }
        Ok(tally)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// What runs next to the interface, with bounds given between the halves of the packets.
fn alone(
    plan: &Compiled,
    samples: &[Sample],
    size: usize,
    against: Against,
) -> Result<Option<Vec<TupleCounters>>, String> {
    let Some(interface) = plan.physical.interfaces.first() else { return Ok(None) };
    let program = &interface.program;
    let is_float = |query: &wt_plan::ir::LftaQuery| match &query.action {
        LftaAction::Aggregate { aggs, .. } => {
            aggs.iter().any(|agg| agg.ty == wt_catalog::Type::Float)
        }
        LftaAction::Select { .. } => false,
    };
    let fixed: Vec<bool> = program.queries.iter().map(is_float).collect();
    let (a, b) = samples.split_at(samples.len() / 2);
    on_program(program, &fixed, &[a.to_vec(), b.to_vec()], size, against)
}

/// Runs a plan over a file of the packets of the first link type: on one core, and on three in ranges of a few packets, which
/// begin where it is guessed that a record does.
fn on_cores(plan: &PhysicalPlan, samples: &[Sample], size: usize) -> Result<(), String> {
    let Some(first) = samples.first() else { return Ok(()) };
    let scratch = Scratch::new().map_err(|e| e.to_string())?;
    let path = scratch.path("made");
    let made = match samples.len() % 2 {
        0 => pcap(samples, first.link_type)?,
        _ => pcapng(samples, first.link_type)?,
    };
    std::fs::write(&path, made).map_err(|e| e.to_string())?;
    let run = |cores, range_bytes| {
        let Opened::Plain(trace) = TraceFile::open(&path).map_err(|e| e.to_string())? else {
            return Err("a plain file is none".to_owned());
        };
        let options = RunOptions {
            memory_bytes_max: Some(MEMORY_BYTES_MAX),
            backend: if size == 7 { Backend::Tiered } else { Backend::Compiled },
            cores,
            range_bytes,
            ..RunOptions::default()
        };
        answers(plan, Capture::Plain(trace).into(), &options)
    };
    let one = run(1, None)?;
    let three = run(3, Some(64 * size.clamp(4, 64) as u64))?;
    whole_difference(&one, &three).map_err(|e| format!("on one core and on three {e}"))?;
    let (a, b) = (&one.report.ledger.interfaces, &three.report.ledger.interfaces);
    if a == b {
        Ok(())
    } else {
        Err(format!("on one core and on three the books say {a:?} and {b:?}"))
    }
}

/// The packets of a link type as a file.
fn pcap(samples: &[Sample], link_type: u16) -> Result<Vec<u8>, String> {
    let (nano, order) = (PcapVariant::Nano, ByteOrder::Little);
    let mut writer = PcapWriter::new(Vec::new(), nano, order, LinkType(link_type), 65_535)
        .map_err(|e| e.to_string())?;
    for sample in samples.iter().filter(|s| s.link_type == link_type) {
        writer.write(sample.timestamp_ns, sample.len, &sample.data).map_err(|e| e.to_string())?;
    }
    Ok(writer.into_inner())
}

/// The same as pcapng of one interface.
fn pcapng(samples: &[Sample], link_type: u16) -> Result<Vec<u8>, String> {
    let mut writer = PcapNgWriter::new(Vec::new(), ByteOrder::Little).map_err(|e| e.to_string())?;
    let interface = writer.interface(None, LinkType(link_type), 0, TimeResolution::NANO);
    let interface = interface.map_err(|e| e.to_string())?;
    for sample in samples.iter().filter(|s| s.link_type == link_type) {
        let Sample { timestamp_ns, len, direction, .. } = *sample;
        let written = writer.write(interface, timestamp_ns, len, direction, &sample.data);
        written.map_err(|e| e.to_string())?;
    }
    Ok(writer.into_inner())
}

/// Runs a whole plan over the packets: a capture per link type, merged by time.
fn whole(
    plan: &PhysicalPlan,
    samples: &[Sample],
    backend: Backend,
    size: usize,
    make_lfta: Option<&MakeLfta<'_>>,
) -> Result<Answers, String> {
    let mut link_types: Vec<u16> = samples.iter().map(|s| s.link_type).collect();
    link_types.sort_unstable();
    link_types.dedup();
    let mut readers = Vec::new();
    for link_type in link_types {
        let bytes = Cursor::new(pcap(samples, link_type)?);
        readers.push(CaptureReader::from_reader("made", bytes).map_err(|e| e.to_string())?);
    }
    let options = RunOptions {
        memory_bytes_max: Some(MEMORY_BYTES_MAX),
        backend,
        batch_packets_max: Some(size),
        make_lfta,
        ..RunOptions::default()
    };
    answers(plan, readers.into(), &options)
}

fn answers(
    plan: &PhysicalPlan,
    captures: Captures,
    options: &RunOptions<'_>,
) -> Result<Answers, String> {
    let source = Source { interface: "default".to_owned(), captures };
    let mut sink = ValueSink::new(plan);
    let report: RunReport =
        wt_engine::run(plan, vec![source], options, &mut sink).map_err(|e| e.to_string())?;
    report.ledger.check().map_err(|e| format!("the books do not balance: {e}"))?;
    Ok(sink.into_answers(plan, report))
}

/// Rows in order, and the books but for what depends on how partial groups are cut.
fn whole_difference(slow: &Answers, fast: &Answers) -> Result<(), String> {
    for (name, answer) in &slow.results {
        let rows = fast.rows(name);
        let row = |rows: &[Vec<wt_catalog::Value>], i: usize| format!("{:?}", rows.get(i));
        for i in 0..answer.rows.len().max(rows.len()) {
            let (a, b) = (row(&answer.rows, i), row(rows, i));
            if a != b {
                return Err(format!("`{name}` row {i} is {a} and {b}"));
            }
        }
    }
    let books = |answers: &Answers| {
        let ledger = &answers.report.ledger;
        let packets: Vec<_> = ledger.interfaces.iter().map(|i| i.packets).collect();
        let fates = |t: &TupleCounters| {
            [t.offered, t.matched, t.filtered, t.absent, t.failed, t.late, t.held]
        };
        let tuples: Vec<_> =
            ledger.queries.iter().map(|q| (q.name.clone(), fates(&q.tuples))).collect();
        format!("{packets:?} {tuples:?}")
    };
    let (a, b) = (books(slow), books(fast));
    if a == b { Ok(()) } else { Err(format!("the books say {a} and {b}")) }
}
