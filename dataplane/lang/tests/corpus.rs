//! Every example of the language reference parses, and its printed form parses to an equal tree.

use std::fmt::{Debug, Display};
use std::path::PathBuf;

use wt_lang::{
    Parsed, parse_ddl, parse_expr, parse_functions, parse_gsql, parse_interface_sets, render,
};

fn files(extension: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the corpus folder exists")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{extension} file in the corpus");
    files
}

fn tree<T>(name: &str, text: &str, parse: fn(&str) -> Parsed<T>) -> T {
    let parsed = parse(text);
    assert!(
        parsed.diagnostics.is_empty(),
        "{}\n{text}",
        render(&parsed.diagnostics, name, text, false)
    );
    parsed.tree.unwrap_or_else(|| panic!("{name}: no tree and no diagnostic"))
}

fn round_trip<T: Display + Debug + PartialEq>(extension: &str, parse: fn(&str) -> Parsed<T>) {
    for (name, text) in files(extension) {
        let first = tree(&name, &text, parse);
        let printed = first.to_string();
        let second = tree(&name, &printed, parse);
        assert_eq!(first, second, "{name} changed its meaning when printed:\n{printed}");
        assert_eq!(printed, second.to_string(), "{name}: printing is not stable");
        let long = format!("{first:#}");
        assert_eq!(first, tree(&name, &long, parse), "{name} in its long form:\n{long}");
    }
}

#[test]
fn queries() {
    round_trip("gsql", parse_gsql);
}

#[test]
fn protocols() {
    round_trip("ddl", parse_ddl);
}

#[test]
fn functions() {
    round_trip("fun", parse_functions);
}

#[test]
fn interface_sets() {
    round_trip("ifset", parse_interface_sets);
}

#[test]
fn printing_uses_few_parentheses() {
    let cases = [
        ("((a)) + (b * c)", "a + b * c"),
        ("(a + b) * c", "(a + b) * c"),
        ("(a & 15) = 3", "a & 15 = 3"),
        ("a & (15 = 3)", "a & (15 = 3)"),
        ("not (a = b) and (c or d)", "NOT a = b AND (c OR d)"),
        ("(not a) = b", "(NOT a) = b"),
        ("a - (b - c) - d", "a - (b - c) - d"),
        ("-(-a)", "- -a"),
        ("(a in (1,2)) = true", "(a IN [1, 2]) = TRUE"),
        ("x between (1) and (2+3) and y", "x BETWEEN 1 AND 2 + 3 AND y"),
        ("a != b", "a <> b"),
        ("p[1,(2)] or f((x))", "p[1, 2] OR f(x)"),
        ("vlan[last].vlan_id = 0x10", "vlan[last].vlan_id = HEX'10'"),
        ("ts > time'2026-01-31T13:00:00.250+01:00'", "ts > TIME'2026-01-31T12:00:00.25Z'"),
        ("case when a=1 then 2 end", "CASE WHEN a = 1 THEN 2 END"),
    ];
    for (text, printed) in cases {
        assert_eq!(tree("expression", text, parse_expr).to_string(), printed);
    }
}

#[test]
fn long_form_has_a_clause_per_line() {
    let text = "select tb, count(*) as n from (select * from tcp where syn) q group by time/60 \
                as tb having n > 1 order by n desc limit 3";
    let long = format!("{:#}", tree("query", text, parse_gsql));
    assert_eq!(
        long,
        "SELECT tb, count(*) AS n\n\
         FROM (SELECT * FROM tcp WHERE syn) AS q\n\
         GROUP BY time / 60 AS tb\n\
         HAVING n > 1\n\
         ORDER BY n DESC\n\
         LIMIT 3"
    );
}

#[test]
fn spans_name_the_written_text() {
    let text = "SELECT a, (b + c) * 2 AS d FROM eth0.tcp t WHERE x IN [1, 2]";
    let file = tree("query", text, parse_gsql);
    let query = &file.queries[0];
    assert_eq!(query.span.0.of(text), text);
    let wt_lang::ast::QueryBody::Select(select) = &query.body else { panic!("{query:?}") };
    let wt_lang::ast::SelectItem::Expr { expr, alias } = &select.items[1] else { panic!() };
    assert_eq!(expr.span().of(text), "(b + c) * 2");
    assert_eq!(alias.as_ref().map(|a| a.span.of(text)), Some("d"));
    assert_eq!(select.from.span.0.of(text), "FROM eth0.tcp t");
    assert_eq!(select.from.tables[0].span.0.of(text), "eth0.tcp t");
    assert_eq!(select.where_.as_ref().map(|w| w.span().of(text)), Some("x IN [1, 2]"));
}
