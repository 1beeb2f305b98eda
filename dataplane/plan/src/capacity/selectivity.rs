//! How many tuples a condition lets through when nothing has been counted: the rules of System R (Selinger et al. 1979, table 1),
//! over IR nodes.

use wt_catalog::{Catalog, ProtocolId, Type};
use wt_lang::ast::CmpOp;

use crate::ir::{Exprs, LayerId, LayerSel, NodeId, Op};
use crate::split::asks_link_type;

/// A column equals a constant.
const EQUAL: f64 = 0.1;
/// A column is above or below one.
const RANGE: f64 = 1.0 / 3.0;
/// A list of constants, however long.
const LIST_MAX: f64 = 0.5;
/// A flag is set.
const FLAG: f64 = 0.5;
/// A search in text finds something.
const SEARCH: f64 = 0.1;

/// The share for which each node of a DAG is TRUE; of nodes that are no bools it means nothing.
pub fn selectivities(exprs: &Exprs) -> Vec<f64> {
    let mut shares: Vec<f64> = Vec::with_capacity(exprs.nodes.len());
    for node in &exprs.nodes {
        let of = |n: &NodeId| shares[n.0 as usize];
        let share = match &node.op {
            Op::Const(value) => f64::from(u8::from(value.as_u64() != Some(0))),
            // Absence of a header is judged by the layers a query requires.
            Op::Present(_) | Op::InBounds { .. } => 1.0,
            Op::Compare(op, a, b) => match op {
                // `a = TRUE` and the like.
                CmpOp::Eq if is_bool(exprs, *a) => flag(exprs, &shares, *a, *b),
                CmpOp::Ne if is_bool(exprs, *a) => 1.0 - flag(exprs, &shares, *a, *b),
                CmpOp::Eq => EQUAL,
                CmpOp::Ne => 1.0 - EQUAL,
                _ => RANGE,
            },
            Op::And(a, b) => of(a) * of(b),
            Op::Or(a, b) => of(a) + of(b) - of(a) * of(b),
            Op::Not(a) => 1.0 - of(a),
            Op::In(_, members) => (EQUAL * members.len() as f64).min(LIST_MAX),
            Op::Select { cond, then, .. } if asks_link_type(exprs, *cond) => of(then),
            Op::Select { cond, then, otherwise } => {
                of(cond) * of(then) + (1.0 - of(cond)) * of(otherwise)
            }
            Op::ByProtocol { arms, .. } => arms.first().map_or(FLAG, |arm| of(&arm.1)),
            Op::Call { .. } => SEARCH,
            Op::Cast(a) => of(a),
            _ => FLAG,
        };
        shares.push(share.clamp(0.0, 1.0));
    }
    shares
}

fn is_bool(exprs: &Exprs, node: NodeId) -> bool {
    exprs.nodes[node.0 as usize].ty == Type::Bool
}

/// Two bools are equal.
fn flag(exprs: &Exprs, shares: &[f64], a: NodeId, b: NodeId) -> f64 {
    let is_const = |n: NodeId| matches!(exprs.nodes[n.0 as usize].op, Op::Const(_));
    let (a_true, b_true) = (shares[a.0 as usize], shares[b.0 as usize]);
    match (is_const(a), is_const(b)) {
        (false, false) => FLAG,
        _ => a_true * b_true + (1.0 - a_true) * (1.0 - b_true),
    }
}

/// The share of packets that have a layer: a plain mix of an office or a backbone.
pub fn layer_share(catalog: &Catalog, layers: &[LayerSel], layer: LayerId) -> f64 {
    match layers.get(layer.0 as usize) {
        None | Some(LayerSel::Packet | LayerSel::This) => 1.0,
        Some(LayerSel::First(p) | LayerSel::Last(p) | LayerSel::Nth(p, 0)) => {
            protocol_share(catalog, *p)
        }
        // Further headers of a kind: tunnels.
        Some(LayerSel::Nth(p, _)) => protocol_share(catalog, *p) * RARE,
        Some(
            LayerSel::Below(above, p)
            | LayerSel::Above(above, p)
            | LayerSel::RunLast(above, p)
            | LayerSel::RunNth(above, p, _),
        ) => protocol_share(catalog, *p).min(layer_share(catalog, layers, *above)),
    }
}

/// A header that few packets have.
const RARE: f64 = 0.05;

fn protocol_share(catalog: &Catalog, protocol: ProtocolId) -> f64 {
    match catalog.protocol_name(protocol) {
        "packet" | "eth" | "ethernet" | "ip" => 1.0,
        "ipv4" => 0.9,
        "ipv6" => 0.1,
        "tcp" => 0.8,
        "udp" => 0.15,
        _ => RARE,
    }
}
