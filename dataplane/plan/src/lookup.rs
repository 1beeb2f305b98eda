//! Which filters of a program can be looked up together.
//!
//! Where many queries of a batch ask one field for values that exclude each other (a port each, or a range of lengths), a packet qualifies
//! for one of them at most. Compiled code looks up which one, and the cost model counts that; for other backends it is nothing but a fact.

use std::net::IpAddr;

use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;

use crate::ir::{AggKind, Exprs, LayerId, LftaAction, LftaProgram, LftaQuery, NodeId, Op};

/// Fewer queries are not worth a table: each takes four instructions.
const QUERIES_MIN: usize = 4;

/// Ranges of a set at which it is full; with more of them a table without collisions is hard to find.
pub const RANGES_MAX: usize = 128;

/// Values from the first to the last.
pub type Range = (u64, u64);

/// Queries that count, and perhaps sum one number, for values of one field that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusive<'p> {
    requires: &'p [LayerId],
    /// The field: a number of at most 32 bits, or an address.
    pub field: NodeId,
    /// What they sum.
    pub arg: Option<NodeId>,
    /// Last bits of the field that do not matter, where all ranges are values, or prefixes of one length.
    pub point_bits: Option<u32>,
    /// Numbers of the queries, ascending, each with the values that it wants.
    pub queries: Vec<(usize, Vec<Range>)>,
}

impl Exclusive<'_> {
    /// Joins another set's only query to this one, if that is of its kind and excludes all others.
    fn takes(&mut self, other: &mut Self) -> bool {
        let are_alike = (self.requires, self.field, self.arg, self.point_bits)
            == (other.requires, other.field, other.arg, other.point_bits);
        let excludes = |(_, ranges): &(usize, Vec<Range>)| !overlap(ranges, &other.queries[0].1);
        let is_full = self.queries.iter().map(|(_, ranges)| ranges.len()).sum::<usize>()
            + other.queries[0].1.len()
            > RANGES_MAX;
        let takes = are_alike && !is_full && self.queries.iter().all(excludes);
        if takes {
            self.queries.append(&mut other.queries);
        }
        takes
    }
}

/// The sets of queries of a program that are worth a look-up, with these values of its parameters; where none are given, queries that have parameters are in
/// no set.
pub fn exclusive<'p>(program: &'p LftaProgram, params: &[Value]) -> Vec<Exclusive<'p>> {
    let mut sets: Vec<Exclusive<'_>> = Vec::new();
    for (number, query) in program.queries.iter().enumerate() {
        let Some(mut one) = asked(program, params, number, query) else { continue };
        if !sets.iter_mut().any(|set| set.takes(&mut one)) {
            sets.push(one);
        }
    }
    sets.retain(|set| set.queries.len() >= QUERIES_MIN);
    sets
}

/// A query as a set of its own, if it asks for nothing but a field within constant bounds.
fn asked<'p>(
    program: &'p LftaProgram,
    params: &[Value],
    number: usize,
    query: &'p LftaQuery,
) -> Option<Exclusive<'p>> {
    let arg = summed(&query.action)?;
    let mut field = None;
    let mut ranges: Vec<Range> = vec![(0, u64::from(u32::MAX))];
    for qual in &query.quals {
        let (node, allowed) = match &program.exprs.nodes[qual.node.0 as usize].op {
            Op::Compare(op, node, bound) => (
                *node,
                vec![compared(*op, self::number(constant(&program.exprs, params, *bound)?)?)?],
            ),
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
    let ranges = apart(ranges);
    let point_bits = point_bits(&ranges, ty);
    let is_number = matches!(ty, Type::Ushort | Type::Uint | Type::Ip);
    let queries = vec![(number, ranges)];
    (is_number && !queries[0].1.is_empty()).then_some(Exclusive {
        requires: &query.requires,
        field,
        arg,
        point_bits,
        queries,
    })
}

/// What an aggregation sums that has no keys and does not more than count and sum one number.
pub(crate) fn summed(action: &LftaAction) -> Option<Option<NodeId>> {
    let LftaAction::Aggregate { keys, aggs, .. } = action else { return None };
    let mut summed = None;
    for agg in aggs {
        match (agg.kind, agg.arg) {
            (AggKind::Count, None) => {}
            (AggKind::Sum, Some(arg)) if summed.is_none() => summed = Some(arg),
            _ => return None,
        }
    }
    keys.is_empty().then_some(summed)
}

pub(crate) fn constant<'v>(
    exprs: &'v Exprs,
    params: &'v [Value],
    node: NodeId,
) -> Option<&'v Value> {
    match &exprs.nodes[node.0 as usize].op {
        Op::Const(value) => Some(value),
        Op::Param(param) => params.get(param.0 as usize),
        _ => None,
    }
}

/// A number that is not negative, or an address of IPv4.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value.as_addr() {
        Some(IpAddr::V4(address)) => Some(u32::from(address).into()),
        Some(IpAddr::V6(_)) => None,
        None => u64::try_from(value.as_i128()?).ok(),
    }
}

/// The values that a member of a list stands for.
pub(crate) fn member(value: &Value) -> Option<Range> {
    if let Value::Prefix(IpAddr::V4(block), len) = value {
        let (block, host) = (u32::from(*block), u32::MAX.checked_shr((*len).into()).unwrap_or(0));
        return Some(((block & !host).into(), (block | host).into()));
    }
    number(value).map(|value| (value, value))
}

/// The values that a comparison allows.
pub(crate) fn compared(op: CmpOp, bound: u64) -> Option<Range> {
    Some(match op {
        CmpOp::Eq => (bound, bound),
        CmpOp::Ne => return None,
        CmpOp::Lt => (0, bound.checked_sub(1)?),
        CmpOp::Le => (0, bound),
        CmpOp::Gt => (bound.checked_add(1)?, u64::MAX),
        CmpOp::Ge => (bound, u64::MAX),
    })
}

fn overlap(a: &[Range], b: &[Range]) -> bool {
    a.iter().any(|(first, last)| b.iter().any(|(c, d)| first <= d && c <= last))
}

pub(crate) fn intersected(a: &[Range], b: &[Range]) -> Vec<Range> {
    let both = |(a, b): &Range, (c, d): &Range| (*a.max(c), *b.min(d));
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| both(x, y)));
    pairs.filter(|(first, last)| first <= last).collect()
}

/// The same values, in ranges that do not overlap, ascending.
pub(crate) fn apart(mut ranges: Vec<Range>) -> Vec<Range> {
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

/// Last bits that do not matter, where all ranges are values, or prefixes of one length.
fn point_bits(ranges: &[Range], ty: Type) -> Option<u32> {
    let (first, last) = ranges.first()?;
    let bits = (last - first).trailing_ones();
    let mask = (1 << bits) - 1;
    let is_point = |(first, last): &Range| first & mask == 0 && last - first == mask;
    ((bits == 0 || ty == Type::Ip) && ranges.iter().all(is_point)).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::program;

    #[test]
    fn what_a_query_asks_for_twice_it_wants_once() {
        assert_eq!(apart(vec![(5, 5), (0, 9), (5, 5), (9, 12), (13, 13)]), [(0, 12), (13, 13)]);
        assert_eq!(intersected(&[(0, 9), (20, 29)], &[(5, 24)]), [(5, 9), (20, 24)]);
        assert!(intersected(&[(0, 9)], &[(10, 11)]).is_empty());
        assert!(overlap(&[(0, 1), (5, 9)], &[(9, 9)]) && !overlap(&[(0, 1)], &[(2, 3)]));
    }

    #[test]
    fn prefixes_of_one_length_are_points_and_ranges_of_numbers_are_not() {
        let block = |third: u64| (0x0a00_0000 | third << 8, 0x0a00_00ff | third << 8);
        assert_eq!(point_bits(&[block(1), block(7)], Type::Ip), Some(8));
        assert_eq!(point_bits(&[block(1), block(7)], Type::Uint), None);
        assert_eq!(point_bits(&[block(1), (0, 3)], Type::Ip), None);
        assert_eq!(point_bits(&[(3, 3), (80, 80)], Type::Uint), Some(0));
        assert_eq!(member(&Value::Prefix([10, 0, 7, 0].into(), 24)), Some(block(7)));
        assert_eq!(member(&Value::Prefix([10, 0, 7, 9].into(), 24)), Some(block(7)));
        assert_eq!(member(&Value::Prefix([0; 4].into(), 0)), Some((0, u64::from(u32::MAX))));
        assert_eq!(member(&Value::Prefix([10, 0, 0, 1].into(), 32)).map(|(a, b)| b - a), Some(0));
    }

    fn sets(filters: &[String]) -> Vec<(usize, Option<u32>)> {
        let program = program("SELECT count(*) FROM", filters);
        let sets = exclusive(&program, &[]);
        sets.iter().map(|set| (set.queries.len(), set.point_bits)).collect()
    }

    #[test]
    fn what_asks_for_something_else_stays_by_itself() {
        let ports = |protocol: &str, count: usize| -> Vec<String> {
            (0..count).map(|port| format!("{protocol} WHERE destPort = {port}")).collect()
        };
        assert_eq!(sets(&ports("tcp", 3)), []);
        assert_eq!(
            sets(&[ports("tcp", 5), ports("udp", 4)].concat()),
            [(5, Some(0)), (4, Some(0))]
        );
        assert_eq!(sets(&ports("tcp", RANGES_MAX + 4)), [(RANGES_MAX, Some(0)), (4, Some(0))]);
        let other = [
            "tcp WHERE destPort = 2",
            "tcp WHERE destPort <> 80",
            "tcp WHERE srcPort = 7",
            "tcp WHERE destPort = 8 AND syn",
            "tcp WHERE destPort = 9 OR destPort = 10",
            "tcp WHERE destPort + 1 = 12",
            "tcp",
        ];
        let others: Vec<String> = other.into_iter().map(str::to_owned).collect();
        assert_eq!(sets(&[ports("tcp", 4), others].concat()), [(4, Some(0))]);
        let lens =
            (0..6).map(|i| format!("packet WHERE len BETWEEN {} AND {}", 80 * i, 80 * i + 79));
        assert_eq!(sets(&lens.collect::<Vec<_>>()), [(6, None)]);
        let prefixes = (0..4).map(|i| format!("ipv4 WHERE srcIP IN ['10.0.{i}.0/24']"));
        assert_eq!(sets(&prefixes.collect::<Vec<_>>()), [(4, Some(8))]);
        let addresses = (0..4).map(|i| format!("ipv4 WHERE srcIP = '10.0.0.{i}'"));
        assert_eq!(sets(&addresses.collect::<Vec<_>>()), [(4, Some(0))]);
    }

    #[test]
    fn a_negative_bound_is_no_number() {
        assert_eq!(number(&Value::Int(-1)), None);
        assert_eq!(compared(CmpOp::Lt, 0), None);
        assert_eq!(compared(CmpOp::Gt, u64::MAX), None);
        assert_eq!(compared(CmpOp::Gt, 7), Some((8, u64::MAX)));
    }
}
