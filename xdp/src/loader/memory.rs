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

    /// Takes groups out of a half of a query's table, those that are `wanted`, in no order. Programs may not fill that half meanwhile: the
    /// other is the generation they see, and [`Loaded::quiesce`] has been waited for.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take_groups(
        &self,
        query: usize,
        generation: u32,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(Vec::new()) };
        let (words, table) = (groups.entry_words as usize, groups.table);
        let first = generation * groups.slots;
        let mut taken = Vec::new();
        for (slot, of_cpus) in self.table(query, first)?.into_iter().enumerate() {
            let before = taken.len();
            let mut kept = vec![0; words * self.cpus];
            for (cpu, entry) in of_cpus {
                if wanted(&entry) {
                    taken.push(entry);
                } else {
                    kept[cpu * words..][..words].copy_from_slice(&entry.words);
                }
            }
            if taken.len() > before {
                self.update(table, first + slot as u32, &kept)?;
            }
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

    /// By slot of a half: the groups in it, each with its CPU.
    fn table(&self, query: usize, first: u32) -> Result<Vec<Vec<(usize, Entry)>>, MapAccess> {
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
                let of_cpus = value.chunks(words).enumerate().filter(|(_, entry)| entry[0] > 0);
                let entry = |(cpu, words): (usize, &[u64])| (cpu, Entry { words: words.to_vec() });
                found.push(of_cpus.map(entry).collect());
            }
        }
        Ok(found)
    }
}
