//! `variance(x)`, `stddev(x)`: of the population (÷ n), by Welford's method, merged by Chan, Golub and LeVeque's (1979).
//! Over nothing 0.

use std::any::Any;

use wt_catalog::Value;

use super::Aggregator;

/// Count, mean and sum of squared differences from the mean.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    root: bool,
}

impl Moments {
    /// Answers with the variance.
    pub fn variance() -> Self {
        Moments { count: 0, mean: 0.0, squares: 0.0, root: false }
    }

    /// Answers with its root.
    pub fn standard_deviation() -> Self {
        Moments { root: true, ..Self::variance() }
    }
}

impl Aggregator for Moments {
    fn update(&mut self, args: &[Value]) {
        let Some(x) = args.first().and_then(Value::as_f64) else { return };
        self.count += 1;
        let before = x - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (x - self.mean);
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        if other.count == 0 {
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        self.squares += other.squares + delta * delta * self.count as f64 * share;
        self.mean += delta * share;
        self.count = count;
    }

    fn output(&self) -> Option<Value> {
        let variance = if self.count == 0 { 0.0 } else { self.squares / self.count as f64 };
        Some(Value::Float(if self.root { variance.sqrt() } else { variance }))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
