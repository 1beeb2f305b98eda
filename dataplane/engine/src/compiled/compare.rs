//! Comparisons and membership, as `wt_catalog` defines them; what is not here is for the host.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::layout::words_of;
use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;

use super::arith::Operand;
use super::emit::{Emitter, Parts, Unsupported, Val};

/// Members beyond which a list is searched by the host.
const MEMBERS_MAX: usize = 64;

fn is_address(ty: Type) -> bool {
    matches!(ty, Type::Ip | Type::Ipv6 | Type::Inet)
}

/// Types that compare as mathematical integers.
fn is_integral(ty: Type) -> bool {
    ty.is_integer()
        || matches!(ty, Type::Bool | Type::Ip | Type::TimeVal | Type::Time | Type::Duration)
}

fn is_negative_possible(ty: Type) -> bool {
    ty.is_signed() || ty == Type::Duration
}

/// How two words compare: as signed or unsigned numbers; `None` when neither is right for all of their values.
fn signedness(a: Operand<'_>, b: Operand<'_>) -> Option<bool> {
    let (signed_a, signed_b) = (is_negative_possible(a.0), is_negative_possible(b.0));
    if signed_a == signed_b {
        return Some(signed_a);
    }
    let unsigned = if signed_a { b } else { a };
    // An unsigned number of at most 32 bits is its own signed word; so is a constant below 2^63.
    let narrow = matches!(unsigned.0, Type::Bool | Type::Ushort | Type::Uint | Type::Ip);
    let small = unsigned.1.and_then(Value::as_i128).is_some_and(|i| i <= i128::from(i64::MAX));
    (narrow || small).then_some(true)
}

/// Whether there is code for a comparison.
pub(super) fn has_compare(a: Operand<'_>, b: Operand<'_>) -> bool {
    (is_integral(a.0) && is_integral(b.0) && signedness(a, b).is_some())
        || (is_address(a.0) && is_address(b.0))
        || (a.0 == Type::Mac && b.0 == Type::Mac)
}

/// Whether there is code for membership in a list.
pub(super) fn has_in(ty: Type, members: &[Value]) -> bool {
    let fits = |member: &Value| match member {
        Value::Prefix(..) | Value::Ip(_) | Value::Ipv6(_) | Value::Inet(_) => is_address(ty),
        Value::Uint(_) | Value::Int(_) | Value::Bool(_) => ty.is_integer() || ty == Type::Bool,
        _ => false,
    };
    members.len() <= MEMBERS_MAX && members.iter().all(fits)
}

/// A value to be compared.
#[derive(Clone, Copy)]
pub(super) struct Compared {
    pub(super) val: Val,
    pub(super) ty: Type,
    /// Its word is below `2^bits`.
    pub(super) bits: u32,
}

impl Emitter<'_, '_> {
    pub(super) fn compare(
        &mut self,
        op: CmpOp,
        a: Compared,
        b: Compared,
    ) -> Result<V, Unsupported> {
        if let (Parts::Flag(x), Parts::Flag(y)) = (a.val.parts, b.val.parts) {
            return Ok(self.b.ins().icmp(condition(op, false), x, y));
        }
        let is_wide = |parts| matches!(parts, Parts::Ipv6(..) | Parts::Inet(..));
        if is_wide(a.val.parts) || is_wide(b.val.parts) {
            let (a, b) = (self.address_words(a.val.parts)?, self.address_words(b.val.parts)?);
            return Ok(self.compare_wide(op, a, b));
        }
        // Where signs differ the unsigned side is its own signed word (`signedness`).
        let signed = is_negative_possible(a.ty) || is_negative_possible(b.ty);
        let (x, y) = (self.as_word(a.val.parts)?, self.as_word(b.val.parts)?);
        Ok(match op {
            CmpOp::Eq => self.equal((x, a.bits), (y, b.bits)),
            CmpOp::Ne => self.unequal((x, a.bits), (y, b.bits)),
            _ => self.b.ins().icmp(condition(op, signed), x, y),
        })
    }

    /// Family and halves of any address.
    fn address_words(&mut self, parts: Parts) -> Result<[V; 3], Unsupported> {
        Ok(match parts {
            Parts::Inet(family, high, low) => [family, high, low],
            Parts::Ipv6(high, low) => [self.word(6), high, low],
            parts => {
                let word = self.as_word(parts)?;
                [self.word(4), self.word(0), word]
            }
        })
    }

    /// Compares three words, the first the most significant.
    fn compare_wide(&mut self, op: CmpOp, a: [V; 3], b: [V; 3]) -> V {
        if matches!(op, CmpOp::Eq | CmpOp::Ne) {
            let differ: Vec<V> = (0..3).map(|i| self.b.ins().bxor(a[i], b[i])).collect();
            let any = self.b.ins().bor(differ[0], differ[1]);
            let any = self.b.ins().bor(any, differ[2]);
            let cc = if op == CmpOp::Eq { IntCC::Equal } else { IntCC::NotEqual };
            return self.icmp_const(cc, any, 0);
        }
        let strict = match op {
            CmpOp::Lt | CmpOp::Le => IntCC::UnsignedLessThan,
            _ => IntCC::UnsignedGreaterThan,
        };
        let mut result = self.b.ins().icmp(condition(op, false), a[2], b[2]);
        for i in [1, 0] {
            let before = self.icmp(strict, a[i], b[i]);
            let same = self.icmp(IntCC::Equal, a[i], b[i]);
            let rest = self.b.ins().band(same, result);
            result = self.b.ins().bor(before, rest);
        }
        result
    }

    pub(super) fn is_in(
        &mut self,
        Compared { val, ty, bits }: Compared,
        members: &[Value],
    ) -> Result<V, Unsupported> {
        let mut found = None;
        for member in members {
            let hit = if is_address(ty) {
                let address = self.address_words(val.parts)?;
                self.is_address_member(address, member)?
            } else {
                let word = self.as_word(val.parts)?;
                match member.as_i128() {
                    // Beyond what the type can hold, no value equals it.
                    Some(i) if i < 0 && !ty.is_signed() => continue,
                    Some(i) if i > i128::from(i64::MAX) && ty.is_signed() => continue,
                    Some(i) => {
                        let member = self.word(i as u64);
                        self.equal((word, bits), (member, 64 - (i as u64).leading_zeros()))
                    }
                    None => return Err(Unsupported("a member that is not a number")),
                }
            };
            found = Some(match found {
                None => hit,
                Some(found) => self.either_flag(found, hit),
            });
        }
        Ok(found.unwrap_or_else(|| self.flag(false)))
    }

    fn is_address_member(&mut self, address: [V; 3], member: &Value) -> Result<V, Unsupported> {
        let (block, len) = match *member {
            Value::Prefix(block, len) => (block, u32::from(len)),
            ref other => (other.as_addr().ok_or(Unsupported("a member that is no address"))?, 128),
        };
        let words = words_of(&Value::Inet(block)).ok_or(Unsupported("a member"))?;
        let (width, first) = if block.is_ipv4() { (32, 96) } else { (128, 0) };
        // A /0 shifts everything out; longer than the address counts as all of it.
        let len = first + len.min(width);
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        let mask = if block.is_ipv4() { mask & 0xffff_ffff } else { mask };
        let masks = [u64::MAX, (mask >> 64) as u64, mask as u64];
        // Of the type IP, nothing but the address itself is unknown by now.
        if let [Some(family), Some(high), None] = address.map(|word| self.constant(word)) {
            let may_be = family == words[0] && high & masks[1] == words[1] & masks[1];
            return Ok(if may_be {
                self.equals_masked((address[2], 32), masks[2], words[2] & masks[2])
            } else {
                self.flag(false)
            });
        }
        let mut differ = self.word(0);
        for i in 0..3 {
            let wanted = self.word(words[i] & masks[i]);
            let have = self.and_const(address[i], masks[i]);
            let bits = self.b.ins().bxor(have, wanted);
            differ = self.b.ins().bor(differ, bits);
        }
        Ok(self.icmp_const(IntCC::Equal, differ, 0))
    }
}

fn condition(op: CmpOp, signed: bool) -> IntCC {
    match (op, signed) {
        (CmpOp::Eq, _) => IntCC::Equal,
        (CmpOp::Ne, _) => IntCC::NotEqual,
        (CmpOp::Lt, false) => IntCC::UnsignedLessThan,
        (CmpOp::Le, false) => IntCC::UnsignedLessThanOrEqual,
        (CmpOp::Gt, false) => IntCC::UnsignedGreaterThan,
        (CmpOp::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
        (CmpOp::Lt, true) => IntCC::SignedLessThan,
        (CmpOp::Le, true) => IntCC::SignedLessThanOrEqual,
        (CmpOp::Gt, true) => IntCC::SignedGreaterThan,
        (CmpOp::Ge, true) => IntCC::SignedGreaterThanOrEqual,
    }
}
