//! What operators and casts compute: *the* definition, used by constant folding and the reference interpreter.
//!
//! Integers wrap modulo 2^width; `/` truncates toward zero and `INT_MIN / -1` is `INT_MIN`; `%` has the sign of the
//! dividend; a shift count outside `0..width-1` gives 0 (sign fill for signed `>>`); division and modulus by zero
//! *fail* (`None`), which rejects the tuple as a partial function does (gsql.md §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use crate::types::Type;
use crate::value::Value;

/// An integer pattern as a value of an integer type, modulo its width.
fn wrap(bits: u64, ty: Type) -> Option<Value> {
    Some(match ty {
        Type::Ushort => Value::Uint(bits & 0xffff),
        Type::Uint => Value::Uint(bits & 0xffff_ffff),
        Type::Ullong => Value::Uint(bits),
        Type::Int => Value::Int(i64::from(bits as u32 as i32)),
        Type::Llong => Value::Int(bits as i64),
        _ => return None,
    })
}

/// `lhs op rhs`, where `result` is what [`crate::promote::binary_type`] gives. `None`: the expression fails (division by
/// zero, a mask of the other address family), or the operands are not of types that the operator takes.
pub fn binary(op: BinaryOp, lhs: &Value, rhs: &Value, result: Type) -> Option<Value> {
    use Value::*;
    match (lhs, rhs) {
        (Time(_) | Duration(_), _) | (_, Time(_) | Duration(_)) => time_binary(op, lhs, rhs),
        (Bool(a), Bool(b)) => match op {
            BinaryOp::BitAnd => Some(Bool(a & b)),
            BinaryOp::BitOr => Some(Bool(a | b)),
            _ => None,
        },
        (Ip(_) | Ipv6(_) | Inet(_), _) | (_, Ip(_) | Ipv6(_) | Inet(_)) => {
            mask(op, lhs, rhs, result)
        }
        _ if result == Type::Float => float_binary(op, lhs.as_f64()?, rhs.as_f64()?),
        _ => integer_binary(op, lhs.as_u64()?, rhs, result),
    }
}

fn float_binary(op: BinaryOp, a: f64, b: f64) -> Option<Value> {
    match op {
        BinaryOp::Add => Some(Value::Float(a + b)),
        BinaryOp::Sub => Some(Value::Float(a - b)),
        BinaryOp::Mul => Some(Value::Float(a * b)),
        BinaryOp::Div => Some(Value::Float(a / b)),
        _ => None,
    }
}

fn integer_binary(op: BinaryOp, lhs: u64, rhs: &Value, result: Type) -> Option<Value> {
    if !result.is_integer() {
        return None;
    }
    // Both operands become the result type first, as promotion says; sign extension makes 64-bit arithmetic exact.
    let a = wrap(lhs, result)?.as_u64()?;
    let b = wrap(rhs.as_u64()?, result)?.as_u64()?;
    let signed = result.is_signed();
    let bits = match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div | BinaryOp::Rem if b == 0 => return None,
        BinaryOp::Div if signed => (a as i64).wrapping_div(b as i64) as u64,
        BinaryOp::Div => a / b,
        BinaryOp::Rem if signed => (a as i64).wrapping_rem(b as i64) as u64,
        BinaryOp::Rem => a % b,
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::Shl | BinaryOp::Shr => shift(op, a, rhs.as_i128()?, result),
    };
    wrap(bits, result)
}

/// `a` is of the result type and sign-extended; `count` is the mathematical value.
fn shift(op: BinaryOp, a: u64, count: i128, result: Type) -> u64 {
    let width = result.bits().unwrap_or(64);
    let count = u32::try_from(count).ok().filter(|&c| c < width);
    match (op, count) {
        (BinaryOp::Shl, Some(c)) => a << c,
        (BinaryOp::Shl, None) => 0,
        (_, Some(c)) if result.is_signed() => ((a as i64) >> c) as u64,
        (_, Some(c)) => a >> c,
        (_, None) if result.is_signed() && (a as i64) < 0 => u64::MAX,
        (_, None) => 0,
    }
}

fn mask(op: BinaryOp, lhs: &Value, rhs: &Value, result: Type) -> Option<Value> {
    // An integer beside an address is an IPv4 mask.
    let address = |v: &Value| match v {
        Value::Uint(_) | Value::Int(_) => Some(IpAddr::V4(Ipv4Addr::from(v.as_u64()? as u32))),
        v => v.as_addr(),
    };
    let masked = match (address(lhs)?, address(rhs)?) {
        (IpAddr::V4(a), IpAddr::V4(b)) => IpAddr::V4(match op {
            BinaryOp::BitAnd => a & b,
            BinaryOp::BitOr => a | b,
            _ => return None,
        }),
        (IpAddr::V6(a), IpAddr::V6(b)) => IpAddr::V6(match op {
            BinaryOp::BitAnd => a & b,
            BinaryOp::BitOr => a | b,
            _ => return None,
        }),
        _ => return None,
    };
    match (result, masked) {
        (Type::Inet, a) => Some(Value::Inet(a)),
        (Type::Ip, IpAddr::V4(a)) => Some(Value::Ip(a)),
        (Type::Ipv6, IpAddr::V6(a)) => Some(Value::Ipv6(a)),
        _ => None,
    }
}

fn time_binary(op: BinaryOp, lhs: &Value, rhs: &Value) -> Option<Value> {
    use BinaryOp::*;
    use Value::{Duration, Int, Time, Uint};
    match (op, lhs, rhs) {
        (Add, &Time(t), &Duration(d)) | (Add, &Duration(d), &Time(t)) => {
            Some(Time(t.wrapping_add_signed(d)))
        }
        (Sub, &Time(t), &Duration(d)) => Some(Time(t.wrapping_sub(d as u64))),
        (Sub, &Time(a), &Time(b)) => Some(Duration(a.wrapping_sub(b) as i64)),
        // A bucket of negative width has no number.
        (Div, &Time(t), &Duration(d)) => Some(Uint(t / u64::try_from(d).ok().filter(|&d| d != 0)?)),
        (Rem, &Time(t), &Duration(d)) => {
            i64::try_from(t % Some(d.unsigned_abs()).filter(|&d| d != 0)?).ok().map(Duration)
        }
        (Add, &Duration(a), &Duration(b)) => Some(Duration(a.wrapping_add(b))),
        (Sub, &Duration(a), &Duration(b)) => Some(Duration(a.wrapping_sub(b))),
        (Div | Rem, &Duration(_), &(Duration(0) | Int(0) | Uint(0))) => None,
        (Div, &Duration(a), &Duration(b)) => Some(Int(a.wrapping_div(b))),
        (Rem, &Duration(a), &Duration(b)) => Some(Duration(a.wrapping_rem(b))),
        (Mul, &Duration(d), n @ (Int(_) | Uint(_)))
        | (Mul, n @ (Int(_) | Uint(_)), &Duration(d)) => {
            Some(Duration(d.wrapping_mul(n.as_u64()? as i64)))
        }
        (Div, &Duration(d), &Int(n)) => Some(Duration(d.wrapping_div(n))),
        // A divisor beyond the signed range is larger than every duration but the least.
        (Div, &Duration(d), &Uint(n)) => {
            i64::try_from(i128::from(d) / i128::from(n)).ok().map(Duration)
        }
        _ => None,
    }
}

/// A prefix operator, where `result` is what [`crate::promote::unary_type`] gives.
pub fn unary(op: UnaryOp, operand: &Value, result: Type) -> Option<Value> {
    match (op, operand) {
        (UnaryOp::Plus, v @ (Value::Float(_) | Value::Duration(_))) => Some(v.clone()),
        (UnaryOp::Neg, Value::Float(f)) => Some(Value::Float(-f)),
        (UnaryOp::Neg, Value::Duration(d)) => Some(Value::Duration(d.wrapping_neg())),
        (UnaryOp::Not, Value::Bool(b)) => Some(Value::Bool(!b)),
        (UnaryOp::BitNot, Value::Ip(a)) => Some(Value::Ip(Ipv4Addr::from(!u32::from(*a)))),
        (_, Value::Uint(_) | Value::Int(_)) => {
            let bits = wrap(operand.as_u64()?, result)?.as_u64()?;
            wrap(
                match op {
                    UnaryOp::Plus => bits,
                    UnaryOp::Neg => bits.wrapping_neg(),
                    UnaryOp::Not => u64::from(bits == 0),
                    UnaryOp::BitNot => !bits,
                },
                result,
            )
        }
        _ => None,
    }
}

/// `lhs op rhs` for comparable values: mathematical for numbers, and FALSE beside NaN except for `<>`.
pub fn compare(op: CmpOp, lhs: &Value, rhs: &Value) -> bool {
    use std::cmp::Ordering::*;
    match (op, lhs.compare(rhs)) {
        (CmpOp::Ne, order) => order != Some(Equal),
        (_, None) => false,
        (CmpOp::Eq, Some(order)) => order == Equal,
        (CmpOp::Lt, Some(order)) => order == Less,
        (CmpOp::Le, Some(order)) => order != Greater,
        (CmpOp::Gt, Some(order)) => order == Greater,
        (CmpOp::Ge, Some(order)) => order != Less,
    }
}

/// A value as another type. Integers wrap modulo the width; floats truncate and saturate, NaN becomes 0; IP is its
/// 32 bits; TIME and DURATION are their nanoseconds; an INET becomes IP or IPV6 only of that family. `None` where the
/// types have no conversion.
pub fn cast(value: &Value, to: Type) -> Option<Value> {
    use Value::*;
    match (value, to) {
        (&Float(f), t) if t.is_integer() => Some(saturate(f, t)),
        (_, Type::Float) => match value {
            Bool(_) | Uint(_) | Int(_) | Float(_) => value.as_f64().map(Float),
            _ => None,
        },
        (Bool(_) | Uint(_) | Int(_) | Ip(_), t) if t.is_integer() => wrap(value.as_u64()?, t),
        (&Time(ns), Type::Ullong) => Some(Uint(ns)),
        (&Duration(ns), Type::Llong) => Some(Int(ns)),
        (&Uint(n), Type::Time) => Some(Time(n)),
        (&Int(n), Type::Duration) => Some(Duration(n)),
        (&Uint(n), Type::Ip) => Some(Ip(Ipv4Addr::from(n as u32))),
        (&Uint(n), Type::Bool) => Some(Bool(n != 0)),
        (&Int(n), Type::Bool) => Some(Bool(n != 0)),
        (Bool(_), Type::Bool)
        | (Ip(_), Type::Ip)
        | (Ipv6(_), Type::Ipv6)
        | (Inet(_), Type::Inet)
        | (Prefix(..), Type::Prefix)
        | (Mac(_), Type::Mac)
        | (Bytes(_), Type::String | Type::Bytes)
        | (TimeVal(_), Type::TimeVal)
        | (Time(_), Type::Time)
        | (Duration(_), Type::Duration) => Some(value.clone()),
        (&Ip(a), Type::Inet) => Some(Inet(IpAddr::V4(a))),
        (&Ipv6(a), Type::Inet) => Some(Inet(IpAddr::V6(a))),
        (&Inet(IpAddr::V4(a)), Type::Ip) => Some(Ip(a)),
        (&Inet(IpAddr::V6(a)), Type::Ipv6) => Some(Ipv6(a)),
        _ => None,
    }
}

/// Truncation toward zero into an integer type; NaN is 0, the infinities are the ends of the range.
fn saturate(f: f64, to: Type) -> Value {
    // Rust's `as` does exactly this for the 64-bit types.
    match to {
        Type::Ushort => Value::Uint(u64::from(f as u16)),
        Type::Uint => Value::Uint(u64::from(f as u32)),
        Type::Int => Value::Int(i64::from(f as i32)),
        Type::Llong => Value::Int(f as i64),
        _ => Value::Uint(f as u64),
    }
}

/// The network that `address` lies in: host bits beyond `len` cleared. `None` when the family has no such length.
pub fn network(address: IpAddr, len: u8) -> Option<IpAddr> {
    let len = u32::from(len);
    match address {
        IpAddr::V4(a) if len <= 32 => {
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            Some(IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask)))
        }
        IpAddr::V6(a) if len <= 128 => {
            let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Bool, Bytes, Duration, Float, Inet, Int, Ip, Ipv6, Time, Uint};

    #[test]
    fn integers_wrap_at_their_width() {
        use BinaryOp::*;
        let all = [
            (Sub, Uint(3), Uint(5), Type::Uint, Some(Uint(4_294_967_294))),
            (Sub, Uint(3), Uint(5), Type::Llong, Some(Int(-2))),
            (Add, Uint(65_535), Uint(1), Type::Ushort, Some(Uint(0))),
            (Mul, Int(65_536), Int(65_536), Type::Int, Some(Int(0))),
            (Add, Int(i64::from(i32::MAX)), Int(1), Type::Int, Some(Int(i64::from(i32::MIN)))),
            (Add, Uint(u64::MAX), Uint(2), Type::Ullong, Some(Uint(1))),
            (Div, Int(i64::from(i32::MIN)), Int(-1), Type::Int, Some(Int(i64::from(i32::MIN)))),
            (Div, Int(i64::MIN), Int(-1), Type::Llong, Some(Int(i64::MIN))),
            (Rem, Int(i64::MIN), Int(-1), Type::Llong, Some(Int(0))),
            (Div, Int(-7), Int(2), Type::Int, Some(Int(-3))),
            (Rem, Int(-7), Int(2), Type::Int, Some(Int(-1))),
            (Rem, Int(7), Int(-2), Type::Int, Some(Int(1))),
            // An int beside a uint becomes a uint before it is divided.
            (Div, Int(-8), Uint(2), Type::Uint, Some(Uint(2_147_483_644))),
            (Div, Uint(1), Uint(0), Type::Uint, None),
            (Rem, Int(1), Int(0), Type::Int, None),
            (BitAnd, Uint(0xff0), Uint(0x0ff), Type::Uint, Some(Uint(0x0f0))),
            (BitOr, Int(-1), Uint(0), Type::Uint, Some(Uint(0xffff_ffff))),
        ];
        for (op, lhs, rhs, ty, expected) in all {
            assert_eq!(binary(op, &lhs, &rhs, ty), expected, "{lhs:?} {op:?} {rhs:?}");
        }
    }

    #[test]
    fn shifts_out_of_range_give_zero_or_sign() {
        use BinaryOp::{Shl, Shr};
        let all = [
            (Shl, Uint(1), Uint(31), Type::Uint, Uint(1 << 31)),
            (Shl, Uint(1), Uint(32), Type::Uint, Uint(0)),
            (Shl, Uint(1), Int(-1), Type::Uint, Uint(0)),
            (Shr, Uint(0x8000_0000), Uint(31), Type::Uint, Uint(1)),
            (Shr, Uint(0x8000_0000), Uint(32), Type::Uint, Uint(0)),
            (Shr, Int(-8), Int(1), Type::Int, Int(-4)),
            (Shr, Int(-8), Int(32), Type::Int, Int(-1)),
            (Shr, Int(-8), Int(-1), Type::Int, Int(-1)),
            (Shr, Int(8), Int(99), Type::Int, Int(0)),
            (Shl, Int(1), Int(31), Type::Int, Int(i64::from(i32::MIN))),
            (Shl, Uint(1), Uint(63), Type::Ullong, Uint(1 << 63)),
            (Shl, Uint(1), Uint(1 << 32), Type::Ullong, Uint(0)),
        ];
        for (op, lhs, rhs, ty, expected) in all {
            assert_eq!(binary(op, &lhs, &rhs, ty), Some(expected), "{lhs:?} {op:?} {rhs:?}");
        }
    }

    #[test]
    fn floats_are_ieee() {
        let div = |a, b| binary(BinaryOp::Div, &a, &b, Type::Float);
        assert_eq!(div(Float(1.0), Uint(0)), Some(Float(f64::INFINITY)));
        assert_eq!(div(Int(-1), Float(2.0)), Some(Float(-0.5)));
        assert_eq!(binary(BinaryOp::Rem, &Float(1.0), &Float(1.0), Type::Float), None);
        let nan = Float(f64::NAN);
        assert!(compare(CmpOp::Ne, &nan, &nan));
        for op in [CmpOp::Eq, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge] {
            assert!(!compare(op, &nan, &Float(0.0)));
        }
        assert!(compare(CmpOp::Lt, &Int(-1), &Uint(1)));
        assert!(compare(CmpOp::Lt, &Int(-1), &Uint(u64::MAX)));
    }

    #[test]
    fn durations_and_buckets() {
        const S: i64 = 1_000_000_000;
        let t = Time(90 * S as u64 + 5);
        let minute = Duration(60 * S);
        let on = |op, a: &Value, b: &Value, ty| binary(op, a, b, ty);
        assert_eq!(on(BinaryOp::Div, &t, &minute, Type::Ullong), Some(Uint(1)));
        assert_eq!(on(BinaryOp::Rem, &t, &minute, Type::Duration), Some(Duration(30 * S + 5)));
        assert_eq!(on(BinaryOp::Div, &t, &Duration(0), Type::Ullong), None);
        assert_eq!(on(BinaryOp::Div, &t, &Duration(-1), Type::Ullong), None);
        assert_eq!(on(BinaryOp::Sub, &Time(5), &Time(7), Type::Duration), Some(Duration(-2)));
        assert_eq!(on(BinaryOp::Add, &Time(5), &Duration(-2), Type::Time), Some(Time(3)));
        assert_eq!(on(BinaryOp::Sub, &Time(5), &Duration(2), Type::Time), Some(Time(3)));
        assert_eq!(on(BinaryOp::Mul, &Int(-2), &minute, Type::Duration), Some(Duration(-120 * S)));
        assert_eq!(on(BinaryOp::Div, &minute, &Duration(S), Type::Llong), Some(Int(60)));
        assert_eq!(on(BinaryOp::Div, &minute, &Uint(0), Type::Duration), None);
        assert_eq!(on(BinaryOp::Div, &minute, &Uint(u64::MAX), Type::Duration), Some(Duration(0)));
        assert_eq!(
            on(BinaryOp::Div, &Duration(i64::MIN), &Int(-1), Type::Duration),
            Some(Duration(i64::MIN))
        );
    }

    #[test]
    fn masks_keep_the_family() {
        let v4 = |s: &str| s.parse::<Ipv4Addr>().unwrap();
        let and = |a: &Value, b: &Value, ty| binary(BinaryOp::BitAnd, a, b, ty);
        let host = Inet(IpAddr::V4(v4("10.1.2.3")));
        let mask = Ip(v4("255.255.0.0"));
        assert_eq!(and(&host, &mask, Type::Inet), Some(Inet(IpAddr::V4(v4("10.1.0.0")))));
        let six = Inet("2001:db8::1".parse().unwrap());
        assert_eq!(and(&six, &mask, Type::Inet), None);
        let bits = Uint(0xff00_0000);
        assert_eq!(and(&Ip(v4("10.1.2.3")), &bits, Type::Ip), Some(Ip(v4("10.0.0.0"))));
        assert_eq!(and(&Bool(true), &Bool(false), Type::Bool), Some(Bool(false)));
        assert_eq!(unary(UnaryOp::BitNot, &mask, Type::Ip), Some(Ip(v4("0.0.255.255"))));
    }

    #[test]
    fn prefix_operators() {
        assert_eq!(unary(UnaryOp::Neg, &Uint(1), Type::Int), Some(Int(-1)));
        assert_eq!(unary(UnaryOp::Neg, &Int(i64::MIN), Type::Llong), Some(Int(i64::MIN)));
        assert_eq!(unary(UnaryOp::BitNot, &Uint(0), Type::Ushort), Some(Uint(0xffff)));
        assert_eq!(unary(UnaryOp::Not, &Uint(7), Type::Uint), Some(Uint(0)));
        assert_eq!(unary(UnaryOp::Not, &Bool(false), Type::Bool), Some(Bool(true)));
        assert_eq!(unary(UnaryOp::Neg, &Bytes([].into()), Type::Int), None);
    }

    #[test]
    fn casts_truncate_and_saturate() {
        let all = [
            (Float(-1.9), Type::Int, Some(Int(-1))),
            (Float(1e30), Type::Uint, Some(Uint(0xffff_ffff))),
            (Float(-1e30), Type::Ullong, Some(Uint(0))),
            (Float(-1e30), Type::Llong, Some(Int(i64::MIN))),
            (Float(f64::NAN), Type::Int, Some(Int(0))),
            (Float(70_000.0), Type::Ushort, Some(Uint(65_535))),
            (Int(-1), Type::Uint, Some(Uint(0xffff_ffff))),
            (Uint(1 << 40), Type::Uint, Some(Uint(0))),
            (Uint(0xffff_ffff), Type::Int, Some(Int(-1))),
            (Ip(Ipv4Addr::new(0, 0, 1, 0)), Type::Uint, Some(Uint(256))),
            (Ip(Ipv4Addr::LOCALHOST), Type::Inet, Some(Inet(Ipv4Addr::LOCALHOST.into()))),
            (Inet(Ipv4Addr::LOCALHOST.into()), Type::Ipv6, None),
            (Ipv6(Ipv6Addr::LOCALHOST), Type::Inet, Some(Inet(Ipv6Addr::LOCALHOST.into()))),
            (Bool(true), Type::Uint, Some(Uint(1))),
            (Bytes([1u8].as_slice().into()), Type::Uint, None),
            (Time(7), Type::Ullong, Some(Uint(7))),
            (Uint(3), Type::Float, Some(Float(3.0))),
        ];
        for (value, ty, expected) in all {
            assert_eq!(cast(&value, ty), expected, "{value:?} as {ty}");
        }
    }

    #[test]
    fn networks() {
        let v4 = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(network(v4, 8), Some("10.0.0.0".parse().unwrap()));
        assert_eq!(network(v4, 0), Some("0.0.0.0".parse().unwrap()));
        assert_eq!(network(v4, 33), None);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(network(v6, 32), Some("2001:db8::".parse().unwrap()));
        assert_eq!(network(v6, 0), Some("::".parse().unwrap()));
    }
}
