//! What grouping operators share: what a tuple brings to its groups, and what a finished group gives.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use wt_catalog::{Type, Value};
use wt_plan::ir::{AggKind, NodeId, Op};
use wt_plan::physical::{self, HftaAggFunction};

use super::state::{State, StateSpec};
use crate::check::{Defect, PlanDefect};
use crate::hash_index::ENTRY_BYTES_MAX;
use crate::interp::env::Env;
use crate::interp::{Evaluator, Lack, TupleEnv};
use crate::ledger::OperatorCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::setup::SetupError;
use crate::tuple::{BLOCK_BYTES, Tuple, values_bytes};

/// Why a tuple or a row goes no further.
pub(super) enum Stop {
    Filtered,
    Lacks(Lack),
}

impl From<Lack> for Stop {
    fn from(lack: Lack) -> Self {
        Stop::Lacks(lack)
    }
}

impl Stop {
    /// Enters it in the books.
    pub(super) fn count(&self, counters: &mut OperatorCounters) {
        match self {
            Stop::Filtered => counters.filtered += 1,
            Stop::Lacks(Lack::Absent) => counters.absent += 1,
            Stop::Lacks(Lack::Failed) => counters.failed += 1,
        }
    }
}

/// Quals, keys and operands of the tuple at hand.
pub(super) struct Intake {
    evaluator: Evaluator,
    quals: Vec<NodeId>,
    keys: Vec<NodeId>,
    key_types: Vec<Type>,
    /// CUBE and the like: bit i set = key i is on.
    patterns: Vec<u64>,
    /// Operands by aggregate.
    args: Vec<Vec<NodeId>>,
    key_values: Vec<Value>,
    arg_values: Vec<Vec<Value>>,
    hasher: RandomState,
}

impl Intake {
    pub(super) fn new(plan: &physical::Aggregate, params: &[Value]) -> Result<Self, SetupError> {
        Ok(Self {
            evaluator: Evaluator::new(&plan.exprs, params)?,
            quals: plan.quals.iter().map(|qual| qual.node).collect(),
            keys: plan.keys.clone(),
            key_types: plan.key_types.clone(),
            patterns: plan.patterns.clone(),
            args: plan.aggs.iter().map(|agg| agg.args.clone()).collect(),
            key_values: Vec::new(),
            arg_values: vec![Vec::new(); plan.aggs.len()],
            hasher: RandomState::new(),
        })
    }

    /// Takes other parameters.
    pub(super) fn set_params(
        &mut self,
        plan: &physical::Aggregate,
        params: &[Value],
    ) -> Result<(), SetupError> {
        self.evaluator = Evaluator::new(&plan.exprs, params)?;
        Ok(())
    }

    /// Forgets the tuple before.
    pub(super) fn begin(&mut self) {
        self.evaluator.begin();
    }

    /// Quals, keys and operands of a tuple, in this order.
    pub(super) fn take(&mut self, tuple: &Tuple) -> Result<(), Stop> {
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

    /// The key of the tuple at hand.
    pub(super) fn keys(&self) -> &[Value] {
        &self.key_values
    }

    /// Shows a key as that of the tuple at hand.
    pub(super) fn show_key(&mut self, key: usize, value: Value) {
        self.key_values.resize(self.keys.len(), Value::Bool(false));
        self.key_values[key] = value;
    }

    /// Keys and operands of the tuple at hand.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.key_values.iter().chain(self.arg_values.iter().flatten())
    }

    /// How many groups a tuple updates.
    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// The key of the tuple at hand in a pattern, with its hash: keys that are off have their type's default.
    pub(super) fn key(&self, pattern: usize) -> (u64, Cow<'_, [Value]>) {
        let is_on = |key: usize| self.patterns[pattern] >> key & 1 == 1;
        let keys = if (0..self.keys.len()).all(is_on) {
            Cow::Borrowed(&*self.key_values)
        } else {
            let of = |(i, value): (usize, &Value)| {
                if is_on(i) { value.clone() } else { Value::default_of(self.key_types[i]) }
            };
            Cow::Owned(self.key_values.iter().enumerate().map(of).collect())
        };
        let mut hasher = self.hasher.build_hasher();
        pattern.hash(&mut hasher);
        keys.iter().for_each(|key| key.hash(&mut hasher));
        (hasher.finish(), keys)
    }

    /// A key against `env`, where it is known.
    pub(super) fn key_at<E: Env>(&mut self, key: usize, env: &E) -> Option<Value> {
        self.evaluator.eval(self.keys[key], env).ok().cloned()
    }

    /// The first operand of an aggregate against `env`, where it is known.
    pub(super) fn operand_at<E: Env>(&mut self, agg: usize, env: &E) -> Option<Value> {
        let node = *self.args[agg].first()?;
        self.evaluator.eval(node, env).ok().cloned()
    }
}

/// Aggregates, HAVING and SELECT.
pub(super) struct Results {
    specs: Vec<StateSpec>,
    states_grow: bool,
    post: Evaluator,
    having: Vec<NodeId>,
    outputs: Vec<NodeId>,
    /// By output: the column that it is, when nothing is computed.
    output_columns: Vec<Option<u32>>,
    /// Keys and results of the group at hand.
    columns: Vec<Result<Value, Lack>>,
}

/// Whether keys and operands of a plan over partial results are its columns in order: a whole group is a row of them then.
pub(super) fn is_over_groups(plan: &physical::Aggregate) -> bool {
    let is_column = |node: &NodeId, column: usize| {
        plan.exprs.nodes[node.0 as usize].op == Op::Input(column as u32)
    };
    let are_keys = plan.keys.iter().enumerate().all(|(i, node)| is_column(node, i));
    let is_result = |(i, agg): (usize, &physical::HftaAgg)| {
        let is_basic = matches!(agg.function, HftaAggFunction::Basic(_)) && !agg.distinct;
        is_basic && matches!(&agg.args[..], [node] if is_column(node, plan.keys.len() + i))
    };
    let are_results = plan.aggs.iter().enumerate().all(is_result);
    let plain = plan.has_one_pattern() && plan.quals.is_empty() && !plan.real_time;
    are_keys && are_results && plain && plan.over_partials && plan.seen.is_none()
}

/// Key and states of a group.
pub(super) struct Body {
    pub(super) keys: Box<[Value]>,
    states: Box<[State]>,
    /// What is charged for it.
    bytes: u64,
}

impl Results {
    pub(super) fn new(
        name: &str,
        plan: &physical::Aggregate,
        params: &[Value],
    ) -> Result<Self, SetupError> {
        let mut specs = Vec::with_capacity(plan.aggs.len());
        for agg in &plan.aggs {
            let unknown = || PlanDefect {
                place: name.to_owned(),
                defect: Defect::UnknownAggregate { text: agg.text.clone() },
            };
            specs.push(StateSpec::new(agg).ok_or_else(unknown)?);
        }
        Ok(Self {
            states_grow: specs.iter().any(StateSpec::grows),
            specs,
            post: Evaluator::new(&plan.post, params)?,
            having: plan.having.clone(),
            outputs: plan.outputs.clone(),
            output_columns: plan
                .outputs
                .iter()
                .map(|node| match plan.post.nodes[node.0 as usize].op {
                    Op::Input(column) => Some(column),
                    _ => None,
                })
                .collect(),
            columns: Vec::new(),
        })
    }

    /// Takes other parameters.
    pub(super) fn set_params(
        &mut self,
        plan: &physical::Aggregate,
        params: &[Value],
    ) -> Result<(), SetupError> {
        self.post = Evaluator::new(&plan.post, params)?;
        Ok(())
    }

    /// The row of a group that is a tuple: keys, then results, perhaps of narrower types.
    pub(super) fn of_group(&mut self, values: Box<[Value]>) -> Result<Box<[Value]>, Stop> {
        let keys = values.len() - self.specs.len();
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        columns.extend(values.into_iter().enumerate().map(
            |(i, value)| match i.checked_sub(keys) {
                None => Ok(value),
                Some(agg) => Ok(self.specs[agg].converted(&value)),
            },
        ));
        let row = self.row(&columns);
        self.columns = columns;
        row
    }

    /// A new group.
    pub(super) fn body(&self, keys: &[Value]) -> Body {
        let states = self.specs.iter().map(StateSpec::state).collect();
        Body { keys: keys.into(), states, bytes: 0 }
    }

    /// The results of a group, where all aggregates are of those that every backend has.
    pub(super) fn of_body(&self, body: &Body) -> impl Iterator<Item = Value> {
        let states = self.specs.iter().zip(&body.states);
        states.map(|(spec, state)| spec.output(state).unwrap_or_else(|_| spec.empty()))
    }

    /// What is charged for a group whose key and states are of fixed size, of `cell_bytes` beside them.
    pub(super) fn fixed_bytes(&self, key_types: &[Type], cell_bytes: usize) -> u64 {
        let keys: Vec<Value> = key_types.iter().map(|ty| Value::default_of(*ty)).collect();
        self.body(&keys).measure(cell_bytes)
    }

    /// Takes the operands of the tuple at hand into a group of `cell_bytes` beside key and states, and charges what it grew.
    pub(super) fn update(
        &self,
        body: &mut Body,
        intake: &Intake,
        cell_bytes: usize,
        name: &str,
        memory: &mut Memory,
    ) -> Result<(), MemoryExceeded> {
        let updates = self.specs.iter().zip(&mut body.states).zip(&intake.arg_values);
        for ((spec, state), args) in updates {
            spec.update(state, args);
        }
        self.charge(body, cell_bytes, name, memory)
    }

    /// Takes what aggregates come to over other tuples into a group, and charges what it grew.
    pub(super) fn merge(
        &self,
        body: &mut Body,
        partials: &[(AggKind, Value)],
        cell_bytes: usize,
        name: &str,
        memory: &mut Memory,
    ) -> Result<(), MemoryExceeded> {
        for ((spec, state), (kind, partial)) in
            self.specs.iter().zip(&mut body.states).zip(partials)
        {
            spec.merge(*kind, state, partial);
        }
        self.charge(body, cell_bytes, name, memory)
    }

    fn charge(
        &self,
        body: &mut Body,
        cell_bytes: usize,
        name: &str,
        memory: &mut Memory,
    ) -> Result<(), MemoryExceeded> {
        if body.bytes == 0 || self.states_grow {
            let bytes = body.measure(cell_bytes);
            if bytes > body.bytes {
                memory.charge(name, bytes - body.bytes)?;
            } else {
                memory.release(body.bytes - bytes);
            }
            body.bytes = bytes;
        }
        Ok(())
    }

    /// The row of a finished group, and its memory given back.
    pub(super) fn finish(
        &mut self,
        body: Body,
        further: Option<Value>,
        memory: &mut Memory,
    ) -> Result<Box<[Value]>, Stop> {
        memory.release(body.bytes);
        let results = self.specs.iter().zip(&body.states).map(|(s, state)| s.output(state));
        let keys = body.keys.into_iter().map(Ok);
        let columns: Vec<_> = keys.chain(results).chain(further.map(Ok)).collect();
        self.row(&columns)
    }

    /// The row over nothing.
    pub(super) fn over_nothing(&mut self, further: Option<Value>) -> Result<Box<[Value]>, Stop> {
        let results = self.specs.iter().map(|s| Ok(s.output_over_nothing()));
        let columns: Vec<_> = results.chain(further.map(Ok)).collect();
        self.row(&columns)
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

    /// The bounds of outputs where only some keys and results have one. An output that needs more has none.
    pub(super) fn bounds(
        &mut self,
        known: impl IntoIterator<Item = (usize, Value)>,
        columns: usize,
        outputs: &[u32],
    ) -> Vec<(u32, Value)> {
        let mut cells = vec![Err(Lack::Absent); columns];
        for (column, bound) in known {
            cells[column] = Ok(bound);
        }
        let env = TupleEnv(&*cells);
        self.post.begin();
        let bound_of = |&output: &u32| {
            let value = self.post.eval(self.outputs[output as usize], &env).ok()?;
            Some((output, value.clone()))
        };
        outputs.iter().filter_map(bound_of).collect()
    }
}

impl Body {
    /// Its memory now, bytes. Its cells lie in vectors that grow by doubling.
    fn measure(&self, cell_bytes: usize) -> u64 {
        let cells = 2 * cell_bytes + ENTRY_BYTES_MAX;
        let states = self.states.len() * size_of::<State>() + 2 * BLOCK_BYTES as usize;
        let heap: u64 = self.states.iter().map(State::heap_bytes).sum();
        (cells + states) as u64 + values_bytes(&self.keys) + heap
    }
}
