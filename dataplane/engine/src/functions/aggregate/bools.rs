//! `bool_or(x)`, `bool_and(x)`: whether any, whether all operands are TRUE. Over nothing FALSE, the default of the type.

use std::any::Any;

use wt_catalog::Value;

use super::Aggregator;

/// A fold over bools.
#[derive(Clone, Copy, Debug)]
pub struct BoolFold {
    all: bool,
    state: Option<bool>,
}

impl BoolFold {
    /// TRUE when any operand is.
    pub fn or() -> Self {
        BoolFold { all: false, state: None }
    }

    /// TRUE when all operands are.
    pub fn and() -> Self {
        BoolFold { all: true, state: None }
    }

    fn take(&mut self, value: bool) {
        self.state = Some(match self.state {
            None => value,
            Some(state) if self.all => state && value,
            Some(state) => state || value,
        });
    }
}

impl Aggregator for BoolFold {
    fn update(&mut self, args: &[Value]) {
        if let Some(value) = args.first().and_then(Value::as_i128) {
            self.take(value != 0);
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        if let Some(value) = other.as_any().downcast_ref::<Self>().and_then(|other| other.state) {
            self.take(value);
        }
    }

    fn output(&self) -> Option<Value> {
        Some(Value::Bool(self.state.unwrap_or(false)))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
