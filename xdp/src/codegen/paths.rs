//! What programs name on the paths of a walk, and where layers are on a known path.

use std::ops::Deref;

use wt_catalog::ProtocolId;
use wt_plan::ir::{Exprs, LayerId, LayerSel, ParseSpec};
use wt_plan::paths::{Count, counted};

use super::emit::{Unportable, unportable};

/// Bit of a kind mask: runs go on through the header.
pub(super) const CONTINUES: u64 = 1 << 63;

/// Most protocols that a program may name.
const KINDS_MAX: usize = 62;

/// The paths of one program, and what it names on them.
pub(super) struct Paths<'p> {
    ways: wt_plan::paths::Paths<'p>,
    pub(super) selectors: &'p [LayerSel],
    /// What is counted, each once.
    pub(super) counts: Vec<Count>,
    /// Protocols that layers and counts name; a bit of a kind mask each.
    pub(super) kinds: Vec<ProtocolId>,
    /// Protocols of which declarations look for the nearest one above.
    pub(super) above: Vec<ProtocolId>,
}

impl<'p> Deref for Paths<'p> {
    type Target = wt_plan::paths::Paths<'p>;

    fn deref(&self) -> &Self::Target {
        &self.ways
    }
}

impl<'p> Paths<'p> {
    pub(super) fn new(
        parse: &'p ParseSpec,
        selectors: &'p [LayerSel],
        exprs: &Exprs,
        link_type: u16,
    ) -> Result<Self, Unportable> {
        let ways = wt_plan::paths::Paths::new(parse, link_type, selectors);
        let counts = counted(exprs);
        let mut above = Vec::new();
        for selector in
            ways.reached.iter().filter_map(|id| ways.header(*id)).flat_map(|h| &h.layers)
        {
            match *selector {
                LayerSel::This => {}
                LayerSel::Above(LayerId(0), kind) => above.push(kind),
                _ => return unportable("a declaration that looks at headers around its own"),
            }
        }
        above.sort_unstable();
        above.dedup();
        let layers = selectors.iter().filter_map(LayerSel::protocol);
        let named = layers.chain(counts.iter().map(|(kind, _)| *kind));
        let mut kinds: Vec<_> = named.chain(above.iter().copied()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.len() > KINDS_MAX {
            return unportable(format!("layers of more than {KINDS_MAX} protocols"));
        }
        Ok(Self { ways, selectors, counts, kinds, above })
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
        self.reached.iter().copied().filter(|id| self.repeats(*id)).collect()
    }

    /// Where the layers are on a path: indices into it. The packet itself is at none.
    pub(super) fn resolve(&self, path: &[ProtocolId]) -> Vec<Option<usize>> {
        self.ways.resolve(self.selectors, path)
    }

    /// What is counted on a path whose layers are at `found`.
    pub(super) fn count(&self, path: &[ProtocolId], found: &[Option<usize>]) -> Vec<usize> {
        self.ways.count(&self.counts, (self.selectors, found), path)
    }
}
