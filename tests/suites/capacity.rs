//! Capacity at the command line: predictions from a fixed table of costs, flows counted in a capture, refusals with their arithmetic, and
//! wrong arguments. Nothing here depends on how fast the machine is.

use std::fmt::Write as _;

use wt_catalog::{Catalog, Type, Value};
use wt_engine::{CompiledLfta, LftaBackend, Memory, PathsWanted, Readers};
use wt_plan::ir::{LftaAction, LftaQuery};
use wt_plan::physical::{HftaOp, StreamRef};
use wt_plan::shape;
use wt_tests::corpus::Scratch;
use wt_tests::program::{Outcome, capture_argument, run};
use wt_tests::run::Setup;

const COSTS: &str = "tests/costs.toml";

const FLOWS: &str = "SELECT tb, srcIP, destIP, count(*), sum(len) FROM ip \
                     GROUP BY time/1 AS tb, srcIP, destIP";

const BATCH: &str = "DEFINE { query_name talkers; } SELECT tb, srcIP, sum(len) AS bytes FROM ip \
                     GROUP BY time/1 AS tb, srcIP ORDER BY bytes DESC LIMIT 10; \
                     DEFINE { query_name rows; } SELECT timestamp, srcIP, destIP FROM tcp WHERE destPort = 443; \
                     DEFINE { query_name gets; } SELECT count(*) FROM tcp \
                     WHERE destPort = 80 AND str_regex_match[data, '^GET ']";

fn explain(arguments: &[&str]) -> Outcome {
    run([&["explain", "--calibration", COSTS, "--cores", "2"], arguments].concat())
}

/// What follows the plan.
fn capacity_of(outcome: &Outcome) -> &str {
    outcome.stdout.split_once("\ncapacity\n").map_or("", |(_, capacity)| capacity)
}

#[test]
fn predictions_and_refusals_are_as_written() {
    let mut actual = String::new();
    let mut show = |title: &str, outcome: &Outcome| {
        let said = outcome.stderr.trim_end();
        let _ = write!(actual, "# {title}\n\n{}", capacity_of(outcome));
        let _ = writeln!(actual, "{said}{}", if said.is_empty() { "" } else { "\n" });
    };
    let eth0 = capture_argument("eth0.pcap");
    for (title, arguments) in [
        ("Totals", vec!["--capacity", "SELECT count(*), sum(len) FROM packet"]),
        ("Groups, at a rate of packets", vec!["--rate", "10Mpps", "--groups", "100k", FLOWS]),
        ("A batch, at a rate of bits", vec!["--rate", "40Gbit/s", "--packet-bytes", "1000", BATCH]),
        ("Counted in a capture", vec!["--capacity", "-r", &eth0, BATCH]),
        (
            "A cube, whose groups are kept above",
            vec![
                "--capacity",
                "SELECT t, srcIP, destPort, count_distinct(len) FROM tcp GROUP BY time/1 AS t, CUBE(srcIP, destPort)",
            ],
        ),
        (
            "Assumptions of one's own",
            vec![
                "--matched",
                "0.02",
                "--window-packets",
                "5M",
                "SELECT tb, destIP, count(*) FROM tcp WHERE destPort = 443 GROUP BY time/1 AS tb, destIP",
            ],
        ),
        (
            "A window that every packet moves",
            vec![
                "--capacity",
                "DEFINE { real_time yes; } SELECT t, count(*) FROM tcp WHERE syn GROUP BY time/1 AS t",
            ],
        ),
    ] {
        show(title, &explain(&arguments).expect_status(0));
    }
    for (title, arguments) in [
        ("Too many packets for all together", vec!["--capacity=15Mpps", BATCH]),
        ("Too many packets for one query", vec!["--capacity=100Gbit/s", FLOWS]),
        ("Too many groups", vec!["--capacity=1kpps", "--groups", "50M", FLOWS]),
        ("Too little memory", vec!["--capacity=1kpps", "--memory", "512KiB", FLOWS]),
    ] {
        show(title, &explain(&arguments).expect_status(1));
    }
    let path = wt_tests::tests_dir().join("golden/capacity.txt");
    if wt_tests::update_mode() {
        std::fs::write(&path, &actual).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "UPDATE=1 rewrites {}", path.display());
}

#[test]
fn a_rate_is_checked_before_a_query_runs() {
    let capture = capture_argument("eth0.pcap");
    let query = |capacity: &str, more: &[&str]| {
        let given =
            ["query", FLOWS, "-r", &capture, "--calibration", COSTS, "--capacity", capacity];
        run([&given, more].concat())
    };
    let plain = run(["query", FLOWS, "-r", &capture]).expect_status(0);
    assert_eq!(query("1kpps", &[]).expect_status(0).expect_quiet().stdout, plain.stdout);
    query("1Gpps", &[]).expect_status(1).expect_no_output().expect_said("does not fit");
    // Beyond one core, within four.
    query("10Mpps", &["--cores", "1"]).expect_status(1).expect_said("of the 1 core there are");
    query("10Mpps", &["--cores", "64"]).expect_status(0);
    query("1kpps", &["--memory", "4KiB", "--groups", "1M"])
        .expect_status(1)
        .expect_no_output()
        .expect_said("of the 4 KiB allowed");
}

#[test]
fn a_batch_file_says_what_it_has_to_carry() {
    let scratch = Scratch::new().expect("a folder");
    let costs = wt_tests::tests_dir().join("costs.toml");
    let capture = wt_tests::capture("eth0.pcap");
    let file = scratch.path("batch.toml");
    let write = |capacity: &str, groups: u32| {
        let text = format!(
            "capacity = '{capacity}'\ncalibration = '{}'\n[traffic]\ngroups = {groups}\n\
             [[source]]\ntraces = ['{}']\n[[query]]\n\
             text = 'SELECT srcIP, destIP, count(*) FROM ip GROUP BY srcIP, destIP'\n",
            costs.display(),
            capture.display()
        );
        std::fs::write(&file, text).expect("the batch is written");
        let file = file.display().to_string();
        move |more: &[&str]| run([&["run", &file, "--cores", "2"], more].concat())
    };
    let refused = |outcome: Outcome| {
        outcome.expect_status(1).expect_no_output().expect_said("does not fit");
    };
    write("1kpps", 1000)(&[]).expect_status(0).expect_quiet();
    refused(write("1Gpps", 1000)(&[]));
    // Memory.
    refused(write("1kpps", 100_000_000)(&[]));
    // The command line goes before the file.
    write("1Gpps", 1000)(&["--capacity", "1kpps"]).expect_status(0);
    refused(write("1kpps", 1000)(&["--capacity", "1Gpps"]));
    refused(write("1kpps", 1000)(&["--groups", "100M"]));
    write("soon", 1000)(&[]).expect_status(1).expect_said("not a rate");
    write("1kpps", 0)(&[]).expect_status(1).expect_said("traffic.groups");
}

#[test]
fn analyze_shows_what_was_predicted_and_what_there_was() {
    let capture = capture_argument("eth0.pcap");
    let analyzed = explain(&["--analyze", "-r", &capture, BATCH]).expect_status(0).expect_quiet();
    let text = capacity_of(&analyzed);
    for part in
        ["records of default", "measured ", "ratio ", "HFTA sort talkers", "in all", "estimated  "]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    // The plan is there, the rows are not.
    assert!(analyzed.stdout.contains("LFTA aggregate _fta_talkers on default.ip"));
    assert!(!analyzed.stdout.contains("192.168."), "{}", analyzed.stdout);
    let count = run(["query", "SELECT count(*) AS n FROM packet", "-r", &capture]).stdout;
    let count = count.trim_start_matches("n\n").trim_end().replace(',', "");
    let records = text.lines().find(|line| line.contains("records of")).expect("a line");
    assert!(records.replace(',', "").contains(&count), "{records}");
}

#[test]
fn json_has_the_same_numbers() {
    let capture = capture_argument("eth0.pcap");
    let json = explain(&["--analyze", "--json", "-r", &capture, BATCH]).expect_status(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let number = |of: &serde_json::Value| of.as_f64().expect("a number");
    let sum: f64 = json["predicted"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| number(&node["ns_per_packet"]))
        .sum();
    assert!((sum - number(&json["predicted"]["ns_per_packet"])).abs() < 1e-6);
    let costs = json["table"].as_object().expect("costs");
    let work = json["predicted"]["work"].as_object().expect("work");
    let by_hand: f64 = work.iter().map(|(kind, n)| number(n) * number(&costs[kind])).sum();
    assert!((sum - by_hand).abs() < 1e-6, "{sum} and {by_hand}");
    assert!(number(&json["measured"]["ns_per_packet"]) > 0.0);
}

#[test]
fn wrong_arguments_are_refused() {
    let text = "SELECT count(*) FROM packet";
    for (arguments, said) in [
        (vec!["--rate", "fast", text], "not a rate"),
        (vec!["--rate", "0pps", text], "above 0"),
        (vec!["--rate", "-1Mpps", text], "-1"),
        (vec!["--rate", "99999Tbit/s", text], "1000 Tbit/s"),
        (vec!["--capacity=10", text], "not a rate"),
        (vec!["--capacity=0", text], "not a rate"),
        (vec!["--capacity=0Gbit/s", text], "above 0"),
        (vec!["--capacity=10Mhz", text], "not a rate"),
        (vec!["--capacity", "--groups", "0", text], "from 1"),
        (vec!["--capacity", "--groups", "lots", text], "from 1"),
        (vec!["--capacity", "--packet-bytes", "0", text], "0"),
        (vec!["--capacity", "--packet-bytes", "9999999", text], "9999999"),
        (vec!["--capacity", "--window-packets", "1e9", text], "1e9"),
        (vec!["--capacity", "--matched", "1.5", text], "share"),
        (vec!["--analyze", text], "-r, or a store with --store"),
    ] {
        let outcome = explain(&arguments);
        assert_ne!(outcome.status, 0, "{arguments:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    for cores in ["0", "-1", "many", "100000"] {
        let outcome = run(["explain", "--capacity", "--cores", cores, text]);
        assert_ne!(outcome.status, 0, "{cores}");
    }
    let capture = capture_argument("eth0.pcap");
    run(["query", text, "-r", &capture, "--groups", "5"])
        .expect_status(1)
        .expect_no_output()
        .expect_said("--capacity 10Mpps");
    run(["query", text, "-r", &capture, "--capacity", "0"])
        .expect_status(2)
        .expect_no_output()
        .expect_said("not a rate");
    explain(&["--analyze", "-r", "no-such-file.pcap", text]).expect_status(2);
    let empty = capture_argument("generated/no-packets.pcap");
    explain(&["--analyze", "-r", &empty, text]).expect_status(1).expect_said("no packets");
}

#[test]
fn a_table_of_costs_that_is_none_is_refused() {
    let scratch = Scratch::new().expect("a folder");
    let good = std::fs::read_to_string(wt_tests::tests_dir().join("costs.toml")).expect("costs");
    let with = |name: &str, text: &str| {
        let path = scratch.path(name);
        std::fs::write(&path, text).expect("a table is written");
        let path = path.display().to_string();
        run(["explain", "--capacity", "--calibration", &path, "SELECT count(*) FROM packet"])
    };
    with("good.toml", &good).expect_status(0);
    for (name, text, said) in [
        ("empty.toml", String::new(), "missing"),
        ("syntax.toml", "record = = 3".to_owned(), "not TOML"),
        ("negative.toml", good.replace("\nheader = 2\n", "\nheader = -2\n"), "`header` is -2"),
        ("nan.toml", good.replace("\nheader = 2\n", "\nheader = nan\n"), "`header` is nan"),
        ("absurd.toml", good.replace("\nheader = 2\n", "\nheader = 1e30\n"), "`header`"),
        ("text.toml", good.replace("\nheader = 2\n", "\nheader = 'two'\n"), "`header`"),
        ("lacking.toml", good.replace("\nheader = 2\n", "\n"), "`header` is missing"),
        ("unknown.toml", good.replace("\nheader = 2\n", "\nheaders = 2\n"), "`headers` is no kind"),
        (
            "yardstick.toml",
            good.replace("yardstick_ns = 100.0", "yardstick_ns = 0"),
            "yardstick_ns",
        ),
    ] {
        with(name, &text).expect_status(1).expect_no_output().expect_said(said).expect_said(name);
    }
    std::fs::write(scratch.path("bytes.toml"), [0xff, 0xfe, 0x00]).expect("bytes");
    let bytes = scratch.path("bytes.toml").display().to_string();
    run(["explain", "--capacity", "--calibration", &bytes, "SELECT count(*) FROM packet"])
        .expect_status(1)
        .expect_said("not text");
    run(["explain", "--capacity", "--calibration", "no-such.toml", "SELECT count(*) FROM packet"])
        .expect_status(2)
        .expect_said("no-such.toml");
}

#[test]
fn the_shipped_costs_are_scaled_to_this_machine() {
    let outcome = run(["explain", "--capacity", "SELECT count(*) FROM packet"]).expect_status(0);
    let text = capacity_of(&outcome);
    assert!(text.contains("those shipped, of ") && text.contains("a fixed run takes"), "{text}");
}

/// The model says what becomes of the tuples of an LFTA; the engine decides it.
#[test]
fn the_model_has_the_shapes_of_the_engine() {
    let catalog = Catalog::builtin();
    let mut compared = 0;
    for text in [
        "SELECT count(*), sum(len) FROM packet",
        "SELECT tb, srcIP, count(*) FROM ip GROUP BY time/1 AS tb, srcIP",
        "SELECT tb, srcIP, destIP, srcPort, destPort, max(len), min(ttl) FROM tcp GROUP BY time/1 AS tb, srcIP, destIP, srcPort, destPort",
        "SELECT tb, avg(len) FROM ip GROUP BY time/1 AS tb",
        "SELECT srcIP, min(timestamp), or_aggr(flags) FROM tcp GROUP BY srcIP",
        "SELECT p, count(*) FROM tcp GROUP BY prefix(srcIP, 24) AS p",
        "SELECT data, count(*) FROM tcp GROUP BY data",
        "SELECT tb, sum(FLOAT(len)) FROM packet GROUP BY time/1 AS tb",
        "SELECT min(srcIP), max(destIP) FROM ipv4",
        "SELECT min(srcIP) FROM ip",
        "SELECT time, len, count(*) FROM packet GROUP BY time, len",
        "SELECT t, u, count(*) FROM packet GROUP BY time/60 AS t, time/1 AS u",
        "DEFINE { aggregate_slots 64; } SELECT srcIP, count(*) FROM ip GROUP BY srcIP",
        "DEFINE { max_lfta_disorder 3; } SELECT tb, count(*) FROM ip GROUP BY time/1 AS tb",
        "DEFINE { real_time yes; } SELECT tb, count(*) FROM ip WHERE ttl > 3 GROUP BY time/1 AS tb",
        "SELECT tb, eth_src, count(*) FROM eth GROUP BY time/1 AS tb, eth_src",
        "SELECT tb, srcIP, sum(len), count_distinct(destIP) FROM ip GROUP BY time/1 AS tb, srcIP",
    ] {
        let compiled = Setup::default().compile(&catalog, text, true).expect(text);
        let plan = &compiled.physical;
        let program = &plan.interfaces[0].program;
        let is_fixed = |(number, query): (usize, &LftaQuery)| {
            let stream = StreamRef::Lfta { interface: 0, query: number as u32 };
            let is_completed = plan.nodes.iter().any(|node| {
                node.inputs.contains(&stream)
                    && matches!(&node.op, HftaOp::Aggregate(a) if a.over_partials)
            });
            let has_floats = matches!(&query.action, LftaAction::Aggregate { aggs, .. }
                if aggs.iter().any(|agg| agg.ty == Type::Float));
            !is_completed || has_floats
        };
        let fixed: Vec<bool> = program.queries.iter().enumerate().map(is_fixed).collect();
        let params: Vec<Value> = Vec::new();
        let mut memory = Memory::new(None);
        let readers = Readers { fixed: &fixed, ..Readers::default() };
        let paths = PathsWanted::Likely;
        let engine = CompiledLfta::new(program, &params, readers, paths, 1, &mut memory);
        let engine = engine.unwrap_or_else(|why| panic!("{text}: {why:?}"));
        for query in 0..program.queries.len() {
            let shape = shape::shape(plan, 0, query);
            let whole = engine.sends_whole_groups(query as u32);
            assert_eq!(shape.sends_whole_groups(), whole, "{text}: {shape:?}");
            compared += 1;
        }
    }
    assert!(compared >= 12, "{compared} compared");
}
