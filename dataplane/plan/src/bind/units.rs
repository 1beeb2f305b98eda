//! The texts of a run: the query file and the library files it reaches, their queries and how these refer to each other
//! (gsql.md §9).

use std::borrow::Cow;

use wt_lang::ast::{self, QueryBody, SourcePath};
use wt_lang::{Diagnostic, Severity, Span};

use super::diags::{Diags, all};
use super::find::{Found, find};
use super::options::{self, Defined};
use super::{BindInput, walk};

/// Library files that one run may read.
pub const LIBRARY_FILES_MAX: usize = 64;

/// Queries that one run may bind.
const QUERIES_MAX: usize = 4096;

/// A text with its tree.
pub(crate) struct Unit<'a> {
    /// Path below the library directory, without `.gsql`; `None`: the query file itself.
    pub(crate) path: Option<String>,
    /// The text.
    pub(crate) text: Cow<'a, str>,
    file: Cow<'a, ast::File>,
    /// Where the query file first names it.
    pub(crate) anchor: Span,
}

/// A query of a unit.
pub(crate) struct Entry<'u> {
    /// Name in the plan.
    pub(crate) name: String,
    /// Name within its unit.
    pub(crate) local: String,
    /// Given by `query_name`.
    pub(crate) is_named: bool,
    /// Index of its unit.
    pub(crate) unit: usize,
    /// Its tree.
    pub(crate) query: &'u ast::Query,
    /// Its DEFINE blocks.
    pub(crate) defined: Defined,
}

/// Reads the query file and every library file it reaches.
pub(crate) fn load<'a>(input: &BindInput<'a>, diags: &Diags) -> Vec<Unit<'a>> {
    let mut units = vec![Unit {
        path: None,
        text: Cow::Borrowed(input.text),
        file: Cow::Borrowed(input.file),
        anchor: Span::default(),
    }];
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        let mut wanted: Vec<(String, Span)> = Vec::new();
        for query in &unit.file.queries {
            walk::each_path(&query.body, &mut |path| {
                if let Some(file) = library_path(path) {
                    let span = if at == 0 { path_span(path) } else { unit.anchor };
                    wanted.push((file, span));
                }
            });
        }
        for (path, anchor) in wanted {
            if units.iter().any(|u| u.path.as_deref() == Some(&path)) {
                continue;
            }
            if units.len() > LIBRARY_FILES_MAX {
                diags.report(Diagnostic::error(
                    "library",
                    anchor,
                    format!("more than {LIBRARY_FILES_MAX} library files"),
                ));
                return units;
            }
            if let Some(unit) = read(input, path, anchor, diags) {
                units.push(unit);
            }
        }
        at += 1;
    }
    units
}

fn read<'a>(input: &BindInput<'a>, path: String, anchor: Span, diags: &Diags) -> Option<Unit<'a>> {
    let Some(text) = (input.library)(&path) else {
        diags.report(
            Diagnostic::error("library", anchor, format!("there is no library file `{path}.gsql`"))
                .hint("A source with a slash is a query of a file under the library directory."),
        );
        return None;
    };
    let parsed = wt_lang::parse_gsql(&text);
    let mark = diags.mark();
    for d in parsed.diagnostics.into_iter().filter(|d| d.severity == Severity::Error) {
        diags.report(d);
    }
    diags.relocate(mark, |d| relocate(d, &path, &text, anchor));
    let file = Cow::Owned(parsed.tree?);
    Some(Unit { path: Some(path), text: Cow::Owned(text), file, anchor })
}

/// Moves a message about a library file to the place that names the file.
pub(crate) fn relocate(d: &mut Diagnostic, path: &str, text: &str, anchor: Span) {
    let (line, column) = super::diags::line_column(text, d.span);
    d.message = format!("in library file {path}.gsql, line {line}, column {column}: {}", d.message);
    d.span = anchor;
    d.related.clear();
    d.label = String::new();
}

/// `dir/file` of a source path.
pub(crate) fn library_path(path: &SourcePath) -> Option<String> {
    let last = path.parts.last()?;
    if path.library.is_empty() {
        return None;
    }
    let dirs: Vec<&str> = path.library.iter().map(|i| i.text.as_str()).collect();
    Some(format!("{}/{}", dirs.join("/"), last.text))
}

/// The place of a source path.
pub(crate) fn path_span(path: &SourcePath) -> Span {
    let mut spans = path.library.iter().chain(&path.parts).map(|i| i.span);
    let first = spans.next().unwrap_or_default();
    spans.fold(first, Span::to)
}

/// The queries of all units, with their names and options.
pub(crate) fn entries<'u>(units: &'u [Unit<'_>], file_name: &str, diags: &Diags) -> Vec<Entry<'u>> {
    let mut entries: Vec<Entry<'u>> = Vec::new();
    for (u, unit) in units.iter().enumerate() {
        let base = match &unit.path {
            Some(path) => path.rsplit('/').next().unwrap_or(path),
            None => file_name.rsplit(['/', '\\']).next().unwrap_or(file_name),
        };
        let base = base.split('.').next().unwrap_or_default();
        let mark = diags.mark();
        for (position, query) in unit.file.queries.iter().enumerate() {
            let defined = options::read(query, diags);
            let is_named = defined.name.is_some();
            let local = match &defined.name {
                Some(name) => name.text.clone(),
                None if position == 0 && !base.is_empty() => base.to_owned(),
                None => "default_query".to_owned(),
            };
            check_duplicate(&entries, u, &local, query, &defined, diags);
            let name = match &unit.path {
                None => local.clone(),
                Some(path) if path.rsplit('/').next() == Some(&local) => path.clone(),
                Some(path) => format!("{path}.{local}"),
            };
            if entries.len() == QUERIES_MAX {
                diags.report(Diagnostic::error(
                    "too-large",
                    query.span.0,
                    format!("more than {QUERIES_MAX} queries"),
                ));
                return entries;
            }
            entries.push(Entry { name, local, is_named, unit: u, query, defined });
        }
        if let Some(path) = &unit.path {
            diags.relocate(mark, |d| relocate(d, path, &unit.text, unit.anchor));
        }
    }
    entries
}

fn check_duplicate(
    entries: &[Entry<'_>],
    unit: usize,
    local: &str,
    query: &ast::Query,
    defined: &Defined,
    diags: &Diags,
) {
    let Some(other) = entries.iter().find(|e| e.unit == unit && e.local == local) else { return };
    let place = |query: &ast::Query, defined: &Defined| match &defined.name {
        Some(name) => name.span,
        None => body_span(&query.body),
    };
    diags.report(
        Diagnostic::error(
            "duplicate-query",
            place(query, defined),
            format!("two queries are called `{local}`"),
        )
        .related(place(other.query, &other.defined), "the first one")
        .hint("Name it before the query: DEFINE { query_name 'another_name'; }"),
    );
}

/// The place of a body.
pub(crate) fn body_span(body: &QueryBody) -> Span {
    match body {
        QueryBody::Select(s) => s.span.0,
        QueryBody::Merge(m) => m.span.0,
        QueryBody::Watchlist(w) => w.span.0,
    }
}

/// The query that a source path of query `from` means, by name alone. A query hides a protocol of the same name, unless its name
/// was not given but follows from the file's, or it would read itself.
pub(crate) fn entry_of(
    entries: &[Entry<'_>],
    units: &[Unit<'_>],
    from: usize,
    path: &SourcePath,
    is_protocol: &dyn Fn(&str) -> bool,
) -> Option<usize> {
    let last = &path.parts.last()?.text;
    if let Some(file) = library_path(path) {
        let unit = units.iter().position(|u| u.path.as_deref() == Some(&file))?;
        let local = entries.iter().position(|e| e.unit == unit && e.local == *last);
        return local;
    }
    if path.parts.len() != 1 {
        return None;
    }
    let own = entries.get(from)?;
    let same_unit: Vec<usize> =
        (0..entries.len()).filter(|&i| entries[i].unit == own.unit).collect();
    let names = same_unit.iter().map(|&i| entries[i].local.as_str());
    let Found::One(at) = find(last, names) else { return None };
    let index = *same_unit.get(at)?;
    let entry = entries.get(index)?;
    let protocol = is_protocol(last);
    let exact = entry.local == *last;
    let hidden = protocol && (index == from || !entry.is_named || !exact);
    (!hidden).then_some(index)
}

/// The order in which queries can be bound, each after those it reads; a circle is reported, and its queries are left out.
pub(crate) fn order(reads: &[Vec<usize>], entries: &[Entry<'_>], diags: &Diags) -> Vec<usize> {
    let mut waiting: Vec<usize> = reads.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); reads.len()];
    for (i, sources) in reads.iter().enumerate() {
        for &s in sources {
            readers[s].push(i);
        }
    }
    let mut order: Vec<usize> = (0..reads.len()).filter(|&i| waiting[i] == 0).collect();
    let mut at = 0;
    while let Some(&done) = order.get(at) {
        at += 1;
        for &r in &readers[done] {
            waiting[r] -= 1;
            if waiting[r] == 0 {
                order.push(r);
            }
        }
    }
    if order.len() < reads.len() {
        report_circles(reads, &order, entries, diags);
    }
    order
}

fn report_circles(reads: &[Vec<usize>], order: &[usize], entries: &[Entry<'_>], diags: &Diags) {
    let mut open: Vec<bool> = vec![true; reads.len()];
    order.iter().for_each(|&i| open[i] = false);
    let mut seen = vec![false; reads.len()];
    for start in 0..reads.len() {
        if !open[start] || seen[start] {
            continue;
        }
        // Every open query reads an open one: following them ends in a circle.
        let mut path: Vec<usize> = Vec::new();
        let mut here = start;
        while !seen[here] {
            seen[here] = true;
            path.push(here);
            match reads[here].iter().copied().find(|&s| open[s]) {
                Some(next) => here = next,
                None => break,
            }
        }
        let Some(from) = path.iter().position(|&p| p == here) else { continue };
        let circle = &path[from..];
        let names: Vec<&str> =
            circle.iter().chain(circle.first()).map(|&i| entries[i].name.as_str()).collect();
        let Some(&first) = circle.iter().min() else { continue };
        let message = if circle.len() == 1 {
            format!("query {} reads itself", all(&names[..1]))
        } else {
            format!("queries read each other in a circle: {}", names.join(" reads "))
        };
        diags.report(
            Diagnostic::error("circular", body_span(&entries[first].query.body), message)
                .hint("The sources of a query must end in interfaces."),
        );
    }
}
