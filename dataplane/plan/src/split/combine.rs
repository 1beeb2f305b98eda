//! Merge, DISTINCT and ORDER BY … LIMIT: operators that keep rows back.

use wt_catalog::Ordering;
use wt_lang::Diagnostic;

use super::memory;
use super::program::{finish, inputs};
use super::report::{ColumnNote, HftaNote};
use super::{Place, Planned, Splitter, Stream, ordered_column};
use crate::ir::OrderedColumn;
use crate::logical::{LogicalNode, MergeNode, SortNode};
use crate::lower::Dag;
use crate::physical::{ColumnInfo, HftaOp};

/// Tuples queued per input of a merge before it asks a blocked input for a lower bound.
const QUEUE_TUPLES_MAX: u32 = 4096;

impl Splitter<'_> {
    /// A stream with one source: those of several interfaces are merged on their first ordered column, or united in
    /// arrival order when none is ordered (gsql.md §8).
    pub(super) fn single(&mut self, stream: Stream, place: Place<'_>) -> Planned<Stream> {
        if stream.refs.len() < 2 {
            return Ok(stream);
        }
        let column =
            stream.columns.iter().position(|c| c.info.ordering.is_temporal()).and_then(|i| {
                Some((i, ordered_column(i, &stream.columns[i].info.ordering, false)?))
            });
        let columns: Vec<ColumnInfo> = stream
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let merged = column.as_ref().is_some_and(|(m, _)| *m == i);
                let ordering = match &c.info.ordering {
                    Ordering::Constant => Ordering::Varying,
                    kept if merged => kept.weakened(),
                    _ => Ordering::Varying,
                };
                ColumnInfo { ordering, window: c.info.window && merged, ..c.info.clone() }
            })
            .collect();
        let why = match &column {
            Some((i, _)) => format!("several interfaces, in the order of `{}`", columns[*i].name),
            None => "several interfaces, in order of arrival: no column is ordered".to_owned(),
        };
        let note = note_of(place, &columns, vec![why]);
        let bound = match &column {
            Some(_) => memory::merge(stream.refs.len(), columns.len(), QUEUE_TUPLES_MAX),
            None => memory::stateless(),
        };
        let op = HftaOp::Merge {
            column: column.map(|(_, c)| (c.column, c.decreasing)),
            slack: None,
            queue_tuples_max: QUEUE_TUPLES_MAX,
        };
        let before = stream.columns;
        let name = place.name("merge");
        let mut merged = self.push(name, stream.refs, op, columns, bound, note);
        for (column, before) in merged.columns.iter_mut().zip(before) {
            column.shipped = before.shipped;
            column.max = before.max;
        }
        Ok(merged)
    }

    /// MERGE (gsql.md §15).
    pub(super) fn merge(&mut self, merge: &MergeNode, place: Place<'_>) -> Planned<Stream> {
        let mut refs = Vec::new();
        let mut first: Option<Stream> = None;
        for input in &merge.inputs {
            let stream = self.node(input, place.below())?;
            let stream = self.single(stream, place.below())?;
            refs.extend(&stream.refs);
            first.get_or_insert(stream);
        }
        let Some(first) = first else {
            let error = Diagnostic::error("merge", place.query.span, "MERGE has no input");
            return Err(Box::new(error));
        };
        let mut columns: Vec<ColumnInfo> = first
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| ColumnInfo {
                ordering: match i == merge.column {
                    true => c.info.ordering.weakened(),
                    false => Ordering::Varying,
                },
                window: c.info.window && i == merge.column,
                ..c.info.clone()
            })
            .collect();
        if place.top && place.query.schema.columns.len() == columns.len() {
            columns.clone_from(&place.query.schema.columns);
        }
        let name = columns.get(merge.column).map_or("", |c| c.name.as_str());
        let note = note_of(place, &columns, vec![format!("merges streams by `{name}`")]);
        let bound = memory::merge(refs.len(), columns.len(), QUEUE_TUPLES_MAX);
        let op = HftaOp::Merge {
            column: Some((merge.column as u32, merge.decreasing)),
            slack: merge.slack.clone(),
            queue_tuples_max: QUEUE_TUPLES_MAX,
        };
        Ok(self.push(place.name("merge"), refs, op, columns, bound, note))
    }

    /// SELECT DISTINCT.
    pub(super) fn distinct(&mut self, input: &LogicalNode, place: Place<'_>) -> Planned<Stream> {
        let stream = self.node(input, place.below())?;
        let stream = self.single(stream, place.below())?;
        let mut window = windows(&stream, |c| c.window);
        if window.is_empty() && !self.finite {
            window = windows(&stream, |_| true);
        }
        if window.is_empty() && !self.finite {
            return Err(Box::new(Diagnostic::error(
                "unbounded-state",
                place.query.span,
                "DISTINCT over a live source would remember every row for ever",
            )
            .hint("Select an ordered column too, e.g. `time/60 AS minute`: rows are then distinct within each minute.")));
        }
        let columns = stream.schema().columns;
        let note = note_of(place, &columns, vec!["remembers rows".into()]);
        let mut bound = memory::distinct_rows(columns.len(), !window.is_empty());
        if columns.iter().any(|c| c.ty.is_bytes()) {
            bound.entries.push_str(", plus the bytes of its strings");
        }
        let op = HftaOp::Distinct { window };
        Ok(self.push(place.name("distinct"), stream.refs, op, columns, bound, note))
    }

    /// ORDER BY … LIMIT within a window.
    pub(super) fn sort(&mut self, sort: &SortNode, place: Place<'_>) -> Planned<Stream> {
        let stream = self.node(&sort.input, place.below())?;
        let stream = self.single(stream, place.below())?;
        let window = windows(&stream, |c| c.window);
        if window.is_empty() && !self.finite {
            return Err(Box::new(Diagnostic::error(
                "unbounded-state",
                place.query.span,
                "ORDER BY over a live source would keep every row for ever",
            )
            .hint("Group or select by a time bucket, e.g. `time/60 AS minute`: rows are then sorted within each minute.")));
        }
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, stream.columns.iter().map(|c| c.shipped));
        let keys: Vec<_> = sort
            .keys
            .iter()
            .filter_map(|&(i, descending)| Some((*leaves.get(i)?, descending)))
            .collect();
        let kept = &stream.columns[..sort.outputs.min(stream.columns.len())];
        let mut columns: Vec<ColumnInfo> = kept
            .iter()
            .map(|c| {
                // Rows of a window come sorted: only what is the same throughout the window keeps its order.
                let ordering =
                    if c.info.window { c.info.ordering.weakened() } else { Ordering::Varying };
                ColumnInfo { ordering, ..c.info.clone() }
            })
            .collect();
        if place.top && place.query.schema.columns.len() == columns.len() {
            columns.clone_from(&place.query.schema.columns);
        }
        let by: Vec<String> = sort
            .keys
            .iter()
            .filter_map(|&(i, descending)| {
                let name = &stream.columns.get(i)?.info.name;
                Some(if descending { format!("{name} DESC") } else { name.clone() })
            })
            .collect();
        let note = note_of(place, &columns, vec![format!("sorts by {}", by.join(", "))]);
        let bound = memory::rows(stream.columns.len(), !window.is_empty(), "row", sort.limit);
        let outputs = (0..kept.len() as u32).collect();
        let op = HftaOp::Sort { window, exprs: finish(dag), keys, limit: sort.limit, outputs };
        Ok(self.push(place.name("sort"), stream.refs, op, columns, bound, note))
    }
}

fn windows(stream: &Stream, which: impl Fn(&ColumnInfo) -> bool) -> Vec<OrderedColumn> {
    stream
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| which(&c.info))
        .filter_map(|(i, c)| ordered_column(i, &c.info.ordering, false))
        .collect()
}

fn note_of(place: Place<'_>, columns: &[ColumnInfo], why: Vec<String>) -> HftaNote {
    HftaNote {
        query: place.query.name.clone(),
        columns: columns
            .iter()
            .map(|c| ColumnNote {
                name: c.name.clone(),
                text: c.name.clone(),
                ty: c.ty,
                ordering: c.ordering.clone(),
            })
            .collect(),
        why,
        ..HftaNote::default()
    }
}
