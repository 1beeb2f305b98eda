//! Operators, message by message.

mod blocks;
mod bounds;
mod seen;
mod session;

use proptest::prelude::*;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::*;
use wt_plan::physical::{
    Aggregate, HftaAgg, HftaAggFunction, HftaNode, HftaOp, MemoryBound, Schema, StreamRef,
};

use super::{Context, Operator, operator};
use crate::ledger::OperatorCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::testing::*;
use crate::tuple::{Message, Tuple};

/// An operator with what it works with.
struct Bench {
    operator: Box<dyn Operator>,
    memory: Memory,
    ordinal: u64,
}

impl Bench {
    fn new(op: HftaOp, inputs: usize) -> Self {
        let node = HftaNode {
            name: "q".to_owned(),
            inputs: vec![StreamRef::Hfta(0); inputs],
            op,
            schema: Schema::default(),
            memory: MemoryBound::default(),
        };
        let operator = operator(&node, &[], false).unwrap();
        Self { operator, memory: Memory::new(None), ordinal: 0 }
    }

    fn message(&mut self, port: usize, message: Message) -> Result<Vec<Message>, MemoryExceeded> {
        let mut out = Vec::new();
        let mut cx = Context { memory: &mut self.memory, out: &mut out };
        self.operator.message(port, message, &mut cx)?;
        let OperatorCounters { input, expanded, output, held, late, .. } = self.operator.counters();
        let OperatorCounters { merged, filtered, absent, failed, limited, .. } =
            self.operator.counters();
        let right = output + held + late + merged + filtered + absent + failed + limited;
        assert_eq!(input + expanded, right, "{:?}", self.operator.counters());
        Ok(out)
    }

    fn tuple(&mut self, port: usize, values: &[u64]) -> String {
        let tuple = Tuple { ordinal: self.ordinal, values: uints(values).into() };
        self.ordinal += 1;
        show(&self.message(port, Message::Tuple(tuple)).unwrap())
    }

    fn bound(&mut self, port: usize, column: u32, value: u64) -> String {
        let bounds = vec![(column, Value::Uint(value))];
        show(&self.message(port, Message::Punctuation(bounds)).unwrap())
    }

    fn flush(&mut self) -> String {
        show(&self.message(0, Message::Flush).unwrap())
    }

    fn end(&mut self, port: usize) -> String {
        show(&self.message(port, Message::End).unwrap())
    }

    fn counters(&self) -> OperatorCounters {
        self.operator.counters()
    }
}

fn show(messages: &[Message]) -> String {
    let number = |value: &Value| match value {
        Value::Float(f) => f.to_string(),
        value => value.as_u64().unwrap().to_string(),
    };
    let row = |tuple: &Tuple| tuple.values.iter().map(number).collect::<Vec<_>>().join(",");
    let one = |message: &Message| match message {
        Message::Tuple(tuple) => row(tuple),
        Message::Block(block) => {
            block.tuples().map(|tuple| row(&tuple)).collect::<Vec<_>>().join(" ")
        }
        Message::Punctuation(bounds) => {
            let bounds: Vec<_> =
                bounds.iter().map(|(c, v)| format!("{c}>={}", number(v))).collect();
            bounds.join(",")
        }
        Message::Flush => "flush".to_owned(),
        Message::End => "end".to_owned(),
    };
    messages.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn inputs(count: u32) -> (Dag, Vec<NodeId>) {
    let mut dag = Dag::default();
    let nodes = (0..count).map(|i| dag.node(Op::Input(i), Type::Uint)).collect();
    (dag, nodes)
}

fn basic(kind: AggKind, args: Vec<NodeId>) -> HftaAgg {
    HftaAgg {
        function: HftaAggFunction::Basic(kind),
        args,
        consts: Vec::new(),
        distinct: false,
        ty: Type::Ullong,
        text: String::new(),
    }
}

/// `SELECT tb, k, count(*), sum(v) … GROUP BY c0/10 AS tb, c1 AS k`.
fn aggregate() -> Aggregate {
    let (mut dag, columns) = inputs(3);
    let ten = dag.uint(10);
    let bucket = dag.binary(BinaryOp::Div, columns[0], ten);
    let (post, outputs) = inputs(4);
    Aggregate {
        exprs: dag.0,
        quals: Vec::new(),
        keys: vec![bucket, columns[1]],
        key_types: vec![Type::Uint, Type::Uint],
        ordered: vec![increasing(0)],
        patterns: vec![0b11],
        aggs: vec![basic(AggKind::Count, vec![]), basic(AggKind::Sum, vec![columns[2]])],
        post: post.0,
        having: Vec::new(),
        outputs,
        ordered_outputs: vec![(0, 0)],
        tolerance: 0,
        real_time: false,
        over_partials: false,
        seen: None,
        emit_empty: false,
    }
}

fn bench(aggregate: Aggregate, inputs: usize) -> Bench {
    Bench::new(HftaOp::Aggregate(Box::new(aggregate)), inputs)
}

#[test]
fn selection_filters_projects_and_maps_bounds() {
    let (mut dag, columns) = inputs(2);
    let ten = dag.uint(10);
    let bucket = dag.binary(BinaryOp::Div, columns[0], ten);
    let both = dag.binary(BinaryOp::Add, columns[0], columns[1]);
    let quotient = dag.binary(BinaryOp::Div, columns[0], columns[1]);
    let five = dag.uint(5);
    let wanted = dag.compare(CmpOp::Ne, columns[1], five);
    let mut bench = Bench::new(
        HftaOp::Select {
            exprs: dag.0,
            quals: vec![qual(wanted)],
            outputs: vec![bucket, both, quotient],
            ordered: vec![(0, 0), (1, 0)],
        },
        1,
    );
    assert_eq!(bench.tuple(0, &[25, 2]), "2,27,12");
    assert_eq!(bench.tuple(0, &[25, 5]), "");
    assert_eq!(bench.tuple(0, &[25, 0]), "");
    // Late tuples pass.
    assert_eq!(bench.tuple(0, &[5, 1]), "0,6,5");
    // Only the first ordered output follows from column 0 alone.
    assert_eq!(bench.bound(0, 0, 39), "0>=3");
    assert_eq!(bench.bound(0, 1, 39), "");
    assert_eq!(bench.end(0), "end");
    let counters = bench.counters();
    assert_eq!((counters.filtered, counters.failed, counters.output), (1, 1, 2));
}

#[test]
fn a_window_closes_when_it_is_passed() {
    let mut bench = bench(aggregate(), 1);
    assert_eq!(bench.tuple(0, &[11, 1, 5]), "");
    assert_eq!(bench.tuple(0, &[12, 2, 1]), "");
    assert_eq!(bench.tuple(0, &[19, 1, 7]), "");
    assert_eq!(bench.tuple(0, &[20, 3, 1]), "1,1,2,12 1,2,1,1");
    assert_eq!(bench.tuple(0, &[19, 1, 7]), "");
    assert_eq!(bench.counters().late, 1);
    assert_eq!(bench.bound(0, 0, 29), "0>=2");
    assert_eq!(bench.bound(0, 0, 30), "2,3,1,1 0>=3");
    assert_eq!(bench.tuple(0, &[29, 1, 1]), "");
    assert_eq!(bench.counters().late, 2);
    assert_eq!(bench.tuple(0, &[30, 1, 1]), "");
    assert_eq!(bench.end(0), "3,1,1,1 end");
    assert_eq!(bench.memory.used_bytes(), 0);
    assert!(bench.memory.peak_bytes() > 0);
}

#[test]
fn a_flush_closes_now_and_later_tuples_form_new_groups() {
    let mut bench = bench(aggregate(), 1);
    bench.tuple(0, &[11, 1, 5]);
    assert_eq!(bench.flush(), "1,1,1,5 flush");
    bench.tuple(0, &[11, 1, 6]);
    assert_eq!(bench.end(0), "1,1,1,6 end");
}

#[test]
fn with_several_inputs_a_window_closes_when_all_have_passed_it() {
    let mut bench = bench(aggregate(), 3);
    bench.tuple(0, &[11, 1, 1]);
    assert_eq!(bench.tuple(0, &[21, 1, 1]), "");
    assert_eq!(bench.tuple(1, &[12, 1, 1]), "");
    assert_eq!(bench.tuple(1, &[22, 1, 1]), "");
    // Late is what is behind its own input.
    assert_eq!(bench.tuple(1, &[19, 1, 1]), "");
    assert_eq!(bench.counters().late, 1);
    assert_eq!(bench.tuple(2, &[19, 1, 1]), "");
    assert_eq!(bench.tuple(2, &[35, 1, 1]), "1,1,3,3");
    // An input that ends no longer counts.
    assert_eq!(bench.end(0), "0>=2");
    assert_eq!(bench.bound(1, 0, 40), "2,1,2,2 0>=3");
    assert_eq!(bench.end(1), "0>=3");
    assert_eq!(bench.end(2), "3,1,1,1 end");
}

#[test]
fn partial_groups_close_by_punctuation_alone() {
    let mut plan = aggregate();
    plan.over_partials = true;
    plan.tolerance = 1;
    let mut bench = bench(plan, 1);
    bench.tuple(0, &[11, 1, 5]);
    // An ejected partial group of a later window comes before the rest of an earlier one.
    assert_eq!(bench.tuple(0, &[31, 1, 5]), "");
    assert_eq!(bench.tuple(0, &[11, 1, 6]), "");
    // The tolerance is off the punctuation already.
    assert_eq!(bench.bound(0, 0, 20), "1,1,2,11 0>=2");
    assert_eq!(bench.counters().late, 0);
}

#[test]
fn rows_come_by_window_first_packet_pattern_and_creation() {
    let mut plan = aggregate();
    plan.over_partials = true;
    plan.patterns = vec![0b11, 0b01];
    let mut bench = bench(plan, 1);
    let mut partial = |ordinal, values: &[u64]| {
        let tuple = Tuple { ordinal, values: uints(values).into() };
        bench.message(0, Message::Tuple(tuple)).unwrap();
    };
    partial(9, &[20, 5, 1]);
    partial(7, &[10, 6, 1]);
    partial(3, &[10, 5, 1]);
    partial(2, &[10, 6, 1]);
    assert_eq!(bench.end(0), "1,6,2,2 1,0,3,3 1,5,1,1 2,5,1,1 2,0,1,1 end");
    assert_eq!(bench.counters().expanded, 4);
}

#[test]
fn a_default_key_and_an_off_key_stay_apart() {
    let mut plan = aggregate();
    plan.patterns = vec![0b11, 0b01];
    let mut bench = bench(plan, 1);
    bench.tuple(0, &[10, 0, 1]);
    bench.tuple(0, &[10, 4, 2]);
    assert_eq!(bench.end(0), "1,0,1,1 1,0,2,3 1,4,1,2 end");
}

#[test]
fn having_and_failing_outputs_suppress_rows() {
    let mut plan = aggregate();
    let mut post = Dag(plan.post);
    let many = post.uint(2);
    plan.having = vec![post.compare(CmpOp::Ge, plan.outputs[2], many)];
    plan.outputs[3] = post.binary(BinaryOp::Div, plan.outputs[3], plan.outputs[1]);
    plan.post = post.0;
    let mut bench = bench(plan, 1);
    bench.tuple(0, &[10, 1, 9]);
    bench.tuple(0, &[10, 2, 9]);
    bench.tuple(0, &[10, 2, 9]);
    bench.tuple(0, &[10, 0, 9]);
    bench.tuple(0, &[10, 0, 9]);
    assert_eq!(bench.end(0), "1,2,2,9 end");
    let counters = bench.counters();
    assert_eq!((counters.filtered, counters.failed), (1, 1));
}

/// [`aggregate`] without its keys, with the first `outputs` of its columns.
fn without_keys(outputs: usize) -> Aggregate {
    let mut plan = Aggregate {
        keys: Vec::new(),
        key_types: Vec::new(),
        ordered: Vec::new(),
        ordered_outputs: Vec::new(),
        patterns: vec![0],
        emit_empty: true,
        ..aggregate()
    };
    plan.outputs.truncate(outputs);
    plan
}

#[test]
fn one_row_over_nothing_when_there_is_no_key() {
    let mut plan = without_keys(2);
    let mut empty = bench(plan.clone(), 1);
    assert_eq!(empty.end(0), "0,0 end");
    let mut one = bench(plan.clone(), 1);
    one.tuple(0, &[1, 1, 5]);
    assert_eq!(one.end(0), "1,5 end");
    plan.emit_empty = false;
    assert_eq!(bench(plan, 1).end(0), "end");
}

#[test]
fn distinct_operands_and_host_aggregates() {
    let mut plan = aggregate();
    plan.aggs[0].args = plan.aggs[1].args.clone();
    plan.aggs[0].distinct = true;
    plan.aggs[1].function = HftaAggFunction::Host("avg");
    plan.aggs[1].ty = Type::Float;
    let mut bench = bench(plan, 1);
    for value in [4, 4, 1, 4] {
        bench.tuple(0, &[10, 1, value]);
    }
    assert_eq!(bench.end(0), "1,1,2,3.25 end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn groups_beyond_the_memory_limit_name_the_query_and_the_remedy() {
    let mut bench = bench(aggregate(), 1);
    bench.memory = Memory::new(Some(10_000));
    let error = (0..1000).find_map(|key| {
        let tuple = Tuple { ordinal: key, values: uints(&[10, key, 1]).into() };
        bench.message(0, Message::Tuple(tuple)).err()
    });
    let error = error.unwrap();
    assert_eq!((error.query.as_str(), error.limit_bytes), ("q", 10_000));
    assert!(error.hint().contains("--memory"));
}

fn merge(inputs: usize, slack: Option<u64>, queue_tuples_max: u32) -> Bench {
    let slack = slack.map(Value::Uint);
    Bench::new(HftaOp::Merge { column: Some((0, false)), slack, queue_tuples_max }, inputs)
}

#[test]
fn a_merge_waits_for_the_other_input() {
    let mut bench = merge(2, None, 100);
    assert_eq!(bench.tuple(0, &[1, 0]), "");
    assert_eq!(bench.tuple(0, &[4, 0]), "");
    assert_eq!(bench.tuple(1, &[3, 1]), "1,0 3,1");
    assert_eq!(bench.tuple(1, &[2, 1]), "");
    assert_eq!(bench.counters().late, 1);
    assert_eq!(bench.bound(1, 0, 5), "4,0 0>=4");
    assert_eq!(bench.end(0), "0>=5");
    assert_eq!(bench.tuple(1, &[6, 1]), "6,1");
    assert_eq!(bench.end(1), "end");
}

#[test]
fn ties_leave_by_input_position_whatever_comes_first() {
    let mut bench = merge(2, None, 100);
    assert_eq!(bench.tuple(1, &[1, 1]), "");
    assert_eq!(bench.tuple(0, &[1, 0]), "1,0");
    assert_eq!(bench.tuple(1, &[1, 1]), "");
    assert_eq!(bench.tuple(0, &[1, 0]), "1,0");
    assert_eq!(bench.tuple(0, &[2, 0]), "1,1 1,1");
    assert_eq!(bench.end(1), "2,0 0>=2");
}

#[test]
fn a_full_queue_asks_for_bounds_and_then_lets_ties_pass() {
    let mut bench = merge(2, None, 3);
    assert_eq!(bench.tuple(0, &[1, 0]), "");
    for _ in 0..2 {
        assert_eq!(bench.tuple(1, &[1, 1]), if bench.ordinal == 2 { "1,0" } else { "" });
    }
    assert_eq!(bench.operator.waiting_on(), Vec::<usize>::new());
    bench.tuple(1, &[1, 1]);
    assert_eq!(bench.operator.waiting_on(), [0]);
    let mut out = Vec::new();
    let mut cx = Context { memory: &mut bench.memory, out: &mut out };
    bench.operator.bounds_given(&mut cx).unwrap();
    assert_eq!(show(&out), "1,1 1,1 1,1 0>=1");
    assert_eq!(bench.operator.waiting_on(), Vec::<usize>::new());
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn a_bound_that_does_not_help_is_asked_for_again_when_as_much_has_come() {
    let mut bench = merge(2, None, 2);
    bench.tuple(0, &[5, 0]);
    bench.tuple(0, &[6, 0]);
    assert_eq!(bench.operator.waiting_on(), [1]);
    let mut out = Vec::new();
    let mut cx = Context { memory: &mut bench.memory, out: &mut out };
    bench.operator.bounds_given(&mut cx).unwrap();
    assert!(out.is_empty());
    assert!(bench.operator.waiting_on().is_empty());
    bench.tuple(0, &[7, 0]);
    assert!(bench.operator.waiting_on().is_empty());
    bench.tuple(0, &[8, 0]);
    assert_eq!(bench.operator.waiting_on(), [1]);
}

#[test]
fn slack_presumes_that_silent_inputs_follow() {
    let mut bench = merge(2, Some(2), 100);
    assert_eq!(bench.tuple(0, &[10, 0]), "");
    assert_eq!(bench.tuple(0, &[12, 0]), "10,0");
    assert_eq!(bench.tuple(1, &[11, 1]), "11,1");
    assert_eq!(bench.tuple(0, &[15, 0]), "12,0");
    // Behind what has left.
    assert_eq!(bench.tuple(1, &[11, 1]), "");
    assert_eq!(bench.counters().late, 1);
}

#[test]
fn without_a_column_a_merge_passes_what_comes() {
    let op = HftaOp::Merge { column: None, slack: None, queue_tuples_max: 1 };
    let mut bench = Bench::new(op, 2);
    assert_eq!(bench.tuple(1, &[9]), "9");
    assert_eq!(bench.tuple(0, &[1]), "1");
    assert_eq!(bench.bound(0, 0, 7), "");
    assert_eq!(bench.end(0), "");
    assert_eq!(bench.end(1), "end");
}

#[test]
fn a_decreasing_merge() {
    let op = HftaOp::Merge { column: Some((0, true)), slack: None, queue_tuples_max: 9 };
    let mut bench = Bench::new(op, 2);
    bench.tuple(0, &[9]);
    bench.tuple(0, &[5]);
    assert_eq!(bench.tuple(1, &[7]), "9 7");
    assert_eq!(bench.tuple(1, &[8]), "");
    assert_eq!(bench.counters().late, 1);
    bench.end(1);
    assert_eq!(bench.end(0), "end");
}

#[test]
fn distinct_rows_within_a_window() {
    let mut bench = Bench::new(HftaOp::Distinct { window: vec![increasing(0)] }, 1);
    assert_eq!(bench.tuple(0, &[1, 5]), "1,5");
    assert_eq!(bench.tuple(0, &[1, 5]), "");
    assert_eq!(bench.tuple(0, &[1, 6]), "1,6");
    let held = bench.memory.used_bytes();
    assert_eq!(bench.tuple(0, &[2, 5]), "2,5");
    assert!(bench.memory.used_bytes() < held);
    assert_eq!(bench.tuple(0, &[1, 5]), "");
    assert_eq!(bench.bound(0, 0, 3), "0>=3");
    assert_eq!(bench.memory.used_bytes(), 0);
    assert_eq!(bench.end(0), "end");
    let counters = bench.counters();
    assert_eq!((counters.merged, counters.late), (1, 1));
}

fn sort(limit: Option<u64>) -> Bench {
    // Columns: window, value, hidden sort key.
    let (dag, columns) = inputs(3);
    let op = HftaOp::Sort {
        window: vec![increasing(0)],
        exprs: dag.0,
        keys: vec![(columns[2], true), (columns[1], false)],
        limit,
        outputs: vec![1, 0],
    };
    Bench::new(op, 1)
}

#[test]
fn rows_are_sorted_within_their_window() {
    let mut bench = sort(None);
    for row in [[1, 7, 3], [1, 8, 9], [1, 6, 3], [1, 7, 3]] {
        assert_eq!(bench.tuple(0, &row), "");
    }
    assert_eq!(bench.tuple(0, &[2, 1, 1]), "8,1 6,1 7,1 7,1");
    assert_eq!(bench.tuple(0, &[1, 1, 1]), "");
    assert_eq!(bench.counters().late, 1);
    assert_eq!(bench.bound(0, 0, 3), "1,2 1>=3");
    assert_eq!(bench.end(0), "end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn a_limit_keeps_the_first_rows_and_the_memory_small() {
    let mut bench = sort(Some(2));
    for (i, key) in [5, 9, 1, 7, 9, 9].into_iter().enumerate() {
        bench.tuple(0, &[1, i as u64, key]);
    }
    assert_eq!(bench.counters().held, 2);
    assert_eq!(bench.end(0), "1,1 4,1 end");
    assert_eq!(bench.counters().limited, 4);
    let mut none = sort(Some(0));
    none.tuple(0, &[1, 1, 1]);
    assert_eq!(none.end(0), "end");
}

proptest! {
    /// However the inputs interleave, the output is sorted by value, input and arrival, and nothing is missing.
    #[test]
    fn a_merge_does_not_depend_on_the_interleaving(
        mut inputs in prop::collection::vec(prop::collection::vec(0u64..20, 0..30), 2..4),
        schedule in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        inputs.iter_mut().for_each(|input| input.sort_unstable());
        let mut expected: Vec<(u64, usize, usize)> = Vec::new();
        for (port, input) in inputs.iter().enumerate() {
            expected.extend(input.iter().enumerate().map(|(i, &value)| (value, port, i)));
        }
        expected.sort_unstable();
        let mut bench = merge(inputs.len(), None, 10_000);
        let mut next = vec![0; inputs.len()];
        let mut seen = Vec::new();
        let mut take = |bench: &mut Bench, port: usize, message| {
            for message in bench.message(port, message).unwrap() {
                if let Message::Tuple(tuple) = message {
                    seen.push(tuple.values.iter().map(|v| v.as_u64().unwrap()).collect::<Vec<_>>());
                }
            }
        };
        let ports = schedule.iter().map(|index| index.index(inputs.len()));
        let rest = (0..inputs.len()).flat_map(|port| vec![port; inputs[port].len()]);
        for port in ports.chain(rest) {
            let Some(&value) = inputs[port].get(next[port]) else { continue };
            let values = uints(&[value, port as u64, next[port] as u64]);
            next[port] += 1;
            take(&mut bench, port, Message::Tuple(Tuple { ordinal: 0, values: values.into() }));
        }
        for port in 0..inputs.len() {
            take(&mut bench, port, Message::End);
        }
        let seen: Vec<_> = seen.iter().map(|v| (v[0], v[1] as usize, v[2] as usize)).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(bench.memory.used_bytes(), 0);
    }

    #[test]
    fn a_sort_equals_sorting_each_window(
        rows in prop::collection::vec((0u64..3, 0u64..5, 0u64..5), 0..60),
        limit in prop::option::of(0u64..6),
    ) {
        let mut rows = rows;
        rows.sort_by_key(|row| row.0);
        let mut expected = Vec::new();
        for window in 0..3 {
            let mut of_window: Vec<_> = rows.iter().filter(|row| row.0 == window).collect();
            of_window.sort_by_key(|row| (std::cmp::Reverse(row.2), row.1));
            of_window.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
            expected.extend(of_window.iter().map(|row| format!("{},{}", row.1, row.0)));
        }
        let mut bench = sort(limit);
        let mut seen = Vec::new();
        for &(window, value, key) in &rows {
            seen.push(bench.tuple(0, &[window, value, key]));
        }
        seen.push(bench.end(0));
        let seen = seen.join(" ");
        let seen: Vec<_> = seen.split_whitespace().filter(|row| *row != "end").collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(bench.memory.used_bytes(), 0);
    }
}
