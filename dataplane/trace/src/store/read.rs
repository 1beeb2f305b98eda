//! A store as captures: all segments of a writer as one stream of sections, checked frame by frame.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wt_wire::{CaptureError, CaptureReader};

use super::findings::{Finding, Findings};
use super::frame::Kind;
use super::name::SegmentName;
use super::pieces::Pieces;
use super::scan::{Begin, Scan};
use super::{Segment, Store, StoreError, within};
use crate::index::{Chosen, Reading, Selected, Wanted};

/// Bytes of an indexed segment that are read at a time.
const PIECE_LEN: usize = 256 << 10;

/// A section header of unknown length, little-endian.
pub(super) const SECTION: [u8; 28] = [
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0,
];

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
    pub(super) is_last: bool,
    /// Where it begins, if not where the segment does, and what follows it of the same segment: the number of the next packet.
    pub(super) begin: Option<Arc<Begin>>,
    pub(super) next: Option<u64>,
}

/// A store as captures.
#[derive(Debug)]
pub struct Captured {
    /// One for each writer.
    pub readers: Vec<CaptureReader>,
    /// What is found while they are read.
    pub findings: Findings,
    /// How much is read.
    pub reading: Reading,
    /// The same in pieces, of each writer. Either is read.
    pub pieces: Vec<Pieces>,
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

/// The segment at hand, or the part of it.
struct At {
    segment: String,
    source: Source,
    is_last: bool,
    next: Option<u64>,
}

/// Reads the segments of one writer.
pub(super) struct Chain {
    store: u64,
    parts: VecDeque<Part>,
    reading: Reading,
    at: Option<At>,
    /// Checked bytes that were not asked for yet: these, and behind them so many at the end of what the segment at hand was scanned for.
    out: Vec<u8>,
    out_at: usize,
    body_left: usize,
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
        let captured = self.captured(None)?;
        Ok((captured.readers, captured.findings))
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
        let captured = self.captured(Some((wanted, keeps_order)))?;
        Ok((captured.readers, captured.findings, captured.reading))
    }

    /// As [`Self::captures`], or with what is wanted and `keeps_order` as [`Self::captures_within`]; also in pieces.
    ///
    /// # Errors
    /// As [`Self::captures`].
    pub fn captured(&self, within: Option<(&Wanted, bool)>) -> Result<Captured, StoreError> {
        let (reading, findings) = (Reading::default(), Findings::default());
        let chains = match within {
            Some((wanted, keeps_order)) => {
                let within = Within { wanted, keeps_order, reading: reading.clone() };
                self.chosen_parts(&within, &findings)?
            }
            None => {
                let whole = |(writer, parts): (u16, Segments)| {
                    (writer, parts.into_iter().map(|(part, _)| part).collect())
                };
                self.parts()?.into_iter().map(whole).collect()
            }
        };
        let pieces_of = |(writer, parts): &(u16, VecDeque<Part>)| {
            Pieces::new(self, *writer, parts.clone(), reading.clone(), findings.clone())
        };
        let pieces = chains.iter().map(pieces_of).collect();
        let mut readers = Vec::new();
        for (writer, parts) in chains {
            let reader = capture(self, writer, parts, reading.clone(), findings.clone());
            readers.push(reader.map_err(unreadable(self))?);
        }
        Ok(Captured { readers, findings, reading, pieces })
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
            let (begin, next) = (None, None);
            let part = Part { name, path, limit, chosen: None, is_last: true, begin, next };
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
}

/// Segments of a writer as a capture.
pub(super) fn capture(
    store: &Store,
    writer: u16,
    parts: VecDeque<Part>,
    reading: Reading,
    findings: Findings,
) -> Result<CaptureReader, CaptureError> {
    let chain = Chain::new(store, parts, reading, findings);
    CaptureReader::from_reader(&name(store, writer), chain)
}

/// The name of a writer's capture.
pub(super) fn name(store: &Store, writer: u16) -> String {
    format!("{} (writer {writer})", store.dir().display())
}

/// The first section is ours, so it begins as a capture does.
fn unreadable(store: &Store) -> impl Fn(CaptureError) -> StoreError {
    let path = store.dir().to_owned();
    move |error| StoreError::Manifest { path: path.clone(), what: error.to_string() }
}

impl Chain {
    pub(super) fn new(
        store: &Store,
        parts: VecDeque<Part>,
        reading: Reading,
        findings: Findings,
    ) -> Self {
        Self {
            store: store.id(),
            parts,
            reading,
            at: None,
            out: SECTION.to_vec(),
            out_at: 0,
            body_left: 0,
            findings,
        }
    }

    /// Whether an index has chosen of one of its segments.
    pub(super) fn is_chosen(&self) -> bool {
        self.parts.iter().any(|part| part.chosen.is_some())
    }

    /// Whether something is at hand or comes.
    pub(super) fn has_more(&mut self) -> io::Result<bool> {
        Ok(self.out_at < self.out.len() || self.body_left > 0 || self.more()?)
    }

    /// Bytes at hand that come before the blocks of a frame.
    pub(super) fn before(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// Steps over them.
    pub(super) fn take_before(&mut self) {
        self.out_at = self.out.len();
    }

    /// Has these come before.
    pub(super) fn put_before(&mut self, bytes: Vec<u8>) {
        (self.out, self.out_at) = (bytes, 0);
    }

    /// The blocks of the frame at hand.
    pub(super) fn body(&self) -> &[u8] {
        match &self.at {
            Some(At { source: Source::Scan(scan), .. }) => {
                let body = scan.body();
                &body[body.len() - self.body_left..]
            }
            _ => &[],
        }
    }

    /// Steps over them; how many bytes they have.
    pub(super) fn take_body(&mut self) -> u64 {
        std::mem::take(&mut self.body_left) as u64
    }

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
                if let Some(selected) = selected.checked() {
                    // It begins with the segment's own section header.
                    let source = Source::Selected(selected);
                    self.at = Some(At { segment, source, is_last: part.is_last, next: None });
                    return Ok(true);
                }
                // Frame by frame from the beginning: a frame is taken as a whole or not.
                chosen.fall_back(0, &self.reading);
            }
            let begin = part.begin.as_deref();
            match open_from(&part.path, part.name, begin.map_or(0, |b| b.offset), part.limit) {
                Ok(source) => {
                    self.out.extend_from_slice(&SECTION);
                    let scan = match begin {
                        Some(begin) => {
                            self.out.extend_from_slice(&begin.described);
                            Scan::from(source, self.store, begin)
                        }
                        None => Scan::new(source, self.store, part.name.first),
                    };
                    let (source, is_last, next) = (Source::Scan(scan), part.is_last, part.next);
                    self.at = Some(At { segment, source, is_last, next });
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It may have been compressed since.
                    let compressed = part.name.compressed();
                    let path = part.path.with_file_name(compressed.to_string());
                    if !part.name.is_compressed && path.exists() {
                        // Offsets are those of what was compressed.
                        let limit = part.limit.filter(|_| part.next.is_some());
                        self.parts.push_front(Part {
                            name: compressed,
                            path,
                            limit,
                            chosen: None,
                            ..part
                        });
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
            let Some(At { segment, source, is_last, next: behind }) = &mut self.at else {
                return Ok(false);
            };
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
            let (segment, is_last, behind) = (segment.clone(), *is_last, *behind);
            let mut damaged = Vec::new();
            let next = scan.next(&mut |skipped| damaged.push(skipped));
            if let Ok(Some((frame, body))) = &next
                && matches!(frame.kind, Kind::Packets | Kind::Interfaces)
            {
                self.body_left = body.len();
            }
            let ended = match next {
                Ok(Some(_)) => None,
                Ok(None) => Some(Ok(scan.tail(behind))),
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
                None if self.out.is_empty() && self.body_left == 0 => {}
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
    path: &Path,
    name: SegmentName,
    limit: Option<u64>,
) -> io::Result<Box<dyn Read + Send>> {
    open_from(path, name, 0, limit)
}

/// As [`open`], from an offset on; the limit, too, is one of what is not compressed.
fn open_from(
    path: &Path,
    name: SegmentName,
    offset: u64,
    limit: Option<u64>,
) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    let len = limit.map_or(u64::MAX, |limit| limit.saturating_sub(offset));
    Ok(match name.is_compressed {
        true => {
            let mut decoder = zstd::Decoder::new(file)?;
            io::copy(&mut decoder.by_ref().take(offset), &mut io::sink())?;
            Box::new(decoder.take(len))
        }
        false => {
            file.seek(SeekFrom::Start(offset))?;
            Box::new(file.take(len))
        }
    })
}

impl Read for Chain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.has_more()? {
            return Ok(0);
        }
        if self.before().is_empty() {
            let count = copy(self.body(), out);
            self.body_left -= count;
            return Ok(count);
        }
        let count = copy(self.before(), out);
        self.out_at += count;
        Ok(count)
    }
}

/// Copies as much as there is and as fits; how much.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}
