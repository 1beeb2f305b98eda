//! A block of tuples does what its tuples do one after the other.

use wt_catalog::layout::{Packer, words_of};

use super::*;
use crate::block::{Block, BlockColumn};
use crate::compiled::Words;

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
