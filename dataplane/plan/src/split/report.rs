//! What the split decided and why, for EXPLAIN: the physical plan itself has nodes, not names.

use wt_catalog::{Ordering, Type};

use crate::physical::MemoryBound;

/// A column with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnNote {
    /// Its name.
    pub name: String,
    /// What it computes.
    pub text: String,
    /// Its type as shipped.
    pub ty: Type,
    /// Its ordering property.
    pub ordering: Ordering,
}

/// An LFTA of one interface.
#[derive(Clone, Debug, PartialEq)]
pub struct LftaNote {
    /// Query it belongs to.
    pub query: String,
    /// What it reads, e.g. `eth0.tcp`.
    pub source: String,
    /// What it emits: outputs, or keys and then aggregates.
    pub columns: Vec<ColumnNote>,
    /// Why it cannot be offered to the network card; empty when it can.
    pub host_only: Vec<String>,
    /// Bytes it reads of a plain packet: Ethernet, no tunnels, no options.
    pub plain_bytes: Option<u32>,
    /// Its table, when it aggregates.
    pub memory: MemoryBound,
}

/// An HFTA node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HftaNote {
    /// Query it belongs to.
    pub query: String,
    /// What it emits.
    pub columns: Vec<ColumnNote>,
    /// Group key.
    pub keys: Vec<ColumnNote>,
    /// HAVING.
    pub having: Vec<String>,
    /// Why it runs above the LFTA.
    pub why: Vec<String>,
}

/// All notes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitReport {
    /// By interface and query of its program.
    pub lftas: Vec<Vec<LftaNote>>,
    /// By HFTA node.
    pub hftas: Vec<HftaNote>,
    /// Rewrites in the order they were made.
    pub rewrites: Vec<String>,
}
