//! SELECT: selection, and what stands above selection and grouping alike: DISTINCT, ORDER BY, LIMIT (gsql.md §10;
//! protocols.md).

use wt_catalog::{Ordering, Value};
use wt_lang::ast::{Expr as Ast, ExprKind as AstKind, GroupItem, Select, SelectItem};
use wt_lang::{Diagnostic, Span};

use super::aggregate::is_aggregate;
use super::clause::{Alias, Clause, Group, Part, node};
use super::diags::Bound;
use super::items::{Column, schema};
use super::query::{Binder, Context, Output};
use super::shared::{Rows, Table};
use super::walk;
use crate::logical::{Expr, ExprKind, Item, LogicalNode, SelectNode, SortNode};

/// Columns that carry windows and sort keys are called so; no query can name them.
const HIDDEN: &str = "(hidden)";

/// What ORDER BY and LIMIT ask for.
pub(crate) struct Sorting {
    /// Sort expressions over the input of the output columns, with `descending`.
    keys: Vec<(Expr, bool)>,
    limit: Option<u64>,
}

impl Binder<'_> {
    /// A SELECT query.
    pub(crate) fn select(&mut self, select: &Select, cx: Context<'_>) -> Bound<Output> {
        let tables = self.tables(&select.from.tables, cx)?;
        let sh = self.sh;
        if select.from.join.is_some() || tables.len() > 1 {
            super::join::check(sh, cx.statement, select, &tables)?;
        }
        if let Some(list) = tables.iter().find(|t| matches!(t.rows, Rows::Watchlist { .. })) {
            if select.from.join.is_none() {
                return Err(sh.diags.report(
                    Diagnostic::error(
                        "bad-watchlist",
                        list.span,
                        format!("`{}` is a watchlist, not a stream", list.name),
                    )
                    .hint("A watchlist is read by WATCHLIST_JOIN or by IN."),
                ));
            }
            // Checked as a join; there is no plan for it.
            return Err(super::diags::Reported);
        }
        if is_grouped(self, select) {
            return super::group::bind(sh, cx.statement, select, &tables);
        }
        let clause = |part| Clause::new(sh, cx.statement, &tables, part);
        let quals = clause(Part::Where).conjuncts(select.where_.as_ref());
        let list = clause(Part::Select);
        let columns = list.items(select);
        let sorting = columns
            .as_ref()
            .map_or(Ok(None), |columns| sorting(&clause(Part::OrderBy), select, columns));
        let (quals, mut columns, sorting) = (quals?, columns?, sorting?);
        let [table] = &tables[..] else { return Err(super::diags::Reported) };
        let finite = sh.input.finite;
        merge_order(&list, table, &mut columns, finite, items_span(select))?;
        let windows = input_windows(table);
        let node = |columns: &[Column]| {
            LogicalNode::Select(Box::new(SelectNode {
                input: Self::input(table),
                quals,
                items: columns.iter().map(|c| c.item.clone()).collect(),
            }))
        };
        let stage = Stage { clause: &list, columns, windows, bounded: finite };
        stage.finish(select, sorting, node)
    }
}

/// Whether the query groups its input.
fn is_grouped(binder: &Binder<'_>, select: &Select) -> bool {
    let catalog = binder.sh.catalog();
    let aggregate = |e: &Ast| walk::has_call(e, &|c| is_aggregate(catalog, c));
    let listed = select.items.iter().any(|i| match i {
        SelectItem::Expr { expr, .. } => aggregate(expr),
        SelectItem::Star { .. } => false,
    });
    listed
        || !select.group_by.is_empty()
        || select.having.is_some()
        || select.supergroup.is_some()
        || select.cleaning_when.is_some()
        || select.cleaning_by.is_some()
        || select.closing_when.is_some()
        || select.order_by.iter().any(|o| aggregate(&o.expr))
}

/// The place of the SELECT list.
pub(crate) fn items_span(select: &Select) -> Span {
    let spans = select.items.iter().map(|i| match i {
        SelectItem::Expr { expr, .. } => expr.span(),
        SelectItem::Star { span, .. } => span.0,
    });
    spans.reduce(Span::to).unwrap_or(select.span.0)
}

/// Whether GROUP BY has a session window.
pub(crate) fn has_session(select: &Select) -> bool {
    select.group_by.iter().any(|g| matches!(g, GroupItem::Session(_)))
}

/// The window columns of a stream.
fn input_windows(table: &Table) -> Vec<Expr> {
    let columns = table.schema().map_or(&[][..], |s| &s.columns);
    columns
        .iter()
        .enumerate()
        .filter(|(_, c)| c.window)
        .map(|(i, c)| node(ExprKind::Column(i), c.ty, table.span))
        .collect()
}

/// Several interfaces are merged on the first ordered output column, and only that one stays ordered (gsql.md §8, §15).
fn merge_order(
    clause: &Clause<'_>,
    table: &Table,
    columns: &mut [Column],
    finite: bool,
    span: Span,
) -> Bound<()> {
    let several = table.packets().is_some_and(|s| s.interfaces.len() > 1);
    if !several {
        return Ok(());
    }
    let merged = columns.iter().position(|c| c.item.ordering.is_temporal());
    for (i, c) in columns.iter_mut().enumerate() {
        if Some(i) != merged && c.item.ordering != Ordering::Constant {
            c.item.ordering = Ordering::Varying;
        }
    }
    match merged {
        Some(i) => {
            if let Some(c) = columns.get_mut(i) {
                // Tuples of two interfaces may agree.
                c.item.ordering = match &c.item.ordering {
                    Ordering::StrictlyIncreasing => Ordering::Increasing,
                    Ordering::StrictlyDecreasing => Ordering::Decreasing,
                    other => other.clone(),
                };
            }
            Ok(())
        }
        None if finite => Ok(()),
        None => Err(clause.report(
            Diagnostic::error(
                "no-merge-column",
                span,
                "the query reads several interfaces and selects no ordered column to merge them on",
            )
            .hint("Select `time` or `timestamp`, or read one interface: FROM eth0.tcp."),
        )),
    }
}

/// ORDER BY and LIMIT; `None` when the query has neither.
pub(crate) fn sorting(
    clause: &Clause<'_>,
    select: &Select,
    columns: &[Column],
) -> Bound<Option<Sorting>> {
    if select.order_by.is_empty() && select.limit.is_none() {
        return Ok(None);
    }
    let over_output = select.distinct;
    let aliases: Vec<Alias> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let own = node(ExprKind::Column(i), c.item.expr.ty, c.item.expr.span);
            let expr = if over_output { own } else { c.item.expr.clone() };
            Alias { name: c.item.name.clone(), expr }
        })
        .collect();
    let group = if over_output { Group::None } else { clause.group };
    let tables = if over_output { &[][..] } else { clause.tables };
    let order = clause.over(tables).grouped(group).naming(&aliases);
    let mut keys = Vec::new();
    let mut failed = None;
    for o in &select.order_by {
        if matches!(o.expr.kind, AstKind::Literal(_)) {
            failed = Some(
                clause.report(
                    Diagnostic::error(
                        "order-position",
                        o.expr.span(),
                        "ORDER BY takes names, not positions",
                    )
                    .hint("Write the name of the output column: ORDER BY pkts DESC."),
                ),
            );
            continue;
        }
        match order.expr(&o.expr) {
            Ok(e) => keys.push((e, o.descending)),
            Err(reported) => failed = Some(reported),
        }
    }
    let limit = match &select.limit {
        None => None,
        Some(e) => match clause.like(Part::Limit, Group::None).literal_of(e) {
            Ok(bound) => match super::fold::constant(&bound) {
                Some(Value::Uint(n)) => Some(*n),
                _ => {
                    failed = Some(clause.error(
                        "bad-limit",
                        e.span(),
                        "LIMIT takes a whole number of rows",
                    ));
                    None
                }
            },
            Err(reported) => {
                failed = Some(reported);
                None
            }
        },
    };
    failed.map_or(Ok(Some(Sorting { keys, limit })), Err)
}

/// Output columns, and the windows of what they are computed from.
pub(crate) struct Stage<'c, 's> {
    /// The SELECT clause.
    pub(crate) clause: &'c Clause<'s>,
    /// Output columns.
    pub(crate) columns: Vec<Column>,
    /// Window columns of the input, over the input.
    pub(crate) windows: Vec<Expr>,
    /// The rows end without a window: sorting and DISTINCT may remember all of them.
    pub(crate) bounded: bool,
}

impl Stage<'_, '_> {
    /// Adds DISTINCT, ORDER BY and LIMIT above the node that `make` gives for the columns with the hidden ones behind.
    pub(crate) fn finish(
        self,
        select: &Select,
        sorting: Option<Sorting>,
        make: impl FnOnce(&[Column]) -> LogicalNode,
    ) -> Bound<Output> {
        let outputs = self.columns.len();
        let mut columns = self.columns.clone();
        if sorting.is_some() || select.distinct {
            self.add_windows(&mut columns);
            self.check_bounded(select, sorting.as_ref(), &columns)?;
        }
        let mut sort_columns = Vec::new();
        let mut base = None;
        if let (Some(sorting), false) = (&sorting, select.distinct) {
            for (e, descending) in &sorting.keys {
                let at = columns.iter().position(|c| crate::walk::same(&c.item.expr, e));
                let at = at.unwrap_or_else(|| {
                    columns.push(hidden(e.clone(), Ordering::Varying, false));
                    columns.len() - 1
                });
                sort_columns.push((at, *descending));
            }
        }
        let mut node = make(&columns);
        if select.distinct {
            node = LogicalNode::Distinct(Box::new(node));
            if let Some(sorting) = &sorting {
                // Over the distinct rows: their columns, then what is sorted by.
                let mut above: Vec<Column> = pass_through(&columns);
                for (e, descending) in &sorting.keys {
                    let at = above.iter().position(|c| crate::walk::same(&c.item.expr, e));
                    let at = at.unwrap_or_else(|| {
                        above.push(hidden(e.clone(), Ordering::Varying, false));
                        above.len() - 1
                    });
                    sort_columns.push((at, *descending));
                }
                if above.len() > columns.len() {
                    node = project(node, &above);
                }
            } else if columns.len() > outputs {
                base = Some(pass_through(&columns[..outputs]));
            }
        }
        if let Some(columns) = base {
            node = project(node, &columns);
        }
        let mut columns = self.columns;
        if let Some(sorting) = sorting {
            node = LogicalNode::Sort(Box::new(SortNode {
                input: node,
                keys: sort_columns,
                limit: sorting.limit,
                outputs,
            }));
            if !sorting.keys.is_empty() {
                // Rows of a window change places; the windows themselves stay in order.
                for c in &mut columns {
                    if !c.item.window && c.item.ordering != Ordering::Constant {
                        c.item.ordering = Ordering::Varying;
                    }
                }
            }
        }
        Ok(Output { node, schema: schema(&columns) })
    }

    /// Carries each window column that is not among the outputs along.
    fn add_windows(&self, columns: &mut Vec<Column>) {
        for w in &self.windows {
            match columns.iter_mut().find(|c| crate::walk::same(&c.item.expr, w)) {
                Some(c) => c.item.window = true,
                None => columns.push(hidden(w.clone(), self.clause.ordering(w), true)),
            }
        }
    }

    fn check_bounded(
        &self,
        select: &Select,
        sorting: Option<&Sorting>,
        columns: &[Column],
    ) -> Bound<()> {
        // A repeated row repeats its ordered columns too, so these bound what DISTINCT remembers.
        let ordered = |c: &Column| sorting.is_none() && c.item.ordering.is_temporal();
        if self.bounded || columns.iter().any(|c| c.item.window || ordered(c)) {
            return Ok(());
        }
        let what = match sorting {
            Some(s) if s.keys.is_empty() => "LIMIT",
            Some(_) => "ORDER BY",
            None => "DISTINCT",
        };
        let by = select.order_by.first().map(|o| o.expr.span());
        let span = by.or_else(|| select.limit.as_ref().map(Ast::span));
        let diagnostic = Diagnostic::error(
            "unbounded",
            span.unwrap_or_else(|| items_span(select)),
            format!("{what} over a live stream needs a window"),
        );
        Err(self.clause.report(if sorting.is_some() {
            diagnostic.hint(format!(
                "{what} works within a window: group by a time bucket, GROUP BY timestamp/1m AS tb, …"
            ))
        } else {
            diagnostic.hint(
                "Select an ordered column too, such as `time`: rows of earlier values can then be forgotten.",
            )
        }))
    }
}

fn hidden(expr: Expr, ordering: Ordering, window: bool) -> Column {
    Column { item: Item { name: HIDDEN.to_owned(), expr, ordering, window }, subtype: None }
}

/// Columns that pass columns of the input on.
fn pass_through(columns: &[Column]) -> Vec<Column> {
    columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let expr = node(ExprKind::Column(i), c.item.expr.ty, c.item.expr.span);
            Column { item: Item { expr, ..c.item.clone() }, subtype: c.subtype.clone() }
        })
        .collect()
}

fn project(input: LogicalNode, columns: &[Column]) -> LogicalNode {
    LogicalNode::Select(Box::new(SelectNode {
        input,
        quals: Vec::new(),
        items: columns.iter().map(|c| c.item.clone()).collect(),
    }))
}
