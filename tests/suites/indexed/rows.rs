//! Rows do not depend on indices, nor does what is found.

use std::fs;
use std::path::PathBuf;

use wt_catalog::Catalog;
use wt_engine::RunOptions;
use wt_tests::answers::batch_text;
use wt_tests::corpus::{Scratch, carried};
use wt_tests::rng::Rng;
use wt_tests::run::{Backend, Setup};
use wt_trace::index::{self, Index};

use crate::compared::{answers, compare};
use crate::made::make;
use crate::queries::{query, values};

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
