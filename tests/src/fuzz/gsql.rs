//! GSQL text: a tree or messages that point into the text; a tree prints as text that parses to an equal tree.

use std::fmt::{Debug, Display};

use wt_lang::{Parsed, Severity, parse_expr, parse_gsql, render};

pub(super) fn run(data: &[u8]) -> bool {
    let text = super::text_of(data);
    let is_query = check(&text, parse_gsql);
    check(&text, parse_expr) || is_query
}

/// Checks one parser on a text; TRUE when it gives a tree.
pub(super) fn check<T: Display + Debug + PartialEq>(
    text: &str,
    parse: fn(&str) -> Parsed<T>,
) -> bool {
    let Parsed { tree, diagnostics } = parse(text);
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(tree.is_none(), failed, "a tree exactly if there is no error");
    for diagnostic in &diagnostics {
        let (start, end) = (diagnostic.span.start as usize, diagnostic.span.end as usize);
        assert!(text.get(start..end).is_some(), "{diagnostic:?} points outside");
    }
    let _ = render(&diagnostics, "input", text, true);
    if let Some(tree) = &tree {
        let printed = tree.to_string();
        let again = parse(&printed);
        assert_eq!(
            again.tree.as_ref(),
            Some(tree),
            "{printed}\n{}",
            render(&again.diagnostics, "printed", &printed, false)
        );
    }
    tree.is_some()
}
