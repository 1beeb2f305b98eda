//! Strings and payload bytes (gsql.md §20.3, protocols.md). STRING functions apply to BYTES.

use super::{bytes, constant, exact, handle, integer, uint};
use crate::function::{Cost, Function, Param};
use crate::types::Type;

pub(super) fn add(list: &mut Vec<Function>) {
    tests(list);
    regexes(list);
    pieces(list);
    numbers(list);
    payload(list);
}

/// A predicate with its uint twin (†).
fn twin(
    list: &mut Vec<Function>,
    symbols: (&'static str, &'static str),
    params: &[Param],
    cost: Cost,
    doc: &'static str,
    example: &'static str,
) {
    let (name, as_uint) = symbols;
    list.push(Function::predicate(name, name, params).at_cost(cost).about(doc, example));
    list.push(
        Function::scalar(name, as_uint, params, Type::Uint).at_cost(cost).about(doc, example),
    );
}

fn tests(list: &mut Vec<Function>) {
    let (s, t, offset) = (bytes("s"), bytes("t"), uint("offset"));
    twin(
        list,
        ("str_exists_substr", "str_exists_substr_uint"),
        &[s.clone(), t.clone()],
        Cost::High,
        "Whether t occurs in s.",
        "str_exists_substr[data, 'HTTP']",
    );
    twin(
        list,
        ("str_compare", "str_compare_uint"),
        &[s.clone(), t],
        Cost::Low,
        "Whether both are equal.",
        "str_compare[data, 'QUIT']",
    );
    twin(
        list,
        ("str_match_offset", "str_match_offset_uint"),
        &[offset.clone(), bytes("pattern"), s.clone()],
        Cost::Low,
        "Whether s has the pattern at the offset.",
        "str_match_offset[0, 'GET ', data]",
    );
    twin(
        list,
        ("str_match_start", "str_match_start_uint"),
        &[s.clone(), bytes("p")],
        Cost::Low,
        "Whether s begins with p.",
        "str_match_start[data, 'SSH-']",
    );
    // What LIKE becomes.
    list.push(
        Function::predicate("str_like", "str_like", &[s.clone(), bytes("pattern")])
            .at_cost(Cost::High)
            .about(
                "Whether s is the pattern, where % is any bytes, _ one byte, and \\ takes the next byte as it is.",
                "str_like(data, 'GET %')",
            ),
    );
    for (symbols, doc, example) in [
        (
            ("byte_match_offset", "byte_match_offset_uint"),
            "Whether the byte at the offset has this value; FALSE beyond the end.",
            "byte_match_offset[0, 22, data]",
        ),
        (
            ("byte_match_reverse_offset", "byte_match_reverse_offset_uint"),
            "Whether the byte that far from the end has this value; 1 is the last byte.",
            "byte_match_reverse_offset[1, 10, data]",
        ),
        (
            ("net_word_match_offset", "net_word_match_offset_uint"),
            "Whether the big-endian 32-bit word at the offset has this value.",
            "net_word_match_offset[0, 1195725856, data]",
        ),
        (
            ("little_endian_word_match_offset", "little_endian_word_match_offset_uint"),
            "Whether the little-endian 32-bit word at the offset has this value.",
            "little_endian_word_match_offset[0, 542393671, data]",
        ),
    ] {
        let params = [offset.clone(), uint("value"), s.clone()];
        twin(list, symbols, &params, Cost::Low, doc, example);
    }
}

fn regexes(list: &mut Vec<Function>) {
    let (s, regex) = (bytes("s"), handle(bytes("regex")));
    let regex_match = ("str_regex_match", "str_regex_match_uint");
    twin(
        list,
        regex_match,
        &[s.clone(), regex.clone()],
        Cost::Expensive,
        "Whether the POSIX extended regular expression is found; '' never matches.",
        "str_regex_match[data, '^(GET|POST) ']",
    );
    let partial = ("str_partial_regex_match", "str_partial_regex_match_uint");
    twin(
        list,
        partial,
        &[s.clone(), regex.clone(), uint("n")],
        Cost::Expensive,
        "Whether the regular expression is found in the first n bytes.",
        "str_partial_regex_match[data, 'Host:', 200]",
    );
    let of_file = ("str_file_regex_match", "str_file_regex_match_uint");
    twin(
        list,
        of_file,
        &[s.clone(), handle(bytes("file")), constant(uint("refresh_s")), constant(uint("unused"))],
        Cost::Expensive,
        "Whether the regular expression in the file is found; the file is read again after that many seconds.",
        "str_file_regex_match[data, 'bad.regex', 60, 0]",
    );
    list.extend([
        Function::scalar(
            "str_extract_regex",
            "str_extract_regex",
            &[s.clone(), regex.clone()],
            Type::String,
        )
        .at_cost(Cost::Expensive)
        .failing()
        .about(
            "The leftmost match; fails if there is none.",
            "str_extract_regex(data, 'Host: [a-z.]*')",
        ),
        Function::scalar(
            "str_extract_regex_null",
            "str_extract_regex_null",
            &[s, regex],
            Type::String,
        )
        .at_cost(Cost::Expensive)
        .failing()
        .about("The leftmost match, or ''.", "str_extract_regex_null(data, 'Host: [a-z.]*')"),
    ]);
}

fn pieces(list: &mut Vec<Function>) {
    let s = || bytes("s");
    // Every function that returns a string counts as partial (gsql.md §20.2).
    let string = |name: &'static str, params: &[Param]| {
        Function::scalar(name, name, params, Type::String).failing()
    };
    list.extend([
        string("str_truncate", &[s(), uint("n")])
            .about("The first n bytes, or all.", "str_truncate(data, 64)"),
        string("str_suffix", &[s(), uint("n")])
            .about("The last n bytes, or all.", "str_suffix(data, 4)"),
        string("get_suffix", &[s(), uint("n")])
            .about("From the n-th byte on, counted from 1.", "get_suffix(data, 5)"),
        string("get_list_entry", &[s(), bytes("separator"), constant(uint("i"))]).about(
            "Piece i of a list, counted from 0; '' if absent.",
            "get_list_entry(data, ',', 2)",
        ),
        string("to_hex_string", &[s()])
            .about("Two hexadecimal digits per byte.", "to_hex_string(data)"),
        string("int_to_string_map", &[integer("x"), handle(bytes("file"))])
            .at_cost(Cost::High)
            .about(
                "The name of a number in a file of lines `number,name`; '' if absent.",
                "int_to_string_map(destPort, 'ports.csv')",
            ),
    ]);
}

fn numbers(list: &mut Vec<Function>) {
    let s = || bytes("s");
    let n = || uint("n");
    let scalar =
        |name: &'static str, params: &[Param], result| Function::scalar(name, name, params, result);
    list.extend([
        scalar("str_length", &[s()], Type::Uint).about("Length in bytes.", "str_length(data)"),
        scalar("get_int", &[s(), n()], Type::Uint)
            .failing()
            .about("Four bytes from the n-th on, counted from 1, big-endian.", "get_int(data, 1)"),
        scalar("get_bool", &[s(), n()], Type::Bool).failing().about(
            "Whether the four bytes from the n-th on are not all zero.",
            "get_bool(data, 1)",
        ),
        scalar("STRID", &[s()], Type::Uint)
            .about("The first four bytes as a number.", "STRID(data)"),
        scalar("sum_uint_in_list", &[s(), constant(bytes("separator"))], Type::Llong)
            .about("Sum of the decimal numbers of a list.", "sum_uint_in_list(data, ',')"),
        scalar("string_hash", &[s()], Type::Uint).about("32-bit hash.", "string_hash(data)"),
        scalar("string_hash_long", &[s()], Type::Ullong)
            .about("64-bit hash.", "string_hash_long(data)"),
        scalar("strtoi", &[s()], Type::Uint)
            .failing()
            .about("The first run of digits as a number; fails if there is none.", "strtoi(data)"),
        scalar("strtoip", &[s()], Type::Ip)
            .failing()
            .about("The first dotted address; fails if there is none.", "strtoip(data)"),
        scalar("strtoi_c", &[handle(s())], Type::Uint)
            .about("The number in a constant; 0 if there is none.", "strtoi_c('80')"),
        scalar("strtoip_c", &[handle(s())], Type::Ip)
            .about("The address in a constant; 0.0.0.0 if there is none.", "strtoip_c('10.0.0.1')"),
        scalar("to_llong", &[s()], Type::Llong).about(
            "The leading decimal number, with its sign; 0 if there is none.",
            "to_llong(data)",
        ),
    ]);
}

fn payload(list: &mut Vec<Function>) {
    let data = || bytes("data");
    let off = || integer("off");
    let read = |name: &'static str, doc, example| {
        Function::scalar(name, name, &[data(), off()], Type::Uint).failing().about(doc, example)
    };
    list.extend([
        read("u8", "The byte at an offset, from 0; fails beyond the end.", "u8(data, 0)"),
        read("u16", "The big-endian 16-bit number at an offset, from 0.", "u16(data, 2)"),
        read("u32", "The big-endian 32-bit number at an offset, from 0.", "u32(data, 4)"),
        Function::scalar("bytes_at", "bytes_at", &[data(), off(), integer("n")], Type::Bytes)
            .failing()
            .about(
                "n bytes from an offset, from 0; fails beyond the end.",
                "bytes_at(data, 0, 16)",
            ),
        Function::scalar("entropy", "entropy", &[data()], Type::Float)
            .at_cost(Cost::Expensive)
            .about("Shannon entropy of the byte values, 0 to 8 bits per byte.", "entropy(data)"),
        Function::scalar("reassemble", "reassemble", &[exact("data", Type::Bytes)], Type::Bytes)
            .at_cost(Cost::Top)
            .later()
            .about("The stream of bytes that the segments carry, in order.", "reassemble(data)"),
    ]);
}
