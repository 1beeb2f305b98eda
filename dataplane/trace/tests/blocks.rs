//! Plain pcapng: a trace gives what record by record gives, whatever the blocks and however they are cut.

mod support;

use std::fs;

use proptest::prelude::*;
use support::*;
use wt_trace::{MapFile, Tuning};
use wt_wire::{CaptureReader, Direction, Framing};

/// A second of stamps in nanoseconds.
const SECOND: u64 = 1_000_000_000;
const BEGUN: u64 = 1_700_000_000 * SECOND;

/// Interface statistics, as writers put them at the end and between.
fn statistics() -> Vec<u8> {
    block(5, &[0; 12])
}

/// Packets of all lengths, some with options, some behind blocks of other kinds.
fn mixed(count: u64) -> Vec<u8> {
    let mut bytes = pcapng_head(9);
    for n in 0..count {
        if n % 7 == 3 {
            bytes.extend(statistics());
        }
        let options = flags(n as u8 % 3);
        let options = if n % 4 == 1 { &options[..] } else { &[] };
        let data = vec![n as u8; n as usize * 5 % 61];
        bytes.extend(packet_block(0, BEGUN + n * 1000, &data, options));
    }
    bytes.extend(statistics());
    bytes
}

#[test]
fn every_cut_of_blocks() {
    let whole = mixed(30);
    for len in 0..whole.len() {
        check(&file("cut.pcapng", &whole[..len]), &format!("cut at {len}"));
    }
    let path = file("cut.pcapng", &whole);
    check(&path, "whole");
    let trace = plain(&path).expect("a plain file");
    let layout = trace.layout();
    assert_eq!((layout.framing, layout.tick_ns), (Framing::EnhancedPacket, 1));
    let (records, damage) = in_batches(&mut trace.reader());
    assert_eq!((records.len(), damage), (30, None));
    let directions: Vec<_> = records.iter().map(|record| record.direction).collect();
    assert_eq!(directions[..6], [0, 1, 0, 0, 0, 2].map(direction));
    assert_eq!(records[7].timestamp_ns, BEGUN + 7000);
}

fn direction(flags: u8) -> Direction {
    match flags {
        1 => Direction::Inbound,
        2 => Direction::Outbound,
        _ => Direction::Unknown,
    }
}

#[test]
fn flipped_bits_of_blocks() {
    let whole = mixed(60);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = if random(2) == 0 { random(300) } else { random(whole.len()) };
            bytes[at] ^= 1 << random(8);
        }
        check(&file("flipped.pcapng", &bytes), &format!("round {round}"));
    }
}

#[test]
fn each_word_of_a_block_may_lie() {
    // A block with options, in the middle of others.
    let (before, after) = (mixed(40), mixed(40));
    let block = packet_block(0, BEGUN, &[9; 50], &flags(1));
    let behind = &after[pcapng_head(9).len()..];
    for at in (0..block.len()).step_by(4) {
        for word in [0, 1, 3, 11, 32, 33, 96, 100, 1 << 16, 1 << 24, u32::MAX] {
            let mut lying = block.clone();
            lying[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let bytes = [&before[..], &lying, behind].concat();
            check(&file("lying.pcapng", &bytes), &format!("{word} at {at}"));
        }
    }
}

/// Blocks whose payloads are blocks, as many and as good as those around them.
fn nested(depth: u32, fill: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; fill];
    for level in 0..depth {
        let block = |n: u64| packet_block(0, BEGUN + n * SECOND + u64::from(level), &payload, &[]);
        payload = (0..8).flat_map(block).collect();
    }
    payload
}

#[test]
fn payloads_that_look_like_blocks_fool_nobody() {
    for (depth, fill) in [(1, 40), (2, 16), (3, 4)] {
        let payload = nested(depth, fill);
        let packet = |n: u64| packet_block(0, BEGUN + n * SECOND / 50, &payload, &[]);
        let bytes = [pcapng_head(9), (0..60).flat_map(packet).collect()].concat();
        let path = file("nested.pcapng", &bytes);
        check(&path, &format!("{depth} deep, {fill} bytes within"));
        let trace = plain(&path).unwrap();
        let wrong = trace.split(9).iter().skip(1).any(|range| {
            !in_batches(&mut trace.reader()).0.iter().any(|r| r.offset == range.start)
        });
        assert!(wrong || depth < 2, "some guess should have been fooled");
    }
}

#[test]
fn interfaces_and_sections_described_on_the_way_are_told() {
    let packets = |interface: u32| -> Vec<u8> {
        let packet = |n: u64| packet_block(interface, BEGUN + n, &[1; 60], &[]);
        (0..500).flat_map(packet).collect()
    };
    let another = [pcapng_head(9), packets(0), interface_block(6), packets(1), packets(0)].concat();
    let section = [pcapng_head(6), packets(0), pcapng_head(9), packets(0)].concat();
    for (name, bytes, interfaces) in [("interface", another, 2), ("section", section, 2)] {
        let path = file(&format!("{name}.pcapng"), &bytes);
        check(&path, name);
        let mut reader = plain(&path).expect("begins as a plain one").reader();
        assert_eq!(reader.interfaces().len(), 1);
        let (records, _) = in_batches(&mut reader);
        assert_eq!(reader.interfaces().len(), interfaces);
        assert!(records.iter().any(|record| record.interface == 1), "{name}");
    }
}

#[test]
fn what_has_no_layout_is_read_record_by_record() {
    let packet = packet_block(0, 7, &[1; 60], &[]);
    let simple = block(3, &[60, 0, 0, 0]);
    let of = |parts: &[&[u8]]| parts.concat();
    for (what, bytes) in [
        ("no interface", of(&[&pcapng_head(9)[..28], &packet])),
        ("two interfaces", of(&[&pcapng_head(9), &interface_block(9), &packet])),
        ("stamps in seconds", of(&[&pcapng_head(0), &packet])),
        ("stamps in halves", of(&[&pcapng_head(0x81), &packet])),
        ("a simple packet first", of(&[&pcapng_head(9), &simple])),
        ("another section first", of(&[&pcapng_head(9), &pcapng_head(9), &packet])),
    ] {
        let path = file("other.pcapng", &bytes);
        assert!(plain(&path).is_none(), "{what}");
        check(&path, what);
    }
    let path = file("other.pcapng", &of(&[&pcapng_head(9), &block(10, &[7; 999]), &packet]));
    assert!(plain(&path).is_some(), "secrets stand before the packets");
    check(&path, "secrets first");
}

#[test]
fn blocks_are_given_in_any_order_where_every_guess_is_right() {
    let data = |n: u64| vec![n as u8; 40 + n as usize * 7 % 900];
    let packet = |n: u64| packet_block(0, BEGUN + n * SECOND / 500, &data(n), &flags(n as u8 % 3));
    let of = |packets: std::ops::Range<u64>| -> Vec<u8> {
        [pcapng_head(9), packets.flat_map(packet).collect()].concat()
    };
    let tuning =
        Tuning { map: MapFile::Always, chains: 16, segment_len: 9000, ..Tuning::default() };
    let read = |bytes: &[u8]| {
        let path = file("any.pcapng", bytes);
        let mut reader = plain(&path).expect("a plain file").tuned(tuning).reader();
        in_any_order(&mut reader).map(|(records, _)| records)
    };
    let bytes = of(0..4000);
    let found = read(&bytes).expect("it counts");
    assert_eq!(found.len(), 4000);
    for (n, found) in (0..).zip(&found) {
        assert_eq!((&found.data, found.direction), (&data(n), direction(n as u8 % 3)));
    }
    // Statistics at the end belong to it.
    assert_eq!(read(&[&bytes[..], &statistics()].concat()).expect("it counts").len(), 4000);
    // Cut off in the last record, odd in the middle, or ended by another length than it began with: it does not.
    assert_eq!(read(&bytes[..bytes.len() - 1]), None);
    for at in [found[2000].offset + 20, found[2000].offset - 4, bytes.len() as u64 - 4] {
        let mut odd = bytes.clone();
        odd[at as usize] ^= 4;
        assert_eq!(read(&odd), None, "{at}");
    }
    // Whichever of a batch it is.
    for record in &found[1000..1300] {
        let mut odd = bytes.clone();
        odd[record.offset as usize - 4] ^= 4;
        assert_eq!(read(&odd), None, "{}", record.offset);
    }
}

#[test]
fn blocks_of_the_largest_size() {
    let sizes = [262_144, 1, 262_144, 262_143, 0, 200_000, 262_144];
    let packet = |(n, size): (usize, usize)| {
        packet_block(0, BEGUN + n as u64, &vec![7; size], &flags(n as u8 % 3))
    };
    let packets: Vec<u8> = sizes.into_iter().enumerate().flat_map(packet).collect();
    let secrets = block(10, &vec![1; 3 << 20]);
    let bytes = [&pcapng_head(9)[..], &packets, &secrets, &packets].concat();
    check(&file("large.pcapng", &bytes), "large blocks");
    let too_large = packet((9, 262_145));
    let path =
        file("large.pcapng", &[&pcapng_head(9)[..], &packets, &too_large, &packets].concat());
    check(&path, "a block that is too large");
    let (records, damage) = in_batches(&mut plain(&path).unwrap().reader());
    assert!(records.len() == sizes.len() && damage.is_some(), "{damage:?}");
}

#[test]
fn blocks_that_are_appended_are_read() {
    let packet = |n: u64| packet_block(0, BEGUN + n, &[1; 100], &[]);
    let bytes = [pcapng_head(9), (0..5000).flat_map(packet).collect()].concat();
    for tuning in tunings() {
        let path = file("growing.pcapng", &bytes[..bytes.len() / 2]);
        let mut reader = plain(&path).unwrap().tuned(tuning).reader();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(in_batches(&mut reader).0.len(), 5000, "{tuning:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_cut_into_chains_of_blocks(
        sizes in prop::collection::vec(0usize..400, 1..600),
        digits in prop::sample::select(vec![6_u8, 9]),
        others in 1usize..30,
        chains in 0usize..40,
        batch_len in 1usize..70_000,
        read_batch_len in 1usize..70_000,
        segment_len in 1usize..20_000,
        ranges in 1usize..20,
        cut in 0usize..500,
        shift in 0usize..5,
    ) {
        let second = 10_u64.pow(u32::from(digits));
        let stamp = |n: u64| 1_700_000_000 * second + n * second / 9;
        // Payloads of blocks, at every alignment.
        let fake: Vec<u8> = (0..12).flat_map(|n| packet_block(0, stamp(n), &[0; 20], &[])).collect();
        let head = pcapng_head(digits);
        let mut bytes = head.clone();
        for (n, &size) in sizes.iter().enumerate() {
            if n % others == others - 1 {
                bytes.extend(statistics());
            }
            let options = if n % 5 == 0 { &flags(n as u8 % 3)[..] } else { &[] };
            bytes.extend(packet_block(0, stamp(n as u64), &fake[shift..][..size], options));
        }
        bytes.truncate((bytes.len() - cut.min(bytes.len())).max(head.len()));
        let path = file(&format!("any-{}.pcapng", std::process::id()), &bytes);
        let told = one_by_one(&mut CaptureReader::open(&path).unwrap());
        let trace = plain(&path).unwrap();
        for map in [MapFile::Always, MapFile::Never] {
            let tuning = Tuning { map, chains, batch_len, read_batch_len, segment_len };
            check_ways(&trace.clone().tuned(tuning), &told, ranges);
        }
    }
}
