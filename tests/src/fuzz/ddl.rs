//! Protocol declarations: parse and print; what the catalog accepts can be walked and queried.

use wt_lang::{parse_ddl, parse_functions, render};

use crate::run::Setup;

pub(super) fn run(data: &[u8]) -> bool {
    let text = super::text_of(data);
    let is_functions = super::gsql::check(&text, parse_functions);
    super::gsql::check(&text, parse_ddl);
    let mut catalog = super::catalog().clone();
    match catalog.add_ddl(&text, "input.ddl") {
        Ok(warnings) => {
            let _ = render(&warnings, "input.ddl", &text, false);
            let count = "SELECT count(*) AS n FROM packet";
            let compiled = Setup::default().compile(&catalog, count, true);
            let compiled =
                compiled.unwrap_or_else(|e| panic!("accepted protocols have no plan: {e}"));
            let packet: Vec<u8> = data.iter().rev().copied().collect();
            super::packets::walk(&compiled, 1, &packet);
            true
        }
        Err(errors) => {
            assert!(!render(&errors, "input.ddl", &text, false).is_empty());
            is_functions
        }
    }
}
