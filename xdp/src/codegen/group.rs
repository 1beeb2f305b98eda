//! Groups in a direct-mapped table: windows, the slot, and what is done with the group that is there.

use wt_catalog::Type;
use wt_plan::ir::{AggKind, NodeId};

use super::emit::{CONTROL, Emitter, FRAME, HEADER, S, Unportable, stack, unportable};
use super::query::{Arg, record};
use super::scope::Scope;
use super::spec::{
    ENTRY_HEAD_WORDS, GroupLayout, QueryLayout, RECORD_HEAD_WORDS, StateLayout, USED_PARTS,
    WindowLayout, control_words, query_counters,
};
use crate::asm::{AluOp, Cond, Helper, Insn, Label, Reg, Size};

/// An odd number near 2^64 divided by the golden ratio: multiplication spreads what differs in low bits over high ones.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Largest tolerance of a signed window: the bound stays in 64 bits.
const SIGNED_TOLERANCE_MAX: u64 = 1 << 62;

/// Whether a type's words compare with sign.
pub(super) fn is_signed(ty: Type) -> bool {
    ty.is_signed()
}

/// The entry's words: tuples, ordinal.
const TUPLES: i16 = 0;
const ORDINAL: i16 = 8;

impl WindowLayout {
    /// The bound before anything is known: no value is behind it.
    pub(super) fn initial(&self) -> u64 {
        match (is_signed(self.ty), self.decreasing) {
            (false, false) => 0,
            (false, true) => u64::MAX,
            (true, false) => i64::MIN as u64,
            (true, true) => i64::MAX as u64,
        }
    }

    /// How a value compares with the bound that is behind it.
    fn behind(&self) -> Cond {
        match (is_signed(self.ty), self.decreasing) {
            (false, false) => Cond::Lt,
            (false, true) => Cond::Gt,
            (true, false) => Cond::Slt,
            (true, true) => Cond::Sgt,
        }
    }
}

impl Emitter {
    /// Advances a window's bound by the value in S[0].
    pub(super) fn advance(&mut self, window: &WindowLayout) -> Result<(), Unportable> {
        let (signed, tolerance) = (is_signed(window.ty), window.tolerance);
        let value = S[0];
        if tolerance > 0 {
            if !(window.ty.is_integer() || matches!(window.ty, Type::Time | Type::Duration)) {
                return unportable(format!("a window of type {} with a tolerance", window.ty));
            }
            if signed && tolerance > SIGNED_TOLERANCE_MAX {
                return unportable("a tolerance beyond 2^62");
            }
            self.retreat(window.decreasing, signed, tolerance);
        }
        let (bound, stays) = (S[1], self.asm.mostly());
        self.asm.load(Size::Dw, bound, FRAME, 8 * window.bound as i16);
        self.asm.branch(window.behind().or_equal(), value, bound, stays);
        self.set_bound(window, value);
        self.asm.place(stays);
        Ok(())
    }

    fn set_bound(&mut self, window: &WindowLayout, value: Reg) {
        self.asm.store(Size::Dw, FRAME, 8 * window.bound as i16, value);
        self.asm.store(Size::Dw, FRAME, 8 * window.known as i16, 1);
    }

    /// Judges and advances a window without tolerance by the value in S[0]. Most packets are in the newest window, which one comparison tells.
    fn judge_and_advance(&mut self, window: &WindowLayout, late: Label) {
        let (value, bound) = (S[0], S[1]);
        let (another, newest) = (self.asm.seldom(), self.asm.label());
        self.asm.load(Size::Dw, bound, FRAME, 8 * window.bound as i16);
        self.asm.branch(Cond::Ne, value, bound, another);
        self.asm.jump(newest);
        self.asm.place(another);
        self.asm.branch(window.behind(), value, bound, late);
        self.set_bound(window, value);
        self.asm.place(newest);
    }

    /// Moves S[0] back by a tolerance, held at the ends of 64 bits.
    fn retreat(&mut self, decreasing: bool, signed: bool, tolerance: u64) {
        let end = self.asm.label();
        let held = self.asm.label();
        // The last value that can be moved without leaving the range, and where the others are held.
        let (cond, last, hold) = match (signed, decreasing) {
            (false, false) => (Cond::Lt, tolerance, 0),
            (false, true) => (Cond::Gt, u64::MAX - tolerance, u64::MAX),
            (true, false) => (Cond::Slt, (i64::MIN + tolerance as i64) as u64, i64::MIN as u64),
            (true, true) => (Cond::Sgt, (i64::MAX - tolerance as i64) as u64, i64::MAX as u64),
        };
        let limit = self.operand(last, S[1]);
        self.asm.branch(cond, S[0], limit, held);
        let by = self.operand(tolerance, S[1]);
        self.asm.alu(if decreasing { AluOp::Add } else { AluOp::Sub }, S[0], by);
        self.asm.jump(end);
        self.asm.place(held);
        self.asm.constant(S[0], hold);
        self.asm.place(end);
    }

    /// Goes to `late` when the value in S[0] is behind the window's bound.
    fn judge(&mut self, window: &WindowLayout, late: Label) {
        self.asm.load(Size::Dw, S[1], FRAME, 8 * window.bound as i16);
        self.asm.branch(window.behind(), S[0], S[1], late);
    }

    /// Takes the tuple whose key is in the frame's row and whose operands are in scratch words.
    pub(super) fn group(
        &mut self,
        scope: &mut Scope<'_>,
        row: u32,
        keys: &[NodeId],
        args: &[Option<Arg>],
        (layout, groups): (&QueryLayout, &GroupLayout),
        next: Label,
    ) -> Result<(), Unportable> {
        let (late, lost) = (self.asm.seldom(), self.asm.seldom());
        if !groups.windows.is_empty() {
            self.asm.comment("the window");
        }
        match &groups.windows[..] {
            [window] if window.tolerance == 0 => {
                self.word(scope, keys[window.key as usize], 0)?;
                self.judge_and_advance(window, late);
            }
            windows => {
                for window in windows {
                    self.word(scope, keys[window.key as usize], 0)?;
                    self.judge(window, late);
                }
                for window in windows {
                    self.word(scope, keys[window.key as usize], 0)?;
                    self.advance(window)?;
                }
            }
        }
        self.slot(row, layout.column_words, groups, lost);
        let (insert, collide, done) = (self.asm.seldom(), self.asm.seldom(), self.asm.label());
        let entry = HEADER;
        let tuples = S[0];
        self.asm.load(Size::Dw, tuples, entry, TUPLES);
        self.asm.branch(Cond::Eq, tuples, 0, insert);
        self.same_key(row, layout.column_words, collide);
        self.asm.comment("one tuple more");
        self.asm.alu(AluOp::Add, tuples, 1);
        self.asm.store(Size::Dw, entry, TUPLES, tuples);
        for (state, arg) in groups.states.iter().zip(args) {
            if let (Some(arg), false) = (arg, state.kind == AggKind::Count) {
                self.load_arg(S[2], *arg);
                self.fold(state, S[2], (entry, 8 * state.word as i16), S[1]);
            }
        }
        self.asm.jump(done);

        self.asm.place(collide);
        self.eject(layout, groups);
        self.asm.place(insert);
        self.asm.comment("a new group");
        self.note_use(groups);
        self.asm.store(Size::Dw, entry, TUPLES, 1);
        if self.is_stamped() {
            self.stamp();
        }
        self.load_ordinal(S[1]);
        self.asm.store(Size::Dw, entry, ORDINAL, S[1]);
        for word in 0..layout.column_words {
            self.asm.load(Size::Dw, S[1], FRAME, 8 * (row + word) as i16);
            self.asm.store(Size::Dw, entry, key_at(word), S[1]);
        }
        for (state, arg) in groups.states.iter().zip(args) {
            if let (Some(arg), false) = (arg, state.kind == AggKind::Count) {
                self.load_arg(S[1], *arg);
                self.asm.store(Size::Dw, entry, 8 * state.word as i16, S[1]);
            }
        }
        self.asm.place(done);
        self.add_to_frame(FRAME, layout.counters + query_counters::MATCHED, 1, S[0]);
        self.asm.jump(next);
        for (label, counter) in [(late, query_counters::LATE), (lost, query_counters::LOST)] {
            self.asm.place(label);
            self.add_to_frame(FRAME, layout.counters + counter, 1, S[0]);
            self.asm.jump(next);
        }
        Ok(())
    }

    /// Goes to `other` unless the key in the frame's row is that of the group at [`HEADER`]. One branch for all of its words: processors take fewer
    /// branches at a time than other instructions.
    fn same_key(&mut self, row: u32, words: u32, other: Label) {
        let (differs, theirs, ours) = (S[1], S[2], S[4]);
        for word in 0..words {
            let to = if word == 0 { differs } else { theirs };
            self.asm.load(Size::Dw, to, HEADER, key_at(word));
            self.asm.load(Size::Dw, ours, FRAME, 8 * (row + word) as i16);
            if words == 1 {
                self.asm.branch(Cond::Ne, to, ours, other);
                return;
            }
            self.asm.alu(AluOp::Xor, to, ours);
            if word > 0 {
                self.asm.alu(AluOp::Or, differs, theirs);
            }
        }
        if words > 0 {
            self.asm.branch(Cond::Ne, differs, 0, other);
        }
    }

    /// The address of the slot that the key's hash names, in [`HEADER`]. The hash is the sum of the key's words, each times a secret of its own
    /// (Carter and Wegman, Universal classes of hash functions, 1979), with its bits mixed.
    fn slot(&mut self, row: u32, words: u32, groups: &GroupLayout, lost: Label) {
        self.asm.comment("the slot");
        let (hash, word, factor, control) = (S[0], S[1], S[2], CONTROL);
        if groups.slots > 1 {
            self.load_control_address(control);
            let secret = |i: u32| 8 * (self.secrets + i) as i16;
            for i in 0..words {
                let product = if i == 0 { hash } else { word };
                self.asm.load(Size::Dw, product, FRAME, 8 * (row + i) as i16);
                self.asm.load(Size::Dw, factor, control, secret(i));
                self.asm.alu(AluOp::Mul, product, factor);
                if i > 0 {
                    self.asm.alu(AluOp::Add, hash, word);
                }
            }
            // Keys in a row give sums at even distances, of which many may have the same high bits.
            self.asm.mov(word, hash);
            self.asm.alu(AluOp::Rsh, word, 32);
            self.asm.alu(AluOp::Xor, hash, word);
            self.asm.constant(factor, HASH_FACTOR);
            self.asm.alu(AluOp::Mul, hash, factor);
            let bits = groups.slots.trailing_zeros() as i32;
            self.asm.alu(AluOp::Rsh, hash, 64 - bits);
            self.asm.load(Size::Dw, word, control, 8 * control_words::TURN as i16);
            self.asm.alu(AluOp::And, word, 1);
            self.asm.alu(AluOp::Lsh, word, bits);
            self.asm.alu(AluOp::Add, hash, word);
        } else {
            self.load_control(hash, control_words::TURN);
            self.asm.alu(AluOp::And, hash, 1);
        }
        self.asm.store(Size::W, Reg::R10, stack::KEY, hash);
        self.asm.mov(Reg::R2, Reg::R10);
        self.asm.alu(AluOp::Add, Reg::R2, i32::from(stack::KEY));
        self.asm.push(Insn::LoadMap { dst: Reg::R1, map: groups.table });
        self.asm.call(Helper::MapLookup);
        self.asm.branch(Cond::Eq, Reg::R0, 0, lost);
        self.asm.mov(HEADER, Reg::R0);
    }

    /// Notes that a group has come to the slot whose number is the key of the lookup ([`GroupLayout::used`]).
    fn note_use(&mut self, groups: &GroupLayout) {
        let (at, part, bit, turn, known) = (S[0], S[1], S[2], S[3], S[4]);
        let words = [8 * groups.used as i16, 8 * (groups.used + 1) as i16];
        let bits = groups.slots.trailing_zeros() as i32;
        let part_bits = bits.min(USED_PARTS.trailing_zeros() as i32);
        self.asm.load(Size::W, at, Reg::R10, stack::KEY);
        self.asm.alu(AluOp::Rsh, at, bits - part_bits);
        self.asm.mov(part, at);
        self.asm.alu(AluOp::And, part, (1 << part_bits) - 1);
        self.asm.mov(bit, 1);
        self.asm.alu(AluOp::Lsh, bit, part);
        self.asm.alu(AluOp::Rsh, at, part_bits);
        self.asm.alu(AluOp::And, at, 1);
        // The next turn may have begun since the slot was chosen, but not the one behind it.
        self.load_control(turn, control_words::TURN);
        self.asm.mov(known, turn);
        self.asm.alu(AluOp::Xor, known, at);
        self.asm.alu(AluOp::And, known, 1);
        self.asm.alu(AluOp::Sub, turn, known);
        self.asm.alu(AluOp::Lsh, at, 4);
        self.asm.alu(AluOp::Add, at, FRAME);
        let same = self.asm.label();
        self.asm.load(Size::Dw, known, at, words[0]);
        self.asm.branch(Cond::Eq, known, turn, same);
        self.asm.store(Size::Dw, at, words[0], turn);
        self.asm.store(Size::Dw, at, words[1], 0);
        self.asm.place(same);
        self.asm.load(Size::Dw, known, at, words[1]);
        self.asm.alu(AluOp::Or, known, bit);
        self.asm.store(Size::Dw, at, words[1], known);
    }

    /// Takes an operand into a state, which lies at a register with a displacement; `old` is overwritten.
    pub(super) fn fold(&mut self, state: &StateLayout, new: Reg, (base, at): (Reg, i16), old: Reg) {
        self.asm.load(Size::Dw, old, base, at);
        let fold = match state.kind {
            AggKind::Count | AggKind::Sum => AluOp::Add,
            AggKind::BitAnd => AluOp::And,
            AggKind::BitOr => AluOp::Or,
            AggKind::BitXor => AluOp::Xor,
            AggKind::Min | AggKind::Max => {
                let stays = match (state.kind, is_signed(state.ty)) {
                    (AggKind::Min, false) => Cond::Ge,
                    (AggKind::Min, true) => Cond::Sge,
                    (_, false) => Cond::Le,
                    (_, true) => Cond::Sle,
                };
                let skip = self.asm.label();
                self.asm.branch(stays, new, old, skip);
                self.asm.store(Size::Dw, base, at, new);
                self.asm.place(skip);
                return;
            }
        };
        self.asm.alu(fold, old, new);
        self.asm.store(Size::Dw, base, at, old);
    }

    /// Sends the partial group in the slot away. When the ring is full, its tuples are counted as lost.
    fn eject(&mut self, layout: &QueryLayout, groups: &GroupLayout) {
        self.asm.comment("another group has the slot: it leaves");
        let (full, gone) = (self.asm.seldom(), self.asm.label());
        let words = RECORD_HEAD_WORDS + groups.entry_words;
        self.reserve(words, layout.query, record::GROUP, full);
        for word in 0..groups.entry_words {
            self.asm.load(Size::Dw, S[1], HEADER, 8 * word as i16);
            self.asm.store(Size::Dw, Reg::R0, 8 * (RECORD_HEAD_WORDS + word) as i16, S[1]);
        }
        self.submit();
        self.add_to_frame(FRAME, layout.counters + query_counters::EJECTED, 1, S[0]);
        self.asm.jump(gone);
        self.asm.place(full);
        self.asm.load(Size::Dw, S[1], HEADER, TUPLES);
        self.add_to_frame(FRAME, layout.counters + query_counters::LOST, S[1], S[0]);
        let at = 8 * (layout.counters + query_counters::MATCHED) as i16;
        self.asm.load(Size::Dw, S[0], FRAME, at);
        self.asm.alu(AluOp::Sub, S[0], S[1]);
        self.asm.store(Size::Dw, FRAME, at, S[0]);
        self.asm.place(gone);
    }
}

/// Where a word of the key lies in an entry.
fn key_at(word: u32) -> i16 {
    8 * (ENTRY_HEAD_WORDS + word) as i16
}
