//! `avg(x)`: the mean, by real division (gsql.md §11). Used where a whole AVG runs on the host.

use std::any::Any;

use wt_catalog::Value;

use super::Aggregator;

/// Sum and count. Integers are summed exactly, so the mean of large counters does not lose its low digits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Avg {
    integers: i128,
    floats: f64,
    count: u64,
}

impl Aggregator for Avg {
    fn update(&mut self, args: &[Value]) {
        match args.first() {
            Some(Value::Float(x)) => self.floats += x,
            Some(value) => match value.as_i128() {
                // 2^63 summands of 64 bits fit.
                Some(i) => self.integers = self.integers.saturating_add(i),
                None => return,
            },
            None => return,
        }
        self.count += 1;
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let Some(other) = other.as_any().downcast_ref::<Self>() {
            self.integers = self.integers.saturating_add(other.integers);
            self.floats += other.floats;
            self.count += other.count;
        }
    }

    fn output(&self) -> Option<Value> {
        let mean = if self.count == 0 {
            0.0
        } else {
            (self.integers as f64 + self.floats) / self.count as f64
        };
        Some(Value::Float(mean))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
