//! The interpreter, operator by operator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};
use wt_plan::ir::*;

use super::env::Lack;
use super::{Interpreter, WalkEnd};
use crate::packet::Packet;
use crate::testing::*;

/// Evaluates the DAG's last node against a packet.
fn eval(layers: &[LayerSel], dag: Dag, packet: &Packet<'_>) -> Result<Value, Lack> {
    eval_with(layers, dag, packet, &[])
}

fn eval_with(
    layers: &[LayerSel],
    dag: Dag,
    packet: &Packet<'_>,
    params: &[Value],
) -> Result<Value, Lack> {
    let root = NodeId(dag.0.nodes.len() as u32 - 1);
    let program = LftaProgram {
        parse: toy_parse(),
        layers: layers.to_vec(),
        exprs: dag.0,
        ..Default::default()
    };
    let mut interpreter = Interpreter::new(&program, params).unwrap();
    interpreter.begin(packet);
    interpreter.eval(packet, root).cloned()
}

/// Evaluates one operator whose operands are `args`.
fn apply(
    args: &[(Value, Type)],
    op: impl FnOnce(&[NodeId]) -> Op,
    ty: Type,
) -> Result<Value, Lack> {
    let mut dag = Dag::default();
    let nodes: Vec<_> =
        args.iter().map(|(value, ty)| dag.node(Op::Const(value.clone()), *ty)).collect();
    dag.node(op(&nodes), ty);
    eval(&[], dag, &packet(0, &[]))
}

fn uint(value: u64) -> (Value, Type) {
    (Value::Uint(value), Type::Uint)
}

fn bool_of(value: bool) -> (Value, Type) {
    (Value::Bool(value), Type::Bool)
}

const T: Result<Value, Lack> = Ok(Value::Bool(true));
const F: Result<Value, Lack> = Ok(Value::Bool(false));

#[test]
fn constants_and_parameters() {
    assert_eq!(apply(&[], |_| Op::Const(Value::Uint(7)), Type::Uint), Ok(Value::Uint(7)));
    let mut dag = Dag::default();
    dag.node(Op::Param(ParamId(1)), Type::Uint);
    let params = uints(&[3, 4]);
    assert_eq!(eval_with(&[], dag, &packet(0, &[]), &params), Ok(Value::Uint(4)));
}

#[test]
fn metadata() {
    let name = Value::bytes("eth7");
    let packet = Packet {
        timestamp_ns: 5_000_000_009,
        len: 99,
        link_type: 101,
        interface: &name,
        ifindex: 3,
        direction: 2,
        data: &[1, 2],
    };
    let meta = |meta, ty| {
        let mut dag = Dag::default();
        dag.node(Op::Meta(meta), ty);
        eval(&[], dag, &packet).unwrap()
    };
    assert_eq!(meta(Meta::Time, Type::Uint), Value::Uint(5));
    assert_eq!(meta(Meta::Timestamp, Type::Time), Value::Time(5_000_000_009));
    assert_eq!(meta(Meta::Len, Type::Uint), Value::Uint(99));
    assert_eq!(meta(Meta::CapLen, Type::Uint), Value::Uint(2));
    assert_eq!(meta(Meta::Interface, Type::String), name);
    assert_eq!(meta(Meta::IfIndex, Type::Uint), Value::Uint(3));
    assert_eq!(meta(Meta::Direction, Type::Uint), Value::Uint(2));
    assert_eq!(meta(Meta::LinkType, Type::Uint), Value::Uint(101));
}

#[test]
fn loads_are_absent_outside_the_captured_bytes_and_in_headers_that_are_not_there() {
    let data = udp_packet(1, 53);
    let port = |data: &[u8], byte| {
        let mut dag = Dag::default();
        dag.load(0, byte, 0, 16);
        eval(&[LayerSel::First(UDP)], dag, &packet(0, data))
    };
    assert_eq!(port(&data, 0), Ok(Value::Uint(53)));
    assert_eq!(port(&data, 6), Ok(Value::Uint(0)));
    assert_eq!(port(&data, 7), Err(Lack::Absent));
    assert_eq!(port(&data, u32::MAX), Err(Lack::Absent));
    // Cut inside the UDP header: it is not there at all.
    assert_eq!(port(&data[..data.len() - 1], 0), Err(Lack::Absent));
}

#[test]
fn loads_at_variable_offsets_and_little_endian() {
    let data = [0, 2, 0x12, 0x34];
    let load = |little| {
        let mut dag = Dag::default();
        let at = dag.load(0, 1, 0, 8);
        let layer = LayerId(0);
        dag.node(Op::Load { layer, at: Some(at), byte: 0, bit: 0, bits: 16, little }, Type::Uint);
        eval(&[LayerSel::Packet], dag, &packet(0, &data))
    };
    assert_eq!(load(false), Ok(Value::Uint(0x1234)));
    assert_eq!(load(true), Ok(Value::Uint(0x3412)));
}

#[test]
fn an_offset_beyond_64_bits_is_absent() {
    let mut dag = Dag::default();
    let at = dag.node(Op::Const(Value::Uint(u64::MAX)), Type::Ullong);
    let layer = LayerId(0);
    let load = Op::Load { layer, at: Some(at), byte: 9, bit: 0, bits: 8, little: false };
    dag.node(load, Type::Uint);
    assert_eq!(eval(&[LayerSel::Packet], dag, &packet(0, &[0; 64])), Err(Lack::Absent));
}

#[test]
fn loads_of_addresses() {
    let data = udp_packet(7, 53);
    let load = |ty| {
        let mut dag = Dag::default();
        let id = dag.load(0, 12, 0, 32);
        dag.0.nodes[id.0 as usize].ty = ty;
        eval(&[LayerSel::First(IP)], dag, &packet(0, &data))
    };
    let address = Ipv4Addr::new(10, 0, 0, 7);
    assert_eq!(load(Type::Ip), Ok(Value::Ip(address)));
    assert_eq!(load(Type::Inet), Ok(Value::Inet(IpAddr::V4(address))));
    let bytes: Vec<u8> = (0..20).collect();
    let load = |byte, ty| {
        let mut dag = Dag::default();
        dag.node(Op::LoadIpv6 { layer: LayerId(0), at: None, byte }, ty);
        eval(&[LayerSel::Packet], dag, &packet(0, &bytes))
    };
    let octets: [u8; 16] = bytes[4..].try_into().unwrap();
    assert_eq!(load(4, Type::Ipv6), Ok(Value::Ipv6(Ipv6Addr::from(octets))));
    assert_eq!(load(4, Type::Inet), Ok(Value::Inet(IpAddr::V6(Ipv6Addr::from(octets)))));
    assert_eq!(load(5, Type::Ipv6), Err(Lack::Absent));
}

#[test]
fn load_or_zero_and_in_bounds_are_never_absent() {
    let data = [0xff, 0x01, 0x02, 0x03, 0x04];
    let both = |layer: LayerSel, at: Option<u64>, byte, bytes| {
        let op = |load| {
            let mut dag = Dag::default();
            let at = at.map(|at| dag.node(Op::Const(Value::Uint(at)), Type::Uint));
            let layer_id = LayerId(0);
            let ty = if load { Type::Uint } else { Type::Bool };
            dag.node(
                if load {
                    Op::LoadOrZero { layer: layer_id, at, byte, bytes }
                } else {
                    Op::InBounds { layer: layer_id, at, byte, bytes }
                },
                ty,
            );
            eval(std::slice::from_ref(&layer), dag, &packet(0, &data)).unwrap()
        };
        (op(true), op(false))
    };
    let zero = (Value::Uint(0), Value::Bool(false));
    assert_eq!(both(LayerSel::Packet, None, 1, 4), (Value::Uint(0x0102_0304), Value::Bool(true)));
    assert_eq!(both(LayerSel::Packet, None, 2, 4), zero);
    // Offsets are added modulo 2^32.
    let wrapped = both(LayerSel::Packet, Some(u64::from(u32::MAX)), 2, 2);
    assert_eq!(wrapped, (Value::Uint(0x0102), Value::Bool(true)));
    assert_eq!(both(LayerSel::First(UDP), None, 0, 1), zero);
}

#[test]
fn load_or_zero_takes_an_absent_offset_as_zero_bytes() {
    let mut dag = Dag::default();
    let at = dag.load(0, 99, 0, 8);
    dag.node(Op::LoadOrZero { layer: LayerId(0), at: Some(at), byte: 0, bytes: 1 }, Type::Uint);
    assert_eq!(eval(&[LayerSel::Packet], dag, &packet(0, &[7])), Ok(Value::Uint(0)));
}

#[test]
fn slices_are_cut_at_the_end_of_the_captured_bytes() {
    let data = b"0123456789";
    let slice = |at: u64, len: Option<u64>| {
        let mut dag = Dag::default();
        let at = dag.node(Op::Const(Value::Uint(at)), Type::Ullong);
        let len = len.map(|len| dag.node(Op::Const(Value::Uint(len)), Type::Ullong));
        dag.node(Op::Slice { layer: LayerId(0), at, len }, Type::Bytes);
        eval(&[LayerSel::Packet], dag, &packet(0, data)).unwrap()
    };
    assert_eq!(slice(2, Some(3)), Value::bytes("234"));
    assert_eq!(slice(7, None), Value::bytes("789"));
    assert_eq!(slice(7, Some(100)), Value::bytes("789"));
    assert_eq!(slice(10, None), Value::bytes(""));
    assert_eq!(slice(u64::MAX, Some(u64::MAX)), Value::bytes(""));
    let mut dag = Dag::default();
    let at = dag.uint(0);
    dag.node(Op::Slice { layer: LayerId(0), at, len: None }, Type::Bytes);
    assert_eq!(eval(&[LayerSel::First(UDP)], dag, &packet(0, data)), Err(Lack::Absent));
}

/// Ethernet, two tags, two IPv4 headers, UDP.
fn tunnel() -> Vec<u8> {
    [&eth(0x8100)[..], &vlan(1, 0x8100), &vlan(2, 0x0800), &ip4(4, 1), &ip4(17, 2), &udp(53)]
        .concat()
}

#[test]
fn layers_of_a_path() {
    let data = tunnel();
    let offset = |layers: &[LayerSel]| {
        let mut dag = Dag::default();
        dag.node(Op::Offset(LayerId(layers.len() as u32 - 1)), Type::Uint);
        match eval(layers, dag, &packet(0, &data)) {
            Ok(Value::Uint(offset)) => Some(offset),
            Err(Lack::Absent) => None,
            other => panic!("{other:?}"),
        }
    };
    use LayerSel::{Above, Below, First, Last, Nth, RunLast, RunNth};
    assert_eq!(offset(&[LayerSel::Packet]), Some(0));
    assert_eq!(offset(&[LayerSel::This]), None);
    assert_eq!(offset(&[First(VLAN)]), Some(14));
    assert_eq!(offset(&[Last(VLAN)]), Some(18));
    assert_eq!(offset(&[Nth(IP, 0)]), Some(22));
    assert_eq!(offset(&[Nth(IP, 1)]), Some(42));
    assert_eq!(offset(&[Nth(IP, 2)]), None);
    assert_eq!(offset(&[First(OTHER)]), None);
    assert_eq!(offset(&[First(ProtocolId(999))]), None);
    let inner = Nth(IP4, 1);
    assert_eq!(offset(&[inner.clone(), Below(LayerId(0), UDP)]), Some(62));
    assert_eq!(offset(&[First(IP4), Below(LayerId(0), IP)]), Some(42));
    assert_eq!(offset(&[LayerSel::Packet, Below(LayerId(0), IP)]), Some(22));
    assert_eq!(offset(&[First(UDP), Below(LayerId(0), UDP)]), None);
    assert_eq!(offset(&[inner, Above(LayerId(0), IP)]), Some(22));
    assert_eq!(offset(&[First(UDP), Above(LayerId(0), IP)]), Some(42));
    assert_eq!(offset(&[First(UDP), Above(LayerId(0), UDP)]), None);
    assert_eq!(offset(&[LayerSel::Packet, Above(LayerId(0), ETH)]), None);
    assert_eq!(offset(&[First(OTHER), Below(LayerId(0), IP)]), None);
    assert_eq!(offset(&[First(ETH), RunLast(LayerId(0), VLAN)]), Some(18));
    assert_eq!(offset(&[First(ETH), RunNth(LayerId(0), VLAN, 0)]), Some(14));
    assert_eq!(offset(&[First(ETH), RunNth(LayerId(0), VLAN, 2)]), None);
    assert_eq!(offset(&[First(ETH), RunLast(LayerId(0), IP)]), None);
    assert_eq!(offset(&[Last(VLAN), RunLast(LayerId(0), IP)]), Some(42));
}

#[test]
fn runs_go_on_through_headers_that_extend_others() {
    // ip6, ext, pad, ext, udp
    let chain = [0, 1, 0, 0, 2, 0, 1, 0, 17, 0];
    let data = [&eth(0x86dd)[..], &chain, &udp(9)].concat();
    let layers = [
        LayerSel::First(IP6),
        LayerSel::RunLast(LayerId(0), EXT),
        LayerSel::RunNth(LayerId(0), EXT, 1),
        LayerSel::RunLast(LayerId(0), UDP),
    ];
    let offset = |layer| {
        let mut dag = Dag::default();
        dag.node(Op::Offset(LayerId(layer)), Type::Uint);
        eval(&layers, dag, &packet(0, &data))
    };
    assert_eq!(offset(1), Ok(Value::Uint(22)));
    assert_eq!(offset(2), Ok(Value::Uint(22)));
    assert_eq!(offset(3), Err(Lack::Absent));
    let mut dag = Dag::default();
    dag.node(Op::Depth { protocol: EXT, run_below: Some(LayerId(0)) }, Type::Uint);
    assert_eq!(eval(&layers, dag, &packet(0, &data)), Ok(Value::Uint(2)));
}

#[test]
fn presence_and_depth_are_never_absent() {
    let data = tunnel();
    let eval = |op, ty| {
        let mut dag = Dag::default();
        dag.node(op, ty);
        let layers = [LayerSel::First(UDP), LayerSel::First(OTHER), LayerSel::First(ETH)];
        eval(&layers, dag, &packet(0, &data)).unwrap()
    };
    assert_eq!(eval(Op::Present(LayerId(0)), Type::Bool), Value::Bool(true));
    assert_eq!(eval(Op::Present(LayerId(1)), Type::Bool), Value::Bool(false));
    let depth = |protocol, run_below: Option<u32>| {
        eval(Op::Depth { protocol, run_below: run_below.map(LayerId) }, Type::Uint)
    };
    assert_eq!(depth(IP, None), Value::Uint(2));
    assert_eq!(depth(OTHER, None), Value::Uint(0));
    assert_eq!(depth(VLAN, Some(2)), Value::Uint(2));
    assert_eq!(depth(IP, Some(2)), Value::Uint(0));
    assert_eq!(depth(IP, Some(1)), Value::Uint(0));
}

#[test]
fn the_arm_of_the_concrete_protocol_is_taken_and_only_that_one_read() {
    let data = udp_packet(1, 53);
    let arms = |arms: &dyn Fn(NodeId, NodeId) -> Vec<(ProtocolId, NodeId)>| {
        let mut dag = Dag::default();
        let absent = dag.load(1, 0, 0, 8);
        let there = dag.uint(4);
        let arms = arms(absent, there);
        dag.node(Op::ByProtocol { layer: LayerId(0), arms }, Type::Uint);
        eval(&[LayerSel::First(IP), LayerSel::First(OTHER)], dag, &packet(0, &data))
    };
    assert_eq!(arms(&|absent, there| vec![(IP6, absent), (IP4, there)]), Ok(Value::Uint(4)));
    assert_eq!(arms(&|absent, _| vec![(IP4, absent)]), Err(Lack::Absent));
    assert_eq!(arms(&|_, there| vec![(IP6, there)]), Err(Lack::Absent));
}

#[test]
fn arithmetic_wraps_and_division_by_zero_fails() {
    let binary = |op, a, b| apply(&[uint(a), uint(b)], |n| Op::Binary(op, n[0], n[1]), Type::Uint);
    assert_eq!(binary(BinaryOp::Sub, 3, 5), Ok(Value::Uint(4_294_967_294)));
    assert_eq!(binary(BinaryOp::Div, 7, 2), Ok(Value::Uint(3)));
    assert_eq!(binary(BinaryOp::Div, 7, 0), Err(Lack::Failed));
    assert_eq!(binary(BinaryOp::Rem, 7, 0), Err(Lack::Failed));
    let saturating =
        |op, a, b| apply(&[uint(a), uint(b)], |n| Op::Saturating(op, n[0], n[1]), Type::Ullong);
    assert_eq!(saturating(BinaryOp::Sub, 3, 5), Ok(Value::Uint(0)));
    assert_eq!(saturating(BinaryOp::Div, 3, 0), Ok(Value::Uint(0)));
    let neg = |v| apply(&[uint(v)], |n| Op::Unary(UnaryOp::Neg, n[0]), Type::Int);
    assert_eq!(neg(1), Ok(Value::Int(-1)));
}

#[test]
fn comparisons() {
    let compare =
        |op, a: (Value, Type), b| apply(&[a, b], |n| Op::Compare(op, n[0], n[1]), Type::Bool);
    assert_eq!(compare(CmpOp::Lt, uint(1), uint(2)), T);
    let minus_one = || (Value::Int(-1), Type::Int);
    assert_eq!(compare(CmpOp::Gt, minus_one(), uint(1)), F);
    assert_eq!(compare(CmpOp::Eq, minus_one(), (Value::Uint(u64::MAX), Type::Ullong)), F);
    let nan = || (Value::Float(f64::NAN), Type::Float);
    assert_eq!(compare(CmpOp::Eq, nan(), nan()), F);
    assert_eq!(compare(CmpOp::Ge, nan(), nan()), F);
    assert_eq!(compare(CmpOp::Ne, nan(), nan()), T);
}

#[test]
fn truth_tables() {
    for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
        let and = apply(&[bool_of(a), bool_of(b)], |n| Op::And(n[0], n[1]), Type::Bool);
        let or = apply(&[bool_of(a), bool_of(b)], |n| Op::Or(n[0], n[1]), Type::Bool);
        assert_eq!(and, Ok(Value::Bool(a && b)));
        assert_eq!(or, Ok(Value::Bool(a || b)));
    }
    assert_eq!(apply(&[bool_of(true)], |n| Op::Not(n[0]), Type::Bool), F);
}

#[test]
fn membership() {
    let is_in = |value, members: Vec<Value>| apply(&[value], |n| Op::In(n[0], members), Type::Bool);
    assert_eq!(is_in(uint(3), uints(&[1, 2, 3])), T);
    assert_eq!(is_in(uint(4), uints(&[1, 2, 3])), F);
    assert_eq!(is_in(uint(4), vec![Value::Int(4)]), T);
    let block = |text: &str, len| Value::Prefix(text.parse().unwrap(), len);
    let address = |text: &str| (Value::Inet(text.parse().unwrap()), Type::Inet);
    let blocks = || vec![block("10.0.0.0", 8), block("2001:db8::", 32)];
    assert_eq!(is_in(address("10.1.2.3"), blocks()), T);
    assert_eq!(is_in(address("11.1.2.3"), blocks()), F);
    assert_eq!(is_in(address("2001:db8:1::"), blocks()), T);
    assert_eq!(is_in(address("::ffff:10.1.2.3"), blocks()), F);
    assert_eq!(is_in(address("1.2.3.4"), vec![block("0.0.0.0", 0)]), T);
    assert_eq!(is_in(address("::1"), vec![block("::", 0)]), T);
    assert_eq!(is_in(address("::1"), vec![block("::1", 128)]), T);
    assert_eq!(is_in(address("::1"), vec![block("0.0.0.0", 0)]), F);
    let prefix = || (block("10.0.0.0", 8), Type::Prefix);
    assert_eq!(is_in(prefix(), vec![block("10.0.0.0", 8)]), T);
    assert_eq!(is_in(prefix(), vec![block("10.0.0.0", 7)]), F);
}

#[test]
fn select_reads_only_the_arm_it_takes() {
    let select = |cond, swap| {
        let mut dag = Dag::default();
        let cond = dag.node(Op::Const(Value::Bool(cond)), Type::Bool);
        let absent = dag.load(0, 0, 0, 8);
        let there = dag.uint(1);
        let (then, otherwise) = if swap { (absent, there) } else { (there, absent) };
        dag.node(Op::Select { cond, then, otherwise }, Type::Uint);
        eval(&[LayerSel::Packet], dag, &packet(0, &[]))
    };
    assert_eq!(select(true, false), Ok(Value::Uint(1)));
    assert_eq!(select(false, true), Ok(Value::Uint(1)));
    assert_eq!(select(false, false), Err(Lack::Absent));
}

#[test]
fn casts_convert_or_fail() {
    let cast = |value, ty, to| apply(&[(value, ty)], |n| Op::Cast(n[0]), to);
    assert_eq!(cast(Value::Uint(300), Type::Uint, Type::Float), Ok(Value::Float(300.0)));
    assert_eq!(cast(Value::Int(-1), Type::Int, Type::Uint), Ok(Value::Uint(0xffff_ffff)));
    let v6 = Value::Inet("::1".parse().unwrap());
    assert_eq!(cast(v6, Type::Inet, Type::Ip), Err(Lack::Failed));
}

#[test]
fn calls_compute_or_fail() {
    let call = |text: &str| {
        let args = [(Value::bytes(text), Type::String)];
        apply(&args, |n| Op::Call { symbol: "strtoi", args: n.to_vec(), handle: None }, Type::Uint)
    };
    assert_eq!(call("a12b"), Ok(Value::Uint(12)));
    assert_eq!(call("none"), Err(Lack::Failed));
}

#[test]
fn the_first_operand_without_a_value_decides() {
    // 1 / 0 fails, the load is absent.
    let of = |absent_first: bool| {
        let mut dag = Dag::default();
        let (one, zero) = (dag.uint(1), dag.uint(0));
        let failed = dag.binary(BinaryOp::Div, one, zero);
        let absent = dag.load(0, 0, 0, 8);
        let (a, b) = if absent_first { (absent, failed) } else { (failed, absent) };
        dag.binary(BinaryOp::Add, a, b);
        eval(&[LayerSel::Packet], dag, &packet(0, &[]))
    };
    assert_eq!(of(true), Err(Lack::Absent));
    assert_eq!(of(false), Err(Lack::Failed));
}

#[test]
fn absent_operands_make_conjunctions_absent() {
    let mut dag = Dag::default();
    let no = dag.node(Op::Const(Value::Bool(false)), Type::Bool);
    let absent = dag.load(0, 0, 0, 8);
    let test = dag.equals(absent, 1);
    dag.node(Op::And(no, test), Type::Bool);
    assert_eq!(eval(&[LayerSel::Packet], dag, &packet(0, &[])), Err(Lack::Absent));
}

#[test]
fn deep_expressions_do_not_use_the_call_stack() {
    let mut dag = Dag::default();
    let one = dag.load(0, 0, 0, 8);
    let mut sum = one;
    for _ in 0..200_000 {
        sum = dag.binary(BinaryOp::Add, sum, one);
    }
    assert_eq!(eval(&[LayerSel::Packet], dag, &packet(0, &[1])), Ok(Value::Uint(200_001)));
}

#[test]
fn bounds_follow_from_the_time_alone() {
    let mut dag = Dag::default();
    let time = dag.node(Op::Meta(Meta::Time), Type::Uint);
    let sixty = dag.uint(60);
    let bucket = dag.binary(BinaryOp::Div, time, sixty);
    let len = dag.node(Op::Meta(Meta::Len), Type::Uint);
    let program = LftaProgram { exprs: dag.0, ..Default::default() };
    let mut interpreter = Interpreter::new(&program, &[]).unwrap();
    assert_eq!(interpreter.eval_at(125_000_000_000, bucket), Ok(&Value::Uint(2)));
    assert_eq!(interpreter.eval_at(125_000_000_000, len), Err(Lack::Absent));
}

fn walk(data: &[u8], link_type: u16) -> (WalkEnd, Vec<(u32, usize)>) {
    let program = LftaProgram { parse: toy_parse(), ..Default::default() };
    let mut interpreter = Interpreter::new(&program, &[]).unwrap();
    let end = interpreter.begin(&Packet { link_type, ..packet(0, data) });
    (end, interpreter.path())
}

#[test]
fn the_walk_ends_above_what_is_malformed() {
    let good = udp_packet(1, 53);
    let whole = vec![(ETH.0, 0), (IP4.0, 14), (UDP.0, 34)];
    assert_eq!(walk(&good, 1), (WalkEnd::Complete, whole.clone()));
    // Cut in the UDP header, in the IPv4 header, in Ethernet.
    assert_eq!(walk(&good[..41], 1), (WalkEnd::Malformed, whole[..2].to_vec()));
    assert_eq!(walk(&good[..20], 1), (WalkEnd::Malformed, whole[..1].to_vec()));
    assert_eq!(walk(&good[..13], 1), (WalkEnd::Malformed, vec![]));
    assert_eq!(walk(&[], 1), (WalkEnd::Malformed, vec![]));
    // A failed check, a length below the least.
    let mut version = good.clone();
    version[14] = 0x65;
    assert_eq!(walk(&version, 1), (WalkEnd::Malformed, whole[..1].to_vec()));
    let mut short = good.clone();
    short[14] = 0x44;
    assert_eq!(walk(&short, 1), (WalkEnd::Malformed, whole[..1].to_vec()));
    // A length beyond the captured bytes.
    let mut long = good.clone();
    long[14] = 0x4f;
    assert_eq!(walk(&long, 1), (WalkEnd::Malformed, whole[..1].to_vec()));
    // Nothing known follows.
    assert_eq!(walk(&eth(0x1234), 1), (WalkEnd::Complete, whole[..1].to_vec()));
    assert_eq!(walk(&good, 147), (WalkEnd::UnknownLinkType, vec![]));
    assert_eq!(walk(&good[14..], 101), (WalkEnd::Complete, vec![(IP4.0, 0), (UDP.0, 20)]));
}

#[test]
fn the_walk_ends_at_the_repeat_limit() {
    let tags = |n: usize| {
        let tags = (1..n).flat_map(|i| vlan(i as u8, 0x8100)).chain(vlan(n as u8, 0x0800));
        let data: Vec<u8> = eth(0x8100).into_iter().chain(tags).chain(ip4(17, 1)).collect();
        [&data[..], &udp(1)].concat()
    };
    assert_eq!(walk(&tags(2), 1).0, WalkEnd::Complete);
    let (end, path) = walk(&tags(3), 1);
    assert_eq!(end, WalkEnd::TooDeep);
    assert_eq!(path, [(ETH.0, 0), (VLAN.0, 14), (VLAN.0, 18)]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        data in prop::collection::vec(any::<u8>(), 0..120),
        cut in 0usize..120,
        ethernet in any::<bool>(),
    ) {
        let mut tunnel = tunnel();
        tunnel.truncate(cut);
        for data in [&data[..], &tunnel] {
            let program = LftaProgram { parse: toy_parse(), ..Default::default() };
            let mut interpreter = Interpreter::new(&program, &[]).unwrap();
            let link_type = if ethernet { 1 } else { 101 };
            interpreter.begin(&Packet { link_type, ..packet(0, data) });
            let path = interpreter.path();
            prop_assert!(path.iter().all(|&(_, offset)| offset <= data.len()));
            prop_assert!(path.is_sorted_by_key(|&(_, offset)| offset));
        }
    }
}
