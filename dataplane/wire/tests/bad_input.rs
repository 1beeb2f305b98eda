//! Damaged and hostile bytes: the records before the damage, then its kind, never more.

mod support;

use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;
use support::*;
use wt_wire::{
    ByteOrder, CaptureError, CaptureReader, Compression, DamageKind, INTERFACES_MAX, LinkType,
    PcapVariant, TimeResolution,
};

const LE: ByteOrder = ByteOrder::Little;

fn samples() -> Vec<Owned> {
    (1..=6u8).map(|n| record(u64::from(n) * 1_000_000_000, &vec![n; usize::from(n) * 7])).collect()
}

fn sample_pcap() -> Vec<u8> {
    pcap(PcapVariant::Micro, LE, &samples())
}

fn sample_pcapng() -> Vec<u8> {
    pcapng(LE, &[(Some("eth0"), LinkType::ETHERNET, TimeResolution::NANO)], &samples())
}

/// Section, interface and one good packet, then `tail`.
fn after_one_packet(tail: &[u8]) -> Vec<u8> {
    let head =
        [section(LE), interface(LE, 1, 0, &[]), packet(LE, 0, 1_000_000, b"good", &[])].concat();
    [&head[..], tail].concat()
}

/// The kind of damage of `tail` behind one good packet.
#[track_caller]
fn damage_after_one_packet(tail: &[u8]) -> DamageKind {
    let (records, damage) = read(&after_one_packet(tail));
    assert_eq!(records, [record(1_000_000_000, b"good")]);
    damage.expect("damage")
}

/// A block with lengths as given.
fn framed(kind: u32, leading: u32, body: &[u8], trailing: u32) -> Vec<u8> {
    [&u32s(LE, &[kind, leading])[..], body, &u32s(LE, &[trailing])].concat()
}

#[test]
fn every_truncation_yields_a_prefix() {
    let records = samples();
    for whole in [sample_pcap(), sample_pcapng()] {
        assert_eq!(read(&whole), (records.clone(), None));
        let mut counts = Vec::new();
        for len in 0..whole.len() {
            let (read, damage) = read(&whole[..len]);
            assert_eq!(read, records[..read.len()], "cut at {len}");
            // Cut between records a file is whole; anywhere else the damage is told.
            let between = damage.is_none();
            counts.push((read.len(), between));
        }
        let clean = counts.iter().filter(|(_, between)| *between).count();
        // After the file header, after an interface, after each record but the last.
        assert!((records.len()..=records.len() + 2).contains(&clean), "{clean} clean cuts");
        assert!(counts.is_sorted_by_key(|(count, _)| *count));
    }
}

#[test]
fn every_truncation_of_a_compressed_file_is_told() {
    let records = samples();
    for compression in COMPRESSIONS {
        let whole = compress(compression, &sample_pcap());
        for len in 1..whole.len() {
            let (read, damage) = read(&whole[..len]);
            assert_eq!(read, records[..read.len()], "{compression} cut at {len}");
            assert!(damage.is_some(), "{compression} cut at {len}");
        }
    }
}

#[test]
fn a_broken_compressed_tail_keeps_the_records_before() {
    let records: Vec<_> = (0..20_000u32).map(|n| record(0, &n.to_le_bytes())).collect();
    let whole = pcap(PcapVariant::Micro, LE, &records);
    for compression in COMPRESSIONS {
        let stored = compress(compression, &whole);
        let (read, damage) = read(&stored[..stored.len() - 1]);
        assert!(read.len() > 10_000, "{compression} kept {}", read.len());
        assert_eq!(read, records[..read.len()]);
        let Some(DamageKind::Decompression { compression: told, stored_offset, .. }) = damage
        else {
            panic!("{compression}: {damage:?}")
        };
        assert_eq!((told, stored_offset), (compression, stored.len() as u64 - 1));
    }
    let garbage = [compress(Compression::Gzip, &whole), b"garbage".to_vec()].concat();
    let (read, damage) = read(&garbage);
    assert_eq!(read, records);
    assert!(matches!(damage, Some(DamageKind::Decompression { .. })));
}

#[test]
fn openings_that_are_no_captures() {
    let kind = |bytes: &[u8]| read(bytes).1.expect("damage");
    assert_eq!(kind(b""), DamageKind::Empty);
    assert_eq!(kind(b"hello"), DamageKind::NotACapture { magic: (*b"hell").into() });
    assert_eq!(kind(b"hi"), DamageKind::NotACapture { magic: (*b"hi").into() });
    assert_eq!(kind(&[0xd4, 0xc3]), DamageKind::HeaderTruncated { needed: 4, got: 2 });
    assert_eq!(kind(&sample_pcap()[..23]), DamageKind::HeaderTruncated { needed: 24, got: 23 });
    assert_eq!(kind(&sample_pcapng()[..20]), DamageKind::HeaderTruncated { needed: 28, got: 20 });

    let mut version = sample_pcap();
    version[4] = 9;
    assert!(matches!(kind(&version), DamageKind::UnsupportedVersion { major: 9, minor: 4, .. }));
    let mut version = sample_pcapng();
    version[12] = 2;
    assert!(matches!(kind(&version), DamageKind::UnsupportedVersion { major: 2, minor: 0, .. }));
    let mut order = sample_pcapng();
    order[8] = 0;
    assert_eq!(kind(&order), DamageKind::ByteOrderMagic { found: 0x1a2b_3c00 });

    let twice = compress(Compression::Xz, &compress(Compression::Gzip, &sample_pcap()));
    let (outer, inner) = (Compression::Xz, Compression::Gzip);
    assert_eq!(kind(&twice), DamageKind::CompressedTwice { outer, inner });
    assert_eq!(kind(&compress(Compression::Zstd, b"")), DamageKind::Empty);
    let text = compress(Compression::Gzip, b"plain text");
    assert_eq!(kind(&text), DamageKind::NotACapture { magic: (*b"plai").into() });
}

#[test]
fn missing_files_and_directories_cannot_be_opened() {
    let missing = CaptureReader::open(Path::new("/nonexistent/capture.pcap"));
    let Err(CaptureError::Open { name, source }) = missing else { panic!("{missing:?}") };
    assert_eq!(&*name, "/nonexistent/capture.pcap");
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    let directory = CaptureReader::open(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(matches!(directory, Err(CaptureError::Open { .. })));
}

#[test]
fn damage_says_where_and_what() {
    let mut bytes = sample_pcap();
    let first = 24 + 16 + 7;
    bytes[first + 8..first + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut reader = open(&bytes).unwrap();
    let (records, kind) = drain(&mut reader);
    assert_eq!(records, samples()[..1]);
    let limit = 262_144;
    assert_eq!(kind, Some(DamageKind::CaptureLengthTooLarge { caplen: u32::MAX, limit }));
    let damage = reader.damage().unwrap();
    assert_eq!(damage.offset, first as u64);
    assert_eq!(
        damage.to_string(),
        "captured length 4294967295 is above the limit of 262144 bytes at byte 47"
    );

    let mut reader = open(&compress(Compression::Gzip, &bytes)).unwrap();
    drain(&mut reader);
    let damage = reader.damage().unwrap().to_string();
    assert!(damage.ends_with("at byte 47 of the decompressed data"), "{damage}");
}

#[test]
fn a_failing_device_is_not_a_truncation() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("device gone"))
        }
    }
    for stored in [sample_pcap(), compress(Compression::Gzip, &sample_pcap())] {
        let half = io::Cursor::new(stored[..stored.len() - 4].to_vec()).chain(Failing);
        let mut reader = CaptureReader::from_reader("device", half).unwrap();
        let (records, damage) = drain(&mut reader);
        assert_eq!(records, samples()[..records.len()]);
        assert!(matches!(damage, Some(DamageKind::Read { error: io::ErrorKind::Other, .. })));
    }
    let opened = CaptureReader::from_reader("device", Failing);
    assert!(
        matches!(opened, Err(error) if error.damage().is_some_and(|d| d.kind.label() == "read"))
    );
}

#[test]
fn blocks_with_lying_lengths() {
    let enhanced = 6;
    let cases = [
        (framed(enhanced, 0, &[], 0), "block_length"),
        (framed(enhanced, 16, &[0; 4], 16), "block_length"),
        (framed(enhanced, 0xffff_fffc, &[0; 64], 0xffff_fffc), "block_length"),
        (framed(99, 8, &[], 8), "block_length"),
        (framed(99, 16, &[0; 4], 20), "block_length_mismatch"),
        (framed(99, 13, &[0; 4], 16), "block_unaligned"),
        (framed(99, 0xffff_ffff, &[0; 4], 16), "record_truncated"),
        (framed(99, 0xffff_fff0, &[0; 4], 16), "record_truncated"),
        (framed(0x0a0d_0d0a, 24, &[0; 20], 24), "byte_order_magic"),
        (framed(enhanced, 0x0010_0000, &[0; 64], 0), "record_truncated"),
        (vec![6, 0, 0], "record_header_truncated"),
    ];
    for (tail, label) in cases {
        let kind = damage_after_one_packet(&tail);
        assert_eq!(kind.label(), label, "{kind}");
    }
}

#[test]
fn packets_that_contradict_their_block_or_section() {
    let kind = damage_after_one_packet(&packet(LE, 7, 0, b"lost", &[]));
    assert_eq!(kind, DamageKind::UnknownInterface { interface: 7, described: 1 });

    let mut overrun = packet(LE, 0, 0, b"data", &[]);
    overrun[20..24].copy_from_slice(&9u32.to_le_bytes());
    let kind = damage_after_one_packet(&overrun);
    assert_eq!(kind, DamageKind::PacketOverrunsBlock { caplen: 9, available: 4 });
    overrun[20..24].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    assert_eq!(damage_after_one_packet(&overrun).label(), "capture_length_too_large");

    let option = u16s(LE, &[2, 400]);
    let kind = damage_after_one_packet(&packet(LE, 0, 0, b"data", &option));
    assert_eq!(kind, DamageKind::OptionOverrun { block_type: 6, code: 2, length: 400 });
    let kind = damage_after_one_packet(&interface(LE, 1, 0, &option));
    assert_eq!(kind, DamageKind::OptionOverrun { block_type: 1, code: 2, length: 400 });

    let simple = [u32s(LE, &[100]), b"short".to_vec()].concat();
    let kind = damage_after_one_packet(&block(LE, 3, &simple));
    assert_eq!(kind, DamageKind::PacketOverrunsBlock { caplen: 100, available: 8 });
    let kind = damage_after_one_packet(&[section(LE), block(LE, 3, &simple)].concat());
    assert_eq!(kind, DamageKind::UnknownInterface { interface: 0, described: 0 });
}

#[test]
fn oddities_that_harm_nobody_pass() {
    // Captured above length on the wire and above the snap length; options that make no sense.
    let mut odd = packet(LE, 0, 0, b"abcdef", &option(LE, 2, b"not four"));
    odd[24..28].copy_from_slice(&2u32.to_le_bytes());
    let bytes = [section(LE), interface(LE, 1, 4, &option(LE, 9, b"long")), odd].concat();
    let mut reader = open(&bytes).unwrap();
    let expected = Owned { len: 2, ..record(0, b"abcdef") };
    assert_eq!(drain(&mut reader), (vec![expected], None));
    assert_eq!(reader.caplen_above_len(), 1);
    assert_eq!(reader.interfaces()[0].resolution, TimeResolution::MICRO);
}

#[test]
fn interfaces_are_bounded() {
    let many = interface(LE, 1, 0, &[]).repeat(INTERFACES_MAX as usize);
    let packet = packet(LE, INTERFACES_MAX - 1, 0, b"last", &[]);
    let bytes = [&section(LE)[..], &many, &packet, &interface(LE, 1, 0, &[]), &packet].concat();
    let (records, damage) = read(&compress(Compression::Zstd, &bytes));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].interface, INTERFACES_MAX - 1);
    assert_eq!(damage, Some(DamageKind::TooManyInterfaces { limit: INTERFACES_MAX }));

    let long = interface(LE, 1, 0, &option(LE, 2, &[b'x'; 4000]));
    let mut reader = open(&[section(LE), long].concat()).unwrap();
    drain(&mut reader);
    let name = reader.interfaces()[0].name.as_deref().map(str::len);
    assert_eq!(name, Some(wt_wire::INTERFACE_NAME_MAX));
}

#[test]
fn an_xz_file_that_asks_for_too_much_memory_is_refused() {
    let mut options = lzma_rust2::XzOptions::with_preset(0);
    options.lzma_options.dict_size = 1 << 29;
    let mut stored = compress(Compression::Xz, &sample_pcap());
    // The dictionary size is one byte of the block header, guarded by its own checksum.
    let header_len = (usize::from(stored[12]) + 1) * 4;
    let at = (12..12 + header_len).find(|&at| stored[at..at + 2] == [0x21, 1]).unwrap() + 2;
    stored[at] = 38;
    let mut crc = flate2::Crc::new();
    crc.update(&stored[12..12 + header_len - 4]);
    stored[12 + header_len - 4..12 + header_len].copy_from_slice(&crc.sum().to_le_bytes());
    let (records, damage) = read(&stored);
    assert!(records.is_empty());
    let Some(DamageKind::Decompression { message, .. }) = damage else { panic!("{damage:?}") };
    assert!(message.contains("memory"), "{message}");
}

/// Bytes that get further than noise does: a good file with a few bytes replaced.
fn mutated(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    edits.prop_map(move |edits| {
        let mut bytes = whole.clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
        for head in [&sample_pcap()[..24], &sample_pcapng()[..28]] {
            read(&[head, &bytes].concat());
        }
        for compression in COMPRESSIONS {
            let head = compress(compression, b"");
            read(&[&head[..6], &bytes].concat());
            read(&compress(compression, &bytes));
        }
    }

    #[test]
    fn mutated_files_never_panic(bytes in prop_oneof![
        mutated(sample_pcap()),
        mutated(sample_pcapng()),
        mutated(compress(Compression::Gzip, &sample_pcap())),
        mutated(compress(Compression::Zstd, &sample_pcap())),
        mutated(compress(Compression::Xz, &sample_pcap())),
    ]) {
        read(&bytes);
    }
}
