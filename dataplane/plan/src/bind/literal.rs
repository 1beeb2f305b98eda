//! Literals, and what they become beside a value of another type (protocols.md, Types added).

use wt_catalog::text::{literal_value, parse_as};
use wt_catalog::{Type, Value, arith, promote};
use wt_lang::ast::{Expr as Ast, ExprKind as AstKind, Literal};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, node};
use super::diags::{Bound, Reported, did_you_mean};
use super::find::position;
use super::fold::constant;
use super::packet_scope;
use crate::logical::{Expr, ExprKind};

/// Enumerators offered in a hint.
const NEAR_MAX: usize = 3;

impl Clause<'_> {
    /// A literal with its own type.
    pub(crate) fn literal(&self, literal: &Literal, span: Span) -> Bound<Expr> {
        if let Literal::Duration(ns) = literal
            && i64::try_from(*ns).is_err()
        {
            return Err(self.error(
                "literal-range",
                span,
                "the duration does not fit DURATION, which holds up to 292 years",
            ));
        }
        let (value, ty) = literal_value(literal);
        Ok(node(ExprKind::Const(value), ty, span))
    }

    /// Two operands that are compared: a string literal takes the other side's type, a bare name or string may be an enumerator of
    /// the other side's field.
    pub(crate) fn pair(&self, a: &Ast, b: &Ast) -> Bound<(Expr, Expr)> {
        let (lhs, rhs) = match (self.may_be_enumerator(a), self.may_be_enumerator(b)) {
            (false, true) => {
                let lhs = self.expr(a)?;
                let rhs = self.beside(b, &lhs)?;
                (lhs, rhs)
            }
            (true, false) => {
                let rhs = self.expr(b)?;
                (self.beside(a, &rhs)?, rhs)
            }
            _ => {
                let (lhs, rhs) = (self.expr(a), self.expr(b));
                (lhs?, rhs?)
            }
        };
        let rhs = self.adapt(rhs, lhs.ty)?;
        let lhs = self.adapt(lhs, rhs.ty)?;
        Ok((lhs, rhs))
    }

    fn may_be_enumerator(&self, e: &Ast) -> bool {
        match &e.kind {
            AstKind::Literal(Literal::String(_)) | AstKind::Defined(_) => true,
            AstKind::Column(_) => self.is_unknown_name(e),
            _ => false,
        }
    }

    /// A name or string that stands beside `other`: an enumerator of its field, or an ordinary expression.
    pub(crate) fn beside(&self, e: &Ast, other: &Expr) -> Bound<Expr> {
        let name = match &e.kind {
            AstKind::Column(c) if self.is_unknown_name(e) => Some(c.field.text.as_str()),
            AstKind::Literal(Literal::String(s)) if other.ty.is_integer() => Some(s.as_str()),
            _ => None,
        };
        let members = self.enumeration(other).map(|e| (&e.name, &e.members));
        let (Some(name), Some((of, members))) = (name, members) else {
            return self.expr(e).and_then(|e| self.adapt(e, other.ty));
        };
        if let Some(i) = position(name, members.iter().map(|(n, _)| n.as_str()))
            && let Some((_, value)) = members.get(i)
        {
            return Ok(node(ExprKind::Const(Value::Uint(*value)), other.ty, e.span()));
        }
        let near = nearest(name, members.iter().map(|(n, _)| n.as_str()), NEAR_MAX);
        let diagnostic = Diagnostic::error(
            "unknown-enumerator",
            e.span(),
            format!("`{name}` is neither a column nor a name of {of}"),
        );
        Err(self.report(if near.is_empty() {
            let some: Vec<&str> = members.iter().map(|(n, _)| n.as_str()).take(8).collect();
            diagnostic.hint(format!("{of} has {}, …; a number is taken too.", some.join(", ")))
        } else {
            did_you_mean(diagnostic, &near)
        }))
    }

    /// The enumeration whose names an expression's values have.
    pub(crate) fn enumeration(&self, e: &Expr) -> Option<&wt_catalog::Enumeration> {
        let catalog = self.sh.catalog();
        match &e.kind {
            ExprKind::Field(access) => {
                let field = packet_scope::field(catalog, access)?;
                catalog.enumerations.get(field.enumeration?)
            }
            _ => {
                let name = self.subtype(e)?;
                catalog.enumerations.iter().find(|e| e.name == name)
            }
        }
    }

    /// A string constant as `ty`, where text stands for such values; IP and IPV6 constants as INET. Anything else is unchanged.
    pub(crate) fn adapt(&self, e: Expr, ty: Type) -> Bound<Expr> {
        let Some(value) = constant(&e) else { return Ok(e) };
        if e.ty == Type::String && ty != Type::String && promote::takes_text(ty) {
            if ty == Type::Bytes {
                return Ok(Expr { ty, ..e });
            }
            let text = value.as_bytes().map(String::from_utf8_lossy).unwrap_or_default();
            return match parse_as(&text, ty) {
                Some(value) => Ok(Expr { kind: ExprKind::Const(value), ty, ..e }),
                None => Err(self.bad_text(&text, ty, e.span)),
            };
        }
        if ty == Type::Inet && matches!(e.ty, Type::Ip | Type::Ipv6) {
            return Ok(match arith::cast(value, Type::Inet) {
                Some(value) => Expr { kind: ExprKind::Const(value), ty, ..e },
                None => e,
            });
        }
        Ok(e)
    }

    /// A text that does not read as a value of the type it stands beside.
    pub(crate) fn bad_text(&self, text: &str, ty: Type, span: Span) -> Reported {
        let (what, hint) = match ty {
            Type::Ip if parse_as(text, Type::Ipv6).is_some() => (
                "an IPv4 address",
                "The other side is always IPv4; read FROM ip, where addresses may be of either family.",
            ),
            Type::Ipv6 if parse_as(text, Type::Ip).is_some() => (
                "an IPv6 address",
                "The other side is always IPv6; read FROM ip, where addresses may be of either family.",
            ),
            Type::Ip | Type::Ipv6 | Type::Inet if parse_as(text, Type::Prefix).is_some() => (
                "one address but a block",
                "Whether an address lies in a block: srcIP IN ['10.0.0.0/8'], or in_subnet(srcIP, '10.0.0.0/8').",
            ),
            Type::Ip => (
                "an IPv4 address",
                "An IPv4 address has four numbers from 0 to 255: '135.207.26.120'.",
            ),
            Type::Ipv6 => (
                "an IPv6 address",
                "An IPv6 address has hexadecimal groups with colons: '2001:db8::1'.",
            ),
            Type::Inet => ("an IP address", "An address is written '10.0.0.1' or '2001:db8::1'."),
            Type::Prefix => ("a CIDR block", "A block is written '10.0.0.0/8' or '2001:db8::/32'."),
            Type::Mac => {
                ("an Ethernet address", "An Ethernet address is written '02:00:00:00:00:01'.")
            }
            Type::Time => ("a time", "A time is written TIME'2026-01-31T12:00:00Z'."),
            Type::Duration => {
                ("a duration", "A duration is written without quotes: 5ms, 10s, 1m, 1h.")
            }
            _ => {
                ("a value of the other side's type", "The two sides of a comparison have one type.")
            }
        };
        self.report(
            Diagnostic::error("bad-literal", span, format!("`{text}` is not {what}"))
                .label(if ty == Type::Prefix {
                    String::new()
                } else {
                    format!("compared with {ty}")
                })
                .hint(hint),
        )
    }

    /// The declared subtype or enumeration of a plain column or field, kept through streams.
    pub(crate) fn subtype(&self, e: &Expr) -> Option<String> {
        let catalog = self.sh.catalog();
        match &e.kind {
            ExprKind::Field(access) => {
                let field = packet_scope::field(catalog, access)?;
                let enumeration = field.enumeration.and_then(|i| catalog.enumerations.get(i));
                enumeration.map(|e| e.name.clone()).or_else(|| field.subtype.clone())
            }
            ExprKind::Column(i) => self.column_subtype(*i),
            _ => None,
        }
    }
}

/// A value as it is stored in a set of `ty` values, or nothing when it can equal none of them.
pub(crate) fn member(value: &Value, from: Type, ty: Type) -> Option<Value> {
    if from == ty || matches!(value, Value::Prefix(..)) {
        return Some(value.clone());
    }
    let converted = arith::cast(value, ty)?;
    // A conversion that changes the number cannot be equal.
    (converted.compare(value) == Some(std::cmp::Ordering::Equal)).then_some(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_number() {
        assert_eq!(member(&Value::Uint(6), Type::Uint, Type::Ushort), Some(Value::Uint(6)));
        assert_eq!(member(&Value::Uint(70_000), Type::Uint, Type::Ushort), None);
        assert_eq!(member(&Value::Int(-1), Type::Int, Type::Uint), None);
        assert_eq!(member(&Value::Uint(5), Type::Uint, Type::Int), Some(Value::Int(5)));
        assert_eq!(member(&Value::Uint(5), Type::Uint, Type::Float), Some(Value::Float(5.0)));
        assert_eq!(member(&Value::Float(5.5), Type::Float, Type::Uint), None);
    }
}
