//! Casts, pairwise extremes, tests, IF, time stamps and mathematics (gsql.md §20.3).

use super::{exact, integer, number, p, uint};
use crate::function::{Function, ParamType, ResultType};
use crate::ordering::Basic;
use crate::types::Type;

pub(super) fn add(list: &mut Vec<Function>) {
    casts(list);
    extremes(list);
    tests(list);
    conditional(list);
    mathematics(list);
    list.extend([
        Function::scalar(
            "TIMESTAMPTOSEC",
            "TIMESTAMPTOSEC",
            &[exact("t", Type::Ullong)],
            Type::Uint,
        )
        .everywhere()
        .ordered(same_ordering)
        .about("Seconds of a 32.32 fixed-point time stamp.", "TIMESTAMPTOSEC(1000ULL)"),
        Function::scalar(
            "TIMESTAMPTOMSEC",
            "TIMESTAMPTOMSEC",
            &[exact("t", Type::Ullong)],
            Type::Uint,
        )
        .everywhere()
        .about("Milliseconds of a 32.32 fixed-point time stamp.", "TIMESTAMPTOMSEC(1000ULL)"),
        Function::scalar("PACK", "PACK", &[uint("high"), uint("low")], Type::Ullong)
            .everywhere()
            .about("Two numbers in one, the first in the high word.", "PACK(srcPort, destPort)"),
        Function::scalar("endian_swap_ui", "endian_swap_ui", &[uint("x")], Type::Uint)
            .about("The four bytes in reverse order.", "endian_swap_ui(seq)"),
        Function::scalar("non_temporal", "non_temporal", &[p("x", ParamType::Any)], Type::Uint)
            .giving(ResultType::SameAs(0))
            .everywhere()
            .about("The value itself, without its ordering.", "non_temporal(time)"),
    ]);
}

fn same_ordering(ordering: Basic) -> Basic {
    ordering
}

/// The result type of a cast by its symbol; `None` for any other symbol. The ordering of a cast depends on the operand's
/// type: [`crate::ordering::cast`].
pub(crate) fn cast_of(symbol: &str) -> Option<Type> {
    Some(match symbol.strip_prefix("cast_")?.split('_').next()? {
        "int" => Type::Int,
        "uint" => Type::Uint,
        "ullong" => Type::Ullong,
        "llong" => Type::Llong,
        "float" => Type::Float,
        _ => return None,
    })
}

fn casts(list: &mut Vec<Function>) {
    use ParamType::{AnyInteger, Exact};
    let doc = "Conversion: integers wrap, floats truncate and saturate, NaN becomes 0.";
    let all = [
        ("INT", "cast_int", AnyInteger, Type::Int, "INT(len)"),
        ("INT", "cast_int_float", Exact(Type::Float), Type::Int, "INT(1.5)"),
        ("INT", "cast_int_bool", Exact(Type::Bool), Type::Int, "INT(syn)"),
        ("UINT", "cast_uint", AnyInteger, Type::Uint, "UINT(len)"),
        ("UINT", "cast_uint_float", Exact(Type::Float), Type::Uint, "UINT(1.5)"),
        ("UINT", "cast_uint_ip", Exact(Type::Ip), Type::Uint, "UINT(IP_VAL'10.0.0.1')"),
        ("UINT", "cast_uint_bool", Exact(Type::Bool), Type::Uint, "UINT(syn)"),
        ("ULLONG", "cast_ullong", AnyInteger, Type::Ullong, "ULLONG(len)"),
        ("ULLONG", "cast_ullong_float", Exact(Type::Float), Type::Ullong, "ULLONG(1e12)"),
        ("ULLONG", "cast_ullong_time", Exact(Type::Time), Type::Ullong, "ULLONG(timestamp)"),
        ("LLONG", "cast_llong", AnyInteger, Type::Llong, "LLONG(len)"),
        ("LLONG", "cast_llong_float", Exact(Type::Float), Type::Llong, "LLONG(1e12)"),
        ("LLONG", "cast_llong_duration", Exact(Type::Duration), Type::Llong, "LLONG(5ms)"),
        ("FLOAT", "cast_float", AnyInteger, Type::Float, "FLOAT(len)"),
        ("FLOAT", "cast_float_float", Exact(Type::Float), Type::Float, "FLOAT(1.5)"),
    ];
    for (name, symbol, param, result, example) in all {
        let cast = Function::scalar(name, symbol, &[p("x", param)], result).about(doc, example);
        let floating = result == Type::Float || param == Exact(Type::Float);
        list.push(if floating { cast } else { cast.everywhere() });
    }
}

fn extremes(list: &mut Vec<Function>) {
    use ParamType::{AnyNumeric, Exact};
    let lesser = "The lesser of two values.";
    let greater = "The greater of two values.";
    let of = |name, symbol, param: ParamType, result, doc, example| {
        let f = Function::scalar(name, symbol, &[p("x", param), p("y", param)], Type::Uint)
            .giving(result)
            .about(doc, example);
        if matches!(param, Exact(Type::Uint)) { f.everywhere() } else { f }
    };
    let same = ResultType::SameAs(0);
    for (name, symbols, doc, example) in [
        (
            "UMIN",
            ["umin_uint", "umin_ip", "umin_inet", "umin_num"],
            lesser,
            "UMIN(srcPort, destPort)",
        ),
        (
            "UMAX",
            ["umax_uint", "umax_ip", "umax_inet", "umax_num"],
            greater,
            "UMAX(srcPort, destPort)",
        ),
    ] {
        let [of_uint, of_ip, of_inet, of_numbers] = symbols;
        list.push(of(name, of_uint, Exact(Type::Uint), same, doc, example));
        list.push(of(name, of_ip, Exact(Type::Ip), same, doc, example));
        list.push(of(name, of_inet, Exact(Type::Inet), same, doc, example));
        list.push(of(name, of_numbers, AnyNumeric, ResultType::Promoted, doc, example));
    }
    for (name, symbol, result, doc, example) in [
        ("LLMIN", "llmin", Type::Ullong, lesser, "LLMIN(1ULL, 2ULL)"),
        ("LLMAX", "llmax", Type::Ullong, greater, "LLMAX(1ULL, 2ULL)"),
        ("ULLMIN", "ullmin", Type::Ullong, lesser, "ULLMIN(len, 2ULL)"),
        ("ULLMAX", "ullmax", Type::Ullong, greater, "ULLMAX(len, 2ULL)"),
        ("LMIN", "lmin", Type::Llong, lesser, "LMIN(len, caplen)"),
        ("LMAX", "lmax", Type::Llong, greater, "LMAX(len, caplen)"),
        ("FMIN", "fmin", Type::Float, lesser, "FMIN(len, 1.5)"),
        ("FMAX", "fmax", Type::Float, greater, "FMAX(len, 1.5)"),
    ] {
        list.push(of(name, symbol, AnyNumeric, ResultType::Exact(result), doc, example));
    }
}

fn tests(list: &mut Vec<Function>) {
    for (name, of_numbers, of_any, doc, example) in [
        ("EQ", "EQ", "EQ_any", "1 when equal, else 0.", "EQ(srcPort, 80)"),
        ("GEQ", "GEQ", "GEQ_any", "1 when the first is not less, else 0.", "GEQ(len, 100)"),
        ("LEQ", "LEQ", "LEQ_any", "1 when the first is not greater, else 0.", "LEQ(len, 100)"),
        ("GE", "GE", "GE_any", "1 when the first is greater, else 0.", "GE(len, 100)"),
        ("LE", "LE", "LE_any", "1 when the first is less, else 0.", "LE(len, 100)"),
    ] {
        let numbers = [number("x"), number("y")];
        let any = [p("x", ParamType::Any), p("y", ParamType::SameAs(0))];
        list.push(Function::scalar(name, of_numbers, &numbers, Type::Uint).about(doc, example));
        list.push(Function::scalar(name, of_any, &any, Type::Uint).about(doc, example));
    }
}

fn conditional(list: &mut Vec<Function>) {
    for (symbol, condition) in [("IF", exact("c", Type::Bool)), ("IF_number", integer("c"))] {
        let params = [condition, p("x", ParamType::Any), p("y", ParamType::SameAs(1))];
        list.push(
            Function::scalar("IF", symbol, &params, Type::Uint)
                .giving(ResultType::SameAs(1))
                .everywhere()
                .about("x when c is TRUE or not 0, else y.", "IF(syn, 1, 0)"),
        );
    }
}

fn mathematics(list: &mut Vec<Function>) {
    for (name, doc, example) in [
        ("sqrt", "Square root.", "sqrt(len)"),
        ("sin", "Sine of radians.", "sin(0.5)"),
        ("cos", "Cosine of radians.", "cos(0.5)"),
        ("tan", "Tangent of radians.", "tan(0.5)"),
        ("asin", "Arc sine in radians.", "asin(0.5)"),
        ("acos", "Arc cosine in radians.", "acos(0.5)"),
        ("atan", "Arc tangent in radians.", "atan(1.0)"),
        ("log", "Natural logarithm.", "log(len)"),
        ("log2", "Logarithm to base 2.", "log2(len)"),
        ("log10", "Logarithm to base 10.", "log10(len)"),
        ("ceil", "Least integer not below, as a float.", "ceil(1.5)"),
        ("floor", "Greatest integer not above, as a float.", "floor(1.5)"),
        ("trunc", "Integer part, as a float.", "trunc(1.5)"),
    ] {
        list.push(Function::scalar(name, name, &[number("x")], Type::Float).about(doc, example));
    }
    list.push(
        Function::scalar("pow", "pow", &[number("x"), number("y")], Type::Float)
            .about("x to the power y.", "pow(2, 10)"),
    );
    list.push(
        Function::scalar("fmod", "fmod", &[number("x"), number("y")], Type::Float)
            .about("Remainder of x by y, with the sign of x.", "fmod(5.5, 2)"),
    );
}
