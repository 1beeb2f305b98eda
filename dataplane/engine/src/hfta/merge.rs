//! Order-preserving union (gsql.md §15).
//!
//! A tuple leaves when every other input is known to be at or beyond its value: by a queued tuple, punctuation, or its
//! end. Ties leave by input position, then arrival; so that this order does not depend on which input's packets come
//! first, a tuple also waits until earlier inputs are *beyond* its value, unless a queue grows over its limit.
//!
//! Memory: the queued tuples, charged to the run's limit. When a queue reaches its limit the operator asks for lower bounds of
//! the inputs that block it.

use std::collections::VecDeque;

use wt_catalog::Value;
use wt_plan::physical::HftaOp;

use super::{Context, Operator};
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple, tuple_bytes};
use crate::window;

pub(super) struct Merge {
    name: String,
    /// Merge column and whether it decreases; none: union in arrival order.
    column: Option<(usize, bool)>,
    slack: Option<Value>,
    queue_tuples_max: usize,
    inputs: Vec<Input>,
    /// Greatest value that any input has reached.
    newest: Option<Value>,
    /// Value of the tuple that left last.
    last_sent: Option<Value>,
    /// Bound of the last punctuation sent.
    last_bound: Option<Value>,
    /// Queue length at which bounds are asked for.
    ask_at: usize,
    counters: OperatorCounters,
}

#[derive(Default)]
struct Input {
    queue: VecDeque<Tuple>,
    /// No later tuple of this input is behind it: its last value, or a punctuation.
    reached: Option<Value>,
    ended: bool,
}

/// How ties wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ties {
    /// Until earlier inputs are beyond the value.
    Wait,
    /// Not at all.
    Pass,
}

impl Merge {
    pub(super) fn new(
        name: &str,
        inputs: usize,
        column: Option<(u32, bool)>,
        slack: Option<Value>,
        queue_tuples_max: u32,
    ) -> Self {
        let queue_tuples_max = queue_tuples_max.max(1) as usize;
        Self {
            name: name.to_owned(),
            column: column.map(|(column, decreasing)| (column as usize, decreasing)),
            slack,
            queue_tuples_max,
            inputs: (0..inputs).map(|_| Input::default()).collect(),
            newest: None,
            last_sent: None,
            last_bound: None,
            ask_at: queue_tuples_max,
            counters: OperatorCounters::default(),
        }
    }

    fn tuple(
        &mut self,
        port: usize,
        tuple: Tuple,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        let Some((column, decreasing)) = self.column else {
            self.counters.output += 1;
            cx.out.push(Message::Tuple(tuple));
            return Ok(());
        };
        let value = &tuple.values[column];
        let is_behind = |bound: &Option<Value>| {
            bound.as_ref().is_some_and(|b| window::compare(value, b, decreasing).is_lt())
        };
        // Behind what has been sent only when a slack presumed too much.
        if is_behind(&self.inputs[port].reached) || is_behind(&self.last_sent) {
            self.counters.late += 1;
            return Ok(());
        }
        let value = value.clone();
        cx.memory.charge(&self.name, tuple_bytes(&tuple))?;
        self.counters.held += 1;
        self.reach(port, value, decreasing);
        self.inputs[port].queue.push_back(tuple);
        self.send_ready(Ties::Wait, cx);
        Ok(())
    }

    /// Takes a value that an input has reached.
    fn reach(&mut self, port: usize, value: Value, decreasing: bool) {
        let is_beyond = |known: &Option<Value>| {
            known.as_ref().is_none_or(|k| window::compare(&value, k, decreasing).is_gt())
        };
        if is_beyond(&self.newest) {
            self.newest = Some(value.clone());
        }
        let reached = &mut self.inputs[port].reached;
        if is_beyond(reached) {
            *reached = Some(value);
        }
    }

    /// What the slack presumes that every input has reached.
    fn presumed(&self, decreasing: bool) -> Option<Value> {
        window::retreat(self.newest.as_ref()?, self.slack.as_ref()?, decreasing)
    }

    /// Sends every tuple that may leave.
    fn send_ready(&mut self, ties: Ties, cx: &mut Context<'_>) {
        let Some((column, decreasing)) = self.column else { return };
        let presumed = self.presumed(decreasing);
        while let Some(first) = self.first(column, decreasing) {
            let Some(head) = self.inputs[first].queue.front() else { return };
            let value = &head.values[column];
            let may_leave = self.inputs.iter().enumerate().all(|(i, input)| {
                if i == first || input.ended || !input.queue.is_empty() {
                    return true;
                }
                let waits = ties == Ties::Wait && i < first;
                [&input.reached, &presumed].into_iter().flatten().any(|known| {
                    let ordering = window::compare(known, value, decreasing);
                    if waits { ordering.is_gt() } else { ordering.is_ge() }
                })
            });
            if !may_leave {
                break;
            }
            let Some(tuple) = self.inputs[first].queue.pop_front() else { return };
            cx.memory.release(tuple_bytes(&tuple));
            self.counters.held -= 1;
            self.counters.output += 1;
            self.last_sent = Some(tuple.values[column].clone());
            cx.out.push(Message::Tuple(tuple));
        }
        if self.longest() < self.queue_tuples_max {
            self.ask_at = self.queue_tuples_max;
        }
    }

    /// The input whose head is first: the least value, of equal ones the earlier input.
    fn first(&self, column: usize, decreasing: bool) -> Option<usize> {
        let heads = self
            .inputs
            .iter()
            .enumerate()
            .filter_map(|(i, input)| Some((i, &input.queue.front()?.values[column])));
        heads.min_by(|(_, a), (_, b)| window::compare(a, b, decreasing)).map(|(i, _)| i)
    }

    fn longest(&self) -> usize {
        self.inputs.iter().map(|input| input.queue.len()).max().unwrap_or(0)
    }

    /// Sends punctuation when the least bound of the inputs has advanced.
    fn punctuate(&mut self, cx: &mut Context<'_>) {
        let Some((column, decreasing)) = self.column else { return };
        let presumed = self.presumed(decreasing);
        let mut least: Option<Value> = None;
        for input in &self.inputs {
            let known = match input.queue.front() {
                Some(head) => Some(&head.values[column]),
                None if input.ended => continue,
                None => {
                    let known = [&input.reached, &presumed].into_iter().flatten();
                    known.max_by(|a, b| window::compare(a, b, decreasing))
                }
            };
            // Nothing is known of this input.
            let Some(known) = known else { return };
            if least.as_ref().is_none_or(|l| window::compare(known, l, decreasing).is_lt()) {
                least = Some(known.clone());
            }
        }
        let Some(least) = least else { return };
        let advanced = |last: &Value| window::compare(&least, last, decreasing).is_gt();
        if self.last_bound.as_ref().is_none_or(advanced) {
            self.last_bound = Some(least.clone());
            cx.out.push(Message::Punctuation(vec![(column as u32, least)]));
        }
    }
}

impl Operator for Merge {
    fn set_params(&mut self, _op: &HftaOp, _params: &[Value]) -> Result<(), SetupError> {
        Ok(())
    }

    fn message(
        &mut self,
        port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        match message {
            Message::Tuple(tuple) => self.tuple(port, tuple, cx)?,
            Message::Block(block) => {
                for tuple in block.tuples() {
                    self.tuple(port, tuple, cx)?;
                }
            }
            Message::Punctuation(bounds) => {
                let Some((column, decreasing)) = self.column else { return Ok(()) };
                let bound = bounds.into_iter().find(|(index, _)| *index as usize == column);
                if let Some((_, value)) = bound {
                    self.reach(port, value, decreasing);
                    self.send_ready(Ties::Wait, cx);
                    self.punctuate(cx);
                }
            }
            Message::Flush => cx.out.push(Message::Flush),
            Message::End => {
                self.inputs[port].ended = true;
                self.send_ready(Ties::Wait, cx);
                if self.inputs.iter().all(|input| input.ended) {
                    cx.out.push(Message::End);
                } else {
                    self.punctuate(cx);
                }
            }
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "merge"
    }

    fn waiting_on(&self) -> Vec<usize> {
        if self.longest() < self.ask_at {
            return Vec::new();
        }
        let blocks = |input: &Input| !input.ended && input.queue.is_empty();
        (0..self.inputs.len()).filter(|&i| blocks(&self.inputs[i])).collect()
    }

    fn bounds_given(&mut self, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        if self.longest() >= self.queue_tuples_max {
            self.send_ready(Ties::Pass, cx);
        }
        // What is still blocked stays so for a while: ask again when as much again has come.
        self.ask_at = self.longest() + self.queue_tuples_max;
        self.punctuate(cx);
        Ok(())
    }
}
