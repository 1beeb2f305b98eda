//! What becomes of the tuples of a query: totals, rows that leave, groups.

use std::sync::Arc;

use wt_catalog::Value;
use wt_catalog::layout::value_of;
use wt_plan::ir::{LftaProgram, LftaQuery};
use wt_trace::Meanwhile;
use wt_wire::RecordRef;

use super::RECORDS_MAX;
use super::frame::Frame;
use super::groups::{RowBatch, WordGroups};
use super::plan::{Body, QueryPlan, Rows, Totals, Use};
use super::rows::{block, kept_for_folding, matching, take_values, tuples};
use super::table::WordHasher;
use crate::block::BlockColumn;
use crate::functions::Handle;
use crate::ledger::TupleCounters;
use crate::lfta::aggregate::{Aggregate, AggregateSpec};
use crate::lfta::{AheadCounters, BatchOrdinals};
use crate::memory::{Memory, MemoryExceeded};
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple};

/// What becomes of the tuples of a query.
pub(super) struct Query {
    pub(super) ahead: AheadCounters,
    pub(super) counters: TupleCounters,
    /// Rows that code writes.
    pub(super) rows: Vec<u64>,
    /// The columns of a selection whose rows leave together.
    pub(super) block: Option<Arc<[BlockColumn]>>,
    /// Ordinal of the first tuple of totals.
    pub(super) first_ordinal: Option<u64>,
    pub(super) sink: Sink,
}

/// What code has run over.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    pub(super) records: &'a [RecordRef],
    pub(super) ordinals: BatchOrdinals<'a>,
    /// Values that the host has kept for rows.
    pub(super) kept: &'a [Value],
    /// Handles of the query's reader.
    pub(super) handles: &'a [Handle],
    /// What waits for memory while its rows are taken.
    pub(super) meanwhile: Option<Meanwhile<'a>>,
}

/// Where its tuples go.
pub(super) enum Sink {
    Totals,
    Select,
    /// Groups over values, of a range: keys and operands are kept.
    Kept,
    Groups(Box<WordGroups>),
    Values(Box<Aggregate>),
}

/// The query that a stream of partial groups belongs to.
fn query_of(stream: &str) -> &str {
    stream.strip_prefix("_fta_").unwrap_or(stream)
}

impl Query {
    pub(super) fn new(
        program: &LftaProgram,
        query: &LftaQuery,
        plan: &QueryPlan,
        fixed_hash: bool,
        hasher: WordHasher,
        memory: &mut Memory,
    ) -> Result<Self, SetupError> {
        let mut rows = Vec::new();
        let sink = match &plan.body {
            Body::Totals(_) => Sink::Totals,
            Body::Rows(plan) => {
                // One row per packet, and one before it where it moves the window.
                let most = if plan.moves.is_some() { 2 } else { 1 };
                rows = vec![0; plan.kinds() * most * RECORDS_MAX * plan.stride];
                match &plan.use_ {
                    Use::Select => Sink::Select,
                    Use::Groups(groups) => {
                        let name = query_of(&query.name);
                        Sink::Groups(Box::new(WordGroups::new(name, groups, hasher)))
                    }
                    Use::Values { .. } => {
                        let Some(spec) = AggregateSpec::of(query, &program.exprs, fixed_hash)
                        else {
                            return Ok(Self::with(rows, Sink::Select));
                        };
                        memory.charge(&query.name, spec.bytes_max())?;
                        Sink::Values(Box::new(Aggregate::new(&spec)))
                    }
                }
            }
        };
        Ok(Self::with(rows, sink))
    }

    pub(super) fn with(rows: Vec<u64>, sink: Sink) -> Self {
        Self {
            ahead: AheadCounters::default(),
            counters: TupleCounters::default(),
            rows,
            block: None,
            first_ordinal: None,
            sink,
        }
    }

    /// Takes what code has written for the query.
    pub(super) fn after(
        &mut self,
        plan: &Rows,
        (absent, failed): (usize, usize),
        frame: &mut Frame,
        taken: &Taken<'_>,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        let Taken { records, ordinals, kept, handles, meanwhile } = *taken;
        let counters = &mut self.counters;
        let first_record = records.as_ptr() as u64;
        let batch = RowBatch { rows: &[], stride: plan.stride, ordinals, first_record, meanwhile };
        if let Sink::Groups(groups) = &mut self.sink {
            for (kind, lent) in plan.lent.iter().enumerate() {
                groups.added(kind, lent.take(&mut frame.words), batch, counters);
            }
        }
        counters.absent += frame.take(absent);
        counters.failed += frame.take(failed);
        let [any, _] = plan.written(&frame.words, &self.rows);
        let mut words = any.len();
        if let Some(ahead) = plan.ahead {
            let written = words / plan.stride;
            let steps = records.len() / (2 * Meanwhile::STEP_RECORDS);
            let step = || meanwhile.iter().for_each(Meanwhile::step);
            words = matching(&mut self.rows[..words], plan, handles, (steps, step));
            let unmatched = written - words / plan.stride;
            let counts = AheadCounters {
                filtered: frame.take(ahead.filtered) + unmatched as u64,
                absent: frame.take(ahead.absent),
                failed: frame.take(ahead.failed),
            };
            counters.matched += counts.total();
            counters.output += counts.total();
            self.ahead.filtered += counts.filtered;
            self.ahead.absent += counts.absent;
            self.ahead.failed += counts.failed;
        }
        let [any, narrow] = plan.written(&frame.words, &self.rows);
        let batch = RowBatch { rows: &any[..words], ..batch };
        match &mut self.sink {
            Sink::Groups(groups) if plan.moves.is_some() => {
                groups.take_moving(batch, counters, memory, out)?;
            }
            Sink::Groups(groups) => {
                let narrow = RowBatch { rows: narrow, ..batch };
                groups.take(batch, narrow, counters, memory, out)?;
            }
            Sink::Values(aggregate) => take_values(aggregate, plan, batch, kept, counters, out),
            Sink::Kept => kept_for_folding(plan, batch, kept, out),
            Sink::Select | Sink::Totals => {
                let rows = (batch.rows.len() / batch.stride) as u64;
                counters.matched += rows;
                counters.output += rows;
                match &self.block {
                    Some(columns) => block(columns, batch, out),
                    None => tuples(plan, batch, kept, out),
                }
            }
        }
        Ok(())
    }
}

/// The partial group of an aggregation without keys; nothing when no tuple came.
pub(super) fn total(totals: &Totals, frame: &Frame, ordinal: Option<u64>) -> Option<Tuple> {
    let matched = frame.words[totals.matched];
    let values = totals.states.iter().map(|state| {
        let is_count = state.kind == wt_plan::ir::AggKind::Count;
        let word = if is_count { matched } else { frame.words[state.at] };
        value_of(state.ty, &[word, 0]).unwrap_or_else(|| Value::default_of(state.ty))
    });
    Some(Tuple { ordinal: ordinal?, values: values.collect() })
}
