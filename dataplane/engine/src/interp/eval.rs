//! Evaluation of a DAG of nodes, on demand and at most once per packet or tuple.
//!
//! For each node that is asked for, the nodes it always reads are listed once, operands first; evaluation goes down that
//! list. What only one arm of a condition reads is evaluated when the arm is taken: the node puts it on a stack and is
//! visited again. So the depth of an expression never costs call stack, only memory that its size bounds.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

use wt_catalog::layout::word_value;
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value, arith};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{Exprs, LayerId, Node, NodeId, Op};

use super::bits;
use super::env::{Env, Lack};
use super::operands::{Which, operands};
use super::saturating;
use crate::functions::{self, Handle, ScalarFn};
use crate::setup::SetupError;

/// What a node came to.
type Cell = Result<Value, Lack>;

/// Longest list of nodes that is kept for one node.
const ORDER_NODES_MAX: usize = 128;

/// Generation of nodes that have the same value for every packet.
const ALWAYS: u64 = u64::MAX;

/// A DAG with the memory for its values.
pub(crate) struct Evaluator {
    nodes: Vec<Node>,
    /// By node: the code of a call.
    calls: Vec<Option<ScalarFn>>,
    handles: Vec<Handle>,
    memo: Memo,
    /// By node that has been asked for: what it always reads and itself, operands first.
    orders: Vec<Option<Box<[NodeId]>>>,
    pending: Vec<NodeId>,
    args: Vec<Value>,
}

/// What the nodes came to.
struct Memo {
    cells: Vec<Cell>,
    /// By node: the generation that its cell belongs to.
    marks: Vec<u64>,
    generation: u64,
}

/// An operand as found.
enum Operand<'a> {
    Value(&'a Value),
    Lacks(Lack),
    Missing,
}

/// An offset that is not there.
enum NoOffset {
    Lacks(Lack),
    Missing(NodeId),
}

impl Memo {
    #[inline]
    fn is_known(&self, node: NodeId) -> bool {
        let mark = self.marks[node.0 as usize];
        mark == self.generation || mark == ALWAYS
    }

    #[inline]
    fn operand(&self, node: NodeId) -> Operand<'_> {
        if !self.is_known(node) {
            return Operand::Missing;
        }
        match &self.cells[node.0 as usize] {
            Ok(value) => Operand::Value(value),
            Err(lack) => Operand::Lacks(*lack),
        }
    }

    #[inline]
    fn set(&mut self, node: NodeId, cell: Cell) {
        // Numbers over numbers are most of all: no drop, and eight bytes to move.
        match (&mut self.cells[node.0 as usize], cell) {
            (Ok(Value::Uint(old)), Ok(Value::Uint(new))) => *old = new,
            (Ok(Value::Bool(old)), Ok(Value::Bool(new))) => *old = new,
            (old, new) => *old = new,
        }
        self.marks[node.0 as usize] = self.generation;
    }

    #[inline]
    fn set_value(&mut self, node: NodeId, value: Value) {
        self.set(node, Ok(value));
    }

    /// Sets a node to the value of a bit pattern; nothing is absent.
    #[inline]
    fn set_pattern(&mut self, node: NodeId, pattern: Option<u64>, ty: Type) {
        match (pattern, ty) {
            (None, _) => self.set(node, Err(Lack::Absent)),
            (Some(pattern), Type::Uint) => {
                self.set_value(node, Value::Uint(u64::from(pattern as u32)));
            }
            (Some(pattern), Type::Bool) => self.set_value(node, Value::Bool(pattern != 0)),
            (Some(pattern), _) => self.set(node, word_value(pattern, ty).ok_or(Lack::Absent)),
        }
    }

    #[inline]
    fn set_bool(&mut self, node: NodeId, truth: bool) {
        self.set_value(node, Value::Bool(truth));
    }

    /// An optional offset: 0 when there is none.
    #[inline]
    fn offset(&self, at: Option<NodeId>) -> Result<u64, NoOffset> {
        let Some(node) = at else { return Ok(0) };
        match self.operand(node) {
            Operand::Value(value) => value.as_u64().ok_or(NoOffset::Lacks(Lack::Absent)),
            Operand::Lacks(lack) => Err(NoOffset::Lacks(lack)),
            Operand::Missing => Err(NoOffset::Missing(node)),
        }
    }
}

/// The value of an operand; or the visited node gets its lack; or the visit ends because the operand is needed first.
macro_rules! operand {
    ($self:ident, $id:expr, $node:expr) => {
        match $self.memo.operand($node) {
            Operand::Value(value) => value,
            Operand::Lacks(lack) => {
                $self.memo.set($id, Err(lack));
                return None;
            }
            Operand::Missing => return Some($node),
        }
    };
}

/// As [`operand!`], for an optional offset.
macro_rules! offset {
    ($self:ident, $id:expr, $at:expr) => {
        match $self.memo.offset($at) {
            Ok(at) => at,
            Err(NoOffset::Lacks(lack)) => {
                $self.memo.set($id, Err(lack));
                return None;
            }
            Err(NoOffset::Missing(node)) => return Some(node),
        }
    };
}

/// An optional offset modulo 2^32 for operators that are never absent: nothing when the node has no value.
macro_rules! wrapping_offset {
    ($self:ident, $at:expr) => {
        match $self.memo.offset($at) {
            Ok(at) => Some(at as u32),
            Err(NoOffset::Lacks(_)) => None,
            Err(NoOffset::Missing(node)) => return Some(node),
        }
    };
}

impl Evaluator {
    /// Prepares a DAG that [`crate::check`] has found sound: registers its handles, finds the code of its calls and
    /// evaluates what is constant.
    ///
    /// # Errors
    /// A handle that cannot be registered.
    pub(crate) fn new(exprs: &Exprs, params: &[Value]) -> Result<Self, SetupError> {
        let mut handles = Vec::with_capacity(exprs.handles.len());
        for spec in &exprs.handles {
            let handle = functions::register(spec, params)
                .map_err(|source| SetupError::Handle { function: spec.symbol, source })?;
            handles.push(handle);
        }
        let calls = exprs.nodes.iter().map(|node| match node.op {
            Op::Call { symbol, .. } => functions::scalar(symbol),
            _ => None,
        });
        let mut evaluator = Self {
            calls: calls.collect(),
            handles,
            memo: Memo {
                cells: vec![Err(Lack::Absent); exprs.nodes.len()],
                marks: vec![0; exprs.nodes.len()],
                generation: 0,
            },
            orders: vec![None; exprs.nodes.len()],
            pending: Vec::new(),
            args: Vec::new(),
            nodes: exprs.nodes.clone(),
        };
        for (index, node) in exprs.nodes.iter().enumerate() {
            let constant = match &node.op {
                Op::Const(value) => value,
                Op::Param(param) => &params[param.0 as usize],
                _ => continue,
            };
            evaluator.memo.cells[index] = Ok(constant.clone());
            evaluator.memo.marks[index] = ALWAYS;
        }
        evaluator.begin();
        Ok(evaluator)
    }

    /// Forgets the values of the packet or tuple before.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.memo.generation += 1;
    }

    /// The value of a node against `env`, which must stay the same from one [`Self::begin`] to the next.
    #[inline]
    pub(crate) fn eval<E: Env>(&mut self, root: NodeId, env: &E) -> Result<&Value, Lack> {
        if !self.memo.is_known(root) {
            self.compute(root, env);
        }
        self.memo.cells[root.0 as usize].as_ref().map_err(|lack| *lack)
    }

    fn compute<E: Env>(&mut self, root: NodeId, env: &E) {
        let slot = root.0 as usize;
        let order = match self.orders[slot].take() {
            Some(order) => order,
            None => self.order(root),
        };
        for &node in &order {
            if self.memo.is_known(node) {
                continue;
            }
            if let Some(arm) = self.visit(node, env) {
                self.compute_arm(node, arm, env);
            }
        }
        self.orders[slot] = Some(order);
    }

    /// What `root` always reads, operands first, then itself; of large expressions only itself.
    fn order(&self, root: NodeId) -> Box<[NodeId]> {
        let mut order = Vec::new();
        let mut found = vec![root];
        while let Some(node) = found.pop() {
            if self.memo.marks[node.0 as usize] == ALWAYS || order.contains(&node) {
                continue;
            }
            order.push(node);
            if order.len() > ORDER_NODES_MAX {
                return [root].into();
            }
            let op = &self.nodes[node.0 as usize].op;
            let visited = operands(op, Which::Always, |operand| {
                found.push(operand);
                Ok::<(), Infallible>(())
            });
            let Ok(()) = visited;
        }
        // Operands have lower indices.
        order.sort_unstable();
        order.into()
    }

    /// Computes a node that needs `arm` first.
    fn compute_arm<E: Env>(&mut self, node: NodeId, arm: NodeId, env: &E) {
        debug_assert!(self.pending.is_empty());
        self.pending.extend([node, arm]);
        while let Some(&node) = self.pending.last() {
            match self.visit(node, env) {
                None => {
                    self.pending.pop();
                }
                Some(operand) => self.pending.push(operand),
            }
        }
    }

    /// Sets the cell of a node, or gives the operand that it needs first.
    #[inline]
    fn visit<E: Env>(&mut self, id: NodeId, env: &E) -> Option<NodeId> {
        let Node { op, ty, .. } = &self.nodes[id.0 as usize];
        let ty = *ty;
        match op {
            // Both have been put in their cells by `new`.
            Op::Const(_) | Op::Param(_) => {}
            Op::Input(column) => self.memo.set(id, env.input(*column).cloned()),
            Op::Meta(Meta::Interface) => {
                self.memo.set(id, env.interface().cloned().ok_or(Lack::Absent));
            }
            Op::Meta(meta) => self.memo.set_pattern(id, env.meta(*meta), ty),
            Op::Load { layer, at, byte, bit, bits, little } => {
                let at = offset!(self, id, *at);
                let pattern = place(env, *layer, at, *byte)
                    .and_then(|place| bits::load(env.data(), place, *bit, *bits, *little));
                self.memo.set_pattern(id, pattern, ty);
            }
            Op::LoadOrZero { layer, at, byte, bytes } => {
                let at = wrapping_offset!(self, *at);
                let pattern = at
                    .and_then(|at| wrapping_place(env, *layer, at, *byte))
                    .and_then(|place| bits::load(env.data(), place, 0, 8 * *bytes, false));
                self.memo.set_pattern(id, Some(pattern.unwrap_or(0)), ty);
            }
            Op::InBounds { layer, at, byte, bytes } => {
                let at = wrapping_offset!(self, *at);
                let end = at
                    .and_then(|at| wrapping_place(env, *layer, at, *byte))
                    .and_then(|place| place.checked_add(u64::from(*bytes)));
                self.memo.set_bool(id, end.is_some_and(|end| end <= env.data().len() as u64));
            }
            Op::LoadIpv6 { layer, at, byte } => {
                let at = offset!(self, id, *at);
                let address = place(env, *layer, at, *byte)
                    .and_then(|place| load_ipv6(env.data(), place, ty));
                self.memo.set(id, address.ok_or(Lack::Absent));
            }
            Op::Slice { layer, at, len } => {
                let at = offset!(self, id, Some(*at));
                let len = match len {
                    None => u64::MAX,
                    Some(len) => offset!(self, id, Some(*len)),
                };
                let bytes = env.layer(*layer).map(|layer| slice(env.data(), layer.offset, at, len));
                self.memo.set(id, bytes.ok_or(Lack::Absent));
            }
            Op::Present(layer) => self.memo.set_bool(id, env.layer(*layer).is_some()),
            Op::Offset(layer) => {
                self.memo.set_pattern(id, env.layer(*layer).map(|l| l.offset as u64), ty);
            }
            Op::Depth { protocol, run_below } => {
                self.memo.set_pattern(id, Some(env.depth(*protocol, *run_below)), ty);
            }
            Op::ByProtocol { layer, arms } => {
                match env.layer(*layer).and_then(|l| l.protocol).and_then(|p| arm(arms, p)) {
                    None => self.memo.set(id, Err(Lack::Absent)),
                    Some(arm) => {
                        let value = operand!(self, id, arm).clone();
                        self.memo.set_value(id, value);
                    }
                }
            }
            Op::Unary(op, a) => {
                let value = arith::unary(*op, operand!(self, id, *a), ty);
                self.memo.set(id, value.ok_or(Lack::Failed));
            }
            Op::Binary(op, a, b) => {
                let (a, b) = (operand!(self, id, *a), operand!(self, id, *b));
                let value = arith::binary(*op, a, b, ty);
                self.memo.set(id, value.ok_or(Lack::Failed));
            }
            Op::Saturating(op, a, b) => {
                let a = operand!(self, id, *a).as_u64();
                let b = operand!(self, id, *b).as_u64();
                let pattern = a.zip(b).map(|(a, b)| saturating::apply(*op, a, b));
                self.memo.set_pattern(id, pattern, ty);
            }
            Op::Compare(op, a, b) => {
                let (a, b) = (operand!(self, id, *a), operand!(self, id, *b));
                let truth = arith::compare(*op, a, b);
                self.memo.set_bool(id, truth);
            }
            Op::And(a, b) => {
                let a = is_true(operand!(self, id, *a));
                let b = is_true(operand!(self, id, *b));
                self.memo.set_bool(id, a && b);
            }
            Op::Or(a, b) => {
                let a = is_true(operand!(self, id, *a));
                let b = is_true(operand!(self, id, *b));
                self.memo.set_bool(id, a || b);
            }
            Op::Not(a) => {
                let a = is_true(operand!(self, id, *a));
                self.memo.set_bool(id, !a);
            }
            Op::In(a, members) => {
                let a = operand!(self, id, *a);
                let found = members.iter().any(|member| is_member(a, member));
                self.memo.set_bool(id, found);
            }
            Op::Select { cond, then, otherwise } => {
                let taken = if is_true(operand!(self, id, *cond)) { *then } else { *otherwise };
                let value = operand!(self, id, taken).clone();
                self.memo.set_value(id, value);
            }
            Op::Cast(a) => {
                let value = arith::cast(operand!(self, id, *a), ty);
                self.memo.set(id, value.ok_or(Lack::Failed));
            }
            Op::Call { args, handle, .. } => {
                self.args.clear();
                for arg in args {
                    self.args.push(operand!(self, id, *arg).clone());
                }
                let handle = handle.map(|h| &self.handles[h.0 as usize]);
                let value = self.calls[id.0 as usize].and_then(|call| call(&self.args, handle));
                self.memo.set(id, value.ok_or(Lack::Failed));
            }
        }
        None
    }
}

fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

/// Byte `at + byte` of a layer, counted from the packet's start.
fn place<E: Env>(env: &E, layer: LayerId, at: u64, byte: u32) -> Option<u64> {
    let base = env.layer(layer)?.offset as u64;
    base.checked_add(at)?.checked_add(u64::from(byte))
}

/// Byte `at + byte` modulo 2^32 of a layer, counted from the packet's start.
fn wrapping_place<E: Env>(env: &E, layer: LayerId, at: u32, byte: u32) -> Option<u64> {
    let base = env.layer(layer)?.offset as u64;
    base.checked_add(u64::from(at.wrapping_add(byte)))
}

fn load_ipv6(data: &[u8], place: u64, ty: Type) -> Option<Value> {
    let start = usize::try_from(place).ok()?;
    let octets: [u8; 16] = data.get(start..start.checked_add(16)?)?.try_into().ok()?;
    let address = Ipv6Addr::from(octets);
    Some(if ty == Type::Inet { Value::Inet(IpAddr::V6(address)) } else { Value::Ipv6(address) })
}

/// `len` bytes from `base + at`, cut at the end of the captured bytes; empty behind it.
fn slice(data: &[u8], base: usize, at: u64, len: u64) -> Value {
    let end = data.len();
    let start = (base as u64).saturating_add(at).min(end as u64) as usize;
    let len = len.min((end - start) as u64) as usize;
    Value::bytes(&data[start..start + len])
}

fn arm(arms: &[(ProtocolId, NodeId)], protocol: ProtocolId) -> Option<NodeId> {
    arms.iter().find(|(id, _)| *id == protocol).map(|&(_, node)| node)
}

/// Equality with a member; containment for an address in a PREFIX member.
pub(crate) fn is_member(value: &Value, member: &Value) -> bool {
    match (member, value.as_addr()) {
        (Value::Prefix(block, len), Some(address)) => contains(*block, *len, address),
        _ => arith::compare(CmpOp::Eq, value, member),
    }
}

/// Whether a CIDR block contains an address of its family.
fn contains(block: IpAddr, len: u8, address: IpAddr) -> bool {
    let (block, address, width) = match (block, address) {
        (IpAddr::V4(b), IpAddr::V4(a)) => (u128::from(u32::from(b)), u128::from(u32::from(a)), 32),
        (IpAddr::V6(b), IpAddr::V6(a)) => (u128::from(b), u128::from(a), 128),
        _ => return false,
    };
    let host_bits = width - u32::from(len).min(width);
    // A shift by the full width would be 0 bits left, which is what /0 compares.
    block.checked_shr(host_bits) == address.checked_shr(host_bits)
}
