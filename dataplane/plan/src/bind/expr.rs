//! Scalar expressions and predicates (gsql.md §4, §5): typing, promotion, folding.

use wt_catalog::promote::{self, TypeError, binary_type, common_type, unary_type};
use wt_catalog::resolve::CallForm;
use wt_catalog::{Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp, Expr as Ast, ExprKind as AstKind, UnaryOp};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, Group, Key, node};
use super::diags::{Bound, Reported, did_you_mean};
use super::fold::{constant, fold, is_zero};
use crate::logical::{Expr, ExprKind};

impl Clause<'_> {
    /// Binds a scalar expression or predicate.
    pub(crate) fn expr(&self, e: &Ast) -> Bound<Expr> {
        self.expr_as(e, CallForm::Value)
    }

    fn expr_as(&self, e: &Ast, form: CallForm) -> Bound<Expr> {
        self.enter(1, e.span())?;
        let bound = self.expr_here(e, form);
        self.leave(1);
        bound
    }

    fn expr_here(&self, e: &Ast, form: CallForm) -> Bound<Expr> {
        let span = e.span();
        if let Some(i) = self.same_as_key(e) {
            return self.key(i, span);
        }
        match &e.kind {
            AstKind::Literal(literal) => self.literal(literal, span),
            AstKind::Param(name) => self.param(name, span),
            AstKind::Defined(name) => self.defined(name, span),
            AstKind::IfProp { table, name } => self.property(table.as_ref(), name, span),
            AstKind::Column(column) => self.column(column, span),
            AstKind::Unary(op, a) => self.unary(*op, a, span),
            AstKind::Binary(op, a, b) => self.binary(*op, a, b, span),
            AstKind::Compare(op, a, b) => self.comparison(*op, a, b, span),
            AstKind::And(a, b) => self.junction(ExprKind::And, a, b, span),
            AstKind::Or(a, b) => self.junction(ExprKind::Or, a, b, span),
            AstKind::Not(a) => self.negation(a, span),
            AstKind::In { value, set, negated } => self.in_set(value, set, *negated, span),
            AstKind::Between { value, low, high, negated } => {
                self.between(value, low, high, *negated, span)
            }
            AstKind::Like { value, pattern, negated } => {
                self.like_pattern(value, pattern, *negated, span)
            }
            AstKind::Case { operand, arms, otherwise } => {
                self.case(operand.as_deref(), arms, otherwise.as_deref(), span)
            }
            AstKind::Call(call) => self.call(call, form, span),
        }
    }

    fn junction(
        &self,
        make: fn(Box<Expr>, Box<Expr>) -> ExprKind,
        a: &Ast,
        b: &Ast,
        span: Span,
    ) -> Bound<Expr> {
        let a = self.predicate(a).map(Box::new);
        let b = self.predicate(b).map(Box::new);
        Ok(logical(make(a?, b?), span))
    }

    fn negation(&self, a: &Ast, span: Span) -> Bound<Expr> {
        let a = self.predicate(a).map(Box::new)?;
        Ok(logical(ExprKind::Not(a), span))
    }

    /// Over finished groups, an expression written like the definition of a group variable is that variable.
    fn same_as_key(&self, e: &Ast) -> Option<usize> {
        let Group::Result(grouped) = self.group else { return None };
        if matches!(e.kind, AstKind::Literal(_) | AstKind::Column(_)) {
            return None;
        }
        grouped.keys.iter().position(|k| k.ast == e)
    }

    fn key(&self, i: usize, span: Span) -> Bound<Expr> {
        match self.group {
            Group::Result(grouped) => {
                let key = grouped.keys.get(i).ok_or(Reported)?;
                Ok(node(ExprKind::Column(i), key.expr.ty, span))
            }
            Group::None | Group::Expand(_) => Err(Reported),
        }
    }

    /// A condition: any expression of type bool (protocols.md).
    pub(crate) fn predicate(&self, e: &Ast) -> Bound<Expr> {
        match self.expr_as(e, CallForm::Condition) {
            Ok(bound) if bound.ty != Type::Bool => Err(self.no_condition(e, bound.ty)),
            bound => bound,
        }
    }

    fn no_condition(&self, e: &Ast, ty: Type) -> Reported {
        let text = e.span().of(self.statement.text);
        let diagnostic = Diagnostic::error(
            "not-a-condition",
            e.span(),
            format!("this is {}, not a condition", article(ty)),
        )
        .label(ty.name());
        self.report(match ty {
            t if t.is_numeric() && text.len() <= 40 => {
                diagnostic.hint(format!("Compare it: `{text} <> 0`."))
            }
            _ => diagnostic.hint("A condition is a comparison, a predicate or a bool field."),
        })
    }

    fn param(&self, name: &Ident, span: Span) -> Bound<Expr> {
        let declared = self.statement.params;
        let index = self.sh.params.iter().position(|p| p.name == name.text);
        match index.filter(|_| declared.contains(&name.text)) {
            Some(i) => Ok(node(ExprKind::Param(i), self.sh.params[i].ty, span)),
            None => {
                let near = nearest(&name.text, declared.iter().map(String::as_str), 3);
                let diagnostic = Diagnostic::error(
                    "unknown-parameter",
                    span,
                    format!("`${name}` is not declared"),
                );
                Err(self.report(if near.is_empty() {
                    diagnostic
                        .hint(format!("Declare it before the query: PARAM {{ {name} uint; }}"))
                } else {
                    did_you_mean(diagnostic, &near)
                }))
            }
        }
    }

    fn defined(&self, name: &Ident, span: Span) -> Bound<Expr> {
        let strings = &self.statement.defined.strings;
        match strings.get(&name.text) {
            Some(text) => Ok(node(ExprKind::Const(Value::bytes(text)), Type::String, span)),
            None => {
                let near = nearest(&name.text, strings.keys().map(String::as_str), 3);
                let diagnostic =
                    Diagnostic::error("unknown-define", span, format!("`#{name}` is not defined"));
                Err(self.report(if near.is_empty() {
                    diagnostic
                        .hint(format!("Define it before the query: DEFINE {{ {name} 'text'; }}"))
                } else {
                    did_you_mean(diagnostic, &near)
                }))
            }
        }
    }

    /// `@Prop`: a string of the interface the tuple came from (gsql.md §8).
    fn property(&self, table: Option<&Ident>, name: &Ident, span: Span) -> Bound<Expr> {
        let candidates: Vec<usize> = match table {
            Some(t) => {
                let found = self.tables.iter().position(|x| x.name == t.text);
                let Some(i) = found else {
                    return Err(self.error(
                        "unknown-table",
                        t.span,
                        format!("`{t}` is not a table of this query"),
                    ));
                };
                vec![i]
            }
            None => (0..self.tables.len()).collect(),
        };
        let packets: Vec<usize> =
            candidates.into_iter().filter(|&i| self.tables[i].packets().is_some()).collect();
        let [i] = packets[..] else {
            let message = if packets.is_empty() {
                "an interface property needs a protocol source"
            } else {
                "the property may be of several sources"
            };
            return Err(self.report(Diagnostic::error("bad-property", span, message).hint(
                "Select the property by name where the protocol is read, and use that column here.",
            )));
        };
        self.used.set(self.used.get() | 1 << i.min(63));
        let interfaces = self.tables[i].packets().map_or(&[][..], |s| &s.interfaces);
        let mut values = Vec::new();
        for &index in interfaces {
            let Some(info) = self.sh.input.interfaces.get(index) else { continue };
            let mut found = info.properties.iter().filter(|(k, _)| *k == name.text);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => values.push(value),
                // Every interface has its name.
                (None, None) if name.text == "Name" => values.push(&info.name),
                (first, _) => {
                    let times = if first.is_none() { "not defined" } else { "defined twice" };
                    let known = info.properties.iter().map(|(k, _)| k.as_str());
                    let near = nearest(&name.text, known, 3);
                    return Err(self.report(did_you_mean(
                        Diagnostic::error(
                            "bad-property",
                            span,
                            format!("`@{name}` is {times} on interface `{}`", info.name),
                        ),
                        &near,
                    )));
                }
            }
        }
        let grouped = matches!(self.group, Group::Result(_));
        match values[..] {
            [value] => Ok(node(ExprKind::Const(Value::bytes(value)), Type::String, span)),
            _ if grouped => self.property_key(name, span),
            _ => Ok(node(ExprKind::InterfaceProperty(name.text.clone()), Type::String, span)),
        }
    }

    /// The group variable that a property of several interfaces is.
    fn property_key(&self, name: &Ident, span: Span) -> Bound<Expr> {
        let Group::Result(grouped) = self.group else { return Err(Reported) };
        let is =
            |k: &Key<'_>| matches!(&k.expr.kind, ExprKind::InterfaceProperty(n) if *n == name.text);
        match grouped.keys.iter().position(is) {
            Some(i) => self.key(i, span),
            None => Err(self.report(
                Diagnostic::error(
                    "raw-field",
                    span,
                    format!("`@{name}` differs between the interfaces of one group"),
                )
                .hint(format!("Group by it: GROUP BY …, @{name} AS {}.", name.text.to_lowercase())),
            )),
        }
    }

    fn unary(&self, op: UnaryOp, a: &Ast, span: Span) -> Bound<Expr> {
        let a = self.expr(a)?;
        match unary_type(op, a.ty) {
            Ok(ty) => {
                self.check_negated_range(op, &a, span)?;
                Ok(fold(node(ExprKind::Unary(op, Box::new(a)), ty, span)))
            }
            Err(error) => Err(self.type_error(&error, &[&a], span)),
        }
    }

    /// `-3000000000` does not fit the int that a negated uint gives.
    fn check_negated_range(&self, op: UnaryOp, a: &Expr, span: Span) -> Bound<()> {
        let limit: i128 = match (op, a.ty) {
            (UnaryOp::Neg, Type::Ushort | Type::Uint) => 1 << 31,
            (UnaryOp::Neg, Type::Ullong) => 1 << 63,
            _ => return Ok(()),
        };
        match constant(a).and_then(Value::as_i128) {
            Some(n) if n > limit => {
                let (ty, hint) = match a.ty {
                    Type::Ullong => ("llong", "The least llong is -9223372036854775808ULL."),
                    _ => ("int", "Write the number with ULL for a 64-bit one."),
                };
                Err(self.report(
                    Diagnostic::error("literal-range", span, format!("-{n} does not fit {ty}"))
                        .hint(hint),
                ))
            }
            _ => Ok(()),
        }
    }

    fn binary(&self, op: BinaryOp, a: &Ast, b: &Ast, span: Span) -> Bound<Expr> {
        let (lhs, rhs) = (self.expr(a), self.expr(b));
        let (mut lhs, mut rhs) = (lhs?, rhs?);
        // A mask or a time may be given as text.
        let masks = matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr);
        if masks && rhs.ty.is_address() || op == BinaryOp::Sub && rhs.ty == Type::Time {
            lhs = self.adapt(lhs, rhs.ty)?;
        }
        if masks && lhs.ty.is_address() || op == BinaryOp::Sub && lhs.ty == Type::Time {
            rhs = self.adapt(rhs, lhs.ty)?;
        }
        let ty = match binary_type(op, lhs.ty, rhs.ty) {
            Ok(ty) => ty,
            Err(error) => return Err(self.type_error(&error, &[&lhs, &rhs], span)),
        };
        if matches!(op, BinaryOp::Div | BinaryOp::Rem) && is_zero(&rhs) {
            return Err(self.report(
                Diagnostic::error("division-by-zero", rhs.span, "division by a literal zero")
                    .label("always zero")
                    .hint("No tuple would pass: a division by zero fails like a partial function."),
            ));
        }
        Ok(fold(node(ExprKind::Binary(op, Box::new(lhs), Box::new(rhs)), ty, span)))
    }

    /// An operator that does not take its operands.
    pub(crate) fn type_error(&self, error: &TypeError, operands: &[&Expr], span: Span) -> Reported {
        let mut diagnostic = Diagnostic::error("bad-operands", span, error.to_string());
        for e in operands {
            if e.span != span {
                diagnostic = diagnostic.related(e.span, e.ty.name());
            }
        }
        if let Some(hint) = error.hint() {
            diagnostic = diagnostic.hint(hint);
        }
        self.report(diagnostic)
    }

    /// CASE as nested choices; without ELSE the type's default stands, for there is no NULL.
    fn case(
        &self,
        operand: Option<&Ast>,
        arms: &[(Ast, Ast)],
        otherwise: Option<&Ast>,
        span: Span,
    ) -> Bound<Expr> {
        let operand = operand.map(|e| self.expr(e)).transpose()?;
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        let mut failed = None;
        // The arms nest in each other: the n-th is n levels deeper.
        for (level, (when, then)) in (0..).zip(arms) {
            self.enter(level, when.span())?;
            let condition = self.arm(operand.as_ref(), when);
            let value = self.expr(then);
            self.leave(level);
            match (condition, value) {
                (Ok(c), Ok(v)) => {
                    conditions.push(c);
                    values.push(v);
                }
                (Err(r), _) | (_, Err(r)) => failed = Some(r),
            }
        }
        let last = otherwise.map(|e| self.expr(e)).transpose();
        if let Some(reported) = failed {
            return Err(reported);
        }
        values.extend(last?);
        let ty = self.common(&mut values)?;
        let mut result = if values.len() > conditions.len() {
            values.pop().unwrap_or_else(|| default_of(ty, span))
        } else {
            default_of(ty, span)
        };
        for (condition, value) in conditions.into_iter().zip(values).rev() {
            result = choice(condition, value, result, span);
        }
        Ok(result)
    }

    /// The condition of an arm of CASE.
    fn arm(&self, operand: Option<&Expr>, when: &Ast) -> Bound<Expr> {
        match operand {
            None => self.predicate(when),
            Some(o) => {
                let when_value = self.beside(when, o)?;
                let o = self.sh.copy(o, o.span)?;
                let o = self.adapt(o, when_value.ty)?;
                self.compare(CmpOp::Eq, o, when_value, when.span())
            }
        }
    }

    /// Brings values to their common type; string literals become what the others are.
    pub(crate) fn common(&self, values: &mut Vec<Expr>) -> Bound<Type> {
        let model = values.iter().find(|v| !(v.ty == Type::String && constant(v).is_some()));
        if let Some(ty) = model.map(|v| v.ty) {
            let mut adapted = Vec::with_capacity(values.len());
            for v in values.drain(..) {
                let text = v.ty == Type::String && promote::takes_text(ty);
                adapted.push(if text { self.adapt(v, ty)? } else { v });
            }
            *values = adapted;
        }
        let mut ty = values.first().map_or(Type::Uint, |v| v.ty);
        for v in values.iter() {
            ty = match common_type(ty, v.ty) {
                Ok(ty) => ty,
                Err(error) => {
                    let first: Vec<&Expr> = values.iter().take(1).chain([v]).collect();
                    return Err(self.type_error(&error, &first, v.span));
                }
            };
        }
        for v in values.iter_mut() {
            if v.ty != ty {
                let inner = std::mem::replace(v, default_of(ty, v.span));
                let span = inner.span;
                *v = fold(node(ExprKind::Cast(Box::new(inner)), ty, span));
            }
        }
        Ok(ty)
    }
}

/// `IF(c, a, b)` of operands of one type.
pub(crate) fn choice(condition: Expr, then: Expr, otherwise: Expr, span: Span) -> Expr {
    let ty = then.ty;
    fold(node(ExprKind::If(Box::new(condition), Box::new(then), Box::new(otherwise)), ty, span))
}

fn default_of(ty: Type, span: Span) -> Expr {
    node(ExprKind::Const(Value::default_of(ty)), ty, span)
}

pub(crate) fn logical(kind: ExprKind, span: Span) -> Expr {
    fold(node(kind, Type::Bool, span))
}

/// `a uint`, `an int`.
pub(crate) fn article(ty: Type) -> String {
    let name = ty.name();
    // The names that sound like a vowel: int, IP, IPV6, INET, and MAC is "em".
    let an = name.starts_with(['i', 'I', 'a', 'o', 'M']);
    format!("{} {name}", if an { "an" } else { "a" })
}
