//! What is written is read back, whatever the container, byte order, resolution and compression.

mod support;

use proptest::prelude::*;
use support::*;
use wt_wire::{
    ByteOrder, Compression, Direction, Format, LinkType, PcapNgWriter, PcapVariant, PcapWriter,
    TimeResolution, WriteError,
};

fn order() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
}

fn compression() -> impl Strategy<Value = Option<Compression>> {
    prop::option::of(prop::sample::select(&COMPRESSIONS))
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(&[Direction::Unknown, Direction::Inbound, Direction::Outbound])
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

fn stored(compression: Option<Compression>, bytes: Vec<u8>) -> Vec<u8> {
    compression.map_or(bytes.clone(), |compression| compress(compression, &bytes))
}

const RESOLUTIONS: [TimeResolution; 5] = [
    TimeResolution::Decimal(0),
    TimeResolution::MICRO,
    TimeResolution::NANO,
    TimeResolution::Decimal(12),
    TimeResolution::Binary(30),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pcap_round_trips(
        order in order(),
        nano in any::<bool>(),
        compression in compression(),
        link_type in 0u16..300,
        records in prop::collection::vec((any::<u32>(), 0u32..1_000_000_000, any::<u32>(), data()), 0..40),
    ) {
        let variant = if nano { PcapVariant::Nano } else { PcapVariant::Micro };
        let link_type = LinkType(link_type);
        let records: Vec<_> = records.into_iter().map(|(s, fraction_ns, len, data)| {
            let fraction_ns = if nano { fraction_ns } else { fraction_ns / 1000 * 1000 };
            let timestamp_ns = u64::from(s) * 1_000_000_000 + u64::from(fraction_ns);
            Owned { timestamp_ns, len, link_type, ..record(0, &data) }
        }).collect();
        let mut writer = PcapWriter::new(Vec::new(), variant, order, link_type, 4711).unwrap();
        for record in &records {
            writer.write(record.timestamp_ns, record.len, &record.data).unwrap();
        }
        let bytes = stored(compression, writer.into_inner());

        let mut reader = open(&bytes).unwrap();
        prop_assert_eq!(reader.format(), Format::Pcap { variant, order });
        prop_assert_eq!(reader.compression(), compression);
        let lying = records.iter().filter(|record| record.data.len() > record.len as usize).count();
        prop_assert_eq!(drain(&mut reader), (records, None));
        prop_assert_eq!(reader.bytes_read(), bytes.len() as u64);
        prop_assert_eq!(reader.caplen_above_len(), lying as u64);
        prop_assert_eq!((reader.interfaces()[0].link_type, reader.interfaces()[0].snap_len), (link_type, 4711));
    }

    #[test]
    fn pcapng_round_trips(
        order in order(),
        compression in compression(),
        interfaces in prop::collection::vec(
            (prop::option::of("[a-z0-9]{1,12}"), 0u16..300, prop::sample::select(&RESOLUTIONS)), 1..5),
        records in prop::collection::vec(
            (any::<prop::sample::Index>(), 0u64..1 << 62, any::<u32>(), direction(), data()), 0..40),
    ) {
        let described: Vec<_> = interfaces.iter()
            .map(|(name, link_type, resolution)| (name.as_deref(), LinkType(*link_type), *resolution))
            .collect();
        let records: Vec<_> = records.into_iter().map(|(index, ns, len, direction, data)| {
            let interface = index.index(described.len());
            let (_, link_type, resolution) = described[interface];
            // What a tick cannot tell is lost by design: compare what the file can say.
            let timestamp_ns = resolution.to_ns(resolution.from_ns(ns), 0);
            Owned { timestamp_ns, len, interface: interface as u32, link_type, direction, data }
        }).collect();
        let bytes = stored(compression, pcapng(order, &described, &records));

        let mut reader = open(&bytes).unwrap();
        prop_assert_eq!(reader.format(), Format::PcapNg);
        let (read, damage) = drain(&mut reader);
        prop_assert_eq!(damage, None);
        for (written, read) in records.iter().zip(&read) {
            prop_assert!(written.timestamp_ns.abs_diff(read.timestamp_ns) <= 1, "binary ticks round twice");
            let timestamp_ns = written.timestamp_ns;
            prop_assert_eq!(written, &Owned { timestamp_ns, ..read.clone() });
        }
        prop_assert_eq!(records.len(), read.len());
        for (info, (name, link_type, resolution)) in reader.interfaces().iter().zip(&described) {
            prop_assert_eq!(info.name.as_deref(), *name);
            prop_assert_eq!(info.link_type, *link_type);
            prop_assert_eq!(info.resolution, *resolution);
        }
    }
}

#[test]
fn the_modified_format_has_longer_headers_and_a_direction() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut bytes = u32s(order, &[0xa1b2_cd34]);
        bytes.extend(u16s(order, &[2, 4]));
        bytes.extend(u32s(order, &[0, 0, 65535, 1]));
        for packet_type in [0, 4, 9] {
            bytes.extend(u32s(order, &[1, 2, 3, 60, 7]));
            bytes.extend(u16s(order, &[0x0800]));
            bytes.extend([packet_type, 0, b'a', b'b', b'c']);
        }
        let (records, damage) = read(&bytes);
        assert_eq!(damage, None);
        let expected = Owned { len: 60, ..record(1_000_002_000, b"abc") };
        let directions: Vec<_> = records.iter().map(|record| record.direction).collect();
        assert_eq!(directions, [Direction::Inbound, Direction::Outbound, Direction::Unknown]);
        assert_eq!(records[2], expected);
    }
}

#[test]
fn ixia_files_have_a_longer_file_header() {
    let mut bytes = 0x1c00_01ac_u32.to_le_bytes().to_vec();
    bytes.extend(u16s(ByteOrder::Little, &[2, 4]));
    bytes.extend(u32s(ByteOrder::Little, &[0, 0, 65535, 1, 18]));
    bytes.extend(u32s(ByteOrder::Little, &[1, 999_999_999, 2, 2]));
    bytes.extend(b"ab");
    assert_eq!(read(&bytes), (vec![record(1_999_999_999, b"ab")], None));
}

#[test]
fn old_versions_swap_the_lengths() {
    let order = ByteOrder::Big;
    let file = |major, minor, caplen, len| {
        let mut bytes = u32s(order, &[0xa1b2_c3d4]);
        bytes.extend(u16s(order, &[major, minor]));
        bytes.extend(u32s(order, &[0, 0, 65535, 1, 1, 0, caplen, len]));
        bytes.extend(b"abc");
        bytes
    };
    let expected = (vec![Owned { len: 9, ..record(1_000_000_000, b"abc") }], None);
    for (major, minor, caplen, len) in
        [(2, 4, 3, 9), (2, 2, 9, 3), (543, 0, 9, 3), (2, 3, 3, 9), (2, 3, 9, 3)]
    {
        assert_eq!(read(&file(major, minor, caplen, len)), expected, "version {major}.{minor}");
    }
}

#[test]
fn odd_fractions_of_a_second_are_added() {
    let order = ByteOrder::Little;
    let mut bytes = pcap(PcapVariant::Micro, order, &[]);
    bytes.extend(u32s(order, &[1, 2_500_000, 0, 0]));
    bytes.extend(u32s(order, &[u32::MAX, u32::MAX, 0, 0]));
    let times: Vec<_> = read(&bytes).0.iter().map(|record| record.timestamp_ns).collect();
    let largest = u64::from(u32::MAX);
    assert_eq!(times, [3_500_000_000, largest * 1_000_000_000 + largest * 1000]);
}

#[test]
fn the_upper_half_of_the_link_type_is_the_check_sequence() {
    let order = ByteOrder::Little;
    let mut bytes = pcap(PcapVariant::Micro, order, &[]);
    bytes[20..24].copy_from_slice(&0x2400_0001_u32.to_le_bytes());
    assert_eq!(open(&bytes).unwrap().interfaces()[0].link_type, LinkType::ETHERNET);
}

#[test]
fn sections_bring_their_own_order_and_interfaces() {
    let (le, be) = (ByteOrder::Little, ByteOrder::Big);
    let bytes = [
        section(le),
        interface(le, 1, 0, &option(le, 2, b"eth0")),
        interface(le, 101, 0, &option(le, 9, &[9])),
        packet(le, 1, 7, b"raw", &[]),
        // Blocks without packets: name resolution, custom, one from the future.
        block(le, 4, &[0; 8]),
        block(le, 0x0bad, &[1; 24]),
        block(le, 0x7777_7777, &[2; 300]),
        section(be),
        interface(
            be,
            113,
            0,
            &[option(be, 9, &[0]), option(be, 14, &(-1i64).to_be_bytes())].concat(),
        ),
        packet(be, 0, 5, b"cooked", &[]),
        section(le),
        interface(le, 1, 0, &option(le, 14, &3i64.to_le_bytes())),
        packet(le, 0, 1_000_000, b"ether", &option(le, 2, &2u32.to_le_bytes())),
    ]
    .concat();
    let mut reader = open(&bytes).unwrap();
    let (records, damage) = drain(&mut reader);
    assert_eq!(damage, None);
    let expected = [
        Owned { interface: 1, link_type: LinkType::RAW, ..record(7, b"raw") },
        Owned { interface: 2, link_type: LinkType::LINUX_SLL, ..record(4_000_000_000, b"cooked") },
        Owned { interface: 3, direction: Direction::Outbound, ..record(4_000_000_000, b"ether") },
    ];
    assert_eq!(records, expected);
    let sections: Vec<_> = reader.interfaces().iter().map(|info| info.section).collect();
    assert_eq!(sections, [0, 0, 1, 2]);
    assert_eq!(reader.interfaces()[0].name.as_deref(), Some("eth0"));
    assert_eq!(reader.interfaces()[2].offset_s, -1);
}

#[test]
fn simple_and_obsolete_packets_are_packets() {
    let order = ByteOrder::Big;
    let obsolete = [
        u16s(order, &[1, 3]),
        u32s(order, &[0, 2_000_000, 4, 90]),
        b"obso".to_vec(),
        option(order, 2, &1u32.to_be_bytes()),
    ];
    let simple = [u32s(order, &[100]), b"simp".to_vec()];
    let bytes = [
        section(order),
        interface(order, 1, 4, &[]),
        interface(order, 12, 0, &[]),
        block(order, 2, &obsolete.concat()),
        block(order, 3, &simple.concat()),
    ]
    .concat();
    let expected = vec![
        Owned {
            len: 90,
            interface: 1,
            link_type: LinkType::RAW_BSD,
            direction: Direction::Inbound,
            ..record(2_000_000_000, b"obso")
        },
        Owned { len: 100, ..record(0, b"simp") },
    ];
    assert_eq!(read(&bytes), (expected, None));
}

#[test]
fn lengths_without_padding_are_understood() {
    let order = ByteOrder::Little;
    let mut odd = packet(order, 0, 1_000_000, b"odd", &[]);
    let unpadded = odd.len() as u32 - 1;
    let trailer = odd.len() - 4;
    odd[4..8].copy_from_slice(&unpadded.to_le_bytes());
    odd[trailer..].copy_from_slice(&unpadded.to_le_bytes());
    let bytes = [
        section(order),
        interface(order, 1, 0, &[]),
        odd,
        packet(order, 0, 2_000_000, b"even", &[]),
    ]
    .concat();
    let expected = vec![record(1_000_000_000, b"odd"), record(2_000_000_000, b"even")];
    assert_eq!(read(&bytes), (expected, None));
}

#[test]
fn compressed_files_may_have_several_parts() {
    let records: Vec<_> = (0..50u8).map(|n| record(u64::from(n), &[n; 20])).collect();
    let bytes = pcap(PcapVariant::Nano, ByteOrder::Little, &records);
    for compression in COMPRESSIONS {
        let parts: Vec<_> = bytes.chunks(333).map(|part| compress(compression, part)).collect();
        assert_eq!(read(&parts.concat()), (records.clone(), None), "{compression}");
    }
    // gzip pads with zeros on block devices; pzstd begins with a skippable frame.
    let padded = [compress(Compression::Gzip, &bytes), vec![0; 100_000]].concat();
    assert_eq!(read(&padded), (records.clone(), None));
    let skippable =
        [u32s(ByteOrder::Little, &[0x184d_2a50, 4, 0]), compress(Compression::Zstd, &bytes)];
    assert_eq!(read(&skippable.concat()), (records, None));
}

#[test]
fn large_records_outgrow_the_buffer() {
    let largest = vec![0x5a; 262_144];
    let records: Vec<_> = (0..5).map(|n| record(n * 1_000_000_000, &largest)).collect();
    assert_eq!(read(&pcap(PcapVariant::Micro, ByteOrder::Big, &records)), (records.clone(), None));
    let interfaces = [(None, LinkType::ETHERNET, TimeResolution::NANO)];
    assert_eq!(read(&pcapng(ByteOrder::Big, &interfaces, &records)), (records, None));
}

#[test]
fn writers_refuse_what_no_reader_takes() {
    let order = ByteOrder::Little;
    let variant = PcapVariant::Modified;
    let refused = PcapWriter::new(Vec::new(), variant, order, LinkType::ETHERNET, 0);
    assert!(matches!(refused, Err(WriteError::Variant(PcapVariant::Modified))));

    let mut writer =
        PcapWriter::new(Vec::new(), PcapVariant::Micro, order, LinkType::ETHERNET, 0).unwrap();
    let late = (u64::from(u32::MAX) + 1) * 1_000_000_000;
    assert!(matches!(writer.write(late, 0, &[]), Err(WriteError::TimestampTooLarge { .. })));
    let refused = writer.write(0, 0, &[0; 262_145]);
    assert!(matches!(refused, Err(WriteError::RecordTooLarge { caplen: 262_145, limit: 262_144 })));

    let mut writer = PcapNgWriter::new(Vec::new(), order).unwrap();
    let refused = writer.write(0, 0, 0, Direction::Unknown, &[]);
    assert!(matches!(refused, Err(WriteError::UnknownInterface { interface: 0, described: 0 })));
    let name = "x".repeat(65_536);
    let refused = writer.interface(Some(&name), LinkType::ETHERNET, 0, TimeResolution::MICRO);
    assert!(matches!(refused, Err(WriteError::NameTooLong { len: 65_536 })));
}
