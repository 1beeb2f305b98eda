//! What is left out of stores: of several writers whose clocks step back, what is wanted comes as it does when everything is read.

#[expect(dead_code, reason = "other tests need more of it")]
mod store_support;

use std::path::Path;
use std::sync::Arc;

use store_support::{Made, TempDir, made};
use wt_trace::index::{self, Wanted};
use wt_trace::record::{self, Interface, RecordOptions};
use wt_trace::store::{Follow, Followed, OwnStore, Store};
use wt_wire::{LinkType, MergedCaptures};

const S: u64 = 1_000_000_000;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Packets of a writer: its clock goes on by up to two seconds, and steps back now and then.
fn stepping(numbers: &mut Numbers, writer: u64) -> Vec<Made> {
    let mut packets = made(1800, writer, 1400);
    let mut clock = 1_000_000 * S;
    for packet in &mut packets {
        clock += numbers.next(2 * S);
        if numbers.next(400) == 0 {
            clock -= numbers.next(600 * S);
        }
        packet.timestamp_ns = clock;
    }
    packets
}

/// A store of two writers with two or three segments each, of which most are indexed.
fn stored(dir: &Path, numbers: &mut Numbers) {
    let (store, _) = OwnStore::open(dir, 64 << 10).unwrap();
    let store = Arc::new(store);
    let options = RecordOptions { segment_bytes: 1 << 20, waits: true, ..RecordOptions::default() };
    for writer in 0..2 {
        let (mut feed, thread) = record::start(&store, writer, &options).unwrap();
        let name = Some(format!("queue{writer}").into());
        let interface = feed.interface(&Interface { name, link_type: LinkType(1), snap_len: 0 });
        for packet in stepping(numbers, u64::from(writer)) {
            feed.packets(interface, &packet.data, &[packet.record()]);
        }
        feed.finish();
        assert!(thread.join().failure.is_none());
    }
    for segment in store.segments().unwrap() {
        if numbers.next(4) > 0 {
            index::build(&segment.path, 64 << 10, &mut |_| {}).unwrap();
        }
    }
}

/// Those of a time, in the order in which they come: stamp and beginning.
type Order = Vec<(u64, [u8; 16])>;

fn key(timestamp_ns: u64, data: &[u8]) -> (u64, [u8; 16]) {
    (timestamp_ns, data[..16].try_into().unwrap())
}

fn by_captures(store: &Store, wanted: Option<&Wanted>, times: (u64, u64)) -> (Order, u64) {
    let (readers, findings, bytes) = match wanted {
        None => {
            let (readers, findings) = store.captures().unwrap();
            (readers, findings, 0)
        }
        Some(wanted) => {
            let (readers, findings, reading) = store.captures_within(wanted, false).unwrap();
            let taken = reading.taken();
            let (told, _) = store.reading_within(wanted, false).unwrap();
            assert_eq!(told.taken(), taken);
            (readers, findings, taken.bytes.0)
        }
    };
    let mut captures = MergedCaptures::new(readers);
    let (mut order, mut read) = (Vec::new(), 0);
    while let Some(sourced) = captures.next().unwrap() {
        read += 1;
        let record = sourced.record;
        if (times.0..=times.1).contains(&record.timestamp_ns) {
            order.push(key(record.timestamp_ns, record.data));
        }
    }
    assert!(findings.all().is_empty());
    if let Some(wanted) = wanted {
        let (reading, _) = store.reading_within(wanted, false).unwrap();
        let taken = reading.taken();
        assert_eq!((taken.packets, taken.uncounted), (3600, 0));
        assert_eq!(read + taken.packets_skipped, 3600);
    }
    (order, bytes)
}

fn by_following(store: &Store, wanted: Option<&Wanted>, times: (u64, u64)) -> Order {
    let mut follow = Follow::new(store.clone()).unwrap();
    if let Some(wanted) = wanted {
        follow.leave_out(wanted.clone());
    }
    let (mut order, mut read) = (Vec::new(), 0);
    loop {
        match follow.next(100).unwrap() {
            Followed::Packets(run) => {
                read += run.records.len() as u64;
                for record in run.records {
                    let data = &run.data[record.at as usize..];
                    if (times.0..=times.1).contains(&record.timestamp_ns) {
                        order.push(key(record.timestamp_ns, data));
                    }
                }
            }
            Followed::CaughtUp { .. } => panic!("nobody records"),
            Followed::Ended => break,
        }
    }
    assert_eq!(read + follow.taken().packets_skipped, 3600);
    order
}

#[test]
fn what_is_wanted_of_stepping_clocks_comes_in_the_same_order() {
    let mut numbers = Numbers(1);
    let (mut least, mut all) = (u64::MAX, 0);
    for _ in 0..6 {
        let dir = TempDir::new();
        stored(dir.path(), &mut numbers);
        let store = Store::open(dir.path()).unwrap();
        all = store.segments().unwrap().iter().map(|segment| segment.bytes).sum::<u64>();
        for _ in 0..12 {
            let from = 1_000_000 * S + numbers.next(2000 * S);
            let times = (from, from + numbers.next(60 * S));
            let wanted = Wanted::Between(times.0, times.1);
            let (expected, _) = by_captures(&store, None, times);
            let (found, bytes) = by_captures(&store, Some(&wanted), times);
            assert_eq!(found, expected);
            assert_eq!(by_following(&store, Some(&wanted), times), expected);
            least = least.min(bytes);
        }
        let everything = (0, u64::MAX);
        let (expected, _) = by_captures(&store, None, everything);
        assert_eq!(by_following(&store, None, everything), expected);
        // Nothing of it: no segment is opened, but what ends the captures is read.
        let never = (5, 5);
        let (none, _) = by_captures(&store, Some(&Wanted::Between(5, 5)), never);
        assert!(none.is_empty() && by_following(&store, Some(&Wanted::Never), never).is_empty());
    }
    assert!(4 * least < all, "{least} of {all} bytes");
}
