//! Filters against libpcap's own machine, on packets made to be near misses.

use pcap::{Capture, Linktype};
use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value, arith};

use super::*;
use crate::ir::{Exprs, Op};

/// Evaluates the operators that translated filters consist of, over one packet.
fn matches(exprs: &Exprs, root: NodeId, packet: &[u8], link_type: u16) -> bool {
    let mut values: Vec<Value> = Vec::with_capacity(exprs.nodes.len());
    for node in &exprs.nodes {
        let of = |id: &NodeId| values[id.0 as usize].clone();
        let is = |id: &NodeId| matches!(values[id.0 as usize], Value::Bool(true));
        let index = |at: &Option<NodeId>, byte: u32| {
            let at = at.map_or(0, |a| values[a.0 as usize].as_u64().unwrap() as u32);
            at.wrapping_add(byte) as usize
        };
        let value = match &node.op {
            Op::Const(v) => v.clone(),
            Op::Meta(Meta::Len) => Value::Uint(packet.len() as u64),
            Op::Meta(Meta::LinkType) => Value::Uint(u64::from(link_type)),
            Op::LoadOrZero { at, byte, bytes, .. } => {
                let start = index(at, *byte);
                let word = (start..start + *bytes as usize)
                    .map(|i| packet.get(i).copied().unwrap_or(0))
                    .fold(0u64, |acc, b| acc << 8 | u64::from(b));
                Value::Uint(word)
            }
            Op::InBounds { at, byte, bytes, .. } => {
                Value::Bool(index(at, *byte) + *bytes as usize <= packet.len())
            }
            Op::Binary(op, a, b) => arith::binary(*op, &of(a), &of(b), node.ty).unwrap(),
            Op::Saturating(op, a, b) => {
                let (a, b) = (of(a).as_u64().unwrap(), of(b).as_u64().unwrap());
                match op {
                    wt_lang::ast::BinaryOp::Div => Value::Uint(a.checked_div(b).unwrap_or(0)),
                    wt_lang::ast::BinaryOp::Rem => Value::Uint(a.checked_rem(b).unwrap_or(0)),
                    op => panic!("{op:?}"),
                }
            }
            Op::Cast(a) => arith::cast(&of(a), node.ty).unwrap(),
            Op::Compare(op, a, b) => Value::Bool(arith::compare(*op, &of(a), &of(b))),
            Op::In(a, values) => {
                Value::Bool(values.iter().any(|v| arith::compare(CmpOp::Eq, &of(a), v)))
            }
            Op::And(a, b) => Value::Bool(is(a) && is(b)),
            Op::Or(a, b) => Value::Bool(is(a) || is(b)),
            Op::Not(a) => Value::Bool(!is(a)),
            Op::Select { cond, then, otherwise } => {
                if is(cond) {
                    of(then)
                } else {
                    of(otherwise)
                }
            }
            op => panic!("a translated filter has no {op:?}"),
        };
        values.push(value);
    }
    matches!(values[root.0 as usize], Value::Bool(true))
}

/// xorshift: the same packets every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.next() % of.len() as u64) as usize]
    }
}

/// A frame with plausible headers, some of them damaged, cut anywhere.
fn packet(r: &mut Random) -> Vec<u8> {
    let mut p: Vec<u8> = vec![2, 0, 0, 0, 0, r.pick(&[1, 2]), 2, 0, 0, 0, 0, r.pick(&[1, 3])];
    for _ in 0..r.pick(&[0, 0, 0, 1, 2]) {
        p.extend([0x81, 0x00, 0, r.pick(&[5u8, 7])]);
    }
    let v6 = r.pick(&[false, false, true]);
    let protocol = r.pick(&[6u8, 6, 17, 1, 58, 132, 47, 0]);
    if v6 {
        p.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
        p.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, r.pick(&[1, 2])]);
        p.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, r.pick(&[1, 2])]);
    } else {
        let words = r.pick(&[5u8, 5, 6, 15, 3]);
        p.extend(r.pick(&[[0x08u8, 0x00], [0x08, 0x06], [0x88, 0x47]]));
        p.extend([0x40 | words, 0, 0, 60, 0, 1, r.pick(&[0, 0x20, 0x40]), r.pick(&[0, 0, 9])]);
        p.extend([r.pick(&[1u8, 64]), protocol, 0, 0]);
        p.extend([10, 0, 0, r.pick(&[1u8, 2]), 10, 0, r.pick(&[0u8, 1]), r.pick(&[1u8, 2])]);
        p.extend(std::iter::repeat_n(0, usize::from(words.saturating_sub(5)) * 4));
    }
    p.extend([0, r.pick(&[80u8, 22, 53]), r.pick(&[0u8, 4]), r.pick(&[80u8, 22, 53])]);
    p.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, r.pick(&[2u8, 0x12, 0x10, 0x18, 4]), 0xff, 0xff]);
    p.extend(b"\0\0\0\0GET / HTTP/1.1\r\n\r\n");
    let cut = r.next() as usize % (2 * p.len());
    p.truncate(cut.max(1));
    p
}

const FILTERS: [&str; 30] = [
    "",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp or icmp",
    "port 80",
    "tcp dst port 80 and src host 10.0.0.1",
    "src net 10.0.0.0/16 or dst net 10.0.1.0/24",
    "portrange 50-90",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "ip[0] & 0xf != 5",
    "ip[6:2] & 0x1fff != 0",
    "len > 60",
    "greater 70 and less 90",
    "vlan",
    "vlan 5 and port 80",
    "vlan and vlan 7 and ip",
    "mpls",
    "ether host 02:00:00:00:00:01",
    "not ether src 02:00:00:00:00:03",
    "ip proto 47 or ip6 proto 58",
    "host 2001:db8::1 and tcp port 22",
    "icmp6 or ip multicast or ether broadcast",
    "ether[len - 20] = 71",
    "ip[ip[8] - 2] = 60 or udp[4] / udp[5] = 1",
    "(tcp[13] * 7 + ip[8]) % 5 = 2",
    "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
    "ether[100000] = 1 or ether[0 - 1] = 3 or -ip[8] = 4294967232",
];

#[test]
fn translated_filters_agree_with_libpcap() {
    let handle = Capture::dead(Linktype::ETHERNET).unwrap();
    for text in FILTERS {
        let mut dag = Dag::default();
        let root = pcap_filter(text, &[1], &mut dag).unwrap_or_else(|e| panic!("`{text}`: {e}"));
        assert!(dag.never_absent(root), "`{text}`");
        assert!(!dag.get(root).host_only && !dag.get(root).fails, "`{text}` is portable");
        let oracle = handle.compile(text, true).unwrap();
        let mut r = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..2000 {
            let p = packet(&mut r);
            assert_eq!(matches(dag.exprs(), root, &p, 1), oracle.filter(&p), "`{text}` {p:02x?}");
        }
    }
}

#[test]
fn unoptimised_code_agrees_too() {
    // Without the optimiser, registers meet with different values and scratch memory is used freely.
    let handle = Capture::dead(Linktype::ETHERNET).unwrap();
    for text in FILTERS {
        let oracle = handle.compile(text, false).unwrap();
        let raw: Vec<[u32; 4]> = oracle
            .get_instructions()
            .iter()
            .map(|i| {
                let words: Vec<u32> =
                    i.to_string().split(' ').map(|w| w.parse().unwrap()).collect();
                words.try_into().unwrap()
            })
            .collect();
        let program = Program::decode(&raw).unwrap();
        let mut dag = Dag::default();
        let root = translate(&program, &mut dag).unwrap();
        let mut r = Random(7);
        for _ in 0..500 {
            let p = packet(&mut r);
            assert_eq!(matches(dag.exprs(), root, &p, 1), oracle.filter(&p), "`{text}` {p:02x?}");
        }
    }
}

#[test]
fn registers_join_where_paths_meet() {
    // A := X depending on the first byte, then tested: the two values must be selected.
    let program = Program::decode(&[
        [0x30, 0, 0, 0],  // ldb [0]
        [0x15, 0, 2, 1],  // jeq #1, else +2
        [0x00, 0, 0, 10], // ld #10
        [0x05, 0, 0, 1],  // ja +1
        [0x00, 0, 0, 20], // ld #20
        [0x07, 0, 0, 0],  // tax
        [0x50, 0, 0, 0],  // ldb [x]
        [0x16, 0, 0, 0],  // ret a
    ])
    .unwrap();
    let mut dag = Dag::default();
    let root = translate(&program, &mut dag).unwrap();
    let mut p = [0u8; 30];
    p[10] = 5;
    assert!(!matches(dag.exprs(), root, &p, 1));
    p[0] = 1;
    assert!(matches(dag.exprs(), root, &p, 1));
    assert!(!matches(dag.exprs(), root, &p[..10], 1), "out of bounds is FALSE");
}

#[test]
fn link_types_select_their_code() {
    let mut dag = Dag::default();
    let root = pcap_filter("ip proto 6", &[1, 101], &mut dag).unwrap();
    let raw_ip = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut framed = vec![0; 12];
    framed.extend([8, 0]);
    framed.extend(raw_ip);
    assert!(matches(dag.exprs(), root, &framed, 1));
    assert!(matches(dag.exprs(), root, &raw_ip, 101));
    assert!(!matches(dag.exprs(), root, &framed, 101));
    assert!(!matches(dag.exprs(), root, &framed, 147), "unknown link type");
}

#[test]
fn unlisted_link_types_have_lengths_and_bytes() {
    let types: Vec<u16> = KNOWN.into_iter().chain([OTHER]).collect();
    let mut dag = Dag::default();
    let long = pcap_filter("len > 10 and link[0] = 7", &types, &mut dag).unwrap();
    let ip = pcap_filter("not ip", &types, &mut dag).unwrap();
    let packet = [7; 20];
    for (link_type, known) in [(1, true), (147, false), (282, false)] {
        assert!(matches(dag.exprs(), long, &packet, link_type), "{link_type}");
        assert_eq!(matches(dag.exprs(), ip, &packet, link_type), known, "{link_type}");
    }
    // Numbers that libpcap has no code for at all.
    assert!(!matches(dag.exprs(), long, &packet, 14));
}

#[test]
fn listed_link_types_are_those_whose_code_differs() {
    let filters = ["ip", "tcp port 80", "ether proto 0x8847", "vlan", "arp", "ether[12] = 0"];
    let code = |link_type| filters.map(|f| compile(f, link_type).ok());
    let other = code(OTHER);
    for link_type in link_types::OTHERS_FROM..260 {
        let differs = code(link_type) != other;
        // Some are listed for what these filters do not ask.
        assert!(!differs || KNOWN.contains(&link_type), "{link_type}");
    }
}

#[test]
fn loopback_families_of_every_system_are_known() {
    let types = [0, 108];
    let mut dag = Dag::default();
    let ip = pcap_filter("ip", &types, &mut dag).unwrap();
    let ip6 = pcap_filter("ip6", &types, &mut dag).unwrap();
    let packet = |family: u32, big: bool| {
        let mut p = if big { family.to_be_bytes() } else { family.to_le_bytes() }.to_vec();
        p.extend([0x60; 40]);
        p
    };
    for big in [false, true] {
        for family in [2, 10, 24, 28, 30, 7] {
            let p = packet(family, big);
            assert_eq!(matches(dag.exprs(), ip, &p, 0), family == 2, "{family}");
            assert_eq!(
                matches(dag.exprs(), ip6, &p, 0),
                [24, 28, 30].contains(&family),
                "{family}"
            );
            assert_eq!(matches(dag.exprs(), ip6, &p, 108), big && [24, 28, 30].contains(&family));
        }
    }
}

#[test]
fn a_filter_that_fits_no_link_type_is_refused() {
    let mut dag = Dag::default();
    assert!(pcap_filter("ether host 02:00:00:00:00:01", &[101], &mut dag).is_err());
    assert!(check_pcap_filter("ether host 02:00:00:00:00:01").is_ok());
    let root = pcap_filter("ether src 02:00:00:00:00:01", &[1, 101], &mut dag).unwrap();
    assert!(!matches(dag.exprs(), root, &[0x45; 40], 101), "matches nothing on raw IP");
}

#[test]
fn nothing_matches_what_is_impossible() {
    let mut dag = Dag::default();
    let root = pcap_filter("ip and ip6 and arp", &[1], &mut dag).unwrap();
    assert_eq!(dag.get(root).op, Op::Const(Value::Bool(false)));
    assert_eq!(dag.ty(root), Type::Bool);
}

#[test]
fn messages_are_libpcaps_or_name_the_limit() {
    let syntax = check_pcap_filter("tcp prt 80").unwrap_err().to_string();
    assert!(syntax.contains("syntax error"), "{syntax}");
    let kernel = compile("inbound", 1).unwrap_err().to_string();
    assert!(kernel.contains("inbound"), "{kernel}");
    assert_eq!(check_pcap_filter("ip6 protochain 6"), Err(BpfError::Loop));
    let long = "ip or ".repeat(TEXT_BYTES_MAX / 6) + "ip and ip";
    assert!(matches!(check_pcap_filter(&long), Err(BpfError::TextTooLong { .. })));
    assert!(check_pcap_filter("ip\0udp").is_err());
}
