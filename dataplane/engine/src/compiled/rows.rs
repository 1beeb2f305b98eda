//! What becomes of the rows that compiled code has written: judged by patterns, then sent as a block or as tuples, or taken into an aggregate.

use std::sync::Arc;

use wt_catalog::Value;
use wt_catalog::layout::{Column, Place};

use super::OwnedReader;
use super::groups::RowBatch;
use super::plan::{Body, MOVES, MovesPlan, QueryPlan, Rows, Use};
use super::sys::{self, Words};
use crate::block::{Block, BlockColumn};
use crate::functions::Handle;
use crate::ledger::TupleCounters;
use crate::lfta::aggregate::Aggregate;
use crate::tuple::{Message, Tuple};

/// The columns of a selection as a block has them: none of those that are read may be kept by the host.
pub(super) fn block_columns(
    plan: &QueryPlan,
    reader: Option<&OwnedReader>,
) -> Option<Arc<[BlockColumn]>> {
    let Body::Rows(rows) = &plan.body else { return None };
    let reader = reader.filter(|_| rows.ahead.is_some());
    let column = |(number, (_, column)): (u32, &(_, Column))| match column.place {
        Place::Kept { .. } if reader.is_some_and(|reader| !reader.columns.contains(&number)) => {
            Some(BlockColumn::Same(Value::bytes("")))
        }
        Place::Kept { .. } => None,
        _ => Some(BlockColumn::Row(*column)),
    };
    (0..).zip(&rows.columns).map(column).collect()
}

/// Rows whose bytes are asked for before the first of them is looked at.
const SUBJECTS_AHEAD: usize = 8;
/// Bytes of each that are asked for at most: those of a segment. The processor foresees those that follow, but late.
const SUBJECT_BYTES: usize = 1536;

/// Moves the rows that have all patterns to the front; returns the words that they take. `step` is called so many times on the way.
pub(super) fn matching(
    rows: &mut [u64],
    plan: &Rows,
    handles: &[Handle],
    (steps, step): (usize, impl Fn()),
) -> usize {
    if plan.patterns.is_empty() {
        return rows.len();
    }
    let ask = |row: &[u64]| {
        for pattern in &plan.patterns {
            let (address, len) = pattern.subject(row);
            let bytes = sys::bytes(&address, len);
            (0..bytes.len().min(SUBJECT_BYTES)).step_by(64).for_each(|at| sys::prefetch(bytes, at));
        }
    };
    let ahead = SUBJECTS_AHEAD * plan.stride;
    rows.chunks_exact(plan.stride).take(SUBJECTS_AHEAD).for_each(ask);
    let (mut kept, mut stepped) = (0, 0);
    for at in (0..rows.len()).step_by(plan.stride) {
        while stepped * rows.len() < (at + plan.stride) * steps {
            stepped += 1;
            step();
        }
        if let Some(row) = rows.get(at + ahead..at + ahead + plan.stride) {
            ask(row);
        }
        let row = &rows[at..at + plan.stride];
        let matches = plan.patterns.iter().all(|pattern| {
            let (address, len) = pattern.subject(row);
            let handle = &handles[pattern.handle];
            matches!(handle, Handle::Regex(regex) if regex.is_match(sys::bytes(&address, len)))
        });
        if matches {
            rows.copy_within(at..at + plan.stride, kept);
            kept += plan.stride;
        }
    }
    kept
}

/// Sends the rows together.
pub(super) fn block(
    columns: &Arc<[BlockColumn]>,
    batch: RowBatch<'_>,
    out: &mut dyn FnMut(u64, Message),
) {
    let Some(first) = batch.rows.first_chunk::<1>() else { return };
    let first = batch.index(first);
    let mut words = Words::from(batch.rows);
    for row in words.chunks_exact_mut(batch.stride) {
        row[0] = batch.ordinal(row);
    }
    out(first, Message::Block(Block::new(Arc::clone(columns), batch.stride, words)));
}

/// Sends a tuple per row.
pub(super) fn tuples(
    plan: &Rows,
    batch: RowBatch<'_>,
    kept: &[Value],
    out: &mut dyn FnMut(u64, Message),
) {
    for row in batch.rows.chunks_exact(batch.stride) {
        let values = plan.columns.iter().map(|(_, column)| column.value(row, kept)).collect();
        let ordinal = batch.ordinal(row);
        out(batch.index(row), Message::Tuple(Tuple { ordinal, values }));
    }
}

/// As [`tuples`], and what moves the window as punctuation.
pub(super) fn kept_for_folding(
    plan: &Rows,
    batch: RowBatch<'_>,
    kept: &[Value],
    out: &mut dyn FnMut(u64, Message),
) {
    let Some(moves) = &plan.moves else { return tuples(plan, batch, kept, out) };
    for row in batch.rows.chunks_exact(batch.stride) {
        if row[0] & MOVES == 0 {
            tuples(plan, RowBatch { rows: row, ..batch }, kept, out);
            continue;
        }
        let known = (0..).zip(known(moves, row));
        let known = known.filter_map(|(number, value)| Some((number, value?))).collect();
        out(batch.index(row), Message::Punctuation(known));
    }
}

/// The components of the window that a row knows of.
fn known<'a>(moves: &'a MovesPlan, row: &'a [u64]) -> impl Iterator<Item = Option<Value>> + 'a {
    let mask = row[moves.known];
    let is_known = move |number: usize| mask >> number & 1 == 1;
    let components = moves.components.iter().enumerate();
    components.map(move |(number, of)| is_known(number).then(|| of.column.value(row, &[])))
}

/// Takes rows that are values of tuples into an aggregate, and what moves the window.
pub(super) fn take_values(
    aggregate: &mut Aggregate,
    plan: &Rows,
    batch: RowBatch<'_>,
    kept: &[Value],
    counters: &mut TupleCounters,
    out: &mut dyn FnMut(u64, Message),
) {
    let Use::Values { keys } = plan.use_ else { return };
    for row in batch.rows.chunks_exact(batch.stride) {
        let index = batch.index(row);
        let mut send = |message| out(index, message);
        if let Some(moves) = plan.moves.as_ref().filter(|_| row[0] & MOVES != 0) {
            let known: Vec<_> = known(moves, row).collect();
            aggregate.move_to(&known, counters, &mut send);
            continue;
        }
        let value = |(_, column): &(_, Column)| column.value(row, kept);
        let (keys, args) = plan.columns.split_at(keys);
        let ordinal = batch.ordinals.of(index);
        aggregate.take_values(
            keys.iter().map(value),
            args.iter().map(value),
            ordinal,
            counters,
            &mut send,
        );
    }
}
