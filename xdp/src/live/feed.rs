//! The sockets by which programs send packets to the host, where packets end in the driver.

use std::time::Duration;

use super::XdpOptions;
use super::program::Program;
use crate::codegen::{Disposition, FeedBy};
use crate::decode::PacketRecord;
use crate::host;
use crate::loader::MapAccess;
use crate::xdp_socket::{Shape, SocketError, Sockets, Statistics};

/// Queues that a program has room for: of cards that have more, nobody uses all.
const QUEUES_MAX: u32 = 256;

/// Bytes of an Ethernet header with two VLAN tags.
const LINK_BYTES_MAX: u32 = 14 + 2 * 4;

/// How long a queue is waited for that another socket has. One that was just closed is free after some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// The sockets of an interface, as long as programs send packets by them.
#[derive(Default)]
pub(super) struct Feed {
    sockets: Option<Sockets>,
    /// Why there are none, though packets would go by them.
    refused: Option<SocketError>,
    /// Of sockets that are closed.
    closed: Statistics,
    /// Number of the program that was made last.
    number: u32,
}

impl Feed {
    /// How a program is to send packets of which it looks at so many bytes; sockets are opened when they are needed first. They can be had only where
    /// frames end in the driver.
    pub(super) fn by(
        &mut self,
        (device, ifindex): (&str, u32),
        options: &XdpOptions,
        snap_bytes: u32,
    ) -> FeedBy {
        if options.disposition != Disposition::Drop {
            return FeedBy::Ring;
        }
        if self.sockets.is_none() {
            // Where a program runs already, its packets do not wait.
            let patience = if self.number == 0 { PATIENCE } else { Duration::ZERO };
            match open((device, ifindex), options, snap_bytes, patience) {
                Ok(sockets) => (self.sockets, self.refused) = (Some(sockets), None),
                Err(error) => self.refused = Some(error),
            }
        }
        self.sockets.as_ref().map_or(FeedBy::Ring, |sockets| FeedBy::Sockets {
            queues: QUEUES_MAX,
            bytes_max: sockets.bytes_max(),
        })
    }

    /// Why packets do not go by sockets, though they end in the driver.
    pub(super) fn refused(&self) -> Option<&SocketError> {
        self.refused.as_ref()
    }

    /// The same, which is then forgotten.
    pub(super) fn take_refused(&mut self) -> Option<SocketError> {
        self.refused.take()
    }

    /// Receive queues that have a socket.
    pub(super) fn queues(&self) -> u32 {
        self.sockets.as_ref().map_or(0, |sockets| sockets.by_queue().count() as u32)
    }

    /// A number that no other program's frames carry.
    pub(super) fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Gives a program the sockets that it sends by.
    pub(super) fn join(&self, program: &Program) -> Result<(), MapAccess> {
        let Some(sockets) = self.sockets.as_ref().filter(|_| program.has_sockets()) else {
            return Ok(());
        };
        sockets.by_queue().try_for_each(|(queue, socket)| program.loaded.set_socket(queue, socket))
    }

    /// Opens the sockets of a program anew, for an interface that has come back; what the old ones had must have been taken.
    pub(super) fn open_again(
        &mut self,
        (device, ifindex): (&str, u32),
        options: &XdpOptions,
        program: &Program,
    ) -> Result<(), SocketError> {
        self.closed = self.statistics();
        // Of a queue there is one socket at a time.
        self.sockets = None;
        if program.has_sockets() {
            self.sockets =
                Some(open((device, ifindex), options, program.snap_bytes, Duration::ZERO)?);
        }
        Ok(())
    }

    /// Takes what has come, each packet with the number of its program; how many.
    pub(super) fn drain(&mut self, take: impl FnMut(u32, &PacketRecord<'_>)) -> usize {
        self.sockets.as_mut().map_or(0, |sockets| sockets.drain(take))
    }

    /// As [`Self::drain`]; each packet with its queue and the number of its program.
    pub(super) fn drain_queues(&mut self, take: impl FnMut(u32, u32, &PacketRecord<'_>)) -> usize {
        self.sockets.as_mut().map_or(0, |sockets| sockets.drain_queues(take))
    }

    /// What the kernel has counted since the beginning.
    pub(super) fn statistics(&self) -> Statistics {
        let now = self.sockets.as_ref().map_or(Statistics::default(), Sockets::statistics);
        Statistics {
            no_frame: self.closed.no_frame + now.no_frame,
            ring_full: self.closed.ring_full + now.ring_full,
        }
    }
}

fn open(
    (device, ifindex): (&str, u32),
    options: &XdpOptions,
    snap_bytes: u32,
    patience: Duration,
) -> Result<Sockets, SocketError> {
    let facts = host::interface(device).ok();
    let channels = facts.as_ref().and_then(|facts| facts.channels);
    // No packet is longer, but for what cards and the stack put together, which takes several frames.
    let longest = facts.and_then(|facts| facts.mtu?.checked_add(LINK_BYTES_MAX));
    let shape = Shape {
        queues: channels.map_or(1, |channels| channels.receive).min(QUEUES_MAX),
        bytes: options.ring_bytes.into(),
        snap_bytes: snap_bytes.min(longest.unwrap_or(u32::MAX)),
    };
    Sockets::open(ifindex, &shape, options.broker.as_ref(), patience)
}
