//! The recorder without the capture: packets of a trace, again and again, into a store, with and without an index in turns. Prints the processor time
//! of all its threads per packet: `cargo bench -p wt-trace --bench record -- TRACE [DIR]`; DIR, where the store is made, may be in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wt_trace::record::{self, Interface, RecordOptions};
use wt_trace::store::{Keep, OwnStore};
use wt_wire::{CaptureReader, Direction, LinkType, RecordRef};

/// Packets of a run.
const PACKETS: usize = 4_000_000;
/// Packets of the trace that are used.
const TRACE_PACKETS: usize = 100_000;
const ROUNDS: usize = 7;
/// Packets that a capture gives at once.
const BATCH: usize = 256;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(trace) = arguments.first() else {
        return eprintln!("needs a trace: cargo bench -p wt-trace --bench record -- TRACE [DIR]");
    };
    let dir = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let (data, records, link_type) = packets(Path::new(trace));
    let mut of: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (index, times) in of.iter_mut().enumerate() {
            times.push(run(&dir, &data, &records, link_type, index == 1));
        }
    }
    for (name, times) in ["without index", "with index"].iter().zip(&mut of) {
        times.sort_by(f64::total_cmp);
        let (least, median, most) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
        println!("{name:<14} {median:6.1} ns/packet  ({least:.1} to {most:.1})");
    }
    println!("index           {:+.1} ns/packet, {:.1}%", of[1][ROUNDS / 2] - of[0][ROUNDS / 2], {
        100.0 * (of[1][ROUNDS / 2] / of[0][ROUNDS / 2] - 1.0)
    });
}

fn packets(trace: &Path) -> (Vec<u8>, Vec<RecordRef>, LinkType) {
    let mut reader = CaptureReader::open(trace).expect("a trace");
    let (mut data, mut records, mut link_type) = (Vec::new(), Vec::new(), LinkType(1));
    while let Ok(Some(record)) = reader.next() {
        link_type = record.link_type;
        records.push(RecordRef {
            timestamp_ns: record.timestamp_ns,
            at: data.len() as u32,
            caplen: record.data.len() as u32,
            len: record.len,
            direction: Direction::Inbound,
        });
        data.extend_from_slice(record.data);
        if records.len() == TRACE_PACKETS {
            break;
        }
    }
    (data, records, link_type)
}

/// Nanoseconds of processor time per packet.
fn run(dir: &Path, data: &[u8], records: &[RecordRef], link_type: LinkType, index: bool) -> f64 {
    let dir = dir.join(format!("wt-bench-record-{}", std::process::id()));
    let (store, _) = OwnStore::open(&dir, 1 << 20).expect("a store");
    let options = RecordOptions {
        index,
        waits: true,
        buffer_bytes: 8 << 20,
        keep: Keep { bytes_max: Some(600 << 20), ..Keep::default() },
        ..RecordOptions::default()
    };
    let before = cpu_ns();
    let (mut feed, writer) = record::start(&Arc::new(store), 0, &options).expect("a writer");
    let interface = feed.interface(&Interface { name: None, link_type, snap_len: 0 });
    let batches = records.chunks(BATCH).cycle();
    let mut given = 0;
    for batch in batches {
        if given >= PACKETS {
            break;
        }
        feed.packets(interface, data, batch);
        given += batch.len();
    }
    feed.finish();
    let ended = writer.join();
    let took = cpu_ns() - before;
    assert!(ended.failure.is_none(), "{:?}", ended.failure);
    std::fs::remove_dir_all(&dir).expect("the store can be deleted");
    took / given as f64
}

/// Processor time of this process so far, of all its threads, also those that have ended.
fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
