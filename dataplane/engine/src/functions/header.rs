//! Functions that the protocol declarations call: options of a TCP header, the Internet checksum.

use wt_catalog::Value;

use super::args::{bytes, uint};
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "tcp_option_uint" => tcp_option_uint,
        "tcp_option_present" => tcp_option_present,
        "inet_checksum" => |args, _| Some(Value::Uint(inet_checksum(bytes(args, 0)?).into())),
        _ => return None,
    })
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

/// The content of the first option of `kind`, after its kind and length bytes; `None` when there is none, or when an
/// option before it is malformed (RFC 9293 §3.2).
fn tcp_option(options: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match *rest {
            [] | [END_OF_OPTIONS, ..] => return None,
            [NO_OPERATION, ref tail @ ..] => rest = tail,
            [found, length, ..] => {
                let length = usize::from(length);
                let option = rest.get(..length)?;
                let content = option.get(2..)?;
                if found == kind {
                    return Some(content);
                }
                rest = rest.get(length..)?;
            }
            [_] => return None,
        }
    }
}

/// (options, kind): whether the option is there.
fn tcp_option_present(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let options = bytes(args, 0)?;
    let kind = u8::try_from(uint(args, 1)?).ok();
    Some(Value::Bool(kind.is_some_and(|kind| tcp_option(options, kind).is_some())))
}

/// (options, kind, offset, width): `width` bytes (1 to 8) at `offset` of the option's content, most significant first.
/// Fails when they are not there.
fn tcp_option_uint(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let kind = u8::try_from(uint(args, 1)?).ok()?;
    let from = usize::try_from(uint(args, 2)?).ok()?;
    let width = usize::try_from(uint(args, 3)?).ok()?;
    let content = tcp_option(bytes(args, 0)?, kind)?;
    if !(1..=8).contains(&width) {
        return None;
    }
    let field = content.get(from..from.checked_add(width)?)?;
    Some(Value::Uint(field.iter().fold(0, |value, &b| value << 8 | u64::from(b))))
}

/// The Internet checksum (RFC 1071): the complement of the one's complement sum of 16-bit words, an odd last byte
/// followed by zero. 0 over a header that carries its correct checksum.
pub(super) fn inet_checksum(bytes: &[u8]) -> u16 {
    let (words, last) = bytes.as_chunks::<2>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    if let [byte] = last {
        sum += u64::from(*byte) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
