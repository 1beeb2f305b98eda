//! The registry against the code: every available symbol is there, results have the declared type, no argument panics.

use std::net::IpAddr;

use proptest::prelude::*;
use wt_catalog::function::{FunctionKind, ParamType, PassBy, ResultType, Split};
use wt_catalog::{Function, Type, Value, builtin};

use super::{Handle, HandleError, aggregator, prepare, scalar};

/// Functions that no call remains of after lowering.
fn is_lowered(function: &Function) -> bool {
    function.cast_target().is_some() || function.symbol == "pcap_filter"
}

#[test]
fn every_available_symbol_has_its_code() {
    for function in builtin::functions::all().iter().filter(|f| f.available) {
        match function.kind {
            FunctionKind::Scalar | FunctionKind::Predicate => assert!(
                is_lowered(function) || scalar(function.symbol).is_some(),
                "{} has no code",
                function.symbol
            ),
            // The operator that holds the window computes it.
            FunctionKind::Aggregate(Split::OfWindow) => {}
            FunctionKind::Aggregate(_) => assert!(
                aggregator(function.symbol, &[], Type::Ullong).is_some(),
                "{} has no state",
                function.symbol
            ),
            FunctionKind::RunningAggregate | FunctionKind::Stateful => {
                panic!("{} cannot be available", function.symbol)
            }
        }
        if function.params.iter().any(|p| p.pass == PassBy::Handle) {
            let prepared = prepare(function.symbol, &Value::bytes("1"));
            assert!(
                !matches!(prepared, Err(HandleError::WrongArgument { .. })),
                "{} registers nothing",
                function.symbol
            );
        }
    }
    assert!(scalar("no_such_function").is_none());
    assert!(aggregator("no_such_aggregate", &[], Type::Uint).is_none());
    assert!(matches!(
        prepare("str_truncate", &Value::bytes("x")),
        Err(HandleError::WrongArgument { .. })
    ));
    assert!(matches!(
        prepare("str_regex_match", &Value::Uint(1)),
        Err(HandleError::WrongArgument { .. })
    ));
}

/// Values of every kind, edge cases more often than not.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Uint),
        (0u64..40).prop_map(Value::Uint),
        any::<i64>().prop_map(Value::Int),
        prop::sample::select(vec![0, 1, -1, i64::MIN, i64::MAX]).prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0, f64::MAX]).prop_map(Value::Float),
        any::<u32>().prop_map(|a| Value::Ip(a.into())),
        any::<u128>().prop_map(|a| Value::Ipv6(a.into())),
        any::<u32>().prop_map(|a| Value::Inet(IpAddr::V4(a.into()))),
        (any::<u128>(), any::<u8>()).prop_map(|(a, n)| Value::Prefix(IpAddr::V6(a.into()), n)),
        (any::<u32>(), any::<u8>()).prop_map(|(a, n)| Value::Prefix(IpAddr::V4(a.into()), n)),
        any::<[u8; 6]>().prop_map(Value::Mac),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Value::bytes),
        any::<u64>().prop_map(Value::TimeVal),
        any::<u64>().prop_map(Value::Time),
        any::<i64>().prop_map(Value::Duration),
    ]
}

/// Whether a value may stand where the parameter is, as the binder would let it.
fn is_of(value: &Value, ty: ResultKind) -> bool {
    match ty {
        ResultKind::Type(Type::Bool) => matches!(value, Value::Bool(_)),
        ResultKind::Type(Type::Ushort | Type::Uint) => {
            matches!(value, Value::Uint(u) if *u <= u64::from(u32::MAX))
        }
        ResultKind::Type(Type::Ullong) => matches!(value, Value::Uint(_)),
        ResultKind::Type(Type::Int) => matches!(value, Value::Int(i) if i32::try_from(*i).is_ok()),
        ResultKind::Type(Type::Llong) => matches!(value, Value::Int(_)),
        ResultKind::Type(Type::Float) => matches!(value, Value::Float(_)),
        ResultKind::Type(Type::Ip) => matches!(value, Value::Ip(_)),
        ResultKind::Type(Type::Prefix) => matches!(value, Value::Prefix(..)),
        ResultKind::Type(Type::String | Type::Bytes) => matches!(value, Value::Bytes(_)),
        ResultKind::Type(_) | ResultKind::OfArguments => true,
    }
}

#[derive(Clone, Copy)]
enum ResultKind {
    Type(Type),
    OfArguments,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_arguments_panic(args in prop::collection::vec(value(), 0..8)) {
        let handles = [None, Some(Handle::Constant(Value::Uint(1))), prepare("str_regex_match", &Value::bytes("a+")).ok()];
        for function in builtin::functions::all() {
            if let Some(code) = scalar(function.symbol) {
                for handle in &handles {
                    code(&args, handle.as_ref());
                }
            }
            if let Some(mut state) = aggregator(function.symbol, &args, Type::Uint) {
                state.update(&args);
                state.update(&[]);
                let mut other = aggregator(function.symbol, &args, Type::Uint).unwrap();
                other.update(&args);
                other.merge(state.as_ref());
                other.output();
                other.memory_bytes();
            }
        }
    }

    #[test]
    fn results_have_the_declared_type(args in prop::collection::vec(value(), 8), numbers in any::<[u32; 4]>()) {
        for function in builtin::functions::all() {
            let Some(code) = scalar(function.symbol) else { continue };
            let kind = match function.result {
                ResultType::Exact(ty) => ResultKind::Type(ty),
                _ => ResultKind::OfArguments,
            };
            let fitting: Option<Vec<Value>> = function
                .params
                .iter()
                .enumerate()
                .map(|(at, param)| fit(param.ty, &args, numbers[at % 4]))
                .collect();
            let (Some(fitting), true) = (fitting, function.params.iter().all(|p| p.pass == PassBy::Value)) else {
                continue;
            };
            match code(&fitting, None) {
                Some(result) => prop_assert!(is_of(&result, kind), "{}{:?} = {:?}", function.symbol, fitting, result),
                None => prop_assert!(
                    function.partial || !function.implicit_fields.is_empty(),
                    "{}{:?} fails, and is not declared to", function.symbol, fitting
                ),
            }
        }
    }
}

/// A value that the parameter takes.
fn fit(ty: ParamType, args: &[Value], number: u32) -> Option<Value> {
    let find = |accepts: fn(&Value) -> bool| args.iter().find(|v| accepts(v)).cloned();
    match ty {
        ParamType::Exact(Type::Bool) => find(|v| matches!(v, Value::Bool(_))),
        ParamType::Exact(Type::Uint | Type::Ushort | Type::Ullong) => {
            Some(Value::Uint(number.into()))
        }
        ParamType::Exact(Type::Prefix) => Some(Value::Prefix(IpAddr::V4([10, 0, 0, 0].into()), 8)),
        ParamType::Exact(Type::Ip) => Some(Value::Ip(number.into())),
        ParamType::Exact(Type::Inet) | ParamType::AnyAddress => {
            Some(Value::Inet(IpAddr::V4(number.into())))
        }
        ParamType::AnyInteger => Some(if number.is_multiple_of(2) {
            Value::Uint(number.into())
        } else {
            Value::Int(i64::from(number as i32))
        }),
        ParamType::AnyNumeric => {
            find(|v| matches!(v, Value::Uint(_) | Value::Int(_) | Value::Float(_)))
        }
        ParamType::AnyBytes => find(|v| matches!(v, Value::Bytes(_))),
        ParamType::Any | ParamType::SameAs(_) => args.first().cloned(),
        ParamType::Exact(_) => None,
    }
}

#[test]
fn aggregates_declare_what_they_are() {
    for function in builtin::functions::all().iter().filter(|f| f.available) {
        if let FunctionKind::Aggregate(split) = function.kind
            && split != Split::OfWindow
        {
            let empty = aggregator(function.symbol, &[], Type::Uint).expect(function.symbol);
            if split == Split::HostOnly {
                assert!(
                    empty.memory_bytes() <= function.state_bytes as usize,
                    "{} starts with {} bytes of {}",
                    function.symbol,
                    empty.memory_bytes(),
                    function.state_bytes
                );
            }
        }
    }
}
