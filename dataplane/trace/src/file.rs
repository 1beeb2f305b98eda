//! A capture file that can be read by several readers at once.

use std::fs::File;
use std::io::Seek;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use wt_wire::{CAPLEN_MAX, CaptureError, CaptureReader, InterfaceInfo, RecordLayout};

use crate::index::{Chosen, Places, Reading, Run, Selected};
use crate::mapped::Tuning;
use crate::reader::TraceReader;
use crate::resync;
use crate::sys::{Mapping, Space};
use crate::walk::walk;

/// Bytes in which a record start is looked for: mostly the first few hold as many records as it takes to be sure.
const RESYNC_LENS: [usize; 3] = [16 << 10, 128 << 10, 1 << 20];

/// Bytes in which the first record is looked for.
const FIRST_RECORD_LENS: [usize; 2] = [4 << 10, 128 << 10];

/// What opening a capture gave.
#[derive(Debug)]
pub enum Opened {
    /// A regular file that holds records of one layout: a plain classic pcap, or pcapng of one interface.
    Plain(TraceFile),
    /// Any other capture, with no record read yet.
    Other(Box<CaptureReader>),
}

/// A regular file that holds records of one layout ([`RecordLayout`]), as far as its beginning tells. Clones share the open file; readers of it keep
/// their own positions.
#[derive(Debug, Clone)]
pub struct TraceFile {
    shared: Arc<Shared>,
    tuning: Tuning,
}

#[derive(Debug)]
struct Shared {
    name: Box<str>,
    file: File,
    /// The file header, with which a reader of the remainder begins.
    header: Box<[u8]>,
    layout: RecordLayout,
    interface: InterfaceInfo,
    len: u64,
    /// Made when a reader wants it first; nothing where the system does not map the file.
    mapping: OnceLock<Option<Mapping>>,
    /// Where to.
    space: OnceLock<Arc<Space>>,
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
        let mut capture = CaptureReader::from_file(&name, file)?;
        // What has no length, as a pipe, is not read before its packets are asked for.
        let Some(len) = capture.size_hint() else { return Ok(Opened::Other(Box::new(capture))) };
        let Some(layout) = capture.layout() else { return Ok(Opened::Other(Box::new(capture))) };
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
        let (mapping, space) = (OnceLock::new(), OnceLock::new());
        let shared = Shared { name, file: kept, header, layout, interface, len, mapping, space };
        Ok(Opened::Plain(Self { shared: Arc::new(shared), tuning: Tuning::default() }))
    }

    /// The file as a capture among others, read record by record.
    ///
    /// # Errors
    /// As [`CaptureReader::open`].
    pub fn capture(&self) -> Result<CaptureReader, CaptureError> {
        let Shared { name, file, .. } = &*self.shared;
        let refused = |source| CaptureError::Open { name: name.clone(), source };
        let mut file = file.try_clone().map_err(refused)?;
        // Readers of ranges say where they read: the position they share is free.
        file.rewind().map_err(refused)?;
        CaptureReader::from_file(name, file)
    }

    /// The same file, to be read in another way; the records stay the same.
    pub fn tuned(self, tuning: Tuning) -> Self {
        Self { tuning, ..self }
    }

    /// Has several files mapped, when they are, beside each other; nothing where there are no such addresses, or fewer files.
    pub fn side_by_side<'a>(files: impl Iterator<Item = &'a Self> + Clone) -> Option<SideBySide> {
        let lens = files.clone().map(|file| usize::try_from(file.shared.len));
        let lens: Vec<usize> = lens.collect::<Result<_, _>>().ok()?;
        if lens.len() < 2 {
            return None;
        }
        let space = Arc::new(Space::new(lens.into_iter()).ok()?);
        for file in files {
            // One that is mapped already stays where it is.
            let _ = file.shared.space.set(Arc::clone(&space));
        }
        Some(SideBySide(space))
    }

    /// Time of the first record, for whoever only wants to know when to begin; nothing where that takes a reader to tell.
    pub fn first_timestamp_ns(&self) -> Option<u64> {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for most in FIRST_RECORD_LENS {
            bytes.resize(most, 0);
            let count = self.read_at(&mut bytes, self.shared.layout.records_at).ok()?;
            walk(self.shared.layout, &bytes[..count], 1, &mut records);
            if let Some(first) = records.first() {
                return Some(first.timestamp_ns);
            }
        }
        None
    }

    /// A reader of all records.
    pub fn reader(&self) -> TraceReader {
        self.reader_of(self.shared.layout.records_at..u64::MAX)
    }

    /// A reader of the records that begin in a range of bytes. A record must begin at its start:
    /// at [`RecordLayout::records_at`], or where another reader of this file ended
    /// ([`TraceReader::position`]).
    ///
    /// When the reader has ended without damage and its position is the start of the next range,
    /// then a record begins there. Where blocks of pcapng describe something on the way, the reader goes on beyond the range, to the end: what
    /// other readers make of what follows does not count.
    pub fn reader_of(&self, range: Range<u64>) -> TraceReader {
        TraceReader::new(self.clone(), range, self.tuning)
    }

    /// Whether [`Self::reader_of_chosen`] reads no more than what an index has chosen: not where something is described on the way, as of pcapng
    /// the index knows. [`Self::capture_of_chosen`] does then.
    pub fn is_plain_in(&self, chosen: &Chosen) -> bool {
        !chosen.describes
    }

    /// A reader of what an index of this file has chosen, each run checked before it is read: from the first block on that is not what was
    /// indexed, everything is read.
    pub fn reader_of_chosen(&self, chosen: Chosen, reading: Reading) -> TraceReader {
        TraceReader::of_chosen(self.clone(), chosen, reading, self.tuning)
    }

    /// What an index of this file has chosen, as a capture among others, and where its bytes stand in the file.
    ///
    /// # Errors
    /// As [`CaptureReader::open`].
    pub fn capture_of_chosen(
        &self,
        chosen: Chosen,
        reading: Reading,
    ) -> Result<(CaptureReader, Places), CaptureError> {
        let Shared { name, file, .. } = &*self.shared;
        let refused = |source| CaptureError::Open { name: name.clone(), source };
        let file = file.try_clone().map_err(refused)?;
        let len = chosen.taken().bytes.0;
        let selected = Selected::new(file, chosen, reading);
        let places = selected.places();
        Ok((CaptureReader::from_sized_reader(name, selected, len)?, places))
    }

    /// Where the first block of a run begins that is not what was indexed.
    pub fn changed_at(&self, run: &Run) -> Option<u64> {
        run.changed_at(&self.shared.file)
    }

    /// Cuts the file into at most `count` ranges of about the same length that together hold all
    /// records. The first one begins with the first record; the starts of the others are *guesses*
    /// from the bytes. A range counts when all before it do and the reader of the one before ended,
    /// without damage, with its [`TraceReader::position`] at the start of this one. If it does not,
    /// read the range again with [`Self::reader_of`] from that position on; after damage there are
    /// no further records.
    pub fn split(&self, count: usize) -> Vec<Range<u64>> {
        let first = self.shared.layout.records_at;
        let step = self.shared.len.saturating_sub(first) / count.max(1) as u64;
        self.split_at((1..count as u64).map(|number| first + number * step))
    }

    /// As [`Self::split`], where these offsets or the records behind them are.
    pub fn split_at(&self, hints: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
        let mut starts = vec![self.shared.layout.records_at];
        let mut bytes = Vec::new();
        starts.extend(hints.filter_map(|hint| self.guess(hint, &mut bytes)));
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([u64::MAX]);
        starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| start..end)
            .filter(|r| r.start < r.end)
            .collect()
    }

    /// Where a record seems to begin, from an offset on. `bytes` is overwritten.
    fn guess(&self, hint: u64, bytes: &mut Vec<u8>) -> Option<u64> {
        let mut len = 0;
        for most in RESYNC_LENS {
            bytes.resize(bytes.len().max(most), 0);
            while len < most {
                match self.read_at(&mut bytes[len..most], hint + len as u64) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => len += count,
                }
            }
            let found = resync::chain(self.shared.layout, &bytes[..len], 0);
            if found.is_some() || len < most {
                return found.map(|at| hint + at as u64);
            }
        }
        None
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
    pub fn layout(&self) -> RecordLayout {
        self.shared.layout
    }

    /// The one interface that its beginning describes. [`TraceReader::interfaces`] has those of which records come.
    pub fn interface(&self) -> &InterfaceInfo {
        &self.shared.interface
    }

    /// The file mapped to its length when opened, if that can be.
    pub(crate) fn mapping(&self) -> Option<&Mapping> {
        let map = || {
            let len = usize::try_from(self.shared.len).ok()?;
            let space = match self.shared.space.get() {
                Some(space) => Arc::clone(space),
                None => Arc::new(Space::new(std::iter::once(len)).ok()?),
            };
            Mapping::new(&self.shared.file, len, space).ok()
        };
        self.shared.mapping.get_or_init(map).as_ref()
    }

    /// The open file, for reading at offsets.
    pub(crate) fn file(&self) -> &File {
        &self.shared.file
    }

    /// Whether mapped bytes were asked for that the file had lost.
    pub(crate) fn is_damaged(&self) -> bool {
        self.shared.mapping.get().and_then(Option::as_ref).is_some_and(Mapping::is_damaged)
    }

    /// Whether bytes before an offset are gone by now.
    pub(crate) fn is_shorter_than(&self, offset: u64) -> bool {
        self.shared.file.metadata().is_ok_and(|metadata| metadata.len() < offset)
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
        let is_plain = reader.layout().is_some();
        let continued =
            is_plain && reader.continue_at(offset, Bytes { file: self.clone(), offset });
        assert!(continued, "the layout was taken from the same header");
        Ok(reader)
    }
}

/// Files that are mapped beside each other ([`TraceFile::side_by_side`]): records of several make one batch.
#[derive(Debug, Clone)]
pub struct SideBySide(Arc<Space>);

impl SideBySide {
    /// All files, and zeroes where none is mapped.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Where the bytes of a batch ([`wt_wire::Batch::data`]) lie among them; nothing for those that were read elsewhere.
    pub fn offset_of(&self, data: &[u8]) -> Option<usize> {
        self.0.offset_of(data)
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
