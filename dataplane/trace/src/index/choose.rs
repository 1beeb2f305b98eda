//! Which blocks are read: those that may have what is wanted, and those without which the order of packets would be another.
//!
//! Captures are merged by the stamps of their head records, and each keeps its own order. So a record comes no earlier than the latest stamp
//! before it in its capture, whether or not that is of a wanted packet: behind a step back of the clock, blocks that are left out would let
//! later ones come too early. Of what is left out, the last block with the latest stamp so far is therefore read as well where a wanted block
//! begins before that stamp, and at the end of the capture. Where stamps never step back that is the last block alone.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// How much of a capture is read, and how much is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Segments that are read, and all that there are; of traces none.
    pub segments: (u64, u64),
    /// Blocks that are read, and all that the indices have that were looked at.
    pub blocks: (u64, u64),
    /// Bytes that are read, and all that there are.
    pub bytes: (u64, u64),
    /// Packets in what is left out.
    pub packets_skipped: u64,
    /// Packets in all of it.
    pub packets: u64,
    /// Parts of which nobody knows how many packets they have without reading them.
    pub uncounted: u64,
}

impl Taken {
    /// Adds what is read of something else.
    pub fn add(&mut self, other: &Taken) {
        let add = |a: &mut (u64, u64), b: (u64, u64)| *a = (a.0 + b.0, a.1 + b.1);
        add(&mut self.segments, other.segments);
        add(&mut self.blocks, other.blocks);
        add(&mut self.bytes, other.bytes);
        self.packets_skipped += other.packets_skipped;
        self.packets += other.packets;
        self.uncounted += other.uncounted;
    }

    /// All of something of so many bytes, without an index.
    pub fn whole(bytes: u64) -> Self {
        Self { bytes: (bytes, bytes), uncounted: 1, ..Self::default() }
    }
}

/// How much is read, as it is: blocks that are not what was indexed change it.
#[derive(Clone, Debug, Default)]
pub struct Reading(Arc<Mutex<Taken>>);

impl Reading {
    /// Of this to begin with.
    pub fn new(taken: Taken) -> Self {
        Self(Arc::new(Mutex::new(taken)))
    }

    /// So far.
    pub fn taken(&self) -> Taken {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Taken)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A part of a capture that is read or left out as a whole: a block, or a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// Earliest and latest stamp; nothing where there is no packet.
    pub(crate) range_ns: Option<(u64, u64)>,
    /// It is read.
    pub(crate) is_read: bool,
}

/// Has read what the order of packets depends on.
pub(crate) fn keep_order(units: &mut [Unit]) {
    // The latest stamp before, of all and of what is read.
    let (mut of_all, mut of_read) = (0, 0);
    let mut holder = None;
    for at in 0..units.len() {
        let Unit { range_ns: Some((min_ns, max_ns)), is_read } = units[at] else { continue };
        if is_read {
            if of_all > of_read && of_all > min_ns {
                // It was read if it were not behind what is.
                if let Some(holder) = holder {
                    read(units, holder);
                }
                of_read = of_all;
            }
            of_read = of_read.max(max_ns);
        }
        if max_ns >= of_all {
            (of_all, holder) = (max_ns, Some(at));
        }
    }
    if let Some(holder) = holder.filter(|_| of_all > of_read) {
        read(units, holder);
    }
}

fn read(units: &mut [Unit], at: usize) {
    units[at].is_read = true;
}

/// A stretch of a trace that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it lies. It begins and ends where records do.
    pub range: Range<u64>,
    /// Its blocks: where each ends, and the CRC-32 of its bytes.
    pub(crate) blocks: Vec<(u64, u32)>,
}

/// A stretch that is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) blocks: u64,
}

/// What is read of a trace: its head, runs of blocks, and what is not indexed.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Bytes before the first block.
    pub(crate) head: u64,
    pub(crate) runs: Vec<Run>,
    /// Where what is not indexed begins; it goes on to the end, also when that moves.
    pub(crate) rest: u64,
    /// A block in the midst of it describes an interface, or begins a section.
    pub(crate) describes: bool,
    pub(super) gaps: Vec<Gap>,
    pub(super) taken: Taken,
}

impl Chosen {
    /// How much that is.
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// Bytes before the first block, the runs, and where what is not indexed begins.
    pub fn parts(&self) -> (u64, &[Run], u64) {
        (self.head, &self.runs, self.rest)
    }

    /// Whether a block is read.
    pub fn has_blocks(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Says that everything from an offset on is read, as a block there is not what was indexed.
    pub fn fall_back(&self, offset: u64, reading: &Reading) {
        reading.change(|taken| {
            for gap in self.gaps.iter().filter(|gap| gap.at >= offset) {
                taken.blocks.0 += gap.blocks;
                taken.bytes.0 += gap.bytes;
                taken.packets_skipped -= gap.packets;
            }
            // What the index says of it does not count any more.
            taken.uncounted += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which are read, of blocks with these stamps of which these are wanted.
    fn read_of(stamps: &[(u64, u64)], wanted: &[usize]) -> Vec<usize> {
        let unit = |(at, range): (usize, &(u64, u64))| Unit {
            range_ns: Some(*range),
            is_read: wanted.contains(&at),
        };
        let mut units: Vec<Unit> = stamps.iter().enumerate().map(unit).collect();
        keep_order(&mut units);
        (0..units.len()).filter(|at| units[*at].is_read).collect()
    }

    #[test]
    fn what_decides_the_order_is_read() {
        let rising = [(0, 9), (10, 19), (20, 29), (30, 39)];
        assert_eq!(read_of(&rising, &[1]), [1, 3]);
        assert_eq!(read_of(&rising, &[1, 3]), [1, 3]);
        assert_eq!(read_of(&rising, &[]), [3]);
        // A step back: what comes behind it waits for 99.
        let stepping = [(0, 9), (90, 99), (10, 19), (20, 29), (30, 39)];
        assert_eq!(read_of(&stepping, &[3]), [1, 3]);
        assert_eq!(read_of(&stepping, &[0]), [0, 1]);
        assert_eq!(read_of(&stepping, &[1, 3]), [1, 3]);
        // Of equal stamps the last.
        assert_eq!(read_of(&[(0, 9), (0, 9), (0, 9)], &[]), [2]);
        assert_eq!(read_of(&[(0, 50), (40, 50), (30, 60)], &[2]), [1, 2]);
        assert_eq!(read_of(&[], &[]), Vec::<usize>::new());
    }

    /// When records come, of captures merged by head stamps: the order of (stamp, capture, number) of those that are kept.
    fn merged(
        captures: &[Vec<Vec<u64>>],
        is_read: &dyn Fn(usize, usize) -> bool,
    ) -> Vec<(usize, usize, usize)> {
        let mut queues: Vec<std::collections::VecDeque<(u64, usize, usize)>> = captures
            .iter()
            .enumerate()
            .map(|(capture, blocks)| {
                let of = |(block, stamps): (usize, &Vec<u64>)| {
                    let stamps = stamps.iter().enumerate();
                    stamps.map(move |(n, stamp)| (*stamp, block, n)).collect::<Vec<_>>()
                };
                let read = blocks.iter().enumerate().filter(|(block, _)| is_read(capture, *block));
                read.flat_map(of).collect()
            })
            .collect();
        let mut order = Vec::new();
        loop {
            let heads = queues.iter().enumerate();
            let first = heads.filter_map(|(i, queue)| Some((queue.front()?.0, i))).min();
            let Some((_, capture)) = first else { return order };
            let (_, block, n) = queues[capture].pop_front().unwrap();
            order.push((capture, block, n));
        }
    }

    #[test]
    fn wanted_records_of_merged_captures_keep_their_order() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2000 {
            let captures: Vec<Vec<Vec<u64>>> = (0..3)
                .map(|_| {
                    let mut clock = 0;
                    (0..6)
                        .map(|_| {
                            clock = if random(4) == 0 { random(40) } else { clock };
                            (0..4)
                                .map(|_| {
                                    clock = (clock + random(5)).saturating_sub(random(3));
                                    clock
                                })
                                .collect()
                        })
                        .collect()
                })
                .collect();
            let wanted: Vec<Vec<bool>> =
                (0..3).map(|_| (0..6).map(|_| random(3) == 0).collect()).collect();
            let read: Vec<Vec<bool>> = captures
                .iter()
                .zip(&wanted)
                .map(|(blocks, wanted)| {
                    let unit = |(stamps, is_read): (&Vec<u64>, &bool)| Unit {
                        range_ns: stamps.iter().min().copied().zip(stamps.iter().max().copied()),
                        is_read: *is_read,
                    };
                    let mut units: Vec<Unit> = blocks.iter().zip(wanted).map(unit).collect();
                    keep_order(&mut units);
                    units.iter().map(|unit| unit.is_read).collect()
                })
                .collect();
            let only_wanted = |order: Vec<(usize, usize, usize)>| -> Vec<_> {
                order.into_iter().filter(|(capture, block, _)| wanted[*capture][*block]).collect()
            };
            let all = only_wanted(merged(&captures, &|_, _| true));
            let chosen = only_wanted(merged(&captures, &|capture, block| read[capture][block]));
            assert_eq!(all, chosen, "{captures:?}");
        }
    }
}
