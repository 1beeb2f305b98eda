//! Another plan in the place of one that runs: operators of queries that stay the same go on with what they hold.

use std::collections::BTreeSet;

use wt_catalog::Value;
use wt_plan::physical::{HftaNode, PhysicalPlan, StreamRef};

use super::{Graph, Node, enqueue, without_quals};
use crate::error::EngineError;
use crate::hfta::Context;
use crate::ledger::{OperatorLedger, OutputLedger};
use crate::memory::Memory;
use crate::setup::SetupError;
use crate::sink::RowSink;
use crate::tuple::Message;

/// What stays of a plan when another takes its place.
pub(crate) struct Keep<'a> {
    /// Queries whose text, and that of all they read, is the same in both.
    pub(crate) queries: &'a BTreeSet<String>,
    /// The plan that ran.
    pub(crate) before: &'a PhysicalPlan,
    /// The plan that runs from now on.
    pub(crate) after: &'a PhysicalPlan,
    /// Its parameters, when they are others.
    pub(crate) params: Option<&'a [Value]>,
    /// By output of the new plan: what the sink knows it as.
    pub(crate) outputs: &'a [usize],
}

/// The books of what did not stay.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) operators: Vec<OperatorLedger>,
    pub(crate) outputs: Vec<OutputLedger>,
    /// By interface and query: tuples that had come in.
    pub(crate) carried: Vec<(String, String, u64)>,
}

/// By node: the output that it works for, the first in text order whose stream it makes.
fn owners(plan: &PhysicalPlan) -> Vec<Option<usize>> {
    let mut owners = vec![None; plan.nodes.len()];
    let ends: Vec<StreamRef> = plan.outputs.iter().map(|output| output.stream).collect();
    for (index, output) in plan.outputs.iter().enumerate() {
        let mut pending = vec![output.stream];
        while let Some(stream) = pending.pop() {
            let StreamRef::Hfta(node) = stream else { continue };
            let owner = &mut owners[node as usize];
            if owner.is_some() || stream != output.stream && ends.contains(&stream) {
                continue;
            }
            *owner = Some(index);
            pending.extend(&plan.nodes[node as usize].inputs);
        }
    }
    owners
}

/// By node: the name of the query that it works for, and its place among that query's nodes.
fn places(plan: &PhysicalPlan) -> Vec<Option<(&str, usize)>> {
    let owners = owners(plan);
    let place = |node: usize| {
        let owner = owners[node]?;
        let before = owners[..node].iter().filter(|other| **other == Some(owner)).count();
        Some((plan.outputs[owner].query.as_str(), before))
    };
    (0..plan.nodes.len()).map(place).collect()
}

/// A stream by names, which another plan has too.
fn stream_name(plan: &PhysicalPlan, stream: StreamRef) -> (String, String) {
    match stream {
        StreamRef::Lfta { interface, query } => {
            let interface = &plan.interfaces[interface as usize];
            (interface.name.clone(), interface.program.queries[query as usize].name.clone())
        }
        StreamRef::Hfta(node) => (String::new(), plan.nodes[node as usize].name.clone()),
    }
}

impl Graph {
    /// Takes over the operators that stay from the graph of the plan before, and closes the others: their windows end here, and their rows leave.
    /// By node: whether it stayed.
    ///
    /// # Errors
    /// The memory limit, or a sink that fails.
    pub(crate) fn take_over(
        &mut self,
        mut old: Graph,
        keep: &Keep<'_>,
        past: &mut Past,
        memory: &mut Memory,
        sink: &mut dyn RowSink,
    ) -> Result<Vec<bool>, EngineError> {
        let (before, after) = (places(keep.before), places(keep.after));
        let mut stays: Vec<Option<usize>> = vec![None; old.nodes.len()];
        for (index, node) in keep.after.nodes.iter().enumerate() {
            let Some(place) = after[index].filter(|(query, _)| keep.queries.contains(*query))
            else {
                continue;
            };
            let Some(from) = before.iter().position(|other| *other == Some(place)) else {
                continue;
            };
            if self.is_same(index, node, &old, from, keep, &stays) {
                stays[from] = Some(index);
            }
        }
        for (from, to) in stays.iter().enumerate().filter_map(|(from, to)| Some((from, (*to)?))) {
            self.take_operator(to, &mut old, from, keep).map_err(EngineError::from)?;
        }
        for (output, number) in self.outputs.iter_mut().zip(keep.outputs) {
            output.number = *number;
        }
        old.close(&stays, memory, sink)?;
        for (interface, streams) in keep.before.interfaces.iter().zip(&old.lftas) {
            for (query, stream) in interface.program.queries.iter().zip(streams) {
                past.carried.push((interface.name.clone(), query.name.clone(), stream.tuples));
            }
        }
        let gone = old.operator_ledgers(&|_, _| Default::default()).into_iter().zip(&stays);
        past.operators.extend(gone.filter(|(_, to)| to.is_none()).map(|(ledger, _)| ledger));
        for (before, ledger) in old.outputs.iter().zip(old.output_ledgers()) {
            // A stream that goes on counts on.
            let goes_on = match before.stream {
                StreamRef::Hfta(node) => stays[node as usize].is_some(),
                StreamRef::Lfta { .. } => false,
            };
            match self.outputs.iter_mut().find(|output| output.number == before.number) {
                Some(output) => {
                    output.fed_before += if goes_on { before.fed_before } else { ledger.fed };
                    output.rows += ledger.rows;
                    output.unsent += ledger.unsent;
                }
                None => past.outputs.push(ledger),
            }
        }
        self.closed = self.closed.or(old.closed);
        Ok((0..self.nodes.len()).map(|node| stays.contains(&Some(node))).collect())
    }

    /// Ends the streams of an interface, but for operators that stayed: those have been told.
    ///
    /// # Errors
    /// The memory limit.
    pub(crate) fn end_interface(
        &mut self,
        interface: usize,
        stayed: &[bool],
        memory: &mut Memory,
    ) -> Result<(), EngineError> {
        let is_of = |input: &StreamRef| matches!(input, StreamRef::Lfta { interface: of, .. } if *of as usize == interface);
        for node in (0..self.nodes.len()).filter(|node| !stayed[*node]) {
            for port in 0..self.nodes[node].inputs.len() {
                let Node { operator, inputs, output, .. } = &mut self.nodes[node];
                if !is_of(&inputs[port]) {
                    continue;
                }
                let mut cx = Context { memory: &mut *memory, out: &mut self.sent };
                operator.message(port, Message::End, &mut cx)?;
                self.sent.drain(..).for_each(|message| enqueue(output, message, &mut self.queue));
            }
        }
        Ok(())
    }

    /// Whether a node is one of the plan before: it does the same with streams that are the same.
    fn is_same(
        &self,
        index: usize,
        node: &HftaNode,
        old: &Graph,
        from: usize,
        keep: &Keep<'_>,
        stays: &[Option<usize>],
    ) -> bool {
        let inputs = &old.nodes[from].inputs;
        let is_same_input = |(new, old): (&StreamRef, &StreamRef)| match (new, old) {
            (StreamRef::Hfta(new), StreamRef::Hfta(old)) => {
                stays[*old as usize] == Some(*new as usize)
            }
            (new @ StreamRef::Lfta { .. }, old @ StreamRef::Lfta { .. }) => {
                stream_name(keep.after, *new) == stream_name(keep.before, *old)
            }
            _ => false,
        };
        self.nodes[index].definition == old.nodes[from].definition
            && node.inputs.len() == inputs.len()
            && node.inputs.iter().zip(inputs).all(is_same_input)
    }

    fn take_operator(
        &mut self,
        to: usize,
        old: &mut Graph,
        from: usize,
        keep: &Keep<'_>,
    ) -> Result<(), SetupError> {
        // Streams of LFTAs begin anew, those of operators go on.
        let of_lftas = old.nodes[from].inputs.iter();
        let of_lftas = of_lftas.filter(|input| matches!(input, StreamRef::Lfta { .. }));
        let fed: u64 = of_lftas.map(|input| old.carried(*input)).sum();
        let (node, before) = (&mut self.nodes[to], &mut old.nodes[from]);
        std::mem::swap(&mut node.operator, &mut before.operator);
        node.ahead = before.ahead;
        node.fed_before = before.fed_before + fed;
        node.output.tuples = before.output.tuples;
        if let Some(params) = keep.params {
            let plain = &keep.after.nodes[to];
            let judged = without_quals(plain);
            let is_judged = node.definition != format!("{:?} {:?}", plain.op, plain.schema);
            node.operator.set_params(if is_judged { &judged.op } else { &plain.op }, params)?;
        }
        Ok(())
    }

    /// Ends the streams of the nodes that do not stay, in order; what they hold leaves.
    fn close(
        &mut self,
        stays: &[Option<usize>],
        memory: &mut Memory,
        sink: &mut dyn RowSink,
    ) -> Result<(), EngineError> {
        for index in 0..self.nodes.len() {
            if stays[index].is_some() {
                continue;
            }
            for port in 0..self.nodes[index].inputs.len() {
                let is_ended = match self.nodes[index].inputs[port] {
                    StreamRef::Hfta(input) => stays[input as usize].is_none(),
                    StreamRef::Lfta { .. } => false,
                };
                if is_ended {
                    continue;
                }
                let Node { operator, output, .. } = &mut self.nodes[index];
                let mut cx = Context { memory: &mut *memory, out: &mut self.sent };
                operator.message(port, Message::End, &mut cx)?;
                self.sent.drain(..).for_each(|message| enqueue(output, message, &mut self.queue));
                self.run_without(stays, memory, sink)?;
            }
        }
        Ok(())
    }

    /// Carries on what the closing nodes send, but for what operators that stay would read: those read the new plan.
    fn run_without(
        &mut self,
        stays: &[Option<usize>],
        memory: &mut Memory,
        sink: &mut dyn RowSink,
    ) -> Result<(), EngineError> {
        self.queue.retain(|(reader, _)| match reader {
            super::Reader::Operator { node, .. } => stays[*node].is_none(),
            super::Reader::Output(_) => true,
        });
        self.run(memory, sink)
    }
}
