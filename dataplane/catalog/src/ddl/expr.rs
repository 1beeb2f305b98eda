//! Expressions of declarations: names resolved, types checked.

use wt_lang::ast::{BinaryOp, Call, CmpOp, ColumnRef, Expr, ExprKind, HeaderIndex, InSet, UnaryOp};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Span};

use super::Elaborator;
use super::scope::{Named, Scope};
use crate::function::FunctionKind;
use crate::promote;
use crate::protocol::{FieldRef, Occurrence, PExpr, ProtocolId};
use crate::resolve::{ArgInfo, CallForm, Coercion, Constness};
use crate::text::{literal_value, parse_as};
use crate::types::Type;
use crate::value::Value;

/// An expression with its type. `None` where a message has been given.
type Typed = Option<(PExpr, Type)>;

/// Functions of declarations, which take the name of a protocol.
const HEADER_FUNCTIONS: [&str; 3] = ["depth", "present", "offset"];

impl Elaborator<'_> {
    /// A condition.
    pub(super) fn condition(&mut self, scope: &Scope, expr: &Expr) -> Option<PExpr> {
        let (value, ty) = self.expr(scope, expr)?;
        if ty == Type::Bool {
            return Some(value);
        }
        self.report(
            Diagnostic::error("type-mismatch", expr.span(), format!("{ty} is not a condition"))
                .hint("Compare it, as in `flags & 1 = 1`."),
        );
        None
    }

    /// An offset, length or other whole number.
    pub(super) fn number(&mut self, scope: &Scope, expr: &Expr) -> Option<PExpr> {
        let (value, ty) = self.expr(scope, expr)?;
        if ty.is_integer() {
            return Some(value);
        }
        self.report(Diagnostic::error(
            "type-mismatch",
            expr.span(),
            format!("{ty} is not a number of bytes"),
        ));
        None
    }

    /// Any expression.
    pub(super) fn expr(&mut self, scope: &Scope, expr: &Expr) -> Typed {
        if self.is_full() {
            return None;
        }
        match &expr.kind {
            ExprKind::Literal(literal) => self.literal(expr, literal),
            ExprKind::Column(column) => self.column(scope, column, expr.span()),
            ExprKind::Unary(op, operand) => self.unary(scope, *op, operand, expr.span()),
            ExprKind::Binary(op, lhs, rhs) => self.binary(scope, *op, lhs, rhs),
            ExprKind::Compare(op, lhs, rhs) => {
                let (lhs, rhs) = self.comparable(scope, lhs, rhs)?;
                Some((PExpr::Compare(*op, Box::new(lhs), Box::new(rhs)), Type::Bool))
            }
            ExprKind::And(a, b) => {
                let (a, b) = (self.condition(scope, a), self.condition(scope, b));
                Some((PExpr::And(Box::new(a?), Box::new(b?)), Type::Bool))
            }
            ExprKind::Or(a, b) => {
                let (a, b) = (self.condition(scope, a), self.condition(scope, b));
                Some((PExpr::Or(Box::new(a?), Box::new(b?)), Type::Bool))
            }
            ExprKind::Not(a) => Some((PExpr::Not(Box::new(self.condition(scope, a)?)), Type::Bool)),
            ExprKind::In { value, set, negated } => {
                let InSet::List(members) = set else {
                    self.unsupported(expr.span(), "a watchlist", "List the values in brackets.");
                    return None;
                };
                let test = self.membership(scope, value, members)?;
                Some((if *negated { PExpr::Not(Box::new(test)) } else { test }, Type::Bool))
            }
            ExprKind::Between { value, low, high, negated } => {
                let (v, low) = self.comparable(scope, value, low)?;
                let (w, high) = self.comparable(scope, value, high)?;
                let above = PExpr::Compare(CmpOp::Ge, Box::new(v), Box::new(low));
                let below = PExpr::Compare(CmpOp::Le, Box::new(w), Box::new(high));
                let test = PExpr::And(Box::new(above), Box::new(below));
                Some((if *negated { PExpr::Not(Box::new(test)) } else { test }, Type::Bool))
            }
            ExprKind::Case { operand, arms, otherwise } => {
                self.case(scope, operand.as_deref(), arms, otherwise.as_deref(), expr.span())
            }
            ExprKind::Call(call) => self.call(scope, call, expr.span()),
            ExprKind::Like { .. } => {
                self.unsupported(expr.span(), "LIKE", "Compare fixed bytes with `=`.");
                None
            }
            ExprKind::Param(_) | ExprKind::Defined(_) | ExprKind::IfProp { .. } => {
                self.unsupported(
                    expr.span(),
                    "a parameter or property",
                    "A declaration holds for every query; write the value.",
                );
                None
            }
        }
    }

    fn unsupported(&mut self, span: Span, what: &str, hint: &str) {
        let message = format!("{what} has no meaning in a declaration");
        self.report(Diagnostic::error("unsupported", span, message).hint(hint));
    }

    fn literal(&mut self, expr: &Expr, literal: &wt_lang::ast::Literal) -> Typed {
        let (value, ty) = literal_value(literal);
        if ty == Type::Float {
            self.unsupported(
                expr.span(),
                "a float",
                "Arithmetic of declarations is unsigned and whole.",
            );
            return None;
        }
        Some((PExpr::Const(value), ty))
    }

    fn unary(&mut self, scope: &Scope, op: UnaryOp, operand: &Expr, span: Span) -> Typed {
        let (value, ty) = self.expr(scope, operand)?;
        match op {
            UnaryOp::Plus if ty.is_integer() => Some((value, ty)),
            UnaryOp::Not | UnaryOp::BitNot if ty.is_integer() => {
                Some((PExpr::Unary(op, Box::new(value)), Type::Ullong))
            }
            UnaryOp::Not if ty == Type::Bool => Some((PExpr::Not(Box::new(value)), Type::Bool)),
            UnaryOp::Neg => {
                self.unsupported(
                    span,
                    "a negative number",
                    "Arithmetic of declarations is unsigned and stops at 0.",
                );
                None
            }
            _ => {
                let message = format!("`{}` does not take {ty}", promote::prefix(op));
                self.report(Diagnostic::error("type-mismatch", span, message));
                None
            }
        }
    }

    fn binary(&mut self, scope: &Scope, op: BinaryOp, lhs: &Expr, rhs: &Expr) -> Typed {
        let (a, b) = (self.expr(scope, lhs), self.expr(scope, rhs));
        let ((a, a_ty), (b, b_ty)) = (a?, b?);
        for (ty, operand) in [(a_ty, lhs), (b_ty, rhs)] {
            if !ty.is_integer() {
                let message = format!("`{}` does not take {ty}", promote::symbol(op));
                let mut error = Diagnostic::error("type-mismatch", operand.span(), message);
                if ty == Type::Bool {
                    error = error
                        .hint("A bool counts as a number in CASE WHEN flag THEN 1 ELSE 0 END.");
                }
                self.report(error);
                return None;
            }
        }
        if matches!(op, BinaryOp::Div | BinaryOp::Rem) && b == PExpr::Const(Value::Uint(0)) {
            self.report(
                Diagnostic::error("bad-value", rhs.span(), "division by zero")
                    .hint("Division by a field that is 0 gives 0."),
            );
            return None;
        }
        Some((PExpr::Binary(op, Box::new(a), Box::new(b)), Type::Ullong))
    }

    /// Two sides that compare, string literals and enumerators turned into the other side's type.
    fn comparable(&mut self, scope: &Scope, lhs: &Expr, rhs: &Expr) -> Option<(PExpr, PExpr)> {
        // A name that is no field can only be an enumerator, which the other side explains.
        if self.may_be_enumerator(scope, lhs) && !self.may_be_enumerator(scope, rhs) {
            let (rhs, lhs) = self.comparable(scope, rhs, lhs)?;
            return Some((lhs, rhs));
        }
        let (a, a_ty) = self.expr(scope, lhs)?;
        let (b, b_ty) = self.beside(scope, rhs, &a, a_ty)?;
        if let (PExpr::Const(Value::Bytes(_)), true) = (&a, promote::takes_text(b_ty)) {
            let (a, _) = self.beside(scope, lhs, &b, b_ty)?;
            return Some((a, b));
        }
        match promote::compare_type(a_ty, b_ty) {
            Ok(_) => Some((a, b)),
            Err(error) => {
                let span = lhs.span().to(rhs.span());
                let mut diagnostic = Diagnostic::error("type-mismatch", span, error.to_string());
                if let Some(hint) = error.hint() {
                    diagnostic = diagnostic.hint(hint);
                }
                self.report(diagnostic);
                None
            }
        }
    }

    fn may_be_enumerator(&self, scope: &Scope, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Column(c) if c.qualifiers.is_empty() => {
                matches!(scope.find(&self.catalog, &self.names, &c.field.text), Named::Nothing)
            }
            _ => false,
        }
    }

    /// An expression compared with `other`: enumerators and string literals take their meaning from it.
    fn beside(&mut self, scope: &Scope, expr: &Expr, other: &PExpr, other_ty: Type) -> Typed {
        match &expr.kind {
            ExprKind::Column(c) if self.may_be_enumerator(scope, expr) => {
                self.enumerator(scope, c, other, other_ty, expr.span())
            }
            ExprKind::Literal(wt_lang::ast::Literal::String(text))
                if promote::takes_text(other_ty) && other_ty != Type::Bytes =>
            {
                let value = parse_as(text, other_ty);
                if value.is_none() {
                    let message = format!("'{text}' is not {other_ty}");
                    let hint = format!("It is written {}.", crate::resolve::form(other_ty));
                    self.report(Diagnostic::error("bad-literal", expr.span(), message).hint(hint));
                }
                Some((PExpr::Const(value?), other_ty))
            }
            _ => self.expr(scope, expr),
        }
    }

    fn enumerator(
        &mut self,
        scope: &Scope,
        column: &ColumnRef,
        other: &PExpr,
        other_ty: Type,
        span: Span,
    ) -> Typed {
        let name = &column.field.text;
        let enumeration = match other {
            PExpr::Field(f) => self.catalog.field(f.protocol, f.field).and_then(|f| f.enumeration),
            _ => None,
        };
        if other_ty.is_integer()
            && let Some(value) = self.catalog.enumerator(enumeration, name)
        {
            return Some((PExpr::Const(Value::Uint(value)), Type::Ullong));
        }
        let members = match enumeration {
            Some(i) => self.catalog.enumerations.get(i..=i).unwrap_or(&[]),
            None => &self.catalog.enumerations[..],
        };
        let members = members.iter().flat_map(|e| &e.members).map(|(n, _)| n.as_str());
        let near: Vec<String> = nearest(name, members.chain(scope.names(&self.catalog)), 3)
            .into_iter()
            .map(|n| format!("`{n}`"))
            .collect();
        let message = format!("`{name}` is neither a field in scope nor an enumerator here");
        let mut error = Diagnostic::error("unknown-field", span, message);
        if !near.is_empty() {
            error = error.hint(format!("Did you mean {}?", near.join(" or ")));
        }
        self.report(error);
        None
    }

    fn membership(&mut self, scope: &Scope, value: &Expr, members: &[Expr]) -> Option<PExpr> {
        let (value_expr, ty) = self.expr(scope, value)?;
        let mut constants = Vec::with_capacity(members.len());
        for member in members {
            let (constant, member_ty) = self.beside(scope, member, &value_expr, ty)?;
            let PExpr::Const(constant) = constant else {
                self.report(
                    Diagnostic::error("not-constant", member.span(), "IN takes constants only")
                        .hint("Write literals or enumerators."),
                );
                return None;
            };
            if let Err(error) = promote::compare_type(ty, member_ty) {
                self.report(Diagnostic::error("type-mismatch", member.span(), error.to_string()));
                return None;
            }
            constants.push(constant);
        }
        Some(PExpr::In(Box::new(value_expr), constants))
    }

    fn case(
        &mut self,
        scope: &Scope,
        operand: Option<&Expr>,
        arms: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        span: Span,
    ) -> Typed {
        let Some(otherwise) = otherwise else {
            self.report(
                Diagnostic::error("type-mismatch", span, "CASE needs ELSE in a declaration")
                    .hint("A field has a value whenever its header is there."),
            );
            return None;
        };
        let (mut value, mut ty) = self.expr(scope, otherwise)?;
        for (when, then) in arms.iter().rev() {
            let condition = match operand {
                Some(operand) => {
                    let (a, b) = self.comparable(scope, operand, when)?;
                    PExpr::Compare(CmpOp::Eq, Box::new(a), Box::new(b))
                }
                None => self.condition(scope, when)?,
            };
            let (then_value, then_ty) = self.expr(scope, then)?;
            ty = self.common(then_ty, ty, then.span())?;
            value = PExpr::If(Box::new(condition), Box::new(then_value), Box::new(value));
        }
        Some((value, ty))
    }

    fn common(&mut self, a: Type, b: Type, span: Span) -> Option<Type> {
        match promote::common_type(a, b) {
            Ok(ty) => Some(ty),
            Err(error) => {
                self.report(Diagnostic::error("type-mismatch", span, error.to_string()));
                None
            }
        }
    }

    fn column(&mut self, scope: &Scope, column: &ColumnRef, span: Span) -> Typed {
        let field = match column.qualifiers.as_slice() {
            [] => self.plain(scope, column, span)?,
            [qualifier] => {
                let id = match self.catalog.resolve_protocol(&qualifier.name.text) {
                    Ok(id) => id,
                    Err(error) => {
                        self.unknown(&qualifier.name, &error);
                        return None;
                    }
                };
                let at = match qualifier.index {
                    Some(HeaderIndex::Last) => Occurrence::Last,
                    Some(HeaderIndex::Nth(n)) => Occurrence::Nth(n),
                    None => self.header_above(scope, id, qualifier.name.span)?,
                };
                match self.catalog.resolve_field(id, &column.field.text) {
                    Ok((protocol, field)) => {
                        FieldRef { protocol, field, at: self.reach(id, protocol, at) }
                    }
                    Err(error) => {
                        self.unknown(&column.field, &error);
                        return None;
                    }
                }
            }
            _ => {
                self.unsupported(span, "a path of protocols", "Name one protocol: `ip.protocol`.");
                return None;
            }
        };
        let ty = self.catalog.field(field.protocol, field.field)?.ty;
        Some((PExpr::Field(field), ty))
    }

    /// `p.f` where `f` is declared by what carries `p`: still the nearest header of its own protocol.
    fn reach(&self, named: ProtocolId, owner: ProtocolId, at: Occurrence) -> Occurrence {
        if self.catalog.refines_as_header(named, owner) {
            at
        } else if self.catalog.protocol_name(owner) == super::ROOT {
            Occurrence::First
        } else {
            Occurrence::Above
        }
    }

    fn plain(&mut self, scope: &Scope, column: &ColumnRef, span: Span) -> Option<FieldRef> {
        let name = &column.field.text;
        let error = match scope.find(&self.catalog, &self.names, name) {
            Named::Field(field) => return Some(field),
            Named::Ambiguous(owners) => {
                let owners: Vec<&str> =
                    owners.iter().map(|&o| self.catalog.protocol_name(o)).collect();
                let message = format!("`{name}` is a field of {}", owners.join(" and "));
                let first = owners.first().copied().unwrap_or_default();
                Diagnostic::error("ambiguous-field", span, message)
                    .hint(format!("Name the protocol: `{first}.{name}`."))
            }
            Named::Nothing => {
                let near: Vec<String> = nearest(name, scope.names(&self.catalog), 3)
                    .into_iter()
                    .map(|n| format!("`{n}`"))
                    .collect();
                let this = self.catalog.protocol_name(scope.this);
                let message =
                    format!("`{name}` is neither a field of {this} nor of a header above it");
                let error = Diagnostic::error("unknown-field", span, message);
                if near.is_empty() {
                    error
                } else {
                    error.hint(format!("Did you mean {}?", near.join(" or ")))
                }
            }
        };
        self.report(error);
        None
    }

    fn header_above(&mut self, scope: &Scope, id: ProtocolId, span: Span) -> Option<Occurrence> {
        let at = scope.header(&self.catalog, id);
        if at.is_none() {
            let this = self.catalog.protocol_name(scope.this);
            let name = self.catalog.protocol_name(id);
            let message = format!("no `{name}` stands above `{this}`");
            let hint = format!("Headers below are reached by `{name}[0]` and `{name}[last]`.");
            self.report(Diagnostic::error("unknown-name", span, message).hint(hint));
        }
        at
    }

    fn call(&mut self, scope: &Scope, call: &Call, span: Span) -> Typed {
        let name = call.name.text.to_ascii_lowercase();
        if HEADER_FUNCTIONS.contains(&name.as_str()) {
            return self.header_function(scope, &name, call, span);
        }
        if name == "if"
            && let [condition, then, otherwise] = call.args.as_slice()
        {
            let arms = [(condition.clone(), then.clone())];
            return self.case(scope, None, &arms, Some(otherwise), span);
        }
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.expr(scope, arg)?);
        }
        let infos: Vec<ArgInfo<'_>> = args
            .iter()
            .zip(&call.args)
            .map(|((value, ty), expr)| ArgInfo {
                ty: *ty,
                text: match &expr.kind {
                    ExprKind::Literal(wt_lang::ast::Literal::String(text)) => Some(text),
                    _ => None,
                },
                constness: match value {
                    PExpr::Const(_) => Constness::Single,
                    _ => Constness::PerTuple,
                },
            })
            .collect();
        let resolved = self.catalog.resolve_function(&call.name.text, &infos, CallForm::Value);
        let (symbol, result, coercions) = match resolved {
            Ok(r) => {
                let f = r.function;
                let plain = matches!(f.kind, FunctionKind::Scalar | FunctionKind::Predicate)
                    && f.available
                    && f.implicit_fields.is_empty()
                    && f.params.iter().all(|p| p.pass == crate::function::PassBy::Value);
                if !plain {
                    self.unsupported(
                        span,
                        &format!("`{}`", call.name),
                        "Declarations call plain scalar functions only.",
                    );
                    return None;
                }
                (f.symbol, r.result, r.coercions)
            }
            Err(error) => {
                let mut diagnostic = Diagnostic::error("unknown-function", span, error.to_string());
                for hint in error.hints() {
                    diagnostic = diagnostic.hint(hint);
                }
                self.report(diagnostic);
                return None;
            }
        };
        let args = args
            .into_iter()
            .zip(coercions)
            .map(|((value, _), coercion)| match coercion {
                Coercion::None => value,
                Coercion::Literal(value, _) => PExpr::Const(value),
            })
            .collect();
        Some((PExpr::Call(symbol, args), result))
    }

    /// `depth(p)`, `present(p)`: of the run below; `offset(p)`: of this header or the nearest above.
    fn header_function(&mut self, scope: &Scope, name: &str, call: &Call, span: Span) -> Typed {
        let protocol = match call.args.as_slice() {
            [Expr { kind: ExprKind::Column(c), .. }] if c.qualifiers.is_empty() => &c.field,
            _ => {
                let message = format!("`{name}` takes the name of a protocol");
                self.report(
                    Diagnostic::error("type-mismatch", span, message)
                        .hint(format!("For example `{name}(ip)`.")),
                );
                return None;
            }
        };
        let id = match self.catalog.resolve_protocol(&protocol.text) {
            Ok(id) => id,
            Err(error) => {
                self.unknown(protocol, &error);
                return None;
            }
        };
        Some(match name {
            "depth" => (PExpr::Depth(id, Occurrence::Last), Type::Uint),
            "present" => (PExpr::Present(id, Occurrence::Last), Type::Bool),
            _ => (PExpr::Offset(id, self.header_above(scope, id, protocol.span)?), Type::Uint),
        })
    }
}
