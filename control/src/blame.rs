//! What is wrong with the arguments that are registered at start: where in the query text one stands that cannot be (a bad
//! regular expression, a table or watchlist that cannot be read), and the malformed lines of watchlists.

use std::sync::Arc;

use wt_catalog::function::PassBy;
use wt_engine::SetupError;
use wt_engine::functions::HandleError;
use wt_engine::functions::watchlist::{SkippedLines, Watchlist};
use wt_lang::{Diagnostic, Span};
use wt_plan::Compiled;
use wt_plan::logical::{Expr, ExprKind, IN_WATCHLIST};
use wt_plan::walk;
use wt_plan::watchlist::WatchlistSource;

/// A failed start as a diagnostic at the argument that caused it; `None` when it failed for another reason.
pub fn of_start(compiled: &Compiled, error: &SetupError, hint: Option<&str>) -> Option<Diagnostic> {
    let SetupError::Handle { function, .. } = error else { return None };
    let (span, error) = first_bad(compiled, |symbol| symbol == *function)?;
    let diagnostic = diagnostic(span, &error);
    Some(match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    })
}

/// The first argument of a plan that could not be registered, for plans that are shown but not run.
pub fn of_plan(compiled: &Compiled) -> Option<Diagnostic> {
    first_bad(compiled, |_| true).map(|(span, error)| diagnostic(span, &error))
}

fn diagnostic(span: Span, error: &HandleError) -> Diagnostic {
    Diagnostic::error("bad-argument", span, error.to_string())
}

/// The lines that the watchlists of a plan do not have because they are malformed, each watchlist once.
pub fn skipped_lines(compiled: &Compiled) -> Vec<SkippedLines> {
    let lists = watchlists(compiled);
    // One that cannot be registered at all is named at start.
    let skipped = lists
        .iter()
        .filter_map(|source| Watchlist::of(source).ok().and_then(|list| list.skipped().cloned()));
    skipped.collect()
}

/// The watchlists that the queries of a plan read, each once.
pub fn watchlists(compiled: &Compiled) -> Vec<Arc<WatchlistSource>> {
    let mut lists: Vec<Arc<WatchlistSource>> = Vec::new();
    each_expr(compiled, &mut |e| {
        if let ExprKind::InWatchlist(_, list) = &e.kind
            && !lists.contains(&list.source)
        {
            lists.push(Arc::clone(&list.source));
        }
    });
    lists
}

/// Tries the constant handle arguments of the calls whose symbol is `wanted`.
fn first_bad(compiled: &Compiled, wanted: impl Fn(&str) -> bool) -> Option<(Span, HandleError)> {
    let mut found = None;
    let mut look = |e: &Expr| {
        if let ExprKind::InWatchlist(_, list) = &e.kind
            && found.is_none()
            && wanted(IN_WATCHLIST)
            && let Err(error) = Watchlist::of(&list.source)
        {
            found = Some((e.span, error));
        }
        let ExprKind::Call { function, args } = &e.kind else { return };
        if found.is_some() || !wanted(function.symbol) {
            return;
        }
        for (param, arg) in function.params.iter().zip(args) {
            let ExprKind::Const(value) = &arg.kind else { continue };
            if param.pass == PassBy::Handle
                && let Err(error) = wt_engine::functions::prepare(function.symbol, value)
            {
                found = Some((arg.span, error));
                return;
            }
        }
    };
    each_expr(compiled, &mut look);
    found
}

fn each_expr(compiled: &Compiled, look: &mut impl FnMut(&Expr)) {
    for query in &compiled.logical.queries {
        walk::each_node(&query.node, &mut |node| {
            for expr in walk::exprs_of(node) {
                walk::each(expr, look);
            }
        });
    }
}
