//! The table of a query's newest window, lent to compiled code while that runs over a batch: what is added to a group needs no row, nor does a new group
//! for which the table has room.
//!
//! Code only adds to counts and sums. For all else it writes a row, as it does where no table is lent: for a new group when there is no room, for a key
//! that is found behind another with the same tag, for another window. Behind a row no group is begun any more until the rows have been taken, for it may
//! begin one; and behind a row of another window nothing is added at all: it may close the window, and what comes later is late then. So groups arrive in
//! the order of their first packets, and every total is what it would be of rows alone.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value as V};

use super::emit::{Emitter, FRAME};
use super::plan::GroupPlan;
use super::table::TURN;

const NO_ARGS: &[BlockArg] = &[];

/// Words of the frame that a table is lent in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    /// The first of them.
    pub(super) at: usize,
}

/// What stands in the frame, by word from [`Lent::at`] on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Table {
    /// Address of the index of slots; 0 where no table is lent.
    pub(super) slots: u64,
    /// Address of where the entry before the first would be: slots number entries from 1 on.
    pub(super) entries: u64,
    /// How far a hash is shifted to be a place among the slots.
    pub(super) shift: u64,
    /// The window, as rows have it.
    pub(super) window: u64,
    /// What hashes begin with.
    pub(super) seeds: [u64; 3],
    /// The number of the entry that the next new group gets.
    pub(super) next: u64,
    /// Groups that there is room for.
    pub(super) room: u64,
}

/// What code has done with a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// Tuples that it has added to groups, those that began one included.
    pub(super) tuples: u64,
    /// [`Table::next`], now.
    pub(super) next: u64,
}

impl Lent {
    const SLOTS: usize = 0;
    const ENTRIES: usize = 1;
    const SHIFT: usize = 2;
    const MASK: usize = 3;
    const WINDOW: usize = 4;
    const SEEDS: usize = 5;
    const NEXT: usize = 8;
    const ROOM: usize = 9;
    /// The number of tuples added since the table was lent.
    const ADDED: usize = 10;
    /// Words that it takes.
    pub(super) const WORDS: usize = 11;

    /// Lends a table.
    pub(super) fn put(self, words: &mut [u64], table: Table) {
        let Table { slots, entries, shift, window, seeds: [a, b, c], next, room } = table;
        // The number of slots less one, of which the upper bits of a hash choose.
        let mask = u64::MAX.checked_shr(shift as u32).unwrap_or(0);
        let table = [slots, entries, shift, mask, window, a, b, c, next, room, 0];
        words[self.at..self.at + Self::WORDS].copy_from_slice(&table);
    }

    /// Takes the table back.
    pub(super) fn take(self, words: &mut [u64]) -> Added {
        words[self.at + Self::SLOTS] = 0;
        let tuples = std::mem::take(&mut words[self.at + Self::ADDED]);
        Added { tuples, next: words[self.at + Self::NEXT] }
    }
}

/// A slot of the index, and how its tag differs from that of a hash.
#[derive(Clone, Copy)]
struct Slot {
    word: V,
    differing: V,
}

/// What a tuple's group has for words where the tuple begins it.
struct Group {
    /// Its record, in whose place the ordinal comes; nothing where entries have no ordinals.
    first: Option<V>,
    key: Vec<V>,
    /// What is added to each state.
    operands: Vec<V>,
}

impl Group {
    fn words(&self) -> impl Iterator<Item = V> + '_ {
        self.first.iter().chain(&self.key).chain(&self.operands).copied()
    }

    /// The word of an entry where the key begins.
    fn key_at(&self) -> i32 {
        i32::from(self.first.is_some())
    }

    fn states_at(&self) -> i32 {
        self.key_at() + self.key.len() as i32
    }
}

impl Emitter<'_, '_> {
    /// Adds the tuple whose row, of a kind, is in `words` to its group and goes to `next`, if the group is found in the table lent for that or may be
    /// begun there; else goes on at the current block. Tables are lent for all kinds.
    pub(super) fn add_to_lent(
        &mut self,
        all: &[Lent],
        plan: &GroupPlan,
        kind: usize,
        words: &[Option<V>],
        next: Block,
    ) {
        let word = |index: usize| words.get(index).copied().flatten();
        let lent = all[kind];
        let (first, last) = plan.keys[kind].words;
        let key: Option<Vec<V>> = (first..last).map(word).collect();
        let window = plan.window.as_ref().map(|(column, ..)| word(column.word_bits().0));
        let (Some(key), None | Some(Some(_))) = (key, window) else { return };
        let row = self.b.create_block();
        let slots = self.load_frame(lent.at + Lent::SLOTS);
        let is_none = self.icmp_const(IntCC::Equal, slots, 0);
        self.leave_if(is_none, row);
        if let Some(window) = window.flatten() {
            let newest = self.load_frame(lent.at + Lent::WINDOW);
            let (same, other) = (self.b.create_block(), self.b.create_block());
            self.b.set_cold_block(other);
            let is_newest = self.icmp(IntCC::Equal, window, newest);
            self.b.ins().brif(is_newest, same, NO_ARGS, other, NO_ARGS);
            self.b.switch_to_block(other);
            let none = self.word(0);
            all.iter().for_each(|lent| self.store_frame(lent.at + Lent::SLOTS, none));
            self.b.ins().jump(row, NO_ARGS);
            self.b.switch_to_block(same);
        }
        let hash = self.hash(lent, &key);
        let [found, free] = [(); 2].map(|()| self.b.create_block());
        let [slot, place] = [found, free].map(|block| self.b.append_block_param(block, I64));
        self.seek(lent, slots, hash, (found, free));

        let one = self.word(1);
        let operands = plan.states.iter().map(|state| state.arg.and_then(word).unwrap_or(one));
        let has_ordinal = plan.keys[kind].at() > 0;
        let group =
            Group { first: word(0).filter(|_| has_ordinal), key, operands: operands.collect() };
        let other = self.b.create_block();
        self.b.set_cold_block(other);
        self.b.switch_to_block(found);
        self.add_to_entry(lent, slot, &group, other);
        self.b.ins().jump(next, NO_ARGS);
        self.b.switch_to_block(free);
        self.begin_entry(lent, (slots, place, hash), &group, row);
        self.b.ins().jump(next, NO_ARGS);
        // The search ends behind another key with the same tag: the row goes on with it.
        self.b.switch_to_block(other);
        let none = self.word(0);
        self.store_frame(lent.at + Lent::ROOM, none);
        self.b.ins().jump(row, NO_ARGS);
        self.b.switch_to_block(row);
    }

    /// Adds a tuple to the entry of a slot, if that is of its group; else goes to `other`.
    fn add_to_entry(&mut self, lent: Lent, slot: V, group: &Group, other: Block) {
        let number = self.and_const(slot, 0xffff_ffff);
        // A free slot looks like one whose hash begins with zeros.
        let is_free = self.icmp_const(IntCC::Equal, number, 0);
        self.leave_if(is_free, other);
        let entry = self.entry(lent, number, group);
        let mut differing: Option<V> = None;
        for (at, part) in (group.key_at()..).zip(&group.key) {
            let known = self.b.ins().load(I64, FRAME, entry, 8 * at);
            let bits = self.b.ins().bxor(known, *part);
            differing = Some(match differing {
                None => bits,
                Some(others) => self.b.ins().bor(others, bits),
            });
        }
        if let Some(differing) = differing {
            let differs = self.icmp_const(IntCC::NotEqual, differing, 0);
            self.leave_if(differs, other);
        }
        for (at, by) in (group.states_at()..).zip(&group.operands) {
            let old = self.b.ins().load(I64, FRAME, entry, 8 * at);
            let new = self.b.ins().iadd(old, *by);
            self.b.ins().store(FRAME, new, entry, 8 * at);
        }
        self.count_one(lent.at + Lent::ADDED);
    }

    /// Begins a group with a tuple, at the place of a free slot, if there is room; else goes to `row`.
    fn begin_entry(
        &mut self,
        lent: Lent,
        (slots, place, hash): (V, V, V),
        group: &Group,
        row: Block,
    ) {
        let room = self.load_frame(lent.at + Lent::ROOM);
        let is_full = self.icmp_const(IntCC::Equal, room, 0);
        self.leave_if(is_full, row);
        let number = self.load_frame(lent.at + Lent::NEXT);
        let entry = self.entry(lent, number, group);
        for (at, word) in (0..).zip(group.words()) {
            self.b.ins().store(FRAME, word, entry, 8 * at);
        }
        let tag = self.and_const(hash, !0xffff_ffff);
        let slot = self.b.ins().bor(tag, number);
        let at = self.slot_at(slots, place);
        self.b.ins().store(FRAME, slot, at, 0);
        let room = self.add_const(room, u64::MAX);
        self.store_frame(lent.at + Lent::ROOM, room);
        self.count_one(lent.at + Lent::NEXT);
        self.count_one(lent.at + Lent::ADDED);
    }

    /// Goes to `found` with the first slot that has a hash's tag, or to `free` with the place of a free one before that.
    fn seek(&mut self, lent: Lent, slots: V, hash: V, (found, free): (Block, Block)) {
        // Two slots are looked at without a branch: which of them it is nothing foresees.
        let shift = self.load_frame(lent.at + Lent::SHIFT);
        let place = self.b.ins().ushr(hash, shift);
        let first = self.slot(slots, place, hash);
        let behind = self.add_const(place, 1);
        let mask = self.load_frame(lent.at + Lent::MASK);
        let behind = self.b.ins().band(behind, mask);
        let second = self.slot(slots, behind, hash);
        let is_second = self.icmp_const(IntCC::Equal, second.differing, 0);
        let slot = self.select(is_second, second.word, first.word);
        let differing = self.select(is_second, second.differing, first.differing);
        let is_there = self.icmp_const(IntCC::Equal, differing, 0);
        let [absent, search, taken, another] = [(); 4].map(|()| self.b.create_block());
        self.b.ins().brif(is_there, found, &[slot.into()], absent, NO_ARGS);

        self.b.switch_to_block(absent);
        let is_free = self.icmp_const(IntCC::Equal, first.word, 0);
        self.b.ins().brif(is_free, free, &[place.into()], search, &[behind.into()]);

        // As long as slots are taken: there are free ones.
        let place = self.b.append_block_param(search, I64);
        self.b.switch_to_block(search);
        let slot = self.slot(slots, place, hash);
        let is_free = self.icmp_const(IntCC::Equal, slot.word, 0);
        self.b.ins().brif(is_free, free, &[place.into()], taken, NO_ARGS);
        self.b.switch_to_block(taken);
        let is_there = self.icmp_const(IntCC::Equal, slot.differing, 0);
        self.b.ins().brif(is_there, found, &[slot.word.into()], another, NO_ARGS);
        self.b.switch_to_block(another);
        let place = self.add_const(place, 1);
        let mask = self.load_frame(lent.at + Lent::MASK);
        let place = self.b.ins().band(place, mask);
        self.b.ins().jump(search, &[place.into()]);
    }

    /// The address of an entry, by its number from 1 on.
    fn entry(&mut self, lent: Lent, number: V, group: &Group) -> V {
        let entries = self.load_frame(lent.at + Lent::ENTRIES);
        let bytes = self.word(8 * group.words().count() as u64);
        let offset = self.b.ins().imul(number, bytes);
        self.b.ins().iadd(entries, offset)
    }

    fn slot_at(&mut self, slots: V, place: V) -> V {
        let three = self.word(3);
        let offset = self.b.ins().ishl(place, three);
        self.b.ins().iadd(slots, offset)
    }

    fn slot(&mut self, slots: V, place: V, hash: V) -> Slot {
        let half = self.word(32);
        let at = self.slot_at(slots, place);
        let word = self.b.ins().load(I64, FRAME, at, 0);
        let differing = self.b.ins().bxor(word, hash);
        Slot { word, differing: self.b.ins().ushr(differing, half) }
    }

    /// As [`super::table::WordHasher::hash`].
    fn hash(&mut self, lent: Lent, key: &[V]) -> V {
        let [first, second, mut hash] =
            [0, 1, 2].map(|number| self.load_frame(lent.at + Lent::SEEDS + number));
        let mut pairs = key.chunks_exact(2);
        for pair in &mut pairs {
            let a = self.b.ins().bxor(pair[0], first);
            let b = self.b.ins().bxor(pair[1], second);
            let folded = self.folded(a, b);
            let by = self.word(TURN.into());
            let turned = self.b.ins().rotl(hash, by);
            hash = self.b.ins().bxor(turned, folded);
        }
        if let Some(odd) = pairs.remainder().first() {
            hash = self.b.ins().bxor(hash, *odd);
        }
        let hash = self.b.ins().bxor(hash, first);
        self.folded(hash, second)
    }

    fn folded(&mut self, a: V, b: V) -> V {
        let low = self.b.ins().imul(a, b);
        let high = self.b.ins().umulhi(a, b);
        self.b.ins().bxor(low, high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wt_plan::ir::{AggKind, LayerSel, LftaAction, LftaProgram, SLOTS_DEFAULT};

    use super::super::plan::Body;
    use super::super::sink::Sink;
    use super::super::table::WordHasher;
    use super::super::{CompiledLfta, PathsWanted};
    use crate::ledger::TupleCounters;
    use crate::lfta::{LftaBackend, Readers};
    use crate::memory::Memory;
    use crate::testing::{Dag, agg, increasing, lfta, toy_parse, with_batch};
    use crate::tuple::Message;

    /// What groups by window and key come to, of packets of window, key and value that come in batches.
    fn grouped(
        data: &[[u8; 3]],
        batches: impl IntoIterator<Item = usize>,
        tolerance: u64,
        seeds: Option<[u64; 3]>,
    ) -> (Vec<Message>, TupleCounters) {
        let memory = &mut Memory::new(None);
        let mut backend = backend(tolerance, memory);
        if let (Some(seeds), Sink::Groups(groups)) = (seeds, &mut backend.queries[0].sink) {
            groups.hash_by(WordHasher::of(seeds));
        }
        let (mut rest, mut ordinal, mut messages) = (data, 0, Vec::new());
        let mut batches = batches.into_iter();
        while !rest.is_empty() {
            let count = batches.next().unwrap_or(usize::MAX).clamp(1, rest.len());
            let (packets, more) = rest.split_at(count);
            messages.extend(feed(&mut backend, packets, ordinal, memory));
            ordinal += count as u64;
            rest = more;
        }
        backend.finish(&mut |_, message| messages.extend(message.one_by_one()));
        (messages, backend.tuples(0))
    }

    /// Groups by window and key.
    fn backend(tolerance: u64, memory: &mut Memory) -> CompiledLfta {
        let mut dag = Dag::default();
        let [window, key, value] = [0, 1, 2].map(|byte| dag.load(0, byte, 0, 8));
        let action = LftaAction::Aggregate {
            keys: vec![window, key],
            ordered: vec![increasing(0)],
            aggs: vec![agg(AggKind::Count, None), agg(AggKind::Sum, Some(value))],
            slots: SLOTS_DEFAULT,
            tolerance,
            real_time: false,
            values: 0,
        };
        let program = LftaProgram {
            parse: toy_parse(),
            layers: vec![LayerSel::Packet],
            exprs: dag.0,
            prefilter: None,
            queries: vec![lfta("_fta_q", action)],
        };
        CompiledLfta::new(&program, &[], Readers::default(), PathsWanted::All, 1, memory).unwrap()
    }

    /// A batch of packets, and what is sent behind it.
    fn feed(
        backend: &mut CompiledLfta,
        packets: &[[u8; 3]],
        ordinal: u64,
        memory: &mut Memory,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut take = |_, message: Message| messages.extend(message.one_by_one());
        with_batch(packets, |batch| backend.batch(batch, ordinal, memory, &mut take)).unwrap();
        messages
    }

    #[test]
    fn a_group_takes_no_row_if_there_is_room() {
        let memory = &mut Memory::new(None);
        let mut backend = backend(0, memory);
        // Rows that code has written in the last batch.
        let rows = |backend: &CompiledLfta| {
            let Body::Rows(plan) = &backend.plans[0].body else { return usize::MAX };
            let bytes = backend.frame.words[plan.cursor] - backend.queries[0].rows.as_ptr() as u64;
            bytes as usize / 8 / plan.stride
        };
        let keys = |keys: &[u8]| keys.iter().map(|key| [1, *key, 9]).collect::<Vec<_>>();
        feed(&mut backend, &keys(&[5, 6, 8, 9, 10, 5]), 0, memory);
        assert_eq!(rows(&backend), 6, "there was no table yet");
        feed(&mut backend, &keys(&[5, 6, 5]), 6, memory);
        assert_eq!(rows(&backend), 0);
        // A new group for which there is room, another window, and what comes behind that.
        feed(&mut backend, &[[1, 5, 9], [1, 7, 9], [2, 5, 9], [1, 5, 9], [2, 5, 9]], 9, memory);
        assert_eq!(rows(&backend), 3);
        let tuples = backend.tuples(0);
        assert_eq!((tuples.matched, tuples.late, tuples.merged), (13, 1, 6));
        // As many as the table has room for.
        feed(&mut backend, &[6, 7, 8, 9, 10, 11, 6, 11].map(|key| [2, key, 9]), 14, memory);
        assert!((1..=6).contains(&rows(&backend)), "{}", rows(&backend));
        assert_eq!(backend.tuples(0).merged, 8);
    }

    proptest! {
        /// The first batch finds no table to add to, later ones do: nothing tells how packets were cut into batches.
        #[test]
        fn groups_are_those_that_rows_would_make(
            steps in prop::collection::vec(
                (-2i8..4, prop_oneof![0u8..6, any::<u8>()], any::<u8>()),
                0..600,
            ),
            batches in prop::collection::vec(1usize..40, 0..40),
            tolerance in 0u64..3,
            // Keys of other slots; some of the same slot and with the same tag; all of the same slot.
            seeds in prop_oneof![Just(None), Just(Some([0, 1 << 30, 0])), Just(Some([0, 1 << 33, 0]))],
        ) {
            let mut window = 9u8;
            let mut packet = |(step, key, value): (i8, u8, u8)| {
                // Mostly the newest window, at times the next, or one before.
                window = window.saturating_add_signed(if key == 0 { step.min(1) } else { 0 });
                [window, key, value]
            };
            let data: Vec<[u8; 3]> = steps.into_iter().map(&mut packet).collect();
            prop_assert_eq!(
                grouped(&data, batches, tolerance, seeds),
                grouped(&data, [], tolerance, None)
            );
        }
    }
}
