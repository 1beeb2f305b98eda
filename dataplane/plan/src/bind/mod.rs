//! Binding: from syntax trees to the logical plan (gsql.md, protocols.md, ddl.md).
//!
//! Every name is resolved, every expression typed and folded, every column has its ordering property; the closing rules are
//! checked. What no engine runs is bound and checked all the same, then refused by name. All errors of a file are
//! reported in one run.
//!
//! | concern | file |
//! |---|---|
//! | texts, libraries, query names, order | `units`, `params`, `options` |
//! | sources, scope, headers | `source`, `headers`, `packet_scope`, `columns`, `star` |
//! | expressions | `expr`, `literal`, `compare`, `call`, `aggregate`, `fold`, `ordering`, `normal` |
//! | statements | `query`, `select`, `group`, `patterns`, `items`, `titles`, `merge` |
//! | forms of their own | `session`, `watchlist`, `completeness` |
//! | checked and refused | `join`, `filter_join`, `sampling`, `refuse` |

mod aggregate;
mod call;
mod clause;
mod columns;
mod compare;
mod completeness;
mod diags;
mod expr;
mod filter_join;
mod find;
mod fold;
mod group;
mod headers;
mod items;
mod join;
mod literal;
mod merge;
mod normal;
mod options;
mod ordering;
#[cfg(test)]
mod ordering_tests;
mod packet_scope;
mod params;
mod patterns;
mod query;
mod refuse;
mod sampling;
mod select;
mod session;
mod shared;
mod source;
mod star;
mod titles;
mod units;
mod walk;
mod watchlist;

use wt_catalog::{Catalog, ProtocolId};
use wt_lang::{Diagnostic, ast};

use crate::logical::LogicalPlan;
use crate::watchlist::Entries;

pub use units::LIBRARY_FILES_MAX;

/// An interface that queries may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Its name, as sources name it.
    pub name: String,
    /// Properties for `@Name`, `@Host` and the like (gsql.md §8).
    pub properties: Vec<(String, String)>,
}

/// The property that says what an interface is, and its value for a recorded store ([`InterfaceInfo::is_store`]).
pub const INTERFACE_TYPE: &str = "InterfaceType";
/// See [`INTERFACE_TYPE`].
pub const STORE_TYPE: &str = "STORE";

impl InterfaceInfo {
    /// Whether it is a recorded store: the past of an interface, which `THEN` goes on from.
    pub fn is_store(&self) -> bool {
        let kind = self.properties.iter().find(|(name, _)| name == INTERFACE_TYPE);
        kind.is_some_and(|(_, kind)| kind == STORE_TYPE)
    }
}

/// What is bound, and what surrounds it.
#[derive(Clone, Copy)]
pub struct BindInput<'a> {
    /// Protocols, enumerations and functions.
    pub catalog: &'a Catalog,
    /// The query text.
    pub text: &'a str,
    /// Its tree.
    pub file: &'a ast::File,
    /// Name of the file: up to its first dot it names the first query. May be empty.
    pub file_name: &'a str,
    /// Interfaces of the session, in order.
    pub interfaces: &'a [InterfaceInfo],
    /// Interface sets: name and members, as indexes into `interfaces`.
    pub interface_sets: &'a [(String, Vec<usize>)],
    /// Parameter values by name.
    pub params: &'a [(String, String)],
    /// What watchlists have in the place of their files' records, by name.
    pub watchlists: &'a [(String, Entries)],
    /// All sources end: files, closed ranges.
    pub finite: bool,
    /// Text of a library file by its path below the library directory, without `.gsql`.
    pub library: &'a dyn Fn(&str) -> Option<String>,
}

/// Binds a query file.
///
/// # Errors
/// All errors of the file and of the library files it reaches, in text order, warnings included. Spans are places of
/// the query text; a message about a library file is placed where the query file names it.
pub fn bind(input: &BindInput<'_>) -> Result<(LogicalPlan, Vec<Diagnostic>), Vec<Diagnostic>> {
    query::bind_file(input)
}

/// The headers whose fields `FROM protocol` has in scope beside its own: those that can stand above it, nearest first
/// (ddl.md, Scope).
pub fn headers_above(catalog: &Catalog, protocol: ProtocolId) -> Vec<ProtocolId> {
    headers::Headers::new(catalog).above(&[protocol]).into_iter().map(|a| a.protocol).collect()
}
