//! Aggregates: gsql.md §11 and §20.4, and the sketches of protocols.md. Integer sums and counts widen to 64 bits.

use super::{bytes, constant, constant_in, exact, number, p, uint};
use crate::function::{Cost, Function, Param, ParamType, ResultType, Split};
use crate::types::Type;

/// Most bytes that MIN, MAX, `first` and `last` keep of a string.
const KEPT_BYTES_MAX: u32 = 64 << 10;

pub(super) fn add(list: &mut Vec<Function>) {
    basic(list);
    sketches(list);
    udafs(list);
}

fn basic(list: &mut Vec<Function>) {
    let same = ResultType::SameAs(0);
    let x = p("x", ParamType::Any);
    let counted = Param { optional: true, ..x.clone() };
    list.push(
        Function::aggregate("count", Split::Count, &[counted], ResultType::Exact(Type::Ullong))
            .about("Number of tuples; count(DISTINCT x): of different values.", "count(*)"),
    );
    for (symbol, param) in [
        ("sum", number("x")),
        ("sum_bool", exact("x", Type::Bool)),
        ("sum_duration", exact("x", Type::Duration)),
    ] {
        list.push(
            Function::aggregate("sum", Split::Sum, &[param], ResultType::WideSum(0))
                .named(symbol)
                .about("Sum, in 64 bits; of a bool: how often it is TRUE.", "sum(len)"),
        );
    }
    let minmax = [
        ("min", "min_bytes", Split::Min, "Least value.", "min(ttl)"),
        ("max", "max_bytes", Split::Max, "Greatest value.", "max(len)"),
    ];
    for (name, of_bytes, split, doc, example) in minmax {
        list.push(
            Function::aggregate(name, split, std::slice::from_ref(&x), same)
                .holding(16)
                .about(doc, example),
        );
        // Variable length: the fixed LFTA table cannot hold it.
        list.push(
            Function {
                lfta_legal: false,
                portable: false,
                ..Function::aggregate(name, split, &[bytes("x")], same)
            }
            .named(of_bytes)
            .holding(KEPT_BYTES_MAX)
            .about(doc, example),
        );
    }
    let bits = [
        (
            "and_aggr",
            "and_aggr_bool",
            Split::BitAnd,
            "Bitwise AND of all values.",
            "and_aggr(flags)",
        ),
        ("or_aggr", "or_aggr_bool", Split::BitOr, "Bitwise OR of all values.", "or_aggr(flags)"),
        (
            "xor_aggr",
            "xor_aggr_bool",
            Split::BitXor,
            "Bitwise XOR of all values.",
            "xor_aggr(flags)",
        ),
    ];
    for (name, of_bool, split, doc, example) in bits {
        for (symbol, ty) in [(name, ParamType::AnyInteger), (of_bool, ParamType::Exact(Type::Bool))]
        {
            list.push(
                Function::aggregate(name, split, &[p("x", ty)], same)
                    .named(symbol)
                    .about(doc, example),
            );
        }
    }
    list.push(
        Function::aggregate("avg", Split::Avg, &[number("x")], ResultType::Exact(Type::Float))
            .holding(16)
            .about("Mean, by real division.", "avg(len)"),
    );
    list.push(
        Function::aggregate(
            "window_completeness",
            Split::OfWindow,
            &[],
            ResultType::Exact(Type::Float),
        )
        .holding(0)
        .about(
            "Share of the window's packets that were seen: 1.0 when nothing was lost.",
            "window_completeness()",
        ),
    );
}

/// An aggregate whose state only the host keeps.
fn host(name: &'static str, params: &[Param], result: Type, state_bytes: u32) -> Function {
    Function::aggregate(name, Split::HostOnly, params, ResultType::Exact(result))
        .holding(state_bytes)
        .at_cost(Cost::High)
}

fn sketches(list: &mut Vec<Function>) {
    let any = p("x", ParamType::Any);
    let same = ResultType::SameAs(0);
    let flag = exact("x", Type::Bool);
    let q = || constant_in(exact("q", Type::Float), 0.0, 1.0);
    list.extend([
        Function {
            ignores_repeats: true,
            ..host("count_distinct", std::slice::from_ref(&any), Type::Ullong, 16 << 10)
        }
        .about(
            "Number of different values, estimated by HyperLogLog with 1.6 % standard error.",
            "count_distinct(srcIP)",
        ),
        host("approx_top", &[any.clone(), constant_in(uint("k"), 1.0, 100.0)], Type::String, 256 << 10).about(
            "The k most frequent values (at most 100) with their counts, as text; exact up to 1024 values, beyond it too low by at most 0.2 % of all.",
            "approx_top(destPort, 10)",
        ),
        host("quantile", &[number("x"), q()], Type::Float, 64 << 10).about(
            "The value that a share q of all does not exceed; exact up to 256 different values, beyond it within 1 % of the value.",
            "quantile(len, 0.99)",
        ),
        host("stddev", &[number("x")], Type::Float, 40)
            .about("Standard deviation of the population.", "stddev(len)"),
        host("variance", &[number("x")], Type::Float, 40)
            .about("Variance of the population.", "variance(len)"),
        Function {
            implicit_fields: &["timestamp"],
            ..host("rate", &[number("x")], Type::Float, 48)
        }
        .about(
            "Sum per second from the group's first to its last tuple; 0 when all came at once.",
            "rate(len)",
        ),
        host("first", std::slice::from_ref(&any), Type::Uint, 64 + KEPT_BYTES_MAX)
            .giving(same)
            .about("The value of the group's first tuple.", "first(srcIP)"),
        host("last", std::slice::from_ref(&any), Type::Uint, 64 + KEPT_BYTES_MAX)
            .giving(same)
            .about("The value of the group's last tuple.", "last(seq)"),
        host("bool_or", std::slice::from_ref(&flag), Type::Bool, 8)
            .about("Whether any value is TRUE.", "bool_or(rst)"),
        host("bool_and", std::slice::from_ref(&flag), Type::Bool, 8)
            .about("Whether all values are TRUE.", "bool_and(df)"),
        Function {
            variadic: true,
            ..host(
                "hist",
                &[number("x"), Param { optional: true, ..constant(number("bound")) }],
                Type::String,
                4 << 10,
            )
        }
        .about(
            "How many values lie below, between and above the bounds (at most 64; powers of two when none are given), as text: <64:3 64..512:5 >=512:2.",
            "hist(len, 64, 512, 1500)",
        ),
    ]);
}

fn udafs(list: &mut Vec<Function>) {
    let any = p("x", ParamType::Any);
    let windows = || constant(uint("windows"));
    let text = || bytes("s");
    let same = ResultType::SameAs(0);
    list.extend([
        Function::running("moving_sum", "moving_sum", &[uint("x"), windows()], Type::Uint)
            .about("Sum over this and the preceding windows.", "moving_sum(len, 5)"),
        Function::running(
            "moving_sum_exp",
            "moving_sum_exp",
            &[uint("x"), windows(), constant(exact("a", Type::Float))],
            Type::Float,
        )
        .about("Moving sum with weights that fall by the factor a.", "moving_sum_exp(len, 5, 0.5)"),
        Function::running("moving_avg", "moving_avg", &[uint("x"), windows()], Type::Float)
            .about("Moving sum over the number of values in those windows.", "moving_avg(len, 5)"),
        Function::running("running_first", "running_first", std::slice::from_ref(&any), Type::Uint)
            .giving(same)
            .holding(KEPT_BYTES_MAX)
            .about("First value ever, kept across windows.", "running_first(srcIP)"),
        Function::running("running_last", "running_last", std::slice::from_ref(&any), Type::Uint)
            .giving(same)
            .holding(KEPT_BYTES_MAX)
            .about("Last value so far, kept across windows.", "running_last(srcIP)"),
        Function::running("CAT_aggr", "CAT_aggr", &[bytes("separator"), text()], Type::String)
            .holding(KEPT_BYTES_MAX)
            .about("Concatenation with a separator.", "CAT_aggr(',', port_name(destPort))"),
        Function::running("CAT_aggr_diff", "CAT_aggr_diff", &[text()], Type::String)
            .holding(KEPT_BYTES_MAX)
            .about(
                "Concatenation with `:` that skips repeats.",
                "CAT_aggr_diff(flag_string(flags))",
            ),
        Function::running("running_array_aggr", "running_array_aggr", &[uint("x")], Type::String)
            .holding(KEPT_BYTES_MAX)
            .about("Concatenation of numbers.", "running_array_aggr(len)"),
        Function::running(
            "time_avg",
            "time_avg",
            &[number("x"), exact("ts", Type::Llong), exact("window", Type::Llong)],
            Type::Float,
        )
        .about(
            "Time-weighted mean of a step function.",
            "time_avg(window, LLONG(time), LLONG(60))",
        ),
        Function::running("running_sum", "running_sum", &[number("x")], Type::Llong)
            .about("Running total, kept across windows.", "running_sum(len)"),
        Function::running("running_sum_max", "running_sum_max", &[number("x")], Type::Llong)
            .about("Maximum of the running total within the window.", "running_sum_max(len)"),
        Function::running(
            "running_approx_count_distinct",
            "running_approx_count_distinct",
            &[text()],
            Type::Float,
        )
        .holding(4 << 10)
        .about(
            "Different strings so far, kept across windows, about 7 % error.",
            "running_approx_count_distinct(port_name(destPort))",
        ),
        host("POSAVG", &[exact("x", Type::Float)], Type::Float, 16).later().about(
            "Mean of the values that are not negative; -1 if there are none.",
            "POSAVG(FLOAT(len))",
        ),
        host("extr_avg", &[uint("x")], Type::Float, 16)
            .later()
            .about("Mean by an extractor; 0 over nothing.", "extr_avg(len)"),
        host(
            "approx_hh",
            &[uint("key"), uint("weight"), constant(uint("k"))],
            Type::Uint,
            64 << 10,
        )
        .later()
        .about("The k-th heaviest key.", "approx_hh(destPort, len, 1)"),
        host("count_diff", std::slice::from_ref(&any), Type::Uint, 64 + KEPT_BYTES_MAX)
            .later()
            .about("Number of changes of the value; the first counts.", "count_diff(ttl)"),
        host(
            "quantile_of",
            &[number("x"), constant(exact("q", Type::Float))],
            Type::Float,
            64 << 10,
        )
        .giving(same)
        .later()
        .about("Approximate quantile, of the operand's type.", "quantile_of(len, 0.5)"),
        host("median_of", &[number("x")], Type::Float, 64 << 10)
            .giving(same)
            .later()
            .about("Approximate median, of the operand's type.", "median_of(len)"),
        host("approx_count_distinct", &[text()], Type::Float, 4 << 10).later().about(
            "Different strings, about 7 % error.",
            "approx_count_distinct(port_name(destPort))",
        ),
    ]);
}
