//! The built-in protocols against packets put together by hand.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::Packet;
use wt_catalog::{Catalog, Place, Type, Value};

/// Bytes from hexadecimal text with blanks.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| (b as char).to_digit(16).unwrap() as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn eth(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = hex("020000000002 020000000001");
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4_fragment(protocol: u8, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = hex("45b8 0000 1234 0000 40 00 0000 0a000001 0a000002");
    header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    header[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    header[9] = protocol;
    let sum: u32 = header.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(protocol, 0, payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = hex(
        "6ab12345 0000 00 3f 20010db8000000000000000000000001 20010db8000000000000000000000002",
    );
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[6] = next;
    header.extend(payload);
    header
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for word in [source, destination, 8 + payload.len() as u16, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// SYN with MSS 1460, SACK permitted, time stamps 1 and 2, no-operation, window scale 7; four bytes of data.
fn tcp() -> Vec<u8> {
    hex("c000 0050 00000001 00000002 a0 c2 7210 abcd 0000
         020405b4 0402 080a0000000100000002 01 030307  47455420")
}

const ETHERNET: u16 = 1;

#[test]
fn ethernet_ipv4_tcp() {
    let catalog = Catalog::builtin();
    let mut frame = eth(0x0800, &ipv4(6, &tcp()));
    frame.extend([0; 6]);
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/ipv4/tcp");
    assert!(!p.malformed);
    assert_eq!(p.get("eth", "eth_src"), Some(Value::Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(p.get("eth", "eth_dst"), Some(Value::Mac([2, 0, 0, 0, 0, 2])));
    assert_eq!(p.uint("eth", "eth_type"), Some(0x0800));
    assert_eq!(p.uint("eth", "vlan_depth"), Some(0));
    assert_eq!(p.get("eth", "vlan_id"), None);
    let ip = [
        ("IPVersion", 4),
        ("ihl", 5),
        ("hdr_len", 20),
        ("tos", 0xb8),
        ("dscp", 46),
        ("ecn", 0),
        ("ip_len", 64),
        ("ip_payload_len", 44),
        ("ip_id", 0x1234),
        ("ttl", 64),
        ("protocol", 6),
        ("frag_offset", 0),
        ("fragment", 0),
        ("df", 0),
        ("ip_checksum_ok", 1),
    ];
    for (field, value) in ip {
        assert_eq!(p.uint("ipv4", field), Some(value), "{field}");
    }
    assert_eq!(p.get("ipv4", "srcIP"), Some(Value::Ip([10, 0, 0, 1].into())));
    assert_eq!(p.get("ip", "dst_ip"), Some(Value::Ip([10, 0, 0, 2].into())));
    assert_eq!(p.get("ipv4", "ip_options"), Some(Value::bytes([])));
    let tcp = [
        ("srcPort", 0xc000),
        ("dst_port", 80),
        ("seq", 1),
        ("ack", 2),
        ("tcp_hdr_len", 40),
        ("flags", 0xc2),
        ("cwr", 1),
        ("ece", 1),
        ("urg", 0),
        ("ack_flag", 0),
        ("psh", 0),
        ("rst", 0),
        ("syn", 1),
        ("fin", 0),
        ("window", 0x7210),
        ("tcp_checksum", 0xabcd),
        ("data_len", 4),
        ("mss", 1460),
        ("wscale", 7),
        ("sack_ok", 1),
        ("tsval", 1),
        ("tsecr", 2),
    ];
    for (field, value) in tcp {
        assert_eq!(p.uint("tcp", field), Some(value), "{field}");
    }
    // The padding of the frame is not payload.
    assert_eq!(p.get("tcp", "payload"), Some(Value::bytes(b"GET ")));
}

#[test]
fn options_that_are_not_there() {
    let catalog = Catalog::builtin();
    let segment = hex("c0000050 00000001 00000002 5010 7210 abcd 0000");
    let frame = eth(0x0800, &ipv4(6, &segment));
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.get("tcp", "mss"), None);
    assert_eq!(p.uint("tcp", "sack_ok"), Some(0));
    assert_eq!(p.uint("tcp", "data_len"), Some(0));
    assert_eq!(p.get("tcp", "data"), Some(Value::bytes([])));
}

#[test]
fn vlan_and_mpls_stacks() {
    let catalog = Catalog::builtin();
    let stack =
        [hex("a064 88a8 2065 8847 000643ff 00065140"), ipv4(17, &udp(1, 2, b"xy"))].concat();
    let frame = eth(0x9100, &stack);
    // QinQ: 0xa064 is priority 5, VLAN 100; 0x2065 is priority 1, VLAN 101; labels 100 and 101.
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/vlan/vlan/mpls");
    assert!(!p.malformed);
    let frame = [frame[..22].to_vec(), hex("000640ff 00065140"), frame[30..].to_vec()].concat();
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/vlan/vlan/mpls/mpls/ipv4/udp");
    for (field, value) in [
        ("vlan_id", 100),
        ("vlan_pcp", 5),
        ("vlan_inner_id", 101),
        ("vlan_depth", 2),
        ("mpls_label", 100),
        ("mpls_depth", 2),
    ] {
        assert_eq!(p.uint("eth", field), Some(value), "{field}");
    }
    assert_eq!(p.nth("vlan", 1, "tag_type"), Some(Value::Uint(0x8847)));
    assert_eq!(p.nth("mpls", 1, "mpls_ttl"), Some(Value::Uint(0x40)));
    assert_eq!(p.nth("mpls", 1, "mpls_bos"), Some(Value::Bool(true)));
    assert_eq!(p.uint("udp", "data_len"), Some(2));
}

#[test]
fn vlan_depth_is_limited() {
    let catalog = Catalog::builtin();
    let deep: Vec<u8> = hex("0001 8100").repeat(9);
    let frame = eth(0x8100, &deep);
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), format!("eth{}", "/vlan".repeat(8)));
    assert!(p.too_deep);
}

#[test]
fn ipv6_with_extension_headers() {
    let catalog = Catalog::builtin();
    // Hop-by-hop (8 bytes), destination options (16), first fragment, UDP.
    let chain = [
        hex("3c 00 0104 00000000  2c 01 010c 000000000000000000000000  11 00 0001 cafebabe"),
        udp(5353, 53, &hex("abcd 8183 0001 0002 0003 0004")),
    ]
    .concat();
    let frame = eth(0x86dd, &ipv6(0, &chain));
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/ipv6/ipv6_opts/ipv6_opts/ipv6_frag/udp/dns");
    for (field, value) in [
        ("ip_version", 6),
        ("traffic_class", 0xab),
        ("flow_label", 0x12345),
        ("next_header", 0),
        ("protocol", 17),
        ("hop_limit", 63),
        ("ttl", 63),
        ("ext_depth", 3),
        ("hdr_len", 72),
        ("ip_len", 72 + 20),
        ("ip_payload_len", 20),
        ("frag_offset", 0),
        ("more_fragments", 1),
        ("fragment", 1),
    ] {
        assert_eq!(p.uint("ipv6", field), Some(value), "{field}");
    }
    assert_eq!(p.get("ip", "srcIP"), Some(Value::Ipv6("2001:db8::1".parse().unwrap())));
    assert_eq!(p.uint("ipv6_frag", "frag_id"), Some(0xcafe_babe));
    for (field, value) in [
        ("dns_id", 0xabcd),
        ("dns_qr", 1),
        ("dns_opcode", 0),
        ("dns_rd", 1),
        ("dns_ra", 1),
        ("dns_rcode", 3),
        ("dns_qdcount", 1),
        ("dns_arcount", 4),
    ] {
        assert_eq!(p.uint("dns", field), Some(value), "{field}");
    }
}

#[test]
fn options_behind_a_fragment_header_do_not_hide_it() {
    let catalog = Catalog::builtin();
    let chain = [hex("3c 00 0001 00000007  11 00 0104 00000000"), udp(1, 2, &[])].concat();
    let p_frame = eth(0x86dd, &ipv6(44, &chain));
    let p = Packet::walk(&catalog, ETHERNET, &p_frame);
    assert_eq!(p.names(), "eth/ipv6/ipv6_frag/ipv6_opts/udp");
    assert_eq!(p.uint("ip", "fragment"), Some(1));
    assert_eq!(p.uint("ip", "protocol"), Some(17));
}

#[test]
fn later_fragments_have_no_transport() {
    let catalog = Catalog::builtin();
    let frame = eth(0x0800, &ipv4_fragment(17, 0x2001, &udp(1, 2, &[])));
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/ipv4");
    assert_eq!(p.uint("ip", "frag_offset"), Some(8));
    assert_eq!(p.uint("ipv4", "offset"), Some(1));
    assert_eq!(p.uint("ip", "fragment"), Some(1));
    assert_eq!(p.uint("ipv4", "mf"), Some(1));
    assert!(!p.malformed);
    let six = eth(0x86dd, &ipv6(44, &[hex("11 00 0008 00000001"), udp(1, 2, &[])].concat()));
    let p = Packet::walk(&catalog, ETHERNET, &six);
    assert_eq!(p.names(), "eth/ipv6/ipv6_frag");
    assert_eq!(p.uint("ip", "frag_offset"), Some(8));
    assert_eq!(p.uint("ip", "protocol"), Some(17));
}

#[test]
fn tunnels() {
    let catalog = Catalog::builtin();
    let inner = ipv4(17, &udp(1, 2, &[]));
    let inner_frame = eth(0x0800, &inner);
    let walk = |frame: &[u8]| Packet::walk(&catalog, ETHERNET, frame).names();
    let all: [(Vec<u8>, &str); 10] = [
        (ipv4(4, &inner), "eth/ipv4/ipv4/udp"),
        (ipv4(41, &ipv6(17, &udp(1, 2, &[]))), "eth/ipv4/ipv6/udp"),
        (ipv4(47, &[hex("2000 0800 0000002a"), inner.clone()].concat()), "eth/ipv4/gre/ipv4/udp"),
        (ipv4(47, &[hex("0000 6558"), inner_frame.clone()].concat()), "eth/ipv4/gre/eth/ipv4/udp"),
        (
            ipv4(47, &[hex("1000 88be 00000001 1064 0001 00000000"), inner_frame.clone()].concat()),
            "eth/ipv4/gre/erspan/eth/ipv4/udp",
        ),
        (ipv4(47, &[hex("0000 88be"), inner_frame.clone()].concat()), "eth/ipv4/gre/eth/ipv4/udp"),
        (
            ipv4(17, &udp(9, 4789, &[hex("08000000 00002a00"), inner_frame.clone()].concat())),
            "eth/ipv4/udp/vxlan/eth/ipv4/udp",
        ),
        (
            ipv4(17, &udp(9, 6081, &[hex("01006558 00002a00 00000000"), inner_frame].concat())),
            "eth/ipv4/udp/geneve/eth/ipv4/udp",
        ),
        (
            ipv4(
                17,
                &udp(
                    9,
                    2152,
                    &[hex("34ff0028 00000001 00000085 01000100"), inner.clone()].concat(),
                ),
            ),
            "eth/ipv4/udp/gtpu/gtpu_ext/ipv4/udp",
        ),
        (
            ipv4(17, &udp(9, 2152, &[hex("30ff001c 00000001"), inner].concat())),
            "eth/ipv4/udp/gtpu/ipv4/udp",
        ),
    ];
    for (packet, path) in all {
        assert_eq!(walk(&eth(0x0800, &packet)), path);
    }
}

#[test]
fn fields_of_tunnels() {
    let catalog = Catalog::builtin();
    let inner = ipv4(17, &udp(1, 2, &[]));
    let gre =
        eth(0x0800, &ipv4(47, &[hex("b000 0800 00000000 0000002a 00000007"), inner].concat()));
    let p = Packet::walk(&catalog, ETHERNET, &gre);
    assert_eq!(p.names(), "eth/ipv4/gre/ipv4/udp");
    assert_eq!(p.uint("gre", "gre_key"), Some(42));
    assert_eq!(p.uint("gre", "gre_seq"), Some(7));
    assert_eq!(p.nth("ip", 1, "protocol"), Some(Value::Uint(17)));
    let plain = eth(0x0800, &ipv4(47, &hex("0000 1234")));
    assert_eq!(Packet::walk(&catalog, ETHERNET, &plain).get("gre", "gre_key"), None);
    let vxlan = eth(0x0800, &ipv4(17, &udp(9, 4789, &hex("08000000 00002a00"))));
    let p = Packet::walk(&catalog, ETHERNET, &vxlan);
    assert_eq!(p.uint("vxlan", "vni"), Some(42));
    // Nothing of an Ethernet header is there.
    assert_eq!(p.names(), "eth/ipv4/udp/vxlan");
    assert!(p.malformed);
}

#[test]
fn authentication_headers() {
    let catalog = Catalog::builtin();
    let ah =
        |next: &str| hex(&format!("{next} 04 0000 00000100 00000001 000000000000000000000000"));
    let four = eth(0x0800, &ipv4(51, &[ah("06"), tcp()].concat()));
    let p = Packet::walk(&catalog, ETHERNET, &four);
    assert_eq!(p.names(), "eth/ipv4/ah/tcp");
    assert_eq!(p.uint("ip", "protocol"), Some(51));
    assert_eq!(p.uint("ah", "ah_spi"), Some(256));
    assert_eq!(p.uint("tcp", "data_len"), Some(4));
    let six = eth(0x86dd, &ipv6(51, &[ah("3c"), hex("06 00 010400000000"), tcp()].concat()));
    let p = Packet::walk(&catalog, ETHERNET, &six);
    assert_eq!(p.names(), "eth/ipv6/ah/ipv6_opts/tcp");
    assert_eq!(p.uint("ip", "protocol"), Some(6));
    assert_eq!(p.uint("ipv6", "ext_depth"), Some(2));
    assert_eq!(p.uint("tcp", "data_len"), Some(4));
}

#[test]
fn tcp_segmentation_offload_leaves_no_length() {
    let catalog = Catalog::builtin();
    let mut frame = eth(0x0800, &ipv4(6, &tcp()));
    frame[16..18].copy_from_slice(&[0, 0]);
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.uint("ip", "ip_len"), Some(64));
    assert_eq!(p.uint("tcp", "data_len"), Some(4));
}

#[test]
fn link_types() {
    let catalog = Catalog::builtin();
    let four = ipv4(17, &udp(1, 2, &[]));
    let six = ipv6(17, &udp(1, 2, &[]));
    let on = |before: &str, packet: &[u8]| [hex(before), packet.to_vec()].concat();
    let cooked = "0000 0001 0006 020000000001 0000 0800";
    let cooked2 = "86dd 0000 00000002 0001 00 06 0200000000010000";
    let radiotap = "00 00 0800 00000000";
    let addresses = "020000000001 020000000002 020000000003";
    let data = format!("0802 0000 {addresses} 0010 aaaa03 000000 0800");
    let qos = format!("{radiotap} 8801 0000 {addresses} 0010 0000 aaaa03 000000 0800");
    let encrypted = format!("0842 0000 {addresses} 0010");
    let all: [(u16, Vec<u8>, &str); 24] = [
        (0, on("02000000", &four), "loopback/ipv4/udp"),
        (0, on("00000002", &four), "loopback/ipv4/udp"),
        (0, on("1e000000", &six), "loopback/ipv6/udp"),
        (108, on("00000018", &six), "loopback/ipv6/udp"),
        (101, four.clone(), "raw_ip/ipv4/udp"),
        (12, six.clone(), "raw_ip/ipv6/udp"),
        (14, four.clone(), "raw_ip/ipv4/udp"),
        (228, four.clone(), "ipv4/udp"),
        (229, six.clone(), "ipv6/udp"),
        (113, on(cooked, &four), "sll/ipv4/udp"),
        (113, on("0000 0001 0006 0200000000010000 8100 0064 0800", &four), "sll/vlan/ipv4/udp"),
        (276, on(cooked2, &six), "sll2/ipv6/udp"),
        (9, on("ff03 0021", &four), "ppp/ipv4/udp"),
        (9, on("21", &four), "ppp/ipv4/udp"),
        (50, on("0057", &six), "ppp/ipv6/udp"),
        (51, on("1100 0001 0020 0021", &four), "pppoe/ppp/ipv4/udp"),
        (1, eth(0x8864, &on("1100 0001 0020 0057", &six)), "eth/pppoe/ppp/ipv6/udp"),
        (1, eth(0x8863, &on("1109 0000 0000", &[])), "eth/pppoe"),
        (1, eth(38, &on("aaaa03 000000 0800", &four)), "eth/llc/snap/ipv4/udp"),
        (1, eth(38, &hex("424203 0000")), "eth/llc"),
        (105, on(&data, &four), "dot11/llc/snap/ipv4/udp"),
        (127, on(&qos, &four), "radiotap/dot11/llc/snap/ipv4/udp"),
        (105, on(&encrypted, &four), "dot11"),
        (219, on("00064140", &four), "mpls/ipv4/udp"),
    ];
    for (link_type, frame, path) in all {
        assert_eq!(
            Packet::walk(&catalog, link_type, &frame).names(),
            path,
            "link type {link_type}"
        );
    }
    assert_eq!(Packet::walk(&catalog, 147, &four).names(), "");
}

#[test]
fn arp_reads_by_address_lengths() {
    let catalog = Catalog::builtin();
    let request = hex("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002");
    let frame = eth(0x0806, &request);
    let p = Packet::walk(&catalog, ETHERNET, &frame);
    assert_eq!(p.names(), "eth/arp");
    assert_eq!(p.uint("arp", "arp_op"), Some(1));
    assert_eq!(p.get("arp", "arp_sha"), Some(Value::Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(p.get("arp", "arp_spa"), Some(Value::Ip([10, 0, 0, 1].into())));
    assert_eq!(p.get("arp", "arp_tha"), Some(Value::Mac([0; 6])));
    assert_eq!(p.get("arp", "arp_tpa"), Some(Value::Ip([10, 0, 0, 2].into())));
}

#[test]
fn other_transports() {
    let catalog = Catalog::builtin();
    let on = |protocol, payload: &str| eth(0x0800, &ipv4(protocol, &hex(payload)));
    let echo = on(1, "0800 f7fc 0001 0002 6162");
    let p = Packet::walk(&catalog, ETHERNET, &echo);
    let expected = [("icmp_type", 8), ("icmp_code", 0), ("icmp_id", 1), ("icmp_seq", 2)];
    for (field, value) in expected {
        assert_eq!(p.uint("icmp", field), Some(value), "{field}");
    }
    assert_eq!(p.get("icmp", "icmp_data"), Some(Value::bytes(b"ab")));
    let report = on(2, "1600 0904 e00000fb");
    let p = Packet::walk(&catalog, ETHERNET, &report);
    assert_eq!(p.get("igmp", "igmp_group"), Some(Value::Ip([224, 0, 0, 251].into())));
    let init = on(132, "8000 0b59 00000001 11223344 01 02 0014");
    let p = Packet::walk(&catalog, ETHERNET, &init);
    assert_eq!(p.uint("sctp", "dst_port"), Some(0x0b59));
    assert_eq!(p.uint("sctp", "sctp_chunk_len"), Some(20));
    let esp = on(50, "00000100 00000007");
    assert_eq!(Packet::walk(&catalog, ETHERNET, &esp).uint("esp", "esp_seq"), Some(7));
    let target = "20010db8000000000000000000000009";
    let solicitation = eth(0x86dd, &ipv6(58, &hex(&format!("8700 0000 00000000 {target}"))));
    let p = Packet::walk(&catalog, ETHERNET, &solicitation);
    assert_eq!(p.uint("icmp6", "icmp6_type"), Some(135));
    assert_eq!(p.get("icmp6", "nd_target"), Some(Value::Ipv6("2001:db8::9".parse().unwrap())));
}

#[test]
fn damage_ends_the_path_above() {
    let catalog = Catalog::builtin();
    let frame = eth(0x0800, &ipv4(6, &tcp()));
    for cut in 0..frame.len() {
        let p = Packet::walk(&catalog, ETHERNET, &frame[..cut]);
        assert!(p.path.iter().all(|(_, offset)| *offset <= cut));
    }
    let p = Packet::walk(&catalog, ETHERNET, &frame[..40]);
    assert_eq!(p.names(), "eth/ipv4");
    assert!(p.malformed);
    let mut wrong_version = frame.clone();
    wrong_version[14] = 0x65;
    assert_eq!(Packet::walk(&catalog, ETHERNET, &wrong_version).names(), "eth");
    let mut short_header = frame;
    short_header[14] = 0x44;
    assert_eq!(Packet::walk(&catalog, ETHERNET, &short_header).names(), "eth");
}

#[test]
fn every_field_of_the_reference_is_there() {
    let catalog = Catalog::builtin();
    let table = "
        packet: time timestamp ts len caplen interface ifindex direction linktype raw
        eth: eth_src eth_dst eth_type vlan_id vlan_pcp vlan_inner_id vlan_depth mpls_label mpls_depth time
        arp: arp_op arp_sha arp_spa arp_tha arp_tpa
        ip: IPVersion ip_version srcIP src_ip destIP dst_ip protocol proto ttl tos dscp ecn ip_len ip_payload_len
            fragment frag_offset more_fragments hdr_len len
        ipv4: srcIP destIP ip_id df mf offset ip_checksum ip_checksum_ok ip_options dscp
        ipv6: srcIP destIP flow_label traffic_class next_header hop_limit ext_depth
        tcp: srcPort src_port destPort dst_port seq ack flags fin syn rst psh ack_flag urg ece cwr window tcp_hdr_len
            data_len payload_len data payload mss wscale sack_ok tsval tsecr srcIP protocol
        udp: srcPort destPort udp_len udp_checksum data_len data destIP";
    let mut protocol = None;
    for word in table.split_whitespace() {
        if let Some(name) = word.strip_suffix(':') {
            protocol = Some(catalog.resolve_protocol(name).unwrap());
        } else {
            catalog.resolve_field(protocol.unwrap(), word).unwrap();
        }
    }
    let of = |p: &str, f: &str| {
        let id = catalog.resolve_protocol(p).unwrap();
        let (owner, index) = catalog.resolve_field(id, f).unwrap();
        catalog.field(owner, index).unwrap().ty
    };
    assert_eq!(of("ip", "srcIP"), Type::Inet);
    assert_eq!(of("tcp", "srcIP"), Type::Inet);
    assert_eq!(of("ipv4", "srcIP"), Type::Ip);
    assert_eq!(of("ipv6", "destIP"), Type::Ipv6);
    assert_eq!(of("packet", "time"), Type::Uint);
    assert_eq!(of("tcp", "timestamp"), Type::Time);
    assert_eq!(of("tcp", "syn"), Type::Bool);
    assert_eq!(of("eth", "eth_src"), Type::Mac);
    let names = "packet eth arp ip ipv4 ipv6 tcp udp sctp icmp icmp6 igmp esp ah gre vxlan geneve gtpu mpls pppoe \
        llc dns vlan ppp snap sll sll2 loopback raw_ip dot11 radiotap";
    for name in names.split_whitespace() {
        assert!(catalog.protocol(name).is_some(), "{name}");
    }
}

#[test]
fn declarations_are_complete() {
    let catalog = Catalog::builtin();
    for protocol in &catalog.protocols {
        assert!(!protocol.doc.is_empty(), "{} has no description", protocol.name);
        assert!(protocol.refinements.is_empty() || protocol.is_abstract, "{}", protocol.name);
        if protocol.is_abstract {
            continue;
        }
        for (owner, index, field) in catalog.fields_of(protocol.id) {
            // What carries the header has its own refinements.
            let own = catalog.refines_as_header(protocol.id, owner);
            assert!(
                !own || field.place != Place::Abstract,
                "{}.{} has no place",
                protocol.name,
                field.name
            );
            let (o, i) = catalog.field_at(protocol.id, owner, index);
            assert_eq!((o, i), (owner, index), "{}.{}", protocol.name, field.name);
        }
        for child in &protocol.children {
            let child = catalog.protocol_by_id(child.child).unwrap();
            assert!(child.header.is_some(), "{} leads to {}", protocol.name, child.name);
        }
        let reached =
            !protocol.link_types.is_empty() || catalog.over.iter().any(|o| o.child == protocol.id);
        assert!(reached, "nothing leads to {}", protocol.name);
    }
    let of = |name: &str| catalog.resolve_protocol(name).unwrap();
    assert!(catalog.refines_as_header(of("ipv4"), of("ip")));
    assert!(!catalog.refines_as_header(of("tcp"), of("ip")));
    assert!(catalog.is_a(of("tcp"), of("ip")) && catalog.is_a(of("tcp"), of("packet")));
    assert!(catalog.refines_as_header(of("ah"), of("ipv6_ext")));
    assert!(!catalog.refines_as_header(of("ah"), of("ip")));
    assert_eq!(catalog.resolve_protocol("IPV4"), Ok(of("ipv4")));
    let time = catalog.resolve_field(of("tcp"), "TIME").unwrap();
    assert_eq!(catalog.field(time.0, time.1).unwrap().name, "time");
    let error = catalog.resolve_field(of("tcp"), "destPrt").unwrap_err();
    assert_eq!(error.to_string(), "there is no field of tcp `destPrt`");
    assert_eq!(error.hint().as_deref(), Some("Did you mean `destPort`?"));
}
