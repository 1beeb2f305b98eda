//! Evaluation of a DAG of nodes, on demand and at most once per packet or tuple.
//!
//! No recursion: a node whose operand has no value yet puts the operand on a stack and is visited again, so the depth of
//! an expression costs memory that its size bounds, and never the call stack.

use std::net::{IpAddr, Ipv6Addr};

use wt_catalog::{ProtocolId, Type, Value, arith};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{Exprs, HandleArg, LayerId, Node, NodeId, Op};

use super::bits;
use super::env::{Env, Lack, MetaValue};
use super::saturating;
use crate::functions::{self, Handle, ScalarFn};
use crate::setup::SetupError;

/// What a node came to.
type Cell = Result<Value, Lack>;

/// Generation of nodes that have the same value for every packet.
const ALWAYS: u64 = u64::MAX;

/// A DAG with the memory for its values.
pub(crate) struct Evaluator {
    nodes: Vec<Node>,
    /// By node: the code of a call.
    calls: Vec<Option<ScalarFn>>,
    handles: Vec<Handle>,
    cells: Vec<Cell>,
    /// By node: the generation that its cell belongs to.
    marks: Vec<u64>,
    generation: u64,
    pending: Vec<NodeId>,
    args: Vec<Value>,
}

/// One visit of a node.
enum Step {
    /// It has come to something.
    Done(Cell),
    /// It needs this operand first.
    Need(NodeId),
}

/// An operand as found.
enum Operand<'a> {
    Value(&'a Value),
    Lacks(Lack),
    Missing,
}

/// The value of an operand, or an early return from a step.
macro_rules! operand {
    ($self:ident, $node:expr) => {
        match $self.operand($node) {
            Operand::Value(value) => value,
            Operand::Lacks(lack) => return Step::Done(Err(lack)),
            Operand::Missing => return Step::Need($node),
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
            let argument = match &spec.argument {
                HandleArg::Const(value) => value,
                HandleArg::Param(param) => &params[param.0 as usize],
            };
            let handle = functions::prepare(spec.symbol, argument)
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
            cells: vec![Err(Lack::Absent); exprs.nodes.len()],
            marks: vec![0; exprs.nodes.len()],
            generation: 0,
            pending: Vec::new(),
            args: Vec::new(),
            nodes: exprs.nodes.clone(),
        };
        for (cell, (mark, node)) in
            evaluator.cells.iter_mut().zip(evaluator.marks.iter_mut().zip(&exprs.nodes))
        {
            let constant = match &node.op {
                Op::Const(value) => value,
                Op::Param(param) => &params[param.0 as usize],
                _ => continue,
            };
            *cell = Ok(constant.clone());
            *mark = ALWAYS;
        }
        evaluator.begin();
        Ok(evaluator)
    }

    /// Forgets the values of the packet or tuple before.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.generation += 1;
    }

    /// The value of a node against `env`, which must stay the same from one [`Self::begin`] to the next.
    #[inline]
    pub(crate) fn eval<E: Env>(&mut self, root: NodeId, env: &E) -> Result<&Value, Lack> {
        if !self.is_known(root) {
            self.compute(root, env);
        }
        self.cells[root.0 as usize].as_ref().map_err(|lack| *lack)
    }

    #[inline]
    fn is_known(&self, node: NodeId) -> bool {
        let mark = self.marks[node.0 as usize];
        mark == self.generation || mark == ALWAYS
    }

    fn compute<E: Env>(&mut self, root: NodeId, env: &E) {
        debug_assert!(self.pending.is_empty());
        self.pending.push(root);
        while let Some(&node) = self.pending.last() {
            match self.visit(node, env) {
                Step::Done(cell) => {
                    self.cells[node.0 as usize] = cell;
                    self.marks[node.0 as usize] = self.generation;
                    self.pending.pop();
                }
                Step::Need(operand) => self.pending.push(operand),
            }
        }
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

    /// An optional offset: 0 when there is none.
    fn offset(&self, at: Option<NodeId>) -> Result<u64, Step> {
        let Some(node) = at else { return Ok(0) };
        match self.operand(node) {
            Operand::Value(value) => value.as_u64().ok_or(Step::Done(Err(Lack::Absent))),
            Operand::Lacks(lack) => Err(Step::Done(Err(lack))),
            Operand::Missing => Err(Step::Need(node)),
        }
    }

    fn visit<E: Env>(&mut self, id: NodeId, env: &E) -> Step {
        let Node { op, ty, .. } = &self.nodes[id.0 as usize];
        let ty = *ty;
        let value = match op {
            // Both have been put in their cells by `new`.
            Op::Const(_) | Op::Param(_) => return Step::Done(Err(Lack::Absent)),
            Op::Input(column) => return Step::Done(env.input(*column).cloned()),
            Op::Meta(meta) => match env.meta(*meta) {
                Some(MetaValue::Number(number)) => bits::value(number, ty),
                Some(MetaValue::Name(name)) => Some(name),
                None => None,
            },
            Op::Load { layer, at, byte, bit, bits, little } => {
                let at = match self.offset(*at) {
                    Ok(at) => at,
                    Err(step) => return step,
                };
                let place = place(env, *layer, at, *byte);
                place.and_then(|place| load(env.data(), place, *bit, *bits, *little, ty))
            }
            Op::LoadOrZero { layer, at, byte, bytes } => {
                let at = match self.wrapping_offset(*at) {
                    Ok(at) => at,
                    Err(step) => return step,
                };
                let pattern = at
                    .and_then(|at| wrapping_place(env, *layer, at, *byte))
                    .and_then(|place| bits::load(env.data(), place, 0, 8 * *bytes, false));
                bits::value(pattern.unwrap_or(0), ty)
            }
            Op::InBounds { layer, at, byte, bytes } => {
                let at = match self.wrapping_offset(*at) {
                    Ok(at) => at,
                    Err(step) => return step,
                };
                let end = at
                    .and_then(|at| wrapping_place(env, *layer, at, *byte))
                    .and_then(|place| place.checked_add(u64::from(*bytes)));
                Some(Value::Bool(end.is_some_and(|end| end <= env.data().len() as u64)))
            }
            Op::LoadIpv6 { layer, at, byte } => {
                let at = match self.offset(*at) {
                    Ok(at) => at,
                    Err(step) => return step,
                };
                place(env, *layer, at, *byte).and_then(|place| load_ipv6(env.data(), place, ty))
            }
            Op::Slice { layer, at, len } => {
                let at = match self.offset(Some(*at)) {
                    Ok(at) => at,
                    Err(step) => return step,
                };
                let len = match len.map(|len| self.offset(Some(len))) {
                    None => u64::MAX,
                    Some(Ok(len)) => len,
                    Some(Err(step)) => return step,
                };
                env.layer(*layer).map(|layer| slice(env.data(), layer.offset, at, len))
            }
            Op::Present(layer) => Some(Value::Bool(env.layer(*layer).is_some())),
            Op::Offset(layer) => {
                env.layer(*layer).and_then(|layer| bits::value(layer.offset as u64, ty))
            }
            Op::Depth { protocol, run_below } => bits::value(env.depth(*protocol, *run_below), ty),
            Op::ByProtocol { layer, arms } => {
                let arm = env.layer(*layer).and_then(|l| l.protocol).and_then(|p| arm(arms, p));
                let Some(arm) = arm else { return Step::Done(Err(Lack::Absent)) };
                Some(operand!(self, arm).clone())
            }
            Op::Unary(op, a) => return partial(arith::unary(*op, operand!(self, *a), ty)),
            Op::Binary(op, a, b) => {
                let (a, b) = (operand!(self, *a), operand!(self, *b));
                return partial(arith::binary(*op, a, b, ty));
            }
            Op::Saturating(op, a, b) => {
                let (a, b) = (operand!(self, *a).as_u64(), operand!(self, *b).as_u64());
                a.zip(b).and_then(|(a, b)| bits::value(saturating::apply(*op, a, b), ty))
            }
            Op::Compare(op, a, b) => {
                let (a, b) = (operand!(self, *a), operand!(self, *b));
                Some(Value::Bool(arith::compare(*op, a, b)))
            }
            Op::And(a, b) => {
                let (a, b) = (operand!(self, *a), operand!(self, *b));
                Some(Value::Bool(is_true(a) && is_true(b)))
            }
            Op::Or(a, b) => {
                let (a, b) = (operand!(self, *a), operand!(self, *b));
                Some(Value::Bool(is_true(a) || is_true(b)))
            }
            Op::Not(a) => Some(Value::Bool(!is_true(operand!(self, *a)))),
            Op::In(a, members) => {
                let a = operand!(self, *a);
                Some(Value::Bool(members.iter().any(|member| is_member(a, member))))
            }
            Op::Select { cond, then, otherwise } => {
                let taken = if is_true(operand!(self, *cond)) { *then } else { *otherwise };
                Some(operand!(self, taken).clone())
            }
            Op::Cast(a) => return partial(arith::cast(operand!(self, *a), ty)),
            Op::Call { args, handle, .. } => {
                // All operands first, so that the first one without a value decides.
                for arg in args {
                    operand!(self, *arg);
                }
                let handle = handle.map(|h| &self.handles[h.0 as usize]);
                let mut values = std::mem::take(&mut self.args);
                values.extend(args.iter().filter_map(|arg| match self.operand(*arg) {
                    Operand::Value(value) => Some(value.clone()),
                    _ => None,
                }));
                let result = self.calls[id.0 as usize].and_then(|call| call(&values, handle));
                values.clear();
                self.args = values;
                return partial(result);
            }
        };
        Step::Done(value.ok_or(Lack::Absent))
    }

    /// An optional offset modulo 2^32 for operators that are never absent: `None` when the node has no value.
    fn wrapping_offset(&self, at: Option<NodeId>) -> Result<Option<u32>, Step> {
        match self.offset(at) {
            Ok(at) => Ok(Some(at as u32)),
            Err(Step::Need(node)) => Err(Step::Need(node)),
            Err(Step::Done(_)) => Ok(None),
        }
    }
}

/// The outcome of an operation that can fail.
fn partial(result: Option<Value>) -> Step {
    Step::Done(result.ok_or(Lack::Failed))
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

fn load(data: &[u8], place: u64, bit: u32, bits: u32, little: bool, ty: Type) -> Option<Value> {
    bits::value(bits::load(data, place, bit, bits, little)?, ty)
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
fn is_member(value: &Value, member: &Value) -> bool {
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
