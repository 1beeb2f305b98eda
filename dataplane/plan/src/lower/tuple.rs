//! Expressions of an HFTA: leaves are columns of the input tuple.

use super::scalar::{Leaves, lower};
use super::{Dag, LowerError};
use crate::ir::{NodeId, Op};
use crate::logical::{Expr, ExprKind};
use wt_catalog::Type;

/// Lowers expressions over columns.
pub struct TupleLower<'a> {
    dag: &'a mut Dag,
    columns: Vec<NodeId>,
}

impl<'a> TupleLower<'a> {
    /// Columns are those of the input tuple, of these types.
    pub fn over_input(dag: &'a mut Dag, types: &[Type]) -> Self {
        let columns = (0u32..).zip(types).map(|(i, &ty)| dag.node(Op::Input(i), ty)).collect();
        Self { dag, columns }
    }

    /// Columns are these nodes of `dag`.
    pub fn over_nodes(dag: &'a mut Dag, columns: Vec<NodeId>) -> Self {
        Self { dag, columns }
    }

    /// The node of an expression.
    ///
    /// # Errors
    /// See [`LowerError`].
    pub fn expr(&mut self, e: &Expr) -> Result<NodeId, LowerError> {
        lower(self, e)
    }
}

impl Leaves for TupleLower<'_> {
    fn dag(&mut self) -> &mut Dag {
        self.dag
    }

    fn leaf(&mut self, e: &Expr) -> Result<NodeId, LowerError> {
        match &e.kind {
            ExprKind::Column(i) => match self.columns.get(*i) {
                Some(&node) => Ok(self.dag.cast(node, e.ty)),
                None => Err(LowerError::FieldInTuple),
            },
            _ => Err(LowerError::FieldInTuple),
        }
    }
}
