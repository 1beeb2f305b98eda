//! T3: packets and bytes per destination and second, as rows.

use std::io::{self, Write};
use std::net::Ipv6Addr;

use super::capture::{Record, Task};
use super::packet::{self, Addresses};
use super::table::{Key, Ordered, Slot, fold_multiply};

/// A destination. Version 4 as a number that no address of version 6 is: its first half is all ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Destination([u64; 2]);

const V4: u64 = u64::MAX;

impl Key for Destination {
    #[inline(always)]
    fn hash(&self) -> u64 {
        fold_multiply(self.0[0], self.0[1])
    }
}

/// The groups of one second.
#[derive(Clone, Debug)]
struct Window {
    second: u32,
    groups: Vec<Slot<Destination>>,
}

/// Packets whose places in the index are asked for before the first of them is looked up.
const BATCH_LEN: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    destination: Destination,
    hash: u64,
    len: u32,
}

/// Packets and bytes per second and destination.
#[derive(Clone, Debug, Default)]
pub struct Seconds {
    pending: [Pending; BATCH_LEN],
    waiting: usize,
    /// The open window.
    table: Ordered<Destination>,
    second: Option<u32>,
    /// The first window of a part of a file: the part before may have its beginning.
    first: Option<Window>,
    /// Whether the first window has been closed.
    first_closed: bool,
    /// Rows of closed windows.
    rows: Vec<u8>,
    /// Whether this task sees the file from its beginning, so that rows may leave at once.
    whole: bool,
    /// Whether the names of the columns have left.
    headed: bool,
}

impl Seconds {
    /// A task that sees the file from its beginning.
    pub fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }

    #[cold]
    #[inline(never)]
    fn advance(&mut self, second: u32) {
        self.close();
        self.second = Some(second);
    }

    #[inline]
    fn settle(&mut self) {
        for p in &self.pending[..self.waiting] {
            self.table.add(p.destination, p.hash, 1, u64::from(p.len));
        }
        self.waiting = 0;
    }

    fn close(&mut self) {
        self.settle();
        let Some(second) = self.second else { return };
        if self.whole || self.first_closed {
            write_rows(&mut self.rows, second, self.table.groups());
            self.table.clear();
        } else {
            self.first = Some(Window { second, groups: self.table.take() });
            self.first_closed = true;
        }
    }

    /// Takes the groups of a window that is the open one or later.
    fn continue_with(&mut self, second: u32, groups: &[Slot<Destination>]) {
        if self.second != Some(second) {
            self.advance(second);
        }
        for slot in groups {
            self.table.add(slot.key, slot.key.hash(), slot.packets, slot.bytes);
        }
    }
}

impl Task for Seconds {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let Some(ip) = packet::ip(record.data, record.len) else { return };
        let destination = match ip.addresses {
            Addresses::V4(&[_, _, _, _, a, b, c, d]) => {
                Destination([V4, u64::from(u32::from_be_bytes([a, b, c, d]))])
            }
            Addresses::V6(addresses) => {
                let (words, _) = addresses.as_chunks::<8>();
                Destination([u64::from_be_bytes(words[2]), u64::from_be_bytes(words[3])])
            }
        };
        if self.second != Some(record.seconds) {
            // A packet of an earlier second is late: its window is closed.
            if self.second.is_some_and(|open| record.seconds < open) {
                return;
            }
            self.advance(record.seconds);
        }
        let hash = destination.hash();
        self.table.prefetch(hash);
        self.pending[self.waiting] = Pending { destination, hash, len: record.len };
        self.waiting += 1;
        if self.waiting == BATCH_LEN {
            self.settle();
        }
    }

    fn merge(&mut self, mut later: Self) {
        self.settle();
        later.settle();
        if let Some(first) = later.first.take() {
            self.continue_with(first.second, &first.groups);
            self.close();
            self.rows.append(&mut later.rows);
            self.table = later.table;
            self.second = later.second;
        } else if let Some(second) = later.second {
            self.continue_with(second, later.table.groups());
        }
    }

    fn drain(&mut self, output: &mut dyn Write) -> io::Result<()> {
        if !self.whole {
            return Ok(());
        }
        if !self.headed {
            output.write_all(HEAD)?;
            self.headed = true;
        }
        output.write_all(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    fn finish(mut self, output: &mut dyn Write) -> io::Result<()> {
        self.close();
        if !self.headed {
            output.write_all(HEAD)?;
        }
        let mut beginning = Vec::new();
        if let Some(first) = self.first {
            write_rows(&mut beginning, first.second, &first.groups);
        }
        output.write_all(&beginning)?;
        output.write_all(&self.rows)
    }
}

const HEAD: &[u8] = b"second,destIP,packets,bytes\n";

fn write_rows(rows: &mut Vec<u8>, second: u32, groups: &[Slot<Destination>]) {
    let mut prefix = Vec::with_capacity(11);
    number(&mut prefix, u64::from(second));
    prefix.push(b',');
    for slot in groups {
        rows.extend_from_slice(&prefix);
        let [high, low] = slot.key.0;
        if high == V4 {
            for (place, byte) in (low as u32).to_be_bytes().into_iter().enumerate() {
                if place > 0 {
                    rows.push(b'.');
                }
                number(rows, u64::from(byte));
            }
        } else {
            let address = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
            // A vector takes everything.
            let _ = write!(rows, "{address}");
        }
        rows.push(b',');
        number(rows, slot.packets);
        rows.push(b',');
        number(rows, slot.bytes);
        rows.push(b'\n');
    }
}

/// Appends a decimal number.
#[inline]
fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
