//! The bytes of an index file, little-endian.

use super::summary::Summary;

const MAGIC: [u8; 8] = *b"wt-index";
const VERSION: u32 = 4;

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 96;
const HEADER_CRC_AT: usize = 92;
/// Bytes of an entry before its summary.
pub(super) const ENTRY_HEAD_LEN: usize = 88;
const ENTRY_CRC_AT: usize = 84;

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
    /// Its entries.
    pub(super) entries: u64,
    /// Earliest stamp of their packets, ns since the epoch; the greatest number where there is none.
    pub(super) earliest_ns: u64,
    /// By how much a block's earliest stamp is behind the latest before it, at most, ns.
    pub(super) fall_ns: u64,
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
        let octets = [
            (16, self.ratio),
            (24, self.trace_len),
            (32, self.changed_ns),
            (40, self.first_at),
            (56, self.entries),
            (64, self.earliest_ns),
            (72, self.fall_ns),
        ];
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
            entries: octet(bytes, 56)?,
            earliest_ns: octet(bytes, 64)?,
            fall_ns: octet(bytes, 72)?,
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

/// What the entries before one have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    /// How many they are.
    pub(super) entries: u32,
    /// Their packets.
    pub(super) packets: u64,
    /// The latest stamp of these, ns; 0 where there is none.
    pub(super) latest_ns: u64,
    /// The last of the entries that have that stamp, by number.
    pub(super) latest_in: u32,
    /// Those that are always read.
    pub(super) always: u32,
}

impl Sums {
    /// Of none.
    pub(super) const NONE: Self =
        Self { entries: 0, packets: 0, latest_ns: 0, latest_in: 0, always: 0 };

    /// With another entry behind them.
    pub(super) fn with(self, head: &Head) -> Self {
        let is_latest = head.packets > 0 && head.max_ns >= self.latest_ns;
        Self {
            entries: self.entries + 1,
            packets: self.packets + u64::from(head.packets),
            latest_ns: if is_latest { head.max_ns } else { self.latest_ns },
            latest_in: if is_latest { self.entries } else { self.latest_in },
            always: self.always + u32::from(head.has_metadata),
        }
    }
}

/// An entry without its summary, and what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) min_ns: u64,
    pub(super) max_ns: u64,
    pub(super) packets: u32,
    pub(super) wire_bytes: u64,
    pub(super) is_in_order: bool,
    pub(super) has_metadata: bool,
    pub(super) is_opaque: bool,
    pub(super) crc: u32,
    pub(super) summary_crc: u32,
    pub(super) before: Sums,
}

impl Head {
    /// Earliest and latest stamp of its packets, where it has some.
    pub(super) fn range_ns(&self) -> Option<(u64, u64)> {
        (self.packets > 0).then_some((self.min_ns, self.max_ns))
    }

    /// Where the block ends.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// The number of the entry.
    pub(super) fn number(&self) -> u64 {
        u64::from(self.before.entries)
    }

    fn encode(&self) -> [u8; ENTRY_HEAD_LEN] {
        let mut out = [0; ENTRY_HEAD_LEN];
        let octets = [
            (0, self.offset),
            (8, self.len),
            (16, self.min_ns),
            (24, self.max_ns),
            (40, self.wire_bytes),
            (56, self.before.packets),
            (64, self.before.latest_ns),
        ];
        for (at, value) in octets {
            out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(self.has_metadata, FLAG_METADATA)
            | flag(self.is_opaque, FLAG_OPAQUE)
            | flag(self.is_in_order, FLAG_IN_ORDER);
        let quads = [
            (32, self.packets),
            (36, flags),
            (48, self.crc),
            (52, self.summary_crc),
            (72, self.before.latest_in),
            (76, self.before.always),
            (80, self.before.entries),
        ];
        for (at, value) in quads {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..ENTRY_CRC_AT]);
        out[ENTRY_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The head with which an entry begins.
    pub(super) fn decode(entry: &[u8]) -> Option<Self> {
        let bytes = entry.get(..ENTRY_HEAD_LEN)?;
        if quad(bytes, ENTRY_CRC_AT)? != crc32fast::hash(&bytes[..ENTRY_CRC_AT]) {
            return None;
        }
        let flags = quad(bytes, 36)?;
        let before = Sums {
            entries: quad(bytes, 80)?,
            packets: octet(bytes, 56)?,
            latest_ns: octet(bytes, 64)?,
            latest_in: quad(bytes, 72)?,
            always: quad(bytes, 76)?,
        };
        Some(Self {
            offset: octet(bytes, 0)?,
            len: octet(bytes, 8)?,
            min_ns: octet(bytes, 16)?,
            max_ns: octet(bytes, 24)?,
            packets: quad(bytes, 32)?,
            wire_bytes: octet(bytes, 40)?,
            is_in_order: flags & FLAG_IN_ORDER != 0,
            has_metadata: flags & FLAG_METADATA != 0,
            is_opaque: flags & FLAG_OPAQUE != 0,
            crc: quad(bytes, 48)?,
            summary_crc: quad(bytes, 52)?,
            before,
        })
    }

    /// The summary of an entry that begins with this head.
    pub(super) fn summary(&self, entry: &[u8]) -> Option<Summary> {
        let bytes = entry.get(ENTRY_HEAD_LEN..)?;
        (crc32fast::hash(bytes) == self.summary_crc)
            .then(|| Summary::of_bytes(bytes, self.is_opaque))
    }

    /// The entry with this head.
    pub(super) fn with(self, summary: Summary) -> Entry {
        let Self { offset, len, min_ns, max_ns, packets, wire_bytes, .. } = self;
        let Self { is_in_order, has_metadata, crc, .. } = self;
        Entry {
            offset,
            len,
            min_ns,
            max_ns,
            packets,
            wire_bytes,
            is_in_order,
            has_metadata,
            crc,
            summary,
        }
    }
}

/// Puts entries one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appending {
    sums: Sums,
    earliest_ns: u64,
    fall_ns: u64,
}

impl Appending {
    /// Behind no entry.
    pub(super) const fn new() -> Self {
        Self { sums: Sums::NONE, earliest_ns: u64::MAX, fall_ns: 0 }
    }

    /// Appends the bytes of the next entry.
    pub(super) fn entry(&mut self, entry: &Entry, to: &mut Vec<u8>) {
        let start = to.len();
        to.resize(start + ENTRY_HEAD_LEN, 0);
        entry.summary.encode(to);
        let head = Head {
            offset: entry.offset,
            len: entry.len,
            min_ns: entry.min_ns,
            max_ns: entry.max_ns,
            packets: entry.packets,
            wire_bytes: entry.wire_bytes,
            is_in_order: entry.is_in_order,
            has_metadata: entry.has_metadata,
            is_opaque: entry.summary.is_opaque(),
            crc: entry.crc,
            summary_crc: crc32fast::hash(&to[start + ENTRY_HEAD_LEN..]),
            before: self.sums,
        };
        to[start..start + ENTRY_HEAD_LEN].copy_from_slice(&head.encode());
        if let Some((min_ns, _)) = head.range_ns() {
            self.earliest_ns = self.earliest_ns.min(min_ns);
            self.fall_ns = self.fall_ns.max(self.sums.latest_ns.saturating_sub(min_ns));
        }
        self.sums = self.sums.with(&head);
    }

    /// Says in a header what there is.
    pub(super) fn put(&self, header: &mut Header) {
        header.entries = u64::from(self.sums.entries);
        (header.earliest_ns, header.fall_ns) = (self.earliest_ns, self.fall_ns);
    }
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
            entries: 3,
            earliest_ns: 1,
            fall_ns: 2,
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
        let mut appending = Appending::new();
        appending.entry(&Entry { max_ns: 9, ..entry.clone() }, &mut encoded);
        encoded.clear();
        appending.entry(&entry, &mut encoded);
        let decode = |bytes: &[u8]| {
            let head = Head::decode(bytes)?;
            Some((head.before, head.with(head.summary(bytes)?)))
        };
        let before = Sums { entries: 1, packets: 3, latest_ns: 9, latest_in: 0, always: 0 };
        assert_eq!(decode(&encoded), Some((before, entry)));
        let mut known = Header { entries: 0, ..Header::decode(&bytes).unwrap() };
        appending.put(&mut known);
        assert_eq!((known.entries, known.earliest_ns, known.fall_ns), (2, 1, 8));
        for bit in 0..8 * HEADER_LEN {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), None, "bit {bit}");
        }
        for bit in 0..8 * encoded.len() {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
