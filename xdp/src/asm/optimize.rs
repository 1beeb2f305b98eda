//! Instructions made fewer and cheaper, once all are there.
//!
//! What this relies on, and the generator keeps to:
//! - [`FRAME`] is the same address from its first use on, and [`STACK`] always; functions that are called back have a stack of their own;
//! - words of the frame behind the limit that is given are reached by [`FRAME`] and a displacement alone, in 2, 4 or 8 bytes, and those of the stack
//!   by [`STACK`]; helpers write neither, but where they are given packets to copy. Functions that are called back may read and write all of them, user
//!   space reads none.

use super::assembler::Grade;
use super::insn::{Insn, Reg};
use super::{Assembler, dead, forward, sink};

/// Address of the frame.
pub(super) const FRAME: Reg = Reg::R8;
/// Address behind the stack.
pub(super) const STACK: Reg = Reg::R10;

/// Each round finds what the one before has uncovered; there is little after two.
const ROUNDS_MAX: usize = 4;

impl Assembler {
    /// A branch over a jump becomes a branch to where the jump goes, but where that would forget how many take it.
    fn invert(&mut self) {
        let mut is_target = vec![false; self.insns.len() + 1];
        self.labels.iter().flatten().for_each(|at| is_target[*at] = true);
        let mut keep = vec![true; self.insns.len()];
        for index in 1..self.insns.len() {
            let (Insn::Branch { cond, dst, src, to: over }, Insn::Jump { to }) =
                (self.insns[index - 1], self.insns[index])
            else {
                continue;
            };
            let is_graded = self.grade(over) != Grade::Alike;
            if self.labels[over.0 as usize] == Some(index + 1) && !is_target[index] && !is_graded {
                self.insns[index - 1] = Insn::Branch { cond: cond.negated(), dst, src, to };
                keep[index] = false;
            }
        }
        self.retain(&keep);
    }

    /// Makes instructions fewer, then puts them in the order of most packets. The frame from byte `private` on is read by the program alone.
    pub fn optimize(&mut self, private: i16) {
        self.make_fewer(private);
        if sink::run(self, private) {
            self.make_fewer(private);
        }
        self.tidy();
        self.lay_out();
    }

    fn make_fewer(&mut self, private: i16) {
        for _ in 0..ROUNDS_MAX {
            let before = self.insns.clone();
            self.tidy();
            let keep = forward::run(self, private);
            self.retain(&keep);
            let keep = dead::run(self, private);
            self.retain(&keep);
            self.invert();
            if self.insns == before {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{AluOp, Cond, Helper, MapId, Operand, Size};

    /// First byte of the frame that is the program's own.
    const OWN: i16 = 64;

    /// What is left of instructions.
    fn left(emit: impl FnOnce(&mut Assembler)) -> Vec<Insn> {
        let mut asm = Assembler::new();
        emit(&mut asm);
        asm.optimize(OWN);
        asm.insns
    }

    fn is_store(insn: &Insn) -> bool {
        matches!(insn, Insn::Store { .. })
    }

    fn load(dst: Reg, off: i16) -> Insn {
        Insn::Load { size: Size::Dw, dst, base: FRAME, off }
    }

    #[test]
    fn what_was_just_stored_is_not_loaded_again() {
        let insns = left(|asm| {
            asm.load(Size::Dw, Reg::R1, FRAME, 0);
            asm.store(Size::Dw, FRAME, OWN, Reg::R1);
            asm.load(Size::Dw, Reg::R0, FRAME, OWN);
            asm.push(Insn::Exit);
        });
        let copy = Insn::Alu { wide: true, op: AluOp::Mov, dst: Reg::R0, src: Reg::R1.into() };
        assert_eq!(insns, [load(Reg::R1, 0), copy, Insn::Exit]);
    }

    #[test]
    fn what_others_read_is_stored() {
        let insns = left(|asm| {
            asm.store(Size::Dw, FRAME, OWN - 8, 1);
            asm.store(Size::Dw, FRAME, OWN, 1);
            asm.mov(Reg::R0, 2);
            asm.push(Insn::Exit);
        });
        assert_eq!(insns.iter().filter(|insn| is_store(insn)).count(), 1);
    }

    #[test]
    fn a_store_into_a_part_of_a_word_is_seen() {
        let insns = left(|asm| {
            asm.load(Size::Dw, Reg::R1, FRAME, 0);
            asm.store(Size::Dw, FRAME, OWN, Reg::R1);
            asm.store(Size::H, FRAME, OWN + 2, 7);
            asm.load(Size::Dw, Reg::R0, FRAME, OWN);
            asm.push(Insn::Exit);
        });
        assert!(insns.contains(&load(Reg::R0, OWN)), "{insns:?}");
        assert_eq!(insns.iter().filter(|insn| is_store(insn)).count(), 2);
    }

    #[test]
    fn a_value_cut_by_its_store_is_another() {
        let insns = left(|asm| {
            asm.load(Size::Dw, Reg::R1, FRAME, 0);
            asm.store(Size::H, FRAME, OWN, Reg::R1);
            asm.load(Size::H, Reg::R0, FRAME, OWN);
            asm.push(Insn::Exit);
        });
        let cut = Insn::Load { size: Size::H, dst: Reg::R0, base: FRAME, off: OWN };
        assert!(insns.contains(&cut), "{insns:?}");
    }

    #[test]
    fn where_paths_meet_only_what_both_say_is_known() {
        for (other, is_kept) in [(1, false), (2, true)] {
            let insns = left(|asm| {
                let (left, end) = (asm.label(), asm.label());
                asm.load(Size::Dw, Reg::R1, FRAME, 0);
                asm.branch(Cond::Eq, Reg::R1, 0, left);
                asm.mov(Reg::R2, 1);
                asm.store(Size::Dw, FRAME, OWN, Reg::R2);
                asm.jump(end);
                asm.place(left);
                asm.mov(Reg::R2, other);
                asm.store(Size::Dw, FRAME, OWN, Reg::R2);
                asm.place(end);
                asm.mov(Reg::R3, Reg::R2);
                asm.mov(Reg::R2, 5);
                asm.store(Size::Dw, FRAME, 8, Reg::R3);
                asm.load(Size::Dw, Reg::R0, FRAME, OWN);
                asm.push(Insn::Exit);
            });
            let is_one =
                |insn: &Insn| matches!(insn, Insn::Store { off: 8, src: Operand::Imm(1), .. });
            assert_eq!(insns.iter().any(is_one), !is_kept, "{insns:?}");
            assert_eq!(insns.contains(&load(Reg::R0, OWN)), is_kept, "{insns:?}");
        }
    }

    #[test]
    fn a_mask_stays_where_memory_has_forgotten_the_bound() {
        let masks = |through_memory: bool| {
            let insns = left(|asm| {
                asm.load(Size::B, Reg::R1, Reg::R6, 14);
                asm.alu(AluOp::And, Reg::R1, 15);
                asm.store(Size::Dw, FRAME, OWN, Reg::R1);
                if through_memory {
                    asm.load(Size::Dw, Reg::R1, Reg::R6, 16);
                    asm.store(Size::Dw, FRAME, 0, Reg::R1);
                }
                asm.load(Size::Dw, Reg::R0, FRAME, OWN);
                asm.alu(AluOp::And, Reg::R0, 0x3fff);
                asm.alu(AluOp::Add, Reg::R0, Reg::R6);
                asm.push(Insn::Exit);
            });
            insns.iter().filter(|i| matches!(i, Insn::Alu { op: AluOp::And, .. })).count()
        };
        assert_eq!(masks(false), 1);
        assert_eq!(masks(true), 2);
    }

    #[test]
    fn comparisons_that_cannot_hold_go_and_powers_of_two_are_shifts() {
        let insns = left(|asm| {
            let far = asm.label();
            asm.load(Size::B, Reg::R0, Reg::R6, 14);
            asm.alu(AluOp::And, Reg::R0, 15);
            asm.mov(Reg::R1, 4);
            asm.alu(AluOp::Mul, Reg::R0, Reg::R1);
            asm.branch(Cond::Gt, Reg::R0, 16_383, far);
            asm.push(Insn::Exit);
            asm.place(far);
            asm.mov(Reg::R0, 1);
            asm.push(Insn::Exit);
        });
        let shift = Insn::Alu { wide: true, op: AluOp::Lsh, dst: Reg::R0, src: 2.into() };
        assert_eq!(insns[2..], [shift, Insn::Exit]);
    }

    #[test]
    fn nothing_is_left_of_a_division_by_one() {
        let insns = left(|asm| {
            asm.load(Size::B, Reg::R0, Reg::R6, 14);
            asm.alu(AluOp::And, Reg::R0, 1);
            asm.mov(Reg::R1, 1);
            asm.alu(AluOp::Mod, Reg::R0, Reg::R1);
            asm.push(Insn::Exit);
        });
        let zero = Insn::Alu { wide: true, op: AluOp::Mov, dst: Reg::R0, src: 0.into() };
        assert_eq!(insns, [zero, Insn::Exit]);
    }

    #[test]
    fn a_shift_too_far_for_an_operand_stays_in_a_register() {
        let insns = left(|asm| {
            asm.load(Size::Dw, Reg::R0, FRAME, 0);
            asm.mov(Reg::R1, 64);
            asm.alu(AluOp::Lsh, Reg::R0, Reg::R1);
            asm.mov(Reg::R2, 0);
            asm.alu(AluOp::Div, Reg::R0, Reg::R2);
            asm.push(Insn::Exit);
        });
        assert_eq!(insns.len(), 6, "{insns:?}");
    }

    #[test]
    fn an_address_that_is_there_is_not_loaded_again() {
        let address = |dst| Insn::LoadData { dst, map: MapId(1), offset: 0 };
        let insns = left(|asm| {
            asm.push(address(Reg::R5));
            asm.load(Size::Dw, Reg::R1, Reg::R5, 0);
            asm.push(address(Reg::R5));
            asm.load(Size::Dw, Reg::R2, Reg::R5, 8);
            asm.store(Size::Dw, FRAME, 0, Reg::R1);
            asm.store(Size::Dw, FRAME, 8, Reg::R2);
            asm.call(Helper::KtimeGetNs);
            asm.push(address(Reg::R5));
            asm.load(Size::Dw, Reg::R0, Reg::R5, 0);
            asm.push(Insn::Exit);
        });
        let count = insns.iter().filter(|insn| **insn == address(Reg::R5)).count();
        assert_eq!(count, 2, "calls keep none: {insns:?}");
    }

    #[test]
    fn calls_read_their_key_and_keep_no_register() {
        let insns = left(|asm| {
            asm.load(Size::Dw, Reg::R1, FRAME, 0);
            asm.store(Size::Dw, STACK, -16, Reg::R1);
            asm.store(Size::W, STACK, -8, Reg::R1);
            asm.mov(Reg::R2, STACK);
            asm.alu(AluOp::Add, Reg::R2, -8);
            asm.push(Insn::LoadMap { dst: Reg::R1, map: MapId(0) });
            asm.call(Helper::MapLookup);
            asm.load(Size::Dw, Reg::R0, FRAME, 0);
            asm.push(Insn::Exit);
        });
        let offsets: Vec<i16> = insns
            .iter()
            .filter_map(|insn| match insn {
                Insn::Store { off, .. } => Some(*off),
                _ => None,
            })
            .collect();
        assert_eq!(offsets, [-8], "the key, and not what nobody reads");
        assert!(insns.contains(&load(Reg::R0, 0)), "{insns:?}");
    }

    #[test]
    fn what_is_called_back_reads_and_writes_the_frame() {
        let insns = left(|asm| {
            let function = asm.label();
            asm.store(Size::Dw, FRAME, OWN, 1);
            asm.store(Size::Dw, FRAME, OWN + 8, 1);
            asm.mov(Reg::R1, 1);
            asm.push(Insn::LoadFn { dst: Reg::R2, function });
            asm.mov(Reg::R3, STACK);
            asm.mov(Reg::R4, 0);
            asm.call(Helper::Loop);
            asm.load(Size::Dw, Reg::R0, FRAME, OWN + 16);
            asm.push(Insn::Exit);
            asm.function("step", function);
            asm.load(Size::Dw, FRAME, Reg::R2, -8);
            asm.load(Size::Dw, Reg::R1, FRAME, OWN);
            asm.store(Size::Dw, FRAME, OWN + 16, Reg::R1);
            asm.store(Size::Dw, FRAME, OWN + 24, Reg::R1);
            asm.mov(Reg::R0, 1);
            asm.push(Insn::Exit);
        });
        let stores: Vec<i16> = insns
            .iter()
            .filter_map(|insn| match insn {
                Insn::Store { off, .. } => Some(*off),
                _ => None,
            })
            .collect();
        assert_eq!(stores, [OWN, OWN + 16]);
        assert!(insns.contains(&load(Reg::R0, OWN + 16)), "{insns:?}");
    }
}
