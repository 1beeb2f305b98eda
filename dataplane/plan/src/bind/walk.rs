//! Walks over syntax trees.

use wt_lang::ast::{
    self, Expr as Ast, ExprKind as AstKind, GroupItem, InSet, QueryBody, Select, SelectItem,
    Source, SourcePath, Table,
};

use crate::logical::Expr;
use crate::walk;

/// Calls `f` on every expression of a query body, subqueries included, each before its parts.
pub(crate) fn each_expr<'t>(body: &'t QueryBody, f: &mut dyn FnMut(&'t Ast)) {
    match body {
        QueryBody::Select(select) => {
            each_select_expr(select, f);
            select.from.tables.iter().for_each(|t| source_exprs(&t.source, f));
        }
        QueryBody::Merge(merge) => {
            merge.columns.iter().chain(&merge.slack).for_each(|e| parts(e, f));
            merge.tables.iter().for_each(|t| source_exprs(&t.source, f));
        }
        QueryBody::Watchlist(_) => {}
    }
}

fn source_exprs<'t>(source: &'t Source, f: &mut dyn FnMut(&'t Ast)) {
    match source {
        Source::Subquery(body) => each_expr(body, f),
        Source::Then(a, b) => {
            source_exprs(a, f);
            source_exprs(b, f);
        }
        Source::Path(_) | Source::Set { .. } => {}
    }
}

fn each_select_expr<'t>(select: &'t Select, f: &mut dyn FnMut(&'t Ast)) {
    for item in &select.items {
        if let SelectItem::Expr { expr, .. } = item {
            parts(expr, f);
        }
    }
    for item in &select.group_by {
        match item {
            GroupItem::Var(v) => parts(&v.expr, f),
            GroupItem::Cube(vs) | GroupItem::Rollup(vs) => {
                vs.iter().for_each(|v| parts(&v.expr, f));
            }
            GroupItem::GroupingSets(sets) => sets.iter().flatten().for_each(|v| parts(&v.expr, f)),
            GroupItem::Session(gap) => parts(gap, f),
        }
    }
    let clauses = [
        &select.where_,
        &select.having,
        &select.cleaning_when,
        &select.cleaning_by,
        &select.closing_when,
        &select.limit,
    ];
    clauses.into_iter().flatten().for_each(|e| parts(e, f));
    select.order_by.iter().for_each(|o| parts(&o.expr, f));
}

/// Calls `f` on `expr` and everything below it.
pub(crate) fn parts<'t>(expr: &'t Ast, f: &mut dyn FnMut(&'t Ast)) {
    f(expr);
    children(expr).into_iter().for_each(|e| parts(e, f));
}

/// Calls `f` on `expr` and everything below it, calls for which `skip` holds left out.
pub(crate) fn parts_outside<'t>(
    expr: &'t Ast,
    skip: &dyn Fn(&ast::Call) -> bool,
    f: &mut dyn FnMut(&'t Ast),
) {
    if matches!(&expr.kind, AstKind::Call(call) if skip(call)) {
        return;
    }
    f(expr);
    children(expr).into_iter().for_each(|e| parts_outside(e, skip, f));
}

/// The operands of an expression.
fn children(expr: &Ast) -> Vec<&Ast> {
    match &expr.kind {
        AstKind::Literal(_)
        | AstKind::Param(_)
        | AstKind::Defined(_)
        | AstKind::IfProp { .. }
        | AstKind::Column(_) => Vec::new(),
        AstKind::Unary(_, a) | AstKind::Not(a) => vec![a],
        AstKind::Binary(_, a, b)
        | AstKind::Compare(_, a, b)
        | AstKind::And(a, b)
        | AstKind::Or(a, b) => vec![a, b],
        AstKind::In { value, set, .. } => {
            let list = match set {
                InSet::List(list) => &list[..],
                InSet::Named(_) => &[],
            };
            std::iter::once(&**value).chain(list).collect()
        }
        AstKind::Between { value, low, high, .. } => vec![value, low, high],
        AstKind::Like { value, pattern, .. } => vec![value, pattern],
        AstKind::Case { operand, arms, otherwise } => {
            let arms = arms.iter().flat_map(|(when, then)| [when, then]);
            operand.as_deref().into_iter().chain(arms).chain(otherwise.as_deref()).collect()
        }
        AstKind::Call(call) => call.args.iter().collect(),
    }
}

/// Whether the body has `#name`.
pub(crate) fn uses_defined(body: &QueryBody, name: &str) -> bool {
    let mut found = false;
    each_expr(body, &mut |e| found |= matches!(&e.kind, AstKind::Defined(id) if id.text == name));
    found
}

/// The tables of a body, subqueries' included.
pub(crate) fn each_table<'t>(body: &'t QueryBody, f: &mut dyn FnMut(&'t Table)) {
    let tables: &[Table] = match body {
        QueryBody::Select(select) => &select.from.tables,
        QueryBody::Merge(merge) => &merge.tables,
        QueryBody::Watchlist(_) => &[],
    };
    for table in tables {
        f(table);
        if let Source::Subquery(inner) = &table.source {
            each_table(inner, f);
        }
    }
}

/// The watchlists that IN names in a body.
pub(crate) fn each_watchlist<'t>(body: &'t QueryBody, f: &mut dyn FnMut(&'t wt_lang::Ident)) {
    each_expr(body, &mut |e| {
        if let AstKind::In { set: InSet::Named(name), .. } = &e.kind {
            f(name);
        }
    });
}

/// The named sources of a body, subqueries' included.
pub(crate) fn each_path<'t>(body: &'t QueryBody, f: &mut dyn FnMut(&'t SourcePath)) {
    fn of<'t>(source: &'t Source, f: &mut dyn FnMut(&'t SourcePath)) {
        match source {
            Source::Path(path) => f(path),
            Source::Then(a, b) => {
                of(a, f);
                of(b, f);
            }
            Source::Set { .. } | Source::Subquery(_) => {}
        }
    }
    each_table(body, &mut |t| of(&t.source, f));
}

/// Whether the expression has a call that is an aggregate by `is_aggregate`, outside of nothing.
pub(crate) fn has_call(expr: &Ast, is: &dyn Fn(&ast::Call) -> bool) -> bool {
    let mut found = false;
    parts(expr, &mut |e| found |= matches!(&e.kind, AstKind::Call(c) if is(c)));
    found
}

/// Number of nodes.
pub(crate) fn size(expr: &Expr) -> usize {
    let mut n = 0;
    walk::each(expr, &mut |_| n += 1);
    n
}
