//! Operator precedence (gsql.md §4), shared by the parser and the printer. Larger binds tighter.

use crate::ast::BinaryOp;

pub(crate) const OR: u8 = 1;
pub(crate) const AND: u8 = 2;
pub(crate) const NOT: u8 = 3;
/// Comparison, IN, BETWEEN, LIKE: they do not chain.
pub(crate) const COMPARE: u8 = 4;
pub(crate) const BIT_OR: u8 = 5;
const BIT_AND: u8 = 6;
const SHIFT: u8 = 7;
const ADD: u8 = 8;
const MUL: u8 = 9;
pub(crate) const UNARY: u8 = 10;
pub(crate) const PRIMARY: u8 = 11;

/// The precedence of an infix operator; all associate left.
pub(crate) fn binary(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::BitOr => BIT_OR,
        BinaryOp::BitAnd => BIT_AND,
        BinaryOp::Shl | BinaryOp::Shr => SHIFT,
        BinaryOp::Add | BinaryOp::Sub => ADD,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => MUL,
    }
}
