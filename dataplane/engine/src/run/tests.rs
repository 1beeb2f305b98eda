//! Whole runs over captures.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_plan::ir::*;
use wt_plan::physical::{
    Aggregate, ColumnInfo, HftaAgg, HftaAggFunction, HftaNode, HftaOp, InterfacePlan, MemoryBound,
    Output, PhysicalPlan, Schema, StreamRef,
};

use super::*;
use crate::testing::*;

/// Columns of a stream.
fn schema(columns: usize) -> Schema {
    let column = |i| ColumnInfo {
        name: format!("c{i}"),
        ty: Type::Uint,
        ordering: Default::default(),
        window: i == 0,
        subtype: None,
    };
    Schema { columns: (0..columns).map(column).collect() }
}

pub(super) fn output(query: &str, stream: StreamRef, columns: usize) -> Output {
    Output { query: query.to_owned(), stream, schema: schema(columns), is_result: true }
}

fn node(name: &str, inputs: Vec<StreamRef>, op: HftaOp, columns: usize) -> HftaNode {
    let memory = MemoryBound::default();
    HftaNode { name: name.to_owned(), inputs, op, schema: schema(columns), memory }
}

pub(super) fn lfta_stream(interface: u32, query: u32) -> StreamRef {
    StreamRef::Lfta { interface, query }
}

/// Packets of three bytes: window, key, value.
fn program(queries: impl FnOnce(&mut Dag, [NodeId; 3]) -> Vec<LftaQuery>) -> LftaProgram {
    let mut dag = Dag::default();
    let fields = [0, 1, 2].map(|byte| dag.load(0, byte, 0, 8));
    let queries = queries(&mut dag, fields);
    LftaProgram {
        parse: toy_parse(),
        layers: vec![LayerSel::Packet],
        exprs: dag.0,
        prefilter: None,
        queries,
    }
}

pub(super) fn interface(name: &str, program: LftaProgram) -> InterfacePlan {
    InterfacePlan { name: name.to_owned(), program }
}

/// `SELECT window, key, value`.
pub(super) fn selection() -> LftaProgram {
    program(|_, fields| {
        let ordered = vec![increasing(0)];
        vec![lfta("s", LftaAction::Select { outputs: fields.to_vec(), ordered })]
    })
}

/// The completion of partial groups of two keys and the given aggregates.
fn completion(kinds: &[AggKind], tolerance: u64) -> Aggregate {
    let mut dag = Dag::default();
    let columns: Vec<_> =
        (0..2 + kinds.len() as u32).map(|i| dag.node(Op::Input(i), Type::Uint)).collect();
    let exprs = dag.0;
    let aggs = kinds.iter().zip(&columns[2..]).map(|(kind, column)| HftaAgg {
        function: HftaAggFunction::Basic(match kind {
            AggKind::Count => AggKind::Sum,
            kind => *kind,
        }),
        args: vec![*column],
        consts: Vec::new(),
        distinct: false,
        ty: Type::Ullong,
        text: String::new(),
    });
    Aggregate {
        quals: Vec::new(),
        keys: columns[..2].to_vec(),
        key_types: vec![Type::Uint; 2],
        ordered: vec![increasing(0)],
        patterns: vec![0b11],
        aggs: aggs.collect(),
        post: exprs.clone(),
        exprs,
        having: Vec::new(),
        outputs: columns,
        ordered_outputs: vec![(0, 0)],
        tolerance,
        real_time: false,
        over_partials: true,
        seen: None,
        emit_empty: false,
    }
}

const KINDS: [AggKind; 7] = [
    AggKind::Count,
    AggKind::Sum,
    AggKind::Min,
    AggKind::Max,
    AggKind::BitAnd,
    AggKind::BitOr,
    AggKind::BitXor,
];

/// `SELECT window, key, aggregates GROUP BY window, key` over interfaces.
pub(super) fn grouping(interfaces: &[&str], slots: u32, tolerance: u64) -> PhysicalPlan {
    let program = program(|_, [window, key, value]| {
        let aggs = KINDS.map(|kind| agg(kind, (kind != AggKind::Count).then_some(value)));
        let action = LftaAction::Aggregate {
            keys: vec![window, key],
            ordered: vec![increasing(0)],
            aggs: aggs.to_vec(),
            slots,
            tolerance,
            real_time: false,
            values: 0,
        };
        vec![lfta("_fta_q", action)]
    });
    let columns = 2 + KINDS.len();
    let inputs = (0..interfaces.len() as u32).map(|i| lfta_stream(i, 0)).collect();
    let completion = HftaOp::Aggregate(Box::new(completion(&KINDS, tolerance)));
    PhysicalPlan {
        interfaces: interfaces.iter().map(|name| interface(name, program.clone())).collect(),
        nodes: vec![node("q", inputs, completion, columns)],
        outputs: vec![output("q", StreamRef::Hfta(0), columns)],
        params: Vec::new(),
    }
}

fn run_all(plan: &PhysicalPlan, sources: Vec<Source>) -> (Rows, RunReport) {
    let mut rows = Rows::default();
    let report = run(plan, sources, &RunOptions::default(), &mut rows).unwrap();
    assert_eq!(report.ledger.check(), Ok(()));
    assert!(rows.ended);
    (rows, report)
}

/// Packets of three bytes, a nanosecond apart.
pub(super) fn packets(data: &[[u8; 3]]) -> Vec<(u64, Vec<u8>)> {
    data.iter().enumerate().map(|(i, data)| (i as u64, data.to_vec())).collect()
}

/// Groups by a map: rows in order, and how many tuples were late.
fn naive(data: &[[u8; 3]], tolerance: u64) -> (Vec<Vec<Value>>, u64) {
    struct Group {
        first: usize,
        values: Vec<u64>,
    }
    let mut groups: BTreeMap<(u8, u8), Group> = BTreeMap::new();
    let (mut newest, mut late) = (0, 0);
    for (i, &[window, key, value]) in data.iter().enumerate() {
        if u64::from(window) + tolerance < newest {
            late += 1;
            continue;
        }
        newest = newest.max(u64::from(window));
        let group =
            groups.entry((window, key)).or_insert_with(|| Group { first: i, values: Vec::new() });
        group.values.push(u64::from(value));
    }
    let mut rows: Vec<_> = groups.into_iter().collect();
    rows.sort_by_key(|((window, _), group)| (*window, group.first));
    let row = |((window, key), Group { values, .. }): ((u8, u8), Group)| {
        let fold = |f: fn(u64, u64) -> u64| values.iter().copied().reduce(f).unwrap();
        uints(&[
            window.into(),
            key.into(),
            values.len() as u64,
            values.iter().sum(),
            fold(u64::min),
            fold(u64::max),
            fold(|a, b| a & b),
            fold(|a, b| a | b),
            fold(|a, b| a ^ b),
        ])
    };
    (rows.into_iter().map(row).collect(), late)
}

/// Windows that mostly advance, and sometimes step back.
fn stream() -> impl Strategy<Value = Vec<[u8; 3]>> {
    let step =
        prop_oneof![6 => Just(0i8), 2 => Just(1), 1 => Just(2), 1 => Just(-1), 1 => Just(-2)];
    prop::collection::vec((step, 0u8..12, any::<u8>()), 0..200).prop_map(|steps| {
        let mut window = 3u8;
        let mut take = |(step, key, value): (i8, u8, u8)| {
            window = window.saturating_add_signed(step);
            [window, key, value]
        };
        steps.into_iter().map(&mut take).collect()
    })
}

proptest! {
    /// Whatever the size of the table and the collisions in it: the rows, their order, the late tuples.
    #[test]
    fn ejection_and_completion_equal_grouping_by_a_map(
        data in stream(),
        slots in 0u32..7,
        tolerance in 0u64..3,
    ) {
        let plan = grouping(&["a"], 1 << slots, tolerance);
        let (rows, report) = run_all(&plan, vec![source("a", &packets(&data))]);
        let (expected, late) = naive(&data, tolerance);
        prop_assert_eq!(rows.of(0), expected);
        prop_assert_eq!(report.ledger.late(), late);
    }

    /// Two interfaces as one: lateness is judged for each, groups are joined.
    #[test]
    fn partial_groups_of_two_interfaces_are_joined(
        a in stream(),
        b in stream(),
        slots in 0u32..4,
    ) {
        let plan = grouping(&["a", "b"], 1 << slots, 0);
        let sources = vec![source("a", &packets(&a)), source("b", &packets(&b))];
        let (rows, report) = run_all(&plan, sources);
        let count = |rows: &[Vec<Value>]| -> u64 { rows.iter().map(|r| r[2].as_u64().unwrap()).sum() };
        let ((of_a, late_a), (of_b, late_b)) = (naive(&a, 0), naive(&b, 0));
        prop_assert_eq!(report.ledger.late(), late_a + late_b);
        prop_assert_eq!(count(&rows.of(0)), count(&of_a) + count(&of_b));
        let windows: Vec<_> = rows.of(0).iter().map(|row| row[0].as_u64()).collect();
        prop_assert!(windows.is_sorted());
        let mut keys: Vec<_> = rows.of(0).iter().map(|row| row[..2].to_vec()).collect();
        let all = keys.len();
        keys.dedup();
        prop_assert_eq!(keys.len(), all);
    }

    /// Any bytes as a capture end in rows and books that balance, or in a clean error.
    #[test]
    fn damaged_captures_balance(
        data in stream(),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let mut bytes = capture_bytes(&packets(&data));
        bytes.truncate(24 + cut.index(bytes.len() - 23));
        let at = flip.index(bytes.len());
        if at >= 24 {
            bytes[at] ^= 0x40;
        }
        if let Ok(capture) = capture_of_bytes(&bytes) {
            let captures = vec![capture].into();
            let plan = grouping(&["a"], 4, 0);
            run_all(&plan, vec![Source { interface: "a".to_owned(), captures }]);
        }
    }
}

#[test]
fn damage_ends_a_capture_and_everything_before_it_counts() {
    let data = [[1, 1, 1], [1, 1, 2], [2, 1, 3]];
    let mut bytes = capture_bytes(&packets(&data));
    bytes.truncate(bytes.len() - 1);
    let captures = vec![capture_of_bytes(&bytes).unwrap(), capture(&packets(&[[1, 1, 9]]))];
    let captures = captures.into();
    let plan = grouping(&["a"], 16, 0);
    let (rows, report) = run_all(&plan, vec![Source { interface: "a".to_owned(), captures }]);
    assert_eq!(rows.of(0), [uints(&[1, 1, 3, 12, 1, 9, 0, 11, 10])]);
    let damage: Vec<_> = report.ledger.damage().collect();
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].0, damage[0].1.damage.offset), ("a", 24 + 2 * 19));
    assert!(report.ledger.to_string().contains("damage: a: test: "));
    assert_eq!(report.end, RunEnd::Complete);
}

#[test]
fn packets_of_all_interfaces_come_in_time_order() {
    let selection = selection();
    let plan = PhysicalPlan {
        interfaces: vec![interface("a", selection.clone()), interface("b", selection)],
        outputs: vec![output("a", lfta_stream(0, 0), 3), output("b", lfta_stream(1, 0), 3)],
        ..Default::default()
    };
    let at =
        |times: &[u64]| -> Vec<_> { times.iter().map(|&t| (t, vec![t as u8, 0, 0])).collect() };
    // Sources in another order than the plan's, and one that is not read.
    let sources =
        vec![source("b", &at(&[1, 5, 5])), source("c", &at(&[9])), source("a", &at(&[2, 5, 3, 7]))];
    let (rows, report) = run_all(&plan, sources);
    let seen: Vec<_> = rows
        .rows
        .iter()
        .map(|(output, tuple)| (*output, tuple.ordinal, tuple.values[0].as_u64().unwrap()))
        .collect();
    let expected = [(1, 0, 1), (0, 1, 2), (0, 2, 5), (0, 3, 3), (1, 4, 5), (1, 5, 5), (0, 6, 7)];
    assert_eq!(seen, expected);
    assert_eq!(report.ledger.records(), 7);
    assert_eq!(report.ledger.interfaces.len(), 2);
}

/// `MERGE a.window : b.window`.
fn merging(queue_tuples_max: u32) -> PhysicalPlan {
    let timed = |name: &str| {
        let mut program = selection();
        let time =
            Node { op: Op::Meta(Meta::Time), ty: Type::Uint, host_only: false, fails: false };
        program.exprs.nodes.push(time);
        let time = NodeId(program.exprs.nodes.len() as u32 - 1);
        let ordered =
            vec![OrderedColumn { column: 0, decreasing: false, band: 0, from_time: true }];
        let outputs = vec![time, NodeId(1)];
        program.queries[0].action = LftaAction::Select { outputs, ordered };
        interface(name, program)
    };
    let op = HftaOp::Merge { column: Some((0, false)), slack: None, queue_tuples_max };
    PhysicalPlan {
        interfaces: vec![timed("a"), timed("b")],
        nodes: vec![node("m", vec![lfta_stream(0, 0), lfta_stream(1, 0)], op, 2)],
        outputs: vec![output("m", StreamRef::Hfta(0), 2)],
        params: Vec::new(),
    }
}

const S: u64 = 1_000_000_000;

#[test]
fn a_merge_with_an_idle_interface_asks_for_its_bound_and_stays_small() {
    let busy: Vec<_> = (0..5_000).map(|i| (i * S / 10, vec![0, 0, 0])).collect();
    let idle = vec![(499 * S, vec![0, 1, 0])];
    let plan = merging(8);
    for swap in [false, true] {
        let (a, b) = if swap { (&idle, &busy) } else { (&busy, &idle) };
        let mut rows = Rows::default();
        let options = RunOptions { memory_bytes_max: Some(8 << 10), ..Default::default() };
        let sources = vec![source("a", a), source("b", b)];
        let report = run(&plan, sources, &options, &mut rows).unwrap();
        assert_eq!(report.ledger.check(), Ok(()));
        let times: Vec<_> = rows.of(0).iter().map(|row| row[0].as_u64()).collect();
        assert_eq!(times.len(), 5_001);
        assert!(times.is_sorted());
        assert_eq!(report.ledger.late(), 0);
    }
}

#[test]
fn what_a_full_merge_does_is_the_same_for_all_batches() {
    // The second interface falls silent for a while, and both have many packets of a second.
    let at =
        |second: u64, count: u64| (0..count).map(move |i| (second * S + i, vec![i as u8, 0, 0]));
    let a: Vec<_> = (0..40).flat_map(|second| at(second, 30)).collect();
    let b: Vec<_> =
        [0, 1, 2, 17, 17, 30, 39].into_iter().flat_map(|second| at(second, 9)).collect();
    for queue_tuples_max in [1, 7, 40, 5_000] {
        let plan = merging(queue_tuples_max);
        let rows = |backend, batch_packets_max| {
            let mut rows = Rows::default();
            let options = RunOptions { backend, batch_packets_max, ..Default::default() };
            let sources = vec![source("a", &a), source("b", &b)];
            let report = run(&plan, sources, &options, &mut rows).unwrap();
            assert_eq!(report.ledger.check(), Ok(()));
            rows.rows.into_iter().map(|(_, tuple)| tuple).collect::<Vec<_>>()
        };
        let one_by_one = rows(Backend::Interpreter, Some(1));
        assert_eq!(one_by_one.len(), a.len() + b.len());
        for size in [Some(5), None] {
            assert_eq!(rows(Backend::Interpreter, size), one_by_one);
            assert_eq!(rows(Backend::Compiled, size), one_by_one);
        }
    }
}

#[test]
fn an_interface_without_packets_does_not_block() {
    let busy: Vec<_> = (0..100).map(|i| (i * S, vec![0, 0, 0])).collect();
    let sources = vec![source("a", &[]), source("b", &busy)];
    let (rows, report) = run_all(&merging(8), sources);
    assert_eq!(rows.rows.len(), 100);
    assert_eq!(report.ledger.operators[0].tuples.output, 100);
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let data: Vec<_> = (0..100).map(|i| [i, 0, 0]).collect();
    let plan = PhysicalPlan {
        interfaces: vec![interface("a", selection())],
        outputs: vec![output("s", lfta_stream(0, 0), 3)],
        ..Default::default()
    };
    let mut rows = Rows { rows_max: Some(10), ..Default::default() };
    let sources = vec![source("a", &packets(&data))];
    let options = RunOptions { batch_packets_max: Some(1), ..Default::default() };
    let report = run(&plan, sources, &options, &mut rows).unwrap();
    assert_eq!(report.end, RunEnd::SinkClosed { output: 0 });
    assert_eq!(report.ledger.check(), Ok(()));
    assert_eq!((rows.rows.len(), report.ledger.records()), (10, 11));
    assert_eq!(report.ledger.outputs[0].unsent, 1);
    assert!(!rows.ended);
}

#[test]
fn a_cancelled_run_closes_what_is_open() {
    let data: Vec<_> = (0..20_000u32).map(|i| [1, (i % 7) as u8, 0]).collect();
    let cancel = AtomicBool::new(false);
    let calls = Cell::new(0);
    let progress = |progress: &Progress| {
        calls.set(calls.get() + 1);
        assert!(progress.packets <= 20_000);
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let options =
        RunOptions { progress: Some(&progress), cancel: Some(&cancel), ..RunOptions::default() };
    let mut rows = Rows::default();
    let plan = grouping(&["a"], 16, 0);
    let report = run(&plan, vec![source("a", &packets(&data))], &options, &mut rows).unwrap();
    assert_eq!(report.end, RunEnd::Cancelled);
    assert_eq!(report.ledger.check(), Ok(()));
    assert_eq!((rows.rows.len(), report.ledger.records()), (7, BATCH_PACKETS_MAX as u64));
    assert_eq!(calls.get(), 2);
}

#[test]
fn rows_leave_as_soon_as_their_window_closes() {
    let plan = grouping(&["a"], 16, 0);
    let (rows, _) = run_all(&plan, vec![source("a", &packets(&[[1, 1, 1], [2, 1, 1], [4, 1, 1]]))]);
    assert_eq!(rows.rows.len(), 3);
    assert_eq!(rows.windows, 3);
}

#[test]
fn the_memory_limit_ends_a_run_with_its_remedy() {
    let data: Vec<_> = (0..=255).map(|key| [1, key, 0]).collect();
    let plan = grouping(&["a"], 1, 0);
    let options = RunOptions { memory_bytes_max: Some(4 << 10), ..Default::default() };
    let mut rows = Rows::default();
    let error = run(&plan, vec![source("a", &packets(&data))], &options, &mut rows).unwrap_err();
    assert!(matches!(&error, EngineError::Memory(error) if error.query == "q"), "{error}");
    assert!(error.hint().unwrap().contains("--memory"));
}

#[test]
fn sources_must_match_the_plan() {
    let plan = grouping(&["a"], 1, 0);
    let run = |sources| run(&plan, sources, &RunOptions::default(), &mut Rows::default());
    let error = run(vec![source("b", &[]), source("c", &[])]).unwrap_err();
    assert_eq!(error.to_string(), "the plan reads interface `a`, but the sources are: b, c");
    let error = run(vec![source("a", &[]), source("a", &[])]).unwrap_err();
    assert_eq!(error.to_string(), "interface `a` has two sources");
}

#[test]
fn unsound_plans_are_refused() {
    let run = |plan: &PhysicalPlan| {
        let error = run(plan, vec![source("a", &[])], &RunOptions::default(), &mut Rows::default());
        error.err().unwrap().to_string()
    };
    let mut plan = grouping(&["a"], 3, 0);
    assert!(run(&plan).contains("3 table slots"));
    plan = grouping(&["a"], 4, 0);
    plan.interfaces[0].program.exprs.nodes[0].op = Op::Not(NodeId(0));
    assert!(run(&plan).contains("operand 0 is not below 0"));
    plan = grouping(&["a"], 4, 0);
    plan.nodes[0].inputs = vec![StreamRef::Hfta(0)];
    assert!(run(&plan).contains("input 0 is not below 0"));
    plan = grouping(&["a"], 4, 0);
    plan.outputs[0].stream = lfta_stream(0, 1);
    assert!(run(&plan).contains("query 1 is not below 1"));
    plan = grouping(&["a"], 4, 0);
    let HftaOp::Aggregate(aggregate) = &mut plan.nodes[0].op else { unreachable!() };
    aggregate.aggs[0].function = HftaAggFunction::Host("no such");
    assert!(run(&plan).contains("no aggregate computes"));
}

#[test]
fn one_stream_may_have_several_readers() {
    let mut plan = grouping(&["a"], 4, 0);
    plan.outputs.push(output("partials", lfta_stream(0, 0), 9));
    plan.outputs.push(output("again", StreamRef::Hfta(0), 9));
    let data = [[1, 1, 1], [1, 2, 1], [1, 1, 1]];
    let (rows, report) = run_all(&plan, vec![source("a", &packets(&data))]);
    assert_eq!(rows.of(0), rows.of(2));
    assert_eq!(rows.of(0).len(), 2);
    assert_eq!(rows.of(1).len() as u64, report.ledger.queries[0].tuples.output);
}

#[test]
fn packets_carry_the_name_and_index_of_their_interface() {
    let columns = [(Meta::Interface, Type::String), (Meta::IfIndex, Type::Uint)];
    let mut dag = Dag::default();
    let outputs = columns.map(|(meta, ty)| dag.node(Op::Meta(meta), ty)).to_vec();
    let action = LftaAction::Select { outputs, ordered: Vec::new() };
    let program =
        LftaProgram { exprs: dag.0, queries: vec![lfta("s", action)], ..Default::default() };
    let plan = PhysicalPlan {
        interfaces: vec![interface("a", program)],
        outputs: vec![output("s", lfta_stream(0, 0), 2)],
        ..Default::default()
    };
    let mut writer = wt_wire::PcapNgWriter::new(Vec::new(), wt_wire::ByteOrder::Little).unwrap();
    let resolution = wt_wire::TimeResolution::NANO;
    let link_type = wt_wire::LinkType::ETHERNET;
    let first = writer.interface(Some("wlan0"), link_type, 0, resolution).unwrap();
    let second = writer.interface(None, link_type, 0, resolution).unwrap();
    for (time, interface) in [(1, second), (2, first), (3, second)] {
        let direction = wt_wire::Direction::Inbound;
        writer.write(interface, time, 3, direction, &[0; 3]).unwrap();
    }
    let captures =
        vec![capture_of_bytes(&writer.into_inner()).unwrap(), capture(&packets(&[[0; 3]]))];
    let captures = captures.into();
    let (rows, _) = run_all(&plan, vec![Source { interface: "a".to_owned(), captures }]);
    let row = |name: &str, index| vec![Value::bytes(name), Value::Uint(index)];
    assert_eq!(rows.of(0), [row("a", 0), row("a", 1), row("wlan0", 2), row("a", 1)]);
}
