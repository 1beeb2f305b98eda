//! The highest rate whose loss is bearable, by bisection.

/// What a trial at a rate came to.
pub trait Outcome {
    /// Packets per second that were sent.
    fn rate(&self) -> f64;
    /// Share of them that was lost, from 0 to 1.
    fn loss(&self) -> f64;
}

/// Trials of a sweep, in the order they were made.
#[derive(Clone, Debug)]
pub struct Sweep<T> {
    /// All.
    pub trials: Vec<T>,
    /// Index of the fastest with bearable loss.
    pub best: Option<usize>,
    /// Whether that one is the first: as fast as the sender can.
    pub is_limited_by_sender: bool,
}

impl<T> Sweep<T> {
    /// The fastest with bearable loss.
    pub fn best(&self) -> Option<&T> {
        self.best.map(|i| &self.trials[i])
    }
}

/// Tries as fast as the sender can; if that loses too much, halves the interval in which the answer lies, so many times. A rate that loses too much
/// is tried twice.
///
/// # Errors
/// That of a trial.
pub fn sweep<T: Outcome, E>(
    loss_max: f64,
    steps: u32,
    mut trial: impl FnMut(Option<f64>) -> Result<T, E>,
) -> Result<Sweep<T>, E> {
    let first = trial(None)?;
    let (mut low, mut high) = (0.0, first.rate());
    if first.loss() <= loss_max {
        return Ok(Sweep { trials: vec![first], best: Some(0), is_limited_by_sender: true });
    }
    let mut trials = vec![first];
    let mut best = None;
    for _ in 0..steps {
        // Orders of magnitude below the sender's limit are found quickly so.
        let rate: f64 = if low == 0.0 { high / 3.0 } else { f64::midpoint(low, high) };
        let mut outcome = trial(Some(rate))?;
        if outcome.loss() > loss_max {
            // Once more: a moment in which the machine did something else is no limit.
            trials.push(outcome);
            outcome = trial(Some(rate))?;
        }
        if outcome.loss() <= loss_max {
            low = rate;
            let is_faster = |best: usize| outcome.rate() > trials[best].rate();
            if best.is_none_or(is_faster) {
                best = Some(trials.len());
            }
        } else {
            high = rate;
        }
        trials.push(outcome);
    }
    Ok(Sweep { trials, best, is_limited_by_sender: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug)]
    struct Fake(f64, f64);

    impl Outcome for Fake {
        fn rate(&self) -> f64 {
            self.0
        }

        fn loss(&self) -> f64 {
            self.1
        }
    }

    /// A receiver that takes `capacity`, and a sender that sends `fastest`.
    fn found(capacity: f64, fastest: f64) -> (Option<f64>, usize) {
        let swept: Result<_, ()> = sweep(0.02, 9, |rate| {
            let rate = rate.unwrap_or(fastest).min(fastest);
            Ok(Fake(rate, (1.0 - capacity / rate).max(0.0)))
        });
        let swept = swept.unwrap();
        (swept.best().map(|best| best.0), swept.trials.len())
    }

    #[test]
    fn the_highest_bearable_rate_is_found() {
        let (rate, trials) = found(1.0e6, 5.0e6);
        let rate = rate.unwrap();
        assert!((0.97e6..=1.0e6 / 0.98).contains(&rate), "{rate}");
        assert!((11..=19).contains(&trials), "{trials}");
        assert_eq!(found(6.0e6, 5.0e6), (Some(5.0e6), 1));
        // Something that loses at any rate has no such rate.
        assert_eq!(found(0.0, 5.0e6).0, None);
    }
}
