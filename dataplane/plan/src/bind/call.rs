//! Calls of scalar functions and predicates (gsql.md §20; protocols.md, Functions added).

use wt_catalog::function::{Function, FunctionKind};
use wt_catalog::resolve::{ArgInfo, CallForm, Coercion, Constness, ResolveError};
use wt_catalog::{Type, Value};
use wt_lang::ast::{Call, CmpOp, Expr as Ast, ExprKind as AstKind, HeaderIndex, Literal};
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, Group, node};
use super::diags::Bound;
use super::expr::{choice, logical};
use super::fold::constant;
use super::refuse;
use super::shared::Rows;
use crate::logical::{Expr, ExprKind, HeaderRef};
use crate::walk;

impl Clause<'_> {
    /// A call of any kind.
    pub(crate) fn call(&self, call: &Call, form: CallForm, span: Span) -> Bound<Expr> {
        let name = call.name.text.as_str();
        if let Some(header) = self.header_call(call, span)? {
            return Ok(header);
        }
        let overloads = match self.sh.catalog().functions_named(name) {
            Ok(overloads) => overloads,
            Err(error) => {
                // What the arguments have to say is said too.
                call.args.iter().for_each(|a| {
                    let _ = self.expr(a);
                });
                return Err(self.resolve_error(&error, call, &[]));
            }
        };
        if call.superaggregate || overloads.iter().any(|f| f.is_aggregate()) {
            return self.aggregate(call, span);
        }
        if call.star || call.distinct {
            let form = if call.star { "*" } else { "DISTINCT" };
            return Err(self.error(
                "bad-call",
                span,
                format!("`{name}` is not an aggregate and takes no {form}"),
            ));
        }
        match () {
            () if name.eq_ignore_ascii_case("IF") && call.args.len() == 3 => {
                self.if_call(call, span)
            }
            () if name.eq_ignore_ascii_case("pcap_filter") => self.pcap_filter(call, span),
            () => self.scalar(call, form, span),
        }
    }

    fn scalar(&self, call: &Call, form: CallForm, span: Span) -> Bound<Expr> {
        let form = if call.brackets { CallForm::Condition } else { form };
        let (function, mut args, ty) = self.resolve(call, form)?;
        if call.brackets && function.kind != FunctionKind::Predicate {
            return Err(self.report(
                Diagnostic::error(
                    "bad-call",
                    span,
                    format!("`{}` is not a predicate", function.name),
                )
                .hint(format!("Functions are called with parentheses: `{}`.", function.example)),
            ));
        }
        if !function.available {
            refuse::function(self.sh, &function, span);
        }
        self.implicit_fields(&function, &mut args, span)?;
        if let (Some(to), 1) = (function.cast_target(), args.len()) {
            let arg = args.remove(0);
            if arg.ty == to {
                return Ok(Expr { span, ..arg });
            }
            return Ok(super::fold::fold(node(ExprKind::Cast(Box::new(arg)), to, span)));
        }
        Ok(node(ExprKind::Call { function, args }, ty, span))
    }

    /// Binds the arguments and finds the overload; literals are what the parameters ask for.
    pub(crate) fn resolve(
        &self,
        call: &Call,
        form: CallForm,
    ) -> Bound<(Function, Vec<Expr>, Type)> {
        let bound: Vec<Bound<Expr>> = call.args.iter().map(|a| self.expr(a)).collect();
        let args = bound.into_iter().collect::<Bound<Vec<Expr>>>()?;
        self.resolve_bound(call, args, form)
    }

    /// [`Self::resolve`] for arguments that are bound.
    pub(crate) fn resolve_bound(
        &self,
        call: &Call,
        args: Vec<Expr>,
        form: CallForm,
    ) -> Bound<(Function, Vec<Expr>, Type)> {
        let infos: Vec<ArgInfo<'_>> = args.iter().map(arg_info).collect();
        let resolved = match self.sh.catalog().resolve_function(&call.name.text, &infos, form) {
            Ok(resolved) => resolved,
            Err(error) => return Err(self.resolve_error(&error, call, &args)),
        };
        let (function, ty) = (resolved.function.clone(), resolved.result);
        let coercions = resolved.coercions;
        let args = args
            .into_iter()
            .zip(coercions)
            .map(|(arg, coercion)| match coercion {
                Coercion::None => arg,
                Coercion::Literal(value, ty) => node(ExprKind::Const(value), ty, arg.span),
            })
            .collect();
        Ok((function, args, ty))
    }

    /// The message for a call that means nothing.
    pub(crate) fn resolve_error(
        &self,
        error: &ResolveError,
        call: &Call,
        args: &[Expr],
    ) -> super::diags::Reported {
        let argument = |i: &usize| args.get(*i).map_or(call.name.span, |a| a.span);
        let (code, span) = match error {
            ResolveError::Unknown { .. } | ResolveError::Ambiguous { .. } => {
                ("unknown-function", call.name.span)
            }
            ResolveError::NoOverload { .. } => ("bad-arguments", call.name.span),
            ResolveError::BadText { index, .. } => ("bad-literal", argument(index)),
            ResolveError::NotConstant { index, .. } => ("not-constant", argument(index)),
        };
        let mut diagnostic = Diagnostic::error(code, span, error.to_string());
        diagnostic.hints = error.hints();
        if let ResolveError::NoOverload { .. } = error {
            for arg in args {
                diagnostic = diagnostic.related(arg.span, arg.ty.name());
            }
        }
        self.report(diagnostic)
    }

    /// `IF(c, x, y)`: c is a condition or a number, the branches have a common type.
    fn if_call(&self, call: &Call, span: Span) -> Bound<Expr> {
        let [c, x, y] = &call.args[..] else {
            return Err(self.error("bad-arguments", span, "IF takes a condition and two values"));
        };
        let condition = self.condition(c);
        let (x, y) = (self.expr(x), self.expr(y));
        let (condition, mut values) = (condition?, vec![x?, y?]);
        self.common(&mut values)?;
        match (values.pop(), values.pop()) {
            (Some(y), Some(x)) => Ok(choice(condition, x, y, span)),
            _ => Err(self.error("bad-arguments", span, "IF takes a condition and two values")),
        }
    }

    /// A condition, or a number that is not 0.
    fn condition(&self, e: &Ast) -> Bound<Expr> {
        let value = match &e.kind {
            AstKind::Call(_) => return self.predicate(e),
            _ => self.expr(e)?,
        };
        if value.ty.is_integer() {
            let zero = node(ExprKind::Const(Value::default_of(value.ty)), value.ty, value.span);
            return self.compare(CmpOp::Ne, value, zero, e.span());
        }
        self.predicate(e)
    }

    fn pcap_filter(&self, call: &Call, span: Span) -> Bound<Expr> {
        let text = match &call.args[..] {
            [e] => match (&e.kind, self.expr(e)?) {
                (AstKind::Literal(_) | AstKind::Defined(_), bound) => constant(&bound)
                    .and_then(Value::as_bytes)
                    .map(|b| (String::from_utf8_lossy(b).into_owned(), e.span())),
                _ => None,
            },
            _ => None,
        };
        let Some((text, at)) = text else {
            return Err(self.report(
                Diagnostic::error("bad-call", span, "pcap_filter takes one string literal")
                    .hint("It is compiled before the first packet: pcap_filter('tcp port 80')."),
            ));
        };
        let packets = self.tables.iter().any(|t| matches!(t.rows, Rows::Packets(_)));
        if !packets || matches!(self.group, Group::Result(_)) {
            return Err(self.report(
                Diagnostic::error("bad-call", span, "pcap_filter reads packets, and here are none")
                    .hint("Use it in WHERE of the query that reads the protocol."),
            ));
        }
        if let Err(error) = crate::bpf::check_pcap_filter(&text) {
            return Err(self.report(
                Diagnostic::error("bad-literal", at, error.to_string())
                    .hint("The text is a tcpdump filter expression, such as 'tcp port 80'."),
            ));
        }
        Ok(node(ExprKind::PcapFilter(text), Type::Bool, span))
    }

    /// `depth(p)`, `present(p)`, `present(p[i])`.
    fn header_call(&self, call: &Call, span: Span) -> Bound<Option<Expr>> {
        let depth = call.name.text.eq_ignore_ascii_case("depth");
        if !depth && !call.name.text.eq_ignore_ascii_case("present") {
            return Ok(None);
        }
        let what = if depth { "depth" } else { "present" };
        let target = match &call.args[..] {
            [e] => header_name(e),
            _ => None,
        };
        let Some((name, index)) = target else {
            return Err(self.report(
                Diagnostic::error("bad-call", span, format!("`{what}` takes a protocol"))
                    .hint(format!("Write `{what}(vlan)`.")),
            ));
        };
        if matches!(self.group, Group::Result(_)) {
            return Err(self.report(
                Diagnostic::error(
                    "raw-field",
                    span,
                    format!("`{what}({name})` is neither grouped by nor inside an aggregate"),
                )
                .hint(format!("Add it to GROUP BY: {what}({name}) AS {what}_{name}.")),
            ));
        }
        let mut scopes = self.tables.iter().filter_map(|t| match &t.rows {
            Rows::Packets(scope) => Some(scope),
            Rows::Stream { .. } | Rows::Watchlist { .. } => None,
        });
        let (Some(scope), None) = (scopes.next(), scopes.next()) else {
            return Err(self.report(
                Diagnostic::error("bad-call", span, format!("`{what}` needs a protocol source"))
                    .hint("Select it where the protocol is read, and use that column here."),
            ));
        };
        let (p, header) = self.header(scope, name, index)?;
        Ok(Some(match (depth, index) {
            (true, Some(_)) => {
                return Err(self.error("bad-call", span, "depth counts all headers of a protocol"));
            }
            // All of them, wherever the target stands.
            (true, None) => node(ExprKind::Depth(HeaderRef::First(p)), Type::Uint, span),
            (false, _) => node(ExprKind::Present(header), Type::Bool, span),
        }))
    }

    /// Fields that the function takes from the packet itself: the five-tuple of `hash5()`, the time for `rate(x)`.
    pub(crate) fn implicit_fields(
        &self,
        f: &Function,
        args: &mut Vec<Expr>,
        span: Span,
    ) -> Bound<()> {
        for &name in f.implicit_fields {
            let ident = Ident::new(name, span);
            let column = wt_lang::ast::ColumnRef { qualifiers: Vec::new(), field: ident };
            let found = self.sh.diags.quietly(|| self.column(&column, span));
            // Stands for a field that is not in scope.
            let absent = match name {
                _ if name.ends_with("Port") => Some(0),
                _ if name.starts_with("icmp") => Some(u64::from(u16::MAX)),
                _ => None,
            };
            // A header that merely may be above the target, such as the UDP of a tunnel, is not of the flow.
            let elsewhere = |e: &Expr| matches!(&e.kind, ExprKind::Field(f) if matches!(f.header, HeaderRef::First(_)));
            args.push(match (found, absent) {
                (Ok(field), Some(n)) if elsewhere(&field) => {
                    node(ExprKind::Const(Value::Uint(n)), Type::Ushort, span)
                }
                (Ok(field), _) => field,
                (Err(_), Some(n)) => node(ExprKind::Const(Value::Uint(n)), Type::Ushort, span),
                (Err(_), None) => {
                    return Err(self.report(
                        Diagnostic::error(
                            "bad-call",
                            span,
                            format!("`{}` needs `{name}`, which is not in scope", f.name),
                        )
                        .hint(format!(
                            "Read a protocol that has `{name}`, or carry it along in the query that is read."
                        )),
                    ));
                }
            });
        }
        Ok(())
    }

    /// `x [NOT] LIKE 'pattern'`.
    pub(crate) fn like_pattern(
        &self,
        value: &Ast,
        pattern: &Ast,
        negated: bool,
        span: Span,
    ) -> Bound<Expr> {
        let like = self.like_call(value, pattern, span)?;
        Ok(if negated { logical(ExprKind::Not(Box::new(like)), span) } else { like })
    }

    /// LIKE without wildcards is equality.
    fn like_call(&self, value: &Ast, pattern: &Ast, span: Span) -> Bound<Expr> {
        let (value, pattern) = (self.expr(value), self.expr(pattern));
        let (value, pattern) = (value?, pattern?);
        for side in [&value, &pattern] {
            if !side.ty.is_bytes() {
                return Err(self.report(
                    Diagnostic::error(
                        "incomparable",
                        side.span,
                        format!(
                            "LIKE compares strings, and this is {}",
                            super::expr::article(side.ty)
                        ),
                    )
                    .hint("Addresses are compared with blocks: srcIP IN ['10.0.0.0/8']."),
                ));
            }
        }
        if let Some(text) = constant(&pattern).and_then(Value::as_bytes)
            && !text.iter().any(|b| matches!(b, b'%' | b'_' | b'\\'))
        {
            return self.compare(CmpOp::Eq, value, pattern, span);
        }
        let call = Call {
            name: Ident::new("str_like", span),
            superaggregate: false,
            brackets: false,
            star: false,
            distinct: false,
            args: Vec::new(),
        };
        let (function, args, ty) =
            self.resolve_bound(&call, vec![value, pattern], CallForm::Condition)?;
        Ok(node(ExprKind::Call { function, args }, ty, span))
    }
}

/// `p`, `p[i]` or `p[last]` as an argument.
fn header_name(e: &Ast) -> Option<(&Ident, Option<HeaderIndex>)> {
    match &e.kind {
        AstKind::Column(c) if c.qualifiers.is_empty() => Some((&c.field, None)),
        AstKind::Call(c) if c.brackets => match &c.args[..] {
            [Ast { kind: AstKind::Literal(Literal::Uint(n)), .. }] => {
                Some((&c.name, Some(HeaderIndex::Nth(*n))))
            }
            [Ast { kind: AstKind::Column(i), .. }]
                if i.qualifiers.is_empty() && i.field.text.eq_ignore_ascii_case("last") =>
            {
                Some((&c.name, Some(HeaderIndex::Last)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn arg_info(e: &Expr) -> ArgInfo<'_> {
    let text = match constant(e) {
        Some(value) if e.ty == Type::String => {
            value.as_bytes().and_then(|b| std::str::from_utf8(b).ok())
        }
        _ => None,
    };
    ArgInfo { ty: e.ty, text, constness: constness(e) }
}

/// How constant a bound expression is.
pub(crate) fn constness(e: &Expr) -> Constness {
    match &e.kind {
        ExprKind::Const(_) | ExprKind::Param(_) | ExprKind::InterfaceProperty(_) => {
            Constness::Single
        }
        ExprKind::Field(_)
        | ExprKind::Column(_)
        | ExprKind::Depth(_)
        | ExprKind::Present(_)
        | ExprKind::PcapFilter(_) => Constness::PerTuple,
        _ => {
            let operands = walk::children(e);
            let least = operands.iter().map(|o| constness(o)).min();
            // A function without arguments reads the state of the packet or of the engine.
            least.unwrap_or(Constness::PerTuple).min(Constness::Constant)
        }
    }
}
