//! Live capture: interfaces in namespaces of their own, frames that the test sends, and the books that must balance with what it sent.
//!
//! Needs root; without it every test says that it is skipped.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wt_tests::corpus::Scratch;
use wt_tests::live::{
    Guarded, Running, Stream, WAYS, booked, capturing, expect_booked, frames, privileges, programs,
    send, sorted, wait_until,
};
use wt_tests::netns::{Netns, may_make, signal};
use wt_tests::program::{capture_argument, outcome, run};

/// Queries of all kinds without time in them, so that a file and a wire give the same rows.
const TIMELESS: &str = "\
    DEFINE { query_name headers; } SELECT srcIP, destIP, srcPort, destPort, seq, len FROM tcp; \
    DEFINE { query_name flows; } SELECT srcIP, destIP, protocol, count(*) AS n, sum(len) AS bytes FROM ip \
        GROUP BY srcIP, destIP, protocol; \
    DEFINE { query_name gets; } SELECT count(*) AS n FROM tcp WHERE str_regex_match[data, '^(GET|POST) ']; \
    DEFINE { query_name filtered; } SELECT count(*) AS n FROM packet WHERE pcap_filter('udp or icmp or vlan'); \
    DEFINE { query_name macs; } SELECT eth_src, eth_dst, vlan_depth, count(*) AS n FROM eth GROUP BY eth_src, eth_dst, vlan_depth";

#[test]
fn rows_of_the_wire_are_those_of_the_file() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    for name in ["http.pcap", "dns.pcap", "vlan.pcap", "icmp.pcap", "vxlan.pcap", "fragments.pcap"]
    {
        let frames = frames(name);
        let ways =
            WAYS.iter().flat_map(|way| ["auto", "interpreter"].map(|backend| (way, backend)));
        for (way, backend) in ways {
            let count = frames.len().to_string();
            let arguments = ["query", TIMELESS, "-i", "default=near", "--packets", &count];
            let more = ["--format", "ndjson", "--ledger", "--backend", backend];
            let running = Running::start(&netns, &[&arguments[..], &more, way].concat(), 1);
            send(&netns, "far", &frames);
            let live = running.end().expect_status(0);
            let file = capture_argument(name);
            let file = run([&["query", TIMELESS, "-r", &file][..], &more].concat());
            let rows = file.expect_status(0).stdout;
            assert_eq!(sorted(&live.stdout), sorted(&rows), "{name} {way:?}");
            let count = frames.len() as u64;
            let expected =
                [("seen", count), ("records", count), ("kernel dropped", 0), ("unread", 0)];
            expect_booked(&live.stderr, "live", "default", &expected);
        }
    }
}

#[test]
fn windows_hold_the_packets_of_their_time() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name each; } SELECT timestamp AS t, time AS s, len FROM packet; \
                DEFINE { query_name windows; } SELECT tb, count(*) AS n, sum(len) AS bytes FROM packet GROUP BY time/1 AS tb";
    let frames = frames("http.pcap");
    for way in WAYS {
        windows(&netns, &frames, text, way);
    }
}

/// Windows of one way to capture.
fn windows(netns: &Netns, frames: &[Vec<u8>], text: &str, way: [&str; 2]) {
    let arguments = ["query", text, "-i", "near", "--format", "ndjson"];
    let running = Running::start(netns, &[&arguments[..], &way].concat(), 1);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        send(netns, "far", frames);
        std::thread::sleep(Duration::from_millis(100));
    }
    // What is silent now closes by the clock, without an end of the run.
    let windows = |text: &str| {
        let rows =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let (mut each, mut windows) = (std::collections::BTreeMap::new(), Vec::new());
        for row in rows {
            let number = |name: &str| row[name].as_u64().unwrap();
            if row["tb"].is_null() {
                let (n, bytes) = each.entry(number("s")).or_insert((0, 0));
                *n += 1;
                *bytes += number("len");
            } else {
                windows.push((number("tb"), (number("n"), number("bytes"))));
            }
        }
        (each.into_iter().collect::<Vec<_>>(), windows)
    };
    wait_until("the last window closes", || {
        let text = running.stdout.text();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let (each, windows) = windows(whole);
        !each.is_empty() && each == windows
    });
    let ended = running.interrupt();
    let (each, windows) = windows(&ended.stdout);
    assert_eq!(each, windows);
    assert!(windows.len() >= 3, "{windows:?}");
}

#[test]
fn a_merge_with_a_silent_link_goes_on() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    netns.ip(&["link", "add", "quiet", "type", "veth", "peer", "name", "mute"]);
    netns.ip(&["link", "set", "quiet", "up"]);
    netns.ip(&["link", "set", "mute", "up"]);
    let text = "DEFINE { query_name a; } SELECT timestamp AS t, len FROM near.packet; \
                DEFINE { query_name b; } SELECT timestamp AS t, len FROM quiet.packet; \
                DEFINE { query_name both; } MERGE a.t : b.t FROM a, b";
    let arguments = ["query", text, "-i", "near", "-i", "quiet", "--format", "csv", "--ledger"];
    let frames = frames("http.pcap");
    for way in WAYS {
        let running = Running::start(&netns, &[&arguments[..], &way].concat(), 2);
        send(&netns, "far", &frames);
        wait_until("rows of the busy link", || {
            running.stdout.text().lines().count() == 1 + frames.len()
        });
        let ended = running.interrupt();
        expect_booked(&ended.stderr, "live", "quiet", &[("seen", 0)]);
        expect_booked(&ended.stderr, "live", "near", &[("seen", frames.len() as u64)]);
    }
}

#[test]
fn an_interrupt_closes_windows_and_prints_the_books() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name each; } SELECT len FROM packet; \
                DEFINE { query_name days; } SELECT tb, count(*) AS n FROM packet GROUP BY time/86400 AS tb";
    let arguments = ["query", text, "-i", "near", "--format", "ndjson", "--ledger"];
    for (number, way) in [2, 15].into_iter().zip(WAYS) {
        let running = Running::start(&netns, &[&arguments[..], &way].concat(), 1);
        let frames = frames("dns.pcap");
        send(&netns, "far", &frames);
        wait_until("the packets come", || running.stdout.text().lines().count() >= frames.len());
        running.signal(number);
        let ended = running.end().expect_status(0);
        let rows = ended.stdout.lines().map(serde_json::from_str::<serde_json::Value>);
        let counts = rows.filter_map(|row| row.unwrap()["n"].as_u64());
        assert_eq!(counts.sum::<u64>(), frames.len() as u64, "{}", ended.stdout);
        expect_booked(&ended.stderr, "live", "near", &[("seen", frames.len() as u64)]);
        assert_eq!(capturing(&netns), 0);
    }
}

#[test]
fn what_cannot_be_captured_is_refused_with_a_remedy() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let query = ["query", "SELECT len FROM packet", "-i"];
    let refused = |command: &mut Command, interface: &str| {
        let output = command.args(query).arg(interface).output().unwrap();
        outcome(output).expect_no_output()
    };
    refused(&mut netns.wiretable(), "naer").expect_status(2).expect_said("Did you mean `near`?");
    refused(&mut netns.wiretable(), "eth77").expect_status(2).expect_said("far, lo, near");
    refused(&mut netns.wiretable(), "lo").expect_status(2).expect_said("ip link set lo up");
    refused(&mut netns.wiretable(), "a-b=near").expect_status(1).expect_said("no name");
    let mut weak = netns.command("setpriv");
    weak.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]).arg(wt_tests::program::binary());
    refused(&mut weak, "near").expect_status(2).expect_said("setcap cap_net_raw");
    let mut twice = netns.wiretable();
    twice.args(["query", "SELECT len FROM packet", "-i", "near", "-i", "near"]);
    outcome(twice.output().unwrap()).expect_status(1).expect_said("given twice");
    // A result that never comes is refused, and the way to one is said.
    let mut endless = netns.wiretable();
    endless.args(["query", "SELECT count(*) FROM tcp", "-i", "near"]);
    outcome(endless.output().unwrap()).expect_status(1).expect_said("--for 10s");
    assert_eq!(capturing(&netns), 0);
}

#[test]
fn ends_are_not_for_traces() {
    let file = capture_argument("dns.pcap");
    run(["query", "SELECT len FROM packet", "-r", &file, "--for", "1s"])
        .expect_status(1)
        .expect_said("--for");
}

#[test]
fn an_interface_that_comes_back_is_picked_up_again() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let frames = frames("dns.pcap");
    for way in WAYS {
        comes_back(&netns, &frames, way);
    }
}

/// An interface that goes down, and one that is made anew, under one way to capture.
fn comes_back(netns: &Netns, frames: &[Vec<u8>], way: [&str; 2]) {
    let arguments = ["query", "SELECT len FROM packet", "-i", "near", "--ledger"];
    let running = Running::start(netns, &[&arguments[..], &way].concat(), 1);
    let rows = |running: &Running| running.stdout.text().lines().count().saturating_sub(1);
    send(netns, "far", frames);
    wait_until("the first rows", || rows(&running) == frames.len());
    let returns = |running: &Running| running.stderr.text().matches("near is back").count();
    // Down and up: the same socket goes on.
    netns.ip(&["link", "set", "near", "down"]);
    wait_until("the loss is noticed", || running.stderr.text().contains("is down"));
    netns.ip(&["link", "set", "near", "up"]);
    wait_until("the return is noticed", || returns(&running) == 1);
    send(netns, "far", frames);
    wait_until("more rows", || rows(&running) == 2 * frames.len());
    // Deleted and made again: another interface of the same name.
    netns.ip(&["link", "del", "near"]);
    wait_until("the loss is noticed", || running.stderr.text().contains("is gone"));
    netns.add_pair();
    wait_until("the return is noticed", || returns(&running) == 2);
    send(netns, "far", frames);
    wait_until("the last rows", || rows(&running) == 3 * frames.len());
    let ended = running.interrupt();
    let expected = [("seen", 3 * frames.len() as u64), ("gaps", 2)];
    expect_booked(&ended.stderr, "live", "near", &expected);
    assert_eq!(ended.stderr.matches("no link: near: from ").count(), 2, "{}", ended.stderr);
}

#[test]
fn a_killed_capture_leaves_nothing() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let promiscuous = || {
        let shown = netns.command("ip").args(["-d", "link", "show", "near"]).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        !text.contains("promiscuity 0")
    };
    for way in WAYS {
        let arguments = ["query", "SELECT len FROM packet", "-i", "near"];
        let running = Running::start(&netns, &[&arguments[..], &way].concat(), 1);
        wait_until("others' packets are received too", promiscuous);
        running.signal(9);
        assert_eq!(running.end().status, 128 + 9);
        wait_until("the capture is gone", || capturing(&netns) == 0 && !promiscuous());
    }
}

#[test]
fn only_the_broker_has_privileges() {
    if !may_make() {
        return;
    }
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const PERFMON: u64 = 1 << 38;
    const BPF: u64 = 1 << 39;
    let netns = Netns::new();
    for way in WAYS {
        let arguments = ["query", "SELECT len FROM packet", "-i", "near"];
        let running = Running::start(&netns, &[&arguments[..], &way].concat(), 1);
        let tasks = format!("/proc/{}/task", running.child.0.id());
        wait_until("all threads run", || std::fs::read_dir(&tasks).unwrap().count() >= 3);
        let brokers = children(running.child.0.id());
        assert_eq!(brokers.len(), 1, "{way:?}");
        privileges(running.child.0.id(), |status, mask| {
            assert_eq!(mask, 0, "{way:?}: {status}");
            assert!(status.contains("Seccomp:\t2"), "{way:?}: {status}");
        });
        let kept = NET_RAW | NET_ADMIN | PERFMON | BPF;
        privileges(brokers[0], |status, mask| {
            assert_eq!(mask & !kept, 0, "{way:?}: {status}");
            assert!(status.contains("Seccomp:\t2"), "{way:?}: {status}");
            assert!(status.contains("NoNewPrivs:\t1"), "{way:?}: {status}");
        });
        running.interrupt();
        wait_until("the broker ends with the run", || {
            !std::path::Path::new(&format!("/proc/{}", brokers[0])).exists()
        });
    }
}

/// Processes that a process has started.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(path).unwrap();
    listed.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_run_that_is_killed_leaves_no_program_and_no_broker() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let arguments = ["query", "SELECT len FROM packet", "-i", "near", "--capture", "xdp"];
    for kill_the_broker in [false, true] {
        let running = Running::start(&netns, &arguments, 1);
        let broker = children(running.child.0.id())[0];
        let victim = if kill_the_broker { broker } else { running.child.0.id() };
        wt_tests::netns::signal(victim, 9).unwrap();
        wait_until("nothing is attached", || programs(&netns) == 0);
        match kill_the_broker {
            // Nothing would be captured any more: better an end than silence.
            true => {
                drop(running.end().expect_status(2).expect_said("privileges of this run is gone"))
            }
            false => drop(running),
        }
        wait_until("the broker is gone", || {
            !std::path::Path::new(&format!("/proc/{broker}")).exists()
        });
    }
}

#[test]
fn a_broker_is_of_no_use_by_itself() {
    run(["broker", "eth0"]).expect_status(1).expect_said("started by live runs");
}

#[test]
fn drivers_say_why_they_take_no_program() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let refused = |arguments: &[&str]| {
        let mut command = netns.wiretable();
        command.arg("query").args(arguments).args(["--capture", "xdp"]);
        outcome(command.output().unwrap()).expect_status(2).expect_no_output()
    };
    let text = "SELECT len FROM packet";
    refused(&[text, "-i", "any"]).expect_said("no driver").expect_said("--capture socket");
    refused(&[text, "-i", "naer"]).expect_said("there is no interface `naer`");
    let halves = "SELECT timestamp, len * 0.5 FROM packet";
    refused(&[halves, "-i", "near"]).expect_said("no query of `near` has code for the driver");
    let mut weak = netns.command("setpriv");
    weak.args(["--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"]);
    weak.arg(wt_tests::program::binary()).args(["query", text, "-i", "near", "--capture", "xdp"]);
    outcome(weak.output().unwrap()).expect_status(2).expect_said("CAP_BPF");
    // The place is taken: refused when it has to be there, a socket when it may be elsewhere.
    let arguments = ["query", text, "-i", "near", "--capture", "xdp"];
    let running = Running::start(&netns, &arguments, 1);
    refused(&[text, "-i", "near"]).expect_said("another XDP program is attached to `near`");
    let elsewhere = ["query", text, "-i", "near", "--capture", "auto"];
    let second = Running::start(&netns, &elsewhere, 2);
    second.interrupt().expect_said("captured by a socket");
    running.interrupt();
    assert_eq!(capturing(&netns), 0);
}

#[test]
fn stamps_of_a_card_that_gives_none_are_refused() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let refused = |arguments: &[&str]| {
        let mut command = netns.wiretable();
        command.args(arguments).args(["-i", "near", "--stamps", "card"]);
        outcome(command.output().unwrap()).expect_status(2).expect_no_output()
    };
    let query = ["query", "SELECT timestamp FROM packet"];
    let said = refused(&query).expect_said("the card of `near` does not stamp every packet");
    drop(said.expect_said("ethtool -T near"));
    let said = refused(&[&query[..], &["--capture", "auto"]].concat());
    drop(said.expect_said("captured by a socket").expect_said("does not stamp every packet"));
    let said = refused(&[&query[..], &["--capture", "xdp"]].concat());
    drop(said.expect_said("programs in drivers have the kernel's time stamps"));
    let folder = Scratch::new().unwrap();
    let store = folder.path("store").display().to_string();
    refused(&["record", "-w", &store]).expect_said("does not stamp every packet");
    refused(&["record", "-w", &store, "--disposition", "drop"]).expect_said("bound to the card");
    assert_eq!(capturing(&netns), 0);
}

/// What the host itself sends never comes to a program in the driver.
#[test]
fn who_asks_for_the_direction_gets_what_is_sent_too() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let frames = frames("http.pcap");
    let ask = |capture: &str, text: &str| {
        let running =
            Running::start(&netns, &["query", text, "-i", "near", "--capture", capture], 1);
        let in_driver = programs(&netns) > 0;
        send(&netns, "near", &frames[..3]);
        send(&netns, "far", &frames[..5]);
        // Far more than the driver's drains are apart.
        std::thread::sleep(Duration::from_millis(300));
        let ended = running.interrupt();
        let count = |direction: &str| ended.stdout.lines().filter(|l| *l == direction).count();
        (in_driver, (count("1"), count("2")), ended.stderr)
    };
    let (in_driver, counted, said) = ask("auto", "SELECT direction FROM packet");
    assert_eq!((in_driver, counted), (false, (5, 3)), "{said}");
    assert!(said.contains("captured by a socket, as a query asks which packets"), "{said}");
    let (in_driver, counted, said) = ask("xdp", "SELECT direction FROM packet");
    assert_eq!((in_driver, counted), (true, (5, 0)), "{said}");
    assert!(said.contains("sees only those that it receives"), "{said}");
    let (in_driver, _, said) = ask("auto", "SELECT ttl FROM ipv4");
    assert!(in_driver && said.is_empty(), "{said}");
}

#[test]
fn the_driver_keeps_what_the_host_does_not_want() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name gets; } SELECT count(*) AS n FROM tcp \
                    WHERE destPort = 80 AND str_regex_match[data, '^(GET|POST) ']; \
                DEFINE { query_name ports; } SELECT destPort, count(*) AS n FROM tcp GROUP BY destPort";
    let frames = frames("http.pcap");
    let count = frames.len().to_string();
    let arguments = ["query", text, "-i", "default=near", "--packets", &count, "--ledger"];
    let format = ["--format", "ndjson", "--capture", "xdp"];
    for fate in ["pass", "drop"] {
        let more = ["--disposition", fate];
        let running = Running::start(&netns, &[&arguments[..], &format, &more].concat(), 1);
        send(&netns, "far", &frames);
        let live = running.end().expect_status(0);
        let file = capture_argument("http.pcap");
        let file = run(["query", text, "-r", &file, "--format", "ndjson", "--ledger"]);
        let file = file.expect_status(0);
        assert_eq!(sorted(&live.stdout), sorted(&file.stdout));
        // The host has seen the packets to port 80 only, and the books are those of a file all the same.
        for query in ["_fta_gets @ default", "_fta_ports @ default"] {
            let mut of_file = booked(&file.stderr, "queries", query);
            of_file.retain(|(name, _)| ["offered", "matched", "filtered"].contains(&name.as_str()));
            let of_file: Vec<_> = of_file.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            expect_booked(&live.stderr, "queries", query, &of_file);
        }
    }
}

#[test]
fn a_flood_that_the_ring_cannot_hold_is_counted() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    // Whole packets go to the host, through a ring that holds few.
    let text = "DEFINE { query_name found; } SELECT timestamp, len FROM tcp WHERE str_regex_match[data, 'wiretable']; \
                DEFINE { query_name all; } SELECT timestamp, len FROM packet";
    let arguments = ["query", text, "-i", "near", "--capture", "xdp", "--ring", "512KiB"];
    let more = ["--ledger", "--format", "ndjson"];
    let running = Running::start(&netns, &[&arguments[..], &more].concat(), 1);
    let frames = frames("http.pcap");
    let rounds = 1000;
    let sender = netns.sender("far").unwrap();
    for frame in (0..rounds).flat_map(|_| &frames) {
        sender.send(frame).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let ended = running.interrupt();
    let seen = booked(&ended.stderr, "live", "near").iter().find(|(n, _)| n == "seen").unwrap().1;
    assert!(seen > 0 && seen <= (rounds * frames.len()) as u64, "{}", ended.stderr);
    let books = booked(&ended.stderr, "shed", "all @ near");
    let number = |name: &str| books.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(number("lost") + number("sent"), seen, "{}", ended.stderr);
    assert!(ended.stderr.contains("were lost in the driver"), "{}", ended.stderr);
}

#[test]
fn packets_of_the_loopback_are_seen_once() {
    if !may_make() {
        return;
    }
    const SENT: u64 = 40;
    let netns = Netns::new();
    netns.ip(&["link", "set", "lo", "up"]);
    let text = "SELECT count(*) AS n FROM udp WHERE destPort = 7777";
    for interface in ["lo", "any"] {
        let count = SENT.to_string();
        let arguments = ["query", text, "-i", interface, "--packets", &count, "--ledger"];
        let running = Running::start(&netns, &arguments, 1);
        netns.inside(|| {
            // A receiver, or the kernel answers that there is none.
            let receiver = std::net::UdpSocket::bind("127.0.0.1:7777").unwrap();
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..SENT {
                sender.send_to(b"once", receiver.local_addr().unwrap()).unwrap();
            }
        });
        let ended = running.end().expect_status(0);
        assert_eq!(ended.stdout, format!("n\n{SENT}\n"), "{interface}");
        expect_booked(&ended.stderr, "live", interface, &[("seen", SENT), ("unread", 0)]);
    }
}

#[test]
fn a_batch_file_names_its_devices() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let (config, rows) = (scratch.path("live.toml"), scratch.path("rows.csv"));
    let text = format!(
        "[[source]]\ninterface = \"uplink\"\ndevice = \"near\"\ncpu = 0\nskew = \"50ms\"\nring = \"1MiB\"\n\
         properties = {{ Site = \"lab\" }}\n\
         [[query]]\nname = \"counts\"\ntext = \"SELECT srcIP, count(*) AS n FROM ip GROUP BY srcIP\"\n\
         sink = {{ path = \"{}\" }}\n",
        rows.display()
    );
    std::fs::write(&config, text).unwrap();
    let frames = frames("http.pcap");
    let count = frames.len().to_string();
    let config = config.display().to_string();
    let running = Running::start(&netns, &["run", &config, "--packets", &count], 1);
    assert_eq!(programs(&netns), 1, "a batch captures in the driver where it can");
    send(&netns, "far", &frames);
    running.end().expect_status(0).expect_quiet();
    let file = run([
        "query",
        "SELECT srcIP, count(*) AS n FROM ip GROUP BY srcIP",
        "-r",
        &capture_argument("http.pcap"),
    ]);
    let live = std::fs::read_to_string(rows).unwrap();
    assert_eq!(sorted(&live), sorted(&file.expect_status(0).stdout));
}

/// Processor time of a process so far, ticks of the kernel's.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [11, 12].into_iter().map(|at| fields[at].parse::<u64>().unwrap()).sum()
}

#[test]
fn a_stuck_reader_never_stops_the_capture() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let mut command = netns.wiretable();
    command.args([
        "query",
        "SELECT timestamp, len, srcIP, destIP FROM ip",
        "-i",
        "near",
        "--ledger",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded(command.spawn().unwrap());
    wait_until("the capture begins", || capturing(&netns) == 1);
    // Far more than the pipe, the queue and the ring hold, and nobody reads.
    let frames = frames("http.pcap");
    let rounds = 1000;
    let sender = netns.sender("far").unwrap();
    for frame in (0..rounds).flat_map(|_| &frames) {
        sender.send(frame).unwrap();
    }
    // Not before it has taken what there is: who reads earlier is not stuck.
    let mut before = u64::MAX;
    wait_until("it has nothing to do", || {
        let now = ticks(child.0.id());
        let is_idle = std::mem::replace(&mut before, now) == now;
        std::thread::sleep(Duration::from_millis(200));
        is_idle
    });
    signal(child.0.id(), 2).unwrap();
    let stdout = Stream::of(child.0.stdout.take().unwrap());
    let stderr = Stream::of(child.0.stderr.take().unwrap());
    wait_until("the command ends", || child.0.try_wait().unwrap().is_some());
    let (stdout, stderr) = (stdout.end(), stderr.end());
    let books = booked(&stderr, "shed", "default_query @ near");
    let number = |name: &str| books.iter().find(|(n, _)| n == name).unwrap().1;
    assert!(number("shed") > 0, "{stderr}");
    assert_eq!(number("arrived"), stdout.lines().count() as u64 - 1);
    // The link itself may lose some before they reach the socket, and never makes any.
    let seen = booked(&stderr, "live", "near").iter().find(|(n, _)| n == "seen").unwrap().1;
    assert!(seen <= (rounds * frames.len()) as u64, "{stderr}");
}
