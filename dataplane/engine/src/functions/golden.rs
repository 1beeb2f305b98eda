//! Every scalar function against a table of calls and results, edge cases included.

use wt_catalog::Value;

use super::{prepare, scalar};

fn s(text: impl AsRef<[u8]>) -> Value {
    Value::bytes(text)
}

fn u(value: u64) -> Value {
    Value::Uint(value)
}

fn i(value: i64) -> Value {
    Value::Int(value)
}

fn f(value: f64) -> Value {
    Value::Float(value)
}

fn b(value: bool) -> Value {
    Value::Bool(value)
}

fn ip(text: &str) -> Value {
    Value::Ip(text.parse().expect("an IPv4 address"))
}

fn inet(text: &str) -> Value {
    Value::Inet(text.parse().expect("an address"))
}

fn block(text: &str) -> Value {
    let (address, length) = text.split_once('/').expect("a block");
    Value::Prefix(address.parse().expect("an address"), length.parse().expect("a length"))
}

fn call(symbol: &str, args: &[Value]) -> Option<Value> {
    scalar(symbol).expect(symbol)(args, None)
}

fn check(cases: &[(&str, &[Value], Option<Value>)]) {
    for (symbol, args, expected) in cases {
        assert_eq!(call(symbol, args), *expected, "{symbol}{args:?}");
    }
}

#[test]
fn predicates_and_their_uint_twins() {
    let cases: &[(&str, &[Value], bool)] = &[
        ("str_exists_substr", &[s("hello"), s("ell")], true),
        ("str_exists_substr", &[s("hello"), s("elL")], false),
        ("str_exists_substr", &[s("hello"), s("")], true),
        ("str_exists_substr", &[s(""), s("a")], false),
        ("str_exists_substr", &[s(b"a\0b\0c"), s(b"\0b\0")], true),
        ("str_compare", &[s("a"), s("a")], true),
        ("str_compare", &[s("a"), s("a\0")], false),
        ("str_compare", &[s(""), s("")], true),
        ("str_match_start", &[s("SSH-2.0"), s("SSH-")], true),
        ("str_match_start", &[s("SS"), s("SSH-")], false),
        ("str_match_start", &[s(""), s("")], true),
        ("str_match_offset", &[u(0), s("GET"), s("GET /")], true),
        ("str_match_offset", &[u(1), s("ET "), s("GET /")], true),
        ("str_match_offset", &[u(3), s("GET"), s("GET")], false),
        ("str_match_offset", &[u(3), s(""), s("GET")], true),
        ("str_match_offset", &[u(4), s(""), s("GET")], false),
        ("str_match_offset", &[u(u64::MAX), s("a"), s("GET")], false),
        ("byte_match_offset", &[u(0), u(0x16), s(b"\x16\x03")], true),
        ("byte_match_offset", &[u(1), u(0x103), s(b"\x16\x03")], false),
        ("byte_match_offset", &[u(2), u(0), s(b"\x16\x03")], false),
        ("byte_match_reverse_offset", &[u(1), u(3), s(b"\x16\x03")], true),
        ("byte_match_reverse_offset", &[u(2), u(0x16), s(b"\x16\x03")], true),
        ("byte_match_reverse_offset", &[u(0), u(3), s(b"\x16\x03")], false),
        ("byte_match_reverse_offset", &[u(3), u(3), s(b"\x16\x03")], false),
        ("byte_match_reverse_offset", &[u(1), u(0), s("")], false),
        ("net_word_match_offset", &[u(0), u(0x4745_5420), s("GET /")], true),
        ("net_word_match_offset", &[u(1), u(0x4554_202f), s("GET /")], true),
        ("net_word_match_offset", &[u(2), u(0x5420_2f00), s("GET /")], false),
        ("net_word_match_offset", &[u(u64::MAX), u(0), s("GET /")], false),
        ("little_endian_word_match_offset", &[u(0), u(0x2054_4547), s("GET /")], true),
        ("little_endian_word_match_offset", &[u(0), u(0x4745_5420), s("GET /")], false),
    ];
    for (symbol, args, expected) in cases {
        assert_eq!(call(symbol, args), Some(b(*expected)), "{symbol}{args:?}");
        let twin = format!("{symbol}_uint");
        assert_eq!(call(&twin, args), Some(u((*expected).into())), "{twin}{args:?}");
    }
}

#[test]
fn pieces_of_strings() {
    check(&[
        ("str_truncate", &[s("hello"), u(2)], Some(s("he"))),
        ("str_truncate", &[s("hello"), u(0)], Some(s(""))),
        ("str_truncate", &[s("hello"), u(u64::MAX)], Some(s("hello"))),
        ("str_suffix", &[s("hello"), u(2)], Some(s("lo"))),
        ("str_suffix", &[s("hello"), u(9)], Some(s("hello"))),
        ("str_suffix", &[s("hello"), u(0)], Some(s(""))),
        ("get_suffix", &[s("hello"), u(1)], Some(s("hello"))),
        ("get_suffix", &[s("hello"), u(0)], Some(s("hello"))),
        ("get_suffix", &[s("hello"), u(5)], Some(s("o"))),
        ("get_suffix", &[s("hello"), u(6)], Some(s(""))),
        ("get_suffix", &[s("hello"), u(7)], Some(s(""))),
        ("get_list_entry", &[s("a,bb,,c"), s(","), u(0)], Some(s("a"))),
        ("get_list_entry", &[s("a,bb,,c"), s(","), u(1)], Some(s("bb"))),
        ("get_list_entry", &[s("a,bb,,c"), s(","), u(2)], Some(s(""))),
        ("get_list_entry", &[s("a,bb,,c"), s(","), u(3)], Some(s("c"))),
        ("get_list_entry", &[s("a,bb,,c"), s(","), u(4)], Some(s(""))),
        ("get_list_entry", &[s("a;b"), s(";,"), u(1)], Some(s("b"))),
        ("get_list_entry", &[s("a;b"), s(""), u(0)], Some(s("a;b"))),
        ("get_list_entry", &[s("a;b"), s(""), u(1)], Some(s(""))),
        ("get_list_entry", &[s(""), s(","), u(0)], Some(s(""))),
        ("to_hex_string", &[s(b"\x00\xde\xad9")], Some(s("00dead39"))),
        ("to_hex_string", &[s("")], Some(s(""))),
        ("str_length", &[s("caf\u{e9}")], Some(u(5))),
        ("str_length", &[s("")], Some(u(0))),
    ]);
}

#[test]
fn like() {
    for (subject, pattern, expected) in [
        ("GET /", "GET %", true),
        ("GET /", "get %", false),
        ("GET /", "GET _", true),
        ("GET /", "GET", false),
        ("GET", "GET%", true),
        ("", "%", true),
        ("", "", true),
        ("a", "", false),
        ("", "_", false),
        ("abcabd", "%ab_", true),
        ("abcabd", "%abc", false),
        ("aaaaab", "%a%a%b", true),
        ("100%", "100\\%", true),
        ("1000", "100\\%", false),
        ("a_b", "a\\_b", true),
        ("axb", "a\\_b", false),
        ("a\\", "a\\", true),
        ("a\\b", "a\\\\b", true),
        ("x\ny", "x%y", true),
    ] {
        assert_eq!(
            call("str_like", &[s(subject), s(pattern)]),
            Some(b(expected)),
            "{subject:?} LIKE {pattern:?}"
        );
    }
}

#[test]
fn numbers_in_strings() {
    check(&[
        ("get_int", &[s(b"\x00\x01\x02\x03\x04"), u(1)], Some(u(0x0001_0203))),
        ("get_int", &[s(b"\x00\x01\x02\x03\x04"), u(2)], Some(u(0x0102_0304))),
        ("get_int", &[s(b"\x00\x01\x02\x03\x04"), u(3)], None),
        ("get_int", &[s(b"\x00\x01\x02\x03\x04"), u(0)], None),
        ("get_int", &[s(b"\x00\x01\x02\x03\x04"), u(u64::MAX)], None),
        ("get_int", &[s(""), u(1)], None),
        ("get_bool", &[s(b"\x00\x00\x00\x00"), u(1)], Some(b(false))),
        ("get_bool", &[s(b"\x00\x00\x00\x01"), u(1)], Some(b(true))),
        ("get_bool", &[s(b"\x00\x00\x01"), u(1)], None),
        ("STRID", &[s("GET /")], Some(u(0x4745_5420))),
        ("STRID", &[s("G")], Some(u(0x4700_0000))),
        ("STRID", &[s("")], Some(u(0))),
        // draft-eastlake-fnv, appendix C.
        ("string_hash", &[s("")], Some(u(0x811c_9dc5))),
        ("string_hash", &[s("foobar")], Some(u(0xbf9c_f968))),
        ("string_hash_long", &[s("")], Some(u(0xcbf2_9ce4_8422_2325))),
        ("string_hash_long", &[s("foobar")], Some(u(0x8594_4171_f739_67e8))),
        ("strtoi", &[s("port 8080 and 90")], Some(u(8080))),
        ("strtoi", &[s("-5")], Some(u(5))),
        ("strtoi", &[s("4294967295")], Some(u(4_294_967_295))),
        ("strtoi", &[s("4294967296")], None),
        ("strtoi", &[s("none")], None),
        ("strtoi", &[s("")], None),
        ("strtoip", &[s("from 10.1.2.3:80")], Some(ip("10.1.2.3"))),
        ("strtoip", &[s("10.1.2.3.4")], Some(ip("10.1.2.3"))),
        ("strtoip", &[s("10.1.2")], None),
        ("strtoip", &[s("10.1.2.")], None),
        ("strtoip", &[s("10.256.2.3")], None),
        ("strtoip", &[s("v1 10.1.2.3")], None),
        ("strtoip", &[s("")], None),
        ("to_llong", &[s(" \t-42x")], Some(i(-42))),
        ("to_llong", &[s("+7")], Some(i(7))),
        ("to_llong", &[s("x7")], Some(i(0))),
        ("to_llong", &[s("")], Some(i(0))),
        ("to_llong", &[s("--1")], Some(i(0))),
        ("to_llong", &[s("9223372036854775808")], Some(i(i64::MAX))),
        ("to_llong", &[s("-9223372036854775808")], Some(i(i64::MIN))),
        ("to_llong", &[s("-99999999999999999999")], Some(i(i64::MIN))),
        ("sum_uint_in_list", &[s("1,2,,x, 30y,4"), s(",")], Some(i(37))),
        ("sum_uint_in_list", &[s(""), s(",")], Some(i(0))),
        ("sum_uint_in_list", &[s("12"), s("")], Some(i(12))),
        ("sum_uint_in_list", &[s("9223372036854775807|1"), s("|")], Some(i(i64::MIN))),
    ]);
}

#[test]
fn payload() {
    check(&[
        ("u8", &[s(b"\x01\xff"), u(1)], Some(u(255))),
        ("u8", &[s(b"\x01\xff"), u(2)], None),
        ("u8", &[s(b"\x01\xff"), i(-1)], None),
        ("u16", &[s(b"\x01\x02\x03"), u(1)], Some(u(0x0203))),
        ("u16", &[s(b"\x01\x02\x03"), u(2)], None),
        ("u32", &[s(b"\x01\x02\x03\x04"), i(0)], Some(u(0x0102_0304))),
        ("u32", &[s(b"\x01\x02\x03\x04"), u(1)], None),
        ("u32", &[s(b"\x01\x02\x03\x04"), u(u64::MAX)], None),
        ("bytes_at", &[s("hello"), u(1), u(3)], Some(s("ell"))),
        ("bytes_at", &[s("hello"), u(5), u(0)], Some(s(""))),
        ("bytes_at", &[s("hello"), u(6), u(0)], None),
        ("bytes_at", &[s("hello"), u(3), u(3)], None),
        ("bytes_at", &[s("hello"), i(-1), u(1)], None),
        ("bytes_at", &[s("hello"), u(1), i(-1)], None),
        ("bytes_at", &[s("hello"), u(1), u(u64::MAX)], None),
        ("entropy", &[s("")], Some(f(0.0))),
        ("entropy", &[s("aaaa")], Some(f(0.0))),
        ("entropy", &[s("abab")], Some(f(1.0))),
        ("entropy", &[s("abcdefgh")], Some(f(3.0))),
        ("entropy", &[s((0..=255).collect::<Vec<u8>>())], Some(f(8.0))),
    ]);
}

#[test]
fn no_entropy_is_not_negative() {
    for text in ["", "aaaa"] {
        let Some(Value::Float(bits)) = call("entropy", &[s(text)]) else { panic!("a float") };
        assert!(bits.is_sign_positive(), "{text:?}");
    }
}

#[test]
fn helpers_of_numbers() {
    let nan = f(f64::NAN);
    check(&[
        ("EQ", &[u(3), i(3)], Some(u(1))),
        ("EQ", &[u(u64::MAX), i(-1)], Some(u(0))),
        ("EQ", &[nan.clone(), nan.clone()], Some(u(0))),
        ("EQ_any", &[s("a"), s("a")], Some(u(1))),
        ("EQ_any", &[inet("::1"), inet("1.2.3.4")], Some(u(0))),
        ("GEQ", &[u(3), u(3)], Some(u(1))),
        ("GEQ", &[i(-3), u(0)], Some(u(0))),
        ("GE", &[u(3), u(3)], Some(u(0))),
        ("GE", &[f(3.5), u(3)], Some(u(1))),
        ("LEQ", &[u(3), u(3)], Some(u(1))),
        ("LE", &[u(3), u(3)], Some(u(0))),
        ("LE_any", &[s("a"), s("ab")], Some(u(1))),
        ("GEQ", &[nan.clone(), u(1)], Some(u(0))),
        ("LEQ", &[nan.clone(), u(1)], Some(u(0))),
        ("IF", &[b(true), u(1), u(2)], Some(u(1))),
        ("IF", &[b(false), s("x"), s("y")], Some(s("y"))),
        ("IF_number", &[i(-1), u(1), u(2)], Some(u(1))),
        ("IF_number", &[u(0), u(1), u(2)], Some(u(2))),
        ("PACK", &[u(1), u(2)], Some(u(0x1_0000_0002))),
        ("PACK", &[u(u64::MAX), u(u64::MAX)], Some(u(u64::MAX))),
        ("TIMESTAMPTOSEC", &[u(5 << 32 | 1 << 31)], Some(u(5))),
        ("TIMESTAMPTOMSEC", &[u(5 << 32 | 1 << 31)], Some(u(5500))),
        (
            "TIMESTAMPTOMSEC",
            &[u(u64::MAX)],
            Some(u(u64::from(u32::MAX.wrapping_mul(1000).wrapping_add(999)))),
        ),
        ("endian_swap_ui", &[u(0x0102_0304)], Some(u(0x0403_0201))),
        ("non_temporal", &[Value::Time(7)], Some(Value::Time(7))),
        ("umin_uint", &[u(3), u(4)], Some(u(3))),
        ("umax_uint", &[u(3), u(4)], Some(u(4))),
        ("umin_ip", &[ip("10.0.0.2"), ip("9.0.0.3")], Some(ip("9.0.0.3"))),
        ("umax_inet", &[inet("10.0.0.2"), inet("::")], Some(inet("::"))),
        ("umax_num", &[u(3), f(3.5)], Some(f(3.5))),
        ("umax_num", &[u(4), f(3.5)], Some(f(4.0))),
        ("umin_num", &[u(4), nan.clone()], Some(f(4.0))),
        ("llmin", &[u(4), u(5)], Some(u(4))),
        ("ullmax", &[u(4), u(5)], Some(u(5))),
        ("lmin", &[u(4), u(5)], Some(i(4))),
        ("lmax", &[i(-4), u(5)], Some(i(5))),
        ("fmin", &[u(4), u(5)], Some(f(4.0))),
        ("fmax", &[u(4), f(5.5)], Some(f(5.5))),
    ]);
}

#[test]
fn mathematics() {
    let cases: &[(&str, &[Value], f64)] = &[
        ("sqrt", &[u(9)], 3.0),
        ("sqrt", &[i(-1)], f64::NAN),
        ("pow", &[u(2), u(10)], 1024.0),
        ("pow", &[f(0.0), i(-1)], f64::INFINITY),
        ("sin", &[u(0)], 0.0),
        ("cos", &[u(0)], 1.0),
        ("tan", &[u(0)], 0.0),
        ("asin", &[u(2)], f64::NAN),
        ("acos", &[u(1)], 0.0),
        ("atan", &[f(f64::INFINITY)], std::f64::consts::FRAC_PI_2),
        ("log", &[f(std::f64::consts::E)], 1.0),
        ("log", &[u(0)], f64::NEG_INFINITY),
        ("log2", &[u(1024)], 10.0),
        ("log10", &[u(1000)], 3.0),
        ("ceil", &[f(-1.5)], -1.0),
        ("floor", &[f(-1.5)], -2.0),
        ("trunc", &[f(-1.5)], -1.0),
        ("fmod", &[f(5.5), u(2)], 1.5),
        ("fmod", &[f(-5.5), u(2)], -1.5),
        ("fmod", &[f(5.5), u(0)], f64::NAN),
    ];
    for (symbol, args, expected) in cases {
        let result = call(symbol, args).and_then(|v| v.as_f64()).expect(symbol);
        let close = (result - expected).abs() < 1e-12 || result == *expected;
        assert!(close || result.is_nan() && expected.is_nan(), "{symbol}{args:?} = {result}");
    }
}

#[test]
fn addresses() {
    check(&[
        ("in_subnet", &[ip("10.1.2.3"), block("10.0.0.0/8")], Some(b(true))),
        ("in_subnet", &[ip("11.1.2.3"), block("10.0.0.0/8")], Some(b(false))),
        ("in_subnet", &[inet("10.1.2.3"), block("10.1.2.3/32")], Some(b(true))),
        ("in_subnet", &[inet("255.1.2.3"), block("0.0.0.0/0")], Some(b(true))),
        ("in_subnet", &[inet("::1"), block("0.0.0.0/0")], Some(b(false))),
        ("in_subnet", &[inet("::ffff:10.1.2.3"), block("10.0.0.0/8")], Some(b(false))),
        ("in_subnet", &[inet("10.1.2.3"), block("::/0")], Some(b(false))),
        ("in_subnet", &[inet("2001:db8::9"), block("2001:db8::/32")], Some(b(true))),
        ("in_subnet", &[inet("2001:db9::9"), block("2001:db8::/32")], Some(b(false))),
        ("in_subnet", &[inet("2001:db8::9"), block("2001:db8::9/128")], Some(b(true))),
        ("prefix", &[ip("10.1.2.3"), u(24)], Some(block("10.1.2.0/24"))),
        ("prefix", &[ip("10.1.2.3"), u(0)], Some(block("0.0.0.0/0"))),
        ("prefix", &[ip("10.1.2.3"), u(32)], Some(block("10.1.2.3/32"))),
        ("prefix", &[ip("10.1.2.3"), u(33)], None),
        ("prefix", &[inet("2001:db8:ffff::1"), u(33)], Some(block("2001:db8:8000::/33"))),
        ("prefix", &[inet("2001:db8::1"), u(129)], None),
        ("prefix", &[ip("10.1.2.3"), u(256 + 8)], None),
        ("port_name", &[u(443)], Some(s("https"))),
        ("port_name", &[u(40_000)], Some(s("40000"))),
        ("proto_name", &[u(6)], Some(s("tcp"))),
        ("proto_name", &[u(200)], Some(s("200"))),
        ("flag_string", &[u(0x02)], Some(s("S"))),
        ("flag_string", &[u(0x12)], Some(s("SA"))),
        ("flag_string", &[u(0x29)], Some(s("FPU"))),
        ("flag_string", &[u(0x1ff)], Some(s("FSRPAUECN"))),
        ("flag_string", &[u(0)], Some(s(""))),
        ("flag_string", &[u(u64::MAX << 9)], Some(s(""))),
    ]);
}

fn flow(source: &str, destination: &str, ports: (u64, u64), protocol: u64) -> Vec<Value> {
    vec![inet(source), inet(destination), u(ports.0), u(ports.1), u(protocol)]
}

#[test]
fn hash5_is_the_same_in_both_directions() {
    let hash = |args: Vec<Value>| call("hash5", &args);
    let there = hash(flow("10.0.0.1", "10.0.0.2", (1234, 80), 6));
    assert!(there.is_some());
    assert_eq!(there, hash(flow("10.0.0.2", "10.0.0.1", (80, 1234), 6)));
    assert_ne!(there, hash(flow("10.0.0.1", "10.0.0.2", (80, 1234), 6)));
    assert_ne!(there, hash(flow("10.0.0.1", "10.0.0.2", (1234, 80), 17)));
    assert_eq!(
        hash(flow("10.0.0.1", "10.0.0.1", (1234, 80), 6)),
        hash(flow("10.0.0.1", "10.0.0.1", (80, 1234), 6))
    );
    let narrow = vec![ip("10.0.0.1"), ip("10.0.0.2"), u(1234), u(80), u(6)];
    assert_eq!(there, hash(narrow), "the narrowing of addresses does not show");
}

#[test]
fn community_ids_of_the_specification() {
    // Baseline of github.com/corelight/community-id-spec, seed 0.
    for (source, destination, ports, protocol, id) in [
        ("128.232.110.120", "66.35.250.204", (34855, 80), 6, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", "8.8.8.8", (54585, 53), 17, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.170.8", "192.168.170.56", (7, 7), 132, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
    ] {
        let there = call("community_id", &flow(source, destination, ports, protocol));
        assert_eq!(there, Some(s(id)), "{source}");
        let back = flow(destination, source, (ports.1, ports.0), protocol);
        assert_eq!(call("community_id", &back), there);
    }
    for (source, destination, kind, code, protocol, id) in [
        ("192.168.0.89", "192.168.0.1", 8, 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", "192.168.0.89", 0, 0, 1, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (
            "fe80::200:86ff:fe05:80da",
            "fe80::260:97ff:fe07:69ea",
            135,
            0,
            58,
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
        ),
    ] {
        let mut args = flow(source, destination, (0, 0), protocol);
        assert_eq!(call("community_id", &args), None, "no type");
        let none = [u(65535), u(65535)];
        let there = [u(kind), u(code)];
        let [v4, v6] = if protocol == 1 { [&there, &none] } else { [&none, &there] };
        args.extend(v4.iter().chain(v6).cloned());
        assert_eq!(call("community_id", &args), Some(s(id)), "{source} {kind}");
    }
    assert_eq!(call("community_id", &flow("10.0.0.1", "10.0.0.2", (0, 0), 6)), None, "no ports");
    let gre = call("community_id", &flow("10.0.0.1", "10.0.0.2", (0, 0), 47));
    assert!(gre.is_some());
    assert_eq!(gre, call("community_id", &flow("10.0.0.2", "10.0.0.1", (0, 0), 47)));
}

#[test]
fn header_functions() {
    let options =
        || s(b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x02");
    check(&[
        ("tcp_option_uint", &[options(), u(2), u(0), u(2)], Some(u(1460))),
        ("tcp_option_uint", &[options(), u(3), u(0), u(1)], Some(u(7))),
        ("tcp_option_uint", &[options(), u(4), u(0), u(0)], None),
        ("tcp_option_present", &[options(), u(4)], Some(b(true))),
        ("tcp_option_present", &[options(), u(5)], Some(b(false))),
        ("tcp_option_present", &[options(), u(260)], Some(b(false))),
        ("tcp_option_present", &[s(b"\x03\x00\x04\x02"), u(4)], Some(b(false))),
        ("tcp_option_uint", &[options(), u(8), u(0), u(4)], Some(u(1))),
        ("tcp_option_uint", &[options(), u(8), u(4), u(4)], Some(u(2))),
        ("tcp_option_uint", &[options(), u(8), u(0), u(8)], Some(u(1 << 32 | 2))),
        ("tcp_option_uint", &[options(), u(8), u(5), u(4)], None),
        ("tcp_option_uint", &[options(), u(5), u(0), u(0)], None),
        ("tcp_option_uint", &[options(), u(258), u(0), u(2)], None),
        ("tcp_option_uint", &[options(), u(2), u(u64::MAX), u(2)], None),
        ("tcp_option_uint", &[options(), u(2), u(0), u(9)], None),
        // Nothing after the end of options counts, nor after an option that lies about its length.
        ("tcp_option_uint", &[s(b"\x00\x02\x04\x05\xb4"), u(2), u(0), u(2)], None),
        ("tcp_option_uint", &[s(b"\x03\x00\x02\x04\x05\xb4"), u(2), u(0), u(2)], None),
        ("tcp_option_uint", &[s(b"\x03\x01\x02\x04\x05\xb4"), u(2), u(0), u(2)], None),
        ("tcp_option_uint", &[s(b"\x02\x04\x05"), u(2), u(0), u(2)], None),
        ("tcp_option_uint", &[s(b"\x02"), u(2), u(0), u(2)], None),
        ("tcp_option_uint", &[s(""), u(2), u(0), u(2)], None),
        // RFC 1071 §3: the sum of these words is ddf2.
        ("inet_checksum", &[s(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7")], Some(u(0x220d))),
        ("inet_checksum", &[s("")], Some(u(0xffff))),
        ("inet_checksum", &[s(b"\x01")], Some(u(0xfeff))),
        (
            "inet_checksum",
            &[s(
                b"\x45\x00\x00\x73\x00\x00\x40\x00\x40\x11\xb8\x61\xc0\xa8\x00\x01\xc0\xa8\x00\xc7",
            )],
            Some(u(0)),
        ),
    ]);
}

#[test]
fn constants_are_registered() {
    let constant = |symbol, text: &str| {
        let handle = prepare(symbol, &s(text)).expect(text);
        scalar(symbol).expect(symbol)(&[], Some(&handle))
    };
    assert_eq!(constant("strtoi_c", "port 80"), Some(u(80)));
    assert_eq!(constant("strtoi_c", "none"), Some(u(0)));
    assert_eq!(constant("strtoip_c", "10.0.0.1"), Some(ip("10.0.0.1")));
    assert_eq!(constant("strtoip_c", ""), Some(ip("0.0.0.0")));
    assert_eq!(call("strtoi_c", &[]), None);
}
