//! The one group of a query without keys. It lies in the frame, which the program has already found: a table would be looked up for it.
//!
//! There are two, of which one is filled ([`TotalsLayout`]). User space cannot empty its part of a frame in which is counted meanwhile, so the
//! program begins a group anew itself when it was last filled in another turn than the one at hand.

use wt_plan::ir::AggKind;

use super::emit::{Emitter, FRAME, S, Unportable};
use super::query::Arg;
use super::spec::{StateLayout, TotalsLayout, control_words};
use crate::asm::{AluOp, Cond, Label, Reg, Size};

impl Emitter {
    /// Takes the tuple whose operands are in scratch words, the last of them in `S[0]` too.
    pub(super) fn total(
        &mut self,
        totals: &TotalsLayout,
        args: &[Option<Arg>],
        next: Label,
    ) -> Result<(), Unportable> {
        self.asm.comment("the one group");
        let (turn, entry, word, via, last) = (S[0], S[1], S[2], S[3], S[5]);
        let (newest, anew) = (args.iter().rposition(Option::is_some), self.asm.seldom());
        if newest.is_some() {
            self.asm.mov(last, S[0]);
        }
        // The register that a state's operand is in.
        let operand = |e: &mut Self, number: usize| {
            let is_counted = totals.states[number].kind == AggKind::Count;
            let at = args[number].filter(|_| !is_counted)?;
            if newest == Some(number) {
                return Some(last);
            }
            e.load_arg(via, at);
            Some(via)
        };
        let at = |word: u32| 8 * (totals.first + word) as i16;
        self.load_control(turn, control_words::TURN);
        self.entry(totals, turn, entry);
        self.asm.load(Size::Dw, word, entry, at(TotalsLayout::TURN));
        self.asm.branch(Cond::Ne, word, turn, anew);
        self.asm.load(Size::Dw, word, entry, at(TotalsLayout::TUPLES));
        self.asm.alu(AluOp::Add, word, 1);
        self.asm.store(Size::Dw, entry, at(TotalsLayout::TUPLES), word);
        let of_entry = |state: &StateLayout| at(TotalsLayout::TUPLES + state.word);
        for (number, state) in totals.states.iter().enumerate() {
            if let Some(operand) = operand(self, number) {
                self.fold(state, operand, (entry, of_entry(state)), word);
            }
        }
        self.asm.jump(next);
        self.asm.place(anew);
        self.asm.comment("the first of its turn");
        if self.is_stamped() {
            // What reads the clock keeps none of these registers. That of the header is left to the queries that follow.
            let kept = self.take(2)?;
            self.store_scratch(kept, turn);
            if newest.is_some() {
                self.store_scratch(kept + 8, last);
            }
            self.stamp();
            if newest.is_some() {
                self.load_scratch(last, kept + 8);
            }
            self.load_scratch(turn, kept);
            self.entry(totals, turn, entry);
        }
        self.asm.store(Size::Dw, entry, at(TotalsLayout::TUPLES), 1);
        self.load_ordinal(word);
        self.asm.store(Size::Dw, entry, at(TotalsLayout::ORDINAL), word);
        for (number, state) in totals.states.iter().enumerate() {
            if let Some(operand) = operand(self, number) {
                self.asm.store(Size::Dw, entry, of_entry(state), operand);
            }
        }
        // Behind all else: who reads the frame meanwhile sees a group of this turn whole.
        self.asm.store(Size::Dw, entry, at(TotalsLayout::TURN), turn);
        self.asm.jump(next);
        Ok(())
    }

    /// The group of a turn, as its displacement from the first added to the frame.
    fn entry(&mut self, totals: &TotalsLayout, turn: Reg, entry: Reg) {
        self.asm.mov(entry, turn);
        self.asm.alu(AluOp::And, entry, 1);
        self.asm.alu(AluOp::Mul, entry, 8 * totals.stride() as i32);
        self.asm.alu(AluOp::Add, entry, FRAME);
    }
}
