//! Arithmetic on words, as `wt_catalog::arith` defines it; what is not here is for the host.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, UnaryOp};
use wt_plan::ir::NodeId;

use super::emit::{Emitter, Parts, Truth, Unsupported, Val};
use super::host::FAILED;
use super::lower::Scope;

/// An operand before it is emitted: its type, and its value when it is constant.
pub(super) type Operand<'a> = (Type, Option<&'a Value>);

fn is_number(ty: Type) -> bool {
    ty.is_integer() || ty == Type::Bool
}

/// Whether there is code for a prefix operator.
pub(super) fn has_unary(op: UnaryOp, from: Type, to: Type) -> bool {
    match op {
        UnaryOp::Not if from == Type::Bool => true,
        UnaryOp::BitNot if from == Type::Ip => true,
        UnaryOp::Neg if from == Type::Duration => true,
        _ => from.is_integer() && to.is_integer(),
    }
}

/// Whether there is code for an infix operator.
pub(super) fn has_binary(op: BinaryOp, a: Operand<'_>, b: Operand<'_>, to: Type) -> bool {
    use BinaryOp::{Add, BitAnd, BitOr, Div, Rem, Sub};
    use Type::{Bool, Duration, Inet, Ip, Time};
    match (a.0, b.0) {
        (Time, Duration) if matches!(op, Div) => divisor(b.1).is_some_and(|d| d > 0),
        (Time, Duration) => matches!(op, Add | Sub),
        (Duration, Duration) => matches!(op, Add | Sub),
        (Time, Time) => op == Sub,
        (Time | Duration, _) | (_, Time | Duration) => false,
        (Bool, Bool) => matches!(op, BitAnd | BitOr) && to == Bool,
        (Inet | Ip, Ip) | (Inet | Ip, Type::Uint | Type::Ullong | Type::Ushort | Type::Int) => {
            matches!(op, BitAnd | BitOr) && (to == a.0)
        }
        (a_type, b_type) if is_number(a_type) && is_number(b_type) && to.is_integer() => {
            // The machine traps where the definition wraps: a signed division by -1.
            !to.is_signed()
                || !matches!(op, Div | Rem)
                || signed_divisor(b.1, to).is_some_and(|d| d != 0 && d != -1)
        }
        _ => false,
    }
}

fn divisor(constant: Option<&Value>) -> Option<i128> {
    constant.and_then(Value::as_i128)
}

/// A constant divisor as the operator sees it: cut to the signed type of the result.
fn signed_divisor(constant: Option<&Value>, to: Type) -> Option<i64> {
    let word = constant?.as_u64()?;
    Some(if to == Type::Int { i64::from(word as i32) } else { word as i64 })
}

/// Whether there is code for a conversion.
pub(super) fn has_cast(from: Type, to: Type) -> bool {
    use Type::{Bool, Duration, Inet, Ip, Ipv6, Llong, Time, Ullong};
    let is_address = |ty| matches!(ty, Ip | Ipv6 | Inet);
    from == to && from != Type::Float
        || (is_number(from) || from == Ip) && to.is_integer()
        || is_number(from) && to == Bool
        || matches!((from, to), (Time, Ullong) | (Duration, Llong))
        || from.is_integer() && !from.is_signed() && matches!(to, Time | Ip)
        || from.is_signed() && from.is_integer() && to == Duration
        || is_address(from) && is_address(to) && !matches!((from, to), (Ip, Ipv6) | (Ipv6, Ip))
        || matches!((from, to), (Type::String, Type::Bytes) | (Type::Bytes, Type::String))
}

impl Emitter<'_, '_> {
    pub(super) fn unary(
        &mut self,
        op: UnaryOp,
        a: Parts,
        from: Type,
        to: Type,
    ) -> Result<Parts, Unsupported> {
        if op == UnaryOp::Not && from == Type::Bool {
            let flag = self.as_flag(a)?;
            return Ok(Parts::Flag(self.not(flag)));
        }
        let word = self.as_word(a)?;
        if from == Type::Ip {
            let ones = self.word(0xffff_ffff);
            return Ok(Parts::Word(self.b.ins().bxor(word, ones)));
        }
        if from == Type::Duration {
            return Ok(Parts::Word(self.b.ins().ineg(word)));
        }
        let word = self.wrap(word, to, 64);
        let result = match op {
            UnaryOp::Plus => word,
            UnaryOp::Neg => self.b.ins().ineg(word),
            UnaryOp::BitNot => self.b.ins().bnot(word),
            UnaryOp::Not => {
                let flag = self.icmp_const(IntCC::Equal, word, 0);
                self.widen(flag)
            }
        };
        Ok(Parts::Word(self.wrap(result, to, 64)))
    }

    pub(super) fn binary(
        &mut self,
        scope: &Scope<'_>,
        op: BinaryOp,
        a: NodeId,
        b: NodeId,
        id: NodeId,
    ) -> Result<Val, Unsupported> {
        let to = scope.ty(id);
        let types = (scope.ty(a), scope.ty(b));
        let constant = scope.constant(b);
        let (bits_a, bits_b) = (scope.bits(a), scope.bits(b));
        let (a, b) = self.operands(scope, a, b)?;
        let lack = self.first_lack(a.lack, b.lack);
        if types == (Type::Bool, Type::Bool) && to == Type::Bool {
            let (a, b) = (self.as_flag(a.parts)?, self.as_flag(b.parts)?);
            let flag = self.bitwise(op, a, b)?;
            return Ok(Val { parts: Parts::Flag(flag), lack });
        }
        if let Parts::Inet(family, high, low) = a.parts {
            // Only an IPv4 address has an IPv4 mask.
            let mask = self.as_word(b.parts)?;
            let mask = self.and_const(mask, 0xffff_ffff);
            let low = self.bitwise(op, low, mask)?;
            let is_v4 = self.icmp_const(IntCC::Equal, family, 4);
            let failed = self.lack_unless(Truth::When(is_v4), FAILED);
            let lack = self.first_lack(lack, failed);
            return Ok(Val { parts: Parts::Inet(family, high, low), lack });
        }
        let (a, raw_b) = (self.as_word(a.parts)?, self.as_word(b.parts)?);
        if matches!(types.0, Type::Time | Type::Duration)
            || matches!(to, Type::Time | Type::Duration)
        {
            let word = match op {
                BinaryOp::Add => self.b.ins().iadd(a, raw_b),
                BinaryOp::Sub => self.b.ins().isub(a, raw_b),
                BinaryOp::Div => self.b.ins().udiv(a, raw_b),
                _ => return Err(Unsupported("an operator on times")),
            };
            return Ok(Val { parts: Parts::Word(word), lack });
        }
        let a = self.wrap(a, to, if to.is_signed() { 64 } else { bits_a });
        let b = self.wrap(raw_b, to, if to.is_signed() { 64 } else { bits_b });
        let (word, failed) = self.integers(op, a, (b, raw_b), constant, to)?;
        let lack = self.first_lack(lack, failed);
        // Only where the operands' bits bound the result's is there nothing to cut.
        let bits = if is_bounded(op, bits_a, bits_b, to) { 1 } else { 64 };
        Ok(Val { parts: Parts::Word(self.wrap(word, to, bits)), lack })
    }

    fn bitwise(&mut self, op: BinaryOp, a: V, b: V) -> Result<V, Unsupported> {
        match op {
            BinaryOp::BitAnd => Ok(self.b.ins().band(a, b)),
            BinaryOp::BitOr => Ok(self.b.ins().bor(a, b)),
            _ => Err(Unsupported("a bitwise operator is expected")),
        }
    }

    /// Integers of the result type; `b` with its word before it was cut, which counts for shifts.
    fn integers(
        &mut self,
        op: BinaryOp,
        a: V,
        (b, raw_b): (V, V),
        constant: Option<&Value>,
        to: Type,
    ) -> Result<(V, Option<V>), Unsupported> {
        let signed = to.is_signed();
        let word = match op {
            BinaryOp::Add => self.b.ins().iadd(a, b),
            BinaryOp::Sub => self.b.ins().isub(a, b),
            BinaryOp::Mul => self.b.ins().imul(a, b),
            BinaryOp::BitAnd | BinaryOp::BitOr => self.bitwise(op, a, b)?,
            BinaryOp::Div | BinaryOp::Rem => {
                let is_zero_excluded = divisor(constant).is_some_and(|d| d != 0)
                    && !signed
                    && constant.and_then(Value::as_u64).is_some_and(|d| fits(d, to));
                if is_zero_excluded || signed {
                    let word = match (op, signed) {
                        (BinaryOp::Div, false) => self.b.ins().udiv(a, b),
                        (BinaryOp::Div, true) => self.b.ins().sdiv(a, b),
                        (_, false) => self.b.ins().urem(a, b),
                        (_, true) => self.b.ins().srem(a, b),
                    };
                    return Ok((word, None));
                }
                let is_zero = self.icmp_const(IntCC::Equal, b, 0);
                let (one, none, failed) = (self.word(1), self.word(0), self.word(FAILED));
                let b = self.select(is_zero, one, b);
                let word = if op == BinaryOp::Div {
                    self.b.ins().udiv(a, b)
                } else {
                    self.b.ins().urem(a, b)
                };
                return Ok((word, Some(self.b.ins().select(is_zero, failed, none))));
            }
            BinaryOp::Shl | BinaryOp::Shr => {
                let width = u64::from(to.bits().unwrap_or(64));
                let inside = self.icmp_const(IntCC::UnsignedLessThan, raw_b, width);
                let (zero, last) = (self.word(0), self.word(63));
                match (op, signed) {
                    (BinaryOp::Shl, _) => {
                        let shifted = self.b.ins().ishl(a, raw_b);
                        self.select(inside, shifted, zero)
                    }
                    (_, false) => {
                        let shifted = self.b.ins().ushr(a, raw_b);
                        self.select(inside, shifted, zero)
                    }
                    (_, true) => {
                        let count = self.select(inside, raw_b, last);
                        self.b.ins().sshr(a, count)
                    }
                }
            }
        };
        Ok((word, None))
    }

    /// DDL arithmetic: unsigned, held at both ends. Operands come with their significant bits.
    pub(super) fn saturating(
        &mut self,
        op: BinaryOp,
        (a, bits_a): (V, u32),
        (b, bits_b): (V, u32),
        constant: Option<u64>,
    ) -> Result<V, Unsupported> {
        let most = u64::MAX;
        Ok(match op {
            BinaryOp::BitAnd | BinaryOp::BitOr => self.bitwise(op, a, b)?,
            BinaryOp::Add => {
                let sum = self.b.ins().iadd(a, b);
                if bits_a.max(bits_b) < 64 {
                    return Ok(sum);
                }
                let wrapped = self.icmp(IntCC::UnsignedLessThan, sum, a);
                let most = self.word(most);
                self.select(wrapped, most, sum)
            }
            BinaryOp::Sub => {
                let difference = self.b.ins().isub(a, b);
                let below = self.icmp(IntCC::UnsignedLessThan, a, b);
                let zero = self.word(0);
                self.select(below, zero, difference)
            }
            BinaryOp::Mul => {
                let product = self.b.ins().imul(a, b);
                if bits_a + bits_b <= 64 {
                    return Ok(product);
                }
                let high = self.b.ins().umulhi(a, b);
                let most = self.word(most);
                self.select(high, most, product)
            }
            BinaryOp::Div | BinaryOp::Rem => {
                let is_zero = self.icmp_const(IntCC::Equal, b, 0);
                let (zero, one) = (self.word(0), self.word(1));
                let divisor = match constant {
                    Some(d) if d != 0 => b,
                    _ => self.select(is_zero, one, b),
                };
                let word = if op == BinaryOp::Div {
                    self.b.ins().udiv(a, divisor)
                } else {
                    self.b.ins().urem(a, divisor)
                };
                if constant.is_some_and(|d| d != 0) {
                    word
                } else {
                    self.select(is_zero, zero, word)
                }
            }
            BinaryOp::Shr => {
                let inside = self.icmp_const(IntCC::UnsignedLessThan, b, 64);
                let shifted = self.b.ins().ushr(a, b);
                let zero = self.word(0);
                self.select(inside, shifted, zero)
            }
            BinaryOp::Shl => match constant {
                Some(count) if count <= u64::from(64 - bits_a) => self.b.ins().ishl(a, b),
                _ => {
                    // Held at the end where bits fall off: then it does not come back whole.
                    let shifted = self.b.ins().ishl(a, b);
                    let back = self.b.ins().ushr(shifted, b);
                    let is_whole = self.icmp(IntCC::Equal, back, a);
                    let is_inside = self.icmp_const(IntCC::UnsignedLessThan, b, 64);
                    let fits = self.b.ins().band(is_whole, is_inside);
                    let (zero, most) = (self.word(0), self.word(most));
                    let is_zero = self.icmp(IntCC::Equal, a, zero);
                    let held = self.select(is_zero, zero, most);
                    self.select(fits, shifted, held)
                }
            },
        })
    }

    /// A conversion; the lack says where it fails.
    pub(super) fn cast(
        &mut self,
        a: Parts,
        from: Type,
        bits: u32,
        to: Type,
    ) -> Result<(Parts, Option<V>), Unsupported> {
        let (four, six) = (4, 6);
        Ok(match (a, to) {
            (Parts::Word(word), Type::Inet) => {
                let (family, zero) = (self.word(four), self.word(0));
                (Parts::Inet(family, zero, word), None)
            }
            (Parts::Ipv6(high, low), Type::Inet) => (Parts::Inet(self.word(six), high, low), None),
            (Parts::Inet(family, _, low), Type::Ip) => {
                let fits = self.icmp_const(IntCC::Equal, family, four);
                (Parts::Word(low), self.lack_unless(Truth::When(fits), FAILED))
            }
            (Parts::Inet(family, high, low), Type::Ipv6) => {
                let fits = self.icmp_const(IntCC::Equal, family, six);
                (Parts::Ipv6(high, low), self.lack_unless(Truth::When(fits), FAILED))
            }
            (_, Type::Bool) => (Parts::Flag(self.as_flag(a)?), None),
            (Parts::Flag(_) | Parts::Word(_), _) => {
                let word = self.as_word(a)?;
                let bits = if from.is_signed() { 64 } else { bits };
                (Parts::Word(self.wrap(word, to, bits)), None)
            }
            (same, _) => (same, None),
        })
    }
}

/// Whether a divisor is still not zero when it is cut to a type.
fn fits(divisor: u64, to: Type) -> bool {
    match to {
        Type::Ushort => divisor as u16 != 0,
        Type::Uint => divisor as u32 != 0,
        _ => divisor != 0,
    }
}

/// Whether the result of an operator on unsigned operands of so many bits is inside the type without being cut.
fn is_bounded(op: BinaryOp, a: u32, b: u32, to: Type) -> bool {
    let width = to.bits().unwrap_or(64);
    !to.is_signed()
        && match op {
            BinaryOp::Add => a.max(b) < width,
            BinaryOp::Mul => a + b <= width,
            BinaryOp::BitAnd => a.min(b) <= width,
            BinaryOp::BitOr => a.max(b) <= width,
            BinaryOp::Div | BinaryOp::Rem | BinaryOp::Shr => true,
            BinaryOp::Sub | BinaryOp::Shl => false,
        }
}
