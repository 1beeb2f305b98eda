//! Reading payload bytes (protocols.md): `bytes_at`, `u8`, `u16`, `u32`, `entropy`.

use wt_catalog::Value;

use super::args::{bytes, offset};
use super::{Handle, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "bytes_at" => bytes_at,
        "u8" => |args, _| Some(Value::Uint(chunk::<1>(args)?[0].into())),
        "u16" => |args, _| Some(Value::Uint(u16::from_be_bytes(chunk(args)?).into())),
        "u32" => |args, _| Some(Value::Uint(u32::from_be_bytes(chunk(args)?).into())),
        "entropy" => |args, _| Some(Value::Float(entropy(bytes(args, 0)?))),
        _ => return None,
    })
}

/// `n` bytes from offset `off`: (data, off, n). Fails unless all are there.
fn bytes_at(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let from = offset(args, 1)?;
    let to = from.checked_add(offset(args, 2)?)?;
    bytes(args, 0)?.get(from..to).map(Value::bytes)
}

/// The `N` bytes at an offset: (data, off). Fails unless all are there; a negative offset is outside.
fn chunk<const N: usize>(args: &[Value]) -> Option<[u8; N]> {
    bytes(args, 0)?.get(offset(args, 1)?..)?.first_chunk().copied()
}

/// Shannon entropy of the byte values, bits per byte: 0 for none or all the same, 8 when all values are equally often.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    for &b in bytes {
        counts[usize::from(b)] += 1;
    }
    let total = bytes.len() as f64;
    let bits = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let p = count as f64 / total;
            -p * p.log2()
        })
        .sum::<f64>();
    // One value alone, or none, gives -0.0.
    if bits > 0.0 { bits } else { 0.0 }
}
