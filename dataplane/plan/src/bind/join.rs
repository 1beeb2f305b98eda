//! Joins (gsql.md §16): the window conjunct and the classes of the others are checked, then the query is refused.

use wt_catalog::ordering::Basic;
use wt_lang::ast::{BinaryOp, CmpOp, Expr as Ast, ExprKind as AstKind, Join, Select};
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, Part};
use super::diags::{Bound, Reported};
use super::fold::constant;
use super::shared::{Rows, Shared, Statement, Table};
use super::{filter_join, refuse, watchlist};
use crate::logical::{Expr, ExprKind};
use crate::walk;

/// Checks a query of several tables. Always ends in `Err`: what is right is refused.
pub(crate) fn check(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
) -> Bound<()> {
    let span = select.from.span.0;
    let Some(join) = &select.from.join else {
        return Err(sh.diags.report(
            Diagnostic::error("join-kind", span, "several sources need a kind of join")
                .hint("Write INNER_JOIN, OUTER_JOIN, LEFT_OUTER_JOIN or RIGHT_OUTER_JOIN before FROM.")
                .hint("Streams of one schema are united by MERGE a.t : b.t FROM a, b."),
        ));
    };
    let [a, b] = tables else {
        return Err(sh.diags.report(
            Diagnostic::error(
                "join-tables",
                span,
                format!("a join has exactly two sources, not {}", tables.len()),
            )
            .hint("Join two, name the result, and join it with the next."),
        ));
    };
    let grouped = !select.group_by.is_empty() || select.having.is_some();
    if grouped {
        sh.diags.report(
            Diagnostic::error("join-group", span, "a join does not group")
                .hint("Name the join in a query of its own, and group by its columns in another."),
        );
    }
    match join {
        Join::Filter { column, window } => {
            filter_join::check(sh, statement, select, tables, column, *window)?;
        }
        Join::Watchlist => watchlist::check_join(sh, statement, select, tables)?,
        Join::Inner | Join::Outer | Join::LeftOuter | Join::RightOuter => {
            if let Some(list) =
                [a, b].into_iter().find(|t| matches!(t.rows, Rows::Watchlist { .. }))
            {
                return Err(sh.diags.report(
                    Diagnostic::error(
                        "bad-watchlist",
                        list.span,
                        format!("`{}` is a watchlist, not a stream", list.name),
                    )
                    .hint("A watchlist is read by WATCHLIST_JOIN."),
                ));
            }
            equality(sh, statement, select, tables)?;
        }
    }
    refuse::join(sh, join, span);
    Err(Reported)
}

/// The top-level conjuncts of a condition, as written.
pub(crate) fn conjuncts_of(condition: Option<&Ast>) -> Vec<&Ast> {
    let mut open: Vec<&Ast> = condition.into_iter().collect();
    let mut found = Vec::new();
    while let Some(e) = open.pop() {
        match &e.kind {
            AstKind::And(a, b) => {
                open.push(b);
                open.push(a);
            }
            _ => found.push(e),
        }
    }
    found
}

/// A comparison of one table's expression with the other's.
pub(crate) struct Across {
    pub(crate) op: CmpOp,
    /// Side of the first table.
    pub(crate) left: Expr,
    /// Side of the second table.
    pub(crate) right: Expr,
}

/// The conjunct as a comparison across the tables, first table left; `None`: it is something else.
pub(crate) fn across(clause: &Clause<'_>, e: &Ast) -> Option<Across> {
    let AstKind::Compare(op, a, b) = &e.kind else { return None };
    let side = |e: &Ast| clause.sh.diags.quietly(|| clause.tables_of(|| clause.expr(e)));
    let ((a, in_a), (b, in_b)) = (side(a), side(b));
    match (in_a, in_b) {
        (1, 2) => Some(Across { op: *op, left: a.ok()?, right: b.ok()? }),
        (2, 1) => Some(Across { op: mirrored(*op), left: b.ok()?, right: a.ok()? }),
        _ => None,
    }
}

fn mirrored(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Eq | CmpOp::Ne => op,
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Le => CmpOp::Ge,
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::Ge => CmpOp::Le,
    }
}

fn equality(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
) -> Bound<()> {
    let clause = Clause::new(sh, statement, tables, Part::Where);
    let mark = sh.diags.mark();
    let mut window = false;
    // Ordered expressions bounded from below and from above by the other table's, constants aside.
    let mut lower: Vec<(Expr, Expr)> = Vec::new();
    let mut upper: Vec<(Expr, Expr)> = Vec::new();
    let mut near_miss: Option<Span> = None;
    for e in conjuncts_of(select.where_.as_ref()) {
        let _ = clause.predicate(e);
        let Some(c) = across(&clause, e) else { continue };
        let (l, r) = (clause.ordering(&c.left).basic(), clause.ordering(&c.right).basic());
        if !matches!((l, r), (Basic::Inc, Basic::Inc) | (Basic::Dec, Basic::Dec)) {
            if c.op == CmpOp::Eq && (l, r) != (Basic::Var, Basic::Var) {
                near_miss = Some(e.span());
            }
            continue;
        }
        let bases = || (base(c.left.clone()), base(c.right.clone()));
        match c.op {
            CmpOp::Eq => window = true,
            CmpOp::Ge | CmpOp::Gt => lower.push(bases()),
            CmpOp::Le | CmpOp::Lt => upper.push(bases()),
            CmpOp::Ne => {}
        }
    }
    let same = |(a, b): &(Expr, Expr), (c, d): &(Expr, Expr)| walk::same(a, c) && walk::same(b, d);
    window |= lower.iter().any(|l| upper.iter().any(|u| same(l, u)));
    let _ = Clause::new(sh, statement, tables, Part::Select).items(select);
    if !window && !sh.diags.failed_since(mark) {
        let span = select.where_.as_ref().map_or(select.from.span.0, Ast::span);
        let mut diagnostic = Diagnostic::error(
            "join-window",
            span,
            "the join has no window: nothing bounds how long a tuple waits for its partner",
        )
        .hint("Equate an ordered expression of each source at the top level of WHERE: A.tb = B.tb.")
        .hint("Or bound their difference: A.ts >= B.ts - 1 AND A.ts <= B.ts + 1.");
        if let Some(place) = near_miss {
            diagnostic =
                diagnostic.related(place, "both sides must be ordered in the same direction");
        }
        return Err(sh.diags.report(diagnostic));
    }
    if sh.diags.failed_since(mark) { Err(Reported) } else { Ok(()) }
}

/// The expression without constants that are added or subtracted.
fn base(e: Expr) -> Expr {
    match e.kind {
        ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) if constant(&b).is_some() => base(*a),
        ExprKind::Binary(BinaryOp::Add, a, b) if constant(&a).is_some() => base(*b),
        kind => Expr { kind, ..e },
    }
}
