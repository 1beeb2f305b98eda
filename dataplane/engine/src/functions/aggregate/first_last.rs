//! `first(x)`, `last(x)`: the operand of the first and of the last tuple of the group, in stream order. Over nothing there
//! is no row.

use std::any::Any;

use wt_catalog::Value;

use super::Aggregator;

/// Longest string kept, bytes: a longer one is cut to it.
pub const KEPT_BYTES_MAX: usize = 64 << 10;

/// The first operand.
#[derive(Clone, Debug, Default)]
pub struct First(Option<Value>);

/// The last operand.
#[derive(Clone, Debug, Default)]
pub struct Last(Option<Value>);

fn kept(value: &Value) -> Value {
    match value {
        Value::Bytes(bytes) if bytes.len() > KEPT_BYTES_MAX => Value::bytes(&bytes[..KEPT_BYTES_MAX]),
        other => other.clone(),
    }
}

fn heap_bytes(value: &Option<Value>) -> usize {
    value.as_ref().and_then(Value::as_bytes).map_or(0, <[u8]>::len)
}

impl Aggregator for First {
    fn update(&mut self, args: &[Value]) {
        if self.0.is_none() {
            self.0 = args.first().map(kept);
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let (None, Some(other)) = (&self.0, other.as_any().downcast_ref::<Self>()) {
            self.0.clone_from(&other.0);
        }
    }

    fn output(&self) -> Option<Value> {
        self.0.clone()
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + heap_bytes(&self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Aggregator for Last {
    fn update(&mut self, args: &[Value]) {
        if let Some(value) = args.first() {
            self.0 = Some(kept(value));
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let Some(other) = other.as_any().downcast_ref::<Self>()
            && other.0.is_some()
        {
            self.0.clone_from(&other.0);
        }
    }

    fn output(&self) -> Option<Value> {
        self.0.clone()
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + heap_bytes(&self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
