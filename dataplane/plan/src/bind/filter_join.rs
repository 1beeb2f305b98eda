//! FILTER_JOIN (gsql.md §17): checked, then refused.

use wt_catalog::Type;
use wt_catalog::ordering::Basic;
use wt_lang::ast::{CmpOp, Expr as Ast, ExprKind as AstKind, Select};
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, Part};
use super::diags::{Bound, Reported};
use super::join::{across, conjuncts_of};
use super::shared::{Shared, Statement, Table};
use crate::logical::{Expr, ExprKind};
use crate::walk;

/// Checks `FILTER_JOIN(column, window) FROM A, B`.
pub(crate) fn check(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
    column: &Ast,
    window: u64,
) -> Bound<()> {
    let mark = sh.diags.mark();
    let span = select.from.span.0;
    let [a, b] = tables else { return Err(Reported) };
    match (a.packets(), b.packets()) {
        (Some(x), Some(y)) if x.interfaces == y.interfaces => {}
        (Some(_), Some(_)) => {
            sh.diags.report(
                Diagnostic::error(
                    "filter-join",
                    b.span,
                    "both sources of FILTER_JOIN come from the same interface or set",
                )
                .related(a.span, "the result stream"),
            );
        }
        _ => {
            sh.diags.report(Diagnostic::error(
                "filter-join",
                span,
                "FILTER_JOIN reads two protocols: it runs beside the interface",
            ));
        }
    }
    if window == 0 {
        sh.diags.report(Diagnostic::error(
            "filter-join",
            span,
            "the window of FILTER_JOIN is a number of seconds greater than zero",
        ));
    }
    temporal(sh, statement, a, column);
    conditions(&Clause::new(sh, statement, tables, Part::Where), select, tables);
    let list = Clause::new(sh, statement, tables, Part::Select);
    let (_, used) = list.tables_of(|| list.items(select));
    if used & 2 != 0 {
        sh.diags.report(
            Diagnostic::error(
                "filter-join",
                select.span.0,
                format!(
                    "SELECT may use `{}` only: `{}` filters and gives no values",
                    a.name, b.name
                ),
            )
            .hint("INNER_JOIN pairs the tuples of both sources."),
        );
    }
    if sh.diags.failed_since(mark) { Err(Reported) } else { Ok(()) }
}

/// The temporal column: a plain increasing integer field.
fn temporal(sh: &Shared<'_>, statement: Statement<'_>, a: &Table, column: &Ast) {
    let clause = Clause::new(sh, statement, std::slice::from_ref(a), Part::FilterJoin);
    let Ok(bound) = clause.expr(column) else { return };
    let plain = matches!(column.kind, AstKind::Column(_));
    let integer = matches!(bound.ty, Type::Int | Type::Uint | Type::Llong | Type::Ullong);
    if !plain || !integer || clause.ordering(&bound).basic() != Basic::Inc {
        sh.diags.report(
            Diagnostic::error(
                "filter-join",
                column.span(),
                "the temporal column of FILTER_JOIN is an increasing integer field",
            )
            .hint("Write FILTER_JOIN(time, 15)."),
        );
    }
}

fn conditions(clause: &Clause<'_>, select: &Select, tables: &[Table]) {
    let mut keys = 0;
    for e in conjuncts_of(select.where_.as_ref()) {
        let (bound, used) = clause.tables_of(|| clause.predicate(e));
        if let Ok(bound) = &bound {
            check_safe(clause, bound, e.span());
        }
        if used != 3 {
            continue;
        }
        let ordered = |e: &Expr| clause.ordering(e).is_temporal();
        match across(clause, e) {
            Some(c) if c.op == CmpOp::Eq => {
                keys += 1;
                if ordered(&c.left) || ordered(&c.right) {
                    clause.report(Diagnostic::warning(
                        "filter-join",
                        e.span(),
                        "a join key on an ordered expression: the window bounds the time already",
                    ));
                }
            }
            _ if bound.is_ok() => {
                clause.report(
                    Diagnostic::error(
                        "filter-join",
                        e.span(),
                        "conditions across the sources of FILTER_JOIN are equalities",
                    )
                    .hint("Each side uses one source: A.srcIP = B.srcIP."),
                );
            }
            _ => {}
        }
    }
    if keys == 0 {
        let span = select.where_.as_ref().map_or(select.from.span.0, Ast::span);
        let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).collect();
        clause.report(
            Diagnostic::error(
                "filter-join",
                span,
                "FILTER_JOIN needs an equality across its sources",
            )
            .hint(format!(
                "Write WHERE {}.",
                names.iter().map(|n| format!("{n}.srcIP")).collect::<Vec<_>>().join(" = ")
            )),
        );
    }
}

/// It runs in the LFTA: every function must be allowed there.
fn check_safe(clause: &Clause<'_>, e: &Expr, span: Span) {
    walk::each(e, &mut |e| {
        if let ExprKind::Call { function, .. } = &e.kind
            && !function.lfta_legal
        {
            clause.report(Diagnostic::error(
                "filter-join",
                span,
                format!(
                    "`{}` cannot run beside the interface, where FILTER_JOIN runs",
                    function.name
                ),
            ));
        }
    });
}
