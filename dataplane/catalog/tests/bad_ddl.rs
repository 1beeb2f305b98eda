//! What the DDL says to wrong declarations. `UPDATE=1` rewrites the golden file.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;

use wt_catalog::Catalog;
use wt_lang::{Diagnostic, Severity};

const SEPARATOR: &str = "====\n";

fn render(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let severity = if d.severity == Severity::Error { "error" } else { "warning" };
        let _ = writeln!(out, "{severity}[{}] at `{}`: {}", d.code, d.span.of(text), d.message);
        for hint in &d.hints {
            let _ = writeln!(out, "    {hint}");
        }
    }
    out
}

#[test]
fn messages_teach_the_way_out() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad_ddl.txt");
    let golden = std::fs::read_to_string(path).unwrap();
    let mut parts = golden.split(SEPARATOR);
    let mut actual = String::new();
    let mut cases = 0;
    while let (Some(text), Some(_)) = (parts.next(), parts.next()) {
        let mut catalog = Catalog::builtin();
        let before = (catalog.protocols.len(), catalog.enumerations.len(), catalog.over.len());
        let diagnostics = match catalog.add_ddl(text, "user.ddl") {
            Ok(warnings) => warnings,
            Err(errors) => {
                let after =
                    (catalog.protocols.len(), catalog.enumerations.len(), catalog.over.len());
                assert_eq!(before, after, "a refused file leaves the catalog alone: {text}");
                errors
            }
        };
        assert!(!diagnostics.is_empty(), "accepted: {text}");
        for d in &diagnostics {
            assert!(!d.span.of(text).is_empty(), "{d:?}");
            assert!(d.hints.iter().all(|h| h.ends_with(['.', '?'])), "{d:?}");
        }
        let _ = write!(actual, "{text}{SEPARATOR}{}{SEPARATOR}", render(text, &diagnostics));
        cases += 1;
    }
    assert!(cases >= 20, "{cases} cases");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &actual).unwrap();
    } else {
        assert_eq!(actual, golden, "run with UPDATE=1 to accept");
    }
}
