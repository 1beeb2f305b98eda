//! Where rows go.

use std::io;

use crate::tuple::Tuple;

/// Takes the rows of a run. Rows come as soon as their window closes.
pub trait RowSink {
    /// A row of output `output`, an index into `PhysicalPlan::outputs`.
    ///
    /// # Errors
    /// [`SinkError::Closed`] ends the run without an error, anything else with one.
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError>;

    /// The rows of a window of this output are complete: a reader may want to see them now.
    ///
    /// # Errors
    /// As [`Self::row`].
    fn window(&mut self, _output: usize) -> Result<(), SinkError> {
        Ok(())
    }

    /// Nothing waits to be taken, for now: said again and again while it is so, for sinks that gather rows.
    ///
    /// # Errors
    /// As [`Self::row`].
    fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// No output has more rows. Not called when the run fails.
    ///
    /// # Errors
    /// As [`Self::row`].
    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A sink that takes no more.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nobody reads it any more: a closed pipe.
    #[error("the reader has gone")]
    Closed,
    /// Writing failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
