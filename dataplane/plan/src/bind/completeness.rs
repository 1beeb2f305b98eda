//! `window_completeness()` (protocols.md, Queries added): the share of a window's packets that were seen. Where it has a meaning.

use wt_catalog::Function;
use wt_lang::{Diagnostic, Span};

use super::clause::{Clause, Grouped};
use super::diags::Bound;
use crate::logical::{Expr, ExprKind, HeaderRef};
use crate::walk;

/// Checks that the windows of a query are those of packets: each has one by its time stamp, whatever else is in it.
pub(crate) fn check(
    clause: &Clause<'_>,
    grouped: &Grouped<'_>,
    function: &Function,
    span: Span,
) -> Bound<()> {
    let name = function.name;
    let error = |at: Span, message: String| Diagnostic::error("bad-completeness", at, message);
    if clause.tables.iter().any(|t| t.packets().is_none()) {
        return Err(clause.report(
            error(span, format!("`{name}` is of packets, and this query reads a stream"))
                .hint("Compute it in the query that reads the packets, and carry the column along: min(complete)."),
        ));
    }
    if grouped.session.is_some() {
        return Err(clause.report(
            error(span, format!("`{name}` is of a window, and a session is none"))
                .hint("Group by a time bucket: GROUP BY timestamp/1m AS tb."),
        ));
    }
    if clause.statement.defined.options.lfta_aggregation {
        return Err(clause.report(
            error(span, format!("`{name}` is known when the groups are complete"))
                .hint("Without `lfta_aggregation` they are completed."),
        ));
    }
    let windows = grouped.keys.iter().filter(|key| key.ordering.is_temporal());
    if let Some(other) = windows.into_iter().find(|key| !is_of_packet(&key.expr)) {
        return Err(clause.report(
            error(
                span,
                format!(
                    "`{name}` needs a window of the packets' time, and `{}` is none",
                    other.name
                ),
            )
            .related(other.name_span, "the window")
            .hint("Group by `time` or `timestamp`: GROUP BY timestamp/1m AS tb."),
        ));
    }
    Ok(())
}

/// Whether every packet has this value: it follows from what is recorded with each.
fn is_of_packet(e: &Expr) -> bool {
    let mut all = true;
    walk::each(e, &mut |e| {
        all &= match &e.kind {
            ExprKind::Field(access) => access.header == HeaderRef::Packet,
            ExprKind::Depth(_) | ExprKind::Present(_) | ExprKind::PcapFilter(_) => false,
            _ => true,
        };
    });
    all
}
