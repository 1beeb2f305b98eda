//! CUBE, ROLLUP and GROUPING_SETS: which group variables each pattern has on (gsql.md §12).

use wt_lang::ast::{GroupItem, GroupVar, Select};
use wt_lang::{Diagnostic, Span};

use super::diags::Bound;
use super::shared::Shared;

/// Patterns of one query; each tuple updates one group per pattern.
const PATTERNS_MAX: usize = 1024;

/// Group variables of one query: a pattern is a word of bits.
pub(crate) const KEYS_MAX: usize = 64;

/// A group variable as listed, before it is bound.
#[derive(Clone, Copy)]
pub(crate) struct Listed<'q> {
    pub(crate) var: &'q GroupVar,
    /// It is a member of CUBE, ROLLUP or GROUPING_SETS and loses its ordering.
    pub(crate) in_pattern: bool,
}

/// The variables of GROUP BY in order, and the patterns: bit i set when variable i is on.
pub(crate) struct Grouping<'q> {
    pub(crate) vars: Vec<Listed<'q>>,
    pub(crate) patterns: Vec<u64>,
}

/// Reads GROUP BY.
pub(crate) fn grouping<'q>(sh: &Shared<'_>, select: &'q Select) -> Bound<Grouping<'q>> {
    let mut vars: Vec<Listed<'q>> = Vec::new();
    let mut patterns: Vec<u64> = vec![0];
    for item in &select.group_by {
        let first = vars.len();
        // Patterns over this item's own variables, the first of them bit 0.
        let own: Vec<u64> = match item {
            GroupItem::Var(var) => {
                vars.push(Listed { var, in_pattern: false });
                vec![1]
            }
            GroupItem::Cube(members) => {
                add(&mut vars, members);
                let n = members.len();
                if n > PATTERNS_MAX.ilog2() as usize {
                    return Err(too_many(sh, select.span.0));
                }
                // All on first, as ROLLUP does; the order shows in nothing but the order of rows.
                (0..1u64 << n).rev().collect()
            }
            GroupItem::Rollup(members) => {
                add(&mut vars, members);
                (0..=members.len()).rev().map(low_bits).collect()
            }
            GroupItem::GroupingSets(sets) => {
                let mut own: Vec<u64> = Vec::new();
                for set in sets {
                    let mut pattern = 0u64;
                    for var in set {
                        let known = vars[first..].iter().position(|l| same_variable(l.var, var));
                        let at = known.unwrap_or_else(|| {
                            vars.push(Listed { var, in_pattern: true });
                            vars.len() - 1 - first
                        });
                        pattern |= 1u64.checked_shl(at as u32).unwrap_or(0);
                    }
                    if !own.contains(&pattern) {
                        own.push(pattern);
                    }
                }
                own
            }
            GroupItem::Session(_) => continue,
        };
        if vars.len() > KEYS_MAX {
            return Err(sh.diags.report(Diagnostic::error(
                "too-large",
                select.span.0,
                format!("a query has at most {KEYS_MAX} group variables"),
            )));
        }
        if patterns.len() * own.len() > PATTERNS_MAX {
            return Err(too_many(sh, select.span.0));
        }
        patterns = patterns
            .iter()
            .flat_map(|p| own.iter().map(move |o| p | o.checked_shl(first as u32).unwrap_or(0)))
            .collect();
    }
    Ok(Grouping { vars, patterns })
}

fn add<'q>(vars: &mut Vec<Listed<'q>>, members: &'q [GroupVar]) {
    vars.extend(members.iter().map(|var| Listed { var, in_pattern: true }));
}

fn low_bits(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1u64 << n) - 1 }
}

/// A later set may repeat a definition or name it.
fn same_variable(known: &GroupVar, again: &GroupVar) -> bool {
    known == again
        || match (&known.alias, &again.expr.kind, &again.alias) {
            (Some(name), wt_lang::ast::ExprKind::Column(c), None) => {
                c.qualifiers.is_empty() && c.field.text == name.text
            }
            _ => false,
        }
}

fn too_many(sh: &Shared<'_>, span: Span) -> super::diags::Reported {
    sh.diags.report(
        Diagnostic::error(
            "too-large",
            span,
            format!("GROUP BY has more than {PATTERNS_MAX} patterns, and each tuple updates one group of each"),
        )
        .hint("List the combinations of interest: GROUPING_SETS((src), (dst), (src, dst))."),
    )
}
