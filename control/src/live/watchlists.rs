//! Watchlists of a live run that get other entries: all at once, between two packets, as parameters get other values.
//!
//! What a list is given stands in the place of its file until the list is told to read that again. Queries that read it go on with what they hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wt_engine::functions::watchlist::{Watchlist, key_text, records};
use wt_engine::live::Handle;
use wt_plan::Compiled;
use wt_plan::watchlist::{Entries, WatchlistSource};

use super::device::Wanted;
use super::queries::{LiveQueries, change_failed, with_name};
use crate::blame;
use crate::failure::Failure;
use crate::session::NamedText;

/// What a watchlist is to have from now on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum WatchlistChange {
    /// These records and no others.
    Set(Vec<String>),
    /// What it has, without some and with others. One that is added takes the place of those with its key.
    Edit {
        /// Records, or keys of some, that go.
        remove: Vec<String>,
        /// Records that come.
        add: Vec<String>,
    },
    /// What its file has.
    Reread,
}

/// The watchlists of a run.
#[derive(Default)]
pub struct Lists {
    /// The texts of those that the batch declares.
    declared: Vec<String>,
    /// What was given, by name.
    given: Vec<(String, Entries)>,
    /// Those that queries read.
    read: Vec<WatchlistSource>,
}

impl Lists {
    /// Those of a text.
    pub fn of(text: &NamedText) -> Self {
        let parsed = wt_lang::parse_gsql(&text.text);
        let queries = parsed.tree.map(|file| file.queries).unwrap_or_default();
        let declared = queries.iter().enumerate().filter_map(|(at, query)| {
            let wt_lang::ast::QueryBody::Watchlist(_) = query.body else { return None };
            let span = query.span.0;
            let own = text.text.get(span.start as usize..span.end as usize)?;
            // The first query of a file may have its name from the file.
            let is_named_so = at == 0 && !text.base_name.is_empty();
            Some(if is_named_so { with_name(own, &text.base_name) } else { own.to_owned() })
        });
        Self { declared: declared.collect(), ..Self::default() }
    }

    /// The texts of those that the batch declares.
    pub fn declared(&self) -> &[String] {
        &self.declared
    }

    /// What was given, by name.
    pub fn given(&self) -> &[(String, Entries)] {
        &self.given
    }

    /// Notes what the queries read.
    pub fn note(&mut self, compiled: &Compiled) {
        self.read = blame::watchlists(compiled).iter().map(|list| (**list).clone()).collect();
    }

    fn source(&self, name: &str) -> Result<&WatchlistSource, Failure> {
        self.read.iter().find(|list| list.name == name).ok_or_else(|| {
            let known: BTreeSet<&str> = self.read.iter().map(|list| list.name.as_str()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::Input(format!("no query reads a watchlist `{name}`; there are: {known}"))
        })
    }
}

impl LiveQueries {
    /// The records of a watchlist: those that it was given, else the well-formed ones of its file.
    ///
    /// # Errors
    /// No query reads it; its file cannot be read.
    pub fn watched(&self, name: &str) -> Result<Vec<String>, Failure> {
        let source = self.lists().source(name)?;
        records(source).map_err(|error| Failure::Environment(error.to_string()))
    }

    /// The records that a watchlist was given, if any.
    pub fn given(&self, name: &str) -> Option<&[String]> {
        let given = self.lists().given().iter().find(|(known, _)| known == name);
        given.map(|(_, entries)| &entries[..])
    }

    /// Gives a watchlist other records. How many it has then; nothing if it has them already.
    ///
    /// # Errors
    /// No query reads it; a record is not one of it; one that is to go is not there. The list is as it was then.
    pub fn watch(
        &mut self,
        handle: &Handle,
        name: &str,
        change: &WatchlistChange,
    ) -> Result<Option<usize>, Failure> {
        let source = self.lists().source(name)?;
        let entries: Option<Entries> = match change {
            WatchlistChange::Set(entries) => Some(entries.clone().into()),
            WatchlistChange::Edit { remove, add } => {
                Some(edited(source, self.watched(name)?, remove, add)?.into())
            }
            WatchlistChange::Reread => None,
        };
        if entries.is_some() && entries == source.entries {
            return Ok(None);
        }
        let next = WatchlistSource { entries: entries.clone(), ..source.clone() };
        let list = Watchlist::of(&next).map_err(|error| Failure::Input(error.to_string()))?;
        let before = self.lists().given().to_vec();
        self.lists_mut().given.retain(|(known, _)| known != name);
        self.lists_mut().given.extend(entries.map(|entries| (name.to_owned(), entries)));
        let made = self.make_all();
        let changed = made.and_then(|compiled| {
            handle.change(self.with_other_values(compiled.clone())).map_err(change_failed)?;
            Ok(compiled)
        });
        match changed {
            Ok(compiled) => {
                self.lists_mut().note(&compiled);
                Ok(Some(list.len()))
            }
            Err(error) => {
                self.lists_mut().given = before;
                Err(error)
            }
        }
    }
}

/// What a watchlist is to have, as the control plane says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    entries: Vec<String>,
}

/// Brings a watchlist to a state; nothing: it has what its file has.
pub fn apply(wanted: &Wanted, handle: &Handle, queries: &mut LiveQueries) -> Result<(), Failure> {
    let name = &wanted.name;
    let change = match &wanted.body {
        Some(body) => {
            let body = serde_json::from_value::<Body>(body.clone());
            let body = body.map_err(|error| {
                Failure::Input(format!(
                    "watchlist `{name}`: {error}; write {{\"entries\": [\"RECORD\", …]}}"
                ))
            })?;
            WatchlistChange::Set(body.entries)
        }
        None if queries.given(name).is_none() => return Ok(()),
        None => WatchlistChange::Reread,
    };
    queries.watch(handle, name, &change).map(drop)
}

/// What a watchlist was given: in the order of the body that was applied, if it is the same.
pub fn observed(queries: &LiveQueries, name: &str, applied: Option<&Value>) -> Option<Value> {
    let given = queries.given(name)?;
    let asked = applied.and_then(|body| body.get("entries")).and_then(Value::as_array);
    let is_as_asked = asked.is_some_and(|asked| {
        let asked: BTreeSet<&str> = asked.iter().filter_map(Value::as_str).collect();
        asked == given.iter().map(String::as_str).collect()
    });
    match applied {
        Some(body) if is_as_asked => Some(body.clone()),
        _ => Some(json!({"entries": given})),
    }
}

/// Records without some and with others.
fn edited(
    source: &WatchlistSource,
    mut records: Vec<String>,
    remove: &[String],
    add: &[String],
) -> Result<Vec<String>, Failure> {
    for gone in remove {
        let before = records.len();
        records.retain(|record| record != gone && key_text(source, record) != Some(gone));
        if records.len() == before {
            return Err(Failure::Input(format!(
                "watchlist `{0}` has no record and no key `{gone}`\n  help: `wiretable ctl watch {0}` shows what it has",
                source.name
            )));
        }
    }
    for new in add {
        let at =
            records.iter().position(|record| key_text(source, record) == key_text(source, new));
        match at {
            Some(at) => records[at].clone_from(new),
            None => records.push(new.clone()),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wt_catalog::Type;
    use wt_plan::watchlist::WatchlistField;

    #[test]
    fn records_go_by_key_and_take_the_place_of_their_key() {
        let field =
            |name: &str, is_key| WatchlistField { name: name.to_owned(), ty: Type::String, is_key };
        let source = WatchlistSource {
            name: "w".to_owned(),
            fields: vec![field("why", false), field("addr", true)],
            path: String::new(),
            entries: None,
        };
        let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let edited = |remove: &[&str], add: &[&str]| {
            edited(&source, texts(&["x,1", "y,2", "x,3"]), &texts(remove), &texts(add))
        };
        assert_eq!(edited(&["1"], &["z,2", "n,4"]).unwrap(), ["z,2", "x,3", "n,4"]);
        assert_eq!(edited(&["x,3"], &["x,1"]).unwrap(), ["x,1", "y,2"]);
        for absent in ["x", "4", ""] {
            let error = edited(&[absent], &[]).unwrap_err().to_string();
            assert!(error.contains(&format!("no key `{absent}`")), "{error}");
        }
    }

    #[test]
    fn the_lists_of_a_text_keep_their_names() {
        let list = "WATCHLIST FIELDS { IP a (key); }";
        let define = "DEFINE { filename 'w.csv'; refresh_interval '1'; }";
        let text = format!(
            "{define} {list}; DEFINE {{ query_name q; }} SELECT len FROM packet; DEFINE {{ query_name b; filename 'b.csv'; refresh_interval '1'; }} {list}"
        );
        let named = NamedText { name: "w.gsql".into(), base_name: "w".into(), text };
        let lists = Lists::of(&named);
        assert_eq!(lists.declared().len(), 2);
        assert!(lists.declared()[0].contains("query_name 'w'"), "{:?}", lists.declared());
        assert!(lists.declared()[1].contains("query_name b"), "{:?}", lists.declared());
    }
}
