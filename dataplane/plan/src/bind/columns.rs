//! Column references (gsql.md §4; ddl.md, Scope): group variables, table variables, fields, headers.

use wt_catalog::{ProtocolId, Type};
use wt_lang::ast::{ColumnRef, Expr as Ast, ExprKind as AstKind, HeaderIndex, Qualifier};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::clause::{Clause, Group, Part, TABLE_STRIDE, node};
use super::diags::{Bound, all, did_you_mean, either};
use super::find::{Found, find, position};
use super::packet_scope::{self, Lookup, PacketScope};
use super::shared::{Rows, Table};
use crate::logical::{Expr, ExprKind, FieldAccess, HeaderRef};
use crate::walk;

/// Names offered in a hint.
const NEAR_MAX: usize = 3;

/// Protocols named in an explanation.
const OWNERS_MAX: usize = 5;

impl Clause<'_> {
    /// A column reference.
    pub(crate) fn column(&self, column: &ColumnRef, span: Span) -> Bound<Expr> {
        if let Some(expr) = self.alias(column, span)? {
            return Ok(expr);
        }
        if let Some(expr) = self.group_variable(column, span)? {
            return Ok(expr);
        }
        if matches!(self.group, Group::Result(_)) {
            return Err(self.raw_in_group(column, span));
        }
        let (table, expr) = match column.qualifiers.split_first() {
            None => self.unqualified(&column.field, span)?,
            Some((first, rest)) => self.qualified(first, rest, &column.field, span)?,
        };
        self.used.set(self.used.get() | 1 << table.min(63));
        Ok(expr)
    }

    /// Whether an expression is a bare name that denotes nothing here: perhaps an enumerator.
    pub(crate) fn is_unknown_name(&self, e: &Ast) -> bool {
        match &e.kind {
            AstKind::Column(c) if c.qualifiers.is_empty() => {
                self.sh.diags.quietly(|| self.column(c, e.span())).is_err()
                    && !self.is_raw_field(&c.field.text)
            }
            _ => false,
        }
    }

    /// An output column, in ORDER BY.
    fn alias(&self, column: &ColumnRef, span: Span) -> Bound<Option<Expr>> {
        if !column.qualifiers.is_empty() {
            return Ok(None);
        }
        let names = self.aliases.iter().map(|a| a.name.as_str());
        match position(&column.field.text, names).and_then(|i| self.aliases.get(i)) {
            Some(alias) => self.sh.copy(&alias.expr, span).map(Some),
            None => Ok(None),
        }
    }

    fn group_variable(&self, column: &ColumnRef, span: Span) -> Bound<Option<Expr>> {
        let keys = match self.group {
            Group::None => return Ok(None),
            Group::Expand(keys) => keys,
            Group::Result(grouped) => &grouped.keys,
        };
        let index = if column.qualifiers.is_empty() {
            let exact = keys.iter().position(|k| k.name == column.field.text);
            // A field that matches exactly comes before a group variable that matches ignoring case.
            match exact {
                None if self.is_raw_field_exact(&column.field.text) => None,
                None => position(&column.field.text, keys.iter().map(|k| k.name.as_str())),
                found => found,
            }
        } else {
            // `T.f` is the group variable that is defined as `T.f`, or as the field it denotes.
            let plain = self.like(Part::GroupBy, Group::None);
            let field = self.sh.diags.quietly(|| plain.column(column, span));
            field.ok().and_then(|f| keys.iter().position(|k| walk::same(&k.expr, &f)))
        };
        let Some((i, key)) = index.and_then(|i| keys.get(i).map(|k| (i, k))) else {
            return Ok(None);
        };
        if matches!(self.group, Group::Expand(_)) {
            return self.sh.copy(&key.expr, span).map(Some);
        }
        Ok(Some(node(ExprKind::Column(i), key.expr.ty, span)))
    }

    fn is_raw_field(&self, name: &str) -> bool {
        let ident = Ident::new(name, Span::default());
        let plain = self.like(self.part, Group::None);
        self.sh.diags.quietly(|| plain.unqualified(&ident, Span::default())).is_ok()
    }

    fn is_raw_field_exact(&self, name: &str) -> bool {
        self.tables.iter().any(|t| match &t.rows {
            Rows::Packets(scope) => scope.names(self.sh.catalog()).contains(&name),
            Rows::Stream { schema, .. } | Rows::Watchlist { schema, .. } => {
                schema.columns.iter().any(|c| c.name == name)
            }
        })
    }

    fn raw_in_group(&self, column: &ColumnRef, span: Span) -> super::diags::Reported {
        let plain = self.like(self.part, Group::None);
        let text = span.of(self.statement.text);
        let Ok(field) = plain.column(column, span) else {
            // The plain lookup has reported why.
            return super::diags::Reported;
        };
        let place = self.part.name();
        let base = Diagnostic::error(
            "raw-field",
            span,
            format!("`{text}` is neither grouped by nor inside an aggregate"),
        )
        .label(format!("{place} is evaluated once per group"));
        let using: Vec<&str> = match self.group {
            Group::Result(g) => g
                .keys
                .iter()
                .filter(|k| {
                    let mut uses = false;
                    walk::each(&k.expr, &mut |e| uses |= walk::same(e, &field));
                    uses
                })
                .map(|k| k.name.as_str())
                .collect(),
            Group::None | Group::Expand(_) => Vec::new(),
        };
        let aggregate = if field.ty.is_numeric() { "sum" } else { "max" };
        let hint = match &using[..] {
            [name, ..] => format!(
                "The group variable `{name}` is computed from it: use `{name}`, or add `{text}` to GROUP BY.",
            ),
            [] => format!(
                "Add `{text}` to GROUP BY, or take one value per group: {aggregate}({text})."
            ),
        };
        self.report(base.hint(hint))
    }

    fn unqualified(&self, field: &Ident, span: Span) -> Bound<(usize, Expr)> {
        let mut hits = Vec::new();
        let mut clash: Option<Vec<ProtocolId>> = None;
        for (i, table) in self.tables.iter().enumerate() {
            match &table.rows {
                Rows::Packets(scope) => {
                    match scope.find(self.sh.catalog(), &self.sh.headers, &field.text) {
                        Lookup::Field(access) => hits.push((i, self.field(access, span))),
                        Lookup::Clash(owners) => clash = Some(owners),
                        Lookup::Unknown => {}
                    }
                }
                Rows::Stream { schema, .. } | Rows::Watchlist { schema, .. } => {
                    let names = schema.columns.iter().map(|c| c.name.as_str());
                    if let Some(c) = position(&field.text, names) {
                        hits.push((i, self.stream_column(i, c, schema.columns[c].ty, span)));
                    }
                }
            }
        }
        match (hits.len(), clash) {
            (1, None) => Ok(hits.remove(0)),
            (0, Some(owners)) => {
                let names: Vec<String> = owners
                    .iter()
                    .map(|&p| format!("{}.{field}", packet_scope::name(self.sh.catalog(), p)))
                    .collect();
                Err(self.report(
                    Diagnostic::error(
                        "ambiguous-field",
                        span,
                        format!("`{field}` may be a field of several headers on the path"),
                    )
                    .hint(format!("Say which: {}.", either(&names))),
                ))
            }
            (0, None) => Err(self.unknown_field(field, span)),
            _ => {
                let names: Vec<String> = hits
                    .iter()
                    .filter_map(|(i, _)| self.tables.get(*i))
                    .map(|t| format!("{}.{field}", t.name))
                    .collect();
                Err(self.report(
                    Diagnostic::error(
                        "ambiguous-field",
                        span,
                        format!("`{field}` is a column of several tables"),
                    )
                    .hint(format!("Say which: {}.", either(&names))),
                ))
            }
        }
    }

    fn field(&self, access: FieldAccess, span: Span) -> Expr {
        let ty = packet_scope::field(self.sh.catalog(), &access).map_or(Type::Uint, |f| f.ty);
        node(ExprKind::Field(access), ty, span)
    }

    fn stream_column(&self, table: usize, column: usize, ty: Type, span: Span) -> Expr {
        node(ExprKind::Column(table * TABLE_STRIDE + column), ty, span)
    }

    fn unknown_field(&self, field: &Ident, span: Span) -> super::diags::Reported {
        let catalog = self.sh.catalog();
        let mut known: Vec<&str> = Vec::new();
        let mut from: Vec<&str> = Vec::new();
        for table in self.tables {
            match &table.rows {
                Rows::Packets(scope) => {
                    known.extend(scope.names(catalog));
                    from.extend(scope.source.chain.last().map(|&p| packet_scope::name(catalog, p)));
                }
                Rows::Stream { schema, .. } | Rows::Watchlist { schema, .. } => {
                    known.extend(schema.columns.iter().map(|c| c.name.as_str()));
                    from.push(&table.name);
                }
            }
        }
        known.extend(self.aliases.iter().map(|a| a.name.as_str()));
        if let Group::Expand(keys) = self.group {
            known.extend(keys.iter().map(|k| k.name.as_str()));
        }
        let packets = self.tables.iter().any(|t| t.packets().is_some());
        let owners: Vec<&str> = catalog
            .protocols
            .iter()
            .filter(|p| p.record.is_none())
            .filter(|p| {
                p.fields.iter().any(|f| {
                    f.name.eq_ignore_ascii_case(&field.text)
                        || f.alias.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(&field.text))
                })
            })
            .map(|p| p.name.as_str())
            .collect();
        let base = Diagnostic::error("unknown-field", span, String::new());
        if packets && !owners.is_empty() {
            let shown = &owners[..owners.len().min(OWNERS_MAX)];
            let from = from.first().copied().unwrap_or_default();
            let first = shown.first().copied().unwrap_or_default();
            let message = format!(
                "`{field}` is a field of {}; FROM {from} has none",
                if owners.len() > OWNERS_MAX { shown.join(", ") + ", …" } else { all(shown) }
            );
            let diagnostic = Diagnostic { message, ..base }
                .label(format!("no such field on the path to {from}"))
                .hint(format!(
                    "Read FROM {first}, or write `{first}.{field}`, which leaves out packets without {first}."
                ));
            return self.report(diagnostic);
        }
        let tables = all(&from);
        let diagnostic = Diagnostic { message: format!("unknown field `{field}`"), ..base }
            .label(format!("not a field in scope of {tables}"));
        let near = nearest(&field.text, known.iter().copied(), NEAR_MAX);
        let diagnostic = match (near.is_empty(), packets) {
            (false, _) => did_you_mean(diagnostic, &near),
            (true, true) => diagnostic.hint(format!(
                "`wiretable schema {}` lists its fields.",
                from.first().copied().unwrap_or_default()
            )),
            (true, false) => {
                let names: Vec<&str> = known.into_iter().take(12).collect();
                diagnostic.hint(format!("Its columns are {}.", all(&names)))
            }
        };
        self.report(diagnostic)
    }

    /// `T.f`, `p.f`, `p[i].f`, `T.p.f`, `eth0.tcp.f`.
    fn qualified(
        &self,
        first: &Qualifier,
        rest: &[Qualifier],
        field: &Ident,
        span: Span,
    ) -> Bound<(usize, Expr)> {
        let qualifiers: Vec<&str> =
            std::iter::once(first).chain(rest).map(|q| q.name.text.as_str()).collect();
        let indexed = first.index.is_some() || rest.iter().any(|q| q.index.is_some());
        // The source as it was written, or its last parts.
        let whole: Vec<usize> = (0..self.tables.len())
            .filter(|&i| !indexed && names_table(&self.tables[i], &qualifiers))
            .collect();
        match whole[..] {
            [i] => return self.of_table(i, field, span),
            [] => {}
            _ => {
                return Err(self.report(
                    Diagnostic::error(
                        "ambiguous-table",
                        first.name.span,
                        format!("several sources are called `{}`", qualifiers.join(".")),
                    )
                    .hint("Give each a table variable: FROM eth0.tcp A, eth1.tcp B."),
                ));
            }
        }
        if let Some(i) = self.tables.iter().position(|t| t.name == first.name.text)
            && let ([header], None) = (rest, first.index)
        {
            return self.of_header(i, header, field, span);
        }
        let packets: Vec<usize> =
            (0..self.tables.len()).filter(|&i| self.tables[i].packets().is_some()).collect();
        match (&packets[..], rest) {
            ([i], []) => self.of_header(*i, first, field, span),
            ([_], [_, ..]) => Err(self.report(
                Diagnostic::error(
                    "unknown-table",
                    first.name.span,
                    format!("`{}` names no header by itself", qualifiers.join(".")),
                )
                .hint(format!(
                    "Read FROM {0}, or say which header with `{1}[i].{field}` or `{1}[last].{field}`.",
                    qualifiers.join("."),
                    qualifiers.last().copied().unwrap_or_default()
                )),
            )),
            ([], _) => Err(self.unknown_table(&first.name)),
            (_, _) => Err(self.report(
                Diagnostic::error(
                    "unknown-table",
                    first.name.span,
                    format!("`{}` is not a table variable of this query", first.name),
                )
                .hint(format!(
                    "Name the table first: `{}.{}.{field}`.",
                    self.tables.first().map_or("", |t| &t.name),
                    first.name
                )),
            )),
        }
    }

    fn unknown_table(&self, name: &Ident) -> super::diags::Reported {
        let names: Vec<&str> = self.tables.iter().map(|t| t.name.as_str()).collect();
        self.report(
            Diagnostic::error(
                "unknown-table",
                name.span,
                format!("`{name}` is not a table of this query"),
            )
            .hint(format!("FROM has {}.", all(&names))),
        )
    }

    fn of_table(&self, i: usize, field: &Ident, span: Span) -> Bound<(usize, Expr)> {
        let one = std::slice::from_ref(&self.tables[i]);
        let (_, expr) = self.over(one).unqualified(field, span)?;
        // The column numbers of a join tell the table.
        let kind = match expr.kind {
            ExprKind::Column(c) => ExprKind::Column(i * TABLE_STRIDE + c),
            other => other,
        };
        Ok((i, Expr { kind, ..expr }))
    }

    fn of_header(
        &self,
        i: usize,
        qualifier: &Qualifier,
        field: &Ident,
        span: Span,
    ) -> Bound<(usize, Expr)> {
        let Some(Rows::Packets(scope)) = self.tables.get(i).map(|t| &t.rows) else {
            return Err(self.unknown_table(&qualifier.name));
        };
        let (p, header) = self.header(scope, &qualifier.name, qualifier.index)?;
        let catalog = self.sh.catalog();
        match scope.find_in(catalog, &self.sh.headers, p, &header, &field.text) {
            Some(access) => Ok((i, self.field(access, span))),
            None => {
                let name = packet_scope::name(catalog, p);
                let own = packet_scope::same_header(catalog, &self.sh.headers, p);
                let known: Vec<&str> = own
                    .iter()
                    .filter_map(|&o| packet_scope::protocol(catalog, o))
                    .flat_map(|p| &p.fields)
                    .flat_map(|f| std::iter::once(f.name.as_str()).chain(f.alias.as_deref()))
                    .collect();
                let inherited =
                    matches!(scope.find(catalog, &self.sh.headers, &field.text), Lookup::Field(_));
                let base = Diagnostic::error(
                    "unknown-field",
                    field.span,
                    format!("{name} has no field `{field}`"),
                );
                let near = nearest(&field.text, known, NEAR_MAX);
                Err(self.report(if near.is_empty() && inherited {
                    base.hint(format!("`{field}` is in scope without `{name}.`."))
                } else {
                    did_you_mean(base, &near)
                }))
            }
        }
    }

    /// The header that `p`, `p[i]` or `p[last]` denotes.
    pub(crate) fn header(
        &self,
        scope: &PacketScope,
        name: &Ident,
        index: Option<HeaderIndex>,
    ) -> Bound<(ProtocolId, HeaderRef)> {
        let catalog = self.sh.catalog();
        let protocols = || catalog.protocols.iter().map(|p| p.name.as_str());
        let Found::One(at) = find(&name.text, protocols()) else {
            let tables = self.tables.iter().map(|t| t.name.as_str());
            let near = nearest(&name.text, protocols().chain(tables), NEAR_MAX);
            return Err(self.report(did_you_mean(
                Diagnostic::error(
                    "unknown-table",
                    name.span,
                    format!("`{name}` is neither a table variable nor a protocol"),
                ),
                &near,
            )));
        };
        let p = ProtocolId(at as u32);
        let protocol = &catalog.protocols[at];
        let Some(header) = scope.header(catalog, &self.sh.headers, p) else {
            let target = scope.source.chain.last().map_or("", |&t| packet_scope::name(catalog, t));
            return Err(self.report(
                Diagnostic::error(
                    "not-on-path",
                    name.span,
                    format!("no packet has both {target} and {}", protocol.name),
                )
                .hint(format!("Read FROM {} in a query of its own.", protocol.name)),
            ));
        };
        let header = match index {
            None => header,
            Some(_) if header == HeaderRef::Packet => {
                return Err(self.error("bad-index", name.span, "a packet has one record"));
            }
            Some(HeaderIndex::Last) => HeaderRef::Last(p),
            Some(HeaderIndex::Nth(n)) if n < protocol.repeat => HeaderRef::Nth(p, n),
            Some(HeaderIndex::Nth(n)) => {
                return Err(self.report(
                    Diagnostic::error(
                        "bad-index",
                        name.span,
                        format!(
                            "`{name}[{n}]` never exists: {} stands at most {} in a packet",
                            protocol.name,
                            times(protocol.repeat)
                        ),
                    )
                    .hint("The outermost is [0], the innermost [last]."),
                ));
            }
        };
        Ok((p, header))
    }
}

fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// Whether dotted qualifiers name a table: its variable, or its source as written from some part on.
fn names_table(table: &Table, qualifiers: &[&str]) -> bool {
    match qualifiers {
        [one] if *one == table.name => true,
        _ if table.is_variable => false,
        _ => {
            table.path.len() >= qualifiers.len() && {
                let tail = &table.path[table.path.len() - qualifiers.len()..];
                tail.iter().zip(qualifiers).all(|(a, b)| a == b)
            }
        }
    }
}
