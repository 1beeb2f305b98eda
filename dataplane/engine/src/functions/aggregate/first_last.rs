//! `first(x)`, `last(x)`: the operand of the first and of the last tuple of the group, in stream order. Over nothing the
//! default of the type.

use std::any::Any;

use wt_catalog::{Type, Value};

use super::super::basic;
use super::Aggregator;

/// Reference counts before shared bytes.
const ARC_HEADER_BYTES: usize = 16;

/// The first operand.
#[derive(Clone, Debug)]
pub struct First {
    value: Option<Value>,
    ty: Type,
}

/// The last operand.
#[derive(Clone, Debug)]
pub struct Last {
    value: Option<Value>,
    ty: Type,
}

impl First {
    /// Nothing seen.
    pub fn new(ty: Type) -> Self {
        First { value: None, ty }
    }
}

impl Last {
    /// Nothing seen.
    pub fn new(ty: Type) -> Self {
        Last { value: None, ty }
    }
}

fn heap_bytes(value: &Option<Value>) -> usize {
    value.as_ref().and_then(Value::as_bytes).map_or(0, |bytes| bytes.len() + ARC_HEADER_BYTES)
}

impl Aggregator for First {
    fn update(&mut self, args: &[Value]) {
        if self.value.is_none() {
            self.value = args.first().map(|value| basic::convert(self.ty, value));
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let (None, Some(other)) = (&self.value, other.as_any().downcast_ref::<Self>()) {
            self.value.clone_from(&other.value);
        }
    }

    fn output(&self) -> Option<Value> {
        Some(self.value.clone().unwrap_or_else(|| Value::default_of(self.ty)))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + heap_bytes(&self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Aggregator for Last {
    fn update(&mut self, args: &[Value]) {
        if let Some(value) = args.first() {
            self.value = Some(basic::convert(self.ty, value));
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let Some(other) = other.as_any().downcast_ref::<Self>()
            && other.value.is_some()
        {
            self.value.clone_from(&other.value);
        }
    }

    fn output(&self) -> Option<Value> {
        Some(self.value.clone().unwrap_or_else(|| Value::default_of(self.ty)))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + heap_bytes(&self.value)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
