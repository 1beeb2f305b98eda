//! The reference backend, message by message.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::*;

use super::table::{GroupTable, HEAP_BYTES_MAX, KeyHasher};
use super::{LftaBackend, ReferenceLfta};
use crate::ledger::TupleCounters;
use crate::memory::Memory;
use crate::testing::*;
use crate::tuple::Message;

/// Packets of three bytes: window, key, value.
struct Bytes {
    dag: Dag,
    window: NodeId,
    key: NodeId,
    value: NodeId,
}

fn bytes() -> Bytes {
    let mut dag = Dag::default();
    let window = dag.load(0, 0, 0, 8);
    let key = dag.load(0, 1, 0, 8);
    let value = dag.load(0, 2, 0, 8);
    Bytes { dag, window, key, value }
}

fn backend(dag: Dag, queries: Vec<LftaQuery>) -> ReferenceLfta {
    let program = LftaProgram {
        parse: toy_parse(),
        layers: vec![LayerSel::Packet, LayerSel::First(UDP)],
        exprs: dag.0,
        prefilter: None,
        queries,
    };
    ReferenceLfta::new(&program, &[], &[], &mut Memory::new(None)).unwrap()
}

/// Windows and keys of the messages for each packet, and at the end.
fn feed(backend: &mut ReferenceLfta, packets: &[&[u8]]) -> Vec<Vec<(u32, Message)>> {
    let mut sent: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(i, data)| {
            let mut out = Vec::new();
            backend.packet(&packet(i as u64, data), i as u64, &mut |q, m| out.push((q, m)));
            out
        })
        .collect();
    let mut out = Vec::new();
    backend.finish(&mut |query, message| out.push((query, message)));
    sent.push(out);
    sent
}

/// `ordinal: values`, `<= column: bound`, or the name of the message.
fn show(messages: &[(u32, Message)]) -> String {
    let one = |(_, message): &(u32, Message)| match message {
        Message::Tuple(tuple) => {
            let values: Vec<_> =
                tuple.values.iter().map(|v| v.as_u64().unwrap().to_string()).collect();
            format!("{}:{}", tuple.ordinal, values.join(","))
        }
        Message::Punctuation(bounds) => {
            let bounds: Vec<_> =
                bounds.iter().map(|(c, v)| format!("{c}>={}", v.as_u64().unwrap())).collect();
            bounds.join(",")
        }
        Message::Block(block) => format!("{} rows", block.len()),
        Message::Flush => "flush".to_owned(),
        Message::End => "end".to_owned(),
    };
    messages.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn grouping(b: &Bytes, slots: u32, tolerance: u64, real_time: bool) -> LftaAction {
    LftaAction::Aggregate {
        keys: vec![b.window, b.key],
        ordered: vec![increasing(0)],
        aggs: vec![agg(AggKind::Count, None), agg(AggKind::Sum, Some(b.value))],
        slots,
        tolerance,
        real_time,
        values: 0,
    }
}

#[test]
fn a_window_is_ejected_in_the_order_of_first_packets_when_the_next_begins() {
    let b = bytes();
    let query = lfta("q", grouping(&b, 1 << 16, 0, false));
    let mut backend = backend(b.dag, vec![query]);
    let packets: [&[u8]; 6] =
        [&[1, 9, 1], &[1, 8, 2], &[1, 9, 3], &[2, 8, 4], &[1, 9, 5], &[3, 1, 6]];
    let sent: Vec<_> = feed(&mut backend, &packets).iter().map(|m| show(m)).collect();
    let expected =
        ["0>=1", "", "", "0:1,9,2,4 1:1,8,1,2 0>=2", "", "3:2,8,1,4 0>=3", "5:3,1,1,6 end"];
    assert_eq!(sent, expected);
    let tuples = TupleCounters {
        offered: 6,
        matched: 5,
        late: 1,
        merged: 1,
        output: 4,
        ..Default::default()
    };
    assert_eq!(backend.tuples(0), tuples);
}

#[test]
fn a_tolerance_keeps_windows_open_and_bounds_lag_behind() {
    let b = bytes();
    let query = lfta("q", grouping(&b, 1 << 16, 1, false));
    let mut backend = backend(b.dag, vec![query]);
    let packets: [&[u8]; 5] = [&[5, 0, 1], &[6, 0, 1], &[5, 0, 1], &[7, 0, 1], &[5, 0, 1]];
    let sent: Vec<_> = feed(&mut backend, &packets).iter().map(|m| show(m)).collect();
    let expected = ["0>=4", "0>=5", "", "0:5,0,2,2 0>=6", "", "1:6,0,1,1 3:7,0,1,1 end"];
    assert_eq!(sent, expected);
    assert_eq!(backend.tuples(0).late, 1);
}

#[test]
fn a_collision_ejects_the_group_that_was_there() {
    let b = bytes();
    let query = lfta("q", grouping(&b, 1, 0, false));
    let mut backend = backend(b.dag, vec![query]);
    let packets: [&[u8]; 4] = [&[1, 1, 1], &[1, 2, 1], &[1, 2, 1], &[1, 1, 1]];
    let sent: Vec<_> = feed(&mut backend, &packets).iter().map(|m| show(m)).collect();
    let expected = ["0>=1", "0:1,1,1,1", "", "1:1,2,2,2", "3:1,1,1,1 end"];
    assert_eq!(sent, expected);
    let tuples = backend.tuples(0);
    assert_eq!((tuples.ejected, tuples.output, tuples.merged, tuples.held), (2, 3, 1, 0));
}

#[test]
fn with_real_time_filtered_packets_advance_the_window() {
    for (real_time, expected) in [(true, "0:1,1,1,1 0>=2"), (false, "")] {
        let mut b = bytes();
        let wanted = b.dag.equals(b.key, 1);
        let mut query = lfta("q", grouping(&b, 16, 0, real_time));
        query.quals.push(qual(wanted));
        let mut backend = backend(b.dag, vec![query]);
        let sent = feed(&mut backend, &[&[1, 1, 1], &[2, 5, 1]]);
        assert_eq!(show(&sent[1]), expected);
        assert_eq!(backend.tuples(0).filtered, 1);
    }
}

#[test]
fn a_prefilter_saves_the_quals_but_not_real_time() {
    for real_time in [true, false] {
        let mut b = bytes();
        let wanted = b.dag.equals(b.key, 1);
        let mut query = lfta("q", grouping(&b, 16, 0, real_time));
        query.quals.push(qual(wanted));
        let program = LftaProgram {
            layers: vec![LayerSel::Packet],
            exprs: b.dag.0,
            prefilter: Some(wanted),
            queries: vec![query],
            ..Default::default()
        };
        let mut backend = ReferenceLfta::new(&program, &[], &[], &mut Memory::new(None)).unwrap();
        // The last one has no key: absent counts as wanted, and the qual rejects it.
        let sent = feed(&mut backend, &[&[1, 1, 1], &[2, 5, 1], &[2]]);
        assert_eq!(show(&sent[1]), if real_time { "0:1,1,1,1 0>=2" } else { "" });
        let tuples = backend.tuples(0);
        assert_eq!((tuples.matched, tuples.filtered, tuples.absent), (1, 1, 1));
    }
}

#[test]
fn every_tuple_has_one_fate() {
    let mut b = bytes();
    let nonzero = b.dag.uint(0);
    let wanted = b.dag.compare(CmpOp::Ne, b.window, nonzero);
    let hundred = b.dag.uint(100);
    let share = b.dag.binary(BinaryOp::Div, hundred, b.value);
    let mut query =
        lfta("q", LftaAction::Select { outputs: vec![b.key, share], ordered: Vec::new() });
    query.requires.push(LayerId(0));
    query.quals.push(qual(wanted));
    let mut needs_udp = query.clone();
    needs_udp.requires.push(LayerId(1));
    let mut backend = backend(b.dag, vec![query, needs_udp]);
    let packets: [&[u8]; 5] = [&[1, 7, 3], &[0, 7, 3], &[], &[1], &[1, 7, 0]];
    let sent: Vec<_> = feed(&mut backend, &packets).iter().map(|m| show(m)).collect();
    assert_eq!(sent, ["0:7,33", "", "", "", "", "end end"]);
    let tuples = TupleCounters {
        offered: 5,
        matched: 1,
        filtered: 1,
        absent: 2,
        failed: 1,
        output: 1,
        ..Default::default()
    };
    assert_eq!(backend.tuples(0), tuples);
    assert_eq!(backend.tuples(1), TupleCounters { offered: 5, filtered: 5, ..Default::default() });
    assert_eq!(backend.tuples(2), TupleCounters::default());
}

#[test]
fn bounds_of_a_time_advance_windows_and_selections() {
    let mut dag = Dag::default();
    let time = dag.node(Op::Meta(Meta::Time), Type::Uint);
    let ten = dag.uint(10);
    let bucket = dag.binary(BinaryOp::Div, time, ten);
    let zero = dag.uint(0);
    let falling = dag.binary(BinaryOp::Sub, zero, time);
    let from_time =
        |column, decreasing, band| OrderedColumn { column, decreasing, band, from_time: true };
    let select = LftaAction::Select {
        outputs: vec![zero, bucket, falling],
        ordered: vec![from_time(1, false, 1), from_time(2, true, 5), increasing(0)],
    };
    let group = LftaAction::Aggregate {
        keys: vec![bucket],
        ordered: vec![from_time(0, false, 0)],
        aggs: vec![agg(AggKind::Count, None)],
        slots: 4,
        tolerance: 0,
        real_time: false,
        values: 0,
    };
    let mut backend = backend(dag, vec![lfta("s", select), lfta("g", group)]);
    let mut out = Vec::new();
    backend.packet(&packet(5_000_000_000, &[]), 0, &mut |q, m| out.push((q, m)));
    assert_eq!(show(&out), format!("0:0,0,{} 0>=0", u64::from(0u32.wrapping_sub(5))));
    let mut bound = |query, time_s: u64| {
        let mut out = Vec::new();
        backend.bound(query, time_s * 1_000_000_000, &mut |q, m| out.push((q, m)));
        show(&out)
    };
    assert_eq!(bound(0, 35), format!("1>=2,2>={}", u64::from(0u32.wrapping_sub(35)) + 5));
    assert_eq!(bound(1, 9), "0>=0");
    assert_eq!(bound(1, 35), "0:0,1 0>=3");
    assert_eq!(bound(1, 20), "0>=3");
    assert_eq!(bound(2, 99), "");
}

#[test]
fn strings_beyond_the_budget_of_a_table_leave_at_once() {
    let hasher = KeyHasher::new(false);
    let mut table = GroupTable::new(1 << 10, vec![agg(AggKind::Count, None)], true, hasher);
    let long = vec![0u8; 1 << 20];
    let mut ejected = 0;
    for i in 0..40u64 {
        let keys = [Value::Uint(i), Value::bytes(&long)];
        ejected += table.update(&keys, &[None], i).ejected.into_iter().flatten().count();
    }
    assert_eq!(ejected + table.len(), 40);
    assert!(table.len() as u64 * (1 << 20) <= HEAP_BYTES_MAX);
    assert_eq!(table.take(|_| true).len() + ejected, 40);
    assert_eq!(table.len(), 0);
}

#[test]
fn tables_are_charged_to_the_memory_limit() {
    let b = bytes();
    let query = lfta("q", grouping(&b, 1 << 16, 0, false));
    let program = LftaProgram { exprs: b.dag.0, queries: vec![query], ..Default::default() };
    let error = ReferenceLfta::new(&program, &[], &[], &mut Memory::new(Some(1 << 20)));
    assert!(error.err().unwrap().to_string().contains("query `q`"));
}
