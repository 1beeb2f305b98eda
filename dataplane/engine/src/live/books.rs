//! The books of a live run, put together from what its threads have counted.

use super::capture::Captured;
use super::operators::OperatorBooks;
use crate::ledger::{Ledger, QueryLedger};

/// The books of all generations: what has the same name is one account.
pub(super) fn ledger(captured: Vec<Captured>, operators: OperatorBooks) -> Ledger {
    let OperatorBooks { carried, operators: mut by_operator, outputs: mut by_output } = operators;
    let mut ledger = Ledger::default();
    for captured in captured {
        let interface = captured.ledger.name.clone();
        for (name, counted) in captured.queries {
            let arrived = carried.iter().filter(|(i, query, _)| *i == interface && *query == name);
            ledger.queries.push(QueryLedger {
                interface: interface.clone(),
                tuples: counted.tuples,
                outside: captured.ledger.processed.saturating_sub(counted.packets),
                carried: arrived.map(|(.., tuples)| tuples).sum(),
                shed: counted.shed,
                name,
            });
        }
        ledger.interfaces.push(captured.ledger);
    }
    for operator in by_operator.drain(..) {
        let same = ledger.operators.iter_mut().find(|o| o.name == operator.name);
        match same.filter(|same| same.kind == operator.kind) {
            Some(same) => {
                same.fed += operator.fed;
                same.tuples += operator.tuples;
            }
            None => ledger.operators.push(operator),
        }
    }
    for output in by_output.drain(..) {
        match ledger.outputs.iter_mut().find(|o| o.query == output.query) {
            Some(same) => {
                same.fed += output.fed;
                same.rows += output.rows;
                same.unsent += output.unsent;
            }
            None => ledger.outputs.push(output),
        }
    }
    ledger
}
