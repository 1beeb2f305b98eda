//! Quals pushed toward the source: a conjunct over a subquery that only selects moves into it, and so perhaps into an
//! LFTA. Named queries keep theirs, because their streams can be read from outside the batch.

use wt_catalog::Catalog;

use crate::logical::{Expr, ExprKind, Item, LogicalNode, LogicalPlan};
use crate::text::Names;
use crate::walk;

/// Moves what can be moved; the notes say what was.
pub fn push(plan: &mut LogicalPlan, catalog: &Catalog) -> Vec<String> {
    let mut notes = Vec::new();
    let readers = readers(plan);
    // Readers come after what they read, so that a conjunct travels through a whole chain.
    for reader in (0..plan.queries.len()).rev() {
        let Some(source) = pushable(plan, reader) else { continue };
        if readers[source] != 1 || !plan.queries[source].internal {
            continue;
        }
        let LogicalNode::Select(inner) = &plan.queries[source].node else { continue };
        let items = inner.items.clone();
        let columns: Vec<String> = items.iter().map(|i| i.name.clone()).collect();
        let Some(quals) = quals_of(&mut plan.queries[reader].node) else { continue };
        let moved = std::mem::take(quals);
        for qual in &moved {
            let names = Names { catalog, params: &plan.params, columns: &columns, chain: &[] };
            notes.push(format!(
                "{}: `{}` moved below the subquery `{}`",
                plan.queries[reader].name,
                names.text(qual),
                plan.queries[source].name
            ));
        }
        let moved = moved.iter().map(|q| substitute(q, &items));
        if let LogicalNode::Select(inner) = &mut plan.queries[source].node {
            inner.quals.extend(moved);
        }
    }
    notes
}

/// How many operators read each query.
fn readers(plan: &LogicalPlan) -> Vec<usize> {
    let mut readers = vec![0; plan.queries.len()];
    for query in &plan.queries {
        walk::each_node(&query.node, &mut |n| {
            if let LogicalNode::Query(i) = n {
                readers[*i] += 1;
            }
        });
    }
    readers
}

/// The query that a reader's WHERE could move into.
fn pushable(plan: &LogicalPlan, reader: usize) -> Option<usize> {
    let query = &plan.queries[reader];
    let mut found = None;
    walk::each_node(&query.node, &mut |n| {
        let (input, has_quals) = match n {
            LogicalNode::Select(s) => (&s.input, !s.quals.is_empty()),
            // Tuples that fail WHERE still advance the window under `real_time`.
            LogicalNode::Aggregate(a) => {
                (&a.input, !a.quals.is_empty() && !query.options.real_time)
            }
            _ => return,
        };
        if let LogicalNode::Query(i) = input
            && has_quals
            && *i < reader
        {
            found = Some(*i);
        }
    });
    found
}

/// WHERE of the operator that reads a query.
fn quals_of(node: &mut LogicalNode) -> Option<&mut Vec<Expr>> {
    match node {
        LogicalNode::Select(s) => match &s.input {
            LogicalNode::Query(_) => Some(&mut s.quals),
            _ => quals_of(&mut s.input),
        },
        LogicalNode::Aggregate(a) => match &a.input {
            LogicalNode::Query(_) => Some(&mut a.quals),
            _ => quals_of(&mut a.input),
        },
        LogicalNode::Distinct(d) => quals_of(d),
        LogicalNode::Sort(s) => quals_of(&mut s.input),
        LogicalNode::Protocol(_) | LogicalNode::Query(_) | LogicalNode::Merge(_) => None,
    }
}

/// An expression over a selection's columns, over what the selection reads.
fn substitute(e: &Expr, items: &[Item]) -> Expr {
    if let ExprKind::Column(i) = e.kind
        && let Some(item) = items.get(i)
    {
        return Expr { span: e.span, ..item.expr.clone() };
    }
    let rebuilt: Result<Expr, std::convert::Infallible> =
        walk::map_children(e, |c| Ok(substitute(c, items)));
    let Ok(rebuilt) = rebuilt;
    rebuilt
}
