//! The segments of a writer in pieces that several threads read.
//!
//! A segment is cut before frames, about so many bytes apart: their heads say where the next one stands, which is all that is read of the segment
//! before its pieces are. What is behind a head that is not as it should be is one piece, as is what an index has chosen of a segment. So all pieces one
//! after the other are what [`Store::captures`] gives. Segments are cut when somebody asks for their pieces.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wt_wire::CaptureError;

use super::Store;
use super::direct::PieceReader;
use super::findings::Findings;
use super::frame::{FRAME_LEN, Frame, Kind};
use super::read::{Chain, Part, name};
use super::scan::{Begin, section_len};
use crate::index::Reading;

/// The pieces of one writer of a store.
#[derive(Debug)]
pub struct Pieces {
    store: Store,
    writer: u16,
    reading: Reading,
    findings: Findings,
    /// What had been found when it was opened.
    found_before: usize,
    bytes: u64,
    cutting: Mutex<Cutting>,
}

#[derive(Debug)]
struct Cutting {
    /// Segments that were not cut yet.
    parts: VecDeque<Part>,
    pieces: Vec<Piece>,
    piece_bytes: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    part: Part,
    bytes: u64,
}

impl Pieces {
    pub(super) fn new(
        store: &Store,
        writer: u16,
        parts: VecDeque<Part>,
        reading: Reading,
        findings: Findings,
    ) -> Self {
        let bytes = parts.iter().map(bytes_of).sum();
        let cutting = Cutting { parts, pieces: Vec::new(), piece_bytes: u64::MAX };
        Self {
            store: store.clone(),
            writer,
            reading,
            found_before: findings.len(),
            findings,
            bytes,
            cutting: Mutex::new(cutting),
        }
    }

    /// Bytes of all that is read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins to read it in pieces of about so many bytes, and nothing but these: what has been found in the segments before is found again. Of several
    /// writers all begin before one is read.
    pub fn begin(&mut self, piece_bytes: u64) {
        self.lock().piece_bytes = piece_bytes;
        self.findings.cut(self.found_before);
    }

    fn lock(&self) -> MutexGuard<'_, Cutting> {
        // Whoever panics leaves whole values behind.
        self.cutting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of a piece; nothing when there are not so many pieces.
    pub fn bytes_of(&self, number: usize) -> Option<u64> {
        let mut cutting = self.lock();
        while cutting.pieces.len() <= number {
            let part = cutting.parts.pop_front()?;
            let pieces = cut(part, self.store.id(), cutting.piece_bytes);
            cutting.pieces.extend(pieces);
        }
        Some(cutting.pieces[number].bytes)
    }

    /// A reader of a piece, and what is found in it while it is read; nothing when there are not so many pieces.
    ///
    /// # Errors
    /// It is no capture.
    pub fn open(&self, number: usize) -> Option<Result<(PieceReader, Findings), CaptureError>> {
        self.bytes_of(number)?;
        let part = self.lock().pieces[number].part.clone();
        let findings = Findings::default();
        let (reading, parts) = (self.reading.clone(), VecDeque::from([part]));
        let chain = Chain::new(&self.store, parts, reading, findings.clone());
        let reader = PieceReader::new(name(&self.store, self.writer), chain);
        Some(reader.map(|reader| (reader, findings)))
    }

    /// Enters what was found in the piece that comes next in order.
    pub fn found(&self, findings: &Findings) {
        findings.all().into_iter().for_each(|finding| self.findings.add_behind(finding));
    }
}

/// About how many bytes are read of a part.
fn bytes_of(part: &Part) -> u64 {
    let len = std::fs::metadata(&part.path).map_or(0, |metadata| metadata.len());
    match (&part.chosen, part.limit) {
        (Some(chosen), _) => chosen.taken().bytes.0,
        (None, limit) => limit.map_or(len, |limit| limit.min(len)),
    }
}

/// Cuts a segment.
fn cut(part: Part, store: u64, piece_bytes: u64) -> Vec<Piece> {
    let whole = |part: Part| vec![Piece { bytes: bytes_of(&part), part }];
    if part.chosen.is_some() || part.name.is_compressed || bytes_of(&part) <= piece_bytes {
        return whole(part);
    }
    let Ok(file) = File::open(&part.path) else { return whole(part) };
    let places = places(&file, &part, store, piece_bytes);
    let mut pieces: Vec<Piece> = Vec::with_capacity(places.len() + 1);
    let mut rest = part;
    for begin in places {
        let (limit, next) = (Some(begin.offset), Some(begin.sequence));
        let from = rest.begin.as_ref().map_or(0, |begin| begin.offset);
        let bytes = begin.offset - from;
        pieces.push(Piece { part: Part { limit, next, is_last: false, ..rest.clone() }, bytes });
        rest.begin = Some(Arc::new(begin));
    }
    let from = rest.begin.as_ref().map_or(0, |begin| begin.offset);
    let bytes = bytes_of(&rest).saturating_sub(from);
    pieces.push(Piece { part: rest, bytes });
    pieces
}

/// Where to cut, as far as one frame leads to the next.
fn places(file: &File, part: &Part, store: u64, piece_bytes: u64) -> Vec<Begin> {
    let mut places = Vec::new();
    let mut head = [0; 12];
    let section = file.read_exact_at(&mut head, 0).ok().and_then(|()| section_len(&head));
    let Some(section) = section else { return places };
    let end = part.limit.unwrap_or(u64::MAX);
    let (mut begun, mut at, mut sequence) = (0, section as u64, part.name.first);
    let (mut interfaces, mut described) = (0, Vec::new());
    let mut head = [0; FRAME_LEN];
    while file.read_exact_at(&mut head, at).is_ok() {
        let Some(frame) = Frame::decode(&head, store) else { break };
        let follows = frame.sequence == sequence && frame.interfaces == interfaces;
        if frame.kind == Kind::End || !follows {
            break;
        }
        let behind = at + FRAME_LEN as u64 + frame.bytes;
        if behind > end {
            break;
        }
        match frame.kind {
            Kind::Packets => {
                if at - begun >= piece_bytes {
                    let described = described.clone();
                    places.push(Begin { offset: at, sequence, interfaces, described });
                    begun = at;
                }
                sequence += frame.packets;
            }
            Kind::Interfaces => {
                let mut body = vec![0; frame.body_len()];
                let read = file.read_exact_at(&mut body, at + FRAME_LEN as u64);
                if read.is_err() || crc32fast::hash(&body) != frame.crc {
                    break;
                }
                described.extend(body);
                interfaces += frame.packets as u32;
            }
            Kind::Statistics | Kind::End => {}
        }
        at = behind;
    }
    places
}
