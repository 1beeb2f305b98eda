//! Files and their queries: which is bound when, and what a table of FROM is (gsql.md §9, §10).

use wt_lang::ast::{self, QueryBody, Source};
use wt_lang::{Diagnostic, Ident, Severity, Span};

use super::diags::{Bound, Reported};
use super::packet_scope::PacketScope;
use super::shared::{Rows, Shared, Statement, Table, Watchlist};
use super::units::{self, Entry, Unit, body_span, entry_of};
use super::{BindInput, params, walk};
use crate::logical::{LogicalNode, LogicalPlan, LogicalQuery, Options};
use crate::physical::Schema;

/// Subqueries of one file.
const SUBQUERIES_MAX: usize = 1024;

/// A body that is bound.
pub(crate) struct Output {
    pub(crate) node: LogicalNode,
    pub(crate) schema: Schema,
}

/// What became of a query of the file.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Not bound, or wrong: whoever reads it stays silent.
    Unknown,
    /// Index into the plan.
    Query(usize),
    /// A watchlist.
    Watchlist(Schema, Vec<bool>),
}

/// Binds the queries of a file in order.
pub(crate) struct Binder<'b> {
    pub(crate) sh: &'b Shared<'b>,
    units: &'b [Unit<'b>],
    entries: &'b [Entry<'b>],
    states: Vec<State>,
    pub(crate) queries: Vec<LogicalQuery>,
}

/// The place of a statement in the file.
#[derive(Clone, Copy)]
pub(crate) struct Context<'b> {
    pub(crate) statement: Statement<'b>,
    entry: usize,
}

/// See [`super::bind`].
pub(crate) fn bind_file(
    input: &BindInput<'_>,
) -> Result<(LogicalPlan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut sh = Shared::new(input);
    let units = units::load(input, &sh.diags);
    let entries = units::entries(&units, input.file_name, &sh.diags);
    let reads: Vec<Vec<usize>> = (0..entries.len())
        .map(|i| {
            let mut reads = Vec::new();
            walk::each_path(&entries[i].query.body, &mut |path| {
                let protocol = |name: &str| sh.is_protocol(name);
                if let Some(source) = entry_of(&entries, &units, i, path, &protocol)
                    && !reads.contains(&source)
                {
                    reads.push(source);
                }
            });
            walk::each_watchlist(&entries[i].query.body, &mut |name| {
                if let Some(list) = watchlist_of(&entries, entries[i].unit, &name.text)
                    && !reads.contains(&list)
                {
                    reads.push(list);
                }
            });
            reads
        })
        .collect();
    let in_use = reachable(&entries, &reads);
    sh.params = params::collect(input, &units, &entries, &in_use, &sh.diags);
    params::check_sets(&entries, &reads, &units, &in_use, &sh.diags);
    let order = units::order(&reads, &entries, &sh.diags);
    let queries = {
        let mut binder = Binder {
            sh: &sh,
            units: &units,
            entries: &entries,
            states: vec![State::Unknown; entries.len()],
            queries: Vec::new(),
        };
        let watchlists: Vec<Vec<Watchlist>> = (0..units.len())
            .map(|u| {
                entries
                    .iter()
                    .filter(|e| e.unit == u)
                    .filter_map(|e| super::watchlist::key_of(e, input.watchlists))
                    .collect()
            })
            .collect();
        for i in order {
            if in_use[i] {
                binder.entry(i, watchlists.get(entries[i].unit).map_or(&[], Vec::as_slice));
            }
        }
        binder.queries
    };
    lists_alone(&entries, &sh);
    let followed = sh.followed();
    let (params, rewrites, diags) = sh.finish();
    let (mut errors, warnings) = diags.finish();
    if errors.is_empty() {
        let interfaces = input.interfaces.iter().map(|i| i.name.clone()).collect();
        Ok((LogicalPlan { queries, params, interfaces, followed, rewrites }, warnings))
    } else {
        errors.extend(warnings);
        errors.sort_by_key(|d| (d.span.start, d.severity == Severity::Warning));
        Err(errors)
    }
}

/// The queries of the file itself and those they read.
fn reachable(entries: &[Entry<'_>], reads: &[Vec<usize>]) -> Vec<bool> {
    let mut used: Vec<bool> = entries.iter().map(|e| e.unit == 0).collect();
    let mut open: Vec<usize> = (0..entries.len()).filter(|&i| used[i]).collect();
    while let Some(i) = open.pop() {
        for &s in &reads[i] {
            if !std::mem::replace(&mut used[s], true) {
                open.push(s);
            }
        }
    }
    used
}

/// A file of nothing but watchlists has nothing to run.
fn lists_alone(entries: &[Entry<'_>], sh: &Shared<'_>) {
    let is_list = |e: &Entry<'_>| matches!(e.query.body, QueryBody::Watchlist(_));
    if let Some(first) = entries.first().filter(|_| entries.iter().all(is_list)) {
        sh.diags.report(
            Diagnostic::error(
                "no-query",
                body_span(&first.query.body),
                format!("no query reads the watchlist `{}`", first.local),
            )
            .hint(format!(
                "Write one behind it: ; SELECT time, srcIP FROM ip WHERE srcIP IN {}",
                first.local
            )),
        );
    }
}

/// The watchlist of that name in a file.
fn watchlist_of(entries: &[Entry<'_>], unit: usize, name: &str) -> Option<usize> {
    entries.iter().position(|e| {
        e.unit == unit && e.local == name && matches!(e.query.body, QueryBody::Watchlist(_))
    })
}

impl<'b> Binder<'b> {
    fn entry(&mut self, i: usize, watchlists: &'b [Watchlist]) {
        let entry = &self.entries[i];
        let params: Vec<String> = entry.query.params.iter().map(|p| p.name.text.clone()).collect();
        let text = self.units.get(entry.unit).map_or("", |u| &u.text);
        let statement = Statement {
            name: &entry.name,
            text,
            defined: &entry.defined,
            params: &params,
            watchlists,
        };
        let mark = self.sh.diags.mark();
        let first = self.queries.len();
        let bound = if let QueryBody::Watchlist(list) = &entry.query.body {
            super::watchlist::check(self.sh, list, &entry.defined).map(|(schema, keys)| {
                self.states[i] = State::Watchlist(schema, keys);
                None
            })
        } else {
            self.body(&entry.query.body, Context { statement, entry: i }).map(Some)
        };
        self.sh.report_refused(mark);
        if let (Ok(Some(output)), false) = (bound, self.sh.diags.failed_since(mark)) {
            self.states[i] = State::Query(self.queries.len());
            self.queries.push(LogicalQuery {
                name: entry.name.clone(),
                node: output.node,
                schema: output.schema,
                options: entry.defined.options.clone(),
                source_order: i,
                internal: entry.unit != 0,
                span: entry.query.span.0,
            });
        }
        params::locate(self.units, entry, &self.sh.diags, mark);
        if let Some(unit) = self.units.get(entry.unit).filter(|u| u.path.is_some()) {
            for query in self.queries.iter_mut().skip(first) {
                super::items::place_all(query, unit.anchor);
            }
        }
    }

    /// SELECT or MERGE.
    pub(crate) fn body(&mut self, body: &QueryBody, cx: Context<'_>) -> Bound<Output> {
        match body {
            QueryBody::Select(select) => self.select(select, cx),
            QueryBody::Merge(merge) => self.merge(merge, cx),
            QueryBody::Watchlist(list) => Err(self.sh.diags.report(Diagnostic::error(
                "bad-watchlist",
                list.span.0,
                "a watchlist is a query of its own, not a subquery",
            ))),
        }
    }

    /// The tables of FROM, all errors reported.
    pub(crate) fn tables(&mut self, list: &[ast::Table], cx: Context<'_>) -> Bound<Vec<Table>> {
        let mut tables: Vec<Table> = Vec::new();
        let mut failed = None;
        for (i, t) in list.iter().enumerate() {
            match self.table(t, i, cx) {
                Ok(table) => {
                    let twin = tables
                        .iter()
                        .find(|o| o.name == table.name && (o.is_variable || table.is_variable));
                    if let Some(twin) = twin {
                        failed = Some(
                            self.sh.diags.report(
                                Diagnostic::error(
                                    "ambiguous-table",
                                    table.span,
                                    format!("two sources are called `{}`", table.name),
                                )
                                .related(twin.span, "the first one"),
                            ),
                        );
                    }
                    tables.push(table);
                }
                Err(reported) => failed = Some(reported),
            }
        }
        failed.map_or(Ok(tables), Err)
    }

    fn table(&mut self, t: &ast::Table, index: usize, cx: Context<'_>) -> Bound<Table> {
        let span = t.span.0;
        let (default_name, path, rows) = match &t.source {
            Source::Path(path) => {
                let parts: Vec<String> = path.parts.iter().map(|p| p.text.clone()).collect();
                let name = parts.last().cloned().unwrap_or_default();
                (name, parts, self.path(path, cx)?)
            }
            Source::Set { set, protocol } => {
                let source = self.sh.packets_of_set(set, protocol, span)?;
                let parts: Vec<String> = protocol.iter().map(|p| p.text.clone()).collect();
                let name = parts.last().cloned().unwrap_or_default();
                (name, parts, self.packets(source))
            }
            Source::Subquery(body) => {
                let name = format!("_t{index}");
                let query = self.subquery(body, t.alias.as_ref(), &name, cx)?;
                (name, Vec::new(), query)
            }
            Source::Then(past, present) => {
                let source = self.sh.past_and_present(past, present, span)?;
                let Source::Path(path) = &**past else { return Err(Reported) };
                let parts: Vec<String> = path.parts.iter().map(|p| p.text.clone()).collect();
                let name = parts.last().cloned().unwrap_or_default();
                (name, parts, self.packets(source))
            }
        };
        let name = t.alias.as_ref().map_or(default_name, |a| a.text.clone());
        Ok(Table { name, is_variable: t.alias.is_some(), path, rows, span })
    }

    fn packets(&self, source: crate::logical::ProtocolSource) -> Rows {
        Rows::Packets(PacketScope::new(self.sh.catalog(), &self.sh.headers, source))
    }

    fn path(&self, path: &ast::SourcePath, cx: Context<'_>) -> Bound<Rows> {
        let protocol = |name: &str| self.sh.is_protocol(name);
        let Some(i) = entry_of(self.entries, self.units, cx.entry, path, &protocol) else {
            return self.no_query(path, cx);
        };
        let span = units::path_span(path);
        let is_library = !path.library.is_empty();
        if let Some(last) = path.parts.last()
            && !is_library
            && self.sh.is_protocol(&last.text)
        {
            self.sh.diags.report(
                Diagnostic::warning(
                    "hidden-protocol",
                    span,
                    format!("`{last}` is read from the query of that name, not from the protocol"),
                )
                .hint(format!("Write eth0.{last}, with the interface, for the protocol.")),
            );
        }
        match &self.states[i] {
            State::Query(query) => {
                let schema = self.queries[*query].schema.clone();
                Ok(Rows::Stream { query: *query, schema })
            }
            State::Watchlist(schema, keys) => {
                Ok(Rows::Watchlist { schema: schema.clone(), keys: keys.clone() })
            }
            State::Unknown => Err(Reported),
        }
    }

    /// A path that names no query.
    fn no_query(&self, path: &ast::SourcePath, cx: Context<'_>) -> Bound<Rows> {
        if let Some(file) = units::library_path(path) {
            let unit = self.units.iter().position(|u| u.path.as_deref() == Some(&file));
            let Some(unit) = unit else { return Err(Reported) };
            let names: Vec<&str> =
                self.entries.iter().filter(|e| e.unit == unit).map(|e| e.local.as_str()).collect();
            return Err(self.sh.diags.report(
                Diagnostic::error(
                    "library",
                    units::path_span(path),
                    format!(
                        "library file `{file}.gsql` has no query `{}`",
                        path.parts.last().map_or("", |p| &p.text)
                    ),
                )
                .hint(format!("It has {}.", super::diags::all(&names))),
            ));
        }
        let own = self.entries[cx.entry].unit;
        let queries: Vec<&str> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(i, e)| e.unit == own && *i != cx.entry)
            .map(|(_, e)| e.local.as_str())
            .collect();
        self.sh.packets(path, &queries).map(|source| self.packets(source))
    }

    /// A subquery becomes an internal query.
    fn subquery(
        &mut self,
        body: &QueryBody,
        alias: Option<&Ident>,
        variable: &str,
        cx: Context<'_>,
    ) -> Bound<Rows> {
        let span = body_span(body);
        if self.queries.iter().filter(|q| q.internal).count() >= SUBQUERIES_MAX {
            return Err(self.sh.diags.report(Diagnostic::error(
                "too-large",
                span,
                format!("more than {SUBQUERIES_MAX} subqueries"),
            )));
        }
        let mut name = format!("{}.{}", cx.statement.name, alias.map_or(variable, |a| &a.text));
        while self.queries.iter().any(|q| q.name == name) {
            name.push('_');
        }
        let statement = Statement { name: &name, ..cx.statement };
        let output = self.body(body, Context { statement, ..cx })?;
        Ok(self.internal(output, name.clone(), cx, span))
    }

    /// Adds an internal query and reads it.
    pub(crate) fn internal(
        &mut self,
        output: Output,
        name: String,
        cx: Context<'_>,
        span: Span,
    ) -> Rows {
        let query = self.queries.len();
        let schema = output.schema.clone();
        self.queries.push(LogicalQuery {
            name,
            node: output.node,
            schema: output.schema,
            options: Options { lfta_aggregation: false, ..cx.statement.defined.options.clone() },
            source_order: cx.entry,
            internal: true,
            span,
        });
        Rows::Stream { query, schema }
    }

    /// The input node of a table.
    pub(crate) fn input(table: &Table) -> LogicalNode {
        match &table.rows {
            Rows::Packets(scope) => LogicalNode::Protocol(scope.source.clone()),
            Rows::Stream { query, .. } => LogicalNode::Query(*query),
            // Watchlists are only read by joins, which are refused.
            Rows::Watchlist { .. } => LogicalNode::Query(0),
        }
    }
}
