//! Constant folding by the catalog's arithmetic.

use wt_catalog::{Type, Value, arith};

use crate::logical::{Expr, ExprKind};
use crate::walk;

/// The value of a constant.
pub(crate) fn constant(expr: &Expr) -> Option<&Value> {
    match &expr.kind {
        ExprKind::Const(value) => Some(value),
        _ => None,
    }
}

/// The expression, or the constant it always gives. Only operators whose operands all are constants fold: a dropped operand
/// could be absent, which rejects the tuple.
pub(crate) fn fold(expr: Expr) -> Expr {
    let operands = walk::children(&expr);
    if operands.is_empty() || !operands.iter().all(|e| constant(e).is_some()) {
        return expr;
    }
    match value(&expr) {
        Some(value) => Expr { kind: ExprKind::Const(value), ..expr },
        None => expr,
    }
}

fn value(expr: &Expr) -> Option<Value> {
    let truth = |e: &Expr| match constant(e) {
        Some(Value::Bool(b)) => Some(*b),
        _ => None,
    };
    Some(match &expr.kind {
        ExprKind::Unary(op, a) => arith::unary(*op, constant(a)?, expr.ty)?,
        ExprKind::Binary(op, a, b) => arith::binary(*op, constant(a)?, constant(b)?, expr.ty)?,
        ExprKind::Compare(op, a, b) => Value::Bool(arith::compare(*op, constant(a)?, constant(b)?)),
        ExprKind::And(a, b) => Value::Bool(truth(a)? && truth(b)?),
        ExprKind::Or(a, b) => Value::Bool(truth(a)? || truth(b)?),
        ExprKind::Not(a) => Value::Bool(!truth(a)?),
        ExprKind::Cast(a) => arith::cast(constant(a)?, expr.ty)?,
        ExprKind::If(c, a, b) => constant(if truth(c)? { a } else { b })?.clone(),
        _ => return None,
    })
}

/// Whether a constant is a numeric or duration zero.
pub(crate) fn is_zero(expr: &Expr) -> bool {
    constant(expr).and_then(Value::as_f64) == Some(0.0)
        && (expr.ty.is_numeric() || expr.ty == Type::Duration)
}
