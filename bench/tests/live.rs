//! The commands that send live, at tiny sizes. They need root and say so loudly when they are left out; books and answers must agree at any size,
//! rates are nobody's business here.

mod support;

use std::path::Path;
use std::process::Command;

use support::{Scratch, wiretable};
use wt_bench::live::is_root;
use wt_bench::peers;

/// Whether a test can run; says what is missing otherwise.
fn can_run(tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().filter(|tool| peers::find(tool).is_none()).collect();
    if !is_root() {
        eprintln!("SKIPPED: network namespaces and programs in the kernel need root");
    } else if !missing.is_empty() {
        eprintln!("SKIPPED: {missing:?} are not here; `wt-bench peers --install` installs them");
    }
    is_root() && missing.is_empty()
}

/// Runs the command; its report.
fn report(scratch: &Scratch, name: &str, arguments: &[&str]) -> String {
    let dir = &scratch.0;
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args(arguments)
        .arg("--wiretable")
        .arg(wiretable())
        .args(["--dir".as_ref(), dir.as_os_str(), "--results".as_ref(), dir.as_os_str()])
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let svg = std::fs::read_to_string(dir.join(format!("{name}.svg"))).expect("a plot");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
    let left = std::fs::read_dir(dir).expect("the folder").flatten();
    let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!left.into_iter().any(|name| name.starts_with("live-") && !name.ends_with(".pcap")));
    std::fs::read_to_string(dir.join(format!("{name}.md"))).expect("a report")
}

/// The tables of a report as rows of cells, without heads.
fn rows(report: &str) -> Vec<Vec<String>> {
    let lines = report.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).collect()
}

fn capture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name);
    path.display().to_string()
}

#[test]
fn replayed_packets_are_all_in_the_books() {
    if !can_run(&["ip", "ethtool", "tcpreplay"]) {
        return;
    }
    let scratch = Scratch::new("replay");
    let http = capture("http.pcap");
    for way in ["xdp", "socket"] {
        // All can be lost, so one trial of each sender is enough.
        let arguments = ["replay", "--seconds", "0.3", "--loss", "1", "--trace", &http];
        let report = report(&scratch, "replay", &[&arguments[..], &["--capture", way]].concat());
        let trials: Vec<_> =
            rows(&report).into_iter().filter(|row| row.last_but_one() == "balance").collect();
        assert_eq!(trials.len(), 2, "{report}");
        for trial in trials {
            let n = |i: usize| trial[i].parse::<u64>().expect("a number");
            let (sent, seen, lost, unexplained) = (n(3), n(4), n(5), n(8));
            assert!(sent > 100 && unexplained == 0, "{report}");
            assert_eq!(sent, seen + lost, "{report}");
        }
    }
}

trait LastButOne {
    fn last_but_one(&self) -> &str;
}

impl LastButOne for Vec<String> {
    /// Behind the last cell is nothing.
    fn last_but_one(&self) -> &str {
        self.iter().rev().nth(1).map_or("", String::as_str)
    }
}

#[test]
fn a_batch_of_two_links_is_swept_by_a_thread_of_its_own() {
    if !can_run(&["ip", "ethtool"]) {
        return;
    }
    let scratch = Scratch::new("sweep");
    let batch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/traffic-matrix.toml");
    let batch = batch.display().to_string();
    let report = report(
        &scratch,
        "replay",
        &[
            "replay",
            "--seconds",
            "0.2",
            "--steps",
            "2",
            "--senders",
            "frames",
            "--receiver-cpu",
            "0",
            "--capture",
            "socket",
            "--batch",
            &batch,
            "--trace",
            &capture("eth0.pcap"),
        ],
    );
    assert!(report.contains("the batch traffic-matrix.toml") && report.contains("balance"));
    assert!(!report.contains("DO NOT BALANCE"), "{report}");
}

#[test]
fn four_ways_answer_what_was_sent() {
    if !can_run(&["ip", "ethtool", "tcpdump"]) {
        return;
    }
    let scratch = Scratch::new("share");
    let http = capture("http.pcap");
    let report = report(
        &scratch,
        "http-share",
        &[
            "http-share",
            "--seconds",
            "0.2",
            "--steps",
            "1",
            "--rounds",
            "1",
            "--loss",
            "1",
            "--web",
            &http,
            "--background",
            &capture("dns.pcap"),
        ],
    );
    for way in ["dump to disk", "discard", "on the host", "in the driver"] {
        assert_eq!(report.matches(way).count(), 2, "{report}");
    }
    assert!(!report.contains("DO NOT BALANCE"), "{report}");
    // Answers of trials without loss are those that were sent.
    let whole: Vec<_> =
        rows(&report).into_iter().filter(|row| row.get(12).is_some_and(|c| c == "0.00%")).collect();
    for row in whole.iter().filter(|row| row[9] != "–") {
        assert_eq!((&row[8], &row[10]), (&row[9], &row[11]), "{report}");
    }
}

#[test]
fn generated_programs_run_beside_those_in_c() {
    if !can_run(&["clang"]) {
        return;
    }
    let scratch = Scratch::new("cost");
    let arguments = ["xdp-cost", "--rounds", "3", "--repeat", "20000"];
    let report = report(&scratch, "xdp-cost", &arguments);
    assert!(report.contains("of 6 are within"), "{report}");
    for row in rows(&report).iter().filter(|row| row.len() == 10 && row[1] != "query") {
        let instructions: u64 = row[7].parse().expect("a number");
        assert!(instructions > 10, "{report}");
    }
}

#[test]
fn groups_and_ejections_are_counted_at_any_number() {
    if !can_run(&["ip", "ethtool", "clang"]) {
        return;
    }
    let scratch = Scratch::new("rate");
    let arguments = ["xdp-rate", "--seconds", "0.1", "--rounds", "1", "--sources", "64,1M"];
    let report = report(&scratch, "xdp-rate", &arguments);
    assert!(!report.contains("DO NOT BALANCE"), "{report}");
    let rows = rows(&report);
    // Groups that had to leave, those among them for which the ring had no room.
    let left = |groups: &str| -> f64 {
        let row = rows.iter().rev().find(|row| row.get(2).is_some_and(|cell| cell == groups));
        let shares = row.expect("a row")[9..11].iter();
        shares.map(|cell| cell.trim_end_matches('%').parse::<f64>().expect("a share")).sum()
    };
    assert!(left("1") < 1.0 && left("1000000") > 80.0, "{report}");
}

#[test]
fn who_is_not_root_is_told() {
    if is_root() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args(["replay", "--wiretable"])
        .arg(wiretable())
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("root"), "{said}");
}

#[test]
fn recorders_write_what_was_sent() {
    if !can_run(&["ip", "ethtool", "tcpdump"]) {
        return;
    }
    let scratch = Scratch::new("record");
    let report = report(
        &scratch,
        "record",
        &[
            "record",
            "--seconds",
            "0.2",
            "--rounds",
            "1",
            "--rates",
            "5k",
            "--traces",
            &format!("64,{}", capture("http.pcap")),
            "--recorders",
            "wiretable,wiretable --no-index,wiretable drop,tcpdump",
            "--receiver-cpu",
            "0",
        ],
    );
    assert!(!report.contains("DO NOT BALANCE"), "{report}");
    // Two traces at two rates.
    for recorder in ["wiretable", "wiretable --no-index", "wiretable drop", "tcpdump"] {
        assert_eq!(report.matches(&format!(" | {recorder} | ")).count(), 4, "{report}");
    }
    assert_eq!(report.matches("wiretable: more by the index").count(), 4, "{report}");
}
