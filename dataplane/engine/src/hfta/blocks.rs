//! Blocks of tuples taken by the columns that they have, without making tuples of them.

use wt_catalog::layout::{Column, word_value};
use wt_catalog::{Type, Value};
use wt_plan::ir::{AggKind, Exprs, NodeId, Op};
use wt_plan::physical::{self, HftaAggFunction};

use crate::block::Block;
use crate::compiled::{Regroup, Remade, Remake, RowCode, whole_columns};
use crate::ledger::OperatorCounters;

/// Tuples that blocks have before code is made for them: making it takes about as long as interpreting so many.
const ROWS_BEFORE_CODE: usize = 4096;

/// Most ways in which the columns of blocks lie that code is made for: groups come in one for IPv4 addresses and one for others.
const LAYOUTS_MAX: usize = 2;

/// Quals and what rows are made of, over the columns of blocks, by compiled code once that pays.
pub(super) struct Remaking {
    exprs: Exprs,
    params: Vec<Value>,
    quals: Vec<NodeId>,
    columns: Vec<(NodeId, Column)>,
    /// Words of a row.
    stride: usize,
    /// By the way in which the columns of blocks lie.
    codes: Vec<RowCode>,
    /// Tuples that have come since code was made, and had none.
    without: usize,
    /// Whether more code can be made.
    can_be_made: bool,
}

impl Remaking {
    /// Rows of the outputs.
    pub(super) fn new(
        exprs: &Exprs,
        params: &[Value],
        quals: impl IntoIterator<Item = NodeId>,
        outputs: &[NodeId],
    ) -> Self {
        Self::of_columns(exprs, params, quals, whole_columns(exprs, outputs))
    }

    /// Rows of an aggregation's keys and operands.
    pub(super) fn of_groups(
        plan: &physical::Aggregate,
        params: &[Value],
        regroup: &Regroup,
    ) -> Self {
        let quals = plan.quals.iter().map(|qual| qual.node);
        let columns = (regroup.columns().to_vec(), regroup.stride());
        Self::of_columns(&plan.exprs, params, quals, columns)
    }

    fn of_columns(
        exprs: &Exprs,
        params: &[Value],
        quals: impl IntoIterator<Item = NodeId>,
        (columns, stride): (Vec<(NodeId, Column)>, usize),
    ) -> Self {
        Self {
            exprs: exprs.clone(),
            params: params.to_vec(),
            quals: quals.into_iter().collect(),
            columns,
            stride,
            codes: Vec::new(),
            without: 0,
            // Handles belong to an interpreter.
            can_be_made: exprs.handles.is_empty(),
        }
    }

    /// Takes other parameters.
    pub(super) fn set_params(&mut self, params: &[Value]) {
        let quals = std::mem::take(&mut self.quals);
        let columns = (std::mem::take(&mut self.columns), self.stride);
        *self = Self::of_columns(&self.exprs, params, quals, columns);
    }

    /// What comes of a block, if there is code for it by now. The counters are told why tuples go no further.
    pub(super) fn block(
        &mut self,
        block: &Block,
        counters: &mut OperatorCounters,
    ) -> Option<Remade> {
        let code = match self.codes.iter().position(|code| code.takes(block)) {
            Some(code) => code,
            None => self.made_for(block)?,
        };
        let remade = self.codes[code].run(block)?;
        counters.filtered += remade.filtered;
        counters.absent += remade.absent;
        counters.failed += remade.failed;
        Some(remade)
    }

    /// Makes code for blocks like one, if that pays by now.
    fn made_for(&mut self, block: &Block) -> Option<usize> {
        self.without += block.len();
        if !self.can_be_made || self.codes.len() == LAYOUTS_MAX || self.without < ROWS_BEFORE_CODE {
            return None;
        }
        self.without = 0;
        let Self { exprs, params, quals, columns, stride, .. } = &*self;
        let remake = Remake { exprs, params, quals, columns, stride: *stride };
        let code = RowCode::new(&remake, block);
        self.can_be_made = code.is_some();
        self.codes.push(code?);
        Some(self.codes.len() - 1)
    }
}

/// By output of an aggregation: the key or result that it is, and its type. Nothing when a row takes more to make, or less than all
/// groups have one.
pub(super) fn passed_columns(plan: &physical::Aggregate) -> Option<Vec<(usize, Type)>> {
    let ty = |column: usize| match column.checked_sub(plan.keys.len()) {
        None => plan.key_types.get(column).copied(),
        Some(agg) => plan.aggs.get(agg).map(|agg| agg.ty),
    };
    let column = |node: &NodeId| match plan.post.nodes[node.0 as usize].op {
        Op::Input(column) => Some((column as usize, ty(column as usize)?)),
        _ => None,
    };
    let columns = plan.outputs.iter().map(column).collect();
    if plan.having.is_empty() { columns } else { None }
}

/// An aggregate over a column of the input.
pub(super) struct ColumnTotal {
    kind: AggKind,
    /// Counting needs none.
    column: Option<usize>,
    /// Of the result.
    ty: Type,
}

/// The aggregates of a plan without keys or quals, where all are over columns of the input and yield numbers.
pub(super) fn totals_over_columns(plan: &physical::Aggregate) -> Option<Vec<ColumnTotal>> {
    let is_plain = plan.keys.is_empty()
        && plan.patterns == [0]
        && plan.quals.is_empty()
        && !plan.real_time
        && plan.seen.is_none();
    if !is_plain {
        return None;
    }
    let total = |agg: &physical::HftaAgg| {
        let HftaAggFunction::Basic(kind) = agg.function else { return None };
        if agg.distinct || !agg.ty.is_integer() {
            return None;
        }
        let column = match agg.args[..] {
            [] if kind == AggKind::Count => None,
            [node] => Some(column_of(&plan.exprs, node)?),
            _ => return None,
        };
        Some(ColumnTotal { kind, column, ty: agg.ty })
    };
    plan.aggs.iter().map(total).collect()
}

/// The column that a node gives, as it is or as a wider number.
fn column_of(exprs: &Exprs, node: NodeId) -> Option<usize> {
    let node = &exprs.nodes[node.0 as usize];
    match node.op {
        Op::Input(column) => Some(column as usize),
        Op::Cast(of) => {
            let of = &exprs.nodes[of.0 as usize];
            let (from, to) = (of.ty, node.ty);
            let is_wider = from.is_integer() && to.is_integer() && from.bits() <= to.bits();
            match of.op {
                Op::Input(column) if is_wider && from.is_signed() == to.is_signed() => {
                    Some(column as usize)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// What aggregates come to over a block that is not empty; nothing when a column does not hold numbers.
pub(super) fn totals(block: &Block, totals: &[ColumnTotal]) -> Option<Vec<(AggKind, Value)>> {
    let total = |total: &ColumnTotal| {
        let value = match total.column {
            Some(column) if total.kind != AggKind::Count => {
                let ty = block.number_type(column)?;
                // What is cut to another type at each step need not come to what is cut at the end; sums do.
                if ty != total.ty && total.kind != AggKind::Sum {
                    return None;
                }
                folded(block, column, ty, total.kind)?
            }
            Some(_) | None => Value::Uint(block.len() as u64),
        };
        Some((total.kind, value))
    };
    totals.iter().map(total).collect()
}

fn folded(block: &Block, column: usize, ty: Type, kind: AggKind) -> Option<Value> {
    let signed = ty.is_signed();
    // Order-preserving between signed and unsigned numbers.
    let flip = if signed { 1 << 63 } else { 0 };
    let word = match kind {
        AggKind::Count | AggKind::Sum => {
            let sum = block.fold(column, 0, u64::wrapping_add);
            // Of all bits: the result wraps by its own width.
            return Some(if signed { Value::Int(sum as i64) } else { Value::Uint(sum) });
        }
        AggKind::Min => block.fold(column, u64::MAX, |a, b| a.min(b ^ flip)) ^ flip,
        AggKind::Max => block.fold(column, 0, |a, b| a.max(b ^ flip)) ^ flip,
        AggKind::BitAnd => block.fold(column, u64::MAX, |a, b| a & b),
        AggKind::BitOr => block.fold(column, 0, |a, b| a | b),
        AggKind::BitXor => block.fold(column, 0, |a, b| a ^ b),
    };
    word_value(word, ty)
}
