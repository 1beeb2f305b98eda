//! The high-level part of a query: operators over streams, joined into a graph. One operator per file.

mod aggregate;
mod blocks;
mod distinct;
mod grouping;
mod groups;
mod merge;
mod select;
mod session;
mod share;
mod sort;
mod state;
mod windows;

#[cfg(test)]
mod tests;

use wt_catalog::Value;
use wt_plan::physical::{HftaNode, HftaOp};

use crate::ledger::OperatorCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::setup::SetupError;
use crate::tuple::Message;

/// What an operator works with while it takes a message.
pub(crate) struct Context<'a> {
    /// The run's memory budget.
    pub(crate) memory: &'a mut Memory,
    /// What it sends, in order.
    pub(crate) out: &'a mut Vec<Message>,
}

/// A running HFTA node.
pub(crate) trait Operator: Send {
    /// Takes a message of the input at `port`.
    ///
    /// # Errors
    /// Keeping it needs more memory than the run may take.
    fn message(
        &mut self,
        port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded>;

    /// Takes other parameters into its expressions from the next tuple on. `op` is what it was made of.
    ///
    /// # Errors
    /// A handle that cannot be registered; then it goes on with those it has.
    fn set_params(&mut self, op: &HftaOp, params: &[Value]) -> Result<(), SetupError>;

    /// What became of its tuples so far, without those that were judged ahead.
    fn counters(&self) -> OperatorCounters;

    /// Its kind, for the books.
    fn kind(&self) -> &'static str;

    /// So many captures broke off among those that the input at `port` stems from.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn broke_off(
        &mut self,
        _port: usize,
        _captures: u64,
        _cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        Ok(())
    }

    /// The inputs whose lower bounds it needs to go on; empty unless it holds more than it should (punctuation on demand).
    fn waiting_on(&self) -> Vec<usize> {
        Vec::new()
    }

    /// All bounds that can be had have been given.
    ///
    /// # Errors
    /// As [`Self::message`].
    fn bounds_given(&mut self, _cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        Ok(())
    }
}

/// Makes the operator of a node that [`crate::check`] has found sound. `gets_whole_groups` tells that its one input sends each group
/// of a window once, in order.
///
/// # Errors
/// A handle that cannot be registered.
pub(crate) fn operator(
    node: &HftaNode,
    params: &[Value],
    gets_whole_groups: bool,
) -> Result<Box<dyn Operator>, SetupError> {
    Ok(match &node.op {
        HftaOp::Select { exprs, quals, outputs, ordered } => {
            Box::new(select::Select::new(exprs, quals, outputs, ordered, params)?)
        }
        HftaOp::Aggregate(plan) => Box::new(aggregate::Aggregate::new(
            &node.name,
            plan,
            node.inputs.len(),
            params,
            gets_whole_groups,
        )?),
        HftaOp::Session(plan) => Box::new(session::Session::new(&node.name, plan, params)?),
        HftaOp::Merge { column, slack, queue_tuples_max } => Box::new(merge::Merge::new(
            &node.name,
            node.inputs.len(),
            *column,
            slack.clone(),
            *queue_tuples_max,
        )),
        HftaOp::Distinct { window } => Box::new(distinct::Distinct::new(&node.name, window)),
        HftaOp::Sort { window, exprs, keys, limit, outputs } => {
            Box::new(sort::Sort::new(&node.name, window, exprs, keys, *limit, outputs, params)?)
        }
    })
}
