//! The tasks of `wiretable serve`, which begin and end together.
//!
//! A task runs on a thread of its own until it is told to stop; then it ends what is under way and returns. One that fails stops the others, and its failure is
//! that of the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Longest wait without a look at the flag: a signal handler cannot wake anybody.
const LOOK: Duration = Duration::from_millis(100);

/// Says to tasks that they are to stop.
#[derive(Clone, Debug)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    changed: Arc<(Mutex<()>, Condvar)>,
}

impl Stop {
    /// Stops when this flag is set.
    pub fn when(flag: Arc<AtomicBool>) -> Self {
        Self { flag, changed: Arc::default() }
    }

    /// Says stop.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.changed.1.notify_all();
    }

    /// Whether it was said.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Waits for it, for at most so long.
    pub fn wait(&self, most: Duration) {
        let until = Instant::now() + most;
        let (lock, changed) = &*self.changed;
        let mut held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = changed.wait_timeout(held, left.min(LOOK));
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A part of the server.
pub trait Task: Send {
    /// What it is called, in messages.
    fn name(&self) -> &'static str;

    /// Works until it is told to stop, and what is under way has ended.
    ///
    /// # Errors
    /// It cannot go on: the others are stopped then.
    fn run(self: Box<Self>, stop: &Stop) -> Result<(), Failure>;
}

/// Runs tasks until they are told to stop or one of them fails.
///
/// # Errors
/// The first failure.
pub fn run(tasks: Vec<Box<dyn Task>>, stop: &Stop) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let mut running = Vec::with_capacity(tasks.len());
        for task in tasks {
            let name = task.name();
            let work = move || {
                let ended = task.run(stop);
                // Also the end of a task that was not asked to is the end of all.
                stop.set();
                ended
            };
            let thread =
                std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work);
            match thread {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    stop.set();
                    return Err(Failure::Environment(format!("cannot start the {name}: {error}")));
                }
            }
        }
        let mut outcome = Ok(());
        for thread in running {
            let ended = thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            outcome = outcome.and(ended);
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Waiter(Arc<AtomicBool>);

    impl Task for Waiter {
        fn name(&self) -> &'static str {
            "waiter"
        }

        fn run(self: Box<Self>, stop: &Stop) -> Result<(), Failure> {
            while !stop.is_set() {
                stop.wait(Duration::from_secs(60));
            }
            self.0.store(true, Ordering::Release);
            Ok(())
        }
    }

    struct Failing;

    impl Task for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn run(self: Box<Self>, _: &Stop) -> Result<(), Failure> {
            Err(Failure::Environment("it broke".to_owned()))
        }
    }

    #[test]
    fn one_that_fails_ends_the_others_in_order() {
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Stop::when(Arc::default());
        let outcome = run(vec![Box::new(Waiter(Arc::clone(&ended))), Box::new(Failing)], &stop);
        assert!(outcome.unwrap_err().to_string().contains("it broke"));
        assert!(ended.load(Ordering::Acquire));
    }
}
