//! The function registry: signatures, costs and flags (gsql.md §20). What a function computes is found by its
//! symbol in the engine; a test there checks that every symbol has its code.

use crate::ordering::Basic;
use crate::types::Type;

/// Cost classes order conjuncts (gsql.md §20.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Cost {
    /// May enter the prefilter.
    Free,
    /// The default.
    #[default]
    Low,
    /// Results are cached per tuple.
    High,
    /// Payload scans.
    Expensive,
    /// Runs only when all else holds.
    Top,
}

/// What a parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamType {
    /// Exactly this type (gsql.md: arguments are never promoted); an untyped string literal matches an address, prefix or
    /// MAC parameter when it reads as one.
    Exact(Type),
    /// Any integer type.
    AnyInteger,
    /// Any numeric type.
    AnyNumeric,
    /// string or BYTES.
    AnyBytes,
    /// IP, IPV6 or INET.
    AnyAddress,
    /// Anything.
    Any,
    /// The same type as the first argument (MIN over `T`, IF's branches…).
    SameAs(usize),
}

/// How a parameter is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PassBy {
    /// Per tuple.
    #[default]
    Value,
    /// Constant expression of literals, parameters and interface properties.
    Const,
    /// Registered once: literal, interface property or parameter; compiled to a handle.
    Handle,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Name for the docs.
    pub name: &'static str,
    /// What it accepts.
    pub ty: ParamType,
    /// How it is passed.
    pub pass: PassBy,
    /// May be left out (only at the end).
    pub optional: bool,
}

/// Result type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultType {
    /// Always this.
    Exact(Type),
    /// The type of argument `i`.
    SameAs(usize),
    /// The promotion of all numeric arguments (gsql.md §3).
    Promoted,
    /// The widened sum type: 64 bits of the argument's signedness, float for float (protocols.md).
    WideSum(usize),
}

/// What kind of thing a name denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// A value per tuple.
    Scalar,
    /// A truth value; callable with brackets, and as a scalar of type bool.
    Predicate,
    /// An aggregate.
    Aggregate(Split),
    /// An aggregate whose state outlives its window (RUNNING).
    RunningAggregate,
    /// A stateful function of the sampling operator.
    Stateful,
}

/// How an aggregate divides into LFTA and HFTA parts (gsql.md §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// COUNT / SUM.
    Count,
    /// SUM / SUM.
    Sum,
    /// MIN / MIN.
    Min,
    /// MAX / MAX.
    Max,
    /// AND / AND.
    BitAnd,
    /// OR / OR.
    BitOr,
    /// XOR / XOR.
    BitXor,
    /// SUM, COUNT / SUM ÷ SUM.
    Avg,
    /// The state needs the host: a selection LFTA feeds the aggregate.
    HostOnly,
}

/// One overload of a function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name in queries; matched exactly, then ignoring case when unique.
    pub name: &'static str,
    /// Unique symbol of this overload; the engine finds the code by it.
    pub symbol: &'static str,
    /// Kind.
    pub kind: FunctionKind,
    /// Parameters.
    pub params: Vec<Param>,
    /// The last parameter may repeat.
    pub variadic: bool,
    /// Result.
    pub result: ResultType,
    /// Cost class.
    pub cost: Cost,
    /// May run in an LFTA on the host (all scalar functions without side effects may); portable ones also in XDP.
    pub lfta_legal: bool,
    /// Lowers to IR operators that every backend has; no call remains.
    pub portable: bool,
    /// May fail: acts as an empty join result (gsql.md §20.2).
    pub partial: bool,
    /// Ordering of the result when the first argument has the given one; `None`: varying.
    pub ordering: Option<fn(Basic) -> Basic>,
    /// Fields appended as arguments when the call has none: the five-tuple of `hash5()`. The first three must be in
    /// scope, ports are left out where there are none.
    pub implicit_fields: &'static [&'static str],
    /// Memory of one aggregate state, bytes, at most; 0 for scalars.
    pub state_bytes: u32,
    /// Implemented by the present engine. Others are type-checked and refused by the planner by name.
    pub available: bool,
    /// One sentence.
    pub doc: &'static str,
    /// An example call.
    pub example: &'static str,
}
