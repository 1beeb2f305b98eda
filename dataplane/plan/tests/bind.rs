//! Golden tests of the binder. Each case of `bind/*.txt` is a query text and what binding says of it: the messages side by
//! side, or the columns and conditions of the plan. `UPDATE=1` rewrites the answers.
//!
//! ```text
//! === name of the case [live] [if=eth0,eth1] [p=name:value]
//! query text
//! ---
//! answer
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wt_catalog::Catalog;
use wt_lang::Diagnostic;
use wt_plan::bind::{BindInput, InterfaceInfo, bind};
use wt_plan::logical::{LogicalNode, LogicalPlan};
use wt_plan::text::Names;

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(Catalog::builtin)
}

/// Library files of the tests.
fn library(path: &str) -> Option<String> {
    Some(
        match path {
            "lib/flows" => {
                "DEFINE { query_name 'flows'; }\n\
                 SELECT tb, srcIP AS src, destIP AS dst, count(*) AS Cnt FROM packets \
                 GROUP BY time/60 AS tb, srcIP, destIP;\n\
                 DEFINE { query_name 'packets'; }\n\
                 SELECT time, srcIP, destIP FROM ip"
            }
            "lib/wrong" => "SELECT time,\n  scrIP FROM ip",
            _ => return None,
        }
        .to_owned(),
    )
}

struct Case {
    header: String,
    query: String,
    answer: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_answer = false;
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("=== ") {
            cases.push(Case {
                header: header.to_owned(),
                query: String::new(),
                answer: String::new(),
            });
            in_answer = false;
        } else if line == "---" {
            in_answer = true;
        } else if let Some(case) = cases.last_mut() {
            let part = if in_answer { &mut case.answer } else { &mut case.query };
            part.push_str(line);
            part.push('\n');
        }
    }
    for case in &mut cases {
        case.query = case.query.trim_end().to_owned();
        case.answer = case.answer.trim_end().to_owned();
    }
    cases
}

fn options<'h>(header: &'h str, key: &str) -> Vec<&'h str> {
    header
        .split_whitespace()
        .filter_map(|w| w.strip_prefix('[')?.strip_suffix(']')?.strip_prefix(key))
        .collect()
}

fn answer(case: &Case) -> String {
    with_bound(&case.header, &case.query, |outcome| match outcome {
        Outcome::NotParsed(d) | Outcome::Wrong(d) => {
            wt_lang::render(d, "query", &case.query, false)
        }
        Outcome::Plan(plan, warnings) => {
            format!("{}{}", wt_lang::render(warnings, "query", &case.query, false), describe(plan))
        }
    })
}

/// What becomes of a text.
enum Outcome<'a> {
    NotParsed(&'a [Diagnostic]),
    Wrong(&'a [Diagnostic]),
    Plan(&'a LogicalPlan, &'a [Diagnostic]),
}

/// Parses and binds a text in the surroundings that a case's header describes.
fn with_bound<T>(header: &str, query: &str, f: impl FnOnce(Outcome<'_>) -> T) -> T {
    let names: Vec<&str> = match options(header, "if=").first() {
        Some(list) => list.split(',').filter(|n| !n.is_empty()).collect(),
        None => vec!["eth0"],
    };
    let interfaces: Vec<InterfaceInfo> = names
        .iter()
        .map(|name| InterfaceInfo {
            name: (*name).to_owned(),
            properties: vec![
                ("Name".to_owned(), (*name).to_owned()),
                ("Host".to_owned(), "h1".to_owned()),
                // Stores are called so here.
                (
                    wt_plan::INTERFACE_TYPE.to_owned(),
                    if name.starts_with("past") { wt_plan::STORE_TYPE } else { "LIVE" }.to_owned(),
                ),
            ],
        })
        .collect();
    let sets = vec![("edge".to_owned(), (0..interfaces.len()).collect())];
    let params: Vec<(String, String)> = options(header, "p=")
        .iter()
        .filter_map(|p| p.split_once(':'))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    let parsed = wt_lang::parse_gsql(query);
    let Some(file) = parsed.tree else { return f(Outcome::NotParsed(&parsed.diagnostics)) };
    let input = BindInput {
        catalog: catalog(),
        text: query,
        file: &file,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &sets,
        params: &params,
        watchlists: &[],
        finite: !header.contains("[live]"),
        library: &library,
    };
    match bind(&input) {
        Err(errors) => f(Outcome::Wrong(&errors)),
        Ok((plan, warnings)) => f(Outcome::Plan(&plan, &warnings)),
    }
}

fn describe(plan: &LogicalPlan) -> String {
    let mut out = String::new();
    for query in &plan.queries {
        let internal = if query.internal { " (internal)" } else { "" };
        let _ = writeln!(out, "query {}{internal}", query.name);
        describe_node(plan, &query.node, 1, &mut out);
        for c in &query.schema.columns {
            let window = if c.window { ", window" } else { "" };
            let subtype = c.subtype.as_deref().map(|s| format!(" ({s})")).unwrap_or_default();
            let _ = writeln!(out, "  column {} {}{subtype} {}{window}", c.name, c.ty, c.ordering);
        }
    }
    for p in &plan.params {
        let frozen = if p.frozen { " frozen" } else { "" };
        let _ = writeln!(out, "param {} {} {:?}{frozen}", p.name, p.ty, p.value);
    }
    for note in &plan.rewrites {
        let _ = writeln!(out, "note {note}");
    }
    out
}

/// The names of a node's output columns, and the chain of the packets below it.
fn names_of(plan: &LogicalPlan, node: &LogicalNode) -> (Vec<String>, Vec<wt_catalog::ProtocolId>) {
    match node {
        LogicalNode::Protocol(s) => (Vec::new(), s.chain.clone()),
        LogicalNode::Query(i) => {
            let columns = &plan.queries[*i].schema.columns;
            (columns.iter().map(|c| c.name.clone()).collect(), Vec::new())
        }
        LogicalNode::Select(s) => (s.items.iter().map(|i| i.name.clone()).collect(), Vec::new()),
        LogicalNode::Aggregate(a) => (a.items.iter().map(|i| i.name.clone()).collect(), Vec::new()),
        LogicalNode::Merge(m) => names_of(plan, &m.inputs[0]),
        LogicalNode::Distinct(d) => names_of(plan, d),
        LogicalNode::Sort(s) => names_of(plan, &s.input),
    }
}

fn describe_node(plan: &LogicalPlan, node: &LogicalNode, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match node {
        LogicalNode::Protocol(s) => {
            let chain: Vec<&str> = s.chain.iter().map(|&p| catalog().protocol_name(p)).collect();
            let on: Vec<&str> = s.interfaces.iter().map(|&i| plan.interfaces[i].as_str()).collect();
            let _ = writeln!(out, "{pad}packets {} on {}", chain.join("."), on.join(", "));
        }
        LogicalNode::Query(i) => {
            let _ = writeln!(out, "{pad}stream {}", plan.queries[*i].name);
        }
        LogicalNode::Select(s) => {
            let (columns, chain) = names_of(plan, &s.input);
            let text = texts(plan, &columns, &chain);
            let items: Vec<String> =
                s.items.iter().map(|i| format!("{} = {}", i.name, text(&i.expr))).collect();
            let _ = writeln!(out, "{pad}select {}", items.join("; "));
            for q in &s.quals {
                let _ = writeln!(out, "{pad}  where {}", text(q));
            }
            describe_node(plan, &s.input, depth + 1, out);
        }
        LogicalNode::Aggregate(a) => {
            let (columns, chain) = names_of(plan, &a.input);
            let text = texts(plan, &columns, &chain);
            let mut after: Vec<String> = a.keys.iter().map(|k| k.name.clone()).collect();
            after.extend(a.aggs.iter().map(|g| g.text.clone()));
            let result = texts(plan, &after, &[]);
            let _ = writeln!(out, "{pad}aggregate{}", if a.at_end { " at end" } else { "" });
            for q in &a.quals {
                let _ = writeln!(out, "{pad}  where {}", text(q));
            }
            for k in &a.keys {
                let _ = writeln!(out, "{pad}  key {} = {} {}", k.name, text(&k.expr), k.ordering);
            }
            if a.patterns.len() > 1 {
                let _ = writeln!(out, "{pad}  patterns {:?}", a.patterns);
            }
            if let Some(session) = &a.session {
                let (time, gap, ends) = (text(&session.time), &session.gap, &session.ended);
                let _ = writeln!(out, "{pad}  session {time} gap {gap:?} ended {ends:?}");
            }
            for g in &a.aggs {
                let args: Vec<String> = g.args.iter().map(&text).collect();
                let distinct = if g.distinct { "distinct " } else { "" };
                let _ = writeln!(
                    out,
                    "{pad}  agg {}({distinct}{}){:?} {}",
                    g.function.symbol,
                    args.join(", "),
                    g.consts,
                    g.ty
                );
            }
            for h in &a.having {
                let _ = writeln!(out, "{pad}  having {}", result(h));
            }
            for i in &a.items {
                let _ = writeln!(out, "{pad}  item {} = {}", i.name, result(&i.expr));
            }
            describe_node(plan, &a.input, depth + 1, out);
        }
        LogicalNode::Merge(m) => {
            let order = if m.decreasing { "decreasing" } else { "increasing" };
            let _ = writeln!(out, "{pad}merge column {} {order} slack {:?}", m.column, m.slack);
            for i in &m.inputs {
                describe_node(plan, i, depth + 1, out);
            }
        }
        LogicalNode::Distinct(d) => {
            let _ = writeln!(out, "{pad}distinct");
            describe_node(plan, d, depth + 1, out);
        }
        LogicalNode::Sort(s) => {
            let _ = writeln!(out, "{pad}sort {:?} limit {:?} keep {}", s.keys, s.limit, s.outputs);
            describe_node(plan, &s.input, depth + 1, out);
        }
    }
}

fn texts<'a>(
    plan: &'a LogicalPlan,
    columns: &'a [String],
    chain: &'a [wt_catalog::ProtocolId],
) -> impl Fn(&wt_plan::logical::Expr) -> String + 'a {
    let names = Names { catalog: catalog(), params: &plan.params, columns, chain };
    move |e| names.text(e)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bind");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|x| x == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn golden() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut failures = String::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut rewritten = String::new();
        for case in cases(&text) {
            let found = answer(&case).trim_end().to_owned();
            let found: String =
                found.lines().map(|l| format!("{}\n", l.trim_end())).collect::<String>();
            let found = found.trim_end();
            let _ = write!(rewritten, "=== {}\n{}\n---\n{found}\n\n", case.header, case.query);
            if found != case.answer && !update {
                let _ = writeln!(
                    failures,
                    "{}: {}\n{}\n--- expected\n{}\n--- found\n{found}\n",
                    path.display(),
                    case.header,
                    case.query,
                    case.answer
                );
            }
        }
        if update {
            std::fs::write(&path, rewritten).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}UPDATE=1 rewrites the answers");
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Words and single signs of a text.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = false;
    for c in text.chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        match tokens.last_mut() {
            Some(last) if word && is_word => last.push(c),
            _ => tokens.push(c.to_string()),
        }
        word = is_word;
    }
    tokens
}

/// Queries of the golden files with words swapped between them: whatever parses is bound without a panic, and every
/// message points into the text.
#[test]
fn mutated_queries_end_in_an_answer() {
    let all: Vec<(String, Vec<String>)> = files()
        .iter()
        .flat_map(|p| cases(&std::fs::read_to_string(p).unwrap()))
        .map(|c| (c.header, tokens(&c.query)))
        .collect();
    let words: Vec<&String> = all
        .iter()
        .flat_map(|(_, t)| t)
        .filter(|t| t.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut bound, mut wrong) = (0, 0);
    for _ in 0..6000 {
        let (header, tokens) = &all[random.below(all.len())];
        let mut tokens = tokens.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(tokens.len());
            let other = words[random.below(words.len())].clone();
            match random.below(4) {
                0 => drop(tokens.remove(at)),
                1 => tokens.insert(at, format!(" {other} ")),
                _ => tokens[at] = other,
            }
            if tokens.is_empty() {
                tokens.push("SELECT".to_owned());
            }
        }
        let text = tokens.concat();
        with_bound(header, &text, |outcome| {
            let diagnostics = match outcome {
                Outcome::NotParsed(_) => return,
                Outcome::Wrong(d) => {
                    wrong += 1;
                    assert!(!d.is_empty(), "refused without a word: {text}");
                    d
                }
                Outcome::Plan(plan, d) => {
                    bound += 1;
                    assert!(!describe(plan).is_empty());
                    d
                }
            };
            for d in diagnostics {
                assert!(d.span.start <= d.span.end, "{d:?} in {text}");
                assert!(d.span.end as usize <= text.len(), "{d:?} in {text}");
            }
        });
    }
    assert!(bound > 50 && wrong > 400, "{bound} bound, {wrong} wrong");
}

/// What would expand without bound is refused, and nothing overflows the stack.
#[test]
fn deep_and_large_queries() {
    let code = |query: &str| {
        with_bound("", query, |outcome| match outcome {
            Outcome::NotParsed(d) | Outcome::Wrong(d) => d[0].code,
            Outcome::Plan(..) => "plan",
        })
    };
    let nested = |n: usize, open: &str, inner: &str, close: &str| {
        format!("SELECT {}{inner}{} FROM tcp", open.repeat(n), close.repeat(n))
    };
    assert_eq!(code(&nested(100, "CASE ", "len", " WHEN 1 THEN 2 WHEN 3 THEN 4 END")), "too-large");
    assert_eq!(code(&nested(60, "IF(", "len", " BETWEEN 1 AND 2, 1, 0)")), "too-large");
    let arms: String = (0..600).map(|i| format!(" WHEN len = {i} THEN {i}")).collect();
    assert_eq!(code(&format!("SELECT CASE{arms} END FROM tcp")), "too-deep");
    let arms: String = (0..200).map(|i| format!(" WHEN len = {i} THEN {i}")).collect();
    assert_eq!(code(&format!("SELECT CASE{arms} END FROM tcp")), "plan");
    let items: String = (0..2000).map(|i| format!("len AS a{i},")).collect();
    assert_eq!(code(&format!("SELECT {items} len FROM tcp")), "too-large");
    let members: String = (0..100_000).map(|i| format!("{i},")).collect();
    assert_eq!(code(&format!("SELECT len FROM tcp WHERE len IN [{members} 5]")), "plan");
    let or: String = (0..30).map(|i| format!("(len = {i} AND ttl = {i}) OR ")).collect();
    assert_eq!(code(&format!("SELECT len FROM tcp WHERE {or} syn")), "plan");
    let cube: String = (0..30).map(|i| format!("len + {i} AS g{i},")).collect();
    assert_eq!(code(&format!("SELECT count(*) FROM tcp GROUP BY CUBE({cube} ttl)")), "too-large");
    let chain: String = (1..2000)
        .map(|i| format!("DEFINE {{ query_name q{i}; }} SELECT time FROM q{};", i + 1))
        .collect();
    let end = "DEFINE { query_name q2000; } SELECT time FROM tcp";
    assert_eq!(code(&format!("{chain}{end}")), "plan");
}
