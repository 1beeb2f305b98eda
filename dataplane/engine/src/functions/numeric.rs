//! Integer helpers of the catalogue (gsql.md §20.3): pairwise extremes, tests that give 1 or 0, IF, PACK, time stamps.

use std::cmp::Ordering;

use wt_catalog::{Type, Value, arith};

use super::args::{integer, uint};
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "EQ" | "EQ_any" => |args, _| test(args, |o| o == Ordering::Equal),
        "GEQ" | "GEQ_any" => |args, _| test(args, |o| o != Ordering::Less),
        "LEQ" | "LEQ_any" => |args, _| test(args, |o| o != Ordering::Greater),
        "GE" | "GE_any" => |args, _| test(args, |o| o == Ordering::Greater),
        "LE" | "LE_any" => |args, _| test(args, |o| o == Ordering::Less),
        "IF" | "IF_number" => choose,
        "PACK" => pack,
        "TIMESTAMPTOSEC" => |args, _| Some(Value::Uint(uint(args, 0)? >> 32)),
        "TIMESTAMPTOMSEC" => milliseconds,
        "endian_swap_ui" => {
            |args, _| Some(Value::Uint((uint(args, 0)? as u32).swap_bytes().into()))
        }
        "non_temporal" => |args, _| args.first().cloned(),
        // Of integers of different types no call remains: `umin_num` has a double.
        "umin_uint" | "umin_ip" | "umin_inet" | "umin_num" => {
            |args, _| extreme(args, Ordering::Less)
        }
        "umax_uint" | "umax_ip" | "umax_inet" | "umax_num" => {
            |args, _| extreme(args, Ordering::Greater)
        }
        "llmin" | "ullmin" => |args, _| arith::cast(&extreme(args, Ordering::Less)?, Type::Ullong),
        "llmax" | "ullmax" => {
            |args, _| arith::cast(&extreme(args, Ordering::Greater)?, Type::Ullong)
        }
        "lmin" => |args, _| arith::cast(&extreme(args, Ordering::Less)?, Type::Llong),
        "lmax" => |args, _| arith::cast(&extreme(args, Ordering::Greater)?, Type::Llong),
        "fmin" => |args, _| arith::cast(&extreme(args, Ordering::Less)?, Type::Float),
        "fmax" => |args, _| arith::cast(&extreme(args, Ordering::Greater)?, Type::Float),
        _ => return None,
    })
}

/// 1 when the two compare as asked, else 0; NaN compares with nothing.
fn test(args: &[Value], holds: fn(Ordering) -> bool) -> Option<Value> {
    let order = args.first()?.compare(args.get(1)?);
    Some(Value::Uint(order.is_some_and(holds).into()))
}

/// (c, x, y): x when c is not zero, else y.
fn choose(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let condition = integer(args, 0)? != 0;
    args.get(if condition { 1 } else { 2 }).cloned()
}

/// The first in the high word, the second in the low one.
fn pack(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let (high, low) = (uint(args, 0)? as u32, uint(args, 1)? as u32);
    Some(Value::Uint(u64::from(high) << 32 | u64::from(low)))
}

/// Milliseconds of a 32.32 fixed-point time stamp, modulo 2^32.
fn milliseconds(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let ticks = u128::from(uint(args, 0)?);
    Some(Value::Uint(((ticks * 1000) >> 32) as u32 as u64))
}

/// The lesser or greater of two; a double as soon as one is; NaN gives way.
fn extreme(args: &[Value], wanted: Ordering) -> Option<Value> {
    let (a, b) = (args.first()?, args.get(1)?);
    if matches!((a, b), (Value::Float(_), _) | (_, Value::Float(_))) {
        let (a, b) = (a.as_f64()?, b.as_f64()?);
        let value = if wanted == Ordering::Less { a.min(b) } else { a.max(b) };
        return Some(Value::Float(value));
    }
    Some(if b.compare(a)? == wanted { b.clone() } else { a.clone() })
}
