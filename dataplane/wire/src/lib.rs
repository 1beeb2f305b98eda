//! Capture files of any common kind, read record by record with every bound checked.
//!
//! This layer turns bytes of a file, a pipe or standard input into [`Record`]s and knows nothing
//! of what they carry beyond their [`LinkType`]:
//!
//! | container | read | written |
//! |---|---|---|
//! | pcap | µs, ns, both byte orders, modified (Kuznetsov), Ixia | µs, ns, both byte orders |
//! | pcapng | several sections and byte orders, enhanced, simple and obsolete packets, resolution and offset per interface | one section, any interfaces |
//! | gzip, zstd, xz around either | recognised by content, one level | – |
//!
//! ```
//! use wt_wire::{ByteOrder, CaptureReader, LinkType, PcapVariant, PcapWriter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer =
//!     PcapWriter::new(Vec::new(), PcapVariant::Nano, ByteOrder::Little, LinkType::ETHERNET, 65_535)?;
//! writer.write(1_700_000_000_000_000_001, 60, &[0; 42])?;
//! let bytes = writer.into_inner();
//!
//! let mut reader = CaptureReader::from_reader("example", std::io::Cursor::new(bytes))?;
//! while let Some(record) = reader.next()? {
//!     assert_eq!((record.len, record.data.len()), (60, 42));
//!     assert_eq!(record.timestamp_ns, 1_700_000_000_000_000_001);
//! }
//! assert!(reader.damage().is_none());
//! # Ok(())
//! # }
//! ```
//!
//! # Bad input
//! Any bytes end in records, then either the end or one [`CaptureError::Damaged`] with the offset
//! and kind of the damage: what precedes it has been delivered, nothing follows it. No length in a
//! file is believed before the bytes are there, so memory is bounded by constants: the read buffer
//! (256 KiB, or the largest record present), the decompressor's window (at most 128 MiB), and
//! [`INTERFACES_MAX`] interfaces. Oddities that harm nobody are delivered as they stand: fractions
//! of a second above one, captured lengths above the length on the wire (counted by
//! [`CaptureReader::caplen_above_len`]), packets longer than the snap length.

mod capture;

pub use capture::*;
