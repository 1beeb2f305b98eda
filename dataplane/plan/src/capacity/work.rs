//! What each node of a plan has to do per packet.

use wt_catalog::Type;

use super::estimate::{delivered, passing};
use super::selectivity::selectivities;
use super::table::{Kind, Work};
use super::traffic::{Flows, NodeFlow};
use super::uses::{Owner, uses, walked_headers};
use crate::ir::{Exprs, LftaAction, NodeId, Op, Qual};
use crate::physical::{
    Aggregate, HftaAggFunction, HftaNode, HftaOp, MemoryBound, PhysicalPlan, StreamRef,
};
use crate::shape::{
    Shape, makes_rows, passes_whole_groups, patterns_ahead, reader_ahead, regroups, sends_blocks,
    shape, takes_blocks,
};
use crate::split::{asks_link_type, lfta_table};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Reading the records of an interface.
    Records(usize),
    /// Walking their headers.
    Headers(usize),
    /// Nodes of the program that several of its queries use.
    Shared(usize),
    /// An LFTA: interface and query.
    Lfta(usize, usize),
    /// An operator.
    Node(usize),
    /// Writing the rows of an output.
    Output(usize),
}

/// Bytes of the second-level cache of a core, and of the last level: about what servers of the last ten years have for one core.
const CACHE_BYTES: f64 = 512.0 * 1024.0;
const LAST_CACHE_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

/// Blocks of memory that are looked at for one group whose key and states are values: its place in the index, itself, its key, its states.
const BLOCKS: f64 = 4.0;

/// Bytes of the headers before a plain payload: Ethernet, IPv4, TCP.
const HEADER_BYTES: f64 = 54.0;

/// The work of every node per packet of the batch, in the order in which packets meet them.
pub fn work(plan: &PhysicalPlan, flows: &Flows) -> Vec<(Place, Work)> {
    let mut all = Vec::new();
    for interface in 0..plan.interfaces.len() {
        program(plan, flows, interface, &mut all);
    }
    for node in 0..plan.nodes.len() {
        all.push((Place::Node(node), operator(plan, flows, node)));
    }
    for (index, output) in plan.outputs.iter().enumerate().filter(|(_, o)| o.is_result) {
        let rows = flows.of(output.stream);
        let mut work = Work::default();
        taken(plan, output.stream, rows, output.schema.columns.len(), &mut work);
        work.add(Kind::OutputRow, rows);
        for column in &output.schema.columns {
            let kind = match column.ty {
                Type::Time | Type::TimeVal => Kind::OutputTime,
                Type::Bool | Type::Float => Kind::OutputValue,
                ty if ty.is_integer() => Kind::OutputValue,
                _ => Kind::OutputText,
            };
            work.add(kind, rows);
        }
        all.push((Place::Output(index), work));
    }
    all
}

fn program(plan: &PhysicalPlan, flows: &Flows, interface: usize, all: &mut Vec<(Place, Work)>) {
    let program = &plan.interfaces[interface].program;
    let share = flows.shares[interface];
    let mut records = Work::default();
    records.add(Kind::Record, share);
    records.add(Kind::RecordByte, share * flows.captured_bytes);
    let mut headers = Work::default();
    let walked = share * walked_headers(program);
    headers.add(Kind::Header, walked);
    all.push((Place::Records(interface), records));
    if walked > 0.0 {
        all.push((Place::Headers(interface), headers));
    }

    let mut shared = Work::default();
    let mut own = vec![Work::default(); program.queries.len()];
    let payload = (flows.captured_bytes - HEADER_BYTES).max(0.0);
    for (node, used) in
        program.exprs.nodes.iter().zip(uses(program, &flows.lftas[interface], share))
    {
        let work = match used.owner {
            Owner::Nobody => continue,
            Owner::Several => &mut shared,
            Owner::Query(query) => &mut own[query],
        };
        node_work(&node.op, used.share, payload, work);
    }
    if program.queries.len() > 1 {
        all.push((Place::Shared(interface), shared));
    }
    for (query, mut work) in own.into_iter().enumerate() {
        tuples(plan, flows, interface, query, &mut work);
        all.push((Place::Lfta(interface, query), work));
    }
}

/// A node evaluated for a share of the packets.
fn node_work(op: &Op, share: f64, payload_bytes: f64, work: &mut Work) {
    match op {
        Op::Const(_) | Op::Param(_) | Op::Input(_) | Op::Meta(_) | Op::Offset(_) => {}
        Op::In(_, members) => work.add(Kind::Op, share * (members.len() as f64).clamp(1.0, 16.0)),
        // Three places are looked at: the root, a node or list, what it says.
        Op::Call { symbol, .. } if symbol.contains("lpm") => {
            work.add(Kind::CheckedLoad, 3.0 * share);
        }
        Op::Call { symbol, .. } => {
            if !scan(symbol, share, payload_bytes, work) {
                work.add(Kind::Call, share);
            }
        }
        Op::LoadOrZero { .. } | Op::InBounds { .. } | Op::Load { at: Some(_), .. } => {
            work.add(Kind::CheckedLoad, share);
        }
        _ => work.add(Kind::Op, share),
    }
}

/// The work of a function that goes through a payload; whether it is one. Regular expressions that are bound to the start do so too, when a
/// literal of theirs is sought first.
fn scan(symbol: &str, share: f64, payload_bytes: f64, work: &mut Work) -> bool {
    let (begun, each) = if symbol.contains("regex") {
        (Kind::Regex, Kind::RegexByte)
    } else if ["substr", "find", "like", "entropy"].iter().any(|word| symbol.contains(word)) {
        (Kind::Find, Kind::FindByte)
    } else {
        return false;
    };
    work.add(begun, share);
    work.add(each, share * payload_bytes);
    true
}

/// What becomes of the qualified tuples of an LFTA.
fn tuples(plan: &PhysicalPlan, flows: &Flows, interface: usize, query: usize, work: &mut Work) {
    let flow = flows.lftas[interface][query];
    let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
    let sent = delivered(plan, flows, stream);
    let action = &plan.interfaces[interface].program.queries[query].action;
    let columns = match action {
        LftaAction::Select { outputs, .. } => outputs.len(),
        LftaAction::Aggregate { keys, aggs, .. } => keys.len() + aggs.len(),
    } as f64;
    match shape(plan, interface, query) {
        Shape::Select => {
            // Rows are there before patterns judge them.
            let (mut rows, mut words) = (sent, columns);
            if let Some(reader) = reader_ahead(plan, stream) {
                let patterns;
                (rows, patterns) = ahead(plan, reader, flow.matched, flows, work);
                words += 2.0 * patterns as f64;
            }
            work.add(Kind::Row, rows);
            work.add(Kind::RowWord, rows * words);
        }
        Shape::Totals => work.add(Kind::Totals, flow.matched * (1.0 + columns) / 2.0),
        table @ Shape::Words { .. } => {
            into_words(table, flow.matched, (flow.kept, flow.sent), work);
        }
        Shape::Slots { slots } => {
            let (cache, memory) = misses(lfta_table(slots, columns as usize).fixed_bytes as f64);
            work.add(Kind::CacheMiss, flow.matched * cache * BLOCKS);
            work.add(Kind::MemoryMiss, flow.matched * memory * BLOCKS);
            work.add(Kind::Row, flow.matched);
            work.add(Kind::SlotRow, flow.matched);
            work.add(Kind::SlotValue, flow.matched * columns);
        }
    }
    if !sends_blocks(plan, stream) {
        made(sent, columns as usize, work);
    }
}

/// Rows taken into a table of words that keeps so many groups at a time, and has so many in all.
fn into_words(table: Shape, taken: f64, (kept, groups): (f64, f64), work: &mut Work) {
    let Shape::Words { key_words, state_words, .. } = table else { return };
    let (cache, memory) = misses(kept * table.group_bytes());
    rows(taken, key_words + state_words, work);
    work.add(Kind::Probe, taken);
    work.add(Kind::CacheMiss, taken * cache);
    work.add(Kind::MemoryMiss, taken * memory);
    work.add(Kind::Group, groups);
}

/// Rows written by compiled code.
fn rows(count: f64, words: usize, work: &mut Work) {
    work.add(Kind::Row, count);
    work.add(Kind::RowWord, count * words as f64);
}

/// Tuples made to be sent, to operators or results.
fn made(tuples: f64, columns: usize, work: &mut Work) {
    work.add(Kind::Tuple, tuples);
    work.add(Kind::TupleValue, tuples * columns as f64);
}

/// Tuples taken one by one where they may have come together.
fn taken(plan: &PhysicalPlan, stream: StreamRef, tuples: f64, columns: usize, work: &mut Work) {
    if sends_blocks(plan, stream) {
        work.add(Kind::BlockValue, tuples * columns as f64);
    }
}

/// Columns of a stream.
fn columns_of(plan: &PhysicalPlan, stream: StreamRef) -> usize {
    match stream {
        StreamRef::Hfta(node) => plan.nodes[node as usize].schema.columns.len(),
        StreamRef::Lfta { interface, query } => {
            let program = &plan.interfaces[interface as usize].program;
            match &program.queries[query as usize].action {
                LftaAction::Select { outputs, .. } => outputs.len(),
                LftaAction::Aggregate { keys, aggs, .. } => keys.len() + aggs.len(),
            }
        }
    }
}

/// Shares of the look-ups that miss the caches in a table of so many bytes whose entries are met alike.
fn misses(table_bytes: f64) -> (f64, f64) {
    let beyond = |cache: f64| (1.0 - cache / table_bytes.max(1.0)).max(0.0);
    let memory = beyond(LAST_CACHE_BYTES);
    (beyond(CACHE_BYTES) - memory, memory)
}

/// Bytes of an entry that are looked at: of large states, a part.
fn touched_bytes(bound: &MemoryBound) -> f64 {
    bound.per_entry_bytes.min(256) as f64
}

/// The quals of a reader, applied in the code of the LFTA: the rows that are written, and how many patterns judge them then.
fn ahead(
    plan: &PhysicalPlan,
    reader: usize,
    matched: f64,
    flows: &Flows,
    work: &mut Work,
) -> (f64, usize) {
    let (exprs, quals) = match &plan.nodes[reader].op {
        HftaOp::Select { exprs, quals, .. } => (exprs, quals),
        HftaOp::Aggregate(aggregate) => (&aggregate.exprs, &aggregate.quals),
        _ => return (matched, 0),
    };
    let truths = selectivities(exprs);
    let payload = (flows.captured_bytes - HEADER_BYTES).max(0.0);
    for (i, qual) in quals.iter().enumerate() {
        let share = matched * passing(&quals[..i], &truths);
        for id in reachable(exprs, [qual.node]) {
            node_work(&exprs.nodes[id].op, share, payload, work);
        }
    }
    let patterns = patterns_ahead(exprs, quals).len();
    let now = &quals[..quals.len() - patterns];
    let passed = matched * passing(now, &truths);
    (if patterns == 0 { flows.nodes[reader].taken } else { passed }, patterns)
}

/// Nodes that are evaluated for these roots.
fn reachable(exprs: &Exprs, roots: impl IntoIterator<Item = NodeId>) -> Vec<usize> {
    let mut seen = vec![false; exprs.nodes.len()];
    let mut pending: Vec<NodeId> = roots.into_iter().collect();
    let mut found = Vec::new();
    while let Some(NodeId(id)) = pending.pop() {
        let id = id as usize;
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        found.push(id);
        match &exprs.nodes[id].op {
            Op::Select { cond, then, .. } if asks_link_type(exprs, *cond) => pending.push(*then),
            op => pending.extend(op.operands()),
        }
    }
    found
}

/// What evaluating roots once costs an operator.
fn eval(
    exprs: &Exprs,
    roots: impl IntoIterator<Item = NodeId>,
    times: f64,
    flows: &Flows,
    work: &mut Work,
) {
    let payload = (flows.captured_bytes - HEADER_BYTES).max(0.0);
    for id in reachable(exprs, roots) {
        match &exprs.nodes[id].op {
            Op::Const(_) | Op::Param(_) | Op::Input(_) => {}
            Op::Call { symbol, .. } => {
                if !scan(symbol, times, payload, work) {
                    work.add(Kind::EvalCall, times);
                }
            }
            _ => work.add(Kind::Eval, times),
        }
    }
}

/// What evaluating roots once costs in compiled code, where no payload is looked at.
fn by_code(exprs: &Exprs, roots: impl IntoIterator<Item = NodeId>, times: f64, work: &mut Work) {
    reachable(exprs, roots)
        .into_iter()
        .for_each(|id| node_work(&exprs.nodes[id].op, times, 0.0, work));
}

fn operator(plan: &PhysicalPlan, flows: &Flows, index: usize) -> Work {
    let node = &plan.nodes[index];
    let flow = flows.nodes[index];
    let mut work = Work::default();
    let given: f64 = node.inputs.iter().map(|stream| delivered(plan, flows, *stream)).sum();
    // Quals that have been applied ahead cost nothing here.
    let is_judged =
        matches!(node.inputs[..], [stream] if reader_ahead(plan, stream) == Some(index));
    if let Some(totals) = totals(node, is_judged).filter(|_| takes_blocks(plan, node)) {
        work.add(Kind::Totals, given * totals as f64);
        return work;
    }
    if operator_by_code(plan, node, is_judged, (given, flow), flows, &mut work) {
        return work;
    }
    work.add(Kind::Operator, given);
    for stream in &node.inputs {
        let tuples = delivered(plan, flows, *stream);
        taken(plan, *stream, tuples, columns_of(plan, *stream), &mut work);
    }
    match &node.op {
        HftaOp::Select { exprs, quals, outputs, .. } => {
            let quals = quals.iter().filter(|_| !is_judged);
            eval(exprs, quals.map(|qual| qual.node), given, flows, &mut work);
            eval(exprs, outputs.iter().copied(), flow.taken, flows, &mut work);
            made(flow.output, outputs.len(), &mut work);
        }
        HftaOp::Aggregate(aggregate) if passes_whole_groups(plan, node) => {
            finish(aggregate, given, flow.output, flows, &mut work);
        }
        HftaOp::Aggregate(aggregate) => {
            take(aggregate, is_judged, (given, flow.taken), flows, &mut work);
            work.add(Kind::GroupMade, flow.groups);
            finish(aggregate, flow.groups, flow.output, flows, &mut work);
            let (cache, memory) = misses(flow.kept * touched_bytes(&node.memory));
            let blocks = flow.taken * aggregate.patterns.len() as f64 * BLOCKS;
            work.add(Kind::CacheMiss, blocks * cache);
            work.add(Kind::MemoryMiss, blocks * memory);
        }
        HftaOp::Session(session) => {
            take(&session.group, false, (given, flow.taken), flows, &mut work);
            // A session is also in the queue of those that may end.
            work.add(Kind::GroupRow, flow.taken);
            work.add(Kind::GroupMade, flow.groups);
            finish(&session.group, flow.groups, flow.output, flows, &mut work);
        }
        HftaOp::Merge { .. } => {
            // Into the queue of its input, and out.
            work.add(Kind::Operator, flow.output);
        }
        HftaOp::Distinct { .. } => {
            work.add(Kind::GroupRow, given);
            work.add(Kind::GroupMade, flow.groups);
            let (cache, memory) = misses(flow.kept * touched_bytes(&node.memory));
            work.add(Kind::CacheMiss, given * cache * BLOCKS);
            work.add(Kind::MemoryMiss, given * memory * BLOCKS);
        }
        HftaOp::Sort { exprs, keys, outputs, .. } => {
            eval(exprs, keys.iter().map(|key| key.0), given, flows, &mut work);
            let compares = (flow.kept + 2.0).log2();
            // While it is sorted a row is met again and again, but few times after it has left the cache.
            let (cache, memory) = misses(flow.kept * touched_bytes(&node.memory));
            work.add(Kind::CacheMiss, flow.output * cache * BLOCKS);
            work.add(Kind::MemoryMiss, flow.output * memory * BLOCKS);
            work.add(Kind::SortCompare, given * compares);
            work.add(Kind::SortRow, flow.output);
            made(flow.output, outputs.len(), &mut work);
        }
    }
    work
}

/// The work of an operator whose tuples come together, and whose expressions are compiled; whether it is one.
fn operator_by_code(
    plan: &PhysicalPlan,
    node: &HftaNode,
    is_judged: bool,
    (given, flow): (f64, NodeFlow),
    flows: &Flows,
    work: &mut Work,
) -> bool {
    let quals = |quals: &[Qual]| {
        quals.iter().filter(|_| !is_judged).map(|qual| qual.node).collect::<Vec<_>>()
    };
    match &node.op {
        HftaOp::Select { exprs, quals: all, outputs, .. }
            if takes_blocks(plan, node) && makes_rows(exprs, outputs) =>
        {
            by_code(exprs, quals(all), given, work);
            by_code(exprs, outputs.iter().copied(), flow.output, work);
            rows(flow.output, outputs.len(), work);
        }
        HftaOp::Aggregate(a) if passes_whole_groups(plan, node) => {
            if !makes_rows(&a.post, &a.outputs) {
                return false;
            }
            finish_by_code(a, given, flow.output, work);
        }
        HftaOp::Aggregate(a) => {
            let Some(groups) = regroups(plan, node) else { return false };
            by_code(&a.exprs, quals(&a.quals), given, work);
            let args = groups.aggs.iter().filter_map(|(_, arg, _)| *arg);
            by_code(&a.exprs, a.keys.iter().copied().chain(args), flow.taken, work);
            into_words(groups.shape(), flow.taken, (flow.kept, flow.groups), work);
            if makes_rows(&a.post, &a.outputs) {
                finish_by_code(a, flow.groups, flow.output, work);
            } else {
                work.add(Kind::BlockValue, flow.groups * (a.keys.len() + a.aggs.len()) as f64);
                finish(a, flow.groups, flow.output, flows, work);
            }
        }
        _ => return false,
    }
    true
}

/// The aggregates of an operator that adds up columns of all its tuples, and does so for those that come together without taking them apart.
fn totals(node: &HftaNode, is_judged: bool) -> Option<usize> {
    let HftaOp::Aggregate(a) = &node.op else { return None };
    let is_column = |NodeId(n): &NodeId| match a.exprs.nodes[*n as usize].op {
        Op::Input(_) => true,
        Op::Cast(of) => matches!(a.exprs.nodes[of.0 as usize].op, Op::Input(_)),
        _ => false,
    };
    let has_quals = !a.quals.is_empty() && !is_judged;
    let is_plain = a.keys.is_empty() && !has_quals && !a.real_time && a.seen.is_none();
    let are_numbers = a.aggs.iter().all(|agg| {
        matches!(agg.function, HftaAggFunction::Basic(_))
            && !agg.distinct
            && agg.ty.is_integer()
            && agg.args.iter().all(is_column)
    });
    (is_plain && are_numbers).then_some(a.aggs.len())
}

/// Quals, keys and operands of a tuple, and the groups it updates.
fn take(
    a: &Aggregate,
    is_judged: bool,
    (given, taken): (f64, f64),
    flows: &Flows,
    work: &mut Work,
) {
    let quals = a.quals.iter().filter(|_| !is_judged);
    eval(&a.exprs, quals.map(|qual| qual.node), given, flows, work);
    let args = a.aggs.iter().flat_map(|agg| &agg.args);
    eval(&a.exprs, a.keys.iter().chain(args).copied(), taken, flows, work);
    let rows = taken * a.patterns.len() as f64;
    work.add(Kind::GroupRow, rows);
    let distinct = a.aggs.iter().filter(|agg| agg.distinct).count();
    work.add(Kind::State, rows * a.aggs.len() as f64);
    // A DISTINCT operand is looked up among those seen.
    work.add(Kind::GroupRow, rows * distinct as f64);
}

/// HAVING and SELECT of finished groups by compiled code.
fn finish_by_code(a: &Aggregate, groups: f64, output: f64, work: &mut Work) {
    let is_column = |NodeId(n): &NodeId| matches!(a.post.nodes[*n as usize].op, Op::Input(_));
    if a.having.is_empty() && a.outputs.iter().all(is_column) {
        // Rows go through as they are.
        return;
    }
    by_code(&a.post, a.having.iter().copied(), groups, work);
    by_code(&a.post, a.outputs.iter().copied(), output, work);
    rows(output, a.outputs.len(), work);
}

/// HAVING and SELECT of finished groups.
fn finish(a: &Aggregate, groups: f64, output: f64, flows: &Flows, work: &mut Work) {
    eval(&a.post, a.having.iter().copied(), groups, flows, work);
    eval(&a.post, a.outputs.iter().copied(), output, flows, work);
    made(output, a.outputs.len(), work);
}
