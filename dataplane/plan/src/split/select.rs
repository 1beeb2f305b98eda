//! Selection (gsql.md §10, §22).

use super::memory::stateless;
use super::program::{finish, inputs, tuple_expr, tuple_quals};
use super::report::{ColumnNote, HftaNote, LftaNote};
use super::safe::{Shipped, Shipper, is_safe, unsafe_reason};
use super::{Column, Place, Planned, Splitter, Stream, follows, ordered_column, prefilter};
use crate::ir::{LftaAction, LftaQuery};
use crate::logical::{Expr, Item, LogicalNode, ProtocolSource, SelectNode};
use crate::lower::{Dag, value_max};
use crate::physical::{ColumnInfo, HftaOp, MemoryBound, StreamRef};

impl Splitter<'_> {
    /// A selection over packets: in the LFTA when all of it is safe, else split.
    pub(super) fn select_packets(
        &mut self,
        select: &SelectNode,
        source: &ProtocolSource,
        place: Place<'_>,
    ) -> Planned<Stream> {
        let columns = place.columns(&select.items);
        let reasons = reasons(select.quals.iter().chain(select.items.iter().map(|i| &i.expr)));
        if reasons.is_empty() {
            let shipped = whole(&select.items, &columns);
            let own = place.top && source.interfaces.len() == 1;
            let form = LftaForm { own, narrow: false };
            return self.lfta_selection(source, &select.quals, &shipped, place, form);
        }
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            select.quals.iter().cloned().partition(is_safe);
        let mut shipper = Shipper::new(self.envs(source));
        let items: Vec<Item> = select
            .items
            .iter()
            .map(|item| Item { expr: shipper.item(item), ..item.clone() })
            .collect();
        let above: Vec<Expr> = above.iter().map(|q| shipper.expr(q)).collect();
        let stream = self.ship(source, &below, shipper, place)?;
        self.note(format!(
            "{}: split selection: {} of {} conjuncts and {} columns in the LFTA, because {}",
            place.query.name,
            below.len(),
            select.quals.len(),
            stream.columns.len(),
            reasons.join(", ")
        ));
        let stream = self.single(stream, place.below())?;
        self.hfta_selection(&stream, &above, &items, columns, place, reasons)
    }

    /// A selection over tuples.
    pub(super) fn select_tuples(
        &mut self,
        select: &SelectNode,
        input: &LogicalNode,
        place: Place<'_>,
    ) -> Planned<Stream> {
        let input = self.node(input, place.below())?;
        let input = self.single(input, place.below())?;
        let columns = place.columns(&select.items);
        let why = vec!["reads a stream".to_owned()];
        self.hfta_selection(&input, &select.quals, &select.items, columns, place, why)
    }

    /// An LFTA that ships what runs above, on every interface of the source.
    pub(super) fn ship(
        &mut self,
        source: &ProtocolSource,
        quals: &[Expr],
        mut shipper: Shipper<'_>,
        place: Place<'_>,
    ) -> Planned<Stream> {
        let names = self.packet_names(source);
        shipper.name_columns(|e| names.text(e));
        let form = LftaForm { own: false, narrow: true };
        self.lfta_selection(source, quals, &shipper.columns, place, form)
    }

    /// Selection LFTAs, one per interface.
    pub(super) fn lfta_selection(
        &mut self,
        source: &ProtocolSource,
        quals: &[Expr],
        shipped: &[Shipped],
        place: Place<'_>,
        form: LftaForm,
    ) -> Planned<Stream> {
        let name =
            if form.own { place.query.name.clone() } else { format!("_fta_{}", place.query.name) };
        let mut refs = Vec::new();
        let mut types = Vec::new();
        let mut maxima = vec![0u64; shipped.len()];
        for program in self.interfaces(source) {
            let names = crate::text::Names {
                catalog: self.catalog,
                params: &self.logical.params,
                columns: &[],
                chain: &source.chain,
            };
            let builder = &mut self.programs[program].1;
            let lowered = builder.quals(&names, &source.chain, quals)?;
            let mut outputs = Vec::new();
            let mut ordered = Vec::new();
            for (i, column) in shipped.iter().enumerate() {
                let node = builder.expr(&names, &source.chain, &lowered.narrowing, &column.expr)?;
                let node = if form.narrow { builder.narrow(node) } else { node };
                ordered.extend(ordered_column(i, &column.ordering, builder.follows_time(node)));
                maxima[i] = maxima[i].max(value_max(builder.dag.exprs(), node));
                outputs.push(node);
            }
            types = outputs.iter().map(|&n| builder.dag.ty(n)).collect();
            let cheap = prefilter::cheap(&mut builder.dag, &lowered.requires, &lowered.quals);
            let note = LftaNote {
                query: place.query.name.clone(),
                source: format!(
                    "{}.{}",
                    builder.env.name,
                    crate::walk::chain_text(self.catalog, &source.chain)
                ),
                columns: shipped
                    .iter()
                    .zip(&types)
                    .map(|(c, &ty)| ColumnNote {
                        name: c.name.clone(),
                        text: names.text(&c.expr),
                        ty,
                        ordering: c.ordering.clone(),
                    })
                    .collect(),
                host_only: Vec::new(),
                plain_bytes: None,
                memory: MemoryBound::default(),
            };
            let narrowed = lowered.narrowing.names(self.catalog);
            let query = builder.push(
                LftaQuery {
                    name: name.clone(),
                    requires: lowered.requires,
                    quals: lowered.quals,
                    action: LftaAction::Select { outputs, ordered },
                    snap_len_bytes: None,
                },
                note,
                cheap,
            );
            refs.push(StreamRef::Lfta { interface: program as u32, query });
            if !narrowed.is_empty() && refs.len() == 1 {
                let note = format!(
                    "{}: narrowed to {}: addresses travel in their own width",
                    place.query.name,
                    narrowed.join(", ")
                );
                self.note(note);
            }
        }
        let columns = shipped
            .iter()
            .zip(types)
            .zip(maxima)
            .map(|((c, shipped), max)| Column {
                info: ColumnInfo {
                    name: c.name.clone(),
                    ty: c.expr.ty,
                    ordering: c.ordering.clone(),
                    window: c.window,
                    subtype: None,
                },
                shipped,
                max,
            })
            .collect();
        Ok(Stream { refs, columns })
    }

    /// Selection above.
    fn hfta_selection(
        &mut self,
        input: &Stream,
        quals: &[Expr],
        items: &[Item],
        columns: Vec<ColumnInfo>,
        place: Place<'_>,
        why: Vec<String>,
    ) -> Planned<Stream> {
        let input_names = input.names();
        let names = self.tuple_names(&input_names);
        let mut dag = Dag::default();
        let leaves = inputs(&mut dag, input.columns.iter().map(|c| c.shipped));
        let lowered = tuple_quals(&mut dag, &leaves, &names, quals)?;
        let mut outputs = Vec::new();
        let mut ordered = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let node = tuple_expr(&mut dag, &leaves, &item.expr)?;
            outputs.push(dag.cast(node, item.expr.ty));
            let is_ordered =
                |c: usize| input.columns.get(c).is_some_and(|c| c.info.ordering.is_temporal());
            if item.ordering.is_temporal()
                && let Some(follows) = follows(&item.expr, is_ordered)
            {
                ordered.push((i as u32, follows));
            }
        }
        let note = HftaNote {
            query: place.query.name.clone(),
            columns: items
                .iter()
                .map(|i| ColumnNote {
                    name: i.name.clone(),
                    text: names.text(&i.expr),
                    ty: i.expr.ty,
                    ordering: i.ordering.clone(),
                })
                .collect(),
            why,
            ..HftaNote::default()
        };
        let op = HftaOp::Select { exprs: finish(dag), quals: lowered, outputs, ordered };
        let name = place.name("select");
        Ok(self.push(name, input.refs.clone(), op, columns, stateless(), note))
    }
}

/// How a selection LFTA stands to what is above it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LftaForm {
    /// Its stream is the query's own.
    pub own: bool,
    /// Whoever reads it widens addresses again.
    pub narrow: bool,
}

/// Every item as a shipped column of its own, duplicates included: the stream is the query's.
pub(super) fn whole(items: &[Item], columns: &[ColumnInfo]) -> Vec<Shipped> {
    items
        .iter()
        .zip(columns)
        .map(|(item, column)| Shipped {
            expr: item.expr.clone(),
            name: column.name.clone(),
            ordering: item.ordering.clone(),
            window: item.window,
        })
        .collect()
}

/// Why not everything is LFTA-safe, each reason once.
pub(super) fn reasons<'e>(exprs: impl Iterator<Item = &'e Expr>) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for reason in exprs.filter_map(unsafe_reason) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}
