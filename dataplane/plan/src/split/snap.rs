//! How many bytes of a packet a query can need: the snap length it asks for (gsql.md §7, the paper's §3).

use std::collections::HashMap;

use wt_catalog::ProtocolId;

use crate::ir::{Exprs, HeaderProgram, LayerId, LayerSel, NodeId, Op, ParseSpec};
use crate::lower::value_max;

/// Beyond this a bound says nothing: most captures are shorter.
const SNAP_BYTES_MAX: u64 = 65_535;

/// LINKTYPE_ETHERNET: the plain packet that EXPLAIN speaks of.
const ETHERNET: u16 = 1;

/// Which packets are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// All that the declarations allow: every header as long, as often and as deep as it may be.
    Any,
    /// A plain one: Ethernet, no header twice, no options.
    Plain,
}

/// Works out where headers can start.
pub struct Snap<'a> {
    parse: &'a ParseSpec,
    packets: Packets,
    /// Furthest first byte of a header, and furthest byte its parsing needs; `None` when not bounded.
    starts: HashMap<ProtocolId, Option<u64>>,
}

impl<'a> Snap<'a> {
    /// For one walk.
    pub fn new(parse: &'a ParseSpec, packets: Packets) -> Self {
        let starts = match packets {
            Packets::Any => HashMap::new(),
            Packets::Plain => {
                let first = parse.start.iter().filter(|(l, _)| *l == ETHERNET);
                plain_starts(parse, first.map(|(_, p)| (*p, 0)))
            }
        };
        Self { parse, packets, starts }
    }

    /// Bytes that the nodes reachable from `roots`, and finding the layers, can need.
    pub fn bytes(
        &mut self,
        exprs: &Exprs,
        layers: &[LayerSel],
        roots: impl IntoIterator<Item = NodeId>,
        requires: &[LayerId],
    ) -> Option<u32> {
        let mut furthest = 0u64;
        let mut seen = vec![false; exprs.nodes.len()];
        let mut pending: Vec<NodeId> = roots.into_iter().collect();
        let mut found: Vec<LayerId> = requires.to_vec();
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let op = &exprs.nodes[id.0 as usize].op;
            found.extend(op.layer());
            let end = match op {
                Op::Load { layer, at, byte, bit, bits, .. } => self.extent(
                    exprs,
                    layers,
                    *layer,
                    *at,
                    *byte,
                    u64::from((bit + bits).div_ceil(8)),
                )?,
                Op::LoadIpv6 { layer, at, byte } => {
                    self.extent(exprs, layers, *layer, *at, *byte, 16)?
                }
                Op::LoadOrZero { layer, at, byte, bytes }
                | Op::InBounds { layer, at, byte, bytes } => {
                    self.extent(exprs, layers, *layer, *at, *byte, u64::from(*bytes))?
                }
                Op::Slice { layer, at, len } => {
                    let len = value_max(exprs, (*len)?);
                    self.extent(exprs, layers, *layer, Some(*at), 0, len)?
                }
                // Counting headers walks the whole path.
                Op::Depth { .. } if self.packets == Packets::Any => return None,
                _ => 0,
            };
            furthest = furthest.max(end);
            pending.extend(op.operands());
        }
        for layer in found {
            furthest = furthest.max(self.header_end(layers, layer)?);
        }
        u32::try_from(furthest).ok().filter(|&b| u64::from(b) <= SNAP_BYTES_MAX)
    }

    fn extent(
        &mut self,
        exprs: &Exprs,
        layers: &[LayerSel],
        layer: LayerId,
        at: Option<NodeId>,
        byte: u32,
        bytes: u64,
    ) -> Option<u64> {
        let start = self.layer_start(layers, layer)?;
        let at = match self.packets {
            Packets::Any => at.map_or(0, |a| value_max(exprs, a)),
            Packets::Plain => 0,
        };
        start
            .checked_add(at)?
            .checked_add(u64::from(byte))?
            .checked_add(bytes)
            .filter(|&b| b <= SNAP_BYTES_MAX)
    }

    fn protocol_of(layers: &[LayerSel], layer: LayerId) -> Option<Option<ProtocolId>> {
        match layers.get(layer.0 as usize)? {
            LayerSel::This => None,
            layer => Some(layer.protocol()),
        }
    }

    fn layer_start(&mut self, layers: &[LayerSel], layer: LayerId) -> Option<u64> {
        if self.packets == Packets::Plain
            && let Some(LayerSel::Below(above, p)) = layers.get(layer.0 as usize)
        {
            return self.start_below(layers, *above, *p);
        }
        match Self::protocol_of(layers, layer)? {
            None => Some(0),
            Some(p) => self
                .protocols(p)
                .into_iter()
                .try_fold(0, |most, p| Some(u64::max(most, self.start(p)?))),
        }
    }

    /// Where a header starts below another in a plain packet.
    fn start_below(&mut self, layers: &[LayerSel], above: LayerId, id: ProtocolId) -> Option<u64> {
        let base = self.layer_start(layers, above)?;
        let from = self.protocols(Self::protocol_of(layers, above)??);
        let mut roots = Vec::new();
        for p in from {
            let header = self.program(p)?;
            let below = base + u64::from(header.min);
            roots.extend(header.children.iter().map(|(child, _)| (*child, below)));
        }
        let starts = plain_starts(self.parse, roots);
        self.protocols(id).into_iter().filter_map(|p| *starts.get(&p)?).max()
    }

    /// Bytes that must be there for the header to be found at all.
    fn header_end(&mut self, layers: &[LayerSel], layer: LayerId) -> Option<u64> {
        match Self::protocol_of(layers, layer)? {
            None => Some(0),
            Some(p) => self.protocols(p).into_iter().try_fold(0, |most, p| {
                let header = self.program(p)?;
                let (start, length) = match self.packets {
                    Packets::Any => (self.start(p)?, longest(header)),
                    Packets::Plain => (self.layer_start(layers, layer)?, u64::from(header.min)),
                };
                let end = start.checked_add(length).filter(|&e| e <= SNAP_BYTES_MAX)?;
                Some(u64::max(most, end))
            }),
        }
    }

    /// Concrete protocols that count as one.
    fn protocols(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let as_it = |p: ProtocolId, h: &HeaderProgram| p == id || h.counts_as.contains(&id);
        (0u32..)
            .map(ProtocolId)
            .zip(&self.parse.protocols)
            .filter_map(|(p, h)| h.as_ref().filter(|h| as_it(p, h)).map(|_| p))
            .collect()
    }

    fn program(&self, id: ProtocolId) -> Option<&'a HeaderProgram> {
        self.parse.protocols.get(id.0 as usize)?.as_ref()
    }

    /// The furthest a header of the protocol can start: every header that can stand above it, as often and as long as it may.
    fn start(&mut self, id: ProtocolId) -> Option<u64> {
        if let Some(&known) = self.starts.get(&id) {
            return known;
        }
        if self.packets == Packets::Plain {
            return None;
        }
        let above = self.ancestors(id);
        let mut sum = Some(0u64);
        for p in above {
            sum = sum.and_then(|s| {
                let header = self.program(p)?;
                let again = if p == id { header.repeat.saturating_sub(1) } else { header.repeat };
                let bytes = longest(header).checked_mul(u64::from(again))?;
                s.checked_add(bytes).filter(|&s| s <= SNAP_BYTES_MAX)
            });
        }
        self.starts.insert(id, sum);
        sum
    }

    /// Protocols from which a path of dispatch edges leads to one.
    fn ancestors(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let mut found: Vec<ProtocolId> = Vec::new();
        let mut pending = vec![id];
        while let Some(target) = pending.pop() {
            for (p, header) in (0u32..).map(ProtocolId).zip(&self.parse.protocols) {
                let leads = header
                    .as_ref()
                    .is_some_and(|h| h.children.iter().any(|(child, _)| *child == target));
                if leads && !found.contains(&p) {
                    found.push(p);
                    pending.push(p);
                }
            }
        }
        found
    }
}

/// The longest a header can be: by its declared maximum and by the range of its length.
fn longest(header: &HeaderProgram) -> u64 {
    u64::from(header.max).min(value_max(&header.exprs, header.length))
}

/// Where each header starts in a plain packet, when the headers of `roots` start where it says: behind the fewest bytes of
/// other headers. What may follow several refinements of one protocol (tcp behind ipv4 and ipv6) follows the longest.
fn plain_starts(
    parse: &ParseSpec,
    roots: impl IntoIterator<Item = (ProtocolId, u64)>,
) -> HashMap<ProtocolId, Option<u64>> {
    let header = |id: ProtocolId| parse.protocols.get(id.0 as usize).and_then(Option::as_ref);
    let mut fewest: HashMap<ProtocolId, u64> = HashMap::new();
    let mut pending: Vec<(ProtocolId, u64)> = roots.into_iter().collect();
    let roots: Vec<ProtocolId> = pending.iter().map(|r| r.0).collect();
    while let Some((id, at)) = pending.pop() {
        if fewest.get(&id).is_some_and(|known| *known <= at) {
            continue;
        }
        fewest.insert(id, at);
        if let Some(h) = header(id) {
            let below = at + u64::from(h.min);
            pending.extend(h.children.iter().map(|(child, _)| (*child, below)));
        }
    }
    let mut order: Vec<(u64, ProtocolId)> = fewest.iter().map(|(id, at)| (*at, *id)).collect();
    order.sort_unstable();
    let mut starts: HashMap<ProtocolId, Option<u64>> = HashMap::new();
    for (at, id) in order {
        if roots.contains(&id) {
            starts.insert(id, Some(at));
            continue;
        }
        // Headers that may stand at one place above and count as one protocol: the furthest end of them.
        let mut groups: HashMap<(ProtocolId, u64), u64> = HashMap::new();
        for (above, start) in &starts {
            let Some(h) = header(*above).filter(|h| h.children.iter().any(|(c, _)| *c == id))
            else {
                continue;
            };
            let start = start.unwrap_or(0);
            let end = start + u64::from(h.min);
            let kind = h.counts_as.first().copied().unwrap_or(*above);
            let furthest = groups.entry((kind, start)).or_insert(end);
            *furthest = end.max(*furthest);
        }
        starts.insert(id, Some(groups.into_values().min().unwrap_or(at)));
    }
    starts
}
