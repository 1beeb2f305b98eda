//! A trace gives what record by record gives, whatever the bytes and however they are cut.

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use support::*;
use wt_trace::{MapFile, Tuning};
use wt_wire::CaptureReader;

#[test]
fn every_capture() {
    let mut plains = 0;
    for path in captures() {
        check(&path, &path.display().to_string());
        plains += usize::from(plain(&path).is_some());
    }
    assert!(plains > 20, "{plains} of the captures are plain");
}

#[test]
fn every_cut_of_a_small_file() {
    let whole = fs::read(captures().iter().find(|p| p.ends_with("dns.pcap")).unwrap()).unwrap();
    assert!(whole.len() > 1000);
    for len in 0..800 {
        let path = file("cut.pcap", &whole[..len]);
        check(&path, &format!("cut at {len}"));
    }
}

#[test]
fn flipped_bits() {
    let whole = fs::read(captures().iter().find(|p| p.ends_with("ssh.pcap")).unwrap()).unwrap();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=random(4) {
            // Most in headers, which is where they count.
            let at = if random(2) == 0 { random(200) } else { random(whole.len()) };
            bytes[at] ^= 1 << random(8);
        }
        check(&file("flipped.pcap", &bytes), &format!("round {round}"));
    }
}

/// Records whose payloads are records, as many and as good as those around them.
fn nested(depth: u32, fill: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; fill];
    for level in 0..depth {
        let records: Vec<_> = (0..3).map(|n| (1_700_000_000 + n, level, payload.clone())).collect();
        payload = pcap(&records)[24..].to_vec();
        // Shifted, so that no inner record begins where an outer one may.
        payload.insert(0, 0);
    }
    payload
}

#[test]
fn payloads_that_look_like_records_fool_nobody() {
    for (depth, fill) in [(1, 40), (3, 17), (5, 60), (6, 1)] {
        let records: Vec<_> =
            (0..200).map(|n| (1_700_000_000 + n / 50, n, nested(depth, fill))).collect();
        let path = file("nested.pcap", &pcap(&records));
        check(&path, &format!("{depth} deep, {fill} bytes within"));
        let trace = plain(&path).unwrap();
        let wrong = trace.split(9).iter().skip(1).any(|range| {
            !in_batches(&mut trace.reader()).0.iter().any(|r| r.offset == range.start)
        });
        assert!(wrong || depth < 3, "some guess should have been fooled");
    }
}

#[test]
fn odd_records_that_nobody_guesses_are_walked_over() {
    // Empty ones, fractions above a second, and times that jump.
    let records: Vec<_> = (0..3000u32)
        .map(|n| (n.wrapping_mul(0x9e37_79b9), n * 7919, vec![n as u8; n as usize % 5]))
        .collect();
    check(&file("odd.pcap", &pcap(&records)), "odd records");
    // One that is too long, in the middle.
    let mut bytes = pcap(&records);
    let at = bytes.len() / 2;
    bytes[at..at + 64].fill(0xff);
    check(&file("odd-cut.pcap", &bytes), "an impossible record");
}

#[test]
fn a_stretch_is_given_in_any_order_where_every_guess_is_right() {
    let record = |n: u32| (1_700_000_000 + n / 500, n, vec![n as u8; 40 + n as usize * 7 % 900]);
    let records: Vec<_> = (0..4000).map(record).collect();
    let bytes = pcap(&records);
    let tuning =
        Tuning { map: MapFile::Always, chains: 16, segment_len: 9000, ..Tuning::default() };
    let read = |bytes: &[u8]| {
        let path = file("any.pcap", bytes);
        let mut reader = plain(&path).expect("a plain file").tuned(tuning).reader();
        in_any_order(&mut reader).map(|(records, _)| records)
    };
    let found = read(&bytes).expect("it counts");
    assert_eq!(found.len(), 4000);
    assert!(found.iter().zip(&records).all(|(found, record)| found.data == record.2));
    // Cut off in the last record, or odd in the middle: it does not.
    assert_eq!(read(&bytes[..bytes.len() - 1]), None);
    let mut odd = bytes.clone();
    let at = found[2000].offset as usize;
    odd[at + 8..at + 12].fill(0xff);
    assert_eq!(read(&odd), None);
    // Nor does a record too long for the chain that begins within it.
    let mut long = records.clone();
    long[2000].2 = pcap(&records[..200])[24..].to_vec();
    assert_eq!(read(&pcap(&long)), None);
    // Too few records for so many chains.
    assert_eq!(read(&pcap(&records[..100])), None);
}

#[test]
fn records_of_the_largest_size() {
    let sizes = [262_144, 1, 262_144, 262_143, 0, 200_000, 262_144];
    let records: Vec<_> = sizes.map(|size| (1_700_000_000, 0, vec![7; size])).to_vec();
    check(&file("large.pcap", &pcap(&records)), "large records");
}

#[test]
fn what_cannot_be_opened_is_told_as_always() {
    check(Path::new("/nonexistent.pcap"), "a file that is not there");
    check(Path::new("/"), "a directory");
}

#[test]
fn a_file_that_grows_is_read_to_its_end() {
    let records: Vec<_> = (0..5000u32).map(|n| (1_700_000_000, n, vec![1; 100])).collect();
    let bytes = pcap(&records);
    for tuning in tunings() {
        let path = file("growing.pcap", &bytes[..bytes.len() / 2]);
        let mut reader = plain(&path).unwrap().tuned(tuning).reader();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(in_batches(&mut reader).0.len(), 5000, "{tuning:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_cut_into_chains(
        sizes in prop::collection::vec(0usize..400, 1..600),
        chains in 0usize..40,
        batch_len in 1usize..70_000,
        read_batch_len in 1usize..70_000,
        segment_len in 1usize..20_000,
        ranges in 1usize..20,
        cut in 0usize..500,
        shift in 0usize..3,
    ) {
        let mut bytes = pcap(&sizes.iter().enumerate().map(|(n, &size)| {
            // Payloads of record headers, at every alignment.
            let fake = pcap(&vec![(1_700_000_000, 1, vec![0; 20]); 12]);
            (1_700_000_000 + n as u32 / 9, n as u32, fake[24 + shift..][..size].to_vec())
        }).collect::<Vec<_>>());
        bytes.truncate((bytes.len() - cut.min(bytes.len())).max(24));
        let path = file(&format!("any-{}.pcap", std::process::id()), &bytes);
        let told = one_by_one(&mut CaptureReader::open(&path).unwrap());
        let trace = plain(&path).unwrap();
        for map in [MapFile::Always, MapFile::Never] {
            let tuning = Tuning { map, chains, batch_len, read_batch_len, segment_len };
            check_ways(&trace.clone().tuned(tuning), &told, ranges);
        }
        // Ranges that begin anywhere are put right by what is told of the one before.
        let any = [24..bytes.len() as u64 / 2, bytes.len() as u64 / 2..u64::MAX];
        assert_same(&in_ranges(&trace, &any), &told, "in ranges cut anywhere");
    }
}
