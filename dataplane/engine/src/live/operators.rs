//! The operators' thread: what the rings bring goes through the graph, rows go into the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wt_ring::{Entry, Receiver, Sender, Signal};

use super::Token;
use super::outbox::Sent;
use super::sink::Queue;
use super::stop::Stop;
use crate::error::EngineError;
use crate::graph::Graph;
use crate::memory::Memory;

/// Entries taken from one ring before the next has its turn.
const ENTRIES_PER_TURN: usize = 16;

/// How long the thread sleeps when nothing comes.
const SLEEP: Duration = Duration::from_millis(50);

/// When a question is put again: the answer may have found no room.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The ring of an interface, and the way back for questions.
pub(super) struct Lane {
    receiver: Receiver<Sent, Token>,
    asks: Sender<u64, ()>,
    ended: bool,
}

impl Lane {
    pub(super) fn new(receiver: Receiver<Sent, Token>, asks: Sender<u64, ()>) -> Self {
        Self { receiver, asks, ended: false }
    }

    fn ask(&mut self, number: u64) {
        // One that finds no room is put again.
        let _ = self.asks.push(number);
        self.asks.flush();
    }
}

/// A question for lower bounds that is not answered yet.
struct Question {
    node: usize,
    number: u64,
    /// Interfaces that have not answered.
    waits_for: Vec<usize>,
    put: Instant,
}

pub(super) struct Operators<'a> {
    graph: Graph,
    memory: Memory,
    lanes: Vec<Lane>,
    queue: Queue,
    stop: &'a Stop<'a>,
    signal: Arc<Signal>,
    questions: Vec<Question>,
    asked: u64,
    /// A capture thread ended without ending its streams.
    has_lost: bool,
}

impl<'a> Operators<'a> {
    pub(super) fn new(
        graph: Graph,
        memory: Memory,
        lanes: Vec<Lane>,
        queue: Queue,
        stop: &'a Stop<'a>,
        signal: Arc<Signal>,
    ) -> Self {
        Self {
            graph,
            memory,
            lanes,
            queue,
            stop,
            signal,
            questions: Vec::new(),
            asked: 0,
            has_lost: false,
        }
    }

    /// Runs until every interface has ended its streams.
    ///
    /// # Errors
    /// The memory limit.
    pub(super) fn run(&mut self) -> Result<(), EngineError> {
        let may_ask = self.graph.may_ask();
        loop {
            let mut is_idle = true;
            for index in 0..self.lanes.len() {
                is_idle &= !self.turn(index)?;
            }
            if may_ask {
                self.ask()?;
            }
            if self.queue.is_closed() {
                self.stop.end();
            }
            if is_idle {
                self.queue.flush();
                if self.lanes.iter().all(|lane| lane.ended) {
                    return Ok(());
                }
                let lanes = &self.lanes;
                self.signal.wait(SLEEP, || lanes.iter().any(|lane| !lane.receiver.is_empty()));
            }
        }
    }

    /// Takes what has come from an interface; whether anything has.
    fn turn(&mut self, index: usize) -> Result<bool, EngineError> {
        for taken in 0..ENTRIES_PER_TURN {
            let lane = &mut self.lanes[index];
            // Looked at first: what was sent before the other end went is still there then.
            let is_abandoned = lane.receiver.is_abandoned();
            match lane.receiver.pop() {
                Some(Entry::Batch(mut batch)) => {
                    for (query, message) in batch.drain(..) {
                        self.graph.push(index, query, message);
                    }
                    self.lanes[index].receiver.recycle(batch);
                    self.graph.run(&mut self.memory, &mut self.queue)?;
                }
                Some(Entry::Token(Token::Bounded { ask })) => self.answered(index, ask)?,
                Some(Entry::Token(Token::Ended)) => {
                    lane.ended = true;
                    self.answered(index, u64::MAX)?;
                }
                None => {
                    if is_abandoned && !lane.ended {
                        // Its thread failed, and says why when it is joined.
                        lane.ended = true;
                        self.has_lost = true;
                        self.stop.end();
                    }
                    return Ok(taken > 0);
                }
            }
        }
        Ok(true)
    }

    /// Puts the questions of operators that hold more than they should.
    fn ask(&mut self) -> Result<(), EngineError> {
        for question in &mut self.questions {
            if question.put.elapsed() >= ASK_AGAIN {
                question.put = Instant::now();
                question.waits_for.iter().for_each(|&lane| self.lanes[lane].ask(question.number));
            }
        }
        for (node, origins) in self.graph.asking() {
            if self.questions.iter().any(|question| question.node == node) {
                continue;
            }
            let mut waits_for: Vec<usize> = origins.into_iter().map(|(lane, _)| lane).collect();
            waits_for.sort_unstable();
            waits_for.dedup();
            waits_for.retain(|&lane| !self.lanes[lane].ended);
            self.asked += 1;
            let number = self.asked;
            waits_for.iter().for_each(|&lane| self.lanes[lane].ask(number));
            self.questions.push(Question { node, number, waits_for, put: Instant::now() });
        }
        self.close_questions()
    }

    /// An interface has sent the bounds asked for up to a number.
    fn answered(&mut self, lane: usize, number: u64) -> Result<(), EngineError> {
        for question in self.questions.iter_mut().filter(|q| q.number <= number) {
            question.waits_for.retain(|&waits| waits != lane);
        }
        self.close_questions()
    }

    fn close_questions(&mut self) -> Result<(), EngineError> {
        while let Some(at) = self.questions.iter().position(|q| q.waits_for.is_empty()) {
            let Question { node, .. } = self.questions.swap_remove(at);
            self.graph.bounds_given(node, &mut self.memory)?;
            self.graph.run(&mut self.memory, &mut self.queue)?;
        }
        Ok(())
    }

    /// Ends the rows, when all went well, and lets go of everything but the graph and its books.
    pub(super) fn end(mut self, is_complete: bool) -> Graph {
        if is_complete && !self.has_lost {
            self.queue.end_rows();
        }
        self.graph
    }
}
