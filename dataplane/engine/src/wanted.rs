//! What a plan needs of its packets, as indices are asked for it.

use wt_plan::wanted::{Condition, Fact};
use wt_trace::index::{Key, Wanted};

/// The question that a condition of a plan is to an index.
pub fn index_wanted(condition: &Condition) -> Wanted {
    let each = |parts: &[Condition]| parts.iter().map(index_wanted).collect();
    match condition {
        Condition::Any => Wanted::Any,
        Condition::Never => Wanted::Never,
        Condition::Between(from_ns, to_ns) => Wanted::Between(*from_ns, *to_ns),
        Condition::Has(Fact::Address(address)) => Wanted::Has(Key::Address(*address)),
        Condition::Has(Fact::Network(first, len)) => Wanted::Network(*first, *len),
        Condition::Has(Fact::Port(port)) => Wanted::Has(Key::Port(*port)),
        Condition::Has(Fact::Protocol(protocol)) => Wanted::Has(Key::Protocol(*protocol)),
        Condition::Has(Fact::Vlan(vlan)) => Wanted::Has(Key::Vlan(*vlan)),
        Condition::All(parts) => Wanted::All(each(parts)),
        Condition::OneOf(parts) => Wanted::OneOf(each(parts)),
    }
}
