//! Groups over words: rows that compiled code has written, taken into the tables of their windows.

use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;
use wt_wire::RecordRef;

use super::plan::{GroupPlan, WordState};
use super::table::{WordHasher, WordTable};
use crate::interp::bits;
use crate::ledger::TupleCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::tuple::{Message, Tuple};

/// Rows that are hashed and prefetched together before any is looked up.
const ROWS_AHEAD: usize = 32;

/// Most words of a key: there is code for each width.
pub(super) const KEY_WORDS_MAX: usize = 12;

/// The groups of one query.
pub(super) struct WordGroups {
    name: String,
    plan: GroupPlan,
    hasher: WordHasher,
    /// Open windows, the earliest first.
    windows: Vec<Window>,
    /// A table to use again.
    spare: Option<WordTable>,
    /// The latest window seen, as [`rank`] numbers them.
    newest: Option<u64>,
    /// Windows before it are closed.
    bound: u64,
    charged_bytes: u64,
}

struct Window {
    rank: u64,
    table: WordTable,
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
}

impl RowBatch<'_> {
    /// The place of a row's record in the batch.
    #[inline]
    pub(super) fn index(&self, row: &[u64]) -> u64 {
        (row[0] - self.first_record) / size_of::<RecordRef>() as u64
    }
}

impl WordGroups {
    pub(super) fn new(name: &str, plan: &GroupPlan) -> Self {
        Self {
            name: name.to_owned(),
            plan: plan.clone(),
            hasher: WordHasher::new(),
            windows: Vec::new(),
            spare: None,
            newest: None,
            bound: 0,
            charged_bytes: 0,
        }
    }

    /// Groups held.
    pub(super) fn held(&self) -> u64 {
        self.windows.iter().map(|window| window.table.len() as u64).sum()
    }

    /// Takes rows in order. `out` is called with the record that a message follows.
    pub(super) fn take(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        memory: &mut Memory,
        out: &mut dyn FnMut(u64, Message),
    ) -> Result<(), MemoryExceeded> {
        let (first, last) = self.plan.key;
        match last - first {
            0 => self.rows::<0>(batch, counters, out),
            1 => self.rows::<1>(batch, counters, out),
            2 => self.rows::<2>(batch, counters, out),
            3 => self.rows::<3>(batch, counters, out),
            4 => self.rows::<4>(batch, counters, out),
            5 => self.rows::<5>(batch, counters, out),
            6 => self.rows::<6>(batch, counters, out),
            7 => self.rows::<7>(batch, counters, out),
            8 => self.rows::<8>(batch, counters, out),
            9 => self.rows::<9>(batch, counters, out),
            10 => self.rows::<10>(batch, counters, out),
            11 => self.rows::<11>(batch, counters, out),
            _ => self.rows::<KEY_WORDS_MAX>(batch, counters, out),
        }
        self.charge(memory)
    }

    /// Rows whose key has `K` words.
    fn rows<const K: usize>(
        &mut self,
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut hashes = [0u64; ROWS_AHEAD];
        for rows in batch.rows.chunks(ROWS_AHEAD * batch.stride) {
            let table = self.windows.last().map(|window| &window.table);
            for (row, hash) in rows.chunks_exact(batch.stride).zip(&mut hashes) {
                *hash = self.hasher.hash(self.plan.key_of::<K>(row));
                if let Some(table) = table {
                    table.prefetch_slot(*hash);
                }
            }
            if let Some(table) = table {
                let count = rows.len() / batch.stride;
                hashes[..count].iter().for_each(|hash| table.prefetch_entry(*hash));
            }
            self.chunk::<K>(rows, &hashes, batch, counters, out);
        }
    }

    fn chunk<const K: usize>(
        &mut self,
        rows: &[u64],
        hashes: &[u64],
        batch: RowBatch<'_>,
        counters: &mut TupleCounters,
        out: &mut dyn FnMut(u64, Message),
    ) {
        let mut at = self.windows.len().wrapping_sub(1);
        for (row, hash) in rows.chunks_exact(batch.stride).zip(hashes) {
            let rank = self.plan.window.as_ref().map_or(0, |(column, ordered, _)| {
                let word = column.value_word(row);
                rank(column.ty, ordered.decreasing, word)
            });
            if self.windows.get(at).is_none_or(|window| window.rank != rank) {
                match self.open(rank, batch.index(row), counters, out) {
                    Some(index) => at = index,
                    None => {
                        counters.late += 1;
                        continue;
                    }
                }
            }
            let table = &mut self.windows[at].table;
            let key = self.plan.key_of::<K>(row);
            let (index, is_new) = table.find(*hash, key, batch.ordinal + batch.index(row));
            counters.matched += 1;
            counters.merged += u64::from(!is_new);
            update(&self.plan.states, table.states(index), row, is_new);
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
        let table = self.spare.take();
        let table = table.unwrap_or_else(|| WordTable::new(last - first, self.plan.states.len()));
        self.windows.insert(index, Window { rank, table });
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
        self.close(self.bound, record, counters, out);
        if let Some(message) = self.punctuation() {
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
        let Some((column, ordered, tolerance)) = &self.plan.window else { return };
        let tolerance = *tolerance;
        let word = value.and_then(Value::as_u64);
        let rank = word.map(|word| rank(column.ty, ordered.decreasing, word));
        if let Some(rank) = rank.filter(|rank| self.newest.is_none_or(|newest| *rank > newest)) {
            self.advance(rank, tolerance, 0, counters, out);
        } else if let Some(message) = self.punctuation() {
            out(0, message);
        }
    }

    fn punctuation(&self) -> Option<Message> {
        let (column, ordered, _) = self.plan.window.as_ref()?;
        self.newest?;
        let bound = value_of_rank(column.ty, ordered.decreasing, self.bound);
        Some(Message::Punctuation(vec![(ordered.column, bound)]))
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
            for entry in window.table.entries() {
                out(record, Message::Tuple(tuple(&self.plan, window.rank, entry)));
            }
            window.table.clear();
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
    /// The key of a row.
    #[inline]
    fn key_of<'a, const K: usize>(&self, row: &'a [u64]) -> &'a [u64; K] {
        // The first `K` words from the key's place on: rows are as wide as the plan says.
        row[self.key.0..].first_chunk().unwrap_or(const { &[0; K] })
    }
}

/// The tuple of a group: keys, then states.
fn tuple(plan: &GroupPlan, rank: u64, entry: &[u64]) -> Tuple {
    let (first, last) = plan.key;
    // Columns are placed as in a row, whose key begins at word `first`; in an entry it begins at word 1.
    let keys = plan.keys.iter().map(|column| match (column, &plan.window) {
        (Some(column), _) => column.shifted(first - 1).value(entry, &[]),
        (None, Some((column, ordered, _))) => value_of_rank(column.ty, ordered.decreasing, rank),
        (None, None) => Value::Uint(0),
    });
    let states = &entry[1 + last - first..];
    let states = plan.states.iter().zip(states).map(|(state, word)| {
        bits::value(*word, state.ty).unwrap_or_else(|| Value::default_of(state.ty))
    });
    Tuple { ordinal: entry[0], values: keys.chain(states).collect() }
}

#[inline]
fn update(states: &[WordState], words: &mut [u64], row: &[u64], is_new: bool) {
    for (state, word) in states.iter().zip(words) {
        let arg = state.arg.map_or(1, |at| row[at]);
        *word = match state.kind {
            AggKind::Count | AggKind::Sum => word.wrapping_add(arg),
            _ if is_new => arg,
            AggKind::Min if is_signed(state.ty) => (*word as i64).min(arg as i64) as u64,
            AggKind::Max if is_signed(state.ty) => (*word as i64).max(arg as i64) as u64,
            AggKind::Min => (*word).min(arg),
            AggKind::Max => (*word).max(arg),
            AggKind::BitAnd => *word & arg,
            AggKind::BitOr => *word | arg,
            AggKind::BitXor => *word ^ arg,
        };
    }
}

fn is_signed(ty: Type) -> bool {
    ty.is_signed() || ty == Type::Duration
}

/// A window's value as an unsigned number that grows with time.
fn rank(ty: Type, decreasing: bool, word: u64) -> u64 {
    let rank = if is_signed(ty) { word ^ 1 << 63 } else { word };
    if decreasing { !rank } else { rank }
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
