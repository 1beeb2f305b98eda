//! Selection next to the interface: one tuple per qualified packet, in packet order. Late tuples pass unchanged.

use wt_plan::ir::{LftaAction, NodeId, OrderedColumn};

use crate::interp::{Interpreter, Lack};
use crate::packet::Packet;
use crate::tuple::{Message, Tuple};
use crate::window;

pub(super) struct Select {
    outputs: Vec<NodeId>,
    ordered: Vec<OrderedColumn>,
}

impl Select {
    /// The selection that an action is; one of no columns when it is none.
    pub(super) fn new(action: &LftaAction) -> Self {
        match action {
            LftaAction::Select { outputs, ordered } => {
                Self { outputs: outputs.clone(), ordered: ordered.clone() }
            }
            LftaAction::Aggregate { .. } => Self { outputs: Vec::new(), ordered: Vec::new() },
        }
    }

    /// The tuple of a packet that has qualified.
    pub(super) fn tuple(
        &self,
        interpreter: &mut Interpreter,
        packet: &Packet<'_>,
        ordinal: u64,
    ) -> Result<Tuple, Lack> {
        // Of the right size from the start: shrinking each tuple would tear the heap into pieces.
        let mut values = Vec::with_capacity(self.outputs.len());
        for node in &self.outputs {
            values.push(interpreter.eval(packet, *node)?.clone());
        }
        Ok(Tuple { ordinal, values: values.into() })
    }

    /// What a lower bound of the packets' times says about the ordered columns.
    pub(super) fn bound(&self, interpreter: &mut Interpreter, time_ns: u64) -> Option<Message> {
        window::bounds_at(interpreter, &self.outputs, &self.ordered, time_ns)
    }
}
