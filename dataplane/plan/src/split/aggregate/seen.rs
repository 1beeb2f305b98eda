//! What `window_completeness()` needs: a selection LFTA per interface that ships the window of every packet, and whether the
//! capture has what the query reads of it.

use wt_catalog::protocol::Meta;
use wt_catalog::{Ordering, Type};
use wt_lang::ast::CmpOp;

use super::{asks_completeness, window_keys};
use crate::ir::{LayerId, LayerSel, LftaAction, LftaQuery, NodeId, Op};
use crate::logical::{AggregateNode, ProtocolSource};
use crate::lower::{Dag, Narrowing};
use crate::physical::{MemoryBound, StreamRef};
use crate::split::program::roots;
use crate::split::report::{ColumnNote, LftaNote};
use crate::split::snap::{Packets, Snap};
use crate::split::{Place, Planned, Splitter, Stream, ordered_column};
use crate::text::Names;

impl Splitter<'_> {
    /// The streams of what was seen, one for each LFTA of `below`, in their order; none when the query does not ask. Their columns:
    /// the components of the window, and whether the packet was seen.
    pub(super) fn seen(
        &mut self,
        a: &AggregateNode,
        source: &ProtocolSource,
        below: &Stream,
        place: Place<'_>,
    ) -> Planned<Vec<StreamRef>> {
        let mut refs = Vec::new();
        if !asks_completeness(a) {
            return Ok(refs);
        }
        let window = window_keys(a);
        for stream in &below.refs {
            let StreamRef::Lfta { interface, query } = *stream else { continue };
            let names = Names {
                catalog: self.catalog,
                params: &self.logical.params,
                columns: &[],
                chain: &source.chain,
            };
            let builder = &mut self.programs[interface as usize].1;
            let of_query = &builder.queries[query as usize];
            let bytes = Snap::new(self.parse, Packets::Plain).bytes(
                builder.dag.exprs(),
                builder.dag.layers(),
                roots(of_query),
                &of_query.requires,
            );
            let headers = headers(&builder.dag, of_query);
            let (mut outputs, mut ordered, mut columns) = (Vec::new(), Vec::new(), Vec::new());
            for (i, key) in window.iter().map(|&key| &a.keys[key]).enumerate() {
                let nothing = Narrowing::default();
                let node = builder.expr(&names, &source.chain, &nothing, &key.expr)?;
                ordered.extend(ordered_column(i, &key.ordering, builder.follows_time(node)));
                columns.push(ColumnNote {
                    name: key.name.clone(),
                    text: names.text(&key.expr),
                    ty: builder.dag.ty(node),
                    ordering: key.ordering.clone(),
                });
                outputs.push(node);
            }
            let (node, text) = is_seen(&mut builder.dag, bytes, headers);
            outputs.push(node);
            columns.push(ColumnNote {
                name: "seen".to_owned(),
                text,
                ty: Type::Bool,
                ordering: Ordering::Varying,
            });
            let note = LftaNote {
                query: place.query.name.clone(),
                source: format!("{}.packet", builder.env.name),
                columns,
                host_only: Vec::new(),
                plain_bytes: None,
                memory: MemoryBound::default(),
            };
            let query = LftaQuery {
                name: format!("_seen_{}", place.query.name),
                requires: Vec::new(),
                quals: Vec::new(),
                action: LftaAction::Select { outputs, ordered },
                snap_len_bytes: None,
            };
            let query = builder.push(query, note, Vec::new());
            refs.push(StreamRef::Lfta { interface, query });
        }
        self.note(format!(
            "{}: every packet's window goes to the HFTA, for the share that was seen",
            place.query.name
        ));
        Ok(refs)
    }
}

/// Whether a record holds what the query reads of its packet: all of the packet, as many bytes as the query reads of a plain one, or
/// the headers that it reads.
fn is_seen(dag: &mut Dag, bytes: Option<u32>, headers: Option<Vec<LayerId>>) -> (NodeId, String) {
    if bytes == Some(0) {
        return (dag.bool(true), "TRUE".to_owned());
    }
    let captured = dag.node(Op::Meta(Meta::CapLen), Type::Uint);
    let on_the_wire = dag.node(Op::Meta(Meta::Len), Type::Uint);
    let mut seen = dag.node(Op::Compare(CmpOp::Ge, captured, on_the_wire), Type::Bool);
    let mut text = "caplen >= len".to_owned();
    if let Some(bytes) = bytes {
        let needed = dag.uint(u64::from(bytes), Type::Uint);
        let enough = dag.node(Op::Compare(CmpOp::Ge, captured, needed), Type::Bool);
        seen = dag.or(seen, enough);
        text.push_str(&format!(" OR caplen >= {bytes}"));
    }
    if let Some(headers) = headers {
        // A header is on the path only when it is captured to its end.
        let all = headers.into_iter().fold(None, |all: Option<NodeId>, layer| {
            let present = dag.node(Op::Present(layer), Type::Bool);
            Some(all.map_or(present, |all| dag.and(all, present)))
        });
        if let Some(all) = all {
            seen = dag.or(seen, all);
            text.push_str(" OR its headers are captured");
        }
    }
    (seen, text)
}

/// The headers that a query reads, when it reads nothing else of the packet's bytes.
fn headers(dag: &Dag, query: &LftaQuery) -> Option<Vec<LayerId>> {
    let exprs = dag.exprs();
    let mut found = query.requires.clone();
    let mut seen = vec![false; exprs.nodes.len()];
    let mut pending = roots(query);
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        let op = &exprs.nodes[id.0 as usize].op;
        if matches!(op, Op::Slice { .. }) {
            return None;
        }
        if let Some(layer) = op.layer() {
            found.push(layer);
        }
        pending.extend(op.operands());
    }
    found.sort_unstable_by_key(|layer| layer.0);
    found.dedup();
    let of_record = |layer: &LayerId| dag.layers()[layer.0 as usize] == LayerSel::Packet;
    (!found.iter().any(of_record)).then_some(found)
}
