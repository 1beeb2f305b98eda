//! What can be known of a header walk before any packet: which headers it can meet, which of them can come again, how far a header is from
//! one that is looked for, and in which order to look for children. Every backend that makes code of a walk begins here.

use std::ops::Range;

use wt_catalog::{ProtocolId, Value};
use wt_lang::ast::CmpOp;

use crate::ir::{Exprs, HeaderProgram, LayerId, LayerSel, NodeId, Op, ParseSpec};

/// What [`Op::Depth`] counts: headers of a protocol, all of them or those of the run below a layer.
pub type Count = (ProtocolId, Option<LayerId>);

/// What is counted in a program, each once.
pub fn counted(exprs: &Exprs) -> Vec<Count> {
    let mut counts = Vec::new();
    for node in &exprs.nodes {
        if let Op::Depth { protocol, run_below } = node.op
            && !counts.contains(&(protocol, run_below))
        {
            counts.push((protocol, run_below));
        }
    }
    counts
}

/// The headers of one link type.
#[derive(Debug)]
pub struct Paths<'p> {
    parse: &'p ParseSpec,
    /// Where paths begin; `None` for unknown link types and walks that look at nothing.
    pub start: Option<ProtocolId>,
    /// Every header that a path may have, parents mostly before children.
    pub reached: Vec<ProtocolId>,
    /// By protocol: a path may have it more than once.
    repeats: Vec<bool>,
    /// By protocol that a layer is looked for among, by protocol: headers from the latter to the former.
    distances: Vec<Vec<u32>>,
}

impl<'p> Paths<'p> {
    /// The paths of packets that begin as `link_type` says, on the look-out for `layers`.
    pub fn new(parse: &'p ParseSpec, link_type: u16, layers: &[LayerSel]) -> Self {
        let start = parse.start.iter().find(|(number, _)| *number == link_type).map(|(_, id)| *id);
        let start = start.filter(|id| parse.protocols[id.0 as usize].is_some());
        let mut paths = Self {
            parse,
            start,
            reached: Vec::new(),
            repeats: vec![false; parse.protocols.len()],
            distances: Vec::new(),
        };
        paths.reached = start.map_or_else(Vec::new, |start| paths.reached_from(start));
        for index in 0..paths.reached.len() {
            let id = paths.reached[index];
            let mut below: Vec<ProtocolId> = Vec::new();
            for child in paths.children(id) {
                below.extend(paths.reached_from(child));
            }
            paths.repeats[id.0 as usize] = below.contains(&id);
        }
        paths.measure(layers);
        paths
    }

    /// The header of a protocol.
    pub fn header(&self, id: ProtocolId) -> Option<&'p HeaderProgram> {
        self.parse.protocols.get(id.0 as usize)?.as_ref()
    }

    /// The headers that may follow one.
    pub fn children(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let children = self.header(id).into_iter().flat_map(|h| &h.children);
        children.map(|(child, _)| *child).filter(|child| self.header(*child).is_some()).collect()
    }

    fn reached_from(&self, start: ProtocolId) -> Vec<ProtocolId> {
        let mut reached = vec![start];
        let mut next = 0;
        while next < reached.len() {
            for child in self.children(reached[next]) {
                if !reached.contains(&child) {
                    reached.push(child);
                }
            }
            next += 1;
        }
        reached
    }

    fn measure(&mut self, layers: &[LayerSel]) {
        let mut wanted: Vec<ProtocolId> = layers
            .iter()
            .filter_map(|layer| match layer {
                LayerSel::First(kind)
                | LayerSel::Nth(kind, _)
                | LayerSel::Last(kind)
                | LayerSel::Below(_, kind) => Some(*kind),
                _ => None,
            })
            .collect();
        wanted.sort_unstable_by_key(|kind| kind.0);
        wanted.dedup();
        self.distances = wanted.into_iter().map(|kind| self.distances_to(kind)).collect();
    }

    /// By protocol: headers from it to one of a kind.
    fn distances_to(&self, kind: ProtocolId) -> Vec<u32> {
        let mut distances = vec![u32::MAX; self.parse.protocols.len()];
        for &id in self.reached.iter().filter(|id| self.is(**id, kind)) {
            distances[id.0 as usize] = 0;
        }
        for _ in 0..self.reached.len() {
            let before = distances.clone();
            for &id in &self.reached {
                let nearest = self.children(id).iter().map(|c| distances[c.0 as usize]).min();
                let through = nearest.unwrap_or(u32::MAX).saturating_add(1);
                let own = &mut distances[id.0 as usize];
                *own = (*own).min(through);
            }
            if distances == before {
                break;
            }
        }
        distances
    }

    /// Whether a header of `id` counts as one of `kind`.
    pub fn is(&self, id: ProtocolId, kind: ProtocolId) -> bool {
        id == kind || self.header(id).is_some_and(|h| h.counts_as.contains(&kind))
    }

    /// Whether a path may have a header more than once.
    pub fn repeats(&self, id: ProtocolId) -> bool {
        self.repeats[id.0 as usize]
    }

    /// Headers from it to one that a layer is looked for among; `u32::MAX` where none can follow.
    pub fn distance(&self, id: ProtocolId) -> u32 {
        self.distances.iter().map(|of| of[id.0 as usize]).min().unwrap_or(u32::MAX)
    }

    /// By kind of header that is looked for: headers from `id` to one of it, and from the first header; kinds that cannot follow
    /// `id` are left out.
    fn ways(&self, id: ProtocolId) -> impl Iterator<Item = (u32, u32)> {
        let start = self.start.unwrap_or(id);
        let of = move |of: &Vec<u32>| (of[id.0 as usize], of[start.0 as usize]);
        self.distances.iter().map(of).filter(|(from, _)| *from < u32::MAX)
    }

    /// Whether a header that comes as number `depth`, from 0, is on a nearest way to one that is looked for.
    pub fn is_on_the_way(&self, id: ProtocolId, depth: u32) -> bool {
        self.ways(id).any(|(from, whole)| depth.saturating_add(from) == whole)
    }

    /// Whether, on such a way, one that is looked for comes right behind it.
    pub fn is_next_to_last(&self, id: ProtocolId, depth: u32) -> bool {
        self.ways(id).any(|(from, whole)| from == 1 && depth + 1 == whole)
    }

    /// Where the layers are on a path: indices into it. The packet itself is at none.
    pub fn resolve(&self, layers: &[LayerSel], path: &[ProtocolId]) -> Vec<Option<usize>> {
        let mut found: Vec<Option<usize>> = Vec::with_capacity(layers.len());
        for selector in layers {
            let is = |kind: ProtocolId| move |i: &usize| self.is(path[*i], kind);
            // The header itself is at `depth - 1`; the packet has depth 0.
            let depth = |layer: &LayerId| match layers[layer.0 as usize] {
                LayerSel::Packet => Some(0),
                _ => found[layer.0 as usize].map(|i| i + 1),
            };
            let below = |layer: &LayerId| depth(layer).unwrap_or(path.len())..path.len();
            let index = match selector {
                LayerSel::Packet | LayerSel::This => None,
                LayerSel::First(kind) => (0..path.len()).find(is(*kind)),
                LayerSel::Nth(kind, n) => (0..path.len()).filter(is(*kind)).nth(*n as usize),
                LayerSel::Last(kind) => (0..path.len()).rev().find(is(*kind)),
                LayerSel::Below(layer, kind) => below(layer).find(is(*kind)),
                LayerSel::Above(layer, kind) => {
                    (0..depth(layer).unwrap_or(0).saturating_sub(1)).rev().find(is(*kind))
                }
                LayerSel::RunLast(layer, kind) => self.run(path, below(layer), *kind).last(),
                LayerSel::RunNth(layer, kind, n) => {
                    self.run(path, below(layer), *kind).nth(*n as usize)
                }
            };
            found.push(index);
        }
        found
    }

    /// What is counted on a path whose layers are at `found`.
    pub fn count(
        &self,
        counts: &[Count],
        (layers, found): (&[LayerSel], &[Option<usize>]),
        path: &[ProtocolId],
    ) -> Vec<usize> {
        let of = |(kind, below): &Count| match below {
            None => path.iter().filter(|id| self.is(**id, *kind)).count(),
            Some(layer) => {
                let depth = match layers[layer.0 as usize] {
                    LayerSel::Packet => Some(0),
                    _ => found[layer.0 as usize].map(|i| i + 1),
                };
                depth.map_or(0, |depth| self.run(path, depth..path.len(), *kind).count())
            }
        };
        counts.iter().map(of).collect()
    }

    /// The headers of a kind in the run that a part of a path begins with: headers of the kind, and such as continue it.
    fn run<'a>(
        &'a self,
        path: &'a [ProtocolId],
        within: Range<usize>,
        kind: ProtocolId,
    ) -> impl Iterator<Item = usize> + 'a {
        within
            .take_while(move |&i| self.is(path[i], kind) || self.continues(path[i]))
            .filter(move |&i| self.is(path[i], kind))
    }

    /// Whether runs of headers go on through one.
    pub fn continues(&self, id: ProtocolId) -> bool {
        self.header(id).is_some_and(|header| header.continues)
    }

    /// Bytes from the first of a layer of `kind` that are captured whenever it is there.
    pub fn captured_bytes(&self, kind: ProtocolId) -> u32 {
        let headers = self.reached.iter().filter(|id| self.is(**id, kind));
        headers.filter_map(|id| self.header(*id)).map(|h| h.min).min().unwrap_or(0)
    }

    /// The children of a header, by `rank` where their conditions exclude each other, and then the nearest to what is looked for first.
    pub fn children_in_order(
        &self,
        header: &HeaderProgram,
        rank: impl Fn(ProtocolId) -> usize,
    ) -> Vec<(ProtocolId, Option<NodeId>)> {
        let mut children = header.children.clone();
        let tests: Vec<_> = children
            .iter()
            .map(|(_, when)| when.and_then(|when| test_of(&header.exprs, when)))
            .collect();
        let mut first = 0;
        while first < children.len() {
            // A run of children that test one node for values of their own may be asked in any order.
            let mut end = first + 1;
            let mut values = tests[first].clone().map_or_else(Vec::new, |(_, values)| values);
            while end < children.len()
                && let (Some((node, _)), Some((other, more))) = (&tests[first], &tests[end])
                && node == other
                && !more.iter().any(|more| values.iter().any(|have| overlap(*more, *have)))
            {
                values.extend(more);
                end += 1;
            }
            children[first..end].sort_by_key(|(child, _)| (rank(*child), self.distance(*child)));
            first = end;
        }
        children
    }
}

/// Values from the first to the last.
type Values = (u64, u64);

fn overlap(a: Values, b: Values) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// The unsigned node that a condition compares with constants, and those: the condition is FALSE, or has no value, for all others.
fn test_of(exprs: &Exprs, condition: NodeId) -> Option<(NodeId, Vec<Values>)> {
    let op = |node: NodeId| &exprs.nodes[node.0 as usize].op;
    let is_unsigned = |node: NodeId| !exprs.nodes[node.0 as usize].ty.is_signed();
    let natural = |value: &Value| value.as_i128().and_then(|i| u64::try_from(i).ok());
    match op(condition) {
        Op::Compare(cmp, a, b) if is_unsigned(*a) => {
            let Op::Const(value) = op(*b) else { return None };
            let value = natural(value)?;
            let range = match cmp {
                CmpOp::Eq => (value, value),
                CmpOp::Le => (0, value),
                CmpOp::Ge => (value, u64::MAX),
                _ => return None,
            };
            Some((*a, vec![range]))
        }
        Op::In(a, members) if is_unsigned(*a) => {
            let ranges: Option<Vec<Values>> =
                members.iter().map(|m| natural(m).map(|value| (value, value))).collect();
            Some((*a, ranges?))
        }
        Op::Select { cond, otherwise, .. }
            if matches!(op(*otherwise), Op::Const(Value::Bool(false))) =>
        {
            test_of(exprs, *cond)
        }
        Op::And(a, b) => test_of(exprs, *a).or_else(|| test_of(exprs, *b)),
        _ => None,
    }
}
