//! A packet's path of headers, and the layers that expressions read.

use wt_catalog::ProtocolId;
use wt_plan::ir::{LayerId, LayerSel, ParseSpec};

/// A header of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Concrete protocol.
    pub protocol: ProtocolId,
    /// Byte offset in the packet.
    pub offset: usize,
}

/// A layer that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// How many headers of the path lie up to and including it; 0 for the packet itself.
    pub depth: usize,
    /// Byte offset in the packet.
    pub offset: usize,
    /// Concrete protocol; none for the packet itself.
    pub protocol: Option<ProtocolId>,
}

/// Which protocols count as which: a bit per pair; and which ones extend the header above them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds {
    words: usize,
    bits: Vec<u64>,
    continues: Vec<bool>,
}

impl Kinds {
    /// Reads `counts_as` of every header program.
    pub(crate) fn new(spec: &ParseSpec) -> Self {
        let named = spec.protocols.iter().flatten().flat_map(|p| &p.counts_as);
        let most = named.map(|id| id.0 as usize + 1).max().unwrap_or(0).max(spec.protocols.len());
        let words = most.div_ceil(64);
        let continues = spec.protocols.iter().map(|p| p.as_ref().is_some_and(|p| p.continues));
        let bits = vec![0; words * spec.protocols.len()];
        let mut kinds = Self { words, bits, continues: continues.collect() };
        for (id, program) in spec.protocols.iter().enumerate() {
            kinds.set(id, id);
            for kind in program.iter().flat_map(|p| &p.counts_as) {
                kinds.set(id, kind.0 as usize);
            }
        }
        kinds
    }

    fn set(&mut self, protocol: usize, kind: usize) {
        self.bits[protocol * self.words + kind / 64] |= 1 << (kind % 64);
    }

    /// Whether a header of `protocol` counts as one of `kind`.
    #[inline]
    pub(crate) fn is(&self, protocol: ProtocolId, kind: ProtocolId) -> bool {
        let (protocol, kind) = (protocol.0 as usize, kind.0 as usize);
        kind / 64 < self.words
            && self
                .bits
                .get(protocol * self.words + kind / 64)
                .is_some_and(|word| word >> (kind % 64) & 1 == 1)
    }

    /// Whether runs of headers go on through one of `protocol`.
    fn continues(&self, protocol: ProtocolId) -> bool {
        self.continues.get(protocol.0 as usize).copied().unwrap_or(false)
    }
}

/// Resolves every selector on a path. `this` is the path's last header in header programs. Selectors only name earlier
/// ones.
pub(crate) fn resolve(
    selectors: &[LayerSel],
    path: &[Header],
    this: Option<usize>,
    kinds: &Kinds,
    out: &mut Vec<Option<Layer>>,
) {
    out.clear();
    for selector in selectors {
        let layer = select(selector, path, this, kinds, out);
        out.push(layer);
    }
}

fn select(
    selector: &LayerSel,
    path: &[Header],
    this: Option<usize>,
    kinds: &Kinds,
    resolved: &[Option<Layer>],
) -> Option<Layer> {
    let known = |id: LayerId| resolved.get(id.0 as usize).copied().flatten();
    let matches = |kind: ProtocolId| move |i: &usize| kinds.is(path[*i].protocol, kind);
    let index = match *selector {
        LayerSel::Packet => return Some(Layer { depth: 0, offset: 0, protocol: None }),
        LayerSel::This => this?,
        LayerSel::First(kind) => (0..path.len()).find(matches(kind))?,
        LayerSel::Nth(kind, n) => (0..path.len()).filter(matches(kind)).nth(n as usize)?,
        LayerSel::Last(kind) => (0..path.len()).rev().find(matches(kind))?,
        LayerSel::Below(above, kind) => (known(above)?.depth..path.len()).find(matches(kind))?,
        LayerSel::Above(below, kind) => {
            // The header itself is at `depth - 1`; the packet has nothing above it.
            (0..known(below)?.depth.saturating_sub(1)).rev().find(matches(kind))?
        }
        LayerSel::RunLast(above, kind) => run(path, known(above)?, kind, kinds).last()?,
        LayerSel::RunNth(above, kind, n) => {
            run(path, known(above)?, kind, kinds).nth(n as usize)?
        }
    };
    let header = path[index];
    Some(Layer { depth: index + 1, offset: header.offset, protocol: Some(header.protocol) })
}

/// The headers of `kind` in the run directly below a layer: the longest sequence of headers of which each is of the kind
/// or extends the one above it.
fn run<'a>(
    path: &'a [Header],
    above: Layer,
    kind: ProtocolId,
    kinds: &'a Kinds,
) -> impl Iterator<Item = usize> + 'a {
    (above.depth..path.len())
        .take_while(move |&i| kinds.is(path[i].protocol, kind) || kinds.continues(path[i].protocol))
        .filter(move |&i| kinds.is(path[i].protocol, kind))
}

/// How many headers count as `kind`: in the path, or in the run directly below a layer.
pub(crate) fn depth(
    path: &[Header],
    kind: ProtocolId,
    run_below: Option<Option<Layer>>,
    kinds: &Kinds,
) -> u64 {
    let count = match run_below {
        None => path.iter().filter(|h| kinds.is(h.protocol, kind)).count(),
        Some(None) => 0,
        Some(Some(layer)) => run(path, layer, kind, kinds).count(),
    };
    count as u64
}
