//! The reader of one capture: recognises, decompresses, parses.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::batch::{Batch, RecordRef};
use super::decompress::{self, Stored, StoredState};
use super::error::{CaptureError, Damage, DamageKind};
use super::format::{self, Compression, Detected, Format};
use super::layout::RecordLayout;
use super::link_type::LinkType;
use super::pcap::PcapParser;
use super::pcapng::PcapNgParser;
use super::stream::{BUFFER_LEN, Fault, Stream};
use super::time::TimeResolution;

/// Bytes that tell compressions apart.
const HEAD_LEN: usize = 6;
/// Smallest read buffer: of captures that are smaller themselves, so that hundreds can be open.
const BUFFER_LEN_MIN: usize = 4096;

/// One captured packet. Its data lies in the reader's buffer until the next record is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Capture time, nanoseconds since the epoch, held at 0 and `u64::MAX`. Simple Packet Blocks
    /// carry none and say 0.
    pub timestamp_ns: u64,
    /// Length on the wire, bytes. May lie: smaller than `data` in damaged or odd captures.
    pub len: u32,
    /// Index into [`CaptureReader::interfaces`], counted through all sections.
    pub interface: u32,
    /// What the data begins with.
    pub link_type: LinkType,
    /// Byte offset of the record or block in the (decompressed) stream.
    pub offset: u64,
    /// Whether the capturing host received or sent it, where the format says so.
    pub direction: Direction,
    /// Captured bytes.
    pub data: &'a [u8],
}

/// Direction of a packet as seen by the capturing host. Machine code reads it, so its width and
/// values are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum Direction {
    /// Not recorded.
    #[default]
    Unknown = 0,
    /// Received.
    Inbound = 1,
    /// Sent.
    Outbound = 2,
}

/// One interface that a capture describes; classic pcap has exactly one, without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// `if_name`, at most [`INTERFACE_NAME_MAX`](super::INTERFACE_NAME_MAX) bytes of it.
    pub name: Option<Box<str>>,
    /// Link type of its packets.
    pub link_type: LinkType,
    /// Largest captured length, bytes; 0 is unlimited.
    pub snap_len: u32,
    /// Section that describes it, from 0.
    pub section: u32,
    /// Length of a tick of its timestamps.
    pub resolution: TimeResolution,
    /// `if_tsoffset`, seconds added to its timestamps.
    pub offset_s: i64,
}

/// A record without its bytes: where they lie in the stream's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordMeta {
    pub(crate) timestamp_ns: u64,
    pub(crate) offset: u64,
    /// Bytes from the start of the record or block to its captured bytes.
    pub(crate) header_len: u32,
    pub(crate) data_at: usize,
    pub(crate) caplen: u32,
    pub(crate) len: u32,
    pub(crate) interface: u32,
    pub(crate) link_type: LinkType,
    pub(crate) direction: Direction,
}

impl RecordMeta {
    /// The same record by reference to the stream's buffer.
    #[inline]
    fn by_reference(&self) -> RecordRef {
        // The buffer holds one record or 256 KiB: far below 4 GiB.
        let at = self.data_at as u32;
        let Self { timestamp_ns, caplen, len, direction, .. } = *self;
        RecordRef { timestamp_ns, at, caplen, len, direction }
    }

    /// Whether `other` may stand in a batch that this record begins.
    #[inline]
    pub(crate) fn batches_with(&self, other: &Self) -> bool {
        self.interface == other.interface
            && self.link_type == other.link_type
            && self.header_len == other.header_len
    }
}

enum Parser {
    Pcap(PcapParser),
    PcapNg(PcapNgParser),
}

/// Reads the records of one capture in file order.
///
/// Memory: the read buffer of 256 KiB, grown to the largest record that is really there, plus the
/// window of the decompressor (gzip 32 KiB, zstd and xz at most 128 MiB), plus the interfaces.
pub struct CaptureReader {
    name: Box<str>,
    stream: Stream,
    stored: Arc<StoredState>,
    size_hint: Option<u64>,
    compression: Option<Compression>,
    parser: Parser,
    /// Once it was asked for.
    layout: Option<RecordLayout>,
    interfaces: Vec<InterfaceInfo>,
    damage: Option<Damage>,
    ended: bool,
    records: u64,
    caplen_above_len: u64,
}

impl CaptureReader {
    /// Opens a capture file.
    ///
    /// # Errors
    /// [`CaptureError::Open`] when the operating system refuses, [`CaptureError::Damaged`] when
    /// the bytes do not begin as a capture does.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let name = path.to_string_lossy();
        let refused = |source| CaptureError::Open { name: name.as_ref().into(), source };
        Self::from_file(&name, File::open(path).map_err(refused)?)
    }

    /// Reads a capture file that is open, from its current position; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(name: &str, file: File) -> Result<Self, CaptureError> {
        let refused = |source| CaptureError::Open { name: name.into(), source };
        let metadata = file.metadata().map_err(refused)?;
        if metadata.is_dir() {
            return Err(refused(io::ErrorKind::IsADirectory.into()));
        }
        // Pipes and devices have no length.
        let size_hint = metadata.is_file().then_some(metadata.len());
        Self::from_source(name, file, size_hint)
    }

    /// Reads a capture from any source, such as standard input; `name` stands in messages.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] when the bytes do not begin as a capture does.
    pub fn from_reader(
        name: &str,
        source: impl Read + Send + 'static,
    ) -> Result<Self, CaptureError> {
        Self::from_source(name, source, None)
    }

    /// As [`Self::from_reader`], of a source that is expected to have so many bytes ([`Self::size_hint`]).
    ///
    /// # Errors
    /// As [`Self::from_reader`].
    pub fn from_sized_reader(
        name: &str,
        source: impl Read + Send + 'static,
        len: u64,
    ) -> Result<Self, CaptureError> {
        Self::from_source(name, source, Some(len))
    }

    fn from_source(
        name: &str,
        source: impl Read + Send + 'static,
        size_hint: Option<u64>,
    ) -> Result<Self, CaptureError> {
        let (stored, state) = Stored::new(source);
        let mut opening = Opening { compression: None, stored: state };
        let damaged = |opening: &Opening, offset, kind| {
            let damage = Damage { offset, compressed: opening.compression.is_some(), kind };
            CaptureError::Damaged { name: name.into(), damage }
        };

        let mut stream = match opening.stream(stored, size_hint) {
            Ok(stream) => stream,
            Err(kind) => return Err(damaged(&opening, 0, kind)),
        };
        let started = opening.start(&mut stream);
        let (parser, interfaces) = match started {
            Ok(started) => started,
            Err(fault) => {
                let kind = opening.explain(&stream, fault.kind);
                return Err(damaged(&opening, fault.offset, kind));
            }
        };
        Ok(Self {
            name: name.into(),
            stream,
            stored: opening.stored,
            size_hint,
            compression: opening.compression,
            parser,
            layout: None,
            interfaces,
            damage: None,
            ended: false,
            records: 0,
            caplen_above_len: 0,
        })
    }

    /// The next record, or nothing at the end.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] once, behind the last good record; nothing follows it.
    #[expect(clippy::should_implement_trait, reason = "records borrow the buffer: a lending next")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        match self.advance()? {
            Some(meta) => Ok(Some(self.record(&meta))),
            None => Ok(None),
        }
    }

    /// The next records that lie side by side in the buffer, at most `max`, or nothing at the end:
    /// what that many calls of [`Self::next`] would give. `records` is storage for them and is
    /// best used again.
    ///
    /// A batch ends before damage, which comes with the following call, and wherever interface,
    /// link type or kind of block change. Calls of [`Self::next`] may stand between.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_batch<'a>(
        &'a mut self,
        records: &'a mut Vec<RecordRef>,
        max: usize,
    ) -> Result<Option<Batch<'a>>, CaptureError> {
        match self.advance()? {
            Some(first) => Ok(Some(self.batch(&first, u64::MAX, records, max))),
            None => Ok(None),
        }
    }

    /// The buffer in which the records of the last batch lie, as [`Batch::data`].
    pub fn buffer(&self) -> &[u8] {
        self.stream.buffer()
    }

    /// The batch that `first` begins, which was advanced to last: with records up to
    /// `last_ns`, at most `max`, none of which needs a read.
    pub(crate) fn batch<'a>(
        &'a mut self,
        first: &RecordMeta,
        last_ns: u64,
        records: &'a mut Vec<RecordRef>,
        max: usize,
    ) -> Batch<'a> {
        // What is behind the batch stays, as it is: batches of captures that are merged may be of one record each.
        let max = max.max(1);
        if records.len() < max {
            records.resize(max, RecordRef::EMPTY);
        }
        let records = &mut records[..max];
        records[0] = first.by_reference();
        let count = 1 + match &mut self.parser {
            Parser::Pcap(parser) => parser.batch(&mut self.stream, last_ns, &mut records[1..]),
            Parser::PcapNg(parser) => {
                let places = records[1..].iter_mut();
                let metas = std::iter::from_fn(|| {
                    let meta =
                        parser.advance_in_window(&mut self.stream, &self.interfaces, |m| {
                            m.timestamp_ns <= last_ns && first.batches_with(m)
                        })?;
                    Some(meta.by_reference())
                });
                places.zip(metas).map(|(place, meta)| *place = meta).count()
            }
        };
        let records = &records[..count];
        self.records += count as u64 - 1;
        let rest = &records[1..];
        self.caplen_above_len += rest.iter().filter(|r| r.caplen > r.len).count() as u64;
        Batch {
            data: self.stream.buffer(),
            records,
            link_type: first.link_type,
            interface: first.interface,
            data_offset: self.stream.buffer_offset(),
            header_len: first.header_len,
        }
    }

    /// Moves to the next record; its bytes stay readable by [`Self::record`] until the next call.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Option<RecordMeta>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let advanced = match &mut self.parser {
            Parser::Pcap(parser) => parser.advance(&mut self.stream),
            Parser::PcapNg(parser) => parser.advance(&mut self.stream, &mut self.interfaces),
        };
        match advanced {
            Ok(Some(meta)) => {
                self.records += 1;
                self.caplen_above_len += u64::from(meta.caplen > meta.len);
                Ok(Some(meta))
            }
            Ok(None) => self.end(None),
            Err(fault) => self.end(Some(*fault)),
        }
    }

    #[inline]
    pub(crate) fn record(&self, meta: &RecordMeta) -> Record<'_> {
        Record {
            timestamp_ns: meta.timestamp_ns,
            len: meta.len,
            interface: meta.interface,
            link_type: meta.link_type,
            offset: meta.offset,
            direction: meta.direction,
            data: self.stream.slice(meta.data_at, meta.caplen as usize),
        }
    }

    #[cold]
    fn end(&mut self, fault: Option<Fault>) -> Result<Option<RecordMeta>, CaptureError> {
        self.ended = true;
        let failure = failure_kind(&self.stream, &self.stored, self.compression);
        let (offset, kind) = match (fault, failure) {
            (None, None) => return Ok(None),
            (Some(fault), None) => (fault.offset, fault.kind),
            // What looks cut off was not read to its end.
            (Some(fault), Some(failure)) => (fault.offset, or_failure(fault.kind, failure)),
            (None, Some(failure)) => (self.stream.offset(), failure),
        };
        let damage = Damage { offset, compressed: self.compression.is_some(), kind };
        self.damage = Some(damage.clone());
        Err(CaptureError::Damaged { name: self.name.clone(), damage })
    }

    /// Name of the capture as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Interfaces described so far, over all sections; [`Record::interface`] indexes them.
    pub fn interfaces(&self) -> &[InterfaceInfo] {
        &self.interfaces
    }

    /// The container format.
    pub fn format(&self) -> Format {
        match &self.parser {
            Parser::Pcap(parser) => parser.format(),
            Parser::PcapNg(_) => Format::PcapNg,
        }
    }

    /// How the records of a plain capture lie in the file, for readers that bring their own bytes; nothing where they are not all alike, as far
    /// as the beginning tells: of compressed captures, of variants of classic pcap that swap the lengths or have more in a record header, of
    /// pcapng with several interfaces, other byte order or other units of time. Asked before the first record; then the interface is described.
    pub fn layout(&mut self) -> Option<RecordLayout> {
        if self.layout.is_none() && self.compression.is_none() && self.records == 0 {
            self.layout = match &mut self.parser {
                Parser::Pcap(parser) => parser.layout(),
                Parser::PcapNg(parser) => parser.layout(&mut self.stream, &mut self.interfaces),
            };
        }
        self.layout
    }

    /// Continues a capture that has a [`Self::layout`] at `offset`, where a record or block begins: `source` gives the bytes from there. What
    /// was damaged before, or had ended, goes on. Says whether the layout was asked for and allows it; of others nothing is read.
    pub fn continue_at(&mut self, offset: u64, source: impl Read + Send + 'static) -> bool {
        if self.layout.is_none() {
            return false;
        }
        let (stored, state) = Stored::new(source);
        self.stream = Stream::continued(Box::new(stored), BUFFER_LEN, offset);
        self.stored = state;
        self.damage = None;
        self.ended = false;
        true
    }

    /// Where the record or block that comes next begins in the (decompressed) stream.
    pub fn offset(&self) -> u64 {
        self.stream.offset()
    }

    /// How the file is compressed, if it is.
    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Bytes of the file as stored that have been read, for progress bars.
    pub fn bytes_read(&self) -> u64 {
        self.stored.bytes_read()
    }

    /// Length of the file as stored, bytes, if it is a file.
    pub fn size_hint(&self) -> Option<u64> {
        self.size_hint
    }

    /// Records delivered so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Delivered records whose captured length is above their length on the wire.
    pub fn caplen_above_len(&self) -> u64 {
        self.caplen_above_len
    }

    /// The damage that ended the capture, once `next` has met it.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }
}

impl std::fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader")
            .field("name", &self.name)
            .field("format", &self.format())
            .field("compression", &self.compression)
            .field("offset", &self.stream.offset())
            .field("damage", &self.damage)
            .finish_non_exhaustive()
    }
}

/// What is known while the first bytes are looked at.
struct Opening {
    compression: Option<Compression>,
    stored: Arc<StoredState>,
}

impl Opening {
    /// Looks for a compression and sets up the stream of decompressed bytes.
    fn stream<R: Read + Send + 'static>(
        &mut self,
        mut stored: Stored<R>,
        size_hint: Option<u64>,
    ) -> Result<Stream, DamageKind> {
        let mut head = Vec::with_capacity(HEAD_LEN);
        (&mut stored).take(HEAD_LEN as u64).read_to_end(&mut head).map_err(|e| read_kind(&e))?;
        if head.is_empty() {
            return Err(DamageKind::Empty);
        }
        self.compression = Compression::detect(&head);
        let stored = io::Cursor::new(head).chain(stored);
        let Some(compression) = self.compression else {
            let len = size_hint.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
            return Ok(Stream::new(Box::new(stored), len.clamp(BUFFER_LEN_MIN, BUFFER_LEN)));
        };
        let decoder = decompress::decoder(compression, stored).map_err(|e| read_kind(&e))?;
        Ok(Stream::new(decoder, BUFFER_LEN))
    }

    /// Recognises the container and reads its header.
    fn start(&self, stream: &mut Stream) -> Result<(Parser, Vec<InterfaceInfo>), Box<Fault>> {
        let head = stream.peek(HEAD_LEN);
        if let (Some(outer), Some(inner)) = (self.compression, Compression::detect(head)) {
            return Err(Fault::new(0, DamageKind::CompressedTwice { outer, inner }));
        }
        match format::detect(&head[..head.len().min(4)]) {
            _ if head.is_empty() => Err(Fault::new(0, DamageKind::Empty)),
            Detected::Pcap(variant, order) => {
                let (parser, interface) = PcapParser::open(stream, variant, order)?;
                Ok((Parser::Pcap(parser), vec![interface]))
            }
            Detected::PcapNg => Ok((Parser::PcapNg(PcapNgParser::open(stream)?), Vec::new())),
            Detected::Cut => {
                let kind = DamageKind::HeaderTruncated { needed: 4, got: head.len() as u64 };
                Err(Fault::new(0, kind))
            }
            Detected::Unknown => {
                let magic = head[..head.len().min(4)].into();
                Err(Fault::new(0, DamageKind::NotACapture { magic }))
            }
        }
    }

    fn explain(&self, stream: &Stream, kind: DamageKind) -> DamageKind {
        match failure_kind(stream, &self.stored, self.compression) {
            Some(failure) => or_failure(kind, failure),
            None => kind,
        }
    }
}

/// A finding that only says that bytes are missing gives way to the reason why they are.
fn or_failure(kind: DamageKind, failure: DamageKind) -> DamageKind {
    match kind {
        DamageKind::NotACapture { ref magic } if magic.len() < 4 => failure,
        DamageKind::Empty
        | DamageKind::HeaderTruncated { .. }
        | DamageKind::RecordHeaderTruncated { .. }
        | DamageKind::RecordTruncated { .. } => failure,
        other => other,
    }
}

/// Why the stream failed, if it did not just end.
fn failure_kind(
    stream: &Stream,
    stored: &StoredState,
    compression: Option<Compression>,
) -> Option<DamageKind> {
    let error = stream.failure()?;
    Some(match compression {
        Some(compression) if !stored.failed() => DamageKind::Decompression {
            compression,
            stored_offset: stored.bytes_read(),
            message: error.to_string().into(),
        },
        _ => read_kind(error),
    })
}

fn read_kind(error: &io::Error) -> DamageKind {
    DamageKind::Read { error: error.kind(), message: error.to_string().into() }
}
