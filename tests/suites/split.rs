//! The split into LFTA and HFTA is an optimisation: the same query gives the same rows whatever the table size, and whether the
//! groups are made next to the packets or above a selection.

use wt_tests::answers::ask;
use wt_tests::corpus;

/// A grouped query in two spellings: directly over a protocol, and over a named selection of it that carries the fields.
struct Case {
    select: &'static str,
    /// Fields that the selection carries besides `time`.
    fields: &'static str,
    from: &'static str,
    filter: &'static str,
    group: &'static str,
}

const CASES: &[Case] = &[
    Case {
        select: "tb, count(*) AS n, sum(len) AS bytes",
        fields: "len",
        from: "packet",
        filter: "len > 0",
        group: "GROUP BY time/1 AS tb",
    },
    Case {
        select: "tb, srcIP, destIP, count(*) AS n, max(len) AS most",
        fields: "srcIP, destIP, len",
        from: "ip",
        filter: "len > 60",
        group: "GROUP BY time/2 AS tb, srcIP, destIP",
    },
    Case {
        select: "tb, destPort, sum(len) AS bytes, min(ttl) AS nearest, avg(len) AS mean",
        fields: "destPort, len, ttl",
        from: "tcp",
        filter: "destPort < 60000",
        group: "GROUP BY time/60 AS tb, destPort HAVING count(*) > 1",
    },
    Case {
        select: "tb, srcIP, OR_AGGR(flags) AS seen, AND_AGGR(flags) AS always, XOR_AGGR(seq) AS odd",
        fields: "srcIP, flags, seq",
        from: "tcp",
        filter: "NOT rst",
        group: "GROUP BY time/5 AS tb, srcIP",
    },
    Case {
        select: "tb, srcIP, protocol, count(*) AS n",
        fields: "srcIP, protocol",
        from: "ip",
        filter: "IPVersion = 4",
        group: "GROUP BY time/10 AS tb, CUBE(srcIP, protocol)",
    },
    Case {
        select: "tb, destIP, destPort, sum(len) AS bytes",
        fields: "destIP, destPort, len",
        from: "udp",
        filter: "len > 0",
        group: "GROUP BY time/60 AS tb, destIP, destPort ORDER BY bytes DESC, destPort LIMIT 3",
    },
    Case {
        select: "eth_src, count(*) AS n, max(time) AS last",
        fields: "eth_src",
        from: "eth",
        filter: "eth_type <> 0",
        group: "GROUP BY eth_src",
    },
    Case {
        select: "tb, len, count(*) AS n",
        fields: "len",
        from: "packet",
        filter: "len % 3 = 1",
        group: "GROUP BY time/3 AS tb, len",
    },
    Case {
        select: "tb, srcIP, destIP, srcPort, destPort, protocol, count(*) AS n, sum(data_len) AS payload",
        fields: "srcIP, destIP, srcPort, destPort, protocol, data_len",
        from: "tcp",
        filter: "len > 0",
        group: "GROUP BY time/60 AS tb, srcIP, destIP, srcPort, destPort, protocol",
    },
    Case {
        select: "tb, srcIP, sum(len) AS bytes, count(*) AS n, count_distinct(destIP) AS peers",
        fields: "srcIP, destIP, len",
        from: "ip",
        filter: "len > 60",
        group: "GROUP BY time/2 AS tb, srcIP HAVING count(*) > 1",
    },
    Case {
        select: "tb, srcIP, protocol, count(DISTINCT ttl) AS ttls, count(DISTINCT destIP) AS peers",
        fields: "srcIP, protocol, destIP, ttl",
        from: "ip",
        filter: "IPVersion = 4 OR len > 100",
        group: "GROUP BY time/10 AS tb, CUBE(srcIP, protocol)",
    },
    Case {
        select: "count(DISTINCT destPort) AS ports, count_distinct(destPort) AS about, avg(len) AS mean",
        fields: "destPort, len",
        from: "tcp",
        filter: "destPort < 60000",
        group: "",
    },
];

impl Case {
    fn direct(&self, options: &str) -> String {
        let Case { select, from, filter, group, .. } = self;
        format!(
            "DEFINE {{ query_name q; {options} }} SELECT {select} FROM {from} WHERE {filter} {group}"
        )
    }

    fn above_a_selection(&self) -> String {
        let Case { select, fields, from, filter, group } = self;
        format!(
            "DEFINE {{ query_name carried; }} SELECT time, {fields} FROM {from} WHERE {filter} ;\n\
             DEFINE {{ query_name q; }} SELECT {select} FROM carried {group}"
        )
    }
}

#[test]
fn rows_do_not_depend_on_the_split() {
    let mut rows = 0;
    for path in corpus::carried() {
        if corpus::is_damaged(&path) {
            continue;
        }
        for case in CASES {
            let of = |text: &str| {
                let answers =
                    ask(&path, text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", path.display()));
                // Late tuples are counted where the window is, so that they agree too.
                (answers.rows("q").to_vec(), answers.report.ledger.late())
            };
            let reference = of(&case.direct(""));
            rows += reference.0.len();
            let mut variants: Vec<String> = ["1", "2", "4096"]
                .iter()
                .map(|slots| case.direct(&format!("aggregate_slots {slots};")))
                .collect();
            variants.push(case.direct("select_lfta '1'; aggregate_slots 8;"));
            variants.push(case.above_a_selection());
            for text in variants {
                assert_eq!(of(&text), reference, "{}\n{text}", path.display());
            }
        }
    }
    assert!(rows > 1000, "{rows} rows were compared");
}
