//! What keeps a node off the network card: the values and operators that programs next to the driver do not have.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, UnaryOp};

use crate::ir::{Exprs, NodeId, Op};

/// Most members of a list that is compared one by one.
pub const PORTABLE_MEMBERS_MAX: usize = 64;

/// Why a node needs the host, its operands apart; nothing when it is portable. The reason is a phrase that follows "host only:".
pub fn reason(exprs: &Exprs, op: &Op, ty: Type) -> Option<String> {
    use Type::{Bool, Duration, Inet, Ip, Ipv6, Llong, Time, Ullong};
    let of = |id: NodeId| exprs.nodes[id.0 as usize].ty;
    match *op {
        Op::Call { ref symbol, .. } => Some(format!("calls `{symbol}`")),
        Op::Slice { .. } => Some("reads a run of bytes".into()),
        Op::Meta(Meta::Interface) => Some("the name of the interface".into()),
        _ if !is_held(ty) => Some(format!("a value of type {ty}")),
        Op::Unary(op, a) => {
            let from = of(a);
            let fits = match op {
                UnaryOp::Not => from == Bool || from.is_integer(),
                UnaryOp::BitNot => from == Ip || from.is_integer(),
                UnaryOp::Neg | UnaryOp::Plus => from == Duration || from.is_integer(),
            };
            (!fits).then(|| format!("an operator on a value of type {from}"))
        }
        Op::Binary(op, a, b) => binary(exprs, op, (a, b), ty),
        Op::Compare(_, a, b) => compare(exprs, a, b),
        Op::In(a, ref members) if members.len() > PORTABLE_MEMBERS_MAX => {
            // All packets there begin with an Ethernet header, so that lists of link types are no work.
            if matches!(exprs.nodes[a.0 as usize].op, Op::Meta(Meta::LinkType)) {
                return None;
            }
            Some(format!("a list of more than {PORTABLE_MEMBERS_MAX} members"))
        }
        Op::In(a, _) => {
            let from = of(a);
            let fits = from.is_address() || is_number(from);
            (!fits).then(|| format!("membership of a value of type {from}"))
        }
        Op::Cast(a) => {
            let from = of(a);
            let fits = match (from, ty) {
                _ if from == ty => true,
                (Ip | Ipv6, Inet) | (Inet, Ip | Ipv6) | (Time, Ullong) | (Duration, Llong) => true,
                (_, Bool) => is_number(from),
                (_, Time | Ip) => from.is_integer() && !from.is_signed(),
                (_, Duration) => from.is_integer() && from.is_signed(),
                _ => ty.is_integer() && (is_number(from) || from == Ip),
            };
            (!fits).then(|| format!("a conversion of {from} to {ty}"))
        }
        _ => None,
    }
}

/// Types that are words there.
fn is_held(ty: Type) -> bool {
    !matches!(ty, Type::Float | Type::Prefix | Type::String | Type::Bytes)
}

fn is_number(ty: Type) -> bool {
    ty.is_integer() || ty == Type::Bool
}

fn constant(exprs: &Exprs, id: NodeId) -> Option<&Value> {
    match &exprs.nodes[id.0 as usize].op {
        Op::Const(value) => Some(value),
        _ => None,
    }
}

fn binary(exprs: &Exprs, op: BinaryOp, (a, b): (NodeId, NodeId), to: Type) -> Option<String> {
    use Type::{Bool, Duration, Inet, Ip, Time};
    let types = (exprs.nodes[a.0 as usize].ty, exprs.nodes[b.0 as usize].ty);
    let is_mask = matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr);
    let fits = match types {
        (Time | Duration, _) | (_, Time | Duration) => match op {
            BinaryOp::Add => {
                matches!(types, (Time, Duration) | (Duration, Time) | (Duration, Duration))
            }
            BinaryOp::Sub => {
                matches!(types, (Time, Duration) | (Time, Time) | (Duration, Duration))
            }
            BinaryOp::Div => types == (Time, Duration),
            _ => false,
        },
        (Bool, Bool) if to == Bool => is_mask,
        (Ip, other) if other == Ip || other.is_integer() => is_mask && to == Ip,
        (Inet, other) => is_mask && (other == Ip || other.is_integer()),
        (a, b) => is_number(a) && is_number(b) && to.is_integer(),
    };
    let is_division = matches!(op, BinaryOp::Div | BinaryOp::Rem);
    if !fits {
        Some(format!("an operator on {} and {}", types.0, types.1))
    } else if is_division && to.is_signed() && to.is_integer() && constant(exprs, b).is_none() {
        Some("a signed division by a variable".into())
    } else {
        None
    }
}

fn compare(exprs: &Exprs, a: NodeId, b: NodeId) -> Option<String> {
    use Type::{Bool, Duration, Inet, Ip, Ipv6, Mac, Time, TimeVal, Uint, Ushort};
    let types = (exprs.nodes[a.0 as usize].ty, exprs.nodes[b.0 as usize].ty);
    let is_wide = |ty: Type| matches!(ty, Ipv6 | Inet);
    let is_word = |ty: Type| is_number(ty) || matches!(ty, Bool | Ip | TimeVal | Time | Duration);
    let fits = if is_wide(types.0) || is_wide(types.1) {
        types.0.is_address() && types.1.is_address()
    } else {
        types == (Mac, Mac) || is_word(types.0) && is_word(types.1)
    };
    if !fits {
        return Some(format!("a comparison of {} and {}", types.0, types.1));
    }
    if types.0.is_signed() == types.1.is_signed() {
        return None;
    }
    // An unsigned number of at most 32 bits is its own signed word; so is a constant below 2^63.
    let (unsigned, ty) = if types.0.is_signed() { (b, types.1) } else { (a, types.0) };
    let is_narrow = matches!(ty, Bool | Ushort | Uint | Ip);
    let value = constant(exprs, unsigned).and_then(Value::as_i128);
    let is_signed_too = is_narrow || value.is_some_and(|i| i <= i128::from(i64::MAX));
    (!is_signed_too).then(|| "a comparison of 64-bit numbers with and without sign".into())
}
