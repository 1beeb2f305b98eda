//! Predicates in conjunctive form, conjuncts in order of cost (gsql.md §5).

use wt_catalog::Type;
use wt_catalog::function::Cost;
use wt_lang::ast::CmpOp;

use super::clause::node;
use super::fold::{constant, fold};
use super::shared::Shared;
use super::walk;
use crate::logical::{Expr, ExprKind};

/// A disjunction is distributed over conjunctions only while it gives at most this many clauses.
const CLAUSES_MAX: usize = 8;

/// … of at most this many nodes together.
const NODES_MAX: usize = 256;

/// The conjuncts of a condition in evaluation order. Notes what was changed.
pub(crate) fn conjuncts(sh: &Shared<'_>, what: &str, condition: Expr) -> Vec<Expr> {
    let mut notes = Notes::default();
    let mut parts = Vec::new();
    flatten(push_not(condition, false, &mut notes), &mut parts);
    let mut clauses: Vec<Expr> = Vec::new();
    for part in parts {
        for clause in distribute(part, &mut notes) {
            if clauses.iter().any(|c| crate::walk::same(c, &clause)) {
                notes.repeated += 1;
            } else {
                clauses.push(clause);
            }
        }
    }
    let before = clauses.len();
    // A constant condition that holds filters nothing.
    clauses.retain(|c| !matches!(constant(c), Some(wt_catalog::Value::Bool(true))));
    notes.constant = before - clauses.len();
    let costs: Vec<Cost> = clauses.iter().map(cost).collect();
    let ordered = costs.is_sorted();
    clauses.sort_by_key(cost);
    for note in notes.texts(!ordered) {
        sh.rewrite(format!("{what}: {note}"));
    }
    clauses
}

#[derive(Default)]
struct Notes {
    negations: usize,
    distributed: usize,
    repeated: usize,
    constant: usize,
}

impl Notes {
    fn texts(&self, reordered: bool) -> Vec<String> {
        let mut texts = Vec::new();
        let mut note = |n: usize, text: String| {
            if n > 0 {
                texts.push(text);
            }
        };
        note(self.negations, "NOT pushed down to comparisons".to_owned());
        note(self.distributed, "OR distributed over AND to test parts earlier".to_owned());
        note(self.repeated, "a repeated condition is tested once".to_owned());
        note(self.constant, "a condition that always holds is dropped".to_owned());
        note(usize::from(reordered), "conditions ordered by cost, cheapest first".to_owned());
        texts
    }
}

/// Pushes NOT down. Comparisons flip, except `<` and the like of floats: with NaN both they and their opposites are FALSE.
fn push_not(e: Expr, negate: bool, notes: &mut Notes) -> Expr {
    let Expr { kind, ty, span } = e;
    let rebuild = |kind| node(kind, ty, span);
    match kind {
        ExprKind::Not(a) => push_not(*a, !negate, notes),
        ExprKind::And(a, b) => {
            let (a, b) = (push_not(*a, negate, notes), push_not(*b, negate, notes));
            let (a, b) = (Box::new(a), Box::new(b));
            notes.negations += usize::from(negate);
            rebuild(if negate { ExprKind::Or(a, b) } else { ExprKind::And(a, b) })
        }
        ExprKind::Or(a, b) => {
            let (a, b) = (push_not(*a, negate, notes), push_not(*b, negate, notes));
            let (a, b) = (Box::new(a), Box::new(b));
            notes.negations += usize::from(negate);
            rebuild(if negate { ExprKind::And(a, b) } else { ExprKind::Or(a, b) })
        }
        ExprKind::Compare(op, a, b) if negate => {
            let float = a.ty == Type::Float || b.ty == Type::Float;
            if float && !matches!(op, CmpOp::Eq | CmpOp::Ne) {
                return rebuild(ExprKind::Not(Box::new(rebuild(ExprKind::Compare(op, a, b)))));
            }
            notes.negations += 1;
            rebuild(ExprKind::Compare(opposite(op), a, b))
        }
        kind if negate => fold(rebuild(ExprKind::Not(Box::new(rebuild(kind))))),
        kind => rebuild(kind),
    }
}

fn opposite(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Eq => CmpOp::Ne,
        CmpOp::Ne => CmpOp::Eq,
        CmpOp::Lt => CmpOp::Ge,
        CmpOp::Ge => CmpOp::Lt,
        CmpOp::Le => CmpOp::Gt,
        CmpOp::Gt => CmpOp::Le,
    }
}

fn flatten(e: Expr, into: &mut Vec<Expr>) {
    match e.kind {
        ExprKind::And(a, b) => {
            flatten(*a, into);
            flatten(*b, into);
        }
        kind => into.push(Expr { kind, ..e }),
    }
}

/// The clauses of one conjunct: a disjunction with conjunctions below, while that stays small.
fn distribute(e: Expr, notes: &mut Notes) -> Vec<Expr> {
    match clauses(&e) {
        Some(n) if n > 1 && n <= CLAUSES_MAX && walk::size(&e) * n <= NODES_MAX => {
            notes.distributed += 1;
            expand(e)
        }
        _ => vec![e],
    }
}

/// How many clauses the conjunctive form has; `None`: too many to count.
fn clauses(e: &Expr) -> Option<usize> {
    match &e.kind {
        ExprKind::And(a, b) => clauses(a)?.checked_add(clauses(b)?),
        ExprKind::Or(a, b) => clauses(a)?.checked_mul(clauses(b)?),
        _ => Some(1),
    }
}

fn expand(e: Expr) -> Vec<Expr> {
    match e.kind {
        ExprKind::And(a, b) => {
            let mut all = expand(*a);
            all.extend(expand(*b));
            all
        }
        ExprKind::Or(a, b) => {
            let (left, right) = (expand(*a), expand(*b));
            left.iter()
                .flat_map(|l| {
                    right.iter().map(|r| {
                        let kind = ExprKind::Or(Box::new(l.clone()), Box::new(r.clone()));
                        node(kind, Type::Bool, e.span)
                    })
                })
                .collect()
        }
        kind => vec![Expr { kind, ..e }],
    }
}

/// The declared cost of a conjunct: that of its dearest function.
pub(crate) fn cost(e: &Expr) -> Cost {
    let mut most = Cost::Free;
    crate::walk::each(e, &mut |e| {
        most = most.max(match &e.kind {
            ExprKind::Call { function, .. } => function.cost,
            // A walk over the headers, but compiled like comparisons.
            ExprKind::PcapFilter(_) | ExprKind::InWatchlist(..) => Cost::Low,
            _ => Cost::Free,
        });
    });
    most
}
