//! The filters of T8 and of the wide batch, as queries and as tcpdump expressions.

/// A filter, said twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// FROM and WHERE of a query.
    pub gsql: String,
    /// The same for libpcap.
    pub pcap: String,
}

/// Twenty filters as a monitoring team has them, no two alike.
const TWENTY: [(&str, &str); 20] = [
    ("tcp", "tcp"),
    ("udp", "udp"),
    ("icmp", "icmp"),
    ("ipv6", "ip6"),
    ("tcp WHERE destPort = 80", "tcp dst port 80"),
    ("tcp WHERE destPort = 443", "tcp dst port 443"),
    ("tcp WHERE srcPort = 443", "tcp src port 443"),
    ("udp WHERE srcPort = 53 OR destPort = 53", "udp port 53"),
    ("tcp WHERE srcPort = 22 OR destPort = 22", "tcp port 22"),
    ("udp WHERE srcPort = 443 OR destPort = 443", "udp port 443"),
    // tcpdump's tcp[…] is of version 4 only.
    (
        "tcp WHERE IPVersion = 4 AND syn AND NOT ack_flag",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    ),
    ("tcp WHERE IPVersion = 4 AND rst", "tcp[tcpflags] & tcp-rst != 0"),
    ("ipv4 WHERE srcIP IN ['10.0.0.0/8']", "ip and src net 10.0.0.0/8"),
    ("ipv4 WHERE destIP IN ['198.18.0.0/16']", "ip and dst net 198.18.0.0/16"),
    ("packet WHERE len >= 1001", "greater 1001"),
    ("packet WHERE len <= 128", "less 128"),
    ("tcp WHERE destPort BETWEEN 1 AND 1023", "tcp dst portrange 1-1023"),
    ("ipv4 WHERE ttl < 64", "ip[8] < 64"),
    ("ipv4 WHERE df", "ip[6] & 0x40 != 0"),
    ("tcp WHERE srcPort IN (25, 8080) OR destPort IN (25, 8080)", "tcp port 25 or tcp port 8080"),
];

/// The twenty filters of T8.
pub fn twenty() -> Vec<Filter> {
    TWENTY.iter().map(|&(gsql, pcap)| Filter { gsql: gsql.into(), pcap: pcap.into() }).collect()
}

/// Destination ports of TCP in the wide batch.
pub const WIDE_TCP_PORTS: [u16; 40] = [
    20, 21, 22, 23, 25, 53, 79, 80, 88, 110, 111, 113, 119, 135, 139, 143, 179, 389, 443, 445, 465,
    514, 515, 587, 631, 636, 873, 993, 995, 1080, 1433, 1521, 1723, 3306, 3389, 5432, 5900, 6379,
    8080, 8443,
];
/// Destination ports of UDP in the wide batch.
pub const WIDE_UDP_PORTS: [u16; 20] = [
    53, 67, 68, 69, 123, 137, 138, 161, 162, 443, 500, 514, 520, 1194, 1701, 1812, 3478, 4500,
    5060, 5353,
];
/// Number of networks 10.n.0.0/16 in the wide batch, from 0.
pub const WIDE_NETS: u8 = 20;
/// Number of bands of length in the wide batch.
pub const WIDE_BANDS: u32 = 20;
/// Bytes of a band.
pub const WIDE_BAND_LEN: u32 = 80;

/// The hundred filters of the wide batch, in the order of the constants above.
pub fn hundred() -> Vec<Filter> {
    let filter = |gsql: String, pcap: String| Filter { gsql, pcap };
    let tcp = WIDE_TCP_PORTS
        .iter()
        .map(|p| filter(format!("tcp WHERE destPort = {p}"), format!("tcp dst port {p}")));
    let udp = WIDE_UDP_PORTS
        .iter()
        .map(|p| filter(format!("udp WHERE destPort = {p}"), format!("udp dst port {p}")));
    let nets = (0..WIDE_NETS).map(|n| {
        let net = format!("10.{n}.0.0/16");
        filter(format!("ipv4 WHERE srcIP IN ['{net}']"), format!("ip and src net {net}"))
    });
    let bands = (0..WIDE_BANDS).map(|band| {
        let (from, to) = (band * WIDE_BAND_LEN, (band + 1) * WIDE_BAND_LEN - 1);
        filter(
            format!("packet WHERE len BETWEEN {from} AND {to}"),
            format!("len >= {from} and len <= {to}"),
        )
    });
    tcp.chain(udp).chain(nets).chain(bands).collect()
}

/// The name of a filter's query.
pub fn name(index: usize) -> String {
    format!("f{index:03}")
}

/// A batch of one query for each filter.
pub fn batch(filters: &[Filter]) -> String {
    filters
        .iter()
        .enumerate()
        .map(|(index, filter)| {
            format!(
                "DEFINE {{ query_name {}; }}\nSELECT count(*) AS packets, sum(len) AS bytes FROM {};\n",
                name(index),
                filter.gsql
            )
        })
        .collect()
}
