//! No text makes the front end panic, hang, overflow the stack or point outside the text.

use std::fmt::{Debug, Display};

use proptest::prelude::*;
use wt_lang::{
    ERRORS_MAX, Parsed, Severity, TEXT_BYTES_MAX, parse_ddl, parse_expr, parse_functions,
    parse_gsql, parse_interface_sets, render,
};

fn check<T: Display + Debug + PartialEq>(text: &str, parse: fn(&str) -> Parsed<T>) -> bool {
    let Parsed { tree, diagnostics } = parse(text);
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(tree.is_none(), failed, "a tree exactly if there is no error: {text:?}");
    assert!(diagnostics.len() <= ERRORS_MAX);
    for diagnostic in &diagnostics {
        let places = diagnostic.related.iter().map(|(span, _)| *span).chain([diagnostic.span]);
        for span in places {
            assert!(span.start <= span.end && span.end as usize <= text.len(), "{diagnostic:?}");
            assert!(text.is_char_boundary(span.start as usize), "{diagnostic:?}");
        }
        assert!(!diagnostic.message.is_empty() && !diagnostic.message.ends_with('.'));
        assert!(diagnostic.hints.iter().all(|h| h.ends_with('.')), "{diagnostic:?}");
    }
    let rendered = render(&diagnostics, "text", text, false);
    // Each is shown, or counted beside one that says the same.
    let shown = rendered.lines().filter(|l| l.starts_with("error[")).count();
    let counted = rendered.lines().filter_map(|line| line.split_once("= note: the same at "));
    let counted = counted.filter_map(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(shown + counted.sum::<usize>(), diagnostics.len());
    if let Some(tree) = &tree {
        let printed = tree.to_string();
        let again = parse(&printed);
        let rendered = render(&again.diagnostics, "printed", &printed, false);
        assert_eq!(again.tree.as_ref(), Some(tree), "{text:?}\n{rendered}");
    }
    tree.is_some()
}

fn check_all(text: &str) {
    check(text, parse_gsql);
    check(text, parse_expr);
    check(text, parse_ddl);
    check(text, parse_functions);
    check(text, parse_interface_sets);
}

/// Pieces of the languages, whole and broken.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: &str = "SELECT FROM WHERE GROUP BY HAVING SUPERGROUP CLEANING_WHEN CLEANING WHEN \
        CLEANING_BY CLOSING_WHEN CLOSING ORDER LIMIT MERGE SLACK WATCHLIST FIELDS PARAM DEFINE AND \
        OR NOT IN BETWEEN LIKE AS CASE THEN ELSE END DISTINCT TRUE THEN INNER_JOIN FILTER_JOIN \
        OUTER_JOIN JOIN CUBE ROLLUP GROUPING_SETS SESSION ENUM PROTOCOL STREAM UNPACK_FCNS \
        OPERATOR_VIEW OPERATOR file SUBQUERIES SELECTION_PUSHDOWN OVER REPEAT RECORD FIXED VARIABLE \
        FRAMED HEADER LENGTH MIN MAX CHECK REFINE ALIAS AT BITS LITTLE increasing snap_len FUN PRED \
        UDAF EXTR STATE SFUN HANDLE CONST CLASS Contains Equals Exists SELCT FORM WHER a b tcp eth0 \
        last time count ( ) [ ] { } , ; . : $ $p #d @P + - * / % & | ~ ! << >> = <> != < <= > >= == \
        && || 1 2 35. .5 1e6 17UL 9999999999 0x800 0xZ 10s 5ms 1x '' 's' 'open \"d\" x'AB' x'A' \
        HEX'7f' IP_VAL'1.2.3.4' IPV6_VAL'::1' TIME'2026-01-31T12:00:00Z' TIMEVAL'1.2' TIME'x' -- // \
        /* \u{e9} \u{2019} \u{4e16} ` ^ ? \\";
    let pieces: Vec<String> =
        PIECES.split_whitespace().map(str::to_owned).chain(["\n".into(), "\t".into()]).collect();
    prop::sample::select(pieces)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in "\\PC{0,80}") {
        check_all(&text);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        check_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_in_any_order(
        pieces in prop::collection::vec((piece(), any::<bool>()), 0..60),
        head in prop::sample::select(vec!["", "SELECT a FROM tcp ", "PROTOCOL p { ", "uint FUN "]),
    ) {
        let mut text = head.to_owned();
        for (piece, space) in pieces {
            text.push_str(&piece);
            if space {
                text.push(' ');
            }
        }
        check_all(&text);
    }

    #[test]
    fn damaged_queries(cut in 0usize..400, at in 0usize..400, piece in piece()) {
        let mut text = "DEFINE { query_name 'q'; n 5; } SELECT tb, sum$(len) AS s, count(*) \
            FROM (SELECT a FROM [set].tcp) AS x, lib/q y WHERE a IN [1, 2] AND p[1, 'x'] OR \
            vlan[last].id BETWEEN 1 AND 2 GROUP BY time/60 AS tb, CUBE(a, b) : SUPERGROUP a \
            HAVING CASE WHEN a = 1 THEN TRUE ELSE FALSE END CLEANING WHEN f() = TRUE \
            ORDER BY s DESC LIMIT 5; MERGE a.t : b.t SLACK 2 FROM a, b".to_owned();
        text.truncate(cut.max(1));
        text.insert_str(at.min(text.len()), &piece);
        check_all(&text);
    }
}

/// Long enough to overflow a stack that is used per token, short enough for a debug build.
const LONG_BYTES: usize = 1 << 14;

#[test]
fn deep_and_long_texts_end_in_an_answer() {
    let units = [
        "(",
        ")",
        "[",
        "{",
        "NOT ",
        "- ",
        "a OR ",
        "a AND ",
        "a + ",
        "a = ",
        "f(",
        "p[",
        "a.",
        "a[1].",
        "CASE WHEN ",
        "CASE ",
        "a IN [",
        "a IN (",
        "a BETWEEN ",
        "a, ",
        "a ",
        "form ",
        "a b, ",
        ";",
        "'",
        "x'",
        "\"",
        "$",
        "#",
        "@",
        "1 ",
        "9999999999 ",
        "/*",
        "\u{2019}",
        "SELECT ",
        "SELECT a FROM (",
        "SELECT a FROM b; ",
        "a THEN ",
        "lib/",
        ", ",
        ",",
        "PROTOCOL p { ",
        "PROTOCOL p { uint a AT 0; } ",
        "ENUM ",
        "GROUP BY ",
        "a OR (",
        "(a OR ",
        "a LIKE ",
        "Exists[a] OR ",
        "not ",
        "PRED p[",
        "\n",
        "\t",
        "--",
        "-- \n",
        "a: ",
        "CUBE(",
        "LIMIT 1 ",
        "DEFINE { ",
        "MERGE a : ",
    ];
    for unit in units {
        for head in ["", "SELECT ", "SELECT a FROM ", "SELECT a FROM b WHERE ", "x: "] {
            let text = format!("{head}{}", unit.repeat(LONG_BYTES / unit.len()));
            check_all(&text);
        }
    }
}

#[test]
fn nesting_is_bounded_where_it_says() {
    let parens = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    let max = wt_lang::NESTING_MAX as usize;
    assert!(check(&parens(max), parse_expr));
    assert!(!check(&parens(max + 1), parse_expr));

    let chain = |n: usize| format!("a{}", " OR a".repeat(n));
    let max = wt_lang::HEIGHT_MAX as usize;
    assert!(check(&chain(max - 1), parse_expr));
    assert!(!check(&chain(max), parse_expr));

    // Lists are wide, not deep.
    let list = format!("a IN [{}1]", "1, ".repeat(20_000));
    assert!(check(&list, parse_expr));
    let sources =
        |n: usize| format!("{}SELECT a FROM b{}", "SELECT a FROM (".repeat(n), ")".repeat(n));
    assert!(check(&sources(wt_lang::SUBQUERIES_MAX as usize), parse_gsql));
    assert!(!check(&sources(wt_lang::SUBQUERIES_MAX as usize + 1), parse_gsql));
}

#[test]
fn deepest_mixed_tree_fits_the_stack() {
    // Every precedence level once per parenthesis, to the limit of the tree height.
    let unit = "a OR b AND NOT c = d | e & f << g + h * -(";
    for n in 1..200 {
        let text = format!("{}a{}", unit.repeat(n), ")".repeat(n));
        check(&text, parse_expr);
    }
}

#[test]
fn too_long_a_text_is_refused() {
    let text = " ".repeat(TEXT_BYTES_MAX + 1);
    let parsed = parse_gsql(&text);
    assert!(parsed.tree.is_none());
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(parsed.diagnostics[0].code, "text-too-long");
    assert!(!parse_ddl(&text).diagnostics.is_empty());
}
