//! A capture file that can be read by several readers at once.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use wt_wire::{CAPLEN_MAX, CaptureError, CaptureReader, InterfaceInfo, PcapLayout};

use crate::reader::TraceReader;

/// What opening a capture gave.
#[derive(Debug)]
pub enum Opened {
    /// A plain classic pcap in a regular file.
    Plain(TraceFile),
    /// Any other capture, with no record read yet.
    Other(Box<CaptureReader>),
}

/// A regular file that holds a plain classic pcap. Clones share the open file; readers of it keep
/// their own positions.
#[derive(Debug, Clone)]
pub struct TraceFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: Box<str>,
    file: File,
    /// The file header, with which a reader of the remainder begins.
    header: Box<[u8]>,
    layout: PcapLayout,
    interface: InterfaceInfo,
    len: u64,
}

impl TraceFile {
    /// Opens a capture.
    ///
    /// # Errors
    /// As [`CaptureReader::open`].
    pub fn open(path: &Path) -> Result<Opened, CaptureError> {
        let name = path.to_string_lossy();
        let refused = |source| CaptureError::Open { name: name.as_ref().into(), source };
        let file = File::open(path).map_err(refused)?;
        // The clone shares the position, which nothing here uses: readers say where they read.
        let kept = file.try_clone().map_err(refused)?;
        let capture = CaptureReader::from_file(&name, file)?;
        let (Some(layout), Some(len)) = (capture.pcap_layout(), capture.size_hint()) else {
            return Ok(Opened::Other(Box::new(capture)));
        };
        // A few link types have records that no window of fixed size holds.
        if layout.caplen_max > CAPLEN_MAX {
            return Ok(Opened::Other(Box::new(capture)));
        }
        let mut header = vec![0; layout.records_at as usize];
        if kept.read_exact_at(&mut header, 0).is_err() {
            return Ok(Opened::Other(Box::new(capture)));
        }
        let [interface] = capture.interfaces() else { return Ok(Opened::Other(Box::new(capture))) };
        let interface = interface.clone();
        let (name, header) = (name.into(), header.into());
        let shared = Shared { name, file: kept, header, layout, interface, len };
        Ok(Opened::Plain(Self { shared: Arc::new(shared) }))
    }

    /// A reader of all records.
    pub fn reader(&self) -> TraceReader {
        self.reader_of(self.shared.layout.records_at..u64::MAX)
    }

    /// A reader of the records that begin in a range of bytes. A record must begin at its start:
    /// at [`PcapLayout::records_at`], or where another reader of this file ended
    /// ([`TraceReader::position`]).
    pub fn reader_of(&self, range: Range<u64>) -> TraceReader {
        TraceReader::new(self.clone(), range)
    }

    /// Name as given.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Length when it was opened, bytes.
    pub fn len(&self) -> u64 {
        self.shared.len
    }

    /// Whether it had no byte beyond its header when it was opened.
    pub fn is_empty(&self) -> bool {
        self.shared.len <= self.shared.layout.records_at
    }

    /// How its records lie in it.
    pub fn layout(&self) -> PcapLayout {
        self.shared.layout
    }

    /// Its one interface.
    pub fn interface(&self) -> &InterfaceInfo {
        &self.shared.interface
    }

    /// Reads at an offset, again when interrupted; 0 is the end.
    pub(crate) fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.shared.file.read_at(out, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// The reader of everything, set to go on at the start of a record.
    pub(crate) fn sequential(&self, offset: u64) -> Result<CaptureReader, CaptureError> {
        let header = Cursor::new(self.shared.header.clone());
        let mut reader = CaptureReader::from_reader(&self.shared.name, header)?;
        let continued = reader.continue_at(offset, Bytes { file: self.clone(), offset });
        assert!(continued, "the layout was taken from the same header");
        Ok(reader)
    }
}

/// The bytes of a file from an offset on.
struct Bytes {
    file: TraceFile,
    offset: u64,
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.shared.file.read_at(out, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
