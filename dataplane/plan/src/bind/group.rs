//! Grouping and aggregation (gsql.md §11–§13).

use std::cell::RefCell;

use wt_catalog::Ordering;
use wt_lang::ast::{Call, Expr as Ast, ExprKind as AstKind, Select, SelectItem};
use wt_lang::{Diagnostic, Ident, Span};

use super::aggregate::is_aggregate;
use super::clause::{Clause, Group, Grouped, Key, Part, node};
use super::diags::{Bound, Reported};
use super::patterns::{KEYS_MAX, Listed, grouping};
use super::query::{Binder, Output};
use super::select::{Stage, has_session, items_span, sorting};
use super::shared::{Shared, Statement, Table};
use super::{sampling, session, walk};
use crate::logical::{AggregateNode, ExprKind, Item, LogicalNode};

/// A grouped query over one table.
pub(crate) fn bind(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
) -> Bound<Output> {
    let clause = |part| Clause::new(sh, statement, tables, part);
    let mut listed = grouping(sh, select)?;
    let (mut keys, all_good) = keys(&clause(Part::GroupBy), &listed.vars);
    let session = session::bind(&clause(Part::SessionGap), select);
    if has_session(select) {
        // Sessions leave when they end, so no group variable is in order.
        keys.iter_mut().for_each(|k| k.ordering = Ordering::Varying);
    }
    by_interface(&clause(Part::GroupBy), select, &mut keys, &mut listed.patterns);
    let at_end = closes_at_end(sh, statement, select, &keys, all_good);
    let quals = clause(Part::Where).grouped(Group::Expand(&keys)).conjuncts(select.where_.as_ref());
    if !all_good {
        // SELECT and HAVING would complain of group variables that have their error already.
        return Err(Reported);
    }
    let session = session?;
    let grouped = Grouped {
        emits_empty: keys.is_empty() && session.is_none(),
        session: session.as_ref().map(|s| s.time.clone()),
        keys,
        aggs: RefCell::default(),
        sampling: select.cleaning_when.is_some() || select.cleaning_by.is_some(),
    };
    let group = Group::Result(&grouped);
    let list = clause(Part::Select).grouped(group);
    let columns = list.items(select);
    let having = clause(Part::Having).grouped(group).conjuncts(select.having.as_ref());
    let sorting = columns
        .as_ref()
        .map_or(Ok(None), |c| sorting(&clause(Part::OrderBy).grouped(group), select, c));
    sampling::check(sh, statement, select, tables, &grouped);
    partial_only(&list, select, tables);
    let (at_end, quals, columns, having, sorting) = (at_end?, quals?, columns?, having?, sorting?);
    let [table] = tables else { return Err(Reported) };
    let windows: Vec<_> = grouped
        .keys
        .iter()
        .enumerate()
        .filter(|(_, k)| k.ordering.is_temporal())
        .map(|(i, k)| node(ExprKind::Column(i), k.expr.ty, k.name_span))
        .collect();
    let bounded = at_end || session.is_some() && sh.input.finite;
    let stage = Stage { clause: &list, columns, windows, bounded };
    let session = session.map(|s| session::with_ends(s, &grouped.aggs.borrow()));
    stage.finish(select, sorting, |columns| {
        LogicalNode::Aggregate(Box::new(AggregateNode {
            input: Binder::input(table),
            quals,
            keys: grouped.keys.iter().map(item).collect(),
            patterns: listed.patterns.clone(),
            aggs: grouped.aggs.borrow().clone(),
            having,
            items: columns.iter().map(|c| c.item.clone()).collect(),
            at_end,
            session,
        }))
    })
}

/// SELECT and HAVING may use interface properties (gsql.md §11). Each LFTA has its own constant; where these differ the groups
/// are apart, as if the query grouped by the property too.
fn by_interface<'q>(
    clause: &Clause<'_>,
    select: &'q Select,
    keys: &mut Vec<Key<'q>>,
    patterns: &mut [u64],
) {
    let mut properties: Vec<&'q Ast> = Vec::new();
    let listed = select.items.iter().filter_map(|i| match i {
        SelectItem::Expr { expr, .. } => Some(expr),
        SelectItem::Star { .. } => None,
    });
    let sorted = select.order_by.iter().map(|o| &o.expr);
    let aggregate = |c: &Call| is_aggregate(clause.sh.catalog(), c);
    for e in listed.chain(&select.having).chain(sorted) {
        walk::parts_outside(e, &aggregate, &mut |e| {
            if matches!(e.kind, AstKind::IfProp { .. }) {
                properties.push(e);
            }
        });
    }
    for ast in properties {
        let bound = clause.sh.diags.quietly(|| clause.expr(ast));
        let Ok(expr) = bound else { continue };
        let ExprKind::InterfaceProperty(name) = &expr.kind else { continue };
        if keys.iter().any(|k| crate::walk::same(&k.expr, &expr)) || keys.len() >= KEYS_MAX {
            continue;
        }
        patterns.iter_mut().for_each(|p| *p |= 1 << keys.len());
        keys.push(Key {
            name: format!("@{name}"),
            name_span: ast.span(),
            ast,
            expr,
            ordering: Ordering::Varying,
            in_pattern: false,
            subtype: None,
        });
    }
}

fn item(key: &Key<'_>) -> Item {
    Item {
        name: key.name.clone(),
        expr: key.expr.clone(),
        ordering: key.ordering.clone(),
        window: key.ordering.is_temporal(),
    }
}

/// The group variables, and whether all of them are right.
fn keys<'q>(clause: &Clause<'_>, vars: &[Listed<'q>]) -> (Vec<Key<'q>>, bool) {
    let mut keys: Vec<Key<'q>> = Vec::new();
    let mut all_good = true;
    for listed in vars {
        match key(clause, listed) {
            Ok(key) => {
                if let Some(other) = keys.iter().find(|k| k.name == key.name) {
                    all_good = false;
                    clause.report(
                        Diagnostic::error(
                            "duplicate-group",
                            key.name_span,
                            format!("two group variables are called `{}`", key.name),
                        )
                        .related(other.name_span, "the first one")
                        .hint("A variable stands in one item of GROUP BY only; give another name with AS."),
                    );
                }
                keys.push(key);
            }
            Err(Reported) => all_good = false,
        }
    }
    (keys, all_good)
}

fn key<'q>(clause: &Clause<'_>, listed: &Listed<'q>) -> Bound<Key<'q>> {
    let var = listed.var;
    let span = var.expr.span();
    let expr = clause.expr(&var.expr);
    let name = match (&var.alias, &var.expr.kind) {
        (Some(alias), _) => Ok(alias.clone()),
        (None, AstKind::Column(c)) => Ok(c.field.clone()),
        (None, AstKind::IfProp { name, .. }) => Ok(Ident::new(name.text.clone(), span)),
        (None, _) => {
            let text = span.of(clause.statement.text);
            let text = if text.len() <= 60 { text } else { "…" };
            Err(clause.report(
                Diagnostic::error(
                    "unnamed-group",
                    span,
                    "a group variable that is computed needs a name",
                )
                .hint(format!("Name it: GROUP BY {text} AS {}.", suggestion(text))),
            ))
        }
    };
    let (expr, name) = (expr?, name?);
    let ordering = if listed.in_pattern { Ordering::Varying } else { clause.ordering(&expr) };
    clause.sh.freeze(&expr, &ordering);
    let subtype = clause.subtype(&expr);
    Ok(Key {
        name: name.text,
        name_span: name.span,
        ast: &var.expr,
        expr,
        ordering,
        in_pattern: listed.in_pattern,
        subtype,
    })
}

/// A name for a computed group variable.
fn suggestion(text: &str) -> &'static str {
    if text.starts_with("time") { "tb" } else { "g" }
}

/// Whether all groups close at the end: no group variable is ordered. On a live source that is refused unless the query
/// asks for it (protocols.md, Queries added).
fn closes_at_end(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    keys: &[Key<'_>],
    all_good: bool,
) -> Bound<bool> {
    if keys.iter().any(|k| k.ordering.is_temporal()) || has_session(select) {
        return Ok(false);
    }
    if sh.input.finite || statement.defined.options.no_temporal_aggr || !all_good {
        return Ok(true);
    }
    let keys_span = keys.iter().map(|k| k.name_span).reduce(Span::to);
    let span = keys_span.unwrap_or_else(|| items_span(select));
    let bucket = "Add a time bucket such as GROUP BY timestamp/1m AS tb.";
    let diagnostic = if keys.is_empty() {
        Diagnostic::error(
            "unordered-group",
            span,
            "an aggregate of a live stream never has a result: nothing closes its group",
        )
        .hint(bucket)
    } else if let Some(key) = keys.iter().find(|k| k.definition_is_ordered(sh)) {
        Diagnostic::error(
            "unordered-group",
            span,
            "no group variable is ordered, so on a live stream no group ever closes",
        )
        .label(format!("`{}` is ordered, but not inside CUBE, ROLLUP or GROUPING_SETS", key.name))
        .hint(format!("List `{}` beside them: GROUP BY … AS {}, CUBE(…).", key.name, key.name))
    } else {
        Diagnostic::error(
            "unordered-group",
            span,
            "no group variable is ordered, so on a live stream no group ever closes",
        )
        .label("none of these is increasing or decreasing")
        .hint(bucket)
    };
    Err(sh.diags.report(diagnostic.hint(
        "With `DEFINE { no_temporal_aggr yes; }` all groups are kept in memory until the query ends.",
    )))
}

impl Key<'_> {
    /// Its definition is ordered although the variable is not: a member of CUBE, ROLLUP or GROUPING_SETS.
    fn definition_is_ordered(&self, sh: &Shared<'_>) -> bool {
        let leaf = |e: &crate::logical::Expr| match &e.kind {
            ExprKind::Field(access) => super::packet_scope::field(sh.catalog(), access)
                .map_or(Ordering::Varying, |f| f.ordering.clone()),
            _ => Ordering::Varying,
        };
        super::ordering::infer(&self.expr, &leaf).is_temporal()
    }
}

/// `lfta_aggregation` keeps only the partial aggregation: one interface, no HAVING (gsql.md §9).
fn partial_only(clause: &Clause<'_>, select: &Select, tables: &[Table]) {
    if !clause.statement.defined.options.lfta_aggregation {
        return;
    }
    let error = |message: &str, span: Span| {
        clause.report(
            Diagnostic::error("bad-option", span, message)
                .hint("Without `lfta_aggregation` the partial groups are completed."),
        );
    };
    if let Some(gap) = session::gap_of(select) {
        error("`lfta_aggregation` keeps no sessions: a fixed table cannot tell when one ends", gap);
    }
    if let Some(having) = &select.having {
        error("`lfta_aggregation` takes no HAVING: it would judge partial groups", having.span());
    }
    match tables.first().map(|t| (t.packets(), t.span)) {
        Some((Some(source), span)) if source.interfaces.len() > 1 => {
            error("`lfta_aggregation` reads one interface", span);
        }
        Some((None, span)) => error("`lfta_aggregation` needs a protocol source", span),
        _ => {}
    }
}
