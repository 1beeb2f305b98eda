//! The program of one interface while queries are added to it.

use wt_catalog::ProtocolId;

use super::cost::{class, cost_ns};
use super::demand::demanded;
use super::report::LftaNote;
use super::snap::{Packets, Snap};
use super::{Planned, failed};
use crate::ir::{
    Exprs, LayerId, LayerSel, LftaAction, LftaProgram, LftaQuery, NodeId, Op, ParseSpec, Qual,
};
use crate::logical::Expr;
use crate::lower::{Dag, InterfaceEnv, Narrowing, PacketLower};
use crate::text::Names;
use wt_catalog::protocol::Meta;

/// Queries of a batch on one interface.
pub struct ProgramBuilder<'a> {
    /// The interface.
    pub env: &'a InterfaceEnv,
    /// Shared nodes.
    pub dag: Dag,
    /// Queries so far, snap lengths not yet known.
    pub queries: Vec<LftaQuery>,
    /// Their notes.
    pub notes: Vec<LftaNote>,
    /// For each query, what the prefilter may test: all must hold for the query to want the packet.
    pub prefilters: Vec<Vec<NodeId>>,
}

/// WHERE of one query on one interface.
pub struct LoweredQuals {
    /// In evaluation order.
    pub quals: Vec<Qual>,
    /// What they say of headers.
    pub narrowing: Narrowing,
    /// Layers FROM requires.
    pub requires: Vec<LayerId>,
}

impl<'a> ProgramBuilder<'a> {
    /// An empty program.
    pub fn new(env: &'a InterfaceEnv) -> Self {
        Self {
            env,
            dag: Dag::default(),
            queries: Vec::new(),
            notes: Vec::new(),
            prefilters: Vec::new(),
        }
    }

    /// Lowers conjuncts. Those that fix a header's protocol come first, so that what follows may rely on them; then the
    /// order is by cost class, ties in text order.
    ///
    /// # Errors
    /// A diagnostic at the expression that has no IR.
    pub fn quals(
        &mut self,
        names: &Names<'_>,
        chain: &[ProtocolId],
        quals: &[Expr],
    ) -> Planned<LoweredQuals> {
        let mut lower = PacketLower::new(names.catalog, &mut self.dag, chain, self.env);
        let target = lower.target();
        let mut ordered: Vec<(bool, &Expr)> =
            quals.iter().map(|q| (lower.learn(std::slice::from_ref(q)).is_empty(), q)).collect();
        ordered.sort_by_key(|(learnt_nothing, q)| (*learnt_nothing, class(q)));
        lower.learn(quals);
        let narrowing = lower.forget();
        let mut lowered = Vec::with_capacity(ordered.len());
        for (learnt_nothing, q) in ordered {
            if learnt_nothing {
                lower.recall(narrowing.clone());
            } else {
                lower.forget();
            }
            let node = lower.expr(q).map_err(|e| failed(&e, q.span))?;
            lowered.push((node, names.text(q)));
        }
        let quals = lowered
            .into_iter()
            .map(|(node, text)| Qual { node, text, cost_ns: cost_ns(self.dag.exprs(), node) })
            .collect();
        let requires = match self.dag.layers()[target.0 as usize] {
            LayerSel::Packet => Vec::new(),
            _ => vec![target],
        };
        Ok(LoweredQuals { quals, narrowing, requires })
    }

    /// Lowers an expression under the quals.
    ///
    /// # Errors
    /// A diagnostic at the expression.
    pub fn expr(
        &mut self,
        names: &Names<'_>,
        chain: &[ProtocolId],
        narrowing: &Narrowing,
        e: &Expr,
    ) -> Planned<NodeId> {
        let mut lower = PacketLower::new(names.catalog, &mut self.dag, chain, self.env);
        lower.recall(narrowing.clone());
        lower.expr(e).map_err(|error| failed(&error, e.span))
    }

    /// An address shipped in the bytes of its family, when that is known; the reader widens it.
    pub fn narrow(&self, node: NodeId) -> NodeId {
        match self.dag.get(node).op {
            Op::Cast(inner)
                if self.dag.ty(node) == wt_catalog::Type::Inet
                    && matches!(
                        self.dag.ty(inner),
                        wt_catalog::Type::Ip | wt_catalog::Type::Ipv6
                    ) =>
            {
                inner
            }
            _ => node,
        }
    }

    /// True when the node follows from the packet's time stamp alone.
    pub fn follows_time(&self, node: NodeId) -> bool {
        let mut pending = vec![node];
        let mut seen = std::collections::HashSet::new();
        let mut time = false;
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            let op = &self.dag.get(id).op;
            match op {
                Op::Meta(Meta::Time | Meta::Timestamp) => time = true,
                Op::Const(_)
                | Op::Param(_)
                | Op::Unary(..)
                | Op::Binary(..)
                | Op::Saturating(..)
                | Op::Cast(_) => pending.extend(op.operands()),
                _ => return false,
            }
        }
        time
    }

    /// Adds a query; the result is its index.
    pub fn push(&mut self, query: LftaQuery, mut note: LftaNote, cheap: Vec<NodeId>) -> u32 {
        note.host_only = self.host_reasons(&query);
        self.queries.push(query);
        self.notes.push(note);
        self.prefilters.push(cheap);
        (self.queries.len() - 1) as u32
    }

    /// What keeps a query off the network card.
    fn host_reasons(&self, query: &LftaQuery) -> Vec<String> {
        let exprs = self.dag.exprs();
        let mut reasons: Vec<String> = Vec::new();
        let mut pending: Vec<NodeId> = roots(query);
        let mut seen = vec![false; exprs.nodes.len()];
        while let Some(id) = pending.pop() {
            let node = &exprs.nodes[id.0 as usize];
            if !node.host_only || std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let below = node.op.operands();
            // What is computed from something that needs the host says nothing new, but for what it reads or calls.
            let is_cause = matches!(node.op, Op::Call { .. } | Op::Slice { .. })
                || below.iter().all(|&c| !exprs.nodes[c.0 as usize].host_only);
            let reason = crate::lower::host_reason(exprs, &node.op, node.ty);
            reasons.extend(reason.filter(|r| is_cause && !reasons.contains(r)));
            pending.extend(below);
        }
        reasons.sort();
        reasons
    }

    /// The finished program.
    pub fn finish(mut self, parse: &ParseSpec) -> (LftaProgram, Vec<LftaNote>) {
        let mut prefilter = super::prefilter::combine(&mut self.dag, &self.prefilters);
        let (exprs, layers) = self.dag.finish();
        let mut any = Snap::new(parse, Packets::Any);
        let mut plain = Snap::new(parse, Packets::Plain);
        for (query, note) in self.queries.iter_mut().zip(&mut self.notes) {
            query.snap_len_bytes = any.bytes(&exprs, &layers, roots(query), &query.requires);
            note.plain_bytes = plain.bytes(&exprs, &layers, roots(query), &query.requires);
        }
        let (exprs, layers) =
            super::compact::compact(exprs, layers, &mut self.queries, &mut prefilter);
        let program = LftaProgram {
            parse: demanded(parse, &layers, &exprs),
            layers,
            exprs,
            prefilter,
            queries: self.queries,
        };
        (program, self.notes)
    }
}

/// The nodes a query evaluates.
pub fn roots(query: &LftaQuery) -> Vec<NodeId> {
    let mut roots: Vec<NodeId> = query.quals.iter().map(|q| q.node).collect();
    match &query.action {
        LftaAction::Select { outputs, .. } => roots.extend(outputs),
        LftaAction::Aggregate { keys, aggs, .. } => {
            roots.extend(keys);
            roots.extend(aggs.iter().filter_map(|a| a.arg));
        }
    }
    roots
}

/// Lowered conjuncts over tuples, by cost class, ties in text order.
///
/// # Errors
/// A diagnostic at the expression.
pub fn tuple_quals(
    dag: &mut Dag,
    columns: &[NodeId],
    names: &Names<'_>,
    quals: &[Expr],
) -> Planned<Vec<Qual>> {
    let mut ordered: Vec<&Expr> = quals.iter().collect();
    ordered.sort_by_key(|q| class(q));
    let mut lowered = Vec::with_capacity(ordered.len());
    for q in ordered {
        let node = tuple_expr(dag, columns, q)?;
        lowered.push(Qual { node, text: names.text(q), cost_ns: cost_ns(dag.exprs(), node) });
    }
    Ok(lowered)
}

/// A lowered expression over tuples.
///
/// # Errors
/// A diagnostic at the expression.
pub fn tuple_expr(dag: &mut Dag, columns: &[NodeId], e: &Expr) -> Planned<NodeId> {
    crate::lower::TupleLower::over_nodes(dag, columns.to_vec())
        .expr(e)
        .map_err(|error| failed(&error, e.span))
}

/// The nodes of an input tuple's columns.
pub fn inputs(dag: &mut Dag, types: impl Iterator<Item = wt_catalog::Type>) -> Vec<NodeId> {
    (0u32..).zip(types).map(|(i, ty)| dag.node(Op::Input(i), ty)).collect()
}

/// The nodes of a finished HFTA program.
pub fn finish(dag: Dag) -> Exprs {
    dag.finish().0
}
