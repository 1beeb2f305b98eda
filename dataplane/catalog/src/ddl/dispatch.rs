//! OVER clauses to what may follow each header.

use wt_lang::ast::CmpOp;
use wt_lang::{Diagnostic, Span};

use super::{CHILDREN_MAX, Elaborator, ROOT};
use crate::Catalog;
use crate::protocol::{Dispatch, FieldRef, Meta, Occurrence, Over, PExpr, Place, ProtocolId};
use crate::value::Value;

impl Elaborator<'_> {
    /// `OVER packet WHEN linktype = 1`: frames of these link types start with the header.
    pub(super) fn link_types(&mut self) {
        let Some(root) = self.catalog.protocol(ROOT).map(|p| p.id) else { return };
        let total: usize = self.new.iter().map(|(_, decl)| decl.over.len()).sum();
        let first = self.catalog.over.len().saturating_sub(total);
        let new = self.new.clone();
        let declared = new.iter().flat_map(|(_, decl)| &decl.over);
        let clauses: Vec<Over> = self.catalog.over.get(first..).unwrap_or(&[]).to_vec();
        for (clause, decl) in clauses.iter().zip(declared) {
            if clause.parent != root {
                continue;
            }
            let types = clause.when.as_ref().and_then(|when| self.tested_link_types(when));
            let Some(types) = types else {
                let span = decl.when.as_ref().map_or(decl.parent.span, |when| when.span());
                self.report(
                    Diagnostic::error(
                        "bad-dispatch",
                        span,
                        "what follows the packet is told by its link type alone",
                    )
                    .hint("Write `OVER packet WHEN linktype = 147` or `IN [147, 148]`."),
                );
                continue;
            };
            for link_type in types {
                let taken = self
                    .catalog
                    .protocols
                    .iter()
                    .find(|p| p.id != clause.child && p.link_types.contains(&link_type))
                    .map(|p| p.name.clone());
                if let Some(taken) = taken {
                    self.report(
                        Diagnostic::warning(
                            "no-effect",
                            decl.parent.span,
                            format!("frames of link type {link_type} start with `{taken}` already"),
                        )
                        .hint("The first declaration of a link type counts."),
                    );
                } else if let Some(p) = self.protocol_mut(clause.child) {
                    p.link_types.push(link_type);
                }
            }
        }
    }

    /// Fills [`crate::Protocol::children`] of every protocol from the OVER clauses.
    pub(super) fn flatten(&mut self) {
        let mut total = 0;
        for at in 0..self.catalog.protocols.len() {
            let id = self.catalog.protocols[at].id;
            let children = children_of(&self.catalog, id);
            total += children.len();
            if total > CHILDREN_MAX {
                let span = self.new.first().map_or(Span::default(), |(_, decl)| decl.name.span);
                self.too_many(span, CHILDREN_MAX, "headers that may follow another");
                return;
            }
            self.catalog.protocols[at].children = children;
        }
    }

    fn tested_link_types(&self, when: &PExpr) -> Option<Vec<u16>> {
        let is_link_type = |e: &PExpr| match e {
            PExpr::Field(f) => {
                let field = self.catalog.field(f.protocol, f.field);
                field.is_some_and(|f| f.place == Place::Meta(Meta::LinkType))
            }
            _ => false,
        };
        let number = |v: &Value| v.as_u64().and_then(|v| u16::try_from(v).ok());
        match when {
            PExpr::Compare(CmpOp::Eq, field, value) if is_link_type(field) => match &**value {
                PExpr::Const(value) => Some(vec![number(value)?]),
                _ => None,
            },
            PExpr::In(field, values) if is_link_type(field) => values.iter().map(number).collect(),
            PExpr::Or(a, b) => {
                let mut types = self.tested_link_types(a)?;
                types.extend(self.tested_link_types(b)?);
                Some(types)
            }
            _ => None,
        }
    }
}

fn children_of(catalog: &Catalog, id: ProtocolId) -> Vec<Dispatch> {
    let Some(protocol) = catalog.protocol_by_id(id) else { return Vec::new() };
    if protocol.name == ROOT {
        return Vec::new();
    }
    let concrete = protocol.header.is_some();
    let kinds = catalog.same_header(id);
    let continued = if concrete { continued_fields(catalog, id) } else { Vec::new() };
    let continues = if continued.is_empty() { Vec::new() } else { headers_continued(catalog, id) };
    let mut children = Vec::new();
    for over in &catalog.over {
        let when = if over.parent == id {
            Some(over.when.clone())
        } else if concrete && kinds.contains(&over.parent) {
            Some(over.when.as_ref().map(|when| at_header(catalog, id, when)))
        } else if continues.contains(&over.parent) {
            over.when.as_ref().and_then(|when| continue_with(catalog, when, &continued)).map(Some)
        } else {
            None
        };
        let Some(when) = when else { continue };
        let when = if concrete { when.map(|w| at_path_end(catalog, id, w)) } else { when };
        if concrete && when.as_ref().is_some_and(|w| reads_unplaced(catalog, id, w)) {
            continue;
        }
        match when {
            Some(PExpr::Const(Value::Bool(false))) => {}
            Some(PExpr::Const(Value::Bool(true))) => {
                children.push(Dispatch { child: over.child, when: None });
            }
            when => children.push(Dispatch { child: over.child, when }),
        }
    }
    children
}

/// Names of the fields above that this header's fields stand for, with those fields.
fn continued_fields(catalog: &Catalog, id: ProtocolId) -> Vec<(String, FieldRef)> {
    let mut found = Vec::new();
    for owner in std::iter::once(id).chain(catalog.same_header(id)) {
        for (index, f) in (0u32..).zip(catalog.protocol_by_id(owner).iter().flat_map(|p| &p.fields))
        {
            if let Some(name) = &f.continues
                && !found.iter().any(|(known, _)| known == name)
            {
                let (protocol, field) = catalog.field_at(id, owner, index);
                found.push((name.clone(), FieldRef { protocol, field, at: Occurrence::This }));
            }
        }
    }
    found
}

/// The protocols whose children may follow a continuing header: those it follows, what these refine, and, through other
/// continuing headers it follows, what they continue.
fn headers_continued(catalog: &Catalog, id: ProtocolId) -> Vec<ProtocolId> {
    let family = |other: ProtocolId| {
        other == id || catalog.same_header(id).iter().any(|k| catalog.refines_as_header(other, *k))
    };
    let mut found: Vec<ProtocolId> = Vec::new();
    let mut pending = vec![id];
    let mut seen = vec![id];
    while let Some(at) = pending.pop() {
        for over in catalog.over.iter().filter(|o| o.child == at) {
            for parent in std::iter::once(over.parent).chain(catalog.same_header(over.parent)) {
                if family(parent) || found.contains(&parent) {
                    continue;
                }
                found.push(parent);
                let continues = catalog.protocol_by_id(parent).is_some_and(|p| p.continues);
                if continues && !seen.contains(&parent) {
                    seen.push(parent);
                    pending.push(parent);
                }
            }
        }
        // Siblings lead to the same header: what one member of the family follows, all continue.
        let kinds = catalog.same_header(at);
        for member in kinds.iter().flat_map(|&k| catalog.concretes(k)) {
            let continuing = catalog.protocol_by_id(member).is_some_and(|p| p.continues);
            if continuing && family(member) && !seen.contains(&member) {
                seen.push(member);
                pending.push(member);
            }
        }
    }
    found
}

/// A condition of what follows the header above, read in the continuing header; `None` when it does not look at a
/// continued field, or looks at headers below.
fn continue_with(
    catalog: &Catalog,
    when: &PExpr,
    continued: &[(String, FieldRef)],
) -> Option<PExpr> {
    let mut reads_continued = false;
    let mut looks_below = false;
    let rewritten = map(when, &mut |e| match e {
        PExpr::Field(f) if f.at == Occurrence::This => {
            let name = &catalog.field(f.protocol, f.field)?.name;
            match continued.iter().find(|(known, _)| known == name) {
                Some((_, field)) => {
                    reads_continued = true;
                    Some(PExpr::Field(field.clone()))
                }
                None => Some(PExpr::Field(FieldRef { at: Occurrence::Above, ..f.clone() })),
            }
        }
        PExpr::Field(FieldRef { at: Occurrence::Last | Occurrence::Nth(_), .. })
        | PExpr::Depth(..)
        | PExpr::Present(..) => {
            looks_below = true;
            None
        }
        PExpr::Offset(id, Occurrence::This) => Some(PExpr::Offset(*id, Occurrence::Above)),
        _ => None,
    });
    (reads_continued && !looks_below).then_some(rewritten)
}

/// A condition on an abstract protocol, read in a header that refines it.
fn at_header(catalog: &Catalog, header: ProtocolId, when: &PExpr) -> PExpr {
    map(when, &mut |e| match e {
        PExpr::Field(f) if f.at == Occurrence::This => {
            let (protocol, field) = catalog.field_at(header, f.protocol, f.field);
            Some(PExpr::Field(FieldRef { protocol, field, at: Occurrence::This }))
        }
        _ => None,
    })
}

/// A condition of dispatch with everything that looks below the header decided: nothing is there yet. Derived fields that
/// look below are written out.
fn at_path_end(catalog: &Catalog, header: ProtocolId, when: PExpr) -> PExpr {
    let written_out = map(&when, &mut |e| match e {
        PExpr::Present(_, Occurrence::Last | Occurrence::Nth(_)) => {
            Some(PExpr::Const(Value::Bool(false)))
        }
        PExpr::Depth(_, Occurrence::Last | Occurrence::Nth(_)) => {
            Some(PExpr::Const(Value::Uint(0)))
        }
        PExpr::Field(f) if f.at == Occurrence::This => {
            let (owner, index) = catalog.field_at(header, f.protocol, f.field);
            match catalog.field(owner, index).map(|f| &f.place) {
                // Fields that read themselves were refused, so this ends.
                Some(Place::Derived(e)) if looks_below(e) || is_constant(e) => {
                    Some(at_path_end(catalog, header, e.clone()))
                }
                _ => None,
            }
        }
        _ => None,
    });
    fold(&written_out)
}

/// Whether a condition reads a field of this header that has no place in it, and so is never TRUE.
fn reads_unplaced(catalog: &Catalog, header: ProtocolId, e: &PExpr) -> bool {
    let mut found = false;
    map(e, &mut |e| {
        if let PExpr::Field(f) = e
            && f.at == Occurrence::This
        {
            let (owner, index) = catalog.field_at(header, f.protocol, f.field);
            let place = catalog.field(owner, index).map(|f| &f.place);
            found |= match place {
                Some(Place::Derived(e)) => reads_unplaced(catalog, header, e),
                place => place == Some(&Place::Abstract),
            };
        }
        None
    });
    found
}

fn is_constant(e: &PExpr) -> bool {
    matches!(e, PExpr::Const(_))
}

fn looks_below(e: &PExpr) -> bool {
    let mut found = false;
    map(e, &mut |e| {
        let below = |at: &Occurrence| matches!(at, Occurrence::Last | Occurrence::Nth(_));
        found |= match e {
            PExpr::Field(f) => below(&f.at),
            PExpr::Depth(_, at) | PExpr::Present(_, at) => below(at),
            _ => false,
        };
        None
    });
    found
}

/// The expression with every node for which `f` gives another replaced by that, from the root down.
fn map(e: &PExpr, f: &mut impl FnMut(&PExpr) -> Option<PExpr>) -> PExpr {
    if let Some(replaced) = f(e) {
        return replaced;
    }
    let mut go = |e: &PExpr| Box::new(map(e, f));
    match e {
        PExpr::Unary(op, a) => PExpr::Unary(*op, go(a)),
        PExpr::Binary(op, a, b) => PExpr::Binary(*op, go(a), go(b)),
        PExpr::Compare(op, a, b) => PExpr::Compare(*op, go(a), go(b)),
        PExpr::And(a, b) => PExpr::And(go(a), go(b)),
        PExpr::Or(a, b) => PExpr::Or(go(a), go(b)),
        PExpr::Not(a) => PExpr::Not(go(a)),
        PExpr::In(a, values) => PExpr::In(go(a), values.clone()),
        PExpr::If(a, b, c) => PExpr::If(go(a), go(b), go(c)),
        PExpr::Call(symbol, args) => PExpr::Call(symbol, args.iter().map(|a| map(a, f)).collect()),
        leaf => leaf.clone(),
    }
}

/// Decides what constants decide.
fn fold(e: &PExpr) -> PExpr {
    use PExpr::*;
    let truth = |e: &PExpr| match e {
        Const(Value::Bool(b)) => Some(*b),
        _ => None,
    };
    match e {
        If(c, a, b) => {
            let c = fold(c);
            match truth(&c) {
                Some(true) => fold(a),
                Some(false) => fold(b),
                None => If(Box::new(c), Box::new(fold(a)), Box::new(fold(b))),
            }
        }
        Not(a) => {
            let a = fold(a);
            match truth(&a) {
                Some(b) => Const(Value::Bool(!b)),
                None => Not(Box::new(a)),
            }
        }
        And(a, b) => {
            let (a, b) = (fold(a), fold(b));
            match (truth(&a), truth(&b)) {
                (Some(false), _) | (_, Some(false)) => Const(Value::Bool(false)),
                (Some(true), _) => b,
                (_, Some(true)) => a,
                _ => And(Box::new(a), Box::new(b)),
            }
        }
        Or(a, b) => {
            let (a, b) = (fold(a), fold(b));
            match (truth(&a), truth(&b)) {
                (Some(true), _) => Const(Value::Bool(true)),
                (Some(false), _) => b,
                (_, Some(false)) => a,
                _ => Or(Box::new(a), Box::new(b)),
            }
        }
        Compare(op, a, b) => match (fold(a), fold(b)) {
            (Const(a), Const(b)) => Const(Value::Bool(crate::arith::compare(*op, &a, &b))),
            (a, b) => Compare(*op, Box::new(a), Box::new(b)),
        },
        In(a, values) => match fold(a) {
            Const(v) => Const(Value::Bool(
                values.iter().any(|m| v.compare(m) == Some(std::cmp::Ordering::Equal)),
            )),
            a => In(Box::new(a), values.clone()),
        },
        other => other.clone(),
    }
}
