//! What the planner claims of the order of a column is true of its values.
//!
//! Imputation assumes that clocks do not step back (the declaration of `time`) and that nothing overflows (gsql.md §6); the
//! captures and expressions are chosen so.

use std::path::PathBuf;

use proptest::prelude::*;
use wt_catalog::{Catalog, Ordering, Value};
use wt_tests::answers::{Answer, Ending, ask, batch_text, run_bytes};
use wt_tests::corpus;
use wt_tests::run::Setup;
use wt_tests::synthetic::{Datagram, capture};
use wt_wire::CaptureReader;

/// Every column of each is looked at. The batch is one program, so that queries read each other too.
const QUERIES: &[(&str, &str)] = &[
    ("q00", "SELECT time, timestamp, len, caplen FROM packet"),
    (
        "q01",
        "SELECT time/60 AS tb, time*2 AS twice, time+5 AS later, time%60 AS second FROM packet",
    ),
    ("q02", "SELECT timestamp/1s AS s, timestamp/100ms AS tenth, timestamp AS t FROM packet"),
    ("q03", "SELECT 1 AS one, 'x' AS x, time FROM packet WHERE len > 60"),
    ("q04", "SELECT ULLONG(time) AS wide, FLOAT(time) AS real, INT(time) AS signed FROM packet"),
    (
        "q05",
        "SELECT time >> 3 AS eighth, time << 1 AS twice, time & 7 AS low, time | 1 AS odd FROM packet",
    ),
    ("q06", "SELECT -ULLONG(time) AS negated, 100000 - time AS back FROM packet"),
    ("q07", "SELECT time + time AS sum, time - time AS nothing, time * len AS product FROM packet"),
    (
        "q08",
        "SELECT non_temporal(time) AS t, UMAX(time, len) AS larger, time/60*60 AS minute FROM packet",
    ),
    ("q09", "SELECT CASE WHEN len > 100 THEN time ELSE time + 1 END AS chosen, time FROM packet"),
    ("q10", "SELECT time, srcIP, destIP, protocol FROM ip"),
    ("q11", "SELECT time, srcPort, seq, tsval FROM tcp"),
    (
        "q12",
        "SELECT tb, count(*) AS n, sum(len) AS bytes, min(time) AS first, max(time) AS last FROM packet GROUP BY time/10 AS tb",
    ),
    ("q13", "SELECT tb*10 AS second, srcIP, count(*) AS n FROM ip GROUP BY time/10 AS tb, srcIP"),
    (
        "q14",
        "SELECT tb, tb+1 AS next, -INT(tb) AS negated, n/2 AS half FROM (SELECT tb, count(*) AS n FROM packet GROUP BY time/5 AS tb) AS inner_groups",
    ),
    (
        "q15",
        "SELECT tb, srcIP, destIP, count(*) AS n FROM ip GROUP BY time/10 AS tb, CUBE(srcIP, destIP)",
    ),
    (
        "q16",
        "SELECT tb, srcIP, protocol, sum(len) AS bytes FROM ip GROUP BY time/10 AS tb, ROLLUP(srcIP, protocol)",
    ),
    ("q17", "SELECT tb, t2, count(*) AS n FROM packet GROUP BY time/60 AS tb, time/10 AS t2"),
    (
        "q18",
        "SELECT tb, len, count(*) AS n FROM packet GROUP BY time/10 AS tb, len ORDER BY n DESC, len LIMIT 3",
    ),
    ("q19", "SELECT DISTINCT time/10 AS tb, len FROM packet"),
    ("q20", "SELECT time, len FROM q00 WHERE len > 70"),
    ("q21", "SELECT tb, max(bytes) AS most FROM q13b GROUP BY second/60 AS tb"),
    (
        "q13b",
        "SELECT tb*10 AS second, srcIP, sum(len) AS bytes FROM ip GROUP BY time/10 AS tb, srcIP",
    ),
    ("q22", "MERGE q23.time : q24.time FROM q23, q24"),
    ("q23", "SELECT time, timestamp, len FROM packet WHERE len > 80"),
    ("q24", "SELECT time, timestamp, len FROM packet WHERE len <= 80"),
    ("q25", "SELECT tb, count(*) AS n, avg(len) AS mean FROM q22 GROUP BY time/10 AS tb"),
    ("q26", "MERGE q23.timestamp : q24.timestamp FROM q23, q24"),
    (
        "q27",
        "SELECT time AS t, time AS again, (time + 1) * 3 AS scaled, (time + 1) * 3 / 2 AS part FROM udp",
    ),
    ("q28", "SELECT time, destIP, destPort FROM udp WHERE destPort IN [53, 80, 443, 4789]"),
    (
        "q29",
        "SELECT timestamp/1m AS minute, protocol, count_distinct(srcIP) AS hosts FROM ip GROUP BY timestamp/1m AS minute, protocol",
    ),
    (
        "q30",
        "SELECT 7 - 3 AS four, time - 3 AS earlier, 5 * time AS five, time * 0 AS zero FROM packet",
    ),
];

/// Carried captures whose clock does not step back.
fn monotone() -> Vec<PathBuf> {
    let forward = |path: &PathBuf| {
        let Ok(mut reader) = CaptureReader::open(path) else { return false };
        let (mut newest, mut any) = (0, false);
        while let Ok(Some(record)) = reader.next() {
            // The first and last seconds of the epoch are where arithmetic wraps.
            let second = record.timestamp_ns / 1_000_000_000;
            if record.timestamp_ns < newest || !(100..=2_000_000_000).contains(&second) {
                return false;
            }
            (newest, any) = (record.timestamp_ns, true);
        }
        any
    };
    corpus::carried().into_iter().filter(forward).collect()
}

/// Whether values keep an order; the message says where they do not.
fn holds(ordering: &Ordering, values: &[&Value]) -> Result<(), String> {
    let pairs = || values.windows(2).map(|pair| (pair[0], pair[1]));
    let all = |keeps: fn(std::cmp::Ordering) -> bool| match pairs()
        .find(|(a, b)| !keeps(a.total_cmp(b)))
    {
        Some((a, b)) => Err(format!("{b:?} follows {a:?}")),
        None => Ok(()),
    };
    match ordering {
        Ordering::Varying => Ok(()),
        Ordering::Constant => all(|o| o.is_eq()),
        Ordering::Increasing => all(|o| o.is_le()),
        Ordering::StrictlyIncreasing => all(|o| o.is_lt()),
        Ordering::Decreasing => all(|o| o.is_ge()),
        Ordering::StrictlyDecreasing => all(|o| o.is_gt()),
        Ordering::NonRepeating => {
            let mut sorted: Vec<&Value> = values.to_vec();
            sorted.sort_by(|a, b| a.total_cmp(b));
            match sorted.windows(2).find(|pair| pair[0].total_cmp(pair[1]).is_eq()) {
                Some(pair) => Err(format!("{:?} comes twice", pair[0])),
                None => Ok(()),
            }
        }
        Ordering::BandedIncreasing(band) => {
            let mut newest = i128::MIN;
            for value in values {
                let number = value.as_i128().ok_or_else(|| format!("{value:?} is no number"))?;
                if number + i128::from(*band) < newest {
                    return Err(format!("{number} is more than {band} behind {newest}"));
                }
                newest = newest.max(number);
            }
            Ok(())
        }
        // Checked where the group is among the columns.
        Ordering::IncreasingInGroup(_) => Ok(()),
    }
}

fn columns_hold(answer: &Answer) -> Result<(), String> {
    for (i, column) in answer.schema.columns.iter().enumerate() {
        let values: Vec<&Value> = answer.rows.iter().map(|row| &row[i]).collect();
        holds(&column.ordering, &values)
            .map_err(|e| format!("{} is {:?}, but {e}", column.name, column.ordering))?;
        let Ordering::IncreasingInGroup(names) = &column.ordering else { continue };
        let at = |name: &String| answer.schema.columns.iter().position(|c| c.name == *name);
        let Some(group) = names.iter().map(at).collect::<Option<Vec<usize>>>() else { continue };
        let key =
            |row: &[Value]| group.iter().map(|g| format!("{:?}", row[*g])).collect::<Vec<_>>();
        for row in &answer.rows {
            let same: Vec<&Value> =
                answer.rows.iter().filter(|r| key(r) == key(row)).map(|r| &r[i]).collect();
            holds(&Ordering::Increasing, &same)
                .map_err(|e| format!("{} in {names:?}: {e}", column.name))?;
        }
    }
    Ok(())
}

#[test]
fn claims_hold_on_real_captures() {
    let text = batch_text(QUERIES.iter().copied());
    let captures = monotone();
    assert!(captures.len() >= 20, "{} captures never step back", captures.len());
    let mut rows = 0;
    for path in captures {
        let answers = ask(&path, &text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for (name, answer) in &answers.results {
            columns_hold(answer).unwrap_or_else(|e| panic!("{}, {name}: {e}", path.display()));
            rows += answer.rows.len();
        }
    }
    assert!(rows > 10_000, "{rows} rows were looked at");
}

/// Claims that the tables of gsql.md §6 print must be made at all.
#[test]
fn what_is_ordered_is_claimed() {
    let setup = Setup::default();
    let text = batch_text(QUERIES.iter().copied());
    let compiled = setup.compile(&Catalog::builtin(), &text, true).expect("a plan");
    let claimed = |query: &str, column: &str| {
        let output = compiled.physical.outputs.iter().find(|o| o.query == query).expect("a query");
        let found = output.schema.columns.iter().find(|c| c.name == column).expect("a column");
        found.ordering.clone()
    };
    for (query, column) in [
        ("q00", "time"),
        ("q00", "timestamp"),
        ("q01", "tb"),
        ("q01", "twice"),
        ("q01", "later"),
        ("q02", "tenth"),
        ("q04", "wide"),
        ("q05", "eighth"),
        ("q05", "twice"),
        ("q07", "sum"),
        ("q12", "tb"),
        ("q13", "second"),
        ("q20", "time"),
        ("q21", "tb"),
        ("q22", "time"),
        ("q25", "tb"),
        ("q26", "timestamp"),
        ("q30", "earlier"),
        ("q30", "five"),
    ] {
        let ordering = claimed(query, column);
        assert!(ordering.implies(&Ordering::Increasing), "{query}.{column} is {ordering:?}");
    }
    for (query, column) in [("q06", "negated"), ("q06", "back")] {
        let ordering = claimed(query, column);
        assert!(ordering.implies(&Ordering::Decreasing), "{query}.{column} is {ordering:?}");
    }
    for (query, column) in [
        ("q01", "second"),
        ("q05", "low"),
        ("q07", "product"),
        ("q08", "t"),
        ("q10", "srcIP"),
        ("q12", "n"),
        ("q15", "srcIP"),
        ("q22", "timestamp"),
    ] {
        assert_eq!(claimed(query, column), Ordering::Varying, "{query}.{column}");
    }
    assert_eq!(claimed("q03", "one"), Ordering::Constant);
    assert_eq!(claimed("q30", "zero"), Ordering::Constant);
}

// ── Random expressions ──────────────────────────────────────────────────────────────────────────────────────

/// An expression over `time` and `len`.
#[derive(Clone, Debug)]
enum Formula {
    Time,
    Len,
    Number(u32),
    Binary(&'static str, Box<Formula>, Box<Formula>),
}

impl Formula {
    fn text(&self) -> String {
        match self {
            Formula::Time => "time".to_owned(),
            Formula::Len => "len".to_owned(),
            Formula::Number(n) => n.to_string(),
            Formula::Binary(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
        }
    }

    /// Its value when nothing on the way leaves 0 to 2^31.
    fn value(&self, time: i64, len: i64) -> Option<i64> {
        let value = match self {
            Formula::Time => time,
            Formula::Len => len,
            Formula::Number(n) => i64::from(*n),
            Formula::Binary(op, a, b) => {
                let (a, b) = (a.value(time, len)?, b.value(time, len)?);
                match *op {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a.checked_mul(b)?,
                    "/" => a.checked_div(b)?,
                    "%" => a.checked_rem(b)?,
                    "<<" => a.checked_shl(u32::try_from(b).ok().filter(|b| *b < 31)?)?,
                    ">>" => a.checked_shr(u32::try_from(b).ok().filter(|b| *b < 31)?)?,
                    "&" => a & b,
                    _ => a | b,
                }
            }
        };
        (0..1 << 31).contains(&value).then_some(value)
    }
}

fn formula() -> impl Strategy<Value = Formula> {
    let leaf = prop_oneof![
        4 => Just(Formula::Time),
        1 => Just(Formula::Len),
        4 => (1_u32..6).prop_map(Formula::Number),
        1 => Just(Formula::Number(5000)),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "<<", ">>", "&", "|"]);
        (op, inner.clone(), inner)
            .prop_map(|(op, a, b)| Formula::Binary(op, Box::new(a), Box::new(b)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn claims_hold_for_any_expression(formula in formula(), steps in prop::collection::vec((0_u64..4, 0_u16..200), 2..30)) {
        let mut clock = 50;
        let mut datagrams = Vec::new();
        for (step, payload) in steps {
            clock += step;
            datagrams.push(Datagram {
                timestamp_ns: clock * 1_000_000_000,
                source: [10, 0, 0, 1].into(),
                port: 9,
                ttl: 64,
                payload,
            });
        }
        let of = |d: &Datagram| formula.value((d.timestamp_ns / 1_000_000_000) as i64, d.wire_len() as i64);
        let values: Option<Vec<i64>> = datagrams.iter().map(of).collect();
        prop_assume!(values.is_some());
        let text = format!("DEFINE {{ query_name q; }} SELECT {} AS e, time AS t FROM packet", formula.text());
        // A literal divisor of zero is refused; nothing is claimed then.
        let Ok(compiled) = Setup::default().compile(&Catalog::builtin(), &text, true) else {
            prop_assume!(false);
            return Ok(());
        };
        let ending = run_bytes(&compiled.physical, "made", capture(&datagrams));
        let Ending::Answered(answers) = ending else {
            return Err(TestCaseError::fail(format!("{ending:?}")));
        };
        let answer = answers.answer("q");
        columns_hold(answer).map_err(|e| TestCaseError::fail(format!("{}: {e}", formula.text())))?;
        let ours: Vec<Option<i128>> = answer.rows.iter().map(|row| row[0].as_i128()).collect();
        let theirs: Vec<Option<i128>> =
            values.into_iter().flatten().map(|v| Some(i128::from(v))).collect();
        prop_assert_eq!(ours, theirs, "{}", formula.text());
    }
}
