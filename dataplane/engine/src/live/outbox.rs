//! The way from a capture thread to the operators. It never waits: when the ring is full, the least processed tuples go first
//! (Gigascope's rule), and are counted.
//!
//! Tuples of selections are given up at once. Partial groups stand for many packets each and are kept back, up to a limit. Bounds
//! and ends are never given up; of several bounds of a query that wait, the last one says all.

use std::collections::VecDeque;

use wt_ring::Sender;

use super::{BATCH_MESSAGES_MAX, RING_SLOTS, Token};
use crate::tuple::Message;

/// What a ring carries: the query of the interface, and what it sends.
pub(super) type Sent = (u32, Message);

/// Most rows of partial groups kept back while the ring is full.
const BACKLOG_ROWS_MAX: u64 = 1 << 17;

pub(super) struct Outbox {
    sender: Sender<Sent, Token>,
    backlog: VecDeque<Waiting>,
    backlog_rows: u64,
    /// Entries that have left the backlog, so that those in it have numbers that stay.
    left: u64,
    queries: Vec<Query>,
}

/// What is kept back.
enum Waiting {
    Message(Sent),
    /// The other queries begin behind it.
    Swapped,
}

#[derive(Clone, Copy, Debug, Default)]
struct Query {
    /// Its tuples stand for one packet each.
    is_selection: bool,
    /// The number of its last entry in the backlog, where that is a bound.
    last_bound: Option<u64>,
    shed: u64,
}

impl Outbox {
    /// `is_selection` tells by query whether its tuples go first.
    pub(super) fn new(sender: Sender<Sent, Token>, is_selection: &[bool]) -> Self {
        let backlog = VecDeque::new();
        let queries = Query::all(is_selection);
        Self { sender, backlog, backlog_rows: 0, left: 0, queries }
    }

    /// Behind what was sent so far come messages of other queries.
    pub(super) fn swap(&mut self, is_selection: &[bool]) {
        self.queries = Query::all(is_selection);
        self.backlog.push_back(Waiting::Swapped);
        self.send_backlog();
    }

    /// Sends, keeps back or gives up a message.
    pub(super) fn send(&mut self, query: u32, message: Message) {
        if !self.backlog.is_empty() && !self.sender.is_full() {
            self.send_backlog();
        }
        let (query, message) = match self.backlog.is_empty() {
            true => match self.sender.push((query, message)) {
                Ok(()) => return,
                Err(back) => back,
            },
            false => (query, message),
        };
        let rows = message.rows();
        let state = &mut self.queries[query as usize];
        let is_over = self.backlog_rows + rows > BACKLOG_ROWS_MAX;
        if rows > 0 && (state.is_selection || is_over) {
            state.shed += rows;
            return;
        }
        let is_bound = matches!(message, Message::Punctuation(_));
        if let (true, Some(number)) = (is_bound, state.last_bound)
            && let Some(Waiting::Message(entry)) =
                number.checked_sub(self.left).and_then(|place| self.backlog.get_mut(place as usize))
        {
            entry.1 = message;
            return;
        }
        state.last_bound = is_bound.then_some(self.left + self.backlog.len() as u64);
        self.backlog_rows += rows;
        self.backlog.push_back(Waiting::Message((query, message)));
    }

    /// Sends what was kept back and gathered, as far as there is room; whether nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        self.send_backlog() && self.sender.flush()
    }

    fn send_backlog(&mut self) -> bool {
        while let Some(waiting) = self.backlog.pop_front() {
            match waiting {
                Waiting::Message(sent) => {
                    let rows = sent.1.rows();
                    if let Err(sent) = self.sender.push(sent) {
                        self.backlog.push_front(Waiting::Message(sent));
                        return false;
                    }
                    self.backlog_rows -= rows;
                }
                Waiting::Swapped if self.sender.push_token(Token::Swapped).is_err() => {
                    self.backlog.push_front(Waiting::Swapped);
                    return false;
                }
                Waiting::Swapped => {}
            }
            self.left += 1;
        }
        true
    }

    /// Whether what comes of so many packets has room, when each gives a message to each query.
    pub(super) fn has_room(&mut self, packets: usize) -> bool {
        let messages = packets * self.queries.len();
        // No ring has room for what a great many queries send at once; half of it is as much as there can be.
        let slots = messages / BATCH_MESSAGES_MAX + 2;
        self.flush() && self.sender.room() >= slots.min(RING_SLOTS / 2)
    }

    /// Sends a token behind everything, if there is room.
    pub(super) fn token(&mut self, token: Token) -> Result<(), Token> {
        if self.backlog.is_empty() { self.sender.push_token(token) } else { Err(token) }
    }

    /// Whether the operators are gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.sender.is_abandoned()
    }

    /// Rows given up of a query.
    pub(super) fn shed(&self, query: usize) -> u64 {
        self.queries[query].shed
    }

    /// Times that the ring was full.
    pub(super) fn ring_full(&self) -> u64 {
        self.sender.counters().full
    }
}

impl Query {
    fn all(is_selection: &[bool]) -> Vec<Self> {
        let of = |&is_selection: &bool| Self { is_selection, ..Self::default() };
        is_selection.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use wt_catalog::Value;
    use wt_ring::{Entry, ring};

    use super::*;
    use crate::tuple::Tuple;

    fn tuple(ordinal: u64) -> Message {
        Message::Tuple(Tuple { ordinal, values: Box::new([]) })
    }

    fn bound(to: u64) -> Message {
        Message::Punctuation(vec![(0, Value::Uint(to))])
    }

    #[test]
    fn tuples_go_before_groups_and_bounds_stay() {
        let (sender, mut receiver) = ring(1, 1);
        let mut outbox = Outbox::new(sender, &[true, false]);
        for ordinal in 0..4 {
            outbox.send(0, tuple(ordinal));
            outbox.send(1, tuple(ordinal));
            outbox.send(0, bound(ordinal));
        }
        // One in the slot, one gathered; behind them groups and, of each run of bounds, the last.
        assert!(!outbox.flush());
        assert_eq!(outbox.shed(0), 3);
        assert_eq!(outbox.shed(1), 0);
        let mut got = Vec::new();
        loop {
            match receiver.pop() {
                Some(Entry::Batch(batch)) => got.extend(batch),
                Some(Entry::Token(_)) => unreachable!("none was sent"),
                None if outbox.flush() && receiver.is_empty() => break,
                None => {}
            }
        }
        let groups: Vec<_> = got.iter().filter(|(query, m)| *query == 1 && m.rows() == 1).collect();
        assert_eq!(groups.len(), 4);
        assert_eq!(got.iter().filter(|(query, m)| *query == 0 && m.rows() == 1).count(), 1);
        let last = got.iter().rfind(|(query, _)| *query == 0).map(|(_, message)| message.clone());
        assert_eq!(last, Some(bound(3)));
    }

    #[test]
    fn groups_are_kept_back_up_to_a_limit() {
        let (sender, _receiver) = ring(1, 1);
        let mut outbox = Outbox::new(sender, &[false]);
        for ordinal in 0..BACKLOG_ROWS_MAX + 12 {
            outbox.send(0, tuple(ordinal));
        }
        assert_eq!(outbox.shed(0), 10);
    }
}
