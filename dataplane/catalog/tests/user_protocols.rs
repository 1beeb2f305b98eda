//! A user's own declarations, also such as would take for ever.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::Packet;
use wt_catalog::protocol::{Meta, RecordKind};
use wt_catalog::{Catalog, Ordering, Place, Type, Value};

fn with(text: &str) -> Catalog {
    let mut catalog = Catalog::builtin();
    match catalog.add_ddl(text, "user.ddl") {
        Ok(warnings) => assert_eq!(warnings, []),
        Err(errors) => panic!("{errors:#?}"),
    }
    catalog
}

fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    let total = (28 + payload.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    for word in [9, port, 8 + payload.len() as u16, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// The declarations that ddl.md shows, under names that are free.
#[test]
fn the_reference_example() {
    let text = "
ENUM Ether : ushort { IPV4 = 0x0800, ARP = 0x0806, VLAN = 0x8100, QINQ = 0x88A8, IPV6 = 0x86DD, MPLS = 0x8847 }

PROTOCOL tag OVER eth WHEN eth_type IN [VLAN, QINQ]  OVER tag WHEN my_tag_type IN [VLAN, QINQ]  REPEAT 8 {
    HEADER LENGTH 4;
    uint   tag_pcp AT 0 BITS 0:3;
    uint   tag_id  AT 0 BITS 4:12;
    ushort my_tag_type AT 2;
}
PROTOCOL v4 (ip) OVER eth WHEN eth_type = 0x7777  OVER tag WHEN my_tag_type = IPV4  OVER ip WHEN protocol = 254  OVER gre WHEN gre_type = 0x7777 {
    HEADER LENGTH hdr_len MIN 20;
    CHECK IPVersion = 4;
    REFINE uint IPVersion AT 0 BITS 0:4;
    REFINE uint hdr_len   = (ihl * 4);
    uint        ihl       AT 0 BITS 4:4;
    uint        offset    AT 6 BITS 3:13;
    REFINE IP   srcIP ALIAS my_src AT 12;
}";
    let mut catalog = Catalog::builtin();
    let warnings = catalog.add_ddl(text, "user.ddl").unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        warnings[0].message,
        "`v4` is ip, but gives no place to `destIP`, `protocol`, `ttl`, `tos`, `ip_len`, `frag_offset`, \
         `more_fragments`"
    );
    let v4 = catalog.protocol("v4").unwrap();
    let ip = catalog.protocol("ip").unwrap();
    assert!(catalog.refines_as_header(v4.id, ip.id));
    assert_eq!(ip.refinements.len(), 3);
    let (owner, index) = catalog.resolve_field(v4.id, "my_src").unwrap();
    assert_eq!((owner, catalog.field(owner, index).unwrap().ty), (v4.id, Type::Ip));
    // Without `protocol` nothing can be told to follow.
    assert_eq!(v4.children, []);
}

#[test]
fn fields_of_any_width_and_order() {
    let catalog = with(
        "ENUM Kind : uint { PING = 1, PONG = 2 }
         PROTOCOL probe (udp) OVER udp WHEN destPort = 7400 {
             HEADER LENGTH size MIN 16 MAX 64;
             CHECK magic IN [0x48, 0x49];
             uint   magic  AT 0 BITS 0:8;
             uint   size   AT 1 BITS 0:8;
             ullong odd    AT 1 BITS 3:61;
             uint   little AT 4 LITTLE;
             uint   three  AT 9 LENGTH 3 LITTLE;
             Kind   kind   AT 12 BITS 0:8;
             bool   late   AT 13 BITS 7:1;
             int    whole  AT 12;
             bool   is_pong = (kind = PONG);
             ullong both   = (little * 2 + three);
             BYTES  rest   AT size;
         }",
    );
    let mut payload =
        vec![0x48, 16, 2, 3, 0x78, 0x56, 0x34, 0x12, 8, 0x03, 0x02, 0x01, 2, 1, 14, 15];
    payload.extend(b"tail");
    let frame = udp_to(7400, &payload);
    let p = Packet::walk(&catalog, 1, &frame);
    assert_eq!(p.names(), "eth/ipv4/udp/probe");
    for (field, value) in [
        ("little", 0x1234_5678),
        ("three", 0x01_0203),
        ("odd", 0x1002_0378_5634_1208 & (u64::MAX >> 3)),
        ("late", 1),
        ("is_pong", 1),
        ("both", 0x1234_5678 * 2 + 0x01_0203),
        ("srcPort", 9),
    ] {
        let got = match field {
            "srcPort" => p.uint("udp", field),
            _ => p.uint("probe", field),
        };
        assert_eq!(got, Some(value), "{field}");
    }
    assert_eq!(p.get("probe", "whole"), Some(Value::Int(0x0201_0e0f)));
    assert_eq!(p.get("probe", "rest"), Some(Value::bytes(b"tail")));
    for (at, wrong) in [(0, 0x50), (1, 15), (1, 65), (1, 200)] {
        let mut bad = payload.clone();
        bad[at] = wrong;
        let frame = udp_to(7400, &bad);
        let p = Packet::walk(&catalog, 1, &frame);
        assert_eq!(p.names(), "eth/ipv4/udp");
        assert!(p.malformed);
    }
}

#[test]
fn a_tunnel_of_ones_own_carries_what_ethernet_does() {
    let catalog = with(
        "PROTOCOL wire (by_ethertype) OVER udp WHEN destPort = 7401 REPEAT 2 {
             HEADER LENGTH 4;
             uint wire_type AT 2 BITS 0:16;
             REFINE EtherType ethertype = (wire_type);
         }",
    );
    let inner = udp_to(53, &[0; 12]).split_off(14);
    let frame = udp_to(7401, &[vec![0, 0, 8, 0], inner].concat());
    let p = Packet::walk(&catalog, 1, &frame);
    assert_eq!(p.names(), "eth/ipv4/udp/wire/ipv4/udp/dns");
}

#[test]
fn builtin_dispatch_comes_first() {
    let catalog = with("PROTOCOL mine (udp) OVER udp WHEN destPort = 53 { HEADER LENGTH 1; }");
    let frame = udp_to(53, &[0; 12]);
    assert_eq!(Packet::walk(&catalog, 1, &frame).names(), "eth/ipv4/udp/dns");
    let own = with("PROTOCOL first OVER packet WHEN linktype = 147 { HEADER LENGTH 4; }");
    assert_eq!(Packet::walk(&own, 147, &[0; 4]).names(), "first");
}

#[test]
fn a_protocol_over_ip_is_found_behind_extension_headers() {
    let catalog = with("PROTOCOL probe (ip) OVER ip WHEN proto = 253 { HEADER LENGTH 1; }");
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 9, 60, 64]);
    frame.extend([0; 32]);
    frame.extend([253, 0, 1, 4, 0, 0, 0, 0, 42]);
    assert_eq!(Packet::walk(&catalog, 1, &frame).names(), "eth/ipv6/ipv6_opts/probe");
}

#[test]
fn record_protocols() {
    let catalog = with(
        "PROTOCOL base { uint time get_system_time (required, increasing, snap_len 0); }
         PROTOCOL Hits (base) {
             IP src get_csv_ip_pos1 (key);
             ullong bytes get_csv_ullong_pos2 (subtype volume, low_cardinality);
             string url get_csv_string_pos3;
             float share get_csv_float_pos4 (banded_increasing 30);
             uint n get_csv_uint_pos5 (increasing_in 'src, url');
         }
         PROTOCOL cell RECORD FIXED 64 { uint vpi AT 0 BITS 4:8; uint vci AT 0 BITS 12:16; }
         PROTOCOL frame RECORD VARIABLE size + 2 { ushort size AT 0; }
         PROTOCOL noisy RECORD FRAMED 'SYNC' { uint a AT 4; }",
    );
    let hits = catalog.protocol("Hits").unwrap();
    assert_eq!(hits.record, Some(RecordKind::Csv));
    let names: Vec<&str> = catalog.fields_of(hits.id).map(|(_, _, f)| f.name.as_str()).collect();
    assert_eq!(names, ["time", "src", "bytes", "url", "share", "n"]);
    let field = |name: &str| {
        let (owner, index) = catalog.resolve_field(hits.id, name).unwrap();
        catalog.field(owner, index).unwrap()
    };
    assert_eq!(field("time").place, Place::Meta(Meta::Time));
    assert_eq!(field("time").ordering, Ordering::Increasing);
    assert_eq!((field("time").required, field("time").snap_len), (true, Some(0)));
    assert_eq!(field("url").place, Place::Text(3));
    assert!(field("src").key && field("bytes").low_cardinality);
    assert_eq!(field("bytes").subtype.as_deref(), Some("volume"));
    assert_eq!(field("share").ordering, Ordering::BandedIncreasing(30));
    let group = Ordering::IncreasingInGroup(vec!["src".to_owned(), "url".to_owned()]);
    assert_eq!(field("n").ordering, group);
    assert_eq!(catalog.protocol("cell").unwrap().record, Some(RecordKind::Fixed(64)));
    let noisy = catalog.protocol("noisy").unwrap();
    assert_eq!(noisy.record, Some(RecordKind::Framed(b"SYNC".to_vec())));
    let variable = catalog.protocol("frame").unwrap();
    assert!(matches!(variable.record, Some(RecordKind::Variable(_))));
    // Records are not packets.
    assert!(!catalog.is_a(hits.id, catalog.protocol("packet").unwrap().id));
}

#[test]
fn several_files_build_on_each_other() {
    let mut catalog = with(
        "ENUM Port : uint { CHAT = 7500 } PROTOCOL outer (udp) OVER udp WHEN destPort = CHAT REPEAT 3 { HEADER LENGTH 2; uint more AT 0 BITS 0:8; }",
    );
    catalog
        .add_ddl("PROTOCOL inner OVER outer WHEN more = 1 { HEADER LENGTH 1; uint k AT 0 BITS 0:8; bool port = (destPort = CHAT); }", "b.ddl")
        .unwrap();
    let frame = udp_to(7500, &[1, 0, 9]);
    let p = Packet::walk(&catalog, 1, &frame);
    assert_eq!(p.names(), "eth/ipv4/udp/outer/inner");
    assert_eq!(p.uint("inner", "port"), Some(1));
}

#[test]
fn comments_become_descriptions() {
    let catalog = with(
        "-- Liveness probes.
         PROTOCOL probe OVER udp WHEN destPort = 7 { HEADER LENGTH 4; uint seq_no AT 0; -- Counts up.
         }",
    );
    let probe = catalog.protocol("probe").unwrap();
    assert_eq!(probe.doc, "Liveness probes.");
    assert_eq!(probe.fields[0].doc, "Counts up.");
}

/// Each text is refused (or taken) with a bounded number of messages, whatever it asks for.
#[test]
fn declarations_are_bounded() {
    let refused = |text: &str, code: &str| {
        let errors = Catalog::builtin().add_ddl(text, "user.ddl").unwrap_err();
        assert!(errors.len() <= 100, "{} messages", errors.len());
        assert!(errors.iter().any(|d| d.code == code), "{:?}", errors.first());
    };
    let protocol = |fields: &str| {
        format!(
            "PROTOCOL p OVER udp WHEN destPort = 7 {{ HEADER LENGTH 4; uint f0 AT 0; {fields} }}"
        )
    };
    // Each field reads the one before twice: 2^40 operations written out.
    let doubling: String =
        (1..40).map(|i| format!("ullong f{i} = (f{0} + f{0}); ", i - 1)).collect();
    refused(&protocol(&doubling), "cyclic-field");
    let many: String = (1..2000).map(|i| format!("uint f{i} AT 0; ")).collect();
    refused(&protocol(&many), "too-many");
    let unknown: String = (1..500).map(|i| format!("uint f{i} = (nothing{i}); ")).collect();
    refused(&protocol(&unknown), "unknown-field");
    let protocols: String =
        (0..600).map(|i| format!("PROTOCOL p{i} OVER eth {{ HEADER LENGTH 4; }}\n")).collect();
    refused(&protocols, "too-many");
    let enums: String = (0..400).map(|i| format!("ENUM E{i} : uint {{ A = 1 }}\n")).collect();
    refused(&enums, "too-many");
    let over = "OVER eth WHEN eth_type = 1 ".repeat(5000);
    refused(&format!("PROTOCOL p {over} {{ HEADER LENGTH 4; }}"), "too-many");
    let chain: String =
        (1..40).map(|i| format!("PROTOCOL p{i} (p{}) {{ uint k{i}; }}\n", i - 1)).collect();
    refused(&format!("PROTOCOL p0 {{ uint k0; }}\n{chain}"), "too-many");
    // 200 protocols that all refine one which 400 clauses follow.
    let kinds: String = (0..200)
        .map(|i| format!("PROTOCOL r{i} (kind) OVER eth WHEN eth_type = {i} {{ HEADER LENGTH 4; REFINE uint what AT 0; }}\n"))
        .collect();
    let over = "OVER kind WHEN what = 1 ".repeat(400);
    refused(
        &format!(
            "PROTOCOL kind {{ uint what; }}\n{kinds} PROTOCOL p {over} {{ HEADER LENGTH 4; }}"
        ),
        "too-many",
    );
    // Warnings do not crowd out errors.
    let streams: String = (0..200).map(|i| format!("STREAM s{i} {{ uint a; }}\n")).collect();
    refused(&format!("{streams} PROTOCOL p {{ HEADER LENGTH q; }}"), "unknown-field");
}
