//! Capture files: recognise, decompress, parse, merge, write.

mod batch;
mod decompress;
mod error;
mod format;
mod layout;
mod link_type;
mod merge;
mod pcap;
mod pcapng;
mod reader;
mod stream;
mod time;
mod write;

pub use batch::{Batch, RecordRef};
pub use error::{CaptureError, Damage, DamageKind};
pub use format::{ByteOrder, Compression, Format, PcapVariant};
pub use layout::{Framing, RecordLayout};
pub use link_type::LinkType;
pub use merge::{Heads, MergedCaptures, SourcedBatch, SourcedRecord};
pub use pcapng::{is_stepped_over, packet_direction};
pub use reader::{CaptureReader, Direction, InterfaceInfo, Record};
pub use time::TimeResolution;
pub use write::{PcapNgWriter, PcapWriter, WriteError};

/// Largest captured length of a packet, bytes, as in libpcap and Wireshark; a few link types that
/// carry no packets have higher limits of their own.
pub const CAPLEN_MAX: u32 = 262_144;

/// Interfaces that are kept of one capture, over all sections.
pub const INTERFACES_MAX: u32 = 1 << 17;

/// Bytes that are kept of an interface's name.
pub const INTERFACE_NAME_MAX: usize = 128;
