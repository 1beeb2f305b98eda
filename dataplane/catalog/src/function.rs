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
    /// The least and the greatest value that a constant may have.
    pub range: Option<(f64, f64)>,
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
    /// A value of the window, the same for all its groups: the operator that holds the window has it.
    OfWindow,
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
    /// Fields appended as arguments: the five-tuple of `hash5()`. Ports that are not in scope are the
    /// constant 0, ICMP types and codes 65535.
    pub implicit_fields: &'static [&'static str],
    /// An aggregate that gives the same whether a value comes once or several times, in whatever order.
    pub ignores_repeats: bool,
    /// Memory of one aggregate state, bytes, at most; 0 for scalars.
    pub state_bytes: u32,
    /// Implemented by the present engine. Others are type-checked and refused by the planner by name.
    pub available: bool,
    /// One sentence.
    pub doc: &'static str,
    /// An example call.
    pub example: &'static str,
}

impl Function {
    /// The type a cast such as `ULLONG(x)` gives, for casts only; its ordering is [`crate::ordering::cast`].
    pub fn cast_target(&self) -> Option<Type> {
        crate::builtin::functions::cast_of(self.symbol)
    }

    /// Whether it is any kind of aggregate.
    pub fn is_aggregate(&self) -> bool {
        matches!(self.kind, FunctionKind::Aggregate(_) | FunctionKind::RunningAggregate)
    }

    /// The declaration as `functions` and messages show it: `string str_truncate(string s, uint n)`.
    pub fn signature(&self) -> String {
        let mut text = format!("{} {}", self.result_name(), self.name);
        let (open, close) =
            if self.kind == FunctionKind::Predicate { ('[', ']') } else { ('(', ')') };
        text.push(open);
        for (i, param) in self.params.iter().enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            text.push_str(&param.to_string());
        }
        if self.variadic {
            text.push_str(", …");
        }
        text.push(close);
        text
    }

    fn result_name(&self) -> String {
        let of_param = |i: usize| match self.params.get(i).map(|p| p.ty) {
            Some(ParamType::Exact(ty)) => ty.name().to_owned(),
            _ => "same".to_owned(),
        };
        match self.result {
            ResultType::Exact(ty) => ty.name().to_owned(),
            ResultType::SameAs(i) => of_param(i),
            ResultType::Promoted => "promoted".to_owned(),
            ResultType::WideSum(_) => "widened".to_owned(),
        }
    }
}

impl std::fmt::Display for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pass = match self.pass {
            PassBy::Value => "",
            PassBy::Const => " CONST",
            PassBy::Handle => " HANDLE",
        };
        let (open, close) = if self.optional { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{pass} {}{close}", self.ty, self.name)
    }
}

impl std::fmt::Display for ParamType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ParamType::Exact(ty) => write!(f, "{ty}"),
            ParamType::AnyInteger => f.write_str("integer"),
            ParamType::AnyNumeric => f.write_str("number"),
            ParamType::AnyBytes => f.write_str("string"),
            ParamType::AnyAddress => f.write_str("address"),
            ParamType::Any => f.write_str("any"),
            ParamType::SameAs(_) => f.write_str("same"),
        }
    }
}
