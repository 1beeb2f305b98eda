//! Aggregation in the LFTA: full key, sub-aggregates, a small direct-mapped table.

use wt_catalog::Type;

use super::kept::{Kept, Kepts, operand, result_columns, sub_name, sub_text};
use super::{asks_completeness, window_keys};
use crate::ir::{LftaAction, LftaAgg, LftaQuery};
use crate::logical::{AggregateNode, ProtocolSource};
use crate::lower::{Dag, value_max};
use crate::physical::{ColumnInfo, HftaOp, StreamRef};
use crate::split::program::{finish, inputs, tuple_expr};
use crate::split::report::{ColumnNote, HftaNote, LftaNote};
use crate::split::{
    Column, Place, Planned, Splitter, Stream, follows, memory, ordered_column, prefilter,
};
use crate::walk;

/// What partial groups are.
#[derive(Clone, Copy)]
pub(super) enum Partial {
    /// Parts of the query's groups.
    Completed,
    /// The result.
    Result,
    /// Parts of the query's groups that differ in so many values, the last keys.
    ByValue(u32),
}

impl Splitter<'_> {
    /// Aggregation LFTAs, one per interface: keys, then one column per sub-aggregate.
    pub(super) fn lfta_aggregation(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        kepts: &Kepts,
        place: Place<'_>,
        kind: Partial,
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
                    ordered.extend(ordered_column(i, &key.ordering, builder.follows_time(node)));
                }
                maxima[i] = maxima[i].max(value_max(builder.dag.exprs(), node));
                keys.push(node);
            }
            let mut aggs = Vec::new();
            for basic in &kepts.basics {
                let arg = match &basic.arg {
                    Some(e) => {
                        let node = builder.expr(&names, &source.chain, &lowered.narrowing, e)?;
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
            // What share of a window was seen is of all its packets, so all of them move it.
            let real_time = options.real_time || asks_completeness(a);
            let cheap = if real_time {
                // Every packet may advance the window.
                Vec::new()
            } else {
                prefilter::cheap(&mut builder.dag, &lowered.requires, &lowered.quals)
            };
            narrowed = lowered.narrowing.names(self.catalog);
            let query = builder.push(
                LftaQuery {
                    name: match kind {
                        Partial::Result => place.query.name.clone(),
                        _ => format!("_fta_{}", place.query.name),
                    },
                    requires: lowered.requires,
                    quals: lowered.quals,
                    action: LftaAction::Aggregate {
                        keys,
                        ordered,
                        aggs,
                        slots,
                        tolerance: options.max_lfta_disorder.saturating_sub(1),
                        real_time,
                        values: match kind {
                            Partial::ByValue(values) => values,
                            _ => 0,
                        },
                    },
                    snap_len_bytes: None,
                },
                note,
                cheap,
            );
            refs.push(StreamRef::Lfta { interface: program as u32, query });
        }
        self.note(format!(
            "{}: split aggregation: the LFTA keeps {} for {}, in {} per interface",
            place.query.name,
            counted(kepts.basics.len(), "sub-aggregate"),
            counted(a.aggs.len(), "aggregate call"),
            counted(slots as usize, "slot")
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

    /// `lfta_aggregation`: the partial groups are the result, under the query's name.
    pub(super) fn partials(
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

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
