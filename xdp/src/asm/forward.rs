//! Values followed forwards: what was just stored is not loaded again, constants become operands, arithmetic becomes cheaper.
//!
//! A value has a number of its own from where it is computed on. Registers and words of memory that hold the same number hold the same
//! value; where paths meet, only what all of them agree on is known. With each register goes a bound, computed by the rules of the verifier,
//! so that a comparison or a mask that is left out is one that the verifier does not need either.

use std::collections::HashMap;

use super::Assembler;
use super::flow::Flow;
use super::insn::{AluOp, Cond, Endian, Helper, Insn, MapId, Operand, Reg, Size};
use super::optimize::{FRAME, STACK};

/// A value's number.
type Number = u32;

/// A word of memory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    base: Reg,
    off: i16,
    size: Size,
}

impl Slot {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |slot: &Self| i32::from(slot.off) + slot.size.bytes() as i32;
        self.base == other.base
            && i32::from(self.off) < end(other)
            && i32::from(other.off) < end(self)
    }
}

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    number: Number,
    /// The most it can be, unsigned, as the verifier knows too.
    most: u64,
}

#[derive(Clone)]
struct State {
    regs: [Held; 11],
    slots: Vec<(Slot, Number)>,
}

/// Numbers of values.
#[derive(Default)]
struct Numbers {
    count: Number,
    of_constants: HashMap<u64, Number>,
    constants: HashMap<Number, u64>,
    /// Of bytes of data maps, by map and byte.
    of_addresses: HashMap<(MapId, u32), Number>,
}

impl Numbers {
    fn fresh(&mut self, most: u64) -> Held {
        self.count += 1;
        Held { number: self.count, most }
    }

    fn constant(&mut self, value: u64) -> Held {
        let count = &mut self.count;
        let number = *self.of_constants.entry(value).or_insert_with(|| {
            *count += 1;
            *count
        });
        self.constants.insert(number, value);
        Held { number, most: value }
    }

    fn address(&mut self, map: MapId, offset: u32) -> Held {
        let count = &mut self.count;
        let number = *self.of_addresses.entry((map, offset)).or_insert_with(|| {
            *count += 1;
            *count
        });
        Held { number, most: u64::MAX }
    }

    fn unknown(&mut self) -> State {
        State { regs: std::array::from_fn(|_| self.fresh(u64::MAX)), slots: Vec::new() }
    }

    /// A value as an immediate operand.
    fn immediate(&self, held: Held) -> Option<i32> {
        let value = *self.constants.get(&held.number)?;
        i32::try_from(value as i64).ok()
    }
}

const fn most_of(size: Size) -> u64 {
    match size {
        Size::B => 0xff,
        Size::H => 0xffff,
        Size::W => 0xffff_ffff,
        Size::Dw => u64::MAX,
    }
}

/// Rewrites instructions in place; by instruction: whether it is still wanted.
pub(super) fn run(asm: &mut Assembler, private: i16) -> Vec<bool> {
    let flow = Flow::new(asm);
    let mut keep = vec![true; asm.insns.len()];
    let mut numbers = Numbers::default();
    let mut ends: Vec<Option<State>> = vec![None; flow.starts.len()];
    for block in flow.blocks() {
        let mut state = entry(&mut numbers, &flow, &ends, block);
        for index in flow.insns(block) {
            match state.step(&mut numbers, private, asm.insns[index]) {
                Some(insn) => asm.insns[index] = insn,
                None => keep[index] = false,
            }
        }
        ends[block] = Some(state);
    }
    keep
}

/// What is known where a block begins.
fn entry(numbers: &mut Numbers, flow: &Flow, ends: &[Option<State>], block: usize) -> State {
    let before: Option<Vec<&State>> = match flow.is_entry[block] {
        true => None,
        false => flow.before[block].iter().map(|other| ends[*other].as_ref()).collect(),
    };
    let Some((first, others)) = before.as_deref().and_then(|before| before.split_first()) else {
        return numbers.unknown();
    };
    let mut state = (*first).clone();
    for other in others {
        for (held, also) in state.regs.iter_mut().zip(&other.regs) {
            match held.number == also.number {
                true => held.most = held.most.max(also.most),
                false => *held = numbers.fresh(held.most.max(also.most)),
            }
        }
        state.slots.retain(|known| other.slots.contains(known));
    }
    state
}

impl State {
    fn get(&self, reg: Reg) -> Held {
        self.regs[reg.number() as usize]
    }

    fn set(&mut self, reg: Reg, held: Held) {
        self.regs[reg.number() as usize] = held;
        if reg == FRAME {
            self.slots.retain(|(slot, _)| slot.base != FRAME);
        }
    }

    /// A register that holds a value; those that calls keep come first.
    fn holder(&self, number: Number) -> Option<Reg> {
        use Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
        let regs = [R6, R7, R8, R9, R0, R1, R2, R3, R4, R5];
        regs.into_iter().find(|reg| self.get(*reg).number == number)
    }

    /// Follows an instruction; what it becomes, or nothing when it changes nothing.
    fn step(&mut self, numbers: &mut Numbers, private: i16, insn: Insn) -> Option<Insn> {
        match insn {
            Insn::Alu { wide, op, dst, src } => return self.alu(numbers, wide, op, dst, src),
            Insn::Neg { dst } | Insn::PartOfCpu { dst, .. } => {
                self.set(dst, numbers.fresh(u64::MAX));
            }
            Insn::Swap { to, dst } => {
                // Of these the verifier keeps no bound.
                let (Endian::Be16 | Endian::Be32 | Endian::Be64) = to;
                self.set(dst, numbers.fresh(u64::MAX));
            }
            Insn::LoadImm { dst, imm } => {
                let held = numbers.constant(imm);
                self.set(dst, held);
            }
            Insn::LoadMap { dst, .. } | Insn::LoadFn { dst, .. } => {
                self.set(dst, numbers.fresh(u64::MAX));
            }
            Insn::LoadData { dst, map, offset } => {
                let held = numbers.address(map, offset);
                if self.get(dst).number == held.number {
                    return None;
                }
                let known = self.holder(held.number);
                self.set(dst, held);
                if let Some(src) = known {
                    return Some(Insn::Alu { wide: true, op: AluOp::Mov, dst, src: src.into() });
                }
            }
            Insn::Load { size, dst, base, off } if base == FRAME || base == STACK => {
                let slot = Slot { base, off, size };
                let known = self.slots.iter().find(|(other, _)| *other == slot);
                let Some(number) = known.map(|(_, number)| *number) else {
                    let held = numbers.fresh(most_of(size));
                    self.set(dst, held);
                    self.slots.push((slot, held.number));
                    return Some(insn);
                };
                if self.get(dst).number == number {
                    return None;
                }
                if let Some(src) = self.holder(number) {
                    self.set(dst, self.get(src));
                    return Some(Insn::Alu { wide: true, op: AluOp::Mov, dst, src: src.into() });
                }
                if let Some(imm) = numbers.immediate(Held { number, most: 0 }) {
                    self.set(dst, numbers.constant(i64::from(imm) as u64));
                    return Some(Insn::Alu { wide: true, op: AluOp::Mov, dst, src: imm.into() });
                }
                // The value is the same, but memory keeps no bound of it.
                self.set(dst, Held { number, most: most_of(size) });
                // Where it is twice, one place serves all.
                let is_alike = |(other, held): &&(Slot, Number)| {
                    *held == number
                        && (other.base, other.size) == (base, size)
                        && other.off >= private
                };
                if base == FRAME
                    && off >= private
                    && let Some((other, _)) =
                        self.slots.iter().filter(is_alike).min_by_key(|(slot, _)| slot.off)
                {
                    return Some(Insn::Load { size, dst, base, off: other.off });
                }
            }
            Insn::Load { size, dst, base, off } => {
                // Pointers of the context are read as 4 bytes.
                let most = if size == Size::W { u64::MAX } else { most_of(size) };
                let base = self.holder(self.get(base).number).unwrap_or(base);
                self.set(dst, numbers.fresh(most));
                return Some(Insn::Load { size, dst, base, off });
            }
            Insn::Store { size, base, off, src } => {
                return self.store(numbers, private, Slot { base, off, size }, src);
            }
            // Nothing of it is kept: another CPU may add at the same time.
            Insn::AtomicAdd { .. } => self.slots.clear(),
            Insn::Branch { cond, dst, src, to } => {
                return self.branch(numbers, (cond, dst, src), to);
            }
            Insn::Call(helper) => {
                use Reg::{R0, R1, R2, R3, R4, R5};
                for reg in [R0, R1, R2, R3, R4, R5] {
                    self.set(reg, numbers.fresh(u64::MAX));
                }
                if matches!(helper, Helper::Loop | Helper::XdpLoadBytes) {
                    self.slots.clear();
                }
            }
            Insn::Jump { .. } | Insn::Exit => {}
        }
        Some(insn)
    }

    fn store(
        &mut self,
        numbers: &mut Numbers,
        private: i16,
        slot: Slot,
        src: Operand,
    ) -> Option<Insn> {
        let Slot { base, off, size } = slot;
        let constant = match src {
            Operand::Reg(reg) => numbers.immediate(self.get(reg)),
            Operand::Imm(_) => None,
        };
        let src = constant.map_or(src, Operand::Imm);
        let insn = Insn::Store { size, base, off, src };
        if base != FRAME && base != STACK {
            // It may be computed from the frame's address, but not to reach what is private.
            self.slots.retain(|(slot, _)| slot.base == STACK || slot.off >= private);
            return Some(insn);
        }
        let held = match src {
            Operand::Imm(imm) => numbers.constant(i64::from(imm) as u64 & most_of(size)),
            Operand::Reg(reg) => self.get(reg),
        };
        if self.slots.contains(&(slot, held.number)) {
            return None;
        }
        self.slots.retain(|(other, _)| !other.overlaps(&slot));
        if held.most <= most_of(size) {
            self.slots.push((slot, held.number));
        }
        Some(insn)
    }

    /// 64-bit arithmetic on a constant, when its result is a constant too or the other operand; what is left of the instruction.
    fn folded(
        &mut self,
        numbers: &mut Numbers,
        wide: bool,
        op: AluOp,
        dst: Reg,
        src: Operand,
    ) -> Option<Option<Insn>> {
        let value = *numbers.constants.get(&self.get(dst).number).filter(|_| wide)?;
        let result = match (op, src) {
            (AluOp::Mul, _) if value == 0 => return Some(None),
            (AluOp::Add | AluOp::Or | AluOp::Xor, Operand::Reg(src)) if value == 0 => {
                self.set(dst, self.get(src));
                return Some(Some(Insn::Alu { wide, op: AluOp::Mov, dst, src: src.into() }));
            }
            (_, Operand::Reg(_)) => return None,
            (_, Operand::Imm(imm)) => {
                let by = i64::from(imm) as u64;
                match op {
                    AluOp::Add => value.wrapping_add(by),
                    AluOp::Sub => value.wrapping_sub(by),
                    AluOp::Mul => value.wrapping_mul(by),
                    AluOp::And => value & by,
                    AluOp::Or => value | by,
                    AluOp::Xor => value ^ by,
                    AluOp::Lsh => value << (by & 63),
                    AluOp::Rsh => value >> (by & 63),
                    _ => return None,
                }
            }
        };
        let imm = i32::try_from(result as i64).ok()?;
        self.set(dst, numbers.constant(result));
        Some(Some(Insn::Alu { wide, op: AluOp::Mov, dst, src: imm.into() }))
    }

    fn branch(
        &self,
        numbers: &Numbers,
        (cond, dst, mut src): (Cond, Reg, Operand),
        to: super::Label,
    ) -> Option<Insn> {
        if let Operand::Reg(reg) = src
            && let Some(imm) = numbers.immediate(self.get(reg))
        {
            src = Operand::Imm(imm);
        }
        if let (Some(value), Operand::Imm(imm)) =
            (numbers.constants.get(&self.get(dst).number), src)
        {
            let holds = cond.holds(*value, i64::from(imm) as u64);
            return holds.then_some(Insn::Jump { to });
        }
        let most = self.get(dst).most;
        if let (Cond::Gt, Operand::Imm(imm)) = (cond, src)
            && most <= i64::from(imm) as u64
        {
            return None;
        }
        Some(Insn::Branch { cond, dst, src, to })
    }

    fn alu(
        &mut self,
        numbers: &mut Numbers,
        wide: bool,
        op: AluOp,
        dst: Reg,
        mut src: Operand,
    ) -> Option<Insn> {
        if let Operand::Reg(reg) = src
            && let Some(imm) = numbers.immediate(self.get(reg))
            && is_allowed(op, imm, wide)
        {
            src = Operand::Imm(imm);
        }
        let (mut op, old) = (op, self.get(dst));
        if let (true, Operand::Imm(imm)) = (wide, src) {
            match cheaper(op, imm) {
                Cheaper::Nothing => return None,
                Cheaper::As(other, imm) => (op, src) = (other, Operand::Imm(imm)),
                Cheaper::No => {}
            }
        }
        if let Some(insn) = self.folded(numbers, wide, op, dst, src) {
            return insn;
        }
        if let (true, Operand::Imm(imm)) = (wide, src) {
            // A mask of low bits that no value has more of.
            let is_low = imm > 0 && (imm as u32 + 1).is_power_of_two();
            if op == AluOp::And && is_low && old.most <= imm as u64 {
                return None;
            }
        }
        if let (AluOp::Mov, Operand::Reg(from)) = (op, src) {
            let held = self.get(from);
            if wide || held.most <= u64::from(u32::MAX) {
                if held.number == old.number {
                    return None;
                }
                let from = self.holder(held.number).unwrap_or(from);
                self.set(dst, Held { number: held.number, most: self.get(from).most });
                return Some(Insn::Alu { wide, op, dst, src: from.into() });
            }
        }
        let insn = Insn::Alu { wide, op, dst, src };
        let held = match (op, src) {
            (AluOp::Mov, Operand::Imm(imm)) => {
                let value = if wide { i64::from(imm) as u64 } else { u64::from(imm as u32) };
                let held = numbers.constant(value);
                if held.number == old.number {
                    return None;
                }
                held
            }
            _ if !wide => numbers.fresh(u64::from(u32::MAX)),
            _ => {
                let by = match src {
                    Operand::Imm(imm) => i64::from(imm) as u64,
                    Operand::Reg(reg) => self.get(reg).most,
                };
                numbers.fresh(bound(op, old.most, by, matches!(src, Operand::Imm(_))))
            }
        };
        self.set(dst, held);
        Some(insn)
    }
}

/// Whether the verifier takes a constant as the second operand.
fn is_allowed(op: AluOp, imm: i32, wide: bool) -> bool {
    match op {
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => (0..if wide { 64 } else { 32 }).contains(&imm),
        AluOp::Div | AluOp::Mod => imm != 0,
        _ => true,
    }
}

enum Cheaper {
    No,
    /// It changes nothing.
    Nothing,
    As(AluOp, i32),
}

/// 64-bit arithmetic with a constant, by a cheaper instruction.
fn cheaper(op: AluOp, imm: i32) -> Cheaper {
    let is_power = imm > 0 && (imm as u32).is_power_of_two();
    let shift = imm.trailing_zeros() as i32;
    match (op, imm) {
        (AluOp::Mul | AluOp::Div, 1) => Cheaper::Nothing,
        (AluOp::Mul | AluOp::And, 0) | (AluOp::Mod, 1) => Cheaper::As(AluOp::Mov, 0),
        (AluOp::Add | AluOp::Sub | AluOp::Or | AluOp::Xor, 0) => Cheaper::Nothing,
        (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, 0) => Cheaper::Nothing,
        (AluOp::Mul, _) if is_power => Cheaper::As(AluOp::Lsh, shift),
        (AluOp::Div, _) if is_power => Cheaper::As(AluOp::Rsh, shift),
        (AluOp::Mod, _) if is_power => Cheaper::As(AluOp::And, imm - 1),
        _ => Cheaper::No,
    }
}

/// The most that 64-bit arithmetic gives, by the rules of the verifier or looser.
fn bound(op: AluOp, old: u64, by: u64, is_constant: bool) -> u64 {
    let half = u64::from(u32::MAX);
    match op {
        AluOp::And => old.min(by),
        AluOp::Or | AluOp::Xor => {
            let bits = 64 - (old | by).leading_zeros();
            1u64.checked_shl(bits).map_or(u64::MAX, |limit| limit - 1)
        }
        AluOp::Rsh if is_constant => old >> (by & 63),
        AluOp::Lsh if is_constant && old < 1 << (63 - (by & 63)) => old << (by & 63),
        AluOp::Add => old.saturating_add(by),
        AluOp::Mul if old <= half && by <= half => old * by,
        _ => u64::MAX,
    }
}
