//! What can be known of a header walk before any packet: which headers it can meet, which of them can come again, and in which
//! order to look for children.

use wt_catalog::{ProtocolId, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{Exprs, HeaderProgram, LayerSel, NodeId, Op, ParseSpec};

use crate::interp::PATH_HEADERS_MAX;

/// Most steps of likely paths: each is code of its own.
const LIKELY_MAX: usize = 20;

/// A header on a likely path.
pub(super) struct Step {
    pub(super) id: ProtocolId,
    parent: Option<usize>,
    /// Children that are likely too, with the index of their step.
    pub(super) next: Vec<(ProtocolId, usize)>,
}

/// The headers of one link type.
pub(super) struct Paths<'p> {
    parse: &'p ParseSpec,
    /// Where paths begin; `None` for unknown link types and walks that look at nothing.
    pub(super) start: Option<ProtocolId>,
    /// Every header that a path may have, parents mostly before children.
    pub(super) reached: Vec<ProtocolId>,
    /// By protocol: a path may have it more than once.
    repeats: Vec<bool>,
    /// By protocol: headers from it to one that a layer is looked for among.
    distance: Vec<u32>,
}

impl<'p> Paths<'p> {
    pub(super) fn new(parse: &'p ParseSpec, link_type: u16, layers: &[LayerSel]) -> Self {
        let start = parse.start.iter().find(|(number, _)| *number == link_type).map(|(_, id)| *id);
        let start = start.filter(|id| parse.protocols[id.0 as usize].is_some());
        let mut paths = Self {
            parse,
            start,
            reached: Vec::new(),
            repeats: vec![false; parse.protocols.len()],
            distance: vec![u32::MAX; parse.protocols.len()],
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

    pub(super) fn header(&self, id: ProtocolId) -> Option<&'p HeaderProgram> {
        self.parse.protocols.get(id.0 as usize)?.as_ref()
    }

    fn children(&self, id: ProtocolId) -> Vec<ProtocolId> {
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
        let wanted: Vec<ProtocolId> = layers
            .iter()
            .filter_map(|layer| match layer {
                LayerSel::First(kind) | LayerSel::Nth(kind, _) | LayerSel::Last(kind) => {
                    Some(*kind)
                }
                LayerSel::Below(_, kind) => Some(*kind),
                _ => None,
            })
            .collect();
        for &id in &self.reached {
            if wanted.iter().any(|kind| self.is(id, *kind)) {
                self.distance[id.0 as usize] = 0;
            }
        }
        for _ in 0..self.reached.len() {
            for &id in &self.reached {
                let nearest = self.children(id).iter().map(|c| self.distance[c.0 as usize]).min();
                let through = nearest.unwrap_or(u32::MAX).saturating_add(1);
                let own = &mut self.distance[id.0 as usize];
                *own = (*own).min(through);
            }
        }
    }

    /// Whether a header of `id` counts as one of `kind`.
    pub(super) fn is(&self, id: ProtocolId, kind: ProtocolId) -> bool {
        id == kind || self.header(id).is_some_and(|h| h.counts_as.contains(&kind))
    }

    pub(super) fn repeats(&self, id: ProtocolId) -> bool {
        self.repeats[id.0 as usize]
    }

    /// Whether some path may have more headers than are followed.
    pub(super) fn may_be_too_long(&self) -> bool {
        self.repeats.iter().any(|repeats| *repeats) || self.reached.len() > PATH_HEADERS_MAX
    }

    /// Likely paths from the first header on, as a tree. They go the nearest way to a header that is looked for; and beside that header they
    /// take in what else follows its parent (UDP where TCP is looked for), with which most other packets end. None has a protocol twice.
    pub(super) fn likely(&self, start: ProtocolId) -> Vec<Step> {
        let distance = |id: ProtocolId| self.distance[id.0 as usize];
        let mut steps = vec![Step { id: start, parent: None, next: Vec::new() }];
        let mut index = 0;
        while index < steps.len() {
            let Step { id, parent, .. } = steps[index];
            let is_aside = parent.is_some_and(|p: usize| distance(steps[p].id) <= distance(id));
            let children = if is_aside { Vec::new() } else { self.children(id) };
            for child in children {
                let is_nearer = distance(child) < distance(id);
                let is_beside = distance(id) == 1 && !on_path(&steps, index, child);
                if (is_nearer || is_beside) && steps.len() < LIKELY_MAX {
                    let next = steps.len();
                    steps[index].next.push((child, next));
                    steps.push(Step { id: child, parent: Some(index), next: Vec::new() });
                }
            }
            index += 1;
        }
        steps
    }

    /// Bytes from the first of a layer of `kind` that are captured whenever it is there.
    pub(super) fn captured_bytes(&self, kind: ProtocolId) -> u32 {
        let headers = self.reached.iter().filter(|id| self.is(**id, kind));
        headers.filter_map(|id| self.header(*id)).map(|h| h.min).min().unwrap_or(0)
    }

    /// The children of a header, the likely ones first where their conditions exclude each other.
    pub(super) fn children_in_order(
        &self,
        header: &HeaderProgram,
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
            children[first..end].sort_by_key(|(child, _)| self.distance[child.0 as usize]);
            first = end;
        }
        children
    }
}

/// Whether a protocol is on the path to a step, or is its own.
fn on_path(steps: &[Step], step: usize, protocol: ProtocolId) -> bool {
    let mut at = Some(step);
    while let Some(index) = at {
        if steps[index].id == protocol {
            return true;
        }
        at = steps[index].parent;
    }
    false
}

/// Values from the first to the last.
type Range = (u64, u64);

fn overlap(a: Range, b: Range) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// The unsigned node that a condition compares with constants, and those: the condition is FALSE for all others.
fn test_of(exprs: &Exprs, condition: NodeId) -> Option<(NodeId, Vec<Range>)> {
    let op = |node: NodeId| &exprs.nodes[node.0 as usize].op;
    let constant = |node: NodeId| match op(node) {
        // Below every unsigned number, not above as its pattern would be.
        Op::Const(Value::Int(i)) if *i < 0 => None,
        Op::Const(value) => value.as_u64(),
        _ => None,
    };
    let is_unsigned = |node: NodeId| !exprs.nodes[node.0 as usize].ty.is_signed();
    match op(condition) {
        Op::Compare(cmp, a, b) if is_unsigned(*a) => {
            let value = constant(*b)?;
            let range = match cmp {
                CmpOp::Eq => (value, value),
                CmpOp::Le => (0, value),
                CmpOp::Ge => (value, u64::MAX),
                _ => return None,
            };
            Some((*a, vec![range]))
        }
        Op::In(a, members) if is_unsigned(*a) => {
            let ranges: Option<Vec<Range>> =
                members.iter().map(|m| m.as_u64().map(|value| (value, value))).collect();
            Some((*a, ranges?))
        }
        Op::Select { cond, otherwise, .. } if constant(*otherwise) == Some(0) => {
            test_of(exprs, *cond)
        }
        Op::And(a, b) => test_of(exprs, *a).or_else(|| test_of(exprs, *b)),
        _ => None,
    }
}
