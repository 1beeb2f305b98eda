//! The share of a window's packets that were seen, for `window_completeness()`.
//!
//! Beside its groups a window counts its packets, of which a stream of their own tells: those whose records hold what the query
//! reads, and those lost. Lost are records cut too short; packets behind their interface's frontier by more than the tolerance; and,
//! for each capture that broke off, the one record known to have been there. What is lost when its window has left already, and a
//! record without a time, is laid to the window that the interface is in.

use wt_catalog::Value;
use wt_plan::ir::OrderedColumn;
use wt_plan::physical;

use crate::window::WindowColumns;

/// Packets of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) seen: u64,
    pub(super) lost: u64,
}

impl Share {
    /// Memory of the count for a window that may have no group, bytes: what the plan states.
    pub(super) const WINDOW_BYTES: u64 = wt_plan::split::SHARE_BYTES;

    /// 1.0 when nothing was lost.
    pub(super) fn value(self) -> Value {
        let all = self.seen + self.lost;
        Value::Float(if all == 0 { 1.0 } else { self.seen as f64 / all as f64 })
    }
}

/// The inputs that tell of packets.
pub(super) struct SeenInputs {
    /// They are those from this one on.
    pub(super) first: usize,
    /// The components of a packet's window.
    pub(super) columns: WindowColumns,
}

impl SeenInputs {
    pub(super) fn new(plan: physical::Seen, ordered: &[OrderedColumn]) -> Self {
        let components: Vec<OrderedColumn> = ordered
            .iter()
            .enumerate()
            .map(|(i, column)| OrderedColumn { column: i as u32, ..column.clone() })
            .collect();
        Self {
            first: plan.first_input as usize,
            columns: WindowColumns::new(&components, plan.tolerance),
        }
    }

    /// Whether the packet that a tuple tells of was seen.
    pub(super) fn is_seen(&self, values: &[Value]) -> bool {
        matches!(values.get(self.columns.len()), Some(Value::Bool(true)))
    }
}
