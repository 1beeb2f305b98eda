//! Aggregation in the HFTA: completes partial groups, or does the whole.

use wt_catalog::Type;
use wt_catalog::function::{FunctionKind, Split};

use super::kept::{Kept, Kepts, kind_name, operand, result_columns, sub_text};
use super::{asks_completeness, window_keys};
use crate::ir::{AggKind, NodeId, Op, OrderedColumn};
use crate::logical::{AggregateNode, ExprKind, SessionNode};
use crate::lower::{Dag, value_max};
use crate::physical::{
    Aggregate, HftaAgg, HftaAggFunction, HftaOp, MemoryBound, Seen, Session, StreamRef,
};
use crate::split::memory::{self, GroupBound, SHARE_BYTES};
use crate::split::program::{finish, inputs, tuple_expr, tuple_quals};
use crate::split::report::{ColumnNote, HftaNote};
use crate::split::{Place, Planned, Splitter, Stream, follows, ordered_column};
use crate::text::literal;

impl Splitter<'_> {
    /// The HFTA above aggregating LFTAs.
    pub(super) fn complete(
        &mut self,
        a: &AggregateNode,
        partials: Stream,
        kepts: &Kepts,
        seen: Vec<StreamRef>,
        place: Place<'_>,
    ) -> Planned<Stream> {
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, partials.columns.iter().map(|c| c.shipped));
        let (keys, subs) = leaves.split_at(a.keys.len());
        let aggs = kepts
            .basics
            .iter()
            .zip(subs)
            .zip(&partials.columns[a.keys.len()..])
            .map(|((basic, &node), column)| {
                let kind = match basic.kind {
                    AggKind::Count => AggKind::Sum,
                    kind => kind,
                };
                HftaAgg {
                    function: HftaAggFunction::Basic(kind),
                    args: vec![node],
                    consts: Vec::new(),
                    distinct: false,
                    ty: basic.ty,
                    text: format!("{}({})", kind_name(kind), column.info.name),
                }
            })
            .collect();
        let lfta = place.query.options.max_lfta_disorder.saturating_sub(1);
        let parts = Parts {
            dag,
            quals: Vec::new(),
            maxima: partials.columns.iter().take(a.keys.len()).map(|c| c.max).collect(),
            keys: keys.to_vec(),
            aggs,
            over_partials: true,
            tolerance: hfta_tolerance(place).max(lfta),
            time: String::new(),
            seen: (seen, lfta),
        };
        let why = vec!["completes the partial groups of the LFTA".into()];
        self.aggregate_node(a, partials.refs, parts, &kepts.results, place, why)
    }

    /// A full aggregation above.
    pub(super) fn whole_aggregate(
        &mut self,
        a: &AggregateNode,
        input: Stream,
        seen: Vec<StreamRef>,
        place: Place<'_>,
        why: Vec<String>,
    ) -> Planned<Stream> {
        // The gaps of a key are those of all interfaces together, in the order of time.
        let input = match a.session {
            Some(_) => self.single(input, place.below())?,
            None => input,
        };
        let input_names = input.names();
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, input.columns.iter().map(|c| c.shipped));
        let quals = {
            let names = self.tuple_names(&input_names);
            tuple_quals(&mut dag, &leaves, &names, &a.quals)?
        };
        let keys = a
            .keys
            .iter()
            .map(|k| tuple_expr(&mut dag, &leaves, &k.expr))
            .collect::<Planned<Vec<_>>>()?;
        let mut kepts = Kepts::default();
        let mut aggs: Vec<HftaAgg> = Vec::new();
        let mut results = Vec::new();
        for call in &a.aggs {
            if matches!(call.function.kind, FunctionKind::Aggregate(s) if s != Split::HostOnly) {
                // Basic aggregates are numbered first, so that equal ones are kept once.
                kepts.add(call);
            }
        }
        let names = self.tuple_names(&input_names);
        for basic in &kepts.basics {
            let args = match &basic.arg {
                Some(e) => {
                    let node = tuple_expr(&mut dag, &leaves, e)?;
                    vec![operand(&mut dag, basic, node)]
                }
                None => Vec::new(),
            };
            aggs.push(HftaAgg {
                function: HftaAggFunction::Basic(basic.kind),
                args,
                consts: Vec::new(),
                distinct: basic.distinct,
                ty: basic.ty,
                text: sub_text(basic, |e| names.text(e)),
            });
        }
        let mut basic_results = kepts.results.into_iter();
        for call in &a.aggs {
            if matches!(call.function.kind, FunctionKind::Aggregate(s) if s != Split::HostOnly) {
                results.extend(basic_results.next());
                continue;
            }
            let args = call
                .args
                .iter()
                .map(|e| tuple_expr(&mut dag, &leaves, e))
                .collect::<Planned<Vec<_>>>()?;
            results.push(Kept::Direct(aggs.len()));
            aggs.push(HftaAgg {
                function: HftaAggFunction::Host(call.function.symbol),
                args,
                consts: call.consts.clone(),
                distinct: call.distinct,
                ty: call.ty,
                text: call.text.clone(),
            });
        }
        let tolerance = hfta_tolerance(place);
        // A key that is a column as it comes has that column's range.
        let maxima = keys
            .iter()
            .map(|&k| match dag.get(k).op {
                Op::Input(i) => input.columns.get(i as usize).map_or(u64::MAX, |c| c.max),
                _ => value_max(dag.exprs(), k),
            })
            .collect();
        let over_partials = false;
        let seen = (seen, tolerance);
        let time = match a.session.as_ref().map(|session| &session.time.kind) {
            Some(&ExprKind::Column(i)) => input_names.get(i).cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let parts = Parts { dag, quals, keys, maxima, aggs, over_partials, tolerance, time, seen };
        self.aggregate_node(a, input.refs, parts, &results, place, why)
    }

    pub(super) fn aggregate_node(
        &mut self,
        a: &AggregateNode,
        mut refs: Vec<StreamRef>,
        parts: Parts,
        results: &[Kept],
        place: Place<'_>,
        why: Vec<String>,
    ) -> Planned<Stream> {
        let window = window_keys(a);
        let ordered: Vec<OrderedColumn> =
            window.iter().filter_map(|&i| ordered_column(i, &a.keys[i].ordering, false)).collect();
        let key_types: Vec<Type> = parts.keys.iter().map(|&n| parts.dag.ty(n)).collect();
        let mut post = Dag::default();
        let columns = post_columns(&mut post, a, &key_types, &parts.aggs, results);
        let (seen_refs, seen_tolerance) = parts.seen.clone();
        let seen = (!seen_refs.is_empty())
            .then_some(Seen { first_input: refs.len() as u32, tolerance: seen_tolerance });
        refs.extend(seen_refs);
        let having = a
            .having
            .iter()
            .map(|e| tuple_expr(&mut post, &columns, e))
            .collect::<Planned<Vec<_>>>()?;
        let mut outputs = Vec::new();
        let mut ordered_outputs = Vec::new();
        for (i, item) in a.items.iter().enumerate() {
            let node = tuple_expr(&mut post, &columns, &item.expr)?;
            outputs.push(post.cast(node, item.expr.ty));
            if item.ordering.is_temporal()
                && let Some(key) = follows(&item.expr, |c| window.contains(&c))
            {
                ordered_outputs.push((i as u32, key));
            }
        }
        let memory = match &a.session {
            Some(session) => self.session_bound(a, &parts, session, &key_types),
            None => self.group_bound(a, &parts, &window, &key_types),
        };
        let post_names: Vec<String> = a
            .keys
            .iter()
            .map(|k| k.name.clone())
            .chain(a.aggs.iter().map(|g| g.text.clone()))
            .collect();
        let names = self.tuple_names(&post_names);
        let note = HftaNote {
            query: place.query.name.clone(),
            columns: a
                .items
                .iter()
                .map(|i| ColumnNote {
                    name: i.name.clone(),
                    text: names.text(&i.expr),
                    ty: i.expr.ty,
                    ordering: i.ordering.clone(),
                })
                .collect(),
            keys: a
                .keys
                .iter()
                .zip(&key_types)
                .map(|(k, &ty)| ColumnNote {
                    name: k.name.clone(),
                    text: k.name.clone(),
                    ty,
                    ordering: k.ordering.clone(),
                })
                .collect(),
            having: a.having.iter().map(|h| names.text(h)).collect(),
            why,
        };
        let schema = place.columns(&a.items);
        let group = Aggregate {
            exprs: finish(parts.dag),
            quals: parts.quals,
            keys: parts.keys,
            key_types,
            ordered,
            patterns: a.patterns.clone(),
            aggs: parts.aggs,
            post: finish(post),
            having,
            outputs,
            ordered_outputs,
            tolerance: parts.tolerance,
            real_time: place.query.options.real_time && !parts.over_partials,
            over_partials: parts.over_partials,
            seen,
            emit_empty: a.keys.is_empty() && a.session.is_none() && (a.at_end || self.finite),
        };
        let op = match &a.session {
            Some(session) => {
                HftaOp::Session(Box::new(sessions(a, session, results, parts.time, group)))
            }
            None => HftaOp::Aggregate(Box::new(group)),
        };
        Ok(self.push(place.name("aggregate"), refs, op, schema, memory, note))
    }

    fn group_bound(
        &self,
        a: &AggregateNode,
        parts: &Parts,
        window: &[usize],
        key_types: &[Type],
    ) -> MemoryBound {
        let other_keys: Vec<(Type, u64)> = key_types
            .iter()
            .zip(&parts.maxima)
            .enumerate()
            .filter(|(i, _)| !window.contains(i))
            .map(|(_, (&ty, &max))| (ty, max))
            .collect();
        let mut bound = memory::groups(&GroupBound {
            other_keys: &other_keys,
            state_bytes: state_bytes(a, &parts.aggs),
            columns: parts.keys.len() + parts.aggs.len(),
            strings: holds_strings(key_types, &parts.aggs),
            windowed: !window.is_empty(),
            tolerance: parts.tolerance,
            patterns: a.patterns.len().max(1),
            distinct: parts.aggs.iter().any(|g| g.distinct),
        });
        if asks_completeness(a) {
            let windows = if window.is_empty() { 1 } else { parts.tolerance.saturating_add(1) };
            bound.fixed_bytes = bound.fixed_bytes.saturating_add(windows * SHARE_BYTES);
        }
        bound
    }

    fn session_bound(
        &self,
        a: &AggregateNode,
        parts: &Parts,
        session: &SessionNode,
        key_types: &[Type],
    ) -> MemoryBound {
        let mut bound = memory::sessions(
            parts.keys.len() + parts.aggs.len(),
            state_bytes(a, &parts.aggs),
            &literal(&session.gap, session.gap_type),
        );
        if parts.aggs.iter().any(|g| g.distinct) {
            bound.entries.push_str(", and a value per DISTINCT operand");
        }
        if holds_strings(key_types, &parts.aggs) {
            bound.entries.push_str(", plus the bytes of its strings");
        }
        bound
    }
}

/// The sessions of groups.
fn sessions(
    a: &AggregateNode,
    session: &SessionNode,
    results: &[Kept],
    time_text: String,
    group: Aggregate,
) -> Session {
    let follows_end = |column: usize| {
        column.checked_sub(a.keys.len()).is_some_and(|call| session.ended.contains(&call))
    };
    let ended = a.items.iter().enumerate().filter_map(|(i, item)| {
        let column = follows(&item.expr, follows_end).filter(|_| item.ordering.is_temporal())?;
        match results.get(column as usize - a.keys.len())? {
            Kept::Direct(agg) => Some((i as u32, *agg as u32)),
            Kept::Mean { .. } | Kept::OfWindow => None,
        }
    });
    Session {
        ended_outputs: ended.collect(),
        time: match session.time.kind {
            ExprKind::Column(column) => column as u32,
            // The binder and the shipper leave nothing else.
            _ => u32::MAX,
        },
        gap: session.gap.clone(),
        gap_text: literal(&session.gap, session.gap_type),
        time_text,
        group,
    }
}

/// Most bytes of the states of a group's host aggregates.
fn state_bytes(a: &AggregateNode, aggs: &[HftaAgg]) -> u64 {
    let of = |g: &HftaAgg| match g.function {
        HftaAggFunction::Host(symbol) => a
            .aggs
            .iter()
            .find(|c| c.function.symbol == symbol)
            .map_or(0, |c| u64::from(c.function.state_bytes)),
        HftaAggFunction::Basic(_) => 0,
    };
    aggs.iter().map(of).sum()
}

fn holds_strings(key_types: &[Type], aggs: &[HftaAgg]) -> bool {
    key_types.iter().any(|t| t.is_bytes()) || aggs.iter().any(|g| g.ty.is_bytes())
}

/// What an aggregation node is made of.
pub(super) struct Parts {
    pub(super) dag: Dag,
    pub(super) quals: Vec<crate::ir::Qual>,
    pub(super) keys: Vec<NodeId>,
    /// Upper bounds of the keys.
    pub(super) maxima: Vec<u64>,
    pub(super) aggs: Vec<HftaAgg>,
    pub(super) over_partials: bool,
    pub(super) tolerance: u64,
    /// Name of the column that measures sessions.
    pub(super) time: String,
    /// Streams of what was seen, and the windows that they keep open behind the newest.
    pub(super) seen: (Vec<StreamRef>, u64),
}

/// Windows an HFTA keeps open behind the newest.
pub(super) fn hfta_tolerance(place: Place<'_>) -> u64 {
    let options = &place.query.options;
    let epochs = options.max_hfta_disorder.unwrap_or(match options.max_lfta_disorder {
        0 | 1 => 1,
        lfta => lfta.saturating_add(1),
    });
    epochs.saturating_sub(1)
}

/// Columns that HAVING and SELECT see: keys at their declared types, then results.
fn post_columns(
    post: &mut Dag,
    a: &AggregateNode,
    key_types: &[Type],
    aggs: &[HftaAgg],
    results: &[Kept],
) -> Vec<NodeId> {
    let of_window = asks_completeness(a).then_some(Type::Float);
    let types = key_types.iter().copied().chain(aggs.iter().map(|g| g.ty)).chain(of_window);
    let leaves = inputs(post, types);
    result_columns(post, &leaves, a.keys.len(), results)
}
