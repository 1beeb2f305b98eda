//! Aggregates that keep their state on the host (protocols.md, "Functions added").
//!
//! Each is deterministic and mergeable: the state over two inputs, merged, answers as the state over both, within the
//! error it states; [`count_distinct`], [`quantile`], [`hist`] and the ones that are exact answer identically. A state takes
//! at most the `state_bytes` that its registry entry declares, whatever the input.

pub mod approx_top;
pub mod avg;
pub mod bools;
pub mod count_distinct;
pub mod first_last;
pub mod hist;
pub mod moments;
pub mod plain;
pub mod quantile;
pub mod rate;

#[cfg(test)]
mod tests;

use std::any::Any;

use wt_catalog::{Type, Value};

/// The state of an aggregate for one group.
pub trait Aggregator: Send {
    /// Takes in the operands of one tuple, in stream order.
    fn update(&mut self, args: &[Value]);
    /// Takes in the state of another aggregator of the same symbol and constants, over tuples that come after those of
    /// this one. A state of another kind is left out.
    fn merge(&mut self, other: &dyn Aggregator);
    /// The result; `None` where there is none, which suppresses the row as a partial function does.
    fn output(&self) -> Option<Value>;
    /// Memory held now, bytes.
    fn memory_bytes(&self) -> usize;
    /// For [`Aggregator::merge`].
    fn as_any(&self) -> &dyn Any;
}

/// A new state of the aggregate behind `symbol`; `None` when no host aggregate has it. `consts` are the constant arguments
/// after the operands, `ty` is the result type.
pub fn aggregator(symbol: &str, consts: &[Value], ty: Type) -> Option<Box<dyn Aggregator>> {
    Some(match symbol {
        "avg" => Box::new(avg::Avg::default()),
        "count_distinct" => Box::new(count_distinct::CountDistinct::new()),
        "approx_top" => Box::new(approx_top::ApproxTop::new(consts)),
        "quantile" => Box::new(quantile::Quantile::new(consts, ty)),
        "stddev" => Box::new(moments::Moments::standard_deviation()),
        "variance" => Box::new(moments::Moments::variance()),
        "rate" => Box::new(rate::Rate::default()),
        "first" => Box::new(first_last::First::new(ty)),
        "last" => Box::new(first_last::Last::new(ty)),
        "bool_or" => Box::new(bools::BoolFold::or()),
        "bool_and" => Box::new(bools::BoolFold::and()),
        "hist" => Box::new(hist::Hist::new(consts)),
        _ => return plain::Plain::of_symbol(symbol, ty).map(|plain| Box::new(plain) as _),
    })
}
