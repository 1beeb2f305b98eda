//! Names of output columns (gsql.md §4, Output names).

use std::collections::HashSet;

use wt_catalog::Catalog;
use wt_lang::ast::{Call, Expr as Ast, ExprKind as AstKind};

use super::aggregate::is_aggregate;

/// The base name of an unnamed output; clashes are settled by [`Titles`].
fn base(catalog: &Catalog, e: &Ast) -> String {
    match &e.kind {
        AstKind::Column(c) => c.field.text.clone(),
        AstKind::Literal(_) | AstKind::Defined(_) => "Literal".to_owned(),
        AstKind::Param(name) => format!("Param_{name}"),
        AstKind::IfProp { name, .. } => format!("Iparam_{name}"),
        AstKind::Call(call) if is_aggregate(catalog, call) => of_aggregate(call),
        AstKind::Call(call) => of_function(call),
        _ => OPERATOR.to_owned(),
    }
}

/// What operator expressions are called.
const OPERATOR: &str = "Field";

/// `count(*)` is `Cnt`; of a field `SUM_len`; of another expression `SUM_SE`; `sum(SUM_x)` stays `SUM_x`.
fn of_aggregate(call: &Call) -> String {
    if call.star {
        return "Cnt".to_owned();
    }
    let basic = ["count", "sum", "min", "max", "avg", "and_aggr", "or_aggr", "xor_aggr"];
    let is_basic = basic.iter().any(|b| b.eq_ignore_ascii_case(&call.name.text));
    let name = if is_basic { call.name.text.to_ascii_uppercase() } else { call.name.text.clone() };
    match call.args.first().map(|a| &a.kind) {
        Some(AstKind::Column(c)) if c.field.text.starts_with(&format!("{name}_")) => {
            c.field.text.clone()
        }
        Some(AstKind::Column(c)) => format!("{name}_{}", c.field),
        _ => format!("{name}_SE"),
    }
}

/// `f(x)` is `f_x`, `f(g(…))` is `f_g`, anything else `f_func`.
fn of_function(call: &Call) -> String {
    match call.args.first().map(|a| &a.kind) {
        Some(AstKind::Column(c)) => format!("{}_{}", call.name, c.field),
        Some(AstKind::Call(inner)) => format!("{}_{}", call.name, inner.name),
        _ => format!("{}_func", call.name),
    }
}

/// Hands out names that do not clash.
#[derive(Debug, Default)]
pub(crate) struct Titles {
    taken: HashSet<String>,
    operators: u32,
}

impl Titles {
    /// Reserves a name that the query gives with AS; false when it is given twice.
    pub(crate) fn reserve(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// The name of an unnamed output. The first operator expression is `Field0`, the next `Field`, then `Field1`, `Field2`, …;
    /// other clashes append 1, 2, ….
    pub(crate) fn name(&mut self, catalog: &Catalog, e: &Ast) -> String {
        let base = base(catalog, e);
        if base == OPERATOR {
            self.operators += 1;
            if self.operators == 1 {
                return self.free(format!("{OPERATOR}0"));
            }
        }
        self.free(base)
    }

    /// The name, or the name with the least number from 1 that is free.
    pub(crate) fn free(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) {
            return name;
        }
        let mut n = 1u32;
        loop {
            let candidate = format!("{name}{n}");
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
            n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(items: &[&str]) -> Vec<String> {
        let catalog =
            Catalog { functions: wt_catalog::builtin::functions::all(), ..Catalog::default() };
        let mut titles = Titles::default();
        items
            .iter()
            .map(|text| titles.name(&catalog, &wt_lang::parse_expr(text).tree.unwrap()))
            .collect()
    }

    #[test]
    fn as_the_manual_says() {
        assert_eq!(
            names(&["len", "T.len", "time/60", "len+1", "len*2", "-len"]),
            ["len", "len1", "Field0", "Field", "Field1", "Field2"]
        );
        assert_eq!(
            names(&["count(*)", "sum(len)", "Sum(len)", "avg(len+1)", "sum(SUM_len)"]),
            ["Cnt", "SUM_len", "SUM_len1", "AVG_SE", "SUM_len2"]
        );
        assert_eq!(
            names(&["$p", "@Name", "5", "'x'"]),
            ["Param_p", "Iparam_Name", "Literal", "Literal1"]
        );
        assert_eq!(
            names(&["f(x)", "f(g(x))", "f()", "f(1)", "count_distinct(srcIP)"]),
            ["f_x", "f_g", "f_func", "f_func1", "count_distinct_srcIP"]
        );
    }
}
