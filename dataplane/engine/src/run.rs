//! A run over captures: all packets of all interfaces in time order through the plan, to the sink.

mod among;
mod apart;
mod ranges;

use std::sync::atomic::{AtomicBool, Ordering};

use wt_catalog::Value;
use wt_plan::ir::{LftaAction, LftaProgram};
use wt_plan::physical::{HftaOp, PhysicalPlan, StreamRef};
use wt_plan::shape;

use self::among::Among;
use self::apart::Pace;
use self::ranges::Cores;
pub use self::ranges::{CUT_BYTES_MIN, RANGE_BYTES, may_cut_store};
use crate::check;
use crate::compiled::{self, CompiledLfta, NotCompiled, Ordinals, PathsWanted, Scanned};
use crate::error::EngineError;
use crate::graph::{Feeding, Graph};
use crate::ledger::{Ledger, QueryLedger};
use crate::lfta::{Ahead, LftaBackend, Readers, ReferenceLfta};
use crate::memory::{Memory, SharedMemory};
use crate::setup::SetupError;
use crate::sink::{RowSink, SinkError};
use crate::source::{Feed, InterfaceIndices, Source};
use crate::tuple::Message;

/// Most packets that a backend is given at once, and so between two looks at progress and cancellation.
const BATCH_PACKETS_MAX: usize = 4096;

/// Bytes of captures from which on code is compiled: a few thousand packets, which the interpreter takes in the 10 ms that compiling takes.
const COMPILED_BYTES_MIN: u64 = 2 << 20;

/// What runs LFTA programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// As [`Backend::Tiered`], but the interpreter for captures that are read before code would be ready.
    #[default]
    Auto,
    /// Compiled code for likely header paths, and for all when many packets take others.
    Tiered,
    /// Compiled code for all header paths where there is code for all of the program and this processor, else the interpreter.
    Compiled,
    /// The reference interpreter.
    Interpreter,
}

impl Backend {
    /// What code is compiled for at first, if any is.
    pub(crate) fn paths(self) -> Option<PathsWanted> {
        match self {
            Self::Interpreter => None,
            Self::Compiled => Some(PathsWanted::All),
            Self::Tiered | Self::Auto => Some(PathsWanted::Likely),
        }
    }
}

/// How a run is to be done.
#[derive(Clone, Copy, Default)]
pub struct RunOptions<'a> {
    /// Most memory that all operators together may keep, bytes; `None`: no limit.
    pub memory_bytes_max: Option<u64>,
    /// What runs LFTA programs.
    pub backend: Backend,
    /// Most packets of a batch; `None`: as many as suits.
    pub batch_packets_max: Option<usize>,
    /// Most threads: those that scan plain files or a store, in ranges, or for another single input one that scans and one for operators. Rows and books do
    /// not depend on it. 0 is 1.
    pub cores: usize,
    /// Bytes of a range; `None`: as many as suits, and small files are left to one thread.
    pub range_bytes: Option<u64>,
    /// From the first packet on, operators have a thread of their own where they may; otherwise only where that pays.
    pub operators_apart: bool,
    /// Called now and then.
    pub progress: Option<&'a dyn Fn(&Progress)>,
    /// Set from elsewhere to end the run early: reading stops, open windows are closed.
    pub cancel: Option<&'a AtomicBool>,
    /// Makes backends that this crate does not have; `backend` is for the interfaces for which it makes none.
    pub make_lfta: Option<&'a MakeLfta<'a>>,
}

/// Makes the backend of an interface, or none.
pub type MakeLfta<'a> =
    dyn Fn(&LftaSetup<'_>) -> Result<Option<Box<dyn LftaBackend>>, EngineError> + 'a;

/// What the backend of an interface is made of.
#[derive(Clone, Copy)]
pub struct LftaSetup<'a> {
    /// Name of the interface.
    pub interface: &'a str,
    /// Its program.
    pub program: &'a LftaProgram,
    /// Parameters.
    pub params: &'a [Value],
    /// By query: its partial groups must be those of the reference, since they are seen or their sums depend on their order.
    pub fixed_hash: &'a [bool],
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files as stored.
    pub bytes_read: u64,
    /// Size of all files, when every one is a file.
    pub bytes_total: Option<u64>,
    /// Packets read.
    pub packets: u64,
    /// Rows that the sink has taken.
    pub rows: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All captures were read.
    Complete,
    /// It was cancelled; windows open then were closed with what they had.
    Cancelled,
    /// Nobody read this output any more; windows open then were not closed.
    SinkClosed {
        /// Index into `PhysicalPlan::outputs`.
        output: usize,
    },
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The books. Damaged captures are in them: [`Ledger::damage`].
    pub ledger: Ledger,
    /// Why it ended.
    pub end: RunEnd,
    /// Most memory that operators kept at one time, bytes.
    pub memory_peak_bytes: u64,
    /// Interfaces whose program went to the interpreter although compiled code was wanted, and why.
    pub not_compiled: Vec<(String, &'static str)>,
}

/// Runs a plan over captures. Packets of all interfaces are taken in time order, each capture in its own order, ties in
/// the order of the sources. Sources that the plan does not read are left alone.
///
/// A capture that breaks off ends there: its packets before the damage count, and the books say where it broke.
///
/// # Errors
/// A plan without its sources, an argument that cannot be registered, the memory limit, a sink that fails.
pub fn run(
    plan: &PhysicalPlan,
    sources: Vec<Source>,
    options: &RunOptions<'_>,
    sink: &mut (dyn RowSink + Send),
) -> Result<RunReport, EngineError> {
    check::check(plan).map_err(SetupError::from)?;
    let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
    // Operators that may get a thread of their own have their own part of the memory, too.
    let bytes_max = options.memory_bytes_max;
    let is_split = options.cores > 1 && bytes_max.is_none_or(|max| max >= apart::MEMORY_BYTES_MIN);
    let shared = is_split.then(|| SharedMemory::new(bytes_max));
    let mut memory = match &shared {
        None => Memory::new(options.memory_bytes_max),
        Some(shared) => shared.part(),
    };
    let is_alone =
        plan.interfaces.len() == 1 && plan.nodes.iter().all(|node| node.inputs.len() <= 1);
    let mut feeds = feeds(plan, sources, is_alone)?;
    let mut lftas = Vec::with_capacity(plan.interfaces.len());
    let mut not_compiled = Vec::new();
    let fixed: Vec<_> = (0..plan.interfaces.len()).map(|index| fixed_hash(plan, index)).collect();
    let ahead: Vec<_> = (0..plan.interfaces.len()).map(|index| ahead(plan, index)).collect();
    let free: Vec<_> = (0..plan.interfaces.len()).map(|index| any_order(plan, index)).collect();
    let mut cores = None;
    for (index, interface) in plan.interfaces.iter().enumerate() {
        let link_type = feeds[index].first_link_type();
        let setup = BackendSetup {
            program: &interface.program,
            params: &params,
            readers: Readers { fixed: &fixed[index], ahead: &ahead[index], free: &free[index] },
        };
        let made = match options.make_lfta {
            None => None,
            Some(make) => make(&LftaSetup {
                interface: &interface.name,
                program: &interface.program,
                params: &params,
                fixed_hash: &fixed[index],
            })?,
        };
        let (mut backend, why) = match made {
            Some(backend) => (backend, None),
            None => setup.start(options.backend, link_type, &feeds[index], &mut memory)?,
        };
        not_compiled.extend(why.map(|why| (interface.name.clone(), why)));
        if let Some(lead) = backend.as_compiled() {
            // Tuples among those of others go one by one, in the order of packets.
            if is_alone {
                lead.send_blocks();
                cores = Cores::new(lead, &mut feeds[index], setup, options);
            }
        }
        lftas.push(Lfta { backend, ended: false });
    }
    let graph = Graph::new(plan, &params, &|interface, query| {
        let backend = &lftas[interface].backend;
        Feeding {
            whole_groups: backend.sends_whole_groups(query),
            judged: backend.judges_ahead(query),
        }
    })?;
    let may_part = is_alone && cores.is_none();
    let apart = shared.filter(|_| may_part).map(|shared| shared.part());
    let mut run = Run { lftas, graph, memory, apart, sink };
    let early = match &mut cores {
        Some(cores) => cores.run(&mut run, &mut feeds[0], options)?,
        None => None,
    };
    let part_packets_max = options.batch_packets_max.unwrap_or(BATCH_PACKETS_MAX).max(1);
    let among = (!is_alone).then(|| Among::new(plan, part_packets_max));
    let end = run.packets(&mut feeds, among, early, options)?;
    if let Some(progress) = options.progress {
        progress(&run.progress(&feeds));
    }
    for (interface, lfta) in run.lftas.iter().enumerate() {
        for query in 0..plan.interfaces[interface].program.queries.len() as u32 {
            run.graph.judged_ahead(interface, query, lfta.backend.ahead(query));
        }
    }
    let ledger = run.ledger(plan, &feeds, end == RunEnd::Complete);
    debug_assert_eq!(ledger.check(), Ok(()));
    if let Some(apart) = &run.apart {
        run.memory.add_to_peak(apart.peak_bytes());
    }
    Ok(RunReport { ledger, end, memory_peak_bytes: run.memory.peak_bytes(), not_compiled })
}

/// The sources in the order of the plan's interfaces.
fn feeds(
    plan: &PhysicalPlan,
    sources: Vec<Source>,
    is_alone: bool,
) -> Result<Vec<Feed>, EngineError> {
    let known: Vec<String> = sources.iter().map(|source| source.interface.clone()).collect();
    for (i, interface) in known.iter().enumerate() {
        if known[..i].contains(interface) {
            return Err(EngineError::TwoSources { interface: interface.clone() });
        }
    }
    let mut sources: Vec<Option<Source>> = sources.into_iter().map(Some).collect();
    let mut feeds = Vec::with_capacity(plan.interfaces.len());
    for (number, interface) in plan.interfaces.iter().enumerate() {
        let wanted = |source: &&mut Option<Source>| {
            source.as_ref().is_some_and(|source| source.interface == interface.name)
        };
        let Some(source) = sources.iter_mut().find(wanted).and_then(Option::take) else {
            let interface = interface.name.clone();
            return Err(EngineError::NoSource { interface, known });
        };
        feeds.push(Feed::new(number, source, is_alone));
    }
    Ok(feeds)
}

/// The machine code that runs for an interface of a plan, for packets that begin as `link_type` says, as text.
///
/// # Errors
/// Something that there is no code for; a handle that cannot be registered.
pub fn machine_code(
    plan: &PhysicalPlan,
    interface: usize,
    link_type: u16,
) -> Result<String, NotCompiled> {
    let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
    let readers = Readers {
        fixed: &fixed_hash(plan, interface),
        ahead: &ahead(plan, interface),
        free: &any_order(plan, interface),
    };
    compiled::machine_code(&plan.interfaces[interface].program, &params, readers, link_type)
}

/// By query of an interface: whether its partial groups must be the same in every run. They need not when only
/// aggregations read them and nothing they add up depends on order.
pub(crate) fn fixed_hash(plan: &PhysicalPlan, interface: usize) -> Vec<bool> {
    let of = |(query, lfta): (usize, &wt_plan::ir::LftaQuery)| {
        let LftaAction::Aggregate { aggs, .. } = &lfta.action else { return false };
        let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
        shape::has_fixed_order(plan, stream, aggs)
    };
    plan.interfaces[interface].program.queries.iter().enumerate().map(of).collect()
}

/// By query of an interface: the quals of the one operator that reads it, when it does nothing with tuples that fail them.
pub(crate) fn ahead(plan: &PhysicalPlan, interface: usize) -> Vec<Option<Ahead<'_>>> {
    let of = |query: usize| {
        let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
        let op = &plan.nodes[shape::reader_ahead(plan, stream)?].op;
        let (exprs, quals) = match op {
            HftaOp::Select { exprs, quals, .. } => (exprs, quals),
            HftaOp::Aggregate(aggregate) => (&aggregate.exprs, &aggregate.quals),
            _ => return None,
        };
        Some(Ahead { exprs, quals, columns: shape::columns_read(op) })
    };
    (0..plan.interfaces[interface].program.queries.len()).map(of).collect()
}

/// By query of an interface: whether what reads its tuples does not ask in what order they come.
fn any_order(plan: &PhysicalPlan, interface: usize) -> Vec<bool> {
    let of = |query: usize| {
        let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
        shape::may_come_in_any_order(plan, stream)
    };
    (0..plan.interfaces[interface].program.queries.len()).map(of).collect()
}

/// What a backend is made of.
#[derive(Clone, Copy)]
pub(crate) struct BackendSetup<'a> {
    pub(crate) program: &'a LftaProgram,
    pub(crate) params: &'a [Value],
    pub(crate) readers: Readers<'a>,
}

impl BackendSetup<'_> {
    /// A backend, and why it is not the one wanted. `link_type` is what the first packet begins with, when there is one.
    fn start(
        &self,
        backend: Backend,
        link_type: Option<u16>,
        feed: &Feed,
        memory: &mut Memory,
    ) -> Result<Started, SetupError> {
        let is_large = || feed.unpacked_bytes().is_none_or(|bytes| bytes >= COMPILED_BYTES_MIN);
        let mut paths = backend.paths().filter(|_| backend != Backend::Auto || is_large());
        if paths == Some(PathsWanted::Likely) && link_type.is_some() {
            let Self { program, params, .. } = *self;
            let seen = feed.sample(|batch| PathsWanted::seen_in(program, params, batch));
            paths = seen.reduce(PathsWanted::and).or(paths);
        }
        self.make(paths, link_type, memory)
    }

    /// A backend with code for these paths of this link type, or the interpreter, and why when that is not what was wanted.
    pub(crate) fn make(
        &self,
        paths: Option<PathsWanted>,
        link_type: Option<u16>,
        memory: &mut Memory,
    ) -> Result<Started, SetupError> {
        let Self { program, params, readers } = *self;
        let mut why = None;
        if let (Some(paths), Some(link_type)) = (paths, link_type) {
            match CompiledLfta::new(program, params, readers, paths, link_type, memory) {
                Ok(compiled) => return Ok((Box::new(compiled), None)),
                Err(NotCompiled::Setup(error)) => return Err(error),
                Err(NotCompiled::Unsupported(what)) => why = Some(what),
            }
        }
        Ok((Box::new(ReferenceLfta::new(program, params, readers.fixed, memory)?), why))
    }
}

/// A backend, and why the interpreter was taken although code was wanted.
pub(crate) type Started = (Box<dyn LftaBackend>, Option<&'static str>);

struct Lfta {
    backend: Box<dyn LftaBackend>,
    ended: bool,
}

struct Run<'a> {
    lftas: Vec<Lfta>,
    graph: Graph,
    memory: Memory,
    /// The operators' memory, where they may get a thread of their own.
    apart: Option<Memory>,
    sink: &'a mut (dyn RowSink + Send),
}

impl Run<'_> {
    /// Takes all packets that are left, `among` those of other interfaces, or of the one that is alone.
    fn packets(
        &mut self,
        feeds: &mut [Feed],
        mut among: Option<Among>,
        early: Option<RunEnd>,
        options: &RunOptions<'_>,
    ) -> Result<RunEnd, EngineError> {
        let mut indices = InterfaceIndices::default();
        let mut ordinal = 0;
        if let Some(RunEnd::SinkClosed { output }) = early {
            return Ok(RunEnd::SinkClosed { output });
        }
        let mut cancelled = early == Some(RunEnd::Cancelled);
        let max = options.batch_packets_max.unwrap_or(BATCH_PACKETS_MAX).max(1);
        let mut packets_to_look = BATCH_PACKETS_MAX as u64;
        let mut pace = self.apart.as_ref().map(|_| Pace::new());
        while !cancelled {
            if pace.as_mut().is_some_and(|pace| options.operators_apart || pace.pays()) {
                pace = None;
                let end = self.rest_apart(&mut feeds[0], &mut indices, ordinal, max, options)?;
                if let Some(output) = self.graph.closed() {
                    return Ok(RunEnd::SinkClosed { output });
                }
                cancelled = end == Some(RunEnd::Cancelled);
                continue;
            }
            let taken = match &mut among {
                Some(among) => among.part(self, feeds, &mut indices, ordinal)?,
                None => self.batch(&mut feeds[0], &mut indices, ordinal, max, &mut pace)?,
            };
            if taken == 0 {
                break;
            }
            ordinal += taken;
            if let Some(output) = self.graph.closed() {
                return Ok(RunEnd::SinkClosed { output });
            }
            packets_to_look = packets_to_look.saturating_sub(taken);
            if packets_to_look == 0 {
                packets_to_look = BATCH_PACKETS_MAX as u64;
                if let Some(progress) = options.progress {
                    progress(&self.progress(feeds));
                }
                if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                    cancelled = true;
                }
            }
        }
        for interface in 0..self.lftas.len() {
            self.end_interface(interface)?;
        }
        match self.graph.closed() {
            Some(output) => return Ok(RunEnd::SinkClosed { output }),
            None => self.end_sink()?,
        }
        Ok(if cancelled { RunEnd::Cancelled } else { RunEnd::Complete })
    }

    /// Takes the next packets of the one interface there is, at most `max`; says how many there were, none at the end.
    fn batch(
        &mut self,
        feed: &mut Feed,
        indices: &mut InterfaceIndices,
        ordinal: u64,
        max: usize,
        pace: &mut Option<Pace>,
    ) -> Result<u64, EngineError> {
        let Self { lftas, graph, memory, apart, sink } = self;
        let backend = &mut lftas[0].backend;
        let mut send = |query, message| graph.push(0, query, message);
        let next = (indices, ordinal, max);
        let taken = feed.next(backend.as_mut(), next, memory, &mut send)?;
        if taken == 0 {
            self.broke_off(0, feed.broken())?;
            return Ok(0);
        }
        let memory = apart.as_mut().unwrap_or(memory);
        let mut operators = || graph.run(memory, &mut **sink);
        match pace {
            Some(pace) => pace.measure(operators)?,
            None => operators()?,
        }
        Ok(taken)
    }

    /// The compiled backend of the first interface, if that is what it has.
    fn lead(&mut self) -> Option<&mut CompiledLfta> {
        self.lftas.first_mut()?.backend.as_compiled()
    }

    /// Takes in what a range of the packets of the first interface comes to.
    fn fold(&mut self, scanned: Scanned, ordinal: u64) -> Result<(), EngineError> {
        let Self { lftas, graph, memory, sink, .. } = self;
        let lead = lftas.first_mut().and_then(|lfta| lfta.backend.as_compiled());
        let Some(lead) = lead else { return Ok(()) };
        lead.fold(scanned, ordinal, memory, &mut |query, message| graph.push(0, query, message))?;
        graph.run(memory, &mut **sink)
    }

    /// Takes in what threads have kept of ranges of the packets of the first interface, whose groups may be in any order.
    fn fold_kept(
        &mut self,
        kept: Vec<Scanned>,
        ordinals: Ordinals<'_>,
        any_order: bool,
    ) -> Result<(), EngineError> {
        let lead = self.lftas.first_mut().and_then(|lfta| lfta.backend.as_compiled());
        let Some(lead) = lead else { return Ok(()) };
        Ok(lead.fold_kept(kept, ordinals, any_order, &mut self.memory)?)
    }

    /// Ends the streams of an interface, once.
    fn end_interface(&mut self, interface: usize) -> Result<(), EngineError> {
        let Lfta { backend, ended } = &mut self.lftas[interface];
        if std::mem::replace(ended, true) {
            return Ok(());
        }
        let graph = &mut self.graph;
        backend.finish(&mut |query, message: Message| graph.push(interface, query, message));
        self.run_graph()
    }

    /// Gives operators whose queues are full the lower bounds they ask for: as packets come in the order of their stamps, no packet is
    /// stamped before the latest that has come. What comes next would say more, but nothing that makes more room, and it may be a packet
    /// that no query needs: rows do not depend on whether that is read.
    fn give_bounds(&mut self, clock_ns: u64) -> Result<(), EngineError> {
        for (node, origins) in self.graph.asking() {
            for (interface, query) in origins {
                let Lfta { backend, ended } = &mut self.lftas[interface];
                if *ended {
                    continue;
                }
                let graph = &mut self.graph;
                let mut send = |query, message| graph.push(interface, query, message);
                backend.bound(query, clock_ns, &mut send);
                self.run_graph()?;
            }
            let memory = self.apart.as_mut().unwrap_or(&mut self.memory);
            self.graph.bounds_given(node, memory)?;
            self.run_graph()?;
        }
        Ok(())
    }

    fn broke_off(&mut self, interface: usize, captures: u64) -> Result<(), EngineError> {
        let memory = self.apart.as_mut().unwrap_or(&mut self.memory);
        self.graph.broke_off(interface, captures, memory)
    }

    /// Carries on what is on its way through the graph.
    fn run_graph(&mut self) -> Result<(), EngineError> {
        self.graph.run(self.apart.as_mut().unwrap_or(&mut self.memory), self.sink)
    }

    fn end_sink(&mut self) -> Result<(), EngineError> {
        match self.sink.end() {
            Ok(()) | Err(SinkError::Closed) => Ok(()),
            Err(SinkError::Io(source)) => {
                Err(EngineError::Sink { query: self.graph.output_names(), source })
            }
        }
    }

    fn progress(&self, feeds: &[Feed]) -> Progress {
        let bytes: Vec<_> = feeds.iter().map(Feed::bytes).collect();
        Progress {
            bytes_read: bytes.iter().map(|(read, _)| read).sum(),
            bytes_total: bytes.iter().map(|(_, total)| *total).sum(),
            packets: feeds.iter().map(Feed::records).sum(),
            rows: self.graph.rows(),
        }
    }

    fn ledger(&self, plan: &PhysicalPlan, feeds: &[Feed], is_complete: bool) -> Ledger {
        let mut ledger = Ledger {
            operators: self.graph.operator_ledgers(&|_, _| Default::default()),
            outputs: self.graph.output_ledgers(),
            ..Default::default()
        };
        for ((interface, lfta), feed) in plan.interfaces.iter().zip(&self.lftas).zip(feeds) {
            let mut packets = feed.ledger(is_complete);
            packets.packets = lfta.backend.packets();
            ledger.interfaces.push(packets);
            for (index, query) in interface.program.queries.iter().enumerate() {
                ledger.queries.push(QueryLedger {
                    name: query.name.clone(),
                    interface: interface.name.clone(),
                    tuples: lfta.backend.tuples(index as u32),
                    carried: self.graph.carried_of(ledger.interfaces.len() - 1, index as u32),
                    outside: 0,
                    shed: 0,
                });
            }
        }
        ledger
    }
}

#[cfg(test)]
mod tests;
