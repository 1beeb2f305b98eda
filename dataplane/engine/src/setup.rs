//! Why a plan cannot start.

use crate::check::PlanDefect;
use crate::functions::HandleError;
use crate::memory::MemoryExceeded;

/// A plan that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An argument that is registered once could not be: a bad regular expression, a table that cannot be read.
    #[error("{function}: {source}")]
    Handle {
        /// Function symbol.
        function: &'static str,
        /// Why.
        #[source]
        source: HandleError,
    },
    /// A table of fixed size does not fit the memory limit.
    #[error(transparent)]
    Memory(#[from] MemoryExceeded),
    /// The plan is not sound: a fault of the planner.
    #[error(transparent)]
    Plan(#[from] PlanDefect),
}
