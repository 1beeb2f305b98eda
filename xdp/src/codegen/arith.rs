//! Arithmetic as `wt_catalog::arith` and the DDL define it.

use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, UnaryOp};
use wt_plan::ir::NodeId;

use super::emit::{Emitter, S, Unportable, unportable};
use super::scope::Scope;
use crate::asm::{AluOp, Cond, Insn, Operand, Reg};

fn is_number(ty: Type) -> bool {
    ty.is_integer() || ty == Type::Bool
}

/// The instruction of an operator on operands of the result's type.
fn plain(op: BinaryOp) -> Option<AluOp> {
    Some(match op {
        BinaryOp::Add => AluOp::Add,
        BinaryOp::Sub => AluOp::Sub,
        BinaryOp::Mul => AluOp::Mul,
        BinaryOp::BitAnd => AluOp::And,
        BinaryOp::BitOr => AluOp::Or,
        _ => return None,
    })
}

/// A constant as the result's type sees it.
fn cut(word: u64, ty: Type) -> u64 {
    match ty {
        Type::Ushort => word & 0xffff,
        Type::Uint | Type::Ip => word & 0xffff_ffff,
        Type::Int => i64::from(word as u32 as i32) as u64,
        _ => word,
    }
}

impl Emitter {
    pub(super) fn unary(
        &mut self,
        scope: &mut Scope<'_>,
        op: UnaryOp,
        a: NodeId,
        to: Type,
        k: usize,
    ) -> Result<(), Unportable> {
        let from = scope.ty(a);
        self.word(scope, a, k)?;
        match (op, from) {
            (UnaryOp::Not, Type::Bool) => self.asm.alu(AluOp::Xor, S[k], 1),
            (UnaryOp::BitNot, Type::Ip) => {
                self.asm.alu(AluOp::Xor, S[k], -1);
                self.wrap(S[k], 64, Type::Ip);
            }
            (UnaryOp::Neg, Type::Duration) => self.asm.push(Insn::Neg { dst: S[k] }),
            (UnaryOp::Plus, Type::Duration) => {}
            _ if from.is_integer() && to.is_integer() => {
                self.wrap(S[k], 64, to);
                match op {
                    UnaryOp::Plus => {}
                    UnaryOp::Neg => self.asm.push(Insn::Neg { dst: S[k] }),
                    UnaryOp::BitNot => self.asm.alu(AluOp::Xor, S[k], -1),
                    UnaryOp::Not => {
                        self.flag(Cond::Eq, S[k], 0);
                        return Ok(());
                    }
                }
                self.wrap(S[k], 64, to);
            }
            _ => return unportable(format!("an operator on a value of type {from}")),
        }
        Ok(())
    }

    /// `reg` = 1 when the comparison holds, else 0.
    pub(super) fn flag(&mut self, cond: Cond, reg: Reg, src: impl Into<Operand>) {
        let (yes, end) = (self.asm.label(), self.asm.label());
        self.asm.branch(cond, reg, src, yes);
        self.asm.mov(reg, 0);
        self.asm.jump(end);
        self.asm.place(yes);
        self.asm.mov(reg, 1);
        self.asm.place(end);
    }

    pub(super) fn binary(
        &mut self,
        scope: &mut Scope<'_>,
        op: BinaryOp,
        (a, b): (NodeId, NodeId),
        to: Type,
        k: usize,
    ) -> Result<(), Unportable> {
        let types = (scope.ty(a), scope.ty(b));
        match types {
            (Type::Time | Type::Duration, _) | (_, Type::Time | Type::Duration) => {
                return self.times(scope, op, (a, b), types, k);
            }
            (Type::Bool, Type::Bool) if to == Type::Bool => {
                let Some(op @ (AluOp::And | AluOp::Or)) = plain(op) else {
                    return unportable("an operator on bools");
                };
                self.two(scope, (a, b), k)?;
                self.asm.alu(op, S[k], S[k + 1]);
                return Ok(());
            }
            (Type::Ip, b_type) if b_type == Type::Ip || b_type.is_integer() => {
                let Some(op @ (AluOp::And | AluOp::Or)) = plain(op).filter(|_| to == Type::Ip)
                else {
                    return unportable("an operator on addresses");
                };
                self.two(scope, (a, b), k)?;
                self.asm.alu(op, S[k], S[k + 1]);
                self.wrap(S[k], 64, Type::Ip);
                return Ok(());
            }
            (a_type, b_type) if is_number(a_type) && is_number(b_type) && to.is_integer() => {}
            (a_type, b_type) => {
                return unportable(format!("an operator on {a_type} and {b_type}"));
            }
        }
        let bits = |scope: &Scope<'_>, id| if to.is_signed() { 64 } else { scope.bits(id) };
        let (bits_a, bits_b) = (bits(scope, a), bits(scope, b));
        let constant = scope.constant(b).and_then(Value::as_u64);
        let result_bits = match op {
            BinaryOp::Add => (bits_a.max(bits_b) + 1).min(64),
            BinaryOp::Mul => (bits_a + bits_b).min(64),
            BinaryOp::BitAnd => bits_a.min(bits_b),
            BinaryOp::BitOr => bits_a.max(bits_b),
            BinaryOp::Div | BinaryOp::Rem | BinaryOp::Shr => bits_a,
            BinaryOp::Sub | BinaryOp::Shl => 64,
        };
        if let Some(raw) = constant {
            self.word(scope, a, k)?;
            self.wrap(S[k], bits_a, to);
            match (op, plain(op)) {
                (_, Some(op)) => {
                    let src = self.operand(cut(raw, to), S[k + 1]);
                    self.asm.alu(op, S[k], src);
                }
                (BinaryOp::Shl | BinaryOp::Shr, _) => {
                    let is_negative =
                        scope.constant(b).and_then(Value::as_i128).is_none_or(|count| count < 0);
                    self.shift_by(op, raw, is_negative, to, k);
                }
                _ => self.divide_by(scope, op, cut(raw, to), to, k),
            }
        } else {
            self.word(scope, a, k)?;
            self.wrap(S[k], bits_a, to);
            self.second(scope, b, k)?;
            match (op, plain(op)) {
                (_, Some(op)) => {
                    self.wrap(S[k + 1], bits_b, to);
                    self.asm.alu(op, S[k], S[k + 1]);
                }
                // A shift looks at its count as it is.
                (BinaryOp::Shl | BinaryOp::Shr, _) => self.shift(op, to, k),
                _ if to.is_signed() => return unportable("a signed division by a variable"),
                (op, _) => {
                    self.wrap(S[k + 1], bits_b, to);
                    self.asm.branch(Cond::Eq, S[k + 1], 0, scope.lacks.failed);
                    let op = if op == BinaryOp::Div { AluOp::Div } else { AluOp::Mod };
                    self.asm.alu(op, S[k], S[k + 1]);
                }
            }
        }
        self.wrap(S[k], result_bits, to);
        Ok(())
    }

    /// Shifts `S[k]`, of type `to`, by a constant.
    fn shift_by(&mut self, op: BinaryOp, count: u64, is_negative: bool, to: Type, k: usize) {
        let width = u64::from(to.bits().unwrap_or(64));
        let inside = !is_negative && count < width;
        match (op, to.is_signed()) {
            (BinaryOp::Shl, _) if inside => self.asm.alu(AluOp::Lsh, S[k], count as i32),
            (BinaryOp::Shr, false) if inside => self.asm.alu(AluOp::Rsh, S[k], count as i32),
            (BinaryOp::Shr, true) => {
                self.asm.alu(AluOp::Arsh, S[k], if inside { count as i32 } else { 63 });
            }
            _ => self.asm.mov(S[k], 0),
        }
    }

    /// Shifts `S[k]`, of type `to`, by `S[k + 1]`.
    fn shift(&mut self, op: BinaryOp, to: Type, k: usize) {
        let width = to.bits().unwrap_or(64) as i32;
        let (inside, end) = (self.asm.label(), self.asm.label());
        self.asm.branch(Cond::Lt, S[k + 1], width, inside);
        let alu = match (op, to.is_signed()) {
            (BinaryOp::Shl, _) => AluOp::Lsh,
            (_, false) => AluOp::Rsh,
            (_, true) => AluOp::Arsh,
        };
        if alu == AluOp::Arsh {
            self.asm.alu(AluOp::Arsh, S[k], 63);
        } else {
            self.asm.mov(S[k], 0);
        }
        self.asm.jump(end);
        self.asm.place(inside);
        self.asm.alu(alu, S[k], S[k + 1]);
        self.asm.place(end);
    }

    /// Divides `S[k]`, of type `to`, by a constant of that type.
    fn divide_by(&mut self, scope: &Scope<'_>, op: BinaryOp, divisor: u64, to: Type, k: usize) {
        let alu = if op == BinaryOp::Div { AluOp::Div } else { AluOp::Mod };
        if divisor == 0 {
            self.asm.jump(scope.lacks.failed);
            return;
        }
        if !to.is_signed() {
            let src = self.operand(divisor, S[k + 1]);
            self.asm.alu(alu, S[k], src);
            return;
        }
        // The machine divides unsigned numbers: magnitudes are divided, and the sign put back.
        let divisor = divisor as i64;
        let (positive, end) = (self.asm.label(), self.asm.label());
        self.asm.mov(S[k + 1], S[k]);
        self.asm.branch(Cond::Sge, S[k], 0, positive);
        self.asm.push(Insn::Neg { dst: S[k] });
        self.asm.place(positive);
        let src = self.operand(divisor.unsigned_abs(), S[k + 2]);
        self.asm.alu(alu, S[k], src);
        let stays = if op == BinaryOp::Rem || divisor > 0 { Cond::Sge } else { Cond::Slt };
        self.asm.branch(stays, S[k + 1], 0, end);
        self.asm.push(Insn::Neg { dst: S[k] });
        self.asm.place(end);
    }

    fn times(
        &mut self,
        scope: &mut Scope<'_>,
        op: BinaryOp,
        (a, b): (NodeId, NodeId),
        types: (Type, Type),
        k: usize,
    ) -> Result<(), Unportable> {
        use Type::{Duration, Time};
        match (op, types) {
            (BinaryOp::Add, (Time, Duration) | (Duration, Time) | (Duration, Duration)) => {
                self.two(scope, (a, b), k)?;
                self.asm.alu(AluOp::Add, S[k], S[k + 1]);
            }
            (BinaryOp::Sub, (Time, Duration) | (Time, Time) | (Duration, Duration)) => {
                self.two(scope, (a, b), k)?;
                self.asm.alu(AluOp::Sub, S[k], S[k + 1]);
            }
            (BinaryOp::Div, (Time, Duration)) => {
                self.two(scope, (a, b), k)?;
                // A bucket of no width, or of negative width, has no number.
                self.asm.branch(Cond::Sle, S[k + 1], 0, scope.lacks.failed);
                self.asm.alu(AluOp::Div, S[k], S[k + 1]);
            }
            (_, (a, b)) => return unportable(format!("an operator on {a} and {b}")),
        }
        Ok(())
    }

    /// An IPv4 mask on an INET: only an IPv4 address has one.
    pub(super) fn mask_inet(
        &mut self,
        scope: &mut Scope<'_>,
        op: BinaryOp,
        (a, b): (NodeId, NodeId),
        at: i16,
        k: usize,
    ) -> Result<(), Unportable> {
        let types = (scope.ty(a), scope.ty(b));
        let Some(op @ (AluOp::And | AluOp::Or)) = plain(op) else {
            return unportable("an operator on addresses");
        };
        if types.0 != Type::Inet || !(types.1 == Type::Ip || types.1.is_integer()) {
            return unportable(format!("an operator on {} and {}", types.0, types.1));
        }
        let from = self.wide(scope, a, k)?;
        self.word(scope, b, k)?;
        self.load_scratch(S[k + 1], from);
        self.asm.branch(Cond::Ne, S[k + 1], 4, scope.lacks.failed);
        self.load_scratch(S[k + 1], from + 16);
        self.asm.alu(op, S[k], S[k + 1]);
        self.wrap(S[k], 64, Type::Ip);
        self.store_scratch(at, 4);
        self.store_scratch(at + 8, 0);
        self.store_scratch(at + 16, S[k]);
        Ok(())
    }

    /// DDL arithmetic: unsigned, held at both ends.
    pub(super) fn saturating(
        &mut self,
        scope: &mut Scope<'_>,
        op: BinaryOp,
        (a, b): (NodeId, NodeId),
        to: Type,
        k: usize,
    ) -> Result<(), Unportable> {
        let (bits_a, bits_b) = (scope.bits(a), scope.bits(b));
        let constant = scope.constant(b).and_then(Value::as_u64);
        let mut bits = 64;
        let end = self.asm.label();
        self.two(scope, (a, b), k)?;
        let (x, y) = (S[k], S[k + 1]);
        match op {
            BinaryOp::BitAnd | BinaryOp::BitOr => {
                let op = if op == BinaryOp::BitAnd { AluOp::And } else { AluOp::Or };
                self.asm.alu(op, x, y);
                bits = if op == AluOp::And { bits_a.min(bits_b) } else { bits_a.max(bits_b) };
            }
            BinaryOp::Add => {
                self.asm.alu(AluOp::Add, x, y);
                bits = bits_a.max(bits_b) + 1;
                if bits > 64 {
                    self.asm.branch(Cond::Ge, x, y, end);
                    self.asm.mov(x, -1);
                }
            }
            BinaryOp::Sub => {
                let below = self.asm.label();
                self.asm.branch(Cond::Lt, x, y, below);
                self.asm.alu(AluOp::Sub, x, y);
                self.asm.jump(end);
                self.asm.place(below);
                self.asm.mov(x, 0);
                bits = bits_a;
            }
            BinaryOp::Mul if bits_a + bits_b <= 64 => {
                self.asm.alu(AluOp::Mul, x, y);
                bits = bits_a + bits_b;
            }
            BinaryOp::Mul => {
                // Too much when the product divided by one factor is not the other.
                let fits = self.asm.label();
                self.asm.branch(Cond::Eq, y, 0, fits);
                self.asm.mov(S[k + 2], -1);
                self.asm.alu(AluOp::Div, S[k + 2], y);
                self.asm.branch(Cond::Le, x, S[k + 2], fits);
                self.asm.mov(x, -1);
                self.asm.jump(end);
                self.asm.place(fits);
                self.asm.alu(AluOp::Mul, x, y);
            }
            BinaryOp::Div | BinaryOp::Rem => {
                if constant.is_none_or(|d| d == 0) {
                    let divides = self.asm.label();
                    self.asm.branch(Cond::Ne, y, 0, divides);
                    self.asm.mov(x, 0);
                    self.asm.jump(end);
                    self.asm.place(divides);
                }
                let op = if op == BinaryOp::Div { AluOp::Div } else { AluOp::Mod };
                self.asm.alu(op, x, y);
                bits = bits_a;
            }
            BinaryOp::Shr => {
                let inside = self.asm.label();
                self.asm.branch(Cond::Lt, y, 64, inside);
                self.asm.mov(x, 0);
                self.asm.jump(end);
                self.asm.place(inside);
                self.asm.alu(AluOp::Rsh, x, y);
                bits = bits_a;
            }
            BinaryOp::Shl => match constant {
                Some(count) if count <= u64::from(64 - bits_a) => {
                    self.asm.alu(AluOp::Lsh, x, count as i32);
                    bits = bits_a + count as u32;
                }
                _ => self.saturating_shl(end, k),
            },
        }
        self.asm.place(end);
        self.pattern(x, bits, to);
        Ok(())
    }

    /// `S[k] << S[k + 1]`, held at the top.
    fn saturating_shl(&mut self, end: crate::asm::Label, k: usize) {
        let (x, y, back) = (S[k], S[k + 1], S[k + 2]);
        let (most, shifts) = (self.asm.label(), self.asm.label());
        self.asm.branch(Cond::Eq, x, 0, end);
        self.asm.branch(Cond::Lt, y, 64, shifts);
        self.asm.place(most);
        self.asm.mov(x, -1);
        self.asm.jump(end);
        self.asm.place(shifts);
        // Nothing is lost when shifting back gives the same.
        self.asm.mov(back, x);
        self.asm.alu(AluOp::Lsh, back, y);
        self.asm.alu(AluOp::Rsh, back, y);
        self.asm.branch(Cond::Ne, back, x, most);
        self.asm.alu(AluOp::Lsh, x, y);
    }

    /// A conversion to a type that is a word.
    pub(super) fn cast(
        &mut self,
        scope: &mut Scope<'_>,
        a: NodeId,
        to: Type,
        k: usize,
    ) -> Result<(), Unportable> {
        use Type::{Bool, Duration, Inet, Ip, Llong, Time, Ullong};
        let from = scope.ty(a);
        if (from, to) == (Inet, Ip) {
            let at = self.wide(scope, a, k)?;
            self.load_scratch(S[k], at);
            self.asm.branch(Cond::Ne, S[k], 4, scope.lacks.failed);
            self.load_scratch(S[k], at + 16);
            return Ok(());
        }
        let bits = scope.bits(a);
        self.word(scope, a, k)?;
        match (from, to) {
            _ if from == to => {}
            (_, Bool) if is_number(from) => self.pattern(S[k], bits, Bool),
            _ if (is_number(from) || from == Ip) && to.is_integer() => self.wrap(S[k], bits, to),
            (Time, Ullong) | (Duration, Llong) => {}
            (_, Time | Ip) if from.is_integer() && !from.is_signed() => self.wrap(S[k], bits, to),
            (_, Duration) if from.is_integer() && from.is_signed() => {}
            _ => return unportable(format!("a conversion of {from} to {to}")),
        }
        Ok(())
    }
}
