//! Filters written in GSQL against the programs that people know.
//!
//! **tcpdump** looks at one place: the outermost network header, found by the type number of a frame alone. A query looks for a
//! protocol wherever the headers lead, and counts it only where its header is whole. The differences, each with the condition that takes
//! it away, on the side it belongs to:
//!
//! | difference | condition |
//! |---|---|
//! | tcpdump's `ip`, `tcp`, … miss what is behind tags, labels, sessions and 802.2 headers | `#4`, `#6`, `#T`, … on the query: the frame's own type is IP's |
//! | tcpdump's `tcp`, `udp`, … miss what is inside tunnels | `depth(ip) = 1` on the query |
//! | a tunnel's own datagrams are UDP for both, but then `depth(ip)` is not 1 | ports of tunnels are left out on both sides |
//! | tcpdump's `tcp`, … miss what is behind AH or an IPv6 extension header | `depth(ipv6_ext) = 0` on the query |
//! | tcpdump's `tcp`, … count later fragments, which have no such header | `$TCP`, … on the filter: fragment offset 0 |
//! | tcpdump counts headers by the number before them, cut off or impossible ones too | `$4`, `$6`, `$TCP`, … on the filter: version, length, last byte |
//! | tcpdump's `host` and `net` match ARP too | `$4` or `$6` on the filter |
//!
//! **tshark** descends as a query does, so its display filters are compared in packets and bytes. It shows headers inside ICMP
//! errors and parts of headers that are cut off, which no query takes for headers: `WHOLE` and `$UNQUOTED` take that away. `#1` is its
//! outermost occurrence; an outer 802.1ad tag is another layer for it, and ESP inside UDP is ESP.

use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::answers::{ask, batch_text};
use wt_tests::corpus::{self, Scratch};
use wt_tests::peers::{PeerError, tcpdump_count, tshark_totals};
use wt_wire::{CaptureReader, LinkType};

/// Abbreviations of queries. On Ethernet the frame's type tells; elsewhere tags and labels are what may stand before IP.
const NATIVE: &[(&str, &str)] = &[
    ("#4", "CASE WHEN linktype = 1 THEN eth_type = 0x0800 ELSE depth(vlan) + depth(mpls) = 0 END"),
    ("#6", "CASE WHEN linktype = 1 THEN eth_type = 0x86DD ELSE depth(vlan) + depth(mpls) = 0 END"),
    (
        "#T",
        "depth(ip) = 1 AND depth(ipv6_ext) = 0 AND CASE WHEN linktype = 1 THEN eth_type IN [0x0800, 0x86DD] ELSE \
         depth(vlan) + depth(mpls) = 0 END",
    ),
    ("#U", "#T AND NOT (destPort IN [4789, 8472, 6081, 2152, 6635])"),
];

/// Abbreviations of filters; later ones may use earlier ones.
const FILTER: &[(&str, &str)] = &[
    ("$4", "(ip and ip[0] >> 4 = 4 and ip[0] & 0xf >= 5 and ip[((ip[0] & 0xf) << 2) - 1] != 256)"),
    ("$6", "(ip6 and ip6[0] >> 4 = 6 and ip6[39] != 256)"),
    (
        "$TCP",
        "(($4 and ip proto 6 and ip[6:2] & 0x1fff = 0 and tcp[12] >= 0x50 and tcp[((tcp[12] & 0xf0) >> 2) - 1] != 256) or \
         ($6 and ip6[6] = 6 and ip6[52] >= 0x50 and ip6[39 + ((ip6[52] & 0xf0) >> 2)] != 256))",
    ),
    ("$TCP4", "($4 and $TCP)"),
    (
        "$UDP",
        "((($4 and ip proto 17 and ip[6:2] & 0x1fff = 0 and udp[7] != 256) or ($6 and ip6[6] = 17 and ip6[47] != 256)) and \
         not (dst port 4789 or dst port 8472 or dst port 6081 or dst port 2152 or dst port 6635))",
    ),
    ("$ARP", "(arp and arp[7 + 2 * (arp[4] + arp[5])] != 256)"),
    ("$ICMP", "($4 and ip proto 1 and ip[6:2] & 0x1fff = 0 and icmp[7] != 256)"),
    ("$ICMP6", "($6 and ip6[6] = 58 and ip6[47] != 256)"),
];

/// A query's source and condition, and tcpdump's filter for the same packets, on every link type.
const PAIRS: &[(&str, &str)] = &[
    ("packet WHERE len >= 1000", "greater 1000"),
    ("packet WHERE len <= 60", "less 60"),
    ("packet WHERE len BETWEEN 61 AND 100", "len > 60 and len <= 100"),
    ("packet WHERE len % 2 = 1", "len & 1 = 1"),
    ("ip WHERE IPVersion = 4 AND #4", "$4"),
    ("ip WHERE IPVersion = 6 AND #6", "$6"),
    ("ipv4 WHERE srcIP = '10.0.0.1' AND #4", "$4 and src host 10.0.0.1"),
    ("ip WHERE (srcIP = '10.0.0.1' OR destIP = '10.0.0.1') AND #4", "$4 and host 10.0.0.1"),
    ("ip WHERE destIP = '2001:db8::2' AND #6", "$6 and dst host 2001:db8::2"),
    (
        "ip WHERE srcIP IN ['10.0.0.0/8', '192.0.2.0/24'] AND #4",
        "$4 and (src net 10.0.0.0/8 or src net 192.0.2.0/24)",
    ),
    ("ip WHERE in_subnet(destIP, '2001:db8::/32') AND #6", "$6 and dst net 2001:db8::/32"),
    ("ip WHERE IPVersion = 4 AND ttl < 64 AND #4", "$4 and ip[8] < 64"),
    ("ipv4 WHERE hdr_len > 20 AND #4", "$4 and ip[0] & 0xf > 5"),
    ("ipv4 WHERE df AND #4", "$4 and ip[6] & 0x40 != 0"),
    ("ip WHERE fragment AND IPVersion = 4 AND #4", "$4 and ip[6:2] & 0x3fff != 0"),
    ("ipv4 WHERE frag_offset > 0 AND #4", "$4 and ip[6:2] & 0x1fff != 0"),
    ("ip WHERE dscp <> 0 AND IPVersion = 4 AND #4", "$4 and ip[1] & 0xfc != 0"),
    ("ip WHERE ecn <> 0 AND IPVersion = 4 AND #4", "$4 and ip[1] & 3 != 0"),
    ("ipv4 WHERE ip_total_len > 576 AND #4", "$4 and ip[2:2] > 576"),
    ("ipv4 WHERE ip_id & 1 = 1 AND #4", "$4 and ip[4:2] & 1 = 1"),
    ("ipv4 WHERE protocol = 47 AND #4", "$4 and ip proto 47"),
    ("ipv6 WHERE hop_limit < 64 AND #6", "$6 and ip6[7] < 64"),
    ("ipv6 WHERE traffic_class <> 0 AND #6", "$6 and ip6[0:2] & 0x0ff0 != 0"),
    ("ipv6 WHERE flow_label <> 0 AND #6", "$6 and ip6[0:4] & 0x000fffff != 0"),
    ("ipv6 WHERE next_header = 44 AND #6", "$6 and ip6[6] = 44"),
    ("tcp WHERE #T", "$TCP"),
    ("tcp WHERE destPort = 80 AND #T", "$TCP and tcp dst port 80"),
    ("tcp WHERE (srcPort = 80 OR destPort = 80) AND #T", "$TCP and tcp port 80"),
    ("tcp WHERE destPort BETWEEN 8000 AND 8010 AND #T", "$TCP and tcp dst portrange 8000-8010"),
    ("tcp WHERE NOT (srcPort = 22 OR destPort = 22) AND #T", "$TCP and not port 22"),
    ("tcp WHERE syn AND NOT ack_flag AND IPVersion = 4 AND #T", "$TCP4 and tcp[13] & 0x12 = 2"),
    (
        "tcp WHERE syn AND ack_flag AND IPVersion = 6 AND #T",
        "$6 and $TCP and ip6[53] & 0x12 = 0x12",
    ),
    ("tcp WHERE flags & 0x12 = 0x12 AND IPVersion = 4 AND #T", "$TCP4 and tcp[13] & 0x12 = 0x12"),
    ("tcp WHERE rst AND IPVersion = 4 AND #T", "$TCP4 and tcp[tcpflags] & tcp-rst != 0"),
    (
        "tcp WHERE (fin OR psh) AND NOT urg AND IPVersion = 4 AND #T",
        "$TCP4 and tcp[13] & 9 != 0 and tcp[13] & 32 = 0",
    ),
    ("tcp WHERE window = 0 AND IPVersion = 4 AND #T", "$TCP4 and tcp[14:2] = 0"),
    ("tcp WHERE tcp_hdr_len > 20 AND IPVersion = 4 AND #T", "$TCP4 and tcp[12] & 0xf0 > 0x50"),
    ("tcp WHERE seq > 0x7fffffff AND IPVersion = 4 AND #T", "$TCP4 and tcp[4:4] > 0x7fffffff"),
    ("tcp WHERE urgent > 0 AND IPVersion = 4 AND #T", "$TCP4 and tcp[18:2] > 0"),
    (
        // The length of the payload is by the IP length, however much was captured. Where that is 0, as a host with segmentation
        // offload captures it, a query takes the length of the packet.
        "tcp WHERE data_len > 0 AND ip_total_len > 0 AND #T",
        "$TCP4 and ((ip[0] & 0xf) << 2) + ((tcp[12] & 0xf0) >> 2) < ip[2:2]",
    ),
    ("udp WHERE #U", "$UDP"),
    ("udp WHERE (srcPort = 53 OR destPort = 53) AND #U", "$UDP and udp port 53"),
    ("udp WHERE srcPort BETWEEN 40000 AND 50000 AND #U", "$UDP and udp src portrange 40000-50000"),
    ("udp WHERE udp_len > 512 AND IPVersion = 4 AND #U", "$4 and $UDP and udp[4:2] > 512"),
    ("udp WHERE udp_checksum = 0 AND IPVersion = 4 AND #U", "$4 and $UDP and udp[6:2] = 0"),
    ("icmp WHERE #T", "$ICMP"),
    ("icmp WHERE icmp_type = 8 AND #T", "$ICMP and icmp[icmptype] = icmp-echo"),
    ("icmp WHERE icmp_type = 3 AND icmp_code = 3 AND #T", "$ICMP and icmp[0] = 3 and icmp[1] = 3"),
    ("icmp6 WHERE #T", "$ICMP6"),
    ("icmp6 WHERE icmp6_type IN [135, 136] AND #T", "$ICMP6 and (ip6[40] = 135 or ip6[40] = 136)"),
    ("igmp WHERE #T", "$4 and igmp and ip[6:2] & 0x1fff = 0 and igmp[7] != 256"),
    (
        "sctp WHERE destPort = 5001 AND IPVersion = 4 AND #T",
        "$4 and sctp dst port 5001 and ip[6:2] & 0x1fff = 0 and sctp[11] != 256",
    ),
    (
        "esp WHERE #T",
        "($4 and ip proto 50 and ip[((ip[0] & 0xf) << 2) + 7] != 256) or ($6 and ip6[6] = 50 and ip6[47] != 256)",
    ),
];

/// Pairs that make sense on Ethernet alone.
const ETHERNET_PAIRS: &[(&str, &str)] = &[
    ("eth WHERE eth_src = '02:00:00:00:00:0a'", "ether[13] != 256 and ether src 02:00:00:00:00:0a"),
    ("eth WHERE eth_dst = 'ff:ff:ff:ff:ff:ff'", "ether[13] != 256 and ether broadcast"),
    ("eth WHERE eth_type = 0x0806", "ether[12:2] = 0x0806"),
    ("eth WHERE eth_type <= 1500", "ether[12:2] <= 1500"),
    (
        "eth WHERE NOT (eth_type IN [0x0800, 0x86DD, 0x0806])",
        "ether[13] != 256 and not (ip or ip6 or arp)",
    ),
    ("arp WHERE eth_type = 0x0806", "$ARP"),
    ("arp WHERE arp_op = 1 AND eth_type = 0x0806", "$ARP and arp[6:2] = 1"),
    ("arp WHERE arp_tpa = '10.0.0.2' AND eth_type = 0x0806", "$ARP and arp[24:4] = 0x0a000002"),
    ("vlan WHERE eth_type IN [0x8100, 0x88A8, 0x9100]", "ether[17] != 256 and vlan"),
    (
        "vlan WHERE vlan_id = 100 AND eth_type IN [0x8100, 0x88A8, 0x9100]",
        "ether[17] != 256 and vlan 100",
    ),
    ("mpls WHERE eth_type = 0x8847", "ether[17] != 256 and mpls"),
    ("mpls WHERE mpls_label = 16 AND eth_type = 0x8847", "ether[17] != 256 and mpls 16"),
    ("pppoe WHERE eth_type = 0x8863", "ether[19] != 256 and pppoed"),
    ("pppoe WHERE eth_type = 0x8864", "ether[19] != 256 and pppoes"),
    (
        "pppoe WHERE pppoe_session = 0x1234 AND eth_type = 0x8864",
        "ether[19] != 256 and pppoes 0x1234",
    ),
];

/// Captures that the pairs are not compared on, and why.
const APART: &[(&str, &str)] = &[
    ("null-swapped.pcap", "libpcap takes address families in the byte order of the file alone"),
    ("ieee802.11_htc.pcap", "libpcap knows no HT control in 802.11 headers"),
    ("ppp.pcap", "libpcap takes address, control and a protocol of two bytes for granted"),
    ("radiotap.pcap", "libpcap knows no fourth address and no HT control in 802.11 headers"),
];

/// Packets that were captured whole.
const WHOLE: (&str, &str) = ("caplen = len", "frame.cap_len == frame.len");

/// A query's source and condition, and tshark's display filter for the same packets.
const DISPLAY: &[(&str, &str)] = &[
    ("packet WHERE len >= 0", "frame"),
    ("packet WHERE len >= 1000", "frame.len >= 1000"),
    ("eth WHERE linktype = 1", "eth"),
    ("eth WHERE linktype = 1 AND eth_type = 0x0800", "eth.type#1 == 0x0800"),
    ("vlan WHERE vlan_id = 100", "vlan.id#1 == 100 and not ieee8021ad"),
    ("mpls WHERE mpls_label = 16", "mpls.label#1 == 16"),
    ("pppoe WHERE len > 0", "pppoes or pppoed"),
    ("arp WHERE arp_op = 1", "arp.opcode#1 == 1"),
    ("ipv4 WHERE len > 0", "ip"),
    ("ipv4 WHERE ttl < 64", "ip.ttl#1 < 64"),
    ("ipv4 WHERE srcIP IN ['10.0.0.0/8']", "ip.src#1 == 10.0.0.0/8"),
    ("ipv4 WHERE frag_offset > 0", "ip.frag_offset#1 > 0"),
    ("ipv6 WHERE len > 0", "ipv6"),
    ("tcp WHERE len > 0", "tcp and $UNQUOTED"),
    ("tcp WHERE destPort = 80", "tcp.dstport#1 == 80 and $UNQUOTED"),
    (
        "tcp WHERE syn AND NOT ack_flag",
        "tcp.flags.syn#1 == 1 and tcp.flags.ack#1 == 0 and $UNQUOTED",
    ),
    ("tcp WHERE window = 0", "tcp.window_size_value#1 == 0 and $UNQUOTED"),
    ("udp WHERE len > 0", "udp and $UNQUOTED"),
    ("udp WHERE udp_len > 512", "udp.length#1 > 512 and $UNQUOTED"),
    ("icmp WHERE icmp_type = 8", "icmp.type#1 == 8"),
    ("icmp6 WHERE icmp6_type = 135", "icmpv6.type#1 == 135"),
    ("igmp WHERE len > 0", "igmp"),
    ("sctp WHERE srcPort = 5000", "sctp.srcport#1 == 5000 and $UNQUOTED"),
    ("gre WHERE len > 0", "gre"),
    ("vxlan WHERE vni = 42", "vxlan.vni#1 == 42"),
    ("geneve WHERE geneve_vni = 42", "geneve.vni#1 == 42"),
    ("gtpu WHERE gtpu_type = 255", "gtp.message#1 == 255"),
    ("esp WHERE len > 0", "esp and not udp"),
    ("ah WHERE len > 0", "ah"),
];

/// Captures that display filters are not compared on, and why.
const DISPLAY_APART: &[(&str, &str)] = &[
    ("malformed.pcap", "tshark shows the parts of headers that contradict themselves"),
    ("ip-in-ip.pcap", "tshark goes on below the eight headers that the contract of `ip` allows"),
    ("qinq.pcap", "tshark goes on below the eight tags that the contract of `vlan` allows"),
    ("llc.pcap", "tshark knows IP directly behind an 802.2 header, which nobody sends"),
    ("pcapng-blocks.pcapng", "tshark counts a custom block as a frame"),
    ("time-equal.pcap", "tshark's statistics have no interval when all packets are of one instant"),
];

/// Abbreviations of display filters.
const DISPLAY_SHORT: &[(&str, &str)] = &[(
    "$UNQUOTED",
    "not (icmp.type == 3 or icmp.type == 4 or icmp.type == 5 or icmp.type == 11 or icmp.type == 12 or icmpv6.type <= 4 or icmpv6.type == 137)",
)];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for path in corpus::carried() {
        if corpus::is_damaged(&path) {
            continue;
        }
        let name = corpus::short_name(&path);
        let file = corpus::name_of(&path);
        if !APART.iter().any(|(apart, _)| *apart == file) {
            let path = path.clone();
            trials.push(Trial::test(format!("tcpdump::{name}"), move || against_tcpdump(&path)));
        }
        if !DISPLAY_APART.iter().any(|(apart, _)| *apart == file) {
            trials.push(Trial::test(format!("tshark::{name}"), move || against_tshark(&path)));
        }
    }
    if let Some(wanted) = std::env::var_os("WT_SHARED") {
        for path in corpus::sample(wanted == "all") {
            let name = corpus::short_name(&path);
            let file = corpus::name_of(&path);
            if !APART.iter().any(|(apart, _)| *apart == file) {
                trials.push(Trial::test(format!("shared::{name}"), move || against_tcpdump(&path)));
            }
        }
    }
    trials.push(Trial::test("pairs_tell_packets_apart", pairs_tell_packets_apart));
    libtest_mimic::run(&arguments, trials).exit();
}

fn expand(text: &str, abbreviations: &[(&str, &str)]) -> String {
    // Backwards and longest first: later ones use earlier ones, and one may begin as another.
    let mut text = text.to_owned();
    let mut by_length = abbreviations.to_vec();
    by_length.sort_by_key(|(short, _)| std::cmp::Reverse(short.len()));
    for _ in abbreviations {
        for (short, long) in &by_length {
            text = text.replace(short, long);
        }
    }
    text
}

fn is_ethernet(path: &Path) -> Result<bool, Failed> {
    let mut reader = CaptureReader::open(path).map_err(|e| e.to_string())?;
    while let Ok(Some(record)) = reader.next() {
        if record.link_type != LinkType::ETHERNET {
            return Ok(false);
        }
    }
    Ok(true)
}

fn against_tcpdump(path: &Path) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let plain = corpus::plain(path, &scratch)?;
    match tcpdump_count(&plain, "") {
        Ok(_) => {}
        Err(missing @ PeerError::Missing { .. }) => return Err(missing.to_string().into()),
        // The suite of tcpdump's own filters lists what it cannot read.
        Err(_) => return Ok(()),
    }
    // Of link types without a protocol a query knows what `packet` has; libpcap knows some of them.
    let packets = ask(path, "SELECT count(*) AS n FROM packet")?.report.ledger;
    let unknown = packets.interfaces.iter().any(|i| i.packets.unknown_link_type > 0);
    if unknown || corpus::beyond_snap_len(path).map_err(|e| e.to_string())? {
        return Ok(());
    }
    let mut pairs = PAIRS.to_vec();
    if is_ethernet(path)? {
        pairs.extend(ETHERNET_PAIRS);
    }
    let ours = ours(path, &pairs)?;
    let mut wrong = String::new();
    for ((native, filter), (packets, _)) in pairs.iter().zip(ours) {
        let theirs = match tcpdump_count(&plain, &expand(filter, FILTER)) {
            Ok(count) => count,
            Err(PeerError::Refused { .. }) => 0,
            Err(other) => return Err(other.to_string().into()),
        };
        if packets != theirs {
            wrong += &format!("FROM {native}: {packets}; tcpdump {filter}: {theirs}\n");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

fn against_tshark(path: &Path) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let plain = corpus::plain(path, &scratch)?;
    let (native, theirs) = WHOLE;
    let natives: Vec<String> = DISPLAY.iter().map(|(n, _)| format!("{n} AND {native}")).collect();
    let filters: Vec<String> = DISPLAY
        .iter()
        .map(|(_, f)| format!("({}) and {theirs}", expand(f, DISPLAY_SHORT)))
        .collect();
    let pairs: Vec<(&str, &str)> =
        natives.iter().map(String::as_str).zip(filters.iter().map(String::as_str)).collect();
    let texts: Vec<&str> = filters.iter().map(String::as_str).collect();
    let theirs = tshark_totals(&plain, &texts).map_err(|e| e.to_string())?;
    let mut wrong = String::new();
    for (((native, filter), ours), theirs) in pairs.iter().zip(ours(path, &pairs)?).zip(theirs) {
        if ours != (theirs.packets, theirs.bytes) {
            wrong += &format!("FROM {native}: {ours:?}; tshark {filter}: {theirs:?}\n");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// Packets and bytes of each native filter, in one pass.
fn ours(path: &Path, pairs: &[(&str, &str)]) -> Result<Vec<(u64, u64)>, Failed> {
    let names: Vec<String> = (0..pairs.len()).map(|i| format!("f{i}")).collect();
    let queries: Vec<String> = pairs
        .iter()
        .map(|(native, _)| {
            let native = expand(native, NATIVE);
            format!("SELECT count(*) AS n, sum(packet.len) AS bytes FROM {native}")
        })
        .collect();
    let text = batch_text(names.iter().map(String::as_str).zip(queries.iter().map(String::as_str)));
    let answers = ask(path, &text)?;
    let of = |name: &String| {
        let numbers = answers.numbers(name);
        (numbers[0], numbers[1])
    };
    Ok(names.iter().map(of).collect())
}

/// A pair that matches nowhere compares nothing.
fn pairs_tell_packets_apart() -> Result<(), Failed> {
    let mut pairs = PAIRS.to_vec();
    pairs.extend(ETHERNET_PAIRS);
    pairs.extend(DISPLAY);
    let mut matched = vec![0; pairs.len()];
    for path in corpus::carried() {
        if corpus::is_damaged(&path) {
            continue;
        }
        for (sum, (packets, _)) in matched.iter_mut().zip(ours(&path, &pairs)?) {
            *sum += packets;
        }
    }
    let dull: Vec<_> = pairs.iter().zip(&matched).filter(|(_, n)| **n == 0).collect();
    if dull.is_empty() { Ok(()) } else { Err(format!("{dull:?}").into()) }
}
