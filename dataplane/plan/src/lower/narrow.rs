//! Narrowing: what a query's quals say of the protocol of a header.
//!
//! `IPVersion = 4` leaves ipv4 of ipv4 and ipv6, because ipv6 declares `CHECK IPVersion = 6`. Addresses of the query are
//! then known to be of 4 bytes.

use std::collections::HashMap;

use wt_catalog::protocol::Occurrence;
use wt_catalog::{Catalog, PExpr, ProtocolId, Value};
use wt_lang::ast::CmpOp;

use super::field::HeaderAt;
use crate::ir::LayerId;
use crate::logical::{Expr, ExprKind, FieldAccess};

/// Protocols that headers can be of, where quals leave fewer than the declaration does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    possible: HashMap<LayerId, Vec<ProtocolId>>,
}

impl Narrowing {
    /// What the header of a layer can be; `None` when nothing is known beyond its declaration.
    pub fn possible(&self, layer: LayerId) -> Option<&[ProtocolId]> {
        self.possible.get(&layer).map(Vec::as_slice)
    }

    /// True when no qual tells anything.
    pub fn is_empty(&self) -> bool {
        self.possible.is_empty()
    }

    /// Names of the protocols left, for the rewrite notes.
    pub fn names(&self, catalog: &Catalog) -> Vec<String> {
        let mut names: Vec<String> = self
            .possible
            .values()
            .flatten()
            .map(|&p| catalog.protocol_name(p).to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// What the conjuncts tell; `header` gives the header of a field.
pub fn narrow(
    catalog: &Catalog,
    quals: &[Expr],
    mut header: impl FnMut(&FieldAccess) -> HeaderAt,
) -> Narrowing {
    let mut narrowing = Narrowing::default();
    for qual in quals {
        let Some((access, value)) = fixed_field(qual) else { continue };
        let at = header(access);
        let all = catalog.concretes(at.protocol);
        let left: Vec<ProtocolId> = narrowing
            .possible(at.layer)
            .unwrap_or(&all)
            .iter()
            .copied()
            .filter(|&c| allows(catalog, c, access, value))
            .collect();
        if !left.is_empty() && left.len() < all.len() {
            narrowing.possible.insert(at.layer, left);
        }
    }
    narrowing
}

/// `field = constant`, either way round.
fn fixed_field(qual: &Expr) -> Option<(&FieldAccess, &Value)> {
    let ExprKind::Compare(CmpOp::Eq, a, b) = &qual.kind else { return None };
    match (&a.kind, &b.kind) {
        (ExprKind::Field(f), ExprKind::Const(v)) | (ExprKind::Const(v), ExprKind::Field(f)) => {
            Some((f, v))
        }
        _ => None,
    }
}

/// False when a CHECK of the protocol gives the field another value.
fn allows(catalog: &Catalog, concrete: ProtocolId, access: &FieldAccess, value: &Value) -> bool {
    let declared = catalog.field_at(concrete, access.owner, access.field);
    checked(catalog, concrete, declared).is_none_or(|k| k.compare(value).is_none_or(|o| o.is_eq()))
}

/// The value that a CHECK of a protocol gives to a field of its headers: a header without it is none.
pub(super) fn checked(
    catalog: &Catalog,
    concrete: ProtocolId,
    declared: (ProtocolId, u32),
) -> Option<&Value> {
    let checks = catalog
        .protocol_by_id(concrete)
        .and_then(|p| p.header.as_ref())
        .map_or(&[][..], |h| h.checks.as_slice());
    let mut pending: Vec<&PExpr> = checks.iter().collect();
    while let Some(check) = pending.pop() {
        match check {
            PExpr::And(a, b) => pending.extend([&**a, &**b]),
            PExpr::Compare(CmpOp::Eq, a, b) => {
                let (f, k) = match (&**a, &**b) {
                    (PExpr::Field(f), PExpr::Const(k)) | (PExpr::Const(k), PExpr::Field(f)) => {
                        (f, k)
                    }
                    _ => continue,
                };
                let same = f.at == Occurrence::This
                    && catalog.field_at(concrete, f.protocol, f.field) == declared;
                if same {
                    return Some(k);
                }
            }
            _ => {}
        }
    }
    None
}
