//! WATCHLIST (gsql.md §18): checked, read by IN. WATCHLIST_JOIN is checked, then refused.

use std::sync::Arc;

use wt_catalog::{Ordering, Type};
use wt_lang::Diagnostic;
use wt_lang::ast::{self, CmpOp, Expr as Ast, QueryBody, Select};
use wt_lang::suggest::nearest;

use super::clause::{Clause, Part, TABLE_STRIDE};
use super::diags::{Bound, Reported, all, did_you_mean};
use super::join::{across, conjuncts_of};
use super::options::Defined;
use super::shared::{Rows, Shared, Statement, Table, Watchlist};
use super::units::Entry;
use crate::logical::ExprKind;
use crate::physical::{ColumnInfo, Schema};
use crate::watchlist::{Entries, WatchlistField, WatchlistSource};

/// Whether an attribute marks a key field.
pub(crate) fn is_key(attr: &ast::Attr) -> bool {
    attr.name.text.eq_ignore_ascii_case("key")
}

/// What IN needs to know of a watchlist.
pub(crate) fn key_of(entry: &Entry<'_>, given: &[(String, Entries)]) -> Option<Watchlist> {
    let QueryBody::Watchlist(list) = &entry.query.body else { return None };
    let field = |f: &ast::WatchField| {
        let (name, ty) = (f.name.text.clone(), Type::parse(&f.ty.text)?);
        Some(WatchlistField { name, ty, is_key: f.attrs.iter().any(is_key) })
    };
    let fields: Option<Vec<WatchlistField>> = list.fields.iter().map(field).collect();
    let keys = list.fields.iter().filter(|f| f.attrs.iter().any(is_key));
    let keys = keys.filter_map(|f| Type::parse(&f.ty.text)).collect();
    let entries = given.iter().rev().find(|(name, _)| *name == entry.name);
    let source = match (fields, &entry.defined.filename) {
        (Some(fields), Some(path)) => {
            let entries = entries.map(|(_, entries)| Entries::clone(entries));
            let (name, path) = (entry.name.clone(), path.clone());
            Some(Arc::new(WatchlistSource { name, fields, path, entries }))
        }
        _ => None,
    };
    Some(Watchlist { name: entry.local.clone(), keys, source })
}

/// Checks a watchlist; gives its columns and which are keys.
pub(crate) fn check(
    sh: &Shared<'_>,
    list: &ast::Watchlist,
    defined: &Defined,
) -> Bound<(Schema, Vec<bool>)> {
    let mark = sh.diags.mark();
    let span = list.span.0;
    let mut columns: Vec<ColumnInfo> = Vec::new();
    let mut keys = Vec::new();
    for f in &list.fields {
        let Some(ty) = Type::parse(&f.ty.text) else {
            let near = nearest(&f.ty.text, Type::ALL.iter().map(|t| t.name()), 3);
            sh.diags.report(did_you_mean(
                Diagnostic::error("unknown-type", f.ty.span, format!("`{}` is not a type", f.ty)),
                &near,
            ));
            continue;
        };
        if columns.iter().any(|c| c.name == f.name.text) {
            sh.diags.report(Diagnostic::error(
                "duplicate-column",
                f.name.span,
                format!("two fields are called `{}`", f.name),
            ));
        }
        keys.push(f.attrs.iter().any(is_key));
        columns.push(ColumnInfo {
            name: f.name.text.clone(),
            ty,
            ordering: Ordering::Varying,
            window: false,
            subtype: None,
        });
    }
    if !keys.contains(&true) {
        sh.diags.report(
            Diagnostic::error("bad-watchlist", span, "a watchlist has at least one key field")
                .hint("Mark it: WATCHLIST FIELDS { IP addr (key); string label; }"),
        );
    }
    let missing: Vec<&str> = [
        ("filename", defined.filename.is_none()),
        ("refresh_interval", defined.refresh_s.is_none()),
    ]
    .into_iter()
    .filter(|(_, missing)| *missing)
    .map(|(name, _)| name)
    .collect();
    if !missing.is_empty() {
        sh.diags.report(
            Diagnostic::error("bad-watchlist", span, format!("the watchlist has no {}", all(&missing)))
                .hint("Define them: DEFINE { query_name 'wl'; filename 'bad.csv'; refresh_interval '60'; }"),
        );
    }
    if sh.diags.failed_since(mark) { Err(Reported) } else { Ok((Schema { columns }, keys)) }
}

/// Checks `WATCHLIST_JOIN FROM protocol, watchlist`.
pub(crate) fn check_join(
    sh: &Shared<'_>,
    statement: Statement<'_>,
    select: &Select,
    tables: &[Table],
) -> Bound<()> {
    let mark = sh.diags.mark();
    let [left, right] = tables else { return Err(Reported) };
    if left.packets().is_none() {
        sh.diags.report(Diagnostic::error(
            "bad-watchlist",
            left.span,
            "the first source of WATCHLIST_JOIN is a protocol",
        ));
    }
    let Rows::Watchlist { schema, keys } = &right.rows else {
        return Err(sh.diags.report(Diagnostic::error(
            "bad-watchlist",
            right.span,
            "the second source of WATCHLIST_JOIN is a watchlist",
        )));
    };
    let clause = Clause::new(sh, statement, tables, Part::Where);
    let mut equated = vec![false; schema.columns.len()];
    for e in conjuncts_of(select.where_.as_ref()) {
        let _ = clause.predicate(e);
        if let Some(c) = across(&clause, e)
            && c.op == CmpOp::Eq
            && let ExprKind::Column(i) = c.right.kind
            && let Some(equated) = equated.get_mut(i % TABLE_STRIDE)
        {
            *equated = true;
        }
    }
    let open: Vec<&str> = schema
        .columns
        .iter()
        .zip(keys.iter().zip(&equated))
        .filter(|(_, (key, equated))| **key && !**equated)
        .map(|(c, _)| c.name.as_str())
        .collect();
    if !open.is_empty() && !sh.diags.failed_since(mark) {
        let span = select.where_.as_ref().map_or(select.from.span.0, Ast::span);
        sh.diags.report(
            Diagnostic::error(
                "bad-watchlist",
                span,
                format!("key field {} of `{}` is not equated", all(&open), right.name),
            )
            .hint(format!(
                "Each key field stands alone on one side of an equality: {}.srcIP = {}.{}.",
                left.name,
                right.name,
                open.first().copied().unwrap_or_default()
            )),
        );
    }
    let _ = Clause::new(sh, statement, tables, Part::Select).items(select);
    if sh.diags.failed_since(mark) { Err(Reported) } else { Ok(()) }
}
