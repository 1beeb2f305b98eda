//! What lies where for a query: its counters, row, windows, and the table or the one group.

use wt_catalog::Type;
use wt_catalog::layout::{Class, Column, Packer};
use wt_plan::ir::{AggKind, Exprs, LftaAction, LftaAgg, LftaQuery, NodeId, OrderedColumn};

use super::emit::{Unportable, unportable};
use super::row::{self, class_of};
use super::spec::{
    ActionLayout, ENTRY_HEAD_WORDS, GroupLayout, MapKind, MapSpec, QueryLayout, StateLayout,
    TotalsLayout, WindowLayout, query_counters,
};
use crate::asm::MapId;

/// Words of the frame that are given out before code is made.
pub(super) struct FrameWords {
    pub(super) next: u32,
    pub(super) init: Vec<(u32, u64)>,
}

impl FrameWords {
    pub(super) fn take(&mut self, words: u32) -> u32 {
        let first = self.next;
        self.next += words;
        first
    }
}

/// Lays out rows, counters and the table of a query.
pub(super) fn query_layout(
    exprs: &Exprs,
    query: &LftaQuery,
    index: u32,
    frame: &mut FrameWords,
    maps: &mut Vec<MapSpec>,
) -> Result<QueryLayout, Unportable> {
    let ty = |node: &NodeId| exprs.nodes[node.0 as usize].ty;
    let nodes = match &query.action {
        LftaAction::Select { outputs, .. } => outputs,
        LftaAction::Aggregate { keys, .. } => keys,
    };
    let mut packer = Packer::new(0);
    let columns: Result<Vec<Column>, Unportable> = nodes
        .iter()
        .map(|node| {
            let column = row::place(&mut packer, ty(node));
            column.ok_or_else(|| Unportable(format!("a value of type {}", ty(node))))
        })
        .collect();
    let (columns, column_words) = (columns?, packer.end() as u32);
    let counters = frame.take(query_counters::COUNT);
    let action = match &query.action {
        LftaAction::Select { .. } => ActionLayout::Select,
        LftaAction::Aggregate { keys, ordered, aggs, slots, tolerance, .. } => {
            let mut entry_words = ENTRY_HEAD_WORDS + column_words;
            let mut states = Vec::with_capacity(aggs.len());
            for agg in aggs {
                check_aggregate(agg, agg.arg.as_ref().map(ty))?;
                states.push(StateLayout { kind: agg.kind, ty: agg.ty, word: entry_words });
                entry_words += u32::from(agg.kind != AggKind::Count);
            }
            let mut windows = Vec::with_capacity(ordered.len());
            for column in ordered {
                let key_ty = ty(&keys[column.column as usize]);
                let window = window_layout(column, key_ty, *tolerance, frame)?;
                frame.init.extend(
                    Some((window.bound, window.initial())).filter(|(_, initial)| *initial != 0),
                );
                windows.push(window);
            }
            if keys.is_empty() {
                let mut totals = TotalsLayout { first: 0, entry_words, states };
                totals.first = frame.take(2 * totals.stride());
                let (name, action) = (query.name.clone(), ActionLayout::Totals(totals));
                return Ok(QueryLayout {
                    query: index,
                    name,
                    counters,
                    columns,
                    column_words,
                    action,
                });
            }
            let table = MapId(maps.len() as u32);
            let entries = slots.checked_mul(2).filter(|n| *n <= i32::MAX as u32);
            let entries = entries.ok_or_else(|| Unportable("a table of 2^31 slots".into()))?;
            maps.push(MapSpec {
                name: format!("groups{index}"),
                kind: MapKind::PerCpuArray,
                bytes: 8 * entry_words,
                entries,
            });
            let (slots, used) = (*slots, frame.take(4));
            ActionLayout::Groups(GroupLayout { table, slots, entry_words, states, windows, used })
        }
    };
    let name = query.name.clone();
    Ok(QueryLayout { query: index, name, counters, columns, column_words, action })
}

fn window_layout(
    column: &OrderedColumn,
    ty: Type,
    tolerance: u64,
    frame: &mut FrameWords,
) -> Result<WindowLayout, Unportable> {
    if class_of(ty) != Some(Class::Word) {
        return unportable(format!("a window of type {ty}"));
    }
    Ok(WindowLayout {
        key: column.column,
        ty,
        decreasing: column.decreasing,
        tolerance: tolerance.saturating_add(column.band),
        bound: frame.take(1),
        known: frame.take(1),
    })
}

/// Whether states of an aggregate are words that fold as the definition says.
fn check_aggregate(agg: &LftaAgg, arg: Option<Type>) -> Result<(), Unportable> {
    let is_number = |ty: Type| ty.is_integer() || ty == Type::Bool;
    let fits = match (agg.kind, arg) {
        (AggKind::Count, _) => agg.ty.is_integer(),
        (_, None) => false,
        (AggKind::Sum, Some(arg)) => {
            agg.ty.is_integer() && is_number(arg)
                || (agg.ty, arg) == (Type::Duration, Type::Duration)
        }
        (AggKind::Min | AggKind::Max, Some(arg)) => {
            let is_word = class_of(arg) == Some(Class::Word);
            let wider = arg.is_integer()
                && agg.ty.is_integer()
                && arg.is_signed() == agg.ty.is_signed()
                && arg.bits() <= agg.ty.bits();
            is_word && (arg == agg.ty || wider)
        }
        (AggKind::BitAnd | AggKind::BitOr | AggKind::BitXor, Some(arg)) => {
            is_number(arg) && is_number(agg.ty) && (arg == agg.ty || agg.ty.is_integer())
        }
    };
    match fits {
        true => Ok(()),
        false => unportable(match arg {
            Some(arg) => format!("an aggregate of {arg} as {}", agg.ty),
            None => format!("an aggregate of type {}", agg.ty),
        }),
    }
}
