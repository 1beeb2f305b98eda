//! Capacity: what a batch costs per packet and keeps in memory, and whether a machine carries it.
//!
//! ```text
//! PhysicalPlan + Traffic ─ estimate ─▶ Flows (tuples per packet through each node; or counted in a run)
//! PhysicalPlan + Flows ─ work ─▶ Work of each node ─ CostTable ─▶ ns per packet
//! ```
//!
//! The model is linear: the cost of a node is the sum of its kinds of work ([`Kind`]) times what one unit costs. So the costs can be fitted
//! from measurements by least squares, and a prediction can be checked by hand. It is a model of compiled code.
//!
//! | question | module |
//! |---|---|
//! | how many tuples go where | [`traffic`], `estimate`, `selectivity` |
//! | what is done with them | `work`, `uses`, [`shape`](mod@crate::shape) |
//! | what that costs | [`table`] |
//! | does it fit | [`admit`](mod@admit) |
//! | as text | [`show`] |

pub mod admit;
mod estimate;
mod selectivity;
pub mod show;
pub mod table;
pub mod traffic;
mod uses;
mod work;

#[cfg(test)]
mod tests;

pub use admit::{Machine, Refusal, admit};
pub use estimate::estimate;
pub use table::{CostTable, Kind, TableError, Work};
pub use traffic::{Flows, LftaFlow, NodeFlow, Rate, RateError, Traffic};
pub use work::Place;

use crate::compile::Compiled;
use crate::ir::LftaAction;
use crate::physical::{MemoryBound, StreamRef};
use crate::shape::{self, Shape};

/// What one node costs.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeCost {
    /// Which node.
    pub place: Place,
    /// The node in words.
    pub label: String,
    /// The query it belongs to; `None`: several.
    pub query: Option<String>,
    /// Tuples that leave it, per packet of the batch; `None` where no tuples are yet.
    pub rows: Option<f64>,
    /// What it does per packet.
    pub work: Work,
    /// What that costs, ns per packet.
    pub ns: f64,
}

/// What one node keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryCost {
    /// Name of its stream.
    pub name: String,
    /// Whatever comes, bytes.
    pub fixed_bytes: f64,
    /// Per entry, bytes.
    pub entry_bytes: f64,
    /// Entries at a time.
    pub entries: f64,
}

impl MemoryCost {
    /// All of it.
    pub fn bytes(&self) -> f64 {
        self.fixed_bytes + self.entry_bytes * self.entries
    }
}

/// What a batch costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// By node, in the order in which packets meet them.
    pub nodes: Vec<NodeCost>,
    /// By node that keeps something.
    pub memory: Vec<MemoryCost>,
    /// Mean length of a packet, bytes.
    pub packet_bytes: f64,
}

impl Prediction {
    /// Nanoseconds of one core per packet.
    pub fn ns(&self) -> f64 {
        self.nodes.iter().map(|node| node.ns).sum()
    }

    /// Packets per second that one core takes.
    pub fn packets_per_second(&self) -> f64 {
        1e9 / self.ns()
    }

    /// Memory of all nodes, bytes.
    pub fn memory_bytes(&self) -> f64 {
        // An empty sum of floats is -0.
        self.memory.iter().map(MemoryCost::bytes).fold(0.0, |all, bytes| all + bytes)
    }

    /// Cores for a rate.
    pub fn cores(&self, rate: Rate) -> f64 {
        self.ns() * rate.packets_per_second(self.packet_bytes) / 1e9
    }

    /// All work together.
    pub fn work(&self) -> Work {
        let mut all = Work::default();
        self.nodes.iter().for_each(|node| all.add_all(&node.work));
        all
    }
}

/// Predicts what a batch costs, given how many tuples go where.
///
/// # Panics
/// When the flows are those of another plan.
pub fn predict(compiled: &Compiled, flows: &Flows, table: &CostTable) -> Prediction {
    assert!(flows.fits(&compiled.physical), "flows of another plan");
    let nodes = work::work(&compiled.physical, flows);
    let nodes = nodes.into_iter().map(|(place, work)| NodeCost {
        place,
        label: label(compiled, place),
        query: query(compiled, place),
        rows: rows(compiled, flows, place),
        ns: table.cost_ns(&work),
        work,
    });
    Prediction {
        nodes: nodes.collect(),
        memory: memory(compiled, flows),
        packet_bytes: flows.wire_bytes,
    }
}

fn label(compiled: &Compiled, place: Place) -> String {
    let plan = &compiled.physical;
    let interface = |i: usize| plan.interfaces[i].name.as_str();
    match place {
        Place::Records(i) => format!("records of {}", interface(i)),
        Place::Headers(i) => format!("headers of {}", interface(i)),
        Place::Shared(i) => format!("nodes of {} that queries share", interface(i)),
        Place::Lfta(i, q) => {
            let query = &plan.interfaces[i].program.queries[q];
            let kind = match query.action {
                LftaAction::Select { .. } => "select",
                LftaAction::Aggregate { .. } => "aggregate",
            };
            format!("LFTA {kind} {} on {}", query.name, interface(i))
        }
        Place::Node(n) => {
            let node = &plan.nodes[n];
            format!("HFTA {} {}", node.op.name(), node.name)
        }
        Place::Output(o) => format!("rows of {} as CSV", plan.outputs[o].query),
    }
}

fn query(compiled: &Compiled, place: Place) -> Option<String> {
    match place {
        Place::Lfta(i, q) => Some(compiled.report.lftas[i][q].query.clone()),
        Place::Node(n) => Some(compiled.report.hftas[n].query.clone()),
        Place::Output(o) => Some(compiled.physical.outputs[o].query.clone()),
        _ => None,
    }
}

fn rows(compiled: &Compiled, flows: &Flows, place: Place) -> Option<f64> {
    match place {
        Place::Records(i) => Some(flows.shares[i]),
        Place::Headers(_) | Place::Shared(_) => None,
        Place::Lfta(i, q) => {
            let stream = StreamRef::Lfta { interface: i as u32, query: q as u32 };
            Some(estimate::delivered(&compiled.physical, flows, stream))
        }
        Place::Node(n) => Some(flows.nodes[n].output),
        Place::Output(o) => Some(flows.of(compiled.physical.outputs[o].stream)),
    }
}

fn memory(compiled: &Compiled, flows: &Flows) -> Vec<MemoryCost> {
    let plan = &compiled.physical;
    let mut all = Vec::new();
    for (i, interface) in plan.interfaces.iter().enumerate() {
        for (q, query) in interface.program.queries.iter().enumerate() {
            let (fixed_bytes, entry_bytes) = match shape::shape(plan, i, q) {
                Shape::Select | Shape::Totals => continue,
                Shape::Slots { .. } => (compiled.report.lftas[i][q].memory.fixed_bytes as f64, 0.0),
                table @ Shape::Words { .. } => (0.0, table.group_bytes()),
            };
            let entries = flows.lftas[i][q].kept;
            all.push(MemoryCost { name: query.name.clone(), fixed_bytes, entry_bytes, entries });
        }
    }
    for (node, flow) in plan.nodes.iter().zip(&flows.nodes) {
        let MemoryBound { fixed_bytes, per_entry_bytes, .. } = node.memory;
        if fixed_bytes == 0 && (per_entry_bytes == 0 || flow.kept == 0.0) {
            continue;
        }
        all.push(MemoryCost {
            name: node.name.clone(),
            fixed_bytes: fixed_bytes as f64,
            entry_bytes: per_entry_bytes as f64,
            entries: flow.kept,
        });
    }
    all
}
