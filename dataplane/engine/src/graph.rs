//! The operator graph: carries messages from the LFTAs through the operators to the sink, each stream in its own order.

mod change;

pub(crate) use change::{Keep, Past};

use std::collections::VecDeque;

use wt_catalog::Value;
use wt_plan::physical::{HftaNode, HftaOp, PhysicalPlan, StreamRef};

use crate::error::EngineError;
use crate::hfta::{self, Context, Operator};
use crate::ledger::{OperatorLedger, OutputLedger};
use crate::lfta::AheadCounters;
use crate::memory::Memory;
use crate::setup::SetupError;
use crate::sink::{RowSink, SinkError};
use crate::tuple::Message;

/// A reader of a stream.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// An operator's input.
    Operator { node: usize, port: usize },
    /// An output of the plan.
    Output(usize),
}

/// Operators and who reads what.
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// By interface, then query.
    lftas: Vec<Vec<Stream>>,
    outputs: Vec<OutputState>,
    queue: VecDeque<(Reader, Message)>,
    /// What the operator at work sends.
    sent: Vec<Message>,
    /// The output whose sink nobody reads any more.
    closed: Option<usize>,
}

struct Node {
    name: String,
    operator: Box<dyn Operator>,
    inputs: Vec<StreamRef>,
    /// By input: the interfaces and queries that its tuples stem from.
    origins: Vec<Vec<(usize, u32)>>,
    output: Stream,
    /// Tuples judged in its place.
    ahead: AheadCounters,
    /// What it has been fed by streams that are gone.
    fed_before: u64,
    /// What it runs, as text: the same in another plan is the same operator.
    definition: String,
}

/// A stream's readers, and how many tuples it has carried.
#[derive(Default)]
struct Stream {
    readers: Vec<Reader>,
    tuples: u64,
}

struct OutputState {
    query: String,
    /// What the sink knows it as.
    number: usize,
    stream: StreamRef,
    /// Fed by streams that are gone.
    fed_before: u64,
    rows: u64,
    unsent: u64,
}

/// What is known of the tuples that an LFTA sends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Feeding {
    /// Each group leaves once per window, in the order of first packets.
    pub(crate) whole_groups: bool,
    /// They have passed the quals of their reader.
    pub(crate) judged: bool,
}

/// An operator whose input has passed its quals.
fn without_quals(node: &HftaNode) -> HftaNode {
    let mut node = node.clone();
    match &mut node.op {
        HftaOp::Select { quals, .. } => quals.clear(),
        HftaOp::Aggregate(aggregate) => aggregate.quals.clear(),
        _ => {}
    }
    node
}

impl Graph {
    /// Builds the operators of a plan that [`crate::check`] has found sound.
    ///
    /// # Errors
    /// A handle that cannot be registered.
    ///
    /// `feeding` tells what is known of the tuples of an interface and query.
    pub(crate) fn new(
        plan: &PhysicalPlan,
        params: &[Value],
        feeding: &dyn Fn(usize, u32) -> Feeding,
    ) -> Result<Self, SetupError> {
        let lftas = plan
            .interfaces
            .iter()
            .map(|interface| interface.program.queries.iter().map(|_| Stream::default()).collect());
        let mut graph = Self {
            nodes: Vec::with_capacity(plan.nodes.len()),
            lftas: lftas.collect(),
            outputs: Vec::with_capacity(plan.outputs.len()),
            queue: VecDeque::new(),
            sent: Vec::new(),
            closed: None,
        };
        for (index, node) in plan.nodes.iter().enumerate() {
            let feeding = match node.inputs[..] {
                [StreamRef::Lfta { interface, query }] => feeding(interface as usize, query),
                _ => Feeding::default(),
            };
            let without_quals = feeding.judged.then(|| without_quals(node));
            let runs = without_quals.as_ref().unwrap_or(node);
            let origins = node.inputs.iter().map(|input| graph.origins(*input)).collect();
            graph.nodes.push(Node {
                name: node.name.clone(),
                operator: hfta::operator(runs, params, feeding.whole_groups)?,
                inputs: node.inputs.clone(),
                origins,
                output: Stream::default(),
                ahead: AheadCounters::default(),
                fed_before: 0,
                definition: format!("{:?} {:?}", runs.op, runs.schema),
            });
            for (port, input) in node.inputs.iter().enumerate() {
                graph.stream(*input).readers.push(Reader::Operator { node: index, port });
            }
        }
        for (index, output) in plan.outputs.iter().enumerate() {
            graph.stream(output.stream).readers.push(Reader::Output(index));
            graph.outputs.push(OutputState {
                query: output.query.clone(),
                number: index,
                stream: output.stream,
                fed_before: 0,
                rows: 0,
                unsent: 0,
            });
        }
        Ok(graph)
    }

    fn stream(&mut self, stream: StreamRef) -> &mut Stream {
        match stream {
            StreamRef::Lfta { interface, query } => {
                &mut self.lftas[interface as usize][query as usize]
            }
            StreamRef::Hfta(node) => &mut self.nodes[node as usize].output,
        }
    }

    /// The interfaces and queries that a stream's tuples stem from.
    fn origins(&self, stream: StreamRef) -> Vec<(usize, u32)> {
        match stream {
            StreamRef::Lfta { interface, query } => vec![(interface as usize, query)],
            StreamRef::Hfta(node) => self.nodes[node as usize].origins.concat(),
        }
    }

    /// Takes a message of an LFTA; [`Self::run`] carries it on.
    pub(crate) fn push(&mut self, interface: usize, query: u32, message: Message) {
        enqueue(&mut self.lftas[interface][query as usize], message, &mut self.queue);
    }

    /// Carries on until nothing is under way.
    ///
    /// # Errors
    /// The memory limit, or a sink that fails. A sink that nobody reads any more is no error: see [`Self::closed`].
    pub(crate) fn run(
        &mut self,
        memory: &mut Memory,
        sink: &mut dyn RowSink,
    ) -> Result<(), EngineError> {
        while let Some((reader, message)) = self.queue.pop_front() {
            match reader {
                Reader::Output(index) => self.deliver(index, message, sink)?,
                Reader::Operator { node, port } => {
                    let Node { operator, output, .. } = &mut self.nodes[node];
                    let mut cx = Context { memory: &mut *memory, out: &mut self.sent };
                    operator.message(port, message, &mut cx)?;
                    let sent = self.sent.drain(..);
                    sent.for_each(|message| enqueue(output, message, &mut self.queue));
                }
            }
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        index: usize,
        message: Message,
        sink: &mut dyn RowSink,
    ) -> Result<(), EngineError> {
        let output = &mut self.outputs[index];
        let number = output.number;
        let mut taken = 0;
        let done = match &message {
            Message::Tuple(_) | Message::Block(_) if self.closed.is_some() => {
                output.unsent += message.rows();
                return Ok(());
            }
            Message::Tuple(tuple) => sink.row(number, tuple).inspect(|()| taken += 1),
            Message::Block(block) => {
                block.each(|tuple| sink.row(number, tuple).inspect(|()| taken += 1))
            }
            Message::Punctuation(_) | Message::Flush if self.closed.is_none() => {
                sink.window(number)
            }
            _ => Ok(()),
        };
        output.rows += taken;
        match done {
            Ok(()) => {}
            Err(SinkError::Closed) => {
                output.unsent += message.rows() - taken;
                self.closed = Some(number);
            }
            Err(SinkError::Io(source)) => {
                return Err(EngineError::Sink { query: output.query.clone(), source });
            }
        }
        Ok(())
    }

    /// The output whose sink nobody reads any more, if there is one.
    pub(crate) fn closed(&self) -> Option<usize> {
        self.closed
    }

    /// Tells the readers of an interface's streams that so many of its captures broke off.
    ///
    /// # Errors
    /// The memory limit.
    pub(crate) fn broke_off(
        &mut self,
        interface: usize,
        captures: u64,
        memory: &mut Memory,
    ) -> Result<(), EngineError> {
        for Node { operator, inputs, .. } in &mut self.nodes {
            for (port, input) in inputs.iter().enumerate() {
                let of_it = |i: &u32| *i as usize == interface;
                if matches!(input, StreamRef::Lfta { interface, .. } if of_it(interface)) {
                    let mut cx = Context { memory: &mut *memory, out: &mut self.sent };
                    operator.broke_off(port, captures, &mut cx)?;
                }
            }
        }
        Ok(())
    }

    /// Operators that need lower bounds of some inputs, each with where those stem from.
    pub(crate) fn asking(&self) -> Vec<(usize, Vec<(usize, u32)>)> {
        let of = |(index, node): (usize, &Node)| {
            let ports = node.operator.waiting_on();
            let origins = ports.iter().flat_map(|&port| &node.origins[port]).copied();
            (!ports.is_empty()).then(|| (index, origins.collect()))
        };
        self.nodes.iter().enumerate().filter_map(of).collect()
    }

    /// Tells an operator that it has the bounds that can be had.
    ///
    /// # Errors
    /// The memory limit.
    pub(crate) fn bounds_given(
        &mut self,
        node: usize,
        memory: &mut Memory,
    ) -> Result<(), EngineError> {
        let Node { operator, output, .. } = &mut self.nodes[node];
        operator.bounds_given(&mut Context { memory, out: &mut self.sent })?;
        self.sent.drain(..).for_each(|message| enqueue(output, message, &mut self.queue));
        Ok(())
    }

    /// Whether some operator may ever ask for bounds.
    pub(crate) fn may_ask(&self) -> bool {
        self.nodes.iter().any(|node| node.inputs.len() > 1)
    }

    /// Names of the outputs, for messages about the sink as a whole.
    pub(crate) fn output_names(&self) -> String {
        let names: Vec<_> = self.outputs.iter().map(|output| output.query.as_str()).collect();
        names.join(", ")
    }

    /// Rows that the sink has taken.
    pub(crate) fn rows(&self) -> u64 {
        self.outputs.iter().map(|output| output.rows).sum()
    }

    /// Enters tuples that were judged ahead of the one operator that reads a query.
    pub(crate) fn judged_ahead(&mut self, interface: usize, query: u32, counts: AheadCounters) {
        let stream = &mut self.lftas[interface][query as usize];
        stream.tuples += counts.total();
        if let [Reader::Operator { node, .. }] = stream.readers[..] {
            self.nodes[node].ahead += counts;
        }
    }

    /// Tuples of an interface's query that have come in, those judged ahead included.
    pub(crate) fn carried_of(&self, interface: usize, query: u32) -> u64 {
        self.lftas[interface][query as usize].tuples
    }

    /// Enters rows that an output's sink has taken from the graph but could not pass on; whether the output is of this graph.
    pub(crate) fn undelivered(&mut self, number: usize, rows: u64) -> bool {
        let output = self.outputs.iter_mut().find(|output| output.number == number);
        let Some(output) = output else { return false };
        output.rows -= rows;
        output.unsent += rows;
        true
    }

    fn carried(&self, stream: StreamRef) -> u64 {
        match stream {
            StreamRef::Lfta { interface, query } => {
                self.lftas[interface as usize][query as usize].tuples
            }
            StreamRef::Hfta(node) => self.nodes[node as usize].output.tuples,
        }
    }

    /// The books of the operators. `ahead` tells by interface and query what was judged in the place of its reader and has not been entered.
    pub(crate) fn operator_ledgers(
        &self,
        ahead: &dyn Fn(usize, u32) -> AheadCounters,
    ) -> Vec<OperatorLedger> {
        let of = |node: &Node| {
            let mut judged = node.ahead;
            if let [StreamRef::Lfta { interface, query }] = node.inputs[..] {
                judged += ahead(interface as usize, query);
            }
            let fed: u64 = node.inputs.iter().map(|input| self.carried(*input)).sum();
            OperatorLedger {
                name: node.name.clone(),
                kind: node.operator.kind(),
                fed: node.fed_before + fed + judged.total() - node.ahead.total(),
                tuples: node.operator.counters().with_ahead(judged),
            }
        };
        self.nodes.iter().map(of).collect()
    }

    /// The books of the outputs.
    pub(crate) fn output_ledgers(&self) -> Vec<OutputLedger> {
        let of = |output: &OutputState| OutputLedger {
            query: output.query.clone(),
            fed: output.fed_before + self.carried(output.stream),
            rows: output.rows,
            unsent: output.unsent,
        };
        self.outputs.iter().map(of).collect()
    }
}

/// Puts a message of a stream on the way to its readers.
fn enqueue(stream: &mut Stream, message: Message, queue: &mut VecDeque<(Reader, Message)>) {
    stream.tuples += message.rows();
    if let Some((last, others)) = stream.readers.split_last() {
        for reader in others {
            queue.push_back((*reader, message.clone()));
        }
        queue.push_back((*last, message));
    }
}
