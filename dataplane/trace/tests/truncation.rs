//! A file that another process cuts off while it is mapped ends in damage, not in a signal.

mod support;

use std::fs::OpenOptions;
use std::path::Path;

use support::*;
use wt_trace::{MapFile, Tuning};
use wt_wire::{CaptureError, DamageKind};

const MAPPED: Tuning = Tuning {
    map: MapFile::Always,
    chains: 8,
    batch_len: 256 << 10,
    read_batch_len: 64 << 10,
    segment_len: 128 << 10,
};

fn sample() -> Vec<u8> {
    pcap(&(0..2000u32).map(|n| (1_700_000_000, n, vec![1; 1000])).collect::<Vec<_>>())
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn damage(error: Option<CaptureError>) -> (u64, DamageKind) {
    let damage = error.and_then(|error| error.damage().cloned()).expect("damage");
    (damage.offset, damage.kind)
}

#[test]
fn bytes_that_are_lost_under_a_batch_are_zeroes_and_then_damage() {
    let bytes = sample();
    let path = file("lost.pcap", &bytes);
    let mut reader = plain(&path).unwrap().tuned(MAPPED).reader();
    let first = reader.next_batch().unwrap().expect("a batch");
    assert!(first.records.len() > 200);
    let begun = reader.position();
    let second = reader.next_batch().unwrap().expect("a batch");
    assert_eq!(second.data_offset, begun);
    cut(&path, 8192);
    assert!(second.iter().all(|record| record.data.iter().all(|byte| *byte == 0)));
    let kind = DamageKind::TruncatedWhileRead { len: bytes.len() as u64 };
    assert_eq!(damage(reader.next_batch().err()), (begun, kind));
    assert!(matches!(reader.next_batch(), Ok(None)));
}

#[test]
fn bytes_that_are_lost_before_they_are_asked_for_are_told() {
    let bytes = sample();
    for tuning in tunings() {
        let path = file("gone.pcap", &bytes);
        let mut reader = plain(&path).unwrap().tuned(tuning).reader();
        reader.next_batch().unwrap().expect("a batch");
        cut(&path, 100);
        // What has been copied before stays good.
        let error = loop {
            match reader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{tuning:?}: the loss is not told"),
                Err(error) => break error,
            }
        };
        let (offset, kind) = damage(Some(error));
        let truncated = DamageKind::TruncatedWhileRead { len: bytes.len() as u64 };
        let is_told = kind == truncated || matches!(kind, DamageKind::RecordTruncated { .. });
        assert!(is_told && offset >= 24, "{tuning:?}: {kind:?} at {offset}");
    }
}

#[test]
fn many_mappings_come_and_go() {
    let path = file("many.pcap", &sample());
    // More than can be guarded at a time: the others are read.
    let mut readers: Vec<_> =
        (0..100).map(|_| plain(&path).unwrap().tuned(MAPPED).reader()).collect();
    for _ in 0..3 {
        for reader in &mut readers {
            assert!(reader.next_batch().unwrap().is_some());
        }
    }
    drop(readers);
    let told = in_batches(&mut plain(&path).unwrap().tuned(MAPPED).reader());
    assert_eq!((told.0.len(), told.1), (2000, None));
}
