use wt_catalog::Catalog;

use super::*;
use crate::{CompileInput, InterfaceInfo, compile};

fn wanted_of(text: &str, params: &[(&str, &str)], ddl: &str) -> Vec<Wanted> {
    let mut catalog = Catalog::builtin();
    catalog.add_ddl(ddl, "more.ddl").unwrap();
    let interface = |name: &str| InterfaceInfo {
        name: name.to_owned(),
        properties: vec![("Name".to_owned(), name.to_owned())],
    };
    let params: Vec<_> = params.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let compiled = compile(&CompileInput {
        catalog: &catalog,
        text,
        file_name: "",
        interfaces: &[interface("default"), interface("eth1")],
        interface_sets: &[("all".to_owned(), vec![0, 1])],
        params: &params,
        watchlists: &[],
        finite: true,
        library: &|_| None,
    });
    wanted(&compiled.unwrap_or_else(|errors| panic!("{text}: {errors:?}")).physical, true)
}

fn condition(text: &str) -> Condition {
    wanted_of(text, &[], "").swap_remove(0).condition
}

fn show(condition: &Condition) -> String {
    let each = |parts: &[Condition]| parts.iter().map(show).collect::<Vec<_>>().join(" ");
    match condition {
        Condition::Any => "any".to_owned(),
        Condition::Never => "never".to_owned(),
        Condition::Between(a, b) if *b == u64::MAX => format!("{a}.."),
        Condition::Between(a, b) => format!("{a}..{b}"),
        Condition::Has(fact) => fact.to_string(),
        Condition::All(parts) => format!("all({})", each(parts)),
        Condition::OneOf(parts) => format!("one({})", each(parts)),
    }
}

#[test]
fn time_is_bounded_in_every_form_it_has() {
    for (quals, expected) in [
        ("time >= 10 AND time < 20", "10000000000..19999999999"),
        ("time > 10", "11000000000.."),
        ("20 > time", "0..19999999999"),
        ("time = 7", "7000000000..7999999999"),
        ("time BETWEEN 3 AND 4", "3000000000..4999999999"),
        ("time IN [3, 9]", "one(3000000000..3999999999 9000000000..9999999999)"),
        ("time/60 = 2", "120000000000..179999999999"),
        ("time/60 >= 2 AND time/60 < 3", "120000000000..179999999999"),
        ("time < -1", "never"),
        ("time > 5 AND time < 5", "never"),
        ("timestamp >= '1970-01-01T00:00:01Z'", "1000000000.."),
        ("ts < '1970-01-01T00:00:01.5Z' AND time >= 1", "1000000000..1499999999"),
        ("time < 5 OR time > 8", "one(0..4999999999 9000000000..)"),
        ("NOT (time < 5)", "5000000000.."),
        ("time <> 5", "any"),
        ("time % 60 = 5", "any"),
        ("time >= 10 OR len > 5", "any"),
        ("len > 5", "any"),
        ("time + 5 > 10", "any"),
    ] {
        let text = format!("SELECT len FROM packet WHERE {quals}");
        assert_eq!(show(&condition(&text)), expected, "{quals}");
    }
    let text = "PARAM { n uint; } SELECT len FROM packet WHERE time < $n";
    assert_eq!(show(&wanted_of(text, &[("n", "5")], "")[0].condition), "0..4999999999");
}

#[test]
fn header_fields_are_facts_where_summaries_know_them() {
    let ends = "one(host 10.0.0.1 host 10.0.0.2)";
    for (from, quals, expected) in [
        ("ip", "srcIP = '10.0.0.1'", "host 10.0.0.1".to_owned()),
        ("ip", "'2001:db8::1' = destIP", "host 2001:db8::1".to_owned()),
        ("ipv4", "srcIP = '10.0.0.1' OR destIP = '10.0.0.2'", ends.to_owned()),
        ("ip", "srcIP IN ['10.0.0.1', '10.0.0.2/32']", ends.to_owned()),
        ("ip", "srcIP IN ['10.0.0.0/8']", "net 10.0.0.0/8".to_owned()),
        ("ip", "in_subnet(srcIP, '10.1.0.0/16')", "net 10.1.0.0/16".to_owned()),
        ("ip", "protocol = 47", "proto 47".to_owned()),
        ("ipv6", "protocol = ICMP6", "proto 58".to_owned()),
        ("tcp", "destPort = 443", "all(proto 6 port 443)".to_owned()),
        ("udp", "srcPort IN [53, 5353]", "all(proto 17 one(port 53 port 5353))".to_owned()),
        (
            "tcp",
            "srcIP = '10.0.0.1' AND time < 1",
            "all(0..999999999 proto 6 host 10.0.0.1)".to_owned(),
        ),
        ("eth", "vlan_id = 5", "vlan 5".to_owned()),
        ("vlan", "vlan_id = 5", "vlan 5".to_owned()),
        ("tcp", "syn", "proto 6".to_owned()),
        ("tcp", "destPort > 443", "proto 6".to_owned()),
        ("tcp", "destPort = 70000", "proto 6".to_owned()),
        ("ip", "ttl = 5", "any".to_owned()),
        ("ip", "srcIP = destIP", "any".to_owned()),
        ("arp", "arp_spa = '10.0.0.1'", "any".to_owned()),
        ("packet", "pcap_filter('host 10.0.0.1')", "host 10.0.0.1".to_owned()),
        (
            "packet",
            "(pcap_filter('tcp port 80 or 443') OR time < 1) AND NOT pcap_filter('port 22')",
            "one(all(proto 6 port 80) all(proto 6 port 443) 0..999999999)".to_owned(),
        ),
        ("packet", "NOT pcap_filter('host 10.0.0.1')", "any".to_owned()),
    ] {
        let text = format!("SELECT len FROM {from} WHERE {quals}");
        assert_eq!(show(&condition(&text)), expected, "{text}");
    }
}

#[test]
fn a_batch_needs_what_one_of_its_queries_does() {
    let first = "DEFINE { query_name a; } SELECT len FROM packet WHERE time < 5";
    let second = "DEFINE { query_name b; } SELECT len FROM packet WHERE time > 8";
    assert_eq!(show(&condition(&format!("{first}; {second}"))), "one(0..4999999999 9000000000..)");
    let third = "DEFINE { query_name c; } SELECT len FROM packet";
    let wanted = wanted_of(&format!("{first}; {third}"), &[], "").swap_remove(0);
    assert_eq!(wanted.condition, Condition::Any);
    let why = wanted.why_all.unwrap();
    assert!(why.contains(" c "), "{why}");
    // Each interface has its own.
    let text = "DEFINE { query_name a; } SELECT len FROM default.packet WHERE time < 5; \
                DEFINE { query_name b; } SELECT len FROM eth1.packet WHERE time > 8";
    let all = wanted_of(text, &[], "");
    assert_eq!(
        all.iter().map(|w| show(&w.condition)).collect::<Vec<_>>(),
        ["0..4999999999", "9000000000.."]
    );
    assert_eq!(all[0].predicates, ["time < 5"]);
    // A condition above a subquery goes down to the packets.
    let text = "SELECT t FROM (SELECT time AS t, len FROM packet) AS x WHERE x.t < 5";
    assert_eq!(show(&condition(text)), "0..4999999999");
}

#[test]
fn windows_that_all_packets_move_need_all_packets() {
    let query = "SELECT t, count(*) FROM packet WHERE time < 5 GROUP BY time/1 AS t";
    assert_eq!(show(&condition(query)), "0..4999999999");
    for text in [
        format!("DEFINE {{ real_time 'yes'; }} {query}"),
        query.replace("count(*)", "count(*), window_completeness()"),
        query.replace("count(*)", "max(ifindex)"),
    ] {
        assert_eq!(condition(&text), Condition::Any, "{text}");
    }
}

#[test]
fn protocols_that_summaries_do_not_know_leave_only_the_time() {
    let ddl = "PROTOCOL mine (by_ip_version) OVER udp WHEN destPort = 9999 { HEADER LENGTH 4; \
               uint x AT 0 BITS 0:8; REFINE uint next_version AT 4 BITS 0:4; }";
    let text = "SELECT len FROM ip WHERE srcIP = '10.0.0.1' AND time < 5";
    assert_eq!(show(&condition(text)), "all(0..4999999999 host 10.0.0.1)");
    // `FROM ip` ends at the first header of IP, which none of the protocol's own can precede.
    assert_eq!(show(&wanted_of(text, &[], ddl)[0].condition), "all(0..4999999999 host 10.0.0.1)");
    let text = "SELECT len FROM tcp WHERE destPort = 80 AND time < 5";
    assert_eq!(show(&wanted_of(text, &[], ddl)[0].condition), "0..4999999999");
}

#[test]
fn every_built_in_header_is_one_that_summaries_know() {
    let parse = crate::parse_spec::parse_spec(&Catalog::builtin()).unwrap();
    assert!(facts::are_known(&parse));
    let names: Vec<&str> = parse.protocols.iter().flatten().map(|p| p.name.as_str()).collect();
    assert!(KNOWN_PROTOCOLS.iter().all(|name| names.contains(name)));
}
