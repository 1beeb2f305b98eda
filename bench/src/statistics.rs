//! Medians and spreads.

/// Several measurements of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|&v| v <= value);
        self.0.insert(at, value);
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one in the middle, or the mean of the two there; 0 of none.
    pub fn median(&self) -> f64 {
        let (n, values) = (self.0.len(), &self.0);
        match n {
            0 => 0.0,
            n if n % 2 == 1 => values[n / 2],
            n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        }
    }

    /// The least.
    pub fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    /// The greatest.
    pub fn greatest(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn medians() {
        let mut sample = Sample::default();
        assert_eq!(sample.median(), 0.0);
        for (value, median) in [(3.0, 3.0), (1.0, 2.0), (9.0, 3.0), (4.0, 3.5)] {
            sample.push(value);
            assert_eq!(sample.median(), median);
        }
        assert_eq!((sample.least(), sample.greatest()), (1.0, 9.0));
    }
}
