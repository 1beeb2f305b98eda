//! The reference documents say what is built: PROTOCOLS.md and FUNCTIONS.md are what the catalog says (`UPDATE=1` writes them),
//! every example of a function compiles, and so does every `sql` block of LANGUAGE.md.
//!
//! Comments at the head of a block of LANGUAGE.md say how it is tried: `-- traces: X` runs it over captures and wants rows,
//! `-- params: …` and `-- sets: …` are as in the `.slt` format, `-- live` plans for endless streams, and `-- refused: CODE` wants
//! that error.

use std::fmt::Write as _;
use std::path::PathBuf;

use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::{Catalog, Field, Function, Ordering, Protocol, ProtocolId};
use wt_tests::program::root;
use wt_tests::run::{BACKENDS, CsvSink, Setup};

const GENERATED: &str =
    "Written from the catalog by `tests/suites/reference.rs`; `UPDATE=1` writes it again.";

fn document(name: &str) -> PathBuf {
    root().join("dataplane").join(name)
}

/// Compares a document with what it should be, or writes it.
fn check(name: &str, wanted: &str) {
    let path = document(name);
    if wt_tests::update_mode() {
        std::fs::write(&path, wanted).expect("the document is written");
        return;
    }
    let written = std::fs::read_to_string(&path).expect("the document is there");
    let differs = written.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    assert!(
        written == wanted,
        "{name} is not what the catalog says, first at line {}: `UPDATE=1` writes it",
        differs.map_or(written.lines().count().min(wanted.lines().count()), |i| i) + 1
    );
}

/// Text of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

// ---- protocols ---------------------------------------------------------------------------------

#[test]
fn protocols_are_those_of_the_catalog() {
    let catalog = Catalog::builtin();
    let mut out = format!(
        "# Protocols\n\n{GENERATED} `wiretable schema NAME` also lists what the headers above bring \
         into scope. How a protocol is declared, and how your own joins these: `dataplane/README.md`.\n\n\
         `FROM p` reads each packet that carries `p`. In scope are the fields of `p`, of what it inherits, and of every header that \
         stands above it. A field has one name, and in some cases today's spelling of it as a second.\n\n\
         | protocol | inherits | is |\n|---|---|---|\n"
    );
    for protocol in &catalog.protocols {
        let _ = writeln!(
            out,
            "| [`{0}`](#{0}) | {1} | {2} |",
            protocol.name,
            names(&catalog, &protocol.parents),
            cell(&protocol.doc)
        );
    }
    for protocol in &catalog.protocols {
        describe(&mut out, &catalog, protocol);
    }
    check("PROTOCOLS.md", &out);
}

fn names(catalog: &Catalog, ids: &[ProtocolId]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for id in ids {
        let name = code(catalog.protocol_name(*id));
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

fn describe(out: &mut String, catalog: &Catalog, protocol: &Protocol) {
    let _ = writeln!(out, "\n## {}\n\n{}\n", protocol.name, protocol.doc);
    let follows: Vec<ProtocolId> = catalog
        .protocols
        .iter()
        .filter(|p| p.children.iter().any(|c| c.child == protocol.id))
        .map(|p| p.id)
        .collect();
    let carries: Vec<ProtocolId> = protocol.children.iter().map(|c| c.child).collect();
    let links: Vec<String> = protocol.link_types.iter().map(u16::to_string).collect();
    let mut facts = Vec::new();
    if protocol.is_abstract && protocol.name != "packet" {
        facts.push(format!(
            "Stands in packets as {}.",
            names(catalog, &catalog.concretes(protocol.id))
        ));
    }
    if !links.is_empty() {
        facts.push(format!("First header of link types {}.", links.join(", ")));
    }
    if !follows.is_empty() {
        facts.push(format!("Follows {}.", names(catalog, &follows)));
    }
    if !carries.is_empty() {
        facts.push(format!("Carries {}.", names(catalog, &carries)));
    }
    if protocol.repeat > 1 {
        facts.push(format!("At most {} in one packet.", protocol.repeat));
    }
    if !facts.is_empty() {
        let _ = writeln!(out, "{}\n", facts.join(" "));
    }
    if protocol.fields.is_empty() {
        return;
    }
    out.push_str("| field | also | type | is |\n|---|---|---|---|\n");
    for field in &protocol.fields {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            code(&field.name),
            code(field.alias.as_deref().unwrap_or("")),
            field.ty,
            cell(&about(catalog, field))
        );
    }
}

fn about(catalog: &Catalog, field: &Field) -> String {
    let mut parts = Vec::new();
    if !field.doc.is_empty() {
        parts.push(field.doc.clone());
    }
    if field.ordering != Ordering::Varying {
        parts.push(format!("Ordering: {}.", field.ordering));
    }
    if let Some(enumeration) = field.enumeration.and_then(|i| catalog.enumerations.get(i)) {
        parts.push(format!("Names of {}.", enumeration.name));
    }
    parts.join(" ")
}

// ---- functions ---------------------------------------------------------------------------------

type Belongs = fn(&Function) -> bool;

const CLASSES: [(&str, &str, Belongs); 4] = [
    (
        "Aggregates",
        "One value per group. What is sub-aggregated in the LFTA leaves the interface as partial groups; for the others, \
         the tuples do.",
        |f| f.available && f.is_aggregate(),
    ),
    (
        "Predicates",
        "Truth values. They are called with brackets or parentheses; of those with both, the form in parentheses gives 1 or 0.",
        |f| f.available && f.kind == FunctionKind::Predicate,
    ),
    ("Functions", "One value per tuple.", |f| f.available && f.kind == FunctionKind::Scalar),
    (
        "Refused by name",
        "Understood and type-checked; a query that uses one is refused, with what to do instead.",
        |f| !f.available,
    ),
];

#[test]
fn functions_are_those_of_the_catalog() {
    let catalog = Catalog::builtin();
    let mut out = format!(
        "# Functions\n\n{GENERATED} `wiretable functions NAME` shows one.\n\n\
         In signatures, `number` is any numeric type, `integer` any of whole numbers, `string` text or BYTES, `address` IP, IPV6 or INET, \
         `any` anything, and `same` the type of the first argument of any type. `promoted` is the common type of the operands and \
         `widened` its form of 64 bits. CONST arguments are literals, parameters and interface properties; HANDLE arguments are those, \
         and are prepared once, at the start. A *partial* function may fail, which leaves out the tuple; failures are counted.\n"
    );
    let mut shown = 0;
    for (title, text, belongs) in CLASSES {
        let mut members: Vec<&Function> = catalog.functions.iter().filter(|f| belongs(f)).collect();
        members.sort_by_key(|f| f.name.to_ascii_lowercase());
        shown += members.len();
        let _ = writeln!(
            out,
            "\n## {title}\n\n{text}\n\n| signature | is | runs | example |\n|---|---|---|---|"
        );
        for function in members {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                code(&function.signature()),
                cell(function.doc),
                class(function),
                code(function.example)
            );
        }
    }
    assert_eq!(shown, catalog.functions.len(), "each function is in one class");
    check("FUNCTIONS.md", &out);
}

fn class(function: &Function) -> String {
    let mut parts = vec![match function.kind {
        FunctionKind::RunningAggregate => "across windows".to_owned(),
        FunctionKind::Aggregate(Split::HostOnly) => "HFTA".to_owned(),
        FunctionKind::Aggregate(Split::OfWindow) => "HFTA, of the window".to_owned(),
        FunctionKind::Aggregate(_) => "LFTA and HFTA".to_owned(),
        FunctionKind::Stateful => "with state".to_owned(),
        _ if function.portable => "every LFTA".to_owned(),
        _ if function.lfta_legal => "host LFTA".to_owned(),
        _ => "HFTA".to_owned(),
    }];
    parts.push(format!("cost {}", format!("{:?}", function.cost).to_lowercase()));
    if function.partial {
        parts.push("partial".to_owned());
    }
    if function.state_bytes > 0 {
        parts.push(format!("at most {} B per group", function.state_bytes));
    }
    parts.join(", ")
}

/// Where examples find their fields.
const SOURCES: [&str; 6] = ["tcp", "ipv4", "ipv6", "arp", "icmp", "packet"];

fn example_queries(function: &Function) -> Vec<String> {
    let example = function.example;
    SOURCES
        .iter()
        .map(|source| {
            if function.kind == FunctionKind::Predicate {
                format!("SELECT count(*) AS n FROM {source} WHERE {example}")
            } else {
                format!("SELECT {example} AS x FROM {source}")
            }
        })
        .collect()
}

#[test]
fn examples_of_functions_compile() {
    let catalog = Catalog::builtin();
    let setup = Setup::default();
    let mut wrong = String::new();
    for function in catalog.functions.iter().filter(|f| f.available) {
        if function.example.is_empty() {
            let _ = writeln!(wrong, "{}: no example", function.signature());
            continue;
        }
        let outcomes: Vec<_> = example_queries(function)
            .iter()
            .map(|query| setup.compile(&catalog, query, true))
            .collect();
        if outcomes.iter().all(Result::is_err) {
            let first = outcomes.into_iter().next().and_then(Result::err).unwrap_or_default();
            let _ = writeln!(wrong, "{}\n{first}", function.signature());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Examples of what needs windows that outlive a group, or the clauses of sampling.
fn refused_queries(function: &Function) -> Vec<String> {
    let example = function.example;
    let mut queries = example_queries(function);
    queries.push(format!(
        "SELECT tb, {example} AS x FROM tcp GROUP BY time/60 AS tb CLOSING_WHEN count(*) = 0"
    ));
    queries.push(format!(
        "SELECT tb, srcIP FROM tcp GROUP BY time/20 AS tb, srcIP HAVING {example} = TRUE \
         CLEANING_WHEN ssdo_clean() = TRUE CLEANING_BY TRUE"
    ));
    queries
}

#[test]
fn refused_functions_are_refused_by_name() {
    let catalog = Catalog::builtin();
    let setup = Setup::default();
    let mut wrong = String::new();
    for function in catalog.functions.iter().filter(|f| !f.available) {
        let name = format!("`{}`", function.name);
        let by_name = |query: &String| match setup.compile(&catalog, query, true) {
            Ok(_) => panic!("{query} is accepted"),
            Err(message) => {
                let mut errors = message.lines().filter(|l| l.starts_with("error["));
                message.contains(&name) && errors.all(|l| l.starts_with("error[refused]"))
            }
        };
        if !refused_queries(function).iter().any(by_name) {
            let _ = writeln!(wrong, "{}: {}", function.signature(), function.example);
        }
    }
    assert!(wrong.is_empty(), "refused for other reasons than their name:\n{wrong}");
}

#[test]
fn every_function_is_in_a_suite() {
    let mut queries = String::new();
    for entry in std::fs::read_dir(root().join("tests/slt")).expect("a folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "slt") {
            queries.push_str(&std::fs::read_to_string(entry.path()).expect("text"));
        }
    }
    let called = |name: &str| {
        queries.match_indices(name).any(|(at, _)| {
            let before = queries[..at].chars().next_back();
            let inside = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            !inside && queries[at + name.len()..].starts_with(['(', '['])
        })
    };
    let missing: Vec<&str> = Catalog::builtin()
        .functions
        .iter()
        .filter(|f| f.available && !called(f.name))
        .map(|f| f.name)
        .collect();
    assert!(missing.is_empty(), "no query of tests/slt calls {missing:?}");
}

// ---- the language ------------------------------------------------------------------------------

/// A `sql` block and how it is tried.
#[derive(Debug, Default)]
struct Block {
    line: usize,
    text: String,
    directives: Vec<(String, Vec<String>)>,
    live: bool,
    refused: Option<String>,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in document.lines().enumerate() {
        match (&mut open, line) {
            (None, "```sql") => open = Some(Block { line: at + 2, ..Block::default() }),
            (None, _) => {}
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
                let Some(comment) = line.strip_prefix("-- ") else { continue };
                let words =
                    |rest: &str| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                match comment.split_once(": ") {
                    Some((word @ ("traces" | "params" | "sets" | "protocols"), rest)) => {
                        block.directives.push((word.to_owned(), words(rest)));
                    }
                    Some(("refused", code)) => block.refused = Some(code.trim().to_owned()),
                    _ => block.live |= comment == "live",
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn try_block(block: &Block) -> Result<(), String> {
    let mut setup = Setup::default();
    for (word, arguments) in &block.directives {
        setup.apply(word, arguments);
    }
    let catalog = setup.catalog()?;
    let compiled = match (setup.compile(&catalog, &block.text, !block.live), &block.refused) {
        (Ok(compiled), None) => compiled,
        (Ok(_), Some(code)) => return Err(format!("accepted, not refused as `{code}`")),
        (Err(message), Some(code)) if message.contains(&format!("error[{code}]")) => return Ok(()),
        (Err(message), _) => return Err(message),
    };
    if setup.traces.is_empty() {
        return Ok(());
    }
    for backend in BACKENDS {
        let mut sink = CsvSink::new(&compiled);
        setup.run(&compiled, *backend, &mut sink)?;
        if let Some(empty) = sink.outputs.iter().position(|o| o.lines().count() < 2) {
            return Err(format!("output {empty} has no row on the {}", backend.name()));
        }
    }
    Ok(())
}

#[test]
fn the_examples_of_the_language_are_true() {
    let text = std::fs::read_to_string(document("LANGUAGE.md")).expect("the document is there");
    let blocks = blocks(&text);
    let mut wrong = String::new();
    for block in &blocks {
        if let Err(message) = try_block(block) {
            let _ = writeln!(wrong, "LANGUAGE.md:{}\n{}{message}\n", block.line, block.text);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let run = blocks.iter().filter(|b| b.directives.iter().any(|(w, _)| w == "traces")).count();
    assert!(run >= 15, "only {run} of {} examples are run", blocks.len());
}

#[test]
fn blocks_are_found_with_their_directives() {
    let text = "x\n```sql\n-- traces: a=b.pcap c.pcap\n-- live\nSELECT 1\n```\n```console\n$ no\n```\n```sql\n-- refused: nope\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].directives,
        [("traces".to_owned(), vec!["a=b.pcap".into(), "c.pcap".into()])]
    );
    assert!(found[0].live && found[0].refused.is_none());
    assert_eq!((found[0].line, found[1].refused.as_deref()), (3, Some("nope")));
}
