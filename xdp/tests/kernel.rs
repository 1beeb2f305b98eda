//! Generated programs in the kernel: the verifier takes them, and single packets come to what they should.

#![expect(clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use support::program;
use wt_xdp::codegen::{Clock, Options, compile};
use wt_xdp::loader::{LoadError, Loaded};

/// A program in the kernel; nothing where the kernel does not let us.
fn loaded(text: &str, clock: Clock) -> Option<Loaded> {
    let (program, params) = program(text);
    let options = Options { clock, ..Options::default() };
    let made = compile(&program, &params, &options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(made.host, [], "{text}");
    let spec = made.spec.unwrap_or_else(|| panic!("no program for {text}"));
    match Loaded::load(&spec) {
        Ok(loaded) => Some(loaded),
        Err(LoadError::NoPrivilege) => {
            eprintln!("skipped: no privilege to load programs into the kernel");
            None
        }
        Err(LoadError::Refused { reason, at, log }) => {
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            panic!("{text}\n{reason}\n{at:?}\n{}", tail.join("\n"))
        }
        Err(other) => panic!("{text}: {other}"),
    }
}

/// Queries that between them use every part of the generator.
const QUERIES: [&str; 14] = [
    "SELECT count(*) AS n FROM packet",
    "SELECT count(*) AS n FROM eth WHERE eth_type = 0x806",
    "SELECT timestamp, len, caplen FROM packet WHERE len > 100",
    "SELECT tb, eth_type, count(*) AS n, sum(len) AS bytes FROM eth GROUP BY time/60 AS tb, eth_type",
    "SELECT count(*) AS n FROM ipv4 WHERE ttl < 5",
    "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM ip GROUP BY time/60 AS tb, srcIP",
    "SELECT srcIP, destIP, srcPort, destPort FROM tcp WHERE destPort = 80 AND srcPort > 1024",
    "SELECT srcPort, data_len, flags FROM tcp WHERE data_len > 0",
    "SELECT tb, destPort, min(len) AS a, max(len) AS b, or_aggr(flags) AS f FROM tcp GROUP BY time/10 AS tb, destPort",
    "SELECT vlan_id, depth(vlan) AS d FROM vlan",
    "SELECT srcIP FROM ip WHERE srcIP IN ['10.0.0.0/8', '2001:db8::/32']",
    "SELECT protocol, hdr_len FROM ipv6",
    "SELECT len FROM packet WHERE pcap_filter('tcp port 80 or vlan and udp')",
    "SELECT vxlan.ip.srcIP AS a FROM vxlan.ip",
];

#[test]
fn the_verifier_takes_every_program() {
    for text in QUERIES {
        for clock in [Clock::Kernel, Clock::Given] {
            let Some(mut loaded) = loaded(text, clock) else { return };
            let slots = loaded.spec().code.slots.len();
            let verified = loaded.verified_instructions().unwrap_or(0);
            eprintln!("{slots:6} instructions, {verified:7} verified: {text}");
            assert!(verified < 500_000, "{text}: {verified} instructions verified");
        }
    }
}
