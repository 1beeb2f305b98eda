//! `approx_top(x, k)`: the `k` most frequent values with their counts, as text: `10.0.0.1:123 10.0.0.2:45`.
//!
//! Counters of at most [`COUNTERS_MAX`] values (Misra and Gries 1982; the purge by the median is Anderson et al., IMC 2017;
//! merging is Agarwal et al., PODS 2012). Up to that many different values the counts are exact. Beyond it a count is never
//! too high, and too low by at most [`ERROR_SHARE`] of all tuples of the group; a value more frequent than that share is
//! never missing.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Write;

use wt_catalog::{Type, Value, display};

use super::Aggregator;

/// Values counted at a time.
pub const COUNTERS_MAX: usize = 1024;
/// Largest undercount as a share of the tuples: each purge by `d` takes at least `d` from half of the counters.
pub const ERROR_SHARE: f64 = 2.0 / COUNTERS_MAX as f64;
/// Largest `k`.
pub const TOP_MAX: usize = 100;
/// Longest string told apart, bytes: a longer one counts as its beginning.
pub const KEY_BYTES_MAX: usize = 128;

const _: () = assert!(TOP_MAX <= COUNTERS_MAX / 2);

/// The counters.
#[derive(Clone, Debug)]
pub struct ApproxTop {
    top: usize,
    counts: HashMap<Value, u64>,
    /// Of all strings counted.
    key_bytes: usize,
}

impl ApproxTop {
    /// `consts` is `k`, cut to 1 … [`TOP_MAX`] (10 when it is missing).
    pub fn new(consts: &[Value]) -> Self {
        let top = consts.first().and_then(Value::as_i128).unwrap_or(10);
        ApproxTop {
            top: top.clamp(1, TOP_MAX as i128) as usize,
            counts: HashMap::new(),
            key_bytes: 0,
        }
    }

    /// The most frequent values, most frequent first, ties in the order of the values.
    pub fn top(&self) -> Vec<(&Value, u64)> {
        let mut top: Vec<_> = self.counts.iter().map(|(value, &count)| (value, count)).collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.total_cmp(b.0)));
        top.truncate(self.top);
        top
    }

    fn add(&mut self, value: &Value, times: u64) {
        match self.counts.get_mut(value) {
            Some(count) => *count += times,
            None => {
                self.key_bytes += heap_bytes(value);
                self.counts.insert(value.clone(), times);
            }
        }
    }

    /// Takes the median count from every counter and drops those at zero. The median is exact, so the result does not
    /// depend on the order in which the table lists its values.
    fn purge(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, &mut median, _) = counts.select_nth_unstable(middle);
        let key_bytes = &mut self.key_bytes;
        self.counts.retain(|value, count| {
            *count = count.saturating_sub(median);
            if *count == 0 {
                *key_bytes -= heap_bytes(value);
            }
            *count > 0
        });
    }
}

impl Aggregator for ApproxTop {
    fn update(&mut self, args: &[Value]) {
        match args.first() {
            Some(Value::Bytes(bytes)) if bytes.len() > KEY_BYTES_MAX => {
                self.add(&Value::bytes(&bytes[..KEY_BYTES_MAX]), 1);
            }
            Some(value) => self.add(value, 1),
            None => return,
        }
        if self.counts.len() > COUNTERS_MAX {
            self.purge();
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        for (value, &count) in &other.counts {
            self.add(value, count);
        }
        while self.counts.len() > COUNTERS_MAX {
            self.purge();
        }
    }

    fn output(&self) -> Option<Value> {
        let mut text = String::new();
        for (value, count) in self.top() {
            if !text.is_empty() {
                text.push(' ');
            }
            let shown = display::show(value, Type::String).to_string();
            // Spaces part the entries.
            let written = write!(text, "{}:{count}", shown.replace(' ', "\\x20"));
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        }
        Some(Value::bytes(text))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.counts.capacity() * ENTRY_BYTES * 8 / 7 + self.key_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A slot of the table: value, count and control byte; an eighth of the slots stay free.
const ENTRY_BYTES: usize = size_of::<(Value, u64)>() + 1;
/// Reference counts before shared bytes.
const ARC_HEADER_BYTES: usize = 16;

fn heap_bytes(key: &Value) -> usize {
    key.as_bytes().map_or(0, |bytes| bytes.len() + ARC_HEADER_BYTES)
}
