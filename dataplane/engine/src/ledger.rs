//! The books of a run (design: "Two ledgers"): what became of every packet and of every tuple. Both balance.
//!
//! **Packets**, per interface, are a partition: each packet read has one disposition. Beside it stand findings that do not
//! exclude each other: `malformed`, `too_deep`, … Of a live interface the kernel, or the driver of a port of DPDK, says what it saw: `seen = records + unread + kernel_dropped`.
//! Of captures with an index the index says what was left out: `records + skipped = packets`.
//!
//! **Tuples.** A query is offered every packet of its interface:
//! `offered = matched + filtered + absent + failed + late + lost`, `matched = output + held + merged`, and
//! `output = carried + shed`: what was sent has arrived at the operators or is counted as given up.
//! Through every operator `input + expanded = output + held + late + merged + filtered + absent + failed + limited`, and what goes
//! in is what the streams it reads put out.

mod balance;
mod live;
mod table;

pub use balance::Imbalance;
pub use live::{Gap, LiveLedger, PortCounters, Redirected};

use wt_wire::Damage;

use crate::lfta::AheadCounters;

/// What a backend counts of an interface's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounters {
    /// Packets taken.
    pub packets: u64,
    /// The path ended above a header that is cut off or fails its checks.
    pub malformed: u64,
    /// The path ended at a depth limit.
    pub too_deep: u64,
    /// No protocol starts with the link type: only `packet` fields.
    pub unknown_link_type: u64,
}

/// What became of the tuples of one query at an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleCounters {
    /// Packets of the interface.
    pub offered: u64,
    /// Qualified and taken.
    pub matched: u64,
    /// A qual was false, or the query's protocol is not in the packet.
    pub filtered: u64,
    /// A referenced field is not in the packet.
    pub absent: u64,
    /// A partial operation failed: a partial function, a division by zero.
    pub failed: u64,
    /// Behind the window by more than the tolerance.
    pub late: u64,
    /// Given up in the driver for want of room on the way to the host.
    pub lost: u64,
    /// Taken into a partial group that was there already.
    pub merged: u64,
    /// Partial groups that had to leave the table before their window closed; part of `output`.
    pub ejected: u64,
    /// Tuples or partial groups sent on.
    pub output: u64,
    /// Partial groups in the table.
    pub held: u64,
}

impl std::ops::AddAssign for PacketCounters {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.malformed += other.malformed;
        self.too_deep += other.too_deep;
        self.unknown_link_type += other.unknown_link_type;
    }
}

impl std::ops::AddAssign for TupleCounters {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.matched += other.matched;
        self.filtered += other.filtered;
        self.absent += other.absent;
        self.failed += other.failed;
        self.late += other.late;
        self.lost += other.lost;
        self.merged += other.merged;
        self.ejected += other.ejected;
        self.output += other.output;
        self.held += other.held;
    }
}

/// What became of the tuples in one operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorCounters {
    /// Tuples taken in.
    pub input: u64,
    /// Tuples made beyond those taken in: further CUBE patterns of one tuple, the one row over nothing.
    pub expanded: u64,
    /// Tuples sent on.
    pub output: u64,
    /// Tuples, groups or rows kept.
    pub held: u64,
    /// Behind the frontier by more than the tolerance: dropped.
    pub late: u64,
    /// Taken into a group or row that was there already, or into the count of a window's packets.
    pub merged: u64,
    /// A qual or HAVING was false.
    pub filtered: u64,
    /// A referenced value is not there.
    pub absent: u64,
    /// A partial operation failed.
    pub failed: u64,
    /// Beyond the LIMIT of their window.
    pub limited: u64,
}

impl std::ops::AddAssign for OperatorCounters {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.expanded += other.expanded;
        self.output += other.output;
        self.held += other.held;
        self.late += other.late;
        self.merged += other.merged;
        self.filtered += other.filtered;
        self.absent += other.absent;
        self.failed += other.failed;
        self.limited += other.limited;
    }
}

impl OperatorCounters {
    /// With tuples that a backend has judged in the operator's place.
    pub(crate) fn with_ahead(self, ahead: AheadCounters) -> Self {
        Self {
            input: self.input + ahead.total(),
            filtered: self.filtered + ahead.filtered,
            absent: self.absent + ahead.absent,
            failed: self.failed + ahead.failed,
            ..self
        }
    }
}

/// Packets of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceLedger {
    /// Interface name.
    pub name: String,
    /// Records read from its captures.
    pub records: u64,
    /// Sum of their lengths on the wire, bytes.
    pub wire_bytes: u64,
    /// Sum of their captured lengths, bytes.
    pub captured_bytes: u64,
    /// Disposition: given to the queries. The only one for captures.
    pub processed: u64,
    /// What was found in them.
    pub packets: PacketCounters,
    /// Records with fewer captured bytes than the packet had on the wire.
    pub truncated: u64,
    /// Captures that broke off.
    pub damage: Vec<CaptureDamage>,
    /// What is counted of a live interface beside its records.
    pub live: Option<LiveLedger>,
    /// What indices have left out of its captures, where they have.
    pub index: Option<IndexLedger>,
}

/// What indices have left out of captures, as no query needs it: `records + skipped = packets`. Queries are not offered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexLedger {
    /// Segments that were read, and all that there are; of traces none.
    pub segments: (u64, u64),
    /// Blocks that were read, and all of the indices that were looked at.
    pub blocks: (u64, u64),
    /// Bytes that were read, and all that there are.
    pub bytes: (u64, u64),
    /// Packets in what was left out, as indices and the ends of segments say.
    pub skipped: u64,
    /// Packets in all of it, as these say. Nothing where they cannot: not all is indexed, something is damaged, or the run ended early.
    pub packets: Option<u64>,
}

/// Where a capture broke off. What precedes it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureDamage {
    /// Name of the capture.
    pub capture: String,
    /// Offset and kind.
    pub damage: Damage,
}

/// Tuples of one query at one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryLedger {
    /// Stream name.
    pub name: String,
    /// Interface name.
    pub interface: String,
    /// The counts.
    pub tuples: TupleCounters,
    /// Packets that came while the batch did not have the query (live runs only).
    pub outside: u64,
    /// Of those sent on, the ones that arrived at the operators.
    pub carried: u64,
    /// Of those sent on, the ones given up because the operators did not keep up (live runs only).
    pub shed: u64,
}

/// Tuples through one operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorLedger {
    /// Stream name.
    pub name: String,
    /// What it does: `select`, `aggregate`, `session`, `merge`, `distinct`, `sort`.
    pub kind: &'static str,
    /// What the streams that it reads have put out.
    pub fed: u64,
    /// The counts.
    pub tuples: OperatorCounters,
}

/// Rows of one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputLedger {
    /// Query name.
    pub query: String,
    /// What its stream has put out.
    pub fed: u64,
    /// Rows taken by the sink.
    pub rows: u64,
    /// Rows that the sink did not take because nobody read it any more.
    pub unsent: u64,
}

/// All books of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Packets, by interface.
    pub interfaces: Vec<InterfaceLedger>,
    /// Tuples of the queries next to the interfaces.
    pub queries: Vec<QueryLedger>,
    /// Tuples through the operators above.
    pub operators: Vec<OperatorLedger>,
    /// Rows that left.
    pub outputs: Vec<OutputLedger>,
}

impl Ledger {
    /// Tuples dropped because they were late, anywhere.
    pub fn late(&self) -> u64 {
        let queries = self.queries.iter().map(|query| query.tuples.late);
        queries.chain(self.operators.iter().map(|operator| operator.tuples.late)).sum()
    }

    /// Tuples given up because the operators did not keep up.
    pub fn shed(&self) -> u64 {
        self.queries.iter().map(|query| query.shed).sum()
    }

    /// Tuples given up in the driver for want of room on the way to the host.
    pub fn lost(&self) -> u64 {
        self.queries.iter().map(|query| query.tuples.lost).sum()
    }

    /// Packets that the kernel, or the driver of a port of DPDK, gave up because the capture did not keep up.
    pub fn kernel_dropped(&self) -> u64 {
        self.interfaces.iter().filter_map(|i| i.live.as_ref()).map(|l| l.kernel_dropped).sum()
    }

    /// Packets read.
    pub fn records(&self) -> u64 {
        self.interfaces.iter().map(|interface| interface.records).sum()
    }

    /// Every capture that broke off, with its interface.
    pub fn damage(&self) -> impl Iterator<Item = (&str, &CaptureDamage)> {
        self.interfaces.iter().flat_map(|interface| {
            interface.damage.iter().map(|damage| (interface.name.as_str(), damage))
        })
    }
}
