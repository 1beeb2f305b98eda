//! Names of IP protocols and of well-known ports, after the IANA registries ("Assigned Internet Protocol Numbers",
//! "Service Name and Transport Protocol Port Number Registry"), with the names in daily use where a registry has none.

/// The name of an IP protocol, or its number.
pub(super) fn protocol(number: u64) -> String {
    lookup(PROTOCOLS, number).map_or_else(|| number.to_string(), str::to_owned)
}

/// The name of the service on a port, or the port's number. With an IP protocol, names of services that use another one
/// are not given.
pub(super) fn port(number: u64, protocol: Option<u64>) -> String {
    const TCP: u64 = 6;
    const UDP: u64 = 17;
    let only_other = match protocol {
        Some(TCP) => UDP_ONLY.contains(&number),
        Some(UDP) => TCP_ONLY.contains(&number),
        _ => false,
    };
    match lookup(PORTS, number) {
        Some(name) if !only_other => name.to_owned(),
        _ => number.to_string(),
    }
}

fn lookup(table: &[(u16, &'static str)], number: u64) -> Option<&'static str> {
    let number = u16::try_from(number).ok()?;
    let at = table.binary_search_by_key(&number, |&(n, _)| n).ok()?;
    table.get(at).map(|&(_, name)| name)
}

const PROTOCOLS: &[(u16, &str)] = &[
    (0, "hopopt"),
    (1, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipv4"),
    (5, "st"),
    (6, "tcp"),
    (7, "cbt"),
    (8, "egp"),
    (9, "igp"),
    (12, "pup"),
    (17, "udp"),
    (20, "hmp"),
    (22, "xns-idp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (45, "idrp"),
    (46, "rsvp"),
    (47, "gre"),
    (48, "dsr"),
    (50, "esp"),
    (51, "ah"),
    (54, "narp"),
    (55, "min-ipv4"),
    (56, "tlsp"),
    (57, "skip"),
    (58, "icmp6"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (73, "cphb"),
    (80, "iso-ip"),
    (81, "vmtp"),
    (88, "eigrp"),
    (89, "ospf"),
    (92, "mtp"),
    (93, "ax.25"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (111, "ipx-in-ip"),
    (112, "vrrp"),
    (113, "pgm"),
    (115, "l2tp"),
    (124, "isis"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
    (144, "aggfrag"),
    (145, "nsh"),
    (255, "reserved"),
];

/// Ports of [`PORTS`] that TCP does not use.
const UDP_ONLY: &[u64] = &[
    67, 68, 69, 123, 500, 514, 520, 521, 546, 547, 1645, 1646, 1812, 1813, 1900, 2055, 2123, 2152, 3478, 3544, 3784, 3785, 4500, 4739,
    4789, 5353, 5355, 6081, 6343, 51820,
];
/// Ports of [`PORTS`] that UDP does not use.
const TCP_ONLY: &[u64] = &[
    20, 21, 22, 23, 25, 43, 70, 79, 110, 113, 119, 143, 179, 465, 512, 513, 543, 544, 563, 587, 631, 636, 873, 989, 990, 993, 995, 1080,
    1433, 1521, 1723, 2181, 2379, 2380, 3128, 3306, 3868, 5222, 5269, 5432, 5672, 5900, 6000, 6379, 6443, 6667, 8000, 8008, 8080, 8888,
    9000, 9042, 9092, 9100, 9200, 9300, 9418, 11211, 27017,
];

const PORTS: &[(u16, &str)] = &[
    (1, "tcpmux"),
    (7, "echo"),
    (9, "discard"),
    (11, "systat"),
    (13, "daytime"),
    (17, "qotd"),
    (19, "chargen"),
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (37, "time"),
    (42, "nameserver"),
    (43, "whois"),
    (49, "tacacs"),
    (53, "domain"),
    (67, "bootps"),
    (68, "bootpc"),
    (69, "tftp"),
    (70, "gopher"),
    (79, "finger"),
    (80, "http"),
    (88, "kerberos"),
    (102, "iso-tsap"),
    (104, "dicom"),
    (110, "pop3"),
    (111, "sunrpc"),
    (113, "ident"),
    (119, "nntp"),
    (123, "ntp"),
    (135, "epmap"),
    (137, "netbios-ns"),
    (138, "netbios-dgm"),
    (139, "netbios-ssn"),
    (143, "imap"),
    (161, "snmp"),
    (162, "snmptrap"),
    (177, "xdmcp"),
    (179, "bgp"),
    (194, "irc"),
    (389, "ldap"),
    (427, "svrloc"),
    (443, "https"),
    (445, "microsoft-ds"),
    (464, "kpasswd"),
    (465, "submissions"),
    (500, "isakmp"),
    (502, "mbap"),
    (512, "exec"),
    (513, "login"),
    (514, "syslog"),
    (515, "printer"),
    (520, "rip"),
    (521, "ripng"),
    (543, "klogin"),
    (544, "kshell"),
    (546, "dhcpv6-client"),
    (547, "dhcpv6-server"),
    (548, "afpovertcp"),
    (554, "rtsp"),
    (563, "nntps"),
    (587, "submission"),
    (623, "asf-rmcp"),
    (631, "ipp"),
    (636, "ldaps"),
    (646, "ldp"),
    (749, "kerberos-adm"),
    (853, "domain-s"),
    (873, "rsync"),
    (989, "ftps-data"),
    (990, "ftps"),
    (993, "imaps"),
    (995, "pop3s"),
    (1080, "socks"),
    (1194, "openvpn"),
    (1433, "ms-sql-s"),
    (1434, "ms-sql-m"),
    (1521, "oracle"),
    (1645, "radius-old"),
    (1646, "radacct-old"),
    (1701, "l2tp"),
    (1719, "h323gatestat"),
    (1720, "h323hostcall"),
    (1723, "pptp"),
    (1812, "radius"),
    (1813, "radius-acct"),
    (1883, "mqtt"),
    (1900, "ssdp"),
    (2049, "nfs"),
    (2055, "netflow"),
    (2123, "gtp-control"),
    (2152, "gtp-user"),
    (2181, "zookeeper"),
    (2379, "etcd-client"),
    (2380, "etcd-server"),
    (2404, "iec-104"),
    (3128, "http-proxy"),
    (3260, "iscsi-target"),
    (3268, "msft-gc"),
    (3269, "msft-gc-ssl"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (3478, "stun"),
    (3544, "teredo"),
    (3784, "bfd-control"),
    (3785, "bfd-echo"),
    (3868, "diameter"),
    (4317, "otlp-grpc"),
    (4318, "otlp-http"),
    (4433, "quic"),
    (4500, "ipsec-nat-t"),
    (4739, "ipfix"),
    (4789, "vxlan"),
    (5004, "avt-profile-1"),
    (5005, "avt-profile-2"),
    (5060, "sip"),
    (5061, "sips"),
    (5201, "iperf3"),
    (5222, "xmpp-client"),
    (5269, "xmpp-server"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5432, "postgresql"),
    (5671, "amqps"),
    (5672, "amqp"),
    (5683, "coap"),
    (5684, "coaps"),
    (5900, "rfb"),
    (5985, "wsman"),
    (5986, "wsmans"),
    (6000, "x11"),
    (6081, "geneve"),
    (6343, "sflow"),
    (6379, "redis"),
    (6443, "kubernetes-api"),
    (6514, "syslog-tls"),
    (6653, "openflow"),
    (6667, "ircu"),
    (8000, "irdmi"),
    (8008, "http-alt"),
    (8080, "http-alt"),
    (8443, "pcsync-https"),
    (8883, "secure-mqtt"),
    (8888, "ddi-tcp-1"),
    (9000, "cslistener"),
    (9042, "cassandra"),
    (9092, "kafka"),
    (9100, "pdl-datastream"),
    (9200, "elasticsearch"),
    (9300, "elasticsearch-transport"),
    (9418, "git"),
    (9993, "zerotier"),
    (10250, "kubelet"),
    (11211, "memcache"),
    (20000, "dnp"),
    (27017, "mongodb"),
    (33434, "traceroute"),
    (47808, "bacnet"),
    (51820, "wireguard"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_without_repetition() {
        for table in [PORTS, PROTOCOLS] {
            for pair in table.windows(2) {
                assert!(pair[0].0 < pair[1].0, "{pair:?}");
            }
        }
        for number in UDP_ONLY.iter().chain(TCP_ONLY) {
            assert!(lookup(PORTS, *number).is_some(), "{number}");
        }
        assert!(UDP_ONLY.iter().all(|n| !TCP_ONLY.contains(n)));
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(protocol(6), "tcp");
        assert_eq!(protocol(58), "icmp6");
        assert_eq!(protocol(253), "253");
        assert_eq!(protocol(1 << 40 | 6), (1u64 << 40 | 6).to_string());
        assert_eq!(port(443, None), "https");
        assert_eq!(port(53, Some(17)), "domain");
        assert_eq!(port(54321, None), "54321");
        assert_eq!(port(65536 + 80, None), "65616");
        assert_eq!(port(4789, Some(6)), "4789");
        assert_eq!(port(22, Some(17)), "22");
        assert_eq!(port(443, Some(17)), "https");
    }
}
