//! Header paths without code of their own: the interpreter's walk takes those packets, and code goes on with what it found.
//!
//! Most of a walk's code is for headers that a link carries rarely or never, and most of the time to compile it too. So code is made
//! for likely paths first; when many packets have taken others, code for all paths replaces it.

use wt_catalog::{ProtocolId, Value};
use wt_plan::ir::{LayerId, LayerSel, LftaProgram};
use wt_plan::paths::counted;

use crate::interp::layers::{self, Header, Layer};
use crate::interp::walk::{HeaderWalk, WalkEnd};
use crate::packet::Packet;
use crate::setup::SetupError;

/// Words of a layer or count in the frame: address, protocol, count.
pub(super) const TARGET_WORDS: usize = 3;

/// The path ended well.
pub(super) const COMPLETE: u64 = 0;
/// It ended above a malformed header.
pub(super) const MALFORMED: u64 = 1;
/// It ended at a depth limit.
pub(super) const TOO_DEEP: u64 = 2;

/// Walks the headers of packets on rare paths.
pub(super) struct RareWalk {
    walk: HeaderWalk,
    selectors: Vec<LayerSel>,
    counts: Vec<(ProtocolId, Option<LayerId>)>,
    path: Vec<Header>,
    layers: Vec<Option<Layer>>,
    /// Packets walked.
    pub(super) packets: u64,
}

impl RareWalk {
    pub(super) fn new(program: &LftaProgram, params: &[Value]) -> Result<Self, SetupError> {
        Ok(Self {
            walk: HeaderWalk::new(&program.parse, params)?,
            selectors: program.layers.clone(),
            counts: counted(&program.exprs),
            path: Vec::new(),
            layers: Vec::new(),
            packets: 0,
        })
    }

    /// Walks a packet whose first byte has the address `start`, and writes what was found: layers, then counts. Absent layers have the
    /// address `zeros`. Returns how the path ended.
    pub(super) fn walk(
        &mut self,
        packet: &Packet<'_>,
        start: u64,
        zeros: u64,
        found: &mut [u64],
    ) -> u64 {
        self.packets += 1;
        let end = self.walk.walk(packet, &mut self.path);
        layers::resolve(&self.selectors, &self.path, None, self.walk.kinds(), &mut self.layers);
        let mut targets = found.chunks_exact_mut(TARGET_WORDS);
        for (layer, target) in self.layers.iter().zip(&mut targets) {
            target[0] = layer.map_or(zeros, |layer| start + layer.offset as u64);
            let protocol = layer.and_then(|layer| layer.protocol);
            target[1] = protocol.map_or(u64::MAX, |protocol| u64::from(protocol.0));
        }
        for ((kind, below), target) in self.counts.iter().zip(&mut targets) {
            let below = below.map(|layer| self.layers[layer.0 as usize]);
            target[2] = layers::depth(&self.path, *kind, below, self.walk.kinds());
        }
        match end {
            WalkEnd::Complete | WalkEnd::UnknownLinkType => COMPLETE,
            WalkEnd::Malformed => MALFORMED,
            WalkEnd::TooDeep => TOO_DEEP,
        }
    }
}
