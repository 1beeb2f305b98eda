//! Truth values, and words that say the same.
//!
//! An instruction that makes a truth value of the processor's condition codes, or moves by them, runs on two of its ports, and a batch of
//! filters is made of little else. So what is equal, unequal or a bit also has a word that is zero exactly where it holds, or where it does not. Such words are
//! joined on any port: one of two is zero where their product is, both are where their OR is. Only the last one is tested.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value as V};

use super::emit::{Emitter, Truth};

/// A word that is zero or not.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    value: V,
    /// Zero means equality with this one, if it is given.
    other: Option<V>,
    /// The word is below `2^bits`.
    bits: u32,
}

/// Words that are zero exactly where a flag is TRUE, and where it is FALSE.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Witness {
    holds: Option<Word>,
    fails: Option<Word>,
}

/// What words say of flags.
#[derive(Default)]
pub(super) struct Witnesses(SecondaryMap<V, Witness>);

impl Emitter<'_, '_> {
    /// Whether two words are equal, each below `2^bits`.
    pub(super) fn equal(&mut self, a: (V, u32), b: (V, u32)) -> V {
        let word = self.pair(a, b);
        self.flag_of(IntCC::Equal, word)
    }

    /// Whether two words are not equal, each below `2^bits`.
    pub(super) fn unequal(&mut self, a: (V, u32), b: (V, u32)) -> V {
        let word = self.pair(a, b);
        self.flag_of(IntCC::NotEqual, word)
    }

    /// Whether a word below `2^bits` is a constant where a mask has bits.
    pub(super) fn equals_masked(&mut self, (word, bits): (V, u32), mask: u64, wanted: u64) -> V {
        let (word, mask, wanted) = match self.turned(word) {
            Some((raw, width)) if wanted >> width == 0 => {
                let turn = |constant: u64| constant.swap_bytes() >> (64 - width);
                (raw, turn(mask), turn(wanted))
            }
            _ => (word, mask, wanted),
        };
        let (word, wanted) = (self.and_const(word, mask), self.word(wanted));
        self.flag_of(IntCC::Equal, Word { value: word, other: Some(wanted), bits })
    }

    /// Whether a bit of a byte is set: the only one of a mask.
    pub(super) fn bit(&mut self, byte: V, mask: u64) -> V {
        let (value, mask) = (self.and_const(byte, mask), self.word(mask));
        let zero = self.word(0);
        let flag = self.b.ins().icmp(IntCC::NotEqual, value, zero);
        self.witnesses.0[flag] = Witness {
            holds: Some(Word { value, other: Some(mask), bits: 8 }),
            fails: Some(Word { value, other: None, bits: 8 }),
        };
        flag
    }

    /// Both hold.
    pub(super) fn both_flags(&mut self, a: V, b: V) -> V {
        match (self.constant(a), self.constant(b)) {
            (Some(0), _) | (_, Some(1)) => return a,
            (Some(1), _) | (_, Some(0)) => return b,
            _ => {}
        }
        let (x, y) = (self.witnesses.0[a], self.witnesses.0[b]);
        if let Some(word) = self.both_zero(x.holds, y.holds) {
            return self.flag_of(IntCC::Equal, word);
        }
        if let Some(word) = self.either_zero(x.fails, y.fails) {
            return self.flag_of(IntCC::NotEqual, word);
        }
        self.b.ins().band(a, b)
    }

    /// One of two holds.
    pub(super) fn either_flag(&mut self, a: V, b: V) -> V {
        match (self.constant(a), self.constant(b)) {
            (Some(1), _) | (_, Some(0)) => return a,
            (Some(0), _) | (_, Some(1)) => return b,
            _ => {}
        }
        let (x, y) = (self.witnesses.0[a], self.witnesses.0[b]);
        if let Some(word) = self.either_zero(x.holds, y.holds) {
            return self.flag_of(IntCC::Equal, word);
        }
        if let Some(word) = self.both_zero(x.fails, y.fails) {
            return self.flag_of(IntCC::NotEqual, word);
        }
        self.b.ins().bor(a, b)
    }

    /// `cond ? a : b`: AND and OR where an arm is a constant.
    pub(super) fn select_flag(&mut self, cond: V, a: V, b: V) -> V {
        match (self.constant(a), self.constant(b)) {
            (_, Some(0)) => self.both_flags(cond, a),
            (Some(1), _) => self.either_flag(cond, b),
            _ => self.select(cond, a, b),
        }
    }

    /// A flag the other way round.
    pub(super) fn not(&mut self, flag: V) -> V {
        let Witness { holds, fails } = self.witnesses.0[flag];
        let compared = self.b.func.dfg.value_def(flag).inst();
        let turned = match compared.map(|inst| self.b.func.dfg.insts[inst]) {
            Some(InstructionData::IntCompare { opcode: Opcode::Icmp, cond, args: [a, b] }) => {
                self.b.ins().icmp(cond.complement(), a, b)
            }
            _ => {
                let one = self.flag(true);
                self.b.ins().bxor(flag, one)
            }
        };
        self.witnesses.0[turned] = Witness { holds: fails, fails: holds };
        turned
    }

    /// Both hold.
    pub(super) fn both(&mut self, a: Truth, b: Truth) -> Truth {
        match (a, b) {
            (Truth::Never, _) | (_, Truth::Never) => Truth::Never,
            (Truth::Always, other) | (other, Truth::Always) => other,
            (Truth::When(a), Truth::When(b)) => Truth::When(self.both_flags(a, b)),
        }
    }

    /// Two words to compare: as they lie in the packet, where one was only turned around to be read as a number and the other is a constant.
    fn pair(&mut self, (a, bits_a): (V, u32), (b, bits_b): (V, u32)) -> Word {
        let bits = bits_a.max(bits_b);
        let (a, b) = if self.constant(a).is_some() { (b, a) } else { (a, b) };
        if let (Some((raw, width)), Some(constant)) = (self.turned(a), self.constant(b))
            && constant >> width == 0
        {
            let constant = self.word(constant.swap_bytes() >> (64 - width));
            return Word { value: raw, other: Some(constant), bits };
        }
        Word { value: a, other: Some(b), bits }
    }

    /// The word as it lies in the packet that another one is with its bytes turned around, and its width: 16 or 32 bits.
    pub(super) fn turned(&self, word: V) -> Option<(V, u32)> {
        let dfg = &self.b.func.dfg;
        let operand = |value: V, opcode: Opcode| {
            let InstructionData::Unary { opcode: found, arg } =
                dfg.insts[dfg.value_def(value).inst()?]
            else {
                return None;
            };
            (found == opcode).then_some(arg)
        };
        let turned = operand(word, Opcode::Uextend)?;
        let raw = operand(operand(turned, Opcode::Bswap)?, Opcode::Ireduce)?;
        let loaded = dfg.insts[dfg.value_def(raw).inst()?].opcode();
        match (loaded, dfg.value_type(turned).bits()) {
            (Opcode::Uload16, 16) | (Opcode::Uload32, 32) => {
                Some((raw, dfg.value_type(turned).bits()))
            }
            _ => None,
        }
    }

    /// The flag that is TRUE where a word is zero (`Equal`) or where it is not.
    fn flag_of(&mut self, cc: IntCC, word: Word) -> V {
        let constant = |word: V| self.constant(word);
        if let (Some(a), Some(b)) = (constant(word.value), word.other.map_or(Some(0), constant)) {
            return self.flag((a == b) == (cc == IntCC::Equal));
        }
        let other = word.other.unwrap_or_else(|| self.word(0));
        let flag = self.b.ins().icmp(cc, word.value, other);
        self.witnesses.0[flag] = if cc == IntCC::Equal {
            Witness { holds: Some(word), fails: None }
        } else {
            Witness { holds: None, fails: Some(word) }
        };
        flag
    }

    fn both_zero(&mut self, a: Option<Word>, b: Option<Word>) -> Option<Word> {
        let (a, b) = (a?, b?);
        let bits = a.bits.max(b.bits);
        let (a, b) = (self.difference(a), self.difference(b));
        Some(Word { value: self.b.ins().bor(a, b), other: None, bits })
    }

    /// A product that nothing of is lost.
    fn either_zero(&mut self, a: Option<Word>, b: Option<Word>) -> Option<Word> {
        let (a, b) = (a?, b?);
        let bits = a.bits + b.bits;
        if bits > 64 {
            return None;
        }
        let (a, b) = (self.difference(a), self.difference(b));
        Some(Word { value: self.b.ins().imul(a, b), other: None, bits })
    }

    fn difference(&mut self, word: Word) -> V {
        match word.other {
            None => word.value,
            Some(other) => self.b.ins().bxor(word.value, other),
        }
    }
}
