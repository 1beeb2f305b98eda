//! What is known at a place of the code: where layers are, which nodes have been computed, which bytes have been found.

use wt_catalog::layout::Class;
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::{Exprs, LayerId, NodeId, Op};

use super::load::Place;
use super::row::class_of;
use super::value::LINKTYPE_ETHERNET;
use crate::asm::{Label, Reg, Size};

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

/// A fact that holds from a place of the code on.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Node(NodeId),
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

    /// Where a field lies that is read here alone, its size, and a value as its bytes there: they are compared for equality as they are.
    pub(super) fn bytes_of(&self, node: NodeId, value: u64) -> Option<(Place, Size, u64)> {
        let Op::Load { layer, at: None, byte, bit, bits, little: false } = *self.op(node) else {
            return None;
        };
        let is_plain = matches!(self.ty(node), Type::Ushort | Type::Uint | Type::Ullong | Type::Ip);
        if !is_plain || bit % 8 != 0 || self.is_reused(node) || self.known(node).is_some() {
            return None;
        }
        let place = Place { layer, at: None, byte: byte + bit / 8 };
        match bits {
            16 if self.ty(node).bits().is_none_or(|width| width >= 16) => {
                let value = u16::try_from(value).ok()?;
                Some((place, Size::H, u64::from(value.swap_bytes())))
            }
            32 if self.ty(node) != Type::Ushort => {
                let value = u32::try_from(value).ok()?;
                Some((place, Size::W, u64::from(value.swap_bytes())))
            }
            _ => None,
        }
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
                Fact::Pointer(layer) => self.pointers[layer.0 as usize] = None,
            }
        }
    }

    /// Forgets the pointers among what was learnt since a mark. The verifier sees paths to here that no packet takes, and on them the pointers
    /// are not kept.
    pub(super) fn forget_pointers(&mut self, mark: usize) {
        for fact in self.trail.split_off(mark) {
            match fact {
                Fact::Node(_) => self.trail.push(fact),
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
