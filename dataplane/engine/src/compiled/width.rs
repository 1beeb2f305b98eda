//! How many low bits of a node's word can be set, so that cutting, saturating and packing cost nothing where they cannot matter.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::BinaryOp;
use wt_plan::ir::{Exprs, Node, Op};

use crate::packet::NS_PER_S;

/// Bits of the whole seconds that 64 bits of nanoseconds hold.
pub(super) const TIME_BITS: u32 = 64 - (u64::MAX / NS_PER_S).leading_zeros();

/// By node: its word is below `2^bits`. 64 for what may be negative or is not a word.
pub(super) fn significant_bits(exprs: &Exprs, params: &[Value]) -> Vec<u32> {
    let mut bits = Vec::with_capacity(exprs.nodes.len());
    for node in &exprs.nodes {
        let found = of_node(node, &bits, params).min(of_type(node.ty));
        // A negative number has every high bit of its word set, and a pattern as wide as its type may be one.
        let may_be_negative =
            node.ty.is_signed() && node.ty.bits().is_none_or(|width| found >= width);
        bits.push(if may_be_negative { 64 } else { found });
    }
    bits
}

/// Bits of the word of any value of a type, 64 where one may be negative.
pub(super) fn of_type(ty: Type) -> u32 {
    match ty {
        Type::Bool => 1,
        Type::Ushort => 16,
        Type::Uint | Type::Ip => 32,
        Type::Mac => 48,
        _ => 64,
    }
}

fn of_value(value: &Value) -> u32 {
    match *value {
        Value::Int(i) | Value::Duration(i) if i < 0 => 64,
        _ => value.as_u64().map_or(64, |word| 64 - word.leading_zeros()),
    }
}

fn of_node(node: &Node, bits: &[u32], params: &[Value]) -> u32 {
    let of = |id: &wt_plan::ir::NodeId| bits[id.0 as usize];
    match &node.op {
        Op::Const(value) => of_value(value),
        Op::Param(param) => of_value(&params[param.0 as usize]),
        Op::Meta(Meta::Direction) => 2,
        Op::Meta(Meta::LinkType) => 16,
        Op::Meta(Meta::Time) => TIME_BITS,
        Op::Meta(Meta::Len | Meta::CapLen | Meta::IfIndex) | Op::Offset(_) => 32,
        Op::Load { bits, .. } if !node.ty.is_signed() => *bits,
        Op::LoadOrZero { bytes, .. } => 8 * bytes,
        Op::InBounds { .. } | Op::Present(_) | Op::Compare(..) | Op::In(..) => 1,
        Op::And(..) | Op::Or(..) | Op::Not(_) => 1,
        Op::Depth { .. } => 7,
        Op::ByProtocol { arms, .. } => arms.iter().map(|(_, arm)| of(arm)).max().unwrap_or(0),
        Op::Select { then, otherwise, .. } => of(then).max(of(otherwise)),
        Op::Cast(a) => of(a),
        Op::Binary(op, a, b) | Op::Saturating(op, a, b) if !node.ty.is_signed() => {
            of_binary(*op, of(a), of(b))
        }
        _ => 64,
    }
}

fn of_binary(op: BinaryOp, a: u32, b: u32) -> u32 {
    match op {
        BinaryOp::Add => (a.max(b) + 1).min(64),
        BinaryOp::Mul => (a + b).min(64),
        BinaryOp::BitAnd => a.min(b),
        BinaryOp::BitOr => a.max(b),
        BinaryOp::Div | BinaryOp::Shr => a,
        BinaryOp::Rem => a.min(b),
        BinaryOp::Sub | BinaryOp::Shl => 64,
    }
}
