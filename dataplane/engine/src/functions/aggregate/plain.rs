//! The aggregates of [`basic`](super::super::basic) as states of their own, for operators that keep only [`Aggregator`]s.

use std::any::Any;

use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;

use super::super::basic;
use super::Aggregator;

/// One of the basic aggregates.
#[derive(Clone, Debug)]
pub struct Plain {
    kind: AggKind,
    ty: Type,
    state: Option<Value>,
}

impl Plain {
    /// The aggregate behind a symbol; `None` when it is not a basic one.
    pub fn of_symbol(symbol: &str, ty: Type) -> Option<Self> {
        let kind = match symbol {
            "count" => AggKind::Count,
            "sum" | "sum_bool" | "sum_duration" => AggKind::Sum,
            "min" | "min_bytes" => AggKind::Min,
            "max" | "max_bytes" => AggKind::Max,
            "and_aggr" | "and_aggr_bool" => AggKind::BitAnd,
            "or_aggr" | "or_aggr_bool" => AggKind::BitOr,
            "xor_aggr" | "xor_aggr_bool" => AggKind::BitXor,
            _ => return None,
        };
        Some(Plain { kind, ty, state: None })
    }
}

impl Aggregator for Plain {
    fn update(&mut self, args: &[Value]) {
        match &mut self.state {
            Some(state) => basic::update(self.kind, state, self.ty, args.first()),
            None => self.state = Some(basic::init(self.kind, self.ty, args.first())),
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        match (&mut self.state, &other.state) {
            (Some(state), Some(other)) => basic::merge(self.kind, state, self.ty, other),
            (state @ None, Some(other)) => *state = Some(other.clone()),
            (_, None) => {}
        }
    }

    fn output(&self) -> Option<Value> {
        Some(self.state.clone().unwrap_or_else(|| basic::empty(self.kind, self.ty)))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.state.as_ref().and_then(Value::as_bytes).map_or(0, <[u8]>::len)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
