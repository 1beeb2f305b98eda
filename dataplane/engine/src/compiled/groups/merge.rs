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
        let mut windows = std::mem::take(&mut self.passed);
        windows.append(&mut self.windows);
        if let [window] = &windows[..] {
            self.expected = window.tables.iter().map(WordTable::len).collect();
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
            window.first += ordinal;
            let rows = window.rows;
            let known = self.windows.binary_search_by_key(&window.rank, |window| window.rank);
            let new = match known {
                Ok(index) => {
                    let into = &mut self.windows[index];
                    let before = into.len();
                    into.first = into.first.min(window.first);
                    for ((kind, table), from) in
                        into.tables.iter_mut().enumerate().zip(&window.tables)
                    {
                        merge(&self.plan, kind, self.hasher, table, from.entries(), |within| {
                            within + ordinal
                        });
                    }
                    into.len() - before
                }
                Err(index) => {
                    let new = window.len();
                    for table in &mut window.tables {
                        table.renumber(|within| within + ordinal);
                    }
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
        self.in_any_order |= any_order;
        let rows: u64 = windows.iter().map(|window| window.rows).sum();
        let first = windows.iter().map(|window| ordinals.of(window.first)).min();
        let mut by_kind: Vec<Vec<WordTable>> =
            self.plan.keys.iter().map(|_| Vec::with_capacity(windows.len())).collect();
        for window in windows {
            by_kind.iter_mut().zip(window.tables).for_each(|(kind, table)| kind.push(table));
        }
        let joined = by_kind.into_iter().enumerate();
        let tables: Option<Vec<WordTable>> =
            joined.map(|(kind, tables)| self.joined(kind, tables, ordinals)).collect();
        let (Some(tables), Some(first)) = (tables, first) else { return Ok(()) };
        counters.matched += rows;
        let Self { plan, hasher, windows, .. } = self;
        let new = match windows.first_mut() {
            None => {
                let window = Window { rank: 0, rows, first, tables };
                let new = window.len();
                windows.push(window);
                new
            }
            // What other files came to.
            Some(window) => {
                let before = window.len();
                for (kind, (into, table)) in window.tables.iter_mut().zip(&tables).enumerate() {
                    merge(plan, kind, *hasher, into, table.entries(), |ordinal| ordinal);
                }
                window.rows += rows;
                window.first = window.first.min(first);
                window.len() - before
            }
        };
        counters.merged += rows - new as u64;
        self.charge(memory)
    }

    /// The groups of tables for one kind of key, which threads have; nothing where there are none.
    fn joined(
        &self,
        kind: usize,
        mut tables: Vec<WordTable>,
        ordinals: Ordinals<'_>,
    ) -> Option<WordTable> {
        let (plan, hasher) = (&self.plan, self.hasher);
        let ordinal = |kept| ordinals.of(kept);
        if self.in_any_order || tables.len() < 2 {
            tables.sort_by_key(WordTable::len);
            let mut table = tables.pop()?;
            ordinals.renumber(&mut table);
            for other in &tables {
                merge(plan, kind, hasher, &mut table, other.entries(), ordinal);
            }
            return Some(table);
        }
        let mut table = plan.table(kind);
        table.expect(tables.iter().map(WordTable::len).max().unwrap_or(0));
        merge(plan, kind, hasher, &mut table, InOrder::new(&tables), ordinal);
        Some(table)
    }
}

/// Entries of several tables, each in order of arrival, in order of arrival.
pub(super) struct InOrder<'a, I: Iterator<Item = &'a [u64]>> {
    /// Of each table: the next entry, and those behind it.
    tables: Vec<(&'a [u64], I)>,
}

impl<'a> InOrder<'a, std::slice::ChunksExact<'a, u64>> {
    pub(super) fn new(tables: &'a [WordTable]) -> Self {
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

/// Takes groups of other tuples into a table for a kind of key. Those that are new come behind those that are there.
fn merge<'a>(
    plan: &GroupPlan,
    kind: usize,
    hasher: WordHasher,
    into: &mut WordTable,
    entries: impl Iterator<Item = &'a [u64]>,
    ordinal: impl Fn(u64) -> u64,
) {
    for_key_words!(plan.keys[kind].len(), K => merge_of::<K>(plan, hasher, into, entries, ordinal));
}

fn merge_of<'a, const K: usize>(
    plan: &GroupPlan,
    hasher: WordHasher,
    into: &mut WordTable,
    mut entries: impl Iterator<Item = &'a [u64]>,
    ordinal: impl Fn(u64) -> u64,
) {
    let has_ordinals = into.has_ordinals();
    let key_at = usize::from(has_ordinals);
    let key_of = |entry: &[u64]| *entry[key_at..].first_chunk::<K>().unwrap_or(&[0; K]);
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
                    let ordinal = if has_ordinals { ordinal(entry[0]) } else { 0 };
                    let (states, is_new) = into.earliest_from(*place, *hash, &key, ordinal);
                    let states = plan.states.iter().zip(states).zip(&entry[key_at + K..]);
                    for ((state, word), later) in states {
                        *word = updated(state.kind, state.ty, *word, *later, is_new);
                    }
                }
            },
            |_| {},
        );
    }
}
