//! Makes indices.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wt_wire::{CaptureError, CaptureReader};

use super::block::Block;
use super::format::{Appending, Entry, Header};
use super::seen::Seen;
use super::select::crc_of;
use super::summary::Summary;
use super::{HEAD_LEN_MAX, Index, changed_ns, head_crc, path_of};

/// How coarse the times of files are, at most.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Why there is no new index.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The trace cannot be read at all.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// It is compressed: nothing in it can be skipped.
    #[error("{} is compressed, and no part of it can be read without what is before", path.display())]
    Compressed {
        /// Which.
        path: PathBuf,
    },
    /// Something cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// It changed while it was read.
    #[error("{} was changed while it was read", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
}

/// A trace as it was scanned.
struct Scanned {
    entries: Vec<Entry>,
    first_at: u64,
    file: File,
    before: fs::Metadata,
}

fn io_of(path: &Path) -> impl Fn(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { path: path.clone(), source }
}

/// The entries that an index of a trace would have.
///
/// # Errors
/// The trace cannot be read, or is compressed.
pub fn scan(
    trace: &Path,
    ratio: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Entry>, BuildError> {
    Ok(read(trace, ratio, progress)?.entries)
}

fn read(trace: &Path, ratio: u64, progress: &mut dyn FnMut(u64)) -> Result<Scanned, BuildError> {
    let io = io_of(trace);
    let mut reader = CaptureReader::open(trace)?;
    if reader.compression().is_some() {
        return Err(BuildError::Compressed { path: trace.to_owned() });
    }
    let file = File::open(trace).map_err(&io)?;
    let mut before = file.metadata().map_err(&io)?;
    // Two changes within a tick of the clock have the same time: after one the file is left alone for longer than that.
    while before.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < CLOCK_TICK)) {
        std::thread::sleep(CLOCK_TICK);
        before = file.metadata().map_err(&io)?;
    }
    let summary_len = Summary::len_at(ratio);
    let mut entries: Vec<Entry> = Vec::new();
    let mut block: Option<Block> = None;
    let mut seen = Seen::new();
    let end_of = |block: Block, end: u64| -> io::Result<Entry> {
        let crc = crc_of(&file, block.offset..end)?;
        Ok(block.end(end, crc))
    };
    let mut first_at = before.len();
    let is_whole = loop {
        let known = reader.interfaces().len();
        let record = match reader.next() {
            Ok(Some(record)) => record,
            Ok(None) => break true,
            // Behind damage there are no records.
            Err(_) => break false,
        };
        let offset = record.offset;
        let mut open = match block.take() {
            None => {
                first_at = offset;
                Block::new(offset, summary_len)
            }
            Some(mut full) if offset - full.offset >= ratio => {
                full.complete(&mut seen);
                entries.push(end_of(full, offset).map_err(&io)?);
                progress(offset);
                Block::new(offset, summary_len)
            }
            Some(open) => open,
        };
        open.add(record.timestamp_ns, record.len, record.link_type.0, record.data, &mut seen);
        // What describes interfaces stands behind the record before this one.
        if reader.interfaces().len() > known {
            match entries.last_mut().filter(|_| open.tally.packets == 1) {
                Some(before) => before.has_metadata = true,
                None => open.has_metadata = true,
            }
        }
        block = Some(open);
    };
    match block {
        Some(mut open) if is_whole => {
            // What stands behind the last record may be needed for what is appended.
            open.has_metadata = true;
            open.complete(&mut seen);
            entries.push(end_of(open, before.len()).map_err(&io)?);
        }
        // A block with damage is no block.
        Some(open) => first_at = first_at.min(open.offset),
        None => {}
    }
    Ok(Scanned { entries, first_at, file, before })
}

/// Makes the index of a trace anew, with an entry for each `ratio` bytes, in the place of one that is there. `progress` hears how many bytes have
/// been read. What stands behind damage is not indexed: readers scan it.
///
/// # Errors
/// The trace cannot be read or is compressed, the index cannot be written.
pub fn build(trace: &Path, ratio: u64, progress: &mut dyn FnMut(u64)) -> Result<Index, BuildError> {
    let io = io_of(trace);
    let Scanned { entries, first_at, file, before } = read(trace, ratio, progress)?;
    let head_len = before.len().min(HEAD_LEN_MAX);
    let mut header = Header {
        ratio,
        trace_len: before.len(),
        changed_ns: changed_ns(&before),
        first_at,
        head_len: head_len as u32,
        head_crc: head_crc(&file, head_len).map_err(&io)?,
        summary_len: Summary::len_at(ratio) as u32,
        entries: 0,
        earliest_ns: u64::MAX,
        fall_ns: 0,
    };
    let after = file.metadata().map_err(&io)?;
    let has_changed = after.len() == before.len() && changed_ns(&after) != header.changed_ns;
    if after.len() < before.len() || has_changed {
        return Err(BuildError::Changed { path: trace.to_owned() });
    }
    let path = path_of(trace);
    let (index, len) = write(&path, &mut header, &entries).map_err(io_of(&path))?;
    Ok(Index::new(trace, header, after.len(), index, len))
}

/// Writes an index beside its place, and puts it there when it is complete; the file and its length.
fn write(path: &Path, header: &mut Header, entries: &[Entry]) -> io::Result<(File, u64)> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let (mut appending, mut bytes) = (Appending::new(), Vec::new());
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part);
    let mut out = BufWriter::new(options?);
    out.write_all(&header.encode())?;
    for entry in entries {
        bytes.clear();
        appending.entry(entry, &mut bytes);
        out.write_all(&bytes)?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    appending.put(header);
    file.write_all_at(&header.encode(), 0)?;
    file.sync_data()?;
    fs::rename(&part, path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}
