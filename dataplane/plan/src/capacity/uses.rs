//! For how many packets each node of a program is evaluated, and for which queries.

use super::traffic::LftaFlow;
use crate::ir::{LayerId, LftaAction, LftaProgram, LftaQuery, NodeId, Op};
use crate::lookup::exclusive;
use crate::split::asks_link_type;
use crate::vectors::vectors;

/// Who needs a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// No query: it belongs to an arm that plain packets do not take.
    Nobody,
    /// One query.
    Query(usize),
    /// More than one, or the prefilter.
    Several,
}

/// Use of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    pub(super) owner: Owner,
    /// Share of the packets of the batch that it is evaluated for.
    pub(super) share: f64,
}

/// A look-up takes as long as so many nodes.
const LOOKUP_NODES: f64 = 3.0;
/// A node takes such a share of its time for each of many packets.
const VECTOR_SHARE: f64 = 0.25;

/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// The use of every node, from the tuples of the queries. `share` is that of the interface.
pub(super) fn uses(program: &LftaProgram, flows: &[LftaFlow], share: f64) -> Vec<Use> {
    let nodes = &program.exprs.nodes;
    let costly = costly(program);
    let mut uses = vec![Use { owner: Owner::Nobody, share: 0.0 }; nodes.len()];
    for (number, (query, flow)) in program.queries.iter().zip(flows).enumerate() {
        for (node, wanted) in roots(query, flow, share, &costly) {
            want(&mut uses[node.0 as usize], Owner::Query(number), wanted);
        }
    }
    // Users come after what they use, so one pass downward suffices.
    for id in (0..nodes.len()).rev() {
        let Use { owner, share } = uses[id];
        if owner == Owner::Nobody {
            continue;
        }
        let below = match &nodes[id].op {
            Op::Select { cond, then, .. } if asks_link_type(&program.exprs, *cond) => vec![*then],
            // Plain packets are of one family.
            Op::ByProtocol { arms, .. } => arms.first().map(|arm| arm.1).into_iter().collect(),
            op => op.operands(),
        };
        for node in below {
            want(&mut uses[node.0 as usize], owner, share);
        }
    }
    look_up(program, &mut uses);
    by_vectors(program, &mut uses);
    uses
}

/// Filters that are looked up together are not asked one by one.
fn look_up(program: &LftaProgram, uses: &mut [Use]) {
    for set in exclusive(program, &[]) {
        let each = LOOKUP_NODES / set.queries.len() as f64;
        for (query, _) in &set.queries {
            for qual in &program.queries[*query].quals {
                let used = &mut uses[qual.node.0 as usize];
                if used.owner == Owner::Query(*query) {
                    used.share *= each;
                }
            }
        }
    }
}

/// Filters of many packets at once take less for each.
fn by_vectors(program: &LftaProgram, uses: &mut [Use]) {
    for filter in vectors(program, &[]).filters {
        for qual in &program.queries[filter.query].quals {
            let used = &mut uses[qual.node.0 as usize];
            if used.owner == Owner::Query(filter.query) {
                used.share *= VECTOR_SHARE;
            }
        }
    }
}

fn want(used: &mut Use, by: Owner, share: f64) {
    used.owner = match used.owner {
        Owner::Nobody => by,
        owner if owner == by => owner,
        _ => Owner::Several,
    };
    used.share = used.share.max(share);
}

/// The nodes a query asks for, each with the share of packets it does so for. Cheap quals are evaluated together, without branches; costly
/// ones for packets that have the headers and have passed those before.
fn roots(query: &LftaQuery, flow: &LftaFlow, share: f64, costly: &[bool]) -> Vec<(NodeId, f64)> {
    let LftaFlow { present, matched, .. } = *flow;
    let mut roots = Vec::new();
    let costly_quals = query.quals.iter().filter(|qual| costly[qual.node.0 as usize]).count();
    // The packets that reach a costly qual lie between those that match and those that have the headers: in the geometric middle, in
    // equal steps.
    let step = match matched > 0.0 {
        true => (matched / present).powf(1.0 / query.quals.len().max(1) as f64),
        false => 0.1,
    };
    let cheap = query.quals.len() - costly_quals;
    let mut reach = present * step.powi(cheap as i32);
    for qual in &query.quals {
        if costly[qual.node.0 as usize] {
            roots.push((qual.node, reach));
            reach *= step;
        } else {
            roots.push((qual.node, share));
        }
    }
    match &query.action {
        LftaAction::Select { outputs, .. } => roots.extend(outputs.iter().map(|n| (*n, matched))),
        LftaAction::Aggregate { keys, aggs, ordered, real_time, .. } => {
            let args = aggs.iter().filter_map(|agg| agg.arg);
            roots.extend(keys.iter().copied().chain(args).map(|n| (n, matched)));
            // Every packet may move the window.
            let windows = ordered.iter().filter(|_| *real_time);
            roots.extend(windows.map(|column| (keys[column.column as usize], share)));
        }
    }
    roots
}

/// Nodes that call the host, or use one that does.
fn costly(program: &LftaProgram) -> Vec<bool> {
    let mut costly: Vec<bool> = Vec::with_capacity(program.exprs.nodes.len());
    for node in &program.exprs.nodes {
        let below = node.op.operands().iter().any(|n| costly[n.0 as usize]);
        costly.push(below || matches!(node.op, Op::Call { .. }));
    }
    costly
}

/// Headers walked in a plain packet: on the shortest way from Ethernet to the deepest header that is looked for. What lies deeper than TCP
/// few packets have.
pub(super) fn walked_headers(program: &LftaProgram) -> f64 {
    let layers = (0..program.layers.len()).filter_map(|l| depth(program, LayerId(l as u32)));
    layers.fold(0, usize::max).min(PLAIN_HEADERS_MAX) as f64
}

/// Ethernet, IP, TCP or UDP, and one more.
const PLAIN_HEADERS_MAX: usize = 4;

fn depth(program: &LftaProgram, layer: LayerId) -> Option<usize> {
    let kind = program.layers.get(layer.0 as usize)?.protocol()?;
    let protocols = &program.parse.protocols;
    let start = program.parse.start.iter().find(|(link, _)| *link == ETHERNET)?.1;
    let mut seen = vec![false; protocols.len()];
    let mut reached = vec![start];
    let mut depth = 0;
    while !reached.is_empty() {
        depth += 1;
        let mut next = Vec::new();
        for id in reached {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let Some(header) = &protocols[id.0 as usize] else { continue };
            if id == kind || header.counts_as.contains(&kind) {
                return Some(depth);
            }
            next.extend(header.children.iter().map(|(child, _)| *child));
        }
        reached = next;
    }
    None
}
