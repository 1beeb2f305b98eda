//! MERGE: order-preserving union (gsql.md §15).

use wt_catalog::ordering::Basic;
use wt_catalog::{Ordering, Type, Value};
use wt_lang::ast::{ColumnRef, Expr as Ast, ExprKind as AstKind, Merge};
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, Part, TABLE_STRIDE};
use super::diags::{Bound, Reported, all, either};
use super::find::position;
use super::fold::constant;
use super::items::schema;
use super::query::{Binder, Context, Output};
use super::shared::{Rows, Table};
use super::titles::Titles;
use crate::logical::{ExprKind, LogicalNode, MergeNode, SelectNode};
use crate::physical::{ColumnInfo, Schema};

impl Binder<'_> {
    /// A MERGE query.
    pub(crate) fn merge(&mut self, merge: &Merge, cx: Context<'_>) -> Bound<Output> {
        let mut tables = self.tables(&merge.tables, cx)?;
        for i in 0..tables.len() {
            let rows = self.stream_of(&tables[i], cx)?;
            if let (Some(rows), Some(table)) = (rows, tables.get_mut(i)) {
                table.rows = rows;
            }
        }
        let sh = self.sh;
        let span = merge.span.0;
        if tables.len() < 2 {
            return Err(sh.diags.report(
                Diagnostic::error("merge-columns", span, "MERGE takes two or more inputs")
                    .hint("Write MERGE a.t : b.t FROM a, b."),
            ));
        }
        let mut schemas: Vec<&Schema> = Vec::new();
        for t in &tables {
            match &t.rows {
                Rows::Stream { schema, .. } => schemas.push(schema),
                Rows::Packets(_) | Rows::Watchlist { .. } => {
                    return Err(sh.diags.report(Diagnostic::error(
                        "bad-watchlist",
                        t.span,
                        format!("`{}` is a watchlist, not a stream", t.name),
                    )));
                }
            }
        }
        let clause = Clause::new(sh, cx.statement, &tables, Part::Select);
        let alike = check_alike(&clause, &schemas);
        let column = merge_column(&clause, merge, &schemas);
        let (_, column) = (alike?, column?);
        let first = schemas.first().and_then(|s| s.columns.get(column)).ok_or(Reported)?;
        let decreasing = first.ordering.basic() == Basic::Dec;
        let slack = slack(&clause, merge, first)?;
        let window = schemas.iter().all(|s| s.columns.get(column).is_some_and(|c| c.window));
        let columns = schemas
            .first()
            .map_or(&[][..], |s| &s.columns)
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let ordering = match (i == column, decreasing) {
                    (true, false) => Ordering::Increasing,
                    (true, true) => Ordering::Decreasing,
                    (false, _) => Ordering::Varying,
                };
                ColumnInfo { ordering, window: window && i == column, ..c.clone() }
            })
            .collect();
        let node = LogicalNode::Merge(Box::new(MergeNode {
            inputs: tables.iter().map(Self::input).collect(),
            column,
            decreasing,
            slack,
        }));
        Ok(Output { node, schema: Schema { columns } })
    }

    /// A protocol source becomes a selection of all its fields.
    fn stream_of(&mut self, table: &Table, cx: Context<'_>) -> Bound<Option<Rows>> {
        if table.packets().is_none() {
            return Ok(None);
        }
        let output = {
            let one = std::slice::from_ref(table);
            let clause = Clause::new(self.sh, cx.statement, one, Part::Select);
            let columns = clause.star(None, table.span, &mut Titles::default())?;
            let node = LogicalNode::Select(Box::new(SelectNode {
                input: Self::input(table),
                quals: Vec::new(),
                items: columns.iter().map(|c| c.item.clone()).collect(),
            }));
            Output { node, schema: schema(&columns) }
        };
        let mut name = format!("{}.{}", cx.statement.name, table.name);
        while self.queries.iter().any(|q| q.name == name) {
            name.push('_');
        }
        Ok(Some(self.internal(output, name, cx, table.span)))
    }
}

/// All inputs have the columns of the first: their number, types and labels.
fn check_alike(clause: &Clause<'_>, schemas: &[&Schema]) -> Bound<()> {
    let Some((first, rest)) = schemas.split_first() else { return Err(Reported) };
    let head = clause.tables.first().map_or("", |t| &t.name);
    let mut failed = None;
    for (i, other) in rest.iter().enumerate() {
        let Some(table) = clause.tables.get(i + 1) else { continue };
        let different =
            first.columns.iter().zip(&other.columns).enumerate().find_map(|(n, (a, b))| {
                if a.ty != b.ty {
                    return Some((n, a, b, format!("{} and {}", a.ty, b.ty)));
                }
                match (&a.subtype, &b.subtype) {
                    (Some(x), Some(y)) if x != y => {
                        Some((n, a, b, format!("subtypes {x} and {y}")))
                    }
                    _ => None,
                }
            });
        let diagnostic = if first.columns.len() != other.columns.len() {
            Diagnostic::error(
                "merge-columns",
                table.span,
                format!(
                    "`{}` has {} and `{head}` has {}",
                    table.name,
                    count(other.columns.len()),
                    count(first.columns.len())
                ),
            )
        } else if let Some((n, a, b, differ)) = different {
            Diagnostic::error(
                "merge-columns",
                table.span,
                format!(
                    "column {} differs: `{head}.{}` and `{}.{}` are {differ}",
                    n + 1,
                    a.name,
                    table.name,
                    b.name
                ),
            )
        } else {
            continue;
        };
        failed =
            Some(clause.report(diagnostic.hint(
                "Inputs of MERGE have the same columns in the same order; names may differ.",
            )));
    }
    failed.map_or(Ok(()), Err)
}

fn count(columns: usize) -> String {
    if columns == 1 { "1 column".to_owned() } else { format!("{columns} columns") }
}

/// The position of the merge column, the same in all inputs.
fn merge_column(clause: &Clause<'_>, merge: &Merge, schemas: &[&Schema]) -> Bound<usize> {
    let names: Vec<&str> = clause.tables.iter().map(|t| t.name.as_str()).collect();
    if merge.columns.len() != clause.tables.len() {
        return Err(clause.error(
            "merge-columns",
            merge.span.0,
            format!(
                "{} merge columns for {} inputs: each input has one",
                merge.columns.len(),
                clause.tables.len()
            ),
        ));
    }
    let mut places: Vec<Option<(usize, Span)>> = vec![None; clause.tables.len()];
    let mut failed = None;
    for e in &merge.columns {
        match column_of(clause, e, &names) {
            Ok((table, column)) => {
                let place = places.get_mut(table);
                if let Some(Some(_)) = place {
                    failed = Some(clause.error(
                        "merge-columns",
                        e.span(),
                        format!("`{}` has two merge columns", names[table]),
                    ));
                }
                if let Some(place) = place {
                    *place = Some((column, e.span()));
                }
            }
            Err(reported) => failed = Some(reported),
        }
    }
    if let Some(reported) = failed {
        return Err(reported);
    }
    let places: Vec<(usize, Span)> = places.into_iter().flatten().collect();
    let Some(&(column, _)) = places.first() else { return Err(Reported) };
    if let Some((other, span)) = places.iter().find(|(c, _)| *c != column) {
        return Err(clause.report(
            Diagnostic::error("merge-columns", *span, "the merge columns have different positions")
                .label(format!(
                    "column {}, and column {} of the first input",
                    other + 1,
                    column + 1
                ))
                .hint("Give the columns of both queries the same order."),
        ));
    }
    let found: Vec<(Basic, Span)> = places
        .iter()
        .enumerate()
        .filter_map(|(t, &(c, span))| {
            Some((schemas.get(t)?.columns.get(c)?.ordering.basic(), span))
        })
        .collect();
    for (t, (basic, span)) in found.iter().enumerate() {
        if !matches!(basic, Basic::Inc | Basic::Dec) {
            let ordering =
                schemas.get(t).and_then(|s| s.columns.get(column)).map(|c| c.ordering.clone());
            return Err(clause.report(
                Diagnostic::error(
                    "merge-order",
                    *span,
                    format!(
                        "a merge column must be ordered; this one is {}",
                        ordering.unwrap_or_default()
                    ),
                )
                .hint(
                    "Merge on a column computed from `time` or `timestamp`, such as a time bucket.",
                ),
            ));
        }
    }
    if let (Some((first, _)), Some((_, span))) =
        (found.first(), found.iter().find(|(b, _)| Some(b) != found.first().map(|(f, _)| f)))
    {
        let _ = first;
        return Err(clause.error(
            "merge-order",
            *span,
            "one merge column increases and another decreases",
        ));
    }
    Ok(column)
}

/// Table and column of `T.f`.
fn column_of(clause: &Clause<'_>, e: &Ast, names: &[&str]) -> Bound<(usize, usize)> {
    let AstKind::Column(column) = &e.kind else {
        return Err(clause.error("merge-columns", e.span(), "a merge column is a plain field"));
    };
    check_qualified(clause, column, e.span(), names)?;
    match clause.column(column, e.span())?.kind {
        ExprKind::Column(i) => Ok((i / TABLE_STRIDE, i % TABLE_STRIDE)),
        _ => Err(clause.error("merge-columns", e.span(), "a merge column is a plain field")),
    }
}

fn check_qualified(
    clause: &Clause<'_>,
    column: &ColumnRef,
    span: Span,
    names: &[&str],
) -> Bound<()> {
    if !column.qualifiers.is_empty() {
        return Ok(());
    }
    let field = &column.field;
    let known = clause.tables.iter().any(|t| {
        t.schema().is_some_and(|s| {
            position(&field.text, s.columns.iter().map(|c| c.name.as_str())).is_some()
        })
    });
    if !known {
        return Ok(());
    }
    let options: Vec<String> = names.iter().map(|n| format!("{n}.{field}")).collect();
    Err(clause.report(
        Diagnostic::error("merge-columns", span, "a merge column is named with its table")
            .hint(format!("Write {} here.", either(&options)))
            .hint(format!("The inputs are {}.", all(names))),
    ))
}

/// SLACK: a literal in units of the merge column.
fn slack(clause: &Clause<'_>, merge: &Merge, column: &ColumnInfo) -> Bound<Option<Value>> {
    let Some(e) = &merge.slack else { return Ok(None) };
    let bound = clause.like(Part::Slack, super::clause::Group::None).literal_of(e)?;
    let fits = match column.ty {
        Type::Time | Type::Duration => bound.ty == Type::Duration,
        t if t.is_integer() => bound.ty.is_integer(),
        t => bound.ty == t || t == Type::Float && bound.ty.is_numeric(),
    };
    let negative = constant(&bound).and_then(Value::as_f64).is_some_and(|f| f < 0.0);
    if !fits || negative {
        let unit = match column.ty {
            Type::Time | Type::Duration => "a duration such as 2s",
            _ => "a number that is not negative",
        };
        return Err(clause.report(
            Diagnostic::error(
                "bad-slack",
                e.span(),
                format!("SLACK of `{}` is {unit}", column.name),
            )
            .label(format!("{} is {}", column.name, super::expr::article(column.ty))),
        ));
    }
    Ok(constant(&bound).cloned())
}
