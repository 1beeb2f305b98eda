//! The packets of a trace in other forms: as pcapng, which Wireshark writes, and in a store of the recorder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::program::{Program, ProgramError, Step};
use crate::trace::Trace;

/// Where they are.
#[derive(Clone, Debug)]
pub struct Forms {
    /// As pcapng of one interface.
    pub pcapng: PathBuf,
    /// As a store.
    pub store: PathBuf,
}

/// Why they are not there.
#[derive(Debug, thiserror::Error)]
pub enum FormsError {
    /// What makes them failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// They could not be put in their places.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
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
                let failed = |source| FormsError::Write { path: partial.clone(), source };
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
        })
    }

    /// The files of both.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = vec![self.pcapng.clone()];
        for entry in fs::read_dir(&self.store)? {
            let path = entry?.path();
            files.extend(path.extension().is_some_and(|e| e == "pcapng").then_some(path));
        }
        Ok(files)
    }
}
