//! SELECT DISTINCT: the first tuple of each distinct row within a window, as soon as it comes.
//!
//! Memory: the distinct rows of the open windows, charged to the run's limit.

use std::collections::HashSet;

use wt_catalog::Value;
use wt_plan::ir::OrderedColumn;
use wt_plan::physical::HftaOp;

use super::windows::Windows;
use super::{Context, Operator};
use crate::ledger::OperatorCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple, set_entry_bytes};
use crate::window::{Frontier, Judgement, WindowColumns};

pub(super) struct Distinct {
    name: String,
    columns: WindowColumns,
    frontier: Frontier,
    windows: Windows<Seen>,
    counters: OperatorCounters,
}

/// The rows of a window.
#[derive(Default)]
struct Seen {
    rows: HashSet<Box<[Value]>>,
    bytes: u64,
}

impl Distinct {
    pub(super) fn new(name: &str, window: &[OrderedColumn]) -> Self {
        let columns = WindowColumns::new(window, 0);
        Self {
            name: name.to_owned(),
            frontier: Frontier::new(&columns),
            columns,
            windows: Windows::new(),
            counters: OperatorCounters::default(),
        }
    }

    fn tuple(&mut self, tuple: Tuple, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        match self.frontier.judge(&self.columns, &tuple.values) {
            Judgement::Late => {
                self.counters.late += 1;
                return Ok(());
            }
            Judgement::Within => {}
            Judgement::Beyond => {
                self.frontier.advance(&self.columns, &tuple.values);
                self.close(cx.memory);
            }
        }
        let seen = self.windows.of(&self.columns, &tuple.values);
        if seen.rows.contains(&tuple.values) {
            self.counters.merged += 1;
            return Ok(());
        }
        let bytes = set_entry_bytes(&tuple.values);
        cx.memory.charge(&self.name, bytes)?;
        seen.bytes += bytes;
        seen.rows.insert(tuple.values.clone());
        self.counters.output += 1;
        cx.out.push(Message::Tuple(tuple));
        Ok(())
    }

    /// Forgets the windows behind the frontier.
    fn close(&mut self, memory: &mut Memory) {
        for (_, seen) in self.windows.take_behind(&self.columns, self.frontier.bounds()) {
            memory.release(seen.bytes);
        }
    }

    fn forget_all(&mut self, memory: &mut Memory) {
        self.windows.take_all().into_iter().for_each(|(_, seen)| memory.release(seen.bytes));
    }
}

impl Operator for Distinct {
    fn set_params(&mut self, _op: &HftaOp, _params: &[Value]) -> Result<(), SetupError> {
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
                    self.close(cx.memory);
                }
                cx.out.push(Message::Punctuation(bounds));
            }
            control @ (Message::Flush | Message::End) => {
                self.forget_all(cx.memory);
                cx.out.push(control);
            }
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "distinct"
    }
}
