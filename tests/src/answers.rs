//! Runs a batch of named queries and hands back their rows as values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use wt_catalog::{Catalog, Value};
use wt_engine::{EngineError, RowSink, RunOptions, RunReport, SinkError, Source, Tuple};
use wt_plan::Compiled;
use wt_plan::physical::{Output, PhysicalPlan, Schema};
use wt_wire::{CaptureError, CaptureReader};

use crate::run::{BACKENDS, Setup};

/// What a batch answered.
#[derive(Debug)]
pub struct Answers {
    /// By query name.
    pub results: BTreeMap<String, Answer>,
    /// Damage, books.
    pub report: RunReport,
}

/// What a query answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its columns.
    pub schema: Schema,
    /// Its rows, in order.
    pub rows: Vec<Vec<Value>>,
}

impl Answers {
    /// The rows of a query.
    ///
    /// # Panics
    /// When the batch has no such query.
    pub fn rows(&self, query: &str) -> &[Vec<Value>] {
        &self.answer(query).rows
    }

    /// A query's columns and rows.
    ///
    /// # Panics
    /// When the batch has no such query.
    pub fn answer(&self, query: &str) -> &Answer {
        self.results.get(query).unwrap_or_else(|| panic!("no query `{query}` in the batch"))
    }

    /// The numbers of the one row of a query; empty when there is no row.
    ///
    /// # Panics
    /// When there are several rows, or a cell is no number.
    pub fn numbers(&self, query: &str) -> Vec<u64> {
        let rows = self.rows(query);
        assert!(rows.len() <= 1, "`{query}` answers with {} rows", rows.len());
        let number = |v: &Value| v.as_u64().unwrap_or_else(|| panic!("{v:?} is no number"));
        rows.first().map_or_else(Vec::new, |row| row.iter().map(number).collect())
    }
}

/// The text of a batch: each query under its name.
pub fn batch_text<'a>(queries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, query) in queries {
        let _ = writeln!(text, "DEFINE {{ query_name '{name}'; }}\n{query} ;");
    }
    text
}

/// Runs a text over one capture as the interface `default`.
///
/// # Errors
/// Rendered diagnostics, or why the run failed.
pub fn ask(capture: &Path, text: &str) -> Result<Answers, String> {
    let setup = Setup {
        traces: vec![("default".to_owned(), vec![capture.to_owned()])],
        ..Setup::default()
    };
    ask_setup(&setup, &Catalog::builtin(), text)
}

/// Runs a text over the traces of a setup.
///
/// # Errors
/// Rendered diagnostics, or why the run failed.
pub fn ask_setup(setup: &Setup, catalog: &Catalog, text: &str) -> Result<Answers, String> {
    let compiled = setup.compile(catalog, text, true)?;
    run_compiled(setup, &compiled)
}

/// Runs a plan over the traces of a setup.
///
/// # Errors
/// Why the run failed.
pub fn run_compiled(setup: &Setup, compiled: &Compiled) -> Result<Answers, String> {
    let mut sink = ValueSink::new(&compiled.physical);
    let report = setup.run(compiled, BACKENDS[0], &mut sink)?;
    Ok(sink.into_answers(&compiled.physical, report))
}

/// How a run over arbitrary bytes ended.
#[derive(Debug)]
pub enum Ending {
    /// Rows, damage and books.
    Answered(Box<Answers>),
    /// No capture at all.
    NoCapture(CaptureError),
    /// The run was refused.
    Refused(EngineError),
}

/// Runs a plan over bytes as the capture of its only interface.
pub fn run_bytes(plan: &PhysicalPlan, name: &str, bytes: Vec<u8>) -> Ending {
    let reader = match CaptureReader::from_reader(name, Cursor::new(bytes)) {
        Ok(reader) => reader,
        Err(error) => return Ending::NoCapture(error),
    };
    let source = Source { interface: "default".to_owned(), captures: vec![reader].into() };
    let mut sink = ValueSink::new(plan);
    match wt_engine::run(plan, vec![source], &RunOptions::default(), &mut sink) {
        Ok(report) => Ending::Answered(Box::new(sink.into_answers(plan, report))),
        Err(error) => Ending::Refused(error),
    }
}

/// Rows as values, per output.
#[derive(Debug, Default)]
pub struct ValueSink {
    outputs: Vec<Vec<Vec<Value>>>,
}

impl ValueSink {
    /// A sink for the outputs of a plan.
    pub fn new(plan: &PhysicalPlan) -> Self {
        Self { outputs: vec![Vec::new(); plan.outputs.len()] }
    }

    /// The rows by query name.
    pub fn into_answers(self, plan: &PhysicalPlan, report: RunReport) -> Answers {
        let named = |(output, rows): (&Output, Vec<Vec<Value>>)| {
            (output.query.clone(), Answer { schema: output.schema.clone(), rows })
        };
        Answers { results: plan.outputs.iter().zip(self.outputs).map(named).collect(), report }
    }
}

impl RowSink for ValueSink {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        self.outputs[output].push(tuple.values.to_vec());
        Ok(())
    }

    fn window(&mut self, _: usize) -> Result<(), SinkError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
