//! The low-level part of every query: what runs next to the interface, over packets.

pub(crate) mod aggregate;
mod reference;
mod select;
mod table;

#[cfg(test)]
mod tests;

pub use reference::ReferenceLfta;

use crate::compiled::CompiledLfta;
use crate::error::EngineError;
use wt_plan::ir::{Exprs, Qual};

use crate::ledger::{PacketCounters, TupleCounters};
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::tuple::Message;

/// The quals of the one operator that reads a selection. A backend may apply them before it makes tuples.
#[derive(Clone, Debug)]
pub struct Ahead<'a> {
    /// Over the columns of the selection.
    pub exprs: &'a Exprs,
    /// In order.
    pub quals: &'a [Qual],
    /// Columns that the operator reads when its quals are applied for it.
    pub columns: Vec<u32>,
}

/// What is known, by query of a program, of those who read its tuples; nothing of queries that a list does not reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readers<'a> {
    /// Whether partial groups must be the same in every run.
    pub fixed: &'a [bool],
    /// What a backend may do for the one reader.
    pub ahead: &'a [Option<Ahead<'a>>],
    /// Whether they ask in no order for tuples: the ordinals of these may all be that of the first.
    pub free: &'a [bool],
}

impl Readers<'_> {
    /// Whether the partial groups of a query must be the same in every run.
    pub(crate) fn is_fixed(&self, query: usize) -> bool {
        self.fixed.get(query).copied().unwrap_or_default()
    }

    /// Whether the tuples of a query are asked for in no order.
    pub(crate) fn are_free(&self, query: usize) -> bool {
        self.free.get(query).copied().unwrap_or_default()
    }
}

/// Tuples that a backend has judged in the place of an operator: each counts as sent, and as taken in by the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AheadCounters {
    /// A qual was false.
    pub filtered: u64,
    /// A referenced value is not there.
    pub absent: u64,
    /// A partial operation failed.
    pub failed: u64,
}

impl std::ops::AddAssign for AheadCounters {
    fn add_assign(&mut self, other: Self) {
        self.filtered += other.filtered;
        self.absent += other.absent;
        self.failed += other.failed;
    }
}

impl AheadCounters {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.filtered + self.absent + self.failed
    }
}

/// The ordinals of the packets of a batch.
#[derive(Clone, Copy)]
pub(crate) struct BatchOrdinals<'a> {
    pub(crate) first: u64,
    /// What those of each packet are beyond `first`; nothing where one follows the other.
    pub(crate) places: Option<&'a [u16]>,
}

impl BatchOrdinals<'_> {
    /// What a packet's ordinal is beyond `first`, by its index in the batch.
    #[inline]
    pub(crate) fn place(&self, index: u64) -> u64 {
        self.places.map_or(index, |places| u64::from(places[index as usize]))
    }

    /// The ordinal of a packet by its index in the batch.
    #[inline]
    pub(crate) fn of(&self, index: u64) -> u64 {
        self.first + self.place(index)
    }
}

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

    /// As [`Self::batch`], of packets among those of other interfaces: `places` are ascending, one for each packet, and what its ordinal is beyond
    /// `ordinal`. `out` is also told the place of the packet that a message follows, in the order of places.
    ///
    /// # Errors
    /// As [`Self::batch`].
    fn batch_among(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        places: &[u16],
        memory: &mut Memory,
        out: &mut dyn FnMut(u16, u32, Message),
    ) -> Result<(), EngineError> {
        for (record, &place) in batch.records.iter().zip(places) {
            let one = PacketBatch { records: std::slice::from_ref(record), ..*batch };
            let mut send = |query, message| out(place, query, message);
            self.batch(&one, ordinal + u64::from(place), memory, &mut send)?;
        }
        Ok(())
    }

    /// Sends the punctuation of one query that follows from "no later packet is stamped before `time_ns`"; an aggregation
    /// closes its windows by it first.
    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message));

    /// No more packets: ejects what is held and ends every query's stream.
    fn finish(&mut self, out: &mut dyn FnMut(u32, Message));

    /// Whether a query that aggregates sends each group of a window once, in the order of first packets, when the window closes: no
    /// table ejects.
    fn sends_whole_groups(&self, _query: u32) -> bool {
        false
    }

    /// The compiled backend, if it is this one: it can take in what others have made of ranges of the packets.
    fn as_compiled(&mut self) -> Option<&mut CompiledLfta> {
        None
    }

    /// Whether the quals of a query's reader are applied here ([`Ahead`]): it need not apply them, and columns that only they read are
    /// empty.
    fn judges_ahead(&self, _query: u32) -> bool {
        false
    }

    /// What became of the tuples of a query that met the quals of its reader already ([`Ahead`]).
    fn ahead(&self, _query: u32) -> AheadCounters {
        AheadCounters::default()
    }

    /// What became of the packets.
    fn packets(&self) -> PacketCounters;

    /// What became of the tuples of a query.
    fn tuples(&self, query: u32) -> TupleCounters;
}
