//! Running aggregation and the sampling operator (gsql.md §13, §14): checked, then refused.

use wt_catalog::function::FunctionKind;
use wt_lang::ast::{Call, Expr as Ast, Select, SelectItem};
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, Group, Grouped, Part};
use super::refuse;
use super::shared::{Shared, Statement, Table};
use super::walk;

/// Checks SUPERGROUP, CLEANING_WHEN, CLEANING_BY and CLOSING_WHEN.
pub(crate) fn check(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
    grouped: &Grouped<'_>,
) {
    let clause = |part| Clause::new(sh, statement, tables, part).grouped(Group::Result(grouped));
    let runs = running_call(sh, select);
    match (&select.closing_when, runs) {
        (Some(closing), runs) => {
            let _ = clause(Part::ClosingWhen).conjuncts(Some(closing));
            if runs.is_none() {
                sh.diags.report(
                    Diagnostic::error(
                        "closing-when",
                        closing.span(),
                        "CLOSING_WHEN belongs to queries with a running aggregate",
                    )
                    .hint("Groups of plain aggregates close with their window."),
                );
            }
            refuse::closing(sh, closing.span());
        }
        (None, Some(span)) => {
            sh.diags.report(
                Diagnostic::error(
                    "closing-when",
                    span,
                    "a running aggregate needs CLOSING_WHEN: its groups would live forever",
                )
                .hint("Say when a group is done: CLOSING_WHEN count(*) = 0."),
            );
        }
        (None, None) => {}
    }
    let cleaning = [&select.cleaning_when, &select.cleaning_by];
    if let (Some(closing), true) = (&select.closing_when, cleaning.iter().any(|c| c.is_some())) {
        sh.diags.report(Diagnostic::error(
            "closing-when",
            closing.span(),
            "CLOSING_WHEN and the CLEANING clauses exclude each other",
        ));
    }
    match cleaning {
        [Some(when), Some(by)] => {
            cleaning_when(&clause(Part::CleaningWhen), when);
            let _ = clause(Part::CleaningBy).conjuncts(Some(by));
            refuse::sampling(sh, when.span());
        }
        [Some(only), None] | [None, Some(only)] => {
            sh.diags.report(
                Diagnostic::error(
                    "cleaning",
                    only.span(),
                    "CLEANING_WHEN and CLEANING_BY stand together or not at all",
                )
                .hint("CLEANING_WHEN says when to clean, CLEANING_BY which groups stay."),
            );
        }
        [None, None] => {}
    }
    supergroup(sh, select, grouped);
}

/// CLEANING_WHEN is evaluated per supergroup: no plain aggregates.
fn cleaning_when(clause: &Clause<'_>, when: &Ast) {
    let catalog = clause.sh.catalog();
    let plain = |c: &Call| {
        !c.superaggregate
            && catalog
                .functions_named(&c.name.text)
                .is_ok_and(|f| f.iter().any(|f| f.is_aggregate()))
    };
    if walk::has_call(when, &plain) {
        clause.report(
            Diagnostic::error(
                "misplaced-aggregate",
                when.span(),
                "CLEANING_WHEN is evaluated per supergroup: plain aggregates have no value there",
            )
            .hint("Use superaggregates: count$(*), sum$(x), max$(x), count_distinct$()."),
        );
    } else {
        let _ = clause.conjuncts(Some(when));
    }
}

fn supergroup(sh: &Shared<'_>, select: &Select, grouped: &Grouped<'_>) {
    let Some(names) = &select.supergroup else { return };
    for name in names {
        if name.text.eq_ignore_ascii_case("all") {
            continue;
        }
        let message = match grouped.keys.iter().find(|k| k.name == name.text) {
            None => format!("`{name}` is not a group variable"),
            Some(k) if k.ordering.is_temporal() => {
                format!("`{name}` is ordered: each window has supergroups of its own anyway")
            }
            Some(_) => continue,
        };
        sh.diags.report(
            Diagnostic::error("supergroup", name.span, message)
                .hint("SUPERGROUP lists group variables that are not ordered."),
        );
    }
    let span = names.iter().map(|n| n.span).reduce(Span::to).unwrap_or(select.span.0);
    let grouping = |g: &wt_lang::ast::GroupItem| !matches!(g, wt_lang::ast::GroupItem::Var(_));
    if select.group_by.iter().any(grouping) {
        sh.diags.report(Diagnostic::error(
            "supergroup",
            span,
            "SUPERGROUP does not combine with CUBE, ROLLUP and GROUPING_SETS",
        ));
    }
    refuse::sampling(sh, span);
}

/// The first running aggregate of SELECT and HAVING.
fn running_call(sh: &Shared<'_>, select: &Select) -> Option<Span> {
    let catalog = sh.catalog();
    let running = |c: &Call| {
        catalog
            .functions_named(&c.name.text)
            .is_ok_and(|f| f.iter().any(|f| f.kind == FunctionKind::RunningAggregate))
    };
    let listed = select.items.iter().filter_map(|i| match i {
        SelectItem::Expr { expr, .. } => Some(expr),
        SelectItem::Star { .. } => None,
    });
    listed
        .chain(&select.having)
        .chain(&select.closing_when)
        .find(|e| walk::has_call(e, &running))
        .map(Ast::span)
}
