//! The tasks as queries.

use crate::bound::TaskName;
use crate::filters;

/// A task's text, and how its rows are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// GSQL.
    pub text: String,
    /// Several queries: rows carry the name of their query.
    pub batch: bool,
}

/// All tasks, in the order of a report.
pub const ALL: [TaskName; 7] = [
    TaskName::T1,
    TaskName::T2,
    TaskName::T3,
    TaskName::T4,
    TaskName::T5,
    TaskName::T8,
    TaskName::Wide,
];

const T1: &str = "SELECT count(*) AS packets, sum(len) AS bytes FROM packet";
const T2: &str = "SELECT count(*) AS packets, sum(len) AS bytes FROM tcp \
                  WHERE srcPort IN (80, 443) OR destPort IN (80, 443)";
const T3: &str = "SELECT second, destIP, count(*) AS packets, sum(len) AS bytes FROM ip \
                  GROUP BY time/1 AS second, destIP";
const T4: &str = "SELECT count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes FROM \
                  (SELECT srcIP, destIP, srcPort, destPort, count(*) AS packets, sum(len) AS bytes \
                  FROM tcp GROUP BY srcIP, destIP, srcPort, destPort) AS flow";
const T5: &str = r"DEFINE { query_name port80; }
SELECT count(*) AS packets, sum(len) AS bytes FROM tcp WHERE srcPort = 80 OR destPort = 80;
DEFINE { query_name http; }
SELECT count(*) AS packets, sum(len) AS bytes FROM tcp
WHERE (srcPort = 80 OR destPort = 80) AND str_regex_match[data, '^[^\n]*HTTP/1.*'];
";

/// The query of a task.
pub fn query(task: TaskName) -> Query {
    let single = |text: &str| Query { text: text.to_owned(), batch: false };
    let batch = |text: String| Query { text, batch: true };
    match task {
        TaskName::T1 => single(T1),
        TaskName::T2 => single(T2),
        TaskName::T3 => single(T3),
        TaskName::T4 => single(T4),
        TaskName::T5 => batch(T5.to_owned()),
        TaskName::T8 => batch(filters::batch(&filters::twenty())),
        TaskName::Wide => batch(filters::batch(&filters::hundred())),
    }
}

/// What a task is, in a line.
pub fn title(task: TaskName) -> &'static str {
    match task {
        TaskName::T1 => "T1: packets and bytes",
        TaskName::T2 => "T2: TCP port 80 or 443",
        TaskName::T3 => "T3: per destination and second",
        TaskName::T4 => "T4: TCP flows",
        TaskName::T5 => "T5: HTTP/1 in payloads of port 80",
        TaskName::T8 => "T8: twenty filters",
        TaskName::Wide => "wide: a hundred filters",
    }
}

/// Short name, as on the command line.
pub fn short(task: TaskName) -> &'static str {
    match task {
        TaskName::T1 => "t1",
        TaskName::T2 => "t2",
        TaskName::T3 => "t3",
        TaskName::T4 => "t4",
        TaskName::T5 => "t5",
        TaskName::T8 => "t8",
        TaskName::Wide => "wide",
    }
}
