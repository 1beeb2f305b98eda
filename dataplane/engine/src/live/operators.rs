//! The operators' thread: what the rings bring goes through the graph, rows go into the queue.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use wt_plan::physical::PhysicalPlan;
use wt_ring::{Entry, Receiver, Sender, Signal};

use super::Token;
use super::handle::{Change, Handle, OperatorOrder};
use super::outbox::Sent;
use super::sink::Queue;
use super::stop::Stop;
use crate::error::EngineError;
use crate::graph::{Graph, Keep, Past};
use crate::ledger::{OperatorLedger, OutputLedger};
use crate::lfta::AheadCounters;
use crate::memory::Memory;
use crate::tuple::Message;

/// Entries taken from one ring before the next has its turn.
const ENTRIES_PER_TURN: usize = 16;

/// How long the thread sleeps when nothing comes.
const SLEEP: Duration = Duration::from_millis(50);

/// How often the books are told to those that hold the run.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// When a question is put again: the answer may have found no room.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The ring of an interface, and the way back for questions.
pub(super) struct Lane {
    receiver: Receiver<Sent, Token>,
    asks: Sender<u64, ()>,
    ended: bool,
    /// What follows is of the next plan; it is left until all have come to that place.
    swapped: bool,
}

impl Lane {
    pub(super) fn new(receiver: Receiver<Sent, Token>, asks: Sender<u64, ()>) -> Self {
        Self { receiver, asks, ended: false, swapped: false }
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

/// A plan that waits for its turn.
struct Next {
    graph: Graph,
    change: Arc<Change>,
    interfaces: Vec<Option<usize>>,
    done: mpsc::Sender<()>,
}

/// What operators and outputs have counted.
#[derive(Clone, Default)]
pub(super) struct OperatorBooks {
    pub(super) operators: Vec<OperatorLedger>,
    pub(super) outputs: Vec<OutputLedger>,
    /// By interface and query: tuples that have come in.
    pub(super) carried: Vec<(String, String, u64)>,
}

/// The ways to the operators besides the rings.
pub(super) struct Ways<'a> {
    pub(super) stop: &'a Stop<'a>,
    pub(super) signal: Arc<Signal>,
    pub(super) handle: &'a Handle,
    pub(super) orders: mpsc::Receiver<OperatorOrder>,
    /// From capture threads that have changed: which, and what was judged ahead before.
    pub(super) swaps: mpsc::Receiver<(usize, Vec<AheadCounters>)>,
}

/// What runs, and what has run.
pub(super) struct State {
    plan: Arc<PhysicalPlan>,
    graph: Graph,
    /// By lane: its interface's index in the plan.
    interfaces: Vec<Option<usize>>,
    past: Past,
}

pub(super) struct Operators<'a> {
    state: State,
    next: Option<Next>,
    memory: Memory,
    lanes: Vec<Lane>,
    queue: Queue,
    ways: Ways<'a>,
    told: Instant,
    questions: Vec<Question>,
    asked: u64,
    /// A capture thread ended without ending its streams.
    has_lost: bool,
}

impl<'a> Operators<'a> {
    pub(super) fn new(
        plan: Arc<PhysicalPlan>,
        graph: Graph,
        memory: Memory,
        lanes: Vec<Lane>,
        queue: Queue,
        ways: Ways<'a>,
    ) -> Self {
        let interfaces = (0..lanes.len()).map(Some).collect();
        Self {
            state: State { plan, graph, interfaces, past: Past::default() },
            next: None,
            memory,
            lanes,
            queue,
            ways,
            told: Instant::now(),
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
        self.ways.handle.tell_operators(self.state.books(&[]));
        loop {
            let mut is_idle = true;
            for index in 0..self.lanes.len() {
                is_idle &= !self.turn(index)?;
            }
            if self.state.graph.may_ask() {
                self.ask()?;
            }
            self.obey();
            is_idle &= !self.change()?;
            if self.queue.is_closed() {
                self.ways.stop.end();
            }
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                let ahead = self.ways.handle.ahead();
                self.ways.handle.tell_operators(self.state.books(&ahead));
            }
            if is_idle {
                self.queue.flush();
                if self.lanes.iter().all(|lane| lane.ended) {
                    return Ok(());
                }
                let has_some = |lane: &Lane| !lane.swapped && !lane.receiver.is_empty();
                self.ways.signal.wait(SLEEP, || self.lanes.iter().any(has_some));
            }
        }
    }

    /// Takes what has come from an interface; whether anything has.
    fn turn(&mut self, index: usize) -> Result<bool, EngineError> {
        for taken in 0..ENTRIES_PER_TURN {
            let lane = &mut self.lanes[index];
            if lane.swapped {
                return Ok(taken > 0);
            }
            // Looked at first: what was sent before the other end went is still there then.
            let is_abandoned = lane.receiver.is_abandoned();
            match lane.receiver.pop() {
                Some(Entry::Batch(mut batch)) => {
                    if let Some(interface) = self.state.interfaces[index] {
                        for (query, message) in batch.drain(..) {
                            self.state.graph.push(interface, query, message);
                        }
                    }
                    self.lanes[index].receiver.recycle(batch);
                    self.state.graph.run(&mut self.memory, &mut self.queue)?;
                }
                Some(Entry::Token(Token::Bounded { ask })) => self.answered(index, ask)?,
                Some(Entry::Token(Token::Swapped)) => lane.swapped = true,
                Some(Entry::Token(Token::Ended)) => {
                    lane.ended = true;
                    self.answered(index, u64::MAX)?;
                }
                None => {
                    if is_abandoned && !lane.ended {
                        // Its thread failed, and says why when it is joined.
                        lane.ended = true;
                        self.has_lost = true;
                        self.ways.stop.end();
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
        for (node, origins) in self.state.graph.asking() {
            if self.questions.iter().any(|question| question.node == node) {
                continue;
            }
            let interfaces = &self.state.interfaces;
            let lane = |(interface, _)| interfaces.iter().position(|i| *i == Some(interface));
            let mut waits_for: Vec<usize> = origins.into_iter().filter_map(lane).collect();
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
            self.state.graph.bounds_given(node, &mut self.memory)?;
            self.state.graph.run(&mut self.memory, &mut self.queue)?;
        }
        Ok(())
    }

    /// Does what is asked through the hold on the run.
    fn obey(&mut self) {
        while let Ok(order) = self.ways.orders.try_recv() {
            match order {
                OperatorOrder::Prepare { change, interfaces, feeding, reply, done } => {
                    let plan = &change.plan;
                    let params: Vec<_> = plan.params.iter().map(|p| p.value.clone()).collect();
                    let of = |interface: usize, query: u32| feeding[interface][query as usize];
                    let made = Graph::new(plan, &params, &of).map(|graph| {
                        self.next = Some(Next { graph, change, interfaces, done });
                    });
                    // Who does not wait any more has given up the change.
                    let _ = reply.send(made.map_err(EngineError::from));
                }
                OperatorOrder::Abort => self.next = None,
            }
        }
    }

    /// Changes to the plan that waits, once all rings have come to where its messages begin; whether it was so.
    fn change(&mut self) -> Result<bool, EngineError> {
        let is_there = self.lanes.iter().all(|lane| lane.swapped || lane.ended)
            && self.lanes.iter().any(|lane| lane.swapped);
        let Some(next) = self.next.take_if(|_| is_there) else { return Ok(false) };
        let Next { graph, change, interfaces, done } = next;
        while let Ok((lane, ahead)) = self.ways.swaps.try_recv() {
            self.state.judged_ahead(lane, &ahead);
        }
        let plan = &change.plan;
        let params: Vec<_> = plan.params.iter().map(|param| param.value.clone()).collect();
        let State { plan: before, graph: running, past, .. } = &mut self.state;
        let keep = Keep {
            queries: &change.kept,
            before,
            after: plan,
            params: change.has_other_params.then_some(&params),
            outputs: &change.outputs,
        };
        let old = std::mem::replace(running, graph);
        let stayed = running.take_over(old, &keep, past, &mut self.memory, &mut self.queue)?;
        // Questions were about operators by their old numbers.
        self.questions.clear();
        self.state.plan = Arc::clone(plan);
        self.state.interfaces = interfaces;
        for (lane, interface) in self.lanes.iter_mut().zip(&self.state.interfaces) {
            // A capture that ended before it could change: what is new gets nothing of it.
            if let (false, Some(interface)) = (lane.swapped, interface) {
                self.state.graph.end_interface(*interface, &stayed, &mut self.memory)?;
            }
            lane.swapped = false;
        }
        if change.flush {
            for (index, interface) in plan.interfaces.iter().enumerate() {
                for query in 0..interface.program.queries.len() as u32 {
                    self.state.graph.push(index, query, Message::Flush);
                }
            }
        }
        self.state.graph.run(&mut self.memory, &mut self.queue)?;
        // Who does not wait any more sees it in the books.
        let _ = done.send(());
        Ok(true)
    }

    /// Ends the rows, when all went well, and lets go of everything but what has been counted.
    pub(super) fn end(mut self, is_complete: bool) -> State {
        if is_complete && !self.has_lost {
            self.queue.end_rows();
        }
        self.state
    }
}

impl State {
    /// Enters what the programs at work have judged ahead, lane by lane.
    pub(super) fn judged_ahead(&mut self, lane: usize, ahead: &[AheadCounters]) {
        let Some(interface) = self.interfaces[lane] else { return };
        for (query, counts) in (0..).zip(ahead) {
            self.graph.judged_ahead(interface, query, *counts);
        }
    }

    /// Enters rows that could not be passed on.
    pub(super) fn undelivered(&mut self, output: usize, rows: u64) {
        self.graph.undelivered(output, rows);
    }

    /// The output whose sink nobody reads any more, if there is one.
    pub(super) fn closed(&self) -> Option<usize> {
        self.graph.closed()
    }

    /// The query of an output; all when there is none.
    pub(super) fn output_name(&self, output: Option<usize>) -> String {
        let output = output.and_then(|output| self.plan.outputs.get(output));
        output.map_or_else(|| self.graph.output_names(), |output| output.query.clone())
    }

    /// What has been counted, by plans that are gone too. `ahead`: by lane, what was judged ahead and has not been entered.
    pub(super) fn books(&self, ahead: &[Vec<AheadCounters>]) -> OperatorBooks {
        let mut judged = vec![Vec::new(); self.plan.interfaces.len()];
        for (counts, interface) in ahead.iter().zip(&self.interfaces) {
            if let Some(interface) = interface {
                judged[*interface].clone_from(counts);
            }
        }
        let ahead = |interface: usize, query: u32| {
            judged[interface].get(query as usize).copied().unwrap_or_default()
        };
        let Past { operators, outputs, carried } = &self.past;
        let mut books = OperatorBooks {
            operators: [&operators[..], &self.graph.operator_ledgers(&ahead)].concat(),
            outputs: [&outputs[..], &self.graph.output_ledgers()].concat(),
            carried: carried.clone(),
        };
        for (index, interface) in self.plan.interfaces.iter().enumerate() {
            for (query, lfta) in (0..).zip(&interface.program.queries) {
                let tuples = self.graph.carried_of(index, query) + ahead(index, query).total();
                books.carried.push((interface.name.clone(), lfta.name.clone(), tuples));
            }
        }
        books
    }
}
