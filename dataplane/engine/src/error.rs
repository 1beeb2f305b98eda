//! Why a run could not start or go on.

use crate::memory::MemoryExceeded;
use crate::setup::SetupError;

/// A run that failed. Rows that were out before stay out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan reads an interface that no source has.
    #[error("the plan reads interface `{interface}`, but the sources are: {}", known.join(", "))]
    NoSource {
        /// The interface.
        interface: String,
        /// The sources' interfaces.
        known: Vec<String>,
    },
    /// Two sources of one interface.
    #[error("interface `{interface}` has two sources")]
    TwoSources {
        /// The interface.
        interface: String,
    },
    /// An interface cannot be read any more.
    #[error("cannot capture from interface `{interface}` any more: {source}")]
    Capture {
        /// The interface.
        interface: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A thread of a live run could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The plan could not be started.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An operator reached the memory limit.
    #[error(transparent)]
    Memory(#[from] MemoryExceeded),
    /// Packets of another link type came, and there is no code for their headers. A fault of the program.
    #[error("there is no code for packets of link type {link_type}: {what}; please report it")]
    NoCode {
        /// LINKTYPE_ number.
        link_type: u16,
        /// What there is no code for.
        what: &'static str,
    },
    /// A backend that runs elsewhere does not go on.
    #[error("the program of interface `{interface}`: {source}")]
    Backend {
        /// The interface.
        interface: String,
        /// What it says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A sink failed for another reason than that nobody reads it.
    #[error("cannot write the rows of `{query}`: {source}")]
    Sink {
        /// Query.
        query: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    /// What the user can do about it, as full sentences, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSource { .. } => "Name the capture's interface: -r NAME=FILE.",
            Self::TwoSources { .. } => "Give all files of one interface as one source.",
            Self::Memory(error) | Self::Setup(SetupError::Memory(error)) => error.hint(),
            Self::Setup(SetupError::Handle { .. }) => {
                "Patterns are POSIX extended regular expressions; tables are files with one entry per line."
            }
            Self::NoCode { .. } => "Run it with --backend interpreter.",
            Self::Sink { .. } => "Check that the target can be written and has room.",
            Self::Thread { .. } => "Raise the limit on processes (ulimit -u).",
            Self::Setup(SetupError::Plan(_)) | Self::Backend { .. } | Self::Capture { .. } => {
                return None;
            }
        })
    }
}
