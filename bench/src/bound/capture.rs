//! Records of a pcap file, and the three ways to go through them: `read`, one cursor over a mapping, several cursors over it.
//!
//! A file in the common format only (little-endian, Ethernet): a program written for one trace would not do more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::resync;
use crate::sys::Map;

/// Why a trace is not one for these programs.
#[derive(Debug, thiserror::Error)]
pub enum BoundError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is no little-endian pcap.
    #[error(
        "{path} is no little-endian pcap file, the only format that the hand-written programs read"
    )]
    Format {
        /// Which.
        path: PathBuf,
    },
    /// Its frames are not Ethernet.
    #[error("{path} is of link type {link_type}; the hand-written programs know Ethernet (1) only")]
    LinkType {
        /// Which.
        path: PathBuf,
        /// What it is.
        link_type: u32,
    },
    /// The last record is longer than the file.
    #[error("{path} ends inside the record at byte {offset}")]
    Cut {
        /// Which.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Rows could not be written.
    #[error("cannot write the answer: {0}")]
    Write(#[source] io::Error),
    /// libpcap refused something.
    #[error("libpcap: {0}")]
    Pcap(#[from] pcap::Error),
}

/// Bytes of a file header.
pub const FILE_HEADER_LEN: usize = 24;
/// Bytes of a record header.
pub const RECORD_HEADER_LEN: usize = 16;
/// Longest record, as in libpcap.
pub const CAPLEN_MAX: usize = 262_144;
/// Bytes asked of `read` at once.
const BUFFER_LEN: usize = 256 << 10;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Bytes on the wire.
    pub len: u32,
    /// Place in the file: earlier packets have lower ones.
    pub offset: u64,
    /// Captured bytes.
    pub data: &'a [u8],
}

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Time stamps count nanoseconds instead of microseconds.
    pub nanoseconds: bool,
    /// Snap length, or the longest record where it says none.
    pub snap_len: u32,
}

pub(super) fn header(bytes: &[u8], path: &Path) -> Result<FileHeader, BoundError> {
    let wrong = || BoundError::Format { path: path.to_owned() };
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(wrong)?;
        Ok::<u32, BoundError>(u32::from_le_bytes(word))
    };
    let nanoseconds = match word(0)? {
        0xa1b2_c3d4 => false,
        0xa1b2_3c4d => true,
        _ => return Err(wrong()),
    };
    // The upper bits tell the length of a frame check sequence.
    let link_type = word(20)? & 0x0fff_ffff;
    if link_type != 1 {
        return Err(BoundError::LinkType { path: path.to_owned(), link_type });
    }
    let snap_len = match word(16)? {
        0 => CAPLEN_MAX as u32,
        n => n,
    };
    Ok(FileHeader { nanoseconds, snap_len })
}

/// What a program does with packets.
pub trait Task: Send {
    /// Takes one packet.
    fn record(&mut self, record: &Record<'_>);
    /// Takes what a task of a later part of the file has found.
    fn merge(&mut self, later: Self);
    /// Writes rows that are certain already; called now and then by programs with a single cursor.
    ///
    /// # Errors
    /// What the output says.
    fn drain(&mut self, _output: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    /// Writes the rows.
    ///
    /// # Errors
    /// What the output says.
    fn finish(self, output: &mut dyn Write) -> io::Result<()>;
}

/// The record at a place, and where the next one is; nothing when it is not all there.
#[inline(always)]
pub fn record_at(bytes: &[u8], at: usize, base: u64) -> Option<(Record<'_>, usize)> {
    let head: &[u8; RECORD_HEADER_LEN] = bytes.get(at..)?.first_chunk()?;
    let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
    let data_at = at + RECORD_HEADER_LEN;
    let end = data_at + word(8) as usize;
    let data = bytes.get(data_at..end)?;
    Some((Record { seconds: word(0), len: word(12), offset: base + at as u64, data }, end))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> BoundError {
    move |source| BoundError::Read { path: path.to_owned(), source }
}

/// One cursor, with `read` into a buffer.
///
/// # Errors
/// [`BoundError`].
pub fn with_read<T: Task>(path: &Path, task: T, output: &mut dyn Write) -> Result<T, BoundError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let mut head = [0; FILE_HEADER_LEN];
    let filled = fill(&mut file, &mut head).map_err(failed(path))?;
    header(&head[..filled], path)?;
    read_from(file, FILE_HEADER_LEN as u64, u64::MAX, path, task, output)
}

/// One cursor over the records that begin before `end`, with `read` into a buffer.
///
/// # Errors
/// [`BoundError`]; [`BoundError::Cut`] also when no record ends at `end`.
fn read_from<T: Task>(
    mut file: File,
    mut base: u64,
    end: u64,
    path: &Path,
    mut task: T,
    output: &mut dyn Write,
) -> Result<T, BoundError> {
    let cut = |offset| BoundError::Cut { path: path.to_owned(), offset };
    let mut buffer = vec![0; BUFFER_LEN];
    let mut filled = 0;
    // `base` is the place of the buffer in the file.
    while base < end {
        if filled == buffer.len() {
            // A record longer than the buffer.
            buffer.resize(CAPLEN_MAX + RECORD_HEADER_LEN, 0);
        }
        let more = fill(&mut file, &mut buffer[filled..]).map_err(failed(path))?;
        if more == 0 {
            let whole = filled == 0 && end == u64::MAX;
            return if whole { Ok(task) } else { Err(cut(base)) };
        }
        filled += more;
        // Bytes behind the end are of another part.
        let usable = filled.min(usize::try_from(end - base).unwrap_or(usize::MAX));
        let mut at = 0;
        while let Some((record, next)) = record_at(&buffer[..usable], at, base) {
            task.record(&record);
            at = next;
        }
        task.drain(output).map_err(BoundError::Write)?;
        if at == 0 && filled > CAPLEN_MAX {
            return Err(cut(base));
        }
        buffer.copy_within(at..filled, 0);
        base += at as u64;
        filled -= at;
        if usable < filled + at && base < end {
            return Err(cut(base));
        }
    }
    Ok(task)
}

/// One `read`, again when a signal came between.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A mapped trace.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    map: Map,
    header: FileHeader,
}

/// Bytes that [`Mapped::ahead`] asks for ahead of itself.
const AHEAD_LEN: usize = 2048;
const CACHE_LINE_LEN: usize = 64;
/// Bytes after which what is ready is written.
const DRAIN_LEN: usize = 1 << 20;

impl Mapped {
    /// Maps a trace.
    ///
    /// # Errors
    /// [`BoundError`] when it cannot be read or is of another kind.
    pub fn open(path: &Path) -> Result<Self, BoundError> {
        let file = File::open(path).map_err(failed(path))?;
        let map = Map::new(&file).map_err(failed(path))?;
        let header = header(&map, path)?;
        Ok(Self { path: path.to_owned(), map, header })
    }

    /// One cursor from end to end, which waits for each header.
    ///
    /// # Errors
    /// [`BoundError::Cut`].
    pub fn single<T: Task>(&self, task: T, output: &mut dyn Write) -> Result<T, BoundError> {
        self.alone::<T, 0>(task, output)
    }

    /// As [`Self::single`], and all lines are asked for ahead: it takes as long as memory gives the whole file.
    ///
    /// # Errors
    /// [`BoundError::Cut`].
    pub fn ahead<T: Task>(&self, task: T, output: &mut dyn Write) -> Result<T, BoundError> {
        self.alone::<T, AHEAD_LEN>(task, output)
    }

    fn alone<T: Task, const AHEAD: usize>(
        &self,
        mut task: T,
        output: &mut dyn Write,
    ) -> Result<T, BoundError> {
        let bytes: &[u8] = &self.map;
        let mut at = FILE_HEADER_LEN;
        let mut asked = 0;
        while at < bytes.len() {
            let stop = at + DRAIN_LEN;
            while at < stop {
                let Some((record, next)) = record_at(bytes, at, 0) else { break };
                // Headers are too far apart for the hardware to see a pattern, so every line is asked for.
                while AHEAD > 0 && asked < (next + AHEAD).min(bytes.len()) {
                    crate::sys::prefetch(&bytes[asked]);
                    asked += CACHE_LINE_LEN;
                }
                task.record(&record);
                at = next;
            }
            if at < stop && at < bytes.len() {
                return Err(self.cut(at));
            }
            task.drain(output).map_err(BoundError::Write)?;
        }
        Ok(task)
    }

    /// Several cursors on one core, a packet of each in turn, so that the misses of one are waited for while the others work.
    /// Cursor i feeds task i, modulo their number.
    ///
    /// The chains of records are checked to meet; when one does not arrive at the start of the next, its start was no record, and
    /// everything is done again by one cursor.
    ///
    /// # Errors
    /// [`BoundError::Cut`].
    pub fn cursors<T: Task, const N: usize>(
        &self,
        new: impl Fn() -> T,
        shared: bool,
        output: &mut dyn Write,
    ) -> Result<T, BoundError> {
        let Some(bounds) = self.bounds(FILE_HEADER_LEN, self.map.len(), N) else {
            return self.single(new(), output);
        };
        let mut tasks: Vec<T> = (0..if shared { 1 } else { N }).map(|_| new()).collect();
        if !interleave::<T, N>(&self.map, &bounds, &mut tasks) {
            return self.single(new(), output);
        }
        Ok(merged(tasks))
    }

    /// One thread for each of `cores` parts, each with `go` over the part from its first byte to its last.
    ///
    /// When a part does not end where the next begins, everything is done again by one cursor.
    ///
    /// # Errors
    /// [`BoundError`].
    fn threads<T: Task>(
        &self,
        cores: usize,
        go: impl Fn(usize, usize) -> Result<T, BoundError> + Sync,
    ) -> Result<Option<T>, BoundError> {
        let Some(parts) = self.bounds(FILE_HEADER_LEN, self.map.len(), cores) else {
            return Ok(None);
        };
        let results: Vec<Result<T, BoundError>> = std::thread::scope(|scope| {
            let go = &go;
            let handles: Vec<_> = parts
                .windows(2)
                .map(|part| (part[0], part[1]))
                .map(|(from, to)| scope.spawn(move || go(from, to)))
                .collect();
            handles
                .into_iter()
                .map(|handle| {
                    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut tasks = Vec::with_capacity(cores);
        for result in results {
            match result {
                Ok(task) => tasks.push(task),
                Err(BoundError::Cut { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(merged(tasks)))
    }

    /// [`Self::cursors`] in each of several threads.
    ///
    /// # Errors
    /// [`BoundError`].
    pub fn cursors_on<T: Task, const N: usize>(
        &self,
        cores: usize,
        new: impl Fn() -> T + Sync,
        shared: bool,
        output: &mut dyn Write,
    ) -> Result<T, BoundError> {
        let part = |from: usize, to: usize| {
            let bounds = self.bounds(from, to, N).ok_or_else(|| self.cut(from))?;
            let mut tasks: Vec<T> = (0..if shared { 1 } else { N }).map(|_| new()).collect();
            let met = interleave::<T, N>(&self.map, &bounds, &mut tasks);
            if met { Ok(merged(tasks)) } else { Err(self.cut(from)) }
        };
        match self.threads(cores, part)? {
            Some(task) => Ok(task),
            None => self.single(new(), output),
        }
    }

    /// One cursor with `read` in each of several threads.
    ///
    /// # Errors
    /// [`BoundError`].
    pub fn read_on<T: Task>(
        &self,
        cores: usize,
        new: impl Fn() -> T + Sync,
        output: &mut dyn Write,
    ) -> Result<T, BoundError> {
        let part = |from: usize, to: usize| {
            let mut file = File::open(&self.path).map_err(failed(&self.path))?;
            file.seek(SeekFrom::Start(from as u64)).map_err(failed(&self.path))?;
            // Rows of a part cannot leave before those of the parts before it.
            read_from(file, from as u64, to as u64, &self.path, new(), &mut io::sink())
        };
        match self.threads(cores, part)? {
            Some(task) => Ok(task),
            None => self.single(new(), output),
        }
    }

    /// The starts of `parts` parts of a range and its end; nothing when a start cannot be found.
    fn bounds(&self, from: usize, to: usize, parts: usize) -> Option<Vec<usize>> {
        let step = (to - from) / parts;
        let mut bounds = vec![from];
        for part in 1..parts {
            let start = resync::boundary(&self.map, from + part * step, &self.header)?;
            bounds.push(start.min(to));
        }
        bounds.push(to);
        bounds.is_sorted().then_some(bounds)
    }

    fn cut(&self, at: usize) -> BoundError {
        BoundError::Cut { path: self.path.clone(), offset: at as u64 }
    }
}

fn merged<T: Task>(tasks: Vec<T>) -> T {
    let mut tasks = tasks.into_iter();
    // There is at least one.
    let Some(mut first) = tasks.next() else { unreachable!("a part has a task") };
    tasks.for_each(|later| first.merge(later));
    first
}

/// Goes through all parts at once; FALSE when the chain of one does not end where the next begins.
fn interleave<T: Task, const N: usize>(map: &Map, bounds: &[usize], tasks: &mut [T]) -> bool {
    let bytes: &[u8] = map;
    let mut at: [usize; N] = std::array::from_fn(|i| bounds[i]);
    let end: [usize; N] = std::array::from_fn(|i| bounds[i + 1]);
    let several = tasks.len() > 1;
    // All together while each has something left, then one after the other.
    'together: loop {
        for i in 0..N {
            if at[i] >= end[i] {
                break 'together;
            }
            let Some((record, next)) = record_at(bytes, at[i], 0) else { return false };
            // The next header is what this cursor waits for when its turn comes again.
            if let Some(byte) = bytes.get(next) {
                crate::sys::prefetch(byte);
            }
            tasks[if several { i } else { 0 }].record(&record);
            at[i] = next;
        }
    }
    for i in 0..N {
        while at[i] < end[i] {
            let Some((record, next)) = record_at(bytes, at[i], 0) else { return false };
            tasks[if several { i } else { 0 }].record(&record);
            at[i] = next;
        }
    }
    at == end
}

#[cfg(test)]
mod tests;
