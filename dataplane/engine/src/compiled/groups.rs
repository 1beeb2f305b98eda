//! Groups over words: rows that compiled code has written, taken into the tables of their windows.

mod merge;
mod regroup;

use std::ops::Range;

use wt_catalog::layout::{Column, Place};
use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;
use wt_trace::Meanwhile;
use wt_wire::RecordRef;

pub(crate) use self::regroup::Regroup;
use super::lent;
use super::plan::{GroupPlan, MOVES, WordState};
use super::table::{Operand, Rows, WordHasher, WordTable};
use crate::block::{Block, BlockColumn};
use crate::ledger::TupleCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::tuple::Message;

/// Rows that are hashed together before any is looked up in a small table.
const ROWS_AHEAD: usize = 64;
/// Rows for each of which what waits for memory goes on by a step.
const ROWS_PER_STEP: usize = 16;

/// Runs an expression for a number of key words that is constant in it.
macro_rules! for_key_words {
    ($words:expr, $k:ident => $run:expr) => {
        for_key_words!(@ $words, $k, $run, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $words:expr, $k:ident, $run:expr, $($count:literal)*) => {
        match $words {
            $($count => {
                const $k: usize = $count;
                $run
            })*
            _ => {
                const $k: usize = wt_plan::shape::KEY_WORDS_MAX;
                $run
            }
        }
    };
}
use for_key_words;

/// The groups of one query.
pub(super) struct WordGroups {
    name: String,
    plan: GroupPlan,
    hasher: WordHasher,
    /// Open windows, the earliest first.
    windows: Vec<Window>,
    /// A table to use again.
    spare: Option<WordTable>,
    rank_of: RankOf,
    /// All states are counts and sums.
    is_additive: bool,
    /// What a row adds to each of them.
    operands: Vec<Operand>,
    /// The latest window seen, as [`rank`] numbers them.
    newest: Option<u64>,
    /// Windows before it are closed.
    bound: u64,
    charged_bytes: u64,
    /// Of a range of packets: windows stay when they are passed, as what precedes the range is not known here.
    of_range: bool,
    /// Groups of the only window of the range before: the next one mostly has about as many.
    expected: usize,
}

/// The groups of a window.
pub(super) struct Window {
    rank: u64,
    /// Tuples taken in.
    rows: u64,
    table: WordTable,
}

impl Window {
    /// Enters tuples that it has taken in, of which so many have begun a group.
    fn take_note(&mut self, count: u64, new: u64, counters: &mut TupleCounters) {
        self.rows += count;
        counters.matched += count;
        counters.merged += count - new;
    }
}

/// Rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct RowBatch<'a> {
    pub(super) rows: &'a [u64],
    pub(super) stride: usize,
    /// Ordinal of the first record of the batch.
    pub(super) ordinal: u64,
    /// Its address.
    pub(super) first_record: u64,
    /// What waits for memory while rows are taken.
    pub(super) meanwhile: Option<Meanwhile<'a>>,
}

impl RowBatch<'_> {
    /// Lets what waits for memory go on by as many steps as belong to so many rows.
    #[inline]
    fn steps_for(&self, rows: usize) {
        if let Some(meanwhile) = &self.meanwhile {
            (0..rows / ROWS_PER_STEP).for_each(|_| meanwhile.step());
        }
    }

    /// The place of a row's record in the batch.
    #[inline]
    pub(super) fn index(&self, row: &[u64]) -> u64 {
        (row[0] - self.first_record) / size_of::<RecordRef>() as u64
    }
}

impl WordGroups {
    pub(super) fn new(name: &str, plan: &GroupPlan, hasher: WordHasher) -> Self {
        Self {
            name: name.to_owned(),
            plan: plan.clone(),
            hasher,
            windows: Vec::new(),
            spare: None,
            rank_of: RankOf::new(plan),
            is_additive: plan.is_additive(),
            operands: plan
                .states
                .iter()
                .map(|state| state.arg.map_or(Operand::ONE, Operand::word))
                .collect(),
            newest: None,
            bound: 0,
            charged_bytes: 0,
            of_range: false,
            expected: 0,
        }
    }

    /// The groups of ranges of packets, which [`Self::fold`] takes.
    pub(super) fn of_range(name: &str, plan: &GroupPlan, hasher: WordHasher) -> Self {
        Self { of_range: true, ..Self::new(name, plan, hasher) }
    }

    /// The query.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Groups held.
    pub(super) fn held(&self) -> u64 {
        self.windows.iter().map(|window| window.table.len() as u64).sum()
    }

    /// Whether each group of a window is sent once.
    pub(super) fn are_whole(&self) -> bool {
        self.plan.groups_max.is_none()
    }

    /// The table of the newest window, for code to add to groups that are there; nothing where it is so large that its memory has to be asked for before.
    pub(super) fn lend(&mut self) -> Option<lent::Table> {
        let Self { windows, rank_of, hasher, .. } = self;
        let Window { rank, table, .. } = windows.last_mut()?;
        let (slots, entries, shift) = table.lend()?;
        Some(lent::Table {
            slots,
            entries,
            shift,
            window: *rank ^ rank_of.flip,
            seeds: hasher.seeds(),
        })
    }

    /// Takes note of tuples that code has added to groups of the newest window.
    pub(super) fn added(&mut self, count: u64, counters: &mut TupleCounters) {
        if let Some(window) = self.windows.last_mut() {
            window.rows += count;
            counters.matched += count;
            counters.merged += count;
        }
    }

    /// Makes room for more groups, where a table may not grow as it likes: windows stay open, and their groups are sent as far as they are.
    /// One by one, as they may come without end: a full ring counts messages.
    fn make_room(&mut self, counters: &mut TupleCounters, out: &mut dyn FnMut(u64, Message)) {
        let held = self.held();
        if !self.of_range && self.plan.groups_max.is_some_and(|most| held >= u64::from(most)) {
            counters.ejected += held;
            let mut apart = |record, message: Message| {
                message.one_by_one().into_iter().for_each(|message| out(record, message));
            };
            self.send(self.windows.len(), 0, counters, &mut apart);
        }
    }

    /// Takes rows in order. `out` is called with the record that a message follows.
    pub(super) fn take(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        self.make_room(counters, out);
        let (first, last) = self.plan.key;
        for_key_words!(last - first, K => self.rows::<K>(batch, counters, out));
        self.charge(memory)
    }

    /// As [`Self::take`], where some rows only move the window.
    pub(super) fn take_moving(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        let mut rest = batch.rows;
        while !rest.is_empty() {
            let moves = |row: &[u64]| row[0] & MOVES != 0;
            let count = rest.chunks_exact(batch.stride).take_while(|row| !moves(row)).count();
            let (rows, more) = rest.split_at(count * batch.stride);
            self.take(RowBatch { rows, ..batch }, counters, memory, out)?;
            let Some((row, more)) = more.split_at_checked(batch.stride) else { break };
            let rank = self.rank_of.rank(row);
            if let Some((_, _, tolerance)) = self.plan.window
                && self.newest.is_none_or(|newest| rank > newest)
            {
                self.advance(rank, tolerance, batch.index(row), counters, out);
            }
            rest = more;
        }
        Ok(())
    }

    /// Rows whose key has `K` words.
    fn rows<const K: usize>(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut hashes = [0; ROWS_AHEAD];
        let mut rest = batch.rows;
        while !rest.is_empty() {
            let taken = self.of_large::<K>(RowBatch { rows: rest, ..batch }, counters);
            if taken > 0 {
                rest = &rest[taken..];
                continue;
            }
            let (rows, more) = rest.split_at(rest.len().min(ROWS_AHEAD * batch.stride));
            let Self { windows, rank_of, hasher, plan, .. } = self;
            let newest = windows.last();
            let rank = newest.map_or(0, |window| window.rank);
            let mut is_newest = newest.is_some();
            for (row, hash) in rows.chunks_exact(batch.stride).zip(&mut hashes) {
                *hash = hasher.hash(plan.key_of::<K>(row));
                is_newest &= rank_of.rank(row) == rank;
            }
            batch.steps_for(rows.len() / batch.stride);
            let hashes = &hashes[..rows.len() / batch.stride];
            match windows.last_mut() {
                Some(window) if is_newest && self.is_additive => {
                    let ordinal = |row: &[u64]| batch.ordinal + batch.index(row);
                    let (key, operands) = (plan.key.0, &self.operands);
                    let rows = Rows { words: rows, stride: batch.stride, hashes };
                    let new = window.table.add_rows::<K>(rows, None, key, operands, ordinal);
                    window.take_note(hashes.len() as u64, new, counters);
                }
                _ => self.chunk::<K>(rows, hashes, batch, counters, out),
            }
            rest = more;
        }
    }

    /// Takes rows at the beginning that are of the newest window, where its table is so large that each would wait for memory; the words that they have.
    fn of_large<const K: usize>(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
    ) -> usize {
        let Self { windows, rank_of, hasher, plan, operands, is_additive, .. } = self;
        let Some(window) = windows.last_mut().filter(|window| window.table.is_large()) else {
            return 0;
        };
        let (rank, stride) = (window.rank, batch.stride);
        let words = |rows: Range<usize>| &batch.rows[rows.start * stride..rows.end * stride];
        let ordinal = |row: &[u64]| batch.ordinal + batch.index(row);
        let rows = (batch.rows.len() / stride).min(window.table.rows_together());
        let mut new = 0;
        let count = window.table.look_up(
            rows,
            |rows, hashes| {
                let mut is_newest = true;
                for (row, hash) in words(rows).chunks_exact(stride).zip(hashes) {
                    *hash = hasher.hash(plan.key_of::<K>(row));
                    is_newest &= rank_of.rank(row) == rank;
                }
                is_newest
            },
            |table, rows, hashes, places| {
                let words = words(rows);
                if *is_additive {
                    let (key, rows) = (plan.key.0, Rows { words, stride, hashes });
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
        count * stride
    }

    /// Rows of whatever windows.
    fn chunk<const K: usize>(
        &mut self,
        rows: &[u64],
        hashes: &[u64],
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut rows = rows.chunks_exact(batch.stride).zip(hashes).peekable();
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
                let (states, is_new) = window.table.entry(*hash, key, ordinal);
                count += 1;
                new += u64::from(is_new);
                update(&plan.states, states, row, is_new);
            }
            window.take_note(count, new, counters);
        }
    }

    /// The window of a rank, advancing the frontier to it; nothing when it is closed.
    fn open(
        &mut self,
        rank: u64,
        record: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) -> Option<usize> {
        if let Some((_, _, tolerance)) = &self.plan.window {
            if self.newest.is_none_or(|newest| rank > newest) {
                let tolerance = *tolerance;
                self.advance(rank, tolerance, record, counters, out);
            } else if rank < self.bound {
                return None;
            }
        }
        let index = match self.windows.binary_search_by_key(&rank, |window| window.rank) {
            Ok(index) => return Some(index),
            Err(index) => index,
        };
        let (first, last) = self.plan.key;
        let new = || WordTable::new(last - first, self.plan.states.len());
        let mut table = self.spare.take().unwrap_or_else(new);
        table.expect(std::mem::take(&mut self.expected));
        self.windows.insert(index, Window { rank, rows: 0, table });
        Some(index)
    }

    /// Goes on to a later window: sends what that closes, then how far the stream has come.
    fn advance(
        &mut self,
        rank: u64,
        tolerance: u64,
        record: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        self.newest = Some(rank);
        self.bound = rank.saturating_sub(tolerance);
        let mut reached = rank;
        if !self.of_range {
            self.close(self.bound, record, counters, out);
            reached = self.bound;
        }
        if let Some(message) = self.punctuation(reached) {
            out(record, message);
        }
    }

    /// Advances by a lower bound of the window's values, and says how far the stream has come.
    pub(super) fn advance_to(
        &mut self,
        value: Option<&Value>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        if !self.reach(value, counters, out)
            && let Some(message) = self.newest.and_then(|_| self.punctuation(self.bound))
        {
            out(0, message);
        }
    }

    /// Goes on to the window of a value, if that is a later one.
    pub(super) fn reach(
        &mut self,
        value: Option<&Value>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) -> bool {
        let Some((column, ordered, tolerance)) = &self.plan.window else { return false };
        let tolerance = *tolerance;
        let word = value.and_then(Value::as_u64);
        let rank = word.map(|word| rank(column.ty, ordered.decreasing, word));
        let Some(rank) = rank.filter(|rank| self.newest.is_none_or(|newest| *rank > newest)) else {
            return false;
        };
        self.advance(rank, tolerance, 0, counters, out);
        true
    }

    /// That the stream has reached a window.
    fn punctuation(&self, rank: u64) -> Option<Message> {
        let (_, ordered, _) = self.plan.window.as_ref()?;
        let value = self.plan.window_of_rank(rank)?;
        Some(Message::Punctuation(vec![(ordered.column, value)]))
    }

    /// Sends the groups of windows before `bound`, windows in order, groups by first packet.
    fn close(
        &mut self,
        bound: u64,
        record: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let count = self.windows.partition_point(|window| window.rank < bound);
        self.send(count, record, counters, out);
    }

    /// Sends every group.
    pub(super) fn finish(
        &mut self,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        self.send(self.windows.len(), 0, counters, out);
    }

    fn send(
        &mut self,
        count: usize,
        record: u64,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        for mut window in self.windows.drain(..count) {
            counters.output += window.table.len() as u64;
            let stride = window.table.entry_words();
            let columns = columns(&self.plan, self.plan.window_of_rank(window.rank).as_ref());
            let words = window.table.take_entries();
            out(record, Message::Block(Block::new(columns, stride, words)));
            self.spare = Some(window.table);
        }
    }

    fn charge(&mut self, memory: &mut Memory) -> Result<(), MemoryExceeded> {
        let tables = self.windows.iter().map(|window| &window.table).chain(&self.spare);
        let bytes: u64 = tables.map(WordTable::bytes).sum();
        if bytes > self.charged_bytes {
            memory.charge(&self.name, bytes - self.charged_bytes)?;
        } else {
            memory.release(self.charged_bytes - bytes);
        }
        self.charged_bytes = bytes;
        Ok(())
    }
}

impl GroupPlan {
    /// The value of the window of a [`rank`].
    fn window_of_rank(&self, rank: u64) -> Option<Value> {
        let (column, ordered, _) = self.window.as_ref()?;
        Some(value_of_rank(column.ty, ordered.decreasing, rank))
    }

    /// The key of a row.
    #[inline]
    fn key_of<'a, const K: usize>(&self, row: &'a [u64]) -> &'a [u64; K] {
        // The first `K` words from the key's place on: rows are as wide as the plan says.
        row[self.key.0..].first_chunk().unwrap_or(const { &[0; K] })
    }
}

/// The columns of the tuples of a window's groups, as its table holds them: keys, then states.
fn columns(plan: &GroupPlan, window: Option<&Value>) -> Vec<BlockColumn> {
    let (first, last) = plan.key;
    // Columns are placed as in a row, whose key begins at word `first`; in an entry it begins at word 1.
    let keys = plan.keys.iter().map(|column| match column {
        Some(column) => BlockColumn::Row(column.shifted(first - 1)),
        None => BlockColumn::Same(window.cloned().unwrap_or(Value::Uint(0))),
    });
    let states = plan.states.iter().zip(1 + last - first..).map(|(state, word)| {
        BlockColumn::Row(Column { ty: state.ty, place: Place::Words { word } })
    });
    keys.chain(states).collect()
}

/// Takes a row into the states of its group.
#[inline]
fn update(states: &[WordState], words: &mut [u64], row: &[u64], is_new: bool) {
    for (state, word) in states.iter().zip(words) {
        let arg = state.arg.map_or(1, |at| row[at]);
        *word = updated(state.kind, state.ty, *word, arg, is_new);
    }
}

/// A state after an operand, or after the state of later tuples.
#[inline]
pub(super) fn updated(kind: AggKind, ty: Type, word: u64, arg: u64, is_new: bool) -> u64 {
    match kind {
        AggKind::Count | AggKind::Sum => word.wrapping_add(arg),
        _ if is_new => arg,
        AggKind::Min if is_signed(ty) => (word as i64).min(arg as i64) as u64,
        AggKind::Max if is_signed(ty) => (word as i64).max(arg as i64) as u64,
        AggKind::Min => word.min(arg),
        AggKind::Max => word.max(arg),
        AggKind::BitAnd => word & arg,
        AggKind::BitOr => word | arg,
        AggKind::BitXor => word ^ arg,
    }
}

fn is_signed(ty: Type) -> bool {
    ty.is_signed() || ty == Type::Duration
}

/// A window's value as an unsigned number that grows with time.
fn rank(ty: Type, decreasing: bool, word: u64) -> u64 {
    word ^ flipped(ty, decreasing)
}

/// The bits in which a window's value differs from its [`rank`].
fn flipped(ty: Type, decreasing: bool) -> u64 {
    let sign = if is_signed(ty) { 1 << 63 } else { 0 };
    if decreasing { !sign } else { sign }
}

/// Reads the [`rank`] of a row's window; 0 where there is but one.
#[derive(Clone, Copy)]
struct RankOf {
    word: usize,
    shift: u32,
    mask: u64,
    flip: u64,
}

impl RankOf {
    fn new(plan: &GroupPlan) -> Self {
        let Some((column, ordered, _)) = &plan.window else {
            return Self { word: 0, shift: 0, mask: 0, flip: 0 };
        };
        let (word, shift, mask) = column.word_bits();
        Self { word, shift, mask, flip: flipped(column.ty, ordered.decreasing) }
    }

    #[inline]
    fn rank(self, row: &[u64]) -> u64 {
        (row[self.word] >> self.shift & self.mask) ^ self.flip
    }
}

/// The value that [`rank`] numbers.
fn value_of_rank(ty: Type, decreasing: bool, rank: u64) -> Value {
    let rank = if decreasing { !rank } else { rank };
    match ty {
        Type::Int | Type::Llong => Value::Int((rank ^ 1 << 63) as i64),
        Type::Duration => Value::Duration((rank ^ 1 << 63) as i64),
        Type::Time => Value::Time(rank),
        Type::TimeVal => Value::TimeVal(rank),
        _ => Value::Uint(rank),
    }
}
