//! The file of a segment while it is written: large writes at the end, past the page cache where the file system allows it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, OFlags};

/// What writes past the page cache are aligned to, bytes: a page, which is a multiple of every sector.
pub(super) const ALIGN: usize = 4096;

/// Bytes that are gathered for one write.
const STAGE_LEN: usize = (1 << 20) + (64 << 10);
const _: () = assert!(STAGE_LEN.is_multiple_of(ALIGN));

/// Bytes that can be written from where they lie: behind room for what the last page of the file holds already, and for a head.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Begins at any address; what is written begins at the first aligned one.
    bytes: Vec<u8>,
    head_len: usize,
    /// Where the body begins.
    body_at: usize,
}

impl Buffer {
    /// Room for a head of `head_len` bytes and a body of `body_len_max`.
    pub(super) fn new(head_len: usize, body_len_max: usize) -> Self {
        // Up to an aligned address, up to the place in a page; behind it, up to the end of a page.
        let bytes = Vec::with_capacity(2 * ALIGN + head_len + body_len_max + ALIGN);
        Self { bytes, head_len, body_at: 0 }
    }

    /// Empties it for a head that stands at `place` of a file, modulo [`ALIGN`].
    pub(super) fn clear(&mut self, place: u64) {
        self.bytes.clear();
        self.body_at = self.aligned_at() + (place % ALIGN as u64) as usize + self.head_len;
        self.bytes.resize(self.body_at, 0);
    }

    /// What the body is appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes of the body.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.body_at
    }

    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    fn aligned_at(&self) -> usize {
        self.bytes.as_ptr().align_offset(ALIGN)
    }

    /// Where in a page of the file the head is to stand; nothing where what was appended has been moved in memory, as it was more than there was room for.
    fn place(&self) -> Option<usize> {
        let place = (self.body_at - self.head_len).checked_sub(self.aligned_at())?;
        (place < ALIGN && self.bytes.capacity() - self.bytes.len() >= ALIGN).then_some(place)
    }
}

/// A segment that is written.
pub(super) struct SegmentFile {
    file: File,
    path: PathBuf,
    /// Bytes that are complete.
    len: u64,
    /// Bytes at an aligned place. The first `filled` are those behind the last whole page of the file.
    stage: Box<[u8]>,
    stage_at: usize,
    filled: usize,
    is_direct: bool,
    is_dirty: bool,
}

impl SegmentFile {
    /// Makes a file of this name, with room for `room` bytes where the file system gives it.
    pub(super) fn create(path: &Path, room: u64) -> io::Result<Self> {
        let open = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).custom_flags(flags.bits() as i32);
            options.open(path)
        };
        let (file, is_direct) = match open(OFlags::DIRECT) {
            Err(error) if error.raw_os_error() == Some(INVALID) => (open(OFlags::empty())?, false),
            other => (other?, true),
        };
        // A disk that has not so much room may still have enough for what comes.
        let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, room);
        let stage = vec![0; STAGE_LEN + ALIGN].into_boxed_slice();
        let stage_at = stage.as_ptr().align_offset(ALIGN);
        let path = path.to_owned();
        Ok(Self { file, path, len: 0, stage, stage_at, filled: 0, is_direct, is_dirty: false })
    }

    /// Bytes that are complete.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends all parts or none.
    pub(super) fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.is_dirty = true;
        let more: usize = parts.iter().map(|part| part.len()).sum();
        if !self.is_direct {
            self.append_buffered(parts)?;
            self.len += more as u64;
            return Ok(());
        }
        // What the pages hold so far is written again with what follows; it is kept for when that fails.
        let before = self.filled;
        let mut kept = [0; ALIGN];
        kept[..before].copy_from_slice(&self.stage[self.stage_at..self.stage_at + before]);
        match self.append_direct(parts) {
            Ok(()) => {
                self.len += more as u64;
                Ok(())
            }
            Err(error) => {
                self.stage[self.stage_at..self.stage_at + before].copy_from_slice(&kept[..before]);
                self.filled = before;
                if error.raw_os_error() == Some(INVALID) {
                    // A file system that opens such files and does not write them.
                    rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                    self.is_direct = false;
                    return self.append(parts);
                }
                self.cut();
                Err(error)
            }
        }
    }

    /// Whether a buffer can be appended from where it lies.
    pub(super) fn takes(&self, buffer: &Buffer) -> bool {
        self.is_direct && buffer.place() == Some(self.filled)
    }

    /// Appends a head and the body of a buffer that it [takes](Self::takes): all or nothing.
    pub(super) fn append_buffer(&mut self, buffer: &mut Buffer, head: &[u8]) -> io::Result<()> {
        self.is_dirty = true;
        let (begin, end) = (buffer.aligned_at(), buffer.bytes.len());
        let (head_at, body_at) = (buffer.body_at - buffer.head_len, buffer.body_at);
        let last_page = &self.stage[self.stage_at..self.stage_at + self.filled];
        buffer.bytes[begin..head_at].copy_from_slice(last_page);
        buffer.bytes[head_at..body_at].copy_from_slice(head);
        let more = end - head_at;
        let pages = (end - begin).next_multiple_of(ALIGN);
        buffer.bytes.resize(begin + pages, 0);
        let at = self.len - self.filled as u64;
        let written = self.file.write_all_at(&buffer.bytes[begin..], at);
        buffer.bytes.truncate(end);
        match written {
            Ok(()) => {
                self.len += more as u64;
                let last = begin + (end - begin) / ALIGN * ALIGN;
                self.filled = end - last;
                self.stage[self.stage_at..self.stage_at + self.filled]
                    .copy_from_slice(&buffer.bytes[last..]);
                Ok(())
            }
            // A file system that opens such files and does not write them.
            Err(error) if error.raw_os_error() == Some(INVALID) => {
                self.append(&[head, &buffer.bytes[body_at..]])
            }
            Err(error) => {
                self.cut();
                Err(error)
            }
        }
    }

    fn append_direct(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = self.len - self.filled as u64;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let room = STAGE_LEN - self.filled;
                let (now, later) = rest.split_at(room.min(rest.len()));
                let to = self.stage_at + self.filled;
                self.stage[to..to + now.len()].copy_from_slice(now);
                self.filled += now.len();
                rest = later;
                if self.filled == STAGE_LEN {
                    let stage = &self.stage[self.stage_at..self.stage_at + STAGE_LEN];
                    self.file.write_all_at(stage, at)?;
                    at += STAGE_LEN as u64;
                    self.filled = 0;
                }
            }
        }
        if self.filled > 0 {
            let whole = self.filled.next_multiple_of(ALIGN);
            let (from, to) = (self.stage_at + self.filled, self.stage_at + whole);
            self.stage[from..to].fill(0);
            self.file.write_all_at(&self.stage[self.stage_at..to], at)?;
            let last = self.filled / ALIGN * ALIGN;
            self.stage.copy_within(self.stage_at + last..from, self.stage_at);
            self.filled -= last;
        }
        Ok(())
    }

    fn append_buffered(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = self.len;
        for part in parts {
            if let Err(error) = self.file.write_all_at(part, at) {
                self.cut();
                return Err(error);
            }
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Takes back what was written of something that did not fit. When that fails too, its frame is not whole, and nobody takes it.
    pub(super) fn cut(&self) {
        let _ = self.file.set_len(self.len);
    }

    /// Has the disk write what it has not yet, and the page cache forget it.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.is_dirty {
            return Ok(());
        }
        self.file.sync_data()?;
        self.is_dirty = false;
        if !self.is_direct {
            let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed);
        }
        Ok(())
    }

    /// Gives back the room that was not needed, and syncs; the file as it stays.
    pub(super) fn close(mut self) -> io::Result<Metadata> {
        self.file.set_len(self.len)?;
        self.is_dirty = true;
        self.sync()?;
        self.file.sync_all()?;
        self.file.metadata()
    }
}

/// The error of file systems without direct writes (EINVAL).
const INVALID: i32 = rustix::io::Errno::INVAL.raw_os_error();

#[cfg(test)]
mod tests {
    use super::*;

    /// The file holds what was appended, whatever the sizes of the parts, and whether it is written past the page cache.
    #[test]
    fn parts_of_all_sizes_make_one_file() {
        let dir = tempdir();
        for is_direct in [true, false] {
            let path = dir.join(format!("parts-{is_direct}"));
            let mut file = SegmentFile::create(&path, 1 << 20).unwrap();
            if !is_direct {
                rustix::fs::fcntl_setfl(&file.file, OFlags::empty()).unwrap();
                file.is_direct = false;
            }
            let mut expected = Vec::new();
            let sizes = [1, 4095, 4096, 4097, 0, STAGE_LEN, 2 * STAGE_LEN + 5, 3, 100_000];
            for (number, size) in sizes.into_iter().enumerate() {
                let part: Vec<u8> = (0..size).map(|at| (at + number) as u8).collect();
                let (a, b) = part.split_at(size / 3);
                file.append(&[a, b]).unwrap();
                expected.extend_from_slice(&part);
                assert_eq!(file.len(), expected.len() as u64);
                assert!(std::fs::read(&path).unwrap().starts_with(&expected));
                file.sync().unwrap();
            }
            file.close().unwrap();
            assert!(std::fs::read(&path).unwrap() == expected);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// Buffers that are laid out for their place are written from where they lie, the others are moved; the file is the same.
    #[test]
    fn buffers_follow_one_another_as_parts_do() {
        let dir = tempdir();
        let path = dir.join("buffers");
        let mut file = SegmentFile::create(&path, 1 << 20).unwrap();
        let is_direct = file.is_direct;
        let (mut expected, mut in_place) = (Vec::new(), 0);
        let mut buffer = Buffer::new(80, 1 << 20);
        let sizes = [0, 1, 4016, 4015, 4017, 1 << 20, 100_000, 12, (1 << 20) - 3, 2 << 20, 7];
        for (number, size) in (0..).zip(sizes) {
            // One is laid out for another place.
            let place = file.len() + u64::from(number == 6);
            buffer.clear(place);
            buffer.bytes().extend((0..size).map(|at| (at + number) as u8));
            assert_eq!((buffer.len(), buffer.body().len()), (size, size));
            let head = [number as u8; 80];
            match file.takes(&buffer) {
                true => {
                    in_place += 1;
                    file.append_buffer(&mut buffer, &head).unwrap();
                }
                false => file.append(&[&head, buffer.body()]).unwrap(),
            }
            expected.extend(head);
            expected.extend_from_slice(buffer.body());
            assert_eq!(file.len(), expected.len() as u64);
            assert!(std::fs::read(&path).unwrap().starts_with(&expected));
        }
        if is_direct {
            // Not the one for another place, nor the one that is too long.
            assert!((sizes.len() - 2..sizes.len()).contains(&in_place), "{in_place}");
        }
        file.close().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempdir() -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("wt-segment-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}
