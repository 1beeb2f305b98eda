//! Queries that an index lets read less: the rows are those of a full scan, and what is read is what was said.

use std::fs;
use std::path::{Path, PathBuf};

use wt_catalog::Catalog;
use wt_engine::{Captures, IndexedPart, RunOptions, Source, index_wanted};
use wt_plan::Compiled;
use wt_plan::wanted::{self, Condition};
use wt_tests::answers::{Answers, ValueSink, batch_text};
use wt_tests::corpus::{Scratch, carried};
use wt_tests::program::{Outcome, run};
use wt_tests::rng::Rng;
use wt_tests::run::{Backend, Setup};
use wt_trace::index::{self, Index, Reading};
use wt_trace::store::Store;
use wt_trace::{Opened, TraceFile};
use wt_wire::{
    ByteOrder, CaptureReader, Direction, LinkType, MergedCaptures, PcapNgWriter, PcapVariant,
    PcapWriter, TimeResolution,
};

const S: u64 = 1_000_000_000;
const START_S: u64 = 1_700_000_000;

/// What packets of a phase have: addresses and ports of its own, so that blocks differ.
fn payload(rng: &mut Rng, phase: u64) -> (u8, Vec<u8>) {
    let port = |rng: &mut Rng| (1000 + 10 * phase + rng.below(3) as u64) as u16;
    let (from, to) = (port(rng), if rng.one_in(2) { 53 } else { port(rng) });
    let mut data = [from.to_be_bytes(), to.to_be_bytes()].concat();
    match rng.below(4) {
        0 => {
            data.extend([0; 8]);
            data.extend([0x50, 0x02, 0, 0, 0, 0, 0, 0]);
            (6, data)
        }
        1 => (1, vec![8, 0, 0, 0, 0, 0, 0, 0]),
        2 => {
            data.extend([0; 8]);
            (132, data)
        }
        _ => {
            data.extend([0, 8, 0, 0]);
            (17, data)
        }
    }
}

fn ipv4(rng: &mut Rng, phase: u64, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x45, 0];
    data.extend((20 + payload.len() as u16).to_be_bytes());
    let fragment = if rng.one_in(30) { [0, 5] } else { [0, 0] };
    data.extend([0, 1, fragment[0], fragment[1], 64, protocol, 0, 0]);
    data.extend([10, phase as u8, 0, rng.below(3) as u8, 192, 0, 2, rng.below(2) as u8]);
    data.extend(payload);
    data
}

fn ipv6(rng: &mut Rng, phase: u64, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x60, 0, 0, 0];
    data.extend((payload.len() as u16).to_be_bytes());
    data.extend([next, 64]);
    for end in 0..2 {
        data.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, end, phase as u8]);
        data.push(rng.below(2) as u8);
    }
    data.extend(payload);
    data
}

/// A frame of one of many kinds. Those that carry other packets are rare: one makes a block that may hold anything.
fn frame(rng: &mut Rng, phase: u64) -> Vec<u8> {
    let (protocol, inner) = payload(rng, phase);
    let is_rare = rng.one_in(300);
    let (mut types, mut body) = match rng.below(9) {
        0 if is_rare => (vec![8, 0], {
            let carried = ipv4(rng, phase, protocol, &inner);
            ipv4(rng, phase, 4, &carried)
        }),
        1 if is_rare => (vec![0x88, 0x63], {
            // A session's protocol under the discovery type.
            let carried = ipv4(rng, phase, protocol, &inner);
            [&[0x11, 0, 0, 1, 0, 60, 0, 0x21][..], &carried].concat()
        }),
        2 if is_rare => (vec![8, 0], {
            let header = [&[protocol, 4][..], &[0; 22], &inner].concat();
            ipv4(rng, phase, 51, &header)
        }),
        3 | 4 => (vec![0x86, 0xdd], {
            // HIP, shim6 and hop-by-hop headers, a first fragment, an authentication header.
            let next = *rng.pick(&[139, 140, 0, 44, 51]);
            let header = match next {
                44 => vec![protocol, 0, 0, 1, 0, 0, 0, 9],
                51 => [&[protocol, 4][..], &[0; 22]].concat(),
                _ => [&[protocol, 0][..], &[0; 6]].concat(),
            };
            ipv6(rng, phase, next, &[header, inner].concat())
        }),
        5 => (vec![0x86, 0xdd], ipv6(rng, phase, protocol, &inner)),
        6 if rng.one_in(4) => (vec![8, 6], {
            let ends = [10, phase as u8, 0, 1, 0, 0, 0, 0, 0, 0, 10, phase as u8, 0, 2];
            [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1][..], &ends].concat()
        }),
        _ => (vec![8, 0], ipv4(rng, phase, protocol, &inner)),
    };
    if rng.one_in(5) {
        let vlan = 100 + phase as u16;
        types = [&[0x81, 0][..], &vlan.to_be_bytes(), &types].concat();
    }
    let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    data.append(&mut types);
    data.append(&mut body);
    // Cut off now and then; else long, so that a block has few.
    match rng.one_in(40) {
        true => data.truncate(14 + rng.below(40)),
        false => data.resize(data.len() + 500 + rng.below(500), 7),
    }
    data
}

/// Packets whose clock steps back now and then, by little or by much.
fn packets(rng: &mut Rng, count: u64) -> Vec<(u64, Vec<u8>)> {
    let mut at = START_S * S;
    let steps_back = !rng.one_in(3);
    (0..count)
        .map(|number| {
            at += rng.next_u64() % (S / 4);
            if steps_back && rng.one_in(150) {
                at -= rng.next_u64() % (40 * S);
            }
            let early = if steps_back && rng.one_in(20) { rng.next_u64() % S } else { 0 };
            (at - early, frame(rng, number / 120))
        })
        .collect()
}

fn write_pcap(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let (nano, order) = (PcapVariant::Nano, ByteOrder::Little);
    let mut writer = PcapWriter::new(file, nano, order, LinkType(1), 65_535).unwrap();
    for (at, data) in packets {
        writer.write(*at, data.len() as u32, data).unwrap();
    }
}

fn write_pcapng(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut writer = PcapNgWriter::new(file, ByteOrder::Little).unwrap();
    writer.interface(Some("one"), LinkType(1), 0, TimeResolution::NANO).unwrap();
    for (number, (at, data)) in packets.iter().enumerate() {
        if number == packets.len() / 2 {
            writer.interface(Some("two"), LinkType(1), 0, TimeResolution::NANO).unwrap();
        }
        let interface = u32::from(number > packets.len() / 2 && number % 2 == 0);
        writer.write(interface, *at, data.len() as u32, Direction::Unknown, data).unwrap();
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A trace, or a store of about 1 MiB a segment, indexed.
fn make(scratch: &Scratch, name: &str, rng: &mut Rng) -> PathBuf {
    let packets = packets(rng, 2000);
    let path = scratch.path(name);
    match rng.below(3) {
        0 => write_pcap(&path, &packets),
        1 => write_pcapng(&path, &packets),
        _ => {
            let plain = scratch.path("plain");
            write_pcap(&plain, &packets);
            let arguments = ["record", "-r", &text(&plain), "-w", &text(&path)];
            run([&arguments[..], &["--segment-size", "1MiB"]].concat()).expect_status(0);
        }
    }
    if !path.is_dir() {
        index::build(&path, 64 << 10, &mut |_| {}).unwrap();
        return path;
    }
    for segment in Store::open(&path).unwrap().segments().unwrap() {
        // One is left without.
        if !rng.one_in(4) {
            index::build(&segment.path, 64 << 10, &mut |_| {}).unwrap();
        }
    }
    path
}

/// How much was read of how many bytes.
#[derive(Debug, Default)]
struct Bytes(u64, u64);

/// The captures of an interface: all, or what may have what is wanted.
fn captures(files: &[PathBuf], need: Option<(&Condition, bool)>) -> Captures {
    let (condition, keeps_order) = match need {
        Some((Condition::Any, _)) | None => (None, false),
        Some((condition, keeps_order)) => (Some(index_wanted(condition)), keeps_order),
    };
    if let [file] = files
        && !file.is_dir()
        && let Opened::Plain(trace) = TraceFile::open(file).unwrap()
    {
        let chosen = condition
            .as_ref()
            .and_then(|wanted| Index::open(file).ok()?.choose(wanted, keeps_order));
        return match chosen {
            Some(chosen) => Captures::PlainIndexed(trace, chosen),
            None => Captures::Plain(trace),
        };
    }
    let mut readers = Vec::new();
    let mut parts = Vec::new();
    for file in files {
        let name = text(file);
        if file.is_dir() {
            let store = Store::open(file).unwrap();
            match &condition {
                Some(wanted) => {
                    let (of_store, _, reading) =
                        store.captures_within(wanted, keeps_order).unwrap();
                    readers.extend(of_store);
                    parts.push(IndexedPart { reading, name, places: None });
                }
                None => readers.extend(store.captures().unwrap().0),
            }
            continue;
        }
        let mut index = Index::open(file).ok();
        let chosen =
            condition.as_ref().and_then(|wanted| index.as_mut()?.choose(wanted, keeps_order));
        match (index, chosen) {
            (Some(index), Some(chosen)) => {
                let reading = Reading::new(chosen.taken());
                let selected = index.selected(chosen, reading.clone()).unwrap();
                let places = Some(selected.places());
                readers.push(CaptureReader::from_reader(&name, selected).unwrap());
                parts.push(IndexedPart { reading, name, places });
            }
            _ => readers.push(CaptureReader::open(file).unwrap()),
        }
    }
    match parts.is_empty() || parts.len() < files.len() {
        // The books of some need those of all.
        true => Captures::Merged(MergedCaptures::new(readers)),
        false => Captures::Indexed(MergedCaptures::new(readers), parts),
    }
}

fn answers(
    compiled: &Compiled,
    setup: &Setup,
    options: &RunOptions<'_>,
    by_index: bool,
) -> (Answers, Bytes) {
    let plan = &compiled.physical;
    let needs = wanted::wanted(plan, true);
    let files: usize = setup.traces.iter().map(|(_, files)| files.len()).sum();
    let keeps_order = files > 1 || wanted::depends_on_arrival(plan);
    let source = |(interface, files): &(String, Vec<PathBuf>)| {
        let need = needs.iter().find(|need| need.interface == *interface).filter(|_| by_index);
        let captures = captures(files, need.map(|need| (&need.condition, keeps_order)));
        Source { interface: interface.clone(), captures }
    };
    let sources = setup.traces.iter().map(source).collect();
    let mut sink = ValueSink::new(plan);
    let report = wt_engine::run(plan, sources, options, &mut sink).expect("it runs");
    assert_eq!(report.ledger.check(), Ok(()));
    let mut bytes = Bytes::default();
    for index in report.ledger.interfaces.iter().filter_map(|i| i.index.as_ref()) {
        bytes = Bytes(bytes.0 + index.bytes.0, bytes.1 + index.bytes.1);
    }
    (sink.into_answers(plan, report), bytes)
}

/// Compiles a text and compares what it answers by index and without; how much was read by index.
fn compare(setup: &Setup, catalog: &Catalog, text: &str, backend: Backend) -> Bytes {
    let compiled = setup.compile(catalog, text, true).unwrap_or_else(|e| panic!("{text}\n{e}"));
    let options = backend.options();
    let (all, _) = answers(&compiled, setup, &options, false);
    let (by_index, bytes) = answers(&compiled, setup, &options, true);
    for (name, answer) in &all.results {
        assert_eq!(
            by_index.rows(name),
            answer.rows,
            "{name} of {text} over {:?} on {}",
            setup.traces,
            backend.name()
        );
    }
    assert_eq!(by_index.report.ledger.late(), all.report.ledger.late(), "{text}");
    bytes
}

/// Values that the packets of captures have, or nearly.
struct Values {
    addresses: Vec<String>,
    ports: Vec<String>,
    last_s: u64,
}

fn values(setup: &Setup, catalog: &Catalog) -> Values {
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
fn expression(rng: &mut Rng, address: &str, port: &str) -> String {
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
fn condition(rng: &mut Rng, values: &Values) -> (&'static str, String) {
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
fn stamp(second: u64) -> String {
    let of_day = second % 86_400;
    // Day 19,675 since the epoch is 2023-11-14.
    assert_eq!(second / 86_400, 19_675);
    format!("2023-11-14T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// A query over what meets a condition.
fn query(rng: &mut Rng, values: &Values, interface: &str) -> String {
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

#[test]
fn rows_do_not_depend_on_the_index() {
    let catalog = Catalog::builtin();
    let is_soak = std::env::var_os("WT_SOAK").is_some_and(|v| v == "1");
    let (mut read, mut of) = (0, 0);
    for round in 0..if is_soak { 200 } else { 8 } {
        let mut rng = Rng::new(round);
        let scratch = Scratch::new().unwrap();
        let several = |rng: &mut Rng, name: &str| -> Vec<PathBuf> {
            let count = if rng.one_in(3) { 2 } else { 1 };
            (0..count).map(|n| make(&scratch, &format!("{name}{n}"), rng)).collect()
        };
        let mut traces = vec![("a".to_owned(), several(&mut rng, "a"))];
        if round % 2 == 1 {
            traces.push(("b".to_owned(), several(&mut rng, "b")));
        }
        let members = traces.iter().map(|(name, _)| name.clone()).collect();
        let setup = Setup { traces, sets: vec![("both".to_owned(), members)], ..Setup::default() };
        let values = values(&setup, &catalog);
        for number in 0..10 {
            let interface = match rng.below(3) {
                0 => "[both]",
                1 => "a",
                _ => &setup.traces[rng.below(setup.traces.len())].0,
            };
            let queries: Vec<(String, String)> = (0..1 + rng.below(3))
                .map(|n| (format!("q{n}"), query(&mut rng, &values, interface)))
                .collect();
            let text = batch_text(queries.iter().map(|(n, q)| (n.as_str(), q.as_str())));
            let backends = [Backend::Interpreter, Backend::Compiled, Backend::EightCores];
            let bytes = compare(&setup, &catalog, &text, backends[number % 3]);
            read += bytes.0;
            of += bytes.1;
        }
    }
    assert!(3 * read < 2 * of, "much is left out: {read} of {of} bytes are read");
}

/// Whatever is in a carried capture: every address, port, protocol and VLAN that a query finds, a query that asks for it finds by index.
#[test]
fn all_that_queries_find_is_in_summaries() {
    let catalog = Catalog::builtin();
    let scratch = Scratch::new().unwrap();
    let mut asked = 0;
    for (number, path) in carried().iter().enumerate() {
        let copy = scratch.path(&format!("{number}"));
        fs::copy(path, &copy).unwrap();
        // What is compressed or no capture has none.
        if index::build(&copy, 64 << 10, &mut |_| {}).is_err() {
            continue;
        }
        let index = Index::open(&copy).unwrap();
        let entries = index.entries();
        let may_have = |key: index::Key| {
            entries.iter().any(|entry| entry.summary.may_have(key))
                || index.covered().0 > index.covered().1
        };
        let setup =
            Setup { traces: vec![("default".to_owned(), vec![copy.clone()])], ..Setup::default() };
        let found = |text: &str| {
            let compiled = setup.compile(&catalog, text, true).unwrap_or_else(|e| panic!("{e}"));
            let (answers, _) = answers(&compiled, &setup, &RunOptions::default(), false);
            answers.results.into_values().next().unwrap().rows
        };
        let mut expect =
            |rows: Vec<Vec<wt_catalog::Value>>,
             key: fn(&wt_catalog::Value) -> Option<index::Key>| {
                for value in rows.iter().flatten() {
                    let key = key(value).expect("a key");
                    assert!(may_have(key), "{}: {key:?}", path.display());
                    asked += 1;
                }
            };
        let address = |v: &wt_catalog::Value| v.as_addr().map(index::Key::Address);
        let port = |v: &wt_catalog::Value| v.as_u64().map(|n| index::Key::Port(n as u16));
        let protocol = |v: &wt_catalog::Value| v.as_u64().map(|n| index::Key::Protocol(n as u8));
        let vlan = |v: &wt_catalog::Value| v.as_u64().map(|n| index::Key::Vlan(n as u16));
        for header in ["ip", "ip[last]"] {
            expect(found(&format!("SELECT DISTINCT {header}.srcIP AS v FROM ip")), address);
            expect(found(&format!("SELECT DISTINCT {header}.destIP AS v FROM ip")), address);
            expect(found(&format!("SELECT DISTINCT {header}.protocol AS v FROM ip")), protocol);
        }
        for transport in ["tcp", "udp", "sctp"] {
            expect(found(&format!("SELECT DISTINCT srcPort AS v FROM {transport}")), port);
            expect(found(&format!("SELECT DISTINCT destPort AS v FROM {transport}")), port);
        }
        expect(found("SELECT DISTINCT vlan_id AS v FROM vlan"), vlan);
        expect(found("SELECT DISTINCT vlan_inner_id AS v FROM eth"), vlan);
    }
    assert!(asked > 500, "{asked} values");
}

/// A trace of 2 MB in order, a packet a second, and its index.
fn ordered(scratch: &Scratch, name: &str) -> PathBuf {
    let mut rng = Rng::new(7);
    let path = scratch.path(name);
    let packets: Vec<_> =
        (0..2500_u64).map(|n| ((START_S + n) * S, frame(&mut rng, n / 120))).collect();
    write_pcap(&path, &packets);
    path
}

fn by_index_and_not(arguments: &[&str]) -> (Outcome, Outcome) {
    let with = run([arguments, &["--ledger"]].concat()).expect_status(0);
    let without = run([arguments, &["--no-index"]].concat()).expect_status(0);
    assert_eq!(with.stdout, without.stdout, "{arguments:?}");
    (with, without)
}

/// The row of a table of the books.
fn booked(outcome: &Outcome, table: &str, row: &str) -> Vec<u64> {
    let lines = outcome.stderr.lines().skip_while(|line| !line.starts_with(table)).skip(1);
    let mut lines = lines.filter(|line| line.split_whitespace().next() == Some(row));
    let line = lines.next().unwrap_or_else(|| panic!("{}", outcome.stderr));
    line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect()
}

#[test]
fn a_query_reads_what_it_needs_and_the_books_say_so() {
    let scratch = Scratch::new().unwrap();
    let trace = text(&ordered(&scratch, "a.pcap"));
    run(["index", "build", "--index-ratio", "64KiB", &trace]).expect_status(0);
    let second = START_S + 1000;
    let count = format!(
        "SELECT tb, count(*) AS n FROM packet WHERE time >= {second} AND time < {} GROUP BY time/10 AS tb",
        second + 100
    );
    let (with, _) = by_index_and_not(&["query", &count, "-r", &trace]);
    assert_eq!(with.stdout.lines().count(), 11, "{}", with.stdout);
    let index = booked(&with, "index", "default");
    let [records, skipped, _, _, blocks, of_blocks, bytes, of_bytes] = index[..] else {
        panic!("{index:?}");
    };
    assert_eq!(records + skipped, 2500);
    assert!(blocks <= 3 && of_blocks > 20 && 8 * bytes < of_bytes, "{index:?}");
    assert_eq!(booked(&with, "packets", "default")[0], records);
    // EXPLAIN says the same before, `--analyze` behind.
    let explained = run(["explain", &count, "-r", &trace]).expect_status(0).stdout;
    let amounts = format!("{blocks} of {of_blocks} indexed blocks, {bytes} of {of_bytes} bytes");
    assert!(explained.contains(&amounts), "{explained}");
    assert!(explained.contains("by index what may meet time >= "), "{explained}");
    let analyzed = run(["explain", "--analyze", &count, "-r", &trace]).expect_status(0).stdout;
    assert!(analyzed.contains(&format!("read        default: {amounts}")), "{analyzed}");
    let unused = run(["explain", "--no-index", &count, "-r", &trace]).expect_status(0).stdout;
    assert!(!unused.contains("indexed blocks"), "{unused}");
    let all = "SELECT count(*) AS n FROM packet";
    let explained = run(["explain", all, "-r", &trace]).expect_status(0).stdout;
    assert!(explained.contains("everything: no predicate of"), "{explained}");
    // A batch needs what one of its queries does, and a configuration reads by index as well.
    let port = "DEFINE { query_name rare; } SELECT time, srcPort FROM udp WHERE srcPort = 1050";
    let batch = format!("DEFINE {{ query_name counts; }} {count}; {port}");
    let (both, _) = by_index_and_not(&["query", &batch, "-r", &trace, "--format", "ndjson"]);
    let wide = booked(&both, "index", "default");
    assert!(wide[4] > blocks && wide[4] < of_blocks / 2, "{wide:?}");
    let config = scratch.path("batch.toml");
    let source = format!("[[source]]\ntraces = ['{trace}']\n[[query]]\ntext = \"{count}\"\n");
    fs::write(&config, source).unwrap();
    let (configured, _) = by_index_and_not(&["run", &text(&config)]);
    assert_eq!(configured.stdout, with.stdout);
    assert_eq!(booked(&configured, "index", "default"), index);
}

#[test]
fn a_store_is_queried_by_its_segments() {
    let scratch = Scratch::new().unwrap();
    let trace = text(&ordered(&scratch, "a.pcap"));
    let store = text(&scratch.path("store"));
    let arguments = ["record", "-r", &trace, "-w", &store, "--segment-size", "1MiB"];
    run(arguments).expect_status(0);
    let named = format!("edge={store}");
    let second = START_S + 1000;
    let count = format!(
        "SELECT tb, count(*) AS n FROM edge.packet WHERE time >= {second} AND time < {} GROUP BY time/10 AS tb",
        second + 30
    );
    let (bare, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert_eq!(bare.stdout.lines().count(), 4);
    let index = booked(&bare, "index", "edge");
    assert_eq!((index[0] + index[1], index[2], index[3]), (2500, 1, 2), "{index:?}");
    run(["index", "build", "--index-ratio", "64KiB", &store]).expect_status(0);
    let (indexed, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert_eq!(indexed.stdout, bare.stdout);
    let less = booked(&indexed, "index", "edge");
    assert_eq!(less[0] + less[1], 2500);
    assert!(less[6] < index[6] / 4, "{less:?} of {index:?}");
    let explained = run(["explain", &count, "--store", &named]).expect_status(0).stdout;
    assert!(explained.contains("1 of 2 segments, "), "{explained}");
    run(["explain", "--analyze", &count, "--store", &named])
        .expect_status(0)
        .stdout
        .contains("1 of 2 segments")
        .then_some(())
        .expect("it says what was read");
    // An index that is not of its segment is told of, and the answer stays.
    let segments = Store::open(Path::new(&store)).unwrap().segments().unwrap();
    let sidecar = index::path_of(&segments[0].path);
    let mut bytes = fs::read(&sidecar).unwrap();
    bytes[20] ^= 1;
    fs::write(&sidecar, &bytes).unwrap();
    let (damaged, _) = by_index_and_not(&["query", &count, "--store", &named]);
    assert!(damaged.stderr.contains("is not used"), "{}", damaged.stderr);
}

#[test]
fn what_is_wrong_with_an_index_is_said_and_changes_no_row() {
    let scratch = Scratch::new().unwrap();
    let path = ordered(&scratch, "a.pcap");
    let trace = text(&path);
    run(["index", "build", "--index-ratio", "64KiB", &trace]).expect_status(0);
    let good = fs::read(index::path_of(&path)).unwrap();
    let second = START_S + 1500;
    let rows =
        format!("SELECT time, len FROM packet WHERE time >= {second} AND time < {}", second + 9);
    let arguments = ["query", &rows, "-r", &trace];
    let (expected, _) = by_index_and_not(&arguments);
    let answers = |said: &str| {
        let (outcome, _) = by_index_and_not(&arguments);
        assert_eq!(outcome.stdout, expected.stdout, "{said}");
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    };
    // Cut off, of another version, of an earlier state of the trace.
    fs::write(index::path_of(&path), &good[..good.len() / 2 + 7]).unwrap();
    answers("what follows is read as a whole");
    fs::write(index::path_of(&path), &good[1..]).unwrap();
    answers("is no index of this version");
    fs::write(index::path_of(&path), &good).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let later = modified + std::time::Duration::from_secs(9);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    answers("the trace was changed later");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    answers("");
    // Times without packets.
    let early = "SELECT time FROM packet WHERE time < 1000";
    let (none, _) = by_index_and_not(&["query", early, "-r", &trace]);
    assert_eq!(none.stdout, "time\n");
    assert!(none.stderr.contains("has no packet of the time that is asked for"), "{}", none.stderr);
    // No store, no trace.
    let store = format!("s={}", text(&scratch.path("nothing")));
    run(["query", "SELECT time FROM s.packet WHERE time < 5", "--store", &store]).expect_status(2);
    let tests = format!("s={}", text(&wt_tests::tests_dir()));
    run(["query", "SELECT time FROM s.packet WHERE time < 5", "--store", &tests])
        .expect_status(2)
        .expect_said("is no store");
}

/// Damage behind the back of the operating system: where it is wanted, it is met as by a full scan; else what is wanted is found.
#[test]
fn damage_of_a_trace_is_met_where_it_is_read() {
    let scratch = Scratch::new().unwrap();
    let path = ordered(&scratch, "a.pcap");
    index::build(&path, 64 << 10, &mut |_| {}).unwrap();
    let good = fs::read(&path).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let catalog = Catalog::builtin();
    let setup =
        Setup { traces: vec![("default".to_owned(), vec![path.clone()])], ..Setup::default() };
    let second = START_S + 1200;
    let text = format!(
        "SELECT timestamp, len FROM packet WHERE time >= {second} AND time < {}",
        second + 40
    );
    let compiled = setup.compile(&catalog, &text, true).unwrap();
    let options = |backend: Backend| backend.options();
    let (intact, _) = answers(&compiled, &setup, &options(Backend::Compiled), false);
    let mut rng = Rng::new(3);
    let (mut whole, mut differ) = (0, 0);
    let mut records = vec![24];
    while let Some(len) = good.get(records[records.len() - 1] + 8..).and_then(|b| b.first_chunk()) {
        records.push(records[records.len() - 1] + 16 + u32::from_le_bytes(*len) as usize);
    }
    records.pop();
    for round in 0..120 {
        let mut bad = good.clone();
        // In the header of a record, so that it shows.
        let at = *rng.pick(&records) + rng.below(16);
        bad[at] ^= 1 << rng.below(8);
        fs::write(&path, &bad).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let backend = [Backend::Interpreter, Backend::Compiled, Backend::EightCores][round % 3];
        let (scanned, _) = answers(&compiled, &setup, &options(backend), false);
        let (by_index, _) = answers(&compiled, &setup, &options(backend), true);
        let found: Vec<_> = by_index.results.values().map(|answer| &answer.rows).collect();
        let of = |answers: &Answers| answers.results.values().next().unwrap().rows.clone();
        let is_as_scanned = *found[0] == of(&scanned);
        assert!(is_as_scanned || *found[0] == of(&intact), "round {round}, byte {at}");
        whole += usize::from(is_as_scanned);
        differ += usize::from(!is_as_scanned);
    }
    assert!(whole > 20 && differ > 5, "{whole} as scanned, {differ} as if nothing were damaged");
}

/// A segment that another process writes is read as far as it has come.
#[test]
fn a_store_that_is_written_is_read_to_its_mark() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let options = wt_trace::record::RecordOptions::default();
    let (own, _) = wt_trace::store::OwnStore::open(&dir, 64 << 10).unwrap();
    let own = std::sync::Arc::new(own);
    let (mut feed, writer) = wt_trace::record::start(&own, 0, &options).unwrap();
    let interface = wt_trace::record::Interface {
        name: Some("eth0".into()),
        link_type: LinkType(1),
        snap_len: 0,
    };
    let number = feed.interface(&interface);
    let mut rng = Rng::new(5);
    for (at, data) in packets(&mut rng, 500) {
        let record = wt_wire::RecordRef {
            timestamp_ns: at,
            at: 0,
            caplen: data.len() as u32,
            len: data.len() as u32,
            direction: Direction::Unknown,
        };
        feed.packets(number, &data, &[record]);
    }
    let setup = Setup { traces: vec![("a".to_owned(), vec![dir.clone()])], ..Setup::default() };
    let text = format!("SELECT timestamp, len FROM a.packet WHERE time < {}", START_S + 30);
    let mut read = 0;
    for _ in 0..200 {
        feed.tick(None);
        let compiled = setup.compile(&Catalog::builtin(), &text, true).unwrap();
        let (now, _) = answers(&compiled, &setup, &RunOptions::default(), true);
        read = now.report.ledger.records();
        if read > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(read > 0, "the mark has moved");
    feed.finish();
    assert!(writer.join().failure.is_none());
    compare(&setup, &Catalog::builtin(), &text, Backend::Compiled);
}
