//! Coarse indices (Tribeca §3.2): one entry for every R bytes of a trace, in a file beside it, so that readers skip what they do not want.
//!
//! ```text
//! x.pcap        head │ block 0 │ block 1 │ …            blocks begin at records and have R bytes or a little more
//! x.pcap.wti    header │ entry 0 │ entry 1 │ …          where, times, packets, checksum, summary
//! ```
//!
//! An index is never trusted blindly. It says of which file it is (length, time of change, checksum of the beginning), each entry has a checksum of
//! its own and one of its block, and blocks that are read are checked first. What does not agree is as if there were no index: the
//! answer is that of a full scan. The bytes of both files are described in `dataplane/README.md`.

mod block;
mod build;
mod choose;
mod format;
mod growing;
mod seen;
mod select;
mod summary;
mod wanted;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

pub use build::{BuildError, build, scan};
pub use choose::{Chosen, Reading, Run, Taken};
pub(crate) use choose::{Unit, keep_order};
pub use format::Entry;
pub(crate) use growing::Growing;
pub(crate) use select::Ranges;
pub use select::{Places, Selected};
pub use summary::{Key, Summary};
pub use wanted::Wanted;

use format::{HEADER_LEN, Header};

/// Bytes of a trace for each entry.
pub const RATIO_DEFAULT: u64 = 1 << 20;
/// The least and the most.
pub const RATIOS: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// Bytes at the beginning of a trace that an index knows it by.
const HEAD_LEN_MAX: u64 = 4096;

/// An index, as far as it agrees with its trace.
#[derive(Clone, Debug)]
pub struct Index {
    trace: PathBuf,
    header: Header,
    entries: Vec<Entry>,
    /// Length of the trace now.
    trace_len: u64,
    /// Bytes of the index.
    bytes: u64,
}

/// Why there is no index to use.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// There is none.
    #[error("there is no index")]
    Absent,
    /// Something cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// It is none, or of another version.
    #[error("{} is no index of this version", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The trace has changed since.
    #[error("the index is of another trace, or of an earlier state of it: {what}")]
    Stale {
        /// What differs.
        what: &'static str,
    },
}

/// The index of a trace: beside it.
pub fn path_of(trace: &Path) -> PathBuf {
    crate::store::sidecar(trace)
}

/// When a file was last changed, ns since the epoch.
fn changed_ns(metadata: &std::fs::Metadata) -> u64 {
    (metadata.mtime() as u64).wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec() as u64)
}

/// The checksum of a trace's beginning.
fn head_crc(file: &File, len: u64) -> io::Result<u32> {
    let mut head = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut head, 0)?;
    Ok(crc32fast::hash(&head))
}

impl Index {
    /// Opens the index of a trace, if there is one that belongs to it. Entries behind the first that is damaged are left out.
    ///
    /// # Errors
    /// There is none, it cannot be read, is of another version or of another state of the trace.
    pub fn open(trace: &Path) -> Result<Self, IndexError> {
        let path = path_of(trace);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| IndexError::Io { path, source }
        };
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes).map_err(io(&path))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IndexError::Absent);
            }
            Err(error) => return Err(io(&path)(error)),
        }
        let header = bytes.get(..HEADER_LEN).and_then(Header::decode);
        let header = header.ok_or_else(|| IndexError::Foreign { path: path.clone() })?;
        let file = File::open(trace).map_err(io(trace))?;
        let metadata = file.metadata().map_err(io(trace))?;
        if metadata.len() < header.trace_len {
            return Err(IndexError::Stale { what: "the trace is shorter" });
        }
        if metadata.len() == header.trace_len && changed_ns(&metadata) != header.changed_ns {
            return Err(IndexError::Stale { what: "the trace was changed later" });
        }
        if head_crc(&file, u64::from(header.head_len)).map_err(io(trace))? != header.head_crc {
            return Err(IndexError::Stale { what: "the trace begins otherwise" });
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut at = header.first_at;
        for bytes in bytes[HEADER_LEN..].chunks_exact(header.entry_len()) {
            let Some(entry) = Entry::decode(bytes) else { break };
            let end = entry.offset.checked_add(entry.len);
            if entry.offset != at || end.is_none_or(|end| end > header.trace_len) {
                break;
            }
            at += entry.len;
            entries.push(entry);
        }
        let index = Self {
            trace: trace.to_owned(),
            header,
            entries,
            trace_len: metadata.len(),
            bytes: bytes.len() as u64,
        };
        if metadata.len() > index.header.trace_len && !index.is_last_as_it_was(&file) {
            return Err(IndexError::Stale { what: "the trace has grown and changed" });
        }
        Ok(index)
    }

    /// Whether the last block is as the index has it: then a longer trace is the same and more.
    fn is_last_as_it_was(&self, file: &File) -> bool {
        self.entries.last().is_none_or(|last| select::is_as_indexed(file, last))
    }

    /// Its entries, in the order of the trace.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the trace for each entry.
    pub fn ratio(&self) -> u64 {
        self.header.ratio
    }

    /// Bytes of the index file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of a summary.
    pub fn summary_bytes(&self) -> usize {
        self.header.summary_len as usize
    }

    /// Length of the trace, bytes, and how much of it the entries cover, with its head.
    pub fn covered(&self) -> (u64, u64) {
        let covered = self.entries.last().map_or(self.header.first_at, |e| e.offset + e.len);
        (self.trace_len, covered)
    }

    /// What was chosen of the trace, to be read.
    ///
    /// # Errors
    /// The trace cannot be opened.
    pub fn selected(&self, chosen: Chosen, reading: Reading) -> io::Result<Selected> {
        Ok(Selected::new(File::open(&self.trace)?, chosen, reading))
    }

    /// Whether it has entries for all of the trace that it was made of. If not, it is damaged, or the trace is, from there on.
    pub fn is_whole(&self) -> bool {
        self.covered().1 >= self.header.trace_len
    }

    /// Earliest and latest stamp of what the entries cover, ns; nothing when that is no packet.
    pub fn range_ns(&self) -> Option<(u64, u64)> {
        let with_packets = self.entries.iter().filter(|entry| entry.packets > 0);
        let ranges = with_packets.map(|entry| (entry.min_ns, entry.max_ns));
        ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
