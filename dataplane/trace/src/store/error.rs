//! Why a store cannot be opened or written, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no manifest.
    #[error("{} is no store: it has no {}", dir.display(), super::MANIFEST)]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
    /// Something lies there that no recorder has written.
    #[error("{} has a file that no recorder writes: {file}", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Name of the file.
        file: String,
    },
    /// A segment lies there that another store's recorder has written.
    #[error("{} has a segment of another store: {file}", dir.display())]
    OfAnotherStore {
        /// The directory.
        dir: PathBuf,
        /// Name of the segment.
        file: String,
    },
    /// The manifest does not say what it has to.
    #[error("{}: {what}", path.display())]
    Manifest {
        /// The manifest, or another of the store's text files.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another version of the format.
    #[error("{} is a store of format version {found}; this program knows version {known}", dir.display())]
    Version {
        /// The directory.
        dir: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is known.
        known: i64,
    },
    /// Another recorder writes there.
    #[error("another recorder writes to {}{}", dir.display(), pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The recorder's process, where it says so.
        pid: Option<u32>,
    },
    /// The operating system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Of what.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotAStore { .. } => {
                "Name a directory that `wiretable record -w DIR` has written; single traces are given by file."
            }
            Self::OfAnotherStore { .. } => {
                "Move it back: the numbers of its packets mean something there alone. It can be read by itself, with -r."
            }
            Self::Foreign { .. } => {
                "Move the file elsewhere, or name another directory: a recorder deletes what is old, so it keeps to directories of its own."
            }
            Self::Locked { .. } => {
                "End that recorder, or record into another directory; reading does not wait for it."
            }
            Self::Version { .. } => "Read it with the release that wrote it.",
            Self::Manifest { .. } | Self::Io { .. } => return None,
        })
    }

    /// The error of a system call on a path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
