//! The compiled backend: the LFTA program of a batch of queries as one piece of machine code, made by Cranelift.
//!
//! ```text
//! LftaProgram ─ plan ─▶ what each query writes, and where ┐
//!             ─ paths ─▶ which headers can come in a path  ├─ walk, lower, query ─▶ CLIF ─ Cranelift ─▶ code
//!             ─ width ─▶ how many bits values have         ┘
//! records of a batch ─ code ─▶ totals in the frame, rows ─ groups, tuples ─▶ messages
//! ```
//!
//! The code runs over all records of a batch: it walks the headers of each once, evaluates what queries share once and
//! without branches, and adds to totals or writes a row of words per qualified tuple. Rows are then taken into the groups,
//! which lets their memory be prefetched; what belongs to a small table is added to where it lies, and new groups as long as there is room ([`lent`]). Functions, and operators on values that are not words, call the host, which computes what
//! the interpreter would. Code is made per link type, when the first packet of it comes.
//!
//! **Invariant:** code reads captured bytes of the batch, zeros, constants, its frame and the tables lent to it, nothing else. A load is inside its packet by
//! construction (the walk has compared the header's length with what is captured) or behind a comparison of its own. A record that does not lie in the
//! batch ends the run.
//!
//! What this backend has no code for ([`Unsupported`]) is left to the reference interpreter as a whole.

mod arith;
mod compare;
mod emit;
mod flags;
mod frame;
mod groups;
mod host;
mod lent;
mod load;
mod lookup;
mod lower;
mod paths;
mod plan;
mod query;
mod range;
mod rare;
mod remake;
mod rows;
mod seek;
mod seen;
mod sink;
mod sys;
mod table;
#[cfg(test)]
mod tests;
mod unit;
mod vectors;
mod walk;
mod width;

use std::sync::Arc;

use wt_catalog::Value;
use wt_plan::ir::{Exprs, HandleSpec, LftaAction, LftaProgram, OrderedColumn, Qual};
use wt_trace::Meanwhile;

use self::emit::Unsupported;
use self::frame::{Frame, FrameLayout};
pub(crate) use self::groups::Regroup;
use self::host::Host;
use self::lookup::Lookup;
use self::plan::{Body, Joints, QueryPlan};
use self::query::Reader;
use self::range::RangeState;
pub(crate) use self::range::{Ordinals, Scanned, kept_ordinal};
use self::rare::RareWalk;
pub(crate) use self::remake::{Remade, Remake, RowCode, whole_columns};
use self::rows::block_columns;
use self::sink::{Query, Sink, Taken, total};
pub(crate) use self::sys::Words;
pub(crate) use self::table::{WordHasher, WordTable};
use self::unit::Unit;
use self::vectors::Vectored;
pub use self::walk::PathsWanted;
use crate::error::EngineError;
use crate::functions::{self, Handle};
use crate::interp::Interpreter;
use crate::ledger::{PacketCounters, TupleCounters};
use crate::lfta::{AheadCounters, BatchOrdinals, LftaBackend, Readers};
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::setup::SetupError;
use crate::tuple::Message;
use crate::window;

/// Records that code runs over at a time. Their rows stay in the second-level cache.
const RECORDS_MAX: usize = 1024;

/// Packets that the host walks, as they take paths without code, before code is made for all paths: about as many as it walks in
/// the time that takes.
const RARE_PACKETS_MAX: u64 = 1 << 14;
/// Byte of a packet in whose cache line headers are looked at first: that of the type of an Ethernet frame.
const HEADERS_AT: usize = 12;

/// Compiled code as a backend.
pub struct CompiledLfta {
    program: LftaProgram,
    params: Vec<Value>,
    plans: Vec<QueryPlan>,
    joints: Joints,
    /// By query: what reads it, where its quals are applied ahead.
    readers: Vec<Option<OwnedReader>>,
    lookups: Vec<Lookup>,
    vectored: Vectored,
    handles: Arc<[Handle]>,
    layout: FrameLayout,
    frame: Frame,
    /// By link type that has come: its code.
    units: Vec<(u16, Unit)>,
    /// What code is made for when packets of another link type come.
    paths: PathsWanted,
    queries: Vec<Query>,
    /// Queries with totals that no tuple has come for.
    unmatched: Vec<usize>,
    packets: PacketCounters,
    hasher: WordHasher,
    /// What a range of packets comes to, or that of the whole input while a range is at work.
    range: Option<Box<RangeState>>,
    /// Evaluates bounds of times.
    bounds: Option<Interpreter>,
}

/// What a backend begins with.
pub(crate) enum Code<'a> {
    /// Code made for packets that begin as a link type says.
    New(u16),
    Shared(&'a SharedCode),
}

/// Code that several threads run.
pub(crate) struct SharedCode {
    link_type: u16,
    code: Arc<sys::Code>,
    layout: FrameLayout,
}

/// What reads the tuples of a selection.
struct OwnedReader {
    exprs: Exprs,
    quals: Vec<Qual>,
    columns: Vec<u32>,
    handles: usize,
}

impl OwnedReader {
    fn reader(&self) -> Reader<'_> {
        let Self { exprs, quals, columns, handles } = self;
        Reader { exprs, quals, columns, handles: *handles }
    }
}

/// What made a program go to another backend.
#[derive(Debug)]
pub enum NotCompiled {
    /// There is no code for something in it, or no code can be made for this machine.
    Unsupported(&'static str),
    /// It cannot be set up at all.
    Setup(SetupError),
}

impl From<Unsupported> for NotCompiled {
    fn from(Unsupported(what): Unsupported) -> Self {
        NotCompiled::Unsupported(what)
    }
}

impl CompiledLfta {
    /// Prepares a program that has been found sound by [`crate::check`], and compiles it for packets that begin as `link_type`
    /// says. Parameters as for [`crate::ReferenceLfta::new`].
    ///
    /// # Errors
    /// Something that there is no code for; a handle that cannot be registered, tables beyond the memory limit.
    pub fn new(
        program: &LftaProgram,
        params: &[Value],
        readers: Readers<'_>,
        paths: PathsWanted,
        link_type: u16,
        memory: &mut Memory,
    ) -> Result<Self, NotCompiled> {
        let code = Code::New(link_type);
        Self::with_code(program, params, readers, paths, code, memory)
    }

    /// The same, with code that has been made for another backend of the same program, or new code.
    pub(crate) fn with_code(
        program: &LftaProgram,
        params: &[Value],
        of: Readers<'_>,
        paths: PathsWanted,
        code: Code<'_>,
        memory: &mut Memory,
    ) -> Result<Self, NotCompiled> {
        let mut layout = FrameLayout::new();
        let plans = plan::plan(program, params, &mut layout, of)?;
        let lookups = lookup::lookups(program, params, &plans, &mut layout);
        let vectored = Vectored::new(program, params, &plans, &mut layout);
        let (readers, handles) = owned(program, params, of).map_err(NotCompiled::Setup)?;
        let mut compiled = Self {
            program: program.clone(),
            params: params.to_vec(),
            joints: Joints::of(&plans),
            plans,
            readers,
            lookups,
            vectored,
            handles: handles.into(),
            layout,
            frame: Frame::new(),
            units: Vec::new(),
            paths,
            queries: Vec::new(),
            unmatched: (0..program.queries.len()).collect(),
            packets: PacketCounters::default(),
            hasher: WordHasher::new(),
            range: None,
            bounds: None,
        };
        match code {
            Code::New(link_type) => {
                compiled.compile(link_type)?;
            }
            Code::Shared(SharedCode { link_type, code, layout }) => {
                let host = compiled.host(&compiled.paths)?;
                compiled.units.push((*link_type, Unit { code: Arc::clone(code), host }));
                compiled.layout = *layout;
                compiled.frame.fit(layout);
            }
        }
        for lookup in &compiled.lookups {
            lookup.put(&mut compiled.frame.words);
        }
        for (index, (query, plan)) in program.queries.iter().zip(&compiled.plans).enumerate() {
            let fixed = of.is_fixed(index);
            let query = Query::new(program, query, plan, fixed, compiled.hasher, memory);
            compiled.queries.push(query.map_err(NotCompiled::Setup)?);
        }
        Ok(compiled)
    }

    /// Lets the rows of a selection leave together, as blocks. Where other queries send rows, too, tuples go on leaving one by one, in the
    /// order of packets. A block is one message, whatever it holds: what counts messages is better off without.
    pub(crate) fn send_blocks(&mut self) {
        let senders = self.plans.iter().filter(|plan| matches!(plan.body, Body::Rows(_))).count();
        if senders > 1 {
            return;
        }
        for ((query, plan), reader) in self.queries.iter_mut().zip(&self.plans).zip(&self.readers) {
            if matches!(query.sink, Sink::Select) {
                query.block = block_columns(plan, reader.as_ref());
            }
        }
    }

    /// What code is made for.
    pub(crate) fn paths(&self) -> &PathsWanted {
        &self.paths
    }

    /// The index of the code for a link type, compiled when it is the first packet of it.
    fn compile(&mut self, link_type: u16) -> Result<usize, Unsupported> {
        if let Some(index) = self.units.iter().position(|(known, _)| *known == link_type) {
            return Ok(index);
        }
        let unit = self.unit(link_type, &self.paths.clone())?;
        self.units.push((link_type, unit));
        Ok(self.units.len() - 1)
    }

    /// The code made first, for other threads, where it asks nothing of the host that it was made with.
    pub(crate) fn shared_code(&self) -> Option<SharedCode> {
        let (link_type, Unit { code, host }) =
            self.units.first().filter(|_| self.units.len() == 1)?;
        let shared =
            SharedCode { link_type: *link_type, code: Arc::clone(code), layout: self.layout };
        host.is_bare().then_some(shared)
    }

    /// What code made for some paths runs with.
    fn host(&self, paths: &PathsWanted) -> Result<Host, Unsupported> {
        let pending = self.plans.iter().filter_map(|plan| Some((plan.pending?, plan)));
        let pending = pending
            .flat_map(|((absent, failed), plan)| [(absent, plan.absent), (failed, plan.failed)]);
        let mut host = Host::new(self.handles.clone()).with_pending(pending.collect());
        if *paths != PathsWanted::All {
            let rare = RareWalk::new(&self.program, &self.params);
            host = host.with_rare(rare.map_err(|_| Unsupported("a protocol declaration"))?);
        }
        Ok(host)
    }

    /// Compiles code for a link type.
    fn unit(&mut self, link_type: u16, paths: &PathsWanted) -> Result<Unit, Unsupported> {
        let host = self.host(paths)?;
        let readers: Vec<Option<Reader<'_>>> =
            self.readers.iter().map(|reader| reader.as_ref().map(OwnedReader::reader)).collect();
        let source = unit::Source {
            program: &self.program,
            plans: &self.plans,
            lookups: &self.lookups,
            vectored: &self.vectored,
            readers: &readers,
            params: &self.params,
            link_type,
            paths,
        };
        let unit = source.compile(host, &mut self.layout)?;
        self.frame.fit(&self.layout);
        Ok(unit)
    }

    /// Makes code for all paths of a link type, when many packets have taken such that have none.
    fn widen(&mut self, unit: usize) {
        let (link_type, known) = &self.units[unit];
        if known.host.rare_packets() < RARE_PACKETS_MAX {
            return;
        }
        let link_type = *link_type;
        // Where there is no code for some path, the host goes on walking it.
        if let Ok(wider) = self.unit(link_type, &PathsWanted::All) {
            self.units[unit].1 = wider;
        } else {
            self.units[unit].1.host.count_rare_anew();
        }
    }

    /// Runs code over records of one batch and takes what it has written. `out` is told the index of the record that a message follows, too.
    fn run(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinals: BatchOrdinals<'_>,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, u32, Message),
    ) -> Result<(), EngineError> {
        let link_type = batch.link_type;
        let number = self
            .compile(link_type)
            .map_err(|Unsupported(what)| EngineError::NoCode { link_type, what })?;
        self.widen(number);
        let (_, unit) = &mut self.units[number];
        unit.host.begin(batch);
        let frame = &mut self.frame;
        frame.words[frame::IFINDEX] = u64::from(batch.ifindex);
        let name = batch.interface.as_bytes().unwrap_or_default();
        frame.words[frame::INTERFACE] = name.as_ptr() as u64;
        frame.words[frame::INTERFACE + 1] = name.len() as u64;
        let mut takes_rows = false;
        for (query, plan) in self.queries.iter_mut().zip(&self.plans) {
            if let Body::Rows(rows) = &plan.body {
                rows.begin(&mut frame.words, &mut query.rows);
                takes_rows |= !rows.patterns.is_empty();
                if let Sink::Groups(groups) = &mut query.sink {
                    for (kind, lent) in rows.lent.iter().enumerate() {
                        let table = groups.lend(kind);
                        takes_rows |= table.is_none();
                        lent.put(&mut frame.words, table.unwrap_or_default());
                    }
                }
            }
        }
        match &batch.meanwhile {
            // What waits for memory goes on while code runs, in pieces of as many records; half of it does so while rows are taken. Headers are in the second-level
            // cache by then: those of the next piece come nearer, as code has to wait for the first of them wherever a branch was not foreseen.
            Some(meanwhile) => {
                let per_step = Meanwhile::STEP_RECORDS * if takes_rows { 2 } else { 1 };
                let mut pieces = batch.records.chunks(per_step).peekable();
                while let Some(records) = pieces.next() {
                    meanwhile.step();
                    let next = pieces.peek().into_iter().copied().flatten();
                    next.for_each(|r| sys::prefetch(batch.data, r.at as usize + HEADERS_AT));
                    self.vectored.run(
                        &unit.code,
                        &mut frame.words,
                        batch.data,
                        records,
                        &mut unit.host,
                    );
                }
            }
            None => {
                let words = &mut frame.words;
                self.vectored.run(&unit.code, words, batch.data, batch.records, &mut unit.host);
            }
        }
        unit.code.ask_filters(&mut frame.words);
        self.joints.part(&mut frame.words);

        let count = batch.records.len() as u64;
        self.packets.packets += count;
        self.packets.malformed += frame.take(frame::MALFORMED);
        self.packets.too_deep += frame.take(frame::TOO_DEEP);
        if !self.program.parse.start.iter().any(|(known, _)| *known == batch.link_type) {
            self.packets.unknown_link_type += count;
        }
        let several = self.queries.len() > 1;
        let mut sent: Vec<(u64, u32, Message)> = Vec::new();
        for (number, (query, plan)) in self.queries.iter_mut().zip(&self.plans).enumerate() {
            let number = number as u32;
            let mut send = |record: u64, message: Message| {
                // Messages leave in the order of the packets they follow, then of queries.
                match several {
                    true => sent.push((record, number, message)),
                    false => out(record, number, message),
                }
            };
            if let Body::Rows(rows) = &plan.body {
                let reader = self.readers[number as usize].as_ref();
                let handles = reader.map_or(&[][..], |reader| &self.handles[reader.handles..]);
                let (records, kept) = (batch.records, unit.host.kept());
                let meanwhile = batch.meanwhile.filter(|_| takes_rows);
                let taken = Taken { records, ordinals, kept, handles, meanwhile };
                query.after(rows, (plan.absent, plan.failed), frame, &taken, memory, &mut send)?;
            }
        }
        sent.sort_by_key(|(record, ..)| *record);
        sent.into_iter().for_each(|(record, query, message)| out(record, query, message));
        self.note_first_ordinals(batch, number, ordinals);
        let (_, unit) = &mut self.units[number];
        unit.host.forget();
        Ok(())
    }

    /// Finds the first tuples of totals that had none before the batch. It happens once per query: the code runs over half of the batch again, and
    /// over half of that, with a frame of its own, so that it need not keep track of it.
    fn note_first_ordinals(
        &mut self,
        batch: &PacketBatch<'_>,
        unit: usize,
        ordinals: BatchOrdinals<'_>,
    ) {
        let frame = &self.frame.words;
        let matched = |plan: &QueryPlan| match &plan.body {
            Body::Totals(totals) => Some(totals.matched),
            Body::Rows(_) => None,
        };
        let mut sought: Vec<(usize, usize)> = Vec::new();
        self.unmatched.retain(|&index| {
            let Some(at) = matched(&self.plans[index]) else { return false };
            if frame[at] > 0 {
                sought.push((index, at));
            }
            frame[at] == 0
        });
        if sought.is_empty() {
            return;
        }
        let mut frame = frame.clone();
        let (_, unit) = &mut self.units[unit];
        // Queries whose first tuple is of one of some records, with the words that count them.
        let mut ranges = vec![(0..batch.records.len(), sought)];
        while let Some((range, sought)) = ranges.pop() {
            if range.len() == 1 {
                let first = Some(ordinals.of(range.start as u64));
                sought.iter().for_each(|(index, _)| self.queries[*index].first_ordinal = first);
                continue;
            }
            let middle = range.start.midpoint(range.end);
            sought.iter().for_each(|(_, at)| frame[*at] = 0);
            for (query, plan) in self.queries.iter_mut().zip(&self.plans) {
                if let Body::Rows(rows) = &plan.body {
                    rows.begin(&mut frame, &mut query.rows);
                }
            }
            let records = &batch.records[range.start..middle];
            self.vectored.run(&unit.code, &mut frame, batch.data, records, &mut unit.host);
            unit.code.ask_filters(&mut frame);
            self.joints.part(&mut frame);
            let (before, behind): (Vec<_>, Vec<_>) =
                sought.into_iter().partition(|(_, at)| frame[*at] > 0);
            for (range, sought) in [(range.start..middle, before), (middle..range.end, behind)] {
                if !sought.is_empty() {
                    ranges.push((range, sought));
                }
            }
        }
    }
}

/// The machine code of a program for packets that begin as `link_type` says, as text. Parameters as for [`CompiledLfta::new`].
///
/// # Errors
/// As [`CompiledLfta::new`].
pub(crate) fn machine_code(
    program: &LftaProgram,
    params: &[Value],
    of: Readers<'_>,
    link_type: u16,
) -> Result<String, NotCompiled> {
    let mut layout = FrameLayout::new();
    let plans = plan::plan(program, params, &mut layout, of)?;
    let lookups = lookup::lookups(program, params, &plans, &mut layout);
    let vectored = &Vectored::new(program, params, &plans, &mut layout);
    let (readers, handles) = owned(program, params, of).map_err(NotCompiled::Setup)?;
    let mut host = Host::new(handles.into());
    let readers: Vec<_> =
        readers.iter().map(|reader| reader.as_ref().map(OwnedReader::reader)).collect();
    let paths = &PathsWanted::All;
    let (plans, lookups, readers) = (&plans, &lookups, &readers);
    let source =
        unit::Source { program, plans, lookups, vectored, readers, params, link_type, paths };
    Ok(source.listing(&mut host, &mut layout)?)
}

/// By query of a program: what reads its tuples. And all handles, those of readers behind those of the program.
fn owned(
    program: &LftaProgram,
    params: &[Value],
    of: Readers<'_>,
) -> Result<(Vec<Option<OwnedReader>>, Vec<Handle>), SetupError> {
    let mut handles = handles(&program.exprs.handles, params)?;
    let mut readers = Vec::with_capacity(program.queries.len());
    for index in 0..program.queries.len() {
        let ahead = of.ahead.get(index).and_then(Option::as_ref);
        readers.push(ahead.map(|ahead| OwnedReader {
            exprs: ahead.exprs.clone(),
            quals: ahead.quals.to_vec(),
            columns: ahead.columns.clone(),
            handles: handles.len(),
        }));
        if let Some(ahead) = ahead {
            handles.extend(self::handles(&ahead.exprs.handles, params)?);
        }
    }
    Ok((readers, handles))
}

/// Registers handles.
fn handles(specs: &[HandleSpec], params: &[Value]) -> Result<Vec<Handle>, SetupError> {
    let prepare = |spec: &HandleSpec| {
        functions::register(spec, params)
            .map_err(|source| SetupError::Handle { function: spec.symbol, source })
    };
    specs.iter().map(prepare).collect()
}

impl LftaBackend for CompiledLfta {
    fn batch(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), EngineError> {
        let mut first = ordinal;
        for records in batch.records.chunks(RECORDS_MAX) {
            let ordinals = BatchOrdinals { first, places: None };
            let mut send = |_, query, message| out(query, message);
            self.run(&PacketBatch { records, ..*batch }, ordinals, memory, &mut send)?;
            first += records.len() as u64;
        }
        Ok(())
    }

    fn batch_among(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        places: &[u16],
        memory: &mut Memory,
        out: &mut dyn FnMut(u16, u32, Message),
    ) -> Result<(), EngineError> {
        for (records, places) in batch.records.chunks(RECORDS_MAX).zip(places.chunks(RECORDS_MAX)) {
            let ordinals = BatchOrdinals { first: ordinal, places: Some(places) };
            let mut send = |record, query, message| out(places[record as usize], query, message);
            self.run(&PacketBatch { records, ..*batch }, ordinals, memory, &mut send)?;
        }
        Ok(())
    }

    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message)) {
        if self.bounds.is_none() {
            self.bounds = Interpreter::new(&self.program, &self.params).ok();
        }
        let Some(interpreter) = &mut self.bounds else { return };
        let index = query as usize;
        let (Some(plan), Some(state)) =
            (self.program.queries.get(index), self.queries.get_mut(index))
        else {
            return;
        };
        let from_time =
            |ordered: &[OrderedColumn]| ordered.first().cloned().filter(|c| c.from_time);
        match (&mut state.sink, &plan.action) {
            (Sink::Values(aggregate), _) => {
                let mut send = |message| out(query, message);
                aggregate.bound(interpreter, time_ns, &mut state.counters, &mut send);
            }
            (Sink::Groups(groups), LftaAction::Aggregate { keys, ordered, .. }) => {
                let mut send = |_, message| out(query, message);
                let value = from_time(ordered)
                    .and_then(|c| interpreter.eval_at(time_ns, keys[c.column as usize]).ok());
                groups.advance_to(value, &mut state.counters, &mut send);
            }
            (Sink::Select, LftaAction::Select { outputs, ordered }) => {
                if let Some(message) = window::bounds_at(interpreter, outputs, ordered, time_ns) {
                    out(query, message);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(u32, Message)) {
        for (i, (query, plan)) in self.queries.iter_mut().zip(&self.plans).enumerate() {
            let number = i as u32;
            let counters = &mut query.counters;
            match (&mut query.sink, &plan.body) {
                (Sink::Groups(groups), _) => {
                    groups.finish(counters, &mut |_, message| out(number, message));
                }
                (Sink::Values(aggregate), _) => {
                    aggregate.finish(counters, &mut |message| out(number, message));
                }
                (Sink::Totals, Body::Totals(totals)) => {
                    if let Some(tuple) = total(totals, &self.frame, query.first_ordinal) {
                        counters.output += 1;
                        out(number, Message::Tuple(tuple));
                    }
                }
                _ => {}
            }
            out(number, Message::End);
        }
    }

    fn as_compiled(&mut self) -> Option<&mut CompiledLfta> {
        Some(self)
    }

    fn judges_ahead(&self, query: u32) -> bool {
        let body = self.plans.get(query as usize).map(|plan| &plan.body);
        matches!(body, Some(Body::Rows(rows)) if rows.ahead.is_some())
    }

    fn ahead(&self, query: u32) -> AheadCounters {
        self.queries.get(query as usize).map(|query| query.ahead).unwrap_or_default()
    }

    fn sends_whole_groups(&self, query: u32) -> bool {
        match self.queries.get(query as usize).map(|query| &query.sink) {
            Some(Sink::Totals) => true,
            Some(Sink::Groups(groups)) => groups.are_whole(),
            _ => false,
        }
    }

    fn packets(&self) -> PacketCounters {
        self.packets
    }

    fn tuples(&self, query: u32) -> TupleCounters {
        let index = query as usize;
        let Some(Query { counters, sink, .. }) = self.queries.get(index) else {
            return TupleCounters::default();
        };
        let mut counters = *counters;
        counters.offered = self.packets.packets;
        let plan = &self.plans[index];
        match (sink, &plan.body) {
            (Sink::Groups(groups), _) => counters.held = groups.held(),
            (Sink::Values(aggregate), _) => counters.held = aggregate.held(),
            (_, Body::Totals(totals)) => {
                let frame = &self.frame.words;
                counters.matched = frame[totals.matched];
                counters.absent = frame[plan.absent];
                counters.failed = frame[plan.failed];
                // One group, which holds all but what was merged into it until it is sent.
                counters.merged = counters.matched.saturating_sub(1);
                counters.held = u64::from(counters.matched > 0) - counters.output;
            }
            _ => {}
        }
        // Everything else was filtered.
        counters.filtered =
            counters.offered - counters.matched - counters.absent - counters.failed - counters.late;
        counters
    }
}
