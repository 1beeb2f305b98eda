//! The order of blocks: the way that most packets take is a row, and what few come to is behind all else.
//!
//! The generator says of labels what it knows ([`Assembler::mostly`], [`Assembler::seldom`]). A row begins where the program does, and goes on from block to
//! block: to the one that is likelier, of two alike to the one that stood behind. It ends where all that could follow is placed, or few packets come. Then
//! the next row begins, at the first block in the order of the generator that has no place yet. So a jump that is taken costs packets off the usual way
//! alone, and the usual way is read from memory once, from its beginning to its end.

use super::assembler::{Assembler, Grade};
use super::flow::Flow;
use super::insn::{Insn, Operand};
use super::{Cond, Label, Reg};

/// Most slots of a main program that is put in order: any jump within so many reaches, wherever its ends come to lie.
const SLOTS_MAX: usize = i16::MAX as usize;

/// How code goes on behind a block.
#[derive(Clone, Copy)]
enum End {
    /// It returns.
    Exit,
    /// At one other block: by a jump to a label, or because it is behind.
    Goes { next: usize, label: Option<Label> },
    /// At one of two.
    Chooses { cond: Cond, dst: Reg, src: Operand, taken: usize, label: Label, other: usize },
}

/// The blocks of the main program.
struct Blocks<'a> {
    asm: &'a Assembler,
    ends: Vec<End>,
    /// By block: a packet comes there by jumps alone that are not seldom.
    is_usual: Vec<bool>,
}

impl<'a> Blocks<'a> {
    /// Nothing where the last block does not end as one has to.
    fn new(asm: &'a Assembler, flow: &Flow) -> Option<Self> {
        let count = flow.starts.iter().position(|start| *start >= flow.functions)?;
        let block = |label: Label| {
            let at = asm.labels[label.0 as usize]?;
            flow.starts.binary_search(&at).ok().filter(|block| *block < count)
        };
        let mut ends = Vec::with_capacity(count);
        for this in 0..count {
            let last = asm.insns[flow.insns(this)].last()?;
            let behind = Some(this + 1).filter(|next| *next < count);
            ends.push(match *last {
                Insn::Exit => End::Exit,
                Insn::Jump { to } => End::Goes { next: block(to)?, label: Some(to) },
                Insn::Branch { cond, dst, src, to } => {
                    End::Chooses { cond, dst, src, taken: block(to)?, label: to, other: behind? }
                }
                _ => End::Goes { next: behind?, label: None },
            });
        }
        let mut blocks = Self { asm, ends, is_usual: vec![false; count] };
        let mut pending = vec![0];
        while let Some(this) = pending.pop() {
            if !std::mem::replace(&mut blocks.is_usual[this], true) {
                pending.extend(blocks.usual(this));
            }
        }
        Some(blocks)
    }

    /// The blocks behind one that packets do not come to seldom, the likeliest first.
    fn usual(&self, this: usize) -> Vec<usize> {
        match self.ends[this] {
            End::Exit => Vec::new(),
            End::Goes { next, label } => match label.map(|label| self.asm.grade(label)) {
                Some(Grade::Seldom) => Vec::new(),
                _ => vec![next],
            },
            End::Chooses { taken, label, other, .. } => match self.asm.grade(label) {
                Grade::Seldom => vec![other],
                Grade::Alike => vec![other, taken],
                Grade::Mostly => vec![taken, other],
            },
        }
    }

    /// The block that stands behind one in its row.
    fn follower(&self, this: usize, is_placed: &[bool]) -> Option<usize> {
        let next = match self.is_usual[this] {
            true => self.usual(this),
            // The order is that of the generator.
            false => match self.ends[this] {
                End::Exit => Vec::new(),
                End::Goes { next, .. } => vec![next],
                End::Chooses { taken, other, .. } => vec![other, taken],
            },
        };
        next.into_iter()
            .find(|next| !is_placed[*next] && self.is_usual[*next] == self.is_usual[this])
    }

    /// All blocks in rows, those that packets come to seldom last.
    fn rows(&self) -> Vec<Vec<usize>> {
        let count = self.ends.len();
        let (mut rows, mut is_placed) = (Vec::new(), vec![false; count]);
        for is_usual in [true, false] {
            for first in 0..count {
                let mut row = Vec::new();
                let mut next = Some(first)
                    .filter(|first| self.is_usual[*first] == is_usual && !is_placed[*first]);
                while let Some(this) = next {
                    is_placed[this] = true;
                    row.push(this);
                    next = self.follower(this, &is_placed);
                }
                rows.extend(Some(row).filter(|row| !row.is_empty()));
            }
        }
        rows
    }
}

/// The rows of blocks that packets come to usually; none where blocks stay as they are.
pub(super) fn usual_rows(asm: &Assembler, flow: &Flow) -> Vec<Vec<usize>> {
    let Some(blocks) = Blocks::new(asm, flow) else { return Vec::new() };
    let mut rows = blocks.rows();
    rows.retain(|row| blocks.is_usual[row[0]]);
    rows
}

impl Assembler {
    /// Puts the blocks of the main program in order. Functions that are called back stay as they are.
    pub(super) fn lay_out(&mut self) {
        let flow = Flow::new(self);
        let slots: usize = self.insns[..flow.functions].iter().map(Insn::slots).sum();
        let Some(blocks) = Blocks::new(self, &flow) else { return };
        // A jump may be added for each.
        if slots + blocks.ends.len() > SLOTS_MAX {
            return;
        }
        let order = blocks.rows().concat();
        let ends = blocks.ends;
        let mut insns = Vec::with_capacity(self.insns.len());
        // By old index: the new one. What goes stands for what is behind it.
        let mut moved = vec![0; self.insns.len() + 1];
        // Labels of blocks that something has to jump to which fell into them.
        let mut heads: Vec<Option<Label>> = vec![None; ends.len()];
        for (at, this) in order.iter().enumerate() {
            let range = flow.insns(*this);
            let mut head = |block: usize| {
                *heads[block].get_or_insert_with(|| {
                    self.labels.push(Some(flow.starts[block]));
                    Label(self.labels.len() as u32 - 1)
                })
            };
            let is_next = |block: usize| order.get(at + 1) == Some(&block);
            for index in range.clone() {
                moved[index] = insns.len();
                insns.push(self.insns[index]);
            }
            match ends[*this] {
                End::Goes { next, label } => match (is_next(next), label) {
                    (true, None) | (false, Some(_)) => {}
                    (true, Some(_)) => insns.truncate(insns.len() - 1),
                    (false, None) => insns.push(Insn::Jump { to: head(next) }),
                },
                End::Chooses { other, .. } if is_next(other) => {}
                End::Chooses { cond, dst, src, taken, other, .. } => {
                    if is_next(taken) {
                        insns.pop();
                        insns.push(Insn::Branch {
                            cond: cond.negated(),
                            dst,
                            src,
                            to: head(other),
                        });
                    } else {
                        insns.push(Insn::Jump { to: head(other) });
                    }
                }
                End::Exit => {}
            }
        }
        for (index, insn) in self.insns.iter().enumerate().skip(flow.functions) {
            moved[index] = insns.len();
            insns.push(*insn);
        }
        moved[self.insns.len()] = insns.len();
        for place in self.labels.iter_mut().flatten() {
            *place = moved[*place];
        }
        self.comments.iter_mut().for_each(|comment| comment.at = moved[comment.at]);
        self.comments.sort_by_key(|comment| comment.at);
        self.insns = insns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{AluOp, Helper, Size};

    /// The listing once blocks are in order, without numbers of instructions and spaces.
    fn listing(emit: impl FnOnce(&mut Assembler)) -> String {
        let mut asm = Assembler::new();
        emit(&mut asm);
        asm.lay_out();
        asm.finish().unwrap().listing.trim_end().to_owned()
    }

    fn leave(asm: &mut Assembler, action: i32) {
        asm.mov(Reg::R0, action);
        asm.push(Insn::Exit);
    }

    #[test]
    fn what_is_seldom_stands_behind_all_else() {
        let text = listing(|asm| {
            let (fits, long) = (asm.label(), asm.seldom());
            asm.branch(Cond::Gt, Reg::R1, 16_382, long);
            asm.jump(fits);
            asm.place(long);
            asm.comment("too long");
            asm.mov(Reg::R2, 1);
            asm.place(fits);
            asm.comment("fits");
            leave(asm, 2);
        });
        let expected = "    0: if r1 > 16382 goto 3
; fits
    1: r0 = 2
    2: exit
; too long
    3: r2 = 1
    4: goto 1";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_likelier_way_falls_through_and_its_comparison_is_turned() {
        let choice = |is_likely: bool| {
            listing(|asm| {
                let ipv4 = if is_likely { asm.mostly() } else { asm.label() };
                asm.branch(Cond::Eq, Reg::R1, 8, ipv4);
                leave(asm, 1);
                asm.place(ipv4);
                leave(asm, 2);
            })
        };
        let turned = "    0: if r1 != 8 goto 3
    1: r0 = 2
    2: exit
    3: r0 = 1
    4: exit";
        assert_eq!(choice(true), turned);
        assert!(
            choice(false).starts_with("    0: if r1 == 8 goto 3\n    1: r0 = 1"),
            "{}",
            choice(false)
        );
    }

    #[test]
    fn a_row_takes_along_what_it_jumps_to() {
        // The code of a path's end stands behind the program, and goes back to where all leave.
        let text = listing(|asm| {
            let (own, out) = (asm.mostly(), asm.label());
            asm.branch(Cond::Le, Reg::R1, Reg::R7, own);
            asm.mov(Reg::R3, 3);
            asm.place(out);
            leave(asm, 2);
            asm.place(own);
            asm.mov(Reg::R4, 4);
            asm.jump(out);
        });
        let expected = "    0: if r1 > r7 goto 4
    1: r4 = 4
    2: r0 = 2
    3: exit
    4: r3 = 3
    5: goto 2";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_only_seldom_packets_come_to_is_as_seldom() {
        let text = listing(|asm| {
            let (far, deep, end) = (asm.seldom(), asm.label(), asm.label());
            asm.branch(Cond::Gt, Reg::R1, 1, far);
            asm.jump(end);
            asm.place(far);
            asm.branch(Cond::Gt, Reg::R1, 2, deep);
            asm.mov(Reg::R2, 1);
            asm.jump(end);
            asm.place(deep);
            asm.mov(Reg::R2, 2);
            asm.place(end);
            leave(asm, 2);
        });
        assert!(
            text.starts_with("    0: if r1 > 1 goto 3\n    1: r0 = 2\n    2: exit\n"),
            "{text}"
        );
    }

    #[test]
    fn functions_stay_behind_the_program() {
        let mut asm = Assembler::new();
        let (function, far, out) = (asm.label(), asm.seldom(), asm.label());
        asm.branch(Cond::Gt, Reg::R1, 1, far);
        asm.jump(out);
        asm.place(far);
        asm.push(Insn::LoadFn { dst: Reg::R2, function });
        asm.call(Helper::Loop);
        asm.place(out);
        leave(&mut asm, 2);
        asm.function("step", function);
        asm.load(Size::Dw, Reg::R0, Reg::R2, 0);
        asm.alu(AluOp::And, Reg::R0, 1);
        asm.push(Insn::Exit);
        asm.lay_out();
        let code = asm.finish().unwrap();
        assert_eq!(code.functions.len(), 1);
        assert_eq!(code.functions[0].slot, code.slots.len() - 3, "{}", code.listing);
        assert!(code.listing.contains("goto 1\n"), "{}", code.listing);
    }

    #[test]
    fn all_ways_of_a_program_do_what_they_did() {
        // Every word of three tests, each of which adds its number: followed as a machine would.
        for grades in 0..27u32 {
            let mut asm = Assembler::new();
            for test in 0..3u32 {
                let (skip, end) = (asm.label(), asm.label());
                let to = match grades / 3u32.pow(test) % 3 {
                    0 => asm.label(),
                    1 => asm.seldom(),
                    _ => asm.mostly(),
                };
                asm.branch(Cond::Eq, Reg::R1, test as i32, to);
                asm.jump(skip);
                asm.place(to);
                asm.alu(AluOp::Add, Reg::R0, 1 << test);
                asm.jump(end);
                asm.place(skip);
                asm.alu(AluOp::Add, Reg::R0, 16 << test);
                asm.place(end);
            }
            asm.push(Insn::Exit);
            asm.lay_out();
            for word in 0..4u64 {
                let expected: u64 = (0..3).map(|t| if word == t { 1 << t } else { 16 << t }).sum();
                assert_eq!(result(&asm, word), expected, "{grades} {word}");
            }
        }
    }

    /// R0 of a program that adds to it and compares R1.
    fn result(asm: &Assembler, word: u64) -> u64 {
        let (mut at, mut sum) = (0, 0);
        loop {
            match asm.insns[at] {
                Insn::Alu { src: Operand::Imm(by), .. } => sum += by as u64,
                Insn::Branch { cond, src: Operand::Imm(imm), to, .. }
                    if cond.holds(word, imm as u64) =>
                {
                    at = asm.labels[to.0 as usize].unwrap();
                    continue;
                }
                Insn::Jump { to } => {
                    at = asm.labels[to.0 as usize].unwrap();
                    continue;
                }
                Insn::Exit => return sum,
                _ => {}
            }
            at += 1;
        }
    }
}
