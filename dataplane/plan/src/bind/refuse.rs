//! What is parsed, bound and checked, but not run: refused by name, with the nearest thing that works.

use wt_catalog::Function;
use wt_catalog::function::FunctionKind;
use wt_lang::ast::Join;
use wt_lang::{Diagnostic, Span};

use super::shared::Shared;

fn refused(span: Span, what: &str, instead: &str) -> Diagnostic {
    Diagnostic::error("refused", span, format!("{what} cannot be run by this engine"))
        .label("understood and checked, but refused")
        .hint(instead)
}

/// `FROM store.tcp`
pub(crate) fn store(span: Span) -> Diagnostic {
    Diagnostic::error("no-interface", span, "there is no store of that name")
        .hint("Name one: --store store=DIR, a directory that `wiretable record -w DIR` writes.")
}

/// `a THEN b` of what is not a store and an interface.
pub(crate) fn then(span: Span) -> Diagnostic {
    Diagnostic::error("wrong-then", span, "THEN stands between a store and the interface that is recorded into it")
        .hint(
            "Write FROM store.tcp THEN eth0.tcp, with one protocol, and name both: --store store=DIR -i eth0. Traces that follow each other are one source: -r monday.pcap -r tuesday.pcap.",
        )
}

/// One store, read in two ways.
pub(crate) fn followed_twice(span: Span) -> Diagnostic {
    Diagnostic::error(
        "followed-twice",
        span,
        "a store is one stream for all queries of a run: it ends, or goes on with one interface",
    )
    .hint("Write the same source in all of them, or run them one by one.")
}

/// A protocol of text or other records.
pub(crate) fn record(name: &str, span: Span) -> Diagnostic {
    refused(
        span,
        &format!("the record protocol `{name}`"),
        "Packet protocols can be read: packet, ip, tcp and those below; `wiretable schema` lists them.",
    )
}

/// A join.
pub(crate) fn join(sh: &Shared<'_>, join: &Join, span: Span) {
    let (name, instead) = match join {
        Join::Inner => (
            "INNER_JOIN",
            "Where both sides are packets of one query, group by the common fields and use conditional aggregates: \
             sum(IF(syn, 1, 0)).",
        ),
        Join::Outer => (
            "OUTER_JOIN",
            "MERGE both streams and group the result: groups without a partner remain.",
        ),
        Join::LeftOuter => (
            "LEFT_OUTER_JOIN",
            "MERGE both streams and group the result: groups without a partner remain.",
        ),
        Join::RightOuter => (
            "RIGHT_OUTER_JOIN",
            "MERGE both streams and group the result: groups without a partner remain.",
        ),
        Join::Filter { .. } => (
            "FILTER_JOIN",
            "Group by the join key and keep groups of interest with HAVING: HAVING sum(IF(syn, 1, 0)) > 0.",
        ),
        Join::Watchlist => (
            "WATCHLIST_JOIN",
            "Select what is listed with IN, which runs: WHERE srcIP IN bad_hosts; or look an identifier up in a file: \
             getlpmid(srcIP, 'table.tbl').",
        ),
    };
    sh.refuse(refused(span, name, instead));
}

/// SUPERGROUP, CLEANING_WHEN, CLEANING_BY.
pub(crate) fn sampling(sh: &Shared<'_>, span: Span) {
    sh.refuse(refused(
        span,
        "the sampling operator (SUPERGROUP, CLEANING_WHEN, CLEANING_BY)",
        "Sample by a hash of the flow: WHERE hash5() % 100 = 0, and scale sums by 100.",
    ));
}

/// CLOSING_WHEN.
pub(crate) fn closing(sh: &Shared<'_>, span: Span) {
    sh.refuse(refused(
        span,
        "CLOSING_WHEN",
        "Groups of plain aggregates close with their window; without CLOSING_WHEN and running aggregates the query runs.",
    ));
}

/// A running aggregate.
pub(crate) fn running(sh: &Shared<'_>, f: &Function, span: Span) {
    sh.refuse(refused(
        span,
        &format!("the running aggregate `{}`", f.name),
        "Aggregate per window with sum, avg, first, last or quantile, and combine windows downstream.",
    ));
}

/// A function whose code the engine lacks.
pub(crate) fn function(sh: &Shared<'_>, f: &Function, span: Span) {
    let stateful = f.kind == FunctionKind::Stateful;
    let kind = if stateful { "the stateful function" } else { "the function" };
    let instead = match f.name {
        _ if stateful => {
            "Sample by a hash of the flow: WHERE hash5() % 100 = 0, and scale sums by 100."
        }
        "set_local_trigger" | "check_local_trigger" => {
            "Select the packets of interest with a condition of their own; two queries of one file see the same packets."
        }
        "reassemble" => {
            "Payload of single packets is there: `data`, bytes_at(data, 0, 64), str_exists_substr[data, 'x']."
        }
        _ => "`wiretable functions` lists the functions that run.",
    };
    sh.refuse(refused(span, &format!("{kind} `{}`", f.name), instead));
}
