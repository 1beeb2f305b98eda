//! Queries that ask for a little of what there is.

use wt_catalog::Catalog;
use wt_engine::RunOptions;
use wt_tests::answers::batch_text;
use wt_tests::rng::Rng;
use wt_tests::run::Setup;

use crate::compared::answers;
use crate::made::START_S;

/// Values that the packets of captures have, or nearly.
pub(super) struct Values {
    addresses: Vec<String>,
    ports: Vec<String>,
    last_s: u64,
}

pub(super) fn values(setup: &Setup, catalog: &Catalog) -> Values {
    let name = &setup.traces[0].0;
    let text = batch_text([
        ("addresses", format!("SELECT DISTINCT srcIP AS a FROM {name}.ip").as_str()),
        ("ports", format!("SELECT DISTINCT destPort AS p FROM {name}.udp").as_str()),
        ("last", format!("SELECT max(time) AS t FROM {name}.packet").as_str()),
    ]);
    let compiled = setup.compile(catalog, &text, true).unwrap_or_else(|e| panic!("{e}"));
    let (answers, _) = answers(&compiled, setup, &RunOptions::default(), false);
    let shown = |query: &str| -> Vec<String> {
        let rows = answers.rows(query).iter();
        rows.map(|row| match row[0].as_addr() {
            Some(address) => address.to_string(),
            None => row[0].as_u64().unwrap_or(0).to_string(),
        })
        .collect()
    };
    let last_s = answers.numbers("last").first().copied().unwrap_or(START_S);
    Values { addresses: shown("addresses"), ports: shown("ports"), last_s }
}

/// A tcpdump expression.
pub(super) fn expression(rng: &mut Rng, address: &str, port: &str) -> String {
    let network = address.rsplit_once('.').map_or("10.1.0", |(network, _)| network);
    let one = |rng: &mut Rng| match rng.below(9) {
        0 => format!("host {address}"),
        1 => format!("src or dst host {address}"),
        2 if !address.contains(':') => format!("net {network}"),
        2 => format!("ip6 net {address}/128"),
        3 => format!("udp port {port} or 1012"),
        4 => format!("(tcp[0] & 1 = 0 or port {port})"),
        5 => format!("portrange {port}-{}", port.parse::<u32>().unwrap_or(0).min(65_530) + 3),
        6 => "proto 132".to_owned(),
        7 => "ip6 proto 44".to_owned(),
        _ => format!("not port {port}"),
    };
    match rng.below(5) {
        0 => one(rng),
        1 => format!("{} and {}", one(rng), one(rng)),
        2 => format!("{} or {}", one(rng), one(rng)),
        3 => format!("vlan {} and {}", 100 + rng.below(20), one(rng)),
        _ => format!("({} or {}) and not ({})", one(rng), one(rng), one(rng)),
    }
}

/// A condition: the protocol it is of, and its text.
pub(super) fn condition(rng: &mut Rng, values: &Values) -> (&'static str, String) {
    let span = values.last_s - START_S + 20;
    let from = START_S - 10 + rng.next_u64() % span;
    let to = from + 1 + rng.next_u64() % 30;
    let time = match rng.below(5) {
        0 => format!("time >= {from} AND time < {to}"),
        1 => format!("time BETWEEN {from} AND {to}"),
        2 => format!("time/10 = {}", from / 10),
        3 => format!("(time < {from} OR time > {})", to + 40),
        _ => format!("timestamp >= '{}' AND {to} > time", stamp(from)),
    };
    let address = match values.addresses.is_empty() || rng.one_in(10) {
        true => "10.77.0.1".to_owned(),
        false => rng.pick(&values.addresses).clone(),
    };
    let port = match values.ports.is_empty() || rng.one_in(10) {
        true => "7".to_owned(),
        false => rng.pick(&values.ports).clone(),
    };
    let is_v4 = !address.contains(':');
    let (from, fact) = match rng.below(12) {
        0 => return ("packet", time),
        1 => ("ip", format!("srcIP = '{address}'")),
        2 => ("ip", format!("(srcIP = '{address}' OR destIP = '{address}')")),
        3 => ("udp", format!("destPort = {port}")),
        4 => ("udp", format!("srcPort IN [{port}, 1012, 1023]")),
        5 => ("ip", format!("protocol = {}", rng.pick(&[1, 6, 51, 132, 4]))),
        6 => ("eth", format!("vlan_id = {}", 100 + rng.below(20))),
        7 if is_v4 => ("ipv4", format!("srcIP IN ['{address}/29', '10.1.0.0/24']")),
        7 => ("ipv6", format!("destIP IN ['{address}/126']")),
        8 => ("sctp", format!("destIP = '{address}'")),
        _ => ("packet", format!("pcap_filter('{}')", expression(rng, &address, &port))),
    };
    match rng.below(3) {
        0 => (from, format!("{fact} AND {time}")),
        _ => (from, fact),
    }
}

/// RFC 3339, as GSQL takes it.
pub(super) fn stamp(second: u64) -> String {
    let of_day = second % 86_400;
    // Day 19,675 since the epoch is 2023-11-14.
    assert_eq!(second / 86_400, 19_675);
    format!("2023-11-14T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// A query over what meets a condition.
pub(super) fn query(rng: &mut Rng, values: &Values, interface: &str) -> String {
    let (from, quals) = condition(rng, values);
    let of = format!("{interface}.{from}");
    match rng.below(4) {
        0 => format!("SELECT timestamp, len, caplen FROM {of} WHERE {quals}"),
        1 => format!(
            "SELECT tb, count(*) AS n, sum(len) AS bytes FROM {of} WHERE {quals} GROUP BY time/5 AS tb"
        ),
        2 => format!(
            "SELECT tb, size, count(*) AS n FROM {of} WHERE {quals} GROUP BY time/20 AS tb, len/100 AS size"
        ),
        _ => format!("SELECT count(*) AS n, max(timestamp) AS last FROM {of} WHERE {quals}"),
    }
}
