//! Ends of likely paths at which queries have code of their own.

use wt_catalog::ProtocolId;
use wt_plan::ir::LayerSel;

use super::emit::DATA;
use super::scope::{LayerAt, Pointer, PointerAt};
use super::walk::Walk;
use crate::asm::Label;

/// The end of a likely path at which queries have code of their own: there it is known which headers there are, and where.
pub(super) struct End {
    /// The names of its headers, outermost first.
    pub(super) path: Vec<String>,
    pub(super) label: Label,
    /// By layer.
    pub(super) layers: Vec<LayerAt>,
}

impl Walk<'_, '_> {
    /// The layers of the queries at the end of the path of the step at hand.
    pub(super) fn placed(&self, path: &[ProtocolId]) -> Vec<LayerAt> {
        let found = self.paths.resolve(path);
        let general = self.cells.layers(self.paths);
        let of = |((selector, depth), general): ((&LayerSel, Option<usize>), LayerAt)| {
            if selector.protocol().is_none() {
                return general;
            }
            let Some(depth) = depth else { return LayerAt::Absent };
            let bytes = self.paths.header(path[depth]).map_or(0, |header| header.min);
            let pointer = match (self.known.get(depth), self.slots[depth]) {
                (Some(offset), _) => Pointer { at: PointerAt::Reg(DATA), disp: *offset, bytes },
                (None, Some(slot)) => Pointer { at: PointerAt::Slot(slot), disp: 0, bytes },
                (None, None) => return general,
            };
            LayerAt::Placed { pointer, protocol: path[depth] }
        };
        self.paths.selectors.iter().zip(found).zip(general).map(of).collect()
    }
}
