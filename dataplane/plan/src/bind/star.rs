//! Which fields `SELECT *` leaves out: those that a packet of the protocol may lack.

use wt_catalog::protocol::Occurrence;
use wt_catalog::{Catalog, Field, PExpr, Place, Protocol};

/// Derived fields that refer to derived fields are followed this deep.
const DEPTH_MAX: u32 = 8;

/// Whether the field may be absent although its header is there: an option, a field of a header further down. Such a field
/// would make `*` reject most packets, for a referenced field that is absent rejects the tuple.
pub(crate) fn may_be_absent(catalog: &Catalog, protocol: &Protocol, field: &Field) -> bool {
    place(catalog, protocol, &field.place, DEPTH_MAX)
}

fn place(catalog: &Catalog, protocol: &Protocol, at: &Place, depth: u32) -> bool {
    match at {
        Place::Meta(_) => false,
        // The refinements give it its place; one of them may have none.
        Place::Abstract => protocol.refinements.iter().any(|&r| lacks(catalog, r, protocol, at)),
        Place::Bits { at, .. } | Place::Bytes { at, .. } => expr(catalog, at, depth),
        Place::Slice { at, len } => {
            expr(catalog, at, depth) || len.as_ref().is_some_and(|l| expr(catalog, l, depth))
        }
        Place::Derived(e) => expr(catalog, e, depth),
        Place::Text(_) => false,
    }
}

/// Whether a refinement does not place the fields of its abstract parent: nothing is known then.
fn lacks(catalog: &Catalog, r: wt_catalog::ProtocolId, parent: &Protocol, at: &Place) -> bool {
    let Some(refinement) = catalog.protocols.get(r.0 as usize) else { return true };
    parent
        .fields
        .iter()
        .filter(|f| std::ptr::eq(&f.place, at))
        .any(|f| !refinement.fields.iter().any(|own| own.name == f.name))
}

fn expr(catalog: &Catalog, e: &PExpr, depth: u32) -> bool {
    if depth == 0 {
        return true;
    }
    match e {
        PExpr::Const(_) | PExpr::Depth(..) | PExpr::Present(..) => false,
        PExpr::Offset(_, at) => !matches!(at, Occurrence::This | Occurrence::Above),
        PExpr::Field(f) => {
            let elsewhere = !matches!(f.at, Occurrence::This | Occurrence::Above);
            let owner = catalog.protocols.get(f.protocol.0 as usize);
            let field = owner.and_then(|p| p.fields.get(f.field as usize));
            elsewhere
                || match (owner, field) {
                    (Some(p), Some(f)) => place(catalog, p, &f.place, depth - 1),
                    _ => true,
                }
        }
        PExpr::Unary(_, a) | PExpr::Not(a) | PExpr::In(a, _) => expr(catalog, a, depth),
        PExpr::Binary(_, a, b) | PExpr::Compare(_, a, b) | PExpr::And(a, b) | PExpr::Or(a, b) => {
            expr(catalog, a, depth) || expr(catalog, b, depth)
        }
        // A choice that looks at what is there guards its arms.
        PExpr::If(c, a, b) => {
            expr(catalog, c, depth)
                || (!guards(c) && (expr(catalog, a, depth) || expr(catalog, b, depth)))
        }
        PExpr::Call(..) => true,
    }
}

fn guards(condition: &PExpr) -> bool {
    match condition {
        PExpr::Present(..) | PExpr::Depth(..) => true,
        PExpr::Unary(_, a) | PExpr::Not(a) | PExpr::In(a, _) => guards(a),
        PExpr::Binary(_, a, b) | PExpr::Compare(_, a, b) | PExpr::And(a, b) | PExpr::Or(a, b) => {
            guards(a) || guards(b)
        }
        _ => false,
    }
}
