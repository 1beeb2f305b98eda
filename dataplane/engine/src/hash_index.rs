//! An index that finds entries by the hash of their key, and grows without stalls.
//!
//! Open addressing: a slot has the upper half of a hash, whose upper bits are the place where the search for it begins, and the
//! number of an entry. Where a small index is full, all of it is moved to one of twice the size. A large one is moved piece by
//! piece while entries are added, the largest to four times the size: the slots from its first free one on, cluster by cluster, so
//! that whoever looks for a hash knows from the place where the search begins whether that has been moved. Moving five million at
//! once takes a quarter of a second, in which packets come.

use crate::compiled::Words;

/// Smallest index: a range of packets may hold as many windows as packets, each with an index of its own.
const SLOTS_MIN: usize = 1 << 3;
/// An index of fewer slots is kept emptier: most keys then have the slot where their search begins, so that the branch behind it is foreseen, and the
/// memory that it takes more is little. One of so many is as full as may be before it grows, but grows to four times as many: moving entries takes a
/// good part of what a new one takes, and a third as many of them are moved.
const SPARSE_SLOTS: usize = 1 << 20;
/// An index of so many slots is moved piece by piece: those of smaller ones are moved within a millisecond.
pub(crate) const PIECEWISE_SLOTS: usize = 1 << 18;
/// Slots that are moved for each entry that room is made for: all of them, long before the new index is full.
const MOVED_PER_ENTRY: usize = 16;
/// Slots that are moved first: what is added before them may reach into them, but not through them.
const MARGIN: usize = 1 << 10;
/// Entries that room may be made for at once: they may all come behind the others that reach into the margin.
pub(crate) const AT_ONCE_MAX: usize = MARGIN / 4;
/// Slots that are looked through before those of them that are taken are moved.
const MOVED_TOGETHER: usize = 64;

/// What an entry takes at most, bytes: when a small index has just grown to 16/3 slots for each, and half as many that were there before are still being
/// moved; a large one then has 32/5, and a quarter as many from before, which is as much.
pub(crate) const ENTRY_BYTES_MAX: usize = 8 * (16 + 8) / 3;
const _: () = assert!(ENTRY_BYTES_MAX == 8 * (32 + 8) / 5);

/// The numbers of entries by hash.
pub(crate) struct HashIndex {
    slots: Slots,
    /// What it has grown out of, as far as that has not been moved.
    old: Option<Box<Old>>,
}

/// Slots: the upper half of a hash, and the number of an entry plus one; 0 where free.
pub(crate) struct Slots {
    words: Words,
    /// How far a hash is shifted to be a place.
    shift: u32,
}

/// Slots that are being moved. They are counted from a free one on, around the end.
struct Old {
    slots: Slots,
    /// Their first.
    origin: usize,
    /// So many have been moved; the next one was free then.
    moved: usize,
    /// Those from here on have been moved as well.
    end: usize,
    /// One that was added has come far behind `end`.
    has_overrun: bool,
}

impl HashIndex {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::free(SLOTS_MIN), old: None }
    }

    /// Slots that there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.words.len() + self.old.as_ref().map_or(0, |old| old.slots.words.len())
    }

    /// The only slots, unless some are being moved.
    #[inline]
    pub(crate) fn only(&self) -> Option<&Slots> {
        self.old.is_none().then_some(&self.slots)
    }

    /// The only slots, to write to.
    pub(crate) fn only_mut(&mut self) -> Option<&mut Slots> {
        self.old.is_none().then_some(&mut self.slots)
    }

    /// The slots in which a hash is looked for.
    #[inline(always)]
    pub(crate) fn of(&self, hash: u64) -> &Slots {
        match &self.old {
            Some(old) if old.holds(hash) => &old.slots,
            _ => &self.slots,
        }
    }

    #[inline]
    fn of_mut(&mut self, hash: u64) -> &mut Slots {
        match &mut self.old {
            Some(old) if old.holds(hash) => &mut old.slots,
            _ => &mut self.slots,
        }
    }

    /// The number of the entry that `is_it`, or else the place for a new one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(usize) -> bool) -> Result<usize, usize> {
        let slots = self.of(hash);
        slots.find_from(slots.place(hash), hash, is_it)
    }

    /// Puts the number of an entry at the place that was found for it. Whoever does so makes room for the next.
    #[inline]
    pub(crate) fn put(&mut self, place: usize, hash: u64, number: usize) {
        let slot = slot(hash, number);
        match &mut self.old {
            Some(old) if old.holds(hash) => old.put(place, slot),
            _ => self.slots.words[place] = slot,
        }
    }

    /// Adds an entry that is not there.
    pub(crate) fn insert(&mut self, place: usize, hash: u64, number: usize, len: usize) {
        self.put(place, hash, number);
        self.make_room(len, 1);
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, hash: u64, number: usize) {
        let slots = self.of_mut(hash);
        let found = slots.find_place(slots.place(hash), hash, |other| other == number);
        if let Ok(place) = found {
            slots.close(place);
        }
    }

    /// Forgets all entries; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.slots.words.fill(0);
        self.old = None;
    }

    /// Makes room for `more` entries beside `len` that are there, [`AT_ONCE_MAX`] at most: until those have been added, every slot stays in its place.
    #[inline]
    pub(crate) fn make_room(&mut self, len: usize, more: usize) {
        debug_assert!(self.old.is_none() || more <= AT_ONCE_MAX);
        if let Some(old) = &mut self.old
            && old.move_to(&mut self.slots, MOVED_PER_ENTRY * more)
        {
            self.old = None;
        }
        if !self.slots.has_room(len + more) {
            self.grow(len + more);
        }
    }

    /// Doubles the index as often as so many entries need.
    #[cold]
    fn grow(&mut self, entries: usize) {
        if let Some(mut old) = self.old.take() {
            old.move_to(&mut self.slots, usize::MAX);
        }
        let mut count = self.slots.words.len();
        while entries * 8 > count * most_eighths(count) {
            count *= if count < SPARSE_SLOTS { 2 } else { 4 };
        }
        if self.slots.words.len() < PIECEWISE_SLOTS {
            let slots = std::mem::replace(&mut self.slots, Slots::free(count));
            Old::new(slots, 0).move_to(&mut self.slots, usize::MAX);
        } else {
            let slots = std::mem::replace(&mut self.slots, Slots::free_unused(count));
            let mut old = Old::new(slots, MARGIN);
            old.move_margin(&mut self.slots);
            self.old = Some(Box::new(old));
        }
    }
}

impl Default for HashIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl Slots {
    fn free(count: usize) -> Self {
        Self { words: Words::zeros(count), shift: shift_of(count) }
    }

    /// The same, where memory is taken when it is used: slots that are moved piece by piece.
    fn free_unused(count: usize) -> Self {
        Self { words: Words::zeros_unused(count), shift: shift_of(count) }
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u64 {
        self.words.as_mut_ptr()
    }

    /// How far a hash is shifted to be a place.
    pub(crate) fn shift(&self) -> u32 {
        self.shift
    }

    /// Where the search for a hash begins.
    #[inline(always)]
    pub(crate) fn place(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline(always)]
    fn mask(&self) -> usize {
        self.words.len() - 1
    }

    /// From `place` on: the first slot with the upper half of a hash and its entry's number, or a free one.
    #[inline(always)]
    pub(crate) fn first_alike(&self, mut place: usize, hash: u64) -> Result<(usize, usize), usize> {
        loop {
            let slot = self.words[place];
            if slot == 0 {
                return Err(place);
            }
            // Slots and hashes agree in their upper half.
            if (slot ^ hash) >> 32 == 0 {
                return Ok((place, slot as u32 as usize - 1));
            }
            place = (place + 1) & self.mask();
        }
    }

    /// The number of the entry that `is_it`, from a place on, or the place of a free slot.
    #[inline(always)]
    pub(crate) fn find_from(
        &self,
        place: usize,
        hash: u64,
        is_it: impl FnMut(usize) -> bool,
    ) -> Result<usize, usize> {
        let place = self.find_place(place, hash, is_it)?;
        Ok(self.words[place] as u32 as usize - 1)
    }

    #[inline(always)]
    fn find_place(
        &self,
        mut place: usize,
        hash: u64,
        mut is_it: impl FnMut(usize) -> bool,
    ) -> Result<usize, usize> {
        loop {
            let (alike, number) = self.first_alike(place, hash)?;
            if is_it(number) {
                return Ok(alike);
            }
            place = (alike + 1) & self.mask();
        }
    }

    /// How many entries there may be.
    #[inline]
    fn most(&self) -> usize {
        self.words.len() * most_eighths(self.words.len()) / 8
    }

    #[inline]
    fn has_room(&self, entries: usize) -> bool {
        entries <= self.most()
    }

    /// How many entries there is room for beside `len` that are there.
    pub(crate) fn room(&self, len: usize) -> usize {
        self.most().saturating_sub(len)
    }

    /// Adds a slot that is not there.
    #[inline]
    fn add(&mut self, slot: u64) {
        let mut place = self.place(slot);
        while self.words[place] != 0 {
            place = (place + 1) & self.mask();
        }
        self.words[place] = slot;
    }

    /// Frees a slot, and brings those behind it nearer to where their search begins.
    fn close(&mut self, place: usize) {
        let mask = self.mask();
        let (mut hole, mut at) = (place, place);
        loop {
            at = (at + 1) & mask;
            let slot = self.words[at];
            if slot == 0 {
                break;
            }
            // Its search passes the hole, if that is not before where it begins.
            let begin = self.place(slot);
            if at.wrapping_sub(begin) & mask >= at.wrapping_sub(hole) & mask {
                self.words[hole] = slot;
                hole = at;
            }
        }
        self.words[hole] = 0;
    }
}

impl Old {
    /// Slots of which the last `margin`, or some more, are to be moved first.
    fn new(slots: Slots, margin: usize) -> Self {
        let free = |place: &usize| slots.words[*place] == 0;
        // There is one: an index is never full.
        let origin = (0..slots.words.len()).find(free).unwrap_or(0);
        let mut end = slots.words.len() - margin;
        while margin > 0 && end > 0 && !free(&(origin.wrapping_add(end) & slots.mask())) {
            end -= 1;
        }
        Self { slots, origin, moved: 0, end, has_overrun: false }
    }

    /// Where a place is, counted from the origin.
    #[inline(always)]
    fn nth(&self, place: usize) -> usize {
        place.wrapping_sub(self.origin) & self.slots.mask()
    }

    /// Whether a hash is still looked for here.
    #[inline(always)]
    fn holds(&self, hash: u64) -> bool {
        (self.moved..self.end).contains(&self.nth(self.slots.place(hash)))
    }

    fn put(&mut self, place: usize, slot: u64) {
        self.slots.words[place] = slot;
        self.has_overrun |= self.nth(place) > self.end + MARGIN / 2;
    }

    /// Where a slot is, counted from the origin.
    fn place(&self, nth: usize) -> usize {
        self.origin.wrapping_add(nth) & self.slots.mask()
    }

    /// Moves the slots from the end on, which are free then.
    fn move_margin(&mut self, to: &mut Slots) {
        for nth in self.end..self.slots.words.len() {
            let place = self.place(nth);
            match std::mem::take(&mut self.slots.words[place]) {
                0 => {}
                slot => to.add(slot),
            }
        }
    }

    /// Moves the slots before one. Nothing foresees which of them are free, so that no branch depends on it.
    fn move_before(&mut self, end: usize, to: &mut Slots) {
        let mut taken = [0; MOVED_TOGETHER];
        while self.moved < end {
            let next = end.min(self.moved + MOVED_TOGETHER);
            let mut count = 0;
            for nth in self.moved..next {
                let slot = self.slots.words[self.place(nth)];
                taken[count] = slot;
                count += usize::from(slot != 0);
            }
            taken[..count].iter().for_each(|slot| to.add(*slot));
            self.moved = next;
        }
    }

    /// Moves so many slots, and those behind them up to a free one. Returns whether all have been moved.
    fn move_to(&mut self, to: &mut Slots, count: usize) -> bool {
        let count = if self.has_overrun { usize::MAX } else { count };
        let enough = self.moved.saturating_add(count);
        self.move_before(enough.min(self.end), to);
        loop {
            match self.slots.words[self.place(self.moved)] {
                // What the last of them pushed away is behind the end.
                0 if self.moved >= self.end => return true,
                0 if self.moved >= enough => return false,
                0 => {}
                slot => to.add(slot),
            }
            self.moved += 1;
        }
    }
}

fn slot(hash: u64, number: usize) -> u64 {
    hash & !0xffff_ffff | (number as u64 + 1)
}

/// How far a hash is shifted to be a place among so many slots; [`SLOTS_MIN`] keeps it below 64.
fn shift_of(slots: usize) -> u32 {
    64 - slots.trailing_zeros()
}

/// How full an index of so many slots may be, eighths.
#[inline]
fn most_eighths(slots: usize) -> usize {
    if slots < SPARSE_SLOTS { 3 } else { 5 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// An index, and what it must say: of each hash the entries, by number.
    #[derive(Default)]
    struct Checked {
        index: HashIndex,
        entries: HashMap<u64, Vec<usize>>,
        len: usize,
        next: usize,
    }

    impl Checked {
        fn add(&mut self, hash: u64) {
            let place = self.index.find(hash, |_| false).unwrap_err();
            self.len += 1;
            self.index.insert(place, hash, self.next, self.len);
            self.entries.entry(hash).or_default().push(self.next);
            self.next += 1;
        }

        fn remove(&mut self, hash: u64) {
            let Some(number) = self.entries.get_mut(&hash).and_then(Vec::pop) else { return };
            self.index.remove(hash, number);
            self.len -= 1;
        }

        /// Every entry is found, and nothing else.
        fn check(&self) {
            for (hash, numbers) in &self.entries {
                let mut found = Vec::new();
                let ended = self.index.find(*hash, |number| {
                    found.push(number);
                    false
                });
                assert!(ended.is_err());
                // Others whose hashes have the same upper half are shown, too.
                found.retain(|number| numbers.contains(number));
                found.sort_unstable();
                assert_eq!(&found, numbers, "{hash:x}");
            }
        }

        fn is_growing(&self) -> bool {
            self.index.old.is_some()
        }
    }

    fn hash(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn entries_are_found_while_a_large_index_is_moved() {
        let mut checked = Checked::default();
        let mut growing = 0;
        for number in 0..3 * PIECEWISE_SLOTS as u64 {
            checked.add(hash(number));
            if number % 7 == 0 {
                checked.remove(hash(number / 2));
            }
            if checked.is_growing() {
                growing += 1;
                if growing % 1000 == 1 {
                    checked.check();
                }
            }
        }
        checked.check();
        assert!(growing > 10_000, "{growing}");
        checked.index.clear();
        assert!((0..99).all(|number| checked.index.find(hash(number), |_| true).is_err()));
    }

    #[test]
    fn no_addition_moves_much() {
        let mut index = HashIndex::new();
        for number in 0..2_000_000u64 {
            let moved = |index: &HashIndex| index.old.as_ref().map(|old| old.moved);
            let before = moved(&index);
            let place = index.find(hash(number), |_| false).unwrap_err();
            index.insert(place, hash(number), number as usize, number as usize + 1);
            if let (Some(before), Some(after)) = (before, moved(&index)) {
                assert!(after - before < MOVED_PER_ENTRY + 500, "{before} to {after}");
            }
        }
        assert!(index.len() > 1 << 21);
    }

    #[test]
    fn what_is_pushed_behind_the_end_is_found() {
        let mut checked = Checked::default();
        let mut number = 0;
        while !checked.is_growing() {
            checked.add(hash(number));
            number += 1;
        }
        let old = checked.index.old.as_ref().unwrap();
        // Hashes whose search begins just before the end, as many as reach far behind it.
        let before = old.origin.wrapping_add(old.end - 1) & old.slots.mask();
        let (shift, end) = (old.slots.shift, old.end);
        let crowd = |number: u64| ((before as u64) << shift) | number << 32;
        for number in 0..2 * MARGIN as u64 {
            checked.add(crowd(number));
            if number % 64 == 0 {
                checked.check();
            }
        }
        assert!(end > 0 && !checked.is_growing(), "it did not wait until they wrapped around");
        checked.check();
    }

    proptest! {
        /// Few places, so that clusters grow long and wrap around the end.
        #[test]
        fn entries_are_found_until_they_are_removed(
            steps in prop::collection::vec((0u64..40, any::<bool>()), 0..400),
        ) {
            let mut checked = Checked::default();
            for (number, is_added) in steps {
                let hash = (number % 5) << 62 | (number % 3) << 61 | number << 30;
                if is_added { checked.add(hash) } else { checked.remove(hash) }
                checked.check();
            }
        }
    }
}
