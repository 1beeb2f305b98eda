//! Selection next to the interface: one tuple per qualified packet, in packet order. Late tuples pass unchanged.

use wt_catalog::Value;
use wt_plan::ir::{NodeId, OrderedColumn};

use crate::interp::{Interpreter, Lack};
use crate::packet::Packet;
use crate::tuple::{Message, Tuple};
use crate::window;

pub(super) struct Select {
    outputs: Vec<NodeId>,
    ordered: Vec<OrderedColumn>,
}

impl Select {
    pub(super) fn new(outputs: &[NodeId], ordered: &[OrderedColumn]) -> Self {
        Self { outputs: outputs.to_vec(), ordered: ordered.to_vec() }
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
        let mut bounds = Vec::new();
        for column in self.ordered.iter().filter(|column| column.from_time) {
            let node = self.outputs[column.column as usize];
            let Ok(value) = interpreter.eval_at(time_ns, node) else { continue };
            let by = Value::Uint(column.band);
            if let Some(value) = window::retreat(value, &by, column.decreasing) {
                bounds.push((column.column, value));
            }
        }
        (!bounds.is_empty()).then_some(Message::Punctuation(bounds))
    }
}
