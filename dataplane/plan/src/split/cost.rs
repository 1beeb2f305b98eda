//! What expressions cost: classes order conjuncts (gsql.md §5, §20.1), nanoseconds inform EXPLAIN.

use wt_catalog::function::Cost;
use wt_catalog::protocol::Meta;

use crate::ir::{Exprs, NodeId, Op};
use crate::logical::{Expr, ExprKind};
use crate::walk;

/// The class of an expression: that of its dearest function.
pub fn class(e: &Expr) -> Cost {
    let mut class = Cost::Free;
    walk::each(e, &mut |e| {
        let own = match &e.kind {
            ExprKind::Call { function, .. } if function.portable => Cost::Free,
            ExprKind::Call { function, .. } => function.cost,
            ExprKind::PcapFilter(_) | ExprKind::InWatchlist(..) => Cost::Low,
            _ => Cost::Free,
        };
        class = class.max(own);
    });
    class
}

/// Nanoseconds to evaluate a node once: a rough count of operations, a few per nanosecond for what compiles to one
/// instruction, more for what calls the host. Of a `Select` only the dearer arm counts; a node used twice counts once where
/// that is less.
pub fn cost_ns(exprs: &Exprs, root: NodeId) -> u32 {
    let mut seen = vec![false; root.0 as usize + 1];
    let mut pending = vec![root];
    let mut shared: u64 = 0;
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        let op = &exprs.nodes[id.0 as usize].op;
        shared += tenths(op);
        pending.extend(op.operands());
    }
    // Operands come before the nodes that use them, so one pass upward suffices.
    let mut path = vec![0u64; root.0 as usize + 1];
    for (i, node) in exprs.nodes.iter().enumerate().take(path.len()).filter(|(i, _)| seen[*i]) {
        let of = |n: &NodeId| path[n.0 as usize];
        let below = match &node.op {
            // A filter's code by link type: the first one asked for is the likely one.
            Op::Select { cond, then, .. } if asks_link_type(exprs, *cond) => {
                of(cond).saturating_add(of(then))
            }
            Op::Select { cond, then, otherwise } => {
                of(cond).saturating_add(of(then).max(of(otherwise)))
            }
            Op::ByProtocol { arms, .. } => arms.iter().map(|a| of(&a.1)).max().unwrap_or(0),
            op => op.operands().iter().fold(0, |sum: u64, c| sum.saturating_add(of(c))),
        };
        path[i] = below.saturating_add(tenths(&node.op));
    }
    let least = shared.min(path[root.0 as usize]);
    u32::try_from(least.div_ceil(10)).unwrap_or(u32::MAX)
}

/// Whether a condition asks which link type the packet begins with: the rest of the code is for one.
pub fn asks_link_type(exprs: &Exprs, cond: NodeId) -> bool {
    let is_link_type = |n: NodeId| exprs.nodes[n.0 as usize].op == Op::Meta(Meta::LinkType);
    match exprs.nodes[cond.0 as usize].op {
        Op::Compare(_, a, _) | Op::In(a, _) => is_link_type(a),
        _ => false,
    }
}

fn tenths(op: &Op) -> u64 {
    match op {
        Op::Const(_) | Op::Param(_) | Op::Input(_) | Op::Meta(_) => 0,
        Op::Load { .. } | Op::LoadOrZero { .. } | Op::InBounds { .. } => 10,
        Op::LoadIpv6 { .. } | Op::ByProtocol { .. } => 15,
        Op::Slice { .. } => 50,
        Op::In(_, values) => 5 + 5 * values.len() as u64,
        Op::Call { symbol, .. } => call_tenths(symbol),
        _ => 5,
    }
}

/// Calls by kind of work; a scan's true cost grows with the payload.
fn call_tenths(symbol: &str) -> u64 {
    if symbol.contains("regex") || symbol.contains("substr") {
        5000
    } else if symbol.contains("lpm") || symbol.contains("map") {
        500
    } else {
        200
    }
}
