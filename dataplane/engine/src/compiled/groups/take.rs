//! Rows of a batch, taken into the tables of their windows by the kind of their keys.

use std::ops::Range;

use super::{RowBatch, Window, WordGroups, for_key_words, update};
use crate::compiled::plan::{NARROW, WIDE};
use crate::compiled::table::Rows;
use crate::ledger::TupleCounters;
use crate::tuple::Message;

/// Rows that are hashed together before any is looked up in a small table.
const ROWS_AHEAD: usize = 64;
/// Rows for each of which what waits for memory goes on by a step.
const ROWS_PER_STEP: usize = 16;

impl Window {
    /// Enters tuples that it has taken in, the ordinal of the first, and how many have begun a group.
    fn take_note(&mut self, first: u64, count: u64, new: u64, counters: &mut TupleCounters) {
        self.rows += count;
        self.first = self.first.min(first);
        counters.matched += count;
        counters.merged += count - new;
    }
}

impl RowBatch<'_> {
    /// Lets what waits for memory go on by as many steps as belong to so many rows.
    #[inline]
    fn steps_for(&self, rows: usize) {
        if let Some(meanwhile) = &self.meanwhile {
            (0..rows / ROWS_PER_STEP).for_each(|_| meanwhile.step());
        }
    }

    /// How many rows there are.
    fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    /// The first rows, so many at most, and those behind.
    fn split(self, most: usize) -> (Self, Self) {
        let (first, rest) = self.rows.split_at(self.rows.len().min(most * self.stride));
        (Self { rows: first, ..self }, Self { rows: rest, ..self })
    }
}

impl WordGroups {
    /// Takes rows of both kinds of keys: one kind after the other where that is as good, and else in the order of their packets, for they may move the
    /// window.
    pub(super) fn rows<'a>(
        &mut self,
        mut wide: RowBatch<'a>,
        mut narrow: RowBatch<'a>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        if self.plan.window.is_some() && !(self.are_newest(wide) && self.are_newest(narrow)) {
            while let (Some(first), Some(other)) = (wide.rows.first(), narrow.rows.first()) {
                let (kind, of, record) = match first < other {
                    true => (WIDE, &mut wide, *other),
                    false => (NARROW, &mut narrow, *first),
                };
                let rows = of.rows.chunks_exact(of.stride);
                let (before, behind) = of.split(rows.take_while(|row| row[0] < record).count());
                *of = behind;
                self.of_kind(kind, before, counters, out);
            }
        }
        self.of_kind(WIDE, wide, counters, out);
        self.of_kind(NARROW, narrow, counters, out);
    }

    /// Whether rows are of the newest window, as far as there are any.
    fn are_newest(&self, batch: RowBatch<'_>) -> bool {
        let newest = self.windows.last().map(|window| window.rank);
        let mut rows = batch.rows.chunks_exact(batch.stride);
        rows.all(|row| newest == Some(self.rank_of.rank(row)))
    }

    /// Takes rows of a kind in order.
    fn of_kind(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let Some(key) = self.plan.keys.get(kind) else { return };
        for_key_words!(key.len(), K => self.of_key::<K>(kind, batch, counters, out));
    }

    /// The same, for keys of `K` words.
    fn of_key<const K: usize>(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut rest = batch;
        while !rest.rows.is_empty() {
            let is_large = |window: &Window| window.tables[kind].is_large();
            let mut taken = 0;
            if self.windows.last().is_some_and(is_large) {
                taken = self.looked_up::<K>(kind, rest, counters);
            }
            if taken == 0 {
                let few = rest.split(ROWS_AHEAD).0;
                self.few::<K>(kind, few, counters, out);
                taken = few.len();
            }
            rest = rest.split(taken).1;
        }
    }

    /// Takes rows at the beginning that are of the newest window, whose table is so large that each may wait for memory; how many.
    fn looked_up<const K: usize>(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
    ) -> usize {
        let Self { windows, rank_of, hasher, plan, operands, is_additive, .. } = self;
        let Some(window) = windows.last_mut() else { return 0 };
        let table = &mut window.tables[kind];
        let (rank, stride) = (window.rank, batch.stride);
        let words = |rows: Range<usize>| &batch.rows[rows.start * stride..rows.end * stride];
        let ordinal = |row: &[u64]| batch.ordinal(row);
        let mut new = 0;
        let count = table.look_up(
            batch.len().min(table.rows_together()),
            |rows, hashes| {
                let mut are_newest = true;
                for (row, hash) in words(rows).chunks_exact(stride).zip(hashes) {
                    *hash = hasher.hash(plan.key_of::<K>(row));
                    are_newest &= rank_of.rank(row) == rank;
                }
                are_newest
            },
            |table, rows, hashes, places| {
                let words = words(rows);
                if *is_additive {
                    let (key, rows) = (plan.key_at(), Rows { words, stride, hashes });
                    new += table.add_rows::<K>(rows, Some(places), key, operands, ordinal);
                    return;
                }
                let rows = words.chunks_exact(stride);
                for ((row, hash), place) in rows.zip(hashes).zip(places) {
                    let key = plan.key_of::<K>(row);
                    let (states, is_new) = table.entry_from(*place, *hash, key, || ordinal(row));
                    update(&plan.states, states, row, is_new);
                    new += u64::from(is_new);
                }
            },
            |rows| batch.steps_for(rows),
        );
        if count > 0 {
            window.take_note(ordinal(batch.rows), count as u64, new, counters);
        }
        count
    }

    /// Takes as many rows as are hashed together.
    fn few<const K: usize>(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        batch.steps_for(batch.len());
        let mut hashes = [0; ROWS_AHEAD];
        let Self { windows, rank_of, hasher, plan, .. } = self;
        let newest = windows.last();
        let rank = newest.map_or(0, |window| window.rank);
        let mut is_newest = newest.is_some();
        for (row, hash) in batch.rows.chunks_exact(batch.stride).zip(&mut hashes) {
            *hash = hasher.hash(plan.key_of::<K>(row));
            is_newest &= rank_of.rank(row) == rank;
        }
        let hashes = &hashes[..batch.len()];
        match windows.last_mut() {
            Some(window) if is_newest && self.is_additive => {
                let ordinal = |row: &[u64]| batch.ordinal(row);
                let (key, operands) = (plan.key_at(), &self.operands);
                let rows = Rows { words: batch.rows, stride: batch.stride, hashes };
                let table = &mut window.tables[kind];
                let new = table.add_rows::<K>(rows, None, key, operands, ordinal);
                window.take_note(ordinal(batch.rows), hashes.len() as u64, new, counters);
            }
            _ => self.chunk::<K>(kind, hashes, batch, counters, out),
        }
    }

    /// Rows of whatever windows.
    fn chunk<const K: usize>(
        &mut self,
        kind: usize,
        hashes: &[u64],
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut rows = batch.rows.chunks_exact(batch.stride).zip(hashes).peekable();
        let mut at = self.windows.len().wrapping_sub(1);
        while let Some((row, _)) = rows.peek() {
            let rank = self.rank_of.rank(row);
            if self.windows.get(at).is_none_or(|window| window.rank != rank) {
                let Some(index) = self.open(rank, batch.index(row), counters, out) else {
                    counters.late += 1;
                    rows.next();
                    continue;
                };
                at = index;
            }
            // Rows of one window mostly come together.
            let Self { windows, plan, rank_of, .. } = self;
            let window = &mut windows[at];
            let first = batch.ordinal(row);
            let (mut count, mut new) = (0, 0);
            while let Some((row, hash)) = rows.next_if(|(row, _)| rank_of.rank(row) == rank) {
                let ordinal = || batch.ordinal(row);
                let key = plan.key_of::<K>(row);
                let (states, is_new) = window.tables[kind].entry(*hash, key, ordinal);
                count += 1;
                new += u64::from(is_new);
                update(&plan.states, states, row, is_new);
            }
            window.take_note(first, count, new, counters);
        }
    }
}
