//! Constant folding and value ranges.

use wt_catalog::{Type, Value, arith};
use wt_lang::ast::BinaryOp;

use crate::ir::{Exprs, NodeId, Op};

/// How far below a node [`value_max`] looks; beyond it the type's range is assumed.
const RANGE_DEPTH_MAX: u32 = 8;

/// The value of an operation whose operands are all constants; `None` when one is not, or when it would fail.
pub(super) fn fold(exprs: &Exprs, op: &Op, ty: Type) -> Option<Value> {
    let constant = |id: &NodeId| match &exprs.nodes[id.0 as usize].op {
        Op::Const(v) => Some(v),
        _ => None,
    };
    match op {
        Op::Saturating(op, a, b) => {
            let (a, b) = (constant(a)?.as_u64()?, constant(b)?.as_u64()?);
            Some(Value::Uint(saturating(*op, a, b)))
        }
        Op::Binary(op, a, b) => arith::binary(*op, constant(a)?, constant(b)?, ty),
        Op::Unary(op, a) => arith::unary(*op, constant(a)?, ty),
        Op::Compare(op, a, b) => Some(Value::Bool(arith::compare(*op, constant(a)?, constant(b)?))),
        Op::Cast(a) => arith::cast(constant(a)?, ty),
        _ => None,
    }
}

/// DDL arithmetic (ddl.md, Arithmetic): unsigned, saturating at both ends; what has no answer gives 0.
fn saturating(op: BinaryOp, a: u64, b: u64) -> u64 {
    match op {
        BinaryOp::Add => a.saturating_add(b),
        BinaryOp::Sub => a.saturating_sub(b),
        BinaryOp::Mul => a.saturating_mul(b),
        BinaryOp::Div => a.checked_div(b).unwrap_or(0),
        BinaryOp::Rem => a.checked_rem(b).unwrap_or(0),
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::Shl => match u32::try_from(b) {
            Ok(n) if n <= a.leading_zeros() => a.checked_shl(n).unwrap_or(0),
            _ if a == 0 => 0,
            _ => u64::MAX,
        },
        BinaryOp::Shr => u32::try_from(b).ok().and_then(|n| a.checked_shr(n)).unwrap_or(0),
    }
}

/// An upper bound of a node's value as an unsigned number; `u64::MAX` where nothing is known.
pub fn value_max(exprs: &Exprs, id: NodeId) -> u64 {
    bound(exprs, id, RANGE_DEPTH_MAX)
}

fn bound(exprs: &Exprs, id: NodeId, depth: u32) -> u64 {
    let node = &exprs.nodes[id.0 as usize];
    let limit = type_max(node.ty);
    let Some(depth) = depth.checked_sub(1) else { return limit };
    let of = |id: &NodeId| bound(exprs, *id, depth);
    let wraps = |v: Option<u64>| v.filter(|&v| v <= limit).unwrap_or(limit);
    match &node.op {
        Op::Const(v) => v.as_u64().unwrap_or(u64::MAX),
        Op::Load { bits, .. } => ones(*bits).min(limit),
        Op::LoadOrZero { bytes, .. } => ones(8 * bytes),
        Op::Select { then, otherwise, .. } => of(then).max(of(otherwise)),
        Op::ByProtocol { arms, .. } => arms.iter().map(|a| of(&a.1)).max().unwrap_or(0),
        Op::Cast(a) if !exprs.nodes[a.0 as usize].ty.is_signed() => wraps(Some(of(a))),
        Op::Binary(op, a, b) if !node.ty.is_signed() => {
            let (a, b) = (of(a), of(b));
            match op {
                BinaryOp::Add => wraps(a.checked_add(b)),
                BinaryOp::Mul => wraps(a.checked_mul(b)),
                BinaryOp::BitAnd => a.min(b),
                BinaryOp::BitOr => ones(64 - (a | b).leading_zeros()),
                BinaryOp::Div | BinaryOp::Shr => a,
                BinaryOp::Rem => a.min(b.saturating_sub(1)),
                BinaryOp::Shl => match u32::try_from(b) {
                    Ok(n) if n <= a.leading_zeros() => wraps(a.checked_shl(n)),
                    _ => limit,
                },
                BinaryOp::Sub => limit,
            }
        }
        Op::Saturating(op, a, b) => {
            let (a, b) = (of(a), of(b));
            match op {
                BinaryOp::Sub | BinaryOp::Div | BinaryOp::Shr => a,
                BinaryOp::Rem => a.min(b.saturating_sub(1)),
                BinaryOp::BitAnd => a.min(b),
                BinaryOp::BitOr => ones(64 - (a | b).leading_zeros()),
                BinaryOp::Add | BinaryOp::Mul | BinaryOp::Shl => saturating(*op, a, b),
            }
        }
        _ => limit,
    }
}

fn ones(bits: u32) -> u64 {
    1u64.checked_shl(bits).map_or(u64::MAX, |v| v - 1)
}

fn type_max(ty: Type) -> u64 {
    match ty.bits() {
        Some(bits) if !ty.is_signed() => ones(bits),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::LayerSel;
    use crate::lower::Dag;

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(saturating(BinaryOp::Sub, 3, 5), 0);
        assert_eq!(saturating(BinaryOp::Add, u64::MAX, 1), u64::MAX);
        assert_eq!(saturating(BinaryOp::Div, 9, 0), 0);
        assert_eq!(saturating(BinaryOp::Shl, 1, 64), u64::MAX);
        assert_eq!(saturating(BinaryOp::Shl, 3, 62), 3 << 62);
        assert_eq!(saturating(BinaryOp::Shl, 0, 99), 0);
        assert_eq!(saturating(BinaryOp::Shr, 8, 64), 0);
    }

    #[test]
    fn bounds_follow_the_operations() {
        let mut dag = Dag::default();
        let layer = dag.layer(LayerSel::Packet);
        let byte = dag.node(Op::LoadOrZero { layer, at: None, byte: 14, bytes: 1 }, Type::Uint);
        let fifteen = dag.uint(15, Type::Uint);
        let two = dag.uint(2, Type::Uint);
        let low = dag.node(Op::Binary(BinaryOp::BitAnd, byte, fifteen), Type::Uint);
        let four_times = dag.node(Op::Binary(BinaryOp::Shl, low, two), Type::Uint);
        assert_eq!(value_max(dag.exprs(), byte), 255);
        assert_eq!(value_max(dag.exprs(), four_times), 60);
        let word = dag.node(Op::LoadOrZero { layer, at: None, byte: 0, bytes: 4 }, Type::Uint);
        let sum = dag.node(Op::Binary(BinaryOp::Add, word, two), Type::Uint);
        assert_eq!(value_max(dag.exprs(), sum), u64::from(u32::MAX), "may wrap");
    }
}
