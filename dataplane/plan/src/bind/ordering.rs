//! Imputation of ordering properties through bound expressions (gsql.md §6); the algebra is the catalog's.

use wt_catalog::ordering::{self, Operand};
use wt_catalog::{Ordering, Type, Value};
use wt_lang::ast::BinaryOp;

use crate::logical::{Expr, ExprKind};
use crate::walk;

/// The property of `expr` over a stream whose columns, fields and interface properties have those that `leaf` tells.
pub(crate) fn infer(expr: &Expr, leaf: &dyn Fn(&Expr) -> Ordering) -> Ordering {
    match &expr.kind {
        ExprKind::Const(_) | ExprKind::Param(_) => Ordering::Constant,
        ExprKind::Field(_)
        | ExprKind::Column(_)
        | ExprKind::InterfaceProperty(_)
        | ExprKind::Depth(_)
        | ExprKind::Present(_)
        | ExprKind::PcapFilter(_) => leaf(expr),
        ExprKind::Unary(op, a) => ordering::unary(*op, &infer(a, leaf)),
        ExprKind::Cast(a) => ordering::cast(a.ty, expr.ty, &infer(a, leaf)),
        ExprKind::Binary(op, a, b) => {
            let (oa, ob) = (infer(a, leaf), infer(b, leaf));
            let imputed = ordering::binary(*op, operand(a, &oa), operand(b, &ob));
            let both_constant = oa == Ordering::Constant && ob == Ordering::Constant;
            if expr.ty == Type::Float && imputed == Ordering::Constant && !both_constant {
                // `x * 0.0` is 0.0 or -0.0, and a division tells them apart.
                return Ordering::Varying;
            }
            imputed
        }
        ExprKind::Compare(_, a, b) | ExprKind::And(a, b) | ExprKind::Or(a, b) => {
            constant_if(&[a, b], leaf)
        }
        ExprKind::Not(a) | ExprKind::In(a, _) => constant_if(&[a], leaf),
        // The file may change.
        ExprKind::InWatchlist(..) => Ordering::Varying,
        ExprKind::If(c, a, b) => constant_if(&[c, a, b], leaf),
        ExprKind::Call { function, args } => {
            let Some(first) = args.first() else { return Ordering::Varying };
            let rest: Vec<&Expr> = args.iter().skip(1).collect();
            match (infer(first, leaf), constant_if(&rest, leaf)) {
                (o, Ordering::Constant) => match function.ordering {
                    Some(declared) => o.mapped(declared),
                    None if o == Ordering::Constant => Ordering::Constant,
                    None => Ordering::Varying,
                },
                _ => Ordering::Varying,
            }
        }
    }
}

fn operand<'e>(expr: &'e Expr, ordering: &'e Ordering) -> Operand<'e> {
    let literal = match &expr.kind {
        ExprKind::Const(value) => Some(value),
        _ => None,
    };
    Operand { ordering, ty: expr.ty, literal, non_negative: non_negative(expr) }
}

fn constant_if(parts: &[&Expr], leaf: &dyn Fn(&Expr) -> Ordering) -> Ordering {
    let constant = parts.iter().all(|e| infer(e, leaf) == Ordering::Constant);
    if constant { Ordering::Constant } else { Ordering::Varying }
}

/// Whether the value is proven not to be negative (note b of gsql.md §6), overflow aside.
pub(crate) fn non_negative(expr: &Expr) -> bool {
    if !expr.ty.is_signed() {
        return true;
    }
    match &expr.kind {
        ExprKind::Const(value) => match value {
            Value::Float(f) => *f >= 0.0,
            other => other.as_i128().is_some_and(|i| i >= 0),
        },
        // Every value of a narrower unsigned type stays what it is.
        ExprKind::Cast(a) => {
            let widens = match (a.ty.bits(), expr.ty.bits()) {
                (Some(from), Some(to)) => from < to,
                _ => expr.ty == Type::Float,
            };
            if a.ty.is_signed() { non_negative(a) && widens } else { widens }
        }
        ExprKind::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Shr, a, b) => {
            non_negative(a) && non_negative(b)
        }
        ExprKind::Binary(BinaryOp::Rem | BinaryOp::BitAnd, a, _) => non_negative(a),
        ExprKind::If(_, a, b) => non_negative(a) && non_negative(b),
        _ => false,
    }
}

/// Whether the expression reads `leaf` columns only monotonely through one ordered column: used for window flags.
pub(crate) fn follows_window(expr: &Expr, is_window: &dyn Fn(&Expr) -> bool) -> bool {
    let mut any = false;
    let mut all = true;
    walk::each(expr, &mut |e| {
        if matches!(e.kind, ExprKind::Column(_) | ExprKind::Field(_)) {
            any = true;
            all &= is_window(e);
        }
    });
    any && all
}
