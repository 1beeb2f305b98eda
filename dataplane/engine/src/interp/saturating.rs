//! The arithmetic of the protocol DDL: unsigned 64 bit, held at 0 and at `u64::MAX`, never failing (ddl.md, Rules).

use wt_lang::ast::BinaryOp;

/// `a op b`. Division and remainder by zero give 0.
pub(super) fn apply(op: BinaryOp, a: u64, b: u64) -> u64 {
    match op {
        BinaryOp::BitOr => a | b,
        BinaryOp::BitAnd => a & b,
        BinaryOp::Shl => match u32::try_from(b) {
            _ if a == 0 => 0,
            Ok(count) if count <= a.leading_zeros() => a << count,
            _ => u64::MAX,
        },
        BinaryOp::Shr => u32::try_from(b).ok().and_then(|n| a.checked_shr(n)).unwrap_or(0),
        BinaryOp::Add => a.saturating_add(b),
        BinaryOp::Sub => a.saturating_sub(b),
        BinaryOp::Mul => a.saturating_mul(b),
        BinaryOp::Div => a.checked_div(b).unwrap_or(0),
        BinaryOp::Rem => a.checked_rem(b).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_at_both_ends() {
        assert_eq!(apply(BinaryOp::Sub, 3, 5), 0);
        assert_eq!(apply(BinaryOp::Add, u64::MAX, 1), u64::MAX);
        assert_eq!(apply(BinaryOp::Mul, 1 << 40, 1 << 40), u64::MAX);
        assert_eq!(apply(BinaryOp::Div, 7, 0), 0);
        assert_eq!(apply(BinaryOp::Rem, 7, 0), 0);
        assert_eq!(apply(BinaryOp::Rem, 7, 4), 3);
        assert_eq!(apply(BinaryOp::Shl, 1, 63), 1 << 63);
        assert_eq!(apply(BinaryOp::Shl, 1, 64), u64::MAX);
        assert_eq!(apply(BinaryOp::Shl, 0, u64::MAX), 0);
        assert_eq!(apply(BinaryOp::Shl, 3, 63), u64::MAX);
        assert_eq!(apply(BinaryOp::Shr, 8, 2), 2);
        assert_eq!(apply(BinaryOp::Shr, 8, u64::MAX), 0);
        assert_eq!(apply(BinaryOp::BitOr, 5, 2), 7);
        assert_eq!(apply(BinaryOp::BitAnd, 5, 4), 4);
    }
}
