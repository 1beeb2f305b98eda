//! How many tuples pass each node when nothing has been counted: from what is assumed of the traffic, by textbook rules.

use wt_catalog::Catalog;

use super::selectivity::{layer_share, selectivities};
use super::traffic::{Flows, LftaFlow, NodeFlow, Traffic};
use crate::ir::{LftaAction, LftaProgram, LftaQuery, NodeId, Qual};
use crate::physical::{Aggregate, HftaNode, HftaOp, PhysicalPlan, StreamRef};
use crate::shape::{Shape, reader_ahead, shape};

/// The flows of a plan over such traffic, all interfaces alike.
pub fn estimate(plan: &PhysicalPlan, catalog: &Catalog, traffic: &Traffic) -> Flows {
    let share = 1.0 / plan.interfaces.len().max(1) as f64;
    let mut flows = Flows {
        wire_bytes: traffic.packet_bytes,
        captured_bytes: traffic.packet_bytes,
        shares: vec![share; plan.interfaces.len()],
        ..Flows::default()
    };
    for (i, interface) in plan.interfaces.iter().enumerate() {
        let program = &interface.program;
        let truths = selectivities(&program.exprs);
        let of = |(number, query): (usize, &LftaQuery)| {
            let present = present(program, query, catalog);
            let matched = matched(query, present, &truths, traffic);
            let (sent, kept) = sent(query, shape(plan, i, number), share * matched, traffic);
            let (present, matched) = (share * present.max(matched), share * matched);
            LftaFlow { present, matched, sent, kept }
        };
        flows.lftas.push(program.queries.iter().enumerate().map(of).collect());
    }
    for node in &plan.nodes {
        let flow = operator(plan, node, &flows, traffic);
        flows.nodes.push(flow);
    }
    flows
}

/// Share of an interface's packets that have the headers a query asks for.
fn present(program: &LftaProgram, query: &LftaQuery, catalog: &Catalog) -> f64 {
    let layers = query.requires.iter().map(|layer| layer_share(catalog, &program.layers, *layer));
    layers.fold(1.0, f64::min)
}

/// Share of an interface's packets that a query takes.
fn matched(query: &LftaQuery, present: f64, truths: &[f64], traffic: &Traffic) -> f64 {
    let takes_all = query.requires.is_empty() && query.quals.is_empty();
    match traffic.matched {
        Some(share) if !takes_all => share,
        _ => present * passing(&query.quals, truths),
    }
}

/// Share of the tuples that pass all quals.
pub(super) fn passing(quals: &[Qual], truths: &[f64]) -> f64 {
    quals.iter().map(|qual| truths[qual.node.0 as usize]).product()
}

/// What is sent of so many tuples, and the groups kept at a time.
fn sent(query: &LftaQuery, shape: Shape, matched: f64, traffic: &Traffic) -> (f64, f64) {
    let packets = traffic.window_packets;
    let LftaAction::Aggregate { keys, ordered, tolerance, .. } = &query.action else {
        return (matched, 0.0);
    };
    let groups = match keys.len() > ordered.len() {
        true => traffic.groups.min(matched * packets),
        false => 1.0,
    };
    let whole = groups / packets;
    match shape {
        Shape::Slots { slots } => {
            let ejected = matched * ejected_share(groups, f64::from(slots));
            // What was ejected is not there any more when the window closes.
            (whole.max(ejected).min(matched), groups.min(f64::from(slots)))
        }
        Shape::Words { groups_max: Some(most), .. } => {
            let most = f64::from(most);
            let ejected = matched * emptied_share(groups, most);
            let kept = groups * (1.0 + *tolerance as f64);
            (whole.max(ejected).min(matched), kept.min(most))
        }
        _ => (whole, groups * (1.0 + *tolerance as f64)),
    }
}

/// Share of the tuples that eject another group from a direct-mapped table: the slot's last tuple was of another group.
fn ejected_share(groups: f64, slots: f64) -> f64 {
    let load = groups / slots;
    if load < 1e-6 { 0.0 } else { 1.0 - (1.0 - (-load).exp()) / load }
}

/// Groups per tuple that leave a table which is emptied when it holds `most`: so many tuples bring those, of equally frequent groups.
fn emptied_share(groups: f64, most: f64) -> f64 {
    let filled = most / groups.max(1.0);
    if filled >= 1.0 { 0.0 } else { filled / -(-filled).ln_1p() }
}

fn operator(plan: &PhysicalPlan, node: &HftaNode, flows: &Flows, traffic: &Traffic) -> NodeFlow {
    let packets = traffic.window_packets;
    let input: f64 = node.inputs.iter().map(|stream| flows.of(*stream)).sum();
    let plain = |taken: f64| NodeFlow { input, taken, output: taken, ..NodeFlow::default() };
    // As the packets of a window: whatever the window, it sees as many.
    let distinct = |most: Option<u64>| {
        let most = most.map_or(f64::INFINITY, |most| most as f64);
        traffic.groups.min(most)
    };
    match &node.op {
        HftaOp::Select { exprs, quals, .. } => plain(input * passing(quals, &selectivities(exprs))),
        HftaOp::Merge { queue_tuples_max, .. } => {
            let queued = f64::from(*queue_tuples_max).min(input * packets);
            NodeFlow { kept: queued, ..plain(input) }
        }
        HftaOp::Aggregate(aggregate) => {
            let first = aggregate.seen.map_or(node.inputs.len(), |seen| seen.first_input as usize);
            let tuples: f64 = node.inputs[..first].iter().map(|stream| flows.of(*stream)).sum();
            let taken = tuples * passing(&aggregate.quals, &selectivities(&aggregate.exprs));
            let one = distinct(node.memory.entries_max).min((taken * packets).max(1.0));
            let flow = grouped(aggregate, input, taken, one, packets);
            if takes_whole_groups(plan, node) { NodeFlow { kept: 0.0, ..flow } } else { flow }
        }
        HftaOp::Session(session) => {
            let group = &session.group;
            let taken = input * passing(&group.quals, &selectivities(&group.exprs));
            let one = distinct(None).min((taken * packets).max(1.0));
            grouped(group, input, taken, one, packets)
        }
        HftaOp::Distinct { .. } => {
            let kept = distinct(None).min(input * packets);
            NodeFlow { input, taken: input, groups: kept / packets, output: kept / packets, kept }
        }
        HftaOp::Sort { limit, .. } => {
            let rows = input * packets;
            let kept = limit.map_or(rows, |limit| rows.min(limit as f64));
            NodeFlow { input, taken: input, groups: 0.0, output: kept / packets, kept }
        }
    }
}

/// Groups of an aggregation that takes so many tuples per packet, `groups` of them per window with all keys on.
fn grouped(a: &Aggregate, input: f64, taken: f64, groups: f64, packets: f64) -> NodeFlow {
    let window: u64 = a.ordered.iter().map(|column| 1u64 << column.column).sum();
    let of_pattern = |pattern: &u64| if pattern & !window == 0 { 1.0 } else { groups };
    let made: f64 = a.patterns.iter().map(of_pattern).sum();
    let truths = selectivities(&a.post);
    let having: f64 = a.having.iter().map(|NodeId(n)| truths[*n as usize]).product();
    let kept = made * (1.0 + a.tolerance as f64);
    NodeFlow { input, taken, groups: made / packets, output: made * having / packets, kept }
}

/// Whether an operator is given each group once, complete, and keeps none.
pub(super) fn takes_whole_groups(plan: &PhysicalPlan, node: &HftaNode) -> bool {
    let [StreamRef::Lfta { interface, query }] = node.inputs[..] else { return false };
    let HftaOp::Aggregate(a) = &node.op else { return false };
    let is_plain = a.patterns.len() == 1 && a.quals.is_empty() && a.over_partials;
    is_plain
        && a.seen.is_none()
        && !a.real_time
        && shape(plan, interface as usize, query as usize).sends_whole_groups()
}

/// Tuples of a stream that an operator or result is really given: those that code has rejected ahead are left out.
pub(super) fn delivered(plan: &PhysicalPlan, flows: &Flows, stream: StreamRef) -> f64 {
    match reader_ahead(plan, stream) {
        Some(reader) => flows.nodes[reader].taken,
        None => flows.of(stream),
    }
}
