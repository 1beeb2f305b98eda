//! String and BYTES functions (gsql.md §20.3). Strings are bytes: lengths, offsets and comparisons count bytes, and NUL is
//! a byte like others.

use memchr::memmem;
use wt_catalog::Value;

use super::args::{bytes, index, offset, uint};
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "str_exists_substr" => |args, _| Some(Value::Bool(exists_substr(args)?)),
        "str_exists_substr_uint" => |args, _| Some(Value::Uint(exists_substr(args)?.into())),
        "str_compare" => |args, _| Some(Value::Bool(equal(args)?)),
        "str_compare_uint" => |args, _| Some(Value::Uint(equal(args)?.into())),
        "str_match_offset" => |args, _| Some(Value::Bool(match_offset(args)?)),
        "str_match_offset_uint" => |args, _| Some(Value::Uint(match_offset(args)?.into())),
        "str_match_start" => {
            |args, _| Some(Value::Bool(bytes(args, 0)?.starts_with(bytes(args, 1)?)))
        }
        "str_match_start_uint" => {
            |args, _| Some(Value::Uint(bytes(args, 0)?.starts_with(bytes(args, 1)?).into()))
        }
        "byte_match_offset" => |args, _| Some(Value::Bool(byte_offset(args)?)),
        "byte_match_offset_uint" => |args, _| Some(Value::Uint(byte_offset(args)?.into())),
        "byte_match_reverse_offset" => |args, _| Some(Value::Bool(byte_reverse_offset(args)?)),
        "byte_match_reverse_offset_uint" => {
            |args, _| Some(Value::Uint(byte_reverse_offset(args)?.into()))
        }
        "net_word_match_offset" => |args, _| Some(Value::Bool(word(args, u32::from_be_bytes)?)),
        "net_word_match_offset_uint" => {
            |args, _| Some(Value::Uint(word(args, u32::from_be_bytes)?.into()))
        }
        "little_endian_word_match_offset" => {
            |args, _| Some(Value::Bool(word(args, u32::from_le_bytes)?))
        }
        "little_endian_word_match_offset_uint" => {
            |args, _| Some(Value::Uint(word(args, u32::from_le_bytes)?.into()))
        }
        "str_like" => |args, _| Some(Value::Bool(like(args)?)),
        "str_truncate" => truncate,
        "str_suffix" => suffix,
        "get_suffix" => suffix_from,
        "get_int" => |args, _| Some(Value::Uint(word_from(args)?.into())),
        "get_bool" => |args, _| Some(Value::Bool(word_from(args)? != 0)),
        "STRID" => string_id,
        "to_hex_string" => to_hex,
        "string_hash" => |args, _| Some(Value::Uint(fnv1a_32(bytes(args, 0)?).into())),
        "string_hash_long" => |args, _| Some(Value::Uint(fnv1a_64(bytes(args, 0)?))),
        "str_length" => |args, _| Some(Value::Uint(bytes(args, 0)?.len() as u64)),
        _ => return None,
    })
}

/// `t` occurs in `s`: (s, t).
fn exists_substr(args: &[Value]) -> Option<bool> {
    Some(memmem::find(bytes(args, 0)?, bytes(args, 1)?).is_some())
}

fn equal(args: &[Value]) -> Option<bool> {
    Some(bytes(args, 0)? == bytes(args, 1)?)
}

/// `s` has `pat` at offset `o`: (o, pat, s).
fn match_offset(args: &[Value]) -> Option<bool> {
    let rest = bytes(args, 2)?.get(index(args, 0)?..);
    let pattern = bytes(args, 1)?;
    Some(rest.is_some_and(|rest| rest.starts_with(pattern)))
}

/// Byte `o` of `s` is `b`: (o, b, s).
fn byte_offset(args: &[Value]) -> Option<bool> {
    let byte = bytes(args, 2)?.get(index(args, 0)?).copied();
    Some(byte.is_some_and(|b| Some(u64::from(b)) == uint(args, 1)))
}

/// Byte `o` from the end, the last being 1, is `b`: (o, b, s).
fn byte_reverse_offset(args: &[Value]) -> Option<bool> {
    let subject = bytes(args, 2)?;
    let at = subject.len().checked_sub(index(args, 0)?);
    let byte = at.and_then(|at| subject.get(at)).copied();
    Some(byte.is_some_and(|b| Some(u64::from(b)) == uint(args, 1)))
}

/// The 32-bit word at `o` is `w`: (o, w, s).
fn word(args: &[Value], read: fn([u8; 4]) -> u32) -> Option<bool> {
    let wanted = uint(args, 1)?;
    let word = word_at(bytes(args, 2)?, index(args, 0)?);
    Some(word.is_some_and(|word| u64::from(read(word)) == wanted))
}

fn word_at(subject: &[u8], at: usize) -> Option<[u8; 4]> {
    subject.get(at..)?.first_chunk().copied()
}

/// The first `n` bytes, or all.
fn truncate(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let subject = bytes(args, 0)?;
    let n = index(args, 1)?.min(subject.len());
    Some(Value::bytes(&subject[..n]))
}

/// The last `n` bytes, or all.
fn suffix(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let subject = bytes(args, 0)?;
    let from = subject.len().saturating_sub(index(args, 1)?);
    Some(Value::bytes(&subject[from..]))
}

/// From byte `n`, the first being 1, to the end; empty beyond it. 0 means the first byte too.
fn suffix_from(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let from = index(args, 1)?.saturating_sub(1);
    Some(Value::bytes(bytes(args, 0)?.get(from..).unwrap_or(&[])))
}

/// Four bytes from byte `n`, the first being 1, most significant first; fails when one of them is outside.
fn word_from(args: &[Value]) -> Option<u32> {
    let from = offset(args, 1)?.checked_sub(1)?;
    word_at(bytes(args, 0)?, from).map(u32::from_be_bytes)
}

/// The first four bytes, most significant first; a shorter string is followed by zeros.
fn string_id(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes(args, 0)?) {
        *to = *from;
    }
    Some(Value::Uint(u32::from_be_bytes(word).into()))
}

/// Two lower-case digits a byte.
fn to_hex(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hex: Vec<u8> = bytes(args, 0)?
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .collect();
    Some(Value::bytes(hex))
}

/// FNV-1a, 32 bits (draft-eastlake-fnv).
pub(super) fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
pub(super) fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// LIKE: (s, pattern). `%` stands for any bytes, `_` for one, and a backslash takes the byte after it as it is.
fn like(args: &[Value]) -> Option<bool> {
    let (subject, pattern) = (bytes(args, 0)?, bytes(args, 1)?);
    let (mut s, mut p) = (0, 0);
    // Where to go on when what follows the last `%` does not fit: only the last one needs to give way, so the work is
    // bounded by the product of the lengths.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let (wanted, width) = match pattern.get(p..) {
            Some([b'%', ..]) => {
                p += 1;
                retry = Some((s, p));
                continue;
            }
            Some([b'_', ..]) => (None, 1),
            Some([b'\\', escaped, ..]) => (Some(*escaped), 2),
            Some([byte, ..]) => (Some(*byte), 1),
            Some([]) | None if s == subject.len() => return Some(true),
            Some([]) | None => (None, 0),
        };
        let fits = width > 0 && subject.get(s).is_some_and(|b| wanted.is_none_or(|w| w == *b));
        if fits {
            s += 1;
            p += width;
            continue;
        }
        match &mut retry {
            Some((from, after)) if *from < subject.len() => {
                *from += 1;
                (s, p) = (*from, *after);
            }
            _ => return Some(false),
        }
    }
}
