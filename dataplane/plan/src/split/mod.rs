//! The split (gsql.md §22): what runs next to the interface, in LFTAs, and what runs above, in the HFTA graph.

mod aggregate;
mod combine;
mod compact;
mod cost;
mod demand;
mod memory;
mod prefilter;
mod program;
mod pushdown;
mod report;
mod safe;
mod select;
mod snap;

use wt_catalog::{Catalog, Ordering, Type};
use wt_lang::{Diagnostic, Span};

use crate::ir::OrderedColumn;
use crate::logical::{LogicalNode, LogicalPlan, LogicalQuery, ProtocolSource};
use crate::lower::{InterfaceEnv, LowerError};
use crate::parse_spec::parse_spec;
use crate::physical::{
    ColumnInfo, HftaNode, HftaOp, InterfacePlan, MemoryBound, Output, PhysicalPlan, Schema,
    StreamRef,
};
use crate::text::Names;
use crate::walk;
use program::ProgramBuilder;

pub use cost::{asks_link_type, class, cost_ns};
pub use memory::{SHARE_BYTES, VALUE_BYTES, lfta_table, total_bytes};
pub use report::{ColumnNote, HftaNote, LftaNote, SplitReport};
pub use safe::{cost_word, unsafe_reason};

/// What is split.
#[derive(Clone, Copy, Debug)]
pub struct SplitInput<'a> {
    /// Protocols and functions.
    pub catalog: &'a Catalog,
    /// The bound batch.
    pub logical: &'a LogicalPlan,
    /// The interfaces of [`LogicalPlan::interfaces`], in that order.
    pub interfaces: &'a [InterfaceEnv],
    /// All sources end.
    pub finite: bool,
}

/// A planned thing, or the message why not.
pub(crate) type Planned<T> = Result<T, Box<Diagnostic>>;

/// A stream inside the plan.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Where it comes from: several when it is not yet merged.
    pub refs: Vec<StreamRef>,
    /// Its columns.
    pub columns: Vec<Column>,
}

/// A column of a stream, with the type it is shipped in: an INET of a known family travels as that family.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// What the query sees.
    pub info: ColumnInfo,
    /// What the tuple carries.
    pub shipped: Type,
    /// An upper bound of its values, where they are numbers.
    pub max: u64,
}

impl Stream {
    /// Names of the columns.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|c| c.info.name.clone()).collect()
    }

    /// Schema of the columns.
    pub fn schema(&self) -> Schema {
        Schema { columns: self.columns.iter().map(|c| c.info.clone()).collect() }
    }
}

/// Splits a batch.
///
/// # Errors
/// One diagnostic for each query that cannot run: functions without an operator, unbounded state, expressions without IR.
pub fn split(input: SplitInput<'_>) -> Result<(PhysicalPlan, SplitReport), Vec<Diagnostic>> {
    let mut logical = input.logical.clone();
    let rewrites = pushdown::push(&mut logical, input.catalog);
    let parse = parse_spec(input.catalog)
        .map_err(|e| vec![Diagnostic::error("protocol", Span::default(), e.to_string())])?;
    let mut used: Vec<usize> = Vec::new();
    for query in &logical.queries {
        walk::each_node(&query.node, &mut |n| {
            if let LogicalNode::Protocol(source) = n {
                used.extend(&source.interfaces);
            }
        });
    }
    used.sort_unstable();
    used.dedup();
    let programs = used
        .iter()
        .filter_map(|&i| Some((i, ProgramBuilder::new(input.interfaces.get(i)?))))
        .collect();
    let mut splitter = Splitter {
        catalog: input.catalog,
        logical: &logical,
        parse: &parse,
        finite: input.finite,
        programs,
        nodes: Vec::new(),
        notes: Vec::new(),
        rewrites,
        streams: Vec::new(),
    };
    let mut errors = Vec::new();
    for (index, query) in logical.queries.iter().enumerate() {
        if let Some(unavailable) = unavailable(query) {
            errors.push(unavailable);
            splitter.streams.push(None);
            continue;
        }
        let stream = splitter.query(index, query).map_err(|e| errors.extend(e.map(|d| *d))).ok();
        splitter.streams.push(stream);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(splitter.finish(&parse))
}

/// The batch while it is split.
pub(crate) struct Splitter<'a> {
    catalog: &'a Catalog,
    logical: &'a LogicalPlan,
    parse: &'a crate::ir::ParseSpec,
    finite: bool,
    /// By index of the logical plan's interfaces, ascending.
    programs: Vec<(usize, ProgramBuilder<'a>)>,
    nodes: Vec<HftaNode>,
    notes: Vec<HftaNote>,
    rewrites: Vec<String>,
    /// By query; `None` where it could not be planned.
    streams: Vec<Option<Stream>>,
}

/// Where in a query an operator stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'q> {
    /// The query.
    query: &'q LogicalQuery,
    /// The operator gives the query's stream.
    top: bool,
}

impl<'q> Place<'q> {
    /// The name of a stream made here.
    pub fn name(self, kind: &str) -> String {
        if self.top { self.query.name.clone() } else { format!("_{kind}_{}", self.query.name) }
    }

    /// The place of an operator's input.
    pub fn below(self) -> Self {
        Self { top: false, ..self }
    }

    /// Columns as the query's schema has them, else made from items.
    pub fn columns(self, items: &[crate::logical::Item]) -> Vec<ColumnInfo> {
        let schema = &self.query.schema.columns;
        if self.top && schema.len() == items.len() {
            return schema.clone();
        }
        items
            .iter()
            .map(|i| ColumnInfo {
                name: i.name.clone(),
                ty: i.expr.ty,
                ordering: i.ordering.clone(),
                window: i.window,
                subtype: None,
            })
            .collect()
    }
}

impl<'a> Splitter<'a> {
    /// Plans a query; a failure that an earlier message explains has none of its own.
    fn query(
        &mut self,
        index: usize,
        query: &LogicalQuery,
    ) -> Result<Stream, Option<Box<Diagnostic>>> {
        let mut blocked = false;
        walk::each_node(&query.node, &mut |n| {
            if let LogicalNode::Query(i) = n {
                blocked |= *i >= index || self.streams.get(*i).is_none_or(Option::is_none);
            }
        });
        if blocked {
            return Err(None);
        }
        let place = Place { query, top: true };
        let stream = self.node(&query.node, place)?;
        Ok(self.single(stream, place)?)
    }

    /// Plans an operator.
    fn node(&mut self, node: &LogicalNode, place: Place<'_>) -> Planned<Stream> {
        match node {
            LogicalNode::Protocol(_) => Err(Box::new(
                Diagnostic::error(
                    "bare-protocol",
                    place.query.span,
                    "a protocol has no columns of its own to read here",
                )
                .hint(
                    "Select the fields that are needed: `FROM (SELECT time, len FROM tcp) AS t`.",
                ),
            )),
            LogicalNode::Query(i) => self.streams.get(*i).cloned().flatten().ok_or_else(|| {
                Box::new(Diagnostic::error("cycle", place.query.span, "a query reads itself"))
            }),
            LogicalNode::Select(s) => match &s.input {
                LogicalNode::Protocol(source) => self.select_packets(s, source, place),
                input => self.select_tuples(s, input, place),
            },
            LogicalNode::Aggregate(a) => match &a.input {
                LogicalNode::Protocol(source) => self.aggregate_packets(a, source, place),
                input => self.aggregate_tuples(a, input, place),
            },
            LogicalNode::Merge(m) => self.merge(m, place),
            LogicalNode::Distinct(input) => self.distinct(input, place),
            LogicalNode::Sort(s) => self.sort(s, place),
        }
    }

    /// Physical indexes of the interfaces of a source.
    fn interfaces(&self, source: &ProtocolSource) -> Vec<usize> {
        source
            .interfaces
            .iter()
            .filter_map(|i| self.programs.iter().position(|(logical, _)| logical == i))
            .collect()
    }

    /// Environments of the interfaces of a source.
    fn envs(&self, source: &ProtocolSource) -> Vec<&'a InterfaceEnv> {
        self.interfaces(source).into_iter().map(|p| self.programs[p].1.env).collect()
    }

    /// Names for the text of expressions over packets.
    fn packet_names<'n>(&'n self, source: &'n ProtocolSource) -> Names<'n> {
        Names {
            catalog: self.catalog,
            params: &self.logical.params,
            columns: &[],
            chain: &source.chain,
        }
    }

    /// Names for the text of expressions over tuples.
    fn tuple_names<'n>(&'n self, columns: &'n [String]) -> Names<'n> {
        Names { catalog: self.catalog, params: &self.logical.params, columns, chain: &[] }
    }

    /// Adds an HFTA node.
    fn push(
        &mut self,
        name: String,
        inputs: Vec<StreamRef>,
        op: HftaOp,
        columns: Vec<ColumnInfo>,
        memory: MemoryBound,
        note: HftaNote,
    ) -> Stream {
        let index = self.nodes.len() as u32;
        let schema = Schema { columns: columns.clone() };
        self.nodes.push(HftaNode { name, inputs, op, schema, memory });
        self.notes.push(note);
        let columns = columns
            .into_iter()
            .map(|info| Column { shipped: info.ty, max: u64::MAX, info })
            .collect();
        Stream { refs: vec![StreamRef::Hfta(index)], columns }
    }

    fn note(&mut self, text: String) {
        self.rewrites.push(text);
    }

    fn finish(self, parse: &crate::ir::ParseSpec) -> (PhysicalPlan, SplitReport) {
        let mut report =
            SplitReport { hftas: self.notes, rewrites: self.rewrites, ..SplitReport::default() };
        let mut interfaces = Vec::new();
        for (_, builder) in self.programs {
            let name = builder.env.name.clone();
            let (program, notes) = builder.finish(parse);
            interfaces.push(InterfacePlan { name, program });
            report.lftas.push(notes);
        }
        let mut read = vec![false; self.logical.queries.len()];
        for query in &self.logical.queries {
            walk::each_node(&query.node, &mut |n| {
                if let LogicalNode::Query(i) = n {
                    read[*i] = true;
                }
            });
        }
        let mut outputs: Vec<(usize, Output)> = self
            .logical
            .queries
            .iter()
            .zip(&self.streams)
            .zip(read)
            .filter(|((q, _), _)| !q.internal)
            .filter_map(|((q, stream), read)| {
                let output = Output {
                    query: q.name.clone(),
                    stream: *stream.as_ref()?.refs.first()?,
                    schema: q.schema.clone(),
                    is_result: !read,
                };
                Some((q.source_order, output))
            })
            .collect();
        outputs.sort_by_key(|(order, _)| *order);
        let plan = PhysicalPlan {
            interfaces,
            nodes: self.nodes,
            outputs: outputs.into_iter().map(|(_, o)| o).collect(),
            params: self.logical.params.clone(),
        };
        (plan, report)
    }
}

/// The message for an expression without IR.
pub(crate) fn failed(error: &LowerError, span: Span) -> Box<Diagnostic> {
    let code = match error {
        LowerError::Bpf(_) => "bad-filter",
        LowerError::NoProperty { .. } => "unknown-property",
        LowerError::HandleArgument { .. } => "handle-argument",
        _ => "no-ir",
    };
    Box::new(Diagnostic::error(code, span, error.to_string()))
}

/// The first function of a query that no operator computes.
fn unavailable(query: &LogicalQuery) -> Option<Diagnostic> {
    let mut found = None;
    walk::each_node(&query.node, &mut |node| {
        let mut check = |function: &wt_catalog::Function, span: Span| {
            if !function.available && found.is_none() {
                found = Some(
                    Diagnostic::error(
                        "unavailable",
                        span,
                        format!("`{}` is declared, but no operator computes it", function.name),
                    )
                    .hint("`wiretable functions` marks the functions that can run."),
                );
            }
        };
        for e in walk::exprs_of(node) {
            walk::each(e, &mut |e| {
                if let crate::logical::ExprKind::Call { function, .. } = &e.kind {
                    check(function, e.span);
                }
            });
        }
        if let LogicalNode::Aggregate(a) = node {
            a.aggs.iter().for_each(|g| check(&g.function, g.span));
        }
    });
    found
}

/// An ordered column of a stream or key.
pub(crate) fn ordered_column(
    column: usize,
    ordering: &Ordering,
    from_time: bool,
) -> Option<OrderedColumn> {
    ordering.is_temporal().then(|| OrderedColumn {
        column: column as u32,
        decreasing: ordering.basic() == wt_catalog::ordering::Basic::Dec,
        band: ordering.tolerance(),
        from_time,
    })
}

/// The one ordered input column that an expression follows.
pub(crate) fn follows(e: &crate::logical::Expr, is_ordered: impl Fn(usize) -> bool) -> Option<u32> {
    let mut followed: Vec<usize> = Vec::new();
    walk::each(e, &mut |e| {
        if let crate::logical::ExprKind::Column(i) = e.kind
            && is_ordered(i)
            && !followed.contains(&i)
        {
            followed.push(i);
        }
    });
    match followed.as_slice() {
        [one] => u32::try_from(*one).ok(),
        _ => None,
    }
}
