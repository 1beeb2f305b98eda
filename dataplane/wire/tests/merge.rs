//! Several captures in time order.

mod support;

use proptest::prelude::*;
use support::*;
use wt_wire::{ByteOrder, MergedCaptures, PcapVariant};

fn capture(times_ns: &[u64]) -> Vec<u8> {
    let records: Vec<_> =
        times_ns.iter().map(|&time_ns| record(time_ns, &time_ns.to_le_bytes())).collect();
    pcap(PcapVariant::Nano, ByteOrder::Little, &records)
}

fn merged(captures: &[Vec<u8>]) -> MergedCaptures {
    MergedCaptures::new(captures.iter().map(|bytes| open(bytes).unwrap()).collect())
}

/// Source and time of everything delivered, and the number of errors on the way.
fn drain_merged(merged: &mut MergedCaptures) -> (Vec<(usize, u64)>, usize) {
    let (mut delivered, mut errors) = (Vec::new(), 0);
    loop {
        match merged.next() {
            Ok(Some(sourced)) => {
                let time_ns = sourced.record.timestamp_ns;
                assert_eq!(sourced.record.data, time_ns.to_le_bytes());
                delivered.push((sourced.source, time_ns));
            }
            Ok(None) => return (delivered, errors),
            Err(_) => errors += 1,
        }
    }
}

/// The definition: of the captures that have records left, the earliest head, first one of equals.
fn model(mut captures: Vec<Vec<u64>>) -> Vec<(usize, u64)> {
    captures.iter_mut().for_each(|times| times.reverse());
    let mut out = Vec::new();
    loop {
        let heads = captures.iter().enumerate();
        let head = heads.filter_map(|(at, times)| times.last().map(|&time| (time, at))).min();
        let Some((time, at)) = head else { return out };
        captures[at].pop();
        out.push((at, time));
    }
}

proptest! {
    #[test]
    fn merging_follows_the_heads(
        captures in prop::collection::vec(prop::collection::vec(0u64..20, 0..12), 0..6),
    ) {
        let files: Vec<_> = captures.iter().map(|times| capture(times)).collect();
        let delivered = drain_merged(&mut merged(&files));
        prop_assert_eq!(delivered, (model(captures), 0));
    }
}

#[test]
fn heads_tell_the_time_of_each_source() {
    let mut merged = merged(&[capture(&[5, 9]), capture(&[3]), capture(&[])]);
    assert_eq!(merged.len(), 3);
    assert_eq!(merged.head_timestamp_ns(0), None);
    assert!(!merged.has_ended(2));
    merged.prime().unwrap();
    assert_eq!([0, 1, 2].map(|at| merged.head_timestamp_ns(at)), [Some(5), Some(3), None]);
    assert_eq!([0, 1, 2].map(|at| merged.has_ended(at)), [false, false, true]);
    assert_eq!(merged.next().unwrap().unwrap().source, 1);
    merged.prime().unwrap();
    assert_eq!([0, 1].map(|at| merged.has_ended(at)), [false, true]);
    assert_eq!(merged.next().unwrap().unwrap().source, 0);
    merged.prime().unwrap();
    assert_eq!(merged.head_timestamp_ns(0), Some(9));
    assert_eq!(merged.head_timestamp_ns(99), None);
    assert_eq!(merged.reader(1).unwrap().records(), 1);
}

#[test]
fn damage_ends_one_source_and_no_other() {
    let cut = |times: &[u64]| {
        let whole = capture(times);
        whole[..whole.len() - 1].to_vec()
    };
    let files = [cut(&[4]), capture(&[1, 6, 9]), cut(&[2, 3, 7])];
    let mut merged = merged(&files);
    let error = merged.next().unwrap_err();
    assert_eq!(error.name(), "test");
    let (delivered, errors) = drain_merged(&mut merged);
    assert_eq!(delivered, [(1, 1), (2, 2), (2, 3), (1, 6), (1, 9)]);
    assert_eq!(errors, 1);
    let damaged: Vec<_> = merged.readers().map(|reader| reader.damage().is_some()).collect();
    assert_eq!(damaged, [true, false, true]);
}
