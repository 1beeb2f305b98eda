//! Drops nodes, layers and handles that nothing uses, so that listings and backends see only what runs.

use std::collections::HashMap;

use super::program::roots;
use crate::ir::{Exprs, HandleId, LayerId, LayerSel, LftaAction, LftaQuery, Node, NodeId, Op};

/// Renumbers a program to what its queries reach.
pub fn compact(
    exprs: Exprs,
    layers: Vec<LayerSel>,
    queries: &mut [LftaQuery],
    prefilter: &mut Option<NodeId>,
) -> (Exprs, Vec<LayerSel>) {
    let mut used = vec![false; exprs.nodes.len()];
    let mut pending: Vec<NodeId> = queries.iter().flat_map(roots).chain(*prefilter).collect();
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut used[id.0 as usize], true) {
            pending.extend(exprs.nodes[id.0 as usize].op.operands());
        }
    }
    let mut layer_used = vec![false; layers.len()];
    let mut pending: Vec<LayerId> = queries.iter().flat_map(|q| q.requires.clone()).collect();
    pending.extend(
        exprs.nodes.iter().zip(&used).filter(|(_, u)| **u).filter_map(|(n, _)| n.op.layer()),
    );
    while let Some(id) = pending.pop() {
        if !std::mem::replace(&mut layer_used[id.0 as usize], true) {
            pending.extend(layers[id.0 as usize].anchor());
        }
    }
    let layer_map = renumber(&layer_used);
    let node_map = renumber(&used);
    let new_layer = |l: LayerId| LayerId(layer_map[l.0 as usize]);
    let new_node = |n: NodeId| NodeId(node_map[n.0 as usize]);
    let mut handles = Vec::new();
    let mut handle_map: HashMap<HandleId, HandleId> = HashMap::new();
    let mut nodes = Vec::with_capacity(exprs.nodes.len());
    for (node, _) in exprs.nodes.into_iter().zip(&used).filter(|(_, used)| **used) {
        let mut new_handle = |h: HandleId| {
            *handle_map.entry(h).or_insert_with(|| {
                handles.push(exprs.handles[h.0 as usize].clone());
                HandleId((handles.len() - 1) as u32)
            })
        };
        nodes.push(Node { op: remap(node.op, &new_node, &new_layer, &mut new_handle), ..node });
    }
    let layers = layers
        .into_iter()
        .zip(&layer_used)
        .filter(|(_, used)| **used)
        .map(|(sel, _)| remap_layer(sel, &new_layer))
        .collect();
    for query in queries {
        query.requires.iter_mut().for_each(|l| *l = new_layer(*l));
        query.quals.iter_mut().for_each(|q| q.node = new_node(q.node));
        match &mut query.action {
            LftaAction::Select { outputs, .. } => {
                outputs.iter_mut().for_each(|n| *n = new_node(*n));
            }
            LftaAction::Aggregate { keys, aggs, .. } => {
                keys.iter_mut().for_each(|n| *n = new_node(*n));
                aggs.iter_mut().for_each(|a| a.arg = a.arg.map(new_node));
            }
        }
    }
    *prefilter = prefilter.map(new_node);
    let is_used = |(node, _): &(NodeId, Box<str>)| used[node.0 as usize];
    let filters = exprs.filters.into_iter().filter(is_used);
    let filters = filters.map(|(node, text)| (new_node(node), text)).collect();
    (Exprs { nodes, handles, filters }, layers)
}

fn renumber(used: &[bool]) -> Vec<u32> {
    let mut next = 0;
    used.iter()
        .map(|&used| {
            let own = next;
            next += u32::from(used);
            own
        })
        .collect()
}

fn remap_layer(sel: LayerSel, layer: &impl Fn(LayerId) -> LayerId) -> LayerSel {
    match sel {
        LayerSel::Below(l, p) => LayerSel::Below(layer(l), p),
        LayerSel::Above(l, p) => LayerSel::Above(layer(l), p),
        LayerSel::RunLast(l, p) => LayerSel::RunLast(layer(l), p),
        LayerSel::RunNth(l, p, n) => LayerSel::RunNth(layer(l), p, n),
        sel => sel,
    }
}

fn remap(
    op: Op,
    n: &impl Fn(NodeId) -> NodeId,
    l: &impl Fn(LayerId) -> LayerId,
    h: &mut impl FnMut(HandleId) -> HandleId,
) -> Op {
    match op {
        Op::Load { layer, at, byte, bit, bits, little } => {
            Op::Load { layer: l(layer), at: at.map(n), byte, bit, bits, little }
        }
        Op::LoadOrZero { layer, at, byte, bytes } => {
            Op::LoadOrZero { layer: l(layer), at: at.map(n), byte, bytes }
        }
        Op::InBounds { layer, at, byte, bytes } => {
            Op::InBounds { layer: l(layer), at: at.map(n), byte, bytes }
        }
        Op::LoadIpv6 { layer, at, byte } => Op::LoadIpv6 { layer: l(layer), at: at.map(n), byte },
        Op::Slice { layer, at, len } => Op::Slice { layer: l(layer), at: n(at), len: len.map(n) },
        Op::Present(layer) => Op::Present(l(layer)),
        Op::Offset(layer) => Op::Offset(l(layer)),
        Op::Depth { protocol, run_below } => Op::Depth { protocol, run_below: run_below.map(l) },
        Op::ByProtocol { layer, arms } => Op::ByProtocol {
            layer: l(layer),
            arms: arms.into_iter().map(|(p, a)| (p, n(a))).collect(),
        },
        Op::Unary(op, a) => Op::Unary(op, n(a)),
        Op::Binary(op, a, b) => Op::Binary(op, n(a), n(b)),
        Op::Saturating(op, a, b) => Op::Saturating(op, n(a), n(b)),
        Op::Compare(op, a, b) => Op::Compare(op, n(a), n(b)),
        Op::And(a, b) => Op::And(n(a), n(b)),
        Op::Or(a, b) => Op::Or(n(a), n(b)),
        Op::Not(a) => Op::Not(n(a)),
        Op::In(a, values) => Op::In(n(a), values),
        Op::Select { cond, then, otherwise } => {
            Op::Select { cond: n(cond), then: n(then), otherwise: n(otherwise) }
        }
        Op::Cast(a) => Op::Cast(n(a)),
        Op::Call { symbol, args, handle } => {
            Op::Call { symbol, args: args.into_iter().map(n).collect(), handle: handle.map(h) }
        }
        leaf @ (Op::Const(_) | Op::Param(_) | Op::Input(_) | Op::Meta(_)) => leaf,
    }
}
