//! Rows of a batch, taken into the tables of their windows by the kind of their keys.

use std::ops::Range;

use super::{RowBatch, Window, WordGroups, for_key_words, update};
use crate::compiled::plan::{IS_NARROW, NARROW, WIDE};
use crate::compiled::table::Rows;
use crate::hash_index::AT_ONCE_MAX;
use crate::ledger::TupleCounters;
use crate::tuple::Message;

/// Rows that are hashed together before any is looked up in a small table, and that are parted by the kind of their keys.
const ROWS_AHEAD: usize = 64;
/// Rows for each of which what waits for memory goes on by a step.
const ROWS_PER_STEP: usize = 16;

/// The kind of a row's key.
#[inline]
fn kind(row: &[u64]) -> usize {
    if row[0] & IS_NARROW == 0 { WIDE } else { NARROW }
}

impl Window {
    /// Enters tuples that it has taken in, of which so many have begun a group.
    fn take_note(&mut self, count: u64, new: u64, counters: &mut TupleCounters) {
        self.rows += count;
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

    /// The first rows that are of the kind of the first one, and those behind.
    fn split_by_kind(self) -> (Self, Self) {
        let mut rows = self.rows.chunks_exact(self.stride);
        let count = rows.next().map_or(0, |first| {
            let kind_of_first = kind(first);
            1 + rows.take_while(|row| kind(row) == kind_of_first).count()
        });
        self.split(count)
    }
}

impl WordGroups {
    /// Takes rows in order.
    pub(super) fn rows(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut rest = batch;
        while let Some(first) = rest.rows.get(..batch.stride) {
            let next = rest.split(AT_ONCE_MAX).0;
            // Where some were mixed, the next ones mostly are.
            let may_be_same = !self.are_mixed || {
                let same = next.split_by_kind().0.len();
                same == next.len() || same >= ROWS_AHEAD
            };
            let mut taken = 0;
            if may_be_same {
                taken = self.of_kind(kind(first), next, counters, out);
            }
            self.are_mixed = taken == 0;
            if self.are_mixed {
                let mixed = next.split(ROWS_AHEAD).0;
                self.of_both_kinds(mixed, counters, out);
                taken = mixed.len();
            }
            rest = rest.split(taken).1;
        }
    }

    /// A few rows of both kinds: one kind after the other where all are of the newest window, and else as they come, for they may move it.
    fn of_both_kinds(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let newest = self.windows.last().map(|window| window.rank);
        let rows = batch.rows.chunks_exact(batch.stride);
        let mut parted = std::mem::take(&mut self.parted);
        parted.clear();
        let mut rest = batch;
        if rows.clone().all(|row| newest == Some(self.rank_of.rank(row))) {
            for part in [WIDE, NARROW] {
                parted.extend(rows.clone().filter(|row| kind(row) == part).flatten());
            }
            rest = RowBatch { rows: &parted, ..batch };
        }
        while !rest.rows.is_empty() {
            let (mut same, more) = rest.split_by_kind();
            while let Some(first) = same.rows.get(..batch.stride) {
                let taken = self.of_kind(kind(first), same, counters, out);
                same = same.split(taken).1;
            }
            rest = more;
        }
        self.parted = parted;
    }

    /// Takes rows of a kind at the beginning; how many. None where the first ones are not all of that kind.
    fn of_kind(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) -> usize {
        for_key_words!(self.plan.keys[kind].len(), K => self.of_key::<K>(kind, batch, counters, out))
    }

    /// The same, for keys of `K` words.
    fn of_key<const K: usize>(
        &mut self,
        kind: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) -> usize {
        let newest = self.windows.last();
        if newest.is_some_and(|newest| newest.tables[kind].is_large()) {
            let taken = self.looked_up::<K>(kind, batch, counters);
            if taken > 0 {
                return taken;
            }
        }
        self.few::<K>(kind, batch.split(ROWS_AHEAD).0, counters, out)
    }

    /// Takes rows of a kind at the beginning that are of the newest window, whose table is so large that each may wait for memory; how many.
    fn looked_up<const K: usize>(
        &mut self,
        kind_of_all: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
    ) -> usize {
        let Self { windows, rank_of, hasher, plan, operands, is_additive, .. } = self;
        let Some(window) = windows.last_mut() else { return 0 };
        let table = &mut window.tables[kind_of_all];
        let (rank, stride) = (window.rank, batch.stride);
        let words = |rows: Range<usize>| &batch.rows[rows.start * stride..rows.end * stride];
        let ordinal = |row: &[u64]| batch.ordinal + batch.index(row);
        let mut new = 0;
        let count = table.look_up(
            batch.len().min(table.rows_together()),
            |rows, hashes| {
                let mut are_such = true;
                for (row, hash) in words(rows).chunks_exact(stride).zip(hashes) {
                    *hash = hasher.hash(plan.key_of::<K>(row));
                    are_such &= kind(row) == kind_of_all && rank_of.rank(row) == rank;
                }
                are_such
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
        window.take_note(count as u64, new, counters);
        count
    }

    /// Takes as many rows as are hashed together; none if they are not all of a kind.
    fn few<const K: usize>(
        &mut self,
        kind_of_all: usize,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) -> usize {
        let mut hashes = [0; ROWS_AHEAD];
        let Self { windows, rank_of, hasher, plan, .. } = self;
        let newest = windows.last();
        let rank = newest.map_or(0, |window| window.rank);
        let (mut is_newest, mut are_same) = (newest.is_some(), true);
        for (row, hash) in batch.rows.chunks_exact(batch.stride).zip(&mut hashes) {
            *hash = hasher.hash(plan.key_of::<K>(row));
            is_newest &= rank_of.rank(row) == rank;
            are_same &= kind(row) == kind_of_all;
        }
        if !are_same {
            return 0;
        }
        batch.steps_for(batch.len());
        let hashes = &hashes[..batch.len()];
        match windows.last_mut() {
            Some(window) if is_newest && self.is_additive => {
                let ordinal = |row: &[u64]| batch.ordinal + batch.index(row);
                let (key, operands) = (plan.key_at(), &self.operands);
                let rows = Rows { words: batch.rows, stride: batch.stride, hashes };
                let table = &mut window.tables[kind_of_all];
                let new = table.add_rows::<K>(rows, None, key, operands, ordinal);
                window.take_note(hashes.len() as u64, new, counters);
            }
            _ => self.chunk::<K>(kind_of_all, hashes, batch, counters, out),
        }
        batch.len()
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
            let (mut count, mut new) = (0, 0);
            while let Some((row, hash)) = rows.next_if(|(row, _)| rank_of.rank(row) == rank) {
                let ordinal = || batch.ordinal + batch.index(row);
                let key = plan.key_of::<K>(row);
                let (states, is_new) = window.tables[kind].entry(*hash, key, ordinal);
                count += 1;
                new += u64::from(is_new);
                update(&plan.states, states, row, is_new);
            }
            window.take_note(count, new, counters);
        }
    }
}
