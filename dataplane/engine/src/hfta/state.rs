//! The state of one aggregate of one group.

use std::collections::HashSet;

use wt_catalog::{Type, Value};
use wt_plan::ir::AggKind;
use wt_plan::physical::{HftaAgg, HftaAggFunction};

use crate::functions::{self, Aggregator, basic};
use crate::interp::Lack;
use crate::tuple::{set_entry_bytes, value_bytes};

/// What is the same for every group.
pub(super) struct StateSpec {
    function: HftaAggFunction,
    consts: Vec<Value>,
    distinct: bool,
    ty: Type,
}

/// The state of one group.
pub(super) enum State {
    /// Of an aggregate that every backend has; nothing before the first tuple.
    Basic(Option<Value>),
    /// Of a host aggregate.
    Host(Box<dyn Aggregator>),
    /// Each distinct operand counts once.
    Distinct(Box<Distinct>),
}

/// Operands that have counted.
pub(super) struct Distinct {
    seen: HashSet<Box<[Value]>>,
    seen_bytes: u64,
    state: State,
}

impl StateSpec {
    /// Nothing when no aggregate has the symbol with these constants.
    pub(super) fn new(agg: &HftaAgg) -> Option<Self> {
        let spec = Self {
            function: agg.function,
            consts: agg.consts.clone(),
            distinct: agg.distinct,
            ty: agg.ty,
        };
        if let HftaAggFunction::Host(symbol) = spec.function {
            functions::aggregator(symbol, &spec.consts, spec.ty)?;
        }
        Some(spec)
    }

    /// Whether its states grow after they are made.
    pub(super) fn grows(&self) -> bool {
        self.distinct || self.ty.is_bytes() || matches!(self.function, HftaAggFunction::Host(_))
    }

    /// The state of a new group.
    pub(super) fn state(&self) -> State {
        let state = match self.function {
            HftaAggFunction::Basic(_) => State::Basic(None),
            HftaAggFunction::Host(symbol) => {
                match functions::aggregator(symbol, &self.consts, self.ty) {
                    Some(aggregator) => State::Host(aggregator),
                    // `new` has made one with the same arguments.
                    None => State::Basic(None),
                }
            }
        };
        if !self.distinct {
            return state;
        }
        State::Distinct(Box::new(Distinct { seen: HashSet::new(), seen_bytes: 0, state }))
    }

    /// Takes the operands of a tuple.
    pub(super) fn update(&self, state: &mut State, args: &[Value]) {
        match state {
            State::Basic(value) => {
                let HftaAggFunction::Basic(kind) = self.function else { return };
                match value {
                    Some(value) => basic::update(kind, value, self.ty, args.first()),
                    None => *value = Some(basic::init(kind, self.ty, args.first())),
                }
            }
            State::Host(aggregator) => aggregator.update(args),
            State::Distinct(distinct) => {
                if !distinct.seen.contains(args) {
                    distinct.seen_bytes += set_entry_bytes(args);
                    distinct.seen.insert(args.into());
                    self.update(&mut distinct.state, args);
                }
            }
        }
    }

    /// Takes what an aggregate of a kind that every backend has comes to over other tuples.
    pub(super) fn merge(&self, kind: AggKind, state: &mut State, partial: &Value) {
        let State::Basic(value) = state else { return };
        match value {
            Some(value) => basic::merge(kind, value, self.ty, partial),
            None => *value = Some(self.converted(partial)),
        }
    }

    /// The result of a group.
    pub(super) fn output(&self, state: &State) -> Result<Value, Lack> {
        match state {
            State::Basic(Some(value)) => Ok(value.clone()),
            State::Basic(None) => Ok(self.empty()),
            State::Host(aggregator) => aggregator.output().ok_or(Lack::Failed),
            State::Distinct(distinct) => self.output(&distinct.state),
        }
    }

    /// A partial result of an aggregate of a kind that every backend has, as one of the result's type.
    pub(super) fn converted(&self, partial: &Value) -> Value {
        // A count would be of the partial results.
        basic::init(AggKind::Sum, self.ty, Some(partial))
    }

    /// The result over no tuples: what a fresh state gives, else the default of the type.
    pub(super) fn output_over_nothing(&self) -> Value {
        self.output(&self.state()).unwrap_or_else(|_| Value::default_of(self.ty))
    }

    /// The result of a state that no tuple has come to.
    pub(super) fn empty(&self) -> Value {
        match self.function {
            HftaAggFunction::Basic(kind) => basic::empty(kind, self.ty),
            HftaAggFunction::Host(_) => Value::default_of(self.ty),
        }
    }
}

impl State {
    /// Memory beyond the cell, bytes.
    pub(super) fn heap_bytes(&self) -> u64 {
        match self {
            State::Basic(None) => 0,
            State::Basic(Some(value)) => value_bytes(value) - size_of::<Value>() as u64,
            State::Host(aggregator) => aggregator.memory_bytes() as u64,
            State::Distinct(distinct) => {
                size_of::<Distinct>() as u64 + distinct.seen_bytes + distinct.state.heap_bytes()
            }
        }
    }
}
