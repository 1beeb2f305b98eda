//! The spool of a sink: its write-ahead log, bounded, on disk.
//!
//! A batch gets its key (epoch, sequence) when it is appended, and keeps it until the database has it. What is not sent when the process ends
//! is sent by the next one; sending twice is harmless, as the database knows the key.
//!
//! ```text
//! DIR/lock          held by the process that writes here
//! DIR/columns       the result's columns, as declared
//! DIR/epoch         "EPOCH open" while a run lasts, "EPOCH done" after
//! DIR/sent          "SEGMENT OFFSET EPOCH SEQ": what the database has; may lag behind
//! DIR/00000001.seg  records: magic 4 B, length 4, checksum 4, kind 2, bytes of losses 2, epoch 8, seq 8, rows 8, first and last time 16, completeness 8,
//!                   payload, at its end what the run lost meanwhile (JSON)
//! ```
//!
//! Segments are removed when the database has all of them. A record that breaks off ends its segment: a killed process leaves one.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"WTB1";
const HEADER_BYTES: usize = 64;
/// A segment ends when it has reached this.
const SEGMENT_BYTES: u64 = 16 << 20;
/// No record is longer; a longer one is damage.
const PAYLOAD_BYTES_MAX: u32 = 256 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows in the format of binary COPY, without header and trailer.
    Batch,
    /// Batches that are missing: rows lost, the payload says why.
    Gap,
}

/// A record, without its payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// The run that made it.
    pub epoch: u64,
    /// Its number in the run; of a gap, the first that is missing.
    pub seq: u64,
    /// Rows.
    pub rows: u64,
    /// Time of its first row, µs since 1970.
    pub at_min: i64,
    /// Time of its last row.
    pub at_max: i64,
    /// Least share of a window's packets that was seen; NaN: not known.
    pub completeness: f64,
    /// Bytes at the end of the payload that say what the run has lost since the batch before (JSON).
    pub lost_bytes: u16,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    offset: u64,
    payload_bytes: u32,
}

/// A spool, open for one process.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    bytes_max: u64,
    bytes: u64,
    sync: bool,
    out: Option<(u64, File, u64)>,
    last_segment: u64,
    waiting: VecDeque<(Record, Place)>,
    /// The last batch that the database is known to have.
    sent: Option<(u64, u64)>,
    /// Records that had to be left out as damaged, by segment.
    damaged: u64,
    _lock: File,
}

/// Why a spool does not open.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process writes the same result.
    #[error("another process writes this result: {} is locked", .0.display())]
    Busy(PathBuf),
    /// The disk.
    #[error("cannot use the spool {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

impl Spool {
    /// Opens or makes a spool. What it holds is waiting to be sent.
    ///
    /// # Errors
    /// When another process has it, or the disk refuses.
    pub fn open(dir: &Path, bytes_max: u64, sync: bool) -> Result<Self, SpoolError> {
        let failed = |e| SpoolError::Io(dir.to_owned(), e);
        fs::create_dir_all(dir).map_err(failed)?;
        let lock_path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::Busy(lock_path)),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let mut spool = Self {
            dir: dir.to_owned(),
            bytes_max,
            bytes: 0,
            sync,
            out: None,
            last_segment: 0,
            waiting: VecDeque::new(),
            sent: None,
            damaged: 0,
            _lock: lock,
        };
        spool.recover().map_err(failed)?;
        Ok(spool)
    }

    fn recover(&mut self) -> io::Result<()> {
        let sent = self.read_words("sent");
        let (sent_segment, sent_offset) = match sent[..] {
            [segment, offset, epoch, seq] => {
                self.sent = Some((epoch, seq));
                (segment, offset)
            }
            _ => (0, 0),
        };
        let mut segments: Vec<u64> = fs::read_dir(&self.dir)?
            .filter_map(|e| segment_number(&e.ok()?.file_name().to_string_lossy()))
            .collect();
        segments.sort_unstable();
        // Numbers go on from what was sent, also when its segments are gone.
        self.last_segment = sent_segment;
        for segment in segments {
            self.last_segment = self.last_segment.max(segment);
            let path = self.segment_path(segment);
            if segment < sent_segment {
                fs::remove_file(&path)?;
                continue;
            }
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            let mut offset = if segment == sent_segment { sent_offset } else { 0 };
            file.seek(SeekFrom::Start(offset))?;
            while let Some((record, payload_bytes)) = read_record(&mut file)? {
                self.waiting.push_back((record, Place { segment, offset, payload_bytes }));
                offset += HEADER_BYTES as u64 + u64::from(payload_bytes);
            }
            self.damaged += u64::from(offset < length);
            self.bytes += length;
        }
        self.drop_sent()
    }

    /// The epoch of the run before, if it did not end by itself, with the next sequence number it would have used.
    pub fn unfinished(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.dir.join("epoch")).ok()?;
        let epoch: u64 = text.strip_suffix(" open\n")?.parse().ok()?;
        let of_epoch = |r: &Record| (r.epoch == epoch).then_some(r.seq);
        let spooled = self.waiting.iter().filter_map(|(r, _)| of_epoch(r)).max();
        let sent = self.sent.filter(|(e, _)| *e == epoch).map(|(_, seq)| seq);
        Some((epoch, spooled.max(sent).map_or(0, |seq| seq + 1)))
    }

    /// Notes that a run with this epoch begins, or has ended.
    ///
    /// # Errors
    /// The disk's.
    pub fn mark_epoch(&self, epoch: u64, done: bool) -> io::Result<()> {
        let state = if done { "done" } else { "open" };
        self.write_whole("epoch", &format!("{epoch} {state}\n"))
    }

    /// Whether the result was declared with these columns before, so that a run may begin while the database is away.
    pub fn knows(&self, columns: &str) -> bool {
        fs::read_to_string(self.dir.join("columns")).is_ok_and(|known| known == columns)
    }

    /// Notes the columns of the result.
    ///
    /// # Errors
    /// The disk's.
    pub fn remember(&self, columns: &str) -> io::Result<()> {
        if self.knows(columns) { Ok(()) } else { self.write_whole("columns", columns) }
    }

    /// Segments that ended in damage when the spool was opened.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether a record of so many bytes finds room.
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        self.bytes + (HEADER_BYTES + payload_bytes) as u64 <= self.bytes_max
    }

    /// Appends a record; it is waiting from now on. A gap, which is small, is taken even when there is no room.
    ///
    /// # Errors
    /// The disk's; nothing is appended then.
    pub fn append(&mut self, record: Record, payload: &[u8]) -> io::Result<()> {
        let (segment, mut file, offset) = match self.out.take() {
            Some(out) if out.2 < SEGMENT_BYTES => out,
            _ => {
                let segment = self.last_segment + 1;
                let path = self.segment_path(segment);
                let file = OpenOptions::new().create_new(true).write(true).open(path)?;
                self.last_segment = segment;
                (segment, file, 0)
            }
        };
        let bytes = encode(&record, payload);
        let written = file.write_all(&bytes).and_then(|()| file.write_all(payload));
        let written = written.and_then(|()| if self.sync { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // The half record is cut off; a new segment takes the next.
            let _ = file.set_len(offset);
            return Err(error);
        }
        let length = (bytes.len() + payload.len()) as u64;
        let place = Place { segment, offset, payload_bytes: payload.len() as u32 };
        self.waiting.push_back((record, place));
        self.bytes += length;
        self.out = Some((segment, file, offset + length));
        Ok(())
    }

    /// The first records that wait, as many as make up so many bytes, and at least one.
    pub fn first(&self, bytes_max: u64) -> Vec<(Record, Place)> {
        let mut bytes = 0;
        let fits = |(_, place): &&(Record, Place)| {
            let first = bytes == 0;
            bytes += HEADER_BYTES as u64 + u64::from(place.payload_bytes);
            first || bytes <= bytes_max
        };
        self.waiting.iter().take_while(fits).copied().collect()
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many batches and rows wait.
    pub fn waiting(&self) -> (u64, u64) {
        let batches = self.waiting.iter().filter(|(r, _)| r.kind == Kind::Batch);
        batches.fold((0, 0), |(n, rows), (r, _)| (n + 1, rows + r.rows))
    }

    /// The path of the segment of a record, for reading without holding the spool.
    pub fn path_of(&self, place: Place) -> PathBuf {
        self.segment_path(place.segment)
    }

    /// The database has the first `n` records.
    ///
    /// # Errors
    /// The disk's.
    pub fn sent(&mut self, n: usize) -> io::Result<()> {
        let mut last = None;
        for (record, place) in self.waiting.drain(..n.min(self.waiting.len())) {
            if record.kind == Kind::Batch {
                self.sent = Some((record.epoch, record.seq));
            }
            last = Some(place);
        }
        let Some(place) = last else { return Ok(()) };
        let end = place.offset + HEADER_BYTES as u64 + u64::from(place.payload_bytes);
        let (epoch, seq) = self.sent.unwrap_or((0, 0));
        self.write_whole("sent", &format!("{} {end} {epoch} {seq}\n", place.segment))?;
        self.drop_sent()
    }

    /// Removes segments that hold nothing that waits.
    fn drop_sent(&mut self) -> io::Result<()> {
        let keep = self.waiting.front().map_or(u64::MAX, |(_, place)| place.segment);
        let open = self.out.as_ref().map(|o| o.0);
        let names: Vec<u64> = fs::read_dir(&self.dir)?
            .filter_map(|e| segment_number(&e.ok()?.file_name().to_string_lossy()))
            .filter(|n| *n < keep && Some(*n) != open)
            .collect();
        for segment in names {
            let path = self.segment_path(segment);
            let length = fs::metadata(&path)?.len();
            fs::remove_file(&path)?;
            self.bytes = self.bytes.saturating_sub(length);
        }
        // The segment being written is given up as soon as all of it is sent, or a slow stream would keep it for long.
        if self.waiting.is_empty()
            && let Some((segment, file, length)) = self.out.take()
        {
            drop(file);
            fs::remove_file(self.segment_path(segment))?;
            self.bytes = self.bytes.saturating_sub(length);
        }
        Ok(())
    }

    fn segment_path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment:08}.seg"))
    }

    fn read_words(&self, name: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        let words: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        words.unwrap_or_default()
    }

    /// Replaces a small file at once: a reader sees the old or the new one.
    fn write_whole(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.dir.join(format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, self.dir.join(name))
    }
}

/// The payload of a record.
///
/// # Errors
/// The disk's.
pub fn read_payload(path: &Path, place: Place) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(place.offset + HEADER_BYTES as u64))?;
    let mut payload = vec![0; place.payload_bytes as usize];
    file.read_exact(&mut payload)?;
    Ok(payload)
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.parse().ok()
}

fn encode(record: &Record, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..14].copy_from_slice(&(record.kind as u16).to_le_bytes());
    header[14..16].copy_from_slice(&record.lost_bytes.to_le_bytes());
    header[16..24].copy_from_slice(&record.epoch.to_le_bytes());
    header[24..32].copy_from_slice(&record.seq.to_le_bytes());
    header[32..40].copy_from_slice(&record.rows.to_le_bytes());
    header[40..48].copy_from_slice(&record.at_min.to_le_bytes());
    header[48..56].copy_from_slice(&record.at_max.to_le_bytes());
    header[56..64].copy_from_slice(&record.completeness.to_le_bytes());
    let checksum = checksum(&header, payload);
    header[8..12].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Of the header but its own place, and the payload.
fn checksum(header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..8]);
    hasher.update(&header[12..]);
    hasher.update(payload);
    hasher.finalize()
}

/// The next record and the length of its payload; `None` at the end, or where a record is not whole.
fn read_record(file: &mut File) -> io::Result<Option<(Record, u32)>> {
    let mut header = [0; HEADER_BYTES];
    if !read_all(file, &mut header)? || header[..4] != MAGIC {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let length = word(4);
    if length > PAYLOAD_BYTES_MAX {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize];
    if !read_all(file, &mut payload)? || checksum(&header, &payload) != word(8) {
        return Ok(None);
    }
    let short = |at: usize| u16::from_le_bytes(header[at..at + 2].try_into().unwrap_or_default());
    let kind = if short(12) == Kind::Batch as u16 { Kind::Batch } else { Kind::Gap };
    let lost_bytes = short(14);
    if u32::from(lost_bytes) > length {
        return Ok(None);
    }
    let record = Record {
        kind,
        epoch: long(16),
        seq: long(24),
        rows: long(32),
        at_min: long(40) as i64,
        at_max: long(48) as i64,
        completeness: f64::from_bits(long(56)),
        lost_bytes,
    };
    Ok(Some((record, length)))
}

/// Fills a buffer; false when the file ends before.
fn read_all(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
