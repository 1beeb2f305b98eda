//! The aggregates that every backend has: COUNT, SUM, MIN, MAX and the bitwise ones (gsql.md §11). Each is its own
//! sub- and superaggregate, COUNT excepted, whose partial counts are summed.
//!
//! Sums and counts wrap modulo the width of the result type. An aggregate over nothing is its [`empty`] value.

use std::cmp::Ordering;
use std::net::Ipv4Addr;

use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;

/// Longest string that MIN, MAX, `first` and `last` keep, bytes: a longer one is cut to it.
pub const KEPT_BYTES_MAX: usize = 64 << 10;

/// The state after the first tuple of a group. `arg` is `None` for COUNT only.
pub fn init(kind: AggKind, ty: Type, arg: Option<&Value>) -> Value {
    match (kind, arg) {
        (AggKind::Count, _) => wrap(ty, 1),
        (_, Some(arg)) => convert(ty, arg),
        (_, None) => empty(kind, ty),
    }
}

/// The value over no tuples: 0 for counts and sums, else the default of the type.
pub fn empty(kind: AggKind, ty: Type) -> Value {
    match kind {
        AggKind::Count => wrap(ty, 0),
        _ => Value::default_of(ty),
    }
}

/// Takes one more tuple into a state made by [`init`].
pub fn update(kind: AggKind, state: &mut Value, ty: Type, arg: Option<&Value>) {
    match (kind, arg) {
        (AggKind::Count, _) => add(state, ty, &Value::Uint(1)),
        (_, Some(arg)) => fold(kind, state, ty, arg),
        (_, None) => {}
    }
}

/// Takes the state of a partial group into another of the same kind.
pub fn merge(kind: AggKind, state: &mut Value, ty: Type, other: &Value) {
    match kind {
        AggKind::Count => add(state, ty, other),
        _ => fold(kind, state, ty, other),
    }
}

fn fold(kind: AggKind, state: &mut Value, ty: Type, arg: &Value) {
    match kind {
        AggKind::Count | AggKind::Sum => add(state, ty, arg),
        AggKind::Min => keep(state, ty, arg, Ordering::Less),
        AggKind::Max => keep(state, ty, arg, Ordering::Greater),
        AggKind::BitAnd => bits(state, ty, arg, |a, b| a & b),
        AggKind::BitOr => bits(state, ty, arg, |a, b| a | b),
        AggKind::BitXor => bits(state, ty, arg, |a, b| a ^ b),
    }
}

fn add(state: &mut Value, ty: Type, arg: &Value) {
    if ty == Type::Float {
        let sum = state.as_f64().unwrap_or(0.0) + arg.as_f64().unwrap_or(0.0);
        *state = Value::Float(sum);
        return;
    }
    // Two 64-bit values cannot overflow 128 bits; `wrap` then keeps the low bits of the type.
    let sum = state.as_i128().unwrap_or(0) + arg.as_i128().unwrap_or(0);
    *state = wrap(ty, sum);
}

/// Replaces the state when the operand compares as `wanted` to it. NaN never replaces a number and always gives way.
fn keep(state: &mut Value, ty: Type, arg: &Value, wanted: Ordering) {
    let state_is_nan = matches!(state, Value::Float(f) if f.is_nan());
    if state_is_nan || arg.compare(state) == Some(wanted) {
        *state = convert(ty, arg);
    }
}

fn bits(state: &mut Value, ty: Type, arg: &Value, op: fn(u64, u64) -> u64) {
    let (Some(a), Some(b)) = (state.as_u64(), arg.as_u64()) else { return };
    *state = wrap(ty, i128::from(op(a, b)));
}

/// The operand in the representation of the result type; what is not a number keeps its own.
pub(super) fn convert(ty: Type, arg: &Value) -> Value {
    match arg {
        Value::Float(_) if ty == Type::Float => arg.clone(),
        Value::Bool(_) | Value::Uint(_) | Value::Int(_) => match arg.as_i128() {
            Some(i) => wrap(ty, i),
            None => arg.clone(),
        },
        Value::Bytes(bytes) if bytes.len() > KEPT_BYTES_MAX => {
            Value::bytes(&bytes[..KEPT_BYTES_MAX])
        }
        _ => arg.clone(),
    }
}

/// The low bits of an integer as a value of the type; types that are not integers take the nearest meaning.
pub(super) fn wrap(ty: Type, i: i128) -> Value {
    match ty {
        Type::Bool => Value::Bool(i & 1 != 0),
        Type::Ushort => Value::Uint(u64::from(i as u16)),
        Type::Uint => Value::Uint(u64::from(i as u32)),
        Type::Int => Value::Int(i64::from(i as i32)),
        Type::Llong => Value::Int(i as i64),
        Type::Float => Value::Float(i as f64),
        Type::Ip => Value::Ip(Ipv4Addr::from(i as u32)),
        Type::TimeVal => Value::TimeVal(i as u64),
        Type::Time => Value::Time(i as u64),
        Type::Duration => Value::Duration(i as i64),
        Type::Mac => {
            let b = (i as u64).to_be_bytes();
            Value::Mac([b[2], b[3], b[4], b[5], b[6], b[7]])
        }
        Type::Ullong | Type::Ipv6 | Type::Inet | Type::Prefix | Type::String | Type::Bytes => {
            Value::Uint(i as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(kind: AggKind, ty: Type, args: &[Value]) -> Value {
        let mut args = args.iter();
        let mut state = init(kind, ty, args.next());
        for arg in args {
            update(kind, &mut state, ty, Some(arg));
        }
        state
    }

    #[test]
    fn sums_wrap_at_the_width_of_the_type() {
        let u = |v| Value::Uint(v);
        assert_eq!(run(AggKind::Sum, Type::Uint, &[u(u32::MAX.into()), u(2)]), u(1));
        assert_eq!(run(AggKind::Sum, Type::Ullong, &[u(u64::MAX), u(2)]), u(1));
        assert_eq!(run(AggKind::Sum, Type::Ullong, &[u(u32::MAX.into()), u(2)]), u(1 << 32 | 1));
        let i = |v| Value::Int(v);
        assert_eq!(run(AggKind::Sum, Type::Int, &[i(i32::MAX.into()), i(1)]), i(i32::MIN.into()));
        assert_eq!(run(AggKind::Sum, Type::Llong, &[i(i64::MIN), i(-1)]), i(i64::MAX));
        assert_eq!(run(AggKind::Sum, Type::Llong, &[i(-5), i(3)]), i(-2));
    }

    #[test]
    fn sum_of_bools_counts_the_true_ones() {
        let b = Value::Bool;
        assert_eq!(run(AggKind::Sum, Type::Ullong, &[b(true), b(false), b(true)]), Value::Uint(2));
    }

    #[test]
    fn sum_of_floats() {
        let f = Value::Float;
        assert_eq!(run(AggKind::Sum, Type::Float, &[f(0.5), f(1.25)]), f(1.75));
    }

    #[test]
    fn extremes_compare_as_the_language_does() {
        let s = |t: &str| Value::bytes(t);
        assert_eq!(run(AggKind::Min, Type::String, &[s("b"), s("ab"), s("a")]), s("a"));
        assert_eq!(run(AggKind::Max, Type::String, &[s("b"), s("ba"), s("a")]), s("ba"));
        let i = Value::Int;
        assert_eq!(run(AggKind::Min, Type::Int, &[i(3), i(-1), i(2)]), i(-1));
        assert_eq!(
            run(AggKind::Max, Type::Ullong, &[Value::Uint(1), Value::Uint(u64::MAX)]),
            Value::Uint(u64::MAX)
        );
        let ip = |t: &str| Value::Inet(t.parse().unwrap());
        assert_eq!(run(AggKind::Min, Type::Inet, &[ip("::1"), ip("9.9.9.9")]), ip("9.9.9.9"));
    }

    #[test]
    fn nan_gives_way_to_numbers() {
        let f = Value::Float;
        assert_eq!(run(AggKind::Min, Type::Float, &[f(f64::NAN), f(2.0), f(f64::NAN)]), f(2.0));
        assert_eq!(run(AggKind::Max, Type::Float, &[f(2.0), f(f64::NAN), f(3.0)]), f(3.0));
    }

    #[test]
    fn bitwise_aggregates() {
        let u = Value::Uint;
        assert_eq!(run(AggKind::BitAnd, Type::Uint, &[u(0b1110), u(0b0111)]), u(0b0110));
        assert_eq!(run(AggKind::BitOr, Type::Uint, &[u(0b1000), u(0b0001)]), u(0b1001));
        assert_eq!(run(AggKind::BitXor, Type::Uint, &[u(0b1100), u(0b1010)]), u(0b0110));
        let b = Value::Bool;
        assert_eq!(run(AggKind::BitOr, Type::Bool, &[b(false), b(true)]), b(true));
        assert_eq!(
            run(AggKind::BitAnd, Type::Int, &[Value::Int(-1), Value::Int(-8)]),
            Value::Int(-8)
        );
    }

    #[test]
    fn over_nothing() {
        assert_eq!(empty(AggKind::Count, Type::Ullong), Value::Uint(0));
        assert_eq!(empty(AggKind::Sum, Type::Llong), Value::Int(0));
        assert_eq!(empty(AggKind::Min, Type::Float), Value::Float(0.0));
        assert_eq!(empty(AggKind::Max, Type::String), Value::bytes(""));
    }

    const KINDS: [AggKind; 7] = [
        AggKind::Count,
        AggKind::Sum,
        AggKind::Min,
        AggKind::Max,
        AggKind::BitAnd,
        AggKind::BitOr,
        AggKind::BitXor,
    ];

    proptest! {
        #[test]
        fn merging_partials_equals_one_pass(
            a in prop::collection::vec(any::<u64>(), 1..20),
            b in prop::collection::vec(any::<u64>(), 1..20),
            wide in any::<bool>(),
        ) {
            let ty = if wide { Type::Ullong } else { Type::Uint };
            let mask = if wide { u64::MAX } else { u64::from(u32::MAX) };
            let a: Vec<_> = a.into_iter().map(|v| Value::Uint(v & mask)).collect();
            let b: Vec<_> = b.into_iter().map(|v| Value::Uint(v & mask)).collect();
            let all: Vec<_> = a.iter().chain(&b).cloned().collect();
            for kind in KINDS {
                let mut state = run(kind, ty, &a);
                merge(kind, &mut state, ty, &run(kind, ty, &b));
                prop_assert_eq!(state, run(kind, ty, &all));
            }
        }
    }
}
