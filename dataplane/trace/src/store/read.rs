//! A store as captures: all segments of a writer as one stream of sections, checked frame by frame.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use wt_wire::{CaptureError, CaptureReader};

use super::frame::Kind;
use super::name::SegmentName;
use super::scan::{Scan, Skipped};
use super::{Store, StoreError};
use crate::index::{Index, Key, Selected, Taken};

/// Bytes of an indexed segment that are read at a time.
const PIECE_LEN: usize = 256 << 10;

/// A section header of unknown length, little-endian.
const SECTION: [u8; 28] = [
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0,
];

/// What was found while a store was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Bytes of a segment are not what was written, and were left out.
    Damaged {
        /// Name of the segment.
        segment: String,
        /// Where, and how much.
        skipped: Skipped,
    },
    /// The end of a segment is not complete: its recorder was killed, or lost power. What it had not yet written whole is left out.
    Unfinished {
        /// Name of the segment.
        segment: String,
        /// Where, and how much.
        skipped: Skipped,
    },
    /// A segment was deleted before it was read: the recorder makes room.
    Deleted {
        /// Name of the segment.
        segment: String,
    },
    /// A segment cannot be read.
    Unreadable {
        /// Name of the segment.
        segment: String,
        /// What the operating system says.
        message: String,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { segment, skipped: Skipped { offset, bytes, packets } } => write!(
                f,
                "segment {segment}: {bytes} bytes at offset {offset} are damaged and were left out, with {packets} packets"
            ),
            Self::Unfinished { segment, skipped: Skipped { offset, bytes, .. } } => write!(
                f,
                "segment {segment} was not closed: {bytes} bytes at offset {offset} are not complete and were left out"
            ),
            Self::Deleted { segment } => {
                write!(f, "segment {segment} was deleted by the recorder before it was read")
            }
            Self::Unreadable { segment, message } => {
                write!(f, "segment {segment} cannot be read: {message}")
            }
        }
    }
}

impl Finding {
    /// Whether something is missing that was there.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Unfinished { .. })
    }
}

/// What was found while a store was read, as far as it has been read.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Findings {
    /// All of it so far.
    pub fn all(&self) -> Vec<Finding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, finding: Finding) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }
}

/// A segment to be read, as far as it is complete.
#[derive(Clone, Debug)]
struct Part {
    name: SegmentName,
    path: PathBuf,
    /// Bytes that may be read of one that is being written.
    limit: Option<u64>,
}

/// How much of a store is read, as it is.
pub type Reading = Arc<Mutex<Taken>>;

/// What is wanted of a store.
#[derive(Clone, Debug)]
struct Wanted {
    times: Range<u64>,
    keys: Arc<[Vec<Key>]>,
    taken: Reading,
}

impl Wanted {
    /// The wanted part of a closed segment, where an index tells which it is.
    fn select(&self, part: &Part) -> Option<Selected> {
        if part.name.is_compressed || part.limit.is_some() {
            return None;
        }
        let index = Index::open(&part.path).ok()?;
        index.select(&self.times, &self.keys).ok()?
    }

    fn count(&self, more: &Taken) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).add(more);
    }
}

/// Where the bytes of a segment come from.
enum Source {
    /// Frame by frame, each checked.
    Scan(Scan<Box<dyn Read + Send>>),
    /// Blocks that the index has checked.
    Selected(Selected),
}

/// Reads the segments of one writer.
struct Chain {
    store: u64,
    parts: VecDeque<Part>,
    wanted: Option<Wanted>,
    at: Option<(String, Source)>,
    /// Checked bytes that were not asked for yet.
    out: Vec<u8>,
    out_at: usize,
    findings: Findings,
}

impl Store {
    /// What the store holds now, as one capture per writer: packets in the order in which each writer saw them. A segment that is being written is
    /// read as far as it is complete now. Segments are opened one after the other, and only bytes whose checksums hold are given.
    ///
    /// # Errors
    /// The directory cannot be read, or has what is not ours.
    pub fn captures(&self) -> Result<(Vec<CaptureReader>, Findings), StoreError> {
        self.captures_of(None)
    }

    /// As [`Self::captures`], and only what may have packets of these times (ns, end excluded) with at least one key of each group: segments and blocks
    /// without are left out, where their ends and indices tell. Others may come too. The last of the three says how much is read, as it is.
    ///
    /// # Errors
    /// As [`Self::captures`].
    pub fn captures_within(
        &self,
        times: Range<u64>,
        keys: &[Vec<Key>],
    ) -> Result<(Vec<CaptureReader>, Findings, Reading), StoreError> {
        let taken = Reading::default();
        let wanted = Wanted { times, keys: keys.into(), taken: Arc::clone(&taken) };
        let (readers, findings) = self.captures_of(Some(&wanted))?;
        Ok((readers, findings, taken))
    }

    fn captures_of(
        &self,
        wanted: Option<&Wanted>,
    ) -> Result<(Vec<CaptureReader>, Findings), StoreError> {
        let findings = Findings::default();
        // First how far writers have come, then what there is: what is closed meanwhile is whole.
        let marks: Vec<_> = (0..super::name::WRITERS_MAX).map(|writer| self.mark(writer)).collect();
        let is_recorded = self.is_recorded();
        let mut chains: Vec<(u16, VecDeque<Part>)> = Vec::new();
        for segment in self.segments()? {
            let mark = marks.get(usize::from(segment.name.writer)).copied().flatten();
            let limit = match mark {
                Some(mark) if is_recorded && !mark.is_ended => {
                    if segment.name.first > mark.segment {
                        // Begun after we have looked.
                        continue;
                    }
                    (segment.name.first == mark.segment).then_some(mark.bytes)
                }
                _ => None,
            };
            if let (Some(wanted), Some(summary)) = (wanted, self.summary(&segment)) {
                let is_wanted = summary.range_ns.is_some_and(|(min_ns, max_ns)| {
                    min_ns < wanted.times.end && max_ns >= wanted.times.start
                });
                if !is_wanted {
                    wanted.count(&Taken { bytes: (0, segment.bytes), ..Taken::default() });
                    continue;
                }
            }
            let part = Part { name: segment.name, path: segment.path, limit };
            match chains.last_mut() {
                Some((writer, parts)) if *writer == part.name.writer => parts.push_back(part),
                _ => chains.push((part.name.writer, VecDeque::from([part]))),
            }
        }
        let mut readers = Vec::new();
        for (writer, parts) in chains {
            let chain = Chain {
                store: self.id(),
                parts,
                wanted: wanted.cloned(),
                at: None,
                out: SECTION.to_vec(),
                out_at: 0,
                findings: findings.clone(),
            };
            let name = format!("{} (writer {writer})", self.dir().display());
            readers.push(CaptureReader::from_reader(&name, chain).map_err(unreadable(self))?);
        }
        Ok((readers, findings))
    }
}

/// The first section is ours, so it begins as a capture does.
fn unreadable(store: &Store) -> impl Fn(CaptureError) -> StoreError {
    let path = store.dir().to_owned();
    move |error| StoreError::Manifest { path: path.clone(), what: error.to_string() }
}

impl Chain {
    /// Opens the next segment; nothing when there is none.
    fn open(&mut self) -> io::Result<bool> {
        while let Some(part) = self.parts.pop_front() {
            let segment = part.name.to_string();
            if let Some(wanted) = &self.wanted {
                if let Some(selected) = wanted.select(&part) {
                    wanted.count(&selected.taken);
                    // It begins with the segment's own section header.
                    self.at = Some((segment, Source::Selected(selected)));
                    return Ok(true);
                }
                let len = std::fs::metadata(&part.path).map_or(0, |metadata| metadata.len());
                wanted.count(&Taken { bytes: (len, len), ..Taken::default() });
            }
            match open(&part.path, part.name, part.limit) {
                Ok(source) => {
                    let scan = Scan::new(source, self.store, part.name.first);
                    self.at = Some((segment, Source::Scan(scan)));
                    self.out.extend_from_slice(&SECTION);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It may have been compressed since.
                    let compressed = part.name.compressed();
                    let path = part.path.with_file_name(compressed.to_string());
                    if !part.name.is_compressed && path.exists() {
                        self.parts.push_front(Part { name: compressed, path, limit: None });
                    } else {
                        self.findings.add(Finding::Deleted { segment });
                    }
                }
                Err(error) => {
                    self.findings.add(Finding::Unreadable { segment, message: error.to_string() });
                }
            }
        }
        Ok(false)
    }

    /// Checks the next frame; whether there was one.
    fn more(&mut self) -> io::Result<bool> {
        loop {
            self.out.clear();
            self.out_at = 0;
            if self.at.is_none() && !self.open()? {
                return Ok(false);
            }
            let Some((segment, source)) = &mut self.at else { return Ok(false) };
            let findings = &self.findings;
            let scan = match source {
                Source::Scan(scan) => scan,
                Source::Selected(selected) => {
                    self.out.resize(PIECE_LEN, 0);
                    let count = selected.read(&mut self.out)?;
                    self.out.truncate(count);
                    if count > 0 {
                        return Ok(true);
                    }
                    self.at = None;
                    continue;
                }
            };
            let mut damaged = |skipped: Skipped| {
                findings.add(Finding::Damaged { segment: segment.clone(), skipped });
            };
            let next = scan.next(&mut damaged);
            match next {
                Ok(Some((frame, body))) => {
                    if matches!(frame.kind, Kind::Packets | Kind::Interfaces) {
                        self.out.extend_from_slice(body);
                    }
                    if !self.out.is_empty() {
                        return Ok(true);
                    }
                }
                Ok(None) => {
                    let is_followed = self.parts.front().is_some();
                    if let Some(skipped) = scan.tail() {
                        let segment = segment.clone();
                        findings.add(match is_followed {
                            true => Finding::Damaged { segment, skipped },
                            false => Finding::Unfinished { segment, skipped },
                        });
                    }
                    self.at = None;
                }
                Err(error) => {
                    let message = error.to_string();
                    findings.add(Finding::Unreadable { segment: segment.clone(), message });
                    self.at = None;
                }
            }
        }
    }
}

/// Opens a segment for reading, decompressed.
pub(crate) fn open(
    path: &std::path::Path,
    name: SegmentName,
    limit: Option<u64>,
) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    Ok(match (name.is_compressed, limit) {
        (true, _) => Box::new(zstd::Decoder::new(file)?),
        (false, Some(limit)) => Box::new(file.take(limit)),
        (false, None) => Box::new(file),
    })
}

impl Read for Chain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.out_at == self.out.len() && !self.more()? {
            return Ok(0);
        }
        let rest = &self.out[self.out_at..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.out_at += count;
        Ok(count)
    }
}
