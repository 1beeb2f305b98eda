//! What header fields say that summaries know. Which fields those are, and where, is a promise of `wt_trace::index` (every header that the
//! built-in protocols find has its values in the summary, or makes the block one that may hold anything), kept by a test over both.

use std::net::IpAddr;

use wt_catalog::{ProtocolId, Type, Value};

use super::{Condition, Fact, Reader};
use crate::ir::{LayerId, LayerSel, LftaProgram, NodeId, Op, ParseSpec};

/// The protocols whose places summaries know, or know that they do not know. A header of another one may stand elsewhere and carry anything.
pub const KNOWN_PROTOCOLS: [&str; 33] = [
    "ah",
    "arp",
    "dns",
    "dot11",
    "erspan",
    "esp",
    "eth",
    "geneve",
    "gre",
    "gtpu",
    "gtpu_ext",
    "icmp",
    "icmp6",
    "igmp",
    "ipv4",
    "ipv6",
    "ipv6_frag",
    "ipv6_opts",
    "llc",
    "loopback",
    "mpls",
    "ppp",
    "pppoe",
    "radiotap",
    "raw_ip",
    "sctp",
    "sll",
    "sll2",
    "snap",
    "tcp",
    "udp",
    "vlan",
    "vxlan",
];

/// Transport and other headers above which an IP header says their number.
const NUMBERED: [(&str, u8); 8] = [
    ("tcp", 6),
    ("udp", 17),
    ("sctp", 132),
    ("icmp", 1),
    ("icmp6", 58),
    ("igmp", 2),
    ("esp", 50),
    ("ah", 51),
];

/// Kinds of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Address,
    Port,
    Protocol,
    Vlan,
}

/// Whether no header that a program looks for can stand where summaries do not look.
pub(super) fn are_known(parse: &ParseSpec) -> bool {
    parse.protocols.iter().flatten().all(|header| KNOWN_PROTOCOLS.contains(&header.name.as_str()))
}

fn name_of(program: &LftaProgram, protocol: ProtocolId) -> Option<&str> {
    let header = program.parse.protocols.get(protocol.0 as usize)?.as_ref()?;
    Some(&header.name)
}

/// What is true of packets that have a header, and the name of its protocol.
pub(super) fn of_layer(program: &LftaProgram, layer: LayerId) -> Option<(Condition, &str)> {
    let sel: &LayerSel = program.layers.get(layer.0 as usize)?;
    let name = name_of(program, sel.protocol()?)?;
    let (_, number) = NUMBERED.iter().find(|(known, _)| *known == name)?;
    Some((Condition::Has(Fact::Protocol(*number)), name))
}

/// What kind of fact the value of a node always is, if it is one; `known` is what the header of a layer is known to be.
pub(super) fn kind(
    reader: &Reader<'_>,
    node: NodeId,
    known: Option<(LayerId, ProtocolId)>,
    depth: u32,
) -> Option<Kind> {
    let depth = depth.checked_sub(1)?;
    let ty = |node: NodeId| reader.exprs().nodes[node.0 as usize].ty;
    match reader.op(node) {
        Op::Load { layer, at: None, byte, bit, bits, little: false } => {
            let protocol = header(reader.program, *layer, known)?;
            match (protocol, *byte, *bit, *bits) {
                ("ipv4", 12 | 16, 0, 32) => Some(Kind::Address),
                ("ipv4", 9, 0, 8) | ("ipv6", 6, 0, 8) => Some(Kind::Protocol),
                ("ipv6_opts" | "ipv6_frag" | "ah", 0, 0, 8) => Some(Kind::Protocol),
                ("tcp" | "udp" | "sctp", 0 | 2, 0, 16) => Some(Kind::Port),
                ("vlan", 0, 4, 12) => Some(Kind::Vlan),
                _ => None,
            }
        }
        Op::LoadIpv6 { layer, at: None, byte: 8 | 24 } => {
            (header(reader.program, *layer, known)? == "ipv6").then_some(Kind::Address)
        }
        Op::ByProtocol { layer, arms } => one(arms
            .iter()
            .map(|(protocol, arm)| kind(reader, *arm, Some((*layer, *protocol)), depth))),
        Op::Select { then, otherwise, .. } => {
            one([*then, *otherwise].map(|arm| kind(reader, arm, known, depth)))
        }
        Op::Cast(inner) => {
            let of_inner = kind(reader, *inner, known, depth)?;
            let is_kept = match of_inner {
                Kind::Address => ty(node) == Type::Inet || ty(node) == ty(*inner),
                _ => matches!(
                    ty(node),
                    Type::Ushort | Type::Uint | Type::Int | Type::Ullong | Type::Llong
                ),
            };
            is_kept.then_some(of_inner)
        }
        _ => None,
    }
}

/// What all of several are.
fn one(kinds: impl IntoIterator<Item = Option<Kind>>) -> Option<Kind> {
    let mut kinds = kinds.into_iter();
    let first = kinds.next()??;
    kinds.all(|kind| kind == Some(first)).then_some(first)
}

/// The protocol of a layer's header: that of its selection, or where that is abstract the one that is known.
fn header(
    program: &LftaProgram,
    layer: LayerId,
    known: Option<(LayerId, ProtocolId)>,
) -> Option<&str> {
    let own = program.layers.get(layer.0 as usize)?.protocol()?;
    let told = known.filter(|(of, _)| *of == layer).map(|(_, protocol)| protocol);
    name_of(program, own).or_else(|| name_of(program, told?))
}

/// The fact that a value of a kind is; nothing for what no packet or too many have.
pub(super) fn fact(kind: Kind, value: &Value) -> Option<Fact> {
    let number = || match value {
        Value::Uint(_) | Value::Int(_) => value.as_i128(),
        _ => None,
    };
    match kind {
        Kind::Address => match *value {
            Value::Prefix(network, len) if len == full(network) => Some(Fact::Address(network)),
            Value::Prefix(network, len) => Some(Fact::Network(network, len)),
            _ => value.as_addr().map(Fact::Address),
        },
        Kind::Port => u16::try_from(number()?).ok().map(Fact::Port),
        Kind::Protocol => u8::try_from(number()?).ok().map(Fact::Protocol),
        Kind::Vlan => u16::try_from(number()?).ok().filter(|vlan| *vlan < 4096).map(Fact::Vlan),
    }
}

/// Bits of an address.
fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
