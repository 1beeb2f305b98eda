//! A live run: packets of interfaces as they come, until someone ends it.
//!
//! ```text
//! LiveSource ─▶ capture thread: LftaBackend ─ ring ─┐
//! LiveSource ─▶ capture thread: LftaBackend ─ ring ─┴▶ operators: Graph ─ queue ─▶ sink thread: RowSink
//!                        ▲                                │
//!                        └──────── asks for bounds ───────┘
//! ```
//!
//! Nobody waits towards the left: a slow sink fills the queue and holds up the operators, the rings fill, and then the capture threads
//! give up the least processed tuples and count them. Time comes from packets. An interface on which nothing comes has reached the
//! kernel's clock less its skew, so windows close on silent links and a merge with one never stalls: capture threads tell their
//! streams how far time has come ten times a second, and at once when an operator asks.

mod capture;
mod operators;
mod outbox;
mod sink;
mod source;
mod stop;

pub use source::{
    DriverCounters, Link, LiveDriver, LiveSource, Polled, SourceCounters, StampOrder, TakePackets,
};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use wt_catalog::Value;
use wt_plan::ir::LftaAction;
use wt_plan::physical::{HftaOp, PhysicalPlan, StreamRef};
use wt_ring::Signal;

use self::capture::{Capture, Captured};
use self::operators::{Lane, Operators};
use self::outbox::Outbox;
use self::stop::Stop;
use crate::check;
use crate::error::EngineError;
use crate::graph::{Feeding, Graph};
use crate::ledger::{InterfaceLedger, Ledger, LiveLedger, QueryLedger};
use crate::memory::SharedMemory;
use crate::run::{self, Backend, BackendSetup, RunEnd, RunReport};
use crate::setup::SetupError;
use crate::sink::RowSink;

/// Batches in the ring of an interface, and messages of a batch.
const RING_SLOTS: usize = 256;
const BATCH_MESSAGES_MAX: usize = 256;

/// Skew of an interface that declares none.
pub const SKEW_NS_DEFAULT: u64 = 200_000_000;

/// An interface of a live run.
pub struct LiveInput {
    /// Name, as the plan knows it.
    pub interface: String,
    /// Where its packets come from.
    pub source: Box<dyn LiveSource>,
    /// The processor that its thread stays on.
    pub cpu: Option<usize>,
    /// How far behind the clock its packets may come, ns.
    pub skew_ns: u64,
}

/// How a live run is to be done.
#[derive(Clone, Copy, Default)]
pub struct LiveOptions<'a> {
    /// Most memory that all operators together may keep, bytes; `None`: no limit.
    pub memory_bytes_max: Option<u64>,
    /// What runs LFTA programs.
    pub backend: Backend,
    /// Ends the run after so much time.
    pub duration: Option<Duration>,
    /// Ends the run after so many packets of all interfaces together.
    pub packets_max: Option<u64>,
    /// The processor that the operators' thread stays on.
    pub operator_cpu: Option<usize>,
    /// Set from elsewhere to end the run: open windows are closed, rows leave.
    pub cancel: Option<&'a AtomicBool>,
    /// Called with what a user may want to hear at once.
    pub notice: Option<&'a (dyn Fn(Notice) + Sync)>,
}

/// Something that happened on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Packets of an interface cannot come any more.
    LinkLost {
        /// The interface.
        interface: String,
        /// Down or gone.
        link: Link,
    },
    /// They can again.
    LinkBack {
        /// The interface.
        interface: String,
    },
}

/// Control in the ring of an interface, behind the messages it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// The bounds that were asked for, up to this number, have been sent.
    Bounded {
        /// Number of the question.
        ask: u64,
    },
    /// Nothing follows.
    Ended,
}

/// What a capture thread says before its first packet.
struct Ready {
    /// By query: what is known of its tuples.
    feeding: Vec<Feeding>,
    not_compiled: Option<&'static str>,
}

/// Runs a plan over live interfaces. Rows of a window leave when all its inputs have passed it; they are a multiset unless the query orders
/// them. Inputs that the plan does not read are left alone.
///
/// # Errors
/// A plan without its inputs, an argument that cannot be registered, the memory limit, an interface that cannot be read any more, a
/// sink that fails.
pub fn run_live(
    plan: &PhysicalPlan,
    inputs: Vec<LiveInput>,
    options: &LiveOptions<'_>,
    sink: &mut (dyn RowSink + Send),
) -> Result<RunReport, EngineError> {
    check::check(plan).map_err(SetupError::from)?;
    let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
    let stop = Stop::new(options.cancel, options.duration, options.packets_max);
    let shared = Shared {
        plan,
        params: &params,
        options,
        stop: &stop,
        memory: SharedMemory::new(options.memory_bytes_max),
        ordinals: AtomicU64::new(0),
        signal: Arc::new(Signal::new()),
    };
    let inputs = in_plan_order(plan, inputs)?;
    thread::scope(|scope| shared.run(scope, inputs, sink))
}

/// The inputs in the order of the plan's interfaces.
fn in_plan_order(
    plan: &PhysicalPlan,
    inputs: Vec<LiveInput>,
) -> Result<Vec<LiveInput>, EngineError> {
    let known: Vec<String> = inputs.iter().map(|input| input.interface.clone()).collect();
    if let Some((_, twice)) = known.iter().enumerate().find(|(i, name)| known[..*i].contains(name))
    {
        return Err(EngineError::TwoSources { interface: twice.clone() });
    }
    let mut inputs: Vec<Option<LiveInput>> = inputs.into_iter().map(Some).collect();
    let of = |name: &String| {
        let at = known.iter().position(|known| known == name);
        at.and_then(|at| inputs[at].take())
            .ok_or_else(|| EngineError::NoSource { interface: name.clone(), known: known.clone() })
    };
    plan.interfaces.iter().map(|interface| &interface.name).map(of).collect()
}

/// What the threads of a run share.
struct Shared<'a> {
    plan: &'a PhysicalPlan,
    params: &'a [Value],
    options: &'a LiveOptions<'a>,
    stop: &'a Stop<'a>,
    memory: Arc<SharedMemory>,
    ordinals: AtomicU64,
    /// Wakes the operators.
    signal: Arc<Signal>,
}

type CaptureThread<'scope> = ScopedJoinHandle<'scope, Result<Captured, EngineError>>;

impl<'a> Shared<'a> {
    fn run<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        inputs: Vec<LiveInput>,
        sink: &'scope mut (dyn RowSink + Send),
    ) -> Result<RunReport, EngineError> {
        let mut threads = Vec::with_capacity(inputs.len());
        let mut lanes = Vec::with_capacity(inputs.len());
        let mut readies = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.into_iter().enumerate() {
            let (mut sender, receiver) = wt_ring::ring(RING_SLOTS, BATCH_MESSAGES_MAX);
            sender.wake(Arc::clone(&self.signal));
            let (asks, asked) = wt_ring::ring(4, 4);
            let (say, ready) = mpsc::sync_channel(1);
            lanes.push(Lane::new(receiver, asks));
            readies.push(ready);
            let name = format!("capture {}", input.interface);
            let outbox = Outbox::new(sender, &self.selections(index));
            let thread = thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || self.capture(index, input, outbox, asked, &say));
            threads.push(thread.map_err(|source| EngineError::Thread { source })?);
        }
        let ready: Vec<Option<Ready>> = readies.iter().map(|ready| ready.recv().ok()).collect();
        let ready: Option<Vec<Ready>> = ready.into_iter().collect();
        let Some(ready) = ready else {
            // A thread could not start and says why at its end.
            self.stop.end();
            drop(lanes);
            join(threads)?;
            return Err(EngineError::Thread { source: std::io::Error::other("a thread ended") });
        };
        self.operate(scope, threads, lanes, ready, sink)
    }

    /// Runs the operators on this thread, then closes the books.
    fn operate<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        threads: Vec<CaptureThread<'scope>>,
        lanes: Vec<Lane>,
        ready: Vec<Ready>,
        sink: &'scope mut (dyn RowSink + Send),
    ) -> Result<RunReport, EngineError> {
        let feeding = |interface: usize, query: u32| ready[interface].feeding[query as usize];
        let outputs = self.plan.outputs.len();
        let (queue, drain) = sink::queue(outputs);
        let graph =
            Graph::new(self.plan, self.params, &feeding).inspect_err(|_| self.stop.end())?;
        let drain = thread::Builder::new()
            .name("sink".to_owned())
            .spawn_scoped(scope, move || drain.run(sink, outputs))
            .map_err(|source| EngineError::Thread { source })
            .inspect_err(|_| self.stop.end())?;
        pin(self.options.operator_cpu);
        let signal = Arc::clone(&self.signal);
        let mut operators =
            Operators::new(graph, self.memory.part(), lanes, queue, self.stop, signal);
        let done = operators.run();
        if done.is_err() {
            self.stop.end();
        }
        let mut graph = operators.end(done.is_ok());
        let drained = drain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let captured = join(threads);
        done?;
        let captured = captured?;
        if let Some((output, source)) = drained.failed {
            let query = match output {
                Some(output) => self.plan.outputs[output].query.clone(),
                None => graph.output_names(),
            };
            return Err(EngineError::Sink { query, source });
        }
        for (output, rows) in drained.undelivered.iter().enumerate() {
            graph.undelivered(output, *rows);
        }
        let end = match drained.closed.or(graph.closed()) {
            Some(output) => RunEnd::SinkClosed { output },
            None if self.stop.is_cancelled() => RunEnd::Cancelled,
            None => RunEnd::Complete,
        };
        let names = self.plan.interfaces.iter().map(|interface| interface.name.clone());
        let not_compiled = names.zip(&ready).filter_map(|(name, r)| Some((name, r.not_compiled?)));
        Ok(RunReport {
            end,
            not_compiled: not_compiled.collect(),
            memory_peak_bytes: self.memory.peak_bytes(),
            ledger: self.ledger(&mut graph, captured),
        })
    }

    /// By query of an interface: whether its tuples stand for one packet each, and may be given up first. What tells how much of a
    /// window was seen is kept: it would tell less than it saw.
    fn selections(&self, interface: usize) -> Vec<bool> {
        let counts_seen = |query: usize| {
            let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
            self.plan.nodes.iter().any(|node| match &node.op {
                HftaOp::Aggregate(aggregate) => aggregate.seen.is_some_and(|seen| {
                    node.inputs.iter().skip(seen.first_input as usize).any(|i| *i == stream)
                }),
                _ => false,
            })
        };
        let queries = &self.plan.interfaces[interface].program.queries;
        let is_selection = |(index, query): (usize, &wt_plan::ir::LftaQuery)| {
            matches!(query.action, LftaAction::Select { .. }) && !counts_seen(index)
        };
        queries.iter().enumerate().map(is_selection).collect()
    }

    /// A capture thread.
    fn capture(
        &self,
        index: usize,
        input: LiveInput,
        outbox: Outbox,
        asks: wt_ring::Receiver<u64, ()>,
        ready: &mpsc::SyncSender<Ready>,
    ) -> Result<Captured, EngineError> {
        let LiveInput { interface, mut source, cpu, skew_ns } = input;
        pin(cpu);
        let program = &self.plan.interfaces[index].program;
        let in_driver = source.driver().map_or_else(Vec::new, |driver| driver.queries().to_vec());
        let all = 0..program.queries.len() as u32;
        let on_host: Vec<u32> = all.filter(|query| !in_driver.contains(query)).collect();
        let mut memory = self.memory.part();
        let (fixed, mut ahead) = (run::fixed_hash(self.plan, index), run::ahead(self.plan, index));
        let setup = BackendSetup {
            program: &program.of_queries(&on_host),
            params: self.params,
            fixed: &on_host.iter().map(|query| fixed[*query as usize]).collect::<Vec<_>>(),
            ahead: &on_host.iter().map(|query| ahead[*query as usize].take()).collect::<Vec<_>>(),
        };
        let paths = self.options.backend.paths();
        let (backend, not_compiled) = setup.make(paths, Some(source.link_type()), &mut memory)?;
        let mut feeding = vec![Feeding::default(); program.queries.len()];
        for (query, number) in on_host.iter().zip(0..) {
            feeding[*query as usize] = Feeding {
                whole_groups: backend.sends_whole_groups(number),
                judged: backend.judges_ahead(number),
            };
        }
        // Nobody hears it only when the run has failed to start, which shows at once.
        let _ = ready.send(Ready { feeding, not_compiled });
        Capture {
            source,
            backend,
            on_host,
            memory,
            outbox,
            asks,
            stop: self.stop,
            ordinals: &self.ordinals,
            skew_ns,
            notice: self.options.notice.unwrap_or(&|_| {}),
            ledger: InterfaceLedger { name: interface, ..Default::default() },
            live: LiveLedger::default(),
        }
        .run()
    }

    fn ledger(&self, graph: &mut Graph, captured: Vec<Captured>) -> Ledger {
        for (interface, captured) in captured.iter().enumerate() {
            for (query, counted) in captured.queries.iter().enumerate() {
                graph.judged_ahead(interface, query as u32, counted.ahead);
            }
        }
        let mut ledger = Ledger {
            operators: graph.operator_ledgers(),
            outputs: graph.output_ledgers(),
            ..Default::default()
        };
        for (interface, captured) in captured.into_iter().enumerate() {
            let queries = &self.plan.interfaces[interface].program.queries;
            for (query, counted) in captured.queries.iter().enumerate() {
                ledger.queries.push(QueryLedger {
                    name: queries[query].name.clone(),
                    interface: captured.ledger.name.clone(),
                    tuples: counted.tuples,
                    carried: graph.carried_of(interface, query as u32),
                    shed: counted.shed,
                });
            }
            ledger.interfaces.push(captured.ledger);
        }
        ledger
    }
}

/// Waits for the capture threads; the first failure counts.
fn join(threads: Vec<CaptureThread<'_>>) -> Result<Vec<Captured>, EngineError> {
    let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
    let panic = std::panic::resume_unwind;
    ended.into_iter().map(|ended| ended.unwrap_or_else(|cause| panic(cause))).collect()
}

/// By query of an interface: whether it has to run on the host, since what is seen of its groups depends on the table that they are in.
pub fn host_only(plan: &PhysicalPlan, interface: usize) -> Vec<bool> {
    run::fixed_hash(plan, interface)
}

/// The processors that threads of this process may run on.
pub fn processors() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Keeps this thread on a processor. One that is not there ([`processors`]) changes nothing.
fn pin(cpu: Option<usize>) {
    if let Some(id) = cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

#[cfg(test)]
mod tests;
