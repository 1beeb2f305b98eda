//! EXPLAIN: what runs where, why, in which order, and how much memory it may take.

mod code;
mod nodes;
mod write;

pub(crate) use write::bytes;

use wt_catalog::Catalog;

use crate::compile::Compiled;
use crate::physical::{Output, StreamRef};
use crate::split::total_bytes;
use nodes::Tree;
use write::{Lines, ordering};

/// What is shown beyond the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Each rewrite, layer and parameter.
    pub verbose: bool,
    /// The IR of every LFTA program.
    pub code: bool,
}

/// The plan as text: one tree per result, from the result down to the interfaces.
pub fn explain(compiled: &Compiled, catalog: &Catalog, options: ExplainOptions) -> String {
    let mut lines = Lines::default();
    let plan = &compiled.physical;
    let mut tree = Tree::new(compiled);
    for output in &plan.outputs {
        lines.blank();
        heading(output, compiled, &mut lines);
        tree.stream(output.stream, 2, &mut lines);
    }
    lines.blank();
    totals(compiled, &mut lines);
    for (index, interface) in plan.interfaces.iter().enumerate() {
        nodes::interface(compiled, catalog, index, interface, options.verbose, &mut lines);
    }
    if options.verbose {
        if !plan.params.is_empty() {
            lines.blank();
            lines.line(0, 2, "parameters");
            for p in &plan.params {
                let frozen =
                    if p.frozen { ", fixed while running: an ordering depends on it" } else { "" };
                let value = crate::text::literal(&p.value, p.ty);
                lines.line(2, 4, &format!("${} {} = {value}{frozen}", p.name, p.ty));
            }
        }
        lines.blank();
        lines.line(0, 2, "rewrites");
        if compiled.rewrites.is_empty() {
            lines.line(2, 2, "none");
        }
        for rewrite in &compiled.rewrites {
            lines.line(2, 4, rewrite);
        }
    }
    if options.code {
        for (index, interface) in plan.interfaces.iter().enumerate() {
            lines.blank();
            code::program(catalog, interface, &compiled.report.lftas[index], &mut lines);
        }
    }
    lines.finish()
}

/// The query and its columns.
fn heading(output: &Output, compiled: &Compiled, lines: &mut Lines) {
    let role = if output.is_result { "" } else { ", read by other queries of the batch" };
    lines.line(0, 2, &format!("query {}{role}", output.query));
    let texts = column_texts(output.stream, compiled);
    let rows: Vec<Vec<String>> = output
        .schema
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let window = if c.window { ", window" } else { "" };
            let mut row = vec![
                c.name.clone(),
                c.ty.to_string(),
                format!("{}{window}", ordering(&c.ordering)),
            ];
            row.extend(texts.get(i).filter(|t| **t != c.name).cloned());
            row
        })
        .collect();
    lines.table(2, "columns", &rows);
}

/// What the columns of a stream compute.
fn column_texts(stream: StreamRef, compiled: &Compiled) -> Vec<String> {
    let notes = match stream {
        StreamRef::Hfta(i) => compiled.report.hftas.get(i as usize).map(|n| &n.columns),
        StreamRef::Lfta { interface, query } => compiled
            .report
            .lftas
            .get(interface as usize)
            .and_then(|l| l.get(query as usize))
            .map(|n| &n.columns),
    };
    notes.map_or_else(Vec::new, |c| c.iter().map(|c| c.text.clone()).collect())
}

/// All memory that the plan can state.
fn totals(compiled: &Compiled, lines: &mut Lines) {
    let tables = compiled.report.lftas.iter().flatten().map(|n| (None, &n.memory));
    let nodes = compiled.physical.nodes.iter().map(|n| (Some(n.name.as_str()), &n.memory));
    let mut fixed = 0u64;
    let mut growing = Vec::new();
    for (name, bound) in tables.chain(nodes) {
        match total_bytes(bound) {
            Some(n) => fixed = fixed.saturating_add(n),
            None => {
                fixed = fixed.saturating_add(bound.fixed_bytes);
                growing.extend(name);
            }
        }
    }
    let mut parts = Vec::new();
    if fixed > 0 {
        parts.push(format!("at most {} of a known size", bytes(fixed)));
    }
    if !growing.is_empty() {
        let grows = if growing.len() == 1 { "grows" } else { "grow" };
        parts.push(format!(
            "{} {grows} with the traffic, up to --memory (1 GiB unless given)",
            growing.join(", ")
        ));
    }
    let text = if parts.is_empty() { "none".to_owned() } else { parts.join("; ") };
    lines.field(0, "memory", &text);
    let input = if compiled.finite { "finite: results at its end too" } else { "live" };
    lines.field(0, "input", input);
}
