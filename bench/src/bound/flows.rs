//! T4: TCP flows.

use std::io::{self, Write};

use super::capture::{Record, Task};
use super::count::Totals;
use super::packet::{self, Addresses};
use super::table::{Key, Table, fold_multiply};

/// A flow over IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow4 {
    /// Source and destination.
    addresses: u64,
    /// Source and destination, and a bit that no flow lacks.
    ports: u64,
}

/// Set in every key: a table knows empty slots by their zeros.
const PRESENT: u64 = 1 << 32;

impl Key for Flow4 {
    #[inline(always)]
    fn hash(&self) -> u64 {
        fold_multiply(self.addresses, self.ports)
    }
}

/// A flow over IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow6 {
    addresses: [u64; 4],
    ports: u64,
}

impl Key for Flow6 {
    #[inline(always)]
    fn hash(&self) -> u64 {
        let [a, b, c, d] = self.addresses;
        fold_multiply(fold_multiply(a, b) ^ self.ports, fold_multiply(c, d))
    }
}

/// Packets whose slots are asked for before the first of them is looked up: enough to cover a miss of memory.
const BATCH_LEN: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    flow: Flow4,
    hash: u64,
    len: u32,
}

/// Packets and bytes per source and destination, addresses and ports.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    v4: Table<Flow4>,
    v6: Table<Flow6>,
    pending: [Pending; BATCH_LEN],
    waiting: usize,
}

impl Flows {
    #[inline]
    fn settle(&mut self) {
        for p in &self.pending[..self.waiting] {
            self.v4.add(p.flow, p.hash, 1, u64::from(p.len));
        }
        self.waiting = 0;
    }
}

impl Task for Flows {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let Some(ip) = packet::ip(record.data, record.len) else { return };
        let Some(tcp) = ip.tcp() else { return };
        let [a, b, c, d, ..] = *tcp.head;
        let ports = PRESENT | u64::from(u32::from_be_bytes([a, b, c, d]));
        match ip.addresses {
            Addresses::V4(addresses) => {
                let flow = Flow4 { addresses: u64::from_ne_bytes(*addresses), ports };
                let hash = flow.hash();
                self.v4.prefetch(hash);
                self.pending[self.waiting] = Pending { flow, hash, len: record.len };
                self.waiting += 1;
                if self.waiting == BATCH_LEN {
                    self.settle();
                }
            }
            Addresses::V6(addresses) => {
                let (words, _) = addresses.as_chunks::<8>();
                let addresses = std::array::from_fn(|i| u64::from_ne_bytes(words[i]));
                let flow = Flow6 { addresses, ports };
                self.v6.add(flow, flow.hash(), 1, u64::from(record.len));
            }
        }
    }

    fn merge(&mut self, mut later: Self) {
        self.settle();
        later.settle();
        // The smaller goes into the larger.
        if self.v4.count() < later.v4.count() {
            std::mem::swap(&mut self.v4, &mut later.v4);
        }
        for slot in later.v4.groups() {
            self.v4.add(slot.key, slot.key.hash(), slot.packets, slot.bytes);
        }
        for slot in later.v6.groups() {
            self.v6.add(slot.key, slot.key.hash(), slot.packets, slot.bytes);
        }
    }

    fn finish(mut self, output: &mut dyn Write) -> io::Result<()> {
        self.settle();
        let mut totals = Totals::default();
        self.v4.groups().for_each(|s| totals.merge(Totals { packets: s.packets, bytes: s.bytes }));
        self.v6.groups().for_each(|s| totals.merge(Totals { packets: s.packets, bytes: s.bytes }));
        let flows = self.v4.count() + self.v6.count();
        writeln!(output, "flows,packets,bytes\n{flows},{},{}", totals.packets, totals.bytes)
    }
}
