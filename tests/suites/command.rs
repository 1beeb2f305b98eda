//! The command as a user meets it: exit status, streams, formats, inputs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use wt_tests::corpus::Scratch;
use wt_tests::program::{
    Outcome, binary, capture_argument, outcome, root, run, run_with_input, wiretable,
};

const COUNT: &str = "SELECT count(*) AS n FROM packet";
const SEGMENTS: &str = "SELECT time, srcIP, destIP, destPort FROM tcp WHERE IPVersion = 4";

fn query(text: &str, capture: &str, more: &[&str]) -> Outcome {
    let capture = capture_argument(capture);
    run([&["query", text, "-r", &capture], more].concat())
}

/// Records of each generated and damaged capture, by the script that writes them.
fn records_meant() -> BTreeMap<String, u64> {
    let output = Command::new("python3")
        .args(["generate.py", "--list"])
        .current_dir(wt_tests::tests_dir().join("captures"))
        .output()
        .expect("python3 runs: .ci/setup installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('\t');
            Some((cells.next()?.to_owned(), cells.next()?.parse().ok()?))
        })
        .collect()
}

fn counted(outcome: &Outcome) -> Option<u64> {
    outcome.stdout.strip_prefix("n\n")?.trim_end().parse().ok()
}

// ── Queries that are refused ────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_wrong_query_is_shown_with_a_caret() {
    let wrong = query("SELECT srcPrt FROM tcp", "generated/tcp-flags.pcap", &[])
        .expect_status(1)
        .expect_no_output()
        .expect_said("srcPrt")
        .expect_said("srcPort")
        .expect_said("^");
    assert!(!wrong.stderr.contains('\x1b'), "colour without a terminal: {:?}", wrong.stderr);
}

#[test]
fn several_mistakes_are_reported_at_once() {
    for text in [
        "SELECT nope FROM tcp; SELECT len FROM nosuch; SELECT len FROM packet WHERE len = 'x'",
        "SELECT len FORM packet; SELECT count(* FROM udp",
    ] {
        let wrong = query(text, "generated/ports.pcap", &[]).expect_status(1).expect_no_output();
        assert!(wrong.stderr.matches("error[").count() >= 2, "{}", wrong.stderr);
    }
}

#[test]
fn a_wrong_query_is_found_before_the_trace_is_opened() {
    query("SELECT nope FROM tcp", "no-such-file.pcap", &[]).expect_status(1).expect_said("nope");
}

#[test]
fn an_unknown_result_or_parameter_is_refused() {
    query(COUNT, "generated/ports.pcap", &["--result", "nope"])
        .expect_status(1)
        .expect_no_output()
        .expect_said("nope");
    query(COUNT, "generated/ports.pcap", &["-p", "nope"]).expect_status(1).expect_no_output();
    query(
        "PARAM { low uint; } SELECT len FROM packet WHERE len > $low",
        "generated/ports.pcap",
        &[],
    )
    .expect_status(1)
    .expect_no_output()
    .expect_said("low");
}

#[test]
fn parameters_are_taken() {
    let text = "PARAM { low uint; } SELECT count(*) AS n FROM packet WHERE len > $low";
    let none = query(text, "generated/ports.pcap", &["-p", "low=100000"]).expect_status(0);
    assert_eq!(counted(&none), Some(0));
    let all = query(text, "generated/ports.pcap", &["-p", "low=0"]).expect_status(0);
    assert_eq!(all.stdout, query(COUNT, "generated/ports.pcap", &[]).stdout);
}

// ── Traces that are refused, or break ───────────────────────────────────────────────────────────────────────

#[test]
fn a_missing_file_is_a_matter_of_the_environment() {
    query(COUNT, "no-such-file.pcap", &[])
        .expect_status(2)
        .expect_no_output()
        .expect_said("no-such-file.pcap");
    // A folder is no file.
    query(COUNT, "generated", &[]).expect_status(2).expect_no_output();
    query(COUNT, "no-such-file.pcap", &["--lenient"]).expect_status(2);
}

#[test]
fn what_is_no_capture_is_refused() {
    for name in ["text.pcap", "empty.pcap", "unknown-magic.pcap", "header-cut.pcap"] {
        let capture = format!("damaged/{name}");
        query(COUNT, &capture, &[]).expect_status(1).expect_said(name);
        let lenient = query(COUNT, &capture, &["--lenient"]).expect_status(0).expect_said(name);
        assert_eq!(counted(&lenient), Some(0), "{name}");
    }
}

#[test]
fn records_before_damage_are_used_and_the_damage_is_placed() {
    let mut compared = 0;
    for (capture, records) in
        records_meant().iter().filter(|(name, _)| name.starts_with("damaged/"))
    {
        let strict = query(COUNT, capture, &["--ledger"]);
        let lenient = query(COUNT, capture, &["--lenient"]).expect_status(0);
        assert_eq!(counted(&lenient), Some(*records), "{capture}: {}", lenient.stderr);
        let strict = strict.expect_status(1);
        if *records > 0 {
            assert_eq!(counted(&strict), Some(*records), "{capture}");
            assert!(strict.stderr.contains("byte "), "{capture}: {}", strict.stderr);
            assert!(strict.stderr.contains("--lenient"), "{capture}: {}", strict.stderr);
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared} damaged captures have records");
}

#[test]
fn every_generated_record_is_counted() {
    for (capture, records) in
        records_meant().iter().filter(|(name, _)| name.starts_with("generated/"))
    {
        let all = query(COUNT, capture, &[]).expect_status(0).expect_quiet();
        assert_eq!(counted(&all), Some(*records), "{capture}");
    }
}

#[test]
fn a_trace_beside_a_broken_one_is_used() {
    let good = capture_argument("generated/ports.pcap");
    let broken = capture_argument("damaged/record-cut.pcap");
    let of = |captures: &[&str], more: &[&str]| {
        let mut arguments = vec!["query", COUNT];
        captures.iter().for_each(|c| arguments.extend(["-r", c]));
        arguments.extend(more);
        run(arguments)
    };
    let one = counted(&of(&[&good], &[])).expect("a count");
    let cut = counted(&of(&[&broken], &["--lenient"])).expect("a count");
    let both = of(&[&good, &broken], &[]).expect_status(1).expect_said("record-cut.pcap");
    assert_eq!(counted(&both), Some(one + cut));
}

// ── Formats ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_formats_say_the_same() {
    let of = |format| {
        query(SEGMENTS, "generated/ports.pcap", &["--format", format])
            .expect_status(0)
            .expect_quiet()
            .stdout
    };
    let csv = of("csv");
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a header").split(',').collect();
    assert_eq!(names, ["time", "srcIP", "destIP", "destPort"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.len() > 2, "{csv}");

    let json: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&of("json")).expect("JSON");
    let ndjson: Vec<serde_json::Map<String, serde_json::Value>> =
        of("ndjson").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json, ndjson);
    assert_eq!(json.len(), rows.len());
    for (object, row) in json.iter().zip(&rows) {
        assert_eq!(object.len(), names.len());
        for (name, cell) in names.iter().zip(row) {
            let value = &object[*name];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(text, *cell, "{name}");
        }
        assert!(object["time"].is_u64() && object["destIP"].is_string());
    }

    let table = of("table");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), names);
    assert!(lines[1].chars().all(|c| c == '─' || c == ' '), "{}", lines[1]);
    for (line, row) in lines[2..].iter().zip(&rows) {
        assert_eq!(&line.split_whitespace().collect::<Vec<_>>(), row);
    }
}

#[test]
fn csv_is_quoted_where_it_must_be() {
    let text = "SELECT CASE WHEN len > 0 THEN 'a,\"b' ELSE 'x' END AS s FROM packet";
    let csv = query(text, "generated/ports.pcap", &["--format", "csv"]).expect_status(0).stdout;
    assert_eq!(csv.lines().nth(1), Some("\"a,\"\"b\""));
}

#[test]
fn nothing_found_is_an_answer() {
    let text = "SELECT time, len FROM packet WHERE len > 1000000";
    let of =
        |format| query(text, "generated/ports.pcap", &["--format", format]).expect_status(0).stdout;
    assert_eq!(of("csv"), "time,len\n");
    assert_eq!(of("json").split_whitespace().collect::<String>(), "[]");
    assert_eq!(of("ndjson"), "");
    assert!(of("table").starts_with("time  len"));
}

const TWO: &str = "DEFINE { query_name segments; } SELECT count(*) AS n FROM tcp; \
                   DEFINE { query_name datagrams; } SELECT count(*) AS n FROM udp";

#[test]
fn several_results_are_told_apart() {
    let two = query(TWO, "generated/ports.pcap", &["--format", "ndjson"]).expect_status(0).stdout;
    let rows: Vec<serde_json::Value> =
        two.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 2);
    for name in ["segments", "datagrams"] {
        assert!(rows.iter().any(|r| r.to_string().contains(name)), "{two}");
    }
    let table = query(TWO, "generated/ports.pcap", &["--format", "table"]).expect_status(0).stdout;
    assert!(table.contains("-- segments") && table.contains("-- datagrams"), "{table}");
    query(TWO, "generated/ports.pcap", &["--format", "csv"])
        .expect_status(1)
        .expect_no_output()
        .expect_said("--result");
    let one = query(TWO, "generated/ports.pcap", &["--result", "segments"]).expect_status(0);
    assert!(counted(&one).is_some_and(|n| n > 0));
}

/// As many traces as a ring of rotated captures has, beyond the usual limit of open files.
#[test]
fn more_traces_are_read_than_files_may_be_open() {
    let traces = 300;
    let capture = capture_argument("generated/ports.pcap");
    let one: u64 = counted(&query(COUNT, "generated/ports.pcap", &[])).expect("a count");
    let windows = "SELECT tb, count(*) AS n FROM packet GROUP BY time/60 AS tb";
    for text in [COUNT, windows] {
        let shell = Command::new("sh")
            .args(["-c", "ulimit -S -n 100 && exec \"$@\"", "sh"])
            .arg(binary())
            .args(["query", text, "--no-progress"])
            .args((0..traces).flat_map(|_| ["-r", capture.as_str()]))
            .current_dir(root())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&shell.stderr);
        assert!(shell.status.success(), "{said}");
        let rows = String::from_utf8_lossy(&shell.stdout).into_owned();
        let counts = rows.lines().skip(1).filter_map(|row| row.split(',').next_back());
        let all: u64 = counts.map(|count| count.parse::<u64>().expect("a number")).sum();
        assert_eq!(all, traces * one, "{text}");
    }
}

#[test]
fn results_go_to_files() {
    let scratch = Scratch::new().expect("a folder");
    let file = scratch.path("deep/er/rows.json").display().to_string();
    query(SEGMENTS, "generated/ports.pcap", &["-o", &file])
        .expect_status(0)
        .expect_no_output()
        .expect_quiet();
    let rows: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("the file")).expect("JSON");
    assert!(rows.as_array().is_some_and(|rows| rows.len() > 2));

    let each = scratch.path("{query}.csv").display().to_string();
    query(TWO, "generated/ports.pcap", &["-o", &each]).expect_status(0).expect_no_output();
    for name in ["segments.csv", "datagrams.csv"] {
        let text = std::fs::read_to_string(scratch.path(name)).expect("a file per query");
        assert!(text.starts_with("n\n"), "{text}");
    }
    query(TWO, "generated/ports.pcap", &["-o", &file]).expect_status(1).expect_said("{query}");
    query(SEGMENTS, "generated/ports.pcap", &["-o", "/proc/no/rows.csv"]).expect_status(2);
    query(SEGMENTS, "generated/ports.pcap", &["-o", "/dev/full"])
        .expect_status(2)
        .expect_said("space");
}

// ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_closed_pipe_is_no_failure() {
    // More output than a pipe holds, so that the command meets its end.
    let capture = capture_argument("generated/ports.pcap");
    let mut arguments = vec!["query", "SELECT timestamp, raw, raw, raw, raw FROM packet"];
    for _ in 0..64 {
        arguments.extend(["-r", &capture]);
    }
    let mut child = wiretable(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wiretable starts");
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("the first line");
    drop(reader);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("it ends");
    assert!(line.starts_with("timestamp,"), "{line}");
    assert_eq!(said, "");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn standard_input_is_a_trace() {
    let file = wt_tests::capture("generated/ports.pcap");
    let bytes = std::fs::read(file).expect("a capture");
    let from_file = query(SEGMENTS, "generated/ports.pcap", &[]);
    let from_stdin = run_with_input(["query", SEGMENTS, "-r", "-"], &bytes).expect_status(0);
    assert_eq!(from_stdin.stdout, from_file.stdout);
    run_with_input(["query", SEGMENTS, "-r", "-", "-r", "-"], &bytes).expect_status(1);
    // Queries may come from it instead.
    let capture = capture_argument("generated/ports.pcap");
    let asked = run_with_input(["query", "-f", "-", "-r", &capture], SEGMENTS.as_bytes());
    assert_eq!(asked.expect_status(0).stdout, from_file.stdout);
}

#[test]
fn compressed_traces_are_recognised_by_content() {
    let scratch = Scratch::new().expect("a folder");
    let plain = wt_tests::capture("generated/ports.pcap");
    let expected = query(SEGMENTS, "generated/ports.pcap", &[]).stdout;
    for program in ["gzip", "zstd", "xz"] {
        let packed = Command::new(program)
            .args(["-q", "-c"])
            .arg(&plain)
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}: .ci/setup installs it"));
        assert!(packed.status.success());
        // The name says nothing.
        let file = scratch.path("packed");
        std::fs::write(&file, &packed.stdout).expect("a file");
        let file = file.display().to_string();
        let from_file = run(["query", SEGMENTS, "-r", &file]).expect_status(0);
        assert_eq!(from_file.stdout, expected, "{program}");
        let piped = run_with_input(["query", SEGMENTS, "-r", "-"], &packed.stdout);
        assert_eq!(piped.expect_status(0).stdout, expected, "{program} from standard input");
    }
}

#[test]
fn late_tuples_are_said_with_what_takes_more_of_them() {
    let late = |text: &str| query(text, "generated/time-backwards.pcap", &[]).expect_status(0);
    late("SELECT tb, count(*) AS n FROM packet GROUP BY time/60 AS tb")
        .expect_said("7 tuples came after their window had closed")
        .expect_said("max_lfta_disorder");
    late("SELECT count(*) AS n FROM packet GROUP BY SESSION(30)")
        .expect_said("5 tuples stepped back by more than the gap of SESSION");
}

/// A watchlist whose file is wrong points at the condition that reads it, before any packet; `explain` does too.
#[test]
fn a_wrong_watchlist_is_placed_in_the_query() {
    let scratch = Scratch::new().expect("a folder");
    let text = format!(
        "DEFINE {{ query_name bad; filename '{}'; refresh_interval 60; }}\n\
         WATCHLIST FIELDS {{ INET addr (key); }} ;\n\
         DEFINE {{ query_name hits; }}\nSELECT time FROM ip WHERE srcIP IN bad",
        scratch.path("none.csv").display()
    );
    query(&text, "ping.pcap", &[])
        .expect_status(1)
        .expect_said("cannot read `")
        .expect_said("none.csv`: No such file")
        .expect_said("query:4:27")
        .expect_no_output();
    run(["explain", &text]).expect_said("none.csv`: No such file");
}

#[test]
fn malformed_lines_of_a_watchlist_are_skipped_and_said() {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path("bad.csv");
    std::fs::write(&path, "192.0.2.1\n10.0.0.0/33\n0.0.0.0/0\n::/0\nx,y\n").expect("written");
    let text = format!(
        "DEFINE {{ query_name bad; filename '{}'; refresh_interval 60; }}\n\
         WATCHLIST FIELDS {{ INET addr (key); }} ;\n\
         DEFINE {{ query_name hits; }}\nSELECT count(*) FROM ip WHERE srcIP IN bad OR destIP IN bad",
        path.display()
    );
    let all = query("SELECT count(*) FROM ip", "ping.pcap", &[]).expect_quiet();
    let listed = query(&text, "ping.pcap", &[])
        .expect_status(0)
        .expect_said("skipped 2 malformed lines of a watchlist; the first: ")
        .expect_said("bad.csv:2: field `addr` is INET, and `10.0.0.0/33` is none");
    assert_eq!(listed.stdout, all.stdout);
    assert_eq!(listed.stderr.lines().count(), 1, "{}", listed.stderr);
}

#[test]
fn the_books_go_to_standard_error() {
    let plain = query(SEGMENTS, "generated/ports.pcap", &[]).expect_quiet();
    let booked = query(SEGMENTS, "generated/ports.pcap", &["--ledger"]).expect_status(0);
    assert_eq!(booked.stdout, plain.stdout);
    let rows = plain.stdout.lines().count() - 1;
    assert!(booked.stderr.contains("matched"), "{}", booked.stderr);
    assert!(booked.stderr.contains(&rows.to_string()), "{}", booked.stderr);
}

#[test]
fn colour_needs_a_terminal_that_wants_it() {
    let capture = capture_argument("generated/ports.pcap");
    let line =
        format!("'{}' query 'SELECT nope FROM tcp' -r {capture} >/dev/null", binary().display());
    // script gives the command a terminal.
    let on_terminal = |no_colour: &str| {
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]);
        script
            .current_dir(root())
            .stdin(Stdio::null())
            .env("NO_COLOR", no_colour)
            .env("TERM", "xterm");
        outcome(script.output().expect("script runs: it is part of util-linux"))
    };
    let coloured = on_terminal("").expect_status(1);
    assert!(coloured.stdout.contains("\x1b["), "{:?}", coloured.stdout);
    let plain = on_terminal("1").expect_status(1);
    assert!(!plain.stdout.contains("\x1b["), "{:?}", plain.stdout);
}

// ── Interfaces, files of queries ────────────────────────────────────────────────────────────────────────────

/// The paper's `tcpDest` set: two interfaces, two selections, one merge, and a query over it.
const TCP_DEST: &str = "\
DEFINE { query_name tcpDest0; }
SELECT time, timestamp, destIP, destPort, len FROM eth0.tcp WHERE IPVersion = 4 AND protocol = 6 ;
DEFINE { query_name tcpDest1; }
SELECT time, timestamp, destIP, destPort, len FROM eth1.tcp WHERE IPVersion = 4 AND protocol = 6 ;
DEFINE { query_name tcpDest; }
MERGE tcpDest0.timestamp : tcpDest1.timestamp FROM tcpDest0, tcpDest1 ;
DEFINE { query_name perPort; }
SELECT tb, destPort, count(*) AS n FROM tcpDest GROUP BY time/60 AS tb, destPort
";

#[test]
fn named_interfaces_feed_their_queries() {
    let (a, b) =
        (capture_argument("generated/link0.pcap"), capture_argument("generated/ports.pcap"));
    let (eth0, eth1) = (format!("eth0={a}"), format!("eth1={b}"));
    let read = ["-r", eth0.as_str(), "-r", eth1.as_str()];
    let count = |protocol: &str| {
        let text = format!("SELECT count(*) AS n FROM {protocol}");
        counted(&run([&["query", text.as_str()], &read[..]].concat()).expect_status(0))
    };
    let alone = |capture| counted(&query("SELECT count(*) AS n FROM tcp", capture, &[]));
    assert_eq!(count("eth0.tcp"), alone("generated/link0.pcap"));
    assert_eq!(count("eth1.tcp"), alone("generated/ports.pcap"));
    assert_ne!(count("eth0.tcp"), count("eth1.tcp"));
    run([&["query", "SELECT count(*) AS n FROM eth7.tcp"], &read[..]].concat())
        .expect_status(1)
        .expect_said("eth7");
}

#[test]
fn a_file_of_queries_runs_as_one_batch() {
    let scratch = Scratch::new().expect("a folder");
    let file = scratch.path("tcp_dest.gsql");
    std::fs::write(&file, TCP_DEST).expect("a file");
    let file = file.display().to_string();
    let eth0 = format!("eth0={}", capture_argument("generated/link0.pcap"));
    let eth1 = format!("eth1={}", capture_argument("generated/link1.pcap"));
    let rows = run(["query", "-f", &file, "-r", &eth0, "-r", &eth1, "--format", "csv"])
        .expect_status(0)
        .stdout;
    // Only what no other query reads is a result.
    assert_eq!(rows.lines().next(), Some("tb,destPort,n"));
    let counted: u64 =
        rows.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse::<u64>().ok()).sum();
    let alone = |capture: &str| {
        let text = "SELECT count(*) AS n FROM tcp WHERE IPVersion = 4";
        self::counted(&query(text, capture, &[])).expect("a count")
    };
    let all = alone("generated/link0.pcap") + alone("generated/link1.pcap");
    assert!(counted > 0 && counted <= all, "{counted} of {all}\n{rows}");
}

// ── The other commands ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn explain_needs_no_trace() {
    let text = "SELECT tb, destIP, count(*) AS n FROM tcp WHERE destPort = 80 GROUP BY time/60 AS tb, destIP";
    let plain = run(["explain", text]).expect_status(0).expect_quiet().stdout;
    for word in ["LFTA", "HFTA", "tb", "destPort = 80"] {
        assert!(plain.contains(word), "no `{word}` in\n{plain}");
    }
    let verbose = run(["explain", "--verbose", text]).expect_status(0).stdout;
    assert!(verbose.len() > plain.len(), "{verbose}");
    let code = run(["explain", "--code", text]).expect_status(0).stdout;
    assert_ne!(code, plain);
    run(["explain", "SELECT nope FROM tcp"]).expect_status(1).expect_no_output().expect_said("^");
    // An endless stream needs a window.
    run(["explain", "--live", "SELECT count(*) AS n FROM tcp"]).expect_status(1).expect_no_output();
    let machine = run(["explain", "--code=machine", text]).expect_status(0).stdout;
    assert!(machine.contains("machine code default, for Ethernet"), "{machine}");
    assert!(machine.contains("block0"), "{machine}");
}

#[test]
fn schema_and_functions_list_what_can_be_queried() {
    let all = run(["schema"]).expect_status(0).expect_quiet().stdout;
    for protocol in ["packet", "eth", "ipv4", "ipv6", "tcp", "udp", "vxlan", "gtpu"] {
        assert!(all.lines().any(|line| line.contains(protocol)), "no {protocol} in\n{all}");
    }
    let tcp = run(["schema", "tcp"]).expect_status(0).stdout;
    for field in ["srcIP", "destPort", "flags", "time"] {
        assert!(tcp.contains(field), "no {field} in\n{tcp}");
    }
    run(["schema", "tpc"]).expect_status(1).expect_no_output().expect_said("tcp");
    let functions = run(["functions"]).expect_status(0).stdout;
    for name in ["getlpmid", "str_regex_match", "approx_top", "pcap_filter"] {
        assert!(functions.contains(name), "no {name}");
    }
    run(["functions", "getlpmid"]).expect_status(0);
    run(["functions", "no_such_function"]).expect_status(1).expect_no_output();
}

#[test]
fn a_user_protocol_works_like_a_built_in_one() {
    let scratch = Scratch::new().expect("a folder");
    let file = scratch.path("mine.ddl");
    let ddl = "PROTOCOL discard OVER udp WHEN destPort = 9 {\n    HEADER LENGTH 1;\n    uint first AT 0 BITS 0:8;\n}\n";
    std::fs::write(&file, ddl).expect("a file");
    let file = file.display().to_string();
    let text = "SELECT count(*) AS n FROM discard WHERE first >= 0 AND destPort = 9";
    let mine = query(text, "generated/ip4-fields.pcap", &["--protocols", &file]).expect_status(0);
    let by_port =
        query("SELECT count(*) AS n FROM udp WHERE destPort = 9", "generated/ip4-fields.pcap", &[]);
    assert!(counted(&mine).is_some_and(|n| n > 0), "{mine:?}");
    assert_eq!(mine.stdout, by_port.stdout);
    run(["schema", "discard", "--protocols", &file]).expect_status(0).expect_quiet();
    std::fs::write(&file, "PROTOCOL broken OVER nosuch { HEADER LENGTH 1; }").expect("a file");
    query(text, "generated/ip4-fields.pcap", &["--protocols", &file])
        .expect_status(1)
        .expect_no_output()
        .expect_said("nosuch");
}

#[test]
fn completions_and_the_manual_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(["completions", shell]).expect_status(0).expect_quiet().stdout;
        assert!(script.contains("wiretable") && script.contains("explain"), "{shell}");
    }
    let page = run(["man"]).expect_status(0).expect_quiet().stdout;
    assert!(page.contains(".TH") && page.contains(".SH") && page.contains("lenient"), "{page}");
    let help = run(["query", "--help"]).expect_status(0).stdout;
    assert!(help.contains("Examples:"), "{help}");
    run(["--version"]).expect_status(0);
}

#[test]
fn the_example_batches_run() {
    let folder = root().join("configs");
    let mut batches: Vec<_> = std::fs::read_dir(&folder)
        .expect("configs")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    batches.sort();
    assert!(batches.len() >= 3, "{batches:?}");
    for batch in batches {
        let scratch = Scratch::new().expect("a folder");
        let output = wiretable([Path::new("run"), &batch])
            .current_dir(scratch.path("."))
            .output()
            .expect("wiretable starts");
        let ended = outcome(output).expect_status(0);
        let mut files = Vec::new();
        files_below(&scratch.path("."), &mut files);
        let printed = !ended.stdout.is_empty();
        assert!(printed || !files.is_empty(), "{} gives nothing", batch.display());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("text");
            assert!(
                text.lines().count() > 1,
                "{} of {} has no rows",
                file.display(),
                batch.display()
            );
        }
    }
}

fn files_below(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}
