//! Columns of a result in Postgres: their types, and values in the format of binary COPY.
//!
//! | GSQL | Postgres | |
//! |---|---|---|
//! | bool | boolean | |
//! | ushort, int | integer | |
//! | uint, llong | bigint | |
//! | ullong | numeric(20,0) | goes beyond bigint |
//! | float | double precision | |
//! | IP, IPV6, INET | inet | |
//! | PREFIX | cidr | |
//! | MAC | macaddr | |
//! | string | text | bytes that are no printable text as `\xNN`, as in every text format |
//! | BYTES | bytea | |
//! | timeval, TIME | timestamptz | to the microsecond |
//! | DURATION | interval | to the microsecond |

use std::fmt::Write;
use std::net::IpAddr;

use wt_catalog::{Type, Value};
use wt_plan::physical::{ColumnInfo, Schema};

/// Microseconds from 1970 to 2000, where Postgres counts from.
const EPOCH_2000_US: i64 = 946_684_800_000_000;
/// Address families in Postgres's own numbering.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// The SQL type of a GSQL type.
pub const fn sql_type(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "boolean",
        Type::Ushort | Type::Int => "integer",
        Type::Uint | Type::Llong => "bigint",
        Type::Ullong => "numeric(20,0)",
        Type::Float => "double precision",
        Type::Ip | Type::Ipv6 | Type::Inet => "inet",
        Type::Prefix => "cidr",
        Type::Mac => "macaddr",
        Type::String => "text",
        Type::Bytes => "bytea",
        Type::TimeVal | Type::Time => "timestamptz",
        Type::Duration => "interval",
    }
}

/// The name of a column: Postgres folds what is not quoted, so `srcIP` becomes `srcip` and needs no quotes.
pub fn column_name(column: &ColumnInfo) -> String {
    column.name.to_lowercase()
}

/// The column list as `res.define` takes it.
pub fn definition(schema: &Schema) -> serde_json::Value {
    let column =
        |c: &ColumnInfo| serde_json::json!({ "name": column_name(c), "type": sql_type(c.ty) });
    schema.columns.iter().map(column).collect()
}

/// The column whose time a row belongs to: the first TIME or timeval that is ordered.
pub fn time_column(schema: &Schema) -> Option<usize> {
    schema.columns.iter().position(|c| {
        matches!(c.ty, Type::Time | Type::TimeVal) && (c.window || c.ordering.is_temporal())
    })
}

/// The column that says how much of its window was seen: `window_completeness()`, under its own name or as `completeness`.
pub fn completeness_column(schema: &Schema) -> Option<usize> {
    let named = |name: &str| matches!(name, "completeness" | "window_completeness");
    schema.columns.iter().position(|c| c.ty == Type::Float && named(&column_name(c)))
}

/// Microseconds since 1970 of a time value.
pub fn time_us(value: &Value) -> Option<i64> {
    match *value {
        Value::Time(ns) => i64::try_from(ns / 1_000).ok(),
        Value::TimeVal(ms) => i64::try_from(ms).ok()?.checked_mul(1_000),
        _ => None,
    }
}

/// What begins a binary COPY.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends it.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Appends one field: its length, then its bytes.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // A row is built of packets, which are far below 2 GiB.
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a text field.
pub fn text(out: &mut Vec<u8>, text: &str) {
    field(out, text.as_bytes());
}

/// Appends a bigint field.
pub fn bigint(out: &mut Vec<u8>, value: i64) {
    field(out, &value.to_be_bytes());
}

/// Appends a timestamptz field.
pub fn timestamp(out: &mut Vec<u8>, us: i64) {
    bigint(out, us.saturating_sub(EPOCH_2000_US));
}

/// Appends the value of a column.
pub fn value(out: &mut Vec<u8>, value: &Value, ty: Type, scratch: &mut String) {
    match (value, ty) {
        (Value::Bool(b), _) => field(out, &[u8::from(*b)]),
        (Value::Uint(u), Type::Ullong) => numeric(out, *u),
        (Value::Uint(u), Type::Ushort) => field(out, &(*u as i32).to_be_bytes()),
        (Value::Uint(u), _) => bigint(out, *u as i64),
        (Value::Int(i), Type::Int) => field(out, &(*i as i32).to_be_bytes()),
        (Value::Int(i), _) => bigint(out, *i),
        (Value::Float(f), _) => field(out, &f.to_be_bytes()),
        (Value::Ip(a), _) => address(out, IpAddr::V4(*a), None),
        (Value::Ipv6(a), _) => address(out, IpAddr::V6(*a), None),
        (Value::Inet(a), _) => address(out, *a, None),
        (Value::Prefix(a, bits), _) => address(out, *a, Some(*bits)),
        (Value::Mac(mac), _) => field(out, mac),
        (Value::Bytes(bytes), Type::Bytes) => field(out, bytes),
        (Value::Bytes(_), _) => {
            scratch.clear();
            let _ = write!(scratch, "{}", wt_catalog::display::show(value, ty));
            text(out, scratch);
        }
        (Value::TimeVal(_) | Value::Time(_), _) => {
            timestamp(out, time_us(value).unwrap_or(i64::MAX));
        }
        (Value::Duration(ns), _) => {
            // Microseconds, then days and months, which a duration has none of.
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(ns / 1_000).to_be_bytes());
            field(out, &bytes);
        }
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr, prefix: Option<u8>) {
    let cidr = u8::from(prefix.is_some());
    match address {
        IpAddr::V4(a) => {
            out.extend_from_slice(&8_i32.to_be_bytes());
            out.extend_from_slice(&[FAMILY_V4, prefix.unwrap_or(32), cidr, 4]);
            out.extend_from_slice(&a.octets());
        }
        IpAddr::V6(a) => {
            out.extend_from_slice(&20_i32.to_be_bytes());
            out.extend_from_slice(&[FAMILY_V6, prefix.unwrap_or(128), cidr, 16]);
            out.extend_from_slice(&a.octets());
        }
    }
}

/// A non-negative integer as numeric: its digits to the base 10,000, the first with its weight.
fn numeric(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u16; 5];
    let mut from = digits.len();
    while value > 0 {
        from -= 1;
        digits[from] = (value % 10_000) as u16;
        value /= 10_000;
    }
    let weight = (digits.len() - from) as i16 - 1;
    let mut digits = &digits[from..];
    // Zeros at the end are implied by the weight.
    while let [rest @ .., 0] = digits {
        digits = rest;
    }
    out.extend_from_slice(&(8 + 2 * digits.len() as i32).to_be_bytes());
    for part in [digits.len() as i16, weight.max(0), 0, 0] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_of(value: u64) -> (i16, Vec<u16>) {
        let mut out = Vec::new();
        numeric(&mut out, value);
        let word = |i: usize| u16::from_be_bytes([out[i], out[i + 1]]);
        assert_eq!(out.len() as i32 - 4, i32::from_be_bytes([out[0], out[1], out[2], out[3]]));
        let n = usize::from(word(4));
        (word(6) as i16, (0..n).map(|i| word(12 + 2 * i)).collect())
    }

    #[test]
    fn numerics_are_digits_with_a_weight() {
        assert_eq!(numeric_of(0), (0, vec![]));
        assert_eq!(numeric_of(7), (0, vec![7]));
        assert_eq!(numeric_of(10_000), (1, vec![1]));
        assert_eq!(numeric_of(120_003_456), (2, vec![1, 2000, 3456]));
        assert_eq!(numeric_of(u64::MAX), (4, vec![1844, 6744, 737, 955, 1615]));
    }

    #[test]
    fn every_type_has_a_column_type() {
        for ty in Type::ALL {
            assert!(!sql_type(ty).is_empty());
        }
    }
}
