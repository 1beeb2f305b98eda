//! What flows between operators.

use wt_catalog::Value;

use crate::block::Block;

/// A row of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Ordinal of the packet it stems from, counted from 0 over all interfaces of a run; for a group that of its first
    /// packet. Rows of a window are put in this order, so that results do not depend on hashing, batches or cores.
    pub ordinal: u64,
    /// Column values.
    pub values: Box<[Value]>,
}

/// A message of a stream: a tuple, or control that travels in-band behind the tuples it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A row.
    Tuple(Tuple),
    /// Several rows.
    Block(Block),
    /// No later tuple is behind these bounds: column and value, for ordered columns (gsql.md §19).
    Punctuation(Vec<(u32, Value)>),
    /// Close what is open now; tuples of the same windows may follow and form new groups.
    Flush,
    /// Nothing follows.
    End,
}

impl Message {
    /// The message with a tuple for each row.
    pub fn one_by_one(self) -> Vec<Message> {
        match self {
            Message::Block(block) => block.tuples().map(Message::Tuple).collect(),
            other => vec![other],
        }
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        match self {
            Message::Tuple(_) => 1,
            Message::Block(block) => block.len() as u64,
            Message::Punctuation(_) | Message::Flush | Message::End => 0,
        }
    }
}

/// What the allocator adds to a block, bytes: header and rounding.
pub(crate) const BLOCK_BYTES: u64 = 16;

/// Memory of a value, bytes: its cell and, for strings, the heap block (with its two counters).
pub(crate) fn value_bytes(value: &Value) -> u64 {
    let heap = match value {
        Value::Bytes(bytes) => (bytes.len() + 2 * size_of::<usize>()) as u64 + BLOCK_BYTES,
        _ => 0,
    };
    size_of::<Value>() as u64 + heap
}

/// Memory of a run of values, bytes.
pub(crate) fn values_bytes(values: &[Value]) -> u64 {
    values.iter().map(value_bytes).sum()
}

/// Memory of a tuple in a queue, bytes.
pub(crate) fn tuple_bytes(tuple: &Tuple) -> u64 {
    2 * size_of::<Tuple>() as u64 + BLOCK_BYTES + values_bytes(&tuple.values)
}

/// Memory of a row in a hash set, bytes: the set is half full, and twice as large while it grows.
pub(crate) fn set_entry_bytes(row: &[Value]) -> u64 {
    4 * size_of::<Box<[Value]>>() as u64 + BLOCK_BYTES + values_bytes(row)
}
