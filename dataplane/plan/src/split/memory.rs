//! What operators may keep: every operator states its bound, and what bounds it.

use wt_catalog::{Type, Value};

use crate::physical::MemoryBound;

/// Bytes of one value in a row.
pub const VALUE_BYTES: u64 = size_of::<Value>() as u64;

/// Bytes of a row, or of a group of an LFTA, beside its values: allocation headers, ordinal of its first packet.
const ENTRY_BYTES: u64 = 64;

/// Bytes of a group beside its values: its cell in a vector that doubles, its place in an index that is being moved, and two blocks of the allocator.
const GROUP_BYTES: u64 = 2 * 64 + 64 + 2 * 16;

/// The same of a session, with its entry in the queue of ends.
const SESSION_BYTES: u64 = 2 * 136 + 64 + 2 * 16;

/// Bytes of a row in a hash set beside its values: the set is half full, and doubles.
const SET_BYTES: u64 = 4 * 16 + 16;

/// Bytes of the count of a window's packets, for the share that was seen.
pub const SHARE_BYTES: u64 = 256;

/// Ranges of keys are only counted when they are small.
const COUNTED_ENTRIES_MAX: u64 = 1 << 24;

/// No state.
pub fn stateless() -> MemoryBound {
    MemoryBound { entries: "one tuple at a time".into(), ..MemoryBound::default() }
}

/// The direct-mapped table of an LFTA.
pub fn lfta_table(slots: u32, columns: usize) -> MemoryBound {
    let entry = VALUE_BYTES * columns as u64 + ENTRY_BYTES;
    MemoryBound {
        fixed_bytes: u64::from(slots) * entry,
        per_entry_bytes: 0,
        entries: match slots {
            1 => "1 slot".to_owned(),
            n => format!("{n} slots; a collision ejects the partial group"),
        },
        entries_max: Some(0),
    }
}

/// What bounds the groups of an aggregation.
pub struct GroupBound<'a> {
    /// Key columns beside the window: type, and upper bound of the values.
    pub other_keys: &'a [(Type, u64)],
    /// Bytes of all aggregate states of one group.
    pub state_bytes: u64,
    /// All columns of a group.
    pub columns: usize,
    /// Some column is a string.
    pub strings: bool,
    /// There is a window.
    pub windowed: bool,
    /// Windows open at a time beyond the present one.
    pub tolerance: u64,
    /// Grouping patterns.
    pub patterns: usize,
    /// DISTINCT operands are kept too.
    pub distinct: bool,
}

/// Groups of an aggregation.
pub fn groups(b: &GroupBound<'_>) -> MemoryBound {
    let mut entries = if b.windowed {
        match b.tolerance {
            0 => "group of the open window".to_owned(),
            t => format!("group of the {} open windows", t.saturating_add(1)),
        }
    } else {
        "group, until the end of the input".to_owned()
    };
    if b.distinct {
        entries.push_str(", and a value per DISTINCT operand");
    }
    if b.strings {
        entries.push_str(", plus the bytes of its strings");
    }
    let windows = if b.windowed { b.tolerance.saturating_add(1) } else { 1 };
    let per_window = b.other_keys.iter().try_fold(1u64, |n, &(ty, max)| {
        let counted = ty.bits().is_some() && !ty.is_signed();
        let distinct = max.checked_add(1).filter(|_| counted)?;
        n.checked_mul(distinct).filter(|&n| n <= COUNTED_ENTRIES_MAX)
    });
    MemoryBound {
        fixed_bytes: 0,
        per_entry_bytes: VALUE_BYTES * b.columns as u64 + b.state_bytes + GROUP_BYTES,
        entries,
        entries_max: per_window
            .filter(|_| !b.distinct)
            .and_then(|n| n.checked_mul(windows)?.checked_mul(b.patterns as u64)),
    }
}

/// Sessions that no gap has ended yet: each with its entry in the queue of ends.
pub fn sessions(columns: usize, state_bytes: u64, gap: &str) -> MemoryBound {
    MemoryBound {
        fixed_bytes: 0,
        per_entry_bytes: VALUE_BYTES * columns as u64 + state_bytes + SESSION_BYTES,
        entries: format!("open session: a key that had a tuple in the last {gap}"),
        entries_max: None,
    }
}

/// Queues of a merge.
pub fn merge(inputs: usize, columns: usize, queue_tuples_max: u32) -> MemoryBound {
    MemoryBound {
        fixed_bytes: 0,
        per_entry_bytes: VALUE_BYTES * columns as u64 + ENTRY_BYTES,
        entries: format!("queued tuple, {queue_tuples_max} per input before it asks for a bound"),
        entries_max: Some(inputs as u64 * u64::from(queue_tuples_max)),
    }
}

/// Rows that have been there, until a window closes.
pub fn distinct_rows(columns: usize, windowed: bool) -> MemoryBound {
    let per_entry_bytes = VALUE_BYTES * columns as u64 + SET_BYTES;
    MemoryBound { per_entry_bytes, ..rows(columns, windowed, "distinct row", None) }
}

/// Rows kept until a window closes.
pub fn rows(columns: usize, windowed: bool, what: &str, limit: Option<u64>) -> MemoryBound {
    let until = if windowed { "of the open window" } else { "until the end of the input" };
    MemoryBound {
        fixed_bytes: 0,
        per_entry_bytes: VALUE_BYTES * columns as u64 + ENTRY_BYTES,
        entries: format!("{what} {until}"),
        entries_max: limit,
    }
}

/// Bytes at most, when the plan knows.
pub fn total_bytes(bound: &MemoryBound) -> Option<u64> {
    if bound.per_entry_bytes == 0 {
        return Some(bound.fixed_bytes);
    }
    bound.entries_max?.checked_mul(bound.per_entry_bytes)?.checked_add(bound.fixed_bytes)
}
