//! One file or store on several cores: the rows and the books are those of one core, whatever it holds and wherever it is cut.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wt_catalog::Catalog;
use wt_engine::{Backend, Capture, Captures, Progress, RunEnd, RunOptions, Source};
use wt_plan::Compiled;
use wt_tests::answers::{Answers, ValueSink, batch_text};
use wt_tests::corpus::{Scratch, carried};
use wt_tests::program;
use wt_tests::run::Setup;
use wt_trace::record::{self, Interface, RecordOptions};
use wt_trace::store::{Finding, OwnStore, Store};
use wt_trace::{MapFile, Opened, TraceFile, Tuning};
use wt_wire::{
    ByteOrder, CaptureReader, Direction, LinkType, PcapNgWriter, PcapVariant, PcapWriter,
    RecordRef, TimeResolution,
};

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

/// What threads keep until all is read: nothing is sent before, and nothing is closed.
const KEPT: [(&str, &str); 3] = [
    (
        "totals",
        "SELECT count(*) AS n, sum(len) AS bytes, min(timestamp) AS first, max(len) AS most FROM packet",
    ),
    (
        "flows",
        "SELECT srcIP, destIP, protocol, count(*) AS n, sum(len) AS bytes, min(ttl) AS ttl FROM ip GROUP BY srcIP, destIP, protocol",
    ),
    ("sizes", "SELECT len, count(*) AS n, max(timestamp) AS last FROM packet GROUP BY len"),
];

/// What packets may come to in any order: totals, and groups and tuples that are only added up.
const ADDED_UP: [(&str, &str); 5] = [
    KEPT[0],
    ("web", "SELECT count(*) AS n, sum(len) AS bytes FROM tcp WHERE srcPort = 80 OR destPort = 80"),
    (
        "flows",
        "SELECT count(*) AS flows, sum(n) AS n, max(bytes) AS most FROM \
         (SELECT srcIP, destIP, count(*) AS n, sum(len) AS bytes FROM ip GROUP BY srcIP, destIP) AS flow",
    ),
    (
        "http",
        "SELECT count(*) AS n, sum(len) AS bytes, max(timestamp) AS last FROM tcp \
         WHERE (srcPort = 80 OR destPort = 80) AND str_regex_match[data, '^[^\\n]*HTTP/1.*']",
    ),
    ("failing", "SELECT count(*) AS n, xor_aggr(ttl) AS bits FROM ip WHERE 1000 / (ttl - 64) < 20"),
];

/// Time of generated captures.
const START_NS: u64 = 1_700_000_000_000_000_000;

fn compiled(text: &str) -> Compiled {
    Setup::default().compile(&Catalog::builtin(), text, true).expect("queries compile")
}

fn plan() -> Compiled {
    compiled(&batch_text(QUERIES))
}

fn plans() -> [Compiled; 2] {
    [plan(), compiled(&batch_text(KEPT))]
}

/// What a file answers; nothing when it is no plain one.
fn answers(plan: &Compiled, file: &Path, options: &RunOptions<'_>) -> Option<Answers> {
    tuned_answers(plan, file, options, Tuning::default())
}

fn tuned_answers(
    plan: &Compiled,
    file: &Path,
    options: &RunOptions<'_>,
    tuning: Tuning,
) -> Option<Answers> {
    let Ok(Opened::Plain(trace)) = TraceFile::open(file) else { return None };
    Some(answers_of(plan, trace.tuned(tuning), options))
}

fn answers_of(plan: &Compiled, trace: TraceFile, options: &RunOptions<'_>) -> Answers {
    let name = trace.name().to_owned();
    let source = Source { interface: "default".to_owned(), captures: Capture::Plain(trace).into() };
    let mut sink = ValueSink::new(&plan.physical);
    let report = wt_engine::run(&plan.physical, vec![source], options, &mut sink).expect("runs");
    assert_eq!(report.ledger.check(), Ok(()), "{name}");
    assert_eq!(report.not_compiled, []);
    sink.into_answers(&plan.physical, report)
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

/// Compares runs that take packets in any order with one that takes them in that of the file; how many there were.
fn compare_added_up(file: &Path) -> u64 {
    let mut packets = 0;
    // Totals are kept by threads, and groups, which cannot be taken back; what tuples come to is folded range by range.
    for queries in [&ADDED_UP[..2], &ADDED_UP[..3], &ADDED_UP] {
        let plan = compiled(&batch_text(queries.iter().copied()));
        let Some(one) = answers(&plan, file, &on(1, 0)) else { return 0 };
        packets = one.report.ledger.records();
        let ways =
            [(1, 20_000, 4, 500), (1, 1 << 30, 16, 3000), (2, 5_000, 2, 300), (3, 40_000, 7, 2000)];
        for (cores, range_bytes, chains, segment_len) in ways {
            let tuning = Tuning { map: MapFile::Always, chains, segment_len, ..Tuning::default() };
            let options = RunOptions { range_bytes: Some(range_bytes), ..on(cores, range_bytes) };
            let several = tuned_answers(&plan, file, &options, tuning).expect("a plain file");
            let what = format!("{} by {chains} chains on {cores} cores", file.display());
            for (name, answer) in &one.results {
                assert_eq!(several.rows(name), answer.rows, "{name} of {what}");
            }
            assert_eq!(several.report.ledger, one.report.ledger, "{what}");
        }
    }
    packets
}

#[test]
fn what_is_added_up_is_the_same_in_any_order() {
    let packets: u64 = carried().iter().map(|file| compare_added_up(file)).sum();
    assert!(packets > 10_000, "{packets} packets");
}

#[test]
fn every_carried_capture_answers_the_same() {
    for plan in plans() {
        let packets: u64 = carried().iter().map(|file| compare(&plan, file)).sum();
        assert!(packets > 10_000, "{packets} packets");
    }
}

/// The packets of a capture in blocks of pcapng, those behind half of them from an interface that is described there if `several`; nothing
/// where it is damaged or of several link types.
fn as_blocks(file: &Path, several: bool) -> Option<Vec<u8>> {
    let mut reader = CaptureReader::open(file).ok()?;
    let mut packets = Vec::new();
    while let Some(record) = reader.next().ok()? {
        packets.push((record.timestamp_ns, record.len, record.link_type, record.data.to_vec()));
    }
    let link_type = packets.first()?.2;
    let is_one = packets.iter().all(|packet| packet.2 == link_type);
    let mut writer = PcapNgWriter::new(Vec::new(), ByteOrder::Little).expect("written");
    let mut interface = 0;
    for (number, (timestamp_ns, len, _, data)) in packets.iter().enumerate() {
        if number == 0 || several && number == packets.len() / 2 {
            let added = writer.interface(None, link_type, 0, TimeResolution::NANO);
            interface = added.expect("written");
        }
        let direction = Direction::Unknown;
        writer.write(interface, *timestamp_ns, *len, direction, data).expect("written");
    }
    is_one.then(|| writer.into_inner())
}

#[test]
fn blocks_answer_as_records_do() {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("blocks.pcapng");
    let [_, plan] = plans();
    let mut packets = 0;
    for file in carried() {
        for several in [false, true] {
            let Some(blocks) = as_blocks(&file, several) else { continue };
            std::fs::write(&path, blocks).expect("written");
            let Some(records) = answers(&plan, &file, &on(1, 0)) else { continue };
            let one = answers(&plan, &path, &on(1, 0)).expect("a plain file");
            for (name, answer) in &records.results {
                assert_eq!(one.rows(name), answer.rows, "{name} of {}", file.display());
            }
            packets += compare(&plan, &path);
            if !several {
                compare_added_up(&path);
            }
        }
    }
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
    let plan = compiled(&batch_text([("sparse", text)]));
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
    let scratch = Scratch::new().expect("a folder");
    let after_ns = |number: u64| 5_000_000_000 + number * 300_000_000 - (number % 5) * 700_000_000;
    let inner = pcap(40, |number| (after_ns(number), packet(number, &[7; 20])));
    let outer = pcap(60, |number| (after_ns(number), packet(number, &inner[24..])));
    let path = scratch.path("nested.pcap");
    std::fs::write(&path, &outer).expect("written");
    let answer_the_same = |packets| {
        plans().iter().for_each(|plan| assert_eq!(compare(plan, &path), packets));
        assert_eq!(compare_added_up(&path), packets);
    };
    answer_the_same(60);
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
    answer_the_same(30);
    std::fs::write(&path, &outer[..middle + 40]).expect("written");
    answer_the_same(30);
}

/// As many cores as nobody has asked for are one, also where ranges are cut as suits.
#[test]
fn a_large_file_is_added_up_whatever_the_options() {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("large.pcap");
    let payload = vec![7; 60_000];
    std::fs::write(&path, pcap(1_300, |number| (number, packet(number, &payload))))
        .expect("written");
    for queries in [&ADDED_UP[..2], &ADDED_UP[..3], &ADDED_UP] {
        let plan = compiled(&batch_text(queries.iter().copied()));
        for cores in [0, 1, 2] {
            let options = RunOptions { cores, ..RunOptions::default() };
            let added = answers(&plan, &path, &options).expect("a plain file");
            assert_eq!(added.numbers("totals")[0], 1_300, "{cores} cores");
        }
    }
}

#[test]
fn what_a_file_grows_by_is_added_up_too() {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("growing.pcap");
    let whole = pcap(3_000, |number| (number, packet(number, &[7; 40])));
    for queries in [&ADDED_UP[..2], &ADDED_UP] {
        let plan = compiled(&batch_text(queries.iter().copied()));
        for cores in [1, 2] {
            std::fs::write(&path, &whole[..24 + 90 * 2_000]).expect("written");
            let Ok(Opened::Plain(trace)) = TraceFile::open(&path) else { panic!("a plain file") };
            std::fs::write(&path, &whole).expect("written");
            let tuning = Tuning { map: MapFile::Always, segment_len: 900, ..Tuning::default() };
            let options = RunOptions { range_bytes: Some(60_000), ..on(cores, 0) };
            let grown = answers_of(&plan, trace.tuned(tuning), &options);
            assert_eq!(grown.report.ledger.records(), 3_000, "{cores} cores");
            assert_eq!(grown.numbers("totals")[0], 3_000, "{cores} cores");
        }
    }
}

/// Late in the file a packet carries a capture: by then packets have been counted that count again.
#[test]
fn what_came_of_a_wrong_guess_is_taken_back() {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("late.pcap");
    let inner = pcap(200, |number| (number, packet(number, &[7; 20])));
    let data = |number| if number == 4_000 { &inner[24..] } else { &[7; 40][..] };
    std::fs::write(&path, pcap(5_000, |number| (number, packet(number, data(number)))))
        .expect("written");
    assert_eq!(compare_added_up(&path), 5_000);
}

/// Flows that are there all the time, that come once, and that come once from some time on: threads keep them, or do not, or begin to.
#[test]
fn groups_are_the_same_however_often_they_recur() {
    let [_, plan] = plans();
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("flows.pcap");
    let recurring = |number: u64| number % 5_000;
    let turning = |number: u64| if number < 20_000 { number % 3_000 } else { number };
    for flow in [recurring, |number| number, turning] {
        let capture = pcap(40_000, |number| {
            let mut data = packet(number, &[]);
            data[26..30].copy_from_slice(&(flow(number) as u32).to_be_bytes());
            (number * 1_000, data)
        });
        std::fs::write(&path, capture).expect("written");
        let Some(one) = answers(&plan, &path, &on(1, 0)) else { panic!("a plain file") };
        for (cores, range_bytes) in [(2, 400_000), (2, 100_000), (3, 64_000), (4, 1 << 20)] {
            // Where memory is short, threads keep nothing.
            for memory_bytes_max in [None, Some(64 << 20)] {
                let options = RunOptions { memory_bytes_max, ..on(cores, range_bytes) };
                let several = answers(&plan, &path, &options).expect("a plain file");
                for (name, answer) in &one.results {
                    assert_eq!(several.rows(name), answer.rows, "{name} on {cores} cores");
                }
                assert_eq!(several.report.ledger, one.report.ledger);
            }
        }
    }
}

/// What threads have kept when a run is cancelled is what they have read, up to one place.
#[test]
fn what_threads_keep_is_answered_when_they_are_cancelled() {
    let [_, plan] = plans();
    let file = wt_tests::capture("eth0.pcap");
    // On a busy machine the others may have taken all before the thread that tells of progress has its turn: then nobody has cancelled in time.
    let run = |_| {
        let cancel = AtomicBool::new(false);
        let progress = |_: &Progress| cancel.store(true, Ordering::Relaxed);
        let options = RunOptions { progress: Some(&progress), cancel: Some(&cancel), ..on(4, 500) };
        let answers = answers(&plan, &file, &options).expect("a plain file");
        (answers.report.end == RunEnd::Cancelled).then_some(answers)
    };
    let cancelled = (0..100).find_map(run).expect("a run that was cancelled in time");
    let records = cancelled.report.ledger.records();
    assert!(records > 0, "{records} records");
    let totals = cancelled.numbers("totals");
    assert_eq!(totals[0], records);
    // The first so many packets of the file, and no others.
    let wire_bytes = file_bytes(&file, records);
    assert_eq!(totals[1], wire_bytes);
}

/// Bytes on the wire of the first packets of a file.
fn file_bytes(file: &Path, packets: u64) -> u64 {
    let mut reader = CaptureReader::open(file).expect("a capture");
    let (mut lens, mut records) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch(&mut records, 100).expect("records") {
        lens.extend(batch.records.iter().map(|record| u64::from(record.len)));
    }
    lens[..packets as usize].iter().sum()
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

/// What a store answers, what is found in it, and what there was to say of its progress.
fn of_store(
    plan: &Compiled,
    dir: &Path,
    options: &RunOptions<'_>,
) -> (Answers, Vec<Finding>, Vec<Progress>) {
    let captured = Store::open(dir).and_then(|store| store.captured(None)).expect("a store");
    let pieces = captured.pieces;
    let captures = Captures { pieces, ..captured.readers.into() };
    let source = Source { interface: "default".to_owned(), captures };
    let mut sink = ValueSink::new(&plan.physical);
    let told = RefCell::new(Vec::new());
    let progress = |progress: &Progress| told.borrow_mut().push(*progress);
    let options = RunOptions { progress: Some(&progress), ..*options };
    let report = wt_engine::run(&plan.physical, vec![source], &options, &mut sink).expect("runs");
    assert_eq!(report.ledger.check(), Ok(()));
    (sink.into_answers(&plan.physical, report), captured.findings.all(), told.into_inner())
}

/// Compares a store on several cores with the same on one; how many packets there were, and what was found.
fn compare_store(plan: &Compiled, dir: &Path) -> (u64, Vec<Finding>) {
    let (one, found, _) = of_store(plan, dir, &on(1, 0));
    for (cores, range_bytes) in [(2, 1), (3, 2_500_000), (8, 1 << 30)] {
        let (several, again, told) = of_store(plan, dir, &on(cores, range_bytes));
        let what = format!("{cores} cores, pieces of {range_bytes} bytes");
        for (name, answer) in &one.results {
            assert_eq!(several.rows(name), answer.rows, "{name} on {what}");
        }
        assert_eq!(several.report.ledger, one.report.ledger, "{what}");
        assert_eq!(again, found, "{what}");
        let last = told.last().expect("progress");
        assert_eq!(last.bytes_total, Some(last.bytes_read), "{what}");
        // It says where it is after each piece, or where threads keep them each of the first thread's, and at the end.
        let pieces = told.len() - 1;
        if one.results.contains_key("rows") {
            assert_eq!(pieces > 3, range_bytes < 1 << 30, "{what}: {pieces} pieces");
        }
    }
    (one.report.ledger.records(), found)
}

#[test]
fn a_store_answers_the_same() {
    let scratch = Scratch::new().expect("a folder");
    // The clock steps back now and then.
    let after_ns = |number: u64| number * 1_000_000 - (number % 1000 / 900) * 300_000_000;
    let trace = scratch.path("a.pcap");
    let data = |number: u64| packet(number, &vec![number as u8; 300 + (number % 700) as usize]);
    let bytes = pcap(14_000, |number| (1_000_000_000 + after_ns(number), data(number)));
    std::fs::write(&trace, bytes).expect("written");
    let store = scratch.path("store");
    let text = |path: &Path| path.display().to_string();
    let arguments = ["record", "-r", &text(&trace), "-w", &text(&store), "--segment-size", "4MiB"];
    program::run(arguments).expect_status(0);
    for plan in plans() {
        assert_eq!(compare_store(&plan, &store), (14_000, Vec::new()));
    }
    // Damaged in the middle: what is whole is answered, and the rest told of.
    let segments = Store::open(&store).and_then(|store| store.segments()).expect("segments");
    assert!(segments.len() > 2, "{}", segments.len());
    for (segment, at) in segments.iter().zip([2_500_000, 900_000]) {
        let mut bytes = std::fs::read(&segment.path).expect("read");
        bytes[at] ^= 1;
        std::fs::write(&segment.path, bytes).expect("written");
    }
    for plan in plans() {
        let (records, found) = compare_store(&plan, &store);
        assert!((10_000..14_000).contains(&records) && found.len() == 2, "{records}, {found:?}");
    }
}

/// A store as a link of several queues makes it: packets of each writer come all the time.
#[test]
fn writers_are_read_one_after_the_other_where_no_order_matters() {
    let scratch = Scratch::new().expect("a folder");
    let dir = scratch.path("store");
    let (own, _) = OwnStore::open(&dir, 64 << 10).expect("a store");
    let own = Arc::new(own);
    let options = RecordOptions { segment_bytes: 1 << 20, waits: true, ..RecordOptions::default() };
    for number in 0..3 {
        let (mut feed, writer) = record::start(&own, number, &options).expect("a writer");
        let name = Some(format!("queue{number}").into());
        let interface = Interface { name, link_type: LinkType(1), snap_len: 0 };
        let interface = feed.interface(&interface);
        for packet_number in 0..3_000 + 500 * u64::from(number) {
            let data = packet(packet_number, &[number as u8; 400]);
            let record = RecordRef {
                timestamp_ns: START_NS + packet_number * 1_000_000 + u64::from(number),
                at: 0,
                caplen: data.len() as u32,
                len: data.len() as u32,
                direction: Direction::Unknown,
            };
            feed.packets(interface, &data, &[record]);
        }
        feed.finish();
        assert!(writer.join().failure.is_none());
    }
    drop(own);
    assert_eq!(compare_writers(&dir), (10_500, 0));
    // A segment of the first writer can no longer be read at all: what others have is.
    let segments = Store::open(&dir).and_then(|store| store.segments()).expect("segments");
    std::fs::remove_file(&segments[0].path).expect("removed");
    std::fs::create_dir(&segments[0].path).expect("in its place");
    let (records, found) = compare_writers(&dir);
    assert!((7_500..10_500).contains(&records) && found == 1, "{records}, {found}");
}

/// Compares a store of several writers with what the interpreter says of it, where their order matters and where not: how many packets it has, and what is
/// found.
fn compare_writers(dir: &Path) -> (u64, usize) {
    let mut seen = Vec::new();
    for (queries, in_pieces) in [(&ADDED_UP[..], true), (&QUERIES[..], false)] {
        let plan = compiled(&batch_text(queries.iter().copied()));
        let reference = RunOptions { backend: Backend::Interpreter, ..on(1, 0) };
        let (one, found, _) = of_store(&plan, dir, &reference);
        seen.push((one.report.ledger.records(), found.len()));
        for (cores, range_bytes) in [(1, 0), (2, 1), (3, 300_000)] {
            let (several, again, told) = of_store(&plan, dir, &on(cores, range_bytes));
            let what = format!("{cores} cores, pieces of {range_bytes} bytes");
            for (name, answer) in &one.results {
                assert_eq!(several.rows(name), answer.rows, "{name} on {what}");
            }
            assert_eq!(several.report.ledger.interfaces, one.report.ledger.interfaces, "{what}");
            assert_eq!(again, found, "{what}");
            // It says where it is after each piece.
            assert!(cores < 2 || !in_pieces || told.len() > 3, "{what}: {}", told.len());
        }
    }
    assert_eq!(seen[0], seen[1]);
    seen[0]
}

/// Interfaces are numbered in the order in which their packets come, which nobody knows who reads a piece.
#[test]
fn a_store_whose_interfaces_are_numbered_is_read_on_one_core() {
    let scratch = Scratch::new().expect("a folder");
    let store = scratch.path("store");
    let text = |path: &Path| path.display().to_string();
    let captures = ["eth0.pcap", "eth1.pcap"].map(wt_tests::capture);
    let files: Vec<String> = captures.iter().map(|path| text(path)).collect();
    let mut arguments = vec!["record", "-w"];
    let dir = text(&store);
    arguments.push(&dir);
    files.iter().for_each(|file| arguments.extend(["-r", file]));
    program::run(arguments).expect_status(0);
    let query = "SELECT ifindex, interface, count(*) AS n FROM packet GROUP BY ifindex, interface";
    let plan = compiled(&batch_text([("numbers", query)]));
    let (one, _, _) = of_store(&plan, &store, &on(1, 0));
    let (several, _, _) = of_store(&plan, &store, &on(4, 1));
    assert_eq!(several.rows("numbers"), one.rows("numbers"));
    assert_eq!(several.report.ledger, one.report.ledger);
}
