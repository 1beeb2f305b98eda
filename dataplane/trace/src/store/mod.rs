//! Stores: directories of recorded packets.
//!
//! ```text
//! DIR/wiretable-store.toml           what it is: version, id, index ratio
//! DIR/lock                           held by the recorder
//! DIR/w00-0000000000000000.pcapng    segments: writer 0, from its first packet on
//! DIR/w00-0000000000812345.pcapng    the next one; .zst when it is compressed
//! DIR/w00.mark                       how far writer 0 has come
//! DIR/pins.toml                      what is not deleted
//! DIR/saved/                         what was saved on request
//! ```
//!
//! Each writer numbers its packets from 0, without gaps: the sequence number of a packet is that of its segment and its place there. What is lost
//! is in the books of the recorder, never in the numbers. Segments are pcapng that any tool reads; frames between the blocks check them.

pub(crate) mod blocks;
mod direct;
mod error;
mod findings;
mod follow;
pub(crate) mod frame;
pub(crate) mod mark;
pub(crate) mod name;
mod pieces;
mod pins;
mod read;
mod recover;
pub(crate) mod retain;
pub(crate) mod scan;
mod within;

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

pub use direct::PieceReader;
pub use error::StoreError;
pub use findings::{Finding, Findings};
pub use follow::{Follow, Followed, Run};
pub use mark::Mark;
pub use name::{SegmentName, WRITERS_MAX};
pub use pieces::Pieces;
pub use pins::Pin;
pub use read::Captured;
pub use recover::Recovered;
pub(crate) use recover::compress;
pub use retain::Keep;
pub use scan::Skipped;

use self::frame::{FRAME_LEN, Frame, Kind};
use self::mark::MarkFile;

/// The file that says that a directory is a store.
pub const MANIFEST: &str = "wiretable-store.toml";
pub(crate) const LOCK: &str = "lock";
pub(crate) const PINS: &str = "pins.toml";
/// The file in which the recorder says of itself what it does, while it runs.
pub const RUN: &str = "recorder.toml";
/// The folder of what was saved on request.
pub const SAVED: &str = "saved";
/// Behind the name of a file that is being written and will take the place of another.
pub(crate) const PART: &str = ".part";

const VERSION: i64 = 1;

/// Bytes of a segment per entry of its index, when nothing is said.
pub const INDEX_RATIO_DEFAULT: u64 = 1 << 20;

/// How long a recorder waits for a lock that someone may have taken only to look at it.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// A store, for reading.
#[derive(Clone, Debug)]
pub struct Store {
    dir: Arc<Path>,
    id: u64,
    index_ratio: u64,
    created_s: u64,
}

/// A segment of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// Where it lies.
    pub path: PathBuf,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// Bytes that it takes of the disk, with its index.
    pub disk_bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// What a closed segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Packets.
    pub packets: u64,
    /// Earliest and latest stamp, ns since the epoch; clocks may step back between. `None` without packets.
    pub range_ns: Option<(u64, u64)>,
    /// Bytes, not compressed.
    pub bytes: u64,
}

impl Store {
    /// Whether a path is a store.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(MANIFEST).is_file()
    }

    /// Opens a store for reading. A recorder may write to it meanwhile.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => {
                return Err(StoreError::NotAStore { dir: dir.to_owned() });
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let wrong = |what: String| StoreError::Manifest { path: path.clone(), what };
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let number = |name: &str| {
            let value = table.get(name).and_then(toml::Value::as_integer);
            value.ok_or_else(|| wrong(format!("`{name}` is no number")))
        };
        let found = number("version")?;
        if found != VERSION {
            return Err(StoreError::Version { dir: dir.to_owned(), found, known: VERSION });
        }
        let id = table.get("id").and_then(toml::Value::as_str).filter(|id| id.len() == 16);
        let id = id.and_then(|id| u64::from_str_radix(id, 16).ok());
        let unsigned = |name: &str| {
            u64::try_from(number(name)?).map_err(|_| wrong(format!("`{name}` is below 0")))
        };
        Ok(Self {
            dir: dir.into(),
            id: id.ok_or_else(|| wrong("`id` is not 16 hexadecimal digits".to_owned()))?,
            index_ratio: unsigned("index_ratio")?.max(1),
            created_s: unsigned("created")?,
        })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What tells it from all others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of a segment per entry of its index.
    pub fn index_ratio(&self) -> u64 {
        self.index_ratio
    }

    /// When it was made, s since the epoch.
    pub fn created_s(&self) -> u64 {
        self.created_s
    }

    /// The segments, writer by writer in the order of their packets.
    ///
    /// # Errors
    /// The directory cannot be read, or has a file that is not ours.
    pub fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        let mut segments: Vec<Segment> = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(StoreError::io("read", &self.dir))? {
            let entry = entry.map_err(StoreError::io("read", &self.dir))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if !name::is_known(&file) {
                return Err(StoreError::Foreign { dir: self.dir.to_path_buf(), file });
            }
            let Some(name) = SegmentName::parse(&file) else { continue };
            // One that is deleted at this moment is none.
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let index = fs::metadata(sidecar(&path)).map_or(0, |index| index.blocks() * 512);
            segments.push(Segment {
                name,
                path,
                bytes: metadata.len(),
                disk_bytes: metadata.blocks() * 512 + index,
                modified: metadata.modified().unwrap_or(UNIX_EPOCH),
            });
        }
        segments.sort_by_key(|segment| segment.name);
        // While one is being compressed there are two of it.
        segments.dedup_by(|second, first| {
            (second.name.writer, second.name.first) == (first.name.writer, first.name.first)
        });
        Ok(segments)
    }

    /// What a segment holds; nothing of one that was not closed.
    pub fn summary(&self, segment: &Segment) -> Option<Summary> {
        let end = self.end_of(&segment.path, segment.name.first)?;
        let range = (end.packets > 0).then_some((end.min_ns, end.max_ns));
        Some(Summary { packets: end.packets, range_ns: range, bytes: end.bytes })
    }

    /// Earliest and latest stamp of all packets, where all segments were closed and there are packets, ns since the epoch.
    pub fn range_ns(&self) -> Option<(u64, u64)> {
        let mut range: Option<(u64, u64)> = None;
        for segment in self.segments().ok()? {
            if let Some((min_ns, max_ns)) = self.summary(&segment)?.range_ns {
                let (a, b) = range.unwrap_or((min_ns, max_ns));
                range = Some((a.min(min_ns), b.max(max_ns)));
            }
        }
        range
    }

    /// The frame at the end of a segment that was closed.
    fn end_of(&self, path: &Path, first: u64) -> Option<Frame> {
        let file = File::open(path).ok()?;
        let at = file.metadata().ok()?.len().checked_sub(FRAME_LEN as u64)?;
        let mut block = [0; FRAME_LEN];
        file.read_exact_at(&mut block, at).ok()?;
        let frame = Frame::decode(&block, self.id)?;
        (frame.kind == Kind::End && frame.sequence == first).then_some(frame)
    }

    /// How far a writer has come, if it has ever written.
    pub fn mark(&self, writer: u16) -> Option<Mark> {
        MarkFile::open(&self.dir.join(name::mark(writer))).ok()?.read()
    }

    /// Whether a recorder writes to it now.
    pub fn is_recorded(&self) -> bool {
        let Ok(lock) = File::open(self.dir.join(LOCK)) else { return false };
        flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// What the recorder says of itself: a table of its process, interfaces and control socket. Nothing when none runs.
    pub fn recorder(&self) -> Option<toml::Table> {
        if !self.is_recorded() {
            return None;
        }
        fs::read_to_string(self.dir.join(RUN)).ok()?.parse().ok()
    }
}

/// The index of a segment, beside it.
pub(crate) fn sidecar(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(".wti");
    path.into()
}

/// A store that this process alone may write to.
#[derive(Debug)]
pub struct OwnStore {
    store: Store,
    /// Locked as long as it is open.
    _lock: File,
}

impl std::ops::Deref for OwnStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl OwnStore {
    /// Opens a store for writing; a directory that is empty or not there becomes one, with this index ratio. What a recorder that was killed has left
    /// half written is put in order first.
    ///
    /// # Errors
    /// The directory is not ours or has something else in it, another recorder writes there, or the system refuses.
    pub fn open(dir: &Path, index_ratio: u64) -> Result<(Self, Vec<Recovered>), StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("make", dir))?;
        if !Store::is_at(dir) {
            let mut entries = fs::read_dir(dir).map_err(StoreError::io("read", dir))?;
            // One that came this far and no further is no stranger.
            let foreign = entries.find_map(|entry| {
                let file = entry.ok()?.file_name().to_string_lossy().into_owned();
                (!name::is_known(&file) || SegmentName::parse(&file).is_some()).then_some(file)
            });
            if let Some(file) = foreign {
                return Err(StoreError::Foreign { dir: dir.to_owned(), file });
            }
        }
        let lock = lock(dir)?;
        if !Store::is_at(dir) {
            make(dir, index_ratio)?;
        }
        let store = Store::open(dir)?;
        let own = Self { store, _lock: lock };
        let recovered = own.recover()?;
        Ok((own, recovered))
    }

    /// Says who records: a table that others may read while this process runs.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn announce(&self, recorder: &toml::Table) -> Result<(), StoreError> {
        replace(&self.dir.join(RUN), recorder.to_string().as_bytes())
    }
}

impl Drop for OwnStore {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.store.dir.join(RUN));
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(StoreError::io("open", &path))?;
    let began = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let run = fs::read_to_string(dir.join(RUN)).unwrap_or_default();
                let run: toml::Table = run.parse().unwrap_or_default();
                let pid = run.get("pid").and_then(toml::Value::as_integer);
                let pid = pid.and_then(|pid| u32::try_from(pid).ok());
                return Err(StoreError::Locked { dir: dir.to_owned(), pid });
            }
            Err(error) => return Err(StoreError::io("lock", &path)(error.into())),
        }
    }
}

fn make(dir: &Path, index_ratio: u64) -> Result<(), StoreError> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Each state has keys of its own, from the system's randomness.
    let id = RandomState::new().hash_one(created);
    let text = format!(
        "# Packets that `wiretable record` has written; `wiretable store info DIR` says more.\n\
         version = {VERSION}\nid = \"{id:016x}\"\ncreated = {created}\nindex_ratio = {index_ratio}\n"
    );
    replace(&dir.join(MANIFEST), text.as_bytes())
}

/// Puts a file in the place of another, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    let part = PathBuf::from(part);
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_dir(path)
    };
    write().map_err(StoreError::io("write", path))
}

/// Makes the name of a file in a directory last.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
