//! The syntax tree of GSQL (gsql.md §2–§23 with the forms protocols.md adds) and of the protocol
//! DDL (ddl.md). Every node that a message may point at carries its [`Span`]; comparing trees
//! ignores spans (see [`Expr`]'s equality), so print-then-parse can be tested.

use serde::{Deserialize, Serialize};

use crate::span::{Ident, Span};

/// A query file: queries separated by `;`.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// In text order.
    pub queries: Vec<Query>,
}

/// One query with its PARAM and DEFINE blocks (gsql.md §9).
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// `PARAM { name type; }`.
    pub params: Vec<ParamDecl>,
    /// `DEFINE { name value; }`.
    pub defines: Vec<Define>,
    /// What it computes.
    pub body: QueryBody,
    /// The whole query.
    pub span: SpanEq,
}

/// A span that is equal to every other, so that derived tree equality ignores places.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpanEq(pub Span);

impl PartialEq for SpanEq {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for SpanEq {}

/// `name type;` of a PARAM block.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamDecl {
    /// Used as `$name`.
    pub name: Ident,
    /// Type name as written; resolved by the binder.
    pub ty: Ident,
}

/// `name value;` of a DEFINE block.
#[derive(Clone, Debug, PartialEq)]
pub struct Define {
    /// Option name, or a name for `#name`.
    pub name: Ident,
    /// The value as a string (strings unquoted; integers and names as written).
    pub value: String,
    /// Which form the value had, so that printing keeps it.
    pub form: DefineForm,
    /// Place of the value.
    pub value_span: SpanEq,
}

/// The form of a DEFINE value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefineForm {
    /// `'text'`
    String,
    /// `name`
    Name,
    /// `2000`
    Integer,
}

/// What a query computes.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryBody {
    /// `SELECT …`
    Select(Box<Select>),
    /// `MERGE …` (gsql.md §15)
    Merge(Merge),
    /// `WATCHLIST FIELDS {…}` (gsql.md §18)
    Watchlist(Watchlist),
}

/// `SELECT [DISTINCT] items FROM … [WHERE] [GROUP BY] [SUPERGROUP] [HAVING] [CLEANING_WHEN] [CLEANING_BY]
/// [CLOSING_WHEN] [ORDER BY] [LIMIT]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// `SELECT DISTINCT` (protocols.md).
    pub distinct: bool,
    /// The list; never empty.
    pub items: Vec<SelectItem>,
    /// Source(s).
    pub from: From,
    /// `WHERE`.
    pub where_: Option<Expr>,
    /// `GROUP BY`; empty when absent.
    pub group_by: Vec<GroupItem>,
    /// `SUPERGROUP` names; `None` when the clause is absent.
    pub supergroup: Option<Vec<Ident>>,
    /// `HAVING`.
    pub having: Option<Expr>,
    /// `CLEANING_WHEN`.
    pub cleaning_when: Option<Expr>,
    /// `CLEANING_BY`.
    pub cleaning_by: Option<Expr>,
    /// `CLOSING_WHEN`.
    pub closing_when: Option<Expr>,
    /// `ORDER BY` within a window; empty when absent.
    pub order_by: Vec<OrderItem>,
    /// `LIMIT n` within a window.
    pub limit: Option<Expr>,
    /// From SELECT to the end.
    pub span: SpanEq,
}

/// One output column, or `*`.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectItem {
    /// `expr [AS name]`
    Expr {
        /// The value.
        expr: Expr,
        /// `AS name`.
        alias: Option<Ident>,
    },
    /// `*` (all fields of a stream source; of a protocol, its own listed fields), or `q.*`.
    Star {
        /// The table variable before `.*`.
        table: Option<Ident>,
        /// Place of the star.
        span: SpanEq,
    },
}

/// `ORDER BY expr [ASC|DESC]`.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem {
    /// An output column name or an expression over output columns.
    pub expr: Expr,
    /// `DESC`.
    pub descending: bool,
}

/// A member of GROUP BY (gsql.md §12).
#[derive(Clone, Debug, PartialEq)]
pub enum GroupItem {
    /// `expr [AS name]`
    Var(GroupVar),
    /// `CUBE(…)`
    Cube(Vec<GroupVar>),
    /// `ROLLUP(…)`
    Rollup(Vec<GroupVar>),
    /// `GROUPING_SETS((…),(…))`
    GroupingSets(Vec<Vec<GroupVar>>),
    /// `SESSION(gap)` (protocols.md)
    Session(Expr),
}

/// A grouping variable: a definition and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupVar {
    /// The definition.
    pub expr: Expr,
    /// `AS name`; absent for a bare column, required otherwise (checked by the binder).
    pub alias: Option<Ident>,
}

/// `[joinkind] FROM table, table …`.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    /// The join keyword before FROM, if any.
    pub join: Option<Join>,
    /// The sources.
    pub tables: Vec<Table>,
    /// Place of the clause.
    pub span: SpanEq,
}

/// Join keywords (gsql.md §16–§18).
#[derive(Clone, Debug, PartialEq)]
pub enum Join {
    /// `INNER_JOIN`
    Inner,
    /// `OUTER_JOIN`
    Outer,
    /// `LEFT_OUTER_JOIN`
    LeftOuter,
    /// `RIGHT_OUTER_JOIN`
    RightOuter,
    /// `FILTER_JOIN(column, seconds)`
    Filter {
        /// The temporal column.
        column: Box<Expr>,
        /// The window length.
        window: u64,
    },
    /// `WATCHLIST_JOIN`
    Watchlist,
}

/// A source with its optional table variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What is read.
    pub source: Source,
    /// `name` after the source (or `AS name`).
    pub alias: Option<Ident>,
    /// Place.
    pub span: SpanEq,
}

/// What a table reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `tcp`, `eth0.tcp`, `host.eth0.tcp`, `vxlan.tcp`, `lib/file.q`: dotted parts, the last of which may be a
    /// slash path. What the parts are is the binder's business.
    Path(SourcePath),
    /// `[set].tcp`
    Set {
        /// Interface set name.
        set: Ident,
        /// Protocol path below it (`tcp`, `vxlan.tcp`).
        protocol: Vec<Ident>,
    },
    /// `(SELECT …)` or `(MERGE …)`
    Subquery(Box<QueryBody>),
    /// `store.tcp THEN eth0.tcp`: the past, then the present.
    Then(Box<Source>, Box<Source>),
}

/// A dotted source name.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePath {
    /// Dotted parts, outermost first. Quoted host names are unquoted here.
    pub parts: Vec<Ident>,
    /// Directory components before the last part when written `dir/file`: `["csv_example"]` of
    /// `csv_example/ex2_src`.
    pub library: Vec<Ident>,
}

/// `MERGE a.t : b.t [SLACK s] FROM …` (gsql.md §15).
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// One column per source.
    pub columns: Vec<Expr>,
    /// `SLACK` bound in units of the merge column.
    pub slack: Option<Expr>,
    /// The inputs, in the order that breaks ties.
    pub tables: Vec<Table>,
    /// The whole statement.
    pub span: SpanEq,
}

/// `WATCHLIST FIELDS { type name (attrs); … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Watchlist {
    /// In file order.
    pub fields: Vec<WatchField>,
    /// The whole statement.
    pub span: SpanEq,
}

/// A watchlist field.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchField {
    /// Type name.
    pub ty: Ident,
    /// Field name.
    pub name: Ident,
    /// `(key)` and the like.
    pub attrs: Vec<Attr>,
}

/// A scalar or predicate expression. Equality ignores places.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// The form.
    pub kind: ExprKind,
    /// Where it was written.
    pub span: SpanEq,
}

impl Expr {
    /// An expression at a place.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Self { kind, span: SpanEq(span) }
    }

    /// Its place.
    pub fn span(&self) -> Span {
        self.span.0
    }
}

/// Expression forms.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A literal.
    Literal(Literal),
    /// `$name`
    Param(Ident),
    /// `#name`: the value of a DEFINE entry, a string.
    Defined(Ident),
    /// `@Prop` or `T.@Prop`
    IfProp {
        /// Table variable.
        table: Option<Ident>,
        /// Property name.
        name: Ident,
    },
    /// `a`, `T.a`, `p.q.a`, `p[i].f`, `p[last].f`.
    Column(ColumnRef),
    /// Prefix operator.
    Unary(UnaryOp, Box<Expr>),
    /// Infix arithmetic or bit operator.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `= <> < > <= >=`
    Compare(CmpOp, Box<Expr>, Box<Expr>),
    /// `AND`
    And(Box<Expr>, Box<Expr>),
    /// `OR`
    Or(Box<Expr>, Box<Expr>),
    /// `NOT`
    Not(Box<Expr>),
    /// `x [NOT] IN [a, b]`, also `IN (a, b)` and `IN name` (a watchlist).
    In {
        /// The value looked for.
        value: Box<Expr>,
        /// Where it is looked for.
        set: InSet,
        /// `NOT IN`.
        negated: bool,
    },
    /// `x [NOT] BETWEEN a AND b`
    Between {
        /// The value.
        value: Box<Expr>,
        /// Lower bound, included.
        low: Box<Expr>,
        /// Upper bound, included.
        high: Box<Expr>,
        /// `NOT BETWEEN`.
        negated: bool,
    },
    /// `x [NOT] LIKE 'pattern'` with `%` and `_`.
    Like {
        /// The value.
        value: Box<Expr>,
        /// The pattern.
        pattern: Box<Expr>,
        /// `NOT LIKE`.
        negated: bool,
    },
    /// `CASE [x] WHEN a THEN b … [ELSE c] END`
    Case {
        /// The simple form's operand.
        operand: Option<Box<Expr>>,
        /// WHEN/THEN pairs.
        arms: Vec<(Expr, Expr)>,
        /// `ELSE`.
        otherwise: Option<Box<Expr>>,
    },
    /// `f(a, b)`, `f$(a)`, `p[a, b]`, `count(*)`, `count(DISTINCT x)`.
    Call(Call),
}

/// A column reference in up to three dotted parts.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnRef {
    /// Qualifiers before the field: table variables, interfaces or protocols, outermost first.
    pub qualifiers: Vec<Qualifier>,
    /// The field.
    pub field: Ident,
}

/// A qualifier of a column: `p`, `p[2]`, `p[last]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Qualifier {
    /// Table variable or protocol.
    pub name: Ident,
    /// Which occurrence of a repeated header.
    pub index: Option<HeaderIndex>,
}

/// Occurrence of a repeated header (ddl.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderIndex {
    /// `p[i]`, from 0, outermost first.
    Nth(u32),
    /// `p[last]`, the innermost.
    Last,
}

/// A function, aggregate or predicate call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name as written.
    pub name: Ident,
    /// `name$(…)`: a superaggregate (gsql.md §14).
    pub superaggregate: bool,
    /// `name[…]` rather than `name(…)`.
    pub brackets: bool,
    /// `name(*)`.
    pub star: bool,
    /// `name(DISTINCT x)`.
    pub distinct: bool,
    /// The arguments.
    pub args: Vec<Expr>,
}

/// The right side of IN.
#[derive(Clone, Debug, PartialEq)]
pub enum InSet {
    /// Literals (a leading minus is folded into the literal expression).
    List(Vec<Expr>),
    /// A watchlist or named table.
    Named(Ident),
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `+`
    Plus,
    /// `!`: 1 when zero or FALSE, else 0.
    Not,
    /// `~`
    BitNot,
}

/// Infix operators, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryOp {
    /// `|`
    BitOr,
    /// `&`
    BitAnd,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CmpOp {
    /// `=`
    Eq,
    /// `<>` (also `!=`)
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// Literals (gsql.md §2, protocols.md).
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `35`, `17UL`: uint.
    Uint(u32),
    /// `1000ULL`: ullong; also a plain decimal beyond 32 bits is an error by the lexer.
    Ullong(u64),
    /// `HEX'7fff'`: uint.
    Hex(u32),
    /// `LHEX'7abc'`: ullong.
    LongHex(u64),
    /// `35.0`, `.5`, `1e6`.
    Float(f64),
    /// `TRUE`, `FALSE`.
    Bool(bool),
    /// `'text'`, `''` inside denotes a quote.
    String(String),
    /// `x'DEADBEEF'`.
    Bytes(Vec<u8>),
    /// `IP_VAL'1.2.3.4'`.
    Ip(std::net::Ipv4Addr),
    /// `IPV6_VAL'…'`.
    Ipv6(std::net::Ipv6Addr),
    /// `TIMEVAL'sec.millis'`.
    TimeVal {
        /// Seconds.
        seconds: u32,
        /// Milliseconds, below 1000.
        millis: u16,
    },
    /// `TIME'2026-01-31T12:00:00Z'`: nanoseconds since the epoch.
    Time(u64),
    /// `5ms`, `10s`, `1m`, `1h`: nanoseconds.
    Duration(u64),
}

// ---------------------------------------------------------------------------------------------
// Protocol DDL (ddl.md) and the schema forms of gsql.md §7.

/// A DDL file.
#[derive(Clone, Debug, PartialEq)]
pub struct DdlFile {
    /// In file order; dispatch takes the first match in this order.
    pub items: Vec<DdlItem>,
}

/// A top-level DDL item.
#[derive(Clone, Debug, PartialEq)]
pub enum DdlItem {
    /// `ENUM name : type { … }`
    Enum(EnumDecl),
    /// `PROTOCOL …`
    Protocol(ProtocolDecl),
    /// `STREAM name { … }` (gsql.md §7)
    Stream(StreamDecl),
    /// `UNPACK_FCNS { … }` (gsql.md §7)
    Unpack(Vec<UnpackFcn>),
    /// `OPERATOR_VIEW …` (gsql.md §7)
    OperatorView(OperatorView),
}

/// `ENUM EtherType : ushort { IPV4 = 0x0800, … }`
#[derive(Clone, Debug, PartialEq)]
pub struct EnumDecl {
    /// Enumeration name.
    pub name: Ident,
    /// Base type name.
    pub base: Ident,
    /// Names and values.
    pub members: Vec<(Ident, u64)>,
}

/// `PROTOCOL name (parents) OVER … REPEAT n RECORD f { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct ProtocolDecl {
    /// Protocol name.
    pub name: Ident,
    /// Inherited protocols.
    pub parents: Vec<Ident>,
    /// Which headers it follows, and when.
    pub over: Vec<OverDecl>,
    /// `REPEAT n`.
    pub repeat: Option<(u32, SpanEq)>,
    /// `RECORD …`.
    pub record: Option<RecordFormat>,
    /// Unpack routines for all fields (gsql.md §7).
    pub unpack: Vec<Ident>,
    /// Items in order.
    pub items: Vec<ProtocolItem>,
    /// The whole declaration.
    pub span: SpanEq,
}

/// `OVER parent WHEN pred`
#[derive(Clone, Debug, PartialEq)]
pub struct OverDecl {
    /// The header it follows.
    pub parent: Ident,
    /// Condition over the parent's fields; always when absent.
    pub when: Option<Expr>,
}

/// `RECORD FIXED n | VARIABLE expr | FRAMED 'pattern'`
#[derive(Clone, Debug, PartialEq)]
pub enum RecordFormat {
    /// Bytes per record.
    Fixed(u32),
    /// Length in bytes by expression.
    Variable(Expr),
    /// Framing pattern.
    Framed(String),
}

/// An item of a protocol body.
#[derive(Clone, Debug, PartialEq)]
pub enum ProtocolItem {
    /// `HEADER LENGTH expr [MIN n] [MAX n];`
    HeaderLength {
        /// Bytes.
        length: Expr,
        /// Smallest length that is well formed.
        min: Option<u32>,
        /// Largest.
        max: Option<u32>,
    },
    /// `CHECK pred;`
    Check(Expr),
    /// A field.
    Field(Box<FieldDecl>),
}

/// `[REFINE] type name [ALIAS name] place [(attrs)] [unpack];`
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDecl {
    /// `REFINE`.
    pub refine: bool,
    /// Type name, an ENUM name included.
    pub ty: Ident,
    /// Field name.
    pub name: Ident,
    /// Second name.
    pub alias: Option<Ident>,
    /// Where it is found.
    pub place: PlaceDecl,
    /// Attributes.
    pub attrs: Vec<Attr>,
    /// Unpack routines (gsql.md §7).
    pub unpack: Vec<Ident>,
    /// The whole declaration.
    pub span: SpanEq,
}

/// Where a field is found.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceDecl {
    /// `AT byte [BITS from:width] [LENGTH bytes] [LITTLE]`
    At {
        /// Byte from the start of the header.
        at: Expr,
        /// Bit offset from that byte (0 = most significant) and width.
        bits: Option<(u32, u32)>,
        /// Length in bytes.
        length: Option<Expr>,
        /// Little-endian.
        little: bool,
    },
    /// `= expr`
    Derived(Expr),
    /// An access function name (gsql.md §7), e.g. `get_csv_uint_pos1`.
    Accessor(Ident),
    /// Declared without a place: abstract, to be refined by a child (`ip`), or supplied by the source.
    Abstract,
}

/// `name [NAME | STRING | INT]`
#[derive(Clone, Debug, PartialEq)]
pub struct Attr {
    /// Attribute name.
    pub name: Ident,
    /// Its value as text.
    pub value: Option<String>,
}

/// `STREAM name { fields }`
#[derive(Clone, Debug, PartialEq)]
pub struct StreamDecl {
    /// Stream name (slash path as written).
    pub name: Ident,
    /// Fields.
    pub fields: Vec<FieldDecl>,
}

/// `name routine cost`
#[derive(Clone, Debug, PartialEq)]
pub struct UnpackFcn {
    /// Name used in bracket lists.
    pub name: Ident,
    /// Routine.
    pub routine: Ident,
    /// Relative cost.
    pub cost: u32,
}

/// `OPERATOR_VIEW …`
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorView {
    /// View name.
    pub name: Ident,
    /// Executable of `OPERATOR (file '…')`.
    pub file: String,
    /// Output fields.
    pub fields: Vec<FieldDecl>,
    /// Subqueries: name and expected fields.
    pub subqueries: Vec<(Ident, Vec<FieldDecl>)>,
    /// `SELECTION_PUSHDOWN` attributes.
    pub pushdown: Vec<Attr>,
}
