//! Coarse indices (Tribeca §3.2): one entry for every R bytes of a trace, in a file beside it, so that readers skip what they do not want.
//!
//! ```text
//! x.pcap        head │ block 0 │ block 1 │ …            blocks begin at records and have R bytes or a little more
//! x.pcap.wti    header │ entry 0 │ entry 1 │ …          where, times, packets, checksum, summary
//! ```
//!
//! An index is never trusted blindly. It says of which file it is (length, time of change, checksum of the beginning), each entry has checksums of
//! its own and one of its block; an entry is checked when it is looked at, a block before it is read. What does not agree is as if there were no
//! index: the answer is that of a full scan. The bytes of both files are described in `dataplane/README.md`.
//!
//! Of the index, too, only that is read which an answer needs: entries of a time are found by bisection, summaries are looked at where something
//! asks for them. So what a time takes does not grow with the trace.

mod block;
mod build;
mod choose;
mod entries;
mod format;
mod growing;
mod pick;
mod seen;
mod select;
mod summary;
mod wanted;

use std::fs::File;
use std::io;
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

use entries::{Damaged, Entries};
use format::{HEADER_LEN, Head, Header, Sums};

/// Bytes of a trace for each entry.
pub const RATIO_DEFAULT: u64 = 1 << 20;
/// The least and the most.
pub const RATIOS: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// Bytes at the beginning of a trace that an index knows it by.
const HEAD_LEN_MAX: u64 = 4096;

/// An index, as far as it agrees with its trace.
#[derive(Debug)]
pub struct Index {
    trace: PathBuf,
    header: Header,
    entries: Entries,
    /// What the entries have, and where the last one's block ends.
    sums: Sums,
    covered: u64,
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
    /// Opens the index of a trace, if there is one that belongs to it. Entries are checked when they are looked at; those behind one that is then found
    /// to be damaged are left out.
    ///
    /// # Errors
    /// There is none, it cannot be read, is of another version or of another state of the trace.
    pub fn open(trace: &Path) -> Result<Self, IndexError> {
        let path = path_of(trace);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| IndexError::Io { path, source }
        };
        let own = match File::open(&path) {
            Ok(own) => own,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IndexError::Absent);
            }
            Err(error) => return Err(io(&path)(error)),
        };
        let own_len = own.metadata().map_err(io(&path))?.len();
        let mut bytes = [0; HEADER_LEN];
        let header = match own.read_exact_at(&mut bytes, 0) {
            Ok(()) => Header::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(io(&path)(error)),
        };
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
        let index = Self::new(trace, header, metadata.len(), own, own_len);
        if metadata.len() > index.header.trace_len && !index.is_last_as_it_was(&file) {
            return Err(IndexError::Stale { what: "the trace has grown and changed" });
        }
        Ok(index)
    }

    /// That of a trace of so many bytes, in a file of `own_len`.
    fn new(trace: &Path, header: Header, trace_len: u64, own: File, own_len: u64) -> Self {
        let entries = Entries::new(own, own_len, &header);
        let mut index = Self {
            trace: trace.to_owned(),
            entries,
            sums: Sums::NONE,
            covered: header.first_at,
            header,
            trace_len,
            bytes: own_len,
        };
        match index.last() {
            Ok(last) => index.end_behind(last.as_ref()),
            Err(Damaged) => index.leave_damaged(),
        }
        index
    }

    /// The last entry.
    fn last(&self) -> Result<Option<Head>, Damaged> {
        self.entries.count().checked_sub(1).map(|last| self.entries.head(last)).transpose()
    }

    fn end_behind(&mut self, last: Option<&Head>) {
        self.sums = last.map_or(Sums::NONE, |last| last.before.with(last));
        self.covered = last.map_or(self.header.first_at, Head::end);
    }

    /// Leaves out the first entry that is damaged and those behind it.
    fn leave_damaged(&mut self) {
        let mut last: Option<Head> = None;
        // One that is damaged ends it.
        let _ = self.entries.each(0..self.entries.count(), true, |head, _| last = Some(*head));
        self.entries.cut(last.map_or(0, |last| last.number() + 1));
        self.end_behind(last.as_ref());
    }

    /// The same with all of it checked: the first entry that is damaged and those behind it are left out.
    #[must_use]
    pub fn checked(mut self) -> Self {
        self.leave_damaged();
        self
    }

    /// Whether the last block is as the index has it: then a longer trace is the same and more.
    fn is_last_as_it_was(&self, file: &File) -> bool {
        let last = self.last();
        last.is_ok_and(|last| last.is_none_or(|last| select::is_as_indexed(file, &last)))
    }

    /// Its entries, in the order of the trace, up to the first that is damaged.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        // One that is damaged ends them.
        let _ = self.entries.each(0..self.entries.count(), true, |head, summary| {
            entries.extend(summary.map(|summary| head.with(summary.clone())));
        });
        entries
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.count() as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.count() == 0
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
        (self.trace_len, self.covered)
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
        self.covered >= self.header.trace_len
    }

    /// A time in which all packets are that the entries cover, ns, both ends included; of a whole index those of the earliest and the latest. Nothing
    /// when that is no packet.
    pub fn range_ns(&self) -> Option<(u64, u64)> {
        (self.sums.packets > 0).then_some((self.header.earliest_ns, self.sums.latest_ns))
    }
}
