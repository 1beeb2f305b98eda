//! Programs of queries, as text.

#![expect(clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use support::program;
use wt_xdp::codegen::{Compiled, Options, compile};

fn made(text: &str) -> Compiled {
    let (program, params) = program(text);
    compile(&program, &params, &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn listing(text: &str) -> String {
    let made = made(text);
    assert_eq!(made.host, [], "{text}");
    made.spec.expect("a program").code.listing
}

#[test]
fn a_filter_and_count_is_as_short_as_by_hand() {
    insta::assert_snapshot!(listing("SELECT count(*) AS n FROM eth WHERE eth_type = 0x806"));
}

#[test]
fn groups_have_windows_slots_and_states() {
    let text = "SELECT tb, eth_type, count(*) AS n, sum(len) AS bytes FROM eth GROUP BY time/60 AS tb, eth_type";
    insta::assert_snapshot!(listing(text));
}

#[test]
fn the_same_batch_gives_the_same_program() {
    let text = "DEFINE { query_name 'a'; } SELECT srcPort FROM tcp WHERE destPort = 80;
        DEFINE { query_name 'b'; } SELECT destIP, len FROM udp WHERE srcPort = 53";
    assert_eq!(made(text), made(text));
}

#[test]
fn what_has_no_code_is_named_with_the_reason_and_the_rest_runs() {
    let text = "DEFINE { query_name 'a'; } SELECT srcPort FROM tcp WHERE destPort = 80;
        DEFINE { query_name 'b'; } SELECT srcPort FROM tcp WHERE str_regex_match[data, 'HTTP'];
        DEFINE { query_name 'c'; } SELECT data FROM udp";
    let made = made(text);
    let spec = made.spec.expect("a program");
    let names: Vec<&str> = spec.layout.queries.iter().map(|q| q.name.as_str()).collect();
    assert_eq!(names, ["a"]);
    let reasons: Vec<(u32, &str)> =
        made.host.iter().map(|h| (h.query, h.reason.as_str())).collect();
    assert_eq!(reasons, [(1, "a value of type BYTES"), (2, "a value of type BYTES")]);
}

#[test]
fn a_query_of_the_packet_walks_nothing() {
    let text = listing("SELECT len, timestamp FROM packet WHERE len > 100");
    assert!(!text.contains("header"), "{text}");
    assert!(!text.contains("bpf_loop"), "{text}");
}
