//! Sessions (protocols.md, `SESSION(gap)`): a session of a group key ends when no tuple of the key came for the gap.
//!
//! The clock is the input's: the greatest value of its ordered attribute so far, or a punctuation's bound. A session is over
//! once the clock is more than a gap beyond the session's last tuple. A tuple that stepped back by up to a gap is taken: by its
//! key's session if that is open, else it begins one. Further behind it is late, for a session of it alone would be over.
//!
//! So a key has one open session at most. Were there two, the first would have its last tuple at most a gap behind the clock, the second
//! its first tuple at the clock or before: they would be one.
//!
//! Sessions leave by their last time, then by first packet, pattern and creation. Whoever moves the clock, and in how many
//! steps, the order is the same: all sessions of one last time end at once.
//!
//! Memory: the open sessions, charged to the run's limit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wt_catalog::Value;
use wt_plan::physical::{self, HftaOp};

use super::grouping::{Body, Intake, Results, Stop};
use super::{Context, Operator};
use crate::hash_index::HashIndex;
use crate::interp::{Lack, TupleEnv};
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple};
use crate::window::retreat;

pub(super) struct Session {
    name: String,
    intake: Intake,
    results: Results,
    /// Input column of the time.
    time: u32,
    gap: Value,
    gap_units: i128,
    real_time: bool,
    /// Keys and aggregate results.
    result_columns: usize,
    /// Aggregates that follow the last time, each with its column among the results.
    ended: Vec<(usize, usize)>,
    /// Outputs that follow them.
    ended_outputs: Vec<u32>,

    clock: Option<Clock>,
    /// Open sessions by key and pattern.
    index: HashIndex,
    /// At the places that `index` and `ends` name.
    sessions: Vec<Option<Open>>,
    free: Vec<usize>,
    /// One entry for each open session: a last time that it had, and its place. It is brought up to date when it comes up.
    ends: BinaryHeap<Reverse<(i128, usize)>>,
    /// Sessions begun.
    begun: u64,
    counters: OperatorCounters,
}

/// How far the input has come.
struct Clock {
    value: Value,
    units: i128,
}

/// An open session.
struct Open {
    hash: u64,
    pattern: u32,
    /// Of the first packet.
    ordinal: u64,
    serial: u64,
    last: i128,
    body: Body,
}

/// What an open session takes beside key and states: its cell, its end, and its place on the free list.
const CELL_BYTES: usize =
    size_of::<Option<Open>>() + size_of::<(i128, usize)>() + size_of::<usize>();

impl Session {
    pub(super) fn new(
        name: &str,
        plan: &physical::Session,
        params: &[Value],
    ) -> Result<Self, SetupError> {
        let group = &plan.group;
        let mut ended: Vec<_> = plan.ended_outputs.iter().map(|&(_, agg)| agg as usize).collect();
        ended.sort_unstable();
        ended.dedup();
        Ok(Self {
            name: name.to_owned(),
            intake: Intake::new(group, params)?,
            results: Results::new(name, group, params)?,
            time: plan.time,
            gap: plan.gap.clone(),
            gap_units: plan.gap.as_i128().unwrap_or(0),
            real_time: group.real_time,
            result_columns: group.keys.len() + group.aggs.len(),
            ended: ended.into_iter().map(|agg| (agg, group.keys.len() + agg)).collect(),
            ended_outputs: plan.ended_outputs.iter().map(|&(output, _)| output).collect(),
            clock: None,
            index: HashIndex::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            begun: 0,
            counters: OperatorCounters::default(),
        })
    }

    fn tuple(&mut self, tuple: &Tuple, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        self.intake.begin();
        let value = &tuple.values[self.time as usize];
        let units = value.as_i128();
        if let (true, Some(units)) = (self.real_time, units) {
            self.advance(value, units, cx);
        }
        let taken = self.intake.take(tuple);
        let (taken, units) = match (taken, units) {
            (Ok(()), Some(units)) => (Ok(()), units),
            (Ok(()), None) => (Err(Stop::Lacks(Lack::Absent)), 0),
            (stopped, _) => (stopped, 0),
        };
        if let Err(stop) = taken {
            stop.count(&mut self.counters);
            return Ok(());
        }
        if self.is_over(units) {
            self.counters.late += 1;
            return Ok(());
        }
        self.advance(value, units, cx);
        self.update(units, tuple.ordinal, cx)
    }

    /// Whether a session with this last time is over.
    fn is_over(&self, last: i128) -> bool {
        self.clock.as_ref().is_some_and(|clock| last + self.gap_units < clock.units)
    }

    /// Moves the clock, and ends what that ends.
    fn advance(&mut self, value: &Value, units: i128, cx: &mut Context<'_>) {
        if self.clock.as_ref().is_some_and(|clock| units <= clock.units) {
            return;
        }
        self.clock = Some(Clock { value: value.clone(), units });
        let mut over = Vec::new();
        while let Some(&Reverse((noted, place))) = self.ends.peek()
            && self.is_over(noted)
        {
            self.ends.pop();
            let last = self.sessions[place].as_ref().map_or(noted, |session| session.last);
            if self.is_over(last) {
                over.extend(self.remove(place));
            } else {
                self.ends.push(Reverse((last, place)));
            }
        }
        self.send(over, cx);
    }

    fn remove(&mut self, place: usize) -> Option<Open> {
        let session = self.sessions[place].take()?;
        self.index.remove(session.hash, place);
        self.free.push(place);
        Some(session)
    }

    /// Takes the tuple at hand into its session, one per pattern.
    fn update(
        &mut self,
        time: i128,
        ordinal: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        self.counters.expanded += self.intake.patterns() as u64 - 1;
        for number in 0..self.intake.patterns() {
            let (hash, keys) = self.intake.key(number);
            let pattern = number as u32;
            let same = |place: usize| {
                self.sessions[place].as_ref().is_some_and(|session| {
                    session.hash == hash
                        && session.pattern == pattern
                        && *session.body.keys == *keys
                })
            };
            let found = self.index.find(hash, same);
            let place = match found {
                Ok(place) => {
                    self.counters.merged += 1;
                    place
                }
                Err(free) => {
                    let body = self.results.body(&keys);
                    let serial = self.begun;
                    self.begun += 1;
                    let session = Open { hash, pattern, ordinal, serial, last: time, body };
                    let place = self.free.pop().unwrap_or_else(|| {
                        self.sessions.push(None);
                        self.sessions.len() - 1
                    });
                    self.sessions[place] = Some(session);
                    let open = self.sessions.len() - self.free.len();
                    self.index.insert(free, hash, place, open);
                    self.ends.push(Reverse((time, place)));
                    self.counters.held += 1;
                    place
                }
            };
            let Some(session) = &mut self.sessions[place] else { continue };
            session.last = session.last.max(time);
            session.ordinal = session.ordinal.min(ordinal);
            self.results.update(
                &mut session.body,
                &self.intake,
                CELL_BYTES,
                &self.name,
                cx.memory,
            )?;
        }
        Ok(())
    }

    /// HAVING and SELECT for sessions that are over.
    fn send(&mut self, mut over: Vec<Open>, cx: &mut Context<'_>) {
        over.sort_unstable_by_key(|s| (s.last, s.ordinal, s.pattern, s.serial));
        for session in over {
            self.counters.held -= 1;
            match self.results.finish(session.body, None, cx.memory) {
                Ok(values) => {
                    self.counters.output += 1;
                    cx.out.push(Message::Tuple(Tuple { ordinal: session.ordinal, values }));
                }
                Err(stop) => stop.count(&mut self.counters),
            }
        }
    }

    fn end_all(&mut self, cx: &mut Context<'_>) {
        self.index.clear();
        self.ends.clear();
        self.free.clear();
        let over = std::mem::take(&mut self.sessions).into_iter().flatten().collect();
        self.send(over, cx);
    }

    /// Sends the outputs that follow the end of a session: no session still to leave ended a gap or more before the clock.
    fn punctuate(&mut self, cx: &mut Context<'_>) {
        let Some(clock) = &self.clock else { return };
        let Some(last) = retreat(&clock.value, &self.gap, false) else { return };
        let time = [(self.time, last)];
        self.intake.begin();
        let mut known = Vec::with_capacity(self.ended.len());
        for &(agg, column) in &self.ended {
            if let Some(value) = self.intake.operand_at(agg, &TupleEnv(&time[..])) {
                known.push((column, value));
            }
        }
        let bounds = self.results.bounds(known, self.result_columns, &self.ended_outputs);
        if !bounds.is_empty() {
            cx.out.push(Message::Punctuation(bounds));
        }
    }
}

impl Operator for Session {
    fn set_params(&mut self, op: &HftaOp, params: &[Value]) -> Result<(), SetupError> {
        if let HftaOp::Session(plan) = op {
            self.intake.set_params(&plan.group, params)?;
            self.results.set_params(&plan.group, params)?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        _port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        match message {
            Message::Tuple(tuple) => self.tuple(&tuple, cx)?,
            Message::Block(block) => block.each(|tuple| self.tuple(tuple, cx))?,
            Message::Punctuation(bounds) => {
                if let Some((_, value)) = bounds.iter().find(|(column, _)| *column == self.time)
                    && let Some(units) = value.as_i128()
                {
                    self.advance(value, units, cx);
                }
                self.punctuate(cx);
            }
            control @ (Message::Flush | Message::End) => {
                self.end_all(cx);
                cx.out.push(control);
            }
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "session"
    }
}
