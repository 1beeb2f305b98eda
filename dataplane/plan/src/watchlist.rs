//! A watchlist as IN reads it (gsql.md §18).

use std::fmt;
use std::sync::Arc;

use wt_catalog::Type;

/// Records of a watchlist, each as a line of its file.
pub type Entries = Arc<[String]>;

/// What registers a watchlist.
///
/// `Debug` leaves the entries out: an operator whose watchlist gets others is the same operator, and goes on with what it holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WatchlistSource {
    /// Its name in the plan.
    pub name: String,
    /// Its fields, in order; exactly one is a key.
    pub fields: Vec<WatchlistField>,
    /// Its file.
    pub path: String,
    /// What it has in the place of the file's records.
    pub entries: Option<Entries>,
}

/// A field of a watchlist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchlistField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether IN compares with it.
    pub is_key: bool,
}

impl fmt::Debug for WatchlistSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchlistSource")
            .field("name", &self.name)
            .field("fields", &self.fields)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The declaration, as messages and listings show it: `INET addr (key); string why; bad.csv`.
impl fmt::Display for WatchlistSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for WatchlistField { name, ty, is_key } in &self.fields {
            write!(f, "{} {name}{}; ", ty.name(), if *is_key { " (key)" } else { "" })?;
        }
        f.write_str(&self.path)
    }
}
