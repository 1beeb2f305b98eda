//! Packets that queries on the host get by AF_XDP sockets, from programs that end them in the driver (`--disposition drop`).
//!
//! Needs root; without it every test says that it is skipped.

use std::process::Command;
use std::time::Duration;

use wt_tests::live::{
    Running, booked, capturing, expect_booked, frames, programs, send, sorted, wait_until,
};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{binary, capture_argument, run};

/// Capturing on a port whose packets end in the driver.
const DROP: [&str; 4] = ["--capture", "xdp", "--disposition", "drop"];

/// Queries without time in them, some in the driver, some on the host, of which one sees every packet and one few bytes of it.
const TIMELESS: &str = "\
    DEFINE { query_name headers; } SELECT srcIP, destIP, srcPort, destPort, seq, len FROM tcp; \
    DEFINE { query_name flows; } SELECT srcIP, destIP, protocol, count(*) AS n, sum(len) AS bytes FROM ip \
        GROUP BY srcIP, destIP, protocol; \
    DEFINE { query_name gets; } SELECT count(*) AS n FROM tcp WHERE str_regex_match[data, '^(GET|POST) ']; \
    DEFINE { query_name halves; } SELECT len, len * 0.5 AS half FROM packet";

/// One query, which looks at no byte behind the headers.
const HALVES: &str = "SELECT len, len * 0.5 AS half, ttl FROM ipv4";

/// The number of a column of the books.
#[track_caller]
fn number(ledger: &str, head: &str, name: &str, column: &str) -> u64 {
    let found = booked(ledger, head, name).into_iter().find(|(known, _)| known == column);
    found.unwrap_or_else(|| panic!("no {column} in\n{ledger}")).1
}

/// Fails unless every packet given to sockets came.
#[track_caller]
fn expect_all_received(ledger: &str, interface: &str) -> u64 {
    let redirected = number(ledger, "sockets", interface, "redirected");
    let expected = [("received", redirected), ("no frame", 0), ("ring full", 0), ("under way", 0)];
    expect_booked(ledger, "sockets", interface, &expected);
    redirected
}

/// What a command has said that is no book.
fn said(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("wiretable:")).collect()
}

#[test]
fn rows_of_the_wire_are_those_of_the_file() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    for name in ["http.pcap", "dns.pcap", "vlan.pcap", "icmp.pcap", "vxlan.pcap", "fragments.pcap"]
    {
        let frames = frames(name);
        let count = frames.len().to_string();
        for text in [TIMELESS, HALVES] {
            let arguments = ["query", text, "-i", "default=near", "--packets", &count];
            let more = ["--format", "ndjson", "--ledger"];
            let running = Running::start(&netns, &[&arguments[..], &more, &DROP].concat(), 1);
            send(&netns, "far", &frames);
            let live = running.end().expect_status(0);
            let file = capture_argument(name);
            let file = run([&["query", text, "-r", &file][..], &more].concat());
            assert_eq!(sorted(&live.stdout), sorted(&file.expect_status(0).stdout), "{name}");
            let count = frames.len() as u64;
            let expected =
                [("seen", count), ("records", count), ("kernel dropped", 0), ("unread", 0)];
            expect_booked(&live.stderr, "live", "default", &expected);
            assert_eq!(said(&live.stderr), [""; 0]);
            let redirected = expect_all_received(&live.stderr, "default");
            assert!(redirected <= count && (text != TIMELESS || redirected == count));
        }
    }
}

#[test]
fn only_packets_that_a_query_may_want_leave_the_driver() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name gets; } SELECT count(*) AS n FROM tcp \
                    WHERE destPort = 80 AND str_regex_match[data, '^(GET|POST) ']; \
                DEFINE { query_name to80; } SELECT count(*) AS n FROM tcp WHERE destPort = 80";
    let frames = frames("http.pcap");
    let count = frames.len().to_string();
    let arguments = ["query", text, "-i", "near", "--packets", &count, "--ledger"];
    let more = ["--format", "ndjson"];
    let running = Running::start(&netns, &[&arguments[..], &more, &DROP].concat(), 1);
    send(&netns, "far", &frames);
    let ledger = running.end().expect_status(0).stderr;
    let redirected = expect_all_received(&ledger, "near");
    assert_eq!(redirected, number(&ledger, "queries", "_fta_to80 @ near", "matched"));
    expect_booked(&ledger, "queries", "_fta_gets @ near", &[("offered", frames.len() as u64)]);
}

#[test]
fn several_queues_have_a_socket_each() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    netns.add_wide_pair("2");
    // Of many flows, some come by either queue.
    let frames: Vec<_> = (0..200).map(|flow| udp(flow, 60)).collect();
    let count = frames.len().to_string();
    let text = "SELECT srcPort, len * 0.5 AS half FROM udp";
    let arguments = ["query", text, "-i", "wide", "--packets", &count, "--ledger"];
    let running = Running::start(&netns, &[&arguments[..], &DROP].concat(), 1);
    send(&netns, "peer", &frames);
    let ended = running.end().expect_status(0);
    assert_eq!(expect_all_received(&ended.stderr, "wide"), frames.len() as u64);
    let ports = ended.stdout.lines().skip(1).map(|line| line.split(',').next().unwrap());
    let mut ports: Vec<u16> = ports.map(|port| port.parse().unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, (0..200).collect::<Vec<_>>());
}

/// UDP from port `flow`, so many bytes long, with a word at its end.
fn udp(flow: u16, bytes: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let [high, low] = ((bytes - 14) as u16).to_be_bytes();
    frame.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(flow.to_be_bytes());
    frame.extend([7, 208]);
    frame.extend(((bytes - 34) as u16).to_be_bytes());
    frame.resize(bytes - 8, b'.');
    frame.extend(*b"..tail..");
    frame
}

#[test]
fn packets_longer_than_a_frame_come_whole() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    for interface in ["near", "far"] {
        netns.ip(&["link", "set", interface, "mtu", "9000"]);
    }
    let lengths = [60, 1514, 3000, 3900, 6000, 9014];
    let frames: Vec<_> = lengths.iter().map(|bytes| udp(7, *bytes)).collect();
    let count = frames.len().to_string();
    let text = "SELECT len FROM udp WHERE str_regex_match[data, 'tail..$']";
    let arguments = ["query", text, "-i", "near", "--packets", &count, "--ledger"];
    let running = Running::start(&netns, &[&arguments[..], &DROP].concat(), 1);
    send(&netns, "far", &frames);
    let ended = running.end().expect_status(0);
    // A driver that takes no program at this MTU leaves it to the stack.
    assert!(ended.stderr.contains("runs in the stack"), "{}", ended.stderr);
    let found: Vec<usize> = ended.stdout.lines().skip(1).map(|l| l.parse().unwrap()).collect();
    assert_eq!(found, lengths, "{}", ended.stderr);
    assert_eq!(expect_all_received(&ended.stderr, "near"), frames.len() as u64);
}

#[test]
fn a_flood_that_frames_cannot_hold_is_counted() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    // Whole packets go to the host, into memory that holds few.
    let text = "DEFINE { query_name found; } SELECT timestamp, len FROM tcp WHERE str_regex_match[data, 'wiretable']; \
                DEFINE { query_name all; } SELECT count(*) AS n FROM packet; \
                DEFINE { query_name halves; } SELECT sum(len * 0.5) AS half FROM packet";
    let arguments = ["query", text, "-i", "near", "--ring", "512KiB", "--for", "1h"];
    let more = ["--ledger", "--format", "ndjson"];
    let running = Running::start(&netns, &[&arguments[..], &more, &DROP].concat(), 1);
    let frames = frames("http.pcap");
    // Nothing is read while the receiver is stopped, so what does not fit is lost whatever the machine does.
    running.suspend();
    let rounds = 200;
    let sender = netns.sender("far").unwrap();
    for frame in (0..rounds).flat_map(|_| &frames) {
        sender.send(frame).unwrap();
    }
    running.resume();
    for frame in (0..rounds).flat_map(|_| &frames) {
        sender.send(frame).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let ended = running.interrupt();
    let ledger = &ended.stderr;
    let seen = number(ledger, "live", "near", "seen");
    assert_eq!(seen, 2 * (rounds * frames.len()) as u64, "{ledger}");
    let socket = |column| number(ledger, "sockets", "near", column);
    assert!(socket("no frame") > 0, "{ledger}");
    assert_eq!(socket("redirected"), seen, "the query without quals wants all");
    let accounted = socket("received") + socket("no frame") + socket("ring full");
    assert_eq!((accounted, socket("under way")), (seen, 0), "{ledger}");
    for query in ["_fta_found @ near", "_fta_halves @ near"] {
        assert_eq!(number(ledger, "queries", query, "offered"), seen, "{ledger}");
        let lost = number(ledger, "shed", query, "lost");
        assert_eq!(lost, socket("no frame") + socket("ring full"), "{ledger}");
    }
    // What runs in the driver has seen all.
    assert!(ended.stdout.contains(&format!("\"n\":{seen}")), "{}", ended.stdout);
    assert!(ledger.contains("were lost in the driver"), "{ledger}");
}

#[test]
fn what_has_no_sockets_has_the_ring() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let frames = frames("http.pcap");
    let count = frames.len().to_string();
    let arguments =
        ["query", TIMELESS, "-i", "default=near", "--packets", &count, "--format", "ndjson"];
    let arguments = [&arguments[..], &DROP, &["--ledger", "--no-promiscuous"]].concat();
    let file = run(["query", TIMELESS, "-r", &capture_argument("http.pcap"), "--format", "ndjson"]);
    let file = file.expect_status(0).stdout;
    let check = |command: &mut Command, why: &str| {
        let running = Running::spawn(&netns, command.args(&arguments), 1);
        send(&netns, "far", &frames);
        let ended = running.end().expect_status(0);
        assert_eq!(sorted(&ended.stdout), sorted(&file));
        let said = said(&ended.stderr);
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
        assert!(!ended.stderr.contains("redirected"), "{}", ended.stderr);
    };
    let taken = netns.xdp_socket("near").unwrap();
    check(&mut netns.wiretable(), "queue 0 has an AF_XDP socket of another program");
    drop(taken);
    let mut weak = netns.command("setpriv");
    weak.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]).arg(binary());
    check(&mut weak, "no privilege to open AF_XDP sockets");
    let mut small = netns.command("setpriv");
    small.args(["--bounding-set=-sys_resource,-ipc_lock", "--inh-caps=-sys_resource,-ipc_lock"]);
    small.args(["prlimit", "--memlock=65536:65536"]).arg(binary());
    check(&mut small, "RLIMIT_MEMLOCK");
    assert_eq!(capturing(&netns), 0);
}

#[test]
fn a_port_without_queries_for_the_driver_is_a_port_all_the_same() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let arguments = ["query", HALVES, "-i", "near", "--packets", "1", "--ledger"];
    let running = Running::start(&netns, &[&arguments[..], &DROP].concat(), 1);
    assert_eq!(programs(&netns), 1);
    send(&netns, "far", &[udp(1, 60)]);
    let ended = running.end().expect_status(0);
    assert_eq!(ended.stdout, "len,half,ttl\n60,30.0,64\n");
    assert_eq!(expect_all_received(&ended.stderr, "near"), 1);
}

#[test]
fn an_interface_that_comes_back_has_sockets_again() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let frames = frames("dns.pcap");
    let arguments = ["query", "SELECT len, len * 0.5 AS half FROM packet", "-i", "near"];
    let running = Running::start(&netns, &[&arguments[..], &DROP, &["--ledger"]].concat(), 1);
    let rows = || running.stdout.text().lines().count().saturating_sub(1);
    send(&netns, "far", &frames);
    wait_until("the first rows", || rows() == frames.len());
    netns.ip(&["link", "del", "near"]);
    wait_until("the loss is noticed", || running.stderr.text().contains("is gone"));
    netns.add_pair();
    wait_until("the return is noticed", || running.stderr.text().contains("near is back"));
    send(&netns, "far", &frames);
    wait_until("the last rows", || rows() == 2 * frames.len());
    let ledger = running.interrupt().stderr;
    assert_eq!(expect_all_received(&ledger, "near"), 2 * frames.len() as u64);
    expect_booked(&ledger, "live", "near", &[("seen", 2 * frames.len() as u64), ("gaps", 1)]);
}

#[test]
fn who_reads_frames_has_no_privileges() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let arguments = ["query", HALVES, "-i", "near"];
    let running = Running::start(&netns, &[&arguments[..], &DROP].concat(), 1);
    send(&netns, "far", &[udp(1, 60)]);
    wait_until("a row", || running.stdout.text().lines().count() == 2);
    for task in std::fs::read_dir(format!("/proc/{}/task", running.child.0.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for kind in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
            assert!(status.contains(kind), "{status}");
        }
    }
    running.interrupt();
    assert_eq!(capturing(&netns), 0);
}

#[test]
fn a_query_that_looks_at_no_byte_gets_every_packet() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    // Where there are no sockets, so by the ring.
    let _taken = netns.xdp_socket("near").unwrap();
    let text = "DEFINE { query_name all; } SELECT count(*) AS n FROM packet; \
                DEFINE { query_name halves; } SELECT sum(len * 0.5) AS half FROM packet";
    let frames = frames("dns.pcap");
    let count = frames.len().to_string();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    for fate in ["pass", "drop"] {
        let arguments = ["query", text, "-i", "near", "--packets", &count, "--format", "ndjson"];
        let more = ["--capture", "xdp", "--ledger", "--disposition", fate];
        let running = Running::start(&netns, &[&arguments[..], &more].concat(), 1);
        send(&netns, "far", &frames);
        let ended = running.end().expect_status(0);
        let rows: Vec<serde_json::Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let half = rows.iter().find_map(|row| row["half"].as_f64());
        assert_eq!(half, Some(bytes as f64 / 2.0), "{}", ended.stderr);
        assert_eq!(number(&ended.stderr, "shed", "_fta_halves @ near", "lost"), 0);
    }
}
