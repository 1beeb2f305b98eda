//! Damage where it is read, and stores that are being written.

use std::fs;

use wt_catalog::Catalog;
use wt_engine::RunOptions;
use wt_tests::answers::Answers;
use wt_tests::corpus::Scratch;
use wt_tests::rng::Rng;
use wt_tests::run::{Backend, Setup};
use wt_trace::index;
use wt_wire::{Direction, LinkType};

use crate::compared::{answers, compare};
use crate::made::{START_S, ordered, packets};

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
