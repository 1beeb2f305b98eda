//! The low-level part of every query: what runs next to the interface, over packets.

pub(crate) mod aggregate;
mod reference;
mod select;
mod table;

#[cfg(test)]
mod tests;

pub use reference::ReferenceLfta;

use crate::error::EngineError;
use crate::ledger::{PacketCounters, TupleCounters};
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::tuple::Message;

/// A running LFTA program: one interface, all queries of the batch.
///
/// The reference interpreter defines what comes out, and every other backend sends the same messages for the same
/// packets: tuples of a query in the order given here, its punctuation in-band behind them.
pub trait LftaBackend {
    /// Takes packets in order. `ordinal` is that of the first one, and grows from packet to packet over all interfaces of the
    /// run; `out` is called with the query and what it sends. Tables that grow are charged to `memory`.
    ///
    /// # Errors
    /// The groups need more memory than the run may take.
    fn batch(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), EngineError>;

    /// Sends the punctuation of one query that follows from "no later packet is stamped before `time_ns`"; an aggregation
    /// closes its windows by it first.
    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message));

    /// No more packets: ejects what is held and ends every query's stream.
    fn finish(&mut self, out: &mut dyn FnMut(u32, Message));

    /// What became of the packets.
    fn packets(&self) -> PacketCounters;

    /// What became of the tuples of a query.
    fn tuples(&self, query: u32) -> TupleCounters;
}
