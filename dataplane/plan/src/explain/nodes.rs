//! Operators in words.

use wt_catalog::{Catalog, Ordering};

use super::write::{Lines, bytes, count, glue, ordering};
use crate::compile::Compiled;
use crate::ir::{LftaAction, LftaProgram, LftaQuery, OrderedColumn, Qual};
use crate::lookup::exclusive;
use crate::physical::{
    Aggregate, HftaNode, HftaOp, InterfacePlan, MemoryBound, Session, StreamRef,
};
use crate::split::{ColumnNote, HftaNote, LftaNote, total_bytes};
use crate::vectors::{PACKETS, Vectors, vectors};

/// Filters of a set that are named, instead of the first and the last.
const NAMES_MAX: usize = 6;

/// Walks the graph from results to interfaces; each operator is described once.
pub struct Tree<'a> {
    compiled: &'a Compiled,
    described: Vec<StreamRef>,
    outputs: Vec<(StreamRef, &'a str)>,
}

impl<'a> Tree<'a> {
    /// Nothing described yet.
    pub fn new(compiled: &'a Compiled) -> Self {
        let outputs =
            compiled.physical.outputs.iter().map(|o| (o.stream, o.query.as_str())).collect();
        Self { compiled, described: Vec::new(), outputs }
    }

    /// A stream of a result, and all below it.
    pub fn stream(&mut self, stream: StreamRef, indent: usize, lines: &mut Lines) {
        self.described.push(stream);
        match stream {
            StreamRef::Hfta(i) => {
                let Some(node) = self.compiled.physical.nodes.get(i as usize) else { return };
                let Some(note) = self.compiled.report.hftas.get(i as usize) else { return };
                hfta(node, note, indent, lines);
                for &input in &node.inputs {
                    self.input(input, indent + 2, lines);
                }
            }
            StreamRef::Lfta { interface, query } => {
                let plan = self.compiled.physical.interfaces.get(interface as usize);
                let notes = self.compiled.report.lftas.get(interface as usize);
                let Some(lfta_query) = plan.and_then(|p| p.program.queries.get(query as usize))
                else {
                    return;
                };
                let Some(note) = notes.and_then(|n| n.get(query as usize)) else { return };
                lfta(lfta_query, note, indent, lines);
            }
        }
    }

    fn input(&mut self, stream: StreamRef, indent: usize, lines: &mut Lines) {
        if let Some((_, name)) = self.outputs.iter().find(|(s, _)| *s == stream) {
            lines.line(indent, 2, &format!("reads query {name}"));
        } else if self.described.contains(&stream) {
            lines.line(indent, 2, "reads a stream described above");
        } else {
            self.stream(stream, indent, lines);
        }
    }
}

fn hfta(node: &HftaNode, note: &HftaNote, indent: usize, lines: &mut Lines) {
    lines.line(indent, 2, &format!("HFTA {} {}", node.op.name(), node.name));
    let indent = indent + 4;
    if !note.why.is_empty() {
        lines.field(indent, "why here", &note.why.join("; "));
    }
    match &node.op {
        HftaOp::Select { quals, ordered, .. } => {
            where_(quals, indent, lines);
            let names: Vec<String> = ordered
                .iter()
                .filter_map(|(output, _)| note.columns.get(*output as usize))
                .map(|c| c.name.clone())
                .collect();
            if !names.is_empty() {
                lines.field(indent, "order", &format!("kept in {}", names.join(", ")));
            }
        }
        HftaOp::Aggregate(a) => {
            aggregate(a, note, indent, lines);
            closing(a, node, note, indent, lines);
        }
        HftaOp::Session(s) => {
            aggregate(&s.group, note, indent, lines);
            session(s, note, indent, lines);
        }
        HftaOp::Merge { column, slack, .. } => {
            let text = match column {
                Some((c, decreasing)) => {
                    let name = node.schema.columns.get(*c as usize).map_or("?", |c| &c.name);
                    let direction = if *decreasing { "descending" } else { "ascending" };
                    let slack = slack.as_ref().map_or(String::new(), |s| {
                        let ty = node.schema.columns.get(*c as usize).map(|c| c.ty);
                        let ty = ty.unwrap_or(wt_catalog::Type::Uint);
                        format!(
                            "; an input more than {} behind is not waited for",
                            crate::text::literal(s, ty)
                        )
                    });
                    format!(
                        "by {name} {direction}: a tuple leaves when every other input has reached it{slack}"
                    )
                }
                None => "in order of arrival, nothing is kept back".into(),
            };
            lines.field(indent, "order", &text);
        }
        HftaOp::Distinct { window } if window.is_empty() => {
            lines.field(indent, "window", "the whole input: every row is remembered to its end");
        }
        HftaOp::Distinct { window } => {
            lines.field(indent, "window", &windows(window, &node.schema_names(), 0));
        }
        HftaOp::Sort { window, limit, .. } => {
            if let Some(limit) = limit {
                lines.field(indent, "limit", &format!("{limit} rows per window"));
            }
            lines.field(indent, "window", &windows(window, &node.schema_names(), 0));
        }
    }
    lines.field(indent, "memory", &memory(&node.memory));
}

impl HftaNode {
    fn schema_names(&self) -> Vec<String> {
        self.schema.columns.iter().map(|c| c.name.clone()).collect()
    }
}

fn aggregate(a: &Aggregate, note: &HftaNote, indent: usize, lines: &mut Lines) {
    where_(&a.quals, indent, lines);
    let keys: Vec<String> = note.keys.iter().map(|k| k.name.clone()).collect();
    if keys.is_empty() {
        lines.field(indent, "keys", "none: one group");
    } else {
        let narrow: Vec<String> =
            note.keys.iter().map(|k| format!("{} {}", k.name, k.ty)).collect();
        lines.field(indent, "keys", &narrow.join(", "));
    }
    if a.patterns.len() > 1 {
        let patterns: Vec<String> = a
            .patterns
            .iter()
            .map(|p| {
                let on: Vec<&str> = keys
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| p & (1 << i) != 0)
                    .map(|(_, k)| k.as_str())
                    .collect();
                format!("({})", on.join(", "))
            })
            .collect();
        let text = format!("{}: {}", count(a.patterns.len(), "pattern"), patterns.join(" "));
        lines.field(indent, "patterns", &text);
    }
    let label = if a.over_partials { "super" } else { "aggregates" };
    let aggs: Vec<String> = a.aggs.iter().map(|g| glue(&format!("{} {}", g.text, g.ty))).collect();
    if !aggs.is_empty() {
        lines.field(indent, label, &aggs.join(", "));
    }
    if !note.having.is_empty() {
        lines.field(indent, "having", &note.having.join(" AND "));
    }
}

/// When groups leave.
fn closing(a: &Aggregate, node: &HftaNode, note: &HftaNote, indent: usize, lines: &mut Lines) {
    let keys: Vec<String> = note.keys.iter().map(|k| k.name.clone()).collect();
    let mut rule = windows(&a.ordered, &keys, a.tolerance);
    let inputs = a.seen.map_or(node.inputs.len(), |seen| seen.first_input as usize);
    if !a.ordered.is_empty() && inputs > 1 {
        rule.push_str(&format!(" on each of {inputs} inputs"));
    }
    if a.emit_empty {
        rule.push_str("; one row even when no tuple came");
    }
    lines.field(indent, "window", &rule);
    if a.real_time {
        lines.field(indent, "real time", "tuples that fail WHERE advance the window too");
    }
    if a.seen.is_some() {
        let text = format!(
            "a window's packets that were seen, of all that came in it, by _seen_{}",
            note.query
        );
        lines.field(indent, "complete", &text);
    }
}

/// When sessions leave.
fn session(s: &Session, note: &HftaNote, indent: usize, lines: &mut Lines) {
    let rule = format!(
        "ends when {} is more than {} beyond its last tuple; a tuple further behind is late",
        s.time_text, s.gap_text
    );
    lines.field(indent, "session", &rule);
    let ended: Vec<&str> = s
        .ended_outputs
        .iter()
        .filter_map(|(output, _)| Some(note.columns.get(*output as usize)?.name.as_str()))
        .collect();
    let order = match ended.is_empty() {
        true => "by the end of the session".to_owned(),
        false => format!("by the end of the session: kept in {}", ended.join(", ")),
    };
    lines.field(indent, "order", &order);
    if s.group.real_time {
        lines.field(indent, "real time", "tuples that fail WHERE end sessions too");
    }
}

/// The closing rule.
fn windows(window: &[OrderedColumn], names: &[String], tolerance: u64) -> String {
    if window.is_empty() {
        return "the whole input: results come at its end".into();
    }
    let parts: Vec<String> = window
        .iter()
        .map(|w| {
            let name = names.get(w.column as usize).map_or("?", String::as_str);
            let beyond = if w.decreasing { "falls" } else { "advances" };
            match w.band.saturating_add(tolerance) {
                0 => format!("{name}: closes when it {beyond}"),
                n => format!("{name}: closes when it {beyond} by more than {n}"),
            }
        })
        .collect();
    parts.join("; ")
}

fn lfta(query: &LftaQuery, note: &LftaNote, indent: usize, lines: &mut Lines) {
    let kind = match &query.action {
        LftaAction::Select { .. } => "select",
        LftaAction::Aggregate { .. } => "aggregate",
    };
    lines.line(indent, 2, &format!("LFTA {kind} {} on {}", query.name, note.source));
    let indent = indent + 4;
    let runs = if note.host_only.is_empty() {
        "next to the interface; portable to XDP".to_owned()
    } else {
        format!("next to the interface, host only: {}", note.host_only.join(", "))
    };
    lines.field(indent, "runs", &runs);
    where_(&query.quals, indent, lines);
    match &query.action {
        LftaAction::Select { ordered, .. } => {
            lines.field(indent, "emits", &columns(&note.columns));
            let names: Vec<String> = ordered
                .iter()
                .filter_map(|o| {
                    let name = &note.columns.get(o.column as usize)?.name;
                    Some(match o.from_time {
                        true => format!("{name} (from packet time)"),
                        false => name.clone(),
                    })
                })
                .collect();
            if !names.is_empty() {
                lines.field(indent, "punctuates", &names.join(", "));
            }
        }
        LftaAction::Aggregate { keys, ordered, tolerance, real_time, values, .. } => {
            let (key_notes, agg_notes) = note.columns.split_at(keys.len().min(note.columns.len()));
            if !key_notes.is_empty() {
                lines.field(indent, "keys", &columns(key_notes));
            }
            if !agg_notes.is_empty() {
                lines.field(indent, "sub", &columns(agg_notes));
            }
            let names: Vec<String> = key_notes.iter().map(|k| k.name.clone()).collect();
            if !ordered.is_empty() {
                lines.field(indent, "window", &windows(ordered, &names, *tolerance));
            }
            if *real_time {
                lines.field(indent, "real time", "packets that fail WHERE advance the window too");
            }
            lines.field(indent, "table", &memory(&note.memory));
            if *values > 0 {
                let first = names.len().saturating_sub(*values as usize);
                let text = format!(
                    "{}: repeats end here; where nearly every packet brings another, nearly every one is sent on",
                    names[first..].join(", ")
                );
                lines.field(indent, "values", &text);
            }
        }
    }
    let needs = match (note.plain_bytes, query.snap_len_bytes) {
        (Some(0), _) => "time stamp and lengths only".to_owned(),
        (Some(plain), Some(n)) if n > plain => {
            format!("the first {plain} bytes of a plain packet, {n} at most")
        }
        (Some(plain), Some(_)) => format!("the first {plain} bytes of a packet"),
        (Some(plain), None) => {
            format!("the first {plain} bytes of a plain packet, more behind options and tunnels")
        }
        (None, Some(n)) => format!("at most the first {n} bytes of a packet"),
        (None, None) => "the packet to its end".to_owned(),
    };
    lines.field(indent, "reads", &needs);
}

/// `name = text type ordering`, joined.
fn columns(notes: &[ColumnNote]) -> String {
    let parts: Vec<String> = notes
        .iter()
        .map(|c| {
            let text =
                if c.text == c.name { c.name.clone() } else { format!("{} = {}", c.name, c.text) };
            match &c.ordering {
                Ordering::Varying => glue(&text),
                o => glue(&format!("{text} ({})", ordering(o))),
            }
        })
        .collect();
    parts.join(", ")
}

/// Conjuncts in evaluation order.
fn where_(quals: &[Qual], indent: usize, lines: &mut Lines) {
    for (i, qual) in quals.iter().enumerate() {
        let label = if i == 0 { "where" } else { "  and" };
        lines.field(indent, label, &format!("{}  ~{} ns per tuple", qual.text, qual.cost_ns));
    }
}

fn memory(bound: &MemoryBound) -> String {
    let fixed = match bound.fixed_bytes {
        0 => String::new(),
        n => format!("{} fixed, ", bytes(n)),
    };
    match (bound.per_entry_bytes, total_bytes(bound)) {
        (0, _) if bound.fixed_bytes == 0 => format!("none: {}", bound.entries),
        (0, _) => format!("{} fixed: {}", bytes(bound.fixed_bytes), bound.entries),
        (per, Some(total)) => format!(
            "at most {}: {fixed}{} per {}, at most {} of them",
            bytes(total),
            bytes(per),
            bound.entries,
            bound.entries_max.unwrap_or(0)
        ),
        (per, None) => {
            format!("{fixed}{} per {}; --memory bounds their number", bytes(per), bound.entries)
        }
    }
}

/// One interface's program.
pub fn interface(
    compiled: &Compiled,
    catalog: &Catalog,
    index: usize,
    plan: &InterfacePlan,
    verbose: bool,
    lines: &mut Lines,
) {
    let program = &plan.program;
    let host = compiled.report.lftas[index].iter().filter(|n| !n.host_only.is_empty()).count();
    let portable = program.queries.len() - host;
    let prefilter = match program.prefilter {
        Some(_) => "shared prefilter",
        None => "no prefilter",
    };
    let text = format!(
        "{}: one program of {}, {} portable; {} and {} shared by all; {prefilter}",
        plan.name,
        count(program.queries.len(), "LFTA"),
        portable,
        count(program.exprs.nodes.len(), "node"),
        count(program.layers.len(), "layer"),
    );
    lines.field(0, "interface", &text);
    for set in exclusive(program, &[]) {
        let text = format!(
            "{}, which exclude each other: compiled code looks up which one a packet passes ({})",
            count(set.queries.len(), "filter"),
            names(program, set.queries.iter().map(|(query, _)| *query)),
        );
        lines.field(2, "look-up", &text);
    }
    let Vectors { fields, filters } = vectors(program, &[]);
    if !filters.is_empty() {
        let text = format!(
            "{}, asked of {PACKETS} packets at a time: compiled code puts {} of these into arrays ({})",
            count(filters.len(), "filter"),
            count(fields.iter().filter(|field| field.bytes > 0).count(), "field"),
            names(program, filters.iter().map(|filter| filter.query)),
        );
        lines.field(2, "vectors", &text);
    }
    if !verbose {
        return;
    }
    for (i, layer) in program.layers.iter().enumerate() {
        let text = super::code::layer_text(catalog, layer);
        lines.field(2, &format!("layer L{i}"), &text);
    }
    let links: Vec<String> = program.parse.start.iter().map(|(l, _)| l.to_string()).collect();
    lines.field(2, "link types", &links.join(", "));
    if let Some(node) = program.prefilter {
        let ns = crate::split::cost_ns(&program.exprs, node);
        lines.field(2, "prefilter", &format!("node %{}, ~{ns} ns", node.0));
    }
}

/// The names of some queries, or the first and the last of many.
fn names(program: &LftaProgram, queries: impl Iterator<Item = usize>) -> String {
    let names: Vec<&str> = queries.map(|query| program.queries[query].name.as_str()).collect();
    match &names[..] {
        [first, .., last] if names.len() > NAMES_MAX => format!("{first} … {last}"),
        names => names.join(", "),
    }
}
