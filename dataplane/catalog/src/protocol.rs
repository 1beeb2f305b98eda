//! Protocols as data: what the DDL (ddl.md) says, resolved. One description drives the interpreter,
//! the code generators, `schema` and the docs.

use serde::{Deserialize, Serialize};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use crate::ordering::Ordering;
use crate::types::Type;
use crate::value::Value;

/// Most headers in one path, whatever the protocols allow: deeper packets end their path there (`too_deep`).
pub const PATH_HEADERS_MAX: usize = 64;

/// Index of a protocol in its [`Catalog`](crate::Catalog).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProtocolId(pub u32);

/// A protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Protocol {
    /// Its index.
    pub id: ProtocolId,
    /// Its name.
    pub name: String,
    /// Protocols it names as parents, in order.
    pub parents: Vec<ProtocolId>,
    /// All protocols it inherits, itself excluded.
    pub ancestors: Vec<ProtocolId>,
    /// Protocols that name it as a parent *and refine it as the same header* (ipv4 and ipv6 for ip): a header of any
    /// of these counts as this protocol. Protocols that inherit it as a carrier (tcp inherits ip) are not here.
    pub refinements: Vec<ProtocolId>,
    /// No header of its own: only its refinements stand in a packet (`ip`). `packet` is abstract too: it is
    /// the root, starts at byte 0 of every packet and is always present.
    pub is_abstract: bool,
    /// It extends the header above it (IPv6 extension headers, VLAN tags): the run of headers below a header, which
    /// [`Occurrence::Last`] and [`Occurrence::Nth`] of a declaration search, goes on through it.
    pub continues: bool,
    /// Header layout; `None` for record protocols and abstract ones.
    pub header: Option<Header>,
    /// Own fields, then none of the parents': lookup walks [`Catalog::fields_of`](crate::Catalog::fields_of).
    pub fields: Vec<Field>,
    /// Headers that may follow, in file order of declaration; the first whose condition holds is taken. For a header
    /// that stands in packets the list is complete: it includes what follows the abstract protocols it refines and what
    /// follows the header it continues, with the conditions already rewritten to its own fields. Children are never
    /// abstract.
    pub children: Vec<Dispatch>,
    /// Link types (LINKTYPE_ numbers) whose frames start with this header.
    pub link_types: Vec<u16>,
    /// How many times it may stand in one path; 1 when it may not repeat. A refinement that states no limit has that of
    /// the abstract protocol it refines; each protocol is counted by itself.
    pub repeat: u32,
    /// Text records rather than packets (csv, netflow …).
    pub record: Option<RecordKind>,
    /// One sentence for `schema`.
    pub doc: String,
    /// Name of the file that declares it.
    pub declared_in: String,
}

/// How the records of a record protocol are cut (ddl.md RECORD).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RecordKind {
    /// Bytes per record.
    Fixed(u32),
    /// Length in bytes.
    Variable(PExpr),
    /// Framing pattern.
    Framed(Vec<u8>),
    /// Lines of text, fields by accessor.
    Csv,
}

/// Length and well-formedness of a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Bytes; evaluated against the header itself.
    pub length: PExpr,
    /// Shorter is malformed: the header is absent.
    pub min: u32,
    /// Longer is malformed.
    pub max: u32,
    /// Conditions that must hold, else malformed.
    pub checks: Vec<PExpr>,
}

/// An edge to a header that may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The header that follows.
    pub child: ProtocolId,
    /// When; over the fields of this header and those above it. `None`: always.
    pub when: Option<PExpr>,
}

/// An OVER clause as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Over {
    /// The header that is followed; may be abstract.
    pub parent: ProtocolId,
    /// The protocol that declares the clause.
    pub child: ProtocolId,
    /// The condition, over the fields of `parent` and the headers above it.
    pub when: Option<PExpr>,
}

/// A field of a protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Field {
    /// Name (the paper's spelling where the paper has one).
    pub name: String,
    /// Today's spelling.
    pub alias: Option<String>,
    /// Type.
    pub ty: Type,
    /// Enumeration whose names its values have.
    pub enumeration: Option<usize>,
    /// Where the value comes from.
    pub place: Place,
    /// Ordering over the packets of one interface.
    pub ordering: Ordering,
    /// Present in every record, so access cannot fail.
    pub required: bool,
    /// Uninterpreted label.
    pub subtype: Option<String>,
    /// Optimiser hint.
    pub low_cardinality: bool,
    /// Watchlist key.
    pub key: bool,
    /// Bytes of a record's prefix that suffice, where declared (records; packet fields know their own).
    pub snap_len: Option<u32>,
    /// It refines an inherited field of the same name.
    pub refines: bool,
    /// Attribute `continues f`: below this header the field stands for `f` of the header that is continued, in the
    /// conditions of what may follow that header.
    pub continues: Option<String>,
    /// One line for `schema`.
    pub doc: String,
}

/// Where a field's value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Place {
    /// An unsigned bit field of at most 64 bits (integers, bool, IP, MAC, enumerations): byte `at` of the header, then
    /// `bit` bits further, most significant first; `bits` wide; bytes swapped when `little`.
    Bits {
        /// Byte from the header start.
        at: PExpr,
        /// Bits from that byte's most significant bit.
        bit: u32,
        /// Width in bits, 1 to 64.
        bits: u32,
        /// Little-endian (whole bytes only).
        little: bool,
    },
    /// A fixed run of bytes (IPV6: 16).
    Bytes {
        /// Byte from the header start.
        at: PExpr,
        /// Length in bytes.
        len: u32,
    },
    /// A run of variable length, cut at the end of the captured bytes.
    Slice {
        /// Byte from the header start.
        at: PExpr,
        /// Length in bytes; to the end of the captured bytes when absent.
        len: Option<PExpr>,
    },
    /// Computed from other fields.
    Derived(PExpr),
    /// Known of the packet rather than found in it.
    Meta(Meta),
    /// Given its place by each refinement.
    Abstract,
    /// A field of a text record: 1-based position.
    Text(u32),
}

/// Packet metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Meta {
    /// Seconds of the time stamp.
    Time,
    /// Nanoseconds of the time stamp.
    Timestamp,
    /// Length on the wire, bytes.
    Len,
    /// Captured bytes.
    CapLen,
    /// Interface name.
    Interface,
    /// Interface index, from 0 in order of first appearance.
    IfIndex,
    /// 0 unknown, 1 in, 2 out.
    Direction,
    /// LINKTYPE_ number.
    LinkType,
}

/// Which header of a path a field is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Occurrence {
    /// The header that the expression belongs to (inside that protocol's own declaration).
    This,
    /// The nearest header of that protocol (or a refinement of it) above the one the expression belongs to.
    Above,
    /// The outermost of the packet.
    First,
    /// `p[i]`, from 0: inside a declaration among the headers `p` of the run below (see [`Occurrence::Last`]), in a
    /// query among those of the packet.
    Nth(u32),
    /// `p[last]`: inside a declaration the last header `p` of the run directly below the header the expression belongs
    /// to; in a query the innermost of the packet. The run is the longest sequence of headers directly below of
    /// which each is `p` (or refines it) or has [`Protocol::continues`]: an IPv6 extension chain, a VLAN stack, the
    /// label stack behind it. Seen from a condition of [`Dispatch`] or CHECK the path ends at the header itself.
    Last,
}

/// A field of a header. A field of an abstract protocol is read through the refinement that stands in the path:
/// [`Catalog::field_at`](crate::Catalog::field_at) maps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldRef {
    /// Protocol whose declaration has the field.
    pub protocol: ProtocolId,
    /// Index into its own fields.
    pub field: u32,
    /// Which header.
    pub at: Occurrence,
}

/// The symbol of a function ([`Function::symbol`](crate::Function::symbol)).
pub type Symbol = &'static str;

/// An expression of the DDL, typed: unsigned 64-bit arithmetic that saturates at both ends and never fails (division by
/// zero gives 0), so that offsets and lengths stay inside the packet (ddl.md, Arithmetic). It is absent when a field or
/// header that it reads is absent; AND, OR and CASE read only what they need, left to right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PExpr {
    /// A constant.
    Const(Value),
    /// A field.
    Field(FieldRef),
    /// `depth(p)`: how many headers `p` stand in the run below this header (inside a declaration, `Last`) or in the path.
    Depth(ProtocolId, Occurrence),
    /// `present(p)`: TRUE when the header is there.
    Present(ProtocolId, Occurrence),
    /// `offset(p)`: where the header starts, bytes from the first byte of the packet.
    Offset(ProtocolId, Occurrence),
    /// Prefix operator.
    Unary(UnaryOp, Box<PExpr>),
    /// Infix operator.
    Binary(BinaryOp, Box<PExpr>, Box<PExpr>),
    /// Comparison.
    Compare(CmpOp, Box<PExpr>, Box<PExpr>),
    /// Conjunction.
    And(Box<PExpr>, Box<PExpr>),
    /// Disjunction.
    Or(Box<PExpr>, Box<PExpr>),
    /// Negation.
    Not(Box<PExpr>),
    /// Membership in constants.
    In(Box<PExpr>, Vec<Value>),
    /// `CASE WHEN c THEN a ELSE b END`: only the chosen side is read.
    If(Box<PExpr>, Box<PExpr>, Box<PExpr>),
    /// A scalar function of the registry by symbol; absent where it fails.
    Call(#[serde(deserialize_with = "crate::builtin::symbol")] Symbol, Vec<PExpr>),
}

/// An enumeration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enumeration {
    /// Its name.
    pub name: String,
    /// Names in file order.
    pub members: Vec<(String, u64)>,
    /// The type of its values.
    pub base: Type,
}
