//! Programs of queries, as text.

#![expect(clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use support::program;
use wt_xdp::codegen::{Compiled, Disposition, FeedBy, Options, compile};

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

/// The kernel saves each of r6 to r9 that a program writes.
#[test]
fn what_looks_into_no_packet_keeps_its_length_and_the_frame_alone() {
    for text in
        ["SELECT count(*) AS n FROM packet", "SELECT count(*) AS n FROM packet WHERE len > 1500"]
    {
        let code = listing(text);
        for (register, is_kept) in [("r6", false), ("r7", true), ("r8", true), ("r9", false)] {
            assert_eq!(code.contains(&format!("{register} = ")), is_kept, "{register}\n{code}");
        }
    }
}

/// What a packet goes through that takes no jump: up to where the code goes on elsewhere on every way, or returns.
fn row(code: &str) -> &str {
    let ends = [": exit\n", ": goto "].map(|end| code.find(end).unwrap_or(code.len()));
    &code[..ends[0].min(ends[1])]
}

#[test]
fn the_usual_way_is_a_row_from_the_beginning_to_the_end() {
    let text = listing(
        "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80
            GROUP BY time/60 AS tb, srcIP",
    );
    let row = row(&text);
    assert!(row.contains("r0 = 2\n"), "it returns\n{row}");
    let mut at = 0;
    for part in ["the likeliest path", "the slot", "one tuple more"] {
        let found = row[at..].find(&format!("; {part}\n"));
        at += found.unwrap_or_else(|| panic!("{part} behind the ones before it\n{row}"));
    }
    for aside in ["be16", "ktime", "ringbuf", "path less likely", "vlan", " header\n"] {
        assert!(!row.contains(aside), "{aside} is in the way\n{row}");
    }
}

#[test]
fn the_likeliest_path_is_compared_in_as_few_parts_as_its_bytes_lie_in() {
    let text = listing("SELECT count(*) AS n FROM tcp WHERE destPort = 80");
    let (_, path) = text.split_once("; the likeliest path\n").expect("code for it");
    let (path, _) = path.split_once("; at the end of eth, ipv4, tcp\n").expect("code behind it");
    // EtherType, version and length of IPv4; no fragment, and the protocol; the length of TCP.
    let parts = [
        ("*(u32 *)(r6 +12)", "&= 16777215", "!= 4521992 "),
        ("*(u32 *)(r6 +20)", "&= -16711905", "!= 100663296 "),
        ("*(u8 *)(r6 +46)", "&= 240", "!= 80 "),
    ];
    let lines: Vec<&str> = path.lines().collect();
    assert_eq!(lines.len(), 3 * parts.len(), "{path}");
    for (lines, (load, mask, test)) in lines.chunks(3).zip(parts) {
        for (line, part) in lines.iter().zip([load, mask, test]) {
            assert!(line.contains(part), "{part}\n{path}");
        }
    }
    // A header that lies in no packet at the same place, or is one of two that are looked for, is looked at by itself.
    for text in [
        "DEFINE { query_name 'a'; } SELECT srcPort FROM tcp WHERE destPort = 80;
            DEFINE { query_name 'b'; } SELECT destIP, len FROM udp WHERE srcPort = 53",
        "SELECT count(*) AS n FROM eth WHERE eth_type = 0x806",
    ] {
        let made = made(text).spec.expect("a program").code.listing;
        assert!(!made.contains("the likeliest path"), "{text}\n{}", row(&made));
    }
}

#[test]
fn headers_of_the_least_length_are_where_they_are_looked_for() {
    let text = "DEFINE { query_name 'a'; } SELECT count(*) AS n FROM tcp WHERE destPort = 80;
        DEFINE { query_name 'b'; } SELECT count(*) AS n FROM udp WHERE destPort = 53";
    let text = made(text).spec.expect("a program").code.listing;
    let row = row(&text);
    // Version and length of IPv4 at once; the port of TCP, 36 bytes into the frame; the end of the packet before all headers and behind TCP's options.
    assert!(row.contains("r0 != 69 "), "{row}");
    assert!(row.contains("r0 = *(u16 *)(r6 +36)"), "{row}");
    assert_eq!(row.matches("> r7 ").count(), 2, "{row}");
    assert!(row.contains("r0 += 54\n"), "{row}");
    let (_, longer) = text.split_once("; ipv4 header of another length\n").expect("code for it");
    assert!(longer.contains("; tcp header\n"), "with what is likely behind it\n{longer}");
}

#[test]
fn fields_are_compared_as_they_lie_in_the_packet() {
    let text = listing(
        "SELECT count(*) AS n FROM tcp WHERE destPort IN (22, 23) AND syn AND NOT ack_flag",
    );
    let (_, code) = text.split_once("; at the end of eth, ipv4, tcp\n").expect("code of its own");
    let code = row(code);
    for part in ["r0 == 5632 ", "r0 != 5888 ", "r0 &= 2\n", "r0 &= 16\n"] {
        assert!(code.contains(part), "{part}\n{code}");
    }
    assert!(!code.contains("be16") && !code.contains(">>="), "{code}");
    // The order of numbers is not that of their bytes.
    let text = listing("SELECT count(*) AS n FROM tcp WHERE destPort > 22");
    let (_, code) = text.split_once("; at the end of eth, ipv4, tcp\n").expect("code of its own");
    assert!(row(code).contains("be16"), "{code}");
}

#[test]
fn at_the_end_of_a_likely_path_nothing_is_looked_for_again() {
    let text = listing("SELECT count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80");
    for path in ["eth, ipv4, tcp", "eth, ipv6, tcp"] {
        let (_, code) = text.split_once(&format!("; at the end of {path}\n")).expect(path);
        let code = row(code);
        assert!(!code.contains("> r7"), "{path}: the packet's end is known\n{code}");
        assert!(!code.contains("(u16 *)(r8"), "{path}: and where the header is\n{code}");
        assert!(!code.contains("call"), "{path}: nothing is looked up\n{code}");
        let instructions = code.lines().filter(|line| !line.starts_with(';')).count();
        assert!(instructions < 25, "{path}: {instructions} instructions\n{code}");
    }
    assert!(!text.contains("at the end of eth, ipv4, mpls"), "no query has code of its own there");
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

/// A program on a port where packets end, as it sends those for the host by sockets.
fn made_for_sockets(text: &str, disposition: Disposition) -> Compiled {
    let (program, params) = program(text);
    let feed_by = FeedBy::Sockets { queues: 4, bytes_max: u32::MAX };
    let feeds_alone = disposition == Disposition::Drop;
    let options =
        Options { disposition, feed_bytes: Some(256), feed_by, feeds_alone, ..Options::default() };
    compile(&program, &params, &options).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_frame_is_given_to_a_socket_behind_everything_else() {
    let text = "DEFINE { query_name 'a'; } SELECT srcPort FROM tcp WHERE destPort = 80;
        DEFINE { query_name 'b'; } SELECT srcPort FROM tcp WHERE str_regex_match[data, 'HTTP']";
    let spec = made_for_sockets(text, Disposition::Drop).spec.expect("a program");
    let sockets = spec.layout.sockets.expect("sockets");
    assert_eq!(spec.maps[sockets.map.0 as usize].name, "sockets");
    assert_eq!(sockets.number + 1, spec.layout.control_words);
    let at = |what: &str| {
        let found: Vec<usize> = spec.code.listing.match_indices(what).map(|(at, _)| at).collect();
        assert_eq!(found.len(), 1, "{what}");
        found[0]
    };
    assert!(at("bpf_xdp_adjust_tail") < at("bpf_xdp_adjust_head"));
    assert!(at("bpf_xdp_adjust_head") < at("bpf_redirect_map"));
    assert!(at("does _fta_b want the packet?") < at("bpf_xdp_adjust_tail"));
    assert!(!spec.code.listing.contains("bpf_xdp_load_bytes"), "nothing is copied");
}

#[test]
fn who_has_no_query_for_the_host_has_no_sockets() {
    let text = "SELECT srcPort FROM tcp WHERE destPort = 80";
    let spec = made_for_sockets(text, Disposition::Drop).spec.expect("a program");
    assert_eq!(spec.layout.sockets, None);
    assert!(spec.maps.iter().all(|map| map.name != "sockets"));
}

#[test]
fn where_packets_end_they_are_sent_though_no_query_runs_in_the_driver() {
    let text = "SELECT timestamp, len * 0.5 AS half FROM tcp WHERE destPort = 80";
    let spec = made_for_sockets(text, Disposition::Drop).spec.expect("a program");
    assert_eq!((spec.layout.queries.len(), &spec.layout.host[..]), (0, &[0][..]));
    assert!(spec.code.listing.contains("bpf_redirect_map"), "{}", spec.code.listing);
    assert_eq!(made_for_sockets(text, Disposition::Pass).spec, None);
}
