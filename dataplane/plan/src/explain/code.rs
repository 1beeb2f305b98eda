//! The IR of a program, one line per node, with the text it comes from.

use std::collections::HashMap;
use std::fmt::Write;

use wt_catalog::protocol::Meta;
use wt_catalog::{Catalog, ProtocolId};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use super::write::Lines;
use crate::ir::{Exprs, LayerSel, LftaAction, NodeId, Op};
use crate::physical::InterfacePlan;
use crate::split::LftaNote;
use crate::text::literal;

/// Members of an IN set that are listed.
const MEMBERS_SHOWN: usize = 8;

/// The listing of one interface's program.
pub fn program(catalog: &Catalog, plan: &InterfacePlan, notes: &[LftaNote], lines: &mut Lines) {
    let program = &plan.program;
    lines.line(0, 2, &format!("program {}", plan.name));
    for (i, layer) in program.layers.iter().enumerate() {
        lines.line(2, 4, &format!("L{i} = {}", layer_text(catalog, layer)));
    }
    for (i, handle) in program.exprs.handles.iter().enumerate() {
        let argument = match &handle.argument {
            crate::ir::HandleArg::Const(v) => literal(v, wt_catalog::Type::String),
            crate::ir::HandleArg::Param(p) => format!("${}", p.0),
            crate::ir::HandleArg::Watchlist(list) => list.to_string(),
        };
        lines.line(2, 4, &format!("H{i} = {}({argument})", handle.symbol));
    }
    let mut origins = origins(plan, notes);
    if let Some(node) = program.prefilter {
        origins.entry(node).or_default().insert(0, "prefilter".into());
    }
    for line in listing(catalog, &program.exprs, &origins) {
        lines.line(2, 8, &line);
    }
}

/// One line per node; `origins` are the remarks behind the nodes.
pub fn listing(
    catalog: &Catalog,
    exprs: &Exprs,
    origins: &HashMap<NodeId, Vec<String>>,
) -> Vec<String> {
    let width = exprs.nodes.len().saturating_sub(1).to_string().len() + 1;
    (0u32..)
        .zip(&exprs.nodes)
        .map(|(i, node)| {
            let id = format!("%{i}");
            let mut line =
                format!("{id:<width$} = {:<40} {}", op_text(catalog, &node.op, node.ty), node.ty);
            if node.host_only {
                line.push_str(" host");
            }
            if node.fails {
                line.push_str(" fails");
            }
            if let Some(remarks) = origins.get(&NodeId(i)) {
                let _ = write!(line, "  ; {}", remarks.join("; "));
            }
            line
        })
        .collect()
}

/// What each query uses nodes for.
fn origins(plan: &InterfacePlan, notes: &[LftaNote]) -> HashMap<NodeId, Vec<String>> {
    let mut origins: HashMap<NodeId, Vec<String>> = HashMap::new();
    for (query, note) in plan.program.queries.iter().zip(notes) {
        let mut remark = |node: NodeId, text: String| {
            origins.entry(node).or_default().push(format!("{} {text}", query.name));
        };
        for qual in &query.quals {
            remark(qual.node, format!("where {}", qual.text));
        }
        let named = |i: usize| note.columns.get(i).map_or("?", |c| c.name.as_str());
        match &query.action {
            LftaAction::Select { outputs, .. } => {
                for (i, &node) in outputs.iter().enumerate() {
                    remark(node, format!("emits {}", named(i)));
                }
            }
            LftaAction::Aggregate { keys, aggs, .. } => {
                for (i, &node) in keys.iter().enumerate() {
                    remark(node, format!("key {}", named(i)));
                }
                for (i, agg) in aggs.iter().enumerate() {
                    if let Some(node) = agg.arg {
                        remark(node, format!("into {}", named(keys.len() + i)));
                    }
                }
            }
        }
    }
    origins
}

/// A layer in words.
pub fn layer_text(catalog: &Catalog, layer: &LayerSel) -> String {
    let name = |p: &ProtocolId| catalog.protocol_name(*p);
    match layer {
        LayerSel::Packet => "the packet".into(),
        LayerSel::This => "the header itself".into(),
        LayerSel::First(p) => format!("outermost {}", name(p)),
        LayerSel::Nth(p, n) => format!("{}[{n}]", name(p)),
        LayerSel::Last(p) => format!("innermost {}", name(p)),
        LayerSel::Below(l, p) => format!("first {} below L{}", name(p), l.0),
        LayerSel::Above(l, p) => format!("nearest {} above L{}", name(p), l.0),
        LayerSel::RunLast(l, p) => format!("last {} of the run below L{}", name(p), l.0),
        LayerSel::RunNth(l, p, n) => format!("{}[{n}] of the run below L{}", name(p), l.0),
    }
}

fn op_text(catalog: &Catalog, op: &Op, ty: wt_catalog::Type) -> String {
    let offset = |at: &Option<NodeId>, byte: u32| match at {
        Some(at) => format!("%{}+{byte}", at.0),
        None => byte.to_string(),
    };
    match op {
        Op::Const(v) => literal(v, ty),
        Op::Param(p) => format!("param {}", p.0),
        Op::Input(i) => format!("input {i}"),
        Op::Meta(m) => format!("meta {}", meta_name(*m)),
        Op::Load { layer, at, byte, bit, bits, little } => {
            let little = if *little { " little" } else { "" };
            format!("load L{}[{}].{bit}:{bits}{little}", layer.0, offset(at, *byte))
        }
        Op::LoadOrZero { layer, at, byte, bytes } => {
            format!("load0 L{}[{}:{bytes}]", layer.0, offset(at, *byte))
        }
        Op::InBounds { layer, at, byte, bytes } => {
            format!("within L{}[{}:{bytes}]", layer.0, offset(at, *byte))
        }
        Op::LoadIpv6 { layer, at, byte } => {
            format!("load L{}[{}:16]", layer.0, offset(at, *byte))
        }
        Op::Slice { layer, at, len } => match len {
            Some(len) => format!("slice L{}[%{}:%{}]", layer.0, at.0, len.0),
            None => format!("slice L{}[%{}..]", layer.0, at.0),
        },
        Op::Present(l) => format!("present L{}", l.0),
        Op::Offset(l) => format!("offset L{}", l.0),
        Op::Depth { protocol, run_below } => {
            let below = run_below.map_or(String::new(), |l| format!(" in the run below L{}", l.0));
            format!("depth {}{below}", catalog.protocol_name(*protocol))
        }
        Op::ByProtocol { layer, arms } => {
            let arms: Vec<String> = arms
                .iter()
                .map(|(p, n)| format!("{}: %{}", catalog.protocol_name(*p), n.0))
                .collect();
            format!("by L{} {{{}}}", layer.0, arms.join(", "))
        }
        Op::Unary(op, a) => format!("{} %{}", unary_name(*op), a.0),
        Op::Binary(op, a, b) => format!("{} %{} %{}", binary_name(*op), a.0, b.0),
        Op::Saturating(op, a, b) => format!("sat.{} %{} %{}", binary_name(*op), a.0, b.0),
        Op::Compare(op, a, b) => format!("{} %{} %{}", compare_name(*op), a.0, b.0),
        Op::And(a, b) => format!("and %{} %{}", a.0, b.0),
        Op::Or(a, b) => format!("or %{} %{}", a.0, b.0),
        Op::Not(a) => format!("not %{}", a.0),
        Op::In(a, values) => {
            let mut shown: Vec<String> =
                values.iter().take(MEMBERS_SHOWN).map(|v| literal(v, ty)).collect();
            if values.len() > MEMBERS_SHOWN {
                shown.push(format!("… {} in all", values.len()));
            }
            format!("in %{} [{}]", a.0, shown.join(", "))
        }
        Op::Select { cond, then, otherwise } => {
            format!("select %{} %{} %{}", cond.0, then.0, otherwise.0)
        }
        Op::Cast(a) => format!("cast %{}", a.0),
        Op::Call { symbol, args, handle } => {
            let mut parts: Vec<String> = args.iter().map(|a| format!("%{}", a.0)).collect();
            parts.extend(handle.map(|h| format!("H{}", h.0)));
            format!("call {symbol}({})", parts.join(", "))
        }
    }
}

fn meta_name(meta: Meta) -> &'static str {
    match meta {
        Meta::Time => "time",
        Meta::Timestamp => "timestamp",
        Meta::Len => "len",
        Meta::CapLen => "caplen",
        Meta::Interface => "interface",
        Meta::IfIndex => "ifindex",
        Meta::Direction => "direction",
        Meta::LinkType => "linktype",
    }
}

fn unary_name(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Plus => "plus",
        UnaryOp::Not => "iszero",
        UnaryOp::BitNot => "bitnot",
    }
}

fn binary_name(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::BitOr => "bitor",
        BinaryOp::BitAnd => "bitand",
        BinaryOp::Shl => "shl",
        BinaryOp::Shr => "shr",
        BinaryOp::Add => "add",
        BinaryOp::Sub => "sub",
        BinaryOp::Mul => "mul",
        BinaryOp::Div => "div",
        BinaryOp::Rem => "rem",
    }
}

fn compare_name(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Eq => "eq",
        CmpOp::Ne => "ne",
        CmpOp::Lt => "lt",
        CmpOp::Le => "le",
        CmpOp::Gt => "gt",
        CmpOp::Ge => "ge",
    }
}
