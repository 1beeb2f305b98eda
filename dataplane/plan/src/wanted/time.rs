//! Stamps for which a comparison of something that follows from the time holds.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};

use super::{Condition, Reader};
use crate::ir::{NodeId, Op};

const NS_PER_S: i128 = 1_000_000_000;

/// Limits of values, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    low: i128,
    high: i128,
}

/// Beyond every value of 64 bits, and far enough from the ends that nothing computed from it overflows.
const FAR: i128 = 1 << 70;

/// The values that compare so with a number or a time; nothing where they are no interval.
pub(super) fn limits(op: CmpOp, value: &Value) -> Option<Limits> {
    let at = match value {
        Value::Uint(_) | Value::Int(_) | Value::Time(_) => value.as_i128()?,
        _ => return None,
    };
    let (low, high) = match op {
        CmpOp::Eq => (at, at),
        CmpOp::Lt => (-FAR, at - 1),
        CmpOp::Le => (-FAR, at),
        CmpOp::Gt => (at + 1, FAR),
        CmpOp::Ge => (at, FAR),
        CmpOp::Ne => return None,
    };
    Some(Limits { low, high })
}

/// The stamps for which a node lies within limits of values as `value` is one; nothing where it does not follow from the time alone, or not in a
/// way that is known here.
pub(super) fn stamps(
    reader: &Reader<'_>,
    node: NodeId,
    limits: Limits,
    value: &Value,
    depth: u32,
) -> Option<Condition> {
    let is_time = |ty: Type| ty == Type::Time;
    if is_time(reader.exprs().nodes[node.0 as usize].ty) != matches!(value, Value::Time(_)) {
        return None;
    }
    let Limits { low, high } = inverse(reader, node, limits, depth)?;
    if high < 0 || low > i128::from(u64::MAX) || low > high {
        return Some(Condition::Never);
    }
    let clamp = |ns: i128| ns.clamp(0, i128::from(u64::MAX)) as u64;
    Some(Condition::all([Condition::Between(clamp(low), clamp(high))]))
}

/// The stamps (ns) for which a node that grows with them lies within limits.
fn inverse(reader: &Reader<'_>, node: NodeId, limits: Limits, depth: u32) -> Option<Limits> {
    let depth = depth.checked_sub(1)?;
    let Limits { low, high } = limits;
    let ty = |node: NodeId| reader.exprs().nodes[node.0 as usize].ty;
    match reader.op(node) {
        Op::Meta(Meta::Timestamp) => Some(limits),
        Op::Meta(Meta::Time) => Some(scaled(low, high, NS_PER_S)),
        Op::Cast(inner) => {
            // Those that keep every value of stamps before 2106, when seconds no longer fit 32 bits.
            let keeps = match (ty(*inner), ty(node)) {
                (a, b) if a == b => true,
                (Type::Uint, Type::Ullong | Type::Llong) => true,
                (Type::Time, Type::Ullong) | (Type::Ullong, Type::Time | Type::Llong) => true,
                _ => false,
            };
            if keeps { inverse(reader, *inner, limits, depth) } else { None }
        }
        Op::Binary(BinaryOp::Div, inner, by) => {
            let by = reader.value(*by)?.as_i128().filter(|by| (1..1 << 62).contains(by))?;
            let is_unsigned = matches!(ty(*inner), Type::Uint | Type::Ullong | Type::Time);
            let Limits { low, high } = scaled(low, high, by);
            if is_unsigned { inverse(reader, *inner, Limits { low, high }, depth) } else { None }
        }
        _ => None,
    }
}

/// The numbers whose quotient, rounded down, lies within limits.
fn scaled(low: i128, high: i128, by: i128) -> Limits {
    // Limits are of 64 bits, or FAR and what it was multiplied to.
    let far = |at: i128| at.abs() >= FAR;
    let low = if far(low) { low } else { low * by };
    let high = if far(high) { high } else { high * by + (by - 1) };
    Limits { low, high }
}
