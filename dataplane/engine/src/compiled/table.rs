//! A hash table of groups over words, which grows: an index of hashes, groups in order of arrival.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::lent;
use super::sys::{self, Words};
use crate::hash_index::{AT_ONCE_MAX, HashIndex, Slots};

/// Words of a table that lies in the second-level cache with what else is at work: asking for its entries costs more than it saves.
const CACHED_WORDS: usize = 16 << 10;

/// Words of a table of which the first-level cache holds little and the second-level cache not all.
const FAR_WORDS: usize = 128 << 10;

/// Rows of a step of a look-up in a table that lies in the second-level cache: what is asked for is there soon.
const NEAR_STEP_ROWS: usize = 64;
/// Rows of a step elsewhere. The slots of so many, and the entries of so many others, can be on their way to the cache at a time.
const FAR_STEP_ROWS: usize = 16;
const _: () = assert!(3 * FAR_STEP_ROWS <= NEAR_STEP_ROWS);
/// A large table may grow before it is as full as it may be by one in so many of its groups: for rows that turn out to be of groups that are there.
const GROUPS_PER_ROW: usize = 64;

/// Bits by which a hash is turned from one pair of key words to the next.
pub(super) const TURN: u32 = 27;

/// Groups whose key and states are words. An entry is the ordinal of the first packet, the key, the states; ordinals may be left out.
pub(crate) struct WordTable {
    /// Word of an entry where the key begins: 1 behind an ordinal, else 0.
    key_at: usize,
    key_words: usize,
    entry_words: usize,
    entries: Words,
    index: HashIndex,
    len: usize,
}

/// Rows of a batch, and the hashes of their keys.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) words: &'a [u64],
    /// Words of a row.
    pub(super) stride: usize,
    pub(super) hashes: &'a [u64],
}

/// What a row adds to a count or a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    /// A word of the row.
    word: usize,
    /// Which of its bits count: all or none.
    mask: u64,
    /// What is added beside it.
    more: u64,
}

impl Operand {
    /// 1, whatever the row.
    pub(super) const ONE: Self = Self { word: 0, mask: 0, more: 1 };

    /// A word of the row.
    pub(super) fn word(word: usize) -> Self {
        Self { word, mask: u64::MAX, more: 0 }
    }

    #[inline(always)]
    fn of(self, row: &[u64]) -> u64 {
        (row[self.word] & self.mask) + self.more
    }
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

    /// One that hashes as these say.
    #[cfg(test)]
    pub(super) fn of(seeds: [u64; 3]) -> Self {
        Self { seeds }
    }

    /// What hashes begin with.
    pub(super) fn seeds(&self) -> [u64; 3] {
        self.seeds
    }

    #[inline]
    pub(super) fn hash<const K: usize>(&self, key: &[u64; K]) -> u64 {
        // Words are taken in pairs, each hidden by a seed of its own: the products do not wait for each other. An odd word goes
        // into the last product.
        let [first, second, last] = self.seeds;
        let mut hash = last;
        let mut pairs = key.chunks_exact(2);
        for pair in &mut pairs {
            hash = hash.rotate_left(TURN) ^ folded(pair[0] ^ first, pair[1] ^ second);
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

impl WordTable {
    pub(super) fn new(has_ordinals: bool, key_words: usize, state_words: usize) -> Self {
        let key_at = usize::from(has_ordinals);
        Self {
            key_at,
            key_words,
            entry_words: key_at + key_words + state_words,
            entries: Words::new(),
            index: HashIndex::new(),
            len: 0,
        }
    }

    /// The table for code that adds to entries, and entries as long as there is room, while nothing else is done with it; [`Self::adopt`] makes the
    /// new ones its own. Nothing where it is large.
    pub(super) fn lend(&mut self) -> Option<lent::Table> {
        if self.is_large() {
            return None;
        }
        let entries = self.entries.as_mut_ptr() as u64;
        let before = entries.wrapping_sub(8 * self.entry_words as u64);
        let (next, room) = (self.next(), self.entries.spare() / self.entry_words);
        let slots = self.index.only_mut()?;
        Some(lent::Table {
            slots: slots.as_mut_ptr() as u64,
            entries: before,
            shift: slots.shift().into(),
            next,
            room: slots.room(self.len).min(room) as u64,
            ..lent::Table::default()
        })
    }

    /// The number of the entry that the next group gets, as slots have it.
    pub(super) fn next(&self) -> u64 {
        self.len as u64 + 1
    }

    /// Takes the entries up to a number, which code has written where the table was lent to it, for its own. `ordinal` makes ordinals of what code has
    /// put in their place.
    pub(super) fn adopt(&mut self, next: u64, ordinal: impl Fn(u64) -> u64) {
        let groups = next.saturating_sub(self.next()) as usize;
        self.len += groups;
        let entries = self.entries.adopt(groups * self.entry_words);
        if self.key_at > 0 {
            entries
                .chunks_exact_mut(self.entry_words)
                .for_each(|entry| entry[0] = ordinal(entry[0]));
        }
    }

    /// Makes room for so many groups more.
    pub(super) fn expect(&mut self, groups: usize) {
        self.settle_for(groups);
        self.entries.reserve(groups * self.entry_words);
    }

    /// Whether entries begin with an ordinal.
    pub(super) fn has_ordinals(&self) -> bool {
        self.key_at > 0
    }

    /// Gives all groups other ordinals, in the same order.
    pub(super) fn renumber(&mut self, ordinal: impl Fn(u64) -> u64) {
        if !self.has_ordinals() {
            return;
        }
        let entries = self.entries.chunks_exact_mut(self.entry_words);
        entries.for_each(|entry| entry[0] = ordinal(entry[0]));
    }

    /// How many groups.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> u64 {
        8 * (self.entries.capacity() + self.index.len()) as u64
    }

    /// The words of every entry, in order of arrival.
    pub(super) fn entries(&self) -> std::slice::ChunksExact<'_, u64> {
        self.entries.chunks_exact(self.entry_words)
    }

    /// Words of an entry.
    pub(super) fn entry_words(&self) -> usize {
        self.entry_words
    }

    /// Takes the words of every entry, and forgets the groups. The index keeps its memory, and as much room as the entries took is made for
    /// others.
    pub(super) fn take_entries(&mut self) -> Words {
        self.index.clear();
        self.len = 0;
        let room = Words::with_capacity(self.entries.len());
        std::mem::replace(&mut self.entries, room)
    }

    /// Forgets the groups. Memory stays for others.
    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.len = 0;
        self.entries.clear();
    }

    /// The words of every entry.
    pub(super) fn into_entries(self) -> Words {
        self.entries
    }

    /// How many rows [`Self::look_up`] takes in one go: it makes room for as many groups.
    pub(super) fn rows_together(&self) -> usize {
        let rows = (self.len / GROUPS_PER_ROW).clamp(NEAR_STEP_ROWS, AT_ONCE_MAX);
        rows / NEAR_STEP_ROWS * NEAR_STEP_ROWS
    }

    fn is_far(&self) -> bool {
        self.entries.len() + self.index.len() > FAR_WORDS
    }

    /// Looks up so many rows in steps: asks for their slots, then for the entries that these tell of, then takes the groups. Far from the cache that is done
    /// for one step each, so that none waits: while the groups of one are taken, the entries of the next are on their way, and the slots of the one behind
    /// that. `hash` gives the hashes of a step; where it says that they are not to be looked up, the rows before are the last. `take` is given the rows of a
    /// step, their hashes, and the places from which on [`Self::entry_from`] and [`Self::add_rows`] find their groups; `meanwhile` is called for as many
    /// rows, at times when memory is waited for. Returns how many rows were taken.
    pub(super) fn look_up(
        &mut self,
        rows: usize,
        mut hash: impl FnMut(Range<usize>, &mut [u64]) -> bool,
        mut take: impl FnMut(&mut Self, Range<usize>, &[u64], &[usize]),
        meanwhile: impl Fn(usize),
    ) -> usize {
        // Until they are there, nothing in the index changes its place.
        self.settle_for(rows);
        let is_far = self.is_far();
        let (step_rows, lag) = if is_far { (FAR_STEP_ROWS, 1) } else { (NEAR_STEP_ROWS, 0) };
        let (mut hashes, mut places) = ([0; NEAR_STEP_ROWS], [0; NEAR_STEP_ROWS]);
        // Where these are of the steps that are hashed, sought and taken.
        let mut at = [0, 1, 2].map(|step| step * lag * FAR_STEP_ROWS);
        let mut end = rows;
        for step in 0.. {
            let rows_of = |behind: usize, end: usize| {
                let first = step_rows * usize::checked_sub(step, behind)?;
                (first < end).then(|| first..end.min(first + step_rows))
            };
            if let Some(rows) = rows_of(0, end) {
                let (first, hashes) = (rows.start, &mut hashes[at[0]..at[0] + rows.len()]);
                if !is_far {
                    meanwhile(rows.len() / 4);
                }
                if hash(rows, hashes) {
                    self.prefetch_slots(hashes);
                    if !is_far {
                        meanwhile(hashes.len() / 4);
                    }
                } else {
                    end = first;
                }
            }
            if let Some(rows) = rows_of(lag, end) {
                let at = at[1]..at[1] + rows.len();
                self.seek(&hashes[at.clone()], &mut places[at]);
                if is_far {
                    self.entries.prefetch_room(2 * FAR_STEP_ROWS * self.entry_words);
                }
                meanwhile(if is_far { rows.len() } else { rows.len() / 2 });
            }
            if let Some(rows) = rows_of(2 * lag, end) {
                let at = at[2]..at[2] + rows.len();
                take(self, rows, &hashes[at.clone()], &places[at]);
            } else if step >= 2 * lag {
                break;
            }
            at.rotate_right(1);
        }
        end
    }

    /// Asks for the slots of hashes.
    #[inline]
    fn prefetch_slots(&self, hashes: &[u64]) {
        let ask = |slots: &Slots, hash: u64| sys::prefetch(slots.words(), slots.place(hash));
        match self.index.only() {
            Some(slots) => hashes.iter().for_each(|hash| ask(slots, *hash)),
            None => hashes.iter().for_each(|hash| ask(self.index.of(*hash), *hash)),
        }
    }

    /// Where the search for each hash's key ends, but for keys whose hashes have the same upper half: the first slot with that half, whose entry is
    /// asked for, or a free one. Places hold until the index is moved or grows.
    #[inline]
    fn seek(&self, hashes: &[u64], places: &mut [usize]) {
        let pairs = hashes.iter().zip(places);
        match self.index.only() {
            Some(slots) => pairs.for_each(|(hash, place)| *place = self.seek_in(slots, *hash)),
            None => {
                pairs.for_each(|(hash, place)| *place = self.seek_in(self.index.of(*hash), *hash))
            }
        }
    }

    #[inline(always)]
    fn seek_in(&self, slots: &Slots, hash: u64) -> usize {
        match slots.first_alike(slots.place(hash), hash) {
            Ok((place, number)) => {
                let at = number * self.entry_words;
                sys::prefetch(&self.entries, at);
                // Most entries lie in two cache lines.
                sys::prefetch(&self.entries, at + self.entry_words - 1);
                place
            }
            Err(place) => place,
        }
    }

    /// Grows the index to where so many groups more leave every slot in its place.
    #[inline]
    fn settle_for(&mut self, groups: usize) {
        self.index.make_room(self.len, groups);
    }

    /// The states of a key's group, and whether it is new: its states are 0 then, and `ordinal` tells its first packet if entries have ordinals.
    #[inline]
    pub(super) fn entry<const K: usize>(
        &mut self,
        hash: u64,
        key: &[u64; K],
        ordinal: impl FnOnce() -> u64,
    ) -> (&mut [u64], bool) {
        let place = self.index.of(hash).place(hash);
        let (index, is_new) = self.number_from(place, hash, key, ordinal);
        if is_new {
            self.settle_for(1);
        }
        (self.states_of::<K>(index), is_new)
    }

    /// The same, where [`Self::look_up`] has found a place for the hash.
    #[inline]
    pub(super) fn entry_from<const K: usize>(
        &mut self,
        place: usize,
        hash: u64,
        key: &[u64; K],
        ordinal: impl FnOnce() -> u64,
    ) -> (&mut [u64], bool) {
        let (index, is_new) = self.number_from(place, hash, key, ordinal);
        (self.states_of::<K>(index), is_new)
    }

    /// The same for rows in any order, of which the least ordinal stays if entries have one.
    #[inline]
    pub(super) fn earliest_from<const K: usize>(
        &mut self,
        place: usize,
        hash: u64,
        key: &[u64; K],
        ordinal: u64,
    ) -> (&mut [u64], bool) {
        let (index, is_new) = self.number_from(place, hash, key, || ordinal);
        if self.has_ordinals() {
            let first = &mut self.entries[index * self.entry_words];
            *first = ordinal.min(*first);
        }
        (self.states_of::<K>(index), is_new)
    }

    #[inline]
    fn number_from<const K: usize>(
        &mut self,
        place: usize,
        hash: u64,
        key: &[u64; K],
        ordinal: impl FnOnce() -> u64,
    ) -> (usize, bool) {
        debug_assert_eq!(K, self.key_words);
        match self.find(self.index.of(hash), place, hash, key, self.entry_words) {
            Ok(index) => (index, false),
            Err(place) => (self.insert::<K, 0>(place, hash, key, ordinal()), true),
        }
    }

    #[inline]
    fn states_of<const K: usize>(&mut self, index: usize) -> &mut [u64] {
        let at = index * self.entry_words;
        &mut self.entries[at + self.key_at + K..at + self.entry_words]
    }

    /// Takes rows into counts and sums, one for each of `operands`. The key begins at word `key`; `places` are those that [`Self::look_up`]
    /// found, if it was asked. Returns how many groups are new; `ordinal` tells the first packet of those.
    pub(super) fn add_rows<const K: usize>(
        &mut self,
        rows: Rows<'_>,
        places: Option<&[usize]>,
        key: usize,
        operands: &[Operand],
        ordinal: impl Fn(&[u64]) -> u64,
    ) -> u64 {
        debug_assert_eq!(K, self.key_words);
        debug_assert_eq!(operands.len(), self.entry_words - self.key_at - K);
        let before = self.len;
        // With few states there is no loop over them, and how long an entry is is known beforehand.
        match operands.len() {
            1 => self.add_rows_of::<K, 1>(rows, places, key, operands, ordinal),
            2 => self.add_rows_of::<K, 2>(rows, places, key, operands, ordinal),
            3 => self.add_rows_of::<K, 3>(rows, places, key, operands, ordinal),
            _ => self.add_rows_of::<K, 0>(rows, places, key, operands, ordinal),
        }
        (self.len - before) as u64
    }

    /// The same where there are `S` states, or as many as operands if `S` is 0.
    #[inline(always)]
    fn add_rows_of<const K: usize, const S: usize>(
        &mut self,
        rows: Rows<'_>,
        places: Option<&[usize]>,
        key: usize,
        operands: &[Operand],
        ordinal: impl Fn(&[u64]) -> u64,
    ) {
        let operands = &operands[..if S == 0 { operands.len() } else { S }];
        let states_at = self.key_at + K;
        let entry_words = states_at + operands.len();
        let numbered = (0..).zip(rows.words.chunks_exact(rows.stride));
        for ((number, row), hash) in numbered.zip(rows.hashes) {
            let Some(key) = row.get(key..).and_then(<[u64]>::first_chunk::<K>) else { continue };
            let slots = self.index.of(*hash);
            let place = places.map_or_else(|| slots.place(*hash), |places| places[number]);
            let (index, is_new) = match self.find(slots, place, *hash, key, entry_words) {
                Ok(index) => (index, false),
                Err(place) => (self.insert::<K, S>(place, *hash, key, ordinal(row)), true),
            };
            let at = index * entry_words;
            let states = self.entries[at + states_at..at + entry_words].iter_mut().zip(operands);
            if !is_new {
                states.for_each(|(state, operand)| *state = state.wrapping_add(operand.of(row)));
                continue;
            }
            // Their zeros may be on their way to memory: reading them would wait for that.
            states.for_each(|(state, operand)| *state = operand.of(row));
            if places.is_none() {
                self.settle_for(1);
            }
        }
    }

    /// Whether the table is too large to be in the cache anyway.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.entries.len() + self.index.len() > CACHED_WORDS
    }

    /// The number of a key's entry, or the slot for a new one, from a place on. Entries have `entry_words` words, which whoever asks may know better
    /// than the table.
    #[inline]
    fn find<const K: usize>(
        &self,
        slots: &Slots,
        place: usize,
        hash: u64,
        key: &[u64; K],
        entry_words: usize,
    ) -> Result<usize, usize> {
        slots.find_from(place, hash, |number| {
            let at = number * entry_words + self.key_at;
            // Without a branch for each word: mostly all of them agree.
            let words = self.entries[at..at + K].iter().zip(key);
            words.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
        })
    }

    /// Adds an entry whose states are 0: `S` of them, or as many as the table says if `S` is 0. Where their number is known beforehand, no loop writes them.
    #[inline(never)]
    fn insert<const K: usize, const S: usize>(
        &mut self,
        place: usize,
        hash: u64,
        key: &[u64; K],
        ordinal: u64,
    ) -> usize {
        let index = self.len;
        self.len += 1;
        self.index.put(place, hash, index);
        let entry = match (S, self.has_ordinals()) {
            (0, _) => self.entries.append(self.entry_words),
            (_, true) => self.entries.append(1 + K + S),
            (_, false) => self.entries.append(K + S),
        };
        let key_at = self.key_at;
        if key_at > 0 {
            entry[0] = ordinal;
        }
        entry[key_at..key_at + K].copy_from_slice(key);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_again_while_the_table_grows() {
        let hasher = WordHasher::new();
        let mut table = WordTable::new(true, 2, 1);
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
        assert_eq!(table.take_entries().len(), 10_000 * table.entry_words());
        assert_eq!((table.len(), table.entries().count()), (0, 0));
        assert!(table.entry(hasher.hash(&[1, 1]), &[1, 1], || 7).1);
        assert_eq!(table.into_entries()[..], [7, 1, 1, 0]);
    }

    #[test]
    fn entries_without_ordinals_are_keys_and_states() {
        let hasher = WordHasher::new();
        let mut table = WordTable::new(false, 2, 1);
        for i in (0..300u64).chain(100..200) {
            let key = [i % 7, i];
            let hash = hasher.hash(&key);
            table.entry(hash, &key, || 999).0[0] += 5;
            let place = table.index.of(hash).place(hash);
            assert!(!table.earliest_from(place, hash, &key, 0).1);
        }
        table.renumber(|ordinal| ordinal + 1);
        for (i, entry) in (0u64..).zip(table.entries()) {
            assert_eq!(entry, [i % 7, i, if (100..200).contains(&i) { 10 } else { 5 }]);
        }
        assert_eq!(table.len(), 300);
        // Nor is there one where there is no key either.
        let mut table = WordTable::new(false, 0, 2);
        let rows = Rows { words: &[9, 4, 9, 6], stride: 2, hashes: &[hasher.hash(&[]); 2] };
        let operands = [Operand::ONE, Operand::word(1)];
        table.add_rows::<0>(rows, None, 1, &operands, |_| 999);
        assert!(table.entries().eq([[2, 10]]));
    }

    #[test]
    fn rows_add_up_wherever_their_search_begins() {
        let hasher = WordHasher::new();
        for is_sought in [false, true] {
            let mut table = WordTable::new(true, 5, 2);
            let keys: Vec<u64> = (0..3 * 5_000).map(|i| i * 7 % 5_000).collect();
            let mut new = 0;
            // A key twice in some batches.
            for keys in keys.chunks(6_000) {
                let row = |i: &u64| [0, *i, i + 1, i + 2, i + 3, i + 4, 7];
                let words: Vec<u64> = keys.iter().flat_map(row).collect();
                let hash = |row: &[u64]| hasher.hash(row[1..].first_chunk::<5>().unwrap());
                let operands = [Operand::ONE, Operand::word(6)];
                let add = |table: &mut WordTable,
                           words: &[u64],
                           hashes: &[u64],
                           places: Option<&[usize]>| {
                    let rows = Rows { words, stride: 7, hashes };
                    table.add_rows::<5>(rows, places, 1, &operands, |row| 10 + row[1])
                };
                if !is_sought {
                    let hashes: Vec<u64> = words.chunks_exact(7).map(hash).collect();
                    new += add(&mut table, &words, &hashes, None);
                    continue;
                }
                let mut rest = &words[..];
                while !rest.is_empty() {
                    let (rows, more) = rest.split_at(rest.len().min(7 * table.rows_together()));
                    let of = |range: Range<usize>| &rows[7 * range.start..7 * range.end];
                    let hash = |range, hashes: &mut [u64]| {
                        let rows = of(range).chunks_exact(7);
                        rows.zip(hashes).for_each(|(row, to)| *to = hash(row));
                        true
                    };
                    let taken = table.look_up(
                        rows.len() / 7,
                        hash,
                        |table, range, hashes, places| {
                            new += add(table, of(range), hashes, Some(places));
                        },
                        |_| {},
                    );
                    assert_eq!(taken, rows.len() / 7);
                    rest = more;
                }
            }
            assert_eq!((new, table.len()), (5_000, 5_000));
            for (i, entry) in keys.iter().zip(table.entries()) {
                assert_eq!(entry, [10 + i, *i, i + 1, i + 2, i + 3, i + 4, 3, 21]);
            }
        }
    }

    #[test]
    fn a_look_up_ends_before_the_step_that_is_not_to_be_looked_up() {
        for rows in [0, 1, NEAR_STEP_ROWS, 100] {
            for steps in 0..4 {
                let mut table = WordTable::new(true, 1, 0);
                let mut taken = Vec::new();
                let end = table.look_up(
                    rows,
                    |rows, hashes| {
                        let numbered = rows.clone().zip(&mut *hashes);
                        numbered.for_each(|(row, hash)| *hash = row as u64);
                        rows.start < steps * NEAR_STEP_ROWS
                    },
                    |_, rows, hashes, places| {
                        assert!(hashes.iter().copied().eq(rows.clone().map(|row| row as u64)));
                        assert_eq!(places.len(), rows.len());
                        taken.extend(rows);
                    },
                    |_| {},
                );
                assert_eq!(end, rows.min(steps * NEAR_STEP_ROWS));
                assert!(taken.into_iter().eq(0..end));
            }
        }
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
