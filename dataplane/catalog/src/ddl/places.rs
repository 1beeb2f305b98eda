//! Expressions in their places: field offsets, header lengths, checks, conditions of OVER, record lengths.

use std::collections::HashMap;

use wt_lang::ast::{Expr, ExprKind, FieldDecl, Literal, PlaceDecl, ProtocolItem, RecordFormat};
use wt_lang::{Diagnostic, Span};

use super::scope::{Scope, own_field};
use super::{EXPRESSION_NODES_MAX, Elaborator};
use crate::protocol::{FieldRef, Header, PExpr, Place, ProtocolId, RecordKind};
use crate::types::Type;
use crate::value::Value;

/// Bits of the widest field.
const FIELD_BITS_MAX: u32 = 64;

impl Elaborator<'_> {
    pub(super) fn elaborate_expressions(&mut self) {
        for (id, decl) in self.new.clone() {
            if self.is_full() {
                return;
            }
            let scope = self.scope(id);
            let mut header: Option<Header> = None;
            let mut checks = Vec::new();
            for item in &decl.items {
                match item {
                    ProtocolItem::Field(field) => {
                        let place = self.place(&scope, field);
                        let index = own_field(&self.catalog, id, &field.name.text);
                        if let (Some(place), Some(index)) = (place, index)
                            && let Some(p) = self.protocol_mut(id)
                            && let Some(f) = p.fields.get_mut(index as usize)
                        {
                            f.place = place;
                        }
                    }
                    ProtocolItem::Check(condition) => {
                        checks.extend(self.condition(&scope, condition));
                    }
                    ProtocolItem::HeaderLength { length, min, max } => {
                        if header.is_some() {
                            self.report(Diagnostic::error(
                                "duplicate-name",
                                length.span(),
                                format!("`{}` has a HEADER LENGTH already", decl.name),
                            ));
                        }
                        header = self.header(&scope, length, *min, *max);
                    }
                }
            }
            if let Some(RecordFormat::Variable(length)) = &decl.record
                && let Some(length) = self.number(&scope, length)
                && let Some(p) = self.protocol_mut(id)
            {
                p.record = Some(RecordKind::Variable(length));
            }
            if let (Some(header), Some(p)) = (header, self.protocol_mut(id)) {
                p.header = Some(Header { checks, ..header });
            }
        }
        self.conditions();
    }

    fn header(
        &mut self,
        scope: &Scope,
        length: &Expr,
        min: Option<u32>,
        max: Option<u32>,
    ) -> Option<Header> {
        let value = self.number(scope, length)?;
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            self.report(Diagnostic::error(
                "bad-value",
                length.span(),
                format!("MIN {min} is greater than MAX {max}"),
            ));
        }
        let constant = match &value {
            PExpr::Const(v) => v.as_u64().and_then(|v| u32::try_from(v).ok()),
            _ => None,
        };
        Some(Header {
            length: value,
            min: min.or(constant).unwrap_or(0),
            max: max.unwrap_or(u32::MAX),
            checks: Vec::new(),
        })
    }

    /// Conditions of OVER; each is read in the header that is followed. OVER clauses and their entries in the catalog come in
    /// the same order.
    fn conditions(&mut self) {
        let total: usize = self.new.iter().map(|(_, decl)| decl.over.len()).sum();
        let mut entry = self.catalog.over.len().saturating_sub(total);
        for (_, decl) in self.new.clone() {
            for over in &decl.over {
                let parent = self.catalog.over.get(entry).map(|o| o.parent);
                if let (Some(when), Some(parent)) = (&over.when, parent) {
                    let scope = self.scope(parent);
                    let condition = self.condition(&scope, when);
                    if let Some(o) = self.catalog.over.get_mut(entry) {
                        o.when = condition;
                    }
                }
                entry += 1;
            }
        }
    }

    fn place(&mut self, scope: &Scope, decl: &FieldDecl) -> Option<Place> {
        let index = own_field(&self.catalog, scope.this, &decl.name.text)?;
        let ty = self.catalog.field(scope.this, index)?.ty;
        match &decl.place {
            PlaceDecl::Abstract => Some(Place::Abstract),
            PlaceDecl::Accessor(name) => Some(self.accessor(name, ty)),
            PlaceDecl::Derived(expr) => {
                let (value, given) = self.expr(scope, expr)?;
                if !assignable(given, ty) {
                    let message =
                        format!("the expression is {given}, the field `{}` is {ty}", decl.name);
                    self.report(Diagnostic::error("type-mismatch", expr.span(), message));
                    return None;
                }
                Some(Place::Derived(value))
            }
            PlaceDecl::At { at, bits, length, little } => {
                if !self.has_bytes(scope.this) {
                    return None;
                }
                let at_value = self.number(scope, at)?;
                match ty {
                    Type::String | Type::Bytes => {
                        self.slice(scope, decl, at_value, *bits, length.as_ref(), *little)
                    }
                    Type::Ipv6 => {
                        let len = constant(length.as_ref()).unwrap_or(16);
                        if bits.is_some() || *little || len != 16 {
                            self.bad_place(
                                decl,
                                "IPV6 is 16 bytes in network order",
                                "Leave out BITS, LENGTH and LITTLE.",
                            );
                            return None;
                        }
                        Some(Place::Bytes { at: at_value, len: 16 })
                    }
                    Type::Inet | Type::Prefix | Type::Float | Type::TimeVal => {
                        let hint = match ty {
                            Type::Inet => {
                                "Declare it as IP or IPV6, or derive it from fields of those types."
                            }
                            _ => "Declare an integer or BYTES, and convert in queries.",
                        };
                        self.bad_place(
                            decl,
                            &format!("{ty} has no fixed layout in a header"),
                            hint,
                        );
                        None
                    }
                    _ => self.bit_field(decl, ty, at_value, *bits, length.as_ref(), *little),
                }
            }
        }
    }

    fn bad_place(&mut self, decl: &FieldDecl, message: &str, hint: &str) {
        let message = format!("`{}` cannot be read: {message}", decl.name);
        self.report(Diagnostic::error("bad-place", decl.span.0, message).hint(hint));
    }

    fn slice(
        &mut self,
        scope: &Scope,
        decl: &FieldDecl,
        at: PExpr,
        bits: Option<(u32, u32)>,
        length: Option<&Expr>,
        little: bool,
    ) -> Option<Place> {
        if bits.is_some() || little {
            self.bad_place(
                decl,
                "a run of bytes has no BITS and no byte order",
                "Give its LENGTH in bytes, or leave it out to reach to the end of the packet.",
            );
            return None;
        }
        let len = match length {
            Some(length) => Some(self.number(scope, length)?),
            None => None,
        };
        Some(Place::Slice { at, len })
    }

    fn bit_field(
        &mut self,
        decl: &FieldDecl,
        ty: Type,
        at: PExpr,
        bits: Option<(u32, u32)>,
        length: Option<&Expr>,
        little: bool,
    ) -> Option<Place> {
        let natural = if ty == Type::Bool { 8 } else { ty.bits().unwrap_or(FIELD_BITS_MAX) };
        let (from, width) = match (bits, length) {
            (Some(_), Some(length)) => {
                let message = format!("`{}` has both BITS and LENGTH", decl.name);
                self.report(
                    Diagnostic::error("bad-place", length.span(), message)
                        .hint("BITS already says how wide the field is."),
                );
                return None;
            }
            (Some(bits), None) => bits,
            (None, None) => (0, natural),
            (None, Some(length)) => match constant(Some(length)) {
                Some(bytes @ 1..=8) => (0, bytes * 8),
                _ => {
                    self.bad_length(length.span(), &decl.name.text);
                    return None;
                }
            },
        };
        if width > FIELD_BITS_MAX {
            self.bad_place(
                decl,
                &format!("{width} bits are more than {FIELD_BITS_MAX}"),
                "Declare the field as BYTES with a LENGTH.",
            );
            return None;
        }
        let exact = matches!(ty, Type::Ip | Type::Mac | Type::Time | Type::Duration);
        if ty != Type::Bool && (width > natural || (exact && width != natural)) {
            let hint = if exact {
                format!("{ty} takes exactly {natural} bits.")
            } else {
                "Declare a wider type: uint has 32 bits, ullong 64.".to_owned()
            };
            self.bad_place(decl, &format!("{width} bits do not fit {ty}"), &hint);
            return None;
        }
        if little && (!from.is_multiple_of(8) || !width.is_multiple_of(8)) {
            self.bad_place(
                decl,
                "LITTLE takes whole bytes",
                "Read the whole bytes as LITTLE, and take the bits with `>>` and `&` in a derived field.",
            );
            return None;
        }
        // Whole bytes of the bit offset belong to the byte offset.
        let (at, bit) = match &at {
            PExpr::Const(v) => {
                let byte = v.as_u64().unwrap_or(0).saturating_add(u64::from(from / 8));
                (PExpr::Const(Value::Uint(byte)), from % 8)
            }
            _ => (at, from),
        };
        Some(Place::Bits { at, bit, bits: width, little })
    }

    fn bad_length(&mut self, span: Span, name: &str) {
        self.report(
            Diagnostic::error(
                "bad-place",
                span,
                format!("the length of the number `{name}` must be 1 to 8 bytes"),
            )
            .hint("Only string and BYTES fields have a length that differs from packet to packet."),
        );
    }

    /// Derived fields may read each other, in no circle, and not without bound.
    pub(super) fn check_derived(&mut self) {
        let mut known = HashMap::new();
        for (id, decl) in self.new.clone() {
            for item in &decl.items {
                let ProtocolItem::Field(field) = item else { continue };
                let Some(index) = own_field(&self.catalog, id, &field.name.text) else { continue };
                let weight = self.weight(id, (id, index), &mut Vec::new(), &mut known);
                let message = match weight {
                    None => format!("`{}` is derived from itself", field.name),
                    Some(n) if n > EXPRESSION_NODES_MAX => format!(
                        "`{}` with the fields it reads is larger than {EXPRESSION_NODES_MAX} operations",
                        field.name
                    ),
                    Some(_) => continue,
                };
                let mut error = Diagnostic::error("cyclic-field", field.span.0, message);
                if weight.is_none() {
                    error = error.hint("Give one of the fields a place in the header with AT.");
                }
                self.report(error);
                return;
            }
        }
    }

    /// Size of a field's expression in a header of `this`, with the derived fields that it reads written out; `None` when it
    /// reads itself. Sizes found are kept in `known`.
    fn weight(
        &self,
        this: ProtocolId,
        at: (ProtocolId, u32),
        path: &mut Vec<(ProtocolId, u32)>,
        known: &mut HashMap<(ProtocolId, ProtocolId, u32), u32>,
    ) -> Option<u32> {
        let key = (this, at.0, at.1);
        if let Some(&weight) = known.get(&key) {
            return Some(weight);
        }
        if path.contains(&at) {
            return None;
        }
        let mut refs: Vec<FieldRef> = Vec::new();
        let mut total = 1u32;
        let mut add = |e: &PExpr| total = total.saturating_add(nodes(e, &mut refs));
        match self.catalog.field(at.0, at.1).map(|f| &f.place) {
            Some(Place::Derived(e)) => add(e),
            Some(Place::Bits { at, .. } | Place::Bytes { at, .. }) => add(at),
            Some(Place::Slice { at, len }) => {
                add(at);
                len.iter().for_each(&mut add);
            }
            Some(Place::Meta(_) | Place::Abstract | Place::Text(_)) | None => {}
        }
        path.push(at);
        for r in refs {
            if total > EXPRESSION_NODES_MAX {
                break;
            }
            // A refinement gives the field its place in this header.
            let below = self.catalog.field_at(this, r.protocol, r.field);
            total = total.saturating_add(self.weight(this, below, path, known)?);
        }
        path.pop();
        known.insert(key, total);
        Some(total)
    }
}

/// Number of nodes; the fields read are appended.
fn nodes(e: &PExpr, refs: &mut Vec<FieldRef>) -> u32 {
    let below: u32 = match e {
        PExpr::Const(_) | PExpr::Depth(..) | PExpr::Present(..) | PExpr::Offset(..) => 0,
        PExpr::Field(f) => {
            refs.push(f.clone());
            0
        }
        PExpr::Unary(_, a) | PExpr::Not(a) | PExpr::In(a, _) => nodes(a, refs),
        PExpr::Binary(_, a, b) | PExpr::Compare(_, a, b) | PExpr::And(a, b) | PExpr::Or(a, b) => {
            nodes(a, refs).saturating_add(nodes(b, refs))
        }
        PExpr::If(a, b, c) => {
            nodes(a, refs).saturating_add(nodes(b, refs)).saturating_add(nodes(c, refs))
        }
        PExpr::Call(_, args) => args.iter().map(|a| nodes(a, refs)).fold(0, u32::saturating_add),
    };
    below.saturating_add(1)
}

fn constant(length: Option<&Expr>) -> Option<u32> {
    match length?.kind {
        ExprKind::Literal(Literal::Uint(n) | Literal::Hex(n)) => Some(n),
        _ => None,
    }
}

/// Whether a derived value of one type may become a field of another.
fn assignable(given: Type, field: Type) -> bool {
    given == field
        || (given.is_integer() && field.is_integer())
        || (given.is_address() && field == Type::Inet)
        || (given.is_bytes() && field.is_bytes())
        || (given == Type::Ullong && matches!(field, Type::Time | Type::Duration))
}
