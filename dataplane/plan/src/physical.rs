//! The physical plan: LFTA programs, one per interface, and the HFTA graph they feed.

use wt_catalog::{Ordering, Type, Value};

use crate::ir::{AggKind, Exprs, LftaProgram, NodeId, OrderedColumn, Qual};

/// A plan that the engine can run.
#[derive(Clone, Debug, Default)]
pub struct PhysicalPlan {
    /// Interfaces read, each with the program of the whole batch.
    pub interfaces: Vec<InterfacePlan>,
    /// HFTA nodes in topological order: inputs come before readers.
    pub nodes: Vec<HftaNode>,
    /// Streams that leave the plan, in text order of their queries.
    pub outputs: Vec<Output>,
    /// Parameters; [`crate::ir::ParamId`] indexes them.
    pub params: Vec<ParamSpec>,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Used as `$name`.
    pub name: String,
    /// Declared type.
    pub ty: Type,
    /// Its value at start.
    pub value: Value,
    /// Occurs in an ordered expression: may not change while running (gsql.md §6 (c)).
    pub frozen: bool,
}

/// An interface and its program.
#[derive(Clone, Debug)]
pub struct InterfacePlan {
    /// Interface name.
    pub name: String,
    /// Its LFTAs.
    pub program: LftaProgram,
}

/// Where tuples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamRef {
    /// Query `query` of interface `interface`'s program.
    Lfta {
        /// Index into [`PhysicalPlan::interfaces`].
        interface: u32,
        /// Index into its queries.
        query: u32,
    },
    /// An HFTA node's output.
    Hfta(u32),
}

/// A stream that leaves the plan.
#[derive(Clone, Debug)]
pub struct Output {
    /// Query name.
    pub query: String,
    /// Where its rows come from.
    pub stream: StreamRef,
    /// Columns.
    pub schema: Schema,
    /// Read by no other query of the batch: its rows are the result by default.
    pub is_result: bool,
}

/// Columns of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// In order.
    pub columns: Vec<ColumnInfo>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnInfo {
    /// Name as the query named it.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Ordering property.
    pub ordering: Ordering,
    /// Its value names the window its tuple belongs to: a window is complete when it advances.
    pub window: bool,
    /// Enumeration whose names its values have, for display of `schema`; values print as numbers.
    pub subtype: Option<String>,
}

/// An HFTA node.
#[derive(Clone, Debug)]
pub struct HftaNode {
    /// Stream name.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<StreamRef>,
    /// What it does.
    pub op: HftaOp,
    /// What it emits.
    pub schema: Schema,
    /// Its memory bound.
    pub memory: MemoryBound,
}

/// HFTA operators.
#[derive(Clone, Debug)]
pub enum HftaOp {
    /// Filter and project.
    Select {
        /// Over the input columns.
        exprs: Exprs,
        /// Conjuncts in order.
        quals: Vec<Qual>,
        /// Columns.
        outputs: Vec<NodeId>,
        /// Ordered output columns and the input column each follows: (output, input).
        ordered: Vec<(u32, u32)>,
    },
    /// Group and aggregate; with several inputs a window closes when all have passed it.
    Aggregate(Box<Aggregate>),
    /// Group into sessions and aggregate (protocols.md, `SESSION(gap)`).
    Session(Box<Session>),
    /// Order-preserving union (gsql.md §15). Without columns: union in arrival order.
    Merge {
        /// The merge column's index, the same in every input, and whether it decreases.
        column: Option<(u32, bool)>,
        /// Skew bound in units of the column.
        slack: Option<Value>,
        /// Tuples queued per input before an operator asks its blocked inputs for a lower bound.
        queue_tuples_max: u32,
    },
    /// First tuple of each distinct row within a window.
    Distinct {
        /// Window columns; none: the whole (finite) input.
        window: Vec<OrderedColumn>,
    },
    /// ORDER BY … LIMIT within a window.
    Sort {
        /// Window columns; none: the whole (finite) input.
        window: Vec<OrderedColumn>,
        /// Over the input columns.
        exprs: Exprs,
        /// Sort keys, each with `descending`.
        keys: Vec<(NodeId, bool)>,
        /// Rows kept per window.
        limit: Option<u64>,
        /// Input columns that are kept, in order (hidden sort keys are dropped).
        outputs: Vec<u32>,
    },
}

impl HftaOp {
    /// What it does, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            HftaOp::Select { .. } => "select",
            HftaOp::Aggregate(_) => "aggregate",
            HftaOp::Session(_) => "session",
            HftaOp::Merge { column: Some(_), .. } => "merge",
            HftaOp::Merge { column: None, .. } => "union",
            HftaOp::Distinct { .. } => "distinct",
            HftaOp::Sort { .. } => "sort",
        }
    }
}

/// Grouping and aggregation.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Over the input columns: quals, keys and operands.
    pub exprs: Exprs,
    /// Conjuncts in order (empty above an aggregating LFTA).
    pub quals: Vec<Qual>,
    /// Group key.
    pub keys: Vec<NodeId>,
    /// Types of the keys.
    pub key_types: Vec<Type>,
    /// Which keys are the window. Empty: everything closes at the end of a finite input.
    pub ordered: Vec<OrderedColumn>,
    /// CUBE, ROLLUP, GROUPING_SETS patterns: bit i set = key i is on. One pattern with all bits set otherwise.
    pub patterns: Vec<u64>,
    /// Aggregates, each once.
    pub aggs: Vec<HftaAgg>,
    /// Over keys, then aggregate results: HAVING and SELECT.
    pub post: Exprs,
    /// HAVING conjuncts.
    pub having: Vec<NodeId>,
    /// Columns.
    pub outputs: Vec<NodeId>,
    /// Ordered outputs and the key each follows: (output, key).
    pub ordered_outputs: Vec<(u32, u32)>,
    /// Windows behind the newest that stay open.
    pub tolerance: u64,
    /// Tuples that fail the quals advance the window too.
    pub real_time: bool,
    /// Inputs are partial groups of an LFTA that has already judged lateness.
    pub over_partials: bool,
    /// Where the share of packets seen comes from.
    pub seen: Option<Seen>,
    /// No group key at all and a finite input: one row at the end even when no tuple came (count 0, defaults).
    pub emit_empty: bool,
}

impl Aggregate {
    /// Whether a tuple goes to one group, whose key has all columns.
    pub fn has_one_pattern(&self) -> bool {
        let all_on = u64::MAX.checked_shr(64 - self.keys.len() as u32).unwrap_or(0);
        self.patterns == [all_on]
    }
}

/// Grouping into sessions: a session of a key ends when no tuple of the key came for the gap.
#[derive(Clone, Debug)]
pub struct Session {
    /// What is grouped and what comes of it. No key is ordered, nothing is partial.
    pub group: Aggregate,
    /// Input column that measures the gap; it increases.
    pub time: u32,
    /// The gap in units of that column, greater than zero.
    pub gap: Value,
    /// The gap as written, for EXPLAIN.
    pub gap_text: String,
    /// Name of the time column, for EXPLAIN.
    pub time_text: String,
    /// Outputs that follow the session's last time, each with the aggregate that has it: (output, aggregate).
    pub ended_outputs: Vec<(u32, u32)>,
}

/// Streams that tell of each packet whether it was seen, for `window_completeness()`: the components of its window in the order of
/// [`Aggregate::ordered`], then a bool. The share is the last column of [`Aggregate::post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// They are the inputs from this one on, each beside the input of the same interface.
    pub first_input: u32,
    /// Windows behind the newest that they keep open.
    pub tolerance: u64,
}

/// An aggregate of an HFTA.
#[derive(Clone, Debug)]
pub struct HftaAgg {
    /// Which.
    pub function: HftaAggFunction,
    /// Operands (none for COUNT).
    pub args: Vec<NodeId>,
    /// Constant arguments (k of approx_top, q of quantile …), evaluated at start.
    pub consts: Vec<Value>,
    /// Each distinct operand counts once (`count(DISTINCT x)`: exact, within the memory limit).
    pub distinct: bool,
    /// Result type.
    pub ty: Type,
    /// Text, for EXPLAIN.
    pub text: String,
}

/// Which aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HftaAggFunction {
    /// One that every backend has.
    Basic(AggKind),
    /// A host aggregate by symbol.
    Host(&'static str),
}

/// How much memory an operator may take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryBound {
    /// Fixed part, bytes.
    pub fixed_bytes: u64,
    /// Per group, queued tuple or remembered row, bytes.
    pub per_entry_bytes: u64,
    /// What an entry is and what bounds their number, e.g. `group of one window`.
    pub entries: String,
    /// Most entries when the plan knows; otherwise the `--memory` limit bounds them.
    pub entries_max: Option<u64>,
}
