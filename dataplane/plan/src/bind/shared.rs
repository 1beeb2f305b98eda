//! What all clauses of all queries share while they are bound.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use wt_catalog::{Catalog, Ordering};
use wt_lang::{Diagnostic, Span};

use super::BindInput;
use super::diags::{Bound, Diags};
use super::headers::Headers;
use super::options::Defined;
use super::refuse;
use super::walk;
use crate::logical::{Expr, ExprKind, ProtocolSource};
use crate::physical::{ParamSpec, Schema};
use crate::watchlist::WatchlistSource;

/// Most nodes that copies of expressions may add to one file: CASE operands, BETWEEN, group variables in WHERE.
const COPIED_NODES_MAX: usize = 50_000;

/// What all queries of a run share.
pub(crate) struct Shared<'a> {
    /// What is bound.
    pub(crate) input: &'a BindInput<'a>,
    /// Its dispatch graph.
    pub(crate) headers: Headers,
    /// Messages.
    pub(crate) diags: Diags,
    /// Parameters of all queries.
    pub(crate) params: Vec<ParamSpec>,
    /// Parameters that occur in ordered expressions.
    frozen: RefCell<Vec<usize>>,
    /// Rewrites that were made, for `EXPLAIN --verbose`.
    rewrites: RefCell<Vec<String>>,
    /// Messages about what is bound but not run: reported when nothing else is wrong with the query.
    refused: RefCell<Vec<Diagnostic>>,
    copied: Cell<usize>,
    /// Sources `store THEN interface`: the store, the interface, and the place.
    followed: RefCell<Vec<(usize, usize, Span)>>,
    /// Stores that are read to their end alone.
    alone: RefCell<Vec<(usize, Span)>>,
}

impl<'a> Shared<'a> {
    /// Nothing bound yet.
    pub(crate) fn new(input: &'a BindInput<'a>) -> Self {
        Self {
            input,
            headers: Headers::new(input.catalog),
            diags: Diags::default(),
            params: Vec::new(),
            frozen: RefCell::default(),
            rewrites: RefCell::default(),
            refused: RefCell::default(),
            copied: Cell::new(0),
            followed: RefCell::default(),
            alone: RefCell::default(),
        }
    }

    /// The catalog.
    pub(crate) fn catalog(&self) -> &'a Catalog {
        self.input.catalog
    }

    /// A store is read together with what its recorder goes on to write.
    pub(crate) fn follow(&self, store: usize, interface: usize, span: Span) {
        self.followed.borrow_mut().push((store, interface, span));
    }

    /// A store is read by itself.
    pub(crate) fn read_alone(&self, store: usize, span: Span) {
        self.alone.borrow_mut().push((store, span));
    }

    /// The stores that are followed, each with one interface. A store is one stream for all queries of a run, so it either ends or goes on.
    pub(crate) fn followed(&self) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for &(store, interface, span) in self.followed.borrow().iter() {
            let other = pairs.iter().find(|(known, other)| *known == store && *other != interface);
            let alone = self.alone.borrow().iter().any(|(known, _)| *known == store);
            if other.is_some() || alone {
                self.diags.report(refuse::followed_twice(span));
            } else if !pairs.contains(&(store, interface)) {
                pairs.push((store, interface));
            }
        }
        pairs
    }

    /// A copy of an expression at another place, within the bound on copies.
    pub(crate) fn copy(&self, expr: &Expr, span: Span) -> Bound<Expr> {
        let copied = self.copied.get() + walk::size(expr);
        self.copied.set(copied);
        if copied > COPIED_NODES_MAX {
            return Err(self.diags.report(
                Diagnostic::error(
                    "too-large",
                    span,
                    format!("this file's expressions expand to more than {COPIED_NODES_MAX} nodes"),
                )
                .hint(
                    "CASE operands, BETWEEN and group variables in WHERE are copied where they are used: \
                     compute the repeated part in a subquery of FROM and refer to its column.",
                ),
            ));
        }
        Ok(Expr { span, ..expr.clone() })
    }

    /// Freezes the parameters of an expression that is ordered (gsql.md §6 (c)).
    pub(crate) fn freeze(&self, expr: &Expr, ordering: &Ordering) {
        if ordering.is_temporal() {
            crate::walk::each(expr, &mut |e| {
                if let ExprKind::Param(i) = e.kind {
                    self.frozen.borrow_mut().push(i);
                }
            });
        }
    }

    /// Notes that the query has something that is not run.
    pub(crate) fn refuse(&self, diagnostic: Diagnostic) {
        self.refused.borrow_mut().push(diagnostic);
    }

    /// Reports what was refused, unless the query has errors anyway.
    pub(crate) fn report_refused(&self, mark: usize) {
        let refused = std::mem::take(&mut *self.refused.borrow_mut());
        if self.diags.failed_since(mark) {
            return;
        }
        let mut advice: Vec<&[String]> = Vec::new();
        for diagnostic in &refused {
            // One message for everything that the same advice replaces.
            if !advice.contains(&&diagnostic.hints[..]) {
                advice.push(&diagnostic.hints);
                self.diags.report(diagnostic.clone());
            }
        }
    }

    /// Notes a rewrite.
    pub(crate) fn rewrite(&self, note: String) {
        self.rewrites.borrow_mut().push(note);
    }

    /// The parameters with what is known of them at the end, and the notes.
    pub(crate) fn finish(self) -> (Vec<ParamSpec>, Vec<String>, Diags) {
        let mut params = self.params;
        for i in self.frozen.into_inner() {
            if let Some(p) = params.get_mut(i) {
                p.frozen = true;
            }
        }
        (params, self.rewrites.into_inner(), self.diags)
    }
}

/// The query that is being bound.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'s> {
    /// Its name, for notes.
    pub(crate) name: &'s str,
    /// The text that its places are in: the query file's, or a library file's.
    pub(crate) text: &'s str,
    /// Its options and `#name` strings.
    pub(crate) defined: &'s Defined,
    /// Names of the parameters it declares.
    pub(crate) params: &'s [String],
    /// Watchlists of its file.
    pub(crate) watchlists: &'s [Watchlist],
}

/// A watchlist that IN may name.
#[derive(Clone, Debug)]
pub(crate) struct Watchlist {
    /// Its query name.
    pub(crate) name: String,
    /// Types of its key fields.
    pub(crate) keys: Vec<wt_catalog::Type>,
    /// What registers it; nothing when its own check finds it wrong.
    pub(crate) source: Option<Arc<WatchlistSource>>,
}

/// Where a table's rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// Packets of a protocol.
    Packets(super::packet_scope::PacketScope),
    /// The stream of query `query` of the plan.
    Stream {
        /// Index into the plan's queries.
        query: usize,
        /// Its columns.
        schema: Schema,
    },
    /// A watchlist (gsql.md §18).
    Watchlist {
        /// Its columns.
        schema: Schema,
        /// Which of them are keys.
        keys: Vec<bool>,
    },
}

/// A table of FROM.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// The table variable, or the last part of the source's name, or `_tN`.
    pub(crate) name: String,
    /// The name is a table variable.
    pub(crate) is_variable: bool,
    /// The source as written, parts joined by dots.
    pub(crate) path: Vec<String>,
    /// What it reads.
    pub(crate) rows: Rows,
    /// Place.
    pub(crate) span: Span,
}

impl Table {
    /// The protocol source, if it is one.
    pub(crate) fn packets(&self) -> Option<&ProtocolSource> {
        match &self.rows {
            Rows::Packets(scope) => Some(&scope.source),
            Rows::Stream { .. } | Rows::Watchlist { .. } => None,
        }
    }

    /// The columns of a stream or watchlist.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match &self.rows {
            Rows::Packets(_) => None,
            Rows::Stream { schema, .. } | Rows::Watchlist { schema, .. } => Some(schema),
        }
    }
}
