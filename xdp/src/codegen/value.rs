//! Nodes of the IR to code. A value that is one word is computed in a register; addresses of 16 bytes go to scratch words.
//! Where a node has no value, code goes on at a label of its scope.

use wt_catalog::layout::Class;
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type};
use wt_plan::ir::{LayerId, NodeId, Op};

use super::Clock;
use super::emit::{ABSENT, DATA, Emitter, S, Unportable, unportable};
use super::load::Place;
use super::row::{class_of, words_of};
use super::scope::{LayerAt, Scope};
use super::spec::control_words;
use crate::asm::{AluOp, Cond, Label, Reg};

/// LINKTYPE_ number of what XDP sees.
pub(super) const LINKTYPE_ETHERNET: u16 = 1;

/// Deepest expression that has code: each level may need a word of scratch and a level of this program's own stack.
pub(super) const DEPTH_MAX: u32 = 500;

/// Most instructions of a program: beyond, jumps do not reach.
pub(super) const INSTRUCTIONS_MAX: usize = 30_000;

/// Most instructions of an expression whose shared parts are computed again in each arm that needs them.
const LAZY_INSTRUCTIONS_MAX: usize = 1_500;

impl Emitter {
    /// Emits what reads a root: with all that its arms need computed where it is needed, so that a packet pays for the arms it takes alone. Where that
    /// would be too much code, what arms share is computed before.
    pub(super) fn rooted(
        &mut self,
        scope: &mut Scope<'_>,
        root: NodeId,
        emit: &mut dyn FnMut(&mut Self, &mut Scope<'_>) -> Result<(), Unportable>,
    ) -> Result<(), Unportable> {
        let (facts, memory, lacks) = (scope.mark(), self.memory_mark(), scope.lacks);
        let len = self.asm.len();
        let limit = std::mem::replace(
            &mut self.instructions_max,
            (len + LAZY_INSTRUCTIONS_MAX).min(INSTRUCTIONS_MAX),
        );
        let lazy = emit(self, scope);
        self.instructions_max = limit;
        if lazy.is_ok() || self.asm.len() < len + LAZY_INSTRUCTIONS_MAX {
            return lazy;
        }
        self.asm.truncate(len);
        scope.forget(facts);
        scope.lacks = lacks;
        self.memory_reset(memory);
        self.settle(scope, root)?;
        emit(self, scope)
    }

    /// Computes what is read more than once below a root, before any of it is read in an arm that not every path takes: else each such arm
    /// would have the code of its own, and a filter with many of them would grow beyond all bounds.
    fn settle(&mut self, scope: &mut Scope<'_>, root: NodeId) -> Result<(), Unportable> {
        let mut seen = vec![false; root.0 as usize + 1];
        let mut pending = scope.operands(root);
        let mut shared = Vec::new();
        while let Some(node) = pending.pop() {
            if scope.known(node).is_some() || std::mem::replace(&mut seen[node.0 as usize], true) {
                continue;
            }
            let is_plain = matches!(
                scope.op(node),
                Op::Const(_) | Op::Param(_) | Op::Meta(_) | Op::Present(_)
            );
            if scope.is_reused(node) && !is_plain && !scope.may_lack(node) {
                shared.push(node);
            }
            pending.extend(scope.operands(node));
        }
        // Operands have lower numbers.
        shared.sort_unstable();
        for node in shared {
            if class_of(scope.ty(node)) == Some(Class::Word) {
                self.word(scope, node, 0)?;
            } else {
                self.wide(scope, node, 0)?;
            }
        }
        Ok(())
    }

    /// The value of a node in `S[k]`. Registers from `S[k]` to `S[k + 2]` are overwritten; `k` is at most 3.
    pub(super) fn word(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        k: usize,
    ) -> Result<(), Unportable> {
        if let Some(at) = scope.known(id) {
            self.load_scratch(S[k], at);
            return Ok(());
        }
        if self.asm.len() > self.instructions_max {
            return unportable("more code than jumps reach");
        }
        match scope.kept_raw(id).and_then(|(at, raw)| Some((at, raw.order()?))) {
            Some((at, order)) => {
                self.load_scratch(S[k], at);
                self.asm.swap(order, S[k]);
            }
            None => self.compute(scope, id, k)?,
        }
        let is_plain =
            matches!(scope.op(id), Op::Const(_) | Op::Param(_)) || self.is_length(scope, id);
        if scope.is_reused(id) && !is_plain {
            let at = self.take(1)?;
            self.store_scratch(at, S[k]);
            scope.learn_node(id, at);
        }
        Ok(())
    }

    /// Whether a node is the packet's length as the driver has it, which is the distance of two registers and so is not kept.
    pub(super) fn is_length(&self, scope: &Scope<'_>, id: NodeId) -> bool {
        match scope.op(id) {
            Op::Meta(Meta::Len | Meta::CapLen) => self.clock == Clock::Kernel,
            // It fits into 14 bits.
            Op::Cast(a) => {
                let is_wide = matches!(scope.ty(id), Type::Uint | Type::Ullong | Type::Llong);
                is_wide && self.is_length(scope, *a)
            }
            _ => false,
        }
    }

    /// The values of two nodes in `S[k]` and `S[k + 1]`.
    pub(super) fn two(
        &mut self,
        scope: &mut Scope<'_>,
        (a, b): (NodeId, NodeId),
        k: usize,
    ) -> Result<(), Unportable> {
        self.word(scope, a, k)?;
        self.second(scope, b, k)
    }

    /// The value of a node in `S[k + 1]`, with `S[k]` kept.
    pub(super) fn second(
        &mut self,
        scope: &mut Scope<'_>,
        b: NodeId,
        k: usize,
    ) -> Result<(), Unportable> {
        if k < 3 {
            return self.word(scope, b, k + 1);
        }
        let kept = self.take(1)?;
        self.store_scratch(kept, S[k]);
        self.word(scope, b, k)?;
        self.asm.mov(S[k + 1], S[k]);
        self.load_scratch(S[k], kept);
        Ok(())
    }

    fn compute(&mut self, scope: &mut Scope<'_>, id: NodeId, k: usize) -> Result<(), Unportable> {
        let ty = scope.ty(id);
        if class_of(ty) != Some(Class::Word) {
            return unportable(format!("a value of type {ty}"));
        }
        if let Some(truth) = scope.truth(id) {
            self.asm.mov(S[k], i32::from(truth));
            return Ok(());
        }
        if self.window_number(scope.exprs, id, k) {
            return Ok(());
        }
        match scope.op(id) {
            Op::Const(value) => {
                let word = words_of(value, Class::Word);
                let word = word.ok_or_else(|| Unportable(format!("a constant of type {ty}")))?;
                self.asm.constant(S[k], word[0]);
            }
            Op::Param(param) => self.load_control(S[k], self.param_words[param.0 as usize]),
            Op::Input(_) => return unportable("a column of a stream"),
            Op::Meta(meta) => self.meta(*meta, S[k])?,
            Op::Load { layer, at, byte, bit, bits, little } => {
                let place = Place { layer: *layer, at: *at, byte: *byte };
                self.load_bits(scope, place, (*bit, *bits, *little), k)?;
                self.pattern(S[k], *bits, ty);
            }
            Op::LoadOrZero { layer, at, byte, bytes } => {
                let place = Place { layer: *layer, at: *at, byte: *byte };
                self.load_or_zero(scope, place, *bytes, k)?;
                self.pattern(S[k], 8 * bytes, ty);
            }
            Op::Offset(layer) => {
                self.offset(scope, *layer, k)?;
                self.pattern(S[k], 14, ty);
            }
            Op::Depth { protocol, run_below } => {
                let key = (*protocol, *run_below);
                let cell = scope.counts.iter().find(|(known, _)| *known == key);
                let cell = cell.ok_or_else(|| Unportable("a count of headers".into()))?.1;
                self.load_cell(S[k], cell);
                self.pattern(S[k], 7, ty);
            }
            Op::ByProtocol { layer, arms } => {
                let end = self.asm.label();
                self.by_protocol(scope, *layer, arms, end, k, &mut |e, scope, arm| {
                    e.word(scope, arm, k)
                })?;
                self.asm.place(end);
            }
            Op::Select { cond, then, otherwise } => {
                let (cond, then, otherwise) = (*cond, *then, *otherwise);
                self.select(scope, cond, k, &mut |e, scope, taken| {
                    e.word(scope, if taken { then } else { otherwise }, k)
                })?;
            }
            Op::Unary(op, a) => self.unary(scope, *op, *a, ty, k)?,
            Op::Binary(op, a, b) => self.binary(scope, *op, (*a, *b), ty, k)?,
            Op::Saturating(op, a, b) => self.saturating(scope, *op, (*a, *b), ty, k)?,
            Op::Cast(a) => self.cast(scope, *a, ty, k)?,
            Op::And(a, b) | Op::Or(a, b) if scope.may_lack(*b) => {
                let op = if matches!(scope.op(id), Op::And(..)) { AluOp::And } else { AluOp::Or };
                self.two(scope, (*a, *b), k)?;
                self.asm.alu(op, S[k], S[k + 1]);
            }
            Op::And(..)
            | Op::Or(..)
            | Op::Not(_)
            | Op::Compare(..)
            | Op::In(..)
            | Op::Present(_)
            | Op::InBounds { .. } => {
                let (no, end) = (self.asm.label(), self.asm.label());
                let mark = scope.mark();
                self.decide(scope, id, false, no, k)?;
                scope.forget(mark);
                self.asm.mov(S[k], 1);
                self.asm.jump(end);
                self.asm.place(no);
                self.asm.mov(S[k], 0);
                self.asm.place(end);
            }
            Op::Call { symbol, .. } => return unportable(format!("calls `{symbol}`")),
            Op::Slice { .. } | Op::LoadIpv6 { .. } => return unportable("a run of bytes"),
        }
        Ok(())
    }

    /// Goes to `to` when a bool node is `want`, else on. Registers as for [`Self::word`].
    pub(super) fn branch(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        want: bool,
        to: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        if let Some(truth) = scope.truth(id) {
            if truth == want {
                self.asm.jump(to);
            }
            return Ok(());
        }
        let is_plain = matches!(scope.op(id), Op::Present(_))
            || scope.known(id).is_none() && scope.is_short(id);
        if !is_plain && (scope.known(id).is_some() || scope.is_reused(id)) {
            return self.test(scope, id, want, to, k);
        }
        self.decide(scope, id, want, to, k)
    }

    /// Branches on the value of a node.
    fn test(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        want: bool,
        to: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        let cond = if want { Cond::Ne } else { Cond::Eq };
        if scope.ty(id) == Type::Bool && self.equal(scope, id, 0, (cond, to), k)? {
            return Ok(());
        }
        self.word(scope, id, k)?;
        self.asm.branch(cond, S[k], 0, to);
        Ok(())
    }

    /// Branches on what a node says, without its value.
    pub(super) fn decide(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        want: bool,
        to: Label,
        k: usize,
    ) -> Result<(), Unportable> {
        let op = scope.op(id);
        match op {
            Op::And(a, b) | Op::Or(a, b) if !scope.may_lack(*b) => {
                // The operand that decides alone: FALSE for AND, TRUE for OR.
                let decides = matches!(op, Op::Or(..));
                if decides == want {
                    self.branch(scope, *a, want, to, k)?;
                    self.branch(scope, *b, want, to, k)?;
                } else {
                    let skip = self.asm.label();
                    let before = scope.mark();
                    self.branch(scope, *a, decides, skip, k)?;
                    // Of an operand that is itself decided in parts, some paths to here have seen the first part alone.
                    let mark = if scope.is_in_parts(*a) { before } else { scope.mark() };
                    self.branch(scope, *b, want, to, k)?;
                    scope.forget(mark);
                    self.asm.place(skip);
                }
            }
            Op::Not(a) => self.branch(scope, *a, !want, to, k)?,
            Op::Compare(op, a, b) => {
                self.compare(scope, *op, (*a, *b), want, to, k)?;
            }
            Op::In(a, members) => self.is_in(scope, *a, members, want, to, k)?,
            Op::Present(layer) => self.present(scope, *layer, want, to, k),
            Op::InBounds { layer, at, byte, bytes } => {
                let place = Place { layer: *layer, at: *at, byte: *byte };
                let outside = self.asm.label();
                let mark = scope.mark();
                self.in_bounds(scope, place, *bytes, outside, k)?;
                scope.forget(mark);
                if want {
                    self.asm.jump(to);
                    self.asm.place(outside);
                } else {
                    let end = self.asm.label();
                    self.asm.jump(end);
                    self.asm.place(outside);
                    self.asm.jump(to);
                    self.asm.place(end);
                }
            }
            Op::Select { cond, then, otherwise } => {
                let (cond, then, otherwise) = (*cond, *then, *otherwise);
                self.select(scope, cond, k, &mut |e, scope, taken| {
                    e.branch(scope, if taken { then } else { otherwise }, want, to, k)
                })?;
            }
            _ => self.test(scope, id, want, to, k)?,
        }
        Ok(())
    }

    /// Emits both arms of a condition, each where it is taken.
    pub(super) fn select(
        &mut self,
        scope: &mut Scope<'_>,
        cond: NodeId,
        k: usize,
        arm: &mut dyn FnMut(&mut Self, &mut Scope<'_>, bool) -> Result<(), Unportable>,
    ) -> Result<(), Unportable> {
        if let Some(taken) = scope.truth(cond) {
            return arm(self, scope, taken);
        }
        let (no, end) = (self.asm.label(), self.asm.label());
        let (facts, memory) = (scope.mark(), self.memory_mark());
        self.branch(scope, cond, false, no, k)?;
        arm(self, scope, true)?;
        scope.forget(facts);
        self.memory_reset(memory);
        self.asm.jump(end);
        self.asm.place(no);
        arm(self, scope, false)?;
        scope.forget(facts);
        self.memory_reset(memory);
        self.asm.place(end);
        Ok(())
    }

    /// Emits the arm of a layer's concrete protocol; no arm: absent. The code behind all arms is at `end`.
    pub(super) fn by_protocol(
        &mut self,
        scope: &mut Scope<'_>,
        layer: LayerId,
        arms: &[(ProtocolId, NodeId)],
        end: Label,
        k: usize,
        emit: &mut dyn FnMut(&mut Self, &mut Scope<'_>, NodeId) -> Result<(), Unportable>,
    ) -> Result<(), Unportable> {
        let cell = match scope.layers[layer.0 as usize] {
            LayerAt::Found { protocol: Some(cell), .. } => cell,
            LayerAt::Found { .. } | LayerAt::This(_) => {
                return unportable("a choice by protocol in a declaration");
            }
            LayerAt::Placed { protocol, .. } => {
                match arms.iter().find(|(other, _)| *other == protocol) {
                    Some((_, arm)) => emit(self, scope, *arm)?,
                    None => self.lacking(scope.lacks.absent, k),
                }
                self.asm.jump(end);
                return Ok(());
            }
            LayerAt::Absent => {
                self.lacking(scope.lacks.absent, k);
                return Ok(());
            }
        };
        for (protocol, arm) in arms {
            let other = self.asm.label();
            self.load_cell(S[k], cell);
            self.asm.branch(Cond::Ne, S[k], protocol.0 as i32, other);
            let (facts, memory) = (scope.mark(), self.memory_mark());
            emit(self, scope, *arm)?;
            scope.forget(facts);
            self.memory_reset(memory);
            self.asm.jump(end);
            self.asm.place(other);
        }
        self.asm.jump(scope.lacks.absent);
        Ok(())
    }

    /// Goes to `lacks` on every way; a value all the same for the code behind, which nobody reaches.
    pub(super) fn lacking(&mut self, lacks: Label, k: usize) {
        self.asm.jump(lacks);
        self.asm.mov(S[k], 0);
    }

    fn present(&mut self, scope: &mut Scope<'_>, layer: LayerId, want: bool, to: Label, k: usize) {
        match scope.layers[layer.0 as usize] {
            LayerAt::This(_) | LayerAt::Placed { .. } if want => self.asm.jump(to),
            LayerAt::Absent if !want => self.asm.jump(to),
            LayerAt::This(_) | LayerAt::Placed { .. } | LayerAt::Absent => {}
            LayerAt::Found { offset, .. } => {
                self.load_cell(S[k], offset);
                let cond = if want { Cond::Ne } else { Cond::Eq };
                self.asm.branch(cond, S[k], ABSENT, to);
            }
        }
    }

    fn offset(
        &mut self,
        scope: &mut Scope<'_>,
        layer: LayerId,
        k: usize,
    ) -> Result<(), Unportable> {
        match scope.layers[layer.0 as usize] {
            LayerAt::This(pointer) | LayerAt::Placed { pointer, .. } => {
                self.pointer_register(pointer, S[k]);
                self.asm.alu(AluOp::Add, S[k], pointer.disp);
                self.asm.alu(AluOp::Sub, S[k], DATA);
            }
            LayerAt::Absent => self.lacking(scope.lacks.absent, k),
            LayerAt::Found { offset, .. } => {
                self.load_cell(S[k], offset);
                self.asm.branch(Cond::Eq, S[k], ABSENT, scope.lacks.absent);
            }
        }
        Ok(())
    }

    fn meta(&mut self, meta: Meta, dst: Reg) -> Result<(), Unportable> {
        let given = self.clock == Clock::Given;
        match meta {
            Meta::Timestamp => self.load_stamp(dst),
            Meta::Time => return unportable("the time in a place of its own"),
            Meta::Len if given => self.load_control(dst, control_words::LEN),
            Meta::Len | Meta::CapLen => self.length(dst),
            Meta::IfIndex => self.load_control(dst, control_words::IFINDEX),
            Meta::Direction => self.load_control(dst, control_words::DIRECTION),
            Meta::LinkType => self.asm.mov(dst, i32::from(LINKTYPE_ETHERNET)),
            Meta::Interface => return unportable("the name of the interface"),
        }
        Ok(())
    }

    /// Makes a bit pattern of so many bits a value of a type.
    pub(super) fn pattern(&mut self, reg: Reg, bits: u32, ty: Type) {
        match ty {
            Type::Bool if bits > 1 => {
                let zero = self.asm.label();
                self.asm.branch(Cond::Eq, reg, 0, zero);
                self.asm.mov(reg, 1);
                self.asm.place(zero);
            }
            Type::Mac if bits > 48 => {
                self.asm.alu(AluOp::Lsh, reg, 16);
                self.asm.alu(AluOp::Rsh, reg, 16);
            }
            _ => self.wrap(reg, bits, ty),
        }
    }

    /// Cuts a word of so many significant bits to the width of a type.
    pub(super) fn wrap(&mut self, reg: Reg, bits: u32, ty: Type) {
        match ty {
            Type::Ushort if bits > 16 => self.asm.alu(AluOp::And, reg, 0xffff),
            Type::Uint | Type::Ip if bits > 32 => self.asm.alu32(AluOp::Mov, reg, reg),
            Type::Int if bits > 31 => {
                self.asm.alu(AluOp::Lsh, reg, 32);
                self.asm.alu(AluOp::Arsh, reg, 32);
            }
            _ => {}
        }
    }
}
