//! Stores moved off the usual way: what only packets that leave it read is stored where they leave.
//!
//! A row of blocks ([`super::layout`]) is followed from a store on. When nothing in the row reads what is stored, the store goes to each jump out of the row
//! behind which something does: between the jump and where it led.

use std::ops::Range;

use super::Label;
use super::assembler::{Assembler, Grade};
use super::dead::Reads;
use super::flow::Flow;
use super::insn::{Insn, Operand, Reg, Size};
use super::layout::usual_rows;

/// Most jumps out of a row that a store is written at.
const EXITS_MAX: usize = 24;

/// How packets leave a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// By the branch that is this instruction.
    Taken(usize),
    /// Past the branch before this instruction.
    Behind(usize),
}

struct Row<'a> {
    asm: &'a Assembler,
    flow: &'a Flow,
    reads: &'a Reads,
    blocks: &'a [usize],
}

impl Row<'_> {
    /// Where a store goes, that is this instruction in the block of this position; nothing when it stays.
    fn exits(&self, position: usize, index: usize) -> Option<Vec<Exit>> {
        let Insn::Store { size, base, off, src } = self.asm.insns[index] else { return None };
        // Single bytes are not followed.
        let cells = self.reads.cells(base, off, size).filter(|_| size != Size::B)?;
        let mut exits = Vec::new();
        // Whether its operand is still there.
        let mut is_held = true;
        for (position, block) in self.blocks.iter().enumerate().skip(position) {
            let range = self.flow.insns(*block);
            for insn in &self.asm.insns[range.start.max(index + 1)..range.end.max(index + 1)] {
                match self.step(insn, &cells) {
                    Step::Read => return None,
                    Step::Written => return Some(exits),
                    Step::On => {}
                }
                let changed = written(insn);
                if changed.contains(&base) {
                    return None;
                }
                is_held &= !matches!(src, Operand::Reg(src) if changed.contains(&src));
            }
            let next = self.blocks.get(position + 1);
            let last = range.end - 1;
            let goes = matches!(self.asm.insns[last], Insn::Branch { .. });
            for other in self.flow.next[*block].iter().filter(|other| Some(*other) != next) {
                if !self.reads.is_read(*other, &cells) {
                    continue;
                }
                // At the end of a row there is nobody who would be spared it.
                let is_spared = goes && next.is_some();
                if !is_held || !is_spared || exits.len() == EXITS_MAX {
                    return None;
                }
                exits.push(
                    match self.flow.starts[*other] == range.end && !self.is_target(last, *other) {
                        true => Exit::Behind(range.end),
                        false => Exit::Taken(last),
                    },
                );
            }
            let next = *next?;
            if self.flow.is_entry[next] || self.flow.before[next].len() > 1 {
                // Others come here, who have stored what they have.
                return Some(exits).filter(|_| !self.reads.is_read(next, &cells));
            }
        }
        None
    }

    /// Whether a branch goes to a block.
    fn is_target(&self, branch: usize, block: usize) -> bool {
        let to = self.asm.insns[branch].target();
        to.and_then(|to| self.asm.labels[to.0 as usize]) == Some(self.flow.starts[block])
    }

    fn step(&self, insn: &Insn, cells: &Range<usize>) -> Step {
        let touches = |base, off, size| {
            let other = self.reads.cells(base, off, size);
            other.filter(|other| other.start < cells.end && cells.start < other.end)
        };
        match *insn {
            Insn::Load { size, base, off, .. } if touches(base, off, size).is_some() => Step::Read,
            Insn::AtomicAdd { base, off, .. } if touches(base, off, Size::Dw).is_some() => {
                Step::Read
            }
            Insn::Store { size, base, off, .. } => match touches(base, off, size) {
                None => Step::On,
                Some(other)
                    if size != Size::B && other.start <= cells.start && other.end >= cells.end =>
                {
                    Step::Written
                }
                Some(_) => Step::Read,
            },
            Insn::Call(helper) if self.reads.is_given(helper, cells) => Step::Read,
            Insn::Exit => Step::Written,
            _ => Step::On,
        }
    }
}

/// What an instruction is to what was stored before.
enum Step {
    /// It needs it, or changes a part of it.
    Read,
    /// Nobody needs it any more.
    Written,
    On,
}

/// The registers that an instruction changes.
fn written(insn: &Insn) -> Vec<Reg> {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::Neg { dst }
        | Insn::Swap { dst, .. }
        | Insn::PartOfCpu { dst, .. }
        | Insn::LoadImm { dst, .. }
        | Insn::LoadMap { dst, .. }
        | Insn::LoadData { dst, .. }
        | Insn::LoadFn { dst, .. }
        | Insn::Load { dst, .. } => vec![dst],
        Insn::Call(_) => vec![Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5],
        Insn::Store { .. }
        | Insn::AtomicAdd { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::Exit => Vec::new(),
    }
}

/// Moves stores; whether there were any. The frame from byte `private` on is read by the program alone.
pub(super) fn run(asm: &mut Assembler, private: i16) -> bool {
    let flow = Flow::new(asm);
    let reads = Reads::new(asm, &flow, private);
    let mut keep = vec![true; asm.insns.len()];
    // By exit, in the order of the program: what is stored there.
    let mut moved: Vec<(Exit, Vec<Insn>)> = Vec::new();
    for blocks in usual_rows(asm, &flow) {
        let row = Row { asm, flow: &flow, reads: &reads, blocks: &blocks };
        for (position, block) in blocks.iter().enumerate() {
            for index in flow.insns(*block) {
                let Some(exits) = row.exits(position, index) else { continue };
                keep[index] = false;
                for exit in exits {
                    match moved.iter_mut().find(|(other, _)| *other == exit) {
                        Some((_, stores)) => stores.push(asm.insns[index]),
                        None => moved.push((exit, vec![asm.insns[index]])),
                    }
                }
            }
        }
    }
    if keep.iter().all(|kept| *kept) {
        return false;
    }
    write(asm, &flow, &keep, moved);
    true
}

/// Leaves instructions out, and writes stores where packets leave.
fn write(asm: &mut Assembler, flow: &Flow, keep: &[bool], moved: Vec<(Exit, Vec<Insn>)>) {
    // Code between a branch and where it led, once for all that store the same on the way to the same place.
    let mut between: Vec<(Label, Vec<Insn>, Label)> = Vec::new();
    let mut behind: Vec<(usize, Vec<Insn>)> = Vec::new();
    for (exit, stores) in moved {
        match exit {
            Exit::Behind(index) => behind.push((index, stores)),
            Exit::Taken(index) => {
                let Insn::Branch { to, .. } = &mut asm.insns[index] else { continue };
                let led = *to;
                let known =
                    between.iter().find(|(other, same, _)| *other == led && *same == stores);
                let label = known.map(|(_, _, label)| *label);
                let label = label.unwrap_or_else(|| {
                    let label = match asm.grade(led) {
                        Grade::Seldom => asm.seldom(),
                        Grade::Alike | Grade::Mostly => asm.label(),
                    };
                    between.push((led, stores, label));
                    label
                });
                if let Insn::Branch { to, .. } = &mut asm.insns[index] {
                    *to = label;
                }
            }
        }
    }
    let mut insns = Vec::with_capacity(asm.insns.len());
    // By old index: the new one.
    let mut places = Vec::with_capacity(asm.insns.len() + 1);
    let mut begun = Vec::new();
    let kept = asm.insns.iter().zip(keep).map(|(insn, is_kept)| is_kept.then_some(*insn));
    // Places are asked for behind the last one too.
    for (index, insn) in kept.chain([None]).enumerate() {
        if index == flow.functions {
            for (led, stores, label) in &between {
                begun.push((*label, insns.len()));
                insns.extend(stores);
                insns.push(Insn::Jump { to: *led });
            }
        }
        behind.iter().filter(|(at, _)| *at == index).for_each(|(_, stores)| insns.extend(stores));
        places.push(insns.len());
        insns.extend(insn);
    }
    for place in asm.labels.iter_mut().flatten() {
        *place = places[*place];
    }
    for (label, at) in begun {
        asm.labels[label.0 as usize] = Some(at);
    }
    asm.comments.iter_mut().for_each(|comment| comment.at = places[comment.at]);
    asm.insns = insns;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::Cond;
    use crate::asm::optimize::{FRAME, STACK};

    /// First byte of the frame that is the program's own.
    const OWN: i16 = 64;

    /// The listing once stores are moved and blocks in order.
    fn listing(emit: impl FnOnce(&mut Assembler)) -> String {
        let mut asm = Assembler::new();
        emit(&mut asm);
        run(&mut asm, OWN);
        asm.lay_out();
        asm.finish().unwrap().listing.trim_end().to_owned()
    }

    fn leave(asm: &mut Assembler) {
        asm.mov(Reg::R0, 2);
        asm.push(Insn::Exit);
    }

    #[test]
    fn what_is_read_off_the_way_is_stored_there() {
        let text = listing(|asm| {
            let far = asm.seldom();
            asm.store(Size::Dw, FRAME, OWN, Reg::R1);
            asm.branch(Cond::Gt, Reg::R2, Reg::R7, far);
            asm.branch(Cond::Gt, Reg::R3, Reg::R7, far);
            leave(asm);
            asm.place(far);
            asm.load(Size::Dw, Reg::R0, FRAME, OWN);
            asm.push(Insn::Exit);
        });
        let expected = "    0: if r2 > r7 goto 6
    1: if r3 > r7 goto 6
    2: r0 = 2
    3: exit
    4: r0 = *(u64 *)(r8 +64)
    5: exit
    6: *(u64 *)(r8 +64) = r1
    7: goto 4";
        assert_eq!(text, expected);
    }

    /// Whether the store before a branch off the way, of which `on` follows in the row, is still the first instruction.
    fn stays(on: impl FnOnce(&mut Assembler)) -> bool {
        let mut asm = Assembler::new();
        let far = asm.seldom();
        asm.store(Size::Dw, FRAME, OWN, Reg::R1);
        on(&mut asm);
        asm.branch(Cond::Gt, Reg::R2, Reg::R7, far);
        leave(&mut asm);
        asm.place(far);
        asm.load(Size::Dw, Reg::R0, FRAME, OWN);
        asm.push(Insn::Exit);
        run(&mut asm, OWN);
        matches!(asm.insns[0], Insn::Store { .. })
    }

    #[test]
    fn what_is_read_on_the_way_stays_and_so_does_what_cannot_be_stored_later() {
        assert!(!stays(|_| {}));
        assert!(stays(|asm| asm.load(Size::H, Reg::R3, FRAME, OWN + 2)));
        assert!(stays(|asm| asm.mov(Reg::R1, 5)), "its operand is another");
        assert!(!stays(|asm| asm.mov(Reg::R2, 5)));
        assert!(stays(|asm| asm.store(Size::H, FRAME, OWN, 5)), "a part of it is another");
        assert!(stays(|asm| asm.call(crate::asm::Helper::Loop)), "functions read the frame");
        assert!(stays(|asm| asm.call(crate::asm::Helper::KtimeGetNs)), "calls keep no operand");
    }

    #[test]
    fn what_was_written_again_is_not_stored_where_packets_leave_later() {
        let mut asm = Assembler::new();
        let (first, second) = (asm.seldom(), asm.seldom());
        asm.store(Size::Dw, STACK, -8, 1);
        asm.branch(Cond::Gt, Reg::R2, Reg::R7, first);
        asm.store(Size::Dw, STACK, -8, 2);
        asm.branch(Cond::Gt, Reg::R3, Reg::R7, second);
        leave(&mut asm);
        for label in [first, second] {
            asm.place(label);
            asm.load(Size::Dw, Reg::R0, STACK, -8);
            asm.push(Insn::Exit);
        }
        run(&mut asm, OWN);
        let stored = |branch: usize| {
            let Insn::Branch { to, .. } = asm.insns[branch] else { panic!("{:?}", asm.insns) };
            asm.insns[asm.labels[to.0 as usize].unwrap()]
        };
        let store =
            |value: i32| Insn::Store { size: Size::Dw, base: STACK, off: -8, src: value.into() };
        assert_eq!([stored(0), stored(1)], [store(1), store(2)]);
    }

    #[test]
    fn what_is_read_where_others_come_in_stays() {
        let insns = |is_read: bool| {
            let mut asm = Assembler::new();
            let (other, join) = (asm.seldom(), asm.label());
            asm.store(Size::Dw, FRAME, OWN, 1);
            asm.branch(Cond::Gt, Reg::R2, Reg::R7, other);
            asm.jump(join);
            asm.place(other);
            asm.load(Size::Dw, Reg::R1, FRAME, OWN);
            asm.store(Size::Dw, FRAME, 0, Reg::R1);
            asm.place(join);
            if is_read {
                asm.load(Size::Dw, Reg::R0, FRAME, OWN);
                asm.store(Size::Dw, FRAME, 8, Reg::R0);
            }
            leave(&mut asm);
            run(&mut asm, OWN);
            asm.insns
        };
        assert!(matches!(insns(true)[0], Insn::Store { .. }));
        assert!(matches!(insns(false)[0], Insn::Branch { .. }));
    }

    #[test]
    fn past_a_branch_it_is_stored_before_those_who_fall_through_alone() {
        let mut asm = Assembler::new();
        let (likely, other) = (asm.mostly(), asm.label());
        asm.branch(Cond::Eq, Reg::R5, 0, other);
        asm.store(Size::Dw, FRAME, OWN, 1);
        asm.branch(Cond::Eq, Reg::R2, 8, likely);
        asm.place(other);
        asm.load(Size::Dw, Reg::R0, FRAME, OWN);
        asm.push(Insn::Exit);
        asm.place(likely);
        leave(&mut asm);
        run(&mut asm, OWN);
        let at = asm.labels[other.0 as usize].unwrap();
        assert!(matches!(asm.insns[at], Insn::Load { .. }), "{:?}", asm.insns);
        assert!(matches!(asm.insns[at - 1], Insn::Store { .. }), "{:?}", asm.insns);
        assert!(matches!(asm.insns[at - 2], Insn::Branch { .. }), "{:?}", asm.insns);
    }
}
