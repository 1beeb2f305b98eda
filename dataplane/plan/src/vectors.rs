//! Which filters of a program can be asked of many packets at once.
//!
//! A processor compares eight or sixteen short numbers by one instruction. Where many queries of a batch count (and perhaps sum lengths) for conditions on short
//! fields, compiled code puts the fields into arrays, packet after packet, and asks the filters of [`PACKETS`] packets together. The cost model counts
//! that; for other backends it is nothing but a fact.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;

use crate::ir::{Exprs, LayerId, LftaProgram, LftaQuery, NodeId, Op};
use crate::lookup::{
    Range, apart, compared, constant, exclusive, intersected, member, number, summed,
};

/// Packets that a filter is asked of together.
pub const PACKETS: usize = 32;

/// The greatest length that arrays hold: more is cut to that, and added apart.
const LEN_MAX: u64 = u16::MAX as u64;

/// Fewer filters take less time one by one.
const FILTERS_MIN: usize = 6;
/// Most fields: arrays of more would not stay in the first-level cache.
const FIELDS_MAX: usize = 24;
/// How deep the conditions of a filter may be.
const DEPTH_MAX: usize = 32;

/// Filters that are asked of many packets at once, and the fields they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    /// What is put into arrays.
    pub fields: Vec<Field>,
    /// The filters, in the order of their queries.
    pub filters: Vec<Filter>,
}

/// A query that counts, and perhaps sums a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its number.
    pub query: usize,
    /// All of them hold for its tuples.
    pub conditions: Vec<Condition>,
    /// The field it sums.
    pub arg: Option<usize>,
}

/// A number that packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it comes from.
    pub source: Source,
    /// Bytes of an element of its array: 2 or 4; 0 where the headers of a packet say what it is.
    pub bytes: usize,
    /// The greatest element.
    pub max: u64,
    /// Whether it may be more than `max`.
    pub is_cut: bool,
    /// Whether the elements are as they lie in the packet, most significant byte first.
    pub is_big_endian: bool,
}

/// Where a field comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The value of a node.
    Node(NodeId),
    /// The upper half of a node of 32 bits.
    Upper(NodeId),
    /// A byte of a header.
    Byte(LayerId, u32),
}

/// What a filter asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A field has one of these values: ranges that do not overlap, ascending.
    Within(usize, Vec<Range>),
    /// A field has these bits where a mask has bits.
    Masked {
        /// The field.
        field: usize,
        /// The bits asked for.
        mask: u64,
        /// What they are.
        value: u64,
    },
    /// Both hold.
    And(Box<Condition>, Box<Condition>),
    /// One of them holds.
    Or(Box<Condition>, Box<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
}

impl Condition {
    /// Both, as one where they ask the same field.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Within(a, x), Self::Within(b, y)) if a == b => {
                Self::Within(a, apart(intersected(&x, &y)))
            }
            (
                Self::Masked { field: a, mask: x, value: v },
                Self::Masked { field: b, mask: y, value: w },
            ) if a == b && x & y == 0 => Self::Masked { field: a, mask: x | y, value: v | w },
            (a, b) => Self::And(Box::new(a), Box::new(b)),
        }
    }

    fn not(self) -> Self {
        match self {
            Self::Masked { field, mask, value } if mask.is_power_of_two() => {
                Self::Masked { field, mask, value: value ^ mask }
            }
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// The fields it asks for.
    pub fn fields(&self, into: &mut Vec<usize>) {
        match self {
            Self::Within(field, _) | Self::Masked { field, .. } => {
                if !into.contains(field) {
                    into.push(*field);
                }
            }
            Self::And(a, b) | Self::Or(a, b) => {
                a.fields(into);
                b.fields(into);
            }
            Self::Not(a) => a.fields(into),
        }
    }
}

impl Filter {
    /// The fields it asks for, and the one it sums.
    pub fn fields(&self) -> Vec<usize> {
        let mut fields = self.arg.into_iter().collect();
        self.conditions.iter().for_each(|condition| condition.fields(&mut fields));
        fields
    }
}

/// The filters of a program that are asked by vectors, with these values of its parameters; where none are given, queries that have parameters are not among
/// them. Filters that are looked up are not, either.
pub fn vectors(program: &LftaProgram, params: &[Value]) -> Vectors {
    let sets = exclusive(program, params);
    let is_looked_up =
        |query| sets.iter().any(|set| set.queries.iter().any(|(known, _)| *known == query));
    let mut vectors = Vectors::default();
    for (number, query) in program.queries.iter().enumerate().filter(|(n, _)| !is_looked_up(*n)) {
        let known = vectors.fields.clone();
        let asked = Asked { exprs: &program.exprs, params, fields: &mut vectors.fields };
        match asked.filter(number, query) {
            Some(filter) if vectors.fields.len() <= FIELDS_MAX => vectors.filters.push(filter),
            _ => vectors.fields = known,
        }
    }
    if vectors.filters.len() < FILTERS_MIN { Vectors::default() } else { vectors }
}

/// The fields that filters ask for, as far as they are known.
struct Asked<'p, 'f> {
    exprs: &'p Exprs,
    params: &'p [Value],
    fields: &'f mut Vec<Field>,
}

impl<'p> Asked<'p, '_> {
    fn filter(mut self, number: usize, query: &LftaQuery) -> Option<Filter> {
        let arg = match summed(&query.action)? {
            None => None,
            Some(node) => {
                let field = self.field_of(node).filter(|field| field.bytes == 2)?;
                Some(self.index(field))
            }
        };
        let mut conditions: Vec<Condition> = Vec::new();
        for qual in &query.quals {
            let next = self.condition(qual.node, DEPTH_MAX)?;
            match conditions.pop() {
                None => conditions.push(next),
                Some(last) => match last.and(next) {
                    Condition::And(a, b) => conditions.extend([*a, *b]),
                    both => conditions.push(both),
                },
            }
        }
        Some(Filter { query: number, conditions, arg })
    }

    fn condition(&mut self, node: NodeId, depth: usize) -> Option<Condition> {
        let (depth, exprs) = (depth.checked_sub(1)?, self.exprs);
        Some(match &exprs.nodes[node.0 as usize].op {
            Op::And(a, b) => self.condition(*a, depth)?.and(self.condition(*b, depth)?),
            Op::Or(a, b) => {
                let (a, b) = (self.condition(*a, depth)?, self.condition(*b, depth)?);
                Condition::Or(Box::new(a), Box::new(b))
            }
            Op::Not(a) => self.condition(*a, depth)?.not(),
            Op::Compare(op, a, b) => match (self.constant(*a), self.constant(*b)) {
                (None, Some(bound)) => self.compare(*op, *a, bound)?,
                (Some(bound), None) => self.compare(turned_round(*op), *b, bound)?,
                _ => return None,
            },
            Op::In(field, members) => {
                let ranges: Option<Vec<Option<Range>>> =
                    members.iter().map(|value| self.wanted(*field, value)).collect();
                self.within(*field, ranges?.into_iter().flatten().collect())?
            }
            Op::Load { layer, at: None, byte, bit, bits: 1, .. } => {
                let field = Field {
                    source: Source::Byte(*layer, byte + bit / 8),
                    bytes: 2,
                    max: 0xff,
                    is_cut: false,
                    is_big_endian: false,
                };
                let mask = 0x80 >> (bit % 8);
                Condition::Masked { field: self.index(field), mask, value: mask }
            }
            _ => return None,
        })
    }

    fn constant(&self, node: NodeId) -> Option<&'p Value> {
        constant(self.exprs, self.params, node)
    }

    fn compare(&mut self, op: CmpOp, field: NodeId, bound: &Value) -> Option<Condition> {
        Some(match op {
            CmpOp::Eq | CmpOp::Ne => {
                let ranges = self.wanted(field, bound)?.into_iter().collect();
                let condition = self.within(field, ranges)?;
                if op == CmpOp::Eq { condition } else { condition.not() }
            }
            _ if self.is_address(field) => return None,
            _ => self.within(field, vec![compared(op, number(bound)?)?])?,
        })
    }

    fn is_address(&self, field: NodeId) -> bool {
        matches!(self.exprs.nodes[field.0 as usize].ty, Type::Ip | Type::Inet)
    }

    /// The numbers that equal a constant, or lie in it: none of those of IPv4 is an address of IPv6. Nothing when other values do.
    fn wanted(&self, field: NodeId, value: &Value) -> Option<Option<Range>> {
        let is_v6 = match value {
            Value::Prefix(block, _) => block.is_ipv6(),
            value => value.as_addr().is_some_and(|address| address.is_ipv6()),
        };
        match self.exprs.nodes[field.0 as usize].ty {
            Type::Ip if is_v6 => Some(None),
            Type::Ip | Type::Inet => {
                let is_address = matches!(value, Value::Prefix(..)) || value.as_addr().is_some();
                member(value).filter(|_| is_address).map(Some)
            }
            _ if matches!(value, Value::Prefix(..)) || value.as_addr().is_some() => None,
            _ => member(value).map(Some),
        }
    }

    fn within(&mut self, node: NodeId, ranges: Vec<Range>) -> Option<Condition> {
        let mut field = self.field_of(node)?;
        let mut ranges = apart(intersected(&ranges, &[(0, u64::from(u32::MAX))]));
        // What is cut is more than any number that is asked for.
        let are_apart = |(first, last): &Range| {
            *first <= field.max && (*last < field.max || *last == u64::from(u32::MAX))
        };
        if field.is_cut && !ranges.iter().all(are_apart) {
            return None;
        }
        if field.bytes < 4 {
            ranges = intersected(&ranges, &[(0, field.max)]);
        }
        if let (Source::Node(node), 4) = (field.source, field.bytes) {
            let ends = |(first, last): &Range| first & 0xffff == 0 && last & 0xffff == 0xffff;
            if ranges.iter().all(ends) {
                field = Field { source: Source::Upper(node), bytes: 2, max: 0xffff, ..field };
                let halves = ranges.iter().map(|(first, last)| (first >> 16, last >> 16));
                ranges = halves.collect();
            } else if !ranges.iter().all(is_block) {
                return None;
            }
        }
        Some(Condition::Within(self.index(field), ranges))
    }

    /// The field that a node is; nothing when it is none that arrays take.
    fn field_of(&self, node: NodeId) -> Option<Field> {
        let found = &self.exprs.nodes[node.0 as usize];
        let (source, width) = (Source::Node(node), found.ty.bits().unwrap_or(0));
        let address =
            Field { source, bytes: 4, max: u32::MAX.into(), is_cut: false, is_big_endian: true };
        match (found.ty, &found.op) {
            (Type::Inet, op) => return self.may_be_v4(op).then_some(address),
            (Type::Ushort | Type::Uint | Type::Ullong | Type::Ip, _) => {}
            _ => return None,
        }
        match &found.op {
            Op::Meta(Meta::Len | Meta::CapLen) => {
                Some(Field { source, bytes: 2, max: LEN_MAX, is_cut: true, is_big_endian: false })
            }
            Op::Load { at: None, bit, bits, little, .. } if *bits <= 32.min(width) => {
                let is_big_endian = bit % 8 == 0 && !little && matches!(bits, 16 | 32);
                let bytes = if *bits <= 16 { 2 } else { 4 };
                Some(Field { source, bytes, max: (1 << bits) - 1, is_cut: false, is_big_endian })
            }
            Op::Cast(inner) => {
                let field = self.field_of(*inner)?;
                (width >= 32 || field.max >> width == 0 && !field.is_cut).then_some(field)
            }
            Op::ByProtocol { arms, .. } => {
                let arms: Option<Vec<(u64, usize)>> =
                    arms.iter().map(|(_, arm)| self.arm(*arm)).collect();
                let (max, bytes) =
                    arms?.into_iter().fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
                (max <= 0xffff).then_some(Field {
                    source,
                    bytes,
                    max,
                    is_cut: false,
                    is_big_endian: false,
                })
            }
            _ => None,
        }
    }

    /// Whether an address of either family is one of IPv4 in some packets.
    fn may_be_v4(&self, op: &Op) -> bool {
        let op_of = |node: &NodeId| &self.exprs.nodes[node.0 as usize].op;
        let is_v4 = |op: &Op| match op {
            Op::Cast(inner) => self.field_of(*inner).is_some_and(|field| field.bytes == 4),
            op => matches!(op, Op::Load { at: None, bit: 0, bits: 32, little: false, .. }),
        };
        match op {
            Op::ByProtocol { arms, .. } => arms.iter().any(|(_, arm)| is_v4(op_of(arm))),
            op => is_v4(op),
        }
    }

    /// The greatest value of an arm that is a short field or a constant, and the bytes of it in an array.
    fn arm(&self, node: NodeId) -> Option<(u64, usize)> {
        match &self.exprs.nodes[node.0 as usize].op {
            Op::Const(value) => Some((number(value)?, 0)),
            Op::Load { at: None, bits, .. } if *bits <= 16 => Some(((1 << bits) - 1, 2)),
            _ => None,
        }
    }

    /// Its place among the fields.
    fn index(&mut self, field: Field) -> usize {
        let known = self.fields.iter().position(|known| *known == field);
        known.unwrap_or_else(|| {
            self.fields.push(field);
            self.fields.len() - 1
        })
    }
}

/// How operands compare when they have changed places.
fn turned_round(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Le => CmpOp::Ge,
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::Ge => CmpOp::Le,
        op => op,
    }
}

/// Whether a range is all values with some first bits.
pub fn is_block((first, last): &Range) -> bool {
    let len = last - first + 1;
    len.is_power_of_two() && first & (len - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::program;

    const SUM: &str = "SELECT count(*), sum(len) FROM";

    fn of(filters: &[&str]) -> Vectors {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        vectors(&program(SUM, &filters), &[])
    }

    /// What the last of some filters asks for, the sum aside; nothing when it is not among those asked by vectors.
    fn last(filter: &str) -> Option<(Vec<Condition>, Vec<Field>)> {
        let others = ["tcp", "udp", "icmp", "ipv4", "ipv6", "packet"];
        let Vectors { fields, filters } = of(&[&others[..], &[filter]].concat());
        let filter = filters.into_iter().find(|filter| filter.query == others.len())?;
        assert_eq!(filter.arg, Some(0));
        Some((filter.conditions, fields[1..].to_vec()))
    }

    fn within(ranges: &[Range]) -> Vec<Condition> {
        vec![Condition::Within(1, ranges.to_vec())]
    }

    #[test]
    fn a_few_filters_are_asked_one_by_one() {
        let filters = ["tcp", "udp", "icmp", "ipv4", "ipv6"];
        assert_eq!(of(&filters), Vectors::default());
        assert_eq!(of(&[&filters[..], &["packet"]].concat()).filters.len(), 6);
        assert_eq!(of(&[&filters[..], &["ip GROUP BY srcIP"]].concat()), Vectors::default());
    }

    #[test]
    fn filters_that_are_looked_up_are_not_among_them() {
        let ports = (0..4).map(|port| format!("tcp WHERE destPort = {port}"));
        let others = ["tcp", "udp", "icmp", "ipv4", "ipv6", "packet"].map(str::to_owned);
        let program = program(SUM, &ports.chain(others).collect::<Vec<_>>());
        let filters = vectors(&program, &[]).filters;
        assert_eq!(filters.iter().map(|f| f.query).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn conditions_of_one_field_are_one() {
        let (conditions, fields) = last("tcp WHERE destPort BETWEEN 1 AND 1023").unwrap();
        assert_eq!(conditions, within(&[(1, 1023)]));
        assert!(fields[0].is_big_endian && fields[0].bytes == 2);
        let (conditions, fields) = last("tcp WHERE syn AND NOT ack_flag").unwrap();
        let flags = Condition::Masked { field: 1, mask: 0x12, value: 0x02 };
        assert_eq!((conditions, fields.len()), (vec![flags.clone()], 1));
        // The opposite of several bits is no bits.
        assert_eq!(flags.clone().not(), Condition::Not(Box::new(flags.clone())));
        assert_eq!(flags.clone().not().not(), flags);
        let syn = |value| Condition::Masked { field: 1, mask: 2, value };
        let (conditions, _) = last("tcp WHERE syn AND NOT syn").unwrap();
        assert_eq!(conditions, [syn(2), syn(0)]);
    }

    #[test]
    fn whole_prefixes_of_addresses_need_no_more_bits_than_they_have() {
        let (conditions, fields) = last("ipv4 WHERE srcIP IN ['10.0.0.0/8']").unwrap();
        assert_eq!((conditions, fields[0].bytes), (within(&[(0x0a00, 0x0aff)]), 2));
        let (conditions, fields) = last("ipv4 WHERE srcIP IN ['10.0.7.0/24']").unwrap();
        assert_eq!((conditions, fields[0].bytes), (within(&[(0x0a00_0700, 0x0a00_07ff)]), 4));
    }

    #[test]
    fn addresses_of_either_family_are_asked_for_where_they_are_of_ipv4() {
        let (conditions, fields) = last("ip WHERE srcIP IN ['10.0.0.0/8']").unwrap();
        assert_eq!((conditions, fields[0].bytes), (within(&[(0x0a00, 0x0aff)]), 2));
        let point = |address| within(&[(address, address)]);
        for filter in ["tcp WHERE srcIP = '10.0.0.7'", "ipv4 WHERE srcIP = '10.0.0.7'"] {
            let (conditions, fields) = last(filter).unwrap();
            assert_eq!((conditions, fields[0].bytes), (point(0x0a00_0007), 4), "{filter}");
        }
        for filter in ["srcIP = '::1'", "srcIP IN ['10.0.0.0/8', '2001:db8::/32']"] {
            assert_eq!(last(&format!("ip WHERE {filter}")), None);
        }
    }

    #[test]
    fn constants_may_come_first() {
        for (a, b) in [("83 = destPort", "destPort = 83"), ("83 < destPort", "destPort > 83")] {
            let [a, b] = [a, b].map(|filter| last(&format!("tcp WHERE {filter}")).unwrap().0);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn what_headers_say_needs_no_array() {
        let (conditions, fields) = last("tcp WHERE IPVersion = 4").unwrap();
        assert_eq!((conditions, fields[0].bytes), (within(&[(4, 4)]), 0));
    }

    #[test]
    fn lengths_beyond_what_arrays_hold_are_not_asked_for() {
        for filter in ["len < 65535", "len <= 128", "len >= 65535", "len <> 7", "len > 65534"] {
            assert!(last(&format!("packet WHERE {filter}")).is_some(), "{filter}");
        }
        for filter in ["len = 65535", "len > 65535", "len <= 65535", "len BETWEEN 9 AND 70000"] {
            assert!(last(&format!("packet WHERE {filter}")).is_none(), "{filter}");
        }
    }

    #[test]
    fn what_is_no_comparison_of_a_short_field_is_asked_by_itself() {
        for filter in [
            "tcp WHERE destPort = srcPort",
            "tcp WHERE destPort + 1 = 80",
            "tcp WHERE seq BETWEEN 1 AND 6",
            "ip WHERE srcIP < '10.0.0.0'",
            "tcp WHERE str_regex_match[data, 'a']",
            "packet WHERE time > 7",
        ] {
            assert_eq!(last(filter), None, "{filter}");
        }
        assert!(last("tcp WHERE seq = 5").is_some());
    }

    #[test]
    fn fields_are_no_more_than_a_cache_holds() {
        let fields = [
            ("ipv4", &["tos", "ip_total_len", "ip_id", "ttl", "ip_checksum"][..]),
            ("ipv6", &["payload_length", "next_header", "hop_limit", "traffic_class"]),
            ("tcp", &["srcPort", "destPort", "seq", "ack", "window", "tcp_checksum", "urgent"]),
            ("udp", &["srcPort", "destPort", "udp_len", "udp_checksum"]),
            ("icmp", &["icmp_type", "icmp_code", "icmp_checksum"]),
            ("icmp", &["icmp_id", "icmp_seq"]),
        ];
        let filter = |protocol, field| format!("{protocol} WHERE {field} = 7");
        let filters: Vec<String> = fields
            .iter()
            .flat_map(|(protocol, fields)| fields.iter().map(move |f| filter(protocol, f)))
            .collect();
        let Vectors { fields, filters: taken } = vectors(&program(SUM, &filters), &[]);
        // The length that they sum is one of them.
        assert_eq!((fields.len(), taken.len()), (FIELDS_MAX, FIELDS_MAX - 1));
        assert!(filters.len() > taken.len());
    }
}
