//! Filters of one field, looked up.
//!
//! Where many queries of a batch ask one field for values that exclude each other (a port each, or a range of lengths), a packet
//! qualifies for one of them at most. Which one is looked up in a table of the frame, so that a hundred such queries cost what a few do.
//! A table of points (or of prefixes of one length) is hashed without collisions; one of ranges has a word for every so many values, with at
//! most one bound among them.

use std::net::IpAddr;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{LayerId, LftaProgram, LftaQuery, NodeId, Op};

use super::emit::{Emitter, FRAME, Unsupported};
use super::frame::FrameLayout;
use super::lower::{Scope, constant};
use super::plan::{Body, Joint, QueryPlan};
use super::width::significant_bits;

/// Fewer queries are not worth a table: each takes four instructions.
const QUERIES_MIN: usize = 4;
/// Most words of a table: 32 KiB.
const WORDS_MAX: usize = 4096;
/// Words of a table of points for each of them, at most; with fewer it takes longer to find a factor without collisions.
const WORDS_PER_POINT: usize = 16;
/// Factors that are tried for each number of words.
const FACTORS: u64 = 256;
/// An odd number whose multiples are spread well (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A set of queries, and the table that says which of them a packet qualifies for.
pub(super) struct Lookup {
    /// Their numbers, ascending.
    pub(super) queries: Vec<usize>,
    /// The field that they ask.
    field: NodeId,
    /// What they sum.
    arg: NodeId,
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

/// Values from the first to the last.
type Range = (u64, u64);

/// What a query asks of a field, if it asks nothing else.
struct Asked {
    query: usize,
    /// Frame word of its totals.
    totals: usize,
    field: NodeId,
    arg: NodeId,
    ranges: Vec<Range>,
}

impl Asked {
    /// Bits that do not matter, where a table of points will do: values, or prefixes of one length.
    fn point_bits(&self, ty: Type) -> Option<u32> {
        let (first, last) = self.ranges[0];
        let bits = (last - first).trailing_ones();
        let mask = (1 << bits) - 1;
        let is_point = |(first, last): &Range| first & mask == 0 && last - first == mask;
        ((bits == 0 || ty == Type::Ip) && self.ranges.iter().all(is_point)).then_some(bits)
    }

    fn excludes(&self, other: &Self) -> bool {
        let overlap = |(a, b): &Range, (c, d): &Range| a <= d && c <= b;
        !self.ranges.iter().any(|range| other.ranges.iter().any(|theirs| overlap(range, theirs)))
    }
}

/// Queries that may be looked up together.
struct Set<'p> {
    requires: &'p [LayerId],
    point_bits: Option<u32>,
    asked: Vec<Asked>,
}

impl Set<'_> {
    fn takes(&self, requires: &[LayerId], point_bits: Option<u32>, asked: &Asked) -> bool {
        (self.requires, self.point_bits) == (requires, point_bits)
            && (self.asked[0].field, self.asked[0].arg) == (asked.field, asked.arg)
            && self.asked.iter().all(|other| other.excludes(asked))
    }
}

/// The sets of queries of a program that are looked up.
pub(super) fn lookups(
    program: &LftaProgram,
    params: &[Value],
    plans: &[QueryPlan],
    layout: &mut FrameLayout,
) -> Vec<Lookup> {
    let bits = significant_bits(&program.exprs, params);
    let mut sets: Vec<Set<'_>> = Vec::new();
    for (index, (query, plan)) in program.queries.iter().zip(plans).enumerate() {
        let Some(asked) = asked(program, params, (index, query), plan, &bits) else { continue };
        let point_bits = asked.point_bits(program.exprs.nodes[asked.field.0 as usize].ty);
        let requires = &query.requires;
        match sets.iter_mut().find(|set| set.takes(requires, point_bits, &asked)) {
            Some(set) => set.asked.push(asked),
            None => sets.push(Set { requires, point_bits, asked: vec![asked] }),
        }
    }
    let mut lookups = Vec::new();
    for Set { point_bits, asked, .. } in sets.iter().filter(|set| set.asked.len() >= QUERIES_MIN) {
        let nobody = layout.take(1);
        let table = match point_bits {
            Some(bits) => points(asked, *bits),
            None => ranges(asked, nobody),
        };
        let Some(table) = table else { continue };
        let at = layout.take(table.words().len());
        let queries = asked.iter().map(|asked| asked.query).collect();
        let Asked { field, arg, .. } = asked[0];
        lookups.push(Lookup { queries, field, arg, at, table, nobody });
    }
    lookups
}

/// What a query asks, if it counts and sums what has a field within constant bounds.
fn asked(
    program: &LftaProgram,
    params: &[Value],
    (index, query): (usize, &LftaQuery),
    plan: &QueryPlan,
    bits: &[u32],
) -> Option<Asked> {
    let Body::Totals(totals) = &plan.body else { return None };
    let joint = totals.joint?;
    let counts = |state: usize| state == joint.state || totals.states[state].arg.is_none();
    if !(0..totals.states.len()).all(counts) {
        return None;
    }
    let mut field = None;
    let mut ranges: Vec<Range> = vec![(0, u64::from(u32::MAX))];
    for qual in &query.quals {
        let (node, allowed) = match &program.exprs.nodes[qual.node.0 as usize].op {
            Op::Compare(op, node, bound) => {
                let bound = number(constant(&program.exprs, params, *bound)?)?;
                (*node, vec![compared(*op, bound)?])
            }
            Op::In(node, members) => (*node, members.iter().map(member).collect::<Option<_>>()?),
            _ => return None,
        };
        if *field.get_or_insert(node) != node {
            return None;
        }
        ranges = intersected(&ranges, &allowed);
    }
    let field = field?;
    let ty = program.exprs.nodes[field.0 as usize].ty;
    let is_number = matches!(ty, Type::Ushort | Type::Uint | Type::Ip);
    let ranges = apart(ranges);
    (is_number && bits[field.0 as usize] <= 32 && !ranges.is_empty()).then_some(Asked {
        query: index,
        totals: joint.at,
        field,
        arg: totals.states[joint.state].arg?,
        ranges,
    })
}

fn number(value: &Value) -> Option<u64> {
    u64::try_from(value.as_i128()?).ok()
}

/// The values that a member of a list stands for.
fn member(value: &Value) -> Option<Range> {
    if let Value::Prefix(IpAddr::V4(block), len) = value {
        let first = u64::from(u32::from(*block));
        return Some((first, first | u64::from(u32::MAX.checked_shr((*len).into()).unwrap_or(0))));
    }
    number(value).map(|value| (value, value))
}

/// The values that a comparison allows.
fn compared(op: CmpOp, bound: u64) -> Option<Range> {
    Some(match op {
        CmpOp::Eq => (bound, bound),
        CmpOp::Ne => return None,
        CmpOp::Lt => (0, bound.checked_sub(1)?),
        CmpOp::Le => (0, bound),
        CmpOp::Gt => (bound.checked_add(1)?, u64::MAX),
        CmpOp::Ge => (bound, u64::MAX),
    })
}

fn intersected(a: &[Range], b: &[Range]) -> Vec<Range> {
    let both = |(a, b): &Range, (c, d): &Range| (*a.max(c), *b.min(d));
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| both(x, y)));
    pairs.filter(|(first, last)| first <= last).collect()
}

/// The same values, in ranges that do not overlap, ascending.
fn apart(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut apart: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match apart.last_mut() {
            Some(before) if first <= before.1 => before.1 = last.max(before.1),
            _ => apart.push((first, last)),
        }
    }
    apart
}

/// A table in which every point has a word of its own.
fn points(set: &[Asked], shift: u32) -> Option<Table> {
    let points = set.iter().flat_map(|asked| {
        asked.ranges.iter().map(|(first, _)| first >> shift | (asked.totals as u64) << 32)
    });
    let points: Vec<u64> = points.collect();
    let most = (WORDS_PER_POINT * points.len()).min(WORDS_MAX);
    let mut len = (2 * points.len()).next_power_of_two();
    while len <= most {
        for factor in (0..FACTORS).map(|i| SPREAD.wrapping_mul(2 * i + 1)) {
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
fn ranges(set: &[Asked], nobody: usize) -> Option<Table> {
    // Where what is wanted changes, and whose totals take what comes from there on.
    let mut bounds: Vec<(u64, usize)> = Vec::new();
    let mut wanted: Vec<(Range, usize)> = set
        .iter()
        .flat_map(|asked| asked.ranges.iter().map(|range| (*range, asked.totals)))
        .collect();
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
    if len > WORDS_MAX || bounds.iter().any(|(_, totals)| *totals > usize::from(u16::MAX)) {
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
        if [lookup.field, lookup.arg].iter().any(|node| scope.is_costly[node.0 as usize]) {
            return Ok(false);
        }
        let (field, arg) = (self.node(scope, lookup.field)?, self.node(scope, lookup.arg)?);
        if field.lack.is_some() || arg.lack.is_some() {
            return Ok(false);
        }
        let (value, arg) = (self.as_word(field.parts)?, self.as_word(arg.parts)?);
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
        let three = self.word(3);
        let offset = self.b.ins().ishl(totals, three);
        let address = self.b.ins().iadd(self.frame, offset);
        let old = self.b.ins().load(I64, FRAME, address, 0);
        let by = self.add_const(arg, Joint::ONE);
        let new = self.b.ins().iadd(old, by);
        self.b.ins().store(FRAME, new, address, 0);
        Ok(true)
    }

    fn table_word(&mut self, lookup: &Lookup, place: V) -> V {
        let three = self.word(3);
        let offset = self.b.ins().ishl(place, three);
        let address = self.b.ins().iadd(self.frame, offset);
        let at = 8 * lookup.at as i32;
        self.b.ins().load(I64, FRAME, address, at)
    }

    fn down(&mut self, word: V, by: u32) -> V {
        let by = self.word(u64::from(by));
        self.b.ins().ushr(word, by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// Queries for these ranges, without those that overlap one before.
    fn set(ranges: impl IntoIterator<Item = Range>) -> Vec<Asked> {
        let mut set: Vec<Asked> = Vec::new();
        for range in ranges {
            let (query, totals) = (set.len(), 100 + 3 * set.len());
            let (field, arg) = (NodeId(0), NodeId(1));
            let asked = Asked { query, totals, field, arg, ranges: vec![range] };
            if set.iter().all(|other| other.excludes(&asked)) {
                set.push(asked);
            }
        }
        set
    }

    fn check(table: &Table, set: &[Asked], values: impl IntoIterator<Item = u64>) {
        for value in values {
            let wants = |asked: &&Asked| {
                asked.ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
            };
            let expected = set.iter().find(wants).map_or(NOBODY, |asked| asked.totals);
            assert_eq!(table.totals(value), expected, "{value}");
        }
    }

    /// A bound, what is next to it, and the ends.
    fn near(set: &[Asked]) -> Vec<u64> {
        let ends = set.iter().flat_map(|asked| asked.ranges.iter().flat_map(|(a, b)| [*a, *b]));
        let near = ends.flat_map(|end| [end.saturating_sub(1), end, end + 1]);
        near.chain([0, u64::from(u32::MAX)]).filter(|v| *v <= u64::from(u32::MAX)).collect()
    }

    proptest! {
        #[test]
        fn every_value_finds_whoever_wants_it(
            ports in prop::collection::vec(0u64..=0xffff, 1..80),
            numbers in prop::collection::vec(0u64..=0xffff_ffff, 1..80),
            bounds in prop::collection::vec((0u64..3000, 0u64..300), 1..40),
        ) {
            for values in [ports, numbers] {
                let set = set(values.iter().map(|value| (*value, *value)));
                let table = points(&set, 0).unwrap();
                check(&table, &set, near(&set).into_iter().chain(0..=0xffff));
            }
            let set = set(bounds.iter().map(|(first, len)| (*first, first + len)));
            let table = ranges(&set, NOBODY).unwrap();
            check(&table, &set, near(&set).into_iter().chain(0..4000));
        }
    }

    #[test]
    fn what_a_query_asks_for_twice_it_wants_once() {
        assert_eq!(apart(vec![(5, 5), (0, 9), (5, 5), (9, 12), (13, 13)]), [(0, 12), (13, 13)]);
        assert_eq!(intersected(&[(0, 9), (20, 29)], &[(5, 24)]), [(5, 9), (20, 24)]);
        assert!(intersected(&[(0, 9)], &[(10, 11)]).is_empty());
    }

    #[test]
    fn prefixes_of_one_length_are_points() {
        let block = |third: u64| (0x0a00_0000 | third << 8, 0x0a00_00ff | third << 8);
        let set = set((0..50).map(block));
        assert!(set.iter().all(|asked| asked.point_bits(Type::Ip) == Some(8)));
        assert!(set.iter().all(|asked| asked.point_bits(Type::Uint).is_none()));
        let table = points(&set, 8).unwrap();
        check(&table, &set, near(&set).into_iter().chain(0x09ff_ff00..0x0a00_4000));
        assert_eq!(member(&Value::Prefix([10, 0, 7, 0].into(), 24)), Some(block(7)));
        assert_eq!(member(&Value::Prefix([0; 4].into(), 0)), Some((0, u64::from(u32::MAX))));
        assert_eq!(member(&Value::Prefix([10, 0, 0, 1].into(), 32)).map(|(a, b)| b - a), Some(0));
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
            check(&ranges(&set, NOBODY).unwrap(), &set, near(&set));
        }
    }

    #[test]
    fn a_table_too_large_for_the_frame_is_none() {
        assert!(ranges(&set([(0, 1), (1 << 20, 1 << 21)]), NOBODY).is_some());
        assert!(ranges(&set([(0, 1), (3, 3), (1 << 20, 1 << 21)]), NOBODY).is_none());
        assert!(points(&set((0..400).map(|port| (port, port))), 0).is_some());
        assert!(points(&set((0..5000).map(|port| (port, port))), 0).is_none());
    }
}
