//! Runs physical plans: LFTA backends next to the packets, HFTA operators above them, sources, and the books.
//!
//! ```text
//! sources ─ packets in time order ─▶ LftaBackend ─ tuples, punctuation ─▶ operator graph ─ rows ─▶ RowSink
//! ```
//!
//! [`run`] is the whole of it for captures, [`live::run_live`] for interfaces. Invariants: nothing outside the captured bytes is read; no packet, tuple or
//! row is lost without a count in the [`Ledger`]; what operators keep is charged to one memory limit; the same plan over the
//! same captures gives the same rows in the same order.

mod block;
pub mod check;
mod compiled;
mod error;
mod filter;
pub mod functions;
mod graph;
mod hash_index;
mod hfta;
mod interp;
pub mod ledger;
pub mod lfta;
pub mod live;
mod memory;
mod packet;
mod run;
mod setup;
mod sink;
mod source;
mod tuple;
mod wanted;
mod window;

#[cfg(test)]
mod testing;

pub use block::Block;
pub use compiled::{CompiledLfta, NotCompiled, PathsWanted};
pub use error::EngineError;
pub use filter::PacketFilter;
pub use interp::WalkEnd;
pub use ledger::{CaptureDamage, Imbalance, Ledger};
pub use lfta::{Ahead, AheadCounters, LftaBackend, Readers, ReferenceLfta};
pub use memory::{Memory, MemoryExceeded};
pub use packet::{Packet, PacketBatch};
pub use run::{
    Backend, CUT_BYTES_MIN, LftaSetup, MakeLfta, Progress, RANGE_BYTES, RunEnd, RunOptions,
    RunReport, machine_code, may_cut_store, run,
};
pub use setup::SetupError;
pub use sink::{RowSink, SinkError};
pub use source::{Capture, Captures, IndexedPart, Source};
pub use tuple::{Message, Tuple};
pub use wanted::index_wanted;
