//! A block of tuples does what its tuples do one after the other.

use wt_catalog::layout::{Packer, words_of};

use super::*;
use crate::block::{Block, BlockColumn};
use crate::compiled::Words;
use crate::hfta::blocks::Remaking;

/// Numbers as blocks hold them: whole words, and fields that share one.
fn block(ty: Type, rows: &[[Value; 2]], bits: u32) -> Block {
    let mut packer = Packer::new(1);
    let columns = [packer.place(ty, bits), packer.place(ty, bits)];
    let stride = packer.end();
    let mut words = Vec::new();
    for (ordinal, row) in rows.iter().enumerate() {
        let at = words.len();
        words.resize(at + stride, 0);
        // Not in order, as after ranges have been folded.
        words[at] = (ordinal as u64 + 3) % rows.len() as u64;
        for (column, value) in columns.iter().zip(row) {
            column.put(&mut words[at..], words_of(value).unwrap());
        }
    }
    let columns = columns.map(BlockColumn::Row).into_iter();
    let columns: Vec<_> = columns.chain([BlockColumn::Same(Value::Uint(7))]).collect();
    Block::new(columns, stride, Words::from(&words[..]))
}

/// Feeds an operator a block, and another of the same kind its tuples: rows, counters and memory are the same.
fn agree(op: &HftaOp, whole_groups: bool, block: &Block) {
    let node = HftaNode {
        name: "q".to_owned(),
        inputs: vec![StreamRef::Hfta(0)],
        op: op.clone(),
        schema: Schema::default(),
        memory: MemoryBound::default(),
    };
    let run = |messages: Vec<Message>| {
        let operator = operator(&node, &[], whole_groups).unwrap();
        let mut bench = Bench { operator, memory: Memory::new(None), ordinal: 0 };
        let mut sent = Vec::new();
        for message in messages.into_iter().chain([Message::End]) {
            let out = bench.message(0, message).unwrap();
            sent.extend(out.into_iter().flat_map(Message::one_by_one));
        }
        (sent, bench.counters(), bench.memory.peak_bytes())
    };
    let one_by_one = run(Message::Block(block.clone()).one_by_one());
    assert_eq!(run(vec![Message::Block(block.clone())]), one_by_one);
    assert!(one_by_one.0.len() > 1, "nothing came: {:?}", one_by_one.0);
}

/// Rows of numbers of a type, its least and greatest among them.
fn rows(ty: Type) -> Vec<[Value; 2]> {
    let number = |i: i64| match (ty, ty.is_signed()) {
        (Type::Int, _) => Value::Int(i64::from(i as i32)),
        (_, true) => Value::Int(i),
        (Type::Uint, _) => Value::Uint(u64::from(i as u32)),
        (Type::Ushort, _) => Value::Uint(u64::from(i as u16)),
        _ => Value::Uint(i as u64),
    };
    let numbers = [5, 0, -1, i64::MAX, i64::MIN, 77, 5, -9, i64::from(i32::MIN), 65_535];
    numbers.iter().map(|i| [number(*i), number(i.wrapping_mul(3))]).collect()
}

#[test]
fn totals_of_every_kind_and_type() {
    use AggKind::*;
    for ty in [Type::Ushort, Type::Uint, Type::Ullong, Type::Int, Type::Llong] {
        for result in [Type::Uint, Type::Int, Type::Ullong, Type::Llong] {
            for bits in [ty.bits().unwrap().min(32), 64] {
                if bits < 64 && (ty.is_signed() || ty.bits() == Some(64)) {
                    continue;
                }
                let (exprs, columns) = inputs(2);
                let agg = |kind, column: usize| HftaAgg {
                    ty: result,
                    ..basic(kind, if kind == Count { vec![] } else { vec![columns[column]] })
                };
                let kinds = [Count, Sum, Min, Max, BitAnd, BitOr, BitXor];
                let aggs: Vec<_> =
                    kinds.iter().flat_map(|kind| [agg(*kind, 0), agg(*kind, 1)]).collect();
                let (post, outputs) = inputs(aggs.len() as u32);
                let op = HftaOp::Aggregate(Box::new(Aggregate {
                    exprs: exprs.0,
                    keys: Vec::new(),
                    key_types: Vec::new(),
                    ordered: Vec::new(),
                    patterns: vec![0],
                    aggs,
                    post: post.0,
                    outputs,
                    ordered_outputs: Vec::new(),
                    ..aggregate()
                }));
                agree(&op, false, &block(ty, &rows(ty), bits));
            }
        }
    }
}

#[test]
fn groups_and_selections() {
    let rows = rows(Type::Uint);
    let block = block(Type::Uint, &rows, 32);
    agree(&HftaOp::Aggregate(Box::new(aggregate())), false, &block);
    let (mut dag, columns) = inputs(3);
    let both = dag.binary(BinaryOp::Add, columns[0], columns[2]);
    let five = dag.uint(5);
    let wanted = dag.compare(CmpOp::Ne, columns[0], five);
    let select = HftaOp::Select {
        exprs: dag.0,
        quals: vec![qual(wanted)],
        outputs: vec![both, columns[1]],
        ordered: Vec::new(),
    };
    agree(&select, false, &block);
}

#[test]
fn whole_groups_pass_with_and_without_a_condition() {
    let rows = rows(Type::Ullong);
    let block = block(Type::Ullong, &rows, 64);
    for (having, columns) in [(false, [2, 0, 1]), (false, [0, 0, 1]), (true, [0, 1, 2])] {
        let (exprs, nodes) = inputs(3);
        let (mut post, results) = inputs(3);
        let seven = post.uint(70);
        let wanted = post.compare(CmpOp::Gt, results[0], seven);
        let op = HftaOp::Aggregate(Box::new(Aggregate {
            exprs: exprs.0,
            keys: vec![nodes[0]],
            key_types: vec![Type::Ullong],
            ordered: Vec::new(),
            patterns: vec![1],
            aggs: vec![basic(AggKind::Sum, vec![nodes[1]]), basic(AggKind::Max, vec![nodes[2]])],
            post: post.0,
            having: if having { vec![wanted] } else { Vec::new() },
            outputs: columns.iter().map(|column| results[*column]).collect(),
            ordered_outputs: Vec::new(),
            over_partials: true,
            ..aggregate()
        }));
        agree(&op, true, &block);
    }
}

/// So many tuples that code is made for the first block of them.
const MANY: usize = 5000;

/// The rows of some values, over and over.
fn many(ty: Type, bits: u32) -> Block {
    let rows: Vec<_> = rows(ty).into_iter().cycle().take(MANY).collect();
    block(ty, &rows, bits)
}

/// Both columns of a type, and the constant third.
fn columns(ty: Type) -> (Dag, [NodeId; 3]) {
    let mut dag = Dag::default();
    let columns = [(0, ty), (1, ty), (2, Type::Ullong)];
    let columns = columns.map(|(column, ty)| dag.node(Op::Input(column), ty));
    (dag, columns)
}

/// A selection does the same by code, which there is.
fn agree_by_code(exprs: Exprs, quals: &[NodeId], outputs: Vec<NodeId>, block: &Block) {
    let mut remaking = Remaking::new(&exprs, &[], quals.iter().copied(), &outputs);
    let counters = &mut OperatorCounters::default();
    assert!(remaking.block(block, counters).is_some(), "there is no code");
    let quals = quals.iter().map(|node| qual(*node)).collect();
    agree(&HftaOp::Select { exprs, quals, outputs, ordered: Vec::new() }, false, block);
}

#[test]
fn arithmetic_of_every_type_by_code() {
    use BinaryOp::*;
    for ty in [Type::Ushort, Type::Uint, Type::Ullong, Type::Int, Type::Llong] {
        for bits in [ty.bits().unwrap().min(32), 64] {
            if bits < 64 && (ty.is_signed() || ty.bits() == Some(64)) {
                continue;
            }
            let block = many(ty, bits);
            for op in [Add, Sub, Mul, Div, Rem, BitAnd, BitOr, Shl, Shr] {
                let (mut dag, [a, b, _]) = columns(ty);
                let result = dag.node(Op::Binary(op, a, b), ty);
                let wide = dag.node(Op::Cast(result), Type::Llong);
                let outputs = vec![b, result, a, wide];
                if ty.is_signed() && matches!(op, Div | Rem) {
                    // The host divides: tuples are interpreted.
                    let (exprs, ordered) = (dag.0, Vec::new());
                    let select = HftaOp::Select { exprs, quals: Vec::new(), outputs, ordered };
                    agree(&select, false, &block);
                } else {
                    agree_by_code(dag.0, &[], outputs, &block);
                }
            }
        }
    }
}

#[test]
fn conditions_and_lacks_by_code() {
    for ty in [Type::Ushort, Type::Uint, Type::Ullong] {
        let (mut dag, [a, b, same]) = columns(ty);
        // Fails where the second column is 0, and is a different condition everywhere.
        let share = dag.node(Op::Binary(BinaryOp::Div, a, b), ty);
        let less = dag.compare(CmpOp::Lt, b, a);
        let differs = dag.compare(CmpOp::Ne, a, share);
        agree_by_code(dag.0.clone(), &[less], vec![share, same], &many(ty, 64));
        agree_by_code(dag.0, &[differs, less], vec![less, same, a], &many(ty, 64));
    }
}

#[test]
fn addresses_by_code() {
    let v4 = |i: u8| Value::Ip([192, 0, 2, i].into());
    let inet = |i: u8| match i % 2 {
        0 => Value::Inet(std::net::IpAddr::V4([192, 0, 2, i].into())),
        _ => Value::Inet(std::net::IpAddr::V6([i.into(), 0, 0, 0, 0, 0, 0, 9].into())),
    };
    let v6 = |i: u8| Value::Ipv6([0x2001, 0xdb8, 0, 0, 0, 0, i.into(), 1].into());
    let mac = |i: u8| Value::Mac([2, 0, 0, 0, 9, i]);
    type Make<'a> = &'a dyn Fn(u8) -> Value;
    let kinds: [(Type, Make<'_>); 4] =
        [(Type::Ip, &v4), (Type::Inet, &inet), (Type::Ipv6, &v6), (Type::Mac, &mac)];
    for (ty, make) in kinds {
        let row = |i: usize| [make((i % 5) as u8), make((i % 7) as u8)];
        let rows: Vec<_> = (0..MANY).map(row).collect();
        let (mut dag, [a, b, same]) = columns(ty);
        let equal = dag.compare(CmpOp::Eq, a, b);
        let other = dag.node(Op::Const(make(3)), ty);
        let is_not = dag.compare(CmpOp::Ne, a, other);
        let block = block(ty, &rows, 64);
        agree_by_code(dag.0.clone(), &[is_not], vec![b, a, equal, same], &block);
        agree_by_code(dag.0, &[equal, is_not], vec![a], &block);
    }
}

#[test]
fn having_over_whole_groups_by_code() {
    let ty = Type::Ullong;
    let (exprs, nodes) = columns(ty);
    let (mut post, results) = columns(ty);
    let seventy = post.node(Op::Const(Value::Uint(70)), ty);
    let wanted = post.compare(CmpOp::Gt, results[0], seventy);
    let mean = post.node(Op::Binary(BinaryOp::Div, results[1], results[2]), ty);
    let agg = |kind, node| HftaAgg { ty, ..basic(kind, vec![node]) };
    let op = HftaOp::Aggregate(Box::new(Aggregate {
        exprs: exprs.0,
        keys: vec![nodes[0]],
        key_types: vec![ty],
        ordered: Vec::new(),
        patterns: vec![1],
        aggs: vec![agg(AggKind::Sum, nodes[1]), agg(AggKind::Max, nodes[2])],
        post: post.0,
        having: vec![wanted],
        outputs: vec![mean, results[0]],
        ordered_outputs: Vec::new(),
        over_partials: true,
        ..aggregate()
    }));
    agree(&op, true, &many(ty, 64));
}

#[test]
fn blocks_of_another_kind_are_taken_without_code() {
    let (mut dag, [a, b, _]) = columns(Type::Uint);
    let sum = dag.node(Op::Binary(BinaryOp::Add, a, b), Type::Uint);
    let mut remaking = Remaking::new(&dag.0, &[], [], &[sum]);
    let counters = &mut OperatorCounters::default();
    assert!(remaking.block(&block(Type::Uint, &rows(Type::Uint), 32), counters).is_none());
    assert_eq!(counters.input, 0, "so few are not worth it");
    assert!(remaking.block(&many(Type::Uint, 64), counters).is_some());
    assert!(remaking.block(&many(Type::Uint, 32), counters).is_none());
    assert_eq!((counters.input, counters.output), (MANY as u64, MANY as u64));
    // Of a type that expressions do not expect there is none at all.
    let mut remaking = Remaking::new(&dag.0, &[], [], &[sum]);
    assert!(remaking.block(&many(Type::Ullong, 64), counters).is_none());
}
