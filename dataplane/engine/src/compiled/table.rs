//! A hash table of groups over words, which grows: open addressing over an index of tags, groups in order of arrival.

use std::hash::{BuildHasher, RandomState};

use super::sys;

/// Smallest index: a range of packets may hold as many windows as packets, each with a table of its own.
const SLOTS_MIN: usize = 1 << 3;
/// Words of a table that lies in the second-level cache with what else is at work: asking for its entries costs more than it saves.
const CACHED_WORDS: usize = 16 << 10;
/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// Entries that there is room for at first.
const ENTRIES_MIN: usize = 4;

/// Groups whose key and states are words. An entry is the ordinal of the first packet, the key, the states.
pub(super) struct WordTable {
    key_words: usize,
    entry_words: usize,
    entries: Vec<u64>,
    /// Words before the first entry: where an entry takes whole cache lines, it begins at one.
    first: usize,
    /// The upper half of a hash, and the number of an entry plus one; 0 when free. A hash's upper bits are its place.
    slots: Vec<u64>,
    len: usize,
    /// How far a hash is shifted to be a place.
    shift: u32,
}

/// Hashes key words, differently in every process: nobody can choose colliding groups.
#[derive(Clone, Copy)]
pub(crate) struct WordHasher {
    seeds: [u64; 3],
}

impl WordHasher {
    pub(super) fn new() -> Self {
        let state = RandomState::new();
        Self { seeds: [1u8, 2, 3].map(|number| state.hash_one(number)) }
    }

    #[inline]
    pub(super) fn hash<const K: usize>(&self, key: &[u64; K]) -> u64 {
        // Words are taken in pairs, each hidden by a seed of its own: the products do not wait for each other. An odd word goes
        // into the last product.
        let [first, second, last] = self.seeds;
        let mut hash = last;
        let mut pairs = key.chunks_exact(2);
        for pair in &mut pairs {
            hash = hash.rotate_left(27) ^ folded(pair[0] ^ first, pair[1] ^ second);
        }
        let odd = pairs.remainder().first().copied().unwrap_or_default();
        folded(hash ^ odd ^ first, second)
    }
}

/// Both halves of a product, which keep every bit of the factors in play.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// How far a hash is shifted to be a place in an index of so many slots; [`SLOTS_MIN`] keeps it below 64.
fn shift_of(slots: usize) -> u32 {
    64 - slots.trailing_zeros()
}

impl WordTable {
    pub(super) fn new(key_words: usize, state_words: usize) -> Self {
        Self {
            key_words,
            entry_words: 1 + key_words + state_words,
            entries: Vec::new(),
            first: 0,
            slots: vec![0; SLOTS_MIN],
            len: 0,
            shift: shift_of(SLOTS_MIN),
        }
    }

    /// Moves the ordinals of all groups on.
    pub(super) fn move_on(&mut self, ordinal: u64) {
        let first = self.first;
        self.entries[first..]
            .chunks_exact_mut(self.entry_words)
            .for_each(|entry| entry[0] += ordinal);
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> u64 {
        8 * (self.entries.capacity() + self.slots.len()) as u64
    }

    /// The words of every entry, in order of arrival.
    pub(super) fn entries(&self) -> impl Iterator<Item = &[u64]> {
        self.entries[self.first..].chunks_exact(self.entry_words)
    }

    /// Words of an entry.
    pub(super) fn entry_words(&self) -> usize {
        self.entry_words
    }

    /// Takes the words of every entry, and how many words come before them, and forgets the groups. The index keeps its memory, and as much
    /// room as the entries took is made for others.
    pub(super) fn take_entries(&mut self) -> (Vec<u64>, usize) {
        self.slots.fill(0);
        self.len = 0;
        let mut room = Vec::with_capacity(self.entries.len());
        sys::prefer_huge_pages(room.spare_capacity_mut());
        let first = std::mem::take(&mut self.first);
        let taken = std::mem::replace(&mut self.entries, room);
        self.align();
        (taken, first)
    }

    /// Moves entries to where the first one begins a cache line, after the memory has changed.
    fn align(&mut self) {
        if !self.entry_words.is_multiple_of(LINE_WORDS) {
            return;
        }
        let first = self.entries.as_ptr().align_offset(LINE_WORDS * size_of::<u64>());
        let first = if first < LINE_WORDS { first } else { 0 };
        let len = self.len * self.entry_words;
        self.entries.resize(len + self.first.max(first), 0);
        self.entries.copy_within(self.first..self.first + len, first);
        self.entries.truncate(first + len);
        self.first = first;
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// Asks for the slot of a hash.
    #[inline]
    pub(super) fn prefetch_slot(&self, hash: u64) {
        sys::prefetch(&self.slots, self.place(hash));
    }

    /// Asks for the entry that the slot of a hash names.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        let slot = self.slots[self.place(hash)];
        if slot != 0 {
            let at = self.first + (slot as u32 as usize - 1) * self.entry_words;
            sys::prefetch(&self.entries, at);
            // Most entries lie in two cache lines.
            sys::prefetch(&self.entries, at + self.entry_words - 1);
        }
    }

    /// The states of a key's group, and whether it is new: its states are 0 then, and `ordinal` tells its first packet.
    #[inline]
    pub(super) fn entry<const K: usize>(
        &mut self,
        hash: u64,
        key: &[u64; K],
        ordinal: impl FnOnce() -> u64,
    ) -> (&mut [u64], bool) {
        debug_assert_eq!(K, self.key_words);
        let (index, is_new) = match self.find(hash, key) {
            Ok(index) => (index, false),
            Err(place) => (self.insert(place, hash, key, ordinal()), true),
        };
        let at = self.first + index * self.entry_words;
        (&mut self.entries[at + 1 + K..at + self.entry_words], is_new)
    }

    /// Takes rows into counts and sums: a row adds to each state the word that `operands` names, or 1 where a row has no such word. The key
    /// begins at word `key`. Returns how many groups are new; `ordinal` tells the first packet of those.
    pub(super) fn add_rows<const K: usize>(
        &mut self,
        rows: &[u64],
        stride: usize,
        hashes: &[u64],
        key: usize,
        operands: &[usize],
        ordinal: impl Fn(&[u64]) -> u64,
    ) -> u64 {
        let entry_words = self.entry_words;
        let before = self.len;
        for (row, hash) in rows.chunks_exact(stride).zip(hashes) {
            let Some(key) = row.get(key..).and_then(<[u64]>::first_chunk::<K>) else { continue };
            let index = match self.find(*hash, key) {
                Ok(index) => index,
                Err(place) => self.insert(place, *hash, key, ordinal(row)),
            };
            let states = &mut self.entries[self.first + index * entry_words..][1 + K..entry_words];
            for (state, operand) in states.iter_mut().zip(operands) {
                *state = state.wrapping_add(row.get(*operand).copied().unwrap_or(1));
            }
        }
        (self.len - before) as u64
    }

    /// Whether the table is too large to be in the cache anyway.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.entries.len() + self.slots.len() > CACHED_WORDS
    }

    /// The number of a key's entry, or the slot for a new one.
    #[inline]
    fn find<const K: usize>(&self, hash: u64, key: &[u64; K]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut place = self.place(hash);
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                return Err(place);
            }
            // Slots and hashes agree in their upper half.
            if (slot ^ hash) >> 32 == 0 {
                let index = slot as u32 as usize - 1;
                let at = self.first + index * self.entry_words + 1;
                // Without a branch for each word: mostly all of them agree.
                let words = self.entries[at..at + K].iter().zip(key);
                if words.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0 {
                    return Ok(index);
                }
            }
            place = (place + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, place: usize, hash: u64, key: &[u64], ordinal: u64) -> usize {
        if self.entries.len() + self.entry_words > self.entries.capacity() {
            let room = self.entries.len().max(ENTRIES_MIN * self.entry_words);
            self.entries.reserve(room + LINE_WORDS);
            sys::prefer_huge_pages(self.entries.spare_capacity_mut());
            self.align();
        }
        let index = self.len;
        self.len += 1;
        self.slots[place] = hash & !0xffff_ffff | self.len as u64;
        self.entries.push(ordinal);
        self.entries.extend_from_slice(key);
        self.entries.resize(self.first + self.len * self.entry_words, 0);
        if self.len * 8 > self.slots.len() * 5 {
            self.grow();
        }
        index
    }

    /// Doubles the index. Slots keep their order, so both sides are walked from front to back.
    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        self.shift = shift_of(self.slots.len());
        sys::prefer_huge_pages(&mut self.slots);
        sys::populate(&mut self.slots);
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut place = self.place(slot);
            while self.slots[place] != 0 {
                place = (place + 1) & mask;
            }
            self.slots[place] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_again_while_the_table_grows() {
        let hasher = WordHasher::new();
        let mut table = WordTable::new(2, 1);
        for round in 0..3u64 {
            for i in 0..10_000u64 {
                let key = [i % 97, i];
                let (states, is_new) = table.entry(hasher.hash(&key), &key, || i);
                assert_eq!(is_new, round == 0);
                states[0] += round + 1;
            }
        }
        assert_eq!(table.len(), 10_000);
        for (i, entry) in table.entries().enumerate() {
            let i = i as u64;
            assert_eq!(entry, [i, i % 97, i, 6]);
        }
        assert_eq!(table.take_entries().0.len(), 10_000 * table.entry_words());
        assert_eq!((table.len(), table.entries().count()), (0, 0));
        assert!(table.entry(hasher.hash(&[1, 1]), &[1, 1], || 7).1);
    }

    #[test]
    fn entries_of_whole_lines_begin_at_one() {
        let hasher = WordHasher::new();
        let mut table = WordTable::new(5, 2);
        for round in 0..2 {
            for i in 0..5_000u64 {
                let row = [0, i, i + 1, i + 2, i + 3, i + 4, 7];
                let hash = hasher.hash::<5>(row[1..].first_chunk().unwrap());
                let new = table.add_rows::<5>(&row, 7, &[hash], 1, &[usize::MAX, 6], |_| 10 + i);
                assert_eq!(new, u64::from(round == 0));
                let line = LINE_WORDS * size_of::<u64>();
                assert_eq!((table.entries.as_ptr() as usize + 8 * table.first) % line, 0);
            }
        }
        for (i, entry) in (0..).zip(table.entries()) {
            assert_eq!(entry, [10 + i, i, i + 1, i + 2, i + 3, i + 4, 2, 14]);
        }
        let (words, first) = table.take_entries();
        assert_eq!(words.len(), first + 5_000 * 8);
    }

    #[test]
    fn hashes_spread_sequences_over_the_upper_bits() {
        let hasher = WordHasher::new();
        for shift in [0, 16, 40] {
            let mut seen = vec![0u32; 1024];
            for i in 0..10_240u64 {
                seen[(hasher.hash(&[i << shift, 0]) >> 54) as usize] += 1;
            }
            assert!(seen.iter().all(|n| *n < 60), "shift {shift}: {:?}", seen.iter().max());
        }
    }
}
