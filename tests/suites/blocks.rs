//! The block list of live runs: packets of its sources are dropped in the driver once they are counted, across changes of queries, and the books balance.
//!
//! Needs root; without it every test says that it is skipped.

use std::path::PathBuf;
use std::process::Stdio;

use wt_tests::corpus::Scratch;
use wt_tests::live::{Running, booked, expect_booked, send, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{Outcome, outcome, wiretable};

/// A run that can be spoken with.
struct Spoken {
    running: Running,
    socket: PathBuf,
    folder: Scratch,
}

const TEXT: &str = "DEFINE { query_name by; } SELECT day, srcIP, count(*) AS n FROM ip GROUP BY time/86400 AS day, srcIP";

impl Spoken {
    fn start(netns: &Netns, folder: Scratch, more: &[&str]) -> Self {
        let socket = folder.path("run.sock");
        let path = socket.display().to_string();
        let arguments =
            ["query", TEXT, "-i", "near", "--control", &path, "--ledger", "--format", "ndjson"];
        let running = Running::start(netns, &[&arguments[..], more].concat(), 1);
        wait_until("the socket is there", || socket.exists());
        Self { running, socket, folder }
    }

    fn ask(&self, arguments: &[&str]) -> Outcome {
        let socket = self.socket.display().to_string();
        let mut command = wiretable(["ctl", "-s", &socket]);
        outcome(command.args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        self.ask(arguments).expect_status(0).stdout
    }

    /// A number of the live books.
    fn live(&self, column: &str) -> u64 {
        let ledger = self.done(&["ledger"]);
        let booked = booked(&ledger, "live", "near");
        booked.iter().find(|(name, _)| name == column).map_or(0, |(_, n)| *n)
    }

    fn wait_seen(&self, packets: u64) {
        wait_until("all packets are seen", || self.live("seen") == packets);
    }

    fn blocks(&self) -> serde_json::Value {
        serde_json::from_str(&self.done(&["block", "list", "--json"])).unwrap()
    }
}

/// UDP from 10.N.0.1.
fn frame(second: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, second, 0, 1, 10, 0, 0, 2]);
    frame.extend([3, 232, 7, 208, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

fn frames(second: u8, count: usize) -> Vec<Vec<u8>> {
    vec![frame(second); count]
}

#[test]
fn blocked_packets_are_counted_by_queries_and_reach_nobody() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let run = Spoken::start(&netns, Scratch::new().unwrap(), &["--capture", "xdp"]);
    // What the driver lets through, as the host behind it sees it.
    let text = "SELECT day, count(*) AS n FROM udp GROUP BY time/86400 AS day";
    let arguments = ["query", text, "-i", "near", "--capture", "socket", "--format", "ndjson"];
    let behind = Running::start(&netns, &arguments, 2);
    send(&netns, "far", &frames(7, 100));
    run.wait_seen(100);
    assert_eq!(run.live("blocked"), 0);
    assert_eq!(run.done(&["block", "add", "10.7.0.0/16"]), "blocked 10.7.0.0/16\n");
    assert_eq!(run.done(&["block", "add", "10.7.0.0/16"]), "was blocked already: 10.7.0.0/16\n");
    send(&netns, "far", &frames(7, 200));
    send(&netns, "far", &frames(8, 50));
    run.wait_seen(350);
    assert_eq!(run.live("blocked"), 200);
    let blocks = run.blocks();
    assert_eq!((&blocks[0]["packets"], &blocks[0]["bytes"]), (&200.into(), &12_000.into()));
    // Other queries, another program: the list goes on, and so do its numbers.
    run.done(&[
        "add",
        "--name",
        "more",
        "SELECT day, count(*) AS n FROM udp GROUP BY time/86400 AS day",
    ]);
    send(&netns, "far", &frames(7, 30));
    run.wait_seen(380);
    assert_eq!((run.live("blocked"), &run.blocks()[0]["packets"]), (230, &230.into()));
    assert_eq!(run.done(&["block", "remove", "10.7.0.0/16"]), "lifted 10.7.0.0/16\n");
    send(&netns, "far", &frames(7, 20));
    run.wait_seen(400);
    assert_eq!(run.live("blocked"), 230);
    let behind = behind.interrupt().stdout;
    let passed: Vec<serde_json::Value> =
        behind.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(passed.iter().filter_map(|row| row["n"].as_u64()).sum::<u64>(), 400 - 230);
    let ended = run.running.interrupt();
    expect_booked(
        &ended.stderr,
        "live",
        "near",
        &[("seen", 400), ("records", 400), ("blocked", 230)],
    );
    let counts: Vec<u64> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|row| row["query"] == "by" && row["srcIP"] == "10.7.0.1")
        .map(|row| row["n"].as_u64().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 350, "the query sees what is blocked\n{}", ended.stdout);
}

#[test]
fn a_list_from_a_file_holds_from_the_first_packet_and_ends_in_time() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let folder = Scratch::new().unwrap();
    let list = folder.path("blocked.txt");
    std::fs::write(&list, "# known\n10.7.0.0/16\n10.8.0.0/16 1h # for an hour\n").unwrap();
    let path = list.display().to_string();
    let run = Spoken::start(&netns, folder, &["--capture", "xdp", "--blocklist", &path]);
    send(&netns, "far", &[frames(7, 10), frames(8, 10), frames(9, 10)].concat());
    run.wait_seen(30);
    assert_eq!(run.live("blocked"), 20);
    let shown = run.done(&["block", "list"]);
    assert!(shown.starts_with("prefix "), "{shown}");
    assert!(shown.contains("10.8.0.0/16") && shown.contains(" s\n"), "{shown}");
    // A shorter time takes the place of a longer one.
    run.done(&["block", "add", "10.8.0.0/16", "--for", "50ms"]);
    wait_until("its time is over", || run.blocks().as_array().unwrap().len() == 1);
    send(&netns, "far", &frames(8, 10));
    run.wait_seen(40);
    assert_eq!(run.live("blocked"), 20);
    drop(run.folder);
    run.running.interrupt();
}

#[test]
fn traces_have_no_block_list() {
    let capture = wt_tests::capture("eth0.pcap").display().to_string();
    let refused = wt_tests::program::run(["query", TEXT, "-r", &capture, "--blocklist", "x"]);
    refused.expect_status(1).expect_said("drops packets of live interfaces");
}

#[test]
fn what_cannot_be_blocked_is_refused_with_a_way_out() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let run = Spoken::start(&netns, Scratch::new().unwrap(), &["--capture", "xdp"]);
    for (arguments, status, said) in [
        (["block", "add", "0.0.0.0/0"], 1, "at least /8"),
        (["block", "add", "10.7.0.1/16"], 1, "10.7.0.0/16 is the prefix"),
        (["block", "add", "flood"], 1, "no prefix"),
        (["block", "remove", "10.7.0.0/16"], 1, "is not blocked"),
    ] {
        let refused = run.ask(&arguments).expect_status(status);
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    run.running.interrupt();
    let run = Spoken::start(&netns, Scratch::new().unwrap(), &["--capture", "socket"]);
    let refused = run.ask(&["block", "add", "10.7.0.0/16"]).expect_status(2);
    assert!(refused.stderr.contains("--capture xdp"), "{}", refused.stderr);
    run.running.interrupt();
    let folder = Scratch::new().unwrap();
    for (text, said) in [
        ("10.7.0.0/16 soon\n", "line 1: `soon` is not a time"),
        ("\n10.7.0.0/16 1h more\n", "line 2: `more`"),
        ("0.0.0.0/0\n", "at least /8"),
    ] {
        let list = folder.path("blocked.txt");
        std::fs::write(&list, text).unwrap();
        let path = list.display().to_string();
        let mut command = netns.wiretable();
        command.args(["query", TEXT, "-i", "near", "--capture", "xdp", "--blocklist", &path]);
        let refused = outcome(command.output().unwrap()).expect_status(1);
        assert!(refused.stderr.contains(said), "{text}: {}", refused.stderr);
    }
}
