//! `hist(x, bound, …)`: how many operands lie below each bound and above the last, as text; `hist(len, 64, 512)` gives
//! `<64:3 64..512:5 >=512:2`. A bucket holds its lower bound and not its upper one. Without bounds the buckets are powers of
//! two of either sign, those that are empty left out: `0:3 1:5 2-3:7 4-7:9`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;

use wt_catalog::Value;

use super::Aggregator;

/// Most bounds; further ones are left out.
pub const BOUNDS_MAX: usize = 64;

/// The counts.
#[derive(Clone, Debug)]
pub struct Hist {
    bounds: Vec<f64>,
    counts: BTreeMap<i64, u64>,
}

impl Hist {
    /// `consts` are the bounds, put in order.
    pub fn new(consts: &[Value]) -> Self {
        let mut bounds: Vec<f64> =
            consts.iter().filter_map(Value::as_f64).filter(|bound| !bound.is_nan()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds.truncate(BOUNDS_MAX);
        Hist { bounds, counts: BTreeMap::new() }
    }

    fn bucket(&self, value: &Value) -> Option<i64> {
        if self.bounds.is_empty() {
            return power_of_two(value);
        }
        let x = value.as_f64().filter(|x| !x.is_nan())?;
        Some(self.bounds.partition_point(|bound| *bound <= x) as i64)
    }

    fn write_bounds(&self, out: &mut String) -> std::fmt::Result {
        let count = |bucket: usize| self.counts.get(&(bucket as i64)).copied().unwrap_or(0);
        let Some((first, last)) = self.bounds.first().zip(self.bounds.last()) else {
            return Ok(());
        };
        write!(out, "<{first}:{}", count(0))?;
        for (i, pair) in self.bounds.windows(2).enumerate() {
            write!(out, " {}..{}:{}", pair[0], pair[1], count(i + 1))?;
        }
        write!(out, " >={last}:{}", count(self.bounds.len()))
    }

    fn write_powers(&self, out: &mut String) -> std::fmt::Result {
        for (i, (&bucket, count)) in self.counts.iter().enumerate() {
            if i > 0 {
                out.write_char(' ')?;
            }
            write_power(bucket, out)?;
            write!(out, ":{count}")?;
        }
        Ok(())
    }
}

/// 0 for 0 (and what truncates to it), else the number of bits of the magnitude, with the sign.
fn power_of_two(value: &Value) -> Option<i64> {
    let integer = match value {
        Value::Float(x) if x.is_nan() => return None,
        Value::Float(x) => *x as i128,
        other => other.as_i128()?,
    };
    let bits = i64::from(u128::BITS - integer.unsigned_abs().leading_zeros());
    Some(if integer < 0 { -bits } else { bits })
}

fn write_power(bucket: i64, out: &mut String) -> std::fmt::Result {
    let bits = bucket.unsigned_abs() as u32;
    if bits == 0 {
        return out.write_str("0");
    }
    let low = 1u128 << (bits - 1);
    let high = low + (low - 1);
    match (bucket < 0, low == high) {
        (false, true) => write!(out, "{low}"),
        (false, false) => write!(out, "{low}-{high}"),
        (true, true) => write!(out, "-{low}"),
        (true, false) => write!(out, "-{high}..-{low}"),
    }
}

impl Aggregator for Hist {
    fn update(&mut self, args: &[Value]) {
        if let Some(bucket) = args.first().and_then(|value| self.bucket(value)) {
            *self.counts.entry(bucket).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        for (&bucket, &count) in &other.counts {
            *self.counts.entry(bucket).or_default() += count;
        }
    }

    fn output(&self) -> Option<Value> {
        let mut text = String::new();
        let written = if self.bounds.is_empty() {
            self.write_powers(&mut text)
        } else {
            self.write_bounds(&mut text)
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        Some(Value::bytes(text))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.bounds.len() * size_of::<f64>()
            + self.counts.len() * TREE_ENTRY_BYTES
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An entry of a B-tree whose nodes are half full, the least they may be.
const TREE_ENTRY_BYTES: usize = 2 * 16 + 8;
