//! A block of tuples does what its tuples do one after the other.

use wt_catalog::layout::{Packer, words_of};

use super::*;
use crate::block::{Block, BlockColumn};
use crate::compiled::{Regroup, Words};
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

fn node(op: &HftaOp) -> HftaNode {
    HftaNode {
        name: "q".to_owned(),
        inputs: vec![StreamRef::Hfta(0)],
        op: op.clone(),
        schema: Schema::default(),
        memory: MemoryBound::default(),
    }
}

/// What comes of messages, one tuple at a time, the operator's counters, and the most memory it has taken.
fn run(
    op: &HftaOp,
    whole_groups: bool,
    messages: Vec<Message>,
) -> (Vec<Message>, OperatorCounters, u64) {
    let operator = operator(&node(op), &[], whole_groups).unwrap();
    let mut bench = Bench { operator, memory: Memory::new(None), ordinal: 0 };
    let mut sent = Vec::new();
    for message in messages.into_iter().chain([Message::End]) {
        let out = bench.message(0, message).unwrap();
        sent.extend(out.into_iter().flat_map(Message::one_by_one));
    }
    (sent, bench.counters(), bench.memory.peak_bytes())
}

/// Feeds an operator a block, and another of the same kind its tuples: rows, counters and memory are the same. So they are where the tuples of a block have one
/// ordinal.
fn agree(op: &HftaOp, whole_groups: bool, block: &Block) {
    for block in [block, &of_one_ordinal(block)] {
        let one_by_one = run(op, whole_groups, Message::Block(block.clone()).one_by_one());
        assert_eq!(run(op, whole_groups, vec![Message::Block(block.clone())]), one_by_one);
        assert!(one_by_one.0.len() > 1, "nothing came: {:?}", one_by_one.0);
    }
}

/// The same rows without ordinals.
fn of_one_ordinal(block: &Block) -> Block {
    let rows = block.words().chunks_exact(block.stride());
    let words: Vec<u64> = rows.flat_map(|row| &row[1..]).copied().collect();
    let columns = block.columns().iter().map(|column| match column {
        BlockColumn::Row(column) => BlockColumn::Row(column.shifted(1)),
        same @ BlockColumn::Same(_) => same.clone(),
    });
    let columns: Vec<_> = columns.collect();
    Block::new(columns, block.stride() - 1, Words::from(&words[..])).of_ordinal(4)
}

/// A number cut to a type.
fn number(ty: Type, i: i64) -> Value {
    match (ty, ty.is_signed()) {
        (Type::Int, _) => Value::Int(i64::from(i as i32)),
        (_, true) => Value::Int(i),
        (Type::Uint, _) => Value::Uint(u64::from(i as u32)),
        (Type::Ushort, _) => Value::Uint(u64::from(i as u16)),
        _ => Value::Uint(i as u64),
    }
}

/// Rows of numbers of a type, its least and greatest among them.
fn rows(ty: Type) -> Vec<[Value; 2]> {
    let number = |i: i64| number(ty, i);
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

type Make = fn(u8) -> Value;

/// Types of addresses, and what makes one of a number.
const ADDRESSES: [(Type, Make); 4] = [
    (Type::Ip, |i| Value::Ip([192, 0, 2, i].into())),
    (Type::Inet, |i| match i % 2 {
        0 => Value::Inet(std::net::IpAddr::V4([192, 0, 2, i].into())),
        _ => Value::Inet(std::net::IpAddr::V6([i.into(), 0, 0, 0, 0, 0, 0, 9].into())),
    }),
    (Type::Ipv6, |i| Value::Ipv6([0x2001, 0xdb8, 0, 0, 0, 0, i.into(), 1].into())),
    (Type::Mac, |i| Value::Mac([2, 0, 0, 0, 9, i])),
];

#[test]
fn addresses_by_code() {
    for (ty, make) in ADDRESSES {
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
fn blocks_of_two_layouts_have_code() {
    let (mut dag, [a, b, _]) = columns(Type::Uint);
    let sum = dag.node(Op::Binary(BinaryOp::Add, a, b), Type::Uint);
    let mut remaking = Remaking::new(&dag.0, &[], [], &[sum]);
    let counters = &mut OperatorCounters::default();
    let few = block(Type::Uint, &rows(Type::Uint), 32);
    assert!(remaking.block(&few, counters).is_none(), "so few are not worth it");
    for bits in [64, 32, 64] {
        let remade = remaking.block(&many(Type::Uint, bits), counters);
        assert_eq!(remade.map(|remade| remade.len()), Some(MANY as u64));
    }
    assert!(remaking.block(&many(Type::Uint, 24), counters).is_none(), "of a third one");
    // Of a type that expressions do not expect there is none at all.
    let mut remaking = Remaking::new(&dag.0, &[], [], &[sum]);
    assert!(remaking.block(&many(Type::Ullong, 64), counters).is_none());
}

/// An aggregation does the same by code, which there is, also where some tuples come one by one.
fn agree_grouped(plan: &Aggregate, block: &Block) {
    let regroup = Regroup::of(plan).expect("groups are words");
    let mut taking = Remaking::of_groups(plan, &[], &regroup);
    assert!(taking.block(block, &mut OperatorCounters::default()).is_some(), "there is no code");
    let op = HftaOp::Aggregate(Box::new(plan.clone()));
    agree(&op, false, block);
    let one_by_one = |pieces: &[usize]| {
        let message = |(piece, block): (usize, Block)| match pieces.contains(&piece) {
            true => Message::Block(block).one_by_one(),
            false => vec![Message::Block(block)],
        };
        run(&op, false, block.pieces(MANY / 10).enumerate().flat_map(message).collect())
    };
    let all = one_by_one(&(0..10).collect::<Vec<_>>());
    for pieces in [&[][..], &[9], &[0, 1, 2], &[0, 3, 4, 7, 8]] {
        assert_eq!(one_by_one(pieces), all, "one by one: {pieces:?}");
    }
}

/// An aggregation over two columns of a type, without a window.
fn grouping(ty: Type, keys: &[usize], aggs: &[(AggKind, usize)]) -> Aggregate {
    let (exprs, nodes) = columns(ty);
    let agg = |(kind, column): &(AggKind, usize)| match kind {
        AggKind::Count => basic(*kind, Vec::new()),
        _ => HftaAgg { ty, ..basic(*kind, vec![nodes[*column]]) },
    };
    let aggs: Vec<_> = aggs.iter().map(agg).collect();
    let key_types = keys.iter().map(|key| [ty, ty, Type::Ullong][*key]);
    let mut post = Dag::default();
    let results = key_types.clone().chain(aggs.iter().map(|agg| agg.ty));
    let outputs = (0..).zip(results).map(|(i, ty)| post.node(Op::Input(i), ty)).collect();
    Aggregate {
        exprs: exprs.0,
        keys: keys.iter().map(|key| nodes[*key]).collect(),
        key_types: key_types.collect(),
        ordered: Vec::new(),
        patterns: vec![(1 << keys.len()) - 1],
        aggs,
        post: post.0,
        outputs,
        ordered_outputs: Vec::new(),
        ..aggregate()
    }
}

#[test]
fn groups_of_every_type_by_code() {
    use AggKind::*;
    for ty in [Type::Ushort, Type::Uint, Type::Ullong, Type::Int, Type::Llong] {
        for bits in [ty.bits().unwrap().min(32), 64] {
            if bits < 64 && (ty.is_signed() || ty.bits() == Some(64)) {
                continue;
            }
            let row = |i: i64| {
                [number(ty, i * i % 101 - 50), number(ty, (i % 13).wrapping_mul(i64::MAX / 11))]
            };
            let rows: Vec<_> = (0..MANY as i64).map(row).collect();
            let block = block(ty, &rows, bits);
            let kinds = [Count, Sum, Min, Max, BitAnd, BitOr, BitXor];
            let aggs = kinds.map(|kind| (kind, 1));
            for keys in [&[0][..], &[1, 0], &[0, 2], &[]] {
                let mut plan = grouping(ty, keys, &aggs);
                agree_grouped(&plan, &block);
                // Not all tuples, and not all groups.
                let mut dag = Dag(plan.exprs);
                let (a, b) = (dag.node(Op::Input(0), ty), dag.node(Op::Input(1), ty));
                let is_less = dag.compare(CmpOp::Lt, a, b);
                (plan.exprs, plan.quals) = (dag.0, vec![qual(is_less)]);
                let mut post = Dag(plan.post);
                let limit = post.node(Op::Const(Value::Uint(2)), Type::Ullong);
                let is_more = post.compare(CmpOp::Gt, plan.outputs[keys.len()], limit);
                (plan.post, plan.having) = (post.0, vec![is_more]);
                agree_grouped(&plan, &block);
            }
        }
    }
}

#[test]
fn windows_by_code() {
    // Times that step back, by more than some tolerances.
    let row = |i: u64| {
        let time = 10 + i / 400 - (i % 900 / 895) * 2;
        [Value::Uint(time), Value::Uint(i * 7 % 300)]
    };
    let rows: Vec<_> = (0..MANY as u64).map(row).collect();
    let back: Vec<_> = rows.iter().rev().cloned().collect();
    for (rows, decreasing) in [(rows, false), (back, true)] {
        let block = block(Type::Uint, &rows, 32);
        for tolerance in 0..4 {
            for over_partials in [false, true] {
                let ordered = vec![OrderedColumn { decreasing, ..increasing(1) }];
                let plan = grouping(Type::Uint, &[1, 0], &[(AggKind::Count, 0), (AggKind::Max, 1)]);
                let plan = Aggregate {
                    ordered,
                    tolerance,
                    over_partials,
                    ordered_outputs: vec![(1, 1)],
                    ..plan
                };
                agree_grouped(&plan, &block);
            }
        }
    }
}

#[test]
fn groups_by_addresses_by_code() {
    for (ty, make) in ADDRESSES {
        let row = |i: usize| [make((i % 50) as u8), make((i % 70) as u8)];
        let rows: Vec<_> = (0..MANY).map(row).collect();
        agree_grouped(&grouping(ty, &[1, 0], &[(AggKind::Count, 0)]), &block(ty, &rows, 64));
        if ty == Type::Ip {
            let aggs = [(AggKind::Min, 0), (AggKind::Max, 0)];
            agree_grouped(&grouping(ty, &[1], &aggs), &block(ty, &rows, 32));
        }
    }
}

#[test]
fn parameters_change_while_groups_are_open() {
    let ty = Type::Ullong;
    let row = |i: u64| [Value::Uint(i % 77), Value::Uint(i * 7 % 1000)];
    let rows: Vec<_> = (0..MANY as u64).map(row).collect();
    let block = block(ty, &rows, 64);
    let mut plan = grouping(ty, &[0], &[(AggKind::Count, 0), (AggKind::Sum, 1)]);
    let mut dag = Dag(plan.exprs);
    let (value, limit) = (dag.node(Op::Input(1), ty), dag.node(Op::Param(ParamId(0)), ty));
    let is_less = dag.compare(CmpOp::Lt, value, limit);
    (plan.exprs, plan.quals) = (dag.0, vec![qual(is_less)]);
    let op = HftaOp::Aggregate(Box::new(plan));
    let run = |is_block: bool| {
        let operator = operator(&node(&op), &[Value::Uint(1)], false).unwrap();
        let mut bench = Bench { operator, memory: Memory::new(None), ordinal: 0 };
        let mut sent = Vec::new();
        for limit in [500, 0, 900] {
            bench.operator.set_params(&op, &[Value::Uint(limit)]).unwrap();
            let whole = Message::Block(block.clone());
            let messages = if is_block { vec![whole] } else { whole.one_by_one() };
            messages
                .into_iter()
                .for_each(|message| sent.extend(bench.message(0, message).unwrap()));
        }
        sent.extend(bench.message(0, Message::End).unwrap());
        let sent: Vec<_> = sent.into_iter().flat_map(Message::one_by_one).collect();
        (sent, bench.counters())
    };
    let (sent, counters) = run(false);
    assert_eq!((sent.len(), counters.filtered), (77 + 1, (MANY / 2 + MANY + MANY / 10) as u64));
    assert_eq!(run(true), (sent, counters));
}
