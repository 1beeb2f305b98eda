//! Groups by addresses: keys of IPv4 addresses are held in fewer words, in tables of their own.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wt_catalog::{Type, Value};
use wt_plan::ir::{AggKind, LayerSel, LftaAction, LftaProgram, Op, SLOTS_DEFAULT};

use crate::compiled::{CompiledLfta, PathsWanted};
use crate::ledger::TupleCounters;
use crate::lfta::{LftaBackend, Readers};
use crate::memory::Memory;
use crate::testing::{Dag, agg, increasing, lfta, toy_parse, with_batch};
use crate::tuple::{Message, Tuple};

const BYTES: usize = 5;
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

/// Window, whether the address is IPv6, host (two bytes), value.
type Data = [u8; BYTES];

fn address(is_v6: bool) -> Value {
    Value::Inet(if is_v6 { V6 } else { V4 }.parse().unwrap())
}

/// Groups by window, address and host: how many, the sum of values, and maybe the largest or the sum once more.
fn program(tolerance: u64, third: Option<AggKind>) -> LftaProgram {
    let mut dag = Dag::default();
    let window = dag.load(0, 0, 0, 8);
    let family = dag.load(0, 1, 0, 8);
    let cond = dag.equals(family, 1);
    let [v4, v6] = [false, true].map(|v6| dag.node(Op::Const(address(v6)), Type::Inet));
    let address = dag.node(Op::Select { cond, then: v6, otherwise: v4 }, Type::Inet);
    let host = dag.load(0, 2, 0, 16);
    let value = dag.load(0, 4, 0, 8);
    let action = LftaAction::Aggregate {
        keys: vec![window, address, host],
        ordered: vec![increasing(0)],
        aggs: [agg(AggKind::Count, None), agg(AggKind::Sum, Some(value))]
            .into_iter()
            .chain(third.map(|third| agg(third, Some(value))))
            .collect(),
        slots: SLOTS_DEFAULT,
        tolerance,
        real_time: false,
        values: 0,
    };
    LftaProgram {
        parse: toy_parse(),
        layers: vec![LayerSel::Packet],
        exprs: dag.0,
        prefilter: None,
        queries: vec![lfta("_fta_q", action)],
    }
}

/// What code sends, of packets that come in batches.
fn sent(
    program: &LftaProgram,
    is_free: bool,
    data: &[Data],
    batches: impl IntoIterator<Item = usize>,
) -> (Vec<Tuple>, TupleCounters) {
    let memory = &mut Memory::new(None);
    let readers = Readers { free: &[is_free], ..Readers::default() };
    let mut backend =
        CompiledLfta::new(program, &[], readers, PathsWanted::All, 1, memory).unwrap();
    let mut tuples = Vec::new();
    let mut take = |_, message: Message| {
        let messages = message.one_by_one().into_iter();
        tuples.extend(messages.filter_map(|message| match message {
            Message::Tuple(tuple) => Some(tuple),
            _ => None,
        }));
    };
    let (mut rest, mut ordinal) = (data, 0);
    let mut batches = batches.into_iter();
    while !rest.is_empty() {
        let (packets, more) = rest.split_at(batches.next().unwrap_or(999).clamp(1, rest.len()));
        with_batch(packets, |batch| backend.batch(batch, ordinal, memory, &mut take)).unwrap();
        ordinal += packets.len() as u64;
        rest = more;
    }
    backend.finish(&mut take);
    (tuples, backend.tuples(0))
}

/// What should be sent, and how many packets are late.
fn expected(data: &[Data], tolerance: u64, third: Option<AggKind>) -> (Vec<Tuple>, u64) {
    let mut windows: BTreeMap<u8, Vec<Tuple>> = BTreeMap::new();
    let (mut newest, mut late) = (0, 0);
    for ([window, family, high, low, value], ordinal) in data.iter().zip(0..) {
        newest = newest.max(*window);
        if u64::from(*window) + tolerance < u64::from(newest) {
            late += 1;
            continue;
        }
        let host = u64::from(*high) << 8 | u64::from(*low);
        let key = [Value::Uint((*window).into()), address(*family == 1), Value::Uint(host)];
        let groups = windows.entry(*window).or_default();
        let value = u64::from(*value);
        match groups.iter_mut().find(|group| group.values[..3] == key) {
            Some(group) => {
                let number = |value: &Value| value.as_u64().unwrap();
                let kinds = [AggKind::Count, AggKind::Sum].into_iter().chain(third);
                for (kind, state) in kinds.zip(&mut group.values[3..]) {
                    let now = number(state);
                    *state = Value::Uint(match kind {
                        AggKind::Count => now + 1,
                        AggKind::Max => now.max(value),
                        _ => now + value,
                    });
                }
            }
            None => {
                let states = [1, value, value].map(Value::Uint).into_iter();
                let states = states.take(2 + usize::from(third.is_some()));
                let values = key.into_iter().chain(states).collect();
                groups.push(Tuple { ordinal, values });
            }
        }
    }
    (windows.into_values().flatten().collect(), late)
}

/// Tuples as they are known where nobody asks in what order: each with the first ordinal of its window, sorted.
fn in_no_order(tuples: Vec<Tuple>) -> Vec<Tuple> {
    let mut firsts: BTreeMap<u64, u64> = BTreeMap::new();
    let window = |tuple: &Tuple| tuple.values[0].as_u64().unwrap();
    for tuple in &tuples {
        let first = firsts.entry(window(tuple)).or_insert(tuple.ordinal);
        *first = tuple.ordinal.min(*first);
    }
    let with_first = |tuple: Tuple| Tuple { ordinal: firsts[&window(&tuple)], ..tuple };
    let mut tuples: Vec<Tuple> = tuples.into_iter().map(with_first).collect();
    tuples.sort_by_cached_key(|tuple| format!("{tuple:?}"));
    tuples
}

/// What the third aggregate may be. With and without it, entries of each kind of key lie well with ordinals or without.
const THIRDS: [Option<AggKind>; 3] = [None, Some(AggKind::Max), Some(AggKind::Sum)];

proptest! {
    #[test]
    fn groups_of_both_kinds_leave_in_the_order_of_their_first_packets(
        steps in prop::collection::vec((-2i8..4, any::<bool>(), 0u8..4, any::<u8>()), 0..300),
        batches in prop::collection::vec(1usize..60, 0..40),
        tolerance in 0u64..3,
        third in prop::sample::select(&THIRDS[..]),
    ) {
        let mut window = 9u8;
        let packet = |(step, is_v6, host, value): (i8, bool, u8, u8)| {
            // Mostly the newest window, at times the next, or one before.
            window = window.saturating_add_signed(if host == 0 { step.min(1) } else { 0 });
            [window, is_v6.into(), 0, host, value]
        };
        let data: Vec<Data> = steps.into_iter().map(packet).collect();
        let program = program(tolerance, third);
        let (tuples, counters) = sent(&program, false, &data, batches.iter().copied());
        let (expected, late) = expected(&data, tolerance, third);
        prop_assert_eq!((&tuples, counters.late), (&expected, late));
        let (free, counters) = sent(&program, true, &data, batches);
        prop_assert_eq!((in_no_order(free), counters.late), (in_no_order(expected), late));
    }
}

/// As many as do not fit the cache: mixed, of one kind, and with others at times.
#[test]
fn large_tables_hold_groups_of_both_kinds() {
    for is_v6 in [
        |_: u32| false,
        |_| true,
        |number| number % 2 == 0,
        |number| number % 97 == 0,
        |number| number < 3_000,
    ] {
        for third in THIRDS {
            let packet = |number: u32| {
                let [.., high, low] = (number * 7 % 2_500).to_be_bytes();
                // Now and then one of the window before.
                let window = 3 - u8::from(number % 1_000 == 999);
                [window, is_v6(number).into(), high, low, number as u8]
            };
            let data: Vec<Data> = (0..6_000).map(packet).collect();
            let (expected, late) = expected(&data, 1, third);
            let (tuples, counters) = sent(&program(1, third), false, &data, []);
            assert_eq!(counters.merged, counters.matched - tuples.len() as u64);
            assert!((&tuples, counters.late) == (&expected, late), "{third:?}");
            let (free, counters) = sent(&program(1, third), true, &data, []);
            let is_same = (in_no_order(free), counters.late) == (in_no_order(expected), late);
            assert!(is_same, "{third:?}, in any order");
        }
    }
}
