//! Comparisons and membership, as `wt_catalog` defines them.

use wt_catalog::layout::Class;
use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::NodeId;
use wt_plan::lower::PORTABLE_MEMBERS_MAX;

use super::emit::{Emitter, S, Unportable, unportable};
use super::row::words_of;
use super::scope::Scope;
use crate::asm::{AluOp, Cond, Label};

/// Types that compare as mathematical integers.
fn is_integral(ty: Type) -> bool {
    ty.is_integer()
        || matches!(ty, Type::Bool | Type::Ip | Type::TimeVal | Type::Time | Type::Duration)
}

pub(super) fn condition(op: CmpOp, signed: bool) -> Cond {
    match (op, signed) {
        (CmpOp::Eq, _) => Cond::Eq,
        (CmpOp::Ne, _) => Cond::Ne,
        (CmpOp::Lt, false) => Cond::Lt,
        (CmpOp::Le, false) => Cond::Le,
        (CmpOp::Gt, false) => Cond::Gt,
        (CmpOp::Ge, false) => Cond::Ge,
        (CmpOp::Lt, true) => Cond::Slt,
        (CmpOp::Le, true) => Cond::Sle,
        (CmpOp::Gt, true) => Cond::Sgt,
        (CmpOp::Ge, true) => Cond::Sge,
    }
}

impl Emitter {
    /// Goes to `to` when the comparison is `want`.
    pub(super) fn compare(
        &mut self,
        scope: &mut Scope<'_>,
        op: CmpOp,
        (a, b): (NodeId, NodeId),
        want: bool,
        to: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        let types = (scope.ty(a), scope.ty(b));
        let is_wide = |ty| matches!(ty, Type::Ipv6 | Type::Inet);
        if is_wide(types.0) || is_wide(types.1) {
            if !types.0.is_address() || !types.1.is_address() {
                return unportable(format!("a comparison of {} and {}", types.0, types.1));
            }
            let a = self.inet(scope, a, k)?;
            let b = self.inet(scope, b, k)?;
            self.compare_wide(op, (a, b), want, to, k);
            return Ok(());
        }
        let signed = match types {
            (Type::Mac, Type::Mac) => false,
            (a_type, b_type) if is_integral(a_type) && is_integral(b_type) => {
                let (signed_a, signed_b) = (a_type.is_signed(), b_type.is_signed());
                if signed_a != signed_b {
                    let (unsigned, ty) = if signed_a { (b, b_type) } else { (a, a_type) };
                    // An unsigned number of at most 32 bits is its own signed word; so is a constant below 2^63.
                    let narrow = matches!(ty, Type::Bool | Type::Ushort | Type::Uint | Type::Ip);
                    let value = scope.constant(unsigned).and_then(Value::as_i128);
                    if !narrow && value.is_none_or(|i| i > i128::from(i64::MAX)) {
                        return unportable("a comparison of 64-bit numbers with and without sign");
                    }
                }
                signed_a || signed_b
            }
            (a_type, b_type) => {
                return unportable(format!("a comparison of {a_type} and {b_type}"));
            }
        };
        let cond = condition(op, signed);
        let cond = if want { cond } else { cond.negated() };
        if let Some(value) = scope.constant(b).and_then(Value::as_u64) {
            if matches!(op, CmpOp::Eq | CmpOp::Ne) && self.equal(scope, a, value, (cond, to), k)? {
                return Ok(());
            }
            self.word(scope, a, k)?;
            let src = self.operand(value, S[k + 1]);
            self.asm.branch(cond, S[k], src, to);
        } else {
            self.two(scope, (a, b), k)?;
            self.asm.branch(cond, S[k], S[k + 1], to);
        }
        Ok(())
    }

    /// Compares a field with a constant as its bytes lie in the packet: `cond` is whether they are equal, or not. Not all are.
    pub(super) fn equal(
        &mut self,
        scope: &mut Scope<'_>,
        node: NodeId,
        value: u64,
        (cond, to): (Cond, Label),
        k: usize,
    ) -> Result<bool, Unportable> {
        let bytes = if let Some((at, bytes)) = scope.kept_equal(node, value) {
            self.load_scratch(S[k], at);
            bytes
        } else if let Some((raw, bytes)) = scope.raw_equal(node, value) {
            self.load_raw(scope, raw, k)?;
            bytes
        } else {
            return Ok(false);
        };
        let src = self.operand(bytes, S[k + 1]);
        self.asm.branch(cond, S[k], src, to);
        Ok(true)
    }

    /// Family and halves of an address of any type, in scratch words.
    fn inet(&mut self, scope: &mut Scope<'_>, id: NodeId, k: usize) -> Result<i16, Unportable> {
        match scope.ty(id) {
            Type::Inet => self.wide(scope, id, k),
            Type::Ipv6 => {
                let from = self.wide(scope, id, k)?;
                let at = self.take(3)?;
                self.store_scratch(at, 6);
                self.copy(from, at + 8, 2, S[k]);
                Ok(at)
            }
            _ => {
                self.word(scope, id, k)?;
                let at = self.take(3)?;
                self.store_scratch(at, 4);
                self.store_scratch(at + 8, 0);
                self.store_scratch(at + 16, S[k]);
                Ok(at)
            }
        }
    }

    /// Compares three words, the first the most significant.
    fn compare_wide(&mut self, op: CmpOp, (a, b): (i16, i16), want: bool, to: Label, k: usize) {
        let other = self.asm.label();
        let (holds, fails) = if want { (to, other) } else { (other, to) };
        for i in 0..3 {
            self.load_scratch(S[k], a + 8 * i);
            self.load_scratch(S[k + 1], b + 8 * i);
            let is_last = i == 2;
            match op {
                CmpOp::Eq => self.asm.branch(Cond::Ne, S[k], S[k + 1], fails),
                CmpOp::Ne => self.asm.branch(Cond::Ne, S[k], S[k + 1], holds),
                _ if is_last => {
                    self.asm.branch(condition(op, false), S[k], S[k + 1], holds);
                }
                CmpOp::Lt | CmpOp::Le => {
                    self.asm.branch(Cond::Lt, S[k], S[k + 1], holds);
                    self.asm.branch(Cond::Ne, S[k], S[k + 1], fails);
                }
                CmpOp::Gt | CmpOp::Ge => {
                    self.asm.branch(Cond::Gt, S[k], S[k + 1], holds);
                    self.asm.branch(Cond::Ne, S[k], S[k + 1], fails);
                }
            }
        }
        self.asm.jump(if op == CmpOp::Eq { holds } else { fails });
        self.asm.place(other);
    }

    /// Goes to `to` when membership is `want`.
    pub(super) fn is_in(
        &mut self,
        scope: &mut Scope<'_>,
        a: NodeId,
        members: &[Value],
        want: bool,
        to: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        if members.len() > PORTABLE_MEMBERS_MAX {
            return unportable(format!("a list of more than {PORTABLE_MEMBERS_MAX} members"));
        }
        let ty = scope.ty(a);
        let out = self.asm.label();
        let hit = if want { to } else { out };
        if ty.is_address() {
            let at = self.inet(scope, a, k)?;
            for member in members {
                self.is_address_member(at, member, hit, k)?;
            }
        } else if ty.is_integer() || ty == Type::Bool {
            if self.is_raw_member(scope, a, members, hit, k)? {
                self.end_of_members(want, to, out);
                return Ok(());
            }
            self.word(scope, a, k)?;
            for member in members {
                match member.as_i128() {
                    // Beyond what the type can hold, no value equals it.
                    Some(i) if i < 0 && !ty.is_signed() => {}
                    Some(i) if i > i128::from(i64::MAX) && ty.is_signed() => {}
                    Some(i) => {
                        let src = self.operand(i as u64, S[k + 1]);
                        self.asm.branch(Cond::Eq, S[k], src, hit);
                    }
                    None => return unportable("a member that is not a number"),
                }
            }
        } else {
            return unportable(format!("membership of a value of type {ty}"));
        }
        self.end_of_members(want, to, out);
        Ok(())
    }

    /// None of the members is it.
    fn end_of_members(&mut self, want: bool, to: Label, out: Label) {
        if !want {
            self.asm.jump(to);
        }
        self.asm.place(out);
    }

    /// Compares a field with members as its bytes lie in the packet, where all of them can be.
    fn is_raw_member(
        &mut self,
        scope: &mut Scope<'_>,
        a: NodeId,
        members: &[Value],
        hit: Label,
        k: usize,
    ) -> Result<bool, Unportable> {
        let kept = |member: &Value| scope.kept_equal(a, member.as_u64()?).map(|(_, bytes)| bytes);
        let read = |member: &Value| scope.raw_equal(a, member.as_u64()?).map(|(_, bytes)| bytes);
        let bytes: Option<Vec<u64>> = members.iter().map(kept).collect();
        let bytes = match (bytes, scope.kept_raw(a), scope.raw(a)) {
            (Some(bytes), Some((at, _)), _) => {
                self.load_scratch(S[k], at);
                bytes
            }
            (_, _, Some(raw)) => {
                let bytes: Option<Vec<u64>> = members.iter().map(read).collect();
                let Some(bytes) = bytes else { return Ok(false) };
                self.load_raw(scope, raw, k)?;
                bytes
            }
            _ => return Ok(false),
        };
        for bytes in bytes {
            let src = self.operand(bytes, S[k + 1]);
            self.asm.branch(Cond::Eq, S[k], src, hit);
        }
        Ok(true)
    }

    fn is_address_member(
        &mut self,
        at: i16,
        member: &Value,
        hit: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        let (block, len) = match *member {
            Value::Prefix(block, len) => (block, u32::from(len)),
            ref other => match other.as_addr() {
                Some(address) => (address, 128),
                None => return unportable("a member that is no address"),
            },
        };
        let words = words_of(&Value::Inet(block), Class::Inet);
        let words = words.ok_or_else(|| Unportable("a member".into()))?;
        let (width, first) = if block.is_ipv4() { (32, 96) } else { (128, 0) };
        // A /0 shifts everything out; longer than the address counts as all of it.
        let len = first + len.min(width);
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        let mask = if block.is_ipv4() { mask & 0xffff_ffff } else { mask };
        let next = self.asm.label();
        for (i, mask) in [u64::MAX, (mask >> 64) as u64, mask as u64].into_iter().enumerate() {
            if mask == 0 {
                continue;
            }
            self.load_scratch(S[k], at + 8 * i as i16);
            if mask != u64::MAX {
                let src = self.operand(mask, S[k + 1]);
                self.asm.alu(AluOp::And, S[k], src);
            }
            let src = self.operand(words[i] & mask, S[k + 1]);
            self.asm.branch(Cond::Ne, S[k], src, next);
        }
        self.asm.jump(hit);
        self.asm.place(next);
        Ok(())
    }
}
