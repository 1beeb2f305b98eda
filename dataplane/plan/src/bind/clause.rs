//! The context of a clause: which tables, group variables and aggregates its expressions may name.

use std::cell::{Cell, RefCell};

use wt_catalog::ordering::Basic;
use wt_catalog::{Ordering, Type};
use wt_lang::ast::Expr as Ast;
use wt_lang::{Diagnostic, Span};

use super::diags::{Bound, Reported};
use super::shared::{Shared, Statement, Table};
use crate::logical::{AggCall, Expr, ExprKind};

/// Columns of the second table of a join start here, so that one number names table and column.
pub(crate) const TABLE_STRIDE: usize = 1 << 20;

/// Deepest nesting of a bound expression; the arms of CASE nest one in the other.
const DEPTH_MAX: u32 = 512;

/// A clause, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Select,
    Where,
    GroupBy,
    Operand,
    Having,
    OrderBy,
    Limit,
    Slack,
    CleaningWhen,
    CleaningBy,
    ClosingWhen,
    SessionGap,
    FilterJoin,
}

impl Part {
    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Where => "WHERE",
            Self::GroupBy => "GROUP BY",
            Self::Operand => "an aggregate's operand",
            Self::Having => "HAVING",
            Self::OrderBy => "ORDER BY",
            Self::Limit => "LIMIT",
            Self::Slack => "SLACK",
            Self::CleaningWhen => "CLEANING_WHEN",
            Self::CleaningBy => "CLEANING_BY",
            Self::ClosingWhen => "CLOSING_WHEN",
            Self::SessionGap => "SESSION",
            Self::FilterJoin => "FILTER_JOIN",
        }
    }
}

/// A group variable.
#[derive(Clone, Debug)]
pub(crate) struct Key<'q> {
    /// Its name.
    pub(crate) name: String,
    /// Where the name is.
    pub(crate) name_span: Span,
    /// Its definition as written.
    pub(crate) ast: &'q Ast,
    /// Its definition over the input tuple.
    pub(crate) expr: Expr,
    /// Ordering property; varying inside CUBE and the like.
    pub(crate) ordering: Ordering,
    /// Inside CUBE, ROLLUP or GROUPING_SETS: off in some patterns.
    pub(crate) in_pattern: bool,
    /// Enumeration or declared subtype of its values.
    pub(crate) subtype: Option<String>,
}

impl Key<'_> {
    /// Its property on the output stream: windows come in order and may hold several groups, whatever disorder the input
    /// had.
    pub(crate) fn output_ordering(&self) -> Ordering {
        match self.ordering.basic() {
            Basic::Inc => Ordering::Increasing,
            Basic::Dec => Ordering::Decreasing,
            Basic::Const => Ordering::Constant,
            Basic::Var => Ordering::Varying,
        }
    }
}

/// A grouped query: what SELECT and HAVING may name.
pub(crate) struct Grouped<'q> {
    /// Group variables.
    pub(crate) keys: Vec<Key<'q>>,
    /// Aggregates found so far, each once.
    pub(crate) aggs: RefCell<Vec<AggCall>>,
    /// The ordered attribute of `SESSION(gap)`.
    pub(crate) session: Option<Expr>,
    /// An empty input still gives a row.
    pub(crate) emits_empty: bool,
    /// The query uses the sampling operator: superaggregates are known.
    pub(crate) sampling: bool,
}

/// How names of group variables are read.
#[derive(Clone, Copy)]
pub(crate) enum Group<'s> {
    /// There are none.
    None,
    /// They stand for their definitions: WHERE and operands of aggregates.
    Expand(&'s [Key<'s>]),
    /// Expressions are over finished groups: SELECT, HAVING.
    Result(&'s Grouped<'s>),
}

/// An output column that ORDER BY may name.
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) expr: Expr,
}

/// Binds the expressions of one clause.
pub(crate) struct Clause<'s> {
    pub(crate) sh: &'s Shared<'s>,
    pub(crate) statement: Statement<'s>,
    pub(crate) tables: &'s [Table],
    pub(crate) group: Group<'s>,
    pub(crate) part: Part,
    /// Output columns, for ORDER BY.
    pub(crate) aliases: &'s [Alias],
    /// Tables named so far, one bit each.
    pub(crate) used: Cell<u64>,
    depth: Cell<u32>,
}

impl<'s> Clause<'s> {
    /// A clause over tables.
    pub(crate) fn new(
        sh: &'s Shared<'s>,
        statement: Statement<'s>,
        tables: &'s [Table],
        part: Part,
    ) -> Self {
        Self {
            sh,
            statement,
            tables,
            group: Group::None,
            part,
            aliases: &[],
            used: Cell::new(0),
            depth: Cell::new(0),
        }
    }

    /// The same with group variables.
    #[must_use]
    pub(crate) fn grouped(self, group: Group<'s>) -> Self {
        Self { group, ..self }
    }

    /// A clause like this one for another part of the query.
    pub(crate) fn like(&self, part: Part, group: Group<'s>) -> Clause<'s> {
        Clause {
            group,
            depth: Cell::new(self.depth.get()),
            ..Clause::new(self.sh, self.statement, self.tables, part)
        }
    }

    /// The same over other tables, naming none so far.
    pub(crate) fn over<'t>(&self, tables: &'t [Table]) -> Clause<'t>
    where
        's: 't,
    {
        Clause { tables, ..self.like(self.part, Group::None) }
    }

    /// The same where output columns have names.
    #[must_use]
    pub(crate) fn naming(self, aliases: &'s [Alias]) -> Self {
        Self { aliases, ..self }
    }

    /// Records an error.
    pub(crate) fn error(
        &self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Reported {
        self.sh.diags.report(Diagnostic::error(code, span, message))
    }

    /// Records a message.
    pub(crate) fn report(&self, diagnostic: Diagnostic) -> Reported {
        self.sh.diags.report(diagnostic)
    }

    /// Goes `levels` deeper, until [`Self::leave`]; too deep is an error. Not a closure: every level of an expression would pay
    /// for its frames.
    pub(crate) fn enter(&self, levels: u32, span: Span) -> Bound<()> {
        let before = self.depth.get();
        if before + levels > DEPTH_MAX {
            return Err(self.report(
                Diagnostic::error(
                    "too-deep",
                    span,
                    format!("the expression nests deeper than {DEPTH_MAX} levels"),
                )
                .hint("Compute an inner part in a subquery of FROM, or use fewer arms of CASE."),
            ));
        }
        self.depth.set(before + levels);
        Ok(())
    }

    /// Comes back from [`Self::enter`].
    pub(crate) fn leave(&self, levels: u32) {
        self.depth.set(self.depth.get().saturating_sub(levels));
    }

    /// Runs `f` and tells which tables it named.
    pub(crate) fn tables_of<T>(&self, f: impl FnOnce() -> T) -> (T, u64) {
        let before = self.used.replace(0);
        let result = f();
        let used = self.used.replace(before);
        self.used.set(before | used);
        (result, used)
    }
}

/// An expression node.
pub(crate) fn node(kind: ExprKind, ty: Type, span: Span) -> Expr {
    Expr { kind, ty, span }
}
