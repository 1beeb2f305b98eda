//! Which container a capture is, recognised by its first bytes.

use std::fmt;

/// Order of the bytes in the numbers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// Reads two bytes; as [`Self::u32`].
    #[inline]
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let raw = [bytes[at], bytes[at + 1]];
        match self {
            Self::Little => u16::from_le_bytes(raw),
            Self::Big => u16::from_be_bytes(raw),
        }
    }

    /// Reads four bytes. Indexing past the slice is the caller's bug: check the length once before.
    #[inline]
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Self::Little => u32::from_le_bytes(raw),
            Self::Big => u32::from_be_bytes(raw),
        }
    }

    /// Writes two bytes.
    pub(crate) fn put_u16(self, out: &mut Vec<u8>, value: u16) {
        match self {
            Self::Little => out.extend_from_slice(&value.to_le_bytes()),
            Self::Big => out.extend_from_slice(&value.to_be_bytes()),
        }
    }

    /// Writes four bytes.
    pub(crate) fn put_u32(self, out: &mut Vec<u8>, value: u32) {
        match self {
            Self::Little => out.extend_from_slice(&value.to_le_bytes()),
            Self::Big => out.extend_from_slice(&value.to_be_bytes()),
        }
    }
}

/// Variants of the classic format: one file header, then records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PcapVariant {
    /// Magic `a1b2c3d4`: microseconds.
    Micro,
    /// Magic `a1b23c4d`: nanoseconds.
    Nano,
    /// Magic `a1b2cd34` (Kuznetsov's patched libpcap): microseconds and 8 more bytes per record
    /// header, with interface index, protocol and packet type.
    Modified,
    /// Magics `1c0001ab` and `1c0001ac` (Ixia): nanoseconds and 4 more bytes in the file header.
    Ixia,
}

impl PcapVariant {
    /// The magic in the order in which it is written by a machine of that byte order.
    pub(crate) const ALL: [(u32, PcapVariant); 5] = [
        (0xa1b2_c3d4, PcapVariant::Micro),
        (0xa1b2_3c4d, PcapVariant::Nano),
        (0xa1b2_cd34, PcapVariant::Modified),
        (0x1c00_01ab, PcapVariant::Ixia),
        (0x1c00_01ac, PcapVariant::Ixia),
    ];
}

/// The container format of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Classic pcap.
    Pcap {
        /// Which of its variants.
        variant: PcapVariant,
        /// Byte order of its headers.
        order: ByteOrder,
    },
    /// pcapng (draft-ietf-opsawg-pcapng); byte order and resolution belong to its sections.
    PcapNg,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcap { variant: PcapVariant::Micro, .. } => "pcap",
            Self::Pcap { variant: PcapVariant::Nano, .. } => "nanosecond pcap",
            Self::Pcap { variant: PcapVariant::Modified, .. } => "modified pcap",
            Self::Pcap { variant: PcapVariant::Ixia, .. } => "Ixia pcap",
            Self::PcapNg => "pcapng",
        })
    }
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// Zstandard (RFC 8878), any number of frames.
    Zstd,
    /// xz, any number of streams.
    Xz,
}

impl Compression {
    /// Recognises a compression by the first bytes of a file.
    pub(crate) fn detect(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // A skippable frame, which parallel compressors write first (RFC 8878 §3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        })
    }
}

/// First four bytes of a pcapng section header; the same in both byte orders.
pub(crate) const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// What the first bytes of a (decompressed) stream are.
pub(crate) enum Detected {
    Pcap(PcapVariant, ByteOrder),
    PcapNg,
    /// Fewer than four bytes, but the beginning of a magic.
    Cut,
    Unknown,
}

/// Recognises a container by its first bytes; `head` is shorter than four only at end of file.
pub(crate) fn detect(head: &[u8]) -> Detected {
    let magics = PcapVariant::ALL.into_iter().flat_map(|(magic, variant)| {
        [
            (magic.to_le_bytes(), Detected::Pcap(variant, ByteOrder::Little)),
            (magic.to_be_bytes(), Detected::Pcap(variant, ByteOrder::Big)),
        ]
    });
    for (magic, detected) in magics.chain([(PCAPNG_MAGIC, Detected::PcapNg)]) {
        if head.len() >= 4 && head[..4] == magic {
            return detected;
        }
        if head.len() < 4 && magic.starts_with(head) {
            return Detected::Cut;
        }
    }
    Detected::Unknown
}
