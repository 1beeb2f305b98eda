//! Several writers of a store, and clocks that step: each keeps its order, and no packet is missing, whoever reads.

#[expect(dead_code, reason = "other tests need more of it")]
mod store_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store_support::{Made, TempDir, made};
use wt_trace::record::{self, Feed, Interface, RecordOptions, Writer};
use wt_trace::store::{Follow, Followed, OwnStore, Store};
use wt_wire::{LinkType, MergedCaptures};

const HOUR: u64 = 3_600_000_000_000;

/// Packets whose clock is set by `step`, which is given their number.
fn stepping(writer: u64, count: u64, step: impl Fn(u64) -> u64) -> Vec<Made> {
    let mut packets = made(count, writer, 200);
    for (number, packet) in (0..).zip(&mut packets) {
        packet.timestamp_ns = 1_700_000_000_000_000_000 + number * 1_000_000 + writer;
        packet.timestamp_ns = packet.timestamp_ns + step(number) - HOUR;
    }
    packets
}

fn begin(store: &Arc<OwnStore>, number: u16) -> (Feed, Writer) {
    let options = RecordOptions { segment_bytes: 1 << 20, waits: true, ..RecordOptions::default() };
    record::start(store, number, &options).unwrap()
}

fn feed_all(feed: &mut Feed, packets: &[Made]) {
    let name = Some("eth0".into());
    let interface = feed.interface(&Interface { name, link_type: LinkType(1), snap_len: 0 });
    packets.iter().for_each(|packet| feed.packets(interface, &packet.data, &[packet.record()]));
}

/// Writer and number of a packet, of its own bytes.
fn who(data: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap());
    (word(8), word(0))
}

/// Whose turn it is, by the stamps at the heads.
fn merged(writers: &[Vec<Made>]) -> Vec<(u64, u64)> {
    let mut next = vec![0; writers.len()];
    let mut order = Vec::new();
    loop {
        let heads = writers.iter().zip(&next).enumerate();
        let heads = heads.filter_map(|(w, (all, at))| Some((all.get(*at)?.timestamp_ns, w)));
        let Some((_, writer)) = heads.min() else { return order };
        order.push((writer as u64, next[writer] as u64));
        next[writer] += 1;
    }
}

fn by_captures(dir: &Path) -> Vec<(u64, u64)> {
    let (readers, findings) = Store::open(dir).unwrap().captures().unwrap();
    let mut captures = MergedCaptures::new(readers);
    let mut order = Vec::new();
    while let Some(sourced) = captures.next().unwrap() {
        order.push(who(sourced.record.data));
    }
    assert!(findings.all().is_empty());
    order
}

/// What a follower gives until it has so many packets, or has caught up where it does not wait.
fn by_following(follow: &mut Follow, count: usize, waits: bool) -> Vec<(u64, u64)> {
    let mut order = Vec::new();
    let mut looks = 0;
    // A minute: more than it ever takes.
    while looks < 6000 {
        match follow.next(100).unwrap() {
            Followed::Packets(run) => {
                let of = |record: &wt_wire::RecordRef| who(&run.data[record.at as usize..]);
                order.extend(run.records.iter().map(of));
            }
            Followed::Ended => break,
            Followed::CaughtUp { .. } if order.len() >= count || !waits => break,
            Followed::CaughtUp { .. } => {
                looks += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    order
}

#[test]
fn whatever_clocks_do_each_writer_keeps_its_order_and_no_packet_is_missing() {
    // All step back by an hour, each at another packet; one steps forward and back; one goes on.
    let writers = [
        stepping(0, 7000, |n| if n < 3000 { HOUR } else { 0 }),
        stepping(1, 7000, |n| if n < 3100 { HOUR } else { 0 }),
        stepping(2, 7000, |n| if (2000..2050).contains(&n) { 2 * HOUR } else { HOUR }),
        stepping(3, 7000, |_| HOUR),
    ];
    let dir = TempDir::new();
    let (store, _) = OwnStore::open(dir.path(), 64 << 10).unwrap();
    let store = Arc::new(store);
    for (number, packets) in (0..).zip(&writers) {
        let (mut feed, writer) = begin(&store, number);
        feed_all(&mut feed, packets);
        feed.finish();
        assert!(writer.join().failure.is_none());
    }
    drop(store);
    let expected = merged(&writers);
    assert_eq!(expected.len(), 28_000);
    assert!(by_captures(dir.path()) == expected);
    let mut follow = Follow::new(Store::open(dir.path()).unwrap()).unwrap();
    assert!(by_following(&mut follow, 28_000, false) == expected);
}

/// While a recorder goes on, a silent writer holds nobody up for as long as a clock was wrong.
#[test]
fn a_clock_that_was_ahead_holds_nothing_back() {
    let dir = TempDir::new();
    let (store, _) = OwnStore::open(dir.path(), 64 << 10).unwrap();
    let store = Arc::new(store);
    let ahead = stepping(0, 600, |n| if (200..300).contains(&n) { 2 * HOUR } else { HOUR });
    let silent = stepping(1, 10, |_| HOUR);
    let (mut first, first_writer) = begin(&store, 0);
    let (mut second, second_writer) = begin(&store, 1);
    feed_all(&mut first, &ahead);
    feed_all(&mut second, &silent);
    // Written soon; the other writer says how far it is, and has nothing more.
    let as_of_ns = ahead[599].timestamp_ns;
    let mark = |number| Store::open(dir.path()).unwrap().mark(number).map_or(0, |mark| mark.next);
    while mark(0) < 600 || mark(1) < 10 {
        first.tick(Some(as_of_ns));
        second.tick(Some(as_of_ns));
        std::thread::sleep(Duration::from_millis(20));
    }
    let reader = || Follow::new(Store::open(dir.path()).unwrap()).unwrap();
    let expected = merged(&[ahead, silent]);
    // Of what is there nothing waits for what may come.
    let mut past = reader();
    past.without_waiting();
    assert!(by_following(&mut past, 610, false) == expected);
    assert!(by_following(&mut reader(), 610, true) == expected);
    first.finish();
    second.finish();
    assert!(first_writer.join().failure.is_none() && second_writer.join().failure.is_none());
}
