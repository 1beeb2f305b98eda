//! What can be known of a header walk before any packet: which headers it can meet, and where layers are on a known path.

use wt_catalog::{ProtocolId, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{Exprs, HeaderProgram, LayerId, LayerSel, NodeId, Op, ParseSpec};

use super::emit::{Unportable, unportable};

/// Most headers of one path, as the interpreter has it.
pub(super) const PATH_HEADERS_MAX: usize = wt_engine::PATH_HEADERS_MAX;

/// Bit of a kind mask: runs go on through the header.
pub(super) const CONTINUES: u64 = 1 << 63;

/// Most steps of likely paths: each is code of its own.
const LIKELY_MAX: usize = 24;

/// What [`Op::Depth`] counts.
pub(super) type Count = (ProtocolId, Option<LayerId>);

/// The walk of one program.
pub(super) struct Paths<'p> {
    parse: &'p ParseSpec,
    pub(super) selectors: &'p [LayerSel],
    /// What is counted, each once.
    pub(super) counts: Vec<Count>,
    /// Where paths begin; nothing for walks that look at nothing.
    pub(super) start: Option<ProtocolId>,
    /// Every header that a path may have.
    pub(super) reached: Vec<ProtocolId>,
    /// Protocols that layers and counts name; a bit of a kind mask each.
    pub(super) kinds: Vec<ProtocolId>,
    /// Protocols of which declarations look for the nearest one above.
    pub(super) above: Vec<ProtocolId>,
    /// By protocol: a path may have it more than once.
    repeats: Vec<bool>,
    /// By protocol: headers from it to one that a layer is looked for among.
    distance: Vec<u32>,
}

/// A header on a likely path.
pub(super) struct Step {
    pub(super) id: ProtocolId,
    /// The headers above it, outermost first, then its own.
    pub(super) path: Vec<ProtocolId>,
    /// Children that are likely too, with the index of their step.
    pub(super) next: Vec<(ProtocolId, usize)>,
    /// A header on it was not on the nearest way.
    is_detour: bool,
}

impl<'p> Paths<'p> {
    pub(super) fn new(
        parse: &'p ParseSpec,
        selectors: &'p [LayerSel],
        exprs: &Exprs,
        link_type: u16,
    ) -> Result<Self, Unportable> {
        let start = parse.start.iter().find(|(number, _)| *number == link_type).map(|(_, id)| *id);
        let start = start.filter(|id| parse.protocols[id.0 as usize].is_some());
        let mut counts: Vec<Count> = Vec::new();
        for node in &exprs.nodes {
            if let Op::Depth { protocol, run_below } = node.op
                && !counts.contains(&(protocol, run_below))
            {
                counts.push((protocol, run_below));
            }
        }
        let mut paths = Self {
            parse,
            selectors,
            counts,
            start,
            reached: Vec::new(),
            kinds: Vec::new(),
            above: Vec::new(),
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
        paths.name_kinds()?;
        paths.measure();
        Ok(paths)
    }

    fn name_kinds(&mut self) -> Result<(), Unportable> {
        let mut above = Vec::new();
        for id in &self.reached {
            let Some(header) = self.header(*id) else { continue };
            for selector in &header.layers {
                match *selector {
                    LayerSel::This => {}
                    LayerSel::Above(LayerId(0), kind) => above.push(kind),
                    _ => return unportable("a declaration that looks at headers around its own"),
                }
            }
        }
        above.sort_unstable();
        above.dedup();
        let of_layer = |layer: &LayerSel| kind_of(layer);
        let layers = self.selectors.iter().filter_map(of_layer);
        let counted = self.counts.iter().map(|(kind, _)| *kind);
        self.kinds = layers.chain(counted).chain(above.iter().copied()).collect();
        self.kinds.sort_unstable();
        self.kinds.dedup();
        self.above = above;
        if self.kinds.len() > 62 {
            return unportable("layers of more than 62 protocols");
        }
        Ok(())
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

    fn measure(&mut self) {
        let wanted: Vec<ProtocolId> = self
            .selectors
            .iter()
            .filter_map(|layer| match layer {
                LayerSel::First(kind)
                | LayerSel::Nth(kind, _)
                | LayerSel::Last(kind)
                | LayerSel::Below(_, kind) => Some(*kind),
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

    fn continues(&self, id: ProtocolId) -> bool {
        self.header(id).is_some_and(|header| header.continues)
    }

    /// The kinds that a header counts as, a bit each, and whether runs go on through it.
    pub(super) fn mask(&self, id: ProtocolId) -> u64 {
        let kinds = self.kinds.iter().enumerate().filter(|(_, kind)| self.is(id, **kind));
        let mask = kinds.fold(0, |mask, (bit, _)| mask | 1u64 << bit);
        if self.continues(id) { mask | CONTINUES } else { mask }
    }

    /// The bit of a kind.
    pub(super) fn bit(&self, kind: ProtocolId) -> u64 {
        self.kinds.iter().position(|k| *k == kind).map_or(0, |bit| 1 << bit)
    }

    /// Protocols that a path may have more than once.
    pub(super) fn repeated(&self) -> Vec<ProtocolId> {
        self.reached.iter().copied().filter(|id| self.repeats[id.0 as usize]).collect()
    }

    /// Bytes from the first of a layer of `kind` that are captured whenever it is there.
    pub(super) fn captured_bytes(&self, kind: ProtocolId) -> u32 {
        let headers = self.reached.iter().filter(|id| self.is(**id, kind));
        headers.filter_map(|id| self.header(*id)).map(|h| h.min).min().unwrap_or(0)
    }

    /// Likely paths as a tree: the nearest ways to a header that is looked for, what else follows the parent of such a one, and with what
    /// room is left, ways with one header more (a VLAN tag). None has a protocol twice.
    pub(super) fn likely(&self, start: ProtocolId) -> Vec<Step> {
        let distance = |id: ProtocolId| self.distance[id.0 as usize];
        let first = Step { id: start, path: vec![start], next: Vec::new(), is_detour: false };
        let mut steps = vec![first];
        for detours in [false, true] {
            let mut index = 0;
            while index < steps.len() {
                let Step { id, is_detour, ref path, .. } = steps[index];
                let path = path.clone();
                let above = path.len().checked_sub(2).map(|i| path[i]);
                let is_aside = above.is_some_and(|p| distance(p) < distance(id));
                let children = if is_aside { Vec::new() } else { self.children(id) };
                for child in children {
                    let known = steps[index].next.iter().any(|(known, _)| *known == child);
                    if known || path.contains(&child) || distance(child) == u32::MAX {
                        continue;
                    }
                    let is_nearer = distance(child) < distance(id);
                    let is_beside = distance(id) == 1;
                    let is_level = distance(child) == distance(id) && distance(id) > 0;
                    let wanted = if detours {
                        is_detour && (is_nearer || is_beside) || !is_detour && is_level
                    } else {
                        is_nearer || is_beside
                    };
                    if wanted && steps.len() < LIKELY_MAX {
                        let next = steps.len();
                        steps[index].next.push((child, next));
                        let mut path = path.clone();
                        path.push(child);
                        let is_detour = is_detour || !is_nearer && !is_beside;
                        steps.push(Step { id: child, path, next: Vec::new(), is_detour });
                    }
                }
                index += 1;
            }
        }
        steps
    }

    /// Where the layers are on a path: indices into it. The packet itself is at none.
    pub(super) fn resolve(&self, path: &[ProtocolId]) -> Vec<Option<usize>> {
        let mut found: Vec<Option<usize>> = Vec::with_capacity(self.selectors.len());
        for selector in self.selectors {
            let is = |kind: ProtocolId| move |i: &usize| self.is(path[*i], kind);
            // The header itself is at `depth - 1`; the packet has depth 0.
            let depth = |layer: &LayerId| match self.selectors[layer.0 as usize] {
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
    pub(super) fn count(&self, path: &[ProtocolId], found: &[Option<usize>]) -> Vec<usize> {
        let of = |(kind, below): &Count| match below {
            None => path.iter().filter(|id| self.is(**id, *kind)).count(),
            Some(layer) => {
                let depth = match self.selectors[layer.0 as usize] {
                    LayerSel::Packet => Some(0),
                    _ => found[layer.0 as usize].map(|i| i + 1),
                };
                depth.map_or(0, |depth| self.run(path, depth..path.len(), *kind).count())
            }
        };
        self.counts.iter().map(of).collect()
    }

    fn run<'a>(
        &'a self,
        path: &'a [ProtocolId],
        within: std::ops::Range<usize>,
        kind: ProtocolId,
    ) -> impl Iterator<Item = usize> + 'a {
        within
            .take_while(move |&i| self.is(path[i], kind) || self.continues(path[i]))
            .filter(move |&i| self.is(path[i], kind))
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

/// The protocol that a layer is a header of.
pub(super) fn kind_of(selector: &LayerSel) -> Option<ProtocolId> {
    match *selector {
        LayerSel::Packet | LayerSel::This => None,
        LayerSel::First(kind)
        | LayerSel::Nth(kind, _)
        | LayerSel::Last(kind)
        | LayerSel::Below(_, kind)
        | LayerSel::Above(_, kind)
        | LayerSel::RunLast(_, kind)
        | LayerSel::RunNth(_, kind, _) => Some(kind),
    }
}

/// The layer that a selector begins from.
pub(super) fn anchor_of(selector: &LayerSel) -> Option<LayerId> {
    match *selector {
        LayerSel::Below(layer, _)
        | LayerSel::Above(layer, _)
        | LayerSel::RunLast(layer, _)
        | LayerSel::RunNth(layer, ..) => Some(layer),
        _ => None,
    }
}

/// Values from the first to the last.
type Range = (u64, u64);

fn overlap(a: Range, b: Range) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// The unsigned node that a condition compares with constants, and those: the condition is FALSE, or has no value, for all others.
fn test_of(exprs: &Exprs, condition: NodeId) -> Option<(NodeId, Vec<Range>)> {
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
            let ranges: Option<Vec<Range>> =
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
