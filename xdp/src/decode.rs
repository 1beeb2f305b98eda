//! What programs leave in maps and the ring, as the engine's tuples.

use std::ops::RangeInclusive;

use wt_catalog::layout;
use wt_engine::Tuple;
use wt_plan::ir::AggKind;
use wt_wire::{Direction, RecordRef};

use crate::codegen::record;
use crate::codegen::spec::{
    ENTRY_HEAD_WORDS, GroupLayout, PACKET_HEAD_WORDS, QueryLayout, RECORD_HEAD_WORDS, StateLayout,
    TotalsLayout, WindowLayout,
};

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'r> {
    /// A tuple of a query: its ordinal, then its columns.
    Tuple { query: u32, words: &'r [u64] },
    /// A group of a query that had to leave its table: the entry.
    Group { query: u32, words: &'r [u64] },
    /// A packet for the host's queries.
    Packet(PacketRecord<'r>),
}

/// A packet out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketRecord<'r> {
    pub(crate) timestamp_ns: u64,
    pub(crate) ordinal: u64,
    /// On the wire, bytes.
    pub(crate) len: u32,
    /// What was copied.
    pub(crate) data: &'r [u8],
}

impl PacketRecord<'_> {
    /// The packet as the engine takes it, when its bytes lie at `at` of a buffer.
    pub(crate) fn at(&self, at: u32, direction: Direction) -> RecordRef {
        RecordRef {
            timestamp_ns: self.timestamp_ns,
            len: self.len,
            at,
            caplen: self.data.len() as u32,
            direction,
        }
    }
}

/// Reads a record; `words` is room for it.
pub(crate) fn read<'r>(bytes: &'r [u8], words: &'r mut Vec<u64>) -> Option<Record<'r>> {
    let head = word(bytes.get(..8)?);
    let (query, kind) = (head as u32, (head >> 32) as u32);
    words.clear();
    if kind == record::PACKET {
        let (head, data) = bytes.split_at_checked(8 * PACKET_HEAD_WORDS as usize)?;
        let lengths = word(&head[16..24]);
        return Some(Record::Packet(PacketRecord {
            timestamp_ns: word(&head[8..16]),
            ordinal: word(&head[24..32]),
            len: lengths as u32,
            data: data.get(..(lengths >> 32) as usize)?,
        }));
    }
    words.extend(bytes.chunks_exact(8).skip(RECORD_HEAD_WORDS as usize).map(word));
    match kind {
        record::TUPLE => Some(Record::Tuple { query, words }),
        record::GROUP => Some(Record::Group { query, words }),
        _ => None,
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A tuple from the words of its record.
pub(crate) fn tuple(layout: &QueryLayout, words: &[u64]) -> Tuple {
    let values = layout.columns.iter().map(|column| column.value(&words[1..], &[]));
    Tuple { ordinal: words[0], values: values.collect() }
}

/// A partial group from the words of an entry.
pub(crate) fn group(layout: &QueryLayout, states: &[StateLayout], entry: &[u64]) -> Tuple {
    let keys = &entry[ENTRY_HEAD_WORDS as usize..];
    let keys = layout.columns.iter().map(|column| column.value(keys, &[]));
    let states = states.iter().filter_map(|state| {
        let word = if state.kind == AggKind::Count { entry[0] } else { entry[state.word as usize] };
        layout::word_value(word, state.ty)
    });
    Tuple { ordinal: entry[1], values: keys.chain(states).collect() }
}

/// The entries of a query without keys that were filled last in one of `turns`, of all CPUs.
pub(crate) fn totals<'f>(
    totals: &'f TotalsLayout,
    frames: &'f [Vec<u64>],
    turns: RangeInclusive<u64>,
) -> impl Iterator<Item = &'f [u64]> {
    let (first, stride) = (totals.first as usize, totals.stride() as usize);
    frames
        .iter()
        .flat_map(move |frame| frame[first..].chunks_exact(stride).take(2))
        .filter(move |group| turns.contains(&group[TotalsLayout::TURN as usize]))
        .map(|group| &group[TotalsLayout::TUPLES as usize..])
}

/// Whether the window of an entry's group is behind bounds in any component.
pub(crate) fn is_behind(
    layout: &QueryLayout,
    groups: &GroupLayout,
    entry: &[u64],
    bounds: &[Option<u64>],
) -> bool {
    let keys = &entry[ENTRY_HEAD_WORDS as usize..];
    groups.windows.iter().zip(bounds).any(|(window, bound)| {
        let key = layout.columns[window.key as usize].value(keys, &[]).as_u64();
        key.zip(*bound).is_some_and(|(key, bound)| later(window, bound, key))
    })
}

/// Whether a bound is beyond another in the direction of a window.
pub(crate) fn later(window: &WindowLayout, a: u64, b: u64) -> bool {
    let (a, b) = if window.decreasing { (b, a) } else { (a, b) };
    if window.ty.is_signed() { a as i64 > b as i64 } else { a > b }
}

/// The latest bound of all CPUs.
pub(crate) fn latest(window: &WindowLayout, frames: &[Vec<u64>]) -> Option<u64> {
    let known = frames.iter().filter(|frame| frame[window.known as usize] != 0);
    let bounds = known.map(|frame| frame[window.bound as usize]);
    bounds.reduce(|a, b| if later(window, a, b) { a } else { b })
}

/// A counter of all CPUs together.
pub(crate) fn total(frames: &[Vec<u64>], word: u32) -> u64 {
    frames.iter().map(|frame| frame[word as usize]).sum()
}
