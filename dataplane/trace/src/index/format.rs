//! The bytes of an index file, little-endian.

use super::summary::Summary;

const MAGIC: [u8; 8] = *b"wt-index";
const VERSION: u32 = 2;

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 64;
const HEADER_CRC_AT: usize = 60;
/// Bytes of an entry before its summary.
pub(super) const ENTRY_HEAD_LEN: usize = 64;
const ENTRY_CRC_AT: usize = 60;

/// The block holds more than packets: what follows cannot be read without it.
const FLAG_METADATA: u32 = 1;
/// Some packet's headers are not understood: the block may hold anything.
const FLAG_OPAQUE: u32 = 2;
/// Stamps never fall within the block.
const FLAG_IN_ORDER: u32 = 4;

/// What an index is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) ratio: u64,
    pub(super) trace_len: u64,
    pub(super) changed_ns: u64,
    pub(super) first_at: u64,
    pub(super) head_len: u32,
    pub(super) head_crc: u32,
    pub(super) summary_len: u32,
}

/// A block of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// Earliest stamp of its packets, ns since the epoch.
    pub min_ns: u64,
    /// Latest stamp.
    pub max_ns: u64,
    /// Its packets.
    pub packets: u32,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
    /// Stamps never fall within it.
    pub is_in_order: bool,
    /// It holds interface descriptions or section headers.
    pub has_metadata: bool,
    /// CRC-32 of its bytes in the trace.
    pub crc: u32,
    /// What its packets have.
    pub summary: Summary,
}

fn quad(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn octet(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&MAGIC);
        let quads =
            [(8, VERSION), (12, self.summary_len), (48, self.head_len), (52, self.head_crc)];
        for (at, value) in quads {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let octets =
            [(16, self.ratio), (24, self.trace_len), (32, self.changed_ns), (40, self.first_at)];
        for (at, value) in octets {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..HEADER_CRC_AT]);
        out[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let is_ours = bytes.len() == HEADER_LEN
            && bytes.starts_with(&MAGIC)
            && quad(bytes, 8)? == VERSION
            && quad(bytes, HEADER_CRC_AT)? == crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        let header = Self {
            ratio: octet(bytes, 16)?,
            trace_len: octet(bytes, 24)?,
            changed_ns: octet(bytes, 32)?,
            first_at: octet(bytes, 40)?,
            head_len: quad(bytes, 48)?,
            head_crc: quad(bytes, 52)?,
            summary_len: quad(bytes, 12)?,
        };
        let is_sound = u64::from(header.head_len) <= super::HEAD_LEN_MAX
            && header.first_at <= header.trace_len
            && Summary::is_len(header.summary_len as usize);
        (is_ours && is_sound).then_some(header)
    }

    pub(super) fn entry_len(&self) -> usize {
        ENTRY_HEAD_LEN + self.summary_len as usize
    }
}

impl Entry {
    /// Appends its bytes.
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.resize(start + ENTRY_HEAD_LEN, 0);
        let out = &mut to[start..];
        let octets = [
            (0, self.offset),
            (8, self.len),
            (16, self.min_ns),
            (24, self.max_ns),
            (40, self.wire_bytes),
        ];
        for (at, value) in octets {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(self.has_metadata, FLAG_METADATA)
            | flag(self.summary.is_opaque(), FLAG_OPAQUE)
            | flag(self.is_in_order, FLAG_IN_ORDER);
        for (at, value) in [(32, self.packets), (36, flags), (48, self.crc)] {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        self.summary.encode(to);
        let out = &mut to[start..];
        let crc = entry_crc(out);
        out[ENTRY_CRC_AT..ENTRY_HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if quad(bytes, ENTRY_CRC_AT)? != entry_crc(bytes) {
            return None;
        }
        let flags = quad(bytes, 36)?;
        Some(Self {
            offset: octet(bytes, 0)?,
            len: octet(bytes, 8)?,
            min_ns: octet(bytes, 16)?,
            max_ns: octet(bytes, 24)?,
            packets: quad(bytes, 32)?,
            wire_bytes: octet(bytes, 40)?,
            is_in_order: flags & FLAG_IN_ORDER != 0,
            has_metadata: flags & FLAG_METADATA != 0,
            crc: quad(bytes, 48)?,
            summary: Summary::of_bytes(&bytes[ENTRY_HEAD_LEN..], flags & FLAG_OPAQUE != 0),
        })
    }
}

/// Of all but itself.
fn entry_crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..ENTRY_CRC_AT]);
    hasher.update(&bytes[ENTRY_HEAD_LEN..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    #[test]
    fn what_is_encoded_reads_back_and_no_flipped_bit_does() {
        let header = Header {
            ratio: 1 << 20,
            trace_len: 5_000_000,
            changed_ns: u64::MAX,
            first_at: 24,
            head_len: 4096,
            head_crc: 7,
            summary_len: 64,
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        let mut summary = Summary::new(64);
        summary.add(Key::Port(443));
        let entry = Entry {
            offset: 24,
            len: 1_048_700,
            min_ns: 1,
            max_ns: 2,
            packets: 3,
            wire_bytes: 4,
            is_in_order: true,
            has_metadata: false,
            crc: 9,
            summary,
        };
        let mut encoded = Vec::new();
        entry.encode(&mut encoded);
        assert_eq!(Entry::decode(&encoded), Some(entry));
        for bit in 0..8 * HEADER_LEN {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), None, "bit {bit}");
        }
        for bit in 0..8 * encoded.len() {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&flipped), None, "bit {bit}");
        }
    }
}
