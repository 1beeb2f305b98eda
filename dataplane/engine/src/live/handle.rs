//! A hold on a live run from other threads: its books as they stand, and other queries without the loss of a packet.
//!
//! A change is made in two steps. First every capture thread makes its new backend and the operators their new graph, while the old ones run; if one
//! cannot, nothing has changed. Then each capture thread ends its old backend between two packets, says so in its ring, and goes on with the
//! new one; the operators change when all rings have come to that place. So each packet is in exactly one generation. Operators of queries that stay go on
//! with what they hold; windows of the others end.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wt_plan::physical::PhysicalPlan;
use wt_ring::Signal;

use super::capture::Captured;
use super::operators::OperatorBooks;
use crate::check;
use crate::error::EngineError;
use crate::graph::Feeding;
use crate::ledger::Ledger;
use crate::lfta::AheadCounters;
use crate::setup::SetupError;

/// How long the threads of a run may take for a step of a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// Another batch of queries for a run.
#[derive(Clone, Debug)]
pub struct Change {
    /// What runs from now on. It reads interfaces of the run only.
    pub plan: Arc<PhysicalPlan>,
    /// Queries whose text, and that of all they read, is as before.
    pub kept: BTreeSet<String>,
    /// By output of the plan: the number that the sink knows it by. One that is new comes with a new query.
    pub outputs: Vec<usize>,
    /// Whether parameters have other values.
    pub has_other_params: bool,
    /// Close what is open, also of queries that stay.
    pub flush: bool,
}

/// Why a change was not made. The run goes on as it was, unless it has failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no run, or it ends.
    #[error("the run has ended")]
    Ended,
    /// A query reads an interface that was not opened.
    #[error("interface `{interface}` is not captured from; there are: {}", known.join(", "))]
    NoInterface {
        /// The interface.
        interface: String,
        /// Those of the run.
        known: Vec<String>,
    },
    /// The plan cannot run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a capture thread is asked to do.
pub(super) enum CaptureOrder {
    /// Make a backend for the interface of this index of the plan.
    Prepare { change: Arc<Change>, interface: Option<usize>, reply: Sender<Prepared> },
    /// Forget it.
    Abort,
    /// Go on with it.
    Commit,
}

/// What is known of the tuples to come, by query.
pub(super) type Prepared = Result<Vec<Feeding>, EngineError>;

/// What the operators are asked to do.
pub(super) enum OperatorOrder {
    /// Make a graph; change to it when all capture threads have changed, and say so.
    Prepare {
        change: Arc<Change>,
        /// By lane: the interface's index in the plan.
        interfaces: Vec<Option<usize>>,
        /// By interface of the plan.
        feeding: Vec<Vec<Feeding>>,
        reply: Sender<Result<(), EngineError>>,
        done: Sender<()>,
    },
    /// Forget it.
    Abort,
}

/// What the threads of a run have in common with those that hold it.
struct Open {
    names: Vec<String>,
    captures: Vec<Sender<CaptureOrder>>,
    operators: Sender<OperatorOrder>,
    signal: Arc<Signal>,
}

/// A hold on a live run.
#[derive(Default)]
pub struct Handle {
    open: Mutex<Option<Open>>,
    /// By interface.
    captured: Mutex<Vec<Option<Captured>>>,
    operators: Mutex<Option<OperatorBooks>>,
}

/// The threads' ends.
pub(super) struct Orders {
    pub(super) captures: Vec<Receiver<CaptureOrder>>,
    pub(super) operators: Receiver<OperatorOrder>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// A hold on the run that it is given to.
    pub fn new() -> Self {
        Self::default()
    }

    /// A run begins over these interfaces.
    pub(super) fn open(&self, names: &[String], signal: &Arc<Signal>) -> Orders {
        let (captures, orders) = names.iter().map(|_| mpsc::channel()).unzip();
        let (operators, operator_orders) = mpsc::channel();
        *lock(&self.captured) = names.iter().map(|_| None).collect();
        let (names, signal) = (names.to_vec(), Arc::clone(signal));
        *lock(&self.open) = Some(Open { names, captures, operators, signal });
        Orders { captures: orders, operators: operator_orders }
    }

    /// The run has ended.
    pub(super) fn close(&self) {
        *lock(&self.open) = None;
    }

    pub(super) fn tell_captured(&self, lane: usize, captured: Captured) {
        if let Some(place) = lock(&self.captured).get_mut(lane) {
            *place = Some(captured);
        }
    }

    pub(super) fn tell_operators(&self, books: OperatorBooks) {
        *lock(&self.operators) = Some(books);
    }

    /// By interface: what the program at work has judged in the place of operators.
    pub(super) fn ahead(&self) -> Vec<Vec<AheadCounters>> {
        let captured = lock(&self.captured);
        let of = |captured: &Option<Captured>| captured.as_ref().map(|c| c.ahead.clone());
        captured.iter().map(|captured| of(captured).unwrap_or_default()).collect()
    }

    /// The books as they stand. Each number was right at some moment of the last tenth of a second, not all at the same: they balance at the end.
    pub fn ledger(&self) -> Ledger {
        let captured: Vec<Captured> = lock(&self.captured).iter().flatten().cloned().collect();
        let operators = lock(&self.operators).clone().unwrap_or_default();
        super::books::ledger(captured, operators)
    }

    /// Puts other queries in the place of those that run.
    ///
    /// # Errors
    /// Why the run goes on as it was.
    pub fn change(&self, change: Change) -> Result<(), ChangeError> {
        check::check(&change.plan).map_err(SetupError::from).map_err(EngineError::from)?;
        let open = lock(&self.open);
        let Some(open) = &*open else { return Err(ChangeError::Ended) };
        if let Some(unknown) = change.plan.interfaces.iter().find(|i| !open.names.contains(&i.name))
        {
            let (interface, known) = (unknown.name.clone(), open.names.clone());
            return Err(ChangeError::NoInterface { interface, known });
        }
        let change = Arc::new(change);
        let prepared = open.prepare(&change);
        let done = prepared.inspect_err(|_| open.abort())?;
        for capture in &open.captures {
            capture.send(CaptureOrder::Commit).map_err(|_| ChangeError::Ended)?;
        }
        done.recv_timeout(PATIENCE).map_err(|_| ChangeError::Ended)
    }
}

impl Open {
    /// The first step; what tells the end of the second.
    fn prepare(&self, change: &Arc<Change>) -> Result<Receiver<()>, ChangeError> {
        let plan = &change.plan;
        let at = |name: &String| plan.interfaces.iter().position(|i| i.name == *name);
        let interfaces: Vec<Option<usize>> = self.names.iter().map(at).collect();
        let mut waiting = Vec::with_capacity(self.captures.len());
        for (capture, interface) in self.captures.iter().zip(&interfaces) {
            let (reply, answer) = mpsc::channel();
            let (change, interface) = (Arc::clone(change), *interface);
            let order = CaptureOrder::Prepare { change, interface, reply };
            capture.send(order).map_err(|_| ChangeError::Ended)?;
            waiting.push(answer);
        }
        let mut feeding = vec![Vec::new(); plan.interfaces.len()];
        for (answer, interface) in waiting.into_iter().zip(&interfaces) {
            let of_interface = answer.recv_timeout(PATIENCE).map_err(|_| ChangeError::Ended)??;
            if let Some(interface) = interface {
                feeding[*interface] = of_interface;
            }
        }
        let (reply, answer) = mpsc::channel();
        let (done, waits) = mpsc::channel();
        let change = Arc::clone(change);
        let order = OperatorOrder::Prepare { change, interfaces, feeding, reply, done };
        self.operators.send(order).map_err(|_| ChangeError::Ended)?;
        self.signal.raise();
        answer.recv_timeout(PATIENCE).map_err(|_| ChangeError::Ended)??;
        Ok(waits)
    }

    /// Nothing is changed.
    fn abort(&self) {
        // Who has ended needs no word.
        self.captures.iter().for_each(|capture| drop(capture.send(CaptureOrder::Abort)));
        let _ = self.operators.send(OperatorOrder::Abort);
        self.signal.raise();
    }
}
