//! The packets of a trace in other forms: as pcapng, which Wireshark writes, in a store of the recorder, and in several files.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use wt_wire::{
    ByteOrder, CaptureError, CaptureReader, PcapVariant, PcapWriter, Record, WriteError,
};

use crate::program::{Program, ProgramError, Step};
use crate::trace::Trace;

/// Files of a trace that is rotated.
const ROTATED: usize = 4;
/// Files of the two directions of its link.
const DIRECTIONS: usize = 2;

/// Where they are.
#[derive(Clone, Debug)]
pub struct Forms {
    /// As pcapng of one interface.
    pub pcapng: PathBuf,
    /// As a store.
    pub store: PathBuf,
    /// In files one after the other.
    pub rotated: Vec<PathBuf>,
    /// In a file for each direction.
    pub directions: Vec<PathBuf>,
}

/// Why they are not there.
#[derive(Debug, thiserror::Error)]
pub enum FormsError {
    /// What makes them failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The trace cannot be read.
    #[error(transparent)]
    Read(#[from] CaptureError),
    /// They could not be put in their places.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: WriteError,
    },
}

impl Forms {
    /// Makes them of a trace, beside it in `dir`, unless they are there.
    ///
    /// # Errors
    /// [`FormsError`].
    pub fn prepare(
        wiretable: &Path,
        trace: &Trace,
        dir: &Path,
        core: usize,
    ) -> Result<Self, FormsError> {
        let stem = trace.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let made = |ending: &str, before: &[&str], last: &[&str]| {
            let path = dir.join(format!("{stem}.{ending}"));
            if !path.exists() {
                // Under another name first: what was interrupted is not taken for whole.
                let partial = path.with_extension(format!("{ending}-partial"));
                let failed = |source| failed(&partial, source);
                if partial.is_dir() {
                    fs::remove_dir_all(&partial).map_err(failed)?;
                }
                let (from, to) = (trace.path.to_string_lossy(), partial.to_string_lossy());
                let arguments = [before, &[&*from], last, &[&*to]].concat();
                let steps = vec![Step::new(wiretable, arguments)];
                Program { name: ending.to_owned(), steps, cores: vec![core] }.answer()?;
                fs::rename(&partial, &path).map_err(failed)?;
            }
            Ok::<_, FormsError>(path)
        };
        Ok(Self {
            pcapng: made("pcapng", &["extract", "-r"], &["-o"])?,
            store: made("store", &["record", "-r"], &["-w"])?,
            rotated: {
                let len =
                    fs::metadata(&trace.path).map_err(|source| failed(&trace.path, source))?;
                let each = (len.len() / ROTATED as u64).max(1);
                let number = |record: &Record<'_>| (record.offset / each) as usize;
                parted(&trace.path, &dir.join(format!("{stem}-rotated")), ROTATED, number)?
            },
            directions: {
                // By which of the two stations has sent it.
                let number = |record: &Record<'_>| match record.data.get(..12) {
                    Some(stations) => usize::from(stations[..6] < stations[6..]),
                    None => 0,
                };
                parted(&trace.path, &dir.join(format!("{stem}-direction")), DIRECTIONS, number)?
            },
        })
    }

    /// All files.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = vec![self.pcapng.clone()];
        files.extend_from_slice(&self.rotated);
        files.extend_from_slice(&self.directions);
        for entry in fs::read_dir(&self.store)? {
            let path = entry?.path();
            files.extend(path.extension().is_some_and(|e| e == "pcapng").then_some(path));
        }
        Ok(files)
    }
}

/// Parts a capture into files, by the number of the one that each record is to be in, unless they are there.
fn parted(
    capture: &Path,
    stem: &Path,
    count: usize,
    number: impl Fn(&Record<'_>) -> usize,
) -> Result<Vec<PathBuf>, FormsError> {
    let path = |number: usize, ending: &str| {
        let name = stem.file_name().unwrap_or_default().to_string_lossy();
        stem.with_file_name(format!("{name}-{number}.{ending}"))
    };
    let paths: Vec<PathBuf> = (0..count).map(|number| path(number, "pcap")).collect();
    if paths.iter().all(|path| path.exists()) {
        return Ok(paths);
    }
    // Under other names first: what was interrupted is not taken for whole.
    let mut reader = CaptureReader::open(capture)?;
    let link_type = reader.interfaces().first().map_or(1, |interface| interface.link_type.0);
    let mut writers = Vec::with_capacity(count);
    for number in 0..count {
        let partial = path(number, "pcap-partial");
        let file = fs::File::create(&partial).map_err(|source| failed(&partial, source))?;
        let (file, nano) = (BufWriter::with_capacity(1 << 20, file), PcapVariant::Nano);
        let link_type = wt_wire::LinkType(link_type);
        let writer = PcapWriter::new(file, nano, ByteOrder::Little, link_type, 262_144);
        writers.push((writer.map_err(|source| failed(&partial, source))?, partial));
    }
    while let Some(record) = reader.next()? {
        let (writer, partial) = &mut writers[number(&record).min(count - 1)];
        writer
            .write(record.timestamp_ns, record.len, record.data)
            .map_err(|source| failed(partial, source))?;
    }
    for ((writer, partial), path) in writers.into_iter().zip(&paths) {
        writer.into_inner().flush().map_err(|source| failed(&partial, source))?;
        fs::rename(&partial, path).map_err(|source| failed(&partial, source))?;
    }
    Ok(paths)
}

fn failed(path: &Path, source: impl Into<WriteError>) -> FormsError {
    FormsError::Write { path: path.to_owned(), source: source.into() }
}
