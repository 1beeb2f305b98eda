//! Writers: plain pcap and pcapng, for tests and recordings.

use std::io::{self, Write};

use super::format::{ByteOrder, PCAPNG_MAGIC, PcapVariant};
use super::link_type::LinkType;
use super::pcap::{FILE_HEADER_LEN, RECORD_HEADER_LEN};
use super::reader::Direction;
use super::time::TimeResolution;

/// Why a record or an interface could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Classic pcap counts seconds in 32 bits, which end in 2106.
    #[error("timestamp of {timestamp_ns} ns does not fit the 32-bit seconds of pcap")]
    TimestampTooLarge {
        /// Time of the record, nanoseconds since the epoch.
        timestamp_ns: u64,
    },
    /// More captured bytes than readers accept.
    #[error("record of {caplen} bytes is above the limit of {limit}")]
    RecordTooLarge {
        /// Bytes of the record.
        caplen: usize,
        /// Largest accepted, bytes.
        limit: u32,
    },
    /// An option value that does not fit the 16 bits of its length.
    #[error("interface name of {len} bytes is above the limit of 65535")]
    NameTooLong {
        /// Bytes of the name.
        len: usize,
    },
    /// A variant that is read but not written.
    #[error("{0:?} pcap is not written; use microseconds or nanoseconds")]
    Variant(PcapVariant),
    /// A packet for an interface that was not described.
    #[error("packet for interface {interface} of {described}")]
    UnknownInterface {
        /// Index given.
        interface: u32,
        /// Interfaces described so far.
        described: u32,
    },
}

/// Writes classic pcap.
#[derive(Debug)]
pub struct PcapWriter<W> {
    sink: W,
    order: ByteOrder,
    nanoseconds: bool,
    caplen_max: u32,
    header: Vec<u8>,
}

impl<W: Write> PcapWriter<W> {
    /// Starts a capture with its file header.
    ///
    /// # Errors
    /// [`WriteError::Variant`] unless `variant` is `Micro` or `Nano`; [`WriteError::Io`].
    pub fn new(
        mut sink: W,
        variant: PcapVariant,
        order: ByteOrder,
        link_type: LinkType,
        snap_len: u32,
    ) -> Result<Self, WriteError> {
        let (nanoseconds, magic) = match variant {
            PcapVariant::Micro => (false, 0xa1b2_c3d4),
            PcapVariant::Nano => (true, 0xa1b2_3c4d),
            PcapVariant::Modified | PcapVariant::Ixia => return Err(WriteError::Variant(variant)),
        };
        let mut header = Vec::with_capacity(FILE_HEADER_LEN);
        order.put_u32(&mut header, magic);
        order.put_u16(&mut header, 2);
        order.put_u16(&mut header, 4);
        // Time zone and accuracy, which nobody fills.
        order.put_u32(&mut header, 0);
        order.put_u32(&mut header, 0);
        order.put_u32(&mut header, snap_len);
        order.put_u32(&mut header, u32::from(link_type.0));
        sink.write_all(&header)?;
        let caplen_max = link_type.caplen_max();
        Ok(Self { sink, order, nanoseconds, caplen_max, header })
    }

    /// Appends a record of `len` bytes on the wire, `data` of them captured.
    ///
    /// # Errors
    /// [`WriteError::TimestampTooLarge`], [`WriteError::RecordTooLarge`], [`WriteError::Io`].
    pub fn write(&mut self, timestamp_ns: u64, len: u32, data: &[u8]) -> Result<(), WriteError> {
        let caplen = caplen(data, self.caplen_max)?;
        let seconds = u32::try_from(timestamp_ns / 1_000_000_000)
            .map_err(|_| WriteError::TimestampTooLarge { timestamp_ns })?;
        let fraction_ns = (timestamp_ns % 1_000_000_000) as u32;
        let fraction = if self.nanoseconds { fraction_ns } else { fraction_ns / 1000 };
        self.header.clear();
        debug_assert!(self.header.capacity() >= RECORD_HEADER_LEN);
        for field in [seconds, fraction, caplen, len] {
            self.order.put_u32(&mut self.header, field);
        }
        self.sink.write_all(&self.header)?;
        self.sink.write_all(data)?;
        Ok(())
    }

    /// The sink. Flushing it is the caller's.
    pub fn into_inner(self) -> W {
        self.sink
    }
}

/// Writes pcapng: one section, any number of interfaces, enhanced packets.
#[derive(Debug)]
pub struct PcapNgWriter<W> {
    sink: W,
    order: ByteOrder,
    interfaces: Vec<(TimeResolution, u32)>,
    block: Vec<u8>,
}

impl<W: Write> PcapNgWriter<W> {
    /// Starts a capture with its section header.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn new(sink: W, order: ByteOrder) -> Result<Self, WriteError> {
        let mut writer = Self { sink, order, interfaces: Vec::new(), block: Vec::new() };
        writer.begin(u32::from_be_bytes(PCAPNG_MAGIC));
        writer.order.put_u32(&mut writer.block, 0x1a2b_3c4d);
        writer.order.put_u16(&mut writer.block, 1);
        writer.order.put_u16(&mut writer.block, 0);
        // Section length: not known, all ones.
        writer.block.extend_from_slice(&[0xff; 8]);
        writer.end()?;
        Ok(writer)
    }

    /// Describes an interface and gives its index. `snap_len` 0 is unlimited.
    ///
    /// # Errors
    /// [`WriteError::NameTooLong`], [`WriteError::Io`].
    pub fn interface(
        &mut self,
        name: Option<&str>,
        link_type: LinkType,
        snap_len: u32,
        resolution: TimeResolution,
    ) -> Result<u32, WriteError> {
        let name = name.unwrap_or_default();
        let name_len =
            u16::try_from(name.len()).map_err(|_| WriteError::NameTooLong { len: name.len() })?;
        self.begin(1);
        self.order.put_u16(&mut self.block, link_type.0);
        self.order.put_u16(&mut self.block, 0);
        self.order.put_u32(&mut self.block, snap_len);
        if name_len > 0 {
            self.option(2, name_len, name.as_bytes());
        }
        self.option(9, 1, &[resolution.to_option()]);
        self.option(0, 0, &[]);
        self.end()?;
        let index = self.interfaces.len() as u32;
        self.interfaces.push((resolution, link_type.caplen_max()));
        Ok(index)
    }

    /// Appends a packet of `len` bytes on the wire, `data` of them captured.
    ///
    /// # Errors
    /// [`WriteError::UnknownInterface`], [`WriteError::RecordTooLarge`], [`WriteError::Io`].
    pub fn write(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        len: u32,
        direction: Direction,
        data: &[u8],
    ) -> Result<(), WriteError> {
        let described = self.interfaces.len() as u32;
        let &(resolution, caplen_max) = self
            .interfaces
            .get(interface as usize)
            .ok_or(WriteError::UnknownInterface { interface, described })?;
        let caplen = caplen(data, caplen_max)?;
        let ticks = resolution.from_ns(timestamp_ns);
        self.begin(6);
        for field in [interface, (ticks >> 32) as u32, ticks as u32, caplen, len] {
            self.order.put_u32(&mut self.block, field);
        }
        self.block.extend_from_slice(data);
        self.pad();
        let flags = match direction {
            Direction::Unknown => None,
            Direction::Inbound => Some(0b01),
            Direction::Outbound => Some(0b10),
        };
        if let Some(flags) = flags {
            let mut value = Vec::with_capacity(4);
            self.order.put_u32(&mut value, flags);
            self.option(2, 4, &value);
            self.option(0, 0, &[]);
        }
        self.end()
    }

    /// The sink. Flushing it is the caller's.
    pub fn into_inner(self) -> W {
        self.sink
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.order.put_u32(&mut self.block, kind);
        self.order.put_u32(&mut self.block, 0);
    }

    fn option(&mut self, code: u16, len: u16, value: &[u8]) {
        self.order.put_u16(&mut self.block, code);
        self.order.put_u16(&mut self.block, len);
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// Fills both lengths in and writes the block, which records and names keep far below 4 GiB.
    fn end(&mut self) -> Result<(), WriteError> {
        let len = self.block.len() as u32 + 4;
        self.order.put_u32(&mut self.block, len);
        let mut leading = Vec::with_capacity(4);
        self.order.put_u32(&mut leading, len);
        self.block[4..8].copy_from_slice(&leading);
        self.sink.write_all(&self.block)?;
        Ok(())
    }
}

/// The captured length of `data`, if readers accept it.
fn caplen(data: &[u8], limit: u32) -> Result<u32, WriteError> {
    u32::try_from(data.len())
        .ok()
        .filter(|&caplen| caplen <= limit)
        .ok_or(WriteError::RecordTooLarge { caplen: data.len(), limit })
}
