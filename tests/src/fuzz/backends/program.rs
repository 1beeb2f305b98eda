//! Random LFTA programs over random protocols: what the planner never makes, and every backend must do alike all the same.

use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::{
    AggKind, Exprs, HeaderProgram, LayerId, LayerSel, LftaAction, LftaAgg, LftaProgram, LftaQuery,
    Node, NodeId, Op, OrderedColumn, ParseSpec, Qual, SLOTS_DEFAULT,
};

use super::nodes::{Ground, Maker, number};
use crate::rng::Rng;

/// Link types that begin a path, and one that none begins.
pub const LINK_TYPES: [u16; 3] = [1, 2, 147];

/// Protocols of a chain longer than a path may be.
const CHAIN: u32 = 70;

/// A program with its parse specification; by query, whether partial groups are to be as the reference cuts them.
pub fn program(rng: &mut Rng) -> (LftaProgram, Vec<bool>) {
    let parse = if rng.one_in(20) { chain() } else { parse_spec(rng) };
    let protocols = parse.protocols.len();
    let layers = layers(rng, protocols);
    let is_packet: Vec<bool> = layers.iter().map(|l| *l == LayerSel::Packet).collect();
    let mut maker = Maker::new(Ground { layers: layers.len(), protocols, is_packet: &is_packet });
    let mut grown = 0;
    while grown < 30 {
        grown += usize::from(maker.grow(rng).is_some());
    }
    let mut queries = Vec::new();
    let mut fixed = Vec::new();
    for number in 0..=rng.below(4) {
        let (query, is_fixed) = query(rng, &mut maker, layers.len(), number);
        queries.push(query);
        fixed.push(is_fixed);
    }
    let prefilter = if rng.one_in(2) { prefilter(rng, &mut maker, &queries) } else { None };
    (LftaProgram { parse, layers, exprs: maker.finish(), prefilter, queries }, fixed)
}

/// A prefilter as the IR asks for: one qual of each query, joined by OR. A query without quals wants every packet.
fn prefilter(rng: &mut Rng, maker: &mut Maker<'_>, queries: &[LftaQuery]) -> Option<NodeId> {
    let mut any = None;
    for query in queries {
        let nodes: Vec<NodeId> = query.quals.iter().map(|qual| qual.node).collect();
        let node = *(!nodes.is_empty()).then(|| rng.pick(&nodes))?;
        any = Some(match any {
            None => node,
            Some(others) => maker.push(Op::Or(others, node), Type::Bool),
        });
    }
    any
}

/// One header of one byte after the other, each of another protocol.
fn chain() -> ParseSpec {
    let mut spec = ParseSpec { protocols: Vec::new(), start: vec![(1, ProtocolId(0))] };
    for id in 0..CHAIN {
        let mut header = Header::new(format!("link{id}"));
        header.program.length = header.number(1);
        header.program.min = 1;
        header.program.children.push((ProtocolId(id + 1), None));
        spec.protocols.push(Some(header.program));
    }
    spec.protocols.push(None);
    spec
}

fn parse_spec(rng: &mut Rng) -> ParseSpec {
    let count = 3 + rng.below(7) as u32;
    let mut spec = ParseSpec::default();
    for id in 0..count {
        let is_abstract = id > 1 && rng.one_in(6);
        spec.protocols.push((!is_abstract).then(|| header(rng, id, count)));
    }
    spec.start = vec![(1, ProtocolId(0)), (2, ProtocolId(1))];
    spec
}

struct Header {
    program: HeaderProgram,
}

impl Header {
    fn new(name: String) -> Self {
        Self {
            program: HeaderProgram {
                name,
                counts_as: Vec::new(),
                layers: vec![LayerSel::This],
                exprs: Exprs::default(),
                length: NodeId(0),
                min: 0,
                max: 64,
                checks: Vec::new(),
                children: Vec::new(),
                repeat: 1,
                continues: false,
            },
        }
    }

    fn push(&mut self, op: Op, ty: Type) -> NodeId {
        let nodes = &mut self.program.exprs.nodes;
        nodes.push(Node { op, ty, host_only: false, fails: false });
        NodeId(nodes.len() as u32 - 1)
    }

    fn number(&mut self, n: u64) -> NodeId {
        self.push(Op::Const(Value::Uint(n)), Type::Ullong)
    }

    fn load(&mut self, layer: u32, byte: u32, bit: u32, bits: u32) -> NodeId {
        let layer = LayerId(layer);
        self.push(Op::Load { layer, at: None, byte, bit, bits, little: false }, Type::Uint)
    }

    /// The number that chooses what follows: a byte of the header, or behind what is sure to be there, or of a header above.
    fn choice(&mut self, rng: &mut Rng) -> NodeId {
        let layer = rng.below(self.program.layers.len()) as u32;
        let byte = if rng.one_in(8) { 6 } else { rng.below(2) as u32 };
        self.load(layer, byte, 5, 3)
    }

    fn condition(&mut self, rng: &mut Rng, choices: &[NodeId]) -> NodeId {
        let choice = *rng.pick(choices);
        let value = self.number(rng.below(8) as u64);
        let op = *rng.pick(&[CmpOp::Eq, CmpOp::Eq, CmpOp::Le, CmpOp::Ge, CmpOp::Ne, CmpOp::Gt]);
        let test = match rng.below(3) {
            0 => {
                let members = (0..rng.below(4)).map(|_| Value::Uint(rng.below(8) as u64));
                let members = members.collect();
                self.push(Op::In(choice, members), Type::Bool)
            }
            _ => self.push(Op::Compare(op, choice, value), Type::Bool),
        };
        match rng.below(6) {
            0 => {
                let other = *rng.pick(choices);
                let other = self.push(Op::Compare(CmpOp::Lt, other, value), Type::Bool);
                let both = [Op::And(test, other), Op::And(other, test), Op::Or(test, other)];
                self.push(rng.pick(&both).clone(), Type::Bool)
            }
            1 => {
                let other = *rng.pick(choices);
                let then = self.push(Op::Compare(CmpOp::Ne, other, value), Type::Bool);
                let otherwise = self.push(Op::Const(Value::Bool(false)), Type::Bool);
                self.push(Op::Select { cond: test, then, otherwise }, Type::Bool)
            }
            _ => test,
        }
    }
}

fn header(rng: &mut Rng, id: u32, count: u32) -> HeaderProgram {
    let mut header = Header::new(format!("p{id}"));
    let kind = |rng: &mut Rng| ProtocolId(rng.below(count as usize) as u32);
    if rng.one_in(2) {
        header.program.counts_as.push(kind(rng));
    }
    if rng.one_in(3) {
        let above = kind(rng);
        header.program.layers.push(LayerSel::Above(LayerId(0), above));
    }
    header.program.length = if rng.one_in(2) {
        let len = rng.below(5) as u64;
        header.program.min = len as u32;
        header.number(len)
    } else {
        header.program.min = rng.below(4) as u32;
        header.program.max = 2 + rng.below(12) as u32;
        let units = header.load(0, rng.below(3) as u32, 6, 2);
        let unit = header.number(1 + rng.below(3) as u64);
        let bytes = header.push(Op::Saturating(BinaryOp::Mul, units, unit), Type::Ullong);
        let more = header.number(rng.below(3) as u64);
        let op = *rng.pick(&[BinaryOp::Add, BinaryOp::Add, BinaryOp::Sub, BinaryOp::Shl]);
        header.push(Op::Saturating(op, bytes, more), Type::Ullong)
    };
    let choices: Vec<NodeId> = (0..1 + rng.below(2)).map(|_| header.choice(rng)).collect();
    if rng.one_in(4) {
        let check = header.push(Op::Compare(CmpOp::Ne, choices[0], choices[0]), Type::Bool);
        let check = header.push(Op::Not(check), Type::Bool);
        header.program.checks.push(check);
        if rng.one_in(2) {
            let check = header.condition(rng, &choices);
            header.program.checks.push(check);
        }
    }
    for _ in 0..rng.below(6) {
        let child = kind(rng);
        let when = (!rng.one_in(8)).then(|| header.condition(rng, &choices));
        header.program.children.push((child, when));
    }
    header.program.repeat = *rng.pick(&[1, 1, 2, 3, 8, 100]);
    header.program.continues = rng.one_in(3);
    header.program
}

fn layers(rng: &mut Rng, protocols: usize) -> Vec<LayerSel> {
    let mut layers = Vec::new();
    for index in 0..2 + rng.below(5) {
        let kind = ProtocolId(rng.below(protocols) as u32);
        let other = LayerId(rng.below(index.max(1)) as u32);
        let n = rng.below(3) as u32;
        layers.push(match rng.below(if index == 0 { 4 } else { 8 }) {
            0 => LayerSel::Packet,
            1 => LayerSel::First(kind),
            2 => LayerSel::Nth(kind, n),
            3 => LayerSel::Last(kind),
            4 => LayerSel::Below(other, kind),
            5 => LayerSel::Above(other, kind),
            6 => LayerSel::RunLast(other, kind),
            _ => LayerSel::RunNth(other, kind, n),
        });
    }
    layers
}

fn query(rng: &mut Rng, maker: &mut Maker<'_>, layers: usize, number: usize) -> (LftaQuery, bool) {
    let requires = (0..rng.below(3) / 2).map(|_| LayerId(rng.below(layers) as u32)).collect();
    let mut quals = Vec::new();
    for _ in 0..rng.below(3) {
        if let Some(node) = maker.find(rng, |ty| ty == Type::Bool) {
            quals.push(Qual { node, text: String::new(), cost_ns: 1 });
        }
    }
    let any = |ty: Type| ty != Type::Prefix;
    let columns = |rng: &mut Rng, maker: &Maker<'_>, count: usize| -> Vec<NodeId> {
        (0..count).filter_map(|_| maker.find(rng, any)).collect()
    };
    let mut fixed = rng.one_in(4);
    let action = if rng.one_in(2) {
        let count = 1 + rng.below(6);
        let mut outputs = columns(rng, maker, count);
        let mut ordered = Vec::new();
        if rng.one_in(2) {
            let window = window(rng, maker);
            ordered.push(ordering(rng, maker, window, outputs.len()));
            outputs.push(window);
        }
        LftaAction::Select { outputs, ordered }
    } else {
        let count = rng.below(6);
        let mut keys = columns(rng, maker, count);
        let mut ordered = Vec::new();
        if rng.one_in(2) {
            let window = window(rng, maker);
            let column = ordering(rng, maker, window, keys.len());
            keys.push(window);
            ordered.push(column);
        }
        let aggs: Vec<LftaAgg> = (0..1 + rng.below(4)).filter_map(|_| agg(rng, maker)).collect();
        // Sums of floats depend on their order.
        fixed |= aggs.iter().any(|agg| agg.ty == Type::Float);
        LftaAction::Aggregate {
            keys,
            ordered,
            aggs,
            slots: *rng.pick(&[SLOTS_DEFAULT, SLOTS_DEFAULT, SLOTS_DEFAULT, 1, 4]),
            tolerance: rng.below(3) as u64,
            real_time: false,
            values: u32::from(rng.one_in(4)),
        }
    };
    let name = format!("q{number}");
    (LftaQuery { name, requires, quals, action, snap_len_bytes: None }, fixed)
}

fn ordering(rng: &mut Rng, maker: &Maker<'_>, node: NodeId, column: usize) -> OrderedColumn {
    OrderedColumn {
        column: column as u32,
        decreasing: rng.one_in(3),
        band: rng.below(2) as u64,
        from_time: matches!(maker.op(node), Op::Meta(_)),
    }
}

/// A column that a window follows: of the packet's time, or anything that is a number.
fn window(rng: &mut Rng, maker: &mut Maker<'_>) -> NodeId {
    let is_number = |ty: Type| ty.is_integer() || matches!(ty, Type::Time | Type::Duration);
    match (rng.below(3), maker.find(rng, is_number)) {
        (0, Some(node)) => node,
        (1, _) => maker.push(Op::Meta(Meta::Time), Type::Uint),
        _ => maker.push(Op::Meta(Meta::Timestamp), Type::Time),
    }
}

fn agg(rng: &mut Rng, maker: &Maker<'_>) -> Option<LftaAgg> {
    let count = LftaAgg { kind: AggKind::Count, arg: None, ty: Type::Ullong };
    let arg = maker.find(rng, |ty| ty != Type::Prefix)?;
    let ty = maker.ty(arg);
    let wide = match ty {
        Type::Float | Type::Duration => ty,
        _ if ty.is_signed() => Type::Llong,
        _ => Type::Ullong,
    };
    let of = |kind, ty| LftaAgg { kind, arg: Some(arg), ty };
    Some(match rng.below(8) {
        0 => count,
        1 | 2 if ty.is_numeric() || matches!(ty, Type::Duration | Type::Bool) => {
            of(AggKind::Sum, wide)
        }
        3..=5 if ty.is_integer() || ty == Type::Bool => {
            of(*rng.pick(&[AggKind::BitAnd, AggKind::BitOr, AggKind::BitXor]), ty)
        }
        6 => of(AggKind::Min, ty),
        7 => of(AggKind::Max, ty),
        _ => count,
    })
}

/// Bytes that a path of such headers goes deep into: small numbers, the same ones again and again.
pub fn bytes(rng: &mut Rng) -> Vec<u8> {
    let len = if rng.one_in(6) { 90 } else { rng.below(40) };
    let most = *rng.pick(&[2, 8, 256]);
    (0..len)
        .map(|_| if rng.one_in(12) { number(rng) as u8 } else { rng.below(most) as u8 })
        .collect()
}
