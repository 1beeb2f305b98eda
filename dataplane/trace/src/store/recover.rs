//! Puts in order what a recorder has left that was killed, or lost power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::frame::{Frame, Kind};
use super::scan::Scan;
use super::{OwnStore, PART, Segment, StoreError, sidecar, sync_dir};
use crate::index::{self, Index, IndexError, RATIOS};

/// A segment that was not closed, and was now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Name of the segment.
    pub segment: String,
    /// Packets that it holds.
    pub packets: u64,
    /// Bytes at its end that were not complete, and were cut off.
    pub cut_bytes: u64,
    /// Packets that the recorder had written, as it said, and that are gone: those that it had not yet synced before the power went.
    pub lost_packets: u64,
    /// It held no packet, and was deleted.
    pub is_deleted: bool,
    /// It was being indexed, and its index was made anew.
    pub is_indexed: bool,
}

impl OwnStore {
    /// Closes segments that were not closed, and deletes what was half written beside them.
    pub(super) fn recover(&self) -> Result<Vec<Recovered>, StoreError> {
        let mut recovered = Vec::new();
        let segments = self.segments()?;
        for (segment, later) in segments.iter().zip(segments.iter().skip(1).map(Some).chain([None]))
        {
            if segment.name.is_compressed {
                continue;
            }
            if self.summary(segment).is_some() {
                // A writer ends the index of a segment before it begins the next one.
                if later.is_none_or(|later| later.name.writer != segment.name.writer) {
                    self.complete_index(&segment.path);
                }
                continue;
            }
            let closed = self.close(segment);
            match closed.map_err(StoreError::io("recover", &segment.path))? {
                Some(closed) => recovered.push(closed),
                // It is nobody's to put in order here, and not ours to delete.
                None => {
                    let (dir, file) = (self.dir.to_path_buf(), segment.name.to_string());
                    return Err(StoreError::OfAnotherStore { dir, file });
                }
            }
        }
        // Whoever follows a writer of before waits for nothing more of it.
        for writer in 0..super::WRITERS_MAX {
            let path = self.dir.join(super::name::mark(writer));
            if let Some(mark) = self.mark(writer).filter(|mark| !mark.is_ended) {
                let ended = super::Mark { is_ended: true, ..mark };
                let file = super::MarkFile::create(&path);
                let written = file.and_then(|file| file.write(&ended));
                written.map_err(StoreError::io("write", &path))?;
            }
        }
        for entry in fs::read_dir(&self.dir).map_err(StoreError::io("read", &self.dir))?.flatten() {
            let path = entry.path();
            if path.to_string_lossy().ends_with(PART) {
                fs::remove_file(&path).map_err(StoreError::io("delete", &path))?;
            }
        }
        Ok(recovered)
    }

    /// Closes a segment; nothing where it is another store's.
    fn close(&self, segment: &Segment) -> io::Result<Option<Recovered>> {
        let first = segment.name.first;
        let mut scan = Scan::new(File::open(&segment.path)?, self.id, first);
        let (mut min_ns, mut max_ns) = (u64::MAX, 0);
        // Damage before the end stays where it is: readers step over it, and it is not ours to hide.
        while let Some((frame, _)) = scan.next(&mut |_| {})? {
            if frame.kind == Kind::Packets && frame.packets > 0 {
                (min_ns, max_ns) = (min_ns.min(frame.min_ns), max_ns.max(frame.max_ns));
            }
        }
        if scan.is_foreign() {
            return Ok(None);
        }
        let (end, next) = (scan.offset(), scan.next);
        let packets = next - first;
        let mark = self.mark(segment.name.writer).filter(|mark| mark.segment == first);
        let mut recovered = Recovered {
            segment: segment.name.to_string(),
            packets,
            cut_bytes: segment.bytes.saturating_sub(end),
            lost_packets: mark.map_or(0, |mark| mark.next.saturating_sub(next)),
            is_deleted: packets == 0,
            is_indexed: false,
        };
        let was_indexed = sidecar(&segment.path).exists();
        // It is of what is cut off now, and not complete.
        remove(&sidecar(&segment.path))?;
        if packets == 0 {
            fs::remove_file(&segment.path)?;
            return Ok(Some(recovered));
        }
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        let modified = file.metadata()?.modified()?;
        file.set_len(end)?;
        let frame = Frame {
            kind: Kind::End,
            store: self.id,
            sequence: first,
            bytes: end,
            min_ns,
            max_ns,
            packets,
            interfaces: 0,
            crc: 0,
        };
        file.write_all_at(&frame.encode(), end)?;
        file.set_modified(modified)?;
        file.sync_all()?;
        recovered.is_indexed = was_indexed && self.index(&segment.path);
        Ok(Some(recovered))
    }

    /// Makes an index anew that is there and not that of the whole segment.
    fn complete_index(&self, segment: &Path) {
        let is_complete = match Index::open(segment) {
            Err(IndexError::Absent) => true,
            Ok(index) => matches!(index.checked().covered(), (len, covered) if len == covered),
            Err(_) => false,
        };
        if !is_complete {
            self.index(segment);
        }
    }

    /// Makes the index of a segment anew, if that can be: readers need none.
    fn index(&self, segment: &Path) -> bool {
        let ratio = self.index_ratio().clamp(*RATIOS.start(), *RATIOS.end());
        index::build(segment, ratio, &mut |_| {}).is_ok()
    }

    /// The number of the next packet of a writer.
    pub(crate) fn next_sequence(&self, writer: u16) -> Result<u64, StoreError> {
        let segments = self.segments()?;
        let last = segments.iter().rfind(|segment| segment.name.writer == writer);
        let of_last = last.and_then(|last| Some(last.name.first + self.summary(last)?.packets));
        // When all segments have been deleted, numbers are not given again.
        Ok(of_last.or_else(|| Some(self.mark(writer)?.next)).unwrap_or(0))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compresses a closed segment: the compressed one takes its place. The frame that sums it up lies behind it, where zstd steps over it.
pub(crate) fn compress(store: &super::Store, segment: &Segment, level: i32) -> io::Result<u64> {
    let Some(end) = store.end_of(&segment.path, segment.name.first) else { return Ok(0) };
    let path = segment.path.with_file_name(segment.name.compressed().to_string());
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    let part = Path::new(&part);
    let make = || -> io::Result<u64> {
        let mut encoder = zstd::Encoder::new(File::create(part)?, level)?;
        encoder.include_checksum(true)?;
        io::copy(&mut File::open(&segment.path)?, &mut encoder)?;
        let mut file = encoder.finish()?;
        // A skippable frame (RFC 8878, 3.1.2).
        file.write_all(&0x184d_2a50_u32.to_le_bytes())?;
        file.write_all(&(super::FRAME_LEN as u32).to_le_bytes())?;
        file.write_all(&end.encode())?;
        file.set_modified(segment.modified)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(part, &path)?;
        sync_dir(&path)?;
        Ok(bytes)
    };
    let made = make();
    if made.is_err() {
        let _ = fs::remove_file(part);
    }
    let bytes = made?;
    // The index counts bytes of what is not compressed; it goes with it.
    remove(&sidecar(&segment.path))?;
    remove(&segment.path)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn half_written_files_are_known() {
        for name in ["pins.toml.part", "w00-0000000000000001.pcapng.zst.part"] {
            assert!(crate::store::name::is_known(name), "{name}");
        }
    }
}
