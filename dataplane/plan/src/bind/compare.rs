//! Comparison, IN, BETWEEN and LIKE (gsql.md §3, §5; protocols.md).

use std::collections::HashSet;

use wt_catalog::promote::{TypeError, compare_type};
use wt_catalog::text::parse_as;
use wt_catalog::{Type, Value};
use wt_lang::ast::{CmpOp, Expr as Ast, InSet};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, node};
use super::diags::{Bound, Reported, did_you_mean};
use super::fold::{constant, fold};
use super::literal::member;
use crate::logical::{Expr, ExprKind, WatchlistKey};

impl Clause<'_> {
    /// `a op b`
    pub(crate) fn comparison(&self, op: CmpOp, a: &Ast, b: &Ast, span: Span) -> Bound<Expr> {
        let (lhs, rhs) = self.pair(a, b)?;
        self.compare(op, lhs, rhs, span)
    }

    /// Compares two bound operands.
    pub(crate) fn compare(&self, op: CmpOp, lhs: Expr, rhs: Expr, span: Span) -> Bound<Expr> {
        if let Err(error) = compare_type(lhs.ty, rhs.ty) {
            return Err(self.incomparable(&error, &lhs, &rhs, span));
        }
        let (lhs, rhs) = (to_inet(lhs, rhs.ty), rhs);
        let rhs = to_inet(rhs, lhs.ty);
        self.warn_out_of_range(op, &lhs, &rhs, span);
        self.warn_out_of_range(op, &rhs, &lhs, span);
        let kind = ExprKind::Compare(op, Box::new(lhs), Box::new(rhs));
        Ok(fold(node(kind, Type::Bool, span)))
    }

    fn incomparable(
        &self,
        error: &TypeError,
        lhs: &Expr,
        rhs: &Expr,
        span: Span,
    ) -> super::diags::Reported {
        let mut diagnostic = Diagnostic::error("incomparable", span, error.to_string())
            .label(format!("{} compared with {}", lhs.ty, rhs.ty));
        let address = lhs.ty.is_address() || rhs.ty.is_address();
        let number = lhs.ty.is_numeric() || rhs.ty.is_numeric();
        if let Some(hint) = error.hint() {
            diagnostic = diagnostic.hint(hint);
        } else if address && number {
            diagnostic = diagnostic.hint(
                "An address is compared with an address: srcIP = '10.0.0.1'; ports are `srcPort` and `destPort`.",
            );
        }
        self.report(diagnostic)
    }

    /// A narrow unsigned field never equals a literal beyond its range.
    fn warn_out_of_range(&self, op: CmpOp, field: &Expr, literal: &Expr, span: Span) {
        let max = match field.ty {
            Type::Ushort => i128::from(u16::MAX),
            Type::Uint => i128::from(u32::MAX),
            Type::Ullong => i128::from(u64::MAX),
            _ => return,
        };
        let Some(value) = constant(literal).and_then(Value::as_i128) else { return };
        if constant(field).is_some() || (0..=max).contains(&value) || literal.ty == Type::Float {
            return;
        }
        let always = match op {
            CmpOp::Eq => "never true",
            CmpOp::Ne => "always true",
            _ => return,
        };
        self.report(
            Diagnostic::warning("never-equal", span, format!("this comparison is {always}"))
                .label(format!("{} holds 0 to {max}", field.ty)),
        );
    }

    /// `x [NOT] IN …`
    pub(crate) fn in_set(
        &self,
        value: &Ast,
        set: &InSet,
        negated: bool,
        span: Span,
    ) -> Bound<Expr> {
        let expr = match set {
            InSet::List(list) => self.in_list(value, list, span)?,
            InSet::Named(name) => self.in_watchlist(value, name, span)?,
        };
        Ok(if negated { fold(node(ExprKind::Not(Box::new(expr)), Type::Bool, span)) } else { expr })
    }

    fn in_list(&self, value: &Ast, list: &[Ast], span: Span) -> Bound<Expr> {
        let value = self.expr(value)?;
        let mut members: Vec<Value> = Vec::new();
        let mut seen: HashSet<Value> = HashSet::new();
        let mut failed = None;
        for e in list {
            match self.in_member(e, &value) {
                Ok(Some(m)) => {
                    if seen.insert(m.clone()) {
                        members.push(m);
                    }
                }
                Ok(None) => {}
                Err(reported) => failed = Some(reported),
            }
        }
        if let Some(reported) = failed {
            return Err(reported);
        }
        if let Some(found) = constant(&value) {
            let holds = members.iter().any(|m| contains(m, found));
            return Ok(node(ExprKind::Const(Value::Bool(holds)), Type::Bool, span));
        }
        Ok(node(ExprKind::In(Box::new(value), members), Type::Bool, span))
    }

    /// A member as the value's type holds it; `None`: no value can equal it.
    fn in_member(&self, e: &Ast, value: &Expr) -> Bound<Option<Value>> {
        let text = match &e.kind {
            wt_lang::ast::ExprKind::Literal(wt_lang::ast::Literal::String(s)) => Some(s),
            _ => None,
        };
        // A block among addresses contains them.
        if let (Some(text), true) = (text, value.ty.is_address())
            && text.contains('/')
        {
            let Some(block) = parse_as(text, Type::Prefix) else {
                return Err(self.bad_text(text, Type::Prefix, e.span()));
            };
            if let Value::Prefix(a, _) = block
                && (a.is_ipv4() && value.ty == Type::Ipv6 || a.is_ipv6() && value.ty == Type::Ip)
            {
                self.report(Diagnostic::warning(
                    "never-equal",
                    e.span(),
                    format!("no {} lies in this block of the other family", value.ty),
                ));
            }
            return Ok(Some(block));
        }
        let bound = self.beside(e, value)?;
        let Some(found) = constant(&bound) else {
            return Err(self.report(
                Diagnostic::error("not-a-literal", e.span(), "IN takes literals only").hint(
                    "Compare with an expression by `=`, and join several comparisons with OR.",
                ),
            ));
        };
        if let (Value::Prefix(..), true) = (found, value.ty.is_address()) {
            return Ok(Some(found.clone()));
        }
        if let Err(error) = compare_type(value.ty, bound.ty) {
            return Err(self.incomparable(&error, value, &bound, e.span()));
        }
        let kept = member(found, bound.ty, value.ty);
        if kept.is_none() {
            self.report(
                Diagnostic::warning("never-equal", e.span(), "no value equals this member")
                    .label(format!("the values are {}", value.ty)),
            );
        }
        Ok(kept)
    }

    /// `x IN watchlist`
    fn in_watchlist(&self, value: &Ast, name: &Ident, span: Span) -> Bound<Expr> {
        let value = self.expr(value)?;
        let lists = self.statement.watchlists;
        let Some(list) = lists.iter().find(|l| l.name == name.text) else {
            let near = nearest(&name.text, lists.iter().map(|l| l.name.as_str()), 3);
            return Err(self.report(
                did_you_mean(
                    Diagnostic::error(
                        "unknown-watchlist",
                        name.span,
                        format!("there is no watchlist `{name}`"),
                    ),
                    &near,
                )
                .hint("A list of literals is written in brackets: IN [80, 443]."),
            ));
        };
        if let [key] = list.keys[..]
            && !(key == Type::Prefix && value.ty.is_address())
            && let Err(error) = compare_type(value.ty, key)
        {
            let key = node(ExprKind::Const(Value::default_of(key)), key, name.span);
            return Err(self.incomparable(&error, &value, &key, span));
        }
        if list.keys.is_empty() {
            // The watchlist has its own message.
            return Err(Reported);
        }
        if list.keys.len() > 1 {
            return Err(self.report(
                Diagnostic::error(
                    "bad-watchlist",
                    name.span,
                    format!(
                        "IN needs a watchlist with one key field; `{name}` has {}",
                        list.keys.len()
                    ),
                )
                .hint("Mark one field as `(key)`, and list the others without."),
            ));
        }
        // A watchlist without one has its own message.
        let Some(source) = list.source.clone() else { return Err(Reported) };
        let key = WatchlistKey { name: list.name.clone(), source };
        Ok(node(ExprKind::InWatchlist(Box::new(value), Box::new(key)), Type::Bool, span))
    }

    /// `x [NOT] BETWEEN low AND high`: two comparisons of one value.
    pub(crate) fn between(
        &self,
        value: &Ast,
        low: &Ast,
        high: &Ast,
        negated: bool,
        span: Span,
    ) -> Bound<Expr> {
        let value = self.expr(value)?;
        let bound = |limit: &Ast, op: CmpOp| {
            let limit = self.beside(limit, &value)?;
            let value = self.sh.copy(&value, value.span)?;
            let value = self.adapt(value, limit.ty)?;
            self.compare(op, value, limit, span)
        };
        let (lower, upper) = (bound(low, CmpOp::Ge), bound(high, CmpOp::Le));
        let (lower, upper) = (lower?, upper?);
        let both = fold(node(ExprKind::And(Box::new(lower), Box::new(upper)), Type::Bool, span));
        Ok(if negated { fold(node(ExprKind::Not(Box::new(both)), Type::Bool, span)) } else { both })
    }
}

/// An address beside an INET becomes one.
fn to_inet(e: Expr, other: Type) -> Expr {
    if other == Type::Inet && matches!(e.ty, Type::Ip | Type::Ipv6) {
        let span = e.span;
        return fold(node(ExprKind::Cast(Box::new(e)), Type::Inet, span));
    }
    e
}

/// Whether a constant equals a member or lies in it.
fn contains(member: &Value, value: &Value) -> bool {
    match member {
        Value::Prefix(network, len) => {
            value.as_addr().is_some_and(|a| wt_catalog::arith::network(a, *len) == Some(*network))
        }
        other => other.compare(value) == Some(std::cmp::Ordering::Equal),
    }
}
