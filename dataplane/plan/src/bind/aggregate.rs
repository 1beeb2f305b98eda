//! Aggregate calls (gsql.md §11, §14; protocols.md).

use wt_catalog::function::{Function, FunctionKind, Param, PassBy, Split};
use wt_catalog::resolve::{CallForm, Constness};
use wt_catalog::{Ordering, Type, Value};
use wt_lang::ast::{BinaryOp, Call, CmpOp};
use wt_lang::{Diagnostic, Ident, Span};

use super::call::constness;
use super::clause::{Clause, Group, Grouped, Part, node};
use super::diags::{Bound, Reported};
use super::expr::choice;
use super::refuse;
use crate::logical::{AggCall, Expr, ExprKind};
use crate::walk;

/// Aggregates of one query.
const AGGREGATES_MAX: usize = 256;

impl Clause<'_> {
    /// `count(*)`, `sum(x)`, `count(DISTINCT x)`, `sum$(x)`.
    pub(crate) fn aggregate(&self, call: &Call, span: Span) -> Bound<Expr> {
        let Group::Result(grouped) = self.group else {
            return Err(self.misplaced_aggregate(call, span));
        };
        let operand = self.like(Part::Operand, Group::Expand(&grouped.keys));
        if call.superaggregate {
            return self.superaggregate(call, grouped, &operand, span);
        }
        self.check_star(call, span)?;
        let (function, args, ty) = operand.resolve(call, CallForm::Value)?;
        if function.kind == FunctionKind::RunningAggregate {
            refuse::running(self.sh, &function, span);
        } else if !function.available {
            refuse::function(self.sh, &function, span);
        }
        if function.kind == FunctionKind::Aggregate(Split::OfWindow) {
            super::completeness::check(self, grouped, &function, span)?;
        }
        let (mut args, consts) = self.split_arguments(&function, args)?;
        operand.implicit_fields(&function, &mut args, span)?;
        let distinct = self.check_distinct(call, &function, span)?;
        let text = span.of(self.statement.text).to_owned();
        if function.kind == FunctionKind::Aggregate(Split::Avg) {
            return self.average(grouped, args, distinct, text, span);
        }
        let agg = AggCall { function, args, consts, distinct, ty, text, span };
        self.add(grouped, agg)
    }

    fn misplaced_aggregate(&self, call: &Call, span: Span) -> Reported {
        let name = &call.name;
        let text = span.of(self.statement.text);
        let diagnostic = match self.part {
            Part::Where => Diagnostic::error(
                "aggregate-in-where",
                span,
                format!("WHERE is evaluated per tuple, before `{name}` has a value"),
            )
            .label("an aggregate of the whole group")
            .hint(format!("Move the condition to HAVING, after GROUP BY: HAVING {text} …")),
            Part::Operand => Diagnostic::error("nested-aggregate", span, "aggregates do not nest")
                .hint("Compute the inner one in a subquery: FROM (SELECT … GROUP BY …) AS q."),
            Part::GroupBy => Diagnostic::error(
                "aggregate-in-group",
                span,
                "the definition of a group variable may not use aggregates",
            )
            .hint("Compute the aggregate in a subquery and group by its column."),
            Part::CleaningWhen => Diagnostic::error(
                "misplaced-aggregate",
                span,
                "CLEANING_WHEN is evaluated per supergroup: plain aggregates have no value there",
            )
            .hint(format!("Use a superaggregate: {name}$(…).")),
            part => Diagnostic::error(
                "misplaced-aggregate",
                span,
                format!("{} takes no aggregates", part.name()),
            ),
        };
        self.report(diagnostic)
    }

    fn check_star(&self, call: &Call, span: Span) -> Bound<()> {
        let is_count = call.name.text.eq_ignore_ascii_case("count");
        if call.star && !is_count {
            return Err(self.report(
                Diagnostic::error("bad-call", span, format!("`{}` takes no *", call.name))
                    .hint(format!("Name what it is taken of: {}(len).", call.name)),
            ));
        }
        if is_count && !call.star && call.args.is_empty() {
            return Err(self.report(
                Diagnostic::error("bad-call", span, "count takes * or a value")
                    .hint("Write `count(*)`, or `count(DISTINCT srcIP)`."),
            ));
        }
        Ok(())
    }

    fn check_distinct(&self, call: &Call, f: &Function, span: Span) -> Bound<bool> {
        if !call.distinct {
            return Ok(false);
        }
        match f.kind {
            FunctionKind::Aggregate(Split::Count | Split::Sum | Split::Avg) => Ok(true),
            // The same with and without repetition.
            FunctionKind::Aggregate(Split::Min | Split::Max | Split::BitAnd | Split::BitOr) => {
                Ok(false)
            }
            _ => Err(self.report(
                Diagnostic::error("bad-call", span, format!("`{}` takes no DISTINCT", f.name))
                    .hint("count, sum and avg do; `count_distinct(x)` estimates in little memory."),
            )),
        }
    }

    /// Operands per tuple, then constants.
    fn split_arguments(&self, f: &Function, args: Vec<Expr>) -> Bound<(Vec<Expr>, Vec<Value>)> {
        let (mut operands, mut consts) = (Vec::new(), Vec::new());
        for (i, arg) in args.into_iter().enumerate() {
            let param = f.params.get(i).or(f.params.last());
            match param.map_or(PassBy::Value, |p| p.pass) {
                PassBy::Value => operands.push(arg),
                PassBy::Const | PassBy::Handle => {
                    let span = arg.span;
                    let value = self.constant_argument(arg)?;
                    self.check_range(f, param, &value, span)?;
                    consts.push(value);
                }
            }
        }
        Ok((operands, consts))
    }

    fn check_range(
        &self,
        f: &Function,
        param: Option<&Param>,
        value: &Value,
        span: Span,
    ) -> Bound<()> {
        let Some((param, (low, high))) = param.and_then(|p| Some((p, p.range?))) else {
            return Ok(());
        };
        if value.as_f64().is_none_or(|v| (low..=high).contains(&v)) {
            return Ok(());
        }
        Err(self.report(
            Diagnostic::error(
                "literal-range",
                span,
                format!("`{}` of `{}` goes from {low} to {high}", param.name, f.name),
            )
            .label("out of range")
            .hint(format!("An example: {}.", f.example)),
        ))
    }

    /// The value of a constant argument. A parameter counts with its value at the start and is frozen.
    fn constant_argument(&self, arg: Expr) -> Bound<Value> {
        match &arg.kind {
            ExprKind::Const(value) => Ok(value.clone()),
            ExprKind::Param(i) => {
                self.sh.freeze(&arg, &Ordering::Increasing);
                let value = self.sh.params.get(*i).map(|p| p.value.clone());
                Ok(value.unwrap_or_else(|| Value::default_of(arg.ty)))
            }
            _ if constness(&arg) >= Constness::Constant => Err(self.report(
                Diagnostic::error(
                    "not-constant",
                    arg.span,
                    "an aggregate's constant is a literal or a parameter",
                )
                .hint("Write the number itself, or declare it with PARAM."),
            )),
            _ => Err(self.error("not-constant", arg.span, "this argument must be constant")),
        }
    }

    /// The column of an aggregate; equal ones are computed once.
    fn add(&self, grouped: &Grouped<'_>, agg: AggCall) -> Bound<Expr> {
        let mut aggs = grouped.aggs.borrow_mut();
        let (ty, span) = (agg.ty, agg.span);
        let known = aggs.iter().position(|a| {
            a.function.symbol == agg.function.symbol
                && a.distinct == agg.distinct
                && a.consts == agg.consts
                && a.args.len() == agg.args.len()
                && a.args.iter().zip(&agg.args).all(|(x, y)| walk::same(x, y))
        });
        let index = match known {
            Some(i) => i,
            None if aggs.len() >= AGGREGATES_MAX => {
                return Err(self.error(
                    "too-large",
                    span,
                    format!("a query has at most {AGGREGATES_MAX} aggregates"),
                ));
            }
            None => {
                aggs.push(agg);
                aggs.len() - 1
            }
        };
        Ok(node(ExprKind::Column(grouped.keys.len() + index), ty, span))
    }

    /// AVG(x) is SUM(x) over COUNT in floats; 0 over nothing, as every aggregate of nothing is its default.
    fn average(
        &self,
        grouped: &Grouped<'_>,
        args: Vec<Expr>,
        distinct: bool,
        text: String,
        span: Span,
    ) -> Bound<Expr> {
        let part = |name: &str, args: Vec<Expr>| -> Bound<AggCall> {
            let call = Call {
                name: Ident::new(name, span),
                superaggregate: false,
                brackets: false,
                star: args.is_empty(),
                distinct,
                args: Vec::new(),
            };
            let (function, args, ty) = self.resolve_bound(&call, args, CallForm::Value)?;
            let text = text.replacen(text.split('(').next().unwrap_or(""), name, 1);
            let text = if args.is_empty() { "count(*)".to_owned() } else { text };
            Ok(AggCall { function, args, consts: Vec::new(), distinct, ty, text, span })
        };
        let counted = if distinct { args.clone() } else { Vec::new() };
        let sum = self.add(grouped, part("sum", args)?)?;
        let count = self.add(grouped, part("count", counted)?)?;
        let float = |e: Expr| node(ExprKind::Cast(Box::new(e)), Type::Float, span);
        let quotient = node(
            ExprKind::Binary(BinaryOp::Div, Box::new(float(sum)), Box::new(float(count.clone()))),
            Type::Float,
            span,
        );
        if !grouped.emits_empty {
            return Ok(quotient);
        }
        let zero = |ty: Type| node(ExprKind::Const(Value::default_of(ty)), ty, span);
        let ty = count.ty;
        let none = self.compare(CmpOp::Eq, count, zero(ty), span)?;
        Ok(choice(none, zero(Type::Float), quotient, span))
    }

    /// `sum$(x)`: checked, then refused with the sampling operator.
    fn superaggregate(
        &self,
        call: &Call,
        grouped: &Grouped<'_>,
        operand: &Clause<'_>,
        span: Span,
    ) -> Bound<Expr> {
        let name = call.name.text.to_ascii_lowercase();
        let known = ["count", "sum", "min", "max", "count_distinct"];
        if !known.contains(&name.as_str()) {
            return Err(self.report(
                Diagnostic::error(
                    "bad-call",
                    span,
                    format!("`{}$` is not a superaggregate", call.name),
                )
                .hint("The superaggregates are count$, sum$, min$, max$ and count_distinct$()."),
            ));
        }
        if !grouped.sampling {
            return Err(self.report(
                Diagnostic::error(
                    "misplaced-aggregate",
                    span,
                    "superaggregates belong to queries with CLEANING_WHEN and CLEANING_BY",
                )
                .hint(format!("The aggregate of the group is `{name}(…)`, without `$`.")),
            ));
        }
        if name == "count_distinct" {
            if !call.args.is_empty() || call.star {
                return Err(self.error("bad-call", span, "count_distinct$ takes no operand"));
            }
            return Ok(node(ExprKind::Column(usize::MAX), Type::Uint, span));
        }
        self.check_star(call, span)?;
        let (_, _, ty) = operand.resolve(call, CallForm::Value)?;
        // The query is refused as a whole; the type lets the rest be checked.
        Ok(node(ExprKind::Column(usize::MAX), ty, span))
    }
}

/// Whether a call is an aggregate.
pub(crate) fn is_aggregate(catalog: &wt_catalog::Catalog, call: &Call) -> bool {
    call.superaggregate
        || catalog
            .functions_named(&call.name.text)
            .is_ok_and(|fs| fs.iter().any(|f| f.is_aggregate()))
}
