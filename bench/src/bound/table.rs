//! Hash tables as one writes them for a single purpose: open addressing, linear probing, no removal.

use crate::sys::prefetch;

/// A key that knows its hash. The default value marks an empty slot and is no key of a packet.
pub trait Key: Copy + Eq + Default + Send {
    /// A hash whose upper bits are good.
    fn hash(&self) -> u64;
}

/// Multiplies to 128 bits and folds: two numbers become one, each bit of which depends on all of them.
#[inline(always)]
pub fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product as u64) ^ (product >> 64) as u64
}

/// A group: what a task keeps for each key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot<K> {
    /// Which; the default for none.
    pub key: K,
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// Packets and bytes per key, in place.
#[derive(Clone, Debug)]
pub struct Table<K> {
    slots: Vec<Slot<K>>,
    shift: u32,
    used: usize,
}

/// Slots at first.
const SLOTS_MIN: usize = 1 << 12;

impl<K: Key> Default for Table<K> {
    fn default() -> Self {
        Self::with_slots(SLOTS_MIN)
    }
}

impl<K: Key> Table<K> {
    fn with_slots(slots: usize) -> Self {
        Self { slots: vec![Slot::default(); slots], shift: 64 - slots.trailing_zeros(), used: 0 }
    }

    /// Asks for the slot where a search for this hash begins.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.slots[(hash >> self.shift) as usize]);
    }

    /// Adds to a group.
    #[inline(always)]
    pub fn add(&mut self, key: K, hash: u64, packets: u64, bytes: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.key == key {
                slot.packets += packets;
                slot.bytes += bytes;
                return;
            }
            if slot.key == K::default() {
                *slot = Slot { key, packets, bytes };
                self.used += 1;
                // Above five eighths probes become long.
                if self.used * 8 > self.slots.len() * 5 {
                    self.grow();
                }
                return;
            }
            at += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let larger = Self::with_slots(self.slots.len() * 2);
        let old = std::mem::replace(self, larger);
        for slot in old.groups() {
            self.add(slot.key, slot.key.hash(), slot.packets, slot.bytes);
        }
    }

    /// All groups, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &Slot<K>> {
        self.slots.iter().filter(|slot| slot.key != K::default())
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.used
    }
}

/// Groups in the order of their first packet, for windows that are emptied again and again.
#[derive(Clone, Debug)]
pub struct Ordered<K> {
    /// Index into `groups` plus one, and 32 bits of the hash; zeros for none.
    index: Vec<(u32, u32)>,
    shift: u32,
    /// In order of arrival.
    groups: Vec<Slot<K>>,
}

impl<K: Key> Default for Ordered<K> {
    fn default() -> Self {
        Self {
            index: vec![(0, 0); SLOTS_MIN],
            shift: 64 - SLOTS_MIN.trailing_zeros(),
            groups: Vec::new(),
        }
    }
}

impl<K: Key> Ordered<K> {
    /// Asks for the place of the index where a search for this hash begins.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.index[(hash >> self.shift) as usize]);
    }

    /// Adds to a group.
    #[inline(always)]
    pub fn add(&mut self, key: K, hash: u64, packets: u64, bytes: u64) {
        let mask = self.index.len() - 1;
        let tag = hash as u32;
        let mut at = (hash >> self.shift) as usize;
        loop {
            let (number, known) = self.index[at & mask];
            if number == 0 {
                self.groups.push(Slot { key, packets, bytes });
                self.index[at & mask] = (self.groups.len() as u32, tag);
                if self.groups.len() * 2 > self.index.len() {
                    self.grow();
                }
                return;
            }
            if known == tag {
                let group = &mut self.groups[number as usize - 1];
                if group.key == key {
                    group.packets += packets;
                    group.bytes += bytes;
                    return;
                }
            }
            at += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let len = self.index.len() * 2;
        self.shift -= 1;
        self.index.clear();
        self.index.resize(len, (0, 0));
        for (number, group) in self.groups.iter().enumerate() {
            let hash = group.key.hash();
            let mut at = (hash >> self.shift) as usize;
            while self.index[at & (len - 1)].0 != 0 {
                at += 1;
            }
            self.index[at & (len - 1)] = (number as u32 + 1, hash as u32);
        }
    }

    /// The groups, in order of arrival.
    pub fn groups(&self) -> &[Slot<K>] {
        &self.groups
    }

    /// Takes the groups out; the index keeps its size.
    pub fn take(&mut self) -> Vec<Slot<K>> {
        self.index.fill((0, 0));
        std::mem::take(&mut self.groups)
    }

    /// Empties the table; both parts keep their size.
    pub fn clear(&mut self) {
        self.index.fill((0, 0));
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::generate::Random;

    impl Key for u64 {
        fn hash(&self) -> u64 {
            // Few distinct hashes, so that probes are long.
            fold_multiply(*self % 1000, 1)
        }
    }

    #[test]
    fn both_tables_hold_what_a_map_holds() {
        let mut random = Random::new(5);
        let (mut table, mut ordered) = (Table::default(), Ordered::default());
        let mut model: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut order = Vec::new();
        for _ in 0..40_000 {
            let key = 1 + u64::from(random.below(6000));
            let bytes = u64::from(random.below(1500));
            table.add(key, key.hash(), 1, bytes);
            ordered.add(key, key.hash(), 1, bytes);
            let group = model.entry(key).or_insert_with(|| {
                order.push(key);
                (0, 0)
            });
            *group = (group.0 + 1, group.1 + bytes);
        }
        assert_eq!(table.count(), model.len());
        for slot in table.groups().chain(ordered.groups()) {
            assert_eq!(model[&slot.key], (slot.packets, slot.bytes));
        }
        let keys: Vec<u64> = ordered.groups().iter().map(|slot| slot.key).collect();
        assert_eq!(keys, order);
        ordered.clear();
        ordered.add(9, 9_u64.hash(), 1, 1);
        assert_eq!(ordered.take().len(), 1);
        assert!(ordered.groups().is_empty());
    }
}
