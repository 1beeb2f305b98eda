//! Indices: what is read by one is what a full scan gives, whatever has happened to the index or the trace.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use wt_trace::index::{self, Index, IndexError, Key, Reading, Taken, Wanted, path_of};
use wt_trace::{MapFile, Opened, TraceFile, TraceReader, Tuning};
use wt_wire::{
    ByteOrder, CaptureReader, Direction, LinkType, PcapNgWriter, PcapVariant, PcapWriter,
    TimeResolution,
};

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wt-index-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder left behind in the temporary one harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

const S: u64 = 1_000_000_000;

/// A packet of UDP from an address that says when it was sent.
fn packet(second: u64, port: u16) -> Vec<u8> {
    let mut data = vec![0; 12];
    data.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
    data.extend([10, 0, (second >> 8) as u8, second as u8, 192, 0, 2, 1]);
    data.extend(port.to_be_bytes());
    data.extend([0, 53, 0, 0, 0, 0]);
    data.resize(800, 7);
    data
}

/// 1,000 packets a second apart, some of them out of order, about 800 KB.
fn stamps() -> impl Iterator<Item = (u64, u64)> {
    (0..1000).map(|n| (n, (1_700_000_000 + n - 3 * u64::from(n % 97 == 96)) * S))
}

fn write_pcap(path: &Path) {
    let file = fs::File::create(path).unwrap();
    let file = std::io::BufWriter::new(file);
    let mut writer =
        PcapWriter::new(file, PcapVariant::Nano, ByteOrder::Big, LinkType(1), 65535).unwrap();
    for (n, at) in stamps() {
        writer.write(at, 900, &packet(n, 1000 + (n % 7) as u16)).unwrap();
    }
}

/// As [`write_pcap`], of one interface.
fn write_plain_pcapng(path: &Path) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut writer = PcapNgWriter::new(file, ByteOrder::Little).unwrap();
    writer.interface(Some("a"), LinkType(1), 0, TimeResolution::MICRO).unwrap();
    for (n, at) in stamps() {
        let data = packet(n, 1000 + (n % 7) as u16);
        writer.write(0, at, 900, Direction::Unknown, &data).unwrap();
    }
}

/// As [`write_pcap`], with a second interface that is described in the middle.
fn write_pcapng(path: &Path) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut writer = PcapNgWriter::new(file, ByteOrder::Little).unwrap();
    writer.interface(Some("a"), LinkType(1), 0, TimeResolution::NANO).unwrap();
    for (n, at) in stamps() {
        if n == 500 {
            writer.interface(Some("b"), LinkType(1), 0, TimeResolution::MICRO).unwrap();
        }
        let interface = u32::from(n > 600 && n.is_multiple_of(2));
        writer
            .write(interface, at, 900, Direction::Unknown, &packet(n, 1000 + (n % 7) as u16))
            .unwrap();
    }
}

/// A packet as it was found: stamp, length, interface, bytes.
type Found = (u64, u32, u32, Vec<u8>);

fn found(mut reader: CaptureReader, times: &Range<u64>, key: Option<[u8; 4]>) -> Vec<Found> {
    let mut all = Vec::new();
    // Damage ends a trace.
    while let Ok(Some(record)) = reader.next() {
        let is_wanted = key.is_none_or(|address| record.data.get(26..30) == Some(&address));
        if times.contains(&record.timestamp_ns) && is_wanted {
            all.push((record.timestamp_ns, record.len, record.interface, record.data.to_vec()));
        }
    }
    all
}

/// What a full scan finds, and what is found by the index as it is; how many bytes that read.
fn both(trace: &Path, times: &Range<u64>, key: Option<[u8; 4]>) -> (Vec<Found>, Vec<Found>, u64) {
    let scanned = found(CaptureReader::open(trace).unwrap(), times, key);
    let mut all = vec![Wanted::Between(times.start, times.end - 1)];
    all.extend(key.map(|address| Wanted::Has(Key::Address(address.into()))));
    let mut index = Index::open(trace).ok();
    let chosen = index.as_mut().and_then(|index| index.choose(&Wanted::All(all), false));
    let Some((index, chosen)) = index.zip(chosen) else {
        return (scanned.clone(), scanned, fs::metadata(trace).unwrap().len());
    };
    let reading = Reading::new(chosen.taken());
    let selected = index.selected(chosen.clone(), reading.clone()).unwrap();
    let reader = CaptureReader::from_reader("selected", selected).unwrap();
    let by_index = found(reader, times, key);
    // The fast reader finds the same by the same choice, or would read more, which it says.
    if let Opened::Plain(file) = TraceFile::open(trace).unwrap() {
        let is_plain = file.is_plain_in(&chosen);
        for map in [MapFile::Always, MapFile::Never] {
            let file = file.clone().tuned(Tuning { map, ..Tuning::default() });
            let fast_reading = Reading::new(chosen.taken());
            let fast = file.reader_of_chosen(chosen.clone(), fast_reading.clone());
            assert_eq!(found_fast(fast, times, key), by_index);
            // That packets are not counted may be said twice.
            let said = |taken: Taken| Taken { uncounted: taken.uncounted.min(1), ..taken };
            if is_plain {
                assert_eq!(said(fast_reading.taken()), said(reading.taken()));
            }
        }
    }
    (scanned, by_index, reading.taken().bytes.0)
}

/// As [`found`], by the reader of plain files.
fn found_fast(mut reader: TraceReader, times: &Range<u64>, key: Option<[u8; 4]>) -> Vec<Found> {
    let mut all = Vec::new();
    while let Ok(Some(batch)) = reader.next_batch() {
        for record in batch.records {
            let data = &batch.data[record.at as usize..][..record.caplen as usize];
            let is_wanted = key.is_none_or(|address| data.get(26..30) == Some(&address));
            if times.contains(&record.timestamp_ns) && is_wanted {
                all.push((record.timestamp_ns, record.len, batch.interface, data.to_vec()));
            }
        }
    }
    all
}

#[test]
fn little_is_read_and_the_answer_is_the_same() {
    let scratch = Scratch::new("little");
    let writers: [(_, fn(&Path)); 3] =
        [("a.pcap", write_pcap), ("a.pcapng", write_pcapng), ("b.pcapng", write_plain_pcapng)];
    for (name, write) in writers {
        let trace = scratch.path(name);
        write(&trace);
        let built = index::build(&trace, 64 << 10, &mut |_| {}).unwrap();
        assert_eq!(built.entries(), index::scan(&trace, 64 << 10, &mut |_| {}).unwrap());
        let len = fs::metadata(&trace).unwrap().len();
        assert_eq!(built.covered(), (len, len));
        assert!((12..=14).contains(&built.len()), "{}", built.len());
        let begin = 1_700_000_000 * S;
        assert_eq!(built.range_ns(), Some((begin, begin + 999 * S)));
        for from in [0, 1, 94, 400, 499, 700, 995, 2000] {
            let times = begin + from * S..begin + (from + 5) * S;
            let (scanned, selected, bytes) = both(&trace, &times, None);
            assert_eq!(scanned, selected, "{name} from {from}");
            // Two blocks of 64 KiB at most, the one that describes an interface, and some slack.
            assert!(bytes < 4 * (66 << 10), "{name} from {from}: {bytes}");
        }
        for second in [0_u64, 3, 500, 999] {
            let address = [10, 0, (second >> 8) as u8, second as u8];
            let (scanned, selected, bytes) = both(&trace, &(0..u64::MAX), Some(address));
            assert_eq!((scanned.len(), &scanned), (1, &selected), "{name} {second}");
            assert!(bytes < 4 * (66 << 10), "{name} {second}: {bytes}");
        }
        let (scanned, _, bytes) = both(&trace, &(0..u64::MAX), Some([9, 9, 9, 9]));
        // Nothing is wanted, so that the head alone is read.
        assert!(scanned.is_empty() && bytes < 200, "{name}: {bytes}");
    }
}

#[test]
fn a_trace_that_grows_is_read_to_its_end() {
    let scratch = Scratch::new("grows");
    let (whole, trace) = (scratch.path("whole.pcap"), scratch.path("a.pcap"));
    write_pcap(&whole);
    let bytes = fs::read(&whole).unwrap();
    // Cut within a record: what stands there is not indexed.
    fs::write(&trace, &bytes[..400_001]).unwrap();
    index::build(&trace, 64 << 10, &mut |_| {}).unwrap();
    fs::write(&trace, &bytes).unwrap();
    let begin = 1_700_000_000 * S;
    for from in [100, 480, 490, 900] {
        let (scanned, selected, _) =
            both(&trace, &(begin + from * S..begin + (from + 9) * S), None);
        assert_eq!(scanned, selected);
        assert!(scanned.len() >= 8);
    }
    // Grown and changed: the index is of another trace.
    let mut changed = bytes.clone();
    changed[300_000] ^= 1;
    changed[390_000] ^= 1;
    fs::write(&trace, &changed[..500_000]).unwrap();
    let times = begin..begin + 100 * S;
    let (scanned, selected, _) = both(&trace, &times, None);
    assert_eq!(scanned, selected);
}

#[test]
fn an_index_of_another_trace_is_left_alone() {
    let scratch = Scratch::new("other");
    let trace = scratch.path("a.pcap");
    assert!(matches!(Index::open(&trace), Err(IndexError::Absent)));
    write_pcap(&trace);
    index::build(&trace, 64 << 10, &mut |_| {}).unwrap();
    assert!(Index::open(&trace).is_ok());
    let bytes = fs::read(&trace).unwrap();
    fs::write(&trace, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(Index::open(&trace), Err(IndexError::Stale { what: "the trace is shorter" })));
    // As long, and written later.
    fs::write(&trace, &bytes).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    fs::File::options().write(true).open(&trace).unwrap().set_modified(later).unwrap();
    assert!(matches!(Index::open(&trace), Err(IndexError::Stale { .. })));
    fs::write(path_of(&trace), b"something else").unwrap();
    assert!(matches!(Index::open(&trace), Err(IndexError::Foreign { .. })));
}

#[test]
fn a_damaged_index_never_lies() {
    let scratch = Scratch::new("damaged");
    let is_soak = std::env::var_os("WT_SOAK").is_some_and(|v| v == "1");
    let rounds = if is_soak { 10_000 } else { 400 };
    let mut numbers = Numbers(7);
    let begin = 1_700_000_000 * S;
    let mut ignored = 0;
    for (name, write) in [("a.pcap", write_pcap as fn(&Path)), ("a.pcapng", write_pcapng)] {
        let trace = scratch.path(name);
        write(&trace);
        index::build(&trace, 64 << 10, &mut |_| {}).unwrap();
        let good = fs::read(path_of(&trace)).unwrap();
        for round in 0..rounds / 2 {
            let mut bad = good.clone();
            match numbers.next(4) {
                0 => bad.truncate(numbers.next(good.len() as u64) as usize),
                1 => {
                    // A piece of it somewhere else.
                    let len = numbers.next(1000) as usize;
                    let (from, to) = (
                        numbers.next((good.len() - len) as u64) as usize,
                        numbers.next((good.len() - len) as u64) as usize,
                    );
                    bad.copy_within(from..from + len, to);
                }
                _ => {
                    for _ in 0..=numbers.next(3) {
                        let bit = numbers.next(8 * good.len() as u64) as usize;
                        bad[bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
            fs::write(path_of(&trace), &bad).unwrap();
            let from = numbers.next(1000);
            let times = begin + from * S..begin + (from + 1 + numbers.next(50)) * S;
            let key = (round % 3 == 0).then_some([10, 0, (from >> 8) as u8, from as u8]);
            let (scanned, selected, _) = both(&trace, &times, key);
            assert_eq!(scanned, selected, "{name}, round {round}");
            ignored += usize::from(Index::open(&trace).is_err());
        }
    }
    assert!(ignored > 0, "some damage is in the header");
}

#[test]
fn damage_of_the_trace_is_met_as_by_a_scan() {
    let scratch = Scratch::new("trace-damage");
    let mut numbers = Numbers(11);
    let begin = 1_700_000_000 * S;
    let trace = scratch.path("a.pcap");
    write_pcap(&trace);
    index::build(&trace, 64 << 10, &mut |_| {}).unwrap();
    let modified = fs::metadata(&trace).unwrap().modified().unwrap();
    let good = fs::read(&trace).unwrap();
    for _ in 0..100 {
        let from = numbers.next(990);
        let times = begin + from * S..begin + (from + 5) * S;
        // In a packet that is wanted, behind the back of the operating system: the time of change is as it was.
        let record = 24 + from as usize * 816;
        let mut bad = good.clone();
        bad[record + numbers.next(816) as usize] ^= 1 << numbers.next(8);
        fs::write(&trace, &bad).unwrap();
        fs::File::options().write(true).open(&trace).unwrap().set_modified(modified).unwrap();
        let (scanned, selected, bytes) = both(&trace, &times, None);
        assert_eq!(scanned, selected);
        let rest = (bad.len() - record) as u64;
        assert!(bytes >= rest, "from there on the index is given up: {bytes} of {rest}");
    }
}
