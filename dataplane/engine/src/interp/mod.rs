//! The reference interpreter of the LFTA IR: plain, and the specification that every other backend is tested against.
//!
//! A packet's headers are walked once ([`walk`]); the layers that the program reads are resolved on that path ([`layers`]);
//! then nodes are evaluated on demand, each at most once per packet ([`eval`]). Nothing outside the captured bytes is ever
//! read, and no input makes it panic.

pub(crate) mod bits;
pub(crate) mod env;
pub(crate) mod eval;
pub(crate) mod layers;
mod operands;
mod saturating;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

use wt_catalog::Value;
use wt_plan::ir::{LayerId, LayerSel, LftaProgram, NodeId};

pub(crate) use env::{Lack, TimeEnv, TupleEnv};
pub(crate) use eval::Evaluator;
pub(crate) use operands::{Which, operands};
pub use walk::WalkEnd;

use crate::packet::Packet;
use crate::setup::SetupError;
use env::PacketEnv;
use layers::{Header, Layer};
use walk::HeaderWalk;

/// The evaluator of one LFTA program: one packet at a time.
pub(crate) struct Interpreter {
    walk: HeaderWalk,
    selectors: Vec<LayerSel>,
    evaluator: Evaluator,
    path: Vec<Header>,
    layers: Vec<Option<Layer>>,
}

impl Interpreter {
    /// Prepares a program that [`crate::check`] has found sound.
    ///
    /// # Errors
    /// A handle that cannot be registered.
    pub(crate) fn new(program: &LftaProgram, params: &[Value]) -> Result<Self, SetupError> {
        Ok(Self {
            walk: HeaderWalk::new(&program.parse, params)?,
            selectors: program.layers.clone(),
            evaluator: Evaluator::new(&program.exprs, params)?,
            path: Vec::new(),
            layers: Vec::new(),
        })
    }

    /// Begins a packet: walks its headers and resolves the program's layers.
    pub(crate) fn begin(&mut self, packet: &Packet<'_>) -> WalkEnd {
        let end = self.walk.walk(packet, &mut self.path);
        layers::resolve(&self.selectors, &self.path, None, self.walk.kinds(), &mut self.layers);
        self.evaluator.begin();
        end
    }

    /// Whether a layer is there in the packet begun.
    pub(crate) fn present(&self, layer: LayerId) -> bool {
        self.layers.get(layer.0 as usize).is_some_and(Option::is_some)
    }

    /// The value of a node for the packet begun, which must be the one given.
    pub(crate) fn eval(&mut self, packet: &Packet<'_>, node: NodeId) -> Result<&Value, Lack> {
        let env =
            PacketEnv { packet, path: &self.path, layers: &self.layers, kinds: self.walk.kinds() };
        self.evaluator.eval(node, &env)
    }

    /// The value of a node when nothing but the time is known.
    pub(crate) fn eval_at(&mut self, time_ns: u64, node: NodeId) -> Result<&Value, Lack> {
        self.evaluator.begin();
        self.evaluator.eval(node, &TimeEnv { time_ns })
    }

    /// The headers of the packet begun, outermost first: protocol number and offset.
    #[cfg(test)]
    pub(crate) fn path(&self) -> Vec<(u32, usize)> {
        self.path.iter().map(|h| (h.protocol.0, h.offset)).collect()
    }
}
