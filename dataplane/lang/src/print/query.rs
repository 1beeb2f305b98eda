//! Queries.

use std::fmt::{self, Display, Formatter};

use super::expr::Scalar;
use super::{BareOrQuoted, Commas, Quoted};
use crate::ast::{
    Attr, Define, DefineForm, File, From, GroupItem, GroupVar, Join, Merge, OrderItem, ParamDecl,
    Query, QueryBody, Select, SelectItem, Source, SourcePath, Table, WatchField, Watchlist,
};

/// What separates clauses: a line break in the long form.
fn gap(f: &Formatter<'_>) -> &'static str {
    if f.alternate() { "\n" } else { " " }
}

impl Display for File {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        super::separated(f, &self.queries, ";\n")
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gap = gap(f);
        if !self.params.is_empty() {
            f.write_str("PARAM {")?;
            for param in &self.params {
                write!(f, " {param};")?;
            }
            write!(f, " }}{gap}")?;
        }
        if !self.defines.is_empty() {
            f.write_str("DEFINE {")?;
            for define in &self.defines {
                write!(f, " {define};")?;
            }
            write!(f, " }}{gap}")?;
        }
        self.body.fmt(f)
    }
}

impl Display for ParamDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.ty)
    }
}

impl Display for Define {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.form {
            DefineForm::String => write!(f, "{} {}", self.name, Quoted(&self.value)),
            DefineForm::Name => write!(f, "{} {}", self.name, self.value),
            DefineForm::Integer => {
                let long = if super::is_uint(&self.value) { "" } else { "ULL" };
                write!(f, "{} {}{long}", self.name, self.value)
            }
        }
    }
}

impl Display for QueryBody {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(select) => select.fmt(f),
            Self::Merge(merge) => merge.fmt(f),
            Self::Watchlist(watchlist) => watchlist.fmt(f),
        }
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gap = gap(f);
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        write!(f, "SELECT {distinct}{}{gap}", Commas(&self.items))?;
        self.from.fmt(f)?;
        if let Some(pred) = &self.where_ {
            write!(f, "{gap}WHERE {pred}")?;
        }
        if !self.group_by.is_empty() {
            write!(f, "{gap}GROUP BY {}", Commas(&self.group_by))?;
        }
        if let Some(names) = &self.supergroup {
            write!(f, "{gap}SUPERGROUP {}", Commas(names))?;
        }
        let predicates = [
            ("HAVING", &self.having),
            ("CLEANING_WHEN", &self.cleaning_when),
            ("CLEANING_BY", &self.cleaning_by),
            ("CLOSING_WHEN", &self.closing_when),
        ];
        for (keyword, pred) in predicates {
            if let Some(pred) = pred {
                write!(f, "{gap}{keyword} {pred}")?;
            }
        }
        if !self.order_by.is_empty() {
            write!(f, "{gap}ORDER BY {}", Commas(&self.order_by))?;
        }
        if let Some(limit) = &self.limit {
            write!(f, "{gap}LIMIT {}", Scalar(limit))?;
        }
        Ok(())
    }
}

impl Display for SelectItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expr { expr, alias: Some(alias) } => write!(f, "{expr} AS {alias}"),
            Self::Expr { expr, alias: None } => expr.fmt(f),
            Self::Star { table: Some(table), .. } => write!(f, "{table}.*"),
            Self::Star { table: None, .. } => f.write_str("*"),
        }
    }
}

impl Display for OrderItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.expr, if self.descending { " DESC" } else { "" })
    }
}

impl Display for GroupItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(var) => var.fmt(f),
            Self::Cube(vars) => write!(f, "CUBE({})", Commas(vars)),
            Self::Rollup(vars) => write!(f, "ROLLUP({})", Commas(vars)),
            Self::GroupingSets(sets) => {
                f.write_str("GROUPING_SETS(")?;
                for (i, set) in sets.iter().enumerate() {
                    write!(f, "{}({})", if i > 0 { ", " } else { "" }, Commas(set))?;
                }
                f.write_str(")")
            }
            Self::Session(gap) => write!(f, "SESSION({})", Scalar(gap)),
        }
    }
}

impl Display for GroupVar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => write!(f, "{} AS {alias}", self.expr),
            None => self.expr.fmt(f),
        }
    }
}

impl Display for From {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(join) = &self.join {
            write!(f, "{join} ")?;
        }
        f.write_str("FROM ")?;
        Commas(&self.tables).fmt(f)
    }
}

impl Display for Join {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner => f.write_str("INNER_JOIN"),
            Self::Outer => f.write_str("OUTER_JOIN"),
            Self::LeftOuter => f.write_str("LEFT_OUTER_JOIN"),
            Self::RightOuter => f.write_str("RIGHT_OUTER_JOIN"),
            Self::Watchlist => f.write_str("WATCHLIST_JOIN"),
            Self::Filter { column, window } => {
                let long = if u32::try_from(*window).is_ok() { "" } else { "ULL" };
                write!(f, "FILTER_JOIN({}, {window}{long})", Scalar(column))
            }
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(alias) => {
                self.source.fmt(f)?;
                write!(f, " AS {alias}")
            }
            None => self.source.fmt(f),
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Set { set, protocol } => {
                write!(f, "[{set}]")?;
                protocol.iter().try_for_each(|part| write!(f, ".{part}"))
            }
            Self::Subquery(body) => {
                f.write_str("(")?;
                // A subquery stays on one line.
                write!(f, "{body})")
            }
            Self::Then(past, present) => write!(f, "{past} THEN {present}"),
        }
    }
}

impl Display for SourcePath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let last = self.parts.len().saturating_sub(1);
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            if i == last {
                self.library.iter().try_for_each(|directory| write!(f, "{directory}/"))?;
            }
            BareOrQuoted(&part.text).fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Merge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gap = gap(f);
        f.write_str("MERGE ")?;
        for (i, column) in self.columns.iter().enumerate() {
            write!(f, "{}{column}", if i > 0 { " : " } else { "" })?;
        }
        if let Some(slack) = &self.slack {
            write!(f, " SLACK {}", Scalar(slack))?;
        }
        write!(f, "{gap}FROM {}", Commas(&self.tables))
    }
}

impl Display for Watchlist {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("WATCHLIST FIELDS {")?;
        for field in &self.fields {
            write!(f, " {field};")?;
        }
        f.write_str(" }")
    }
}

impl Display for WatchField {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.ty, self.name, Attrs(&self.attrs))
    }
}

/// ` (increasing, snap_len 0)`, or nothing.
pub(super) struct Attrs<'a>(pub(super) &'a [Attr]);

impl Display for Attrs<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", Commas(self.0)) }
    }
}

impl Display for Attr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        match &self.value {
            None => Ok(()),
            Some(value) if super::is_uint(value) => write!(f, " {value}"),
            Some(value) => write!(f, " {}", BareOrQuoted(value)),
        }
    }
}
