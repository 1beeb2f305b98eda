//! Grouping and aggregation (gsql.md §11, §12): over tuples, or over the partial groups of LFTAs.
//!
//! A window closes when every input is known to be beyond it. Its groups leave in the order of their first packet, then
//! of CUBE pattern, then of creation: whatever the hashing, the ejections below, and the order in which inputs came.
//!
//! Memory: the groups of the open windows, charged to the run's limit.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use hashbrown::HashTable;
use wt_catalog::{Type, Value};
use wt_plan::ir::{AggKind, NodeId, Op, OrderedColumn};
use wt_plan::physical::{self, HftaAggFunction};

use super::state::{State, StateSpec};
use super::windows::Windows;
use super::{Context, Operator};
use crate::check::{Defect, PlanDefect};
use crate::interp::env::Env;
use crate::interp::{Evaluator, Lack, TupleEnv};
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{BLOCK_BYTES, Message, Tuple, values_bytes};
use crate::window::{self, Frontier, Judgement, WindowColumns};

pub(super) struct Aggregate {
    name: String,
    evaluator: Evaluator,
    quals: Vec<NodeId>,
    keys: Vec<NodeId>,
    key_types: Vec<Type>,
    ordered: Vec<OrderedColumn>,
    columns: WindowColumns,
    patterns: Vec<u64>,
    /// Operands by aggregate.
    args: Vec<Vec<NodeId>>,
    specs: Vec<StateSpec>,
    states_grow: bool,
    post: Evaluator,
    having: Vec<NodeId>,
    outputs: Vec<NodeId>,
    /// Ordered outputs.
    ordered_outputs: Vec<u32>,
    real_time: bool,
    over_partials: bool,
    emit_empty: bool,
    /// Its input sends each group of a window once, in order: every tuple is a group already. Kinds of its aggregates, by which the
    /// results follow from the columns.
    whole_groups: Option<Vec<AggKind>>,
    /// Some group has been there.
    has_grouped: bool,

    inputs: Vec<Input>,
    windows: Windows<Groups>,
    hasher: RandomState,
    /// Key and operands of the tuple at hand.
    key_values: Vec<Value>,
    arg_values: Vec<Vec<Value>>,
    /// Keys and results of the group at hand.
    columns_at_hand: Vec<Result<Value, Lack>>,
    /// By output: the column that it is, when nothing is computed.
    output_columns: Vec<Option<u32>>,
    counters: OperatorCounters,
}

struct Input {
    frontier: Frontier,
    ended: bool,
}

/// The groups of a window.
#[derive(Default)]
struct Groups {
    index: HashTable<usize>,
    /// In order of creation.
    groups: Vec<Group>,
}

struct Group {
    hash: u64,
    pattern: u32,
    /// Of the first packet.
    ordinal: u64,
    keys: Box<[Value]>,
    states: Box<[State]>,
    /// What is charged for it.
    bytes: u64,
}

/// Why a tuple went no further.
enum Stop {
    Filtered,
    Lacks(Lack),
}

impl From<Lack> for Stop {
    fn from(lack: Lack) -> Self {
        Stop::Lacks(lack)
    }
}

impl Aggregate {
    pub(super) fn new(
        name: &str,
        plan: &physical::Aggregate,
        inputs: usize,
        params: &[Value],
        gets_whole_groups: bool,
    ) -> Result<Self, SetupError> {
        let columns = WindowColumns::new(&plan.ordered, plan.tolerance);
        let mut specs = Vec::with_capacity(plan.aggs.len());
        for agg in &plan.aggs {
            let unknown = || PlanDefect {
                place: name.to_owned(),
                defect: Defect::UnknownAggregate { text: agg.text.clone() },
            };
            specs.push(StateSpec::new(agg).ok_or_else(unknown)?);
        }
        let input = || Input { frontier: Frontier::new(&columns), ended: false };
        Ok(Self {
            name: name.to_owned(),
            evaluator: Evaluator::new(&plan.exprs, params)?,
            quals: plan.quals.iter().map(|qual| qual.node).collect(),
            keys: plan.keys.clone(),
            key_types: plan.key_types.clone(),
            ordered: plan.ordered.clone(),
            patterns: plan.patterns.clone(),
            args: plan.aggs.iter().map(|agg| agg.args.clone()).collect(),
            states_grow: specs.iter().any(StateSpec::grows),
            specs,
            post: Evaluator::new(&plan.post, params)?,
            having: plan.having.clone(),
            outputs: plan.outputs.clone(),
            ordered_outputs: plan.ordered_outputs.iter().map(|&(output, _)| output).collect(),
            real_time: plan.real_time,
            over_partials: plan.over_partials,
            emit_empty: plan.emit_empty,
            whole_groups: gets_whole_groups.then(|| Self::kinds_over_columns(plan)).flatten(),
            has_grouped: false,
            inputs: (0..inputs).map(|_| input()).collect(),
            columns,
            windows: Windows::new(),
            hasher: RandomState::new(),
            key_values: Vec::new(),
            arg_values: vec![Vec::new(); plan.aggs.len()],
            columns_at_hand: Vec::new(),
            output_columns: plan
                .outputs
                .iter()
                .map(|node| match plan.post.nodes[node.0 as usize].op {
                    Op::Input(column) => Some(column),
                    _ => None,
                })
                .collect(),
            counters: OperatorCounters::default(),
        })
    }

    /// The kinds of the aggregates when a tuple of partial results is a group: keys and operands are its columns in order.
    fn kinds_over_columns(plan: &physical::Aggregate) -> Option<Vec<AggKind>> {
        let is_column = |node: &NodeId, column: usize| {
            plan.exprs.nodes[node.0 as usize].op == Op::Input(column as u32)
        };
        let keys = plan.keys.iter().enumerate().all(|(i, node)| is_column(node, i));
        let mut kinds = Vec::with_capacity(plan.aggs.len());
        for (i, agg) in plan.aggs.iter().enumerate() {
            let HftaAggFunction::Basic(kind) = agg.function else { return None };
            let column = plan.keys.len() + i;
            if agg.distinct || !matches!(&agg.args[..], [node] if is_column(node, column)) {
                return None;
            }
            kinds.push(kind);
        }
        let all_on = u64::MAX.checked_shr(64 - plan.keys.len() as u32).unwrap_or(0);
        let plain = plan.patterns == [all_on] && plan.quals.is_empty() && !plan.real_time;
        (keys && plain && plan.over_partials).then_some(kinds)
    }

    /// Takes a tuple that is a whole group: its row follows at once.
    fn whole_group(&mut self, tuple: Tuple, cx: &mut Context<'_>) {
        self.counters.input += 1;
        self.has_grouped = true;
        let kinds = self.whole_groups.as_deref().unwrap_or_default();
        let keys = self.keys.len();
        let mut columns = std::mem::take(&mut self.columns_at_hand);
        columns.clear();
        for (i, value) in tuple.values.into_iter().enumerate() {
            columns.push(Ok(match i.checked_sub(keys) {
                None => value,
                Some(agg) => self.specs[agg].initial(kinds[agg], &value),
            }));
        }
        self.send_row(tuple.ordinal, &columns, cx);
        self.columns_at_hand = columns;
    }

    fn tuple(
        &mut self,
        port: usize,
        tuple: &Tuple,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        self.evaluator.begin();
        if self.real_time {
            let known = self.window_at(&TupleEnv(&*tuple.values));
            self.advance_known(port, &known, cx);
        }
        match self.evaluate(tuple) {
            Ok(()) => {}
            Err(Stop::Filtered) => {
                self.counters.filtered += 1;
                return Ok(());
            }
            Err(Stop::Lacks(Lack::Absent)) => {
                self.counters.absent += 1;
                return Ok(());
            }
            Err(Stop::Lacks(Lack::Failed)) => {
                self.counters.failed += 1;
                return Ok(());
            }
        }
        let frontier = &mut self.inputs[port].frontier;
        match frontier.judge(&self.columns, &self.key_values) {
            Judgement::Late => {
                self.counters.late += 1;
                return Ok(());
            }
            Judgement::Within => {}
            // A partial group that was ejected early says nothing about those still in the table: punctuation does.
            Judgement::Beyond if self.over_partials => {}
            Judgement::Beyond => {
                if frontier.advance(&self.columns, &self.key_values) {
                    self.close(cx);
                }
            }
        }
        self.update(tuple.ordinal, cx)
    }

    /// Quals, keys, operands.
    fn evaluate(&mut self, tuple: &Tuple) -> Result<(), Stop> {
        let env = TupleEnv(&*tuple.values);
        for qual in &self.quals {
            if !matches!(self.evaluator.eval(*qual, &env)?, Value::Bool(true)) {
                return Err(Stop::Filtered);
            }
        }
        self.key_values.clear();
        for node in &self.keys {
            self.key_values.push(self.evaluator.eval(*node, &env)?.clone());
        }
        for (nodes, values) in self.args.iter().zip(&mut self.arg_values) {
            values.clear();
            for node in nodes {
                values.push(self.evaluator.eval(*node, &env)?.clone());
            }
        }
        Ok(())
    }

    /// Takes the tuple at hand into its group, one per pattern.
    fn update(&mut self, ordinal: u64, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.has_grouped = true;
        self.counters.expanded += self.patterns.len() as u64 - 1;
        let groups = self.windows.of(&self.columns, &self.key_values);
        let mut off = Vec::new();
        for (number, &pattern) in self.patterns.iter().enumerate() {
            let is_on = |key: usize| pattern >> key & 1 == 1;
            let all_on = (0..self.keys.len()).all(is_on);
            let keys = if all_on {
                &self.key_values
            } else {
                off.clear();
                off.extend(self.key_values.iter().enumerate().map(|(i, value)| {
                    if is_on(i) { value.clone() } else { Value::default_of(self.key_types[i]) }
                }));
                &off
            };
            let pattern = number as u32;
            let mut hasher = self.hasher.build_hasher();
            pattern.hash(&mut hasher);
            keys.iter().for_each(|key| key.hash(&mut hasher));
            let hash = hasher.finish();
            let same = |&i: &usize| {
                let group: &Group = &groups.groups[i];
                group.hash == hash && group.pattern == pattern && *group.keys == **keys
            };
            let index = match groups.index.find(hash, same) {
                Some(&index) => {
                    self.counters.merged += 1;
                    index
                }
                None => {
                    let group = Group {
                        hash,
                        pattern,
                        ordinal,
                        keys: keys.as_slice().into(),
                        states: self.specs.iter().map(StateSpec::state).collect(),
                        bytes: 0,
                    };
                    let index = groups.groups.len();
                    groups.groups.push(group);
                    let rehash = |&i: &usize| groups.groups[i].hash;
                    groups.index.insert_unique(hash, index, rehash);
                    self.counters.held += 1;
                    index
                }
            };
            let group = &mut groups.groups[index];
            group.ordinal = group.ordinal.min(ordinal);
            let updates = self.specs.iter().zip(&mut group.states).zip(&self.arg_values);
            for ((spec, state), args) in updates {
                spec.update(state, args);
            }
            if group.bytes == 0 || self.states_grow {
                let bytes = group.measure();
                if bytes > group.bytes {
                    cx.memory.charge(&self.name, bytes - group.bytes)?;
                } else {
                    cx.memory.release(group.bytes - bytes);
                }
                group.bytes = bytes;
            }
        }
        Ok(())
    }

    /// The components of the window that are known against `env`.
    fn window_at<E: crate::interp::env::Env>(&mut self, env: &E) -> Vec<Option<Value>> {
        let component = |column: &OrderedColumn| {
            let node = self.keys[column.column as usize];
            self.evaluator.eval(node, env).ok().cloned()
        };
        self.ordered.iter().map(component).collect()
    }

    fn advance_known(&mut self, port: usize, known: &[Option<Value>], cx: &mut Context<'_>) {
        // LFTAs have taken the tolerance off their punctuation.
        let with_tolerance = !self.over_partials;
        let frontier = &mut self.inputs[port].frontier;
        if frontier.advance_known(&self.columns, known, with_tolerance) {
            self.close(cx);
        }
    }

    /// The bounds that all inputs still running have passed.
    fn bounds(&self) -> Vec<Option<Value>> {
        let running = self.inputs.iter().filter(|input| !input.ended);
        window::least_bounds(&self.columns, running.map(|input| &input.frontier))
    }

    /// Closes the windows that all inputs have passed.
    fn close(&mut self, cx: &mut Context<'_>) {
        if self.columns.is_empty() {
            return;
        }
        let bounds = self.bounds();
        let closed = self.windows.take_behind(&self.columns, &bounds);
        closed.into_iter().for_each(|groups| self.send(groups, cx));
    }

    fn close_all(&mut self, cx: &mut Context<'_>) {
        self.windows.take_all().into_iter().for_each(|groups| self.send(groups, cx));
    }

    /// HAVING and SELECT for the groups of a closed window.
    fn send(&mut self, groups: Groups, cx: &mut Context<'_>) {
        let mut groups = groups.groups;
        // Stable: groups of one packet and pattern stay in order of creation.
        groups.sort_by_key(|group| (group.ordinal, group.pattern));
        for group in groups {
            cx.memory.release(group.bytes);
            self.counters.held -= 1;
            let results = self.specs.iter().zip(&group.states).map(|(s, state)| s.output(state));
            let columns: Vec<_> = group.keys.iter().cloned().map(Ok).chain(results).collect();
            self.send_row(group.ordinal, &columns, cx);
        }
    }

    fn send_row(&mut self, ordinal: u64, columns: &[Result<Value, Lack>], cx: &mut Context<'_>) {
        match self.row(columns) {
            Ok(values) => {
                self.counters.output += 1;
                cx.out.push(Message::Tuple(Tuple { ordinal, values }));
            }
            Err(Stop::Filtered) => self.counters.filtered += 1,
            Err(Stop::Lacks(Lack::Absent)) => self.counters.absent += 1,
            Err(Stop::Lacks(Lack::Failed)) => self.counters.failed += 1,
        }
    }

    fn row(&mut self, columns: &[Result<Value, Lack>]) -> Result<Box<[Value]>, Stop> {
        let env = TupleEnv(columns);
        self.post.begin();
        for node in &self.having {
            if !matches!(self.post.eval(*node, &env)?, Value::Bool(true)) {
                return Err(Stop::Filtered);
            }
        }
        let mut values = Vec::with_capacity(self.outputs.len());
        for (node, column) in self.outputs.iter().zip(&self.output_columns) {
            values.push(match column {
                Some(column) => env.input(*column)?.clone(),
                None => self.post.eval(*node, &env)?.clone(),
            });
        }
        Ok(values.into())
    }

    /// Sends the ordered outputs at the bounds that all inputs have passed.
    fn punctuate(&mut self, cx: &mut Context<'_>) {
        let mut columns = vec![Err(Lack::Absent); self.keys.len() + self.specs.len()];
        for (column, bound) in self.columns.iter().zip(self.bounds()) {
            columns[column.key] = bound.ok_or(Lack::Absent);
        }
        let env = TupleEnv(&*columns);
        self.post.begin();
        let mut bounds = Vec::new();
        for &output in &self.ordered_outputs {
            // An output that needs more than the window tells has no bound.
            if let Ok(value) = self.post.eval(self.outputs[output as usize], &env) {
                bounds.push((output, value.clone()));
            }
        }
        if !bounds.is_empty() {
            cx.out.push(Message::Punctuation(bounds));
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        self.close_all(cx);
        if self.emit_empty && !self.has_grouped {
            // The one row over nothing.
            self.counters.expanded += 1;
            let columns: Vec<_> = self.specs.iter().map(|s| Ok(s.output_over_nothing())).collect();
            self.send_row(0, &columns, cx);
        }
        cx.out.push(Message::End);
    }
}

impl Group {
    /// Its memory now, bytes. Its cells lie in vectors that grow by doubling, its index entry in a table half full.
    fn measure(&self) -> u64 {
        let cells = 2 * (size_of::<Self>() + size_of::<usize>());
        let states = self.states.len() * size_of::<State>() + 2 * BLOCK_BYTES as usize;
        let heap: u64 = self.states.iter().map(State::heap_bytes).sum();
        (cells + states) as u64 + values_bytes(&self.keys) + heap
    }
}

impl Operator for Aggregate {
    fn message(
        &mut self,
        port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        match message {
            Message::Tuple(tuple) if self.whole_groups.is_some() => self.whole_group(tuple, cx),
            Message::Tuple(tuple) => self.tuple(port, &tuple, cx)?,
            Message::Punctuation(bounds) => {
                self.evaluator.begin();
                let known = self.window_at(&TupleEnv(&*bounds));
                self.advance_known(port, &known, cx);
                self.punctuate(cx);
            }
            Message::Flush => {
                self.close_all(cx);
                cx.out.push(Message::Flush);
            }
            Message::End => {
                self.inputs[port].ended = true;
                if self.inputs.iter().all(|input| input.ended) {
                    self.end(cx);
                } else {
                    self.close(cx);
                    self.punctuate(cx);
                }
            }
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }
}
