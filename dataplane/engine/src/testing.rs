//! What the tests of this crate build their programs and packets with.

use std::io::Cursor;

use wt_catalog::{Catalog, ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::*;
use wt_plan::physical::PhysicalPlan;
use wt_plan::{CompileInput, InterfaceInfo, compile};
use wt_wire::{ByteOrder, CaptureReader, Direction, LinkType, PcapVariant, PcapWriter, RecordRef};

use crate::packet::{Packet, PacketBatch};
use crate::sink::{RowSink, SinkError};
use crate::source::Source;
use crate::tuple::Tuple;

/// Builds a DAG node by node.
#[derive(Default)]
pub(crate) struct Dag(pub(crate) Exprs);

impl Dag {
    pub(crate) fn node(&mut self, op: Op, ty: Type) -> NodeId {
        self.0.nodes.push(Node { op, ty, host_only: false, fails: false });
        NodeId(self.0.nodes.len() as u32 - 1)
    }

    pub(crate) fn uint(&mut self, value: u64) -> NodeId {
        self.node(Op::Const(Value::Uint(value)), Type::Uint)
    }

    pub(crate) fn load(&mut self, layer: u32, byte: u32, bit: u32, bits: u32) -> NodeId {
        let layer = LayerId(layer);
        self.node(Op::Load { layer, at: None, byte, bit, bits, little: false }, Type::Uint)
    }

    pub(crate) fn compare(&mut self, op: CmpOp, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Compare(op, a, b), Type::Bool)
    }

    pub(crate) fn equals(&mut self, a: NodeId, value: u64) -> NodeId {
        let value = self.uint(value);
        self.compare(CmpOp::Eq, a, value)
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Binary(op, a, b), Type::Uint)
    }
}

pub(crate) const ETH: ProtocolId = ProtocolId(0);
pub(crate) const VLAN: ProtocolId = ProtocolId(1);
pub(crate) const IP4: ProtocolId = ProtocolId(2);
pub(crate) const IP6: ProtocolId = ProtocolId(3);
/// Abstract: ip4 and ip6 count as it.
pub(crate) const IP: ProtocolId = ProtocolId(4);
pub(crate) const UDP: ProtocolId = ProtocolId(5);
/// Extension headers of ip6.
pub(crate) const EXT: ProtocolId = ProtocolId(6);
/// Extends the header above it.
pub(crate) const PAD: ProtocolId = ProtocolId(7);
/// Never below anything.
pub(crate) const OTHER: ProtocolId = ProtocolId(8);

struct Toy {
    dag: Dag,
    checks: Vec<NodeId>,
    children: Vec<(ProtocolId, Option<NodeId>)>,
}

impl Toy {
    fn new() -> Self {
        Self { dag: Dag::default(), checks: Vec::new(), children: Vec::new() }
    }

    fn children(mut self, byte: u32, bits: u32, children: &[(ProtocolId, u64)]) -> Self {
        let field = self.dag.load(0, byte, 0, bits);
        for &(protocol, value) in children {
            let when = self.dag.equals(field, value);
            self.children.push((protocol, Some(when)));
        }
        self
    }

    fn fixed(mut self, name: &str, len: u32, repeat: u32) -> HeaderProgram {
        let length = self.dag.uint(u64::from(len));
        self.finish(name, length, (len, len), repeat)
    }

    fn finish(
        self,
        name: &str,
        length: NodeId,
        (min, max): (u32, u32),
        repeat: u32,
    ) -> HeaderProgram {
        HeaderProgram {
            name: name.to_owned(),
            counts_as: Vec::new(),
            layers: vec![LayerSel::This],
            exprs: self.dag.0,
            length,
            min,
            max,
            checks: self.checks,
            children: self.children,
            repeat,
            continues: false,
        }
    }
}

/// Ethernet with VLAN tags, an IPv4 (20 to 60 bytes, next protocol in byte 9) that may tunnel itself once, an IPv6 of 4
/// bytes (next header in byte 1) with extensions of 2 bytes (next in byte 0), and UDP.
pub(crate) fn toy_parse() -> ParseSpec {
    let eth = Toy::new().children(12, 16, &[(VLAN, 0x8100), (IP4, 0x0800), (IP6, 0x86dd)]);
    let vlan = Toy::new().children(2, 16, &[(VLAN, 0x8100), (IP4, 0x0800)]);
    let mut ip4 = Toy::new().children(9, 8, &[(UDP, 17), (IP4, 4), (IP6, 41)]);
    let version = ip4.dag.load(0, 0, 0, 4);
    let is_4 = ip4.dag.equals(version, 4);
    ip4.checks.push(is_4);
    let ihl = ip4.dag.load(0, 0, 4, 4);
    let four = ip4.dag.uint(4);
    let length = ip4.dag.node(Op::Saturating(BinaryOp::Mul, ihl, four), Type::Ullong);
    let next = [(EXT, 1), (PAD, 2), (UDP, 17)];
    let counts_as = vec![IP];
    let ip4 =
        HeaderProgram { counts_as: counts_as.clone(), ..ip4.finish("ip4", length, (20, 60), 2) };
    let ip6 = Toy::new().children(1, 8, &next).fixed("ip6", 4, 1);
    let pad = Toy::new().children(0, 8, &next).fixed("pad", 2, 4);
    ParseSpec {
        protocols: vec![
            Some(eth.fixed("eth", 14, 1)),
            Some(vlan.fixed("vlan", 4, 2)),
            Some(ip4),
            Some(HeaderProgram { counts_as, ..ip6 }),
            None,
            Some(Toy::new().fixed("udp", 8, 1)),
            Some(Toy::new().children(0, 8, &next).fixed("ext", 2, 3)),
            Some(HeaderProgram { continues: true, ..pad }),
            Some(Toy::new().fixed("other", 1, 1)),
        ],
        start: vec![(1, ETH), (101, IP4)],
    }
}

/// Bytes of a header: the given ones at their places, 0 elsewhere.
fn header<const N: usize>(bytes: &[(usize, u8)]) -> [u8; N] {
    let mut header = [0; N];
    bytes.iter().for_each(|&(at, byte)| header[at] = byte);
    header
}

pub(crate) fn eth(ethertype: u16) -> [u8; 14] {
    let [high, low] = ethertype.to_be_bytes();
    header(&[(12, high), (13, low)])
}

pub(crate) fn vlan(id: u8, ethertype: u16) -> [u8; 4] {
    let [high, low] = ethertype.to_be_bytes();
    header(&[(1, id), (2, high), (3, low)])
}

pub(crate) fn ip4(next: u8, last_of_source: u8) -> [u8; 20] {
    header(&[(0, 0x45), (9, next), (12, 10), (15, last_of_source)])
}

pub(crate) fn udp(source: u16) -> [u8; 8] {
    let [high, low] = source.to_be_bytes();
    header(&[(0, high), (1, low)])
}

/// Ethernet, IPv4 and UDP.
pub(crate) fn udp_packet(last_of_source: u8, port: u16) -> Vec<u8> {
    [&eth(0x0800)[..], &ip4(17, last_of_source), &udp(port)].concat()
}

/// A batch of packets of as many bytes each.
pub(crate) fn with_batch<const N: usize, T>(
    packets: &[[u8; N]],
    take: impl FnOnce(&PacketBatch<'_>) -> T,
) -> T {
    let record = |index: usize| RecordRef {
        timestamp_ns: 0,
        at: (N * index) as u32,
        caplen: N as u32,
        len: N as u32,
        direction: Direction::Unknown,
    };
    let records: Vec<RecordRef> = (0..packets.len()).map(record).collect();
    take(&PacketBatch {
        data: packets.as_flattened(),
        records: &records,
        link_type: 1,
        interface: &Value::bytes("a"),
        ifindex: 0,
        meanwhile: None,
    })
}

/// An Ethernet packet captured whole.
pub(crate) fn packet(timestamp_ns: u64, data: &[u8]) -> Packet<'_> {
    Packet {
        timestamp_ns,
        len: data.len() as u32,
        link_type: 1,
        interface: const { &Value::Bool(false) },
        ifindex: 0,
        direction: 0,
        data,
    }
}

/// A source of one capture.
pub(crate) fn source(interface: &str, packets: &[(u64, Vec<u8>)]) -> Source {
    Source { interface: interface.to_owned(), captures: vec![capture(packets)].into() }
}

/// A capture of Ethernet packets.
pub(crate) fn capture(packets: &[(u64, Vec<u8>)]) -> CaptureReader {
    capture_of_bytes(&capture_bytes(packets)).unwrap()
}

pub(crate) fn capture_of_bytes(bytes: &[u8]) -> Result<CaptureReader, wt_wire::CaptureError> {
    CaptureReader::from_reader("test", Cursor::new(bytes.to_vec()))
}

pub(crate) fn capture_bytes(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let (variant, order) = (PcapVariant::Nano, ByteOrder::Little);
    let mut writer =
        PcapWriter::new(Vec::new(), variant, order, LinkType::ETHERNET, 65_535).unwrap();
    for (time, data) in packets {
        writer.write(*time, data.len() as u32, data).unwrap();
    }
    writer.into_inner()
}

/// A sink that keeps what it is given.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<(usize, Tuple)>,
    pub(crate) windows: usize,
    pub(crate) ended: bool,
    /// Takes no more than this many rows.
    pub(crate) rows_max: Option<usize>,
}

impl Rows {
    /// Values of the rows of an output.
    pub(crate) fn of(&self, output: usize) -> Vec<Vec<Value>> {
        let rows = self.rows.iter().filter(|(index, _)| *index == output);
        rows.map(|(_, tuple)| tuple.values.to_vec()).collect()
    }
}

impl RowSink for Rows {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        if self.rows_max.is_some_and(|max| self.rows.len() >= max) {
            return Err(SinkError::Closed);
        }
        self.rows.push((output, tuple.clone()));
        Ok(())
    }

    fn window(&mut self, _output: usize) -> Result<(), SinkError> {
        self.windows += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        self.ended = true;
        Ok(())
    }
}

/// Values of uints.
pub(crate) fn uints(values: &[u64]) -> Vec<Value> {
    values.iter().map(|&value| Value::Uint(value)).collect()
}

/// An ordered column that increases.
pub(crate) fn increasing(column: u32) -> OrderedColumn {
    OrderedColumn { column, decreasing: false, band: 0, from_time: false }
}

/// A qual.
pub(crate) fn qual(node: NodeId) -> Qual {
    Qual { node, text: String::new(), cost_ns: 1 }
}

/// An LFTA query without quals.
pub(crate) fn lfta(name: &str, action: LftaAction) -> LftaQuery {
    LftaQuery {
        name: name.to_owned(),
        requires: Vec::new(),
        quals: Vec::new(),
        action,
        snap_len_bytes: None,
    }
}

/// A basic aggregate of 64 bits.
pub(crate) fn agg(kind: AggKind, arg: Option<NodeId>) -> LftaAgg {
    LftaAgg { kind, arg, ty: Type::Ullong }
}

/// The plan of a query over a trace.
pub(crate) fn plan(text: &str) -> PhysicalPlan {
    plan_over(text, &["default"], true)
}

/// The plan of a query over interfaces.
pub(crate) fn plan_over(text: &str, interfaces: &[&str], finite: bool) -> PhysicalPlan {
    let info = |name: &&str| InterfaceInfo {
        name: (*name).to_owned(),
        properties: vec![("Name".to_owned(), (*name).to_owned())],
    };
    let interfaces: Vec<_> = interfaces.iter().map(info).collect();
    let input = CompileInput {
        catalog: &Catalog::builtin(),
        text,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite,
        library: &|_| None,
    };
    let compiled = compile(&input);
    compiled.unwrap_or_else(|errors| panic!("{text}: {errors:?}")).physical
}
