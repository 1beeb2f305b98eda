//! The logical plan: what the binder makes of a query file. Every name is resolved, every expression typed, every
//! stream column has its ordering property.

use std::net::IpAddr;
use std::sync::Arc;

use wt_catalog::{Function, Ordering, ProtocolId, Type, Value};
use wt_lang::Span;
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use crate::physical::{ParamSpec, Schema};
use crate::watchlist::WatchlistSource;

/// A bound batch.
#[derive(Clone, Debug, Default)]
pub struct LogicalPlan {
    /// Queries; a query reads only earlier ones (sorted by the binder), `source_order` gives the text order.
    pub queries: Vec<LogicalQuery>,
    /// Parameters of all queries, by name.
    pub params: Vec<ParamSpec>,
    /// Interfaces known to the session, in order.
    pub interfaces: Vec<String>,
    /// Stores whose recorder is followed (`store.tcp THEN eth0.tcp`): the store and the interface that it records, as indexes into `interfaces`.
    pub followed: Vec<(usize, usize)>,
    /// Rewrites of conditions, one sentence each, for `EXPLAIN --verbose`.
    pub rewrites: Vec<String>,
}

/// A named query.
#[derive(Clone, Debug)]
pub struct LogicalQuery {
    /// Its name (gsql.md §9).
    pub name: String,
    /// Its operator tree.
    pub node: LogicalNode,
    /// Its columns.
    pub schema: Schema,
    /// Its options.
    pub options: Options,
    /// Position in the text, from 0.
    pub source_order: usize,
    /// Subquery of FROM, or otherwise internal: not a result.
    pub internal: bool,
    /// Whole query.
    pub span: Span,
}

/// Query options (gsql.md §9) with their defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Any non-empty `real_time`.
    pub real_time: bool,
    /// LFTA group slots, rounded up to a power of two (`aggregate_slots`, `lfta_htsize`).
    pub aggregate_slots: u32,
    /// Keep only the partial aggregation.
    pub lfta_aggregation: bool,
    /// Permit a selection LFTA under an aggregation.
    pub select_lfta: bool,
    /// Windows the LFTA may leave open, 1 = lowest delay.
    pub max_lfta_disorder: u64,
    /// Windows the HFTA keeps open.
    pub max_hfta_disorder: Option<u64>,
    /// Grouping without an ordered variable is allowed.
    pub no_temporal_aggr: bool,
    /// Merge reports late tuples.
    pub print_warnings: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            real_time: false,
            aggregate_slots: crate::ir::SLOTS_DEFAULT,
            lfta_aggregation: false,
            select_lfta: false,
            max_lfta_disorder: 1,
            max_hfta_disorder: None,
            no_temporal_aggr: false,
            print_warnings: false,
        }
    }
}

/// Logical operators.
#[derive(Clone, Debug)]
pub enum LogicalNode {
    /// Packets of a protocol on interfaces.
    Protocol(ProtocolSource),
    /// The stream of an earlier query.
    Query(usize),
    /// Selection (gsql.md §10).
    Select(Box<SelectNode>),
    /// Grouping (gsql.md §11, §12).
    Aggregate(Box<AggregateNode>),
    /// Merge (gsql.md §15).
    Merge(Box<MergeNode>),
    /// `SELECT DISTINCT`.
    Distinct(Box<LogicalNode>),
    /// `ORDER BY … LIMIT`. Its input has all output columns first, then hidden sort columns.
    Sort(Box<SortNode>),
}

/// A protocol source.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtocolSource {
    /// Indexes into [`LogicalPlan::interfaces`].
    pub interfaces: Vec<usize>,
    /// `FROM vxlan.tcp` is `[vxlan, tcp]`; the last is the target.
    pub chain: Vec<ProtocolId>,
}

/// Selection.
#[derive(Clone, Debug)]
pub struct SelectNode {
    /// What it reads.
    pub input: LogicalNode,
    /// WHERE in conjunctive form, in cost order.
    pub quals: Vec<Expr>,
    /// SELECT.
    pub items: Vec<Item>,
}

/// Grouping.
#[derive(Clone, Debug)]
pub struct AggregateNode {
    /// What it reads.
    pub input: LogicalNode,
    /// WHERE conjuncts in cost order.
    pub quals: Vec<Expr>,
    /// Group variables.
    pub keys: Vec<Item>,
    /// Bit i set = key i is on; one full pattern without CUBE and the like.
    pub patterns: Vec<u64>,
    /// Distinct aggregate calls.
    pub aggs: Vec<AggCall>,
    /// HAVING conjuncts; [`ExprKind::Column`] i is key i, then aggregate i − keys.
    pub having: Vec<Expr>,
    /// SELECT; columns as in `having`.
    pub items: Vec<Item>,
    /// The source is finite and nothing is ordered: one result at the end.
    pub at_end: bool,
    /// `SESSION(gap)`: groups are sessions.
    pub session: Option<SessionNode>,
}

/// A session window (protocols.md): a session of a group key ends when no tuple of the key came for `gap`.
#[derive(Clone, Debug)]
pub struct SessionNode {
    /// The ordered attribute that measures the gap.
    pub time: Expr,
    /// The gap in units of the attribute, greater than zero.
    pub gap: Value,
    /// Its type, for display.
    pub gap_type: Type,
    /// Aggregates (indexes of [`AggregateNode::aggs`]) that follow a session's last time: sessions leave in their order.
    pub ended: Vec<usize>,
}

/// An aggregate call.
#[derive(Clone, Debug)]
pub struct AggCall {
    /// The function.
    pub function: Function,
    /// Per-tuple operands.
    pub args: Vec<Expr>,
    /// Constant operands that follow them.
    pub consts: Vec<Value>,
    /// `DISTINCT`.
    pub distinct: bool,
    /// Result type.
    pub ty: Type,
    /// As written.
    pub text: String,
    /// Place.
    pub span: Span,
}

/// Merge.
#[derive(Clone, Debug)]
pub struct MergeNode {
    /// Inputs in tie order.
    pub inputs: Vec<LogicalNode>,
    /// Merge column, the same position in all.
    pub column: usize,
    /// All decreasing rather than increasing.
    pub decreasing: bool,
    /// SLACK.
    pub slack: Option<Value>,
}

/// ORDER BY … LIMIT.
#[derive(Clone, Debug)]
pub struct SortNode {
    /// What it reads.
    pub input: LogicalNode,
    /// Columns of the input to sort by, with `descending`.
    pub keys: Vec<(usize, bool)>,
    /// LIMIT per window.
    pub limit: Option<u64>,
    /// How many leading input columns are output.
    pub outputs: usize,
}

/// A named expression: an output column or a group variable.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its value.
    pub expr: Expr,
    /// Ordering property on the output stream.
    pub ordering: Ordering,
    /// Names a window.
    pub window: bool,
}

/// A typed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// The form.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Where it was written.
    pub span: Span,
}

/// Expression forms. Predicates have type bool.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A constant (folded where possible).
    Const(Value),
    /// `$name`: index into [`LogicalPlan::params`].
    Param(usize),
    /// A protocol field (below a protocol source).
    Field(FieldAccess),
    /// Column of the input stream, or key/aggregate after grouping.
    Column(usize),
    /// `@Prop` of the interface that the tuple came from; a constant in each LFTA.
    InterfaceProperty(String),
    /// `depth(p)`
    Depth(HeaderRef),
    /// `present(p)`
    Present(HeaderRef),
    /// Prefix operator.
    Unary(UnaryOp, Box<Expr>),
    /// Infix operator.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// Comparison.
    Compare(CmpOp, Box<Expr>, Box<Expr>),
    /// Conjunction.
    And(Box<Expr>, Box<Expr>),
    /// Disjunction.
    Or(Box<Expr>, Box<Expr>),
    /// Negation.
    Not(Box<Expr>),
    /// `IN` constants; PREFIX members contain addresses.
    In(Box<Expr>, Vec<Value>),
    /// `IN` a watchlist's key field.
    InWatchlist(Box<Expr>, Box<WatchlistKey>),
    /// `CASE WHEN c THEN a ELSE b END`, `IF`.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion.
    Cast(Box<Expr>),
    /// `pcap_filter('expr')`: the tcpdump expression, checked by the binder.
    PcapFilter(String),
    /// A scalar function or predicate. Handle arguments are constants or parameters within `args`.
    Call {
        /// The overload.
        function: Function,
        /// All arguments.
        args: Vec<Expr>,
    },
}

/// A watchlist with one key field, as IN reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchlistKey {
    /// Its query name.
    pub name: String,
    /// What registers it.
    pub source: Arc<WatchlistSource>,
}

/// The function behind IN over a watchlist: its argument is the value, its handle the watchlist.
pub const IN_WATCHLIST: &str = "in_watchlist";

/// A field of a header of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldAccess {
    /// Protocol whose declaration has the field.
    pub owner: ProtocolId,
    /// Index into its own fields.
    pub field: u32,
    /// Which header.
    pub header: HeaderRef,
}

/// A header of the packet, as a query names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderRef {
    /// The record itself (fields of `packet`).
    Packet,
    /// Element `i` of the FROM chain; the last one is the target: each the outermost below the one before.
    Chain(usize),
    /// The nearest header of this protocol above the target: what the target inherits as its carrier.
    Carrier(ProtocolId),
    /// The outermost header of this protocol.
    First(ProtocolId),
    /// `p[i]`.
    Nth(ProtocolId, u32),
    /// `p[last]`.
    Last(ProtocolId),
}

/// A CIDR block, as IN sets carry it.
pub type Block = (IpAddr, u8);
