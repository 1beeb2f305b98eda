//! What a live run takes packets from: the capture owner of one interface.

use std::io;
use std::time::Duration;

use wt_wire::RecordRef;

use crate::error::EngineError;
use crate::ledger::{IndexLedger, PacketCounters, PortCounters, Redirected, TupleCounters};
use crate::packet::PacketBatch;
use crate::run::LftaSetup;
use crate::tuple::Message;

/// What takes packets, batch by batch.
pub type TakePackets<'a> = dyn FnMut(&PacketBatch<'_>) -> Result<(), EngineError> + 'a;

/// Packets that a source which waits ([`LiveSource::waits`]) gives at once, at most.
pub const WAITING_PACKETS_MAX: usize = 256;

/// The capture owner of one interface: a packet socket, an AF_XDP socket, a program in the driver, a port of DPDK.
///
/// Time stamps are those of the kernel's clock, in ns since the epoch, and never step back by less than the skew (see
/// [`StampOrder`]). An interface that goes away and comes back is picked up again by the owner.
pub trait LiveSource: Send {
    /// LINKTYPE_ number of the packets to come, as far as is known now.
    fn link_type(&self) -> u16;

    /// Waits for packets, for at most `timeout`, and gives those that have come to `take`, in order.
    ///
    /// # Errors
    /// Those of `take`; [`EngineError::Capture`] when there is no way on.
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError>;

    /// Whether packets can come now. Asked again and again, also while packets come; an owner need not look each time.
    fn link(&mut self) -> Link;

    /// Lets nothing more in. [`Self::poll`] still gives what has come already, then says [`Polled::Ended`].
    ///
    /// # Errors
    /// What the operating system says.
    fn stop(&mut self) -> io::Result<()>;

    /// Whether its packets can wait: they lie in a store. It is then asked only while there is room for what comes of them, so that nothing is given
    /// up, and gives at most [`WAITING_PACKETS_MAX`] packets at once.
    fn waits(&self) -> bool {
        false
    }

    /// What has been counted since the beginning.
    fn counters(&mut self) -> SourceCounters;

    /// Makes ready for another program of the interface; nothing changes yet.
    ///
    /// # Errors
    /// It cannot be captured for.
    fn prepare(&mut self, _setup: &LftaSetup<'_>) -> Result<(), EngineError> {
        Ok(())
    }

    /// What runs queries before their packets come here.
    fn driver(&mut self) -> Option<&mut dyn LiveDriver> {
        None
    }
}

/// What runs queries of an interface where its packets do not come to the host: a program in the driver. The source that it belongs to gives
/// the packets that the other queries may want, and no others.
pub trait LiveDriver {
    /// The queries that run there, by their numbers in the interface's program.
    fn queries(&self) -> &[u32];

    /// Gives what these have sent since the last time.
    fn take(&mut self, out: &mut dyn FnMut(u32, Message));

    /// Sends the punctuation of one of them that follows from "no later packet is stamped before `time_ns`", a time that the source has told.
    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message));

    /// The queries that would run there of the program that was made ready ([`LiveSource::prepare`]).
    fn queries_ready(&self) -> &[u32];

    /// Puts the program that was made ready in the place of the one that runs: each packet is seen by one of them. Gives what the old one has
    /// left, packets to `packets`; what it has counted is told until [`Self::begin`].
    ///
    /// # Errors
    /// Those of `packets`; there is no way on.
    fn replace(&mut self, packets: &mut TakePackets<'_>) -> Result<(), EngineError>;

    /// Forgets the old program.
    fn begin(&mut self);

    /// What the program has counted.
    fn counters(&self) -> DriverCounters;

    /// What became of the tuples of one of its queries.
    fn tuples(&self, query: u32) -> TupleCounters;
}

/// What a program in the driver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// What it found.
    pub packets: PacketCounters,
    /// Lengths of all packets, bytes.
    pub bytes: u64,
    /// Packets given to the host's queries.
    pub given: u64,
    /// Packets that the host's queries may have wanted, and did not get: there was no room, or no way to look at them.
    pub lost: u64,
    /// Packets that were dropped by the block list, behind all queries.
    pub blocked: u64,
}

/// What came of a look for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Packets were given.
    Packets,
    /// There are none that had been stamped, and passed on, by this time of the kernel's clock.
    Idle {
        /// The clock before it was found that nothing is there, ns since the epoch.
        as_of_ns: u64,
    },
    /// Nothing more comes: the source was stopped and all is given.
    Ended,
}

/// Whether packets can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The interface is there and up.
    Up,
    /// The interface is there and down.
    Down,
    /// There is no interface of that name now.
    Gone,
}

/// What a source counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// Packets that the kernel, or the driver of a port of DPDK, had for us.
    pub seen: u64,
    /// Of those, given up there for want of room.
    pub dropped: u64,
    /// Packets whose stamp was moved up.
    pub restamped: u64,
    /// What was left out of a store, as no query needs it. It is not among those seen.
    pub index: Option<IndexLedger>,
    /// Packets that a program in the driver gave to sockets.
    pub redirected: Redirected,
    /// What the driver of a port of DPDK has counted.
    pub port: Option<PortCounters>,
}

/// Puts time stamps into the order of packets. Processors stamp packets a moment before the ring orders them, so neighbours may be a
/// little out of order, and a packet at the border of a window would be late for no reason. A stamp that is behind the one before
/// by no more than the skew takes the one before; a larger step is that of a clock, and stays.
#[derive(Clone, Copy, Debug)]
pub struct StampOrder {
    newest_ns: u64,
    skew_ns: u64,
    moved: u64,
}

impl StampOrder {
    /// No packet has come.
    pub fn new(skew_ns: u64) -> Self {
        Self { newest_ns: 0, skew_ns, moved: 0 }
    }

    /// Sets the stamp of the next packet.
    #[inline]
    pub fn apply(&mut self, record: &mut RecordRef) {
        if record.timestamp_ns >= self.newest_ns {
            self.newest_ns = record.timestamp_ns;
        } else if self.newest_ns - record.timestamp_ns <= self.skew_ns {
            record.timestamp_ns = self.newest_ns;
            self.moved += 1;
        }
    }

    /// How many stamps were moved.
    pub fn moved(&self) -> u64 {
        self.moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_moved_up_and_large_ones_stay() {
        let mut order = StampOrder::new(10);
        let mut stamps = Vec::new();
        for timestamp_ns in [100, 95, 89, 100, 101] {
            let mut record = RecordRef { timestamp_ns, ..RecordRef::EMPTY };
            order.apply(&mut record);
            stamps.push(record.timestamp_ns);
        }
        assert_eq!(stamps, [100, 100, 89, 100, 101]);
        assert_eq!(order.moved(), 1);
    }
}
