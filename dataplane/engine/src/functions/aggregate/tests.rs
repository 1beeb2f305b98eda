//! What every aggregate owes: its value, its error, that merging equals one pass, and its memory bound.

use proptest::prelude::*;
use wt_catalog::{Type, Value, builtin};

use super::{Aggregator, aggregator, approx_top, count_distinct, quantile};

fn state(symbol: &str, consts: &[Value], ty: Type) -> Box<dyn Aggregator> {
    aggregator(symbol, consts, ty).expect(symbol)
}

fn feed(
    symbol: &str,
    consts: &[Value],
    ty: Type,
    values: impl IntoIterator<Item = Value>,
) -> Box<dyn Aggregator> {
    let mut state = state(symbol, consts, ty);
    for value in values {
        state.update(&[value]);
    }
    state
}

fn of(symbol: &str, consts: &[Value], ty: Type, values: impl IntoIterator<Item = Value>) -> Value {
    feed(symbol, consts, ty, values).output().expect(symbol)
}

fn merged(symbol: &str, consts: &[Value], ty: Type, parts: &[Vec<Value>]) -> Value {
    let mut all = state(symbol, consts, ty);
    for part in parts {
        all.merge(feed(symbol, consts, ty, part.iter().cloned()).as_ref());
    }
    all.output().expect(symbol)
}

fn uints(values: impl IntoIterator<Item = u64>) -> Vec<Value> {
    values.into_iter().map(Value::Uint).collect()
}

fn float(value: Value) -> f64 {
    value.as_f64().expect("a number")
}

fn state_bytes(symbol: &str) -> usize {
    let all = builtin::functions::all();
    all.iter().find(|f| f.symbol == symbol).expect(symbol).state_bytes as usize
}

/// A permutation of 64-bit numbers (SplitMix64): distinct inputs give distinct, scattered outputs.
fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[test]
fn over_nothing() {
    for (symbol, ty, expected) in [
        ("count", Type::Ullong, Value::Uint(0)),
        ("sum", Type::Llong, Value::Int(0)),
        ("min_bytes", Type::String, Value::bytes("")),
        ("avg", Type::Float, Value::Float(0.0)),
        ("count_distinct", Type::Ullong, Value::Uint(0)),
        ("approx_top", Type::String, Value::bytes("")),
        ("quantile", Type::Float, Value::Float(0.0)),
        ("stddev", Type::Float, Value::Float(0.0)),
        ("variance", Type::Float, Value::Float(0.0)),
        ("rate", Type::Float, Value::Float(0.0)),
        ("first", Type::Inet, Value::default_of(Type::Inet)),
        ("last", Type::Uint, Value::Uint(0)),
        ("bool_or", Type::Bool, Value::Bool(false)),
        ("bool_and", Type::Bool, Value::Bool(false)),
        ("hist", Type::String, Value::bytes("")),
    ] {
        assert_eq!(of(symbol, &[], ty, []), expected, "{symbol}");
        let empty = state(symbol, &[], ty);
        let mut other = state(symbol, &[], ty);
        other.merge(empty.as_ref());
        assert_eq!(other.output(), Some(expected), "{symbol}");
    }
}

#[test]
fn states_of_another_kind_are_left_out() {
    let values = || uints([1, 2, 3]);
    let foreign = feed("avg", &[], Type::Float, values());
    for function in builtin::functions::all() {
        if function.symbol == "avg" {
            continue;
        }
        if let Some(mut state) = aggregator(function.symbol, &[], Type::Ullong) {
            values().into_iter().for_each(|v| state.update(&[v]));
            let before = state.output();
            state.merge(foreign.as_ref());
            assert_eq!(state.output(), before, "{}", function.symbol);
        }
    }
}

#[test]
fn means_and_spreads() {
    let values = || uints([2, 4, 4, 4, 5, 5, 7, 9]);
    assert_eq!(of("avg", &[], Type::Float, values()), Value::Float(5.0));
    assert_eq!(of("variance", &[], Type::Float, values()), Value::Float(4.0));
    assert_eq!(of("stddev", &[], Type::Float, values()), Value::Float(2.0));
    assert_eq!(of("variance", &[], Type::Float, uints([3])), Value::Float(0.0));
    let large = uints([u64::MAX, u64::MAX - 2]);
    assert_eq!(of("avg", &[], Type::Float, large), Value::Float((u64::MAX - 1) as f64));
    // A naive sum of squares loses everything here.
    let shifted = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0].map(Value::Float);
    assert_eq!(of("variance", &[], Type::Float, shifted), Value::Float(22.5));
}

#[test]
fn first_and_last() {
    let text = |t: &str| Value::bytes(t);
    let all = || [text("a"), text("b"), text("c")];
    assert_eq!(of("first", &[], Type::String, all()), text("a"));
    assert_eq!(of("last", &[], Type::String, all()), text("c"));
    let parts = [vec![], vec![text("x"), text("y")], vec![], vec![text("z")], vec![]];
    assert_eq!(merged("first", &[], Type::String, &parts), text("x"));
    assert_eq!(merged("last", &[], Type::String, &parts), text("z"));
    let long = Value::bytes(vec![b'a'; 300_000]);
    for symbol in ["first", "last", "min_bytes", "max_bytes"] {
        let state = feed(symbol, &[], Type::String, [long.clone(), long.clone()]);
        assert_eq!(
            state.output().as_ref().and_then(Value::as_bytes).map(<[u8]>::len),
            Some(64 << 10)
        );
        assert!(state.memory_bytes() <= state_bytes(symbol) + 64, "{symbol}");
    }
}

#[test]
fn bools() {
    let b = |v: &[bool]| v.iter().copied().map(Value::Bool).collect::<Vec<_>>();
    for (values, or, and) in [
        (&[true][..], true, true),
        (&[false], false, false),
        (&[true, false], true, false),
        (&[true, true], true, true),
        (&[false, false], false, false),
    ] {
        assert_eq!(of("bool_or", &[], Type::Bool, b(values)), Value::Bool(or), "{values:?}");
        assert_eq!(of("bool_and", &[], Type::Bool, b(values)), Value::Bool(and), "{values:?}");
        let parts: Vec<_> = values.iter().map(|v| b(&[*v])).collect();
        assert_eq!(merged("bool_or", &[], Type::Bool, &parts), Value::Bool(or), "{values:?}");
        assert_eq!(merged("bool_and", &[], Type::Bool, &parts), Value::Bool(and), "{values:?}");
    }
}

#[test]
fn rates() {
    let mut rate = state("rate", &[], Type::Float);
    let at = |ms: u64| Value::Time(1_700_000_000_000_000_000 + ms * 1_000_000);
    rate.update(&[Value::Uint(100), at(500)]);
    assert_eq!(rate.output(), Some(Value::Float(0.0)), "one instant has no rate");
    rate.update(&[Value::Uint(300), at(2500)]);
    assert_eq!(rate.output(), Some(Value::Float(200.0)));
    // Tuples may step back in time.
    rate.update(&[Value::Uint(200), at(0)]);
    assert_eq!(rate.output(), Some(Value::Float(240.0)));
    let mut later = state("rate", &[], Type::Float);
    later.update(&[Value::Float(400.0), at(5000)]);
    rate.merge(later.as_ref());
    assert_eq!(rate.output(), Some(Value::Float(200.0)));
}

#[test]
fn histograms() {
    let values = || uints([0, 1, 2, 3, 63, 64, 511, 512, 1500]);
    let bounds = uints([512, 64, 64]);
    let expected = Value::bytes("<64:5 64..512:2 >=512:2");
    assert_eq!(of("hist", &bounds, Type::String, values()), expected);
    assert_eq!(
        merged("hist", &bounds, Type::String, &[values()[..3].to_vec(), values()[3..].to_vec()]),
        expected
    );
    assert_eq!(
        of("hist", &[Value::Float(0.5)], Type::String, uints([0, 1])),
        Value::bytes("<0.5:1 >=0.5:1")
    );
    assert_eq!(
        of("hist", &[], Type::String, values()),
        Value::bytes("0:1 1:1 2-3:2 32-63:1 64-127:1 256-511:1 512-1023:1 1024-2047:1")
    );
    let signed = [-5i64, -1, 0, i64::MIN].map(Value::Int);
    assert_eq!(
        of("hist", &[], Type::String, signed),
        Value::bytes("-18446744073709551615..-9223372036854775808:1 -7..-4:1 -1:1 0:1")
    );
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5].map(Value::Float);
    assert_eq!(of("hist", &uints([1]), Type::String, odd), Value::bytes("<1:2 >=1:1"));

    let bounds = uints(0..200);
    let full = feed("hist", &bounds, Type::String, uints(0..300));
    assert!(full.memory_bytes() <= state_bytes("hist"), "{}", full.memory_bytes());
    let powers = feed(
        "hist",
        &[],
        Type::String,
        (0..64).flat_map(|b| [Value::Uint(1 << b), Value::Int(-(1i64 << b.min(62)))]),
    );
    assert!(powers.memory_bytes() <= state_bytes("hist") + 2048, "{}", powers.memory_bytes());
}

#[test]
fn distinct_counts_stay_within_their_error() {
    // Three standard errors, over several sets of each size.
    for distinct in [10u64, 100, 1_000, 10_000, 100_000] {
        for set in 0..4u64 {
            let values = (0..distinct).map(|n| Value::Uint(scattered(set << 32 | n)));
            let estimate = float(of("count_distinct", &[], Type::Ullong, values));
            let error = (estimate - distinct as f64).abs() / distinct as f64;
            assert!(error <= 3.0 * count_distinct::STANDARD_ERROR, "{distinct}: {estimate}");
            if distinct <= 100 {
                assert_eq!(estimate, distinct as f64);
            }
        }
    }
}

#[test]
fn distinct_counts_know_values_apart() {
    let values = [
        Value::Inet([10, 0, 0, 1].into()),
        Value::Inet("::ffff:10.0.0.1".parse().expect("an address")),
        Value::Inet("::1".parse().expect("an address")),
        Value::Inet([10, 0, 0, 1].into()),
    ];
    assert_eq!(of("count_distinct", &[], Type::Ullong, values), Value::Uint(3));
    let texts = ["", "a", "a\0", "b", "a"].map(Value::bytes);
    assert_eq!(of("count_distinct", &[], Type::Ullong, texts), Value::Uint(4));
    let zeros = [0.0, -0.0].map(Value::Float);
    assert_eq!(of("count_distinct", &[], Type::Ullong, zeros), Value::Uint(1));
}

#[test]
fn distinct_counts_hold_what_they_declare() {
    let full =
        feed("count_distinct", &[], Type::Ullong, (0..200_000).map(|n| Value::Uint(scattered(n))));
    assert!(full.memory_bytes() <= state_bytes("count_distinct"), "{}", full.memory_bytes());
}

#[test]
fn top_values_as_text() {
    let values = [80u64, 443, 443, 22, 443, 80].map(Value::Uint);
    assert_eq!(of("approx_top", &uints([2]), Type::String, values), Value::bytes("443:3 80:2"));
    let addresses =
        ["10.0.0.1", "::1", "10.0.0.1"].map(|a| Value::Inet(a.parse().expect("an address")));
    assert_eq!(
        of("approx_top", &uints([5]), Type::String, addresses),
        Value::bytes("10.0.0.1:2 ::1:1")
    );
    let texts = ["a b", "c", "\n"].map(Value::bytes);
    assert_eq!(
        of("approx_top", &uints([5]), Type::String, texts),
        Value::bytes("\\x0a:1 a\\x20b:1 c:1")
    );
    let ties = [3u64, 1, 2].map(Value::Uint);
    assert_eq!(of("approx_top", &uints([2]), Type::String, ties), Value::bytes("1:1 2:1"));
    let zero = of("approx_top", &uints([0]), Type::String, uints([1, 1, 2]));
    assert_eq!(zero, Value::bytes("1:2"), "k is at least 1");
}

/// Value `v` comes about 60,000/v times, among many that come once.
fn skewed() -> Vec<Value> {
    let mut values = Vec::new();
    for v in 1..=50u64 {
        values.extend(std::iter::repeat_n(Value::Uint(v), 60_000 / v as usize));
    }
    values.extend((0..100_000).map(|n| Value::Uint(1_000_000 + n)));
    // Scatter them, always in the same way.
    let count = values.len() as u64;
    for at in 0..values.len() {
        values.swap(at, (scattered(at as u64) % count) as usize);
    }
    values
}

#[test]
fn top_counts_are_never_too_high_and_miss_little() {
    let values = skewed();
    let allowed = values.len() as f64 * approx_top::ERROR_SHARE;
    let mut top = approx_top::ApproxTop::new(&uints([20]));
    values.iter().for_each(|v| top.update(std::slice::from_ref(v)));
    let mut halves = approx_top::ApproxTop::new(&uints([20]));
    for half in values.chunks(values.len() / 2) {
        let mut part = approx_top::ApproxTop::new(&uints([20]));
        half.iter().for_each(|v| part.update(std::slice::from_ref(v)));
        halves.merge(&part);
    }
    for sketch in [&top, &halves] {
        let listed = sketch.top();
        assert_eq!(listed.len(), 20);
        for (at, (value, count)) in listed.iter().enumerate() {
            let value = value.as_u64().expect("a number");
            let truth = 60_000 / value;
            assert!(
                *count <= truth && *count as f64 >= truth as f64 - allowed,
                "{value}: {count} of {truth}"
            );
            if at < 8 {
                assert_eq!(value, at as u64 + 1);
            }
        }
    }
    let again = {
        let mut top = approx_top::ApproxTop::new(&uints([20]));
        values.iter().for_each(|v| top.update(std::slice::from_ref(v)));
        top.output()
    };
    assert_eq!(top.output(), again, "the same input gives the same text");
}

#[test]
fn top_counters_hold_what_they_declare() {
    let long = (0..20_000u64).map(|n| {
        let mut key = vec![b'x'; 1000];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Value::bytes(key)
    });
    let full = feed("approx_top", &uints([10]), Type::String, long);
    assert!(full.memory_bytes() <= state_bytes("approx_top"), "{}", full.memory_bytes());
}

/// The operand of the nearest rank.
fn exact_quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

#[test]
fn quantiles_of_few_values_are_exact() {
    let share = |q: f64| [Value::Float(q)];
    let values = || uints(1..=100);
    for (q, expected) in [
        (0.0, 1.0),
        (0.01, 1.0),
        (0.07, 7.0),
        (0.5, 50.0),
        (0.99, 99.0),
        (0.991, 100.0),
        (1.0, 100.0),
    ] {
        assert_eq!(of("quantile", &share(q), Type::Float, values()), Value::Float(expected), "{q}");
    }
    assert_eq!(of("quantile", &share(0.5), Type::Uint, values()), Value::Uint(50));
    for (q, expected) in [(-3.0, 1.0), (7.0, 100.0), (f64::NAN, 50.0)] {
        assert_eq!(of("quantile", &share(q), Type::Float, values()), Value::Float(expected), "{q}");
    }
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0].map(Value::Float);
    assert_eq!(
        of("quantile", &share(0.0), Type::Float, odd.clone()),
        Value::Float(f64::NEG_INFINITY)
    );
    assert_eq!(of("quantile", &share(0.5), Type::Float, odd.clone()), Value::Float(0.0));
    assert_eq!(of("quantile", &share(1.0), Type::Float, odd), Value::Float(f64::INFINITY));
}

#[test]
fn quantiles_hold_what_they_declare() {
    // Every magnitude that a double has, both signs, the infinities too.
    let values = (0..400_000u64).map(|n| Value::Float(f64::from_bits(scattered(n))));
    let full = feed("quantile", &[Value::Float(0.5)], Type::Float, values);
    assert!(full.memory_bytes() <= state_bytes("quantile"), "{}", full.memory_bytes());
}

#[test]
fn an_outlier_does_not_spoil_the_quantiles_of_integers() {
    let mut values: Vec<f64> = (1..=1000).map(f64::from).collect();
    values.extend([u64::MAX as f64, 1.0, 0.0, f64::INFINITY]);
    let state = feed(
        "quantile",
        &[Value::Float(0.5)],
        Type::Float,
        values.iter().copied().map(Value::Float),
    );
    let expected = exact_quantile(&values, 0.5);
    let estimate = float(state.output().expect("a value"));
    assert!(
        (estimate - expected).abs() <= expected * quantile::RELATIVE_ERROR,
        "{estimate} for {expected}"
    );
}

fn parts(values: &[f64], cuts: &[usize]) -> Vec<Vec<Value>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (values.len() + 1)).collect();
    cuts.extend([0, values.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| values[pair[0]..pair[1]].iter().copied().map(Value::Float).collect())
        .collect()
}

/// Doubles of the sizes that are measured, of either sign, within the span that has buckets of its own.
fn measured() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0.5f64..1e6, any::<bool>()).prop_map(|(x, negative)| if negative { -x } else { x }),
        1 => (1u64..u64::MAX).prop_map(|n| n as f64),
        1 => Just(0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantiles_stay_within_their_error(
        values in prop::collection::vec(measured(), 1..1500),
        share in 0f64..=1.0,
    ) {
        let estimate = float(of("quantile", &[Value::Float(share)], Type::Float, values.iter().copied().map(Value::Float)));
        let expected = exact_quantile(&values, share);
        let allowed = expected.abs() * quantile::RELATIVE_ERROR * (1.0 + 1e-9);
        prop_assert!((estimate - expected).abs() <= allowed, "{} for {}", estimate, expected);
    }

    #[test]
    fn merging_equals_one_pass(
        values in prop::collection::vec(measured(), 0..1500),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
        share in 0f64..=1.0,
    ) {
        let all = || values.iter().copied().map(Value::Float);
        let parts = parts(&values, &cuts);
        let share = [Value::Float(share)];
        for (symbol, consts, ty) in [
            ("quantile", &share[..], Type::Float),
            ("count_distinct", &[], Type::Ullong),
            ("hist", &[], Type::String),
            ("hist", &share, Type::String),
            ("first", &[], Type::Float),
            ("last", &[], Type::Float),
        ] {
            prop_assert_eq!(merged(symbol, consts, ty, &parts), of(symbol, consts, ty, all()), "{}", symbol);
        }
        for symbol in ["avg", "variance", "stddev"] {
            let whole = float(of(symbol, &[], Type::Float, all()));
            let sum = float(merged(symbol, &[], Type::Float, &parts));
            prop_assert!((whole - sum).abs() <= 1e-6 * whole.abs().max(1.0), "{}: {} and {}", symbol, whole, sum);
        }
    }

    #[test]
    fn the_order_of_operands_does_not_count(
        values in prop::collection::vec(any::<f64>(), 0..1500),
        share in 0f64..=1.0,
    ) {
        let share = [Value::Float(share)];
        let forward = || values.iter().copied().map(Value::Float);
        for (symbol, ty) in [("quantile", Type::Float), ("count_distinct", Type::Ullong), ("hist", Type::String)] {
            prop_assert_eq!(of(symbol, &share, ty, forward()), of(symbol, &share, ty, forward().rev()), "{}", symbol);
        }
    }
}
