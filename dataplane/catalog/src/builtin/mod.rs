//! What every catalog has: the built-in protocols, written in the DDL, and the functions.

pub mod functions;
pub mod protocols;

use std::sync::LazyLock;

use wt_lang::Diagnostic;

use crate::Catalog;

static BUILTIN: LazyLock<(Catalog, Vec<Diagnostic>)> = LazyLock::new(|| {
    let mut catalog = Catalog { functions: functions::all(), ..Catalog::default() };
    match catalog.add_ddl(protocols::TEXT, "built-in protocols") {
        Ok(messages) | Err(messages) => (catalog, messages),
    }
});

impl Catalog {
    /// The built-in protocols and functions, to add others to.
    pub fn builtin() -> Self {
        Self::builtin_ref().clone()
    }

    /// The same as they are: made once per process.
    pub fn builtin_ref() -> &'static Self {
        &BUILTIN.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declarations_are_without_fault() {
        assert_eq!(BUILTIN.1, []);
        assert!(BUILTIN.0.protocols.len() > 30);
    }
}
