//! Rings between threads: one sender, one receiver, batches of items with control tokens in-band.
//!
//! ```text
//!          ┌ batch ─ batch ─ token ─ batch ┐
//! Sender ──┤                               ├──▶ Receiver
//!          └────────── empty batches ──────┘
//! ```
//!
//! Items are gathered into batches, so that a ring is touched once per batch; batches come back empty through a ring of their own, so
//! that nothing is allocated once the ring has been round. A token travels behind the items that were sent before it. Everything is bounded:
//! at most `slots` batches and tokens lie in a ring, each batch holds at most `batch_items_max` items. A full ring says so and is
//! counted; what becomes of the item then is for the sender to decide. Neither side ever waits, unless it asks a [`Signal`] to.
//!
//! ```
//! use wt_ring::Entry;
//!
//! let (mut sender, mut receiver) = wt_ring::ring::<u32, &str>(4, 2);
//! for item in [1, 2, 3] {
//!     sender.push(item).unwrap();
//! }
//! sender.push_token("end").unwrap();
//! assert_eq!(receiver.pop(), Some(Entry::Batch(vec![1, 2])));
//! assert_eq!(receiver.pop(), Some(Entry::Batch(vec![3])));
//! assert_eq!(receiver.pop(), Some(Entry::Token("end")));
//! assert_eq!(receiver.pop(), None);
//! ```

mod signal;

pub use signal::Signal;

use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

/// What lies in one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<T, C> {
    /// Items, never none. Give it back with [`Receiver::recycle`].
    Batch(Vec<T>),
    /// Control, behind the items that were sent before it.
    Token(C),
}

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Items in batches that were sent.
    pub items: u64,
    /// Batches sent.
    pub batches: u64,
    /// Tokens sent.
    pub tokens: u64,
    /// Times that an item, batch or token found no room.
    pub full: u64,
}

/// A ring of `slots` entries whose batches hold at most `batch_items_max` items; both are at least 1.
pub fn ring<T, C>(slots: usize, batch_items_max: usize) -> (Sender<T, C>, Receiver<T, C>) {
    let slots = slots.max(1);
    let (entries, received) = RingBuffer::new(slots);
    // Every batch that can be under way, one at either end, fits on its way back.
    let (returned, empty) = RingBuffer::new(slots + 2);
    let sender = Sender {
        entries,
        empty,
        batch: Vec::new(),
        batch_items_max: batch_items_max.max(1),
        counters: Counters::default(),
        wakes: None,
    };
    (sender, Receiver { entries: received, returned, wakes: None })
}

/// The end that items go into.
#[derive(Debug)]
pub struct Sender<T, C> {
    entries: Producer<Entry<T, C>>,
    empty: Consumer<Vec<T>>,
    /// Items gathered, at most `batch_items_max`.
    batch: Vec<T>,
    batch_items_max: usize,
    counters: Counters,
    wakes: Option<Arc<Signal>>,
}

impl<T, C> Sender<T, C> {
    /// Raises a signal whenever something has been sent.
    pub fn wake(&mut self, signal: Arc<Signal>) {
        self.wakes = Some(signal);
    }

    /// Adds an item to the batch at hand; a batch that is full then is sent if there is room.
    ///
    /// # Errors
    /// The item, when the batch at hand is full and cannot be sent.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.batch.len() >= self.batch_items_max && !self.flush() {
            return Err(item);
        }
        if self.batch.capacity() == 0 {
            self.batch = match self.empty.pop() {
                Ok(batch) => batch,
                Err(_) => Vec::with_capacity(self.batch_items_max),
            };
        }
        self.batch.push(item);
        if self.batch.len() >= self.batch_items_max && !self.entries.is_full() {
            self.flush();
        }
        Ok(())
    }

    /// Sends the batch at hand; whether nothing is held back then.
    pub fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        if self.entries.is_full() {
            self.counters.full += 1;
            return false;
        }
        let batch = std::mem::take(&mut self.batch);
        let items = batch.len() as u64;
        if self.send(Entry::Batch(batch)).is_ok() {
            self.counters.items += items;
            self.counters.batches += 1;
        }
        true
    }

    /// Sends a token behind all items.
    ///
    /// # Errors
    /// The token, when there is no room for it and the items before it.
    pub fn push_token(&mut self, token: C) -> Result<(), C> {
        if !self.flush() {
            return Err(token);
        }
        match self.send(Entry::Token(token)) {
            Ok(()) => self.counters.tokens += 1,
            Err(Entry::Token(token)) => {
                self.counters.full += 1;
                return Err(token);
            }
            Err(Entry::Batch(_)) => {}
        }
        Ok(())
    }

    fn send(&mut self, entry: Entry<T, C>) -> Result<(), Entry<T, C>> {
        self.entries.push(entry).map_err(|rtrb::PushError::Full(entry)| entry)?;
        if let Some(signal) = &self.wakes {
            signal.raise();
        }
        Ok(())
    }

    /// How many more batches and tokens there is room for.
    pub fn room(&self) -> usize {
        self.entries.slots()
    }

    /// Whether there is no room for another batch or token.
    pub fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    /// Whether nobody receives any more.
    pub fn is_abandoned(&self) -> bool {
        self.entries.is_abandoned()
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// The end that entries come out of.
#[derive(Debug)]
pub struct Receiver<T, C> {
    entries: Consumer<Entry<T, C>>,
    returned: Producer<Vec<T>>,
    wakes: Option<Arc<Signal>>,
}

impl<T, C> Receiver<T, C> {
    /// Raises a signal whenever room has been made.
    pub fn wake(&mut self, signal: Arc<Signal>) {
        self.wakes = Some(signal);
    }

    /// The next entry, if there is one.
    pub fn pop(&mut self) -> Option<Entry<T, C>> {
        let entry = self.entries.pop().ok()?;
        if let Some(signal) = &self.wakes {
            signal.raise();
        }
        Some(entry)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nobody sends any more; entries may still wait.
    pub fn is_abandoned(&self) -> bool {
        self.entries.is_abandoned()
    }

    /// Gives a batch back, to be filled again.
    pub fn recycle(&mut self, mut batch: Vec<T>) {
        batch.clear();
        // One that has no place is let go.
        let _ = self.returned.push(batch);
    }
}

#[cfg(test)]
mod tests;
