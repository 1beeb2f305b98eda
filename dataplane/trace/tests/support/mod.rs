//! What the suites share: what a reader tells, and files to read.
#![allow(dead_code, reason = "each suite uses its part")]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use wt_trace::{MapFile, Opened, TraceFile, TraceReader, Tuning};
use wt_wire::{CaptureReader, Damage, Direction, Framing, LinkType, Record};

/// A record with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub offset: u64,
    pub timestamp_ns: u64,
    pub len: u32,
    pub interface: u32,
    pub direction: Direction,
    pub link_type: LinkType,
    pub data: Vec<u8>,
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        let Record { offset, timestamp_ns, len, interface, direction, link_type, .. } = record;
        Self {
            offset,
            timestamp_ns,
            len,
            interface,
            direction,
            link_type,
            data: record.data.to_vec(),
        }
    }
}

/// All that a capture gives: its records, then the damage.
pub type Story = (Vec<Owned>, Option<Damage>);

/// The definition: record by record.
pub fn one_by_one(reader: &mut CaptureReader) -> Story {
    let mut story = Story::default();
    loop {
        match reader.next() {
            Ok(Some(record)) => story.0.push(Owned::from(record)),
            Ok(None) => return story,
            Err(error) => story.1 = error.damage().cloned(),
        }
    }
}

/// Everything that a trace reader gives, with more or less of each walk done meanwhile; checks its position on the way.
pub fn in_batches(reader: &mut TraceReader) -> Story {
    let mut story = Story::default();
    let mut steps = (0..40).cycle();
    loop {
        match reader.next_with_more() {
            Ok(Some((batch, meanwhile))) => {
                assert!(!batch.records.is_empty());
                let steps = steps.next().unwrap_or(0);
                meanwhile.iter().for_each(|meanwhile| (0..steps).for_each(|_| meanwhile.step()));
                story.0.extend(batch.iter().map(Owned::from));
                let last = story.0.last().expect("a record");
                check_end(reader.file(), last, reader.position());
                assert!(reader.interfaces().len() > last.interface as usize);
            }
            Ok(None) => break,
            Err(error) => {
                assert!(story.1.is_none(), "damage is told once");
                story.1 = error.damage().cloned();
            }
        }
    }
    assert!(matches!(reader.next_batch(), Ok(None)));
    story
}

/// Checks where a reader says that it has come to: behind the last record, and behind blocks without records that follow it.
#[track_caller]
fn check_end(trace: &TraceFile, last: &Owned, end: u64) {
    match trace.layout().framing {
        Framing::Pcap => assert_eq!(end, last.offset + 16 + last.data.len() as u64),
        Framing::EnhancedPacket => {
            let behind = last.offset + 12 + last.data.len() as u64;
            assert!(end >= behind, "{end} is not behind {behind}");
        }
    }
}

/// A file of these bytes, under a name of its own.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("writes a file");
    path
}

/// The plain pcap at a path, if it is one.
pub fn plain(path: &Path) -> Option<TraceFile> {
    match TraceFile::open(path) {
        Ok(Opened::Plain(trace)) => Some(trace),
        Ok(Opened::Other(_)) | Err(_) => None,
    }
}

/// Captures of the tree, all kinds.
pub fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let mut paths = Vec::new();
    for directory in [root.clone(), root.join("damaged"), root.join("generated")] {
        let entries = fs::read_dir(directory).expect("captures").flatten();
        paths.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    assert!(paths.len() > 40);
    paths
}

/// Compares a file with what record by record gives.
#[track_caller]
pub fn check(path: &Path, what: &str) {
    let capture = CaptureReader::open(path);
    let trace = TraceFile::open(path);
    match (capture, trace) {
        (Ok(mut capture), Ok(Opened::Plain(trace))) => {
            let told = one_by_one(&mut capture);
            for tuning in tunings() {
                let batched = in_batches(&mut trace.clone().tuned(tuning).reader());
                assert_same(&batched, &told, &format!("{what}, {tuning:?}"));
            }
            for (chains, segment_len) in [(1, 100), (2, 300), (7, 2000), (16, 1000), (32, 20_000)] {
                let tuning =
                    Tuning { map: MapFile::Always, chains, segment_len, ..Tuning::default() };
                let what = format!("{what}, {chains} chains of {segment_len} bytes in any order");
                if let Some(found) = in_any_order(&mut trace.clone().tuned(tuning).reader()) {
                    assert_same(&found, &told, &what);
                }
            }
            for count in [2, 3, 9] {
                let joined = in_ranges(&trace, &trace.split(count));
                assert_same(&joined, &told, &format!("{what}, in {count} ranges"));
            }
        }
        (Ok(mut capture), Ok(Opened::Other(mut other))) => {
            assert_eq!(one_by_one(&mut other), one_by_one(&mut capture), "{what}");
        }
        (Err(capture), Err(trace)) => assert_eq!(trace.to_string(), capture.to_string(), "{what}"),
        (capture, trace) => panic!("{what}: {capture:?} but {trace:?}"),
    }
}

/// Compares all ways to read a trace with what is told of it.
#[track_caller]
pub fn check_ways(trace: &TraceFile, told: &Story, ranges: usize) {
    assert_same(&in_batches(&mut trace.reader()), told, "whole");
    assert_same(&in_ranges(trace, &trace.split(ranges)), told, "in ranges");
    if let Some(found) = in_any_order(&mut trace.reader()) {
        assert_same(&found, told, "in any order");
    }
}

#[track_caller]
pub fn assert_same(found: &Story, told: &Story, what: &str) {
    assert_eq!(found.1, told.1, "{what}");
    assert_eq!(found.0.len(), told.0.len(), "{what}");
    let differs = found.0.iter().zip(&told.0).find(|(found, told)| found != told);
    assert_eq!(differs, None, "{what}");
}

/// What a reader gives in any order, put in order; nothing where it does not count. It has no damage then.
pub fn in_any_order(reader: &mut TraceReader) -> Option<Story> {
    let mut records = Vec::new();
    let mut steps = (0..40).cycle();
    let range = reader.start()..u64::MAX;
    let end = reader.in_any_order(range, |batch, meanwhile| {
        assert!(!batch.records.is_empty());
        (0..steps.next().unwrap_or(0)).for_each(|_| meanwhile.step());
        records.extend(batch.iter().map(Owned::from));
        Ok::<_, ()>(())
    });
    let end = end.expect("nothing fails")?;
    assert_eq!(reader.position(), end);
    records.sort_by_key(|record: &Owned| record.offset);
    match records.last() {
        Some(last) => check_end(reader.file(), last, end),
        None => assert!(reader.file().layout().framing != Framing::Pcap || reader.start() == end),
    }
    Some((records, None))
}

/// Ways to read that must not matter.
pub fn tunings() -> Vec<Tuning> {
    let mapped =
        |chains, batch_len| Tuning { map: MapFile::Always, chains, batch_len, ..Tuning::default() };
    vec![
        Tuning::default(),
        Tuning { read_batch_len: 100, ..Tuning::default() },
        mapped(1, 1000),
        mapped(2, 300),
        mapped(7, 5000),
        mapped(16, 1 << 16),
        mapped(32, 512 << 10),
    ]
}

/// What the ranges give, put together as their readers must be: a start that the range before does
/// not end at was guessed wrongly.
pub fn in_ranges(trace: &TraceFile, ranges: &[Range<u64>]) -> Story {
    let mut story = Story::default();
    let mut position = ranges[0].start;
    for range in ranges {
        let mut reader = trace.reader_of(range.clone());
        let mut part = in_batches(&mut reader);
        if range.start != position {
            reader = trace.reader_of(position..range.end);
            part = in_batches(&mut reader);
        }
        story.0.append(&mut part.0);
        story.1 = part.1;
        position = reader.position();
        if story.1.is_some() {
            break;
        }
    }
    story
}

/// A little-endian microsecond pcap of records that are given with second, microsecond and data.
pub fn pcap(records: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    for (second, fraction, data) in records {
        let len = data.len() as u32;
        for word in [*second, *fraction, len, len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(data);
    }
    bytes
}

/// The beginning of a pcapng of one interface whose stamps count so many digits of a second.
pub fn pcapng_head(digits: u8) -> Vec<u8> {
    let section = [0x1a2b_3c4d_u32, 1, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
    [block(0x0a0d_0d0a, &section), interface_block(digits)].concat()
}

/// Describes another interface.
pub fn interface_block(digits: u8) -> Vec<u8> {
    let mut body = [1_u32, 0, 1 << 16 | 9].map(u32::to_le_bytes).concat();
    body.extend([digits, 0, 0, 0, 0, 0, 0, 0]);
    block(1, &body)
}

/// A block of pcapng.
pub fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (12 + body.len().next_multiple_of(4)) as u32;
    let mut bytes = [kind, len].map(u32::to_le_bytes).concat();
    bytes.extend_from_slice(body);
    bytes.resize(len as usize - 4, 0);
    bytes.extend(len.to_le_bytes());
    bytes
}

/// An enhanced packet block.
pub fn packet_block(interface: u32, ticks: u64, data: &[u8], options: &[u8]) -> Vec<u8> {
    let len = data.len() as u32;
    let fields = [interface, (ticks >> 32) as u32, ticks as u32, len, len];
    let mut body = fields.map(u32::to_le_bytes).concat();
    body.extend_from_slice(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend_from_slice(options);
    block(6, &body)
}

/// The flags of a packet block that came in (1) or went out (2), and the end of its options.
pub fn flags(direction: u8) -> [u8; 12] {
    [2, 0, 4, 0, direction, 0, 0, 0, 0, 0, 0, 0]
}
