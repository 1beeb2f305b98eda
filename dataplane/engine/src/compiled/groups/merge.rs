//! Groups of ranges of packets, taken into those of all packets.

use super::{Window, WordGroups, for_key_words, updated};
use crate::compiled::plan::GroupPlan;
use crate::compiled::range::Ordinals;
use crate::compiled::table::{WordHasher, WordTable};
use crate::ledger::TupleCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::tuple::Message;

impl WordGroups {
    /// The windows of a range of packets, which is over.
    pub(in crate::compiled) fn end_range(&mut self, memory: &mut Memory) -> Vec<Window> {
        (self.newest, self.bound) = (None, 0);
        memory.release(std::mem::take(&mut self.charged_bytes));
        let windows = std::mem::take(&mut self.windows);
        if let [window] = &windows[..] {
            self.expected = window.table.len();
        }
        windows
    }

    /// Takes the windows of the range of packets that follows; `ordinal` is that of its first packet. A window that is closed
    /// is late as a whole: what closed it lies before the range.
    pub(in crate::compiled) fn fold(
        &mut self,
        windows: Vec<Window>,
        ordinal: u64,
        counters: &mut TupleCounters,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        self.make_room(counters, out);
        for mut window in windows {
            if window.rank < self.bound {
                counters.late += window.rows;
                continue;
            }
            let rows = window.rows;
            let known = self.windows.binary_search_by_key(&window.rank, |window| window.rank);
            let new = match known {
                Ok(index) => {
                    let into = &mut self.windows[index].table;
                    let before = into.len();
                    let (plan, hasher, from) = (&self.plan, self.hasher, window.table.entries());
                    let ordinal = |within| within + ordinal;
                    for_key_words!(plan.key.1 - plan.key.0, K => merge::<K>(plan, hasher, into, from, ordinal));
                    into.len() - before
                }
                Err(index) => {
                    let new = window.table.len();
                    window.table.renumber(|within| within + ordinal);
                    self.windows.insert(index, window);
                    new
                }
            };
            counters.matched += rows;
            counters.merged += rows - new as u64;
        }
        self.charge(memory)
    }

    /// Takes the groups of all packets so far, of which threads have those of some ranges each, where there is but one window. Where they may be in any
    /// order, one table takes in the others.
    pub(in crate::compiled) fn fold_kept(
        &mut self,
        windows: Vec<Window>,
        ordinals: Ordinals<'_>,
        any_order: bool,
        counters: &mut TupleCounters,
        memory: &mut Memory,
    ) -> Result<(), MemoryExceeded> {
        let rows: u64 = windows.iter().map(|window| window.rows).sum();
        let mut tables: Vec<WordTable> = windows.into_iter().map(|window| window.table).collect();
        let ordinal = |kept| ordinals.of(kept);
        let (first, last) = self.plan.key;
        let (plan, hasher) = (&self.plan, self.hasher);
        let table = if any_order || tables.len() < 2 {
            tables.sort_by_key(WordTable::len);
            let Some(mut table) = tables.pop() else { return Ok(()) };
            ordinals.renumber(&mut table);
            for other in &tables {
                let (into, from) = (&mut table, other.entries());
                for_key_words!(last - first, K => merge::<K>(plan, hasher, into, from, ordinal));
            }
            table
        } else {
            let mut table = WordTable::new(last - first, self.plan.states.len());
            table.expect(tables.iter().map(WordTable::len).max().unwrap_or(0));
            let (into, from) = (&mut table, InOrder::new(&tables));
            for_key_words!(last - first, K => merge::<K>(plan, hasher, into, from, ordinal));
            table
        };
        counters.matched += rows;
        counters.merged += rows - table.len() as u64;
        self.windows.push(Window { rank: 0, rows, table });
        self.charge(memory)
    }
}

/// Entries of several tables, each in order of arrival, in order of arrival.
struct InOrder<'a, I: Iterator<Item = &'a [u64]>> {
    /// Of each table: the next entry, and those behind it.
    tables: Vec<(&'a [u64], I)>,
}

impl<'a> InOrder<'a, std::slice::ChunksExact<'a, u64>> {
    fn new(tables: &'a [WordTable]) -> Self {
        let tables = tables.iter().map(WordTable::entries);
        let tables = tables.filter_map(|mut entries| Some((entries.next()?, entries)));
        Self { tables: tables.collect() }
    }
}

impl<'a, I: Iterator<Item = &'a [u64]>> Iterator for InOrder<'a, I> {
    type Item = &'a [u64];

    fn next(&mut self) -> Option<&'a [u64]> {
        let heads = self.tables.iter().enumerate();
        let (first, _) = heads.min_by_key(|(_, (entry, _))| entry[0])?;
        let (entry, more) = &mut self.tables[first];
        match more.next() {
            Some(next) => Some(std::mem::replace(entry, next)),
            None => Some(self.tables.swap_remove(first).0),
        }
    }
}

/// Takes groups of other tuples into a table. Those that are new come behind those that are there.
fn merge<'a, const K: usize>(
    plan: &GroupPlan,
    hasher: WordHasher,
    into: &mut WordTable,
    mut entries: impl Iterator<Item = &'a [u64]>,
    ordinal: impl Fn(u64) -> u64,
) {
    let key_of = |entry: &[u64]| *entry[1..].first_chunk::<K>().unwrap_or(&[0; K]);
    let mut ahead: Vec<&[u64]> = Vec::new();
    loop {
        ahead.clear();
        ahead.extend(entries.by_ref().take(into.rows_together()));
        if ahead.is_empty() {
            return;
        }
        into.look_up(
            ahead.len(),
            |rows, hashes| {
                let pairs = hashes.iter_mut().zip(&ahead[rows]);
                pairs.for_each(|(hash, entry)| *hash = hasher.hash(&key_of(entry)));
                true
            },
            |into, rows, hashes, places| {
                for ((entry, hash), place) in ahead[rows].iter().zip(hashes).zip(places) {
                    let key = key_of(entry);
                    let (states, is_new) =
                        into.earliest_from(*place, *hash, &key, ordinal(entry[0]));
                    let states = plan.states.iter().zip(states).zip(&entry[1 + K..]);
                    for ((state, word), later) in states {
                        *word = updated(state.kind, state.ty, *word, *later, is_new);
                    }
                }
            },
            |_| {},
        );
    }
}
