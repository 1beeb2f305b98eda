//! tcpdump expressions inside queries count exactly what tcpdump counts, on every carried capture.
//!
//! One trial per capture: all filters are one batch, one pass over the capture, compared with one tcpdump each. A
//! filter that tcpdump refuses for the capture's link type must match nothing here. `WT_SHARED=1` adds a seeded sample of
//! the reference captures, `WT_SHARED=all` all of them, where they are present.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::answers::{ask, batch_text};
use wt_tests::corpus::{self, Scratch};
use wt_tests::peers::{PeerError, tcpdump_count};

/// Each is meant to tell packets apart: it matches some packet of the carried captures, and not another.
const FILTERS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "ip or arp",
    "not ip",
    "ah",
    "esp",
    "ip proto 47",
    "ip proto 1 or ip6 proto 58",
    r"ip proto \tcp",
    r"ip6 proto \udp",
    "proto 17",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst host 10.0.0.2",
    "host 2001:db8::1",
    "src or dst host 192.0.2.2",
    "src and dst host 10.0.0.1",
    "ip host 10.0.0.2",
    "arp host 10.0.0.2",
    "net 10.0.0.0/8",
    "net 10.1",
    "src net 192.0.2.0/24",
    "dst net 10.0.0.0 mask 255.255.255.0",
    "ip6 net 2001:db8::/32",
    "src net 2001:db8::/64",
    "port 80",
    "src port 80",
    "dst port 443",
    "port 53",
    "tcp port 80",
    "udp port 53",
    "tcp src port 40000",
    "udp dst port 4789",
    "src or dst port 8000",
    "src and dst port 4500",
    "portrange 8000-8010",
    "tcp portrange 1-1023",
    "udp src portrange 40000-50000",
    "dst portrange 0-65535",
    "sctp port 5000",
    "not port 80",
    "tcp and not port 22",
    "host 10.0.0.1 and tcp and port 80",
    "host 10.0.0.1 and (tcp or udp) and not (port 22 or port 53)",
    "(src net 10.0.0.0/24 and dst port 80) or (src port 80 and dst net 10.0.0.0/24)",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "vlan",
    "vlan 100",
    "vlan 100 and ip",
    "vlan and tcp port 80",
    "vlan and vlan",
    "vlan 200 and vlan 100 and ip",
    "vlan and not ip6",
    "vlan or ip",
    "mpls",
    "mpls 16",
    "mpls and mpls and ip",
    "mpls 16 and mpls 17",
    "pppoed",
    "pppoes",
    "pppoes 0x1234",
    "pppoes and ip",
    "pppoes and tcp port 80",
    "geneve",
    "geneve 42",
    "geneve 42 and tcp",
    "geneve and ip6",
    "ether host 02:00:00:00:00:0a",
    "ether src 02:00:00:00:00:0a",
    "ether dst 02:00:00:00:00:0b",
    "ether broadcast",
    "ether multicast",
    "broadcast",
    "multicast",
    "ip broadcast",
    "ip multicast",
    "ip6 multicast",
    "ether proto 0x0800",
    "ether proto 0x86dd",
    r"ether proto \arp",
    "ether proto 0x8847",
    "stp",
    "llc",
    "llc i",
    "llc u",
    "iso",
    "ether[12:2] <= 1500",
    "ether[0] & 1 = 0",
    "ether[6:4] = 0x02000000",
    "less 64",
    "less 60",
    "greater 1000",
    "len > 100",
    "len <= 54",
    "len & 1 = 1",
    "len - 14 > 40",
    "ip[8] = 64",
    "ip[8] < 64",
    "ip[0] & 0xf != 5",
    "ip[1] & 0xfc != 0",
    "ip[6] & 0x40 != 0",
    "ip[6] & 0x20 != 0",
    "ip[6:2] & 0x1fff != 0",
    "ip[6:2] & 0x3fff = 0",
    "ip[2:2] > 576",
    "ip[12:4] = 0x0a000001",
    "ip[16] >= 224",
    "ip[9] = 17 and ip[20:2] = 40000",
    "ip[ip[0] & 0xf] > 3",
    "ip6[6] = 44",
    "ip6[7] < 64",
    "ip6[4:2] > 100",
    "ip6[40] = 6",
    "ip6[53] & 2 != 0",
    "tcp[13] & 2 != 0",
    "tcp[13] = 2",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)",
    "tcp[tcpflags] == tcp-rst",
    "tcp[tcpflags] & tcp-push != 0",
    "tcp[12] & 0xf0 > 0x50",
    "tcp[14:2] = 0",
    "tcp[14:2] > 60000",
    "tcp[2:2] = 80",
    "tcp[4:4] > 0x7fffffff",
    "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    "udp[4:2] > 512",
    "udp[6:2] = 0",
    "udp[8:4] = 0x00010203",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] = icmp-echoreply",
    "icmp[icmptype] = icmp-unreach and icmp[icmpcode] = 3",
    "icmp[0] != 8 and icmp[0] != 0",
    "icmp6[icmp6type] = icmp6-echo",
    "icmp6[0] = 135 or icmp6[0] = 136",
    "sctp[12] = 1",
    "igmp[0] = 0x22",
    "arp[6:2] = 1",
    "arp[6:2] = 2 and arp[14:4] = 0x0a000002",
    "(ip[2:2] + 14) = len",
    "ip[2:2] * 2 > 3000",
    "ip[2:2] / 100 = 15",
    "ip[2:2] % 2 = 1",
    "ip[4:2] ^ ip[2:2] = 0",
    "(ip[2:2] | 3) - 3 > 60",
    "1 << (ip[8] & 7) > 8",
    "ip[8] >> 4 = 4",
    "-ip[8] > 0",
    "tcp[13] & 1 = 1 or tcp[13] & 4 = 4 and not dst port 80",
    "not (tcp or udp or icmp or icmp6)",
    "not not tcp",
    "inbound",
    "outbound",
    "link[0] != 0",
    "ppp proto 0x21",
    "wlan addr1 02:00:00:00:00:a9",
    "type data",
    "type mgt",
    "subtype beacon",
    "wlan dir 1",
    "pppoes and ip6",
];

/// libpcap proves that these match nothing, and refuses them; a query over them is no mistake.
const MATCH_NOTHING: &[&str] = &["tcp and udp", "ip and ip6", "len < 0"];

/// Carried captures that tcpdump cannot read to their end, and why.
const UNREADABLE: &[(&str, &str)] = &[
    ("pcapng-links.pcapng", "libpcap reads one link type per file"),
    ("pcapng-two-sections.pcapng", "libpcap takes the byte order of the first section for all"),
];

/// Captures of which a query counts what tcpdump counts of another one, and why.
const READ_AS: &[(&str, &str, &str)] = &[(
    "null-swapped.pcap",
    "null-big.pcap",
    "tcpdump takes address families in the byte order of the file alone; a query takes either, for it may read many files",
)];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("filters_are_distinct", filters_are_distinct),
        Trial::test("filters_tell_packets_apart", filters_tell_packets_apart),
        Trial::test("a_wrong_filter_is_refused", a_wrong_filter_is_refused),
    ];
    trials.extend(corpus::carried().into_iter().map(|path| {
        Trial::test(format!("carried::{}", corpus::short_name(&path)), move || compare(&path, true))
    }));
    if let Some(wanted) = std::env::var_os("WT_SHARED") {
        trials.extend(corpus::sample(wanted == "all").into_iter().map(|path| {
            Trial::test(format!("shared::{}", corpus::short_name(&path)), move || {
                compare(&path, false)
            })
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn text_of(filters: &[&str]) -> String {
    let names: Vec<String> = (0..filters.len()).map(|i| format!("f{i}")).collect();
    let queries: Vec<String> = filters
        .iter()
        .map(|f| format!("SELECT count(*) AS n FROM packet WHERE pcap_filter('{f}')"))
        .collect();
    batch_text(names.iter().map(String::as_str).zip(queries.iter().map(String::as_str)))
}

fn ours(path: &Path, filters: &[&str]) -> Result<Vec<u64>, Failed> {
    let answers = ask(path, &text_of(filters))?;
    let count = |i| answers.numbers(&format!("f{i}")).first().copied();
    (0..filters.len())
        .map(|i| count(i).ok_or_else(|| format!("no row for `{}`", filters[i]).into()))
        .collect()
}

fn compare(path: &Path, carried: bool) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let name = corpus::name_of(path);
    let read_as = READ_AS
        .iter()
        .find(|(file, _, _)| *file == name)
        .map(|(_, other, _)| path.with_file_name(other));
    let plain = match corpus::plain(&read_as.unwrap_or_else(|| path.to_owned()), &scratch) {
        Ok(plain) => plain,
        // A broken archive.
        Err(_) if corpus::is_damaged(path) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match tcpdump_count(&plain, "") {
        Ok(_) => {}
        Err(missing @ PeerError::Missing { .. }) => return Err(missing.to_string().into()),
        Err(refused) => {
            let known = UNREADABLE.iter().any(|(file, _)| *file == name);
            return if known || corpus::is_damaged(path) || !carried {
                Ok(())
            } else {
                Err(format!("tcpdump cannot read {name}: {refused}").into())
            };
        }
    }
    if corpus::beyond_snap_len(path)? {
        return if carried {
            Err("a carried capture that is longer than it says".into())
        } else {
            Ok(())
        };
    }
    let filters: Vec<&str> = FILTERS.iter().chain(MATCH_NOTHING).copied().collect();
    let ours = ours(path, &filters)?;
    let mut wrong = String::new();
    for (filter, ours) in filters.iter().zip(ours) {
        let theirs = match tcpdump_count(&plain, filter) {
            Ok(count) => count,
            Err(PeerError::Refused { .. }) => 0,
            Err(other) => return Err(other.to_string().into()),
        };
        if ours != theirs {
            wrong += &format!("{filter}: {ours} here, {theirs} by tcpdump\n");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{wrong}", path.display()).into()) }
}

fn filters_are_distinct() -> Result<(), Failed> {
    let mut seen = BTreeMap::new();
    for filter in FILTERS {
        if seen.insert(filter, ()).is_some() {
            return Err(format!("`{filter}` stands twice").into());
        }
    }
    if FILTERS.len() < 60 { Err("fewer than 60 filters".into()) } else { Ok(()) }
}

/// A filter that no packet passes, or every one, compares nothing.
fn filters_tell_packets_apart() -> Result<(), Failed> {
    let mut matched = vec![0; FILTERS.len()];
    let mut packets = 0;
    let mut filters = FILTERS.to_vec();
    filters.push("len >= 0");
    for path in corpus::carried() {
        if corpus::is_damaged(&path) {
            continue;
        }
        let mut counts = ours(&path, &filters)?;
        packets += counts.pop().unwrap_or(0);
        for (sum, count) in matched.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let dull = |&(_, &count): &(&&str, &u64)| count == 0 || count == packets;
    let dull: Vec<_> = FILTERS.iter().zip(&matched).filter(dull).collect();
    if dull.is_empty() { Ok(()) } else { Err(format!("of {packets} packets: {dull:?}").into()) }
}

fn a_wrong_filter_is_refused() -> Result<(), Failed> {
    let capture = corpus::carried().remove(0);
    for filter in ["tcp port", "host 300.1.1.1", "nonsense here", "ip[", "vlan 5000"] {
        match ask(&capture, &text_of(&[filter])) {
            Ok(_) => return Err(format!("`{filter}` was accepted").into()),
            Err(message) if message.contains("error") && message.contains('^') => {}
            Err(message) => {
                return Err(format!("`{filter}` is refused without a place: {message}").into());
            }
        }
    }
    Ok(())
}
