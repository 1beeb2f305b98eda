//! Programs made by hand, and packets for them: what the reference interpreter and compiled code make of both.

use wt_catalog::{ProtocolId, Type, Value};
use wt_engine::ledger::{PacketCounters, TupleCounters};
use wt_engine::{
    CompiledLfta, LftaBackend, Memory, Message, PacketBatch, PathsWanted, Readers, ReferenceLfta,
};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{
    Exprs, HeaderProgram, LayerId, LayerSel, LftaAction, LftaProgram, LftaQuery, Node, NodeId, Op,
    ParseSpec,
};
use wt_wire::{Direction, RecordRef};

pub type Seen = (Vec<Message>, PacketCounters, Vec<TupleCounters>);

/// A packet that has some bytes, of as many on the wire as it says.
#[derive(Clone, Debug)]
pub struct Packet {
    pub captured: Vec<u8>,
    pub len: u32,
}

/// A batch of packets.
fn with_batch<T>(packets: &[Packet], take: impl FnOnce(&PacketBatch<'_>) -> T) -> T {
    let mut data = Vec::new();
    let record = |packet: &Packet| {
        let at = data.len() as u32;
        data.extend(&packet.captured);
        RecordRef {
            timestamp_ns: u64::MAX,
            at,
            caplen: packet.captured.len() as u32,
            len: packet.len,
            direction: Direction::Unknown,
        }
    };
    let records: Vec<RecordRef> = packets.iter().map(record).collect();
    let interface = Value::bytes("any");
    take(&PacketBatch {
        data: &data,
        records: &records,
        link_type: 1,
        interface: &interface,
        ifindex: 0,
        meanwhile: None,
    })
}

fn feed(
    backend: &mut dyn LftaBackend,
    queries: usize,
    packets: &[Packet],
    memory: &mut Memory,
) -> Seen {
    let mut messages = Vec::new();
    with_batch(packets, |batch| {
        backend
            .batch(batch, 0, memory, &mut |_, message| messages.extend(message.one_by_one()))
            .unwrap();
    });
    backend.finish(&mut |_, message| messages.extend(message.one_by_one()));
    let tuples = (0..queries as u32).map(|query| backend.tuples(query)).collect();
    (messages, backend.packets(), tuples)
}

/// What both backends make of packets: it must be the same. Nothing from compiled code when it does not take the program.
pub fn agree(program: &LftaProgram, packets: &[Packet]) -> Seen {
    let (memory, queries) = (&mut Memory::new(None), program.queries.len());
    let mut reference = ReferenceLfta::new(program, &[], &[], memory).unwrap();
    let expected = feed(&mut reference, queries, packets, memory);
    // Paths with code for their own end, those that are likely and those of the packets, and such that share it.
    let seen = with_batch(packets, |batch| PathsWanted::seen_in(program, &[], batch));
    for paths in [PathsWanted::All, PathsWanted::Likely, PathsWanted::Seen(Vec::new()), seen] {
        if let Ok(mut compiled) =
            CompiledLfta::new(program, &[], Readers::default(), paths.clone(), 1, memory)
        {
            assert_eq!(feed(&mut compiled, queries, packets, memory), expected, "{paths:?}");
        }
    }
    expected
}

#[derive(Default)]
pub struct Dag(pub Exprs);

impl Dag {
    pub fn push(&mut self, op: Op, ty: Type) -> NodeId {
        self.0.nodes.push(Node { op, ty, host_only: false, fails: false });
        NodeId(self.0.nodes.len() as u32 - 1)
    }

    pub fn number(&mut self, value: Value, ty: Type) -> NodeId {
        self.push(Op::Const(value), ty)
    }

    pub fn load(&mut self, byte: u32, bits: u32, ty: Type) -> NodeId {
        let layer = LayerId(0);
        self.push(Op::Load { layer, at: None, byte, bit: 0, bits, little: false }, ty)
    }
}

/// A program of one query.
pub fn program(dag: Dag, layers: Vec<LayerSel>, action: LftaAction) -> LftaProgram {
    let query = LftaQuery {
        name: "q".to_owned(),
        requires: Vec::new(),
        quals: Vec::new(),
        action,
        snap_len_bytes: None,
    };
    LftaProgram {
        parse: ParseSpec::default(),
        layers,
        exprs: dag.0,
        prefilter: None,
        queries: vec![query],
    }
}

/// A header of one byte, followed by the child whose number is that byte.
pub fn header(children: &[u32], conditions: &[(CmpOp, Value)]) -> Option<HeaderProgram> {
    let mut dag = Dag::default();
    let length = dag.number(Value::Uint(1), Type::Ullong);
    let byte = dag.load(0, 8, Type::Uint);
    let children = children.iter().zip(conditions).map(|(child, (op, value))| {
        let ty = if matches!(value, Value::Int(_)) { Type::Llong } else { Type::Uint };
        let value = dag.number(value.clone(), ty);
        (ProtocolId(*child), Some(dag.push(Op::Compare(*op, byte, value), Type::Bool)))
    });
    let children = children.collect();
    Some(HeaderProgram {
        name: "h".to_owned(),
        counts_as: Vec::new(),
        layers: vec![LayerSel::This],
        exprs: dag.0,
        length,
        min: 1,
        max: 1,
        checks: Vec::new(),
        children,
        repeat: 8,
        continues: false,
    })
}
