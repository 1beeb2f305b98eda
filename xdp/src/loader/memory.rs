//! Access to maps: entries by index, and whole tables in batches.

use std::ops::Range;

use super::error::MapAccess;
use super::{Loaded, sys};
use crate::asm::MapId;

/// Entries that one system call reads.
const BATCH_ENTRIES: u32 = 1024;

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

    pub(super) fn update(&self, map: MapId, key: u32, value: &[u64]) -> Result<(), MapAccess> {
        sys::update(self.map(map), key, value).map_err(self.failed(map, "write"))
    }

    /// Takes groups out of a half of a query's table, those that are `wanted`, in no order. Only parts of the half are looked at whose bit is
    /// in `used`. Programs may not fill that half meanwhile: the turn that they see is that of the other, and [`Loaded::quiesce`] has been waited
    /// for.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take_groups(
        &self,
        query: usize,
        half: u32,
        used: u64,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<Entry>, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(Vec::new()) };
        let (words, table) = (groups.entry_words as usize, groups.table);
        let mut taken = Vec::new();
        for (slot, of_cpus) in self.table(query, half, used)? {
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
                self.update(table, slot, &kept)?;
            }
        }
        Ok(taken)
    }

    /// Groups in a half of a query's table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn count_groups(&self, query: usize, half: u32) -> Result<u64, MapAccess> {
        let slots = self.table(query, half, u64::MAX)?;
        Ok(slots.iter().map(|(_, groups)| groups.len() as u64).sum())
    }

    /// Slots of a half that have groups, by their number in the map; each group with its CPU.
    fn table(&self, query: usize, half: u32, used: u64) -> Result<Vec<Slot>, MapAccess> {
        let Some(groups) = self.groups(query) else { return Ok(Vec::new()) };
        let (slots, words) = (groups.slots, groups.entry_words as usize);
        let stride = words * self.cpus;
        let count = BATCH_ENTRIES.min(slots);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut found = Vec::new();
        let failed = || self.failed(groups.table, "read");
        for Range { start, end } in runs(used, groups.part_slots(), slots) {
            let (mut at, end) = (half * slots + start, half * slots + end);
            while at < end {
                // A batch begins behind the key given.
                let wanted = count.min(end - at) as usize;
                keys.resize(wanted, 0);
                values.resize(wanted * stride, 0);
                let map = self.map(groups.table);
                let read = sys::lookup_batch(map, at.checked_sub(1), &mut keys, &mut values);
                let read = read.map_err(failed())?;
                if read == 0 {
                    return Err(failed()(std::io::ErrorKind::UnexpectedEof.into()));
                }
                for (slot, value) in (at..).zip(values[..read * stride].chunks(stride)) {
                    let of_cpus = value.chunks(words).enumerate().filter(|(_, entry)| entry[0] > 0);
                    let entry =
                        |(cpu, words): (usize, &[u64])| (cpu, Entry { words: words.to_vec() });
                    let of_cpus: Vec<_> = of_cpus.map(entry).collect();
                    found.extend(Some((slot, of_cpus)).filter(|(_, groups)| !groups.is_empty()));
                }
                at += read as u32;
            }
        }
        Ok(found)
    }
}

/// A slot, by its number in the map, with its groups and the CPU of each.
type Slot = (u32, Vec<(usize, Entry)>);

/// The slots of the parts whose bits are set, as few ranges as they make.
fn runs(used: u64, part_slots: u32, slots: u32) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for part in (0..slots / part_slots).filter(|part| used >> part & 1 == 1) {
        let (start, end) = (part * part_slots, (part + 1) * part_slots);
        match runs.last_mut().filter(|run| run.end == start) {
            Some(run) => run.end = end,
            None => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_side_by_side_are_read_together() {
        let runs = |used, part_slots, slots| -> Vec<(u32, u32)> {
            let runs = runs(used, part_slots, slots);
            runs.into_iter().map(|run| (run.start, run.end)).collect()
        };
        assert_eq!(runs(0b1011, 64, 4096), [(0, 128), (192, 256)]);
        assert_eq!(runs(u64::MAX, 64, 4096), [(0, 4096)]);
        assert_eq!(runs(1 << 63, 2, 128), [(126, 128)]);
        assert_eq!(runs(u64::MAX, 1, 8), [(0, 8)]);
        assert_eq!(runs(1, 1, 1), [(0, 1)]);
        assert_eq!(runs(0, 64, 4096), []);
    }
}
