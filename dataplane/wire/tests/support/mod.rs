//! What the suites share: owned records, drained readers, files built by hand.
#![allow(dead_code, reason = "each suite uses its part")]

use std::io::{Cursor, Write};

use wt_wire::{
    ByteOrder, CaptureError, CaptureReader, Compression, DamageKind, Direction, LinkType,
    PcapNgWriter, PcapVariant, PcapWriter, Record, TimeResolution,
};

/// A record with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub timestamp_ns: u64,
    pub len: u32,
    pub interface: u32,
    pub link_type: LinkType,
    pub direction: Direction,
    pub data: Vec<u8>,
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        Self {
            timestamp_ns: record.timestamp_ns,
            len: record.len,
            interface: record.interface,
            link_type: record.link_type,
            direction: record.direction,
            data: record.data.to_vec(),
        }
    }
}

/// A simple Ethernet record.
pub fn record(timestamp_ns: u64, data: &[u8]) -> Owned {
    Owned {
        timestamp_ns,
        len: data.len() as u32,
        interface: 0,
        link_type: LinkType::ETHERNET,
        direction: Direction::Unknown,
        data: data.to_vec(),
    }
}

pub fn open(bytes: &[u8]) -> Result<CaptureReader, CaptureError> {
    CaptureReader::from_reader("test", Cursor::new(bytes.to_vec()))
}

/// Reads to the end: the records, and the damage if there was any. Checks what holds of every
/// reader: damage comes once and last, offsets ascend.
pub fn drain(reader: &mut CaptureReader) -> (Vec<Owned>, Option<DamageKind>) {
    let mut records = Vec::new();
    let mut offset = None;
    let damage = loop {
        match reader.next() {
            Ok(Some(record)) => {
                assert!(offset < Some(record.offset));
                offset = Some(record.offset);
                assert!(record.data.len() <= 128 << 20);
                records.push(Owned::from(record));
            }
            Ok(None) => break None,
            Err(error) => {
                break Some(error.damage().expect("open readers only meet damage").clone());
            }
        }
    };
    assert_eq!(reader.damage(), damage.as_ref());
    assert!(matches!(reader.next(), Ok(None)));
    assert_eq!(reader.records(), records.len() as u64);
    assert!(records.iter().all(|r| (r.interface as usize) < reader.interfaces().len()));
    (records, damage.map(|damage| damage.kind))
}

/// As [`drain`], with damage at the opening counted as damage.
pub fn read(bytes: &[u8]) -> (Vec<Owned>, Option<DamageKind>) {
    match open(bytes) {
        Ok(mut reader) => drain(&mut reader),
        Err(CaptureError::Damaged { damage, .. }) => (Vec::new(), Some(damage.kind)),
        Err(error) => panic!("bytes in memory need no opening: {error}"),
    }
}

pub fn pcap(variant: PcapVariant, order: ByteOrder, records: &[Owned]) -> Vec<u8> {
    let link_type = records.first().map_or(LinkType::ETHERNET, |record| record.link_type);
    let mut writer = PcapWriter::new(Vec::new(), variant, order, link_type, 0).unwrap();
    for record in records {
        writer.write(record.timestamp_ns, record.len, &record.data).unwrap();
    }
    writer.into_inner()
}

pub fn pcapng(
    order: ByteOrder,
    interfaces: &[(Option<&str>, LinkType, TimeResolution)],
    records: &[Owned],
) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new(), order).unwrap();
    for &(name, link_type, resolution) in interfaces {
        writer.interface(name, link_type, 0, resolution).unwrap();
    }
    for record in records {
        let Owned { timestamp_ns, len, interface, direction, .. } = *record;
        writer.write(interface, timestamp_ns, len, direction, &record.data).unwrap();
    }
    writer.into_inner()
}

pub fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

pub const COMPRESSIONS: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::Xz];

/// A pcapng block in the given order: type, body padded to four, both lengths.
pub fn block(order: ByteOrder, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let len = padded.len() as u32 + 12;
    [&u32s(order, &[kind, len])[..], &padded, &u32s(order, &[len])].concat()
}

pub fn u32s(order: ByteOrder, values: &[u32]) -> Vec<u8> {
    let bytes = |value: &u32| match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    values.iter().flat_map(bytes).collect()
}

pub fn u16s(order: ByteOrder, values: &[u16]) -> Vec<u8> {
    let bytes = |value: &u16| match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    values.iter().flat_map(bytes).collect()
}

pub fn section(order: ByteOrder) -> Vec<u8> {
    let body = [u32s(order, &[0x1a2b_3c4d]), u16s(order, &[1, 0]), vec![0xff; 8]].concat();
    block(order, 0x0a0d_0d0a, &body)
}

pub fn interface(order: ByteOrder, link_type: u16, snap_len: u32, options: &[u8]) -> Vec<u8> {
    let head = [u16s(order, &[link_type, 0]), u32s(order, &[snap_len])].concat();
    block(order, 1, &[&head[..], options].concat())
}

pub fn option(order: ByteOrder, code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [&u16s(order, &[code, value.len() as u16])[..], value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An Enhanced Packet Block.
pub fn packet(
    order: ByteOrder,
    interface: u32,
    ticks: u64,
    data: &[u8],
    options: &[u8],
) -> Vec<u8> {
    let len = data.len() as u32;
    let mut body = u32s(order, &[interface, (ticks >> 32) as u32, ticks as u32, len, len]);
    body.extend_from_slice(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend_from_slice(options);
    block(order, 6, &body)
}
