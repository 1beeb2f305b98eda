//! The queries of a live run, and their change: one is added, replaced or removed, a parameter set, what is open flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use wt_catalog::Catalog;
use wt_engine::live::{Change, Handle};
use wt_plan::physical::Schema;
use wt_plan::{Compiled, InterfaceInfo};

use super::watchlists::Lists;
use crate::cli::Format;
use crate::commands::query::route;
use crate::failure::Failure;
use crate::output::MoreResults;
use crate::session::{self, CompileOptions, NamedText};

/// What the texts are compiled with.
pub struct Setting {
    /// Protocols.
    pub catalog: Catalog,
    /// The interfaces of the run.
    pub interfaces: Vec<InterfaceInfo>,
    /// `NAME=VALUE`.
    pub params: Vec<String>,
    /// Definitions of interface sets.
    pub sets: Vec<String>,
    /// Library directory.
    pub library: Option<PathBuf>,
    /// The run has an end of its own.
    pub finite: bool,
}

/// Whether a batch may run.
pub type Admit = Box<dyn Fn(&Compiled, &Catalog) -> Result<(), Failure> + Send>;

/// The queries of a live run.
pub struct LiveQueries {
    setting: Setting,
    /// In order: name and text.
    queries: Vec<(String, String)>,
    /// By query: the number that the sink knows it by.
    numbers: BTreeMap<String, usize>,
    next_number: usize,
    /// By query: its columns.
    schemas: BTreeMap<String, Schema>,
    params: Vec<(String, bool)>,
    lists: Lists,
    results: MoreResults,
    admit: Admit,
}

/// Another query.
#[derive(Clone, Debug, Default)]
pub struct NewQuery {
    /// Its text; it names itself (`DEFINE { query_name … }`) unless `name` does.
    pub text: String,
    /// Its name.
    pub name: Option<String>,
    /// The file that its rows go to, else standard output.
    pub output: Option<PathBuf>,
    /// Their format.
    pub format: Option<Format>,
}

impl LiveQueries {
    /// Those of a text that has been compiled.
    pub fn new(
        setting: Setting,
        text: &NamedText,
        compiled: &Compiled,
        results: MoreResults,
        admit: Admit,
    ) -> Self {
        let mut named: Vec<_> = compiled.logical.queries.iter().filter(|q| !q.internal).collect();
        named.sort_by_key(|query| query.source_order);
        let of_text = |query: &&&wt_plan::logical::LogicalQuery| {
            text.text.get(query.span.start as usize..query.span.end as usize).is_some()
        };
        let queries = named.iter().filter(of_text).map(|query| {
            let text = &text.text[query.span.start as usize..query.span.end as usize];
            (query.name.clone(), with_name(text, &query.name))
        });
        let outputs = compiled.physical.outputs.iter().enumerate();
        let mut live = Self {
            setting,
            queries: queries.collect(),
            numbers: outputs.map(|(number, output)| (output.query.clone(), number)).collect(),
            next_number: compiled.physical.outputs.len(),
            schemas: BTreeMap::new(),
            params: Vec::new(),
            lists: Lists::of(text),
            results,
            admit,
        };
        live.note(compiled);
        live
    }

    fn note(&mut self, compiled: &Compiled) {
        let outputs = compiled.physical.outputs.iter();
        self.schemas = outputs.map(|o| (o.query.clone(), o.schema.clone())).collect();
        let params = compiled.physical.params.iter();
        self.params = params.map(|param| (param.name.clone(), param.frozen)).collect();
        self.lists.note(compiled);
    }

    /// Names and texts, in order.
    pub fn list(&self) -> &[(String, String)] {
        &self.queries
    }

    /// The text of a query.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.queries.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// The value of a parameter that a query declares, as it was set last; nothing while it has the one of its declaration.
    pub fn param(&self, name: &str) -> Option<String> {
        self.params.iter().find(|(known, _)| known == name)?;
        let settings = self.setting.params.iter().filter_map(|setting| setting.split_once('='));
        settings.rev().find(|(known, _)| known.trim() == name).map(|(_, value)| value.to_owned())
    }

    /// Adds a query.
    ///
    /// # Errors
    /// One of that name runs; it does not compile; its rows have no way out; the run cannot take it.
    pub fn add(&mut self, handle: &Handle, new: &NewQuery) -> Result<String, Failure> {
        let (name, text) = named(new)?;
        if self.queries.iter().any(|(known, _)| *known == name) {
            return Err(Failure::Input(format!(
                "query `{name}` runs already; `replace` puts another in its place"
            )));
        }
        let mut queries = self.queries.clone();
        queries.push((name.clone(), text));
        self.change(handle, queries, &BTreeSet::from([name.clone()]), Some(new))?;
        Ok(name)
    }

    /// Puts a query in the place of the one of its name. Windows of the old one end here.
    ///
    /// # Errors
    /// There is none; else as [`Self::add`].
    pub fn replace(&mut self, handle: &Handle, new: &NewQuery) -> Result<String, Failure> {
        let (name, text) = named(new)?;
        let at = self.place(&name)?;
        let mut queries = self.queries.clone();
        queries[at].1 = text;
        self.change(handle, queries, &BTreeSet::from([name.clone()]), Some(new))?;
        Ok(name)
    }

    /// Removes a query. Its windows end here.
    ///
    /// # Errors
    /// There is none, it is the last one, or another reads it.
    pub fn remove(&mut self, handle: &Handle, name: &str) -> Result<(), Failure> {
        let at = self.place(name)?;
        if self.queries.len() == 1 {
            return Err(Failure::Input(format!(
                "`{name}` is the last query; end the run with Ctrl-C instead"
            )));
        }
        let mut queries = self.queries.clone();
        queries.remove(at);
        self.change(handle, queries, &BTreeSet::from([name.to_owned()]), None)
    }

    /// Sets parameters.
    ///
    /// # Errors
    /// There is no such parameter, it may not change, or its value does not fit.
    pub fn set(&mut self, handle: &Handle, settings: &[String]) -> Result<(), Failure> {
        for setting in settings {
            let name = setting.split_once('=').map_or(setting.as_str(), |(name, _)| name.trim());
            let Some((_, frozen)) = self.params.iter().find(|(known, _)| known == name) else {
                let known: Vec<_> = self.params.iter().map(|(name, _)| name.as_str()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Failure::Input(format!(
                    "no query has a parameter `{name}`; there are: {known}"
                )));
            };
            if *frozen {
                return Err(Failure::Input(format!(
                    "parameter `{name}` is part of what orders a stream, so it may not change while the query runs; replace the query"
                )));
            }
        }
        let before = self.setting.params.clone();
        self.setting.params.retain(|old| {
            let name = |setting: &str| setting.split('=').next().unwrap_or("").trim().to_owned();
            settings.iter().all(|new| name(new) != name(old))
        });
        self.setting.params.extend(settings.iter().cloned());
        let changed = self.make_all().and_then(|compiled| {
            handle.change(self.with_other_values(compiled)).map_err(change_failed)
        });
        changed.inspect_err(|_| self.setting.params = before)
    }

    /// Closes the windows that are open.
    ///
    /// # Errors
    /// The run has ended.
    pub fn flush(&self, handle: &Handle) -> Result<(), Failure> {
        let compiled = self.make_all()?;
        handle.change(self.of(compiled, &BTreeSet::new(), false, true)).map_err(change_failed)
    }

    /// The watchlists.
    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }

    pub(super) fn lists_mut(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// Compiles the queries that run.
    pub(super) fn make_all(&self) -> Result<Compiled, Failure> {
        self.make(&self.queries)
    }

    /// The change to the same queries, whose parameters or watchlists are others.
    pub(super) fn with_other_values(&self, compiled: Compiled) -> Change {
        self.of(compiled, &BTreeSet::new(), true, false)
    }

    fn place(&self, name: &str) -> Result<usize, Failure> {
        let at = self.queries.iter().position(|(known, _)| known == name);
        at.ok_or_else(|| {
            let known: Vec<_> = self.queries.iter().map(|(name, _)| name.as_str()).collect();
            let near = wt_lang::suggest::nearest(name, known.iter().copied(), 1);
            let help = near
                .first()
                .map_or_else(String::new, |near| format!("\n  help: Did you mean `{near}`?"));
            Failure::Input(format!("no query `{name}` runs; there are: {}{help}", known.join(", ")))
        })
    }

    /// Compiles queries as one text.
    fn make(&self, queries: &[(String, String)]) -> Result<Compiled, Failure> {
        let lists = self.lists.declared().iter().map(String::as_str);
        let texts: Vec<_> = lists.chain(queries.iter().map(|(_, text)| text.as_str())).collect();
        let text = NamedText {
            name: "batch".to_owned(),
            base_name: String::new(),
            text: texts.join("\n;\n"),
        };
        let Setting { catalog, interfaces, params, sets, library, finite } = &self.setting;
        // A parameter of a query that is gone is of no use, and no fault.
        let declared = |setting: &&String| {
            let name = setting.split('=').next().unwrap_or("").trim();
            texts.iter().any(|text| mentions(text, name))
        };
        let params: Vec<String> = params.iter().filter(declared).cloned().collect();
        let options = CompileOptions {
            params: &params,
            watchlists: self.lists.given(),
            sets,
            library: library.as_deref(),
            finite: *finite,
        };
        let compiled = session::compile(catalog, &text, interfaces, &options)?;
        (self.admit)(&compiled, catalog)?;
        Ok(compiled)
    }

    /// The change to a compiled text, in which the queries of `changed` are others.
    fn of(
        &self,
        compiled: Compiled,
        changed: &BTreeSet<String>,
        has_other_params: bool,
        flush: bool,
    ) -> Change {
        let outputs = &compiled.physical.outputs;
        let numbers = outputs
            .iter()
            .map(|output| self.numbers.get(&output.query).copied().unwrap_or(usize::MAX));
        let kept = outputs
            .iter()
            .map(|output| output.query.clone())
            .filter(|name| !changed.contains(name));
        Change {
            outputs: numbers.collect(),
            kept: kept.collect(),
            plan: Arc::new(compiled.physical),
            has_other_params,
            flush,
        }
    }

    fn change(
        &mut self,
        handle: &Handle,
        queries: Vec<(String, String)>,
        changed: &BTreeSet<String>,
        new: Option<&NewQuery>,
    ) -> Result<(), Failure> {
        let compiled = self.make(&queries)?;
        let numbers = self.numbers.clone();
        let mut next_number = self.next_number;
        for (index, output) in compiled.physical.outputs.iter().enumerate() {
            // One with the columns of the one before, and nothing said of its rows, takes over its place.
            let goes_on = self.schemas.get(&output.query) == Some(&output.schema)
                && new.is_some_and(|new| new.output.is_none() && new.format.is_none());
            let is_new = new.is_some() && changed.contains(&output.query) && !goes_on;
            if numbers.contains_key(&output.query) && !is_new {
                continue;
            }
            let has_way_out = new.is_some_and(|new| new.output.is_some());
            if is_new && (output.is_result || has_way_out) {
                let new = new.cloned().unwrap_or_default();
                let route = route(index, output, new.output.as_ref(), new.format);
                self.results.add(next_number, route)?;
            }
            self.numbers.insert(output.query.clone(), next_number);
            next_number += 1;
        }
        let all_changed = with_readers(&queries, changed);
        let change = self.of(compiled.clone(), &all_changed, false, false);
        match handle.change(change) {
            Ok(()) => {
                (self.queries, self.next_number) = (queries, next_number);
                self.note(&compiled);
                Ok(())
            }
            Err(error) => {
                self.numbers = numbers;
                self.next_number = next_number;
                Err(change_failed(error))
            }
        }
    }
}

/// Why a run goes on as it was.
pub(super) fn change_failed(error: wt_engine::live::ChangeError) -> Failure {
    use std::error::Error;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Failure::Environment(text)
}

/// The names with those of all queries that read them, directly or not. A query that has a name in its text counts as one that reads it.
fn with_readers(queries: &[(String, String)], names: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = names.clone();
    loop {
        let reads = |text: &str| all.iter().any(|name| mentions(text, name));
        let more = queries.iter().filter(|(name, text)| !all.contains(name) && reads(text));
        let more: Vec<String> = more.map(|(name, _)| name.clone()).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Whether a text has a name as a word.
fn mentions(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The name and the text of a query that is alone in its text.
fn named(new: &NewQuery) -> Result<(String, String), Failure> {
    let text = new.text.trim().trim_end_matches(';');
    let parsed = wt_lang::parse_gsql(text);
    let Some(file) = parsed.tree.filter(|file| !file.queries.is_empty()) else {
        return Err(Failure::Query(session::render(&parsed.diagnostics, "query", text)));
    };
    let [query] = &file.queries[..] else {
        return Err(Failure::Input(format!(
            "the text has {} queries; give them one by one",
            file.queries.len()
        )));
    };
    let define = query.defines.iter().find(|d| d.name.text.eq_ignore_ascii_case("query_name"));
    match (define.map(|define| define.value.clone()), &new.name) {
        (Some(own), Some(given)) if own != *given => Err(Failure::Input(format!(
            "the query is named `{given}` here and `{own}` in its DEFINE block; keep one"
        ))),
        (Some(name), _) => Ok((name, text.to_owned())),
        (None, Some(name)) => Ok((name.clone(), with_name(text, name))),
        (None, None) => Err(Failure::Input(
            "the query has no name; give it one with --name, or DEFINE { query_name 'name'; }"
                .to_owned(),
        )),
    }
}

/// The text with its name in it.
pub(super) fn with_name(text: &str, name: &str) -> String {
    let text = text.trim().trim_end_matches(';');
    let parsed = wt_lang::parse_gsql(text);
    let Some(query) = parsed.tree.as_ref().and_then(|file| file.queries.first()) else {
        return text.to_owned();
    };
    if query.defines.iter().any(|d| d.name.text.eq_ignore_ascii_case("query_name")) {
        return text.to_owned();
    }
    // Into the block that there is: behind its brace, which precedes its first definition.
    let first = query.defines.first().map(|define| define.name.span.start as usize);
    match first {
        Some(first) => {
            let (before, after) = text.split_at(first);
            format!("{before}query_name '{name}'; {after}")
        }
        None => format!("DEFINE {{ query_name '{name}'; }} {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_a_name() {
        assert_eq!(
            with_name("SELECT len FROM packet", "a"),
            "DEFINE { query_name 'a'; } SELECT len FROM packet"
        );
        let define = "DEFINE { aggregate_slots 4; } SELECT count(*) FROM packet";
        assert_eq!(
            with_name(define, "a"),
            "DEFINE { query_name 'a'; aggregate_slots 4; } SELECT count(*) FROM packet"
        );
        let own = "DEFINE { query_name 'b'; } SELECT len FROM packet";
        assert_eq!(with_name(own, "a"), own);
        for text in [define, own] {
            let named = with_name(text, "a");
            assert!(wt_lang::parse_gsql(&named).diagnostics.is_empty(), "{named}");
        }
    }

    #[test]
    fn readers_change_with_what_they_read() {
        let queries = [
            ("a", "SELECT len FROM tcp"),
            ("b", "SELECT len FROM a"),
            ("c", "SELECT len FROM b"),
            ("ab", "SELECT len FROM udp"),
        ];
        let queries = queries.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let all = with_readers(&queries, &BTreeSet::from(["a".to_owned()]));
        assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn one_query_with_one_name_is_taken() {
        let new = |text: &str, name: Option<&str>| NewQuery {
            text: text.to_owned(),
            name: name.map(str::to_owned),
            ..Default::default()
        };
        let (name, _) = named(&new("SELECT len FROM packet;", Some("a"))).unwrap();
        assert_eq!(name, "a");
        for (text, name, said) in [
            ("SELECT len FROM packet", None, "has no name"),
            ("SELECT len FROM packet; SELECT caplen FROM packet", Some("a"), "2 queries"),
            ("DEFINE { query_name 'b'; } SELECT len FROM packet", Some("a"), "keep one"),
            ("SELEC len", Some("a"), "error"),
        ] {
            let error = named(&new(text, name)).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
