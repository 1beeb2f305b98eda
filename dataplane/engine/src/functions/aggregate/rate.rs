//! `rate(x)`: the sum of `x` per second, from the first to the last tuple.

use std::any::Any;

use wt_catalog::Value;

use super::Aggregator;

/// Sum of the operand and the span of the time stamps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    sum: f64,
    span_ns: Option<(u64, u64)>,
}

impl Rate {
    fn see(&mut self, earliest_ns: u64, latest_ns: u64) {
        let (a, b) = self.span_ns.unwrap_or((earliest_ns, latest_ns));
        self.span_ns = Some((a.min(earliest_ns), b.max(latest_ns)));
    }
}

impl Aggregator for Rate {
    fn update(&mut self, args: &[Value]) {
        let (Some(x), Some(at)) =
            (args.first().and_then(Value::as_f64), args.get(1).and_then(Value::as_u64))
        else {
            return;
        };
        self.sum += x;
        self.see(at, at);
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        self.sum += other.sum;
        if let Some((earliest, latest)) = other.span_ns {
            self.see(earliest, latest);
        }
    }

    fn output(&self) -> Option<Value> {
        let seconds = self.span_ns.map_or(0.0, |(a, b)| (b - a) as f64 / 1e9);
        Some(Value::Float(if seconds > 0.0 { self.sum / seconds } else { 0.0 }))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
