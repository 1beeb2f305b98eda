//! A process that reads a mapped file does not look as large as the file. One test, as the figure is that of the whole process.

mod support;

use std::fs;

use support::*;
use wt_trace::{MapFile, TraceFile, Tuning};

const FILE_BYTES: usize = 120 << 20;

/// Bytes of files in the size of this process.
fn resident_file_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("its size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

fn always_mapped() -> Tuning {
    Tuning { map: MapFile::Always, ..Tuning::default() }
}

#[test]
fn what_was_read_is_given_back() {
    let records: Vec<_> =
        (0..FILE_BYTES as u32 / 60_000).map(|n| (1_700_000_000, n, vec![1; 60_000])).collect();
    let path = file("resident.pcap", &pcap(&records));
    let trace = plain(&path).expect("a plain file");
    let trace = trace.tuned(always_mapped());
    let before = resident_file_bytes();

    let mut reader = trace.reader();
    let (mut count, mut most) = (0, 0);
    while let Some(batch) = reader.next_batch().expect("no damage") {
        count += batch.records.len();
        most = most.max(resident_file_bytes() - before);
    }
    assert_eq!(count, records.len());
    // What is read through is given back by 32 MiB.
    assert!(most > 1 << 20 && most < 48 << 20, "{most} bytes at one time");

    // Range after range, each shorter than that.
    let (mut count, mut most) = (0, 0);
    for range in trace.split(30) {
        reader.turn_to(range);
        while let Some(batch) = reader.next_batch().expect("no damage") {
            count += batch.records.len();
        }
        most = most.max(resident_file_bytes() - before);
    }
    assert_eq!(count, records.len());
    assert!(most < 48 << 20, "{most} bytes at one time, in ranges");

    // Files beside each other, one after the other: none leaves anything behind.
    drop((reader, trace));
    let again = |_| plain(&path).expect("a plain file").tuned(always_mapped());
    let files: Vec<_> = (0..3).map(again).collect();
    let beside = TraceFile::side_by_side(files.iter()).expect("addresses");
    for file in files {
        let mut reader = file.reader();
        while let Some(batch) = reader.next_batch().expect("no damage") {
            assert!(beside.offset_of(batch.data).is_some());
        }
        drop((reader, file));
        let left = resident_file_bytes().saturating_sub(before);
        assert!(left < 4 << 20, "{left} bytes are left");
    }
    fs::remove_file(path).expect("removed");
}
