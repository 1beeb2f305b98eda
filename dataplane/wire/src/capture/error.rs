//! What can be wrong with a capture: faults of the host, and damage in the bytes.

use std::fmt;
use std::io;

use super::format::{Compression, Format};

/// Why a capture could not be opened, or where reading it stopped.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file could not be opened: missing, not permitted, a directory.
    #[error("cannot open capture `{name}`: {source}")]
    Open {
        /// Name of the capture as the user gave it.
        name: Box<str>,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The bytes are damaged, or are not a capture. Records before `damage.offset` were delivered.
    #[error("capture `{name}`: {damage}")]
    Damaged {
        /// Name of the capture as the user gave it.
        name: Box<str>,
        /// Where and how.
        damage: Damage,
    },
}

impl CaptureError {
    /// Name of the capture that the error is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Open { name, .. } | Self::Damaged { name, .. } => name,
        }
    }

    /// The damage, unless the file could not be opened at all.
    pub fn damage(&self) -> Option<&Damage> {
        match self {
            Self::Damaged { damage, .. } => Some(damage),
            Self::Open { .. } => None,
        }
    }

    /// What the user can do about it, as a full sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "Check that the path names a file that you may read.",
            Self::Damaged { damage, .. } => damage.kind.hint(),
        }
    }
}

/// One place where a capture stops making sense. Reading ends there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}{}", if *.compressed { " of the decompressed data" } else { "" })]
pub struct Damage {
    /// Byte offset in the (decompressed) stream of the header, record or block that is damaged.
    pub offset: u64,
    /// Whether `offset` counts decompressed bytes rather than bytes of the file.
    pub compressed: bool,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// The kinds of damage that a capture can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// There is not a single byte.
    #[error("the capture is empty")]
    Empty,
    /// The first bytes belong to no known format.
    #[error("not a capture: it begins with {}", Hex(magic))]
    NotACapture {
        /// First bytes, at most four.
        magic: Box<[u8]>,
    },
    /// A compressed file was compressed again.
    #[error("compressed twice: {inner} inside {outer}")]
    CompressedTwice {
        /// Compression of the file.
        outer: Compression,
        /// Compression found within.
        inner: Compression,
    },
    /// A classic pcap version that no tool wrote.
    #[error("unsupported {format} version {major}.{minor}")]
    UnsupportedVersion {
        /// Format with that version.
        format: Format,
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The capture ends within its file header.
    #[error("file header cut off: {got} of {needed} bytes")]
    HeaderTruncated {
        /// Bytes that the header has.
        needed: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// The capture ends within a record header, or within the frame of a pcapng block.
    #[error("record header cut off: {got} of {needed} bytes")]
    RecordHeaderTruncated {
        /// Bytes that the record header has.
        needed: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// The capture ends within the data of a record or block.
    #[error("record cut off: {got} of {needed} bytes")]
    RecordTruncated {
        /// Bytes of the whole record or block, header included.
        needed: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// A record claims more captured bytes than any capture of its link type has.
    #[error("captured length {caplen} is above the limit of {limit} bytes")]
    CaptureLengthTooLarge {
        /// Claimed captured length, bytes.
        caplen: u32,
        /// Largest accepted, bytes.
        limit: u32,
    },
    /// A pcapng block whose length cannot hold it or is absurd.
    #[error("block of type {block_type:#010x} has length {length}, outside {min} to {max}")]
    BlockLength {
        /// Block type code.
        block_type: u32,
        /// Claimed total length, bytes.
        length: u32,
        /// Smallest length of such a block, bytes.
        min: u32,
        /// Largest accepted, bytes.
        max: u32,
    },
    /// A pcapng block whose length is not a multiple of four.
    #[error("block of type {block_type:#010x} has length {length}, not a multiple of 4")]
    BlockUnaligned {
        /// Block type code.
        block_type: u32,
        /// Claimed total length, bytes.
        length: u32,
    },
    /// The two length fields of a pcapng block differ.
    #[error("block of type {block_type:#010x} has length {leading} in front and {trailing} behind")]
    BlockLengthMismatch {
        /// Block type code.
        block_type: u32,
        /// Length before the body, bytes.
        leading: u32,
        /// Length after the body, bytes.
        trailing: u32,
    },
    /// A section header whose byte-order magic is neither.
    #[error("section header with byte-order magic {found:#010x}")]
    ByteOrderMagic {
        /// What stands there, read as little-endian.
        found: u32,
    },
    /// A packet claims more captured bytes than its block holds.
    #[error("captured length {caplen} does not fit the {available} bytes of its block")]
    PacketOverrunsBlock {
        /// Claimed captured length, bytes.
        caplen: u32,
        /// Bytes between packet header and block trailer.
        available: u32,
    },
    /// An option claims more bytes than its block holds.
    #[error("option {code} of {length} bytes overruns its block of type {block_type:#010x}")]
    OptionOverrun {
        /// Block type code.
        block_type: u32,
        /// Option code.
        code: u16,
        /// Claimed length, bytes.
        length: u16,
    },
    /// A packet names an interface that its section does not describe.
    #[error("packet on interface {interface}, but the section describes {described}")]
    UnknownInterface {
        /// Interface index within the section.
        interface: u32,
        /// Interfaces described so far in the section.
        described: u32,
    },
    /// More interfaces than a reader keeps.
    #[error("more than {limit} interfaces")]
    TooManyInterfaces {
        /// Largest number kept.
        limit: u32,
    },
    /// The compressed data is corrupt, cut off, or needs too much memory.
    #[error("{compression} decompression failed after {stored_offset} stored bytes: {message}")]
    Decompression {
        /// Compression of the file.
        compression: Compression,
        /// Bytes of the file that had been read.
        stored_offset: u64,
        /// What the decoder said.
        message: Box<str>,
    },
    /// The operating system failed to read on.
    #[error("read error: {message}")]
    Read {
        /// Kind of the fault.
        error: io::ErrorKind,
        /// What the operating system said.
        message: Box<str>,
    },
    /// Another process cut the file off while it was mapped: what was read from the offset on may
    /// have been zeroes in the place of bytes that were gone.
    #[error("the file of {len} bytes was cut off by another process while it was read")]
    TruncatedWhileRead {
        /// Length when it was opened, bytes.
        len: u64,
    },
}

impl DamageKind {
    /// Short stable name of the kind, for counters and machine-readable output.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotACapture { .. } => "not_a_capture",
            Self::CompressedTwice { .. } => "compressed_twice",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::HeaderTruncated { .. } => "header_truncated",
            Self::RecordHeaderTruncated { .. } => "record_header_truncated",
            Self::RecordTruncated { .. } => "record_truncated",
            Self::CaptureLengthTooLarge { .. } => "capture_length_too_large",
            Self::BlockLength { .. } => "block_length",
            Self::BlockUnaligned { .. } => "block_unaligned",
            Self::BlockLengthMismatch { .. } => "block_length_mismatch",
            Self::ByteOrderMagic { .. } => "byte_order_magic",
            Self::PacketOverrunsBlock { .. } => "packet_overruns_block",
            Self::OptionOverrun { .. } => "option_overrun",
            Self::UnknownInterface { .. } => "unknown_interface",
            Self::TooManyInterfaces { .. } => "too_many_interfaces",
            Self::Decompression { .. } => "decompression",
            Self::Read { .. } => "read",
            Self::TruncatedWhileRead { .. } => "truncated_while_read",
        }
    }

    /// What the user can do about it, as a full sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "The file has no bytes; was the capture stopped before it began?",
            Self::NotACapture { .. } => {
                "Captures are pcap or pcapng, plain or compressed with gzip, zstd or xz."
            }
            Self::CompressedTwice { .. } => "Decompress the file once before reading it.",
            Self::UnsupportedVersion { .. } => "Convert the file with `editcap` first.",
            Self::HeaderTruncated { .. } => "The file was cut off before its first record.",
            Self::RecordHeaderTruncated { .. } | Self::RecordTruncated { .. } => {
                "The capture was cut off while being written or copied; what precedes is good."
            }
            Self::CaptureLengthTooLarge { .. }
            | Self::BlockLength { .. }
            | Self::BlockUnaligned { .. }
            | Self::BlockLengthMismatch { .. }
            | Self::ByteOrderMagic { .. }
            | Self::PacketOverrunsBlock { .. }
            | Self::OptionOverrun { .. }
            | Self::UnknownInterface { .. } => {
                "The file is corrupt from there on; what precedes is good."
            }
            Self::TooManyInterfaces { .. } => "Split the file by section first.",
            Self::Decompression { .. } => {
                "The file is corrupt, incomplete or needs over 128 MiB to decompress; what precedes is good."
            }
            Self::TruncatedWhileRead { .. } => {
                "Read the file again when nothing writes to it; what precedes is good."
            }
            Self::Read { .. } => "The device or pipe failed; try to read the file again.",
        }
    }
}

/// Bytes as `0x` and two digits each.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
