//! What is known at a place of the code: where layers are, which nodes have been computed, which bytes have been found.

use wt_catalog::layout::Class;
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::{Exprs, LayerId, NodeId, Op};

use super::load::Place;
use super::row::class_of;
use super::value::LINKTYPE_ETHERNET;
use crate::asm::{Endian, Label, Reg, Size};

/// Most numbers that a short condition is computed from.
const SHORT_NODES_MAX: usize = 5;

/// Whether values of a type are one word.
fn is_word(ty: Type) -> bool {
    class_of(ty) == Some(Class::Word)
}

/// Where code goes on when a node has no value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacks {
    /// A field is not in the packet.
    pub(super) absent: Label,
    /// A partial operation failed.
    pub(super) failed: Label,
}

/// A packet pointer behind which bytes have been compared with the packet's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub(super) at: PointerAt,
    /// Bytes from the pointer to the header.
    pub(super) disp: i32,
    /// Bytes of the header that are there.
    pub(super) bytes: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PointerAt {
    Reg(Reg),
    /// On the stack.
    Slot(i16),
}

/// A layer that nodes read.
#[derive(Clone, Copy, Debug)]
pub(super) enum LayerAt {
    /// The header under evaluation.
    This(Pointer),
    /// On the path that leads here, and there alone.
    Placed {
        /// Where.
        pointer: Pointer,
        /// Its concrete protocol.
        protocol: ProtocolId,
    },
    /// Not on the path that leads here.
    Absent,
    /// Found by the walk.
    Found {
        /// Cell of its offset.
        offset: i16,
        /// Cell of its concrete protocol, when some node asks for it.
        protocol: Option<i16>,
        /// Bytes that are captured whenever it is there.
        captured: u32,
        /// It is there, or the code would not be reached.
        present: bool,
    },
}

/// A field as its bytes lie in the packet.
#[derive(Clone, Copy)]
pub(super) struct Raw {
    pub(super) place: Place,
    pub(super) size: Size,
    bits: u32,
    /// Lower bits that are not its own.
    unused: u32,
}

impl Raw {
    /// Its bits among the bytes.
    pub(super) fn own_bits(&self) -> u64 {
        self.ordered((u64::MAX >> (64 - self.bits)) << self.unused)
    }

    /// The same, when there are others.
    pub(super) fn mask(&self) -> Option<u64> {
        Some(self.own_bits()).filter(|_| self.bits < 8 * self.size.bytes())
    }

    /// The bytes with a value in its place and 0 around it; nothing when it cannot be that.
    fn bytes_of(&self, value: u64) -> Option<u64> {
        (value <= u64::MAX >> (64 - self.bits)).then(|| self.ordered(value << self.unused))
    }

    /// A number in the packet's byte order.
    fn ordered(&self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - 8 * self.size.bytes())
    }

    /// How its bytes become a number, where all of them are its own.
    pub(super) fn order(&self) -> Option<Endian> {
        match self.size {
            _ if self.mask().is_some() => None,
            Size::H => Some(Endian::Be16),
            Size::W => Some(Endian::Be32),
            Size::B | Size::Dw => None,
        }
    }
}

/// A fact that holds from a place of the code on.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Node(NodeId),
    Raw(NodeId),
    Pointer(LayerId),
}

/// A DAG being emitted.
pub(super) struct Scope<'p> {
    pub(super) exprs: &'p Exprs,
    pub(super) layers: Vec<LayerAt>,
    /// By [`Op::Depth`]: the cell that counts.
    pub(super) counts: Vec<((ProtocolId, Option<LayerId>), i16)>,
    pub(super) lacks: Lacks,
    /// By node: what it is for every packet that comes to a program.
    truths: Vec<Option<bool>>,
    /// By node: how often it is read here.
    uses: Vec<u32>,
    /// By node: scratch words that hold its value.
    known: Vec<Option<i16>>,
    /// By node: scratch word that holds the bytes of the field it is.
    raws: Vec<Option<i16>>,
    pub(super) pointers: Vec<Option<Pointer>>,
    trail: Vec<Fact>,
    may_lack: Vec<Option<bool>>,
}

impl<'p> Scope<'p> {
    pub(super) fn new(
        exprs: &'p Exprs,
        layers: Vec<LayerAt>,
        counts: Vec<((ProtocolId, Option<LayerId>), i16)>,
        roots: &[NodeId],
        lacks: Lacks,
    ) -> Self {
        let truths = truths(exprs);
        let mut uses = vec![0u32; exprs.nodes.len()];
        let mut pending = roots.to_vec();
        while let Some(node) = pending.pop() {
            let uses = &mut uses[node.0 as usize];
            *uses += 1;
            if *uses == 1 {
                pending.extend(operands(exprs, &truths, node));
            }
        }
        Self {
            truths,
            pointers: vec![None; layers.len()],
            exprs,
            layers,
            counts,
            lacks,
            uses,
            known: vec![None; exprs.nodes.len()],
            raws: vec![None; exprs.nodes.len()],
            trail: Vec::new(),
            may_lack: vec![None; exprs.nodes.len()],
        }
    }

    pub(super) fn op(&self, node: NodeId) -> &'p Op {
        &self.exprs.nodes[node.0 as usize].op
    }

    pub(super) fn ty(&self, node: NodeId) -> Type {
        self.exprs.nodes[node.0 as usize].ty
    }

    /// What a bool node is for every packet that comes to a program, where that is known.
    pub(super) fn truth(&self, node: NodeId) -> Option<bool> {
        self.truths[node.0 as usize]
    }

    /// Takes a bool node for true from here on.
    pub(super) fn suppose(&mut self, node: NodeId) {
        self.truths[node.0 as usize] = Some(true);
    }

    /// The field that a node is, as its bytes lie in the packet.
    pub(super) fn raw(&self, node: NodeId) -> Option<Raw> {
        let Op::Load { layer, at: None, byte, bit, bits, little: false } = *self.op(node) else {
            return None;
        };
        let is_plain = match self.ty(node) {
            _ if bits == 0 => false,
            Type::Ushort => bits <= 16,
            Type::Uint | Type::Ip => bits <= 32,
            Type::Ullong => true,
            Type::Bool => bits == 1,
            _ => false,
        };
        let (byte, bit) = (byte + bit / 8, bit % 8);
        let size = match (bit + bits).div_ceil(8) {
            1 => Size::B,
            2 => Size::H,
            4 => Size::W,
            _ => return None,
        };
        let place = Place { layer, at: None, byte };
        let raw = Raw { place, size, bits, unused: 8 * size.bytes() - bit - bits };
        Some(raw).filter(|_| is_plain)
    }

    /// The field that is read here alone, and the value that it has exactly when a node has another.
    fn raw_value(&self, mut node: NodeId, mut value: u64) -> Option<(Raw, u64)> {
        loop {
            if self.is_reused(node) || self.known(node).is_some() {
                return None;
            }
            let is_unsigned =
                |node: NodeId| matches!(self.ty(node), Type::Ushort | Type::Uint | Type::Ullong);
            let max = |node: NodeId| wt_plan::lower::value_max(self.exprs, node);
            match *self.op(node) {
                Op::Binary(BinaryOp::Mul, a, b) if is_unsigned(a) && is_unsigned(node) => {
                    let by = self.constant(b).and_then(Value::as_u64).filter(|by| *by > 0)?;
                    let product = max(a).checked_mul(by)?;
                    let width = self.ty(node).bits().unwrap_or(64);
                    node = Some(a).filter(|_| product <= u64::MAX >> (64 - width))?;
                    value = Some(value / by).filter(|_| value.is_multiple_of(by))?;
                }
                Op::Saturating(BinaryOp::Mul, a, b) if is_unsigned(a) => {
                    let by = self.constant(b).and_then(Value::as_u64).filter(|by| *by > 0)?;
                    let is_exact = value == 0 || max(a).checked_mul(by).is_some();
                    node = Some(a).filter(|_| is_exact)?;
                    value = Some(value / by).filter(|_| value.is_multiple_of(by))?;
                }
                Op::Cast(a) if is_unsigned(a) && is_unsigned(node) => {
                    let width = self.ty(node).bits().unwrap_or(64);
                    node = Some(a).filter(|a| max(*a) <= u64::MAX >> (64 - width))?;
                }
                _ => return Some((self.raw(node)?, value)),
            }
        }
    }

    /// The bytes that a field is compared with for equality, in which it is read here alone: no byte order is changed for it, and nothing shifted.
    pub(super) fn raw_equal(&self, node: NodeId, value: u64) -> Option<(Raw, u64)> {
        let (raw, value) = self.raw_value(node, value)?;
        Some((raw, raw.bytes_of(value)?))
    }

    /// The scratch word with the bytes of a field that is compared with constants alone, or first, and a value as it would be there.
    pub(super) fn kept_equal(&self, node: NodeId, value: u64) -> Option<(i16, u64)> {
        let at = self.raws[node.0 as usize]?;
        Some((at, self.raw(node)?.bytes_of(value)?))
    }

    /// The scratch word with the bytes of a field, and what they are.
    pub(super) fn kept_raw(&self, node: NodeId) -> Option<(i16, Raw)> {
        Some((self.raws[node.0 as usize]?, self.raw(node)?))
    }

    /// The conditions that hold exactly when a node does, all of them.
    pub(super) fn conjuncts(&self, node: NodeId) -> Vec<NodeId> {
        let (mut pending, mut found) = (vec![node], Vec::new());
        while let Some(node) = pending.pop() {
            match self.op(node) {
                Op::And(a, b) => pending.extend([*b, *a]),
                Op::Select { cond, then, otherwise } if self.truth(*otherwise) == Some(false) => {
                    pending.extend([*then, *cond]);
                }
                _ => found.push(node),
            }
        }
        found
    }

    /// The number that a condition looks at first, whatever it comes to: on one side of its first comparison, with a constant on the other.
    pub(super) fn first_operand(&self, mut node: NodeId) -> Option<NodeId> {
        loop {
            if self.truth(node).is_some() {
                return None;
            }
            match self.op(node) {
                Op::And(a, _) | Op::Or(a, _) | Op::Not(a) | Op::Select { cond: a, .. } => node = *a,
                Op::In(a, _) => return Some(*a).filter(|a| is_word(self.ty(*a))),
                Op::Compare(_, a, b) => {
                    return Some(*a)
                        .filter(|a| self.constant(*b).is_some() && is_word(self.ty(*a)));
                }
                _ => return None,
            }
        }
    }

    /// Whether a condition is decided in a few instructions, fewer than it takes to keep and read its value.
    pub(super) fn is_short(&mut self, node: NodeId) -> bool {
        let Op::Compare(_, a, b) = self.op(node) else { return false };
        if self.may_lack(node) || self.constant(*b).is_none() {
            return false;
        }
        let (mut pending, mut count) = (vec![*a], 0);
        while let Some(node) = pending.pop() {
            count += 1;
            match self.op(node) {
                _ if self.known(node).is_some() => {}
                Op::Load { at: None, .. } | Op::Const(_) | Op::Meta(Meta::Len | Meta::CapLen) => {}
                Op::Binary(BinaryOp::BitAnd | BinaryOp::Mul | BinaryOp::Shr, ..)
                | Op::Saturating(..)
                | Op::Cast(_) => {
                    pending.extend(self.operands(node));
                }
                _ => return false,
            }
            if count > SHORT_NODES_MAX {
                return false;
            }
        }
        true
    }

    /// The nodes that a node reads for some packet that comes to a program.
    pub(super) fn operands(&self, node: NodeId) -> Vec<NodeId> {
        operands(self.exprs, &self.truths, node)
    }

    /// Bits of the largest value of a node; 64 for what may be negative.
    pub(super) fn bits(&self, node: NodeId) -> u32 {
        if self.ty(node).is_signed() {
            return 64;
        }
        64 - wt_plan::lower::value_max(self.exprs, node).leading_zeros()
    }

    /// The scratch words that hold a node's value.
    pub(super) fn known(&self, node: NodeId) -> Option<i16> {
        self.known[node.0 as usize]
    }

    pub(super) fn is_reused(&self, node: NodeId) -> bool {
        self.uses[node.0 as usize] > 1
    }

    /// Whether a condition is decided in parts, of which not all are evaluated on every path.
    pub(super) fn is_in_parts(&self, node: NodeId) -> bool {
        let is_compound =
            matches!(self.op(node), Op::And(..) | Op::Or(..) | Op::Not(_) | Op::Select { .. });
        is_compound && !self.is_reused(node)
    }

    pub(super) fn learn_node(&mut self, node: NodeId, at: i16) {
        self.known[node.0 as usize] = Some(at);
        self.trail.push(Fact::Node(node));
    }

    pub(super) fn learn_raw(&mut self, node: NodeId, at: i16) {
        self.raws[node.0 as usize] = Some(at);
        self.trail.push(Fact::Raw(node));
    }

    pub(super) fn learn_pointer(&mut self, layer: LayerId, pointer: Pointer) {
        self.pointers[layer.0 as usize] = Some(pointer);
        self.trail.push(Fact::Pointer(layer));
    }

    /// What is learnt from here on holds only until [`Self::forget`].
    pub(super) fn mark(&self) -> usize {
        self.trail.len()
    }

    /// Forgets what was learnt since a mark: not every path to here has it.
    pub(super) fn forget(&mut self, mark: usize) {
        for fact in self.trail.drain(mark..) {
            match fact {
                Fact::Node(node) => self.known[node.0 as usize] = None,
                Fact::Raw(node) => self.raws[node.0 as usize] = None,
                Fact::Pointer(layer) => self.pointers[layer.0 as usize] = None,
            }
        }
    }

    /// Forgets the pointers among what was learnt since a mark. The verifier sees paths to here that no packet takes, and on them the pointers
    /// are not kept.
    pub(super) fn forget_pointers(&mut self, mark: usize) {
        for fact in self.trail.split_off(mark) {
            match fact {
                Fact::Node(_) | Fact::Raw(_) => self.trail.push(fact),
                Fact::Pointer(layer) => self.pointers[layer.0 as usize] = None,
            }
        }
    }

    /// The value of a constant node.
    pub(super) fn constant(&self, node: NodeId) -> Option<&'p Value> {
        match self.op(node) {
            Op::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Whether a node can have no value.
    pub(super) fn may_lack(&mut self, node: NodeId) -> bool {
        if let Some(known) = self.may_lack[node.0 as usize] {
            return known;
        }
        let op = self.op(node);
        let itself = match op {
            Op::LoadOrZero { .. } | Op::InBounds { .. } | Op::Present(_) | Op::Depth { .. } => {
                return false;
            }
            Op::Load { layer, at: None, byte, bit, bits, .. } => {
                !self.is_captured(*layer, u64::from(*byte) + u64::from((bit + bits).div_ceil(8)))
            }
            Op::LoadIpv6 { layer, at: None, byte } => {
                !self.is_captured(*layer, u64::from(*byte) + 16)
            }
            Op::Offset(layer) => !self.is_captured(*layer, 0),
            Op::Load { .. } | Op::LoadIpv6 { .. } | Op::ByProtocol { .. } => true,
            Op::Binary(BinaryOp::Div | BinaryOp::Rem, _, b) => {
                // Not 0 whatever it is cut to.
                let divisor = self.constant(*b).and_then(Value::as_u64);
                !self.ty(*b).is_integer() || divisor.is_none_or(|d| d as u16 == 0)
            }
            Op::Binary(..) | Op::Cast(_) => self.ty(node).is_address(),
            _ => false,
        };
        let operands = self.operands(node);
        let found = itself || operands.into_iter().any(|operand| self.may_lack(operand));
        self.may_lack[node.0 as usize] = Some(found);
        found
    }

    fn is_captured(&self, layer: LayerId, bytes: u64) -> bool {
        match self.layers[layer.0 as usize] {
            LayerAt::This(pointer) | LayerAt::Placed { pointer, .. } => {
                bytes <= u64::from(pointer.bytes)
            }
            LayerAt::Absent => false,
            LayerAt::Found { captured, present, .. } => present && bytes <= u64::from(captured),
        }
    }
}

/// The nodes that a node reads: of a condition that is known, the arm taken.
fn operands(exprs: &Exprs, truths: &[Option<bool>], node: NodeId) -> Vec<NodeId> {
    match &exprs.nodes[node.0 as usize].op {
        _ if truths[node.0 as usize].is_some() => Vec::new(),
        Op::Select { cond, then, otherwise } => match truths[cond.0 as usize] {
            Some(true) => vec![*then],
            Some(false) => vec![*otherwise],
            None => vec![*cond, *then, *otherwise],
        },
        op => op.operands(),
    }
}

/// By node: what a bool is for every packet, since all begin with an Ethernet header. A `pcap_filter` asks for the link type first, and has
/// an expression for each.
fn truths(exprs: &Exprs) -> Vec<Option<bool>> {
    let constant = |node: &NodeId| match &exprs.nodes[node.0 as usize].op {
        Op::Const(value) => Some(value.clone()),
        Op::Meta(Meta::LinkType) => Some(Value::Uint(u64::from(LINKTYPE_ETHERNET))),
        _ => None,
    };
    let mut truths: Vec<Option<bool>> = Vec::with_capacity(exprs.nodes.len());
    for node in &exprs.nodes {
        let of = |id: &NodeId| truths[id.0 as usize];
        let truth = match &node.op {
            Op::Const(Value::Bool(truth)) => Some(*truth),
            Op::Compare(op, a, b) => {
                constant(a).zip(constant(b)).map(|(a, b)| wt_catalog::arith::compare(*op, &a, &b))
            }
            Op::In(a, members) => constant(a)
                .map(|a| members.iter().any(|m| wt_catalog::arith::compare(CmpOp::Eq, &a, m))),
            Op::Not(a) => of(a).map(|a| !a),
            Op::And(a, b) => of(a).zip(of(b)).map(|(a, b)| a && b),
            Op::Or(a, b) => of(a).zip(of(b)).map(|(a, b)| a || b),
            Op::Select { cond, then, otherwise } => match of(cond) {
                Some(true) => of(then),
                Some(false) => of(otherwise),
                None => None,
            },
            _ => None,
        };
        // Addresses are members of prefixes by another rule.
        truths.push(truth.filter(
            |_| !matches!(&node.op, Op::In(a, _) if exprs.nodes[a.0 as usize].ty.is_address()),
        ));
    }
    truths
}
