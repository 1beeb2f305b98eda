//! Which overload of a function a call means (gsql.md §3, §20.1; names as in protocols.md).
//!
//! A name matches exactly, else ignoring case when that is unique. Arguments are never promoted: each must match its
//! parameter; a string literal matches an address, PREFIX, MAC or TIME parameter when it reads as one. Of several
//! overloads that match, the one whose parameters say most wins, then the one declared first.

use thiserror::Error;
use wt_lang::suggest::nearest;

use crate::Catalog;
use crate::function::{Function, FunctionKind, Param, ParamType, PassBy, ResultType};
use crate::promote;
use crate::text::parse_as;
use crate::types::Type;
use crate::value::Value;

/// Most names that a message offers.
const NEAREST_MAX: usize = 3;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub struct ArgInfo<'a> {
    /// Its type.
    pub ty: Type,
    /// The text, when it is an untyped string literal.
    pub text: Option<&'a str>,
    /// How constant it is.
    pub constness: Constness,
}

impl ArgInfo<'_> {
    /// An argument that differs from tuple to tuple.
    pub fn of(ty: Type) -> Self {
        ArgInfo { ty, text: None, constness: Constness::PerTuple }
    }
}

/// How constant an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constness {
    /// Reads fields.
    PerTuple,
    /// An expression of literals, parameters and interface properties.
    Constant,
    /// A single literal, parameter or interface property.
    Single,
}

/// What a call is used as. Many predicates have a twin that gives 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallForm {
    /// A condition, or written with brackets: predicates are preferred.
    Condition,
    /// A value: scalars are preferred, a predicate gives a bool.
    Value,
}

/// What becomes of an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Coercion {
    /// It is passed as it is.
    None,
    /// The string literal stands for this value of this type.
    Literal(Value, Type),
}

/// A call that has been resolved.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// The overload.
    pub function: &'a Function,
    /// One per argument.
    pub coercions: Vec<Coercion>,
    /// Type of the result.
    pub result: Type,
}

/// Why a call means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// No function has the name.
    #[error("there is no function `{name}`")]
    Unknown {
        /// As written.
        name: String,
        /// Near names, best first.
        nearest: Vec<String>,
    },
    /// Several names differ from it in case only.
    #[error("`{name}` may mean any of {}", .candidates.join(", "))]
    Ambiguous {
        /// As written.
        name: String,
        /// The names.
        candidates: Vec<String>,
    },
    /// The name is known, no overload takes the arguments.
    #[error("`{name}` does not take ({})", types(.given))]
    NoOverload {
        /// The function.
        name: String,
        /// Argument types.
        given: Vec<Type>,
        /// Signatures of all overloads.
        candidates: Vec<String>,
    },
    /// A string literal does not read as the type it is needed as.
    #[error("'{text}' is not {} {ty}, which `{name}` takes as its {}", article(*.ty), .param)]
    BadText {
        /// The function.
        name: String,
        /// The literal.
        text: String,
        /// The type it should be.
        ty: Type,
        /// Parameter name.
        param: &'static str,
        /// Index of the argument.
        index: usize,
    },
    /// An argument that must be constant is not.
    #[error("the argument `{param}` of `{name}` must be constant")]
    NotConstant {
        /// The function.
        name: String,
        /// Parameter name.
        param: &'static str,
        /// Index of the argument.
        index: usize,
        /// HANDLE or CONST.
        pass: PassBy,
    },
}

impl ResolveError {
    /// Full sentences that say what to do.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { nearest, .. } if nearest.is_empty() => {
                vec!["`wiretable functions` lists all functions.".to_owned()]
            }
            Self::Unknown { nearest, .. } => {
                let quoted: Vec<String> = nearest.iter().map(|n| format!("`{n}`")).collect();
                vec![format!("Did you mean {}?", quoted.join(" or "))]
            }
            Self::Ambiguous { .. } => vec!["Write the name in the case you mean.".to_owned()],
            Self::NoOverload { given, candidates, .. } => {
                let mut hints = vec![format!("It is declared as {}.", candidates.join("; "))];
                if given.iter().any(|t| t.is_numeric()) {
                    hints.push(
                        "Arguments are not promoted; convert with INT(x), UINT(x), ULLONG(x), LLONG(x) or FLOAT(x)."
                            .to_owned(),
                    );
                }
                hints
            }
            Self::BadText { ty, .. } => vec![format!("It is written {}.", form(*ty))],
            Self::NotConstant { pass: PassBy::Handle, .. } => vec![
                "Write a literal, a parameter such as $table or an interface property: it is registered once, before the first tuple.".to_owned(),
            ],
            Self::NotConstant { .. } => vec![
                "Write an expression of literals, parameters and interface properties.".to_owned(),
            ],
        }
    }
}

/// How a value of the type is written as a string literal.
pub fn form(ty: Type) -> &'static str {
    match ty {
        Type::Ip => "'10.0.0.1'",
        Type::Ipv6 => "'2001:db8::1'",
        Type::Inet => "'10.0.0.1' or '2001:db8::1'",
        Type::Prefix => "'10.0.0.0/8' or '2001:db8::/32'",
        Type::Mac => "'02:00:00:00:00:01'",
        Type::Time => "TIME'2026-01-31T12:00:00Z'",
        Type::Duration => "5ms, 10s, 1m or 1h",
        Type::TimeVal => "TIMEVAL'1234567890.250'",
        _ => "without quotes",
    }
}

fn article(ty: Type) -> &'static str {
    match ty {
        Type::Ip | Type::Ipv6 | Type::Inet | Type::Int => "an",
        _ => "a",
    }
}

fn types(given: &[Type]) -> String {
    given.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ")
}

impl Catalog {
    /// All overloads under a name: exact, else the only name that differs in case alone.
    ///
    /// # Errors
    /// [`ResolveError::Unknown`] and [`ResolveError::Ambiguous`].
    pub fn functions_named(&self, name: &str) -> Result<Vec<&Function>, ResolveError> {
        let exact: Vec<&Function> = self.functions.iter().filter(|f| f.name == name).collect();
        if !exact.is_empty() {
            return Ok(exact);
        }
        let folded: Vec<&Function> =
            self.functions.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).collect();
        let Some(first) = folded.first() else {
            let names = self.functions.iter().map(|f| f.name);
            return Err(ResolveError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, names, NEAREST_MAX).into_iter().map(str::to_owned).collect(),
            });
        };
        if folded.iter().all(|f| f.name == first.name) {
            return Ok(folded);
        }
        let mut candidates: Vec<String> = folded.iter().map(|f| f.name.to_owned()).collect();
        candidates.sort();
        candidates.dedup();
        Err(ResolveError::Ambiguous { name: name.to_owned(), candidates })
    }

    /// The overload that a call means, and what becomes of its arguments.
    ///
    /// `count(*)` is resolved with no arguments.
    ///
    /// # Errors
    /// When the name is unknown or ambiguous, no overload takes the arguments, or one that must be constant is not.
    pub fn resolve_function(
        &self,
        name: &str,
        args: &[ArgInfo<'_>],
        form: CallForm,
    ) -> Result<Resolved<'_>, ResolveError> {
        let overloads = self.functions_named(name)?;
        let preferred = |f: &Function| match form {
            CallForm::Condition => f.kind == FunctionKind::Predicate,
            CallForm::Value => f.kind != FunctionKind::Predicate,
        };
        let mut best: Option<(bool, u32, Resolved<'_>)> = None;
        for &function in &overloads {
            let Some((looseness, coercions)) = fit(function, args) else { continue };
            let Some(result) = result_type(function, args) else { continue };
            let better = best.as_ref().is_none_or(|(other, least, _)| {
                (!preferred(function), looseness) < (!*other, *least)
            });
            if better {
                let resolved = Resolved { function, coercions, result };
                best = Some((preferred(function), looseness, resolved));
            }
        }
        let Some((_, _, resolved)) = best else { return Err(no_overload(&overloads, args)) };
        check_constness(resolved.function, args)?;
        Ok(resolved)
    }
}

/// The parameter that argument `i` is for.
fn param(function: &Function, i: usize) -> Option<&Param> {
    function.params.get(i).or_else(|| function.params.last().filter(|_| function.variadic))
}

/// How loosely the arguments fit, 0 for exactly; `None` when they do not.
fn fit(function: &Function, args: &[ArgInfo<'_>]) -> Option<(u32, Vec<Coercion>)> {
    let required = function.params.iter().filter(|p| !p.optional).count();
    if args.len() < required {
        return None;
    }
    let mut looseness = 0;
    let mut coercions = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        let (loose, coercion) = fit_one(param(function, i)?.ty, arg, args)?;
        looseness += loose;
        coercions.push(coercion);
    }
    Some((looseness, coercions))
}

fn fit_one(ty: ParamType, arg: &ArgInfo<'_>, args: &[ArgInfo<'_>]) -> Option<(u32, Coercion)> {
    let plain = |loose| Some((loose, Coercion::None));
    let read = |ty: Type| {
        let text = arg.text.filter(|_| promote::takes_text(ty))?;
        Some((2, Coercion::Literal(parse_as(text, ty)?, ty)))
    };
    match ty {
        ParamType::Exact(ty) if ty == arg.ty => plain(0),
        ParamType::Exact(ty) => read(ty),
        ParamType::AnyInteger if arg.ty.is_integer() => plain(1),
        ParamType::AnyNumeric if arg.ty.is_numeric() => plain(2),
        ParamType::AnyBytes if arg.ty.is_bytes() => plain(1),
        ParamType::AnyAddress if arg.ty.is_address() => plain(1),
        ParamType::AnyAddress => read(Type::Inet),
        ParamType::Any => plain(4),
        ParamType::SameAs(i) => {
            let same = args.get(i)?.ty;
            if same == arg.ty { plain(1) } else { read(same) }
        }
        ParamType::AnyInteger | ParamType::AnyNumeric | ParamType::AnyBytes => None,
    }
}

fn result_type(function: &Function, args: &[ArgInfo<'_>]) -> Option<Type> {
    match function.result {
        ResultType::Exact(ty) => Some(ty),
        ResultType::SameAs(i) => Some(args.get(i)?.ty),
        ResultType::Promoted => {
            let mut types = args.iter().map(|a| a.ty);
            let first = types.next()?;
            types.try_fold(first, promote::promoted)
        }
        ResultType::WideSum(i) => promote::wide_sum(args.get(i)?.ty),
    }
}

fn check_constness(function: &Function, args: &[ArgInfo<'_>]) -> Result<(), ResolveError> {
    for (index, arg) in args.iter().enumerate() {
        let Some(param) = param(function, index) else { continue };
        let enough = match param.pass {
            PassBy::Value => true,
            PassBy::Const => arg.constness >= Constness::Constant,
            PassBy::Handle => arg.constness == Constness::Single,
        };
        if !enough {
            return Err(ResolveError::NotConstant {
                name: function.name.to_owned(),
                param: param.name,
                index,
                pass: param.pass,
            });
        }
    }
    Ok(())
}

fn no_overload(overloads: &[&Function], args: &[ArgInfo<'_>]) -> ResolveError {
    let name = overloads.first().map_or("", |f| f.name).to_owned();
    // A literal that does not read as an address is the likely slip when all else fits.
    for function in overloads {
        for (index, arg) in args.iter().enumerate() {
            let Some(param) = param(function, index) else { break };
            let wanted = match param.ty {
                ParamType::Exact(ty) if promote::takes_text(ty) => ty,
                ParamType::AnyAddress => Type::Inet,
                _ => continue,
            };
            if let Some(text) = arg.text
                && parse_as(text, wanted).is_none()
            {
                return ResolveError::BadText {
                    name,
                    text: text.to_owned(),
                    ty: wanted,
                    param: param.name,
                    index,
                };
            }
        }
    }
    let mut candidates: Vec<String> = overloads.iter().map(|f| f.signature()).collect();
    candidates.sort();
    candidates.dedup();
    ResolveError::NoOverload { name, given: args.iter().map(|a| a.ty).collect(), candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        Catalog { functions: crate::builtin::functions::all(), ..Catalog::default() }
    }

    fn literal(text: &str) -> ArgInfo<'_> {
        ArgInfo { ty: Type::String, text: Some(text), constness: Constness::Single }
    }

    fn symbol(name: &str, args: &[ArgInfo<'_>], form: CallForm) -> (&'static str, Type) {
        let catalog = catalog();
        let resolved = catalog.resolve_function(name, args, form).unwrap();
        (resolved.function.symbol, resolved.result)
    }

    #[test]
    fn overloads_by_type() {
        let of = ArgInfo::of;
        let value = CallForm::Value;
        let table = literal("t.tbl");
        assert_eq!(symbol("getlpmid", &[of(Type::Ip), table], value), ("getlpmid_ip", Type::Int));
        assert_eq!(
            symbol("getlpmid", &[of(Type::Inet), table], value),
            ("getlpmid_inet", Type::Int)
        );
        let uints = [of(Type::Uint), of(Type::Uint)];
        assert_eq!(symbol("UMAX", &uints, value), ("umax_uint", Type::Uint));
        let mixed = [of(Type::Ullong), of(Type::Float)];
        assert_eq!(symbol("umax", &mixed, value), ("umax_num", Type::Float));
        assert_eq!(symbol("sum", &[of(Type::Uint)], value), ("sum", Type::Ullong));
        assert_eq!(symbol("SUM", &[of(Type::Int)], value), ("sum", Type::Llong));
        assert_eq!(symbol("count", &[], value), ("count", Type::Ullong));
        assert_eq!(symbol("max", &[of(Type::Bytes)], value), ("max_bytes", Type::Bytes));
        assert_eq!(symbol("max", &[of(Type::Inet)], value), ("max", Type::Inet));
        let three = [of(Type::Bool), of(Type::Uint), of(Type::Uint)];
        assert_eq!(symbol("IF", &three, value), ("IF", Type::Uint));
        assert_eq!(symbol("UINT", &[of(Type::Ip)], value), ("cast_uint_ip", Type::Uint));
    }

    #[test]
    fn predicates_have_uint_twins() {
        let args = [ArgInfo::of(Type::Bytes), literal("GET")];
        let condition = symbol("str_exists_substr", &args, CallForm::Condition);
        assert_eq!(condition, ("str_exists_substr", Type::Bool));
        let value = symbol("str_exists_substr", &args, CallForm::Value);
        assert_eq!(value, ("str_exists_substr_uint", Type::Uint));
        let subnet = [ArgInfo::of(Type::Inet), literal("10.0.0.0/8")];
        assert_eq!(symbol("in_subnet", &subnet, CallForm::Value), ("in_subnet", Type::Bool));
    }

    #[test]
    fn literals_become_addresses() {
        let catalog = catalog();
        let args = [ArgInfo::of(Type::Inet), literal("10.1.2.3/8")];
        let resolved = catalog.resolve_function("in_subnet", &args, CallForm::Condition).unwrap();
        let block = Value::Prefix("10.0.0.0".parse().unwrap(), 8);
        assert_eq!(resolved.coercions, [Coercion::None, Coercion::Literal(block, Type::Prefix)]);
        let args = [ArgInfo::of(Type::Inet), literal("10.0.0.0/99")];
        let error = catalog.resolve_function("in_subnet", &args, CallForm::Condition).unwrap_err();
        assert_eq!(
            error.to_string(),
            "'10.0.0.0/99' is not a PREFIX, which `in_subnet` takes as its block"
        );
        assert_eq!(error.hints(), ["It is written '10.0.0.0/8' or '2001:db8::/32'."]);
    }

    #[test]
    fn errors_list_candidates() {
        let catalog = catalog();
        let error = |name, args: &[ArgInfo<'_>]| {
            catalog.resolve_function(name, args, CallForm::Value).unwrap_err()
        };
        let unknown = error("str_exist_substr", &[]);
        assert_eq!(unknown.to_string(), "there is no function `str_exist_substr`");
        assert_eq!(unknown.hints(), ["Did you mean `str_exists_substr`?"]);
        let wrong = error("str_truncate", &[ArgInfo::of(Type::Bytes), ArgInfo::of(Type::Ullong)]);
        assert_eq!(wrong.to_string(), "`str_truncate` does not take (BYTES, ullong)");
        assert_eq!(wrong.hints()[0], "It is declared as string str_truncate(string s, uint n).");
        let handle = error("getlpmid", &[ArgInfo::of(Type::Ip), ArgInfo::of(Type::String)]);
        assert_eq!(handle.to_string(), "the argument `table` of `getlpmid` must be constant");
        assert!(matches!(handle, ResolveError::NotConstant { index: 1, .. }));
        let too_many = error("sqrt", &[ArgInfo::of(Type::Uint), ArgInfo::of(Type::Uint)]);
        assert!(matches!(too_many, ResolveError::NoOverload { .. }));
        assert!(
            catalog
                .resolve_function("quantile", &[ArgInfo::of(Type::Uint)], CallForm::Value)
                .is_err()
        );
    }
}
