//! Filters of one field, looked up.
//!
//! Where many queries of a batch ask one field for values that exclude each other ([`wt_plan::lookup`]), which of them a packet qualifies for is
//! looked up in a table of the frame, so that a hundred such queries cost what a few do. A table of points (or of prefixes of one length) is hashed
//! without collisions; one of ranges has a word for every so many values, with at most one bound among them.

use std::iter;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::Value;
use wt_plan::ir::{LftaProgram, NodeId};
use wt_plan::lookup::{Exclusive, Range, exclusive};

use super::emit::{Emitter, FRAME, Unsupported};
use super::frame::FrameLayout;
use super::lower::Scope;
use super::plan::{Body, Joint, QueryPlan};

/// Most words of a table: 32 KiB.
const WORDS_MAX: usize = 4096;
/// Pairs of points for each word of a table, at most: one factor in a hundred and fifty has no collision then.
const PAIRS_PER_WORD: usize = 5;
/// Factors that are tried for each number of words.
const FACTORS: usize = 256;
/// The last frame word that a table of ranges can name.
const FRAME_WORD_MAX: usize = u16::MAX as usize;
/// The first factor, and what makes the next of one (2^64 over the golden ratio). Powers, not multiples: where two points are apart by a Fibonacci
/// number, its product with each small multiple is close to a multiple of 2^64, and none of them tells the points apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A set of queries, and the table that says which of them a packet qualifies for.
pub(super) struct Lookup {
    /// Their numbers, ascending.
    pub(super) queries: Vec<usize>,
    /// The field that they ask.
    field: NodeId,
    /// What they sum.
    arg: Option<NodeId>,
    /// Frame word where the table begins.
    at: usize,
    table: Table,
    /// Frame word that takes what no query wants.
    nobody: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Table {
    /// By the upper bits of the product of a factor and the value without its last bits: that below, the frame word of the totals above.
    Points { shift: u32, factor: u64, words: Vec<u64> },
    /// By the value's bits from `shift` on: a bound below; frame words of the totals of what is less, then of what is not, above. The last word is for all values beyond.
    Ranges { shift: u32, words: Vec<u64> },
}

/// What a query wants, and the frame word of its totals.
type Wanted<'s> = (&'s [Range], usize);

/// The sets of queries of a program that are looked up.
pub(super) fn lookups(
    program: &LftaProgram,
    params: &[Value],
    plans: &[QueryPlan],
    layout: &mut FrameLayout,
) -> Vec<Lookup> {
    let sets = exclusive(program, params);
    sets.iter().filter_map(|set| lookup(set, plans, layout)).collect()
}

fn lookup(set: &Exclusive<'_>, plans: &[QueryPlan], layout: &mut FrameLayout) -> Option<Lookup> {
    let wanted: Option<Vec<Wanted<'_>>> = set
        .queries
        .iter()
        .map(|(query, ranges)| Some((&ranges[..], totals_of(&plans[*query], set.arg.is_some())?)))
        .collect();
    let (wanted, nobody) = (wanted?, layout.take(1));
    let table = match set.point_bits {
        Some(bits) => points(&wanted, bits),
        None => ranges(&wanted, nobody),
    }?;
    let at = layout.take(table.words().len());
    let queries = set.queries.iter().map(|(query, _)| *query).collect();
    Some(Lookup { queries, field: set.field, arg: set.arg, at, table, nobody })
}

/// The frame word that takes a tuple, and what is summed with it: one is enough.
pub(super) fn totals_of(plan: &QueryPlan, sums: bool) -> Option<usize> {
    let Body::Totals(totals) = &plan.body else { return None };
    match totals.joint {
        Some(joint) => Some(joint.at),
        None => (!sums).then_some(totals.matched),
    }
}

/// A table in which every point has a word of its own.
fn points(wanted: &[Wanted<'_>], shift: u32) -> Option<Table> {
    let points = wanted.iter().flat_map(|(ranges, totals)| {
        ranges.iter().map(move |(first, _)| first >> shift | (*totals as u64) << 32)
    });
    let points: Vec<u64> = points.collect();
    let pairs = points.len() * points.len() / 2;
    let mut len = (2 * points.len()).max(pairs / PAIRS_PER_WORD).next_power_of_two();
    while len <= WORDS_MAX {
        let powers = iter::successors(Some(SPREAD), |factor| Some(factor.wrapping_mul(SPREAD)));
        for factor in powers.take(FACTORS) {
            if let Some(words) = placed(&points, factor, len) {
                return Some(Table::Points { shift, factor, words });
            }
        }
        len *= 2;
    }
    None
}

/// Points at their places; nothing when two have the same one.
fn placed(points: &[u64], factor: u64, len: usize) -> Option<Vec<u64>> {
    // A place that no point has holds one that has another: it is not found there.
    let mut words = vec![None; len];
    for point in points {
        let place = (point & 0xffff_ffff).wrapping_mul(factor) >> (64 - len.ilog2());
        if words[place as usize].replace(*point).is_some() {
            return None;
        }
    }
    let taken = points[0];
    Some(words.into_iter().map(|word| word.unwrap_or(taken)).collect())
}

/// A table with at most one bound to a word.
fn ranges(wanted: &[Wanted<'_>], nobody: usize) -> Option<Table> {
    if wanted.iter().any(|(_, totals)| *totals > FRAME_WORD_MAX) || nobody > FRAME_WORD_MAX {
        return None;
    }
    // Where what is wanted changes, and whose totals take what comes from there on.
    let mut bounds: Vec<(u64, usize)> = Vec::new();
    let ranges = wanted.iter().flat_map(|(ranges, totals)| ranges.iter().map(|r| (*r, *totals)));
    let mut wanted: Vec<(Range, usize)> = ranges.collect();
    wanted.sort_unstable();
    let mut free = 0;
    for ((first, last), totals) in wanted {
        if first > free {
            bounds.push((free, nobody));
        }
        bounds.push((first, totals));
        free = last + 1;
    }
    if free <= u64::from(u32::MAX) {
        bounds.push((free, nobody));
    }
    let (_, mut below) = bounds.remove(0);
    let last = bounds.last().map_or(0, |(bound, _)| *bound);
    let shift = (0..32)
        .rev()
        .find(|shift| bounds.windows(2).all(|pair| pair[0].0 >> shift != pair[1].0 >> shift))?;
    let len = (last >> shift) as usize + 2;
    if len > WORDS_MAX {
        return None;
    }
    let mut words = Vec::with_capacity(len);
    let mut next = 0;
    for place in 0..len as u64 {
        let (bound, above) = match bounds.get(next) {
            Some((bound, above)) if bound >> shift == place => {
                next += 1;
                (*bound, *above)
            }
            _ => (0, below),
        };
        words.push(bound | (below as u64) << 32 | (above as u64) << 48);
        below = above;
    }
    Some(Table::Ranges { shift, words })
}

impl Table {
    fn words(&self) -> &[u64] {
        let (Self::Points { words, .. } | Self::Ranges { words, .. }) = self;
        words
    }
}

impl Lookup {
    /// Puts the table where code looks for it.
    pub(super) fn put(&self, frame: &mut [u64]) {
        let words = self.table.words();
        frame[self.at..self.at + words.len()].copy_from_slice(words);
    }
}

impl Emitter<'_, '_> {
    /// Adds a packet that has the layers required to the totals of the query that wants it. Nothing is emitted where the field may lack its
    /// value, or code for it is not cheap: then each query is for itself.
    pub(super) fn look_up(
        &mut self,
        scope: &mut Scope<'_>,
        lookup: &Lookup,
    ) -> Result<bool, Unsupported> {
        let nodes = [Some(lookup.field), lookup.arg];
        if nodes.iter().flatten().any(|node| scope.is_costly[node.0 as usize]) {
            return Ok(false);
        }
        let field = self.node(scope, lookup.field)?;
        let arg = lookup.arg.map(|arg| self.node(scope, arg)).transpose()?;
        if field.lack.is_some() || arg.is_some_and(|arg| arg.lack.is_some()) {
            return Ok(false);
        }
        let value = self.as_word(field.parts)?;
        let by = match arg {
            Some(arg) => {
                let arg = self.as_word(arg.parts)?;
                self.add_const(arg, Joint::ONE)
            }
            None => self.word(1),
        };
        let totals = match &lookup.table {
            Table::Points { shift, factor, words } => {
                let value = self.down(value, *shift);
                let factor = self.word(*factor);
                let product = self.b.ins().imul(value, factor);
                let place = self.down(product, 64 - words.len().ilog2());
                let word = self.table_word(lookup, place);
                let point = self.and_const(word, 0xffff_ffff);
                let is_it = self.icmp(IntCC::Equal, point, value);
                let (totals, nobody) = (self.down(word, 32), self.word(lookup.nobody as u64));
                self.select(is_it, totals, nobody)
            }
            Table::Ranges { shift, words } => {
                let place = self.down(value, *shift);
                let last = self.word(words.len() as u64 - 1);
                let place = self.b.ins().umin(place, last);
                let word = self.table_word(lookup, place);
                let bound = self.and_const(word, 0xffff_ffff);
                let is_less = self.icmp(IntCC::UnsignedLessThan, value, bound);
                let (above, both) = (self.down(word, 48), self.down(word, 32));
                let below = self.and_const(both, 0xffff);
                self.select(is_less, below, above)
            }
        };
        let address = self.frame_word(totals);
        let old = self.b.ins().load(I64, FRAME, address, 0);
        let new = self.b.ins().iadd(old, by);
        self.b.ins().store(FRAME, new, address, 0);
        Ok(true)
    }

    fn table_word(&mut self, lookup: &Lookup, place: V) -> V {
        let address = self.frame_word(place);
        self.b.ins().load(I64, FRAME, address, 8 * lookup.at as i32)
    }

    /// The address of a word of the frame whose number is known at run time.
    fn frame_word(&mut self, number: V) -> V {
        let three = self.word(3);
        let offset = self.b.ins().ishl(number, three);
        self.b.ins().iadd(self.frame, offset)
    }

    fn down(&mut self, word: V, by: u32) -> V {
        let by = self.word(u64::from(by));
        self.b.ins().ushr(word, by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wt_plan::lookup::RANGES_MAX;

    use super::*;

    const NOBODY: usize = 7;

    impl Table {
        /// The totals that code adds a packet with this value to.
        fn totals(&self, value: u64) -> usize {
            match self {
                Table::Points { shift, factor, words } => {
                    let value = value >> shift;
                    let place = value.wrapping_mul(*factor) >> (64 - words.len().ilog2());
                    let word = words[place as usize];
                    if word & 0xffff_ffff == value { (word >> 32) as usize } else { NOBODY }
                }
                Table::Ranges { shift, words } => {
                    let word = words[((value >> shift) as usize).min(words.len() - 1)];
                    let by = if value < word & 0xffff_ffff { 32 } else { 48 };
                    (word >> by) as usize & 0xffff
                }
            }
        }
    }

    /// These ranges, without those that overlap one before, and some totals for each.
    fn set(ranges: impl IntoIterator<Item = Range>) -> Vec<(Vec<Range>, usize)> {
        let mut set: Vec<(Vec<Range>, usize)> = Vec::new();
        for range in ranges {
            let overlaps =
                |(other, _): &(Vec<Range>, usize)| other[0].0 <= range.1 && range.0 <= other[0].1;
            if !set.iter().any(overlaps) {
                set.push((vec![range], 100 + 3 * set.len()));
            }
        }
        set
    }

    fn wanted(set: &[(Vec<Range>, usize)]) -> Vec<Wanted<'_>> {
        set.iter().map(|(ranges, totals)| (&ranges[..], *totals)).collect()
    }

    fn check(table: &Table, wanted: &[Wanted<'_>], values: impl IntoIterator<Item = u64>) {
        for value in values {
            let wants = |(ranges, _): &&Wanted<'_>| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
            };
            let expected = wanted.iter().find(wants).map_or(NOBODY, |(_, totals)| *totals);
            assert_eq!(table.totals(value), expected, "{value}");
        }
    }

    /// A bound, what is next to it, and the ends.
    fn near(wanted: &[Wanted<'_>]) -> Vec<u64> {
        let ends = wanted.iter().flat_map(|(ranges, _)| ranges.iter().flat_map(|(a, b)| [*a, *b]));
        let near = ends.flat_map(|end| [end.saturating_sub(1), end, end + 1]);
        near.chain([0, u64::from(u32::MAX)]).filter(|v| *v <= u64::from(u32::MAX)).collect()
    }

    proptest! {
        #[test]
        fn every_value_finds_whoever_wants_it(
            ports in prop::collection::vec(0u64..=0xffff, 1..=RANGES_MAX),
            numbers in prop::collection::vec(0u64..=0xffff_ffff, 1..=RANGES_MAX),
            bounds in prop::collection::vec((0u64..3000, 0u64..300), 1..40),
        ) {
            for values in [ports, numbers] {
                let set = set(values.iter().map(|value| (*value, *value)));
                let wanted = wanted(&set);
                let table = points(&wanted, 0).unwrap();
                check(&table, &wanted, near(&wanted).into_iter().chain(0..=0xffff));
            }
            let set = set(bounds.iter().map(|(first, len)| (*first, first + len)));
            let wanted = wanted(&set);
            let table = ranges(&wanted, NOBODY).unwrap();
            check(&table, &wanted, near(&wanted).into_iter().chain(0..4000));
        }
    }

    #[test]
    fn points_that_few_factors_tell_apart_find_one() {
        let fibonacci = iter::successors(Some((1, 2)), |(a, b)| Some((*b, a + b)));
        let numbers = fibonacci.map(|(a, _)| a).take_while(|a| *a <= u64::from(u32::MAX));
        for apart in numbers.chain((0..32).map(|bit| 1 << bit)) {
            let set = set([(0, 0), (apart, apart)]);
            let wanted = wanted(&set);
            let table = points(&wanted, 0).unwrap();
            assert_eq!(table.words().len(), 4, "{apart}");
            check(&table, &wanted, near(&wanted));
        }
    }

    #[test]
    fn prefixes_of_one_length_are_points() {
        let block = |third: u64| (0x0a00_0000 | third << 8, 0x0a00_00ff | third << 8);
        let set = set((0..50).map(block));
        let wanted = wanted(&set);
        let table = points(&wanted, 8).unwrap();
        check(&table, &wanted, near(&wanted).into_iter().chain(0x09ff_ff00..0x0a00_4000));
    }

    #[test]
    fn ranges_may_begin_and_end_where_values_do_and_touch() {
        let most = u64::from(u32::MAX);
        for bounds in [
            vec![(0, most)],
            vec![(0, 0), (most, most)],
            vec![(0, 63), (64, 64), (65, 4000)],
            vec![(5, 5), (6, 9), (10, most)],
        ] {
            let set = set(bounds);
            let wanted = wanted(&set);
            check(&ranges(&wanted, NOBODY).unwrap(), &wanted, near(&wanted));
        }
    }

    #[test]
    fn a_table_too_large_for_the_frame_is_none() {
        let table = |set: Vec<(Vec<Range>, usize)>| ranges(&wanted(&set), NOBODY);
        assert!(table(set([(0, 1), (1 << 20, 1 << 21)])).is_some());
        assert!(table(set([(0, 1), (3, 3), (1 << 20, 1 << 21)])).is_none());
        let table = |count| points(&wanted(&set((0..count).map(|port| (port, port)))), 0);
        assert!(table(RANGES_MAX as u64).is_some() && table(5000).is_none());
        let far = ranges(&wanted(&set([(0, 1), (5, 9)])), FRAME_WORD_MAX + 1);
        assert!(far.is_none(), "a frame word needs more bits than there are");
    }
}
