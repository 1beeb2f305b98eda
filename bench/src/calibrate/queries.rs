//! The queries that costs are fitted from, and those that the fit is checked with.

/// Each stresses few kinds of work, in different proportions.
pub const FITTED: &[&str] = &[
    // Records, headers, nodes, totals.
    "SELECT count(*) FROM packet",
    "SELECT count(*), sum(len), max(len), min(caplen) FROM packet",
    "SELECT count(*) FROM eth",
    "SELECT count(*), sum(len) FROM ip",
    "SELECT count(*) FROM udp",
    "SELECT count(*), sum(len) FROM ipv4 WHERE ttl > 3",
    "SELECT count(*) FROM tcp",
    "SELECT count(*), sum(len), max(seq) FROM tcp WHERE destPort > 1",
    "SELECT count(*) FROM tcp WHERE destPort * 3 + srcPort * 5 + len > 7 AND destPort + srcPort <> 3 AND len * 7 <> srcPort",
    "SELECT count(*) FROM tcp WHERE srcPort IN (1, 2, 3, 4, 5, 6, 7, 8) OR destPort IN (11, 12, 13, 14, 15, 16, 17, 18)",
    "SELECT count(*) FROM packet WHERE pcap_filter('tcp port 80 or udp port 53')",
    "SELECT count(*) FROM packet WHERE pcap_filter('udp')",
    "SELECT count(*) FROM packet WHERE pcap_filter('host 10.1.2.3 and not port 22')",
    // Host functions and scans.
    "SELECT count(*) FROM packet WHERE FMAX(len, 1.5) > 2.5",
    "SELECT count(*) FROM tcp WHERE byte_match_offset[3, 7, data]",
    "SELECT count(*) FROM tcp WHERE str_match_start[data, 'SSH-'] OR str_match_start[data, 'GET ']",
    "SELECT count(*) FROM tcp WHERE str_exists_substr[data, 'wiretable']",
    "SELECT count(*) FROM tcp WHERE str_exists_substr[data, 'wiretable'] OR str_exists_substr[data, 'needle']",
    "SELECT count(*) FROM tcp WHERE str_regex_match[data, 'wire(table|board)']",
    "SELECT count(*) FROM tcp WHERE str_regex_match[data, '[0-9]+ wires?']",
    "SELECT count(*) FROM tcp WHERE str_regex_match[data, '^[a-f]+x']",
    // Groups in tables of words: few, many, wide keys.
    "SELECT t, count(*), sum(len) FROM ip GROUP BY time/1 AS t",
    "SELECT len, count(*) FROM packet GROUP BY len",
    "SELECT t, destPort, count(*) FROM tcp GROUP BY time/1 AS t, destPort",
    "SELECT srcIP, count(*), sum(len), max(len) FROM ipv4 GROUP BY srcIP",
    "SELECT count(*) FROM (SELECT srcIP, destIP, srcPort, destPort, count(*) AS n, sum(len) AS b FROM tcp GROUP BY srcIP, destIP, srcPort, destPort) AS f",
    "SELECT srcIP, destIP, srcPort, destPort, count(*), sum(len) FROM tcp GROUP BY srcIP, destIP, srcPort, destPort",
    // The direct-mapped table.
    "DEFINE { aggregate_slots 1024; } SELECT srcIP, count(*), sum(len) FROM ipv4 GROUP BY srcIP",
    "DEFINE { aggregate_slots 65536; } SELECT count(*) FROM (SELECT srcIP, destIP, srcPort, destPort, count(*) AS n FROM tcp GROUP BY srcIP, destIP, srcPort, destPort) AS f",
    // Tuples, operators, output.
    "SELECT len FROM packet",
    "SELECT time, srcIP, destIP, srcPort, destPort, len FROM tcp",
    "SELECT timestamp FROM packet",
    "SELECT time, len, caplen, time + 1, len + 1, caplen + 1 FROM packet",
    "SELECT srcIP, destIP FROM ipv4",
    "SELECT count(*) FROM (SELECT time, len FROM packet) AS p WHERE p.len > 0",
    "SELECT count(*), sum(a), sum(b) FROM (SELECT len + 1 AS a, caplen * 3 AS b, time FROM packet) AS p WHERE p.a * 3 + p.b * 7 > p.a",
    "DEFINE { select_lfta yes; } SELECT tb, len, count_distinct(caplen) FROM packet GROUP BY time/1 AS tb, len",
    "SELECT destPort, stddev(len) FROM tcp GROUP BY destPort",
    "SELECT t, srcIP, destPort, count(*) FROM tcp GROUP BY time/1 AS t, CUBE(srcIP, destPort)",
    "SELECT DISTINCT srcIP, destIP FROM ip",
    "SELECT len, caplen FROM packet ORDER BY len LIMIT 10",
    "SELECT timestamp, len FROM packet ORDER BY len, timestamp",
    "SELECT len, caplen FROM packet ORDER BY len",
    "SELECT srcIP, count(*) AS n FROM ip GROUP BY srcIP ORDER BY n DESC",
    // The interpreter.
    "DEFINE { real_time yes; } SELECT t, count(*) FROM packet GROUP BY time/1 AS t",
    "DEFINE { real_time yes; } SELECT t, count(*) FROM tcp WHERE destPort > 1 GROUP BY time/1 AS t",
    "DEFINE { real_time yes; } SELECT t, destPort, count(*), sum(len) FROM tcp WHERE destPort * 3 + srcPort * 5 + len > 7 GROUP BY time/1 AS t, destPort",
];

/// Not fitted: they show how far predictions of other queries can be trusted.
pub const CHECKED: &[(&str, &str)] = &[
    ("T1: totals", "SELECT count(*), sum(len) FROM packet"),
    (
        "T2: ports",
        "SELECT count(*), sum(len) FROM tcp WHERE srcPort IN (80, 443) OR destPort IN (80, 443)",
    ),
    (
        "T3: second and destination",
        "SELECT second, destIP, count(*), sum(len) FROM ip GROUP BY time/1 AS second, destIP",
    ),
    (
        "T4: flows",
        "SELECT count(*), sum(p), sum(b) FROM (SELECT srcIP, destIP, srcPort, destPort, count(*) AS p, sum(len) AS b FROM tcp GROUP BY srcIP, destIP, srcPort, destPort) AS f",
    ),
    (
        "T5: HTTP in payloads",
        r"SELECT count(*), sum(len) FROM tcp WHERE (srcPort = 80 OR destPort = 80) AND str_regex_match[data, '^[^\n]*HTTP/1.*']",
    ),
    (
        "regular expression in all",
        "SELECT count(*) FROM tcp WHERE str_regex_match[data, 'pass(word|wd)=[^ ]+']",
    ),
    (
        "cube",
        "SELECT t, srcIP, destPort, count(*), sum(len) FROM tcp GROUP BY time/1 AS t, CUBE(srcIP, destPort)",
    ),
    (
        "top talkers",
        "SELECT t, srcIP, sum(len) AS b FROM ip GROUP BY time/1 AS t, srcIP ORDER BY b DESC LIMIT 10",
    ),
    (
        "SYN packets as rows",
        "SELECT time, srcIP, destIP, destPort FROM tcp WHERE syn AND NOT ack_flag",
    ),
    ("all packets as rows", "SELECT timestamp, srcIP, destIP, protocol, len FROM ipv4"),
    (
        "distinct sources per port",
        "SELECT t, destPort, count_distinct(srcIP) FROM tcp GROUP BY time/1 AS t, destPort",
    ),
    (
        "tcpdump filter",
        "SELECT count(*) FROM packet WHERE pcap_filter('udp or (tcp and dst net 10.0.0.0/9)')",
    ),
];
