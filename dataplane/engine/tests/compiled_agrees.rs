//! Places where compiled code once differed from the reference interpreter: each program must give what the reference gives.

mod support;

use std::ops::Range;

use proptest::prelude::*;
use support::{Dag, Packet, Seen, header, program};
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_engine::Message;
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::{
    AggKind, LayerId, LayerSel, LftaAction, LftaAgg, LftaProgram, LftaQuery, NodeId, Op, Qual,
    SLOTS_DEFAULT,
};

/// What both backends make of one packet: it must be the same. Nothing from compiled code when it does not take the program.
fn agree(program: &LftaProgram, data: &[u8]) -> Seen {
    agree_within(program, data, 0..data.len() as u32)
}

/// The same, of a packet that has some of the bytes.
fn agree_within(program: &LftaProgram, data: &[u8], captured: Range<u32>) -> Seen {
    let captured = data[captured.start as usize..captured.end as usize].to_vec();
    support::agree(program, &[Packet { captured, len: 60 }])
}

fn select(outputs: Vec<NodeId>) -> LftaAction {
    LftaAction::Select { outputs, ordered: Vec::new() }
}

/// The only row of a program.
fn row(program: &LftaProgram, data: &[u8]) -> Vec<Value> {
    match &agree(program, data).0[0] {
        Message::Tuple(tuple) => tuple.values.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_negative_key_does_not_reach_into_its_neighbour() {
    let mut dag = Dag::default();
    let pattern = dag.load(0, 32, Type::Uint);
    let signed = dag.push(Op::Cast(pattern), Type::Int);
    let other = dag.load(4, 8, Type::Uint);
    let action = LftaAction::Aggregate {
        keys: vec![signed, other],
        ordered: Vec::new(),
        aggs: vec![LftaAgg { kind: AggKind::Count, arg: None, ty: Type::Ullong }],
        slots: SLOTS_DEFAULT,
        tolerance: 0,
        real_time: false,
        values: 0,
    };
    let program = program(dag, vec![LayerSel::Packet], action);
    let expected = [Value::Int(-1), Value::Uint(1), Value::Uint(1)];
    assert_eq!(row(&program, &[0xff, 0xff, 0xff, 0xff, 1]), expected);
}

#[test]
fn a_negative_number_is_cut_before_it_is_divided_as_an_unsigned_one() {
    let mut dag = Dag::default();
    let pattern = dag.load(0, 32, Type::Uint);
    let signed = dag.push(Op::Cast(pattern), Type::Int);
    let three = dag.number(Value::Uint(3), Type::Uint);
    let third = dag.push(Op::Binary(BinaryOp::Div, signed, three), Type::Uint);
    let program = program(dag, vec![LayerSel::Packet], select(vec![third]));
    assert_eq!(row(&program, &[0xff; 4]), [Value::Uint(0x5555_5555)]);
}

#[test]
fn saturating_arithmetic_is_cut_to_a_narrow_type() {
    let mut dag = Dag::default();
    let byte = dag.load(0, 8, Type::Uint);
    let more = dag.number(Value::Uint(0xffff), Type::Ushort);
    let sum = dag.push(Op::Saturating(BinaryOp::Add, byte, more), Type::Ushort);
    let program = program(dag, vec![LayerSel::Packet], select(vec![sum]));
    assert_eq!(row(&program, &[2]), [Value::Uint(1)]);
}

#[test]
fn a_saturating_shift_beyond_any_width_is_held_at_the_end() {
    let mut dag = Dag::default();
    let byte = dag.load(0, 8, Type::Ullong);
    let far = dag.number(Value::Uint(u64::MAX), Type::Ullong);
    let shifted = dag.push(Op::Saturating(BinaryOp::Shl, byte, far), Type::Ullong);
    let program = program(dag, vec![LayerSel::Packet], select(vec![shifted]));
    assert_eq!(row(&program, &[2]), [Value::Uint(u64::MAX)]);
}

#[test]
fn a_divisor_that_becomes_zero_or_minus_one_in_its_type_does_not_trap() {
    for (divisor, ty) in [(1 << 32, Type::Int), (u64::MAX, Type::Llong)] {
        let mut dag = Dag::default();
        let least = dag.load(0, 64, Type::Llong);
        let divisor = dag.number(Value::Uint(divisor), Type::Ullong);
        let quotient = dag.push(Op::Binary(BinaryOp::Div, least, divisor), ty);
        let program = program(dag, vec![LayerSel::Packet], select(vec![quotient]));
        let counts = agree(&program, &[0x80, 0, 0, 0, 0, 0, 0, 0]).2[0];
        assert_eq!(counts.matched + counts.failed, 1);
    }
}

#[test]
fn what_lay_below_a_header_is_gone_when_the_header_is_another_one() {
    let next =
        [(CmpOp::Eq, Value::Uint(0)), (CmpOp::Eq, Value::Uint(1)), (CmpOp::Eq, Value::Uint(2))];
    let mut dag = Dag::default();
    let present = [1, 2].map(|layer| dag.push(Op::Present(LayerId(layer)), Type::Bool));
    let layers = vec![
        LayerSel::Last(ProtocolId(0)),
        LayerSel::Below(LayerId(0), ProtocolId(1)),
        LayerSel::Below(LayerId(1), ProtocolId(2)),
    ];
    let mut program = program(dag, layers, select(present.to_vec()));
    program.parse.protocols = (0..3).map(|_| header(&[0, 1, 2], &next)).collect();
    program.parse.start = vec![(1, ProtocolId(0))];
    // Headers 0, 1, 2, and 0 once more: the last 0 has nothing below it.
    assert_eq!(row(&program, &[1, 2, 0, 9]), [Value::Bool(false), Value::Bool(false)]);
    assert_eq!(row(&program, &[1, 2, 9]), [Value::Bool(true), Value::Bool(true)]);
    // The second 0 is the last 0, not one below itself.
    assert_eq!(row(&program, &[0, 9]), [Value::Bool(false), Value::Bool(false)]);
}

#[test]
fn a_path_of_more_protocols_than_are_followed_is_too_deep() {
    let mut dag = Dag::default();
    let depth = dag.push(Op::Depth { protocol: ProtocolId(0), run_below: None }, Type::Uint);
    let mut program = program(dag, vec![LayerSel::Packet], select(vec![depth]));
    let always = [(CmpOp::Eq, Value::Uint(0))];
    program.parse.protocols = (0..70).map(|id| header(&[id + 1], &always)).collect();
    program.parse.protocols.push(None);
    program.parse.start = vec![(1, ProtocolId(0))];
    assert_eq!(agree(&program, &[0; 64]).1.too_deep, 1);
    assert_eq!(agree(&program, &[0; 80]).1.too_deep, 1);
    assert_eq!(agree(&program, &[0; 60]).1.malformed, 1);
}

/// The interpreter walks it, and code goes on with the places that it has found: those of a packet of no bytes too.
#[test]
fn a_packet_of_no_bytes_on_a_rare_path_has_none() {
    let mut dag = Dag::default();
    let byte = dag.load(2, 8, Type::Uint);
    let layers = vec![LayerSel::First(ProtocolId(1))];
    let mut program = program(dag, layers, select(vec![byte]));
    let nothing = || {
        let mut header = header(&[], &[]).unwrap();
        header.exprs.nodes[0].op = Op::Const(Value::Uint(0));
        (header.min, header.max) = (0, 0);
        header
    };
    let (mut first, second) = (nothing(), nothing());
    first.children = vec![(ProtocolId(1), None)];
    program.parse.protocols = vec![Some(first), Some(second)];
    program.parse.start = vec![(1, ProtocolId(0))];
    assert_eq!(agree_within(&program, &[7; 64], 8..8).2[0].absent, 1);
    assert_eq!(agree_within(&program, &[7; 64], 8..11).2[0].output, 1);
}

#[test]
fn a_child_that_every_number_leads_to_is_not_passed_over_for_a_likely_one() {
    let mut dag = Dag::default();
    let wanted = dag.push(Op::Present(LayerId(0)), Type::Bool);
    let mut program = program(dag, vec![LayerSel::First(ProtocolId(2))], select(vec![wanted]));
    let order = [(CmpOp::Ge, Value::Int(-1)), (CmpOp::Eq, Value::Uint(5))];
    let first = header(&[1, 2], &order);
    program.parse.protocols = vec![first, header(&[], &[]), header(&[], &[])];
    program.parse.start = vec![(1, ProtocolId(0))];
    assert_eq!(row(&program, &[5, 0]), [Value::Bool(false)]);
}

/// Bytes that packets of truth values are made of: bits alone, and numbers that are the same either way round.
const BYTES: [u8; 6] = [0, 1, 0x12, 0x34, 0x80, 0xff];
/// Bits of the numbers in them.
const WIDTHS: [u32; 7] = [4, 8, 12, 16, 32, 48, 64];

/// A truth value of a packet, which is TRUE about as often as not, or one of those before.
fn flag(dag: &mut Dag, flags: &[NodeId], data: &[u8], choice: [usize; 5]) -> NodeId {
    let [kind, place, width, constant, other] = choice;
    let byte = place % (data.len() - 8);
    let bits = WIDTHS[width % WIDTHS.len()];
    let ty = if bits > 32 { Type::Ullong } else { Type::Uint };
    let bytes: [u8; 8] = data[byte..byte + 8].try_into().unwrap();
    let here = u64::from_be_bytes(bytes) >> (64 - bits);
    let constants =
        [here, here.swap_bytes() >> (64 - bits), here ^ 1, 0, here + 1, 1 << (bits % 64)];
    let constant_of = |choice: usize| constants[choice % constants.len()];
    let before = |choice: usize| flags[choice % flags.len()];
    let compare = |dag: &mut Dag, op, constant| {
        let number = dag.load(byte as u32, bits, ty);
        let constant = dag.number(Value::Uint(constant), Type::Ullong);
        dag.push(Op::Compare(op, number, constant), Type::Bool)
    };
    let op = match kind % if flags.is_empty() { 5 } else { 10 } {
        0 => {
            let (layer, bit) = (LayerId(0), width as u32 % 8);
            Op::Load { layer, at: None, byte: byte as u32, bit, bits: 1, little: false }
        }
        1 => return compare(dag, CmpOp::Eq, constant_of(constant)),
        2 => return compare(dag, CmpOp::Ne, constant_of(constant)),
        3 => {
            let count = other % 6;
            let members = (0..count).map(|i| Value::Uint(constant_of(constant + i)));
            Op::In(dag.load(byte as u32, bits, ty), members.collect())
        }
        4 => {
            let low = compare(dag, CmpOp::Ge, constant_of(constant));
            let high = compare(dag, CmpOp::Le, constant_of(other));
            Op::And(low, high)
        }
        5 | 6 => Op::And(before(place), before(other)),
        7 => Op::Or(before(place), before(other)),
        8 => Op::Not(before(place)),
        _ => Op::Select {
            cond: before(place),
            then: before(constant),
            otherwise: dag.number(Value::Bool(other % 2 == 0), Type::Bool),
        },
    };
    dag.push(op, Type::Bool)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn truth_values_are_the_same_however_they_are_joined(
        data in prop::collection::vec(prop::sample::select(BYTES.to_vec()), 24),
        choices in prop::collection::vec(prop::array::uniform5(0usize..64), 1..40),
        captured in 8u32..=24,
    ) {
        let mut dag = Dag::default();
        let mut flags = Vec::new();
        for choice in choices {
            let flag = flag(&mut dag, &flags, &data, choice);
            flags.push(flag);
        }
        let mut program = program(dag, vec![LayerSel::Packet], select(flags.clone()));
        agree(&program, &data);
        // Where some are lacking, and one decides.
        program.queries[0].quals = flags[flags.len().saturating_sub(3)..]
            .iter()
            .map(|node| Qual { node: *node, text: String::new(), cost_ns: 1 })
            .collect();
        program.queries[0].action = select(Vec::new());
        agree(&program, &data);
        agree_within(&program, &data, 0..captured);
    }

    #[test]
    fn filters_of_one_field_count_the_same_looked_up_together(
        filters in prop::collection::vec((0u8..8, -20i64..20, 0i64..4), 1..60),
        value in prop_oneof![0u32..12, any::<u32>()],
        len in 0u32..3,
        captured in prop::sample::select(vec![1u32, 4, 4, 4]),
        sums in any::<bool>(),
    ) {
        let mut dag = Dag::default();
        let bits = if value <= 0xffff { 16 } else { 32 };
        let field = dag.load(if bits == 16 { 2 } else { 0 }, bits, Type::Uint);
        let bytes = dag.push(Op::Meta(Meta::Len), Type::Uint);
        let mut queries = Vec::new();
        for (kind, off, more) in filters {
            let first = Value::Uint((i64::from(value) + off).max(0) as u64);
            let last = Value::Uint((i64::from(value) + off + more).max(0) as u64);
            let compare = |dag: &mut Dag, op, bound: &Value| {
                let bound = dag.number(bound.clone(), Type::Ullong);
                dag.push(Op::Compare(op, field, bound), Type::Bool)
            };
            let quals = match kind {
                0 => vec![compare(&mut dag, CmpOp::Eq, &first)],
                1 => vec![dag.push(Op::In(field, vec![first, last]), Type::Bool)],
                2 => vec![compare(&mut dag, CmpOp::Lt, &first)],
                3 => vec![compare(&mut dag, CmpOp::Gt, &last)],
                4 => vec![compare(&mut dag, CmpOp::Ne, &last)],
                _ => {
                    let first = compare(&mut dag, CmpOp::Ge, &first);
                    vec![first, compare(&mut dag, CmpOp::Le, &last)]
                }
            };
            queries.push(quals);
        }
        let sum = |kind, arg| LftaAgg { kind, arg, ty: Type::Ullong };
        let action = LftaAction::Aggregate {
            keys: Vec::new(),
            ordered: Vec::new(),
            aggs: [sum(AggKind::Count, None), sum(AggKind::Sum, Some(bytes))]
                .into_iter()
                .take(1 + usize::from(sums))
                .collect(),
            slots: SLOTS_DEFAULT,
            tolerance: 0,
            real_time: false,
            values: 0,
        };
        // A header of four bytes: a packet that has it has the field.
        let mut program = program(dag, vec![LayerSel::First(ProtocolId(0))], action);
        let mut of_four = header(&[], &[]).unwrap();
        of_four.exprs.nodes[0].op = Op::Const(Value::Uint(4));
        (of_four.min, of_four.max) = (4, 4);
        program.parse.protocols = vec![Some(of_four)];
        program.parse.start = vec![(1, ProtocolId(0))];
        program.queries[0].requires = vec![LayerId(0)];
        let query = program.queries.remove(0);
        let qual = |node| Qual { node, text: String::new(), cost_ns: 1 };
        program.queries = queries
            .into_iter()
            .map(|quals| LftaQuery { quals: quals.into_iter().map(qual).collect(), ..query.clone() })
            .collect();
        let mut data = value.to_be_bytes().to_vec();
        data.resize(4 + len as usize, 0);
        agree_within(&program, &data, 0..captured);
    }
}
