//! Packets that are made up, a recording of them, and what a store gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wt_trace::record::{self, Ended, Interface, RecordOptions};
use wt_trace::store::{Finding, OwnStore, Store};
use wt_wire::{CaptureReader, Direction, LinkType, RecordRef};

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub timestamp_ns: u64,
    pub len: u32,
    pub direction: Direction,
    pub data: Vec<u8>,
}

impl Made {
    /// By reference to its own bytes.
    pub fn record(&self) -> RecordRef {
        RecordRef {
            timestamp_ns: self.timestamp_ns,
            at: 0,
            caplen: self.data.len() as u32,
            len: self.len,
            direction: self.direction,
        }
    }
}

/// Packets of about a length, each of which is like no other.
pub fn made(count: u64, seed: u64, len: usize) -> Vec<Made> {
    (0..count)
        .map(|number| {
            let mut data = vec![seed as u8; len - (number % 7) as usize];
            data[..8].copy_from_slice(&number.to_le_bytes());
            data[8..16].copy_from_slice(&seed.to_le_bytes());
            Made {
                timestamp_ns: 1_795_000_000_000_000_000 + seed * 1_000_000_000_000 + number * 1000,
                len: data.len() as u32 + (number % 3) as u32,
                direction: [Direction::Unknown, Direction::Inbound, Direction::Outbound]
                    [(number % 3) as usize],
                data,
            }
        })
        .collect()
}

/// Records packets of one interface.
pub fn record(dir: &Path, packets: &[Made], options: &RecordOptions) -> Ended {
    let (store, recovered) = OwnStore::open(dir, 1 << 20).unwrap();
    assert!(recovered.is_empty(), "{recovered:?}");
    let (mut feed, writer) = record::start(&Arc::new(store), 0, options).unwrap();
    let interface = Interface { name: Some("eth0".into()), link_type: LinkType(1), snap_len: 0 };
    let interface = feed.interface(&interface);
    packets.iter().for_each(|packet| feed.packets(interface, &packet.data, &[packet.record()]));
    feed.finish();
    writer.join()
}

/// What a store gives, and what is found on the way.
pub fn read(dir: &Path) -> (Vec<Made>, Vec<Finding>) {
    let (readers, findings) = Store::open(dir).unwrap().captures().unwrap();
    let found = readers.into_iter().flat_map(all_of).collect();
    (found, findings.all())
}

/// What a capture holds.
pub fn all_of(mut reader: CaptureReader) -> Vec<Made> {
    let mut found = Vec::new();
    while let Some(record) = reader.next().expect("only good blocks are given") {
        found.push(Made {
            timestamp_ns: record.timestamp_ns,
            len: record.len,
            direction: record.direction,
            data: record.data.to_vec(),
        });
    }
    found
}

/// What a store gives that is whole.
pub fn read_whole(dir: &Path) -> Vec<Made> {
    let (found, findings) = read(dir);
    assert!(findings.is_empty(), "{findings:?}");
    found
}

/// A directory that vanishes with its owner.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wt-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
