//! Groups over words: rows that compiled code has written, taken into the tables of their windows.

mod merge;
mod regroup;
mod take;
#[cfg(test)]
mod tests;

use wt_catalog::layout::{Column, Place};
use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;
use wt_trace::Meanwhile;
use wt_wire::RecordRef;

use self::merge::InOrder;
pub(crate) use self::regroup::Regroup;
use super::lent;
use super::plan::{GroupPlan, MOVES, NARROW, WIDE, WordState};
use super::sys::Words;
use super::table::{Operand, WordHasher, WordTable};
use crate::block::{Block, BlockColumn};
use crate::ledger::TupleCounters;
use crate::lfta::BatchOrdinals;
use crate::memory::{Memory, MemoryExceeded};
use crate::tuple::Message;

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
    /// Tables to use again, by kind of key.
    spare: Option<Vec<WordTable>>,
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
    /// Those windows, in order.
    passed: Vec<Window>,
    /// Groups of the only window of the range before, by kind of key: the next one mostly has about as many.
    expected: Vec<usize>,
    /// Whether groups may leave in any order.
    in_any_order: bool,
}

/// The groups of a window.
pub(super) struct Window {
    rank: u64,
    /// Tuples taken in.
    rows: u64,
    /// The ordinal of the first of them.
    first: u64,
    /// By kind of key.
    tables: Vec<WordTable>,
}

impl Window {
    /// How many groups.
    fn len(&self) -> usize {
        self.tables.iter().map(WordTable::len).sum()
    }
}

/// Rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct RowBatch<'a> {
    pub(super) rows: &'a [u64],
    pub(super) stride: usize,
    pub(super) ordinals: BatchOrdinals<'a>,
    /// The address of the batch's first record.
    pub(super) first_record: u64,
    /// What waits for memory while rows are taken.
    pub(super) meanwhile: Option<Meanwhile<'a>>,
}

impl RowBatch<'_> {
    /// The place of a row's record in the batch.
    #[inline]
    pub(super) fn index(&self, row: &[u64]) -> u64 {
        (row[0] - self.first_record) / size_of::<RecordRef>() as u64
    }

    /// The ordinal of a row's record.
    #[inline]
    pub(super) fn ordinal(&self, row: &[u64]) -> u64 {
        self.ordinals.of(self.index(row))
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
            passed: Vec::new(),
            expected: Vec::new(),
            in_any_order: plan.is_free,
        }
    }

    /// The groups of ranges of packets, which [`Self::fold`] takes.
    pub(super) fn of_range(name: &str, plan: &GroupPlan, hasher: WordHasher) -> Self {
        Self { of_range: true, ..Self::new(name, plan, hasher) }
    }

    /// Hashes keys otherwise: before there are any.
    #[cfg(test)]
    pub(super) fn hash_by(&mut self, hasher: WordHasher) {
        self.hasher = hasher;
    }

    /// The query.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Groups held.
    pub(super) fn held(&self) -> u64 {
        self.passed.iter().chain(&self.windows).map(|window| window.len() as u64).sum()
    }

    /// Whether each group of a window is sent once.
    pub(super) fn are_whole(&self) -> bool {
        self.plan.groups_max.is_none()
    }

    /// The table of the newest window for a kind of key, for code to add to groups, and groups as long as there is room; nothing where it is so large that
    /// its memory has to be asked for before.
    pub(super) fn lend(&mut self, kind: usize) -> Option<lent::Table> {
        let Self { windows, rank_of, hasher, .. } = self;
        let Window { rank, tables, .. } = windows.last_mut()?;
        let table = tables.get_mut(kind)?.lend()?;
        Some(lent::Table { window: *rank ^ rank_of.flip, seeds: hasher.seeds(), ..table })
    }

    /// Takes note of what code has added to the newest window's table for a kind of key. `batch` is that of the packets.
    pub(super) fn added(
        &mut self,
        kind: usize,
        added: lent::Added,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
    ) {
        let Some(window) = self.windows.last_mut().filter(|_| added.tuples > 0) else { return };
        let table = &mut window.tables[kind];
        let before = table.len();
        table.adopt(added.next, |record| batch.ordinal(&[record]));
        window.rows += added.tuples;
        counters.matched += added.tuples;
        counters.merged += added.tuples - (table.len() - before) as u64;
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
            self.send(self.windows.len(), 0, false, counters, &mut apart);
        }
    }

    /// Takes rows of a batch, those of each kind of key in order. `out` is called with the record that a message follows.
    pub(super) fn take<'a>(
        &mut self,
        wide: RowBatch<'a>,
        narrow: RowBatch<'a>,
        counters: &mut TupleCounters,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        self.make_room(counters, out);
        self.rows(wide, narrow, counters, out);
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
            let [rows, none] = [rows, &[]].map(|rows| RowBatch { rows, ..batch });
            self.take(rows, none, counters, memory, out)?;
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
        let mut tables = self.spare.take().unwrap_or_else(|| self.plan.tables());
        let expected = std::mem::take(&mut self.expected);
        tables.iter_mut().zip(expected).for_each(|(table, groups)| table.expect(groups));
        self.windows.insert(index, Window { rank, rows: 0, first: u64::MAX, tables });
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
        if self.of_range {
            let passed = self.windows_before(self.bound);
            self.passed.extend(self.windows.drain(..passed));
        } else {
            self.send(self.windows_before(self.bound), record, false, counters, out);
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

    /// How many windows are before one.
    fn windows_before(&self, rank: u64) -> usize {
        self.windows.partition_point(|window| window.rank < rank)
    }

    /// Sends every group.
    pub(super) fn finish(
        &mut self,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        self.send(self.windows.len(), 0, true, counters, out);
    }

    /// Sends the groups of the earliest windows, which may be the last that come: windows in order, groups by first packet.
    fn send(
        &mut self,
        count: usize,
        record: u64,
        are_last: bool,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        for mut window in self.windows.drain(..count) {
            counters.output += window.len() as u64;
            let blocks = blocks(&self.plan, &mut window, self.in_any_order, are_last);
            blocks.into_iter().for_each(|block| out(record, Message::Block(block)));
            self.spare = (!are_last).then_some(window.tables);
        }
    }

    fn charge(&mut self, memory: &mut Memory) -> Result<(), MemoryExceeded> {
        let windows = self.passed.iter().chain(&self.windows);
        let tables = windows.map(|window| &window.tables).chain(&self.spare);
        let bytes: u64 = tables.flatten().map(WordTable::bytes).sum();
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
        row[self.key_at()..].first_chunk().unwrap_or(const { &[0; K] })
    }

    /// The first word of a row's key, of whatever kind.
    fn key_at(&self) -> usize {
        self.keys[WIDE].words.0
    }

    /// A table for a kind of key.
    fn table(&self, kind: usize) -> WordTable {
        let key = &self.keys[kind];
        WordTable::new(key.has_ordinals, key.len(), self.states.len())
    }

    /// A table for each kind of key.
    fn tables(&self) -> Vec<WordTable> {
        (0..self.keys.len()).map(|kind| self.table(kind)).collect()
    }
}

/// The groups of a window, which its tables forget unless they are the last: as they lie there, unless those of several kinds are to be in order; then
/// all of them as any key is held, by ordinal.
fn blocks(plan: &GroupPlan, window: &mut Window, in_any_order: bool, are_last: bool) -> Vec<Block> {
    let Window { rank, first, tables, .. } = window;
    let value = plan.window_of_rank(*rank);
    let filled = tables.iter().filter(|table| table.len() > 0).count();
    if filled < 2 || in_any_order {
        let of_kind = |(kind, table): (usize, &mut WordTable)| {
            let (columns, stride) = (columns(plan, kind, value.as_ref()), table.entry_words());
            (table.len() > 0).then(|| {
                // Nothing is added behind the last: their index need not be cleared.
                let words = match are_last {
                    true => std::mem::replace(table, plan.table(kind)).into_entries(),
                    false => table.take_entries(),
                };
                let block = Block::new(columns, stride, words);
                if table.has_ordinals() { block } else { block.of_ordinal(*first) }
            })
        };
        return tables.iter_mut().enumerate().filter_map(of_kind).collect();
    }
    let wide = columns(plan, WIDE, value.as_ref());
    let narrow = columns(plan, NARROW, value.as_ref());
    let stride = tables[WIDE].entry_words();
    let mut words = Words::with_capacity(stride * tables.iter().map(WordTable::len).sum::<usize>());
    for entry in InOrder::new(tables) {
        let row = words.append(stride);
        if entry.len() == stride {
            row.copy_from_slice(entry);
            continue;
        }
        row[0] = entry[0];
        for pair in wide.iter().zip(&narrow) {
            if let (BlockColumn::Row(wide), BlockColumn::Row(narrow)) = pair {
                wide.put(row, narrow.words(entry));
            }
        }
    }
    if !are_last {
        tables.iter_mut().for_each(WordTable::clear);
    }
    vec![Block::new(wide, stride, words)]
}

/// The columns of the tuples of a window's groups, as its table for a kind of key holds them: keys, then states.
fn columns(plan: &GroupPlan, kind: usize, window: Option<&Value>) -> Vec<BlockColumn> {
    let key = &plan.keys[kind];
    // Columns are placed as in a row; in an entry the key begins further in front.
    let shift = key.words.0 - key.at();
    let keys = key.columns.iter().map(|column| match column {
        Some(column) => BlockColumn::Row(column.shifted(shift)),
        None => BlockColumn::Same(window.cloned().unwrap_or(Value::Uint(0))),
    });
    let states = plan.states.iter().zip(key.words.1 - shift..).map(|(state, word)| {
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
