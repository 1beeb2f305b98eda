//! Queries as code: quals in order, then totals or a row.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value as V};
use wt_catalog::Type;
use wt_catalog::layout::{Column, Place};
use wt_plan::ir::{AggKind, Exprs, LftaQuery, NodeId, Qual};

use super::emit::{Emitter, FRAME, NO_ARGS, Parts, Truth, Unsupported, Val};
use super::frame;
use super::host;
use super::lower::Scope;
use super::plan::{
    AheadPlan, Body, Joint, MOVES, NARROW, PatternPlan, QueryPlan, Rows, TotalState, Totals, Use,
    WIDE,
};

/// What reads the tuples of a selection.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) exprs: &'a Exprs,
    pub(super) quals: &'a [Qual],
    /// Columns that it reads when its quals are applied for it.
    pub(super) columns: &'a [u32],
    /// Its first handle among the host's.
    pub(super) handles: usize,
}

/// The tuple at hand, on its way through the quals.
struct Passage {
    /// It has passed so far.
    pass: Truth,
    /// Why it was rejected, if a field was lacking.
    rejected: Option<V>,
}

impl Emitter<'_, '_> {
    /// Emits a query for packets that have the layers it requires. With `branch_free`, totals are updated without a branch, which pays for few queries.
    pub(super) fn query(
        &mut self,
        scope: &mut Scope<'_>,
        query: &LftaQuery,
        plan: &QueryPlan,
        reader: Option<Reader<'_>>,
        branch_free: bool,
    ) -> Result<(), Unsupported> {
        let next = self.b.create_block();
        let mut passage = Passage { pass: Truth::Always, rejected: None };
        let mut mark = None;
        for qual in &query.quals {
            if scope.is_costly[qual.node.0 as usize] {
                self.enter(&mut passage, plan, next);
                mark = mark.or(Some(scope.mark()));
            }
            let val = self.node(scope, qual.node)?;
            self.qual(&mut passage, val)?;
        }
        let args: Vec<NodeId> = match &plan.body {
            Body::Totals(totals) => totals.states.iter().filter_map(|state| state.arg).collect(),
            Body::Rows(_) => Vec::new(),
        };
        let are_cheap = args.iter().all(|node| !scope.is_costly[node.0 as usize]);
        if let (Body::Totals(totals), None, true, true) =
            (&plan.body, passage.rejected, branch_free, are_cheap)
        {
            let vals: Result<Vec<Val>, _> =
                args.iter().map(|node| self.node(scope, *node)).collect();
            if vals?.iter().all(|val| val.lack.is_none()) {
                self.totals(scope, totals, passage.pass)?;
                // Without a way past them, what follows goes on in the same block, and shares what is in registers.
                if let Some(mark) = mark {
                    scope.forget(mark);
                    self.b.ins().jump(next, NO_ARGS);
                    self.b.switch_to_block(next);
                }
                return Ok(());
            }
        }
        self.enter(&mut passage, plan, next);
        let mark = mark.unwrap_or_else(|| scope.mark());
        match &plan.body {
            Body::Totals(totals) => {
                let mut rejected = None;
                for node in &args {
                    let val = self.node(scope, *node)?;
                    rejected = self.first_lack(rejected, val.lack);
                }
                self.reject(rejected, plan.lacks(), next);
                self.totals(scope, totals, Truth::Always)?;
            }
            Body::Rows(rows) => self.row(scope, rows, plan, reader, next)?,
        }
        self.b.ins().jump(next, NO_ARGS);
        scope.forget(mark);
        self.b.switch_to_block(next);
        Ok(())
    }

    /// Takes one more qual, without a branch.
    fn qual(&mut self, passage: &mut Passage, val: Val) -> Result<(), Unsupported> {
        if let Some(lack) = val.lack {
            let here = match passage.pass {
                Truth::Always => lack,
                Truth::Never => self.word(host::NONE),
                Truth::When(pass) => {
                    let none = self.word(host::NONE);
                    self.select(pass, lack, none)
                }
            };
            passage.rejected = self.first_lack(passage.rejected, Some(here));
        }
        let flag = self.as_flag(val.parts)?;
        let known = self.has_value(val.lack);
        let holds = self.both(Truth::When(flag), known);
        passage.pass = self.both(passage.pass, holds);
        Ok(())
    }

    /// Goes on only for tuples that have passed so far.
    fn enter(&mut self, passage: &mut Passage, plan: &QueryPlan, next: Block) {
        self.reject(passage.rejected.take(), plan.lacks(), next);
        match std::mem::replace(&mut passage.pass, Truth::Always) {
            Truth::Always => {}
            Truth::When(pass) => {
                let body = self.b.create_block();
                self.b.ins().brif(pass, body, NO_ARGS, next, NO_ARGS);
                self.b.switch_to_block(body);
            }
            Truth::Never => {
                let body = self.b.create_block();
                let never = self.flag(false);
                self.b.ins().brif(never, body, NO_ARGS, next, NO_ARGS);
                self.b.switch_to_block(body);
            }
        }
    }

    /// Counts a tuple that is rejected for a lack, and leaves.
    fn reject(&mut self, rejected: Option<V>, (absent_at, failed_at): (usize, usize), next: Block) {
        let Some(lack) = rejected else { return };
        let (count, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(count);
        self.b.ins().brif(lack, count, NO_ARGS, go_on, NO_ARGS);
        self.b.switch_to_block(count);
        let is_absent = self.icmp_const(IntCC::Equal, lack, host::ABSENT);
        let absent = self.widen(is_absent);
        self.count(absent_at, absent);
        let one = self.word(1);
        let failed = self.b.ins().isub(one, absent);
        self.count(failed_at, failed);
        self.store_frame(frame::LACKED, one);
        self.may_reject = true;
        self.b.ins().jump(next, NO_ARGS);
        self.b.switch_to_block(go_on);
    }

    fn totals(
        &mut self,
        scope: &mut Scope<'_>,
        totals: &Totals,
        pass: Truth,
    ) -> Result<(), Unsupported> {
        if let Some(joint) = totals.joint {
            return self.joint_totals(scope, totals, joint, pass);
        }
        let matched = self.load_frame(totals.matched);
        for state in &totals.states {
            self.total(scope, state, matched, pass)?;
        }
        let by = match pass {
            Truth::When(pass) => self.widen(pass),
            Truth::Always => self.word(1),
            Truth::Never => self.word(0),
        };
        let matched = self.b.ins().iadd(matched, by);
        self.store_frame(totals.matched, matched);
        Ok(())
    }

    /// The same, where the number of tuples and a sum share a word.
    fn joint_totals(
        &mut self,
        scope: &mut Scope<'_>,
        totals: &Totals,
        Joint { at, state }: Joint,
        pass: Truth,
    ) -> Result<(), Unsupported> {
        for (index, other) in totals.states.iter().enumerate() {
            let matched = self.word(1);
            if index != state {
                self.total(scope, other, matched, pass)?;
                continue;
            }
            let Some(arg) = other.arg else { continue };
            let val = self.node(scope, arg)?;
            let arg = self.as_word(val.parts)?;
            let both = self.add_const(arg, Joint::ONE);
            self.count_where(at, both, pass);
        }
        Ok(())
    }

    fn total(
        &mut self,
        scope: &mut Scope<'_>,
        state: &TotalState,
        matched: V,
        pass: Truth,
    ) -> Result<(), Unsupported> {
        // Their number is known without a state of their own.
        let Some(arg) = state.arg.filter(|_| state.kind != AggKind::Count) else { return Ok(()) };
        let val = self.node(scope, arg)?;
        let arg = self.as_word(val.parts)?;
        if state.kind == AggKind::Sum {
            self.count_where(state.at, arg, pass);
            return Ok(());
        }
        let old = self.load_frame(state.at);
        let folded = self.fold(state.kind, state.ty, old, arg);
        let is_first = self.icmp_const(IntCC::Equal, matched, 0);
        let new = self.select(is_first, arg, folded);
        let new = match pass {
            Truth::When(pass) => self.select(pass, new, old),
            Truth::Always => new,
            Truth::Never => old,
        };
        self.store_frame(state.at, new);
        Ok(())
    }

    fn fold(&mut self, kind: AggKind, ty: Type, old: V, arg: V) -> V {
        let signed = ty.is_signed() || ty == Type::Duration;
        match (kind, signed) {
            (AggKind::Count | AggKind::Sum, _) => self.b.ins().iadd(old, arg),
            (AggKind::Min, false) => self.b.ins().umin(old, arg),
            (AggKind::Max, false) => self.b.ins().umax(old, arg),
            (AggKind::Min, true) => self.b.ins().smin(old, arg),
            (AggKind::Max, true) => self.b.ins().smax(old, arg),
            (AggKind::BitAnd, _) => self.b.ins().band(old, arg),
            (AggKind::BitOr, _) => self.b.ins().bor(old, arg),
            (AggKind::BitXor, _) => self.b.ins().bxor(old, arg),
        }
    }

    /// Writes a row, unless a column lacks its value.
    fn row(
        &mut self,
        scope: &mut Scope<'_>,
        rows: &Rows,
        plan: &QueryPlan,
        reader: Option<Reader<'_>>,
        next: Block,
    ) -> Result<(), Unsupported> {
        let mut vals = Vec::with_capacity(rows.columns.len());
        // The first lack counts, in the order of evaluation.
        let mut lack = None;
        for (node, column) in &rows.columns {
            let val = self.node(scope, *node)?;
            lack = self.first_lack(lack, val.lack);
            vals.push((val, *column));
        }
        self.reject(lack, plan.lacks(), next);
        if let (Some(counters), Some(reader)) = (rows.ahead, reader) {
            let mut above = Scope::new(reader.exprs, scope.params, reader.handles);
            above.inputs = vals.iter().map(|(val, _)| Val { lack: None, ..*val }).collect();
            let now = reader.quals.len() - rows.patterns.len();
            let quals = reader.quals[..now].iter().map(|qual| qual.node);
            self.quals_ahead(&mut above, quals, counters, next)?;
            for pattern in &rows.patterns {
                let Some(regex) = self.host.pattern(reader.handles + pattern.handle) else {
                    return Err(Unsupported("a pattern that is none"));
                };
                let len_min = regex.subject_len_min() as u64;
                let (_, len) = subject(&vals, pattern)?;
                let is_long = self.icmp_const(IntCC::UnsignedGreaterThanOrEqual, len, len_min);
                self.go_on_if(is_long, counters.filtered, next);
            }
        }
        let columns = reader.filter(|_| rows.ahead.is_some()).map(|reader| reader.columns);
        let Some(narrow) = &rows.narrow else {
            return self.row_of(rows, WIDE, &vals, columns, next);
        };
        let placed = vals.iter().zip(&narrow.columns).map(|((val, _), column)| (*val, *column));
        let placed: Vec<_> = placed.collect();
        match self.are_ipv4(&vals) {
            Truth::Always => return self.row_of(rows, NARROW, &placed, columns, next),
            Truth::Never => {}
            Truth::When(is_narrow) => {
                let (row, wide) = (self.b.create_block(), self.b.create_block());
                self.b.ins().brif(is_narrow, row, NO_ARGS, wide, NO_ARGS);
                self.b.switch_to_block(row);
                self.row_of(rows, NARROW, &placed, columns, next)?;
                self.b.ins().jump(next, NO_ARGS);
                self.b.switch_to_block(wide);
            }
        }
        self.row_of(rows, WIDE, &vals, columns, next)
    }

    /// Whether all INETs are IPv4 addresses.
    fn are_ipv4(&mut self, vals: &[(Val, Column)]) -> Truth {
        let families = vals.iter().filter_map(|(val, _)| match val.parts {
            Parts::Inet(family, ..) => Some(family),
            _ => None,
        });
        families.fold(Truth::Always, |all, family| {
            let is_ipv4 = match self.constant(family) {
                Some(4) => Truth::Always,
                Some(_) => Truth::Never,
                None => Truth::When(self.icmp_const(IntCC::Equal, family, 4)),
            };
            self.both(all, is_ipv4)
        })
    }

    /// Writes a row of a kind, or adds it to its group in the table lent. Of `columns`, if they are named, the others have been read.
    fn row_of(
        &mut self,
        rows: &Rows,
        kind: usize,
        vals: &[(Val, Column)],
        columns: Option<&[u32]>,
        next: Block,
    ) -> Result<(), Unsupported> {
        let mut words: Vec<Option<V>> = vec![None; rows.stride];
        words[0] = Some(self.record);
        for pattern in &rows.patterns {
            let (address, len) = subject(vals, pattern)?;
            (words[pattern.word], words[pattern.word + 1]) = (Some(address), Some(len));
        }
        for (number, (val, column)) in (0..).zip(vals) {
            match column.place {
                // Only quals that are applied by now have read it.
                Place::Kept { word } if columns.is_some_and(|c| !c.contains(&number)) => {
                    words[word] = Some(self.word(host::KEPT_EMPTY));
                }
                _ => self.column(val.parts, *column, &mut words)?,
            }
        }
        if let (Use::Groups(plan), false) = (&rows.use_, rows.lent.is_empty()) {
            self.add_to_lent(&rows.lent, plan, kind, &words, next);
        }
        let narrow = rows.narrow.as_ref().filter(|_| kind == NARROW);
        self.write(narrow.map_or(rows.cursor, |narrow| narrow.cursor), words);
        Ok(())
    }

    /// Writes the words that a row has to where a word of the frame says.
    fn write(&mut self, cursor_at: usize, words: Vec<Option<V>>) {
        let bytes = 8 * words.len() as u64;
        let cursor = self.load_frame(cursor_at);
        for (i, word) in words.into_iter().enumerate() {
            if let Some(word) = word {
                self.b.ins().store(FRAME, word, cursor, 8 * i as i32);
            }
        }
        let cursor = self.add_const(cursor, bytes);
        self.store_frame(cursor_at, cursor);
    }

    /// Writes a row that only moves the window, when the packet at hand has it somewhere else than the last one that had it. It comes before
    /// the packet's own row, and whether the packet qualifies does not matter.
    pub(super) fn moves(
        &mut self,
        scope: &mut Scope<'_>,
        plan: &QueryPlan,
    ) -> Result<(), Unsupported> {
        let Body::Rows(rows) = &plan.body else { return Ok(()) };
        let Some(moves) = &rows.moves else { return Ok(()) };
        let mut words: Vec<Option<V>> = vec![None; rows.stride];
        words[0] = Some(self.add_const(self.record, MOVES));
        let mut moved = self.flag(false);
        let mut known = self.word(0);
        let mut lasts = Vec::with_capacity(moves.components.len());
        for (number, component) in moves.components.iter().enumerate() {
            let val = self.node(scope, component.node)?;
            let word = self.as_word(val.parts)?;
            let is_known = match self.has_value(val.lack) {
                Truth::Always => self.flag(true),
                Truth::Never => self.flag(false),
                Truth::When(flag) => flag,
            };
            let (had, last) =
                (self.load_frame(component.last), self.load_frame(component.last + 1));
            let is_first = self.icmp_const(IntCC::Equal, had, 0);
            let differs = self.icmp(IntCC::NotEqual, word, last);
            let is_new = self.b.ins().bor(is_first, differs);
            let is_new = self.b.ins().band(is_new, is_known);
            moved = self.b.ins().bor(moved, is_new);
            let bit = self.widen(is_known);
            let by = self.word(number as u64);
            let shifted = self.b.ins().ishl(bit, by);
            known = self.b.ins().bor(known, shifted);
            self.column(Parts::Word(word), component.column, &mut words)?;
            let had = self.b.ins().bor(had, bit);
            lasts.push((component.last, had, self.select(is_known, word, last)));
        }
        words[moves.known] = Some(known);
        let (row, next) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(row);
        self.b.ins().brif(moved, row, NO_ARGS, next, NO_ARGS);
        self.b.switch_to_block(row);
        for (at, had, last) in lasts {
            self.store_frame(at, had);
            self.store_frame(at + 1, last);
        }
        self.write(rows.cursor, words);
        self.b.ins().jump(next, NO_ARGS);
        self.b.switch_to_block(next);
        Ok(())
    }

    /// Makes a row of another one, whose ordinal stays, unless a qual is false or a value is lacking.
    pub(super) fn remade(
        &mut self,
        scope: &mut Scope<'_>,
        quals: &[NodeId],
        rows: &Rows,
        ordinal: V,
        counters: AheadPlan,
        next: Block,
    ) -> Result<(), Unsupported> {
        self.quals_ahead(scope, quals.iter().copied(), counters, next)?;
        let mut words: Vec<Option<V>> = vec![None; rows.stride];
        words[0] = Some(ordinal);
        for (node, column) in &rows.columns {
            let val = self.node(scope, *node)?;
            self.reject(val.lack, (counters.absent, counters.failed), next);
            self.column(val.parts, *column, &mut words)?;
        }
        self.write(rows.cursor, words);
        Ok(())
    }

    /// Applies quals to what has come so far, one after the other.
    fn quals_ahead(
        &mut self,
        scope: &mut Scope<'_>,
        quals: impl IntoIterator<Item = NodeId>,
        counters: AheadPlan,
        next: Block,
    ) -> Result<(), Unsupported> {
        for qual in quals {
            let val = self.node(scope, qual)?;
            self.reject(val.lack, (counters.absent, counters.failed), next);
            let holds = self.as_flag(val.parts)?;
            self.go_on_if(holds, counters.filtered, next);
        }
        Ok(())
    }

    /// Goes on with a tuple if a condition holds; else counts it and ends with it.
    fn go_on_if(&mut self, holds: V, filtered_at: usize, next: Block) {
        let (go_on, filtered) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(holds, go_on, NO_ARGS, filtered, NO_ARGS);
        self.b.switch_to_block(filtered);
        self.count_one(filtered_at);
        self.b.ins().jump(next, NO_ARGS);
        self.b.switch_to_block(go_on);
    }

    /// Puts a value into the words of its row.
    fn column(
        &mut self,
        parts: Parts,
        column: Column,
        words: &mut [Option<V>],
    ) -> Result<(), Unsupported> {
        match column.place {
            Place::Field { word, shift, .. } => {
                let field = match parts {
                    // Of an IPv4 address.
                    Parts::Inet(_, _, low) => low,
                    _ => self.as_word(parts)?,
                };
                self.merge(words, word, field, shift);
            }
            Place::Words { word } => {
                let (parts, count) = self.words(parts).ok_or(Unsupported("a host constant"))?;
                for (i, part) in parts.into_iter().take(count).enumerate() {
                    words[word + i] = Some(part);
                }
            }
            Place::Inet { word, family_word, family_shift } => {
                let Parts::Inet(family, high, low) = parts else {
                    return Err(Unsupported("an INET is expected"));
                };
                (words[word], words[word + 1]) = (Some(high), Some(low));
                let is_v6 = self.icmp_const(IntCC::Equal, family, 6);
                let bit = self.widen(is_v6);
                self.merge(words, family_word, bit, family_shift);
            }
            Place::Kept { word } => {
                words[word] = Some(match parts {
                    Parts::Bytes(address, len) => self.call_keep(address, len),
                    Parts::Kept(number) => number,
                    _ => return Err(Unsupported("a value that the host keeps")),
                });
            }
        }
        Ok(())
    }

    /// Puts a field into a word that it shares.
    fn merge(&mut self, words: &mut [Option<V>], word: usize, field: V, shift: u32) {
        let field = if shift == 0 {
            field
        } else {
            let shift = self.word(u64::from(shift));
            self.b.ins().ishl(field, shift)
        };
        words[word] = Some(match words[word] {
            None => field,
            Some(others) => self.b.ins().bor(others, field),
        });
    }
}

/// Address and length of the bytes that a pattern is to be found in.
fn subject(vals: &[(Val, Column)], pattern: &PatternPlan) -> Result<(V, V), Unsupported> {
    match vals.get(pattern.column as usize) {
        Some((Val { parts: Parts::Bytes(address, len), .. }, _)) => Ok((*address, *len)),
        _ => Err(Unsupported("a pattern on what are no bytes")),
    }
}
