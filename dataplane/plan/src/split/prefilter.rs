//! The shared prefilter: a cheap predicate implied by the OR of all queries' WHERE clauses (gsql.md §22).

use crate::ir::{LayerId, LayerSel, NodeId, Op, Qual};
use crate::lower::Dag;
use wt_catalog::Type;

/// Conjuncts dearer than this stay out, ns.
const QUAL_NS_MAX: u32 = 100;

/// What of a query the prefilter may test: that its headers are there, and its cheap portable conjuncts.
pub fn cheap(dag: &mut Dag, requires: &[LayerId], quals: &[Qual]) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    for &layer in requires {
        if dag.layers()[layer.0 as usize] != LayerSel::Packet {
            nodes.push(dag.node(Op::Present(layer), Type::Bool));
        }
    }
    nodes.extend(
        quals
            .iter()
            .filter(|q| q.cost_ns <= QUAL_NS_MAX && !dag.get(q.node).host_only)
            .map(|q| q.node),
    );
    nodes
}

/// The OR over the queries; none when one of them wants every packet, or when a single query would only test itself.
pub fn combine(dag: &mut Dag, queries: &[Vec<NodeId>]) -> Option<NodeId> {
    if queries.len() < 2 || queries.iter().any(Vec::is_empty) {
        return None;
    }
    let (yes, no) = (dag.bool(true), dag.bool(false));
    let mut any = no;
    for conjuncts in queries.iter().rev() {
        // Read left to right like the query itself, so that a missing header decides before its absent fields would.
        let all = conjuncts.iter().rev().fold(yes, |rest, &c| dag.select(c, rest, no));
        any = dag.select(all, yes, any);
    }
    dag.as_const(any).is_none().then_some(any)
}
