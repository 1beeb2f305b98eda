//! Values from text: string literals that stand for addresses and times, and parameters given on the command line.

use std::net::IpAddr;

use wt_lang::ast::{ExprKind, Literal};

use crate::arith;
use crate::types::Type;
use crate::value::Value;

/// Longest text that is read as a number, address or time; longer ones are none.
const TEXT_BYTES_MAX: usize = 64;

/// The value of a type that a text denotes, written as in a query without the literal's prefix and quotes: `10.0.0.1`,
/// `2001:db8::/32`, `02:00:00:00:00:01`, `2026-01-31T12:00:00Z`, `-5`, `1.5`, `10s`, `TRUE`. A bare address is a
/// PREFIX of full length; host bits of a PREFIX are cleared. `None` when it denotes none.
pub fn parse_as(text: &str, ty: Type) -> Option<Value> {
    if let Type::String | Type::Bytes = ty {
        return Some(Value::bytes(text));
    }
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains('\'') {
        return None;
    }
    match ty {
        Type::Bool if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        Type::Bool if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        Type::Ushort => number(text).filter(|&n| n <= 0xffff).map(Value::Uint),
        Type::Uint => number(text).filter(|&n| n <= 0xffff_ffff).map(Value::Uint),
        Type::Ullong => number(text).map(Value::Uint),
        Type::Int => i32::try_from(signed(text)?).ok().map(|n| Value::Int(i64::from(n))),
        Type::Llong => i64::try_from(signed(text)?).ok().map(Value::Int),
        // `inf` and `nan` are words of Rust's parser, not of the language.
        Type::Float if text.ends_with(|c: char| c.is_ascii_digit() || c == '.') => {
            text.parse().ok().map(Value::Float)
        }
        Type::Ip => text.parse().ok().map(Value::Ip),
        Type::Ipv6 => ipv6(text).map(Value::Ipv6),
        Type::Inet => inet(text).map(Value::Inet),
        Type::Prefix => prefix(text),
        Type::Mac => mac(text).map(Value::Mac),
        Type::TimeVal => match literal(&format!("TIMEVAL'{text}'"))? {
            Literal::TimeVal { seconds, millis } => {
                Some(Value::TimeVal(u64::from(seconds) * 1000 + u64::from(millis)))
            }
            _ => None,
        },
        Type::Time => match literal(&format!("TIME'{text}'"))? {
            Literal::Time(ns) => Some(Value::Time(ns)),
            _ => None,
        },
        Type::Duration => {
            let (sign, magnitude) = match text.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text),
            };
            match literal(magnitude)? {
                Literal::Duration(ns) => {
                    i64::try_from(sign * i128::from(ns)).ok().map(Value::Duration)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The value of a literal with its type. Literals of the language have one type each.
pub fn literal_value(literal: &Literal) -> (Value, Type) {
    match literal {
        Literal::Uint(n) | Literal::Hex(n) => (Value::Uint(u64::from(*n)), Type::Uint),
        Literal::Ullong(n) | Literal::LongHex(n) => (Value::Uint(*n), Type::Ullong),
        Literal::Float(f) => (Value::Float(*f), Type::Float),
        Literal::Bool(b) => (Value::Bool(*b), Type::Bool),
        Literal::String(s) => (Value::bytes(s), Type::String),
        Literal::Bytes(b) => (Value::bytes(b), Type::Bytes),
        Literal::Ip(a) => (Value::Ip(*a), Type::Ip),
        Literal::Ipv6(a) => (Value::Ipv6(*a), Type::Ipv6),
        Literal::TimeVal { seconds, millis } => {
            (Value::TimeVal(u64::from(*seconds) * 1000 + u64::from(*millis)), Type::TimeVal)
        }
        Literal::Time(ns) => (Value::Time(*ns), Type::Time),
        // The lexer admits up to 584 years, a DURATION holds 292.
        Literal::Duration(ns) => {
            (Value::Duration(i64::try_from(*ns).unwrap_or(i64::MAX)), Type::Duration)
        }
    }
}

fn literal(text: &str) -> Option<Literal> {
    let parsed = wt_lang::parse_expr(text);
    match parsed.tree?.kind {
        ExprKind::Literal(literal) if parsed.diagnostics.is_empty() => Some(literal),
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(hex, 16).ok()
        }
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn signed(text: &str) -> Option<i128> {
    match text.strip_prefix('-') {
        Some(magnitude) => number(magnitude).map(|n| -i128::from(n)),
        None => number(text).map(i128::from),
    }
}

fn ipv6(text: &str) -> Option<std::net::Ipv6Addr> {
    text.parse().ok().or_else(|| match literal(&format!("IPV6_VAL'{text}'"))? {
        Literal::Ipv6(a) => Some(a),
        _ => None,
    })
}

fn inet(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| ipv6(text).map(IpAddr::V6))
}

fn prefix(text: &str) -> Option<Value> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (inet(address)?, Some(len)),
        None => (inet(text)?, None),
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let len = match len {
        Some(len) => u8::try_from(number(len).filter(|_| !len.starts_with("0x"))?).ok()?,
        None => bits,
    };
    Some(Value::Prefix(arith::network(address, len)?, len))
}

/// `02:00:00:00:00:01`, `02-00-00-00-00-01`, `0200.0000.0001`.
fn mac(text: &str) -> Option<[u8; 6]> {
    let digits = |parts: &[&str], len: usize| {
        let well_formed =
            parts.iter().all(|p| p.len() == len && p.bytes().all(|b| b.is_ascii_hexdigit()));
        well_formed.then(|| parts.concat())
    };
    let groups: Vec<&str> = text.split([':', '-', '.']).collect();
    let separators: Vec<char> = text.chars().filter(|c| !c.is_ascii_hexdigit()).collect();
    let hex = match (groups.len(), separators.first()) {
        (6, Some(&(':' | '-'))) => digits(&groups, 2)?,
        (3, Some('.')) => digits(&groups, 4)?,
        _ => return None,
    };
    if separators.iter().any(|c| Some(c) != separators.first()) {
        return None;
    }
    let bits = u64::from_str_radix(&hex, 16).ok()?;
    bits.to_be_bytes().last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn addresses_and_prefixes() {
        let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        assert_eq!(parse_as("10.0.0.1", Type::Inet), Some(Value::Inet(v4(10, 0, 0, 1))));
        assert_eq!(
            parse_as("2001:db8::1", Type::Inet),
            Some(Value::Inet("2001:db8::1".parse().unwrap()))
        );
        assert_eq!(parse_as("10.0.0.1", Type::Ipv6), None);
        assert_eq!(
            parse_as("2001.db8.0.0.0.0.0.1", Type::Ipv6),
            Some(Value::Ipv6("2001:db8::1".parse().unwrap()))
        );
        assert_eq!(parse_as("10.1.2.3/8", Type::Prefix), Some(Value::Prefix(v4(10, 0, 0, 0), 8)));
        assert_eq!(parse_as("10.1.2.3", Type::Prefix), Some(Value::Prefix(v4(10, 1, 2, 3), 32)));
        assert_eq!(parse_as("10.0.0.0/33", Type::Prefix), None);
        assert_eq!(parse_as("10.0.0.0/", Type::Prefix), None);
        assert_eq!(parse_as("::/0", Type::Prefix), Some(Value::Prefix("::".parse().unwrap(), 0)));
        for bad in ["", "10.0.0", "10.0.0.256", "10.0.0.1'", "host"] {
            assert_eq!(parse_as(bad, Type::Inet), None, "{bad}");
        }
    }

    #[test]
    fn macs() {
        let one = Some(Value::Mac([2, 0, 0, 0, 0, 1]));
        for text in ["02:00:00:00:00:01", "02-00-00-00-00-01", "0200.0000.0001"] {
            assert_eq!(parse_as(text, Type::Mac), one, "{text}");
        }
        for bad in ["02:00:00:00:00", "02:00:00:00:00:001", "02:00-00:00:00:01", "020000000001"] {
            assert_eq!(parse_as(bad, Type::Mac), None, "{bad}");
        }
    }

    #[test]
    fn numbers_times_and_durations() {
        assert_eq!(parse_as("0x10", Type::Uint), Some(Value::Uint(16)));
        assert_eq!(parse_as("4294967296", Type::Uint), None);
        assert_eq!(parse_as("-5", Type::Int), Some(Value::Int(-5)));
        assert_eq!(parse_as("-5", Type::Uint), None);
        assert_eq!(parse_as("-9223372036854775808", Type::Llong), Some(Value::Int(i64::MIN)));
        assert_eq!(parse_as("1e3", Type::Float), Some(Value::Float(1000.0)));
        assert_eq!(parse_as("nan", Type::Float), None);
        assert_eq!(parse_as("true", Type::Bool), Some(Value::Bool(true)));
        assert_eq!(parse_as("1", Type::Bool), None);
        assert_eq!(parse_as("1970-01-01T00:00:01Z", Type::Time), Some(Value::Time(1_000_000_000)));
        assert_eq!(parse_as("-5ms", Type::Duration), Some(Value::Duration(-5_000_000)));
        assert_eq!(parse_as("5", Type::Duration), None);
        assert_eq!(parse_as("5.250", Type::TimeVal), Some(Value::TimeVal(5250)));
        assert_eq!(parse_as("any text", Type::String), Some(Value::bytes("any text")));
    }
}
