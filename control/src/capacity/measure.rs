//! A run with the processor's clock beside it.

use std::cell::Cell;

use wt_catalog::Value;
use wt_engine::{
    Backend, EngineError, Progress, RowSink, RunOptions, RunReport, SinkError, Source, Tuple,
};
use wt_plan::physical::{Output, PhysicalPlan};

use super::clock::cpu_ns;

/// What a run took.
pub struct Measured {
    /// What it did.
    pub report: RunReport,
    /// Processor time per packet, ns; `None` of no packets.
    pub ns_per_packet: Option<f64>,
    /// Start-up is in it: there were too few packets to leave it out.
    pub with_start: bool,
    /// By output: windows that were closed.
    pub windows: Vec<u64>,
}

/// Runs a plan. The time begins with the second batch of packets, so that making code, opening files and first touches of memory are left out.
pub fn measure(
    plan: &PhysicalPlan,
    sources: Vec<Source>,
    memory_bytes_max: Option<u64>,
    sink: &mut (dyn RowSink + Send),
) -> Result<Measured, EngineError> {
    let start: Cell<Option<(u64, f64)>> = Cell::new(None);
    let on_progress = |progress: &Progress| {
        if start.get().is_none() {
            start.set(Some((progress.packets, cpu_ns())));
        }
    };
    let options = RunOptions {
        memory_bytes_max,
        // What long traces and links get, however short this one is.
        backend: Backend::Tiered,
        progress: Some(&on_progress),
        ..RunOptions::default()
    };
    let mut sink = Counting { sink, outputs: plan.outputs.iter().map(Windows::new).collect() };
    let begin = cpu_ns();
    let report = wt_engine::run(plan, sources, &options, &mut sink)?;
    let end = cpu_ns();
    let packets = report.ledger.records();
    let (from, begin, with_start) = match start.get() {
        // With few packets behind the first batch, the clock's grain and the closing of windows would be all there is.
        Some((first, at)) if packets >= 2 * first => (first, at, false),
        _ => (0, begin, true),
    };
    let ns_per_packet = (packets > 0).then(|| (end - begin) / (packets - from) as f64);
    let windows = sink.outputs.iter().map(Windows::closed).collect();
    Ok(Measured { report, ns_per_packet, with_start, windows })
}

/// Passes rows on and counts windows.
struct Counting<'a> {
    sink: &'a mut (dyn RowSink + Send),
    outputs: Vec<Windows>,
}

/// The windows of an output. It is told of their ends where operators know of them before the next window's rows come, and the rows tell
/// of them where they carry the window.
struct Windows {
    column: Option<usize>,
    last: Option<Value>,
    passed: u64,
    told: u64,
}

impl Windows {
    fn new(output: &Output) -> Self {
        let column = output.schema.columns.iter().position(|column| column.window);
        Self { column, last: None, passed: 0, told: 0 }
    }

    fn row(&mut self, tuple: &Tuple) {
        let Some(value) = self.column.and_then(|column| tuple.values.get(column)) else { return };
        if self.last.as_ref() != Some(value) {
            self.passed += u64::from(self.last.is_some());
            self.last = Some(value.clone());
        }
    }

    fn closed(&self) -> u64 {
        self.passed.max(self.told)
    }
}

impl RowSink for Counting<'_> {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        self.outputs[output].row(tuple);
        self.sink.row(output, tuple)
    }

    fn window(&mut self, output: usize) -> Result<(), SinkError> {
        self.outputs[output].told += 1;
        self.sink.window(output)
    }

    fn end(&mut self) -> Result<(), SinkError> {
        self.sink.end()
    }
}
