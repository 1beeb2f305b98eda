//! `hist(x)`, `hist(x, width)`: how many operands fell into each bucket, as text: `0:3 1:5 2-3:7 4-7:9`.
//!
//! Without a width the buckets are powers of two, of either sign. With one they are `width` wide from 0, named by both
//! ends for a whole width (`0-99:3 100-199:5`) and by their lower end otherwise (`0:3 0.5:7`); there are at most
//! [`BUCKETS_MAX`], and what lies below 0 or above them is counted in `<0` and `>=end`. Empty buckets are not shown.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;

use wt_catalog::Value;

use super::Aggregator;

/// Buckets of a fixed width.
pub const BUCKETS_MAX: i64 = 256;

/// The counts.
#[derive(Clone, Debug)]
pub struct Hist {
    width: Option<f64>,
    counts: BTreeMap<i64, u64>,
}

impl Hist {
    /// `consts` is the width; without one, or with one that is not positive, the buckets are powers of two.
    pub fn new(consts: &[Value]) -> Self {
        let width = consts.first().and_then(Value::as_f64).filter(|w| *w > 0.0 && w.is_finite());
        Hist { width, counts: BTreeMap::new() }
    }

    fn bucket(&self, value: &Value) -> Option<i64> {
        let Some(width) = self.width else { return power_of_two(value) };
        let x = value.as_f64().filter(|x| !x.is_nan())?;
        // The conversion saturates, so infinities land in the outermost buckets.
        Some(((x / width).floor() as i64).clamp(-1, BUCKETS_MAX))
    }

    fn write_label(&self, bucket: i64, out: &mut String) -> std::fmt::Result {
        let Some(width) = self.width else { return write_power(bucket, out) };
        let low = bucket as f64 * width;
        match bucket {
            -1 => out.write_str("<0"),
            BUCKETS_MAX => write!(out, ">={low}"),
            _ if width == 1.0 => write!(out, "{low}"),
            _ if width.fract() == 0.0 => write!(out, "{low}-{}", low + width - 1.0),
            _ => write!(out, "{low}"),
        }
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
        for (&bucket, count) in &self.counts {
            if !text.is_empty() {
                text.push(' ');
            }
            let written =
                self.write_label(bucket, &mut text).and_then(|()| write!(text, ":{count}"));
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        Some(Value::bytes(text))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.counts.len() * TREE_ENTRY_BYTES
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An entry of a B-tree whose nodes are half full, the least they may be.
const TREE_ENTRY_BYTES: usize = 2 * 16 + 8;
