//! The bytes of an index are those of the tables in `dataplane/README.md`: read here by these tables alone, without the code that writes them.

use std::fs;

use wt_trace::index::{self, path_of};
use wt_wire::{ByteOrder, LinkType, PcapVariant, PcapWriter};

const S: u64 = 1_000_000_000;
/// Bytes between blocks.
const R: u64 = 64 << 10;
/// Bytes of the head of a pcap file.
const FILE_HEAD: usize = 24;
/// Bytes of a record before its packet.
const RECORD_HEAD: usize = 16;
const HEADER: usize = 96;
const ENTRY_HEAD: usize = 88;

fn quad(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
}

fn octet(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn crc(bytes: &[u8]) -> u64 {
    u64::from(crc32fast::hash(bytes))
}

/// The stamp of a packet: a second apart, each tenth three seconds back.
fn stamp(number: u64) -> u64 {
    (1_700_000_000 + number - 3 * u64::from(number % 10 == 9)) * S
}

/// UDP from port 1000 + n to port 53 in VLAN 5, from 10.0.0.0 + n to 2001:db8::n in the half of IPv6.
fn packet(number: u64) -> Vec<u8> {
    let mut data = vec![0; 12];
    data.extend([0x81, 0, 0, 5]);
    if number.is_multiple_of(2) {
        data.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0]);
        data.extend((number as u16).to_be_bytes());
        data.extend([192, 0, 2, 1]);
    } else {
        data.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
        data.extend(v6(number).to_be_bytes());
        data.extend(v6(0).to_be_bytes());
    }
    data.extend((1000 + number as u16).to_be_bytes());
    data.extend([0, 53, 0, 0, 0, 0]);
    data.resize(700, 7);
    data
}

fn v6(number: u64) -> u128 {
    0x2001_0db8 << 96 | u128::from(number)
}

/// SplitMix64's finalizer of a number plus 0x9e3779b97f4a7c15.
fn m(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Whether a summary has all bits of a key: its kind, the upper half of an address of IPv6, the lower one or the value.
fn has(summary: &[u8], (kind, upper, value): (u64, u64, u64)) -> bool {
    let hash = m(m(m(kind) ^ upper) ^ value);
    let words = summary.len() as u64 / 8;
    let word = octet(summary, 8 * (hash % words) as usize);
    [58, 52, 46].into_iter().all(|shift| word >> (hash >> shift & 63) & 1 == 1)
}

/// What packets of a number have, as keys of a summary.
fn keys(number: u64) -> Vec<(u64, u64, u64)> {
    let of_all = [(3, 0, 1000 + number), (3, 0, 53), (4, 0, 17), (5, 0, 5)];
    let half = |address: u128| (2, (address >> 64) as u64, address as u64);
    let ends = match number % 2 {
        0 => [(1, 0, 10 << 24 | number), (1, 0, 0xc000_0201)],
        _ => [half(v6(number)), half(v6(0))],
    };
    [&of_all[..], &ends].concat()
}

#[test]
fn an_index_is_read_by_its_documentation() {
    const PACKETS: u64 = 1000;
    let folder = std::env::temp_dir().join(format!("wt-documented-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let trace = folder.join("a.pcap");
    let file = fs::File::create(&trace).unwrap();
    let mut writer =
        PcapWriter::new(file, PcapVariant::Nano, ByteOrder::Little, LinkType(1), 65535).unwrap();
    (0..PACKETS).for_each(|n| writer.write(stamp(n), 900, &packet(n)).unwrap());
    drop(writer);
    index::build(&trace, R, &mut |_| {}).unwrap();
    let (bytes, index) = (fs::read(&trace).unwrap(), fs::read(path_of(&trace)).unwrap());
    fs::remove_dir_all(folder).unwrap();

    assert_eq!(&index[..8], b"wt-index");
    let (version, summary_len) = (quad(&index, 8), quad(&index, 12) as usize);
    assert_eq!((version, summary_len), (4, 256));
    assert_eq!((octet(&index, 16), octet(&index, 24)), (R, bytes.len() as u64));
    assert_eq!(octet(&index, 40), FILE_HEAD as u64);
    let head_len = quad(&index, 48) as usize;
    assert_eq!((head_len, quad(&index, 52)), (4096, crc(&bytes[..4096])));
    let entries = octet(&index, 56) as usize;
    assert_eq!(index.len(), HEADER + entries * (ENTRY_HEAD + summary_len));
    assert!(entries > 10);
    assert_eq!(octet(&index, 64), stamp(0));
    assert_eq!(index[80..92], [0; 12]);
    assert_eq!(quad(&index, 92), crc(&index[..92]));

    let record_len = RECORD_HEAD + packet(0).len();
    let (mut next, mut packets, mut latest, mut latest_number) = (FILE_HEAD, 0, 0, 0);
    let mut fall = 0;
    for (number, entry) in index[HEADER..].chunks(ENTRY_HEAD + summary_len).enumerate() {
        let (offset, len) = (octet(entry, 0) as usize, octet(entry, 8) as usize);
        assert_eq!(offset, next);
        next += len;
        let is_last = number == entries - 1;
        assert!(is_last || (R as usize..R as usize + record_len).contains(&len));
        let numbers = packets..packets + (len / record_len) as u64;
        let stamps = || numbers.clone().map(stamp);
        let (min, max) = (stamps().min().unwrap(), stamps().max().unwrap());
        assert_eq!((octet(entry, 16), octet(entry, 24)), (min, max));
        assert_eq!(quad(entry, 32), numbers.end - numbers.start);
        let is_in_order = stamps().is_sorted();
        assert_eq!(quad(entry, 36), u64::from(is_last) + 4 * u64::from(is_in_order));
        assert_eq!(octet(entry, 40), 900 * (numbers.end - numbers.start));
        assert_eq!(quad(entry, 48), crc(&bytes[offset..offset + len]));
        let summary = &entry[ENTRY_HEAD..];
        assert_eq!(quad(entry, 52), crc(summary));
        assert_eq!((octet(entry, 56), octet(entry, 64)), (packets, latest));
        // Of those before none is always read: a pcap file describes no interfaces.
        assert_eq!((quad(entry, 72), quad(entry, 76)), (latest_number, 0));
        assert_eq!(quad(entry, 80), number as u64);
        assert_eq!(quad(entry, 84), crc(&entry[..84]));
        numbers.clone().flat_map(keys).for_each(|key| assert!(has(summary, key), "{key:?}"));
        let others = (0..PACKETS).filter(|n| !numbers.contains(n));
        let wrong = others.filter(|n| has(summary, (3, 0, 1000 + n))).count();
        assert!(wrong < 300, "{wrong} ports seem to be in block {number}");
        fall = fall.max(latest.saturating_sub(min));
        packets = numbers.end;
        if max > latest {
            (latest, latest_number) = (max, number as u64);
        }
    }
    assert_eq!((next, packets), (bytes.len(), PACKETS));
    assert_eq!(octet(&index, 72), fall);
}
