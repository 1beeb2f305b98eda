//! How a command fails: the query or input is refused (exit 1), or the environment is in the way (exit 2).

use std::fmt;

/// A failed command.
#[derive(Debug)]
pub enum Failure {
    /// The query text is refused; the rendered diagnostics.
    Query(String),
    /// The input is refused.
    Input(String),
    /// A file, device or the host does not play along.
    Environment(String),
    /// The reader of our output went away: nothing is wrong with the run.
    OutputClosed,
}

impl Failure {
    /// The process exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::Query(_) | Failure::Input(_) => 1,
            Failure::Environment(_) => 2,
            Failure::OutputClosed => 0,
        }
    }

    /// An environment failure about a path.
    pub fn path(action: &str, path: &std::path::Path, error: &dyn fmt::Display) -> Self {
        Failure::Environment(format!("cannot {action} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Query(rendered) => f.write_str(rendered.trim_end()),
            Failure::Input(message) | Failure::Environment(message) => {
                write!(f, "wiretable: {message}")
            }
            Failure::OutputClosed => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
