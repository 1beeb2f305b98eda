//! Checks a plan once, so that the engine can then follow its indices freely. What is found here is a fault of the
//! planner, never of a query or a packet.

use wt_plan::ir::{
    Exprs, HandleArg, HeaderProgram, LayerSel, LftaAction, LftaProgram, NodeId, Op, OrderedColumn,
    Qual,
};
use wt_plan::physical::{Aggregate, HftaNode, HftaOp, PhysicalPlan, StreamRef};

use crate::functions;
use crate::interp::{Which, operands};

/// Most slots of an LFTA table.
pub const TABLE_SLOTS_MAX: u32 = 1 << 24;

/// A plan that is not sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the plan of `{place}` is not sound: {defect}; this is a fault of the program, please report it"
)]
pub struct PlanDefect {
    /// Interface, protocol or stream.
    pub place: String,
    /// What is wrong.
    pub defect: Defect,
}

/// What can be wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// An index beyond what it indexes, or not below the node that uses it.
    #[error("{what} {index} is not below {limit}")]
    Index {
        /// What is indexed.
        what: &'static str,
        /// The index.
        index: u64,
        /// What it must be below.
        limit: u64,
    },
    /// A bit field of no or more than 64 bits, or a load of an odd number of bytes.
    #[error("node {node} loads {bits} bits")]
    Width {
        /// The node.
        node: usize,
        /// Its width in bits.
        bits: u32,
    },
    /// The number of table slots.
    #[error("{slots} table slots are not a power of two up to {TABLE_SLOTS_MAX}")]
    Slots {
        /// As planned.
        slots: u32,
    },
    /// No such scalar function.
    #[error("no function has the symbol `{symbol}`")]
    UnknownFunction {
        /// The symbol.
        symbol: &'static str,
    },
    /// No such aggregate.
    #[error("no aggregate computes `{text}`")]
    UnknownAggregate {
        /// Its text.
        text: String,
    },
    /// Grouping patterns are missing, or there are more keys than a pattern has bits.
    #[error("{patterns} grouping patterns over {keys} keys")]
    Patterns {
        /// How many patterns.
        patterns: usize,
        /// How many keys.
        keys: usize,
    },
}

/// Checks every index and width of a plan.
///
/// # Errors
/// The first defect.
pub fn check(plan: &PhysicalPlan) -> Result<(), PlanDefect> {
    let params = plan.params.len();
    for interface in &plan.interfaces {
        let at = |place: &str| {
            let place = place.to_owned();
            move |defect| PlanDefect { place, defect }
        };
        for header in interface.program.parse.protocols.iter().flatten() {
            header_program(header, params).map_err(at(&header.name))?;
        }
        lfta_program(&interface.program, params).map_err(at(&interface.name))?;
    }
    // Columns of the streams of the nodes so far.
    let mut widths = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let width = hfta_node(plan, &widths, node)
            .map_err(|defect| PlanDefect { place: node.name.clone(), defect })?;
        widths.push(width);
    }
    for output in &plan.outputs {
        stream_width(plan, &widths, output.stream)
            .and_then(|width| below("schema column", last(output.schema.columns.len()), width))
            .map_err(|defect| PlanDefect { place: output.query.clone(), defect })?;
    }
    Ok(())
}

fn below(what: &'static str, index: impl Into<u64>, limit: usize) -> Result<(), Defect> {
    let (index, limit) = (index.into(), limit as u64);
    if index < limit { Ok(()) } else { Err(Defect::Index { what, index, limit }) }
}

fn nodes<'a>(exprs: &Exprs, used: impl IntoIterator<Item = &'a NodeId>) -> Result<(), Defect> {
    used.into_iter().try_for_each(|node| below("node", node.0, exprs.nodes.len()))
}

fn quals(exprs: &Exprs, quals: &[Qual]) -> Result<(), Defect> {
    nodes(exprs, quals.iter().map(|qual| &qual.node))
}

fn ordered(columns: &[OrderedColumn], limit: usize) -> Result<(), Defect> {
    columns.iter().try_for_each(|column| below("ordered column", column.column, limit))
}

fn exprs(exprs: &Exprs, layers: usize, params: usize) -> Result<(), Defect> {
    for handle in &exprs.handles {
        if let HandleArg::Param(param) = handle.argument {
            below("parameter", param.0, params)?;
        }
    }
    for (index, node) in exprs.nodes.iter().enumerate() {
        operands(&node.op, Which::All, |operand| below("operand", operand.0, index))?;
        if let Some(layer) = node.op.layer() {
            below("layer", layer.0, layers)?;
        }
        match &node.op {
            Op::Param(param) => below("parameter", param.0, params)?,
            Op::Load { bits, .. } if !(1..=64).contains(bits) => {
                return Err(Defect::Width { node: index, bits: *bits });
            }
            Op::LoadOrZero { bytes, .. } if !matches!(bytes, 1 | 2 | 4) => {
                return Err(Defect::Width { node: index, bits: bytes.saturating_mul(8) });
            }
            Op::Call { symbol, handle, .. } => {
                if let Some(handle) = handle {
                    below("handle", handle.0, exprs.handles.len())?;
                }
                if functions::scalar(symbol).is_none() {
                    return Err(Defect::UnknownFunction { symbol });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn layers(selectors: &[LayerSel]) -> Result<(), Defect> {
    selectors.iter().enumerate().try_for_each(|(index, selector)| match selector.anchor() {
        Some(layer) => below("layer", layer.0, index),
        None => Ok(()),
    })
}

fn header_program(header: &HeaderProgram, params: usize) -> Result<(), Defect> {
    layers(&header.layers)?;
    exprs(&header.exprs, header.layers.len(), params)?;
    let conditions = header.children.iter().filter_map(|(_, when)| when.as_ref());
    nodes(&header.exprs, header.checks.iter().chain(conditions).chain([&header.length]))
}

fn lfta_program(program: &LftaProgram, params: usize) -> Result<(), Defect> {
    layers(&program.layers)?;
    exprs(&program.exprs, program.layers.len(), params)?;
    nodes(&program.exprs, &program.prefilter)?;
    for query in &program.queries {
        let used = &query.requires;
        used.iter().try_for_each(|layer| below("layer", layer.0, program.layers.len()))?;
        quals(&program.exprs, &query.quals)?;
        match &query.action {
            LftaAction::Select { outputs, ordered: columns } => {
                nodes(&program.exprs, outputs)?;
                ordered(columns, outputs.len())?;
            }
            LftaAction::Aggregate { keys, ordered: columns, aggs, slots, .. } => {
                nodes(&program.exprs, keys)?;
                nodes(&program.exprs, aggs.iter().filter_map(|agg| agg.arg.as_ref()))?;
                ordered(columns, keys.len())?;
                if !slots.is_power_of_two() || *slots > TABLE_SLOTS_MAX {
                    return Err(Defect::Slots { slots: *slots });
                }
            }
        }
    }
    Ok(())
}

/// Columns of a stream.
fn stream_width(plan: &PhysicalPlan, widths: &[usize], stream: StreamRef) -> Result<usize, Defect> {
    match stream {
        StreamRef::Hfta(node) => {
            below("input", node, widths.len())?;
            Ok(widths[node as usize])
        }
        StreamRef::Lfta { interface, query } => {
            below("interface", interface, plan.interfaces.len())?;
            let program = &plan.interfaces[interface as usize].program;
            below("query", query, program.queries.len())?;
            Ok(match &program.queries[query as usize].action {
                LftaAction::Select { outputs, .. } => outputs.len(),
                LftaAction::Aggregate { keys, aggs, .. } => keys.len() + aggs.len(),
            })
        }
    }
}

/// Index of the last of `len` things, as a number that [`below`] takes.
fn last(len: usize) -> u64 {
    len.saturating_sub(1) as u64
}

/// Checks a node and gives the columns of its stream.
fn hfta_node(plan: &PhysicalPlan, widths: &[usize], node: &HftaNode) -> Result<usize, Defect> {
    let params = plan.params.len();
    let mut columns = usize::MAX;
    for input in grouped_inputs(node) {
        columns = columns.min(stream_width(plan, widths, *input)?);
    }
    below("first input", 0u64, node.inputs.len())?;
    match &node.op {
        HftaOp::Select { exprs: dag, quals: conjuncts, outputs, ordered } => {
            exprs(dag, 0, params)?;
            quals(dag, conjuncts)?;
            nodes(dag, outputs)?;
            ordered.iter().try_for_each(|(o, _)| below("ordered output", *o, outputs.len()))?;
            Ok(outputs.len())
        }
        HftaOp::Aggregate(aggregate) => {
            aggregation(aggregate, params)?;
            if let Some(seen) = aggregate.seen {
                below("first input of what was seen", seen.first_input, node.inputs.len())?;
                for input in &node.inputs[seen.first_input as usize..] {
                    let width = stream_width(plan, widths, *input)?;
                    below("column of what was seen", aggregate.ordered.len() as u64, width)?;
                }
            }
            Ok(aggregate.outputs.len())
        }
        HftaOp::Session(session) => {
            below("further input", last(node.inputs.len()), 1)?;
            below("time column", session.time, columns)?;
            aggregation(&session.group, params)?;
            for &(output, agg) in &session.ended_outputs {
                below("ordered output", output, session.group.outputs.len())?;
                below("aggregate", agg, session.group.aggs.len())?;
            }
            Ok(session.group.outputs.len())
        }
        HftaOp::Merge { column, .. } => {
            column.map_or(Ok(()), |(c, _)| below("merge column", c, columns))?;
            Ok(columns)
        }
        HftaOp::Distinct { window } => {
            ordered(window, columns)?;
            Ok(columns)
        }
        HftaOp::Sort { window, exprs: dag, keys, outputs, .. } => {
            exprs(dag, 0, params)?;
            ordered(window, columns)?;
            nodes(dag, keys.iter().map(|(node, _)| node))?;
            outputs.iter().try_for_each(|column| below("kept column", *column, columns))?;
            Ok(outputs.len())
        }
    }
}

/// The inputs whose tuples have the columns that the node's expressions read.
fn grouped_inputs(node: &HftaNode) -> &[StreamRef] {
    match &node.op {
        HftaOp::Aggregate(aggregate) => {
            let seen = aggregate.seen.map_or(node.inputs.len(), |seen| seen.first_input as usize);
            &node.inputs[..seen.min(node.inputs.len())]
        }
        _ => &node.inputs,
    }
}

fn aggregation(aggregate: &Aggregate, params: usize) -> Result<(), Defect> {
    let Aggregate { exprs: dag, keys, key_types, aggs, post, outputs, patterns, .. } = aggregate;
    exprs(dag, 0, params)?;
    quals(dag, &aggregate.quals)?;
    nodes(dag, keys)?;
    nodes(dag, aggs.iter().flat_map(|agg| &agg.args))?;
    ordered(&aggregate.ordered, keys.len())?;
    if patterns.is_empty() || keys.len() > u64::BITS as usize || key_types.len() != keys.len() {
        return Err(Defect::Patterns { patterns: patterns.len(), keys: keys.len() });
    }
    exprs(post, 0, params)?;
    nodes(post, &aggregate.having)?;
    nodes(post, outputs)?;
    let ordered_outputs = &aggregate.ordered_outputs;
    ordered_outputs.iter().try_for_each(|(o, _)| below("ordered output", *o, outputs.len()))
}
