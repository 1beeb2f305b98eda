//! What flows between operators.

use wt_catalog::Value;

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
    /// No later tuple is behind these bounds: column and value, for ordered columns (gsql.md §19).
    Punctuation(Vec<(u32, Value)>),
    /// Close what is open now; tuples of the same windows may follow and form new groups.
    Flush,
    /// Nothing follows.
    End,
}

/// Memory of a value, bytes: its cell and, for strings, the heap block (with its two counters).
pub(crate) fn value_bytes(value: &Value) -> u64 {
    let heap = match value {
        Value::Bytes(bytes) => bytes.len() + 2 * size_of::<usize>(),
        _ => 0,
    };
    (size_of::<Value>() + heap) as u64
}

/// Memory of a run of values, bytes.
pub(crate) fn values_bytes(values: &[Value]) -> u64 {
    values.iter().map(value_bytes).sum()
}

/// Memory of a tuple, bytes.
pub(crate) fn tuple_bytes(tuple: &Tuple) -> u64 {
    size_of::<Tuple>() as u64 + values_bytes(&tuple.values)
}
