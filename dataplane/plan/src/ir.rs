//! The LFTA IR: one typed program per batch and interface, three backends (design: "One LFTA IR").
//!
//! A program is a DAG of pure nodes in topological order, shared by all queries of the batch, and for each query the
//! nodes it tests, groups by and emits. Everything a backend could disagree on is defined here:
//!
//! - **Absence.** A node has a value or is *absent*. An operator with an absent operand is absent, except
//!   [`Op::ByProtocol`] and [`Op::Select`], which read only the arm they take, and [`Op::Present`], [`Op::Depth`],
//!   [`Op::InBounds`] and [`Op::LoadOrZero`], which are never absent. A load that touches a byte outside the captured bytes, or in a header
//!   that is not there, is absent. A failing partial operation (division by zero, a partial function) is absent too, but
//!   counted apart: [`Node::fails`] tells which nodes can fail.
//! - **Arithmetic** wraps modulo the width of [`Node::ty`]; `wt_catalog::arith` is the definition. [`Op::Saturating`] is the
//!   arithmetic of the DDL: unsigned 64 bit, clamped at 0 and at `u64::MAX`, division by zero gives 0.
//! - **Order.** A query evaluates `requires`, then its quals in order, then keys and operands (or outputs). The first absent node rejects the
//!   tuple, the first false qual filters it.
//! - **Depth.** A header beyond a protocol's repeat limit ends the path; the packet is counted `too_deep`.

use std::sync::Arc;

use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use crate::watchlist::WatchlistSource;

/// Index into [`Exprs::nodes`]; always less than the index of the node that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Index into [`LftaProgram::layers`] or [`HeaderProgram::layers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(pub u32);

/// Index into [`Exprs::handles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u32);

/// Index into the plan's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamId(pub u32);

/// A DAG of nodes with the handles their calls use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exprs {
    /// Topologically ordered.
    pub nodes: Vec<Node>,
    /// Registered once at start: regexes, tables.
    pub handles: Vec<HandleSpec>,
    /// Nodes that are tcpdump expressions, and their texts.
    pub filters: Vec<(NodeId, Box<str>)>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// The type of its value.
    pub ty: Type,
    /// Needs the host: it, or a node below it, is what programs next to the driver do not have ([`crate::lower::host_reason`]).
    pub host_only: bool,
    /// It, or a node below it, can fail in the sense of a partial function.
    pub fails: bool,
}

/// Node operators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A constant.
    Const(Value),
    /// A parameter's present value.
    Param(ParamId),
    /// Column `i` of the input tuple (HFTA programs only).
    Input(u32),
    /// Packet metadata.
    Meta(Meta),
    /// An unsigned bit field of at most 64 bits: byte `at` (0 when none) + `byte` of the layer, then `bit` bits from the most
    /// significant; bytes swapped when `little`. The value has the node's type: integers, bool, IP, MAC.
    Load {
        /// Header it lies in.
        layer: LayerId,
        /// Variable byte offset, added to `byte`.
        at: Option<NodeId>,
        /// Constant byte offset.
        byte: u32,
        /// 0 to 7, or more for fields that start later.
        bit: u32,
        /// 1 to 64.
        bits: u32,
        /// Little-endian.
        little: bool,
    },
    /// Like [`Op::Load`] with whole bytes, most significant first, but 0 outside the captured bytes. For translated classic BPF.
    LoadOrZero {
        /// Header it lies in.
        layer: LayerId,
        /// Variable byte offset, added to `byte` modulo 2^32.
        at: Option<NodeId>,
        /// Constant byte offset.
        byte: u32,
        /// 1, 2 or 4.
        bytes: u32,
    },
    /// TRUE when `bytes` bytes at the offset (as in [`Op::LoadOrZero`]) are captured.
    InBounds {
        /// Header it lies in.
        layer: LayerId,
        /// Variable byte offset.
        at: Option<NodeId>,
        /// Constant byte offset.
        byte: u32,
        /// How many.
        bytes: u32,
    },
    /// 16 bytes at byte `at` + `byte`: an IPV6 address.
    LoadIpv6 {
        /// Header it lies in.
        layer: LayerId,
        /// Variable byte offset.
        at: Option<NodeId>,
        /// Constant byte offset.
        byte: u32,
    },
    /// Captured bytes from offset `at`, `len` long (to the end of the captured bytes when none), cut at that end; empty, not absent, when the
    /// offset is at or past the end.
    Slice {
        /// Header it lies in.
        layer: LayerId,
        /// Byte offset.
        at: NodeId,
        /// Length.
        len: Option<NodeId>,
    },
    /// TRUE when the layer is there.
    Present(LayerId),
    /// Where the layer starts, bytes from the first byte of the packet.
    Offset(LayerId),
    /// How many headers of the protocol (or refining it) the path has; `run_below`: in the run directly below that
    /// layer (see [`LayerSel::RunLast`]).
    Depth {
        /// What is counted.
        protocol: ProtocolId,
        /// Counting only the run directly below this layer.
        run_below: Option<LayerId>,
    },
    /// The arm of the layer's concrete protocol; absent when no arm fits.
    ByProtocol {
        /// The layer looked at.
        layer: LayerId,
        /// Concrete protocol and the node it selects.
        arms: Vec<(ProtocolId, NodeId)>,
    },
    /// Prefix operator.
    Unary(UnaryOp, NodeId),
    /// Infix operator at the node's type (operands are promoted by the definition of `wt_catalog::arith`).
    Binary(BinaryOp, NodeId, NodeId),
    /// DDL arithmetic: unsigned 64 bit, saturating.
    Saturating(BinaryOp, NodeId, NodeId),
    /// Comparison (gsql.md §3).
    Compare(CmpOp, NodeId, NodeId),
    /// Conjunction of bools.
    And(NodeId, NodeId),
    /// Disjunction of bools.
    Or(NodeId, NodeId),
    /// Negation of a bool.
    Not(NodeId),
    /// TRUE when the value equals a member; addresses are contained in PREFIX members.
    In(NodeId, Vec<Value>),
    /// `then` where the condition holds, else `otherwise`.
    Select {
        /// bool
        cond: NodeId,
        /// Taken when TRUE.
        then: NodeId,
        /// Taken when FALSE.
        otherwise: NodeId,
    },
    /// Conversion to the node's type.
    Cast(NodeId),
    /// A host function.
    Call {
        /// Symbol in the function registry.
        symbol: &'static str,
        /// Its tuple arguments, in order, handle arguments left out.
        args: Vec<NodeId>,
        /// Its handle.
        handle: Option<HandleId>,
    },
}

impl Op {
    /// The nodes it reads, in order.
    pub fn operands(&self) -> Vec<NodeId> {
        match self {
            Op::Const(_)
            | Op::Param(_)
            | Op::Input(_)
            | Op::Meta(_)
            | Op::Present(_)
            | Op::Offset(_)
            | Op::Depth { .. } => Vec::new(),
            Op::Load { at, .. }
            | Op::LoadOrZero { at, .. }
            | Op::InBounds { at, .. }
            | Op::LoadIpv6 { at, .. } => at.iter().copied().collect(),
            Op::Slice { at, len, .. } => std::iter::once(*at).chain(*len).collect(),
            Op::ByProtocol { arms, .. } => arms.iter().map(|a| a.1).collect(),
            Op::Unary(_, a) | Op::Not(a) | Op::In(a, _) | Op::Cast(a) => vec![*a],
            Op::Binary(_, a, b)
            | Op::Saturating(_, a, b)
            | Op::Compare(_, a, b)
            | Op::And(a, b)
            | Op::Or(a, b) => vec![*a, *b],
            Op::Select { cond, then, otherwise } => vec![*cond, *then, *otherwise],
            Op::Call { args, .. } => args.clone(),
        }
    }

    /// The layer it reads itself.
    pub fn layer(&self) -> Option<LayerId> {
        match self {
            Op::Load { layer, .. }
            | Op::LoadOrZero { layer, .. }
            | Op::InBounds { layer, .. }
            | Op::LoadIpv6 { layer, .. }
            | Op::Slice { layer, .. }
            | Op::Present(layer)
            | Op::Offset(layer)
            | Op::ByProtocol { layer, .. } => Some(*layer),
            Op::Depth { run_below, .. } => *run_below,
            _ => None,
        }
    }
}

/// A handle: an argument registered once (gsql.md §20.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandleSpec {
    /// Function symbol that registers it.
    pub symbol: &'static str,
    /// The argument.
    pub argument: HandleArg,
}

/// The argument of a handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HandleArg {
    /// A literal or interface property.
    Const(Value),
    /// A parameter; a change registers anew.
    Param(ParamId),
    /// A watchlist; a change of its entries registers anew.
    Watchlist(Arc<WatchlistSource>),
}

/// Which header of the packet's path a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LayerSel {
    /// The whole record, offset 0.
    Packet,
    /// The header under evaluation (header programs only).
    This,
    /// The outermost header of the protocol (or refining it).
    First(ProtocolId),
    /// The `n`-th from outside, from 0.
    Nth(ProtocolId, u32),
    /// The innermost.
    Last(ProtocolId),
    /// The first one below that layer.
    Below(LayerId, ProtocolId),
    /// The nearest one above that layer.
    Above(LayerId, ProtocolId),
    /// The last header of the protocol in the run directly below that layer: the longest sequence of headers below it
    /// of which each is of the protocol (or refines it) or has [`HeaderProgram::continues`].
    RunLast(LayerId, ProtocolId),
    /// The `n`-th header of the protocol in that run, from 0.
    RunNth(LayerId, ProtocolId, u32),
}

impl LayerSel {
    /// The protocol that the header is of.
    pub fn protocol(&self) -> Option<ProtocolId> {
        match *self {
            LayerSel::Packet | LayerSel::This => None,
            LayerSel::First(protocol)
            | LayerSel::Nth(protocol, _)
            | LayerSel::Last(protocol)
            | LayerSel::Below(_, protocol)
            | LayerSel::Above(_, protocol)
            | LayerSel::RunLast(_, protocol)
            | LayerSel::RunNth(_, protocol, _) => Some(protocol),
        }
    }

    /// The layer that it is looked for from.
    pub fn anchor(&self) -> Option<LayerId> {
        match *self {
            LayerSel::Below(layer, _)
            | LayerSel::Above(layer, _)
            | LayerSel::RunLast(layer, _)
            | LayerSel::RunNth(layer, ..) => Some(layer),
            LayerSel::Packet
            | LayerSel::This
            | LayerSel::First(_)
            | LayerSel::Nth(..)
            | LayerSel::Last(_) => None,
        }
    }
}

/// How to walk a packet's headers. The path is walked once per packet, before any query is evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParseSpec {
    /// Indexed by [`ProtocolId`]; `None` for protocols without a header of their own.
    pub protocols: Vec<Option<HeaderProgram>>,
    /// First header by LINKTYPE_ number.
    pub start: Vec<(u16, ProtocolId)>,
}

/// How to recognise, measure and leave one header.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderProgram {
    /// Name, for listings.
    pub name: String,
    /// Abstract protocols that a header of this one also counts as.
    pub counts_as: Vec<ProtocolId>,
    /// Layers its expressions use; 0 is [`LayerSel::This`].
    pub layers: Vec<LayerSel>,
    /// Its expressions.
    pub exprs: Exprs,
    /// Length in bytes.
    pub length: NodeId,
    /// Shorter: malformed.
    pub min: u32,
    /// Longer: malformed.
    pub max: u32,
    /// All must be TRUE (absent: malformed).
    pub checks: Vec<NodeId>,
    /// In order: the first whose condition is TRUE follows (absent: not). `None`: always.
    pub children: Vec<(ProtocolId, Option<NodeId>)>,
    /// Most headers of this protocol in one path.
    pub repeat: u32,
    /// It extends the header above it: runs of headers go on through it.
    pub continues: bool,
}

/// All LFTAs of a batch on one interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LftaProgram {
    /// How headers are found.
    pub parse: ParseSpec,
    /// Headers the nodes read.
    pub layers: Vec<LayerSel>,
    /// The shared DAG.
    pub exprs: Exprs,
    /// A cheap bool implied by the OR of all queries' quals; FALSE: no query wants the packet, and each filters it. Absent counts as TRUE. A
    /// backend may ask for it first, to spare the quals, or only where a query would reject the packet for a lack.
    pub prefilter: Option<NodeId>,
    /// The queries.
    pub queries: Vec<LftaQuery>,
}

impl LftaProgram {
    /// The program of some of its queries, in this order.
    #[must_use]
    pub fn of_queries(&self, queries: &[u32]) -> Self {
        let queries = queries.iter().map(|query| self.queries[*query as usize].clone()).collect();
        Self { queries, ..self.clone() }
    }
}

/// One LFTA.
#[derive(Clone, Debug, PartialEq)]
pub struct LftaQuery {
    /// Stream name: the query's own when it is LFTA only, else `_fta_<name>`.
    pub name: String,
    /// Layers that must be there; otherwise the tuple is filtered.
    pub requires: Vec<LayerId>,
    /// Conjuncts in evaluation order.
    pub quals: Vec<Qual>,
    /// What is done with a qualified tuple.
    pub action: LftaAction,
    /// Bytes of the packet the query needs, headers included; `None`: all.
    pub snap_len_bytes: Option<u32>,
}

/// A conjunct.
#[derive(Clone, Debug, PartialEq)]
pub struct Qual {
    /// bool node.
    pub node: NodeId,
    /// Its text, for EXPLAIN.
    pub text: String,
    /// Estimated cost, ns; the order of the quals follows it.
    pub cost_ns: u32,
}

/// Slots of a group table unless the query says otherwise.
pub const SLOTS_DEFAULT: u32 = 4096;

/// Groups by value that a table may grow to: more is no gain over a table that is in the cache.
pub const VALUE_GROUPS_MAX: u32 = 1 << 16;

/// What an LFTA does with a qualified tuple.
#[derive(Clone, Debug, PartialEq)]
pub enum LftaAction {
    /// Emits one tuple.
    Select {
        /// Columns.
        outputs: Vec<NodeId>,
        /// Columns that are ordered, for punctuation.
        ordered: Vec<OrderedColumn>,
    },
    /// Updates a group of the direct-mapped table; collisions eject the partial group downstream. Emitted tuples are keys, then one column per
    /// aggregate; their ordinal is that of the group's first packet.
    Aggregate {
        /// Group key.
        keys: Vec<NodeId>,
        /// Which keys are ordered: the window.
        ordered: Vec<OrderedColumn>,
        /// Aggregates.
        aggs: Vec<LftaAgg>,
        /// Table slots, a power of two. A backend with the host's memory may let a table of [`SLOTS_DEFAULT`] grow
        /// instead of ejecting; any other number was asked for.
        slots: u32,
        /// Windows behind the newest that stay open.
        tolerance: u64,
        /// Tuples that fail the quals advance the window too (gsql.md §9 `real_time`).
        real_time: bool,
        /// How many of the keys, the last ones, are values of aggregates above to which repeats do not matter. As many groups as tuples may
        /// come of them, so a table that grows ejects all of them at [`VALUE_GROUPS_MAX`].
        values: u32,
    },
}

/// An ordered column: its index, direction, and how its bound follows from a packet time.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedColumn {
    /// Index among keys or outputs.
    pub column: u32,
    /// Decreasing rather than increasing.
    pub decreasing: bool,
    /// Disorder the property allows (banded-increasing), in units of the column.
    pub band: u64,
    /// The node gives the column's lower bound when evaluated on packet metadata alone (only time stamps below it).
    pub from_time: bool,
}

/// A sub-aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct LftaAgg {
    /// Which.
    pub kind: AggKind,
    /// Operand; none for COUNT.
    pub arg: Option<NodeId>,
    /// Result type.
    pub ty: Type,
}

/// Aggregates that split into themselves (COUNT into SUM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggKind {
    /// Number of tuples.
    Count,
    /// Sum, wrapping.
    Sum,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// Bitwise and.
    BitAnd,
    /// Bitwise or.
    BitOr,
    /// Bitwise exclusive or.
    BitXor,
}
