//! Batches are what record by record gives: same records, same order, same damage.

mod support;

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use support::*;
use wt_wire::{
    Batch, ByteOrder, CaptureError, CaptureReader, Damage, Direction, Framing, LinkType,
    MergedCaptures, PcapVariant, Record, RecordRef, TimeResolution,
};

/// All that a capture gives: each record with its offset, then the damage.
type Story = (Vec<(u64, Owned)>, Option<Damage>);

fn note(story: &mut Story, record: Record<'_>) {
    story.0.push((record.offset, Owned::from(record)));
}

fn note_batch(story: &mut Story, batch: &Batch<'_>, max: usize) {
    assert!((1..=max.max(1)).contains(&batch.records.len()));
    batch.iter().for_each(|record| note(story, record));
}

fn one_by_one(reader: &mut CaptureReader) -> Story {
    let mut story = Story::default();
    loop {
        match reader.next() {
            Ok(Some(record)) => note(&mut story, record),
            Ok(None) => return story,
            Err(error) => story.1 = error.damage().cloned(),
        }
    }
}

/// In batches of each size in turn; 0 stands for a single record.
fn in_batches(reader: &mut CaptureReader, sizes: &[usize]) -> Story {
    let (mut story, mut records) = (Story::default(), Vec::new());
    for &size in sizes.iter().cycle() {
        let step = if size == 0 {
            reader.next().map(|record| record.map(|record| note(&mut story, record)))
        } else {
            let batch = reader.next_batch(&mut records, size);
            batch.map(|batch| batch.map(|batch| note_batch(&mut story, &batch, size)))
        };
        match step {
            Ok(Some(())) => {}
            Ok(None) => break,
            Err(error) => {
                assert!(story.1.is_none(), "damage is told once");
                story.1 = error.damage().cloned();
            }
        }
    }
    assert!(matches!(reader.next_batch(&mut records, 8), Ok(None)));
    assert_eq!(reader.records(), story.0.len() as u64);
    assert_eq!(reader.damage(), story.1.as_ref());
    story
}

/// Compares on readers that `open` makes.
fn check(what: &str, open: impl Fn() -> Result<CaptureReader, CaptureError>, sizes: &[usize]) {
    let Ok(mut reader) = open() else { return };
    let told = one_by_one(&mut reader);
    let mut batched = open().expect("opens again");
    assert_eq!(in_batches(&mut batched, sizes), told, "{what} in batches of {sizes:?}");
    assert_eq!(batched.caplen_above_len(), reader.caplen_above_len(), "{what}");
    assert_eq!(batched.interfaces(), reader.interfaces(), "{what}");
}

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let mut paths = Vec::new();
    for directory in [root.clone(), root.join("damaged"), root.join("generated")] {
        let entries = fs::read_dir(directory).expect("captures").flatten();
        paths.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    assert!(paths.len() > 40);
    paths
}

#[test]
fn every_capture_in_batches_of_any_size() {
    for path in captures() {
        for sizes in [&[1][..], &[2], &[1024], &[7, 0, 0, 100, 1]] {
            check(&path.display().to_string(), || CaptureReader::open(&path), sizes);
        }
    }
}

/// Hands out a few bytes at a time, as a pipe may.
struct Drip(Cursor<Vec<u8>>, usize);

impl Read for Drip {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = out.len().min(self.1);
        self.0.read(&mut out[..len])
    }
}

#[test]
fn a_dripping_pipe_gives_the_same() {
    for path in captures() {
        let bytes = fs::read(&path).unwrap();
        for step in [13, 1000] {
            let open = || {
                let source = Drip(Cursor::new(bytes.clone()), step);
                CaptureReader::from_reader("drip", source)
            };
            check(&path.display().to_string(), open, &[64]);
        }
    }
}

fn samples(link_type: LinkType) -> Vec<Owned> {
    let sample = |n: u8| Owned {
        interface: u32::from(n / 3 % 2),
        direction: [Direction::Unknown, Direction::Inbound, Direction::Outbound][n as usize % 3],
        // Some are longer in the file than on the wire.
        len: 20,
        link_type,
        ..record(u64::from(n) * 1_000_000_000, &vec![n; usize::from(n) * 3])
    };
    (0..16).map(sample).collect()
}

fn formats() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for variant in [PcapVariant::Micro, PcapVariant::Nano] {
            files.push(pcap(variant, order, &samples(LinkType::ETHERNET)));
        }
        // Version 2.2 has the lengths the other way round, 2.3 both ways.
        for minor in [2, 3] {
            let records = samples(LinkType::RAW).into_iter().map(|mut r| {
                // Where the smaller one is the captured length, it cannot be above the other.
                r.data.truncate(if minor == 3 { r.len as usize } else { usize::MAX });
                let (seconds, caplen) = (r.timestamp_ns / 1_000_000_000, r.data.len() as u32);
                [u32s(order, &[seconds as u32, 5, r.len, caplen]), r.data].concat()
            });
            let mut head = pcap(PcapVariant::Micro, order, &[]);
            head[6..8].copy_from_slice(&match order {
                ByteOrder::Little => u16::to_le_bytes(minor),
                ByteOrder::Big => u16::to_be_bytes(minor),
            });
            files.push(head.into_iter().chain(records.flatten()).collect());
        }
        let interfaces = [
            (Some("a"), LinkType::ETHERNET, TimeResolution::NANO),
            (Some("b"), LinkType::ETHERNET, TimeResolution::MICRO),
        ];
        files.push(pcapng(order, &interfaces, &samples(LinkType::ETHERNET)));
        let modified = samples(LinkType::ETHERNET).into_iter().map(|r| {
            let (seconds, caplen) = (r.timestamp_ns / 1_000_000_000, r.data.len() as u32);
            let mut bytes = u32s(order, &[seconds as u32, 5, caplen, r.len, 0]);
            bytes.extend_from_slice(&[0, 8, caplen as u8 % 6, 0]);
            [bytes, r.data].concat()
        });
        let head = [&u32s(order, &[0xa1b2_cd34])[..], &pcap(PcapVariant::Micro, order, &[])[4..]];
        files.push(head.concat().into_iter().chain(modified.flatten()).collect());
    }
    files
}

#[test]
fn every_cut_and_every_flipped_byte_of_every_format() {
    for (number, whole) in formats().into_iter().enumerate() {
        assert_eq!(read(&whole).0.len(), 16, "format {number} is well made");
        for at in 0..whole.len() {
            check(&format!("format {number} cut at {at}"), || open(&whole[..at]), &[5, 1000]);
            let mut damaged = whole.clone();
            damaged[at] ^= 0x91;
            check(&format!("format {number} flipped at {at}"), || open(&damaged), &[1000]);
        }
    }
}

#[test]
fn a_batch_has_one_interface_and_ends_where_it_changes() {
    let interfaces = [
        (None, LinkType::ETHERNET, TimeResolution::NANO),
        (None, LinkType::RAW, TimeResolution::NANO),
    ];
    let records = samples(LinkType::ETHERNET);
    let mut reader = open(&pcapng(ByteOrder::Little, &interfaces, &records)).unwrap();
    let (mut storage, mut seen) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch(&mut storage, 1000).unwrap() {
        assert_eq!(batch.link_type, interfaces[batch.interface as usize].1);
        seen.push((batch.interface, batch.records.len()));
    }
    assert_eq!(seen, [(0, 3), (1, 3), (0, 3), (1, 3), (0, 3), (1, 1)]);
}

#[test]
fn a_plain_pcap_fills_its_batches() {
    let records: Vec<_> = (0..5000u64).map(|n| record(n, &[1; 40])).collect();
    let mut reader = open(&pcap(PcapVariant::Nano, ByteOrder::Little, &records)).unwrap();
    let (mut storage, mut sizes) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch(&mut storage, 1024).unwrap() {
        sizes.push(batch.records.len());
    }
    // 4681 records fill the buffer of 256 KiB.
    assert_eq!(sizes, [1024, 1024, 1024, 1024, 584, 320]);
}

#[test]
fn reading_goes_on_where_asked() {
    let records: Vec<_> = (0..100u64).map(|n| record(n, &[n as u8; 40])).collect();
    let bytes = pcap(PcapVariant::Nano, ByteOrder::Little, &records);
    let mut reader = open(&bytes[..24]).unwrap();
    assert!(matches!(reader.next(), Ok(None)));
    let layout = reader.layout().expect("a plain layout");
    assert_eq!((layout.records_at, layout.tick_ns), (24, 1));
    let offset = 24 + 70 * 56;
    assert!(reader.continue_at(offset, Cursor::new(bytes[offset as usize..].to_vec())));
    let (told, damage) = one_by_one(&mut reader);
    assert_eq!((told.len(), damage), (30, None));
    assert_eq!(told[0], (offset, records[70].clone()));

    // One that was not asked how its records lie.
    let mut other = open(&bytes).unwrap();
    assert!(!other.continue_at(offset, Cursor::new(Vec::new())));
}

#[test]
fn blocks_go_on_where_asked() {
    let records: Vec<_> = (0..100u64).map(|n| record(n * 1000, &[n as u8; 40])).collect();
    let interface = (Some("a"), LinkType::ETHERNET, TimeResolution::MICRO);
    let bytes = pcapng(ByteOrder::Little, &[interface], &records);
    let mut reader = open(&bytes).unwrap();
    let layout = reader.layout().expect("a plain layout");
    let at = bytes.len() as u64 - 100 * 72;
    assert_eq!((layout.framing, layout.tick_ns), (Framing::EnhancedPacket, 1000));
    assert_eq!((layout.records_at, reader.interfaces().len()), (at, 1));
    let (told, _) = one_by_one(&mut reader);
    assert_eq!(told.len(), 100);
    assert_eq!((reader.offset(), reader.layout()), (bytes.len() as u64, Some(layout)));
    let offset = at + 70 * 72;
    assert!(reader.continue_at(offset, Cursor::new(bytes[offset as usize..].to_vec())));
    let (told, damage) = one_by_one(&mut reader);
    assert_eq!((told.len(), damage), (30, None));
    assert_eq!(told[0], (offset, records[70].clone()));

    let big = pcapng(ByteOrder::Big, &[interface], &records);
    let two = pcapng(ByteOrder::Little, &[interface, interface], &records);
    let coarse = (None, LinkType::ETHERNET, TimeResolution::Decimal(3));
    let coarse = pcapng(ByteOrder::Little, &[coarse], &records);
    for other in [big, two, coarse, pcapng(ByteOrder::Little, &[], &[])] {
        let told = one_by_one(&mut open(&other).unwrap());
        let mut reader = open(&other).unwrap();
        assert_eq!(reader.layout(), None);
        assert!(!reader.continue_at(28, Cursor::new(Vec::new())));
        // Nothing is lost by the question.
        assert_eq!(one_by_one(&mut reader), told);
    }
}

fn merged(captures: &[Vec<u8>]) -> MergedCaptures {
    MergedCaptures::new(captures.iter().map(|bytes| open(bytes).unwrap()).collect())
}

/// Source and record of everything delivered, and the damage on the way by its place.
fn drain_merged(
    merged: &mut MergedCaptures,
    mut size: impl FnMut() -> usize,
) -> Vec<Result<(usize, Owned), String>> {
    let (mut told, mut storage) = (Vec::new(), Vec::<RecordRef>::new());
    loop {
        let step = match size() {
            0 => merged.next().map(|sourced| {
                let sourced = sourced?;
                told.push(Ok((sourced.source, Owned::from(sourced.record))));
                Some(())
            }),
            size => merged.next_batch(&mut storage, size).map(|sourced| {
                let sourced = sourced?;
                assert!((1..=size).contains(&sourced.batch.records.len()));
                let records = sourced.batch.iter();
                told.extend(records.map(|record| Ok((sourced.source, Owned::from(record)))));
                Some(())
            }),
        };
        match step {
            Ok(Some(())) => {}
            Ok(None) => return told,
            Err(error) => told.push(Err(error.to_string())),
        }
    }
}

/// Of captures that take turns each batch has one record: storage for a thousand must cost nothing then.
#[test]
fn a_batch_of_one_record_touches_no_other_storage() {
    let captures = [0, 1].map(|first| {
        let records: Vec<_> = (0..9u64).map(|n| record(2 * n + first, &[7; 40])).collect();
        pcap(PcapVariant::Nano, ByteOrder::Little, &records)
    });
    let mut merged = merged(&captures);
    let mark = RecordRef { caplen: 77, ..RecordRef::EMPTY };
    let mut storage = vec![mark; 1000];
    for turn in 0..18 {
        let sourced = merged.next_batch(&mut storage, 1000).unwrap().expect("a batch");
        let records = sourced.batch.records;
        assert_eq!((sourced.source, records.len()), (turn % 2, 1));
        assert_eq!(storage.len(), 1000);
        assert!(storage[1..].iter().all(|place| *place == mark));
    }
}

proptest! {
    #[test]
    fn merged_batches_are_merged_records(
        captures in prop::collection::vec(prop::collection::vec(0u64..20, 0..40), 0..5),
        cuts in prop::collection::vec(0usize..30, 5),
        sizes in prop::collection::vec(0usize..9, 1..6),
        as_pcapng in any::<bool>(),
    ) {
        let files: Vec<_> = captures.iter().zip(&cuts).map(|(times, cut)| {
            let records: Vec<_> = times.iter().map(|&t| record(t, &t.to_le_bytes())).collect();
            let interface = (None, LinkType::ETHERNET, TimeResolution::NANO);
            let bytes = match as_pcapng {
                true => pcapng(ByteOrder::Little, &[interface], &records),
                false => pcap(PcapVariant::Nano, ByteOrder::Little, &records),
            };
            // Some end within a record.
            let len = (bytes.len() - cut.saturating_sub(15)).max(28.min(bytes.len()));
            bytes[..len].to_vec()
        }).collect();
        let one_by_one = drain_merged(&mut merged(&files), || 0);
        let mut turn = sizes.iter().copied().cycle();
        let batched = drain_merged(&mut merged(&files), || turn.next().unwrap());
        // Damage is told when a head is read: a batch may reach a capture's end one call later.
        prop_assert_eq!(batched, one_by_one);
    }
}
