//! The part of the packet books that only live interfaces have.

/// What is counted of a live interface beside its records: `seen = records + unread + kernel_dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveLedger {
    /// Packets that the kernel says it had for us.
    pub seen: u64,
    /// Packets that the kernel gave up because its ring was full.
    pub kernel_dropped: u64,
    /// Packets that came to us behind the last one asked for (`--packets`).
    pub unread: u64,
    /// Packets whose stamp was moved up to that of the packet before: stamps are taken on several processors a moment before the
    /// ring puts packets in order.
    pub restamped: u64,
    /// Times that the link was down or the interface away.
    pub gaps: u64,
    /// How long in all, ns.
    pub gap_ns: u64,
    /// The first gaps, at most [`LiveLedger::GAPS_LISTED_MAX`].
    pub gaps_listed: Vec<Gap>,
    /// Packets that were counted like all others and then dropped by the block list; the rest went on to the host, or ended at a dedicated port.
    pub blocked: u64,
    /// Packets that a program in the driver gave to AF_XDP sockets, for queries on the host.
    pub redirected: Redirected,
    /// What the driver of a port of DPDK has counted.
    pub port: Option<PortCounters>,
    /// Times that the way to the operators was full.
    pub ring_full: u64,
}

/// What became of packets that a program in the driver gave to AF_XDP sockets: each came, was dropped by the kernel, or is
/// under way. Those that were dropped are lost to the queries on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirected {
    /// Packets given to sockets.
    pub packets: u64,
    /// Packets that came.
    pub received: u64,
    /// Packets dropped as no frame was free, or as they are longer than one.
    pub no_frame: u64,
    /// Packets dropped as the ring of received frames was full.
    pub ring_full: u64,
}

impl Redirected {
    /// Packets that nobody has counted yet. At the end of a run, those that went with an interface that was deleted.
    pub const fn under_way(&self) -> u64 {
        self.packets.saturating_sub(self.received + self.no_frame + self.ring_full)
    }
}

/// What the driver of a port of DPDK has counted (`rte_eth_stats`). Each packet that reached the port is in one of the first four, and those that were
/// received came to us, or lay in the port's queues when it was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Packets received (`ipackets`).
    pub received: u64,
    /// Packets dropped as the queues were full (`imissed`).
    pub missed: u64,
    /// Packets dropped as they were faulty, or too long (`ierrors`).
    pub errors: u64,
    /// Packets dropped as there was no buffer for them (`rx_nombuf`).
    pub no_buffer: u64,
    /// Packets received that were in the queues when the port was stopped.
    pub left: u64,
}

impl PortCounters {
    /// Packets that reached the port.
    pub const fn seen(&self) -> u64 {
        self.received + self.missed + self.errors + self.no_buffer
    }

    /// Of those, the ones that did not come to us.
    pub const fn dropped(&self) -> u64 {
        self.missed + self.errors + self.no_buffer + self.left
    }
}

impl std::ops::AddAssign for PortCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { received, missed, errors, no_buffer, left } = other;
        self.received += received;
        self.missed += missed;
        self.errors += errors;
        self.no_buffer += no_buffer;
        self.left += left;
    }
}

/// A time without link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was noticed, ns since the epoch.
    pub from_ns: u64,
    /// When the link was back, or the run over.
    pub to_ns: u64,
}

impl LiveLedger {
    /// Gaps listed one by one; the others are counted.
    pub const GAPS_LISTED_MAX: usize = 32;

    /// Enters a gap.
    pub(crate) fn enter(&mut self, gap: Gap) {
        self.gaps += 1;
        self.gap_ns += gap.to_ns.saturating_sub(gap.from_ns);
        if self.gaps_listed.len() < Self::GAPS_LISTED_MAX {
            self.gaps_listed.push(gap);
        }
    }
}
