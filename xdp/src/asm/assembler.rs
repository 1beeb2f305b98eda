//! Instructions in a row, with labels that are resolved when all are there.

use serde::{Deserialize, Serialize};

use super::insn::{AluOp, Cond, Endian, Helper, Insn, MapId, Operand, Reg, Size};

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub(super) u32);

/// How many of the packets that come to a jump take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Grade {
    /// As many as do not.
    #[default]
    Alike,
    /// Few: [`Assembler::seldom`].
    Seldom,
    /// More than do not: [`Assembler::mostly`].
    Mostly,
}

/// Why instructions cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A label was named and never placed. A fault of the generator.
    #[error("instruction {at} jumps to a label without a place")]
    Unplaced {
        /// Index of the instruction.
        at: usize,
    },
    /// A jump reaches at most 32,767 instructions far.
    #[error("instruction {at} jumps {distance} instructions far; the encoding allows 32,767")]
    TooFar {
        /// Index of the instruction.
        at: usize,
        /// How far.
        distance: i64,
    },
}

/// A reference for the loader to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Slot of the instruction.
    pub slot: usize,
    /// What it names.
    pub target: Target,
}

/// What an instruction names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A map.
    Map(MapId),
    /// One of [`Code::functions`], by index.
    Function(usize),
    /// The number of parts less one of maps that have a part for each CPU: a mask.
    Parts,
}

/// A function of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its first slot; it ends where the next one begins.
    pub slot: usize,
}

/// Encoded instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// As the kernel takes them, 8 bytes each.
    pub slots: Vec<[u8; 8]>,
    /// Where maps and functions are named.
    pub relocations: Vec<Relocation>,
    /// Functions that are called back, behind the main program, in the order of their code.
    pub functions: Vec<Function>,
    /// The instructions with their comments, for people.
    #[serde(skip)]
    pub listing: String,
}

/// What a comment is about.
#[derive(Clone, Debug)]
pub(super) struct Comment {
    /// It stands before the instruction of this index.
    pub(super) at: usize,
    pub(super) text: String,
}

/// Instructions under construction.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    pub(super) insns: Vec<Insn>,
    /// By label: the instruction it stands before.
    pub(super) labels: Vec<Option<usize>>,
    pub(super) comments: Vec<Comment>,
    /// By label: of jumps to it. Labels behind the last are [`Grade::Alike`].
    grades: Vec<Grade>,
    functions: Vec<(String, Label)>,
    /// Places where nothing is concluded from what came before.
    pub(super) barriers: Vec<Label>,
}

impl Assembler {
    /// No instructions.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label that has no place yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// A label that few packets go to: what they do there is out of the others' way.
    pub fn seldom(&mut self) -> Label {
        self.graded(Grade::Seldom)
    }

    /// A label that packets go to rather than on.
    pub fn mostly(&mut self) -> Label {
        self.graded(Grade::Mostly)
    }

    fn graded(&mut self, grade: Grade) -> Label {
        let label = self.label();
        self.grades.resize(label.0 as usize, Grade::Alike);
        self.grades.push(grade);
        label
    }

    /// How many go to a label.
    pub(super) fn grade(&self, label: Label) -> Grade {
        self.grades.get(label.0 as usize).copied().unwrap_or_default()
    }

    /// Gives a label its place: before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(self.insns.len());
    }

    /// A label at the next instruction.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// What comes before is not looked at for what follows: loads stay loads, of which the verifier knows nothing.
    pub fn barrier(&mut self) {
        let label = self.here();
        self.barriers.push(label);
    }

    /// Begins a function that is called back, at a label.
    pub fn function(&mut self, name: &str, label: Label) {
        self.place(label);
        self.functions.push((name.to_owned(), label));
    }

    /// Says what follows.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(Comment { at: self.insns.len(), text: text.into() });
    }

    /// Whether the next instruction can be reached: the last one goes on, or a label stands here.
    pub fn is_reachable(&self) -> bool {
        !matches!(self.insns.last(), Some(Insn::Jump { .. } | Insn::Exit))
            || self.labels.contains(&Some(self.insns.len()))
    }

    /// Takes back what was added since there were `len` instructions. Labels placed there may not be used any more.
    pub fn truncate(&mut self, len: usize) {
        self.insns.truncate(len);
        self.comments.retain(|comment| comment.at <= len);
        for label in &mut self.labels {
            *label = label.filter(|at| *at <= len);
        }
    }

    /// Instructions so far.
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// No instruction so far.
    pub fn is_empty(&self) -> bool {
        self.insns.is_empty()
    }

    /// Adds an instruction.
    pub fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    /// `dst op= src`, 64 bits.
    pub fn alu(&mut self, op: AluOp, dst: Reg, src: impl Into<Operand>) {
        self.push(Insn::Alu { wide: true, op, dst, src: src.into() });
    }

    /// `dst op= src`, 32 bits; the upper ones become 0.
    pub fn alu32(&mut self, op: AluOp, dst: Reg, src: impl Into<Operand>) {
        self.push(Insn::Alu { wide: false, op, dst, src: src.into() });
    }

    /// `dst = src`
    pub fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        let src = src.into();
        if src != Operand::Reg(dst) {
            self.alu(AluOp::Mov, dst, src);
        }
    }

    /// `dst = value`, in as few slots as it takes.
    pub fn constant(&mut self, dst: Reg, value: u64) {
        match i32::try_from(value as i64) {
            Ok(imm) => self.mov(dst, imm),
            Err(_) => match u32::try_from(value) {
                Ok(low) => self.alu32(AluOp::Mov, dst, low as i32),
                Err(_) => self.push(Insn::LoadImm { dst, imm: value }),
            },
        }
    }

    /// `dst = *(base + off)`
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.push(Insn::Load { size, dst, base, off });
    }

    /// `*(base + off) = src`
    pub fn store(&mut self, size: Size, base: Reg, off: i16, src: impl Into<Operand>) {
        self.push(Insn::Store { size, base, off, src: src.into() });
    }

    /// Changes the byte order.
    pub fn swap(&mut self, to: Endian, dst: Reg) {
        self.push(Insn::Swap { to, dst });
    }

    /// Goes on at a label.
    pub fn jump(&mut self, to: Label) {
        self.push(Insn::Jump { to });
    }

    /// Goes on at a label when the comparison holds.
    pub fn branch(&mut self, cond: Cond, dst: Reg, src: impl Into<Operand>, to: Label) {
        self.push(Insn::Branch { cond, dst, src: src.into(), to });
    }

    /// Calls the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.push(Insn::Call(helper));
    }

    /// Says how many bytes the parts of CPUs have, which is known when all code is there.
    pub fn set_part_bytes(&mut self, part_bytes: u32) {
        for insn in &mut self.insns {
            if let Insn::PartOfCpu { bytes, .. } = insn {
                *bytes = part_bytes;
            }
        }
    }

    /// Resolves labels and encodes. Jumps to the very next instruction are left out, and so is what no path comes to: the
    /// verifier refuses such code.
    ///
    /// # Errors
    /// A label without a place, a jump too far.
    pub fn finish(mut self) -> Result<Code, AsmError> {
        self.tidy();
        let is_named = |label| {
            self.insns
                .iter()
                .any(|i| matches!(i, Insn::LoadFn { function, .. } if *function == label))
        };
        let named: Vec<bool> = self.functions.iter().map(|(_, label)| is_named(*label)).collect();
        let mut named = named.iter();
        self.functions.retain(|_| named.next().copied().unwrap_or(false));
        let mut starts = Vec::with_capacity(self.insns.len() + 1);
        let mut at = 0;
        for insn in &self.insns {
            starts.push(at);
            at += insn.slots();
        }
        starts.push(at);
        let mut functions = Vec::with_capacity(self.functions.len());
        for (at, (name, label)) in self.functions.iter().enumerate() {
            let first = self.labels[label.0 as usize].ok_or(AsmError::Unplaced { at })?;
            functions.push(Function { name: name.clone(), slot: starts[first] });
        }
        let mut code =
            Code { slots: Vec::new(), relocations: Vec::new(), functions, listing: String::new() };
        for (index, insn) in self.insns.iter().enumerate() {
            let mut distance = 0i64;
            if let Some(label) = insn.target() {
                let target =
                    self.labels[label.0 as usize].ok_or(AsmError::Unplaced { at: index })?;
                distance = starts[target] as i64 - starts[index + 1] as i64;
            }
            let target = match *insn {
                Insn::LoadMap { map, .. } | Insn::LoadData { map, .. } => Some(Target::Map(map)),
                Insn::LoadFn { function, .. } => {
                    let named = self.functions.iter().position(|(_, label)| *label == function);
                    named.map(Target::Function)
                }
                Insn::PartOfCpu { .. } => Some(Target::Parts),
                _ => None,
            };
            code.relocations
                .extend(target.map(|target| Relocation { slot: code.slots.len(), target }));
            insn.encode(distance as i32, &mut code.slots)
                .ok_or(AsmError::TooFar { at: index, distance })?;
        }
        code.listing = self.listing(&starts);
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_before_and_behind_are_resolved_over_wide_instructions() {
        let mut asm = Assembler::new();
        let (top, out) = (asm.label(), asm.label());
        asm.mov(Reg::R0, 0);
        asm.place(top);
        asm.push(Insn::LoadImm { dst: Reg::R1, imm: 1 << 40 });
        asm.branch(Cond::Eq, Reg::R0, 7, out);
        asm.alu(AluOp::Add, Reg::R0, 1);
        asm.jump(top);
        asm.place(out);
        asm.push(Insn::Exit);
        let code = asm.finish().unwrap();
        assert_eq!(code.slots.len(), 7);
        let off = |slot: usize| i16::from_le_bytes([code.slots[slot][2], code.slots[slot][3]]);
        assert_eq!(off(3), 2, "to the exit, over two instructions");
        assert_eq!(off(5), -5, "back to the constant, which takes two slots");
    }

    #[test]
    fn what_is_taken_back_leaves_nothing_behind() {
        let mut asm = Assembler::new();
        asm.mov(Reg::R0, 2);
        let (len, far) = (asm.len(), asm.label());
        asm.branch(Cond::Eq, Reg::R0, 7, far);
        asm.mov(Reg::R0, 3);
        asm.comment("of what is taken back");
        asm.place(far);
        asm.mov(Reg::R0, 4);
        asm.truncate(len);
        // Not reached, so that places are moved.
        asm.push(Insn::Exit);
        asm.mov(Reg::R0, 5);
        let code = asm.finish().unwrap();
        assert_eq!(code.slots, [slot2(0xb7, 0, 2), slot2(0x95, 0, 0)]);
        assert!(!code.listing.contains("taken back"), "{}", code.listing);
    }

    #[test]
    fn what_is_never_reached_is_left_out() {
        let mut asm = Assembler::new();
        let out = asm.label();
        asm.mov(Reg::R0, 2);
        asm.jump(out);
        asm.mov(Reg::R0, 3);
        asm.place(out);
        asm.push(Insn::Exit);
        assert_eq!(asm.finish().unwrap().slots, [slot2(0xb7, 0, 2), slot2(0x95, 0, 0)]);
    }

    #[test]
    fn jumps_to_jumps_go_where_those_go() {
        let mut asm = Assembler::new();
        let (first, second) = (asm.label(), asm.label());
        asm.branch(Cond::Eq, Reg::R1, 0, first);
        asm.mov(Reg::R0, 1);
        asm.push(Insn::Exit);
        asm.place(first);
        asm.jump(second);
        asm.mov(Reg::R0, 3);
        asm.place(second);
        asm.mov(Reg::R0, 2);
        asm.push(Insn::Exit);
        let slots = asm.finish().unwrap().slots;
        assert_eq!(slots.len(), 5, "neither the jump nor what it skips is left");
        assert_eq!(slots[0][2], 2);
    }

    fn slot2(code: u8, dst: u8, imm: i32) -> [u8; 8] {
        let [a, b, c, d] = imm.to_le_bytes();
        [code, dst, 0, 0, a, b, c, d]
    }

    #[test]
    fn functions_are_counted_from_the_second_slot() {
        let mut asm = Assembler::new();
        let function = asm.label();
        asm.push(Insn::LoadFn { dst: Reg::R2, function });
        asm.push(Insn::Exit);
        asm.place(function);
        asm.mov(Reg::R0, 0);
        asm.push(Insn::Exit);
        let code = asm.finish().unwrap();
        // The kernel takes the callee at `slot + imm + 1`.
        assert_eq!(code.slots[0][4], 2);
        assert_eq!(code.slots[0][1], 4 << 4 | 2);
    }

    #[test]
    fn constants_take_as_few_slots_as_they_can() {
        let sizes = [(0, 1), (u64::MAX, 1), (0x8000_0000, 1), (1 << 32, 2), (1 << 63, 2)];
        for (value, slots) in sizes {
            let mut asm = Assembler::new();
            asm.constant(Reg::R1, value);
            asm.push(Insn::Exit);
            assert_eq!(asm.finish().unwrap().slots.len(), slots + 1, "{value:#x}");
        }
    }

    #[test]
    fn the_part_of_a_cpu_is_left_to_the_loader() {
        let mut asm = Assembler::new();
        asm.call(Helper::CpuNumber);
        asm.push(Insn::PartOfCpu { dst: Reg::R0, bytes: 0 });
        asm.set_part_bytes(256);
        asm.push(Insn::Exit);
        asm.optimize(0);
        let code = asm.finish().unwrap();
        let and = [0x54, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(code.slots[1..], [and, slot2(0x27, 0, 256), slot2(0x95, 0, 0)]);
        assert_eq!(code.relocations, [Relocation { slot: 1, target: Target::Parts }]);
    }

    #[test]
    fn faults_are_named() {
        let mut asm = Assembler::new();
        let nowhere = asm.label();
        asm.branch(Cond::Ne, Reg::R1, 0, nowhere);
        asm.push(Insn::Exit);
        assert_eq!(asm.finish(), Err(AsmError::Unplaced { at: 0 }));
        let mut asm = Assembler::new();
        let far = asm.label();
        asm.branch(Cond::Ne, Reg::R1, 0, far);
        (0..40_000).for_each(|_| asm.mov(Reg::R0, 0));
        asm.place(far);
        asm.push(Insn::Exit);
        assert_eq!(asm.finish(), Err(AsmError::TooFar { at: 0, distance: 40_000 }));
    }

    #[test]
    fn encodings_are_those_of_the_instruction_set() {
        use crate::asm::insn::slot;
        let cases = [
            (
                Insn::Alu { wide: true, op: AluOp::Add, dst: Reg::R1, src: Reg::R2.into() },
                slot(0x0f, 1, 2, 0, 0),
            ),
            (
                Insn::Alu { wide: false, op: AluOp::And, dst: Reg::R3, src: 255.into() },
                slot(0x54, 3, 0, 0, 255),
            ),
            (Insn::Swap { to: Endian::Be16, dst: Reg::R4 }, slot(0xdc, 4, 0, 0, 16)),
            (
                Insn::Load { size: Size::Dw, dst: Reg::R0, base: Reg::R10, off: -8 },
                slot(0x79, 0, 10, -8, 0),
            ),
            (
                Insn::Load { size: Size::B, dst: Reg::R0, base: Reg::R1, off: 9 },
                slot(0x71, 0, 1, 9, 0),
            ),
            (
                Insn::Store { size: Size::W, base: Reg::R10, off: -4, src: Reg::R5.into() },
                slot(0x63, 10, 5, -4, 0),
            ),
            (
                Insn::Store { size: Size::H, base: Reg::R10, off: -2, src: 7.into() },
                slot(0x6a, 10, 0, -2, 7),
            ),
            (Insn::Call(Helper::Loop), slot(0x85, 0, 0, 0, 181)),
            (Insn::AtomicAdd { base: Reg::R9, off: 8, src: Reg::R1 }, slot(0xdb, 9, 1, 8, 0)),
            (Insn::Neg { dst: Reg::R2 }, slot(0x87, 2, 0, 0, 0)),
        ];
        for (insn, expected) in cases {
            let mut out = Vec::new();
            insn.encode(0, &mut out).unwrap();
            assert_eq!(out, [expected], "{insn:?}");
        }
    }
}
