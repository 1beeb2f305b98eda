//! Where in the query text an argument stands that could not be registered at start: a bad regular expression, a table that
//! cannot be read.

use wt_engine::SetupError;
use wt_lang::Diagnostic;
use wt_plan::Compiled;
use wt_plan::logical::ExprKind;
use wt_plan::walk;

/// The error as a diagnostic at the argument that caused it; `None` when it is not of that kind or stands nowhere in the text.
pub fn at_argument(
    compiled: &Compiled,
    error: &SetupError,
    hint: Option<&str>,
) -> Option<Diagnostic> {
    let SetupError::Handle { function, source } = error else { return None };
    let mut found = None;
    for query in &compiled.logical.queries {
        walk::each_node(&query.node, &mut |node| {
            for expr in walk::exprs_of(node) {
                walk::each(expr, &mut |e| {
                    let ExprKind::Call { function: called, args } = &e.kind else { return };
                    if called.symbol != *function {
                        return;
                    }
                    for arg in args {
                        let ExprKind::Const(value) = &arg.kind else { continue };
                        if wt_engine::functions::prepare(called.symbol, value).is_err() {
                            found.get_or_insert(arg.span);
                        }
                    }
                });
            }
        });
    }
    let diagnostic = Diagnostic::error("bad-argument", found?, source.to_string());
    Some(match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    })
}
