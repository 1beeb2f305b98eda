//! Operations on columns: what many packets have in a field, and which of them pass a condition.
//!
//! They are loops without branches over arrays of short numbers, which the compiler makes into vectors as wide as the processor has. A condition gives
//! packets all bits or none, so that AND keeps the numbers of those that pass.

use std::fmt;

use wt_plan::vectors::PACKETS as LANES;

use super::RowWords;
use crate::compiled::plan::Joint;

/// Packets that columns have room for.
pub(in crate::compiled) const ROWS: usize = 512;
/// Words of the frame for a column of short numbers: a cache line more than it needs, so that the same place of several columns is not in the same set of
/// the cache.
pub(super) const COLUMN_WORDS: usize = ROWS / 4 + 8;
/// Bits of the numbers that a lane can sum, as many as come to it.
const PART_BITS: u32 = 12;
const _: () = assert!(ROWS.is_multiple_of(LANES));
const _: () = assert!(((1 << PART_BITS) - 1) * (ROWS / LANES) <= u16::MAX as usize);

/// Short numbers of as many packets.
type Block = [u16; LANES];

/// A column, by the frame word where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Column(pub(super) usize);

/// A condition on one column. Numbers are as their column has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaf {
    /// The packet has passed what a column says.
    Passed(Column),
    /// The number is this.
    Equal(Column, u16),
    /// It has one of some bits.
    Any(Column, u16),
    /// It has these bits where the mask, which comes first, has bits.
    Masked(Column, u16, u16),
    /// It is at least one number, and exceeds it by the second at most.
    Within(Column, u16, u16),
    /// As [`Self::Masked`], for a column of long numbers.
    LongMasked(Column, u32, u32),
}

/// Numbers to be summed, the same in two parts of the bits: the upper one is 0 where the numbers are short enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summed {
    /// Which of all that are summed.
    pub(super) number: u32,
    pub(super) whole: Column,
    pub(super) low: Column,
    pub(super) high: Column,
}

/// What is done with whole columns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Puts numbers into another column, their bytes the other way round.
    Turn { from: Column, to: Column },
    /// Parts numbers for a sum, if one of them needs it.
    Part(Summed),
    /// Puts into a column which packets pass.
    Put(Column, Leaf),
    /// Leaves those of a column that pass.
    And(Column, Leaf),
    /// Adds those that pass.
    Or(Column, Leaf),
    /// Puts those that do not pass in the place of those that do.
    Not(Column),
    /// Counts the packets of a path that pass, and sums what they have, into a word of the frame: without a sum the number of packets, else both
    /// as [`Joint`] has them.
    Take { path: Column, leaf: Leaf, sum: Option<Summed>, total: usize },
}

/// Filters of packets in arrays.
pub(in crate::compiled) struct Filters {
    pub(super) ops: Vec<Op>,
    /// Where packets have come from: 0 for none.
    pub(super) ends: Column,
    pub(in crate::compiled) rows: RowWords,
}

impl Filters {
    /// Asks them of all packets in the arrays, and empties these.
    #[inline(always)]
    pub(in crate::compiled) fn ask(&self, words: &mut [u64]) {
        let rows = std::mem::take(&mut words[self.rows.cursor]) as usize / 2;
        let blocks = rows.div_ceil(LANES);
        let ends = bytemuck::cast_slice_mut::<u64, u16>(&mut words[self.ends.0..]);
        ends[rows..blocks * LANES].fill(0);
        // Which of the numbers that are summed are parted.
        let mut parted = 0u32;
        for op in &self.ops {
            match *op {
                Op::Turn { from, to } => {
                    let (to, from) = pair(words, to, from, blocks);
                    for_each(to, from, |to, from: u16| *to = from.swap_bytes());
                }
                Op::Part(summed) => {
                    if part(words, summed, blocks) {
                        parted |= 1 << summed.number;
                    }
                }
                Op::Put(to, leaf) => {
                    leaf.of(Join { words, to, blocks, by: |to: &mut u16, holds| *to = holds });
                }
                Op::And(to, leaf) => {
                    leaf.of(Join { words, to, blocks, by: |to: &mut u16, holds| *to &= holds });
                }
                Op::Or(to, leaf) => {
                    leaf.of(Join { words, to, blocks, by: |to: &mut u16, holds| *to |= holds });
                }
                Op::Not(to) => {
                    let to = blocks_of_mut(&mut words[to.0..], blocks);
                    to.as_flattened_mut().iter_mut().for_each(|holds| *holds = !*holds);
                }
                Op::Take { path, leaf, sum, total } => {
                    let is_parted = |sum: Summed| parted >> sum.number & 1 != 0;
                    let parts: &[(Column, u32)] = match sum {
                        None => &[(path, 0)],
                        Some(sum) if is_parted(sum) => &[(sum.low, 0), (sum.high, PART_BITS)],
                        Some(sum) => &[(sum.whole, 0)],
                    };
                    let (mut packets, mut numbers) = (0, 0);
                    for (arg, shift) in parts {
                        let (count, sum) = leaf.of(Take { words, path, arg: *arg, blocks });
                        packets = count;
                        numbers += sum << shift;
                    }
                    words[total] += match sum {
                        None => packets,
                        Some(_) => Joint::ONE * packets + numbers,
                    };
                }
            }
        }
    }
}

/// All bits where something holds.
#[inline(always)]
fn all_bits(holds: bool) -> u16 {
    0u16.wrapping_sub(u16::from(holds))
}

/// The first blocks of a column that begins with some words.
#[inline(always)]
fn blocks_of<B: bytemuck::Pod>(words: &[u64], blocks: usize) -> &[B] {
    bytemuck::cast_slice(&words[..blocks * size_of::<B>() / size_of::<u64>()])
}

#[inline(always)]
fn blocks_of_mut(words: &mut [u64], blocks: usize) -> &mut [Block] {
    bytemuck::cast_slice_mut(&mut words[..blocks * size_of::<Block>() / size_of::<u64>()])
}

/// Two columns, the first to be written.
#[inline(always)]
fn pair<B: bytemuck::Pod>(
    words: &mut [u64],
    Column(to): Column,
    Column(from): Column,
    blocks: usize,
) -> (&mut [Block], &[B]) {
    let (below, above) = words.split_at_mut(to.max(from));
    let (to, from) = if to < from { (&mut below[to..], &*above) } else { (above, &below[from..]) };
    (blocks_of_mut(to, blocks), blocks_of(from, blocks))
}

/// Does something with each number of a column and that of the same packet in another.
#[inline(always)]
fn for_each<T: Copy>(to: &mut [Block], from: &[[T; LANES]], each: impl Fn(&mut u16, T)) {
    for (to, from) in to.as_flattened_mut().iter_mut().zip(from.as_flattened()) {
        each(to, *from);
    }
}

/// Parts numbers for a sum, if one of them needs it; whether it did.
#[inline(always)]
fn part(words: &mut [u64], summed: Summed, blocks: usize) -> bool {
    let numbers: &[Block] = blocks_of(&words[summed.whole.0..], blocks);
    let bits = numbers.as_flattened().iter().fold(0, |bits, number| bits | number);
    if bits >> PART_BITS == 0 {
        return false;
    }
    let (to, from) = pair(words, summed.low, summed.whole, blocks);
    for_each(to, from, |to, from: u16| *to = from & ((1 << PART_BITS) - 1));
    let (to, from) = pair(words, summed.high, summed.whole, blocks);
    for_each(to, from, |to, from: u16| *to = from >> PART_BITS);
    true
}

/// What takes who passes a condition.
trait Consumer {
    type Answer;

    fn short(self, column: Column, holds: impl Fn(u16) -> u16) -> Self::Answer;

    fn long(self, column: Column, holds: impl Fn(u32) -> u16) -> Self::Answer;
}

impl Leaf {
    #[inline(always)]
    fn of<C: Consumer>(self, consumer: C) -> C::Answer {
        match self {
            Self::Passed(column) => consumer.short(column, |passed| passed),
            Self::Equal(column, value) => consumer.short(column, |x| all_bits(x == value)),
            Self::Any(column, bits) => consumer.short(column, |x| all_bits(x & bits != 0)),
            Self::Masked(column, mask, value) => {
                consumer.short(column, |x| all_bits(x & mask == value))
            }
            Self::Within(column, first, len) => {
                consumer.short(column, |x| all_bits(x.wrapping_sub(first) <= len))
            }
            Self::LongMasked(column, mask, value) => {
                consumer.long(column, |x| all_bits(x & mask == value))
            }
        }
    }
}

/// Joins which packets pass to a column.
struct Join<'w, F> {
    words: &'w mut [u64],
    to: Column,
    blocks: usize,
    by: F,
}

impl<F: Fn(&mut u16, u16)> Consumer for Join<'_, F> {
    type Answer = ();

    #[inline(always)]
    fn short(self, column: Column, holds: impl Fn(u16) -> u16) {
        let (to, from) = pair(self.words, self.to, column, self.blocks);
        for_each(to, from, |to, from| (self.by)(to, holds(from)));
    }

    #[inline(always)]
    fn long(self, column: Column, holds: impl Fn(u32) -> u16) {
        let (to, from) = pair(self.words, self.to, column, self.blocks);
        for_each(to, from, |to, from| (self.by)(to, holds(from)));
    }
}

/// Counts the packets of a path that pass, and sums what they have.
struct Take<'w> {
    words: &'w [u64],
    path: Column,
    arg: Column,
    blocks: usize,
}

impl Take<'_> {
    #[inline(always)]
    fn of<T: Copy>(&self, column: Column, holds: impl Fn(T) -> u16) -> (u64, u64)
    where
        [T; LANES]: bytemuck::Pod,
    {
        let Self { words, path, arg, blocks } = self;
        let path: &[Block] = blocks_of(&words[path.0..], *blocks);
        let arg: &[Block] = blocks_of(&words[arg.0..], *blocks);
        let column: &[[T; LANES]] = blocks_of(&words[column.0..], *blocks);
        let (mut counts, mut sums) = ([0u16; LANES], [0u16; LANES]);
        for ((path, arg), column) in path.iter().zip(arg).zip(column) {
            for lane in 0..LANES {
                let passed = path[lane] & holds(column[lane]);
                counts[lane] = counts[lane].wrapping_sub(passed);
                sums[lane] = sums[lane].wrapping_add(passed & arg[lane]);
            }
        }
        (total(counts), total(sums))
    }
}

impl Consumer for Take<'_> {
    type Answer = (u64, u64);

    #[inline(always)]
    fn short(self, column: Column, holds: impl Fn(u16) -> u16) -> (u64, u64) {
        self.of(column, holds)
    }

    #[inline(always)]
    fn long(self, column: Column, holds: impl Fn(u32) -> u16) -> (u64, u64) {
        self.of(column, holds)
    }
}

/// The sum of all lanes.
#[inline(always)]
fn total(lanes: Block) -> u64 {
    let mut sums = [0u32; LANES];
    for lane in 0..LANES {
        sums[lane] = u32::from(lanes[lane]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    u64::from(sums[0])
}

/// One operation a line; a column is named by the frame word where it begins.
impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in &self.ops {
            writeln!(f, "  {op}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn { from, to } => write!(f, "{to} = bytes of {from} turned"),
            Self::Part(Summed { whole, low, high, .. }) => {
                write!(f, "{high}, {low} = bits of {whole} from {PART_BITS} on, and below")
            }
            Self::Put(to, leaf) => write!(f, "{to} = {leaf}"),
            Self::And(to, leaf) => write!(f, "{to} &= {leaf}"),
            Self::Or(to, leaf) => write!(f, "{to} |= {leaf}"),
            Self::Not(to) => write!(f, "{to} = not {to}"),
            Self::Take { path, leaf, sum, total } => {
                write!(f, "word {total} += packets of {path}")?;
                if *leaf != Leaf::Passed(*path) {
                    write!(f, " with {leaf}")?;
                }
                match sum {
                    Some(Summed { whole, .. }) => write!(f, ", and their {whole}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(column) => write!(f, "{column}"),
            Self::Equal(column, value) => write!(f, "{column} == {value:#x}"),
            Self::Any(column, bits) => write!(f, "({column} & {bits:#x}) != 0"),
            Self::Masked(column, mask, value) => write!(f, "({column} & {mask:#x}) == {value:#x}"),
            Self::Within(column, first, len) => write!(f, "({column} - {first:#x}) <= {len:#x}"),
            Self::LongMasked(column, mask, value) => {
                write!(f, "({column} & {mask:#x}) == {value:#x}")
            }
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 2;
    const ENDS: Column = Column(8);
    const PATH: Column = Column(ENDS.0 + COLUMN_WORDS);
    const NUMBERS: Column = Column(PATH.0 + COLUMN_WORDS);
    const LOW: Column = Column(NUMBERS.0 + COLUMN_WORDS);
    const HIGH: Column = Column(LOW.0 + COLUMN_WORDS);

    /// Asks for packets that came to the first end, and sums what they have.
    fn asked(ends: &[u16], numbers: &[u16], rows: usize) -> (u64, u64) {
        let sum = Summed { number: 0, whole: NUMBERS, low: LOW, high: HIGH };
        let leaf = Leaf::Passed(PATH);
        let take = Op::Take { path: PATH, leaf, sum: Some(sum), total: TOTAL };
        let ops = vec![Op::Put(PATH, Leaf::Any(ENDS, 1)), Op::Part(sum), take];
        let filters = Filters { ops, ends: ENDS, rows: RowWords { cursor: 0, cut: 1 } };
        let mut words = vec![0; HIGH.0 + COLUMN_WORDS];
        for (Column(at), numbers) in [(ENDS, ends), (NUMBERS, numbers)] {
            let column: &mut [u16] = bytemuck::cast_slice_mut(&mut words[at..]);
            column[..numbers.len()].copy_from_slice(numbers);
        }
        words[0] = 2 * rows as u64;
        filters.ask(&mut words);
        assert_eq!(words[0], 0);
        (words[TOTAL] / Joint::ONE, words[TOTAL] % Joint::ONE)
    }

    #[test]
    fn sums_of_full_columns_are_exact() {
        for number in [0, 1, 0xffe, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0xfffe, 0xffff] {
            let sum = ROWS as u64 * u64::from(number);
            assert_eq!(asked(&[1; ROWS], &[number; ROWS], ROWS), (ROWS as u64, sum));
            // One of them alone needs to be parted.
            let mut numbers = [7; ROWS];
            numbers[ROWS - 1] = number;
            let sum = 7 * (ROWS as u64 - 1) + u64::from(number);
            assert_eq!(asked(&[1; ROWS], &numbers, ROWS), (ROWS as u64, sum));
        }
    }

    #[test]
    fn what_lies_behind_the_last_packet_is_none() {
        for rows in [1, LANES - 1, LANES, LANES + 1, ROWS - 1, ROWS] {
            assert_eq!(asked(&[1; ROWS], &[3; ROWS], rows), (rows as u64, 3 * rows as u64));
            assert_eq!(asked(&[2; ROWS], &[3; ROWS], rows), (0, 0));
        }
    }
}
