//! The canonical text of values, as tables, csv and messages show them.

use std::fmt::{self, Display, Formatter, Write};

use crate::types::Type;
use crate::value::Value;

/// A value with its type, shown canonically:
///
/// | type | text |
/// |---|---|
/// | bool | `TRUE`, `FALSE` |
/// | integers | decimal |
/// | float | shortest text that reads back as the same double |
/// | IP, IPV6, INET | dotted; RFC 5952 |
/// | PREFIX | `10.0.0.0/8` |
/// | MAC | `02:00:00:00:00:01` |
/// | string | as is; bytes that are not printable UTF-8 as `\xNN` |
/// | BYTES | lower-case hex |
/// | timeval | seconds, dot, three digits |
/// | TIME | RFC 3339 in UTC with nine digits of fraction |
/// | DURATION | exact, in the largest unit of s, ms, us, ns not above it: `1.5s`, `20ms`, `-17ns` |
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    value: &'a Value,
    ty: Type,
}

/// See [`Shown`].
pub fn show(value: &Value, ty: Type) -> Shown<'_> {
    Shown { value, ty }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Bool(b) => f.write_str(if *b { "TRUE" } else { "FALSE" }),
            Value::Uint(u) => write!(f, "{u}"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Ip(a) => write!(f, "{a}"),
            Value::Ipv6(a) => write!(f, "{a}"),
            Value::Inet(a) => write!(f, "{a}"),
            Value::Prefix(a, len) => write!(f, "{a}/{len}"),
            Value::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Value::Bytes(bytes) if self.ty == Type::Bytes => {
                bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
            Value::Bytes(bytes) => write_text(bytes, f),
            Value::TimeVal(ms) => write!(f, "{}.{:03}", ms / 1000, ms % 1000),
            Value::Time(ns) => write_time(*ns, f),
            Value::Duration(ns) => write_duration(*ns, f),
        }
    }
}

/// Bytes as text: printable UTF-8 as is, every other byte as `\xNN`. Control characters and those that reorder or hide
/// text on a terminal are not printable.
pub fn write_text(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_unprintable) {
            let (plain, tail) = rest.split_at(at);
            out.write_str(plain)?;
            let width = tail.chars().next().map_or(1, char::len_utf8);
            let (escaped, after) = tail.split_at(width);
            escaped.bytes().try_for_each(|b| write!(out, "\\x{b:02x}"))?;
            rest = after;
        }
        out.write_str(rest)?;
        chunk.invalid().iter().try_for_each(|b| write!(out, "\\x{b:02x}"))?;
    }
    Ok(())
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn write_time(ns: u64, out: &mut impl Write) -> fmt::Result {
    // The front end's printer leaves out trailing zeros; columns of times are easier to compare with all nine.
    let whole = wt_lang::format_time(ns - ns % 1_000_000_000);
    write!(out, "{}.{:09}Z", whole.trim_end_matches('Z'), ns % 1_000_000_000)
}

fn write_duration(ns: i64, out: &mut impl Write) -> fmt::Result {
    let magnitude = ns.unsigned_abs();
    let (unit, name, digits) = match magnitude {
        0 => (1_000_000_000, "s", 9),
        1..1_000 => (1, "ns", 0),
        1_000..1_000_000 => (1_000, "us", 3),
        1_000_000..1_000_000_000 => (1_000_000, "ms", 6),
        _ => (1_000_000_000, "s", 9),
    };
    if ns < 0 {
        out.write_char('-')?;
    }
    write!(out, "{}", magnitude / unit)?;
    if !magnitude.is_multiple_of(unit) {
        let fraction = format!("{:0digits$}", magnitude % unit);
        write!(out, ".{}", fraction.trim_end_matches('0'))?;
    }
    out.write_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Value, ty: Type) -> String {
        show(&value, ty).to_string()
    }

    #[test]
    fn canonical_texts() {
        let all = [
            (Value::Bool(true), Type::Bool, "TRUE"),
            (Value::Uint(u64::MAX), Type::Ullong, "18446744073709551615"),
            (Value::Int(-1), Type::Int, "-1"),
            (Value::Float(0.1), Type::Float, "0.1"),
            (Value::Float(35.0), Type::Float, "35.0"),
            (Value::Float(1e300), Type::Float, "1e300"),
            (Value::Float(f64::NAN), Type::Float, "NaN"),
            (Value::Ip([10, 0, 0, 1].into()), Type::Ip, "10.0.0.1"),
            (Value::Inet("2001:DB8:0:0:0:0:0:1".parse().unwrap()), Type::Inet, "2001:db8::1"),
            (Value::Ipv6("1:0:0:2:0:0:0:3".parse().unwrap()), Type::Ipv6, "1:0:0:2::3"),
            (Value::Prefix("10.0.0.0".parse().unwrap(), 8), Type::Prefix, "10.0.0.0/8"),
            (Value::Mac([2, 0, 0, 0, 0, 0xa1]), Type::Mac, "02:00:00:00:00:a1"),
            (Value::bytes(b"\xde\xad"), Type::Bytes, "dead"),
            (Value::TimeVal(5007), Type::TimeVal, "5.007"),
            (Value::Time(1_769_860_800_000_000_000), Type::Time, "2026-01-31T12:00:00.000000000Z"),
            (Value::Time(1), Type::Time, "1970-01-01T00:00:00.000000001Z"),
            (Value::Duration(1_500_000_000), Type::Duration, "1.5s"),
            (Value::Duration(20_000_000), Type::Duration, "20ms"),
            (Value::Duration(-17), Type::Duration, "-17ns"),
            (Value::Duration(1_000_001), Type::Duration, "1.000001ms"),
            (Value::Duration(0), Type::Duration, "0s"),
            (Value::Duration(90_000_000_000), Type::Duration, "90s"),
            (Value::Duration(i64::MIN), Type::Duration, "-9223372036.854775808s"),
        ];
        for (value, ty, expected) in all {
            assert_eq!(text(value, ty), expected);
        }
    }

    #[test]
    fn strings_show_unprintable_bytes() {
        let all: [(&[u8], &str); 5] = [
            (b"plain text", "plain text"),
            ("gr\u{fc}n \u{1f310}".as_bytes(), "gr\u{fc}n \u{1f310}"),
            (b"a\r\n\0b", "a\\x0d\\x0a\\x00b"),
            (b"\xff\xfe ok \xc3", "\\xff\\xfe ok \\xc3"),
            ("x\u{202e}y".as_bytes(), "x\\xe2\\x80\\xaey"),
        ];
        for (bytes, expected) in all {
            assert_eq!(text(Value::bytes(bytes), Type::String), expected);
        }
    }
}
