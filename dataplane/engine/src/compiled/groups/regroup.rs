//! Groups of tuples that come in blocks: those of an aggregation over the groups of another, or over what a selection sends.

use std::ops::Range;

use wt_catalog::Value;
use wt_catalog::layout::{Column, words_of};
use wt_plan::ir::NodeId;
use wt_plan::physical;
use wt_plan::shape;

use super::{RankOf, columns, for_key_words, update};
use crate::block::Block;
use crate::compiled::plan::{GroupPlan, GroupRows, WIDE, group_rows};
use crate::compiled::sys::Words;
use crate::compiled::table::{WordHasher, WordTable};
use crate::compiled::width;

/// How an aggregation holds keys and operands of its tuples as rows of words, and its groups as tables of them. A row begins with the tuple's
/// ordinal.
pub(crate) struct Regroup {
    plan: GroupPlan,
    columns: Vec<(NodeId, Column)>,
    stride: usize,
    rank_of: RankOf,
    hasher: WordHasher,
}

impl Regroup {
    /// Nothing where a tuple goes to several groups, or keys and results are more than words.
    pub(crate) fn of(plan: &physical::Aggregate) -> Option<Self> {
        let physical::Aggregate { exprs, keys, ordered, tolerance, .. } = plan;
        let aggs = shape::word_groups(plan)?.aggs;
        let bits = |node: NodeId| width::of_type(exprs.nodes[node.0 as usize].ty);
        let rows = group_rows(exprs, bits, keys, (ordered.first(), *tolerance), aggs);
        let GroupRows { plan, columns, stride, .. } = rows;
        Some(Self { rank_of: RankOf::new(&plan), plan, columns, stride, hasher: WordHasher::new() })
    }

    /// Keys, then operands, and where a row has them.
    pub(crate) fn columns(&self) -> &[(NodeId, Column)] {
        &self.columns
    }

    /// Words of a row.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Rows of one window after the other, with the key that is the window and its value.
    pub(crate) fn windows<'a>(
        &'a self,
        rows: &'a [u64],
    ) -> impl Iterator<Item = (Option<(usize, Value)>, &'a [u64])> {
        let mut rest = rows;
        std::iter::from_fn(move || {
            let rank = self.rank_of.rank(rest.get(..self.stride)?);
            let is_same = |row: &&[u64]| self.rank_of.rank(row) == rank;
            let count = rest.chunks_exact(self.stride).take_while(is_same).count();
            let (rows, more) = rest.split_at(count * self.stride);
            rest = more;
            let key = self.plan.window.as_ref().map(|(_, ordered, _)| ordered.column as usize);
            Some((key.zip(self.plan.window_of_rank(rank)), rows))
        })
    }

    /// Words of a key: of any addresses.
    fn key_words(&self) -> usize {
        self.plan.keys[WIDE].len()
    }

    /// A table for the groups of a window.
    pub(crate) fn table(&self) -> WordTable {
        self.plan.table(WIDE)
    }

    /// Takes rows; returns how many groups are new.
    pub(crate) fn take(&self, table: &mut WordTable, rows: &[u64]) -> usize {
        let before = table.len();
        for_key_words!(self.key_words(), K => self.take_rows::<K>(table, rows));
        table.len() - before
    }

    fn take_rows<const K: usize>(&self, table: &mut WordTable, rows: &[u64]) {
        let stride = self.stride;
        let mut rest = rows;
        while !rest.is_empty() {
            let (rows, more) = rest.split_at(rest.len().min(table.rows_together() * stride));
            let of = |range: Range<usize>| {
                rows[range.start * stride..range.end * stride].chunks_exact(stride)
            };
            table.look_up(
                rows.len() / stride,
                |range, hashes| {
                    let pairs = of(range).zip(hashes);
                    pairs.for_each(|(row, hash)| {
                        *hash = self.hasher.hash(self.plan.key_of::<K>(row))
                    });
                    true
                },
                |table, range, hashes, places| {
                    for ((row, hash), place) in of(range).zip(hashes).zip(places) {
                        let key = self.plan.key_of::<K>(row);
                        let (states, is_new) = table.earliest_from(*place, *hash, key, row[0]);
                        update(&self.plan.states, states, row, is_new);
                    }
                },
                |_| {},
            );
            rest = more;
        }
    }

    /// Takes the keys and operands of a tuple; returns how many groups are new.
    pub(crate) fn take_values<'a>(
        &self,
        table: &mut WordTable,
        ordinal: u64,
        values: impl IntoIterator<Item = &'a Value>,
    ) -> usize {
        self.take(table, &self.row(ordinal, values))
    }

    /// Takes a group that the table has not got, of these keys and results.
    pub(crate) fn take_group(
        &self,
        table: &mut WordTable,
        ordinal: u64,
        keys: &[Value],
        results: impl Iterator<Item = Value>,
    ) {
        let row = self.row(ordinal, keys);
        let states = for_key_words!(self.key_words(), K => {
            let key = self.plan.key_of::<K>(&row);
            table.entry(self.hasher.hash(key), key, || ordinal).0
        });
        for (state, result) in states.iter_mut().zip(results) {
            *state = words_of(&result).map_or(0, |[word, ..]| word);
        }
    }

    fn row<'a>(&self, ordinal: u64, values: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
        let mut row = vec![0; self.stride];
        row[0] = ordinal;
        for ((_, column), value) in self.columns.iter().zip(values) {
            if let Some(words) = words_of(value) {
                column.put(&mut row, words);
            }
        }
        row
    }

    /// The groups of a window as tuples, keys and then results, in the order of their first packets and then of their arrival.
    pub(crate) fn block(&self, table: WordTable, window: Option<&Value>) -> Block {
        let stride = table.entry_words();
        let words = in_order(table.into_entries(), stride);
        Block::new(columns(&self.plan, WIDE, window), stride, words)
    }
}

/// Entries by ordinal, and then as they come.
fn in_order(words: Words, stride: usize) -> Words {
    let entries = words.chunks_exact(stride);
    if entries.clone().is_sorted_by_key(|entry| entry[0]) {
        return words;
    }
    let mut order: Vec<(u64, usize)> = entries.map(|entry| entry[0]).zip(0..).collect();
    order.sort_unstable();
    let mut sorted = Words::with_capacity(words.len());
    for (_, number) in order {
        let at = number * stride;
        sorted.append(stride).copy_from_slice(&words[at..at + stride]);
    }
    sorted
}
