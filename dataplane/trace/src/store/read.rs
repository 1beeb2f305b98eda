//! A store as captures: all segments of a writer as one stream of sections, checked frame by frame.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use wt_wire::{CaptureError, CaptureReader};

use super::frame::Kind;
use super::name::SegmentName;
use super::scan::{Scan, Skipped};
use super::{Segment, Store, StoreError, within};
use crate::index::{Chosen, Reading, Selected, Wanted};

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
    /// A segment says that it is of another store, and has nothing of this one.
    OfAnotherStore {
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
    /// A segment has an index that is not of it, or damaged, and was read as if there were none.
    NotIndexed {
        /// Name of the segment.
        segment: String,
        /// What is wrong.
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
            Self::OfAnotherStore { segment } => {
                write!(f, "segment {segment} is of another store, and was left out")
            }
            Self::Unreadable { segment, message } => {
                write!(f, "segment {segment} cannot be read: {message}")
            }
            Self::NotIndexed { segment, message } => {
                write!(f, "the index of segment {segment} is not used: {message}")
            }
        }
    }
}

impl Finding {
    /// Whether something is missing that was there.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Unfinished { .. } | Self::NotIndexed { .. })
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
pub(super) struct Part {
    pub(super) name: SegmentName,
    pub(super) path: PathBuf,
    /// Bytes that may be read of one that is being written.
    pub(super) limit: Option<u64>,
    /// What its index has chosen, where it leaves something out.
    pub(super) chosen: Option<Chosen>,
    /// No other segment of the writer was there behind it.
    is_last: bool,
}

/// What is wanted of a store.
#[derive(Clone, Debug)]
struct Within<'a> {
    wanted: &'a Wanted,
    keeps_order: bool,
    reading: Reading,
}

/// Where the bytes of a segment come from.
enum Source {
    /// Frame by frame, each checked.
    Scan(Scan<Box<dyn Read + Send>>),
    /// Blocks that the index has checked.
    Selected(Selected),
}

/// The segment at hand.
struct At {
    segment: String,
    source: Source,
    is_last: bool,
}

/// Reads the segments of one writer.
struct Chain {
    store: u64,
    parts: VecDeque<Part>,
    reading: Reading,
    at: Option<At>,
    /// Checked bytes that were not asked for yet.
    out: Vec<u8>,
    out_at: usize,
    findings: Findings,
}

/// The segments of a writer, and what is read of each.
type Segments = Vec<(Part, Segment)>;

impl Store {
    /// What the store holds now, as one capture per writer: packets in the order in which each writer saw them. A segment that is being written is
    /// read as far as it is complete now. Segments are opened one after the other, and only bytes whose checksums hold are given.
    ///
    /// # Errors
    /// The directory cannot be read, or has what is not ours.
    pub fn captures(&self) -> Result<(Vec<CaptureReader>, Findings), StoreError> {
        self.captures_of(None)
    }

    /// As [`Self::captures`], and only what may have wanted packets: segments and blocks without are left out, where their ends and indices
    /// tell. Others may come too. With `keeps_order`, what is left out changes neither the order of wanted packets among those of other captures nor when
    /// a capture ends; among the writers of the store it never does. The last of the three says how much is read.
    ///
    /// # Errors
    /// As [`Self::captures`].
    pub fn captures_within(
        &self,
        wanted: &Wanted,
        keeps_order: bool,
    ) -> Result<(Vec<CaptureReader>, Findings, Reading), StoreError> {
        let reading = Reading::default();
        let within = Within { wanted, keeps_order, reading: reading.clone() };
        let (readers, findings) = self.captures_of(Some(&within))?;
        Ok((readers, findings, reading))
    }

    /// How much of it [`Self::captures_within`] would read, without reading it, and what is found odd about its indices.
    ///
    /// # Errors
    /// As [`Self::captures`].
    pub fn reading_within(
        &self,
        wanted: &Wanted,
        keeps_order: bool,
    ) -> Result<(Reading, Findings), StoreError> {
        let (reading, findings) = (Reading::default(), Findings::default());
        let within = Within { wanted, keeps_order, reading: reading.clone() };
        self.chosen_parts(&within, &findings)?;
        Ok((reading, findings))
    }

    /// The segments of each writer, as far as they are complete now.
    fn parts(&self) -> Result<Vec<(u16, Segments)>, StoreError> {
        // First how far writers have come, then what there is: what is closed meanwhile is whole.
        let marks: Vec<_> = (0..super::name::WRITERS_MAX).map(|writer| self.mark(writer)).collect();
        let is_recorded = self.is_recorded();
        let mut chains: Vec<(u16, Segments)> = Vec::new();
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
            let (name, path) = (segment.name, segment.path.clone());
            let part = Part { name, path, limit, chosen: None, is_last: true };
            match chains.last_mut() {
                Some((writer, parts)) if *writer == name.writer => {
                    if let Some((before, _)) = parts.last_mut() {
                        before.is_last = false;
                    }
                    parts.push((part, segment));
                }
                _ => chains.push((name.writer, vec![(part, segment)])),
            }
        }
        Ok(chains)
    }

    /// Those with wanted packets.
    fn chosen_parts(
        &self,
        within: &Within<'_>,
        findings: &Findings,
    ) -> Result<Vec<(u16, VecDeque<Part>)>, StoreError> {
        let chains = self.parts()?;
        let keeps_order = within.keeps_order || chains.len() > 1;
        let choose = |(writer, segments): (u16, Segments)| {
            let Within { wanted, reading, .. } = within;
            let parts = within::choose(self, segments, wanted, keeps_order, reading, findings);
            (writer, parts)
        };
        Ok(chains.into_iter().map(choose).collect())
    }

    fn captures_of(
        &self,
        within: Option<&Within<'_>>,
    ) -> Result<(Vec<CaptureReader>, Findings), StoreError> {
        let findings = Findings::default();
        let chains = match within {
            Some(within) => self.chosen_parts(within, &findings)?,
            None => {
                let whole = |(writer, parts): (u16, Segments)| {
                    (writer, parts.into_iter().map(|(part, _)| part).collect())
                };
                self.parts()?.into_iter().map(whole).collect()
            }
        };
        let mut readers = Vec::new();
        for (writer, parts) in chains {
            let chain = Chain {
                store: self.id(),
                parts,
                reading: within.map(|within| within.reading.clone()).unwrap_or_default(),
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
    /// Something is missing, so that packets cannot be counted by what indices and ends of segments say.
    fn found(&self, finding: Finding) {
        self.reading.change(|taken| taken.uncounted += 1);
        self.findings.add(finding);
    }

    /// Opens the next segment; nothing when there is none.
    fn open(&mut self) -> io::Result<bool> {
        while let Some(part) = self.parts.pop_front() {
            let segment = part.name.to_string();
            if let Some(chosen) = &part.chosen
                && let Ok(file) = File::open(&part.path)
            {
                let selected = Selected::new(file, chosen.clone(), self.reading.clone());
                if selected.is_as_indexed() {
                    // It begins with the segment's own section header.
                    let source = Source::Selected(selected);
                    self.at = Some(At { segment, source, is_last: part.is_last });
                    return Ok(true);
                }
                // Frame by frame from the beginning: a frame is taken as a whole or not.
                chosen.fall_back(0, &self.reading);
            }
            match open(&part.path, part.name, part.limit) {
                Ok(source) => {
                    let scan = Scan::new(source, self.store, part.name.first);
                    self.at =
                        Some(At { segment, source: Source::Scan(scan), is_last: part.is_last });
                    self.out.extend_from_slice(&SECTION);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It may have been compressed since.
                    let compressed = part.name.compressed();
                    let path = part.path.with_file_name(compressed.to_string());
                    if !part.name.is_compressed && path.exists() {
                        let part =
                            Part { name: compressed, path, limit: None, chosen: None, ..part };
                        self.parts.push_front(part);
                    } else {
                        self.found(Finding::Deleted { segment });
                    }
                }
                Err(error) => {
                    self.found(Finding::Unreadable { segment, message: error.to_string() });
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
            let Some(At { segment, source, is_last }) = &mut self.at else { return Ok(false) };
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
            let (segment, is_last) = (segment.clone(), *is_last);
            let mut damaged = Vec::new();
            let next = scan.next(&mut |skipped| damaged.push(skipped));
            if let Ok(Some((frame, body))) = &next
                && matches!(frame.kind, Kind::Packets | Kind::Interfaces)
            {
                self.out.extend_from_slice(body);
            }
            let ended = match next {
                Ok(Some(_)) => None,
                Ok(None) => Some(Ok(scan.tail())),
                Err(error) => Some(Err(error)),
            };
            if ended.is_some() && scan.is_foreign() {
                self.at = None;
                self.found(Finding::OfAnotherStore { segment });
                continue;
            }
            for skipped in damaged {
                self.found(Finding::Damaged { segment: segment.clone(), skipped });
            }
            match ended {
                None if self.out.is_empty() => {}
                None => return Ok(true),
                Some(end) => {
                    self.at = None;
                    match end {
                        Ok(None) => {}
                        Ok(Some(skipped)) if is_last => {
                            self.found(Finding::Unfinished { segment, skipped });
                        }
                        Ok(Some(skipped)) => self.found(Finding::Damaged { segment, skipped }),
                        Err(error) => {
                            let message = error.to_string();
                            self.found(Finding::Unreadable { segment, message });
                        }
                    }
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
