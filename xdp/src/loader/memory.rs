//! Access to maps: entries by index, and whole tables in batches.

use super::error::MapAccess;
use super::{Loaded, sys};
use crate::asm::MapId;

/// Entries that one system call reads.
const BATCH_ENTRIES: usize = 1024;

/// A group in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Words of the entry: tuples, ordinal, keys, states.
    pub words: Vec<u64>,
}

impl Loaded {
    fn failed(&self, map: MapId, what: &'static str) -> impl FnOnce(std::io::Error) -> MapAccess {
        let map = self.spec.maps[map.0 as usize].name.clone();
        move |source| MapAccess { map, what, source }
    }

    pub(super) fn lookup(&self, map: MapId, key: u32, out: &mut [u64]) -> Result<(), MapAccess> {
        sys::lookup(self.map(map), key, out).map_err(self.failed(map, "read"))
    }

    pub(super) fn update(&self, map: MapId, key: u32, value: &[u64]) -> Result<(), MapAccess> {
        sys::update(self.map(map), key, value).map_err(self.failed(map, "write"))
    }

    /// Takes all groups out of a half of a query's table, in no order. Programs may not fill that half meanwhile: the other is the
    /// generation they see, and [`Loaded::quiesce`] has been waited for.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take_groups(&self, query: usize, generation: u32) -> Result<Vec<Entry>, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(Vec::new()) };
        let (words, table) = (groups.entry_words as usize, groups.table);
        let first = generation * groups.slots;
        let mut taken = Vec::new();
        let empty = vec![0; words * self.cpus];
        for (slot, value) in self.table(query, first)?.iter().enumerate() {
            if value.is_empty() {
                continue;
            }
            taken.extend(value.iter().cloned());
            self.update(table, first + slot as u32, &empty)?;
        }
        Ok(taken)
    }

    /// Groups in a half of a query's table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn count_groups(&self, query: usize, generation: u32) -> Result<u64, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(0) };
        let slots = self.table(query, generation * groups.slots)?;
        Ok(slots.iter().map(|slot| slot.len() as u64).sum())
    }

    /// By slot of a half: the groups of all CPUs in it.
    fn table(&self, query: usize, first: u32) -> Result<Vec<Vec<Entry>>, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(Vec::new()) };
        let (slots, words) = (groups.slots as usize, groups.entry_words as usize);
        let stride = words * self.cpus;
        let count = BATCH_ENTRIES.min(slots);
        let (mut keys, mut values) = (vec![0u32; count], vec![0u64; count * stride]);
        let mut found = Vec::with_capacity(slots);
        while found.len() < slots {
            // A batch begins behind the key given.
            let at = first + found.len() as u32;
            let wanted = count.min(slots - found.len());
            let (keys, values) = (&mut keys[..wanted], &mut values[..wanted * stride]);
            let read = sys::lookup_batch(self.map(groups.table), at.checked_sub(1), keys, values)
                .map_err(self.failed(groups.table, "read"))?;
            if read == 0 {
                let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(self.failed(groups.table, "read")(end));
            }
            for value in values[..read * stride].chunks(stride) {
                let of_cpus = value.chunks(words).filter(|entry| entry[0] > 0);
                found.push(of_cpus.map(|entry| Entry { words: entry.to_vec() }).collect());
            }
        }
        Ok(found)
    }
}
