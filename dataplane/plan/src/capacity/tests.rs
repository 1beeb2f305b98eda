use wt_catalog::Catalog;

use super::*;
use crate::bind::InterfaceInfo;
use crate::compile::{CompileInput, compile};

fn compiled(text: &str) -> Compiled {
    let interface = |name: &str| InterfaceInfo { name: name.to_owned(), properties: Vec::new() };
    let names = if text.contains("eth1") { vec!["eth0", "eth1"] } else { vec!["eth0"] };
    let interfaces: Vec<_> = names.into_iter().map(interface).collect();
    let input = CompileInput {
        catalog: &Catalog::builtin(),
        text,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    };
    compile(&input).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn predicted(text: &str, traffic: &Traffic) -> Prediction {
    let compiled = compiled(text);
    let flows = estimate(&compiled.physical, &Catalog::builtin(), traffic);
    predict(&compiled, &flows, &CostTable::reference())
}

const TOTALS: &str = "SELECT count(*), sum(len) FROM packet";
const FLOWS: &str =
    "SELECT tb, srcIP, destIP, count(*) FROM ip GROUP BY time/1 AS tb, srcIP, destIP";
const REGEX: &str = "SELECT time FROM tcp WHERE destPort = 80 AND str_regex_match[data, 'a+b']";
const MERGED: &str = "DEFINE { query_name a; } SELECT time, len FROM eth0.tcp; DEFINE { query_name b; } SELECT time, len FROM eth1.tcp; \
                      MERGE a.time : b.time FROM a, b";

/// Every operator.
const TEXTS: &[&str] = &[
    TOTALS,
    FLOWS,
    REGEX,
    "SELECT time, srcIP FROM tcp WHERE pcap_filter('port 80 or icmp') AND NOT syn",
    "SELECT t, srcIP, destPort, count(*) FROM tcp GROUP BY time/1 AS t, CUBE(srcIP, destPort)",
    "SELECT DISTINCT srcIP FROM ip",
    "SELECT len FROM packet ORDER BY len LIMIT 3",
    "SELECT t, count_distinct(srcIP) FROM ip GROUP BY time/1 AS t HAVING count(*) > 3",
    "SELECT t, srcIP, count_distinct(destIP), sum(len) FROM ip GROUP BY time/1 AS t, srcIP",
    "DEFINE { aggregate_slots 64; } SELECT srcIP, count(*) FROM ip GROUP BY srcIP",
    "DEFINE { real_time yes; } SELECT t, count(*) FROM tcp WHERE syn GROUP BY time/1 AS t",
    MERGED,
    "SELECT srcIP, count(*) FROM ip GROUP BY SESSION(30), srcIP",
    "SELECT count(*) FROM (SELECT len + 1 AS n FROM packet) AS p WHERE p.n > 100",
];

#[test]
fn whatever_is_assumed_costs_are_numbers() {
    for text in TEXTS {
        for packet_bytes in [1.0, 262_144.0] {
            for (window_packets, groups) in [(1.0, 1.0), (1.0, 1e12), (1e12, 1e12), (1e12, 1.0)] {
                for matched in [None, Some(0.0), Some(1.0)] {
                    let traffic = Traffic { packet_bytes, window_packets, groups, matched };
                    let p = predicted(text, &traffic);
                    let numbers = p.nodes.iter().flat_map(|n| [n.ns, n.rows.unwrap_or(0.0)]);
                    for number in numbers.chain([p.ns(), p.memory_bytes()]) {
                        assert!(number.is_finite() && number >= 0.0, "{text} {traffic:?}: {p:?}");
                    }
                    assert!(p.ns() > 0.0);
                    assert!(!show::prediction(&p, Some(Rate::Packets(1e7)), 3).contains("NaN"));
                }
            }
        }
    }
}

#[test]
fn more_of_anything_is_not_cheaper() {
    let base = Traffic::default();
    let more = [
        Traffic { packet_bytes: 1500.0, ..base },
        Traffic { groups: 1e5, ..base },
        Traffic { matched: Some(1.0), ..base },
    ];
    for text in TEXTS {
        let before = predicted(text, &base).ns();
        for traffic in &more {
            let after = predicted(text, traffic).ns();
            assert!(after >= before * 0.999, "{text} {traffic:?}: {before} before, {after} after");
        }
    }
}

#[test]
fn memory_follows_the_groups() {
    let of = |groups: f64| {
        predicted(FLOWS, &Traffic { groups, window_packets: 1e9, ..Traffic::default() })
            .memory_bytes()
    };
    assert!((of(2e6) / of(1e6) - 2.0).abs() < 1e-9);
    assert_eq!(predicted(TOTALS, &Traffic::default()).memory_bytes(), 0.0);
}

#[test]
fn a_window_has_no_more_groups_than_packets() {
    let p = predicted(FLOWS, &Traffic { groups: 1e9, window_packets: 1e3, ..Traffic::default() });
    assert!(p.memory.iter().all(|node| node.entries <= 1e3), "{:?}", p.memory);
}

#[test]
fn common_work_belongs_to_no_query() {
    let two = "DEFINE { query_name a; } SELECT count(*) FROM tcp WHERE destPort = 80; \
               DEFINE { query_name b; } SELECT count(*) FROM tcp WHERE destPort = 443";
    let p = predicted(two, &Traffic::default());
    let of = |place| p.nodes.iter().find(|node| node.place == place).map(|node| &node.work);
    // Both load the port, which is compared once for each.
    assert!(of(Place::Shared(0)).is_some_and(|work| work.of(Kind::Op) >= 1.0));
    assert!(of(Place::Lfta(0, 0)).is_some_and(|work| work.of(Kind::Op) >= 1.0));
    assert_eq!(p.nodes.iter().filter(|node| node.query.as_deref() == Some("a")).count(), 3);
}

#[test]
fn filters_that_are_looked_up_cost_no_more_with_more_of_them() {
    let compared = |ports: u32| {
        let query = |port: u32| {
            format!(
                "DEFINE {{ query_name q{port}; }} SELECT count(*) FROM tcp WHERE destPort = {port}"
            )
        };
        let text: Vec<String> = (1..=ports).map(query).collect();
        predicted(&text.join(";\n"), &Traffic::default()).work().of(Kind::Op)
    };
    let (few, many) = (compared(4), compared(60));
    assert!((few - many).abs() < 1e-9, "{few} and {many}");
    assert!(compared(2) < compared(3));
}

#[test]
fn payloads_are_searched_where_their_headers_are() {
    let searched = |text: &str| {
        let p = predicted(text, &Traffic::default());
        p.work().of(Kind::Find)
    };
    let tcp = searched("SELECT count(*) FROM tcp WHERE str_exists_substr[data, 'needle']");
    let udp = searched("SELECT count(*) FROM udp WHERE str_exists_substr[data, 'needle']");
    assert!(udp > 0.0 && 3.0 * udp < tcp && tcp < 1.0, "{udp} and {tcp}");
}

#[test]
fn what_fits_is_admitted_and_what_does_not_says_why() {
    let p = predicted(FLOWS, &Traffic::default());
    let machine = Machine { cores: 2, memory_bytes_max: 1 << 30 };
    let most = 2.0 * p.packets_per_second();
    assert_eq!(admit(&p, Rate::Packets(0.999 * most), machine), Ok(()));
    let refusal = admit(&p, Rate::Packets(1.01 * most), machine).unwrap_err().to_string();
    assert!(refusal.contains("2.02 of the 2 cores"), "{refusal}");
    // One query alone: there is none to leave out.
    assert!(!refusal.contains("without"), "{refusal}");
    let small = Machine { memory_bytes_max: 1 << 10, ..machine };
    let refusal = admit(&p, Rate::Packets(1.0), small).unwrap_err().to_string();
    assert!(refusal.contains("of the 1 KiB allowed") && refusal.contains("--memory"), "{refusal}");
    assert!(!refusal.contains("cores"), "{refusal}");
}

#[test]
fn the_dearest_query_is_named() {
    let both = format!(
        "DEFINE {{ query_name cheap; }} {TOTALS}; DEFINE {{ query_name dear; }} \
         SELECT timestamp, srcIP FROM ip"
    );
    let p = predicted(&both, &Traffic::default());
    let cheap = predicted(TOTALS, &Traffic::default()).ns();
    // A rate that the totals alone nearly need a core for.
    let machine = Machine { cores: 1, memory_bytes_max: 1 << 30 };
    let refusal = admit(&p, Rate::Packets(0.8e9 / cheap), machine).unwrap_err().to_string();
    assert!(refusal.contains("without `dear`"), "{refusal}");
}

#[test]
#[should_panic(expected = "flows of another plan")]
fn flows_of_another_plan_are_a_fault() {
    let flows = estimate(&compiled(TOTALS).physical, &Catalog::builtin(), &Traffic::default());
    predict(&compiled(MERGED), &flows, &CostTable::reference());
}
