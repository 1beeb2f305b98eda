//! `SESSION(gap)` (protocols.md, Queries added): which attribute measures the gap, and what follows a session's end.

use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::ordering::Basic;
use wt_catalog::{Ordering, Type};
use wt_lang::ast::{ColumnRef, GroupItem, Qualifier, Select};
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, node};
use super::diags::{Bound, Reported};
use super::ordering::infer;
use crate::logical::{AggCall, Expr, ExprKind, SessionNode};
use crate::walk;

/// Where a query has its gap.
pub(crate) fn gap_of(select: &Select) -> Option<Span> {
    gaps(select).next().map(wt_lang::ast::Expr::span)
}

fn gaps(select: &Select) -> impl Iterator<Item = &wt_lang::ast::Expr> {
    select.group_by.iter().filter_map(|item| match item {
        GroupItem::Session(gap) => Some(gap),
        _ => None,
    })
}

/// The session window of a query, if it has one. Its aggregates are not known yet.
pub(crate) fn bind(clause: &Clause<'_>, select: &Select) -> Bound<Option<SessionNode>> {
    let mut gaps = gaps(select);
    let Some(gap) = gaps.next() else { return Ok(None) };
    let span = gap.span();
    if let Some(second) = gaps.next() {
        return Err(clause.report(
            Diagnostic::error("bad-session", second.span(), "a query has one SESSION window")
                .related(span, "the first one"),
        ));
    }
    let bound = clause.literal_of(gap)?;
    let fits = bound.ty.is_integer() || bound.ty == Type::Duration;
    let value = super::fold::constant(&bound).filter(|v| v.as_i128().is_some_and(|n| n > 0));
    let (true, Some(value)) = (fits, value.cloned()) else {
        return Err(clause.report(
            Diagnostic::error(
                "bad-session",
                span,
                "the gap of SESSION is a duration greater than zero",
            )
            .hint("Write SESSION(30s)."),
        ));
    };
    no_disorder_option(clause, span)?;
    let time = time(clause, bound.ty, span)?;
    Ok(Some(SessionNode { time, gap: value, gap_type: bound.ty, ended: Vec::new() }))
}

/// The session with the aggregates that follow its end.
pub(crate) fn with_ends(session: SessionNode, aggs: &[AggCall]) -> SessionNode {
    let ends = aggs.iter().enumerate().filter(|(_, agg)| follows_end(agg, &session.time));
    SessionNode { ended: ends.map(|(i, _)| i).collect(), ..session }
}

/// Whether an aggregate grows with the last time of a session: the greatest of what increases with the time alone.
pub(crate) fn follows_end(agg: &AggCall, time: &Expr) -> bool {
    let ([arg], FunctionKind::Aggregate(Split::Max)) = (&agg.args[..], agg.function.kind) else {
        return false;
    };
    let leaf = |e: &Expr| match walk::same(e, time) {
        true => Ordering::Increasing,
        false => Ordering::Varying,
    };
    infer(arg, &leaf).basic() == Basic::Inc
}

/// The options count windows, and sessions are none.
fn no_disorder_option(clause: &Clause<'_>, span: Span) -> Bound<()> {
    let options = &clause.statement.defined.options;
    let (name, windows) = match options.max_hfta_disorder {
        Some(n) if n > 1 => ("max_hfta_disorder", n),
        _ => ("max_lfta_disorder", options.max_lfta_disorder),
    };
    if windows <= 1 {
        return Ok(());
    }
    Err(clause.report(
        Diagnostic::error(
            "bad-option",
            span,
            format!("`{name}` keeps {windows} windows open, and a query with SESSION has none"),
        )
        .hint("Without the option tuples up to one gap behind are taken; a longer gap takes more."),
    ))
}

/// The attribute that measures a gap of this type.
fn time(clause: &Clause<'_>, gap: Type, span: Span) -> Bound<Expr> {
    let [table] = clause.tables else { return Err(Reported) };
    if table.packets().is_some() {
        let name = if gap == Type::Duration { "timestamp" } else { "time" };
        let packet = Qualifier { name: Ident::new("packet", span), index: None };
        let field = Ident::new(name, span);
        return clause.column(&ColumnRef { qualifiers: vec![packet], field }, span);
    }
    let columns = table.schema().map_or(&[][..], |s| &s.columns);
    let measures = |ty: Type| match gap {
        Type::Duration => ty == Type::Time,
        _ => ty.is_integer(),
    };
    let found = columns.iter().enumerate().find(|(_, c)| {
        measures(c.ty) && c.ordering.basic() == Basic::Inc && c.ordering.tolerance() == 0
    });
    if let Some((i, column)) = found {
        return Ok(node(ExprKind::Column(i), column.ty, span));
    }
    let wanted = if gap == Type::Duration { "TIME" } else { "whole numbers" };
    let other = if gap == Type::Duration {
        "A gap without a unit, SESSION(30), is measured by an increasing column of whole numbers, such as `time`."
    } else {
        "A gap with a unit, SESSION(30s), is measured by an increasing column of TIME, such as `timestamp`."
    };
    Err(clause.report(
        Diagnostic::error(
            "bad-session",
            span,
            format!("`{}` has no increasing column of {wanted} to measure the gap by", table.name),
        )
        .hint("Carry `timestamp` along in the query that is read.")
        .hint(other),
    ))
}
