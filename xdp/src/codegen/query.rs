//! Queries as code: required layers, quals in order, then a tuple or a group.

use wt_plan::ir::{LftaAction, LftaAgg, LftaProgram, LftaQuery, NodeId};

use super::Failure;
use super::clock::Asked;
use super::emit::{ABSENT, Emitter, FRAME, HEADER, S, Unportable};
use super::paths::Paths;
use super::scope::{Lacks, LayerAt, Pointer, PointerAt, Scope};
use super::spec::{ActionLayout, QueryLayout, RECORD_HEAD_WORDS, query_counters};
use super::walk::Cells;
use crate::asm::{AluOp, Cond, Helper, Insn, Label, Reg, Size};

/// Words of a record for a tuple before its columns: the head, and the ordinal.
const TUPLE_HEAD_WORDS: u32 = RECORD_HEAD_WORDS + 1;

/// Readers look into the ring when they please: waking them costs more than the record.
const NO_WAKEUP: i32 = 1;

/// What kinds of records there are.
pub(crate) mod record {
    /// A tuple of a selection.
    pub(crate) const TUPLE: u32 = 0;
    /// A partial group that had to leave its table.
    pub(crate) const GROUP: u32 = 1;
    /// A packet for the queries of the host.
    pub(crate) const PACKET: u32 = 2;
}

/// What the queries of a program have in common.
pub(super) struct Queries<'q, 'p> {
    pub(super) program: &'p LftaProgram,
    pub(super) paths: &'q Paths<'p>,
    pub(super) cells: &'q Cells,
    /// By layer: where it is.
    pub(super) layers: Vec<LayerAt>,
    /// First word of the frame for the row at hand.
    pub(super) row: u32,
    /// The prefilter is asked when a query lacks a value, not before all queries.
    pub(super) prefilter_late: bool,
}

/// Whether windows of a query advance with every packet.
pub(super) fn sees_all(query: &LftaQuery) -> bool {
    matches!(query.action, LftaAction::Aggregate { real_time: true, .. })
}

/// The nodes that a query evaluates. Ordered keys are read twice.
fn roots(query: &LftaQuery) -> Vec<NodeId> {
    let mut roots: Vec<NodeId> = query.quals.iter().map(|qual| qual.node).collect();
    match &query.action {
        LftaAction::Select { outputs, .. } => roots.extend(outputs),
        LftaAction::Aggregate { keys, ordered, aggs, .. } => {
            roots.extend(keys);
            roots.extend(ordered.iter().map(|column| keys[column.column as usize]));
            roots.extend(aggs.iter().filter_map(|agg| agg.arg));
        }
    }
    roots
}

/// Computes the operands of aggregates, and says where they are. The last is in `S[0]` too.
fn operands(
    e: &mut Emitter,
    scope: &mut Scope<'_>,
    aggs: &[LftaAgg],
) -> Result<Vec<Option<Arg>>, Unportable> {
    let mut args = Vec::with_capacity(aggs.len());
    for agg in aggs {
        let Some(arg) = agg.arg else {
            args.push(None);
            continue;
        };
        e.rooted(scope, arg, &mut |e, scope| e.word(scope, arg, 0))?;
        if e.is_length(scope, arg) {
            args.push(Some(Arg::Length));
            continue;
        }
        let at = e.take(1)?;
        e.store_scratch(at, S[0]);
        args.push(Some(Arg::At(at)));
    }
    Ok(args)
}

/// Where the operand of an aggregate is.
#[derive(Clone, Copy)]
pub(super) enum Arg {
    /// In a scratch word.
    At(i16),
    /// It is the packet's length, which is computed anew in less than it takes to keep it.
    Length,
}

impl Queries<'_, '_> {
    pub(super) fn scope(&self, roots: &[NodeId], lacks: Lacks) -> Scope<'_> {
        let counts = self.paths.counts.iter().copied().zip(self.cells.counts.iter().copied());
        Scope::new(&self.program.exprs, self.layers.clone(), counts.collect(), roots, lacks)
    }

    /// Emits the prefilter, when it is to be asked first, and the queries. Packets that none of them wants go to `unwanted`.
    pub(super) fn served(
        &self,
        e: &mut Emitter,
        wanted: &[usize],
        layouts: &[QueryLayout],
        prefilter: Option<NodeId>,
        unwanted: Label,
    ) -> Result<(), Failure> {
        if let Some(node) = prefilter {
            e.asm.comment("does any query want the packet?");
            self.prefilter(e, node, unwanted)?;
        }
        self.all(e, wanted, layouts)
    }

    /// Goes to `unwanted` when the prefilter says that no query wants the packet.
    pub(super) fn prefilter(
        &self,
        e: &mut Emitter,
        node: NodeId,
        unwanted: Label,
    ) -> Result<(), Unportable> {
        let wanted = e.asm.label();
        let lacks = Lacks { absent: wanted, failed: wanted };
        let mark = e.memory_mark();
        let mut scope = self.scope(&[node], lacks);
        e.ask(&mut Asked::default(), scope.exprs, &[node]);
        e.rooted(&mut scope, node, &mut |e, scope| e.branch(scope, node, false, unwanted, 0))?;
        e.asm.place(wanted);
        e.memory_reset(mark);
        Ok(())
    }

    /// Emits queries in order. Of those in a row that require the same layer first, the layer is looked for once.
    pub(super) fn all(
        &self,
        e: &mut Emitter,
        mut wanted: &[usize],
        mut layouts: &[QueryLayout],
    ) -> Result<(), Failure> {
        // The layer that a query requires first, with its cell and the bytes that are there.
        let first = |index: usize| {
            let query = &self.program.queries[index];
            let layer = *query.requires.first()?;
            match self.layers[layer.0 as usize] {
                LayerAt::Found { offset, captured, .. } if captured > 0 && !sees_all(query) => {
                    Some((layer, offset, captured))
                }
                _ => None,
            }
        };
        while let [index, ..] = *wanted {
            let layer = first(index);
            let is_next = |other: &&usize| layer.is_some() && first(**other) == layer;
            let count = 1 + wanted[1..].iter().take_while(is_next).count();
            let (mark, none) = (e.memory_mark(), e.asm.label());
            let mut shared = None;
            if let (Some((layer, offset, captured)), true) = (layer, count > 1) {
                e.asm.comment(format!("layer {}, for {count} queries", layer.0));
                let pointer = e.checked(offset, captured, none, 0);
                shared = Some(pointer.map_err(|what| Failure::Query(index, what))?);
            }
            for (index, layout) in wanted[..count].iter().zip(layouts) {
                let emitted = self.query(e, &self.program.queries[*index], layout, shared);
                emitted.map_err(|what| Failure::Query(*index, what))?;
            }
            e.asm.place(none);
            e.memory_reset(mark);
            (wanted, layouts) = (&wanted[count..], &layouts[count..]);
        }
        Ok(())
    }

    /// Emits one query. Of the layer that it requires first, a pointer may be known.
    fn query(
        &self,
        e: &mut Emitter,
        query: &LftaQuery,
        layout: &QueryLayout,
        first: Option<Pointer>,
    ) -> Result<(), Unportable> {
        e.asm.comment(format!("query {}", query.name));
        let next = e.asm.label();
        let lacks = Lacks { absent: e.asm.seldom(), failed: e.asm.seldom() };
        let mark = e.memory_mark();
        let mut scope = self.scope(&roots(query), lacks);
        let mut asked = Asked::default();
        let is_real_time = sees_all(query);
        if let (LftaAction::Aggregate { keys, .. }, ActionLayout::Groups(groups), true) =
            (&query.action, &layout.action, is_real_time)
        {
            e.asm.comment("the window advances whatever the quals say");
            for window in &groups.windows {
                let skip = e.asm.label();
                (scope.lacks.absent, scope.lacks.failed) = (skip, skip);
                let known = scope.mark();
                e.ask(&mut asked, scope.exprs, &[keys[window.key as usize]]);
                e.word(&mut scope, keys[window.key as usize], 0)?;
                e.advance(window)?;
                scope.forget(known);
                e.asm.place(skip);
            }
            scope.lacks = lacks;
        }
        self.requires(e, &mut scope, query, next, first)?;
        for qual in &query.quals {
            e.asm.comment(format!("where {}", qual.text));
            let node = qual.node;
            e.ask(&mut asked, scope.exprs, &[node]);
            e.rooted(&mut scope, node, &mut |e, scope| e.branch(scope, node, false, next, 0))?;
        }
        e.ask(&mut asked, scope.exprs, &roots(query));
        if e.is_stamped() && matches!(query.action, LftaAction::Select { .. }) {
            e.ask_stamp(&mut asked);
        }
        match (&query.action, &layout.action) {
            (LftaAction::Select { outputs, .. }, ActionLayout::Select) => {
                self.select(e, &mut scope, outputs, layout)?;
            }
            (LftaAction::Aggregate { keys, aggs, .. }, ActionLayout::Groups(groups)) => {
                e.asm.comment("the group's key");
                self.columns(e, &mut scope, keys, &layout.columns)?;
                let args = operands(e, &mut scope, aggs)?;
                e.group(&mut scope, self.row, keys, &args, (layout, groups), next)?;
            }
            (LftaAction::Aggregate { aggs, .. }, ActionLayout::Totals(totals)) => {
                let args = operands(e, &mut scope, aggs)?;
                e.total(totals, &args, next)?;
            }
            _ => return Err(Unportable("a layout of another query".into())),
        }
        e.asm.jump(next);
        let counters =
            [(lacks.absent, query_counters::ABSENT), (lacks.failed, query_counters::FAILED)];
        for (label, counter) in counters {
            e.asm.place(label);
            let prefilter = self.program.prefilter.filter(|_| self.prefilter_late && !is_real_time);
            if let Some(node) = prefilter {
                self.prefilter(e, node, next)?;
            }
            e.add_to_frame(FRAME, layout.counters + counter, 1, S[0]);
            e.asm.jump(next);
        }
        e.asm.place(next);
        e.memory_reset(mark);
        Ok(())
    }

    /// Filters packets without the layers that the query requires.
    pub(super) fn requires(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        query: &LftaQuery,
        next: Label,
        first: Option<Pointer>,
    ) -> Result<(), Unportable> {
        for (number, layer) in query.requires.iter().enumerate() {
            let (offset, captured, present) = match &mut scope.layers[layer.0 as usize] {
                LayerAt::This(_) | LayerAt::Placed { .. } => continue,
                LayerAt::Absent => {
                    e.asm.jump(next);
                    continue;
                }
                LayerAt::Found { offset, captured, present, .. } => (*offset, *captured, present),
            };
            *present = true;
            if let (0, Some(Pointer { at: PointerAt::Slot(slot), disp, bytes })) = (number, first) {
                e.asm.load(Size::Dw, HEADER, Reg::R10, slot);
                scope.learn_pointer(*layer, Pointer { at: PointerAt::Reg(HEADER), disp, bytes });
                continue;
            }
            e.asm.comment(format!("requires layer {}", layer.0));
            if captured == 0 {
                e.load_cell(S[0], offset);
                e.asm.branch(Cond::Eq, S[0], ABSENT, next);
                continue;
            }
            if number > 0 {
                let pointer = e.checked(offset, captured, next, 0)?;
                scope.learn_pointer(*layer, pointer);
                continue;
            }
            e.load_offset(HEADER, offset);
            e.asm.alu(AluOp::Add, HEADER, super::emit::DATA);
            e.check_end(HEADER, captured as i32, S[0], next);
            let at = PointerAt::Reg(HEADER);
            scope.learn_pointer(*layer, Pointer { at, disp: 0, bytes: captured });
        }
        Ok(())
    }

    /// Sends a tuple.
    fn select(
        &self,
        e: &mut Emitter,
        scope: &mut Scope<'_>,
        outputs: &[NodeId],
        layout: &QueryLayout,
    ) -> Result<(), Unportable> {
        e.asm.comment("the tuple's columns");
        self.columns(e, scope, outputs, &layout.columns)?;
        e.asm.comment("the tuple leaves");
        let (lost, end) = (e.asm.seldom(), e.asm.label());
        e.reserve(TUPLE_HEAD_WORDS + layout.column_words, layout.query, record::TUPLE, lost);
        let mut to = 8 * RECORD_HEAD_WORDS as i16;
        e.load_ordinal(S[1]);
        e.asm.store(Size::Dw, Reg::R0, to, S[1]);
        for word in 0..layout.column_words {
            to += 8;
            e.asm.load(Size::Dw, S[1], FRAME, 8 * (self.row + word) as i16);
            e.asm.store(Size::Dw, Reg::R0, to, S[1]);
        }
        e.submit();
        e.add_to_frame(FRAME, layout.counters + query_counters::MATCHED, 1, S[0]);
        e.asm.jump(end);
        e.asm.place(lost);
        e.add_to_frame(FRAME, layout.counters + query_counters::LOST, 1, S[0]);
        e.asm.place(end);
        Ok(())
    }
}

impl Emitter {
    /// The operand of an aggregate in a register.
    pub(super) fn load_arg(&mut self, dst: Reg, arg: Arg) {
        match arg {
            Arg::At(at) => self.load_scratch(dst, at),
            Arg::Length => self.length(dst),
        }
    }

    /// Room for a record in the ring, its address in R0 and its head written; goes to `full` when there is none.
    pub(super) fn reserve(&mut self, words: u32, query: u32, kind: u32, full: Label) {
        self.asm.push(Insn::LoadMap { dst: Reg::R1, map: self.ring_map });
        self.asm.mov(Reg::R2, 8 * words as i32);
        self.asm.mov(Reg::R3, 0);
        self.asm.call(Helper::RingbufReserve);
        self.asm.branch(Cond::Eq, Reg::R0, 0, full);
        self.asm.store(Size::W, Reg::R0, 0, query as i32);
        self.asm.store(Size::W, Reg::R0, 4, kind as i32);
    }

    /// Hands over the record in R0.
    pub(super) fn submit(&mut self) {
        self.asm.mov(Reg::R1, Reg::R0);
        self.asm.mov(Reg::R2, NO_WAKEUP);
        self.asm.call(Helper::RingbufSubmit);
    }
}
