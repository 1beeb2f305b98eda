//! Numbers and addresses read from text, and lists in text (gsql.md §20.3).

use std::net::Ipv4Addr;

use memchr::memchr;
use wt_catalog::Value;

use super::args::{bytes, index};
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "strtoi" => |args, _| Some(Value::Uint(first_uint(bytes(args, 0)?)?.into())),
        "strtoip" => |args, _| Some(Value::Ip(first_ip(bytes(args, 0)?)?)),
        "strtoi_c" | "strtoip_c" => constant,
        "to_llong" => |args, _| Some(Value::Int(leading_llong(bytes(args, 0)?))),
        "get_list_entry" => list_entry,
        "sum_uint_in_list" => sum_list,
        _ => return None,
    })
}

/// What `strtoi_c` and `strtoip_c` register: the number or address, 0 when there is none.
pub(super) fn constant_of(symbol: &str, text: &[u8]) -> Value {
    match symbol {
        "strtoip_c" => Value::Ip(first_ip(text).unwrap_or(Ipv4Addr::UNSPECIFIED)),
        _ => Value::Uint(first_uint(text).unwrap_or(0).into()),
    }
}

fn constant(_: &[Value], handle: Option<&Handle>) -> Option<Value> {
    match handle? {
        Handle::Constant(value) => Some(value.clone()),
        _ => None,
    }
}

/// The first run of digits; none, or a number beyond 32 bits, fails.
fn first_uint(text: &[u8]) -> Option<u32> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let digits = text[start..].iter().take_while(|b| b.is_ascii_digit());
    digits
        .into_iter()
        .try_fold(0u32, |value, b| value.checked_mul(10)?.checked_add(u32::from(b - b'0')))
}

/// The dotted quad that starts at the first digit; anything else there fails.
fn first_ip(text: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = &text[text.iter().position(u8::is_ascii_digit)?..];
    let mut octets = [0u8; 4];
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        *octet = rest[..digits]
            .iter()
            .try_fold(0u8, |value, b| value.checked_mul(10)?.checked_add(b - b'0'))?;
        rest = &rest[digits..];
    }
    Some(Ipv4Addr::from(octets))
}

/// As C's `strtoll`: white space, a sign, digits; saturates at the ends of the type; 0 without digits.
fn leading_llong(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut value = 0i64;
    for b in digits.iter().take_while(|b| b.is_ascii_digit()) {
        let digit = i64::from(b - b'0');
        value = value.saturating_mul(10);
        value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    value
}

/// Piece `i`, from 0, of a list separated by the first byte of `sep`: (list, sep, i). `''` when there is none. Without a
/// separator the whole list is piece 0.
fn list_entry(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let list = bytes(args, 0)?;
    let wanted = index(args, 2)?;
    let piece = match bytes(args, 1)?.first() {
        Some(&separator) => list.split(|&b| b == separator).nth(wanted),
        None => (wanted == 0).then_some(list),
    };
    Some(Value::bytes(piece.unwrap_or(b"")))
}

/// The sum of the decimals in a separated list: (list, sep). A piece counts as its leading digits; without any, as 0. Wraps.
fn sum_list(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let mut rest = bytes(args, 0)?;
    let separator = bytes(args, 1)?.first().copied();
    let mut sum = 0i64;
    loop {
        let end = separator.and_then(|s| memchr(s, rest));
        let piece = &rest[..end.unwrap_or(rest.len())];
        let number = piece
            .trim_ascii_start()
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .fold(0i64, |n, b| n.wrapping_mul(10).wrapping_add(i64::from(b - b'0')));
        sum = sum.wrapping_add(number);
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return Some(Value::Int(sum)),
        }
    }
}
