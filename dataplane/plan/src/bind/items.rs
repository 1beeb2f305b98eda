//! Output columns: names, types, ordering properties.

use wt_catalog::Ordering;
use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::ordering::Basic;
use wt_lang::ast::{Select, SelectItem};
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, Group, Grouped, TABLE_STRIDE, node};
use super::diags::Bound;
use super::ordering::{follows_window, infer};
use super::packet_scope;
use super::shared::Rows;
use super::titles::Titles;
use crate::logical::{AggCall, Expr, ExprKind, Item, LogicalNode, LogicalQuery};
use crate::physical::{ColumnInfo, Schema};
use crate::walk;

/// Output columns of one query.
const COLUMNS_MAX: usize = 1024;

/// An output column with the label of its values.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) item: Item,
    pub(crate) subtype: Option<String>,
}

/// The schema of columns.
pub(crate) fn schema(columns: &[Column]) -> Schema {
    let columns = columns
        .iter()
        .map(|c| ColumnInfo {
            name: c.item.name.clone(),
            ty: c.item.expr.ty,
            ordering: c.item.ordering.clone(),
            window: c.item.window,
            subtype: c.subtype.clone(),
        })
        .collect();
    Schema { columns }
}

impl Clause<'_> {
    /// The SELECT list; all its errors are reported.
    pub(crate) fn items(&self, select: &Select) -> Bound<Vec<Column>> {
        let mut titles = Titles::default();
        let mut failed = None;
        let too_many = || {
            self.error(
                "too-large",
                select.span.0,
                format!("a query has at most {COLUMNS_MAX} columns"),
            )
        };
        if select.items.len() > COLUMNS_MAX {
            return Err(too_many());
        }
        for item in &select.items {
            if let SelectItem::Expr { alias: Some(alias), .. } = item
                && !titles.reserve(&alias.text)
            {
                failed = Some(
                    self.report(
                        Diagnostic::error(
                            "duplicate-column",
                            alias.span,
                            format!("two output columns are called `{alias}`"),
                        )
                        .hint("Columns of a stream have different names."),
                    ),
                );
            }
        }
        let mut columns: Vec<Column> = Vec::new();
        for item in &select.items {
            match item {
                SelectItem::Expr { expr, alias } => match self.expr(expr) {
                    Ok(bound) => {
                        let name = match (alias, self.key_name(expr, &bound)) {
                            (Some(alias), _) => alias.text.clone(),
                            (None, Some(key)) => titles.free(key),
                            (None, None) => titles.name(self.sh.catalog(), expr),
                        };
                        columns.push(self.output(name, bound));
                    }
                    Err(reported) => failed = Some(reported),
                },
                SelectItem::Star { table, span } => {
                    match self.star(table.as_ref(), span.0, &mut titles) {
                        Ok(more) => columns.extend(more),
                        Err(reported) => failed = Some(reported),
                    }
                }
            }
        }
        if columns.len() > COLUMNS_MAX {
            failed = Some(too_many());
        }
        failed.map_or(Ok(columns), Err)
    }

    /// The name of a group variable that an unnamed expression repeats.
    fn key_name(&self, e: &wt_lang::ast::Expr, bound: &Expr) -> Option<String> {
        let (Group::Result(grouped), ExprKind::Column(i)) = (self.group, &bound.kind) else {
            return None;
        };
        let key = grouped.keys.get(*i)?;
        let is_name = matches!(e.kind, wt_lang::ast::ExprKind::Column(_));
        (!is_name && key.ast == e).then(|| key.name.clone())
    }

    /// A column of this value.
    pub(crate) fn output(&self, name: String, expr: Expr) -> Column {
        let subtype = self.subtype(&expr);
        let ordering = self.ordering(&expr);
        self.sh.freeze(&expr, &ordering);
        let window = ordering.is_temporal() && follows_window(&expr, &|leaf| self.is_window(leaf));
        Column { item: Item { name, expr, ordering, window }, subtype }
    }

    /// `*` or `T.*`.
    pub(crate) fn star(
        &self,
        table: Option<&Ident>,
        span: Span,
        titles: &mut Titles,
    ) -> Bound<Vec<Column>> {
        if matches!(self.group, Group::Result(_)) {
            return Err(self.report(
                Diagnostic::error("raw-field", span, "`*` has no meaning over groups").hint(
                    "List the group variables and aggregates: SELECT tb, srcIP, count(*) AS pkts.",
                ),
            ));
        }
        let which: Vec<usize> = match table {
            None => (0..self.tables.len()).collect(),
            Some(name) => {
                let at = self.tables.iter().position(|t| t.name == name.text);
                vec![at.ok_or_else(|| {
                    self.error(
                        "unknown-table",
                        name.span,
                        format!("`{name}` is not a table of this query"),
                    )
                })?]
            }
        };
        let catalog = self.sh.catalog();
        let mut columns = Vec::new();
        for i in which {
            self.used.set(self.used.get() | 1 << i.min(63));
            match &self.tables[i].rows {
                Rows::Packets(scope) => {
                    for access in scope.star(catalog) {
                        let Some(field) = packet_scope::field(catalog, &access) else { continue };
                        let expr = node(ExprKind::Field(access), field.ty, span);
                        columns.push(self.output(titles.free(field.name.clone()), expr));
                    }
                }
                Rows::Stream { schema, .. } | Rows::Watchlist { schema, .. } => {
                    for (c, info) in schema.columns.iter().enumerate() {
                        let kind = ExprKind::Column(i * TABLE_STRIDE + c);
                        let expr = node(kind, info.ty, span);
                        columns.push(self.output(titles.free(info.name.clone()), expr));
                    }
                }
            }
        }
        Ok(columns)
    }

    /// The ordering property of an expression of this clause.
    pub(crate) fn ordering(&self, e: &Expr) -> Ordering {
        infer(e, &|leaf| self.leaf_ordering(leaf))
    }

    fn leaf_ordering(&self, leaf: &Expr) -> Ordering {
        match &leaf.kind {
            ExprKind::Field(_) => self.input_ordering(leaf),
            ExprKind::Column(i) => match self.group {
                Group::Result(grouped) => match grouped.keys.get(*i) {
                    Some(key) => key.output_ordering(),
                    None => self.aggregate_ordering(grouped, *i - grouped.keys.len()),
                },
                Group::None | Group::Expand(_) => self.input_ordering(leaf),
            },
            _ => Ordering::Varying,
        }
    }

    /// The property of a field or column of the input.
    fn input_ordering(&self, leaf: &Expr) -> Ordering {
        match &leaf.kind {
            ExprKind::Field(access) => packet_scope::field(self.sh.catalog(), access)
                .map_or(Ordering::Varying, |f| f.ordering.clone()),
            ExprKind::Column(i) => {
                self.input_column(*i).map_or(Ordering::Varying, |c| c.ordering.clone())
            }
            _ => Ordering::Varying,
        }
    }

    /// The least, greatest, first or last of an increasing attribute grows from window to window of one group: it is
    /// increasing in the group of the other keys (Gigascope §2.1, the start time of a Netflow record).
    fn aggregate_ordering(&self, grouped: &Grouped<'_>, index: usize) -> Ordering {
        let aggs = grouped.aggs.borrow();
        let Some(agg) = aggs.get(index) else { return Ordering::Varying };
        let AggCall { function, args, .. } = agg;
        if let Some(time) = &grouped.session {
            let ends = super::session::follows_end(agg, time);
            return if ends { Ordering::Increasing } else { Ordering::Varying };
        }
        let picks = matches!(function.kind, FunctionKind::Aggregate(Split::Min | Split::Max))
            || matches!(function.name, "first" | "last");
        let windowed = grouped.keys.iter().any(|key| key.ordering.basic() == Basic::Inc);
        let patterned = grouped.keys.iter().any(|key| key.in_pattern);
        let [arg] = args.as_slice() else { return Ordering::Varying };
        let input = infer(arg, &|leaf| self.input_ordering(leaf));
        // Banded input may step back across a window's end.
        if !picks || !windowed || patterned || input.tolerance() > 0 || input.basic() != Basic::Inc
        {
            return Ordering::Varying;
        }
        let others = grouped.keys.iter().filter(|key| !key.ordering.is_temporal());
        let names: Vec<String> = others.map(|key| key.name.clone()).collect();
        // gsql.md §6: an aggregate alone in its window stays varying.
        if names.is_empty() { Ordering::Varying } else { Ordering::IncreasingInGroup(names) }
    }

    /// Whether a column names a window of the input, or of the grouping.
    fn is_window(&self, leaf: &Expr) -> bool {
        match (&leaf.kind, self.group) {
            (ExprKind::Column(i), Group::Result(grouped)) => {
                grouped.keys.get(*i).is_some_and(|k| k.ordering.is_temporal())
            }
            (ExprKind::Column(i), _) => self.input_column(*i).is_some_and(|c| c.window),
            _ => false,
        }
    }

    fn input_column(&self, i: usize) -> Option<&ColumnInfo> {
        self.tables.get(i / TABLE_STRIDE)?.schema()?.columns.get(i % TABLE_STRIDE)
    }

    /// The label of a column's values.
    pub(crate) fn column_subtype(&self, i: usize) -> Option<String> {
        match self.group {
            Group::Result(grouped) => grouped.keys.get(i)?.subtype.clone(),
            Group::None | Group::Expand(_) => self.input_column(i)?.subtype.clone(),
        }
    }

    /// A condition as conjuncts.
    pub(crate) fn conjuncts(&self, condition: Option<&wt_lang::ast::Expr>) -> Bound<Vec<Expr>> {
        let Some(condition) = condition else { return Ok(Vec::new()) };
        let bound = self.predicate(condition)?;
        if let Some(wt_catalog::Value::Bool(false)) = super::fold::constant(&bound) {
            self.report(Diagnostic::warning(
                "never-true",
                condition.span(),
                format!("{} never holds: the query gives no rows", self.part.name()),
            ));
        }
        let what = format!("{} of {}", self.part.name(), self.statement.name);
        Ok(super::normal::conjuncts(self.sh, &what, bound))
    }

    /// A constant expression of WHERE's kind that has to be a literal: LIMIT, SLACK.
    pub(crate) fn literal_of(&self, e: &wt_lang::ast::Expr) -> Bound<Expr> {
        let bound = self.over(&[]).expr(e)?;
        if super::fold::constant(&bound).is_some() {
            return Ok(bound);
        }
        Err(self.error("not-a-literal", e.span(), format!("{} takes a literal", self.part.name())))
    }
}

/// Places everything of a query at one span: its own places are in another text.
pub(crate) fn place_all(query: &mut LogicalQuery, span: Span) {
    query.span = span;
    place_node(&mut query.node, span);
}

fn place_node(n: &mut LogicalNode, span: Span) {
    match n {
        LogicalNode::Protocol(_) | LogicalNode::Query(_) => {}
        LogicalNode::Select(s) => {
            place_node(&mut s.input, span);
            s.quals.iter_mut().for_each(|e| place(e, span));
            s.items.iter_mut().for_each(|i| place(&mut i.expr, span));
        }
        LogicalNode::Aggregate(a) => {
            place_node(&mut a.input, span);
            a.quals.iter_mut().chain(&mut a.having).for_each(|e| place(e, span));
            a.keys.iter_mut().chain(&mut a.items).for_each(|i| place(&mut i.expr, span));
            for agg in &mut a.aggs {
                agg.span = span;
                agg.args.iter_mut().for_each(|e| place(e, span));
            }
            if let Some(session) = &mut a.session {
                place(&mut session.time, span);
            }
        }
        LogicalNode::Merge(m) => m.inputs.iter_mut().for_each(|i| place_node(i, span)),
        LogicalNode::Distinct(d) => place_node(d, span),
        LogicalNode::Sort(s) => place_node(&mut s.input, span),
    }
}

fn place(e: &mut Expr, span: Span) {
    e.span = span;
    walk::children_mut(e).into_iter().for_each(|o| place(o, span));
}
