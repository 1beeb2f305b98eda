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

mod books;
mod capture;
mod handle;
mod operators;
mod outbox;
mod program;
mod sink;
mod source;
mod stop;

pub use crate::ledger::PortCounters;
pub use handle::{Change, ChangeError, Handle};
pub use source::{
    DriverCounters, Link, LiveDriver, LiveSource, Polled, SourceCounters, StampOrder, TakePackets,
    WAITING_PACKETS_MAX,
};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use wt_catalog::Value;
use wt_plan::physical::PhysicalPlan;
use wt_ring::Signal;

use self::capture::{Capture, Captured, Past};
use self::operators::{Lane, Operators, Ways};
use self::outbox::Outbox;
use self::program::Program;
use self::stop::Stop;
use crate::check;
use crate::error::EngineError;
use crate::graph::{Feeding, Graph};
use crate::ledger::{InterfaceLedger, LiveLedger};
use crate::lfta::AheadCounters;
use crate::memory::SharedMemory;
use crate::run::{self, Backend, RunEnd, RunReport};
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
    /// A hold on the run from other threads.
    pub handle: Option<&'a Handle>,
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
    /// What follows is of the next plan.
    Swapped,
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
    let stop = Stop::new(options.cancel, options.duration, options.packets_max);
    let nobodys = Handle::new();
    let shared = Shared {
        plan: Arc::new(plan.clone()),
        options,
        stop: &stop,
        handle: options.handle.unwrap_or(&nobodys),
        memory: SharedMemory::new(options.memory_bytes_max),
        ordinals: AtomicU64::new(0),
        signal: Arc::new(Signal::new()),
    };
    let inputs = in_plan_order(plan, inputs)?;
    let done = thread::scope(|scope| shared.run(scope, inputs, sink));
    shared.handle.close();
    done
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
    /// The plan that it begins with.
    plan: Arc<PhysicalPlan>,
    options: &'a LiveOptions<'a>,
    stop: &'a Stop<'a>,
    handle: &'a Handle,
    memory: Arc<SharedMemory>,
    ordinals: AtomicU64,
    /// Wakes the operators.
    signal: Arc<Signal>,
}

/// What a capture thread begins with.
struct Begin {
    lane: usize,
    input: LiveInput,
    sender: wt_ring::Sender<outbox::Sent, Token>,
    asks: wt_ring::Receiver<u64, ()>,
    orders: mpsc::Receiver<handle::CaptureOrder>,
    swaps: mpsc::Sender<(usize, Vec<AheadCounters>)>,
}

type CaptureThread<'scope> = ScopedJoinHandle<'scope, Result<Captured, EngineError>>;

impl Shared<'_> {
    fn run<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        inputs: Vec<LiveInput>,
        sink: &'scope mut (dyn RowSink + Send),
    ) -> Result<RunReport, EngineError> {
        let names: Vec<String> = inputs.iter().map(|input| input.interface.clone()).collect();
        let orders = self.handle.open(&names, &self.signal);
        let (swaps, swapped) = mpsc::channel();
        let mut threads = Vec::with_capacity(inputs.len());
        let mut lanes = Vec::with_capacity(inputs.len());
        let mut readies = Vec::with_capacity(inputs.len());
        for ((lane, input), orders) in inputs.into_iter().enumerate().zip(orders.captures) {
            let (mut sender, receiver) = wt_ring::ring(RING_SLOTS, BATCH_MESSAGES_MAX);
            sender.wake(Arc::clone(&self.signal));
            let (asked, asks) = wt_ring::ring(4, 4);
            let (say, ready) = mpsc::sync_channel(1);
            lanes.push(Lane::new(receiver, asked));
            readies.push(ready);
            let name = format!("capture {}", input.interface);
            let begin = Begin { lane, input, sender, asks, orders, swaps: swaps.clone() };
            let thread = thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || self.capture(begin, &say));
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
        let ways = Ways {
            stop: self.stop,
            signal: Arc::clone(&self.signal),
            handle: self.handle,
            orders: orders.operators,
            swaps: swapped,
        };
        self.operate(scope, threads, lanes, ready, ways, sink)
    }

    /// Runs the operators on this thread, then closes the books.
    fn operate<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        threads: Vec<CaptureThread<'scope>>,
        lanes: Vec<Lane>,
        ready: Vec<Ready>,
        ways: Ways<'_>,
        sink: &'scope mut (dyn RowSink + Send),
    ) -> Result<RunReport, EngineError> {
        let plan = &self.plan;
        let feeding = |interface: usize, query: u32| ready[interface].feeding[query as usize];
        let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
        let outputs = plan.outputs.len();
        let (queue, drain) = sink::queue(outputs);
        let graph = Graph::new(plan, &params, &feeding).inspect_err(|_| self.stop.end())?;
        let drain = thread::Builder::new()
            .name("sink".to_owned())
            .spawn_scoped(scope, move || drain.run(sink, outputs))
            .map_err(|source| EngineError::Thread { source })
            .inspect_err(|_| self.stop.end())?;
        pin(self.options.operator_cpu);
        let memory = self.memory.part();
        let mut operators = Operators::new(Arc::clone(plan), graph, memory, lanes, queue, ways);
        let done = operators.run();
        if done.is_err() {
            self.stop.end();
        }
        let mut state = operators.end(done.is_ok());
        let drained = drain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let captured = join(threads);
        done?;
        let captured = captured?;
        if let Some((output, source)) = drained.failed {
            return Err(EngineError::Sink { query: state.output_name(output), source });
        }
        for (output, rows) in drained.undelivered.iter().enumerate() {
            state.undelivered(output, *rows);
        }
        for (lane, captured) in captured.iter().enumerate() {
            state.judged_ahead(lane, &captured.ahead);
        }
        let end = match drained.closed.or(state.closed()) {
            Some(output) => RunEnd::SinkClosed { output },
            None if self.stop.is_cancelled() => RunEnd::Cancelled,
            None => RunEnd::Complete,
        };
        let names = plan.interfaces.iter().map(|interface| interface.name.clone());
        let not_compiled = names.zip(&ready).filter_map(|(name, r)| Some((name, r.not_compiled?)));
        Ok(RunReport {
            end,
            not_compiled: not_compiled.collect(),
            memory_peak_bytes: self.memory.peak_bytes(),
            ledger: books::ledger(captured, state.books(&[])),
        })
    }

    /// A capture thread.
    fn capture(
        &self,
        begin: Begin,
        ready: &mpsc::SyncSender<Ready>,
    ) -> Result<Captured, EngineError> {
        let Begin { lane, input, sender, asks, orders, swaps } = begin;
        let LiveInput { interface, mut source, cpu, skew_ns } = input;
        pin(cpu);
        let mut memory = self.memory.part();
        let backend = self.options.backend;
        let program = Program::new(&self.plan, lane, &mut *source, backend, &mut memory)?;
        let (feeding, not_compiled) = (program.feeding(), program.not_compiled);
        let mut capture = Capture {
            source,
            outbox: Outbox::new(sender, program.selections()),
            program,
            next: None,
            backend,
            memory,
            asks,
            lane,
            handle: self.handle,
            orders,
            swaps,
            stop: self.stop,
            ordinals: &self.ordinals,
            skew_ns,
            notice: self.options.notice.unwrap_or(&|_| {}),
            ledger: InterfaceLedger { name: interface, ..Default::default() },
            live: LiveLedger::default(),
            past: Past::default(),
        };
        // There are books, of nothing yet, from when the run is said to run.
        capture.handle.tell_captured(lane, capture.books());
        // Nobody hears it only when the run has failed to start, which shows at once.
        let _ = ready.send(Ready { feeding, not_compiled });
        capture.run()
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
