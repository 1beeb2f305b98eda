//! Which aggregates are kept for the calls of a query, each once, and how results follow from them.

use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::{Type, Value, promote};
use wt_lang::ast::{BinaryOp, CmpOp};

use crate::ir::{AggKind, NodeId, Op};
use crate::logical::{AggCall, Expr};
use crate::lower::Dag;
use crate::walk;

/// An aggregate that every backend has, with its operand.
pub(super) struct Basic {
    pub(super) kind: AggKind,
    pub(super) arg: Option<Expr>,
    pub(super) distinct: bool,
    pub(super) ty: Type,
}

/// How the result of an aggregate call follows from the aggregates that are kept.
#[derive(Clone, Copy)]
pub(super) enum Kept {
    /// It is that one.
    Direct(usize),
    /// It is the window's, behind all aggregates.
    OfWindow,
    /// A sum over a count.
    Mean { sum: usize, count: usize },
}

/// Aggregates to keep, and what the calls become.
#[derive(Default)]
pub(super) struct Kepts {
    pub(super) basics: Vec<Basic>,
    pub(super) results: Vec<Kept>,
}

impl Kepts {
    /// Adds what a splittable call needs.
    pub(super) fn add(&mut self, call: &AggCall) {
        let FunctionKind::Aggregate(split) = call.function.kind else { return };
        let arg = call.args.first();
        let kind = match split {
            Split::Count => AggKind::Count,
            Split::Sum => AggKind::Sum,
            Split::Min => AggKind::Min,
            Split::Max => AggKind::Max,
            Split::BitAnd => AggKind::BitAnd,
            Split::BitOr => AggKind::BitOr,
            Split::BitXor => AggKind::BitXor,
            Split::Avg => {
                let wide = arg.and_then(|a| promote::wide_sum(a.ty)).unwrap_or(Type::Float);
                let sum = self.basic(AggKind::Sum, arg, call.distinct, wide);
                let count = self.basic(AggKind::Count, arg, call.distinct, Type::Ullong);
                self.results.push(Kept::Mean { sum, count });
                return;
            }
            Split::HostOnly => return,
            Split::OfWindow => {
                self.results.push(Kept::OfWindow);
                return;
            }
        };
        let index = self.basic(kind, arg, call.distinct, call.ty);
        self.results.push(Kept::Direct(index));
    }

    /// The index of an aggregate, kept once however often it is asked for.
    fn basic(&mut self, kind: AggKind, arg: Option<&Expr>, distinct: bool, ty: Type) -> usize {
        // COUNT(x) counts the tuples; x only has to be there, which a sum over it or DISTINCT already demands.
        let counted_elsewhere = kind == AggKind::Count
            && !distinct
            && arg.is_some_and(|a| {
                self.basics.iter().any(|b| b.arg.as_ref().is_some_and(|b| walk::same(a, b)))
            });
        let arg = arg.filter(|_| !counted_elsewhere);
        let same_arg = |b: &Basic| match (&b.arg, arg) {
            (None, None) => true,
            (Some(x), Some(y)) => walk::same(x, y),
            _ => false,
        };
        let known = self
            .basics
            .iter()
            .position(|b| b.kind == kind && b.ty == ty && b.distinct == distinct && same_arg(b));
        known.unwrap_or_else(|| {
            self.basics.push(Basic { kind, arg: arg.cloned(), distinct, ty });
            self.basics.len() - 1
        })
    }
}

/// The operand at the width the aggregate works in.
pub(super) fn operand(dag: &mut Dag, basic: &Basic, node: NodeId) -> NodeId {
    match basic.kind {
        AggKind::Count => node,
        _ => dag.cast(node, basic.ty),
    }
}

/// Columns for what calls give: keys, then results.
pub(super) fn result_columns(
    dag: &mut Dag,
    leaves: &[NodeId],
    keys: usize,
    results: &[Kept],
) -> Vec<NodeId> {
    let (keys, aggs) = leaves.split_at(keys.min(leaves.len()));
    let mut columns = keys.to_vec();
    for result in results {
        columns.push(match *result {
            Kept::Direct(i) => aggs[i],
            Kept::OfWindow => aggs[aggs.len() - 1],
            Kept::Mean { sum, count } => mean(dag, aggs[sum], aggs[count]),
        });
    }
    columns
}

/// Real division; the mean of nothing is the type's default.
fn mean(dag: &mut Dag, sum: NodeId, count: NodeId) -> NodeId {
    let none = dag.uint(0, Type::Ullong);
    let some = dag.node(Op::Compare(CmpOp::Ne, count, none), Type::Bool);
    let (sum, count) = (dag.cast(sum, Type::Float), dag.cast(count, Type::Float));
    let quotient = dag.node(Op::Binary(BinaryOp::Div, sum, count), Type::Float);
    let zero = dag.constant(Value::Float(0.0), Type::Float);
    dag.select(some, quotient, zero)
}

pub(super) fn kind_name(kind: AggKind) -> &'static str {
    match kind {
        AggKind::Count => "COUNT",
        AggKind::Sum => "SUM",
        AggKind::Min => "MIN",
        AggKind::Max => "MAX",
        AggKind::BitAnd => "AND_AGGR",
        AggKind::BitOr => "OR_AGGR",
        AggKind::BitXor => "XOR_AGGR",
    }
}

pub(super) fn sub_text(basic: &Basic, text: impl Fn(&Expr) -> String) -> String {
    let distinct = if basic.distinct { "DISTINCT " } else { "" };
    match &basic.arg {
        Some(arg) => format!("{}({distinct}{})", kind_name(basic.kind), text(arg)),
        None => format!("{}(*)", kind_name(basic.kind)),
    }
}

/// Names as gsql.md §22 shows them: `SUM_len`, `Cnt`.
pub(super) fn sub_name(basic: &Basic, text: impl Fn(&Expr) -> String, used: &[String]) -> String {
    let base = match &basic.arg {
        None => "Cnt".to_owned(),
        Some(arg) => {
            let text = text(arg);
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            format!("{}_{}", kind_name(basic.kind), if plain { text.as_str() } else { "SE" })
        }
    };
    let mut name = base.clone();
    let mut n = 1;
    while used.contains(&name) {
        name = format!("{base}{n}");
        n += 1;
    }
    name
}
