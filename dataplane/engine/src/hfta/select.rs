//! Filter and project (gsql.md §10): tuples leave in the order they come, late ones unchanged.

use std::convert::Infallible;

use wt_catalog::Value;
use wt_plan::ir::{Exprs, NodeId, Qual};
use wt_plan::physical::HftaOp;

use super::blocks::Remaking;
use super::{Context, Operator};
use crate::interp::{Evaluator, Lack, TupleEnv};
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple};

pub(super) struct Select {
    evaluator: Evaluator,
    quals: Vec<NodeId>,
    outputs: Vec<NodeId>,
    ordered: Vec<u32>,
    /// The same over blocks.
    remaking: Remaking,
    counters: OperatorCounters,
}

impl Select {
    pub(super) fn new(
        exprs: &Exprs,
        quals: &[Qual],
        outputs: &[NodeId],
        ordered: &[(u32, u32)],
        params: &[Value],
    ) -> Result<Self, SetupError> {
        Ok(Self {
            evaluator: Evaluator::new(exprs, params)?,
            quals: quals.iter().map(|qual| qual.node).collect(),
            outputs: outputs.to_vec(),
            ordered: ordered.iter().map(|&(output, _)| output).collect(),
            remaking: Remaking::new(exprs, params, quals.iter().map(|qual| qual.node), outputs),
            counters: OperatorCounters::default(),
        })
    }

    /// The projection of a tuple; nothing when a qual is false.
    fn project(&mut self, tuple: &Tuple) -> Result<Option<Tuple>, Lack> {
        let env = TupleEnv(&*tuple.values);
        self.evaluator.begin();
        for qual in &self.quals {
            if !matches!(self.evaluator.eval(*qual, &env)?, Value::Bool(true)) {
                return Ok(None);
            }
        }
        let mut values = Vec::with_capacity(self.outputs.len());
        for node in &self.outputs {
            values.push(self.evaluator.eval(*node, &env)?.clone());
        }
        Ok(Some(Tuple { ordinal: tuple.ordinal, values: values.into() }))
    }

    fn tuple(&mut self, tuple: &Tuple, cx: &mut Context<'_>) {
        self.counters.input += 1;
        match self.project(tuple) {
            Ok(Some(tuple)) => {
                self.counters.output += 1;
                cx.out.push(Message::Tuple(tuple));
            }
            Ok(None) => self.counters.filtered += 1,
            Err(Lack::Absent) => self.counters.absent += 1,
            Err(Lack::Failed) => self.counters.failed += 1,
        }
    }

    /// The ordered outputs at the bounds of the input.
    fn map_bounds(&mut self, bounds: &[(u32, Value)]) -> Vec<(u32, Value)> {
        let env = TupleEnv(bounds);
        self.evaluator.begin();
        let mut mapped = Vec::new();
        for &output in &self.ordered {
            // An output that needs more than the bounds tells has none.
            if let Ok(value) = self.evaluator.eval(self.outputs[output as usize], &env) {
                mapped.push((output, value.clone()));
            }
        }
        mapped
    }
}

impl Operator for Select {
    fn set_params(&mut self, op: &HftaOp, params: &[Value]) -> Result<(), SetupError> {
        if let HftaOp::Select { exprs, .. } = op {
            self.evaluator = Evaluator::new(exprs, params)?;
            self.remaking.set_params(params);
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
            Message::Tuple(tuple) => self.tuple(&tuple, cx),
            Message::Block(block) => {
                if let Some(remade) = self.remaking.block(&block, &mut self.counters) {
                    self.counters.input += block.len() as u64;
                    self.counters.output += remade.len();
                    cx.out.extend(remade.block.map(Message::Block));
                    return Ok(());
                }
                let Ok(()) = block.each(|tuple| {
                    self.tuple(tuple, cx);
                    Ok::<_, Infallible>(())
                });
            }
            Message::Punctuation(bounds) => {
                let mapped = self.map_bounds(&bounds);
                if !mapped.is_empty() {
                    cx.out.push(Message::Punctuation(mapped));
                }
            }
            control @ (Message::Flush | Message::End) => cx.out.push(control),
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "select"
    }
}
