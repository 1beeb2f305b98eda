//! Partial aggregation next to the interface, in a direct-mapped table (gsql.md §11, §22).
//!
//! When a tuple's window goes beyond the frontier, every group of a window that this closes is ejected, windows in order
//! and within one by first packet; then punctuation says so. A tuple behind the frontier by more than the tolerance is late: dropped
//! and counted.

use wt_catalog::Value;
use wt_plan::ir::{Exprs, LftaAction, LftaAgg, LftaQuery, NodeId, OrderedColumn};

use super::table::{Group, GroupTable, KeyHasher};
use crate::interp::{Interpreter, Lack};
use crate::ledger::TupleCounters;
use crate::packet::Packet;
use crate::tuple::Message;
use crate::window::{self, Frontier, Judgement, WindowColumns};

pub(crate) struct Aggregate {
    keys: Vec<NodeId>,
    args: Vec<Option<NodeId>>,
    ordered: Vec<OrderedColumn>,
    columns: WindowColumns,
    frontier: Frontier,
    table: GroupTable,
    /// Key and operands of the packet at hand.
    key_values: Vec<Value>,
    arg_values: Vec<Option<Value>>,
    /// Tuples that fail the quals advance the window too.
    pub(crate) real_time: bool,
}

/// What it is made of: the parts of `LftaAction::Aggregate`.
pub(crate) struct AggregateSpec<'a> {
    pub(crate) keys: &'a [NodeId],
    pub(crate) ordered: &'a [OrderedColumn],
    pub(crate) aggs: &'a [LftaAgg],
    pub(crate) slots: u32,
    pub(crate) tolerance: u64,
    pub(crate) real_time: bool,
    /// Some key or aggregate is a string.
    pub(crate) holds_bytes: bool,
    /// Its partial groups must be the same in every run.
    pub(crate) fixed_hash: bool,
}

impl<'a> AggregateSpec<'a> {
    /// The parts of a query that aggregates; nothing for a selection.
    pub(crate) fn of(query: &'a LftaQuery, exprs: &Exprs, fixed_hash: bool) -> Option<Self> {
        let LftaAction::Aggregate { keys, ordered, aggs, slots, tolerance, real_time, .. } =
            &query.action
        else {
            return None;
        };
        let is_bytes = |node: &NodeId| exprs.nodes[node.0 as usize].ty.is_bytes();
        Some(Self {
            keys,
            ordered,
            aggs,
            slots: *slots,
            tolerance: *tolerance,
            real_time: *real_time,
            holds_bytes: keys.iter().any(is_bytes) || aggs.iter().any(|a| a.ty.is_bytes()),
            fixed_hash,
        })
    }

    /// Most memory of its table, bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        GroupTable::bytes_max(self.slots, self.keys.len(), self.aggs.len(), self.holds_bytes)
    }
}

impl Aggregate {
    pub(crate) fn new(spec: &AggregateSpec<'_>) -> Self {
        let hasher = KeyHasher::new(spec.fixed_hash);
        let columns = WindowColumns::new(spec.ordered, spec.tolerance);
        let frontier = Frontier::new(&columns);
        Self {
            keys: spec.keys.to_vec(),
            args: spec.aggs.iter().map(|agg| agg.arg).collect(),
            ordered: spec.ordered.to_vec(),
            columns,
            frontier,
            table: GroupTable::new(spec.slots, spec.aggs.to_vec(), spec.holds_bytes, hasher),
            key_values: Vec::new(),
            arg_values: vec![None; spec.aggs.len()],
            real_time: spec.real_time,
        }
    }

    /// Advances the window by a packet, whether it qualifies or not.
    pub(crate) fn advance_by(
        &mut self,
        interpreter: &mut Interpreter,
        packet: &Packet<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(Message),
    ) {
        let known = self.ordered.iter().map(|column| {
            let node = self.keys[column.column as usize];
            interpreter.eval(packet, node).ok().cloned()
        });
        let known: Vec<_> = known.collect();
        if self.frontier.advance_known(&self.columns, &known, true) {
            self.close(counters, out);
        }
    }

    /// Takes a packet that has qualified: keys, operands, then its window.
    pub(crate) fn take(
        &mut self,
        interpreter: &mut Interpreter,
        packet: &Packet<'_>,
        ordinal: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(Message),
    ) -> Result<(), Lack> {
        // Taken out, so that a packet that goes no further leaves none.
        let last = self.table.take_last();
        let same_key = self.evaluate(interpreter, packet)?;
        self.enter(same_key.then_some(last).flatten(), ordinal, counters, out);
        Ok(())
    }

    /// Takes a tuple whose keys and operands another backend has computed.
    pub(crate) fn take_values(
        &mut self,
        keys: impl Iterator<Item = Value>,
        args: impl Iterator<Item = Value>,
        ordinal: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(Message),
    ) {
        self.table.take_last();
        self.key_values.clear();
        self.key_values.extend(keys);
        let wanted = self.arg_values.iter_mut().zip(&self.args).filter(|(_, node)| node.is_some());
        for ((value, _), arg) in wanted.zip(args) {
            *value = Some(arg);
        }
        self.enter(None, ordinal, counters, out);
    }

    /// Takes the tuple at hand; `last` is its group where that is known already.
    fn enter(
        &mut self,
        last: Option<usize>,
        ordinal: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(Message),
    ) {
        if let Some(last) = last {
            // Its window is open, or the group would not be there.
            counters.matched += 1;
            counters.merged += 1;
            self.table.update_last(last, &self.arg_values);
            return;
        }
        match self.frontier.judge(&self.columns, &self.key_values) {
            Judgement::Late => {
                counters.late += 1;
                return;
            }
            Judgement::Within => {}
            Judgement::Beyond => {
                if self.frontier.advance(&self.columns, &self.key_values) {
                    self.close(counters, out);
                }
            }
        }
        counters.matched += 1;
        let updated = self.table.update(&self.key_values, &self.arg_values, ordinal);
        counters.merged += u64::from(updated.merged);
        for group in updated.ejected.into_iter().flatten() {
            counters.ejected += 1;
            counters.output += 1;
            out(Message::Tuple(group.into_tuple()));
        }
    }

    /// Evaluates keys and operands; says whether the key is that of the packet before.
    fn evaluate(
        &mut self,
        interpreter: &mut Interpreter,
        packet: &Packet<'_>,
    ) -> Result<bool, Lack> {
        let mut same = self.key_values.len() == self.keys.len();
        for (i, node) in self.keys.iter().enumerate() {
            let value = interpreter.eval(packet, *node)?;
            match self.key_values.get_mut(i) {
                Some(last) if last == value => {}
                Some(last) => {
                    *last = value.clone();
                    same = false;
                }
                None => self.key_values.push(value.clone()),
            }
        }
        for (node, last) in self.args.iter().zip(&mut self.arg_values) {
            if let Some(node) = node {
                *last = Some(interpreter.eval(packet, *node)?.clone());
            }
        }
        Ok(same)
    }

    /// Advances the window by a lower bound of the packets' times, and says how far it has come.
    pub(crate) fn bound(
        &mut self,
        interpreter: &mut Interpreter,
        time_ns: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(Message),
    ) {
        let known = self.ordered.iter().map(|column| {
            let node = self.keys[column.column as usize];
            column.from_time.then(|| interpreter.eval_at(time_ns, node).ok().cloned()).flatten()
        });
        let known: Vec<_> = known.collect();
        if self.frontier.advance_known(&self.columns, &known, true) {
            self.close(counters, out);
        } else if let Some(bounds) = window::punctuation(&self.columns, self.frontier.bounds()) {
            out(Message::Punctuation(bounds));
        }
    }

    /// Ejects the groups of windows behind the frontier and sends punctuation.
    fn close(&mut self, counters: &mut TupleCounters, out: &mut dyn FnMut(Message)) {
        let bounds = self.frontier.bounds();
        let closed = self.table.take(|keys| self.columns.key_is_behind(keys, bounds));
        send(closed, &self.columns, counters, out);
        if let Some(bounds) = window::punctuation(&self.columns, bounds) {
            out(Message::Punctuation(bounds));
        }
    }

    /// Ejects every group.
    pub(crate) fn finish(&mut self, counters: &mut TupleCounters, out: &mut dyn FnMut(Message)) {
        let all = self.table.take(|_| true);
        send(all, &self.columns, counters, out);
    }

    /// Groups held.
    pub(crate) fn held(&self) -> u64 {
        self.table.len() as u64
    }
}

/// Sends partial groups: windows in order, within one by first packet.
fn send(
    mut groups: Vec<Group>,
    columns: &WindowColumns,
    counters: &mut TupleCounters,
    out: &mut dyn FnMut(Message),
) {
    groups.sort_unstable_by(|a, b| {
        columns.compare_keys(&a.keys, &b.keys).then(a.ordinal.cmp(&b.ordinal))
    });
    counters.output += groups.len() as u64;
    groups.into_iter().for_each(|group| out(Message::Tuple(group.into_tuple())));
}
