//! How far a writer has come, for those who read what it is still writing.
//!
//! The writer overwrites one small file after each frame. The file is never synced: it is for other processes, not for the time after a power
//! failure, when the frames themselves say what is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MARK_LEN: usize = 64;
const MAGIC: [u8; 8] = *b"wt-mark1";

/// How far a writer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Sequence number of the first packet of the segment at hand.
    pub segment: u64,
    /// Bytes of that segment that are complete.
    pub bytes: u64,
    /// Sequence number of the next packet.
    pub next: u64,
    /// Sequence number behind the last packet that is known to be on the disk.
    pub synced: u64,
    /// No packet that is still to come was stamped before this time, ns since the epoch, but for the skew of the interface.
    pub as_of_ns: u64,
    /// The writer has ended.
    pub is_ended: bool,
}

impl Mark {
    fn encode(&self) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        let flags = u64::from(self.is_ended);
        let words = [self.segment, self.bytes, self.next, self.synced, self.as_of_ns, flags];
        for (at, word) in (8..).step_by(8).zip(words) {
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..MARK_LEN - 8]);
        bytes[MARK_LEN - 8..MARK_LEN - 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; MARK_LEN]) -> Option<Self> {
        let crc = crc32fast::hash(&bytes[..MARK_LEN - 8]).to_le_bytes();
        if bytes[..8] != MAGIC || bytes[MARK_LEN - 8..MARK_LEN - 4] != crc {
            return None;
        }
        let word = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[at + i]));
        Some(Self {
            segment: word(8),
            bytes: word(16),
            next: word(24),
            synced: word(32),
            as_of_ns: word(40),
            is_ended: word(48) != 0,
        })
    }
}

/// The file of a mark.
#[derive(Debug)]
pub(crate) struct MarkFile(File);

impl MarkFile {
    /// Opens it for writing.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Opens it for reading.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    pub(crate) fn write(&self, mark: &Mark) -> io::Result<()> {
        self.0.write_all_at(&mark.encode(), 0)
    }

    /// What it says; nothing when it says nothing that holds.
    pub(crate) fn read(&self) -> Option<Mark> {
        // A writer may be half way through; it is no slower than we are.
        for _ in 0..100 {
            let mut bytes = [0; MARK_LEN];
            self.0.read_exact_at(&mut bytes, 0).ok()?;
            if let Some(mark) = Mark::decode(&bytes) {
                return Some(mark);
            }
            std::thread::yield_now();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_a_torn_one_does_not() {
        let mark = Mark { segment: 1, bytes: 2, next: 3, synced: 4, as_of_ns: 5, is_ended: true };
        let bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Some(mark));
        let other = Mark { next: 300, ..mark }.encode();
        for cut in 1..MARK_LEN - 8 {
            let mut torn = bytes;
            torn[..cut].copy_from_slice(&other[..cut]);
            assert!(torn == bytes || torn == other || Mark::decode(&torn).is_none(), "{cut}");
        }
    }
}
