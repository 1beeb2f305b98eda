//! One file on several cores: the rows and the books are those of one core, whatever the file holds and wherever it is cut.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use wt_catalog::Catalog;
use wt_engine::{Backend, Captures, Progress, RunEnd, RunOptions, Source};
use wt_plan::Compiled;
use wt_tests::answers::{Answers, ValueSink, batch_text};
use wt_tests::corpus::{Scratch, carried};
use wt_tests::run::Setup;
use wt_trace::{Opened, TraceFile};
use wt_wire::{ByteOrder, LinkType, PcapVariant, PcapWriter};

const QUERIES: [(&str, &str); 5] = [
    (
        "totals",
        "SELECT count(*) AS n, sum(len) AS bytes, min(caplen) AS least, max(len) AS most FROM packet",
    ),
    (
        "flows",
        "SELECT tb, srcIP, destIP, protocol, count(*) AS n, sum(len) AS bytes FROM ip GROUP BY time/2 AS tb, srcIP, destIP, protocol",
    ),
    (
        "values",
        "SELECT tb, interface, avg(len) AS mean FROM packet GROUP BY time/3 AS tb, interface",
    ),
    (
        "peers",
        "SELECT tb, srcIP, count_distinct(destIP) AS peers, count(*) AS n FROM ip GROUP BY time/3 AS tb, srcIP",
    ),
    ("rows", "SELECT time, srcIP, ttl FROM ip WHERE ttl > 1"),
];

/// Time of generated captures.
const START_NS: u64 = 1_700_000_000_000_000_000;

fn plan() -> Compiled {
    let text = batch_text(QUERIES);
    Setup::default().compile(&Catalog::builtin(), &text, true).expect("queries compile")
}

/// What a file answers; nothing when it is no plain one.
fn answers(plan: &Compiled, file: &Path, options: &RunOptions<'_>) -> Option<Answers> {
    let Ok(Opened::Plain(trace)) = TraceFile::open(file) else { return None };
    let source = Source { interface: "default".to_owned(), captures: Captures::Plain(trace) };
    let mut sink = ValueSink::new(&plan.physical);
    let report = wt_engine::run(&plan.physical, vec![source], options, &mut sink).expect("runs");
    assert_eq!(report.ledger.check(), Ok(()), "{}", file.display());
    assert_eq!(report.not_compiled, []);
    Some(sink.into_answers(&plan.physical, report))
}

fn on(cores: usize, range_bytes: u64) -> RunOptions<'static> {
    let range_bytes = (cores > 1).then_some(range_bytes);
    RunOptions { backend: Backend::Tiered, cores, range_bytes, ..RunOptions::default() }
}

/// Compares runs on several cores with the one on one core, and says how many packets there were.
fn compare(plan: &Compiled, file: &Path) -> u64 {
    let Some(one) = answers(plan, file, &on(1, 0)) else { return 0 };
    for (cores, range_bytes) in [(2, 100), (2, 5_000), (3, 1_000), (5, 30_000), (7, 1 << 30)] {
        let several = answers(plan, file, &on(cores, range_bytes)).expect("a plain file");
        let what = format!("{} on {cores} cores, ranges of {range_bytes} bytes", file.display());
        for (name, answer) in &one.results {
            assert_eq!(several.rows(name), answer.rows, "{name} of {what}");
        }
        assert_eq!(several.report.ledger, one.report.ledger, "{what}");
        assert_eq!(several.report.end, RunEnd::Complete);
    }
    one.report.ledger.records()
}

#[test]
fn every_carried_capture_answers_the_same() {
    let plan = plan();
    let packets: u64 = carried().iter().map(|file| compare(&plan, file)).sum();
    assert!(packets > 10_000, "{packets} packets");
}

/// A capture of `count` packets.
fn pcap(count: u64, packet: impl Fn(u64) -> (u64, Vec<u8>)) -> Vec<u8> {
    let (nano, order) = (PcapVariant::Nano, ByteOrder::Little);
    let mut writer =
        PcapWriter::new(Vec::new(), nano, order, LinkType(1), 65_535).expect("written");
    for number in 0..count {
        let (after_ns, data) = packet(number);
        writer.write(START_NS + after_ns, data.len() as u32, &data).expect("written");
    }
    writer.into_inner()
}

/// An IPv4 packet of an experimental protocol.
fn packet(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    data.extend((20 + payload.len() as u16).to_be_bytes());
    data.extend([0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, (number % 7) as u8, 10, 0, 1, 1]);
    data.extend(payload);
    data
}

/// A range may hold as many windows as packets, which one core never has open at a time.
#[test]
fn a_window_per_packet_takes_little_memory() {
    let text = "SELECT timestamp, srcIP, count(*) AS n FROM ip GROUP BY timestamp, srcIP";
    let text = batch_text([("sparse", text)]);
    let plan = Setup::default().compile(&Catalog::builtin(), &text, true).expect("compiles");
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("sparse.pcap");
    let sparse = pcap(20_000, |number| (number * 60_000_000_000, packet(number, &[])));
    std::fs::write(&path, sparse).expect("written");
    let limited = |cores| RunOptions { memory_bytes_max: Some(1 << 20), ..on(cores, 128 << 10) };
    let (one, four) = (answers(&plan, &path, &limited(1)), answers(&plan, &path, &limited(4)));
    let (one, four) = (one.expect("a plain file"), four.expect("a plain file"));
    assert_eq!(one.rows("sparse").len(), 20_000);
    assert_eq!(one.rows("sparse"), four.rows("sparse"));
}

/// A capture whose packets carry captures, so that records seem to begin where none does; its times step back now and then.
#[test]
fn what_only_looks_like_a_record_is_found_out() {
    let plan = plan();
    let scratch = Scratch::new().expect("a folder");
    let after_ns = |number: u64| 5_000_000_000 + number * 300_000_000 - (number % 5) * 700_000_000;
    let inner = pcap(40, |number| (after_ns(number), packet(number, &[7; 20])));
    let outer = pcap(60, |number| (after_ns(number), packet(number, &inner[24..])));
    let path = scratch.path("nested.pcap");
    std::fs::write(&path, &outer).expect("written");
    assert_eq!(compare(&plan, &path), 60);
    let Ok(Opened::Plain(trace)) = TraceFile::open(&path) else { panic!("a plain file") };
    let guessed = trace.split(50);
    let real: Vec<u64> = {
        let mut at = 24u64;
        let mut starts = Vec::new();
        while at < outer.len() as u64 {
            starts.push(at);
            let caplen = &outer[at as usize + 8..at as usize + 12];
            at += 16 + u64::from(u32::from_le_bytes(caplen.try_into().expect("four bytes")));
        }
        starts
    };
    let wrong = guessed.iter().filter(|range| !real.contains(&range.start)).count();
    assert!(wrong > 20, "only {wrong} of {} guesses were wrong", guessed.len());

    // Cut off and broken in the middle: what precedes it counts, once.
    let middle = real[30] as usize;
    let mut broken = outer.clone();
    broken[middle + 8..middle + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(&path, &broken).expect("written");
    assert_eq!(compare(&plan, &path), 30);
    std::fs::write(&path, &outer[..middle + 40]).expect("written");
    assert_eq!(compare(&plan, &path), 30);
}

#[test]
fn a_run_on_several_cores_can_be_cancelled() {
    let plan = plan();
    let file = wt_tests::capture("eth0.pcap");
    let cancel = AtomicBool::new(false);
    let progress = |progress: &Progress| {
        assert!(progress.bytes_total.is_some_and(|total| progress.bytes_read <= total));
        cancel.store(true, Ordering::Relaxed);
    };
    let options = RunOptions { progress: Some(&progress), cancel: Some(&cancel), ..on(4, 5_000) };
    let cancelled = answers(&plan, &file, &options).expect("a plain file");
    assert_eq!(cancelled.report.end, RunEnd::Cancelled);
    let records = cancelled.report.ledger.records();
    assert!(records > 0 && records < 1_000, "{records} records");
    assert_eq!(cancelled.numbers("totals")[0], records);
}
