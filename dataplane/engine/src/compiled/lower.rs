//! Nodes of the IR to code. Cheap nodes are emitted without branches, once for all queries; nodes that call the host are
//! emitted where a query needs them.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::layout::{Class, words_of};
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{Exprs, LayerId, NodeId, Op};
use wt_wire::RecordRef;

use super::compare::Compared;
use super::emit::{Emitter, Parts, Truth, Unsupported, Val};
use super::frame;
use super::host::{self, HostArg, HostNode, HostOp};
use super::width::{TIME_BITS, significant_bits};
use crate::functions::{self, lpm};
use crate::packet::NS_PER_S;

/// A header that nodes read.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerVal {
    /// Address of its first byte; of zeros when it is absent.
    pub(super) address: V,
    pub(super) present: Truth,
    /// Number of its concrete protocol.
    pub(super) protocol: Option<V>,
    /// The same, where it is known while code is made, and the layer is there.
    pub(super) only: Option<ProtocolId>,
    /// Bytes from its first that are captured whenever it is there.
    pub(super) captured_bytes: u32,
}

/// A DAG being emitted.
pub(super) struct Scope<'p> {
    pub(super) exprs: &'p Exprs,
    pub(super) params: &'p [Value],
    pub(super) layers: Vec<LayerVal>,
    /// Columns of the input tuple.
    pub(super) inputs: Vec<Val>,
    /// By [`Op::Depth`]: counts that the walk keeps.
    pub(super) depths: Vec<((ProtocolId, Option<LayerId>), V)>,
    pub(super) bits: Vec<u32>,
    /// By node: it, or a node below it, calls the host.
    pub(super) is_costly: Vec<bool>,
    known: Vec<Option<Val>>,
    /// Nodes emitted since the innermost [`Self::mark`].
    trail: Vec<NodeId>,
    /// First handle of this DAG among the host's.
    pub(super) handles: usize,
}

impl<'p> Scope<'p> {
    pub(super) fn new(exprs: &'p Exprs, params: &'p [Value], handles: usize) -> Self {
        let mut is_costly = Vec::with_capacity(exprs.nodes.len());
        for node in &exprs.nodes {
            let below = node.op.operands().iter().any(|n| is_costly[n.0 as usize]);
            is_costly.push(below || needs_host(exprs, &node.op, node.ty, params));
        }
        Self {
            exprs,
            params,
            layers: Vec::new(),
            inputs: Vec::new(),
            depths: Vec::new(),
            bits: significant_bits(exprs, params),
            is_costly,
            known: vec![None; exprs.nodes.len()],
            trail: Vec::new(),
            handles,
        }
    }

    pub(super) fn ty(&self, node: NodeId) -> Type {
        self.exprs.nodes[node.0 as usize].ty
    }

    pub(super) fn bits(&self, node: NodeId) -> u32 {
        self.bits[node.0 as usize]
    }

    /// The value of a constant node.
    pub(super) fn constant(&self, node: NodeId) -> Option<&'p Value> {
        constant(self.exprs, self.params, node)
    }

    /// The only arm that the layer's protocol leaves, where that is known.
    fn only_arm(&self, layer: LayerId, arms: &[(ProtocolId, NodeId)]) -> Option<NodeId> {
        let only = self.layers[layer.0 as usize].only?;
        arms.iter().find(|(arm, _)| *arm == only).map(|(_, node)| *node)
    }

    /// What is emitted from here on is known only until [`Self::forget`] with the mark returned.
    pub(super) fn mark(&self) -> usize {
        self.trail.len()
    }

    /// Forgets what was emitted since a mark: its code does not dominate what comes next.
    pub(super) fn forget(&mut self, mark: usize) {
        for node in self.trail.drain(mark..) {
            self.known[node.0 as usize] = None;
        }
    }

    fn set(&mut self, node: NodeId, val: Val) {
        self.known[node.0 as usize] = Some(val);
        self.trail.push(node);
    }
}

pub(super) fn constant<'p>(
    exprs: &'p Exprs,
    params: &'p [Value],
    node: NodeId,
) -> Option<&'p Value> {
    match &exprs.nodes[node.0 as usize].op {
        Op::Const(value) => Some(value),
        Op::Param(param) => Some(&params[param.0 as usize]),
        _ => None,
    }
}

/// Whether a node itself, its operands aside, is for the host.
fn needs_host(exprs: &Exprs, op: &Op, ty: Type, params: &[Value]) -> bool {
    let ty_of = |n: &NodeId| exprs.nodes[n.0 as usize].ty;
    let value_of = |n: &NodeId| constant(exprs, params, *n);
    match op {
        Op::Call { .. } => true,
        Op::Unary(op, a) => !super::arith::has_unary(*op, ty_of(a), ty),
        Op::Binary(op, a, b) => {
            !super::arith::has_binary(*op, (ty_of(a), value_of(a)), (ty_of(b), value_of(b)), ty)
        }
        Op::Cast(a) => !super::arith::has_cast(ty_of(a), ty),
        Op::Compare(_, a, b) => {
            !super::compare::has_compare((ty_of(a), value_of(a)), (ty_of(b), value_of(b)))
        }
        Op::In(a, members) => !super::compare::has_in(ty_of(a), members),
        _ => false,
    }
}

impl Emitter<'_, '_> {
    /// The value of a node.
    pub(super) fn node(&mut self, scope: &mut Scope<'_>, root: NodeId) -> Result<Val, Unsupported> {
        if let Some(val) = scope.known[root.0 as usize] {
            return Ok(val);
        }
        // Operands first, without recursion: expressions may be deep. Arms that call the host are emitted when they are taken.
        let mut wanted = vec![root];
        let mut order = Vec::new();
        let mut seen = vec![false; root.0 as usize + 1];
        while let Some(node) = wanted.pop() {
            let index = node.0 as usize;
            if std::mem::replace(&mut seen[index], true) || scope.known[index].is_some() {
                continue;
            }
            order.push(node);
            match &scope.exprs.nodes[index].op {
                Op::Select { .. } if self.only_branch(scope, node).is_some() => {
                    wanted.extend(self.only_branch(scope, node));
                }
                Op::Select { cond, .. } if scope.is_costly[index] => wanted.push(*cond),
                Op::ByProtocol { layer, arms } if scope.only_arm(*layer, arms).is_some() => {
                    wanted.extend(scope.only_arm(*layer, arms));
                }
                Op::ByProtocol { .. } if scope.is_costly[index] => {}
                op => wanted.extend(op.operands()),
            }
        }
        order.sort_unstable();
        for node in order {
            let val = self.one(scope, node)?;
            scope.set(node, val);
        }
        scope.known[root.0 as usize].ok_or(Unsupported("a node has no value"))
    }

    /// The branch of a conditional value that the link type leaves: code is made for one.
    fn only_branch(&self, scope: &Scope<'_>, id: NodeId) -> Option<NodeId> {
        let Exprs { nodes, .. } = scope.exprs;
        let of = |id: NodeId| &nodes[id.0 as usize];
        let Op::Select { cond, then, otherwise } = &of(id).op else { return None };
        let is_link_type = |id: NodeId| of(id).op == Op::Meta(Meta::LinkType);
        let link_type = u64::from(self.link_type);
        let holds = match &of(*cond).op {
            Op::Compare(op, a, b) if is_link_type(*a) => {
                let bound = scope.constant(*b)?.as_u64()?;
                match op {
                    CmpOp::Eq => link_type == bound,
                    CmpOp::Ge => link_type >= bound,
                    _ => return None,
                }
            }
            Op::In(a, members) if is_link_type(*a) => {
                members.iter().any(|member| member.as_u64() == Some(link_type))
            }
            _ => return None,
        };
        let only = if holds { *then } else { *otherwise };
        (of(only).ty == of(id).ty).then_some(only)
    }

    fn known(&self, scope: &Scope<'_>, node: NodeId) -> Result<Val, Unsupported> {
        scope.known[node.0 as usize].ok_or(Unsupported("an operand has no value"))
    }

    /// Emits a node whose operands are known.
    fn one(&mut self, scope: &mut Scope<'_>, id: NodeId) -> Result<Val, Unsupported> {
        let exprs = scope.exprs;
        let node = &exprs.nodes[id.0 as usize];
        let ty = node.ty;
        let always = |parts| Val { parts, lack: None };
        Ok(match &node.op {
            Op::Const(_) | Op::Param(_) => {
                let value = scope.constant(id).ok_or(Unsupported("a constant"))?;
                always(self.constant_parts(value, ty))
            }
            Op::Input(column) => {
                let input = scope.inputs.get(*column as usize).copied();
                input.ok_or(Unsupported("an input column"))?
            }
            Op::Meta(meta) => always(self.meta(*meta, ty)),
            Op::Load { layer, at, byte, bit, bits, little } => {
                let layer = scope.layers[layer.0 as usize];
                let at = at.map(|at| self.offset(scope, at)).transpose()?;
                let place =
                    super::load::Place { layer, at, byte: u64::from(*byte) + u64::from(bit / 8) };
                if (ty, *bits) == (Type::Bool, 1) {
                    let (flag, lack) = self.load_bit(place, bit % 8);
                    return Ok(Val { parts: Parts::Flag(flag), lack });
                }
                let (pattern, lack) = self.load_bits(place, bit % 8, *bits, *little);
                Val { parts: self.pattern(pattern, *bits, ty)?, lack }
            }
            Op::LoadOrZero { layer, at, byte, bytes } => {
                let layer = scope.layers[layer.0 as usize];
                let at = at.map(|at| self.known(scope, at)).transpose()?;
                let at = at.map(|at| Ok((self.as_word(at.parts)?, at.lack))).transpose()?;
                let word = self.load_or_zero(layer, at, *byte, *bytes);
                always(self.pattern(word, 8 * bytes, ty)?)
            }
            Op::InBounds { layer, at, byte, bytes } => {
                let layer = scope.layers[layer.0 as usize];
                let at = at.map(|at| self.known(scope, at)).transpose()?;
                let at = at.map(|at| Ok((self.as_word(at.parts)?, at.lack))).transpose()?;
                let flag = self.in_bounds(layer, at, *byte, *bytes);
                always(Parts::Flag(flag))
            }
            Op::LoadIpv6 { layer, at, byte } => {
                let layer = scope.layers[layer.0 as usize];
                let at = at.map(|at| self.offset(scope, at)).transpose()?;
                let place = super::load::Place { layer, at, byte: u64::from(*byte) };
                let (high, low, lack) = self.load_ipv6(place);
                let parts = if ty == Type::Inet {
                    Parts::Inet(self.word(6), high, low)
                } else {
                    Parts::Ipv6(high, low)
                };
                Val { parts, lack }
            }
            Op::Slice { layer, at, len } => {
                let layer = scope.layers[layer.0 as usize];
                let at = self.offset(scope, *at)?;
                let len = len.map(|len| self.offset(scope, len)).transpose()?;
                self.slice(layer, at, len)
            }
            Op::Present(layer) => {
                let flag = match scope.layers[layer.0 as usize].present {
                    Truth::Always => self.flag(true),
                    Truth::Never => self.flag(false),
                    Truth::When(flag) => flag,
                };
                always(Parts::Flag(flag))
            }
            Op::Offset(layer) => {
                let layer = scope.layers[layer.0 as usize];
                let offset = self.b.ins().isub(layer.address, self.start);
                let lack = self.absent_unless(layer.present);
                Val { parts: self.pattern(offset, 32, ty)?, lack }
            }
            Op::Depth { protocol, run_below } => {
                let key = (*protocol, *run_below);
                let count = scope.depths.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
                let count = count.ok_or(Unsupported("a count of headers"))?;
                always(self.pattern(count, 7, ty)?)
            }
            Op::ByProtocol { layer, arms } => self.by_protocol(scope, id, *layer, arms)?,
            Op::Select { cond, then, otherwise } => {
                if let Some(only) = self.only_branch(scope, id) {
                    return self.known(scope, only);
                }
                let cond = self.known(scope, *cond)?;
                let flag = self.as_flag(cond.parts)?;
                let val = self.choose(scope, id, flag, *then, Some(*otherwise))?;
                Val { lack: self.first_lack(cond.lack, val.lack), ..val }
            }
            Op::Saturating(op, a, b) => {
                let (bits_a, bits_b) = (scope.bits(*a), scope.bits(*b));
                let constant = scope.constant(*b).and_then(Value::as_u64);
                let (a, b) = (self.known(scope, *a)?, self.known(scope, *b)?);
                let lack = self.first_lack(a.lack, b.lack);
                let (a, b) = (self.as_word(a.parts)?, self.as_word(b.parts)?);
                let word = self.saturating(*op, (a, bits_a), (b, bits_b), constant)?;
                // The bits of the node are those of its type at most: here the word has not been cut to it yet.
                Val { parts: self.pattern(word, 64, ty)?, lack }
            }
            Op::And(a, b) | Op::Or(a, b) => {
                let (a, b) = (self.known(scope, *a)?, self.known(scope, *b)?);
                let lack = self.first_lack(a.lack, b.lack);
                let (a, b) = (self.as_flag(a.parts)?, self.as_flag(b.parts)?);
                let flag = if matches!(node.op, Op::And(..)) {
                    self.both_flags(a, b)
                } else {
                    self.either_flag(a, b)
                };
                Val { parts: Parts::Flag(flag), lack }
            }
            Op::Not(a) => {
                let a = self.known(scope, *a)?;
                let flag = self.as_flag(a.parts)?;
                Val { parts: Parts::Flag(self.not(flag)), lack: a.lack }
            }
            op if needs_host(exprs, op, ty, scope.params) => self.by_host(scope, id)?,
            Op::Unary(op, a) => {
                let (val, from) = (self.known(scope, *a)?, scope.ty(*a));
                Val { parts: self.unary(*op, val.parts, from, ty)?, lack: val.lack }
            }
            Op::Binary(op, a, b) => self.binary(scope, *op, *a, *b, id)?,
            Op::Cast(a) => {
                let (val, from) = (self.known(scope, *a)?, scope.ty(*a));
                let (parts, failed) = self.cast(val.parts, from, scope.bits(*a), ty)?;
                Val { parts, lack: self.first_lack(val.lack, failed) }
            }
            Op::Compare(op, a, b) => {
                let (a, b) = (self.compared(scope, *a)?, self.compared(scope, *b)?);
                let lack = self.first_lack(a.val.lack, b.val.lack);
                Val { parts: Parts::Flag(self.compare(*op, a, b)?), lack }
            }
            Op::In(a, members) => {
                let a = self.compared(scope, *a)?;
                Val { parts: Parts::Flag(self.is_in(a, members)?), lack: a.val.lack }
            }
            Op::Call { .. } => self.by_host(scope, id)?,
        })
    }

    fn compared(&self, scope: &Scope<'_>, node: NodeId) -> Result<Compared, Unsupported> {
        let val = self.known(scope, node)?;
        Ok(Compared { val, ty: scope.ty(node), bits: scope.bits(node) })
    }

    /// Operands of an arithmetic node.
    pub(super) fn operands(
        &mut self,
        scope: &Scope<'_>,
        a: NodeId,
        b: NodeId,
    ) -> Result<(Val, Val), Unsupported> {
        Ok((self.known(scope, a)?, self.known(scope, b)?))
    }

    /// A value that is an offset or length: its word and lack.
    fn offset(&mut self, scope: &Scope<'_>, node: NodeId) -> Result<(V, Option<V>), Unsupported> {
        let val = self.known(scope, node)?;
        Ok((self.as_word(val.parts)?, val.lack))
    }

    fn constant_parts(&mut self, value: &Value, ty: Type) -> Parts {
        if let Some((address, len)) = self.host.constant(value) {
            return Parts::Bytes(self.word(address), self.word(len));
        }
        match words_of(value) {
            Some(words) if Class::of(ty) != Class::Kept => {
                if ty == Type::Bool {
                    return Parts::Flag(self.flag(words[0] != 0));
                }
                // A constant of another type than the node's is read by its own.
                let class = match value {
                    Value::Ipv6(_) => Type::Ipv6,
                    Value::Inet(_) => Type::Inet,
                    _ => Type::Ullong,
                };
                let words = words.map(|w| self.word(w));
                self.parts(class, words)
            }
            _ => Parts::HostConst,
        }
    }

    fn meta(&mut self, meta: Meta, ty: Type) -> Parts {
        let word = match meta {
            Meta::Time => {
                let ns = self.word(NS_PER_S);
                let timestamp_ns = self.record_u64(offset_of!(RecordRef, timestamp_ns));
                let seconds = self.b.ins().udiv(timestamp_ns, ns);
                return Parts::Word(self.wrap(seconds, ty, TIME_BITS));
            }
            Meta::Timestamp => self.record_u64(offset_of!(RecordRef, timestamp_ns)),
            Meta::Len => self.record_u32(offset_of!(RecordRef, len)),
            Meta::CapLen => self.record_u32(offset_of!(RecordRef, caplen)),
            Meta::Direction => self.record_u32(offset_of!(RecordRef, direction)),
            Meta::LinkType => self.word(u64::from(self.link_type)),
            Meta::IfIndex => self.load_frame(frame::IFINDEX),
            Meta::Interface => {
                let address = self.load_frame(frame::INTERFACE);
                return Parts::Bytes(address, self.load_frame(frame::INTERFACE + 1));
            }
        };
        let bits = if meta == Meta::Timestamp { 64 } else { 32 };
        Parts::Word(self.wrap(word, ty, bits))
    }

    /// A bit pattern as a value of a type, cut to its width.
    pub(super) fn pattern(&mut self, word: V, bits: u32, ty: Type) -> Result<Parts, Unsupported> {
        Ok(match ty {
            Type::Bool => Parts::Flag(self.icmp_const(IntCC::NotEqual, word, 0)),
            Type::Inet => {
                let (four, zero) = (self.word(4), self.word(0));
                Parts::Inet(four, zero, self.wrap(word, Type::Ip, bits))
            }
            Type::Float | Type::Ipv6 | Type::Prefix | Type::String | Type::Bytes => {
                return Err(Unsupported("a bit pattern of this type"));
            }
            _ => Parts::Word(self.wrap(word, ty, bits)),
        })
    }

    fn by_protocol(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        layer: LayerId,
        arms: &[(ProtocolId, NodeId)],
    ) -> Result<Val, Unsupported> {
        if let Some(node) = scope.only_arm(layer, arms) {
            return self.known(scope, node);
        }
        let layer = scope.layers[layer.0 as usize];
        let protocol = layer.protocol.ok_or(Unsupported("a layer without its protocol"))?;
        let mut result: Option<Val> = None;
        let mut fits = self.flag(false);
        for &(arm, node) in arms {
            let is_arm = self.icmp_const(IntCC::Equal, protocol, u64::from(arm.0));
            let is_arm = match layer.present {
                Truth::When(present) => self.b.ins().band(is_arm, present),
                _ => is_arm,
            };
            fits = self.b.ins().bor(fits, is_arm);
            let val = if scope.is_costly[id.0 as usize] {
                self.choose(scope, id, is_arm, node, None)?
            } else {
                self.known(scope, node)?
            };
            result = Some(match result {
                None => val,
                Some(other) => {
                    let lack = self.select_lack(is_arm, val.lack, other.lack);
                    Val { parts: self.select_parts(is_arm, val.parts, other.parts)?, lack }
                }
            });
        }
        let mut val = result.ok_or(Unsupported("a choice without arms"))?;
        let unfit = self.lack_unless(Truth::When(fits), host::ABSENT);
        // What does not fit is absent whatever the arms lack.
        val.lack = match (unfit, val.lack) {
            (Some(unfit), Some(lack)) => Some(self.b.ins().select(unfit, unfit, lack)),
            (unfit, lack) => unfit.or(lack),
        };
        Ok(val)
    }

    fn select_lack(&mut self, cond: V, a: Option<V>, b: Option<V>) -> Option<V> {
        if a.is_none() && b.is_none() {
            return None;
        }
        let none = self.word(host::NONE);
        Some(self.select(cond, a.unwrap_or(none), b.unwrap_or(none)))
    }

    /// `flag ? then : otherwise`; arms that call the host are evaluated only when they are taken. Without `otherwise`, the value is
    /// anything when the flag is FALSE.
    fn choose(
        &mut self,
        scope: &mut Scope<'_>,
        id: NodeId,
        flag: V,
        then: NodeId,
        otherwise: Option<NodeId>,
    ) -> Result<Val, Unsupported> {
        if !scope.is_costly[id.0 as usize] {
            let a = self.known(scope, then)?;
            let Some(otherwise) = otherwise else { return Ok(a) };
            let b = self.known(scope, otherwise)?;
            let lack = self.select_lack(flag, a.lack, b.lack);
            return Ok(Val { parts: self.select_parts(flag, a.parts, b.parts)?, lack });
        }
        let ty = scope.ty(id);
        let (on, off, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let words = Class::of(ty).words();
        let results: Vec<V> = (0..=words).map(|_| self.b.append_block_param(join, I64)).collect();
        self.b.ins().brif(flag, on, &[], off, &[]);
        for (block, arm) in [(on, Some(then)), (off, otherwise)] {
            self.b.switch_to_block(block);
            let mark = scope.mark();
            let mut args = vec![self.word(0); words + 1];
            if let Some(arm) = arm {
                let val = self.node(scope, arm)?;
                let (parts, count) =
                    self.words(val.parts).ok_or(Unsupported("a host constant in an arm"))?;
                args[..count].copy_from_slice(&parts[..count]);
                args[words] = val.lack.unwrap_or(args[words]);
            }
            scope.forget(mark);
            let args: Vec<_> = args.into_iter().map(Into::into).collect();
            self.b.ins().jump(join, &args);
        }
        self.b.switch_to_block(join);
        let mut parts = [results[0]; 3];
        parts[..words].copy_from_slice(&results[..words]);
        Ok(Val { parts: self.parts(ty, parts), lack: Some(results[words]) })
    }

    /// Looks an address up in a table of prefixes without the host between; nothing when the node is something else.
    fn prefix_of(&mut self, scope: &Scope<'_>, op: &Op) -> Result<Option<Val>, Unsupported> {
        let Op::Call { symbol, args, handle: Some(handle) } = op else { return Ok(None) };
        let table = self.host.prefixes(scope.handles + handle.0 as usize);
        let (Some(table), [address, ..], true) = (
            table.map(|table| std::ptr::from_ref(table) as u64),
            &args[..],
            lpm::is_symbol(symbol),
        ) else {
            return Ok(None);
        };
        let val = self.known(scope, *address)?;
        let words = match val.parts {
            Parts::Word(low) if scope.ty(*address) == Type::Ip => {
                let (family, high) = (self.word(4), self.word(0));
                [family, high, low]
            }
            Parts::Ipv6(high, low) => [self.word(6), high, low],
            Parts::Inet(family, high, low) => [family, high, low],
            _ => return Ok(None),
        };
        // Where there is no address the call finds something, and nothing comes of it.
        Ok(Some(Val { parts: Parts::Word(self.call_lpm(table, words)), lack: val.lack }))
    }

    /// Has the host evaluate a node whose operands are known. Operands that lack a value spare the call.
    fn by_host(&mut self, scope: &mut Scope<'_>, id: NodeId) -> Result<Val, Unsupported> {
        let exprs = scope.exprs;
        if let Some(val) = self.prefix_of(scope, &exprs.nodes[id.0 as usize].op)? {
            return Ok(val);
        }
        let node = &exprs.nodes[id.0 as usize];
        let (op, nodes) = match &node.op {
            Op::Unary(op, a) => (HostOp::Unary(*op), vec![*a]),
            Op::Binary(op, a, b) => (HostOp::Binary(*op), vec![*a, *b]),
            Op::Compare(op, a, b) => (HostOp::Compare(*op), vec![*a, *b]),
            Op::In(a, members) => (HostOp::In(members.clone()), vec![*a]),
            Op::Cast(a) => (HostOp::Cast, vec![*a]),
            Op::Call { symbol, args, handle } => {
                let handle = handle.map(|h| scope.handles + h.0 as usize);
                let op = match handle {
                    Some(handle)
                        if *symbol == "str_regex_match" && self.host.pattern(handle).is_some() =>
                    {
                        HostOp::Matches { handle }
                    }
                    _ => HostOp::Call { call: functions::scalar(symbol), handle },
                };
                (op, args.clone())
            }
            _ => return Err(Unsupported("a node that the host cannot evaluate")),
        };
        let mut args = Vec::new();
        let mut stores = Vec::new();
        let mut lack = None;
        for operand in nodes {
            if let (Some(value), false) =
                (scope.constant(operand), matches!(op, HostOp::Matches { .. }))
            {
                args.push(HostArg::Const(value.clone()));
                continue;
            }
            let val = self.known(scope, operand)?;
            lack = self.first_lack(lack, val.lack);
            let (words, count) = self.words(val.parts).ok_or(Unsupported("a host constant"))?;
            let at = self.layout.take(count);
            stores.extend((0..count).map(|i| (at + i, words[i])));
            args.push(HostArg::Words { ty: scope.ty(operand), at });
        }
        let words = Class::of(node.ty).words();
        let result_at = self.layout.take(words);
        let number = self.host.add(HostNode { op, ty: node.ty, args, result_at });
        let (call, join) = (self.b.create_block(), self.b.create_block());
        let results: Vec<V> = (0..=words).map(|_| self.b.append_block_param(join, I64)).collect();
        match lack {
            None => {
                self.b.ins().jump(call, &[]);
            }
            Some(lack) => {
                let zero = self.word(0);
                let mut args: Vec<_> = vec![zero.into(); words];
                args.push(lack.into());
                self.b.ins().brif(lack, join, &args, call, &[]);
            }
        }
        self.b.switch_to_block(call);
        for (at, word) in stores {
            self.store_frame(at, word);
        }
        let failed = self.call_evaluate(number);
        let mut args: Vec<_> = (0..words).map(|i| self.load_frame(result_at + i).into()).collect();
        args.push(failed.into());
        self.b.ins().jump(join, &args);
        self.b.switch_to_block(join);
        let mut parts = [results[0]; 3];
        parts[..words].copy_from_slice(&results[..words]);
        Ok(Val { parts: self.parts(node.ty, parts), lack: Some(results[words]) })
    }
}
