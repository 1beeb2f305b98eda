//! Random DAGs of nodes, well typed, with every operator of the IR.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wt_catalog::promote::{binary_type, compare_type, unary_type};
use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value, arith};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};
use wt_plan::ir::{Exprs, HandleArg, HandleId, HandleSpec, LayerId, Node, NodeId, Op, ParamId};

use crate::rng::Rng;

/// Types whose values are bit patterns of at most 64 bits.
const PATTERNS: [Type; 12] = [
    Type::Bool,
    Type::Ushort,
    Type::Uint,
    Type::Int,
    Type::Ullong,
    Type::Llong,
    Type::Ip,
    Type::Inet,
    Type::Mac,
    Type::TimeVal,
    Type::Time,
    Type::Duration,
];

const BINARY: [BinaryOp; 9] = [
    BinaryOp::BitOr,
    BinaryOp::BitAnd,
    BinaryOp::Shl,
    BinaryOp::Shr,
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Rem,
];

const COMPARE: [CmpOp; 6] = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge];

const UNARY: [UnaryOp; 4] = [UnaryOp::Neg, UnaryOp::Plus, UnaryOp::Not, UnaryOp::BitNot];

/// Numbers at which something changes.
const EDGES: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    33,
    63,
    64,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A number, edges more often than not.
pub fn number(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.next_u64(),
        1 => rng.next_u64() & 0xff,
        _ => *rng.pick(&EDGES),
    }
}

fn address(rng: &mut Rng) -> IpAddr {
    let v4 = [0, 0x0a00_0001, 0x0102_0304, 0x0000_0001, u32::MAX];
    if rng.one_in(2) {
        Ipv4Addr::from(*rng.pick(&v4)).into()
    } else {
        let low = u128::from(*rng.pick(&v4));
        let high = [0, 1, 0xffff << 32, 0x0102_0304 << 96, u128::MAX << 64];
        Ipv6Addr::from(*rng.pick(&high) | low).into()
    }
}

/// A constant of a type.
pub fn constant(rng: &mut Rng, ty: Type) -> Value {
    let n = number(rng);
    match ty {
        Type::Bool => Value::Bool(n & 1 == 1),
        Type::Ushort => Value::Uint(n & 0xffff),
        Type::Uint => Value::Uint(n & 0xffff_ffff),
        Type::Ullong => Value::Uint(n),
        Type::Int => Value::Int(i64::from(n as i32)),
        Type::Llong => Value::Int(n as i64),
        Type::Float => Value::Float(match n & 7 {
            0 => f64::NAN,
            1 => -0.5,
            2 => 1e30,
            _ => n as f64,
        }),
        Type::Ip => Value::Ip(Ipv4Addr::from(n as u32)),
        Type::Inet => Value::Inet(address(rng)),
        Type::Ipv6 => loop {
            if let IpAddr::V6(address) = address(rng) {
                return Value::Ipv6(address);
            }
        },
        Type::Prefix => {
            let address = address(rng);
            let len = rng.below(if address.is_ipv4() { 33 } else { 129 }) as u8;
            let block = arith::network(address, len).unwrap_or(address);
            Value::Prefix(block, len)
        }
        Type::Mac => Value::Mac([0, 0, n as u8, 1, 2, (n >> 8) as u8]),
        Type::String | Type::Bytes => Value::bytes(*rng.pick(&["", "1", "\u{1}\u{2}", "12"])),
        Type::TimeVal => Value::TimeVal(n),
        Type::Time => Value::Time(n),
        Type::Duration => Value::Duration(n as i64),
    }
}

/// The parameters that every program has.
pub fn params() -> Vec<Value> {
    vec![Value::Uint(7), Value::Int(-1), Value::bytes("12"), Value::Uint(u64::MAX)]
}

/// Their types.
const PARAM_TYPES: [Type; 4] = [Type::Uint, Type::Int, Type::String, Type::Ullong];

/// What nodes can be made of.
pub struct Ground<'a> {
    /// How many layers there are.
    pub layers: usize,
    /// How many protocols there are.
    pub protocols: usize,
    /// Layers that are the packet.
    pub is_packet: &'a [bool],
}

/// A DAG as it grows.
pub struct Maker<'a> {
    ground: Ground<'a>,
    exprs: Exprs,
}

impl<'a> Maker<'a> {
    /// An empty DAG.
    pub fn new(ground: Ground<'a>) -> Self {
        let pattern = HandleSpec {
            symbol: "str_regex_match",
            argument: HandleArg::Const(Value::bytes("[\u{1}-\u{4}]")),
        };
        Self { ground, exprs: Exprs { handles: vec![pattern], ..Exprs::default() } }
    }

    /// The DAG.
    pub fn finish(self) -> Exprs {
        self.exprs
    }

    /// The type of a node.
    pub fn ty(&self, node: NodeId) -> Type {
        self.exprs.nodes[node.0 as usize].ty
    }

    /// The operator of a node.
    pub fn op(&self, node: NodeId) -> &Op {
        &self.exprs.nodes[node.0 as usize].op
    }

    /// Adds a node.
    pub fn push(&mut self, op: Op, ty: Type) -> NodeId {
        let id = NodeId(self.exprs.nodes.len() as u32);
        self.exprs.nodes.push(Node { op, ty, host_only: false, fails: false });
        id
    }

    /// A node that is wanted, the youngest more often than not: expressions grow deep.
    pub fn find(&self, rng: &mut Rng, wanted: impl Fn(Type) -> bool) -> Option<NodeId> {
        let fits = |node: &NodeId| wanted(self.ty(*node));
        let all: Vec<NodeId> =
            (0..self.exprs.nodes.len() as u32).map(NodeId).filter(fits).collect();
        let from = if rng.one_in(2) { 0 } else { all.len() * 3 / 4 };
        (!all.is_empty()).then(|| *rng.pick(&all[from..]))
    }

    fn layer(&self, rng: &mut Rng) -> LayerId {
        LayerId(rng.below(self.ground.layers) as u32)
    }

    /// An offset: none, or a node; small ones more often than not.
    fn at(&mut self, rng: &mut Rng) -> Option<NodeId> {
        match rng.below(6) {
            0 => self.find(rng, Type::is_integer),
            1 => {
                let layer = self.layer(rng);
                let (byte, bits) = (rng.below(4) as u32, 1 + rng.below(4) as u32);
                let load = Op::Load { layer, at: None, byte, bit: 4, bits, little: false };
                Some(self.push(load, Type::Uint))
            }
            _ => None,
        }
    }

    /// Adds one more node of some kind, if there are operands for it.
    pub fn grow(&mut self, rng: &mut Rng) -> Option<NodeId> {
        let byte = if rng.one_in(8) { number(rng) as u32 } else { rng.below(12) as u32 };
        let layer = self.layer(rng);
        match rng.below(24) {
            0 if rng.one_in(4) => {
                let param = rng.below(PARAM_TYPES.len());
                Some(self.push(Op::Param(ParamId(param as u32)), PARAM_TYPES[param]))
            }
            0 => {
                let ty = *rng.pick(&Type::ALL);
                let value = constant(rng, ty);
                Some(self.push(Op::Const(value), ty))
            }
            1 => {
                let metas = [
                    (Meta::Time, Type::Uint),
                    (Meta::Timestamp, Type::Time),
                    (Meta::Len, Type::Uint),
                    (Meta::CapLen, Type::Ushort),
                    (Meta::IfIndex, Type::Uint),
                    (Meta::Direction, Type::Uint),
                    (Meta::LinkType, Type::Ullong),
                    (Meta::Interface, Type::String),
                ];
                let (meta, ty) = *rng.pick(&metas);
                Some(self.push(Op::Meta(meta), ty))
            }
            2..=5 => {
                let at = self.at(rng);
                let bits = 1 + if rng.one_in(2) { rng.below(64) } else { rng.below(16) } as u32;
                let bits = if rng.one_in(3) { *rng.pick(&[8, 16, 24, 32, 48, 64]) } else { bits };
                let bit = if rng.one_in(2) { 0 } else { rng.below(20) as u32 };
                let load = Op::Load { layer, at, byte, bit, bits, little: rng.one_in(3) };
                Some(self.push(load, *rng.pick(&PATTERNS)))
            }
            6 => {
                let at = self.at(rng);
                let bytes = *rng.pick(&[1, 2, 4]);
                Some(self.push(Op::LoadOrZero { layer, at, byte, bytes }, *rng.pick(&PATTERNS)))
            }
            7 => {
                let at = self.at(rng);
                let bytes = if rng.one_in(4) { number(rng) as u32 } else { rng.below(9) as u32 };
                Some(self.push(Op::InBounds { layer, at, byte, bytes }, Type::Bool))
            }
            8 => {
                let at = self.at(rng);
                let ty = *rng.pick(&[Type::Ipv6, Type::Inet]);
                Some(self.push(Op::LoadIpv6 { layer, at, byte }, ty))
            }
            9 => {
                let at = self.find(rng, Type::is_integer)?;
                let len = if rng.one_in(2) { self.find(rng, Type::is_integer) } else { None };
                let ty = *rng.pick(&[Type::String, Type::Bytes]);
                Some(self.push(Op::Slice { layer, at, len }, ty))
            }
            10 => Some(match rng.below(3) {
                0 => self.push(Op::Present(layer), Type::Bool),
                1 => self.push(Op::Offset(layer), Type::Uint),
                _ => {
                    let protocol = ProtocolId(rng.below(self.ground.protocols) as u32);
                    let run_below = rng.one_in(2).then_some(layer);
                    self.push(Op::Depth { protocol, run_below }, Type::Uint)
                }
            }),
            11 => self.by_protocol(rng, layer),
            12 => {
                let a = self.find(rng, |_| true)?;
                let op = *rng.pick(&UNARY);
                let ty = unary_type(op, self.ty(a)).ok()?;
                Some(self.push(Op::Unary(op, a), ty))
            }
            13..=16 => {
                let (a, b) = (self.find(rng, |_| true)?, self.operand(rng)?);
                let op = *rng.pick(&BINARY);
                let ty = binary_type(op, self.ty(a), self.ty(b)).ok()?;
                Some(self.push(Op::Binary(op, a, b), ty))
            }
            17 => {
                let a = self.find(rng, Type::is_integer)?;
                let b = self.find(rng, Type::is_integer)?;
                let ty = *rng.pick(&[Type::Ullong, Type::Ullong, Type::Uint, Type::Ushort]);
                Some(self.push(Op::Saturating(*rng.pick(&BINARY), a, b), ty))
            }
            18 | 19 => {
                let (a, b) = (self.find(rng, |_| true)?, self.operand(rng)?);
                compare_type(self.ty(a), self.ty(b)).ok()?;
                Some(self.push(Op::Compare(*rng.pick(&COMPARE), a, b), Type::Bool))
            }
            20 => {
                let is_bool = |ty| ty == Type::Bool;
                let (a, b) = (self.find(rng, is_bool)?, self.find(rng, is_bool)?);
                let ops = [Op::And(a, b), Op::Or(a, b), Op::Not(a)];
                Some(self.push(rng.pick(&ops).clone(), Type::Bool))
            }
            21 => self.membership(rng),
            22 => {
                let cond = self.find(rng, |ty| ty == Type::Bool)?;
                let then = self.find(rng, |_| true)?;
                let ty = self.ty(then);
                let otherwise = self.find(rng, |other| other == ty)?;
                Some(self.push(Op::Select { cond, then, otherwise }, ty))
            }
            _ => self.conversion(rng),
        }
    }

    /// A second operand: often a constant.
    fn operand(&mut self, rng: &mut Rng) -> Option<NodeId> {
        if rng.one_in(3) {
            let ty = *rng.pick(&PATTERNS);
            let value = constant(rng, ty);
            return Some(self.push(Op::Const(value), ty));
        }
        self.find(rng, |_| true)
    }

    fn by_protocol(&mut self, rng: &mut Rng, layer: LayerId) -> Option<NodeId> {
        if self.ground.is_packet[layer.0 as usize] {
            return None;
        }
        let first = self.find(rng, |ty| ty != Type::Prefix)?;
        let ty = self.ty(first);
        let mut arms = Vec::new();
        for id in 0..self.ground.protocols as u32 {
            if rng.one_in(2) {
                arms.push((ProtocolId(id), self.find(rng, |other| other == ty)?));
            }
        }
        (!arms.is_empty()).then(|| self.push(Op::ByProtocol { layer, arms }, ty))
    }

    fn membership(&mut self, rng: &mut Rng) -> Option<NodeId> {
        let a = self.find(rng, |ty| ty != Type::Bool)?;
        let ty = self.ty(a);
        let count = if rng.one_in(10) { 80 } else { rng.below(5) };
        let members = (0..count).map(|_| match ty {
            Type::Ip | Type::Ipv6 | Type::Inet => {
                let kinds = [Type::Prefix, Type::Prefix, Type::Ip, Type::Ipv6, Type::Inet];
                let kind = *rng.pick(&kinds);
                constant(rng, kind)
            }
            _ if ty.is_integer() => {
                let kind = *rng.pick(&[Type::Ullong, Type::Llong, Type::Ushort, ty]);
                constant(rng, kind)
            }
            _ => constant(rng, ty),
        });
        let members = members.collect();
        Some(self.push(Op::In(a, members), Type::Bool))
    }

    fn conversion(&mut self, rng: &mut Rng) -> Option<NodeId> {
        if rng.one_in(4) {
            let text = self.find(rng, Type::is_bytes)?;
            return Some(if rng.one_in(2) {
                let handle = Some(HandleId(0));
                let call = Op::Call { symbol: "str_regex_match", args: vec![text], handle };
                self.push(call, Type::Bool)
            } else {
                let call = Op::Call { symbol: "strtoi", args: vec![text], handle: None };
                self.push(call, Type::Uint)
            });
        }
        let a = self.find(rng, |_| true)?;
        let to = *rng.pick(&Type::ALL);
        let has = arith::cast(&Value::default_of(self.ty(a)), to).is_some();
        (has || rng.one_in(16)).then(|| self.push(Op::Cast(a), to))
    }
}
