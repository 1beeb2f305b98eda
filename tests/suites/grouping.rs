//! Grouping against a model that keeps everything: small tables that eject, windows that close, sessions that end, tuples
//! that come late.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use wt_catalog::{Catalog, Value};
use wt_plan::Compiled;
use wt_plan::ir::{LftaAction, VALUE_GROUPS_MAX};
use wt_tests::answers::{Answers, Ending, ValueSink, run_bytes};
use wt_tests::corpus::Scratch;
use wt_tests::run::{BACKENDS, Backend, Setup};
use wt_tests::synthetic::{Datagram, capture};

/// What varies of the query.
#[derive(Clone, Debug)]
struct Shape {
    slots: u32,
    window_s: u64,
    /// Windows that stay open behind the newest.
    tolerance: u64,
    len_above: u64,
    count_above: u64,
    /// Aggregates to which repeats do not matter.
    of_values: usize,
}

/// By name: what it gives.
const OF_VALUES: [&str; 4] = [
    "count(DISTINCT ttl) AS ttls",
    "count_distinct(ttl) AS about",
    "count(DISTINCT len) AS lens",
    "count(DISTINCT ttl % 16) AS rests",
];

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop::sample::select(vec![1_u32, 2, 4, 16, 64, 1024, 4096]),
        prop::sample::select(vec![1_u64, 3, 10]),
        0_u64..3,
        prop::sample::select(vec![0_u64, 60, 90]),
        0_u64..3,
        0..=OF_VALUES.len(),
    )
        .prop_map(|(slots, window_s, tolerance, len_above, count_above, of_values)| Shape {
            slots,
            window_s,
            tolerance,
            len_above,
            count_above,
            of_values,
        })
}

/// Datagrams whose clock mostly goes forward, sometimes stands, sometimes steps back.
fn datagrams() -> impl Strategy<Value = Vec<Datagram>> {
    let step = prop_oneof![
        6 => 0_i64..400_000_000,
        1 => 1_000_000_000_i64..30_000_000_000,
        1 => -12_000_000_000_i64..0,
    ];
    let one = (step, 0_u8..6, 0_u16..4, 1_u8..=255, 0_u16..80);
    prop::collection::vec(one, 0..120).prop_map(|steps| {
        let mut clock = 1_000_000_000_000_i64;
        let mut made = Vec::new();
        for (step, source, port, ttl, payload) in steps {
            clock += step;
            made.push(Datagram {
                timestamp_ns: clock as u64,
                source: Ipv4Addr::new(10, 0, 0, source),
                port: 5000 + port,
                ttl,
                payload,
            });
        }
        made
    })
}

fn text_of(shape: &Shape) -> String {
    let Shape { slots, window_s, tolerance, len_above, count_above, of_values } = shape;
    // Both levels keep as many windows open: it does not matter which judges.
    let epochs = tolerance + 1;
    let more: String = OF_VALUES[..*of_values].iter().map(|call| format!(", {call}")).collect();
    format!(
        "DEFINE {{ query_name grouped; aggregate_slots {slots}; max_lfta_disorder {epochs}; max_hfta_disorder {epochs}; }}\n\
         SELECT tb, srcIP, destPort, count(*) AS n, sum(len) AS bytes, min(ttl) AS low, max(ttl) AS high, \
         AND_AGGR(ttl) AS every, OR_AGGR(ttl) AS some, XOR_AGGR(ttl) AS odd, avg(len) AS mean{more} \
         FROM udp WHERE len > {len_above} GROUP BY time/{window_s} AS tb, srcIP, destPort HAVING count(*) > {count_above}",
    )
}

/// A group of the model.
#[derive(Clone, Debug)]
struct Group {
    window: u64,
    source: Ipv4Addr,
    port: u16,
    lens: Vec<u64>,
    ttls: Vec<u64>,
}

/// Rows and late tuples by the definition of gsql.md §11, everything in memory.
fn model(shape: &Shape, datagrams: &[Datagram]) -> (Vec<Vec<Value>>, u64) {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<(u64, Ipv4Addr, u16), usize> = HashMap::new();
    let mut frontier = 0;
    let mut late = 0;
    for datagram in datagrams {
        if datagram.wire_len() <= shape.len_above {
            continue;
        }
        let window = datagram.timestamp_ns / 1_000_000_000 / shape.window_s;
        if window + shape.tolerance < frontier {
            late += 1;
            continue;
        }
        frontier = frontier.max(window);
        let key = (window, datagram.source, datagram.port);
        let at = *index.entry(key).or_insert_with(|| {
            groups.push(Group {
                window,
                source: datagram.source,
                port: datagram.port,
                lens: Vec::new(),
                ttls: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].lens.push(datagram.wire_len());
        groups[at].ttls.push(u64::from(datagram.ttl));
    }
    // Windows in order; within one, groups in the order of their first packet.
    groups.sort_by_key(|group| group.window);
    let rows = groups
        .iter()
        .filter(|group| group.lens.len() as u64 > shape.count_above)
        .map(|group| row(group, shape.of_values))
        .collect();
    (rows, late)
}

fn row(group: &Group, of_values: usize) -> Vec<Value> {
    let n = group.lens.len() as u64;
    let bytes: u64 = group.lens.iter().sum();
    let fold = |f: fn(u64, u64) -> u64| {
        Value::Uint(group.ttls.iter().copied().reduce(f).unwrap_or_default())
    };
    let different = |values: &[u64], of: fn(u64) -> u64| {
        let values: HashSet<u64> = values.iter().map(|value| of(*value)).collect();
        Value::Uint(values.len() as u64)
    };
    let ttls = different(&group.ttls, |ttl| ttl);
    let (lens, rests) = (different(&group.lens, |len| len), different(&group.ttls, |ttl| ttl % 16));
    let mut row = vec![
        Value::Uint(group.window),
        Value::Inet(group.source.into()),
        Value::Uint(u64::from(group.port)),
        Value::Int(n as i64),
        Value::Uint(bytes),
        fold(u64::min),
        fold(u64::max),
        fold(|a, b| a & b),
        fold(|a, b| a | b),
        fold(|a, b| a ^ b),
        Value::Float(bytes as f64 / n as f64),
    ];
    // The estimate is exact for so few.
    row.extend([ttls.clone(), ttls, lens, rests].into_iter().take(of_values));
    row
}

/// Values as numbers and addresses, so that the width that a count is stored in does not matter.
fn plain(rows: &[Vec<Value>]) -> Vec<Vec<String>> {
    let text = |value: &Value| match (value.as_addr(), value) {
        (Some(address), _) => address.to_string(),
        (None, Value::Float(x)) => format!("{x:?}"),
        (None, other) => other.as_i128().map_or_else(|| format!("{other:?}"), |n| n.to_string()),
    };
    rows.iter().map(|row| row.iter().map(text).collect()).collect()
}

/// What a query answers over datagrams, the books checked.
fn answers(text: &str, datagrams: &[Datagram]) -> Result<Answers, TestCaseError> {
    let compiled =
        Setup::default().compile(&Catalog::builtin(), text, true).map_err(TestCaseError::fail)?;
    let ending = run_bytes(&compiled.physical, "made", capture(datagrams));
    let Ending::Answered(answers) = ending else {
        return Err(TestCaseError::fail(format!("{ending:?}")));
    };
    answers.report.ledger.check().map_err(|e| TestCaseError::fail(e.to_string()))?;
    Ok(*answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn grouping_is_as_the_model_says(shape in shape(), datagrams in datagrams()) {
        let text = text_of(&shape);
        let answers = answers(&text, &datagrams)?;
        let (rows, late) = model(&shape, &datagrams);
        prop_assert_eq!(plain(answers.rows("grouped")), plain(&rows));
        prop_assert_eq!(answers.report.ledger.late(), late);
    }
}

/// A session of the model: its key, and the ordinals and times of its datagrams.
#[derive(Clone, Debug)]
struct Session {
    source: Ipv4Addr,
    datagrams: Vec<(usize, u64)>,
}

impl Session {
    fn last(&self) -> u64 {
        self.datagrams.iter().map(|d| d.1).max().unwrap_or_default()
    }
}

/// Sessions as they end, and late datagrams, by the rule: the clock is the greatest time so far.
fn sessions(gap_ns: u64, datagrams: &[Datagram]) -> (Vec<Session>, u64) {
    let (mut open, mut over): (Vec<Session>, Vec<Session>) = (Vec::new(), Vec::new());
    let (mut clock, mut late) = (0, 0);
    for (i, &Datagram { timestamp_ns, source, .. }) in datagrams.iter().enumerate() {
        if timestamp_ns + gap_ns < clock {
            late += 1;
            continue;
        }
        clock = clock.max(timestamp_ns);
        over.extend(open.extract_if(.., |session| session.last() + gap_ns < clock));
        match open.iter_mut().find(|session| session.source == source) {
            Some(session) => session.datagrams.push((i, timestamp_ns)),
            None => open.push(Session { source, datagrams: vec![(i, timestamp_ns)] }),
        }
    }
    over.extend(open);
    over.sort_by_key(|session| (session.last(), session.datagrams[0].0));
    (over, late)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_are_as_the_model_says(
        gap_ms in prop::sample::select(vec![1_u64, 200, 2000, 20_000]),
        len_above in prop::sample::select(vec![0_u64, 60, 90]),
        datagrams in datagrams(),
    ) {
        let text = format!(
            "DEFINE {{ query_name sessions; }}\n\
             SELECT srcIP, count(*) AS n, max(timestamp) AS ended, sum(len) AS bytes, count(DISTINCT destPort) AS ports \
             FROM udp WHERE len > {len_above} GROUP BY SESSION({gap_ms}ms), srcIP"
        );
        let answers = answers(&text, &datagrams)?;
        let wanted: Vec<Datagram> =
            datagrams.into_iter().filter(|datagram| datagram.wire_len() > len_above).collect();
        let (sessions, late) = sessions(gap_ms * 1_000_000, &wanted);
        let row = |session: &Session| {
            let of = session.datagrams.iter().map(|&(i, _)| &wanted[i]);
            let ports: HashSet<u16> = of.clone().map(|datagram| datagram.port).collect();
            vec![
                Value::Inet(session.source.into()),
                Value::Uint(session.datagrams.len() as u64),
                Value::Uint(session.last()),
                Value::Uint(of.map(Datagram::wire_len).sum()),
                Value::Uint(ports.len() as u64),
            ]
        };
        let rows: Vec<Vec<Value>> = sessions.iter().map(row).collect();
        prop_assert_eq!(plain(answers.rows("sessions")), plain(&rows));
        prop_assert_eq!(answers.report.ledger.late(), late);
    }
}

/// The property would be true of nothing if no group ever left the table early.
#[test]
fn a_small_table_ejects() {
    let shape =
        Shape { slots: 1, window_s: 10, tolerance: 0, len_above: 0, count_above: 0, of_values: 0 };
    let datagram = |i: u64| Datagram {
        timestamp_ns: 1_000_000_000_000 + i,
        source: Ipv4Addr::new(10, 0, 0, (i % 5) as u8),
        port: 5000,
        ttl: 64,
        payload: 0,
    };
    let datagrams: Vec<Datagram> = (0..50).map(datagram).collect();
    let compiled =
        Setup::default().compile(&Catalog::builtin(), &text_of(&shape), true).expect("a plan");
    let Ending::Answered(answers) = run_bytes(&compiled.physical, "made", capture(&datagrams))
    else {
        panic!("no answer");
    };
    let ejected: u64 = answers.report.ledger.queries.iter().map(|q| q.tuples.ejected).sum();
    assert!(ejected > 10, "{ejected} groups were ejected");
    assert_eq!(answers.rows("grouped").len(), 5);
}

/// Whether an LFTA of a plan has a group for each value.
fn groups_by_value(compiled: &Compiled) -> bool {
    let programs = compiled.physical.interfaces.iter().map(|interface| &interface.program);
    programs
        .flat_map(|program| &program.queries)
        .any(|query| matches!(query.action, LftaAction::Aggregate { values, .. } if values > 0))
}

/// Every backend answers the same whether repeats end in the LFTA or all tuples reach the HFTA.
#[test]
fn groups_by_value_are_those_of_all_tuples() {
    let setup = Setup::of_captures(&["eth0.pcap"]);
    let catalog = Catalog::builtin();
    for text in [
        "SELECT tb, srcIP, sum(len) AS bytes, count(*) AS n, count_distinct(destIP) AS peers FROM ip GROUP BY time/60 AS tb, srcIP",
        "SELECT tb, count_distinct(srcIP) AS hosts FROM ip GROUP BY time/60 AS tb",
        "SELECT tb, count(DISTINCT srcIP) AS hosts, avg(len) AS mean FROM ip WHERE ttl > 5 GROUP BY time/60 AS tb HAVING count(DISTINCT srcIP) > 1",
        "SELECT count(DISTINCT srcPort) AS exact, count_distinct(srcPort) AS about, count_distinct(destIP) AS hosts FROM tcp",
        "SELECT count(DISTINCT srcPort) AS none, count(*) AS n FROM tcp WHERE ttl > 255",
        "SELECT tb, srcIP, destPort, count_distinct(len) AS lens, max(ttl) AS high FROM tcp GROUP BY time/60 AS tb, CUBE(srcIP, destPort)",
        "SELECT tb, srcIP, destPort, count(DISTINCT destIP) AS peers, sum(len) AS bytes FROM udp GROUP BY time/60 AS tb, ROLLUP(srcIP, destPort)",
        "SELECT tb, srcIP, protocol, count(DISTINCT destIP) AS peers FROM ip GROUP BY time/60 AS tb, GROUPING_SETS((srcIP), (protocol), (srcIP, protocol))",
        "SELECT tb, srcIP, count(DISTINCT srcIP) AS one FROM ip GROUP BY time/60 AS tb, srcIP",
        "SELECT IPVersion, count(DISTINCT destIP) AS peers, count(DISTINCT ack_flag) AS flags FROM tcp GROUP BY IPVersion",
        "SELECT tb, count(DISTINCT srcPort / (destPort % 3)) AS some FROM udp GROUP BY time/60 AS tb",
        "SELECT tb, sum(len * 0.5) AS half, count(DISTINCT protocol) AS protocols FROM ip GROUP BY time/60 AS tb",
    ] {
        let by_value = setup.compile(&catalog, text, true).expect(text);
        let selected = format!("DEFINE {{ select_lfta yes; }} {text}");
        let all = setup.compile(&catalog, &selected, true).expect(text);
        assert!(groups_by_value(&by_value) && !groups_by_value(&all), "{text}");
        let rows = |compiled: &Compiled, backend: Backend| {
            let mut sink = ValueSink::new(&compiled.physical);
            let report = setup.run(compiled, backend, &mut sink).expect(text);
            assert_eq!(report.ledger.check(), Ok(()), "{text} on {}", backend.name());
            let answers = sink.into_answers(&compiled.physical, report);
            answers.results.values().map(|answer| plain(&answer.rows)).collect::<Vec<_>>()
        };
        let expected = rows(&all, Backend::Interpreter);
        assert!(expected.iter().all(|rows| !rows.is_empty()), "{text}");
        for backend in BACKENDS {
            assert_eq!(rows(&by_value, *backend), expected, "{text} on {}", backend.name());
        }
    }
}

/// A table that would grow is emptied where there are too many values for it, and what they come to is the same.
#[test]
fn a_table_of_too_many_values_is_emptied() {
    let sources = VALUE_GROUPS_MAX + 4321;
    let datagram = |i: u32| Datagram {
        timestamp_ns: 1_000_000_000_000 + u64::from(i),
        source: Ipv4Addr::from(0x0a00_0000 + i % sources),
        port: 5000,
        ttl: 64,
        payload: 0,
    };
    let datagrams: Vec<Datagram> = (0..3 * sources).map(datagram).collect();
    let scratch = Scratch::new().expect("a folder");
    let file = scratch.path("sources.pcap");
    std::fs::write(&file, capture(&datagrams)).expect("written");
    let setup = Setup { traces: vec![("default".to_owned(), vec![file])], ..Setup::default() };
    let text = "SELECT tb, count(*) AS n, count(DISTINCT srcIP) AS sources FROM udp GROUP BY time/60 AS tb";
    let compiled = setup.compile(&Catalog::builtin(), text, true).expect(text);
    for backend in [Backend::Interpreter, Backend::Compiled, Backend::TwoCores] {
        let mut sink = ValueSink::new(&compiled.physical);
        let report = setup.run(&compiled, backend, &mut sink).expect("runs");
        assert_eq!(report.ledger.check(), Ok(()));
        let tuples = report.ledger.queries[0].tuples;
        assert!(tuples.ejected >= u64::from(VALUE_GROUPS_MAX), "{}: {tuples:?}", backend.name());
        let answers = sink.into_answers(&compiled.physical, report);
        let rows: Vec<_> = answers.results.values().map(|answer| plain(&answer.rows)).collect();
        let row = [16, 3 * u64::from(sources), u64::from(sources)].map(|n| n.to_string());
        assert_eq!(rows, [[row]], "{}", backend.name());
    }
}

/// HAVING, outputs and selections over more groups than are interpreted: code computes the same.
#[test]
fn what_is_made_of_many_groups_is_the_same() {
    let datagram = |i: u32| Datagram {
        timestamp_ns: 1_000_000_000_000 + u64::from(i) * 2_000_000,
        source: Ipv4Addr::from(0x0a00_0000 + (i * 7) % 9_001),
        port: (i % 3) as u16,
        ttl: (i % 5) as u8,
        payload: (i % 11) as u16,
    };
    let datagrams: Vec<Datagram> = (0..40_000).map(datagram).collect();
    let scratch = Scratch::new().expect("a folder");
    let file = scratch.path("groups.pcap");
    std::fs::write(&file, capture(&datagrams)).expect("written");
    let setup = Setup { traces: vec![("default".to_owned(), vec![file])], ..Setup::default() };
    let flows = "(SELECT tb, srcIP, destPort, count(*) AS n, sum(len) AS bytes, max(ttl) AS high \
                 FROM udp GROUP BY time/40 AS tb, srcIP, destPort) AS flow";
    for text in [
        "SELECT srcIP, destPort, count(*) AS n, sum(len) / count(*) AS mean FROM udp \
         GROUP BY srcIP, destPort HAVING count(*) > 1 AND sum(len) % 3 = 1"
            .to_owned(),
        "SELECT tb, srcIP, sum(len) * 8 AS bits, 100 / min(ttl) AS share FROM udp \
         GROUP BY time/40 AS tb, srcIP HAVING max(ttl) >= 2"
            .to_owned(),
        format!(
            "SELECT tb, srcIP, n, bytes / high AS share, tb * 40 AS begin FROM {flows} WHERE bytes > 40 AND destPort <> 2"
        ),
        format!(
            "SELECT tb, srcIP, count(*) AS ports, sum(bytes) AS bytes, min(n) AS least, max(high + 1) AS top \
             FROM {flows} WHERE bytes > 40 GROUP BY tb, srcIP HAVING count(*) > 1 OR sum(n) > 1"
        ),
        format!(
            "SELECT srcIP, high, avg(bytes) AS mean, count(*) AS flows FROM {flows} GROUP BY srcIP, high"
        ),
        format!(
            "SELECT tb, srcIP FROM {flows} WHERE srcIP = '10.0.3.7' OR srcIP IN ['10.0.1.0/24', '10.0.4.0/24'] OR bytes / (n + 1) > 22"
        ),
    ] {
        let compiled = setup.compile(&Catalog::builtin(), &text, true).expect(&text);
        let run = |backend: Backend| {
            let mut sink = ValueSink::new(&compiled.physical);
            let report = setup.run(&compiled, backend, &mut sink).expect("runs");
            assert_eq!(report.ledger.check(), Ok(()), "{text}");
            let answers = sink.into_answers(&compiled.physical, report);
            answers.results.values().map(|answer| plain(&answer.rows)).collect::<Vec<_>>()
        };
        let expected = run(Backend::Interpreter);
        assert!(expected.iter().all(|rows| rows.len() > 100), "{text}");
        for backend in [Backend::Compiled, Backend::TwoCores] {
            assert_eq!(run(backend), expected, "{text} on {}", backend.name());
        }
    }
}
