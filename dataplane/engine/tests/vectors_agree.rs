//! Filters that compiled code asks of many packets at once count what the reference interpreter counts.

mod support;

use std::net::IpAddr;

use proptest::prelude::*;
use support::{Dag, Packet, agree, header, program};
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_engine::Message;
use wt_lang::ast::CmpOp;
use wt_plan::ir::{
    AggKind, LayerId, LayerSel, LftaAction, LftaAgg, LftaProgram, LftaQuery, NodeId, Op, Qual,
    SLOTS_DEFAULT,
};

/// Bytes of fields: bits alone, and numbers that are the same either way round.
const BYTES: [u8; 7] = [0, 1, 2, 0x12, 0x34, 0x80, 0xff];
/// Numbers of them, and bounds of what arrays hold.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    6,
    0x34,
    0x100,
    0x1234,
    0x7fff,
    0x8000,
    0xfffe,
    0xffff,
    0x1_0000,
    0x8000_0000,
    0x1234_0001,
];
/// Lengths: some are more than arrays hold.
const LENS: [u32; 8] = [0, 60, 0x1234, 0x7fff, 0x8000, 0xffff, 0x1_0000, u32::MAX];
const COMPARISONS: [CmpOp; 6] = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge];

/// Layers: the outermost header, two that may follow it, and either of these.
const ABOVE: LayerId = LayerId(0);
const BELOW: LayerId = LayerId(3);
/// The header that is there in two kinds.
const KIND: ProtocolId = ProtocolId(3);

/// Fields of all kinds: of eight to 32 bits, as they lie and not, and what headers say.
fn fields(dag: &mut Dag) -> Vec<NodeId> {
    let mut load = |layer: LayerId, byte, bit, bits, little, ty| {
        dag.push(Op::Load { layer, at: None, byte, bit, bits, little }, ty)
    };
    let mut fields = vec![
        load(ABOVE, 1, 0, 8, false, Type::Uint),
        load(ABOVE, 2, 0, 16, false, Type::Ushort),
        load(ABOVE, 4, 0, 16, true, Type::Uint),
        load(ABOVE, 4, 4, 12, false, Type::Uint),
        load(ABOVE, 4, 0, 32, false, Type::Ip),
        load(ABOVE, 4, 0, 32, true, Type::Uint),
        load(ABOVE, 3, 4, 20, false, Type::Ullong),
        load(LayerId(1), 0, 0, 16, false, Type::Uint),
        load(LayerId(2), 2, 0, 16, false, Type::Uint),
    ];
    let two_bits = load(LayerId(2), 1, 6, 2, false, Type::Uint);
    let versions = [4, 6].map(|version| dag.number(Value::Uint(version), Type::Uint));
    let ports = [fields[7], fields[8]];
    for [first, second] in [versions, ports, [versions[0], fields[8]], [versions[1], two_bits]] {
        let arms = vec![(ProtocolId(1), first), (ProtocolId(2), second)];
        fields.push(dag.push(Op::ByProtocol { layer: BELOW, arms }, Type::Uint));
    }
    let v4 = Op::Load { layer: LayerId(1), at: None, byte: 0, bit: 0, bits: 32, little: false };
    let v6 = Op::LoadIpv6 { layer: LayerId(2), at: None, byte: 0 };
    let [v4, v6] = [v4, v6].map(|op| dag.push(op, Type::Inet));
    let arms = vec![(ProtocolId(1), v4), (ProtocolId(2), v6)];
    fields.push(dag.push(Op::ByProtocol { layer: BELOW, arms }, Type::Inet));
    fields.push(dag.push(Op::Meta(Meta::Len), Type::Uint));
    fields.push(dag.push(Op::Meta(Meta::CapLen), Type::Uint));
    fields.push(dag.push(Op::Cast(fields[1]), Type::Ullong));
    fields.push(dag.push(Op::Cast(fields[14]), Type::Ullong));
    fields
}

/// An address of one of the families.
fn address(number: u64, family: usize) -> IpAddr {
    match family % 4 {
        0 => IpAddr::from((u128::from(number) << 96).to_be_bytes()),
        _ => IpAddr::from((number as u32).to_be_bytes()),
    }
}

/// A condition, some of them of those before.
fn condition(dag: &mut Dag, fields: &[NodeId], known: &[NodeId], choice: [usize; 5]) -> NodeId {
    let [kind, field, number, op, other] = choice;
    let field = fields[field % fields.len()];
    let ty = dag.0.nodes[field.0 as usize].ty;
    let is_address = matches!(ty, Type::Ip | Type::Inet);
    let number_of = |choice: usize| NUMBERS[choice % NUMBERS.len()];
    let before = |choice: usize| known[choice % known.len()];
    let op = match kind % if known.is_empty() { 5 } else { 8 } {
        0 | 1 if ty == Type::Inet => {
            let op = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt][op % 3];
            let bound = dag.number(Value::Inet(address(number_of(number), other)), ty);
            if number % 2 == 0 {
                Op::Compare(op, field, bound)
            } else {
                Op::Compare(op, bound, field)
            }
        }
        0 | 1 => {
            let bound = dag.number(Value::Uint(number_of(number)), Type::Ullong);
            let op = COMPARISONS[op % COMPARISONS.len()];
            if other % 2 == 0 {
                Op::Compare(op, field, bound)
            } else {
                Op::Compare(op, bound, field)
            }
        }
        2 if is_address => {
            let block = |number| Value::Prefix(address(number_of(number), other), (op % 33) as u8);
            Op::In(field, vec![block(number), block(number + 1)])
        }
        2 | 3 if !is_address => {
            let members = (number..number + other % 4).map(|n| Value::Uint(number_of(n)));
            Op::In(field, members.collect())
        }
        2..=4 => {
            let (layer, byte) = (LayerId(op as u32 % 3), number as u32 % 4);
            Op::Load { layer, at: None, byte, bit: other as u32 % 12, bits: 1, little: false }
        }
        5 => Op::And(before(number), before(other)),
        6 => Op::Or(before(number), before(other)),
        _ => Op::Not(before(number)),
    };
    dag.push(op, Type::Bool)
}

/// A query that counts, and perhaps sums a field.
fn query(requires: usize, conditions: &[NodeId], arg: Option<NodeId>) -> LftaQuery {
    let agg = |kind, arg| LftaAgg { kind, arg, ty: Type::Ullong };
    let sum = arg.map(|arg| agg(AggKind::Sum, Some(arg)));
    let layers = [vec![], vec![ABOVE], vec![ABOVE, LayerId(1)], vec![LayerId(2)], vec![BELOW]];
    let qual = |node: &NodeId| Qual { node: *node, text: String::new(), cost_ns: 1 };
    LftaQuery {
        name: "q".to_owned(),
        requires: layers[requires % layers.len()].clone(),
        quals: conditions.iter().map(qual).collect(),
        action: LftaAction::Aggregate {
            keys: Vec::new(),
            ordered: Vec::new(),
            aggs: [Some(agg(AggKind::Count, None)), sum].into_iter().flatten().collect(),
            slots: SLOTS_DEFAULT,
            tolerance: 0,
            real_time: false,
            values: 0,
        },
        snap_len_bytes: None,
    }
}

/// A header of eight bytes, behind it one of four or one of sixteen, or none.
fn of_queries(dag: Dag, queries: Vec<LftaQuery>) -> LftaProgram {
    let layers = [ProtocolId(0), ProtocolId(1), ProtocolId(2), KIND].map(LayerSel::First).to_vec();
    let action = queries[0].action.clone();
    let mut program = program(dag, layers, action);
    let kinds = [(CmpOp::Eq, Value::Uint(1)), (CmpOp::Eq, Value::Uint(2))];
    let of_length = |children: &[u32], bytes: u32| {
        let mut header = header(children, &kinds).unwrap();
        header.exprs.nodes[0].op = Op::Const(Value::Uint(u64::from(bytes)));
        (header.min, header.max) = (bytes, bytes);
        header
    };
    let below = |bytes| {
        let mut header = of_length(&[], bytes);
        header.counts_as.push(KIND);
        Some(header)
    };
    program.parse.protocols = vec![Some(of_length(&[1, 2], 8)), below(4), below(16), None];
    program.parse.start = vec![(1, ProtocolId(0))];
    program.queries = queries;
    program
}

fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let bytes = prop::collection::vec(prop::sample::select(BYTES.to_vec()), 24);
    let kind = prop::sample::select(vec![0u8, 1, 1, 2, 2, 9]);
    let captured = prop::sample::select(vec![24usize, 24, 24, 23, 11, 7]);
    let packet = (bytes, kind, captured, prop::sample::select(LENS.to_vec()));
    let packet = packet.prop_map(|(mut captured, kind, caplen, len)| {
        captured[0] = kind;
        captured.truncate(caplen);
        Packet { captured, len }
    });
    prop::collection::vec(packet, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn filters_count_the_same_asked_of_many_packets_at_once(
        packets in packets(),
        times in prop::sample::select(vec![1usize, 1, 2, 30]),
        conditions in prop::collection::vec(prop::array::uniform5(0usize..64), 1..40),
        filters in prop::collection::vec((0usize..5, 0usize..3, 0usize..64, 0usize..40), 6..30),
    ) {
        let mut dag = Dag::default();
        let fields = fields(&mut dag);
        let mut known = Vec::new();
        for choice in conditions {
            let made = condition(&mut dag, &fields, &known, choice);
            known.push(made);
        }
        let queries = filters.into_iter().map(|(requires, count, first, arg)| {
            let quals: Vec<NodeId> = (0..count).map(|i| known[(first + i) % known.len()]).collect();
            query(requires, &quals, fields.get(arg).copied())
        });
        let program = of_queries(dag, queries.collect());
        // More than arrays have room for, some of them.
        agree(&program, &vec![packets; times].concat());
    }
}

#[test]
fn an_address_of_the_other_family_is_none_that_was_in_its_place_before() {
    let mut dag = Dag::default();
    let inet = fields(&mut dag)[13];
    let wanted = dag.number(Value::Inet(IpAddr::from([10, 0, 0, 7])), Type::Inet);
    let is_wanted = dag.push(Op::Compare(CmpOp::Eq, inet, wanted), Type::Bool);
    let program = of_queries(dag, (0..6).map(|_| query(4, &[is_wanted], None)).collect());
    let packet = |kind, address: &[u8]| {
        let captured = [&[kind; 8], address].concat();
        Packet { len: captured.len() as u32, captured }
    };
    // Arrays have room for 512: the later packets take the places of the first.
    let of_v4 = vec![packet(1, &[10, 0, 0, 7]); 600];
    let of_v6 = vec![packet(2, &[0; 16]); 600];
    let (messages, ..) = agree(&program, &[of_v4, of_v6].concat());
    let counts = messages.iter().filter(|message| match message {
        Message::Tuple(tuple) => tuple.values[0] == Value::Uint(600),
        _ => false,
    });
    assert_eq!(counts.count(), 6);
}
