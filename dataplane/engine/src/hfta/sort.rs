//! ORDER BY … LIMIT within a window: rows are kept until their window closes, then leave sorted; equal rows in the order
//! they came.
//!
//! Memory: the rows of the open windows, at most LIMIT of each, charged to the run's limit.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use wt_catalog::Value;
use wt_plan::ir::{Exprs, NodeId, OrderedColumn};
use wt_plan::physical::HftaOp;

use super::windows::Windows;
use super::{Context, Operator};
use crate::interp::{Evaluator, Lack, TupleEnv};
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{BLOCK_BYTES, Message, Tuple, value_bytes, values_bytes};
use crate::window::{Frontier, Judgement, WindowColumns};

pub(super) struct Sort {
    name: String,
    columns: WindowColumns,
    frontier: Frontier,
    evaluator: Evaluator,
    keys: Vec<(NodeId, bool)>,
    limit: Option<u64>,
    outputs: Vec<u32>,
    /// Rows of each open window, the last one on top.
    windows: Windows<BinaryHeap<Row>>,
    arrivals: u64,
    counters: OperatorCounters,
}

/// A row with what it is sorted by.
struct Row {
    keys: Vec<SortKey>,
    arrival: u64,
    tuple: Tuple,
    bytes: u64,
}

struct SortKey {
    value: Value,
    descending: bool,
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_keys = self.keys.iter().zip(&other.keys).map(|(a, b)| {
            let ordering = a.value.total_cmp(&b.value);
            if a.descending { ordering.reverse() } else { ordering }
        });
        let by_keys = by_keys.into_iter().find(|ordering| ordering.is_ne());
        by_keys.unwrap_or(Ordering::Equal).then(self.arrival.cmp(&other.arrival))
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Row {}

/// Memory of a row, bytes. It lies in a vector that grows by doubling.
fn row_bytes(keys: &[SortKey], tuple: &Tuple) -> u64 {
    let keys: u64 = keys.iter().map(|key| value_bytes(&key.value) + size_of::<bool>() as u64).sum();
    let blocks = 2 * BLOCK_BYTES + 2 * size_of::<Row>() as u64;
    keys + values_bytes(&tuple.values) + blocks
}

impl Sort {
    pub(super) fn new(
        name: &str,
        window: &[OrderedColumn],
        exprs: &Exprs,
        keys: &[(NodeId, bool)],
        limit: Option<u64>,
        outputs: &[u32],
        params: &[Value],
    ) -> Result<Self, SetupError> {
        let columns = WindowColumns::new(window, 0);
        Ok(Self {
            name: name.to_owned(),
            frontier: Frontier::new(&columns),
            columns,
            evaluator: Evaluator::new(exprs, params)?,
            keys: keys.to_vec(),
            limit,
            outputs: outputs.to_vec(),
            windows: Windows::new(),
            arrivals: 0,
            counters: OperatorCounters::default(),
        })
    }

    fn sort_keys(&mut self, tuple: &Tuple) -> Result<Vec<SortKey>, Lack> {
        self.evaluator.begin();
        let env = TupleEnv(&*tuple.values);
        let mut keys = Vec::with_capacity(self.keys.len());
        for &(node, descending) in &self.keys {
            keys.push(SortKey { value: self.evaluator.eval(node, &env)?.clone(), descending });
        }
        Ok(keys)
    }

    fn tuple(&mut self, tuple: Tuple, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        let keys = match self.sort_keys(&tuple) {
            Ok(keys) => keys,
            Err(Lack::Absent) => {
                self.counters.absent += 1;
                return Ok(());
            }
            Err(Lack::Failed) => {
                self.counters.failed += 1;
                return Ok(());
            }
        };
        match self.frontier.judge(&self.columns, &tuple.values) {
            Judgement::Late => {
                self.counters.late += 1;
                return Ok(());
            }
            Judgement::Within => {}
            Judgement::Beyond => {
                self.frontier.advance(&self.columns, &tuple.values);
                self.close(cx);
            }
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        let bytes = row_bytes(&keys, &tuple);
        let row = Row { keys, arrival, tuple, bytes };
        let rows = self.windows.of(&self.columns, &row.tuple.values);
        if let Some(limit) = self.limit
            && rows.len() as u64 >= limit
        {
            self.counters.limited += 1;
            // One row too many: the last of the order goes, be it the new one.
            match rows.peek() {
                Some(last) if row < *last => {}
                _ => return Ok(()),
            }
            if let Some(last) = rows.pop() {
                cx.memory.release(last.bytes);
                self.counters.held -= 1;
            }
        }
        cx.memory.charge(&self.name, bytes)?;
        rows.push(row);
        self.counters.held += 1;
        Ok(())
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        let closed = self.windows.take_behind(&self.columns, self.frontier.bounds());
        closed.into_iter().for_each(|(_, rows)| self.send(rows, cx));
    }

    fn close_all(&mut self, cx: &mut Context<'_>) {
        self.windows.take_all().into_iter().for_each(|(_, rows)| self.send(rows, cx));
    }

    fn send(&mut self, rows: BinaryHeap<Row>, cx: &mut Context<'_>) {
        for row in rows.into_sorted_vec() {
            cx.memory.release(row.bytes);
            self.counters.held -= 1;
            self.counters.output += 1;
            let Tuple { ordinal, values } = row.tuple;
            let kept = self.outputs.iter().map(|&column| values[column as usize].clone());
            cx.out.push(Message::Tuple(Tuple { ordinal, values: kept.collect() }));
        }
    }

    /// The bounds of the window columns that are output. Other columns are in the order of the sort keys.
    fn map_bounds(&self) -> Vec<(u32, Value)> {
        let columns = self.columns.iter().zip(self.frontier.bounds());
        let mapped = columns.filter_map(|(column, bound)| {
            let output = self.outputs.iter().position(|&input| input as usize == column.key)?;
            Some((output as u32, bound.clone()?))
        });
        mapped.collect()
    }
}

impl Operator for Sort {
    fn set_params(&mut self, op: &HftaOp, params: &[Value]) -> Result<(), SetupError> {
        if let HftaOp::Sort { exprs, .. } = op {
            self.evaluator = Evaluator::new(exprs, params)?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        _port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        match message {
            Message::Tuple(tuple) => self.tuple(tuple, cx)?,
            Message::Block(block) => {
                for tuple in block.tuples() {
                    self.tuple(tuple, cx)?;
                }
            }
            Message::Punctuation(bounds) => {
                let known = self.columns.known(&bounds);
                if self.frontier.advance_known(&self.columns, &known, true) {
                    self.close(cx);
                }
                let mapped = self.map_bounds();
                if !mapped.is_empty() {
                    cx.out.push(Message::Punctuation(mapped));
                }
            }
            control @ (Message::Flush | Message::End) => {
                self.close_all(cx);
                cx.out.push(control);
            }
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "sort"
    }
}
