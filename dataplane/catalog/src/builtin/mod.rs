//! What every catalog has: the built-in protocols, written in the DDL, and the functions.

pub mod functions;
pub mod protocols;
mod snapshot;

use std::sync::LazyLock;

use wt_lang::Diagnostic;

pub(crate) use self::snapshot::symbol;
use crate::Catalog;

static BUILTIN: LazyLock<Catalog> =
    LazyLock::new(|| snapshot::taken().unwrap_or_else(|| declared().0));

/// The catalog as its declarations are read, and what there is to say of them.
fn declared() -> (Catalog, Vec<Diagnostic>) {
    let mut catalog = Catalog { functions: functions::all(), ..Catalog::default() };
    match catalog.add_ddl(protocols::TEXT, "built-in protocols") {
        Ok(messages) | Err(messages) => (catalog, messages),
    }
}

impl Catalog {
    /// The built-in protocols and functions, to add others to.
    pub fn builtin() -> Self {
        Self::builtin_ref().clone()
    }

    /// The same as they are: made once per process.
    pub fn builtin_ref() -> &'static Self {
        &BUILTIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declarations_are_without_fault() {
        let (catalog, messages) = declared();
        assert_eq!(messages, []);
        assert!(catalog.protocols.len() > 30);
    }
}
