//! Functions that are IR operators in disguise, so that every backend has them.

use wt_catalog::{Function, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};

use super::Dag;
use super::scalar::{is_in, truth};
use crate::ir::{NodeId, Op};

/// The operators of a portable function; `None` when it stays a call.
pub(super) fn lower(
    dag: &mut Dag,
    function: &Function,
    args: &[NodeId],
    ty: Type,
) -> Option<NodeId> {
    let name = function.name.to_ascii_lowercase();
    if let ("int" | "uint" | "ullong" | "llong" | "float", [a]) = (name.as_str(), args) {
        return Some(dag.cast(*a, ty));
    }
    if let ("in_subnet", [address, block]) = (name.as_str(), args)
        && let Some(block) = dag.as_const(*block).cloned()
    {
        return Some(is_in(dag, *address, &[block]));
    }
    // Of numbers of different types the result has the promoted one, which a call cannot know.
    match (function.symbol, args) {
        ("umin_num", [a, b]) if ty.is_integer() => return Some(pick(dag, CmpOp::Le, *a, *b, ty)),
        ("umax_num", [a, b]) if ty.is_integer() => return Some(pick(dag, CmpOp::Ge, *a, *b, ty)),
        _ => {}
    }
    if !function.portable {
        return None;
    }
    Some(match (name.as_str(), args) {
        ("non_temporal", [a]) => *a,
        ("if", [c, x, y]) => {
            let c = truth(dag, *c);
            let (x, y) = (dag.cast(*x, ty), dag.cast(*y, ty));
            dag.select(c, x, y)
        }
        ("umin" | "llmin" | "ullmin" | "lmin", [a, b]) => pick(dag, CmpOp::Le, *a, *b, ty),
        ("umax" | "llmax" | "ullmax" | "lmax", [a, b]) => pick(dag, CmpOp::Ge, *a, *b, ty),
        ("eq", [a, b]) => flag(dag, CmpOp::Eq, *a, *b, ty),
        ("geq", [a, b]) => flag(dag, CmpOp::Ge, *a, *b, ty),
        ("leq", [a, b]) => flag(dag, CmpOp::Le, *a, *b, ty),
        ("ge", [a, b]) => flag(dag, CmpOp::Gt, *a, *b, ty),
        ("le", [a, b]) => flag(dag, CmpOp::Lt, *a, *b, ty),
        // The first argument is the high word.
        ("pack", [high, low]) => {
            let high = dag.cast(*high, Type::Ullong);
            let low = dag.cast(*low, Type::Ullong);
            let high = with_constant(dag, BinaryOp::Shl, high, 32, Type::Ullong);
            dag.node(Op::Binary(BinaryOp::BitOr, high, low), Type::Ullong)
        }
        // 32.32 fixed point, the high word seconds.
        ("timestamptosec", [t]) => {
            let seconds = with_constant(dag, BinaryOp::Shr, *t, 32, Type::Ullong);
            dag.cast(seconds, ty)
        }
        ("timestamptomsec", [t]) => {
            let seconds = with_constant(dag, BinaryOp::Shr, *t, 32, Type::Ullong);
            let whole = with_constant(dag, BinaryOp::Mul, seconds, 1000, Type::Ullong);
            let low = with_constant(dag, BinaryOp::BitAnd, *t, 0xffff_ffff, Type::Ullong);
            let scaled = with_constant(dag, BinaryOp::Mul, low, 1000, Type::Ullong);
            let part = with_constant(dag, BinaryOp::Shr, scaled, 32, Type::Ullong);
            let sum = dag.node(Op::Binary(BinaryOp::Add, whole, part), Type::Ullong);
            dag.cast(sum, ty)
        }
        ("endian_swap_ui", [x]) => swap_bytes(dag, *x),
        _ => return None,
    })
}

fn with_constant(dag: &mut Dag, op: BinaryOp, a: NodeId, k: u64, ty: Type) -> NodeId {
    let k = dag.uint(k, ty);
    dag.node(Op::Binary(op, a, k), ty)
}

/// The first argument where the comparison holds, else the second.
fn pick(dag: &mut Dag, op: CmpOp, a: NodeId, b: NodeId, ty: Type) -> NodeId {
    let first = dag.node(Op::Compare(op, a, b), Type::Bool);
    let (a, b) = (dag.cast(a, ty), dag.cast(b, ty));
    dag.select(first, a, b)
}

/// 1 where the comparison holds, else 0.
fn flag(dag: &mut Dag, op: CmpOp, a: NodeId, b: NodeId, ty: Type) -> NodeId {
    let holds = dag.node(Op::Compare(op, a, b), Type::Bool);
    let (one, zero) = (dag.constant(Value::Uint(1), ty), dag.constant(Value::Uint(0), ty));
    dag.select(holds, one, zero)
}

fn swap_bytes(dag: &mut Dag, x: NodeId) -> NodeId {
    let mut swapped = dag.uint(0, Type::Uint);
    for byte in 0..4u64 {
        let down = with_constant(dag, BinaryOp::Shr, x, 8 * byte, Type::Uint);
        let one = with_constant(dag, BinaryOp::BitAnd, down, 0xff, Type::Uint);
        let up = with_constant(dag, BinaryOp::Shl, one, 24 - 8 * byte, Type::Uint);
        swapped = dag.node(Op::Binary(BinaryOp::BitOr, swapped, up), Type::Uint);
    }
    swapped
}
