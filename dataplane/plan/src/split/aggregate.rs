//! Grouping (gsql.md §11, §12, §22): sub-aggregates in the LFTA, super-aggregates above.

use wt_catalog::function::{FunctionKind, Split};
use wt_catalog::{Type, Value, promote};
use wt_lang::Diagnostic;
use wt_lang::ast::{BinaryOp, CmpOp};

use super::memory::{self, GroupBound};
use super::program::{finish, inputs, tuple_expr, tuple_quals};
use super::report::{ColumnNote, HftaNote, LftaNote};
use super::safe::{Shipper, is_safe, unsafe_reason};
use super::select::reasons;
use super::{Column, Place, Planned, Splitter, Stream, follows, ordered_column, prefilter, walk};
use crate::ir::{AggKind, LftaAction, LftaAgg, LftaQuery, NodeId, Op, OrderedColumn};
use crate::logical::{AggCall, AggregateNode, Expr, Item, LogicalNode, ProtocolSource};
use crate::lower::{Dag, value_max};
use crate::physical::{
    Aggregate, ColumnInfo, HftaAgg, HftaAggFunction, HftaOp, MemoryBound, StreamRef,
};

/// An aggregate that every backend has, with its operand.
struct Basic {
    kind: AggKind,
    arg: Option<Expr>,
    distinct: bool,
    ty: Type,
}

/// How the result of an aggregate call follows from the aggregates that are kept.
enum Kept {
    /// It is that one.
    Direct(usize),
    /// A sum over a count.
    Mean {
        sum: usize,
        count: usize,
    },
}

/// Aggregates to keep, and what the calls become.
#[derive(Default)]
struct Kepts {
    basics: Vec<Basic>,
    results: Vec<Kept>,
}

impl Splitter<'_> {
    /// Grouping over packets.
    pub(super) fn aggregate_packets(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        place: Place<'_>,
    ) -> Planned<Stream> {
        self.check_bounded(a, place)?;
        let reasons = unsplittable(a);
        if !reasons.is_empty() {
            return self.over_selection(a, source, place, reasons);
        }
        let mut kepts = Kepts::default();
        for call in &a.aggs {
            kepts.add(call);
        }
        let own = place.query.options.lfta_aggregation && place.top && a.having.is_empty();
        let stream = self.lfta_aggregation(a, source, &kepts, place, own)?;
        if own {
            return self.partials(a, stream, &kepts, place);
        }
        self.complete(a, stream, &kepts, place)
    }

    /// Grouping over tuples.
    pub(super) fn aggregate_tuples(
        &mut self,
        a: &AggregateNode,
        input: &LogicalNode,
        place: Place<'_>,
    ) -> Planned<Stream> {
        self.check_bounded(a, place)?;
        let input = self.node(input, place.below())?;
        self.whole_aggregate(a, input, place, vec!["reads a stream".into()])
    }

    /// State that nothing bounds is refused.
    fn check_bounded(&self, a: &AggregateNode, place: Place<'_>) -> Planned<()> {
        let windowed = !window_keys(a).is_empty();
        if windowed || a.at_end || self.finite || place.query.options.no_temporal_aggr {
            return Ok(());
        }
        Err(Diagnostic::error(
            "unbounded-state",
            place.query.span,
            "groups would be kept for ever: no group variable is ordered",
        )
        .hint("Add a time bucket to GROUP BY, e.g. `time/60 AS minute`: groups then close every minute.")
        .hint("`DEFINE { no_temporal_aggr 'yes'; }` accepts output at the end only, within the memory limit."))
    }

    /// A selection LFTA under a full aggregation.
    fn over_selection(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        place: Place<'_>,
        reasons: Vec<String>,
    ) -> Planned<Stream> {
        let (below, above): (Vec<Expr>, Vec<Expr>) = a.quals.iter().cloned().partition(is_safe);
        let mut shipper = Shipper::new(self.envs(source));
        let keys: Vec<Item> = a
            .keys
            .iter()
            .map(|key| Item { expr: shipper.item(key), ..key.clone() })
            .collect();
        let aggs: Vec<AggCall> = a
            .aggs
            .iter()
            .map(|call| AggCall {
                args: call.args.iter().map(|e| shipper.expr(e)).collect(),
                ..call.clone()
            })
            .collect();
        let quals = above.iter().map(|q| shipper.expr(q)).collect();
        // Tuples that fail the quals advance the window under `real_time`, so they must be seen above.
        let (below, quals) = match place.query.options.real_time {
            true => {
                (Vec::new(), a.quals.iter().map(|q| shipper.expr(q)).collect::<Vec<Expr>>())
            }
            false => (below, quals),
        };
        let input = self.ship(source, &below, shipper, place)?;
        self.note(format!(
            "{}: selection LFTA under a full aggregation, because {}",
            place.query.name,
            reasons.join(", ")
        ));
        let above = AggregateNode { quals, keys, aggs, ..a.clone() };
        self.whole_aggregate(&above, input, place, reasons)
    }

    /// Aggregation LFTAs, one per interface: keys, then one column per sub-aggregate.
    fn lfta_aggregation(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        kepts: &Kepts,
        place: Place<'_>,
        own: bool,
    ) -> Planned<Stream> {
        let options = &place.query.options;
        let mut names_used: Vec<String> = a.keys.iter().map(|k| k.name.clone()).collect();
        let agg_names: Vec<String> = {
            let names = self.packet_names(source);
            kepts
                .basics
                .iter()
                .map(|b| {
                    let name = sub_name(b, |e| names.text(e), &names_used);
                    names_used.push(name.clone());
                    name
                })
                .collect()
        };
        let slots = if a.keys.is_empty() { 1 } else { options.aggregate_slots.max(1) };
        let slots = slots.next_power_of_two();
        let window = window_keys(a);
        let mut refs = Vec::new();
        let mut types: Vec<Type> = Vec::new();
        let mut narrowed = Vec::new();
        let mut maxima = vec![0u64; a.keys.len()];
        for program in self.interfaces(source) {
            let names = crate::text::Names {
                catalog: self.catalog,
                params: &self.logical.params,
                columns: &[],
                chain: &source.chain,
            };
            let builder = &mut self.programs[program].1;
            let lowered = builder.quals(&names, &source.chain, &a.quals)?;
            let mut keys = Vec::new();
            let mut ordered = Vec::new();
            for (i, key) in a.keys.iter().enumerate() {
                let node = builder.expr(&names, &source.chain, &lowered.narrowing, &key.expr)?;
                let node = builder.narrow(node);
                if window.contains(&i) {
                    ordered.extend(ordered_column(i, &key.ordering, builder.from_time(node)));
                }
                maxima[i] = maxima[i].max(value_max(builder.dag.exprs(), node));
                keys.push(node);
            }
            let mut aggs = Vec::new();
            for basic in &kepts.basics {
                let arg = match &basic.arg {
                    Some(e) => {
                        let node =
                            builder.expr(&names, &source.chain, &lowered.narrowing, e)?;
                        Some(operand(&mut builder.dag, basic, node))
                    }
                    None => None,
                };
                aggs.push(LftaAgg { kind: basic.kind, arg, ty: basic.ty });
            }
            types = keys.iter().map(|&n| builder.dag.ty(n)).collect();
            types.extend(aggs.iter().map(|g| g.ty));
            let texts = a
                .keys
                .iter()
                .map(|k| (k.name.clone(), names.text(&k.expr), k.ordering.clone()))
                .chain(kepts.basics.iter().zip(&agg_names).map(|(b, name)| {
                    let text = sub_text(b, |e| names.text(e));
                    (name.clone(), text, wt_catalog::Ordering::Varying)
                }));
            let note = LftaNote {
                query: place.query.name.clone(),
                source: format!(
                    "{}.{}",
                    builder.env.name,
                    walk::chain_text(self.catalog, &source.chain)
                ),
                columns: texts
                    .zip(&types)
                    .map(|((name, text, ordering), &ty)| ColumnNote { name, text, ty, ordering })
                    .collect(),
                host_only: Vec::new(),
                plain_bytes: None,
                memory: memory::lfta_table(slots, types.len()),
            };
            let cheap = if options.real_time {
                // Every packet may advance the window.
                Vec::new()
            } else {
                prefilter::cheap(&mut builder.dag, &lowered.requires, &lowered.quals)
            };
            narrowed = lowered.narrowing.names(self.catalog);
            let query = builder.push(
                LftaQuery {
                    name: match own {
                        true => place.query.name.clone(),
                        false => format!("_fta_{}", place.query.name),
                    },
                    requires: lowered.requires,
                    quals: lowered.quals,
                    action: LftaAction::Aggregate {
                        keys,
                        ordered,
                        aggs,
                        slots,
                        tolerance: options.max_lfta_disorder.saturating_sub(1),
                        real_time: options.real_time,
                    },
                    snap_len_bytes: None,
                },
                note,
                cheap,
            );
            refs.push(StreamRef::Lfta { interface: program as u32, query });
        }
        self.note(format!(
            "{}: split aggregation: {} sub-aggregates for {} calls, {} slots per interface",
            place.query.name,
            kepts.basics.len(),
            a.aggs.len(),
            slots
        ));
        if !narrowed.is_empty() {
            self.note(format!(
                "{}: narrowed to {}: addresses travel in their own width",
                place.query.name,
                narrowed.join(", ")
            ));
        }
        let keys = a.keys.iter().enumerate().map(|(i, k)| ColumnInfo {
            name: k.name.clone(),
            ty: k.expr.ty,
            ordering: match window.contains(&i) {
                true => k.ordering.clone(),
                false => wt_catalog::Ordering::Varying,
            },
            window: window.contains(&i),
            subtype: None,
        });
        let aggs = kepts.basics.iter().zip(agg_names).map(|(b, name)| ColumnInfo {
            name,
            ty: b.ty,
            ordering: wt_catalog::Ordering::Varying,
            window: false,
            subtype: None,
        });
        maxima.resize(types.len(), u64::MAX);
        let columns = keys
            .chain(aggs)
            .zip(types)
            .zip(maxima)
            .map(|((info, shipped), max)| Column { info, shipped, max })
            .collect();
        Ok(Stream { refs, columns })
    }

    /// The HFTA above aggregating LFTAs.
    fn complete(
        &mut self,
        a: &AggregateNode,
        partials: Stream,
        kepts: &Kepts,
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
        };
        let why = vec!["completes the partial groups of the LFTA".into()];
        self.aggregate_node(a, partials.refs, parts, &kepts.results, place, why)
    }

    /// A full aggregation above.
    fn whole_aggregate(
        &mut self,
        a: &AggregateNode,
        input: Stream,
        place: Place<'_>,
        why: Vec<String>,
    ) -> Planned<Stream> {
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
        let parts = Parts { dag, quals, keys, maxima, aggs, over_partials: false, tolerance };
        self.aggregate_node(a, input.refs, parts, &results, place, why)
    }

    fn aggregate_node(
        &mut self,
        a: &AggregateNode,
        refs: Vec<StreamRef>,
        parts: Parts,
        results: &[Kept],
        place: Place<'_>,
        why: Vec<String>,
    ) -> Planned<Stream> {
        let window = window_keys(a);
        let ordered: Vec<OrderedColumn> = window
            .iter()
            .filter_map(|&i| ordered_column(i, &a.keys[i].ordering, false))
            .collect();
        let key_types: Vec<Type> = parts.keys.iter().map(|&n| parts.dag.ty(n)).collect();
        let mut post = Dag::default();
        let columns = post_columns(&mut post, a, &key_types, &parts.aggs, results);
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
        let memory = self.group_bound(a, &parts, &window, &key_types);
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
        let op = HftaOp::Aggregate(Box::new(Aggregate {
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
            emit_empty: a.keys.is_empty() && (a.at_end || self.finite),
        }));
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
        let host_bytes = |g: &HftaAgg| match g.function {
            HftaAggFunction::Host(symbol) => a
                .aggs
                .iter()
                .find(|c| c.function.symbol == symbol)
                .map_or(0, |c| u64::from(c.function.state_bytes)),
            HftaAggFunction::Basic(_) => 0,
        };
        memory::groups(&GroupBound {
            other_keys: &other_keys,
            state_bytes: parts.aggs.iter().map(host_bytes).sum(),
            columns: parts.keys.len() + parts.aggs.len(),
            strings: key_types.iter().any(|t| t.is_bytes())
                || parts.aggs.iter().any(|g| g.ty.is_bytes()),
            windowed: !window.is_empty(),
            tolerance: parts.tolerance,
            patterns: a.patterns.len().max(1),
            distinct: parts.aggs.iter().any(|g| g.distinct),
        })
    }

    /// `lfta_aggregation`: the partial groups are the result, under the query's name.
    fn partials(
        &mut self,
        a: &AggregateNode,
        stream: Stream,
        kepts: &Kepts,
        place: Place<'_>,
    ) -> Planned<Stream> {
        let as_they_are = a.items.len() == stream.columns.len()
            && a.items.iter().enumerate().all(|(i, item)| {
                let direct = |c: usize| match c.checked_sub(a.keys.len()) {
                    None => true,
                    Some(g) => matches!(kepts.results.get(g), Some(Kept::Direct(b)) if *b == g),
                };
                matches!(item.expr.kind, crate::logical::ExprKind::Column(c) if c == i && direct(c))
                    && stream.columns[i].shipped == item.expr.ty
            });
        if as_they_are && stream.refs.len() == 1 {
            return Ok(stream);
        }
        let stream = self.single(stream, place.below())?;
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, stream.columns.iter().map(|c| c.shipped));
        let columns = result_columns(&mut dag, &leaves, a.keys.len(), &kepts.results);
        let window = window_keys(a);
        let mut outputs = Vec::new();
        let mut ordered = Vec::new();
        for (i, item) in a.items.iter().enumerate() {
            let node = tuple_expr(&mut dag, &columns, &item.expr)?;
            outputs.push(dag.cast(node, item.expr.ty));
            if let Some(key) = follows(&item.expr, |c| window.contains(&c)) {
                ordered.push((i as u32, key));
            }
        }
        let note = HftaNote {
            query: place.query.name.clone(),
            why: vec!["projects the partial groups that `lfta_aggregation` keeps".into()],
            ..HftaNote::default()
        };
        let op = HftaOp::Select { exprs: finish(dag), quals: Vec::new(), outputs, ordered };
        let schema = place.columns(&a.items);
        Ok(self.push(place.name("select"), stream.refs, op, schema, memory::stateless(), note))
    }
}

/// What an aggregation node is made of.
struct Parts {
    dag: Dag,
    quals: Vec<crate::ir::Qual>,
    keys: Vec<NodeId>,
    /// Upper bounds of the keys.
    maxima: Vec<u64>,
    aggs: Vec<HftaAgg>,
    over_partials: bool,
    tolerance: u64,
}

impl Kepts {
    /// Adds what a splittable call needs.
    fn add(&mut self, call: &AggCall) {
        let FunctionKind::Aggregate(split) = call.function.kind else { return };
        let arg = call.args.first();
        let kind = match split {
            Split::Count => AggKind::Count,
            Split::Sum => AggKind::Sum,
            Split::Min => AggKind::Min,
            Split::Max => AggKind::Max,
            Split::BitAnd => AggKind::BitAnd,
            Split::BitOr => AggKind::BitOr,
            Split::BitXor => AggKind::BitXor,
            Split::Avg => {
                let wide = arg.and_then(|a| promote::wide_sum(a.ty)).unwrap_or(Type::Float);
                let sum = self.basic(AggKind::Sum, arg, call.distinct, wide);
                let count = self.basic(AggKind::Count, arg, call.distinct, Type::Ullong);
                self.results.push(Kept::Mean { sum, count });
                return;
            }
            Split::HostOnly => return,
        };
        let index = self.basic(kind, arg, call.distinct, call.ty);
        self.results.push(Kept::Direct(index));
    }

    /// The index of an aggregate, kept once however often it is asked for.
    fn basic(&mut self, kind: AggKind, arg: Option<&Expr>, distinct: bool, ty: Type) -> usize {
        // COUNT(x) counts the tuples; x only has to be there, which a sum over it or DISTINCT already demands.
        let counted_elsewhere = kind == AggKind::Count
            && !distinct
            && arg.is_some_and(|a| {
                self.basics.iter().any(|b| b.arg.as_ref().is_some_and(|b| walk::same(a, b)))
            });
        let arg = arg.filter(|_| !counted_elsewhere);
        let same_arg = |b: &Basic| match (&b.arg, arg) {
            (None, None) => true,
            (Some(x), Some(y)) => walk::same(x, y),
            _ => false,
        };
        let known = self
            .basics
            .iter()
            .position(|b| b.kind == kind && b.ty == ty && b.distinct == distinct && same_arg(b));
        known.unwrap_or_else(|| {
            self.basics.push(Basic { kind, arg: arg.cloned(), distinct, ty });
            self.basics.len() - 1
        })
    }
}

/// Why an aggregation cannot run in an LFTA; empty when it can.
fn unsplittable(a: &AggregateNode) -> Vec<String> {
    let mut found = reasons(
        a.quals
            .iter()
            .chain(a.keys.iter().map(|k| &k.expr))
            .chain(a.aggs.iter().flat_map(|g| &g.args)),
    );
    for call in &a.aggs {
        let name = call.function.name;
        let splits = matches!(call.function.kind, FunctionKind::Aggregate(s) if s != Split::HostOnly);
        if call.distinct {
            found.push(format!("`{}` must see every value", call.text));
        } else if !splits {
            found.push(format!("`{name}` keeps its state on the host"));
        } else if !call.function.lfta_legal {
            found.push(format!("`{name}` of a string does not fit the fixed table"));
        }
    }
    for key in &a.keys {
        let fixed = matches!(
            key.expr.kind,
            crate::logical::ExprKind::InterfaceProperty(_) | crate::logical::ExprKind::Const(_)
        );
        if key.expr.ty.is_bytes() && !fixed && unsafe_reason(&key.expr).is_none() {
            found.push(format!("key `{}` is a string, which does not fit the fixed table", key.name));
        }
    }
    found.dedup();
    found
}

/// Keys that name the window: ordered, and on in every grouping pattern.
fn window_keys(a: &AggregateNode) -> Vec<usize> {
    (0..a.keys.len())
        .filter(|&i| {
            a.keys[i].ordering.is_temporal()
                && a.patterns.iter().all(|p| i >= 64 || p & (1 << i) != 0)
        })
        .collect()
}

/// Windows an HFTA keeps open behind the newest.
fn hfta_tolerance(place: Place<'_>) -> u64 {
    let options = &place.query.options;
    let epochs = options.max_hfta_disorder.unwrap_or(match options.max_lfta_disorder {
        0 | 1 => 1,
        lfta => lfta.saturating_add(1),
    });
    epochs.saturating_sub(1)
}

/// The operand at the width the aggregate works in.
fn operand(dag: &mut Dag, basic: &Basic, node: NodeId) -> NodeId {
    match basic.kind {
        AggKind::Count => node,
        _ => dag.cast(node, basic.ty),
    }
}

/// Columns that HAVING and SELECT see: keys at their declared types, then results.
fn post_columns(
    post: &mut Dag,
    a: &AggregateNode,
    key_types: &[Type],
    aggs: &[HftaAgg],
    results: &[Kept],
) -> Vec<NodeId> {
    let types = key_types.iter().copied().chain(aggs.iter().map(|g| g.ty));
    let leaves = inputs(post, types);
    result_columns(post, &leaves, a.keys.len(), results)
}

fn result_columns(
    dag: &mut Dag,
    leaves: &[NodeId],
    keys: usize,
    results: &[Kept],
) -> Vec<NodeId> {
    let (keys, aggs) = leaves.split_at(keys.min(leaves.len()));
    let mut columns = keys.to_vec();
    for result in results {
        columns.push(match *result {
            Kept::Direct(i) => aggs[i],
            Kept::Mean { sum, count } => mean(dag, aggs[sum], aggs[count]),
        });
    }
    columns
}

/// Real division; the mean of nothing is the type's default.
fn mean(dag: &mut Dag, sum: NodeId, count: NodeId) -> NodeId {
    let none = dag.uint(0, Type::Ullong);
    let some = dag.node(Op::Compare(CmpOp::Ne, count, none), Type::Bool);
    let (sum, count) = (dag.cast(sum, Type::Float), dag.cast(count, Type::Float));
    let quotient = dag.node(Op::Binary(BinaryOp::Div, sum, count), Type::Float);
    let zero = dag.constant(Value::Float(0.0), Type::Float);
    dag.select(some, quotient, zero)
}

fn kind_name(kind: AggKind) -> &'static str {
    match kind {
        AggKind::Count => "COUNT",
        AggKind::Sum => "SUM",
        AggKind::Min => "MIN",
        AggKind::Max => "MAX",
        AggKind::BitAnd => "AND_AGGR",
        AggKind::BitOr => "OR_AGGR",
        AggKind::BitXor => "XOR_AGGR",
    }
}

fn sub_text(basic: &Basic, text: impl Fn(&Expr) -> String) -> String {
    let distinct = if basic.distinct { "DISTINCT " } else { "" };
    match &basic.arg {
        Some(arg) => format!("{}({distinct}{})", kind_name(basic.kind), text(arg)),
        None => format!("{}(*)", kind_name(basic.kind)),
    }
}

/// Names as gsql.md §22 shows them: `SUM_len`, `Cnt`.
fn sub_name(basic: &Basic, text: impl Fn(&Expr) -> String, used: &[String]) -> String {
    let base = match &basic.arg {
        None => "Cnt".to_owned(),
        Some(arg) => {
            let text = text(arg);
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            format!("{}_{}", kind_name(basic.kind), if plain { text.as_str() } else { "SE" })
        }
    };
    let mut name = base.clone();
    let mut n = 1;
    while used.contains(&name) {
        name = format!("{base}{n}");
        n += 1;
    }
    name
}
